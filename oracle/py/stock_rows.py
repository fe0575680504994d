"""Stock llama.cpp's embeddings of every token, without pooling.

    python stock_rows.py MODEL WINDOWS.json OUT         # lists of token ids, each run by itself
    python stock_rows.py MODEL WINDOWS.json OUT scores  # of a classifier, the scores of its labels instead

OUT gets one row for each token of each window, or one for each window, f32 little-endian.
"""

import ctypes as C
import json
import sys

import numpy as np

import stock


class Exact(stock.States):
    """With a cache in f32."""

    def adjust(self, params):
        super().adjust(params)
        stock.exact_cache(params)


class Scores(Exact):
    def adjust(self, params):
        super().adjust(params)
        params.w[11] = 4        # pooling_type: rank

    def states(self, tokens):
        self._compute(tokens, stock.lib.llama_encode)
        labels = stock.lib.llama_model_n_cls_out(self.m)
        raw = C.string_at(stock.lib.llama_get_embeddings_seq(self.c, 0), labels * 4)
        return np.frombuffer(raw, np.float32).reshape(1, labels)


def main():
    windows = json.load(open(sys.argv[2]))
    kind = Scores if sys.argv[4:] == ["scores"] else Exact
    model = kind(sys.argv[1], max(map(len, windows)), 2)
    rows = [model.states(tokens) for tokens in windows]
    np.concatenate(rows).astype("<f4").tofile(sys.argv[3])


main()
