//! First part of a decoder of sound (WavTokenizer): a convolution over the codes, then residual blocks with attention in
//! their midst.

use crate::Result;
use crate::ops::{Activation, AttentionShape, GroupNorm, Matrix, activate, attend};
use crate::run::Run;

use super::WideConvolution;

/// Makes the first layer's input of the embeddings of codes.
#[derive(Clone, Debug)]
pub(crate) struct PosNet {
    pub(crate) first: WideConvolution,
    pub(crate) blocks: Vec<PosBlock>,
}

/// A block.
#[derive(Clone, Debug)]
pub(crate) enum PosBlock {
    /// `x += conv(swish(norm(conv(swish(norm(x))))))`
    Residual(Box<[(GroupNorm, WideConvolution); 2]>),
    /// `x += output(attention(norm(x)))`: one head, every position sees all.
    Attention(Box<PosAttention>),
    /// `x = norm(x)`
    Norm(GroupNorm),
}

/// Queries, keys and values of one head, and what is made of them.
#[derive(Clone, Debug)]
pub(crate) struct PosAttention {
    pub(crate) norm: GroupNorm,
    pub(crate) query: WideConvolution,
    pub(crate) key: WideConvolution,
    pub(crate) value: WideConvolution,
    pub(crate) output: WideConvolution,
}

impl PosNet {
    /// The first layer's input.
    pub(crate) fn forward(&self, run: &mut Run<'_>, embeddings: Matrix) -> Result<Matrix> {
        let mut x = self.first.forward(run, &embeddings)?;
        run.scratch.give(embeddings);
        for block in &self.blocks {
            match block {
                PosBlock::Residual(parts) => {
                    let first = swished(run, &parts[0], &x)?;
                    let second = swished(run, &parts[1], &first)?;
                    x.add(&second);
                    run.scratch.give(first);
                    run.scratch.give(second);
                }
                PosBlock::Attention(attention) => {
                    let made = attention.forward(run, &x)?;
                    x.add(&made);
                    run.scratch.give(made);
                }
                PosBlock::Norm(norm) => {
                    let made = normed(run, norm, &x);
                    run.scratch.give(std::mem::replace(&mut x, made));
                }
            }
        }
        Ok(x)
    }

    /// Intermediate results, in numbers for each position.
    pub(crate) fn width(&self) -> usize {
        let all = self.blocks.iter().map(|block| match block {
            PosBlock::Residual(parts) => 2 * parts[0].1.width(),
            PosBlock::Attention(attention) => 4 * attention.output.width(),
            PosBlock::Norm(norm) => norm.weight.len(),
        });
        all.max().unwrap_or(0).max(self.first.width())
    }
}

/// The norm of a copy.
fn normed(run: &mut Run<'_>, norm: &GroupNorm, x: &Matrix) -> Matrix {
    let mut out = run.scratch.take(x.rows, x.cols);
    norm.apply_to_copy(x, &run.windows, &mut out);
    out
}

/// `conv(swish(norm(x)))`
fn swished(
    run: &mut Run<'_>,
    (norm, convolution): &(GroupNorm, WideConvolution),
    x: &Matrix,
) -> Result<Matrix> {
    let mut input = normed(run, norm, x);
    activate(Activation::Silu, &mut input.data);
    let out = convolution.forward(run, &input)?;
    run.scratch.give(input);
    Ok(out)
}

impl PosAttention {
    fn forward(&self, run: &mut Run<'_>, x: &Matrix) -> Result<Matrix> {
        let input = normed(run, &self.norm, x);
        let [q, k, v] = [
            self.query.forward(run, &input)?,
            self.key.forward(run, &input)?,
            self.value.forward(run, &input)?,
        ];
        let len = x.cols;
        let shape = AttentionShape {
            causal: false,
            ..AttentionShape::plain(1, 1, len, len, (len as f32).sqrt().recip())
        };
        let mut mixed = run.scratch.take(x.rows, len);
        attend(&q, &k, &v, &mut mixed, &run.windows, &shape, run.products);
        let out = self.output.forward(run, &mixed)?;
        for matrix in [input, q, k, v, mixed] {
            run.scratch.give(matrix);
        }
        Ok(out)
    }
}
