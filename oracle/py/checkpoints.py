"""Names and shapes of the tensors of classes that transformers lacks, from their published modelling code.

Each function takes config.json as a dictionary and returns {name: shape}. architectures.py fills them with
random numbers; the logits to compare with are then stock llama.cpp's.
"""


def sizes(c):
    hidden, heads = c["hidden_size"], c["num_attention_heads"]
    dim = c.get("head_dim") or hidden // heads
    return hidden, c["intermediate_size"], heads * dim, c.get("num_key_value_heads", heads) * dim, dim


def decoder(c, head="lm_head.weight", qkv_bias=False, norm_bias=False, head_norms=0, packed=False):
    """The names that Llama's classes use, with what some models add."""
    h, f, q, kv, dim = sizes(c)
    out = {"model.embed_tokens.weight": (c["vocab_size"], h), "model.norm.weight": (h,)}
    if head:
        out[head] = (c["vocab_size"], h)
    if norm_bias:
        out["model.norm.bias"] = (h,)
    for i in range(c["num_hidden_layers"]):
        b = f"model.layers.{i}."
        for norm in ("input_layernorm", "post_attention_layernorm"):
            out[f"{b}{norm}.weight"] = (h,)
            if norm_bias:
                out[f"{b}{norm}.bias"] = (h,)
        if packed:
            out[b + "self_attn.W_pack.weight"] = (q + 2 * kv, h)
        else:
            for name, rows in (("q", q), ("k", kv), ("v", kv)):
                out[f"{b}self_attn.{name}_proj.weight"] = (rows, h)
                if qkv_bias:
                    out[f"{b}self_attn.{name}_proj.bias"] = (rows,)
        if head_norms:
            out |= {b + "self_attn.q_norm.weight": (dim,), b + "self_attn.k_norm.weight": (dim,)}
        out |= {b + "self_attn.o_proj.weight": (h, q), b + "mlp.gate_proj.weight": (f, h),
                b + "mlp.up_proj.weight": (f, h), b + "mlp.down_proj.weight": (h, f)}
    return out


def experts(c, dense, names, gate):
    """The second halves of a mixture: `dense` layers without experts, `names` of an expert's three matrices."""
    h, inner = c["hidden_size"], c.get("moe_intermediate_size") or c["intermediate_size"]
    out = decoder(c)
    for i in range(dense, c["num_hidden_layers"]):
        b = f"model.layers.{i}."
        for name in ("gate", "up", "down"):
            del out[f"{b}mlp.{name}_proj.weight"]
        out[b + gate] = (c["num_experts"], h)
        for n in range(c["num_experts"]):
            up, down, into = (b + name.format(n) + ".weight" for name in names)
            out |= {up: (inner, h), into: (inner, h), down: (h, inner)}
    return out


def deepseek(c):
    c = c | dict(num_experts=c["n_routed_experts"])
    h, inner = c["hidden_size"], c["moe_intermediate_size"] * c["n_shared_experts"]
    base = "mlp.experts.{}."
    out = experts(c, c["first_k_dense_replace"], (base + "up_proj", base + "down_proj", base + "gate_proj"),
                  "mlp.gate.weight")
    for i in range(c["first_k_dense_replace"], c["num_hidden_layers"]):
        b = f"model.layers.{i}.mlp.shared_experts."
        out |= {b + "gate_proj.weight": (inner, h), b + "up_proj.weight": (inner, h), b + "down_proj.weight": (h, inner)}
    return out


def minimax_m2(c):
    c = c | dict(num_experts=c["num_local_experts"])
    _, _, q, kv, _ = sizes(c)
    base = "block_sparse_moe.experts.{}."
    out = experts(c, 0, (base + "w1", base + "w2", base + "w3"), "block_sparse_moe.gate.weight")
    for i in range(c["num_hidden_layers"]):
        b = f"model.layers.{i}."
        out |= {b + "self_attn.q_norm.weight": (q,), b + "self_attn.k_norm.weight": (kv,),
                b + "block_sparse_moe.e_score_correction_bias": (c["num_experts"],)}
    return out


def lfm2_moe(c):
    h, f, q, kv, dim = sizes(c)
    inner, kernel = c["moe_intermediate_size"], c["conv_L_cache"]
    out = {"model.embed_tokens.weight": (c["vocab_size"], h), "model.embedding_norm.weight": (h,)}
    for i, kind in enumerate(c["layer_types"]):
        b = f"model.layers.{i}."
        out |= {b + "operator_norm.weight": (h,), b + "ffn_norm.weight": (h,)}
        if kind == "conv":
            out |= {b + "conv.conv.weight": (h, 1, kernel), b + "conv.in_proj.weight": (3 * h, h),
                    b + "conv.out_proj.weight": (h, h)}
        else:
            out |= {b + "self_attn.q_proj.weight": (q, h), b + "self_attn.k_proj.weight": (kv, h),
                    b + "self_attn.v_proj.weight": (kv, h), b + "self_attn.out_proj.weight": (h, q),
                    b + "self_attn.q_layernorm.weight": (dim,), b + "self_attn.k_layernorm.weight": (dim,)}
        b += "feed_forward."
        if i < c["num_dense_layers"]:
            out |= {b + "w1.weight": (f, h), b + "w2.weight": (h, f), b + "w3.weight": (f, h)}
            continue
        out |= {b + "gate.weight": (c["num_experts"], h), b + "expert_bias": (c["num_experts"],)}
        for n in range(c["num_experts"]):
            e = f"{b}experts.{n}."
            out |= {e + "w1.weight": (inner, h), e + "w2.weight": (h, inner), e + "w3.weight": (inner, h)}
    return out


def jais2(c):
    h, f, _, _, _ = sizes(c)
    out = decoder(c, qkv_bias=True, norm_bias=True)
    for i in range(c["num_hidden_layers"]):
        b = f"model.layers.{i}."
        del out[b + "mlp.gate_proj.weight"]
        out |= {b + "self_attn.o_proj.bias": (h,), b + "mlp.up_proj.bias": (f,), b + "mlp.down_proj.bias": (h,)}
    return out


def nomic_bert(c):
    h, inner = c["n_embd"], c["n_inner"]
    out = {"embeddings.word_embeddings.weight": (c["vocab_size"], h),
           "embeddings.token_type_embeddings.weight": (c["type_vocab_size"], h),
           "emb_ln.weight": (h,), "emb_ln.bias": (h,)}
    for i in range(c["n_layer"]):
        b = f"encoder.layers.{i}."
        out |= {b + "attn.Wqkv.weight": (3 * h, h), b + "attn.out_proj.weight": (h, h),
                b + "mlp.fc11.weight": (inner, h), b + "mlp.fc12.weight": (inner, h), b + "mlp.fc2.weight": (h, inner)}
        out |= {f"{b}norm{n}.{part}": (h,) for n in (1, 2) for part in ("weight", "bias")}
    return out


def kormo(c):
    return {name.replace("input_layernorm", "pre_attention_layernorm")
            .replace("post_attention_layernorm", "pre_mlp_layernorm"): shape for name, shape in decoder(c).items()}


def baichuan(c):
    return decoder(c, packed=True)


def orion(c):
    return decoder(c, norm_bias=True)


def pangu(c):
    out = decoder(c, qkv_bias=True)
    return out | {f"model.layers.{i}.self_attn.o_proj.bias": (c["hidden_size"],)
                  for i in range(c["num_hidden_layers"])}


def maincoder(c):
    return decoder(c, head_norms=1)


def internlm2(c):
    h, f, q, kv, _ = sizes(c)
    out = {"model.tok_embeddings.weight": (c["vocab_size"], h), "model.norm.weight": (h,),
           "output.weight": (c["vocab_size"], h)}
    for i in range(c["num_hidden_layers"]):
        b = f"model.layers.{i}."
        out |= {b + "attention_norm.weight": (h,), b + "ffn_norm.weight": (h,),
                b + "attention.wqkv.weight": (q + 2 * kv, h), b + "attention.wo.weight": (h, q),
                b + "feed_forward.w1.weight": (f, h), b + "feed_forward.w2.weight": (h, f),
                b + "feed_forward.w3.weight": (f, h)}
    return out


def exaone(c):
    h, f, q, kv, _ = sizes(c)
    out = {"transformer.wte.weight": (c["vocab_size"], h), "transformer.ln_f.weight": (h,),
           "lm_head.weight": (c["vocab_size"], h)}
    for i in range(c["num_hidden_layers"]):
        b = f"transformer.h.{i}."
        out |= {b + "ln_1.weight": (h,), b + "ln_2.weight": (h,), b + "attn.attention.q_proj.weight": (q, h),
                b + "attn.attention.k_proj.weight": (kv, h), b + "attn.attention.v_proj.weight": (kv, h),
                b + "attn.attention.out_proj.weight": (h, q), b + "mlp.c_fc_0.weight": (f, h),
                b + "mlp.c_fc_1.weight": (f, h), b + "mlp.c_proj.weight": (h, f)}
    return out


def stablelm_12b(c):
    """StableLM 2 12B: norms of each head, one norm for both halves, no biases."""
    dim = sizes(c)[-1]
    out = decoder(c) | {"model.norm.bias": (c["hidden_size"],)}
    for i in range(c["num_hidden_layers"]):
        b = f"model.layers.{i}."
        del out[b + "post_attention_layernorm.weight"]
        out[b + "input_layernorm.bias"] = (c["hidden_size"],)
        for name, heads in (("q", c["num_attention_heads"]), ("k", c["num_key_value_heads"])):
            out |= {f"{b}self_attn.{name}_layernorm.norms.{n}.weight": (dim,) for n in range(heads)}
    return out


def gpt(c, qkv, inner, gated=False, norm_bias=True, biases=True):
    h = c["n_embd"]
    out = {"transformer.wte.weight": (c["vocab_size"], h), "transformer.ln_f.weight": (h,),
           "lm_head.weight": (c["vocab_size"], h)}
    if norm_bias:
        out["transformer.ln_f.bias"] = (h,)
    for i in range(c["n_layer"]):
        b = f"transformer.h.{i}."
        matrices = dict(qkv)
        matrices |= {"attn.c_proj": (h, h), "mlp.c_proj": (h, inner)}
        matrices["mlp.gate_up_proj" if gated else "mlp.c_fc"] = (2 * inner if gated else inner, h)
        for name, shape in matrices.items():
            out[f"{b}{name}.weight"] = shape
            if biases:
                out[f"{b}{name}.bias"] = shape[:1]
        for norm in ("ln_1", "ln_2"):
            out[f"{b}{norm}.weight"] = (h,)
            if norm_bias:
                out[f"{b}{norm}.bias"] = (h,)
    return out


def codeshell(c):
    h = c["n_embd"]
    kv = h // c["n_head"] * c["num_query_groups"]
    return gpt(c, {"attn.c_attn": (h + 2 * kv, h)}, 4 * h)


def refact(c):
    h = c["n_embd"]
    dim = h // c["n_head"]
    inner = -(-int(8 * h / 3) // 256) * 256
    return gpt(c, {"attn.q": (h, h), "attn.kv": (2 * dim, h)}, inner, gated=True, norm_bias=False, biases=False)


def chatglm(c):
    h, f, q, kv, _ = sizes(c)
    out = {"transformer.embedding.word_embeddings.weight": (c["vocab_size"], h),
           "transformer.encoder.final_layernorm.weight": (h,),
           "transformer.output_layer.weight": (c["vocab_size"], h)}
    for i in range(c["num_layers"]):
        b = f"transformer.encoder.layers.{i}."
        out |= {b + "input_layernorm.weight": (h,), b + "post_attention_layernorm.weight": (h,),
                b + "self_attention.query_key_value.weight": (q + 2 * kv, h),
                b + "self_attention.query_key_value.bias": (q + 2 * kv,),
                b + "self_attention.dense.weight": (h, q), b + "mlp.dense_h_to_4h.weight": (2 * f, h),
                b + "mlp.dense_4h_to_h.weight": (h, f)}
    return out


def inside(tensors, vision=None):
    """The text model as a part of another, under `language_model`, beside an image encoder's tensors."""
    def both(c):
        text = tensors(c["text_config"])
        out = {k.replace("model.", "model.language_model.", 1) if k.startswith("model.") else k: v
               for k, v in text.items()}
        return out | (vision(c["vision_config"]) if vision else {})
    return both


def stacked_experts(c, base):
    """The second half of a mixture with all experts in one tensor, and a gated shared one."""
    h, inner, shared = c["hidden_size"], c["moe_intermediate_size"], c["shared_expert_intermediate_size"]
    n = c["num_experts"]
    return {base + "gate.weight": (n, h), base + "experts.gate_up_proj": (n, 2 * inner, h),
            base + "experts.down_proj": (n, h, inner), base + "shared_expert_gate.weight": (1, h),
            base + "shared_expert.gate_proj.weight": (shared, h), base + "shared_expert.up_proj.weight": (shared, h),
            base + "shared_expert.down_proj.weight": (h, shared)}


def qwen3_5(c):
    h, f, q, kv, dim = sizes(c)
    keys = c["linear_num_key_heads"] * c["linear_key_head_dim"]
    heads = c["linear_num_value_heads"]
    values, width = heads * c["linear_value_head_dim"], c["linear_conv_kernel_dim"]
    out = {"model.embed_tokens.weight": (c["vocab_size"], h), "model.norm.weight": (h,),
           "lm_head.weight": (c["vocab_size"], h)}

    def block(b, attends):
        made = {b + "input_layernorm.weight": (h,), b + "post_attention_layernorm.weight": (h,)}
        if attends:
            a = b + "self_attn."
            made |= {a + "q_proj.weight": (2 * q, h), a + "k_proj.weight": (kv, h), a + "v_proj.weight": (kv, h),
                     a + "o_proj.weight": (h, q), a + "q_norm.weight": (dim,), a + "k_norm.weight": (dim,)}
        else:
            a = b + "linear_attn."
            made |= {a + "in_proj_qkv.weight": (2 * keys + values, h), a + "in_proj_z.weight": (values, h),
                     a + "in_proj_b.weight": (heads, h), a + "in_proj_a.weight": (heads, h),
                     a + "conv1d.weight": (2 * keys + values, 1, width), a + "A_log": (heads,),
                     a + "dt_bias": (heads,), a + "norm.weight": (c["linear_value_head_dim"],),
                     a + "out_proj.weight": (h, values)}
        if "num_experts" in c:
            return made | stacked_experts(c, b + "mlp.")
        return made | {b + "mlp.gate_proj.weight": (f, h), b + "mlp.up_proj.weight": (f, h),
                       b + "mlp.down_proj.weight": (h, f)}

    for i, kind in enumerate(c["layer_types"]):
        out |= block(f"model.layers.{i}.", kind == "full_attention")
    return out | block("mtp.layers.0.", True) | {
        "mtp.fc.weight": (h, 2 * h), "mtp.norm.weight": (h,), "mtp.pre_fc_norm_embedding.weight": (h,),
        "mtp.pre_fc_norm_hidden.weight": (h,)}


def latent(c, b):
    """Attention whose keys and values are made from a short vector."""
    h, heads = c["hidden_size"], c["num_attention_heads"]
    rotated, plain, value = c["qk_rope_head_dim"], c["qk_nope_head_dim"], c["v_head_dim"]
    rank, short = c["kv_lora_rank"], c.get("q_lora_rank")
    out = {b + "kv_a_proj_with_mqa.weight": (rank + rotated, h), b + "kv_a_layernorm.weight": (rank,),
           b + "kv_b_proj.weight": (heads * (plain + value), rank), b + "o_proj.weight": (h, heads * value)}
    if short:
        return out | {b + "q_a_proj.weight": (short, h), b + "q_a_layernorm.weight": (short,),
                      b + "q_b_proj.weight": (heads * (plain + rotated), short)}
    return out | {b + "q_proj.weight": (heads * (plain + rotated), h)}


def routed(c, b, up="up_proj", down="down_proj", gate="gate_proj", bias="gate.e_score_correction_bias", n=None):
    """Numbered experts with a router and a bias for the choice, and shared ones."""
    h, inner, n = c["hidden_size"], c["moe_intermediate_size"], n or c["n_routed_experts"]
    shared = inner * c.get("n_shared_experts", 1)
    out = {b + "gate.weight": (n, h), b + bias: (n,)}
    for e in range(n):
        e = f"{b}experts.{e}."
        out |= {e + up + ".weight": (inner, h), e + down + ".weight": (h, inner), e + gate + ".weight": (inner, h)}
    b += "shared_experts."
    return out | {b + "gate_proj.weight": (shared, h), b + "up_proj.weight": (shared, h),
                  b + "down_proj.weight": (h, shared)}


def deepseek3(c):
    """DeepSeek-V3 and what is built like it, with indexers and a head that predicts a further token where the
    configuration has them."""
    h, f = c["hidden_size"], c["intermediate_size"]
    out = {"model.embed_tokens.weight": (c["vocab_size"], h), "model.norm.weight": (h,),
           "lm_head.weight": (c["vocab_size"], h)}
    types = c.get("indexer_types") or ["full"] * c["num_hidden_layers"]
    types = types + ["full"] * c.get("num_nextn_predict_layers", 0)
    for i, kind in enumerate(types):
        b = f"model.layers.{i}."
        out |= {b + "input_layernorm.weight": (h,), b + "post_attention_layernorm.weight": (h,)}
        out |= latent(c, b + "self_attn.")
        if "index_n_heads" in c and kind == "full":
            x, length = b + "self_attn.indexer.", c["index_head_dim"]
            out |= {x + "wq_b.weight": (c["index_n_heads"] * length, c["q_lora_rank"]), x + "wk.weight": (length, h),
                    x + "k_norm.weight": (length,), x + "k_norm.bias": (length,),
                    x + "weights_proj.weight": (c["index_n_heads"], h)}
        if i < c["first_k_dense_replace"]:
            out |= {b + "mlp.gate_proj.weight": (f, h), b + "mlp.up_proj.weight": (f, h),
                    b + "mlp.down_proj.weight": (h, f)}
        else:
            out |= routed(c, b + "mlp.")
        if i >= c["num_hidden_layers"]:
            out |= {b + "eh_proj.weight": (h, 2 * h), b + "enorm.weight": (h,), b + "hnorm.weight": (h,),
                    b + "shared_head.norm.weight": (h,)}
    return out


def language_model(tensors, vision=None):
    """The whole text model under `language_model`."""
    def both(c):
        out = {"language_model." + k: v for k, v in tensors(c["text_config"]).items()}
        return out | (vision(c["vision_config"]) if vision else {})
    return both


def kimi_linear(c):
    h, f, heads = c["hidden_size"], c["intermediate_size"], c["num_attention_heads"]
    delta = c["linear_attn_config"]
    length, width = delta["head_dim"], delta["short_conv_kernel_size"]
    inner = heads * length
    out = {"model.embed_tokens.weight": (c["vocab_size"], h), "model.norm.weight": (h,),
           "lm_head.weight": (c["vocab_size"], h)}
    for i in range(c["num_hidden_layers"]):
        b = f"model.layers.{i}."
        out |= {b + "input_layernorm.weight": (h,), b + "post_attention_layernorm.weight": (h,)}
        a = b + "self_attn."
        if i + 1 in delta["full_attn_layers"]:
            out |= latent(c, a)
        else:
            for name in "qkv":
                out |= {f"{a}{name}_proj.weight": (inner, h), f"{a}{name}_conv1d.weight": (inner, 1, width)}
            out |= {a + "f_a_proj.weight": (length, h), a + "f_b_proj.weight": (inner, length),
                    a + "g_a_proj.weight": (length, h), a + "g_b_proj.weight": (inner, length),
                    a + "b_proj.weight": (heads, h), a + "A_log": (1, 1, heads, 1), a + "dt_bias": (inner,),
                    a + "o_norm.weight": (length,), a + "o_proj.weight": (h, inner)}
        if i < c["first_k_dense_replace"]:
            out |= {b + "mlp.gate_proj.weight": (f, h), b + "mlp.up_proj.weight": (f, h),
                    b + "mlp.down_proj.weight": (h, f)}
        else:
            out |= routed(c, b + "block_sparse_moe.", "w3", "w2", "w1", n=c["num_experts"])
    return out


def nemotron_h(c):
    h, f, q, kv, _ = sizes(c | dict(head_dim=c["attention_head_dim"]))
    heads, groups = c["mamba_num_heads"], c["n_groups"]
    inner, states = heads * c["mamba_head_dim"], c["n_groups"] * c["ssm_state_size"]
    mixed = inner + 2 * states
    out = {"backbone.embeddings.weight": (c["vocab_size"], h), "backbone.norm_f.weight": (h,),
           "lm_head.weight": (c["vocab_size"], h)}

    def mixer(kind, a):
        if kind == "M":
            return {a + "in_proj.weight": (inner + mixed + heads, h), a + "out_proj.weight": (h, inner),
                    a + "conv1d.weight": (mixed, 1, c["conv_kernel"]), a + "conv1d.bias": (mixed,),
                    a + "A_log": (heads,), a + "D": (heads,), a + "dt_bias": (heads,), a + "norm.weight": (inner,)}
        if kind == "*":
            return {a + "q_proj.weight": (q, h), a + "k_proj.weight": (kv, h), a + "v_proj.weight": (kv, h),
                    a + "o_proj.weight": (h, q)}
        if kind == "-":
            return {a + "up_proj.weight": (f, h), a + "down_proj.weight": (h, f)}
        wide, n, shared = c["moe_intermediate_size"], c["n_routed_experts"], c["moe_shared_expert_intermediate_size"]
        narrow = c.get("moe_latent_size") or h
        made = {a + "gate.weight": (n, h), a + "gate.e_score_correction_bias": (n,),
                a + "shared_experts.up_proj.weight": (shared, h), a + "shared_experts.down_proj.weight": (h, shared)}
        if "moe_latent_size" in c:
            made |= {a + "fc1_latent_proj.weight": (narrow, h), a + "fc2_latent_proj.weight": (h, narrow)}
        for e in range(n):
            made |= {f"{a}experts.{e}.up_proj.weight": (wide, narrow), f"{a}experts.{e}.down_proj.weight": (narrow, wide)}
        return made

    for i, kind in enumerate(c["hybrid_override_pattern"]):
        b = f"backbone.layers.{i}."
        out |= {b + "norm.weight": (h,)} | mixer(kind, b + "mixer.")
    if c.get("num_nextn_predict_layers"):
        first, second = "mtp.layers.0.", "mtp.layers.1."
        out |= {first + "enorm.weight": (h,), first + "hnorm.weight": (h,), first + "eh_proj.weight": (h, 2 * h),
                first + "norm.weight": (h,), second + "norm.weight": (h,), second + "final_layernorm.weight": (h,)}
        out |= mixer("*", first + "mixer.") | mixer("E", second + "mixer.")
    return out


def qwen(c):
    h, half = c["hidden_size"], c["intermediate_size"] // 2
    out = {"transformer.wte.weight": (c["vocab_size"], h), "transformer.ln_f.weight": (h,),
           "lm_head.weight": (c["vocab_size"], h)}
    for i in range(c["num_hidden_layers"]):
        b = f"transformer.h.{i}."
        out |= {b + "ln_1.weight": (h,), b + "ln_2.weight": (h,), b + "attn.c_attn.weight": (3 * h, h),
                b + "attn.c_attn.bias": (3 * h,), b + "attn.c_proj.weight": (h, h), b + "mlp.w1.weight": (half, h),
                b + "mlp.w2.weight": (half, h), b + "mlp.c_proj.weight": (h, half)}
    return out


def rwkv6(c):
    h, n = c["hidden_size"], c["head_size"]
    inner, rank, decay = int(h * 3.5) // 32 * 32, 32, 64
    out = {"rwkv.embeddings.weight": (c["vocab_size"], h), "head.weight": (c["vocab_size"], h)}
    out |= {f"rwkv.{norm}.{part}": (h,) for norm in ("blocks.0.pre_ln", "ln_out") for part in ("weight", "bias")}
    for i in range(c["num_hidden_layers"]):
        b = f"rwkv.blocks.{i}."
        out |= {f"{b}{norm}.{part}": (h,) for norm in ("ln1", "ln2", "attention.ln_x") for part in ("weight", "bias")}
        out |= {f"{b}attention.time_maa_{x}": (1, 1, h) for x in "xwkvrg"}
        out |= {f"{b}attention.{x}.weight": (h, h) for x in ("key", "value", "receptance", "gate", "output")}
        out |= {f"{b}feed_forward.time_maa_{x}": (1, 1, h) for x in "kr"}
        out |= {b + "attention.time_maa_w1": (h, 5 * rank), b + "attention.time_maa_w2": (5, rank, h),
                b + "attention.time_decay": (1, 1, h), b + "attention.time_decay_w1": (h, decay),
                b + "attention.time_decay_w2": (decay, h), b + "attention.time_faaaa": (h // n, n),
                b + "feed_forward.key.weight": (inner, h), b + "feed_forward.value.weight": (h, inner),
                b + "feed_forward.receptance.weight": (h, h)}
    return out


def rwkv7(c):
    """As flash-linear-attention names and stores them."""
    h, f, n = c["hidden_size"], c["intermediate_size"], c["head_dim"]
    ranks = dict(w=c["decay_low_rank_dim"], a=c["a_low_rank_dim"], v=c["v_low_rank_dim"], g=c["gate_low_rank_dim"])
    out = {"model.embeddings.weight": (c["vocab_size"], h), "lm_head.weight": (c["vocab_size"], h)}
    out |= {f"model.{norm}.{part}": (h,) for norm in ("layers.0.pre_norm", "norm") for part in ("weight", "bias")}
    for i in range(c["num_hidden_layers"]):
        b = f"model.layers.{i}."
        out |= {f"{b}{norm}.{part}": (h,) for norm in ("attn_norm", "ffn_norm", "attn.g_norm")
                for part in ("weight", "bias")}
        out |= {f"{b}attn.x_{x}": (1, 1, h) for x in "rwkvag"}
        out |= {f"{b}attn.{x}_proj.weight": (h, h) for x in "rkvo"}
        for x, rank in ranks.items():
            if x == "v" and i == 0:
                continue
            out |= {f"{b}attn.{x}_lora.lora.0.weight": (rank, h), f"{b}attn.{x}_lora.lora.2.weight": (h, rank)}
            if x != "g":
                out[f"{b}attn.{x}_lora.lora.2.bias"] = (h,)
        out |= {b + "attn.k_k": (h,), b + "attn.k_a": (h,), b + "attn.r_k": (h // n, n), b + "ffn.x_k": (h,),
                b + "ffn.key.weight": (f, h), b + "ffn.value.weight": (h, f)}
    return out


def rwkv7_original(c):
    """As RWKV's own code does, which has values to mix in the first block too."""
    h, f, n = c["hidden_size"], c["intermediate_size"], c["head_size"]
    ranks = dict(w=c["lora_rank_decay"], a=c["lora_rank_iclr"], v=c["lora_rank_value_residual_mix"],
                 g=c["lora_rank_gate"])
    out = {"model.embeddings.weight": (c["vocab_size"], h), "head.weight": (c["vocab_size"], h)}
    out |= {f"model.{norm}.{part}": (h,) for norm in ("pre_ln", "ln_out") for part in ("weight", "bias")}
    for i in range(c["num_hidden_layers"]):
        b = f"model.blocks.{i}."
        out |= {f"{b}{norm}.{part}": (h,) for norm in ("ln1", "ln2", "attention.ln_x") for part in ("weight", "bias")}
        out[b + "attention.x_x"] = (6, 1, 1, h)
        out |= {f"{b}attention.{x}.weight": (h, h) for x in ("receptance", "key", "value", "output")}
        for x, rank in ranks.items():
            out |= {f"{b}attention.{x}1": (h, rank), f"{b}attention.{x}2": (rank, h)}
            if x != "g":
                out[f"{b}attention.{x}0"] = (1, 1, h)
        out |= {b + "attention.k_k": (1, 1, h), b + "attention.k_a": (1, 1, h), b + "attention.r_k": (h // n, n),
                b + "ffn.x_k": (1, 1, h), b + "ffn.key.weight": (f, h), b + "ffn.value.weight": (h, f)}
    return out


def gemma4(c):
    h, f, heads = c["hidden_size"], c["intermediate_size"], c["num_attention_heads"]
    out = {"model.embed_tokens.weight": (c["vocab_size"], h), "model.norm.weight": (h,)}
    given, layers = c.get("hidden_size_per_layer_input") or 0, c["num_hidden_layers"]
    if given:
        out |= {"model.embed_tokens_per_layer.weight": (c["vocab_size"], given * layers),
                "model.per_layer_model_projection.weight": (given * layers, h),
                "model.per_layer_projection_norm.weight": (given,)}
    first_shared = layers - c["num_kv_shared_layers"]
    for i, kind in enumerate(c["layer_types"]):
        full = kind == "full_attention"
        dim = c["global_head_dim"] if full else c["head_dim"]
        kv = dim * (c.get("num_global_key_value_heads") or c["num_key_value_heads"] if full else c["num_key_value_heads"])
        b = f"model.layers.{i}."
        for name in ("input", "post_attention", "pre_feedforward", "post_feedforward"):
            out[f"{b}{name}_layernorm.weight"] = (h,)
        out |= {b + "self_attn.q_proj.weight": (heads * dim, h), b + "self_attn.o_proj.weight": (h, heads * dim),
                b + "self_attn.q_norm.weight": (dim,), b + "layer_scalar": (1,)}
        if i < first_shared:
            out |= {b + "self_attn.k_proj.weight": (kv, h), b + "self_attn.k_norm.weight": (dim,)}
            if not (full and c.get("attention_k_eq_v")):
                out[b + "self_attn.v_proj.weight"] = (kv, h)
        wide = 2 * f if c.get("use_double_wide_mlp") and i >= first_shared else f
        out |= {b + "mlp.gate_proj.weight": (wide, h), b + "mlp.up_proj.weight": (wide, h),
                b + "mlp.down_proj.weight": (h, wide)}
        if given:
            out |= {b + "per_layer_input_gate.weight": (given, h), b + "per_layer_projection.weight": (h, given),
                    b + "post_per_layer_input_norm.weight": (h,)}
        if c.get("num_experts"):
            n, inner = c["num_experts"], c["moe_intermediate_size"]
            out |= {b + "router.proj.weight": (n, h), b + "router.scale": (h,), b + "router.per_expert_scale": (n,),
                    b + "experts.gate_up_proj": (n, 2 * inner, h), b + "experts.down_proj": (n, h, inner),
                    b + "pre_feedforward_layernorm_2.weight": (h,), b + "post_feedforward_layernorm_1.weight": (h,),
                    b + "post_feedforward_layernorm_2.weight": (h,)}
    return out


def qwen3_vision(c):
    h, f, patch, side = c["hidden_size"], c["intermediate_size"], c["patch_size"], c["out_hidden_size"]
    b = "model.visual."
    out = {b + "patch_embed.proj.weight": (h, 3, 2, patch, patch), b + "patch_embed.proj.bias": (h,),
           b + "pos_embed.weight": (c["num_position_embeddings"], h), b + "merger.norm.weight": (h,),
           b + "merger.norm.bias": (h,), b + "merger.linear_fc1.weight": (4 * h, 4 * h),
           b + "merger.linear_fc1.bias": (4 * h,), b + "merger.linear_fc2.weight": (side, 4 * h),
           b + "merger.linear_fc2.bias": (side,)}
    for i in range(c["depth"]):
        a = f"{b}blocks.{i}."
        for name, shape in dict(norm1=(h,), norm2=(h,), **{
                "attn.qkv": (3 * h, h), "attn.proj": (h, h), "mlp.linear_fc1": (f, h), "mlp.linear_fc2": (h, f)}).items():
            out |= {f"{a}{name}.weight": shape, f"{a}{name}.bias": shape[:1]}
    return out


def moon(c):
    h, f, patch = c["hidden_size"], c["intermediate_size"], c["patch_size"]
    b = "vision_tower."
    out = {b + "patch_embed.proj.weight": (h, 3, patch, patch), b + "patch_embed.proj.bias": (h,),
           b + "patch_embed.pos_emb.weight": (c["init_pos_emb_height"], c["init_pos_emb_width"], h),
           b + "encoder.final_layernorm.weight": (h,), b + "encoder.final_layernorm.bias": (h,)}
    for i in range(c["num_hidden_layers"]):
        a = f"{b}encoder.blocks.{i}."
        for name, shape in dict(norm0=(h,), norm1=(h,), wqkv=(3 * h, h), wo=(h, h), **{
                "mlp.fc0": (f, h), "mlp.fc1": (h, f)}).items():
            out |= {f"{a}{name}.weight": shape, f"{a}{name}.bias": shape[:1]}
    b = "multi_modal_projector."
    for name, shape in dict(pre_norm=(h,), linear_1=(4 * h, 4 * h), linear_2=(64, 4 * h)).items():
        out |= {f"{b}{name}.weight": shape, f"{b}{name}.bias": shape[:1]}
    return out


def intern_vl(c):
    text, c = c["llm_config"], c["vision_config"]
    h, f, patch = c["hidden_size"], c["intermediate_size"], c["patch_size"]
    places = (c["image_size"] // patch) ** 2
    b = "vision_model.embeddings."
    out = {"language_model." + k: v for k, v in decoder(text, qkv_bias=True).items()}
    out |= {b + "class_embedding": (1, 1, h), b + "patch_embedding.weight": (h, 3, patch, patch),
            b + "patch_embedding.bias": (h,), b + "position_embedding": (1, places + 1, h)}
    for i in range(c["num_hidden_layers"]):
        a = f"vision_model.encoder.layers.{i}."
        out |= {a + "ls1": (h,), a + "ls2": (h,)}
        for name, shape in dict(norm1=(h,), norm2=(h,), **{
                "attn.qkv": (3 * h, h), "attn.proj": (h, h), "mlp.fc1": (f, h), "mlp.fc2": (h, f)}).items():
            out |= {f"{a}{name}.weight": shape, f"{a}{name}.bias": shape[:1]}
    wide = text["hidden_size"]
    for n, shape in {0: (4 * h,), 1: (wide, 4 * h), 3: (wide, wide)}.items():
        out |= {f"mlp1.{n}.weight": shape, f"mlp1.{n}.bias": shape[:1]}
    return out
