"""Prints the SHA-256 of what llama.cpp's converter makes of the directories of mistral_models.py.

    python stock_mistral.py LLAMA_CPP_SOURCES MODELS_DIR > digests/mistral.txt

Needs the packages of requirements-converter.txt and mistral-common. A line has the model, its options and the
digest. The converter reads a config.json of a mixture beside params.json, of which it needs nothing, so that an empty
one is put there.
"""

import hashlib
import os
import sys
import tempfile
from pathlib import Path

OUTTYPES = ["f16", "q8_0", "auto"]


def main():
    sources, models = Path(sys.argv[1]), Path(sys.argv[2])
    os.environ["HF_HUB_OFFLINE"] = "1"
    sys.path.insert(0, str(sources))
    import convert_hf_to_gguf as converter

    def convert(model, options):
        out = Path(folder) / "out.gguf"
        sys.argv = ["convert", str(model), "--outfile", str(out), *options]
        converter.main()
        digest = hashlib.sha256(out.read_bytes()).hexdigest()
        print(model.name, " ".join(o.removeprefix("--") for o in options), digest, flush=True)

    from conversion.base import TextModel

    with tempfile.TemporaryDirectory() as folder:
        # A vocabulary too small to be known by its ids.
        known, TextModel.get_vocab_base_pre = TextModel.get_vocab_base_pre, lambda self, tokenizer: "tekken"
        for outtype in ["f16", "q8_0", "f32"]:
            convert(models / "Latent-Small-4", ["--outtype", outtype])
        TextModel.get_vocab_base_pre = known
        for model in sorted(models.glob("Tiny-*")):
            params = model / "params.json"
            native = ["--mistral-format"] if params.is_file() else []
            text = params.read_text() if native else ""
            stand_in = model / "config.json"
            if '"moe"' in text:
                stand_in.write_text("{}")
            for outtype in OUTTYPES:
                convert(model, [*native, "--outtype", outtype])
            if native:
                convert(model, [*native, "--disable-mistral-community-chat-template", "--outtype", "f16"])
                convert(model, [*native, "--vocab-only"])
            if "vision_encoder" in text:
                convert(model, [*native, "--mmproj", "--outtype", "f16"])
                convert(model, [*native, "--mmproj", "--outtype", "q8_0"])
            if '"moe"' in text:
                stand_in.unlink()


main()
