//! `meta` and `--override-kv`: what would make a file that programs refuse is asked about.

use crate::support;

use std::path::Path;

use gguf::{GgufModel, Value};
use support::{DEMO, fails, plain, succeeds, text, tiny};

fn value(file: &Path, key: &str) -> Option<Value> {
    GgufModel::open(file).unwrap().metadata().get(key).cloned()
}

#[test]
fn a_change_of_type_needs_force() {
    let dir = tempfile::tempdir().unwrap();
    let file = tiny(&dir.path().join("a.gguf"), 2, plain);
    let before = std::fs::read(&file).unwrap();
    for (set, parts) in [
        ("general.name=u32:3", ["general.name", "expected str, found u32"]),
        (
            "general.author=u32:3",
            ["general.author", "expected str, found u32"],
        ),
        (
            "llama.block_count=u64:2",
            ["llama.block_count", "expected u32, found u64"],
        ),
        (
            "llama.rope.freq_base=f64:1e4",
            ["llama.rope.freq_base", "expected f32, found f64"],
        ),
        (
            "llama.rope.freq_base=u32:3",
            ["llama.rope.freq_base", "expected f32, found u32"],
        ),
        (
            "tokenizer.ggml.eos_token_id=i32:3",
            ["eos_token_id", "expected u32, found i32"],
        ),
        (
            "tokenizer.ggml.add_bos_token=u8:1",
            ["add_bos_token", "expected bool, found u8"],
        ),
        (
            "tokenizer.ggml.tokens=u32[]:[1]",
            ["tokens", "expected str[], found u32[]"],
        ),
        (
            "tokenizer.ggml.token_type=f32[]:[1]",
            ["token_type", "found f32[]"],
        ),
        (
            "llama.attention.head_count=u32[]:[4,4]",
            ["head_count", "expected u32, which it has"],
        ),
        ("tokenizer.chat_template=u8:1", ["chat_template", "expected str"]),
    ] {
        fails(
            &["meta", "set", text(&file), set],
            &[text(&file), parts[0], parts[1], "--force"],
        );
        assert_eq!(std::fs::read(&file).unwrap(), before, "{set}");
    }
    // What is allowed, without being asked: the same type, a key's other form, keys that nobody knows.
    for set in [
        "general.name=str:x",
        "general.name=y",
        "llama.attention.sliding_window_pattern=bool[]:[true]",
        "my.key=f64:3",
        "my.list=u8[]:[1]",
    ] {
        succeeds(&["meta", "set", text(&file), set]);
    }
    fails(
        &["meta", "set", text(&file), "my.list=i8[]:[1]"],
        &["expected u8[], which it has, found i8[]"],
    );
    succeeds(&["meta", "set", text(&file), "general.name=u32:3", "--force"]);
    assert_eq!(value(&file, "general.name"), Some(Value::U32(3)));

    // Copied keys too.
    let other = tiny(&dir.path().join("b.gguf"), 2, plain);
    let copy = ["meta", "copy", text(&file), text(&other), "general.name"];
    fails(&copy, &["general.name", "expected str, found u32"]);
    succeeds(&[&copy[..], &["--force"]].concat());
}

#[test]
fn numbers_are_stored_as_they_are_or_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = tiny(&dir.path().join("a.gguf"), 1, plain);
    for set in [
        "my.key=f32:1e39",
        "my.key=f64:1e400",
        "my.key=f64:-1e400",
        "my.key=f32:nan",
        "my.key=f64:inf",
        "my.key=f32[]:[1,1e39]",
        "my.key=f64[]:[\"NaN\"]",
    ] {
        fails(
            &["meta", "set", text(&file), set],
            &["my.key", "finite number in the range", "--force"],
        );
        assert_eq!(value(&file, "my.key"), None);
    }
    for set in [
        "my.key=u8:256",
        "my.key=i8:-129",
        "my.key=u32:-1",
        "my.key=u64:18446744073709551616",
        "my.key=u8[]:[256]",
    ] {
        fails(&["meta", "set", text(&file), set], &["expected ", "found "]);
        fails(
            &["meta", "set", text(&file), set, "--force"],
            &["expected ", "found "],
        );
    }
    succeeds(&["meta", "set", text(&file), "my.key=f32:inf", "--force"]);
    assert_eq!(value(&file, "my.key"), Some(Value::F32(f32::INFINITY)));
}

#[test]
fn keys_that_the_model_needs_are_not_deleted_unasked() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("demo.gguf");
    succeeds(&["convert", DEMO, text(&file)]);
    let before = std::fs::read(&file).unwrap();
    let model = GgufModel::open(&file).unwrap();
    let architecture = model.metadata().architecture().to_owned();
    for key in [
        "general.architecture".to_owned(),
        format!("{architecture}.block_count"),
        format!("{architecture}.context_length"),
        format!("{architecture}.embedding_length"),
        // What only this architecture's graph tells.
        format!("{architecture}.attention.head_count"),
        format!("{architecture}.attention.layer_norm_rms_epsilon"),
        "tokenizer.ggml.model".to_owned(),
        "tokenizer.ggml.tokens".to_owned(),
    ] {
        fails(
            &["meta", "delete", text(&file), &key],
            &[text(&file), &key, "needs it", "--force"],
        );
        assert_eq!(std::fs::read(&file).unwrap(), before, "{key}");
    }
    succeeds(&["meta", "delete", text(&file), "general.name"]);
    succeeds(&["meta", "delete", text(&file), "tokenizer.ggml.model", "--force"]);
    assert_eq!(value(&file, "tokenizer.ggml.model"), None);
}

#[test]
fn overrides_of_quantize_keep_types_and_ranges() {
    let dir = tempfile::tempdir().unwrap();
    let file = tiny(&dir.path().join("a.gguf"), 1, plain);
    let out = dir.path().join("out.gguf");
    let quantize = |over: &str, more: &[&str]| {
        let base = ["quantize", text(&file), text(&out), "Q8_0", "--override-kv", over];
        [&base[..], more]
            .concat()
            .iter()
            .map(|s| (*s).to_owned())
            .collect::<Vec<_>>()
    };
    let run = |over: &str, more: &[&str], parts: &[&str]| {
        let args = quantize(over, more);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        if parts.is_empty() {
            succeeds(&args);
        } else {
            fails(&args, parts);
            assert!(!out.exists());
        }
    };
    run(
        "general.name=int:3",
        &[],
        &["general.name", "expected str, found u32"],
    );
    run(
        "llama.rope.freq_base=int:10000",
        &[],
        &["expected f32, found u32"],
    );
    run(
        "llama.attention.head_count=float:4",
        &[],
        &["expected u32 or u32[] or i32[], found f32"],
    );
    run("my.key=int:-1", &[], &["expected an integer from 0", "found -1"]);
    run("my.key=int:4294967296", &[], &["found 4294967296"]);
    run("my.key=float:1e39", &[], &["finite number"]);
    run("my.key=float:nan", &[], &["finite number"]);
    run(
        "general.name=int:3",
        &["--force"],
        &["general.name", "--allow-incomplete"],
    );
    run("general.name=int:3", &["--force", "--allow-incomplete"], &[]);
    assert_eq!(value(&out, "general.name"), Some(Value::U32(3)));
    run("my.key=int:4294967295", &[], &[]);
    assert_eq!(value(&out, "my.key"), Some(Value::U32(u32::MAX)));
}
