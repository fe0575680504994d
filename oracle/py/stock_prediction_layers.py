"""SHA-256 of what the stock converter makes of a directory's prediction layers alone (--mtp) and of the rest
(--no-mtp), as F32; for the table of tests/completeness.rs, whose test leaves the directories with QUANTSMITH_KEEP.

    python stock_prediction_layers.py LLAMA_CPP_SOURCES DIRECTORY...

Needs the packages of requirements-converter.txt.
"""

import hashlib
import logging
import sys
import tempfile
from pathlib import Path


def main():
    sources = Path(sys.argv[1])
    sys.path[:0] = [str(sources), str(sources / "gguf-py")]
    logging.disable(logging.WARNING)
    import convert_hf_to_gguf as converter
    from conversion.base import ModelBase, TextModel

    # What is compared here is the class; pre-tokenizers have tests of their own.
    TextModel.get_vocab_base_pre = lambda self, tokenizer: "gpt-2"
    for directory in map(Path, sys.argv[2:]):
        digests = []
        for flag in ("--mtp", "--no-mtp"):
            with tempfile.TemporaryDirectory() as folder:
                # The class keeps the flags of an earlier call.
                for kind in subclasses(ModelBase):
                    for name in ("mtp_only", "no_mtp"):
                        if name in vars(kind):
                            setattr(kind, name, False)
                out = Path(folder) / "out.gguf"
                sys.argv = ["convert", str(directory), "--outtype", "f32", "--outfile", str(out), flag]
                converter.main()
                digests.append(hashlib.sha256(out.read_bytes()).hexdigest())
        print(directory.name, *digests, flush=True)


def subclasses(kind):
    yield kind
    for below in kind.__subclasses__():
        yield from subclasses(below)


main()
