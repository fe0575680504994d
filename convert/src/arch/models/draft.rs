//! Draft models for speculative decoding that predict a block of tokens at a time: DFlash with its relatives (DSpark). They
//! read hidden states of the model that they draft for, whose vocabulary and some of whose numbers their files carry:
//! `--target-model-dir`.

use gguf::{Array, Value as GgufValue};
use serde_json::{Map, Value};

use super::gemma4::{AROUND, GEMMA4, OWN as GEMMA4_OWN, PER_LAYER, rotation_of_full_layers};
use crate::Result;
use crate::arch::rules::common;
use crate::arch::rules::hooks::TargetVocabulary;
use crate::arch::rules::names::{DECODER, HEAD_NORMS, LAYER, Rule, Transform, copy, exact, exact_with};
use crate::arch::{Activation, Architecture, Graph, Hooks, Hparams, Keys, PLAIN, Rows, Strided, class};

/// The speculators library has the layer's configuration in a map of its own.
pub(super) fn nested_layer(config: &mut Map<String, Value>) {
    if let Some(Value::Object(layer)) = config.get("transformer_layer_config").cloned() {
        config.extend(layer);
    }
}

/// Numbers of layers, each `more` further.
pub(super) fn ids(hp: &Hparams, key: &str, list: &[Value], more: i64) -> Result<Vec<i32>> {
    let id = |v: &Value| v.as_i64().and_then(|n| i32::try_from(n.checked_add(more)?).ok());
    list.iter()
        .map(|v| id(v).ok_or_else(|| hp.error(format!("{key}: found {v}, expected the number of a layer"))))
        .collect()
}

/// DFlash: a block of tokens at a time.
pub(super) static DFLASH: Architecture = Architecture {
    gguf: "dflash",
    classes: &[class("DFlashDraftModel"), class("DFlash2DraftModel")],
    rules: &[DFLASH_RULES, HEAD_NORMS, DECODER],
    hyperparameters: dflash_keys,
    hooks: DFLASH_HOOKS,
    ..PLAIN
};

const DFLASH_HOOKS: Hooks = Hooks {
    canonical: dflash_name,
    target_vocabulary: Some(TargetVocabulary::AsTargets),
    late: |hp, keys| mask_token(hp, keys),
    ..Hooks::NONE
};

/// DSpark: DFlash with a head that sees the token before.
pub(super) static DSPARK: Architecture = Architecture {
    classes: &[
        class("Qwen3DSparkModel"),
        class("DSparkDraftModel"),
        class("DSparkSpeculator"),
        class("Lfm2DSparkDraftModel"),
        class("LingDSparkModel"),
    ],
    rules: &[DSPARK_RULES, DFLASH_RULES, HEAD_NORMS, DECODER],
    hyperparameters: dspark_keys,
    hooks: Hooks {
        prepare: dspark_config,
        canonical: |hp, name| match name.as_str() {
            "t2d" => None,
            // The target's own head is taken.
            "lm_head.weight" | "model.lm_head.weight" if has_whole_vocabulary(hp) => None,
            _ => dflash_name(hp, name),
        },
        ..DFLASH_HOOKS
    },
    ..DFLASH
};

const DFLASH_RULES: &[Rule] = &[
    exact("model.fc.weight", "fc.weight"),
    copy("model.hidden_norm", "enc.output_norm"),
    copy("model.lm_head", "output"),
    LAYER.copy("self_attn.sinks", "attn_sinks"),
    LAYER.copy("self_attn.attention_sink_bias", "attn_sinks"),
    LAYER.copy("self_attn.learnable_sink_param", "attn_sinks"),
    LAYER.rule("self_attn.q_proj", "attn_q", Transform::Rows(halves)),
    LAYER.rule("self_attn.k_proj", "attn_k", Transform::Rows(halves)),
    LAYER.rule("self_attn.q_norm", "attn_q_norm", Transform::Rows(halves)),
    LAYER.rule("self_attn.k_norm", "attn_k_norm", Transform::Rows(halves)),
    LAYER.exact("attention_conv.base_kernel", "attn_conv_base"),
    LAYER.copy("attention_conv.kernel_projection", "attn_conv_proj"),
    LAYER.exact("mlp_conv.base_kernel", "ffn_conv_base"),
    LAYER.copy("mlp_conv.kernel_projection", "ffn_conv_proj"),
    exact(
        "model.candidate_selector.predecessor_codebook",
        "selector_predecessor.weight",
    ),
    exact(
        "model.candidate_selector.successor_codebook",
        "selector_successor.weight",
    ),
    copy("model.candidate_selector.hidden_projection", "selector_hidden"),
];

const DSPARK_RULES: &[Rule] = &[
    copy("model.markov_head.markov_w1", "markov_w1"),
    copy("model.markov_head.markov_w2", "markov_w2"),
    copy("model.confidence_head.proj", "conf_proj"),
    exact_with(
        "model.d2t",
        "d2t",
        Transform::TargetIds(|hp| hp.u32(&["vocab_size"])),
    ),
];

/// All names inside `model`, sinks as weights, and embeddings only where the configuration does not deny them.
fn dflash_name(hp: &Hparams, name: String) -> Option<String> {
    let mut name = match name.starts_with("model.") {
        true => name,
        false => format!("model.{name}"),
    };
    if name.contains("sink") && !name.ends_with(".weight") {
        name.push_str(".weight");
    }
    let denied = hp.opt_bool("has_embed_tokens") == Some(false);
    (!denied || name != "model.embed_tokens.weight").then_some(name)
}

/// Rows of each head whose rotated pairs are neighbours, as the first elements of the pairs, then the second.
fn halves(hp: &Hparams, stored: u64) -> Result<Rows> {
    if hp.opt_bool("rope_is_neox_style") != Some(false) {
        return Ok(Rows::range(0, stored));
    }
    let head = u64::from(hp.u32(&["head_dim"])?);
    if head == 0 || !head.is_multiple_of(2) || !stored.is_multiple_of(head) {
        return Err(hp.error(format!(
            "expected rows that can be divided into heads of {head} rows in pairs, found {stored}"
        )));
    }
    Ok(Rows(vec![Strided::new(
        0,
        &[(stored / head, head), (2, 1), (head / 2, 2)],
    )]))
}

/// A key of `dflash_config`.
fn inside<'h>(hp: &'h Hparams, key: &str) -> Option<&'h Value> {
    hp.find(&["dflash_config"])?.get(key)
}

/// A key of `dflash_config` or, where that has none, of the configuration.
fn either<'h>(hp: &'h Hparams, key: &str) -> Option<&'h Value> {
    inside(hp, key)
        .or_else(|| hp.find(&[key]))
        .filter(|v| !v.is_null())
}

fn mask_token(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    let id = inside(hp, "mask_token_id").filter(|v| !v.is_null());
    let id = id.map(|v| hp.to_u32("mask_token_id", v)).transpose()?;
    if let Some(id) = id {
        keys.set_tokenizer("mask_token_id", id);
    }
    Ok(())
}

fn dflash_keys(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    dflash_keys_with(hp.rope(), hp, keys)
}

/// The same with these parameters of the rotation.
fn dflash_keys_with(rope: &Map<String, Value>, hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    if hp.dir().join("mask_embedding.pt").is_file() {
        return Err(hp.error(
            "mask_embedding.pt: expected no embedding of a mask beside the checkpoint, found one".to_owned(),
        ));
    }
    common::text_model(hp, keys)?;
    common::pooling(hp, keys)?;
    let head = |hp: &Hparams| match hp.opt_u32(&["head_dim"])? {
        Some(head) if head > 0 => Ok(head),
        _ => hp.even_head_dim(),
    };
    if let Some(factor) = rope.get("partial_rotary_factor").filter(|v| !v.is_null()) {
        let factor = factor
            .as_f64()
            .filter(|f| (0.0..=1.0).contains(f))
            .ok_or_else(|| hp.error(format!("partial_rotary_factor: expected 0 to 1, found {factor}")))?;
        keys.set("rope.dimension_count", (f64::from(head(hp)?) * factor) as u32);
    }
    let number = |key: &str, value: Option<&Value>| value.map(|v| hp.to_f32(key, v)).transpose();
    let scale = inside(hp, "attention_value_scale").filter(|v| !v.is_null());
    keys.set_some("attention.value_scale", number("attention_value_scale", scale)?);
    let block = either(hp, "block_size")
        .map(|v| hp.to_u32("block_size", v))
        .transpose()?;
    keys.set("block_size", block.unwrap_or(16));
    if inside(hp, "conv_kernel_size").is_some() {
        for key in [
            "conv_kernel_size",
            "conv_group_size",
            "selector_rank",
            "selector_top_k",
        ] {
            let value = inside(hp, key).unwrap_or(&Value::Null);
            keys.set(key, hp.to_u32(key, value)?);
        }
    }
    let multiplier = either(hp, "output_multiplier");
    keys.set_some("logit_scale", number("output_multiplier", multiplier)?);
    let cap = number("final_logit_softcapping", either(hp, "final_logit_softcapping"))?;
    keys.set_some("final_logit_softcapping", cap.filter(|&c| c > 0.0));
    let scale = either(hp, "input_embedding_scale");
    keys.set_some("embedding_scale", number("input_embedding_scale", scale)?);
    let layers = either(hp, "target_layer_ids").and_then(Value::as_array);
    if let Some(list) = layers.filter(|l| !l.is_empty()) {
        let layers = ids(hp, "target_layer_ids", list, 1)?;
        keys.set("target_layers", GgufValue::Array(Array::I32(layers)));
    }
    windows(hp, keys)?;
    let causal = hp
        .find(&["is_causal"])
        .or_else(|| inside(hp, "causal"))
        .and_then(Value::as_bool);
    keys.set_some("attention.causal", causal);
    if hp.target()?.rope_has("mrope_section") {
        let half = i32::try_from(head(hp)? / 2).unwrap_or(i32::MAX);
        keys.set("rope.dimension_sections", vec![half, 0, 0, 0]);
    }
    Ok(())
}

/// Layers that see a window.
fn windows(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    let is_true = |value: Option<&Value>| value.and_then(Value::as_bool) == Some(true);
    let all = is_true(inside(hp, "use_swa"));
    let number = |v: &&Value| v.as_u64() != Some(0) && !v.is_null();
    let is_used = is_true(hp.find(&["use_sliding_window"]));
    // Qwen3 without the one has none, whatever it says.
    let own = hp
        .find(&["sliding_window"])
        .filter(|_| is_used || hp.opt_str(&["model_type"]) != Some("qwen3"));
    let window = inside(hp, "swa_window_size").filter(number);
    let window = window.or_else(|| own.filter(number));
    let Some(window) = window.filter(|_| all || is_used) else {
        return Ok(());
    };
    let from = |first: u32| (0..hp.block_count()).map(|block| block >= first).collect();
    let slides = match all {
        true => vec![true; hp.block_count() as usize],
        false => match hp.sliding_layers() {
            Some(slides) => slides,
            None => hp.opt_u32(&["max_window_layers"])?.map(from).ok_or_else(|| {
                hp.error("expected a list layer_types beside use_sliding_window, found none".to_owned())
            })?,
        },
    };
    keys.set("attention.sliding_window", hp.to_u32("sliding_window", window)?);
    keys.set(
        "attention.sliding_window_pattern",
        GgufValue::Array(Array::Bool(slides)),
    );
    Ok(())
}

/// Where the configuration says nothing, whether a block is sampled from its anchor: exports of the form of EAGLE-3 are not.
const FROM_ANCHOR: &str = "sample_from_anchor";

/// Brings both forms of DSpark's configuration to DFlash's.
fn dspark_config(config: &mut Map<String, Value>) {
    let of_eagle =
        config.contains_key("transformer_layer_config") || config.contains_key("aux_hidden_state_layer_ids");
    config.entry(FROM_ANCHOR).or_insert(Value::from(!of_eagle));
    nested_layer(config);
    let mut inner = Map::new();
    if let Some(layers) = config.get("aux_hidden_state_layer_ids").and_then(Value::as_array) {
        let before = |v: &Value| {
            v.as_i64()
                .map_or(Value::Null, |n| Value::from(n.saturating_sub(1)))
        };
        inner.insert("target_layer_ids".to_owned(), layers.iter().map(before).collect());
        let mask = config.get("mask_token_id").cloned().unwrap_or(Value::Null);
        inner.insert("mask_token_id".to_owned(), mask);
    } else {
        for key in ["target_layer_ids", "mask_token_id"] {
            if let Some(value) = config.get(key) {
                inner.insert(key.to_owned(), value.clone());
            }
        }
    }
    config.entry("dflash_config").or_insert(Value::Object(inner));
}

/// Whether the draft has a row for every token of the target.
fn has_whole_vocabulary(hp: &Hparams) -> bool {
    let size = |key| hp.find(&[key]).and_then(Value::as_u64).filter(|&n| n > 0);
    size("draft_vocab_size").is_none_or(|n| Some(n) == size("vocab_size"))
}

fn dspark_keys(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    if let Some(kind) = hp
        .opt_str(&["markov_head_type"])
        .filter(|kind| *kind != "vanilla")
    {
        return Err(hp.error(format!("markov_head_type: found {kind:?}, expected \"vanilla\"")));
    }
    let has = |name: &str| (keys.shape)(name).is_some();
    if !has_whole_vocabulary(hp) && !has("d2t") && !has("model.d2t") {
        return Err(hp.error(
            "draft_vocab_size is not vocab_size: expected a tensor d2t with the target's ids, found none"
                .to_owned(),
        ));
    }
    let confidence = ["", "model."].iter().any(|outer| {
        ["weight", "bias"]
            .iter()
            .any(|end| has(&format!("{outer}confidence_head.proj.{end}")))
    });
    dflash_keys(hp, keys)?;
    keys.set("sample_from_anchor", hp.opt_bool(FROM_ANCHOR) == Some(true));
    keys.set("has_confidence_head", confidence);
    Ok(())
}

/// DSpark with the layers of Gemma 4.
pub(super) static GEMMA4_DSPARK: Architecture = Architecture {
    classes: &[class("Gemma4DSparkModel")],
    rules: &[
        GEMMA4_DSPARK_RULES,
        DSPARK_RULES,
        DFLASH_RULES,
        HEAD_NORMS,
        DECODER,
    ],
    hyperparameters: gemma4_dspark_keys,
    generated: |hp| match rope_type(hp) {
        Some("proportional") => Ok(vec![rotation_of_full_layers(hp)?]),
        _ => Ok(Vec::new()),
    },
    graph: Graph::with(Activation::Gelu),
    hooks: Hooks {
        prepare: |config| {
            let given = ["rope_parameters", "rope_scaling"]
                .iter()
                .any(|key| config.get(*key).is_some_and(|v| !v.is_null()));
            if !given {
                let rope = serde_json::json!({"full_attention": {
                    "rope_type": "proportional", "partial_rotary_factor": 0.25, "rope_theta": 1_000_000.0}});
                config.insert("rope_parameters".to_owned(), rope);
            }
        },
        canonical: |hp, name| {
            let name = name.replace("confidence_proj.", "confidence_head.proj.");
            dflash_name(hp, name)
        },
        late: |hp, keys| {
            let id = either(hp, "mask_token_id").ok_or_else(|| {
                hp.error("expected a key mask_token_id, which DSpark needs, found none".to_owned())
            })?;
            keys.set_tokenizer("mask_token_id", hp.to_u32("mask_token_id", id)?);
            Ok(())
        },
        ..DFLASH_HOOKS
    },
    ..DFLASH
};

const GEMMA4_DSPARK_RULES: &[Rule] = &[
    LAYER.copy("post_attention_layernorm", "post_attention_norm"),
    LAYER.copy("pre_feedforward_layernorm", "ffn_norm"),
    LAYER.copy("post_feedforward_layernorm", "post_ffw_norm"),
    LAYER.exact("layer_scalar", "layer_output_scale.weight"),
];

/// The parameters of the rotation, those of layers that see everything.
fn full_rope(hp: &Hparams) -> &Map<String, Value> {
    let rope = hp.rope();
    rope.get("full_attention")
        .and_then(Value::as_object)
        .unwrap_or(rope)
}

fn rope_type(hp: &Hparams) -> Option<&str> {
    full_rope(hp).get("rope_type").and_then(Value::as_str)
}

fn gemma4_dspark_keys(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    let expected = |what: &str| Err(hp.error(format!("a DSpark draft of Gemma 4: expected {what}")));
    let is_true = |key: &str| hp.opt_bool(key) == Some(true);
    if !is_true("attention_k_eq_v") {
        return expected("attention_k_eq_v, as the graph has it");
    }
    let types = hp.strings("layer_types").unwrap_or_default();
    if types.len() != hp.block_count() as usize || types.iter().any(|t| *t != "full_attention") {
        return expected("layer_types of full_attention for every layer");
    }
    if is_true("attention_bias") || is_true("enable_moe_block") {
        return expected("neither attention_bias nor enable_moe_block");
    }
    if !has_whole_vocabulary(hp) {
        return expected("a draft_vocab_size that is vocab_size");
    }
    let kind = either(hp, "markov_head_type")
        .and_then(Value::as_str)
        .unwrap_or("vanilla");
    if kind != "vanilla" {
        return expected("markov_head_type \"vanilla\"");
    }
    if !matches!(rope_type(hp), Some("default" | "proportional")) {
        return expected("rope_type \"default\" or \"proportional\"");
    }
    if hp
        .opt_f32(&["final_logit_softcapping"])?
        .is_some_and(|c| c != 0.0)
    {
        return expected("no final_logit_softcapping");
    }
    let has = |name: &str| (keys.shape)(name).is_some();
    let has_head = has("lm_head.weight") || has("model.lm_head.weight");
    if !has_head && !is_true("tie_word_embeddings") {
        return expected("lm_head.weight, or tie_word_embeddings");
    }
    let confidence = ["", "model."].iter().any(|outer| {
        ["confidence_head.proj", "confidence_proj"]
            .iter()
            .any(|name| has(&format!("{outer}{name}.weight")) || has(&format!("{outer}{name}.bias")))
    });
    dflash_keys_with(full_rope(hp), hp, keys)?;
    let head = hp.u32(&["global_head_dim"])?;
    keys.set(
        "attention.head_count_kv",
        hp.u32(&["num_global_key_value_heads"])?,
    );
    keys.set("attention.key_length", head);
    keys.set("attention.value_length", head);
    keys.set("rope.dimension_count", head);
    keys.set(
        "embedding_scale",
        f64::from(hp.u32(&["hidden_size"])?).sqrt() as f32,
    );
    keys.set("attention.scale", 1.0f32);
    keys.set("hidden_activation", "gelu_pytorch_tanh");
    keys.set("sample_from_anchor", hp.opt_bool(FROM_ANCHOR).unwrap_or(true));
    if either(hp, "target_layer_ids")
        .and_then(Value::as_array)
        .is_none_or(Vec::is_empty)
    {
        return expected("target_layer_ids");
    }
    keys.set("has_confidence_head", confidence);
    Ok(())
}

/// The assistants of Gemma 4, which predict from the states of their target.
pub(super) static GEMMA4_ASSISTANT: Architecture = Architecture {
    gguf: "gemma4-assistant",
    classes: &[
        class("Gemma4AssistantForCausalLM"),
        class("Gemma4UnifiedAssistantForCausalLM"),
    ],
    rules: &[ASSISTANT, GEMMA4_OWN, PER_LAYER, AROUND, HEAD_NORMS, DECODER],
    hyperparameters: |hp, keys| {
        (GEMMA4.hyperparameters)(hp, keys)?;
        keys.set("embedding_length_out", hp.u32(&["backbone_hidden_size"])?);
        keys.set("nextn_predict_layers", hp.block_count());
        Ok(())
    },
    hooks: Hooks {
        canonical: |_, name| (!name.contains("masked_embedding")).then_some(name),
        ..Hooks::NONE
    },
    ..GEMMA4
};

const ASSISTANT: &[Rule] = &[
    copy("pre_projection", "nextn.pre_projection"),
    copy("post_projection", "nextn.post_projection"),
    copy("model.pre_projection", "nextn.pre_projection"),
    copy("model.post_projection", "nextn.post_projection"),
];

/// Muse Glimmer's assistant: DFlash under the names that `transformers` gives it.
pub(super) static MUSE_GLIMMER_ASSISTANT: Architecture = Architecture {
    classes: &[class("MuseGlimmerAssistantModel")],
    rules: &[ASSISTANT_RULES, HEAD_NORMS, DECODER],
    hyperparameters: |hp, keys| {
        common::text_model(hp, keys)?;
        keys.set("block_size", hp.u32(&["block_size"])?);
        let layers = hp.find(&["target_layer_ids"]).and_then(Value::as_array);
        let layers = layers.ok_or_else(|| hp.missing(&["target_layer_ids"]))?;
        let layers = ids(hp, "target_layer_ids", layers, 1)?;
        keys.set("target_layers", GgufValue::Array(Array::I32(layers)));
        let window = hp.opt_u32(&["sliding_window"])?.filter(|&n| n > 0);
        if let (Some(window), Some(slides)) = (window, hp.sliding_layers()) {
            keys.set("attention.sliding_window", window);
            keys.set(
                "attention.sliding_window_pattern",
                GgufValue::Array(Array::Bool(slides)),
            );
        }
        Ok(())
    },
    hooks: Hooks {
        canonical: |_, name| {
            let outer = ["layers.", "norm."].iter().any(|part| name.starts_with(part));
            Some(if outer { format!("model.{name}") } else { name })
        },
        late: |hp, keys| {
            if let Some(id) = hp.opt_u32(&["mask_token_id"])? {
                keys.set_tokenizer("mask_token_id", id);
            }
            Ok(())
        },
        ..DFLASH_HOOKS
    },
    ..DFLASH
};

const ASSISTANT_RULES: &[Rule] = &[
    exact("encoder.fc.weight", "fc.weight"),
    copy("encoder.output_norm_enc", "enc.output_norm"),
];
