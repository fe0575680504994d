//! `quantsmith quantize` as a user meets it: what is written, and what bad input gets.

use crate::support;

use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use gguf::{GgufModel, Metadata, TensorType};
use support::{MATRICES, has, quantsmith, written};

const LAYERS: u32 = 2;

/// Writes a tiny llama model in f32, rows of `width`; `poison` is put into one weight.
fn model(dir: &Path, width: u64, poison: Option<f32>) -> PathBuf {
    let mut metadata = Metadata::new();
    metadata.set("general.architecture", "llama");
    metadata.set("llama.block_count", LAYERS);
    metadata.set("llama.attention.head_count", 4u32);
    let mut tensors = vec![
        ("token_embd.weight".to_owned(), vec![width, 20]),
        ("output_norm.weight".to_owned(), vec![width]),
    ];
    for layer in 0..LAYERS {
        tensors.extend(MATRICES.map(|name| (format!("blk.{layer}.{name}.weight"), vec![width, 4])));
    }
    let poisoned = |name: &str, i: usize, weight: f32| match poison {
        Some(poison) if name == "blk.1.attn_v.weight" && i == width as usize * 2 + 5 => poison,
        _ => weight,
    };
    written(&dir.join("model.gguf"), metadata, tensors, poisoned)
}

/// An importance matrix with `columns` values for each matrix of the first layer.
fn imatrix(dir: &Path, columns: usize) -> PathBuf {
    let names = MATRICES.map(|name| format!("blk.0.{name}.weight"));
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    support::imatrix(&dir.join("imatrix.dat"), &names, columns)
}

fn quantize(args: &[&str]) -> Command {
    // The models are not whole.
    let mut command = quantsmith(&["quantize", "--allow-incomplete"]);
    command.args(args);
    command
}

/// Runs a command that has to fail with this exit code and this in its message, and leave nothing.
fn fails(args: &[&str], code: i32, message: &str, untouched: &Path) {
    let before: Vec<_> = files(untouched);
    let output = quantize(args).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert!(text.contains(message), "{text:?} lacks {message:?}");
    assert_eq!(files(untouched), before, "a file was left behind");
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut names: Vec<_> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    names.sort();
    names
}

#[test]
fn writes_the_default_output_and_reports_it() {
    let dir = tempfile::tempdir().unwrap();
    let input = model(dir.path(), 256, None);
    let output = quantize(&[input.to_str().unwrap(), "q4_k", "2", "--json"])
        .output()
        .unwrap();
    assert!(output.status.success());
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let path = dir.path().join("ggml-model-Q4_K_M.gguf");
    assert_eq!(report["outputs"][0]["file"], path.to_str().unwrap());
    assert_eq!(report["size_bytes"], fs::metadata(&path).unwrap().len());
    let made = GgufModel::open(&path).unwrap();
    assert_eq!(made.metadata().get_u64("general.file_type"), Some(15));
    let head = made.find("token_embd.weight").unwrap();
    assert_eq!(made.info(head).ty, TensorType::Q6_K);
}

#[test]
fn a_dry_run_needs_only_headers_and_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let input = model(dir.path(), 256, None);
    let whole = fs::read(&input).unwrap();
    let header = GgufModel::open(&input).unwrap().files()[0].data_offset() as usize;
    fs::write(&input, &whole[..header]).unwrap();
    let before = files(dir.path());
    let input = input.to_str().unwrap();
    let output = quantize(&["--dry-run", input, "IQ2_XXS"]).output().unwrap();
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{err}");
    has(&out, &["blk.0.attn_q.weight"]);
    has(&err, &["needs an importance matrix"]);
    assert_eq!(files(dir.path()), before);
    fails(&[input, "Q8_0"], 1, "model.gguf", dir.path());
}

#[test]
fn bad_input_gets_one_clear_message() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let good = model(at, 256, None);
    let input = good.to_str().unwrap();
    let fits = imatrix(at, 256);
    let fits = fits.to_str().unwrap();
    fails(&[input, "IQ2_XS"], 1, "blk.0.attn_q.weight (iq2_xs)", at);
    fails(
        &["--imatrix", fits, input, "IQ2_XS"],
        1,
        "blk.1.attn_q.weight",
        at,
    );
    fails(
        &["--tensor-type", "nothing=q8_0", input, "Q4_K_M"],
        1,
        "matches no tensor",
        at,
    );
    fails(
        &["--prune-layers", "7", input, "Q8_0"],
        1,
        "expected layers of the model, found 7",
        at,
    );
    fails(&[input, input, "Q8_0"], 1, "the same file", at);
    fails(&[input, "Q9_K"], 2, "Q9_K", at);
    fails(&[input, "Q8_0", "many"], 2, "many", at);
    fails(&["--output-tensor-type", "q9", input, "Q8_0"], 2, "q9", at);
    fails(&["--max-memory", "1K", input, "Q8_0"], 1, "too small", at);
    fails(
        &["--imatrix", fits, "--include-weights", "attn_z", input, "Q8_0"],
        1,
        "attn_z",
        at,
    );
    fails(
        &[at.join("absent.gguf").to_str().unwrap(), "Q8_0"],
        1,
        "absent.gguf",
        at,
    );

    let short = imatrix(at, 128);
    let message = "importance of tensor 'blk.0.attn_q.weight': expected 256 values, found 128";
    // Q4_K_M of two layers; any tensor may be named first, all are alike but for the name.
    let output = quantize(&["--imatrix", short.to_str().unwrap(), input, "Q4_K_M"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    has(&text, &[&message[message.len() - 32..]]);
    fs::write(at.join("imatrix.dat"), [1, 0, 0, 0, 9]).unwrap();
    fails(
        &["--imatrix", short.to_str().unwrap(), input, "Q8_0"],
        1,
        "imatrix.dat",
        at,
    );

    fs::write(at.join("model.gguf"), &fs::read(&good).unwrap()[..200]).unwrap();
    fails(&[input, "Q8_0"], 1, "model.gguf", at);
}

#[test]
fn a_nan_is_named_and_nothing_is_published() {
    let dir = tempfile::tempdir().unwrap();
    let input = model(dir.path(), 256, Some(f32::NAN));
    fails(
        &[input.to_str().unwrap(), "Q4_K_M"],
        1,
        "tensor 'blk.1.attn_v.weight', row 2, column 5: found NaN",
        dir.path(),
    );
}

#[test]
fn substitutions_are_reported_or_refused() {
    let dir = tempfile::tempdir().unwrap();
    let input = model(dir.path(), 96, None);
    let input = input.to_str().unwrap();
    fails(
        &["--no-fallback", input, "Q4_K_M"],
        1,
        "token_embd.weight",
        dir.path(),
    );
    let output = quantize(&["--dry-run", "--json", input, "Q4_K_M"])
        .output()
        .unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let substituted = report["substituted"].as_array().unwrap();
    assert_eq!(substituted.len(), 15);
    assert_eq!(substituted[0]["wanted"], "q6_K");
    assert_eq!(substituted[0]["got"], "q8_0");
}
