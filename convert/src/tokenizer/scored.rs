//! Vocabularies whose tokens have scores.

use gguf::Metadata;

use super::files::VocabFiles;
use super::hf::HfTokenizer;
use super::keys::{ADD_BOS, ADD_SPACE_PREFIX, EOS, TOKEN_TYPE};
use super::kind::VocabKind;
use super::sentencepiece as pieces;
use super::special::SpecialVocab;
use super::tokens::{self, TokenList};
use super::vocabulary::Vocabulary;
use crate::Result;

/// Pieces of a SentencePiece model.
pub(super) fn sentencepiece(files: &VocabFiles, metadata: Metadata) -> Result<Vocabulary> {
    let mut warnings = Vec::new();
    let (tokens, own) = pieces::tokens(files, &mut warnings)?;
    let mut vocabulary = llama(files, metadata, tokens, own, VocabKind::SentencePiece, warnings)?;
    if pieces::without_space_prefix(files) {
        vocabulary.metadata.set_in_place(ADD_SPACE_PREFIX, false);
    }
    Ok(vocabulary)
}

/// Pieces, and the added tokens of `tokenizer.json`, all of them as they are.
pub(super) fn phi3(files: &VocabFiles, metadata: Metadata) -> Result<Vocabulary> {
    let mut warnings = Vec::new();
    let all = pieces::all_tokens(files, false, &mut warnings)?;
    llama(files, metadata, all.tokens, all.own, VocabKind::Phi3, warnings)
}

/// The same with `add_space_prefix` after the token types, and `eos` that ends a turn of a chat.
pub(super) fn internlm2(files: &VocabFiles, metadata: Metadata) -> Result<Vocabulary> {
    let mut warnings = Vec::new();
    let all = pieces::all_tokens(files, true, &mut warnings)?;
    let kind = VocabKind::InternLm2;
    let mut vocabulary = llama(files, metadata, all.tokens, all.own, kind, warnings)?;
    let mut metadata = Metadata::new();
    for (key, value) in vocabulary.metadata {
        let is_types = key == TOKEN_TYPE;
        match all.end_of_turn.filter(|_| key == EOS) {
            Some(id) => metadata.set_in_place(key, id),
            None => metadata.set_in_place(key, value),
        }
        if is_types {
            metadata.set_in_place(ADD_SPACE_PREFIX, all.add_dummy_prefix);
        }
    }
    vocabulary.metadata = metadata;
    Ok(vocabulary)
}

/// Pieces, some of which `tokenizer_config.json` defines anew.
pub(super) fn arctic(files: &VocabFiles, metadata: Metadata) -> Result<Vocabulary> {
    let mut warnings = Vec::new();
    let (tokens, own) = pieces::redefined(files, &mut warnings)?;
    llama(files, metadata, tokens, own, VocabKind::Arctic, warnings)
}

/// `tokenizer.json` whose tokens are written as they are.
pub(super) fn xverse(files: &VocabFiles, metadata: Metadata) -> Result<Vocabulary> {
    let mut warnings = Vec::new();
    let hf = HfTokenizer::load(files)?;
    let tokens = tokens::as_they_are(files, &hf, &mut warnings)?;
    llama(files, metadata, tokens, hf.known(), VocabKind::Xverse, warnings)
}

/// `tokenizer.json` with byte fallback.
pub(super) fn llama_hf(files: &VocabFiles, metadata: Metadata) -> Result<Vocabulary> {
    let mut warnings = Vec::new();
    let hf = HfTokenizer::load(files)?;
    let tokens = tokens::llama_hf(files, &hf, &mut warnings)?;
    let own = hf.inner().get_vocab_size(true);
    llama(files, metadata, tokens, own, VocabKind::LlamaHf, warnings)
}

/// Control tokens of Gemma 4 that are shown, so that what reads a chat sees them.
const GEMMA4_SHOWN: [&str; 7] = [
    "<|channel>",
    "<channel|>",
    "<|tool_call>",
    "<tool_call|>",
    "<|tool_response>",
    "<tool_response|>",
    "<|\"|>",
];

/// `tokenizer.json` with byte fallback, and its merges.
pub(super) fn gemma4(files: &VocabFiles, mut metadata: Metadata) -> Result<Vocabulary> {
    let mut warnings = Vec::new();
    let hf = HfTokenizer::load(files)?;
    let mut tokens = tokens::llama_hf(files, &hf, &mut warnings)?;
    tokens.show(&GEMMA4_SHOWN);
    let n_vocab = tokens.len();
    metadata.set_in_place("tokenizer.ggml.model", "gemma4");
    tokens.write(&mut metadata);
    let special = SpecialVocab::read(files, true, None, None)?;
    special.write(&mut metadata);
    metadata.set_in_place(ADD_SPACE_PREFIX, false);
    metadata.set_in_place(ADD_BOS, true);
    warnings.extend(special.warnings);
    let sizes = (n_vocab, hf.inner().get_vocab_size(true));
    Ok(Vocabulary {
        warnings,
        ..Vocabulary::new(VocabKind::Gemma4, metadata, sizes)
    })
}

/// A vocabulary of the GGUF tokenizer model `llama`.
fn llama(
    files: &VocabFiles,
    mut metadata: Metadata,
    tokens: TokenList,
    own: usize,
    kind: VocabKind,
    warnings: Vec<String>,
) -> Result<Vocabulary> {
    let n_vocab = tokens.len();
    tokens.write_as(&mut metadata, "llama", "default");
    finish(
        files,
        Vocabulary {
            warnings,
            ..Vocabulary::new(kind, metadata, (n_vocab, own))
        },
    )
}

/// The special tokens, which end the keys of a vocabulary with scores.
pub(super) fn finish(files: &VocabFiles, mut vocabulary: Vocabulary) -> Result<Vocabulary> {
    let special = SpecialVocab::read(files, false, None, Some(vocabulary.n_vocab))?;
    special.write(&mut vocabulary.metadata);
    vocabulary.warnings.extend(special.warnings);
    Ok(vocabulary)
}
