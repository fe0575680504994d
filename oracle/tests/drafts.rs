//! What draft models expect on the states of their targets, beside stock llama.cpp's logits of them.

use std::path::{Path, PathBuf};

use oracle::forward::{apart, of_windows};
use oracle::{architectures, python};
use reference::{Draft, Model};
use serde_json::{Map, Value, json};

/// Fixtures of drafts, and the width of the target: that of the draft where this has no embeddings.
const EAGLE3: [(&str, u64); 6] = [
    ("eagle3", 64),
    ("eagle3-llama", 64),
    ("eagle3-speculator", 64),
    ("eagle3-draft", 80),
    ("eagle3-plain", 64),
    (WITHOUT_HEAD, 64),
];
/// The first of them without its own tokens.
const WITHOUT_HEAD: &str = "eagle3 without an output matrix";
/// How far our logits may be from stock's, relative to their root mean square.
const BOUND: f64 = 1e-4;

/// Windows of different lengths, one of them of the fewest tokens that a draft expects something after.
fn windows() -> Vec<Vec<u32>> {
    [40, 2, 23]
        .iter()
        .enumerate()
        .map(|(first, &len)| {
            (0..len)
                .map(|i| (i * 29 + i * i * 7 + 3 * first as u32) % 300)
                .collect()
        })
        .collect()
}

/// The target that a draft's fixture describes, of this width and with weights.
fn target(draft: &Value, width: u64, folder: &Path) -> PathBuf {
    let mut config = draft["target"].clone();
    if let Some(text) = config.get("text_config") {
        let mut text = text.clone();
        text["architectures"] = json!(["LlamaForCausalLM"]);
        text["model_type"] = "llama".into();
        config = text;
    }
    config["hidden_size"] = width.into();
    let size = |key: &str| config[key].as_u64().unwrap();
    let (inner, heads) = (size("intermediate_size"), size("num_attention_heads"));
    let head = config["head_dim"].as_u64().unwrap_or(width / heads);
    let (queries, keys) = (heads * head, size("num_key_value_heads") * head);
    let mut tensors = Map::new();
    let mut add = |name: String, shape: &[u64]| tensors.insert(name, json!(shape));
    for name in ["model.embed_tokens", "lm_head"] {
        add(format!("{name}.weight"), &[size("vocab_size"), width]);
    }
    add("model.norm.weight".to_owned(), &[width]);
    for layer in 0..size("num_hidden_layers") {
        for (name, shape) in [
            ("self_attn.q_proj", &[queries, width][..]),
            ("self_attn.k_proj", &[keys, width]),
            ("self_attn.v_proj", &[keys, width]),
            ("self_attn.o_proj", &[width, queries]),
            ("mlp.gate_proj", &[inner, width]),
            ("mlp.up_proj", &[inner, width]),
            ("mlp.down_proj", &[width, inner]),
            ("input_layernorm", &[width]),
            ("post_attention_layernorm", &[width]),
        ] {
            add(format!("model.layers.{layer}.{name}.weight"), shape);
        }
        if config["model_type"] == "qwen3" {
            for name in ["q_norm", "k_norm"] {
                add(format!("model.layers.{layer}.self_attn.{name}.weight"), &[head]);
            }
        }
    }
    let fixture = json!({"config": config, "tokenizer": draft["tokenizer"], "tensors": tensors});
    let dir = folder.join("of").join("model");
    std::fs::create_dir_all(&dir).unwrap();
    architectures::make(&fixture, &dir);
    let file = folder.join("target.gguf");
    architectures::convert(&dir, &file, false).unwrap();
    file
}

/// A draft, changed for a target of this width, and that target.
fn eagle3(name: &str, width: u64, folder: &Path) -> (PathBuf, PathBuf) {
    let mut fixture = architectures::fixture(name.split(' ').next().unwrap());
    if name == WITHOUT_HEAD {
        fixture["config"]["draft_vocab_size"] = fixture["config"]["vocab_size"].clone();
        let tensors = fixture["tensors"].as_object_mut().unwrap();
        tensors.retain(|name, _| !["lm_head.weight", "d2t", "t2d"].contains(&name.as_str()));
    }
    let hidden = fixture["tensors"]["fc.weight"][0].as_u64().unwrap();
    fixture["tensors"]["fc.weight"] = json!([hidden, 3 * width]);
    if fixture["config"]["target_hidden_size"].is_u64() {
        fixture["config"]["target_hidden_size"] = width.into();
    }
    if fixture["tensors"]["input_norm.weight"].is_array() {
        fixture["tensors"]["input_norm.weight"] = json!([3 * width]);
    }
    let at = match fixture["target"].get("text_config") {
        Some(_) => &mut fixture["target"]["text_config"],
        None => &mut fixture["target"],
    };
    at["hidden_size"] = width.into();
    let tokens = at["vocab_size"].clone();
    if let Some(inner) = fixture["config"].get_mut("transformer_layer_config") {
        inner["vocab_size"] = tokens;
    }
    let target = target(&fixture, width, folder);
    let dir = folder.join("draft").join("model");
    std::fs::create_dir_all(&dir).unwrap();
    architectures::make(&fixture, &dir);
    let file = folder.join("draft.gguf");
    architectures::convert(&dir, &file, false).unwrap();
    (file, target)
}

#[test]
fn eagle3_expects_what_stock_expects() {
    if python().is_none() {
        return;
    }
    let mut wrong = Vec::new();
    for (name, width) in EAGLE3 {
        let dir = tempfile::tempdir().unwrap();
        let (draft, target) = eagle3(name, width, dir.path());
        let windows = windows();
        let more = [target.to_str().unwrap()];
        let (expected, _) = of_windows("stock_draft.py", (dir.path(), &draft), &windows, &more).unwrap();
        let (draft, target) = (Draft::load(&draft).unwrap(), Model::load(&target).unwrap());
        let views: Vec<&[u32]> = windows.iter().map(Vec::as_slice).collect();
        let states = target.states_for(draft.layers(), &views).unwrap();
        let got = draft.forward(&states).unwrap();
        assert_eq!(got.rows, windows.iter().map(|w| w.len() - 1).sum::<usize>());
        assert_eq!(got.data.len(), expected.len(), "{name}");
        // Infinity stands for what is never predicted.
        let finite: Vec<f32> = got.data.iter().map(|x| x.max(f32::MIN)).collect();
        let far = apart(&finite, &expected);
        println!("{name}: {far:.1e} from stock's");
        if far.is_nan() || far > BOUND {
            wrong.push(name);
        }
    }
    assert!(wrong.is_empty(), "{wrong:?} are not stock's");
}

/// A draft and its target, opened.
fn pair(name: &str, width: u64) -> (tempfile::TempDir, Draft, Model) {
    let dir = tempfile::tempdir().unwrap();
    let (draft, target) = eagle3(name, width, dir.path());
    let (draft, target) = (Draft::load(&draft).unwrap(), Model::load(&target).unwrap());
    (dir, draft, target)
}

/// Nothing comes after the only token of a window, and windows do not see each other.
#[test]
fn windows_are_apart() {
    let (_dir, draft, target) = pair("eagle3-draft", 80);
    let all = windows();
    let views = [&all[0][..1], &all[0], &[], &all[2]];
    let expected = |views: &[&[u32]]| {
        let states = target.states_for(draft.layers(), views).unwrap();
        draft.forward(&states).unwrap()
    };
    let together = expected(&views);
    assert_eq!(together.rows, all[0].len() + all[2].len() - 2);
    let alone = expected(&views[3..]);
    let last = &together.data[(all[0].len() - 1) * together.vocabulary..];
    let finite = |data: &[f32]| -> Vec<f32> { data.iter().map(|x| x.max(f32::MIN)).collect() };
    assert!(apart(&finite(last), &finite(&alone.data)) < 1e-5);
    assert_eq!(expected(&views[..1]).rows, 0);
    // The target's own logits are those of a pass without a draft.
    let states = target.states_for(draft.layers(), &views[3..]).unwrap();
    let own = target.forward(&views[3..], 0..usize::MAX, None).unwrap();
    assert_eq!(states.logits().unwrap(), own);
}

#[test]
fn a_draft_needs_its_target() {
    let (dir, draft, target) = pair("eagle3-draft", 80);
    let refused = Model::load(&dir.path().join("draft.gguf"))
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("\"eagle3\", a draft, which goes on"),
        "{refused}"
    );
    let refused = Draft::load(&dir.path().join("target.gguf"))
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("expected that of a draft (eagle3), found \"llama\""),
        "{refused}"
    );
    let window: &[u32] = &[1, 2, 3];
    let refused = target.states_for(&[10], &[window]).err().unwrap().to_string();
    assert!(
        refused.contains("the layer 10 that the draft reads, found one of 9 layers"),
        "{refused}"
    );
    let of = |target: &Model, layers: &[usize]| {
        let states = target.states_for(layers, &[window]).unwrap();
        draft.forward(&states).unwrap_err().to_string()
    };
    let refused = of(&target, &draft.layers()[1..]);
    assert!(
        refused.contains("80 numbers for each of 3 layers, found [80, 80]"),
        "{refused}"
    );
    let (_other, _, narrow) = pair("eagle3", 64);
    let refused = of(&narrow, draft.layers());
    assert!(refused.contains("found [64, 64, 64]"), "{refused}");
}
