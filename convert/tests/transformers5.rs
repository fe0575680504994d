//! Traits of directories of transformers 5, against the same as transformers 4.57 wrote it. The whole matrix of such
//! directories is in `oracle/digests/transformers5.txt`.

use std::path::{Path, PathBuf};

use gguf::{Array, Metadata, Value};
use quantsmith_convert::tokenizer::{VocabKind, VocabRequest, vocab_metadata};
use serde_json::json;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/transformers5")
        .join(name)
}

fn read(dir: &Path, kind: VocabKind) -> Metadata {
    let config = json!({"vocab_size": 384});
    vocab_metadata(dir, &config, &VocabRequest::new(&[kind]))
        .unwrap()
        .metadata
}

/// A SentencePiece model saved by transformers 4.57 (`tokenizer.model`), and the same saved again by 5, which writes
/// `tokenizer.json` alone.
#[test]
fn pieces_are_the_same_from_either_file() {
    for kind in [VocabKind::SentencePiece, VocabKind::Phi3] {
        let (four, five) = (read(&fixture("four"), kind), read(&fixture("five"), kind));
        for key in ["model", "pre", "tokens", "scores", "token_type"] {
            let key = format!("tokenizer.ggml.{key}");
            assert_eq!(four.get(&key), five.get(&key), "{key}");
            assert!(four.get(&key).is_some(), "{key}");
        }
    }
    // Its trainer put no space before a text, which tokenizer.json says.
    let five = read(&fixture("five"), VocabKind::SentencePiece);
    assert_eq!(
        five.get("tokenizer.ggml.add_space_prefix"),
        Some(&Value::Bool(false))
    );
}

/// Merges in another order than the ids: the merges decide.
#[test]
fn scores_follow_the_merges() {
    let dir = tempfile::tempdir().unwrap();
    let document = json!({
        "added_tokens": [{"id": 0, "content": "<unk>", "special": true}],
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        "model": {
            "type": "BPE", "byte_fallback": true, "unk_token": "<unk>",
            "vocab": {"<unk>": 0, "<0x0A>": 1, "a": 2, "b": 3, "c": 4, "ab": 5, "bc": 6},
            "merges": [["b", "c"], ["a", "b"]],
        },
    });
    std::fs::write(dir.path().join("tokenizer.json"), document.to_string()).unwrap();
    let config = json!({"vocab_size": 7});
    let request = VocabRequest::new(&[VocabKind::SentencePiece]);
    let vocabulary = vocab_metadata(dir.path(), &config, &request).unwrap();
    let Some(Value::Array(Array::F32(scores))) = vocabulary.metadata.get("tokenizer.ggml.scores") else {
        panic!("no scores")
    };
    assert!(scores[6] > scores[5], "{scores:?}");
    let Some(Value::Array(Array::I32(types))) = vocabulary.metadata.get("tokenizer.ggml.token_type") else {
        panic!("no types")
    };
    assert_eq!(types, &[3, 6, 1, 1, 1, 1, 1]);
}

/// `vocab.json` and `merges.txt` give what `tokenizer.json` with the same gives.
#[test]
fn two_files_are_read_as_one() {
    let (old, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let vocab = json!({"a": 0, "b": 1, "Ġ": 2, "ab": 3, "Ġab": 4, "<|endoftext|>": 5});
    let merges = ["a b", "Ġ ab"];
    let config = json!({"tokenizer_class": "GPT2Tokenizer"}).to_string();
    for dir in [&old, &new] {
        std::fs::write(dir.path().join("tokenizer_config.json"), &config).unwrap();
    }
    std::fs::write(old.path().join("vocab.json"), vocab.to_string()).unwrap();
    let text = format!("#version: 0.2\n{}\n", merges.join("\n"));
    std::fs::write(old.path().join("merges.txt"), text).unwrap();
    let byte_level =
        json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    let document = json!({
        "added_tokens": [], "pre_tokenizer": byte_level, "decoder": byte_level,
        "model": {"type": "BPE", "vocab": vocab, "merges": merges},
    });
    std::fs::write(new.path().join("tokenizer.json"), document.to_string()).unwrap();
    let of = |dir: &Path| {
        let request = VocabRequest::new(&[VocabKind::Bpe]).pre_tokenizer(Some("gpt-2".to_owned()));
        vocab_metadata(dir, &json!({"vocab_size": 6}), &request)
            .unwrap()
            .metadata
    };
    let (old, new) = (of(old.path()), of(new.path()));
    let merges = old.get("tokenizer.ggml.merges");
    assert_eq!(
        merges,
        Some(&Value::from(
            vec!["a b".into(), "Ġ ab".into()] as Vec<gguf::GgufString>
        ))
    );
    for (key, value) in new.iter() {
        assert_eq!(old.get(key), Some(value), "{key}");
    }
}
