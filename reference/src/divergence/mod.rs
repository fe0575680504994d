//! Distance of a quantized model's predictions from the unquantized model's: KL divergence, the change of the true
//! token's probability, and agreement on the most likely token.
//!
//! The quantities and their errors are those of llama.cpp's perplexity tool; here every sum runs in f64.
//!
//! ```no_run
//! use std::path::Path;
//! use quantsmith_reference::divergence::{Statistics, compare};
//! use quantsmith_reference::{Model, PerplexityOptions, Tokenizer};
//!
//! let base = Model::load(Path::new("model-F16.gguf"))?;
//! let quant = Model::load(Path::new("model-Q4_K_M.gguf"))?;
//! let tokenizer = Tokenizer::from_metadata(base.gguf().metadata())?;
//! let tokens = tokenizer.encode(&std::fs::read_to_string("text.txt")?, true, false);
//! let options = PerplexityOptions::default().bos(tokenizer.bos().filter(|_| tokenizer.add_bos()));
//! let seen = compare(&base, &[quant], &tokens, &options, &mut |p| eprintln!("{} of {}", p.windows, p.of))?;
//! let statistics = Statistics::of(&seen[0]).expect("two windows at least, which are scored");
//! println!("{:.4} ± {:.4} nats", statistics.kld.value, statistics.kld.error);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The command's figures, as those of llama.cpp's users, are of models that round their activations, both of them:
//! `Model::load(path)?.with_rounding(Rounding::LlamaCpp)` ([`Rounding`](crate::Rounding)). Without it, they are of the weights
//! alone.

mod compare;
mod journal;
mod logits_file;
mod predictions;
mod statistics;

pub use compare::{
    CompareProgress, Notes, compare, compare_noting, compare_until, compare_windows, compare_with_file,
    kld_ratio, save_logits,
};
pub use journal::{Journal, Kept, Noted};
pub use logits_file::{CompressedRow, LogitsReader, LogitsWriter};
pub use predictions::{Comparison, Predictions};
pub use statistics::{Estimate, Flips, Quantiles, Statistics};

/// Contribution of one scored position.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Observation {
    /// Negative log probability (nats) of the true token under the model measured.
    pub nll: f64,
    /// The same under the base model.
    pub nll_base: f64,
    /// KL divergence (nats) from the base distribution to the measured one.
    pub kld: f64,
    /// Probability of the true token, measured minus base.
    pub delta_p: f64,
    /// Whether both models rank the same token first.
    pub same_top: bool,
    /// Whether the true token is the one that the measured model ranks first.
    pub right: bool,
    /// The same of the base model.
    pub right_base: bool,
}

/// Log of the sum of exponentials of `logits`, and the index of the first largest.
pub(crate) fn log_sum_exp(logits: &[f32]) -> (f64, usize) {
    let mut top = 0;
    for (i, &x) in logits.iter().enumerate() {
        if x > logits[top] {
            top = i;
        }
    }
    let max = f64::from(logits[top]);
    let sum: f64 = logits.iter().map(|&x| (f64::from(x) - max).exp()).sum();
    (max + sum.ln(), top)
}

impl Observation {
    /// Of both models the negative log-likelihood of `target`, and the token that they rank first.
    fn of(target: usize, kld: f64, (nll, top): (f64, usize), (nll_base, top_base): (f64, usize)) -> Self {
        Self {
            nll,
            nll_base,
            kld,
            delta_p: (-nll).exp() - (-nll_base).exp(),
            same_top: top == top_base,
            right: top == target,
            right_base: top_base == target,
        }
    }

    /// Compares two models' logits (`[vocabulary]` each) at one position whose true token is `target`.
    ///
    /// Returns `None` when the rows differ in length, are empty, or do not hold `target`.
    pub fn from_logits(base: &[f32], measured: &[f32], target: usize) -> Option<Self> {
        if base.len() != measured.len() || target >= base.len() {
            return None;
        }
        let (log_z_base, top_base) = log_sum_exp(base);
        let (log_z, top) = log_sum_exp(measured);
        let mut kld = 0.0;
        for (&b, &m) in base.iter().zip(measured) {
            let log_p = f64::from(b) - log_z_base;
            let log_q = f64::from(m) - log_z;
            kld += log_p.exp() * (log_p - log_q);
        }
        let nll = log_z - f64::from(measured[target]);
        let nll_base = log_z_base - f64::from(base[target]);
        Some(Self::of(target, kld, (nll, top), (nll_base, top_base)))
    }

    /// Compares logits with a row of a logits file, as llama.cpp's perplexity tool does: tokens whose stored
    /// log probability is at most −16 do not count towards the divergence.
    ///
    /// Returns `None` when the rows differ in length or do not hold `target`.
    pub fn from_compressed(base: &CompressedRow<'_>, measured: &[f32], target: usize) -> Option<Self> {
        if base.len() != measured.len() || target >= base.len() {
            return None;
        }
        let (log_z, top) = log_sum_exp(measured);
        let (mut kld, mut top_base, mut best) = (0.0, 0, f64::NEG_INFINITY);
        for (i, &m) in measured.iter().enumerate() {
            let log_p = base.log_prob(i);
            if log_p > best {
                (best, top_base) = (log_p, i);
            }
            if log_p > -16.0 {
                kld += log_p.exp() * (log_p - (f64::from(m) - log_z));
            }
        }
        let nll = log_z - f64::from(measured[target]);
        let nll_base = -base.log_prob(target);
        Some(Self::of(target, kld, (nll, top), (nll_base, top_base)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_models_do_not_diverge() {
        let logits = [0.5, -1.0, 3.0, 2.0];
        let o = Observation::from_logits(&logits, &logits, 1).unwrap();
        assert_eq!((o.kld, o.delta_p, o.same_top), (0.0, 0.0, true));
        assert_eq!((o.right, o.right_base), (false, false));
        assert_eq!(o.nll, o.nll_base);
        let o = Observation::from_logits(&logits, &[9.0, -1.0, 3.0, 2.0], 2).unwrap();
        assert_eq!((o.same_top, o.right, o.right_base), (false, false, true));
        let o = Observation::from_logits(&logits, &[9.0, -1.0, 3.0, 2.0], 0).unwrap();
        assert_eq!((o.same_top, o.right, o.right_base), (false, true, false));
    }

    #[test]
    fn two_tokens_by_hand() {
        // p = (1/2, 1/2), q = (1/4, 3/4): KL = ln(2)/2 + ln(2/3)/2.
        let o = Observation::from_logits(&[0.0, 0.0], &[0.0, 3f32.ln()], 0).unwrap();
        let expected = 0.5 * 2f64.ln() + 0.5 * (2f64 / 3.0).ln();
        assert!((o.kld - expected).abs() < 1e-7, "{}", o.kld);
        assert!((o.delta_p + 0.25).abs() < 1e-7);
        assert!((o.nll - 4f64.ln()).abs() < 1e-7);
        assert!(!o.same_top);
    }

    #[test]
    fn mismatched_rows_are_refused() {
        assert_eq!(Observation::from_logits(&[0.0; 3], &[0.0; 4], 0), None);
        assert_eq!(Observation::from_logits(&[0.0; 3], &[0.0; 3], 3), None);
    }
}
