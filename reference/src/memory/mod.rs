//! Memory that llama.cpp takes to run a model, by kind and layer: weights, cache of keys and values, recurrent states and
//! buffers of the computation. Keys and the list of tensors are enough; nothing of the weights is read.
//!
//! Weights, cache and states are what llama.cpp allocates. Its buffers follow from the order in which it runs its graph,
//! and are estimated: docs/fit.md has how far off they are.
//!
//! ```
//! use quantsmith_reference::memory::{self, Settings};
//! # let mut metadata = gguf::Metadata::new();
//! # metadata.set("general.architecture", "llama");
//! # for (key, value) in [("block_count", 1u32), ("embedding_length", 64), ("attention.head_count", 4)] {
//! #     metadata.set(format!("llama.{key}"), value);
//! # }
//! # let tensors: [gguf::TensorInfo; 0] = [];
//! let settings = Settings::default().context(32768);
//! let memory = memory::estimate(&metadata, &tensors, &settings)?;
//! let all = memory.on_gpu(memory.layers.len() + 1);
//! println!("{} bytes with every layer on the GPU", all.total());
//! # Ok::<(), quantsmith_reference::Error>(())
//! ```

mod buffers;
mod keys;
mod placement;
mod shape;
mod windows;

use gguf::{Metadata, TensorInfo, TensorType};

pub use placement::{Budget, Fit, RESERVE, Use};

use crate::Result;
use shape::{LayerKind, Shape};

/// How a model is run: llama.cpp's parameters of a context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// Tokens of all sequences together (`-c`); 0 for what the model was trained on.
    pub context: u64,
    /// Sequences at once (`-np`).
    pub sequences: u64,
    /// Whether they share one cache (`-kvu`) instead of having an equal part of it each.
    pub unified: bool,
    /// Tokens computed at once (`-ub`).
    pub batch: u64,
    /// Type of cached keys (`-ctk`).
    pub key_type: TensorType,
    /// Type of cached values (`-ctv`).
    pub value_type: TensorType,
    /// Flash attention (`-fa`), without which the scores of a whole batch are kept.
    pub flash: bool,
}

gguf::setters! {
    Settings {
        context: u64,
        sequences: u64,
        unified: bool,
        batch: u64,
        key_type: TensorType,
        value_type: TensorType,
        flash: bool,
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            context: 0,
            sequences: 1,
            unified: false,
            batch: 512,
            key_type: TensorType::F16,
            value_type: TensorType::F16,
            flash: true,
        }
    }
}

/// Types that a cache can have, as `-ctk` and `-ctv` take them.
pub const CACHE_TYPES: [TensorType; 9] = [
    TensorType::F32,
    TensorType::F16,
    TensorType::BF16,
    TensorType::Q8_0,
    TensorType::Q5_1,
    TensorType::Q5_0,
    TensorType::Q4_1,
    TensorType::Q4_0,
    TensorType::IQ4_NL,
];

/// Bytes of a layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Layer {
    /// Weights.
    pub weights: u64,
    /// Keys and values.
    pub cache: u64,
    /// Recurrent states, of constant size.
    pub states: u64,
}

impl Layer {
    /// Everything.
    pub fn total(&self) -> u64 {
        self.weights
            .saturating_add(self.cache)
            .saturating_add(self.states)
    }
}

/// Memory of a model in a context, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Memory {
    /// The layers, in order.
    pub layers: Vec<Layer>,
    /// Embeddings of tokens and positions, which stay with the CPU.
    pub input: u64,
    /// Final norm and output matrix.
    pub output: u64,
    /// Embeddings that are the output matrix as well: a GPU gets a copy of its own.
    pub tied: u64,
    /// Weights of layers that are not loaded, because they only predict further tokens.
    pub unused: u64,
    /// Buffer of the computation.
    pub compute: u64,
    /// Part of [`Self::compute`] that is written by the CPU, which a GPU needs in the CPU's memory too.
    pub inputs: u64,
    /// Logits that are handed out, with the CPU.
    pub logits: u64,
    /// Tokens that fit the cache, over all sequences.
    pub context: u64,
    /// Tokens that fit each sequence.
    pub context_of_each: u64,
    /// Context that the model was trained on, where the file says it.
    pub trained_context: Option<u64>,
}

impl Memory {
    /// Weights, all of them once.
    pub fn weights(&self) -> u64 {
        let layers = self.layers.iter().map(|l| l.weights);
        layers.fold(self.input.saturating_add(self.output), u64::saturating_add)
    }

    /// Keys and values of all layers.
    pub fn cache(&self) -> u64 {
        self.layers.iter().map(|l| l.cache).fold(0, u64::saturating_add)
    }

    /// Recurrent states of all layers.
    pub fn states(&self) -> u64 {
        self.layers.iter().map(|l| l.states).fold(0, u64::saturating_add)
    }
}

/// Memory of the model that these keys and tensors declare.
///
/// # Errors
/// When the keys that say the number of layers, heads and their widths are missing or out of range.
pub fn estimate<'a>(
    metadata: &Metadata,
    tensors: impl IntoIterator<Item = &'a TensorInfo>,
    settings: &Settings,
) -> Result<Memory> {
    let weights = Weights::of(metadata.architecture(), tensors);
    let shape = Shape::read(metadata, &weights)?;
    check(&shape, settings)?;
    let cells = Cells::new(settings, &shape);
    let mut layers: Vec<Layer> = shape
        .layers
        .iter()
        .map(|kind| Layer {
            weights: 0,
            cache: cells.cache(kind, settings, &shape),
            states: cells.states(kind),
        })
        .collect();
    for (layer, bytes) in layers.iter_mut().zip(&weights.layers) {
        layer.weights = *bytes;
    }
    // Layers past those that run are left on the disk.
    let mut unused = 0u64;
    for (at, layer) in layers.iter_mut().enumerate().skip(shape.running) {
        let kept = weights.kept.get(at).copied().unwrap_or(0);
        unused = unused.saturating_add(layer.weights.saturating_sub(kept));
        layer.weights = kept;
    }
    let buffers = buffers::estimate(&shape, settings, &cells);
    Ok(Memory {
        layers,
        input: weights.input,
        output: weights.output,
        tied: if weights.has_output { 0 } else { weights.embeddings },
        unused,
        compute: buffers.compute,
        inputs: buffers.inputs,
        logits: shape
            .vocabulary
            .saturating_mul(settings.sequences.max(1))
            .saturating_mul(4),
        context: cells.context,
        context_of_each: cells.of_each,
        trained_context: shape.trained_context,
    })
}

/// Caches that llama.cpp refuses: heads that are not of whole blocks, and quantized values that are multiplied as they are.
fn check(shape: &Shape, settings: &Settings) -> Result<()> {
    let bad = |message: String| crate::Error::Model {
        path: std::path::PathBuf::new(),
        message,
    };
    let cached = shape.layers.iter().any(|l| l.key > 0);
    for (what, ty, head) in [
        ("keys", settings.key_type, shape.key_len),
        ("values", settings.value_type, shape.value_len),
    ] {
        if !CACHE_TYPES.contains(&ty) {
            return Err(bad(format!(
                "type of cached {what}: expected one of a cache, found {ty}"
            )));
        }
        if cached && !head.is_multiple_of(ty.block_len() as u64) {
            return Err(bad(format!(
                "type of cached {what}: {ty} has blocks of {}, and a head has {head} numbers",
                ty.block_len()
            )));
        }
    }
    if cached && !settings.flash && settings.value_type.is_quantized() {
        let ty = settings.value_type;
        return Err(bad(format!("type of cached values: {ty} needs flash attention")));
    }
    Ok(())
}

/// Parts of names of what llama.cpp loads also of layers that only predict further tokens: tensors that its loader counts
/// as optional there.
const KEPT: [(&str, &[&str]); 2] = [
    (
        "hy_v3",
        &[
            ".nextn.embed_",
            ".nextn.shared_",
            ".ffn_gate",
            ".ffn_up",
            ".ffn_down",
            ".exp_probs_b",
        ],
    ),
    (
        "step35",
        &[
            ".nextn.embed_",
            ".nextn.shared_",
            ".ffn_gate",
            ".ffn_up",
            ".ffn_down",
            ".exp_probs_b",
            ".attn_q_norm.",
            ".attn_k_norm.",
            ".attn_gate.",
        ],
    ),
];

/// Bytes of tensors by place, with the padding that buffers have.
#[derive(Debug, Default)]
struct Weights {
    layers: Vec<u64>,
    /// Of [`Self::layers`], those of [`KEPT`].
    kept: Vec<u64>,
    input: u64,
    output: u64,
    /// `token_embd.weight`.
    embeddings: u64,
    has_output: bool,
    /// Rows of `token_embd.weight`: tokens.
    vocabulary: u64,
}

/// Alignment of tensors in a buffer.
const ALIGNMENT: u64 = 32;

/// Tensors of the input; stock reads their rows with the CPU.
const INPUT: [&str; 5] = [
    "token_embd.",
    "token_types.",
    "position_embd.",
    "per_layer_token_embd.",
    "token_embd_norm.",
];

impl Weights {
    fn of<'a>(architecture: &str, tensors: impl IntoIterator<Item = &'a TensorInfo>) -> Self {
        let kept = KEPT.iter().find(|(name, _)| *name == architecture);
        let kept = kept.map_or(&[] as &[&str], |(_, parts)| *parts);
        let mut all = Self::default();
        for tensor in tensors {
            let bytes = tensor.size_bytes().saturating_add(ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
            match shape::block_of(&tensor.name) {
                Some(block) => {
                    if all.layers.len() <= block {
                        all.layers.resize(block + 1, 0);
                        all.kept.resize(block + 1, 0);
                    }
                    if kept.iter().any(|part| tensor.name.contains(part)) {
                        all.kept[block] = all.kept[block].saturating_add(bytes);
                    }
                    all.layers[block] = all.layers[block].saturating_add(bytes);
                }
                None if INPUT.iter().any(|prefix| tensor.name.starts_with(prefix)) => {
                    all.input = all.input.saturating_add(bytes);
                }
                None => all.output = all.output.saturating_add(bytes),
            }
            match tensor.name.as_str() {
                "token_embd.weight" => {
                    all.embeddings = bytes;
                    all.vocabulary = tensor.rows();
                }
                "output.weight" => all.has_output = true,
                _ => {}
            }
        }
        // Their loaders ask for the output matrix first, and have the embeddings twice wherever they are.
        if matches!(architecture, "gemma3n" | "gemma4") && !all.has_output {
            all.output = all.output.saturating_add(all.embeddings);
            all.has_output = true;
        }
        all
    }
}

/// Sizes of caches in tokens, as llama.cpp rounds them.
#[derive(Clone, Copy, Debug)]
struct Cells {
    context: u64,
    of_each: u64,
    sequences: u64,
    /// Caches beside each other.
    streams: u64,
    /// Tokens in one of layers that see a window.
    window: u64,
    /// The same where sequences never share.
    window_apart: u64,
    batch: u64,
}

/// Multiples that contexts are rounded up to.
const CELLS: u64 = 256;

/// Bounds of what the arithmetic has to take.
const MAX_CONTEXT: u64 = 1 << 40;
const MAX_SEQUENCES: u64 = 1 << 16;

impl Cells {
    fn new(settings: &Settings, shape: &Shape) -> Self {
        let sequences = settings.sequences.clamp(1, MAX_SEQUENCES);
        let wanted = match settings.context {
            0 => shape.trained_context.unwrap_or(CELLS),
            n => n,
        };
        let wanted = wanted.clamp(1, MAX_CONTEXT);
        let context = wanted.next_multiple_of(CELLS);
        let (context, of_each) = if settings.unified {
            (context, context)
        } else {
            let each = (context / sequences).max(1).next_multiple_of(CELLS);
            (each * sequences, each)
        };
        // The batch is no longer than what fits.
        let batch = settings.batch.clamp(1, wanted.max(1));
        let window = |together: u64| {
            let seen = shape.window.unwrap_or(0).saturating_mul(together);
            of_each
                .min(seen.saturating_add(batch))
                .max(1)
                .next_multiple_of(CELLS)
        };
        Self {
            context,
            of_each,
            sequences,
            streams: if settings.unified { 1 } else { sequences },
            window: window(if settings.unified { sequences } else { 1 }),
            window_apart: window(1),
            batch,
        }
    }

    /// Bytes of a layer's keys and values.
    fn cache(&self, kind: &LayerKind, settings: &Settings, shape: &Shape) -> u64 {
        let row = |ty: TensorType, width: u64| {
            let (block, bytes) = (ty.block_len() as u64, ty.block_bytes() as u64);
            width.div_ceil(block).saturating_mul(bytes)
        };
        let of = |key: u64, value: u64, cells: u64, streams: u64| {
            row(settings.key_type, key)
                .saturating_add(row(settings.value_type, value))
                .saturating_mul(cells)
                .saturating_mul(streams)
        };
        let streams = if shape.apart { self.sequences } else { self.streams };
        let window = if shape.apart {
            self.window_apart
        } else {
            self.window
        };
        let cells = if kind.windowed { window } else { self.of_each };
        let mut bytes = of(kind.key, kind.value, cells, streams);
        for further in &kind.further {
            let cells = match further.ratio {
                1 => self.of_each,
                ratio => self.of_each.div_ceil(ratio).max(1).next_multiple_of(CELLS),
            };
            bytes = bytes.saturating_add(of(further.key, further.value, cells, streams));
        }
        bytes
    }

    /// Bytes of a layer's states.
    fn states(&self, kind: &LayerKind) -> u64 {
        kind.states.saturating_mul(4).saturating_mul(self.sequences)
    }
}
