//! The model card: front matter, and the text below it in one of three styles or by a template of the publisher's.

mod options;
mod parts;
mod view;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior, Value, context};

use crate::front_matter::FrontMatter;
use crate::record::Table;
use crate::{Error, Result};

pub use view::{DomainsView, EvaluationView, ImportanceView, MemoryView, RowView, View, percent, with_error};
pub(crate) use view::{substitutions, three_digits, unit};

/// Longest template of a publisher, in bytes.
pub const MAX_TEMPLATE: usize = 1 << 20;

/// Order and extent of a card.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Style {
    /// The table with all figures first.
    #[default]
    Table,
    /// Advice first, with a short table.
    Choose,
    /// Names and sizes, without pictures and without the original card.
    Plain,
}

/// Facts of a card that the record does not have.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The publisher's name on the hub.
    pub quantized_by: Option<String>,
    /// The repository of the unquantized model, `owner/name`.
    pub base_model: Option<String>,
    /// The repository that the folder goes to, `owner/name`.
    pub repository: Option<String>,
    /// Metadata of one of the files.
    pub metadata: gguf::Metadata,
    /// Bytes that a GPU needs for each file, by preset ([`crate::choose::needed`]).
    pub needed: BTreeMap<String, u64>,
    /// Name of the importance matrix in the folder.
    pub matrix: Option<String>,
    /// Whether there is a plot.
    pub plot: bool,
}

/// The front matter: what the original card says of licence, languages and use, and what this folder is.
pub fn front_matter(table: &Table, facts: &Facts) -> FrontMatter {
    let original = table
        .source
        .card
        .as_deref()
        .map(|card| FrontMatter::split(card).0);
    let original = original.unwrap_or_default();
    let metadata = &facts.metadata;
    let mut matter = FrontMatter::default();
    if let Some(base) = facts.base_model.as_ref().or(table.source.repository.as_ref()) {
        matter.set_list("base_model", vec![base.clone()]);
        matter.set("base_model_relation", "quantized");
    }
    if let Some(by) = &facts.quantized_by {
        matter.set("quantized_by", by.clone());
    }
    for (key, recorded) in [
        ("license", "general.license"),
        ("license_name", "general.license.name"),
        ("license_link", "general.license.link"),
    ] {
        let text = original
            .text(key)
            .or_else(|| metadata.get_str(recorded).map(str::to_owned));
        if let Some(text) = text.filter(|t| !t.is_empty()) {
            matter.set(key, text);
        }
    }
    let texts = |key: &str| -> Vec<String> {
        match metadata.get(key).and_then(gguf::Value::as_array) {
            Some(gguf::Array::String(list)) => list
                .iter()
                .filter_map(|t| t.to_str().map(str::to_owned))
                .collect(),
            _ => Vec::new(),
        }
    };
    let or = |list: Vec<String>, key: &str| if list.is_empty() { texts(key) } else { list };
    matter.set(
        "pipeline_tag",
        original
            .text("pipeline_tag")
            .unwrap_or_else(|| parts::pipeline(&table.model.architecture).to_owned()),
    );
    matter.set("library_name", "gguf");
    matter.set_list("language", or(original.list("language"), "general.languages"));
    matter.set_list("datasets", original.list("datasets"));
    let mut tags = or(original.list("tags"), "general.tags");
    let mut own = vec!["gguf", "quantized", "llama-cpp"];
    own.extend(table.importance.as_ref().map(|_| "imatrix"));
    own.extend(
        metadata
            .get_str("tokenizer.chat_template")
            .map(|_| "conversational"),
    );
    for tag in own {
        if !tags.iter().any(|t| t == tag) {
            tags.push(tag.to_owned());
        }
    }
    matter.set_list("tags", tags);
    matter
}

/// The card in a style, or by a template of the publisher's: Jinja, with the fields of [`View`], `front_matter` and the
/// parts of the styles by name (`parts.table`, `parts.domains`, `parts.choose`, `parts.plot`, `parts.prompt`, `parts.download`,
/// `parts.substituted`, `parts.made`, `parts.verify`, `parts.original`). Where the template does not place the front matter,
/// it comes first.
///
/// # Errors
/// A template that does not parse or fails.
pub fn render(table: &Table, facts: &Facts, style: Style, template: Option<&str>) -> Result<String> {
    let view = View::of(table, facts);
    let matter = front_matter(table, facts).render();
    let parts = parts::all(&view, style);
    let Some(template) = template else {
        let order: &[&str] = match style {
            Style::Table => &[
                "title",
                "table",
                "domains",
                "choose",
                "plot",
                "prompt",
                "download",
                "substituted",
                "made",
                "verify",
                "original",
            ],
            Style::Choose => &[
                "title",
                "choose",
                "table",
                "domains",
                "plot",
                "prompt",
                "download",
                "substituted",
                "made",
                "verify",
                "original",
            ],
            Style::Plain => &[
                "title",
                "table",
                "prompt",
                "download",
                "substituted",
                "made",
                "verify",
            ],
        };
        let mut card = matter;
        for name in order {
            if let Some(part) = parts.get(name).filter(|part| !part.is_empty()) {
                let _ = write!(card, "\n{}\n", part.trim_end());
            }
        }
        return Ok(card);
    };
    let failed = |e: minijinja::Error| Error::Template(format!("{e:#}"));
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(10_000_000));
    let text = environment
        .template_from_named_str("template", template)
        .and_then(|t| {
            t.render(context! {
                front_matter => matter.as_str(),
                parts => Value::from(Serde(&parts)),
                table => Value::from(Serde(table)),
                ..Value::from(Serde(&view))
            })
        })
        .map_err(failed)?;
    Ok(match text.trim_start().starts_with("---\n") {
        true => text,
        false => format!("{matter}\n{text}"),
    })
}
