//! The statistics that llama-imatrix shows of each tensor and layer.

use std::collections::BTreeMap;

use crate::{Entry, ImportanceMatrix};

/// An input channel with a mean square at or below this counts as inactive.
const INACTIVE: f32 = 1e-5;

/// Statistics of one tensor's mean squared inputs, over the columns of all experts with data.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TensorStatistics {
    /// The tensor.
    pub tensor: String,
    /// Its layer, where its name has one.
    pub layer: Option<u32>,
    /// Sum of the mean squares.
    pub total: f32,
    /// Smallest mean square.
    pub min: f32,
    /// Largest mean square.
    pub max: f32,
    /// Mean over columns.
    pub mean: f32,
    /// Standard deviation over columns.
    pub deviation: f32,
    /// Share of columns above 1e-5, 0 to 1.
    pub active: f32,
    /// Columns counted.
    pub elements: usize,
    /// Entropy of the distribution over columns, in bits.
    pub entropy: f32,
    /// Share of columns more than one standard deviation above the mean (ZD score), 0 to 1.
    pub zd: f32,
    /// Cosine similarity with the same tensor of the layer before; 0 where there is none.
    pub cosine: f32,
    /// Matrices (experts) that saw no token.
    pub without_data: usize,
    /// Matrices in all.
    pub matrices: usize,
    /// Fewest and most tokens that a matrix saw.
    pub tokens: (f32, f32),
}

impl TensorStatistics {
    /// Entropy as a share of the largest that this many columns can have, 0 to 1.
    pub fn normalized_entropy(&self) -> f32 {
        if self.elements > 1 {
            self.entropy / (self.elements as f32).log2()
        } else {
            0.0
        }
    }

    /// The part of the name that says which tensor of a layer it is (`attn_q` of `blk.3.attn_q.weight`).
    pub fn short_name(&self) -> &str {
        let mut previous = None;
        for part in self.tensor.split('.') {
            if part == "weight" {
                return previous.unwrap_or(&self.tensor);
            }
            previous = Some(part);
        }
        &self.tensor
    }
}

/// Statistics of one layer: its tensors', weighted by their number of columns.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct LayerStatistics {
    /// The layer.
    pub layer: u32,
    /// Weighted mean of the totals.
    pub total: f32,
    /// Weighted mean of the ZD scores, 0 to 1.
    pub zd: f32,
    /// Weighted mean of the cosine similarities.
    pub cosine: f32,
}

fn layer_of(tensor: &str) -> Option<u32> {
    let mut parts = tensor.split('.');
    parts.by_ref().find(|p| *p == "blk")?;
    parts.next()?.parse().ok()
}

fn statistics_of(tensor: &str, entry: &Entry) -> Option<TensorStatistics> {
    let columns = entry.sums.len() / entry.counts.len().max(1);
    let mut means = Vec::with_capacity(entry.sums.len());
    for (sums, &count) in entry.sums.chunks(columns.max(1)).zip(&entry.counts) {
        if count != 0.0 {
            means.extend(sums.iter().map(|s| s / count));
        }
    }
    if means.is_empty() {
        return None;
    }
    let n = means.len() as f32;
    let total: f32 = means.iter().sum();
    let mean = total / n;
    let squares: f32 = means.iter().map(|v| v * v).sum();
    let deviation = (squares / n - mean * mean).max(0.0).sqrt();
    let inactive = means.iter().filter(|v| v.abs() <= INACTIVE).count();
    let entropy = if total > 0.0 {
        means
            .iter()
            .map(|v| v / total)
            .filter(|p| *p > 0.0)
            .map(|p| -p * p.log2())
            .sum()
    } else {
        0.0
    };
    let far = if deviation > 0.0 {
        means.iter().filter(|v| (**v - mean) / deviation > 1.0).count()
    } else {
        0
    };
    let fold = |f: fn(f32, f32) -> f32, values: &[f32]| values.iter().copied().reduce(f).unwrap_or(0.0);
    Some(TensorStatistics {
        tensor: tensor.to_owned(),
        layer: layer_of(tensor),
        total,
        min: fold(f32::min, &means),
        max: fold(f32::max, &means),
        mean,
        deviation,
        active: 1.0 - inactive as f32 / n,
        elements: means.len(),
        entropy,
        zd: far as f32 / n,
        cosine: 0.0,
        without_data: entry.counts.iter().filter(|c| **c == 0.0).count(),
        matrices: entry.counts.len(),
        tokens: (fold(f32::min, &entry.counts), fold(f32::max, &entry.counts)),
    })
}

impl ImportanceMatrix {
    /// Statistics of every tensor that has data, by kind of tensor and then with the largest total first.
    /// The matrix has to be in the GGUF form.
    pub fn statistics(&self) -> Vec<TensorStatistics> {
        let mut all: Vec<_> = self
            .entries
            .iter()
            .filter_map(|(name, e)| statistics_of(name, e))
            .collect();
        for s in &mut all {
            let Some(before) = s.layer.and_then(|l| l.checked_sub(1)) else {
                continue;
            };
            let twin = s
                .tensor
                .replacen(&format!("blk.{}.", before + 1), &format!("blk.{before}."), 1);
            if let (Some(a), Some(b)) = (self.entries.get(&s.tensor), self.entries.get(&twin)) {
                s.cosine = cosine(&a.sums, &b.sums);
            }
        }
        all.sort_by(|a, b| {
            a.short_name()
                .cmp(b.short_name())
                .then(b.total.total_cmp(&a.total))
        });
        all
    }
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let dot = |x: &[f32], y: &[f32]| {
        x.iter()
            .zip(y)
            .map(|(p, q)| f64::from(*p) * f64::from(*q))
            .sum::<f64>()
    };
    let magnitude = (dot(a, a) * dot(b, b)).sqrt();
    if magnitude > 0.0 {
        (dot(a, b) / magnitude) as f32
    } else {
        0.0
    }
}

/// The layers' statistics, in order.
pub fn layers(tensors: &[TensorStatistics]) -> Vec<LayerStatistics> {
    let mut sums: BTreeMap<u32, (f32, LayerStatistics)> = BTreeMap::new();
    for t in tensors {
        let Some(layer) = t.layer else { continue };
        let n = t.elements as f32;
        let (weight, s) = sums.entry(layer).or_default();
        *weight += n;
        s.total += n * t.total;
        s.zd += n * t.zd;
        s.cosine += n * t.cosine;
    }
    sums.into_iter()
        .map(|(layer, (n, s))| LayerStatistics {
            layer,
            total: s.total / n,
            zd: s.zd / n,
            cosine: s.cosine / n,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix() -> ImportanceMatrix {
        let mut m = ImportanceMatrix::default();
        let mut put = |name: &str, sums: &[f32], counts: &[f32]| {
            m.entries.insert(
                name,
                Entry {
                    sums: sums.to_vec(),
                    counts: counts.to_vec(),
                },
            );
        };
        put("blk.0.attn_q.weight", &[2.0, 2.0, 2.0, 2.0], &[2.0]);
        put("blk.1.attn_q.weight", &[0.0, 0.0, 0.0, 8.0], &[2.0]);
        put("blk.1.ffn_up_exps.weight", &[4.0, 4.0, 0.0, 0.0], &[1.0, 0.0]);
        m
    }

    #[test]
    fn of_tensors() {
        let all = matrix().statistics();
        let names: Vec<_> = all.iter().map(|s| s.tensor.as_str()).collect();
        assert_eq!(
            names,
            [
                "blk.0.attn_q.weight",
                "blk.1.attn_q.weight",
                "blk.1.ffn_up_exps.weight"
            ]
        );
        assert_eq!(
            (all[0].total, all[0].deviation, all[0].entropy, all[0].zd),
            (4.0, 0.0, 2.0, 0.0)
        );
        assert_eq!((all[1].active, all[1].entropy, all[1].zd), (0.25, 0.0, 0.25));
        assert!((all[1].cosine - 0.5).abs() < 1e-6);
        assert_eq!(
            (all[2].elements, all[2].without_data, all[2].tokens),
            (2, 1, (0.0, 1.0))
        );
        assert_eq!(all[2].short_name(), "ffn_up_exps");
    }

    #[test]
    fn of_layers() {
        let found = layers(&matrix().statistics());
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].layer, found[0].total), (0, 4.0));
        assert_eq!(found[1].total, (4.0 * 4.0 + 2.0 * 8.0) / 6.0);
    }
}
