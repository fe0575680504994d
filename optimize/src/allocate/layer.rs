//! Errors in what a layer puts out, for each type of its tensors.

use std::ops::Range;

use convert::plan::PlannedTensor;
use convert::source::Source;
use gguf::TensorType;
use rayon::prelude::*;
use reference::Tap;
use reference::portable::{Panels, Strided, add_gram};

use super::open::Open;
use crate::layers::groups::Group;
use crate::{Error, Result};

/// Rows of one matrix that stand for all of its rows, at most.
const ROWS: usize = 512;
/// Rows of a stack of matrices, at most, and of each of them at least.
const STACK_ROWS: usize = 4096;
const LEAST_ROWS: usize = 32;
/// Rows that a thread takes at a time.
const SHARE: usize = 16;
/// Multiple of which blocks of moments are wide.
const SPAN: usize = 256;

/// Sums of products of a layer's inputs: all pairs of columns, or those inside blocks of neighbouring columns where all
/// would take too much memory.
#[derive(Clone, Debug)]
pub(super) struct Moments {
    columns: usize,
    width: usize,
    blocks: Vec<Vec<f32>>,
    tokens: usize,
}

impl Moments {
    /// None yet, in at most so many bytes where that can be.
    pub(super) fn new(columns: usize, bytes: u64) -> Self {
        // The sums, and their rearrangement for products.
        let fitting = usize::try_from(bytes / 8 / columns.max(1) as u64).unwrap_or(usize::MAX);
        let width = match fitting >= columns {
            true => columns,
            false => (fitting / SPAN * SPAN).clamp(SPAN.min(columns), columns),
        };
        let width = width.max(1);
        let widths = (0..columns)
            .step_by(width)
            .map(|first| width.min(columns - first));
        Self {
            columns,
            width,
            blocks: widths.map(|n| vec![0.0; n * n]).collect(),
            tokens: 0,
        }
    }

    /// Inputs seen.
    pub(super) fn tokens(&self) -> usize {
        self.tokens
    }

    pub(super) fn add(&mut self, rows: &[f32]) {
        self.tokens += rows.len() / self.columns;
        if let [block] = &mut self.blocks[..] {
            add_gram(rows, self.columns, block);
            return;
        }
        for (index, block) in self.blocks.iter_mut().enumerate() {
            let first = index * self.width;
            let width = self.width.min(self.columns - first);
            let part: Vec<f32> = rows
                .chunks_exact(self.columns)
                .flat_map(|row| &row[first..first + width])
                .copied()
                .collect();
            add_gram(&part, width, block);
        }
    }

    /// The means, ready for products; `None` where no token was seen or a sum is not finite.
    pub(super) fn means(&self) -> Option<Means> {
        if self.tokens == 0 {
            return None;
        }
        let scale = 1.0 / self.tokens as f32;
        let blocks = self.blocks.iter().map(|block| {
            let n = block.len().isqrt();
            let mut whole = vec![0.0; n * n];
            for i in 0..n {
                for j in i..n {
                    let mean = block[i * n + j] * scale;
                    whole[i * n + j] = mean;
                    whole[j * n + i] = mean;
                }
            }
            whole
                .iter()
                .all(|x| x.is_finite())
                .then(|| Panels::new(Strided::rows(&whole, n, n)))
        });
        Some(Means {
            columns: self.columns,
            width: self.width,
            blocks: blocks.collect::<Option<_>>()?,
            diagonal: Vec::new(),
        })
    }
}

/// Means of products of a layer's inputs.
#[derive(Clone, Debug)]
pub(super) struct Means {
    columns: usize,
    width: usize,
    blocks: Vec<Panels>,
    /// Of columns that do not meet, in place of blocks.
    diagonal: Vec<f32>,
}

impl Means {
    /// For columns that do not meet: what the square of each counts.
    pub(super) fn diagonal(weights: Vec<f32>) -> Self {
        Self {
            columns: weights.len(),
            width: 0,
            blocks: Vec::new(),
            diagonal: weights,
        }
    }

    /// d H dᵀ for each row d.
    fn squares(&self, rows: &[f32]) -> Vec<f64> {
        let n = self.columns;
        let square = |a: &[f32], b: &[f32]| -> f64 {
            a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
        };
        if self.blocks.is_empty() {
            let weighted =
                |row: &[f32]| -> Vec<f32> { row.iter().zip(&self.diagonal).map(|(x, w)| x * w).collect() };
            return rows
                .chunks_exact(n)
                .map(|row| square(row, &weighted(row)))
                .collect();
        }
        let mut sums = vec![0.0; rows.len() / n];
        for (index, block) in self.blocks.iter().enumerate() {
            let (first, width) = (index * self.width, block.columns());
            let lhs = Strided {
                data: &rows[first..],
                rows: sums.len(),
                columns: width,
                row_stride: n,
                column_stride: 1,
            };
            let mut products = vec![0.0; sums.len() * width];
            block.multiply(lhs, 0..width, &mut products, width, 1.0);
            for (sum, (row, product)) in sums
                .iter_mut()
                .zip(rows.chunks_exact(n).zip(products.chunks_exact(width)))
            {
                *sum += square(&row[first..first + width], product);
            }
        }
        sums
    }
}

/// The moments of the inputs of some matrices of a group.
pub(super) struct Collector<'g> {
    group: &'g Group,
    matrices: Range<usize>,
    pub(super) moments: Vec<Moments>,
    seen: bool,
}

impl<'g> Collector<'g> {
    pub(super) fn new(group: &'g Group, columns: usize, matrices: Range<usize>, bytes: u64) -> Self {
        let each = bytes / matrices.len().max(1) as u64;
        Self {
            group,
            moments: matrices.clone().map(|_| Moments::new(columns, each)).collect(),
            matrices,
            seen: false,
        }
    }

    pub(super) fn begin(&mut self) {
        self.seen = false;
    }
}

impl Tap for Collector<'_> {
    fn linear(&mut self, tensor: &str, expert: Option<usize>, input: &[f32], columns: usize) {
        if self.group.tensors.first().is_none_or(|first| first != tensor) {
            return;
        }
        self.seen = true;
        let matrix = expert.unwrap_or(0);
        if self.matrices.contains(&matrix) {
            let moments = &mut self.moments[matrix - self.matrices.start];
            if moments.columns == columns {
                moments.add(input);
            }
        }
    }

    fn is_done(&self) -> bool {
        self.seen && !self.group.experts
    }
}

/// Dimensions of a tensor.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) columns: usize,
    /// Rows of one matrix.
    pub(super) rows: usize,
    pub(super) matrices: usize,
}

impl Shape {
    pub(super) fn of(source: &dyn Source, planned: &PlannedTensor) -> Result<Self> {
        let shape = &source.tensors()[planned.source].shape;
        let count = |dimensions: &[u64]| {
            dimensions
                .iter()
                .try_fold(1usize, |product, &n| {
                    product.checked_mul(usize::try_from(n).ok()?)
                })
                .ok_or_else(|| {
                    Error::Request(format!("tensor '{}': too large for this machine", planned.name))
                })
        };
        Ok(Self {
            columns: count(shape.get(..1).unwrap_or_default())?,
            rows: count(shape.get(1..2).unwrap_or_default())?,
            matrices: count(shape.get(2..).unwrap_or_default())?,
        })
    }

    /// Rows of each matrix that stand for all, at most.
    pub(super) fn sampled(&self) -> usize {
        (STACK_ROWS / self.matrices.max(1)).clamp(LEAST_ROWS, ROWS)
    }
}

/// Some rows that stand for all, each with what it counts for: those much heavier than others for themselves, and of
/// the others the middle of each stretch, by weight, for all in it.
pub(super) fn sample(weights: &[f64], most: usize) -> Vec<(usize, f64)> {
    let mut order: Vec<usize> = (0..weights.len()).filter(|&row| weights[row] > 0.0).collect();
    if order.len() <= most {
        return order.into_iter().map(|row| (row, weights[row])).collect();
    }
    order.sort_by(|&a, &b| weights[b].total_cmp(&weights[a]).then(a.cmp(&b)));
    let share = order.iter().map(|&row| weights[row]).sum::<f64>() / most as f64;
    let heavy = order
        .iter()
        .take(most / 2)
        .take_while(|&&row| weights[row] > share)
        .count();
    let mut rows: Vec<(usize, f64)> = order[..heavy].iter().map(|&row| (row, weights[row])).collect();
    let light = &order[heavy..];
    let count = light.len().min(most - heavy);
    for part in 0..count {
        let stretch = &light[part * light.len() / count..(part + 1) * light.len() / count];
        let middle = stretch[stretch.len() / 2];
        rows.push((middle, stretch.iter().map(|&row| weights[row]).sum()));
    }
    rows.sort_by_key(|(row, _)| *row);
    rows
}

/// Σ weight · d H dᵀ over rows of one matrix, d being a row's error, for each of its types.
pub(super) fn errors(
    source: &dyn Source,
    open: &Open,
    matrix: usize,
    means: &Means,
    rows: &[(usize, f64)],
) -> Result<Vec<f64>> {
    let shape = Shape::of(source, &open.planned)?;
    let n = shape.columns;
    let mut weights = vec![0.0; rows.len() * n];
    for ((row, _), out) in rows.iter().zip(weights.chunks_exact_mut(n)) {
        let at = (matrix * shape.rows + row) as u64;
        source.read_rows(open.planned.source, at..at + 1, out)?;
    }
    let importance = open.planned.importance.as_deref();
    let importance = importance.and_then(|values| values.get(matrix * n..(matrix + 1) * n));
    let error = |ty: TensorType| -> Result<f64> {
        let codec = |source| Error::Codec {
            tensor: open.planned.name.clone(),
            source,
        };
        let row_bytes = ty.row_bytes(n as u64).unwrap_or(0) as usize;
        let each = weights
            .par_chunks(SHARE * n)
            .zip(rows.par_chunks(SHARE))
            .map(|(weights, rows)| {
                let mut blocks = vec![0; rows.len() * row_bytes];
                quants::encode(ty, weights, n, importance, &mut blocks)?;
                let mut off = vec![0.0; weights.len()];
                quants::decode(ty, &blocks, &mut off)?;
                off.iter_mut().zip(weights).for_each(|(off, w)| *off = w - *off);
                let squares = means.squares(&off);
                Ok(squares
                    .iter()
                    .zip(rows)
                    .map(|(square, (_, weight))| square * weight)
                    .sum::<f64>())
            })
            .collect::<Result<Vec<f64>, quants::Error>>()
            .map_err(codec)?;
        Ok(each.iter().sum::<f64>().max(0.0))
    };
    open.types.iter().map(|&ty| error(ty)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_stand_for_all_rows() {
        let weights: Vec<f64> = (0..1000).map(|i| f64::from(i * 7919 % 1000)).collect();
        let all: f64 = weights.iter().sum();
        let rows = sample(&weights, 100);
        assert_eq!(rows.len(), 100);
        assert!((rows.iter().map(|(_, w)| w).sum::<f64>() - all).abs() < 1e-6);
        assert!(rows.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert_eq!(
            sample(&weights[..10], 100).len(),
            9,
            "a row of no weight is left out"
        );
    }

    #[test]
    fn blocks_of_moments_are_those_of_the_whole() {
        let (columns, tokens) = (600, 40);
        let rows: Vec<f32> = (0..columns * tokens)
            .map(|i| ((i * 7919) % 1009) as f32 / 504.5 - 1.0)
            .collect();
        let mut whole = Moments::new(columns, u64::MAX);
        let mut parts = Moments::new(columns, 8 * 600 * 300);
        assert_eq!((whole.blocks.len(), parts.blocks.len()), (1, 3));
        whole.add(&rows);
        parts.add(&rows);
        let error: Vec<f32> = (0..columns)
            .map(|i| {
                if (256..512).contains(&i) {
                    (i % 7) as f32 - 3.0
                } else {
                    0.0
                }
            })
            .collect();
        // An error inside one block is the same one.
        let of = |moments: &Moments| moments.means().unwrap().squares(&error)[0];
        assert!((of(&whole) / of(&parts) - 1.0).abs() < 1e-5);
        // And it is the mean of the squares of what comes out.
        let mean: f64 = rows
            .chunks_exact(columns)
            .map(|x| {
                let out: f64 = x.iter().zip(&error).map(|(x, e)| f64::from(x * e)).sum();
                out * out / tokens as f64
            })
            .sum();
        assert!((of(&whole) / mean - 1.0).abs() < 1e-4, "{} {mean}", of(&whole));
    }
}
