"""Cases of architectures.py of 2025's and 2026's families, most of them mixtures of experts, with names and shapes from
their published code."""

import checkpoints
from checkpoints import decoder, sizes


def layers(c):
    return [f"model.layers.{i}." for i in range(c["num_hidden_layers"])]


def mixture(c, dense=0, shared=0):
    """Numbered experts in `mlp` from layer `dense` on, with `shared` experts beside them."""
    base = "mlp.experts.{}."
    out = checkpoints.experts(c, dense, (base + "up_proj", base + "down_proj", base + "gate_proj"), "mlp.gate.weight")
    h, inner = c["hidden_size"], (c.get("moe_intermediate_size") or c["intermediate_size"]) * shared
    for b in layers(c)[dense:] if shared else ():
        b += "mlp.shared_experts."
        out |= {b + "gate_proj.weight": (inner, h), b + "up_proj.weight": (inner, h), b + "down_proj.weight": (h, inner)}
    return out


def lfm2(c):
    """Short convolutions and attention, without the outer module and a head."""
    h, f, q, kv, dim = sizes(c)
    out = {"embed_tokens.weight": (c["vocab_size"], h), "embedding_norm.weight": (h,)}
    for i, kind in enumerate(c["layer_types"]):
        b = f"layers.{i}."
        out |= {b + "operator_norm.weight": (h,), b + "ffn_norm.weight": (h,), b + "feed_forward.w1.weight": (f, h),
                b + "feed_forward.w2.weight": (h, f), b + "feed_forward.w3.weight": (f, h)}
        if kind == "conv":
            out |= {b + "conv.conv.weight": (h, 1, c["conv_L_cache"]), b + "conv.in_proj.weight": (3 * h, h),
                    b + "conv.out_proj.weight": (h, h)}
        else:
            out |= {b + "self_attn.q_proj.weight": (q, h), b + "self_attn.k_proj.weight": (kv, h),
                    b + "self_attn.v_proj.weight": (kv, h), b + "self_attn.out_proj.weight": (h, q),
                    b + "self_attn.q_layernorm.weight": (dim,), b + "self_attn.k_layernorm.weight": (dim,)}
    return out


def plamo3(c):
    """One matrix for queries, keys and values, one for both halves of the feed-forward layer, norms on both sides."""
    h, f, q, kv, dim = sizes(c)
    out = {"model.embed_tokens.weight": (c["vocab_size"], h), "model.norm.weight": (h,), "lm_head.weight": (c["vocab_size"], h)}
    for i in range(c["num_hidden_layers"]):
        b = f"model.layers.layers.{i}."
        for norm in ("pre_mixer", "post_mixer", "pre_mlp", "post_mlp"):
            out[f"{b}{norm}_norm.weight"] = (h,)
        out |= {b + "mixer.qkv_proj.weight": (q + 2 * kv, h), b + "mixer.o_proj.weight": (h, q),
                b + "mixer.q_norm.weight": (dim,), b + "mixer.k_norm.weight": (dim,),
                b + "mlp.gate_up_proj.weight": (2 * f, h), b + "mlp.down_proj.weight": (h, f)}
    return out


def rugpt(c):
    """GPT-2 under the names of Llama's classes."""
    h, f = c["hidden_size"], c["intermediate_size"]
    out = {"model.embed_tokens.weight": (c["vocab_size"], h), "model.embed_positions.weight": (c["max_position_embeddings"], h),
           "model.norm.weight": (h,), "model.norm.bias": (h,), "lm_head.weight": (c["vocab_size"], h)}
    for b in layers(c):
        for name, shape in (("input_layernorm", ()), ("post_attention_layernorm", ()), ("self_attn.q_proj", (h,)),
                            ("self_attn.k_proj", (h,)), ("self_attn.v_proj", (h,)), ("self_attn.o_proj", (h,))):
            out |= {f"{b}{name}.weight": (h, *shape), f"{b}{name}.bias": (h,)}
        out |= {b + "mlp.up_proj.weight": (f, h), b + "mlp.up_proj.bias": (f,), b + "mlp.down_proj.weight": (h, f),
                b + "mlp.down_proj.bias": (h,)}
    return out


def head_norms(c, out):
    dim = sizes(c)[-1]
    for b in layers(c):
        out |= {b + "self_attn.q_norm.weight": (dim,), b + "self_attn.k_norm.weight": (dim,)}
    return out


def renamed(out, *pairs):
    for old, new in pairs:
        out = {name.replace(old, new): shape for name, shape in out.items()}
    return out


def afmoe(c):
    h, _, q, _, _ = sizes(c)
    out = head_norms(c, mixture(c, c["num_dense_layers"], c["num_shared_experts"]))
    out = renamed(out, ("mlp.gate.weight", "mlp.router.gate.weight"))
    for i, b in enumerate(layers(c)):
        out |= {b + "self_attn.gate_proj.weight": (q, h), b + "pre_mlp_layernorm.weight": (h,),
                b + "post_mlp_layernorm.weight": (h,)}
        if i >= c["num_dense_layers"]:
            out[b + "mlp.expert_bias"] = (c["num_experts"],)
    return out


def cohere2_moe(c):
    """The dense layers are as wide as prefix_dense_intermediate_size says; with a layer that predicts a further token."""
    h, wide = c["hidden_size"], c["prefix_dense_intermediate_size"]
    c = c | dict(num_hidden_layers=c["num_hidden_layers"] + c["num_nextn_predict_layers"])
    out = mixture(c, c["first_k_dense_replace"], c["num_shared_experts"])
    for b in layers(c)[:c["first_k_dense_replace"]]:
        out |= {b + "mlp.gate_proj.weight": (wide, h), b + "mlp.up_proj.weight": (wide, h),
                b + "mlp.down_proj.weight": (h, wide)}
    last = layers(c)[-1]
    out |= {last + "eh_proj.weight": (h, 2 * h), last + "enorm.weight": (h,), last + "hnorm.weight": (h,)}
    return {name: shape for name, shape in out.items() if "post_attention" not in name}


def mellum(c):
    return head_norms(c, mixture(c))


def spark(c):
    h, _, q, kv, _ = sizes(c)
    out = decoder(c)
    for b in layers(c):
        for name in "qkv":
            del out[f"{b}self_attn.{name}_proj.weight"]
        out |= {b + "self_attn.q_k_v_proj.weight": (q + 2 * kv, h),
                b + "self_attn.g_proj.weight": (c["num_attention_heads"], h)}
    return out


def arctic(c):
    h, f = c["hidden_size"], c["intermediate_size"]
    out = {name: shape for name, shape in decoder(c).items() if ".mlp." not in name}
    for b in layers(c):
        r = b + "residual_mlp."
        out |= {b + "residual_layernorm.weight": (h,), r + "w1.weight": (h, h), r + "w2.weight": (h, h),
                r + "w3.weight": (h, h), b + "block_sparse_moe.gate.weight": (c["num_local_experts"], h)}
        for n in range(c["num_local_experts"]):
            e = f"{b}block_sparse_moe.experts.{n}."
            out |= {e + "w1.weight": (f, h), e + "w2.weight": (h, f), e + "w3.weight": (f, h)}
    return out


def grok1(c):
    h, f, q, kv, _ = sizes(c)
    out = {"transformer.in_out_embed.weight": (c["vocab_size"], h), "transformer.rms_norm.weight": (h,)}
    for i in range(c["num_hidden_layers"]):
        b = f"transformer.decoder_layer.{i}."
        out |= {f"{b}rms_norm{n}.weight": (h,) for n in ("", "_1", "_2", "_3")}
        a = b + "multi_head_attention."
        out |= {a + "query.weight": (q, h), a + "key.weight": (kv, h), a + "value.weight": (kv, h),
                a + "linear.weight": (h, q), b + "router.weight": (c["num_local_experts"], h)}
        for n in range(c["num_local_experts"]):
            e = f"{b}moe.{n}."
            out |= {e + "linear.weight": (f, h), e + "linear_v.weight": (f, h), e + "linear_1.weight": (h, f)}
    return out


def grok2(c):
    h, inner = c["hidden_size"], c["moe_intermediate_size"]
    out = decoder(c)
    for b in layers(c):
        out[b + "block_sparse_moe.gate.weight"] = (c["num_local_experts"], h)
        for n in range(c["num_local_experts"]):
            e = f"{b}block_sparse_moe.experts.{n}."
            out |= {e + "w1.weight": (inner, h), e + "w2.weight": (h, inner), e + "w3.weight": (inner, h)}
        for old in ("input_layernorm", "post_attention_layernorm"):
            del out[f"{b}{old}.weight"]
        out |= {f"{b}{name}.weight": (h,) for name in ("pre_attn_norm", "post_attn_norm", "pre_moe_norm", "post_moe_norm")}
    return out


def grove(c):
    h, dim = c["hidden_size"], sizes(c)[-1]
    out = mellum(c)
    for b in layers(c):
        out[b + "mlp.gate.expert_bias"] = (c["num_experts"],)
        for n in range(c["num_experts"] // 2):
            e = f"{b}mlp.chunk_experts.{n}."
            out |= {e + "gate_proj.weight": (dim, h), e + "up_proj.weight": (dim, h), e + "down_proj.weight": (h, dim)}
    return out


def small_thinker(c):
    h, inner = c["hidden_size"], c["moe_ffn_hidden_size"]
    out = {name: shape for name, shape in decoder(c | dict(intermediate_size=1)).items() if ".mlp." not in name}
    for b in layers(c):
        b += "block_sparse_moe."
        out[b + "primary_router.weight"] = (c["moe_num_primary_experts"], h)
        for n in range(c["moe_num_primary_experts"]):
            e = f"{b}experts.{n}."
            out |= {e + "gate.weight": (inner, h), e + "up.weight": (inner, h), e + "down.weight": (h, inner)}
    return out


def openelm(c):
    h, dim = c["model_dim"], c["head_dim"]
    out = {"transformer.token_embeddings.weight": (c["vocab_size"], h), "transformer.norm.weight": (h,)}
    for i, (q, kv) in enumerate(zip(c["num_query_heads"], c["num_kv_heads"])):
        b, divisor = f"transformer.layers.{i}.", c["ffn_dim_divisor"]
        wide = c["ffn_multipliers"][i] * h
        f = max(divisor, int(wide + divisor / 2) // divisor * divisor)
        f += divisor * (f < 0.9 * wide)
        out |= {b + "attn_norm.weight": (h,), b + "ffn_norm.weight": (h,), b + "attn.qkv_proj.weight": ((q + 2 * kv) * dim, h),
                b + "attn.q_norm.weight": (dim,), b + "attn.k_norm.weight": (dim,), b + "attn.out_proj.weight": (h, q * dim),
                b + "ffn.proj_1.weight": (2 * f, h), b + "ffn.proj_2.weight": (h, f)}
    return out


def hy_v3(c):
    """A dense layer, then experts chosen with a bias; with a layer that predicts a further token."""
    h = c["hidden_size"]
    main = c["num_hidden_layers"]
    c = c | dict(num_hidden_layers=main + c["num_nextn_predict_layers"])
    out = head_norms(c, mixture(c, c["first_k_dense_replace"], c["num_shared_experts"]))
    out = renamed(out, ("mlp.gate.weight", "mlp.router.gate.weight"), ("shared_experts", "shared_mlp"))
    for b in layers(c)[c["first_k_dense_replace"]:]:
        out[b + "mlp.expert_bias"] = (c["num_experts"],)
    for b in layers(c)[main:]:
        out |= {b + "eh_proj.weight": (h, 2 * h), b + "enorm.weight": (h,), b + "hnorm.weight": (h,),
                b + "final_layernorm.weight": (h,)}
    return out


def compressed(c, gated=True):
    """Keys and values out of a shorter vector, and queries too where q_lora_rank says so."""
    h, heads = c["hidden_size"], c["num_attention_heads"]
    plain, turned, value, rank = (c[k] for k in ("qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim", "kv_lora_rank"))
    out = decoder(c, head="" if c.get("tie_word_embeddings") else "lm_head.weight")
    for b in layers(c):
        for name in "qkv":
            del out[f"{b}self_attn.{name}_proj.weight"]
        if not gated:
            del out[b + "mlp.gate_proj.weight"]
        b += "self_attn."
        q, short = heads * (plain + turned), c.get("q_lora_rank")
        out |= {b + "q_a_proj.weight": (short, h), b + "q_a_layernorm.weight": (short,), b + "q_b_proj.weight": (q, short)
                } if short else {b + "q_proj.weight": (q, h)}
        out |= {b + "kv_a_proj_with_mqa.weight": (rank + turned, h), b + "kv_a_layernorm.weight": (rank,),
                b + "kv_b_proj.weight": (heads * (plain + value), rank), b + "o_proj.weight": (h, heads * value)}
    return out


def plm(c):
    return compressed(c, gated=False)


def granite_swa(c):
    out = decoder(c)
    return out | {f"{b}self_attn.sinks": (c["num_attention_heads"],) for b in layers(c)}


def granite_moe_swa(c):
    h, f, shared, count = c["hidden_size"], c["intermediate_size"], c["shared_intermediate_size"], c["num_local_experts"]
    out = {name: shape for name, shape in granite_swa(c).items() if ".mlp." not in name}
    for b in layers(c):
        out |= {b + "block_sparse_moe.router.weight": (count, h),
                b + "block_sparse_moe.experts.gate_up_proj": (count, 2 * f, h),
                b + "block_sparse_moe.experts.down_proj": (count, h, f),
                b + "shared_mlp.input_linear.weight": (2 * shared, h), b + "shared_mlp.output_linear.weight": (h, shared)}
    return out


def laguna(c):
    h, dim, inner = c["hidden_size"], c["head_dim"], c["shared_expert_intermediate_size"]
    out = head_norms(c, mixture(c, c["mlp_layer_types"].count("dense")))
    heads = c.get("num_attention_heads_per_layer") or [c["num_attention_heads"]] * c["num_hidden_layers"]
    for i, b in enumerate(layers(c)):
        q = heads[i] * dim
        gates = heads[i] if c["gating"] is True else q
        out |= {b + "self_attn.q_proj.weight": (q, h), b + "self_attn.o_proj.weight": (h, q),
                b + "self_attn.g_proj.weight": (gates, h)}
        if c["mlp_layer_types"][i] == "sparse":
            out[b + "mlp.experts.e_score_correction_bias"] = (c["num_experts"],)
            e = b + "mlp.shared_expert."
            out |= {e + "gate_proj.weight": (inner, h), e + "up_proj.weight": (inner, h), e + "down_proj.weight": (h, inner)}
    return out


def jais(c):
    h, f = c["n_embd"], c["n_inner"]
    out = {"transformer.wte.weight": (c["vocab_size"], h), "transformer.ln_f.weight": (h,), "transformer.ln_f.bias": (h,),
           "lm_head.weight": (c["vocab_size"], h)}
    for i in range(c["n_layer"]):
        b = f"transformer.h.{i}."
        for name, inputs, outputs in (("attn.c_attn", h, 3 * h), ("attn.c_proj", h, h), ("mlp.c_fc", h, f),
                                      ("mlp.c_fc2", h, f), ("mlp.c_proj", f, h)):
            out |= {f"{b}{name}.weight": (inputs, outputs), f"{b}{name}.bias": (outputs,)}
        out |= {f"{b}{norm}.{part}": (h,) for norm in ("ln_1", "ln_2") for part in ("weight", "bias")}
    return out


def mimo(c):
    """With the three layers that predict further tokens, which have a window and are dense."""
    h, f, _, _, dim = sizes(c)
    heads, value, main = c["num_attention_heads"], c["v_head_dim"], c["num_hidden_layers"]
    out = mixture(c | dict(num_experts=c["n_routed_experts"]), 1)
    last = decoder(c | dict(num_hidden_layers=3))
    for name in [n for n in last if n.startswith("model.layers.")]:
        out[name.replace("model.layers.", "model.mtp.layers.")] = last[name]
    for i in range(main + 3):
        b = f"model.layers.{i}." if i < main else f"model.mtp.layers.{i - main}."
        slides = i >= main or c["hybrid_layer_pattern"][i]
        kv = c["swa_num_key_value_heads"] if slides else c["num_key_value_heads"]
        out |= {b + "self_attn.k_proj.weight": (kv * dim, h), b + "self_attn.v_proj.weight": (kv * value, h),
                b + "self_attn.o_proj.weight": (h, heads * value)}
        if slides:
            out[b + "self_attn.attention_sink_bias"] = (heads,)
        if i >= main:
            out |= {b + "eh_proj.weight": (h, 2 * h), b + "enorm.weight": (h,), b + "hnorm.weight": (h,),
                    b + "final_layernorm.weight": (h,)}
        elif i > 0:
            out[b + "mlp.gate.e_score_correction_bias"] = (c["n_routed_experts"],)
    return out


def step(c):
    """With a layer that predicts a further token."""
    h, dim, inner, shared = c["hidden_size"], c["head_dim"], c["moe_intermediate_size"], c["share_expert_dim"]
    main, count, other = c["num_hidden_layers"], c["moe_num_experts"], c["attention_other_setting"]
    c = c | dict(num_hidden_layers=main + 1)
    out = head_norms(c, decoder(c))
    for i, b in enumerate(layers(c)):
        of = other if c["layer_types"][i] == "sliding_attention" else c
        heads, kv = of["num_attention_heads"], of["num_attention_groups"]
        out |= {b + "self_attn.q_proj.weight": (heads * dim, h), b + "self_attn.k_proj.weight": (kv * dim, h),
                b + "self_attn.v_proj.weight": (kv * dim, h), b + "self_attn.o_proj.weight": (h, heads * dim),
                b + "self_attn.g_proj.weight": (heads, h)}
        if 0 < i < main:
            for name in ("gate", "up", "down"):
                del out[f"{b}mlp.{name}_proj.weight"]
            m, s = b + "moe.", b + "share_expert."
            out |= {m + "gate.weight": (count, h), m + "router_bias": (count,), m + "gate_proj.weight": (count, inner, h),
                    m + "up_proj.weight": (count, inner, h), m + "down_proj.weight": (count, h, inner),
                    s + "gate_proj.weight": (shared, h), s + "up_proj.weight": (shared, h), s + "down_proj.weight": (h, shared)}
    last = layers(c)[-1]
    t = last + "transformer.shared_head."
    return out | {last + "eh_proj.weight": (h, 2 * h), last + "enorm.weight": (h,), last + "hnorm.weight": (h,),
                  t + "norm.weight": (h,), t + "output.weight": (c["vocab_size"], h)}


def inside(tensors):
    """Those of a text model inside another, with one of an image encoder."""
    def whole(c):
        text = renamed(tensors(c["text_config"]), ("model.", "model.language_model."))
        return text | {"model.vision_model.conv1.weight": (8, 8)}
    return whole


def hunyuan_vl(c):
    out = decoder(c)
    for b in layers(c):
        out |= {b + f"self_attn.{name}_layernorm.weight": (c["head_dim"],) for name in ("query", "key")}
    return out | {"vit.patch_merger.before_rms.weight": (8,)}


NOTHING = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
           "max_position_embeddings", "initializer_range")


def cases(a):
    """The cases, of the classes and helpers of architectures.py (`a`)."""
    lacking = a.lacking
    routed = dict(num_experts=4, num_experts_per_tok=2, moe_intermediate_size=32, head_dim=16)
    pattern = ["sliding_attention", "sliding_attention", "full_attention"]
    both = dict(full_attention=dict(rope_type="default", rope_theta=1e6, partial_rotary_factor=0.5),
                sliding_attention=dict(rope_type="default", rope_theta=1e4, partial_rotary_factor=1.0))
    grok = dict(num_local_experts=4, num_experts_per_tok=2)
    scales = dict(embedding_multiplier_scale=9.5, output_multiplier_scale=0.6)
    latent = dict(num_key_value_heads=4, kv_lora_rank=32, qk_rope_head_dim=8, qk_nope_head_dim=16, v_head_dim=12)
    stepped = dict(
        num_hidden_layers=3, head_dim=16, num_key_value_heads=None, num_attention_groups=2, moe_num_experts=4, moe_top_k=2,
        moe_intermediate_size=32, share_expert_dim=48, sliding_window=5, num_nextn_predict_layers=1,
        moe_layers_enum="1,2", moe_router_scaling_factor=3.0, norm_expert_weight=True,
        layer_types=["full_attention", "sliding_attention", "sliding_attention", "sliding_attention"],
        partial_rotary_factors=[0.5, 1.0, 1.0, 1.0], moe_router_activation="sigmoid", use_head_wise_attn_gate=True,
        attention_other_setting=dict(num_attention_heads=6, num_attention_groups=3))
    limits = dict(swiglu_limits=[0.0, 0.0, 0.5], swiglu_limits_shared=[0.0, 0.25, 0.0])
    thinker = dict(head_dim=16, num_hidden_layers=5, intermediate_size=None)
    return [
        lacking("afmoe", "AfmoeForCausalLM", afmoe, "spm", routed | dict(
            num_hidden_layers=5, num_dense_layers=1, num_shared_experts=1), score_func="sigmoid", route_norm=True,
                route_scale=2.5, sliding_window=5, rope_theta=1e4, mup_enabled=True, model_type="afmoe",
                layer_types=["sliding_attention"] * 3 + ["full_attention", "sliding_attention"]),
        lacking("cohere2moe", "Cohere2MoeForCausalLM", cohere2_moe, "gpt2", routed | dict(
            moe_intermediate_size=None, num_hidden_layers=4, first_k_dense_replace=1, num_shared_experts=2,
            prefix_dense_intermediate_size=80, num_nextn_predict_layers=1), rms_norm_eps=..., layer_norm_eps=1e-5,
                logit_scale=0.25, sliding_window=5, norm_topk_prob=True, rope_theta=5e4, model_type="cohere2_moe",
                layer_types=["full_attention", "sliding_attention", "sliding_attention", "full_attention"],
                expert_selection_fn="sigmoid"),
        lacking("mellum", "MellumForCausalLM", mellum, "gpt2", routed | dict(num_hidden_layers=3), norm_topk_prob=True,
                sliding_window=5, layer_types=pattern, model_type="mellum", rope_parameters=dict(
                    full_attention=dict(rope_type="yarn", rope_theta=5e5, factor=4.0,
                                        original_max_position_embeddings=64),
                    sliding_attention=dict(rope_type="default", rope_theta=5e5))),
        lacking("maple", "MapleForCausalLM", mellum, "gpt2", routed | dict(num_hidden_layers=3), norm_topk_prob=True,
                nope_on_global_attention=True, hidden_act="silu", sliding_window=5, layer_types=pattern, rope_theta=1e4,
                partial_rotary_factor=0.5, model_type="maple"),
        lacking("spark2_5", "Spark2_5ForCausalLM", spark, "gpt2", dict(head_dim=16, num_hidden_layers=3),
                layer_types=pattern, sliding_window=5, gate_attn_act_mode="sigmoid", headwise_attn_output_gate=True,
                hidden_act="gelu", model_type="spark2_5", rope_parameters=both),
        lacking("arctic", "ArcticForCausalLM", arctic, "spm_unk", grok, rope_theta=1e4, model_type="arctic"),
        lacking("grok", "Grok1ForCausalLM", grok1, "spm_plain", grok, model_type="grok-1", hidden_act="gelu", rope_theta=1e4,
                attn_output_multiplier=0.25, **scales),
        lacking("grok-2", "GrokForCausalLM", grok2, "spm_plain", grok | dict(moe_intermediate_size=32), model_type="git",
                hidden_act="gelu", rope_theta=1e6, final_logit_softcapping=50, attn_logit_softcapping=20.0,
                router_logit_softcapping=30.0, rope_type="original", scaling_factor=16.0, extrapolation_factor=1.0,
                attn_factor=1.0, beta_fast=8, beta_slow=1, original_max_position_embeddings=64,
                attn_temperature_len=1024, **scales),
        lacking("grovemoe", "GroveMoeForCausalLM", grove, "gpt2", routed | dict(num_experts=8), norm_topk_prob=True,
                rope_theta=1e6, model_type="grove_moe"),
        lacking("smallthinker", "SmallThinkerForCausalLM", small_thinker, "gpt2", thinker | dict(
            moe_num_primary_experts=4, moe_num_active_primary_experts=2, moe_ffn_hidden_size=32),
                moe_primary_router_apply_softmax=False, sliding_window_layout=[0, 1, 1, 1, 0], sliding_window_size=4096,
                rope_layout=[0, 1, 1, 1, 0], rope_theta=1.5e6, model_type="smallthinker"),
        lacking("smallthinker-softmax", "SmallThinkerForCausalLM", small_thinker, "gpt2", thinker | dict(
            moe_num_primary_experts=4, moe_num_active_primary_experts=2, moe_ffn_hidden_size=32),
                moe_primary_router_apply_softmax=True, sliding_window_layout=[0] * 5, rope_theta=1.5e6,
                model_type="smallthinker"),
        lacking("nanbeige", "NanbeigeForCausalLM", decoder, "spm", dict(head_dim=32), num_loops=2, rope_theta=1e5,
                model_type="nanbeige"),
        lacking("nanbeige-plain", "NanbeigeForCausalLM", decoder, "spm", num_loops=3, skip_loop_final_norm=True,
                rope_theta=1e5, model_type="nanbeige"),
        lacking("hy_v3", "HYV3ForCausalLM", hy_v3, "gpt2", routed | dict(
            num_hidden_layers=3, first_k_dense_replace=1, num_shared_experts=1, num_nextn_predict_layers=1),
                route_norm=True, router_scaling_factor=2.5, rope_theta=1e6, model_type="hy_v3"),
        lacking("plm", "PLMForCausalLM", plm, "gpt2", latent | dict(tie_word_embeddings=True), rope_theta=1e5,
                hidden_act="relu2", model_type="plm"),
        lacking("minicpm3", "MiniCPM3ForCausalLM", compressed, "spm", latent | dict(q_lora_rank=48, v_head_dim=16),
                rope_theta=1e4, scale_emb=12, scale_depth=1.4, dim_model_base=256, model_type="minicpm3",
                rope_scaling=dict(type="longrope", long_factor=[1.0, 1.5, 2.0, 3.0], short_factor=[1.0, 1.1, 1.2, 1.3])),
        lacking("granite_swa", "GraniteSWAForCausalLM", granite_swa, "gpt2", dict(num_hidden_layers=3), sliding_window=5,
                layer_types=pattern, no_rope_layers=[1, 0, 1], rope_theta=1e4, model_type="granite_swa", **a.GRANITE),
        lacking("granite_swa-moe", "GraniteMoeSWAForCausalLM", granite_moe_swa, "gpt2", dict(
            num_local_experts=4, num_experts_per_tok=2, num_hidden_layers=5), sliding_window=5, rope_theta=1e4,
                shared_intermediate_size=48, model_type="granitemoe_swa", **a.GRANITE),
        lacking("laguna", "LagunaForCausalLM", laguna, "gpt2", routed | dict(
            num_hidden_layers=3, num_attention_heads_per_layer=[4, 8, 8], shared_expert_intermediate_size=48),
                gating=True, sliding_window=5, layer_types=["full_attention", "sliding_attention", "sliding_attention"],
                mlp_layer_types=["dense", "sparse", "sparse"], moe_routed_scaling_factor=2.5, eos_token_id=[2, 24],
                model_type="laguna", rope_parameters=dict(
                    full_attention=dict(rope_type="yarn", rope_theta=5e5, factor=4.0,
                                        original_max_position_embeddings=64,
                                        partial_rotary_factor=0.5),
                    sliding_attention=dict(rope_type="default", rope_theta=1e4, partial_rotary_factor=1.0))),
        lacking("laguna-elements", "LagunaForCausalLM", laguna, "gpt2", routed | dict(
            num_hidden_layers=2, shared_expert_intermediate_size=48), gating="per-element",
                mlp_layer_types=["sparse", "sparse"], moe_routed_scaling_factor=1.5, model_type="laguna",
                rope_parameters=dict(full_attention=dict(rope_type="default", rope_theta=5e5))),
        lacking("jais", "JAISLMHeadModel", jais, "gpt2", a.gpt(n_inner=96), layer_norm_epsilon=1e-5, rms_norm_eps=...,
                activation_function="swiglu", position_embedding_type="alibi", mup_embeddings_scale=4.0,
                mup_output_alpha=2.0, mup_width_scale=0.25, scale_attn_weights=True, model_type="jais"),
        *[lacking(name, kind, mimo, "gpt2", dict(
            num_hidden_layers=3, head_dim=16, v_head_dim=12, n_routed_experts=4, num_experts_per_tok=2,
            moe_intermediate_size=32, num_key_value_heads=1), hybrid_layer_pattern=[0, 1, 1], swa_head_dim=16,
                  swa_num_attention_heads=4, swa_v_head_dim=12, swa_num_key_value_heads=2, topk_method="noaux_tc",
                  scoring_func="sigmoid", sliding_window=5, rope_theta=5e6, swa_rope_theta=1e4, rms_norm_eps=...,
                  layernorm_epsilon=1e-5, partial_rotary_factor=0.5, norm_topk_prob=True, model_type="mimo_v2_flash", **more)
          for name, kind, more in (("mimo2", "MiMoV2FlashForCausalLM", {}),
                                   ("mimo2-scaled", "MiMoV2ForCausalLM", dict(attention_value_scale=0.7)))],
        lacking("step35", "Step3p5ForCausalLM", step, "gpt2", stepped, model_type="step3p5", rope_theta=[5e6, 1e4, 1e4],
                **limits),
        lacking("step35-image", "Step3p7ForConditionalGeneration", inside(step), "gpt2", dict(
            text_config=stepped | limits | dict(rope_theta=5e6, rms_norm_eps=1e-5, swiglu_limits=None, rope_scaling=dict(
                rope_type="llama3", factor=2.0, low_freq_factor=1.0, high_freq_factor=32.0,
                original_max_position_embeddings=64)), vision_config=dict(x=1)), model_type="step3p7"),
        lacking("hunyuan_vl", "HunYuanVLForConditionalGeneration", hunyuan_vl, "gpt2", dict(head_dim=16),
                rope_theta=1e4, vision_config=dict(x=1), model_type="hunyuan_vl", rope_scaling=dict(
                    type="xdrope", alpha=1000.0, beta_fast=32, beta_slow=1, factor=1.0, xdrope_section=[2, 2, 2, 2])),
        *[lacking(name, kind, lfm2, "gpt2", {}, logits=False, model_type="lfm2", norm_eps=1e-5, conv_L_cache=3,
                  block_auto_adjust_ff_dim=False, block_ff_dim=96, bos_token_id=1, eos_token_id=2,
                  layer_types=["conv", "full_attention", "conv", "full_attention"],
                  **a.SMALL | dict(num_hidden_layers=4), **more)
          for name, kind, more in (("lfm2-bare", "Lfm2Model", dict(pooling="mean")), ("lfm2-dense", "Lfm2Model", dict(dense={"1_Dense": 24})),
                                   ("lfm2-bidirectional", "Lfm2BidirectionalModel", dict(pooling="cls")))],
        *[lacking(name, kind, plamo3, "plamo", dict(head_dim=16, num_hidden_layers=3), model_type="plamo3", **more)
          for name, kind, more in (
              ("plamo3", "Plamo3ForCausalLM", dict(window_size=5, sliding_window_pattern=3, rope_theta=1e6, rope_local_theta=2e4)),
              ("plamo3-list", "PLaMo3ForCausalLM", dict(window_size=5, sliding_window_pattern=[True, False, True], rope_theta=1e6)),
              ("plamo3-global", "Plamo3ForCausalLM", dict(rope_theta=1e5, rope_scaling_factor=4.0, initial_context_length=64)))],
        lacking("gpt2-ru", "RuGPT3XLForCausalLM", rugpt, "gpt2", dict(num_key_value_heads=None), layer_norm_eps=1e-5,
                rms_norm_eps=..., activation_function="gelu", model_type="rugpt3xl"),
        lacking("openelm", "OpenELMForCausalLM", openelm, "spm", dict.fromkeys(NOTHING) | dict(
            model_dim=64, head_dim=16, num_transformer_layers=3, num_query_heads=[4, 6, 8], num_kv_heads=[2, 3, 2],
            ffn_multipliers=[0.5, 1.3, 4.0], ffn_dim_divisor=32, max_context_length=256), rms_norm_eps=...,
                rope_freq_constant=10000, model_type="openelm", share_input_output_layers=True, initializer_range=0.02),
    ]
