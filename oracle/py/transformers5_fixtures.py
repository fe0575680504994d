"""Makes fixtures/transformers5: directories as transformers 5 saves them, with what the stock converter makes of the
same models as transformers 4.57 saved them.

    python transformers5_fixtures.py LLAMA_CPP_SOURCES OUT_DIR --five PYTHON [NAME ...]

OUT_DIR/<name> gets `model`, the directory of transformers 5, `stock.gguf` (the header and keys of the stock converter's file,
without tensors) and `tensors` (a line for each tensor of it: name, type, shape, SHA-256). The models are cases of
architectures.py at a smaller size, the vocabularies the small ones of fixtures/vocab.

This Python has the packages of requirements-converter.txt, PYTHON those of requirements-transformers5.txt.
"""

import argparse
import hashlib
import json
import logging
import os
import shutil
import struct
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import architectures
import transformers5

HERE = Path(__file__).resolve().parent
SMALL = dict(hidden_size=32, intermediate_size=48, num_attention_heads=2, num_key_value_heads=1)
TEXT = dict(num_hidden_layers=1) | SMALL
EXPERTS = dict(num_local_experts=2, num_experts_per_tok=1)
MAMBA2 = dict(mamba_n_heads=4, mamba_d_state=8, mamba_d_head=16)
HYBRID = EXPERTS | MAMBA2 | SMALL | dict(vocab_size=424, shared_intermediate_size=24)
ATTENTION = dict(layer_types=["attention"], num_hidden_layers=1, position_embedding_type="rope", vocab_size=420)
IMAGES = dict(depth=1, hidden_size=16, intermediate_size=24, num_heads=1, out_hidden_size=32, num_position_embeddings=16,
              patch_size=4, deepstack_visual_indexes=[0])
FIXTURES = {
    # Experts are stored the other way round.
    "qwen3vlmoe": ("qwen3vlmoe", dict(text_config=TEXT | dict(num_experts=2, num_experts_per_tok=1, moe_intermediate_size=24),
                                      vision_config=IMAGES)),
    # `rotary_pct` inside of `rope_parameters`.
    "gptneox": ("gptneox", TEXT),
    # Layer types under other names.
    "granitehybrid": ("granitehybrid", HYBRID | dict(layer_types=["mamba", "attention"], num_hidden_layers=2)),
    "granitehybrid-attention": ("granitehybrid", HYBRID | ATTENTION),
    "granitehybrid-attention-dense": ("granitehybrid-dense", HYBRID | ATTENTION | dict(
        num_local_experts=0, num_experts_per_tok=0, shared_intermediate_size=48)),
    # SentencePiece models in tokenizer.json alone.
    "gemma": ("gemma", TEXT),
    "gemma2": ("gemma2", TEXT),
    "phi3": ("phi3", TEXT),
    "ernie4_5": ("ernie4_5", TEXT),
    "nemotron": ("nemotron", TEXT),
    # A token behind the vocabulary.
    "gemma3": ("gemma3", TEXT | dict(num_hidden_layers=2)),
    # The class under transformers' own name.
    "phimoe": ("phimoe-newer", TEXT | EXPERTS),
}
NARROW = dict(hidden_size=32, intermediate_size=48, moe_intermediate_size=16)
# With so many heads no two keys have one score, so that one choice of keys is right.
INDEXED = NARROW | dict(num_hidden_layers=2, q_lora_rank=24, kv_lora_rank=16, index_n_heads=32, index_head_dim=32)
NATIVE = {
    "five-deepseek32": INDEXED,
    "five-deepseek4": dict(hidden_size=32, intermediate_size=16, q_lora_rank=16, o_lora_rank=16, num_attention_heads=2),
    "five-exaone-moe": NARROW,
    "five-glm-dsa": INDEXED,
    "five-glm4-moe-lite": NARROW | dict(num_hidden_layers=2, q_lora_rank=24, kv_lora_rank=16),
    "five-glm5-next": dict(
        text_config=transformers5.NATIVE["five-glm5-next"][2]["text_config"] | NARROW | dict(
            num_attention_heads=2, num_key_value_heads=2, linear_num_heads=2, q_lora_rank=24, kv_lora_rank=16,
            index_n_heads=32),
        vision_config=transformers5.NATIVE["five-glm5-next"][2]["vision_config"] | dict(depth=1, out_hidden_size=32)),
    "five-granite_swa": NARROW | dict(num_attention_heads=2, num_key_value_heads=1),
    "five-nemotron_h": NARROW | dict(mamba_num_heads=4),
    # One is added to norms in the type that they are stored in, if that is half precision.
    "five-qwen4exp": NARROW | dict(dtype="bfloat16", shared_expert_intermediate_size=24, linear_num_value_heads=4),
}
"""Models of transformers 5 alone: their fixtures have `logits`, its last two rows, in place of what stock makes."""
BYTES = "gpt2"
"""Of the cases' tokenizers that of bytes, here the small one."""
PIECES = HERE.parent.parent / "convert/tests/fixtures/transformers5/five"
"""What transformers 5 writes of a SentencePiece vocabulary."""
BEHIND = "<image_soft_token>"
"""Gemma 3's token 262144."""


def smaller(name):
    """The case at the fixture's size, with its own tokenizer's."""
    of, changes = FIXTURES[name]
    case = transformers5.changed(next(c for c in architectures.CASES if c.name == of))
    if name == "gemma3":
        # No more embeddings than tokens.
        case = replace(case, tokenizer="spm_plain")
    config = case.config | changes
    for part in ("text_config", "vision_config"):
        if part in config:
            config[part] = case.config[part] | changes.get(part, {})
    tokenizer = {"spm_plain": "spm_plain", "spm": "spm", "llama2": "spm"}.get(case.tokenizer, BYTES)
    if case.architecture == "PhimoeForCausalLM":
        case = replace(case, file=case.file | dict(model_type="phimoe"))
    return replace(case, name=name, config=config, tokenizer=tokenizer, dtype="float16")


def behind(five):
    """Puts a token behind the vocabulary into tokenizer.json, as Gemma 3's has it."""
    path = five / "tokenizer.json"
    tokenizer = json.loads(path.read_text(encoding="utf-8"))
    at = len(tokenizer["model"]["vocab"])
    tokenizer["added_tokens"].append(dict(id=at, content=BEHIND, single_word=False, lstrip=False, rstrip=False,
                                          normalized=False, special=True))
    path.write_text(json.dumps(tokenizer, ensure_ascii=False, indent=1), encoding="utf-8")


def keys_alone(file, out):
    """Copies the header and the keys of a GGUF file."""
    import gguf

    reader = gguf.GGUFReader(file)
    # The first three fields are those of the header.
    last = list(reader.fields.values())[-1]
    end = last.offset + sum(part.nbytes for part in last.parts)
    data = bytearray(file.read_bytes()[:end])
    data[8:16] = struct.pack("<Q", 0)
    data += bytes(-len(data) % 32)
    out.joinpath("stock.gguf").write_bytes(data)
    with out.joinpath("tensors").open("w") as lines:
        for tensor in reader.tensors:
            shape = "x".join(map(str, tensor.shape))
            digest = hashlib.sha256(tensor.data.tobytes()).hexdigest()
            lines.write(f"{tensor.name} {tensor.tensor_type.name} {shape} {digest}\n")


def plain_rates(model):
    """Decay rates whose exponential every library rounds alike."""
    import torch
    from safetensors.torch import load_file, save_file

    file = model / "model.safetensors"
    weights = load_file(file)
    for name, value in weights.items():
        if name.endswith(".A_log"):
            weights[name] = torch.arange(len(value), dtype=value.dtype) / 4
            rate = weights[name].float()
            assert torch.equal(rate.exp(), rate.double().exp().float())
    save_file(weights, file, dict(format="pt"))


def four(name, folder, tokenizers):
    """The directory as transformers 4.57 saves it, and the stock converter's file."""
    case = smaller(name)
    architectures.make(case, tokenizers, folder)
    plain_rates(folder / "model")
    if case.tokenizer != BYTES:
        transformers5.plain_tokenizer(case, folder / "model")
    if "PhimoeForCausalLM" in (folder / "model/config.json").read_text():
        architectures.KNOWN_AS["PhimoeForCausalLM"] = "PhiMoEForCausalLM"
    architectures.stock(folder, {"stock-f32.gguf": "ALL_F32"})


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("sources", "out"):
        arguments.add_argument(name, type=Path)
    arguments.add_argument("names", nargs="*")
    arguments.add_argument("--five", help="the Python with transformers 5")
    arguments.add_argument("--resave", type=Path, help="only the second half, of this folder")
    a = arguments.parse_intermixed_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    sys.path[:0] = [str(a.sources), str(a.sources / "gguf-py")]
    logging.disable(logging.WARNING)
    names = a.names or [*FIXTURES, *NATIVE]
    if a.resave:
        for name in names:
            if name in NATIVE:
                transformers5.native(name, a.resave / name, **dict(dtype="float16") | NATIVE[name])
            else:
                transformers5.resave(smaller(name), a.resave / name)
        return
    from conversion.base import TextModel

    # What is compared here is what transformers 5 changes; pre-tokenizers have tests of their own.
    TextModel.get_vocab_base_pre = lambda self, tokenizer: "gpt-2"
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        tokenizers = folder / "tokenizers"
        (tokenizers / BYTES).mkdir(parents=True)
        for file in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(HERE.parent / "fixtures/vocab/llama3" / file, tokenizers / BYTES)
        architectures.SIZES[BYTES] = 420
        for name in names:
            if name not in NATIVE:
                four(name, folder / name, tokenizers)
            print("made", name, flush=True)
        subprocess.run([a.five, __file__, a.sources, a.out, "--resave", folder, *names], check=True)
        for name in names:
            out, model = a.out / name, a.out / name / "model"
            shutil.rmtree(out, ignore_errors=True)
            shutil.copytree(folder / name / "five/model", model)
            if (model / "tokenizer.model").exists():
                for file in model.glob("*token*"):
                    file.unlink()
                for file in PIECES.iterdir():
                    shutil.copy(file, model)
            model.joinpath("generation_config.json").unlink(missing_ok=True)
            if name == "gemma3":
                behind(model)
            for file in model.iterdir():
                file.chmod(0o755 if file.is_dir() else 0o644)
            if name in NATIVE:
                rows = (folder / name / "five/logits").read_bytes()
                (out / "logits").write_bytes(rows[-2 * len(rows) // architectures.TOKENS:])
            else:
                keys_alone(folder / name / "stock-f32.gguf", out)


if __name__ == "__main__":
    main()
