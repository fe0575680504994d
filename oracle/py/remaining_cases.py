"""Cases of architectures.py of the classes that were the last to come: hyper-connections, n-grams, experts in 4 bits, decoders
of speech, with names and shapes as the stock converter reads them."""

import checkpoints
import newer_cases
from checkpoints import decoder, latent, qwen3_5, qwen3_vision
from raw_tensors import SCALES

TEMPLATE = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"


def qwen4exp(c):
    """Qwen3.5's layers, with hyper-connections for norms, an indexer beside attention, n-grams in one layer."""
    h, streams, rank = c["hidden_size"], c["hc_count"], c["hc_lowrank"]
    wide = streams * h
    out = {name: shape for name, shape in qwen3_5(c).items()
           if "layernorm" not in name and name != "model.norm.weight"}
    for i, kind in enumerate(c["layer_types"]):
        b = f"model.layers.{i}."
        for half in ("attn", "mlp"):
            p = f"{b}{half}_hyper_connection."
            out |= {p + "hc_norm.weight": (wide,), p + "input_mix_weight_down.weight": (rank, wide),
                    p + "input_mix_weight_up.weight": (wide, rank), p + "block_inject_weight.weight": (streams, wide)}
        if kind == "full_attention":
            x, length = b + "self_attn.indexer.", c["indexer_head_dim"]
            out |= {x + "index_qk_proj.weight": ((c["indexer_n_heads"] + 1) * length, h), x + "q_layernorm.weight": (length,),
                    x + "k_layernorm.weight": (length,)}
    p = "model.hyper_connection_mixer."
    out |= {p + "hc_norm.weight": (wide,), p + "input_mix_weight_down.weight": (rank, wide),
            p + "input_mix_weight_up.weight": (wide, rank)}
    for i in c["ple_layer_ids"]:
        p = f"model.layers.{i - 1}.ple."
        heads = (c["ngram_size"] - 1) * c["heads_per_ngram"]
        out |= {p + "key_proj.weight": (wide, h), p + "value_proj.weight": (h, h), p + "conv1d.weight": (
            wide, 1, c["ple_conv_kernel_size"])}
        out |= {f"{p}norm_{name}.weight": (wide,) for name in ("key", "query", "conv")}
        p += "ple_embedding."
        out |= {p + "layer_multipliers": (c["ngram_size"],), p + "ngram_heads_offsets": (heads,),
                p + "ngram_heads_vocab_sizes": (heads,)}
        out |= {f"{p}ngram_embedding.shard_{n}.weight": (rows, h // heads) for n, rows in enumerate((31, 17))}
    return out


def qwen4exp_numbers(c):
    numbers = dict(layer_multipliers=[1, 35184372088891, 24519928653787], ngram_heads_offsets=[0, 11, 24, 35],
                   ngram_heads_vocab_sizes=[11, 13, 11, 13])
    return {f"model.{'language_model.' * c}layers.0.ple.ple_embedding.{name}": list_ for name, list_ in numbers.items()}


def experts(b, count, h, inner, names=("gate_proj", "down_proj", "up_proj")):
    gate, down, up = names
    out = {}
    for n in range(count):
        e = f"{b}experts.{n}."
        out |= {f"{e}{gate}.weight": (inner, h), f"{e}{down}.weight": (h, inner), f"{e}{up}.weight": (inner, h)}
    return out


def delta(b, c, gates):
    """Kimi's delta attention."""
    h, heads, own = c["hidden_size"], c["num_attention_heads"], c["linear_attn_config"]
    length, width = own["head_dim"], own["short_conv_kernel_size"]
    inner = heads * length
    out = {}
    for name in "qkv":
        out |= {f"{b}{name}_proj.weight": (inner, h), f"{b}{name}_conv1d.weight": (inner, 1, width)}
    gate = {b + "g_a_proj.weight": (length, h), b + "g_b_proj.weight": (inner, length)} if gates else {b + "g_proj.weight": (inner, h)}
    return out | gate | {b + "f_a_proj.weight": (length, h), b + "f_b_proj.weight": (inner, length), b + "b_proj.weight": (heads, h),
                         b + "dt_bias": (inner,), b + "o_norm.weight": (length,), b + "o_proj.weight": (h, inner)}


def glm5_next(c):
    h, f, heads, streams = c["hidden_size"], c["intermediate_size"], c["num_attention_heads"], c["hc_mult"]
    count, inner, main = c["n_routed_experts"], c["moe_intermediate_size"], c["num_hidden_layers"]
    mixed = (2 + streams) * streams
    out = {"model.embed_tokens.weight": (c["vocab_size"], h), "model.norm.weight": (h,), "lm_head.weight": (c["vocab_size"], h)}
    for i in range(main + c["num_nextn_predict_layers"]):
        b = f"model.layers.{i}."
        a, x = b + "self_attn.", b + "self_attn.indexer."
        out |= {b + "input_layernorm.weight": (h,), b + "post_attention_layernorm.weight": (h,)}
        if i < main:
            for half in ("attn", "ffn"):
                out |= {f"{b}hc_{half}_fn": (mixed, streams * h), f"{b}hc_{half}_base": (mixed,), f"{b}hc_{half}_scale": (3,)}
        if i < main and c["layer_types"][i] == "linear_attention":
            out |= delta(a, c, True) | {a + "A_log": (1, 1, heads, 1)}
        else:
            out |= latent(c, a)
            if i >= main or c["indexer_types"][i] == "full":
                count_of, length = c["index_n_heads"], c["index_head_dim"]
                out |= {x + "wq_b.weight": (count_of * length, c["q_lora_rank"]), x + "wk.weight": (length, h),
                        x + "k_norm.weight": (length,), x + "k_norm.bias": (length,), x + "weights_proj.weight": (count_of, h),
                        x + "index_kpool_compress_gate": (length, h), x + "index_kpool_compress_ape": (c["index_kpool"], length)}
        if i < c["first_k_dense_replace"]:
            out |= {b + "mlp.gate_proj.weight": (f, h), b + "mlp.up_proj.weight": (f, h), b + "mlp.down_proj.weight": (h, f)}
        else:
            m, s = b + "mlp.", b + "mlp.shared_experts."
            out |= {m + "gate.weight": (count, h), m + "gate.e_score_correction_bias": (count,)} | experts(m, count, h, inner)
            out |= {s + "gate_proj.weight": (inner, h), s + "up_proj.weight": (inner, h), s + "down_proj.weight": (h, inner)}
        if i >= main:
            out |= {b + "eh_proj.weight": (h, 2 * h), b + "enorm.weight": (h,), b + "hnorm.weight": (h,),
                    b + "shared_head.norm.weight": (h,)}
    return out


def glm5_next_whole(c):
    text = {name.replace("model.", "model.language_model."): shape for name, shape in glm5_next(c["text_config"]).items()}
    return text | {"model.visual.x.weight": (8, 8)}


def kimi_k3(c, packed=False):
    h, f, heads, short = c["hidden_size"], c["intermediate_size"], c["num_attention_heads"], c["routed_expert_hidden_size"]
    count, inner = c["num_experts"], c["moe_intermediate_size"]
    out = {"model.embed_tokens.weight": (c["vocab_size"], h), "model.norm.weight": (h,), "lm_head.weight": (c["vocab_size"], h),
           "model.output_attn_res_norm.weight": (h,), "model.output_attn_res_proj.weight": (1, h)}
    for i in range(c["num_hidden_layers"]):
        b = f"model.layers.{i}."
        a, m = b + "self_attn.", b + "block_sparse_moe."
        out |= {b + "input_layernorm.weight": (h,), b + "post_attention_layernorm.weight": (h,)}
        for part in ("self_attention", "mlp"):
            out |= {f"{b}{part}_res_norm.weight": (h,), f"{b}{part}_res_proj.weight": (1, h)}
        if i + 1 in c["linear_attn_config"]["full_attn_layers"]:
            out |= latent(c, a) | {a + "g_proj.weight": (heads * c["v_head_dim"], h)}
        else:
            out |= delta(a, c, False) | {a + "A_log": (heads + 2,)}
        if i < c["first_k_dense_replace"]:
            out |= {b + "mlp.gate_proj.weight": (f, h), b + "mlp.up_proj.weight": (f, h), b + "mlp.down_proj.weight": (h, f)}
            continue
        s = m + "shared_experts."
        out |= {m + "gate.weight": (count, h), m + "gate.e_score_correction_bias": (count,),
                m + "routed_expert_down_proj.weight": (short, h), m + "routed_expert_up_proj.weight": (h, short),
                m + "routed_expert_norm.weight": (short,), s + "gate_proj.weight": (inner, h), s + "up_proj.weight": (inner, h),
                s + "down_proj.weight": (h, inner)}
        for name, (rows, columns) in experts(m, count, short, inner, ("w1", "w2", "w3")).items():
            out |= {name + "_packed": (rows, columns // 2), name + "_scale": (rows, columns // 32)
                    } if packed else {name: (rows, columns)}
    return out


def kimi_k3_whole(packed):
    def both(c):
        text = {"language_model." + name: shape for name, shape in kimi_k3(c["text_config"], packed).items()}
        return text | {"vision_tower.x.weight": (8, 8), "mm_projector.x.weight": (8, 8)}
    return both


def cogvlm(c):
    h, f = c["hidden_size"], c["intermediate_size"]
    out = {name: shape for name, shape in decoder(c).items() if ".self_attn." not in name and ".mlp." not in name}
    for i in range(c["num_hidden_layers"]):
        for kind in ("language", "vision"):
            a, m = f"model.layers.{i}.self_attn.{kind}_expert_", f"model.layers.{i}.mlp.{kind}_mlp."
            out |= {a + "query_key_value.weight": (3 * h, h), a + "dense.weight": (h, h), m + "gate_proj.weight": (f, h),
                    m + "up_proj.weight": (f, h), m + "down_proj.weight": (h, f)}
    return out | {"model.vision.x.weight": (8, 8)}


def with_images(cls, item):
    """The stock converter's choice of tensors, but for the matrices for images, which it takes for an encoder's."""
    return None if item[0].startswith("model.vision.") else item


def deepseek4_layer(b, c, ratio, hashed):
    h, heads, head, rank = c["hidden_size"], c["num_attention_heads"], c["head_dim"], c["q_lora_rank"]
    streams, groups, count = c["hc_mult"], c["o_groups"], c["n_routed_experts"]
    inner, put_out = c["moe_intermediate_size"], groups * c["o_lora_rank"]
    mixed, a, m = (2 + streams) * streams, b + "attn.", b + "ffn."
    short = {a + "wq_a": (rank, h), a + "wq_b": (heads * head, rank), a + "wkv": (head, h),
             a + "wo_a": (put_out, heads * head // groups), a + "wo_b": (h, put_out),
             **{f"{m}shared_experts.{w}": shape for w, shape in (("w1", (inner, h)), ("w2", (h, inner)), ("w3", (inner, h)))}}
    out = {a + "attn_sink": (heads,), a + "q_norm.weight": (rank,), a + "kv_norm.weight": (head,), b + "attn_norm.weight": (h,),
           b + "ffn_norm.weight": (h,), m + "gate.weight": (count, h), m + "gate.bias": (count,)}
    if hashed:
        out[m + "gate.tid2eid"] = (c["vocab_size"], c["num_experts_per_tok"])
    for half in ("attn", "ffn"):
        out |= {f"{b}hc_{half}_fn": (mixed, streams * h), f"{b}hc_{half}_base": (mixed,), f"{b}hc_{half}_scale": (3,)}

    def compressor(p, length, each):
        return {p + "ape": (ratio, each * length), p + "wkv.weight": (each * length, h), p + "wgate.weight": (each * length, h),
                p + "norm.weight": (length,)}
    if ratio:
        out |= compressor(a + "compressor.", head, 2 if ratio == 4 else 1)
    if ratio == 4:
        x, length = a + "indexer.", c["index_head_dim"]
        out |= compressor(x + "compressor.", length, 2) | {x + "weights_proj.weight": (c["index_n_heads"], h)}
        short[x + "wq_b"] = (c["index_n_heads"] * length, rank)
    for name, shape in short.items():
        out |= {name + ".weight": shape, name + ".scale": (1, 1)}
    for n in range(count):
        for w, (rows, columns) in (("w1", (inner, h)), ("w2", (h, inner)), ("w3", (inner, h))):
            e = f"{m}experts.{n}.{w}."
            out |= {e + "weight": (rows, columns // 2), e + "scale": (rows, columns // 32)}
    return out


def deepseek4(c):
    h, streams = c["hidden_size"], c["hc_mult"]
    out = {"embed.weight": (c["vocab_size"], h), "head.weight": (c["vocab_size"], h), "norm.weight": (h,),
           "hc_head_fn": (streams, streams * h), "hc_head_base": (streams,), "hc_head_scale": (1,), "mtp.0.x.weight": (8, 8)}
    for i in range(c["num_hidden_layers"]):
        out |= deepseek4_layer(f"layers.{i}.", c, c["compress_ratios"][i], i < c["num_hash_layers"])
    return out


def deepseek4_plain(c):
    """The same with all weights as they are, which nothing rounds on the way."""
    shapes = {name: shape for name, shape in deepseek4(c).items() if not name.endswith(".scale")}
    return {name: (shape[0], 2 * shape[1]) if ".experts." in name else shape for name, shape in shapes.items()}


def plain_experts(others):
    """Has experts that are stored as they are stacked, of which the stock converter knows those in 4 bits alone."""
    import re
    parts = dict(w1="gate", w2="down", w3="up")

    def modify(self, data, name, layer):
        import torch

        found = re.fullmatch(r"layers\.\d+\.ffn\.experts\.(\d+)\.(w[123])\.weight", name)
        if not found:
            yield from others(self, data, name, layer)
            return
        held = self.__dict__.setdefault("held", {}).setdefault(layer, {})
        held[found[2], int(found[1])] = data
        count = self.hparams["n_routed_experts"]
        if len(held) == 3 * count:
            for matrix, part in parts.items():
                yield f"blk.{layer}.ffn_{part}_exps.weight", torch.stack([held[matrix, n] for n in range(count)])

    return modify


def plain_file(self):
    """All tensors as of any model: the stock converter's class says behind them that the file is one of 4 bits."""
    from conversion.base import TextModel

    TextModel.prepare_tensors(self)


def deepseek4_dspark(c):
    h, streams, rank = c["hidden_size"], c["hc_mult"], 16
    out = {"embed.weight": (c["vocab_size"], h)}
    for i in range(2):
        out |= deepseek4_layer(f"mtp.{i}.", c, 0, False) | {f"mtp.{i}.ffn.gate.bias_vl": (c["n_routed_experts"],)}
    first, last = "mtp.0.", "mtp.1."
    return out | {
        first + "main_proj.weight": (h, 2 * h), first + "main_proj.scale": (1, 1), first + "main_norm.weight": (h,),
        last + "norm.weight": (h,), last + "hc_head_fn": (streams, streams * h), last + "hc_head_base": (streams,),
        last + "hc_head_scale": (1,), last + "markov_head.markov_w1.weight": (c["vocab_size"], rank),
        last + "markov_head.markov_w2.weight": (c["vocab_size"], rank), last + "confidence_head.proj.weight": (1, h + rank)}


def deepseek4_stored(name):
    """The type that a tensor of DeepSeek V4 is published in."""
    if ".experts." in name and "shared" not in name:
        return "F8_E8M0" if name.endswith("scale") else "I8"
    if name.endswith(".scale"):
        return "F8_E8M0"
    short = (".wq_a.", ".wq_b.", ".wkv.", ".wo_a.", ".wo_b.", ".w1.", ".w2.", ".w3.", "main_proj.")
    if any(part in name for part in short) and "compressor" not in name:
        return "F8_E4M3"
    return "BF16" if name.endswith((".wkv.weight", ".wgate.weight", "weights_proj.weight", "embed.weight", "head.weight",
                                    "gate.weight", "markov_w1.weight", "markov_w2.weight")) else None


def tokens_experts(c):
    """Experts by the token's id, in the first layers."""
    used, count = c["num_experts_per_tok"], c["n_routed_experts"]
    return {f"layers.{i}.ffn.gate.tid2eid": [(token * 7 + i + n) % count for token in range(c["vocab_size"]) for n in range(used)]
            for i in range(c["num_hash_layers"])}


def lfm2_audio_tokenizer(c):
    h = c["hidden_size"]
    return {"emb.emb.weight": (40, h), "istft.window": (8,), "lin.weight": (c["output_size"], h), "lin.bias": (c["output_size"],),
            **{f"lfm.{name}": shape for name, shape in newer_cases.lfm2(c).items()}}


def wavtokenizer(c):
    features, first, f = c["n_embd_features"], c["posnet"]["n_embd"], c["n_ff"]
    out = {"token_embd.weight": (c["vocab_size"], features), "backbone.embed.weight": (first, features, 7),
           "backbone.embed.bias": (first, 1), "head.out.weight": (c["hidden_size"], first), "head.out.bias": (c["hidden_size"],),
           "codebook.cluster_size": (8,), "codebook.inited": (1,)}
    for name in ("norm", "final_layer_norm"):
        out |= {f"backbone.{name}.weight": (first,), f"backbone.{name}.bias": (first,)}

    def both(name, *shape):
        return {name + ".weight": shape, name + ".bias": (first, 1)}
    for i in range(c["posnet"]["n_layer"]):
        b = f"backbone.posnet.{i}."
        if i == 2:
            out |= both(b + "norm", first, 1)
            for name in ("q", "k", "v", "proj_out"):
                out |= both(b + name, first, first, 1)
        elif i == 5:
            out |= both(b + "norm", first, 1)
        else:
            for n in "12":
                out |= both(f"{b}norm{n}", first, 1) | both(f"{b}conv{n}", first, first, 3)
    for i in range(c["convnext"]["n_layer"]):
        b = f"backbone.convnext.{i}."
        out |= both(b + "dwconv", first, 1, 7) | {
            b + "norm.weight": (first,), b + "norm.bias": (first,), b + "pwconv1.weight": (f, first), b + "pwconv1.bias": (f,),
            b + "pwconv2.weight": (first, f), b + "pwconv2.bias": (first,), b + "gamma.weight": (first,)}
    return out


def pockettts(c):
    """The backbone; the rest goes to the encoder's file."""
    h, f = c["hidden_size"], c["intermediate_size"]
    b = "flow_lm."
    out = {b + "conditioner.embed.weight": (c["vocab_size"] - 2, h), b + "bos_before_voice": (1, 1, h), b + "bos_emb": (32,),
           b + "input_linear.weight": (h, 32), b + "out_norm.weight": (h,), b + "out_norm.bias": (h,), b + "emb_mean": (32,),
           "mimi.encoder_transformer.transformer.layers.0.norm1.weight": (64,),
           "mimi.encoder_transformer.transformer.layers.0.linear1.weight": (96, 64)}
    for i in range(c["num_hidden_layers"]):
        p = f"{b}transformer.layers.{i}."
        for n in "12":
            out |= {f"{p}norm{n}.weight": (h,), f"{p}norm{n}.bias": (h,)}
        out |= {p + "self_attn.in_proj.weight": (3 * h, h), p + "self_attn.out_proj.weight": (h, h), p + "linear1.weight": (f, h),
                p + "linear2.weight": (h, f)}
    return out


def qwen3tts(c):
    talker = c["talker_config"]
    talker["text_vocab_size"] = c["vocab_size"]
    h, f, q, kv, dim = checkpoints.sizes(talker)
    out = {"talker.model.text_embedding.weight": (c["vocab_size"], 48), "talker.text_projection.linear_fc1.weight": (48, 48),
           "talker.text_projection.linear_fc1.bias": (48,), "talker.text_projection.linear_fc2.weight": (h, 48),
           "talker.text_projection.linear_fc2.bias": (h,), "talker.model.codec_embedding.weight": (talker["vocab_size"], h),
           "talker.codec_head.weight": (talker["vocab_size"], h), "talker.code_predictor.model.norm.weight": (h,),
           "speaker_encoder.fc.bias": (h,)}
    inner = decoder(talker | dict(vocab_size=1), head="", head_norms=1)
    return out | {"talker." + name: shape for name, shape in inner.items() if "embed_tokens" not in name}


def cases(a):
    """The cases, of the classes and helpers of architectures.py (`a`)."""
    lacking = a.lacking
    grams = dict(num_hidden_layers=4, layer_types=["linear_attention"] * 3 + ["full_attention"], head_dim=32,
                 linear_num_key_heads=2, linear_num_value_heads=6, linear_key_head_dim=16, linear_value_head_dim=16,
                 linear_conv_kernel_dim=4, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=32,
                 shared_expert_intermediate_size=48, hc_count=2, hc_lowrank=16, indexer_n_heads=2, indexer_head_dim=16,
                 indexer_budget=4, indexer_compress_ratio=2, ple_layer_ids=[1], ngram_size=3, heads_per_ngram=2,
                 ple_conv_kernel_size=3, split_ngram_parts=2, rope_parameters=dict(
                     rope_theta=1e6, rope_type="default", mrope_section=[2, 1, 1], mrope_interleaved=True,
                     partial_rotary_factor=0.25))
    whole_keys = dict(rms_norm_eps=1e-6, eos_token_id=2, bos_token_id=1, image_token_id=5)
    vision = dict(depth=3, hidden_size=48, intermediate_size=80, num_heads=4, patch_size=8, out_hidden_size=64,
                  num_position_embeddings=64, spatial_merge_size=2)
    delta_keys = dict(head_dim=16, num_heads=4, short_conv_kernel_size=4, gate_lower_bound=-5.0)
    absorbed = dict(num_hidden_layers=4, num_key_value_heads=4, kv_lora_rank=32, q_lora_rank=48, qk_nope_head_dim=16,
                    v_head_dim=12, first_k_dense_replace=1, moe_intermediate_size=32, routed_scaling_factor=2.5, rms_norm_eps=1e-5,
                    mla_use_nope=True, bos_token_id=1, eos_token_id=2)
    next_keys = absorbed | dict(
        qk_rope_head_dim=0, layer_types=["linear_attention", "full_attention"] * 2, linear_attn_config=delta_keys, mhc=True,
        hc_mult=4, hc_sinkhorn_iters=4, hc_eps=1e-6, index_n_heads=2, index_head_dim=16, index_topk=4, index_kpool=2,
        indexer_types=["full", "full", "full", "shared"], n_routed_experts=4, num_experts_per_tok=2, n_shared_experts=1,
        norm_topk_prob=True, swiglu_limit=7.0, num_nextn_predict_layers=1, scoring_func="sigmoid", n_group=1, topk_group=1)
    k3 = absorbed | dict(
        architectures=["KimiLinearForCausalLM"], model_type="kimi_linear", qk_rope_head_dim=8, num_experts=4,
        num_experts_per_token=2, num_shared_experts=1, moe_renormalize=True, moe_router_activation_func="sigmoid",
        routed_expert_hidden_size=32, hidden_act="situ", activation_situ_beta=1.5, activation_situ_linear_beta=2.0,
        attn_res_block_size=2, linear_attn_config=delta_keys | dict(full_attn_layers=[2, 4], kda_layers=[1, 3]))
    v4 = dict(num_hidden_layers=4, num_key_value_heads=1, head_dim=32, q_lora_rank=32, qk_rope_head_dim=16, sliding_window=8,
              moe_intermediate_size=32, n_routed_experts=4, n_shared_experts=1, num_experts_per_tok=2, norm_topk_prob=True,
              routed_scaling_factor=1.5, scoring_func="sqrtsoftplus", swiglu_limit=10.0, index_n_heads=2, index_head_dim=32,
              index_topk=4, o_groups=2, o_lora_rank=32, compress_ratios=[0, 4, 128, 4, 0], compress_rope_theta=160000.0,
              hc_mult=4, hc_sinkhorn_iters=3, hc_eps=1e-6, num_hash_layers=2, num_nextn_predict_layers=1, rope_theta=10000.0,
              rope_scaling=dict(type="yarn", factor=4.0, original_max_position_embeddings=64, beta_fast=32, beta_slow=1),
              quantization_config=dict(quant_method="fp8", weight_block_size=[128, 128]))
    sound = dict(num_hidden_layers=3, layer_types=["conv", "full_attention", "conv"], conv_L_cache=3, norm_eps=1e-5,
                 block_auto_adjust_ff_dim=False, block_ffn_dim_multiplier=1.0, block_multiple_of=32, sliding_window=4, output_size=40)
    made = [
        lacking("qwen4exp", "Qwen4ExpForCausalLM", qwen4exp, "gpt2", grams, model_type="qwen4_exp_text", **whole_keys),
        lacking("qwen4exp-image", "Qwen4ExpForConditionalGeneration", checkpoints.inside(qwen4exp, qwen3_vision), "gpt2",
                dict(text_config=grams | whole_keys, vision_config=vision), model_type="qwen4_exp", mmproj=True),
        lacking("glm5-next", "Glm5NextForConditionalGeneration", glm5_next_whole, "glm", dict(
            text_config=next_keys, vision_config=dict(x=1)), model_type="glm5_next"),
        lacking("kimi-k3", "KimiK3ForConditionalGeneration", kimi_k3_whole(False), "gpt2", dict(
            text_config=k3, vision_config=dict(x=1)), model_type="kimi_k3"),
        lacking("kimi-k3-packed", "KimiK3ForConditionalGeneration", kimi_k3_whole(True), "gpt2", dict(
            text_config=k3, vision_config=dict(x=1), quantization_config=dict(
                quant_method="compressed-tensors", format="mxfp4-pack-quantized")), model_type="kimi_k3"),
        lacking("cogvlm", "CogVLMForCausalLM", cogvlm, "spm", dict(num_key_value_heads=4), model_type="cogvlm",
                rope_theta=1e4, attributes=dict(filter_tensors=classmethod(with_images))),
        lacking("deepseek4", "DeepseekV4ForCausalLM", deepseek4, "gpt2", v4, model_type="deepseek_v4"),
        # Heads of the length that stock llama.cpp's rotation of indexers takes for granted.
        lacking("deepseek4-plain", "DeepseekV4ForCausalLM", deepseek4_plain, "gpt2", v4 | dict(
            head_dim=64, index_head_dim=64, quantization_config=None), model_type="deepseek_v4", attributes=dict(
                _write_mxfp4_expert_tensor=lambda *_: [], modify_tensors=a.Around(plain_experts), prepare_tensors=plain_file)),
        lacking("dflash-deepseek4", "DeepseekV4DSparkModel", deepseek4_dspark, "gpt2", v4 | dict(
            dspark_block_size=4, dspark_noise_token_id=5, dspark_target_layer_ids=[0, 2]), model_type="deepseek_v4"),
        lacking("lfm2-audio-tokenizer", "Lfm25AudioTokenizer", lfm2_audio_tokenizer, "gpt2", sound, model_type="lfm2",
                rope_theta=1e6),
        lacking("wavtokenizer-dec", "WavTokenizerDec", wavtokenizer, "gpt2", dict(
            hidden_size=50, n_embd_features=32, n_ff=96, n_head=1, n_layer=6, layer_norm_epsilon=1e-6, group_norm_epsilon=1e-6,
            group_norm_groups=8, posnet=dict(n_embd=64, n_layer=6), convnext=dict(n_embd=64, n_layer=2), num_hidden_layers=None,
            num_attention_heads=None, num_key_value_heads=None, intermediate_size=None), model_type="wavtokenizer"),
        lacking("pockettts", "PocketTTSModel", pockettts, "t5", dict(
            num_key_value_heads=None, hidden_size=128, num_attention_heads=2, max_position_embeddings=4096,
            audio_config=dict(num_hidden_layers=1, hidden_size=64, intermediate_size=96, num_attention_heads=1)),
                model_type="pockettts", rope_theta=1e4, layer_norm_eps=1e-5, rms_norm_eps=..., bos_token_id=..., eos_token_id=...),
        lacking("qwen3tts", "Qwen3TTSForConditionalGeneration", qwen3tts, "gpt2", dict(talker_config=dict(
            hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=16,
            max_position_embeddings=256, vocab_size=3072, text_vocab_size=420, hidden_act="silu", rms_norm_eps=1e-6,
            rope_theta=1e6, rope_scaling=dict(type="default", rope_type="default", interleaved=True, mrope_section=[4, 2, 2]),
            codec_bos_id=2149, codec_eos_token_id=2150, codec_pad_id=2148, codec_language_id=dict(english=2050, chinese=2055))),
                model_type="qwen3_tts"),
    ]
    for case in made:
        case.logits = case.name in RUN
        case.built = case.name == "glm5-next"
        if case.name.startswith("kimi-k3"):
            case.template = TEMPLATE
        if case.name == "kimi-k3-packed":
            case.stored = lambda name: "U8" if name.endswith("_packed") else SCALES if name.endswith("weight_scale") else None
        if case.name in ("deepseek4", "dflash-deepseek4"):
            case.stored = deepseek4_stored
        if case.name in ("deepseek4", "deepseek4-plain"):
            case.numbers = tokens_experts
        if case.name.startswith("qwen4exp"):
            case.numbers = lambda c, whole=case.name != "qwen4exp": qwen4exp_numbers(whole)
        if case.name == "dflash-deepseek4":
            case.target = dict(architectures=["DeepseekV4ForCausalLM"], model_type="deepseek_v4") | v4 | dict(
                vocab_size=0, hidden_size=64)
    return made


RUN = ("cogvlm", "deepseek4-plain", "glm5-next", "kimi-k3", "pockettts", "qwen4exp", "qwen4exp-image")
"""Cases whose forward pass is compared."""
