"""Stock llama.cpp's logits of a draft model (EAGLE-3, Gemma 4's assistants, DFlash and DSpark) on the states of the model that it drafts for.

    python stock_draft.py DRAFT WINDOWS.json OUT TARGET [PLACE]     # lists of token ids, each run from an empty cache

OUT gets a row of logits for each token of each window but the last, f32 little-endian: what comes after the token that
follows; of drafts of blocks, in a whole block at the PLACE of its first prediction (1), and of DFlash 2 the scores of its candidates
there, which stock llama.cpp chooses by. With a minus before PLACE it is all tokens of a draft instead, of the last but one token of each
window alone: a row for each, the tokens before it being those that stock chooses. The states go the way that llama.cpp's own speculative decoding sends them, by functions that its library exports
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
stock.sig("llama_vocab_mask", C.c_int32, P)
stock.sig("llama_set_causal_attn", None, P, C.c_bool)
stock.sig("llama_memory_seq_rm", C.c_bool, P, C.c_int32, C.c_int32, C.c_int32)
stock.sig("llama_model_meta_val_str", C.c_int32, P, C.c_char_p, C.c_char_p, C.c_size_t)


def numbers(at, rows, columns):
    if not at:
        sys.exit("llama.cpp gives no such states")
    return np.frombuffer(C.string_at(at, rows * columns * 4), np.float32).reshape(rows, columns).copy()


def compute(context, function, tokens, states, first=0):
    """Runs rows from position `first` on: tokens, states, or both."""
    rows = len(states if tokens is None else tokens)
    sequence = (C.c_int32 * 1)(0)
    batch = stock.Batch()
    batch.n_tokens = rows
    if tokens is not None:
        batch.token = (C.c_int32 * rows)(*tokens)
    if states is not None:
        states = np.ascontiguousarray(states, np.float32)
        batch.embd = states.ctypes.data
    # States of a model that rotates by sections have four rows of positions, of which others read the first.
    places = list(range(first, first + rows))
    batch.pos = (C.c_int32 * (4 * rows))(*places, *places, *places)
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

        self.kind = self.global_key("general.architecture")

    def global_key(self, name):
        """A key's value as text, "" where the file lacks it."""
        value = C.create_string_buffer(64)
        stock.lib.llama_model_meta_val_str(self.m, name.encode(), value, 64)
        return value.value.decode()

    def key(self, name):
        return self.global_key(f"{self.kind}.{name}")

    def adjust(self, params):
        super().adjust(params)
        params.w[CONTEXT_OTHER] = self.target.c & 0xFFFFFFFF
        params.w[CONTEXT_OTHER + 1] = self.target.c >> 32

    def clear(self):
        stock.lib.llama_memory_clear(stock.lib.llama_get_memory(self.c), True)


def inputs(draft, tokens):
    """The target's states that the draft reads, beside each other."""
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
    return np.concatenate(read, 1)


def eagle3(draft, tokens):
    """Logits of all tokens but the last, each with the token after it."""
    rows, read = len(tokens), inputs(draft, tokens)
    draft.clear()
    compute(draft.c, stock.lib.llama_encode, None, read)
    fused = numbers(get_states(draft.c), rows, draft.width)
    compute(draft.c, stock.lib.llama_decode, tokens[1:], fused[:-1])
    return numbers(stock.lib.llama_get_logits(draft.c), rows - 1, draft.n_vocab)


def assistant(draft, tokens):
    """The same of a draft that sees the keys and values of its target, as far as the state that it goes on from."""
    target, rows = draft.target, len(tokens)
    set_states(target.c, True, False)
    target.window(tokens)
    states = numbers(get_states(target.c), rows, stock.lib.llama_model_n_embd(target.m))
    memory = stock.lib.llama_get_memory(target.c)
    logits = []
    for at in reversed(range(rows - 1)):
        if not stock.lib.llama_memory_seq_rm(memory, 0, at + 1, -1):
            sys.exit("llama.cpp does not forget a token")
        compute(draft.c, stock.lib.llama_decode, tokens[at + 1:at + 2], states[at:at + 1], at + 1)
        logits.append(numbers(stock.lib.llama_get_logits(draft.c), 1, draft.n_vocab))
    return np.concatenate(logits[::-1])


def rows_of(draft, size, places):
    """Logits at these places of a block. Of DFlash 2 the scores of candidates: a row has their ids, then for each candidate before
    them a score for each; before the first place there is the known token alone, and stock takes the first of equal rows."""
    if not draft.candidates:
        return numbers(stock.lib.llama_get_logits(draft.c), size, draft.n_vocab)[places]
    count, before, all_rows = draft.candidates, 0, numbers(get_states(draft.c), size, draft.width)
    logits = np.full((len(places), draft.n_vocab), -np.inf, np.float32)
    for made, place in zip(logits, places):
        row = all_rows[place]
        scores = row[count * (1 + before):count * (2 + before)]
        made[row[:count].astype(int)] = scores
        before = int(np.argmax(scores))
    return logits


def dflash(draft, tokens):
    """The same of a draft of blocks, which has keys and values of its own of the target's states."""
    rows, read = len(tokens), inputs(draft, tokens)
    memory = stock.lib.llama_get_memory(draft.c)
    size = int(draft.key("block_size") or 16)
    mask = stock.lib.llama_vocab_mask(draft.v)
    stock.lib.llama_set_causal_attn(draft.c, draft.key("attention.causal") == "true")
    draft.clear()
    logits = []
    for at in range(rows - 1):
        compute(draft.c, stock.lib.llama_decode, None, read[at:at + 1], at)
        compute(draft.c, stock.lib.llama_decode, [tokens[at + 1]] + [mask] * (size - 1), None, at + 1)
        if not draft.walks:
            logits.append(rows_of(draft, size, [draft.place]))
        elif at == rows - 2:
            logits.append(rows_of(draft, size, list(range(draft.place, size))))
        if not stock.lib.llama_memory_seq_rm(memory, 0, at + 1, -1):
            sys.exit("llama.cpp does not forget a token")
    return np.concatenate(logits)


KINDS = {"eagle3": eagle3, "dflash": dflash, "gemma4-assistant": assistant}


def main():
    windows = json.load(open(sys.argv[2]))
    longest = max(map(len, windows))
    target = stock_f32.Model(sys.argv[4], longest, 1)
    # Room for a block behind the text.
    draft = Draft(sys.argv[1], target, longest + 32, 1)
    set_states(draft.c, True, False)
    place = "".join(sys.argv[5:]) or "1"
    draft.walks, draft.place = place.startswith("-"), int(place.lstrip("-"))
    draft.candidates = int(draft.key("selector_top_k") or 0)
    rows = [KINDS[draft.kind](draft, tokens) for tokens in windows]
    # A token that the draft lacks is infinitely unlikely.
    np.maximum(np.concatenate(rows), np.finfo(np.float32).min).astype("<f4").tofile(sys.argv[3])


if __name__ == "__main__":
    main()
