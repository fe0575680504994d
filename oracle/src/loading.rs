//! Verdicts of stock llama.cpp's loader.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Python;

/// An architecture of llama.cpp's sources that the library of that version does not know.
pub const UNKNOWN: &str = "glm5-next";

/// Stock's answers for models, one after the other; empty for one that it loads.
///
/// # Panics
/// When the script fails.
pub fn of_models(python: &Python, paths: &[PathBuf]) -> Vec<String> {
    answers(
        python,
        paths.iter().map(|p| format!("{}\n", p.display())).collect(),
    )
}

/// The same for adapters, each with its base model.
///
/// # Panics
/// When the script fails.
pub fn of_adapters(python: &Python, pairs: &[(PathBuf, PathBuf)]) -> Vec<String> {
    let line = |(base, adapter): &(PathBuf, PathBuf)| format!("{}\t{}\n", base.display(), adapter.display());
    answers(python, pairs.iter().map(line).collect())
}

fn answers(python: &Python, list: String) -> Vec<String> {
    let verdict = |line: &str| {
        let fields: Vec<&str> = line.split('\t').collect();
        match fields[1] {
            "loads" => String::new(),
            word => format!("{word}: {}", fields[2]),
        }
    };
    let lines = requests(python, "stock_loads.py", list);
    lines.iter().map(|line| verdict(line)).collect()
}

/// Answers, a line each, of one of the scripts in `py/` that load files with stock's library, to requests of a line each.
///
/// # Panics
/// When the script fails.
pub fn requests(python: &Python, script: &str, requests: String) -> Vec<String> {
    let count = requests.lines().count();
    let mut child = Command::new(python.executable())
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("py").join(script))
        .env("ORACLE_CACHE", crate::home())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let feeder = std::thread::spawn(move || input.write_all(requests.as_bytes()));
    let out = child.wait_with_output().unwrap();
    feeder.join().unwrap().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    let answers: Vec<String> = text.lines().map(str::to_owned).collect();
    assert_eq!(answers.len(), count, "{script} ended early");
    answers
}
