#![doc = include_str!("../README.md")]
#![deny(unsafe_code)] // one module calls a library through raw pointers: ops/matmul.rs

mod backward;
pub mod calibration;
pub mod divergence;
mod drafts;
mod error;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod layers;
pub mod memory;
mod model;
mod open;
mod ops;
mod perplexity;
pub mod portable;
pub mod requirements;
mod run;
pub mod tasks;
pub mod tokenizer;
mod weights;
mod wide;

pub use backward::{GradientTap, Labels, Teacher, without_backward};
pub use drafts::{
    AcceptanceReport, Accepted, Draft, Drafter, States, Ways, WindowMean, acceptance, draft_architectures,
};
pub use error::{Error, Result};
pub use model::{Logits, LogitsSink, Model, Pooling, Rows, Staged, StandIn, architectures, predicts};
pub use ops::Rounding;
pub use perplexity::{
    ChunkResult, PerplexityOptions, PerplexityReport, perplexity, perplexity_strided, scored_tokens,
};
pub use run::Tap;
pub use tokenizer::Tokenizer;
