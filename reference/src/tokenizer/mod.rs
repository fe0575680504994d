//! The tokenizer of a model, from the metadata of its GGUF alone. Token ids equal llama.cpp's.
//!
//! Text is bytes. Malformed UTF-8 is taken as llama.cpp takes it: byte by byte, as U+FFFD where an
//! algorithm works on code points and as bytes where it works on bytes.

mod bpe;
mod cache;
mod check;
mod decode;
mod partition;
mod plamo2;
mod pretokenizer;
mod rwkv;
mod sentencepiece;
mod special;
mod symbols;
mod trie;
mod unicode;
mod unigram;
mod vocab;
mod wordpiece;

use gguf::Metadata;

use crate::error::Result;
pub use check::{Inconsistency, check};
use partition::{Fragment, Partition};
pub use pretokenizer::pre_tokenizers;
pub use vocab::{MAX_TOKEN_BYTES, MAX_TOKENS, TokenizerKind};
use vocab::{Vocab, attribute};

/// Turns text into token ids and back.
pub struct Tokenizer {
    vocab: Vocab,
    partition: Partition,
    algorithm: Algorithm,
}

enum Algorithm {
    SentencePiece(sentencepiece::SentencePiece),
    BytePair(bpe::BytePair),
    WordPiece(wordpiece::WordPiece),
    Unigram(unigram::Unigram),
    Rwkv(rwkv::Rwkv),
    Plamo2(plamo2::Plamo2),
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer")
            .field("kind", &self.vocab.kind)
            .field("family", &self.vocab.family)
            .field("n_vocab", &self.vocab.tokens.len())
            .finish_non_exhaustive()
    }
}

impl Tokenizer {
    /// The tokenizer that the `tokenizer.ggml.*` keys describe.
    ///
    /// # Errors
    /// A key that is missing, of the wrong type or too short, an unknown kind or pre-tokenizer, and two
    /// tokens of the same text. A special id beyond the vocabulary is ignored with a warning.
    pub fn from_metadata(metadata: &Metadata) -> Result<Self> {
        let mut vocab = Vocab::read(metadata)?;
        let algorithm = match vocab.kind {
            TokenizerKind::SentencePiece => {
                Algorithm::SentencePiece(sentencepiece::SentencePiece::new(&vocab))
            }
            TokenizerKind::BytePair => Algorithm::BytePair(bpe::BytePair::new(&vocab, metadata)?),
            TokenizerKind::WordPiece => Algorithm::WordPiece(wordpiece::WordPiece::new(&vocab)),
            TokenizerKind::Unigram => Algorithm::Unigram(unigram::Unigram::new(&vocab, metadata)?),
            TokenizerKind::Rwkv => Algorithm::Rwkv(rwkv::Rwkv::new(&vocab)),
            TokenizerKind::Plamo2 => Algorithm::Plamo2(plamo2::Plamo2::new(&vocab)?),
        };
        special::resolve(&mut vocab, metadata)?;
        let partition = Partition::new(&vocab);
        Ok(Self {
            vocab,
            partition,
            algorithm,
        })
    }

    /// Token ids of a text.
    ///
    /// `add_special` adds BOS, EOS or SEP where the model wants them. `parse_special` takes the text of
    /// control tokens in the input for these tokens; user-defined tokens are always recognized.
    pub fn encode(&self, text: impl AsRef<[u8]>, add_special: bool, parse_special: bool) -> Vec<u32> {
        let text = text.as_ref();
        let vocab = &self.vocab;
        let mut out = Vec::new();
        let begins = match self.algorithm {
            Algorithm::WordPiece(_) => true,
            Algorithm::Rwkv(_) | Algorithm::Plamo2(_) => false,
            _ => vocab.flags.add_bos,
        };
        if add_special && begins {
            out.extend(vocab.special.bos);
        }
        let mut cache = cache::Cache::default();
        let mut after_special = true;
        for fragment in self.partition.split(vocab, text, parse_special) {
            let range = match fragment {
                Fragment::Token(id) => {
                    out.push(id);
                    after_special = true;
                    continue;
                }
                Fragment::Text(range) => range,
            };
            let text = &text[range];
            match &self.algorithm {
                Algorithm::SentencePiece(pieces) => {
                    let prefix = vocab.flags.add_space_prefix && after_special;
                    pieces.encode(vocab, &escape_spaces(text, prefix), &mut cache, &mut out);
                }
                Algorithm::BytePair(bpe) if vocab.flags.escape_spaces => {
                    bpe.encode(vocab, &escape_spaces(text, false), &mut cache, &mut out);
                }
                Algorithm::BytePair(bpe) => bpe.encode(vocab, text, &mut cache, &mut out),
                Algorithm::WordPiece(pieces) => pieces.encode(vocab, text, &mut out),
                Algorithm::Unigram(unigram) => unigram.encode(vocab, text, &mut out),
                Algorithm::Rwkv(rwkv) => rwkv.encode(vocab, text, &mut out),
                Algorithm::Plamo2(plamo2) => plamo2.encode(vocab, text, &mut out),
            }
            after_special = false;
        }
        if add_special {
            match self.algorithm {
                Algorithm::WordPiece(_) => out.extend(vocab.special.sep),
                Algorithm::Rwkv(_) | Algorithm::Plamo2(_) => {}
                _ if vocab.flags.add_eos => out.extend(vocab.special.eos),
                _ => {}
            }
        }
        out
    }

    /// The bytes that a token stands for, which need not be whole UTF-8 characters. Control tokens show
    /// their text; an id beyond the vocabulary has none.
    pub fn piece(&self, id: u32) -> Vec<u8> {
        decode::piece(&self.vocab, id)
    }

    /// The text of tokens.
    ///
    /// `remove_special` leaves out a BOS at the start and an EOS at the end that the model adds;
    /// `show_special` shows the text of other control tokens.
    pub fn decode(&self, mut ids: &[u32], remove_special: bool, show_special: bool) -> Vec<u8> {
        let vocab = &self.vocab;
        let mut drop_space = vocab.flags.add_space_prefix;
        if remove_special
            && vocab.flags.add_bos
            && vocab.special.bos.is_some()
            && let Some((first, rest)) = ids.split_first()
            && Some(*first) == vocab.special.bos
        {
            drop_space = false;
            ids = rest;
        }
        if remove_special
            && vocab.flags.add_eos
            && vocab.special.eos.is_some()
            && let Some((last, rest)) = ids.split_last()
            && Some(*last) == vocab.special.eos
        {
            ids = rest;
        }
        let mut out = Vec::new();
        for &id in ids {
            let hidden = vocab
                .token(id)
                .is_some_and(|token| token.has(attribute::UNKNOWN | attribute::CONTROL) && !show_special);
            if !hidden {
                let piece = self.piece(id);
                let skip = usize::from(drop_space && piece.first() == Some(&b' '));
                out.extend_from_slice(&piece[skip..]);
            }
            drop_space = false;
        }
        if vocab.flags.clean_spaces {
            decode::clean_spaces(&out)
        } else {
            out
        }
    }

    /// The kind of tokenizer.
    pub fn kind(&self) -> TokenizerKind {
        self.vocab.kind
    }

    /// Number of tokens.
    pub fn n_vocab(&self) -> usize {
        self.vocab.tokens.len()
    }

    /// The token that begins a text.
    pub fn bos(&self) -> Option<u32> {
        self.vocab.special.bos
    }

    /// The token that ends a text.
    pub fn eos(&self) -> Option<u32> {
        self.vocab.special.eos
    }

    /// The token that ends a turn.
    pub fn eot(&self) -> Option<u32> {
        self.vocab.special.eot
    }

    /// The token that ends a message.
    pub fn eom(&self) -> Option<u32> {
        self.vocab.special.eom
    }

    /// The token of what the vocabulary cannot express.
    pub fn unk(&self) -> Option<u32> {
        self.vocab.special.unk
    }

    /// The token between two texts.
    pub fn sep(&self) -> Option<u32> {
        self.vocab.special.sep
    }

    /// The token that fills up batches.
    pub fn pad(&self) -> Option<u32> {
        self.vocab.special.pad
    }

    /// The token that hides another in training.
    pub fn mask(&self) -> Option<u32> {
        self.vocab.special.mask
    }

    /// Whether the model wants a BOS token before a text.
    pub fn add_bos(&self) -> bool {
        self.vocab.flags.add_bos
    }

    /// Whether the model wants an EOS token after a text.
    pub fn add_eos(&self) -> bool {
        self.vocab.flags.add_eos
    }

    /// Whether the model wants a SEP token between texts.
    pub fn add_sep(&self) -> bool {
        self.vocab.flags.add_sep
    }

    /// Whether a token ends a generation.
    pub fn is_end_of_generation(&self, id: u32) -> bool {
        self.vocab.special.eog.contains(&id)
    }
}

/// Replaces spaces by U+2581, after an optional leading one.
fn escape_spaces(text: &[u8], prefix: bool) -> Vec<u8> {
    const ESCAPED: &[u8] = "▁".as_bytes();
    let mut out = Vec::with_capacity(text.len() * 2);
    if prefix {
        out.extend_from_slice(ESCAPED);
    }
    for &byte in text {
        match byte {
            b' ' => out.extend_from_slice(ESCAPED),
            _ => out.push(byte),
        }
    }
    out
}
