//! Qwen3.8-Flash-Next: delta nets and attention on chosen blocks of keys in turn, in copies of the state that
//! hyper-connections read through gates; embeddings of n-grams in one layer.

use std::sync::Arc;

use gguf::Array;

use super::decoder::{Decoder, Layer};
use super::hybrids::{Builder, delta_net, gated_attention};
use super::residual::{Ends, Residual};
use crate::Result;
use crate::layers::{
    BlockChoice, Connection, DeltaNet, GatedMixture, GramHash, Grams, Mixer, NetGate, PooledChooser, Scoring,
};
use crate::ops::{Norm, Rope, RopeStyle};
use crate::weights::{Loader, PerLayer};

/// Layers of which the last attends where the file does not say.
const PERIOD: usize = 4;
const RATIOS: &str = "attention.compress_ratios";

pub(super) fn build(loader: &Loader<'_>) -> Result<Decoder> {
    let b = Builder::new(loader)?;
    let keys = &loader.keys;
    let copies = Copies::read(&b)?;
    let rope = b.rope(RopeStyle::Neox)?;
    let blocks = b.hyper.blocks;
    let recurrent = keys.optional_flags("attention.recurrent_layers", blocks)?;
    let period = keys
        .optional_count("full_attention_interval")?
        .unwrap_or(PERIOD)
        .max(1);
    let ratios = ratios(loader, blocks)?;
    let (place, mut grams) = match grams(&b, &copies)? {
        Some((place, grams)) => (place, Some(grams)),
        None => (blocks, None),
    };
    let mut layers = Vec::new();
    for i in 0..b.hyper.layers {
        let keeps_state = match &recurrent {
            Some(flags) => flags[i],
            None => !(i + 1).is_multiple_of(period),
        };
        let mixer = match keeps_state {
            true => Mixer::DeltaNet(Box::new(DeltaNet {
                gate: NetGate::Sigmoid,
                ..delta_net(&b, i)?
            })),
            false => {
                let mut attention = gated_attention(&b, i, rope.clone())?;
                if ratios[i] > 0 {
                    let chooser = chooser(&b, i, ratios[i], &rope)?;
                    attention.blocks = Some(Box::new(BlockChoice::OfMeans(chooser)));
                }
                attention.into()
            }
        };
        let mlp = b.mlp(i, Scoring::Softmax, true)?;
        layers.push(Layer {
            residual: Residual::Connected(Box::new([
                copies.connection(&b, &format!("blk.{i}.hc_attn"), true)?,
                copies.connection(&b, &format!("blk.{i}.hc_ffn"), true)?,
            ])),
            grams: grams.take_if(|_| i == place).map(Box::new),
            ..Layer::without_norms(mixer, mlp)
        });
    }
    let ends = Ends::Connected(copies.count, Box::new(copies.connection(&b, "output_hc", false)?));
    let embedding = loader.embedding(b.hyper.hidden)?;
    let head = loader.head(b.hyper.hidden, embedding.matrix.outputs)?;
    Ok(Decoder {
        ends,
        ..Decoder::without_norm(embedding, layers, head)
    })
}

/// Copies of the state.
struct Copies {
    count: usize,
    /// Elements of all of them.
    wide: usize,
    /// Of the vectors that gates are made of.
    rank: usize,
}

impl Copies {
    fn read(b: &Builder<'_, '_>) -> Result<Self> {
        let keys = &b.loader.keys;
        let count = keys.count("hyper_connection.count")?;
        Ok(Self {
            count,
            wide: b.loader.all_heads(count, b.hyper.hidden)?,
            rank: keys.count("hyper_connection.low_rank")?,
        })
    }

    /// A norm of each copy.
    fn norm(&self, b: &Builder<'_, '_>, base: &str) -> Result<Norm> {
        Ok(Norm {
            group: b.hyper.hidden,
            ..b.loader.rms_norm(base, self.wide, b.eps)?
        })
    }

    fn connection(&self, b: &Builder<'_, '_>, base: &str, injects: bool) -> Result<Connection> {
        let linear = |name: &str, inputs: usize, outputs: usize| {
            b.loader.linear(&format!("{base}_{name}"), inputs, outputs)
        };
        Ok(Connection::Gated(GatedMixture {
            copies: self.count,
            norm: self.norm(b, &format!("{base}_norm"))?,
            down: linear("down", self.wide, self.rank)?,
            up: linear("up", self.rank, self.wide)?,
            inject: match injects {
                true => Some(linear("inject", self.wide, self.count)?),
                false => None,
            },
        }))
    }
}

/// Keys that one mean stands for, layer by layer; none where queries see all.
fn ratios(loader: &Loader<'_>, blocks: usize) -> Result<Vec<usize>> {
    if !loader.keys.is_array(RATIOS) {
        let one = loader.keys.optional_per_layer(RATIOS, blocks)?;
        return Ok((0..blocks)
            .map(|i| one.as_ref().map_or(0, |n: &PerLayer| n.get(i)))
            .collect());
    }
    let list: Vec<usize> = match loader.keys.array(RATIOS)? {
        Array::I32(list) => list.iter().map(|&n| n.try_into().unwrap_or(0)).collect(),
        Array::U32(list) => list.iter().map(|&n| n as usize).collect(),
        _ => Vec::new(),
    };
    match list.len() {
        n if n < blocks => {
            let expected = format!("a number for each of {blocks} layers");
            Err(loader.keys.refused(RATIOS, expected, n))
        }
        _ => Ok(list),
    }
}

/// The indexer of a layer, which rotates as its attention does.
fn chooser(b: &Builder<'_, '_>, layer: usize, block: usize, rope: &Arc<Rope>) -> Result<PooledChooser> {
    let (loader, keys) = (b.loader, &b.loader.keys);
    let base = |name: &str| format!("blk.{layer}.indexer.{name}");
    let heads = keys.count("attention.indexer.head_count")?;
    let len = keys.count("attention.indexer.key_length")?;
    if len < b.hyper.rotated {
        let expected = format!("at least the {} elements that are rotated", b.hyper.rotated);
        return Err(keys.refused("attention.indexer.key_length", expected, len));
    }
    Ok(PooledChooser {
        query: loader.linear(&base("q_proj"), b.hyper.hidden, loader.all_heads(heads, len)?)?,
        key: loader.linear(&base("k_proj"), b.hyper.hidden, len)?,
        query_norm: loader.rms_norm(&base("q_norm"), len, b.eps)?,
        key_norm: loader.rms_norm(&base("k_norm"), len, b.eps)?,
        rope: rope.clone(),
        len,
        block,
        keys: keys.count("attention.indexer.top_k")?,
    })
}

/// Embeddings of n-grams and the layer that they go to, where the file has them.
fn grams(b: &Builder<'_, '_>, copies: &Copies) -> Result<Option<(usize, Grams)>> {
    const PLACES: &str = "ple.layers";
    let (loader, keys) = (b.loader, &b.loader.keys);
    if keys.array_len(PLACES).unwrap_or(0) == 0 {
        return Ok(None);
    }
    let place = match keys.array(PLACES)? {
        Array::I32(list) if list.len() == 1 => usize::try_from(list[0]).ok(),
        Array::U32(list) if list.len() == 1 => Some(list[0] as usize),
        _ => None,
    };
    let place = place.filter(|&place| place < b.hyper.layers);
    let place = place.ok_or_else(|| keys.refused(PLACES, "one of the layers", "something else"))?;
    let hash = hash(loader)?;
    let table = loader.embedding_of(
        "per_layer_token_embd.weight",
        keys.count("embedding_length_per_layer_input")?,
    )?;
    let rows = table.matrix.outputs as u64;
    let fits = |&(start, count): &(u64, u64)| start.checked_add(count).is_some_and(|end| end <= rows);
    if !hash.parts.iter().all(fits) {
        let expected = format!("parts of the {rows} rows of per_layer_token_embd.weight");
        return Err(keys.refused("ple.head_vocab_sizes", expected, "others"));
    }
    let base = |name: &str| format!("blk.{place}.ple_{name}");
    let hidden = b.hyper.hidden;
    let wide = loader.all_heads(hash.parts.len(), table.matrix.inputs)?;
    if wide != hidden {
        let expected = format!("rows of {hidden} elements in all");
        return Err(keys.refused("embedding_length_per_layer_input", expected, wide));
    }
    let width = keys.count("ple.conv_kernel")?;
    Ok(Some((
        place,
        Grams {
            hash,
            table,
            key: loader.linear(&base("key"), hidden, copies.wide)?,
            value: loader.linear(&base("value"), hidden, hidden)?,
            key_norm: copies.norm(b, &base("norm_key"))?,
            query_norm: copies.norm(b, &base("norm_query"))?,
            convolved_norm: copies.norm(b, &base("norm_conv"))?,
            convolution: loader.table(&base("conv1d.weight"), width, copies.wide)?,
        },
    )))
}

/// The numbers of the hash.
fn hash(loader: &Loader<'_>) -> Result<GramHash> {
    let keys = &loader.keys;
    let size = keys.count("ple.ngram_size")?;
    let heads = keys.count("ple.heads_per_ngram")?;
    let all = size.saturating_sub(1).saturating_mul(heads);
    let numbers = |suffix: &str, count: usize| match keys.array(suffix)? {
        Array::U64(list) if count > 0 && list.len() >= count => Ok(list[..count].to_vec()),
        other => {
            let expected = format!("at least {count} numbers (u64)");
            Err(keys.refused(suffix, expected, other.len()))
        }
    };
    let starts = numbers("ple.head_offsets", all)?;
    let counts = numbers("ple.head_vocab_sizes", all)?;
    if counts.contains(&0) {
        return Err(keys.refused("ple.head_vocab_sizes", "numbers above 0", 0));
    }
    let end = keys.optional_count("ple.eos_token_id")?;
    let end = end.ok_or_else(|| keys.missing("ple.eos_token_id"))?;
    Ok(GramHash {
        size,
        heads,
        multipliers: numbers("ple.layer_multipliers", size)?,
        parts: starts.into_iter().zip(counts).collect(),
        end: u32::try_from(end).unwrap_or(u32::MAX),
    })
}
