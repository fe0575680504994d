//! The front matter of a model card, read as PyYAML reads it (YAML 1.1 scalars).

mod flow;

use std::path::Path;
use std::sync::LazyLock;

use indexmap::IndexMap;
use regex::Regex;
use yaml_rust2::parser::{Event, Parser};
use yaml_rust2::scanner::TScalarStyle;

use crate::Result;

/// Longest model card accepted.
const MAX_CARD_BYTES: u64 = 16 << 20;

/// Deepest nesting of front matter.
const MAX_DEPTH: usize = 32;

/// Most values in front matter, those that aliases repeat included.
const MAX_VALUES: usize = 100_000;

/// A value of the front matter.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Null,
    Text(String),
    /// A boolean, number or date, as written.
    Other(String),
    List(Vec<Self>),
    Map(IndexMap<String, Self>),
}

impl Value {
    /// The text of a scalar.
    pub(super) fn scalar(&self) -> Option<String> {
        match self {
            Self::Text(text) | Self::Other(text) => Some(text.clone()),
            _ => None,
        }
    }

    fn count(&self) -> usize {
        1 + match self {
            Self::List(items) => items.iter().map(Self::count).sum(),
            Self::Map(map) => map.values().map(Self::count).sum(),
            _ => 0,
        }
    }
}

/// The front matter of a directory's `README.md`; empty when there is none.
#[derive(Clone, Debug, Default)]
pub(super) struct Card(IndexMap<String, Value>);

impl Card {
    /// Reads the card. Front matter that is not YAML is reported and ignored: a card is no reason to
    /// refuse a model.
    pub(super) fn load(dir: &Path) -> Result<Self> {
        let path = dir.join("README.md");
        if !path.is_file() {
            return Ok(Self::default());
        }
        let text = crate::json::read_bytes(&path, MAX_CARD_BYTES)?;
        let Some(yaml) = front_matter(&String::from_utf8_lossy(&text)) else {
            return Ok(Self::default());
        };
        match parse(&yaml) {
            Ok(Value::Map(map)) => Ok(Self(map)),
            Ok(Value::Null) => Ok(Self::default()),
            Ok(_) => {
                tracing::warn!("{}: the front matter is not a mapping; ignored", path.display());
                Ok(Self::default())
            }
            Err(problem) => {
                tracing::warn!(
                    "{}: the front matter is not valid YAML ({problem}); ignored",
                    path.display()
                );
                Ok(Self::default())
            }
        }
    }

    /// A scalar, or a list of scalars with commas between.
    pub(super) fn text(&self, key: &str) -> Option<String> {
        match self.0.get(key)? {
            Value::List(items) => {
                let texts: Option<Vec<String>> = items.iter().map(Value::scalar).collect();
                texts.map(|t| t.join(","))
            }
            value => value.scalar(),
        }
    }

    /// The value of the first key that is there.
    pub(super) fn first(&self, keys: &[&str]) -> Option<&Value> {
        keys.iter().find_map(|k| self.0.get(*k))
    }

    /// All strings under these keys; `None` when no key is there.
    pub(super) fn list(&self, keys: &[&str]) -> Option<Vec<String>> {
        let mut found = None;
        for value in keys
            .iter()
            .filter_map(|k| self.0.get(*k))
            .filter(|v| **v != Value::Null)
        {
            let list = found.get_or_insert_with(Vec::new);
            match value {
                Value::Text(text) => list.push(text.clone()),
                Value::List(items) => list.extend(items.iter().filter_map(Value::scalar)),
                _ => {}
            }
        }
        found
    }
}

/// The front matter of a card as JSON, for comparisons: numbers, booleans and dates as `{"other": text}`.
#[cfg(any(test, feature = "fuzzing"))]
pub fn as_json(text: &str) -> std::result::Result<serde_json::Value, String> {
    fn json(value: &Value) -> serde_json::Value {
        match value {
            Value::Null => serde_json::Value::Null,
            Value::Text(text) => text.as_str().into(),
            Value::Other(text) => serde_json::json!({ "other": text }),
            Value::List(items) => items.iter().map(json).collect(),
            Value::Map(map) => {
                let pairs = map.iter().map(|(key, value)| (key.clone(), json(value)));
                serde_json::Value::Object(pairs.collect())
            }
        }
    }
    let yaml = front_matter(text).ok_or("expected front matter, found none")?;
    parse(&yaml).map(|value| json(&value))
}

/// The lines between the first, `---`, and the next such line.
fn front_matter(text: &str) -> Option<String> {
    // The line breaks of Python's `splitlines`.
    const BREAKS: [char; 9] = [
        '\n', '\u{b}', '\u{c}', '\u{1c}', '\u{1d}', '\u{1e}', '\u{85}', '\u{2028}', '\u{2029}',
    ];
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let mut lines = text.split(BREAKS);
    if lines.next() != Some("---") {
        return None;
    }
    let yaml: String = lines
        .take_while(|l| *l != "---")
        .flat_map(|l| [l, "\n"])
        .collect();
    // Norwegian is a language; tabs are no indentation in YAML.
    Some(yaml.replace("- no\n", "- \"no\"\n").replace('\t', "  "))
}

/// A collection that is being read.
enum Open {
    List(Vec<Value>),
    Map(IndexMap<String, Value>, Option<String>),
}

fn parse(yaml: &str) -> std::result::Result<Value, String> {
    let yaml = flow::indented(yaml);
    let mut parser = Parser::new_from_str(&yaml);
    let mut stack: Vec<(Open, usize)> = Vec::new();
    let mut anchors: IndexMap<usize, Value> = IndexMap::new();
    let mut values = 0usize;
    loop {
        let (event, _) = parser.next_token().map_err(|e| e.to_string())?;
        let (value, anchor) = match event {
            Event::Scalar(text, style, anchor, _) => (scalar(text, style), anchor),
            Event::SequenceStart(anchor, _) => {
                stack.push((Open::List(Vec::new()), anchor));
                if stack.len() > MAX_DEPTH {
                    return Err(format!("expected nesting of at most {MAX_DEPTH}, found more"));
                }
                continue;
            }
            Event::MappingStart(anchor, _) => {
                stack.push((Open::Map(IndexMap::new(), None), anchor));
                if stack.len() > MAX_DEPTH {
                    return Err(format!("expected nesting of at most {MAX_DEPTH}, found more"));
                }
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match stack.pop() {
                Some((Open::List(items), anchor)) => (Value::List(items), anchor),
                Some((Open::Map(map, _), anchor)) => (Value::Map(map), anchor),
                None => return Err("expected balanced collections, found others".to_owned()),
            },
            Event::Alias(id) => (
                anchors
                    .get(&id)
                    .cloned()
                    .ok_or("expected an alias to a value, found one to nothing")?,
                0,
            ),
            Event::StreamEnd => return Ok(Value::Null),
            _ => continue,
        };
        values += match &value {
            Value::List(_) | Value::Map(_) => value.count(),
            _ => 1,
        };
        if values > MAX_VALUES {
            return Err(format!("expected at most {MAX_VALUES} values, found more"));
        }
        if anchor > 0 {
            anchors.insert(anchor, value.clone());
        }
        match stack.last_mut() {
            None => return Ok(value),
            Some((Open::List(items), _)) => items.push(value),
            Some((Open::Map(map, key), _)) => match key.take() {
                Some(key) => {
                    map.insert(key, value);
                }
                None => *key = Some(value.scalar().unwrap_or_default()),
            },
        }
    }
}

/// A scalar, typed by the rules of YAML 1.1.
fn scalar(text: String, style: TScalarStyle) -> Value {
    static NULL: LazyLock<Regex> = LazyLock::new(|| pattern("~|null|Null|NULL|"));
    static OTHER: LazyLock<Regex> = LazyLock::new(|| {
        pattern(concat!(
            "yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF",
            r"|[-+]?0b[0-1_]+|[-+]?0[0-7_]+|[-+]?(?:0|[1-9][0-9_]*)|[-+]?0x[0-9a-fA-F_]+",
            r"|[-+]?[1-9][0-9_]*(?::[0-5]?[0-9])+",
            r"|[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+][0-9]+)?|\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?",
            r"|[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+\.[0-9_]*|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
            r"|[0-9]{4}-[0-9]{2}-[0-9]{2}",
            r"|[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt]|[ \t]+)[0-9]{1,2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]*)?",
            r"(?:[ \t]*(?:Z|[-+][0-9]{1,2}(?::[0-9]{2})?))?",
        ))
    });
    if style != TScalarStyle::Plain {
        Value::Text(text)
    } else if NULL.is_match(&text) {
        Value::Null
    } else if OTHER.is_match(&text) {
        Value::Other(text)
    } else {
        Value::Text(text)
    }
}

fn pattern(text: &str) -> Regex {
    // The patterns are constants of this file; each is compiled by a test.
    Regex::new(&format!(r"\A(?:{text})\z")).expect("a valid pattern")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card(text: &str) -> Card {
        match parse(&front_matter(text).unwrap()).unwrap() {
            Value::Map(map) => Card(map),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn reads_front_matter_as_pyyaml_does() {
        let c = card(
            "---\r\nlicense: apache-2.0\nlanguage:\n- en\n- no\ntags: [a, \"1.5\", 2]\nname: ~\nversion: 1.50\n---\nrest: x\n",
        );
        assert_eq!(c.text("license").as_deref(), Some("apache-2.0"));
        assert_eq!(c.list(&["language"]), Some(vec!["en".into(), "no".into()]));
        assert_eq!(
            c.list(&["tags", "pipeline_tag"]),
            Some(vec!["a".into(), "1.5".into(), "2".into()])
        );
        assert_eq!((c.text("name"), c.text("rest")), (None, None));
        assert_eq!(c.text("version").as_deref(), Some("1.50"));
    }

    #[test]
    fn no_front_matter() {
        assert_eq!(front_matter("# Title\n---\na: b\n---\n"), None);
        assert_eq!(front_matter(""), None);
        assert_eq!(parse("").unwrap(), Value::Null);
    }

    #[test]
    fn booleans_are_no_languages() {
        assert_eq!(card("---\nlanguage: no\n---\n").list(&["language"]), Some(vec![]));
        assert_eq!(
            card("---\nlanguage: 'no'\n---\n").list(&["language"]),
            Some(vec!["no".into()])
        );
    }

    #[test]
    fn bombs_and_depth_are_refused() {
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for i in 1..9 {
            let aliases = vec![format!("*a{}", i - 1); 10].join(", ");
            bomb += &format!("a{i}: &a{i} [{aliases}]\n");
        }
        assert!(parse(&bomb).unwrap_err().contains("expected at most"));
        assert!(parse(&"[".repeat(10_000)).is_err());
    }
}
