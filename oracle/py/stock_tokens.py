#!/usr/bin/env python3
"""Token ids by stock llama.cpp: stock_tokens.py TEXTS MODEL...

TEXTS holds texts, each after its length as a little-endian 32-bit number. For every model, of which only
the vocabulary is loaded, a line is printed for each text: the ids with special tokens added and parsed.
"""
import ctypes as C, pathlib, struct, sys
import stock

VOCAB_ONLY = 72                     # offset of that flag in llama_model_params

data, texts, at = pathlib.Path(sys.argv[1]).read_bytes(), [], 0
while at < len(data):
    n, = struct.unpack_from("<I", data, at)
    texts.append(data[at + 4:at + 4 + n])
    at += 4 + n

lib = stock.lib
quiet = C.CFUNCTYPE(None, C.c_int, C.c_char_p, C.c_void_p)(lambda *_: None)
lib.llama_log_set(quiet, None)
stock.ggml.ggml_backend_load_all_from_path(str(stock.D).encode())
lib.llama_backend_init()
lib.llama_model_free.argtypes = [C.c_void_p]
for path in sys.argv[2:]:
    params = lib.llama_model_default_params()
    flags = (C.c_uint8 * C.sizeof(params)).from_buffer(params)
    assert flags[VOCAB_ONLY:VOCAB_ONLY + 3] == [0, 0, 1], "llama_model_params has changed"
    flags[VOCAB_ONLY] = 1
    model = lib.llama_model_load_from_file(path.encode(), params) or sys.exit(f"llama.cpp does not load {path}")
    vocab = lib.llama_model_get_vocab(model)
    for text in texts:
        capacity = 4 * len(text) + 16
        ids = (C.c_int32 * capacity)()
        n = lib.llama_tokenize(vocab, text, len(text), ids, capacity, True, True)
        assert n >= 0, (path, text)
        print(*ids[:n])
    lib.llama_model_free(model)
