"""Prints the SHA-256 of what llama.cpp's converter makes of the directories of tiny_models.py.

    python stock_digests.py LLAMA_CPP_SOURCES MODELS_DIR [OUTTYPE ...] > digests/convert.txt

An OUTTYPE that ends in +q8 is converted with --fp8-as-q8.

Needs the packages of requirements-converter.txt.
"""

import hashlib
import os
import sys
import tempfile
from pathlib import Path

OUTTYPES = ["f32", "f16", "bf16", "q8_0", "auto"]


def main():
    sources, models = Path(sys.argv[1]), Path(sys.argv[2])
    outtypes = sys.argv[3:] or OUTTYPES
    os.environ["HF_HUB_OFFLINE"] = "1"
    sys.path.insert(0, str(sources))
    import convert_hf_to_gguf as converter

    with tempfile.TemporaryDirectory() as folder:
        for model in sorted(models.iterdir()):
            for outtype in outtypes:
                out = Path(folder) / "out.gguf"
                sys.argv = ["convert", str(model), "--outfile", str(out), "--outtype", outtype.removesuffix("+q8")]
                sys.argv += ["--fp8-as-q8"] * outtype.endswith("+q8")
                converter.main()
                print(model.name, outtype, hashlib.sha256(out.read_bytes()).hexdigest(), flush=True)


main()
