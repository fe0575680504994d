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

/// Keys inside which a text model's configuration is.
const TEXTS: [&str; 6] = [
    "language_config",
    "thinker_config",
    "talker_config",
    "llm_config",
    "lm_config",
    "text_config",
];

/// The keys of a rotation that are no scaling.
const KEPT: [&str; 4] = [
    "rope_theta",
    "mrope_section",
    "mrope_interleaved",
    "partial_rotary_factor",
];

/// A scaling of the text model's rotation with these names of its kind.
fn scale(path: &Path, kinds: Value) {
    edit_json(path, |config| {
        let mut text = config;
        for key in TEXTS {
            if text[key].as_object().is_some_and(|inner| !inner.is_empty()) {
                text = &mut text[key];
            }
        }
        let key = match text.get("rope_parameters") {
            Some(_) => "rope_parameters",
            None => "rope_scaling",
        };
        let mut scaling = json!({});
        for (name, value) in text[key].as_object().into_iter().flatten() {
            if KEPT.contains(&name.as_str()) {
                scaling[name] = value.clone();
            }
        }
        scaling["factor"] = json!(4.0);
        scaling["original_max_position_embeddings"] = json!(64);
        for (name, kind) in kinds.as_object().unwrap() {
            scaling[name] = kind.clone();
        }
        text[key] = scaling;
    });
}

#[test]
fn variants_are_the_stock_converters() {
    compare_digests(DIGESTS, 170, |[_, variant, _], dir, out| {
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
            "older-null" => scale(&config, json!({"type": null, "rope_type": "linear"})),
            "newer-null" => scale(&config, json!({"type": "linear", "rope_type": null})),
            "older-alone" => scale(&config, json!({"type": "linear"})),
            "two-kinds" => scale(&config, json!({"type": "linear", "rope_type": "yarn"})),
            other => panic!("{other}"),
        }
        convert(dir, out, false).map(|_| Made::File)
    });
}
