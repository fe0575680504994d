//! Chat templates: one text, or several with names.

use gguf::{Metadata, Value};
use serde_json::{Value as Json, json};

use super::files::{MAX_CONFIG_BYTES, VocabFiles, json_optional, text_optional};
use crate::{Error, Result};

/// Most files that are read from `additional_chat_templates`.
const MAX_ADDITIONAL: usize = 256;

/// The files that hold a template by themselves, the preferred one first.
const JINJA: &str = "chat_template.jinja";
const JSON: &str = "chat_template.json";
/// The folder of further templates, each named after its file.
const ADDITIONAL: &str = "additional_chat_templates";

/// The chat template of a directory: a text, or a list of objects with `name` and `template`.
///
/// As in `transformers`, the files go before `chat_template` of `tokenizer_config.json`, which is the older place
/// (the stock converter has it the other way round): `chat_template.jinja` and `additional_chat_templates`, then
/// `chat_template.json`. Where two places differ, a warning says which is used.
pub(super) fn find(files: &VocabFiles, warnings: &mut Vec<String>) -> Result<Option<Json>> {
    let json = json_optional(&files.dir.join(JSON))?;
    let json = json.and_then(|document| document.get("chat_template").cloned());
    let places = [
        (JINJA, from_files(files)?),
        (JSON, json),
        (
            "tokenizer_config.json",
            files.tokenizer_config("chat_template").cloned(),
        ),
    ];
    let mut found: Option<(&str, Json)> = None;
    for (place, template) in places {
        let template = match template {
            None | Some(Json::Null) => continue,
            Some(template @ (Json::String(_) | Json::Array(_))) => template,
            Some(_) => {
                warnings.push(format!(
                    "{place}: chat_template is neither a text nor a list and is ignored"
                ));
                continue;
            }
        };
        match &found {
            None => found = Some((place, template)),
            Some((used, other)) if *other != template => {
                let named = named(&template);
                let names = match named.is_empty() {
                    true => String::new(),
                    false => format!(", with its named ones ({})", named.join(", ")),
                };
                warnings.push(format!(
                    "the chat template of {used} is used, and another one of {place} is not{names}"
                ));
            }
            Some(_) => {}
        }
    }
    Ok(found.map(|(_, template)| template))
}

/// The names of a list's templates, but for the default one.
fn named(template: &Json) -> Vec<&str> {
    let list = template.as_array().map_or(&[][..], Vec::as_slice);
    let names = list.iter().filter_map(|t| t.get("name").and_then(Json::as_str));
    names.filter(|name| *name != "default").collect()
}

fn from_files(files: &VocabFiles) -> Result<Option<Json>> {
    let text = text_optional(&files.dir.join(JINJA), MAX_CONFIG_BYTES)?;
    let folder = files.dir.join(ADDITIONAL);
    let mut named = Vec::new();
    if folder.is_dir() {
        let io = |source| Error::io(&folder, source);
        for entry in std::fs::read_dir(&folder).map_err(io)? {
            let path = entry.map_err(io)?.path();
            if path.extension().is_some_and(|e| e == "jinja") {
                if named.len() == MAX_ADDITIONAL {
                    return Err(Error::input(
                        &folder,
                        format!("expected at most {MAX_ADDITIONAL} templates, found more"),
                    ));
                }
                named.push(path);
            }
        }
        // The order of a directory listing is the file system's; ours is fixed.
        named.sort();
    }
    if named.is_empty() {
        return Ok(text.map(Json::String));
    }
    let default = text.map(|text| json!({"name": "default", "template": text}));
    let mut templates: Vec<Json> = default.into_iter().collect();
    for path in named {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let text = text_optional(&path, MAX_CONFIG_BYTES)?.unwrap_or_default();
        templates.push(json!({"name": name, "template": text}));
    }
    Ok(Some(Json::Array(templates)))
}

/// Writes a chat template: the named ones as `tokenizer.chat_template.NAME` with the list of their
/// names, the default one as `tokenizer.chat_template`. The names keep their order; the stock converter's is a
/// Python set's, another one in every run.
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The template of a directory of these files, and the warnings.
    fn found(written: &[(&str, &str)]) -> (Option<Json>, Vec<String>) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join(ADDITIONAL)).unwrap();
        for (name, text) in written {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        let files = VocabFiles::read(dir.path(), &json!({})).unwrap();
        let mut warnings = Vec::new();
        (find(&files, &mut warnings).unwrap(), warnings)
    }

    const CONFIG: (&str, &str) = ("tokenizer_config.json", r#"{"chat_template": "old"}"#);

    #[test]
    fn files_go_before_the_configuration() {
        assert_eq!(found(&[CONFIG]), (Some("old".into()), vec![]));
        let (template, warnings) = found(&[CONFIG, (JINJA, "new")]);
        assert_eq!(template, Some("new".into()));
        assert_eq!(
            warnings,
            [
                "the chat template of chat_template.jinja is used, and another one of tokenizer_config.json is not"
            ]
        );
        let (template, warnings) = found(&[CONFIG, (JSON, r#"{"chat_template": "new"}"#)]);
        assert_eq!((template, warnings.len()), (Some("new".into()), 1));
        let all = [CONFIG, (JSON, r#"{"chat_template": "newer"}"#), (JINJA, "newest")];
        assert_eq!(found(&all).0, Some("newest".into()));
        assert_eq!(found(&all).1.len(), 2);
        // The same text twice is no contradiction; a null is no template.
        assert_eq!(found(&[CONFIG, (JINJA, "old")]), (Some("old".into()), vec![]));
        let null = ("tokenizer_config.json", r#"{"chat_template": null}"#);
        assert_eq!(found(&[null, (JINJA, "new")]), (Some("new".into()), vec![]));
        assert_eq!(found(&[null]), (None, vec![]));
    }

    #[test]
    fn named_templates_keep_their_order() {
        let list = r#"{"chat_template": [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"},
            {"name": "rag", "template": "r"}]}"#;
        let written = |files: &[(&str, &str)]| {
            let mut metadata = Metadata::new();
            write(&mut metadata, &found(files).0.unwrap());
            let names = metadata.get("tokenizer.chat_templates").cloned();
            (
                names,
                metadata.get_str("tokenizer.chat_template").map(str::to_owned),
            )
        };
        let names = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
            Some(Value::from(names))
        };
        let list = [("tokenizer_config.json", list)];
        assert_eq!(written(&list), (names(&["tool_use", "rag"]), Some("d".into())));
        let folder = [
            (JINJA, "d"),
            ("additional_chat_templates/tool_use.jinja", "t"),
            ("additional_chat_templates/rag.jinja", "r"),
        ];
        assert_eq!(written(&folder), (names(&["rag", "tool_use"]), Some("d".into())));
        assert_eq!(written(&folder[1..]), (names(&["rag", "tool_use"]), None));
        let (_, warnings) = found(&[list[0], (JINJA, "d")]);
        assert!(
            warnings[0].ends_with("not, with its named ones (tool_use, rag)"),
            "{warnings:?}"
        );
    }
}
