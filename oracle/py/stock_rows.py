"""Stock llama.cpp's embeddings of every token, without pooling.

    python stock_rows.py MODEL WINDOWS.json OUT      # lists of token ids, each run by itself

OUT gets one row for each token of each window, f32 little-endian.
"""

import json
import sys

import numpy as np

import stock


class Exact(stock.States):
    """With a cache in f32."""

    def adjust(self, params):
        super().adjust(params)
        if (params.w[26], params.w[27]) != (1, 1):
            sys.exit("llama_context_params is not laid out as expected")
        params.w[26], params.w[27] = 0, 0


def main():
    windows = json.load(open(sys.argv[2]))
    model = Exact(sys.argv[1], max(map(len, windows)), 2)
    rows = [model.states(tokens) for tokens in windows]
    np.concatenate(rows).astype("<f4").tofile(sys.argv[3])


main()
