//! Gemma 3n, the text model: four copies of the state side by side, gates of which only the largest count, vectors for
//! each layer, the latest layers on earlier ones' keys and values.

use gguf::{Array, Value as GgufValue};
use serde_json::{Map, Value};

use super::gemma::{GEMMA3_VOCABULARY, gemma3_keys};
use super::gemma4::{AROUND, PER_LAYER};
use crate::Result;
use crate::arch::rules::names::{DECODER, HEAD_NORMS, Rule, Transform, copy, exact, rule};
use crate::arch::{Activation, Architecture, Default, Graph, Hooks, Hparams, Keys, ModelType, PLAIN, class};
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
    copy(
        "model.layers.{}.altup.correction_coefs",
        "blk.{}.altup_correct_coef",
    ),
    copy(
        "model.layers.{}.altup.prediction_coefs",
        "blk.{}.altup_predict_coef",
    ),
    copy("model.layers.{}.altup.modality_router", "blk.{}.altup_router"),
    copy("model.layers.{}.altup.router_norm", "blk.{}.altup_router_norm"),
    exact(
        "model.layers.{}.altup.correct_output_scale",
        "blk.{}.altup_correct_scale.weight",
        Transform::Copy,
    ),
    copy("model.layers.{}.laurel.linear_left", "blk.{}.laurel_l"),
    copy("model.layers.{}.laurel.linear_right", "blk.{}.laurel_r"),
    copy(
        "model.layers.{}.laurel.post_laurel_norm",
        "blk.{}.laurel_post_norm",
    ),
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

/// What follows from other keys where the configuration leaves it out.
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
        .ok_or_else(|| hp.error("no list layer_types".to_owned()))?;
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
    let list = list.ok_or_else(|| hp.error(format!("no list {KEY}")))?;
    let share = |value: &Value| match hp.to_f32(KEY, value)? {
        share if (0.0..=1.0).contains(&share) => Ok(share),
        other => Err(hp.error(format!("{KEY}: expected shares from 0 to 1, found {other}"))),
    };
    list.iter().map(share).collect()
}

/// What llama.cpp has fixed and this model has otherwise.
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

/// Quantile of the standard normal distribution (Wichura, algorithm AS 241, in double precision).
fn normal_quantile(p: f64) -> f64 {
    const NEAR: [[f64; 8]; 2] = [
        [
            3.387_132_872_796_366_5,
            133.141_667_891_784_38,
            1_971.590_950_306_551_3,
            13_731.693_765_509_46,
            45_921.953_931_549_87,
            67_265.770_927_008_7,
            33_430.575_583_588_13,
            2_509.080_928_730_122_7,
        ],
        [
            1.0,
            42.313_330_701_600_91,
            687.187_007_492_057_9,
            5_394.196_021_424_751,
            21_213.794_301_586_597,
            39_307.895_800_092_71,
            28_729.085_735_721_943,
            5_226.495_278_852_854,
        ],
    ];
    const MIDDLE: [[f64; 8]; 2] = [
        [
            1.423_437_110_749_683_5,
            4.630_337_846_156_546,
            5.769_497_221_460_691,
            3.647_848_324_763_204_5,
            1.270_458_252_452_368_4,
            0.241_780_725_177_450_6,
            0.022_723_844_989_269_184,
            7.745_450_142_783_414e-4,
        ],
        [
            1.0,
            2.053_191_626_637_759,
            1.676_384_830_183_803_8,
            0.689_767_334_985_1,
            0.148_103_976_427_480_08,
            0.015_198_666_563_616_457,
            5.475_938_084_995_345e-4,
            1.050_750_071_644_416_9e-9,
        ],
    ];
    const FAR: [[f64; 8]; 2] = [
        [
            6.657_904_643_501_103,
            5.463_784_911_164_114,
            1.784_826_539_917_291_3,
            0.296_560_571_828_504_87,
            0.026_532_189_526_576_124,
            0.001_242_660_947_388_078_4,
            2.711_555_568_743_487_6e-5,
            2.010_334_399_292_288_1e-7,
        ],
        [
            1.0,
            0.599_832_206_555_888,
            0.136_929_880_922_735_8,
            0.014_875_361_290_850_615,
            7.868_691_311_456_133e-4,
            1.846_318_317_510_054_8e-5,
            1.421_511_758_316_446e-7,
            2.044_263_103_389_939_8e-15,
        ],
    ];
    let ratio = |[above, below]: [[f64; 8]; 2], r: f64| {
        let value = |terms: [f64; 8]| terms.iter().rev().fold(0.0, |sum, term| sum * r + term);
        value(above) / value(below)
    };
    let q = p - 0.5;
    if q.abs() <= 0.425 {
        return q * ratio(NEAR, 0.180_625 - q * q);
    }
    let tail = if q < 0.0 { p } else { 1.0 - p };
    let r = (-tail.ln()).sqrt();
    let far = if r <= 5.0 {
        ratio(MIDDLE, r - 1.6)
    } else {
        ratio(FAR, r - 5.0)
    };
    far.copysign(q)
}

static TYPE: ModelType = ModelType {
    name: "gemma3n_text",
    defaults: &[
        ("vocab_size", Default::Int(262_400)),
        ("vocab_size_per_layer_input", Default::Int(262_144)),
        ("hidden_size", Default::Int(2048)),
        ("hidden_size_per_layer_input", Default::Int(256)),
        ("intermediate_size", Default::Int(16_384)),
        ("num_hidden_layers", Default::Int(35)),
        ("num_attention_heads", Default::Int(8)),
        ("num_key_value_heads", Default::Int(2)),
        ("head_dim", Default::Int(256)),
        ("max_position_embeddings", Default::Int(32_768)),
        ("rms_norm_eps", Default::Float(1e-6)),
        ("rope_local_base_freq", Default::Float(10_000.0)),
        ("sliding_window", Default::Int(512)),
        ("final_logit_softcapping", Default::Float(30.0)),
        ("altup_active_idx", Default::Int(0)),
        ("altup_num_inputs", Default::Int(4)),
        ("num_kv_shared_layers", Default::Int(15)),
    ],
    rope_theta: 1_000_000.0,
    ..ModelType::BLANK
};

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
