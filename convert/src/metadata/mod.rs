//! The `general.*` keys of a model directory, from its model card, configuration, name and size.
//!
//! Sources in order of precedence: the user's override file, `generation_config.json` (sampling), the
//! front matter of `README.md`, `_name_or_path` of `config.json`, the name of the directory.

mod card;
mod lineage;
mod model_id;
mod size;

use std::collections::HashMap;
use std::path::Path;

use gguf::{Array, GgufString, Metadata, Value as GgufValue};
use serde_json::{Map, Value};

use self::card::Card;
#[cfg(any(test, feature = "fuzzing"))]
pub use self::card::as_json as front_matter;
use self::lineage::Lineage;
use self::model_id::{ModelId, title};
pub(crate) use self::size::ParameterCount;
use crate::{Error, Result};

/// The string keys of `general.*` in output order, each with the names that a model card may give it.
pub(crate) const TEXTS: &[(&str, &[&str])] = &[
    ("name", &["name", "model_name"]),
    ("author", &["author", "model_author", "model_creator"]),
    ("version", &["version", "model_version"]),
    ("organization", &["organization", "model_organization"]),
    ("finetune", &["finetune", "model_finetune"]),
    ("basename", &["basename", "model_basename", "model_type"]),
    ("description", &["description", "model_description"]),
    ("quantized_by", &[]),
    ("size_label", &["size_label", "model_size_label"]),
    ("license", &["license"]),
    ("license.name", &["license_name"]),
    ("license.link", &["license_link"]),
    ("url", &[]),
    ("doi", &[]),
    ("uuid", &[]),
    ("repo_url", &[]),
    ("source.url", &["url", "model_url"]),
    ("source.doi", &["doi", "model_doi"]),
    ("source.uuid", &["uuid", "model_uuid"]),
    ("source.repo_url", &["repo_url", "model_repo_url"]),
];

/// The type of a sampling parameter.
#[derive(Clone, Copy)]
enum Sampling {
    Text,
    Int,
    Float,
}

/// The keys of `general.sampling.*` in output order, each with its names in `generation_config.json`.
const SAMPLING: &[(&str, &[&str], Sampling)] = &[
    ("sequence", &["sequence"], Sampling::Text),
    ("top_k", &["top_k"], Sampling::Int),
    ("top_p", &["top_p"], Sampling::Float),
    ("min_p", &["min_p"], Sampling::Float),
    ("xtc_probability", &["xtc_probability"], Sampling::Float),
    ("xtc_threshold", &["xtc_threshold"], Sampling::Float),
    ("temp", &["temperature"], Sampling::Float),
    ("penalty_last_n", &["penalty_last_n"], Sampling::Int),
    (
        "penalty_repeat",
        &["penalty_repeat", "repetition_penalty"],
        Sampling::Float,
    ),
    ("mirostat", &["mirostat"], Sampling::Int),
    ("mirostat_tau", &["mirostat_tau"], Sampling::Float),
    ("mirostat_eta", &["mirostat_eta"], Sampling::Float),
];

/// The keys of `general.sampling.*`, each with its names in `generation_config.json`.
pub(crate) fn sampling_names() -> impl Iterator<Item = (&'static str, &'static [&'static str])> {
    SAMPLING.iter().map(|&(key, names, _)| (key, names))
}

/// General metadata of a model: names, origin, licence, sizes.
#[derive(Clone, Debug, Default)]
pub(crate) struct General {
    /// By key, without `general.`.
    texts: HashMap<&'static str, String>,
    sampling: Vec<(&'static str, GgufValue)>,
    base_models: Option<Vec<Lineage>>,
    datasets: Option<Vec<Lineage>>,
    tags: Option<Vec<String>>,
    languages: Option<Vec<String>>,
}

impl General {
    /// Collects what is known of the model in `dir`.
    ///
    /// # Errors
    /// An override file or configuration that cannot be read, or a value of the wrong type in them.
    pub(crate) fn load(
        dir: &Path,
        name: Option<&str>,
        overrides: Option<&Path>,
        count: ParameterCount,
    ) -> Result<Self> {
        let mut general = Self::default();
        general.add_card(&Card::load(dir)?, count.signed());
        // Adapters have none, nor has Mistral's own layout.
        let config = match dir.join("config.json") {
            path if !path.is_file() => serde_json::Map::new(),
            path => crate::json::read_object(&path)?,
        };
        if let Some(id) = config.get("_name_or_path").and_then(Value::as_str)
            && id.matches('/').count() <= 1
        {
            general.add_model_id(&ModelId::parse(id, count.signed()));
        }
        let dir_name = directory_name(dir);
        general.add_model_id(&ModelId::parse(&dir_name, count.signed()));
        general.add_generation_config(dir)?;
        if let Some(path) = overrides {
            general.apply_overrides(path)?;
        }
        if let Some(name) = name {
            general.texts.insert("name", name.to_owned());
        }
        general.texts.entry("name").or_insert(dir_name);
        if count.total > 0 && !count.adapter {
            general.texts.entry("size_label").or_insert_with(|| count.label());
        }
        Ok(general)
    }

    /// Notes where the model is from, unless its card or the user says it.
    pub(crate) fn set_origin(&mut self, origin: &crate::hub::Origin) {
        for (key, address) in [
            ("source.url", origin.url.as_str()),
            ("source.repo_url", origin.repository_url()),
        ] {
            self.texts.entry(key).or_insert_with(|| address.to_owned());
        }
    }

    /// Writes the keys, in the stock converter's order.
    pub(crate) fn write(&self, metadata: &mut Metadata) {
        for (key, value) in &self.sampling {
            metadata.set_in_place(format!("general.sampling.{key}"), value.clone());
        }
        for (key, _) in TEXTS {
            if let Some(text) = self.texts.get(key).filter(|t| !t.is_empty()) {
                metadata.set_in_place(format!("general.{key}"), text.as_str());
            }
        }
        for (key, list) in [("base_model", &self.base_models), ("dataset", &self.datasets)] {
            if let Some(list) = list {
                lineage::write(metadata, key, list);
            }
        }
        for (key, list) in [("tags", &self.tags), ("languages", &self.languages)] {
            if let Some(list) = list.as_ref().filter(|l| !l.is_empty()) {
                let strings = list.iter().map(|s| GgufString::from(s.as_str())).collect();
                metadata.set_in_place(format!("general.{key}"), GgufValue::Array(Array::String(strings)));
            }
        }
    }

    /// The stock converter's name for the output: `{basename}-{size}-{finetune}-{version}-{encoding}.gguf`;
    /// without an encoding, that of a file with the vocabulary alone.
    pub(crate) fn file_name(&self, encoding: Option<&str>) -> String {
        let text = |key: &str| self.texts.get(key).map(|t| t.trim().replace(' ', "-"));
        let mut name = text("basename")
            .or_else(|| text("name"))
            .unwrap_or_else(|| "ggml-model".to_owned());
        name = name.replace('/', "-");
        let size = encoding.and_then(|_| self.texts.get("size_label").cloned());
        for part in [size, text("finetune"), text("version")].into_iter().flatten() {
            name = format!("{name}-{part}");
        }
        // Names come from strangers: the output must stay in its directory.
        name = name.replace(['/', '\\', '\0'], "-");
        format!("{name}-{}.gguf", encoding.unwrap_or("vocab"))
    }

    /// The same for an image encoder, whose name says nothing of the model's size.
    pub(crate) fn encoder_file_name(&self, encoding: &str) -> String {
        let mut general = self.clone();
        general.texts.remove("size_label");
        format!("mmproj-{}", general.file_name(Some(encoding)))
    }

    /// The same for prediction layers alone.
    pub(crate) fn prediction_file_name(&self, encoding: &str) -> String {
        let mut general = self.clone();
        general.texts.remove("size_label");
        format!("mtp-{}", general.file_name(Some(encoding)))
    }

    /// The same for an adapter.
    pub(crate) fn adapter_file_name(&self, encoding: &str) -> String {
        self.file_name(Some(&format!("{encoding}-LoRA")))
    }

    fn add_card(&mut self, card: &Card, total: i64) {
        for &(key, names) in TEXTS {
            for name in names {
                if !self.texts.contains_key(key)
                    && let Some(text) = card.text(name)
                {
                    self.texts.insert(key, text);
                }
            }
        }
        self.base_models = card
            .first(&["base_model", "base_models", "base_model_sources"])
            .map(|v| lineage::from_card(v, total));
        self.datasets = card
            .first(&["datasets", "dataset", "dataset_sources"])
            .map(|v| lineage::from_card(v, total));
        self.tags = card.list(&["tags", "pipeline_tag"]);
        self.languages = card.list(&["languages", "language"]);
    }

    fn add_model_id(&mut self, id: &ModelId) {
        let parts = [
            ("name", id.name.as_deref().map(title)),
            ("organization", id.organization.as_deref().map(title)),
            ("basename", id.basename.clone()),
            ("finetune", id.finetune.clone()),
            ("version", id.version.clone()),
            ("size_label", id.size_label.clone()),
        ];
        for (key, value) in parts {
            if let Some(value) = value {
                self.texts.entry(key).or_insert(value);
            }
        }
    }

    fn add_generation_config(&mut self, dir: &Path) -> Result<()> {
        let path = dir.join("generation_config.json");
        if !path.is_file() {
            return Ok(());
        }
        let config = match crate::json::read_object(&path) {
            Ok(config) => config,
            Err(error) => {
                // Published models have broken ones; nothing depends on it but suggestions.
                tracing::warn!("{error}; ignored");
                return Ok(());
            }
        };
        for &(key, names, kind) in SAMPLING {
            if let Some(value) = names.iter().find_map(|n| config.get(*n)).filter(|v| !v.is_null()) {
                self.sampling
                    .push((key, sampling_value(&path, key, value, kind)?));
            }
        }
        Ok(())
    }

    fn apply_overrides(&mut self, path: &Path) -> Result<()> {
        let input = |message: String| Error::input(path, message);
        let mut map: Map<String, Value> = crate::json::read_object(path)?;
        for &(key, _) in TEXTS {
            match map.shift_remove(&format!("general.{key}")) {
                None => {}
                Some(Value::Null) => {
                    self.texts.remove(key);
                }
                Some(Value::String(text)) => {
                    self.texts.insert(key, text);
                }
                Some(other) => return Err(input(format!("general.{key}: expected a string, found {other}"))),
            }
        }
        for &(key, _, kind) in SAMPLING {
            if let Some(value) = map.shift_remove(&format!("general.sampling.{key}")) {
                self.sampling.retain(|(k, _)| *k != key);
                if !value.is_null() {
                    self.sampling
                        .push((key, sampling_value(path, key, &value, kind)?));
                }
            }
        }
        let place = |key: &str| SAMPLING.iter().position(|(k, _, _)| *k == key);
        self.sampling.sort_by_key(|(key, _)| place(key));
        for (key, list) in [
            ("general.tags", &mut self.tags),
            ("general.languages", &mut self.languages),
        ] {
            match map.shift_remove(key) {
                None => {}
                Some(Value::Null) => *list = None,
                Some(value) => {
                    let strings = value
                        .as_array()
                        .and_then(|a| a.iter().map(|v| v.as_str().map(str::to_owned)).collect());
                    *list =
                        Some(strings.ok_or_else(|| {
                            input(format!("{key}: expected a list of strings, found {value}"))
                        })?);
                }
            }
        }
        for (key, list) in [
            ("general.base_models", &mut self.base_models),
            ("general.datasets", &mut self.datasets),
        ] {
            match map.shift_remove(key) {
                None => {}
                Some(Value::Null) => *list = None,
                Some(value) => {
                    let entries = lineage::from_json(&value).ok_or_else(|| {
                        input(format!(
                            "{key}: expected a list of objects with string values, found others"
                        ))
                    })?;
                    *list = Some(entries);
                }
            }
        }
        if let Some(key) = map.keys().next() {
            return Err(input(format!(
                "{key}: expected a key that can be overridden here, found another"
            )));
        }
        Ok(())
    }
}

fn sampling_value(path: &Path, key: &str, value: &Value, kind: Sampling) -> Result<GgufValue> {
    let converted = match kind {
        Sampling::Text => value.as_str().map(GgufValue::from),
        Sampling::Int => value
            .as_i64()
            .and_then(|v| i32::try_from(v).ok())
            .map(GgufValue::from),
        Sampling::Float => value.as_f64().map(|v| GgufValue::from(v as f32)),
    };
    converted.ok_or_else(|| {
        Error::input(
            path,
            format!("{key}: expected a value of its type, found {value}"),
        )
    })
}

/// The last component of a path, also of `.` and the like; in the hub's cache, the repository's name.
fn directory_name(dir: &Path) -> String {
    if let Some(repository) = crate::hub::repository(dir) {
        return repository;
    }
    let name = match dir.file_name() {
        Some(name) => Some(name.to_owned()),
        None => dir
            .canonicalize()
            .ok()
            .and_then(|p| p.file_name().map(ToOwned::to_owned)),
    };
    name.map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}
