"""Saves the models of the matrix of architectures again with transformers 5, which writes other directories.

    python transformers5.py TOKENIZERS_DIR OUT_DIR --five PYTHON [NAME ...]

For each case of architectures.CASES (or each NAME) that transformers 5 has a class for, OUT_DIR/<name> gets

    model/         the directory of architectures.py, as transformers 4.57 writes it
    five/model/    the same loaded by transformers 5 and saved again: weights, configuration and tokenizer
    five/logits    transformers 5's f32 logits of the tokens, or its pooled states, as in architectures.py
    five/embedding

and five/why, one line, in place of these where transformers 5 has no such class. Then the comparison runs
(`cargo run -p quantsmith-oracle --example transformers5 -- OUT_DIR`): a row for each case. `--no-compare` leaves
that out, `--keep` leaves cases alone that are made already, `--resave` makes only the second half.

This Python has the packages of requirements-converter.txt, PYTHON those of requirements-transformers5.txt.
TOKENIZERS_DIR is that of architectures.py.
"""

import argparse
import json
import logging
import os
import shutil
import subprocess
import sys
import traceback
from pathlib import Path

import architectures

HERE = Path(__file__).resolve().parent
BESIDE = ("modules.json", "1_Pooling", "preprocessor_config.json", "chat_template.jinja", "generation_config.json")
"""What other libraries write, or transformers writes only where it knows of it."""
STATES = ("LlamaModel", "Qwen2Model", "Qwen3Model", "BloomModel")
UNSAVED = {
    "AutoModelForImageTextToText": "no class for the model type",
}


class Lacking(Exception):
    """Why transformers 5 cannot load a directory."""


def model_class(case, folder):
    """The class of transformers 5 that loads the directory."""
    import transformers

    config = json.loads((folder / "config.json").read_text())
    kind = config.get("model_type", "")
    if kind not in transformers.CONFIG_MAPPING:
        raise Lacking(f"transformers {transformers.__version__} has no model type {kind!r}")
    named = getattr(transformers, config["architectures"][0], None) if "architectures" in config else None
    if named is not None:
        return named
    auto = case.auto
    if case.tensors is not None and "vision_config" in case.config:
        auto = "AutoModelForImageTextToText"
    known = transformers.AutoConfig.from_pretrained(folder)
    auto = getattr(transformers, auto)
    if type(known) not in auto._model_mapping:
        raise Lacking(f"transformers {transformers.__version__} has no class {config['architectures'][0]}")
    return auto


def resave(case, folder):
    """Loads the directory with transformers 5 and saves it again, with what it computes of it."""
    import torch
    import transformers

    source, five = folder / "model", folder / "five"
    shutil.rmtree(five, ignore_errors=True)
    five.mkdir()
    kind = model_class(case, source)
    model, report = kind.from_pretrained(source, attn_implementation="eager", dtype="auto", output_loading_info=True)
    lost = {what: sorted(names) for what, names in report.items() if names}
    if lost.get("missing_keys") or lost.get("mismatched_keys"):
        raise Lacking(f"{type(model).__name__} of transformers {transformers.__version__} reads other tensors: "
                      f"{str(lost)[:200]}")
    target = five / "model"
    model.save_pretrained(target)
    try:
        transformers.AutoTokenizer.from_pretrained(source).save_pretrained(target)
        (five / "tokenizer").write_text("saved again")
    except Exception as error:  # Vocabularies that need code of their own, or that only stock llama.cpp reads.
        (five / "tokenizer").write_text(f"copied: {error!r}"[:300])
        for file in source.iterdir():
            if "token" in file.name or "vocab" in file.name or file.suffix == ".model":
                shutil.copy(file, target)
    for name in BESIDE:
        if (source / name).is_dir():
            shutil.copytree(source / name, target / name, dirs_exist_ok=True)
        elif (source / name).is_file() and not (target / name).is_file():
            shutil.copy(source / name, target / name)
    ids = torch.tensor([[(i * 29 + i * i * 7) % 300 for i in range(architectures.TOKENS)]])
    model = model.float().eval()
    with torch.no_grad():
        if case.logits:
            model(ids, use_cache=False).logits[0].numpy().astype("<f4").tofile(five / "logits")
        elif case.pooling:
            architectures.embedding(case, model(ids).last_hidden_state[0]).tofile(five / "embedding")


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("tokenizers", "out"):
        arguments.add_argument(name, type=Path)
    arguments.add_argument("names", nargs="*")
    arguments.add_argument("--five", help="the Python with transformers 5")
    arguments.add_argument("--resave", action="store_true")
    arguments.add_argument("--no-compare", action="store_true")
    arguments.add_argument("--keep", action="store_true")
    a = arguments.parse_intermixed_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    logging.disable(logging.WARNING)
    cases = [c for c in architectures.CASES if not a.names or c.name in a.names]
    unknown = set(a.names) - {c.name for c in cases}
    if unknown:
        sys.exit(f"no such case: {', '.join(sorted(unknown))}")
    failed = []
    for case in cases:
        folder = a.out / case.name
        made = folder / ("five" if a.resave else "model/config.json")
        if a.keep and made.exists():
            continue
        try:
            if not a.resave:
                architectures.make(case, a.tokenizers, folder)
                if case.tensors is not None and case.pooling:
                    architectures.add_pooling(case, folder / "model")
                continue
            resave(case, folder)
        except Lacking as why:
            shutil.rmtree(folder / "five", ignore_errors=True)
            (folder / "five").mkdir()
            (folder / "five/why").write_text(str(why))
            print(f"{case.name}: {why}", flush=True)
        except (Exception, SystemExit):
            failed.append(case.name)
            print(f"not made: {case.name}", flush=True)
            traceback.print_exc()
    if a.five:
        again = [a.five, __file__, a.tokenizers, a.out, "--resave", *["--keep"] * a.keep, *[c.name for c in cases]]
        if subprocess.run(again).returncode:
            failed.append("some with transformers 5")
    if failed:
        print("not made:", *failed)
    if a.five and not a.no_compare:
        subprocess.run(["cargo", "run", "--quiet", "-p", "quantsmith-oracle", "--example", "transformers5", "--",
                        str(a.out.resolve()), *[c.name for c in cases]], cwd=HERE, check=True)
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
