//! The commands `inspect`, `split` and `merge`.

use crate::support;

use std::path::{Path, PathBuf};
use std::process::Output;

use assert_cmd::Command;
use gguf::{FilePlan, GgufModel, Metadata, TensorType, Value, Writer};
use serde_json::Value as Json;
use support::{has, names};

fn quantsmith(args: &[&str], folder: &Path) -> Output {
    Command::cargo_bin("quantsmith")
        .unwrap()
        .args(args)
        .current_dir(folder)
        .output()
        .unwrap()
}

#[track_caller]
fn succeeds(args: &[&str], folder: &Path) -> String {
    let done = quantsmith(args, folder);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

/// Fails with exit code 1 and one line of message, which has these parts.
#[track_caller]
fn fails(args: &[&str], folder: &Path, parts: &[&str]) {
    let done = quantsmith(args, folder);
    let message = String::from_utf8(done.stderr).unwrap();
    assert_eq!(done.status.code(), Some(1), "{message}");
    assert_eq!(message.lines().count(), 1, "{message}");
    assert!(done.stdout.is_empty());
    for part in parts {
        assert!(message.contains(part), "{part:?} is not in {message:?}");
    }
}

fn model(folder: &Path) -> PathBuf {
    let mut m = Metadata::new();
    m.set("general.architecture", "llama");
    m.set("general.name", "bad \u{1b}[31mred");
    m.set(
        "tokenizer.ggml.tokens",
        (0..100).map(|i| format!("t{i}")).collect::<Vec<_>>(),
    );
    m.set("scale", 0.1f32);
    m.set("infinite", f32::INFINITY);
    let shapes = [
        ("token_embd.weight", TensorType::Q4_K, vec![256, 100]),
        ("norm", TensorType::F32, vec![256]),
    ];
    let plan = FilePlan::new(
        m,
        shapes
            .into_iter()
            .map(|(name, ty, shape)| (name.to_string(), shape, ty)),
    )
    .unwrap();
    let path = folder.join("m.gguf");
    let writer = Writer::create(&path, &plan).unwrap();
    for (i, t) in plan.tensors.iter().enumerate() {
        writer
            .write_at(i, 0, &vec![i as u8 + 1; t.size_bytes() as usize])
            .unwrap();
    }
    writer.finish().unwrap();
    path
}

#[test]
fn inspect_prints_for_people() {
    let folder = tempfile::tempdir().unwrap();
    let path = model(folder.path());
    let size = path.metadata().unwrap().len();
    let text = succeeds(&["inspect", "m.gguf"], folder.path());
    has(&text, &["GGUF version 3, little-endian, alignment 32"]);
    has(&text, &[&format!("{size} bytes")]);
    // (14400 + 1024) * 8 / 25856
    has(&text, &["2 with 25856 weights, 4.7723 bits per weight"]);
    assert!(
        text.contains("str[100]") && text.contains("\"t0\", \"t1\"") && !text.contains("t99"),
        "{text}"
    );
    has(&text, &["bad \\u{1b}[31mred"]);
    has(
        &text,
        &["q4_K             1             25600             14400   93.36%"],
    );
    assert!(!text.contains("token_embd"), "{text}");
    let text = succeeds(&["inspect", "m.gguf", "--tensors"], folder.path());
    has(&text, &["token_embd.weight", "[256, 100]"]);
}

#[test]
fn inspect_prints_everything_as_json() {
    let folder = tempfile::tempdir().unwrap();
    let path = model(folder.path());
    let report: Json =
        serde_json::from_str(&succeeds(&["inspect", "m.gguf", "--json"], folder.path())).unwrap();
    assert_eq!(report["size_bytes"], path.metadata().unwrap().len());
    assert_eq!(report["architecture"], "llama");
    assert_eq!(report["weights"], 25856);
    assert_eq!(report["types"][1]["type"], "q4_K");
    assert_eq!(report["files"][0]["has_data"], true);
    assert_eq!(report["metadata"]["tokenizer.ggml.tokens"]["element_type"], "str");
    assert_eq!(report["metadata"]["tokenizer.ggml.tokens"]["value"][99], "t99");
    assert_eq!(report["metadata"]["scale"]["value"].to_string(), "0.1");
    assert_eq!(report["metadata"]["infinite"]["value"], "inf");
    let embd = &report["tensors"][0];
    assert_eq!(
        (&embd["name"], &embd["type"]),
        (&"token_embd.weight".into(), &"q4_K".into())
    );
    assert_eq!(
        (&embd["shape"][1], &embd["bytes"], &embd["offset"]),
        (&100.into(), &14400.into(), &0.into())
    );
}

#[test]
fn inspect_shows_a_file_of_headers_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = model(folder.path());
    let headers = GgufModel::open(&path).unwrap().files()[0].data_offset();
    std::fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(headers)
        .unwrap();
    let text = succeeds(&["inspect", "m.gguf"], folder.path());
    has(&text, &["incomplete in m.gguf: 0 of 15424 bytes"]);
    let report: Json =
        serde_json::from_str(&succeeds(&["inspect", "m.gguf", "--json"], folder.path())).unwrap();
    assert_eq!(report["files"][0]["has_data"], false);
    fails(
        &["split", "m.gguf", "cut"],
        folder.path(),
        &["m.gguf", "token_embd.weight", "ends too early"],
    );
    succeeds(&["split", "m.gguf", "cut", "--dry-run"], folder.path());
    assert_eq!(names(folder.path()), ["m.gguf"]);
}

#[test]
fn inspect_says_what_is_wrong_with_a_file() {
    let folder = tempfile::tempdir().unwrap();
    fails(&["inspect", "none.gguf"], folder.path(), &["none.gguf"]);
    std::fs::write(folder.path().join("x.gguf"), "not a model").unwrap();
    fails(
        &["inspect", "x.gguf"],
        folder.path(),
        &["x.gguf", "byte 0", "'not '", "'GGUF'"],
    );
    std::fs::write(folder.path().join("y.gguf"), "").unwrap();
    fails(
        &["inspect", "y.gguf", "--json"],
        folder.path(),
        &["y.gguf", "ends too early"],
    );
}

#[test]
fn split_and_merge_give_the_tensors_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = model(folder.path());
    let plan = succeeds(
        &["split", "m.gguf", "cut", "--split-max-tensors", "1", "--dry-run"],
        folder.path(),
    );
    assert_eq!(names(folder.path()), ["m.gguf"]);
    let done = succeeds(
        &["split", "m.gguf", "cut", "--split-max-tensors", "1"],
        folder.path(),
    );
    assert_eq!(plan, done);
    assert!(
        plan.starts_with("n_split: 2\nsplit 00001: n_tensors = 1, total_size = 0M\n"),
        "{plan}"
    );
    assert_eq!(
        names(folder.path()),
        ["cut-00001-of-00002.gguf", "cut-00002-of-00002.gguf", "m.gguf"]
    );

    let text = succeeds(
        &["inspect", "cut-00001-of-00002.gguf", "--tensors"],
        folder.path(),
    );
    has(&text, &["cut-00002-of-00002.gguf", "norm"]);
    let text = succeeds(&["inspect", "cut-00002-of-00002.gguf"], folder.path());
    has(&text, &["1 with 256 weights"]);

    succeeds(
        &["merge", "cut-00001-of-00002.gguf", "again.gguf", "--dry-run"],
        folder.path(),
    );
    assert!(!folder.path().join("again.gguf").exists());
    succeeds(
        &[
            "merge",
            "cut-00001-of-00002.gguf",
            "again.gguf",
            "--delete-splits",
        ],
        folder.path(),
    );
    assert_eq!(names(folder.path()), ["again.gguf", "m.gguf"]);
    let (a, b) = (
        GgufModel::open(&path).unwrap(),
        GgufModel::open(&folder.path().join("again.gguf")).unwrap(),
    );
    for t in a.tensors() {
        assert_eq!(t.info, b.info(t.index));
        let whole = 0..t.info.size_bytes();
        assert_eq!(
            a.bytes(t.index, whole.clone()).unwrap(),
            b.bytes(t.index, whole).unwrap()
        );
    }
    assert_eq!(b.metadata().get("split.count"), Some(&Value::U16(0)));
}

#[test]
fn split_by_size_reports_tensors_over_the_limit() {
    let folder = tempfile::tempdir().unwrap();
    model(folder.path());
    let args = [
        "split",
        "m.gguf",
        "cut",
        "--split-max-size",
        "1M",
        "--no-tensor-first-split",
        "--json",
    ];
    let report: Json = serde_json::from_str(&succeeds(&args, folder.path())).unwrap();
    assert_eq!(report["shards"][0]["tensors"], 0);
    assert_eq!(report["shards"][1]["path"], "cut-00002-of-00002.gguf");
    let size = folder
        .path()
        .join("cut-00002-of-00002.gguf")
        .metadata()
        .unwrap()
        .len();
    assert_eq!(report["shards"][1]["size_bytes"], size);
}

#[test]
fn merge_refuses_what_it_cannot_do_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    model(folder.path());
    fails(
        &["merge", "m.gguf", "out.gguf"],
        folder.path(),
        &["m.gguf", "split.count"],
    );
    succeeds(
        &["split", "m.gguf", "cut", "--split-max-tensors", "1"],
        folder.path(),
    );
    fails(
        &["merge", "cut-00001-of-00002.gguf", "m.gguf"],
        folder.path(),
        &["m.gguf", "exists already"],
    );
    fails(
        &["merge", "cut-00002-of-00002.gguf", "out.gguf"],
        folder.path(),
        &["cut-00001-of-00002.gguf"],
    );
    std::fs::remove_file(folder.path().join("cut-00002-of-00002.gguf")).unwrap();
    fails(
        &["merge", "cut-00001-of-00002.gguf", "out.gguf"],
        folder.path(),
        &["missing", "cut-00002-of-00002"],
    );
    assert_eq!(names(folder.path()), ["cut-00001-of-00002.gguf", "m.gguf"]);
}

#[test]
fn wrong_usage_exits_with_2() {
    let folder = tempfile::tempdir().unwrap();
    for args in [
        &["inspect"][..],
        &["split", "a", "b", "--split-max-size", "12X"],
        &["split", "a", "b", "--split-max-size", "0M"],
        &["split", "a", "b", "--split-max-tensors", "0"],
        &[
            "split",
            "a",
            "b",
            "--split-max-tensors",
            "4",
            "--split-max-size",
            "1G",
        ],
        &["merge", "a"],
    ] {
        assert_eq!(quantsmith(args, folder.path()).status.code(), Some(2), "{args:?}");
    }
}

#[cfg(unix)]
#[test]
fn a_reader_that_goes_away_is_no_crash() {
    let folder = tempfile::tempdir().unwrap();
    model(folder.path());
    let mut child = std::process::Command::new(assert_cmd::cargo::cargo_bin("quantsmith"))
        .args(["inspect", "--json", "m.gguf"])
        .current_dir(folder.path())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let done = child.wait_with_output().unwrap();
    assert!(
        done.status.success() && done.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
}
