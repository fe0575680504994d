"""What stock llama.cpp says of many files: one process loads its library, and forks for each file, so that a file
that aborts the library is no more than an answer.

    python stock_loads.py < PATHS        # a path a line, or a model's and an adapter's with a tab between

prints for each line, in order, a line of three fields separated by tabs: the last path; `loads`, `refuses` or `crashes`;
and the first error that the library logged.
"""

import ctypes as C
import os
import signal
import sys

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

    @C.CFUNCTYPE(None, C.c_int, C.c_char_p, C.c_void_p)
    def log(level, text, data):
        if level >= 3:
            os.write(2, text)

    lib.llama_log_set.restype, lib.llama_log_set.argtypes = None, [C.c_void_p, C.c_void_p]
    lib.llama_log_set(C.cast(log, C.c_void_p), None)
    model = lib.llama_model_load_from_file(path.encode(), lib.llama_model_default_params())
    if model and adapter:
        lib.llama_adapter_lora_init.restype = C.c_void_p
        lib.llama_adapter_lora_init.argtypes = [C.c_void_p, C.c_char_p]
        os._exit(LOADS if lib.llama_adapter_lora_init(model, adapter.encode()) else REFUSES)
    os._exit(LOADS if model else REFUSES)


def answer(path, adapter):
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        os.dup2(write, 1)
        os.dup2(write, 2)
        signal.alarm(SECONDS)
        try:
            load(path, adapter)
        finally:
            os._exit(1)
    os.close(write)
    log = b""
    while piece := os.read(read, 1 << 16):
        log += piece
    os.close(read)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    word = {LOADS: "loads", REFUSES: "refuses"}.get(code, "crashes")
    return word, first_error(log.decode(errors="replace"))


def main():
    stock.ggml.ggml_backend_load_all_from_path(str(stock.D).encode())
    stock.lib.llama_backend_init()
    for path in sys.stdin:
        path, _, adapter = path.rstrip("\n").partition("\t")
        word, error = answer(path, adapter)
        print(adapter or path, word, error, sep="\t", flush=True)


main()
