#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod allocate;
mod block;
mod digest;
mod error;
mod factor;
mod feedback;
mod hessian;
mod layers;
mod loss;
mod points;
mod refine;
mod report;
mod sub_block;

pub use digest::digest;
pub use error::{Error, Result};
pub use hessian::Damping;
pub use layers::{LayerOptions, OnLayer, WINDOW, layers};
pub use loss::{LossOptions, Made, RATE, STEPS, TuneOptions, loss, tune};
pub use report::{Kept, Learned, Report, Tuned};
