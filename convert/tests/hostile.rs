//! Numbers from files that would cost more than the file: each an error, at once.

use std::path::Path;
use std::time::{Duration, Instant};

use gguf::{FilePlan, GgufModel, Metadata, TensorType, Value, Writer};
use quantsmith_convert::importance::{Importance, Selection};
use quantsmith_convert::quantize::{QuantizeOptions, plan};
use quantsmith_convert::recipe::{PRESETS, Preset};
use quantsmith_convert::source::hf::{HfOptions, HfSource};
use quantsmith_convert::source::{GgufSource, Source as _};
use serde_json::{Value as Json, json};

/// Time that a refusal may take.
const AT_ONCE: Duration = Duration::from_secs(2);

fn model_dir(config: &Json) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
    let header =
        json!({"model.norm.weight": {"dtype": "F32", "shape": [8], "data_offsets": [0, 32]}}).to_string();
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend([0; 32]);
    std::fs::write(dir.path().join("model.safetensors"), bytes).unwrap();
    dir
}

#[test]
fn layer_expert_and_head_counts_in_the_billions_in_a_configuration() {
    for class in [
        "LlamaForCausalLM",
        "Qwen2ForCausalLM",
        "MixtralForCausalLM",
        "Gemma2ForCausalLM",
        "Qwen2MoeForCausalLM",
    ] {
        for key in [
            "num_hidden_layers",
            "num_attention_heads",
            "num_key_value_heads",
            "hidden_size",
            "vocab_size",
            "num_local_experts",
            "num_experts",
            "head_dim",
            "max_position_embeddings",
        ] {
            for value in [
                json!(4_000_000_000u64),
                json!(u64::MAX),
                json!(-1),
                json!(0),
                json!(1e300),
                json!([1, 2]),
            ] {
                let mut config = json!({
                    "architectures": [class], "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1,
                    "num_attention_heads": 2, "vocab_size": 4, "num_experts": 2, "num_local_experts": 2,
                    "num_experts_per_tok": 1,
                });
                config[key] = value.clone();
                let dir = model_dir(&config);
                let started = Instant::now();
                // Whether it is refused here depends on the key; that it costs nothing does not.
                let _ = HfSource::open(dir.path(), &HfOptions::default());
                assert!(started.elapsed() < AT_ONCE, "{class}: {key} = {value}");
            }
        }
    }
}

fn gguf_with(dir: &Path, change: impl FnOnce(&mut Metadata)) -> std::path::PathBuf {
    let mut metadata = Metadata::new();
    metadata.set("general.architecture", "llama");
    metadata.set("llama.block_count", 2u32);
    change(&mut metadata);
    let tensors = [
        ("token_embd.weight", vec![256, 4]),
        ("blk.0.attn_v.weight", vec![256, 4]),
    ];
    let tensors = tensors.map(|(n, s)| (n.to_owned(), s, TensorType::F32));
    let plan = FilePlan::new(metadata, tensors).unwrap();
    let path = dir.join("m.gguf");
    let writer = Writer::create(&path, &plan).unwrap();
    writer.write_at(0, 0, &[0; 4096]).unwrap();
    writer.write_at(1, 0, &[0; 4096]).unwrap();
    writer.finish().unwrap();
    path
}

#[test]
fn block_count_in_the_billions_in_a_gguf() {
    let dir = tempfile::tempdir().unwrap();
    for key in [
        "llama.block_count",
        "llama.expert_count",
        "llama.nextn_predict_layers",
        "llama.attention.head_count",
    ] {
        for value in [
            Value::U32(u32::MAX),
            Value::U64(u64::MAX),
            Value::I32(-1),
            Value::F32(f32::NAN),
            Value::U32(0),
        ] {
            let path = gguf_with(dir.path(), |m| m.set(key, value.clone()));
            let source = GgufSource::open(&path).unwrap();
            for preset in PRESETS.iter().filter(|p| p.preset != Preset::Copy) {
                let started = Instant::now();
                let _ = plan(
                    &source,
                    &dir.path().join("o.gguf"),
                    &QuantizeOptions::new(preset.preset),
                    None,
                );
                assert!(started.elapsed() < AT_ONCE, "{key} = {value:?}");
            }
        }
    }
    let path = gguf_with(dir.path(), |m| m.set("llama.block_count", u32::MAX));
    let source = GgufSource::open(&path).unwrap();
    let options = QuantizeOptions::new(Preset::Q4_K_M);
    let message = plan(&source, &dir.path().join("o.gguf"), &options, None)
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("llama.block_count") && message.contains("4294967295"),
        "{message}"
    );
}

#[test]
fn importance_counts_that_divide_by_zero_or_are_no_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("i.gguf");
    let with_count = |counts: &[f32], sums: f32| {
        let mut metadata = Metadata::new();
        metadata.set("imatrix.datasets", vec!["text"]);
        metadata.set("imatrix.chunk_count", 1u32);
        metadata.set("imatrix.chunk_size", 512u32);
        let tensors = [
            ("a.weight.in_sum2", vec![4, counts.len() as u64]),
            ("a.weight.counts", vec![1, counts.len() as u64]),
        ];
        let plan = FilePlan::new(metadata, tensors.map(|(n, s)| (n.to_owned(), s, TensorType::F32))).unwrap();
        let writer = Writer::create(&path, &plan).unwrap();
        let bytes: Vec<u8> = (0..4 * counts.len()).flat_map(|_| sums.to_le_bytes()).collect();
        writer.write_at(0, 0, &bytes).unwrap();
        let bytes: Vec<u8> = counts.iter().flat_map(|c| c.to_le_bytes()).collect();
        writer.write_at(1, 0, &bytes).unwrap();
        writer.finish().unwrap();
        Importance::load(&path, &Selection::All)
    };
    // No token and a negative count mean no knowledge: importance 1, as llama-quantize has it.
    for count in [0.0, -0.0, -5.0, f32::NAN, f32::NEG_INFINITY] {
        let importance = with_count(&[count], 3.0).unwrap().unwrap();
        assert_eq!(importance.of("a.weight").unwrap()[..], [1.0; 4], "{count}");
    }
    let importance = with_count(&[0.0, 2.0], 3.0).unwrap().unwrap();
    assert_eq!(
        importance.of("a.weight").unwrap()[..],
        [1.0, 1.0, 1.0, 1.0, 1.5, 1.5, 1.5, 1.5]
    );
    for sums in [f32::NAN, f32::INFINITY] {
        let message = with_count(&[2.0], sums).unwrap_err().to_string();
        assert!(
            message.contains("i.gguf") && message.contains("a.weight") && message.contains("value 0"),
            "{message}"
        );
    }
}

#[test]
fn a_safetensors_file_that_shrinks_or_vanishes_while_read_is_an_error() {
    let config = json!({
        "architectures": ["LlamaForCausalLM"], "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1,
        "num_attention_heads": 2, "vocab_size": 262,
    });
    let dir = model_dir(&config);
    let mut tokens: serde_json::Map<String, Json> = serde_json::Map::new();
    for (i, t) in ["<unk>", "<s>", "</s>"].into_iter().enumerate() {
        tokens.insert(t.into(), json!(i));
    }
    for b in 0..256 {
        tokens.insert(format!("<0x{b:02X}>"), json!(3 + b));
    }
    tokens.insert("\u{2581}".into(), json!(259));
    tokens.insert("a".into(), json!(260));
    tokens.insert("\u{2581}a".into(), json!(261));
    let tokenizer = json!({
        "version": "1.0", "added_tokens": [], "normalizer": null, "pre_tokenizer": null, "post_processor": null,
        "decoder": {"type": "Sequence", "decoders": [{"type": "ByteFallback"}]},
        "model": {"type": "BPE", "byte_fallback": true, "unk_token": "<unk>", "vocab": tokens, "merges": ["\u{2581} a"]},
    });
    std::fs::write(dir.path().join("tokenizer.json"), tokenizer.to_string()).unwrap();
    let source = HfSource::open(dir.path(), &HfOptions::default()).unwrap();
    let weights = dir.path().join("model.safetensors");
    let mut row = [0.0; 8];
    source.read_rows(0, 0..1, &mut row).unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(&weights).unwrap();
    let length = file.metadata().unwrap().len();
    file.set_len(length - 4).unwrap();
    let message = source.read_rows(0, 0..1, &mut row).unwrap_err().to_string();
    assert!(message.contains("model.safetensors"), "{message}");
    // A file that is gone by name is still the one that was opened.
    file.set_len(length).unwrap();
    std::fs::remove_file(&weights).unwrap();
    let _ = source.read_rows(0, 0..1, &mut row);
    assert!(GgufModel::open(&weights).is_err());
}
