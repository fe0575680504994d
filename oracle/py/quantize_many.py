#!/usr/bin/env python3
"""Run stock llama.cpp's quantizer on a list of jobs.

    quantize_many.py JOBS.json

JOBS.json is a list of objects: `input`, `output` and `file_type` (llama_ftype), and optionally
`imatrix`, `pure`, `leave_output_tensor`, `allow_requantize`, `only_copy`, `keep_split`,
`output_tensor_type`, `token_embedding_type`, `tensor_types` (pairs of pattern and type),
`prune_layers`, `kv_overrides` (triples of key, one of int float bool str, value). Prints a list of
return codes as JSON. For a job with `dry_run` nothing is encoded, and in place of a return code of 0
comes an object of the type that each tensor would get, read from the library's log.
"""
import ctypes as C
import json
import re
import sys

import numpy as np

import stock


class Value(C.Union):
    _fields_ = [("i", C.c_int64), ("f", C.c_double), ("b", C.c_bool), ("s", C.c_char * 128)]


class KvOverride(C.Structure):
    _fields_ = [("tag", C.c_int), ("key", C.c_char * 128), ("value", Value)]


TENSOR = re.compile(r"\[ *\d+/ *\d+\] (\S+) +- \[[^\]]*\], type = +(\S+), size = +[\d.]+ MiB(?: -> +[\d.]+ MiB \((\S+)\))?")
LOG = C.CFUNCTYPE(None, C.c_int, C.c_char_p, C.c_void_p)
IMATRICES = {}
LINES = []


def importance(path):
    if path not in IMATRICES:
        IMATRICES[path] = stock.load_imatrix(path)
    return IMATRICES[path]


def quantize(job):
    p = stock.lib.llama_model_quantize_default_params()
    p.nthread, p.ftype = 2, job["file_type"]
    p.pure = job.get("pure", False)
    p.allow_requantize = job.get("allow_requantize", False)
    p.dry_run = job.get("dry_run", False)
    p.only_copy = job.get("only_copy", False)
    p.keep_split = job.get("keep_split", False)
    p.quantize_output_tensor = not job.get("leave_output_tensor", False)
    for option in ("output_tensor_type", "token_embedding_type"):
        if option in job:
            setattr(p, option, stock.GGML[job[option].lower()])
    keep = []
    if "imatrix" in job:
        entries = importance(job["imatrix"])
        array = (stock.Imatrix * (len(entries) + 1))()
        for i, (name, values) in enumerate(entries.items()):
            values = np.ascontiguousarray(values, np.float32)
            keep.append(values)
            array[i] = stock.Imatrix(name.encode(), values.ctypes.data, values.size)
        p.imatrix = C.addressof(array)
        keep.append(array)
    if "tensor_types" in job:
        rules = job["tensor_types"]
        array = (stock.Override * (len(rules) + 1))()
        for i, (pattern, ty) in enumerate(rules):
            array[i] = stock.Override(pattern.encode(), stock.GGML[ty.lower()])
        p.tt_overrides = C.addressof(array)
        keep.append(array)
    if "prune_layers" in job:
        array = (C.c_int32 * (len(job["prune_layers"]) + 1))(*job["prune_layers"], -1)
        p.prune_layers = C.addressof(array)
        keep.append(array)
    if "kv_overrides" in job:
        overrides = job["kv_overrides"]
        array = (KvOverride * (len(overrides) + 1))()
        for o, (key, tag, value) in zip(array, overrides):
            o.tag, o.key = ("int", "float", "bool", "str").index(tag), key.encode()
            setattr(o.value, tag[0], value.encode() if tag == "str" else value)
        p.kv_overrides = C.addressof(array)
        keep.append(array)
    LINES.clear()
    code = int(stock.lib.llama_model_quantize(job["input"].encode(), job["output"].encode(), C.byref(p)))
    if p.dry_run and code == 0:
        return {name: new or old for name, old, new in TENSOR.findall("".join(LINES))}
    return code


def main():
    keep = LOG(lambda _, text, __: LINES.append(text.decode(errors="replace")))
    stock.lib.llama_log_set.argtypes = [LOG, C.c_void_p]
    stock.lib.llama_log_set(keep, None)
    print(json.dumps([quantize(job) for job in json.load(open(sys.argv[1]))]))


if __name__ == "__main__":
    main()
