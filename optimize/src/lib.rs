#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod allocate;
mod block;
mod correction;
mod digest;
#[cfg(test)]
mod drawn;
mod error;
mod factor;
mod feedback;
mod judge;
mod layers;
mod loss;
mod metric;
mod moments;
mod points;
mod refine;
mod report;
mod search;
mod sub_block;

pub use digest::digest;
pub use error::{Error, Result};
pub use layers::{LayerOptions, OnLayer, WINDOW, layers};
pub use loss::{LossOptions, Made, RATE, STEPS, TuneOptions, loss, tune};
pub use metric::Damping;
pub use report::{Kept, Learned, Report, Tuned};
pub use search::{block_encoder, blocks};
