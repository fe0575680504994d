//! Builds the dense decoders of [`super::designs`].

use std::ops::Range;
use std::sync::Arc;

use super::classifier::Classifier;
use super::decoder::{Decoder, Layer, Mlp};
use super::designs::{Design, GLM4, Halves, HeadNorms, Inner, LLAMA_LIKE, Layers, LogitScale, Norms, QWEN2};
use super::hyperparameters::{Hyperparameters, gated, rope, rope_settings, sliding_layers};
use crate::Result;
use crate::layers::{Attention, Linear, Mixer};
use crate::ops::{Activation, Norm, NormKind, Rope, Xielu};
use crate::weights::Loader;

/// Most layers that all loops have together, as llama.cpp has it (LLAMA_MAX_LAYERS).
const MAX_LOOPED: usize = 512;
/// Layers of Baichuan 13B, which has ALiBi in place of the rotation.
const LAYERS_BAICHUAN_13B: usize = 40;
/// Tokens of Chameleon that stand for parts of images.
const CHAMELEON_IMAGE_TOKENS: Range<usize> = 4..8196;
/// Of Chameleon's norms of heads, which no key gives.
const CENTERED_EPSILON: f32 = 1e-5;

/// Baichuan: two designs under one name.
pub(super) fn baichuan(loader: &Loader<'_>) -> Result<Decoder> {
    let design = match loader.keys.blocks()? {
        LAYERS_BAICHUAN_13B => Design {
            rope: None,
            alibi: 8.0,
            ..QWEN2
        },
        _ => LLAMA_LIKE,
    };
    build(loader, &design)
}

/// Chameleon: norms of heads as of whole rows; in the larger of the published models the norms follow the halves
/// ("Swin"). Tokens of images are not predicted.
pub(super) fn chameleon(loader: &Loader<'_>) -> Result<Decoder> {
    let design = Design {
        head_norms: HeadNorms::Centered,
        ..LLAMA_LIKE
    };
    let mut decoder = build(loader, &design)?;
    if loader.keys.optional_flag("swin_norm")?.unwrap_or(false) {
        for layer in &mut decoder.layers {
            layer.attention_post_norm = layer.attention_norm.take();
            layer.mlp_post_norm = layer.mlp_norm.take();
        }
    }
    decoder.muted = CHAMELEON_IMAGE_TOKENS;
    Ok(decoder)
}

/// CogVLM: Llama with a second set of matrices for the places of an image, which text never goes through.
pub(super) fn cogvlm(loader: &Loader<'_>) -> Result<Decoder> {
    let hyper = Hyperparameters::read(loader)?;
    for i in 0..hyper.layers {
        let needed =
            |name: &str, shape: [usize; 2]| loader.needed(&format!("blk.{i}.vis_{name}.weight"), &shape);
        let (heads, _) = hyper.heads(loader, i)?;
        let (all, inner) = (heads.saturating_mul(hyper.key_len), hyper.inner(loader, i)?);
        needed("attn_qkv", [hyper.hidden, all.saturating_mul(3)])?;
        needed("attn_output", [all, hyper.hidden])?;
        needed("gate", [hyper.hidden, inner])?;
        needed("up", [hyper.hidden, inner])?;
        needed("down", [inner, hyper.hidden])?;
    }
    build(loader, &QWEN2)
}

/// Jais: gates, ALiBi, and scores that are divided by the length of a head.
pub(super) fn jais(loader: &Loader<'_>) -> Result<Decoder> {
    let design = Design {
        norm: NormKind::Layer,
        rope: None,
        alibi: 8.0,
        ..QWEN2
    };
    let mut decoder = build(loader, &design)?;
    for layer in &mut decoder.layers {
        if let Mixer::Attention(attention) = &mut layer.attention {
            attention.shape.scale = 1.0 / attention.shape.key_len as f32;
        }
    }
    Ok(decoder)
}

/// GLM-4, and the text model of GLM-4.1V: where a head has sections, halves of it are rotated together.
pub(super) fn glm4(loader: &Loader<'_>) -> Result<Decoder> {
    let design = match loader.keys.is_array("rope.dimension_sections") {
        true => Design {
            rope: QWEN2.rope,
            ..GLM4
        },
        false => GLM4,
    };
    build(loader, &design)
}

/// Builds the graph of a design.
pub(super) fn build(loader: &Loader<'_>, design: &Design) -> Result<Decoder> {
    build_with_head(loader, design, |hidden, tokens| loader.head(hidden, tokens))
}

/// The same with an output matrix that is loaded otherwise, of the width and the number of tokens.
pub(super) fn build_with_head(
    loader: &Loader<'_>,
    design: &Design,
    head: impl FnOnce(usize, usize) -> Result<Linear>,
) -> Result<Decoder> {
    let builder = Builder::new(loader, design)?;
    let layers = match loader.keys.optional_count("num_loops")? {
        None | Some(0 | 1) => (0..builder.hyper.layers)
            .map(|i| builder.layer(i))
            .collect::<Result<Vec<_>>>()?,
        Some(loops) => builder.looped(loops)?,
    };
    for i in builder.hyper.predicting.clone() {
        builder.layer(i)?;
        loader.prediction(i, builder.hyper.hidden)?;
    }
    builder.decoder(layers, head)
}

/// Whether tokens see no later ones: so it is where the file does not say.
pub(super) fn causal(loader: &Loader<'_>) -> Result<bool> {
    Ok(loader.keys.optional_flag("attention.causal")?.unwrap_or(true))
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

/// Base of the rotation in windows where the file has none.
const LOCAL_BASE: f32 = 10000.0;

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
            (Layers::SlidersRotatePlainly(_) | Layers::SlidersRotateLocally(_), Some(style)) => {
                let mut settings = rope_settings(loader, &hyper, style)?;
                if matches!(design.layers, Layers::SlidersRotateLocally(_)) {
                    let base = keys.optional_positive("rope.freq_base_swa")?;
                    settings.base = f64::from(base.unwrap_or(LOCAL_BASE));
                }
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
                Layers::SlidersRotate(n)
                | Layers::SlidersRotatePlainly(n)
                | Layers::SlidersRotateLocally(n)
                | Layers::SlidersRotateIfAny(n),
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

    /// The layers several times over; what leaves the last goes through the output's norm, unless the file says that
    /// it does so at the end alone.
    fn looped(&self, loops: usize) -> Result<Vec<Layer>> {
        let (loader, count) = (self.loader, self.hyper.layers);
        if loops.saturating_mul(count) > MAX_LOOPED {
            let expected = format!("at most {MAX_LOOPED} layers in all");
            let found = format!("{loops} times {count}");
            return Err(loader.keys.refused("num_loops", expected, found));
        }
        let plain = loader
            .keys
            .optional_flag("skip_loop_final_norm")?
            .unwrap_or(false);
        let mut layers = Vec::new();
        for time in 1..=loops {
            for i in 0..count {
                let mut layer = self.layer(i)?;
                if i + 1 == count && time < loops && !plain {
                    let name = self.design.output_norm;
                    layer.mlp_post_norm =
                        Some(loader.norm(self.design.norm, name, self.hyper.hidden, self.eps)?);
                    layer.norms_follow_sums = true;
                }
                layers.push(layer);
            }
        }
        Ok(layers)
    }

    fn weightless(&self) -> Norm {
        Norm {
            kind: self.design.norm,
            group: self.hyper.hidden,
            weight: Vec::new(),
            bias: Vec::new(),
            eps: self.eps,
            tensor: None,
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
            Inner::GatedHalf => {
                let (prefix, inner) = (format!("blk.{i}.ffn_"), self.hyper.inner(self.loader, i)? / 2);
                gated(
                    self.loader,
                    &prefix,
                    "",
                    self.hyper.hidden,
                    inner,
                    design.activation,
                )?
            }
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
        let attention = self.attention(i)?;
        Ok(Layer {
            attention_norm,
            attention_post_norm: post("post_attention_norm")?,
            mlp_norm,
            mlp_post_norm: post("post_ffw_norm")?,
            parallel,
            residual_scale: self.residual_scale,
            ..Layer::without_norms(attention, Mlp::Dense(Box::new(mlp)))
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
            Layers::Alike | Layers::SlidersRotatePlainly(_) | Layers::SlidersRotateLocally(_) => true,
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
        attention.shape.causal = causal(loader)?;
        attention.clamp = loader.keys.optional_positive("attention.clamp_kqv")?;
        let bias = loader.keys.optional_float("attention.max_alibi_bias")?;
        let bias = bias.unwrap_or(self.design.alibi);
        attention.shape.max_alibi_bias = Some(bias).filter(|&b| b > 0.0);
        let base = |name: &str| format!("blk.{i}.{name}");
        let (heads, kv) = hyper.heads(loader, i)?;
        let len = hyper.key_len;
        let (kind, eps) = match self.design.head_norms {
            HeadNorms::Centered => (NormKind::Layer, CENTERED_EPSILON),
            _ => (self.design.norm, self.eps),
        };
        let each = match self.design.head_norms {
            HeadNorms::None => false,
            HeadNorms::Optional => loader.has(&base("attn_q_norm.weight")),
            HeadNorms::Each | HeadNorms::Rotated | HeadNorms::Centered => true,
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

    fn decoder(
        self,
        layers: Vec<Layer>,
        head: impl FnOnce(usize, usize) -> Result<Linear>,
    ) -> Result<Decoder> {
        let (loader, design, hidden) = (self.loader, self.design, self.hyper.hidden);
        let classifier = match design.output_norm {
            "enc.output_norm" => Classifier::read(loader, hidden)?,
            _ => None,
        };
        let embedding = loader.embedding(hidden)?;
        let head = head(hidden, embedding.matrix.outputs)?;
        let output_norm = match design.norms {
            Norms::Weightless => self.weightless(),
            _ => loader.norm(design.norm, design.output_norm, hidden, self.eps)?,
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
            classifier,
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
