//! Byte-level vocabularies and word pieces, both of a `tokenizer.json` that is no list of pieces with scores.

use gguf::Metadata;

use super::files::VocabFiles;
use super::hf::HfTokenizer;
use super::keys::TOKEN_TYPE_COUNT;
use super::kind::VocabKind;
use super::settings::Settings;
use super::special::SpecialVocab;
use super::vocabulary::{FoundBy, PreTokenizer, Vocabulary};
use super::{pre, tokens};
use crate::{Error, Result};

/// A byte-level vocabulary.
pub(super) fn vocabulary(
    files: &VocabFiles,
    mut metadata: Metadata,
    settings: &Settings<'_>,
) -> Result<Vocabulary> {
    let hf = HfTokenizer::load(files)?;
    let mut warnings = Vec::new();
    let tokens = tokens::byte_level(files, &hf, settings.added_as_marked, &mut warnings)?;
    let pre = pre::find(files, &hf, settings.pre_tokenizer)?;
    let n_vocab = tokens.len();
    tokens.write_as(&mut metadata, "gpt2", &pre.name);
    let mut special = SpecialVocab::read(files, true, None, None)?;
    for (kind, text) in &settings.needed {
        let id = hf.added().into_iter().find(|(_, token)| token.content == *text);
        let (id, _) = id.ok_or_else(|| {
            Error::input(
                files.dir.join("tokenizer.json"),
                format!("expected an added token {text:?}, which this architecture needs, found none"),
            )
        })?;
        special.set_id(kind, id.into());
    }
    if special.merges.is_empty() {
        special.warnings.push("the vocabulary has no merges".into());
    }
    special.write(&mut metadata);
    warnings.extend(special.warnings);
    Ok(Vocabulary {
        pre_tokenizer: Some(pre),
        warnings,
        ..Vocabulary::new(VocabKind::Bpe, metadata, (n_vocab, hf.known()))
    })
}

/// Word pieces with their beginnings marked instead of their continuations.
pub(super) fn word_pieces(
    files: &VocabFiles,
    mut metadata: Metadata,
    settings: &Settings<'_>,
) -> Result<Vocabulary> {
    let hf = HfTokenizer::load(files)?;
    let mut warnings = Vec::new();
    let tokens = tokens::word_pieces(tokens::byte_level(files, &hf, false, &mut warnings)?);
    // Nothing depends on the name: word pieces are always split alike.
    let pre = pre::find(files, &hf, settings.pre_tokenizer).unwrap_or_else(|_| PreTokenizer {
        name: "default".to_owned(),
        found_by: FoundBy::Behaviour,
    });
    let n_vocab = tokens.len();
    if let Some(count) = settings.token_types {
        metadata.set_in_place(TOKEN_TYPE_COUNT, count);
    }
    tokens.write_as(&mut metadata, "bert", &pre.name);
    let special = SpecialVocab::read(files, false, None, Some(n_vocab))?;
    special.write(&mut metadata);
    warnings.extend(special.warnings);
    Ok(Vocabulary {
        pre_tokenizer: Some(pre),
        warnings,
        ..Vocabulary::new(VocabKind::WordPiece, metadata, (n_vocab, hf.known()))
    })
}
