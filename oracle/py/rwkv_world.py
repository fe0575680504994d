"""A vocabulary of RWKV World's form, made from the tokens of a tokenizer.json with byte-level merges."""

import json
from pathlib import Path

import tiktoken_vocabularies

FILE = "rwkv_vocab_v20230424.txt"


def literal(token):
    """Text as Python prints it, bytes where it is no text."""
    try:
        return repr(token.decode())
    except UnicodeDecodeError:
        return repr(token)


def write(tokenizer, model):
    # Single bytes come first, as in the published file.
    tokens = [bytes([i]) for i in range(256)]
    tokens += [token for token in tiktoken_vocabularies.tokens_of(tokenizer) if len(token) > 1]
    lines = [f"{i} {literal(token)} {len(token)}\n" for i, token in enumerate(tokens, 1)]
    Path(model, FILE).write_text("".join(lines), encoding="utf-8")
    Path(model, "tokenizer_config.json").write_text(json.dumps(dict(tokenizer_class="LlamaTokenizer")))
