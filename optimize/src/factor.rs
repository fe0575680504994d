//! The Cholesky factorization that error feedback needs, in f64 and in one order of operations.

use rayon::prelude::*;
use reference::portable::wide;

/// Columns that are eliminated together.
const PANEL: usize = 64;
/// Rows that a thread takes at a time.
const ROWS: usize = 16;

/// The upper triangular M with M Mᵀ = `h`, a symmetric `n` x `n` matrix; zeros below the diagonal. `None` when `h` is
/// not positive definite.
pub(crate) fn factor(h: &[f32], n: usize) -> Option<Vec<f64>> {
    // Backwards, M is the usual lower factor.
    let mut l: Vec<f64> = h.iter().rev().map(|&x| f64::from(x)).collect();
    for first in (0..n).step_by(PANEL) {
        let width = PANEL.min(n - first);
        let end = first + width;
        diagonal(&mut l, n, first, width)?;
        let (above, below) = l.split_at_mut(end * n);
        let triangle = &above[first * n..];
        below.par_chunks_mut(ROWS * n).for_each(|rows| {
            for row in rows.chunks_exact_mut(n) {
                solve_row(&mut row[first..end], triangle, n, first);
            }
        });
        // The panel, column after column, so that updates run along rows.
        let rest = n - end;
        let mut panel = vec![0.0; width * rest];
        for (r, row) in below.chunks_exact(n).enumerate() {
            for (k, x) in row[first..end].iter().enumerate() {
                panel[k * rest + r] = *x;
            }
        }
        below
            .par_chunks_mut(ROWS * n)
            .enumerate()
            .for_each(|(chunk, rows)| {
                for (r, row) in rows.chunks_exact_mut(n).enumerate() {
                    let count = chunk * ROWS + r + 1;
                    let (done, left) = row.split_at_mut(end);
                    wide(
                        #[inline(always)]
                        || update(&mut left[..count], &done[first..], &panel, rest),
                    );
                }
            });
    }
    for i in 0..n {
        l[i * n + i + 1..(i + 1) * n].fill(0.0);
    }
    l.reverse();
    Some(l)
}

/// Factors a square on the diagonal.
fn diagonal(l: &mut [f64], n: usize, first: usize, width: usize) -> Option<()> {
    for j in first..first + width {
        let (above, row) = l.split_at_mut(j * n);
        let row = &mut row[..n];
        solve_row(&mut row[first..j], &above[first * n..], n, first);
        let pivot = row[first..j].iter().fold(row[j], |pivot, x| pivot - x * x);
        if !(pivot > 0.0 && pivot.is_finite()) {
            return None;
        }
        row[j] = pivot.sqrt();
    }
    Some(())
}

/// Solves x Lᵀ = row for a triangle whose first row is that of column `first`.
fn solve_row(row: &mut [f64], triangle: &[f64], n: usize, first: usize) {
    for j in 0..row.len() {
        let factors = &triangle[j * n + first..][..=j];
        let mut x = row[j];
        for (done, factor) in row[..j].iter().zip(factors) {
            x -= done * factor;
        }
        row[j] = x / factors[j];
    }
}

/// `row -= factors * panel`.
#[inline(always)]
fn update(row: &mut [f64], factors: &[f64], panel: &[f64], width: usize) {
    let count = row.len();
    let mut pairs = factors
        .chunks_exact(4)
        .zip(panel.chunks_exact((4 * width).max(1)));
    for (f, p) in &mut pairs {
        let (a, b) = (&p[..count], &p[width..][..count]);
        let (c, d) = (&p[2 * width..][..count], &p[3 * width..][..count]);
        for i in 0..count {
            row[i] = row[i] - f[0] * a[i] - f[1] * b[i] - f[2] * c[i] - f[3] * d[i];
        }
    }
    let done = factors.len() / 4 * 4;
    for (k, f) in factors.iter().enumerate().skip(done) {
        for (x, p) in row.iter_mut().zip(&panel[k * width..]) {
            *x -= f * p;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_factor_times_itself_is_the_matrix() {
        for n in [1, 5, 64, 65, 200] {
            // Squares of random rows and a ridge: positive definite.
            let x: Vec<f32> = (0..2 * n * n)
                .map(|i| ((i * 7919 + 13) % 1009) as f32 / 504.5 - 1.0)
                .collect();
            let mut h = vec![0.0f32; n * n];
            for i in 0..n {
                for j in 0..n {
                    h[i * n + j] = (0..2 * n).map(|t| x[t * n + i] * x[t * n + j]).sum::<f32>();
                }
                h[i * n + i] += 1.0;
            }
            let m = factor(&h, n).unwrap();
            for i in 0..n {
                for j in 0..n {
                    if j < i {
                        assert_eq!(m[i * n + j], 0.0);
                    }
                    let product: f64 = (0..n).map(|k| m[i * n + k] * m[j * n + k]).sum();
                    let want = f64::from(h[i * n + j]);
                    assert!((product - want).abs() < 1e-4 * n as f64, "{n}: {product} {want}");
                }
            }
        }
    }

    #[test]
    fn what_is_not_positive_definite_is_refused() {
        assert!(factor(&[1.0, 2.0, 2.0, 1.0], 2).is_none());
        assert!(factor(&[f32::NAN], 1).is_none());
        assert!(factor(&[0.0], 1).is_none());
    }
}
