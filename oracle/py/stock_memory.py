"""Memory that stock llama.cpp reports for files.

    python stock_memory.py < REQUESTS

A request is a line of JSON: `path`, `context`, `sequences`, `batch`, `unified`, `key_type` and `value_type` (names of
ggml types), `flash`, and `alloc`: whether weights are loaded, or sizes alone are worked out (the file's data may be
holes then). The answer to each is a line of JSON: sums of the sizes in the log, in MiB as logged: `model`, `cache`,
`states`, `compute`, `output`; or `error`. Each runs in a process of its own.
"""

import ctypes as C
import json
import os
import re
import sys

import forked
import stock

SECONDS = 120
"""Longest time that a child may take."""

SIZES = (
    ("model", re.compile(r"model buffer size = +([\d.]+) MiB")),
    ("compute", re.compile(r"compute buffer size = +([\d.]+) MiB")),
    ("output", re.compile(r"output buffer size = +([\d.]+) MiB")),
    ("states", re.compile(r"llama_memory_recurrent: size = +([\d.]+) MiB")),
    ("states", re.compile(r"DSV4 \w+ state buffer size = +([\d.]+) MiB")),
    ("cache", re.compile(r"llama_kv_cache: size = +([\d.]+) MiB")),
)


def load(request):
    """In a child: makes a context, whose log goes to standard error."""
    lib = stock.lib
    kept = forked.log_to_stderr()
    model = lib.llama_model_default_params()
    at = C.addressof(model)
    C.c_int32.from_address(at + 24).value = 0  # load_mode: no map
    C.c_bool.from_address(at + 74).value = False  # use_extra_bufts: no rearranged weights
    C.c_bool.from_address(at + 76).value = not request["alloc"]  # no_alloc
    loaded = lib.llama_model_load_from_file(request["path"].encode(), model)
    if not loaded:
        os._exit(3)
    context = lib.llama_context_default_params()
    at = C.addressof(context)
    for offset, value in ((0, request["context"]), (4, max(2048, request["batch"])), (8, request["batch"]),
                          (12, request["sequences"]), (52, 1 if request["flash"] else 0),
                          (104, stock.GGML[request["key_type"].lower()]),
                          (108, stock.GGML[request["value_type"].lower()])):
        C.c_int32.from_address(at + offset).value = value
    C.c_bool.from_address(at + 132).value = False  # swa_full, as the tools set it
    C.c_bool.from_address(at + 133).value = request["unified"]
    made = lib.llama_init_from_model(loaded, context)
    os._exit(0 if made else 4)


def answer(request):
    code, log = forked.run(lambda: load(request), SECONDS)
    if code:
        return {"error": f"exit {code}: " + " | ".join(log.splitlines()[-3:])}
    sums = {name: 0.0 for name, _ in SIZES}
    for name, pattern in SIZES:
        sums[name] += sum(float(found) for found in pattern.findall(log))
    return sums


def main():
    forked.start()
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)


main()
