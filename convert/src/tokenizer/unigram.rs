//! Unigram vocabularies of SentencePiece: `sentencepiece.bpe.model` (XLM-RoBERTa), `spiece.model` (T5), and
//! the same in a `tokenizer.json`. All of them become the GGUF tokenizer model `t5`.

use base64::Engine as _;
use gguf::{Array, Metadata, Value};
use serde::Deserialize;
use serde_json::Value as Json;

use super::files::{MAX_TOKENS, SIZE_KEYS, TokenizerJson, VocabFiles, parse_json};
use super::hf::HfTokenizer;
use super::keys::{ADD_SPACE_PREFIX, TOKEN_TYPE_COUNT};
use super::kind::VocabKind;
use super::scored;
use super::sentencepiece::{self, Algorithm, Normalizer};
use super::settings::Settings;
use super::special::token_content;
use super::tokens::{PADDING_SCORE, TokenList, TokenType, padding_text};
use super::vocabulary::Vocabulary;
use crate::{Error, Result};

/// XLM-RoBERTa's file.
pub(super) const XLM_FILE: &str = "sentencepiece.bpe.model";
/// T5's files, the newer name first.
pub(super) const T5_FILES: [&str; 2] = [sentencepiece::FILE, "spiece.model"];

/// The token that a tokenizer without `unk_id` uses for what it does not know.
const UNKNOWN: u64 = 3;

/// The first tokens of XLM-RoBERTa, which stand before SentencePiece's own from the fourth on.
const XLM_FIRST: [(&str, TokenType); 4] = [
    ("<s>", TokenType::Control),
    ("<pad>", TokenType::Control),
    ("</s>", TokenType::Control),
    ("<unk>", TokenType::Unknown),
];

/// XLM-RoBERTa's vocabulary from its SentencePiece file.
pub(super) fn xlm_roberta(
    files: &VocabFiles,
    metadata: Metadata,
    settings: &Settings<'_>,
) -> Result<Vocabulary> {
    let mut model = sentencepiece::Model::read(files, XLM_FILE)?;
    if model.algorithm != Algorithm::Unigram {
        return Err(not_unigram(files, XLM_FILE));
    }
    let own = model.n_pieces();
    let n_vocab = own.max(files.vocab_size(SIZE_KEYS, own)?.unwrap_or(0));
    let mut list = model.take_tokens(n_vocab).list();
    // One token more in front, and the last one gives way.
    let shift = |first: usize, len: usize| first.min(len)..len.saturating_sub(1).max(first.min(len));
    let kept = shift(sentencepiece::SPECIAL_PIECES, list.len());
    list.texts = first_and(
        XLM_FIRST.map(|(text, _)| text.to_owned()),
        &list.texts[kept.clone()],
    );
    list.types = first_and(XLM_FIRST.map(|(_, kind)| kind), &list.types[kept.clone()]);
    list.scores = list.scores.map(|scores| first_and([0.0; 4], &scores[kept]));
    let made = Vocabulary::new(VocabKind::XlmRoberta, metadata, (list.len(), own));
    write(files, list, &model.normalizer, settings, made)
}

fn first_and<T: Clone>(first: [T; 4], rest: &[T]) -> Vec<T> {
    first.into_iter().chain(rest.iter().cloned()).collect()
}

/// T5's SentencePiece file and its model, or `None` when that is a model of pair merges.
pub(super) fn t5_pieces(files: &VocabFiles) -> Result<Option<(&'static str, sentencepiece::Model)>> {
    let found = T5_FILES.into_iter().find(|name| files.dir.join(name).is_file());
    let Some(name) = found else {
        return Err(Error::input(
            files.dir.join(T5_FILES[0]),
            "expected this file, found none",
        ));
    };
    let model = sentencepiece::Model::read(files, name)?;
    match model.algorithm {
        Algorithm::PairMerges if name == sentencepiece::FILE => Ok(None),
        Algorithm::Unigram => Ok(Some((name, model))),
        _ => Err(not_unigram(files, name)),
    }
}

fn not_unigram(files: &VocabFiles, name: &str) -> Error {
    Error::input(
        files.dir.join(name),
        "expected a unigram model, which this architecture needs, found another one",
    )
}

/// T5's vocabulary from its SentencePiece file.
pub(super) fn t5(
    files: &VocabFiles,
    metadata: Metadata,
    settings: &Settings<'_>,
    (name, mut model): (&str, sentencepiece::Model),
) -> Result<Vocabulary> {
    let own = model.n_pieces();
    let n_vocab = files.vocab_size(SIZE_KEYS, own)?.unwrap_or(own);
    if own > n_vocab {
        let message = format!("expected at most {n_vocab} tokens, found {own}");
        return Err(files.misfit(name, SIZE_KEYS, own, &message));
    }
    let mut warnings = Vec::new();
    let mut slots = model.take_tokens(n_vocab);
    sentencepiece::added_tokens(files, &mut slots, &mut warnings)?;
    let list = slots.list();
    let made = Vocabulary {
        warnings,
        ..Vocabulary::new(VocabKind::T5, metadata, (list.len(), own))
    };
    write(files, list, &model.normalizer, settings, made)
}

/// `tokenizer.json` as far as only a unigram model has it.
#[derive(Deserialize)]
struct UnigramJson {
    model: UnigramModel,
}

#[derive(Deserialize)]
struct UnigramModel {
    vocab: Vec<(String, f64)>,
    #[serde(default)]
    unk_id: Option<u64>,
}

/// A unigram vocabulary from `tokenizer.json`.
pub(super) fn from_json(
    files: &VocabFiles,
    metadata: Metadata,
    settings: &Settings<'_>,
) -> Result<Vocabulary> {
    let path = files.dir.join("tokenizer.json");
    let Some((bytes, structure)) = &files.tokenizer else {
        return Err(Error::input(&path, "expected this file, found none"));
    };
    let parsed: UnigramJson = parse_json(&path, bytes)?;
    let hf = HfTokenizer::load(files)?;
    let (by_id, added) = (hf.by_id(), hf.added());
    let n_base = hf.base_size();
    let n_vocab = n_base.max(files.vocab_size(SIZE_KEYS, n_base)?.unwrap_or(0));
    if n_vocab > MAX_TOKENS {
        return Err(Error::input(
            &path,
            format!("expected at most {MAX_TOKENS} tokens, found more"),
        ));
    }
    let named = files.tokenizer_config("unk_token").and_then(token_content);
    let unknown = added
        .iter()
        .find(|(_, token)| Some(token.content.as_str()) == named)
        .map_or(parsed.model.unk_id.unwrap_or(UNKNOWN), |(&id, _)| u64::from(id));
    let mut list = TokenList::default();
    let mut scores = Vec::with_capacity(n_vocab);
    for id in 0..n_vocab {
        let text = u32::try_from(id).ok().and_then(|id| by_id.get(&id));
        let (Some(text), Some((_, score))) = (text.filter(|_| id < n_base), parsed.model.vocab.get(id))
        else {
            list.texts.push(padding_text(id));
            list.types.push(TokenType::Unused);
            scores.push(PADDING_SCORE);
            continue;
        };
        list.types.push(if id as u64 == unknown {
            TokenType::Unknown
        } else if hf.is_special(text) {
            TokenType::Control
        } else if added.contains_key(&(id as u32)) {
            TokenType::UserDefined
        } else {
            TokenType::Normal
        });
        list.texts.push(text.clone());
        scores.push(*score as f32);
    }
    list.scores = Some(scores);
    let flag = |key: &str| {
        files
            .tokenizer_config(key)
            .and_then(Json::as_bool)
            .unwrap_or(false)
    };
    // The stock converter takes T5's vocabulary from SentencePiece's file alone, so that there is nothing to be
    // equal to; for others it asks the configuration.
    let is_t5 = settings.kinds.contains(&VocabKind::T5);
    let (prefix, removes) = match is_t5 {
        true => whitespace(structure),
        false => (flag("add_prefix_space"), flag("clean_up_tokenization_spaces")),
    };
    let normalizer = Normalizer {
        add_dummy_prefix: prefix,
        remove_extra_whitespaces: removes,
        charsmap: match structure.normalizer.as_ref().and_then(charsmap) {
            Some(text) => base64::engine::general_purpose::STANDARD
                .decode(text)
                .map_err(|e| Error::input(&path, format!("precompiled_charsmap: {e}")))?,
            None => Vec::new(),
        },
    };
    let mut warnings = Vec::new();
    if !normalizer.add_dummy_prefix && !is_t5 {
        warnings.push(
            "tokenizer_config.json does not say add_prefix_space, so the GGUF file says that no space precedes a \
             text, as the stock converter has it; its programs then split the first word of a text otherwise than \
             this tokenizer"
                .to_owned(),
        );
    }
    let made = Vocabulary {
        warnings,
        ..Vocabulary::new(VocabKind::Unigram, metadata, (list.len(), n_base))
    };
    write(files, list, &normalizer, settings, made)
}

/// The steps of a normalizer or pre-tokenizer: itself, or those of a sequence.
fn steps<'a>(whole: Option<&'a Json>, list: &str) -> Vec<&'a Json> {
    let mut pending: Vec<&Json> = whole.into_iter().collect();
    let mut found = Vec::new();
    // JSON's own depth limit bounds the nesting.
    while let Some(step) = pending.pop() {
        match step.get(list).and_then(Json::as_array) {
            Some(inner) => pending.extend(inner.iter().rev()),
            None => found.push(step),
        }
    }
    found
}

/// Treatment of white space that llama.cpp has to share with the tokenizer: whether it puts a space before a text, and
/// whether it takes several blanks for one.
fn whitespace(tokenizer: &TokenizerJson) -> (bool, bool) {
    let normalizers = steps(tokenizer.normalizer.as_ref(), "normalizers");
    let pre_tokenizers = steps(tokenizer.pre_tokenizer.as_ref(), "pretokenizers");
    let is = |step: &Json, kind: &str| step.get("type").and_then(Json::as_str) == Some(kind);
    let metaspace = pre_tokenizers.iter().find(|step| is(step, "Metaspace"));
    let prefixed = metaspace.is_some_and(|step| match step.get("prepend_scheme").and_then(Json::as_str) {
        Some(scheme) => scheme != "never",
        // How older files say it; the library's default is to do it.
        None => step.get("add_prefix_space").and_then(Json::as_bool) != Some(false),
    });
    let prefixed = prefixed || normalizers.iter().any(|step| is(step, "Prepend"));
    let collapses = |step: &&&Json| {
        let pattern = step
            .get("pattern")
            .and_then(|p| p.get("Regex"))
            .and_then(Json::as_str);
        is(step, "Replace")
            && pattern.is_some_and(|p| p.starts_with(" {2") || p.starts_with("\\s{2") || p == " +")
    };
    let splits = pre_tokenizers.iter().any(|step| is(step, "WhitespaceSplit"));
    let removes = splits || normalizers.iter().any(|step| collapses(&step));
    // llama.cpp puts a space before the first word whenever it takes several blanks for one.
    (prefixed, removes && prefixed)
}

/// The character map of a normalizer, or of the first that has one in a sequence.
fn charsmap(normalizer: &Json) -> Option<&str> {
    let own = |n: &'_ Json| n.get("precompiled_charsmap").is_some();
    let found = match own(normalizer) {
        true => normalizer,
        false => normalizer
            .get("normalizers")?
            .as_array()?
            .iter()
            .find(|n| own(n))?,
    };
    found.get("precompiled_charsmap")?.as_str()
}

fn write(
    files: &VocabFiles,
    list: TokenList,
    normalizer: &Normalizer,
    settings: &Settings<'_>,
    mut vocabulary: Vocabulary,
) -> Result<Vocabulary> {
    let metadata = &mut vocabulary.metadata;
    list.write_as(metadata, "t5", "default");
    metadata.set_in_place(ADD_SPACE_PREFIX, normalizer.add_dummy_prefix);
    if let Some(count) = settings.token_types {
        metadata.set_in_place(TOKEN_TYPE_COUNT, count);
    }
    metadata.set_in_place(
        "tokenizer.ggml.remove_extra_whitespaces",
        normalizer.remove_extra_whitespaces,
    );
    if !normalizer.charsmap.is_empty() {
        let bytes = Value::Array(Array::U8(normalizer.charsmap.clone()));
        metadata.set_in_place("tokenizer.ggml.precompiled_charsmap", bytes);
    }
    scored::finish(files, vocabulary)
}
