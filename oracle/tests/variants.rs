//! Models as other publishers may write them against the stock converter's files: templates, heads, types and files.

use std::path::Path;

use half::f16;
use oracle::architectures::{Made, Safetensors, compare_digests, convert, edit_json};
use serde_json::{Value, json};

/// `py/variant_digests.py` makes it.
const DIGESTS: &str = include_str!("../digests/variants.txt");

fn change(path: &Path, key: &str, value: Value) {
    edit_json(path, |file| file[key] = value);
}

/// Writes tensors anew: name, type, shape, bytes.
fn change_weights(dir: &Path, changed: impl FnOnce(&Safetensors) -> Safetensors) {
    let path = dir.join("model.safetensors");
    changed(&Safetensors::read(&path)).write(&path);
}

fn half(dir: &Path) {
    change_weights(dir, |weights| {
        let mut halves = Safetensors::default();
        for name in weights.names() {
            let (_, shape, bytes) = weights.tensor(name).unwrap();
            let values = bytes.chunks_exact(4).flat_map(|b| {
                let value = f32::from_le_bytes(b.try_into().unwrap());
                f16::from_f32(value).to_le_bytes()
            });
            halves.add(name, "F16", &shape, values);
        }
        halves
    });
}

const HEAD: &str = "lm_head.weight";

fn head(dir: &Path, is_tied: bool) {
    change_weights(dir, |weights| {
        let embeddings = weights.names().find(|name| name.ends_with("embed_tokens.weight"));
        let names = weights.names().filter(|name| *name != HEAD);
        let mut with_head = Safetensors::default();
        for name in names.chain([HEAD]) {
            let stored = if name == HEAD { embeddings.unwrap() } else { name };
            let (dtype, shape, bytes) = weights.tensor(stored).unwrap();
            with_head.add(name, dtype, &shape, bytes.iter().copied());
        }
        with_head
    });
    change(&dir.join("config.json"), "tie_word_embeddings", json!(is_tied));
}

/// Two files with every other tensor, in the order of their names.
fn shards(dir: &Path) {
    let weights = Safetensors::read(&dir.join("model.safetensors"));
    let mut names: Vec<&str> = weights.names().collect();
    names.sort_unstable();
    weights.write_shards(dir, names.into_iter());
}

#[test]
fn variants_are_the_stock_converters() {
    compare_digests(DIGESTS, 15, |[_, variant, _], dir, out| {
        let (config, tokenizer) = (dir.join("config.json"), dir.join("tokenizer_config.json"));
        let template = |value| change(&tokenizer, "chat_template", value);
        match variant {
            "half" => half(dir),
            "head" => head(dir, false),
            "same-head" => head(dir, true),
            "sharded" => shards(dir),
            "linear" => change(&config, "rope_scaling", json!({"type": "linear", "factor": 4.0})),
            "template" => template(json!("{{ messages }}")),
            "templates" => template(json!([
                {"name": "default", "template": "{{ a }}"},
                {"name": "tool_use", "template": "{{ b }}"},
            ])),
            other => panic!("{other}"),
        }
        convert(dir, out, false).map(|_| Made::File)
    });
}
