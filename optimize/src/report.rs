//! Report of learning, by tensor.

/// Why a tensor keeps stock's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kept {
    /// The blocks of its type are not learned.
    Type,
    /// Its inputs are not finite, or all zero, or singular in spite of the damping.
    Inputs,
    /// The learned blocks were no better on the held-out tokens.
    HeldOut,
}

impl std::fmt::Display for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Type => "its type is not learned",
            Self::Inputs => "its inputs are zero, not finite, or singular",
            Self::HeldOut => "no better on held-out tokens",
        })
    }
}

/// Outcome for one tensor.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Learned {
    /// Its name.
    pub tensor: String,
    /// Error of the learned blocks in what the layer puts out, relative to stock's: on the tokens learned from, and
    /// on those held out. `None` where stock's bytes were kept without trying.
    pub ratios: Option<(f64, f64)>,
    /// Why stock's bytes were kept, where they were. Of a stack of experts: the first reason.
    pub kept: Option<Kept>,
    /// Matrices of the tensor, and how many of them kept stock's bytes.
    pub matrices: (usize, usize),
}

/// Outcome for a model's tensors.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Report {
    /// The tensors that linear layers use, in the order in which they were encoded.
    pub tensors: Vec<Learned>,
    /// Layers that an earlier run had learned.
    pub known_layers: usize,
    /// Whether hidden states went to files.
    pub in_files: bool,
    /// Outcome of tuning, where there was some.
    pub tuned: Option<Tuned>,
}

/// Outcome of tuning.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Tuned {
    /// Mean divergence on the held-out windows before the first step, in nats.
    pub before: f64,
    /// The same of what is kept: not above it.
    pub after: f64,
    /// Steps taken.
    pub steps: usize,
    /// The step after which numbers are kept; 0 where nothing was better than the start.
    pub best: usize,
}

impl Report {
    /// Tensors that kept stock's bytes for this reason.
    pub fn kept(&self, reason: Kept) -> usize {
        self.tensors.iter().filter(|t| t.kept == Some(reason)).count()
    }

    /// Geometric mean of the held-out ratios of all tensors that were tried.
    pub fn mean_ratio(&self) -> Option<f64> {
        let logs: Vec<f64> = self
            .tensors
            .iter()
            .filter_map(|t| t.ratios)
            .map(|(_, held_out)| held_out.max(f64::MIN_POSITIVE).ln())
            .collect();
        (!logs.is_empty()).then(|| (logs.iter().sum::<f64>() / logs.len() as f64).exp())
    }
}
