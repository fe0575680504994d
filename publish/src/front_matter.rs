//! The front matter of model cards: what the hub reads.

use std::fmt::Write as _;

use yaml_rust2::parser::{Event, Parser};
use yaml_rust2::scanner::TScalarStyle;

/// Longest front matter that is read, in bytes.
const MAX_BYTES: usize = 64 << 10;
/// Most events of YAML's parser.
const MAX_EVENTS: usize = 100_000;
/// Deepest nesting.
const MAX_DEPTH: usize = 32;
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

    /// Events one by one: nothing recurses, and what an anchor names is not repeated.
    fn parse(yaml: &str) -> Option<Self> {
        if yaml.len() > MAX_BYTES {
            return None;
        }
        let mut parser = Parser::new_from_str(yaml);
        let mut matter = Self::default();
        let (mut depth, mut begun) = (0usize, false);
        let mut key: Option<String> = None;
        let mut list: Option<Vec<String>> = None;
        for _ in 0..MAX_EVENTS {
            let (event, _) = parser.next_token().ok()?;
            match event {
                Event::DocumentEnd | Event::StreamEnd => return begun.then_some(matter),
                Event::MappingStart(..) | Event::SequenceStart(..) => {
                    let sequence = matches!(event, Event::SequenceStart(..));
                    // At the top is a mapping, and its keys are scalars.
                    if depth == 0 && sequence || depth == 1 && key.is_none() || depth == MAX_DEPTH {
                        return None;
                    }
                    depth += 1;
                    begun = true;
                    if depth == 2 && sequence {
                        list = Some(Vec::new());
                    }
                }
                Event::MappingEnd | Event::SequenceEnd => {
                    depth = depth.checked_sub(1)?;
                    if depth == 1
                        && let Some(key) = key.take()
                        && let Some(items) = list.take()
                    {
                        matter.put(&key, Value::List(items));
                    }
                }
                Event::Scalar(text, style, ..) => match (depth, key.is_some()) {
                    (0, _) => return None,
                    (1, false) => key = Some(text),
                    (1, true) => {
                        let key = key.take()?;
                        let null = matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL");
                        if !(style == TScalarStyle::Plain && null) {
                            matter.put(&key, Value::Text(text));
                        }
                    }
                    (2, true) => {
                        if let Some(items) = list.as_mut().filter(|items| items.len() < MAX_LIST) {
                            items.push(text);
                        }
                    }
                    _ => {}
                },
                Event::Alias(_) if depth == 1 => key = None,
                _ => {}
            }
        }
        None
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
        let deep = format!("---\na: {}\n---\nrest", "[".repeat(20_000));
        assert_eq!(FrontMatter::split(&deep), (FrontMatter::default(), "rest"));
        let laughs = "---\na: &a [x, x]\nb: &b [*a, *a]\nlicense: mit\nc: *b\n---\n";
        let (matter, _) = FrontMatter::split(laughs);
        assert_eq!(matter.list("a"), ["x", "x"]);
        assert_eq!((matter.list("b").len(), matter.get("c")), (0, None));
        assert_eq!(matter.text("license").as_deref(), Some("mit"));
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
