//! Documentation begins with what a thing is, not with a clause about it.

use std::fs;
use std::path::Path;

/// The first lines of documentation that begin with "What", as `FILE:LINE`.
fn clauses(dir: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            clauses(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let mut before = "";
            for (number, line) in (1..).zip(text.lines().map(str::trim_start)) {
                let head = ["/// What ", "//! What "]
                    .iter()
                    .any(|head| line.starts_with(head));
                if head && !before.starts_with("//") {
                    found.push(format!("{}:{number}", path.display()));
                }
                before = line;
            }
        }
    }
}

#[test]
fn heads_are_noun_phrases() {
    let mut found = Vec::new();
    clauses(&Path::new(env!("CARGO_MANIFEST_DIR")).join(".."), &mut found);
    assert_eq!(found, Vec::<String>::new());
}
