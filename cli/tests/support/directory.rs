//! A tiny Hugging Face directory.

use std::path::Path;

use serde_json::{Map, Value, json};
use tempfile::TempDir;

pub(crate) const VOCAB: u64 = 259 + 3;

/// A Llama of one block, with a byte-fallback tokenizer and F32 weights made by `weight`.
pub(crate) fn model(weight: impl Fn(&str, usize) -> f32) -> TempDir {
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
    let mut tensors = Tensors::default();
    for (name, shape) in shapes {
        let values: Vec<u8> = (0..shape.iter().product::<u64>() as usize)
            .flat_map(|i| weight(&name, i).to_le_bytes())
            .collect();
        tensors.add(&name, "F32", &shape, &values);
    }
    tensors.write(&dir.path().join("model.safetensors"));
    dir
}

/// Weights that are none of the formats' levels.
pub(crate) fn ramp(_: &str, i: usize) -> f32 {
    ((i * 37) % 101) as f32 / 64.0 - 0.75
}

/// A safetensors file in the making.
#[derive(Default)]
pub(crate) struct Tensors {
    header: Map<String, Value>,
    data: Vec<u8>,
}

impl Tensors {
    pub(crate) fn add(&mut self, name: &str, dtype: &str, shape: &[u64], bytes: &[u8]) {
        let begin = self.data.len();
        self.data.extend(bytes);
        let entry = json!({"dtype": dtype, "shape": shape, "data_offsets": [begin, self.data.len()]});
        self.header.insert(name.to_owned(), entry);
    }

    pub(crate) fn write(self, path: &Path) {
        let header = Value::Object(self.header).to_string();
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.extend(self.data);
        std::fs::write(path, bytes).unwrap();
    }
}

/// Sets a key of the directory's `config.json`.
pub(crate) fn configure(dir: &Path, key: &str, value: Value) {
    let path = dir.join("config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    config[key] = value;
    std::fs::write(path, config.to_string()).unwrap();
}
