//! Names that are not UTF-8: every command takes them, and JSON marks them.

#![cfg(unix)]

use crate::support;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use support::{DEMO, has, quantsmith};

/// A name with a byte that no UTF-8 text has.
fn odd(folder: &Path, start: &str, end: &str) -> PathBuf {
    let name = [start.as_bytes(), b"\xff", end.as_bytes()].concat();
    folder.join(OsString::from_vec(name))
}

/// Standard output of a run that has to succeed.
#[track_caller]
fn succeeds(args: &[&OsStr]) -> String {
    let done = quantsmith(&[]).args(args).output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{args:?}: {said}");
    String::from_utf8(done.stdout).unwrap()
}

macro_rules! run {
    ($($arg:expr),* $(,)?) => { succeeds(&[$(OsStr::new(&$arg)),*]) };
}

/// The report has the name in both of its forms.
#[track_caller]
fn marked(report: &str) {
    serde_json::from_str::<serde_json::Value>(report).unwrap();
    has(report, &["\"lossy\""]);
    assert!(report.contains('\u{fffd}'), "{report}");
    has(report, &["ff"]);
}

#[expect(
    clippy::too_many_lines,
    reason = "a list of commands, each on the files of those before"
)]
#[test]
fn every_command_takes_them() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let model = odd(dir, "model", "");
    fs::create_dir(&model).unwrap();
    for file in fs::read_dir(DEMO).unwrap().map(|f| f.unwrap().path()) {
        if file.is_file() {
            fs::copy(&file, model.join(file.file_name().unwrap())).unwrap();
        }
    }
    let eval = odd(dir, "text", ".txt");
    fs::copy(Path::new(DEMO).join("eval.txt"), &eval).unwrap();
    let (f16, q8, merged) = (
        odd(dir, "f16", ".gguf"),
        odd(dir, "q8", ".gguf"),
        odd(dir, "merged", ".gguf"),
    );
    marked(&run!["convert", model, f16, "--outtype", "f16", "--json"]);
    marked(&run![
        "convert",
        model,
        odd(dir, "p", ".gguf"),
        "--outtype",
        "Q8_0",
        "--json",
        "--resume"
    ]);
    run!["convert", model];
    marked(&run!["quantize", f16, q8, "Q8_0", "2", "--json"]);
    run!["quantize", f16, odd(dir, "kept", ".gguf"), "Q8_0", "--keep-split"];
    run!["quantize", f16, "Q8_0"];
    marked(&run!["inspect", f16, "--json"]);
    marked(&run!["verify", q8, "--source", f16, "--json"]);
    run!["verify", odd(dir, "q8", ".gguf"), "--strict"];
    let prefix = odd(dir, "cut", "");
    marked(&run!["split", f16, prefix, "--split-max-tensors", "40", "--json"]);
    let first = fs::read_dir(dir)
        .unwrap()
        .map(|f| f.unwrap().path())
        .find(|p| {
            p.as_os_str()
                .as_bytes()
                .windows(14)
                .any(|w| w == b"cut\xff-00001-of-")
        })
        .unwrap();
    run!["inspect", first];
    marked(&run!["merge", first, merged, "--json"]);
    run!["verify", merged, "--source", f16];
    run!["diff", f16, f16, "--json"];
    run!["hash", f16];
    run!["hash", f16, "--file"];
    run!["meta", "get", f16, "general.architecture"];
    run![
        "meta",
        "set",
        merged,
        "general.name=changed",
        "-o",
        odd(dir, "named", ".gguf")
    ];
    run!["meta", "copy", f16, merged, "general.*"];
    run!["tokenize", f16, eval, "--json"];
    let line = odd(dir, "line", ".txt");
    fs::write(&line, "One line.\n").unwrap();
    run!["embed", f16, line, "--json"];
    let matrix = odd(dir, "matrix", ".gguf");
    run!["imatrix", f16, eval, "-c", "64", "--chunks", "2", "-o", matrix];
    run!["imatrix", "--in-file", matrix, "--show-statistics", "--json"];
    run![
        "quantize",
        "--imatrix",
        matrix,
        f16,
        odd(dir, "q4", ".gguf"),
        "Q4_K_M",
        "--json"
    ];
    let logits = odd(dir, "logits", ".bin");
    marked(&run![
        "perplexity",
        f16,
        eval,
        "-c",
        "64",
        "--chunks",
        "1",
        "--save-all-logits",
        logits,
        "--json"
    ]);
    marked(&run![
        "perplexity",
        q8,
        "-c",
        "64",
        "--chunks",
        "1",
        "--kl-divergence",
        "--base",
        logits,
        "--json"
    ]);
    marked(&run![
        "table",
        f16,
        "--types",
        "Q8_0",
        "--text",
        eval,
        "-c",
        "64",
        "--chunks",
        "1",
        "--imatrix",
        matrix,
        "--out",
        odd(dir, "table", ""),
        "--json"
    ]);
    run!["verify", odd(dir, "table", "")];
    run!["export", f16, odd(dir, "exported", "")];
}
