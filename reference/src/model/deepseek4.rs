//! DeepSeek V4: attention over the latest keys and over keys that stand for many, in copies of the state that
//! hyper-connections mix; experts everywhere, in the first layers those that a token's id chooses.

use std::sync::Arc;

use gguf::Array;

use super::connections::{Connections, STEPS};
use super::decoder::{Decoder, Layer, Mlp};
use super::deepseek2::latent_query;
use super::hyperparameters::{Hyperparameters, rope_settings};
use super::mixtures::{mixture, swiglu_limit, weightless};
use super::residual::Ends;
use crate::Result;
use crate::layers::{
    Back, ByToken, CompressedAttention, CompressedChooser, Compressor, GroupedLinear, Mixer, Mixture, Scoring,
};
use crate::ops::{Activation, AttentionShape, Rope, RopeSettings, RopeStyle};
use crate::weights::Loader;

/// Tokens that one key stands for where an indexer chooses among such keys. Their means overlap.
const CHOSEN: usize = 4;
const RATIOS: &str = "attention.compress_ratios";

pub(super) fn build(loader: &Loader<'_>) -> Result<Decoder> {
    let mut hyper = Hyperparameters::read(loader)?;
    // The file may count layers that it does not have.
    if !loader.has(&format!("blk.{}.nextn.eh_proj.weight", hyper.layers)) {
        hyper.layers = hyper.blocks;
    }
    let eps = loader.keys.float("attention.layer_norm_rms_epsilon")?;
    let hashed = loader.keys.optional_count("hash_layer_count")?.unwrap_or(0);
    let ropes = Ropes::read(loader, &hyper)?;
    let ratios = ratios(loader, hyper.layers)?;
    let (layers, ends) = layers(loader, &hyper, &ropes, &ratios, hashed)?;
    let decoder = Decoder::of_layers(loader, hyper.hidden, eps, layers)?;
    Ok(Decoder { ends, ..decoder })
}

/// The layers, each with its number of tokens that a key stands for, and what is before and behind them. In the first `hashed`
/// ones a token's id chooses the experts.
fn layers(
    loader: &Loader<'_>,
    hyper: &Hyperparameters,
    ropes: &Ropes,
    ratios: &[usize],
    hashed: usize,
) -> Result<(Vec<Layer>, Ends)> {
    let keys = &loader.keys;
    let eps = keys.float("attention.layer_norm_rms_epsilon")?;
    let steps = keys.count(STEPS)?;
    let connections = Connections::read(loader, hyper.hidden, eps, Back::Mixed(steps))?;
    let normalize = keys.optional_flag("expert_weights_norm")?.unwrap_or(false);
    let layer = |i: usize| {
        let norm = |name: &str| loader.rms_norm(&format!("blk.{i}.{name}"), hyper.hidden, eps);
        let attention = attention(loader, hyper, i, ratios[i], ropes, eps)?;
        let mut experts = mixture(loader, hyper, i, Scoring::RootOfSoftplus, normalize)?;
        let limit = |suffix: &str| swiglu_limit(loader, hyper, i, suffix);
        let cut = |limit: Option<f32>| limit.map_or(Activation::Silu, Activation::SiluCut);
        experts.activation = cut(limit("swiglu_clamp_exp")?);
        if let Some(shared) = &mut experts.shared {
            shared.layer.activation = match keys.has("swiglu_clamp_shexp") {
                true => cut(limit("swiglu_clamp_shexp")?),
                false => experts.activation,
            };
        }
        if i < hashed {
            experts.by_token = Some(by_token(loader, i, &experts)?);
            experts.selection_bias = None;
        }
        let mixer = Mixer::Compressed(Box::new(attention));
        let mlp = Mlp::Mixture(Box::new(experts));
        Ok::<_, crate::Error>(Layer {
            residual: connections.of_layer(loader, i)?,
            ..Layer::new(norm("attn_norm")?, mixer, norm("ffn_norm")?, mlp)
        })
    };
    let layers = (0..hyper.layers).map(layer).collect::<Result<Vec<_>>>()?;
    Ok((layers, connections.ends(loader)?))
}

/// Layers that see the latest keys alone, as drafts have them, and what is before and behind them.
pub(crate) fn latest_layers(loader: &Loader<'_>, hyper: &Hyperparameters) -> Result<(Vec<Layer>, Ends)> {
    let ratios = match loader.keys.has(RATIOS) {
        true => ratios(loader, hyper.layers)?,
        false => vec![0; hyper.layers],
    };
    if let Some(other) = ratios.iter().find(|&&ratio| ratio != 0) {
        let expected = "0 for every layer of a draft";
        return Err(loader.keys.refused(RATIOS, expected, other));
    }
    layers(loader, hyper, &Ropes::latest(loader, hyper)?, &ratios, 0)
}

/// The rotations, all of a head's last elements.
struct Ropes {
    /// Of layers that see the latest keys alone.
    plain: RopeSettings,
    /// Of all others.
    compressed: RopeSettings,
}

impl Ropes {
    fn read(loader: &Loader<'_>, hyper: &Hyperparameters) -> Result<Self> {
        let read = rope_settings(loader, hyper, RopeStyle::Norm)?;
        // YaRN does not make these heads longer.
        let compressed = RopeSettings {
            base: f64::from(loader.keys.float("attention.compress_rope_freq_base")?),
            divisors: None,
            magnitude: 1.0,
            ..read
        };
        Ok(Self {
            compressed,
            ..Self::latest(loader, hyper)?
        })
    }

    /// Those of a model whose layers all see the latest keys alone.
    fn latest(loader: &Loader<'_>, hyper: &Hyperparameters) -> Result<Self> {
        let plain = RopeSettings {
            frequency_scale: 1.0,
            yarn: None,
            divisors: None,
            magnitude: 1.0,
            ..rope_settings(loader, hyper, RopeStyle::Norm)?
        };
        Ok(Self {
            compressed: plain.clone(),
            plain,
        })
    }

    /// That of heads of `len` elements in a layer with this ratio.
    fn of(&self, ratio: usize, len: usize) -> Arc<Rope> {
        let settings = if ratio == 0 { &self.plain } else { &self.compressed };
        let before = len.saturating_sub(settings.dims);
        Arc::new(Rope::new(settings).behind(before))
    }
}

/// Tokens that one key stands for, layer by layer; none where only the latest keys are seen.
fn ratios(loader: &Loader<'_>, layers: usize) -> Result<Vec<usize>> {
    let list: Vec<usize> = match loader.keys.array(RATIOS)? {
        Array::I32(list) => list.iter().map(|&n| n.try_into().unwrap_or(usize::MAX)).collect(),
        Array::U32(list) => list.iter().map(|&n| n as usize).collect(),
        _ => Vec::new(),
    };
    match list.len() < layers || list.contains(&usize::MAX) {
        true => {
            let expected = format!("a number for each of {layers} layers");
            Err(loader.keys.refused(RATIOS, expected, list.len()))
        }
        false => Ok(list),
    }
}

fn attention(
    loader: &Loader<'_>,
    hyper: &Hyperparameters,
    layer: usize,
    ratio: usize,
    ropes: &Ropes,
    eps: f32,
) -> Result<CompressedAttention> {
    let keys = &loader.keys;
    let base = |name: &str| format!("blk.{layer}.{name}");
    let (heads, _) = hyper.heads(loader, layer)?;
    let len = hyper.key_len;
    let all = loader.all_heads(heads, len)?;
    let short = keys.count("attention.q_lora_rank")?;
    let (groups, rank) = (
        keys.count("attention.output_group_count")?,
        keys.count("attention.output_lora_rank")?,
    );
    if !heads.is_multiple_of(groups) {
        let expected = format!("a divisor of {heads} heads");
        return Err(keys.refused("attention.output_group_count", expected, groups));
    }
    let put_out = loader.all_heads(groups, rank)?;
    let chooser = match ratio {
        CHOSEN => {
            let (count, length) = (
                keys.count("attention.indexer.head_count")?,
                keys.count("attention.indexer.key_length")?,
            );
            if length < hyper.rotated {
                let expected = format!("at least the {} elements that are rotated", hyper.rotated);
                return Err(keys.refused("attention.indexer.key_length", expected, length));
            }
            let indexed = loader.all_heads(count, length)?;
            let compressor = base("indexer_compressor");
            Some(CompressedChooser {
                query: loader.linear(&base("indexer.attn_q_b"), short, indexed)?,
                weights: loader.linear(&base("indexer.proj"), hyper.hidden, count)?,
                rope: Some(ropes.of(ratio, length)),
                compressor: compress(loader, hyper, &compressor, (ratio, length), ropes, eps)?,
                keys: keys.count("attention.indexer.top_k")?,
                // The latest keys are.
                sees_rest: false,
            })
        }
        _ => None,
    };
    let further = base("attn_compressor");
    let compressor = match ratio {
        0 => None,
        _ => Some(compress(loader, hyper, &further, (ratio, len), ropes, eps)?),
    };
    let sinks = loader.vector(&base("attn_sinks.weight"), heads)?;
    Ok(CompressedAttention {
        query: latent_query(loader, hyper, layer, all, eps)?,
        query_norm: weightless(len, eps),
        key: loader.linear(&base("attn_kv"), hyper.hidden, len)?,
        key_norm: loader.rms_norm(&base("attn_kv_a_norm"), len, eps)?,
        rope: ropes.of(ratio, len),
        compressor,
        chooser,
        down: GroupedLinear {
            linear: loader.linear(&base("attn_output_a"), all / groups, put_out)?,
            groups,
        },
        output: loader.linear(&base("attn_output_b"), put_out, hyper.hidden)?,
        shape: AttentionShape {
            window: Some(keys.count("attention.sliding_window")?),
            sinks: Some(Arc::from(sinks)),
            ..AttentionShape::plain(heads, 1, len, len, hyper.usual_scale())
        },
    })
}

/// The compressor that makes keys of `length` elements, each of `ratio` tokens.
fn compress(
    loader: &Loader<'_>,
    hyper: &Hyperparameters,
    base: &str,
    (ratio, length): (usize, usize),
    ropes: &Ropes,
    eps: f32,
) -> Result<Compressor> {
    let overlaps = ratio == CHOSEN;
    let wide = loader.all_heads(length, if overlaps { 2 } else { 1 })?;
    Ok(Compressor {
        values: loader.linear(&format!("{base}_kv"), hyper.hidden, wide)?,
        scores: loader.linear(&format!("{base}_gate"), hyper.hidden, wide)?,
        places: loader.table(&format!("{base}_ape.weight"), wide, ratio)?,
        value_norm: None,
        norm: Some(loader.rms_norm(&format!("{base}_norm"), length, eps)?),
        rope: Some(ropes.of(ratio, length)),
        ratio,
        len: length,
        overlaps,
    })
}

/// The experts of each token.
fn by_token(loader: &Loader<'_>, layer: usize, experts: &Mixture) -> Result<ByToken> {
    let name = format!("blk.{layer}.ffn_gate_tid2eid.weight");
    let tokens = loader.embedded().and_then(|rows| usize::try_from(rows).ok());
    let count = experts.router.matrix.outputs;
    let numbers = loader.table(&name, experts.used, tokens.unwrap_or(0))?;
    let number = |&n: &f32| match n >= 0.0 && (n as usize) < count && n.fract() == 0.0 {
        true => Ok(n as usize),
        false => Err(loader.error(format!(
            "tensor '{name}': expected experts 0 to {}, found {n}",
            count - 1
        ))),
    };
    Ok(ByToken {
        experts: numbers.iter().map(number).collect::<Result<_>>()?,
        used: experts.used,
    })
}
