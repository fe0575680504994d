//! The share of a stored tensor that its outputs take.

use crate::arch::{Rows, View};

/// Most separate runs that are told apart; beyond them elements are only counted.
const MAX_RUNS: u64 = 1 << 16;

/// Elements of one stored tensor that go into outputs.
#[derive(Debug, Default)]
pub(super) struct Coverage {
    /// Whether one output takes all there is.
    whole: bool,
    /// First element and length of each run; they may overlap.
    runs: Vec<(u64, u64)>,
    /// Elements of selections that are too scattered to be told apart.
    counted: u64,
}

impl Coverage {
    /// Notes that an output takes all.
    pub(super) fn whole(&mut self) {
        self.whole = true;
    }

    /// Notes rows of `unit` elements each.
    pub(super) fn rows(&mut self, rows: &Rows, unit: u64) {
        for strided in &rows.0 {
            let mut counters: Vec<(u64, u64)> = strided
                .counters()
                .iter()
                .map(|&(count, stride)| (count, stride.saturating_mul(unit)))
                .collect();
            counters.push((unit, 1));
            self.add(strided.start.saturating_mul(unit), counters);
        }
    }

    /// Notes what a view shows.
    pub(super) fn view(&mut self, view: &View) {
        self.add(view.start(), view.counters().to_vec());
    }

    /// Counters in any order: only what they reach counts.
    fn add(&mut self, start: u64, mut counters: Vec<(u64, u64)>) {
        counters.retain(|c| c.0 != 1);
        counters.sort_unstable_by_key(|c| c.1);
        let joined = counters
            .iter()
            .scan(1u64, |run, &(count, stride)| {
                let follows = *run == stride;
                *run = run.saturating_mul(count);
                follows.then_some(*run)
            })
            .collect::<Vec<_>>();
        let length = joined.last().copied().unwrap_or(1);
        let outer = counters.split_off(joined.len());
        let runs = outer.iter().fold(1u64, |n, c| n.saturating_mul(c.0));
        if runs > MAX_RUNS {
            self.counted = self.counted.saturating_add(runs.saturating_mul(length));
            return;
        }
        for mut number in 0..runs {
            let mut at = start;
            for &(count, stride) in &outer {
                at = at.saturating_add((number % count).saturating_mul(stride));
                number /= count;
            }
            self.runs.push((at, length));
        }
    }

    /// How many of the `stored` elements are taken.
    pub(super) fn taken(&self, stored: u64) -> u64 {
        if self.whole {
            return stored;
        }
        let mut runs = self.runs.clone();
        runs.sort_unstable();
        let (mut taken, mut end) = (self.counted, 0);
        for (start, length) in runs {
            let stop = start.saturating_add(length);
            taken = taken.saturating_add(stop.saturating_sub(start.max(end)));
            end = end.max(stop);
        }
        taken.min(stored)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::Strided;

    #[test]
    fn order_does_not_matter_and_overlaps_count_once() {
        let mut coverage = Coverage::default();
        coverage.rows(&Rows::interleaved(0, 2, 4), 3);
        assert_eq!(coverage.taken(24), 24);
        assert_eq!(coverage.runs.len(), 1);
        coverage.rows(&Rows::range(6, 3), 3);
        assert_eq!(coverage.taken(30), 27);
    }

    #[test]
    fn the_same_rows_twice_do_not_make_up_for_others() {
        let mut coverage = Coverage::default();
        coverage.rows(&Rows::range(0, 4), 2);
        coverage.rows(&Rows::range(0, 4), 2);
        assert_eq!(coverage.taken(16), 8);
    }

    #[test]
    fn views_of_every_other_place_make_a_whole() {
        let whole = || View::of(&[6, 4]).unwrap();
        let mut coverage = Coverage::default();
        coverage.view(&whole().every(0, 0, 2).unwrap());
        assert_eq!(coverage.taken(24), 12);
        coverage.view(&whole().every(0, 1, 2).unwrap());
        assert_eq!(coverage.taken(24), 24);
        let mut columns = Coverage::default();
        columns.view(&whole().swap(0, 1).unwrap());
        assert_eq!(columns.taken(24), 24);
    }

    #[test]
    fn scattered_rows_are_counted() {
        let mut coverage = Coverage::default();
        coverage.rows(&Rows(vec![Strided::new(0, &[(1 << 20, 2)])]), 1);
        assert_eq!((coverage.taken(1 << 21), coverage.runs.len()), (1 << 20, 0));
    }
}
