//! Descriptions of architectures in files (TOML).

use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use toml::Spanned;

use super::document::{ClassRow, Document, KeyRow, TensorRow, TokenizerTable, TypeTable};
use crate::arch::described::{Constant, Described, ForSize, Key, Kind, Vocabulary};
use crate::arch::models::ARCHITECTURES;
use crate::arch::rules::declared;
use crate::arch::rules::names::Ending;
use crate::arch::{Architecture, Class, Default, Fixed, Graph, ModelType, PLAIN, Rule, Transform};
use crate::tokenizer::VocabRequest;
use crate::{Error, Remedy, Result};

/// Longest file accepted, in bytes. That of Llama has some three thousand.
const MAX_BYTES: u64 = 1 << 20;
/// Longest name of a tensor in the output, as ggml has it, without its ending.
const MAX_NAME: usize = 64 - ".weight".len() - 1;

/// Descriptions that were read, by their text. They are kept as long as the process runs, as the built-in ones are, and
/// one that is read again is not kept twice.
static KNOWN: Mutex<Option<HashMap<String, &'static Described>>> = Mutex::new(None);

/// Reads a description.
///
/// # Errors
/// [`Error::Input`] with the line of what is malformed, unknown or missing.
pub(crate) fn read(path: &Path) -> Result<&'static Described> {
    let bytes = crate::json::read_bytes(path, MAX_BYTES)?;
    let file = File {
        path: path.to_path_buf(),
        text: match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(_) => {
                return Err(Error::input(
                    path,
                    "expected a description in TOML (docs/arch-file.md), found no text in UTF-8",
                ));
            }
        },
    };
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let known = known.get_or_insert_default();
    if let Some(described) = known.get(&file.text) {
        return Ok(described);
    }
    let document: Document = toml::from_str(&file.text).map_err(|e| {
        let at = e.span().unwrap_or_default();
        file.error(&at, e.message().replace('\n', "; "))
    })?;
    let described = &*Box::leak(Box::new(file.described(document)?));
    known.insert(file.text, described);
    Ok(described)
}

fn kept(text: String) -> &'static str {
    String::leak(text)
}

fn kept_all<T>(list: Vec<T>) -> &'static [T] {
    Vec::leak(list)
}

/// A file and its text.
struct File {
    path: PathBuf,
    text: String,
}

impl File {
    fn error(&self, at: &Range<usize>, message: String) -> Error {
        let before = self.text.get(..at.start).unwrap_or("");
        let line = before.matches('\n').count() + 1;
        Error::input(&self.path, format!("line {line}: {message}"))
    }

    fn described(&self, document: Document) -> Result<Described> {
        let at = document.architecture.span();
        let gguf = document.architecture.into_inner();
        let runs = reference::architectures().any(|name| name == gguf);
        if !runs && !ARCHITECTURES.iter().any(|a| a.gguf == gguf) {
            let message =
                format!("architecture: found {gguf:?}, expected a general.architecture of llama.cpp");
            return Err(self.error(&at, message).avoided_by(Remedy::KnownArchitecture));
        }
        let classes = self.classes(document.classes)?;
        let rules = self.rules(document.tensors)?;
        let keys: Result<Vec<Key>> = document.keys.into_iter().map(|row| self.key(row)).collect();
        let fixed: Result<Vec<_>> = document
            .fixed
            .into_iter()
            .map(|(key, value)| self.fixed(key, &value))
            .collect();
        let types = document
            .model_type
            .into_iter()
            .map(|table| self.model_type(table));
        let types: Result<Vec<&'static ModelType>> = types.collect();
        let vocabulary = self.vocabulary(document.tokenizer)?;
        Ok(Described {
            architecture: Box::leak(Box::new(Architecture {
                gguf: kept(gguf),
                classes,
                rules: kept_all(vec![rules]),
                hyperparameters: declared::keys,
                generated: declared::generated,
                // A request needs the description: see `Architecture::request`.
                vocabulary: |_| VocabRequest::default(),
                model_types: kept_all(types?),
                graph: Graph {
                    activation: document.activation.0,
                    fixed: kept_all(fixed?),
                    bias_keys: document.biases_by_key,
                },
                ..PLAIN
            })),
            keys: kept_all(keys?),
            vocabulary: Box::leak(Box::new(vocabulary)),
            factors: document.factors.map(|f| f.0),
        })
    }

    fn classes(&self, rows: Spanned<Vec<Spanned<ClassRow>>>) -> Result<&'static [Class]> {
        let at = rows.span();
        let rows = rows.into_inner();
        if rows.is_empty() {
            return Err(self.error(
                &at,
                "classes: expected at least one class of config.json's \"architectures\", found none"
                    .to_owned(),
            ));
        }
        let classes = rows.into_iter().map(|row| {
            let ClassRow { name, strip, prefix } = row.into_inner();
            Class {
                name: kept(name),
                strip: kept(strip),
                prefix: kept(prefix),
            }
        });
        Ok(kept_all(classes.collect()))
    }

    fn rules(&self, rows: Spanned<Vec<Spanned<TensorRow>>>) -> Result<&'static [Rule]> {
        let at = rows.span();
        let rows: Result<Vec<Rule>> = rows.into_inner().into_iter().map(|row| self.rule(row)).collect();
        let rows = rows?;
        if rows.is_empty() {
            return Err(self.error(
                &at,
                "tensors: expected a row for each name of the checkpoint, found none".to_owned(),
            ));
        }
        Ok(kept_all(rows))
    }

    fn rule(&self, row: Spanned<TensorRow>) -> Result<Rule> {
        let at = row.span();
        let row = row.into_inner();
        let fail = |message: String| Err(self.error(&at, format!("tensor '{}': {message}", row.from)));
        let mut transform = row.change.map_or(Transform::Copy, |c| c.0);
        if let Some(factor) = row.multiply {
            if !matches!(transform, Transform::Copy) {
                return fail("found both \"as\" and \"multiply\", expected one of them".to_owned());
            }
            if !factor.is_finite() {
                return fail(format!("multiply: found {factor}, expected a finite number"));
            }
            transform = Transform::Multiply(factor);
        }
        let ending = match (row.whole_names, transform) {
            (true, _) => Ending::Nothing,
            (false, Transform::Skip) => Ending::Kept,
            _ => Ending::Parameter,
        };
        if ending == Ending::Parameter
            && let Some(end) = [".weight", ".bias"].iter().find(|end| row.from.ends_with(**end))
        {
            return fail(format!(
                "found a name with {end}, expected one without it, or whole_names = true"
            ));
        }
        let to = match (transform, row.to) {
            (Transform::Skip, None) => String::new(),
            (Transform::Skip, Some(_)) => {
                return fail("expected no \"to\" of a tensor that is left out, found one".to_owned());
            }
            (_, None) => return fail("found no \"to\", expected the name in the output".to_owned()),
            (_, Some(to)) => to,
        };
        let has = |text: &str, mark: &str| text.split('.').filter(|part| part.contains(mark)).count();
        let is_expert = matches!(transform, Transform::Expert);
        if row.from.is_empty() || has(&row.from, "{}") > 1 || has(&row.from, "{e}") > usize::from(is_expert) {
            return fail(
                "expected at most one {} for the block, and {e} for the expert's number only of tensors that are \
                 stacked as = \"expert\""
                    .to_owned(),
            );
        }
        if is_expert && (has(&row.from, "{e}") != 1 || has(&row.from, "{}") != 1) {
            return fail("expected {} for the block and {e} for the expert's number".to_owned());
        }
        if !matches!(transform, Transform::Skip) {
            if to.is_empty() || to.len() > MAX_NAME || to.contains("{e}") {
                return fail(format!(
                    "to: found {to:?}, expected a name of 1 to {MAX_NAME} bytes without {{e}}"
                ));
            }
            if has(&row.from, "{}") != has(&to, "{}") {
                return fail(format!(
                    "to: found {to:?}, expected {{}} for the block in both names or in neither"
                ));
            }
        }
        Ok(Rule::of(kept(row.from), kept(to), transform, ending))
    }

    fn key(&self, row: Spanned<KeyRow>) -> Result<Key> {
        let at = row.span();
        let row = row.into_inner();
        key_of(row).map_err(|message| self.error(&at, format!("keys: {message}")))
    }

    fn fixed(&self, key: String, value: &toml::Value) -> Result<(&'static str, Fixed)> {
        let names = |list: &[toml::Value]| -> Option<Vec<&'static str>> {
            list.iter()
                .map(|v| v.as_str().map(|s| kept(s.to_owned())))
                .collect()
        };
        let fixed = match value {
            toml::Value::Boolean(b) => Some(Fixed::Is(*b)),
            toml::Value::Array(list) => names(list)
                .filter(|l| !l.is_empty())
                .map(|l| Fixed::OneOf(kept_all(l))),
            _ => None,
        };
        match fixed {
            Some(fixed) => Ok((kept(key), fixed)),
            None => Err(Error::input(
                &self.path,
                format!(
                    "fixed.{key}: found {}, expected true, false or a list of texts",
                    value.type_str()
                ),
            )),
        }
    }

    fn model_type(&self, table: Spanned<TypeTable>) -> Result<&'static ModelType> {
        let at = table.span();
        let table = table.into_inner();
        if !(table.rope_theta >= 0.0 && table.rope_theta.is_finite()) {
            let message = format!(
                "rope_theta: found {}, expected a number above 0, or none where nothing is rotated",
                table.rope_theta
            );
            return Err(self.error(&at, message));
        }
        let mut defaults = Vec::new();
        for (key, value) in table.defaults {
            let value = match value {
                toml::Value::Integer(n) => u64::try_from(n).ok().map(Default::Int),
                toml::Value::Float(x) => Some(Default::Float(x)).filter(|_| x.is_finite()),
                toml::Value::Boolean(b) => Some(Default::Bool(b)),
                _ => None,
            };
            let Some(value) = value else {
                let message = format!(
                    "model_type: default {key}: expected a number that is not negative and finite, true or false"
                );
                return Err(self.error(&at, message));
            };
            defaults.push((kept(key), value));
        }
        defaults.extend(table.null.into_iter().map(|key| (kept(key), Default::Null)));
        let renames = table
            .renames
            .into_iter()
            .map(|(found, meant)| (kept(found), kept(meant)));
        Ok(Box::leak(Box::new(ModelType {
            name: kept(table.name),
            is_published: false,
            extends: None,
            defaults: kept_all(defaults),
            renames: kept_all(renames.collect()),
            derives_head_dim: table.derive_head_dim,
            rope_theta: Some(table.rope_theta),
        })))
    }

    fn vocabulary(&self, table: TokenizerTable) -> Result<Vocabulary> {
        if let Some(name) = &table.pre_tokenizer
            && !reference::tokenizer::pre_tokenizers().any(|known| known == name.get_ref())
        {
            let known: Vec<&str> = reference::tokenizer::pre_tokenizers().collect();
            let message = format!(
                "pre_tokenizer: found {:?}, expected one of {}",
                name.get_ref(),
                known.join(", ")
            );
            return Err(self.error(&name.span(), message));
        }
        let special = |map: indexmap::IndexMap<String, u32>| {
            kept_all(map.into_iter().map(|(name, id)| (kept(name), id)).collect())
        };
        let sizes = table.vocab_size.into_iter().map(|size| ForSize {
            vocab_size: size.is,
            add_bos: size.add_bos,
            special: special(size.special),
        });
        Ok(Vocabulary {
            sizes: kept_all(sizes.collect()),
            kinds: kept_all(table.kinds.into_iter().map(|k| k.0).collect()),
            pre_tokenizer: table.pre_tokenizer.map(|name| kept(name.into_inner())),
            space_prefix_from_config: table.space_prefix_from_config,
            space_prefix: table.space_prefix,
            add_bos: table.add_bos,
            mistral: table.mistral,
            special: special(table.special),
        })
    }
}

/// The key of a row.
///
/// # Errors
/// The part that is missing, or does not go together.
fn key_of(row: KeyRow) -> Result<Key, &'static str> {
    check_key(&row)?;
    let key = kept(row.key.unwrap_or_default());
    let because = kept(row.because.unwrap_or_default());
    if let Some(group) = row.group {
        return Ok(Key::Group(group.0));
    }
    if let Some(computed) = row.computed {
        let what = computed.0;
        return Ok(Key::Computed { key, what });
    }
    if let Some(from) = row.from {
        let kind = row.kind.ok_or("expected \"type\" with \"from\"")?;
        if from.is_empty() {
            return Err("from: expected at least one key of config.json, found none");
        }
        let from = from.into_iter().map(kept).collect();
        return Ok(Key::Config {
            key,
            kind: kind.0,
            from: kept_all(from),
            optional: row.optional,
            nonzero: row.nonzero,
            unless: row.unless.map(|u| (kept(u.key), u.is)),
        });
    }
    if let Some(config) = row.refuse {
        let config = kept(config);
        return Ok(Key::Refused { config, because });
    }
    if let Some(part) = row.refuse_name {
        if part.is_empty() || part != part.to_lowercase() {
            return Err("refuse_name: expected a part of a name in lower case");
        }
        let part = kept(part);
        return Ok(Key::RefusedName { part, because });
    }
    let value = constant(row.kind.map(|k| k.0), row.value).ok_or(
        "value: expected a \"type\" (u32, f32, bool or string) and a value of it, a number of f32 with its decimal \
         point",
    )?;
    Ok(Key::Constant { key, value })
}

/// Checks which parts of a row are there.
fn check_key(row: &KeyRow) -> Result<(), &'static str> {
    let given = [
        row.group.is_some(),
        row.from.is_some(),
        row.computed.is_some(),
        row.value.is_some(),
        row.refuse.is_some(),
        row.refuse_name.is_some(),
    ];
    if given.iter().filter(|g| **g).count() != 1 {
        return Err(
            "expected one of \"group\", \"from\", \"computed\", \"value\", \"refuse\" and \"refuse_name\" in each row",
        );
    }
    let of_config = row.optional || row.nonzero || row.unless.is_some();
    if of_config && row.from.is_none() {
        return Err("expected \"from\" beside \"optional\", \"nonzero\" and \"unless\", found none");
    }
    if row.kind.is_some() && row.from.is_none() && row.value.is_none() {
        return Err("expected \"from\" or \"value\" beside \"type\", found neither");
    }
    let is_refusal = row.refuse.is_some() || row.refuse_name.is_some();
    if is_refusal != row.because.is_some() {
        return Err("expected \"because\" with \"refuse\" and \"refuse_name\", and only there");
    }
    if (row.group.is_some() || is_refusal) == row.key.is_some() {
        return Err(
            "expected \"key\", the part of its name behind the architecture's, with \"from\", \"computed\" and \"value\", \
             and only there",
        );
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let is_name = |key: &String| !key.is_empty() && key.len() <= MAX_NAME && key.chars().all(plain);
    if !row.key.iter().all(is_name) {
        return Err("expected as \"key\" some of letters, digits and . _ -");
    }
    Ok(())
}

/// A value of a key, as its type.
fn constant(kind: Option<Kind>, value: Option<toml::Value>) -> Option<Constant> {
    match (kind?, value?) {
        (Kind::U32, toml::Value::Integer(n)) => u32::try_from(n).ok().map(Constant::U32),
        (Kind::F32, toml::Value::Float(x)) => Some(x as f32).filter(|x| x.is_finite()).map(Constant::F32),
        (Kind::Bool, toml::Value::Boolean(b)) => Some(Constant::Bool(b)),
        (Kind::String, toml::Value::String(text)) => Some(Constant::String(kept(text))),
        _ => None,
    }
}
