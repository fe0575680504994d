"""Containers as programs that we did not write see them.

container.py read FILE OUT         what the Python reader finds in FILE, as plain bytes in OUT
container.py write OUT little|big  a file of every value type, by the Python writer
container.py rewrite FILE OUT      FILE read and its header written again, by ggml
container.py split FILE PREFIX tensors|bytes N first|nofirst
                                   FILE cut into shards, by ggml's calls in the order of gguf-split
container.py merge PREFIX COUNT OUT
                                   shards merged, by ggml's calls in the order of gguf-split
"""

import ctypes as C
import sys

import gguf
import numpy as np


def little(array):
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def read(path, out):
    """For each key its name and its values; for each tensor name, type, shape, offset and data."""
    reader = gguf.GGUFReader(path, "r")
    with open(out, "wb") as f:
        for field in reader.fields.values():
            if field.name.startswith("GGUF."):
                continue
            f.write(field.name.encode() + b"\n")
            f.write(" ".join(str(int(t)) for t in field.types).encode() + b"\n")
            text = field.types[-1] == gguf.GGUFValueType.STRING
            for i in field.data:
                part = field.parts[i]
                f.write(len(part).to_bytes(8, "little") + bytes(part) if text else little(part))
            f.write(b"\n")
        for t in reader.tensors:
            shape = " ".join(str(int(n)) for n in t.shape)
            offset = int(t.data_offset) - reader.data_offset
            f.write(f"{t.name} {int(t.tensor_type)} {shape} {offset} {int(t.n_bytes)}\n".encode())
            f.write(little(t.data))


def write(path, order):
    endian = gguf.GGUFEndian.BIG if order == "big" else gguf.GGUFEndian.LITTLE
    w = gguf.GGUFWriter(path, "test", endianess=endian)
    w.add_custom_alignment(64)
    w.add_uint8("u8", 200)
    w.add_int8("i8", -100)
    w.add_uint16("u16", 60000)
    w.add_int16("i16", -30000)
    w.add_uint32("u32", 4000000000)
    w.add_int32("i32", -2000000000)
    w.add_float32("f32", 0.1)
    w.add_bool("yes", True)
    w.add_bool("no", False)
    w.add_string("text", "naïve\n\0 text")
    w.add_uint64("u64", 2**63 + 1)
    w.add_int64("i64", -(2**62))
    w.add_float64("f64", 1e-300)
    w.add_array("ints", [1, -2, 3])
    w.add_array("floats", [0.5, 0.25])
    w.add_array("flags", [True, False, True])
    w.add_array("texts", ["", "a", "ünï"])
    random = np.random.default_rng(1)
    w.add_tensor("single", random.standard_normal((5, 3), dtype=np.float32))
    w.add_tensor("half", random.standard_normal((2, 3, 4)).astype(np.float16))
    w.add_tensor("double", random.standard_normal(7))
    w.add_tensor("bytes", random.integers(-128, 127, (1, 9)).astype(np.int8))
    w.add_tensor("words", random.integers(-9999, 9999, 11).astype(np.int32))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


class InitParams(C.Structure):
    _fields_ = [("no_alloc", C.c_bool), ("ctx", C.POINTER(C.c_void_p))]


def library():
    import stock  # fetches the prebuilt library

    lib, ptr, text = stock.base, C.c_void_p, C.c_char_p
    for name, result, args in [
        ("gguf_init_from_file", ptr, [text, InitParams]),
        ("gguf_init_empty", ptr, []),
        ("gguf_set_kv", None, [ptr, ptr]),
        ("gguf_set_val_u16", None, [ptr, text, C.c_uint16]),
        ("gguf_set_val_i32", None, [ptr, text, C.c_int32]),
        ("gguf_add_tensor", None, [ptr, ptr]),
        ("gguf_get_n_tensors", C.c_int64, [ptr]),
        ("gguf_get_tensor_name", text, [ptr, C.c_int64]),
        ("gguf_get_tensor_offset", C.c_size_t, [ptr, C.c_int64]),
        ("gguf_get_tensor_size", C.c_size_t, [ptr, C.c_int64]),
        ("gguf_get_data_offset", C.c_size_t, [ptr]),
        ("gguf_get_meta_size", C.c_size_t, [ptr]),
        ("gguf_get_meta_data", None, [ptr, ptr]),
        ("ggml_get_tensor", ptr, [ptr, text]),
    ]:
        f = getattr(lib, name)
        f.restype, f.argtypes = result, args
    return lib


class File:
    """A file opened by ggml."""

    def __init__(self, lib, path):
        self.lib, self.path, self.ctx = lib, path, C.c_void_p()
        self.gguf = lib.gguf_init_from_file(path.encode(), InitParams(True, C.pointer(self.ctx)))
        assert self.gguf, f"ggml refuses {path}"
        self.count = lib.gguf_get_n_tensors(self.gguf)

    def tensor(self, i):
        return self.lib.ggml_get_tensor(self.ctx, self.lib.gguf_get_tensor_name(self.gguf, i))

    def size(self, i):
        return self.lib.gguf_get_tensor_size(self.gguf, i)

    def data(self, i):
        start = self.lib.gguf_get_data_offset(self.gguf) + self.lib.gguf_get_tensor_offset(self.gguf, i)
        with open(self.path, "rb") as f:
            f.seek(start)
            return f.read(self.size(i))


def padded(n):
    return (n + 31) // 32 * 32


def meta(lib, ctx):
    buf = C.create_string_buffer(lib.gguf_get_meta_size(ctx))
    lib.gguf_get_meta_data(ctx, buf)
    return buf.raw


def write_out(lib, ctx, tensors, path):
    with open(path, "wb") as f:
        f.write(meta(lib, ctx))
        for source, i in tensors:
            data = source.data(i)
            f.write(data + bytes(padded(len(data)) - len(data)))


def rewrite(path, out):
    lib = library()
    source = File(lib, path)
    with open(out, "wb") as f:
        f.write(meta(lib, source.gguf))


def split(path, prefix, mode, limit, first):
    lib, limit = library(), int(limit)
    source, shards, held = File(lib, path), [], 0

    def start():
        ctx = lib.gguf_init_empty()
        if not shards:
            lib.gguf_set_kv(ctx, source.gguf)
        lib.gguf_set_val_u16(ctx, b"split.no", len(shards))
        lib.gguf_set_val_u16(ctx, b"split.count", 0)
        lib.gguf_set_val_i32(ctx, b"split.tensors.count", source.count)
        shards.append((ctx, []))

    start()
    if first == "nofirst":
        start()
    for i in range(source.count):
        size = padded(source.size(i))
        full = held + size > limit if mode == "bytes" else i > 0 and i % limit == 0
        if full:
            start()
            held = 0
        held += size
        lib.gguf_add_tensor(shards[-1][0], source.tensor(i))
        shards[-1][1].append((source, i))
    for number, (ctx, tensors) in enumerate(shards):
        lib.gguf_set_val_u16(ctx, b"split.count", len(shards))
        write_out(lib, ctx, tensors, f"{prefix}-{number + 1:05}-of-{len(shards):05}.gguf")
    print(len(shards))


def merge(prefix, count, out):
    lib, count = library(), int(count)
    merged, tensors = lib.gguf_init_empty(), []
    for number in range(count):
        shard = File(lib, f"{prefix}-{number + 1:05}-of-{count:05}.gguf")
        if number == 0:
            lib.gguf_set_val_u16(shard.gguf, b"split.count", 0)
            lib.gguf_set_kv(merged, shard.gguf)
        for i in range(shard.count):
            lib.gguf_add_tensor(merged, shard.tensor(i))
            tensors.append((shard, i))
    write_out(lib, merged, tensors, out)


globals()[sys.argv[1]](*sys.argv[2:])
