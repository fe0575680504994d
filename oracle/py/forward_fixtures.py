"""Makes the fixtures of the forward pass: tiny random models and transformers' f32 logits on them.

    python forward_fixtures.py LLAMA_CPP_SOURCES OUT_DIR [NAME ...]

For each model OUT_DIR gets `<name>.gguf`, written by the stock converter without a vocabulary, and
`<name>.logits`, f32 little-endian, one row of VOCABULARY numbers for each token of TOKENS. Needs the packages of
requirements-converter.txt.
"""

import json
import sys
import tempfile
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, CONFIG_MAPPING

VOCABULARY = 48
TOKENS = [(i * 29 + i * i * 7) % VOCABULARY for i in range(24)]
SMALL = dict(vocab_size=VOCABULARY, hidden_size=16, intermediate_size=24, num_hidden_layers=2,
             num_attention_heads=4, num_key_value_heads=2, head_dim=8, max_position_embeddings=64,
             initializer_range=0.3, bos_token_id=1, eos_token_id=2, pad_token_id=0)
EXPERTS = dict(num_experts=4, num_experts_per_tok=2, moe_intermediate_size=12)


def rope(kind, **more):
    return dict(rope_parameters=dict(rope_type=kind, rope_theta=100.0, **more))


MODELS = {
    "llama": ("llama", dict(attention_bias=True, mlp_bias=True)),
    "llama-rope-llama3": ("llama", dict(tie_word_embeddings=True, **rope(
        "llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=16))),
    "llama-rope-yarn": ("llama", rope("yarn", factor=4.0, original_max_position_embeddings=16)),
    "llama-rope-linear": ("llama", rope("linear", factor=4.0)),
    "mistral": ("mistral", dict(num_key_value_heads=1, sliding_window=None)),
    "mixtral": ("mixtral", dict(num_local_experts=4, num_experts_per_tok=2)),
    "qwen2": ("qwen2", dict(head_dim=4)),
    "qwen2moe": ("qwen2_moe", dict(head_dim=4, shared_expert_intermediate_size=20, **EXPERTS)),
    "qwen3": ("qwen3", {}),
    "qwen3moe": ("qwen3_moe", dict(norm_topk_prob=True, **EXPERTS)),
    "gemma": ("gemma", dict(hidden_activation="gelu_pytorch_tanh")),
    "gemma2": ("gemma2", dict(sliding_window=5, query_pre_attn_scalar=8)),
    "gemma3": ("gemma3_text", dict(sliding_window=5, query_pre_attn_scalar=8, num_hidden_layers=7)),
}


def main():
    sources, out = Path(sys.argv[1]), Path(sys.argv[2])
    sys.path[:0] = [str(sources), str(sources / "gguf-py")]
    import gguf
    from conversion import get_model_class
    from conversion.base import ModelBase

    for name in sys.argv[3:] or MODELS:
        model_type, changes = MODELS[name]
        torch.manual_seed(sum(name.encode()))
        config = CONFIG_MAPPING[model_type](**(SMALL | changes))
        model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").float().eval()
        with torch.no_grad():
            # Norm weights are all equal and biases zero in a new model; that would hide mistakes.
            for parameter in model.parameters():
                if parameter.dim() == 1:
                    parameter.add_(torch.randn_like(parameter) * 0.2)
            logits = model(torch.tensor([TOKENS])).logits[0]
        logits.numpy().astype("<f4").tofile(out / f"{name}.logits")
        with tempfile.TemporaryDirectory() as directory, torch.inference_mode():
            model.save_pretrained(directory)
            # Gemma 3's converter counts the entries of the vocabulary.
            vocabulary = {f"token {i}": i for i in range(VOCABULARY)}
            (Path(directory) / "tokenizer.json").write_text(json.dumps(dict(
                model=dict(vocab=vocabulary), added_tokens=[])))
            hparams = ModelBase.load_hparams(Path(directory), False)
            converter = get_model_class(hparams["architectures"][0])
            without_vocabulary = type(converter.__name__, (converter,), {
                "model_arch": converter.model_arch, "set_vocab": lambda self: None})
            without_vocabulary(Path(directory), gguf.LlamaFileType.ALL_F32, out / f"{name}.gguf",
                               model_name=name).write()


main()
