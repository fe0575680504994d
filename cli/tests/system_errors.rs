//! Every write, sync, change of length and renaming that a run makes, answered by the system with an error, one
//! at a time: the run fails with the file's name and the system's reason, and whatever has its final name is whole.
//!
//! strace answers in the system's place; where it is not there, or may not trace, nothing is tested.

#![cfg(target_os = "linux")]

use crate::support;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use support::{imatrix, names, plain, quantsmith, succeeds, text, tiny, told};

/// Calls of one kind that are tried at most.
const MAX_CALLS: usize = 60;

/// Runs the command with call number `when` of a kind answered by an error. The number of such calls is counted for
/// each thread by itself.
fn injected(call: &str, error: &str, when: usize, args: &[&str]) -> Option<Output> {
    injected_on(None, call, error, when, args)
}

/// The same, of the calls on one file.
fn injected_on(file: Option<&Path>, call: &str, error: &str, when: usize, args: &[&str]) -> Option<Output> {
    let file = file.map(text);
    Command::new("strace")
        .args(file.iter().flat_map(|file| ["-P", file]))
        .args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}")])
        .args(["-e", &format!("inject={call}:error={error}:when={when}")])
        .arg(quantsmith(&[]).get_program())
        .args(args)
        .output()
        .ok()
}

fn can_trace() -> bool {
    let done = injected("fsync", "EIO", 1, &["--version"]);
    let can = done.is_some_and(|d| d.status.success());
    if !can {
        println!("skipped: strace cannot be used here");
    }
    can
}

/// Fails every call of the kinds once, for a run that makes files of `out`, which `expected` has as they should be.
/// Returns how many runs failed.
#[track_caller]
fn every_call_fails(args: &[&str], out: &Path, expected: &Path, errors: &[(&str, &str, &str)]) -> usize {
    let mut failures = 0;
    for (call, error, reason) in errors {
        for when in 1..=MAX_CALLS {
            let _ = fs::remove_dir_all(out);
            fs::create_dir(out).unwrap();
            let done = injected(call, error, when, args).unwrap();
            // A record has times in it; it is whole if it can be read.
            let record = out.join("table.json");
            if record.exists() {
                publish::record::Table::load(&record).expect("a whole record");
            }
            for name in support::products(out) {
                let bytes = fs::read(out.join(&name)).unwrap();
                let whole = fs::read(expected.join(&name)).is_ok_and(|b| b == bytes);
                assert!(whole, "{call} {when} {error}: {name} was left, and is not whole");
            }
            if done.status.success() {
                break;
            }
            failures += 1;
            let message = told(&done, &[reason]);
            let named = names(expected).iter().any(|name| message.contains(name));
            assert!(named, "{call} {when} {error}: no file is named: {message}");
        }
    }
    failures
}

/// The errors of each kind of call, with the words that the system has for them.
const ERRORS: [(&str, &str, &str); 8] = [
    ("pwrite64", "EDQUOT", "Disk quota exceeded"),
    ("pwrite64", "ENOSPC", "No space left on device"),
    ("pwrite64", "EIO", "Input/output error"),
    ("ftruncate", "EDQUOT", "Disk quota exceeded"),
    ("fsync", "EIO", "Input/output error"),
    ("fsync", "EDQUOT", "Disk quota exceeded"),
    ("rename", "EACCES", "Permission denied"),
    ("rename", "EROFS", "Read-only file system"),
];

/// Makes what is expected, then lets every call fail. Returns how many runs failed.
#[track_caller]
fn try_all(run: impl Fn(&Path) -> Vec<String>, errors: &[(&str, &str, &str)]) -> usize {
    let dir = tempfile::tempdir().unwrap();
    let (out, expected) = (dir.path().join("out"), dir.path().join("expected"));
    fs::create_dir(&expected).unwrap();
    let (made, tried) = (run(&expected), run(&out));
    succeeds(&made.iter().map(String::as_str).collect::<Vec<_>>());
    let tried: Vec<&str> = tried.iter().map(String::as_str).collect();
    every_call_fails(&tried, &out, &expected, errors)
}

#[test]
fn quantize_publishes_nothing_half() {
    if !can_trace() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let model = tiny(&dir.path().join("tiny.gguf"), 1, plain);
    let run = |out: &Path| {
        let file = out.join("q.gguf");
        ["quantize", text(&model), text(&file), "Q4_0"]
            .map(str::to_owned)
            .to_vec()
    };
    let failures = try_all(run, &ERRORS);
    assert!(failures >= 12, "{failures} calls failed");
}

/// With its manifest; `write` also is what messages are written by.
#[test]
fn table_publishes_nothing_half() {
    if !can_trace() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let model = tiny(&dir.path().join("tiny.gguf"), 1, plain);
    let run = |out: &Path| {
        let args = [
            "table",
            text(&model),
            "--types",
            "Q4_0,Q8_0",
            "--no-eval",
            "--out",
            text(out),
        ];
        args.map(str::to_owned).to_vec()
    };
    let failures = try_all(run, &ERRORS[3..]);
    assert!(failures >= 8, "{failures} calls failed");
}

#[test]
fn edits_of_metadata_leave_a_file_that_is_whole() {
    if !can_trace() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let model = tiny(&dir.path().join("tiny.gguf"), 1, plain);
    let run = |out: &Path| {
        let file = out.join("m.gguf");
        let args = [
            "meta",
            "set",
            text(&model),
            "general.name=longer than it was",
            "-o",
            text(&file),
        ];
        args.map(str::to_owned).to_vec()
    };
    let failures = try_all(run, &ERRORS);
    assert!(failures >= 12, "{failures} calls failed");

    // In place: the file is what it was, or what it was to be, or the next command makes it so.
    let before = fs::read(&model).unwrap();
    let changed = dir.path().join("changed.gguf");
    let set = |file: &Path| ["meta", "set", text(file), "general.name=Tony"].map(str::to_owned);
    fs::write(&changed, &before).unwrap();
    let args = set(&changed);
    succeeds(&args.each_ref().map(String::as_str));
    let after = fs::read(&changed).unwrap();
    assert_eq!(before.len(), after.len());
    for (call, error, reason) in ERRORS {
        for when in 1..=MAX_CALLS {
            fs::write(&changed, &before).unwrap();
            let done = injected(call, error, when, &args.each_ref().map(String::as_str)).unwrap();
            if done.status.success() {
                break;
            }
            told(&done, &["changed.gguf", reason]);
            let found = fs::read(&changed).unwrap();
            let whole = found == before || found == after;
            let noted = dir.path().join(".changed.gguf.undo").exists();
            assert!(whole || noted, "{call} {when} {error}");
            succeeds(&args.each_ref().map(String::as_str));
            assert!(fs::read(&changed).unwrap() == after, "{call} {when} {error}");
        }
    }
}

/// Manifests and importance matrices of the older form: whole, or as they were.
#[test]
fn small_files_appear_whole_or_not_at_all() {
    if !can_trace() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let model = tiny(&at("tiny.gguf"), 1, plain);
    let matrix = imatrix(&at("i.dat"), &["blk.0.ffn_up.weight"], 256);
    let out = at("out");
    let table = [
        "table",
        text(&model),
        "--types",
        "Q8_0",
        "--no-eval",
        "--out",
        text(&out),
    ];
    let (made, dat) = (out.join("made.dat"), "dat");
    let converted = [
        "imatrix",
        "--in-file",
        text(&matrix),
        "-o",
        text(&made),
        "--output-format",
        dat,
    ];
    for (args, name) in [(&table[..], "SHA256SUMS"), (&converted, "made.dat")] {
        // A line of a manifest, and anything where it is not one.
        for before in [
            None,
            Some(concat!(
                "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
                "  what was there\n"
            )),
        ] {
            for (call, error, reason) in [
                ("write", "EDQUOT", "Disk quota exceeded"),
                ("fsync", "EIO", "Input/output error"),
                ("rename", "EACCES", "Permission denied"),
            ] {
                let _ = fs::remove_dir_all(&out);
                fs::create_dir(&out).unwrap();
                if let Some(before) = before {
                    fs::write(out.join(name), before).unwrap();
                }
                let partial = out.join(format!(".{name}.partial"));
                let done = injected_on(Some(&partial), call, error, 1, args).unwrap();
                told(&done, &[name, reason]);
                let found = fs::read_to_string(out.join(name)).ok();
                assert_eq!(found.as_deref(), before, "{call} {name}");
                assert!(
                    !names(&out).iter().any(|n| n.starts_with('.')),
                    "{:?}",
                    names(&out)
                );
            }
        }
    }
}
