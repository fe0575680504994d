//! The model card and the generation settings, from `general.*`.

use gguf::{Array, Metadata, Value as GgufValue};
use serde_json::{Map, Value};

/// `README.md`, whose front matter the converter reads back, and `generation_config.json`.
pub(super) fn files(metadata: &Metadata) -> Vec<(&'static str, Vec<u8>)> {
    let mut front = String::new();
    let mut line = |key: &str, value: Value| {
        // JSON is YAML on one line.
        front.push_str(&format!("{key}: {value}\n"));
    };
    for (key, names) in crate::metadata::TEXTS {
        if let (Some(name), Some(text)) = (names.first(), metadata.get_str(&format!("general.{key}"))) {
            line(name, text.into());
        }
    }
    for (key, name) in [("tags", "tags"), ("languages", "language")] {
        if let Some(Array::String(list)) = metadata
            .get(&format!("general.{key}"))
            .and_then(GgufValue::as_array)
        {
            let list: Vec<Value> = list.iter().map(|s| Value::from(s.to_string_lossy())).collect();
            line(name, list.into());
        }
    }
    for (key, name) in [
        ("base_model", "base_model_sources"),
        ("dataset", "dataset_sources"),
    ] {
        let count = metadata.get_u64(&format!("general.{key}.count")).unwrap_or(0);
        let mut list = Vec::new();
        for number in 0..count {
            let prefix = format!("general.{key}.{number}.");
            let fields: Map<String, Value> = metadata
                .iter()
                .filter_map(|(k, v)| Some((k.strip_prefix(&prefix)?.to_owned(), v.as_str()?.into())))
                .collect();
            if fields.is_empty() {
                break;
            }
            list.push(Value::Object(fields));
        }
        if !list.is_empty() {
            line(name, list.into());
        }
    }
    let mut files = vec![("README.md", format!("---\n{front}---\n").into_bytes())];
    let mut settings = Map::new();
    for (key, names) in crate::metadata::sampling_names() {
        let value = match metadata.get(&format!("general.sampling.{key}")) {
            Some(GgufValue::F32(x)) => x.to_string().parse::<f64>().ok().map(Value::from),
            Some(GgufValue::String(s)) => Some(Value::from(s.to_string_lossy())),
            Some(GgufValue::I32(n)) => Some((*n).into()),
            Some(other) => other.as_u64().map(Value::from),
            None => None,
        };
        if let (Some(value), Some(name)) = (value, names.first()) {
            settings.insert((*name).to_owned(), value);
        }
    }
    if !settings.is_empty() {
        files.push(("generation_config.json", super::json(&Value::Object(settings))));
    }
    files
}
