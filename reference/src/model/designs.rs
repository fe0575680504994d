//! The choices in which dense decoders differ: the norms, the rotation, how the two halves of a layer are put
//! together. Each row of [`DESIGNS`] is an architecture, which [`super::dense`] builds.

use crate::ops::{Activation, NormKind, RopeStyle};

/// Normalization of queries and keys.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum HeadNorms {
    None,
    /// Each head, where the file has such norms.
    Optional,
    /// Each head.
    Each,
    /// Each head, after the rotation.
    Rotated,
    /// All heads of a token together.
    Whole,
    /// Each head to a mean of zero, with weights and biases for each.
    Centered,
}

/// Placement of norms.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Norms {
    /// Before each half.
    Before,
    /// Before each half, without weights.
    Weightless,
    /// After each half.
    After,
    /// On both sides of each half.
    Around,
}

/// Composition of the halves of a layer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Halves {
    InSequence,
    /// Side by side behind one norm.
    Parallel,
    /// Side by side; attention has a norm of its own (`attn_norm_2`) where the file has it.
    ParallelFalcon,
    /// Side by side behind a norm each, or in sequence, as `use_parallel_residual` says.
    ByKey,
    /// Side by side behind one norm where there is no `ffn_norm`, else in sequence.
    ByNorm,
}

/// The second half's matrices.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Inner {
    Gated,
    /// Gated, half as wide as the file says.
    GatedHalf,
    /// Gates and the rest in one matrix.
    Fused,
    Plain,
    /// Plain, with an activation whose numbers the file has for each layer.
    PlainXielu,
}

/// Layers that rotate, and layers that see only a window.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Layers {
    /// All rotate, all see everything.
    Alike,
    /// All but every n-th rotate.
    RotateAllBut(usize),
    /// All but every n-th see a window, and only those rotate.
    SlidersRotate(usize),
    /// All but every n-th see a window, if the file has one; those rotate without scaling.
    SlidersRotatePlainly(usize),
    /// All but every n-th see a window, if the file has one; those rotate without scaling, by a base of their own.
    SlidersRotateLocally(usize),
    /// All but every n-th see a window, if the file has one, and only those rotate then.
    SlidersRotateIfAny(usize),
    /// All see a window, if the file has one.
    AllSlide,
}

/// Use of `logit_scale`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum LogitScale {
    Multiplies,
    Divides,
}

/// The choices.
#[derive(Clone, Copy)]
pub(super) struct Design {
    /// `general.architecture` of a row of [`DESIGNS`].
    pub(super) name: &'static str,
    pub(super) norm: NormKind,
    pub(super) norms: Norms,
    /// The second half's norm.
    pub(super) mlp_norm: &'static str,
    pub(super) head_norms: HeadNorms,
    pub(super) rope: Option<RopeStyle>,
    pub(super) layers: Layers,
    pub(super) halves: Halves,
    pub(super) inner: Inner,
    pub(super) activation: Activation,
    /// Whether the embeddings are multiplied by the square root of their width.
    pub(super) scaled_embeddings: bool,
    pub(super) logit_scale: LogitScale,
    /// The norm behind the last layer.
    pub(super) output_norm: &'static str,
    /// The exponent range of ALiBi where the file does not say; zero for models without.
    pub(super) alibi: f32,
}

impl Design {
    /// The same choices under a name.
    const fn named(self, name: &'static str) -> Self {
        Self { name, ..self }
    }
}

/// Qwen2: the usual choices.
pub(super) const QWEN2: Design = Design {
    name: "",
    norm: NormKind::Rms,
    norms: Norms::Before,
    mlp_norm: "ffn_norm",
    head_norms: HeadNorms::None,
    rope: Some(RopeStyle::Neox),
    layers: Layers::Alike,
    halves: Halves::InSequence,
    inner: Inner::Gated,
    activation: Activation::Silu,
    scaled_embeddings: false,
    logit_scale: LogitScale::Multiplies,
    output_norm: "output_norm",
    alibi: 0.0,
};

const LAYER_NORMS: Design = Design {
    norm: NormKind::Layer,
    inner: Inner::Plain,
    activation: Activation::Gelu,
    ..QWEN2
};

/// Qwen3: norms of heads.
pub(super) const QWEN3: Design = Design {
    head_norms: HeadNorms::Each,
    ..QWEN2
};

/// Rotation of neighbouring elements (the converter reorders the rows).
pub(super) const LLAMA_LIKE: Design = Design {
    rope: Some(RopeStyle::Norm),
    ..QWEN2
};

/// GLM-4.
pub(super) const GLM4: Design = Design {
    norms: Norms::Around,
    inner: Inner::Fused,
    ..LLAMA_LIKE
};

/// The architectures, by name.
pub(super) const DESIGNS: &[Design] = &[
    Design {
        name: "plamo3",
        norms: Norms::Around,
        head_norms: HeadNorms::Each,
        layers: Layers::SlidersRotateLocally(8),
        inner: Inner::Fused,
        ..QWEN2
    },
    Design {
        name: "plamo",
        halves: Halves::Parallel,
        ..QWEN2
    },
    Design {
        name: "qwen",
        inner: Inner::GatedHalf,
        ..QWEN2
    },
    // The backbone of a model that speaks; its head is not used there.
    Design {
        name: "pockettts",
        rope: Some(RopeStyle::Norm),
        ..LAYER_NORMS
    },
    QWEN2.named("qwen2"),
    // Its sections of a head are all rotated by one position as long as there is only text.
    QWEN2.named("qwen2vl"),
    QWEN3.named("qwen3"),
    // Its sections too; what an image encoder adds to the first layers is nothing where there is no image.
    QWEN3.named("qwen3vl"),
    Design {
        name: "jais2",
        activation: Activation::SquaredRelu,
        ..LAYER_NORMS
    },
    Design {
        name: "apertus",
        head_norms: HeadNorms::Each,
        inner: Inner::PlainXielu,
        ..QWEN2
    },
    Design {
        name: "seed_oss",
        mlp_norm: "post_attention_norm",
        ..QWEN2
    },
    Design {
        name: "gemma",
        activation: Activation::Gelu,
        scaled_embeddings: true,
        ..QWEN2
    },
    Design {
        name: "phi2",
        halves: Halves::Parallel,
        ..LAYER_NORMS
    },
    Design {
        name: "phi3",
        inner: Inner::Fused,
        layers: Layers::AllSlide,
        ..QWEN2
    },
    Design {
        name: "gpt2",
        rope: None,
        ..LAYER_NORMS
    },
    Design {
        name: "starcoder",
        rope: None,
        ..LAYER_NORMS
    },
    Design {
        name: "gptneox",
        halves: Halves::ByKey,
        activation: Activation::GeluErf,
        ..LAYER_NORMS
    },
    LAYER_NORMS.named("starcoder2"),
    Design {
        name: "falcon",
        halves: Halves::ParallelFalcon,
        activation: Activation::GeluErf,
        ..LAYER_NORMS
    },
    Design {
        name: "bloom",
        rope: None,
        alibi: 8.0,
        ..LAYER_NORMS
    },
    Design {
        name: "mpt",
        rope: None,
        alibi: 0.0,
        activation: Activation::GeluErf,
        ..LAYER_NORMS
    },
    Design {
        name: "nemotron",
        activation: Activation::SquaredRelu,
        ..LAYER_NORMS
    },
    Design {
        name: "stablelm",
        norm: NormKind::Layer,
        halves: Halves::ByNorm,
        head_norms: HeadNorms::Optional,
        ..QWEN2
    },
    Design {
        name: "command-r",
        norm: NormKind::Layer,
        halves: Halves::Parallel,
        head_norms: HeadNorms::Optional,
        ..LLAMA_LIKE
    },
    Design {
        name: "cohere2",
        norm: NormKind::Layer,
        halves: Halves::Parallel,
        layers: Layers::SlidersRotate(4),
        ..LLAMA_LIKE
    },
    Design {
        name: "olmo",
        norm: NormKind::Layer,
        norms: Norms::Weightless,
        ..LLAMA_LIKE
    },
    Design {
        name: "olmo2",
        norms: Norms::After,
        head_norms: HeadNorms::Whole,
        layers: Layers::SlidersRotatePlainly(4),
        ..QWEN2
    },
    LLAMA_LIKE.named("internlm2"),
    Design {
        name: "smollm3",
        layers: Layers::RotateAllBut(4),
        ..LLAMA_LIKE
    },
    Design {
        name: "arcee",
        inner: Inner::Plain,
        activation: Activation::SquaredRelu,
        ..LLAMA_LIKE
    },
    Design {
        name: "granite",
        logit_scale: LogitScale::Divides,
        ..LLAMA_LIKE
    },
    Design {
        name: "chatglm",
        inner: Inner::Fused,
        ..LLAMA_LIKE
    },
    QWEN2.named("exaone"),
    Design {
        name: "exaone4",
        norms: Norms::After,
        head_norms: HeadNorms::Each,
        layers: Layers::SlidersRotateIfAny(4),
        ..QWEN2
    },
    Design {
        name: "hunyuan-dense",
        head_norms: HeadNorms::Rotated,
        ..QWEN2
    },
    // Its sections too.
    Design {
        name: "hunyuan_vl",
        head_norms: HeadNorms::Rotated,
        ..QWEN2
    },
    LLAMA_LIKE.named("ernie4_5"),
    // Its sections too.
    QWEN2.named("paddleocr"),
    LLAMA_LIKE.named("xverse"),
    Design {
        name: "minicpm",
        logit_scale: LogitScale::Divides,
        ..LLAMA_LIKE
    },
    Design {
        name: "orion",
        norm: NormKind::Layer,
        ..QWEN2
    },
    LAYER_NORMS.named("codeshell"),
    Design {
        name: "refact",
        rope: None,
        alibi: 8.0,
        ..QWEN2
    },
    QWEN2.named("pangu-embedded"),
    Design {
        name: "openelm",
        head_norms: HeadNorms::Each,
        ..QWEN2
    },
    // Its blocks run several times, as the file says.
    LLAMA_LIKE.named("nanbeige"),
    // Their tokens see later ones too, as the files say.
    QWEN2.named("dream"),
    LLAMA_LIKE.named("llada"),
    QWEN2.named("eurobert"),
    Design {
        name: "neo-bert",
        inner: Inner::Fused,
        output_norm: "enc.output_norm",
        ..LLAMA_LIKE
    },
    Design {
        name: "maincoder",
        head_norms: HeadNorms::Rotated,
        ..LLAMA_LIKE
    },
];
