//! Layers with weights, which architectures put together.

mod altup;
mod attention;
mod beside_experts;
mod delta_net;
mod embedding;
mod feed_forward;
mod indexer;
mod kimi_delta;
mod latent;
mod linear;
mod mamba;
mod mixer;
mod mixture;
mod per_layer;
mod rwkv;
mod short_convolution;
mod switch;

pub(crate) use altup::{AltUp, Copies};
pub(crate) use attention::{Attention, Compressed, GateFunction, OutputGate, Projections, QueryGrowth};
pub(crate) use beside_experts::BesideExperts;
pub(crate) use delta_net::{DeltaNet, Strengths};
pub(crate) use embedding::Embedding;
pub(crate) use feed_forward::{FeedForward, Gate};
pub(crate) use indexer::{Chooser, Indexer};
pub(crate) use kimi_delta::KimiDelta;
pub(crate) use latent::{LatentAttention, LatentQuery};
pub(crate) use linear::{ExpertLinear, Linear};
pub(crate) use mamba::{Convolution, Mamba, Mamba2};
pub(crate) use mixer::Mixer;
pub(crate) use mixture::{Adjugates, Groups, Mixture, Scoring, SharedExpert};
pub(crate) use per_layer::{PerLayer, PerLayerInputs};
pub(crate) use rwkv::{ChannelMix, LowRank, TimeMix6, TimeMix7};
pub(crate) use short_convolution::ShortConvolution;
pub(crate) use switch::{Adapters, Switch};
