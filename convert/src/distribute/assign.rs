//! Which part does what: shares of equal cost, the same wherever they are computed.

use std::collections::BTreeSet;
use std::ops::Range;

use super::cost;
use super::part::Part;
use super::request::Cut;
use crate::Result;
use crate::pipeline::memory::PIECE_WEIGHTS;
use crate::pipeline::{Job, Target};

/// Rows that are never parted: as many as a piece of the pipeline may have, whatever memory and threads a machine has.
pub(super) fn piece_rows(job: &Job) -> u64 {
    (PIECE_WEIGHTS / (job.row_len as u64).max(1)).max(1)
}

/// Pieces of a job.
pub(super) fn pieces(job: &Job) -> u64 {
    job.rows.div_ceil(piece_rows(job))
}

/// Picoseconds for all rows of a job.
pub(super) fn cost(job: &Job) -> u128 {
    u128::from(cost::of_row(job)) * u128::from(job.rows)
}

/// The share of a part: rows of jobs, whose targets are those that the part writes.
#[derive(Debug, Default)]
pub(super) struct Share {
    pub(super) jobs: Vec<Job>,
    pub(super) rows: Vec<Range<u64>>,
}

/// Bytes of a tensor of an output.
pub(super) struct Span {
    pub(super) output: usize,
    pub(super) tensor: usize,
    pub(super) bytes: Range<u64>,
}

impl Share {
    /// Everything it writes.
    pub(super) fn spans(&self) -> impl Iterator<Item = Span> {
        self.jobs.iter().zip(&self.rows).flat_map(|(job, rows)| {
            job.targets.iter().flat_map(move |target| {
                let row = target.ty.row_bytes(job.row_len as u64).unwrap_or(0);
                target.wanted_by.iter().map(move |&(output, tensor)| Span {
                    output,
                    tensor,
                    bytes: rows.start * row..rows.end * row,
                })
            })
        })
    }

    /// Bytes it writes.
    pub(super) fn bytes(&self) -> u64 {
        self.spans().map(|s| s.bytes.end - s.bytes.start).sum()
    }

    fn cost(&self, learned: Option<u64>) -> u128 {
        let of = |(job, rows): (&Job, &Range<u64>)| {
            let row = u128::from(cost::of_row(job)) + cost_of_learning(job, learned);
            row * u128::from(rows.end - rows.start)
        };
        self.jobs.iter().zip(&self.rows).map(of).sum()
    }
}

/// The work dealt to a number of parts.
pub(super) struct Deal<'a> {
    jobs: &'a [Job],
    groups: &'a [usize],
    /// Tokens that blocks are learned from, where they are.
    learned: Option<u64>,
    /// For each output the index of its part, where parts are of whole files.
    of_outputs: Option<Vec<u64>>,
    count: u64,
}

impl<'a> Deal<'a> {
    /// Deals jobs. `groups` has for each output the number of the files that are made together.
    pub(super) fn new(jobs: &'a [Job], groups: &'a [usize], cut: Cut, count: u64) -> Self {
        let mut deal = Self {
            jobs,
            groups,
            of_outputs: None,
            learned: None,
            count,
        };
        if cut == Cut::Files {
            deal.deal_files();
        }
        deal
    }

    /// The same where blocks are learned from so many tokens.
    pub(super) fn learning(mut self, tokens: Option<u64>) -> Self {
        self.learned = tokens;
        if tokens.is_some() && self.of_outputs.is_some() {
            self.deal_files();
        }
        self
    }

    fn deal_files(&mut self) {
        let parts = by_files(self.jobs, self.groups, self.learned, self.count);
        self.of_outputs = Some(self.groups.iter().map(|&group| parts[group]).collect());
    }

    /// The share of a part, which is one of these.
    pub(super) fn share(&self, part: Part) -> Share {
        let Some(of_outputs) = &self.of_outputs else {
            return by_rows(self.jobs, part);
        };
        let own = |output: usize| of_outputs[output] + 1 == part.number();
        let jobs: Vec<Job> = self.jobs.iter().filter_map(|job| only(job, &own)).collect();
        let rows = jobs.iter().map(|job| 0..job.rows).collect();
        Share { jobs, rows }
    }

    /// How even the shares are.
    ///
    /// # Errors
    /// No number of parts.
    pub(super) fn balance(&self) -> Result<Balance> {
        let (mut largest, mut total) = (0, 0);
        for number in 1..=self.count {
            let cost = self.share(Part::new(number, self.count)?).cost(self.learned);
            largest = cost.max(largest);
            total += cost;
        }
        Ok(Balance {
            largest: seconds(largest),
            mean: seconds(total) / self.count.max(1) as f64,
        })
    }
}

/// A job with the targets of some outputs alone.
fn only(job: &Job, own: &dyn Fn(usize) -> bool) -> Option<Job> {
    let targets = job.targets.iter().filter_map(|target| {
        let wanted_by: Vec<_> = target.wanted_by.iter().filter(|w| own(w.0)).copied().collect();
        (!wanted_by.is_empty()).then(|| Target {
            wanted_by,
            ..target.clone()
        })
    });
    let targets: Vec<Target> = targets.collect();
    (!targets.is_empty()).then(|| Job { targets, ..*job })
}

/// The pieces, in order, whose middles fall into the part's stretch of the whole cost.
fn by_rows(jobs: &[Job], part: Part) -> Share {
    let total: u128 = jobs.iter().map(cost).sum();
    let count = u128::from(part.count());
    let mut share = Share::default();
    let mut before = 0u128;
    for job in jobs {
        let row = u128::from(cost::of_row(job));
        let step = piece_rows(job);
        // Index of the part to which a piece belongs; it does not fall from piece to piece.
        let part_of = |piece: u64| {
            let start = piece * step;
            let end = (start + step).min(job.rows);
            let twice_the_middle = 2 * before + row * u128::from(start + end);
            (twice_the_middle * count)
                .checked_div(2 * total)
                .unwrap_or(0)
                .min(count - 1)
        };
        let own = u128::from(part.number() - 1);
        let first = partition_point(pieces(job), |piece| part_of(piece) < own);
        let end = partition_point(pieces(job), |piece| part_of(piece) <= own);
        if first < end {
            share.jobs.push(job.clone());
            share.rows.push(first * step..(end * step).min(job.rows));
        }
        before += cost(job);
    }
    share
}

/// The first of `count` numbers for which `before` is false, which it stays.
fn partition_point(count: u64, before: impl Fn(u64) -> bool) -> u64 {
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low + (high - low) / 2;
        if before(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

/// Picoseconds that learning a row takes, over all files.
fn cost_of_learning(job: &Job, learned: Option<u64>) -> u128 {
    let files: usize = job.targets.iter().map(|target| target.wanted_by.len()).sum();
    learned.map_or(0, |tokens| {
        u128::from(cost::learn(tokens)) * job.row_len as u128 * files as u128
    })
}

/// For each group of files the index of its part: the costliest first, each to the part that has least so far.
fn by_files(jobs: &[Job], groups: &[usize], learned: Option<u64>, parts: u64) -> Vec<u64> {
    let count = groups.iter().max().map_or(0, |last| last + 1);
    let mut costs = vec![0u128; count];
    for job in jobs {
        let wanted = job.targets.iter().flat_map(|target| &target.wanted_by);
        let in_job: BTreeSet<usize> = wanted.map(|&(output, _)| groups[output]).collect();
        for group in in_job {
            let own = only(job, &|output| groups[output] == group);
            costs[group] += own.map_or(0, |job| {
                cost(&job) + cost_of_learning(&job, learned) * u128::from(job.rows)
            });
        }
    }
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by_key(|&group| (std::cmp::Reverse(costs[group]), group));
    // Parts beyond the number of groups get nothing.
    let mut loads = vec![0u128; usize::try_from(parts).unwrap_or(count).min(count)];
    let mut part_of = vec![0; count];
    for group in order {
        let least = (0..loads.len()).min_by_key(|&part| (loads[part], part));
        if let Some(part) = least {
            loads[part] += costs[group];
            part_of[group] = part as u64;
        }
    }
    part_of
}

/// How evenly the cost is dealt to a number of parts.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Balance {
    /// Seconds on one core of the part that takes longest.
    pub largest: f64,
    /// Seconds on one core of a part in the mean.
    pub mean: f64,
}

impl Balance {
    /// The largest part over the mean: 1 where all are equal.
    pub fn ratio(&self) -> f64 {
        if self.mean > 0.0 {
            self.largest / self.mean
        } else {
            1.0
        }
    }
}

/// Picoseconds in seconds.
pub(super) fn seconds(cost: u128) -> f64 {
    cost as f64 / 1e12
}

#[cfg(test)]
mod tests {
    use gguf::TensorType;

    use super::*;

    fn job(source: usize, row_len: usize, rows: u64, types: &[(TensorType, usize)]) -> Job {
        Job {
            source,
            row_len,
            rows,
            rows_per_matrix: rows,
            targets: types
                .iter()
                .map(|&(ty, output)| Target {
                    ty,
                    copied: false,
                    importance: None,
                    encoder: None,
                    wanted_by: vec![(output, source)],
                })
                .collect(),
        }
    }

    fn jobs() -> Vec<Job> {
        use TensorType as T;
        vec![
            job(0, 4096, 32_000, &[(T::Q4_K, 0), (T::IQ3_S, 1)]),
            job(1, 4096, 1, &[(T::F32, 0), (T::F32, 1)]),
            job(2, 1 << 20, 7, &[(T::Q8_0, 0), (T::Q2_K, 1)]),
            job(3, 256, 100_000, &[(T::Q6_K, 0), (T::Q6_K, 1)]),
        ]
    }

    fn all(count: u64) -> Vec<Part> {
        (1..=count)
            .map(|number| Part::new(number, count).unwrap())
            .collect()
    }

    #[test]
    fn every_byte_belongs_to_exactly_one_part() {
        let jobs = jobs();
        let groups = [0, 1];
        for cut in [Cut::Rows, Cut::Files] {
            for count in [1, 2, 3, 7, 64, 5000] {
                let mut ends = [[0u64; 4]; 2];
                let deal = Deal::new(&jobs, &groups, cut, count);
                for part in all(count) {
                    for span in deal.share(part).spans() {
                        let end = &mut ends[span.output][span.tensor];
                        assert_eq!(span.bytes.start, *end, "{cut:?} {part}: a gap or an overlap");
                        *end = span.bytes.end;
                    }
                }
                for job in &jobs {
                    for target in &job.targets {
                        let (output, tensor) = target.wanted_by[0];
                        let size = target.ty.row_bytes(job.row_len as u64).unwrap() * job.rows;
                        assert_eq!(ends[output][tensor], size, "{cut:?} of {count}");
                    }
                }
            }
        }
    }

    #[test]
    fn parts_cost_the_same_but_for_a_piece() {
        let jobs = jobs();
        let piece = jobs
            .iter()
            .map(|j| cost::of_row(j) * piece_rows(j))
            .max()
            .unwrap();
        for count in [2, 3, 16, 64] {
            let balance = Deal::new(&jobs, &[0, 1], Cut::Rows, count).balance().unwrap();
            assert!(
                balance.largest <= balance.mean + seconds(u128::from(piece)),
                "{count}: {balance:?}"
            );
        }
        let files = Deal::new(&jobs, &[0, 1], Cut::Files, 2).balance().unwrap();
        assert!(files.ratio() > 1.0 && files.ratio() < 2.0, "{files:?}");
    }

    #[test]
    fn no_work_is_dealt_too() {
        let nothing = Deal::new(&[], &[], Cut::Rows, 3).share(Part::new(2, 3).unwrap());
        assert_eq!((nothing.bytes(), nothing.jobs.len()), (0, 0));
        assert_eq!(Deal::new(&[], &[], Cut::Files, 3).balance().unwrap().ratio(), 1.0);
    }
}
