//! Matrix products of stored blocks with activations in eight bits, in integers.
//!
//! Products of this kind are what llama.cpp's CPU backend computes: each row of activations is rounded to
//! levels in blocks (ggml's Q8_0, Q8_1 or Q8_K, as the weights' type asks), the levels are multiplied with the
//! weights' levels as integers, and scales are applied to the sums. Here every format is first brought to one
//! form, so that one kernel multiplies all of them:
//!
//! ```text
//! weight = scale · (code − zero) + offset
//! ```
//!
//! with `code` in eight bits without a sign, `zero` one number for the format, and a scale (and for some formats
//! an offset) for each group of 16 or 32 weights. [`Panels`] holds 32 rows side by side in that form;
//! [`Activations`] holds rounded rows. Sums within a group are exact, and what follows is in one order with fused
//! operations in fixed places: results do not depend on the instruction set or the number of threads.

mod activations;
mod form;
mod kernel;
mod panels;
mod rounding;
#[cfg(test)]
pub(crate) mod tests;

pub use activations::Activations;
pub use form::{Form, form};
pub use panels::Panels;

pub use crate::isa::product::TOKENS;
