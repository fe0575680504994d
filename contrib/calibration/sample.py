#!/usr/bin/env python3
"""Makes a text to calibrate on of which every second window is written by the model itself.

    llama-server -m MODEL-F16.gguf --port 8080 &
    contrib/calibration/sample.py TEXT OUT.txt [--windows 60] [--server http://127.0.0.1:8080] [--seed 1]

Windows of 512 tokens of TEXT and windows that the server's model writes take turns. The model is sampled as it is: temperature 1,
and nothing is cut off or penalized. Each of its windows begins with a token of TEXT, drawn at random, so that all kinds of text that TEXT
holds can come up; where the model ends before its window is full, another beginning follows.

Needs a running llama-server of llama.cpp, and nothing of Python but its standard library.
"""

import argparse
import json
import pathlib
import random
import sys
import urllib.error
import urllib.request

import passages

# Tokens of a window, as quantsmith and llama.cpp cut texts.
WINDOW = 512
# The model's own distribution: no cuts, no penalties.
PLAIN = {"samplers": ["temperature"], "temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "typical_p": 1.0,
         "repeat_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0, "dry_multiplier": 0.0}
# Seconds that the server has for one window.
PATIENCE = 600


class Server:
    """A running llama-server."""

    def __init__(self, address):
        self.address = address.rstrip("/")

    def ask(self, path, key, **request):
        """The server's answer, which has a value under this key."""
        data = json.dumps(request).encode()
        request = urllib.request.Request(f"{self.address}{path}", data, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as response:
                answer = json.load(response)
        except urllib.error.HTTPError as error:
            raise SystemExit(f"{self.address}{path}: {error.read().decode(errors='replace') or error}") from error
        except (OSError, ValueError) as error:
            raise SystemExit(f"{self.address}{path}: expected the answer of a llama-server: {error}") from error
        if not isinstance(answer, dict) or key not in answer:
            raise SystemExit(f"{self.address}{path}: expected an answer with '{key}', found {str(answer)[:200]}")
        return answer

    def tokens(self, text):
        return self.ask("/tokenize", "tokens", content=text, add_special=False, parse_special=False)["tokens"]

    def text(self, tokens):
        return self.ask("/detokenize", "content", tokens=tokens)["content"]

    def complete(self, prompt, count, seed):
        """What the model writes after a beginning, and how many tokens that is."""
        answer = self.ask("/completion", "tokens_predicted", prompt=prompt, n_predict=count, seed=seed, cache_prompt=False, **PLAIN)
        return answer["content"], answer["tokens_predicted"]


def written(server, tokens, chance):
    """A window that the model writes."""
    parts, left = [], WINDOW
    while left > 1:
        beginning = server.text([chance.choice(tokens)])
        if "\ufffd" in beginning:  # a part of a character, which is no text by itself
            continue
        text, count = server.complete(beginning, left - 1, chance.randrange(2**31))
        parts.append(beginning + text)
        left -= 1 + count
    return "\n\n".join(parts)


def make(server, text, windows, seed):
    """Windows of the given text and the model's own, in turn."""
    tokens = server.tokens(text)
    taken = (windows + 1) // 2
    if len(tokens) < taken * WINDOW or windows < 1:
        raise SystemExit(f"expected a text of at least {max(taken, 1) * WINDOW} tokens for {windows} windows, found {len(tokens)}")
    chance = random.Random(seed)
    out = []
    for index in range(windows):
        if index % 2 == 0:
            first = index // 2 * WINDOW
            out.append(server.text(tokens[first:first + WINDOW]).strip("\n"))
        else:
            out.append(written(server, tokens, chance).strip("\n"))
            print(f"window {index + 1} of {windows}", file=sys.stderr)
    return "\n\n".join(out) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--windows", type=int, default=60, help=f"windows of {WINDOW} tokens in all [60]")
    parser.add_argument("--server", default="http://127.0.0.1:8080", help="address of the llama-server [http://127.0.0.1:8080]")
    parser.add_argument("--seed", type=int, default=1, help="of what is drawn [1]")
    args = parser.parse_args()
    text = make(Server(args.server), args.text.read_text(encoding="utf-8"), args.windows, args.seed)
    passages.write(args.out, text)
    print(f"{args.out}: {args.windows} windows, {len(text.encode())} bytes", file=sys.stderr)


if __name__ == "__main__":
    main()
