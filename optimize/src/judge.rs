//! The error of encoded rows on inputs that were not learned from.

use reference::portable::{Panels, Strided};

use crate::moments::{Lack, Moments, whole};

/// The squared error of what rows put out on tokens that were not learned from.
#[derive(Debug)]
pub(crate) struct Judge {
    columns: usize,
    pub(crate) hessian: Panels,
    /// Where the unquantized model's inputs are known, the matrices of (y − x)_i x_j and (y − x)_i (y − x)_j: what
    /// counts is the distance from what the unquantized model puts out.
    apart: Option<(Panels, Panels)>,
    /// Where outputs are added to a state: means in place of its sums.
    pub(crate) lack: Option<Lack>,
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
pub(crate) fn products(a: &[f32], matrix: &Panels, columns: usize) -> Vec<f32> {
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

pub(crate) fn sum_of_products(a: &[f32], b: &[f32]) -> f64 {
    let terms = a.iter().zip(b);
    terms.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

#[cfg(test)]
mod tests;
