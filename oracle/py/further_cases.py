"""Further cases of architectures.py: text models inside classes that read images or sound too, and families that
transformers 4.57 lacks, with names and shapes from their published code."""

from dataclasses import replace

import checkpoints
from checkpoints import decoder, sizes


def renamed(tensors, *pairs, more=None):
    """The tensors under other names, with what `more` makes beside them."""
    def whole(c):
        text = tensors(c.get("text_config") or c.get("language_config")
                       or c.get("thinker_config", {}).get("text_config") or c)
        out = {}
        for name, shape in text.items():
            for old, new in pairs:
                if name.startswith(old):
                    name = new + name[len(old):]
                    break
            out[name] = shape
        return out | (more(c) if more else {})
    return whole


def beside(*names):
    """Tensors of other parts, which are left out."""
    return lambda c: {name: (8, 8) for name in names}


def head_norms(c):
    return decoder(c, head_norms=1)


def fused_phi(c):
    h, f, q, kv, _ = sizes(c)
    out = decoder(c)
    for i in range(c["num_hidden_layers"]):
        b = f"model.layers.{i}."
        for name in ("q", "k", "v"):
            del out[f"{b}self_attn.{name}_proj.weight"]
        del out[b + "mlp.gate_proj.weight"], out[b + "mlp.up_proj.weight"]
        out |= {b + "self_attn.qkv_proj.weight": (q + 2 * kv, h), b + "mlp.gate_up_proj.weight": (2 * f, h)}
    return out


def exaone4(c):
    h, f, q, kv, dim = sizes(c)
    out = head_norms(c)
    for i in range(c["num_hidden_layers"]):
        b = f"model.layers.{i}."
        out[b + "post_feedforward_layernorm.weight"] = out.pop(b + "input_layernorm.weight")
    return out


def exaone4_5(c):
    """With a head that predicts a further token."""
    out, h = exaone4(c), c["hidden_size"]
    for name in [n for n in out if n.startswith("model.layers.0.")]:
        out[name.replace("model.layers.0.", "mtp.layers.0.")] = out[name]
    return out | {"mtp.fc.weight": (h, 2 * h), "mtp.norm.weight": (h,), "mtp.pre_fc_norm_embedding.weight": (h,),
                  "mtp.pre_fc_norm_hidden.weight": (h,)}


def glm4(c):
    h, f, _, _, _ = sizes(c)
    c = c | dict(num_hidden_layers=c["num_hidden_layers"] + c.get("num_nextn_predict_layers", 0))
    out = decoder(c)
    for i in range(c["num_hidden_layers"]):
        b = f"model.layers.{i}."
        del out[b + "mlp.gate_proj.weight"], out[b + "mlp.up_proj.weight"]
        out |= {b + "mlp.gate_up_proj.weight": (2 * f, h), b + "post_self_attn_layernorm.weight": (h,),
                b + "post_mlp_layernorm.weight": (h,)}
    b = f"model.layers.{c['num_hidden_layers'] - 1}."
    return out | {b + "eh_proj.weight": (h, 2 * h), b + "enorm.weight": (h,), b + "hnorm.weight": (h,),
                  b + "shared_head.norm.weight": (h,)}


def glm4_moe(c):
    out = checkpoints.deepseek(c)
    for i in range(c["first_k_dense_replace"], c["num_hidden_layers"]):
        out[f"model.layers.{i}.mlp.gate.e_score_correction_bias"] = (c["n_routed_experts"],)
    return out


def youtu(c):
    """DeepSeek-V3's attention before dense layers."""
    out = checkpoints.deepseek3(c | dict(first_k_dense_replace=c["num_hidden_layers"]))
    if c.get("tie_word_embeddings"):
        del out["lm_head.weight"]
    return out


def qwen3_moe(c):
    base = "mlp.experts.{}."
    out = checkpoints.experts(c, 0, (base + "up_proj", base + "down_proj", base + "gate_proj"), "mlp.gate.weight")
    return out | {k: v for k, v in head_norms(c).items() if k.endswith(("q_norm.weight", "k_norm.weight"))}


def bias(c):
    return decoder(c, qkv_bias=True)


def llada(c):
    h, f, kv = c["d_model"], c["mlp_hidden_size"], c["d_model"] // c["n_heads"] * c["n_kv_heads"]
    out = {"model.transformer.wte.weight": (c["vocab_size"], h), "model.transformer.ln_f.weight": (h,),
           "model.transformer.ff_out.weight": (c["vocab_size"], h)}
    for i in range(c["n_layers"]):
        b = f"model.transformer.blocks.{i}."
        out |= {b + "attn_norm.weight": (h,), b + "ff_norm.weight": (h,), b + "q_proj.weight": (h, h),
                b + "k_proj.weight": (kv, h), b + "v_proj.weight": (kv, h), b + "attn_out.weight": (h, h),
                b + "ff_proj.weight": (f, h), b + "up_proj.weight": (f, h), b + "ff_out.weight": (h, f)}
    return out


def neo_bert(c):
    h, f = c["hidden_size"], int(2 * c["intermediate_size"] / 3)
    out = {"encoder.weight": (c["vocab_size"], h), "layer_norm.weight": (h,)}
    for i in range(c["num_hidden_layers"]):
        b = f"transformer_encoder.{i}."
        out |= {b + "attention_norm.weight": (h,), b + "ffn_norm.weight": (h,), b + "qkv.weight": (3 * h, h),
                b + "wo.weight": (h, h), b + "ffn.w12.weight": (2 * f, h), b + "ffn.w3.weight": (h, f)}
    return out


def neo_bert_head(c):
    h = c["hidden_size"]
    return {"model." + k: v for k, v in neo_bert(c).items()} | {
        "decoder.weight": (c["vocab_size"], h), "decoder.bias": (c["vocab_size"],)}


def neo_bert_classifier(c):
    h = c["hidden_size"]
    return {"model." + k: v for k, v in neo_bert(c).items()} | {
        "dense.weight": (h, h), "dense.bias": (h,), "classifier.weight": (3, h), "classifier.bias": (3,)}


def headless(c):
    """A decoder saved without its outer module and its head."""
    return {k.removeprefix("model."): v for k, v in decoder(c).items() if not k.startswith("lm_head")}


def bailing(c):
    """Ling of the first generation."""
    h, _, q, kv, _ = sizes(c)
    out = checkpoints.deepseek(c | dict(n_routed_experts=c["num_experts"], n_shared_experts=c["num_shared_experts"]))
    out["model.word_embeddings.weight"] = out.pop("model.embed_tokens.weight")
    for i in range(c["num_hidden_layers"]):
        b = f"model.layers.{i}."
        for name in ("q", "k", "v", "o"):
            del out[f"{b}self_attn.{name}_proj.weight"]
        out |= {b + "attention.query_key_value.weight": (q + 2 * kv, h), b + "attention.dense.weight": (h, q)}
    return out


def bailing2(c):
    """Ling of the second generation, with a head that predicts a further token."""
    h, _, _, _, dim = sizes(c)
    layers = c["num_hidden_layers"] + c.get("num_nextn_predict_layers", 0)
    out = bailing(c | dict(num_hidden_layers=layers))
    for i in range(layers):
        b = f"model.layers.{i}."
        out |= {b + "attention.query_layernorm.weight": (dim,), b + "attention.key_layernorm.weight": (dim,)}
        if i >= c["first_k_dense_replace"]:
            out[b + "mlp.gate.expert_bias"] = (c["num_experts"],)
    b = f"model.layers.{layers - 1}."
    return out | {b + "eh_proj.weight": (h, 2 * h), b + "enorm.weight": (h,), b + "hnorm.weight": (h,),
                  b + "final_layernorm.weight": (h,)}


def exaone_moe(c):
    h, _, _, _, dim = sizes(c)
    c = c | dict(n_routed_experts=c["num_experts"], n_shared_experts=c["num_shared_experts"])
    out = glm4_moe(c)
    for i in range(c["num_hidden_layers"]):
        b = f"model.layers.{i}.self_attn."
        out |= {b + "q_norm.weight": (dim,), b + "k_norm.weight": (dim,)}
    for name in [n for n in out if n.startswith("model.layers.0.")]:
        out[name.replace("model.layers.0.", "mtp.layers.0.")] = out[name]
    return out | {"mtp.fc.weight": (h, 2 * h), "mtp.norm.weight": (h,), "mtp.pre_fc_norm_embedding.weight": (h,),
                  "mtp.pre_fc_norm_hidden.weight": (h,)}


def deci(c):
    """Attention, a matrix in its place, no attention, and a layer that is nothing."""
    h, heads = c["hidden_size"], c["num_attention_heads"]
    out = {k: v for k, v in decoder(c | dict(num_hidden_layers=0, intermediate_size=1)).items()}
    for i, block in enumerate(c["block_configs"]):
        b, group = f"model.layers.{i}.", block["attention"]["n_heads_in_group"]
        if group or block["attention"]["replace_with_linear"]:
            out[b + "input_layernorm.weight"] = (h,)
        if group:
            kv = h // heads * (heads // group)
            out |= {b + "self_attn.q_proj.weight": (h, h), b + "self_attn.k_proj.weight": (kv, h),
                    b + "self_attn.v_proj.weight": (kv, h), b + "self_attn.o_proj.weight": (h, h)}
        elif block["attention"]["replace_with_linear"]:
            out[b + "self_attn.linear_attn.weight"] = (h, h)
        if (mult := block["ffn"]["ffn_mult"]) is not None:
            f = -(-int(2 * mult * h / 3) // 256) * 256
            out |= {b + "post_attention_layernorm.weight": (h,), b + "mlp.gate_proj.weight": (f, h),
                    b + "mlp.up_proj.weight": (f, h), b + "mlp.down_proj.weight": (h, f)}
    return out


def deci_7b(c):
    h, heads = c["hidden_size"], c["num_attention_heads"]
    out = decoder(c)
    for i, kv in enumerate(c["num_key_value_heads_per_layer"]):
        for name in ("k", "v"):
            out[f"model.layers.{i}.self_attn.{name}_proj.weight"] = (kv * (h // heads), h)
    return out


def cases(a):
    """The cases, of the classes and helpers of architectures.py (`a`)."""
    lacking = a.lacking
    sound = dict(audio_config=dict(model_type="qwen2_audio_encoder"))
    sections = dict(rope_scaling=dict(type="default", rope_type="default", mrope_section=[2, 3, 3]))
    latent = dict(num_key_value_heads=4, kv_lora_rank=32, q_lora_rank=48, qk_rope_head_dim=8, qk_nope_head_dim=16,
                  v_head_dim=12)
    routed = dict(n_routed_experts=4, num_experts_per_tok=2, n_shared_experts=1, moe_intermediate_size=32, n_group=1,
                  topk_group=1, first_k_dense_replace=1, num_hidden_layers=3)
    eps = dict(rms_norm_eps=1e-5)
    exaone = lacking(
        "exaone4-4.5", "Exaone4_5_ForConditionalGeneration",
        renamed(exaone4_5, ("model.", "model.language_model."), more=beside("model.visual.patch_embed.proj.weight")),
        "gpt2", dict(text_config=dict(
            model_type="exaone4_5_text", architectures=["Exaone4_5_ForCausalLM"], sliding_window=None,
            num_nextn_predict_layers=1, rope_theta=1e6, **eps)), model_type="exaone4_5")
    return [
        lacking("llama-voxtral", "VoxtralForConditionalGeneration",
                renamed(decoder, ("", "language_model."), more=beside(
                    "audio_tower.conv1.weight", "multi_modal_projector.linear_1.weight")), "llama3",
                dict(text_config=dict(model_type="llama", head_dim=32, rope_theta=1e8, **eps)), model_type="voxtral",
                audio_config=dict(model_type="voxtral_encoder"), rms_norm_eps=None),
        lacking("llama-janus", "JanusForConditionalGeneration",
                renamed(decoder, ("model.", "model.language_model."), more=beside(
                    "model.vision_model.embeddings.patch_embedding.weight", "model.aligner.fc1.weight",
                    "model.vqmodel.quant_conv.weight", "model.generation_head.proj_out.weight",
                    "model.generation_embeddings.weight", "model.generation_aligner.fc1.weight")), "llama2",
                dict(text_config=dict(model_type="llama", **eps)), model_type="janus", rms_norm_eps=None),
        lacking("llama-sarashina2", "Sarashina2VisionForCausalLM",
                renamed(decoder, ("", "llm."), more=beside("visual.patch_embed.proj.weight", "norm.weight")), "spm",
                dict(text_config=dict(model_type="llama", architectures=["LlamaForCausalLM"], head_dim=16, **eps)),
                model_type="sarashina2_vision"),
        lacking("qwen2-audio", "Qwen2AudioForConditionalGeneration",
                renamed(bias, ("", "language_model."), more=beside("audio_tower.conv1.weight",
                                                                   "multi_modal_projector.linear.weight")), "qwen2_5",
                dict(text_config=dict(model_type="qwen2", **eps)), model_type="qwen2_audio", rms_norm_eps=None, **sound),
        lacking("qwen2-flamingo", "AudioFlamingo3ForConditionalGeneration",
                renamed(bias, ("", "language_model."), more=beside("audio_tower.conv1.weight")), "qwen2_5",
                dict(text_config=dict(model_type="qwen2", rope_theta=1e6, **eps)), model_type="audioflamingo3"),
        lacking("qwen2-dots-ocr", "DotsOCRForCausalLM",
                renamed(bias, more=beside("vision_tower.blocks.0.mlp.fc1.weight")), "qwen2_5",
                vision_config=dict(embed_dim=8), model_type="dots_ocr", rope_theta=1e6, dtype="bfloat16"),
        lacking("qwen3-step", "StepVLForConditionalGeneration",
                renamed(head_norms, ("model.", "model.language_model."), more=beside(
                    "model.vision_model.conv1.weight", "model.vit_large_projector.weight")), "qwen3",
                dict(text_config=dict(model_type="qwen3", architectures=["Qwen3ForCausalLM"], head_dim=32, rope_theta=1e6,
                                      **eps)), model_type="step_robotics"),
        lacking("qwen2vl-model", "Qwen2VLModel", renamed(bias, more=beside("visual.patch_embed.proj.weight")), "qwen2_5",
                sections, vision_config=dict(depth=1), model_type="qwen2_vl"),
        lacking("qwen2vl-omni", "Qwen2_5OmniModel",
                renamed(bias, ("", "thinker."), more=beside("talker.model.norm.weight", "token2wav.dit.weight",
                                                            "thinker.visual.patch_embed.proj.weight",
                                                            "thinker.audio_tower.conv1.weight")), "qwen2_5",
                dict(thinker_config=dict(text_config=dict(
                    model_type="qwen2_5_omni_text", rms_norm_eps=1e-6, **sections))),
                model_type="qwen2_5_omni", rms_norm_eps=None),
        lacking("qwen3vl-asr", "Qwen3ASRForConditionalGeneration",
                renamed(head_norms, ("", "thinker."), more=beside("thinker.audio_tower.conv2d1.weight")), "qwen3",
                dict(thinker_config=dict(text_config=dict(
                    model_type="qwen3", rms_norm_eps=1e-6, head_dim=32, rope_theta=1e6,
                    rope_scaling=dict(type="default", rope_type="default", mrope_section=[6, 5, 5],
                                      mrope_interleaved=True)))), model_type="qwen3_asr", rms_norm_eps=None),
        lacking("qwen3vlmoe-omni", "Qwen3OmniMoeForConditionalGeneration",
                renamed(qwen3_moe, ("", "thinker."), more=beside("talker.model.norm.weight", "code2wav.x.weight",
                                                                 "thinker.audio_tower.conv2d1.weight",
                                                                 "thinker.visual.patch_embed.proj.weight")), "qwen3",
                dict(thinker_config=dict(text_config=dict(
                    model_type="qwen3_omni_moe_text", rms_norm_eps=1e-6, head_dim=32,
                    rope_theta=1e6, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=32, norm_topk_prob=True,
                    rope_scaling=dict(type="default", rope_type="default", mrope_section=[6, 5, 5],
                                      mrope_interleaved=True)))), model_type="qwen3_omni_moe", rms_norm_eps=None),
        lacking("phi3-vision", "Phi4ForCausalLMV", renamed(fused_phi, more=beside(
            "model.vision_tower.vision_tower.vision_model.head.weight", "model.mm_projector.0.weight")), "gpt2",
                original_max_position_embeddings=256, rope_theta=5e5, sliding_window=None, vision_config=dict(x=1),
                partial_rotary_factor=1.0, model_type="phi4-siglip"),
        exaone,
        # Stock llama.cpp has windows in models of 64 layers alone; the case "exaone4" compares them with transformers.
        replace(exaone, name="exaone4-4.5-window", logits=False, config=dict(text_config=exaone.config["text_config"] | dict(
            sliding_window=5, layer_types=["sliding_attention", "full_attention", "sliding_attention"]))),
        lacking("exaone4-4.5-plain", "Exaone4_5_ForConditionalGeneration",
                renamed(exaone4, ("model.", "model.language_model."), more=beside("mtp.fc.weight")), "gpt2",
                dict(text_config=dict(model_type="exaone4_5_text", sliding_window=None, rope_theta=1e6, **eps)),
                model_type="exaone4_5"),
        lacking("glm4-ocr", "GlmOcrForConditionalGeneration",
                renamed(glm4, ("model.", "model.language_model.")), "glm",
                dict(text_config=dict(model_type="glm_ocr_text", num_nextn_predict_layers=1, pad_token_id=0, head_dim=16,
                                      rope_parameters=dict(rope_type="default", mrope_section=[2, 3, 3],
                                                           partial_rotary_factor=1.0, rope_theta=1e4), **eps)),
                model_type="glm_ocr"),
        lacking("glm4moe-solar", "SolarOpenForCausalLM", glm4_moe, "solar", routed, norm_topk_prob=True,
                routed_scaling_factor=1.5, head_dim=16, partial_rotary_factor=1.0, rope_theta=1e6,
                model_type="solar_open"),
        lacking("paddleocr", "PaddleOCRVLForConditionalGeneration",
                renamed(decoder, more=beside("visual.vision_model.head.weight", "mlp_AR.linear_1.weight")), "spm",
                dict(head_dim=16) | sections, rope_theta=5e5, vision_config=dict(x=1), model_type="paddleocr_vl"),
        lacking("deepseek2-youtu", "YoutuForCausalLM", youtu, "gpt2", latent | dict(tie_word_embeddings=True),
                rms_norm_eps=1e-6, rope_theta=5e5, model_type="youtu"),
        lacking("deepseek2-youtu-vl", "YoutuVLForConditionalGeneration",
                renamed(youtu, more=beside("siglip2.vision_model.head.weight", "merger.mlp.0.weight")), "gpt2", latent,
                rms_norm_eps=1e-6, rope_theta=5e5, vision_config=dict(x=1), model_type="youtu_vl"),
        lacking("deepseek2-ocr", "DeepseekOCRForCausalLM",
                renamed(checkpoints.deepseek, more=beside("model.sam_model.blocks.0.attn.rel_pos_h",
                                                          "model.vision_model.x.weight", "model.projector.layers.weight",
                                                          "model.image_newline", "model.view_seperator")), "deepseek_v3",
                dict(language_config=dict(
                    architectures=["DeepseekV2ForCausalLM"], kv_lora_rank=None, qk_nope_head_dim=0, qk_rope_head_dim=0,
                    v_head_dim=0, topk_method="greedy", use_mla=False, **routed | dict(num_key_value_heads=4))), rms_norm_eps=..., model_type="deepseek_vl_v2"),
    ] + encoders_and_diffusion(lacking) + mixtures(lacking)


def encoders_and_diffusion(lacking):
    # Of a width that the gates of NeoBERT share evenly; set in the file, as cases without logits have no usual sizes.
    embeds = dict(num_hidden_layers=2, hidden_size=64, intermediate_size=96, num_attention_heads=4,
                  max_position_embeddings=256)
    plain = dict(embeds, rms_norm_eps=1e-5, rope_theta=1e4)
    return [
        lacking("eurobert", "EuroBertModel", headless, "llama3", {}, logits=False, pooling="mean", model_type="eurobert",
                num_key_value_heads=4, **plain),
        lacking("eurobert-jina", "JinaEmbeddingsV5Model", renamed(headless, ("", "model.")), "llama3", {},
                logits=False, pooling="mean", model_type="jina_embeddings_v5", num_key_value_heads=2, **plain),
        lacking("llama-embed", "LlamaBidirectionalModel", headless, "llama3", {}, logits=False, pooling="mean",
                model_type="llama_bidirec", is_causal=False, num_key_value_heads=2, **plain),
        lacking("neo-bert", "NeoBERT", neo_bert, "minilm", {}, logits=False, pooling="cls", model_type="neobert",
                norm_eps=1e-5, max_length=256, **embeds),
        lacking("neo-bert-head", "NeoBERTLMHead", neo_bert_head, "minilm", {}, logits=False, pooling="cls",
                model_type="neobert", norm_eps=1e-5, max_length=256, **embeds),
        lacking("neo-bert-classifier", "NeoBERTForSequenceClassification", neo_bert_classifier, "minilm", {},
                logits=False, model_type="neobert", max_length=256, **embeds, id2label={"0": "a", "1": "b", "2": "c"}),
        lacking("dream", "DreamModel", bias, "qwen2_5", rope_theta=1e6, mask_token_id=151666, model_type="Dream"),
        lacking("llada", "LLaDAModelLM", llada, "llama3", dict.fromkeys(
            ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
             "max_position_embeddings", "initializer_range")) | dict(
                 d_model=64, n_heads=4, n_kv_heads=2, n_layers=2, mlp_hidden_size=96, max_sequence_length=256),
                rope_theta=5e5, model_type="llada", mask_token_id=200),
        lacking("llada-moe", "LLaDAMoEModelLM", qwen3_moe, "gpt2", dict(
            num_experts=4, num_experts_per_tok=2, moe_intermediate_size=32), expert_intermediate_size=32, rope_theta=5e4,
                model_type="llada", norm_topk_prob=None),
        lacking("rnd1", "RND1", qwen3_moe, "qwen3", dict(
            num_experts=4, num_experts_per_tok=2, moe_intermediate_size=32, head_dim=16), rope_theta=1e6,
                model_type="rnd1", norm_topk_prob=True, mask_token_id=151669),
    ]


def mixtures(lacking):
    ling = dict(num_experts=4, num_experts_per_tok=2, num_shared_experts=1, moe_intermediate_size=32, head_dim=16,
                first_k_dense_replace=0)
    attention = dict(n_heads_in_group=None, replace_with_linear=False)
    blocks = [dict(attention=attention | dict(n_heads_in_group=2), ffn=dict(ffn_mult=1.3)),
              dict(attention=attention | dict(replace_with_linear=True), ffn=dict(ffn_mult=1.3)),
              dict(attention=attention, ffn=dict(ffn_mult=5.0)), dict(attention=attention, ffn=dict(ffn_mult=None)),
              dict(attention=attention | dict(n_heads_in_group=4), ffn=dict(ffn_mult=2.6))]
    return [
        lacking("bailingmoe", "BailingMoeForCausalLM", bailing, "gpt2", ling, norm_topk_prob=True, norm_head=False,
                rope_theta=6e5, model_type="bailing_moe"),
        lacking("bailingmoe2", "BailingMoeV2ForCausalLM", bailing2, "gpt2", ling | dict(
            num_experts=8, first_k_dense_replace=1, num_hidden_layers=3, num_nextn_predict_layers=1), norm_topk_prob=True,
                routed_scaling_factor=2.5, n_group=4, topk_group=2, score_function="sigmoid", rope_theta=6e5,
                partial_rotary_factor=0.5, model_type="bailing_moe_v2"),
        lacking("exaone-moe", "ExaoneMoEForCausalLM", exaone_moe, "gpt2", ling | dict(
            first_k_dense_replace=1, num_hidden_layers=5, num_nextn_predict_layers=1), norm_topk_prob=True,
                routed_scaling_factor=2.5, n_group=1, topk_group=1, scoring_func="sigmoid", rope_theta=1e6,
                sliding_window=5, layer_types=["sliding_attention"] * 3 + ["full_attention", "sliding_attention"], model_type="exaone_moe"),
        lacking("deci", "DeciLMForCausalLM", deci, "llama3", dict(
            num_hidden_layers=5, num_key_value_heads=None, intermediate_size=None), block_configs=blocks, rope_theta=5e5,
                model_type="nemotron-nas", rope_scaling=dict(
                    rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                    original_max_position_embeddings=64)),
        lacking("deci-7b", "DeciLMForCausalLM", deci_7b, "llama2", dict(num_key_value_heads=None),
                num_key_value_heads_per_layer=[2, 4], rope_theta=1e4, model_type="deci"),
    ]
