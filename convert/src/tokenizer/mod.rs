//! Vocabularies of Hugging Face model directories as GGUF `tokenizer.*` metadata.
//!
//! Keys, values and their order are those of llama.cpp's converter. What a tokenizer does is asked of
//! the `tokenizers` library; everything else is read from the directory's files, none of which is
//! trusted.

use std::path::Path;

use gguf::{Metadata, Value};

use crate::{Error, Result};

/// One way to read a vocabulary. An architecture lists the ways that its models are published in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VocabKind {
    /// `tokenizer.model`, written as GGUF tokenizer model `llama`.
    SentencePiece,
    /// `tokenizer.json` with byte fallback, written as GGUF tokenizer model `llama`.
    LlamaHf,
    /// `tokenizer.json` with byte-level merges, written as GGUF tokenizer model `gpt2`.
    Bpe,
}

/// What an architecture and the user want of a vocabulary.
#[derive(Clone, Debug, Default)]
pub struct VocabRequest {
    /// Tried in this order; the first one whose files are in the directory is taken.
    pub kinds: Vec<VocabKind>,
    /// `tokenizer.ggml.pre` of a byte-level vocabulary, instead of finding it (`--pre-tokenizer`).
    pub pre_tokenizer: Option<String>,
    /// Write `add_prefix_space` of `tokenizer_config.json`, where it is set, before everything else.
    pub space_prefix_from_config: bool,
    /// Read the special tokens a second time, for these types (`eot`, …) alone, each with the id to
    /// take when the directory names none.
    pub extra_special: Vec<(String, u32)>,
    /// Set `tokenizer.ggml.add_space_prefix` after everything else.
    pub space_prefix: Option<bool>,
    /// Set `tokenizer.ggml.add_bos_token` after everything else.
    pub add_bos: Option<bool>,
}

impl VocabRequest {
    /// A vocabulary of one of these kinds.
    pub fn new(kinds: &[VocabKind]) -> Self {
        Self {
            kinds: kinds.to_vec(),
            ..Self::default()
        }
    }

    /// What llama.cpp's converter does for Llama, Mistral and their kin. `config` is the model's
    /// `config.json`: two vocabulary sizes stand for Code Llama and for Granite's small models.
    pub fn llama(config: &serde_json::Value) -> Self {
        let mut request = Self::new(&[VocabKind::SentencePiece, VocabKind::LlamaHf, VocabKind::Bpe]);
        request.space_prefix_from_config = true;
        match root_or_text_config(config, "vocab_size").and_then(serde_json::Value::as_u64) {
            Some(32016) => {
                request.extra_special = [
                    ("prefix", 32007),
                    ("suffix", 32008),
                    ("middle", 32009),
                    ("eot", 32010),
                ]
                .map(|(name, id)| (name.to_owned(), id))
                .to_vec();
            }
            Some(49152) => request.add_bos = Some(false),
            _ => {}
        }
        request
    }

    /// What llama.cpp's converter does for Qwen2 and Qwen3.
    pub fn qwen2() -> Self {
        Self::new(&[VocabKind::SentencePiece, VocabKind::Bpe])
    }

    /// Takes `name` as the pre-tokenizer instead of finding it.
    #[must_use]
    pub fn with_pre_tokenizer(mut self, name: Option<String>) -> Self {
        self.pre_tokenizer = name;
        self
    }
}

/// A vocabulary, ready to be written.
#[derive(Clone, Debug)]
pub struct Vocabulary {
    /// The `tokenizer.*` keys in output order.
    pub metadata: Metadata,
    /// Number of tokens, padding included.
    pub n_vocab: usize,
    /// How it was read.
    pub kind: VocabKind,
    /// For a byte-level vocabulary, how its pre-tokenizer was found.
    pub pre_tokenizer: Option<PreTokenizer>,
    /// What the user should know: ids out of range, templates without a handler, and the like.
    pub warnings: Vec<String>,
}

/// The name of a pre-tokenizer and how it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreTokenizer {
    /// The value of `tokenizer.ggml.pre`.
    pub name: String,
    /// How it was found.
    pub found_by: FoundBy,
}

/// How a pre-tokenizer was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FoundBy {
    /// The user named it.
    Override,
    /// The ids of a fixed text are those of a published tokenizer.
    KnownIds,
    /// It splits text the way this pre-tokenizer does.
    Behaviour,
}

/// Reads the vocabulary of the model directory `dir`, whose `config.json` is `config`.
pub fn vocab_metadata(dir: &Path, config: &serde_json::Value, request: &VocabRequest) -> Result<Vocabulary> {
    let _ = (config, request, Value::Bool(true));
    Err(Error::Input {
        path: dir.to_owned(),
        message: "no vocabulary".into(),
    })
}

/// `key` of `text_config` where a multimodal `config.json` has one, else of its root.
fn root_or_text_config<'a>(config: &'a serde_json::Value, key: &str) -> Option<&'a serde_json::Value> {
    config
        .get("text_config")
        .and_then(|text| text.get(key))
        .or_else(|| config.get(key))
}
