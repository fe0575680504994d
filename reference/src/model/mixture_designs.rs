//! The choices in which mixtures of experts differ: how experts are chosen, what stands beside them, which layers
//! see a window and rotate. Each row of [`DESIGNS`] is an architecture, which [`super::mixtures`] builds.

use crate::layers::{GateFunction, Scoring};
use crate::ops::{Activation, NormKind, RopeStyle};

/// Normalization of queries and keys.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum HeadNorms {
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
pub(super) enum Normalize {
    Always,
    Never,
    /// As `expert_weights_norm` says.
    ByKey,
}

/// Which layers see only a window where the file has one, unless it says that too.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Windows {
    None,
    /// All but the last of every so many.
    AllButLast(usize),
    /// All but the first of every so many.
    AllButFirst(usize),
}

/// Which layers rotate.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Rotates {
    All,
    /// As `attention.rope_pattern` says of each.
    ByKey,
    /// Those with a window.
    Sliders,
    /// Those with a window, and the dense ones before all others.
    SlidersAndDense,
    /// All but the last of every so many.
    AllButLast(usize),
    /// All but the first of every so many; in a model without windows, or of just so many layers, all.
    AllButFirst(usize),
}

/// The rotation of layers with a window.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Local {
    /// That of the others, but for a base and a number of elements of their own where the file has them.
    OwnBase,
    /// The same without scaling.
    OwnBasePlain,
    /// [`Self::OwnBase`], which is the usual base where the file has none.
    UsualBase,
    /// That of the others without scaling.
    Plain,
    /// [`Self::UsualBase`] without the divisors; the layers without a window rotate but half of a head.
    WholeHeads,
}

/// Dense part beside the experts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Beside {
    /// Shared experts where the file has them.
    Shared,
    /// Shared experts where the file has them; the mean of both is taken.
    SharedMean,
    /// A dense layer where the file has one; their sum is divided by the square root of two.
    Dense,
    /// The second half is dense; the experts see the layer's input.
    ExpertsOfInput,
    /// Nothing; the router sees the layer's input.
    RouterOfInput,
    /// Experts of their own for groups of experts, which see what the experts make.
    Adjugates,
}

/// Where a limit of `swiglu_clamp_exp` cuts the gates of experts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    None,
    BeforeActivation,
    /// Of shared experts and dense layers, `swiglu_clamp_shexp` does so.
    AfterActivation,
}

/// Factors and caps that files of an architecture may leave out.
#[derive(Clone, Copy)]
pub(super) struct Factors {
    pub(super) embedding: f32,
    pub(super) logits: f32,
    /// Of the scores, and their cap, under keys of their own.
    pub(super) scores: Option<(f32, f32)>,
}

/// The choices.
#[derive(Clone, Copy)]
pub(super) struct Design {
    /// `general.architecture` of a row of [`DESIGNS`].
    pub(super) name: &'static str,
    pub(super) norm: NormKind,
    pub(super) rope: RopeStyle,
    pub(super) head_norms: HeadNorms,
    /// The norm before the second half.
    pub(super) mlp_norm: &'static str,
    /// The norms of what the halves add.
    pub(super) post_norms: Option<(&'static str, &'static str)>,
    /// Their epsilon, where it is not that of the others.
    pub(super) post_epsilon: Option<f32>,
    /// Whether the embeddings are normalized, without weights.
    pub(super) normed_embeddings: bool,
    /// Default where `expert_gating_func` is missing.
    pub(super) scoring: Scoring,
    pub(super) normalize: Normalize,
    pub(super) activation: Activation,
    pub(super) cut: Cut,
    pub(super) beside: Beside,
    pub(super) windows: Windows,
    /// The window, whatever the file says of its size.
    pub(super) window: Option<usize>,
    pub(super) rotates: Rotates,
    pub(super) local: Local,
    /// Gates of what attention mixes.
    pub(super) gates: Option<GateFunction>,
    /// Whether indexers choose blocks of keys in the layers with experts.
    pub(super) chosen_blocks: bool,
    /// Whether both halves see the same.
    pub(super) parallel: bool,
    /// Whether the embeddings are multiplied by the square root of their width.
    pub(super) scaled_embeddings: bool,
    pub(super) factors: Factors,
    /// Whether `logit_scale` divides.
    pub(super) divides_logits: bool,
    /// Whether a head is rotated whole, whatever the file says.
    pub(super) rotates_all: bool,
}

pub(super) const USUAL: Design = Design {
    name: "",
    norm: NormKind::Rms,
    rope: RopeStyle::Neox,
    head_norms: HeadNorms::None,
    mlp_norm: "ffn_norm",
    post_norms: None,
    post_epsilon: None,
    normed_embeddings: false,
    scoring: Scoring::Softmax,
    normalize: Normalize::ByKey,
    activation: Activation::Silu,
    cut: Cut::None,
    beside: Beside::Shared,
    windows: Windows::None,
    window: None,
    rotates: Rotates::All,
    local: Local::OwnBase,
    gates: None,
    chosen_blocks: false,
    parallel: false,
    scaled_embeddings: false,
    factors: Factors {
        embedding: 1.0,
        logits: 1.0,
        scores: None,
    },
    divides_logits: false,
    rotates_all: false,
};

/// Cohere's mixture; its norms are of the kind whose epsilon the file has.
pub(super) const COHERE2_MOE: Design = Design {
    norm: NormKind::Layer,
    rope: RopeStyle::Norm,
    scoring: Scoring::Sigmoid,
    beside: Beside::SharedMean,
    windows: Windows::AllButFirst(4),
    rotates: Rotates::SlidersAndDense,
    parallel: true,
    ..USUAL
};

/// The architectures, by name.
pub(super) const DESIGNS: &[Design] = &[
    Design {
        name: "olmoe",
        head_norms: HeadNorms::Whole,
        normalize: Normalize::Never,
        ..USUAL
    },
    Design {
        name: "dots1",
        head_norms: HeadNorms::Each,
        scoring: Scoring::Sigmoid,
        ..USUAL
    },
    Design {
        name: "deepseek",
        rope: RopeStyle::Norm,
        normalize: Normalize::Never,
        ..USUAL
    },
    Design {
        name: "deepseek2-ocr",
        rotates_all: true,
        ..USUAL
    },
    Design {
        name: "bailingmoe",
        rope: RopeStyle::Norm,
        ..USUAL
    },
    Design {
        name: "bailingmoe2",
        head_norms: HeadNorms::Each,
        scoring: Scoring::Sigmoid,
        ..USUAL
    },
    Design {
        name: "exaone-moe",
        head_norms: HeadNorms::Each,
        scoring: Scoring::Sigmoid,
        windows: Windows::AllButLast(4),
        rotates: Rotates::Sliders,
        ..USUAL
    },
    Design {
        name: "llada-moe",
        head_norms: HeadNorms::Each,
        normalize: Normalize::Never,
        ..USUAL
    },
    Design {
        name: "rnd1",
        head_norms: HeadNorms::Each,
        normalize: Normalize::Always,
        ..USUAL
    },
    Design {
        name: "minimax-m2",
        head_norms: HeadNorms::Whole,
        scoring: Scoring::Sigmoid,
        normalize: Normalize::Always,
        ..USUAL
    },
    Design {
        name: "minimax-m3",
        head_norms: HeadNorms::Each,
        scoring: Scoring::Sigmoid,
        activation: Activation::SwigluOai,
        chosen_blocks: true,
        ..USUAL
    },
    Design {
        name: "glm4moe",
        head_norms: HeadNorms::Each,
        mlp_norm: "post_attention_norm",
        scoring: Scoring::Sigmoid,
        ..USUAL
    },
    Design {
        name: "dbrx",
        norm: NormKind::Layer,
        mlp_norm: "attn_output_norm",
        normalize: Normalize::Always,
        ..USUAL
    },
    // As stock llama.cpp computes it: without the mean and the sparse mixer of the published model.
    Design {
        name: "phimoe",
        normalize: Normalize::Always,
        ..USUAL
    },
    Design {
        name: "granitemoe",
        rope: RopeStyle::Norm,
        normalize: Normalize::Always,
        divides_logits: true,
        ..USUAL
    },
    Design {
        name: "hunyuan-moe",
        head_norms: HeadNorms::Rotated,
        normalize: Normalize::Always,
        ..USUAL
    },
    Design {
        name: "ernie4_5-moe",
        rope: RopeStyle::Norm,
        normalize: Normalize::Always,
        ..USUAL
    },
    Design {
        name: "gpt-oss",
        mlp_norm: "post_attention_norm",
        scoring: Scoring::SoftmaxOfChosen,
        normalize: Normalize::Never,
        activation: Activation::SwigluOai,
        windows: Windows::AllButLast(2),
        ..USUAL
    },
    Design {
        name: "afmoe",
        head_norms: HeadNorms::Each,
        post_norms: Some(("post_attention_norm", "post_ffw_norm")),
        scoring: Scoring::Sigmoid,
        windows: Windows::AllButLast(4),
        rotates: Rotates::AllButLast(4),
        gates: Some(GateFunction::Sigmoid),
        scaled_embeddings: true,
        ..USUAL
    },
    Design {
        name: "mellum",
        head_norms: HeadNorms::Each,
        normalize: Normalize::Always,
        windows: Windows::AllButLast(4),
        local: Local::Plain,
        ..USUAL
    },
    Design {
        name: "maple",
        head_norms: HeadNorms::Each,
        normalize: Normalize::Always,
        cut: Cut::BeforeActivation,
        windows: Windows::AllButLast(4),
        rotates: Rotates::Sliders,
        ..USUAL
    },
    Design {
        name: "laguna",
        head_norms: HeadNorms::Each,
        scoring: Scoring::Sigmoid,
        windows: Windows::AllButFirst(4),
        local: Local::OwnBasePlain,
        gates: Some(GateFunction::Softplus),
        ..USUAL
    },
    Design {
        name: "hy_v3",
        head_norms: HeadNorms::Each,
        scoring: Scoring::Sigmoid,
        ..USUAL
    },
    Design {
        name: "mimo2",
        scoring: Scoring::Sigmoid,
        normalize: Normalize::Always,
        windows: Windows::AllButFirst(4),
        local: Local::UsualBase,
        ..USUAL
    },
    Design {
        name: "step35",
        head_norms: HeadNorms::Each,
        scoring: Scoring::Sigmoid,
        cut: Cut::AfterActivation,
        windows: Windows::AllButFirst(4),
        local: Local::WholeHeads,
        gates: Some(GateFunction::Sigmoid),
        ..USUAL
    },
    // With experts or without.
    Design {
        name: "granite_swa",
        rope: RopeStyle::Norm,
        normalize: Normalize::Always,
        windows: Windows::AllButFirst(4),
        rotates: Rotates::ByKey,
        divides_logits: true,
        ..USUAL
    },
    // Without experts.
    Design {
        name: "spark2_5",
        activation: Activation::Gelu,
        windows: Windows::AllButLast(4),
        gates: Some(GateFunction::Sigmoid),
        ..USUAL
    },
    // Without experts.
    Design {
        name: "muse-glimmer",
        rope: RopeStyle::Norm,
        head_norms: HeadNorms::Each,
        post_norms: Some(("post_attention_norm", "post_ffw_norm")),
        post_epsilon: Some(1e-8),
        normed_embeddings: true,
        windows: Windows::AllButLast(4),
        rotates: Rotates::Sliders,
        gates: Some(GateFunction::Sigmoid),
        ..USUAL
    },
    Design {
        name: "arctic",
        rope: RopeStyle::Norm,
        normalize: Normalize::Always,
        beside: Beside::ExpertsOfInput,
        ..USUAL
    },
    Design {
        name: "grok",
        post_norms: Some(("attn_output_norm", "layer_output_norm")),
        normalize: Normalize::Always,
        activation: Activation::Gelu,
        beside: Beside::Dense,
        factors: Factors {
            embedding: 78.383_67,
            logits: 0.577_350_26,
            scores: Some((0.088_388_35, 30.0)),
        },
        ..USUAL
    },
    // As stock llama.cpp computes it: the weights of groups are those of the experts of their numbers.
    Design {
        name: "grovemoe",
        head_norms: HeadNorms::Each,
        normalize: Normalize::Always,
        beside: Beside::Adjugates,
        ..USUAL
    },
    Design {
        name: "smallthinker",
        normalize: Normalize::Always,
        activation: Activation::Relu,
        beside: Beside::RouterOfInput,
        windows: Windows::AllButFirst(4),
        window: Some(4096),
        rotates: Rotates::AllButFirst(4),
        ..USUAL
    },
];
