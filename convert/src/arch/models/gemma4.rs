//! Gemma 4, the text model: sliding layers with heads of their own, the latest layers on earlier ones' keys and values.

use gguf::{Array, Value as GgufValue};
use serde_json::Value;

use super::gemma::gemma3_keys;
use crate::Result;
use crate::arch::rules::names::{DECODER, HEAD_NORMS, LAYER, Rule, Transform, copy, rule};
use crate::arch::rules::selection::Selection;
use crate::arch::{Activation, Architecture, Generated, Graph, Hparams, Keys, PLAIN, class};
use crate::tokenizer::{VocabKind, VocabRequest};

pub(super) static GEMMA4: Architecture = Architecture {
    gguf: "gemma4",
    classes: &[
        class("Gemma4ForConditionalGeneration"),
        class("Gemma4ForCausalLM"),
    ],
    rules: &[OWN, PER_LAYER, AROUND, HEAD_NORMS, DECODER],
    hyperparameters,
    generated: |hp| Ok(vec![rotation_of_full_layers(hp)?]),
    vocabulary: |_| VocabRequest::new(&[VocabKind::Gemma4]),
    graph: Graph::with(Activation::Gelu),
    ..PLAIN
};

/// The model that reads images and sound without encoders of their own.
pub(super) static GEMMA4_UNIFIED: Architecture = Architecture {
    gguf: "gemma4",
    classes: &[class("Gemma4UnifiedForConditionalGeneration")],
    hyperparameters: |hp, keys| {
        hyperparameters(hp, keys)?;
        suppressed_tokens(hp, keys)
    },
    ..GEMMA4
};

pub(super) const OWN: &[Rule] = &[
    rule(
        "model.embed_tokens",
        "token_embd",
        Transform::Selected(Selection::KnownTokens),
    ),
    LAYER.exact("layer_scalar", "layer_output_scale.weight"),
    LAYER.copy("router.proj", "ffn_gate_inp"),
    LAYER.exact("router.scale", "ffn_gate_inp.scale"),
    LAYER.exact("router.per_expert_scale", "ffn_down_exps.scale"),
    LAYER.exact("experts.gate_up_proj", "ffn_gate_up_exps.weight"),
    LAYER.exact("experts.down_proj", "ffn_down_exps.weight"),
    LAYER.copy("pre_feedforward_layernorm_2", "pre_ffw_norm_2"),
    LAYER.copy("post_feedforward_layernorm_1", "post_ffw_norm_1"),
    LAYER.copy("post_feedforward_layernorm_2", "post_ffw_norm_2"),
];

/// Norms on both sides of each half.
pub(super) const AROUND: &[Rule] = &[
    LAYER.copy("post_attention_layernorm", "post_attention_norm"),
    LAYER.copy("pre_feedforward_layernorm", "ffn_norm"),
    LAYER.copy("post_feedforward_layernorm", "post_ffw_norm"),
];

/// Further inputs of each layer.
pub(super) const PER_LAYER: &[Rule] = &[
    copy("model.embed_tokens_per_layer", "per_layer_token_embd"),
    copy("model.per_layer_model_projection", "per_layer_model_proj"),
    copy("model.per_layer_projection_norm", "per_layer_proj_norm"),
    LAYER.copy("per_layer_input_gate", "inp_gate"),
    LAYER.copy("per_layer_projection", "proj"),
    LAYER.copy("post_per_layer_input_norm", "post_norm"),
];

/// A number of the layers that see everything: under a key of its own, or the first such layer's in
/// `per_layer_config`.
fn of_full_layers(hp: &Hparams, own: &str, inside: &str) -> Result<Option<u32>> {
    if let Some(number) = hp.opt_u32(&[own])? {
        return Ok(Some(number));
    }
    let types = hp.strings("layer_types").unwrap_or_default();
    let layers = hp.find(&["per_layer_config"]).and_then(Value::as_object);
    let full = |number: &str| {
        let at = number.parse::<usize>().ok();
        at.and_then(|at| types.get(at)) == Some(&"full_attention")
    };
    let found = layers.and_then(|l| l.iter().find_map(|(n, c)| full(n).then(|| c.get(inside))?));
    found.map(|value| hp.to_u32(inside, value)).transpose()
}

/// Elements of a head in a layer that sees everything.
fn full_head(hp: &Hparams) -> Result<u32> {
    of_full_layers(hp, "global_head_dim", "head_dim")?.ok_or_else(|| {
        hp.error("expected a key global_head_dim, or one in per_layer_config, found neither".to_owned())
    })
}

/// Largest head dimension accepted.
const MAX_HEAD: u32 = 1 << 16;
/// A divisor that stops a rotation.
const STILL: f32 = 1e30;

/// Only the first pairs of such a head are rotated.
pub(super) fn rotation_of_full_layers(hp: &Hparams) -> Result<Generated> {
    let head = full_head(hp)?;
    let rope = hp.rope().get("full_attention");
    let kind = rope.and_then(|r| r.get("rope_type")).and_then(Value::as_str);
    let factor = rope
        .and_then(|r| r.get("partial_rotary_factor"))
        .and_then(Value::as_f64);
    let Some(factor) = factor.filter(|f| kind == Some("proportional") && (0.0..=1.0).contains(f)) else {
        return Err(hp.error(
            "rope_parameters: expected full_attention with rope_type proportional and a partial_rotary_factor, found another"
                .to_owned(),
        ));
    };
    if head > MAX_HEAD {
        return Err(hp.error(format!(
            "expected heads of at most {MAX_HEAD} elements, found {head}"
        )));
    }
    let turned = (f64::from(head) * factor / 2.0) as usize;
    let mut values = vec![1.0; turned];
    values.resize(head as usize / 2, STILL);
    Ok(Generated {
        name: "rope_freqs.weight",
        values,
    })
}

fn hyperparameters(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    gemma3_keys(hp, keys)?;
    let shared = hp.u32(&["num_kv_shared_layers"])?;
    keys.set("attention.shared_kv_layers", shared);
    let width = hp.opt_u32(&["hidden_size_per_layer_input"])?.unwrap_or(0);
    keys.set("embedding_length_per_layer_input", width);
    let sliding = hp
        .sliding_layers()
        .ok_or_else(|| hp.error("expected a list layer_types, found none".to_owned()))?;
    keys.set(
        "attention.sliding_window_pattern",
        GgufValue::Array(Array::Bool(sliding.clone())),
    );
    let (full, local) = (full_head(hp)?, hp.u32(&["head_dim"])?);
    keys.set("attention.key_length", full);
    keys.set("attention.value_length", full);
    keys.set("attention.key_length_swa", local);
    keys.set("attention.value_length_swa", local);
    keys.set_some(
        "expert_feed_forward_length",
        hp.opt_u32(&["expert_intermediate_size", "moe_intermediate_size"])?,
    );
    if hp.opt_bool("use_double_wide_mlp") == Some(true) {
        let first_shared = hp.block_count().saturating_sub(shared);
        let (once, twice) = (
            hp.u32(&["intermediate_size"])?,
            hp.times(2, &["intermediate_size"])?,
        );
        let width = |layer: u32| if layer < first_shared { once } else { twice };
        keys.set(
            "feed_forward_length",
            counts(hp, (0..hp.block_count()).map(width))?,
        );
    }
    let heads = of_full_layers(hp, "num_global_key_value_heads", "num_key_value_heads")?;
    if let (Some(full), Some(local)) = (heads, hp.opt_u32(&["num_key_value_heads"])?) {
        let heads = sliding.iter().map(|&slides| if slides { local } else { full });
        keys.set("attention.head_count_kv", counts(hp, heads)?);
    }
    let factor = hp.partial_rotary_factor()?.unwrap_or(1.0);
    keys.set("rope.dimension_count", full);
    keys.set("rope.dimension_count_swa", (f64::from(local) * factor) as u32);
    Ok(())
}

/// Numbers of layers as the stock converter writes them.
fn counts(hp: &Hparams, numbers: impl Iterator<Item = u32>) -> Result<GgufValue> {
    let signed = numbers
        .map(|n| i32::try_from(n).map_err(|_| hp.error(format!("expected a number of 31 bits, found {n}"))));
    Ok(GgufValue::Array(Array::I32(signed.collect::<Result<_>>()?)))
}

/// Tokens that are never to be made, from `generation_config.json`.
fn suppressed_tokens(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    let path = keys.dir.join("generation_config.json");
    if !path.is_file() {
        return Ok(());
    }
    let config = crate::json::read_object(&path)?;
    let Some(tokens) = config.get("suppress_tokens").and_then(Value::as_array) else {
        return Ok(());
    };
    let id = |v: &Value| Ok(i32::try_from(hp.to_u32("suppress_tokens", v)?).unwrap_or(i32::MAX));
    let ids = tokens.iter().map(id).collect::<Result<Vec<i32>>>()?;
    keys.set_tokenizer("suppress_tokens", ids);
    Ok(())
}
