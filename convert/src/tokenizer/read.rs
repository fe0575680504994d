//! The reading of a vocabulary's tokens, in the first way whose files are there.

use gguf::Metadata;
use serde_json::Value as Json;

use super::files::{TokenizerJson, VocabFiles};
use super::hf::HfTokenizer;
use super::kind::VocabKind;
use super::settings::Settings;
use super::vocabulary::Vocabulary;
use super::{byte_level, plamo, pre, rwkv, scored, sentencepiece, tiktoken, unigram};
use crate::{Error, Result};

/// Reads tokens, merges and special tokens, after the keys that there are.
pub(super) fn read(files: &VocabFiles, metadata: Metadata, settings: &Settings<'_>) -> Result<Vocabulary> {
    let kind = settings
        .kinds
        .iter()
        .find(|&&kind| is_present(files, kind, settings));
    let Some(&kind) = kind else {
        return Err(nothing_found(files, settings));
    };
    match kind {
        VocabKind::SentencePiece => scored::sentencepiece(files, metadata),
        VocabKind::LlamaHf => scored::llama_hf(files, metadata),
        VocabKind::Gemma4 => scored::gemma4(files, metadata),
        VocabKind::Bpe | VocabKind::Gpt2Class => byte_level::vocabulary(files, metadata, settings),
        VocabKind::Xverse => scored::xverse(files, metadata),
        VocabKind::WordPiece => byte_level::word_pieces(files, metadata, settings),
        VocabKind::XlmRoberta => unigram::xlm_roberta(files, metadata, settings),
        VocabKind::T5 => match unigram::t5_pieces(files)? {
            Some(pieces) => unigram::t5(files, metadata, settings, pieces),
            None => scored::sentencepiece(files, metadata),
        },
        VocabKind::Unigram => unigram::from_json(files, metadata, settings),
        VocabKind::Phi3 => scored::phi3(files, metadata),
        VocabKind::InternLm2 => scored::internlm2(files, metadata),
        VocabKind::Arctic => scored::arctic(files, metadata),
        VocabKind::Rwkv => rwkv::vocabulary(files, metadata),
        VocabKind::Plamo => plamo::vocabulary(files, metadata),
        VocabKind::Tiktoken(tiktoken) => tiktoken::vocabulary(files, metadata, settings, tiktoken),
        // Read by steps of their own.
        VocabKind::Tekken | VocabKind::MistralPieces => Err(nothing_found(files, settings)),
    }
}

fn nothing_found(files: &VocabFiles, settings: &Settings<'_>) -> Error {
    let wanted: Vec<&str> = settings.kinds.iter().map(|kind| kind.wanted()).collect();
    Error::input(
        &files.dir,
        format!("expected {}, found no vocabulary", wanted.join(", or ")),
    )
}

/// Whether pieces that only a `tokenizer.json` holds are read as those of a `tokenizer.model`: where the stock
/// converter has no other way to read them.
fn is_read_as_pieces(files: &VocabFiles, settings: &Settings<'_>) -> bool {
    if settings.kinds.contains(&VocabKind::LlamaHf) {
        return false;
    }
    let splits = |hf: HfTokenizer| pre::find(files, &hf, settings.pre_tokenizer);
    !settings.kinds.contains(&VocabKind::Bpe) || HfTokenizer::load(files).and_then(splits).is_err()
}

/// Whether a directory holds a vocabulary of this kind.
fn is_present(files: &VocabFiles, kind: VocabKind, settings: &Settings<'_>) -> bool {
    let alone = !sentencepiece::has_file(files)
        && files
            .tokenizer_json()
            .is_some_and(sentencepiece::is_sentencepiece);
    let decoder = |tokenizer: &TokenizerJson| {
        let decoder = tokenizer.decoder.as_ref();
        decoder.and_then(|d| d.get("type")).and_then(Json::as_str) == Some("Sequence")
    };
    let model_is = |kind: &str| {
        let tokenizer = files.tokenizer_json();
        tokenizer.is_some_and(|tokenizer| tokenizer.model.kind.as_deref() == Some(kind))
    };
    match kind {
        VocabKind::SentencePiece => {
            sentencepiece::has_file(files) || (alone && is_read_as_pieces(files, settings))
        }
        VocabKind::Phi3 | VocabKind::InternLm2 | VocabKind::Arctic => sentencepiece::has_file(files) || alone,
        VocabKind::Gpt2Class => {
            // The newer name is what transformers 5 calls any class without code of its own.
            let class = files.tokenizer_config("tokenizer_class").and_then(Json::as_str);
            let newer = class == Some("TokenizersBackend") && !alone && !sentencepiece::has_file(files);
            files.tokenizer.is_some() && (class == Some("GPT2Tokenizer") || newer)
        }
        VocabKind::LlamaHf | VocabKind::Gemma4 => files.tokenizer_json().is_some_and(|tokenizer| {
            let model = &tokenizer.model;
            model.kind.as_deref() == Some("BPE") && model.byte_fallback == Some(true) && decoder(tokenizer)
        }),
        VocabKind::Bpe | VocabKind::Xverse => files.tokenizer.is_some(),
        VocabKind::WordPiece => model_is("WordPiece"),
        VocabKind::Unigram => model_is("Unigram"),
        VocabKind::XlmRoberta => files.dir.join(unigram::XLM_FILE).is_file(),
        VocabKind::T5 => unigram::T5_FILES
            .iter()
            .any(|name| files.dir.join(name).is_file()),
        VocabKind::Rwkv => files.dir.join(rwkv::FILE).is_file(),
        VocabKind::Plamo => files.dir.join(plamo::FILE).is_file(),
        VocabKind::Tiktoken(tiktoken) => files.dir.join(tiktoken.file()).is_file(),
        VocabKind::Tekken | VocabKind::MistralPieces => false,
    }
}
