//! Vocabularies as the library `mistral-common` reads them: `tekken.json`, whose special tokens come first, and
//! SentencePiece models that carry a version in their name (`tokenizer.model.v3`). Keys and their order are those that
//! llama.cpp's converter writes for these.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gguf::{GgufString, Metadata, Value};
use serde::Deserialize;

use super::files::{
    MAX_CONFIG_BYTES, MAX_TOKENS, MAX_VOCAB_BYTES, VocabFiles, input_error, parse_json, read_optional,
    text_optional,
};
use super::sentencepiece::Model;
use super::tiktoken::{MAX_TOKEN_BYTES, byte_level};
use super::vocab::{TokenList, TokenType};
use super::{FoundBy, PreTokenizer, VocabKind, VocabRequest, Vocabulary};
use crate::{Remedy, Result};

/// The file of a Tekken vocabulary.
pub(super) const TEKKEN: &str = "tekken.json";
/// What the names of SentencePiece models begin with.
const PIECES: &str = "tokenizer.model";
/// A template of the directory itself.
const TEMPLATE: &str = "chat_template.jinja";
/// Tokens for the bytes come first.
const BYTES: usize = 256;

/// Largest sum of the squares of the tokens' lengths, which bounds the work on merges and their size. Published
/// vocabularies have 9 million.
const MAX_SQUARES: usize = 1 << 26;

/// How a vocabulary of Mistral's is taken.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct MistralRequest {
    /// The directory is in Mistral's own layout, whose template is a file beside the vocabulary.
    pub own_layout: bool,
    /// Without a template of its own, the name of the one that llama.cpp has for this version is written.
    pub named_template: bool,
}

gguf::setters! {
    MistralRequest {
        own_layout: bool,
        named_template: bool,
    }
}

/// The versions, each with llama.cpp's names of its template for pieces and for Tekken.
const VERSIONS: [(&str, Template, Template); 7] = [
    ("v1", Template::Named("mistral-v1"), Template::Named("mistral-v1")),
    ("v2", Template::Unknown, Template::Unknown),
    (
        "v3",
        Template::Named("mistral-v3"),
        Template::Named("mistral-v3-tekken"),
    ),
    (
        "v7",
        Template::Named("mistral-v7"),
        Template::Named("mistral-v7-tekken"),
    ),
    ("v11", Template::Published, Template::Published),
    ("v13", Template::Published, Template::Published),
    ("v15", Template::Unknown, Template::Unknown),
];

/// What is known of a version's template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Template {
    Named(&'static str),
    /// The stock converter copies one that others published.
    Published,
    Unknown,
}

/// Whether a directory in transformers' layout has no other vocabulary than Tekken's.
pub(super) fn is_alone(dir: &Path) -> bool {
    dir.join(TEKKEN).is_file() && !dir.join("tokenizer.json").is_file()
}

/// The file of pieces of the last version in a directory, and that version.
pub(super) fn pieces_file(dir: &Path) -> Option<(String, &'static str)> {
    let names = std::fs::read_dir(dir).ok()?.flatten();
    let mut found: Vec<(String, &'static str)> = names
        .filter(|item| item.path().is_file())
        .filter_map(|item| item.file_name().into_string().ok())
        .filter_map(|name| {
            let version = version_of(&name)?;
            Some((name, version))
        })
        .collect();
    found.sort_unstable();
    found.pop()
}

/// The version in a file's name: that of the text, before one of images (`v7m1`).
fn version_of(name: &str) -> Option<&'static str> {
    let rest = name.strip_prefix(PIECES)?;
    let Some(version) = rest.strip_prefix('.') else {
        return rest.is_empty().then_some("v1");
    };
    let version = version.split('m').next()?;
    VERSIONS
        .iter()
        .map(|(known, ..)| *known)
        .find(|known| *known == version)
}

/// `tekken.json`, as far as a vocabulary needs it.
#[derive(Debug, Deserialize)]
struct Tekken {
    config: TekkenConfig,
    vocab: Vec<TekkenToken>,
    #[serde(default)]
    special_tokens: Option<Vec<TekkenSpecial>>,
}

#[derive(Debug, Deserialize)]
struct TekkenConfig {
    version: String,
    default_vocab_size: u64,
    default_num_special_tokens: u64,
}

#[derive(Debug, Deserialize)]
struct TekkenToken {
    rank: u64,
    token_bytes: String,
}

#[derive(Debug, Deserialize)]
struct TekkenSpecial {
    rank: u64,
    token_str: String,
}

/// Special tokens of files up to version 7, which do not list them.
const UNLISTED: [&str; 20] = [
    "<unk>",
    "<s>",
    "</s>",
    "[INST]",
    "[/INST]",
    "[AVAILABLE_TOOLS]",
    "[/AVAILABLE_TOOLS]",
    "[TOOL_RESULTS]",
    "[/TOOL_RESULTS]",
    "[TOOL_CALLS]",
    "[IMG]",
    "<pad>",
    "[IMG_BREAK]",
    "[IMG_END]",
    "[PREFIX]",
    "[MIDDLE]",
    "[SUFFIX]",
    "[SYSTEM_PROMPT]",
    "[/SYSTEM_PROMPT]",
    "[TOOL_CONTENT]",
];
/// Versions whose files need not list their special tokens.
const UNLISTED_UNTIL: usize = 4;

/// A Tekken vocabulary: special tokens by id, and the bytes of the others by rank.
struct Tokens {
    version: usize,
    specials: Vec<String>,
    ranked: Vec<Vec<u8>>,
}

impl Tokens {
    fn read(path: &Path) -> Result<Self> {
        let bytes =
            read_optional(path, MAX_VOCAB_BYTES)?.ok_or_else(|| input_error(path, "file not found"))?;
        let file: Tekken = parse_json(path, &bytes)?;
        let fail = |message: String| input_error(path, message);
        let version = VERSIONS.iter().position(|(v, ..)| *v == file.config.version);
        let version = version.ok_or_else(|| {
            let known: Vec<&str> = VERSIONS.iter().map(|(v, ..)| *v).collect();
            fail(format!(
                "config.version: found {:?}, expected one of {}",
                file.config.version,
                known.join(", ")
            ))
        })?;
        let size = |key: &str, n: u64| {
            let n = usize::try_from(n).ok().filter(|&n| n <= MAX_TOKENS);
            n.ok_or_else(|| fail(format!("config.{key}: expected at most {MAX_TOKENS}, found more")))
        };
        let total = size("default_vocab_size", file.config.default_vocab_size)?;
        let n_special = size(
            "default_num_special_tokens",
            file.config.default_num_special_tokens,
        )?;
        let n_ranked = total.checked_sub(n_special).filter(|n| *n <= file.vocab.len());
        let n_ranked = n_ranked.ok_or_else(|| {
            fail(format!(
                "config.default_vocab_size is {total}, of which {n_special} special: expected at most {} others, as \
                 vocab has",
                file.vocab.len()
            ))
        })?;
        Ok(Self {
            version,
            specials: specials(path, file.special_tokens, version, n_special)?,
            ranked: ranked(path, &file.vocab[..n_ranked])?,
        })
    }

    fn special_id(&self, path: &Path, text: &str) -> Result<u32> {
        let at = self.specials.iter().position(|s| s == text);
        at.map(|at| at as u32)
            .ok_or_else(|| input_error(path, format!("special_tokens: expected {text:?}, found none")))
    }

    /// Every way in which two tokens make a third one, in the order of the tokens that they make.
    ///
    /// # Errors
    /// A token that no two others make.
    fn merges(&self, path: &Path) -> Result<Vec<String>> {
        let ranks: HashMap<&[u8], usize> = self
            .ranked
            .iter()
            .enumerate()
            .map(|(rank, t)| (&t[..], rank))
            .collect();
        let mut merges = Vec::new();
        for (rank, token) in self.ranked.iter().enumerate().skip(BYTES) {
            let mut ways: Vec<(usize, usize, usize)> = (1..token.len())
                .filter_map(|at| Some((*ranks.get(&token[..at])?, *ranks.get(&token[at..])?, at)))
                .collect();
            if ways.is_empty() {
                return Err(input_error(
                    path,
                    format!(
                        "vocab: expected two tokens that make that of rank {rank} ({:?}), found none",
                        byte_level(token)
                    ),
                ));
            }
            ways.sort_unstable();
            merges.extend(
                ways.iter()
                    .map(|&(_, _, at)| format!("{} {}", byte_level(&token[..at]), byte_level(&token[at..]))),
            );
        }
        Ok(merges)
    }
}

/// Special tokens by id; ids that the file leaves open are named by their number.
fn specials(
    path: &Path,
    listed: Option<Vec<TekkenSpecial>>,
    version: usize,
    n_special: usize,
) -> Result<Vec<String>> {
    let fail = |message: String| input_error(path, message);
    let mut texts: Vec<String> = match listed {
        Some(listed) => {
            for (at, token) in listed.iter().enumerate() {
                if token.rank != at as u64 {
                    return Err(fail(format!(
                        "special_tokens: expected rank {at}, found {} ({:?})",
                        token.rank, token.token_str
                    )));
                }
            }
            listed.into_iter().map(|token| token.token_str).collect()
        }
        None if version < UNLISTED_UNTIL => UNLISTED.iter().map(|text| (*text).to_owned()).collect(),
        None => return Err(fail("expected a list special_tokens, found none".to_owned())),
    };
    if texts.len() > n_special {
        return Err(fail(format!(
            "special_tokens: expected at most {n_special} (config.default_num_special_tokens), found {}",
            texts.len()
        )));
    }
    texts.extend((texts.len()..n_special).map(|id| format!("<SPECIAL_{id}>")));
    let mut seen = HashSet::new();
    if let Some(twice) = texts.iter().find(|text| !seen.insert(text.as_str())) {
        return Err(fail(format!("special_tokens: {twice:?} is there twice")));
    }
    Ok(texts)
}

/// The bytes of tokens in the order of their ranks, the single bytes first.
fn ranked(path: &Path, vocab: &[TekkenToken]) -> Result<Vec<Vec<u8>>> {
    let mut tokens = Vec::with_capacity(vocab.len());
    let mut seen = HashSet::new();
    let mut squares = 0usize;
    for (at, token) in vocab.iter().enumerate() {
        let fail = |message: String| input_error(path, format!("vocab[{at}]: {message}"));
        if token.rank != at as u64 {
            return Err(fail(format!("expected rank {at}, found {}", token.rank)));
        }
        let bytes = STANDARD
            .decode(&token.token_bytes)
            .map_err(|e| fail(format!("token_bytes is not base64: {e}")))?;
        if bytes.is_empty() || bytes.len() > MAX_TOKEN_BYTES {
            let found = bytes.len();
            return Err(fail(format!(
                "expected 1 to {MAX_TOKEN_BYTES} bytes, found {found}"
            )));
        }
        if at < BYTES && bytes[..] != [at as u8] {
            return Err(fail(format!("expected the byte {at}, found {bytes:?}")));
        }
        squares += bytes.len() * bytes.len();
        if squares > MAX_SQUARES {
            return Err(fail(format!(
                "expected at most {MAX_SQUARES} as the sum of the squares of the tokens' lengths, found more"
            )));
        }
        tokens.push(bytes);
    }
    if tokens.len() < BYTES {
        return Err(input_error(
            path,
            format!("vocab: expected all {BYTES} bytes, found {}", tokens.len()),
        ));
    }
    if let Some(twice) = tokens.iter().position(|t| !seen.insert(t.as_slice())) {
        return Err(input_error(
            path,
            format!("vocab[{twice}]: a token is there twice"),
        ));
    }
    Ok(tokens)
}

/// Ids of the tokens that bound a text, stand for the unknown and fill.
struct Ids {
    begin: u32,
    end: u32,
    unknown: u32,
    padding: u32,
}

/// The vocabulary of `tekken.json`.
pub(super) fn tekken(
    files: &VocabFiles,
    request: &VocabRequest,
    mistral: MistralRequest,
) -> Result<Vocabulary> {
    let path = files.dir.join(TEKKEN);
    let tokens = Tokens::read(&path)?;
    let ids = Ids {
        begin: tokens.special_id(&path, "<s>")?,
        end: tokens.special_id(&path, "</s>")?,
        unknown: tokens.special_id(&path, "<unk>")?,
        padding: tokens.special_id(&path, "<pad>")?,
    };
    let name = request.pre_tokenizer.clone();
    let pre = PreTokenizer {
        found_by: if name.is_some() {
            FoundBy::Override
        } else {
            FoundBy::File
        },
        name: name.unwrap_or_else(|| "tekken".to_owned()),
    };
    let merges: Vec<GgufString> = tokens.merges(&path)?.into_iter().map(GgufString::from).collect();
    let mut metadata = Metadata::new();
    metadata.set_in_place("tokenizer.ggml.model", "gpt2");
    metadata.set_in_place("tokenizer.ggml.pre", pre.name.as_str());
    metadata.set_in_place("tokenizer.ggml.merges", Value::from(merges));
    let n_vocab = tokens.specials.len() + tokens.ranked.len();
    let mut types = vec![TokenType::Control; tokens.specials.len()];
    types.resize(n_vocab, TokenType::Normal);
    let mut texts = tokens.specials;
    texts.extend(tokens.ranked.iter().map(|token| byte_level(token)));
    let list = TokenList {
        texts,
        types,
        scores: Some(vec![0.0; n_vocab]),
    };
    let (version, _, template) = VERSIONS[tokens.version];
    let about = (&path, version, template);
    finish(files, request, mistral, about, (metadata, ids, list), Some(pre))
}

/// The vocabulary of a SentencePiece model with a version.
pub(super) fn pieces(
    files: &VocabFiles,
    request: &VocabRequest,
    mistral: MistralRequest,
) -> Result<Vocabulary> {
    let Some((name, version)) = pieces_file(&files.dir) else {
        return Err(input_error(
            &files.dir,
            format!("expected {TEKKEN} or {PIECES}.vN, found neither"),
        ));
    };
    let path = files.dir.join(&name);
    let mut model = Model::read(files, &name)?;
    let ids = model.bounds();
    let need = |what: &str, id: Option<u32>| {
        id.ok_or_else(|| input_error(&path, format!("expected a piece for {what}, found none")))
    };
    let end = need("the end of a text", ids.end)?;
    let ids = Ids {
        begin: need("the beginning of a text", ids.begin)?,
        end,
        unknown: need("what is unknown", ids.unknown)?,
        padding: ids.padding.unwrap_or(end),
    };
    let n_pieces = model.n_pieces();
    let list = model.take_tokens(n_pieces).list();
    let mut metadata = Metadata::new();
    metadata.set_in_place("tokenizer.ggml.model", "llama");
    let template = VERSIONS.iter().find(|(v, ..)| *v == version);
    let template = template.map_or(Template::Unknown, |(_, pieces, _)| *pieces);
    let about = (&path, version, template);
    finish(files, request, mistral, about, (metadata, ids, list), None)
}

/// What both kinds have in common, in the stock converter's order.
fn finish<P: AsRef<Path>>(
    files: &VocabFiles,
    request: &VocabRequest,
    mistral: MistralRequest,
    (path, version, template): (P, &str, Template),
    (mut metadata, ids, list): (Metadata, Ids, TokenList),
    pre_tokenizer: Option<PreTokenizer>,
) -> Result<Vocabulary> {
    let path = path.as_ref();
    let n_vocab = list.len();
    if let Some(rows) = files.rows
        && rows != n_vocab
    {
        return Err(input_error(
            path,
            format!("expected {rows} tokens, one for each row of the token embeddings, found {n_vocab}"),
        ));
    }
    metadata.set_in_place("tokenizer.ggml.bos_token_id", ids.begin);
    metadata.set_in_place("tokenizer.ggml.eos_token_id", ids.end);
    metadata.set_in_place("tokenizer.ggml.unknown_token_id", ids.unknown);
    metadata.set_in_place("tokenizer.ggml.padding_token_id", ids.padding);
    list.write(&mut metadata);
    if pre_tokenizer.is_some() {
        // Of merges no score is read. The stock converter writes integers.
        metadata.set_in_place("tokenizer.ggml.scores", Value::from(vec![0i32; n_vocab]));
    }
    if let Some(architecture) = request.architecture {
        metadata.set_in_place(format!("{architecture}.vocab_size"), n_vocab as u32);
    }
    metadata.set_in_place("tokenizer.ggml.add_bos_token", true);
    metadata.set_in_place("tokenizer.ggml.add_eos_token", false);
    let mut warnings = Vec::new();
    if let Some(template) = chat_template(files, mistral, (path, version, template), &mut warnings)? {
        metadata.set_in_place("tokenizer.chat_template", template);
    }
    let kind = match pre_tokenizer {
        Some(_) => VocabKind::Tekken,
        None => VocabKind::MistralPieces,
    };
    Ok(Vocabulary {
        metadata,
        n_vocab,
        own: n_vocab,
        resized: false,
        kind,
        pre_tokenizer,
        warnings,
    })
}

/// The template of the directory or, without that, the name of the version's.
///
/// # Errors
/// A version that llama.cpp has no template for, where one is wanted.
fn chat_template(
    files: &VocabFiles,
    mistral: MistralRequest,
    (path, version, template): (&Path, &str, Template),
    warnings: &mut Vec<String>,
) -> Result<Option<String>> {
    let own = files.dir.join(TEMPLATE);
    // In transformers' layout the stock converter takes a name before the file.
    if (mistral.own_layout || !matches!(template, Template::Named(_)))
        && let Some(text) = text_optional(&own, MAX_CONFIG_BYTES)?
    {
        return Ok(Some(text));
    }
    if mistral.own_layout && !mistral.named_template {
        return Ok(None);
    }
    match template {
        Template::Named(name) => Ok(Some(name.to_owned())),
        Template::Published => {
            warnings.push(format!(
                "{}: no name stands for the chat template of version {version}, and no {TEMPLATE} is beside it: none \
                 is written",
                path.display()
            ));
            Ok(None)
        }
        Template::Unknown => Err(input_error(
            path,
            format!("no chat template is known for version {version}: expected a {TEMPLATE}, found none"),
        )
        .avoided_by(Remedy::NoNamedTemplate)),
    }
}

/// The id of a special token by its text, as `tekken.json` lists it.
pub(crate) fn special_id(dir: &Path, text: &str) -> Result<Option<u64>> {
    let path = dir.join(TEKKEN);
    let Some(bytes) = read_optional(&path, MAX_VOCAB_BYTES)? else {
        return Ok(None);
    };
    let file: Tekken = parse_json(&path, &bytes)?;
    let found = file.special_tokens.into_iter().flatten();
    Ok(found
        .into_iter()
        .find(|token| token.token_str == text)
        .map(|token| token.rank))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A vocabulary of the bytes and these tokens, with changes to the file's configuration.
    fn file(tokens: &[&str], config: serde_json::Value) -> Result<Tokens> {
        let all: Vec<Vec<u8>> = (0..=255u8)
            .map(|b| vec![b])
            .chain(tokens.iter().map(|t| t.as_bytes().to_vec()))
            .collect();
        let vocab: Vec<_> = all
            .iter()
            .enumerate()
            .map(
                |(rank, t)| serde_json::json!({"rank": rank, "token_bytes": STANDARD.encode(t), "token_str": null}),
            )
            .collect();
        let mut value = serde_json::json!({
            "config": {"version": "v3", "default_vocab_size": all.len() + 24, "default_num_special_tokens": 24},
            "vocab": vocab,
        });
        for (key, changed) in config.as_object().unwrap() {
            value["config"][key] = changed.clone();
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(TEKKEN);
        std::fs::write(&path, value.to_string()).unwrap();
        Tokens::read(&path)
    }

    #[test]
    fn every_way_to_make_a_token_is_a_merge() {
        let tokens = file(&["ab", "bc", "abc"], serde_json::json!({})).unwrap();
        assert_eq!(
            tokens.merges(Path::new("")).unwrap(),
            ["a b", "b c", "a bc", "ab c"]
        );
        assert_eq!(tokens.specials[23], "<SPECIAL_23>");
        assert_eq!(tokens.specials[11], "<pad>");
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let error = |tokens: &[&str], config| match file(tokens, config) {
            Ok(tokens) => tokens.merges(Path::new("tekken.json")).unwrap_err().to_string(),
            Err(e) => e.to_string(),
        };
        for (tokens, config, expected) in [
            (
                &["abc"][..],
                serde_json::json!({}),
                "two tokens that make that of rank 256",
            ),
            (
                &["ab", "ab"],
                serde_json::json!({}),
                "vocab[257]: a token is there twice",
            ),
            (
                &[],
                serde_json::json!({"version": "v99"}),
                "config.version: found \"v99\"",
            ),
            (
                &[],
                serde_json::json!({"version": "v11"}),
                "expected a list special_tokens",
            ),
            (
                &[],
                serde_json::json!({"default_vocab_size": 5000}),
                "expected at most 256 others",
            ),
            (
                &[],
                serde_json::json!({"default_num_special_tokens": 9}),
                "config.default_vocab_size",
            ),
            (
                &[],
                serde_json::json!({"default_vocab_size": u64::MAX}),
                "expected at most 4194304, found more",
            ),
        ] {
            let found = error(tokens, config);
            assert!(found.contains(expected), "{expected}: {found}");
        }
    }

    #[test]
    fn hostile_lengths_are_bounded() {
        let tokens: Vec<String> = (2..=600).map(|n| "a".repeat(n)).collect();
        let tokens: Vec<&str> = tokens.iter().map(String::as_str).collect();
        let error = file(&tokens, serde_json::json!({})).err().map(|e| e.to_string());
        assert!(
            error.is_some_and(|e| e.contains("sum of the squares of the tokens' lengths")),
            "accepted"
        );
    }

    #[test]
    fn versions_are_read_from_names() {
        for (name, version) in [
            ("tokenizer.model", Some("v1")),
            ("tokenizer.model.v3", Some("v3")),
            ("tokenizer.model.v7m1", Some("v7")),
            ("tokenizer.model.v4", None),
            ("tokenizer.model.bak", None),
            ("tokenizer.models", None),
        ] {
            assert_eq!(version_of(name), version, "{name}");
        }
    }
}
