//! Vocabularies of Hugging Face model directories as GGUF `tokenizer.*` metadata.
//!
//! Keys, values and their order are those of llama.cpp's converter. What a tokenizer does is asked of
//! the `tokenizers` library; everything else is read from the directory's files, none of which is
//! trusted.

mod budget;
mod chat_template;
mod files;
mod hf;
mod merges;
mod mistral;
mod plamo;
mod pre;
mod rwkv;
mod sentencepiece;
mod special;
mod tiktoken;
mod unigram;
mod vocab;

use std::path::Path;

use gguf::{Array, Metadata, Value};
use serde_json::Value as Json;

use crate::Result;
use crate::arch::described::{ForSize, Vocabulary as PublishedVocabulary};
use files::{VocabFiles, input_error};
use hf::HfTokenizer;
pub use mistral::MistralRequest;
pub(crate) use mistral::special_id as tekken_special_id;
pub(crate) use pre::{Splitting, splitting};
use special::SpecialVocab;
pub(crate) use special::id_key;
pub use tiktoken::Tiktoken;
use vocab::TokenList;
pub(crate) use vocab::{NO_SCORE, looks_special, padding_text};

/// One way to read a vocabulary. An architecture lists the ways that its models are published in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum VocabKind {
    /// `tokenizer.model`, written as GGUF tokenizer model `llama`.
    SentencePiece,
    /// `tokenizer.json` with byte fallback, written as GGUF tokenizer model `llama`.
    LlamaHf,
    /// The same with its merges, written as GGUF tokenizer model `gemma4`.
    Gemma4,
    /// `tokenizer.json` with byte-level merges, written as GGUF tokenizer model `gpt2`.
    Bpe,
    /// The same, where `tokenizer_config.json` names the class `GPT2Tokenizer` (Phi-4).
    Gpt2Class,
    /// `tokenizer.model`, with the added tokens of `tokenizer.json` too, all of them as they are (Phi-3).
    Phi3,
    /// `tokenizer.json` whose tokens are written as they are, without scores, as GGUF tokenizer model `llama`.
    Xverse,
    /// `tokenizer.json` with word pieces, written as GGUF tokenizer model `bert`.
    WordPiece,
    /// `sentencepiece.bpe.model` of XLM-RoBERTa, written as GGUF tokenizer model `t5`.
    XlmRoberta,
    /// `tokenizer.model` or `spiece.model` of T5, written as GGUF tokenizer model `t5`.
    T5,
    /// `tokenizer.json` with a unigram model, written as GGUF tokenizer model `t5`.
    Unigram,
    /// `tokenizer.model` of InternLM 2, which chats end with `<|im_end|>`.
    InternLm2,
    /// `tokenizer.model` of Arctic, some of whose pieces `tokenizer_config.json` defines anew.
    Arctic,
    /// A tiktoken-style file, written as GGUF tokenizer model `gpt2`.
    Tiktoken(Tiktoken),
    /// `rwkv_vocab_v20230424.txt`, written as GGUF tokenizer model `rwkv`.
    Rwkv,
    /// `tokenizer.jsonl`, written as GGUF tokenizer model `plamo2`.
    Plamo,
    /// `tekken.json`, written as GGUF tokenizer model `gpt2`.
    Tekken,
    /// `tokenizer.model.vN` of Mistral, written as GGUF tokenizer model `llama`.
    MistralPieces,
}

/// Request of an architecture and the user for a vocabulary.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
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
    /// Further types of that second reading, without ids of their own.
    pub more_special: &'static [&'static str],
    /// `tokenizer.ggml.eos_token_id` instead of the one that the directory names.
    pub end: Option<u32>,
    /// `tokenizer.ggml.eos_token_id` is that of this text where `tokenizer_config.json` lists it among the added
    /// special tokens.
    pub end_among_added: Option<&'static str>,
    /// Set `tokenizer.ggml.eot_token_id` to the first of several `eos_token_id` of `generation_config.json`.
    pub end_of_turn_from_generation_config: bool,
    /// Special tokens by type (`eos`, …) and text, which count only where the directory names none.
    pub special_texts: &'static [(&'static str, &'static str)],
    /// `tokenizer.ggml.{name}_token_id` to set after everything else.
    pub ids: &'static [(&'static str, u32)],
    /// Set `tokenizer.ggml.add_space_prefix` of a SentencePiece vocabulary after everything else.
    pub space_prefix: Option<bool>,
    /// The way of reading that [`Self::space_prefix`] is for, instead of a SentencePiece vocabulary.
    pub space_prefix_for: Option<VocabKind>,
    /// `tokenizer.ggml.{name}` to set before everything else, for a later value to overwrite.
    pub leading: &'static [(&'static str, bool)],
    /// Write `add_prefix_space` of `tokenizer_config.json`, where it is there, between tokens and special tokens.
    pub space_prefix_from_config_between: bool,
    /// Write `add_prefix_space` of `tokenizer_config.json`, where it is there, after everything else.
    pub space_prefix_from_config_last: bool,
    /// `tokenizer.ggml.token_type_count`: before a vocabulary of word pieces, after any other.
    pub token_types: Option<u32>,
    /// The number of tokens is rounded up to a multiple of this (0 and 1: it is not).
    pub multiple: u64,
    /// Set `tokenizer.ggml.add_bos_token` after everything else.
    pub add_bos: Option<bool>,
    /// Rows of the model's token embeddings, where they are known: llama.cpp needs one token for each.
    pub embeddings: Option<u64>,
    /// Added tokens of a byte-level vocabulary are control tokens where they are marked as special, and only there.
    pub added_as_marked: bool,
    /// `tokenizer.ggml.eot_token_id` instead of the one that the directory names.
    pub end_of_turn: Option<u32>,
    /// `tokenizer.ggml.eot_token_id` is that of the token of this text, where there is one, after everything else.
    pub end_of_turn_text: Option<&'static str>,
    /// Tokens of these texts are control tokens, however they are marked.
    pub controls: &'static [&'static str],
    /// The chat template of `chat_template.jinja`, where there is such a file, whatever other files have.
    pub chat_template_from_file: bool,
    /// Read the chat template although the special tokens are not read with it: that of `chat_template.jinja` or else of
    /// `tokenizer_config.json`.
    pub chat_template_alone: bool,
    /// The chat template instead of the one that the directory has.
    pub chat_template: Option<&'static str>,
    /// Both `tokenizer.ggml.bos_token_id` and `eos_token_id` are that of this text where `tokenizer_config.json`
    /// lists it among the added tokens.
    pub bounds_among_added: Option<&'static str>,
    /// Take a vocabulary as `mistral-common` reads it: always, or only where a directory has no other.
    pub mistral: Option<MistralRequest>,
    /// Keys of the configuration that do not count here.
    pub ignored: &'static [&'static str],
    /// `general.architecture`, for the kinds that write its `vocab_size`.
    pub architecture: Option<&'static str>,
}

gguf::setters! {
    VocabRequest {
        kinds: Vec<VocabKind>,
        pre_tokenizer: Option<String>,
        space_prefix_from_config: bool,
        extra_special: Vec<(String, u32)>,
        more_special: &'static [&'static str],
        end: Option<u32>,
        end_among_added: Option<&'static str>,
        end_of_turn_from_generation_config: bool,
        special_texts: &'static [(&'static str, &'static str)],
        ids: &'static [(&'static str, u32)],
        space_prefix: Option<bool>,
        space_prefix_for: Option<VocabKind>,
        leading: &'static [(&'static str, bool)],
        space_prefix_from_config_between: bool,
        space_prefix_from_config_last: bool,
        token_types: Option<u32>,
        multiple: u64,
        add_bos: Option<bool>,
        embeddings: Option<u64>,
        added_as_marked: bool,
        end_of_turn: Option<u32>,
        end_of_turn_text: Option<&'static str>,
        controls: &'static [&'static str],
        chat_template_from_file: bool,
        chat_template_alone: bool,
        chat_template: Option<&'static str>,
        bounds_among_added: Option<&'static str>,
        mistral: Option<MistralRequest>,
        ignored: &'static [&'static str],
        architecture: Option<&'static str>,
    }
}

impl VocabRequest {
    /// A vocabulary of one of these kinds.
    pub fn new(kinds: &[VocabKind]) -> Self {
        Self {
            kinds: kinds.to_vec(),
            ..Self::default()
        }
    }

    /// Request of llama.cpp's converter for Llama, Mistral and their relatives. `config` is the model's `config.json`: two
    /// vocabulary sizes stand for Code Llama and for Granite's small models.
    pub fn llama(config: &Json) -> Self {
        LLAMA_VOCABULARY.request(config)
    }

    /// Request of llama.cpp's converter for Qwen2 and Qwen3.
    pub fn qwen2() -> Self {
        QWEN2_VOCABULARY.request(&Json::Null)
    }

    /// What llama.cpp's converter does for directories in Mistral's own layout.
    pub(crate) fn mistral_own() -> Self {
        Self {
            mistral: Some(MistralRequest {
                own_layout: true,
                named_template: true,
            }),
            ..Self::new(&[VocabKind::Tekken, VocabKind::MistralPieces])
        }
    }
}

/// Of Llama, Mistral and their relatives.
pub(crate) static LLAMA_VOCABULARY: PublishedVocabulary = PublishedVocabulary {
    space_prefix_from_config: true,
    mistral: true,
    sizes: &[
        // Code Llama.
        ForSize {
            vocab_size: 32016,
            add_bos: None,
            special: &[
                ("prefix", 32007),
                ("suffix", 32008),
                ("middle", 32009),
                ("eot", 32010),
            ],
        },
        // Granite's small models.
        ForSize {
            vocab_size: 49152,
            add_bos: Some(false),
            special: &[],
        },
    ],
    ..PublishedVocabulary::of(&[VocabKind::SentencePiece, VocabKind::LlamaHf, VocabKind::Bpe])
};

/// Of Qwen 2 and 3.
pub(crate) static QWEN2_VOCABULARY: PublishedVocabulary =
    PublishedVocabulary::of(&[VocabKind::SentencePiece, VocabKind::Bpe]);

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

/// The name of a pre-tokenizer and how it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreTokenizer {
    /// The value of `tokenizer.ggml.pre`.
    pub name: String,
    /// The way in which it was found.
    pub found_by: FoundBy,
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

/// Reads the vocabulary of the model directory `dir`, whose `config.json` is `config`.
pub fn vocab_metadata(dir: &Path, config: &Json, request: &VocabRequest) -> Result<Vocabulary> {
    let mut files = VocabFiles::read(dir, config)?;
    files.multiple = request.multiple;
    files.ignored = request.ignored;
    files.rows = request
        .embeddings
        .map(|rows| usize::try_from(rows).unwrap_or(usize::MAX));
    if let Some(mistral) = request.mistral
        && (mistral.own_layout || mistral::is_alone(dir))
    {
        return match dir.join(mistral::TEKKEN).is_file() {
            true => mistral::tekken(&files, request, mistral),
            false => mistral::pieces(&files, request, mistral),
        };
    }
    let mut metadata = Metadata::new();
    if request.space_prefix_from_config
        && let Some(space) = files.tokenizer_config("add_prefix_space")
        && let Some(space) = space.as_bool()
    {
        metadata.set_in_place(ADD_SPACE_PREFIX, space);
    }
    for &(name, value) in request.leading {
        metadata.set_in_place(format!("tokenizer.ggml.{name}"), value);
    }
    let mut vocabulary = None;
    for &kind in &request.kinds {
        if !is_present(&files, kind, request) {
            continue;
        }
        vocabulary = Some(match kind {
            VocabKind::SentencePiece => sentencepiece_vocab(&files, metadata)?,
            VocabKind::LlamaHf => llama_hf_vocab(&files, metadata)?,
            VocabKind::Gemma4 => gemma4_vocab(&files, metadata)?,
            VocabKind::Bpe | VocabKind::Gpt2Class => byte_level_vocab(&files, metadata, request)?,
            VocabKind::Xverse => xverse_vocab(&files, metadata)?,
            VocabKind::WordPiece => word_pieces_vocab(&files, metadata, request)?,
            VocabKind::XlmRoberta => unigram::xlm_roberta(&files, request)?,
            VocabKind::T5 => match unigram::t5(&files, request)? {
                Some(vocabulary) => vocabulary,
                None => sentencepiece_vocab(&files, metadata)?,
            },
            VocabKind::Unigram => unigram::from_json(&files, request)?,
            VocabKind::Phi3 => added_pieces_vocab(&files, metadata, kind)?,
            VocabKind::InternLm2 => added_pieces_vocab(&files, metadata, kind)?,
            VocabKind::Arctic => {
                let mut warnings = Vec::new();
                let (tokens, own) = sentencepiece::redefined(&files, &mut warnings)?;
                scored_vocab(&files, metadata, tokens, own, kind, warnings)?
            }
            VocabKind::Rwkv => rwkv::vocabulary(&files, metadata)?,
            VocabKind::Plamo => plamo::vocabulary(&files, metadata)?,
            VocabKind::Tiktoken(tiktoken) => tiktoken::vocabulary(&files, metadata, request, tiktoken)?,
            // Taken above.
            VocabKind::Tekken | VocabKind::MistralPieces => continue,
        });
        break;
    }
    let Some(mut vocabulary) = vocabulary else {
        return Err(nothing_found(&files, request));
    };
    check_size(&files, &mut vocabulary)?;
    let vocabulary_kind = vocabulary.kind;
    let metadata = &mut vocabulary.metadata;
    if !request.extra_special.is_empty() {
        let mut types: Vec<&str> = request.extra_special.iter().map(|(t, _)| &**t).collect();
        types.extend(request.more_special);
        let mut special = SpecialVocab::read(&files, false, Some(&types), None)?;
        for (kind, id) in &request.extra_special {
            special.set_id(kind, (*id).into());
        }
        special.write(metadata);
    }
    if let Some(id) = request.end {
        metadata.set_in_place("tokenizer.ggml.eos_token_id", id);
    }
    if let Some(text) = request.end_among_added
        && let Some(added) = files
            .tokenizer_config("added_tokens_decoder")
            .and_then(Json::as_object)
        && metadata.get("tokenizer.ggml.eos_token_id").is_some()
    {
        let found = added
            .iter()
            .find(|(_, token)| token["content"] == text && token["special"] == true);
        if let Some(id) = found.and_then(|(id, _)| id.parse::<u32>().ok()) {
            metadata.set_in_place("tokenizer.ggml.eos_token_id", id);
        }
    }
    if request.chat_template_alone {
        let file = files::text_optional(&files.dir.join(TEMPLATE_FILE), files::MAX_VOCAB_BYTES)?;
        let own = || {
            files
                .tokenizer_config("chat_template")
                .and_then(Json::as_str)
                .map(str::to_owned)
        };
        if let Some(template) = file.or_else(own).filter(|t| !t.is_empty()) {
            metadata.set_in_place("tokenizer.chat_template", template);
        }
    }
    if let Some(template) = request.chat_template {
        metadata.set_in_place("tokenizer.chat_template", template);
    }
    if request.chat_template_from_file
        && let Some(bytes) = files::read_optional(&dir.join(TEMPLATE_FILE), files::MAX_VOCAB_BYTES)?
    {
        let template = String::from_utf8(bytes)
            .map_err(|_| input_error(&dir.join(TEMPLATE_FILE), "expected UTF-8, found other bytes"))?;
        let template = template.replace("\r\n", "\n").replace('\r', "\n");
        metadata.set_in_place("tokenizer.chat_template", template);
    }
    if let Some(id) = request.end_of_turn {
        metadata.set_in_place("tokenizer.ggml.eot_token_id", id);
    }
    if let Some(text) = request.end_of_turn_text
        && let Some(Value::Array(Array::String(tokens))) = metadata.get("tokenizer.ggml.tokens")
        && let Some(id) = tokens.iter().position(|token| token.0 == text.as_bytes())
        && let Ok(id) = u32::try_from(id)
    {
        metadata.set_in_place("tokenizer.ggml.eot_token_id", id);
    }
    if let Some(text) = request.bounds_among_added
        && let Some(added) = files
            .tokenizer_config("added_tokens_decoder")
            .and_then(Json::as_object)
        && let Some((id, _)) = added.iter().find(|(_, token)| token["content"] == text)
        && let Ok(id) = id.parse::<u32>()
    {
        metadata.set_in_place("tokenizer.ggml.bos_token_id", id);
        metadata.set_in_place("tokenizer.ggml.eos_token_id", id);
    }
    if request.end_of_turn_from_generation_config
        && let Some(config) = files::json_optional(&dir.join("generation_config.json"))?
        && let Some([first, _, ..]) = config["eos_token_id"].as_array().map(Vec::as_slice)
        && let Some(id) = first.as_u64().and_then(|id| u32::try_from(id).ok())
    {
        metadata.set_in_place("tokenizer.ggml.eot_token_id", id);
    }
    for (name, id) in request.ids {
        metadata.set_in_place(format!("tokenizer.ggml.{name}_token_id"), *id);
    }
    let kind = request.space_prefix_for.unwrap_or(VocabKind::SentencePiece);
    if let Some(space) = request.space_prefix.filter(|_| vocabulary_kind == kind) {
        metadata.set_in_place(ADD_SPACE_PREFIX, space);
    }
    if request.space_prefix_from_config_between
        && let Some(space) = files.tokenizer_config("add_prefix_space").and_then(Json::as_bool)
    {
        metadata.set_in_place(ADD_SPACE_PREFIX, space);
        let at = |key: &str| metadata.0.get_index_of(key);
        if let (Some(from), Some(types)) = (at(ADD_SPACE_PREFIX), at("tokenizer.ggml.token_type"))
            && types < from
        {
            metadata.0.move_index(from, types + 1);
        }
    }
    if request.space_prefix_from_config_last
        && let Some(space) = files.tokenizer_config("add_prefix_space").and_then(Json::as_bool)
    {
        metadata.set_in_place(ADD_SPACE_PREFIX, space);
    }
    if let Some(count) = request.token_types {
        metadata.set_in_place(TOKEN_TYPES, count);
    }
    if let Some(add) = request.add_bos {
        metadata.set_in_place("tokenizer.ggml.add_bos_token", add);
    }
    drop_outside_ids(&mut vocabulary);
    Ok(vocabulary)
}

/// Holds a vocabulary to the embeddings, and says where these made it longer or shorter than the directory's other
/// files do.
fn check_size(files: &VocabFiles, vocabulary: &mut Vocabulary) -> Result<()> {
    let Some(rows) = files.rows else {
        return Ok(());
    };
    let keys = match vocabulary.kind {
        VocabKind::SentencePiece => sentencepiece::PIECES_SIZE_KEYS,
        VocabKind::Tiktoken(_) => tiktoken::TIKTOKEN_SIZE_KEYS,
        _ => vocab::SIZE_KEYS,
    };
    let own = vocabulary.own;
    if vocabulary.n_vocab != rows {
        let message = format!("{} tokens, {rows} expected", vocabulary.n_vocab);
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
fn drop_outside_ids(vocabulary: &mut Vocabulary) {
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

const TEMPLATE_FILE: &str = "chat_template.jinja";

const TOKEN_TYPES: &str = "tokenizer.ggml.token_type_count";

const ADD_SPACE_PREFIX: &str = "tokenizer.ggml.add_space_prefix";

/// Whether pieces that only a `tokenizer.json` holds are read as those of a `tokenizer.model`: where the stock
/// converter has no other way to read them.
fn is_read_as_pieces(files: &VocabFiles, request: &VocabRequest) -> bool {
    if request.kinds.contains(&VocabKind::LlamaHf) {
        return false;
    }
    let splits = |hf: HfTokenizer| pre::find(files, &hf, request.pre_tokenizer.as_deref());
    !request.kinds.contains(&VocabKind::Bpe) || HfTokenizer::load(files).and_then(splits).is_err()
}

/// Whether a directory holds a vocabulary of this kind.
fn is_present(files: &VocabFiles, kind: VocabKind, request: &VocabRequest) -> bool {
    let alone = !sentencepiece::has_file(files)
        && files
            .tokenizer_json()
            .is_some_and(sentencepiece::is_sentencepiece);
    let decoder = |tokenizer: &files::TokenizerJson| {
        let decoder = tokenizer.decoder.as_ref();
        decoder.and_then(|d| d.get("type")).and_then(Json::as_str) == Some("Sequence")
    };
    let model_is = |kind: &str| {
        let tokenizer = files.tokenizer_json();
        tokenizer.is_some_and(|tokenizer| tokenizer.model.kind.as_deref() == Some(kind))
    };
    match kind {
        VocabKind::SentencePiece => {
            sentencepiece::has_file(files) || (alone && is_read_as_pieces(files, request))
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

fn nothing_found(files: &VocabFiles, request: &VocabRequest) -> crate::Error {
    let wanted: Vec<&str> = request
        .kinds
        .iter()
        .map(|kind| match kind {
            VocabKind::SentencePiece | VocabKind::Phi3 | VocabKind::InternLm2 | VocabKind::Arctic => {
                "a SentencePiece tokenizer.model or tokenizer.json"
            }
            VocabKind::Xverse => "a tokenizer.json",
            VocabKind::Gpt2Class => "a tokenizer.json of the class GPT2Tokenizer",
            VocabKind::LlamaHf | VocabKind::Gemma4 => "a tokenizer.json with byte fallback",
            VocabKind::Bpe => "a byte-level tokenizer.json",
            VocabKind::WordPiece => "a tokenizer.json with word pieces",
            VocabKind::XlmRoberta => "a SentencePiece sentencepiece.bpe.model",
            VocabKind::T5 => "a SentencePiece tokenizer.model or spiece.model",
            VocabKind::Unigram => "a tokenizer.json with a unigram model",
            VocabKind::Rwkv => "a rwkv_vocab_v20230424.txt",
            VocabKind::Plamo => "a tokenizer.jsonl",
            VocabKind::Tiktoken(Tiktoken::Qwen) => "a qwen.tiktoken",
            VocabKind::Tiktoken(Tiktoken::Glm) => "a tokenizer.model of base64 lines",
            VocabKind::Tiktoken(Tiktoken::Kimi) => "a tiktoken.model",
            VocabKind::Tiktoken(Tiktoken::Hunyuan) => "a hy.tiktoken",
            VocabKind::Tekken => "a tekken.json",
            VocabKind::MistralPieces => "a tokenizer.model with a version",
        })
        .collect();
    input_error(
        &files.dir,
        format!("no vocabulary found, expected {}", wanted.join(", or ")),
    )
}

/// Writes what comes first in every kind: model, pre-tokenizer, tokens.
fn write_tokens(metadata: &mut Metadata, model: &str, pre: &str, tokens: TokenList) {
    metadata.set_in_place("tokenizer.ggml.model", model);
    metadata.set_in_place("tokenizer.ggml.pre", pre);
    tokens.write(metadata);
}

fn byte_level_vocab(
    files: &VocabFiles,
    mut metadata: Metadata,
    request: &VocabRequest,
) -> Result<Vocabulary> {
    let hf = HfTokenizer::load(files)?;
    let mut warnings = Vec::new();
    let mut tokens = vocab::byte_level(files, &hf, request.added_as_marked, &mut warnings)?;
    tokens.control(request.controls);
    let pre = pre::find(files, &hf, request.pre_tokenizer.as_deref())?;
    let n_vocab = tokens.len();
    write_tokens(&mut metadata, "gpt2", &pre.name, tokens);
    let mut special = SpecialVocab::read(files, true, None, None)?;
    for (kind, text) in request.special_texts {
        let id = hf.added().into_iter().find(|(_, token)| token.content == *text);
        let (id, _) = id.ok_or_else(|| {
            input_error(
                &files.dir.join("tokenizer.json"),
                format!("no added token {text:?}, which this architecture needs"),
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
        metadata,
        n_vocab,
        own: hf.known(),
        resized: false,
        kind: VocabKind::Bpe,
        pre_tokenizer: Some(pre),
        warnings,
    })
}

fn xverse_vocab(files: &VocabFiles, metadata: Metadata) -> Result<Vocabulary> {
    let mut warnings = Vec::new();
    let hf = HfTokenizer::load(files)?;
    let tokens = vocab::as_they_are(files, &hf, &mut warnings)?;
    scored_vocab(files, metadata, tokens, hf.known(), VocabKind::Xverse, warnings)
}

/// Word pieces with their beginnings marked instead of their continuations.
fn word_pieces_vocab(
    files: &VocabFiles,
    mut metadata: Metadata,
    request: &VocabRequest,
) -> Result<Vocabulary> {
    let hf = HfTokenizer::load(files)?;
    let mut warnings = Vec::new();
    let tokens = vocab::word_pieces(vocab::byte_level(files, &hf, false, &mut warnings)?);
    // Nothing depends on the name: word pieces are always split alike.
    let pre = pre::find(files, &hf, request.pre_tokenizer.as_deref()).unwrap_or_else(|_| PreTokenizer {
        name: "default".to_owned(),
        found_by: FoundBy::Behaviour,
    });
    let n_vocab = tokens.len();
    if let Some(count) = request.token_types {
        metadata.set_in_place(TOKEN_TYPES, count);
    }
    write_tokens(&mut metadata, "bert", &pre.name, tokens);
    let special = SpecialVocab::read(files, false, None, Some(n_vocab))?;
    special.write(&mut metadata);
    warnings.extend(special.warnings);
    Ok(Vocabulary {
        metadata,
        n_vocab,
        own: hf.known(),
        resized: false,
        kind: VocabKind::WordPiece,
        pre_tokenizer: Some(pre),
        warnings,
    })
}

fn llama_hf_vocab(files: &VocabFiles, metadata: Metadata) -> Result<Vocabulary> {
    let mut warnings = Vec::new();
    let hf = HfTokenizer::load(files)?;
    let tokens = vocab::llama_hf(files, &hf, &mut warnings)?;
    let own = hf.inner().get_vocab_size(true);
    scored_vocab(files, metadata, tokens, own, VocabKind::LlamaHf, warnings)
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

fn gemma4_vocab(files: &VocabFiles, mut metadata: Metadata) -> Result<Vocabulary> {
    let mut warnings = Vec::new();
    let hf = HfTokenizer::load(files)?;
    let mut tokens = vocab::llama_hf(files, &hf, &mut warnings)?;
    tokens.show(&GEMMA4_SHOWN);
    let n_vocab = tokens.len();
    metadata.set_in_place("tokenizer.ggml.model", "gemma4");
    tokens.write(&mut metadata);
    let special = SpecialVocab::read(files, true, None, None)?;
    special.write(&mut metadata);
    metadata.set_in_place(ADD_SPACE_PREFIX, false);
    metadata.set_in_place("tokenizer.ggml.add_bos_token", true);
    warnings.extend(special.warnings);
    Ok(Vocabulary {
        metadata,
        n_vocab,
        own: hf.inner().get_vocab_size(true),
        resized: false,
        kind: VocabKind::Gemma4,
        pre_tokenizer: None,
        warnings,
    })
}

fn sentencepiece_vocab(files: &VocabFiles, metadata: Metadata) -> Result<Vocabulary> {
    let mut warnings = Vec::new();
    let (tokens, own) = sentencepiece::tokens(files, &mut warnings)?;
    let mut vocabulary = scored_vocab(files, metadata, tokens, own, VocabKind::SentencePiece, warnings)?;
    if sentencepiece::without_space_prefix(files) {
        vocabulary.metadata.set_in_place(ADD_SPACE_PREFIX, false);
    }
    Ok(vocabulary)
}

/// The id of an added token, by its text, as `tokenizer_config.json` or `tokenizer.json` has it.
pub(crate) fn added_token_id(dir: &Path, text: &str) -> Result<Option<u64>> {
    let files = VocabFiles::read(dir, &Json::Null)?;
    let has_text = |token: &Json| token.get("content").and_then(Json::as_str) == Some(text);
    let decoder = files
        .tokenizer_config("added_tokens_decoder")
        .and_then(Json::as_object);
    let configured = decoder.and_then(|d| d.iter().find(|(_, token)| has_text(token)));
    if let Some(id) = configured.and_then(|(id, _)| id.trim().parse().ok()) {
        return Ok(Some(id));
    }
    let added = files.tokenizer_json().and_then(|t| t.added_tokens.as_ref());
    let token = added.and_then(|tokens| tokens.iter().find(|token| has_text(token)));
    Ok(token.and_then(|token| token.get("id")?.as_u64()))
}

/// Number of entries of `tokenizer.json`: its vocabulary and its added tokens, as they are listed. `None` where they are
/// the pieces of a SentencePiece model.
pub(crate) fn entries(dir: &Path) -> Result<Option<u64>> {
    let path = dir.join("tokenizer.json");
    let bytes = files::read_optional(&path, files::MAX_VOCAB_BYTES)?
        .ok_or_else(|| input_error(&path, "file not found"))?;
    let parsed: files::Entries = files::parse_json(&path, &bytes)?;
    let pieces = files::parse_json(&path, &bytes).is_ok_and(|json| sentencepiece::is_sentencepiece(&json));
    Ok((!pieces).then(|| parsed.count()))
}

/// A SentencePiece vocabulary whose added tokens also come from `tokenizer.json`.
fn added_pieces_vocab(files: &VocabFiles, metadata: Metadata, kind: VocabKind) -> Result<Vocabulary> {
    let mut warnings = Vec::new();
    let pieces = sentencepiece::all_tokens(files, kind == VocabKind::InternLm2, &mut warnings)?;
    let mut vocabulary = scored_vocab(files, metadata, pieces.tokens, pieces.own, kind, warnings)?;
    if kind == VocabKind::InternLm2 {
        let end = pieces.end_of_turn;
        vocabulary.metadata = internlm2_metadata(&vocabulary.metadata, pieces.add_dummy_prefix, end);
    }
    Ok(vocabulary)
}

/// With `add_space_prefix` after the token types, and `eos` that ends a turn of a chat.
fn internlm2_metadata(metadata: &Metadata, space: bool, end_of_turn: Option<u32>) -> Metadata {
    let mut out = Metadata::new();
    for (key, value) in metadata.iter() {
        match (key, end_of_turn) {
            ("tokenizer.ggml.eos_token_id", Some(id)) => out.set_in_place(key, id),
            _ => out.set_in_place(key, value.clone()),
        }
        if key == "tokenizer.ggml.token_type" {
            out.set_in_place(ADD_SPACE_PREFIX, space);
        }
    }
    out
}

fn scored_vocab(
    files: &VocabFiles,
    mut metadata: Metadata,
    tokens: TokenList,
    own: usize,
    kind: VocabKind,
    warnings: Vec<String>,
) -> Result<Vocabulary> {
    let n_vocab = tokens.len();
    write_tokens(&mut metadata, "llama", "default", tokens);
    finish_scored(files, metadata, (n_vocab, own), kind, warnings)
}

/// A vocabulary with scores, whose tokens are written already: its special tokens end the keys.
fn finish_scored(
    files: &VocabFiles,
    mut metadata: Metadata,
    (n_vocab, own): (usize, usize),
    kind: VocabKind,
    mut warnings: Vec<String>,
) -> Result<Vocabulary> {
    let special = SpecialVocab::read(files, false, None, Some(n_vocab))?;
    special.write(&mut metadata);
    warnings.extend(special.warnings);
    Ok(Vocabulary {
        metadata,
        n_vocab,
        own,
        resized: false,
        kind,
        pre_tokenizer: None,
        warnings,
    })
}

/// `key` of `text_config` where a multimodal `config.json` has one, else of its root.
pub(crate) fn root_or_text_config<'a>(config: &'a Json, key: &str) -> Option<&'a Json> {
    config
        .get("text_config")
        .and_then(|text| text.get(key))
        .or_else(|| config.get(key))
}
