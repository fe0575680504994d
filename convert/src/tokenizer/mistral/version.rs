//! Versions of Mistral's vocabularies: the files that name them, and the chat template of each.

use std::path::Path;

use crate::tokenizer::files::{MAX_CONFIG_BYTES, VocabFiles, text_optional};
use crate::{Error, Remedy, Result};

/// The beginning of the names of SentencePiece models.
pub(super) const PIECES: &str = "tokenizer.model";
/// A template of the directory itself.
const TEMPLATE: &str = "chat_template.jinja";

/// The versions, each with llama.cpp's names of its template for pieces and for Tekken.
pub(super) const VERSIONS: [(&str, Template, Template); 7] = [
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

/// How a directory is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// As transformers lays it out.
    Transformers,
    /// In Mistral's own way, where the template is a file beside the vocabulary.
    Own,
    /// The same, and no name of a template is written.
    OwnWithoutName,
}

/// The template of a version, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Template {
    Named(&'static str),
    /// The stock converter copies one that others published.
    Published,
    Unknown,
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

/// The template of the directory or, without that, the name of the version's.
///
/// # Errors
/// A version that llama.cpp has no template for, where one is wanted.
pub(super) fn chat_template(
    files: &VocabFiles,
    layout: Layout,
    (path, version, template): (&Path, &str, Template),
    warnings: &mut Vec<String>,
) -> Result<Option<String>> {
    let own = files.dir.join(TEMPLATE);
    // In transformers' layout the stock converter takes a name before the file.
    if (layout != Layout::Transformers || !matches!(template, Template::Named(_)))
        && let Some(text) = text_optional(&own, MAX_CONFIG_BYTES)?
    {
        return Ok(Some(text));
    }
    if layout == Layout::OwnWithoutName {
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
        Template::Unknown => Err(Error::input(
            path,
            format!("no chat template is known for version {version}: expected a {TEMPLATE}, found none"),
        )
        .avoided_by(Remedy::NoNamedTemplate)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
