"""Makes fixtures/encoders: for each case of encoder_cases.py a configuration, the names and shapes of its tensors and the
SHA-256 of what the stock converter writes with --mmproj, for four types of the matrices.

    python encoder_fixtures.py LLAMA_CPP_SOURCES OUT_DIR [--keep DIR] [NAME ...]

The weights follow from name order and place, as those of architecture_fixtures.py do, so that tests/encoders.rs makes the
same directories without Python. With --keep, DIR/<name> gets the model directory and the files (TYPE.gguf), for
`cargo run -p quantsmith-oracle --example encoders -- DIR [NAME ...]`, which says what differs.
Needs the packages of requirements-converter.txt.
"""

import argparse
import hashlib
import json
import logging
import os
import shutil
import sys
import tempfile
import traceback
from pathlib import Path

import numpy as np

from architecture_fixtures import weights

KINDS = {"f32": "ALL_F32", "f16": "MOSTLY_F16", "bf16": "MOSTLY_BF16", "q8_0": "MOSTLY_Q8_0"}


def numbers(seed, name, shape):
    """Weights; what is a scale of something is near one, and what is a variance or a count positive."""
    x = np.asarray(weights(seed, shape), dtype=np.float32).reshape(shape)
    if "running_var" in name or "cluster_usage" in name:
        return np.abs(x) + np.float32(0.5)
    return x / 2 + 1 if len(shape) == 1 and "norm" in name and "bias" not in name and "running" not in name else x


def save(shapes, path):
    from safetensors.numpy import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: numbers(seed, name, shapes[name]) for seed, name in enumerate(sorted(shapes))}, path)


def make(case, folder):
    folder.mkdir(parents=True)
    for name, content in {"config.json": case.config, **case.files}.items():
        if content is None:
            continue
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
    for name, shapes in {"model.safetensors": case.tensors, **case.more}.items():
        save(shapes, folder / name)


def round_correctly():
    """Has torch compute roots, exponents and waves as the nearest numbers.

    Positions and folded norms that the stock converter computes are otherwise those of the vector library of the machine
    that it runs on: a unit in the last place off for one sine in twenty and one root in four.
    """
    import torch

    for module, name in (*((torch, n) for n in ("exp", "sin", "cos", "sqrt")), (torch.nn.functional, "softplus")):
        def nearest(x, function=getattr(module, name)):
            return function(x.double()).to(x.dtype)

        setattr(module, name, nearest)


def stock(folder, name, out):
    """Runs the stock converter."""
    import gguf
    import torch
    from conversion import get_model_class
    from conversion.base import ModelBase, ModelType, get_model_architecture

    hparams = ModelBase.load_hparams(folder, False)
    found = get_model_architecture(hparams, ModelType.MMPROJ)
    with torch.inference_mode():
        get_model_class(found, True)(folder, getattr(gguf.LlamaFileType, KINDS[name]), out).write()
    return found


def fixture(case, out, keep):
    with tempfile.TemporaryDirectory() as temporary:
        temporary = Path(temporary)
        make(case, temporary / "model")
        digests = {}
        for kind in KINDS:
            file = temporary / f"{kind}.gguf"
            found = stock(temporary / "model", kind, file)
            digests[kind] = hashlib.sha256(file.read_bytes()).hexdigest()
        if keep:
            shutil.rmtree(keep / case.name, ignore_errors=True)
            shutil.copytree(temporary, keep / case.name)
    parts = [] if case.config else [f'"class": {json.dumps(found)}']
    parts += [f'"config": {json.dumps(case.config)}', f'"files": {json.dumps(case.files)}',
             f'"sha256": {json.dumps(digests)}']
    for key, tables in ("tensors", {"model.safetensors": case.tensors, **case.more}),:
        tables = [f'"{path}": {{\n' + ",\n".join(f' "{n}": {json.dumps(list(s[n]))}' for n in sorted(s)) + "\n}"
                  for path, s in tables.items()]
        parts.append(f'"{key}": {{' + ",\n".join(tables) + "}")
    (out / f"{case.name}.json").write_text("{" + ",\n".join(parts) + "}\n")


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("sources", "out"):
        arguments.add_argument(name, type=Path)
    arguments.add_argument("names", nargs="*")
    arguments.add_argument("--keep", type=Path)
    a = arguments.parse_intermixed_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    sys.path[:0] = [str(a.sources), str(a.sources / "gguf-py")]
    logging.disable(logging.WARNING)
    from encoder_cases import CASES

    round_correctly()
    a.out.mkdir(exist_ok=True)
    failed = 0
    for case in CASES:
        if a.names and case.name not in a.names:
            continue
        try:
            fixture(case, a.out, a.keep)
            print("made", case.name, flush=True)
        except (Exception, SystemExit):
            failed += 1
            print("not made", case.name, flush=True)
            traceback.print_exc()
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
