//! Classes that can be converted and run: the list that `convert --list`, the table of
//! docs/architectures.md and the README's counts are made of.

use std::fmt::Write as _;

use convert::arch::{supported_classes, supported_encoders};
use serde_json::{Value, json};

/// `general.architecture` of encoders.
const CLIP: &str = "clip";

/// One architecture of GGUF.
struct Row {
    /// `general.architecture`.
    name: &'static str,
    /// Classes of `config.json` that are converted to it.
    classes: Vec<&'static str>,
    /// Whether the forward pass runs it.
    forward: bool,
}

/// Every architecture that is converted or run, in the order of the converter's list.
fn rows() -> Vec<Row> {
    let runs = |name: &str| reference::architectures().any(|a| a == name);
    let mut rows: Vec<Row> = Vec::new();
    for (class, name) in supported_classes() {
        match rows.iter_mut().find(|row| row.name == name) {
            Some(row) => row.classes.push(class),
            None => rows.push(Row {
                name,
                classes: vec![class],
                forward: runs(name),
            }),
        }
    }
    // Image encoders, which `convert --mmproj` converts.
    rows.push(Row {
        name: CLIP,
        classes: supported_encoders(),
        forward: false,
    });
    for name in reference::architectures() {
        if !rows.iter().any(|row| row.name == name) {
            rows.push(Row {
                name,
                classes: Vec::new(),
                forward: true,
            });
        }
    }
    rows
}

fn word(yes: bool) -> &'static str {
    if yes { "yes" } else { "no" }
}

/// One line for each class: class, architecture, convert, forward.
pub(crate) fn list() -> String {
    let mut out = format!("{:<36} {:<16} convert  forward\n", "class", "architecture");
    for row in rows() {
        for class in &row.classes {
            let _ = writeln!(out, "{class:<36} {:<16} yes      {}", row.name, word(row.forward));
        }
        if row.classes.is_empty() {
            let _ = writeln!(out, "{:<36} {:<16} no       yes", "-", row.name);
        }
    }
    out
}

/// The same for machines.
pub(crate) fn list_json() -> Value {
    let rows = rows().into_iter().map(|row| {
        json!({
            "architecture": row.name,
            "classes": row.classes,
            "convert": !row.classes.is_empty(),
            "forward": row.forward,
        })
    });
    Value::Array(rows.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of docs/architectures.md.
    fn markdown() -> String {
        let mut out = "\n| architecture | classes that are converted | forward |\n|---|---|---|\n".to_owned();
        for row in rows() {
            let classes = match row.classes.is_empty() {
                true => "none".to_owned(),
                false => row.classes.join(", "),
            };
            let _ = writeln!(out, "| {} | {classes} | {} |", row.name, word(row.forward));
        }
        out
    }

    /// The README's counts.
    fn counts() -> String {
        let of = |encodes: bool| {
            rows()
                .into_iter()
                .filter(move |row| (row.name == CLIP) == encodes)
        };
        let classes = |encodes| of(encodes).map(|row| row.classes.len()).sum::<usize>();
        let architectures = of(false).filter(|row| !row.classes.is_empty()).count();
        format!(
            "{} classes of text models in {architectures} architectures and {} classes of encoders of images and sound",
            classes(false),
            classes(true)
        )
    }

    /// A document, and the part of it between `<!-- NAME -->` and `<!-- end of NAME -->`, which has to be `expected`.
    /// `UPDATE_DOCS=1 cargo test -p quantsmith-cli documents` writes it anew.
    fn holds(file: &str, name: &str, expected: &str) {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("..")
            .join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        let (begin, end) = (format!("<!-- {name} -->"), format!("<!-- end of {name} -->"));
        let start = text.find(&begin).expect("the document marks it") + begin.len();
        let end = text.find(&end).expect("the document marks its end");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(path, format!("{}{expected}{}", &text[..start], &text[end..])).unwrap();
            return;
        }
        let update = "run: UPDATE_DOCS=1 cargo test -p quantsmith-cli documents";
        assert_eq!(&text[start..end], expected, "{file}; {update}");
    }

    #[test]
    fn the_documents_have_what_the_code_has() {
        holds("docs/architectures.md", "architectures", &markdown());
        holds("README.md", "counts", &counts());
    }

    #[test]
    fn at_least_sixty_classes_are_converted() {
        assert!(supported_classes().len() >= 60, "{}", supported_classes().len());
    }

    #[test]
    fn the_list_has_a_line_for_each_class() {
        let list = list();
        for (class, name) in supported_classes() {
            assert!(
                list.lines().any(|l| l.starts_with(class) && l.contains(name)),
                "{class}"
            );
        }
    }
}
