"""Stock llama.cpp's logits of a draft model (EAGLE-3) on the states of the model that it drafts for.

    python stock_draft.py DRAFT WINDOWS.json OUT TARGET     # lists of token ids, each run from an empty cache

OUT gets a row of logits for each token of each window but the last, f32 little-endian: what comes after the token that
follows. The states go the way that llama.cpp's own speculative decoding sends them, by functions that its library exports
without a place in llama.h.
"""

import ctypes as C
import json
import sys

import numpy as np

import stock
import stock_f32

CONTEXT_OTHER = 38
"""Word of llama_context_params where the pointer to the target's context begins."""


def function(name, parameters, result, *arguments):
    """A function of C++: its mangled name is made of its name and its parameters."""
    found = stock.lib[f"_Z{len(name)}{name}{parameters}"]
    found.restype, found.argtypes = result, list(arguments)
    return found


P = C.c_void_p
set_states = function("llama_set_embeddings_nextn", "P13llama_contextbb", None, P, C.c_bool, C.c_bool)
get_states = function("llama_get_embeddings_nextn", "P13llama_context", P, P)
set_input = function("llama_set_embeddings_layer_inp", "P13llama_contextjb", None, P, C.c_uint32, C.c_bool)
get_input = function("llama_get_embeddings_layer_inp", "P13llama_contextj", P, P, C.c_uint32)
layer_ids = function("llama_model_target_layer_ids", "PK11llama_model", C.POINTER(C.c_int32), P)
layer_count = function("llama_model_target_layer_ids_n", "PK11llama_model", C.c_uint32, P)
stock.sig("llama_model_n_embd", C.c_int32, P)
stock.sig("llama_model_n_layer", C.c_int32, P)
stock.sig("llama_decode", C.c_int32, P, stock.Batch)


def numbers(at, rows, columns):
    if not at:
        sys.exit("llama.cpp gives no such states")
    return np.frombuffer(C.string_at(at, rows * columns * 4), np.float32).reshape(rows, columns).copy()


def compute(context, function, tokens, states):
    """Runs rows from position 0 on: tokens, states, or both."""
    rows = len(states if tokens is None else tokens)
    sequence = (C.c_int32 * 1)(0)
    batch = stock.Batch()
    batch.n_tokens = rows
    if tokens is not None:
        batch.token = (C.c_int32 * rows)(*tokens)
    if states is not None:
        states = np.ascontiguousarray(states, np.float32)
        batch.embd = states.ctypes.data
    batch.pos = (C.c_int32 * rows)(*range(rows))
    batch.n_seq_id = (C.c_int32 * rows)(*[1] * rows)
    batch.seq_id = (C.POINTER(C.c_int32) * rows)(*[C.cast(sequence, C.POINTER(C.c_int32))] * rows)
    batch.logits = (C.c_int8 * rows)(*[1] * rows)
    if function(context, batch):
        sys.exit("llama.cpp does not compute the batch")


class Draft(stock_f32.Model):
    """On the context of its target."""

    def __init__(self, path, target, n_ctx, threads):
        self.target = target
        super().__init__(path, n_ctx, threads)
        self.width = stock.lib.llama_model_n_embd(self.m)
        self.layers = layer_ids(self.m)[:layer_count(self.m)]

    def adjust(self, params):
        super().adjust(params)
        params.w[CONTEXT_OTHER] = self.target.c & 0xFFFFFFFF
        params.w[CONTEXT_OTHER + 1] = self.target.c >> 32

    def clear(self):
        stock.lib.llama_memory_clear(stock.lib.llama_get_memory(self.c), True)


def eagle3(draft, tokens):
    """Logits of all tokens but the last, each with the token after it."""
    target, rows = draft.target, len(tokens)
    width = stock.lib.llama_model_n_embd(target.m)
    count = stock.lib.llama_model_n_layer(target.m)
    for layer in draft.layers:
        if layer < count:
            set_input(target.c, layer, True)
        else:
            set_states(target.c, True, False)
    target.window(tokens)
    read = [numbers(get_input(target.c, layer) if layer < count else get_states(target.c), rows, width)
            for layer in draft.layers]
    draft.clear()
    compute(draft.c, stock.lib.llama_encode, None, np.concatenate(read, 1))
    fused = numbers(get_states(draft.c), rows, draft.width)
    compute(draft.c, stock.lib.llama_decode, tokens[1:], fused[:-1])
    return numbers(stock.lib.llama_get_logits(draft.c), rows - 1, draft.n_vocab)


def main():
    windows = json.load(open(sys.argv[2]))
    longest = max(map(len, windows))
    target = stock_f32.Model(sys.argv[4], longest, 2)
    draft = Draft(sys.argv[1], target, longest, 2)
    set_states(draft.c, True, False)
    rows = [eagle3(draft, tokens) for tokens in windows]
    # A token that the draft lacks is infinitely unlikely.
    np.maximum(np.concatenate(rows), np.finfo(np.float32).min).astype("<f4").tofile(sys.argv[3])


if __name__ == "__main__":
    main()
