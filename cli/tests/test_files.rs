//! A crate whose tests are one program names every file of its `tests` folder there: cargo finds none by itself.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Names after `before` at the beginnings of lines, up to `after`.
fn names<'a>(text: &'a str, before: &str, after: char) -> BTreeSet<&'a str> {
    text.lines()
        .filter_map(|line| Some(line.strip_prefix(before)?.split_once(after)?.0))
        .collect()
}

#[test]
fn every_file_of_tests_is_in_a_program() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut checked = 0;
    for entry in fs::read_dir(root).unwrap() {
        let folder = entry.unwrap().path();
        let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap_or_default();
        if !manifest.lines().any(|line| line == "autotests = false") {
            continue;
        }
        let all = fs::read_to_string(folder.join("tests/all.rs")).unwrap();
        let mut named = names(&all, "mod ", ';');
        named.extend(names(&manifest, "path = \"tests/", '.'));
        for file in fs::read_dir(folder.join("tests")).unwrap() {
            let file = file.unwrap().path();
            if file.extension().is_some_and(|ending| ending == "rs") {
                let name = file.file_stem().unwrap().to_str().unwrap();
                assert!(
                    named.contains(name),
                    "{}: no part of tests/all.rs, expected `mod {name};` there",
                    file.display()
                );
                checked += 1;
            }
        }
    }
    assert!(checked > 90, "only {checked} files were found");
}
