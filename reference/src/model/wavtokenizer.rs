//! WavTokenizer's decoder: of codes of sound one row of a spectrum each. A convolution over the codes, residual blocks with
//! attention between them, blocks of ConvNeXt. Its own code, and Vocos', which it builds on, has the exact GELU where
//! llama.cpp has the approximation by tanh.

use super::decoder::{Decoder, Layer, Mlp};
use crate::Result;
use crate::layers::{
    ConvNext, Convolution, FeedForward, Gate, Linear, Mixer, PosAttention, PosBlock, PosNet, WideConvolution,
};
use crate::ops::{Activation, GroupNorm, NormKind};
use crate::weights::Loader;

/// Blocks of the first part: two residual ones, attention, two residual ones, a norm.
const RESIDUAL: [usize; 4] = [0, 1, 3, 4];
const ATTENTION: usize = 2;
const NORM: usize = 5;
/// Positions that convolutions see.
const WIDE: usize = 7;
const NARROW: usize = 3;

pub(super) fn build(loader: &Loader<'_>) -> Result<Decoder> {
    let parts = Parts::read(loader)?;
    let (keys, width) = (&loader.keys, parts.width);
    let embedding = loader.embedding(parts.features)?;
    let first = parts.convolution("conv1d", WIDE, parts.features)?;
    let blocks = (0..parts.count("posnet.block_count")?)
        .map(|number| parts.block(number))
        .collect::<Result<Vec<_>>>()?;
    let eps = keys.float("attention.layer_norm_epsilon")?;
    let norm = |base: &str| {
        loader.needed(&format!("{base}.bias"), &[width])?;
        loader.norm(NormKind::Layer, base, width, eps)
    };
    let inner = keys.count("feed_forward_length")?;
    let layers = (0..parts.count("convnext.block_count")?)
        .map(|number| {
            let name = |part: &str| format!("convnext.{number}.{part}");
            let block = ConvNext {
                convolution: Convolution {
                    weight: loader.numbers(&name("dw.weight"), &[WIDE, 1, width])?,
                    bias: loader.numbers(&name("dw.bias"), &[1, width])?,
                },
                norm: norm(&name("norm"))?,
                feed_forward: FeedForward {
                    gate: Gate::None,
                    up: linear(loader, &name("pw1"), width, inner)?,
                    down: linear(loader, &name("pw2"), inner, width)?,
                    activation: Activation::GeluErf,
                    inner_norm: None,
                },
                scale: loader.vector(&name("gamma.weight"), width)?,
            };
            Ok(Layer::without_norms(Mixer::ConvNext(Box::new(block)), Mlp::None))
        })
        .collect::<Result<Vec<_>>>()?;
    let head = linear(loader, "output", width, keys.count("embedding_length")?)?;
    let embedding_norm = norm("token_embd_norm")?;
    Ok(Decoder {
        front: Some(Box::new(PosNet { first, blocks })),
        embedding_norm: Some(embedding_norm),
        ..Decoder::new(embedding, layers, norm("output_norm")?, head)
    })
}

/// A matrix whose bias has to be there.
fn linear(loader: &Loader<'_>, base: &str, inputs: usize, outputs: usize) -> Result<Linear> {
    loader.needed(&format!("{base}.bias"), &[outputs])?;
    loader.linear(base, inputs, outputs)
}

/// The parts that the first half is built from.
struct Parts<'a, 'l> {
    loader: &'a Loader<'l>,
    blocks: usize,
    /// Columns of a code's embedding.
    features: usize,
    /// Columns between the parts.
    width: usize,
    groups: usize,
    eps: f32,
}

impl<'a, 'l> Parts<'a, 'l> {
    fn read(loader: &'a Loader<'l>) -> Result<Self> {
        let keys = &loader.keys;
        let width = keys.count("posnet.embedding_length")?;
        let then = keys.count("convnext.embedding_length")?;
        if then != width {
            let expected = format!("the {width} of posnet.embedding_length");
            return Err(keys.refused("convnext.embedding_length", expected, then));
        }
        Ok(Self {
            blocks: keys.blocks()?,
            features: keys.count("features_length")?,
            width,
            groups: keys.count("attention.group_norm_groups")?,
            eps: keys.float("attention.group_norm_epsilon")?,
            loader,
        })
    }

    /// Blocks of a part, of which there are no more than `block_count`.
    fn count(&self, key: &str) -> Result<usize> {
        let (keys, blocks) = (&self.loader.keys, self.blocks);
        match keys.count(key)? {
            count if count > blocks => {
                Err(keys.refused(key, format!("at most the {blocks} of block_count"), count))
            }
            count => Ok(count),
        }
    }

    fn convolution(&self, base: &str, width: usize, inputs: usize) -> Result<WideConvolution> {
        let shape = [width, inputs, self.width];
        Ok(WideConvolution {
            matrix: self.loader.matrix(&format!("{base}.weight"), &shape)?,
            inputs,
            outputs: self.width,
            bias: self.column(&format!("{base}.bias"))?,
        })
    }

    /// A number for each channel.
    fn column(&self, name: &str) -> Result<Vec<f32>> {
        self.loader.numbers(name, &[1, self.width])
    }

    fn norm(&self, base: &str) -> Result<GroupNorm> {
        Ok(GroupNorm {
            groups: self.groups,
            eps: self.eps,
            weight: self.column(&format!("{base}.weight"))?,
            bias: self.column(&format!("{base}.bias"))?,
        })
    }

    fn block(&self, number: usize) -> Result<PosBlock> {
        let name = |part: &str| format!("posnet.{number}.{part}");
        match number {
            n if RESIDUAL.contains(&n) => {
                let part = |n: usize| -> Result<_> {
                    let convolution = self.convolution(&name(&format!("conv{n}")), NARROW, self.width)?;
                    Ok((self.norm(&name(&format!("norm{n}")))?, convolution))
                };
                Ok(PosBlock::Residual(Box::new([part(1)?, part(2)?])))
            }
            ATTENTION => {
                let one = |part: &str| self.convolution(&name(part), 1, self.width);
                Ok(PosBlock::Attention(Box::new(PosAttention {
                    norm: self.norm(&name("attn_norm"))?,
                    query: one("attn_q")?,
                    key: one("attn_k")?,
                    value: one("attn_v")?,
                    output: one("attn_output")?,
                })))
            }
            NORM => Ok(PosBlock::Norm(self.norm(&name("attn_norm"))?)),
            _ => {
                let (expected, found) = (format!("at most {}", NORM + 1), number + 1);
                Err(self.loader.keys.refused("posnet.block_count", expected, found))
            }
        }
    }
}
