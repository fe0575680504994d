//! RWKV 6 and 7.

use super::decoder::{Decoder, Layer, Mlp};
use super::hyperparameters::gated;
use crate::Result;
use crate::layers::{ChannelMix, LowRank, Mixer, TimeMix6, TimeMix7};
use crate::ops::{Activation, Norm, NormKind};
use crate::weights::Loader;

/// Epsilon of a head's variance.
const HEAD_EPSILON: f32 = 64e-5;

struct Builder<'a, 'l> {
    loader: &'a Loader<'l>,
    hidden: usize,
    inner: usize,
    head_len: usize,
    eps: f32,
}

impl<'a, 'l> Builder<'a, 'l> {
    fn new(loader: &'a Loader<'l>) -> Result<Self> {
        Self::with_epsilon(loader, "attention.layer_norm_epsilon")
    }

    fn with_epsilon(loader: &'a Loader<'l>, key: &str) -> Result<Self> {
        let keys = &loader.keys;
        let hidden = keys.count("embedding_length")?;
        let head_len = keys.count("wkv.head_size")?;
        if !hidden.is_multiple_of(head_len) {
            let expected = format!("a divisor of the {hidden} of embedding_length");
            return Err(keys.refused("wkv.head_size", expected, head_len));
        }
        Ok(Self {
            inner: keys.count("feed_forward_length")?,
            eps: keys.float(key)?,
            loader,
            hidden,
            head_len,
        })
    }

    fn layers(&self, layer: impl Fn(usize) -> Result<Layer>) -> Result<Vec<Layer>> {
        let count = self.loader.keys.blocks()?;
        (0..count).map(layer).collect()
    }

    fn norm(&self, base: &str) -> Result<Norm> {
        self.loader.norm(NormKind::Layer, base, self.hidden, self.eps)
    }

    /// The norm of each head of what the states give.
    fn head_norm(&self, layer: usize) -> Result<Norm> {
        Ok(Norm {
            group: self.head_len,
            eps: HEAD_EPSILON,
            ..self.norm(&format!("blk.{layer}.time_mix_ln"))?
        })
    }

    /// Matrices of the rank that the first of them has.
    fn low_rank(&self, layer: usize, down: &str, up: &str) -> Result<LowRank> {
        let (down, up) = (format!("blk.{layer}.{down}"), format!("blk.{layer}.{up}"));
        let rank = self.loader.outputs_of(&down)?;
        Ok(LowRank {
            down: self.loader.linear(&down, self.hidden, rank)?,
            up: self.loader.linear(&up, rank, self.hidden)?,
        })
    }

    /// The share of the first layer's values, of RWKV 7.
    fn value_mix(&self, layer: usize) -> Result<Option<(Vec<f32>, LowRank)>> {
        if layer > 0 {
            let rank = self.low_rank(layer, "time_mix_v1", "time_mix_v2")?;
            return Ok(Some((self.vector(layer, "time_mix_v0")?, rank)));
        }
        // Nothing uses them, and the files have them.
        let rank = self.loader.outputs_of("blk.0.time_mix_a1")?;
        let needed = |name: &str, shape: &[usize]| self.loader.needed(name, shape);
        needed("blk.0.time_mix_v0.weight", &[self.hidden])?;
        needed("blk.0.time_mix_v1.weight", &[self.hidden, rank])?;
        needed("blk.0.time_mix_v2.weight", &[rank, self.hidden])?;
        Ok(None)
    }

    fn vector(&self, layer: usize, name: &str) -> Result<Vec<f32>> {
        self.loader
            .vector(&format!("blk.{layer}.{name}.weight"), self.hidden)
    }

    fn square(&self, layer: usize, name: &str) -> Result<crate::layers::Linear> {
        self.loader
            .linear(&format!("blk.{layer}.{name}"), self.hidden, self.hidden)
    }

    /// The shares of the token before: in one tensor, or in one for each of `letters`.
    fn shares(&self, layer: usize, letters: &[&str]) -> Result<Vec<f32>> {
        let name = format!("blk.{layer}.time_mix_lerp_fused.weight");
        if self.loader.has(&name) {
            return self.loader.numbers(&name, &[self.hidden, 1, 1, letters.len()]);
        }
        let each = letters.iter().map(|letter| {
            let name = format!("time_mix_lerp_{letter}");
            self.vector(layer, &name)
        });
        Ok(each.collect::<Result<Vec<_>>>()?.concat())
    }

    fn channel_mix(&self, layer: usize, gated: bool) -> Result<Mlp> {
        let base = |name: &str| format!("blk.{layer}.{name}");
        let receptance = match gated {
            true => Some((
                self.vector(layer, "channel_mix_lerp_r")?,
                self.square(layer, "channel_mix_receptance")?,
            )),
            false => None,
        };
        Ok(Mlp::Channels(Box::new(ChannelMix {
            key_share: self.vector(layer, "channel_mix_lerp_k")?,
            key: self
                .loader
                .linear(&base("channel_mix_key"), self.hidden, self.inner)?,
            value: self
                .loader
                .linear(&base("channel_mix_value"), self.inner, self.hidden)?,
            receptance,
        })))
    }

    fn layer(&self, layer: usize, mixer: Mixer, gated: bool) -> Result<Layer> {
        Ok(Layer::new(
            self.norm(&format!("blk.{layer}.attn_norm"))?,
            mixer,
            self.norm(&format!("blk.{layer}.attn_norm_2"))?,
            self.channel_mix(layer, gated)?,
        ))
    }

    fn decoder(&self, layers: Vec<Layer>) -> Result<Decoder> {
        let embedding = self.loader.embedding(self.hidden)?;
        let head = self.loader.head(self.hidden, embedding.matrix.outputs)?;
        Ok(Decoder {
            embedding_norm: Some(self.norm("token_embd_norm")?),
            ..Decoder::new(embedding, layers, self.norm("output_norm")?, head)
        })
    }
}

/// RWKV 6, whose sums are halved every few layers.
pub(super) fn build6(loader: &Loader<'_>) -> Result<Decoder> {
    let b = Builder::new(loader)?;
    let every = loader.keys.optional_count("rescale_every_n_layers")?;
    let every = every.filter(|&n| n > 0);
    let layers = b.layers(|i| {
        let base = |name: &str| format!("blk.{i}.{name}");
        let all = loader.outputs_of(&base("time_mix_w1"))?;
        let mixer = Mixer::TimeMix6(Box::new(TimeMix6 {
            share: b.vector(i, "time_mix_lerp_x")?,
            shares: b.shares(i, &["w", "k", "v", "r", "g"])?,
            share_down: loader.linear(&base("time_mix_w1"), b.hidden, all)?,
            share_up: loader.experts(&base("time_mix_w2"), all / 5, b.hidden, 5)?,
            decay: b.vector(i, "time_mix_decay")?,
            decay_rank: b.low_rank(i, "time_mix_decay_w1", "time_mix_decay_w2")?,
            first: Some(loader.numbers(
                &base("time_mix_first.weight"),
                &[b.head_len, b.hidden / b.head_len],
            )?),
            key: b.square(i, "time_mix_key")?,
            value: b.square(i, "time_mix_value")?,
            receptance: b.square(i, "time_mix_receptance")?,
            gate: b.square(i, "time_mix_gate")?,
            norm: Some(b.head_norm(i)?),
            output: b.square(i, "time_mix_output")?,
            head_len: b.head_len,
        }));
        let halves = every.is_some_and(|every| (i + 1).is_multiple_of(every));
        Ok(Layer {
            output_scale: if halves { 0.5 } else { 1.0 },
            ..b.layer(i, mixer, true)?
        })
    })?;
    b.decoder(layers)
}

impl Builder<'_, '_> {
    /// The first half of a layer of RWKV 7.
    fn time_mix7(&self, layer: usize, gated: bool, normalized: bool) -> Result<Mixer> {
        let value_mix = self.value_mix(layer)?;
        let letters = ["r", "w", "k", "v", "a", "g"];
        Ok(Mixer::TimeMix7(Box::new(TimeMix7 {
            shares: self.shares(layer, &letters[..if gated { 6 } else { 5 }])?,
            receptance: self.square(layer, "time_mix_receptance")?,
            key: self.square(layer, "time_mix_key")?,
            value: self.square(layer, "time_mix_value")?,
            decay: self.vector(layer, "time_mix_w0")?,
            decay_rank: self.low_rank(layer, "time_mix_w1", "time_mix_w2")?,
            value_mix,
            rate: self.vector(layer, "time_mix_a0")?,
            rate_rank: self.low_rank(layer, "time_mix_a1", "time_mix_a2")?,
            gate_rank: match gated {
                true => Some(self.low_rank(layer, "time_mix_g1", "time_mix_g2")?),
                false => None,
            },
            key_scale: self.vector(layer, "time_mix_k_k")?,
            key_rate: self.vector(layer, "time_mix_k_a")?,
            bonus: self.vector(layer, "time_mix_r_k")?,
            norm: match normalized {
                true => Some(self.head_norm(layer)?),
                false => None,
            },
            output: self.square(layer, "time_mix_output")?,
            head_len: self.head_len,
        })))
    }
}

/// RWKV 7.
pub(super) fn build7(loader: &Loader<'_>) -> Result<Decoder> {
    let b = Builder::new(loader)?;
    let layers = b.layers(|i| {
        let mixer = b.time_mix7(i, true, true)?;
        b.layer(i, mixer, false)
    })?;
    b.decoder(layers)
}

/// Parts of a layer of Qwen 2 around a mixer of RWKV's.
impl Builder<'_, '_> {
    fn rms_norm(&self, base: &str) -> Result<Norm> {
        self.loader.rms_norm(base, self.hidden, self.eps)
    }

    fn shell(&self, layer: usize, mixer: Mixer) -> Result<Layer> {
        let dense = gated(
            self.loader,
            &format!("blk.{layer}.ffn_"),
            "",
            self.hidden,
            self.inner,
            Activation::Silu,
        )?;
        Ok(Layer::new(
            self.rms_norm(&format!("blk.{layer}.attn_norm"))?,
            mixer,
            self.rms_norm(&format!("blk.{layer}.ffn_norm"))?,
            Mlp::Dense(Box::new(dense)),
        ))
    }

    fn shell_decoder(&self, layers: Vec<Layer>) -> Result<Decoder> {
        let embedding = self.loader.embedding(self.hidden)?;
        let head = self
            .loader
            .linear("output", self.hidden, embedding.matrix.outputs)?;
        Ok(Decoder::new(
            embedding,
            layers,
            self.rms_norm("output_norm")?,
            head,
        ))
    }
}

/// RWKV 6 in Qwen 2's shape, whose keys and values several heads share.
pub(super) fn build_qwen6(loader: &Loader<'_>) -> Result<Decoder> {
    let b = Builder::with_epsilon(loader, "attention.layer_norm_rms_epsilon")?;
    let keys = &loader.keys;
    let heads = b.hidden / b.head_len;
    let kv_heads = match keys.optional_count("attention.head_count_kv")? {
        Some(0) | None => heads,
        Some(n) => n,
    };
    if !heads.is_multiple_of(kv_heads) {
        let expected = format!("a divisor of {heads} heads");
        return Err(keys.refused("attention.head_count_kv", expected, kv_heads));
    }
    let shared = kv_heads * b.head_len;
    let extra = keys.count("time_mix_extra_dim")?;
    let decay = keys.count("time_decay_extra_dim")?;
    let all = extra.saturating_mul(5);
    let layers = b.layers(|i| {
        let base = |name: &str| format!("blk.{i}.{name}");
        let mixer = Mixer::TimeMix6(Box::new(TimeMix6 {
            share: loader.numbers(&base("time_mix_lerp_x.weight"), &[b.hidden])?,
            shares: loader.numbers(&base("time_mix_lerp_fused.weight"), &[b.hidden, 1, 1, 5])?,
            share_down: loader.linear(&base("time_mix_w1"), b.hidden, all)?,
            share_up: loader.experts(&base("time_mix_w2"), extra, b.hidden, 5)?,
            decay: b.vector(i, "time_mix_decay")?,
            decay_rank: LowRank {
                down: loader.linear(&base("time_mix_decay_w1"), b.hidden, decay)?,
                up: loader.linear(&base("time_mix_decay_w2"), decay, b.hidden)?,
            },
            first: None,
            key: loader.linear(&base("time_mix_key"), b.hidden, shared)?,
            value: loader.linear(&base("time_mix_value"), b.hidden, shared)?,
            receptance: b.square(i, "time_mix_receptance")?,
            gate: b.square(i, "time_mix_gate")?,
            norm: None,
            output: b.square(i, "time_mix_output")?,
            head_len: b.head_len,
        }));
        b.shell(i, mixer)
    })?;
    b.shell_decoder(layers)
}

/// RWKV 7 in Qwen 2's shape.
pub(super) fn build_hybrid7(loader: &Loader<'_>) -> Result<Decoder> {
    let b = Builder::with_epsilon(loader, "attention.layer_norm_rms_epsilon")?;
    let layers = b.layers(|i| {
        let has = |name: &str| loader.has(&format!("blk.{i}.{name}.weight"));
        let gated = has("time_mix_g1") && has("time_mix_g2");
        let mixer = b.time_mix7(i, gated, has("time_mix_ln"))?;
        b.shell(i, mixer)
    })?;
    b.shell_decoder(layers)
}
