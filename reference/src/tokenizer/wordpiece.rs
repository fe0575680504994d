//! WordPiece: normalized words, each taken apart into the longest pieces from the left.

use super::trie::Trie;
use super::unicode::{self, Flags};
use super::vocab::Vocab;

/// Marks the start of a word in the vocabulary.
const WORD_START: &[u8] = "▁".as_bytes();

/// The pieces of one vocabulary.
pub(super) struct WordPiece {
    pieces: Trie,
}

impl WordPiece {
    pub(super) fn new(vocab: &Vocab) -> Self {
        let pieces = vocab
            .tokens
            .iter()
            .enumerate()
            .map(|(id, token)| (token.text.clone(), id as u32));
        Self {
            pieces: Trie::new(pieces),
        }
    }

    /// Tokens of a stretch of text without special tokens.
    pub(super) fn encode(&self, vocab: &Vocab, text: &[u8], out: &mut Vec<u32>) {
        for word in words(vocab, text) {
            let marked = [WORD_START, &word].concat();
            let first = out.len();
            let mut rest = marked.as_slice();
            while !rest.is_empty() {
                let Some((len, id)) = self.pieces.prefixes(rest).last() else {
                    out.truncate(first);
                    break;
                };
                out.push(id);
                rest = &rest[len..];
            }
            if out.len() == first {
                out.extend(vocab.special.unk);
            }
        }
    }
}

/// BERT's normalization: accents and case go, control characters too; punctuation marks and Chinese
/// characters are words of their own.
fn words(vocab: &Vocab, text: &[u8]) -> Vec<Vec<u8>> {
    let mut words = Vec::new();
    let mut word = Vec::new();
    for mut c in unicode::decode(text) {
        if vocab.flags.strip_accents {
            c = unicode::decomposed_base(c);
        }
        let flags = unicode::flags(c);
        if flags.any(Flags::SPACE) {
            words.push(std::mem::take(&mut word));
            continue;
        }
        let unwanted = c == 0 || c == unicode::REPLACEMENT || flags.any(Flags::CONTROL);
        if unwanted || (vocab.flags.strip_accents && flags.any(Flags::MARK)) {
            continue;
        }
        let alone = flags.any(Flags::PUNCTUATION) || (c < 0x7F && flags.any(Flags::SYMBOL)) || is_chinese(c);
        if alone {
            words.push(std::mem::take(&mut word));
        }
        unicode::encode(
            if vocab.flags.lowercase {
                unicode::to_lower(c)
            } else {
                c
            },
            &mut word,
        );
        if alone {
            words.push(std::mem::take(&mut word));
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}

/// Chinese characters as BERT counts them; the gap before U+2B920 is that of the original's code.
fn is_chinese(c: u32) -> bool {
    matches!(c,
        0x3400..=0x4DBF | 0x4E00..=0x9FFF | 0xF900..=0xFAFF | 0x20000..=0x2A6DF | 0x2A700..=0x2B81F
        | 0x2B920..=0x2CEAF | 0x2F800..=0x2FA1F)
}
