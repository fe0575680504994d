//! The size of a vocabulary against that of the model.

use super::files::{SIZE_KEYS, VocabFiles};
use super::kind::VocabKind;
use super::vocabulary::Vocabulary;
use super::{sentencepiece, tiktoken};
use crate::Result;

/// Holds a vocabulary to the embeddings, and says where these made it longer or shorter than the directory's other
/// files do.
pub(super) fn check(files: &VocabFiles, vocabulary: &mut Vocabulary) -> Result<()> {
    let Some(rows) = files.rows else {
        return Ok(());
    };
    let keys = match vocabulary.kind {
        VocabKind::SentencePiece => sentencepiece::PIECES_SIZE_KEYS,
        VocabKind::Tiktoken(_) => tiktoken::TIKTOKEN_SIZE_KEYS,
        _ => SIZE_KEYS,
    };
    let own = vocabulary.own;
    if vocabulary.n_vocab != rows {
        let message = format!("expected {rows} tokens, found {}", vocabulary.n_vocab);
        return Err(files.misfit("config.json", keys, own, &message));
    }
    let configured = files.configured_size(keys)?;
    let stock = match vocabulary.kind {
        VocabKind::LlamaHf | VocabKind::Gemma4 => own,
        VocabKind::XlmRoberta | VocabKind::Unigram => own.max(configured.unwrap_or(0)),
        _ => configured.unwrap_or(own),
    };
    vocabulary.resized = stock != rows;
    let sizes = files.sizes(keys, own);
    let is_told = vocabulary.warnings.iter().any(|w| w.contains(&sizes));
    if (vocabulary.resized || own > rows) && !is_told {
        let done = if rows > own { "padded" } else { "cut" };
        let message = format!("the vocabulary is {done} to {rows} tokens ({sizes})");
        vocabulary.warnings.push(message);
    }
    Ok(())
}

/// Takes away the ids of special tokens that the vocabulary does not have; llama.cpp would ignore them.
pub(super) fn drop_outside_ids(vocabulary: &mut Vocabulary) {
    let n_vocab = vocabulary.n_vocab as u64;
    let outside: Vec<(String, u64)> = vocabulary
        .metadata
        .iter()
        .filter(|(key, _)| key.starts_with("tokenizer.ggml.") && key.ends_with("_token_id"))
        .filter_map(|(key, value)| Some((key.to_owned(), value.as_u64().filter(|&id| id >= n_vocab)?)))
        .collect();
    for (key, id) in outside {
        vocabulary.metadata.remove(&key);
        vocabulary.warnings.push(format!(
            "{key} {id} is outside the vocabulary of {n_vocab} tokens and is left out"
        ));
    }
}
