//! Classes that can be converted and run: the list that `convert --list` and the README's table are made of.

use std::fmt::Write as _;

use convert::arch::{supported_classes, supported_encoders};
use serde_json::{Value, json};

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
        name: "clip",
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

    const BEGIN: &str = "<!-- architectures -->\n";
    const END: &str = "<!-- end of architectures -->";

    /// The README's table.
    fn markdown() -> String {
        let mut out = "| architecture | classes that are converted | forward |\n|---|---|---|\n".to_owned();
        for row in rows() {
            let classes = match row.classes.is_empty() {
                true => "none".to_owned(),
                false => row.classes.join(", "),
            };
            let _ = writeln!(out, "| {} | {classes} | {} |", row.name, word(row.forward));
        }
        out
    }

    /// `UPDATE_README=1 cargo test -p quantsmith-cli readme` writes the table anew.
    #[test]
    fn the_readmes_table_is_that_of_the_code() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md");
        let readme = std::fs::read_to_string(path).unwrap();
        let start = readme.find(BEGIN).expect("the README marks its table") + BEGIN.len();
        let end = readme.find(END).expect("the README marks its table's end");
        let table = markdown();
        if std::env::var_os("UPDATE_README").is_some() {
            std::fs::write(path, format!("{}{table}{}", &readme[..start], &readme[end..])).unwrap();
            return;
        }
        assert_eq!(
            &readme[start..end],
            table,
            "run: UPDATE_README=1 cargo test -p quantsmith-cli readme"
        );
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
