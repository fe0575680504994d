//! Selections of the rows of a stored tensor that become the rows of an output, in order.

use std::ops::Range;

use serde_json::{Map, Value};

use crate::Result;
use crate::arch::Hparams;

/// `config.json` of the text model, completed with the defaults of its `model_type` where that is a known one.
pub type Config = Map<String, Value>;

/// Rows of a stored tensor, given the configuration and how many there are: ranges one after the other.
pub type ChooseRows = fn(&Config, u64) -> Result<Vec<Range<u64>>, String>;

/// Most runs of rows that one tensor is put together from.
const MAX_RUNS: usize = 1 << 16;
/// Nested counters over stored rows.
const DEPTH: usize = 4;

/// Rows at `start + i * stride_0 + j * stride_1 …`, the last counter running fastest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Strided {
    pub(crate) start: u64,
    /// (count, stride), outermost first.
    dims: [(u64, u64); DEPTH],
}

impl Strided {
    /// Counters are given outermost first; at most four.
    pub(crate) fn new(start: u64, counters: &[(u64, u64)]) -> Self {
        let mut dims = [(1, 0); DEPTH];
        let first = DEPTH.saturating_sub(counters.len());
        for (to, from) in dims[first..].iter_mut().zip(counters) {
            *to = *from;
        }
        Self { start, dims }
    }

    /// `count` rows that follow one another.
    pub(crate) fn range(start: u64, count: u64) -> Self {
        Self::new(start, &[(count, 1)])
    }

    /// Number of rows; saturates.
    pub(crate) fn len(&self) -> u64 {
        self.dims.iter().fold(1, |n, d| u64::saturating_mul(n, d.0))
    }

    /// The stored row of output row `at`, and how many follow it in both.
    pub(crate) fn locate(&self, at: u64) -> (u64, u64) {
        let (inner, stride) = self.dims[DEPTH - 1];
        let length = if stride == 1 { inner - at % inner } else { 1 };
        let (mut rest, mut row) = (at, self.start);
        for (count, stride) in self.dims.iter().rev() {
            row += rest % count * stride;
            rest /= count;
        }
        (row, length)
    }

    /// The counters with their strides, outermost first.
    pub(crate) fn counters(&self) -> &[(u64, u64)] {
        &self.dims
    }

    /// The last stored row, `None` when there is no row or it overflows.
    fn last(&self) -> Option<u64> {
        self.dims.iter().try_fold(self.start, |row, (count, stride)| {
            row.checked_add(count.checked_sub(1)?.checked_mul(*stride)?)
        })
    }
}

/// Runs of stored rows, one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rows(pub(crate) Vec<Strided>);

impl Rows {
    /// `count` rows from `start` on.
    pub(crate) fn range(start: u64, count: u64) -> Self {
        Self(vec![Strided::range(start, count)])
    }

    /// `heads` heads of `head` rows from row `start` on, each stored as its even rows, then its odd ones.
    pub(crate) fn interleaved(start: u64, heads: u64, head: u64) -> Self {
        Self(vec![Strided::new(
            start,
            &[(heads, head), (head / 2, 1), (2, head / 2)],
        )])
    }

    /// Whether every row is one of `stored`.
    pub(crate) fn fit(&self, stored: u64) -> bool {
        !self.0.is_empty() && self.0.iter().all(|s| s.last().is_some_and(|last| last < stored))
    }

    /// Number of rows; saturates.
    pub(crate) fn len(&self) -> u64 {
        self.0.iter().fold(0, |n, s| n.saturating_add(s.len()))
    }
}

/// Rows of queries, keys or values in one matrix that holds all queries, then all keys, then all values. `which` is 0,
/// 1 or 2.
pub(in crate::arch) fn fused_part(hp: &Hparams, which: u64) -> Result<Rows> {
    let (heads, kv) = hp.heads()?;
    let (heads, kv, dim) = (u64::from(heads), u64::from(kv), u64::from(hp.head_dim()?));
    Ok(match which {
        0 => Rows::range(0, heads * dim),
        1 => Rows::range(heads * dim, kv * dim),
        _ => Rows::range((heads + kv) * dim, kv * dim),
    })
}

/// Rows stored head by head as (query, key, value), as all queries, then all keys, then all values.
pub(in crate::arch) fn by_head(heads: u64, head: u64) -> Rows {
    Rows(vec![Strided::new(0, &[(3, head), (heads, 3 * head), (head, 1)])])
}

/// Groups of query heads, each followed by its key and its value head, as all queries, then all keys, then
/// all values.
pub(in crate::arch) fn by_group(heads: u64, groups: u64, head: u64) -> Rows {
    let queries = heads / groups;
    let group = (queries + 2) * head;
    Rows(vec![
        Strided::new(0, &[(groups, group), (queries * head, 1)]),
        Strided::new(queries * head, &[(groups, group), (head, 1)]),
        Strided::new((queries + 1) * head, &[(groups, group), (head, 1)]),
    ])
}

/// The first and the second half of the rows.
pub(in crate::arch) fn first_half(_: &Hparams, rows: u64) -> Result<Rows> {
    Ok(Rows::range(0, rows / 2))
}

/// See [`first_half`].
pub(in crate::arch) fn second_half(_: &Hparams, rows: u64) -> Result<Rows> {
    Ok(Rows::range(rows / 2, rows - rows / 2))
}

/// The rows that a rule of a program chooses.
pub(crate) fn chosen(choose: ChooseRows, hp: &Hparams, stored: u64) -> Result<Rows> {
    let ranges = choose(hp.values(), stored).map_err(|message| hp.error(message))?;
    if ranges.len() > MAX_RUNS {
        return Err(hp.error(format!(
            "expected at most {MAX_RUNS} runs of rows, found {}",
            ranges.len()
        )));
    }
    let run = |range: Range<u64>| Strided::range(range.start, range.end.saturating_sub(range.start));
    Ok(Rows(ranges.into_iter().map(run).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(rows: &Rows) -> Vec<u64> {
        let one = |s: &Strided| (0..s.len()).map(|at| s.locate(at).0).collect::<Vec<_>>();
        rows.0.iter().flat_map(one).collect()
    }

    #[test]
    fn heads_are_interleaved() {
        assert_eq!(listed(&Rows::interleaved(1, 2, 4)), [1, 3, 2, 4, 5, 7, 6, 8]);
    }

    #[test]
    fn fused_rows_are_sorted_by_kind() {
        assert_eq!(listed(&by_head(2, 2)), [0, 1, 6, 7, 2, 3, 8, 9, 4, 5, 10, 11]);
        assert_eq!(listed(&by_group(4, 2, 1)), [0, 1, 4, 5, 2, 6, 3, 7]);
    }

    #[test]
    fn runs_end_where_the_rows_jump() {
        let rows = Strided::new(5, &[(2, 10), (4, 1)]);
        assert_eq!((rows.locate(1), rows.locate(4)), ((6, 3), (15, 4)));
    }

    #[test]
    fn rows_that_are_not_there_do_not_fit() {
        assert!(Rows::range(2, 3).fit(5) && !Rows::range(3, 3).fit(5));
        assert!(!Rows::range(0, 0).fit(5));
        assert!(!Rows(vec![Strided::new(0, &[(u64::MAX, u64::MAX)])]).fit(5));
    }
}
