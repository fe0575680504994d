//! The files of a model directory that a vocabulary is read from, none of them trusted.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value as Json;

use crate::{Error, Result};

/// Largest `tokenizer.json`, `vocab.json`, `merges.txt` or `tokenizer.model` that is read. Published
/// ones stay under 40 MB.
pub(super) const MAX_VOCAB_BYTES: u64 = 128 << 20;
/// Largest configuration or template file that is read. Published ones stay under 2 MB.
pub(super) const MAX_CONFIG_BYTES: u64 = 16 << 20;
/// Most tokens that a vocabulary is padded with. Published models need 120,000 at most, those that are made for
/// tests as many as a large vocabulary has.
pub(super) const MAX_PADDING: usize = 1 << 18;
/// Most tokens in a vocabulary. Published ones stay under 1.1 million.
pub(super) const MAX_TOKENS: usize = 1 << 22;

/// Keys of the configured size of a vocabulary.
pub(super) const SIZE_KEYS: &[&str] = &["vocab_size"];

/// The bytes of a file, or `None` where there is no such regular file.
pub(super) fn read_optional(path: &Path, limit: u64) -> Result<Option<Vec<u8>>> {
    if !path.is_file() {
        return Ok(None);
    }
    let io = |source| Error::io(path, source);
    let mut bytes = Vec::new();
    File::open(path)
        .map_err(io)?
        .take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(io)?;
    crate::json::refuse_pointer(path, &bytes)?;
    if bytes.len() as u64 > limit {
        return Err(Error::input(
            path,
            format!("expected at most {limit} bytes, found more"),
        ));
    }
    Ok(Some(bytes))
}

/// A JSON document, or `None` where there is no such file.
pub(super) fn json_optional(path: &Path) -> Result<Option<Json>> {
    read_optional(path, MAX_CONFIG_BYTES)?
        .map(|bytes| parse_json(path, &bytes))
        .transpose()
}

/// The same of a file as long as a vocabulary.
pub(super) fn json_large(path: &Path) -> Result<Option<Json>> {
    read_optional(path, MAX_VOCAB_BYTES)?
        .map(|bytes| parse_json(path, &bytes))
        .transpose()
}

/// Parses JSON; the error names line and column.
pub(super) fn parse_json<'a, T: Deserialize<'a>>(path: &Path, bytes: &'a [u8]) -> Result<T> {
    serde_json::from_slice(bytes)
        .map_err(|e| Error::input(path, format!("expected JSON, found other text: {e}")))
}

/// Text with every line ending as `\n`, or `None` where there is no such file.
pub(super) fn text_optional(path: &Path, limit: u64) -> Result<Option<String>> {
    let Some(bytes) = read_optional(path, limit)? else {
        return Ok(None);
    };
    let text = String::from_utf8(bytes).map_err(|e| {
        Error::input(
            path,
            format!(
                "expected UTF-8, found another byte at {}",
                e.utf8_error().valid_up_to()
            ),
        )
    })?;
    Ok(Some(if text.contains('\r') {
        text.replace("\r\n", "\n").replace('\r', "\n")
    } else {
        text
    }))
}

/// `tokenizer.json`, as far as its structure matters here. The vocabulary itself is read by the
/// `tokenizers` library.
#[derive(Debug, Deserialize)]
pub(super) struct TokenizerJson {
    #[serde(default)]
    pub(super) model: ModelJson,
    #[serde(default)]
    pub(super) normalizer: Option<Json>,
    #[serde(default)]
    pub(super) pre_tokenizer: Option<Json>,
    #[serde(default)]
    pub(super) post_processor: Option<Json>,
    #[serde(default)]
    pub(super) decoder: Option<Json>,
    #[serde(default)]
    pub(super) added_tokens: Option<Vec<Json>>,
}

/// The `model` part of `tokenizer.json`, without its vocabulary.
#[derive(Debug, Default, Deserialize)]
pub(super) struct ModelJson {
    #[serde(rename = "type", default)]
    pub(super) kind: Option<String>,
    #[serde(default)]
    pub(super) byte_fallback: Option<bool>,
    #[serde(default)]
    pub(super) continuing_subword_prefix: Option<String>,
    #[serde(default)]
    pub(super) end_of_word_suffix: Option<String>,
    #[serde(default)]
    pub(super) ignore_merges: Option<bool>,
    #[serde(default)]
    pub(super) merges: Option<Vec<Merge>>,
}

/// `tokenizer.json` for counting its entries.
#[derive(Debug, Deserialize)]
pub(super) struct Entries {
    model: EntriesModel,
    #[serde(default)]
    added_tokens: Vec<serde::de::IgnoredAny>,
}

#[derive(Debug, Deserialize)]
struct EntriesModel {
    vocab: std::collections::HashMap<String, serde::de::IgnoredAny>,
}

impl Entries {
    /// Entries of the vocabulary and added tokens, whether they are the same or not.
    pub(super) fn count(&self) -> u64 {
        (self.model.vocab.len() + self.added_tokens.len()) as u64
    }
}

/// One merge, in either of the two forms that files use.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Merge {
    /// `"left right"`
    Line(String),
    /// `["left", "right"]`
    Pair(String, String),
}

impl Merge {
    /// The two parts together.
    pub(super) fn whole(&self) -> String {
        match self {
            Self::Line(line) => line.replacen(' ', "", 1),
            Self::Pair(left, right) => format!("{left}{right}"),
        }
    }

    /// The form that GGUF stores: both parts with one space between them. A space within a part
    /// would make that ambiguous and is written as `Ġ`.
    pub(super) fn to_line(&self) -> String {
        match self {
            Self::Line(line) => line.clone(),
            Self::Pair(left, right) => {
                format!("{} {}", left.replace(' ', "Ġ"), right.replace(' ', "Ġ"))
            }
        }
    }
}

/// Everything that a vocabulary is read from, apart from `tokenizer.model`.
#[derive(Debug)]
pub(super) struct VocabFiles {
    pub(super) dir: PathBuf,
    /// `tokenizer.json`: its bytes for the `tokenizers` library, and its structure.
    pub(super) tokenizer: Option<(Vec<u8>, TokenizerJson)>,
    /// `tokenizer_config.json`, when it is an object that is not empty.
    pub(super) tokenizer_config: Option<Json>,
    /// `config.json`, completed where the caller has completed it.
    pub(super) config: Json,
    /// The same as it is stored, where that is another.
    pub(super) stored: Option<Json>,
    /// Multiple to which the configured number of tokens is rounded up.
    pub(super) multiple: u64,
    /// Rows of the token embeddings, where they are known.
    pub(super) rows: Option<usize>,
    /// Keys of the configuration that do not count.
    pub(super) ignored: Vec<&'static str>,
}

impl VocabFiles {
    /// The configuration files alone.
    pub(super) fn read(dir: &Path, config: &Json) -> Result<Self> {
        let tokenizer_config = json_optional(&dir.join("tokenizer_config.json"))?
            .filter(|config| config.as_object().is_some_and(|fields| !fields.is_empty()));
        Ok(Self {
            dir: dir.to_owned(),
            tokenizer: None,
            tokenizer_config,
            config: config.clone(),
            stored: None,
            multiple: 1,
            rows: None,
            ignored: Vec::new(),
        })
    }

    /// The structure of `tokenizer.json`.
    pub(super) fn tokenizer_json(&self) -> Option<&TokenizerJson> {
        self.tokenizer.as_ref().map(|(_, parsed)| parsed)
    }

    /// A key of `tokenizer_config.json`.
    pub(super) fn tokenizer_config(&self, key: &str) -> Option<&Json> {
        self.tokenizer_config.as_ref()?.get(key)
    }

    /// A key of the text model's configuration: `text_config` first, then the root.
    pub(super) fn config(&self, key: &str) -> Option<&Json> {
        match self.ignored.contains(&key) {
            true => None,
            false => root_or_text_config(&self.config, key),
        }
    }

    /// The number of tokens that the model needs: one for each row of its token embeddings or, where those are not
    /// known, as many as the configuration says. `own` is the number that the tokenizer has.
    pub(super) fn vocab_size(&self, keys: &[&str], own: usize) -> Result<Option<usize>> {
        let configured = self.configured_size(keys)?;
        let wanted = self.rows.or(configured);
        if let Some(n) = wanted
            && (n > MAX_TOKENS || n.saturating_sub(own) > MAX_PADDING)
        {
            let message =
                format!("expected at most {MAX_PADDING} tokens of padding, found {n} tokens needed");
            return Err(self.misfit("config.json", keys, own, &message));
        }
        Ok(wanted)
    }

    /// `vocab_size` of the configuration, checked against the limit.
    pub(super) fn configured_size(&self, keys: &[&str]) -> Result<Option<usize>> {
        let Some((key, value)) = keys
            .iter()
            .find_map(|key| self.config(key).map(|value| (*key, value)))
            .filter(|(_, value)| !value.is_null())
        else {
            return Ok(None);
        };
        let rounded = |n: u64| n.checked_next_multiple_of(self.multiple.max(1));
        match value
            .as_u64()
            .and_then(rounded)
            .and_then(|n| usize::try_from(n).ok())
        {
            Some(n) if n <= MAX_TOKENS => Ok(Some(n)),
            _ => Err(Error::input(
                self.dir.join("config.json"),
                format!("`{key}`: expected a number of tokens up to {MAX_TOKENS}, found {value}"),
            )),
        }
    }

    /// The three sizes that should agree: those of the embeddings, of the configuration and of the tokenizer.
    pub(super) fn sizes(&self, keys: &[&str], own: usize) -> String {
        let rows = self
            .rows
            .map_or("token embeddings of unknown size".to_owned(), |n| {
                format!("token embeddings of {n} rows")
            });
        let configured = match self.configured_size(keys) {
            Ok(Some(n)) => format!("`vocab_size` {n} in config.json"),
            _ => "no `vocab_size` in config.json".to_owned(),
        };
        format!("{rows}, {configured}, a tokenizer of {own} tokens")
    }

    /// A vocabulary, read from a file of the directory, that does not fit its model.
    pub(super) fn misfit(&self, file: &str, keys: &[&str], own: usize, message: &str) -> Error {
        let sizes = self.sizes(keys, own);
        Error::input(self.dir.join(file), format!("{message} ({sizes})"))
    }
}

/// `key` of `text_config` where a multimodal `config.json` has one, else of its root.
pub(crate) fn root_or_text_config<'a>(config: &'a Json, key: &str) -> Option<&'a Json> {
    config
        .get("text_config")
        .and_then(|text| text.get(key))
        .or_else(|| config.get(key))
}
