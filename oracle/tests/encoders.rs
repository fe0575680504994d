//! Encoders of images and sound (`--mmproj`) of tiny models against the stock converter's files, by their SHA-256.
//!
//! `py/encoder_fixtures.py` makes the fixtures.

use convert::digest::file_sha256;
use std::collections::BTreeSet;

use convert::source::hf::OutType;
use oracle::encoders::{KINDS, class, convert, fixtures, make, open};
use serde_json::{Value, json};

/// Differences from the stock converter's files.
fn check(fixture: &Value) -> Vec<String> {
    let temporary = tempfile::tempdir().unwrap();
    let dir = temporary.path().join("model");
    make(fixture, &dir);
    let mut different = Vec::new();
    for (kind, outtype) in KINDS {
        let out = temporary.path().join(kind);
        let digest = match convert(&dir, &out, outtype) {
            Err(message) => message,
            Ok(()) => file_sha256(&out).unwrap(),
        };
        if fixture["sha256"][kind] != digest.as_str() {
            different.push(format!("{kind}: {digest}"));
        }
    }
    different
}

#[test]
fn encoders_are_converted_to_the_stock_converters_bytes() {
    let (mut classes, mut different) = (BTreeSet::new(), Vec::new());
    for (name, fixture) in fixtures() {
        classes.insert(class(&fixture).to_owned());
        different.extend(check(&fixture).into_iter().map(|what| format!("{name}: {what}")));
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
    // The others have fixtures with their text models (tests/architectures.rs).
    println!("{} classes of encoders", classes.len());
    assert!(!classes.is_empty());
}

/// Qwen3-Omni as it is published: the stock converter does not know the names, under others it gives the same file.
#[test]
fn encoders_inside_the_model_that_listens_are_found() {
    let (_, mut fixture) = fixtures()
        .into_iter()
        .find(|(name, _)| name == "qwen3-omni-plain")
        .unwrap();
    let tensors = fixture["tensors"]["model.safetensors"].as_object_mut().unwrap();
    let outside = |name: &String| name.starts_with("visual.");
    assert!(tensors.keys().any(outside));
    // In the same order, which the weights follow.
    *tensors = std::mem::take(tensors)
        .into_iter()
        .map(|(name, shape)| match outside(&name) {
            true => (format!("thinker.{name}"), shape),
            false => (name, shape),
        })
        .collect();
    assert_eq!(check(&fixture), Vec::<String>::new());
}

/// Digests of the stock converter's files (F32) of fixtures whose text model's configuration is changed.
const OTHER_TEXTS: [(&str, &str); 3] = [
    (
        "voxtral-bare",
        "4bc73a5faeb6000c3225dbbf8339aea035c391ba947d073fd39aceaf8b0e6ff6",
    ),
    (
        "gemma-3n-bare",
        "6db71806cc2626752c44a3be3a93991fa4eba15f5383a67ccca5299c864113af",
    ),
    (
        "glm-4v-bare",
        "2c02da02d466134af715bcd0d84eec5532efca929f11e9c09a166553c9c69718",
    ),
];

/// The width that a projector leads to: of a text model under another key it is the whole's, which is that of Voxtral's
/// default; a text model of another type than the class has is of the class's all the same.
#[test]
fn a_text_model_under_another_name_has_the_width_of_the_whole() {
    for (name, expected) in OTHER_TEXTS {
        let (_, mut fixture) = fixtures().into_iter().find(|(found, _)| found == name).unwrap();
        let config = fixture["config"].as_object_mut().unwrap();
        if name == "voxtral-bare" {
            let text = config.shift_remove("text_config").unwrap();
            config.insert("llm_config".to_owned(), text);
        } else {
            let text = config["text_config"].as_object_mut().unwrap();
            text.shift_remove("hidden_size");
            let other = if name == "glm-4v-bare" { "gemma2" } else { "llama" };
            text.insert("model_type".to_owned(), json!(other));
        }
        let temporary = tempfile::tempdir().unwrap();
        let dir = temporary.path().join("model");
        make(&fixture, &dir);
        let out = temporary.path().join("out.gguf");
        convert(&dir, &out, OutType::F32).unwrap();
        assert_eq!(file_sha256(&out).unwrap(), expected, "{name}");
    }
}

/// Without the model's type the activation is still the one that the class has. The stock converter then writes none, and
/// llama.cpp takes another.
#[test]
fn the_activation_does_not_depend_on_the_models_type() {
    for name in ["glm-4v-plain", "glm-4v-moe-plain", "janus-pro-plain"] {
        let (_, mut fixture) = fixtures().into_iter().find(|(found, _)| found == name).unwrap();
        let config = fixture["config"].as_object_mut().unwrap();
        assert!(config.shift_remove("model_type").is_some());
        assert_eq!(check(&fixture), Vec::<String>::new(), "{name}");
    }
}

/// The side of a slice of MiniCPM-V 4.6 is the preprocessor's; the configuration's is the grid of positions.
#[test]
fn the_side_of_a_slice_is_the_preprocessors() {
    let name = "minicpm-v-4.6-16x";
    let (_, mut fixture) = fixtures().into_iter().find(|(found, _)| found == name).unwrap();
    let vision = fixture["config"]["vision_config"].as_object_mut().unwrap();
    assert!(vision.shift_remove("image_size").is_some());
    assert_eq!(check(&fixture), Vec::<String>::new());
}

/// A buffer of rotation's frequencies, which every loader makes by itself, is left out.
#[test]
fn frequencies_of_a_rotation_are_left_out() {
    let (_, mut fixture) = fixtures()
        .into_iter()
        .find(|(name, _)| name == "sarashina2-vision")
        .unwrap();
    // Behind all others, whose weights follow from their places.
    tensors(&mut fixture, "model.safetensors")
        .insert("visual.rotary_pos_emb.inv_freq".to_owned(), json!([8]));
    assert_eq!(check(&fixture), Vec::<String>::new());
}

/// The error about a changed fixture, without the directory that it was in.
fn refusal(name: &str, change: impl Fn(&mut Value)) -> String {
    let (_, mut fixture) = fixtures().into_iter().find(|(found, _)| found == name).unwrap();
    change(&mut fixture);
    let temporary = tempfile::tempdir().unwrap();
    make(&fixture, temporary.path());
    let message = open(temporary.path(), OutType::F32).unwrap_err();
    let dir = format!("{}/", temporary.path().display());
    assert!(message.contains(&dir), "no file: {message}");
    message.replace(&dir, "")
}

fn tensors<'a>(fixture: &'a mut Value, file: &str) -> &'a mut serde_json::Map<String, Value> {
    fixture["tensors"][file].as_object_mut().unwrap()
}

fn expect(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "expected {part:?} in {message:?}");
    }
}

#[test]
fn positions_that_are_no_square_are_refused() {
    const POSITIONS: &str = "vision_model.radio_model.model.patch_generator.pos_embed";
    for shape in [json!([1, 60, 1280]), json!([64, 1280]), json!([2, 64, 1280])] {
        let message = refusal("nemotron-nano-vl", |fixture| {
            tensors(fixture, "model.safetensors").insert(POSITIONS.to_owned(), shape.clone());
        });
        expect(&message, &["model.safetensors", POSITIONS, "places of a square"]);
    }
    // Images of less than a patch, and of none.
    for side in [json!(7), json!(0), json!("x"), json!(4_000_000_000u64)] {
        let message = refusal("nemotron-nano-vl", |fixture| {
            fixture["config"]["force_image_size"] = side.clone();
        });
        expect(&message, &["config.json"]);
    }
}

/// llama.cpp reads three numbers of whatever list there is; of an empty one the stock converter writes none, and the file
/// is refused by llama.cpp.
#[test]
fn means_of_other_than_three_colours_are_refused() {
    const FILE: &str = "preprocessor_config.json";
    for (key, list) in [
        ("image_mean", json!([])),
        ("image_mean", json!([0.5])),
        ("image_std", json!([0.5, 0.5, 0.5, 0.5])),
        ("image_std", json!(0.5)),
    ] {
        let message = refusal("glm-4v", |fixture| {
            fixture["files"][FILE][key] = list.clone();
        });
        expect(&message, &[FILE, key, "3 numbers", &list.to_string()]);
    }
}

/// LLaVA 1.5's encoder, which the stock converter refuses too ("Unsupported model type: clip_vision_model").
#[test]
fn an_encoder_of_clip_is_refused() {
    let temporary = tempfile::tempdir().unwrap();
    let dir = oracle::architectures::directory("llama-llava", temporary.path());
    open(&dir, OutType::F32).unwrap();
    oracle::architectures::edit_json(&dir.join("config.json"), |config| {
        let model_type = &mut config["vision_config"]["model_type"];
        assert_eq!(*model_type, "pixtral");
        *model_type = json!("clip_vision_model");
    });
    let message = open(&dir, OutType::F32).unwrap_err();
    expect(
        &message,
        &["config.json", "vision_config", "pixtral", "clip_vision_model"],
    );
}

#[test]
fn a_folder_of_its_own_is_there_whole() {
    const FILE: &str = "audio_tokenizer/model.safetensors";
    let book = |number: u32| format!("encoder.quantizer.vq.layers.{number}._codebook.embed");
    let message = refusal("mimo-v2", |fixture| {
        fixture["files"]
            .as_object_mut()
            .unwrap()
            .remove("audio_tokenizer/config.json");
    });
    expect(&message, &["audio_tokenizer/config.json"]);
    let message = refusal("mimo-v2", |fixture| {
        fixture["tensors"].as_object_mut().unwrap().remove(FILE);
    });
    expect(&message, &[FILE]);
    let message = refusal("mimo-v2", |fixture| {
        fixture["files"]["audio_tokenizer/config.json"]
            .as_object_mut()
            .unwrap()
            .remove("n_mels");
    });
    expect(&message, &["audio_tokenizer/config.json", "n_mels"]);
    let message = refusal("mimo-v2", |fixture| {
        tensors(fixture, FILE).remove(&book(1));
    });
    expect(&message, &[FILE, &book(2), "a codebook 1 before it, found none"]);
    let message = refusal("mimo-v2", |fixture| {
        tensors(fixture, FILE).insert(book(1), json!([12, 16]));
    });
    expect(&message, &[FILE, &book(1), "vectors of 32 elements", "[12, 16]"]);
    let message = refusal("mimo-v2", |fixture| {
        tensors(fixture, FILE).retain(|name, _| !name.contains("_codebook"));
    });
    expect(&message, &["expected codebooks"]);
    let message = refusal("mimo-v2", |fixture| {
        fixture["config"]["audio_config"]["audio_channels"] = json!(4);
    });
    expect(&message, &["expected 4 numbered tensors", "found 3"]);
}

#[test]
fn sums_without_counts_are_refused() {
    const FILE: &str = "speech_tokenizer/model.safetensors";
    let name =
        |number: u32, what: &str| format!("decoder.quantizer.rvq_rest.vq.layers.{number}._codebook.{what}");
    let counts = name(3, "cluster_usage");
    let message = refusal("qwen3-tts", |fixture| {
        tensors(fixture, FILE).remove(&counts);
    });
    expect(&message, &[FILE, &counts, "expected it in this file, found none"]);
    let message = refusal("qwen3-tts", |fixture| {
        tensors(fixture, FILE).insert(counts.clone(), json!([7]));
    });
    expect(&message, &[FILE, &counts, "a count for each of 12 codes", "[7]"]);
    let further = name(15, "embedding_sum");
    let message = refusal("qwen3-tts", |fixture| {
        tensors(fixture, FILE).insert(further.clone(), json!([12, 32]));
    });
    expect(&message, &[&further, "expected 15 codebooks"]);
    let message = refusal("qwen3-tts", |fixture| {
        fixture["files"]["speech_tokenizer/config.json"]["decoder_config"]["num_hidden_layers"] =
            json!(4_000_000_000u64);
    });
    expect(
        &message,
        &["speech_tokenizer/config.json", "num_hidden_layers", "4000000000"],
    );
    let message = refusal("qwen3-tts", |fixture| {
        fixture["config"]["talker_config"]["code_predictor_config"]["num_code_groups"] = json!(32);
    });
    expect(&message, &["num_code_groups", "16", "32"]);
    let message = refusal("qwen3-tts", |fixture| {
        tensors(fixture, "model.safetensors").remove("talker.code_predictor.lm_head.14.weight");
    });
    expect(&message, &["expected 15 numbered tensors", "found 14"]);
}

#[test]
fn choices_that_no_graph_has_are_refused() {
    for (part, key, value) in [
        ("vision_config", "adapter_type", json!("mlp")),
        ("vision_config", "use_qk_norm", json!(false)),
        ("vision_config", "router_scale", json!(2.5)),
        ("audio_config", "use_rope", json!(false)),
        ("audio_config", "chunk_seconds", json!(30)),
        (
            "audio_config",
            "rope_parameters",
            json!({"partial_rotary_factor": 1.0, "rope_theta": 1e4}),
        ),
    ] {
        let message = refusal("dots3-note", |fixture| {
            fixture["config"][part][key] = value.clone();
        });
        expect(&message, &["config.json", part, key, "expected", "found"]);
    }
    // A block with more experts than the configuration counts, and with fewer.
    let message = refusal("dots3-note", |fixture| {
        fixture["config"]["vision_config"]["pyramid_num_routed"] = json!([-1, 0, 1, 3]);
    });
    expect(&message, &["vision_encoder.blocks.2.mlp.experts.1", "below 1"]);
    let message = refusal("dots3-note", |fixture| {
        fixture["config"]["vision_config"]["pyramid_num_routed"] = json!([-1, 0, 2, 4]);
    });
    expect(&message, &["expected 12 expert tensors in layer 3, found 9"]);
}
