//! Dense decoders that differ in a few choices: the norms, the rotation, how the two halves of a layer are put
//! together. Each row of [`DESIGNS`] is an architecture.

use std::sync::Arc;

use super::decoder::{Decoder, Layer, Mlp};
use super::hyperparameters::{Hyperparameters, rope, rope_settings, sliding_layers};
use crate::Result;
use crate::layers::Attention;
use crate::ops::{Activation, Norm, NormKind, Rope, RopeStyle, Xielu};
use crate::weights::Loader;

/// How queries and keys are normalized.
#[derive(Clone, Copy, PartialEq, Eq)]
enum HeadNorms {
    None,
    /// Each head, where the file has such norms.
    Optional,
    /// Each head.
    Each,
    /// Each head, after the rotation.
    Rotated,
    /// All heads of a token together.
    Whole,
}

/// Where norms stand.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Norms {
    /// Before each half.
    Before,
    /// Before each half, without weights.
    Weightless,
    /// After each half.
    After,
    /// On both sides of each half.
    Around,
}

/// How the halves of a layer are put together.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Halves {
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
enum Inner {
    Gated,
    /// Gates and the rest in one matrix.
    Fused,
    Plain,
    /// Plain, with an activation whose numbers the file has for each layer.
    PlainXielu,
}

/// Which layers rotate and which see only a window.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Layers {
    /// All rotate, all see everything.
    Alike,
    /// All but every n-th rotate.
    RotateAllBut(usize),
    /// All but every n-th see a window, and only those rotate.
    SlidersRotate(usize),
    /// All but every n-th see a window, if the file has one; those rotate without scaling.
    SlidersRotatePlainly(usize),
    /// All but every n-th see a window, if the file has one, and only those rotate then.
    SlidersRotateIfAny(usize),
    /// All see a window, if the file has one.
    AllSlide,
}

/// What `logit_scale` does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum LogitScale {
    Multiplies,
    Divides,
}

/// The choices.
#[derive(Clone, Copy)]
pub(super) struct Design {
    norm: NormKind,
    norms: Norms,
    /// The second half's norm.
    mlp_norm: &'static str,
    head_norms: HeadNorms,
    rope: Option<RopeStyle>,
    layers: Layers,
    halves: Halves,
    inner: Inner,
    activation: Activation,
    /// Whether the embeddings are multiplied by the square root of their width.
    scaled_embeddings: bool,
    logit_scale: LogitScale,
    /// The exponent range of ALiBi where the file does not say; zero for models without.
    alibi: f32,
}

/// Qwen2: the usual choices.
pub(super) const QWEN2: Design = Design {
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
    alibi: 0.0,
};

const LAYER_NORMS: Design = Design {
    norm: NormKind::Layer,
    inner: Inner::Plain,
    activation: Activation::Gelu,
    ..QWEN2
};

/// Rotation of neighbouring elements (the converter reorders the rows).
const LLAMA_LIKE: Design = Design {
    rope: Some(RopeStyle::Norm),
    ..QWEN2
};

/// `general.architecture` and the choices that it stands for.
pub(super) const DESIGNS: &[(&str, Design)] = &[
    ("qwen2", QWEN2),
    // Its sections of a head are all rotated by one position as long as there is only text.
    ("qwen2vl", QWEN2),
    (
        "qwen3",
        Design {
            head_norms: HeadNorms::Each,
            ..QWEN2
        },
    ),
    // Its sections too; what an image encoder adds to the first layers is nothing where there is no image.
    (
        "qwen3vl",
        Design {
            head_norms: HeadNorms::Each,
            ..QWEN2
        },
    ),
    (
        "jais2",
        Design {
            activation: Activation::SquaredRelu,
            ..LAYER_NORMS
        },
    ),
    (
        "apertus",
        Design {
            head_norms: HeadNorms::Each,
            inner: Inner::PlainXielu,
            ..QWEN2
        },
    ),
    (
        "seed_oss",
        Design {
            mlp_norm: "post_attention_norm",
            ..QWEN2
        },
    ),
    (
        "gemma",
        Design {
            activation: Activation::Gelu,
            scaled_embeddings: true,
            ..QWEN2
        },
    ),
    (
        "phi2",
        Design {
            halves: Halves::Parallel,
            ..LAYER_NORMS
        },
    ),
    (
        "phi3",
        Design {
            inner: Inner::Fused,
            layers: Layers::AllSlide,
            ..QWEN2
        },
    ),
    (
        "gpt2",
        Design {
            rope: None,
            ..LAYER_NORMS
        },
    ),
    (
        "starcoder",
        Design {
            rope: None,
            ..LAYER_NORMS
        },
    ),
    (
        "gptneox",
        Design {
            halves: Halves::ByKey,
            activation: Activation::GeluErf,
            ..LAYER_NORMS
        },
    ),
    ("starcoder2", LAYER_NORMS),
    (
        "falcon",
        Design {
            halves: Halves::ParallelFalcon,
            activation: Activation::GeluErf,
            ..LAYER_NORMS
        },
    ),
    (
        "bloom",
        Design {
            rope: None,
            alibi: 8.0,
            ..LAYER_NORMS
        },
    ),
    (
        "mpt",
        Design {
            rope: None,
            alibi: 0.0,
            activation: Activation::GeluErf,
            ..LAYER_NORMS
        },
    ),
    (
        "nemotron",
        Design {
            activation: Activation::SquaredRelu,
            ..LAYER_NORMS
        },
    ),
    (
        "stablelm",
        Design {
            norm: NormKind::Layer,
            halves: Halves::ByNorm,
            head_norms: HeadNorms::Optional,
            ..QWEN2
        },
    ),
    (
        "command-r",
        Design {
            norm: NormKind::Layer,
            halves: Halves::Parallel,
            head_norms: HeadNorms::Optional,
            ..LLAMA_LIKE
        },
    ),
    (
        "cohere2",
        Design {
            norm: NormKind::Layer,
            halves: Halves::Parallel,
            layers: Layers::SlidersRotate(4),
            ..LLAMA_LIKE
        },
    ),
    (
        "olmo",
        Design {
            norm: NormKind::Layer,
            norms: Norms::Weightless,
            ..LLAMA_LIKE
        },
    ),
    (
        "olmo2",
        Design {
            norms: Norms::After,
            head_norms: HeadNorms::Whole,
            layers: Layers::SlidersRotatePlainly(4),
            ..QWEN2
        },
    ),
    ("internlm2", LLAMA_LIKE),
    (
        "smollm3",
        Design {
            layers: Layers::RotateAllBut(4),
            ..LLAMA_LIKE
        },
    ),
    (
        "arcee",
        Design {
            inner: Inner::Plain,
            activation: Activation::SquaredRelu,
            ..LLAMA_LIKE
        },
    ),
    (
        "granite",
        Design {
            logit_scale: LogitScale::Divides,
            ..LLAMA_LIKE
        },
    ),
    (
        "glm4",
        Design {
            norms: Norms::Around,
            inner: Inner::Fused,
            ..LLAMA_LIKE
        },
    ),
    (
        "chatglm",
        Design {
            inner: Inner::Fused,
            ..LLAMA_LIKE
        },
    ),
    ("exaone", QWEN2),
    (
        "exaone4",
        Design {
            norms: Norms::After,
            head_norms: HeadNorms::Each,
            layers: Layers::SlidersRotateIfAny(4),
            ..QWEN2
        },
    ),
    (
        "hunyuan-dense",
        Design {
            head_norms: HeadNorms::Rotated,
            ..QWEN2
        },
    ),
    ("ernie4_5", LLAMA_LIKE),
    ("xverse", LLAMA_LIKE),
    (
        "minicpm",
        Design {
            logit_scale: LogitScale::Divides,
            ..LLAMA_LIKE
        },
    ),
    (
        "orion",
        Design {
            norm: NormKind::Layer,
            ..QWEN2
        },
    ),
    ("codeshell", LAYER_NORMS),
    (
        "refact",
        Design {
            rope: None,
            alibi: 8.0,
            ..QWEN2
        },
    ),
    ("pangu-embedded", QWEN2),
    (
        "maincoder",
        Design {
            head_norms: HeadNorms::Rotated,
            ..LLAMA_LIKE
        },
    ),
];

/// Layers of Baichuan 13B, which has ALiBi in place of the rotation.
const LAYERS_BAICHUAN_13B: usize = 40;

/// Baichuan: two designs under one name.
pub(super) fn baichuan(loader: &Loader<'_>) -> Result<Decoder> {
    let design = match loader.keys.count("block_count")? {
        LAYERS_BAICHUAN_13B => Design {
            rope: None,
            alibi: 8.0,
            ..QWEN2
        },
        _ => LLAMA_LIKE,
    };
    build(loader, &design)
}

/// Builds the graph of a design.
pub(super) fn build(loader: &Loader<'_>, design: &Design) -> Result<Decoder> {
    let builder = Builder::new(loader, design)?;
    let layers = (0..builder.hyper.layers)
        .map(|i| builder.layer(i))
        .collect::<Result<Vec<_>>>()?;
    builder.decoder(layers)
}

struct Builder<'a, 'l> {
    loader: &'a Loader<'l>,
    design: &'a Design,
    hyper: Hyperparameters,
    eps: f32,
    rope: Option<Arc<Rope>>,
    /// The rotation of layers with a window.
    local_rope: Option<Arc<Rope>>,
    window: Option<usize>,
    sliding: Vec<bool>,
    scale: f32,
    residual_scale: f32,
}

impl<'a, 'l> Builder<'a, 'l> {
    fn new(loader: &'a Loader<'l>, design: &'a Design) -> Result<Self> {
        let hyper = Hyperparameters::read(loader)?;
        let keys = &loader.keys;
        let eps = keys.float(match design.norm {
            NormKind::Rms => "attention.layer_norm_rms_epsilon",
            NormKind::Layer => "attention.layer_norm_epsilon",
        })?;
        let full = design.rope.map(|style| rope(loader, &hyper, style)).transpose()?;
        let local = match (design.layers, design.rope) {
            (Layers::SlidersRotatePlainly(_), Some(style)) => {
                let mut settings = rope_settings(loader, &hyper, style)?;
                settings.frequency_scale = 1.0;
                settings.magnitude = 1.0;
                settings.yarn = None;
                settings.divisors = None;
                Some(Arc::new(Rope::new(&settings)))
            }
            _ => full.clone(),
        };
        let window = keys
            .optional_count("attention.sliding_window")?
            .filter(|&n| n > 0);
        let sliding = match (design.layers, window) {
            (
                Layers::SlidersRotate(n) | Layers::SlidersRotatePlainly(n) | Layers::SlidersRotateIfAny(n),
                Some(_),
            ) => sliding_layers(loader, &hyper, n)?,
            _ => Vec::new(),
        };
        Ok(Self {
            eps,
            rope: full,
            local_rope: local,
            window,
            sliding,
            scale: keys
                .optional_positive("attention.scale")?
                .unwrap_or(hyper.usual_scale()),
            residual_scale: keys.optional_positive("residual_scale")?.unwrap_or(1.0),
            loader,
            design,
            hyper,
        })
    }

    fn norm(&self, layer: usize, name: &str) -> Result<Norm> {
        let base = format!("blk.{layer}.{name}");
        self.loader
            .norm(self.design.norm, &base, self.hyper.hidden, self.eps)
    }

    fn weightless(&self) -> Norm {
        Norm {
            kind: self.design.norm,
            group: self.hyper.hidden,
            weight: Vec::new(),
            bias: Vec::new(),
            eps: self.eps,
        }
    }

    fn layer(&self, i: usize) -> Result<Layer> {
        let design = self.design;
        let norm = |name: &str| match design.norms {
            Norms::Weightless => Ok(Some(self.weightless())),
            Norms::After => Ok(None),
            Norms::Before | Norms::Around => self.norm(i, name).map(Some),
        };
        let post = |name: &str| match design.norms {
            Norms::After | Norms::Around => self.norm(i, name).map(Some),
            _ => Ok(None),
        };
        let parallel = match design.halves {
            Halves::InSequence => false,
            Halves::Parallel | Halves::ParallelFalcon => true,
            Halves::ByKey => self
                .loader
                .keys
                .optional_flag("use_parallel_residual")?
                .unwrap_or(true),
            Halves::ByNorm => !self.loader.has(&format!("blk.{i}.ffn_norm.weight")),
        };
        let mut attention_norm = norm("attn_norm")?;
        let mut mlp_norm = match design.halves {
            Halves::InSequence | Halves::ByKey => norm(design.mlp_norm)?,
            Halves::ByNorm if !parallel => norm(design.mlp_norm)?,
            _ => None,
        };
        if design.halves == Halves::ParallelFalcon && self.loader.has(&format!("blk.{i}.attn_norm_2.weight"))
        {
            mlp_norm = attention_norm;
            attention_norm = norm("attn_norm_2")?;
        }
        let mlp = match design.inner {
            Inner::Gated => self.hyper.feed_forward(self.loader, i, design.activation)?,
            Inner::PlainXielu => {
                let activation = self.xielu(i)?;
                self.hyper
                    .feed_forward_of_two(self.loader, i, activation, false)?
            }
            other => {
                let fused = other == Inner::Fused;
                self.hyper
                    .feed_forward_of_two(self.loader, i, design.activation, fused)?
            }
        };
        Ok(Layer {
            attention_norm,
            attention: self.attention(i)?.into(),
            attention_post_norm: post("post_attention_norm")?,
            mlp_norm,
            mlp: Mlp::Dense(Box::new(mlp)),
            mlp_post_norm: post("post_ffw_norm")?,
            parallel,
            residual_scale: self.residual_scale,
            norms_follow_sums: false,
        })
    }

    /// The activation of a layer of Apertus. Alphas are stored as what softplus makes them of.
    fn xielu(&self, i: usize) -> Result<Activation> {
        let number = |name: &str| {
            let key = format!("xielu.{name}");
            let all = self.loader.keys.global_floats(&key, self.hyper.blocks)?;
            Ok::<_, crate::Error>(all[i])
        };
        let softplus = |x: f32| if x > 20.0 { x } else { x.exp().ln_1p() };
        let beta = number("beta")?;
        Ok(Activation::Xielu(Xielu {
            below: beta + softplus(number("alpha_n")?),
            above: softplus(number("alpha_p")?),
            beta,
            eps: number("eps")?,
        }))
    }

    /// Whether a layer sees only a window, and what it is rotated by.
    fn kind(&self, i: usize) -> (bool, Option<Arc<Rope>>) {
        let slides = self.sliding.get(i).copied().unwrap_or(false);
        let rotates = match self.design.layers {
            Layers::Alike | Layers::SlidersRotatePlainly(_) => true,
            Layers::AllSlide => return (true, self.rope.clone()),
            Layers::RotateAllBut(n) => !(i + 1).is_multiple_of(n),
            Layers::SlidersRotate(_) => slides,
            Layers::SlidersRotateIfAny(_) => slides || self.window.is_none(),
        };
        let rope = if slides { &self.local_rope } else { &self.rope };
        (slides, rope.clone().filter(|_| rotates))
    }

    fn attention(&self, i: usize) -> Result<Attention> {
        let (loader, hyper) = (self.loader, &self.hyper);
        let (slides, rope) = self.kind(i);
        let mut attention = hyper.attention(loader, i, rope, self.scale)?;
        attention.shape.window = self.window.filter(|_| slides);
        attention.clamp = loader.keys.optional_positive("attention.clamp_kqv")?;
        let bias = loader.keys.optional_float("attention.max_alibi_bias")?;
        let bias = bias.unwrap_or(self.design.alibi);
        attention.shape.max_alibi_bias = Some(bias).filter(|&b| b > 0.0);
        let base = |name: &str| format!("blk.{i}.{name}");
        let (heads, kv) = hyper.heads(loader, i)?;
        let (kind, eps, len) = (self.design.norm, self.eps, hyper.key_len);
        let each = match self.design.head_norms {
            HeadNorms::None => false,
            HeadNorms::Optional => loader.has(&base("attn_q_norm.weight")),
            HeadNorms::Each | HeadNorms::Rotated => true,
            HeadNorms::Whole => {
                attention.query_norm = Some(loader.norm(kind, &base("attn_q_norm"), len * heads, eps)?);
                attention.key_norm = Some(loader.norm(kind, &base("attn_k_norm"), len * kv, eps)?);
                false
            }
        };
        if each {
            attention.query_norm = Some(loader.head_norm(kind, &base("attn_q_norm"), len, heads, eps)?);
            attention.key_norm = Some(loader.head_norm(kind, &base("attn_k_norm"), len, kv, eps)?);
        }
        attention.norms_follow_rope = self.design.head_norms == HeadNorms::Rotated;
        Ok(attention)
    }

    fn decoder(self, layers: Vec<Layer>) -> Result<Decoder> {
        let (loader, design, hidden) = (self.loader, self.design, self.hyper.hidden);
        let embedding = loader.embedding(hidden)?;
        let head = loader.head(hidden, embedding.matrix.outputs)?;
        let output_norm = match design.norms {
            Norms::Weightless => self.weightless(),
            _ => loader.norm(design.norm, "output_norm", hidden, self.eps)?,
        };
        let embedding_norm = match loader.has("token_embd_norm.weight") {
            true => Some(loader.norm(design.norm, "token_embd_norm", hidden, self.eps)?),
            false => None,
        };
        let scale = loader.keys.optional_positive("embedding_scale")?;
        let logits = loader.keys.optional_positive("logit_scale")?.unwrap_or(1.0);
        Ok(Decoder {
            embedding_scale: match design.scaled_embeddings {
                true => (hidden as f32).sqrt(),
                false => scale.unwrap_or(1.0),
            },
            positions: match design.rope {
                None => loader.positions(hidden)?,
                Some(_) => None,
            },
            embedding_norm,
            logit_scale: match design.logit_scale {
                LogitScale::Multiplies => logits,
                LogitScale::Divides => 1.0 / logits,
            },
            logit_softcap: loader.keys.optional_positive("final_logit_softcapping")?,
            ..Decoder::new(embedding, layers, output_norm, head)
        })
    }
}

/// Adds the norms of `blk.{layer}.attn_q_norm` and `attn_k_norm`.
pub(super) fn with_head_norms(
    loader: &Loader<'_>,
    layer: usize,
    hyper: &Hyperparameters,
    eps: f32,
    attention: Attention,
) -> Result<Attention> {
    let norm = |name: &str| loader.rms_norm(&format!("blk.{layer}.{name}"), hyper.key_len, eps);
    Ok(Attention {
        query_norm: Some(norm("attn_q_norm")?),
        key_norm: Some(norm("attn_k_norm")?),
        ..attention
    })
}
