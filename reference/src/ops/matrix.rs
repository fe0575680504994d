//! Row-major matrices, and the pool their buffers come back to.

use rayon::prelude::*;

use super::View;

/// Elements a thread takes at a time.
const BLOCK: usize = 16 * 1024;

/// `rows` x `cols` numbers, rows one after the other; a row is one token.
#[derive(Clone, Debug, Default)]
pub(crate) struct Matrix {
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    pub(crate) data: Vec<f32>,
}

impl Matrix {
    pub(crate) fn view(&self) -> View<'_> {
        View::rows(&self.data, self.rows, self.cols)
    }

    /// Adds `other`, which has the same shape, element by element.
    pub(crate) fn add(&mut self, other: &Self) {
        debug_assert_eq!((self.rows, self.cols), (other.rows, other.cols));
        self.data
            .par_chunks_mut(BLOCK)
            .zip(other.data.par_chunks(BLOCK))
            .for_each(|(a, b)| a.iter_mut().zip(b).for_each(|(a, b)| *a += b));
    }

    /// Takes over the elements of `other`, which has the same shape.
    pub(crate) fn copy_from(&mut self, other: &Self) {
        debug_assert_eq!((self.rows, self.cols), (other.rows, other.cols));
        self.data
            .par_chunks_mut(BLOCK)
            .zip(other.data.par_chunks(BLOCK))
            .for_each(|(a, b)| a.copy_from_slice(b));
    }

    /// Multiplies every element.
    pub(crate) fn scale(&mut self, factor: f32) {
        if factor != 1.0 {
            self.data
                .par_chunks_mut(BLOCK)
                .for_each(|block| block.iter_mut().for_each(|a| *a *= factor));
        }
    }

    /// Adds to every row: one number for each column.
    pub(crate) fn add_to_rows(&mut self, more: &[f32]) {
        for row in self.data.chunks_exact_mut(self.cols.max(1)) {
            row.iter_mut().zip(more).for_each(|(a, b)| *a += b);
        }
    }

    /// Multiplies every row: by one number for each column.
    pub(crate) fn scale_columns(&mut self, factors: &[f32]) {
        for row in self.data.chunks_exact_mut(self.cols.max(1)) {
            row.iter_mut().zip(factors).for_each(|(a, b)| *a *= b);
        }
    }

    /// Keeps only the given rows, which ascend.
    pub(crate) fn keep_rows(&mut self, kept: &[usize]) {
        for (to, &from) in kept.iter().enumerate() {
            self.data
                .copy_within(from * self.cols..(from + 1) * self.cols, to * self.cols);
        }
        self.rows = kept.len();
        self.data.truncate(self.rows * self.cols);
    }
}

/// Buffers waiting to be used again: a layer needs the same few sizes as the one before it, and fresh
/// memory costs a page fault every 4 KiB.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    free: Vec<Vec<f32>>,
}

impl Scratch {
    /// A matrix with unspecified contents.
    pub(crate) fn take(&mut self, rows: usize, cols: usize) -> Matrix {
        let len = rows * cols;
        let best = (0..self.free.len())
            .filter(|&i| self.free[i].capacity() >= len)
            .min_by_key(|&i| self.free[i].capacity());
        let mut data = match best {
            Some(i) => self.free.swap_remove(i),
            None => self.free.pop().unwrap_or_default(),
        };
        data.resize(len, 0.0);
        Matrix { rows, cols, data }
    }

    /// Gives a matrix's buffer back.
    pub(crate) fn give(&mut self, matrix: Matrix) {
        self.free.push(matrix.data);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_rows_move_to_the_front() {
        let mut m = Matrix {
            rows: 4,
            cols: 2,
            data: (0..8).map(|i| i as f32).collect(),
        };
        m.keep_rows(&[1, 3]);
        assert_eq!((m.rows, m.data), (2, vec![2.0, 3.0, 6.0, 7.0]));
    }

    #[test]
    fn buffers_are_reused() {
        let mut scratch = Scratch::default();
        let big = scratch.take(100, 10);
        let at = big.data.as_ptr();
        scratch.give(big);
        let again = scratch.take(50, 10);
        assert_eq!(again.data.as_ptr(), at);
        assert_eq!(again.data.len(), 500);
    }
}
