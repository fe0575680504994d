//! Token mixers: the part of a layer that lets the tokens of a window see each other.

use crate::Result;
use crate::ops::Matrix;
use crate::run::Run;

use super::{
    Attention, CompressedAttention, ConvNext, DeltaNet, FeedForward, KimiDelta, LatentAttention, Lightning,
    Linear, Mamba, Mamba2, Mixture, PlamoMamba, ShortConvolution, TimeMix6, TimeMix7,
};

/// The first half of a layer.
#[derive(Clone, Debug)]
pub(crate) enum Mixer {
    /// There is none: the layer is its second half.
    None,
    /// A matrix in place of attention, each token by itself.
    Linear(Box<Linear>),
    Attention(Box<Attention>),
    Latent(Box<LatentAttention>),
    Compressed(Box<CompressedAttention>),
    Lightning(Box<Lightning>),
    Mamba(Box<Mamba>),
    Mamba2(Box<Mamba2>),
    PlamoMamba(Box<PlamoMamba>),
    DeltaNet(Box<DeltaNet>),
    KimiDelta(Box<KimiDelta>),
    ShortConvolution(Box<ShortConvolution>),
    ConvNext(Box<ConvNext>),
    /// Tokens do not see each other: in layers that are nothing but what others have as their second half.
    FeedForward(Box<FeedForward>),
    Mixture(Box<Mixture>),
    TimeMix6(Box<TimeMix6>),
    TimeMix7(Box<TimeMix7>),
    /// The sum of what both make of the same input.
    Both(Box<(Self, Self)>),
}

impl From<Attention> for Mixer {
    fn from(attention: Attention) -> Self {
        Self::Attention(Box::new(attention))
    }
}

impl Mixer {
    pub(crate) fn forward(&self, run: &mut Run<'_>, x: &Matrix) -> Result<Matrix> {
        match self {
            Self::None => Ok(Matrix::default()),
            Self::Linear(layer) => layer.forward(run, x),
            Self::Attention(layer) => layer.forward(run, x),
            Self::Latent(layer) => layer.forward(run, x),
            Self::Compressed(layer) => layer.forward(run, x),
            Self::Lightning(layer) => layer.forward(run, x),
            Self::Mamba(layer) => layer.forward(run, x),
            Self::Mamba2(layer) => layer.forward(run, x),
            Self::PlamoMamba(layer) => layer.forward(run, x),
            Self::DeltaNet(layer) => layer.forward(run, x),
            Self::KimiDelta(layer) => layer.forward(run, x),
            Self::FeedForward(layer) => layer.forward(run, x),
            Self::Mixture(layer) => layer.forward(run, x),
            Self::ShortConvolution(layer) => layer.forward(run, x),
            Self::ConvNext(layer) => layer.forward(run, x),
            Self::TimeMix6(layer) => layer.forward(run, x),
            Self::TimeMix7(layer) => layer.forward(run, x),
            Self::Both(both) => {
                let mut first = both.0.forward(run, x)?;
                let second = both.1.forward(run, x)?;
                first.add(&second);
                run.scratch.give(second);
                Ok(first)
            }
        }
    }

    /// The linear layer whose output is the mixer's, where one is.
    pub(crate) fn last(&self) -> Option<&Linear> {
        match self {
            Self::Linear(layer) => Some(layer),
            Self::Attention(layer) => Some(&layer.output),
            Self::Latent(layer) => Some(&layer.output),
            Self::Compressed(layer) => Some(&layer.output),
            Self::Lightning(layer) => Some(&layer.output),
            Self::Mamba(layer) => Some(&layer.output),
            Self::Mamba2(layer) => Some(&layer.output),
            Self::PlamoMamba(layer) => Some(&layer.output),
            Self::DeltaNet(layer) => Some(&layer.output),
            Self::KimiDelta(layer) => Some(&layer.output),
            Self::ShortConvolution(layer) => Some(&layer.output),
            Self::FeedForward(layer) => Some(&layer.down),
            Self::None
            | Self::ConvNext(_)
            | Self::Mixture(_)
            | Self::TimeMix6(_)
            | Self::TimeMix7(_)
            | Self::Both(_) => None,
        }
    }

    /// Intermediate results, in numbers for each token.
    pub(crate) fn width(&self) -> usize {
        match self {
            Self::None => 0,
            Self::Linear(layer) => layer.matrix.outputs,
            Self::Attention(layer) => layer.width(),
            Self::Latent(layer) => layer.width(),
            Self::Compressed(layer) => layer.width(),
            Self::Lightning(layer) => layer.width(),
            Self::Mamba(layer) => layer.width(),
            Self::Mamba2(layer) => layer.width(),
            Self::PlamoMamba(layer) => layer.width(),
            Self::DeltaNet(layer) => layer.width(),
            Self::KimiDelta(layer) => layer.width(),
            Self::FeedForward(layer) => layer.width(),
            Self::Mixture(layer) => layer.width(),
            Self::ShortConvolution(layer) => layer.width(),
            Self::ConvNext(layer) => layer.width(),
            Self::TimeMix6(layer) => layer.width(),
            Self::TimeMix7(layer) => layer.width(),
            Self::Both(both) => both.0.width().saturating_add(both.1.width()),
        }
    }
}
