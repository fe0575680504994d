//! Vocabulary files of a model directory that lie: refused with the file's name, or survived, in no time and with
//! no memory to speak of.

use std::time::{Duration, Instant};

use quantsmith_convert::fuzzing::{BYTE_FALLBACK, BYTE_LEVEL, UNIGRAM, WORD_PIECE, sentencepiece_model};
use quantsmith_convert::source::Source as _;
use quantsmith_convert::source::hf::{HfOptions, HfSource};
use serde_json::{Value, json};

const CONFIG: &str = r#"{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 8,
    "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 5}"#;

/// Reads the vocabulary of a directory of these files: the number of tokens, or the message.
fn tokens(files: &[(&str, &[u8])]) -> Result<usize, String> {
    tokens_of("LlamaForCausalLM", files)
}

fn tokens_of(class: &str, files: &[(&str, &[u8])]) -> Result<usize, String> {
    let dir = tempfile::tempdir().unwrap();
    let config = CONFIG.replace("LlamaForCausalLM", class);
    std::fs::write(dir.path().join("config.json"), config).unwrap();
    for (name, bytes) in files {
        std::fs::write(dir.path().join(name), bytes).unwrap();
    }
    let options = HfOptions {
        vocab_only: true,
        ..HfOptions::default()
    };
    let started = Instant::now();
    let opened = HfSource::open(dir.path(), &options);
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
    let source = opened.map_err(|e| e.to_string())?;
    let tokens = source.metadata().get("tokenizer.ggml.tokens").unwrap();
    Ok(tokens.as_array().unwrap().len())
}

#[track_caller]
fn refused(files: &[(&str, &[u8])], parts: &[&str]) {
    let message = tokens(files).expect_err("accepted");
    for part in parts {
        assert!(message.contains(part), "{part:?} is not in {message:?}");
    }
}

fn changed(change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut json: Value = serde_json::from_str(BYTE_LEVEL).unwrap();
    change(&mut json);
    json.to_string().into_bytes()
}

/// What the others bend is accepted as it is.
#[test]
fn the_files_are_good_before_they_are_bent() {
    for (class, file, count) in [
        ("LlamaForCausalLM", BYTE_LEVEL, 5),
        ("LlamaForCausalLM", BYTE_FALLBACK, 4),
        ("BertModel", WORD_PIECE, 5),
        ("XLMRobertaModel", UNIGRAM, 5),
    ] {
        let found = tokens_of(class, &[("tokenizer.json", file.as_bytes())]);
        assert_eq!(found, Ok(count), "{class}");
    }
    assert_eq!(tokens(&[("tokenizer.model", &sentencepiece_model())]), Ok(5));
}

#[test]
fn a_sentencepiece_file_truncated_at_every_byte() {
    let whole = sentencepiece_model();
    assert_eq!(tokens(&[("tokenizer.model", &whole)]), Ok(5));
    let mut accepted = 0;
    for end in 0..whole.len() {
        match tokens(&[("tokenizer.model", &whole[..end])]) {
            // Cut between two pieces, it is a shorter vocabulary, which the configuration's number fills up.
            Ok(_) => accepted += 1,
            Err(message) => assert!(message.contains("tokenizer.model"), "{end}: {message}"),
        }
    }
    assert!(accepted <= 5, "{accepted}");
}

#[test]
fn lengths_in_a_sentencepiece_file_that_reach_beyond_it() {
    for length in [
        &[0x7f][..],
        // A gigabyte, 2^63, 2^64 - 1, and a number that has no end.
        &[0x80, 0x80, 0x80, 0x80, 0x04],
        &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01],
        &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
        &[0xff; 11],
    ] {
        // Of a piece, and of the text in a piece.
        for head in [&[0x0a][..], &[0x0a, 14, 0x0a]] {
            let file = [head, length, b"abc"].concat();
            refused(&[("tokenizer.model", &file)], &["tokenizer.model", "at byte"]);
        }
    }
}

#[test]
fn token_ids_beyond_the_vocabulary() {
    for id in [
        json!(u32::MAX),
        json!(u64::MAX),
        json!(-1),
        json!(1.5),
        json!("3"),
    ] {
        let vocab = changed(|t| t["model"]["vocab"]["c"] = id.clone());
        refused(&[("tokenizer.json", &vocab)], &["tokenizer.json"]);
        let added = changed(|t| t["added_tokens"][0]["id"] = id.clone());
        // The tokenizers library gives added tokens ids of its own, whatever theirs say.
        match tokens(&[("tokenizer.json", &added)]) {
            Ok(n) => assert_eq!(n, 5, "{id}"),
            Err(message) => assert!(message.contains("tokenizer.json"), "{message}"),
        }
    }
    let model = sentencepiece_model();
    for id in [json!(u64::MAX), json!(u32::MAX), json!(1u64 << 40), json!(-1)] {
        let added = json!({"<x>": id}).to_string();
        let files = [
            ("tokenizer.model", model.as_slice()),
            ("added_tokens.json", added.as_bytes()),
        ];
        // Ids past the configuration's number are left out, as the stock converter does.
        match tokens(&files) {
            Ok(n) => assert_eq!(n, 5, "{id}"),
            Err(message) => assert!(message.contains("added_tokens.json"), "{message}"),
        }
    }
    // As a special token: no such key, or refused; never an id that is not there.
    for id in [json!(u64::MAX), json!(5000), json!([7, 1u64 << 50])] {
        let config = json!({"eos_token_id": id, "bos_token_id": id}).to_string();
        let files = [
            ("tokenizer.json", BYTE_LEVEL.as_bytes()),
            ("generation_config.json", config.as_bytes()),
        ];
        if let Err(message) = tokens(&files) {
            assert!(message.contains("_token_id"), "{message}");
        }
    }
}

#[test]
fn vocabularies_of_billions() {
    for n in [json!(u64::MAX), json!(4_000_000_000u64), json!(1u64 << 62)] {
        let config = CONFIG.replace("\"vocab_size\": 5", &format!("\"vocab_size\": {n}"));
        refused(
            &[
                ("config.json", config.as_bytes()),
                ("tokenizer.json", BYTE_LEVEL.as_bytes()),
            ],
            &["config.json", "vocab_size"],
        );
    }
}

#[test]
fn malformed_merges() {
    for merges in [
        json!(["a"]),
        json!([["a", "b", "c"]]),
        json!([["a"]]),
        json!([1]),
        json!([["a", "nowhere"]]),
        json!({"a": "b"}),
        json!("a b"),
    ] {
        let file = changed(|t| t["model"]["merges"] = merges.clone());
        refused(&[("tokenizer.json", &file)], &["tokenizer.json"]);
    }
    // A megabyte of merges that repeat one another.
    let many: Vec<Value> = vec![json!(["a", "b"]); 1 << 16];
    let file = changed(|t| t["model"]["merges"] = json!(many));
    let _ = tokens(&[("tokenizer.json", &file)]);
}

#[test]
fn tokens_of_the_wrong_kind() {
    for model in [
        json!(null),
        json!({"type": "BPE"}),
        json!({"type": "BPE", "vocab": ["a"], "merges": []}),
        json!({"type": "BPE", "vocab": {"a": {}}, "merges": []}),
        json!({"type": "Unigram", "vocab": {"a": 0}}),
        json!({"type": "Unigram", "vocab": [["a"]]}),
        json!({"type": "Unigram", "unk_id": 99, "vocab": [["a", 0.0]]}),
        json!({"type": "Tomorrow"}),
    ] {
        let file = changed(|t| t["model"] = model.clone());
        refused(&[("tokenizer.json", &file)], &["tokenizer.json"]);
    }
    let deep = [vec![b'['; 100_000], vec![b']'; 100_000]].concat();
    refused(&[("tokenizer.json", &deep)], &["tokenizer.json"]);
    refused(
        &[
            ("tokenizer.json", BYTE_LEVEL.as_bytes()),
            ("tokenizer_config.json", &deep),
        ],
        &["tokenizer_config.json"],
    );
}
