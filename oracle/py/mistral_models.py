"""Makes tiny model directories in Mistral's own layout (params.json, consolidated*.safetensors, tekken.json or
tokenizer.model.vN) that are the same bytes everywhere.

    python mistral_models.py OUT_DIR [TEKKEN_JSON SENTENCEPIECE_MODEL]

With the two files of the package mistral-common (`data/tekken_240911.json`, `data/tokenizer.model.v1`), two more
models have a published vocabulary. The stock converter's digests of the others are in digests/mistral.txt (see
stock_mistral.py).
"""

import base64
import json
import struct
import sys
from pathlib import Path

import numpy as np

from tiny_models import CARD, weights, write

PARAMS = dict(dim=64, n_layers=2, head_dim=16, hidden_dim=96, n_heads=4, n_kv_heads=2, norm_eps=1e-5,
              rope_theta=1000000.0, max_position_embeddings=512)
SPECIAL = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]",
           "[/TOOL_RESULTS]", "[TOOL_CALLS]", "[IMG]", "<pad>", "[IMG_BREAK]", "[IMG_END]", "[PREFIX]", "[MIDDLE]",
           "[SUFFIX]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[TOOL_CONTENT]"]
NEWER = ["[AUDIO]", "[BEGIN_AUDIO]", "[ARGS]", "[CALL_ID]", "[THINK]", "[/THINK]"]
WORDS = ["he", " t", "in", " the", "er", " a", "the", "é", "éa", "\n\n", "  ", " in", "ing"]
PATTERN = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|\p{N}|"
           r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")


def tekken(out, version, specials=None, n_special=30, extra=()):
    """256 bytes, then tokens that merges make. One token more than the vocabulary counts stands at the end."""
    tokens = [bytes([b]) for b in range(256)] + [b"th"] + [w.encode() for w in WORDS] + [b"beyond"]
    vocab = [dict(rank=i, token_bytes=base64.b64encode(t).decode(),
                  token_str=t.decode("utf-8", "ignore") or None) for i, t in enumerate(tokens)]
    value = dict(config=dict(pattern=PATTERN, num_vocab_tokens=len(tokens), version=version,
                             default_vocab_size=len(tokens) - 1 + n_special, default_num_special_tokens=n_special),
                 vocab=vocab, version=1, type="Tekken")
    if specials:
        value["special_tokens"] = [dict(rank=i, token_str=t, is_control=True) for i, t in enumerate(specials)]
    write(out / "tekken.json", value | dict(extra))
    return len(tokens) - 1 + n_special


def varint(n):
    out = b""
    while True:
        n, low = n >> 7, n & 127
        out += bytes([low | (128 if n else 0)])
        if not n:
            return out


def field(number, wire, payload):
    head = varint(number << 3 | wire)
    return head + (varint(len(payload)) + payload if wire == 2 else payload)


def sentencepiece(out, name):
    pieces = [(t, 0.0, 3) for t in SPECIAL[1:10]]
    pieces = [("<unk>", 0.0, 2)] + pieces + [(f"<0x{i:02X}>", 0.0, 6) for i in range(256)]
    words = ["▁t", "he", "▁the", "in"] + list("▁abcdefghijklmnopqrstuvwxyzé")
    pieces += [(w, -float(i), 1) for i, w in enumerate(words)] + [("[unused]", -99.0, 5)]
    body = b""
    for text, score, kind in pieces:
        piece = field(1, 2, text.encode()) + field(2, 5, struct.pack("<f", score)) + field(3, 0, varint(kind))
        body += field(1, 2, piece)
    trainer = field(3, 0, varint(2)) + field(4, 0, varint(len(pieces))) + field(35, 0, varint(1))
    minus_one = varint((1 << 64) - 1)
    trainer += field(40, 0, varint(0)) + field(41, 0, varint(1)) + field(42, 0, varint(2)) + field(43, 0, minus_one)
    normalizer = field(1, 2, b"identity") + field(3, 0, varint(1)) + field(4, 0, varint(0)) + field(5, 0, varint(1))
    (out / name).write_bytes(body + field(2, 2, trainer) + field(3, 2, normalizer))
    return len(pieces)


def save(path, tensors):
    """safetensors, with floats of 8 bits as (bytes, "F8_E4M3")."""
    names = {"float32": "F32", "float16": "F16"}
    header, data, at = {}, b"", 0
    for name, value in tensors.items():
        array, dtype = value if isinstance(value, tuple) else (value, names[str(value.dtype)])
        raw = array.tobytes()
        header[name] = dict(dtype=dtype, shape=list(array.shape), data_offsets=[at, at + len(raw)])
        data, at = data + raw, at + len(raw)
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    path.write_bytes(struct.pack("<Q", len(head)) + head + data)


def decoder(p, vocab, tied=False):
    h, f, dim = p["dim"], p["hidden_dim"], p["head_dim"]
    q, kv = p["n_heads"] * dim, p["n_kv_heads"] * dim
    shapes = {"tok_embeddings.weight": (vocab, h), "norm.weight": (h,)}
    if not tied:
        shapes["output.weight"] = (vocab, h)
    for i in range(p["n_layers"]):
        b = f"layers.{i}."
        shapes |= {b + "attention_norm.weight": (h,), b + "ffn_norm.weight": (h,), b + "attention.wq.weight": (q, h),
                   b + "attention.wk.weight": (kv, h), b + "attention.wv.weight": (kv, h),
                   b + "attention.wo.weight": (h, q), b + "feed_forward.w1.weight": (f, h),
                   b + "feed_forward.w2.weight": (h, f), b + "feed_forward.w3.weight": (f, h)}
    return shapes


def latent(p, vocab):
    h, f, heads = p["dim"], p["hidden_dim"], p["n_heads"]
    nope, rope, value, rank = p["qk_nope_head_dim"], p["qk_rope_head_dim"], p["v_head_dim"], p["kv_lora_rank"]
    moe = p["moe"]
    wide = moe["expert_hidden_dim"]
    shapes = {"tok_embeddings.weight": (vocab, h), "norm.weight": (h,), "output.weight": (vocab, h)}
    for i in range(p["n_layers"]):
        b = f"layers.{i}."
        shapes |= {b + "attention_norm.weight": (h,), b + "ffn_norm.weight": (h,),
                   b + "attention.wq_a.weight": (p["q_lora_rank"], h),
                   b + "attention.q_a_norm.weight": (p["q_lora_rank"],),
                   b + "attention.wq_b.weight": (heads * (nope + rope), p["q_lora_rank"]),
                   b + "attention.wkv_a_with_mqa.weight": (rank + rope, h), b + "attention.kv_a_norm.weight": (rank,),
                   b + "attention.wkv_b.weight": (heads * (nope + value), rank),
                   b + "attention.wo.weight": (h, heads * value)}
        if i < moe["first_k_dense_replace"]:
            shapes |= {b + "feed_forward.w1.weight": (f, h), b + "feed_forward.w2.weight": (h, f),
                       b + "feed_forward.w3.weight": (f, h)}
            continue
        shapes[b + "gate.weight"] = (moe["num_experts"], h)
        for e in range(moe["num_experts"]):
            x = f"{b}experts.{e}."
            shapes |= {x + "w1.weight": (wide, h), x + "w2.weight": (h, wide), x + "w3.weight": (wide, h)}
        x, n = b + "shared_experts.", moe["num_shared_experts"] * wide
        shapes |= {x + "w1.weight": (n, h), x + "w2.weight": (h, n), x + "w3.weight": (n, h)}
    return shapes


def encoder(v, h, merge):
    w, f, p = v["hidden_size"], v["intermediate_size"], v["patch_size"]
    shapes = {"vision_encoder.patch_conv.weight": (w, v["num_channels"], p, p), "vision_encoder.ln_pre.weight": (w,),
              "vision_language_adapter.w_in.weight": (h, w), "vision_language_adapter.w_out.weight": (h, h)}
    if merge:
        shapes |= {"pre_mm_projector_norm.weight": (w,),
                   "patch_merger.merging_layer.weight": (w, w * v["spatial_merge_size"] ** 2)}
    else:
        shapes |= {"vision_language_adapter.w_in.bias": (h,), "vision_language_adapter.w_out.bias": (h,)}
    for i in range(v["num_hidden_layers"]):
        b = f"vision_encoder.transformer.layers.{i}."
        shapes |= {b + "attention_norm.weight": (w,), b + "ffn_norm.weight": (w,)}
        shapes |= {f"{b}attention.{n}.weight": (w, w) for n in ["wq", "wk", "wv", "wo"]}
        shapes |= {b + "feed_forward.w1.weight": (f, w), b + "feed_forward.w2.weight": (w, f),
                   b + "feed_forward.w3.weight": (f, w)}
    return shapes


def fill(shapes, dtype):
    return {name: weights(i, *shape).astype(dtype) for i, (name, shape) in enumerate(shapes.items())}


def model(out, vocabulary, shapes, dtype="float16", shards=1, card="", fp8=False, template=None, without=(), **changes):
    out.mkdir(parents=True)
    params = {key: value for key, value in (PARAMS | changes).items() if key not in without}
    vocab = vocabulary(out)
    params["vocab_size"] = vocab
    write(out / "params.json", params)
    if card:
        (out / "README.md").write_text(card, encoding="utf-8")
    if template:
        (out / "chat_template.jinja").write_text(template, encoding="utf-8")
    tensors = fill(shapes(params, vocab), dtype)
    if fp8:
        quantized = {}
        for i, (name, value) in enumerate(tensors.items()):
            if ".attention.w" in name or ".feed_forward.w" in name:
                raw = (np.arange(value.size) * 37 + i) % 126
                raw = (raw | (np.arange(value.size) % 3 == 0) * 128).astype(np.uint8).reshape(value.shape)
                module = name.removesuffix(".weight")
                quantized[name] = (raw, "F8_E4M3")
                quantized[module + ".qscale_weight"] = np.float32([0.0123 + i / 1000]).reshape(())
                quantized[module + ".qscale_act"] = np.float32(1.5).reshape(())
            else:
                quantized[name] = value
        tensors = quantized
    if shards == 1:
        save(out / "consolidated.safetensors", tensors)
        return
    names = list(tensors)
    for i in range(shards):
        save(out / f"consolidated-{i + 1:05}-of-{shards:05}.safetensors", {n: tensors[n] for n in names[i::shards]})


VISION = dict(hidden_size=32, num_channels=3, image_size=64, patch_size=8, rope_theta=10000.0, intermediate_size=48,
              num_hidden_layers=2, num_attention_heads=2, adapter_bias=True, max_image_size=64,
              image_token_id=10, image_break_token_id=12, image_end_token_id=13)
IMAGE = dict(image=dict(image_patch_size=8, max_image_size=64, spatial_merge_size=1))
YARN = dict(factor=16.0, beta=32.0, alpha=1.0, apply_scale=False, original_max_position_embeddings=256)
SCALING = dict(beta=0.1, original_max_position_embeddings=256)


def seen(p, vocab):
    v = p["vision_encoder"]
    merge = v.get("mm_projector_id") == "patch_merge"
    return decoder(p, vocab, p.get("tied_embeddings", False)) | encoder(v, p["dim"], merge)


def byte_level(out):
    """A tokenizer.json of the bytes and one merge."""
    def text(b):
        shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
        return chr(b if b in shown else 256 + [x for x in range(256) if x not in shown].index(b))
    tokens = ["<unk>", "<s>", "</s>"] + [text(b) for b in range(256)] + ["he"]
    added = [dict(id=i, content=t, single_word=False, lstrip=False, rstrip=False, normalized=False, special=True)
             for i, t in enumerate(tokens[:3])]
    split = dict(type="ByteLevel", add_prefix_space=False, trim_offsets=True, use_regex=True)
    write(out / "tokenizer.json", dict(version="1.0", truncation=None, padding=None, added_tokens=added,
          normalizer=None, pre_tokenizer=split, post_processor=None, decoder=split,
          model=dict(type="BPE", dropout=None, unk_token=None, continuing_subword_prefix=None, end_of_word_suffix=None,
                     fuse_unk=False, byte_fallback=False, vocab={t: i for i, t in enumerate(tokens)},
                     merges=["h e"])))
    write(out / "tokenizer_config.json", dict(tokenizer_class="PreTrainedTokenizerFast", bos_token="<s>",
          eos_token="</s>", unk_token="<unk>"))
    return len(tokens)


def mistral4(out):
    """Mistral Small 4 in transformers' layout: latent attention, experts in one tensor a layer."""
    out.mkdir()
    vocab, h, f, heads = byte_level(out), 64, 32, 4
    rope = dict(type="yarn", rope_type="yarn", rope_theta=10000.0, factor=8.0, original_max_position_embeddings=256,
                beta_fast=32.0, beta_slow=1.0, mscale=1.0, mscale_all_dim=1.0, llama_4_scaling_beta=0.1)
    text = dict(model_type="mistral4", hidden_size=h, intermediate_size=96, num_hidden_layers=2,
                num_attention_heads=heads, num_key_value_heads=heads, q_lora_rank=24, kv_lora_rank=32,
                qk_nope_head_dim=16, qk_rope_head_dim=8, qk_head_dim=24, v_head_dim=16, head_dim=24,
                n_routed_experts=4, num_experts_per_tok=2, n_shared_experts=1, moe_intermediate_size=f,
                first_k_dense_replace=0, n_group=1, topk_group=1, norm_topk_prob=True, routed_scaling_factor=1.0,
                rms_norm_eps=1e-6, max_position_embeddings=65536, vocab_size=vocab, hidden_act="silu",
                tie_word_embeddings=False, rope_interleave=True, rope_parameters=rope)
    write(out / "config.json", dict(architectures=["Mistral3ForConditionalGeneration"], model_type="mistral3",
          text_config=text, tie_word_embeddings=False))
    shapes = {"model.embed_tokens.weight": (vocab, h), "model.norm.weight": (h,), "lm_head.weight": (vocab, h)}
    for i in range(2):
        b = f"model.layers.{i}."
        a, m = b + "self_attn.", b + "mlp."
        shapes |= {b + "input_layernorm.weight": (h,), b + "post_attention_layernorm.weight": (h,),
                   a + "q_a_proj.weight": (24, h), a + "q_a_layernorm.weight": (24,),
                   a + "q_b_proj.weight": (heads * 24, 24), a + "kv_a_proj_with_mqa.weight": (40, h),
                   a + "kv_a_layernorm.weight": (32,), a + "kv_b_proj.weight": (heads * 32, 32),
                   a + "o_proj.weight": (h, heads * 16), m + "gate.weight": (4, h),
                   m + "experts.gate_up_proj": (4, 2 * f, h), m + "experts.down_proj": (4, h, f),
                   m + "shared_experts.gate_proj.weight": (f, h), m + "shared_experts.up_proj.weight": (f, h),
                   m + "shared_experts.down_proj.weight": (h, f)}
    save(out / "model.safetensors", {"language_model." + n: x for n, x in fill(shapes, "float16").items()})


def main():
    out = Path(sys.argv[1])
    if len(sys.argv) > 2:
        def published(path, name, size):
            def copy(out):
                (out / name).write_bytes(Path(path).read_bytes())
                return size
            return copy
        model(out / "Tiny-Published-Tekken", published(sys.argv[2], "tekken.json", 131072), decoder)
        model(out / "Tiny-Published-Pieces", published(sys.argv[3], "tokenizer.model.v1", 32000), decoder)
        return
    plain = [*SPECIAL]
    newer = SPECIAL + NEWER
    model(out / "Tiny-Mistral-v0.3", lambda o: sentencepiece(o, "tokenizer.model.v3"), decoder, card=CARD)
    model(out / "Tiny-Mistral-v0.1", lambda o: sentencepiece(o, "tokenizer.model"), decoder, dtype="float32")
    model(out / "Tiny-Nemo-2407", lambda o: tekken(o, "v3"), decoder, shards=2)
    model(out / "Tiny-Small-2501", lambda o: tekken(o, "v7", plain), decoder, max_seq_len=32768)
    model(out / "Tiny-Devstral-2507", lambda o: tekken(o, "v13", newer), decoder,
          template="{{ messages[0]['content'] }}\n")
    model(out / "Tiny-Ministral-3-2512", lambda o: tekken(o, "v13", newer, extra=IMAGE), seen, tied_embeddings=True,
          template="{% for m in messages %}{{ m['content'] }}{% endfor %}", max_position_embeddings=4096, yarn=YARN,
          llama_4_scaling=SCALING, vision_encoder=VISION | dict(mm_projector_id="patch_merge", spatial_merge_size=2,
          adapter_bias=False, add_pre_mm_projector_layer_norm=True, image_break_token_id=-1))
    model(out / "Tiny-Pixtral-2409", lambda o: tekken(o, "v3", extra=IMAGE), seen, vision_encoder=VISION)
    model(out / "Tiny-Small-2506-FP8", lambda o: tekken(o, "v7", plain), decoder, fp8=True,
          quantization=dict(qformat_weight="fp8_e4m3", qscheme_act="TENSOR"))
    moe = dict(expert_parallel=1, expert_model_parallel=1, route_every_n=1, first_k_dense_replace=1, num_experts=4,
               num_experts_per_tok=2, num_expert_groups=1, num_expert_groups_per_tok=1, routed_scale=1.0,
               expert_hidden_dim=32, num_shared_experts=1)
    model(out / "Tiny-Large-3-2512", lambda o: tekken(o, "v7", plain), latent, n_layers=2, n_kv_heads=4, moe=moe,
          q_lora_rank=24, kv_lora_rank=32, qk_nope_head_dim=16, qk_rope_head_dim=8, v_head_dim=16, head_dim=None,
          max_position_embeddings=4096, yarn=YARN, llama_4_scaling=SCALING)
    mistral4(out / "Latent-Small-4")
    # What llama.cpp loads no file without, and the stock converter writes none of.
    for name, says in [("Short-Long", dict(max_seq_len=4096)), ("Short-Silent", {})]:
        model(out / name, lambda o: tekken(o, "v7", plain), decoder, without=("max_position_embeddings",), **says)
    # transformers' layout with Mistral's vocabulary.
    both = out / "Tiny-Small-3.1-2503"
    both.mkdir()
    vocab = tekken(both, "v7", plain)
    write(both / "config.json", dict(architectures=["MistralForCausalLM"], model_type="mistral", hidden_size=64,
          intermediate_size=96, num_hidden_layers=1, num_attention_heads=4, num_key_value_heads=2, head_dim=16,
          max_position_embeddings=512, rms_norm_eps=1e-5, rope_theta=1e6, vocab_size=vocab))
    p = PARAMS | dict(n_layers=1)
    hf = {"tok_embeddings": "model.embed_tokens", "norm": "model.norm", "output": "lm_head",
          "attention_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm", "wq": "q_proj", "wk": "k_proj",
          "wv": "v_proj", "wo": "o_proj", "w1": "gate_proj", "w2": "down_proj", "w3": "up_proj",
          "attention": "self_attn", "feed_forward": "mlp", "layers": "model.layers"}
    rename = lambda n: ".".join(hf.get(part, part) for part in n.split("."))  # noqa: E731
    save(both / "model.safetensors", {rename(n): x for n, x in fill(decoder(p, vocab), "float16").items()})


if __name__ == "__main__":
    main()
