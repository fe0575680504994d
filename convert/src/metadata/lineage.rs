//! The models and datasets that a model descends from.

use gguf::Metadata;
use serde_json::Value as Json;

use super::card::Value;
use super::model_id::{ModelId, title};

/// One ancestor: what is known of it, by field.
pub(super) type Lineage = Vec<(&'static str, String)>;

/// Fields in output order.
const FIELDS: &[&str] = &[
    "name",
    "author",
    "version",
    "organization",
    "description",
    "url",
    "doi",
    "uuid",
    "repo_url",
];

/// The list that a model card gives: an id, a URL, an object, or a list of these.
pub(super) fn from_card(value: &Value, total: i64) -> Vec<Lineage> {
    match value {
        Value::Text(id) => vec![from_id(id, total)],
        Value::List(items) => items
            .iter()
            .map(|item| match item {
                Value::Text(id) => from_id(id, total),
                Value::Map(map) => FIELDS
                    .iter()
                    .filter_map(|&f| Some((f, map.get(f)?.scalar()?)))
                    .collect(),
                _ => Lineage::new(),
            })
            .collect(),
        _ => Vec::new(),
    }
}

/// The list that an override file gives, or `None` when it is none.
pub(super) fn from_json(value: &Json) -> Option<Vec<Lineage>> {
    let entry = |item: &Json| -> Option<Lineage> {
        let map = item.as_object()?;
        FIELDS
            .iter()
            .filter_map(|&f| map.get(f).map(|v| Some((f, v.as_str()?.to_owned()))))
            .collect()
    };
    value.as_array()?.iter().map(entry).collect()
}

/// Writes `general.{key}.count` and the fields of each.
pub(super) fn write(metadata: &mut Metadata, key: &str, list: &[Lineage]) {
    metadata.set_in_place(format!("general.{key}.count"), list.len() as u32);
    for (at, entry) in list.iter().enumerate() {
        for (field, text) in entry.iter().filter(|(_, text)| !text.is_empty()) {
            metadata.set_in_place(format!("general.{key}.{at}.{field}"), text.as_str());
        }
    }
}

fn from_id(id: &str, total: i64) -> Lineage {
    let mut entry = Lineage::new();
    let mut add = |field, value: Option<String>| entry.extend(value.map(|v| (field, v)));
    if ["http://", "https://", "ssh://"]
        .iter()
        .any(|s| id.starts_with(s))
    {
        if let Some(hub) = hub_id(id) {
            let parsed = ModelId::parse(hub, total);
            add("name", parsed.name.as_deref().map(title));
            add("version", parsed.version);
            add("organization", parsed.organization.as_deref().map(title));
        }
        add("repo_url", Some(id.to_owned()));
        return entry;
    }
    let parsed = ModelId::parse(id, total);
    add("name", parsed.name.as_deref().map(title));
    add("version", parsed.version);
    add("organization", parsed.organization.as_deref().map(title));
    if let (Some(organization), Some(name)) = (parsed.organization, parsed.name) {
        add(
            "repo_url",
            Some(format!("https://huggingface.co/{organization}/{name}")),
        );
    }
    entry
}

/// `organization/name` of a URL of a repository on the Hugging Face hub.
fn hub_id(url: &str) -> Option<&str> {
    let rest = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"))?;
    let id = rest.strip_prefix("huggingface.co/")?;
    let (organization, name) = id.split_once('/')?;
    (!organization.is_empty() && !name.is_empty() && !name.contains('/')).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_urls() {
        let fields = |id| from_id(id, 0);
        assert_eq!(
            fields("mistralai/Mistral-7B-v0.1"),
            [
                ("name", "Mistral 7B v0.1".to_owned()),
                ("version", "v0.1".to_owned()),
                ("organization", "Mistralai".to_owned()),
                (
                    "repo_url",
                    "https://huggingface.co/mistralai/Mistral-7B-v0.1".to_owned()
                ),
            ]
        );
        assert_eq!(
            fields("https://example.org/x"),
            [("repo_url", "https://example.org/x".to_owned())]
        );
        assert_eq!(fields("https://huggingface.co/a/b")[0], ("name", "B".to_owned()));
    }
}
