//! SentencePiece's merging: neighbours that form a token merge, the highest score first.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::cache::Cache;
use super::unicode;
use super::vocab::{Token, Vocab};

const SPACE: &[u8] = "▁".as_bytes();

/// Merging by the scores of one vocabulary.
pub(super) struct SentencePiece {
    /// Whether no token has an escaped space after anything but escaped spaces. Then nothing merges
    /// across the start of a word, and words can be looked at one by one.
    by_words: bool,
}

impl SentencePiece {
    pub(super) fn new(vocab: &Vocab) -> Self {
        let space_leads = |token: &Token| {
            let mut rest = token.text.as_slice();
            while let Some(after) = rest.strip_prefix(SPACE) {
                rest = after;
            }
            !rest.windows(SPACE.len()).any(|window| window == SPACE)
        };
        Self {
            by_words: vocab.tokens.iter().all(space_leads),
        }
    }

    /// Tokens of a stretch of text whose spaces are escaped already.
    pub(super) fn encode(&self, vocab: &Vocab, text: &[u8], cache: &mut Cache, out: &mut Vec<u32>) {
        if !self.by_words {
            return encode_merging(vocab, text, out);
        }
        let mut word = 0;
        let mut start = 0;
        let mut after_space = true;
        while start < text.len() {
            let len = symbol_len(text, start);
            let space = &text[start..start + len] == SPACE;
            if space && !after_space {
                let piece = &text[word..start];
                cache.encode(piece, out, |out| encode_merging(vocab, piece, out));
                word = start;
            }
            after_space = space;
            start += len;
        }
        let piece = &text[word..];
        cache.encode(piece, out, |out| encode_merging(vocab, piece, out));
    }
}

/// Length of the character at a position, cut at the end of the text.
fn symbol_len(text: &[u8], start: usize) -> usize {
    unicode::sequence_len(text[start]).min(text.len() - start)
}

fn encode_merging(vocab: &Vocab, text: &[u8], out: &mut Vec<u32>) {
    let mut symbols: Vec<Symbol> = Vec::with_capacity(text.len());
    let mut start = 0;
    while start < text.len() {
        let len = symbol_len(text, start);
        let here = symbols.len();
        let next = if start + len < text.len() {
            here + 1
        } else {
            usize::MAX
        };
        symbols.push(Symbol {
            start,
            len,
            previous: here.wrapping_sub(1),
            next,
        });
        start += len;
    }
    let mut queue = BinaryHeap::new();
    let consider = |symbols: &[Symbol], queue: &mut BinaryHeap<Pair>, left: usize| {
        let Some(a) = symbols.get(left) else { return };
        let Some(b) = symbols.get(a.next) else { return };
        let size = a.len + b.len;
        if let Some(id) = vocab.id(&text[a.start..a.start + size]) {
            // Adding zero makes negative zero positive, which the order would tell apart.
            let score = vocab.tokens[id as usize].score + 0.0;
            queue.push(Pair {
                score,
                left,
                right: a.next,
                size,
            });
        }
    };
    for left in 0..symbols.len() {
        consider(&symbols, &mut queue, left);
    }
    while let Some(pair) = queue.pop() {
        let (a, b) = (symbols[pair.left], symbols[pair.right]);
        if a.len == 0 || b.len == 0 || a.len + b.len != pair.size {
            continue;
        }
        symbols[pair.left] = Symbol {
            len: pair.size,
            next: b.next,
            ..a
        };
        symbols[pair.right].len = 0;
        if let Some(after) = symbols.get_mut(b.next) {
            after.previous = pair.left;
        }
        consider(&symbols, &mut queue, a.previous);
        consider(&symbols, &mut queue, pair.left);
    }
    for symbol in symbols.iter().filter(|symbol| symbol.len > 0) {
        let piece = &text[symbol.start..symbol.start + symbol.len];
        match vocab.id(piece) {
            Some(id) => out.push(id),
            None => out.extend(piece.iter().filter_map(|&byte| byte_token(vocab, byte))),
        }
    }
}

/// The token of a byte: its own, else the character's, else the unknown token.
fn byte_token(vocab: &Vocab, byte: u8) -> Option<u32> {
    vocab
        .byte_id(byte)
        .or_else(|| vocab.id(&[byte]))
        .or(vocab.special.unk)
}

/// A stretch of the text, linked to its neighbours. An index out of range means there is none.
#[derive(Clone, Copy)]
struct Symbol {
    start: usize,
    len: usize,
    previous: usize,
    next: usize,
}

/// Two neighbours that form a token.
struct Pair {
    score: f32,
    left: usize,
    right: usize,
    /// Their length when found; another length says that they have changed since.
    size: usize,
}

impl Ord for Pair {
    fn cmp(&self, other: &Self) -> Ordering {
        self.score
            .total_cmp(&other.score)
            .then(other.left.cmp(&self.left))
    }
}

impl PartialOrd for Pair {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Pair {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Pair {}
