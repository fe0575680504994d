"""What the stock converter makes of fixtures whose configurations leave keys out that transformers has defaults of:
digests/incomplete.txt.

    python incomplete_digests.py LLAMA_CPP_SOURCES > ../digests/incomplete.txt

A line is fixture, key (after those that it is inside of, with slashes; with =null where it is null instead of left out),
SHA-256 of the F32 file. Needs the packages of requirements-converter.txt.
"""

import json
import sys
from pathlib import Path

import fused_digests

CASES = """
afmoe: route_norm=null
apertus: rope_scaling rope_scaling/original_max_position_embeddings
bert-roberta: layer_norm_eps
bitnet-newer: rms_norm_eps rope_theta max_position_embeddings
chameleon: rms_norm_eps rope_theta max_position_embeddings
cohere2: head_dim=null
command-r-plain: max_position_embeddings=null
dbrx: max_seq_len attn_config/rope_theta ffn_config/moe_num_experts ffn_config/moe_top_k
deepseek2: head_dim=null
deepseek32: rms_norm_eps
deepseek4: quantization_config quantization_config=null quantization_config/quant_method
dflash: vocab_size
dflash-2: sliding_window layer_types
dflash-muse: vocab_size
dflash-deepseek4: intermediate_size quantization_config
eagle3-draft: rope_scaling/rope_type
eagle3: draft_vocab_size=null vocab_size
eagle3-plain: draft_vocab_size=null
eagle3-speculator: draft_vocab_size=null
exaone4-global: rope_scaling/factor rope_scaling/original_max_position_embeddings
gemma3: vocab_size=null
gemma3n: vocab_size
gemma4-assistant: text_config/max_position_embeddings text_config/num_key_value_heads text_config/vocab_size
glm-dsa: rms_norm_eps
gptneox: use_parallel_residual=null
gpt-oss: head_dim=null rope_scaling rms_norm_eps num_experts_per_tok rope_scaling/factor
granitehybrid: embedding_multiplier logits_scaling max_position_embeddings residual_multiplier rope_theta
granitehybrid-bamba: rope_theta
grok: vocab_size=null
lfm2: intermediate_size=null
lfm2-image: text_config/rope_theta
llama-janus: model_type
llama-rope: rope_theta=null
minimax-01: rms_norm_eps rope_theta max_position_embeddings
minimax-m3-vl: text_config/head_dim=null
modern-bert: hidden_activation classifier_pooling classifier_pooling=null
mpt: attn_config/alibi=null
qwen2-audio: model_type audio_config/model_type=null
qwen3vl: vision_config vision_config/deepstack_visual_indexes
qwen3vlmoe: vision_config vision_config/deepstack_visual_indexes
step35: norm_expert_weight=null
"""


def without(config, path):
    """A configuration without the key at a path, or with null there."""
    path, equals, _ = path.partition("=")
    *outer, key = path.split("/")
    config = json.loads(json.dumps(config))
    holder = config
    for name in outer:
        holder = holder[name]
    if equals:
        holder[key] = None
    else:
        del holder[key]
    return config


def prepared(fixture, key, folder):
    fused_digests.make(fixture | dict(config=without(fixture["config"], key)), folder)


def main():
    fused_digests.import_stock(Path(sys.argv[1]))
    fused_digests.digests(CASES, prepared)


if __name__ == "__main__":
    main()
