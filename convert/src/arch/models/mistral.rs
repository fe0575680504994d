//! Models in Mistral's own layout: `params.json` and tensors under Mistral's names, which are in ggml's order already.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::deepseek::{UNADAPTED, key_part, latent_keys, value_part};
use crate::arch::encoders::{CLIP, convolution};
use crate::arch::rules::common;
use crate::arch::rules::names::{Rule, Scope, Transform, copy, exact_with, rule};
use crate::arch::{Architecture, Class, Graph, Hooks, Hparams, Keys, PLAIN, View, class};
use crate::tokenizer::{VocabRequest, VocabStep, tekken_special_id};
use crate::{Error, Result};

/// The name of such a model in messages.
static MODEL: Class = class("MistralForCausalLM in Mistral's own layout");
static ENCODER: Class = class("Pixtral encoder in Mistral's own layout");

/// The key of the encoder's configuration.
const VISION: &str = "vision_encoder";

/// The parts that a directory is converted by.
pub(crate) struct Native {
    pub(crate) architecture: &'static Architecture,
    pub(crate) class: &'static Class,
    /// `params.json` with the keys that others know it by.
    pub(crate) config: Map<String, Value>,
    /// Whether there is more than the text model.
    pub(crate) is_part: bool,
    /// A remark for the user.
    pub(crate) warning: Option<String>,
}

/// Positions of a model whose file does not say how many it was trained for. llama.cpp loads no file without a number.
const POSITIONS: u64 = 128_000;

/// The architecture of a `params.json`: of its text model, or of its image encoder.
///
/// # Errors
/// A mixture without latent attention, which llama.cpp knows under transformers' names alone; a quantization that is
/// not known; no encoder where one is wanted.
pub(crate) fn of_params(path: &Path, params: &Map<String, Value>, encoder: bool) -> Result<Native> {
    let fail = |message: String| Error::input(path, message);
    let is_part = params.get(VISION).is_some_and(Value::is_object);
    if encoder {
        let Some(vision) = params.get(VISION).and_then(Value::as_object) else {
            return Err(fail(format!(
                "expected {VISION}, found none: this model reads no images"
            )));
        };
        let mut config = vision.clone();
        for (key, whole) in [("norm_eps", "norm_eps"), ("text_hidden_size", "dim")] {
            if let Some(value) = params.get(whole) {
                config.insert(key.to_owned(), value.clone());
            }
        }
        return Ok(Native {
            architecture: &PIXTRAL,
            class: &ENCODER,
            config,
            is_part,
            warning: None,
        });
    }
    let mut config = params.clone();
    let warning = positions(&mut config);
    let tied = params.get("tied_embeddings").cloned();
    config.insert(
        "tie_word_embeddings".to_owned(),
        tied.unwrap_or_else(|| false.into()),
    );
    if let Some(activation) = params.get("activation") {
        config.insert("hidden_act".to_owned(), activation.clone());
    }
    // Where the width of a head is computed, it is from this.
    if let Some(width) = params.get("dim") {
        config.insert("hidden_size".to_owned(), width.clone());
    }
    let architecture = match params.get("moe").filter(|moe| !moe.is_null()) {
        Some(moe) => {
            let moe = moe
                .as_object()
                .ok_or_else(|| fail(format!("moe: expected an object, found {moe}")))?;
            if !config.contains_key("qk_rope_head_dim") {
                return Err(fail(
                    "moe: expected latent attention beside the experts (kv_lora_rank, qk_rope_head_dim), found none; \
                     convert the same model in transformers' layout"
                        .to_owned(),
                ));
            }
            mixture(&mut config, moe);
            &MIXTURE
        }
        None if params.get("llama_4_scaling").is_some() => &MISTRAL3,
        None => &LLAMA,
    };
    Ok(Native {
        architecture,
        class: &MODEL,
        config,
        is_part,
        warning,
    })
}

/// Completes a configuration that does not say how many positions there are in the word that is converted.
fn positions(config: &mut Map<String, Value>) -> Option<String> {
    let key = "max_position_embeddings";
    if config.contains_key(key) {
        return None;
    }
    let (length, warning) = match config.get("max_seq_len") {
        Some(length) => (length.clone(), None),
        None => (
            Value::from(POSITIONS),
            Some(format!(
                "params.json has neither {key} nor max_seq_len: {POSITIONS} is written as the context length"
            )),
        ),
    };
    config.insert(key.to_owned(), length);
    warning
}

/// The contents of `quantization`, in the words that other layouts have for it.
///
/// # Errors
/// A format that is not known.
pub(crate) fn quantization(path: &Path, params: &Map<String, Value>) -> Result<Option<Value>> {
    let Some(given) = params.get("quantization").filter(|q| !q.is_null()) else {
        return Ok(None);
    };
    if given.get("quant_method").is_some() {
        return Ok(Some(given.clone()));
    }
    match given.get("qformat_weight").and_then(Value::as_str) {
        Some("fp8_e4m3") => Ok(Some(json!({"quant_method": "fp8"}))),
        _ => Err(Error::input(
            path,
            format!("quantization: expected qformat_weight fp8_e4m3, found {given}"),
        )),
    }
}

/// The configuration of a mixture in DeepSeek's words.
fn mixture(config: &mut Map<String, Value>, moe: &Map<String, Value>) {
    let copied = |config: &mut Map<String, Value>, from: &str, to: &str| {
        if let Some(value) = config.get(from).cloned() {
            config.insert(to.to_owned(), value);
        }
    };
    for (from, to) in [
        ("dim", "hidden_size"),
        ("norm_eps", "rms_norm_eps"),
        ("n_kv_heads", "num_key_value_heads"),
        ("n_layers", "num_hidden_layers"),
        ("n_heads", "num_attention_heads"),
        ("hidden_dim", "intermediate_size"),
    ] {
        copied(config, from, to);
    }
    for (from, to) in [
        ("route_every_n", "moe_layer_freq"),
        ("first_k_dense_replace", "first_k_dense_replace"),
        ("num_experts_per_tok", "num_experts_per_tok"),
        ("num_experts", "n_routed_experts"),
        ("expert_hidden_dim", "moe_intermediate_size"),
        ("routed_scale", "routed_scaling_factor"),
        ("num_shared_experts", "n_shared_experts"),
        ("num_expert_groups", "n_group"),
        ("num_expert_groups_per_tok", "topk_group"),
    ] {
        if let Some(value) = moe.get(from) {
            config.insert(to.to_owned(), value.clone());
        }
    }
    config.insert("norm_topk_prob".to_owned(), true.into());
    config.insert("scoring_func".to_owned(), "softmax".into());
}

/// Mistral and Mistral Small to 3.2.
static LLAMA: Architecture = Architecture {
    gguf: "llama",
    rules: &[DECODER],
    hyperparameters: |hp, keys| {
        common::text_model(hp, keys)?;
        keys.set("rope.dimension_count", hp.head_dim()?);
        scaling(hp, keys)
    },
    vocabulary: |_| VocabRequest::of([VocabStep::ReadMistral]),
    graph: Graph::SILU,
    ..PLAIN
};

/// Ministral 3: queries grow with the context.
static MISTRAL3: Architecture = Architecture {
    gguf: "mistral3",
    ..LLAMA
};

/// Mistral Large 3: DeepSeek's attention and experts.
static MIXTURE: Architecture = Architecture {
    gguf: "deepseek2",
    rules: &[LATENT, DECODER],
    hyperparameters: |hp, keys| {
        latent_keys(hp, keys)?;
        scaling(hp, keys)?;
        let length = hp.inside("yarn", "original_max_position_embeddings")?;
        let length = hp.to_u32("yarn.original_max_position_embeddings", length)?;
        keys.set("attention.temperature_length", length);
        // Of this architecture a tenth of the multiplier, which is 1.
        keys.set("rope.scaling.yarn_log_multiplier", 0.1f32);
        Ok(())
    },
    hooks: Hooks {
        unadapted: UNADAPTED,
        ..Hooks::NONE
    },
    ..LLAMA
};

/// The encoder of Pixtral and of Mistral Small from 3.1 on.
static PIXTRAL: Architecture = Architecture {
    gguf: CLIP,
    rules: &[ENCODER_RULES],
    hyperparameters: encoder_keys,
    hooks: Hooks {
        canonical: |_, name| {
            let is_own = [
                "vision_encoder.",
                "vision_language_adapter.",
                "patch_merger.",
                "pre_mm_projector_norm",
            ]
            .iter()
            .any(|prefix| name.starts_with(prefix));
            (is_own || name == EMBEDDING).then_some(name)
        },
        force: |_, name, ty| convolution(name, ty),
        ..Hooks::NONE
    },
    ..PLAIN
};

const VISION_BLOCK: Scope = Scope::new("vision_encoder.transformer.layers.{}", "v.blk.{}");

const DECODER: &[Rule] = &[
    copy("tok_embeddings", "token_embd"),
    copy("norm", "output_norm"),
    copy("output", "output"),
    copy("layers.{}.attention_norm", "blk.{}.attn_norm"),
    copy("layers.{}.attention.wq", "blk.{}.attn_q"),
    copy("layers.{}.attention.wk", "blk.{}.attn_k"),
    copy("layers.{}.attention.wv", "blk.{}.attn_v"),
    copy("layers.{}.attention.wo", "blk.{}.attn_output"),
    copy("layers.{}.ffn_norm", "blk.{}.ffn_norm"),
    copy("layers.{}.feed_forward.w1", "blk.{}.ffn_gate"),
    copy("layers.{}.feed_forward.w2", "blk.{}.ffn_down"),
    copy("layers.{}.feed_forward.w3", "blk.{}.ffn_up"),
];

const LATENT: &[Rule] = &[
    copy("layers.{}.attention.wq_a", "blk.{}.attn_q_a"),
    copy("layers.{}.attention.q_a_norm", "blk.{}.attn_q_a_norm"),
    copy("layers.{}.attention.wq_b", "blk.{}.attn_q_b"),
    copy("layers.{}.attention.wkv_a_with_mqa", "blk.{}.attn_kv_a_mqa"),
    copy("layers.{}.attention.kv_a_norm", "blk.{}.attn_kv_a_norm"),
    exact_with(
        "layers.{}.attention.wkv_b.weight",
        "blk.{}.attn_k_b.weight",
        Transform::View(key_part, None),
    ),
    exact_with(
        "layers.{}.attention.wkv_b.weight",
        "blk.{}.attn_v_b.weight",
        Transform::View(value_part, None),
    ),
    copy("layers.{}.gate", "blk.{}.ffn_gate_inp"),
    rule(
        "layers.{}.experts.{e}.w2",
        "blk.{}.ffn_down_exps",
        Transform::Expert,
    ),
    rule(
        "layers.{}.experts.{e}.w1",
        "blk.{}.ffn_gate_exps",
        Transform::Expert,
    ),
    rule(
        "layers.{}.experts.{e}.w3",
        "blk.{}.ffn_up_exps",
        Transform::Expert,
    ),
    copy("layers.{}.shared_experts.w1", "blk.{}.ffn_gate_shexp"),
    copy("layers.{}.shared_experts.w2", "blk.{}.ffn_down_shexp"),
    copy("layers.{}.shared_experts.w3", "blk.{}.ffn_up_shexp"),
];

/// The text model's embeddings, of which the encoder has one row.
const EMBEDDING: &str = "tok_embeddings.weight";

const ENCODER_RULES: &[Rule] = &[
    exact_with(
        EMBEDDING,
        "v.token_embd.img_break",
        Transform::View(break_row, None),
    )
    .in_part(),
    copy("vision_encoder.patch_conv", "v.patch_embd"),
    copy("vision_encoder.ln_pre", "v.pre_ln"),
    VISION_BLOCK.copy("attention_norm", "ln1"),
    VISION_BLOCK.copy("attention.wq", "attn_q"),
    VISION_BLOCK.copy("attention.wk", "attn_k"),
    VISION_BLOCK.copy("attention.wv", "attn_v"),
    VISION_BLOCK.copy("attention.wo", "attn_out"),
    VISION_BLOCK.copy("ffn_norm", "ln2"),
    VISION_BLOCK.copy("feed_forward.w1", "ffn_gate"),
    VISION_BLOCK.copy("feed_forward.w2", "ffn_down"),
    VISION_BLOCK.copy("feed_forward.w3", "ffn_up"),
    copy("pre_mm_projector_norm", "mm.input_norm"),
    copy("patch_merger.merging_layer", "mm.patch_merger"),
    copy("vision_language_adapter.w_in", "mm.1"),
    copy("vision_language_adapter.w_out", "mm.2"),
];

/// YaRN, and how queries grow with the context.
fn scaling(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    if let Some(yarn) = hp.find(&["yarn"]) {
        let inside = |key: &str| hp.inside("yarn", key);
        let number = |key: &str| hp.to_f32(&format!("yarn.{key}"), inside(key)?);
        let applied = inside("apply_scale")?.as_bool();
        let applied = applied
            .ok_or_else(|| hp.error(format!("yarn: apply_scale: expected true or false, found {yarn}")))?;
        keys.set("rope.scaling.type", "yarn");
        keys.set("rope.scaling.factor", number("factor")?);
        keys.set("rope.scaling.yarn_beta_fast", number("beta")?);
        keys.set("rope.scaling.yarn_beta_slow", number("alpha")?);
        keys.set(
            "rope.scaling.yarn_log_multiplier",
            if applied { 0.0f32 } else { 1.0 },
        );
        let length = inside("original_max_position_embeddings")?;
        let length = hp.to_u32("yarn.original_max_position_embeddings", length)?;
        keys.set("rope.scaling.original_context_length", length);
    }
    if hp.find(&["llama_4_scaling"]).is_some() {
        let beta = hp.to_f32("llama_4_scaling.beta", hp.inside("llama_4_scaling", "beta")?)?;
        keys.set("attention.temperature_scale", beta);
    }
    Ok(())
}

/// The token between two rows of an image.
const BREAK: &str = "[IMG_BREAK]";

/// The row of [`BREAK`] in the text model's embeddings, as a vector.
fn break_row(hp: &Hparams, view: View) -> Result<Option<View>> {
    let key = "image_break_token_id";
    let given = hp
        .find(&[key])
        .ok_or_else(|| hp.error(format!("{VISION}: expected a key {key}, found none")))?;
    // Some files have -1, and their vocabulary knows it.
    let id = match given.as_i64() {
        Some(id) if id < 0 => tekken_special_id(hp.dir(), BREAK)?.ok_or_else(|| {
            hp.error(format!(
                "{key}: expected the id of a special token {BREAK} of the vocabulary, found {id}"
            ))
        })?,
        _ => hp.to_u32(key, given)?.into(),
    };
    Ok(view.cut(0, id, 1).and_then(|v| v.without(0)))
}

/// The mean and the deviation of the colours that images are normalized by, in `mistral-common`.
const MEAN: [f32; 3] = [0.481_454_66, 0.457_827_5, 0.408_210_73];
const DEVIATION: [f32; 3] = [0.268_629_54, 0.261_302_6, 0.275_777_1];

fn encoder_keys(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    keys.set_file_type();
    keys.set("has_vision_encoder", true);
    keys.set("vision.projection_dim", hp.u32(&["text_hidden_size"])?);
    keys.set("vision.image_size", hp.u32(&["image_size"])?);
    keys.set("vision.patch_size", hp.u32(&["patch_size"])?);
    keys.set("vision.embedding_length", hp.u32(&["hidden_size"])?);
    keys.set("vision.feed_forward_length", hp.u32(&["intermediate_size"])?);
    keys.set("vision.block_count", hp.block_count());
    keys.set("vision.attention.head_count", hp.u32(&["num_attention_heads"])?);
    keys.set("vision.image_mean", MEAN.to_vec());
    keys.set("vision.image_std", DEVIATION.to_vec());
    keys.set("projector_type", "pixtral");
    keys.set("vision.attention.layer_norm_epsilon", hp.f32(&["norm_eps"])?);
    keys.set("rope.freq_base", hp.f32(&["rope_theta"])?);
    keys.set("use_silu", true);
    if hp.opt_str(&["mm_projector_id"]) == Some("patch_merge") {
        keys.set("vision.spatial_merge_size", hp.u32(&["spatial_merge_size"])?);
    }
    Ok(())
}
