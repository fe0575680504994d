//! Matrix products: checked views over slices in front of the `gemm` library.
//!
//! Of that library only the part for `f32` is taken, without those for other numbers. Its one entry point takes
//! raw pointers; this is the only place of the crate that calls it, and the views prove beforehand what it asks
//! for.
#![allow(unsafe_code, reason = "gemm's interface; see the module's documentation")]

use gemm_common::Parallelism;

use crate::portable::Strided;

/// Whether a product may use the threads of the current pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parallel {
    Yes,
    No,
}

/// Shares of a product for each thread: more than one, so that a thread that is held up leaves the rest of its
/// work to the others.
const SHARES: usize = 4;

/// A read-only matrix inside a slice, with any strides.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a> View<'a> {
    /// `rows` x `cols` elements, element (r, c) at `r * row_stride + c * col_stride`.
    ///
    /// # Panics
    /// When an element would lie outside the slice.
    pub(crate) fn strided(
        data: &'a [f32],
        rows: usize,
        cols: usize,
        row_stride: usize,
        col_stride: usize,
    ) -> Self {
        assert!(fits(data.len(), rows, cols, row_stride, col_stride));
        Self {
            data,
            rows,
            cols,
            row_stride,
            col_stride,
        }
    }

    /// Contiguous rows.
    pub(crate) fn rows(data: &'a [f32], rows: usize, cols: usize) -> Self {
        Self::strided(data, rows, cols, cols, 1)
    }

    /// The same for [`crate::portable`].
    pub(crate) fn as_strided(self) -> Strided<'a> {
        Strided {
            data: self.data,
            rows: self.rows,
            columns: self.cols,
            row_stride: self.row_stride,
            column_stride: self.col_stride,
        }
    }

    /// The transposed matrix.
    pub(crate) fn transposed(self) -> Self {
        Self {
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
            ..self
        }
    }
}

/// A matrix that can be written: rows of neighbouring elements, which do not overlap.
#[derive(Debug)]
pub(crate) struct ViewMut<'a> {
    data: &'a mut [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
}

impl<'a> ViewMut<'a> {
    /// `rows` x `cols` elements, element (r, c) at `r * row_stride + c`.
    ///
    /// # Panics
    /// When rows overlap or an element would lie outside the slice.
    pub(crate) fn strided(data: &'a mut [f32], rows: usize, cols: usize, row_stride: usize) -> Self {
        assert!(row_stride >= cols && fits(data.len(), rows, cols, row_stride, 1));
        Self {
            data,
            rows,
            cols,
            row_stride,
        }
    }

    /// The elements, and how far rows are apart.
    pub(crate) fn into_parts(self) -> (&'a mut [f32], usize) {
        (self.data, self.row_stride)
    }

    /// Contiguous rows.
    pub(crate) fn rows(data: &'a mut [f32], rows: usize, cols: usize) -> Self {
        Self::strided(data, rows, cols, cols)
    }
}

fn fits(len: usize, rows: usize, cols: usize, row_stride: usize, col_stride: usize) -> bool {
    if rows == 0 || cols == 0 {
        return true;
    }
    let last = (rows - 1)
        .checked_mul(row_stride)
        .zip((cols - 1).checked_mul(col_stride))
        .and_then(|(r, c)| r.checked_add(c));
    last.is_some_and(|last| last < len && isize::try_from(last).is_ok())
}

/// `dst = alpha * lhs * rhs`.
///
/// # Panics
/// When the shapes do not fit together.
pub(crate) fn matmul(dst: ViewMut<'_>, lhs: View<'_>, rhs: View<'_>, alpha: f32, parallel: Parallel) {
    assert_eq!((dst.rows, dst.cols), (lhs.rows, rhs.cols), "shape of the product");
    assert_eq!(lhs.cols, rhs.rows, "inner dimension");
    if dst.rows == 0 || dst.cols == 0 {
        return;
    }
    // The library works by columns, so it is given the product transposed.
    // SAFETY: every element of the three views lies inside its slice (checked where a view is made, with
    // strides that fit isize), the views are as large as m, n and k say (asserted above), and the
    // destination is an exclusive borrow whose rows do not overlap, so it aliases neither operand.
    unsafe {
        gemm_f32::gemm::f32::get_gemm_fn()(
            dst.cols,
            dst.rows,
            lhs.cols,
            dst.data.as_mut_ptr(),
            dst.row_stride as isize,
            1,
            false,
            rhs.data.as_ptr(),
            rhs.row_stride as isize,
            rhs.col_stride as isize,
            lhs.data.as_ptr(),
            lhs.row_stride as isize,
            lhs.col_stride as isize,
            0.0,
            alpha,
            false,
            false,
            false,
            match parallel {
                Parallel::Yes => Parallelism::Rayon(SHARES * rayon::current_num_threads()),
                Parallel::No => Parallelism::None,
            },
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn naive(a: &[f32], b: &[f32], m: usize, n: usize, k: usize) -> Vec<f32> {
        let mut out = vec![0.0; m * n];
        for i in 0..m {
            for j in 0..n {
                out[i * n + j] = (0..k).map(|t| a[i * k + t] * b[j * k + t]).sum();
            }
        }
        out
    }

    #[test]
    fn equals_the_definition_for_odd_shapes() {
        for (m, n, k) in [(1, 1, 1), (3, 5, 7), (17, 33, 65), (64, 3, 128)] {
            let a: Vec<f32> = (0..m * k)
                .map(|i| ((i * 37 % 101) as f32 - 50.0) / 50.0)
                .collect();
            let b: Vec<f32> = (0..n * k).map(|i| ((i * 53 % 97) as f32 - 48.0) / 48.0).collect();
            let want = naive(&a, &b, m, n, k);
            for parallel in [Parallel::Yes, Parallel::No] {
                let mut got = vec![f32::NAN; m * n];
                matmul(
                    ViewMut::rows(&mut got, m, n),
                    View::rows(&a, m, k),
                    View::rows(&b, n, k).transposed(),
                    1.0,
                    parallel,
                );
                for (g, w) in got.iter().zip(&want) {
                    assert!((g - w).abs() <= 1e-4, "{m}x{n}x{k}: {g} and {w}");
                }
            }
        }
    }

    #[test]
    fn strided_destination_leaves_the_rest_alone() {
        let mut dst = vec![9.0; 8];
        matmul(
            ViewMut::strided(&mut dst, 2, 2, 4),
            View::rows(&[1.0, 2.0, 3.0, 4.0], 2, 2),
            View::rows(&[1.0, 0.0, 0.0, 1.0], 2, 2),
            2.0,
            Parallel::No,
        );
        assert_eq!(dst, [2.0, 4.0, 9.0, 9.0, 6.0, 8.0, 9.0, 9.0]);
    }

    #[test]
    #[should_panic(expected = "fits")]
    fn a_view_past_the_end_is_refused() {
        let _ = View::strided(&[0.0; 10], 3, 4, 4, 1);
    }
}
