"""Cases of architectures.py of models built unlike others: linear attention, state spaces, stacks that run several times,
norms without weights, with names and shapes from their published code."""

from checkpoints import decoder, sizes


def minimax01(c):
    """Linear attention in seven layers of eight, which the list of kinds says; experts everywhere."""
    h, f, q, kv, dim = sizes(c)
    out = {name: shape for name, shape in decoder(c).items() if ".mlp." not in name}
    for i, softmax in enumerate(c["attn_type_list"]):
        b = f"model.layers.{i}."
        a, m = b + "self_attn.", b + "block_sparse_moe."
        if not softmax:
            for name in "qkvo":
                del out[f"{a}{name}_proj.weight"]
            out |= {a + "qkv_proj.weight": (3 * q, h), a + "output_gate.weight": (q, h), a + "norm.weight": (q,),
                    a + "out_proj.weight": (h, q)}
        out[m + "gate.weight"] = (c["num_local_experts"], h)
        for n in range(c["num_local_experts"]):
            e = f"{m}experts.{n}."
            out |= {e + "w1.weight": (f, h), e + "w2.weight": (h, f), e + "w3.weight": (f, h)}
    return out


def minimax_m3(c):
    """Dense layers, then experts and an indexer of blocks."""
    h, dim = c["hidden_size"], c["head_dim"]
    inner, shared, sparse = c["intermediate_size"], c["intermediate_size"] * c["n_shared_experts"], c["sparse_attention_config"]
    out = decoder(c | dict(intermediate_size=c["dense_intermediate_size"]), head_norms=1)
    for i, experts in enumerate(c["moe_layer_freq"]):
        b = f"model.layers.{i}."
        if not experts:
            continue
        for name in ("gate", "up", "down"):
            del out[f"{b}mlp.{name}_proj.weight"]
        a, m, length = b + "self_attn.index_", b + "block_sparse_moe.", sparse["sparse_index_dim"]
        out |= {a + "q_proj.weight": (sparse["sparse_num_index_heads"] * length, h), a + "k_proj.weight": (length, h),
                a + "q_norm.weight": (length,), a + "k_norm.weight": (length,), m + "gate.weight": (c["num_local_experts"], h),
                m + "e_score_correction_bias": (c["num_local_experts"],)}
        for n in range(c["num_local_experts"]):
            e = f"{m}experts.{n}."
            out |= {e + "w1.weight": (inner, h), e + "w2.weight": (h, inner), e + "w3.weight": (inner, h)}
        s = m + "shared_experts."
        out |= {s + "gate_proj.weight": (shared, h), s + "up_proj.weight": (shared, h), s + "down_proj.weight": (h, shared)}
    return out


def minimax_m3_vl(c):
    text = {"language_model." + name: shape for name, shape in minimax_m3(c["text_config"]).items()}
    return text | {"vision_tower.vision_model.x.weight": (8, 8)}


def plamo(c):
    """One norm for both halves of a layer."""
    h, f, heads = c["hidden_size"], c["intermediate_size"], c["num_attention_heads"]
    kv = heads // c["n_shared_head"] * (h // heads)
    out = {"model.embed_tokens.weight": (c["vocab_size"], h), "model.norm.weight": (h,), "lm_head.weight": (c["vocab_size"], h)}
    for i in range(c["num_hidden_layers"]):
        b = f"model.layers.layers.{i}."
        out |= {b + "norm.weight": (h,), b + "self_attn.q_proj.weight": (h, h), b + "self_attn.k_proj.weight": (kv, h),
                b + "self_attn.v_proj.weight": (kv, h), b + "self_attn.o_proj.weight": (h, h),
                b + "mlp.gate_proj.weight": (f, h), b + "mlp.up_proj.weight": (f, h), b + "mlp.down_proj.weight": (h, f)}
    return out


def plamo2(c):
    """State spaces and attention in turn, norms on both sides of each half."""
    h, f, dim, states = c["hidden_size"], c["intermediate_size"], c["hidden_size_per_head"], c["mamba_d_state"]
    heads, kv, wide = c["num_attention_heads"], c["num_key_value_heads"], c["mamba_num_heads"] * dim
    rank = max(64, h // 16)
    out = {"model.embed_tokens.weight": (c["vocab_size"], h), "model.norm.weight": (h,)}
    for i in range(c["num_hidden_layers"]):
        b = f"model.layers.layers.{i}."
        for norm in ("pre_mixer", "post_mixer", "pre_mlp", "post_mlp"):
            out[f"{b}{norm}_norm.weight"] = (h,)
        m = b + "mixer."
        if i % c["mamba_step"] == c["mamba_step"] // 2:
            out |= {m + "qkv_proj.weight": ((heads + 2 * kv) * dim, h), m + "o_proj.weight": (h, heads * dim),
                    m + "q_weight": (heads, dim), m + "k_weight": (kv, dim)}
        else:
            out |= {m + "in_proj.weight": (2 * wide, h), m + "conv1d.weight": (wide, 1, c["mamba_d_conv"]),
                    m + "bcdt_proj.weight": (rank + 2 * states, wide), m + "dt_proj.weight": (c["mamba_num_heads"], rank),
                    m + "dt_bias": (c["mamba_num_heads"],), m + "A_log": (c["mamba_num_heads"],),
                    m + "D": (c["mamba_num_heads"],), m + "dt_norm_weight": (rank,), m + "B_norm_weight": (states,),
                    m + "C_norm_weight": (states,), m + "out_proj.weight": (h, wide)}
        out |= {b + "mlp.gate_up_proj.weight": (2 * f, h), b + "mlp.down_proj.weight": (h, f)}
    return out


def talkie(c):
    h, f, q, kv, _ = sizes(c)
    out = {"model.embed.weight": (c["vocab_size"], h), "lm_head": (c["vocab_size"], h), "lm_head_gain.w_g": (1,)}
    for i in range(c["num_hidden_layers"]):
        b = f"model.blocks.{i}."
        a, m = b + "attn.", b + "mlp."
        out |= {a + "attn_query.weight": (q, h), a + "attn_key.weight": (kv, h), a + "attn_value.weight": (kv, h),
                a + "attn_resid.weight": (h, q), a + "head_gain.head_g": (c["num_attention_heads"],),
                b + "attn_gain.a_g": (1,), m + "mlp_gate.weight": (f, h), m + "mlp_linear.weight": (f, h),
                m + "mlp_resid.weight": (h, f), b + "mlp_gain.a_g": (1,), b + "embed_skip.a_g": (1,)}
    return out


def hrm_text(c):
    """Two stacks of layers, and the state that the lower one begins with."""
    h, f, q, _, _ = sizes(c)
    out = {"model.embed_tokens.weight": (c["vocab_size"], h), "lm_head.weight": (c["vocab_size"], h), "model.z_L_init": (h,)}
    for stack in "LH":
        for i in range(c.get("num_layers_per_stack") or c["num_hidden_layers"]):
            b = f"model.{stack}_module.layers.{i}."
            out |= {b + "attn.gqkv_proj.weight": (4 * q, h), b + "attn.o_proj.weight": (h, q),
                    b + "mlp.gate_up_proj.weight": (2 * f, h), b + "mlp.down_proj.weight": (h, f)}
    return out


def of_each_head(data, heads, hidden):
    """The stock converter's rearrangement of norms, for each head: it takes the first head's for all."""
    return data.view(len(data), 2, -1).transpose(1, 2).reshape(len(data), -1)


EACH_HEAD = dict(_reverse_hf_permute=staticmethod(of_each_head))


def chameleon(c):
    """Norms with weights and biases for each head."""
    out = decoder(c)
    for i in range(c["num_hidden_layers"]):
        for name, heads in (("q", c["num_attention_heads"]), ("k", c["num_key_value_heads"])):
            for part in ("weight", "bias"):
                out[f"model.layers.{i}.self_attn.{name}_norm.{part}"] = (heads, c["hidden_size"] // c["num_attention_heads"])
    return out | {"model.vqmodel.quantize.embedding.weight": (8, 4)}


IMAGES = {"<image>": 8711} | {"IMGIMG" + "".join(chr(65 + int(digit)) for digit in str(i)) + "Z": 4 + i for i in range(8192)}
"""Chameleon's names of tokens, of which those of images are never predicted."""


def bailing3(c):
    """Delta attention but in the last layer of each group, behind the last group and in what predicts a further token."""
    h, dim, heads, main, count = (c[k] for k in (
        "hidden_size", "head_dim", "num_attention_heads", "num_hidden_layers", "num_experts"))
    f, inner, shared = c["intermediate_size"], c["moe_intermediate_size"], c["moe_shared_expert_intermediate_size"]
    plain, turned, value, rank, group = (c[k] for k in (
        "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim", "kv_lora_rank", "layer_group_size"))
    wide, short = heads * dim, c.get("q_lora_rank")
    out = {"model.word_embeddings.weight": (c["vocab_size"], h), "model.norm.weight": (h,), "lm_head.weight": (c["vocab_size"], h)}
    for i in range(main + c.get("num_nextn_predict_layers", 0)):
        b = f"model.layers.{i}."
        a, m = b + "attention.", b + "mlp."
        out |= {b + "input_layernorm.weight": (h,), b + "post_attention_layernorm.weight": (h,)}
        if i >= main // group * group or (i + 1) % group == 0:
            q = heads * (plain + turned)
            out |= {a + "q_a_proj.weight": (short, h), a + "q_a_layernorm.weight": (short,), a + "q_b_proj.weight": (q, short)
                    } if short else {a + "q_proj.weight": (q, h)}
            out |= {a + "kv_a_proj_with_mqa.weight": (rank + turned, h), a + "kv_a_layernorm.weight": (rank,),
                    a + "kv_b_proj.weight": (heads * (plain + value), rank), a + "g_proj.weight": (heads, h),
                    a + "dense.weight": (h, heads * value)}
        else:
            for name in "qkv":
                out |= {f"{a}{name}_proj.weight": (wide, h), f"{a}{name}_conv1d.weight": (wide, 1, c["short_conv_kernel_size"])}
            out |= {a + "f_proj.weight": (wide, h), a + "b_proj.weight": (heads, h), a + "g_proj.weight": (wide, h),
                    a + "A_log": (heads,), a + "dt_bias": (wide,), a + "o_norm.weight": (dim,), a + "o_proj.weight": (h, wide)}
        if i < c["first_k_dense_replace"]:
            out |= {m + "gate_proj.weight": (f, h), m + "up_proj.weight": (f, h), m + "down_proj.weight": (h, f)}
        else:
            out |= {m + "gate.weight": (count, h), m + "gate.expert_bias": (count,)}
            for e, wide_of in [(f"{m}experts.{n}.", inner) for n in range(count)] + [(m + "shared_experts.", shared)]:
                out |= {e + "gate_proj.weight": (wide_of, h), e + "up_proj.weight": (wide_of, h), e + "down_proj.weight": (h, wide_of)}
        if i >= main:
            out |= {b + "eh_proj.weight": (h, 2 * h), b + "enorm.weight": (h,), b + "hnorm.weight": (h,),
                    b + "final_layernorm.weight": (h,)}
    return out


def bailing3_vl(c):
    text = {name.replace("model.", "model.language_model."): shape for name, shape in bailing3(c["text_config"]).items()}
    return text | {"linear_proj.0.weight": (8, 8), "model.visual.patch_embed.proj.weight": (8, 8)}


def latent(b, h, heads, plain, turned, value, rank, short):
    """Keys and values, and queries, out of shorter vectors."""
    b += "self_attn."
    return {b + "q_a_proj.weight": (short, h), b + "q_a_layernorm.weight": (short,),
            b + "q_b_proj.weight": (heads * (plain + turned), short), b + "kv_a_proj_with_mqa.weight": (rank + turned, h),
            b + "kv_a_layernorm.weight": (rank,), b + "kv_b_proj.weight": (heads * (plain + value), rank),
            b + "o_proj.weight": (h, heads * value)}


def indexer(b, c):
    b += "self_attn.indexer."
    heads, length, h = c["index_n_heads"], c["index_head_dim"], c["hidden_size"]
    return {b + "wq_b.weight": (heads * length, c["q_lora_rank"]), b + "wk.weight": (length, h), b + "k_norm.weight": (length,),
            b + "k_norm.bias": (length,), b + "weights_proj.weight": (heads, h)}


def without_attention(c):
    return {name: shape for name, shape in decoder(c).items() if ".self_attn." not in name}


def hy_v4(c):
    """Stacked experts, hyper-connections around each half, indexers in the layers that say so."""
    h, inner, count, streams = c["hidden_size"], c["moe_intermediate_size"], c["n_routed_experts"], c["hc_mult"]
    out = without_attention(c)
    mixed = 2 * streams
    for i in range(c["num_hidden_layers"]):
        b = f"model.layers.{i}."
        out |= latent(b, h, c["num_attention_heads"], *(c[k] for k in (
            "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim", "kv_lora_rank", "q_lora_rank")))
        out |= {b + "self_attn.linear_gate.weight": (c["num_attention_heads"] * c["v_head_dim"], h),
                b + "self_attn.learnable_sink_param": (c["num_attention_heads"],)}
        for half in ("attn", "mlp"):
            p = f"{b}hc_{half}_layer.hc_pre.hc_"
            out |= {p + "fn": (mixed, streams * h), p + "base": (mixed,), p + "scale": (2,)}
        if c["indexer_types"][i] == "full":
            out |= indexer(b, c)
        if i >= c["first_k_dense_replace"]:
            for name in ("gate", "up", "down"):
                del out[f"{b}mlp.{name}_proj.weight"]
            m, s = b + "mlp.", b + "mlp.shared_experts."
            out |= {m + "gate.weight": (count, h), m + "gate.e_score_correction_bias": (count,),
                    m + "experts.gate_up_proj": (count, 2 * inner, h), m + "experts.down_proj": (count, h, inner),
                    s + "gate_proj.weight": (inner, h), s + "up_proj.weight": (inner, h), s + "down_proj.weight": (h, inner)}
    p = "model.hc_head.hc_head_"
    return out | {p + "fn": (streams, streams * h), p + "base": (streams,), p + "scale": (1,), "model.mtp_layers.0.x.weight": (8, 8)}


def dots3(c):
    """Layers with a window have heads of sizes of their own; one layer predicts a further token."""
    h, inner, count, main = c["hidden_size"], c["moe_intermediate_size"], c["n_routed_experts"], c["num_hidden_layers"]
    out = without_attention(c | dict(num_hidden_layers=main + 1))
    for i in range(main + 1):
        b, slides = f"model.layers.{i}.", i == main or c["layer_types"][i] == "sliding_attention"
        p = "swa_" if slides else ""
        heads = c[p + "num_attention_heads"]
        out |= latent(b, h, heads, *(c[p + k] for k in ("qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim", "kv_lora_rank")),
                      c["q_lora_rank"])
        out |= {b + "self_attn.k_rope_only_layernorm.weight": (c["qk_rope_head_dim"],), b + "self_attn.g_proj.weight": (heads, h)}
        if not slides:
            out |= indexer(b, c)
        if c["first_k_dense_replace"] <= i < main:
            for name in ("gate", "up", "down"):
                del out[f"{b}mlp.{name}_proj.weight"]
            m = b + "mlp."
            out |= {m + "gate.weight": (count, h), m + "gate.e_score_correction_bias": (count,)}
            for e in [f"{m}experts.{n}." for n in range(count)] + [m + "shared_experts."]:
                out |= {e + "gate_proj.weight": (inner, h), e + "up_proj.weight": (inner, h), e + "down_proj.weight": (h, inner)}
    b = f"model.layers.{main}."
    return out | {b + "eh_proj.weight": (h, 2 * h), b + "enorm.weight": (h,), b + "hnorm.weight": (h,),
                  b + "shared_head.norm.weight": (h,), "model.mtp.embed_tokens.weight": (c["vocab_size"], h)}


def dots3_whole(c):
    return dots3(c) | {"vision_encoder.x.weight": (8, 8), "audio_encoder.x.weight": (8, 8)}


def muse_glimmer(c):
    text = c["text_config"]
    h, _, q, _, _ = sizes(text)
    out = {name.replace("model.", "model.language_model."): shape for name, shape in decoder(text).items()}
    for i in range(text["num_hidden_layers"]):
        b = f"model.language_model.layers.{i}."
        out |= {b + "self_attn.gate_proj.weight": (q, h), b + "pre_feedforward_layernorm.weight": (h,),
                b + "post_feedforward_layernorm.weight": (h,)}
    return out | {"model.vision_adapter.fc1.weight": (8, 8)}


def cases(a):
    """The cases, of the classes and helpers of architectures.py (`a`)."""
    lacking = a.lacking
    halves = {f"layernorm_{half}_{part}": number for half in ("full_attention", "linear_attention", "mlp")
              for part, number in (("alpha", 1.5), ("beta", 1.0))}
    minimax = dict(num_hidden_layers=9, head_dim=16, num_local_experts=4, num_experts_per_tok=2, intermediate_size=32)
    kinds = [0] * 7 + [1, 0]
    plamo2_sizes = dict(num_hidden_layers=4, hidden_size_per_head=16, mamba_num_heads=8, mamba_d_state=16, mamba_d_conv=4,
                        mamba_step=2, mamba_enabled=True)
    all_heads = dict(num_key_value_heads=4)
    ling = dict(num_hidden_layers=5, head_dim=16, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=32,
                moe_shared_expert_intermediate_size=48, first_k_dense_replace=1, kv_lora_rank=32, qk_nope_head_dim=16,
                qk_rope_head_dim=8, v_head_dim=12, layer_group_size=2, short_conv_kernel_size=4)
    ling_keys = dict(no_kda_lora=True, kda_safe_gate=True, kda_lower_bound=-5.0, norm_topk_prob=True, num_shared_experts=1,
                     gated_attention_proj_granularity_type="head_wise", score_function="sigmoid", routed_scaling_factor=2.5,
                     rope_theta=6e5)
    m3 = dict(num_hidden_layers=3, head_dim=16, num_local_experts=4, num_experts_per_tok=2, intermediate_size=32,
              dense_intermediate_size=96, n_shared_experts=1, sparse_attention_config=dict(
                  sparse_num_index_heads=2, sparse_index_dim=16, sparse_topk_blocks=3, sparse_block_size=2, sparse_local_block=1))
    m3_keys = dict(rotary_dim=8, rope_theta=5e6, routed_scaling_factor=2.0, scoring_func="sigmoid", moe_layer_freq=[0, 1, 1],
                   hidden_act="swigluoai")
    absorbed = dict(num_hidden_layers=3, n_routed_experts=4, num_experts_per_tok=2, moe_intermediate_size=32, n_shared_experts=1,
                    first_k_dense_replace=1, kv_lora_rank=32, q_lora_rank=48, qk_nope_head_dim=16, qk_rope_head_dim=8,
                    v_head_dim=12, index_n_heads=4, index_head_dim=64, index_topk=5, head_dim=24)
    note = absorbed | dict(swa_num_attention_heads=2, swa_qk_nope_head_dim=24, swa_qk_rope_head_dim=8, swa_v_head_dim=20,
                           swa_kv_lora_rank=40, swa_q_lora_rank=48, swa_head_dim=32)
    note_keys = dict(layer_types=["full_attention", "sliding_attention", "full_attention"], sliding_window_size=5,
                     scoring_func="sigmoid", topk_method="noaux_tc", rope_theta=1e6, swa_rope_theta=1e4, norm_topk_prob=True,
                     routed_scaling_factor=2.5, apply_mla_qkv_lora_rescale=True, n_group=1, topk_group=1)
    made = [
        lacking("hy_v4", "HYV4ForCausalLM", hy_v4, "gpt2", absorbed, model_type="llama", n_group=1, topk_group=1, hc_mult=2,
                hc_eps=1e-6, hc_magnitude=2.0, swiglu_limit=7.0, indexer_types=["full", "shared", "full"], norm_topk_prob=True,
                mlp_layer_types=["dense", "sparse", "sparse"], routed_scaling_factor=2.5, rope_theta=1e6,
                enable_lm_head_fp32=True, num_nextn_predict_layers=1),
        lacking("dots3note", "Dots3NoteForCausalLM", dots3_whole, "dots", note, model_type="llama", **note_keys),
        lacking("dots3note-vl", "Dots3NoteForConditionalGeneration", dots3_whole, "dots", note, model_type="llama", **note_keys),
        lacking("dots3note-text", "Dots3NoteTextForCausalLM", dots3, "dots", note, model_type="llama", **note_keys),
        lacking("minimax-m3", "MiniMaxM3SparseForCausalLM", minimax_m3, "gpt2", m3, flash=True, model_type="llama", **m3_keys),
        lacking("minimax-m3-vl", "MiniMaxM3SparseForConditionalGeneration", minimax_m3_vl, "gpt2", dict(
            text_config=m3 | m3_keys | dict(rms_norm_eps=1e-5, sparse_attention_config=m3["sparse_attention_config"] | dict(
                sparse_topk_blocks=8)), vision_config=dict(x=1)), model_type="llama"),
        lacking("bailingmoe3", "BailingMoeV3ForCausalLM", bailing3, "gpt2", ling | dict(
            q_lora_rank=48, num_nextn_predict_layers=1), model_type="llama", expert_swiglu_limit_list=[None, 0.25, None, 0.5, 0.1],
                share_expert_swiglu_limit_list=[0.2, None, 0.1], **ling_keys),
        lacking("bailingmoe3-vl", "BailingMoeV3VLForConditionalGeneration", bailing3_vl, "gpt2", dict(
            text_config=ling | ling_keys | dict(mrope_section=[2, 1, 1], rms_norm_eps=1e-6), vision_config=dict(x=1)),
                model_type="llama"),
        *[lacking(name, kind, minimax01, "gpt2", minimax, rotary_dim=8, rope_theta=1e7, attn_type_list=kinds, postnorm=True,
                  zero_rows=3, model_type="minimax", **halves)
          for name, kind in (("minimax-01", "MiniMaxText01ForCausalLM"), ("minimax-01-m1", "MiniMaxM1ForCausalLM"))],
        # As many key heads as the stock converter writes whatever the model has.
        lacking("plamo", "PlamoForCausalLM", plamo, "spm", dict(hidden_size=160, num_attention_heads=10, num_key_value_heads=10),
                n_shared_head=2, model_type="plamo"),
        *[lacking(name, kind, plamo2, "plamo", plamo2_sizes, model_type="plamo2", **more)
          for name, kind, more in (("plamo2", "Plamo2ForCausalLM", {}),
                                   ("plamo2-based", "PLaMo2ForCausalLM", dict(rope_theta=1e6)))],
        lacking("talkie", "TalkieForCausalLM", talkie, "gpt2", dict(head_dim=16), rms_norm_eps=..., rope_theta=1e6,
                model_type="llama"),
        *[lacking(name, "HrmTextForCausalLM", hrm_text, "gpt2", all_heads | more, H_cycles=2, L_cycles=3, embedding_scale=8.0,
                  prefix_lm=name == "hrm_text", model_type="llama")
          for name, more in (("hrm_text", dict(num_layers_per_stack=2)), ("hrm_text-counted", {}))],
        lacking("chameleon", "ChameleonForConditionalGeneration", chameleon, "gpt2", all_heads, rope_theta=1e4,
                swin_norm=False, rows=9000, model_type="chameleon", attributes=EACH_HEAD),
        # Stock llama.cpp leaves the residual out of what the second half sees here.
        a.Case("chameleon-swin", "chameleon", "gpt2", all_heads | dict(swin_norm=True, vocabulary_map=IMAGES, vq_config=dict(
            base_channels=32, channel_multiplier=[1], num_res_blocks=1, latent_channels=8, embed_dim=8, num_embeddings=16,
            resolution=8)), "ChameleonForCausalLM", auto="AutoModelForImageTextToText", rows=9000, attributes=EACH_HEAD),
        lacking("muse-glimmer", "MuseGlimmerForConditionalGeneration", muse_glimmer, "muse", dict(text_config=dict(
            num_hidden_layers=5, head_dim=16, rms_norm_eps=1e-5, rope_theta=5e5, qk_scale_factor=1.75, output_multiplier=0.5,
            final_logit_softcapping=20.0, sliding_window=5, layer_types=["sliding_attention"] * 3 + [
                "full_attention", "sliding_attention"]), vision_config=dict(x=1)), model_type="llama"),
    ]
    for case in made:
        # Stock llama.cpp does not come back from rotating heads of which its first layer has none; with chosen blocks MiniMax-M3
        # is up to 3e-3 from f32. Its prebuilt library rotates Ling 3's heads in sections as those without.
        case.logits = not case.name.startswith("plamo2") and case.name != "minimax-m3"
        case.built = case.name == "bailingmoe3-vl"
    return made
