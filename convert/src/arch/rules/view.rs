//! Rearrangements of a stored tensor that go beyond whole rows: dimensions split, exchanged and cut.

/// A stored tensor seen through strides: output element (i, j, …) is stored element `start + i * stride_0 + j *
/// stride_1 …`. Dimensions are outermost first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct View {
    /// Elements in the stored tensor.
    stored: u64,
    start: u64,
    dims: Vec<(u64, u64)>,
    /// The shape of the output, when it is not that of the counters.
    shape: Option<Vec<u64>>,
}

impl View {
    /// The tensor as it is stored. `None` when its size overflows.
    pub(crate) fn of(shape: &[u64]) -> Option<Self> {
        let mut stride = 1u64;
        let mut dims = Vec::with_capacity(shape.len());
        for &length in shape.iter().rev() {
            dims.push((length, stride));
            stride = stride.checked_mul(length)?;
        }
        dims.reverse();
        Some(Self {
            stored: stride,
            start: 0,
            dims,
            shape: None,
        })
    }

    /// Splits a dimension into `outer` parts of equal length, or `None` when that does not come out even.
    pub(crate) fn split(mut self, dim: usize, outer: u64) -> Option<Self> {
        let &(length, stride) = self.dims.get(dim)?;
        if outer == 0 || !length.is_multiple_of(outer) {
            return None;
        }
        let inner = length / outer;
        self.dims[dim] = (inner, stride);
        self.dims.insert(dim, (outer, stride * inner));
        Some(self)
    }

    /// Exchanges two dimensions.
    pub(crate) fn swap(mut self, a: usize, b: usize) -> Option<Self> {
        if a.max(b) >= self.dims.len() {
            return None;
        }
        self.dims.swap(a, b);
        Some(self)
    }

    /// Of a stack of matrices that are stored with rows and columns exchanged, the first or second half of the
    /// rows.
    pub(crate) fn half_of_stack(self, which: u64) -> Option<Self> {
        let rows = self.dims.get(2)?.0 / 2;
        self.cut(2, which * rows, rows)?.swap(1, 2)
    }

    /// Of a dimension, `length` places from `start` on.
    pub(crate) fn cut(mut self, dim: usize, start: u64, length: u64) -> Option<Self> {
        let (whole, stride) = self.dims.get_mut(dim)?;
        if length == 0 || start.checked_add(length)? > *whole {
            return None;
        }
        *whole = length;
        self.start += start * *stride;
        Some(self)
    }

    /// The whole several times over, along a new outermost dimension.
    pub(crate) fn repeated(mut self, times: u64) -> Option<Self> {
        self.len().checked_mul(times).filter(|&n| n > 0)?;
        self.dims.insert(0, (times, 0));
        Some(self)
    }

    /// Of a dimension, every `step`th place from `start` on.
    pub(crate) fn every(self, dim: usize, start: u64, step: u64) -> Option<Self> {
        let &(length, _) = self.dims.get(dim)?;
        if step == 0 || !length.is_multiple_of(step) {
            return None;
        }
        let view = self.split(dim, length / step)?.cut(dim + 1, start, 1)?;
        view.without(dim + 1)
    }

    /// Leaves out a dimension of length 1.
    pub(crate) fn without(mut self, dim: usize) -> Option<Self> {
        (self.dims.get(dim)?.0 == 1).then(|| {
            self.dims.remove(dim);
            self
        })
    }

    /// Gives the output this shape (outermost dimension first), with the elements in the same order.
    pub(crate) fn shaped(mut self, shape: &[u64]) -> Option<Self> {
        let elements = shape.iter().try_fold(1u64, |n, &d| n.checked_mul(d))?;
        (elements == self.len() && elements > 0).then(|| {
            self.shape = Some(shape.to_vec());
            self
        })
    }

    /// A matrix of rows of `inputs` that is the product of two with `rank` between them: what its rearrangement
    /// does to the left one's rows, and to the right one's columns. `None` where it is no matrix any more, or its
    /// rows and columns do not stay apart.
    pub(crate) fn sides(&self, inputs: u64, rank: u64) -> Option<(Self, Self)> {
        if inputs == 0 || rank == 0 {
            return None;
        }
        let &[rows, columns] = &self.shape()[..] else {
            return None;
        };
        // Within a row of `inputs` elements, strides are below `inputs` and never lead out of it.
        let is_column = |&&(length, stride): &&(u64, u64)| stride < inputs && length > 1;
        let reach: u64 = self
            .dims
            .iter()
            .filter(is_column)
            .map(|(n, stride)| (n - 1) * stride)
            .sum();
        let start = self.start % inputs;
        if start + reach >= inputs {
            return None;
        }
        let first = self
            .dims
            .iter()
            .position(|d| is_column(&d))
            .unwrap_or(self.dims.len());
        let (outer, inner) = self.dims.split_at(first);
        let whole_rows = |d: &(u64, u64)| d.0 == 1 || d.1.is_multiple_of(inputs);
        if !outer.iter().all(whole_rows) || inner.iter().any(|&(n, stride)| n > 1 && stride >= inputs) {
            return None;
        }
        let count = |dims: &[(u64, u64)]| dims.iter().map(|d| d.0).product::<u64>();
        if count(outer) != rows || count(inner) != columns {
            return None;
        }
        let stored_rows = self.stored / inputs;
        let mut left: Vec<(u64, u64)> = outer.iter().map(|&(n, s)| (n, s / inputs * rank)).collect();
        left.push((rank, 1));
        let mut right = vec![(rank, inputs)];
        right.extend(inner);
        Some((
            Self {
                stored: stored_rows.checked_mul(rank)?,
                start: self.start / inputs * rank,
                dims: left,
                shape: Some(vec![rows, rank]),
            },
            Self {
                stored: inputs.checked_mul(rank)?,
                start,
                dims: right,
                shape: Some(vec![rank, columns]),
            },
        ))
    }

    /// Elements of the output.
    pub(crate) fn len(&self) -> u64 {
        self.dims.iter().map(|d| d.0).product()
    }

    /// The shape of the output, outermost dimension first.
    pub(crate) fn shape(&self) -> Vec<u64> {
        let counters = || self.dims.iter().map(|d| d.0).collect();
        self.shape.clone().unwrap_or_else(counters)
    }

    /// The first stored element.
    pub(crate) fn start(&self) -> u64 {
        self.start
    }

    /// The counters with their strides, outermost first.
    pub(crate) fn counters(&self) -> &[(u64, u64)] {
        &self.dims
    }

    /// The view as runs of its innermost dimensions.
    pub(crate) fn walk(&self) -> Walk {
        let mut dims: Vec<(u64, u64)> = Vec::with_capacity(self.dims.len());
        for &(length, stride) in self.dims.iter().filter(|d| d.0 > 1) {
            match dims.last_mut() {
                // Two dimensions that together count evenly are one.
                Some(last) if last.1 == stride * length => *last = (last.0 * length, stride),
                _ => dims.push((length, stride)),
            }
        }
        let inner = dims.pop().unwrap_or((1, 1));
        Walk {
            start: self.start,
            outer: dims,
            inner,
        }
    }
}

/// A [`View`] with as few dimensions as it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Walk {
    start: u64,
    outer: Vec<(u64, u64)>,
    inner: (u64, u64),
}

impl Walk {
    /// Stored elements between neighbours of a run.
    pub(crate) fn step(&self) -> u64 {
        self.inner.1
    }

    /// The dimension outside of the runs: runs that follow one another and the distance of their stored
    /// elements.
    pub(crate) fn beside(&self) -> (u64, u64) {
        self.outer.last().copied().unwrap_or((1, 0))
    }

    /// Whether the place of every run is as asked.
    pub(crate) fn starts_are(&self, holds: impl Fn(u64) -> bool) -> bool {
        holds(self.start) && self.outer.iter().all(|d| holds(d.1))
    }

    /// Elements in a run.
    pub(crate) fn run(&self) -> u64 {
        self.inner.0
    }

    /// The stored element of output element `at`.
    pub(crate) fn locate(&self, at: u64) -> u64 {
        let (length, stride) = self.inner;
        let mut stored = self.start + at % length * stride;
        let mut rest = at / length;
        for (length, stride) in self.outer.iter().rev() {
            stored += rest % length * stride;
            rest /= length;
        }
        stored
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(view: &View) -> Vec<u64> {
        let walk = view.walk();
        (0..view.len()).map(|at| walk.locate(at)).collect()
    }

    #[test]
    fn dimensions_are_split_exchanged_and_cut() {
        // Two heads of three rows, of which the last two, transposed; rows of two elements.
        let view = View::of(&[6, 2]).unwrap().split(0, 2).unwrap();
        let view = view.cut(1, 1, 2).unwrap().swap(1, 2).unwrap();
        assert_eq!(view.shape(), [2, 2, 2]);
        assert_eq!(listed(&view), [2, 4, 3, 5, 8, 10, 9, 11]);
        let shaped = view.shaped(&[8]).unwrap();
        assert_eq!(shaped.shape(), [8]);
    }

    #[test]
    fn every_other_place() {
        let view = View::of(&[2, 4]).unwrap().every(1, 1, 2).unwrap();
        assert_eq!((view.shape(), listed(&view)), (vec![2, 2], vec![1, 3, 5, 7]));
        assert_eq!(view.walk().run(), 4);
    }

    #[test]
    fn the_same_places_again() {
        let view = View::of(&[2, 2]).unwrap().cut(0, 1, 1).unwrap();
        let view = view.without(0).unwrap().repeated(3).unwrap();
        assert_eq!(
            (view.shape(), listed(&view)),
            (vec![3, 2], vec![2, 3, 2, 3, 2, 3])
        );
        assert!(View::of(&[2, 2]).unwrap().repeated(u64::MAX).is_none());
    }

    #[test]
    fn whole_tensors_are_one_run() {
        let walk = View::of(&[3, 4, 5]).unwrap().walk();
        assert_eq!((walk.run(), walk.step()), (60, 1));
    }

    #[test]
    fn sides_of_a_product_follow_rows_and_columns() {
        let whole = || View::of(&[4, 6]).unwrap();
        // Columns (2 x 3) exchanged; the last two rows.
        let view = whole()
            .split(1, 2)
            .unwrap()
            .swap(1, 2)
            .unwrap()
            .cut(0, 2, 2)
            .unwrap();
        let (left, right) = view.shaped(&[2, 6]).unwrap().sides(6, 2).unwrap();
        assert_eq!((left.shape(), listed(&left)), (vec![2, 2], vec![4, 5, 6, 7]));
        assert_eq!(right.shape(), [2, 6]);
        assert_eq!(listed(&right), [0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11]);
        let (left, right) = whole().sides(6, 1).unwrap();
        assert_eq!(
            (listed(&left), listed(&right)),
            ((0..4).collect(), (0..6).collect())
        );
        // Exchanged, stacked, or over the ends of rows: no product of two matrices.
        assert!(whole().swap(0, 1).unwrap().sides(6, 1).is_none());
        assert!(whole().split(0, 2).unwrap().sides(6, 1).is_none());
        assert!(whole().shaped(&[3, 8]).unwrap().sides(6, 1).is_none());
        assert!(whole().shaped(&[24]).unwrap().sides(6, 1).is_none());
    }

    #[test]
    fn what_does_not_come_out_even_is_refused() {
        let view = || View::of(&[6, 2]).unwrap();
        assert!(view().split(0, 4).is_none() && view().split(0, 0).is_none() && view().split(2, 1).is_none());
        assert!(view().cut(0, 5, 2).is_none() && view().cut(0, u64::MAX, 2).is_none());
        assert!(view().swap(0, 2).is_none() && view().without(0).is_none());
        assert!(view().shaped(&[13]).is_none() && view().every(0, 0, 4).is_none());
        assert!(View::of(&[u64::MAX, 2]).is_none());
    }
}
