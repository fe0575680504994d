"""Makes tiny model directories as mlx-lm writes them, each beside the same model in transformers' layout with every
weight computed by numpy.

    python mlx_models.py OUT_DIR            # OUT_DIR/mlx/NAME and OUT_DIR/plain/NAME
    python mlx_models.py OUT_DIR --check    # compares the computation with MLX's own (needs mlx[cpu])
"""

import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from tiny_models import BASE, tensors, tokenizer, write

E2M1 = np.float32([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6])


def codes_of(seed, shape, bits):
    n = int(np.prod(shape))
    x = (np.arange(n, dtype=np.uint64) + np.uint64(seed * 7919 + 1)) * np.uint64(6364136223846793005)
    return ((x >> np.uint64(33)) % np.uint64(1 << bits)).astype(np.uint32).reshape(shape)


def pack(codes, bits):
    """A row's fields, one after the other from the lowest bit on, in words of 32 bits."""
    fields = (codes[..., None] >> np.arange(bits, dtype=np.uint32)) & 1
    stream = fields.reshape(*codes.shape[:-1], -1).astype(np.uint8)
    return np.packbits(stream, axis=-1, bitorder="little").view("<u4")


def e4m3(codes):
    """FP8 of four exponent and three mantissa bits, without infinities."""
    sign = np.where(codes & 128, -1.0, 1.0)
    exponent, mantissa = (codes >> 3) & 15, codes & 7
    small = mantissa / 8 * 2.0 ** -6
    return (sign * np.where(exponent == 0, small, (1 + mantissa / 8) * 2.0 ** (exponent.astype(float) - 7))).astype(np.float32)


def quantized(seed, shape, bits, group, mode):
    """What is stored of a layer, and its weights."""
    groups = (*shape[:-1], shape[-1] // group)
    spread = lambda x: np.repeat(x, group, axis=-1)  # noqa: E731
    if mode == "affine":
        codes = codes_of(seed, shape, bits)
        scales = (codes_of(seed + 1, groups, 7) + 1).astype(np.float16) / 512
        biases = -scales * np.float16(1 << (bits - 1)) + codes_of(seed + 2, groups, 4).astype(np.float16) / 64
        values = codes.astype(np.float32) * spread(scales.astype(np.float32)) + spread(biases.astype(np.float32))
        return dict(weight=pack(codes, bits), scales=scales, biases=biases.astype(np.float16)), values
    scales = (codes_of(seed + 1, groups, 3) + 120).astype(np.uint8)
    if mode == "nvfp4":
        scales = (codes_of(seed + 1, groups, 6) + 24).astype(np.uint8)
    factor = e4m3(scales) if mode == "nvfp4" else np.exp2(scales.astype(np.float32) - 127)
    if mode == "mxfp8":
        codes = codes_of(seed, shape, 8) & 0xF7
        values = e4m3(codes)
    else:
        codes = codes_of(seed, shape, 4)
        values = E2M1[codes]
    return dict(weight=pack(codes, bits), scales=scales), values * spread(factor)


def stack(made, module, names, experts):
    """Experts under MLX's name for all of them together."""
    for hf, mlx in names.items():
        parts = [made.pop(f"{module}.experts.{e}.{hf}.weight") for e in range(experts)]
        made[f"{module}.switch_mlp.{mlx}.weight"] = np.stack(parts)


def model(out, name, architecture, model_type, default, layers={}, plain_modules=(), experts=0, changes={}):
    mlx, plain = out / "mlx" / name, out / "plain" / name
    config = BASE | dict(hidden_size=64, intermediate_size=128, head_dim=16) | changes
    for folder in (mlx, plain):
        folder.mkdir(parents=True)
        vocab = tokenizer(folder)
    config |= dict(architectures=[architecture], model_type=model_type, vocab_size=vocab)
    made = tensors(config, vocab, experts=experts)
    made = {n: x.astype(np.float16) for n, x in made.items() if not n.endswith("inv_freq")}
    if model_type == "qwen3_moe":
        rename = {"block_sparse_moe": "mlp", "w1": "gate_proj", "w2": "down_proj", "w3": "up_proj"}
        made = {".".join(rename.get(p, p) for p in n.split(".")): x for n, x in made.items()}
    stacks = {}
    if experts:
        numbered = model_type == "mixtral"
        names = dict(w1="gate_proj", w2="down_proj", w3="up_proj") if numbered else {
            n: n for n in ["gate_proj", "up_proj", "down_proj"]}
        for i in range(config["num_hidden_layers"]):
            module = f"model.layers.{i}." + ("block_sparse_moe" if numbered else "mlp")
            stack(made, module, names, experts)
            for hf, of_mlx in names.items():
                stacks[f"{module}.switch_mlp.{of_mlx}"] = f"{module}.experts.{{}}.{hf}"
    if model_type.startswith("qwen3"):
        for i in range(config["num_hidden_layers"]):
            for n in ("q_norm", "k_norm"):
                made[f"model.layers.{i}.self_attn.{n}.weight"] = np.ones(16, np.float16)
    stored, computed = {}, {}
    for seed, (tensor, value) in enumerate(made.items()):
        layer = tensor.removesuffix(".weight")
        if value.ndim > 1 and layer not in plain_modules:
            how = default | layers.get(layer, {})
            parts, value = quantized(seed, value.shape, how["bits"], how["group_size"], how.get("mode", "affine"))
            stored |= {f"{layer}.{part}": x for part, x in parts.items()}
        else:
            stored[tensor] = value
        if layer in stacks:
            computed |= {stacks[layer].format(e) + ".weight": x for e, x in enumerate(value)}
        else:
            computed[tensor] = value
    write(plain / "config.json", config)
    says = default | layers | {m: False for m in plain_modules}
    write(mlx / "config.json", config | dict(quantization=says, quantization_config=says))
    save_file({n: np.ascontiguousarray(x) for n, x in stored.items()}, mlx / "model.safetensors",
              metadata=dict(format="mlx"))
    save_file({n: np.ascontiguousarray(x.astype(np.float32)) for n, x in computed.items()},
              plain / "model.safetensors")


def check():
    import mlx.core as mx
    for mode, bits, group in [("affine", b, g) for b in (2, 3, 4, 5, 6, 8) for g in (32, 64, 128)] + [
            ("mxfp4", 4, 32), ("mxfp8", 8, 32), ("nvfp4", 4, 16)]:
        parts, values = quantized(5, (24, 256), bits, group, mode)
        arrays = [mx.array(parts["weight"])]
        for part in ("scales", "biases"):
            x = parts.get(part)
            arrays.append(None if x is None else mx.array(x.astype(np.float32) if mode == "affine" else x))
        found = mx.dequantize(*arrays, group_size=group, bits=bits, mode=mode)
        found = np.array(found.astype(mx.float32))
        assert found.shape == values.shape
        worst = np.abs(found - values).max()
        print(mode, bits, group, "equal" if (found == values).all() else f"differs by up to {worst}")


def main():
    out = Path(sys.argv[1])
    if sys.argv[2:] == ["--check"]:
        return check()
    four = dict(group_size=64, bits=4)
    model(out, "Tiny-Llama-4bit", "LlamaForCausalLM", "llama", four)
    mixed = {"model.embed_tokens": dict(group_size=64, bits=8), "lm_head": dict(group_size=32, bits=6),
             "model.layers.0.self_attn.q_proj": dict(group_size=32, bits=2),
             "model.layers.0.self_attn.k_proj": dict(group_size=32, bits=3),
             "model.layers.0.self_attn.v_proj": dict(group_size=64, bits=5),
             "model.layers.1.mlp.up_proj": dict(group_size=32, bits=4, mode="mxfp4")}
    model(out, "Tiny-Llama-Mixed", "LlamaForCausalLM", "llama", dict(group_size=64, bits=4, mode="affine"), mixed,
          plain_modules=("model.layers.1.self_attn.o_proj",))
    model(out, "Tiny-Llama-MXFP4", "LlamaForCausalLM", "llama", dict(group_size=32, bits=4, mode="mxfp4"))
    model(out, "Tiny-Llama-MXFP8", "LlamaForCausalLM", "llama", dict(group_size=32, bits=8, mode="mxfp8"))
    model(out, "Tiny-Llama-NVFP4", "LlamaForCausalLM", "llama", dict(group_size=16, bits=4, mode="nvfp4"))
    gates = lambda m: tuple(f"model.layers.{i}.{m}.gate" for i in range(2))  # noqa: E731
    model(out, "Tiny-Mixtral-4bit", "MixtralForCausalLM", "mixtral", four, plain_modules=gates("block_sparse_moe"),
          experts=4, changes=dict(num_local_experts=4, num_experts_per_tok=2))
    six = {f"model.layers.1.mlp.switch_mlp.{n}": dict(group_size=64, bits=6) for n in ("gate_proj", "up_proj")}
    model(out, "Tiny-Qwen3-MoE-8bit", "Qwen3MoeForCausalLM", "qwen3_moe", dict(group_size=64, bits=8), six,
          plain_modules=gates("mlp") + ("model.layers.0.mlp.switch_mlp.down_proj",), experts=4,
          changes=dict(num_experts=4, num_experts_per_tok=2, moe_intermediate_size=128, norm_topk_prob=True))


if __name__ == "__main__":
    main()
