//! HRM-Text ("Hierarchical Reasoning Model", 2025): two stacks of layers, of which the lower one runs several times for
//! each time that the upper one does, and both again in every cycle. As in llama.cpp, tokens see no later ones, also of
//! models that were trained to see all of a prompt.

use super::decoder::{Decoder, Layer, Level, Mlp, Stream, Streams};
use super::hyperparameters::{Hyperparameters, rope};
use super::mixtures::weightless;
use crate::Result;
use crate::layers::{GateFunction, OutputGate};
use crate::ops::{Activation, RopeStyle};
use crate::weights::Loader;

/// Levels, by their place in the streams.
const UPPER: usize = 0;
const LOWER: usize = 1;

pub(super) fn build(loader: &Loader<'_>) -> Result<Decoder> {
    let hyper = Hyperparameters::read(loader)?;
    let keys = &loader.keys;
    let eps = keys.float("attention.layer_norm_rms_epsilon")?;
    let count = |suffix: &str| match keys.count(suffix)? {
        0 => Err(keys.refused(suffix, "at least 1", 0)),
        n => Ok(n),
    };
    let height = count("hrm.layers_per_stack")?;
    let (upper, lower) = (count("hrm.h_cycles")?, count("hrm.l_cycles")?);
    let all = lower
        .checked_add(1)
        .and_then(|n| n.checked_mul(upper)?.checked_mul(height));
    if all != Some(hyper.layers) {
        let expected = format!(
            "{height} layers of a stack (hrm.layers_per_stack) times {upper} cycles (hrm.h_cycles) of {lower} \
             (hrm.l_cycles) and one more"
        );
        return Err(keys.refused("block_count", expected, hyper.layers));
    }
    let rope = rope(loader, &hyper, RopeStyle::Neox)?;
    let plain = || weightless(hyper.hidden, eps);
    let layer = |block: usize| {
        let (heads, _) = hyper.heads(loader, block)?;
        let mut attention = hyper.attention(loader, block, Some(rope.clone()), hyper.usual_scale())?;
        attention.gate = Some(OutputGate {
            linear: loader.linear(
                &format!("blk.{block}.attn_gate"),
                hyper.hidden,
                heads.saturating_mul(hyper.key_len),
            )?,
            function: GateFunction::Sigmoid,
        });
        let mlp = Mlp::Dense(Box::new(hyper.feed_forward(loader, block, Activation::Silu)?));
        Ok::<_, crate::Error>(Layer::new(plain(), attention, plain(), mlp))
    };
    let mut layers = Vec::new();
    for _ in 0..upper {
        for time in 0..=lower {
            let (level, first) = match time == lower {
                true => (UPPER, height),
                false => (LOWER, 0),
            };
            for at in 0..height {
                layers.push(Layer {
                    stream: Stream::Level(Level {
                        opens: at == 0,
                        closes: (at + 1 == height).then(|| (level, plain())),
                    }),
                    ..layer(first + at)?
                });
            }
        }
    }
    let embedding = loader.embedding(hyper.hidden)?;
    let head = loader.head(hyper.hidden, embedding.matrix.outputs)?;
    Ok(Decoder {
        embedding_scale: keys.optional_positive("embedding_scale")?.unwrap_or(1.0),
        streams: Streams::Levels(loader.vector("hrm.z_l_init", hyper.hidden)?),
        output_norm: None,
        ..Decoder::new(embedding, layers, plain(), head)
    })
}
