"""Work with stock llama.cpp's library in processes of its own: one process loads the library, and forks for each file, so
that a file that aborts the library is no more than an answer."""

import ctypes as C
import os
import signal

import stock


def start():
    """Loads the library's backends, once."""
    stock.ggml.ggml_backend_load_all_from_path(str(stock.D).encode())
    stock.lib.llama_backend_init()


def log_to_stderr(least=0):
    """In a child: what the library says of at least this level goes to standard error."""
    @C.CFUNCTYPE(None, C.c_int, C.c_char_p, C.c_void_p)
    def log(level, text, data):
        if level >= least:
            os.write(2, text)

    stock.lib.llama_log_set.restype, stock.lib.llama_log_set.argtypes = None, [C.c_void_p, C.c_void_p]
    stock.lib.llama_log_set(C.cast(log, C.c_void_p), None)
    return log


def run(work, seconds):
    """Runs `work`, which ends by os._exit, in a child of at most this many seconds: its exit code, negative for a signal,
    and all that it wrote."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        os.dup2(write, 1)
        os.dup2(write, 2)
        signal.alarm(seconds)
        try:
            work()
        finally:
            os._exit(1)
    os.close(write)
    log = b""
    while piece := os.read(read, 1 << 16):
        log += piece
    os.close(read)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return code, log.decode(errors="replace")
