//! GGUF files that are no model, given in a model's place: each is named, with the command that takes it.

use crate::support;

use std::path::{Path, PathBuf};

use gguf::{FilePlan, Metadata, TensorType, Writer};
use support::{DEMO, fails, plain, quantsmith, succeeds, text, tiny};

/// A file with these keys and one small tensor, or none.
fn file(path: &Path, keys: &[(&str, &str)], tensor: Option<(&str, Vec<u64>)>) -> PathBuf {
    let mut m = Metadata::new();
    for (key, value) in keys {
        m.set(*key, *value);
    }
    let tensors = tensor.map(|(name, shape)| (name.to_owned(), shape, TensorType::F32));
    let plan = FilePlan::new(m, tensors.into_iter().collect::<Vec<_>>()).unwrap();
    let writer = Writer::create(path, &plan).unwrap();
    for (index, t) in plan.tensors.iter().enumerate() {
        writer
            .write_at(index, 0, &vec![0; t.size_bytes() as usize])
            .unwrap();
    }
    writer.finish().unwrap();
    path.to_path_buf()
}

/// Every command that takes a model, as arguments before and after the file.
const COMMANDS: [(&[&str], &[&str]); 6] = [
    (&["quantize"], &["OUT", "Q8_0"]),
    (&["table"], &["--no-eval", "--out", "OUT"]),
    (&["perplexity"], &["TEXT"]),
    (&["imatrix"], &["TEXT", "-o", "OUT"]),
    (&["embed"], &["TEXT"]),
    (&["export"], &["OUT"]),
];

/// Runs every command but `except` and `convert` on a file; each has to fail with these words and to write nothing.
fn refused(dir: &Path, file: &Path, except: &[&str], words: &[&str]) {
    let (out, words_file) = (dir.join("out"), dir.join("text.txt"));
    std::fs::write(&words_file, "abc abc").unwrap();
    let mut all = vec![text(file), "expected a model, found"];
    all.extend(words);
    for (before, after) in COMMANDS.iter().filter(|(b, _)| !except.contains(&b[0])) {
        let mut args = before.to_vec();
        args.push(text(file));
        args.extend(after.iter().map(|a| match *a {
            "OUT" => text(&out),
            "TEXT" => text(&words_file),
            other => other,
        }));
        fails(&args, &all);
        assert!(!out.exists(), "{args:?}");
    }
    let mut all = vec![text(file), "expected a model directory, found"];
    all.extend(words);
    fails(&["convert", text(file), text(&out)], &all);
}

#[test]
fn adapters() {
    let dir = tempfile::tempdir().unwrap();
    let keys = [
        ("general.architecture", "llama"),
        ("general.type", "adapter"),
        ("adapter.type", "lora"),
    ];
    let tensor = ("blk.0.attn_q.weight.lora_a", vec![4, 2]);
    let adapter = file(&dir.path().join("lora.gguf"), &keys, Some(tensor));
    refused(dir.path(), &adapter, &[], &["a LoRA adapter", "--lora"]);
}

#[test]
fn importance_matrices() {
    let dir = tempfile::tempdir().unwrap();
    let keys = [("general.type", "imatrix")];
    let tensor = ("blk.0.attn_q.weight.in_sum2", vec![4, 1]);
    let matrix = file(&dir.path().join("imatrix.gguf"), &keys, Some(tensor));
    refused(
        dir.path(),
        &matrix,
        &[],
        &[
            "an importance matrix",
            "--imatrix of quantize",
            "--in-file of imatrix",
        ],
    );
}

#[test]
fn control_vectors() {
    let dir = tempfile::tempdir().unwrap();
    let keys = [("general.architecture", "controlvector")];
    let vector = file(
        &dir.path().join("vector.gguf"),
        &keys,
        Some(("direction.1", vec![4])),
    );
    refused(
        dir.path(),
        &vector,
        &[],
        &["a control vector", "--control-vector"],
    );
}

#[test]
fn vocabularies() {
    let dir = tempfile::tempdir().unwrap();
    let vocabulary = dir.path().join("vocab.gguf");
    succeeds(&["convert", "--vocab-only", DEMO, text(&vocabulary)]);
    refused(
        dir.path(),
        &vocabulary,
        &[],
        &["a vocabulary without tensors", "tokenize takes it"],
    );
    let words = dir.path().join("text.txt");
    succeeds(&["tokenize", text(&vocabulary), text(&words)]);
}

#[test]
fn encoders() {
    let dir = tempfile::tempdir().unwrap();
    let keys = [("general.architecture", "clip"), ("general.type", "mmproj")];
    let encoder = file(
        &dir.path().join("mmproj.gguf"),
        &keys,
        Some(("v.blk.0.attn_q.weight", vec![256, 2])),
    );
    refused(
        dir.path(),
        &encoder,
        &["quantize"],
        &["an encoder with its projector (mmproj)", "quantize takes it"],
    );
}

#[test]
fn a_model_in_place_of_its_directory_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let model = tiny(&dir.path().join("tiny.gguf"), 1, plain);
    let out = dir.path().join("out.gguf");
    fails(
        &["convert", text(&model), text(&out)],
        &["expected a model directory, found a GGUF file; quantize"],
    );
    let done = quantsmith(&["convert", text(&dir.path().join("missing")), text(&out)])
        .output()
        .unwrap();
    assert_eq!(done.status.code(), Some(1));
}
