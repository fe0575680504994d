//! Attention in some layers (or beside something else in all): Jamba, Falcon-H1, Granite's hybrids, LFM2,
//! Qwen3-Next, Qwen3.5, Kimi Linear, Nemotron-H.

use std::sync::Arc;

use super::decoder::{Decoder, Layer, Mlp};
use super::deepseek2::latent;
use super::dense::causal;
use super::hyperparameters::{Hyperparameters, gated, rope};
use super::mamba::{convolution, mamba, mamba2};
use super::mixtures::{mixture, swiglu_limits, weightless};
use crate::Result;
use crate::layers::{
    Attention, Convolution, DeltaNet, FeedForward, Gate, GateFunction, KimiDelta, Mixer, Mixture, NetGate,
    OutputGate, Projections, Scoring, ShortConvolution, Strengths,
};
use crate::ops::{Activation, AttentionShape, Norm, NormKind, Rope, RopeStyle};
use crate::weights::Loader;

/// Parts from which a hybrid's layers are built.
pub(super) struct Builder<'a, 'l> {
    pub(super) loader: &'a Loader<'l>,
    pub(super) hyper: Hyperparameters,
    pub(super) eps: f32,
    scale: f32,
    /// Whether `feed_forward_length` says how wide experts are.
    inner_is_of_experts: bool,
}

impl<'a, 'l> Builder<'a, 'l> {
    pub(super) fn new(loader: &'a Loader<'l>) -> Result<Self> {
        let hyper = Hyperparameters::read(loader)?;
        let scale = loader.keys.optional_positive("attention.scale")?;
        Ok(Self {
            eps: loader.keys.float("attention.layer_norm_rms_epsilon")?,
            scale: scale.unwrap_or(hyper.usual_scale()),
            inner_is_of_experts: false,
            loader,
            hyper,
        })
    }

    pub(super) fn rope(&self, style: RopeStyle) -> Result<Arc<Rope>> {
        rope(self.loader, &self.hyper, style)
    }

    pub(super) fn norm(&self, layer: usize, name: &str) -> Result<Norm> {
        self.loader
            .rms_norm(&format!("blk.{layer}.{name}"), self.hyper.hidden, self.eps)
    }

    pub(super) fn has(&self, layer: usize, name: &str) -> bool {
        self.loader.has(&format!("blk.{layer}.{name}.weight"))
    }

    fn attention(&self, layer: usize, rope: Option<Arc<Rope>>) -> Result<Attention> {
        let mut attention = self.hyper.attention(self.loader, layer, rope, self.scale)?;
        self.head_norms(layer, &mut attention)?;
        Ok(attention)
    }

    /// Norms of query and key heads, where the file has them.
    fn head_norms(&self, layer: usize, attention: &mut Attention) -> Result<()> {
        if self.has(layer, "attn_q_norm") {
            let norm = |name: &str| {
                let base = format!("blk.{layer}.{name}");
                self.loader
                    .rms_norm(&base, self.hyper.key_len, self.eps)
                    .map(Some)
            };
            attention.query_norm = norm("attn_q_norm")?;
            attention.key_norm = norm("attn_k_norm")?;
        }
        Ok(())
    }

    fn mamba2(&self, layer: usize) -> Result<Mixer> {
        let space = mamba2(self.loader, layer, self.hyper.hidden, self.eps)?;
        Ok(Mixer::Mamba2(Box::new(space)))
    }

    /// Experts where there is a router, else a dense second half.
    pub(super) fn mlp(&self, layer: usize, scoring: Scoring, normalize: bool) -> Result<Mlp> {
        let (loader, hyper) = (self.loader, &self.hyper);
        Ok(match self.has(layer, "ffn_gate_inp") {
            true => Mlp::Mixture(Box::new(mixture(loader, hyper, layer, scoring, normalize)?)),
            false => {
                // Of Granite's hybrids, feed_forward_length is another layer's width.
                let prefix = format!("blk.{layer}.ffn_");
                let inner = loader.outputs_of(&format!("{prefix}up"))?;
                if loader.is_declared() && !self.inner_is_of_experts {
                    loader.needed(
                        &format!("{prefix}up.weight"),
                        &[hyper.hidden, hyper.inner(loader, layer)?],
                    )?;
                }
                let dense = gated(loader, &prefix, "", hyper.hidden, inner, Activation::Silu)?;
                Mlp::Dense(Box::new(dense))
            }
        })
    }

    pub(super) fn decoder(self, layers: Vec<Layer>, output_norm: &str) -> Result<Decoder> {
        let (loader, hidden) = (self.loader, self.hyper.hidden);
        let embedding = loader.embedding(hidden)?;
        let head = loader.head(hidden, embedding.matrix.outputs)?;
        let norm = loader.rms_norm(output_norm, hidden, self.eps)?;
        Ok(Decoder::new(embedding, layers, norm, head))
    }
}

/// Mamba in most layers, attention without positions in the others, experts in every other one.
pub(super) fn jamba(loader: &Loader<'_>) -> Result<Decoder> {
    let b = Builder::new(loader)?;
    let mut layers = Vec::new();
    for i in 0..b.hyper.layers {
        let mixer = match b.has(i, "ssm_in") {
            true => Mixer::Mamba(Box::new(mamba(loader, i, b.hyper.hidden, b.eps)?)),
            false => b.attention(i, None)?.into(),
        };
        let mlp = b.mlp(i, Scoring::Softmax, false)?;
        layers.push(Layer::new(
            b.norm(i, "attn_norm")?,
            mixer,
            b.norm(i, "ffn_norm")?,
            mlp,
        ));
    }
    b.decoder(layers, "output_norm")
}

/// Attention and Mamba-2 side by side.
pub(super) fn falcon_h1(loader: &Loader<'_>) -> Result<Decoder> {
    let b = Builder::new(loader)?;
    let rope = b.rope(RopeStyle::Neox)?;
    let mut layers = Vec::new();
    for i in 0..b.hyper.layers {
        let attention = b.attention(i, Some(rope.clone()))?.into();
        let mixer = Mixer::Both(Box::new((b.mamba2(i)?, attention)));
        // This norm's name has no suffix.
        let name = format!("blk.{i}.ffn_norm");
        let mlp_norm = match b.has(i, "ffn_norm") {
            true => b.norm(i, "ffn_norm")?,
            false => Norm {
                kind: NormKind::Rms,
                group: b.hyper.hidden,
                weight: loader.vector(&name, b.hyper.hidden)?,
                bias: Vec::new(),
                eps: b.eps,
                tensor: None,
            },
        };
        let mlp = b.mlp(i, Scoring::Softmax, false)?;
        layers.push(Layer::new(b.norm(i, "attn_norm")?, mixer, mlp_norm, mlp));
    }
    b.decoder(layers, "output_norm")
}

/// Mamba-2 in most layers, attention in the others.
pub(super) fn granite(loader: &Loader<'_>) -> Result<Decoder> {
    let mut b = Builder::new(loader)?;
    b.inner_is_of_experts = true;
    let keys = &loader.keys;
    let rotates = keys.optional_flag("rope.scaling.finetuned")?.unwrap_or(false);
    let rope = rotates.then(|| b.rope(RopeStyle::Norm)).transpose()?;
    let residual_scale = keys.optional_positive("residual_scale")?.unwrap_or(1.0);
    let embedding_scale = keys.optional_positive("embedding_scale")?.unwrap_or(1.0);
    let logit_scale = 1.0 / keys.optional_positive("logit_scale")?.unwrap_or(1.0);
    let mut layers = Vec::new();
    for i in 0..b.hyper.layers {
        let mixer = match b.has(i, "ssm_in") {
            true => b.mamba2(i)?,
            false => b.attention(i, rope.clone())?.into(),
        };
        let mlp = b.mlp(i, Scoring::Softmax, true)?;
        layers.push(Layer {
            residual_scale,
            ..Layer::new(b.norm(i, "attn_norm")?, mixer, b.norm(i, "ffn_norm")?, mlp)
        });
    }
    Ok(Decoder {
        embedding_scale,
        logit_scale,
        ..b.decoder(layers, "output_norm")?
    })
}

/// Short convolutions in most layers, attention in the others.
pub(super) fn lfm2(loader: &Loader<'_>) -> Result<Decoder> {
    let b = Builder::new(loader)?;
    let rope = b.rope(RopeStyle::Neox)?;
    let width = loader.keys.count("shortconv.l_cache")?;
    let causal = causal(loader)?;
    let hidden = b.hyper.hidden;
    let outputs = loader.keys.optional_count("embedding_length_out")?;
    let outputs = outputs.filter(|&n| n > 0).unwrap_or(hidden);
    loader.allowed("dense_2.bias", &[outputs])?;
    let modules = match loader.has("dense_2.weight") {
        true => vec![loader.linear("dense_2", hidden, outputs)?],
        false => Vec::new(),
    };
    let window = loader.keys.optional_count("attention.sliding_window")?;
    let window = window.filter(|&n| n > 0);
    let mut layers = Vec::new();
    for i in 0..b.hyper.layers {
        let base = |name: &str| format!("blk.{i}.shortconv.{name}");
        let mixer = match b.has(i, "shortconv.conv") {
            true => {
                let three = hidden.checked_mul(3);
                let three = three.ok_or_else(|| loader.error("embedding_length is too large"))?;
                Mixer::ShortConvolution(Box::new(ShortConvolution {
                    input: loader.linear(&base("in_proj"), hidden, three)?,
                    convolution: convolution(loader, &base("conv"), width, hidden)?,
                    output: loader.linear(&base("out_proj"), hidden, hidden)?,
                    centered: !causal,
                }))
            }
            false => {
                let mut attention = b.attention(i, Some(rope.clone()))?;
                attention.shape.causal = causal;
                attention.shape.window = window;
                attention.into()
            }
        };
        let mlp = b.mlp(i, Scoring::Sigmoid, true)?;
        layers.push(Layer::new(
            b.norm(i, "attn_norm")?,
            mixer,
            b.norm(i, "ffn_norm")?,
            mlp,
        ));
    }
    Ok(Decoder {
        modules,
        ..b.decoder(layers, "token_embd_norm")?
    })
}

/// Gated delta nets in three layers of four, gated attention in the fourth. Qwen3.5 turns the sections of a head by one
/// position as long as there is only text.
pub(super) fn qwen3next(loader: &Loader<'_>) -> Result<Decoder> {
    let b = Builder::new(loader)?;
    let rope = b.rope(RopeStyle::Neox)?;
    let mut layers = Vec::new();
    for i in 0..b.hyper.layers {
        let mixer = match b.has(i, "ssm_conv1d") {
            true => Mixer::DeltaNet(Box::new(delta_net(&b, i)?)),
            false => gated_attention(&b, i, rope.clone())?.into(),
        };
        let mlp = b.mlp(i, Scoring::Softmax, true)?;
        let (norm, mlp_norm) = (b.norm(i, "attn_norm")?, b.norm(i, "post_attention_norm")?);
        layers.push(Layer::new(norm, mixer, mlp_norm, mlp));
    }
    for i in b.hyper.predicting.clone() {
        gated_attention(&b, i, rope.clone())?;
        b.mlp(i, Scoring::Softmax, true)?;
        b.norm(i, "attn_norm")?;
        b.norm(i, "post_attention_norm")?;
        loader.prediction(i, b.hyper.hidden)?;
    }
    b.decoder(layers, "output_norm")
}

/// Kimi Linear: delta attention in most layers, latent attention without a rotation in the others.
pub(super) fn kimi_linear(loader: &Loader<'_>) -> Result<Decoder> {
    let b = Builder::new(loader)?;
    let scale = 1.0 / (loader.keys.count("attention.key_length_mla")? as f32).sqrt();
    let mut layers = Vec::new();
    for i in 0..b.hyper.layers {
        let mixer = match b.has(i, "ssm_conv1d_q") {
            true => Mixer::KimiDelta(Box::new(kimi_delta(&b, i)?)),
            false => Mixer::Latent(Box::new(latent(loader, &b.hyper, i, None, scale, b.eps)?)),
        };
        let mlp = b.mlp(i, Scoring::Sigmoid, true)?;
        let (norm, mlp_norm) = (b.norm(i, "attn_norm")?, b.norm(i, "ffn_norm")?);
        layers.push(Layer::new(norm, mixer, mlp_norm, mlp));
    }
    b.decoder(layers, "output_norm")
}

/// Ling 3: delta attention whose decays have a bound, latent attention with a gate for each head in the other layers. As
/// long as there is only text, all sections of a head are turned by one position.
pub(super) fn bailingmoe3(loader: &Loader<'_>) -> Result<Decoder> {
    let b = Builder::new(loader)?;
    let keys = &loader.keys;
    let scale = 1.0 / (keys.count("attention.key_length_mla")? as f32).sqrt();
    let rope = b.rope(match keys.is_array("rope.dimension_sections") {
        true => RopeStyle::Neox,
        false => RopeStyle::Norm,
    })?;
    let bound = keys.float("kda.gate_lower_bound")?;
    let normalize = keys.optional_flag("expert_weights_norm")?.unwrap_or(false);
    let layer = |i: usize| {
        let mixer = match b.has(i, "ssm_conv1d_q") {
            true => Mixer::KimiDelta(Box::new(KimiDelta {
                bound: Some(bound),
                ..kimi_delta(&b, i)?
            })),
            false => {
                let mut attention = latent(loader, &b.hyper, i, Some(rope.clone()), scale, b.eps)?;
                attention.gate = Some(OutputGate {
                    linear: loader.linear(&format!("blk.{i}.attn_gate"), b.hyper.hidden, attention.heads)?,
                    function: GateFunction::Sigmoid,
                });
                Mixer::Latent(Box::new(attention))
            }
        };
        let mut mlp = b.mlp(i, Scoring::Sigmoid, normalize)?;
        let (experts, beside) = swiglu_limits(loader, &b.hyper, i)?;
        match &mut mlp {
            Mlp::Mixture(mixture) => {
                mixture.activation = experts;
                if let Some(shared) = &mut mixture.shared {
                    shared.layer.activation = beside;
                }
            }
            Mlp::Dense(dense) => dense.activation = beside,
            _ => {}
        }
        Ok::<_, crate::Error>(Layer::new(
            b.norm(i, "attn_norm")?,
            mixer,
            b.norm(i, "ffn_norm")?,
            mlp,
        ))
    };
    let layers = (0..b.hyper.layers).map(layer).collect::<Result<Vec<_>>>()?;
    for i in b.hyper.predicting_if_any(loader) {
        layer(i)?;
        loader.prediction(i, b.hyper.hidden)?;
        loader.needed(&format!("blk.{i}.layer_output_norm.weight"), &[b.hyper.hidden])?;
    }
    b.decoder(layers, "output_norm")
}

pub(super) fn kimi_delta(b: &Builder<'_, '_>, layer: usize) -> Result<KimiDelta> {
    let (loader, hidden) = (b.loader, b.hyper.hidden);
    let base = |name: &str| format!("blk.{layer}.{name}");
    let heads = loader.keys.count("attention.head_count")?;
    let len = loader.keys.count("kda.head_dim")?;
    let width = loader.keys.count("ssm.conv_kernel")?;
    let all = loader.all_heads(heads, len)?;
    let convolution = |name: &str| {
        let weight = loader.numbers(&format!("{}.weight", base(name)), &[width, 1, all])?;
        let bias = Vec::new();
        Ok::<_, crate::Error>(Convolution { weight, bias })
    };
    let architecture = loader.keys.architecture();
    let by_way = |short: &str, name: &str| {
        if architecture == "bailingmoe3" {
            return Ok(vec![loader.linear(&base(short), hidden, all)?]);
        }
        let down = loader.linear(&base(short), hidden, len)?;
        Ok::<_, crate::Error>(vec![down, loader.linear(&base(name), len, all)?])
    };
    Ok(KimiDelta {
        inputs: b.hyper.projections(loader, layer, [all; 3])?,
        convolutions: [
            convolution("ssm_conv1d_q")?,
            convolution("ssm_conv1d_k")?,
            convolution("ssm_conv1d_v")?,
        ],
        decay: by_way("ssm_f_a", "ssm_f_b")?,
        bound: None,
        unit_eps: b.eps,
        decay_bias: loader.vector(&base("ssm_dt.bias"), all)?,
        a: match architecture {
            "kimi-k3" | "glm5-next" => loader.vector(&base("ssm_a"), heads)?,
            _ => loader.numbers(&base("ssm_a"), &[1, heads])?,
        },
        strengths: loader.linear(&base("ssm_beta"), hidden, heads)?,
        gate: match architecture {
            "kimi-k3" => vec![loader.linear(&base("ssm_g"), hidden, all)?],
            _ => by_way("ssm_g_a", "ssm_g_b")?,
        },
        norm: loader.rms_norm(&base("ssm_norm"), len, b.eps)?,
        output: loader.linear(&base("attn_output"), all, hidden)?,
        head_len: len,
    })
}

/// Nemotron-H: each layer is Mamba-2, attention without positions, or a feed-forward part.
pub(super) fn nemotron_h(loader: &Loader<'_>) -> Result<Decoder> {
    let b = Builder::new(loader)?;
    let normalize = loader.keys.optional_flag("expert_weights_norm")?.unwrap_or(false);
    let mut layers = Vec::new();
    for i in 0..b.hyper.layers {
        let base = |name: &str| format!("blk.{i}.{name}");
        let mixer = if b.has(i, "ssm_in") {
            b.mamba2(i)?
        } else if b.has(i, "ffn_gate_inp") {
            let experts = mixture(loader, &b.hyper, i, Scoring::Sigmoid, normalize)?;
            Mixer::Mixture(Box::new(Mixture {
                activation: Activation::SquaredRelu,
                ..experts
            }))
        } else if b.has(i, "ffn_up") {
            let inner = loader.outputs_of(&base("ffn_up"))?;
            Mixer::FeedForward(Box::new(FeedForward {
                gate: Gate::None,
                up: loader.linear(&base("ffn_up"), b.hyper.hidden, inner)?,
                down: loader.linear(&base("ffn_down"), inner, b.hyper.hidden)?,
                activation: Activation::SquaredRelu,
                inner_norm: None,
            }))
        } else {
            b.attention(i, None)?.into()
        };
        layers.push(Layer {
            mlp_norm: None,
            ..Layer::new(
                b.norm(i, "attn_norm")?,
                mixer,
                weightless(b.hyper.hidden, b.eps),
                Mlp::None,
            )
        });
    }
    for i in b.hyper.predicting.clone() {
        b.attention(i, None)?;
        mixture(loader, &b.hyper, i, Scoring::Sigmoid, normalize)?;
        b.norm(i, "attn_norm")?;
        b.norm(i, "post_attention_norm")?;
        loader.prediction(i, b.hyper.hidden)?;
        b.norm(i, "nextn.shared_head_norm")?;
    }
    b.decoder(layers, "output_norm")
}

pub(super) fn gated_attention(b: &Builder<'_, '_>, layer: usize, rope: Arc<Rope>) -> Result<Attention> {
    let (loader, hyper) = (b.loader, &b.hyper);
    let base = |name: &str| format!("blk.{layer}.{name}");
    let (heads, kv) = hyper.heads(loader, layer)?;
    let product = |heads: usize, len: usize| loader.all_heads(heads, len);
    let values = product(heads, hyper.value_len)?;
    let lengths = [
        product(2 * heads, hyper.key_len)?,
        product(kv, hyper.key_len)?,
        product(kv, hyper.value_len)?,
    ];
    let projections = Projections::Gated(Box::new(hyper.projections(loader, layer, lengths)?));
    let output = loader.linear(&base("attn_output"), values, hyper.hidden)?;
    let shape = AttentionShape::plain(heads, kv, hyper.key_len, hyper.value_len, b.scale);
    let mut attention = Attention::new(projections, output, Some(rope), shape);
    if hyper.key_len != hyper.value_len {
        return Err(loader.error(format!(
            "gated attention: expected keys and values of one length, found {} and {}",
            hyper.key_len, hyper.value_len
        )));
    }
    b.head_norms(layer, &mut attention)?;
    Ok(attention)
}

pub(super) fn delta_net(b: &Builder<'_, '_>, layer: usize) -> Result<DeltaNet> {
    let (loader, hidden) = (b.loader, b.hyper.hidden);
    let keys = &loader.keys;
    let base = |name: &str| format!("blk.{layer}.{name}");
    let key_len = keys.count("ssm.state_size")?;
    let key_heads = keys.count("ssm.group_count")?;
    let value_heads = keys.count("ssm.time_step_rank")?;
    let values = keys.count("ssm.inner_size")?;
    let width = keys.count("ssm.conv_kernel")?;
    let mixed = key_heads
        .checked_mul(2)
        .and_then(|n| n.checked_mul(key_len)?.checked_add(values));
    let mixed = mixed.filter(|_| value_heads.is_multiple_of(key_heads) && values.is_multiple_of(value_heads));
    let mixed = mixed.ok_or_else(|| {
        loader.error(format!(
            "delta net: expected value heads that are a multiple of key heads, found {key_heads} key heads of {key_len} \
             and {value_heads} value heads of {values} elements in all"
        ))
    })?;
    let value_len = values / value_heads;
    let strengths = match b.has(layer, "ssm_ba") {
        true => Strengths::ByKeyHead(loader.linear(&base("ssm_ba"), hidden, 2 * value_heads)?),
        false => Strengths::InTurn {
            beta: loader.linear(&base("ssm_beta"), hidden, value_heads)?,
            alpha: loader.linear(&base("ssm_alpha"), hidden, value_heads)?,
        },
    };
    Ok(DeltaNet {
        input: loader.linear(&base("attn_qkv"), hidden, mixed)?,
        gates: loader.linear(&base("attn_gate"), hidden, values)?,
        gate: NetGate::Silu,
        strengths,
        convolution: convolution(loader, &base("ssm_conv1d"), width, mixed)?,
        a: loader.vector(&base("ssm_a"), value_heads)?,
        step_bias: loader.vector(&base("ssm_dt.bias"), value_heads)?,
        norm: loader.rms_norm(&base("ssm_norm"), value_len, b.eps)?,
        output: loader.linear(&base("ssm_out"), values, hidden)?,
        key_heads,
        value_heads,
        key_len,
        value_len,
    })
}
