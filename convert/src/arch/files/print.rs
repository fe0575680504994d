//! Descriptions of built-in architectures as files that [`super::read()`] reads.

use std::fmt::{Display, Write as _};

use serde_json::Value;

use super::document::{ACTIVATIONS, CHANGES};
use crate::arch::described::{Computed, Constant, Described, Factors, Group, KINDS, Key, Kind};
use crate::arch::models::DESCRIBED;
use crate::arch::rules::names::Ending;
use crate::arch::{Fixed, ModelType, Rule, Transform};

/// `general.architecture` of those that can be printed.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    DESCRIBED.iter().map(|d| d.architecture.gguf)
}

/// The file that describes a built-in architecture; `None` of others.
pub(crate) fn print(name: &str) -> Option<String> {
    let described = DESCRIBED.iter().find(|d| d.architecture.gguf == name)?;
    Some(text(described))
}

fn text(described: &Described) -> String {
    let architecture = described.architecture;
    let mut out = format!(
        "# The architecture {0} as quantsmith has it. docs/arch-file.md says what each part means.\n\
         architecture = {1}\n\
         activation = {2}\n",
        architecture.gguf,
        quoted(architecture.gguf),
        quoted(name_in(&ACTIVATIONS, architecture.graph.activation)),
    );
    if architecture.graph.bias_keys {
        out.push_str("biases_by_key = true\n");
    }
    if let Some(factors) = described.factors {
        let _ = writeln!(out, "factors = {}", quoted(name_in(&Factors::NAMES, factors)));
    }
    let classes = architecture.classes.iter().map(|class| {
        let mut row = Row::default();
        row.put("name", quoted(class.name));
        row.put_some("strip", Some(class.strip).filter(|s| !s.is_empty()).map(quoted));
        row.put_some("prefix", Some(class.prefix).filter(|s| !s.is_empty()).map(quoted));
        row
    });
    list(
        &mut out,
        "classes",
        "Values of \"architectures\" in config.json.",
        classes,
    );
    list(
        &mut out,
        "tensors",
        "Names in the checkpoint and in the output, without .weight and .bias; {} is the block.",
        rules(architecture.rules).into_iter().map(tensor),
    );
    list(
        &mut out,
        "keys",
        "Keys of the output, in order.",
        described.keys.iter().map(key),
    );
    tokenizer(&mut out, described);
    if !architecture.graph.fixed.is_empty() {
        out.push_str("\n[fixed]\n");
        for (key, fixed) in architecture.graph.fixed {
            let value = match fixed {
                Fixed::Is(b) => b.to_string(),
                Fixed::OneOf(names) => strings(names),
            };
            let _ = writeln!(out, "{key} = {value}");
        }
    }
    for model_type in architecture.model_types {
        types(&mut out, model_type);
    }
    out
}

/// The name of a value in a table of names.
fn name_in<T: Copy + PartialEq>(names: &[(&'static str, T)], value: T) -> &'static str {
    names
        .iter()
        .find(|(_, v)| *v == value)
        .map_or("", |(name, _)| name)
}

/// A text as TOML has it, which is as JSON has it.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn strings(texts: &[&str]) -> String {
    let texts: Vec<String> = texts.iter().map(|t| quoted(t)).collect();
    format!("[{}]", texts.join(", "))
}

/// An inline table.
#[derive(Default)]
struct Row(Vec<String>);

impl Row {
    fn put(&mut self, key: &str, value: impl Display) {
        self.0.push(format!("{key} = {value}"));
    }

    fn put_some(&mut self, key: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.put(key, value);
        }
    }

    fn put_true(&mut self, key: &str, is: bool) {
        self.put_some(key, is.then_some(true));
    }
}

fn list(out: &mut String, name: &str, about: &str, rows: impl Iterator<Item = Row>) {
    let _ = write!(out, "\n# {about}\n{name} = [\n");
    for row in rows {
        let _ = writeln!(out, "    {{ {} }},", row.0.join(", "));
    }
    out.push_str("]\n");
}

/// The rules of all tables that decide: a name that two tables have counts in the first.
fn rules(tables: &[&'static [Rule]]) -> Vec<&'static Rule> {
    let mut all: Vec<&Rule> = Vec::new();
    for table in tables {
        let before = all.len();
        let is_new = |rule: &&Rule| all[..before].iter().all(|known| known.hf != rule.hf);
        let new: Vec<&Rule> = table.iter().filter(is_new).collect();
        all.extend(new);
    }
    all
}

fn tensor(rule: &'static Rule) -> Row {
    let mut row = Row::default();
    row.put("from", quoted(&rule.hf.to_string()));
    if let Transform::Skip = rule.transform {
        row.put("as", quoted("skip"));
        return row;
    }
    row.put("to", quoted(&rule.gguf.to_string()));
    match rule.transform {
        Transform::Copy => {}
        Transform::Multiply(factor) => row.put("multiply", format!("{factor:?}")),
        transform => row.put("as", quoted(change(transform).unwrap_or("?"))),
    }
    row.put_true("whole_names", rule.ending == Ending::Nothing);
    row
}

/// The name of a change; `None` where it has none.
fn change(transform: Transform) -> Option<&'static str> {
    let same = |other: Transform| match (transform, other) {
        (Transform::Selected(a), Transform::Selected(b)) => a == b,
        (a, b) => std::mem::discriminant(&a) == std::mem::discriminant(&b),
    };
    CHANGES.iter().find(|(_, c)| same(*c)).map(|(name, _)| *name)
}

fn key(key: &Key) -> Row {
    let mut row = Row::default();
    match *key {
        Key::Group(group) => row.put("group", quoted(name_in(&Group::NAMES, group))),
        Key::Config {
            key,
            kind,
            from,
            optional,
            nonzero,
            unless,
        } => {
            row.put("key", quoted(key));
            row.put("type", quoted(name_in(&Kind::NAMES, kind)));
            row.put("from", strings(from));
            row.put_true("optional", optional);
            row.put_true("nonzero", nonzero);
            let unless = unless.map(|(key, is)| format!("{{ key = {}, is = {is} }}", quoted(key)));
            row.put_some("unless", unless);
        }
        Key::Computed { key, what } => {
            row.put("key", quoted(key));
            row.put("computed", quoted(name_in(&Computed::NAMES, what)));
        }
        Key::Constant { key, value } => {
            let (kind, value) = match value {
                Constant::U32(n) => ("u32", n.to_string()),
                Constant::F32(x) => ("f32", format!("{x:?}")),
                Constant::Bool(b) => ("bool", b.to_string()),
                Constant::String(text) => ("string", quoted(text)),
            };
            row.put("key", quoted(key));
            row.put("type", quoted(kind));
            row.put("value", value);
        }
        Key::Refused { config, because } => {
            row.put("refuse", quoted(config));
            row.put("because", quoted(because));
        }
        Key::RefusedName { part, because } => {
            row.put("refuse_name", quoted(part));
            row.put("because", quoted(because));
        }
    }
    row
}

fn tokenizer(out: &mut String, described: &Described) {
    let vocabulary = described.vocabulary;
    let kinds: Vec<&str> = vocabulary.kinds.iter().map(|&k| name_in(&KINDS, k)).collect();
    let _ = write!(
        out,
        "\n# Ways to read the vocabulary; the first whose files are there is taken.\n[tokenizer]\nkinds = {}\n",
        strings(&kinds)
    );
    if let Some(name) = vocabulary.pre_tokenizer {
        let _ = writeln!(out, "pre_tokenizer = {}", quoted(name));
    }
    for (key, is) in [
        ("space_prefix_from_config", vocabulary.space_prefix_from_config),
        ("mistral", vocabulary.mistral),
    ] {
        if is {
            let _ = writeln!(out, "{key} = true");
        }
    }
    for (key, value) in [
        ("space_prefix", vocabulary.space_prefix),
        ("add_bos", vocabulary.add_bos),
    ] {
        if let Some(value) = value {
            let _ = writeln!(out, "{key} = {value}");
        }
    }
    special(out, vocabulary.special);
    for size in vocabulary.sizes {
        let _ = write!(out, "\n[[tokenizer.vocab_size]]\nis = {}\n", size.vocab_size);
        if let Some(value) = size.add_bos {
            let _ = writeln!(out, "add_bos = {value}");
        }
        special(out, size.special);
    }
}

fn special(out: &mut String, ids: &[(&str, u32)]) {
    let mut row = Row::default();
    for (name, id) in ids {
        row.put(name, id);
    }
    if !row.0.is_empty() {
        let _ = writeln!(out, "special = {{ {} }}", row.0.join(", "));
    }
}

fn types(out: &mut String, model_type: &'static ModelType) {
    let _ = write!(
        out,
        "\n# What a config.json of this model_type leaves out.\n[[model_type]]\nname = {}\n",
        quoted(model_type.name)
    );
    if model_type.base() > 0.0 {
        let _ = writeln!(out, "rope_theta = {:?}", model_type.base());
    }
    if model_type.derives_head_dim {
        out.push_str("derive_head_dim = true\n");
    }
    let (mut nulls, mut others) = (Vec::new(), Vec::new());
    let mut seen = Vec::new();
    for (key, value) in model_type.all_defaults() {
        // Those of the type itself come before those that it extends.
        if seen.contains(&key) {
            continue;
        }
        seen.push(key);
        match &value {
            Value::Null => nulls.push(key),
            // With its decimal point.
            Value::Number(n) if n.is_f64() => {
                others.push((key, format!("{:?}", n.as_f64().unwrap_or_default())));
            }
            value => others.push((key, value.to_string())),
        }
    }
    if !nulls.is_empty() {
        let _ = writeln!(out, "null = {}", strings(&nulls));
    }
    if !model_type.renames.is_empty() {
        let mut row = Row::default();
        for (found, meant) in model_type.renames {
            row.put(found, quoted(meant));
        }
        let _ = writeln!(out, "renames = {{ {} }}", row.0.join(", "));
    }
    if !others.is_empty() {
        out.push_str("\n[model_type.defaults]\n");
        for (key, value) in others {
            let _ = writeln!(out, "{key} = {value}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::files::read;

    /// Printed files have a name for everything, and read as the description that they were printed from.
    #[test]
    fn printed_files_read_as_the_same() {
        let dir = tempfile::tempdir().unwrap();
        for name in names() {
            let printed = print(name).unwrap();
            assert!(
                !printed.contains("\"?\"") && !printed.contains("\"\""),
                "{printed}"
            );
            let path = dir.path().join("arch.toml");
            std::fs::write(&path, &printed).unwrap();
            let read = read(&path).unwrap_or_else(|e| panic!("{name}: {e}"));
            let again = text(read);
            assert_eq!(again, printed, "{name}");
        }
    }
}
