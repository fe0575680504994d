#!/usr/bin/env python3
"""Encode, decode and check blocks with ggml, many times in one process.

    blocks.py DIR        # reads one JSON object a line from standard input, answers one a line

Three references answer: stock llama.cpp's library (through stock.py), libgguf's own build of ggml's
encoders, and the decoders that the gguf package has in numpy. The first is always asked, the others for
the types that they have. Arrays travel as raw files in DIR:

    {"op": "encode", "type": ID, "rows": N, "row_len": N, "importance": BOOL}
        rows.f32 [, importance.f32] -> stock.bin [, libgguf.bin], and their decoding as below
    {"op": "decode", "type": ID}
        blocks.bin -> stock.f32 [, numpy.f32]
    {"op": "validate", "type": ID}
        blocks.bin -> valid.bin, one byte a block
    {"op": "time", "work": "encode" or "decode", "type": ID, "rows": N, "row_len": N, "importance": BOOL,
     "seconds": S}
        rows.f32 [, importance.f32] or blocks.bin -> seconds of processor time
        of the shortest of as many calls as fit in S
"""
import ctypes as C, json, os, pathlib, sys, time
import numpy as np
import gguf, libgguf
import stock

DIR = pathlib.Path(sys.argv[1])
P = C.c_void_p
STORED = (0, 1, 30)                 # libgguf stores these without ggml
OLDER = (29,)                       # libgguf carries ggml's IQ1_M encoder of before the stock library's

quantize = stock.base.ggml_quantize_chunk
quantize.restype, quantize.argtypes = C.c_size_t, [C.c_int, P, P, C.c_int64, C.c_int64, C.c_int64, P]
check = stock.base.ggml_validate_row_data
check.restype, check.argtypes = C.c_bool, [C.c_int, P, C.c_size_t]


def encode(job):
    ty, rows, row_len = job["type"], job["rows"], job["row_len"]
    x = np.fromfile(DIR / "rows.f32", np.float32)
    im = np.fromfile(DIR / "importance.f32", np.float32) if job["importance"] else None
    tr = stock.traits(ty)
    out = np.zeros(x.size // tr.block * tr.size, np.uint8)
    start = time.perf_counter()
    quantize(ty, x.ctypes.data, out.ctypes.data, 0, rows, row_len, None if im is None else im.ctypes.data)
    seconds = time.perf_counter() - start
    out.tofile(DIR / "stock.bin")
    other = ty not in STORED + OLDER and libgguf.row_size(ty, row_len) > 0
    if other:
        again = np.zeros_like(out)
        libgguf.quantize_rows_into_raw(ty, x, again, rows, row_len, im)
        again.tofile(DIR / "libgguf.bin")
    return dict(seconds=seconds, libgguf=other) | decode(job, out)


def decode(job, blocks=None):
    ty = job["type"]
    if blocks is None:
        blocks = np.fromfile(DIR / "blocks.bin", np.uint8)
    tr = stock.traits(ty)
    x = np.empty(blocks.size // tr.size * tr.block, np.float32)
    start = time.perf_counter()
    if ty == 0:
        x[:] = blocks.view(np.float32)
    else:
        C.CFUNCTYPE(None, P, P, C.c_int64)(tr.to_float)(blocks.ctypes.data, x.ctypes.data, x.size)
    seconds = time.perf_counter() - start
    x.tofile(DIR / "stock.f32")
    try:
        with np.errstate(all="ignore"):
            y = gguf.dequantize(blocks.reshape(1, -1), gguf.GGMLQuantizationType(ty))
    except (ValueError, NotImplementedError):      # a type that the package does not know, or not decode
        return dict(decode_seconds=seconds, numpy=False)
    np.ascontiguousarray(y, np.float32).tofile(DIR / "numpy.f32")
    return dict(decode_seconds=seconds, numpy=True)


def validate(job):
    blocks = np.fromfile(DIR / "blocks.bin", np.uint8)
    size = stock.traits(job["type"]).size
    keep = os.dup(2)                               # ggml says what is wrong with each block
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    ok = [check(job["type"], blocks.ctypes.data + at, size) for at in range(0, blocks.size, size)]
    os.dup2(keep, 2)
    os.close(null)
    os.close(keep)
    np.array(ok, np.uint8).tofile(DIR / "valid.bin")
    return {}


def shortest(limit, call):
    call()
    best, calls, begun = float("inf"), 0, time.perf_counter()
    while calls < 3 or time.perf_counter() - begun < limit:
        start = time.process_time()
        call()
        best = min(best, time.process_time() - start)
        calls += 1
    return best


def timed(job):
    ty, rows, row_len, limit = job["type"], job["rows"], job["row_len"], job["seconds"]
    tr = stock.traits(ty)
    other = ty not in STORED and libgguf.row_size(ty, row_len) > 0
    if job["work"] == "decode":
        blocks = np.fromfile(DIR / "blocks.bin", np.uint8)
        x = np.empty(rows * row_len, np.float32)
        if ty == 0:
            return dict(stock=shortest(limit, lambda: np.copyto(x, blocks.view(np.float32))), libgguf=None)
        to_float = C.CFUNCTYPE(None, P, P, C.c_int64)(tr.to_float)
        return dict(stock=shortest(limit, lambda: to_float(blocks.ctypes.data, x.ctypes.data, x.size)),
                    libgguf=None)
    x = np.fromfile(DIR / "rows.f32", np.float32)
    im = np.fromfile(DIR / "importance.f32", np.float32) if job["importance"] else None
    im_data = None if im is None else im.ctypes.data
    out = np.zeros(x.size // tr.block * tr.size, np.uint8)
    first = shortest(limit, lambda: quantize(ty, x.ctypes.data, out.ctypes.data, 0, rows, row_len, im_data))
    if not other:
        return dict(stock=first, libgguf=None)
    return dict(stock=first, libgguf=shortest(
        limit, lambda: libgguf.quantize_rows_into_raw(ty, x, out, rows, row_len, im)))


# ggml's IQ3_XXS encoder prints to standard output where a point is off its grid: answers go another way.
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
for line in sys.stdin:
    job = json.loads(line)
    answer = dict(encode=encode, decode=decode, validate=validate, time=timed)[job["op"]](job)
    print(json.dumps(answer), file=answers, flush=True)
