//! A vocabulary that was read.

use gguf::Metadata;

use super::kind::VocabKind;

/// A vocabulary, ready to be written.
#[derive(Clone, Debug)]
pub struct Vocabulary {
    /// The `tokenizer.*` keys in output order.
    pub metadata: Metadata,
    /// Number of tokens, padding included.
    pub n_vocab: usize,
    /// Number of tokens of the tokenizer itself.
    pub own: usize,
    /// The number of tokens is neither that of the configuration nor that of the tokenizer alone, but that of the
    /// embeddings.
    pub resized: bool,
    /// The form in which it was read.
    pub kind: VocabKind,
    /// For a byte-level vocabulary, how its pre-tokenizer was found.
    pub pre_tokenizer: Option<PreTokenizer>,
    /// Warnings: ids out of range, templates without a handler, and the like.
    pub warnings: Vec<String>,
}

impl Vocabulary {
    /// One of `n_vocab` tokens, of which the tokenizer itself has `own`.
    pub(super) fn new(kind: VocabKind, metadata: Metadata, (n_vocab, own): (usize, usize)) -> Self {
        Self {
            metadata,
            n_vocab,
            own,
            resized: false,
            kind,
            pre_tokenizer: None,
            warnings: Vec::new(),
        }
    }
}

/// The name of a pre-tokenizer and how it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreTokenizer {
    /// The value of `tokenizer.ggml.pre`.
    pub name: String,
    /// The way in which it was found.
    pub found_by: FoundBy,
}

impl PreTokenizer {
    /// The one that the user named or, without that, the one of the code that is published with the vocabulary's file.
    pub(super) fn of_file(named: Option<&str>, published: &str) -> Self {
        let found_by = match named {
            Some(_) => FoundBy::Override,
            None => FoundBy::File,
        };
        Self {
            name: named.unwrap_or(published).to_owned(),
            found_by,
        }
    }
}

/// The way in which a pre-tokenizer was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FoundBy {
    /// The user named it.
    Override,
    /// The ids of a fixed text are those of a published tokenizer.
    KnownIds,
    /// It splits text the way this pre-tokenizer does.
    Behaviour,
    /// The code that is published with this kind of vocabulary file splits text that way.
    File,
}
