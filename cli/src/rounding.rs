//! The argument that says what a forward pass rounds besides the weights.

use reference::Rounding;

/// Arguments of commands that run a model.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct RoundingArgs {
    /// What the forward pass rounds besides the weights: nothing, or what llama.cpp's CPU backend does (the
    /// inputs of matrix products, keys and values), to compare figures with llama.cpp's
    #[arg(long, value_enum, default_value_t = Name::None)]
    rounding: Name,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Name {
    /// Nothing: f32 throughout
    None,
    /// Activations and the cache as llama.cpp's CPU backend
    #[value(name = "llama.cpp")]
    LlamaCpp,
}

impl RoundingArgs {
    /// What was chosen.
    pub(crate) fn rounding(self) -> Rounding {
        match self.rounding {
            Name::None => Rounding::None,
            Name::LlamaCpp => Rounding::LlamaCpp,
        }
    }
}
