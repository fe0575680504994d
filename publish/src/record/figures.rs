//! Figures of a file's evaluation.

use serde::{Deserialize, Serialize};

/// A mean with its standard error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The mean.
    pub value: f64,
    /// Its standard error.
    pub error: f64,
}

/// A quantile.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quantile {
    /// Share of the positions that lie below, 0 to 1.
    pub fraction: f64,
    /// The value.
    pub value: f64,
}

/// Shares of positions where the first choice of one model is the true token and that of the other is not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Flips {
    /// From right to wrong: the unquantized model's choice is the true token, this one's is not.
    pub lost: Estimate,
    /// From wrong to right.
    pub gained: Estimate,
    /// Either.
    pub all: Estimate,
}

/// Figures of a file over the scored positions, beside the unquantized model's. Divergences are in nats.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Windows that the file ran over.
    pub chunks: usize,
    /// Scored positions.
    pub tokens: usize,
    /// Perplexity.
    pub ppl: Estimate,
    /// Perplexity over the unquantized model's.
    pub ppl_ratio: Estimate,
    /// Its logarithm.
    pub ln_ppl_ratio: Estimate,
    /// Perplexity less the unquantized model's.
    pub ppl_difference: Estimate,
    /// Correlation of the two models' log likelihoods.
    pub correlation: f64,
    /// Mean KL divergence.
    pub kld: Estimate,
    /// Distribution of the KL divergence.
    pub kld_quantiles: Vec<Quantile>,
    /// Mean change of the true token's probability.
    pub delta_p: Estimate,
    /// Distribution of that change.
    pub delta_p_quantiles: Vec<Quantile>,
    /// Root mean square of that change.
    pub delta_p_rms: Estimate,
    /// Share of positions where both models rank the same token first.
    pub same_top: Estimate,
    /// Changes between right and wrong; a record of an older version has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flips: Option<Flips>,
    /// The KL divergence of the preceding measured row over this one's, with the error of the paired positions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kld_ratio: Option<Ratio>,
    /// The same by kind of text, where several were told apart.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub domains: Vec<Domain>,
    /// Means of each window.
    pub per_chunk: PerChunk,
    /// Positions where most is lost, the worst first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub worst: Vec<Position>,
}

/// A ratio of two files' KL divergences.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ratio {
    /// The preset whose divergence is divided.
    pub of: String,
    /// The ratio.
    pub value: f64,
    /// Its standard error. The files are paired position by position: what makes one position diverge more than another
    /// does so for both, and cancels.
    pub error: f64,
}

/// Figures of one kind of text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Domain {
    /// Its name.
    pub name: String,
    /// Scored positions.
    pub tokens: usize,
    /// Perplexity.
    pub ppl: Estimate,
    /// Perplexity over the unquantized model's.
    pub ppl_ratio: Estimate,
    /// Mean KL divergence.
    pub kld: Estimate,
    /// Its median.
    pub kld_median: f64,
    /// The value that 99.9 % of positions lie below.
    pub kld_99_9: f64,
    /// Share of positions where both models rank the same token first.
    pub same_top: Estimate,
    /// As [`Measured::flips`], within this kind of text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flips: Option<Flips>,
    /// As [`Measured::kld_ratio`], within this kind of text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kld_ratio: Option<Ratio>,
}

/// Means of each window.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PerChunk {
    /// KL divergence.
    pub kld: Vec<f64>,
    /// Negative log likelihood, in nats.
    pub nll: Vec<f64>,
    /// Share of positions where both models rank the same token first.
    pub same_top: Vec<f64>,
}

/// A scored position.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Position {
    /// Number of the window.
    pub chunk: usize,
    /// Number of the predicted token in the window.
    pub position: usize,
    /// KL divergence there.
    pub kld: f64,
    /// Probability of the true token under the unquantized model.
    pub p_base: f64,
    /// The same under this one.
    pub p: f64,
    /// The text before it.
    pub before: String,
    /// The true token.
    pub token: String,
}

impl Measured {
    /// A quantile of the KL divergence that is recorded.
    pub fn kld_quantile(&self, fraction: f64) -> Option<f64> {
        let found = self.kld_quantiles.iter().find(|q| q.fraction == fraction);
        found.map(|q| q.value)
    }
}
