"""Stock llama.cpp's mean negative log likelihood with nothing rounded below f32: no flash attention, a cache in f32.

    python stock_f32.py MODEL WINDOWS.json [LOGITS]      # lists of token ids, each run from an empty cache

prints the mean over the second half of each window. LOGITS gets all logits of all windows, f32 little-endian, a row for
each token.
"""

import json
import sys

import numpy as np

import stock


class Model(stock.Model):
    def adjust(self, params):
        """Turns flash attention off in llama_context_params, known by its word's position."""
        if params.w[13] != 0xFFFFFFFF:
            sys.exit("llama_context_params is not laid out as expected")
        params.w[13] = 0
        stock.exact_cache(params)


def main():
    windows = json.load(open(sys.argv[2]))
    model = Model(sys.argv[1], max(map(len, windows)), 2)
    total, count, rows = 0.0, 0, []
    for tokens in windows:
        # What is never predicted is infinitely unlikely, or as unlikely as a number can be.
        rows.append(np.maximum(model.window(tokens), np.finfo(np.float32).min))
        logits = rows[-1].astype(np.float64)
        for at in range(len(tokens) // 2, len(tokens) - 1):
            row = logits[at] - logits[at].max()
            total += np.log(np.exp(row).sum()) - row[tokens[at + 1]]
            count += 1
    if sys.argv[3:]:
        np.concatenate(rows).astype("<f4").tofile(sys.argv[3])
    print(f"{total / count:.9f}")


if __name__ == "__main__":
    main()
