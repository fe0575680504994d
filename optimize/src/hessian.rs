//! Second moments of a layer's inputs, and what encoders need of them.

use std::ops::Range;

use rayon::prelude::*;
use reference::portable::{Panels, Strided, add_gram, multiply, wide};

use crate::factor::factor;

/// Columns that are encoded before their errors go on to the others.
pub(crate) const SPAN: usize = 256;

/// Use of moments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Learning. An input of mean square s counts as 1/√s of one: a few tokens with very large inputs would outweigh
    /// all others.
    Teaching,
    /// Judging what was learned: all inputs count alike.
    Judging,
}

/// The unquantized model's side of inputs x of a linear layer: the same inputs there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exact<'a> {
    /// y, one for each x.
    pub(crate) rows: &'a [f32],
    /// Where the layer's output is added to a state: what that state lacks beside the unquantized model's, in units of the
    /// output, s. One row for each x.
    pub(crate) lack: Option<&'a [f32]>,
}

/// Sums that say what the state lacks to which outputs are added.
#[derive(Clone, Debug)]
struct Lack {
    /// Sums of s_r x_j: a row for each output.
    sums: Vec<f32>,
    /// For judging, those of s_r (y − x)_j, and of s_r².
    apart: Vec<f32>,
    squares: Vec<f64>,
}

/// Sums over inputs x of the products of all pairs of columns; only the upper triangle is kept up.
#[derive(Clone, Debug)]
pub(crate) struct Moments {
    pub(crate) columns: usize,
    purpose: Purpose,
    /// Sums of the weights of the inputs, of the weighted inputs, and of their products.
    weights: f64,
    first: Vec<f64>,
    sums: Vec<f32>,
    tokens: f64,
    squares: Vec<f64>,
    /// Where the inputs of the unquantized model are known, too, y: sums of (y − x)_i x_j.
    cross: Option<Vec<f32>>,
    /// And of (y − x)_i (y − x)_j, for judging.
    apart: Option<Vec<f32>>,
    lack: Option<Lack>,
}

impl Moments {
    pub(crate) fn new(columns: usize, purpose: Purpose) -> Self {
        Self {
            columns,
            purpose,
            weights: 0.0,
            first: vec![0.0; columns],
            sums: vec![0.0; columns * columns],
            tokens: 0.0,
            squares: vec![0.0; columns],
            cross: None,
            apart: None,
            lack: None,
        }
    }

    /// Bytes that moments of this many columns take.
    pub(crate) fn bytes(columns: usize) -> u64 {
        (columns as u64).saturating_mul(columns as u64).saturating_mul(4)
    }

    /// Adds inputs, and what they are in the unquantized model where that is known.
    pub(crate) fn add(&mut self, rows: &[f32], exact: Option<Exact<'_>>) {
        let n = self.columns;
        let mut scaled = rows.to_vec();
        let mut roots = Vec::with_capacity(rows.len() / n);
        for row in scaled.chunks_exact_mut(n) {
            let mut sum = 0.0;
            for (square, x) in self.squares.iter_mut().zip(&*row) {
                let x = f64::from(*x);
                *square += x * x;
                sum += x * x;
            }
            self.tokens += 1.0;
            let mean = sum / n as f64;
            let weight = if self.purpose == Purpose::Teaching && mean > 0.0 {
                1.0 / mean.sqrt()
            } else {
                1.0
            };
            self.weights += weight;
            let root = weight.sqrt() as f32;
            for (first, x) in self.first.iter_mut().zip(row) {
                *first += weight * f64::from(*x);
                *x *= root;
            }
            roots.push(root);
        }
        add_gram(&scaled, n, &mut self.sums);
        if let Some(exact) = exact.filter(|exact| exact.rows.len() == rows.len()) {
            let mut apart: Vec<f32> = exact.rows.iter().zip(rows).map(|(y, x)| y - x).collect();
            weigh(&mut apart, &roots);
            let cross = self.cross.get_or_insert_with(|| vec![0.0; n * n]);
            add_products(cross, &apart, &scaled, roots.len());
            if self.purpose == Purpose::Judging {
                add_gram(&apart, n, self.apart.get_or_insert_with(|| vec![0.0; n * n]));
            }
            if let Some(lack) = exact.lack {
                self.add_lack(lack.to_vec(), &scaled, &apart, &roots);
            }
        }
    }

    /// Adds what the state lacks; inputs and what they lack are weighted.
    fn add_lack(&mut self, mut lack: Vec<f32>, inputs: &[f32], apart: &[f32], roots: &[f32]) {
        weigh(&mut lack, roots);
        let outputs = lack.len() / roots.len();
        let judged = match self.purpose {
            Purpose::Teaching => 0,
            Purpose::Judging => outputs,
        };
        let sums = self.lack.get_or_insert_with(|| Lack {
            sums: vec![0.0; outputs * self.columns],
            apart: vec![0.0; judged * self.columns],
            squares: vec![0.0; judged],
        });
        add_products(&mut sums.sums, &lack, inputs, roots.len());
        if judged > 0 {
            add_products(&mut sums.apart, &lack, apart, roots.len());
            for row in lack.chunks_exact(outputs) {
                let squares = sums.squares.iter_mut().zip(row);
                squares.for_each(|(sum, s)| *sum += f64::from(*s) * f64::from(*s));
            }
        }
    }

    /// Adds `prior` as if it were of this many tokens.
    pub(crate) fn add_prior(&mut self, prior: &Self, tokens: f64) {
        if prior.tokens == 0.0 {
            return;
        }
        let factor = tokens / prior.tokens;
        for (sum, x) in self.sums.iter_mut().zip(&prior.sums) {
            *sum += factor as f32 * x;
        }
        let columns = self.first.iter_mut().zip(&prior.first);
        for (sum, x) in columns.chain(self.squares.iter_mut().zip(&prior.squares)) {
            *sum += factor * x;
        }
        self.weights += factor * prior.weights;
        self.tokens += tokens;
    }

    /// Means of the squares of each column, over all tokens alike.
    pub(crate) fn mean_squares(&self) -> Vec<f32> {
        let tokens = self.tokens.max(1.0);
        self.squares.iter().map(|sum| (sum / tokens) as f32).collect()
    }

    /// The whole matrix of means; `None` when an element is not finite or all are zero.
    fn means(&self) -> Option<Vec<f32>> {
        let n = self.columns;
        let means = whole(&self.sums, n, self.weights)?;
        (0..n).any(|i| means[i * n + i] > 0.0).then_some(means)
    }

    /// The mean of each column.
    fn columns(&self) -> Vec<f32> {
        self.first.iter().map(|x| (x / self.weights) as f32).collect()
    }
}

/// Multiplies rows, one for each factor.
fn weigh(rows: &mut [f32], factors: &[f32]) {
    let columns = rows.len() / factors.len();
    for (row, factor) in rows.chunks_exact_mut(columns).zip(factors) {
        row.iter_mut().for_each(|x| *x *= factor);
    }
}

/// Adds aᵀ b of so many rows of a and b.
fn add_products(sums: &mut [f32], a: &[f32], b: &[f32], count: usize) {
    let (of_a, of_b) = (a.len() / count, b.len() / count);
    let mut products = vec![0.0; sums.len()];
    multiply(
        Strided::rows(a, count, of_a).transposed(),
        Strided::rows(b, count, of_b),
        &mut products,
        of_b,
        1.0,
        true,
    );
    sums.iter_mut().zip(&products).for_each(|(sum, x)| *sum += x);
}

/// The symmetric matrix of means of which the upper triangle of sums is given; `None` when one is not finite.
fn whole(sums: &[f32], n: usize, weights: f64) -> Option<Vec<f32>> {
    let mut means = vec![0.0; n * n];
    for i in 0..n {
        for j in i..n {
            let mean = (f64::from(sums[i * n + j]) / weights) as f32;
            if !mean.is_finite() {
                return None;
            }
            means[i * n + j] = mean;
            means[j * n + i] = mean;
        }
    }
    Some(means)
}

/// The squared error of what rows put out on tokens that were not learned from.
#[derive(Debug)]
pub(crate) struct Judge {
    columns: usize,
    hessian: Panels,
    /// Where the unquantized model's inputs are known, the matrices of (y − x)_i x_j and (y − x)_i (y − x)_j: what
    /// counts is the distance from what the unquantized model puts out.
    apart: Option<(Panels, Panels)>,
    /// Where outputs are added to a state: means in place of its sums.
    lack: Option<Lack>,
}

impl Judge {
    /// `None` when moments are not finite or all zero.
    pub(crate) fn new(moments: &Moments) -> Option<Self> {
        let n = moments.columns;
        let panels = |matrix: &[f32]| Panels::new(Strided::rows(matrix, n, n));
        let means = |sums: &[f32]| -> Vec<f32> {
            let means = sums.iter().map(|x| (f64::from(*x) / moments.weights) as f32);
            means.collect()
        };
        let apart = match (&moments.cross, &moments.apart) {
            (Some(cross), Some(apart)) => {
                let cross = means(cross);
                let apart = whole(apart, n, moments.weights)?;
                cross
                    .iter()
                    .all(|x| x.is_finite())
                    .then(|| (panels(&cross), panels(&apart)))
            }
            _ => None,
        };
        Some(Self {
            columns: n,
            hessian: panels(&moments.means()?),
            apart,
            lack: moments.lack.as_ref().map(|lack| Lack {
                sums: means(&lack.sums),
                apart: means(&lack.apart),
                squares: lack.squares.iter().map(|sum| sum / moments.weights).collect(),
            }),
        })
    }

    /// Outputs of rows w, to be compared with what is put out for them. They are those of the matrix from `first` on.
    pub(crate) fn rows<'a>(&'a self, rows: &'a [f32], first: usize) -> JudgedRows<'a> {
        let n = self.columns;
        let apart = self.apart.as_ref().map(|(cross, apart)| {
            let mut cross = products(rows, cross, n);
            let mut squares = product(rows, apart, rows, n);
            if let Some(lack) = &self.lack {
                let (count, at) = (rows.len() / n, first * n);
                let lacking = &lack.sums[at..at + rows.len()];
                cross.iter_mut().zip(lacking).for_each(|(c, s)| *c += s);
                squares += 2.0 * sum_of_products(rows, &lack.apart[at..at + rows.len()]);
                squares += lack.squares[first..first + count].iter().sum::<f64>();
            }
            (cross, squares)
        });
        JudgedRows { judge: self, apart }
    }
}

/// Rows and what a [`Judge`] knows of them.
pub(crate) struct JudgedRows<'a> {
    judge: &'a Judge,
    /// Means of what is off for w = ŵ, w (y − x) + s, times each column of x, and of the sum of its squares.
    apart: Option<(Vec<f32>, f64)>,
}

impl JudgedRows<'_> {
    /// Σ (w y + s − ŵ x)² for the rows' errors w − ŵ.
    pub(crate) fn squared(&self, errors: &[f32]) -> f64 {
        let own = product(errors, &self.judge.hessian, errors, self.judge.columns);
        match &self.apart {
            None => own,
            Some((cross, apart)) => own + 2.0 * sum_of_products(errors, cross) + apart,
        }
    }
}

/// Σ a M bᵀ over rows of a and b.
pub(crate) fn product(a: &[f32], matrix: &Panels, b: &[f32], columns: usize) -> f64 {
    sum_of_products(b, &products(a, matrix, columns))
}

/// a M for rows of a.
fn products(a: &[f32], matrix: &Panels, columns: usize) -> Vec<f32> {
    let count = a.len() / columns;
    let mut products = vec![0.0; a.len()];
    matrix.multiply(
        Strided::rows(a, count, columns),
        0..columns,
        &mut products,
        columns,
        1.0,
    );
    products
}

fn sum_of_products(a: &[f32], b: &[f32]) -> f64 {
    let terms = a.iter().zip(b);
    terms.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

/// How second moments are made safe to solve with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Damping {
    /// Share by which elements off the diagonal shrink.
    pub shrink: f32,
    /// Part of the mean diagonal that is added to the diagonal.
    pub ridge: f32,
}

impl Default for Damping {
    fn default() -> Self {
        Self {
            shrink: 0.15,
            ridge: 0.05,
        }
    }
}

/// A metric of errors of a row, E = Σ e_i H_ij e_j, and the feedback that belongs to it.
#[derive(Debug)]
pub(crate) struct Metric {
    pub(crate) columns: usize,
    /// How much the error of a column counts once those after it make up for what they can.
    pub(crate) importance: Vec<f32>,
    /// N, above the diagonal: what the error of column i adds to the target of column j.
    pub(crate) feedback: Panels,
    pub(crate) hessian: Panels,
    /// Shift of a row's weights, as a matrix, with which they put out for the quantized model's inputs what they put
    /// out for the unquantized model's.
    pub(crate) drift: Option<Panels>,
    /// Shift of every row with which its output makes up for what the state lacks.
    pub(crate) shift: Option<Vec<f32>>,
    /// N and H inside each span, row after row.
    pub(crate) near_feedback: Vec<Vec<f32>>,
    pub(crate) near_hessian: Vec<Vec<f32>>,
}

/// The columns of each span.
pub(crate) fn spans(columns: usize) -> impl Iterator<Item = Range<usize>> {
    (0..columns)
        .step_by(SPAN)
        .map(move |first| first..columns.min(first + SPAN))
}

impl Metric {
    /// Prepares moments, damped; `None` when they are not finite, or singular for all that.
    pub(crate) fn new(moments: &Moments, damping: Damping) -> Option<Self> {
        let n = moments.columns;
        let mut h = moments.means()?;
        let means = moments.columns();
        let diagonal =
            |h: &[f32], i: usize| f64::from(h[i * n + i]) - f64::from(means[i]) * f64::from(means[i]);
        let mean = (0..n).map(|i| diagonal(&h, i)).sum::<f64>() / n as f64;
        let scale = 1.0 / mean;
        if !(scale as f32).is_finite() || mean <= 0.0 {
            return None;
        }
        let keep = f64::from(1.0 - damping.shrink);
        for i in 0..n {
            for j in 0..n {
                // The mean is known much better than how columns vary together, and is not damped.
                let of_means = f64::from(means[i]) * f64::from(means[j]);
                let together = f64::from(h[i * n + j]) - of_means;
                let damped = match i == j {
                    false => together * keep,
                    // A column that is always zero: what it holds does not matter, but stays near its weights.
                    true if h[i * n + j] == 0.0 => mean,
                    true => together.max(0.0) + f64::from(damping.ridge) * mean,
                };
                h[i * n + j] = ((damped + of_means) * scale) as f32;
            }
        }
        let mut factor: Vec<f64> = factor(&h, n)?;
        let importance: Vec<f32> = (0..n)
            .map(|i| {
                let diagonal = factor[i * n + i];
                (diagonal * diagonal) as f32
            })
            .collect();
        let solved = |sums: &Vec<f32>| -> Vec<f32> {
            let scale = scale / moments.weights;
            let mut rows: Vec<f64> = sums.iter().map(|x| f64::from(*x) * scale).collect();
            solve(&factor, &mut rows, n);
            rows.iter().map(|x| *x as f32).collect()
        };
        let drift = moments.cross.as_ref().map(solved);
        let shift = moments.lack.as_ref().map(|lack| solved(&lack.sums));
        // Columns divided by their diagonal: errors of earlier columns become a shift of the target.
        let diagonal: Vec<f64> = (0..n).map(|i| 1.0 / factor[i * n + i]).collect();
        for row in factor.chunks_exact_mut(n) {
            for (x, d) in row.iter_mut().zip(&diagonal) {
                *x *= d;
            }
        }
        let feedback: Vec<f32> = factor.iter().map(|&x| x as f32).collect();
        drop(factor);
        let shifts = drift.iter().chain(&shift).flatten();
        let mut all = importance.iter().chain(&feedback).chain(shifts);
        if all.any(|x| !x.is_finite()) {
            return None;
        }
        let near = |matrix: &[f32]| -> Vec<Vec<f32>> {
            spans(n)
                .map(|span| {
                    span.clone()
                        .flat_map(|i| &matrix[i * n + span.start..i * n + span.end])
                        .copied()
                        .collect()
                })
                .collect()
        };
        Some(Self {
            columns: n,
            shift,
            drift: drift.map(|drift| Panels::new(Strided::rows(&drift, n, n))),
            importance,
            near_feedback: near(&feedback),
            near_hessian: near(&h),
            feedback: Panels::new(Strided::rows(&feedback, n, n)),
            hessian: Panels::new(Strided::rows(&h, n, n)),
        })
    }

    /// Takes back the part of the shift that makes up for nothing on inputs it was not learned from: with few tokens,
    /// some of it is chance. What is left is the multiple of it that does most there.
    pub(crate) fn proved_by(mut self, judge: &Judge) -> Self {
        if let (Some(shift), Some(lack)) = (&mut self.shift, &judge.lack) {
            let n = self.columns;
            let mut made = vec![0.0; shift.len()];
            made.par_chunks_mut(TOGETHER * n)
                .zip(shift.par_chunks(TOGETHER * n))
                .for_each(|(made, rows)| made.copy_from_slice(&products(rows, &judge.hessian, n)));
            let share = sum_of_products(shift, &lack.sums) / sum_of_products(shift, &made);
            let share = if share > 0.0 { share.min(1.0) as f32 } else { 0.0 };
            shift.iter_mut().for_each(|x| *x *= share);
        }
        self
    }

    /// Targets of rounding rows, those of the matrix from `first` on: their weights, moved so that they put out for the
    /// quantized model's inputs what they put out for the unquantized model's, and what the state lacks.
    pub(crate) fn targets(&self, rows: &[f32], first: usize) -> Vec<f32> {
        let mut targets = rows.to_vec();
        if let Some(shift) = &self.shift {
            let shift = &shift[first * self.columns..];
            targets.iter_mut().zip(shift).for_each(|(t, s)| *t += s);
        }
        if let Some(drift) = &self.drift {
            let n = self.columns;
            let mut moved = vec![0.0; rows.len()];
            drift.multiply(Strided::rows(rows, rows.len() / n, n), 0..n, &mut moved, n, 1.0);
            targets.iter_mut().zip(&moved).for_each(|(t, m)| *t += m);
        }
        targets
    }
}

/// Rows that are solved for, or multiplied, together.
const TOGETHER: usize = 16;

/// Replaces rows r by r (M Mᵀ)⁻¹ for an upper triangular M.
fn solve(factor: &[f64], rows: &mut [f64], n: usize) {
    rows.par_chunks_mut(TOGETHER * n).for_each(|rows| {
        let mut columns = vec![[0.0f64; TOGETHER]; n];
        for (r, row) in rows.chunks_exact(n).enumerate() {
            row.iter()
                .zip(&mut columns)
                .for_each(|(x, column)| column[r] = *x);
        }
        wide(
            #[inline(always)]
            || solve_columns(factor, &mut columns, n),
        );
        for (r, row) in rows.chunks_exact_mut(n).enumerate() {
            row.iter_mut()
                .zip(&columns)
                .for_each(|(x, column)| *x = column[r]);
        }
    });
}

#[inline(always)]
fn solve_columns(factor: &[f64], columns: &mut [[f64; TOGETHER]], n: usize) {
    // z Mᵀ = r, from the last column on.
    for i in (0..n).rev() {
        let (left, done) = columns.split_at_mut(i + 1);
        let column = &mut left[i];
        for (m, z) in factor[i * n + i + 1..(i + 1) * n].iter().zip(&*done) {
            for lane in 0..TOGETHER {
                column[lane] -= m * z[lane];
            }
        }
        column.iter_mut().for_each(|x| *x /= factor[i * n + i]);
    }
    // y M = z, from the first on.
    for i in 0..n {
        let (done, left) = columns.split_at_mut(i + 1);
        let column = &mut done[i];
        column.iter_mut().for_each(|x| *x /= factor[i * n + i]);
        for (m, z) in factor[i * n + i + 1..(i + 1) * n].iter().zip(left) {
            for lane in 0..TOGETHER {
                z[lane] -= m * column[lane];
            }
        }
    }
}

#[cfg(test)]
mod tests;
