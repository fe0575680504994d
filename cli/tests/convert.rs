//! `quantsmith convert` as a user meets it.

use std::path::Path;

use assert_cmd::Command;
use serde_json::{Value, json};
use tempfile::TempDir;

const VOCAB: u64 = 259 + 3;

/// A Llama of one block, with a byte-fallback tokenizer and F32 weights made by `weight`.
fn model(weight: impl Fn(&str, usize) -> f32) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, value: Value| std::fs::write(dir.path().join(name), value.to_string()).unwrap();
    write(
        "config.json",
        json!({
            "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 32,
            "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": VOCAB,
        }),
    );
    let mut tokens = vec!["<unk>".to_owned(), "<s>".into(), "</s>".into()];
    tokens.extend((0..256).map(|b| format!("<0x{b:02X}>")));
    tokens.extend(["▁".to_owned(), "a".into(), "▁a".into()]);
    let vocab: Value = tokens
        .iter()
        .enumerate()
        .map(|(i, t)| (t.clone(), json!(i)))
        .collect::<serde_json::Map<_, _>>()
        .into();
    write(
        "tokenizer.json",
        json!({
            "version": "1.0", "added_tokens": [], "normalizer": null, "pre_tokenizer": null,
            "post_processor": null, "decoder": {"type": "Sequence", "decoders": [{"type": "ByteFallback"}]},
            "model": {"type": "BPE", "byte_fallback": true, "unk_token": "<unk>", "vocab": vocab, "merges": ["▁ a"]},
        }),
    );
    write(
        "tokenizer_config.json",
        json!({"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}),
    );

    let mut shapes = vec![
        ("model.embed_tokens.weight".to_owned(), vec![VOCAB, 32]),
        ("model.norm.weight".into(), vec![32]),
    ];
    for part in ["input_layernorm", "post_attention_layernorm"] {
        shapes.push((format!("model.layers.0.{part}.weight"), vec![32]));
    }
    for part in [
        "self_attn.q",
        "self_attn.k",
        "self_attn.v",
        "self_attn.o",
        "mlp.gate",
        "mlp.up",
        "mlp.down",
    ] {
        shapes.push((format!("model.layers.0.{part}_proj.weight"), vec![32, 32]));
    }
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, shape) in shapes {
        let begin = data.len();
        for i in 0..shape.iter().product::<u64>() as usize {
            data.extend(weight(&name, i).to_le_bytes());
        }
        header.insert(
            name,
            json!({"dtype": "F32", "shape": shape, "data_offsets": [begin, data.len()]}),
        );
    }
    let header = Value::Object(header).to_string();
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    std::fs::write(dir.path().join("model.safetensors"), bytes).unwrap();
    dir
}

fn plain(_: &str, i: usize) -> f32 {
    ((i * 37) % 101) as f32 / 64.0 - 0.75
}

fn quantsmith(args: &[&str]) -> Command {
    let mut command = Command::cargo_bin("quantsmith").unwrap();
    command.args(args);
    command
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn converts_and_names_the_file() {
    let dir = model(plain);
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
    let dir = model(plain);
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
fn a_weight_that_is_not_finite_stops_the_run() {
    for (bad, word) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf")] {
        let dir = model(|name, i| {
            if name.ends_with("mlp.up_proj.weight") && i == 67 {
                bad
            } else {
                plain(name, i)
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
    let dir = model(plain);
    quantsmith(&["convert"]).assert().code(2);
    let run = quantsmith(&["convert", text(dir.path()), "--outtype", "q9"])
        .assert()
        .code(2);
    let message = String::from_utf8(run.get_output().stderr.clone()).unwrap();
    assert!(
        message.contains("q9") && message.contains("Q4_K_M"),
        "{message:?}"
    );
    let run = quantsmith(&["convert", "--list"]).assert().success();
    let list = String::from_utf8(run.get_output().stdout.clone()).unwrap();
    assert!(
        list.contains("MistralForCausalLM") && list.contains("qwen3"),
        "{list}"
    );
}

#[test]
fn dry_run_tells_the_size_without_weights() {
    let dir = model(plain);
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
