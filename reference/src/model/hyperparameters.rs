//! Hyperparameters that decoder-only transformers share, and the layers that follow from them.

use std::ops::Range;
use std::sync::Arc;

use crate::Result;
use crate::layers::{Attention, FeedForward, Gate, Mixture, Narrowed, Projections, Scoring};
use crate::ops::{Activation, AttentionShape, Rope, RopeSettings, RopeStyle, Yarn};
use crate::weights::{Loader, MAX_HEAD, PerLayer};

/// The hyperparameters that all decoder-only transformers share, under the keys that llama.cpp gives them.
#[derive(Clone, Debug)]
pub(crate) struct Hyperparameters {
    /// Entries of per-layer keys.
    pub(crate) blocks: usize,
    /// Layers that run.
    pub(crate) layers: usize,
    /// Layers behind them that predict further tokens, where the model is only declared.
    pub(crate) predicting: Range<usize>,
    pub(crate) hidden: usize,
    heads: PerLayer,
    kv_heads: PerLayer,
    inner: Option<PerLayer>,
    pub(crate) key_len: usize,
    pub(crate) value_len: usize,
    /// Elements of a head that are rotated.
    pub(crate) rotated: usize,
}

impl Hyperparameters {
    pub(crate) fn read(loader: &Loader<'_>) -> Result<Self> {
        // The last blocks may be heads that predict further tokens; they are not part of the model proper.
        let predicting = loader.keys.optional_count("nextn_predict_layers")?.unwrap_or(0);
        Self::before(loader, predicting)
    }

    /// Those of a model that is nothing but layers that predict further tokens.
    pub(crate) fn of_all_layers(loader: &Loader<'_>) -> Result<Self> {
        Self::before(loader, 0)
    }

    /// Those of the layers before the last `predicting`.
    fn before(loader: &Loader<'_>, predicting: usize) -> Result<Self> {
        let keys = &loader.keys;
        let blocks = keys.blocks()?;
        let layers = blocks.checked_sub(predicting).filter(|&n| n > 0).ok_or_else(|| {
            keys.refused("nextn_predict_layers", format!("fewer than {blocks}"), predicting)
        })?;
        let (mut run, mut declared) = (layers, blocks..blocks);
        if loader.is_declared() && predicting > 0 {
            declared = layers..blocks;
            // A file of the predicting layers alone.
            if !loader.has_layer(0) {
                run = 0;
            }
        }
        let hidden = keys.count("embedding_length")?;
        let heads = keys
            .optional_per_layer("attention.head_count", blocks)?
            .ok_or_else(|| keys.missing("attention.head_count"))?;
        let kv_heads = keys.optional_per_layer("attention.head_count_kv", blocks)?;
        let first = heads.get(0);
        let default = || match first {
            0 => Err(keys.refused("attention.head_count", "at least 1 in layer 0", 0)),
            n => Ok(hidden / n),
        };
        let key_len = match keys.optional_count("attention.key_length")? {
            Some(n) => n,
            None => default()?,
        };
        let value_len = match keys.optional_count("attention.value_length")? {
            Some(n) => n,
            None => default()?,
        };
        if key_len == 0 || value_len == 0 || key_len > MAX_HEAD || value_len > MAX_HEAD {
            return Err(loader.error(format!(
                "attention heads: expected 1 to {MAX_HEAD} elements, found {key_len} of keys and {value_len} of values"
            )));
        }
        let rotated = keys.optional_count("rope.dimension_count")?.unwrap_or(key_len);
        if rotated > key_len || !rotated.is_multiple_of(2) {
            let expected = format!("an even number of at most the head's {key_len}");
            return Err(keys.refused("rope.dimension_count", expected, rotated));
        }
        Ok(Self {
            blocks,
            layers: run,
            predicting: declared,
            hidden,
            kv_heads: kv_heads.unwrap_or_else(|| heads.clone()),
            heads,
            inner: keys.optional_per_layer("feed_forward_length", blocks)?,
            key_len,
            value_len,
            rotated,
        })
    }

    /// [`Self::predicting`] for architectures whose files may count such layers without having them.
    pub(crate) fn predicting_if_any(&self, loader: &Loader<'_>) -> Range<usize> {
        let first = self.predicting.start;
        match self.layers > 0 && !loader.has(&format!("blk.{first}.nextn.eh_proj.weight")) {
            true => self.blocks..self.blocks,
            false => self.predicting.clone(),
        }
    }

    /// Query heads and key-value heads of a layer.
    pub(crate) fn heads(&self, loader: &Loader<'_>, layer: usize) -> Result<(usize, usize)> {
        let (heads, kv) = (self.heads.get(layer), self.kv_heads.get(layer));
        if heads == 0 || kv == 0 || !heads.is_multiple_of(kv) {
            return Err(loader.error(format!(
                "attention heads of layer {layer}: expected as many for queries as for keys and values, or a multiple, \
                 found {heads} and {kv}"
            )));
        }
        Ok((heads, kv))
    }

    /// The same for architectures whose layers may have none of either.
    pub(crate) fn heads_or_none(&self, layer: usize) -> (usize, usize) {
        (self.heads.get(layer), self.kv_heads.get(layer))
    }

    /// Width of a layer's dense feed-forward part, 0 where it has none.
    pub(crate) fn inner_or_none(&self, layer: usize) -> usize {
        self.inner.as_ref().map_or(0, |inner| inner.get(layer))
    }

    /// Width of a layer's dense feed-forward part.
    pub(crate) fn inner(&self, loader: &Loader<'_>, layer: usize) -> Result<usize> {
        let inner = self
            .inner
            .as_ref()
            .ok_or_else(|| loader.keys.missing("feed_forward_length"))?;
        match inner.get(layer) {
            0 => {
                let expected = format!("at least 1 in layer {layer}");
                Err(loader.keys.refused("feed_forward_length", expected, 0))
            }
            n => Ok(n),
        }
    }

    /// One over the square root of the head's length, the usual factor on the scores.
    pub(crate) fn usual_scale(&self) -> f32 {
        1.0 / (self.key_len as f32).sqrt()
    }

    /// One over the square root of the hidden size divided by the number of heads.
    pub(crate) fn scale_by_heads(&self, loader: &Loader<'_>) -> Result<f32> {
        let (heads, _) = self.heads(loader, 0)?;
        Ok(1.0 / ((self.hidden / heads).max(1) as f32).sqrt())
    }

    /// The attention of `blk.{layer}` with what all variants have: projections (separate or fused), their
    /// biases, and norms of query and key heads where the file has them.
    pub(crate) fn attention(
        &self,
        loader: &Loader<'_>,
        layer: usize,
        rope: Option<Arc<Rope>>,
        scale: f32,
    ) -> Result<Attention> {
        let (heads, kv_heads) = self.heads(loader, layer)?;
        let total = |heads: usize, len: usize| loader.all_heads(heads, len);
        let queries = total(heads, self.key_len)?;
        let keys = total(kv_heads, self.key_len)?;
        let values = total(kv_heads, self.value_len)?;
        let mixed = total(heads, self.value_len)?;
        let projections = self.projections(loader, layer, [queries, keys, values])?;
        let output = loader.linear(&format!("blk.{layer}.attn_output"), mixed, self.hidden)?;
        let shape = AttentionShape::plain(heads, kv_heads, self.key_len, self.value_len, scale);
        Ok(Attention::new(projections, output, rope, shape))
    }

    /// The queries, keys and values of these lengths, separate or fused.
    pub(crate) fn projections(
        &self,
        loader: &Loader<'_>,
        layer: usize,
        [queries, keys, values]: [usize; 3],
    ) -> Result<Projections> {
        let base = |name: &str| format!("blk.{layer}.{name}");
        if loader.has(&base("attn_qkv.weight")) {
            let all = [keys, values].iter().try_fold(queries, |n, &m| n.checked_add(m));
            let all = all.ok_or_else(|| loader.error("attention heads are too many"))?;
            return Ok(Projections::Fused(loader.linear(
                &base("attn_qkv"),
                self.hidden,
                all,
            )?));
        }
        Ok(Projections::Separate {
            query: loader.linear(&base("attn_q"), self.hidden, queries)?,
            key: loader.linear(&base("attn_k"), self.hidden, keys)?,
            value: loader.linear(&base("attn_v"), self.hidden, values)?,
        })
    }

    /// The dense feed-forward part of `blk.{layer}` with a gate.
    pub(crate) fn feed_forward(
        &self,
        loader: &Loader<'_>,
        layer: usize,
        activation: Activation,
    ) -> Result<FeedForward> {
        let inner = self.inner(loader, layer)?;
        gated(
            loader,
            &format!("blk.{layer}.ffn_"),
            "",
            self.hidden,
            inner,
            activation,
        )
    }

    /// The dense feed-forward part of `blk.{layer}` without a gate, or with one in the matrix of the others.
    pub(crate) fn feed_forward_of_two(
        &self,
        loader: &Loader<'_>,
        layer: usize,
        activation: Activation,
        fused: bool,
    ) -> Result<FeedForward> {
        let inner = self.inner(loader, layer)?;
        let outputs = if fused { inner.checked_mul(2) } else { Some(inner) };
        let outputs = outputs.ok_or_else(|| loader.error("feed_forward_length is too large"))?;
        let base = |name: &str| format!("blk.{layer}.{name}");
        Ok(FeedForward {
            gate: if fused { Gate::Fused } else { Gate::None },
            up: loader.linear(&base("ffn_up"), self.hidden, outputs)?,
            down: loader.linear(&base("ffn_down"), inner, self.hidden)?,
            activation,
            inner_norm: None,
        })
    }

    /// The mixture of experts of `blk.{layer}`, routed by a softmax, each expert `inner` wide, without shared
    /// experts.
    pub(crate) fn mixture(
        &self,
        loader: &Loader<'_>,
        layer: usize,
        inner: usize,
        normalize: bool,
    ) -> Result<Mixture> {
        let keys = &loader.keys;
        let experts = keys.count("expert_count")?;
        let used = keys
            .optional_per_layer("expert_used_count", self.blocks)?
            .ok_or_else(|| keys.missing("expert_used_count"))?
            .get(layer);
        if used == 0 || used > experts {
            let expected = format!("1 to {experts} (expert_count) in layer {layer}");
            return Err(keys.refused("expert_used_count", expected, used));
        }
        let weight_scale = keys.optional_float("expert_weights_scale")?.filter(|&s| s != 0.0);
        let base = |name: &str| format!("blk.{layer}.{name}");
        // Nemotron-H and Kimi K3: the experts see a narrower vector.
        let names = ["ffn_latent", "ffn_routed"];
        let named = names
            .into_iter()
            .find(|name| loader.has(&base(&format!("{name}_down.weight"))));
        let (narrowed, width) = match named {
            None => (None, self.hidden),
            Some(name) => {
                let part = |part: &str| base(&format!("{name}_{part}"));
                let width = loader.outputs_of(&part("down"))?;
                let norm = match loader.has(&format!("{}.weight", part("norm"))) {
                    true => Some(loader.rms_norm(
                        &part("norm"),
                        width,
                        keys.float("attention.layer_norm_rms_epsilon")?,
                    )?),
                    false => None,
                };
                let narrowed = Narrowed {
                    down: loader.linear(&part("down"), self.hidden, width)?,
                    norm,
                    up: loader.linear(&part("up"), width, self.hidden)?,
                };
                (Some(narrowed), width)
            }
        };
        let fused = loader.has(&base("ffn_gate_up_exps.weight"));
        Ok(Mixture {
            router: loader.linear(&base("ffn_gate_inp"), self.hidden, experts)?,
            gate: match loader.has(&base("ffn_gate_exps.weight")) {
                true => Some(loader.experts(&base("ffn_gate_exps"), width, inner, experts)?),
                false => None,
            },
            up: match fused {
                true => loader.experts(&base("ffn_gate_up_exps"), width, inner.saturating_mul(2), experts)?,
                false => loader.experts(&base("ffn_up_exps"), width, inner, experts)?,
            },
            fused,
            down: loader.experts(&base("ffn_down_exps"), inner, width, experts)?,
            activation: Activation::Silu,
            used,
            normalize,
            weight_scale: weight_scale.unwrap_or(1.0),
            scoring: Scoring::Softmax,
            selection_bias: match loader.has(&base("exp_probs_b")) {
                // Hunyuan V3.
                true => loader.optional_vector(&base("exp_probs_b"), experts)?,
                false => loader.optional_vector(&base("exp_probs_b.bias"), experts)?,
            },
            groups: None,
            weigh_inputs: false,
            shared: None,
            narrowed,
            adjugates: None,
            by_token: None,
            output_scale: 1.0,
        })
    }

    /// Width of each expert: `expert_feed_forward_length`, or `feed_forward_length` shared out among the
    /// experts that are used.
    pub(crate) fn expert_inner(&self, loader: &Loader<'_>, layer: usize) -> Result<usize> {
        let own = loader
            .keys
            .optional_per_layer("expert_feed_forward_length", self.blocks)?;
        if let Some(inner) = own.map(|w| w.get(layer)).filter(|&n| n > 0) {
            return Ok(inner);
        }
        let used = loader.keys.optional_per_layer("expert_used_count", self.blocks)?;
        let used = used.map_or(1, |u| u.get(layer)).max(1);
        match self.inner(loader, layer)? / used {
            0 => Err(loader.keys.refused(
                "expert_feed_forward_length",
                format!("at least 1 in layer {layer}"),
                0,
            )),
            n => Ok(n),
        }
    }
}

/// A gated feed-forward layer of the tensors `{prefix}gate{suffix}`, `…up…` and `…down…`.
pub(crate) fn gated(
    loader: &Loader<'_>,
    prefix: &str,
    suffix: &str,
    hidden: usize,
    inner: usize,
    activation: Activation,
) -> Result<FeedForward> {
    Ok(FeedForward {
        gate: Gate::Separate(loader.linear(&format!("{prefix}gate{suffix}"), hidden, inner)?),
        up: loader.linear(&format!("{prefix}up{suffix}"), hidden, inner)?,
        down: loader.linear(&format!("{prefix}down{suffix}"), inner, hidden)?,
        activation,
        inner_norm: None,
    })
}

/// The rotations of layers that see everything and of those that see a window, whose base may be another.
pub(crate) fn ropes_of_windows(
    loader: &Loader<'_>,
    hyper: &Hyperparameters,
    style: RopeStyle,
) -> Result<(Arc<Rope>, Arc<Rope>)> {
    let full = rope_settings(loader, hyper, style)?;
    let mut local = full.clone();
    if let Some(base) = loader.keys.optional_positive("rope.freq_base_swa")? {
        local.base = f64::from(base);
    }
    Ok((Arc::new(Rope::new(&full)), Arc::new(Rope::new(&local))))
}

/// The rotation of Gemma's layers with a window, from that of those without: not scaled, with a base of its own.
pub(crate) fn unscaled_rope(loader: &Loader<'_>, full: &RopeSettings) -> Result<RopeSettings> {
    let base = loader.keys.optional_positive("rope.freq_base_swa")?;
    Ok(RopeSettings {
        base: f64::from(base.unwrap_or(10000.0)),
        frequency_scale: 1.0,
        ..full.clone()
    })
}

/// Rotation as the file's `rope.*` keys describe it: base, linear or YaRN scaling, and the divisors in
/// `rope_freqs.weight` (Llama 3).
pub(crate) fn rope_settings(
    loader: &Loader<'_>,
    hyper: &Hyperparameters,
    style: RopeStyle,
) -> Result<RopeSettings> {
    let keys = &loader.keys;
    let mut base = f64::from(keys.optional_positive("rope.freq_base")?.unwrap_or(10000.0));
    if keys.architecture() == "hunyuan_vl"
        && let Some(alpha) = keys.optional_float("rope.scaling.alpha")?.filter(|&a| a > 0.0)
    {
        // NTK-aware scaling: the base grows with a power of alpha.
        let dims = hyper.key_len as f64;
        base *= f64::from(alpha).powf(dims / (dims - 2.0).max(1.0));
    }
    let kind = keys.optional_str("rope.scaling.type")?.unwrap_or("linear");
    let factor = match keys.optional_float("rope.scaling.factor")? {
        Some(f) => f,
        None => keys.optional_float("rope.scale_linear")?.unwrap_or(0.0),
    };
    if factor < 0.0 {
        return Err(keys.refused("rope.scaling.factor", "a number that is not negative", factor));
    }
    let factor = if factor == 0.0 || kind == "none" {
        1.0
    } else {
        f64::from(factor)
    };
    let mut magnitude = f64::from(keys.optional_float("rope.scaling.attn_factor")?.unwrap_or(1.0));
    let yarn = match kind {
        "none" | "linear" | "longrope" => None,
        "yarn" => {
            let context = keys.optional_count("context_length")?.unwrap_or(0);
            let original = keys.optional_count("rope.scaling.original_context_length")?;
            let original = original.filter(|&n| n > 0).unwrap_or(context);
            if original == 0 {
                return Err(keys.refused(
                    "rope.scaling.original_context_length",
                    "the context that YaRN stretches, or context_length",
                    "neither",
                ));
            }
            // Stock reads the ramp of few architectures, and of the others has this one.
            let ramp = |suffix: &str, usual: f32| -> Result<f32> {
                match READ_RAMP.contains(&keys.architecture()) {
                    true => Ok(keys.optional_positive(suffix)?.unwrap_or(usual)),
                    false => Ok(usual),
                }
            };
            let beta_fast = ramp("rope.scaling.yarn_beta_fast", 32.0)?;
            let beta_slow = ramp("rope.scaling.yarn_beta_slow", 1.0)?;
            // The rotation's length grows with the logarithm of the factor; with `yarn_log_multiplier` the
            // attention scores carry a part of that growth instead.
            let grown = |by: f64| match factor <= 1.0 {
                true => 1.0,
                false => 0.1 * by * factor.ln() + 1.0,
            };
            let log = keys.optional_float("rope.scaling.yarn_log_multiplier")?;
            magnitude *= match f64::from(log.unwrap_or(0.0)) {
                0.0 => grown(1.0),
                log => grown(1.0) / grown(log),
            };
            Some(Yarn {
                original_context: original as f64,
                beta_fast: f64::from(beta_fast),
                beta_slow: f64::from(beta_slow),
            })
        }
        other => {
            return Err(keys.refused(
                "rope.scaling.type",
                "none, linear, yarn or longrope",
                format!("{other:?}"),
            ));
        }
    };
    let divisors = divisors(loader, "rope_freqs.weight", hyper)?;
    Ok(RopeSettings {
        style,
        dims: hyper.rotated,
        base,
        frequency_scale: 1.0 / factor,
        yarn,
        divisors,
        magnitude,
    })
}

/// Architectures whose ramp between turned and scaled frequencies the file may set.
const READ_RAMP: [&str; 1] = ["mistral3"];

/// Divisors of the frequencies of each pair, where the file has them.
fn divisors(loader: &Loader<'_>, name: &str, hyper: &Hyperparameters) -> Result<Option<Vec<f32>>> {
    let divisors = loader.optional_vector(name, hyper.rotated / 2)?;
    match divisors.iter().flatten().find(|d| !d.is_finite() || **d == 0.0) {
        Some(bad) => Err(loader.error(format!("tensor '{name}': expected divisors, found {bad}"))),
        None => Ok(divisors),
    }
}

/// The rotation that [`rope_settings`] describes, with LongRoPE's two sets of divisors where the file has
/// them.
pub(crate) fn rope(loader: &Loader<'_>, hyper: &Hyperparameters, style: RopeStyle) -> Result<Arc<Rope>> {
    let mut settings = rope_settings(loader, hyper, style)?;
    let long = divisors(loader, "rope_factors_long.weight", hyper)?;
    let short = divisors(loader, "rope_factors_short.weight", hyper)?;
    let (Some(long), Some(short)) = (long, short) else {
        return Ok(Arc::new(Rope::new(&settings)));
    };
    // Stock takes the trained context where the file does not say.
    let original = match loader
        .keys
        .optional_count("rope.scaling.original_context_length")?
    {
        Some(original) => original,
        None => loader.keys.count("context_length")?,
    };
    settings.divisors = Some(long);
    let long = Rope::new(&settings);
    settings.divisors = Some(short);
    Ok(Arc::new(Rope::new(&settings).with_long(original, long)))
}

/// Layers with a sliding window: `attention.sliding_window_pattern` as flags, or as the period of which the last layer
/// is full (`period` when the file does not say).
pub(crate) fn sliding_layers(
    loader: &Loader<'_>,
    hyper: &Hyperparameters,
    period: usize,
) -> Result<Vec<bool>> {
    let suffix = "attention.sliding_window_pattern";
    // The flags are as many as there are blocks, of which the first `layers` run.
    if loader.keys.is_array(suffix) {
        // Heads that predict further tokens may be among them or not.
        let count = match loader.keys.array_len(suffix) {
            Some(n) if n == hyper.layers => hyper.layers,
            _ => hyper.blocks,
        };
        let flags = loader.keys.optional_flags(suffix, count)?.unwrap_or_default();
        return Ok(flags.into_iter().take(hyper.layers).collect());
    }
    let period = loader.keys.optional_count(suffix)?.unwrap_or(period);
    Ok((0..hyper.layers)
        .map(|i| period == 0 || i % period < period - 1)
        .collect())
}
