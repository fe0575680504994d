//! `tekken.json`: special tokens and the bytes of the others.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::version::VERSIONS;
use crate::tokenizer::files::{MAX_TOKENS, MAX_VOCAB_BYTES, parse_json, read_optional};
use crate::tokenizer::tiktoken::{MAX_TOKEN_BYTES, byte_level};
use crate::{Error, Result};

/// The file's name.
pub(super) const FILE: &str = "tekken.json";
/// Tokens for the bytes come first.
const BYTES: usize = 256;

/// Largest sum of the squares of the tokens' lengths, which bounds the work on merges and their size. Published
/// vocabularies have 9 million.
const MAX_SQUARES: usize = 1 << 26;

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
pub(super) struct Tokens {
    pub(super) version: usize,
    pub(super) specials: Vec<String>,
    pub(super) ranked: Vec<Vec<u8>>,
}

impl Tokens {
    pub(super) fn read(path: &Path) -> Result<Self> {
        let bytes = read_optional(path, MAX_VOCAB_BYTES)?
            .ok_or_else(|| Error::input(path, "expected this file, found none"))?;
        let file: Tekken = parse_json(path, &bytes)?;
        let fail = |message: String| Error::input(path, message);
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

    pub(super) fn special_id(&self, path: &Path, text: &str) -> Result<u32> {
        let at = self.specials.iter().position(|s| s == text);
        at.map(|at| at as u32)
            .ok_or_else(|| Error::input(path, format!("special_tokens: expected {text:?}, found none")))
    }

    /// Every way in which two tokens make a third one, in the order of the tokens that they make.
    ///
    /// # Errors
    /// A token that no two others make.
    pub(super) fn merges(&self, path: &Path) -> Result<Vec<String>> {
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
                return Err(Error::input(
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
    let fail = |message: String| Error::input(path, message);
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
        return Err(fail(format!(
            "special_tokens: expected each token once, found {twice:?} twice"
        )));
    }
    Ok(texts)
}

/// The bytes of tokens in the order of their ranks, the single bytes first.
fn ranked(path: &Path, vocab: &[TekkenToken]) -> Result<Vec<Vec<u8>>> {
    let mut tokens = Vec::with_capacity(vocab.len());
    let mut seen = HashSet::new();
    let mut squares = 0usize;
    for (at, token) in vocab.iter().enumerate() {
        let fail = |message: String| Error::input(path, format!("vocab[{at}]: {message}"));
        if token.rank != at as u64 {
            return Err(fail(format!("expected rank {at}, found {}", token.rank)));
        }
        let bytes = STANDARD
            .decode(&token.token_bytes)
            .map_err(|e| fail(format!("token_bytes: expected base64, found another text: {e}")))?;
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
        return Err(Error::input(
            path,
            format!("vocab: expected all {BYTES} bytes, found {}", tokens.len()),
        ));
    }
    if let Some(twice) = tokens.iter().position(|t| !seen.insert(t.as_slice())) {
        return Err(Error::input(
            path,
            format!("vocab[{twice}]: expected each token once, found one again"),
        ));
    }
    Ok(tokens)
}

/// The id of a special token by its text, as `tekken.json` lists it.
pub(crate) fn special_id(dir: &Path, text: &str) -> Result<Option<u64>> {
    let path = dir.join(FILE);
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
        let path = dir.path().join(FILE);
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
                "vocab[257]: expected each token once",
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
}
