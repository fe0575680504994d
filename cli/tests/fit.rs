//! `quantsmith fit` on files of known shapes.

use crate::support;
use crate::support::has;

use std::path::Path;

use gguf::{Metadata, TensorType};
use serde_json::Value;

/// Runs the command.
fn quantsmith(args: &[&str]) -> std::process::Output {
    support::quantsmith(args).output().unwrap()
}

/// A Llama of 4 layers with a header alone: 64 wide, 4 heads of 16, 2 of keys, 1,000 tokens, F16 matrices.
fn hollow(path: &Path, ty: TensorType) -> u64 {
    let mut keys = Metadata::new();
    keys.set("general.architecture", "llama");
    for (key, value) in [
        ("block_count", 4u32),
        ("embedding_length", 256),
        ("feed_forward_length", 512),
        ("attention.head_count", 4),
        ("attention.head_count_kv", 2),
        ("context_length", 8192),
    ] {
        keys.set(format!("llama.{key}"), value);
    }
    let mut tensors = vec![
        ("token_embd.weight".to_owned(), vec![256, 1000], ty),
        ("output.weight".to_owned(), vec![256, 1000], ty),
    ];
    for layer in 0..4 {
        for (name, shape) in [
            ("attn_q", [256, 256]),
            ("attn_k", [256, 128]),
            ("attn_v", [256, 128]),
            ("attn_output", [256, 256]),
            ("ffn_gate", [256, 512]),
            ("ffn_up", [256, 512]),
            ("ffn_down", [512, 256]),
        ] {
            tensors.push((format!("blk.{layer}.{name}.weight"), shape.to_vec(), ty));
        }
    }
    support::hollow(path, keys, tensors).file_size()
}

fn json(args: &[&str]) -> Value {
    let out = quantsmith(args);
    serde_json::from_slice(&out.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&out.stderr)))
}

/// Bytes of a layer's cache of 8,192 tokens: 2 heads of 64 numbers, keys and values, in F16.
const CACHE: u64 = 8192 * 2 * 64 * 2 * 2;

#[test]
fn a_file_in_a_context() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.gguf");
    let size = hollow(&path, TensorType::F16);
    let path = path.to_str().unwrap();
    let report = json(&["fit", path, "--vram", "2G", "--json"]);
    let file = &report["files"][0];
    assert_eq!(file["size_bytes"], size);
    assert_eq!(file["context"], 8192);
    assert_eq!(file["cache"], 4 * CACHE);
    assert_eq!(file["states"], 0);
    let layer = 2 * (256 * 256 * 2 + 256 * 128 * 2 + 256 * 512 * 3);
    let matrix = 2 * 256 * 1000;
    assert_eq!(file["weights"], 4 * layer + 2 * matrix);
    // Embeddings stay with the CPU.
    assert_eq!(file["fit"]["gpu_layers"], 5);
    assert_eq!(file["fit"]["gpu"]["weights"], 4 * layer + matrix);
    assert_eq!(file["fit"]["cpu"]["weights"], matrix);
    assert_eq!(file["fit"]["cpu"]["cache"], 0);
    assert_eq!(report["best"], "a.gguf");

    let smaller = json(&[
        "fit", path, "--vram", "2G", "--ctx", "4k", "--kv", "q8_0", "--json",
    ]);
    assert_eq!(smaller["files"][0]["cache"], 4 * CACHE / 2 * 17 / 32);
    let shared = json(&[
        "fit",
        path,
        "--vram",
        "2G",
        "--ctx",
        "8k",
        "--parallel",
        "4",
        "--json",
    ]);
    assert_eq!(shared["files"][0]["context_of_each"], 2048);
    assert_eq!(shared["files"][0]["cache"], 4 * CACHE);
}

#[test]
fn as_many_layers_as_fit() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.gguf");
    hollow(&path, TensorType::F16);
    let path = path.to_str().unwrap();
    let whole = json(&["fit", path, "--vram", "2G", "--json"]);
    let needed = whole["files"][0]["whole"]["gpu"]["total"].as_u64().unwrap();
    // Exactly enough, and one byte less.
    let reserve = 1u64 << 30;
    let exact = json(&["fit", path, "--vram", &(reserve + needed).to_string(), "--json"]);
    assert_eq!(exact["files"][0]["fit"]["gpu_layers"], 5);
    let less = json(&[
        "fit",
        path,
        "--vram",
        &(reserve + needed - 1).to_string(),
        "--json",
    ]);
    let fit = &less["files"][0]["fit"];
    assert_eq!((&fit["gpu_layers"], &fit["whole"]), (&4.into(), &false.into()));
    assert_eq!(fit["cpu"]["cache"], CACHE);
    assert!(fit["gpu"]["total"].as_u64().unwrap() < needed);
    // Nothing fits a CPU without memory; the exit code says so.
    let out = quantsmith(&["fit", path, "--vram", &(reserve + 1).to_string(), "--ram", "1M"]);
    assert_eq!(out.status.code(), Some(1));
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    has(&text, &["does not fit", "--ctx"]);
}

#[test]
fn the_best_of_a_directory() {
    let dir = tempfile::tempdir().unwrap();
    hollow(&dir.path().join("f32.gguf"), TensorType::F32);
    hollow(&dir.path().join("f16.gguf"), TensorType::F16);
    hollow(&dir.path().join("q8_0.gguf"), TensorType::Q8_0);
    let path = dir.path().to_str().unwrap();
    let all = json(&["fit", path, "--vram", "2G", "--json"]);
    assert_eq!(all["best"], "f32.gguf");
    let of = |name: &str| {
        let files = all["files"].as_array().unwrap();
        let file = files.iter().find(|f| f["name"] == name).unwrap();
        file["whole"]["gpu"]["total"].as_u64().unwrap() + (1 << 30)
    };
    let middle = json(&["fit", path, "--vram", &of("f16.gguf").to_string(), "--json"]);
    assert_eq!(middle["best"], "f16.gguf");
    let text = quantsmith(&["fit", path, "--vram", &of("f16.gguf").to_string()]);
    let text = String::from_utf8(text.stdout).unwrap();
    let starred: Vec<&str> = text.lines().filter(|l| l.starts_with('*')).collect();
    assert_eq!(starred.len(), 1, "{text}");
    assert!(
        starred[0].contains("f16.gguf") && starred[0].ends_with("all 5"),
        "{text}"
    );
    has(&text, &["-ngl 5 -c 8192"]);
    has(&text, &["Sizes in MiB"]);
}

#[test]
fn a_model_directory_is_planned() {
    let report = json(&["fit", support::DEMO, "--vram", "2G", "--json"]);
    let files = report["files"].as_array().unwrap();
    assert_eq!(files.len(), 19);
    assert!(files.iter().all(|f| f["fit"]["whole"] == true), "{report:#}");
    assert_eq!(report["best"], "Q8_0");
}

#[test]
fn what_cannot_be_answered_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.gguf");
    hollow(&path, TensorType::F16);
    let path = path.to_str().unwrap();
    for (args, says) in [
        (&["fit", path, "--vram", "512M"][..], "--reserve"),
        (
            &["fit", path, "--vram", "8G", "--kv", "q4_k"],
            "no type of a cache",
        ),
        (
            &["fit", path, "--vram", "8G", "--kv", "q8_0", "--no-flash-attn"],
            "needs flash attention",
        ),
        (&["fit", path, "--vram", "8G", "--ctx", "no"], "number of tokens"),
        (
            &["fit", dir.path().join("none").to_str().unwrap(), "--vram", "8G"],
            "No such file",
        ),
        (&["fit", path], "--vram"),
    ] {
        let out = quantsmith(args);
        let text = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(!out.status.success() && text.contains(says), "{args:?}: {text}");
    }
    let empty = dir.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let out = quantsmith(&["fit", empty.to_str().unwrap(), "--vram", "8G"]);
    assert!(String::from_utf8_lossy(&out.stderr).contains("neither GGUF files nor a config.json"));
}
