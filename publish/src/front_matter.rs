//! The front matter of model cards: what the hub reads.

use std::fmt::Write as _;

use yaml_rust2::{Yaml, YamlLoader};

/// Longest front matter that is read, in bytes.
const MAX_BYTES: usize = 1 << 20;
/// Most values of a list that are taken over.
const MAX_LIST: usize = 256;

/// A value of front matter: what a card needs of YAML.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A text.
    Text(String),
    /// A list of texts.
    List(Vec<String>),
}

/// Front matter: keys with values, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FrontMatter(Vec<(String, Value)>);

impl FrontMatter {
    /// Splits a card into its front matter and the text below it. Front matter that is no YAML mapping counts as none; of
    /// its values those are kept that are scalars or lists of scalars.
    pub fn split(card: &str) -> (Self, &str) {
        let text = card.strip_prefix('\u{feff}').unwrap_or(card);
        let Some((yaml, body)) = cut(text) else {
            return (Self::default(), text);
        };
        (Self::parse(yaml).unwrap_or_default(), body)
    }

    fn parse(yaml: &str) -> Option<Self> {
        if yaml.len() > MAX_BYTES {
            return None;
        }
        let documents = YamlLoader::load_from_str(yaml).ok()?;
        let Some(Yaml::Hash(map)) = documents.into_iter().next() else {
            return None;
        };
        let pairs = map.into_iter().filter_map(|(key, value)| {
            let value = match value {
                Yaml::Array(items) => Value::List(items.iter().filter_map(scalar).take(MAX_LIST).collect()),
                other => Value::Text(scalar(&other)?),
            };
            Some((key.into_string()?, value))
        });
        Some(Self(pairs.collect()))
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.iter().find(|(k, _)| k == key).map(|(_, value)| value)
    }

    /// The value of a key as a list; one text is a list of one.
    pub fn list(&self, key: &str) -> Vec<String> {
        match self.get(key) {
            None => Vec::new(),
            Some(Value::Text(text)) => vec![text.clone()],
            Some(Value::List(list)) => list.clone(),
        }
    }

    /// The text of a key; of a list, the first.
    pub fn text(&self, key: &str) -> Option<String> {
        self.list(key).into_iter().next()
    }

    /// Sets a key to a text.
    pub fn set(&mut self, key: &str, text: impl Into<String>) {
        self.put(key, Value::Text(text.into()));
    }

    /// Sets a key to a list; an empty one leaves it out.
    pub fn set_list(&mut self, key: &str, list: Vec<String>) {
        if !list.is_empty() {
            self.put(key, Value::List(list));
        }
    }

    /// Sets a key, where it is, or at the end.
    pub fn put(&mut self, key: &str, value: Value) {
        match self.0.iter_mut().find(|(k, _)| k == key) {
            Some(pair) => pair.1 = value,
            None => self.0.push((key.to_owned(), value)),
        }
    }

    /// The front matter as YAML between lines of three dashes. Every text that some reader of YAML could take for
    /// something else is in quotes: the language `no`, the version `1.0`.
    pub fn render(&self) -> String {
        let mut out = String::from("---\n");
        for (key, value) in &self.0 {
            // Writing to a string cannot fail.
            let _ = match value {
                Value::Text(text) => writeln!(out, "{}: {}", quoted(key), quoted(text)),
                Value::List(list) => {
                    let _ = writeln!(out, "{}:", quoted(key));
                    list.iter()
                        .try_for_each(|item| writeln!(out, "- {}", quoted(item)))
                }
            };
        }
        out.push_str("---\n");
        out
    }
}

/// Front matter without its lines of dashes, and the text after it.
fn cut(text: &str) -> Option<(&str, &str)> {
    let rest = text.strip_prefix("---")?;
    let rest = rest.strip_prefix("\r\n").or_else(|| rest.strip_prefix('\n'))?;
    let mut at = 0;
    for line in rest.split_inclusive('\n') {
        if line.trim_end() == "---" {
            return Some((&rest[..at], &rest[at + line.len()..]));
        }
        at += line.len();
    }
    None
}

fn scalar(value: &Yaml) -> Option<String> {
    match value {
        Yaml::String(text) | Yaml::Real(text) => Some(text.clone()),
        Yaml::Integer(n) => Some(n.to_string()),
        Yaml::Boolean(b) => Some(b.to_string()),
        _ => None,
    }
}

/// A scalar that every reader takes for this text.
fn quoted(text: &str) -> String {
    let first = text.chars().next();
    let plain = first.is_some_and(|c| c.is_ascii_alphabetic())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/'))
        && !matches!(
            text.to_ascii_lowercase().as_str(),
            "y" | "n" | "yes" | "no" | "on" | "off" | "true" | "false" | "null"
        );
    if plain {
        return text.to_owned();
    }
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}') => {
                let _ = write!(out, "\\u{:04X}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cards_are_split() {
        let card =
            "---\nlicense: apache-2.0\nlanguage:\n- en\n- no\ntags: [a, 1.0]\nx: {a: b}\n---\n# Title\n";
        let (matter, body) = FrontMatter::split(card);
        assert_eq!(body, "# Title\n");
        assert_eq!(matter.text("license").as_deref(), Some("apache-2.0"));
        assert_eq!(matter.list("language"), ["en", "no"]);
        assert_eq!(matter.list("tags"), ["a", "1.0"]);
        assert_eq!(matter.get("x"), None);
        for whole in ["# No matter\n", "---\nnever closed\n", "", "---"] {
            assert_eq!(FrontMatter::split(whole), (FrontMatter::default(), whole));
        }
        let (matter, body) = FrontMatter::split("---\n: : [\n---\nrest");
        assert_eq!((matter, body), (FrontMatter::default(), "rest"));
    }

    #[test]
    fn texts_come_back_as_texts() {
        let mut matter = FrontMatter::default();
        let hard = [
            "no",
            "1.0",
            "",
            "a: b",
            "- x",
            "\"q\"",
            "é\u{85}\u{2028}\n\t",
            "~",
            "#c",
            "Yes",
            "0x1f",
            "null",
        ];
        matter.set_list("list", hard.iter().map(|s| (*s).to_owned()).collect());
        matter.set("license", "mit");
        matter.set_list("none", Vec::new());
        let text = matter.render() + "body";
        let (read, body) = FrontMatter::split(&text);
        assert_eq!((&read, body), (&matter, "body"));
        assert!(text.contains("license: mit\n"));
    }
}
