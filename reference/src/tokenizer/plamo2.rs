//! PLaMo 2: the segmentation of lowest cost, found from the end of the text.

use super::trie::Trie;
use super::unicode;
use super::vocab::{Vocab, attribute};
use crate::error::{Error, Result};

/// Cost of a character that is spelled in bytes.
const UNKNOWN_COST: i64 = 10_000_000;
/// A token that costs this much or more is never used.
const FORBIDDEN_COST: i64 = 20_000_000;

/// Tokens and byte tokens of one vocabulary.
pub(super) struct Plamo2 {
    tokens: Trie,
    bytes: Vec<u32>,
}

impl Plamo2 {
    pub(super) fn new(vocab: &Vocab) -> Result<Self> {
        let byte = |byte: u8| {
            let id = vocab
                .byte_id(byte)
                .filter(|&id| vocab.tokens[id as usize].has(attribute::BYTE));
            id.ok_or_else(|| {
                Error::Tokenizer(format!(
                    "key 'tokenizer.ggml.tokens': expected the byte token <0x{byte:02X}>, found none"
                ))
            })
        };
        let bytes = (0..=255).map(byte).collect::<Result<_>>()?;
        let tokens = vocab
            .tokens
            .iter()
            .enumerate()
            .filter(|(_, token)| !token.has(attribute::BYTE));
        let tokens = Trie::new(tokens.map(|(id, token)| (token.text.clone(), id as u32)));
        Ok(Self { tokens, bytes })
    }

    /// Tokens of a stretch of text without special tokens.
    pub(super) fn encode(&self, vocab: &Vocab, text: &[u8], out: &mut Vec<u32>) {
        let mut code_points = unicode::decode(text);
        if code_points.first() == Some(&0xFEFF) {
            code_points.remove(0);
        }
        let mut text = Vec::with_capacity(text.len());
        let mut starts = Vec::with_capacity(code_points.len());
        for &c in &code_points {
            starts.push(text.len());
            unicode::encode(c, &mut text);
        }
        // By byte position: the cost of the rest, and the best first step there.
        let mut costs = vec![i64::MAX; text.len() + 1];
        let mut steps: Vec<(usize, Option<u32>)> = vec![(0, None); text.len()];
        costs[text.len()] = 0;
        let mut candidates = Vec::new();
        for (index, &start) in starts.iter().enumerate().rev() {
            let character = starts.get(index + 1).copied().unwrap_or(text.len()) - start;
            candidates.clear();
            candidates.extend(self.tokens.prefixes(&text[start..]).filter_map(|(len, id)| {
                let score = f64::from(vocab.tokens[id as usize].score) * 1e4;
                let cost = if score.is_finite() {
                    -i64::from(score.round() as i32)
                } else {
                    FORBIDDEN_COST
                };
                (cost < FORBIDDEN_COST && costs[start + len] != i64::MAX).then_some((cost, len, Some(id)))
            }));
            // Of equal costs the longest token is kept, and any token before bytes.
            candidates.reverse();
            candidates.push((UNKNOWN_COST, character, None));
            for &(cost, len, token) in &candidates {
                let total = costs[start + len].saturating_add(cost);
                if total < costs[start] {
                    costs[start] = total;
                    steps[start] = (len, token);
                }
            }
        }
        let mut at = 0;
        while at < text.len() {
            let (len, token) = steps[at];
            match token {
                Some(id) => out.push(id),
                None => out.extend(
                    text[at..at + len]
                        .iter()
                        .map(|&byte| self.bytes[usize::from(byte)]),
                ),
            }
            at += len.max(1);
        }
    }
}
