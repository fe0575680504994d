"""Makes tiny model directories that are the same bytes everywhere, with a tokenizer of their own.

    python tiny_models.py OUT_DIR

The stock converter's digests of them are in digests/convert.txt (see stock_digests.py).
"""

import json
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

CARD = """---
license: apache-2.0
language:
- en
- no
base_model: someone/Base-Model-7B-v0.1
datasets:
- someone/some-data
tags: [tiny, "1.5"]
pipeline_tag: text-generation
---
# A model card
"""
BASE = dict(hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=512, rms_norm_eps=1e-5)


def tokenizer(out):
    words = list("▁abcdefghijklmnopqrstuvwxyz") + ["▁t", "he", "▁the", "in", "er"]
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{i:02X}>" for i in range(256)] + words
    added = [dict(id=i, content=t, single_word=False, lstrip=False, rstrip=False, normalized=False, special=True)
             for i, t in enumerate(tokens[:3])]
    model = dict(type="BPE", dropout=None, unk_token="<unk>", continuing_subword_prefix=None,
                 end_of_word_suffix=None, fuse_unk=True, byte_fallback=True, ignore_merges=False,
                 vocab={t: i for i, t in enumerate(tokens)},
                 merges=["▁ t", "h e", "▁t he", "i n", "e r"])
    normalizer = dict(type="Sequence", normalizers=[
        dict(type="Prepend", prepend="▁"), dict(type="Replace", pattern=dict(String=" "), content="▁")])
    decoder = dict(type="Sequence", decoders=[
        dict(type="Replace", pattern=dict(String="▁"), content=" "), dict(type="ByteFallback"),
        dict(type="Fuse"), dict(type="Strip", content=" ", start=1, stop=0)])
    write(out / "tokenizer.json", dict(version="1.0", truncation=None, padding=None, added_tokens=added,
          normalizer=normalizer, pre_tokenizer=None, post_processor=None, decoder=decoder, model=model))
    write(out / "tokenizer_config.json", dict(tokenizer_class="PreTrainedTokenizerFast", bos_token="<s>",
          eos_token="</s>", unk_token="<unk>", add_bos_token=True, add_eos_token=False,
          chat_template="{{ messages[0]['content'] }}"))
    return len(tokens)


def write(path, value):
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1), encoding="utf-8")


def weights(seed, *shape):
    """Multiples of 1/256 below 1 in magnitude, exact in every float type; the same on every machine."""
    n = int(np.prod(shape))
    x = (np.arange(n, dtype=np.uint64) + np.uint64(seed * 1000003)) * np.uint64(6364136223846793005)
    x = (x ^ (x >> np.uint64(29))) * np.uint64(1442695040888963407)
    return ((x >> np.uint64(57)).astype(np.int64) * 2 - 127).astype(np.float32).reshape(shape) / 256


def tensors(config, vocab, experts=0, biases=False, tied=False):
    h, f, heads = config["hidden_size"], config["intermediate_size"], config["num_attention_heads"]
    dim = config.get("head_dim", h // heads)
    q, kv = heads * dim, config["num_key_value_heads"] * dim
    shapes = {"model.embed_tokens.weight": (vocab, h), "model.norm.weight": (h,)}
    if not tied:
        shapes["lm_head.weight"] = (vocab, h)
    for i in range(config["num_hidden_layers"]):
        b = f"model.layers.{i}."
        shapes |= {b + "input_layernorm.weight": (h,), b + "post_attention_layernorm.weight": (h,),
                   b + "self_attn.q_proj.weight": (q, h), b + "self_attn.k_proj.weight": (kv, h),
                   b + "self_attn.v_proj.weight": (kv, h), b + "self_attn.o_proj.weight": (h, q),
                   b + "self_attn.rotary_emb.inv_freq": (dim // 2,)}
        if biases:
            shapes |= {b + "self_attn.q_proj.bias": (q,), b + "self_attn.k_proj.bias": (kv,),
                       b + "self_attn.v_proj.bias": (kv,), b + "self_attn.o_proj.bias": (h,)}
        if experts:
            m = b + "block_sparse_moe."
            shapes[m + "gate.weight"] = (experts, h)
            for e in range(experts):
                shapes |= {f"{m}experts.{e}.w1.weight": (f, h), f"{m}experts.{e}.w2.weight": (h, f),
                           f"{m}experts.{e}.w3.weight": (f, h)}
        else:
            shapes |= {b + "mlp.gate_proj.weight": (f, h), b + "mlp.up_proj.weight": (f, h),
                       b + "mlp.down_proj.weight": (h, f)}
    return {name: weights(i, *shape) for i, (name, shape) in enumerate(shapes.items())}


def model(out, architecture, model_type, dtype, shards=1, card="", changes={}, **options):
    out.mkdir(parents=True)
    vocab = tokenizer(out)
    config = BASE | dict(architectures=[architecture], model_type=model_type, vocab_size=vocab,
                         bos_token_id=1, eos_token_id=2) | changes
    write(out / "config.json", config)
    write(out / "generation_config.json", dict(temperature=0.6, top_p=0.9, top_k=40, do_sample=True))
    if card:
        (out / "README.md").write_text(card, encoding="utf-8")
    made = tensors(config, vocab, **options)
    made = {name: value.astype(dtype) for name, value in made.items()}
    if shards == 1:
        save_file(made, out / "model.safetensors")
        return
    names, files = sorted(made, reverse=True), {}
    for i in range(shards):
        file = f"model-{i + 1:05}-of-{shards:05}.safetensors"
        save_file({n: made[n] for n in names[i::shards]}, out / file)
        files |= {n: file for n in names[i::shards]}
    write(out / "model.safetensors.index.json", dict(metadata={}, weight_map=files))


def main():
    out = Path(sys.argv[1])
    llama3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                  original_max_position_embeddings=256)
    model(out / "Tiny-Llama-0.2M-Instruct-v0.3", "LlamaForCausalLM", "llama", "float16", card=CARD, tied=True,
          changes=dict(rope_theta=500000.0, rope_scaling=llama3))
    model(out / "tiny-llama-bias", "LlamaForCausalLM", "llama", "float32", biases=True,
          changes=dict(head_dim=32, attention_bias=True, rope_scaling=dict(type="linear", factor=4)))
    model(out / "tiny-mistral", "MistralForCausalLM", "mistral", "float32", shards=3,
          changes=dict(sliding_window=None, rope_theta=1000000.0))
    model(out / "tiny-mixtral", "MixtralForCausalLM", "mixtral", "float16", experts=3,
          changes=dict(num_local_experts=3, num_experts_per_tok=2))


if __name__ == "__main__":
    main()
