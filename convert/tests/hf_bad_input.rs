//! Bad model directories: one clear message each, naming the file and what is wrong with it.

use std::path::Path;

use quantsmith_convert::source::hf::{HfOptions, HfSource};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A directory with the configuration of a one-block Llama.
fn model_dir() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let config = json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 8,
        "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 4,
    });
    write_json(&dir.path().join("config.json"), &config);
    dir
}

fn write_json(path: &Path, value: &Value) {
    std::fs::write(path, value.to_string()).unwrap();
}

fn change_config(dir: &TempDir, key: &str, value: Value) {
    let path = dir.path().join("config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    config[key] = value;
    write_json(&path, &config);
}

/// A safetensors file with this header and `data` zero bytes.
fn write_safetensors(path: &Path, header: &Value, data: usize) {
    write_raw(path, header.to_string().as_bytes(), None, data);
}

fn write_raw(path: &Path, header: &[u8], length: Option<u64>, data: usize) {
    let mut bytes = length.unwrap_or(header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header);
    bytes.resize(bytes.len() + data, 0);
    std::fs::write(path, bytes).unwrap();
}

fn f32_tensor(shape: &[u64], begin: u64) -> Value {
    let end = begin + 4 * shape.iter().product::<u64>();
    json!({"dtype": "F32", "shape": shape, "data_offsets": [begin, end]})
}

/// The message of opening the directory, which must hold all of `words`.
fn expect_error(dir: &Path, words: &[&str]) {
    let error = HfSource::open(dir, &HfOptions::default())
        .expect_err("bad input was accepted")
        .to_string();
    for word in words {
        assert!(error.contains(word), "{word:?} is not in {error:?}");
    }
    assert!(!error.contains('\n'), "more than one line: {error:?}");
}

fn with_header(header: Value, data: usize, words: &[&str]) {
    let dir = model_dir();
    write_safetensors(&dir.path().join("model.safetensors"), &header, data);
    expect_error(dir.path(), words);
}

#[test]
fn no_config() {
    let dir = tempfile::tempdir().unwrap();
    expect_error(dir.path(), &["config.json"]);
    expect_error(&dir.path().join("nowhere"), &["nowhere", "config.json"]);
}

#[test]
fn malformed_config() {
    let dir = model_dir();
    std::fs::write(dir.path().join("config.json"), "{\"architectures\": [").unwrap();
    expect_error(dir.path(), &["config.json", "not valid JSON"]);
    std::fs::write(dir.path().join("config.json"), "[".repeat(100_000)).unwrap();
    expect_error(dir.path(), &["config.json", "not valid JSON"]);
    std::fs::write(dir.path().join("config.json"), "{}").unwrap();
    expect_error(dir.path(), &["config.json", "architectures"]);
}

#[test]
fn unknown_architecture() {
    let dir = model_dir();
    change_config(&dir, "architectures", json!(["NeverForCausalLM"]));
    expect_error(
        dir.path(),
        &["config.json", "NeverForCausalLM", "built-in classes"],
    );
}

#[test]
fn unknown_quantization() {
    let dir = model_dir();
    write_safetensors(&dir.path().join("model.safetensors"), &json!({}), 0);
    change_config(&dir, "quantization_config", json!({"quant_method": "hqq"}));
    expect_error(dir.path(), &["config.json", "hqq", "gptq"]);
}

/// A header of tensors one after the other, all zero.
fn header_of(tensors: &[(&str, &str, &[u64])]) -> (Value, usize) {
    let (mut header, mut end) = (json!({}), 0);
    for (name, dtype, shape) in tensors {
        let width = match *dtype {
            "I64" => 8,
            "I32" | "F32" => 4,
            "F16" => 2,
            _ => 1,
        };
        let begin = end;
        end += width * shape.iter().product::<u64>();
        header[name] = json!({"dtype": dtype, "shape": shape, "data_offsets": [begin, end]});
    }
    (header, end as usize)
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn quantized_weights_that_do_not_fit_together() {
    let gptq = json!({"quant_method": "gptq", "bits": 4, "group_size": 8});
    let awq = json!({"quant_method": "awq", "bits": 4});
    let fp8 = json!({"quant_method": "fp8", "weight_block_size": [4, 4]});
    let bnb = json!({"quant_method": "bitsandbytes"});
    let mx = json!({"quant_method": "mxfp4"});
    let packed = json!({"quant_method": "compressed-tensors", "format": "pack-quantized",
        "config_groups": {"g": {"weights": {"num_bits": 4}}}});
    let sparse = json!({"quant_method": "compressed-tensors", "format": "marlin-24"});
    let nv = json!({"quant_method": "modelopt"});
    type Case<'a> = (&'a Value, &'a [(&'a str, &'a str, &'a [u64])], &'a [&'a str]);
    let cases: &[Case<'_>] = &[
        (
            &gptq,
            &[("a.qweight", "I32", &[1, 8])],
            &["a.qweight", "a.qzeros"],
        ),
        (
            &gptq,
            &[
                ("a.qweight", "I32", &[1, 8]),
                ("a.qzeros", "I32", &[1, 2]),
                ("a.scales", "F16", &[1, 8]),
            ],
            &["a.qzeros", "[1, 2]", "[1, 1]"],
        ),
        (
            &gptq,
            &[
                ("a.qweight", "I32", &[1, 8]),
                ("a.qzeros", "I32", &[2, 1]),
                ("a.scales", "F16", &[2, 8]),
            ],
            &["a.scales", "8 inputs", "found 2 groups"],
        ),
        (
            &gptq,
            &[
                ("a.qweight", "F32", &[1, 8]),
                ("a.qzeros", "I32", &[1, 1]),
                ("a.scales", "F16", &[1, 8]),
            ],
            &["a.qweight", "found F32"],
        ),
        (
            &awq,
            &[
                ("a.qweight", "I32", &[8, 1]),
                ("a.qzeros", "I32", &[3, 1]),
                ("a.scales", "F16", &[3, 8]),
            ],
            &["a.scales", "8 inputs, found 3"],
        ),
        (
            &fp8,
            &[
                ("a.weight", "F8_E4M3", &[8, 8]),
                ("a.weight_scale_inv", "F32", &[3, 2]),
            ],
            &["a.weight_scale_inv", "[3, 2]", "[8, 8]"],
        ),
        (
            &bnb,
            &[
                ("a.weight", "U8", &[32, 1]),
                ("a.weight.absmax", "F32", &[1]),
                ("a.weight.quant_map", "F32", &[16]),
                ("a.weight.quant_state.bitsandbytes__nf4", "U8", &[9]),
            ],
            &["quant_state", "JSON"],
        ),
        (&bnb, &[("a.SCB", "F32", &[8])], &["a.SCB", "a.weight"]),
        (
            &packed,
            &[
                ("a.weight_packed", "I32", &[8, 1]),
                ("a.weight_scale", "F16", &[8, 1]),
                ("a.weight_shape", "I64", &[2]),
            ],
            &["a.weight_packed", "[0, 0]"],
        ),
        (&sparse, &[], &["marlin-24"]),
        (
            &mx,
            &[("a_blocks", "U8", &[2, 4, 1, 16]), ("a_scales", "U8", &[2, 4, 2])],
            &["a_scales", "[2, 4, 2]"],
        ),
        (
            &nv,
            &[
                ("a.weight", "U8", &[2, 32]),
                ("a.weight_scale", "F8_E4M3", &[2, 3]),
            ],
            &["a.weight_scale", "[2, 3]"],
        ),
    ];
    for (config, tensors, words) in cases {
        let dir = model_dir();
        change_config(&dir, "quantization_config", (*config).clone());
        let (header, data) = header_of(tensors);
        write_safetensors(&dir.path().join("model.safetensors"), &header, data);
        expect_error(dir.path(), words);
    }
}

#[test]
fn wrong_hyperparameters() {
    let dir = model_dir();
    write_safetensors(&dir.path().join("model.safetensors"), &json!({}), 0);
    for (key, value, word) in [
        ("num_hidden_layers", json!("two"), "num_hidden_layers"),
        ("num_hidden_layers", json!(4_000_000_000u64), "num_hidden_layers"),
        ("num_hidden_layers", json!(-1), "num_hidden_layers"),
        ("hidden_size", json!(1.5), "hidden_size"),
        ("rms_norm_eps", json!("small"), "rms_norm_eps"),
        (
            "rope_scaling",
            json!({"rope_type": "llama3", "factor": "x"}),
            "factor",
        ),
    ] {
        let dir = model_dir();
        write_safetensors(&dir.path().join("model.safetensors"), &json!({}), 0);
        change_config(&dir, key, value);
        expect_error(dir.path(), &["config.json", word]);
    }
}

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

/// The configuration with a vocabulary.
fn model_dir_with_vocabulary() -> TempDir {
    let dir = model_dir();
    let bytes = quantsmith_convert::fuzzing::BYTE_LEVEL;
    std::fs::write(dir.path().join("tokenizer.json"), bytes).unwrap();
    change_config(&dir, "vocab_size", json!(5));
    dir
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

#[test]
fn unknown_tensor() {
    let header = json!({"model.layers.0.self_attn.z_proj.weight": f32_tensor(&[8], 0)});
    with_header(header, 32, &["z_proj", "llama", "LlamaForCausalLM"]);
    let header = json!({"model.layers.7.mlp.up_proj.weight": f32_tensor(&[8], 0)});
    with_header(
        header,
        32,
        &[
            "model.layers.7.mlp.up_proj.weight",
            "expected a block below 1",
            "found block 7",
        ],
    );
}

#[test]
fn wrong_shapes() {
    with_header(
        json!({"lm_head.weight": f32_tensor(&[0, 8], 0)}),
        0,
        &["lm_head.weight", "[0, 8]"],
    );
    with_header(
        json!({"lm_head.weight": f32_tensor(&[1, 1, 1, 2, 2], 0)}),
        16,
        &["lm_head.weight", "[1, 1, 1, 2, 2]"],
    );
    with_header(
        json!({"lm_head.weight": f32_tensor(&[], 0)}),
        4,
        &["lm_head.weight", "[]"],
    );
    let header = json!({"model.layers.0.self_attn.q_proj.weight": f32_tensor(&[6, 8], 0)});
    with_header(header, 192, &["q_proj", "2 heads", "found 6"]);
}

#[test]
fn missing_expert() {
    let dir = model_dir();
    change_config(&dir, "architectures", json!(["MixtralForCausalLM"]));
    change_config(&dir, "num_local_experts", json!(2));
    let name = "model.layers.0.block_sparse_moe.experts";
    let header = json!({format!("{name}.0.w1.weight"): f32_tensor(&[8, 8], 0)});
    let path = dir.path().join("model.safetensors");
    write_safetensors(&path, &header, 256);
    expect_error(dir.path(), &["layer 0", "expected 6 expert tensors", "found 1 "]);
    let header = json!({format!("{name}.2.w1.weight"): f32_tensor(&[8, 8], 0)});
    write_safetensors(&path, &header, 256);
    expect_error(dir.path(), &["expert 2", "below 2, the experts"]);
}

/// Of classes whose output matrix a GGUF file of a tied model holds, and of those of which it does not.
#[test]
fn an_output_matrix_that_is_not_the_tied_embeddings() {
    for (class, embeddings) in [
        ("LlamaForCausalLM", "model.embed_tokens.weight"),
        ("YoutuForCausalLM", "model.embed_tokens.weight"),
        ("MambaForCausalLM", "backbone.embeddings.weight"),
    ] {
        let dir = model_dir();
        change_config(&dir, "architectures", json!([class]));
        change_config(&dir, "tie_word_embeddings", true.into());
        let header = json!({
            embeddings: f32_tensor(&[4, 8], 0),
            "lm_head.weight": f32_tensor(&[4, 8], 128),
        });
        let path = dir.path().join("model.safetensors");
        write_safetensors(&path, &header, 256);
        // The same bytes: what is missing is something else.
        let error = HfSource::open(dir.path(), &HfOptions::default())
            .unwrap_err()
            .to_string();
        assert!(!error.contains("tie_word_embeddings"), "{class}: {error}");
        let mut bytes = std::fs::read(&path).unwrap();
        // In the third row of the second matrix.
        let at = bytes.len() - 64;
        bytes[at] = 1;
        std::fs::write(&path, bytes).unwrap();
        expect_error(
            dir.path(),
            &["tie_word_embeddings is true", "differs", "lm_head.weight"],
        );
        change_config(&dir, "tie_word_embeddings", false.into());
        let error = HfSource::open(dir.path(), &HfOptions::default())
            .unwrap_err()
            .to_string();
        assert!(!error.contains("tie_word_embeddings"), "{class}: {error}");
    }
}

#[test]
fn configurations_that_the_graph_does_not_compute() {
    let header = json!({
        "model.embed_tokens.weight": f32_tensor(&[4, 8], 0),
        "model.layers.0.self_attn.q_proj.bias": f32_tensor(&[8], 128),
    });
    for (key, value, words) in [
        (
            "hidden_act",
            json!("gelu"),
            ["hidden_act: expected silu", "found \"gelu\""],
        ),
        (
            "attention_bias",
            json!(false),
            ["attention_bias: expected none", "found some"],
        ),
        ("mlp_bias", json!(true), ["mlp_bias: expected some", "found none"]),
        (
            "rope_scaling",
            json!({"rope_type": "ntk", "factor": 2.0}),
            ["yarn", "found \"ntk\""],
        ),
    ] {
        let dir = model_dir();
        write_safetensors(&dir.path().join("model.safetensors"), &header, 160);
        change_config(&dir, key, value);
        expect_error(dir.path(), &words);
    }
}

/// Mixtral as Mistral publishes it. The stock converter has one class for all mixtures of this layout, which needs latent
/// attention, and stops at its first key.
#[test]
fn a_mixture_in_mistrals_own_layout_without_latent_attention() {
    let dir = tempfile::tempdir().unwrap();
    let params = json!({
        "dim": 64, "n_layers": 2, "head_dim": 16, "hidden_dim": 96, "n_heads": 4, "n_kv_heads": 2, "norm_eps": 1e-5,
        "vocab_size": 32, "moe": {"num_experts_per_tok": 2, "num_experts": 4},
    });
    write_json(&dir.path().join("params.json"), &params);
    expect_error(
        dir.path(),
        &[
            "params.json",
            "expected latent attention",
            "in transformers' layout",
        ],
    );
}

/// MLX has the axes of a convolution in another order.
#[test]
fn convolutions_that_mlx_wrote() {
    let dir = model_dir();
    let quantization = json!({"group_size": 64, "bits": 4});
    change_config(&dir, "quantization", quantization);
    let name = "model.layers.0.conv.conv.weight";
    let header = json!({name: f32_tensor(&[8, 3, 1], 0)});
    write_safetensors(&dir.path().join("model.safetensors"), &header, 96);
    expect_error(
        dir.path(),
        &[
            name,
            "MLX stores convolutions",
            "[8, 3, 1]",
            "convert the original model",
        ],
    );

    change_config(&dir, "architectures", json!(["Qwen2VLForConditionalGeneration"]));
    change_config(
        &dir,
        "vision_config",
        json!({"depth": 1, "hidden_size": 8, "num_heads": 1}),
    );
    let options = HfOptions::default().mmproj(true);
    let error = HfSource::open(dir.path(), &options).unwrap_err().to_string();
    let path = dir.path().display().to_string();
    assert!(
        error.contains(&path) && error.contains("MLX") && error.contains("image encoder"),
        "{error}"
    );
}
