"""Model directories with tiktoken-style vocabularies, and what the stock converter needs to read them.

The converter runs the Python code that is published with such a vocabulary. `install` puts a class of our own in its
place that has what the converter asks of that code: ranks, special tokens, ids of a text (by the package tiktoken).
Vocabularies are made from a tokenizer.json with byte-level merges, whose ids are the ranks.
"""

import base64
import json
from pathlib import Path

CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
PATTERN = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + REST
FILES = dict(qwen="qwen.tiktoken", glm="tokenizer.model", kimi="tiktoken.model", hunyuan="hy.tiktoken")
PRE = dict(glm="chatglm-bpe", kimi="kimi-k2", hunyuan="hunyuan")
"""Names of the pre-tokenizers of vocabularies that are none of the published ones."""
EXTRAS = [f"<|extra_{i}|>" for i in range(205)]
GLM = ["<|endoftext|>", "[MASK]", "[gMASK]", "[sMASK]", "<sop>", "<eop>", "<|system|>", "<|user|>", "<|assistant|>",
       "<|observation|>", "<|begin_of_image|>", "<|end_of_image|>"]
KIMI = {0: "[BOS]", 1: "[EOS]", 2: "<|im_end|>", 3: "<|im_user|>", 17: "[EOT]", 254: "[UNK]", 255: "[PAD]"}


def alphabet():
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    moved = [b for b in range(256) if b not in kept]
    return {chr(b): b for b in kept} | {chr(256 + i): b for i, b in enumerate(moved)}


def tokens_of(tokenizer):
    """The bytes of a tokenizer.json's own tokens, in the order of their ids."""
    byte = alphabet()
    vocabulary = json.loads(Path(tokenizer).read_text(encoding="utf-8"))["model"]["vocab"]
    tokens = sorted(vocabulary.items(), key=lambda entry: entry[1])
    return [bytes(byte[c] for c in text) for text, _ in tokens if not text.startswith("<|endoftext")]


def size(kind, n):
    """The vocabulary size of a model with `n` ranks."""
    return n + dict(qwen=213, glm=20, kimi=256, hunyuan=210)[kind]


def write(kind, tokenizer, model):
    """Writes the vocabulary files of `kind` with the tokens of a tokenizer.json."""
    tokens = tokens_of(tokenizer)
    lines = [f"{base64.b64encode(token).decode()} {rank}\n" for rank, token in enumerate(tokens)]
    if kind == "hunyuan":
        # The published file repeats tokens, which count once.
        lines[300:300] = [lines[7].replace(" 7\n", " 300\n")]
    (model / FILES[kind]).write_text("".join(lines))
    config = dict(tokenizer_class="LlamaTokenizer")
    named = dict(glm=dict(enumerate(GLM)), kimi=KIMI).get(kind, {})
    if named:
        config["added_tokens_decoder"] = {
            str(len(tokens) + i): dict(content=text, special=True) for i, text in named.items()}
    (model / "tokenizer_config.json").write_text(json.dumps(config))


class Published:
    """What the published code of a directory's vocabulary offers."""

    def __init__(self, folder, kind):
        self.kind, ranks = kind, {}
        for line in (folder / FILES[kind]).read_text().splitlines():
            token, rank = line.split()
            token = base64.b64decode(token)
            if kind != "hunyuan" or token not in ranks:
                ranks[token] = len(ranks) if kind == "hunyuan" else int(rank)
        n = len(ranks)
        added = json.loads((folder / "tokenizer_config.json").read_text()).get("added_tokens_decoder", {})
        added = {int(i): token["content"] for i, token in added.items()}
        self.mergeable_ranks = ranks
        self.special_tokens = dict(
            qwen=lambda: self.numbered(["<|endoftext|>", "<|im_start|>", "<|im_end|>"] + EXTRAS),
            hunyuan=lambda: self.numbered(
                ["<|endoftext|>", "<|startoftext|>", "<|bos|>", "<|eos|>", "<|pad|>"] + EXTRAS),
            glm=lambda: {text: i for i, text in added.items()},
            kimi=lambda: {added.get(i, f"<|reserved_token_{i}|>"): i for i in range(n, n + 258)})[kind]()
        self.vocab_size = n + len(self.special_tokens)
        self.pre = PRE.get(kind)

    def numbered(self, texts):
        return {text: len(self.mergeable_ranks) + i for i, text in enumerate(texts)}

    @property
    def model(self):
        self._mergeable_ranks = self.mergeable_ranks
        return self

    def get_vocab(self):
        return self.mergeable_ranks | (self.special_tokens if self.kind == "glm" else {})

    @property
    def vocab(self):
        from conversion.qwen import QwenModel
        texts = {QwenModel.token_bytes_to_string(token): rank for token, rank in self.mergeable_ranks.items()}
        return texts | self.special_tokens

    def get_added_vocab(self):
        return self.special_tokens

    @property
    def added_tokens_decoder(self):
        from transformers import AddedToken
        return {i: AddedToken(text, special=True, normalized=False) for text, i in self.special_tokens.items()}

    def encode(self, text, add_special_tokens=True):
        if text in self.special_tokens:
            return [self.special_tokens[text]]
        import tiktoken
        return tiktoken.Encoding(self.kind, pat_str=PATTERN, mergeable_ranks=self.mergeable_ranks,
                                 special_tokens={}).encode(text)

    def decode(self, ids):
        texts = {i: text for text, i in self.special_tokens.items()}
        return "".join(texts[i] for i in ids)


def install():
    """Makes the stock converter read tiktoken-style vocabularies by `Published`."""
    import functools
    import importlib
    import transformers
    import gguf
    from conversion.base import TextModel
    from conversion.chatglm import ChatGLMModel

    if getattr(TextModel, "reads_tiktoken", False):
        return
    TextModel.reads_tiktoken = True
    load, find, special = transformers.AutoTokenizer.from_pretrained, TextModel.get_vocab_base_pre, gguf.SpecialVocab

    def from_pretrained(folder, *args, **more):
        folder = Path(folder)
        kinds = [kind for kind, name in FILES.items() if (folder / name).is_file()]
        # A SentencePiece model begins with a line break.
        if not kinds or (folder / FILES[kinds[0]]).read_bytes()[:1] == b"\n":
            return load(folder, *args, **more)
        # Only GLM's is also asked for without its code, after it was loaded with it.
        if not more.get("trust_remote_code") and kinds[0] != "glm":
            raise ValueError("needs the code that is published with it")
        return Published(folder, kinds[0])

    def base_pre(self, tokenizer):
        return getattr(tokenizer, "pre", None) or find(self, tokenizer)

    def special_vocab(folder, *args, **more):
        # The class of GLM asks for the merges of files that these directories have not.
        found = special(folder, *args, **more)
        folder = Path(folder)
        if (more.get("load_merges") and not (folder / "tokenizer.json").is_file()
                and (folder / FILES["glm"]).is_file()):
            ranks, text = Published(folder, "glm").mergeable_ranks, ChatGLMModel.token_bytes_to_string
            merged = (ChatGLMModel.bpe(ranks, token, max_rank=rank) for token, rank in ranks.items() if len(token) > 1)
            found.merges = [" ".join(map(text, parts)) for parts in merged if len(parts) == 2]
        return found

    # The converter makes this table again for every token.
    slow = importlib.import_module("transformers.convert_slow_tokenizer")
    slow.bytes_to_unicode = functools.lru_cache(slow.bytes_to_unicode)
    transformers.AutoTokenizer.from_pretrained = from_pretrained
    TextModel.get_vocab_base_pre = base_pre
    gguf.SpecialVocab = special_vocab
