//! The evaluation of a plan's files, dealt to parts: windows of the text, and where there are more parts than windows, files of
//! a window.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::part::Part;

/// An evaluation in numbers, as a plan has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedEvaluation {
    /// Tokens of all texts.
    pub tokens: u64,
    /// Windows that every file and the unquantized model run over.
    pub windows: u64,
    /// Scored positions of a window.
    pub scored: u64,
}

/// The work that is dealt: every file runs over every window, and the errors of every tensor of every file are measured.
#[derive(Clone, Debug)]
pub struct EvaluationDeal {
    /// Files that are measured.
    pub files: usize,
    /// Windows of the texts.
    pub windows: usize,
    /// Weights of each tensor of the model.
    pub weights: Vec<u64>,
}

/// The share of a part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EvaluationShare {
    /// Windows, and the files that run over them.
    pub runs: Vec<(Range<usize>, Range<usize>)>,
    /// Files, and their tensors whose weights are compared with the model's.
    pub weighed: Vec<(usize, Range<usize>)>,
}

impl EvaluationDeal {
    /// The share of a part: consecutive windows, each with all files where there are enough windows, so that the
    /// unquantized model runs once over each.
    pub fn share(&self, part: Part) -> EvaluationShare {
        let runs = self.windows.saturating_mul(self.files);
        let start = |before: u64| {
            let of = |n: usize| (n as u128 * u128::from(before) / u128::from(part.count())) as usize;
            if part.count() <= self.windows as u64 {
                of(self.windows) * self.files
            } else {
                of(runs)
            }
        };
        let mut share = EvaluationShare {
            runs: Vec::new(),
            weighed: self.weighed(part),
        };
        let own = start(part.number() - 1)..start(part.number());
        let mut at = own.start;
        while at < own.end {
            let window = at / self.files;
            let first = window * self.files;
            let end = own.end.min(first + self.files);
            let files = at - first..end - first;
            match share.runs.last_mut() {
                Some((windows, same)) if *same == files => windows.end = window + 1,
                _ => share.runs.push((window..window + 1, files)),
            }
            at = end;
        }
        share
    }

    /// The tensors whose middles fall into the part's stretch of all weights.
    fn weighed(&self, part: Part) -> Vec<(usize, Range<usize>)> {
        let of_file: u128 = self.weights.iter().map(|&n| u128::from(n)).sum();
        let total = of_file * self.files as u128;
        let mut weighed: Vec<(usize, Range<usize>)> = Vec::new();
        let mut before = 0u128;
        for file in 0..self.files {
            for (tensor, &weights) in self.weights.iter().enumerate() {
                let twice_the_middle = 2 * before + u128::from(weights);
                before += u128::from(weights);
                let of = (twice_the_middle * u128::from(part.count()))
                    .checked_div(2 * total)
                    .unwrap_or(0);
                if of.min(u128::from(part.count() - 1)) != u128::from(part.number() - 1) {
                    continue;
                }
                match weighed.last_mut() {
                    Some((same, tensors)) if *same == file => tensors.end = tensor + 1,
                    _ => weighed.push((file, tensor..tensor + 1)),
                }
            }
        }
        weighed
    }
}

impl EvaluationShare {
    /// Whether a file runs over a window here.
    pub fn runs_over(&self, file: usize, window: usize) -> bool {
        let mut runs = self.runs.iter();
        runs.any(|(windows, files)| windows.contains(&window) && files.contains(&file))
    }

    /// The windows of each file, one by one.
    pub fn each(&self) -> impl Iterator<Item = (usize, usize)> {
        self.runs.iter().flat_map(|(windows, files)| {
            files
                .clone()
                .flat_map(move |f| windows.clone().map(move |w| (f, w)))
        })
    }

    /// The files that are read.
    pub fn files(&self) -> std::collections::BTreeSet<usize> {
        let run = self.runs.iter().flat_map(|(_, files)| files.clone());
        run.chain(self.weighed.iter().map(|(file, _)| *file)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_measured_in_exactly_one_part() {
        for (files, windows) in [(1, 2), (5, 3), (22, 40), (3, 1000)] {
            let deal = EvaluationDeal {
                files,
                windows,
                weights: vec![1000, 1, 1, 0, 500],
            };
            for count in [1, 2, 3, 7, 64, 5000] {
                let mut runs = vec![0; files * windows];
                let mut tensors = vec![0; files * 5];
                let mut most = 0;
                for number in 1..=count {
                    let share = deal.share(Part::new(number, count).unwrap());
                    let each: Vec<_> = share.each().collect();
                    for &(file, window) in &each {
                        runs[window * files + file] += 1;
                        assert!(share.runs_over(file, window));
                    }
                    for (file, own) in &share.weighed {
                        own.clone().for_each(|tensor| tensors[file * 5 + tensor] += 1);
                    }
                    most = most.max(each.len());
                    // Only where there are more parts than windows does the base model run twice over one.
                    if count <= windows as u64 {
                        assert!(share.runs.iter().all(|(_, of)| *of == (0..files)), "{count}");
                    }
                }
                assert!(runs.iter().all(|&n| n == 1), "{files} {windows} {count}");
                assert!(tensors.iter().all(|&n| n == 1), "{files} {windows} {count}");
                let even = match count <= windows as u64 {
                    true => windows.div_ceil(count as usize) * files,
                    false => (windows * files).div_ceil(count as usize),
                };
                assert_eq!(most, even, "{files} {windows} {count}");
            }
        }
    }
}
