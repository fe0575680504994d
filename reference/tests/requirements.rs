//! Requirements of models: the check of a declaration against the graphs of the forward pass.

use std::path::{Path, PathBuf};

use gguf::{GgufModel, Metadata, TensorInfo};
use quantsmith_reference::requirements::{Completeness, Shortfall, check};

fn fixtures() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/forward");
    let mut all: Vec<PathBuf> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "gguf"))
        .collect();
    all.sort();
    all
}

fn declared(path: &Path) -> (Metadata, Vec<TensorInfo>) {
    let model = GgufModel::open(path).unwrap();
    let tensors = model.tensors().map(|t| t.info.clone()).collect();
    // The fixtures have no vocabulary.
    let mut metadata = model.metadata().clone();
    let key = format!("{}.vocab_size", metadata.architecture());
    metadata.set("tokenizer.ggml.model", "none");
    metadata.set(key, 48u32);
    metadata.set("tokenizer.ggml.token_type_count", 2u32);
    (metadata, tensors)
}

fn shortfalls(metadata: &Metadata, tensors: &[TensorInfo]) -> Vec<Shortfall> {
    match check(metadata, tensors) {
        Completeness::Checked(found) => found,
        other => panic!("{other:?}"),
    }
}

#[test]
fn fixtures_are_whole() {
    for path in fixtures() {
        let (metadata, tensors) = declared(&path);
        let (name, q_lora_rank) = ("deepseek2", "deepseek2.attention.q_lora_rank");
        let found = shortfalls(&metadata, &tensors);
        if metadata.architecture() == name && metadata.get(q_lora_rank).is_none() {
            // llama.cpp reads queries that are not compressed in certain sizes alone.
            assert_eq!(found.len(), 1, "{found:?}");
            assert_eq!(found[0].subject(), q_lora_rank);
            continue;
        }
        assert_eq!(found, [], "{}", path.display());
    }
}

/// Changes of a fixture, and what is then named.
fn named(fixture: &str, change: impl FnOnce(&mut Metadata, &mut Vec<TensorInfo>)) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/forward")
        .join(format!("{fixture}.gguf"));
    let (mut metadata, mut tensors) = declared(&path);
    change(&mut metadata, &mut tensors);
    let found = shortfalls(&metadata, &tensors);
    found.iter().map(|s| s.subject().to_owned()).collect()
}

/// A tensor with a bias or a scale that llama.cpp does not look for is one more than it counts.
#[test]
fn biases_and_scales_are_those_of_the_architecture() {
    let beside = |fixture: &str, added: &str| {
        named(fixture, |_, tensors| {
            let (base, _) = added.rsplit_once('.').unwrap();
            let weight = tensors.iter().find(|t| t.name == format!("{base}.weight"));
            let rows = weight
                .unwrap_or_else(|| panic!("{fixture} has no {base}"))
                .shape
                .last();
            let shape = match added.ends_with("scale") {
                true => vec![1],
                false => vec![*rows.unwrap()],
            };
            tensors.push(TensorInfo {
                name: added.to_owned(),
                shape,
                ty: gguf::TensorType::F32,
                offset: 0,
            });
        })
    };
    for (fixture, added) in [
        ("llama", "blk.0.ffn_norm.bias"),
        ("llama", "output_norm.bias"),
        ("llama", "output.bias"),
        ("llama", "output.scale"),
        ("llama", "blk.0.ffn_norm.scale"),
        ("qwen2", "blk.1.ffn_down.bias"),
        ("mixtral", "blk.0.ffn_gate_inp.bias"),
        ("gemma3", "blk.0.attn_q_norm.bias"),
        ("mamba2", "blk.0.ssm_in.bias"),
        ("lfm2", "blk.0.shortconv.in_proj.scale"),
        ("deepseek3", "blk.0.attn_q_a.scale"),
    ] {
        assert_eq!(beside(fixture, added), [added], "{fixture}");
    }
    for (fixture, added) in [
        ("llama", "blk.0.ffn_down.scale"),
        ("mamba2", "blk.0.ssm_in.scale"),
    ] {
        assert_eq!(beside(fixture, added), [""; 0], "{fixture} {added}");
    }
}

/// Keys of whatever architecture have the type that llama.cpp reads them as.
#[test]
fn keys_have_their_types() {
    for (key, value) in [
        ("attention.scale", gguf::Value::F64(1.0)),
        ("attention.sliding_window", gguf::Value::U64(4)),
        ("token_shift_count", gguf::Value::I32(2)),
        ("kda.safe_gate", gguf::Value::U32(1)),
        ("hrm.prefix_lm", gguf::Value::U32(1)),
        ("hyper_connection.epsilon", gguf::Value::F64(1e-5)),
        (
            "swiglu_clamp_exp",
            gguf::Value::Array(gguf::Array::F32(vec![1.0])),
        ),
        (
            "tokenizer.ggml.suppress_tokens",
            gguf::Value::Array(gguf::Array::F32(vec![1.0])),
        ),
    ] {
        let full = match key.starts_with("tokenizer.") {
            true => key.to_owned(),
            false => format!("llama.{key}"),
        };
        let found = named("llama", |metadata, _| metadata.set(full.clone(), value));
        assert_eq!(found, [full]);
    }
}
