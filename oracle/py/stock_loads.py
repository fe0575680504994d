"""What stock llama.cpp says of many files, each in a process of its own.

    python stock_loads.py < PATHS        # a path a line, or a model's and an adapter's with a tab between

prints for each line, in order, a line of three fields separated by tabs: the last path; `loads`, `refuses` or `crashes`;
and the first error that the library logged.
"""

import ctypes as C
import os
import sys

# A failed assertion would start a debugger for its stack.
os.environ["GGML_NO_BACKTRACE"] = "1"

import forked
import stock

LOADS, REFUSES = 0, 7
"""Exit codes of a child; any other is a crash."""
SECONDS = 60
"""Longest time that a child may take."""


def first_error(log):
    """The first line of an error, with what follows it on the same line."""
    for line in log.splitlines():
        for mark in ("error loading model: ", "error loading model hyperparameters: ", "error loading model vocabulary: ",
                     "GGML_ASSERT(", "failed to", "terminate called"):
            if mark in line:
                return line[line.index(mark):].replace("\t", " ").strip()[:300]
    return ""


def load(path, adapter):
    """In a child: loads and ends."""
    lib = stock.lib
    kept = forked.log_to_stderr(least=3)
    model = lib.llama_model_load_from_file(path.encode(), lib.llama_model_default_params())
    if model and adapter:
        lib.llama_adapter_lora_init.restype = C.c_void_p
        lib.llama_adapter_lora_init.argtypes = [C.c_void_p, C.c_char_p]
        os._exit(LOADS if lib.llama_adapter_lora_init(model, adapter.encode()) else REFUSES)
    os._exit(LOADS if model else REFUSES)


def answer(path, adapter):
    code, log = forked.run(lambda: load(path, adapter), SECONDS)
    word = {LOADS: "loads", REFUSES: "refuses"}.get(code, "crashes")
    return word, first_error(log)


def main():
    forked.start()
    for path in sys.stdin:
        path, _, adapter = path.rstrip("\n").partition("\t")
        word, error = answer(path, adapter)
        print(adapter or path, word, error, sep="\t", flush=True)


main()
