//! Chat templates: one text, or several with names.

use gguf::{Metadata, Value};
use serde_json::{Value as Json, json};

use super::files::{MAX_CONFIG_BYTES, VocabFiles, input_error, json_optional, text_optional};
use crate::{Error, Result};

/// Most files that are read from `additional_chat_templates`.
const MAX_ADDITIONAL: usize = 256;

/// The chat template of a directory: a text, or a list of objects with `name` and `template`.
///
/// `chat_template` of `tokenizer_config.json` goes before `chat_template.jinja` (with the files of
/// `additional_chat_templates` as named ones), which goes before `chat_template.json`. A key that is
/// there and is `null` stands for no template.
pub(super) fn find(files: &VocabFiles, warnings: &mut Vec<String>) -> Result<Option<Json>> {
    let template = match files.tokenizer_config("chat_template") {
        Some(template) => Some(template.clone()),
        None => from_files(files)?,
    };
    Ok(match template {
        None | Some(Json::Null) => None,
        Some(template @ (Json::String(_) | Json::Array(_))) => Some(template),
        Some(_) => {
            warnings.push("chat_template is neither a text nor a list and is ignored".into());
            None
        }
    })
}

fn from_files(files: &VocabFiles) -> Result<Option<Json>> {
    let Some(text) = text_optional(&files.dir.join("chat_template.jinja"), MAX_CONFIG_BYTES)? else {
        return Ok(json_optional(&files.dir.join("chat_template.json"))?
            .and_then(|document| document.get("chat_template").cloned()));
    };
    let folder = files.dir.join("additional_chat_templates");
    let mut named = Vec::new();
    if folder.is_dir() {
        let io = |source| Error::Io {
            path: folder.clone(),
            source,
        };
        for entry in std::fs::read_dir(&folder).map_err(io)? {
            let path = entry.map_err(io)?.path();
            if path.extension().is_some_and(|e| e == "jinja") {
                if named.len() == MAX_ADDITIONAL {
                    return Err(input_error(
                        &folder,
                        format!("more than {MAX_ADDITIONAL} templates"),
                    ));
                }
                named.push(path);
            }
        }
        // The order of a directory listing is the file system's; ours is fixed.
        named.sort();
    }
    if named.is_empty() {
        return Ok(Some(Json::String(text)));
    }
    let mut templates = vec![json!({"name": "default", "template": text})];
    for path in named {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let text = text_optional(&path, MAX_CONFIG_BYTES)?.unwrap_or_default();
        templates.push(json!({"name": name, "template": text}));
    }
    Ok(Some(Json::Array(templates)))
}

/// Writes a chat template: the named ones as `tokenizer.chat_template.NAME` with the list of their
/// names, the default one as `tokenizer.chat_template`.
pub(super) fn write(metadata: &mut Metadata, template: &Json) {
    let Json::Array(choices) = template else {
        if let Some(text) = template.as_str() {
            metadata.set_in_place("tokenizer.chat_template", text);
        }
        return;
    };
    let mut default = None;
    let mut names: Vec<String> = Vec::new();
    for choice in choices {
        let (Some(name), Some(text)) = (
            choice.get("name").and_then(Json::as_str),
            choice.get("template").and_then(Json::as_str),
        ) else {
            continue;
        };
        let name: String = name
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
            .collect();
        if name == "default" {
            default = Some(text);
        } else if !name.is_empty() {
            metadata.set_in_place(format!("tokenizer.chat_template.{name}"), text);
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    if !names.is_empty() {
        metadata.set_in_place("tokenizer.chat_templates", Value::from(names));
    }
    if let Some(text) = default {
        metadata.set_in_place("tokenizer.chat_template", text);
    }
}
