//! HellaSwag: which of four endings continues a text with common sense.

use super::random::Twister;
use super::{Sequence, TaskScore, Tasks, answered};
use crate::{Error, Result, Tokenizer};

/// Lines of one task: the context, the number of the right ending, four endings.
const LINES: usize = 6;
const ENDINGS: usize = 4;

/// HellaSwag tasks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HellaSwag {
    tasks: Vec<Task>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Task {
    context: Vec<u8>,
    right: usize,
    endings: [Vec<u8>; ENDINGS],
}

impl HellaSwag {
    /// Reads a file of six lines for each task and keeps `limit` of them, picked at random but always the same.
    /// The whole file too is put into a random order, as llama-perplexity does.
    ///
    /// # Errors
    /// When the number of lines does not fit, or the right ending's number is none of 0 to 3.
    pub fn parse(text: &[u8], limit: usize) -> Result<Self> {
        let text = text.strip_suffix(b"\n").unwrap_or(text);
        let lines: Vec<&[u8]> = text.split(|&b| b == b'\n').collect();
        if text.is_empty() || !lines.len().is_multiple_of(LINES) {
            return Err(Error::Text(format!(
                "HellaSwag tasks: expected {LINES} lines for each task, found {}",
                if text.is_empty() { 0 } else { lines.len() }
            )));
        }
        let task = |number: usize| Task::parse(number, &lines[LINES * number..][..LINES]);
        let of = lines.len() / LINES;
        let too_many = |_| {
            Error::Text(format!(
                "HellaSwag tasks: expected at most {}, found {of}",
                u32::MAX
            ))
        };
        let mut left: Vec<u32> = (0..u32::try_from(of).map_err(too_many)?).collect();
        // All of the file has to be in order, whatever is picked.
        for number in 0..of {
            Task::right(number, lines[LINES * number + 1])?;
        }
        let count = limit.min(of);
        let mut twister = Twister::new(1);
        let mut tasks = Vec::with_capacity(count);
        while tasks.len() < count {
            let at = twister.below(left.len() as u32) as usize;
            tasks.push(task(left.remove(at) as usize)?);
        }
        Ok(Self { tasks })
    }
}

impl Task {
    /// The number of the right ending, from the second line.
    fn right(number: usize, line: &[u8]) -> Result<usize> {
        let right = std::str::from_utf8(line)
            .ok()
            .and_then(|line| line.trim().parse().ok())
            .filter(|&right: &usize| right < ENDINGS);
        right.ok_or_else(|| {
            Error::Text(format!(
                "HellaSwag task {number}, line {}: expected the number of the right ending, 0 to {}, found {:?}",
                number * LINES + 2,
                ENDINGS - 1,
                String::from_utf8_lossy(line)
            ))
        })
    }

    fn parse(number: usize, lines: &[&[u8]]) -> Result<Self> {
        Ok(Self {
            context: lines[0].to_vec(),
            right: Self::right(number, lines[1])?,
            endings: std::array::from_fn(|i| lines[2 + i].to_vec()),
        })
    }
}

impl Tasks for HellaSwag {
    fn len(&self) -> usize {
        self.tasks.len()
    }

    fn sequences(&self, index: usize, tokenizer: &Tokenizer) -> Result<Vec<Sequence>> {
        let task = &self.tasks[index];
        answered(index, tokenizer, &task.context, &task.endings)
    }

    fn score(&self, index: usize, log_probabilities: &[Vec<f64>]) -> TaskScore {
        TaskScore::of(log_probabilities, |chosen| chosen == self.tasks[index].right)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(tasks: usize) -> String {
        (0..tasks)
            .map(|i| format!("context {i}\n{}\na\nb\nc\nd\n", i % 4))
            .collect()
    }

    #[test]
    fn tasks_are_picked_without_repetition() {
        let all = HellaSwag::parse(file(9).as_bytes(), 400).unwrap();
        assert_eq!(all.len(), 9);
        let mut contexts: Vec<_> = all.tasks.iter().map(|t| t.context.clone()).collect();
        assert_ne!(contexts[0], b"context 0");
        contexts.sort();
        contexts.dedup();
        assert_eq!(contexts.len(), 9);
        let some = HellaSwag::parse(file(9).as_bytes(), 3).unwrap();
        assert_eq!(some.tasks, all.tasks[..3]);
    }

    #[test]
    fn wrong_files_are_refused() {
        for wrong in [
            "",
            "\n",
            "a\n1\na\nb\nc\n",
            "a\n4\na\nb\nc\nd\n",
            "a\nx\na\nb\nc\nd\n",
        ] {
            assert!(HellaSwag::parse(wrong.as_bytes(), 10).is_err(), "{wrong:?}");
        }
    }
}
