#!/usr/bin/env python3
"""Importance as llama-imatrix collects it, with stock llama.cpp's library.

    stock_imatrix.py JOB.json      prints {tensor: {"sums": [[...] for each matrix], "counts": [...]}}

The job: `model`, `windows` (lists of token ids, each run from an empty cache), and `f32`, which turns flash
attention off and keeps the cache in f32, so that with an f32 model nothing is rounded below f32. The library
has no llama-imatrix in it; this is that tool's rules in its evaluation callback: inputs of MUL_MAT with at least
16 rows and of every MUL_MAT_ID whose weights are called blk.*, squared and summed by column, for each expert the
tokens that are sent to it. Sums are f64 here.

Windows of a model with an encoder and a decoder are pairs of lists, and its weights are called enc.blk.* and dec.blk.*; a
further argument is the file that gets the decoder's logits, f32 little-endian.
"""
import ctypes as C
import json
import sys

import numpy as np

import stock


class Tensor(C.Structure):
    pass


Tensor._fields_ = [("type", C.c_int), ("buffer", C.c_void_p), ("ne", C.c_int64 * 4), ("nb", C.c_size_t * 4),
                   ("op", C.c_int), ("op_params", C.c_int32 * 16), ("flags", C.c_int32),
                   ("src", C.POINTER(Tensor) * 10), ("view_src", C.c_void_p), ("view_offs", C.c_size_t),
                   ("data", C.c_void_p), ("name", C.c_char * 64), ("extra", C.c_void_p)]

stock.base.ggml_op_name.restype = C.c_char_p
OPS = {stock.base.ggml_op_name(i).decode(): i for i in range(60)}
SUMS, ERRORS = {}, []
LAYERS = ("blk.", "enc.blk.", "dec.blk.")


def array(tensor, kind):
    """A view of a tensor's data, outermost dimension first."""
    shape, strides = tensor.ne[::-1], tensor.nb[::-1]
    size = sum((n - 1) * step for n, step in zip(shape, strides)) + 4
    return np.ndarray(shape, kind, (C.c_char * size).from_address(tensor.data), 0, strides)


def collect(t):
    name, x = t.src[0].contents.name.decode(), t.src[1].contents
    rows = array(x, np.float32).astype(np.float64)
    if t.op == OPS["MUL_MAT_ID"]:
        experts = t.src[0].contents.ne[2]
        sums, counts = SUMS.setdefault(name, (np.zeros((experts, x.ne[0])), np.zeros(experts)))
        chosen = array(t.src[2].contents, np.int32)[0, 0]       # tokens x experts used
        for i in range(chosen.shape[1]):
            np.add.at(sums, chosen[:, i], rows[0][:, i % rows.shape[2]] ** 2)
            np.add.at(counts, chosen[:, i], 1)
    else:
        rows = rows.reshape(-1, x.ne[0])
        sums, counts = SUMS.setdefault(name, (np.zeros((1, x.ne[0])), np.zeros(1)))
        sums[0] += (rows ** 2).sum(0)
        counts[0] += len(rows)


@C.CFUNCTYPE(C.c_bool, C.POINTER(Tensor), C.c_bool, C.c_void_p)
def evaluated(pointer, ask, _):
    try:
        t = pointer.contents
        if t.op not in (OPS["MUL_MAT"], OPS["MUL_MAT_ID"]):
            return not ask
        name, x = t.src[0].contents.name.decode(), t.src[1].contents
        if ask:
            return t.op == OPS["MUL_MAT_ID"] or name.startswith(LAYERS) and x.ne[1] >= 16 and x.type == 0
        collect(t)
    except Exception as e:  # an exception cannot cross the library
        ERRORS.append(repr(e))
    return True


class Model(stock.Model):
    def adjust(self, params):
        """Sets what the job asks for in llama_context_params, known by the words' positions."""
        w = params.w
        if (w[13], w[26], w[27]) != (0xFFFFFFFF, 1, 1):
            sys.exit("llama_context_params is not laid out as expected")
        if self.f32:
            w[13], w[26], w[27] = 0, 0, 0
        address = C.cast(evaluated, C.c_void_p).value
        w[22], w[23] = address & 0xFFFFFFFF, address >> 32


def main():
    job = json.load(open(sys.argv[1]))
    Model.f32 = job["f32"]
    model = Model(job["model"], max(max(map(len, w)) if isinstance(w[0], list) else len(w) for w in job["windows"]), 2)
    logits = []
    for tokens in job["windows"]:
        if isinstance(tokens[0], list):
            model.states(tokens[0])
            tokens = tokens[1]
        logits.append(model.window(tokens))
        if ERRORS:
            sys.exit(ERRORS[0])
    if sys.argv[2:]:
        np.concatenate(logits).astype("<f4").tofile(sys.argv[2])
    print(json.dumps({name: {"sums": s.tolist(), "counts": c.tolist()} for name, (s, c) in SUMS.items()}))


main()
