//! Second moments of a layer's inputs, and of what is off in them.

use reference::portable::{Strided, add_gram, multiply};

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
pub(crate) struct Lack {
    /// Sums of s_r x_j: a row for each output.
    pub(crate) sums: Vec<f32>,
    /// For judging, those of s_r (y − x)_j, and of s_r².
    pub(crate) apart: Vec<f32>,
    pub(crate) squares: Vec<f64>,
}

/// Sums over inputs x of the products of all pairs of columns; only the upper triangle is kept up.
#[derive(Clone, Debug)]
pub(crate) struct Moments {
    pub(crate) columns: usize,
    purpose: Purpose,
    /// Sums of the weights of the inputs, of the weighted inputs, and of their products.
    pub(crate) weights: f64,
    first: Vec<f64>,
    sums: Vec<f32>,
    tokens: f64,
    squares: Vec<f64>,
    /// Where the inputs of the unquantized model are known, too, y: sums of (y − x)_i x_j.
    pub(crate) cross: Option<Vec<f32>>,
    /// And of (y − x)_i (y − x)_j, for judging.
    pub(crate) apart: Option<Vec<f32>>,
    pub(crate) lack: Option<Lack>,
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
    pub(crate) fn means(&self) -> Option<Vec<f32>> {
        let n = self.columns;
        let means = whole(&self.sums, n, self.weights)?;
        (0..n).any(|i| means[i * n + i] > 0.0).then_some(means)
    }

    /// The mean of each column.
    pub(crate) fn columns(&self) -> Vec<f32> {
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
pub(crate) fn whole(sums: &[f32], n: usize, weights: f64) -> Option<Vec<f32>> {
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

#[cfg(test)]
mod tests;
