//! Cutting text at special tokens, before anything else is done to it.

use std::ops::Range;

use super::trie::Trie;
use super::unicode::is_ascii_space;
use super::vocab::{Vocab, attribute};

/// A piece of the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fragment {
    /// A special token.
    Token(u32),
    /// Text between them.
    Text(Range<usize>),
}

/// Finds the special tokens of a vocabulary in text.
pub(super) struct Partition {
    trie: Trie,
}

impl Partition {
    pub(super) fn new(vocab: &Vocab) -> Self {
        let key = |(order, &id): (usize, &u32)| (vocab.tokens[id as usize].text.clone(), order as u32);
        Self {
            trie: Trie::new(vocab.special.partition.iter().enumerate().map(key)),
        }
    }

    /// Takes out the longest tokens first, each from left to right. Control and unknown tokens are
    /// text like any other unless they are to be parsed.
    pub(super) fn split(&self, vocab: &Vocab, text: &[u8], parse_special: bool) -> Vec<Fragment> {
        if text.is_empty() {
            return Vec::new();
        }
        let mut fragments = vec![Fragment::Text(0..text.len())];
        for id in self.present(vocab, text, parse_special) {
            let mut next = Vec::with_capacity(fragments.len());
            for fragment in fragments {
                match fragment {
                    Fragment::Text(range) => cut(vocab, text, range, id, &mut next),
                    token => next.push(token),
                }
            }
            fragments = next;
        }
        fragments
    }

    /// The tokens that occur somewhere in the text, in the order in which they are taken out.
    fn present(&self, vocab: &Vocab, text: &[u8], parse_special: bool) -> Vec<u32> {
        let order = &vocab.special.partition;
        let mut seen = vec![false; order.len()];
        for start in 0..text.len() {
            for (_, place) in self.trie.prefixes(&text[start..]) {
                seen[place as usize] = true;
            }
        }
        let hidden = attribute::CONTROL | attribute::UNKNOWN;
        order
            .iter()
            .zip(seen)
            .filter(|&(&id, seen)| seen && (parse_special || !vocab.tokens[id as usize].has(hidden)))
            .map(|(&id, _)| id)
            .collect()
    }
}

/// Cuts one stretch of text at every occurrence of a token.
fn cut(vocab: &Vocab, text: &[u8], range: Range<usize>, id: u32, out: &mut Vec<Fragment>) {
    let token = &vocab.tokens[id as usize];
    let (mut start, end) = (range.start, range.end);
    while let Some(found) = find(&text[start..end], &token.text) {
        let mut left_end = start + found;
        if token.has(attribute::STRIP_LEFT) {
            while left_end > start && is_ascii_space(text[left_end - 1]) {
                left_end -= 1;
            }
        }
        if left_end > start {
            out.push(Fragment::Text(start..left_end));
        }
        out.push(Fragment::Token(id));
        start += found + token.text.len();
        if token.has(attribute::STRIP_RIGHT) {
            while start < end && is_ascii_space(text[start]) {
                start += 1;
            }
        }
    }
    if start < end {
        out.push(Fragment::Text(start..end));
    }
}

fn find(text: &[u8], token: &[u8]) -> Option<usize> {
    let (&first, rest) = token.split_first()?;
    let mut from = 0;
    while let Some(at) = text[from..].iter().position(|&b| b == first) {
        let after = from + at + 1;
        if text[after..].starts_with(rest) {
            return Some(after - 1);
        }
        from = after;
    }
    None
}
