"""Makes fixtures/architectures: for each case of architectures.py a configuration, the names and shapes of its
tensors, the SHA-256 of what the stock converter writes (f32), and the logits of the last tokens.

    python architecture_fixtures.py LLAMA_CPP_SOURCES OUT_DIR [--keep DIR] [NAME ...]

The weights are numbers that follow from name order and place (see `weights` of tiny_models.py), so that
tests/architectures.rs makes the same directory without Python. Tokenizers are the small ones of fixtures/vocab.
With --keep, DIR/<name> gets the model directory and the stock converter's files, for `cargo run -p quantsmith-oracle --example
architectures -- DIR [NAME ...]`, which says what differs. Needs the packages of requirements-converter.txt.
"""

import hashlib
import json
import logging
import os
import shutil
import sys
import traceback
from pathlib import Path

import numpy as np

import raw_tensors

HERE = Path(__file__).resolve().parent
VOCABULARY = HERE.parent / "fixtures/vocab"
SPM, BYTES, GLM = "spm_bpe", "llama3", "../architectures/glm"
TOKENIZER_CONFIG = [
    dict(tokenizer_class="LlamaTokenizer"),
    dict(tokenizer_class="LlamaTokenizer", added_tokens_decoder={"385": dict(content="[IMG_BREAK]", special=True)}),
]
"""For models without and with an image encoder."""
KINDS = dict(spm_image=SPM, spm_unk=SPM, spm=SPM, spm_plain=SPM, llama2=SPM, glm=GLM, minilm="word_pieces", xlm="xlm_roberta", t5="spm_unigram")
KINDS |= {"dots": "../architectures/dots", "qwen.tiktoken": "tiktoken_qwen", "hunyuan.tiktoken": "tiktoken_hunyuan", "rwkv": "rwkv", "plamo": "plamo"}
FILES = ("tokenizer.json", "tokenizer.model", "sentencepiece.bpe.model", "qwen.tiktoken", "hy.tiktoken",
         "rwkv_vocab_v20230424.txt", "tokenizer.jsonl")
WITHOUT = ("xlm_json", "glm.tiktoken", "kimi.tiktoken")
"""Tokenizers whose cases differ from others in nothing else (fixtures/vocab has them), or that have no small one."""
LLAMA_HF = ("gemma4", "deci", "xverse")
"""Beginnings of the names of cases whose classes read a tokenizer.json of pieces, and no other vocabulary of this size."""
GLM_NEW = ("glm5", "glm4moe", "glm-dsa", "deepseek2-glm")
"""Those with GLM's tokens from 4.5 on."""
CLASSES = dict(JinaBert="BertTokenizer", Phi4ForCausalLMV="GPT2Tokenizer")
"""Tokenizers' classes, by whose names the stock converter reads the vocabularies of these classes."""
PADDED = 432
"""Rows of embeddings of classes that need a multiple."""
PADDING = ("mamba", "granitehybrid")
"""Beginnings of the names of cases of classes of transformers that do."""
ROWS = 2
"""Rows of logits that are kept."""


def weights(seed, shape):
    """As tiny_models.py has it: multiples of 1/256 below 1/2 in magnitude."""
    n = int(np.prod(shape))
    x = (np.arange(n, dtype=np.uint64) + np.uint64(seed * 1000003)) * np.uint64(6364136223846793005)
    x = (x ^ (x >> np.uint64(29))) * np.uint64(1442695040888963407)
    return ((x >> np.uint64(57)).astype(np.int64) * 2 - 127).astype(np.float32).reshape(shape) / 256


def fixture(case, out, architectures, sources, keep=None):
    import torch
    import transformers
    from safetensors.torch import save_file
    from safetensors.numpy import save_file as save_numpy
    from safetensors import safe_open

    kind = "llama_hf" if case.name.startswith(LLAMA_HF) else KINDS.get(case.tokenizer, BYTES)
    kind = "../architectures/glm_new" if case.name.startswith(GLM_NEW) else kind
    size = case.rows or {"spm_plain": 380, "qwen.tiktoken": 613, "hunyuan.tiktoken": 610}.get(case.tokenizer, 420)
    size = 422 if kind == "llama_hf" else size
    ids = [(i * 29 + i * i * 7) % 300 for i in range(architectures.TOKENS)]
    with architectures.folder() as folder:
        model_dir = folder / "model"
        model_dir.mkdir()
        model = None
        if case.tensors is not None:
            config = architectures.described(case, size)
            if config.get("vocab_size", size) != size:
                config["vocab_size"] = PADDED
            shapes = case.tensors(config)
        else:
            changes = architectures.configuration(case, size)
            changes.get("text_config", changes)["vocab_size"] = PADDED if case.name.startswith(PADDING) else size
            config = transformers.CONFIG_MAPPING[case.model_type](**changes)
            # Defaults are of the published vocabularies; an id outside of the small one would be left out here.
            for key, inside in ("bos_token_id", 1), ("eos_token_id", 2):
                if isinstance(getattr(config, key, None), int) and getattr(config, key) >= size:
                    setattr(config, key, inside)
            model = getattr(transformers, case.auto).from_config(config, attn_implementation="eager").float().eval()
            model.save_pretrained(model_dir)
            config = json.loads((model_dir / "config.json").read_text()) | case.file
            # What is no JSON, though Python writes it: limits of Mamba's steps, which are the class's own.
            config = {key: value for key, value in config.items() if "Infinity" not in json.dumps(value)}
            if case.architecture:
                config["architectures"] = [case.architecture]
            with safe_open(model_dir / "model.safetensors", "pt") as f:
                saved = {k: f.get_tensor(k) for k in f.keys()}
            saved |= case.more(saved, config) if case.more else {}
            shapes = {k: list(tensor.shape) for k, tensor in saved.items()}
        shapes = {name: list(shapes[name]) for name in sorted(shapes) if not name.startswith(case.without)}
        made = {}
        for seed, (name, shape) in enumerate(shapes.items()):
            value = np.asarray(weights(seed, shape))
            made[name] = value / 2 + 1 if len(shape) == 1 and "norm" in name and "bias" not in name else value
        # One of the two has one norm for all heads, as the stock converter takes for granted.
        for name in made if case.name == "chameleon" else ():
            if made[name].ndim == 2 and "_norm." in name:
                made[name] = np.ascontiguousarray(np.broadcast_to(made[name][0], made[name].shape))
        architectures.add_index(case, model_dir, made)
        made |= architectures.tables(shapes)
        kinds, numbers = {}, {}
        if case.stored or case.numbers:
            kinds, numbers = architectures.others(case, made, config)
            raw_tensors.write(model_dir / "model.safetensors", made, kinds, numbers)
        else:
            save_numpy(made, model_dir / "model.safetensors")
        (model_dir / "config.json").write_text(json.dumps(config, indent=1))
        vocabulary_dir = model_dir
        if case.target:
            vocabulary_dir = folder / "target"
            vocabulary_dir.mkdir()
            architectures.add_target(case.target, size, folder)
        for file in (VOCABULARY / kind).iterdir():
            if file.name in FILES:
                shutil.copy(file, vocabulary_dir)
        tokenizer_config = TOKENIZER_CONFIG[case.mmproj]
        if other := next((name for name in CLASSES if case.architecture.startswith(name)), None):
            tokenizer_config = dict(tokenizer_class=CLASSES[other])
        if case.template:
            tokenizer_config = tokenizer_config | dict(chat_template=case.template)
        (vocabulary_dir / "tokenizer_config.json").write_text(json.dumps(tokenizer_config))
        encoder = ""
        if case.mmproj:
            architectures.add_preprocessor(model_dir)
            architectures.stock(folder, {"mmproj-f32.gguf": "ALL_F32"}, True)
            encoder = hashlib.sha256((folder / "mmproj-f32.gguf").read_bytes()).hexdigest()
        architectures.add_modules(case, model_dir)
        architectures.stock(folder, {"stock-f32.gguf": "ALL_F32"}, attributes=case.attributes)
        if keep:
            short = "MOSTLY_BF16" if "BF16" in kinds.values() else "MOSTLY_F16"
            architectures.stock(folder, {"stock.gguf": short, "stock-q8_0.gguf": "MOSTLY_Q8_0"},
                                attributes=case.attributes)
            shutil.rmtree(keep / case.name, ignore_errors=True)
            shutil.copytree(folder, keep / case.name)
            (keep / case.name / "pre").write_text("gpt-2")
        digest = hashlib.sha256((folder / "stock-f32.gguf").read_bytes()).hexdigest()
        logits = None
        if case.name == "plamo2":
            architectures.exchanged_logits(folder)
            shutil.copy(folder / "logits", out / "plamo2.exchanged")
        if case.logits or case.pooling:
            if model is not None and not case.stock:
                if case.mmproj or "vision_config" in case.config:
                    # Saved under other names than the modules have.
                    model = type(model).from_pretrained(model_dir, attn_implementation="eager").float().eval()
                with torch.no_grad():
                    state = model.state_dict()
                    for name, value in made.items():
                        # What `more` adds, the class has no place for.
                        if "vision_config" not in case.config and not (case.more and name not in state):
                            state[name].copy_(torch.from_numpy(value))
                    if case.pooling:
                        states = model(torch.tensor([ids])).last_hidden_state[0]
                        architectures.embedding(case, states).tofile(out / f"{case.name}.embedding")
                    else:
                        logits = architectures.logits(model, torch.tensor([ids])).numpy()
            elif case.pooling:
                architectures.stock_embedding(folder, case.pooling)
                shutil.copy(folder / "embedding", out / f"{case.name}.embedding")
            else:
                architectures.stock_logits(folder, case)
                logits = np.fromfile(folder / "logits", "<f4").reshape(len(ids), -1)
    name = case.name
    more = f'"tokenizer_class": "{tokenizer_config["tokenizer_class"]}",\n' * bool(other)
    more += f'"dense": {json.dumps(case.dense)},\n' * bool(case.dense) + (f'"target": {json.dumps(case.target)},\n' if case.target else "") + f'"pooling": "{case.pooling}",\n' * bool(case.pooling) + f'"mmproj": "{encoder}",\n' * bool(encoder)
    more += f'"chat_template": {json.dumps(case.template)},\n' * bool(case.template)
    more += f'"stored": {json.dumps(kinds)},\n' * bool(kinds) + f'"numbers": {json.dumps(numbers)},\n' * bool(numbers)
    more += f'"zero_rows": {case.zero_rows},\n' * bool(case.zero_rows)
    lines = [f' "{n}": {json.dumps(s)}' for n, s in shapes.items()]
    (out / f"{name}.json").write_text(
        '{"config": %s,\n"tokenizer": "%s",\n%s"sha256": "%s",\n"tensors": {\n%s\n}}\n'
        % (json.dumps(config), kind, more, digest, ",\n".join(lines)))
    if logits is not None:
        logits[-ROWS:].astype("<f4").tofile(out / f"{name}.logits")


def main():
    sources, out = Path(sys.argv[1]), Path(sys.argv[2])
    os.environ["HF_HUB_OFFLINE"] = "1"
    sys.path[:0] = [str(sources), str(sources / "gguf-py")]
    logging.disable(logging.WARNING)
    import architectures
    import tiktoken_vocabularies
    from conversion.base import TextModel

    tiktoken_vocabularies.install()
    # What is compared here is the class; pre-tokenizers have tests of their own.
    TextModel.get_vocab_base_pre = lambda self, tokenizer: "gpt-2"
    out.mkdir(exist_ok=True)
    names = sys.argv[3:]
    keep = Path(names.pop(names.index("--keep") + 1)) if "--keep" in names else None
    names = [name for name in names if name != "--keep"]
    for case in architectures.CASES:
        if (names and case.name not in names) or case.tokenizer in WITHOUT:
            continue
        try:
            fixture(case, out, architectures, sources, keep)
            print("made", case.name, flush=True)
        except (Exception, SystemExit) as error:
            print("not made", case.name, repr(error)[:200], flush=True)
            if names:
                traceback.print_exc()


if __name__ == "__main__":
    main()
