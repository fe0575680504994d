//! Widths of a model's layers as llama.cpp's loader takes them from its keys, as far as memory depends on them.

use std::path::PathBuf;

use gguf::{Metadata, Value};

use super::Weights;
use super::keys::{flags, number, numbers};
use super::windows::windows;
use crate::{Error, Result};

/// Most layers that a model can have (LLAMA_MAX_LAYERS).
const MAX_LAYERS: u64 = 512;

/// Dimensions that memory depends on.
#[derive(Debug)]
pub(super) struct Shape {
    pub(super) layers: Vec<LayerKind>,
    /// Layers that compute; those behind them predict further tokens.
    pub(super) running: usize,
    pub(super) hidden: u64,
    pub(super) vocabulary: u64,
    pub(super) window: Option<u64>,
    /// Whether each sequence has caches of its own in any case.
    pub(super) apart: bool,
    pub(super) trained_context: Option<u64>,
    /// Whether there is a cache at all.
    pub(super) cached: bool,
    /// Whether keys are cached in the latent form (MLA).
    pub(super) latent: bool,
    /// Numbers of a head's keys and values.
    pub(super) key_len: u64,
    pub(super) value_len: u64,
    /// Width of the widest feed-forward part, that of all experts that a token uses.
    pub(super) active: u64,
    /// Experts that a token uses.
    pub(super) experts_used: u64,
}

/// A layer.
#[derive(Clone, Debug, Default)]
pub(super) struct LayerKind {
    /// Numbers of a token's keys and values that are cached.
    pub(super) key: u64,
    pub(super) value: u64,
    /// Whether it sees a window only.
    pub(super) windowed: bool,
    /// Numbers in f32 of a sequence's states.
    pub(super) states: u64,
    /// Caches beside that of keys and values.
    pub(super) further: Vec<Further>,
    /// Heads of queries, and the numbers in all of them.
    pub(super) heads: u64,
    pub(super) queries: u64,
}

/// A cache of an indexer's keys, or of keys of many tokens as one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Further {
    pub(super) key: u64,
    pub(super) value: u64,
    /// Tokens that share an entry.
    pub(super) ratio: u64,
}

/// Architectures without a cache: encoders, and those that predict all tokens at once.
const UNCACHED: [&str; 14] = [
    "bert",
    "jina-bert-v2",
    "jina-bert-v3",
    "nomic-bert",
    "nomic-bert-moe",
    "neo-bert",
    "eurobert",
    "modern-bert",
    "wavtokenizer-dec",
    "gemma-embedding",
    "dream",
    "llada",
    "llada-moe",
    "rnd1",
];

/// Architectures whose layers all have states and no cache.
const RECURRENT: [&str; 6] = ["mamba", "mamba2", "rwkv6", "rwkv6qwen2", "rwkv7", "arwkv7"];

/// Hybrids whose layers without heads of keys have states.
const WITHOUT_HEADS: [&str; 9] = [
    "jamba",
    "plamo2",
    "granitehybrid",
    "lfm2",
    "lfm2moe",
    "kimi-linear",
    "bailingmoe3",
    "kimi-k3",
    "glm5-next",
];

/// Hybrids in which all but the last of so many layers have states, unless the file says which.
const EVERY: [(&str, u64); 5] = [
    ("qwen3next", 4),
    ("qwen35", 4),
    ("qwen35moe", 4),
    ("qwen4exp", 4),
    ("minimax-01", 8),
];

impl Shape {
    /// The widths of a file's layers.
    pub(super) fn read(metadata: &Metadata, weights: &Weights) -> Result<Self> {
        let depth = Depth::read(metadata)?;
        let name = metadata.architecture();
        let hidden = number(metadata, "embedding_length").filter(|&n| n > 0);
        let hidden = hidden.ok_or_else(|| {
            bad(format!(
                "key '{name}.embedding_length': expected a number, found none"
            ))
        })?;
        if let Some(beyond) = weights.layers.len().checked_sub(depth.stored).filter(|&n| n > 0) {
            return Err(bad(format!(
                "tensors of block {}: expected at most block {}, as {name}.block_count says",
                depth.stored + beyond - 1,
                depth.stored.saturating_sub(1),
            )));
        }
        let heads = Heads::read(metadata, &depth, hidden);
        let inner = depth
            .per_layer(metadata, "feed_forward_length")
            .unwrap_or_default();
        let recurrent = recurrent_layers(metadata, &depth, &heads.kv, &inner);
        let windows = windows(metadata, depth.blocks, depth.running, &recurrent);
        let kinds = Kinds {
            metadata,
            depth: &depth,
            heads: &heads,
            inner: &inner,
            recurrent: &recurrent,
            windowed: windows.as_ref().map_or(&[][..], |(_, flags)| flags.as_slice()),
            sharing: shared_from(metadata, depth.blocks),
            states: states_of(metadata, hidden, at(&heads.count, 0)),
            indexer: number(metadata, "attention.indexer.key_length").unwrap_or(0),
        };
        let mut layers: Vec<LayerKind> = (0..depth.blocks).map(|layer| kinds.of(layer)).collect();
        if name == "graniteswitch" {
            // The head that finds each token's adapter.
            layers.push(LayerKind {
                heads: 1,
                queries: heads.key,
                key: heads.key,
                value: heads.value,
                ..LayerKind::default()
            });
        }
        let most = |suffix: &str| numbers(metadata, suffix).and_then(|all| all.into_iter().max());
        let experts_used = most("expert_used_count").unwrap_or(0);
        let dense = inner.iter().copied().max().unwrap_or(0);
        let expert = most("expert_feed_forward_length").unwrap_or(match experts_used {
            0 => 0,
            _ => dense,
        });
        Ok(Self {
            layers,
            running: depth.running,
            latent: heads.latent,
            key_len: heads.key,
            value_len: if heads.keys_alone { 0 } else { heads.value },
            active: dense.max(expert.saturating_mul(experts_used)),
            experts_used,
            hidden,
            vocabulary: match weights.vocabulary {
                0 => number(metadata, "vocab_size").unwrap_or(0),
                n => n,
            },
            window: windows.map(|(window, _)| window),
            apart: name == "deepseek4",
            trained_context: number(metadata, "context_length"),
            cached: !UNCACHED.contains(&name),
        })
    }
}

/// Numbers of layers.
struct Depth {
    /// Layers that the file has tensors of.
    stored: usize,
    /// Layers with caches, those that are run several times as often as they are.
    blocks: usize,
    /// Those of `blocks` that compute; the rest predicts further tokens.
    running: usize,
}

impl Depth {
    fn read(metadata: &Metadata) -> Result<Self> {
        let name = metadata.architecture();
        let stored = number(metadata, "block_count").filter(|n| (1..=MAX_LAYERS).contains(n));
        let stored = stored.ok_or_else(|| {
            let found = metadata.arch("block_count").map_or("nothing".to_owned(), shown);
            bad(format!(
                "key '{name}.block_count': expected 1 to {MAX_LAYERS}, found {found}"
            ))
        })?;
        let loops = match name {
            "nanbeige" => number(metadata, "num_loops").unwrap_or(1).max(1),
            _ => 1,
        };
        let blocks = stored.saturating_mul(loops).min(MAX_LAYERS);
        let (stored, blocks) = (stored as usize, blocks as usize);
        let predicting = number(metadata, "nextn_predict_layers").unwrap_or(0);
        let running = match usize::try_from(predicting) {
            Ok(n) if n < blocks => blocks - n,
            Ok(n) if n == blocks => blocks,
            _ => {
                return Err(bad(format!(
                    "key '{name}.nextn_predict_layers': expected at most {blocks}, found {predicting}"
                )));
            }
        };
        Ok(Self {
            stored,
            blocks,
            running,
        })
    }

    /// A number for each of `blocks` layers. What the file says of its own layers counts each time that they are run.
    fn per_layer(&self, metadata: &Metadata, suffix: &str) -> Option<Vec<u64>> {
        let mut all = numbers(metadata, suffix)?;
        if all.len() == 1 {
            all.resize(self.stored, all[0]);
        }
        Some(all.into_iter().cycle().take(self.blocks).collect())
    }
}

/// Heads of attention.
struct Heads {
    /// Heads of queries, and of keys and values, of each layer.
    count: Vec<u64>,
    kv: Vec<u64>,
    /// Numbers of a head's keys and values.
    key: u64,
    value: u64,
    /// The same in layers with a window.
    key_windowed: u64,
    value_windowed: u64,
    /// Whether keys are cached in the latent form (MLA).
    latent: bool,
    /// Whether values are made of what is cached as keys.
    keys_alone: bool,
}

impl Heads {
    fn read(metadata: &Metadata, depth: &Depth, hidden: u64) -> Self {
        let name = metadata.architecture();
        let count = depth
            .per_layer(metadata, "attention.head_count")
            .unwrap_or_default();
        let kv = depth
            .per_layer(metadata, "attention.head_count_kv")
            .unwrap_or_else(|| count.clone());
        // Stock asks the first layer.
        let first = at(&count, 0);
        let of_head = |suffix: &str| match first {
            // Its loader asks for the keys whatever the first layer is.
            0 if name == "plamo2" => number(metadata, suffix).unwrap_or(0),
            0 => 0,
            n => number(metadata, suffix).unwrap_or(hidden / n),
        };
        let (key, value) = (of_head("attention.key_length"), of_head("attention.value_length"));
        let is_set = |suffix: &str| number(metadata, suffix).is_some_and(|n| n > 0);
        let latent = is_set("attention.key_length_mla") && is_set("attention.value_length_mla");
        Self {
            count,
            kv,
            key,
            value,
            key_windowed: number(metadata, "attention.key_length_swa").unwrap_or(key),
            value_windowed: number(metadata, "attention.value_length_swa").unwrap_or(value),
            latent,
            keys_alone: latent || name == "deepseek4",
        }
    }
}

/// The number of a layer; 0 where a list has none.
fn at(list: &[u64], layer: usize) -> u64 {
    list.get(layer).copied().unwrap_or(0)
}

fn bad(message: String) -> Error {
    Error::Model {
        path: PathBuf::new(),
        message,
    }
}

/// Data that the kind of each layer depends on, read once for all layers.
struct Kinds<'a> {
    metadata: &'a Metadata,
    depth: &'a Depth,
    heads: &'a Heads,
    inner: &'a [u64],
    recurrent: &'a [bool],
    /// Layers with a window; empty where there is none.
    windowed: &'a [bool],
    /// The layer from which on the caches of earlier ones are used.
    sharing: usize,
    states: u64,
    /// Numbers of an indexer's keys.
    indexer: u64,
}

impl Kinds<'_> {
    fn of(&self, layer: usize) -> LayerKind {
        let (heads, running) = (self.heads, self.depth.running);
        let name = self.metadata.architecture();
        let mut kind = LayerKind {
            windowed: self.windowed.get(layer) == Some(&true),
            heads: at(&heads.count, layer),
            ..LayerKind::default()
        };
        let has_state = self.recurrent.get(layer) == Some(&true);
        // Their caches have room for layers that predict further tokens too.
        let runs = layer < running || matches!(name, "deepseek4" | "bailingmoe3");
        let attends = match name {
            "falcon-h1" => true,
            "nemotron_h" | "nemotron_h_moe" => !has_state && at(self.inner, layer) == 0,
            _ => !has_state,
        };
        if !UNCACHED.contains(&name) && runs && attends && layer < self.sharing {
            let kv = at(&heads.kv, layer);
            let (key, value) = match kind.windowed {
                true => (heads.key_windowed, heads.value_windowed),
                false => (heads.key, heads.value),
            };
            kind.queries = key.saturating_mul(kind.heads);
            kind.key = key.saturating_mul(kv);
            kind.value = if heads.keys_alone {
                0
            } else {
                value.saturating_mul(kv)
            };
            kind.further = self.further(layer, kind.windowed);
        }
        if has_state && layer < running {
            kind.states = self.states;
        }
        if name == "deepseek4" && layer < running {
            kind.states = compressor_states(self.metadata, layer, heads.key, self.indexer);
        }
        kind
    }

    /// Caches of indexers, and of compressed keys.
    fn further(&self, layer: usize, windowed: bool) -> Vec<Further> {
        let (metadata, runs) = (self.metadata, layer < self.depth.running);
        let full = |layer: usize| match numbers(metadata, "attention.indexer.types") {
            Some(all) => at(&all, layer) != 0,
            None => {
                number(metadata, "context_length").unwrap_or(0) < 1 << 20
                    || layer < 2
                    || (layer - 2).is_multiple_of(4)
            }
        };
        let indexed = |value: u64| {
            vec![Further {
                key: self.indexer,
                value,
                ratio: 1,
            }]
        };
        let compressed = |key: u64, ratio: u64| Further { key, value: 0, ratio };
        let (key, value) = (self.heads.key, self.heads.value);
        let value_of_indexer = if self.heads.latent { 0 } else { value };
        match metadata.architecture() {
            "deepseek32" if runs => indexed(value_of_indexer),
            "glm-dsa" | "glm5-next" if runs && full(layer) => indexed(value_of_indexer),
            "dots3note" if runs && !windowed && full(layer) => indexed(value_of_indexer),
            "hy_v4" if number(metadata, "attention.indexer.top_k").unwrap_or(0) > 0 && full(layer) => {
                indexed(value_of_indexer)
            }
            // Keys alone, in a cache of their own.
            "qwen4exp" if self.indexer > 0 => indexed(0),
            "minimax-m3" if layer as u64 >= number(metadata, "leading_dense_block_count").unwrap_or(0) => {
                indexed(value)
            }
            "deepseek4" => match ratio(metadata, layer) {
                FEW => vec![compressed(key, FEW), compressed(self.indexer, FEW)],
                MANY => vec![compressed(key, MANY)],
                _ => vec![],
            },
            _ => vec![],
        }
    }
}

/// Which layers have recurrent states.
fn recurrent_layers(metadata: &Metadata, depth: &Depth, kv_heads: &[u64], inner: &[u64]) -> Vec<bool> {
    let name = metadata.architecture();
    let &Depth { blocks, running, .. } = depth;
    let none = |list: &[u64], layer: usize| at(list, layer) == 0;
    let every = EVERY.iter().find(|(n, _)| *n == name);
    if every.is_some()
        && let Some(flags) = flags(metadata, "attention.recurrent_layers")
    {
        return flags
            .into_iter()
            .chain(std::iter::repeat(false))
            .take(blocks)
            .collect();
    }
    (0..blocks)
        .map(|layer| {
            if RECURRENT.contains(&name) || name == "falcon-h1" {
                return true;
            }
            if WITHOUT_HEADS.contains(&name) {
                return none(kv_heads, layer);
            }
            if let "nemotron_h" | "nemotron_h_moe" = name {
                return layer < running && none(kv_heads, layer) && none(inner, layer);
            }
            every.is_some_and(|(_, usual)| {
                let interval = number(metadata, "full_attention_interval")
                    .unwrap_or(*usual)
                    .max(1);
                layer < running && !(layer as u64 + 1).is_multiple_of(interval)
            })
        })
        .collect()
}

/// The layer from which on the caches of earlier layers are used.
fn shared_from(metadata: &Metadata, blocks: usize) -> usize {
    match metadata.architecture() {
        "gemma3n" => 20,
        "gemma4" => {
            let shared = number(metadata, "attention.shared_kv_layers").unwrap_or(0);
            blocks.saturating_sub(usize::try_from(shared).unwrap_or(blocks))
        }
        _ => usize::MAX,
    }
}

/// Numbers of a sequence's states in a layer that has them: the last inputs of convolutions, and what is carried on.
fn states_of(metadata: &Metadata, hidden: u64, heads: u64) -> u64 {
    let key = |suffix: &str| number(metadata, suffix).unwrap_or(0);
    let wkv = key("wkv.head_size");
    if wkv != 0 {
        let shifted = number(metadata, "token_shift_count").unwrap_or(2);
        return hidden.saturating_mul(shifted.saturating_add(wkv));
    }
    let kernel = key("ssm.conv_kernel");
    if let cached @ 1.. = key("shortconv.l_cache") {
        return hidden.saturating_mul(cached - 1);
    }
    if let size @ 1.. = key("kda.head_dim") {
        let inner = heads.saturating_mul(size);
        let convolved = if kernel > 0 { kernel - 1 } else { 3 };
        return inner
            .saturating_mul(3 * convolved)
            .saturating_add(inner.saturating_mul(size));
    }
    if metadata.architecture() == "minimax-01" {
        let size = key("attention.key_length");
        return size.saturating_mul(size).saturating_mul(heads);
    }
    let (inner, state) = (key("ssm.inner_size"), key("ssm.state_size"));
    let groups = key("ssm.group_count");
    let width = inner.saturating_add(groups.saturating_mul(state).saturating_mul(2));
    kernel
        .saturating_sub(1)
        .saturating_mul(width)
        .saturating_add(inner.saturating_mul(state))
}

/// Tokens that DeepSeek 4 caches as one, of its two kinds of compressed layers.
const FEW: u64 = 4;
const MANY: u64 = 128;

/// The ratio of a layer of DeepSeek 4.
fn ratio(metadata: &Metadata, layer: usize) -> u64 {
    let all = numbers(metadata, "attention.compress_ratios").unwrap_or_default();
    all.get(layer).copied().unwrap_or(0)
}

/// Numbers of the states of DeepSeek 4's compressors: sums and scores of tokens that are not yet an entry.
fn compressor_states(metadata: &Metadata, layer: usize, key: u64, indexer: u64) -> u64 {
    let twice = |tokens: u64, width: u64| tokens.saturating_mul(width).saturating_mul(2);
    match ratio(metadata, layer) {
        FEW => {
            twice(2 * FEW, key.saturating_mul(2)).saturating_add(twice(2 * FEW, indexer.saturating_mul(2)))
        }
        MANY => twice(MANY, key),
        _ => 0,
    }
}

/// The block that a tensor belongs to.
pub(super) fn block_of(name: &str) -> Option<usize> {
    let rest = name
        .strip_prefix("blk.")
        .or_else(|| name.strip_prefix("dec.blk."));
    let rest = rest.or_else(|| name.strip_prefix("enc.blk."))?;
    let block: usize = rest.split('.').next()?.parse().ok()?;
    (block < MAX_LAYERS as usize).then_some(block)
}

/// A value in a message.
fn shown(value: &Value) -> String {
    match value.as_u64() {
        Some(n) => n.to_string(),
        None => format!("a value of type {}", value.value_type()),
    }
}
