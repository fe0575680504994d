"""Perplexity of a text with overlapping windows, of stock llama.cpp's logits, as llama-perplexity --ppl-stride has it.

    python stock_stride.py MODEL.gguf TEXT CONTEXT STRIDE WINDOWS
"""

import sys

import numpy as np

import stock


def main():
    path, text, context, stride, windows = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:6])
    context += stride // 2
    model = stock.Model(path, context, 2)
    tokens = model.tokenize(open(text, encoding="utf-8").read())
    total, count = 0.0, 0
    for start in range(0, windows * stride, stride):
        window = tokens[start:start + context]
        scores = stock.logp(model.window(window)[context - stride - 1:context - 1])
        targets = np.array(window[context - stride:])
        total -= scores[np.arange(stride), targets].sum()
        count += stride
    print(f"{np.exp(total / count):.6f} {count}")


main()
