//! Intended differences of `convert` from the stock converter: one test for each line of docs/convert.md that no other
//! test pins.

use crate::support;

use std::path::Path;

use gguf::{GgufFile, Metadata};
use serde_json::json;
use support::directory::{Tensors, configure, model, ramp};
use support::{has, quantsmith, text};

/// Converts to F32 and gives the metadata and what was said on standard error.
fn convert(dir: &Path, more: &[&str]) -> (Metadata, String) {
    let out = dir.join("out.gguf");
    let mut args = vec!["convert", text(dir), text(&out), "--outtype", "f32"];
    args.extend(more);
    let run = quantsmith(&args).assert().success();
    let file = GgufFile::open(&out).unwrap();
    let said = String::from_utf8(run.get_output().stderr.clone()).unwrap();
    (file.metadata().clone(), said)
}

/// Expects a refusal that has all of `words`, and no file.
fn refused(dir: &Path, more: &[&str], words: &[&str]) {
    let out = dir.join("out.gguf");
    let mut args = vec!["convert", text(dir), text(&out)];
    args.extend(more);
    let run = quantsmith(&args).assert().code(1);
    let said = String::from_utf8(run.get_output().stderr.clone()).unwrap();
    for word in words {
        assert!(said.contains(word), "{word:?} is not in {said:?}");
    }
    assert!(!out.exists());
}

#[test]
fn a_weight_that_becomes_infinite_in_the_output_type_is_refused() {
    let dir = model(|name, i| match name.ends_with("mlp.up_proj.weight") && i == 67 {
        true => 1e6,
        false => ramp(name, i),
    });
    refused(
        dir.path(),
        &["--outtype", "f16"],
        &["blk.0.ffn_up.weight", "row 2", "column 3"],
    );
    let (metadata, _) = convert(dir.path(), &[]);
    assert_eq!(metadata.get_str("general.architecture"), Some("llama"));
}

#[test]
fn a_draft_model_is_refused() {
    let dir = model(ramp);
    configure(dir.path(), "draft_vocab_size", json!(32));
    refused(dir.path(), &[], &["config.json", "draft"]);
}

#[test]
fn a_key_that_cannot_be_overridden_is_refused() {
    let dir = model(ramp);
    let overrides = dir.path().join("overrides.json");
    std::fs::write(&overrides, json!({"llama.block_count": 3}).to_string()).unwrap();
    refused(
        dir.path(),
        &["--metadata", text(&overrides)],
        &["overrides.json", "llama.block_count"],
    );
}

#[test]
fn the_license_can_be_overridden() {
    let dir = model(ramp);
    std::fs::write(dir.path().join("README.md"), "---\nlicense: mit\n---\n").unwrap();
    let overrides = dir.path().join("overrides.json");
    std::fs::write(&overrides, json!({"general.license": "apache-2.0"}).to_string()).unwrap();
    let (metadata, _) = convert(dir.path(), &["--metadata", text(&overrides)]);
    assert_eq!(metadata.get_str("general.license"), Some("apache-2.0"));
}

#[test]
fn a_card_that_is_not_yaml_is_ignored_with_a_warning() {
    let dir = model(ramp);
    std::fs::write(dir.path().join("README.md"), "---\nlicense: [mit\n: }\n---\n").unwrap();
    let (metadata, said) = convert(dir.path(), &[]);
    assert_eq!(metadata.get_str("general.license"), None);
    has(&said, &["README.md", "YAML"]);
}

#[test]
fn numbers_booleans_and_dates_in_a_card_are_taken_as_written() {
    let dir = model(ramp);
    let card = "---\nversion: 1.10\nauthor: true\ndescription: 2024-01-02\n---\n";
    std::fs::write(dir.path().join("README.md"), card).unwrap();
    let (metadata, _) = convert(dir.path(), &[]);
    assert_eq!(metadata.get_str("general.version"), Some("1.10"));
    assert_eq!(metadata.get_str("general.author"), Some("true"));
    assert_eq!(metadata.get_str("general.description"), Some("2024-01-02"));
}

#[test]
fn yarn_without_its_original_length_takes_the_models() {
    let dir = model(ramp);
    configure(dir.path(), "max_position_embeddings", json!(2048));
    configure(
        dir.path(),
        "rope_scaling",
        json!({"rope_type": "yarn", "factor": 4.0}),
    );
    let (metadata, _) = convert(dir.path(), &[]);
    assert_eq!(
        metadata.get_u64("llama.rope.scaling.original_context_length"),
        Some(2048)
    );
}

#[test]
fn weights_of_64_bits_are_rounded_to_32() {
    let dir = model(ramp);
    // The final norm in a file of its own, in double precision.
    let single = dir.path().join("model.safetensors");
    let bytes = std::fs::read(&single).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let value = |i: usize| 1.0 + (i as f64) / 3.0;
    let mut tensors = Tensors::default();
    for (name, entry) in &header {
        let shape: Vec<u64> = serde_json::from_value(entry["shape"].clone()).unwrap();
        if name == "model.norm.weight" {
            let doubles: Vec<u8> = (0..32).flat_map(|i| value(i).to_le_bytes()).collect();
            tensors.add(name, "F64", &shape, &doubles);
            continue;
        }
        let [begin, end]: [usize; 2] = serde_json::from_value(entry["data_offsets"].clone()).unwrap();
        tensors.add(name, "F32", &shape, &bytes[8 + length + begin..8 + length + end]);
    }
    tensors.write(&single);
    convert(dir.path(), &[]);
    let made = gguf::GgufModel::open(&dir.path().join("out.gguf")).unwrap();
    let norm = made
        .bytes(made.find("output_norm.weight").unwrap(), 0..128)
        .unwrap();
    let expected: Vec<u8> = (0..32).flat_map(|i| (value(i) as f32).to_le_bytes()).collect();
    assert_eq!(&norm[..], &expected[..]);
}

#[test]
fn the_current_directory_gives_its_name() {
    let dir = model(ramp);
    let named = dir.path().join("Some-Model");
    std::fs::create_dir(&named).unwrap();
    for file in [
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "model.safetensors",
    ] {
        std::fs::rename(dir.path().join(file), named.join(file)).unwrap();
    }
    quantsmith(&["convert", ".", "out.gguf", "--outtype", "f32"])
        .current_dir(&named)
        .assert()
        .success();
    let file = GgufFile::open(&named.join("out.gguf")).unwrap();
    assert_eq!(file.metadata().get_str("general.name"), Some("Some Model"));
}

#[test]
fn slashes_in_a_name_stay_out_of_the_path() {
    let dir = model(ramp);
    let card = "---\nmodel_name: x\nbasename: ../../up\nversion: a/b\n---\n";
    std::fs::write(dir.path().join("README.md"), card).unwrap();
    quantsmith(&["convert", text(dir.path()), "--outtype", "f32"])
        .assert()
        .success();
    let made: Vec<String> = std::fs::read_dir(dir.path())
        .unwrap()
        .filter_map(|f| f.unwrap().file_name().into_string().ok())
        .filter(|n| n.ends_with(".gguf"))
        .collect();
    assert_eq!(made.len(), 1, "{made:?}");
    assert!(
        made[0].starts_with("..-..-up-") && made[0].contains("a-b"),
        "{made:?}"
    );
}

/// The hub's cache: a model is named after its repository, and nothing is written there.
#[test]
fn a_snapshot_of_the_hub_is_named_after_its_repository() {
    let dir = tempfile::tempdir().unwrap();
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let snapshot = dir.path().join("hub/models--org--Name-1B/snapshots").join(commit);
    std::fs::create_dir_all(&snapshot).unwrap();
    let source = model(ramp);
    for name in [
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "model.safetensors",
    ] {
        std::fs::copy(source.path().join(name), snapshot.join(name)).unwrap();
    }
    let work = dir.path().join("work");
    std::fs::create_dir(&work).unwrap();
    let before = support::names(&snapshot);
    let done = quantsmith(&["convert", text(&snapshot)])
        .current_dir(&work)
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(support::names(&snapshot), before);
    let made = support::names(&work);
    assert!(made.len() == 1 && made[0].starts_with("Name-"), "{made:?}");
    let file = GgufFile::open(&work.join(&made[0])).unwrap();
    assert_eq!(file.metadata().get_str("general.name"), Some("Name 1B"));
}

/// The stock converter ends such a file right after its metadata.
#[test]
fn a_vocabulary_alone_is_not_padded() {
    let source = model(ramp);
    let out = source.path().join("vocab.gguf");
    support::succeeds(&["convert", text(source.path()), text(&out), "--vocab-only"]);
    let file = GgufFile::open(&out).unwrap();
    assert!(file.tensors().is_empty());
    let length = std::fs::metadata(&out).unwrap().len();
    assert_eq!(file.header().end, length);
    assert_ne!(length % 32, 0, "chosen so that padding would show");
}
