//! Draft models that lack their target, or whose tables do not fit it.

use std::path::Path;

use quantsmith_convert::source::Source;
use quantsmith_convert::source::hf::{HfOptions, HfSource};
use serde_json::{Value, json};

const WIDTH: u64 = 8;
/// Tokens of the target, and of the draft.
const TOKENS: u64 = 20;
const DRAFT_TOKENS: u64 = 4;

/// A safetensors file of zeros, but for `d2t`.
fn weights(path: &Path, d2t: &[i64]) {
    let mut header = serde_json::Map::new();
    let mut data = Vec::new();
    let layer = |name: &str| format!("midlayer.{name}.weight");
    let names = [
        ("fc.weight".to_owned(), vec![WIDTH, 3 * WIDTH]),
        ("norm.weight".to_owned(), vec![WIDTH]),
        ("lm_head.weight".to_owned(), vec![DRAFT_TOKENS, WIDTH]),
        (layer("hidden_norm"), vec![WIDTH]),
        (layer("input_layernorm"), vec![WIDTH]),
        (layer("post_attention_layernorm"), vec![WIDTH]),
        (layer("self_attn.q_proj"), vec![WIDTH, 2 * WIDTH]),
        (layer("self_attn.k_proj"), vec![WIDTH, 2 * WIDTH]),
        (layer("self_attn.v_proj"), vec![WIDTH, 2 * WIDTH]),
        (layer("self_attn.o_proj"), vec![WIDTH, WIDTH]),
        (layer("mlp.gate_proj"), vec![WIDTH, WIDTH]),
        (layer("mlp.up_proj"), vec![WIDTH, WIDTH]),
        (layer("mlp.down_proj"), vec![WIDTH, WIDTH]),
    ];
    for (name, shape) in names {
        let start = data.len();
        data.resize(start + 4 * shape.iter().product::<u64>() as usize, 0);
        header.insert(
            name,
            json!({"dtype": "F32", "shape": shape, "data_offsets": [start, data.len()]}),
        );
    }
    let start = data.len();
    data.extend(d2t.iter().flat_map(|n| n.to_le_bytes()));
    header.insert(
        "d2t".to_owned(),
        json!({"dtype": "I64", "shape": [d2t.len()], "data_offsets": [start, data.len()]}),
    );
    let header = Value::Object(header).to_string();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header.as_bytes());
    file.extend_from_slice(&data);
    std::fs::write(path, file).unwrap();
}

/// A draft and its target, side by side.
fn pair(d2t: &[i64], change: impl Fn(&mut Value)) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let (draft, target) = (dir.path().join("draft"), dir.path().join("target"));
    for folder in [&draft, &target] {
        std::fs::create_dir(folder).unwrap();
    }
    weights(&draft.join("model.safetensors"), d2t);
    let mut config = json!({"architectures": ["LlamaForCausalLMEagle3"], "model_type": "llama", "hidden_size": WIDTH,
        "intermediate_size": WIDTH, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2,
        "vocab_size": TOKENS, "draft_vocab_size": DRAFT_TOKENS, "rms_norm_eps": 1e-5});
    change(&mut config);
    std::fs::write(draft.join("config.json"), config.to_string()).unwrap();
    let config = json!({"architectures": ["LlamaForCausalLM"], "hidden_size": WIDTH, "num_hidden_layers": 9,
        "vocab_size": TOKENS});
    std::fs::write(target.join("config.json"), config.to_string()).unwrap();
    let tokens: serde_json::Map<String, Value> = (0..TOKENS)
        .map(|i| (((b'a' + i as u8) as char).to_string(), json!(i)))
        .collect();
    let tokenizer = json!({"version": "1.0", "added_tokens": [], "normalizer": null, "post_processor": null,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "vocab": tokens, "merges": []}});
    std::fs::write(target.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    dir
}

fn open(dir: &Path, with_target: bool) -> Result<HfSource, String> {
    let options = HfOptions::default()
        .pre_tokenizer(Some("gpt-2".to_owned()))
        .target_model_dir(with_target.then(|| dir.join("target")));
    HfSource::open(&dir.join("draft"), &options).map_err(|e| e.to_string())
}

#[track_caller]
fn refused(made: Result<HfSource, String>, words: &[&str]) {
    let error = made.expect_err("bad input was accepted");
    for word in words {
        assert!(error.contains(word), "{word:?} is not in {error:?}");
    }
}

#[test]
fn a_draft_needs_its_target() {
    let dir = pair(&[0, 2, 4, 6], |_| ());
    refused(
        open(dir.path(), false),
        &[
            "config.json",
            "expected the directory of the model that it drafts for",
            "found none",
        ],
    );
    std::fs::remove_file(dir.path().join("target/config.json")).unwrap();
    refused(open(dir.path(), true), &["target", "config.json"]);
    std::fs::write(dir.path().join("target/config.json"), "{}").unwrap();
    refused(
        open(dir.path(), true),
        &["target", "config.json", "expected a key vocab_size"],
    );
}

#[test]
fn a_draft_of_eagle_3_has_one_layer_and_tokens_of_its_own() {
    let two = pair(&[0], |config| config["num_hidden_layers"] = json!(2));
    refused(open(two.path(), true), &["EAGLE-3", "found 2 layers"]);
    let without = pair(&[0], |config| {
        config.as_object_mut().unwrap().shift_remove("draft_vocab_size");
    });
    refused(open(without.path(), true), &["draft_vocab_size"]);
    // That the key is there tells such a draft; tokens are counted by its tensors.
    let null = pair(&[0], |config| config["draft_vocab_size"] = Value::Null);
    open(null.path(), true).unwrap();
}

#[test]
fn tables_are_ids_of_the_target_each_once() {
    let read = |d2t: &[i64]| {
        let dir = pair(d2t, |_| ());
        let source = open(dir.path(), true).unwrap();
        let at = source.tensors().iter().position(|t| t.name == "d2t").unwrap();
        source
            .raw_rows(at, 0..1)
            .map(|bytes| bytes.unwrap().into_owned())
            .map_err(|e| e.to_string())
    };
    // The distance from each token's own id.
    let ids: Vec<u8> = [0i64, 3, 6, 9].into_iter().flat_map(i64::to_le_bytes).collect();
    assert_eq!(read(&[0, 2, 4, 6]).unwrap(), ids);
    for (d2t, words) in [
        (&[0, 2, 4, 30][..], ["d2t", "below 20"]),
        (&[-1, 0, 0, 0], ["d2t", "below 20"]),
        (&[i64::MAX, 0, 0, 0], ["d2t", "below 20"]),
        (&[1, 0, 0, 0], ["d2t", "found two for"]),
        (&[0; 21], ["d2t", "at most"]),
    ] {
        let error = read(d2t).unwrap_err();
        assert!(words.iter().all(|w| error.contains(w)), "{error}");
    }
}
