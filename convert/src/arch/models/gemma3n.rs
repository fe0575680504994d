//! Gemma 3n, the text model: four copies of the state side by side, gates of which only the largest count, vectors for
//! each layer, the latest layers on earlier ones' keys and values.

use gguf::{Array, Value as GgufValue};
use serde_json::{Map, Value};

use super::gemma::{GEMMA3_VOCABULARY, gemma3_keys};
use super::gemma4::{AROUND, PER_LAYER};
use crate::Result;
use crate::arch::rules::names::{DECODER, HEAD_NORMS, LAYER, Rule, Transform, rule};
use crate::arch::rules::quantile::normal_quantile;
use crate::arch::{Activation, Architecture, Graph, Hooks, Hparams, Keys, ModelType, PLAIN, class};
use crate::tokenizer::{VocabRequest, VocabStep};

pub(super) static GEMMA3N: Architecture = Architecture {
    gguf: "gemma3n",
    classes: &[
        class("Gemma3nForCausalLM"),
        class("Gemma3nForConditionalGeneration"),
    ],
    rules: &[OWN, PER_LAYER, AROUND, HEAD_NORMS, DECODER],
    hyperparameters,
    vocabulary: |config| {
        // The rows of the vectors for each layer, of which images and sound have none.
        let ignored = VocabStep::IgnoredSize("vocab_size_per_layer_input");
        VocabRequest::of([ignored]).and(GEMMA3_VOCABULARY.request(config).steps)
    },
    model_types: &[&TYPE],
    graph: Graph::with(Activation::Gelu),
    hooks: Hooks {
        prepare,
        notes,
        ..Hooks::NONE
    },
    ..PLAIN
};

const OWN: &[Rule] = &[
    rule("model.embed_tokens", "token_embd", Transform::PadRows(tokens)),
    rule(
        "model.embed_tokens_per_layer",
        "per_layer_token_embd",
        Transform::PadRows(tokens),
    ),
    // The embedding is the output matrix.
    rule("lm_head", "output", Transform::Copy),
    rule(
        "model.altup_projections.{e}",
        "altup_proj",
        Transform::Numbered(further_copies),
    ),
    rule(
        "model.altup_unembed_projections.{e}",
        "altup_unembd_proj",
        Transform::Numbered(further_copies),
    ),
    LAYER.copy("altup.correction_coefs", "altup_correct_coef"),
    LAYER.copy("altup.prediction_coefs", "altup_predict_coef"),
    LAYER.copy("altup.modality_router", "altup_router"),
    LAYER.copy("altup.router_norm", "altup_router_norm"),
    LAYER.exact("altup.correct_output_scale", "altup_correct_scale.weight"),
    LAYER.copy("laurel.linear_left", "laurel_l"),
    LAYER.copy("laurel.linear_right", "laurel_r"),
    LAYER.copy("laurel.post_laurel_norm", "laurel_post_norm"),
];

/// Copies of the state.
const COPIES: u32 = 4;

fn further_copies(hp: &Hparams) -> Result<u32> {
    let found = hp.u32(&["altup_num_inputs"])?;
    match found == COPIES {
        true => Ok(COPIES - 1),
        false => Err(hp.error(format!("altup_num_inputs: expected {COPIES}, found {found}"))),
    }
}

fn tokens(hp: &Hparams) -> Result<u64> {
    /// Most tokens of a vocabulary.
    const MOST: u32 = 1 << 22;
    let found = hp.u32(&["vocab_size"])?;
    match found <= MOST {
        true => Ok(found.into()),
        false => Err(hp.error(format!("vocab_size: expected at most {MOST}, found {found}"))),
    }
}

/// Layers of which a given share of the gates is cut off.
const SPARSE_LAYERS: usize = 10;
/// Layers with keys and values of their own, of which llama.cpp has the number fixed.
const OWN_KEYS: u32 = 20;

/// Sets keys that follow from others where the configuration leaves them out.
fn prepare(config: &mut Map<String, Value>) {
    let Some(layers) = config.get("num_hidden_layers").and_then(Value::as_u64) else {
        return;
    };
    // A limit beyond which the number is refused elsewhere.
    let layers = layers.min(1 << 16) as usize;
    let is_missing = |config: &Map<String, Value>, key: &str| config.get(key).is_none_or(Value::is_null);
    if is_missing(config, "layer_types") {
        let kind = |i: usize| match (i + 1).is_multiple_of(5) {
            true => "full_attention",
            false => "sliding_attention",
        };
        config.insert("layer_types".to_owned(), (0..layers).map(kind).collect());
    }
    if is_missing(config, "activation_sparsity_pattern") {
        let sparse = if layers > SPARSE_LAYERS { SPARSE_LAYERS } else { 0 };
        let share = |i: usize| if i < sparse { 0.95 } else { 0.0 };
        config.insert(
            "activation_sparsity_pattern".to_owned(),
            (0..layers).map(share).collect(),
        );
    }
    if let Some(width @ Value::Number(_)) = config.get("intermediate_size") {
        let each = vec![width.clone(); layers];
        config.insert("intermediate_size".to_owned(), each.into());
    }
}

fn hyperparameters(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    gemma3_keys(hp, keys)?;
    keys.set("altup.active_idx", hp.u32(&["altup_active_idx"])?);
    keys.set("altup.num_inputs", further_copies(hp)? + 1);
    keys.set(
        "embedding_length_per_layer_input",
        hp.u32(&["hidden_size_per_layer_input"])?,
    );
    keys.set("attention.shared_kv_layers", hp.u32(&["num_kv_shared_layers"])?);
    let deviations: Vec<f32> = shares(hp)?.into_iter().map(deviations_above).collect();
    keys.set(
        "activation_sparsity_scale",
        GgufValue::Array(Array::F32(deviations)),
    );
    let sliding = hp
        .sliding_layers()
        .ok_or_else(|| hp.error("expected a list layer_types, found none".to_owned()))?;
    keys.set(
        "attention.sliding_window_pattern",
        GgufValue::Array(Array::Bool(sliding)),
    );
    Ok(())
}

/// The share of the gates that is cut off, for each layer.
fn shares(hp: &Hparams) -> Result<Vec<f32>> {
    const KEY: &str = "activation_sparsity_pattern";
    let list = hp.find(&[KEY]).and_then(Value::as_array);
    let list = list.ok_or_else(|| hp.error(format!("expected a list {KEY}, found none")))?;
    let share = |value: &Value| match hp.to_f32(KEY, value)? {
        share if (0.0..=1.0).contains(&share) => Ok(share),
        other => Err(hp.error(format!("{KEY}: expected shares from 0 to 1, found {other}"))),
    };
    list.iter().map(share).collect()
}

/// Parts that llama.cpp has fixed and this model has otherwise.
fn notes(hp: &Hparams) -> Result<Vec<String>> {
    let mut notes = Vec::new();
    let blocks = hp.block_count();
    let own = blocks.saturating_sub(hp.u32(&["num_kv_shared_layers"])?);
    if own != OWN_KEYS.min(blocks) {
        notes.push(format!(
            "llama.cpp does not read num_kv_shared_layers: it gives the first {OWN_KEYS} layers keys and values of their \
             own, this model {own} of {blocks}"
        ));
    }
    let fixed = |i: usize| if i < SPARSE_LAYERS { 0.95 } else { 0.0 };
    let shares = shares(hp)?;
    if let Some(at) = (0..shares.len()).find(|&i| shares[i] != fixed(i)) {
        notes.push(format!(
            "llama.cpp does not read activation_sparsity_pattern: it has {} of layer {at}, this model {}",
            fixed(at),
            shares[at]
        ));
    }
    Ok(notes)
}

/// The number of standard deviations that this share of a normal distribution lies below, in PyTorch's steps: twice the
/// share less one, the inverse of the error function, times the root of two, each rounded to single precision.
fn deviations_above(share: f32) -> f32 {
    let doubled = 2.0 * share - 1.0;
    let inverse = match doubled {
        -1.0 => f64::NEG_INFINITY,
        1.0 => f64::INFINITY,
        x => normal_quantile(f64::midpoint(1.0, f64::from(x))) / std::f64::consts::SQRT_2,
    };
    inverse as f32 * std::f32::consts::SQRT_2
}

static TYPE: ModelType = ModelType::of("gemma3n_text");

#[cfg(test)]
mod tests {
    use super::*;

    /// scipy.special.ndtri, and what PyTorch makes of the published models' shares.
    #[test]
    fn quantiles_are_the_normal_distributions() {
        for (p, expected) in [
            (0.5, 0.0),
            (0.95, 1.644_853_626_951_472_2),
            (0.05, -1.644_853_626_951_472_9),
            (0.999, 3.090_232_306_167_813),
            (1e-12, -7.034_483_825_301_131),
            (0.3, -0.524_400_512_708_040_8),
        ] {
            let found = normal_quantile(p);
            assert!((found - expected).abs() <= 4e-15 * expected.abs(), "{p}: {found}");
        }
        assert_eq!(deviations_above(0.0), f32::NEG_INFINITY);
        assert_eq!(deviations_above(1.0), f32::INFINITY);
        assert!((deviations_above(0.95) - 1.644_853_5).abs() < 3e-7);
    }
}
