"""What the stock converter makes of the fixtures with --fuse-qkv and --fuse-gate-up-exps: digests/fused.txt.

    python fused_digests.py LLAMA_CPP_SOURCES [NAME ...] > ../digests/fused.txt

A line is fixture, flag, SHA-256 of the F32 file; fixtures that a flag changes nothing of are left out, and of those where the
stock converter fails the line ends with "fails". Needs the packages of requirements-converter.txt.
"""

import hashlib
import json
import logging
import os
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np

import architectures
import raw_tensors

HERE = Path(__file__).resolve().parent
FIXTURES = HERE.parent / "fixtures/architectures"
VOCABULARY = HERE.parent / "fixtures/vocab"
FILES = ("tokenizer.json", "tokenizer.model", "sentencepiece.bpe.model", "qwen.tiktoken", "hy.tiktoken",
         "rwkv_vocab_v20230424.txt", "tokenizer.jsonl")
FLAGS = dict(qkv=dict(fuse_qkv=True), experts=dict(fuse_gate_up_exps=True))


def weights(seed, shape):
    """As tiny_models.py has it."""
    n = int(np.prod(shape))
    x = (np.arange(n, dtype=np.uint64) + np.uint64(seed * 1000003)) * np.uint64(6364136223846793005)
    x = (x ^ (x >> np.uint64(29))) * np.uint64(1442695040888963407)
    return ((x >> np.uint64(57)).astype(np.int64) * 2 - 127).astype(np.float32).reshape(shape) / 256


def make(fixture, folder):
    """The directory that a fixture describes, as `make` of oracle/src/architectures.rs has it."""
    from safetensors.numpy import save_file
    chameleon = fixture["config"].get("swin_norm") is False
    made = {}
    for seed, (name, shape) in enumerate(fixture["tensors"].items()):
        value = np.asarray(weights(seed, shape))
        if chameleon and value.ndim == 2 and "_norm." in name:
            value = np.ascontiguousarray(np.broadcast_to(value[0], value.shape))
        made[name] = value / 2 + 1 if len(shape) == 1 and "norm" in name and "bias" not in name else value
    folder.mkdir()
    if fixture.get("zero_rows"):
        made["model.embed_tokens.weight"][-fixture["zero_rows"]:] = 0
        index = dict(metadata={}, weight_map={name: "model.safetensors" for name in made})
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    for name, kind in (("d2t", np.int64), ("t2d", bool)):
        if name in made:
            count = fixture["tensors"][name][0]
            made[name] = np.arange(count, dtype=kind) if name == "d2t" else np.zeros(count, dtype=kind)
    if fixture.get("stored") or fixture.get("numbers"):
        raw_tensors.write(folder / "model.safetensors", made, fixture.get("stored", {}), fixture.get("numbers", {}))
    else:
        save_file(made, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(fixture["config"]))
    if fixture.get("target"):
        # A draft model's vocabulary is its target's.
        folder = folder.with_name("target")
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(fixture["target"]))
    config = dict(tokenizer_class=fixture.get("tokenizer_class", "LlamaTokenizer"))
    if fixture.get("mmproj"):
        config["added_tokens_decoder"] = {"385": dict(content="[IMG_BREAK]", special=True)}
        architectures.add_preprocessor(folder)
    if fixture.get("chat_template"):
        config["chat_template"] = fixture["chat_template"]
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    for name in FILES:
        if (VOCABULARY / fixture["tokenizer"] / name).is_file():
            shutil.copy(VOCABULARY / fixture["tokenizer"] / name, folder)
    architectures.add_modules(SimpleNamespace(pooling=fixture.get("pooling", ""), dense=fixture.get("dense", {})), folder)


def import_stock(sources):
    """Makes the stock converter of a source package importable, quiet and indifferent to pre-tokenizers."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    sys.path[:0] = [str(sources), str(sources / "gguf-py")]
    logging.disable(logging.CRITICAL)
    from conversion.base import TextModel

    TextModel.get_vocab_base_pre = lambda self, tokenizer: "gpt-2"


def digests(cases, prepared):
    """Prints fixture, change and SHA-256 of the F32 file of all `cases`, lines of a fixture and its changes.
    `prepared(fixture, change, folder)` makes the directory."""
    for line in cases.strip().splitlines():
        name, changes = line.split(": ")
        fixture = json.loads((FIXTURES / f"{name}.json").read_text())
        for change in changes.split():
            with architectures.folder() as folder:
                prepared(fixture, change, folder / "model")
                architectures.stock(folder, {"out.gguf": "ALL_F32"})
                print(name, change, hashlib.sha256((folder / "out.gguf").read_bytes()).hexdigest(), flush=True)


def main():
    import_stock(Path(sys.argv[1]))
    attributes = {case.name: case.attributes for case in architectures.CASES}
    for path in sorted(FIXTURES.glob("*.json")):
        if sys.argv[2:] and path.stem not in sys.argv[2:]:
            continue
        fixture = json.loads(path.read_text())
        with architectures.folder() as folder:
            make(fixture, folder / "model")
            for flag, options in FLAGS.items():
                try:
                    architectures.stock(folder, {"out.gguf": "ALL_F32"}, attributes=attributes.get(path.stem), **options)
                    made = hashlib.sha256((folder / "out.gguf").read_bytes()).hexdigest()
                except (Exception, SystemExit) as error:
                    print(path.stem, repr(error)[:200], file=sys.stderr)
                    made = "fails"
                if made != fixture["sha256"]:
                    print(path.stem, flag, made, flush=True)


if __name__ == "__main__":
    main()
