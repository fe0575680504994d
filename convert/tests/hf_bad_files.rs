//! Bad files of weights, their headers and their index: one clear message each, naming the file and what is wrong with it.

use quantsmith_convert::source::hf::{HfOptions, HfSource};
use serde_json::json;

use crate::bad_dirs::{
    expect_error, f32_tensor, model_dir, model_dir_with_vocabulary, with_header, write_json, write_raw,
    write_safetensors,
};

#[test]
fn no_weights() {
    let dir = model_dir();
    expect_error(dir.path(), &["no model*.safetensors"]);
    std::fs::write(dir.path().join("pytorch_model.bin"), "x").unwrap();
    expect_error(dir.path(), &["pytorch_model.bin", "zip"]);
}

#[test]
fn missing_shard() {
    let dir = model_dir();
    let map = json!({"model.norm.weight": "model-1.safetensors", "lm_head.weight": "model-2.safetensors"});
    write_json(
        &dir.path().join("model.safetensors.index.json"),
        &json!({"weight_map": map}),
    );
    write_safetensors(
        &dir.path().join("model-1.safetensors"),
        &json!({"model.norm.weight": f32_tensor(&[8], 0)}),
        32,
    );
    expect_error(dir.path(), &["model-2.safetensors", "missing", "1 tensors"]);
}

/// Names of shards tell how many there are, with any of the formats' names.
#[test]
fn missing_shard_without_an_index() {
    let header = json!({"model.norm.weight": f32_tensor(&[8], 0)});
    for (present, missing) in [
        (
            &["model-00001-of-00002.safetensors"][..],
            "model-00002-of-00002.safetensors",
        ),
        (
            &["model-00002-of-00002.safetensors"],
            "model-00001-of-00002.safetensors",
        ),
        (
            &[
                "model-00001-of-00003.safetensors",
                "model-00003-of-00003.safetensors",
            ],
            "model-00002-of-00003.safetensors",
        ),
        (&["model-1-of-2.safetensors"], "model-2-of-2.safetensors"),
        (
            &[
                "model-00001-of-99999999999999999999.safetensors",
                "model-00001-of-18446744073709551615.safetensors",
            ],
            "model-00002-of-18446744073709551615.safetensors",
        ),
        // Shards of another copy do not stand in.
        (
            &[
                "model-00001-of-00002.safetensors",
                "model-00002-of-00003.safetensors",
            ],
            "model-00002-of-00002.safetensors",
        ),
    ] {
        let dir = model_dir();
        for name in present {
            write_safetensors(&dir.path().join(name), &header, 32);
        }
        expect_error(dir.path(), &[missing, "missing: the names of the shards"]);
    }
    let dir = model_dir();
    std::fs::write(dir.path().join("pytorch_model-00001-of-00002.bin"), "x").unwrap();
    expect_error(
        dir.path(),
        &[
            "pytorch_model-00002-of-00002.bin",
            "missing",
            "there are 2, found 1",
        ],
    );
}

/// Another file of weights beside those of the index is named: `model-extra` is not read.
#[test]
fn a_file_that_the_index_does_not_list_is_told() {
    let dir = model_dir_with_vocabulary();
    write_json(
        &dir.path().join("model.safetensors.index.json"),
        &json!({"weight_map": {"model.norm.weight": "model-1.safetensors"}}),
    );
    let header = json!({"model.norm.weight": f32_tensor(&[8], 0)});
    write_safetensors(&dir.path().join("model-1.safetensors"), &header, 32);
    write_safetensors(&dir.path().join("model-extra.safetensors"), &header, 32);
    let options = HfOptions::default().vocab_only(true);
    let source = HfSource::open(dir.path(), &options).unwrap();
    let told = source
        .warnings()
        .iter()
        .any(|w| w.contains("model-extra.safetensors"));
    assert!(told, "{:?}", source.warnings());
}

#[test]
fn index_and_files_disagree() {
    let dir = model_dir();
    let map = json!({"model.norm.weight": "model-1.safetensors", "lm_head.weight": "model-1.safetensors"});
    write_json(
        &dir.path().join("model.safetensors.index.json"),
        &json!({"weight_map": map}),
    );
    let header = json!({"model.norm.weight": f32_tensor(&[8], 0), "extra.weight": f32_tensor(&[8], 32)});
    write_safetensors(&dir.path().join("model-1.safetensors"), &header, 64);
    expect_error(dir.path(), &["index.json", "lm_head.weight", "extra.weight"]);
}

#[test]
fn index_reaches_out_of_its_directory() {
    for name in ["../model.safetensors", "/etc/passwd", "a/b.safetensors", "..", ""] {
        let dir = model_dir();
        let map = json!({"lm_head.weight": name});
        write_json(
            &dir.path().join("model.safetensors.index.json"),
            &json!({"weight_map": map}),
        );
        expect_error(
            dir.path(),
            &["index.json", "expected the name of a file in this directory"],
        );
    }
}

#[test]
fn one_tensor_in_two_files() {
    let dir = model_dir();
    let header = json!({"model.norm.weight": f32_tensor(&[8], 0)});
    write_safetensors(&dir.path().join("model.safetensors"), &header, 32);
    write_safetensors(&dir.path().join("model-copy.safetensors"), &header, 32);
    expect_error(
        dir.path(),
        &["model.norm.weight", "model-copy.safetensors", "model.safetensors"],
    );
}

#[test]
fn truncated_file() {
    with_header(
        json!({"model.norm.weight": f32_tensor(&[8], 0)}),
        31,
        &["model.norm.weight", "31 bytes", "truncated"],
    );
    let dir = model_dir();
    let path = dir.path().join("model.safetensors");
    std::fs::write(&path, [1, 2, 3]).unwrap();
    expect_error(
        dir.path(),
        &["model.safetensors", "3 bytes", "expected a safetensors file"],
    );
    write_raw(&path, b"{}", Some(1000), 0);
    expect_error(dir.path(), &["expected a header of 1000 bytes", "found 2 "]);
}

#[test]
fn header_lies() {
    let dir = model_dir();
    let path = dir.path().join("model.safetensors");
    for length in [100_000_001, u64::MAX] {
        write_raw(&path, b"{}", Some(length), 0);
        expect_error(dir.path(), &["expected a header of at most 100000000 bytes"]);
    }
    write_raw(&path, b"not json", None, 0);
    expect_error(dir.path(), &["offset 8", "not valid JSON"]);
    write_raw(&path, "[".repeat(50_000).as_bytes(), None, 0);
    expect_error(dir.path(), &["offset 8"]);
    let twice = br#"{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}, "a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}"#;
    write_raw(&path, twice, None, 8);
    expect_error(dir.path(), &["tensor 'a': expected one description"]);
}

/// The data section is covered without a hole or a rest, as the format demands: a tensor that was dropped from
/// the header leaves one or the other.
#[test]
fn data_without_a_tensor() {
    with_header(
        json!({"a": f32_tensor(&[2], 0), "c": f32_tensor(&[2], 16)}),
        24,
        &[
            "model.safetensors",
            "tensor 'c': expected to start at 8",
            "found 16",
            "tensor 'a' ends",
            "the 8 bytes",
        ],
    );
    with_header(
        json!({"a": f32_tensor(&[2], 8)}),
        16,
        &[
            "tensor 'a': expected to start at 0",
            "found 8",
            "the section starts",
        ],
    );
    with_header(
        json!({"a": f32_tensor(&[2], 0), "b": f32_tensor(&[2], 8)}),
        20,
        &["4 bytes after the last tensor (b)", "20 bytes", "end at 16"],
    );
    with_header(json!({}), 4, &["4 bytes after the last tensor", "end at 0"]);
    with_header(
        json!({"a": f32_tensor(&[2], 0), "b": f32_tensor(&[2], 0)}),
        8,
        &["tensor 'b'", "they overlap"],
    );
    // Headers alone: a rest is none, a hole still is.
    let dir = model_dir();
    let header = json!({"a": f32_tensor(&[2], 0), "c": f32_tensor(&[2], 16)});
    write_safetensors(&dir.path().join("model.safetensors"), &header, 0);
    let options = HfOptions::default().headers_suffice(true);
    let error = HfSource::open(dir.path(), &options).unwrap_err().to_string();
    assert!(error.contains("tensor 'c': expected to start at"), "{error}");
}

#[test]
fn offsets_lie() {
    let offsets =
        |begin: u64, end: u64| json!({"a": {"dtype": "F32", "shape": [2], "data_offsets": [begin, end]}});
    with_header(
        offsets(0, 12),
        12,
        &["tensor 'a'", "expected 8 bytes", "found 12"],
    );
    with_header(offsets(8, 0), 8, &["tensor 'a'", "[8, 0)"]);
    with_header(offsets(u64::MAX - 7, u64::MAX), 8, &["tensor 'a'"]);
    with_header(
        json!({"a": f32_tensor(&[2], 0), "b": f32_tensor(&[2], 4)}),
        16,
        &[
            "tensor 'b': expected to start at 8",
            "tensor 'a' ends",
            "found 4: they overlap",
        ],
    );
    with_header(
        json!({"a": {"dtype": "F32", "shape": [u64::MAX, u64::MAX], "data_offsets": [0, 8]}}),
        8,
        &["tensor 'a'", "impossible"],
    );
    with_header(
        json!({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}),
        4,
        &["tensor 'a'", "expected a description"],
    );
    with_header(
        json!({"a": {"dtype": "F32", "shape": [1]}}),
        4,
        &["tensor 'a'", "data_offsets"],
    );
}

#[test]
fn unsupported_dtype() {
    let header = json!({"lm_head.weight": {"dtype": "I32", "shape": [4, 8], "data_offsets": [0, 128]}});
    with_header(
        header,
        128,
        &["model.safetensors", "lm_head.weight", "I32", "BF16"],
    );
    let header = json!({"lm_head.weight": {"dtype": "Q99", "shape": [4, 8], "data_offsets": [0, 128]}});
    with_header(
        header,
        128,
        &["lm_head.weight", "expected a known dtype, found \"Q99\""],
    );
}
