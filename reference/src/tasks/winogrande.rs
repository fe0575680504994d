//! Winogrande: which of two words fills the gap in a sentence.

use super::random::Twister;
use super::{Sequence, TaskScore, Tasks, common_prefix};
use crate::{Error, Result, Tokenizer};

/// Both choices must be followed by more tokens than this (from where the sentences part), or else the choice
/// itself is scored too.
const FEW_TRAILING: usize = 3;

/// Winogrande tasks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Winogrande {
    tasks: Vec<Task>,
    skipped: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Task {
    before: Vec<u8>,
    after: Vec<u8>,
    choices: [Vec<u8>; 2],
    /// 0 or 1.
    right: usize,
}

impl Winogrande {
    /// Reads a file of lines `INDEX,SENTENCE,CHOICE1,CHOICE2,ANSWER` (the gap is the sentence's first `_`, the
    /// answer 1 or 2) and keeps `limit` tasks, picked at random but always the same; 0 for all, in order.
    ///
    /// As in llama-perplexity, lines that cannot be read are passed over (see [`Self::skipped`]), and so is the
    /// last line unless an empty one follows it.
    ///
    /// # Errors
    /// When no task is left.
    pub fn parse(text: &[u8], limit: usize) -> Result<Self> {
        let text = text.strip_suffix(b"\n").unwrap_or(text);
        let mut lines: Vec<&[u8]> = text.split(|&b| b == b'\n').collect();
        let mut skipped = Vec::new();
        if let Some(last) = lines.pop().filter(|last| !last.is_empty()) {
            skipped.push(format!(
                "the last line, which llama-perplexity never counts: {:?}",
                String::from_utf8_lossy(last)
            ));
        }
        let mut tasks = Vec::new();
        for (number, line) in lines.into_iter().enumerate() {
            match Task::parse(line) {
                Ok(task) => tasks.push(task),
                Err(why) => skipped.push(format!("line {}: {why}", number + 1)),
            }
        }
        if tasks.is_empty() {
            return Err(Error::Text(format!(
                "expected Winogrande tasks, found none{}",
                skipped
                    .first()
                    .map_or_else(String::new, |s| format!("; passed over: {s}"))
            )));
        }
        if limit > 0 && limit < tasks.len() {
            tasks = Twister::new(1)
                .pick(limit, tasks.len())
                .into_iter()
                .map(|i| tasks[i].clone())
                .collect();
        }
        Ok(Self { tasks, skipped })
    }

    /// Lines that were passed over, with the reason.
    pub fn skipped(&self) -> &[String] {
        &self.skipped
    }

    /// The right answer of a task: 1 or 2.
    pub fn answer(&self, index: usize) -> usize {
        self.tasks[index].right + 1
    }
}

impl Task {
    fn parse(line: &[u8]) -> Result<Self, String> {
        let mut commas = Vec::new();
        let mut quoted = false;
        for (at, byte) in line.iter().enumerate() {
            match byte {
                b'"' => quoted = !quoted,
                b',' if !quoted => commas.push(at),
                _ => {}
            }
            if commas.len() == 4 {
                break;
            }
        }
        let &[a, b, c, d] = commas.as_slice() else {
            return Err(format!("expected 4 separating commas, found {}", commas.len()));
        };
        let mut sentence = &line[a + 1..b];
        if let [b'"', inside @ .., _] = sentence {
            sentence = inside;
        }
        let gap = sentence
            .iter()
            .position(|&byte| byte == b'_')
            .ok_or("expected a sentence with a _, found none")?;
        let answer = String::from_utf8_lossy(&line[d + 1..]).trim().to_owned();
        let right = match answer.as_str() {
            "1" => 0,
            "2" => 1,
            _ => return Err(format!("expected answer 1 or 2, found {answer:?}")),
        };
        Ok(Self {
            before: sentence[..gap].to_vec(),
            after: sentence[gap + 1..].to_vec(),
            choices: [line[b + 1..c].to_vec(), line[c + 1..d].to_vec()],
            right,
        })
    }

    /// Both sentences' tokens, and for each the number of tokens up to and with the choice.
    fn tokens(&self, tokenizer: &Tokenizer) -> ([Vec<u32>; 2], [usize; 2]) {
        let encode = |parts: &[&[u8]]| tokenizer.encode(parts.concat(), true, false);
        let whole = self
            .choices
            .each_ref()
            .map(|choice| encode(&[&self.before, choice, &self.after]));
        let base = self
            .choices
            .each_ref()
            .map(|choice| encode(&[&self.before, choice]).len());
        (whole, base)
    }
}

/// The positions whose predictions count towards a choice, and the tokens predicted.
fn scored(tokens: &[Vec<u32>; 2], base: [usize; 2], index: usize) -> Result<Vec<Sequence>> {
    let prefix = common_prefix(tokens);
    let unfit = || {
        Error::Text(format!(
            "task {index}: expected two sentences whose tokens begin alike and then differ, found others"
        ))
    };
    if prefix == 0 || prefix >= tokens[0].len().max(tokens[1].len()) {
        return Err(unfit());
    }
    let leave_out_choice = tokens.iter().all(|t| t.len() - prefix > FEW_TRAILING);
    let mut sequences = Vec::new();
    for (tokens, base) in tokens.iter().zip(base) {
        let first = if leave_out_choice { base } else { prefix };
        // The last token (mostly the full stop) does not count unless it is the only one.
        let last = usize::from(tokens.len().wrapping_sub(first) > 1);
        let end = (tokens.len() - 1).saturating_sub(last);
        let start = first.checked_sub(1).ok_or_else(unfit)?.min(end);
        sequences.push(Sequence {
            tokens: tokens.clone(),
            positions: start..end,
            targets: tokens[start + 1..end + 1].to_vec(),
        });
    }
    if !leave_out_choice && !sequences[1].targets.is_empty() {
        // llama-perplexity takes the second choice's first token from the prediction after the end of the first
        // sentence; scores are only the same if this is done here too.
        let target = sequences[1].targets.remove(0);
        sequences[1].positions.start += 1;
        let end = tokens[0].len() - 1;
        sequences.push(Sequence {
            tokens: tokens[0].clone(),
            positions: end..end + 1,
            targets: vec![target],
        });
    }
    Ok(sequences)
}

impl Tasks for Winogrande {
    fn len(&self) -> usize {
        self.tasks.len()
    }

    fn sequences(&self, index: usize, tokenizer: &Tokenizer) -> Result<Vec<Sequence>> {
        let (tokens, base) = self.tasks[index].tokens(tokenizer);
        scored(&tokens, base, index)
    }

    fn score(&self, index: usize, log_probabilities: &[Vec<f64>]) -> TaskScore {
        let mean = |values: &[&[f64]]| {
            let count: usize = values.iter().map(|v| v.len()).sum();
            values.iter().copied().flatten().sum::<f64>() / count as f64
        };
        let answers = match log_probabilities {
            [first, second] => vec![mean(&[first]), mean(&[second])],
            [first, second, start] => vec![mean(&[first]), mean(&[start, second])],
            _ => vec![f64::NAN; 2],
        };
        let chosen = usize::from(answers[0].is_nan() || answers[0] <= answers[1] || answers[1].is_nan());
        TaskScore {
            correct: chosen == self.tasks[index].right,
            answers,
            chosen,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read() {
        let text = b"0,Sarah met Maria so _ left early.,Sarah,Maria,2\n\
            1,\"Ann, who saw _ there, ran.\",Bo,Cy,1\nnonsense\n2,no gap,a,b,1\n3,a _ b,x,y,3\n4,last _,x,y,1\n";
        let w = Winogrande::parse(text, 0).unwrap();
        assert_eq!(w.len(), 2);
        assert_eq!((w.answer(0), w.answer(1)), (2, 1));
        assert_eq!(w.tasks[1].before, b"Ann, who saw ");
        assert_eq!(w.tasks[1].after, b" there, ran.");
        assert_eq!(w.tasks[1].choices, [b"Bo".to_vec(), b"Cy".to_vec()]);
        assert_eq!(w.skipped().len(), 4);
        assert_eq!(Winogrande::parse(text, 1).unwrap().len(), 1);
        assert!(Winogrande::parse(b"", 0).is_err());
        assert!(Winogrande::parse(b"0,\",\",,,1\n\n", 0).is_err());
    }

    #[test]
    fn choices_are_left_out_where_enough_follows() {
        let tokens = [vec![1, 2, 10, 5, 6, 7, 8], vec![1, 2, 11, 12, 5, 6, 7, 8]];
        let s = scored(&tokens, [3, 4], 0).unwrap();
        assert_eq!(s.len(), 2);
        assert_eq!(
            (s[0].positions.clone(), &s[0].targets[..]),
            (2..5, &[5, 6, 7][..])
        );
        assert_eq!(
            (s[1].positions.clone(), &s[1].targets[..]),
            (3..6, &[5, 6, 7][..])
        );
    }

    #[test]
    fn short_ends_score_the_choice_as_llama_perplexity_does() {
        let tokens = [vec![1, 2, 10, 5], vec![1, 2, 11, 5]];
        let s = scored(&tokens, [3, 3], 0).unwrap();
        assert_eq!((s[0].positions.clone(), &s[0].targets[..]), (1..2, &[10][..]));
        assert_eq!(s[1].targets, []);
        assert_eq!((s[2].positions.clone(), &s[2].targets[..]), (3..4, &[11][..]));
        assert_eq!(s[2].tokens, tokens[0]);
    }
}
