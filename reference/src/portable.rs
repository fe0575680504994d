//! Matrix products that give the same bits on every machine.
//!
//! Each element is one chain of fused multiply-adds in the order of the inner dimension. Vectors hold neighbouring
//! columns, so neither their width nor the number of threads changes a bit; a machine without fused multiply-adds
//! computes them in software, slowly. Whatever is written to a file from the forward pass goes through these.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::LazyLock;

use rayon::prelude::*;

/// Runs `work` compiled for the widest vectors that the machine has, or for none where `QUANTSMITH_ISA` forces scalar
/// code. It and what it calls have to be inlined (`#[inline(always)]`) to take part. No operation is fused or
/// reordered, so results are the same.
#[inline(always)]
pub fn wide<R>(work: impl FnOnce() -> R) -> R {
    static SCALAR: LazyLock<bool> = LazyLock::new(|| quants::Isa::active() == quants::Isa::Scalar);
    if *SCALAR { work() } else { crate::wide::wide(work) }
}

/// Whether the machine multiplies and adds at once in vectors, and is allowed to.
pub(crate) fn fuses() -> bool {
    static FUSES: LazyLock<bool> = LazyLock::new(|| {
        #[cfg(target_arch = "x86_64")]
        let machine = !matches!(pulp::Arch::new(), pulp::Arch::Scalar);
        #[cfg(not(target_arch = "x86_64"))]
        let machine = cfg!(target_arch = "aarch64");
        machine && quants::Isa::active() != quants::Isa::Scalar
    });
    *FUSES
}

/// Whether a vector of the machine holds sixteen numbers.
fn vectors_of_sixteen() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        static WIDEST: LazyLock<bool> = LazyLock::new(|| matches!(pulp::Arch::new(), pulp::Arch::V4(_)));
        *WIDEST
    }
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// Rows and columns of the result that are computed together.
const ROWS: usize = 6;
const COLUMNS: usize = 16;
/// Rows that a thread takes at a time.
const SHARE: usize = 8 * ROWS;

thread_local! {
    /// Rows of the left operand, rearranged.
    static PACKED: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// A matrix as strides in a slice: element (r, c) at `r * row_stride + c * column_stride`.
#[derive(Clone, Copy, Debug)]
pub struct Strided<'a> {
    /// The elements.
    pub data: &'a [f32],
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub columns: usize,
    /// Distance from a row to the next.
    pub row_stride: usize,
    /// Distance from a column to the next.
    pub column_stride: usize,
}

impl<'a> Strided<'a> {
    /// Rows one after another.
    pub fn rows(data: &'a [f32], rows: usize, columns: usize) -> Self {
        Self {
            data,
            rows,
            columns,
            row_stride: columns,
            column_stride: 1,
        }
    }

    /// The transposed matrix.
    #[must_use]
    pub fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }
}

/// The right operand of products, rearranged: panels of a few columns, each row after row.
#[derive(Clone, Debug, Default)]
pub struct Panels {
    /// Rows: the inner dimension of products.
    depth: usize,
    columns: usize,
    data: Vec<f32>,
}

impl Panels {
    /// Columns in a panel.
    pub const COLUMNS: usize = COLUMNS;

    /// Rows that are multiplied together.
    pub(crate) const ROWS: usize = ROWS;

    /// Rearranges a matrix.
    ///
    /// # Panics
    /// When an element would lie outside its slice.
    pub fn new(matrix: Strided<'_>) -> Self {
        let mut panels = Self::default();
        panels.resize(matrix);
        if panels.depth > 0 {
            panels
                .data
                .par_chunks_exact_mut(panels.depth * COLUMNS)
                .enumerate()
                .for_each(|(panel, data)| fill(matrix, panel * COLUMNS, data));
        }
        panels
    }

    /// Rearranges another matrix in the same memory, on this thread.
    ///
    /// # Panics
    /// As [`Self::new`].
    pub(crate) fn refill(&mut self, matrix: Strided<'_>) {
        self.resize(matrix);
        if self.depth > 0 {
            for (panel, data) in self.data.chunks_exact_mut(self.depth * COLUMNS).enumerate() {
                fill(matrix, panel * COLUMNS, data);
            }
        }
    }

    fn resize(&mut self, matrix: Strided<'_>) {
        (self.depth, self.columns) = (matrix.rows, matrix.columns);
        self.data
            .resize(self.depth * self.columns.next_multiple_of(COLUMNS), 0.0);
    }

    /// Columns of the matrix.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// `out = factor * lhs * self` for some of the columns, which begin with a panel, over the first
    /// `lhs.columns` rows of this matrix. `out` has rows of `columns.len()` numbers, `stride` apart.
    ///
    /// # Panics
    /// When the shapes do not fit together.
    pub fn multiply(
        &self,
        lhs: Strided<'_>,
        columns: Range<usize>,
        out: &mut [f32],
        stride: usize,
        factor: f32,
    ) {
        assert!(lhs.columns <= self.depth && columns.end <= self.columns, "shapes");
        assert!(columns.start.is_multiple_of(COLUMNS), "whole panels");
        let depth = lhs.columns;
        PACKED.with_borrow_mut(|packed| {
            for first_row in (0..lhs.rows).step_by(ROWS) {
                let rows = ROWS.min(lhs.rows - first_row);
                let out = &mut out[first_row * stride..];
                if lhs.column_stride == 1 {
                    // A row that is missing at the end is another once more.
                    let row = |row: usize| {
                        let at = (first_row + row.min(rows - 1)) * lhs.row_stride;
                        &lhs.data[at..at + depth]
                    };
                    // Made inside, where the compiler sees that rows are of one length.
                    wide(
                        #[inline(always)]
                        || {
                            let left = InRows(std::array::from_fn(row));
                            self.multiply_rows(left, rows, columns.clone(), out, stride, factor);
                        },
                    );
                } else {
                    packed.resize(ROWS * depth, 0.0);
                    pack_rows(lhs, first_row, rows, packed);
                    let left = Packed(packed.as_chunks::<ROWS>().0);
                    wide(
                        #[inline(always)]
                        || self.multiply_rows(left, rows, columns.clone(), out, stride, factor),
                    );
                }
            }
        });
    }

    /// [`Self::multiply`] for the first `rows` rows of a few.
    #[inline(always)]
    fn multiply_rows(
        &self,
        left: impl Left,
        rows: usize,
        columns: Range<usize>,
        out: &mut [f32],
        stride: usize,
        factor: f32,
    ) {
        let panel = |first: usize| {
            let panel = &self.data[first / COLUMNS * self.depth * COLUMNS..];
            &panel.as_chunks::<COLUMNS>().0[..left.depth()]
        };
        let mut put = |first: usize, sums: &[[f32; COLUMNS]; ROWS]| {
            let at = first - columns.start;
            for (row, sums) in sums[..rows].iter().enumerate() {
                let out = &mut out[row * stride + at..];
                // A whole panel's columns are written without a loop.
                match out.first_chunk_mut::<COLUMNS>() {
                    Some(out) if first + COLUMNS <= columns.end => *out = sums.map(|sum| factor * sum),
                    _ => {
                        let count = COLUMNS.min(columns.end - first);
                        for (out, sum) in out[..count].iter_mut().zip(sums) {
                            *out = factor * sum;
                        }
                    }
                }
            }
        };
        let both = vectors_of_sixteen();
        let mut first = columns.start;
        while first < columns.end {
            // Six sums at a time are too few where one vector holds a panel's row.
            let next = first + COLUMNS;
            if both && next < columns.end {
                let [one, two] = two_tiles(left, panel(first), panel(next));
                put(first, &one);
                put(next, &two);
                first = next + COLUMNS;
                continue;
            }
            let sums = tile(left, panel(first));
            put(first, &sums);
            first = next;
        }
    }
}

/// A few rows of the left operand.
trait Left: Copy {
    /// Numbers of a row.
    fn depth(self) -> usize;

    /// Of each row the number at `index`, which is below [`Self::depth`].
    fn column(self, index: usize) -> [f32; ROWS];
}

/// Rows as they lie, all of one length.
#[derive(Clone, Copy)]
struct InRows<'a>([&'a [f32]; ROWS]);

impl Left for InRows<'_> {
    #[inline(always)]
    fn depth(self) -> usize {
        self.0[0].len()
    }

    #[inline(always)]
    fn column(self, index: usize) -> [f32; ROWS] {
        // Written out: `map` is a call in a build that checks for overflow.
        let [a, b, c, d, e, f] = self.0;
        [a[index], b[index], c[index], d[index], e[index], f[index]]
    }
}

/// Rows side by side.
#[derive(Clone, Copy)]
struct Packed<'a>(&'a [[f32; ROWS]]);

impl Left for Packed<'_> {
    #[inline(always)]
    fn depth(self) -> usize {
        self.0.len()
    }

    #[inline(always)]
    fn column(self, index: usize) -> [f32; ROWS] {
        self.0[index]
    }
}

/// One panel, the columns of `matrix` from `first` on; those that are missing at its end are 0.
fn fill(matrix: Strided<'_>, first: usize, panel: &mut [f32]) {
    let count = COLUMNS.min(matrix.columns - first);
    let panel = panel.as_chunks_mut::<COLUMNS>().0;
    if count < COLUMNS {
        panel.fill([0.0; COLUMNS]);
    }
    if matrix.row_stride == 1 {
        let column = |index: usize| {
            let at = (first + index) * matrix.column_stride;
            &matrix.data[at..at + matrix.rows]
        };
        // Four columns at a time, which are one store.
        for quad in (0..count - count % 4).step_by(4) {
            let columns: [&[f32]; 4] = std::array::from_fn(|i| column(quad + i));
            for (k, row) in panel.iter_mut().enumerate() {
                let four = columns.map(|column| column[k]);
                row[quad..quad + 4].copy_from_slice(&four);
            }
        }
        for index in count - count % 4..count {
            for (row, x) in panel.iter_mut().zip(column(index)) {
                row[index] = *x;
            }
        }
        return;
    }
    for (k, row) in panel.iter_mut().enumerate() {
        let at = k * matrix.row_stride + first * matrix.column_stride;
        if matrix.column_stride == 1 {
            row[..count].copy_from_slice(&matrix.data[at..at + count]);
            continue;
        }
        for (c, x) in row[..count].iter_mut().enumerate() {
            *x = matrix.data[at + c * matrix.column_stride];
        }
    }
}

fn pack_rows(lhs: Strided<'_>, first: usize, rows: usize, packed: &mut [f32]) {
    if rows < ROWS {
        packed.fill(0.0);
    }
    let packed = packed.as_chunks_mut::<ROWS>().0;
    if lhs.row_stride == 1 {
        for (k, packed) in packed.iter_mut().enumerate() {
            let at = first + k * lhs.column_stride;
            packed[..rows].copy_from_slice(&lhs.data[at..at + rows]);
        }
        return;
    }
    for row in 0..rows {
        let at = (first + row) * lhs.row_stride;
        for (k, packed) in packed.iter_mut().enumerate() {
            packed[row] = lhs.data[at + k * lhs.column_stride];
        }
    }
}

/// A few rows times a few columns.
#[inline(always)]
fn tile(left: impl Left, panel: &[[f32; COLUMNS]]) -> [[f32; COLUMNS]; ROWS] {
    let mut sums = [[0.0f32; COLUMNS]; ROWS];
    for (k, b) in panel[..left.depth()].iter().enumerate() {
        let a = left.column(k);
        for i in 0..ROWS {
            for j in 0..COLUMNS {
                sums[i][j] = a[i].mul_add(b[j], sums[i][j]);
            }
        }
    }
    sums
}

/// The same for two panels, whose sums are as independent.
#[inline(always)]
fn two_tiles(left: impl Left, one: &[[f32; COLUMNS]], two: &[[f32; COLUMNS]]) -> [[[f32; COLUMNS]; ROWS]; 2] {
    let mut sums = [[[0.0f32; COLUMNS]; ROWS]; 2];
    let depth = left.depth();
    for (k, (b, c)) in one[..depth].iter().zip(&two[..depth]).enumerate() {
        let a = left.column(k);
        for i in 0..ROWS {
            for j in 0..COLUMNS {
                sums[0][i][j] = a[i].mul_add(b[j], sums[0][i][j]);
            }
            for j in 0..COLUMNS {
                sums[1][i][j] = a[i].mul_add(c[j], sums[1][i][j]);
            }
        }
    }
    sums
}

/// `out = factor * lhs * rhs`; rows of `out` are `stride` apart. `threads`: whether those of the current pool may
/// share the work.
///
/// # Panics
/// When the shapes do not fit together.
pub fn multiply(
    lhs: Strided<'_>,
    rhs: Strided<'_>,
    out: &mut [f32],
    stride: usize,
    factor: f32,
    threads: bool,
) {
    assert_eq!(lhs.columns, rhs.rows, "inner dimension");
    if lhs.rows == 0 || rhs.columns == 0 {
        return;
    }
    let panels = Panels::new(rhs);
    let share = if threads { SHARE } else { lhs.rows };
    let work = |(index, out): (usize, &mut [f32])| {
        let first = index * share;
        let part = Strided {
            data: &lhs.data[first * lhs.row_stride..],
            rows: share.min(lhs.rows - first),
            ..lhs
        };
        panels.multiply(part, 0..rhs.columns, out, stride, factor);
    };
    // The last row may end with its last column.
    let rows = lhs.rows.div_ceil(share);
    if threads {
        out.par_chunks_mut(share * stride)
            .enumerate()
            .take(rows)
            .for_each(work);
    } else {
        out.chunks_mut(share * stride)
            .enumerate()
            .take(rows)
            .for_each(work);
    }
}

/// Adds the products of all pairs of columns of `rows` (rows of `columns` numbers) to the upper triangle of `sums`,
/// `columns` x `columns`.
///
/// # Panics
/// When the lengths do not fit together.
pub fn add_gram(rows: &[f32], columns: usize, sums: &mut [f32]) {
    assert_eq!(sums.len(), columns * columns, "a square of sums");
    let count = rows.len() / columns.max(1);
    if count == 0 {
        return;
    }
    let matrix = Strided::rows(rows, count, columns);
    let panels = Panels::new(matrix);
    // Blocks of rows that begin with a panel: what is left of the diagonal by less than a panel is computed too.
    let share = 3 * COLUMNS;
    sums.par_chunks_mut(share * columns)
        .enumerate()
        .for_each(|(index, sums)| {
            let first = index * share;
            let part = Strided {
                data: &rows[first..],
                rows: share.min(columns - first),
                columns: count,
                row_stride: 1,
                column_stride: columns,
            };
            let width = columns - first;
            let mut out = vec![0.0; part.rows * width];
            panels.multiply(part, first..columns, &mut out, width, 1.0);
            for (sums, out) in sums.chunks_mut(columns).zip(out.chunks(width)) {
                for (sum, x) in sums[first..].iter_mut().zip(out) {
                    *sum += x;
                }
            }
        });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(count: usize, seed: usize) -> Vec<f32> {
        (0..count)
            .map(|i| ((i * 7919 + seed * 104_729) % 1009) as f32 / 504.5 - 1.0)
            .collect()
    }

    #[test]
    fn products_are_the_same_chain_everywhere() {
        for (m, n, k) in [(1, 1, 1), (5, 17, 9), (50, 40, 33), (101, 3, 64)] {
            let (a, b) = (numbers(m * k, 1), numbers(k * n, 2));
            let mut want = vec![0.0f32; m * n];
            for i in 0..m {
                for j in 0..n {
                    want[i * n + j] = (0..k).fold(0.0, |sum, t| a[i * k + t].mul_add(b[t * n + j], sum));
                }
            }
            for threads in [false, true] {
                let mut got = vec![f32::NAN; m * n];
                multiply(
                    Strided::rows(&a, m, k),
                    Strided::rows(&b, k, n),
                    &mut got,
                    n,
                    1.0,
                    threads,
                );
                assert_eq!(got, want, "{m}x{n}x{k}");
            }
        }
    }

    #[test]
    fn grams_are_sums_over_rows() {
        for (rows, columns) in [(3, 5), (40, 70), (7, 160)] {
            let x = numbers(rows * columns, 3);
            let mut sums = vec![0.0; columns * columns];
            add_gram(&x, columns, &mut sums);
            for i in 0..columns {
                for j in i..columns {
                    let want = (0..rows).fold(0.0f32, |sum, t| {
                        x[t * columns + i].mul_add(x[t * columns + j], sum)
                    });
                    assert_eq!(sums[i * columns + j], want, "{i} {j}");
                }
            }
        }
    }
}
