//! Multiple choice (ARC, MMLU, TruthfulQA and others): which of any number of answers continues a question.
//!
//! The file is binary, little endian: u32 number of tasks, u32 position of each, then the tasks. A task is a
//! question and two lists of answers, of which the first, with a single right one, is used. A text is a u32
//! length and its bytes; a list of answers is a u32 count, that many texts and as many i32 labels, 1 for a right
//! answer.

use super::random::Twister;
use super::{Sequence, TaskScore, Tasks, answered};
use crate::{Error, Result, Tokenizer};

/// Most answers of a task, as llama-perplexity has it.
const MAX_ANSWERS: u32 = 100;

/// Multiple-choice tasks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MultipleChoice {
    tasks: Vec<Task>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Task {
    question: Vec<u8>,
    answers: Vec<Vec<u8>>,
    labels: Vec<i32>,
}

/// The bytes of a file from some place on.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize, what: &str) -> Result<&'a [u8]> {
        let end = self.at.checked_add(len).filter(|&end| end <= self.bytes.len());
        let end = end.ok_or_else(|| {
            Error::Text(format!(
                "multiple-choice file: {what} at byte {}: expected {len} bytes, found {}",
                self.at,
                self.bytes.len().saturating_sub(self.at)
            ))
        })?;
        let found = &self.bytes[self.at..end];
        self.at = end;
        Ok(found)
    }

    fn number(&mut self, what: &str) -> Result<u32> {
        let bytes = self.take(4, what)?;
        Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    fn text(&mut self, what: &str) -> Result<&'a [u8]> {
        let len = self.number(what)?;
        self.take(len as usize, what)
    }

    fn answers(&mut self) -> Result<(Vec<Vec<u8>>, Vec<i32>)> {
        let at = self.at;
        let count = self.number("the number of answers")?;
        if count > MAX_ANSWERS {
            return Err(Error::Text(format!(
                "multiple-choice file: the number of answers at byte {at}: expected at most \
                 {MAX_ANSWERS}, found {count}"
            )));
        }
        let texts = (0..count)
            .map(|_| Ok(self.text("an answer")?.to_vec()))
            .collect::<Result<_>>()?;
        let labels = (0..count)
            .map(|_| Ok(self.number("a label")? as i32))
            .collect::<Result<_>>()?;
        Ok((texts, labels))
    }

    fn task(&mut self) -> Result<Task> {
        let start = self.at;
        let question = self.text("a question")?.to_vec();
        let (answers, labels) = self.answers()?;
        self.answers()?;
        if question.is_empty() || answers.is_empty() || answers.iter().any(Vec::is_empty) {
            return Err(Error::Text(format!(
                "multiple-choice file: the task at byte {start}: expected a question and answers, found an empty one or none"
            )));
        }
        Ok(Task {
            question,
            answers,
            labels,
        })
    }
}

impl MultipleChoice {
    /// Reads a file and keeps `limit` tasks, picked at random but always the same; 0 for all, in order.
    ///
    /// # Errors
    /// When the file is truncated, a count in it is not to be believed, or a task lacks something.
    pub fn parse(bytes: &[u8], limit: usize) -> Result<Self> {
        let mut reader = Reader { bytes, at: 0 };
        let count = reader.number("the number of tasks")? as usize;
        if count == 0 {
            return Err(Error::Text(
                "multiple-choice file: expected tasks, found none".into(),
            ));
        }
        let positions = reader.take(count.saturating_mul(4), "the positions of the tasks")?;
        let tasks = if limit == 0 || limit >= count {
            (0..count).map(|_| reader.task()).collect::<Result<_>>()?
        } else {
            let mut read = 0;
            Twister::new(1)
                .pick(limit, count)
                .into_iter()
                .map(|i| {
                    let at = &positions[4 * i..4 * i + 4];
                    let start = u32::from_le_bytes([at[0], at[1], at[2], at[3]]) as usize;
                    reader.at = start;
                    let task = reader.task()?;
                    // Positions that are all one long task's would cost far more memory than the file.
                    read += reader.at - start;
                    if read > bytes.len() {
                        return Err(Error::Text(format!(
                            "multiple-choice file: expected tasks side by side, found one at byte {start} that overlaps another"
                        )));
                    }
                    Ok(task)
                })
                .collect::<Result<_>>()?
        };
        Ok(Self { tasks })
    }

    /// Answers of all tasks together.
    pub fn answers(&self) -> usize {
        self.tasks.iter().map(|t| t.answers.len()).sum()
    }
}

impl Tasks for MultipleChoice {
    fn len(&self) -> usize {
        self.tasks.len()
    }

    fn sequences(&self, index: usize, tokenizer: &Tokenizer) -> Result<Vec<Sequence>> {
        let task = &self.tasks[index];
        answered(index, tokenizer, &task.question, &task.answers)
    }

    fn score(&self, index: usize, log_probabilities: &[Vec<f64>]) -> TaskScore {
        TaskScore::of(log_probabilities, |chosen| {
            self.tasks[index].labels.get(chosen) == Some(&1)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(out: &mut Vec<u8>, text: &str) {
        out.extend((text.len() as u32).to_le_bytes());
        out.extend(text.as_bytes());
    }

    fn file(tasks: u32) -> Vec<u8> {
        let mut bodies = Vec::new();
        for i in 0..tasks {
            let mut body = Vec::new();
            text(&mut body, &format!("question {i}"));
            body.extend(2u32.to_le_bytes());
            text(&mut body, "yes");
            text(&mut body, "no");
            body.extend(1i32.to_le_bytes());
            body.extend(0i32.to_le_bytes());
            body.extend(0u32.to_le_bytes());
            bodies.push(body);
        }
        let mut out = tasks.to_le_bytes().to_vec();
        let mut at = 4 + 4 * tasks;
        for body in &bodies {
            out.extend(at.to_le_bytes());
            at += body.len() as u32;
        }
        out.extend(bodies.concat());
        out
    }

    #[test]
    fn tasks_are_read_in_order_or_picked() {
        let all = MultipleChoice::parse(&file(5), 0).unwrap();
        assert_eq!((all.len(), all.answers()), (5, 10));
        assert_eq!(all.tasks[3].question, b"question 3");
        assert_eq!(all.tasks[3].labels, [1, 0]);
        let some = MultipleChoice::parse(&file(5), 2).unwrap();
        assert_eq!(some.len(), 2);
        assert!(some.tasks.iter().all(|t| all.tasks.contains(t)));
        assert_ne!(some.tasks[0], some.tasks[1]);
    }

    #[test]
    fn lying_files_are_refused() {
        let good = file(3);
        for end in 0..good.len() {
            assert!(MultipleChoice::parse(&good[..end], 0).is_err(), "{end}");
            let _ = MultipleChoice::parse(&good[..end], 1);
        }
        let mut many = good.clone();
        many[..4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(MultipleChoice::parse(&many, 0).is_err());
        let mut far = good.clone();
        far[4..16].fill(0xff);
        assert!(MultipleChoice::parse(&far, 1).is_err());
        for byte in 0..good.len() {
            let mut bent = good.clone();
            bent[byte] = 0xff;
            let _ = MultipleChoice::parse(&bent, 0);
        }
        assert!(MultipleChoice::parse(&[], 0).is_err());
    }

    #[test]
    fn positions_that_are_all_the_same_cost_no_more_than_the_file() {
        let mut file = file(64);
        let first: [u8; 4] = file[4..8].try_into().unwrap();
        let mut long = Vec::new();
        text(&mut long, &"q".repeat(1 << 16));
        // The first question, made long; the others lie behind it and are not read.
        let at = u32::from_le_bytes(first) as usize;
        file.splice(at..at + 4 + "question 0".len(), long);
        for task in 0..64 {
            file[4 + 4 * task..][..4].copy_from_slice(&first);
        }
        let message = MultipleChoice::parse(&file, 60).unwrap_err().to_string();
        assert!(message.contains("overlaps another"), "{message}");
    }
}
