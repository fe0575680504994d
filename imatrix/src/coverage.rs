//! Coverage of a matrix: tensors and experts that saw no token, or few.

use crate::{Form, ImportanceMatrix};

/// Matrices that saw fewer tokens than this are listed. The mean square of a column is then uncertain by more
/// than about an eighth (the root of 2 over the number of tokens, for inputs of a normal distribution).
pub const FEW_TOKENS: f32 = 128.0;

/// A tensor that was covered incompletely.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Gap {
    /// The tensor.
    pub tensor: String,
    /// Matrices (experts) stacked in it.
    pub matrices: usize,
    /// Those that saw no token.
    pub without_data: Vec<usize>,
    /// Those that saw fewer than [`FEW_TOKENS`], with the number of tokens.
    pub with_few: Vec<(usize, f32)>,
}

impl std::fmt::Display for Gap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const LISTED: usize = 16;
        write!(f, "{}: ", self.tensor)?;
        if self.matrices == 1 {
            return match self.with_few.first() {
                Some((_, tokens)) => write!(f, "only {tokens:.0} tokens"),
                None => write!(f, "no data"),
            };
        }
        let list = |numbers: Vec<String>| {
            let more = numbers.len().saturating_sub(LISTED);
            let shown = numbers[..numbers.len() - more].join(", ");
            match more {
                0 => shown,
                n => format!("{shown} and {n} more"),
            }
        };
        let mut parts = Vec::new();
        if !self.without_data.is_empty() {
            let experts = self.without_data.iter().map(usize::to_string).collect();
            parts.push(format!(
                "{} of {} experts without data ({})",
                self.without_data.len(),
                self.matrices,
                list(experts)
            ));
        }
        if !self.with_few.is_empty() {
            let experts = self
                .with_few
                .iter()
                .map(|(e, n)| format!("{e}: {n:.0}"))
                .collect();
            parts.push(format!(
                "{} of {} experts with fewer than {FEW_TOKENS} tokens ({})",
                self.with_few.len(),
                self.matrices,
                list(experts)
            ));
        }
        f.write_str(&parts.join(", "))
    }
}

impl ImportanceMatrix {
    /// The tensors with matrices that saw no token or few, in the order of the entries. The legacy form counts
    /// windows of unknown length, and once for all experts, so that only tensors without any data show there.
    pub fn gaps(&self) -> Vec<Gap> {
        let few = match self.form {
            Form::Gguf => FEW_TOKENS,
            Form::Legacy => 0.0,
        };
        let gap = |(name, entry): (&str, &crate::Entry)| {
            let counts = entry.counts.iter().copied().enumerate();
            let gap = Gap {
                tensor: name.to_owned(),
                matrices: entry.counts.len(),
                without_data: counts
                    .clone()
                    .filter(|(_, n)| *n <= 0.0)
                    .map(|(i, _)| i)
                    .collect(),
                with_few: counts.filter(|(_, n)| *n > 0.0 && *n < few).collect(),
            };
            (!gap.without_data.is_empty() || !gap.with_few.is_empty()).then_some(gap)
        };
        self.entries.iter().filter_map(gap).collect()
    }

    /// The importance of each column as [`Self::values`], but with experts that saw few tokens drawn towards the
    /// mean over all experts: each expert counts as if it had seen `tokens` more, with the mean squares that
    /// the tensor's experts have together (every token weighing the same). An expert without data has that mean.
    /// Tensors of a single matrix, and the legacy form (which does not count experts), are as without.
    pub fn values_with_prior(&self, name: &str, tokens: f32) -> Option<Vec<f32>> {
        let entry = self.entries.get(name)?;
        let seen: f64 = entry.counts.iter().map(|&n| f64::from(n)).sum();
        if self.form == Form::Legacy || entry.counts.len() < 2 || seen <= 0.0 {
            return self.values(name);
        }
        let columns = entry.sums.len() / entry.counts.len();
        let mut mean = vec![0f64; columns];
        for sums in entry.sums.chunks_exact(columns.max(1)) {
            for (mean, &sum) in mean.iter_mut().zip(sums) {
                *mean += f64::from(sum) / seen;
            }
        }
        let weight = f64::from(tokens.max(0.0));
        let mut values = Vec::with_capacity(entry.sums.len());
        for (sums, &count) in entry.sums.chunks_exact(columns.max(1)).zip(&entry.counts) {
            let total = f64::from(count) + weight;
            values.extend(sums.iter().zip(&mean).map(|(&sum, mean)| match total > 0.0 {
                true => ((f64::from(sum) + weight * mean) / total) as f32,
                false => *mean as f32,
            }));
        }
        Some(values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Entry;

    fn matrix() -> ImportanceMatrix {
        let mut m = ImportanceMatrix::default();
        let mut put = |name: &str, sums: &[f32], counts: &[f32]| {
            let (sums, counts) = (sums.to_vec(), counts.to_vec());
            m.entries.insert(name, Entry { sums, counts });
        };
        put("dense", &[600.0, 1200.0], &[600.0]);
        put("moe", &[300.0, 0.0, 5.0, 20.0, 0.0, 0.0], &[300.0, 10.0, 0.0]);
        put("short", &[1.0], &[7.0]);
        m
    }

    #[test]
    fn gaps_are_named() {
        let gaps: Vec<String> = matrix().gaps().iter().map(Gap::to_string).collect();
        assert_eq!(
            gaps,
            [
                "moe: 1 of 3 experts without data (2), 1 of 3 experts with fewer than 128 tokens (1: 10)",
                "short: only 7 tokens"
            ]
        );
    }

    #[test]
    fn a_prior_counts_as_tokens() {
        let m = matrix();
        assert_eq!(m.values_with_prior("dense", 100.0), m.values("dense"));
        let mean = [305.0 / 310.0, 20.0 / 310.0];
        let values = m.values_with_prior("moe", 10.0).unwrap();
        let expected = [
            (300.0 + 10.0 * mean[0]) / 310.0,
            10.0 * mean[1] / 310.0,
            (5.0 + 10.0 * mean[0]) / 20.0,
            (20.0 + 10.0 * mean[1]) / 20.0,
            mean[0],
            mean[1],
        ];
        for (got, want) in values.iter().zip(expected) {
            assert!((f64::from(*got) - want).abs() < 1e-6, "{values:?}");
        }
        // Without weight only the expert without data differs from the plain values.
        assert_eq!(
            m.values_with_prior("moe", 0.0).unwrap()[..4],
            m.values("moe").unwrap()[..4]
        );
    }
}
