//! Regular expressions over collapsed text: one byte per code point, ASCII as it is, any other white
//! space a vertical tab, and every other code point a byte for its general category.
//!
//! This is what llama.cpp matches, so a category holds the same characters here as there. The engine
//! runs in linear time. It knows no look-ahead, which the patterns need for one thing only: a run of
//! white space before a word leaves its last character to the word. That is done to the match.

use crate::error::{Error, Result};
use crate::tokenizer::unicode::{Flags, flags, is_ascii_space};

/// Contents of a bracket expression for each category, in collapsed bytes.
const CATEGORIES: [(&str, &str); 5] = [
    (r"\p{N}", r"\xD10-9"),
    (r"\p{L}", r"\xD2A-Za-z"),
    (r"\p{P}", r"\xD3!-#%-*,-/:-;?-@\[-\]_{}"),
    (r"\p{M}", r"\xD4"),
    (r"\p{S}", r"\xD5$+<->^`|~"),
];

/// Treatment of a run of white space.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Space {
    /// Nothing of its own.
    Plain,
    /// `\s+(?!\S)|\s+` where a run with line breaks is taken before by another alternative.
    LeavesLast,
    /// The same where it is not.
    LeavesLastOfAny,
    /// Powers of two up to 512, each `(?!\S)`, instead of the whole run.
    Halves,
}

/// A pattern and how it treats white space.
pub(super) struct Pattern {
    regex: regex::bytes::Regex,
    space: Space,
}

impl Pattern {
    /// Compiles a pattern; the category escapes may stand only inside brackets.
    pub(super) fn new(pattern: &str, space: Space) -> Result<Self> {
        let expanded = CATEGORIES
            .iter()
            .fold(pattern.to_owned(), |p, (name, bytes)| p.replace(name, bytes));
        let regex = regex::bytes::RegexBuilder::new(&expanded)
            .unicode(false)
            .build()
            .map_err(|e| Error::Tokenizer(format!("pre-tokenizer pattern {pattern:?}: {e}")))?;
        Ok(Self { regex, space })
    }

    /// Ends of the pieces of a stretch of collapsed text.
    pub(super) fn split(&self, text: &[u8], mut push: impl FnMut(usize)) {
        let mut start = 0;
        let mut last = 0;
        while let Some(found) = self.regex.find_at(text, start) {
            if found.is_empty() {
                start = found.end() + 1;
                if start > text.len() {
                    break;
                }
                continue;
            }
            let end = found.start() + self.taken(found.as_bytes(), found.end() == text.len());
            if found.start() > last {
                push(found.start());
            }
            push(end);
            (start, last) = (end, end);
        }
        if last < text.len() {
            push(text.len());
        }
    }

    /// Bytes of a match that stay in the piece.
    fn taken(&self, found: &[u8], at_end: bool) -> usize {
        let n = found.len();
        let space = || found.iter().all(|&b| is_ascii_space(b));
        let newline = || found.iter().any(|b| matches!(b, b'\r' | b'\n'));
        match self.space {
            Space::Plain => n,
            Space::LeavesLast | Space::LeavesLastOfAny
                if n > 1 && !at_end && space() && (self.space == Space::LeavesLastOfAny || !newline()) =>
            {
                n - 1
            }
            Space::Halves if n > 1 && space() && !newline() => (0..=9)
                .rev()
                .map(|power| 1 << power)
                .find(|&size| size < n || (size == n && at_end))
                .unwrap_or(1),
            _ => n,
        }
    }
}

/// One byte for each code point.
pub(super) fn collapse(code_points: &[u32]) -> Vec<u8> {
    code_points
        .iter()
        .map(|&c| {
            if c < 0x80 {
                return c as u8;
            }
            let flags = flags(c);
            if flags.any(Flags::SPACE) {
                return 0x0B;
            }
            match flags.category() {
                Flags::NUMBER => 0xD1,
                Flags::LETTER => 0xD2,
                Flags::PUNCTUATION => 0xD3,
                Flags::MARK => 0xD4,
                Flags::SYMBOL => 0xD5,
                _ => 0xD0,
            }
        })
        .collect()
}
