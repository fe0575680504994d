//! SentencePiece's merging: neighbours that form a token merge, the highest score first.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::unicode;
use super::vocab::Vocab;

/// Tokens of a stretch of text whose spaces are escaped already.
pub(super) fn encode(vocab: &Vocab, text: &[u8], out: &mut Vec<u32>) {
    let mut symbols: Vec<Symbol> = Vec::with_capacity(text.len());
    let mut start = 0;
    while start < text.len() {
        let len = unicode::sequence_len(text[start]).min(text.len() - start);
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
