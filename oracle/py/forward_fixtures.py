"""Makes the fixtures of the forward pass: tiny random models and transformers' f32 logits on them.

    python forward_fixtures.py LLAMA_CPP_SOURCES OUT_DIR [NAME ...]

For each model OUT_DIR gets `<name>.gguf`, written by the stock converter without a vocabulary, and
`<name>.logits`, f32 little-endian, one row of VOCABULARY numbers for each token of TOKENS. Of the models of TWO_TEXTS it has
the rows of the second halves of two windows, TOKENS and the same backwards, and OUT_DIR gets `<name>.importance` too:
a line for each tensor with the number of rows that go into its matrix and the sums of the squares of their columns. Needs the
packages of requirements-converter.txt.
"""

import json
import sys
import tempfile
from pathlib import Path

import torch
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForSeq2SeqLM, CONFIG_MAPPING

from architectures import logits

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
    "deepseek3": ("deepseek_v3", dict(
        num_key_value_heads=4, kv_lora_rank=8, q_lora_rank=12, qk_rope_head_dim=4, qk_nope_head_dim=8, v_head_dim=6,
        head_dim=4, n_routed_experts=8, n_shared_experts=1, num_experts_per_tok=3, moe_intermediate_size=12,
        first_k_dense_replace=1, n_group=4, topk_group=2, norm_topk_prob=True, scoring_func="sigmoid")),
    "deepseek2": ("deepseek_v2", dict(
        num_key_value_heads=4, kv_lora_rank=8, q_lora_rank=None, qk_rope_head_dim=4, qk_nope_head_dim=8, v_head_dim=6,
        head_dim=4, n_routed_experts=8, n_shared_experts=1, num_experts_per_tok=3, moe_intermediate_size=12,
        first_k_dense_replace=1, n_group=4, topk_group=2, topk_method="group_limited_greedy")),
    "gpt-oss": ("gpt_oss", dict(num_local_experts=4, num_experts_per_tok=2, sliding_window=5, rope_scaling=None)),
    "llama4": ("llama4_text", dict(num_local_experts=4, num_experts_per_tok=1, intermediate_size_mlp=24,
                                   intermediate_size=12, attention_chunk_size=8192, interleave_moe_layer_step=2,
                                   num_hidden_layers=4)),
    "mamba": ("mamba", dict(state_size=4, intermediate_size=32)),
    "mamba2": ("mamba2", dict(state_size=4, num_heads=4, head_dim=8, n_groups=1, expand=2, chunk_size=8,
                              intermediate_size=32)),
    "lfm2": ("lfm2", dict(head_dim=4, layer_types=["conv", "full_attention"], block_ff_dim=24, conv_L_cache=3,
                          block_auto_adjust_ff_dim=False)),
    "granitehybrid": ("granitemoehybrid", dict(
        head_dim=4, num_local_experts=4, num_experts_per_tok=2, shared_intermediate_size=20, mamba_n_heads=4,
        mamba_d_head=8, mamba_n_groups=1, mamba_d_state=4, mamba_expand=2, mamba_chunk_size=8,
        layer_types=["mamba", "attention"], position_embedding_type="nope", residual_multiplier=0.5,
        logits_scaling=2.0)),
    "bert": ("bert", dict(head_dim=4, num_key_value_heads=4, type_vocab_size=2)),
    "glm4moe": ("glm4_moe", dict(n_routed_experts=4, n_shared_experts=1, num_experts_per_tok=2, use_qk_norm=True,
                                 moe_intermediate_size=12, first_k_dense_replace=1, n_group=1, topk_group=1,
                                 routed_scaling_factor=1.5, norm_topk_prob=True, attention_bias=True)),
}

T5 = dict(vocab_size=VOCABULARY, d_model=32, d_kv=8, d_ff=64, num_heads=4, num_layers=2, num_decoder_layers=2,
          pad_token_id=0, decoder_start_token_id=3, initializer_factor=1.0)
TWO_TEXTS = {
    # Few buckets, so that windows of two dozen tokens reach the far ones.
    "t5": ("t5", T5 | dict(num_layers=3, num_decoder_layers=1, relative_attention_num_buckets=8)),
    "t5-gated": ("t5", T5 | dict(feed_forward_proj="gated-gelu", tie_word_embeddings=False)),
    "t5-umt5": ("umt5", T5 | dict(relative_attention_num_buckets=8)),
}
"""Models with an encoder and a decoder."""


def observed(model, path):
    """Logits of both windows; their importance goes to the path."""
    import gguf
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.T5, 3)
    seen = {}

    def watch(name):
        def hook(_, inputs):
            rows = inputs[0][0].double()
            of = seen.setdefault(name, [0, torch.zeros(rows.shape[1], dtype=torch.float64)])
            of[0] += len(rows)
            of[1] += (rows ** 2).sum(0)
        return hook

    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and name != "lm_head":
            module.register_forward_pre_hook(watch(names.get_name(name) + ".weight"))
    # The file has no vocabulary, whose token of a text's end the encoder would read.
    model.config.eos_token_id = None
    made = torch.cat([logits(model, torch.tensor([tokens])) for tokens in (TOKENS, TOKENS[::-1])])
    lines = (" ".join([name, str(rows), *(f"{x:.7g}" for x in sums.tolist())]) for name, (rows, sums) in seen.items())
    path.write_text("".join(line + "\n" for line in sorted(lines)))
    return made


def main():
    sources, out = Path(sys.argv[1]), Path(sys.argv[2])
    sys.path[:0] = [str(sources), str(sources / "gguf-py")]
    import gguf
    from conversion import get_model_class
    from conversion.base import ModelBase

    for name in sys.argv[3:] or [*MODELS, *TWO_TEXTS]:
        model_type, changes = MODELS.get(name) or TWO_TEXTS[name]
        torch.manual_seed(sum(name.encode()))
        config = CONFIG_MAPPING[model_type](**(changes if name in TWO_TEXTS else SMALL | changes))
        auto = AutoModel if model_type == "bert" else AutoModelForCausalLM
        auto = AutoModelForSeq2SeqLM if name in TWO_TEXTS else auto
        model = auto.from_config(config, attn_implementation="eager").float().eval()
        with torch.no_grad():
            # Norm weights are all equal and biases zero in a new model; that would hide mistakes.
            for key, parameter in model.named_parameters():
                if not parameter.isfinite().all():
                    parameter.normal_(0, 0.3)
                if parameter.dim() == 1:
                    parameter.add_(torch.randn_like(parameter) * 0.2)
            for key, buffer in model.named_buffers():
                if key.endswith("correction_bias"):
                    buffer.add_(torch.rand_like(buffer) * 0.3)
            if name in TWO_TEXTS:
                made = observed(model, out / f"{name}.importance")
            elif model_type == "bert":
                # Of an encoder, the final states.
                made = model(torch.tensor([TOKENS])).last_hidden_state[0]
            else:
                made = logits(model, torch.tensor([TOKENS]))
        made.numpy().astype("<f4").tofile(out / f"{name}.logits")
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
