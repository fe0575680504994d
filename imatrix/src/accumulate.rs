//! Collecting importance while a model runs over a text.
//!
//! The sums are those of llama-imatrix: the squares of each linear layer's inputs, column by column over all tokens,
//! for stacked experts separately for each expert, with the number of tokens.
//!
//! Within a step (a few windows of text) sums run in f64; a finished step is added to f32 totals,
//! which are what a file holds. So the state after any step is exactly an ordinary importance file,
//! and a run that continues from one ends with the same bytes as a run that was never interrupted.

use std::sync::LazyLock;

use indexmap::IndexMap;
use rayon::prelude::*;

use crate::part::Step;
use crate::{Entry, Form, ImportanceMatrix};

/// Columns that a thread takes at a time.
const COLUMNS: usize = 128;

/// Sums of squared inputs for any number of tensors.
#[derive(Clone, Debug)]
pub struct Accumulator {
    totals: ImportanceMatrix,
    step: IndexMap<String, Staged>,
    /// Addends of each step, where they are kept.
    steps: Option<Vec<Step>>,
}

#[derive(Clone, Debug)]
struct Staged {
    columns: usize,
    sums: Vec<f64>,
    counts: Vec<u64>,
}

/// A tensor's inputs in one step do not have the shape they had before.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "tensor '{tensor}': expected inputs for {sums} sums and {counts} counts, as before, found {columns} columns for \
     {matrices} matrices"
)]
#[non_exhaustive]
pub struct ShapeChanged {
    /// The tensor.
    pub tensor: String,
    /// Columns of the new inputs.
    pub columns: usize,
    /// Matrices stacked in the tensor.
    pub matrices: usize,
    /// Sums held so far.
    pub sums: usize,
    /// Counts held so far.
    pub counts: usize,
}

impl Accumulator {
    /// Starts with nothing, for windows of `chunk_size` tokens.
    pub fn new(chunk_size: u32) -> Self {
        Self {
            totals: ImportanceMatrix {
                chunk_size,
                form: Form::Gguf,
                ..Default::default()
            },
            step: IndexMap::new(),
            steps: None,
        }
    }

    /// Starts with nothing, and keeps what each step adds ([`Accumulator::into_steps`]): a part of the windows of a text.
    pub fn keeping_steps(chunk_size: u32) -> Self {
        Self {
            steps: Some(Vec::new()),
            ..Self::new(chunk_size)
        }
    }

    /// Addends of each step; none unless they were kept.
    pub fn into_steps(self) -> Vec<Step> {
        self.steps.unwrap_or_default()
    }

    /// Continues from sums collected before (in their GGUF meaning; see [`ImportanceMatrix::to_gguf_form`]).
    pub fn resume(totals: ImportanceMatrix) -> Self {
        Self {
            totals,
            step: IndexMap::new(),
            steps: None,
        }
    }

    /// Adds inputs of a tensor to the current step: rows of `columns` numbers, one row for each token.
    /// `expert` is the index of the expert that they go to and the number of experts.
    pub fn add(&mut self, tensor: &str, expert: Option<(usize, usize)>, input: &[f32], columns: usize) {
        if columns == 0 {
            return;
        }
        let (index, matrices) = expert.unwrap_or((0, 1));
        let staged = match self.step.get_mut(tensor) {
            Some(staged) => staged,
            None => self.step.entry(tensor.to_owned()).or_insert_with(|| Staged {
                columns,
                sums: vec![0.0; columns * matrices],
                counts: vec![0; matrices],
            }),
        };
        debug_assert_eq!(
            (staged.columns, staged.counts.len()),
            (columns, matrices),
            "{tensor}"
        );
        let sums = &mut staged.sums[index * columns..][..columns];
        // Each column's sum stays in the order of the rows, so that threads do not change it.
        sums.par_chunks_mut(COLUMNS)
            .enumerate()
            .for_each(|(block, sums)| {
                wide(
                    #[inline(always)]
                    || add_squares(sums, input, columns, block * COLUMNS),
                );
            });
        staged.counts[index] += (input.len() / columns) as u64;
    }

    /// The first tensor of the current step whose sums are not finite, if there is one.
    pub fn not_finite(&self) -> Option<&str> {
        let bad = |s: &Staged| s.sums.iter().any(|v| !(*v as f32).is_finite());
        self.step
            .iter()
            .find(|(_, s)| bad(s))
            .map(|(name, _)| name.as_str())
    }

    /// Sets the current step aside: nothing of it counts.
    pub fn discard(&mut self) {
        self.step.clear();
    }

    /// Adds the current step, of `chunks` windows, to the totals.
    ///
    /// # Errors
    /// When a tensor's shape differs from what was collected before; then nothing is added.
    pub fn commit(&mut self, chunks: u32) -> Result<(), ShapeChanged> {
        for (name, staged) in &self.step {
            if let Some(entry) = self.totals.entries.get(name)
                && (entry.sums.len() != staged.sums.len() || entry.counts.len() != staged.counts.len())
            {
                return Err(ShapeChanged {
                    tensor: name.clone(),
                    columns: staged.columns,
                    matrices: staged.counts.len(),
                    sums: entry.sums.len(),
                    counts: entry.counts.len(),
                });
            }
        }
        let mut step = Step {
            chunks,
            ..Step::default()
        };
        for (name, staged) in self.step.drain(..) {
            let added = Entry {
                sums: staged.sums.iter().map(|&sum| sum as f32).collect(),
                counts: staged.counts.iter().map(|&count| count as f32).collect(),
            };
            let entry = self.totals.entries.get_or_insert_with(&name, || Entry {
                sums: vec![0.0; added.sums.len()],
                counts: vec![0.0; added.counts.len()],
            });
            for (total, sum) in entry.sums.iter_mut().zip(&added.sums) {
                *total += sum;
            }
            for (total, count) in entry.counts.iter_mut().zip(&added.counts) {
                *total += count;
            }
            if self.steps.is_some() {
                step.entries.insert(name, added);
            }
        }
        if let Some(steps) = &mut self.steps {
            steps.push(step);
        }
        self.totals.chunk_count = self.totals.chunk_count.saturating_add(chunks);
        Ok(())
    }

    /// The sums committed so far.
    pub fn totals(&self) -> &ImportanceMatrix {
        &self.totals
    }
}

/// Adds the squares of the columns from `first` on, row after row. A square of an f32 is exact in f64, so that it does
/// not matter whether product and sum are fused.
#[inline(always)]
fn add_squares(sums: &mut [f64], input: &[f32], columns: usize, first: usize) {
    // Four rows at a time: the sums are read and written once for them.
    let fours = input.chunks_exact(4 * columns);
    let rest = fours.remainder();
    for four in fours {
        let part = |row: usize| &four[row * columns + first..][..sums.len()];
        let (a, b, c, d) = (part(0), part(1), part(2), part(3));
        for i in 0..sums.len() {
            let square = |x: f32| f64::from(x) * f64::from(x);
            sums[i] = (((sums[i] + square(a[i])) + square(b[i])) + square(c[i])) + square(d[i]);
        }
    }
    for row in rest.chunks_exact(columns) {
        for (sum, &x) in sums.iter_mut().zip(&row[first..]) {
            *sum += f64::from(x) * f64::from(x);
        }
    }
}

/// Runs `work` compiled for the widest vectors that the machine has; no operation is fused or reordered.
#[inline(always)]
fn wide<R>(work: impl FnOnce() -> R) -> R {
    static ARCH: LazyLock<pulp::Arch> = LazyLock::new(pulp::Arch::new);
    ARCH.dispatch(work)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_squares_by_column_and_expert() {
        let mut a = Accumulator::new(2);
        a.add("dense", None, &[1.0, 2.0, 3.0, 4.0], 2);
        a.add("moe", Some((1, 3)), &[2.0], 1);
        a.commit(1).unwrap();
        a.add("dense", None, &[1.0, 1.0], 2);
        a.commit(1).unwrap();
        let totals = a.totals();
        assert_eq!(
            totals.entries["dense"],
            Entry {
                sums: vec![11.0, 21.0],
                counts: vec![3.0]
            }
        );
        assert_eq!(
            totals.entries["moe"],
            Entry {
                sums: vec![0.0, 4.0, 0.0],
                counts: vec![0.0, 1.0, 0.0]
            }
        );
        assert_eq!(totals.chunk_count, 2);
    }

    #[test]
    fn each_column_is_summed_in_the_order_of_the_rows() {
        for rows in [1, 3, 4, 5, 11] {
            for columns in [1, 7, COLUMNS, 2 * COLUMNS + 3] {
                let input: Vec<f32> = (0..rows * columns)
                    .map(|i| ((i * 7919 % 1009) as f32 - 504.0) * 1.0e-3)
                    .collect();
                let mut a = Accumulator::new(1);
                a.add("x", None, &input, columns);
                let sums = &a.step["x"].sums;
                for (column, &sum) in sums.iter().enumerate() {
                    let expected = (0..rows).fold(0.0, |sum: f64, row| {
                        sum + f64::from(input[row * columns + column]).powi(2)
                    });
                    assert_eq!(sum, expected, "{rows} {columns} {column}");
                }
            }
        }
    }

    #[test]
    fn a_step_with_infinities_can_be_set_aside() {
        let mut a = Accumulator::new(1);
        a.add("x", None, &[1e30], 1);
        assert_eq!(a.not_finite(), Some("x"));
        a.discard();
        a.commit(0).unwrap();
        assert!(a.totals().entries.is_empty());
    }

    #[test]
    fn resuming_changes_no_bit() {
        let step = |a: &mut Accumulator, seed: u32| {
            let input: Vec<f32> = (0..64)
                .map(|i| ((i * 37 + seed * 11) % 101) as f32 * 0.013)
                .collect();
            a.add("x", None, &input, 8);
            a.commit(1).unwrap();
        };
        let mut whole = Accumulator::new(8);
        let mut first = Accumulator::new(8);
        (0..6).for_each(|i| step(&mut whole, i));
        (0..3).for_each(|i| step(&mut first, i));
        let mut second = Accumulator::resume(first.totals().clone());
        (3..6).for_each(|i| step(&mut second, i));
        assert_eq!(whole.totals(), second.totals());
    }

    #[test]
    fn another_shape_is_refused() {
        let mut a = Accumulator::new(1);
        a.add("x", None, &[1.0, 2.0], 2);
        a.commit(1).unwrap();
        a.add("x", None, &[1.0], 1);
        assert_eq!(a.commit(1).unwrap_err().tensor, "x");
    }
}
