"""Tensors of other types than F32 in the tiny models: FP8 and 4-bit codes with their scales, integers.

What is stored in another type follows from name order and place as the weights do, so that oracle/src/architectures.rs
makes the same bytes without Python.
"""

import json

import numpy as np

WIDTHS = {"F32": 4, "BF16": 2, "I64": 8, "F8_E4M3": 1, "F8_E8M0": 1, "I8": 1, "U8": 1}


SCALES = "U8 scales"
"""Exponents that are stored as plain bytes."""


def seven_bits(seed, count):
    """The numbers that the weights are made of."""
    x = (np.arange(count, dtype=np.uint64) + np.uint64(seed * 1000003)) * np.uint64(6364136223846793005)
    x = (x ^ (x >> np.uint64(29))) * np.uint64(1442695040888963407)
    return (x >> np.uint64(57)).astype(np.uint8)


def stored(seed, shape, dtype):
    """Bytes of a tensor of this type."""
    n = seven_bits(seed, int(np.prod(shape)))
    if dtype == "F8_E4M3":
        # Sign and magnitudes below 2: no number is NaN.
        return ((n & 0x3F) | ((n & 0x40) << 1)).tobytes()
    if dtype in ("F8_E8M0", SCALES):
        return (116 + n % 8).astype(np.uint8).tobytes()
    if dtype in ("I8", "U8"):
        return ((n << 1) | (n >> 6)).astype(np.uint8).tobytes()
    if dtype == "BF16":
        x = (n.astype(np.int64) * 2 - 127).astype(np.float32) / 256
        return (x.view(np.uint32) >> 16).astype(np.uint16).tobytes()
    raise ValueError(dtype)


def write(path, made, others, numbers):
    """A file of F32 arrays (`made`), with tensors of other types in their places: `others` names those, `numbers` lists of
    integers."""
    header, data = {}, b""
    for seed, (name, value) in enumerate(made.items()):
        shape = list(value.shape)
        if name in numbers:
            kind, content = "I64", np.asarray(numbers[name], dtype="<i8").tobytes()
        elif name in others:
            kind, content = others[name].split()[0], stored(seed, shape, others[name])
        else:
            kind, content = "F32", np.ascontiguousarray(value, dtype="<f4").tobytes()
        header[name] = dict(dtype=kind, shape=shape, data_offsets=[len(data), len(data) + len(content)])
        data += content
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
