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
deepseek4: template templates
dots3note: same-head
gemma-embedding: head same-head
glm4-image: linear
glm4moe-image: linear
glm5-next: half
grovemoe: sharded
kimi-k3: half
plamo3: template templates
plamo3-global: linear
pockettts: half template templates
qwen3tts: half
qwen3vl: linear
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


VARIANTS = {"half": half, "head": head, "same-head": same_head, "sharded": sharded, "linear": linear,
            "template": template, "templates": templates}


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
