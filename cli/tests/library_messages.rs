//! Messages of the libraries name no flags: what a user of the command does about an error is said by the command
//! (`cli/src/remedy.rs`), and other programs have no flags.

use std::path::{Path, PathBuf};

/// Crates that other programs are built on.
const LIBRARIES: [&str; 9] = [
    "gguf",
    "quants",
    "imatrix",
    "reference",
    "convert",
    "optimize",
    "hub",
    "publish",
    "quantsmith",
];

/// Files that write command lines, which is what they are for.
const COMMAND_LINES: [&str; 3] = [
    "hub/src/upload.rs",
    "publish/src/card/options.rs",
    "publish/src/card/parts.rs",
];

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// Lines of code, without comments and what stands below `#[cfg(test)] mod`.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let end = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
    let lines = text[..end].lines().enumerate();
    lines.filter(|(_, line)| !line.trim_start().starts_with("//"))
}

/// Whether a flag stands in a line: two dashes before a letter, and no third before them.
fn has_flag(line: &str) -> bool {
    let bytes = line.as_bytes();
    bytes.windows(3).enumerate().any(|(at, w)| {
        let alone = at == 0 || !(bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'-');
        &w[..2] == b"--" && w[2].is_ascii_lowercase() && alone
    })
}

#[test]
fn messages_of_libraries_name_no_flags() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let (mut files, mut found) = (Vec::new(), Vec::new());
    for library in LIBRARIES {
        sources(&root.join(library).join("src"), &mut files);
    }
    assert!(files.len() > 200, "{} files", files.len());
    for file in files {
        let name = file
            .strip_prefix(&root)
            .unwrap()
            .to_string_lossy()
            .replace('\\', "/");
        if COMMAND_LINES.contains(&name.as_str()) || name.ends_with("/tests.rs") {
            continue;
        }
        let text = std::fs::read_to_string(&file).unwrap();
        let lines = code(&text).filter(|(_, line)| has_flag(line));
        found.extend(lines.map(|(at, line)| format!("{name}:{}: {}", at + 1, line.trim())));
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn flags_are_seen() {
    assert!(has_flag(r#"    "allow it with --allow-requantize","#) && has_flag("--list"));
    assert!(!has_flag("models--org--name") && !has_flag("a --- b") && !has_flag("i -= 1; x -- y"));
}
