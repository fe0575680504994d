"""What the stock converter makes of fixtures as other publishers may write them: digests/variants.txt.

    python variant_digests.py LLAMA_CPP_SOURCES > ../digests/variants.txt

A line is fixture, variant, SHA-256 of the F32 file. The variants are those of VARIANTS, which tests/variants.rs has, too.
Needs the packages of requirements-converter.txt.
"""

import json
import sys
from pathlib import Path

import architectures
import fused_digests

CASES = """
apertus: newer-null older-alone two-kinds
arcee: newer-null older-alone two-kinds
bailingmoe3-vl: older-null newer-null older-alone two-kinds
cohere2: older-null newer-null older-alone two-kinds
command-r-plain: older-null newer-null older-alone two-kinds
deepseek2-v3: older-null newer-null older-alone two-kinds
deepseek2-lite: older-null newer-null older-alone two-kinds
deepseek4: template templates
dflash-2: older-null newer-null older-alone two-kinds
dots3note: same-head
ernie4_5: older-null newer-null older-alone two-kinds
ernie4_5-moe: older-null newer-null older-alone two-kinds
gemma-embedding: head same-head
gemma-embedding-dense: older-null newer-null older-alone two-kinds
gemma3n-image: older-null newer-null two-kinds
glm4-image: linear older-null newer-null older-alone two-kinds
glm4moe: older-null newer-null older-alone two-kinds
glm4moe-image: linear older-null newer-null older-alone two-kinds
glm5-next: half
gpt-oss: older-null newer-null older-alone two-kinds
gptneox-sequential: older-null newer-null older-alone two-kinds
granite: older-null older-alone two-kinds
granitemoe: older-null older-alone two-kinds
granitemoe-shared: older-null older-alone two-kinds
grovemoe: sharded
kimi-k3: half
llama: newer-null older-alone two-kinds
llama-llava: older-null older-alone two-kinds
olmo2-olmo3: older-null newer-null older-alone two-kinds
olmoe: older-null newer-null older-alone two-kinds
phi2: older-null newer-null older-alone two-kinds
phi3-longrope: older-null newer-null older-alone two-kinds
phimoe: older-null newer-null older-alone two-kinds
plamo3: template templates
plamo3-global: linear
pockettts: half template templates
qwen2-audio: older-null newer-null older-alone two-kinds
qwen2moe: older-null newer-null older-alone two-kinds
qwen2vl: older-null newer-null older-alone two-kinds
qwen2vl-2.5: older-null newer-null older-alone two-kinds
qwen2vl-omni: older-null newer-null older-alone two-kinds
qwen3-step: older-null newer-null older-alone two-kinds
qwen3moe: older-null newer-null older-alone two-kinds
qwen3next: older-null newer-null older-alone two-kinds
qwen3tts: half
qwen3vl: linear older-null newer-null older-alone two-kinds
qwen3vlmoe: older-null newer-null older-alone two-kinds
qwen3vlmoe-omni: older-null newer-null older-alone two-kinds
seed_oss: older-null newer-null older-alone two-kinds
smollm3: newer-null older-alone two-kinds
stablelm-12b: older-null newer-null older-alone two-kinds
starcoder2: older-null newer-null older-alone two-kinds
"""


def change(path, **more):
    """A file of JSON with more keys."""
    path.write_text(json.dumps(json.loads(path.read_text()) | more))


def change_weights(folder, made):
    from safetensors.numpy import load_file, save_file
    path = folder / "model.safetensors"
    save_file(made(load_file(path)), path)


def half(folder):
    """Weights of half precision."""
    change_weights(folder, lambda weights: {k: v.astype("float16") for k, v in weights.items()})


def with_head(folder):
    """An output matrix that is the embeddings."""
    def made(weights):
        name = next(name for name in weights if name.endswith("embed_tokens.weight"))
        return weights | {"lm_head.weight": weights[name]}

    change_weights(folder, made)


def head(folder):
    with_head(folder)
    change(folder / "config.json", tie_word_embeddings=False)


def same_head(folder):
    with_head(folder)
    change(folder / "config.json", tie_word_embeddings=True)


def sharded(folder):
    """Two files with every other tensor, in the order of their names."""
    from safetensors.numpy import load_file, save_file
    path = folder / "model.safetensors"
    weights, places = load_file(path), {}
    path.unlink()
    for i in range(2):
        name = f"model-0000{i + 1}-of-00002.safetensors"
        part = {k: weights[k] for k in sorted(weights)[i::2]}
        save_file(part, folder / name)
        places |= dict.fromkeys(part, name)
    (folder / "model.safetensors.index.json").write_text(json.dumps(dict(metadata={}, weight_map=places)))


def linear(folder):
    change(folder / "config.json", rope_scaling=dict(type="linear", factor=4.0))


def template(folder):
    change(folder / "tokenizer_config.json", chat_template="{{ messages }}")


def templates(folder):
    listed = [dict(name="default", template="{{ a }}"), dict(name="tool_use", template="{{ b }}")]
    change(folder / "tokenizer_config.json", chat_template=listed)


def scaled(**kinds):
    """A linear scaling of the text model's rotation with these names of its kind, beside the sections that there are."""
    def change_scaling(folder):
        path = folder / "config.json"
        config = json.loads(path.read_text())
        text = config
        for key in TEXTS:
            text = text.get(key) or text
        key = "rope_parameters" if "rope_parameters" in text else "rope_scaling"
        kept = {k: v for k, v in (text.get(key) or {}).items() if k in KEPT}
        text[key] = kept | dict(factor=4.0, original_max_position_embeddings=64) | kinds
        path.write_text(json.dumps(config))

    return change_scaling


TEXTS = ("language_config", "thinker_config", "talker_config", "llm_config", "lm_config", "text_config")
"""Keys inside which a text model's configuration is."""
KEPT = ("rope_theta", "mrope_section", "mrope_interleaved", "partial_rotary_factor")

VARIANTS = {"half": half, "head": head, "same-head": same_head, "sharded": sharded, "linear": linear,
            "template": template, "templates": templates,
            "older-null": scaled(type=None, rope_type="linear"),
            "newer-null": scaled(type="linear", rope_type=None),
            "older-alone": scaled(type="linear"),
            "two-kinds": scaled(type="linear", rope_type="yarn")}


def prepared(fixture, variant, folder):
    fused_digests.make(fixture, folder)
    VARIANTS[variant](folder)


def main():
    fused_digests.import_stock(Path(sys.argv[1]))
    # A directory's template takes the place of the one that the converter brings along: here it is seen.
    is_file = Path.is_file
    architectures.repair()
    Path.is_file = is_file
    fused_digests.digests(CASES, prepared)


if __name__ == "__main__":
    main()
