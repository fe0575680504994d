"""Prints what llama.cpp's converter makes of a model directory's vocabulary.

    python stock_vocab.py LLAMA_CPP_SOURCES MODEL_DIR [PRE_TOKENIZER]

One line for each `tokenizer.*` key, in the order of the file: the key, the type, the number of
elements, and the SHA-256 of the value's bytes: the same lines as the example `vocab_digest` prints.
Needs the packages of requirements-converter.txt.

The converter knows pre-tokenizers only by the ids of published vocabularies. With PRE_TOKENIZER its
look-up of that one name, and nothing else, is replaced; so vocabularies of our own can be compared.
"""

import hashlib
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

SCALAR_BYTES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
STRING, ARRAY = 8, 9


# Run in the converter's place: its own main program, after the look-up is replaced.
WITH_PRE_TOKENIZER = """
import runpy, sys
name, converter, sys.argv = sys.argv[1], sys.argv[2], sys.argv[2:]
sources, here = str(__import__("pathlib").Path(converter).parent), sys.argv.pop()
sys.path[:0] = [sources, sources + "/gguf-py", here]
import tiktoken_vocabularies
tiktoken_vocabularies.install()
import architectures
architectures.repair()
from conversion.base import TextModel
TextModel.get_vocab_base_pre = lambda self, tokenizer: name
runpy.run_path(converter, run_name="__main__")
"""


class Header:
    """The metadata of a GGUF file, each value as its bytes."""

    def __init__(self, data):
        self.data, self.at = data, 4
        _version, _tensors, count = self.read("<IQQ")
        self.pairs = [self.pair() for _ in range(count)]

    def read(self, layout):
        values = struct.unpack_from(layout, self.data, self.at)
        self.at += struct.calcsize(layout)
        return values

    def skip_string(self):
        (length,) = self.read("<Q")
        self.at += length

    def pair(self):
        (length,) = self.read("<Q")
        key = self.data[self.at : self.at + length].decode()
        self.at += length
        (kind,) = self.read("<I")
        start, count, name = self.at, 1, str(kind)
        if kind == ARRAY:
            element, count = self.read("<IQ")
            name = f"{kind}/{element}"
            if element == STRING:
                for _ in range(count):
                    self.skip_string()
            else:
                self.at += SCALAR_BYTES[element] * count
        elif kind == STRING:
            self.skip_string()
        else:
            self.at += SCALAR_BYTES[kind]
        return key, name, count, self.data[start : self.at]


def main():
    sources, model = (Path(a) for a in sys.argv[1:3])
    converter, here = [sources / "convert_hf_to_gguf.py"], []
    if len(sys.argv) > 3:
        converter = ["-c", WITH_PRE_TOKENIZER, sys.argv[3], *converter]
        here = [Path(__file__).resolve().parent]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "vocab.gguf"
        done = subprocess.run(
            [sys.executable, *converter, model, "--vocab-only", "--outfile", out, *here],
            capture_output=True,
            text=True,
            env={"HF_HUB_OFFLINE": "1", "PATH": "/usr/bin:/bin"},
        )
        if done.returncode:
            sys.exit(done.stderr)
        header = Header(out.read_bytes())
    for key, kind, count, value in header.pairs:
        if key.startswith("tokenizer."):
            print(key, kind, count, hashlib.sha256(value).hexdigest(), sep="\t")


main()
