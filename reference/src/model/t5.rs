//! T5: an encoder whose tokens all see each other, and a decoder that sees them too; positions are biases of the scores,
//! which are not scaled. Its variants (T5 1.1, Flan, mT5) have gates; UMT5 has biases of its own in each layer.

use std::sync::Arc;

use gguf::Value;

use super::decoder::{Decoder, Layer, Mlp};
use super::hyperparameters::Hyperparameters;
use super::sides::{Across, Sides};
use crate::Result;
use crate::layers::{Attention, CrossAttention, FeedForward, Gate, Linear, Projections};
use crate::ops::{Activation, AttentionShape, Norm, NormKind, RelativeBias};
use crate::weights::Loader;

/// The encoder and the decoder.
pub(super) fn build(loader: &Loader<'_>) -> Result<Decoder> {
    let parts = Parts::read(loader)?;
    let embedding = loader.embedding(parts.hyper.hidden)?;
    let mut layers = parts.stack("enc", parts.hyper.blocks, false)?;
    let encoded = parts.norm("enc.output_norm")?;
    let decoder_layers = loader
        .keys
        .optional_blocks("decoder_block_count")?
        .unwrap_or(parts.hyper.blocks);
    let mut decoder = parts.stack("dec", decoder_layers, true)?;
    for (index, layer) in decoder.iter_mut().enumerate() {
        layer.across = Some(Box::new(parts.across(index)?));
    }
    if let Some(across) = decoder.first_mut().and_then(|layer| layer.across.as_mut()) {
        across.turns = Some(encoded);
    }
    layers.append(&mut decoder);
    let head = loader.head(parts.hyper.hidden, embedding.matrix.outputs)?;
    // Embeddings are as large as what they make, and as an output matrix too large by the root of the width.
    let logit_scale = match loader.has("output.weight") {
        true => 1.0,
        false => (parts.hyper.hidden as f32).sqrt().recip(),
    };
    Ok(Decoder {
        sides: Some(sides(loader)?),
        logit_scale,
        ..Decoder::new(embedding, layers, parts.norm("dec.output_norm")?, head)
    })
}

/// The encoder alone.
pub(super) fn encoder(loader: &Loader<'_>) -> Result<Decoder> {
    let parts = Parts::read(loader)?;
    let embedding = loader.embedding(parts.hyper.hidden)?;
    let layers = parts.stack("enc", parts.hyper.blocks, false)?;
    let head = loader.head(parts.hyper.hidden, embedding.matrix.outputs)?;
    let norm = parts.norm("enc.output_norm")?;
    Ok(Decoder::new(embedding, layers, norm, head))
}

/// The decoder's first token, for which llama.cpp's programs take that of the beginning of a text where the file does not
/// say, and the end that T5's tokenizer puts behind a text unless the file says otherwise.
fn sides(loader: &Loader<'_>) -> Result<Sides> {
    let keys = &loader.keys;
    let token = |id: usize| u32::try_from(id).ok();
    let global = |name: &str| keys.global_count(&format!("tokenizer.ggml.{name}_token_id"));
    let own = keys.optional_count("decoder_start_token_id")?;
    let is_t5 = keys.global("tokenizer.ggml.model").and_then(Value::as_str) == Some("t5");
    let ends = match keys.global("tokenizer.ggml.add_eos_token") {
        Some(Value::Bool(ends)) => *ends,
        _ => is_t5,
    };
    let end = global("eos").or(is_t5.then_some(T5_END));
    Ok(Sides {
        start: own.or_else(|| global("bos")).and_then(token),
        end: end.filter(|_| ends).and_then(token),
    })
}

/// The end of a text in T5's vocabularies.
const T5_END: usize = 1;

/// The parts that both stacks of layers are built from.
struct Parts<'a, 'l> {
    loader: &'a Loader<'l>,
    hyper: Hyperparameters,
    /// Heads of queries and as many of keys.
    heads: usize,
    inner: usize,
    buckets: usize,
    eps: f32,
}

impl<'a, 'l> Parts<'a, 'l> {
    fn read(loader: &'a Loader<'l>) -> Result<Self> {
        let keys = &loader.keys;
        let hyper = Hyperparameters::read(loader)?;
        let (heads, kv) = hyper.heads(loader, 0)?;
        if heads != kv {
            let expected = format!("the {heads} of attention.head_count");
            return Err(keys.refused("attention.head_count_kv", expected, kv));
        }
        let buckets = keys.count("attention.relative_buckets_count")?;
        let allowed = RelativeBias::buckets(true);
        let allowed = *allowed.start()..=*RelativeBias::buckets(false).end();
        if !allowed.contains(&buckets) {
            let expected = format!("{} to {}", allowed.start(), allowed.end());
            return Err(keys.refused("attention.relative_buckets_count", expected, buckets));
        }
        Ok(Self {
            heads,
            inner: hyper.inner(loader, 0)?,
            buckets,
            eps: keys.float("attention.layer_norm_rms_epsilon")?,
            hyper,
            loader,
        })
    }

    fn norm(&self, base: &str) -> Result<Norm> {
        let (hidden, loader) = (self.hyper.hidden, self.loader);
        let tensor = format!("{base}.weight");
        Ok(Norm {
            kind: NormKind::Rms,
            group: hidden,
            weight: loader.vector(&tensor, hidden)?,
            bias: Vec::new(),
            eps: self.eps,
            tensor: Some(tensor),
        })
    }

    /// A matrix of one side's layer, which has nothing beside it.
    fn linear(&self, base: &str, inputs: usize, outputs: usize) -> Result<Linear> {
        self.loader.plain_linear(base, inputs, outputs)
    }

    /// Elements of all heads' keys, and of all heads' values.
    fn widths(&self) -> Result<(usize, usize)> {
        let all = |len: usize| self.loader.all_heads(self.heads, len);
        Ok((all(self.hyper.key_len)?, all(self.hyper.value_len)?))
    }

    /// The layers of one side, whose queries see all keys or those up to their own.
    fn stack(&self, side: &str, count: usize, causal: bool) -> Result<Vec<Layer>> {
        let bias = |layer: usize| -> Result<_> {
            let name = format!("{side}.blk.{layer}.attn_rel_b.weight");
            let table = self.loader.table(&name, self.heads, self.buckets)?;
            Ok(Arc::new(RelativeBias::new(&table, self.buckets, !causal)))
        };
        // Layers without biases of their own have the first one's.
        let first = bias(0)?;
        let mut layers = Vec::new();
        for layer in 0..count {
            let base = |name: &str| format!("{side}.blk.{layer}.{name}");
            let relative = match layer > 0 && self.loader.has(&base("attn_rel_b.weight")) {
                true => bias(layer)?,
                false => Arc::clone(&first),
            };
            let shape = AttentionShape {
                causal,
                relative: Some(relative),
                ..self.shape()
            };
            let (keys, values) = self.widths()?;
            let projections = Projections::Separate {
                query: self.linear(&base("attn_q"), self.hyper.hidden, keys)?,
                key: self.linear(&base("attn_k"), self.hyper.hidden, keys)?,
                value: self.linear(&base("attn_v"), self.hyper.hidden, values)?,
            };
            let output = self.linear(&base("attn_o"), values, self.hyper.hidden)?;
            let attention = Attention::new(projections, output, None, shape);
            let norm = self.norm(&base("attn_norm"))?;
            let mlp = Mlp::Dense(Box::new(self.feed_forward(&base("ffn"))?));
            layers.push(Layer::new(norm, attention, self.norm(&base("ffn_norm"))?, mlp));
        }
        Ok(layers)
    }

    /// Heads that see everything, their scores as they are.
    fn shape(&self) -> AttentionShape {
        AttentionShape {
            causal: false,
            ..AttentionShape::plain(
                self.heads,
                self.heads,
                self.hyper.key_len,
                self.hyper.value_len,
                1.0,
            )
        }
    }

    /// With gates where the file has them, else plain.
    fn feed_forward(&self, base: &str) -> Result<FeedForward> {
        let (hidden, inner) = (self.hyper.hidden, self.inner);
        let name = |part: &str| format!("{base}_{part}");
        let (gate, activation) = match self.loader.has(&name("gate.weight")) {
            true => {
                let gate = self.linear(&name("gate"), hidden, inner)?;
                (Gate::Separate(gate), Activation::Gelu)
            }
            false => (Gate::None, Activation::Relu),
        };
        Ok(FeedForward {
            gate,
            up: self.linear(&name("up"), hidden, inner)?,
            down: self.linear(&name("down"), inner, hidden)?,
            activation,
            inner_norm: None,
        })
    }

    /// The part of a decoder's layer that sees what the encoder made.
    fn across(&self, layer: usize) -> Result<Across> {
        let base = |name: &str| format!("dec.blk.{layer}.cross_attn_{name}");
        let (keys, values) = self.widths()?;
        let hidden = self.hyper.hidden;
        // Files may have biases of these too, which no program uses.
        self.loader
            .allowed(&base("rel_b.weight"), &[self.heads, self.buckets])?;
        Ok(Across {
            norm: self.norm(&base("norm"))?,
            attention: CrossAttention {
                query: self.linear(&base("q"), hidden, keys)?,
                key: self.linear(&base("k"), hidden, keys)?,
                value: self.linear(&base("v"), hidden, values)?,
                output: self.linear(&base("o"), values, hidden)?,
                shape: self.shape(),
            },
            turns: None,
        })
    }
}
