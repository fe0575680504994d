//! Words met before in one call, with their tokens.

use std::collections::HashMap;
use std::ops::Range;

/// Longest word, in bytes, that is remembered.
const WORD_BYTES: usize = 64;
/// Most words that are remembered.
const WORDS: usize = 1 << 17;

/// Tokens of the words met so far.
#[derive(Default)]
pub(super) struct Cache {
    words: HashMap<Box<[u8]>, Range<usize>>,
    tokens: Vec<u32>,
}

impl Cache {
    /// Appends the tokens of a word, which `encode` finds when it is met first.
    pub(super) fn encode(&mut self, word: &[u8], out: &mut Vec<u32>, encode: impl FnOnce(&mut Vec<u32>)) {
        if let Some(range) = self.words.get(word) {
            out.extend_from_slice(&self.tokens[range.clone()]);
            return;
        }
        let first = out.len();
        encode(out);
        if word.len() <= WORD_BYTES && self.words.len() < WORDS {
            let start = self.tokens.len();
            self.tokens.extend_from_slice(&out[first..]);
            self.words.insert(word.into(), start..self.tokens.len());
        }
    }
}
