//! Settings of the reading of a vocabulary.

use super::kind::VocabKind;

/// Settings of the reading, collected from the steps before it.
#[derive(Debug, Default)]
pub(super) struct Settings<'a> {
    /// The ways to read that are tried, in this order.
    pub(super) kinds: &'a [VocabKind],
    /// `tokenizer.ggml.pre`, instead of finding it.
    pub(super) pre_tokenizer: Option<&'a str>,
    /// Added tokens of a byte-level vocabulary are control tokens where they are marked as special, and only there.
    pub(super) added_as_marked: bool,
    /// Special tokens by type and text, for types that the directory names none of.
    pub(super) needed: Vec<(&'static str, &'static str)>,
    /// `tokenizer.ggml.token_type_count`.
    pub(super) token_types: Option<u32>,
}
