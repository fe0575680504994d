//! Encoders that learn from the layers' inputs: better files of the same types and sizes.
//!
//! ggml's encoders, and so [`quants`], choose the levels and scales of a block by a search that looks at nothing but
//! the block. Nothing in the formats demands that. [`layers`] stands between plan and pipeline: it runs a calibration
//! text through the model layer by layer, encodes each tensor by error feedback under the second moments of the inputs
//! that the tensors before it, already encoded, really make, and hands the pipeline the blocks.

#![forbid(unsafe_code)]

mod block;
mod digest;
mod error;
mod factor;
mod feedback;
mod hessian;
mod layers;
mod refine;
mod report;

pub use digest::digest;
pub use error::{Error, Result};
pub use hessian::Damping;
pub use layers::{LayerOptions, OnLayer, WINDOW, layers};
pub use report::{Kept, Learned, Report};
