//! The argument that says what a forward pass rounds besides the weights.

use clap::ValueEnum as _;
use reference::Rounding;

/// Arguments of commands that run a model.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct RoundingArgs {
    /// Rounding besides the weights: that of llama.cpp's CPU backend (the inputs of matrix products, keys and values;
    /// figures are those of its users), or nothing [default: llama.cpp where something is measured, none for an
    /// importance matrix]
    #[arg(long, value_enum)]
    rounding: Option<Name>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Name {
    /// Nothing: f32 throughout, which measures the weights alone
    None,
    /// Activations and the cache as llama.cpp's CPU backend
    #[value(name = "llama.cpp")]
    LlamaCpp,
}

impl RoundingArgs {
    /// The rounding of a name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        let rounding = Some(Name::from_str(name, false).ok()?);
        Some(Self { rounding })
    }

    /// Whether it is given.
    pub(crate) fn given(self) -> bool {
        self.rounding.is_some()
    }

    /// Rounding of a measurement.
    pub(crate) fn measuring(self) -> Rounding {
        self.or(Rounding::LlamaCpp)
    }

    /// Rounding for an importance matrix.
    pub(crate) fn calibrating(self) -> Rounding {
        self.or(Rounding::None)
    }

    fn or(self, default: Rounding) -> Rounding {
        match self.rounding {
            None => default,
            Some(Name::None) => Rounding::None,
            Some(Name::LlamaCpp) => Rounding::LlamaCpp,
        }
    }
}

/// The name of a rounding, as on the command line and in JSON.
pub(crate) fn name(rounding: Rounding) -> &'static str {
    match rounding {
        Rounding::None => "none",
        Rounding::LlamaCpp => "llama.cpp",
        _ => "other",
    }
}

/// Meaning of a rounding for figures, in a sentence.
pub(crate) fn meaning(rounding: Rounding) -> &'static str {
    match rounding {
        Rounding::None => "nothing rounded but the weights (--rounding none)",
        Rounding::LlamaCpp => "activations and cache rounded as llama.cpp rounds them (--rounding llama.cpp)",
        _ => "rounded in another way",
    }
}
