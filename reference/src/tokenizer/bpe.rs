//! Byte-pair encoding: words are merged pair by pair, the pair of lowest rank first.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use gguf::{Array, Metadata, Value};

use super::cache::Cache;
use super::pretokenizer::{Family, PreTokenizer};
use super::symbols::{self, Neighbours, Symbol};
use super::unicode;
use super::vocab::{KMER_MARKER, Vocab, wrong_type};
use crate::error::Result;

/// Letters in one token of DNA.
const KMER: usize = 6;

/// Interned text of a symbol; [`UNNAMED`] when no merge mentions it.
type SymbolId = u32;
const UNNAMED: SymbolId = u32::MAX;

/// Byte-pair merges of one vocabulary.
pub(super) struct BytePair {
    words: PreTokenizer,
    /// The symbols that start a word, by their text.
    names: HashMap<Box<[u8]>, SymbolId>,
    /// Rank and result of merging two symbols.
    merges: HashMap<(SymbolId, SymbolId), (u32, SymbolId)>,
    /// Token of each symbol.
    tokens: Vec<Option<u32>>,
}

impl BytePair {
    pub(super) fn new(vocab: &Vocab, metadata: &Metadata) -> Result<Self> {
        const KEY: &str = "tokenizer.ggml.merges";
        let merges: &[_] = match metadata.get(KEY) {
            Some(Value::Array(Array::String(merges))) => merges,
            None if vocab.family == Family::KimiK2 => &[],
            found => return Err(wrong_type(KEY, found, "an array of strings")),
        };
        let mut this = Self {
            words: PreTokenizer::new(vocab.family)?,
            names: HashMap::with_capacity(vocab.tokens.len()),
            merges: HashMap::with_capacity(merges.len()),
            tokens: Vec::new(),
        };
        for (rank, merge) in merges.iter().enumerate() {
            // The first byte belongs to the left symbol, whatever it is.
            let Some(space) = merge.0.iter().skip(1).position(|&b| b == b' ') else {
                continue;
            };
            let (left, right) = (&merge.0[..space + 1], &merge.0[space + 2..]);
            let pair = (this.intern(vocab, left), this.intern(vocab, right));
            let merged = this.intern(vocab, &[left, right].concat());
            this.merges.entry(pair).or_insert((rank as u32, merged));
        }
        Ok(this)
    }

    fn intern(&mut self, vocab: &Vocab, text: &[u8]) -> SymbolId {
        if let Some(&id) = self.names.get(text) {
            return id;
        }
        let id = self.tokens.len() as SymbolId;
        self.names.insert(text.into(), id);
        self.tokens.push(vocab.id(text));
        id
    }

    /// Tokens of a stretch of text without special tokens.
    pub(super) fn encode(&self, vocab: &Vocab, text: &[u8], cache: &mut Cache, out: &mut Vec<u32>) {
        match vocab.model.as_str() {
            "hybriddna" => self.encode_dna(vocab, text, cache, out),
            "whitespace" => self.encode_spaceless(vocab, text, cache, out),
            _ => self.encode_text(vocab, text, cache, out),
        }
    }

    fn encode_text(&self, vocab: &Vocab, text: &[u8], cache: &mut Cache, out: &mut Vec<u32>) {
        let code_points = unicode::decode(text);
        let mut start = 0;
        let mut word = Vec::new();
        for end in self.words.split(&code_points) {
            word.clear();
            for &code_point in &code_points[start..end] {
                unicode::encode(code_point, &mut word);
            }
            start = end;
            cache.encode(&word, out, |out| self.encode_word(vocab, &word, out));
        }
    }

    fn encode_word(&self, vocab: &Vocab, word: &[u8], out: &mut Vec<u32>) {
        let spelled: Vec<u8>;
        let word = if vocab.flags.byte_encode {
            let mut text = Vec::with_capacity(word.len() * 2);
            for &byte in word {
                unicode::encode(unicode::BYTE_TO_CHAR[usize::from(byte)], &mut text);
            }
            spelled = text;
            spelled.as_slice()
        } else {
            word
        };
        let whole_first =
            vocab.flags.ignore_merges || (vocab.family == Family::Gemma4 && word.iter().all(|&b| b == b'\n'));
        if whole_first && let Some(token) = vocab.id(word) {
            out.push(token);
            return;
        }
        for symbol in self.merge(word) {
            let text = symbol.text(word);
            let token = match symbol.of {
                UNNAMED => vocab.id(text),
                id => self.tokens[id as usize],
            };
            if let Some(token) = token {
                out.push(token);
            } else if vocab.flags.byte_encode {
                out.extend(text.iter().filter_map(|&byte| vocab.id(&[byte])));
            } else {
                out.extend(text.iter().filter_map(|&byte| vocab.byte_id(byte)));
            }
        }
    }

    /// The symbols of a word when no merge is left to do.
    fn merge(&self, word: &[u8]) -> impl Iterator<Item = Symbol<SymbolId>> + use<> {
        let named = |text: &[u8]| self.names.get(text).copied().unwrap_or(UNNAMED);
        let mut symbols = symbols::characters(word, named);
        let mut queue = BinaryHeap::new();
        let consider = |symbols: &[Symbol<SymbolId>], queue: &mut BinaryHeap<Reverse<Pair>>, left: usize| {
            let Some((symbols, [a, b])) = symbols::neighbours(symbols, left) else {
                return;
            };
            if let Some(&(rank, merged)) = self.merges.get(&(a.of, b.of)) {
                queue.push(Reverse(Pair {
                    rank,
                    symbols,
                    merged,
                }));
            }
        };
        for left in 0..symbols.len() {
            consider(&symbols, &mut queue, left);
        }
        while let Some(Reverse(pair)) = queue.pop() {
            if let Some(before) = symbols::merge(&mut symbols, pair.symbols, pair.merged) {
                consider(&symbols, &mut queue, before);
                consider(&symbols, &mut queue, pair.symbols.left);
            }
        }
        symbols.into_iter().filter(|symbol| symbol.len > 0)
    }

    /// White space only separates, and letters may have to be small.
    fn encode_spaceless(&self, vocab: &Vocab, text: &[u8], cache: &mut Cache, out: &mut Vec<u32>) {
        let code_points = unicode::decode(text);
        let space = |&c: &u32| unicode::flags(c).any(unicode::Flags::SPACE);
        for segment in code_points.split(space).filter(|segment| !segment.is_empty()) {
            let mut word = Vec::new();
            for &c in segment {
                unicode::encode(
                    if vocab.flags.lowercase {
                        unicode::to_lower(c)
                    } else {
                        c
                    },
                    &mut word,
                );
            }
            self.encode_text(vocab, &word, cache, out);
        }
    }

    /// Text between `<dna>` and `</dna>` becomes tokens of six letters, filled up with `A`.
    fn encode_dna(&self, vocab: &Vocab, text: &[u8], cache: &mut Cache, out: &mut Vec<u32>) {
        let (Some(open), Some(close), Some(oov)) =
            (vocab.id(b"<dna>"), vocab.id(b"</dna>"), vocab.id(b"<oov>"))
        else {
            return self.encode_text(vocab, text, cache, out);
        };
        let mut rest = text;
        while !rest.is_empty() {
            let (before, tagged) = split_once(rest, b"<dna>");
            self.encode_text(vocab, before, cache, out);
            let Some(tagged) = tagged else { return };
            out.push(open);
            let (sequence, after) = split_once(tagged, b"</dna>");
            for letters in sequence.to_ascii_uppercase().chunks(KMER) {
                let mut kmer = letters.to_vec();
                kmer.resize(KMER, b'A');
                kmer.extend_from_slice(KMER_MARKER);
                out.push(vocab.id(&kmer).unwrap_or(oov));
            }
            let Some(after) = after else { return };
            out.push(close);
            rest = after;
        }
    }
}

fn split_once<'a>(text: &'a [u8], tag: &[u8]) -> (&'a [u8], Option<&'a [u8]>) {
    match text.windows(tag.len()).position(|window| window == tag) {
        Some(at) => (&text[..at], Some(&text[at + tag.len()..])),
        None => (text, None),
    }
}

/// Two neighbours that may merge; ordered by rank, then from the left.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Pair {
    rank: u32,
    symbols: Neighbours,
    merged: SymbolId,
}
