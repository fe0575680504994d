"""Saves the models of the matrix of architectures again with transformers 5, which writes other directories.

    python transformers5.py TOKENIZERS_DIR OUT_DIR --five PYTHON [NAME ...]

For each case of architectures.CASES (or each NAME) that transformers 5 has a class for, OUT_DIR/<name> gets

    model/         the directory of architectures.py, as transformers 4.57 writes it
    five/model/    the same loaded by transformers 5 and saved again: weights, configuration and tokenizer
    five/logits    transformers 5's f32 logits of the tokens, or its pooled states, as in architectures.py
    five/embedding

Models of NATIVE are made by transformers 5 alone; their model/ is a link to five/model.

and five/why, one line, in place of these where transformers 5 has no such class. Then the comparison runs
(`cargo run -p quantsmith-oracle --example transformers5 -- OUT_DIR`): a row for each case. `--no-compare` leaves
that out, `--keep` leaves cases alone that are made already, `--resave` makes only the second half.

This Python has the packages of requirements-converter.txt, PYTHON those of requirements-transformers5.txt.
TOKENIZERS_DIR is that of architectures.py; matrix.py fetches all of it and runs this: `python matrix.py WORK_DIR --part
transformers5`.
"""

import argparse
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import traceback
from dataclasses import replace
from pathlib import Path

import architectures

HERE = Path(__file__).resolve().parent
BESIDE = ("modules.json", "1_Pooling", "preprocessor_config.json", "chat_template.jinja", "generation_config.json")
"""What other libraries write, or transformers writes only where it knows of it."""
PLAIN = ("spm", "spm_image")
"""Tokenizers with tokens that no library writes; here they are as transformers 4.57 saves a SentencePiece model."""
TYPES = {
    "minimax-m2": "minimax_m2", "lfm2moe": "lfm2_moe", "jais2": "jais2", "lfm2-image": "lfm2_vl",
    "llama-internlm3": "internlm3",
}
"""Model types of cases that are described without one."""
CHANGES = {
    # Transformers 5 reads a base of its own for layers with windows, which is the published models' for all layers.
    "olmo2-olmo3": dict(rope_theta=500000.0),
    # It leaves out another part than the class's own.
    "granitehybrid-bamba": dict(partial_rotary_factor=0.5, attn_rotary_emb=8),
    # Its class reads square experts as they are, whichever way they are stored.
    "qwen3vlmoe": dict(text_config=dict(moe_intermediate_size=24)),
    # It leaves out the layers that predict further tokens.
    "qwen35": dict(mtp_num_hidden_layers=0),
    "qwen35moe": dict(mtp_num_hidden_layers=0),
    "qwen35-image": dict(text_config=dict(mtp_num_hidden_layers=0)),
    "qwen35moe-image": dict(text_config=dict(mtp_num_hidden_layers=0)),
    "deepseek2-glm": dict(num_nextn_predict_layers=0),
    "deepseek32": dict(num_nextn_predict_layers=0),
    "glm-dsa": dict(num_nextn_predict_layers=0),
    "exaone-moe": dict(num_nextn_predict_layers=0),
    "exaone-moe-5": dict(num_nextn_predict_layers=0),
    # It has as many types of layers as layers.
    "exaone4-4.5-window": dict(text_config=dict(layer_types=["sliding_attention", "full_attention"])),
    # It has a talker unless it is told not to.
    "qwen3vlmoe-omni": dict(enable_audio_output=False),
    # The stock converter writes other numbers than these, whose file llama.cpp does not load.
    "phi2": dict(intermediate_size=96, num_key_value_heads=2),
    # It leaves out the layers that predict further tokens.
    "hy_v3": dict(num_nextn_predict_layers=0),
    # Its classes tie the two matrices where nothing is said.
    "cohere2moe": dict(tie_word_embeddings=False),
    # It has a list of its own for the layers that do not rotate.
    "granite_swa": dict(tie_word_embeddings=False, layer_rope_theta=[1e4, 0, 1e4]),
    "minicpm3": dict(tie_word_embeddings=False),
    # It rotates and scales by the published numbers where other keys than its own have them.
    "mimo2": dict(head_dim=24, swa_head_dim=24, partial_rotary_factor=0.334, attention_value_scale=0.707),
    "mimo2-scaled": dict(head_dim=24, swa_head_dim=24, partial_rotary_factor=0.334),
    # It needs a padding token inside the vocabulary.
    "kimi-linear": dict(pad_token_id=0),
    "kimi-linear-model": dict(pad_token_id=0),
    "hy_v4": dict(pad_token_id=0),
    "glm5-next": dict(text_config=dict(pad_token_id=0, num_nextn_predict_layers=0)),
    # It has no bias of the experts in layers that choose them by the token, one name for both widths, and no layer behind.
    "deepseek4-plain": dict(intermediate_size=..., compress_ratios=[0, 4, 128, 4]),
    # Its table has as many rows as it counts itself, of a base that is not the published one's 20 million.
    "qwen4exp": dict(indexer_kv_heads=1, ngram_vocab_size_base=11, make_ngram_vocab_size_divisible_by=1),
    "qwen4exp-image": dict(text_config=dict(
        indexer_kv_heads=1, ngram_vocab_size_base=11, make_ngram_vocab_size_divisible_by=1)),
    # It refuses vectors for each layer, which the class does not have.
    "gemma4-assistant": dict(text_config=dict(hidden_size_per_layer_input=0, vocab_size_per_layer_input=0)),
}
PREDICTING = ("glm4moe", "qwen3next")
"""Cases whose further tensors are left out for the same reason."""
"""Changes of configurations that transformers 5 reads otherwise than 4.57."""


SMALL = dict(hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
             max_position_embeddings=256, initializer_range=0.1, vocab_size=420, pad_token_id=0, bos_token_id=1,
             eos_token_id=2)
ROUTED = SMALL | dict(n_routed_experts=4, num_experts_per_tok=2, n_shared_experts=1, moe_intermediate_size=32, n_group=1,
                      topk_group=1, norm_topk_prob=True, routed_scaling_factor=1.5)
LATENT = ROUTED | dict(q_lora_rank=48, kv_lora_rank=32, qk_rope_head_dim=8, qk_nope_head_dim=16, v_head_dim=12,
                       num_key_value_heads=4, num_hidden_layers=3)
SEEN = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=2, patch_size=4)
DEEP = dict(depth=2, num_heads=2)
INDEXED = LATENT | dict(index_n_heads=4, index_head_dim=64, index_topk=5)
MAMBA2 = SMALL | dict(num_hidden_layers=4, head_dim=16, mamba_num_heads=8, mamba_head_dim=16, n_groups=2,
                      ssm_state_size=16, conv_kernel=4, expand=2)
V4 = SMALL | dict(
    num_hidden_layers=4, num_key_value_heads=1, head_dim=64, q_lora_rank=32, partial_rotary_factor=0.5, sliding_window=8,
    intermediate_size=32, n_routed_experts=4, num_experts_per_tok=2, index_n_heads=2, index_head_dim=64, index_topk=4,
    o_groups=2, o_lora_rank=32, hc_sinkhorn_iters=3, mlp_layer_types=["hash_moe", "hash_moe", "moe", "moe"], layer_types=[
        "sliding_attention", "compressed_sparse_attention", "heavily_compressed_attention", "compressed_sparse_attention"])
# Llama.cpp attends to as many tokens as whole blocks and the longest rest behind them have, whether there is a rest or not, and
# takes other ones of equal scores, of which few heads have many.
GRAMS = SMALL | dict(
    num_hidden_layers=4, layer_types=["linear_attention"] * 3 + ["full_attention"], head_dim=32, linear_num_key_heads=2,
    linear_num_value_heads=6, linear_key_head_dim=16, linear_value_head_dim=16, num_experts=4, num_experts_per_tok=2,
    moe_intermediate_size=32, shared_expert_intermediate_size=48, hc_count=2, hc_lowrank=16, indexer_n_heads=8,
    indexer_kv_heads=1, indexer_head_dim=16, indexer_budget=4, indexer_compress_ratio=1, ple_layer_ids=[1], ngram_size=3,
    heads_per_ngram=2, ple_conv_kernel_size=3, split_ngram_parts=2, ngram_vocab_size_base=11,
    make_ngram_vocab_size_divisible_by=2, output_gate_type="sigmoid", rope_parameters=dict(
        rope_theta=1e6, rope_type="default", mrope_section=[2, 1, 1], mrope_interleaved=True, partial_rotary_factor=0.25))
NATIVE = {
    "five-afmoe": ("afmoe", "bytes", ROUTED | dict(
        head_dim=16, num_experts=4, num_dense_layers=1, num_shared_experts=1, num_hidden_layers=4, sliding_window=5,
        mup_enabled=True)),
    "five-deepseek3": ("deepseek_v3", "bytes", LATENT),
    "five-deepseek32": ("deepseek_v32", "bytes", INDEXED),
    "five-deepseek4": ("deepseek_v4", "bytes", V4),
    "five-exaone-moe": ("exaone_moe", "bytes", ROUTED | dict(head_dim=16, num_experts=4, num_shared_experts=1)),
    "five-gemma4": ("gemma4_text", "pieces", SMALL | dict(
        num_hidden_layers=3, head_dim=16, global_head_dim=32, sliding_window=5, num_kv_shared_layers=0,
        layer_types=["sliding_attention", "sliding_attention", "full_attention"], hidden_size_per_layer_input=16,
        vocab_size_per_layer_input=420)),
    "five-glm-dsa": ("glm_moe_dsa", "glm", INDEXED),
    "five-glm4-moe-lite": ("glm4_moe_lite", "glm", LATENT),
    "five-glm5-next": ("glm5_next", "glm", dict(
        text_config=LATENT | dict(
            num_hidden_layers=4, linear_head_dim=16, linear_num_heads=4, layer_types=[
                "linear_attention", "full_attention", "full_attention", "linear_attention"],
            linear_conv_kernel_dim=4, qk_rope_head_dim=0, mlp_layer_types=["dense", "sparse", "sparse", "sparse"], hc_mult=4,
            hc_sinkhorn_iters=4, index_n_heads=2, index_head_dim=16, index_topk=4, index_kpool=2, scoring_func="sigmoid",
            indexer_types=["full", "full", "shared", "full"]),
        vision_config=SEEN | DEEP | dict(out_hidden_size=64, projection_intermediate_size=48), image_token_id=7,
        video_token_id=8)),
    "five-granite_swa": ("granite_swa", "bytes", SMALL | dict(
        num_hidden_layers=3, sliding_window=5, layer_rope_theta=[5e4, 0, 5e4], tie_word_embeddings=False,
        layer_types=["full_attention", "sliding_attention", "sliding_attention"], attention_multiplier=0.2)),
    "five-granite_swa-moe": ("granitemoe_swa", "bytes", SMALL | dict(
        num_local_experts=4, num_experts_per_tok=2, num_hidden_layers=3, sliding_window=5, layer_rope_theta=[5e4, 5e4, 0],
        shared_intermediate_size=48)),
    "five-bitnet": ("bitnet", "bytes", SMALL | dict(num_key_value_heads=4)),
    "five-hrm_text": ("hrm_text", "bytes", SMALL | dict(head_dim=16, num_key_value_heads=4)),
    "five-hy_v4": ("hy_v4", "bytes", INDEXED),
    "five-muse-glimmer": ("muse_glimmer", "bytes", dict(
        text_config=SMALL | dict(num_hidden_layers=5, head_dim=16, sliding_window=5, qk_scale_factor=1.75,
                                 output_multiplier=0.5),
        vision_config=SEEN | dict(pos_emb_height=4, pos_emb_width=4), projector_hidden_size=48, out_hidden_size=40,
        image_token_id=7, video_token_id=8)),
    "five-minimax-m3": ("minimax_m3_vl", "bytes", dict(
        text_config=SMALL | dict(
            num_hidden_layers=3, head_dim=32, rotary_dim=16, num_local_experts=4, num_experts_per_tok=2,
            dense_intermediate_size=80, shared_intermediate_size=48, index_n_heads=2, index_head_dim=32, index_block_size=4,
            index_topk_blocks=16),
        vision_config=SEEN | dict(image_size=16), projector_hidden_size=48, image_token_index=7, video_token_index=8)),
    "five-qwen35-minicpm": ("minicpmv4_6", "bytes", dict(
        text_config=SMALL | dict(
            model_type="qwen3_5_text", num_hidden_layers=4, head_dim=32, linear_key_head_dim=16, linear_value_head_dim=16,
            linear_num_key_heads=2, linear_num_value_heads=4),
        vision_config=SEEN | dict(num_hidden_layers=2, image_size=16, insert_layer_id=0), insert_layer_id=0, image_size=16, patch_size=4,
        image_token_id=7, video_token_id=8)),
    "five-hy_v3": ("hy_v3", "bytes", SMALL | dict(
        num_hidden_layers=3, head_dim=16, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=32,
        mlp_layer_types=["dense", "dense", "sparse"])),
    "five-hunyuan-moe": ("hunyuan_v1_moe", "bytes", SMALL | dict(head_dim=16, num_experts=4, moe_topk=2)),
    "five-laguna": ("laguna", "bytes", ROUTED | dict(
        head_dim=16, num_experts=4, num_hidden_layers=3, sliding_window=5, shared_expert_intermediate_size=32)),
    "five-minimax-m2": ("minimax_m2", "bytes", SMALL | dict(head_dim=16, num_local_experts=4, num_experts_per_tok=2)),
    "five-nemotron_h": ("nemotron_h", "bytes", MAMBA2 | dict(hybrid_override_pattern="M-*-")),
    "five-nemotron_h-moe": ("nemotron_h", "bytes", MAMBA2 | ROUTED | dict(
        num_hidden_layers=4, head_dim=16, hybrid_override_pattern="ME*E", moe_shared_expert_intermediate_size=48)),
    "five-qwen4exp": ("qwen4_exp_text", "bytes", GRAMS),
    "five-qwen4exp-image": ("qwen4_exp", "bytes", dict(
        text_config=GRAMS | dict(indexer_budget=12, indexer_compress_ratio=2),
        vision_config=SEEN | DEEP | dict(out_hidden_size=64, num_position_embeddings=64), image_token_id=7,
        video_token_id=8)),
    "five-solar": ("solar_open", "glm", ROUTED | dict(head_dim=16)),
}
"""Models that transformers 5 makes itself, as configurations from elsewhere have keys that it would leave out:
(model type, tokenizer, configuration)."""
UNLIKE = ("gemma3n", "bert-camembert")
"""Cases whose class computes otherwise than llama.cpp, as ours does: gates are cut off at another deviation, positions are
counted from the padding token. (With positions from 0, BERT in double precision gives stock's embedding of the CamemBERT
case within 3e-5, with those from the padding token within 2e-2.)"""
CONVERTED = ("hy_v4",)
"""Of these, without a forward pass."""
ADDED = dict(bytes=[], glm=["[gMASK]", "<sop>", "<|user|>", "<|assistant|>", "<|observation|>", "<|endoftext|>", "<unk>",
                            "<|startoftext|>"])
"""Special tokens beside those of fixtures/vocab/llama3."""


def native(name, folder, dtype="float32", **changes):
    """A model as transformers 5 makes and saves it, with changes of its configuration, and its logits."""
    import torch
    import transformers

    kind, tokenizer, config = NATIVE[name]
    shutil.rmtree(folder, ignore_errors=True)
    target = folder / "five/model"
    target.mkdir(parents=True)
    torch.manual_seed(sum(name.encode()))
    config = transformers.CONFIG_MAPPING[kind](**config | changes)
    auto = transformers.AutoModelForCausalLM
    if "vision_config" in NATIVE[name][2] or type(config) not in auto._model_mapping:
        auto = transformers.AutoModelForImageTextToText
    model = auto.from_config(config, attn_implementation="eager").float().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    model.to(getattr(torch, dtype)).save_pretrained(target)
    (target / "generation_config.json").unlink(missing_ok=True)
    beside = HERE.parent / "fixtures/vocab/llama3"
    if tokenizer == "pieces":
        beside = HERE.parent.parent / "convert/tests/fixtures/transformers5/five"
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(beside / file, target)
    path = target / "tokenizer.json"
    saved = json.loads(path.read_text(encoding="utf-8"))
    known = [token["content"] for token in saved["added_tokens"]]
    at = 1 + max([token["id"] for token in saved["added_tokens"]] + list(saved["model"]["vocab"].values()))
    for i, text in enumerate(text for text in ADDED.get(tokenizer, []) if text not in known):
        saved["added_tokens"].append(dict(id=at + i, content=text, single_word=False, lstrip=False, rstrip=False,
                                          normalized=False, special=True))
    path.write_text(json.dumps(saved, ensure_ascii=False), encoding="utf-8")
    (folder / "model").symlink_to("five/model")
    ids = torch.tensor([[(i * 29 + i * i * 7) % 300 for i in range(architectures.TOKENS)]])
    if kind not in CONVERTED:
        if dtype != "float32":
            # The frequencies of the rotation were rounded with the weights.
            model = type(model).from_pretrained(target, attn_implementation="eager", dtype="float32").eval()
        with torch.no_grad():
            logits(model.float(), ids, folder / "five")


def changed(case):
    """The case as this matrix has it."""
    changes = CHANGES.get(case.name, {})
    text = changes.get("text_config")
    config = case.config | changes
    if text:
        config["text_config"] = case.config["text_config"] | text
    file = {key: changes.get(key, value) for key, value in case.file.items()} if case.file else case.file
    if case.tensors is not None:
        # Transformers 5 writes the base of the rotation in any case.
        file = dict(rope_theta=10000.0) | file
        if case.name in TYPES:
            file = dict(model_type=TYPES[case.name]) | file
    if case.name == "deepseek4-plain":
        tensors = case.tensors
        return replace(case, file=file, config=config, tensors=lambda c: {
            name: shape for name, shape in tensors(c).items()
            if not any(name == f"layers.{i}.ffn.gate.bias" for i in range(c["num_hash_layers"]))})
    if case.name in PREDICTING:
        return replace(case, more=None, file={k: v for k, v in file.items() if k != "num_nextn_predict_layers"})
    return replace(case, config=config, file=file)


def predicts(name, layers):
    """Whether a tensor is of a layer behind the model's own."""
    block = re.match(r"model\.layers\.(\d+)\.", name)
    return name.startswith(("mtp.", "model.mtp.")) or block is not None and int(block[1]) >= layers


def without_predicting(case):
    """The case without the tensors of layers that predict further tokens."""
    tensors = case.tensors
    if tensors is None:
        return case

    def without(config):
        return {k: v for k, v in tensors(config).items() if not predicts(k, config.get("num_hidden_layers", sys.maxsize))}
    return replace(case, tensors=without)


def plain_tokenizer(case, model):
    """A SentencePiece vocabulary with all the files that transformers 4.57 writes beside it."""
    from transformers import LlamaTokenizerFast

    for file in model.iterdir():
        if "token" in file.name:
            file.unlink()
    tokenizer = LlamaTokenizerFast(str(HERE.parent / "fixtures/vocab/spm_bpe/tokenizer.model"))
    if case.tokenizer == "spm_image":
        tokenizer.add_special_tokens(dict(additional_special_tokens=["[IMG_BREAK]"]))
    tokenizer.save_pretrained(model)


def same_ids(source, target):
    """Whether two directories' tokenizers split a broad text alike."""
    from tokenizers import Tokenizer

    files = [folder / "tokenizer.json" for folder in (source, target)]
    if not all(file.is_file() for file in files):
        return False
    before, after = map(Tokenizer.from_file, map(str, files))
    text = Path(__file__).read_text() + " \n\n\t naïve Ωμέγα 北京 🦙‍ 1234567 'll  it's\u00a0x"
    return before.encode(text).ids == after.encode(text).ids


class Lacking(Exception):
    """Why transformers 5 cannot load a directory."""


def model_class(case, folder):
    """The class of transformers 5 that loads the directory."""
    import transformers

    config = json.loads((folder / "config.json").read_text())
    kind = config.get("model_type", "")
    if kind not in transformers.CONFIG_MAPPING:
        raise Lacking(f"transformers {transformers.__version__} has no model type {kind!r}")
    named = getattr(transformers, config["architectures"][0], None) if "architectures" in config else None
    if named is not None:
        return named
    if case.pooling or case.target:
        # Of another kind than the class that its model type stands for.
        raise Lacking(f"transformers {transformers.__version__} has no class {config['architectures'][0]}")
    auto = case.auto
    if case.tensors is not None and "vision_config" in case.config:
        auto = "AutoModelForImageTextToText"
    known = transformers.AutoConfig.from_pretrained(folder)
    auto = getattr(transformers, auto)
    if type(known) not in auto._model_mapping:
        raise Lacking(f"transformers {transformers.__version__} has no class {config['architectures'][0]}")
    return auto


def resave(case, folder):
    """Loads the directory with transformers 5 and saves it again, with what it computes of it."""
    import torch
    import transformers

    from huggingface_hub.errors import StrictDataclassError

    source, five = folder / "model", folder / "five"
    shutil.rmtree(five, ignore_errors=True)
    five.mkdir()
    try:
        kind = model_class(case, source)
        model, report = kind.from_pretrained(source, attn_implementation="eager", dtype="auto",
                                             output_loading_info=True)
    except (ImportError, StrictDataclassError) as error:
        said = " ".join(str(error).split())
        raise Lacking(f"transformers {transformers.__version__} does not read this configuration: {said[:160]}") from error
    except RuntimeError as error:
        raise Lacking(f"{kind.__name__} of transformers {transformers.__version__} expects other shapes of this "
                      f"configuration: {str(error)[:80]}") from error
    lost = {what: sorted(names) for what, names in report.items() if names}
    # An encoder's class has a layer behind it that no conversion reads.
    if all(name.startswith("pooler.") for name in lost.get("missing_keys", ())):
        lost.pop("missing_keys", None)
    if lost.get("missing_keys") or lost.get("mismatched_keys"):
        raise Lacking(f"{type(model).__name__} of transformers {transformers.__version__} reads other tensors: "
                      f"{str(lost)[:200]}")
    if case.tensors is not None and lost.get("unexpected_keys") and type(model).__name__ != case.architecture:
        raise Lacking(f"transformers {transformers.__version__} has no class {case.architecture}: "
                      f"{type(model).__name__} leaves out {str(lost['unexpected_keys'])[:80]}")
    target = five / "model"
    model.save_pretrained(target)
    try:
        transformers.AutoTokenizer.from_pretrained(source).save_pretrained(target)
        again = same_ids(source, target)
    except Exception:  # Vocabularies that need code of their own, or that only stock llama.cpp reads.
        again = False
    (five / "tokenizer").write_text("saved again" if again else "copied")
    if not again:
        # The tokenizer of the case is not one of its class, which would put its own rules in place of it.
        for file in [*target.glob("*token*"), *target.glob("*.jinja")]:
            file.unlink()
        for file in source.iterdir():
            pieces = case.tokenizer in PLAIN and file.name in ("tokenizer.model", "special_tokens_map.json")
            # It saves a vocabulary of pieces as tokenizer.json alone.
            if not pieces and ("token" in file.name or "vocab" in file.name or file.suffix == ".model"):
                shutil.copy(file, target)
    for name in (*BESIDE, *case.dense):
        if (source / name).is_dir():
            shutil.copytree(source / name, target / name, dirs_exist_ok=True)
        elif (source / name).is_file() and not (target / name).is_file():
            shutil.copy(source / name, target / name)
    ids = torch.tensor([[(i * 29 + i * i * 7) % 300 for i in range(architectures.TOKENS)]])
    model = model.float().eval()
    with torch.no_grad():
        if case.logits and not case.stock and case.name not in UNLIKE:
            logits(model, ids, five)
        elif case.pooling and case.name not in UNLIKE:
            architectures.embedding(case, model(ids).last_hidden_state[0]).tofile(five / "embedding")


def logits(model, ids, five):
    """Writes the logits, where the class has some: Llama 4's with images fails without an image."""
    try:
        output = architectures.logits(model, ids)
    except AttributeError:
        return
    output.numpy().astype("<f4").tofile(five / "logits")


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("tokenizers", "out"):
        arguments.add_argument(name, type=Path)
    arguments.add_argument("names", nargs="*")
    arguments.add_argument("--five", help="the Python with transformers 5")
    arguments.add_argument("--resave", action="store_true")
    arguments.add_argument("--no-compare", action="store_true")
    arguments.add_argument("--keep", action="store_true")
    a = arguments.parse_intermixed_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    logging.disable(logging.WARNING)
    cases = [c for c in architectures.CASES if not a.names or c.name in a.names]
    own = [name for name in NATIVE if not a.names or name in a.names]
    unknown = set(a.names) - {c.name for c in cases} - set(own)
    if unknown:
        sys.exit(f"no such case: {', '.join(sorted(unknown))}")
    failed = []
    if a.resave:
        for name in own:
            native(name, a.out / name)
    for case in cases:
        folder = a.out / case.name
        made = folder / ("five" if a.resave else "model/config.json")
        if a.keep and made.exists():
            continue
        try:
            if not a.resave:
                case = without_predicting(changed(case))
                architectures.make(case, a.tokenizers, folder)
                if case.tokenizer in PLAIN:
                    plain_tokenizer(case, folder / "model")
                continue
            resave(case, folder)
        except Lacking as why:
            shutil.rmtree(folder / "five", ignore_errors=True)
            (folder / "five").mkdir()
            (folder / "five/why").write_text(str(why))
            print(f"{case.name}: {why}", flush=True)
        except (Exception, SystemExit) as error:
            failed.append(case.name)
            print(f"not made: {case.name}", flush=True)
            traceback.print_exc()
            if a.resave:
                shutil.rmtree(folder / "five", ignore_errors=True)
                (folder / "five").mkdir()
                (folder / "five/why").write_text(f"transformers 5 stops: {error!r}"[:200])
    if a.five:
        again = [a.five, __file__, a.tokenizers, a.out, "--resave", *["--keep"] * a.keep, *[c.name for c in cases], *own]
        if subprocess.run(again).returncode:
            failed.append("some with transformers 5")
    if failed:
        print("not made:", *failed)
    if a.five and not a.no_compare:
        subprocess.run(["cargo", "run", "--quiet", "-p", "quantsmith-oracle", "--example", "transformers5", "--",
                        str(a.out.resolve()), *[c.name for c in cases], *own], cwd=HERE, check=True)
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
