"""Makes tiny Llama directories whose weights are quantized, each beside one with the plain weights.

    python quantized_models.py OUT_DIR

OUT_DIR/quantized/KIND holds what a quantizing library would publish, OUT_DIR/plain/KIND the same model with
the weights that this stands for, worked out here element by element in float32 from the descriptions of the
formats. Digests of what the stock converter makes of the kinds that it knows are in digests/quantized.txt.
"""

import json
import sys
from pathlib import Path

import numpy as np

import tiny_models

CONFIG = tiny_models.BASE | dict(architectures=["LlamaForCausalLM"], model_type="llama", intermediate_size=128,
                                 hidden_size=128, num_attention_heads=4, num_key_value_heads=2, bos_token_id=1,
                                 eos_token_id=2)
LINEAR = "_proj.weight"
DTYPES = {"float32": "F32", "float16": "F16", "uint8": "U8", "int8": "I8", "int32": "I32", "int64": "I64"}


class Typed:
    """Bytes of a dtype that numpy does not have."""

    def __init__(self, dtype, array):
        self.dtype, self.array = dtype, array


def save(path, tensors):
    header, data = {}, b""
    for name in sorted(tensors):
        value = tensors[name]
        typed = value if isinstance(value, Typed) else Typed(DTYPES[str(value.dtype)], value)
        raw = np.ascontiguousarray(typed.array).tobytes()
        header[name] = dict(dtype=typed.dtype, shape=list(typed.array.shape), data_offsets=[len(data), len(data) + len(raw)])
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def e4m3(bytes_):
    b = bytes_.astype(np.int64)
    exponent, mantissa = b >> 3 & 15, b & 7
    value = np.where(exponent == 0, mantissa * 2.0 ** -9, (8 + mantissa) * 2.0 ** (exponent - 10.0))
    return np.where(b >= 128, -value, value).astype(np.float32)


def numbers(rng, dtype, *shape):
    """Scales: a few bits each, so that products are exact in float32."""
    return (rng.integers(1, 128, shape) / 4096).astype(dtype)


def fp8_codes(rng, shape):
    codes = rng.integers(0, 256, shape).astype(np.uint8)
    codes[codes & 0x7F == 0x7F] = 0x40
    return codes


def spread(scale, block, shape):
    for axis, size in enumerate(block):
        scale = np.repeat(scale, size, axis)
    return scale[: shape[0], : shape[1]]


def fp8_block(rng, name, shape):
    codes, block = fp8_codes(rng, shape), (40, 32)
    scale = numbers(rng, np.float32, *[-(-n // b) for n, b in zip(shape, block)])
    return {name: Typed("F8_E4M3", codes), name + "_scale_inv": scale}, e4m3(codes) * spread(scale, block, shape)


def fp8_tensor(rng, name, shape):
    codes, scale = fp8_codes(rng, shape), numbers(rng, np.float32)
    return {name: Typed("F8_E4M3", codes), name + "_scale_inv": scale,
            name.replace(".weight", ".activation_scale"): scale}, e4m3(codes) * scale


def fp8_channel(rng, name, shape):
    codes, scale = fp8_codes(rng, shape), numbers(rng, np.float32, shape[0], 1)
    return {name: Typed("F8_E4M3", codes), name + "_scale": scale}, e4m3(codes) * scale


def fp8_modelopt(rng, name, shape):
    codes, scale = fp8_codes(rng, shape), numbers(rng, np.float32)
    return {name: Typed("F8_E4M3", codes), name + "_scale": scale,
            name.replace(".weight", ".input_scale"): scale}, e4m3(codes) * scale


def e5m2_plain(rng, name, shape):
    codes = rng.integers(0, 256, shape).astype(np.uint8)
    codes[codes & 0x7C == 0x7C] = 0x3C
    return {name: Typed("F8_E5M2", codes)}, (codes.astype(np.uint16) << 8).view(np.float16).astype(np.float32)


def int8_channel(rng, name, shape, asymmetric=False):
    codes, scale = rng.integers(-128, 128, shape).astype(np.int8), numbers(rng, np.float16, shape[0], 1)
    stored, zero = {name: codes, name + "_scale": scale}, np.float32(0)
    if asymmetric:
        points = rng.integers(-128, 128, (shape[0], 1)).astype(np.int8)
        stored[name + "_zero_point"] = points
        zero = points.astype(np.float32)
    return stored, (codes.astype(np.float32) - zero) * scale.astype(np.float32)


def int8_asymmetric(rng, name, shape):
    return int8_channel(rng, name, shape, asymmetric=True)


def bit_stream(values, bits):
    """Packs the last axis as a stream of bits into 32-bit words."""
    *outer, n = values.shape
    stream = (values[..., None] >> np.arange(bits) & 1).reshape(*outer, n * bits // 32, 32)
    return (stream.astype(np.uint64) << np.arange(32, dtype=np.uint64)).sum(-1).astype(np.uint32).view(np.int32)


def gptq(bits, zero_offset, shuffled):
    def make(rng, name, shape):
        outputs, inputs = shape
        groups = inputs // 32
        weight = rng.integers(0, 2 ** bits, (inputs, outputs))
        zeros = rng.integers(0, 2 ** bits, (groups, outputs))
        scales = numbers(rng, np.float16, groups, outputs)
        index = np.arange(inputs) // 32
        if shuffled:
            rng.shuffle(index)
        index = index.astype(np.int32)
        module = name.removesuffix(".weight")
        stored = {module + ".qweight": bit_stream(weight.T, bits).T, module + ".qzeros": bit_stream(zeros, bits),
                  module + ".scales": scales, module + ".g_idx": index}
        plain = scales[index].astype(np.float32) * (weight - zeros[index] - zero_offset).astype(np.float32)
        return stored, plain.T
    return make


def awq(rng, name, shape):
    outputs, inputs = shape
    groups = inputs // 64
    weight, zeros = rng.integers(0, 16, (inputs, outputs)), rng.integers(0, 16, (groups, outputs))
    scales = numbers(rng, np.float16, groups, outputs)

    def pack(values):
        packed = np.zeros((values.shape[0], outputs // 8), np.uint32)
        for place, output in enumerate([0, 2, 4, 6, 1, 3, 5, 7]):
            packed |= values[:, output::8].astype(np.uint32) << np.uint32(4 * place)
        return packed.view(np.int32)
    module = name.removesuffix(".weight")
    stored = {module + ".qweight": pack(weight), module + ".qzeros": pack(zeros), module + ".scales": scales}
    index = np.arange(inputs) // 64
    return stored, ((weight - zeros[index]).astype(np.float32) * scales[index].astype(np.float32)).T


def packed(bits, group, asymmetric=False, ordered=False):
    def make(rng, name, shape):
        rows, columns = shape
        size = group or columns
        groups, fields = columns // size, 32 // bits
        weight, scale = rng.integers(0, 2 ** bits, shape), numbers(rng, np.float16, rows, groups)
        index = np.arange(columns) // size

        def pack(values):
            padded = np.zeros((values.shape[0], -(-values.shape[1] // fields) * fields), np.uint32)
            padded[:, : values.shape[1]] = values
            words = np.zeros((padded.shape[0], padded.shape[1] // fields), np.uint32)
            for i in range(fields):
                words |= padded[:, i::fields] << np.uint32(bits * i)
            return words.view(np.int32)
        stored = {name + "_packed": pack(weight), name + "_scale": scale, name + "_shape": np.array(shape, np.int64)}
        zero = np.full((rows, groups), 2 ** (bits - 1))
        if asymmetric:
            zero = rng.integers(0, 2 ** bits, (rows, groups))
            stored[name + "_zero_point"] = np.ascontiguousarray(pack(np.ascontiguousarray(zero.T)).T)
        if ordered:
            rng.shuffle(index)
            stored[name + "_g_idx"] = index.astype(np.int32)
        return stored, (weight - zero[:, index]).astype(np.float32) * scale[:, index].astype(np.float32)
    return make


def bnb4(kind, nested):
    def make(rng, name, shape):
        table = np.linspace(-1, 1, 16).round(3).astype(np.float32)
        codes = rng.integers(0, 16, shape)
        flat = codes.reshape(-1, 2)
        n = codes.size // 64
        state = dict(quant_type=kind, blocksize=64, dtype="float16", shape=list(shape))
        stored = {name: (flat[:, 0] << 4 | flat[:, 1]).astype(np.uint8)[:, None], name + ".quant_map": table}
        if nested:
            levels = np.linspace(-1, 1, 256).astype(np.float32)
            picks, maxima = rng.integers(0, 256, n).astype(np.uint8), numbers(rng, np.float32, -(-n // 100))
            offset = np.float32(0.046875)
            absmax = levels[picks] * maxima[np.arange(n) // 100] + offset
            stored |= {name + ".absmax": picks, name + ".nested_absmax": maxima, name + ".nested_quant_map": levels}
            state |= dict(nested_blocksize=100, nested_dtype="float32", nested_offset=float(offset))
        else:
            absmax = numbers(rng, np.float32, n)
            stored[name + ".absmax"] = absmax
        stored[f"{name}.quant_state.bitsandbytes__{kind}"] = np.frombuffer(json.dumps(state).encode(), np.uint8)
        plain = table[codes].reshape(-1, 64) * absmax[:, None]
        return stored, plain.astype(np.float16).astype(np.float32).reshape(shape)
    return make


def bnb8(rng, name, shape):
    codes, maxima = rng.integers(-127, 128, shape).astype(np.int8), numbers(rng, np.float32, shape[0])
    module = name.removesuffix(".weight")
    stored = {name: codes, module + ".SCB": maxima, name + "_format": np.array(0, np.uint8)}
    return stored, codes.astype(np.float32) * maxima[:, None] * np.float32(7.874015718698502e-3)


def bitnet(rng, name, shape):
    weight, scale = rng.integers(-1, 2, shape), np.array([1.5], np.float16)
    quarters = (weight + 1).reshape(4, shape[0] // 4, shape[1])
    codes = sum(quarters[i] << (2 * i) for i in range(4)).astype(np.uint8)
    return {name: codes, name + "_scale": scale}, weight.astype(np.float32) / np.float32(1.5)


E2M1 = np.array([0, .5, 1, 1.5, 2, 3, 4, 6, -0., -.5, -1, -1.5, -2, -3, -4, -6], np.float32)


def pairs(codes):
    return (codes[:, 0::2] | codes[:, 1::2] << 4).astype(np.uint8)


def mxfp4(rng, name, shape):
    codes = rng.integers(0, 16, shape)
    scale = rng.integers(118, 125, (shape[0], shape[1] // 32)).astype(np.uint8)
    plain = E2M1[codes] * np.repeat(2.0 ** (scale.astype(np.float32) - 127), 32, 1)
    return {name + "_packed": pairs(codes), name + "_scale": scale}, plain.astype(np.float32)


def nvfp4(compressed):
    def make(rng, name, shape):
        codes = rng.integers(0, 16, shape)
        scale = rng.integers(0x20, 0x50, (shape[0], shape[1] // 16)).astype(np.uint8)
        tensor = np.float32(1 / 8)
        plain = E2M1[codes] * np.repeat(e4m3(scale) * tensor, 16, 1)
        module, scale = name.removesuffix(".weight"), Typed("F8_E4M3", scale)
        if compressed:
            stored = {name + "_packed": pairs(codes), name + "_scale": scale,
                      name + "_global_scale": np.array([1 / tensor], np.float32),
                      module + ".input_global_scale": np.array([4], np.float32)}
        else:
            stored = {name: pairs(codes), name + "_scale": scale, name + "_scale_2": np.array(tensor),
                      module + ".input_scale": np.array(0.25, np.float32)}
        return stored, plain
    return make


def groups(format, **weights):
    group = dict(targets=["Linear"], weights=weights, input_activations=None, output_activations=None)
    return dict(quant_method="compressed-tensors", format=format, config_groups=dict(group_0=group), ignore=["lm_head"])


KINDS = {
    "fp8-block": (fp8_block, dict(quant_method="fp8", weight_block_size=[40, 32], fmt="e4m3")),
    "fp8-tensor": (fp8_tensor, dict(quant_method="fp8", weight_block_size=None)),
    "fp8-channel": (fp8_channel, groups("float-quantized", num_bits=8, type="float", strategy="channel")),
    "fp8-fbgemm": (fp8_channel, dict(quant_method="fbgemm_fp8", activation_scale_ub=1200.0)),
    "fp8-modelopt": (fp8_modelopt, dict(quant_method="modelopt", quant_algo="FP8")),
    "e5m2-plain": (e5m2_plain, None),
    "int8-channel": (int8_channel, groups("int-quantized", num_bits=8, type="int", strategy="channel")),
    "int8-asymmetric": (int8_asymmetric, groups("int-quantized", num_bits=8, type="int", strategy="channel")),
    "gptq-2": (gptq(2, 1, False), dict(quant_method="gptq", bits=2, group_size=32, desc_act=False)),
    "gptq-3": (gptq(3, 1, True), dict(quant_method="gptq", bits=3, group_size=32, desc_act=True)),
    "gptq-4": (gptq(4, 1, True), dict(quant_method="gptq", bits=4, group_size=32, desc_act=True)),
    "gptq-8": (gptq(8, 1, False), dict(quant_method="gptq", bits=8, group_size=32, desc_act=False)),
    "gptq-4-v2": (gptq(4, 0, False), dict(quant_method="gptq", bits=4, group_size=32, checkpoint_format="gptq_v2")),
    "awq": (awq, dict(quant_method="awq", bits=4, group_size=64, version="gemm", zero_point=True)),
    "int4-packed": (packed(4, 32), groups("pack-quantized", num_bits=4, type="int", strategy="group", group_size=32)),
    "int4-zero-points": (packed(4, 32, True), groups("pack-quantized", num_bits=4, type="int", strategy="group",
                                                     group_size=32, symmetric=False)),
    "int4-ordered": (packed(4, 32, True, True), groups("pack-quantized", num_bits=4, type="int", strategy="group",
                                                       group_size=32, actorder="group")),
    "int8-packed": (packed(8, None), groups("pack-quantized", num_bits=8, type="int", strategy="channel")),
    "bnb-nf4": (bnb4("nf4", False), dict(quant_method="bitsandbytes", load_in_4bit=True)),
    "bnb-fp4-nested": (bnb4("fp4", True), dict(quant_method="bitsandbytes", load_in_4bit=True)),
    "bnb-int8": (bnb8, dict(quant_method="bitsandbytes", load_in_8bit=True)),
    "bitnet": (bitnet, dict(quant_method="bitnet")),
    "mxfp4-packed": (mxfp4, groups("mxfp4-pack-quantized", num_bits=4, type="float", strategy="group", group_size=32)),
    "nvfp4-modelopt": (nvfp4(False), dict(quant_method="modelopt", quant_algo="NVFP4")),
    "nvfp4-packed": (nvfp4(True), groups("nvfp4-pack-quantized", num_bits=4, type="float", strategy="tensor_group",
                                         group_size=16)),
}


def main():
    out = Path(sys.argv[1])
    for number, (kind, (make, config)) in enumerate(KINDS.items()):
        rng = np.random.Generator(np.random.PCG64(number))
        stored_dir, plain_dir = out / "quantized" / kind, out / "plain" / kind
        for folder in (stored_dir, plain_dir):
            folder.mkdir(parents=True)
            vocab = tiny_models.tokenizer(folder)
            both = CONFIG | dict(vocab_size=vocab)
            extra = dict(quantization_config=config) if config and folder == stored_dir else {}
            tiny_models.write(folder / "config.json", both | extra)
        stored, plain = {}, {}
        for name, value in tiny_models.tensors(CONFIG, vocab).items():
            value = value.astype(np.float16)
            if not name.endswith(LINEAR):
                stored[name] = plain[name] = value
                continue
            made, meant = make(rng, name, value.shape)
            assert meant.dtype == np.float32 and meant.shape == value.shape
            stored |= made
            plain[name] = np.ascontiguousarray(meant)
        save(stored_dir / "model.safetensors", stored)
        save(plain_dir / "model.safetensors", plain)


if __name__ == "__main__":
    main()
