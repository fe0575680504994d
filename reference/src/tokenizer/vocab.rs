//! The vocabulary of a GGUF's metadata: tokens with scores and kinds, special ids and flags.

use std::collections::{BTreeSet, HashMap};

use gguf::{Array, Metadata, Value};

use super::pretokenizer::{self, Defaults, Family};
use crate::error::{Error, Result};

/// Longest token text that is accepted, in bytes.
pub const MAX_TOKEN_BYTES: usize = 1 << 20;
/// Most tokens that are accepted; ids have to fit a signed 32-bit number with room to spare.
pub const MAX_TOKENS: usize = 1 << 28;

/// Reserved suffix that keeps DNA k-mers apart from equal text tokens.
pub(super) const KMER_MARKER: &[u8] = "\u{E000}".as_bytes();

/// The algorithm that a vocabulary is for, as `tokenizer.ggml.model` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TokenizerKind {
    /// `llama`: SentencePiece merges by score, with bytes as the last resort.
    SentencePiece,
    /// `gpt2` and its relatives: byte-pair merges by rank.
    BytePair,
    /// `bert`: longest pieces of normalized words.
    WordPiece,
    /// `t5`: the best segmentation by a unigram model.
    Unigram,
    /// `rwkv`: longest matches of byte strings.
    Rwkv,
    /// `plamo2`: the best segmentation from the end.
    Plamo2,
}

impl TokenizerKind {
    fn named(model: &str) -> Result<Self> {
        Ok(match model {
            "llama" => Self::SentencePiece,
            "gpt2" | "gemma4" | "hybriddna" | "whitespace" => Self::BytePair,
            "bert" => Self::WordPiece,
            "t5" => Self::Unigram,
            "rwkv" => Self::Rwkv,
            "plamo2" => Self::Plamo2,
            "no_vocab" | "none" => {
                return Err(Error::Tokenizer(format!(
                    "key 'tokenizer.ggml.model': expected a vocabulary, found {model:?}"
                )));
            }
            other => {
                return Err(Error::Tokenizer(format!(
                    "key 'tokenizer.ggml.model': expected llama, gpt2, bert, t5, rwkv, plamo2, gemma4, hybriddna or \
                     whitespace, found {other:?}"
                )));
            }
        })
    }
}

/// Attributes of a token, one bit each.
pub(super) mod attribute {
    pub(crate) const UNKNOWN: u16 = 1;
    pub(crate) const UNUSED: u16 = 1 << 1;
    pub(crate) const NORMAL: u16 = 1 << 2;
    pub(crate) const CONTROL: u16 = 1 << 3;
    pub(crate) const USER_DEFINED: u16 = 1 << 4;
    pub(crate) const BYTE: u16 = 1 << 5;
    /// White space on the left goes with the token.
    pub(crate) const STRIP_LEFT: u16 = 1 << 6;
    /// White space on the right goes with the token.
    pub(crate) const STRIP_RIGHT: u16 = 1 << 7;
}

/// One token.
#[derive(Clone, Debug)]
pub(super) struct Token {
    pub(super) text: Vec<u8>,
    pub(super) score: f32,
    pub(super) attributes: u16,
}

impl Token {
    pub(super) fn has(&self, attributes: u16) -> bool {
        self.attributes & attributes != 0
    }
}

/// Switches of the vocabulary.
#[derive(Clone, Debug)]
pub(super) struct Flags {
    pub(super) add_space_prefix: bool,
    pub(super) add_bos: bool,
    pub(super) add_eos: bool,
    pub(super) add_sep: bool,
    pub(super) ignore_merges: bool,
    pub(super) clean_spaces: bool,
    pub(super) remove_extra_spaces: bool,
    pub(super) escape_spaces: bool,
    pub(super) byte_encode: bool,
    pub(super) lowercase: bool,
    pub(super) strip_accents: bool,
}

impl Flags {
    /// Those of a kind of vocabulary.
    fn of(kind: TokenizerKind) -> Self {
        Self {
            add_space_prefix: kind == TokenizerKind::SentencePiece,
            add_bos: matches!(kind, TokenizerKind::SentencePiece | TokenizerKind::WordPiece),
            add_eos: kind == TokenizerKind::Unigram,
            add_sep: kind == TokenizerKind::WordPiece,
            ignore_merges: false,
            clean_spaces: kind == TokenizerKind::WordPiece,
            remove_extra_spaces: false,
            escape_spaces: true,
            byte_encode: true,
            lowercase: true,
            strip_accents: true,
        }
    }

    /// Sets those that a pre-tokenizer brings.
    fn take(&mut self, defaults: &Defaults) {
        self.ignore_merges = defaults.ignore_merges;
        self.add_bos = defaults.add_bos;
        self.add_sep = defaults.add_sep;
        self.clean_spaces = defaults.clean_spaces;
        self.escape_spaces = defaults.escape_spaces;
        self.byte_encode = defaults.byte_encode;
        self.lowercase = defaults.family != Family::Whitespace;
    }

    /// Sets those that the file has.
    fn read(&mut self, metadata: &Metadata) -> Result<()> {
        let set = |name: &str, flag: &mut bool| -> Result<()> {
            let key = format!("tokenizer.ggml.{name}");
            if let Some(value) = metadata.get(&key) {
                *flag = value
                    .as_bool()
                    .ok_or_else(|| wrong_type(&key, Some(value), "a boolean"))?;
            }
            Ok(())
        };
        set("add_space_prefix", &mut self.add_space_prefix)?;
        set("remove_extra_whitespaces", &mut self.remove_extra_spaces)?;
        set("add_bos_token", &mut self.add_bos)?;
        set("add_eos_token", &mut self.add_eos)?;
        set("add_sep_token", &mut self.add_sep)?;
        set("normalizer.lowercase", &mut self.lowercase)?;
        self.strip_accents = self.lowercase;
        set("normalizer.strip_accents", &mut self.strip_accents)
    }
}

/// Ids of the special tokens.
#[derive(Clone, Debug, Default)]
pub(super) struct Special {
    pub(super) bos: Option<u32>,
    pub(super) eos: Option<u32>,
    pub(super) eot: Option<u32>,
    pub(super) eom: Option<u32>,
    pub(super) unk: Option<u32>,
    pub(super) sep: Option<u32>,
    pub(super) pad: Option<u32>,
    pub(super) mask: Option<u32>,
    pub(super) fim_pre: Option<u32>,
    pub(super) fim_suf: Option<u32>,
    pub(super) fim_mid: Option<u32>,
    pub(super) fim_pad: Option<u32>,
    pub(super) fim_rep: Option<u32>,
    pub(super) fim_sep: Option<u32>,
    /// Tokens that end a generation.
    pub(super) eog: BTreeSet<u32>,
    /// Tokens that are looked for in text before it is split, longest first.
    pub(super) partition: Vec<u32>,
}

impl Special {
    /// The ids that a kind has by default.
    fn of(kind: TokenizerKind, model: &str) -> Self {
        let none = Self::default();
        match kind {
            TokenizerKind::SentencePiece => Self {
                bos: Some(1),
                eos: Some(2),
                unk: Some(0),
                ..none
            },
            TokenizerKind::BytePair if model == "gemma4" => none,
            TokenizerKind::BytePair => Self {
                bos: Some(11),
                eos: Some(11),
                ..none
            },
            TokenizerKind::WordPiece => Self {
                bos: Some(101),
                unk: Some(100),
                sep: Some(102),
                pad: Some(0),
                mask: Some(103),
                ..none
            },
            TokenizerKind::Unigram => Self {
                eos: Some(1),
                unk: Some(2),
                pad: Some(0),
                ..none
            },
            TokenizerKind::Rwkv => none,
            TokenizerKind::Plamo2 => Self {
                bos: Some(1),
                eos: Some(2),
                unk: Some(0),
                pad: Some(3),
                ..none
            },
        }
    }
}

/// Everything the algorithms ask about tokens.
pub(super) struct Vocab {
    pub(super) kind: TokenizerKind,
    /// `tokenizer.ggml.model` as stored.
    pub(super) model: String,
    pub(super) family: Family,
    pub(super) tokens: Vec<Token>,
    by_text: HashMap<Box<[u8]>, u32>,
    pub(super) longest: usize,
    pub(super) flags: Flags,
    pub(super) special: Special,
}

impl Vocab {
    /// Reads the tokens, their kinds and the flags; special ids are still those of the kind.
    pub(super) fn read(metadata: &Metadata) -> Result<Self> {
        let model = required_text(metadata, "tokenizer.ggml.model")?;
        let kind = TokenizerKind::named(model)?;
        let pre = match model {
            "gemma4" => "gemma4",
            _ => optional_text(metadata, "tokenizer.ggml.pre")?.unwrap_or(""),
        };
        let mut flags = Flags::of(kind);
        let mut family = Family::Default;
        let mut special = Special::of(kind, model);
        if kind == TokenizerKind::BytePair {
            let defaults = pre_tokenizer(pre)?;
            family = defaults.family;
            flags.take(&defaults);
            if defaults.no_bos {
                special.bos = None;
            }
        }
        flags.read(metadata)?;
        // Gemma 4 files were published without the flag that the model needs.
        flags.add_bos |= family == Family::Gemma4;

        let tokens = read_tokens(metadata)?;
        let mut by_text: HashMap<Box<[u8]>, u32> = HashMap::with_capacity(tokens.len());
        let mut longest = 0;
        for (id, token) in tokens.iter().enumerate() {
            longest = longest.max(token.text.len());
            if let Some(earlier) = by_text.insert(token.text.clone().into(), id as u32) {
                return Err(Error::Tokenizer(format!(
                    "key 'tokenizer.ggml.tokens': expected tokens that differ, found {:?} as tokens {earlier} and {id}",
                    String::from_utf8_lossy(&token.text)
                )));
            }
        }
        let mut vocab = Self {
            kind,
            model: model.to_owned(),
            family,
            tokens,
            by_text,
            longest,
            flags,
            special,
        };
        if model == "hybriddna"
            && let Some(oov) = vocab.id(b"<oov>")
        {
            for token in &mut vocab.tokens[oov as usize + 1..] {
                if token.text.len() > KMER_MARKER.len() && token.text.ends_with(KMER_MARKER) {
                    token.text.truncate(token.text.len() - KMER_MARKER.len());
                }
            }
        }
        Ok(vocab)
    }

    /// The token with this text.
    pub(super) fn id(&self, text: &[u8]) -> Option<u32> {
        if text.len() > self.longest {
            return None;
        }
        self.by_text.get(text).copied()
    }

    /// The token of a byte in the form `<0x0A>`.
    pub(super) fn byte_id(&self, byte: u8) -> Option<u32> {
        self.id(format!("<0x{byte:02X}>").as_bytes())
    }

    pub(super) fn token(&self, id: u32) -> Option<&Token> {
        self.tokens.get(id as usize)
    }
}

fn read_tokens(metadata: &Metadata) -> Result<Vec<Token>> {
    const KEY: &str = "tokenizer.ggml.tokens";
    let texts = match metadata.get(KEY) {
        Some(Value::Array(Array::String(texts))) => texts,
        found => return Err(wrong_type(KEY, found, "an array of strings")),
    };
    let n = texts.len();
    if n > MAX_TOKENS {
        return Err(Error::Tokenizer(format!(
            "key '{KEY}': expected at most {MAX_TOKENS} tokens, found {n}"
        )));
    }
    const SCORES: &str = "tokenizer.ggml.scores";
    let scores: Option<Vec<f32>> = match metadata.get(SCORES) {
        None => None,
        Some(Value::Array(Array::F32(scores))) => Some(scores.clone()),
        Some(Value::Array(Array::I32(scores))) => Some(scores.iter().map(|&s| s as f32).collect()),
        found => return Err(wrong_type(SCORES, found, "an array of f32 or i32")),
    };
    const KINDS: &str = "tokenizer.ggml.token_type";
    let kinds = match metadata.get(KINDS) {
        None => None,
        Some(Value::Array(Array::I32(kinds))) => Some(kinds),
        found => return Err(wrong_type(KINDS, found, "an array of i32")),
    };
    let lengths = [
        (SCORES, scores.as_ref().map(Vec::len)),
        (KINDS, kinds.map(Vec::len)),
    ];
    for (key, len) in lengths {
        if let Some(len) = len
            && len < n
        {
            return Err(Error::Tokenizer(format!(
                "key '{key}': expected a value for each of {n} tokens, found {len}"
            )));
        }
    }
    let mut tokens = Vec::with_capacity(n);
    for (id, text) in texts.iter().enumerate() {
        let mut text = text.0.clone();
        if text.len() > MAX_TOKEN_BYTES {
            return Err(Error::Tokenizer(format!(
                "key '{KEY}': expected at most {MAX_TOKEN_BYTES} bytes of token {id}, found {}",
                text.len()
            )));
        }
        if text.is_empty() {
            text = format!("[EMPTY_{id}]").into_bytes();
        }
        let attributes = match kinds.map(|kinds| kinds[id]) {
            None | Some(1) => attribute::NORMAL,
            Some(2) => attribute::UNKNOWN,
            Some(3) => attribute::CONTROL,
            Some(4) => attribute::USER_DEFINED,
            Some(5) => attribute::UNUSED,
            Some(6) => attribute::BYTE,
            Some(_) => 0,
        };
        let score = scores.as_ref().map_or(0.0, |scores| scores[id]);
        tokens.push(Token {
            text,
            score,
            attributes,
        });
    }
    Ok(tokens)
}

/// The error of a key that is missing or holds something else.
pub(super) fn wrong_type(key: &str, found: Option<&Value>, expected: &str) -> Error {
    let found = match found {
        None => "none".to_owned(),
        Some(Value::Array(array)) => format!("an array of {:?}", array.element_type()),
        Some(value) => format!("{:?}", value.value_type()),
    };
    Error::Tokenizer(format!("key '{key}': expected {expected}, found {found}"))
}

fn optional_text<'a>(metadata: &'a Metadata, key: &str) -> Result<Option<&'a str>> {
    match metadata.get(key) {
        None => Ok(None),
        Some(value) => value
            .as_str()
            .map(Some)
            .ok_or_else(|| wrong_type(key, Some(value), "a UTF-8 string")),
    }
}

fn required_text<'a>(metadata: &'a Metadata, key: &str) -> Result<&'a str> {
    optional_text(metadata, key)?.ok_or_else(|| wrong_type(key, None, "a string"))
}

/// The defaults of a pre-tokenizer's name.
fn pre_tokenizer(pre: &str) -> Result<Defaults> {
    let defaults = pretokenizer::defaults(pre).ok_or_else(|| {
        Error::Tokenizer(format!(
            "key 'tokenizer.ggml.pre': expected a pre-tokenizer that llama.cpp knows, found {pre:?}"
        ))
    })?;
    if pre.is_empty() {
        tracing::warn!("key 'tokenizer.ggml.pre' is missing: text is split by the pre-tokenizer \"default\"");
    }
    Ok(defaults)
}
