//! `quantsmith convert` as a user meets it.

use crate::support;

use serde_json::{Value, json};
use support::directory::{Tensors, configure, model, ramp};
use support::{has, quantsmith, text};

#[test]
fn converts_and_names_the_file() {
    let dir = model(ramp);
    let out = dir.path().join("out-{ftype}.gguf");
    quantsmith(&["convert", text(dir.path()), text(&out), "--outtype", "q8_0"])
        .assert()
        .success();
    let file = gguf::GgufFile::open(&dir.path().join("out-q8_0.gguf")).unwrap();
    assert_eq!(file.metadata().get_u64("general.file_type"), Some(7));
    quantsmith(&[
        "convert",
        text(dir.path()),
        "--model-name",
        "Some Name",
        "--outtype",
        "f32",
    ])
    .assert()
    .success();
    let made = std::fs::read_dir(dir.path())
        .unwrap()
        .filter_map(|f| f.unwrap().file_name().into_string().ok());
    let made: Vec<String> = made.filter(|n| n.ends_with("-F32.gguf")).collect();
    assert_eq!(made.len(), 1, "{made:?}");
    assert!(made[0].starts_with("Some-Name-"), "{made:?}");
}

#[test]
fn presets_equal_converting_and_then_quantizing() {
    let dir = model(ramp);
    let path = |name: &str| dir.path().join(name);
    for preset in ["Q4_0", "Q5_1", "IQ4_NL"] {
        let (f32_file, two, one) = (path("f32.gguf"), path("two.gguf"), path("one.gguf"));
        quantsmith(&["convert", text(dir.path()), text(&f32_file), "--outtype", "f32"])
            .assert()
            .success();
        quantsmith(&["quantize", text(&f32_file), text(&two), preset])
            .assert()
            .success();
        quantsmith(&["convert", text(dir.path()), text(&one), "--outtype", preset])
            .assert()
            .success();
        assert!(
            std::fs::read(&one).unwrap() == std::fs::read(&two).unwrap(),
            "{preset}"
        );
    }
}

#[test]
fn kept_blocks_are_quantized_again_only_with_leave() {
    let dir = model(ramp);
    // The feed-forward matrices as MXFP4: pairs of codes, and a power of two for every 32 of them.
    let path = dir.path().join("model.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let (header, data) = bytes[8..].split_at(length);
    let header: serde_json::Map<String, Value> = serde_json::from_slice(header).unwrap();
    let mut tensors = Tensors::default();
    for (name, entry) in &header {
        let shape: Vec<u64> = serde_json::from_value(entry["shape"].clone()).unwrap();
        let range = [0, 1].map(|i| entry["data_offsets"][i].as_u64().unwrap() as usize);
        if name.contains("mlp") {
            let codes: Vec<u8> = (0..32 * 16).map(|i| (i * 37 % 251) as u8).collect();
            tensors.add(&format!("{name}_packed"), "U8", &[32, 16], &codes);
            tensors.add(&format!("{name}_scale"), "U8", &[32, 1], &[124; 32]);
        } else {
            tensors.add(name, "F32", &shape, &data[range[0]..range[1]]);
        }
    }
    tensors.write(&path);
    let weights = json!({"num_bits": 4, "type": "float", "strategy": "group", "group_size": 32});
    let group = json!({"targets": ["Linear"], "weights": weights});
    let config = json!({
        "quant_method": "compressed-tensors", "format": "mxfp4-pack-quantized", "config_groups": {"group_0": group},
    });
    configure(dir.path(), "quantization_config", config);

    let file = |name: &str| dir.path().join(name);
    let (whole, two, one) = (file("f32.gguf"), file("two.gguf"), file("one.gguf"));
    quantsmith(&["convert", text(dir.path()), text(&whole), "--outtype", "f32"])
        .assert()
        .success();
    let kept = gguf::GgufFile::open(&whole).unwrap();
    let kept = kept.tensors().iter().filter(|t| t.ty == gguf::TensorType::MXFP4);
    assert_eq!(kept.count(), 3);
    for preset in ["Q4_0", "Q8_0", "F16"] {
        let refused = [
            "convert",
            text(dir.path()),
            text(&one),
            "--outtype",
            preset,
            "--pure",
        ];
        let run = quantsmith(&refused).assert().code(1);
        let message = String::from_utf8(run.get_output().stderr.clone()).unwrap();
        has(&message, &["--allow-requantize"]);
        quantsmith(&[&refused[..], &["--allow-requantize"]].concat())
            .assert()
            .success();
        quantsmith(&[
            "quantize",
            "--allow-requantize",
            "--pure",
            text(&whole),
            text(&two),
            preset,
        ])
        .assert()
        .success();
        let equal = std::fs::read(&one).unwrap() == std::fs::read(&two).unwrap();
        assert!(equal, "{preset}");
        std::fs::remove_file(&one).unwrap();
    }
}

#[test]
fn a_weight_that_is_not_finite_stops_the_run() {
    for (bad, word) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf")] {
        let dir = model(|name, i| {
            if name.ends_with("mlp.up_proj.weight") && i == 67 {
                bad
            } else {
                ramp(name, i)
            }
        });
        let out = dir.path().join("out.gguf");
        for outtype in ["f16", "q8_0", "Q4_0"] {
            let run = quantsmith(&["convert", text(dir.path()), text(&out), "--outtype", outtype])
                .assert()
                .code(1);
            let message = String::from_utf8(run.get_output().stderr.clone()).unwrap();
            for part in ["blk.0.ffn_up.weight", "row 2", "column 3", word] {
                assert!(message.contains(part), "{part:?} is not in {message:?}");
            }
            assert!(!out.exists());
        }
    }
}

#[test]
fn wrong_usage_and_lists() {
    let dir = model(ramp);
    quantsmith(&["convert"]).assert().code(2);
    let run = quantsmith(&["convert", text(dir.path()), "--outtype", "q9"])
        .assert()
        .code(2);
    let message = String::from_utf8(run.get_output().stderr.clone()).unwrap();
    has(&message, &["q9", "Q4_K_M"]);
    let run = quantsmith(&["convert", text(dir.path()), "--pre-tokenizer", "gpt2"])
        .assert()
        .code(2);
    let message = String::from_utf8(run.get_output().stderr.clone()).unwrap();
    has(&message, &["'gpt2'", "gpt-2", "llama-bpe"]);
    let run = quantsmith(&["convert", "--list"]).assert().success();
    let list = String::from_utf8(run.get_output().stdout.clone()).unwrap();
    has(&list, &["MistralForCausalLM", "qwen3"]);
}

#[test]
fn dry_run_tells_the_size_without_weights() {
    let dir = model(ramp);
    let out = dir.path().join("out.gguf");
    let size = || {
        let run = quantsmith(&[
            "convert",
            text(dir.path()),
            text(&out),
            "--outtype",
            "f16",
            "--dry-run",
            "--json",
        ])
        .assert()
        .success();
        let report: Value = serde_json::from_slice(&run.get_output().stdout).unwrap();
        report["size_bytes"].as_u64().unwrap()
    };
    let planned = size();
    assert!(!out.exists());
    quantsmith(&["convert", text(dir.path()), text(&out), "--outtype", "f16"])
        .assert()
        .success();
    assert_eq!(std::fs::metadata(&out).unwrap().len(), planned);
    let weights = std::fs::OpenOptions::new()
        .write(true)
        .open(dir.path().join("model.safetensors"))
        .unwrap();
    weights
        .set_len(weights.metadata().unwrap().len() - 20_000)
        .unwrap();
    assert_eq!(size(), planned);
}

/// Flags of the stock converter that change nothing here are taken from its users' scripts, and it is said.
#[test]
fn flags_without_effect_are_accepted_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out.gguf");
    let args = [
        "convert",
        support::DEMO,
        text(&out),
        "--dry-run",
        "--no-lazy",
        "--use-temp-file",
    ];
    let done = quantsmith(&args).output().unwrap();
    assert!(done.status.success());
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    for flag in ["--no-lazy", "--use-temp-file"] {
        has(&said, &[&format!("{flag} has no effect")]);
    }
}

/// A printed architecture converts the demo model to the same bytes, and verify takes it too.
#[test]
fn a_printed_architecture_gives_the_same_bytes() {
    let dir = model(ramp);
    let path = |name: &str| dir.path().join(name);
    let printed = support::succeeds(&["convert", "--print-arch", "llama"]);
    std::fs::write(path("llama.toml"), &printed).unwrap();
    let (plain, described) = (path("plain.gguf"), path("described.gguf"));
    support::succeeds(&["convert", text(dir.path()), text(&plain), "--outtype", "f32"]);
    let file = path("llama.toml");
    support::succeeds(&[
        "convert",
        text(dir.path()),
        text(&described),
        "--outtype",
        "f32",
        "--arch-file",
        text(&file),
    ]);
    assert!(std::fs::read(&plain).unwrap() == std::fs::read(&described).unwrap());
    support::succeeds(&[
        "verify",
        text(&described),
        "--source",
        text(dir.path()),
        "--arch-file",
        text(&file),
    ]);
    support::fails(
        &["convert", "--print-arch", "deepseek2"],
        &["found \"deepseek2\"", "llama, qwen2, qwen3, gemma"],
    );
    std::fs::write(&file, printed.replace("permute_query", "permute")).unwrap();
    support::fails(
        &[
            "convert",
            text(dir.path()),
            "--arch-file",
            text(&file),
            "--dry-run",
        ],
        &["llama.toml", "line", "found \"permute\"", "permute_query"],
    );
}

#[test]
fn the_stock_converters_further_flags() {
    let dir = model(ramp);
    let out = dir.path().join("out.gguf");
    let convert = |more: &[&str]| {
        let given = [
            &["convert", text(dir.path()), text(&out), "--outtype", "f32"],
            more,
        ]
        .concat();
        support::succeeds(&given);
        gguf::GgufFile::open(&out).unwrap()
    };
    let named = convert(&["--fuse-qkv", "--verbose"]);
    assert!(named.tensors().iter().any(|t| t.name == "blk.0.attn_qkv.weight"));
    assert!(!named.tensors().iter().any(|t| t.name.contains("attn_q.")));
    // Nothing is FP8, nothing has experts.
    let plain = convert(&[]);
    let same = convert(&["--fp8-as-q8", "--fuse-gate-up-exps"]);
    assert_eq!(plain.tensors(), same.tensors());
    let preset = [
        "convert",
        text(dir.path()),
        text(&out),
        "--outtype",
        "q4_0",
        "--fp8-as-q8",
    ];
    support::fails(&preset, &["--fp8-as-q8", "expected one of both"]);
    // A model of another kind needs no target.
    convert(&["--target-model-dir", text(dir.path())]);
}
