//! SentencePiece's merging: neighbours that form a token merge, the highest score first.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::cache::Cache;
use super::symbols::{self, Neighbours, Symbol};
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
            let len = symbols::character_len(text, start);
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

fn encode_merging(vocab: &Vocab, text: &[u8], out: &mut Vec<u32>) {
    let mut symbols = symbols::characters(text, |_| ());
    let mut queue = BinaryHeap::new();
    let consider = |symbols: &[Symbol<()>], queue: &mut BinaryHeap<Pair>, left: usize| {
        let Some((symbols, [a, b])) = symbols::neighbours(symbols, left) else {
            return;
        };
        if let Some(id) = vocab.id(&text[a.start..b.start + b.len]) {
            // Adding zero makes negative zero positive, which the order would tell apart.
            let score = vocab.tokens[id as usize].score + 0.0;
            queue.push(Pair { score, symbols });
        }
    };
    for left in 0..symbols.len() {
        consider(&symbols, &mut queue, left);
    }
    while let Some(pair) = queue.pop() {
        if let Some(before) = symbols::merge(&mut symbols, pair.symbols, ()) {
            consider(&symbols, &mut queue, before);
            consider(&symbols, &mut queue, pair.symbols.left);
        }
    }
    for symbol in symbols.iter().filter(|symbol| symbol.len > 0) {
        let piece = symbol.text(text);
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

/// Two neighbours that form a token.
struct Pair {
    score: f32,
    symbols: Neighbours,
}

impl Ord for Pair {
    fn cmp(&self, other: &Self) -> Ordering {
        self.score
            .total_cmp(&other.score)
            .then(other.symbols.left.cmp(&self.symbols.left))
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
