//! Types chosen for a model: the least predicted loss at a size.
//!
//! [`measure`] finds what each type of each tensor costs the model's predictions, [`Sensitivity`] keeps that in a file,
//! [`solve()`] chooses, and [`rules`] says the choice as llama-quantize's `--tensor-type` does.

mod choice;
mod layer;
mod measure;
mod open;
mod pool;
mod probe;
mod rules;
mod sensitivity;
mod solve;
mod squares;

pub use choice::{Candidate, Choice, Chosen, Step, choose};
pub use measure::{MeasureOptions, Method, encoder_digest, measure, model_digest};
pub use open::{OnStep, Open};
pub use pool::{DEFAULT_POOL, parse_pool};
pub use rules::{kind_of, rules};
pub use sensitivity::{Losses, Sensitivity};
pub use solve::{Cost, Solution, range, solve};
