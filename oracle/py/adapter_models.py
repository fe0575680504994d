"""Makes a tiny model directory and two LoRA adapters of it, as PEFT writes them.

    python adapter_models.py OUT_DIR

With a Python that has the packages of requirements-converter.txt and llama.cpp's sources, it also prints the
SHA-256 of what the stock converters make of them (digests/outputs.txt):

    python adapter_models.py OUT_DIR LLAMA_CPP_SOURCES > digests/outputs.txt
"""

import hashlib
import json
import os
import runpy
import sys
from pathlib import Path

from safetensors.numpy import load_file, save_file

import tiny_models

# Arguments of the stock converter, and the start of the names of the files that it writes.
CONVERSIONS = {
    "big-f16": ["--outtype", "f16", "--bigendian"],
    "big-f32": ["--outtype", "f32", "--bigendian"],
    "size": ["--split-max-size", "30K"],
    "tensors": ["--split-max-tensors", "7", "--no-tensor-first-split"],
    "first": ["--no-tensor-first-split"],
    "whole": ["--split-max-size", "1G"],
}
ADAPTERS = {"tiny-llama-0.2M-lora-v2": "float32", "adapter": "float16"}


TEXT_ADAPTER = "parts"
"""An adapter of a model that reads images too: pairs of its text model and one of its encoder."""


def adapter(out, base, dtype):
    out.mkdir()
    weights = {}
    for number, (name, value) in enumerate(base.items()):
        if name.endswith("_proj.weight") or name == "lm_head.weight":
            module = "base_model.model." + name.removesuffix(".weight")
            weights[module + ".lora_A.weight"] = tiny_models.weights(number, 8, value.shape[1])
            weights[module + ".lora_B.weight"] = tiny_models.weights(number + 100, value.shape[0], 8)
    config = dict(peft_type="LORA", r=8, lora_alpha=16, base_model_name_or_path="none/none")
    if dtype == "float16":
        rows, columns = base["model.embed_tokens.weight"].shape
        embedding = "base_model.model.model.embed_tokens.lora_embedding_"
        weights[embedding + "A"] = tiny_models.weights(200, 8, rows)
        weights[embedding + "B"] = tiny_models.weights(201, columns, 8)
        weights["base_model.model.model.norm.weight"] = tiny_models.weights(202, columns)
        config["alora_invocation_tokens"] = [1, 2]
    save_file({name: value.astype(dtype) for name, value in weights.items()}, out / "adapter_model.safetensors")
    tiny_models.write(out / "adapter_config.json", config)


def multimodal(out):
    """The configuration of the whole and an adapter, from those of the text model by itself."""
    text = json.loads((out / "llama/config.json").read_text())
    (out / "llava").mkdir()
    vision = dict(model_type="clip_vision_model", hidden_size=32, intermediate_size=48, num_hidden_layers=1,
                  num_attention_heads=2, image_size=28, patch_size=14)
    tiny_models.write(out / "llava/config.json", dict(
        architectures=["LlavaForConditionalGeneration"], model_type="llava", text_config=text, vision_config=vision))
    (out / TEXT_ADAPTER).mkdir()
    old, new = "base_model.model.model.layers", "base_model.model.model.language_model.layers"
    pairs = load_file(out / "adapter/adapter_model.safetensors")
    weights = {name.replace(old, new): value for name, value in pairs.items() if old in name}
    encoder = "base_model.model.model.vision_tower.vision_model.encoder.layers.0.self_attn.q_proj"
    weights |= {encoder + ".lora_A.weight": tiny_models.weights(300, 8, 32).astype("float16"),
                encoder + ".lora_B.weight": tiny_models.weights(301, 32, 8).astype("float16")}
    save_file(weights, out / TEXT_ADAPTER / "adapter_model.safetensors")
    tiny_models.write(out / TEXT_ADAPTER / "adapter_config.json", dict(
        peft_type="LORA", r=8, lora_alpha=16, base_model_name_or_path="none/none"))


def main():
    out = Path(sys.argv[1])
    tiny_models.model(out / "llama", "LlamaForCausalLM", "llama", "float16")
    base = load_file(out / "llama" / "model.safetensors")
    for name, dtype in ADAPTERS.items():
        adapter(out / name, base, dtype)
    multimodal(out)
    if len(sys.argv) < 3:
        return

    sources = Path(sys.argv[2])
    os.environ["HF_HUB_OFFLINE"] = "1"
    sys.path.insert(0, str(sources))
    made = out / "stock"
    made.mkdir()
    runs = {name: ["convert_hf_to_gguf.py", str(out / "llama"), *args] for name, args in CONVERSIONS.items()}
    bases = dict.fromkeys(ADAPTERS, "llama") | {TEXT_ADAPTER: "llava"}
    for name, base in bases.items():
        for outtype in ("f32", "f16", "q8_0"):
            runs[f"{name}.{outtype}"] = ["convert_lora_to_gguf.py", str(out / name), "--base", str(out / base),
                                         "--outtype", outtype]
    for name, (script, *args) in runs.items():
        sys.argv = [script, *args, "--outfile", str(made / f"{name}.gguf")]
        runpy.run_path(str(sources / script), run_name="__main__")
    for file in sorted(made.iterdir()):
        print(file.name, hashlib.sha256(file.read_bytes()).hexdigest(), flush=True)


if __name__ == "__main__":
    main()
