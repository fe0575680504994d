"""Cases of architectures.py: draft models, each with the configuration of the model that it drafts for, whose directory
(`target`, beside `model`) has the vocabulary. None has logits: their graphs read states of the target."""

from checkpoints import decoder, gemma4, sizes

TARGET = dict(architectures=["LlamaForCausalLM"], model_type="llama", hidden_size=80, intermediate_size=96,
              num_hidden_layers=9, num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=256,
              rms_norm_eps=1e-5, bos_token_id=1, eos_token_id=2)
QWEN_TARGET = TARGET | dict(architectures=["Qwen3ForCausalLM"], model_type="qwen3", head_dim=16)
MUSE_TARGET = dict(architectures=["MuseGlimmerForConditionalGeneration"], model_type="llama", bos_token_id=1, eos_token_id=2,
                   text_config=TARGET | dict(architectures=None))
MROPE_TARGET = dict(architectures=["Qwen3VLForConditionalGeneration"], model_type="qwen3_vl", bos_token_id=1,
                    eos_token_id=2, text_config=TARGET | dict(architectures=None, rope_scaling=dict(
                        rope_type="default", mrope_section=[2, 1, 1])))


def eagle3(layer, head="lm_head.weight"):
    """One layer, whose attention reads embeddings beside states."""
    def tensors(c):
        c = c | c.get("transformer_layer_config", {})
        h, f, q, kv, _ = sizes(c)
        out = {"fc.weight": (h, 3 * c.get("target_hidden_size", 80)), "norm.weight": (h,), head: (c["draft_vocab_size"], h)}
        for name, rows in (("q", q), ("k", kv), ("v", kv)):
            out[f"{layer}.self_attn.{name}_proj.weight"] = (rows, 2 * h)
        out |= {f"{layer}.self_attn.o_proj.weight": (h, q), f"{layer}.mlp.gate_proj.weight": (f, h),
                f"{layer}.mlp.up_proj.weight": (f, h), f"{layer}.mlp.down_proj.weight": (h, f)}
        for norm in ("input_layernorm", "post_attention_layernorm", "hidden_norm"):
            out[f"{layer}.{norm}.weight"] = (h,)
        if c.get("norm_before_fc"):
            out["input_norm.weight"] = (3 * c["target_hidden_size"],)
        if "embed_tokens" in c.get("more_tensors", ()):
            out["embed_tokens.weight"] = (c["vocab_size"], h)
        return out | {"d2t": (c["draft_vocab_size"],), "t2d": (c["vocab_size"],)}
    return tensors


def dflash(c, markov=False):
    """Layers without an embedding; the states of several target layers come in through `fc`."""
    c = c | c.get("transformer_layer_config", {})
    h = c["hidden_size"]
    out = {k.removeprefix("model."): v for k, v in decoder(c, head_norms=1).items()}
    if not c.get("has_embed_tokens", True) or "has_embed_tokens" not in c:
        out.pop("embed_tokens.weight")
    out.pop("lm_head.weight")
    # llama.cpp takes the target to be as wide as its draft.
    out |= {"fc.weight": (h, 2 * h), "hidden_norm.weight": (h,)}
    if c.get("conv"):
        for i in range(c["num_hidden_layers"]):
            for name in ("attention_conv", "mlp_conv"):
                out |= {f"layers.{i}.{name}.base_kernel": (2, 3, h),
                        f"layers.{i}.{name}.kernel_projection.weight": (2 * 3 * h // 4, h)}
        out |= {"candidate_selector.predecessor_codebook": (c["vocab_size"], 8),
                "candidate_selector.successor_codebook": (c["vocab_size"], 8),
                "candidate_selector.hidden_projection.weight": (8, h)}
    if c.get("sinks"):
        for i in range(c["num_hidden_layers"]):
            out[f"layers.{i}.self_attn.sinks"] = (c["num_attention_heads"],)
    if markov:
        draft = c.get("draft_vocab_size") or c["vocab_size"]
        out |= {"markov_head.markov_w1.weight": (c["vocab_size"], 8), "markov_head.markov_w2.weight": (draft, 8)}
        if c.get("confident"):
            out |= {"confidence_head.proj.weight": (1, h + 8), "confidence_head.proj.bias": (1,)}
        out["lm_head.weight"] = (draft, h)
        if draft != c["vocab_size"]:
            out |= {"d2t": (draft,), "t2d": (c["vocab_size"],)}
    return out


def dspark(c):
    return dflash(c, markov=True)


def gemma4_dspark(c):
    """Layers of Gemma 4 whose keys are values too, with DSpark's head."""
    h, v = c["hidden_size"], c["vocab_size"]
    out = {k.removeprefix("model."): shape for k, shape in gemma4(c | dict(num_kv_shared_layers=0)).items()}
    return out | {"fc.weight": (h, 2 * h), "hidden_norm.weight": (h,), "markov_head.markov_w1.weight": (v, 8),
                  "markov_head.markov_w2.weight": (v, 8), "confidence_proj.weight": (1, h + 8)}


def assistant(c):
    """Layers without keys and values, which are the target's, between two projections."""
    text = c["text_config"]
    h, target = text["hidden_size"], c["backbone_hidden_size"]
    out = gemma4(text)
    return out | {"pre_projection.weight": (h, 2 * target), "post_projection.weight": (target, h),
                  "masked_embedding.centroids.weight": (16, h)}


def muse_assistant(c):
    """DFlash under the names that transformers gives it."""
    h = c["hidden_size"]
    out = {k.removeprefix("model."): v for k, v in decoder(c, head_norms=1).items()}
    del out["embed_tokens.weight"], out["lm_head.weight"]
    return out | {"encoder.fc.weight": (h, 2 * h), "encoder.output_norm_enc.weight": (h,)}


def cases(a):
    """The cases, made with the functions of architectures.py."""
    def draft(name, kind, tensors, target, config=None, tokenizer="spm", **more):
        case = a.lacking(name, kind, tensors, tokenizer, config, **more)
        case.logits, case.target = False, target
        return case

    one = dict(num_hidden_layers=1, draft_vocab_size=100)
    layers = dict(head_dim=16, model_type="qwen3", use_sliding_window=False)
    inside = dict(target_layer_ids=[1, 5], mask_token_id=4)
    return [
        draft("eagle3", "LlamaForCausalLMEagle3", eagle3("midlayer"), TARGET, one, model_type="llama"),
        draft("eagle3-llama", "Eagle3LlamaForCausalLM", eagle3("midlayer"), TARGET | dict(hidden_size=96), one | dict(
            target_hidden_size=80), model_type="llama", eagle_aux_hidden_state_layer_ids=[1, 3, 6], norm_before_fc=True),
        draft("eagle3-speculator", "Eagle3Speculator", eagle3("layers.0"), dict(
            architectures=["LlavaForConditionalGeneration"], model_type="llava", bos_token_id=1, eos_token_id=2,
            text_config=TARGET), dict.fromkeys(a.SMALL) | dict(
            draft_vocab_size=100, transformer_layer_config=dict(a.SMALL, num_hidden_layers=1, model_type="llama",
                                                                rms_norm_eps=1e-5, vocab_size=408, rope_theta=5e5)),
              model_type="speculator_model", norm_before_residual=True, rms_norm_eps=...),
        draft("eagle3-draft", "Eagle3DraftModel", eagle3("layers.0"), TARGET, one | dict(
            rope_scaling=dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                              original_max_position_embeddings=64)), model_type="llama", more_tensors=["embed_tokens"]),
        draft("eagle3-plain", "LlamaForCausalLM", eagle3("midlayer"), TARGET, one, model_type="llama"),
        draft("dflash-muse", "MuseGlimmerAssistantModel", muse_assistant, MUSE_TARGET, dict(head_dim=16), "muse", model_type="muse_glimmer_assistant",
              block_size=8, target_layer_ids=[1, 5], mask_token_id=4, sliding_window=6, rope_theta=1e6,
              layer_types=["sliding_attention", "full_attention"]),
        draft("dflash", "DFlashDraftModel", dflash, QWEN_TARGET, layers, dflash_config=inside, block_size=8),
        draft("dflash-2", "DFlash2DraftModel", dflash, MROPE_TARGET, layers | dict(
            use_sliding_window=True, sliding_window=6, layer_types=["sliding_attention", "full_attention"]),
              dflash_config=inside | dict(conv_kernel_size=3, conv_group_size=4, selector_rank=8, selector_top_k=2,
                                          attention_value_scale=0.5, final_logit_softcapping=30.0, causal=False,
                                          output_multiplier=0.25, input_embedding_scale=2.0), conv=True),
        draft("dflash-pairs", "DFlashDraftModel", dflash, TARGET, layers, rope_is_neox_style=False, sinks=True,
              has_embed_tokens=True, dflash_config=inside | dict(use_swa=True, swa_window_size=5), is_causal=True,
              partial_rotary_factor=0.5),
        *[draft(f"dspark{name}", kind, dspark, QWEN_TARGET, layers | more, **keys) for name, kind, more, keys in (
            ("", "Qwen3DSparkModel", {}, inside | dict(confident=True)),
            ("-draft", "DSparkDraftModel", dict(draft_vocab_size=100), dict(aux_hidden_state_layer_ids=[2, 6], mask_token_id=4)),
            ("-lfm2", "Lfm2DSparkDraftModel", {}, dict(dflash_config=inside, sample_from_anchor=False)),
            ("-ling", "LingDSparkModel", {}, inside | dict(markov_head_type="vanilla")))],
        draft("dspark-speculator", "DSparkSpeculator", dspark, QWEN_TARGET, dict.fromkeys(a.SMALL) | dict(
            draft_vocab_size=100, transformer_layer_config=dict(a.SMALL, head_dim=16, model_type="qwen3", rms_norm_eps=1e-5,
                                                                vocab_size=408, rope_theta=1e6)),
              model_type="speculator_model", aux_hidden_state_layer_ids=[2, 6], mask_token_id=4, rms_norm_eps=...),
        *[draft(name, "Gemma4DSparkModel", gemma4_dspark, TARGET, dict(
            head_dim=16, global_head_dim=32, layer_types=["full_attention"] * 2, attention_k_eq_v=True,
            num_global_key_value_heads=1, tie_word_embeddings=True), model_type="gemma4_dspark", **more)
          for name, more in (("dspark-gemma4", inside), ("dspark-gemma4-plain", dict(dflash_config=inside, rope_parameters=dict(
              full_attention=dict(rope_type="default", rope_theta=1e6)), sample_from_anchor=False)))],
        *[draft(name, kind, assistant, None, dict(text_config=a.GEMMA4 | dict(
            num_kv_shared_layers=3, rms_norm_eps=1e-6, moe_intermediate_size=32)), "llama2", model_type=kind_of_model, backbone_hidden_size=96)
          for name, kind, kind_of_model in (
              ("gemma4-assistant", "Gemma4AssistantForCausalLM", "gemma4_assistant"),
              ("gemma4-assistant-unified", "Gemma4UnifiedAssistantForCausalLM", "gemma4_unified_assistant"))],
    ]
