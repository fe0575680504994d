//! Model files that another process cuts or lengthens while a run reads them: an error, never a crash.

#![cfg(unix)]

use crate::support;

use std::fs::{self, OpenOptions};
use std::io::Read as _;
use std::path::Path;
use std::process::Command;

use support::{DEMO, quantsmith, succeeds, text};

/// Starts a run, waits until it says `sign`, changes the file's length, and returns all that the run said.
#[track_caller]
fn changed_while(args: &[&str], sign: &str, file: &Path, length: u64) -> String {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let mut child = Command::new(quantsmith(&[]).get_program())
        .args(args)
        .stdout(writer.try_clone().unwrap())
        .stderr(writer)
        .spawn()
        .unwrap();
    let mut said = Vec::new();
    let mut byte = [0];
    while !said.ends_with(sign.as_bytes()) {
        let read = reader.read(&mut byte).unwrap();
        assert!(read > 0, "it ended early: {}", String::from_utf8_lossy(&said));
        said.extend(byte);
    }
    let changed = OpenOptions::new().write(true).open(file).unwrap();
    changed.set_len(length).unwrap();
    reader.read_to_end(&mut said).unwrap();
    let said = String::from_utf8_lossy(&said).into_owned();
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(1), "{status:?}: {said}");
    said
}

/// Cut to nothing, in the middle, by a byte, and longer by a page.
#[test]
fn a_model_that_changes_while_it_is_run() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let (model, long, matrix, table) = (at("model.gguf"), at("text.txt"), at("matrix.gguf"), at("table"));
    succeeds(&["convert", DEMO, text(&model), "--outtype", "f16"]);
    let whole = fs::read(&model).unwrap();
    let short = fs::read_to_string(Path::new(DEMO).join("eval.txt")).unwrap();
    fs::write(&long, short.repeat(2)).unwrap();
    let length = whole.len() as u64;
    let perplexity = ["perplexity", text(&model), text(&long), "-c", "64"];
    let imatrix = ["imatrix", text(&model), text(&long), "-o", text(&matrix)];
    let evaluated = [
        "table",
        text(&model),
        "--types",
        "Q8_0",
        "--text",
        text(&long),
        "--out",
        text(&table),
    ];
    let runs = [
        (&perplexity[..], "[1/"),
        (&imatrix, " windows"),
        (&evaluated, " windows"),
    ];
    for (args, sign) in runs {
        for length in [length / 2, 0, length - 1, length + 4096] {
            fs::write(&model, &whole).unwrap();
            let said = changed_while(args, sign, &model, length);
            let error = said
                .lines()
                .find(|l| l.starts_with("error: "))
                .unwrap_or_default();
            assert!(error.contains("model.gguf"), "{said}");
            // Cutting a file sets its time and its length one after the other, and the run may look in between.
            let seen = [
                format!("found {length}"),
                "another process has written to the file".to_owned(),
            ];
            assert!(seen.iter().any(|what| error.contains(what)), "{said}");
        }
    }
    assert!(!matrix.exists());
}
