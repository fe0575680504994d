//! Unigram: the segmentation of highest score, after the model's own normalization.

use gguf::{Array, Metadata, Value};

use super::trie::Trie;
use super::unicode;
use super::vocab::{Vocab, attribute, wrong_type};
use crate::error::{Error, Result};

/// Penalty of an unknown character below the worst token.
const UNKNOWN_PENALTY: f32 = 10.0;
const REPLACEMENT: &[u8] = "\u{FFFD}".as_bytes();
const ESCAPED_SPACE: &[u8] = "▁".as_bytes();
/// Longest text that one character becomes, in bytes; published ones stay under 40. A text grows by no more.
const MAX_REPLACEMENT_BYTES: usize = 256;
const KEY: &str = "tokenizer.ggml.precompiled_charsmap";

/// Tokens and normalization of one vocabulary.
pub(super) struct Unigram {
    tokens: Trie,
    user_defined: Trie,
    unknown_score: f32,
    charsmap: Charsmap,
}

/// The best segmentation of the text up to a position.
#[derive(Clone, Copy)]
struct Best {
    token: Option<u32>,
    start: usize,
    score: f64,
}

impl Unigram {
    /// Token kinds count here as they are stored, before special tokens are recognized by their text.
    pub(super) fn new(vocab: &Vocab, metadata: &Metadata) -> Result<Self> {
        let tokens = || vocab.tokens.iter().zip(0u32..);
        let key = |(token, id): (&super::vocab::Token, u32)| (token.text.clone(), id);
        let usable = attribute::NORMAL | attribute::USER_DEFINED | attribute::UNUSED;
        let lowest = tokens().filter(|(token, _)| token.has(attribute::NORMAL)).fold(
            f32::MAX,
            |lowest, (token, _)| if token.score < lowest { token.score } else { lowest },
        );
        Ok(Self {
            tokens: Trie::new(tokens().filter(|(token, _)| token.has(usable)).map(key)),
            user_defined: Trie::new(
                tokens()
                    .filter(|(token, _)| token.has(attribute::USER_DEFINED))
                    .map(key),
            ),
            unknown_score: lowest - UNKNOWN_PENALTY,
            charsmap: Charsmap::read(metadata)?,
        })
    }

    /// Tokens of a stretch of text without special tokens.
    pub(super) fn encode(&self, vocab: &Vocab, text: &[u8], out: &mut Vec<u32>) {
        let text = self.normalize(vocab, text);
        let unknown = vocab.special.unk;
        let mut best = vec![
            Best {
                token: unknown,
                start: 0,
                score: f64::MIN
            };
            text.len() + 1
        ];
        best[0].score = 0.0;
        let mut start = 0;
        while start < text.len() {
            let character = unicode::sequence_len(text[start]).min(text.len() - start);
            let here = best[start].score;
            let mut whole_character = false;
            let mut challenge = |end: usize, token: Option<u32>, score: f64| {
                if score > best[end].score {
                    best[end] = Best { token, start, score };
                }
            };
            for (len, id) in self.tokens.prefixes(&text[start..]) {
                whole_character |= len == character;
                let token = &vocab.tokens[id as usize];
                let score = if token.has(attribute::USER_DEFINED) {
                    0.0
                } else {
                    f64::from(token.score)
                };
                challenge(start + len, Some(id), here + score);
            }
            if !whole_character {
                challenge(start + character, unknown, here + f64::from(self.unknown_score));
            }
            start += character;
        }
        let first = out.len();
        let mut end = text.len();
        let mut after_unknown = false;
        while end > 0 {
            let Best { token, start, .. } = best[end];
            let is_unknown = token == unknown;
            if !(is_unknown && after_unknown) {
                out.extend(token);
            }
            after_unknown = is_unknown;
            end = start;
        }
        out[first..].reverse();
    }

    fn normalize(&self, vocab: &Vocab, mut text: &[u8]) -> Vec<u8> {
        let space: &[u8] = if vocab.flags.escape_spaces {
            ESCAPED_SPACE
        } else {
            b" "
        };
        let merge = vocab.flags.remove_extra_spaces;
        let mut prefix = vocab.flags.add_space_prefix;
        let mut in_word = false;
        let mut out = Vec::with_capacity(text.len() * 2);
        while !text.is_empty() {
            let (normalized, consumed) = self.normalize_prefix(text);
            for &byte in normalized {
                if byte == b' ' {
                    in_word = false;
                    if !merge {
                        out.extend_from_slice(space);
                    }
                    continue;
                }
                if !in_word {
                    in_word = true;
                    if prefix || merge {
                        out.extend_from_slice(space);
                        prefix = false;
                    }
                }
                out.push(byte);
            }
            text = &text[consumed..];
        }
        out
    }

    /// Normalized form of the start of the text, and the bytes of it that were used.
    fn normalize_prefix<'a>(&'a self, text: &'a [u8]) -> (&'a [u8], usize) {
        let user_defined = self.user_defined.common_prefix(text);
        if user_defined > 0 {
            return (&text[..user_defined], user_defined);
        }
        if let Some((replacement, len)) = self.charsmap.longest(text) {
            return (replacement, len);
        }
        match unicode::decode_first(text) {
            Some((_, len)) => (&text[..len], len),
            None => (REPLACEMENT, 1),
        }
    }
}

/// SentencePiece's precompiled normalization: a double array of prefixes, and their replacements.
///
/// The array is XOR-compressed (Kanda 2018). A unit holds the label in bits 0 to 7, whether a
/// replacement ends here in bit 8, and the offset of the children from bit 10 on, scaled by 256 when
/// bit 9 is set; a unit of a replacement holds its position in bits 0 to 30.
#[derive(Default)]
struct Charsmap {
    units: Vec<u32>,
    replacements: Vec<u8>,
}

impl Charsmap {
    fn read(metadata: &Metadata) -> Result<Self> {
        let bytes: Vec<u8> = match metadata.get(KEY) {
            None => return Ok(Self::default()),
            Some(Value::Array(Array::U8(bytes))) => bytes.clone(),
            Some(Value::Array(Array::I8(bytes))) => bytes.iter().map(|&b| b as u8).collect(),
            found => return Err(wrong_type(KEY, found, "an array of bytes")),
        };
        let short = || Error::Tokenizer(format!("key '{KEY}': expected more bytes, found {}", bytes.len()));
        let (size, rest) = bytes.split_first_chunk().ok_or_else(short)?;
        let size = u32::from_le_bytes(*size) as usize;
        if size >= rest.len() {
            return Err(short());
        }
        let (array, replacements) = rest.split_at(size);
        let longest = replacements
            .split(|&b| b == 0)
            .map(<[u8]>::len)
            .max()
            .unwrap_or(0);
        if longest > MAX_REPLACEMENT_BYTES {
            return Err(Error::Tokenizer(format!(
                "key '{KEY}': expected replacements of at most {MAX_REPLACEMENT_BYTES} bytes, found {longest}"
            )));
        }
        let units = array
            .chunks_exact(4)
            .map(|unit| u32::from_le_bytes([unit[0], unit[1], unit[2], unit[3]]));
        Ok(Self {
            units: units.collect(),
            replacements: replacements.to_vec(),
        })
    }

    /// The replacement of the longest prefix that has one, and the length of that prefix. A walk that
    /// leaves the array ends there.
    fn longest(&self, text: &[u8]) -> Option<(&[u8], usize)> {
        let base = |unit: u32| (unit >> 10) << ((unit & 1 << 9) >> 6);
        let mut node = base(*self.units.first()?);
        let mut found = None;
        for (&byte, len) in text.iter().zip(1..) {
            if byte == 0 {
                break;
            }
            node ^= u32::from(byte);
            let Some(&unit) = self.units.get(node as usize) else {
                break;
            };
            if unit & (1 << 31 | 0xFF) != u32::from(byte) {
                break;
            }
            node ^= base(unit);
            if unit >> 8 & 1 == 1 {
                let Some(&value) = self.units.get(node as usize) else {
                    break;
                };
                found = Some(((value & 0x7FFF_FFFF) as usize, len));
            }
        }
        let (start, len) = found?;
        let replacement = self.replacements.get(start..)?;
        let end = replacement.iter().position(|&b| b == 0)?;
        Some((&replacement[..end], len))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_charsmap_that_lengthens_texts_is_refused() {
        let mut metadata = Metadata::new();
        let map = |length: usize| [&4u32.to_le_bytes()[..], &[0; 4], &vec![b'a'; length], &[0]].concat();
        metadata.set(KEY, map(MAX_REPLACEMENT_BYTES));
        assert!(Charsmap::read(&metadata).is_ok());
        metadata.set(KEY, map(MAX_REPLACEMENT_BYTES + 1));
        assert!(Charsmap::read(&metadata).is_err());
    }

    #[test]
    fn a_charsmap_that_points_outside_itself_replaces_nothing() {
        let mut units = vec![0u32; 300];
        units[0] = 1 << 10;
        units[(1 ^ b'a') as usize] = u32::from(b'a') | 1 << 8 | (0x1F_FFFF << 10);
        let map = Charsmap {
            units,
            replacements: b"x\0".to_vec(),
        };
        assert_eq!(map.longest(b"a"), None);
        assert_eq!(map.longest(b"b"), None);
        assert_eq!(Charsmap::default().longest(b"a"), None);
    }
}
