//! A model is written whole or not at all: what is missing from a directory is named, and prediction layers are
//! written, left out or written alone as the stock converter does.

use convert::digest::file_sha256;
use std::path::{Path, PathBuf};
use std::process::Command;

use convert::pipeline::{PipelineOptions, execute};
use convert::plan::OutputPlan;
use convert::source::Source;
use convert::source::hf::{HfOptions, HfSource, OutType, Prediction};
use gguf::Value as GgufValue;
use oracle::architectures::{fixture, make};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A fixture's directory after a change of its configuration or its tensors.
fn directory(name: &str, change: impl FnOnce(&mut Value)) -> TempDir {
    let mut fixture = fixture(name);
    change(&mut fixture);
    let temporary = tempfile::tempdir().unwrap();
    let dir = temporary.path().join("model");
    std::fs::create_dir(&dir).unwrap();
    make(&fixture, &dir);
    temporary
}

fn without(name: &str) -> impl FnOnce(&mut Value) {
    move |fixture| drop(fixture["tensors"].as_object_mut().unwrap().remove(name).unwrap())
}

fn with(key: &str, value: Value) -> impl FnOnce(&mut Value) {
    move |fixture| fixture["config"][key] = value
}

fn open(dir: &TempDir, prediction: Prediction) -> Result<HfSource, String> {
    let options = HfOptions::default()
        .outtype(OutType::F32)
        .pre_tokenizer(Some("gpt-2".to_owned()))
        .prediction(prediction);
    let source = HfSource::open(&dir.path().join("model"), &options).map_err(|e| e.to_string())?;
    OutputPlan::unquantized("unused", &source, Vec::new()).map_err(|e| e.to_string())?;
    Ok(source)
}

/// Opening the changed directory is refused with all of `parts` in the message.
fn refused(name: &str, change: impl FnOnce(&mut Value), parts: &[&str]) {
    let message = open(&directory(name, change), Prediction::Included).unwrap_err();
    for part in parts {
        assert!(message.contains(part), "{name}: {part:?} is not in {message:?}");
    }
}

#[test]
fn a_missing_tensor_is_named() {
    for (tensor, says) in [
        (
            "model.layers.1.mlp.up_proj.weight",
            "'blk.1.ffn_up.weight': expected it with shape [64, 96]",
        ),
        (
            "model.norm.weight",
            "'output_norm.weight': expected it with shape [64]",
        ),
        ("model.embed_tokens.weight", "token_embd.weight"),
        (
            "lm_head.weight",
            "'output.weight': expected it (lm_head.weight, or output.weight in Mistral's own layout), as tie_word_embeddings is false",
        ),
    ] {
        refused("llama", without(tensor), &[says, "found none"]);
    }
    // A whole layer, and all that are missing at once.
    let parts = ["blk.2.attn_norm.weight", "blk.2.attn_q.weight", "more"];
    refused("llama", with("num_hidden_layers", json!(3)), &parts);
    refused(
        "phi2",
        without("model.layers.0.mlp.fc1.bias"),
        &["'blk.0.ffn_up.bias'"],
    );
    refused(
        "bert",
        without("encoder.layer.0.output.dense.weight"),
        &["blk.0.ffn_down.weight"],
    );
    refused(
        "t5",
        without("decoder.block.0.layer.1.EncDecAttention.q.weight"),
        &["dec.blk.0.cross_attn_q.weight"],
    );
}

#[test]
fn hyperparameters_that_contradict_the_tensors_are_refused() {
    let found = "found [64, ";
    refused(
        "llama",
        with("hidden_size", json!(32)),
        &["'token_embd.weight'", "[32, 420]", found],
    );
    refused(
        "llama",
        with("intermediate_size", json!(80)),
        &["ffn_gate.weight': expected shape [64, 80]", found],
    );
    refused(
        "llama",
        with("num_attention_heads", json!(8)),
        &["blk.0.attn_q.weight"],
    );
}

/// Rows that a configuration does not count are not left behind: what the rules for a tensor take must be all of it. The
/// message has the numbers that the rows follow from.
#[test]
fn rows_that_heads_do_not_make_are_refused() {
    for (key, rows) in [("linear_key_head_dim", 128), ("linear_value_head_dim", 112)] {
        let said = format!("expected {rows} rows");
        let change = with(key, json!(8));
        refused("qwen35moe", change, &["found 160", &format!("{key} 8"), &said]);
    }
    refused(
        "bailingmoe",
        with("head_dim", json!(8)),
        &[
            "query_key_value.weight': expected 64 rows",
            "head_dim 8",
            "found 128",
        ],
    );
}

/// The stock converter writes four times the hidden size as Phi's width whatever the configuration says, and its file does
/// not load; here it is the configuration's.
#[test]
fn phis_width_is_the_configurations() {
    let change = |f: &mut Value| {
        f["config"]["intermediate_size"] = json!(96);
        for layer in 0..2 {
            f["tensors"][format!("model.layers.{layer}.mlp.fc1.weight")] = json!([96, 64]);
            f["tensors"][format!("model.layers.{layer}.mlp.fc1.bias")] = json!([96]);
            f["tensors"][format!("model.layers.{layer}.mlp.fc2.weight")] = json!([64, 96]);
        }
    };
    let source = open(&directory("phi2", change), Prediction::Included).unwrap();
    let width = source
        .metadata()
        .get("phi2.feed_forward_length")
        .and_then(GgufValue::as_u64);
    assert_eq!(width, Some(96));
    refused(
        "phi2",
        with("intermediate_size", json!(96)),
        &["blk.0.ffn_up.weight", "expected shape [64, 96]"],
    );
}

#[test]
fn a_norm_without_its_number_is_refused() {
    let says = ["key 'llama.attention.layer_norm_rms_epsilon'", "found none"];
    refused("llama", with("rms_norm_eps", Value::Null), &says);
}

#[test]
fn a_vocabulary_alone_needs_no_weights() {
    let dir = directory("llama", without("model.norm.weight"));
    let options = HfOptions::default()
        .vocab_only(true)
        .pre_tokenizer(Some("gpt-2".to_owned()));
    let source = HfSource::open(&dir.path().join("model"), &options).unwrap();
    assert!(OutputPlan::unquantized("unused", &source, Vec::new()).is_ok());
}

/// The prediction layers of each fixture: the beginnings of their names, and SHA-256 of what the stock converter
/// makes of the directory (`py/stock_prediction_layers.py`), which stays as QUANTSMITH_KEEP/NAME/model where that is set.
const PREDICTION: [(&str, &str, &str, &str); 4] = [
    (
        "qwen35",
        "mtp.",
        "c3be540d81597107779c2d75b918d6af0484caacd9958c0aba0a78e8333416ee",
        "3704b46f456668741e7fa89ba15e9943c1c9e15c4e8b0d96c57275db51f84a32",
    ),
    (
        "qwen35moe",
        "mtp.",
        "97519d324e46c83ef1e6347800bf5b146fcc1ee4f729ed16225301a510599a56",
        "18982c32dc515d09e038647bb02192b16c947e01e749a8c9cd1a23e4c34d6054",
    ),
    (
        "deepseek32",
        "model.layers.3.",
        "4b36fa9ab9c60d2195dec8d51ee126c77dcb1c54a0b8018f4661adf5b71ab14d",
        "1eddd046b0e835542ed5e473c7f9a5ce6fa0963256de7272101a3161e9811b67",
    ),
    (
        "nemotron_h-moe",
        "mtp.",
        "e62f7352976151c3193d6a5e0b9efd6d5a6ddd73a183daf3049ab461d2c78443",
        "08b5b6be31a0314a9d52360e1b725f23ae4eca9eec686ceae316e7660474c4c1",
    ),
];

fn digest(source: &HfSource, out: &Path) -> String {
    let plan = OutputPlan::unquantized(out, source, Vec::new()).unwrap();
    execute(source, &[plan], &PipelineOptions::default(), &|_| {}).unwrap();
    file_sha256(out).unwrap()
}

fn stock_loads(files: &[PathBuf]) {
    let Some(python) = oracle::python() else { return };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("py/stock.py");
    for file in files {
        let done = Command::new(python.executable())
            .arg(&script)
            .arg("load")
            .arg(file)
            .env("ORACLE_CACHE", oracle::home())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{}: {said}", file.display());
    }
}

fn predicting(fixture: &mut Value, prefix: &str) -> Vec<String> {
    let tensors = fixture["tensors"].as_object().unwrap();
    tensors
        .keys()
        .filter(|name| name.starts_with(prefix))
        .cloned()
        .collect()
}

#[test]
fn prediction_layers_apart_are_the_stock_converters() {
    for (name, _, alone, left_out) in PREDICTION {
        let dir = directory(name, |_| ());
        let files = ["alone.gguf", "without.gguf"].map(|file| dir.path().join(file));
        let source = open(&dir, Prediction::Alone).unwrap();
        assert!(source.default_file_name(None).starts_with("mtp-"));
        let of_alone = digest(&source, &files[0]);
        let of_rest = digest(&open(&dir, Prediction::LeftOut).unwrap(), &files[1]);
        if let Some(keep) = std::env::var_os("QUANTSMITH_KEEP") {
            let keep = Path::new(&keep).join(name);
            std::fs::create_dir_all(&keep).unwrap();
            std::fs::rename(dir.path().join("model"), keep.join("model")).unwrap();
            continue;
        }
        assert_eq!((of_alone.as_str(), of_rest.as_str()), (alone, left_out), "{name}");
        stock_loads(&files[1..]);
    }
    let message = open(&directory("llama", |_| ()), Prediction::LeftOut).unwrap_err();
    assert!(
        message.contains("prediction layers apart") && message.contains("found llama"),
        "{message}"
    );
}

#[test]
fn prediction_layers_that_are_not_there_are_left_out_with_a_warning() {
    let of_others = [("mimo2", "model.mtp.layers."), ("hy_v3", "model.layers.3.")];
    for (name, prefix) in PREDICTION
        .map(|(name, prefix, ..)| (name, prefix))
        .into_iter()
        .chain(of_others)
    {
        let dir = directory(name, |fixture| {
            for tensor in predicting(fixture, prefix) {
                without(&tensor)(fixture);
            }
        });
        let source = open(&dir, Prediction::Included).unwrap();
        let warned = source
            .warnings()
            .iter()
            .any(|w| w.contains("prediction layers") && w.contains("left out"));
        assert!(warned, "{name}: {:?}", source.warnings());
        let architecture = source.metadata().architecture().to_owned();
        let key = |suffix: &str| source.metadata().get(&format!("{architecture}.{suffix}"));
        let layers = if ["deepseek32", "mimo2", "hy_v3"].contains(&name) {
            3
        } else {
            4
        };
        assert_eq!(key("block_count"), Some(&GgufValue::U32(layers)), "{name}");
        assert_eq!(key("nextn_predict_layers"), None, "{name}");
        let file = dir.path().join("out.gguf");
        digest(&source, &file);
        reference::Model::load(&file).unwrap();
        stock_loads(&[file]);
    }
}

#[test]
fn prediction_layers_that_are_there_in_part_are_refused() {
    for (name, prefix, ..) in PREDICTION {
        let dir = directory(name, |fixture| {
            let all = predicting(fixture, prefix);
            let lost = all
                .iter()
                .find(|n| n.contains("enorm") || n.contains("pre_fc_norm_embedding"));
            without(lost.unwrap())(fixture);
        });
        let message = open(&dir, Prediction::Included).unwrap_err();
        assert!(message.contains("nextn.enorm.weight"), "{name}: {message}");
    }
}
