//! Means, errors and quantiles over scored positions.

use super::Observation;

/// A mean with its standard error, in the unit of the quantity.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Estimate {
    /// The mean.
    pub value: f64,
    /// Its standard error; 0 for ten observations or fewer.
    pub error: f64,
}

impl Estimate {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let (mut n, mut sum, mut sum2) = (0u64, 0.0, 0.0);
        for v in values {
            n += 1;
            sum += v;
            sum2 += v * v;
        }
        if n == 0 {
            return Self::default();
        }
        let mean = sum / n as f64;
        let variance = sum2 / n as f64 - mean * mean;
        let error = if n > 10 && variance > 0.0 {
            (variance / (n - 1) as f64).sqrt()
        } else {
            0.0
        };
        Self { value: mean, error }
    }

    /// The share of positions for which something holds.
    fn share(seen: &[Observation], holds: impl Fn(&Observation) -> bool) -> Self {
        let n = seen.len() as f64;
        let value = seen.iter().filter(|o| holds(o)).count() as f64 / n;
        let error = match seen.len() > 1 {
            true => (value * (1.0 - value) / (n - 1.0)).sqrt(),
            false => 0.0,
        };
        Self { value, error }
    }

    /// The estimate of `exp` of this quantity, by error propagation.
    pub fn exp(self) -> Self {
        let value = self.value.exp();
        Self {
            value,
            error: value * self.error,
        }
    }
}

/// Values in ascending order, for quantiles with linear interpolation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Quantiles(Vec<f64>);

impl Quantiles {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = values.collect();
        sorted.sort_by(f64::total_cmp);
        Self(sorted)
    }

    /// The value below which `fraction` (0 to 1) of the observations lie; 0 when there are none.
    pub fn at(&self, fraction: f64) -> f64 {
        let Some(last) = self.0.len().checked_sub(1) else {
            return 0.0;
        };
        let place = fraction.clamp(0.0, 1.0) * last as f64;
        let low = place as usize;
        let part = place - low as f64;
        (1.0 - part) * self.0[low] + part * self.0[(low + 1).min(last)]
    }
}

/// The comparison of a model with its base over all scored positions.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Statistics {
    /// Scored positions.
    pub count: usize,
    /// Perplexity of the model measured.
    pub ppl: Estimate,
    /// Perplexity of the base model.
    pub ppl_base: Estimate,
    /// Correlation of the two models' log perplexities, −1 to 1.
    pub correlation: f64,
    /// ln(PPL / PPL of the base).
    pub ln_ppl_ratio: Estimate,
    /// PPL / PPL of the base.
    pub ppl_ratio: Estimate,
    /// PPL − PPL of the base.
    pub ppl_difference: Estimate,
    /// Mean KL divergence in nats.
    pub kld: Estimate,
    /// Distribution of the KL divergence.
    pub kld_quantiles: Quantiles,
    /// Mean change of the true token's probability.
    pub delta_p: Estimate,
    /// Distribution of that change.
    pub delta_p_quantiles: Quantiles,
    /// Root mean square of that change.
    pub delta_p_rms: Estimate,
    /// Share of positions where both models rank the same token first.
    pub same_top: Estimate,
    /// Positions where the model's first choice, and the base model's, is the true token: what one gains or loses.
    pub flips: Flips,
}

/// Shares of positions where the first choice of one model is the true token and that of the other is not, as
/// "Accuracy is Not All You Need" (Dutta et al., 2024) counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Flips {
    /// From right to wrong: the base model's choice is the true token, the measured model's is not.
    pub lost: Estimate,
    /// From wrong to right.
    pub gained: Estimate,
    /// Either.
    pub all: Estimate,
}

impl Statistics {
    /// The statistics of these positions; `None` when there are none.
    pub fn of(seen: &[Observation]) -> Option<Self> {
        if seen.is_empty() {
            return None;
        }
        let n = seen.len() as f64;
        let ln_ppl = Estimate::of(seen.iter().map(|o| o.nll));
        let ln_base = Estimate::of(seen.iter().map(|o| o.nll_base));
        let covariance = if seen.len() < 10 {
            0.0
        } else {
            let products = seen.iter().map(|o| o.nll * o.nll_base).sum::<f64>() / n;
            (products - ln_ppl.value * ln_base.value) / (n - 1.0)
        };
        let spread = |a: f64, b: f64, cov: f64| (a * a + b * b - 2.0 * cov).max(0.0).sqrt();
        let ln_ratio = Estimate {
            value: ln_ppl.value - ln_base.value,
            error: spread(ln_ppl.error, ln_base.error, covariance),
        };
        let (ppl, ppl_base) = (ln_ppl.exp(), ln_base.exp());
        let mean_square = Estimate::of(seen.iter().map(|o| o.delta_p * o.delta_p));
        let rms = mean_square.value.sqrt();
        let correlation = match ln_ppl.error * ln_base.error {
            0.0 => 1.0,
            product => covariance / product,
        };
        Some(Self {
            count: seen.len(),
            ppl,
            ppl_base,
            correlation,
            ln_ppl_ratio: ln_ratio,
            ppl_ratio: ln_ratio.exp(),
            ppl_difference: Estimate {
                value: ppl.value - ppl_base.value,
                error: spread(ppl.error, ppl_base.error, ppl.value * ppl_base.value * covariance),
            },
            kld: Estimate::of(seen.iter().map(|o| o.kld)),
            kld_quantiles: Quantiles::of(seen.iter().map(|o| o.kld)),
            delta_p: Estimate::of(seen.iter().map(|o| o.delta_p)),
            delta_p_quantiles: Quantiles::of(seen.iter().map(|o| o.delta_p)),
            delta_p_rms: Estimate {
                value: rms,
                error: if rms > 0.0 {
                    0.5 / rms * mean_square.error
                } else {
                    0.0
                },
            },
            same_top: Estimate::share(seen, |o| o.same_top),
            flips: Flips {
                lost: Estimate::share(seen, |o| o.right_base && !o.right),
                gained: Estimate::share(seen, |o| o.right && !o.right_base),
                all: Estimate::share(seen, |o| o.right != o.right_base),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observation(nll: f64, nll_base: f64, kld: f64) -> Observation {
        Observation {
            nll,
            nll_base,
            kld,
            delta_p: (-nll).exp() - (-nll_base).exp(),
            same_top: nll < 2.0,
            right: nll < 1.0,
            right_base: nll_base < 1.0,
        }
    }

    #[test]
    fn quantiles_interpolate() {
        let q = Quantiles::of([3.0, 1.0, 2.0, 4.0].into_iter());
        assert_eq!((q.at(0.0), q.at(0.5), q.at(1.0)), (1.0, 2.5, 4.0));
        assert_eq!(Quantiles::default().at(0.5), 0.0);
    }

    #[test]
    fn equal_models_are_perfectly_correlated() {
        let seen: Vec<_> = (0..50)
            .map(|i| observation(f64::from(i) * 0.1, f64::from(i) * 0.1, 0.0))
            .collect();
        let s = Statistics::of(&seen).unwrap();
        assert!((s.correlation - 1.0).abs() < 1e-9);
        assert_eq!(s.ppl_ratio.value, 1.0);
        assert!(s.ppl_ratio.error < 1e-6);
        assert_eq!(s.same_top.value, 0.4);
    }

    #[test]
    fn errors_follow_the_definition() {
        let seen: Vec<_> = (0..20).map(|i| observation(1.0, 1.0, f64::from(i % 2))).collect();
        let s = Statistics::of(&seen).unwrap();
        assert_eq!(s.kld.value, 0.5);
        assert!((s.kld.error - (0.25f64 / 19.0).sqrt()).abs() < 1e-12);
        assert_eq!(Statistics::of(&[]), None);
    }

    #[test]
    fn flips_are_told_by_direction() {
        // Of twenty, three lose the true token, one gains it, one keeps it.
        let of = |nll, nll_base| observation(nll, nll_base, 0.0);
        let mut seen = vec![of(3.0, 3.0); 15];
        seen.extend([
            of(3.0, 0.5),
            of(3.0, 0.5),
            of(3.0, 0.5),
            of(0.5, 3.0),
            of(0.5, 0.5),
        ]);
        let flips = Statistics::of(&seen).unwrap().flips;
        assert_eq!(
            (flips.lost.value, flips.gained.value, flips.all.value),
            (0.15, 0.05, 0.2)
        );
        assert!((flips.all.error - (0.2f64 * 0.8 / 19.0).sqrt()).abs() < 1e-12);
        assert!((flips.lost.error - (0.15f64 * 0.85 / 19.0).sqrt()).abs() < 1e-12);
    }
}
