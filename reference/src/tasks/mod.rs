//! Tasks with answers to choose from, in llama-perplexity's file formats and with its scores: a model's answer
//! is the one to whose tokens it gives the highest mean log probability.
//!
//! A limited run picks the tasks that llama-perplexity picks when built with GNU's C++ library.

mod hellaswag;
mod multiple_choice;
mod random;
mod winogrande;

pub use hellaswag::HellaSwag;
pub use multiple_choice::MultipleChoice;
pub use winogrande::Winogrande;

use std::ops::Range;

use crate::perplexity::Scores;
use crate::{Error, Model, Result, Tokenizer};

/// Tokens that are run together at most.
const BATCH_TOKENS: usize = 4096;

/// The score of one task.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TaskScore {
    /// Mean log probability of each answer's tokens, in nats.
    pub answers: Vec<f64>,
    /// The answer with the highest one.
    pub chosen: usize,
    /// Whether it is a right one.
    pub correct: bool,
}

/// A kind of task.
pub trait Tasks {
    /// Number of tasks.
    fn len(&self) -> usize;

    /// Whether there are none; never so for tasks that were read.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Token sequences to run for one task.
    ///
    /// # Errors
    /// When the tokenizer makes nothing of an answer.
    fn sequences(&self, index: usize, tokenizer: &Tokenizer) -> Result<Vec<Sequence>>;

    /// The task's score from the log probabilities of each sequence's targets.
    fn score(&self, index: usize, log_probabilities: &[Vec<f64>]) -> TaskScore;
}

/// Tokens to run, and what of their predictions is scored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sequence {
    /// The tokens.
    pub tokens: Vec<u32>,
    /// Positions whose predictions are scored.
    pub positions: Range<usize>,
    /// The token whose probability is taken at each of these positions.
    pub targets: Vec<u32>,
}

impl Sequence {
    /// Scores the tokens from `first` on, each given all before it. `first` lies inside the tokens, past the
    /// first one.
    fn from(tokens: Vec<u32>, first: usize) -> Self {
        Self {
            positions: first - 1..tokens.len() - 1,
            targets: tokens[first..].to_vec(),
            tokens,
        }
    }
}

/// Scores all tasks with a model. `progress` is called with each task's number and score, in order.
///
/// # Errors
/// When a task does not fit into `max_memory` bytes, the tokenizer makes nothing of an answer, predictions are
/// not finite, or weights cannot be read.
pub fn run(
    tasks: &dyn Tasks,
    model: &Model,
    tokenizer: &Tokenizer,
    max_memory: u64,
    progress: &mut dyn FnMut(usize, &TaskScore),
) -> Result<Vec<TaskScore>> {
    let room = max_memory.saturating_sub(model.bytes_per_run()) / model.bytes_per_token().max(1);
    let room = usize::try_from(room).unwrap_or(usize::MAX).min(BATCH_TOKENS);
    let mut scores = Vec::with_capacity(tasks.len());
    let mut batch: Vec<Vec<Sequence>> = Vec::new();
    let mut held = 0;
    for index in 0..tasks.len() {
        let sequences = tasks.sequences(index, tokenizer)?;
        let needed: usize = sequences.iter().map(|s| s.tokens.len()).sum();
        if held + needed > room && !batch.is_empty() {
            finish(tasks, model, &batch, &mut scores, progress)?;
            batch.clear();
            held = 0;
        }
        let bytes = model
            .bytes_per_run()
            .saturating_add(model.bytes_per_token().saturating_mul(needed as u64));
        if bytes > max_memory {
            return Err(Error::Text(format!(
                "task {index}: expected at least {bytes} bytes of memory for its {needed} tokens, found a bound of \
                 {max_memory}"
            )));
        }
        held += needed;
        batch.push(sequences);
    }
    finish(tasks, model, &batch, &mut scores, progress)?;
    Ok(scores)
}

/// Runs a batch of consecutive tasks.
fn finish(
    tasks: &dyn Tasks,
    model: &Model,
    batch: &[Vec<Sequence>],
    scores: &mut Vec<TaskScore>,
    progress: &mut dyn FnMut(usize, &TaskScore),
) -> Result<()> {
    let all: Vec<&Sequence> = batch.iter().flatten().collect();
    let windows: Vec<(&[u32], Range<usize>)> = all
        .iter()
        .map(|s| (s.tokens.as_slice(), s.positions.clone()))
        .collect();
    let mut sink = Scores::new(all.iter().flat_map(|s| s.targets.iter().copied()).collect());
    model.forward_each(&windows, &mut sink)?;
    let mut found = sink.negative_log_probabilities().into_iter().map(|nll| -nll);
    for sequences in batch {
        let index = scores.len();
        let values: Vec<Vec<f64>> = sequences
            .iter()
            .map(|s| found.by_ref().take(s.targets.len()).collect())
            .collect();
        if values.iter().flatten().any(|v| !v.is_finite()) {
            return Err(model.error(format!("task {index}: expected finite predictions, found others")));
        }
        let score = tasks.score(index, &values);
        progress(index, &score);
        scores.push(score);
    }
    Ok(())
}

/// Tokens that all sequences begin with.
fn common_prefix(sequences: &[Vec<u32>]) -> usize {
    let Some((first, others)) = sequences.split_first() else {
        return 0;
    };
    (0..first.len())
        .take_while(|&i| others.iter().all(|other| other.get(i) == Some(&first[i])))
        .count()
}

/// Sequences of a question with each of its answers behind it.
fn answered(
    index: usize,
    tokenizer: &Tokenizer,
    question: &[u8],
    answers: &[Vec<u8>],
) -> Result<Vec<Sequence>> {
    let answers = answers
        .iter()
        .map(|answer| tokenizer.encode([question, b" ", answer].concat(), true, false));
    continuations(index, answers.collect())
}

/// One sequence for each answer, scored from where the answers part.
fn continuations(index: usize, answers: Vec<Vec<u32>>) -> Result<Vec<Sequence>> {
    let prefix = common_prefix(&answers);
    if prefix == 0 || answers.iter().any(|tokens| tokens.len() <= prefix) {
        return Err(Error::Text(format!(
            "task {index}: expected answers whose tokens begin alike and then differ; {prefix} tokens are the \
             same, and the shortest answer ends after {}",
            answers.iter().map(Vec::len).min().unwrap_or(0)
        )));
    }
    Ok(answers
        .into_iter()
        .map(|tokens| Sequence::from(tokens, prefix))
        .collect())
}

impl TaskScore {
    /// The mean of each answer's log probabilities, the first with the largest chosen.
    fn of(log_probabilities: &[Vec<f64>], is_right: impl FnOnce(usize) -> bool) -> Self {
        let means: Vec<f64> = log_probabilities
            .iter()
            .map(|v| v.iter().sum::<f64>() / v.len() as f64)
            .collect();
        let mut chosen = 0;
        for (i, mean) in means.iter().enumerate() {
            if *mean > means[chosen] {
                chosen = i;
            }
        }
        Self {
            answers: means,
            chosen,
            correct: is_right(chosen),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_scored_from_where_they_part() {
        let sequences = continuations(0, vec![vec![1, 2, 3, 4], vec![1, 2, 5]]).unwrap();
        assert_eq!(
            (sequences[0].positions.clone(), &sequences[0].targets[..]),
            (1..3, &[3, 4][..])
        );
        assert_eq!(
            (sequences[1].positions.clone(), &sequences[1].targets[..]),
            (1..2, &[5][..])
        );
        assert!(continuations(0, vec![vec![1, 2], vec![1, 2, 3]]).is_err());
        assert!(continuations(0, vec![vec![1], vec![2]]).is_err());
    }

    #[test]
    fn the_first_of_equal_answers_is_chosen() {
        let score = TaskScore::of(&[vec![-2.0, -4.0], vec![-3.0], vec![-3.5]], |chosen| chosen == 0);
        assert_eq!(score.answers, [-3.0, -3.0, -3.5]);
        assert!(score.chosen == 0 && score.correct);
    }
}
