"""What the stock converter makes of the fixtures with other types than F32: digests/typed.txt.

    python typed_digests.py LLAMA_CPP_SOURCES [NAME ...] > ../digests/typed.txt

A line is fixture, type (`q8_0`; `auto`, which is what the source has), SHA-256; where the stock converter fails the line
ends with "fails". The models are those of the fixtures, which tests/typed.rs makes without Python. Needs the packages
of requirements-converter.txt.
"""

import hashlib
import json
import sys
from pathlib import Path

import architectures
import fused_digests

KINDS = dict(q8_0="MOSTLY_Q8_0", auto="GUESSED")


def main():
    fused_digests.import_stock(Path(sys.argv[1]))
    attributes = {case.name: case.attributes for case in architectures.CASES}
    paths = sorted(fused_digests.FIXTURES.glob("*.json"))
    for path in paths:
        if sys.argv[2:] and path.stem not in sys.argv[2:]:
            continue
        fixture = json.loads(path.read_text())
        with architectures.folder() as folder:
            fused_digests.make(fixture, folder / "model")
            for name, kind in KINDS.items():
                try:
                    architectures.stock(folder, {"out.gguf": kind}, attributes=attributes.get(path.stem))
                    made = hashlib.sha256((folder / "out.gguf").read_bytes()).hexdigest()
                except (Exception, SystemExit) as error:
                    print(path.stem, repr(error)[:200], file=sys.stderr)
                    made = "fails"
                print(path.stem, name, made, flush=True)


if __name__ == "__main__":
    main()
