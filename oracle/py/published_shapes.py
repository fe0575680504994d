"""Model directories of the shapes of published models, without their weights: config.json, and a safetensors file whose
header is whole and whose data is a hole.

    python published_shapes.py DIR

writes DIR/NAME for each of MODELS and prints the names. The tokenizer is a small one of the fixtures, which the
converter fills up to the vocabulary's size.
"""

import json
import pathlib
import shutil
import sys

VOCABULARIES = pathlib.Path(__file__).parent.parent / "fixtures/vocab"
PIECES = ("gemma2", "gemma3_text", "phi3")
"""Model types whose vocabulary is one of SentencePiece."""

MODELS = {
    "llama-2-70b": dict(
        model_type="llama", architectures=["LlamaForCausalLM"], hidden_size=8192, intermediate_size=28672,
        num_hidden_layers=80, num_attention_heads=64, num_key_value_heads=8, vocab_size=32000,
        max_position_embeddings=4096, rms_norm_eps=1e-5, rope_theta=10000.0, tie_word_embeddings=False),
    "mixtral-8x7b": dict(
        model_type="mixtral", architectures=["MixtralForCausalLM"], hidden_size=4096, intermediate_size=14336,
        num_hidden_layers=32, num_attention_heads=32, num_key_value_heads=8, vocab_size=32000, num_local_experts=8,
        num_experts_per_tok=2, max_position_embeddings=32768, rms_norm_eps=1e-5, rope_theta=1000000.0,
        tie_word_embeddings=False),
    "llama-3.1-8b": dict(
        model_type="llama", architectures=["LlamaForCausalLM"], hidden_size=4096, intermediate_size=14336,
        num_hidden_layers=32, num_attention_heads=32, num_key_value_heads=8, vocab_size=128256,
        max_position_embeddings=131072, rms_norm_eps=1e-5, rope_theta=500000.0, tie_word_embeddings=False),
    "llama-3.2-1b": dict(
        model_type="llama", architectures=["LlamaForCausalLM"], hidden_size=2048, intermediate_size=8192,
        num_hidden_layers=16, num_attention_heads=32, num_key_value_heads=8, vocab_size=128256, head_dim=64,
        max_position_embeddings=131072, rms_norm_eps=1e-5, rope_theta=500000.0, tie_word_embeddings=True),
    "qwen2.5-7b": dict(
        model_type="qwen2", architectures=["Qwen2ForCausalLM"], hidden_size=3584, intermediate_size=18944,
        num_hidden_layers=28, num_attention_heads=28, num_key_value_heads=4, vocab_size=152064,
        max_position_embeddings=32768, rms_norm_eps=1e-6, rope_theta=1000000.0, tie_word_embeddings=False),
    "qwen3-30b-a3b": dict(
        model_type="qwen3_moe", architectures=["Qwen3MoeForCausalLM"], hidden_size=2048, intermediate_size=6144,
        moe_intermediate_size=768, num_experts=128, num_experts_per_tok=8, num_hidden_layers=48,
        num_attention_heads=32, num_key_value_heads=4, head_dim=128, vocab_size=151936, norm_topk_prob=True,
        decoder_sparse_step=1, mlp_only_layers=[],
        max_position_embeddings=40960, rms_norm_eps=1e-6, rope_theta=1000000.0, tie_word_embeddings=False),
    "gemma-2-9b": dict(
        model_type="gemma2", architectures=["Gemma2ForCausalLM"], hidden_size=3584, intermediate_size=14336,
        num_hidden_layers=42, num_attention_heads=16, num_key_value_heads=8, head_dim=256, vocab_size=256000,
        max_position_embeddings=8192, sliding_window=4096, query_pre_attn_scalar=256, tie_word_embeddings=True,
        hidden_act="gelu_pytorch_tanh", hidden_activation="gelu_pytorch_tanh"),
    "gemma-3-12b": dict(
        model_type="gemma3_text", architectures=["Gemma3ForCausalLM"], hidden_size=3840, intermediate_size=15360,
        num_hidden_layers=48, num_attention_heads=16, num_key_value_heads=8, head_dim=256, vocab_size=262208,
        max_position_embeddings=131072, sliding_window=1024, sliding_window_pattern=6, query_pre_attn_scalar=256,
        rope_theta=1000000.0, rope_local_base_freq=10000.0, tie_word_embeddings=True,
        hidden_activation="gelu_pytorch_tanh"),
    "phi-3-mini": dict(
        model_type="phi3", architectures=["Phi3ForCausalLM"], hidden_size=3072, intermediate_size=8192,
        num_hidden_layers=32, num_attention_heads=32, num_key_value_heads=32, vocab_size=32064, sliding_window=2047,
        max_position_embeddings=4096, original_max_position_embeddings=4096, rms_norm_eps=1e-5,
        pad_token_id=0, tie_word_embeddings=False),
    "gpt-oss-20b": dict(
        model_type="gpt_oss", architectures=["GptOssForCausalLM"], hidden_size=2880, intermediate_size=2880,
        num_hidden_layers=24, num_attention_heads=64, num_key_value_heads=8, head_dim=64, vocab_size=201088,
        num_local_experts=32, num_experts_per_tok=4, sliding_window=128, max_position_embeddings=131072,
        rope_theta=150000.0, tie_word_embeddings=False,
        rope_scaling=dict(rope_type="yarn", factor=32.0, original_max_position_embeddings=4096, beta_fast=32.0,
                          beta_slow=1.0, truncate=False)),
    "deepseek-v2-lite": dict(
        model_type="deepseek_v2", architectures=["DeepseekV2ForCausalLM"], hidden_size=2048, intermediate_size=10944,
        moe_intermediate_size=1408, num_hidden_layers=27, num_attention_heads=16, num_key_value_heads=16,
        kv_lora_rank=512, q_lora_rank=None, qk_nope_head_dim=128, qk_rope_head_dim=64, v_head_dim=128,
        n_routed_experts=64, n_shared_experts=2, num_experts_per_tok=6, first_k_dense_replace=1, moe_layer_freq=1,
        n_group=1, topk_group=1, topk_method="greedy", scoring_func="softmax", norm_topk_prob=False,
        routed_scaling_factor=1.0, vocab_size=102400, max_position_embeddings=163840, tie_word_embeddings=False),
    "mamba2-2.7b": dict(
        model_type="mamba2", architectures=["Mamba2ForCausalLM"], hidden_size=2560, num_hidden_layers=64, expand=2,
        head_dim=64, num_heads=80, n_groups=1, state_size=128, conv_kernel=4, vocab_size=50288,
        tie_word_embeddings=True, use_bias=False, use_conv_bias=True, layer_norm_epsilon=1e-5),
    "falcon-h1-7b": dict(
        model_type="falcon_h1", architectures=["FalconH1ForCausalLM"], hidden_size=3072, intermediate_size=12288,
        num_hidden_layers=44, num_attention_heads=12, num_key_value_heads=2, head_dim=128, vocab_size=130048,
        mamba_d_ssm=3072, mamba_d_state=256, mamba_n_heads=24, mamba_d_head=128, mamba_n_groups=1, mamba_d_conv=4,
        mamba_chunk_size=128, mamba_expand=2, mamba_rms_norm=False, mamba_norm_before_gate=False, mamba_conv_bias=True,
        mamba_proj_bias=False, max_position_embeddings=262144, rope_theta=100000000000.0, tie_word_embeddings=False,
        embedding_multiplier=5.656854249492381, lm_head_multiplier=0.0195, key_multiplier=0.0078125,
        attention_in_multiplier=1.0, attention_out_multiplier=0.234375, ssm_in_multiplier=1.25, ssm_out_multiplier=0.117,
        mlp_multipliers=[0.55, 0.3], ssm_multipliers=[0.3535, 0.25, 0.3535, 0.5, 0.3535]),
    "granite-4-h-tiny": dict(
        model_type="granitemoehybrid", architectures=["GraniteMoeHybridForCausalLM"], hidden_size=1536,
        intermediate_size=512, shared_intermediate_size=1024, num_hidden_layers=40, num_attention_heads=12,
        num_key_value_heads=4, vocab_size=100352, num_local_experts=64, num_experts_per_tok=6,
        layer_types=["attention" if i % 10 == 5 else "mamba" for i in range(40)], position_embedding_type="nope",
        mamba_d_state=128, mamba_n_heads=48, mamba_d_head=64, mamba_n_groups=1, mamba_d_conv=4, mamba_chunk_size=256,
        mamba_expand=2, mamba_conv_bias=True, mamba_proj_bias=False, max_position_embeddings=131072,
        embedding_multiplier=12.0, attention_multiplier=0.0078125, residual_multiplier=0.22, logits_scaling=6.0,
        tie_word_embeddings=True),
    "lfm2-1.2b": dict(
        model_type="lfm2", architectures=["Lfm2ForCausalLM"], hidden_size=2048, intermediate_size=12288,
        block_ff_dim=12288, block_auto_adjust_ff_dim=True, block_multiple_of=256, block_ffn_dim_multiplier=1.0,
        num_hidden_layers=16, num_attention_heads=32, num_key_value_heads=8, vocab_size=65536, conv_L_cache=3,
        full_attn_idxs=[2, 5, 8, 10, 12, 14],
        layer_types=["full_attention" if i in (2, 5, 8, 10, 12, 14) else "conv" for i in range(16)], max_position_embeddings=128000, rope_theta=1000000.0,
        norm_eps=1e-5, block_norm_eps=1e-5, tie_word_embeddings=True),
    "qwen3-next-80b-a3b": dict(
        model_type="qwen3_next", architectures=["Qwen3NextForCausalLM"], hidden_size=2048, intermediate_size=5120,
        num_hidden_layers=48, num_attention_heads=16, num_key_value_heads=2, head_dim=256, vocab_size=151936,
        linear_conv_kernel_dim=4, linear_key_head_dim=128, linear_value_head_dim=128, linear_num_key_heads=16,
        linear_num_value_heads=32, moe_intermediate_size=512, shared_expert_intermediate_size=512, num_experts=512,
        num_experts_per_tok=10, decoder_sparse_step=1, norm_topk_prob=True, partial_rotary_factor=0.25,
        max_position_embeddings=262144, rope_theta=10000000.0, tie_word_embeddings=False),
    "command-r7b": dict(
        model_type="cohere2", architectures=["Cohere2ForCausalLM"], hidden_size=4096, intermediate_size=14336,
        num_hidden_layers=32, num_attention_heads=32, num_key_value_heads=8, vocab_size=256000, sliding_window=4096,
        sliding_window_pattern=4, logit_scale=0.25, max_position_embeddings=132096, rope_theta=50000.0,
        tie_word_embeddings=True),
}


def plain(c, layer, width, names="gate up down".split(), prefix="mlp"):
    """The feed-forward part with a gate."""
    gate, up, down = names
    base = f"model.layers.{layer}.{prefix}"
    h = c["hidden_size"]
    yield f"{base}.{gate}_proj.weight", (width, h)
    yield f"{base}.{up}_proj.weight", (width, h)
    yield f"{base}.{down}_proj.weight", (h, width)


def attention(c, layer, bias=(), norms=(), out="o_proj"):
    """Projections of queries, keys, values and the output."""
    base = f"model.layers.{layer}.self_attn"
    h, heads, kv = c["hidden_size"], c["num_attention_heads"], c["num_key_value_heads"]
    size = c.get("head_dim", h // heads)
    for name, rows, columns in (("q_proj", heads * size, h), ("k_proj", kv * size, h), ("v_proj", kv * size, h),
                                (out, h, heads * size)):
        yield f"{base}.{name}.weight", (rows, columns)
        if name in bias:
            yield f"{base}.{name}.bias", (rows,)
    for name in norms:
        yield f"{base}.{name}.weight", (size,)


def layer_norms(c, layer, *names):
    for name in names:
        yield f"model.layers.{layer}.{name}.weight", (c["hidden_size"],)


def ends(c, norm="model.norm", embedding="model.embed_tokens"):
    h, v = c["hidden_size"], c["vocab_size"]
    yield f"{embedding}.weight", (v, h)
    yield f"{norm}.weight", (h,)
    if not c["tie_word_embeddings"]:
        yield "lm_head.weight", (v, h)


USUAL = ("input_layernorm", "post_attention_layernorm")
FOUR = (*USUAL, "pre_feedforward_layernorm", "post_feedforward_layernorm")


def dense(c, bias=(), norms=(), around=USUAL):
    for i in range(c["num_hidden_layers"]):
        yield from attention(c, i, bias, norms)
        yield from plain(c, i, c["intermediate_size"])
        yield from layer_norms(c, i, *around)
    yield from ends(c)


def phi3(c):
    h, inner = c["hidden_size"], c["intermediate_size"]
    for i in range(c["num_hidden_layers"]):
        base = f"model.layers.{i}"
        yield f"{base}.self_attn.qkv_proj.weight", (3 * h, h)
        yield f"{base}.self_attn.o_proj.weight", (h, h)
        yield f"{base}.mlp.gate_up_proj.weight", (2 * inner, h)
        yield f"{base}.mlp.down_proj.weight", (h, inner)
        yield from layer_norms(c, i, *USUAL)
    yield from ends(c)


def experts(c, layer, count, width):
    for e in range(count):
        yield from plain(c, layer, width, prefix=f"mlp.experts.{e}")
    yield f"model.layers.{layer}.mlp.gate.weight", (count, c["hidden_size"])


def mixtral(c):
    h, inner = c["hidden_size"], c["intermediate_size"]
    for i in range(c["num_hidden_layers"]):
        base = f"model.layers.{i}.block_sparse_moe"
        yield from attention(c, i)
        yield f"{base}.gate.weight", (c["num_local_experts"], h)
        for e in range(c["num_local_experts"]):
            for name, shape in (("w1", (inner, h)), ("w2", (h, inner)), ("w3", (inner, h))):
                yield f"{base}.experts.{e}.{name}.weight", shape
        yield from layer_norms(c, i, *USUAL)
    yield from ends(c)


def qwen3_moe(c):
    for i in range(c["num_hidden_layers"]):
        yield from attention(c, i, norms=("q_norm", "k_norm"))
        yield from experts(c, i, c["num_experts"], c["moe_intermediate_size"])
        yield from layer_norms(c, i, *USUAL)
    yield from ends(c)


def qwen3_next(c):
    h = c["hidden_size"]
    keys = c["linear_num_key_heads"] * c["linear_key_head_dim"]
    values = c["linear_num_value_heads"] * c["linear_value_head_dim"]
    heads, size = c["num_attention_heads"], c["head_dim"]
    for i in range(c["num_hidden_layers"]):
        base = f"model.layers.{i}"
        if (i + 1) % 4 == 0:
            for name, shape in attention(c, i, norms=("q_norm", "k_norm")):
                # Queries carry a gate.
                yield name, ((2 * heads * size, h) if name.endswith("q_proj.weight") else shape)
        else:
            linear = f"{base}.linear_attn"
            yield f"{linear}.in_proj_qkvz.weight", (2 * keys + 2 * values, h)
            yield f"{linear}.in_proj_ba.weight", (2 * c["linear_num_value_heads"], h)
            yield f"{linear}.conv1d.weight", (2 * keys + values, 1, c["linear_conv_kernel_dim"])
            yield f"{linear}.dt_bias", (c["linear_num_value_heads"],)
            yield f"{linear}.A_log", (c["linear_num_value_heads"],)
            yield f"{linear}.norm.weight", (c["linear_value_head_dim"],)
            yield f"{linear}.out_proj.weight", (h, values)
        yield from experts(c, i, c["num_experts"], c["moe_intermediate_size"])
        yield from plain(c, i, c["shared_expert_intermediate_size"], prefix="mlp.shared_expert")
        yield f"{base}.mlp.shared_expert_gate.weight", (1, h)
        yield from layer_norms(c, i, *USUAL)
    yield from ends(c)


def gpt_oss(c):
    h, inner, count = c["hidden_size"], c["intermediate_size"], c["num_local_experts"]
    for i in range(c["num_hidden_layers"]):
        base = f"model.layers.{i}"
        yield from attention(c, i, bias=("q_proj", "k_proj", "v_proj", "o_proj"))
        yield f"{base}.self_attn.sinks", (c["num_attention_heads"],)
        yield f"{base}.mlp.router.weight", (count, h)
        yield f"{base}.mlp.router.bias", (count,)
        yield f"{base}.mlp.experts.gate_up_proj", (count, h, 2 * inner)
        yield f"{base}.mlp.experts.gate_up_proj_bias", (count, 2 * inner)
        yield f"{base}.mlp.experts.down_proj", (count, inner, h)
        yield f"{base}.mlp.experts.down_proj_bias", (count, h)
        yield from layer_norms(c, i, *USUAL)
    yield from ends(c)


def deepseek(c):
    h, heads, rank = c["hidden_size"], c["num_attention_heads"], c["kv_lora_rank"]
    plain_dim, turned, value = c["qk_nope_head_dim"], c["qk_rope_head_dim"], c["v_head_dim"]
    for i in range(c["num_hidden_layers"]):
        base = f"model.layers.{i}.self_attn"
        yield f"{base}.q_proj.weight", (heads * (plain_dim + turned), h)
        yield f"{base}.kv_a_proj_with_mqa.weight", (rank + turned, h)
        yield f"{base}.kv_a_layernorm.weight", (rank,)
        yield f"{base}.kv_b_proj.weight", (heads * (plain_dim + value), rank)
        yield f"{base}.o_proj.weight", (h, heads * value)
        if i < c["first_k_dense_replace"]:
            yield from plain(c, i, c["intermediate_size"])
        else:
            inner = c["moe_intermediate_size"]
            yield from experts(c, i, c["n_routed_experts"], inner)
            yield from plain(c, i, inner * c["n_shared_experts"], prefix="mlp.shared_experts")
        yield from layer_norms(c, i, *USUAL)
    yield from ends(c)


def mixer(base, h, inner, groups, state, heads, kernel, norm):
    """A Mamba 2 layer."""
    convolved = inner + 2 * groups * state
    yield f"{base}.in_proj.weight", (inner + convolved + heads, h)
    yield f"{base}.conv1d.weight", (convolved, 1, kernel)
    yield f"{base}.conv1d.bias", (convolved,)
    for name in ("A_log", "D", "dt_bias"):
        yield f"{base}.{name}", (heads,)
    yield f"{base}.out_proj.weight", (h, inner)
    if norm:
        yield f"{base}.norm.weight", (inner,)


def mamba2(c):
    h = c["hidden_size"]
    for i in range(c["num_hidden_layers"]):
        base = f"backbone.layers.{i}"
        yield from mixer(f"{base}.mixer", h, c["expand"] * h, c["n_groups"], c["state_size"], c["num_heads"],
                         c["conv_kernel"], True)
        yield f"{base}.norm.weight", (h,)
    yield from ends(c, "backbone.norm_f", "backbone.embeddings")


def falcon_h1(c):
    h = c["hidden_size"]
    for i in range(c["num_hidden_layers"]):
        base = f"model.layers.{i}"
        yield from attention(c, i)
        yield from mixer(f"{base}.mamba", h, c["mamba_d_ssm"], c["mamba_n_groups"], c["mamba_d_state"],
                         c["mamba_n_heads"], c["mamba_d_conv"], False)
        yield from plain(c, i, c["intermediate_size"], prefix="feed_forward")
        yield from layer_norms(c, i, "input_layernorm", "pre_ff_layernorm")
    yield from ends(c, "model.final_layernorm")


def granite_hybrid(c):
    h, inner, shared, count = (c[k] for k in ("hidden_size", "intermediate_size", "shared_intermediate_size",
                                              "num_local_experts"))
    for i, kind in enumerate(c["layer_types"]):
        base = f"model.layers.{i}"
        if kind == "attention":
            yield from attention(c, i)
        else:
            yield from mixer(f"{base}.mamba", h, c["mamba_expand"] * h, c["mamba_n_groups"], c["mamba_d_state"],
                             c["mamba_n_heads"], c["mamba_d_conv"], True)
        yield f"{base}.block_sparse_moe.input_linear.weight", (count, 2 * inner, h)
        yield f"{base}.block_sparse_moe.output_linear.weight", (count, h, inner)
        yield f"{base}.block_sparse_moe.router.layer.weight", (count, h)
        yield f"{base}.shared_mlp.input_linear.weight", (2 * shared, h)
        yield f"{base}.shared_mlp.output_linear.weight", (h, shared)
        yield from layer_norms(c, i, *USUAL)
    yield from ends(c)


def lfm2(c):
    h, inner = c["hidden_size"], 8192
    for i in range(c["num_hidden_layers"]):
        base = f"model.layers.{i}"
        if i in c["full_attn_idxs"]:
            yield from attention(c, i, norms=("q_layernorm", "k_layernorm"), out="out_proj")
        else:
            yield f"{base}.conv.conv.weight", (h, 1, c["conv_L_cache"])
            yield f"{base}.conv.in_proj.weight", (3 * h, h)
            yield f"{base}.conv.out_proj.weight", (h, h)
        for name, shape in (("w1", (inner, h)), ("w2", (h, inner)), ("w3", (inner, h))):
            yield f"{base}.feed_forward.{name}.weight", shape
        yield from layer_norms(c, i, "operator_norm", "ffn_norm")
    yield from ends(c, "model.embedding_norm")


TENSORS = {
    "llama": dense,
    "mixtral": mixtral,
    "qwen2": lambda c: dense(c, bias=("q_proj", "k_proj", "v_proj")),
    "qwen3_moe": qwen3_moe,
    "gemma2": lambda c: dense(c, around=FOUR),
    "gemma3_text": lambda c: dense(c, norms=("q_norm", "k_norm"), around=FOUR),
    "phi3": phi3,
    "gpt_oss": gpt_oss,
    "deepseek_v2": deepseek,
    "mamba2": mamba2,
    "falcon_h1": falcon_h1,
    "granitemoehybrid": granite_hybrid,
    "lfm2": lfm2,
    "qwen3_next": qwen3_next,
    "cohere2": lambda c: dense(c, around=("input_layernorm",)),
}


def header(config):
    """The safetensors header of a model of this configuration, and the bytes of its data."""
    entries, at = {}, 0
    for name, shape in TENSORS[config["model_type"]](config):
        size = 2
        for n in shape:
            size *= n
        entries[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    return json.dumps(entries).encode(), at


def main():
    root = pathlib.Path(sys.argv[1])
    for name, config in MODELS.items():
        folder = root / name
        folder.mkdir(parents=True, exist_ok=True)
        text, size = header(config)
        text += b" " * (-len(text) % 8)
        with open(folder / "model.safetensors", "wb") as out:
            out.write(len(text).to_bytes(8, "little") + text)
            out.truncate(8 + len(text) + size)
        vocabulary = VOCABULARIES / ("llama_hf" if config["model_type"] in PIECES else "llama3")
        for file in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(vocabulary / file, folder / file)
        (folder / "config.json").write_text(json.dumps(config))
        print(name)


main()
