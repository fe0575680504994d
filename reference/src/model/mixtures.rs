//! Mixtures of experts that differ in a few choices: how experts are chosen, what stands beside them. Each row
//! of [`DESIGNS`] is an architecture. Layers without a router have a dense second half.

use std::sync::Arc;

use super::decoder::{Decoder, Layer, Mlp};
use super::dense::causal;
use super::hyperparameters::{Hyperparameters, gated, rope, sliding_layers};
use crate::Result;
use crate::layers::{Attention, FeedForward, Gate, Groups, Mixture, Scoring, SharedExpert};
use crate::ops::{Activation, Norm, NormKind, Rope, RopeStyle};
use crate::weights::{ANY, Loader};

/// Normalization of queries and keys.
#[derive(Clone, Copy, PartialEq, Eq)]
enum HeadNorms {
    None,
    /// Each head, where the file has such norms.
    Each,
    /// Each head, after the rotation.
    Rotated,
    /// All heads of a token together.
    Whole,
}

/// Whether weights of chosen experts are divided by their sum.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Normalize {
    Always,
    Never,
    /// As `expert_weights_norm` says.
    ByKey,
}

/// The choices.
#[derive(Clone, Copy)]
pub(super) struct Design {
    norm: NormKind,
    rope: RopeStyle,
    head_norms: HeadNorms,
    /// The norm before the second half.
    mlp_norm: &'static str,
    /// Default where `expert_gating_func` is missing.
    scoring: Scoring,
    normalize: Normalize,
    activation: Activation,
    /// The period of layers that see everything, where the others have a window.
    sliding: usize,
    /// Whether only layers with a window rotate.
    sliders_rotate: bool,
    /// Whether `logit_scale` divides.
    divides_logits: bool,
    /// Whether a head is rotated whole, whatever the file says.
    rotates_all: bool,
}

const USUAL: Design = Design {
    norm: NormKind::Rms,
    rope: RopeStyle::Neox,
    head_norms: HeadNorms::None,
    mlp_norm: "ffn_norm",
    scoring: Scoring::Softmax,
    normalize: Normalize::ByKey,
    activation: Activation::Silu,
    sliding: 0,
    sliders_rotate: false,
    divides_logits: false,
    rotates_all: false,
};

/// `general.architecture` and the choices that it stands for.
pub(super) const DESIGNS: &[(&str, Design)] = &[
    (
        "olmoe",
        Design {
            head_norms: HeadNorms::Whole,
            normalize: Normalize::Never,
            ..USUAL
        },
    ),
    (
        "dots1",
        Design {
            head_norms: HeadNorms::Each,
            scoring: Scoring::Sigmoid,
            ..USUAL
        },
    ),
    (
        "deepseek",
        Design {
            rope: RopeStyle::Norm,
            normalize: Normalize::Never,
            ..USUAL
        },
    ),
    (
        "deepseek2-ocr",
        Design {
            rotates_all: true,
            ..USUAL
        },
    ),
    (
        "bailingmoe",
        Design {
            rope: RopeStyle::Norm,
            ..USUAL
        },
    ),
    (
        "bailingmoe2",
        Design {
            head_norms: HeadNorms::Each,
            scoring: Scoring::Sigmoid,
            ..USUAL
        },
    ),
    (
        "exaone-moe",
        Design {
            head_norms: HeadNorms::Each,
            scoring: Scoring::Sigmoid,
            sliding: 4,
            sliders_rotate: true,
            ..USUAL
        },
    ),
    (
        "llada-moe",
        Design {
            head_norms: HeadNorms::Each,
            normalize: Normalize::Never,
            ..USUAL
        },
    ),
    (
        "rnd1",
        Design {
            head_norms: HeadNorms::Each,
            normalize: Normalize::Always,
            ..USUAL
        },
    ),
    (
        "minimax-m2",
        Design {
            head_norms: HeadNorms::Whole,
            scoring: Scoring::Sigmoid,
            normalize: Normalize::Always,
            ..USUAL
        },
    ),
    (
        "glm4moe",
        Design {
            head_norms: HeadNorms::Each,
            mlp_norm: "post_attention_norm",
            scoring: Scoring::Sigmoid,
            ..USUAL
        },
    ),
    (
        "dbrx",
        Design {
            norm: NormKind::Layer,
            mlp_norm: "attn_output_norm",
            normalize: Normalize::Always,
            ..USUAL
        },
    ),
    // As stock llama.cpp computes it: without the mean and the sparse mixer of the published model.
    (
        "phimoe",
        Design {
            normalize: Normalize::Always,
            ..USUAL
        },
    ),
    (
        "granitemoe",
        Design {
            rope: RopeStyle::Norm,
            normalize: Normalize::Always,
            divides_logits: true,
            ..USUAL
        },
    ),
    (
        "hunyuan-moe",
        Design {
            head_norms: HeadNorms::Rotated,
            normalize: Normalize::Always,
            ..USUAL
        },
    ),
    (
        "ernie4_5-moe",
        Design {
            rope: RopeStyle::Norm,
            normalize: Normalize::Always,
            ..USUAL
        },
    ),
    (
        "gpt-oss",
        Design {
            mlp_norm: "post_attention_norm",
            scoring: Scoring::SoftmaxOfChosen,
            normalize: Normalize::Never,
            activation: Activation::SwigluOai,
            sliding: 2,
            ..USUAL
        },
    ),
];

pub(super) fn build(loader: &Loader<'_>, design: &Design) -> Result<Decoder> {
    let mut hyper = Hyperparameters::read(loader)?;
    if design.rotates_all {
        hyper.rotated = hyper.key_len;
    }
    let keys = &loader.keys;
    let eps = keys.float(match design.norm {
        NormKind::Rms => "attention.layer_norm_rms_epsilon",
        NormKind::Layer => "attention.layer_norm_epsilon",
    })?;
    let rope = rope(loader, &hyper, design.rope)?;
    let scale = keys
        .optional_positive("attention.scale")?
        .unwrap_or(hyper.usual_scale());
    let residual_scale = keys.optional_positive("residual_scale")?.unwrap_or(1.0);
    let window = keys
        .optional_count("attention.sliding_window")?
        .filter(|&n| n > 0);
    let sliding = match (design.sliding, window) {
        (0, _) | (_, None) => Vec::new(),
        (period, Some(_)) => sliding_layers(loader, &hyper, period)?,
    };
    let mut layers = Vec::new();
    for i in 0..hyper.layers {
        let norm = |name: &str| loader.norm(design.norm, &format!("blk.{i}.{name}"), hyper.hidden, eps);
        let mut attention = attention(loader, &hyper, i, design, rope.clone(), scale, eps)?;
        let slides = sliding.get(i) == Some(&true);
        attention.shape.window = window.filter(|_| slides);
        if design.sliders_rotate && !slides {
            attention.rope = None;
        }
        let mlp = mlp(loader, &hyper, i, design)?;
        layers.push(Layer {
            residual_scale,
            ..Layer::new(norm("attn_norm")?, attention, norm(design.mlp_norm)?, mlp)
        });
    }
    for i in hyper.predicting_if_any(loader) {
        attention(loader, &hyper, i, design, rope.clone(), scale, eps)?;
        mlp(loader, &hyper, i, design)?;
        for name in ["attn_norm", design.mlp_norm] {
            loader.norm(design.norm, &format!("blk.{i}.{name}"), hyper.hidden, eps)?;
        }
        loader.prediction(i, hyper.hidden)?;
        loader.allowed(&format!("blk.{i}.layer_output_norm.weight"), &[hyper.hidden])?;
    }
    let embedding = loader.embedding(hyper.hidden)?;
    let output_norm = loader.norm(design.norm, "output_norm", hyper.hidden, eps)?;
    let head = loader.head(hyper.hidden, embedding.matrix.outputs)?;
    let logits = keys.optional_positive("logit_scale")?.unwrap_or(1.0);
    Ok(Decoder {
        embedding_scale: keys.optional_positive("embedding_scale")?.unwrap_or(1.0),
        logit_scale: if design.divides_logits {
            1.0 / logits
        } else {
            logits
        },
        ..Decoder::new(embedding, layers, output_norm, head)
    })
}

fn attention(
    loader: &Loader<'_>,
    hyper: &Hyperparameters,
    layer: usize,
    design: &Design,
    rope: Arc<Rope>,
    scale: f32,
    eps: f32,
) -> Result<Attention> {
    let mut attention = hyper.attention(loader, layer, Some(rope), scale)?;
    let base = |name: &str| format!("blk.{layer}.{name}");
    let (heads, kv) = hyper.heads(loader, layer)?;
    attention.clamp = loader.keys.optional_positive("attention.clamp_kqv")?;
    let sinks = loader.optional_vector(&base("attn_sinks.weight"), heads)?;
    attention.shape.sinks = sinks.map(Arc::from);
    let has_norms = loader.has(&base("attn_q_norm.weight"));
    let lengths = match design.head_norms {
        HeadNorms::Whole => Some((heads * hyper.key_len, kv * hyper.key_len)),
        HeadNorms::Each | HeadNorms::Rotated if has_norms => Some((hyper.key_len, hyper.key_len)),
        _ => None,
    };
    attention.shape.causal = causal(loader)?;
    attention.norms_follow_rope = design.head_norms == HeadNorms::Rotated;
    if let Some((query, key)) = lengths {
        attention.query_norm = Some(loader.rms_norm(&base("attn_q_norm"), query, eps)?);
        attention.key_norm = Some(loader.rms_norm(&base("attn_k_norm"), key, eps)?);
    }
    Ok(attention)
}

/// The second half: experts where there is a router, else a dense layer.
fn mlp(loader: &Loader<'_>, hyper: &Hyperparameters, layer: usize, design: &Design) -> Result<Mlp> {
    if !loader.has(&format!("blk.{layer}.ffn_gate_inp.weight")) {
        let dense = hyper.feed_forward(loader, layer, design.activation)?;
        return Ok(Mlp::Dense(Box::new(dense)));
    }
    let normalize = match design.normalize {
        Normalize::Always => true,
        Normalize::Never => false,
        Normalize::ByKey => loader.keys.optional_flag("expert_weights_norm")?.unwrap_or(false),
    };
    let mixture = mixture(loader, hyper, layer, design.scoring, normalize)?;
    Ok(Mlp::Mixture(Box::new(Mixture {
        activation: design.activation,
        ..mixture
    })))
}

/// The experts of a layer with all that the file has of a mixture: biases for the choice, groups, shared
/// experts.
pub(super) fn mixture(
    loader: &Loader<'_>,
    hyper: &Hyperparameters,
    layer: usize,
    scoring: Scoring,
    normalize: bool,
) -> Result<Mixture> {
    let inner = loader.outputs_of(&format!("blk.{layer}.ffn_up_exps"))?;
    if loader.is_declared() {
        let width = loader
            .keys
            .optional_per_layer("expert_feed_forward_length", hyper.blocks)?
            .map(|width| width.get(layer));
        if let Some(width) = width.filter(|&n| n > 0) {
            loader.needed(&format!("blk.{layer}.ffn_up_exps.weight"), &[ANY, width, ANY])?;
        }
    }
    let mut mixture = hyper.mixture(loader, layer, inner, normalize)?;
    mixture.scoring = match loader.keys.optional_count("expert_gating_func")? {
        None | Some(0) => scoring,
        Some(1) => Scoring::Softmax,
        Some(2) => Scoring::Sigmoid,
        Some(3) => Scoring::SoftmaxOfChosen,
        Some(other) => {
            return Err(loader.error(format!("key expert_gating_func: found {other}, expected 0 to 3")));
        }
    };
    let count = loader.keys.optional_count("expert_group_count")?.unwrap_or(0);
    if count > 1 {
        let used = loader
            .keys
            .optional_count("expert_group_used_count")?
            .unwrap_or(count);
        let experts = mixture.router.matrix.outputs;
        if !experts.is_multiple_of(count)
            || used == 0
            || used > count
            || used * (experts / count) < mixture.used
        {
            return Err(loader.error(format!(
                "expert groups: found {count} of {experts} experts, of which {used} are used, expected even \
                 groups with room for {} experts",
                mixture.used
            )));
        }
        // A group's score is the sum of its best two where there is a bias (DeepSeek-V3), its best otherwise
        // (DeepSeek-V2).
        let judged_by = if mixture.selection_bias.is_some() { 2 } else { 1 };
        mixture.groups = Some(Groups {
            count,
            used,
            judged_by,
        });
    }
    mixture.shared = shared(loader, hyper, layer)?;
    Ok(mixture)
}

/// Shared experts, which every token goes through beside its own, where the file has them.
pub(super) fn shared(
    loader: &Loader<'_>,
    hyper: &Hyperparameters,
    layer: usize,
) -> Result<Option<SharedExpert>> {
    let base = |name: &str| format!("blk.{layer}.{name}");
    if !loader.has(&base("ffn_up_shexp.weight")) {
        return Ok(None);
    }
    let inner = loader.outputs_of(&base("ffn_up_shexp"))?;
    let prefix = base("ffn_");
    let expert = match loader.has(&base("ffn_gate_shexp.weight")) {
        true => gated(loader, &prefix, "_shexp", hyper.hidden, inner, Activation::Silu)?,
        // Nemotron-H.
        false => FeedForward {
            gate: Gate::None,
            up: loader.linear(&base("ffn_up_shexp"), hyper.hidden, inner)?,
            down: loader.linear(&base("ffn_down_shexp"), inner, hyper.hidden)?,
            activation: Activation::SquaredRelu,
        },
    };
    let gate = match loader.has(&base("ffn_gate_inp_shexp.weight")) {
        true => Some(loader.linear(&base("ffn_gate_inp_shexp"), hyper.hidden, 1)?),
        false => None,
    };
    Ok(Some(SharedExpert { layer: expert, gate }))
}

/// A norm of heads without weights.
pub(super) fn weightless(len: usize, eps: f32) -> Norm {
    Norm {
        kind: NormKind::Rms,
        group: len,
        weight: Vec::new(),
        bias: Vec::new(),
        eps,
    }
}
