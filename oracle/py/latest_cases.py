"""Cases of architectures.py of the classes that came last, with names and shapes from their published code."""

import checkpoints
import further_cases
from checkpoints import decoder, sizes


def layers(c):
    return [f"model.layers.{i}." for i in range(c["num_hidden_layers"])]


def gemma3n(c):
    """Copies of the state, a low-rank branch beside attention, vectors for each layer; no head."""
    h, _, _, _, dim = sizes(c)
    width, n, rank = c["hidden_size_per_layer_input"], c["altup_num_inputs"], 64
    out = checkpoints.decoder(c, head="", head_norms=1)
    out |= {"model.embed_tokens_per_layer.weight": (c["vocab_size_per_layer_input"], width * c["num_hidden_layers"]),
            "model.per_layer_model_projection.weight": (width * c["num_hidden_layers"], h),
            "model.per_layer_projection_norm.weight": (width,)}
    for i in range(n - 1):
        out |= {f"model.altup_projections.{i}.weight": (h, h), f"model.altup_unembed_projections.{i}.weight": (h, h)}
    for b in layers(c):
        out |= {b + "altup.correction_coefs.weight": (n, n), b + "altup.prediction_coefs.weight": (n * n, n),
                b + "altup.modality_router.weight": (n, h), b + "altup.router_norm.weight": (h,),
                b + "altup.correct_output_scale": (h,), b + "laurel.linear_left.weight": (rank, h),
                b + "laurel.linear_right.weight": (h, rank), b + "laurel.post_laurel_norm.weight": (h,),
                b + "pre_feedforward_layernorm.weight": (h,), b + "post_feedforward_layernorm.weight": (h,),
                b + "per_layer_input_gate.weight": (width, h), b + "per_layer_projection.weight": (h, width),
                b + "post_per_layer_input_norm.weight": (h,)}
    return out


def bitnet(c):
    """Norms before the last matrix of each half."""
    h, f = c["hidden_size"], c["intermediate_size"]
    out = decoder(c, head="")
    for b in layers(c):
        out |= {b + "self_attn.inner_attn_ln.weight": (h,), b + "mlp.ffn_layernorm.weight": (f,)}
    return out


def camembert(c):
    h, f = c["hidden_size"], c["intermediate_size"]
    out = {"embeddings.word_embeddings.weight": (c["vocab_size"], h),
           "embeddings.position_embeddings.weight": (c["max_position_embeddings"], h),
           "embeddings.token_type_embeddings.weight": (c["type_vocab_size"], h)}
    norms = ["embeddings.LayerNorm"]
    for i in range(c["num_hidden_layers"]):
        b = f"encoder.layer.{i}."
        for name in ("self.query", "self.key", "self.value", "output.dense"):
            out |= {f"{b}attention.{name}.weight": (h, h), f"{b}attention.{name}.bias": (h,)}
        out |= {b + "intermediate.dense.weight": (f, h), b + "intermediate.dense.bias": (f,),
                b + "output.dense.weight": (h, f), b + "output.dense.bias": (h,)}
        norms += [b + "attention.output.LayerNorm", b + "output.LayerNorm"]
    return out | {f"{norm}.{part}": (h,) for norm in norms for part in ("weight", "bias")}


def jina_bert(c):
    """BERT without positions, its feed-forward layers with gates."""
    h, f = c["hidden_size"], c["intermediate_size"]
    out = {"embeddings.word_embeddings.weight": (c["vocab_size"], h),
           "embeddings.token_type_embeddings.weight": (c["type_vocab_size"], h),
           "embeddings.LayerNorm.weight": (h,), "embeddings.LayerNorm.bias": (h,),
           "pooler.dense.weight": (h, h), "pooler.dense.bias": (h,)}
    for i in range(c["num_hidden_layers"]):
        b = f"encoder.layer.{i}."
        for name in ("self.query", "self.key", "self.value", "output.dense"):
            out |= {f"{b}attention.{name}.weight": (h, h), f"{b}attention.{name}.bias": (h,)}
        code = c.get("norms_of_code")
        norms = ["attention.output.LayerNorm", "mlp.layernorm"]
        if code:
            norms = ["attention.self.layer_norm_q", "attention.self.layer_norm_k", "attention.output.LayerNorm",
                     "layer_norm_1", "layer_norm_2"]
        out |= {f"{b}{norm}.{part}": (h,) for norm in norms for part in ("weight", "bias")}
        up, down = ("mlp.up_gated_layer", "mlp.down_layer") if code else ("mlp.gated_layers", "mlp.wo")
        out |= {f"{b}{up}.weight": (2 * f, h), f"{b}{down}.weight": (h, f), f"{b}{down}.bias": (h,)}
    return out


def puzzle(c):
    """Nemotron 3 of which every layer has its own width, under names without a backbone."""
    blocks = c["block_configs"]
    letters = dict(mamba="M", attention="*", moe="E")
    out = {}
    for i, block in enumerate(blocks):
        made = checkpoints.nemotron_h(c | dict(moe_intermediate_size=1) | block | dict(
            hybrid_override_pattern="".join(letters[b["block_type"]] for b in blocks)))
        out |= {name: shape for name, shape in made.items() if f".layers.{i}." in name or ".layers." not in name}
    return {name.replace("backbone.", "model."): shape for name, shape in out.items()} | {"mtp.layers.0.eh_proj.weight": (8, 8)}


def qwen2_shell(c, mixer):
    """Qwen 2 with another mixer in place of attention."""
    out = {name: shape for name, shape in decoder(c).items() if ".self_attn." not in name}
    for i, b in enumerate(layers(c)):
        out |= {f"{b}self_attn.{name}": shape for name, shape in mixer(i).items()}
    return out


def rwkv6qwen2(c):
    h = c["hidden_size"]
    kv = h // c["num_attention_heads"] * c["num_key_value_heads"]
    shift, decay = c["lora_rank_tokenshift"], c["lora_rank_decay"]

    def mixer(i):
        made = {f"time_maa_{x}": (1, 1, h) for x in "xrkvwg"}
        made |= {"time_maa_w1": (h, 5 * shift), "time_maa_w2": (5, shift, h), "time_decay": (1, 1, h),
                 "time_decay_w1": (h, decay), "time_decay_w2": (decay, h), "gate.weight": (h, h), "o_proj.weight": (h, h)}
        for name, rows in (("q", h), ("k", kv), ("v", kv)):
            made |= {f"{name}_proj.weight": (rows, h), f"{name}_proj.bias": (rows,)}
        return made
    return qwen2_shell(c, mixer)


def arwkv7(c):
    h, n = c["hidden_size"], c["head_size"]
    ranks = dict(w=64, a=64, v=32) | (dict(g=128) if c["wkv_has_gate"] else {})

    def mixer(i):
        made = {f"x_{x}": (1, 1, h) for x in ("rwkvag" if c["wkv_has_gate"] else "rwkva")}
        made |= {f"{x}.weight": (h, h) for x in ("receptance", "key", "value", "output")}
        for x, rank in ranks.items():
            if x == "v" and i == 0:
                continue
            made |= {f"{x}1": (h, rank), f"{x}2": (rank, h)} | ({f"{x}0": (1, 1, h)} if x != "g" else {})
        made |= {"k_k": (1, 1, h), "k_a": (1, 1, h), "r_k": (h // n, n)}
        if c["wkv_has_gate"]:
            made |= {"ln_x.weight": (h,), "ln_x.bias": (h,)}
        return {"time_mixer." + name: shape for name, shape in made.items()}
    return qwen2_shell(c, mixer)


def granite_switch(c):
    """Dense Granite with adapters inside; the last layer that is counted has no weights."""
    h, _, q, kv, _ = sizes(c)
    f, n, r = c["shared_intermediate_size"], c["num_adapters"], c["max_lora_rank"]
    out = {"model.embed_tokens.weight": (c["vocab_size"], h), "model.norm.weight": (h,), "model.switch.gain": (2,)}
    for b in layers(c)[:-1]:
        a, m = b + "self_attn.", b + "shared_mlp."
        out |= {b + "input_layernorm.weight": (h,), b + "post_attention_layernorm.weight": (h,)}
        out |= {a + "qkv_proj.base_layer.weight": (q + 2 * kv, h), a + "o_proj.base_layer.weight": (h, q),
                m + "input_linear.base_layer.weight": (2 * f, h), m + "output_linear.base_layer.weight": (h, f)}
        for module, outputs in ((a + "qkv_proj", (q, kv, kv)), (m + "input_linear", (f, f))):
            for i, rows in enumerate(outputs):
                out |= {f"{module}.lora_A_slices.{i}": (n, 1, r, h), f"{module}.lora_B_slices.{i}": (n, 1, rows, r)}
        for module, inputs in ((a + "o_proj", q), (m + "output_linear", f)):
            out |= {module + ".lora_A": (n, 1, r, inputs), module + ".lora_B": (n, 1, h, r)}
    return out


GEMMA3N = dict(head_dim=16, sliding_window=5, hidden_size_per_layer_input=256, vocab_size_per_layer_input=320,
               altup_num_inputs=4, altup_active_idx=0, rms_norm_eps=1e-6, final_logit_softcapping=30.0, model_type="gemma3n_text")


def cases(a):
    """The cases, of the classes and helpers of architectures.py (`a`)."""
    lacking = a.lacking
    ling = dict(num_experts=8, num_shared_experts=1, num_experts_per_tok=2, moe_intermediate_size=32, head_dim=16,
                first_k_dense_replace=1, num_hidden_layers=3, num_nextn_predict_layers=1)
    sarvam = dict(norm_topk_prob=True, routed_scaling_factor=2.5, n_group=4, topk_group=2, score_function="sigmoid",
                  rope_theta=6e5, exact=True, model_type="sarvam_moe")
    jina = dict(logits=False, pooling="mean", model_type="bert", layer_norm_eps=1e-12, position_embedding_type="alibi",
                feed_forward_type="geglu", type_vocab_size=2, pad_token_id=0)
    encoder = {key: a.SMALL[key] for key in ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")}
    experts = [(32, 3), (48, 2)]
    blocks = [dict(block_type=kind) for kind in ("mamba", "moe", "attention", "moe")]
    for block, (wide, used) in zip(blocks[1::2], experts):
        block |= dict(moe_intermediate_size=wide, num_experts_per_tok=used)
    qwen6 = dict(hidden_size=128, num_attention_heads=2, num_key_value_heads=1, num_hidden_layers=3)
    gemma3n_text = GEMMA3N | dict(num_hidden_layers=4, num_kv_shared_layers=0, activation_sparsity_pattern=[0.95] * 4)
    return [
        lacking("gemma3n", "Gemma3nForCausalLM", gemma3n, "spm", gemma3n_text | dict(
            num_hidden_layers=2, activation_sparsity_pattern=[0.95] * 2)),
        # The embeddings for each layer are shorter than the others.
        lacking("gemma3n-image", "Gemma3nForConditionalGeneration", checkpoints.inside(gemma3n), "spm", dict(
            text_config=gemma3n_text | dict(num_hidden_layers=3, activation_sparsity_pattern=[0.95] * 3)),
                model_type="gemma3n", dtype="bfloat16"),
        lacking("bitnet", "BitnetForCausalLM", bitnet, "spm", hidden_act="silu", rope_theta=1e4, exact=True,
                model_type="llama", tie_word_embeddings=True),
        lacking("bitnet-newer", "BitNetForCausalLM", bitnet, "spm", dict(num_key_value_heads=4), hidden_act="silu",
                rope_theta=5e5, exact=True, model_type="bitnet", tie_word_embeddings=True, dtype="bfloat16"),
        lacking("bailingmoe2-sarvam", "SarvamMoEForCausalLM", further_cases.bailing2, "gpt2", ling, **sarvam),
        lacking("bailingmoe2-sarvam-code", "modeling_sarvam_moe.SarvamMoEForCausalLM", further_cases.bailing2, "gpt2", ling,
                dtype="bfloat16", **sarvam),
        lacking("bert-camembert", "CamembertModel", camembert, "minilm", {}, **encoder, logits=False, pooling="mean",
                model_type="camembert", max_position_embeddings=256, type_vocab_size=1, layer_norm_eps=1e-5),
        lacking("qwen35-minicpm", "MiniCPMV4_6ForConditionalGeneration", checkpoints.inside(checkpoints.qwen3_5), "gpt2", dict(
            text_config=a.QWEN3_5 | dict(mtp_num_hidden_layers=0)), model_type="minicpmv4_6", attributes=dict(no_mtp=True)),
        # Of the tokens that logits are of, the second and the seventh turn an adapter on.
        lacking("graniteswitch", "GraniteSwitchForCausalLM", granite_switch, "gpt2", a.GRANITE | dict(
            num_hidden_layers=3, num_local_experts=0, shared_intermediate_size=96, num_adapters=3, max_lora_rank=8,
            adapter_token_ids=[126, 299, 36], adapter_substitute_token_ids=[5, 6, 7]), rope_theta=1e4, model_type="granite_switch"),
        lacking("jina-bert-v2", "JinaBertModel", jina_bert, "minilm", {}, **encoder, **jina),
        lacking("jina-bert-v2-code", "JinaBertForMaskedLM", jina_bert, "minilm", {}, **encoder, norms_of_code=True, **jina),
        lacking("nemotron_h_moe-puzzle", "NemotronHPuzzleForCausalLM", puzzle, "gpt2", a.NEMOTRON_H | dict(
            block_configs=blocks, n_routed_experts=8, n_shared_experts=1, moe_shared_expert_intermediate_size=48,
            moe_latent_size=32, norm_topk_prob=True, routed_scaling_factor=2.5, n_group=1, topk_group=1), model_type="nemotron_h_puzzle"),
        lacking("rwkv6qwen2", "RWKV6Qwen2ForCausalLM", rwkv6qwen2, "gpt2", qwen6 | dict(
            lora_rank_tokenshift=16, lora_rank_decay=24), model_type="rwkv6qwen2"),
        *[lacking("arwkv7" + name, "RwkvHybridForCausalLM", arwkv7, "gpt2", qwen6 | dict(num_key_value_heads=2, head_size=64), wkv_version=7,
                  wkv_has_gate=gate, model_type="rwkv_hybrid") for name, gate in (("", True), ("-plain", False))],
    ]
