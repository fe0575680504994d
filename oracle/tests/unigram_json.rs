//! T5 with `tokenizer.json` alone: what the file says of blanks goes into the GGUF file, and its ids are those of the
//! library that transformers uses.

use convert::tokenizer::{VocabKind, VocabRequest, vocab_metadata};
use reference::tokenizer::Tokenizer;
use serde_json::{Value, json};

const TEXTS: &[&str] = &["a cab", " a  cab ", "abc   abc", "bab cab abcab", "", "c"];

/// Pieces of the letters a, b and c, with and without a blank before them.
fn tokenizer(normalizer: &Value, pre_tokenizer: &Value) -> Value {
    let mut vocab = vec![json!(["<pad>", 0.0]), json!(["</s>", 0.0]), json!(["<unk>", 0.0])];
    let pieces = [
        "▁", "a", "b", "c", "▁a", "▁c", "ab", "cab", "▁cab", "abc", "▁abc", "ba",
    ];
    vocab.extend(
        pieces
            .iter()
            .enumerate()
            .map(|(i, piece)| json!([piece, -2.0 - 0.37 * i as f64])),
    );
    let special = |id: u32, text: &str| {
        json!({"id": id, "content": text, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true})
    };
    json!({
        "version": "1.0",
        "added_tokens": [special(0, "<pad>"), special(1, "</s>"), special(2, "<unk>")],
        "normalizer": normalizer,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": null,
        "decoder": null,
        "model": {"type": "Unigram", "unk_id": 2, "vocab": vocab, "byte_fallback": false},
    })
}

#[test]
fn ids_of_t5_are_those_of_the_library() {
    let metaspace = |scheme: &str| json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": true});
    let split = json!({"type": "WhitespaceSplit"});
    let squeeze = json!({"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "});
    let strip = json!({"type": "Strip", "strip_left": true, "strip_right": true});
    let sequence = |key: &str, steps: &[&Value]| json!({"type": "Sequence", key: steps});
    for (normalizer, pre_tokenizer, prefix, removes) in [
        // T5 as transformers 4 writes it, and the form without the older behaviour.
        (
            Value::Null,
            sequence("pretokenizers", &[&split, &metaspace("always")]),
            true,
            true,
        ),
        (
            sequence("normalizers", &[&strip, &squeeze]),
            metaspace("always"),
            true,
            true,
        ),
        (Value::Null, metaspace("always"), true, false),
        (
            sequence("normalizers", &[&strip, &squeeze]),
            metaspace("never"),
            false,
            false,
        ),
        (Value::Null, metaspace("never"), false, false),
        // An older file.
        (
            sequence("normalizers", &[&strip, &squeeze]),
            json!({"type": "Metaspace", "replacement": "▁", "add_prefix_space": true}),
            true,
            true,
        ),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let json = tokenizer(&normalizer, &pre_tokenizer).to_string();
        std::fs::write(dir.path().join("tokenizer.json"), &json).unwrap();
        std::fs::write(
            dir.path().join("tokenizer_config.json"),
            r#"{"unk_token": "<unk>"}"#,
        )
        .unwrap();
        let request = VocabRequest::new(&[VocabKind::T5, VocabKind::Unigram]);
        let vocabulary = vocab_metadata(dir.path(), &json!({"vocab_size": 15}), &request).unwrap();
        let metadata = vocabulary.metadata;
        let case = format!("{normalizer} {pre_tokenizer}");
        assert_eq!(
            metadata.get_bool("tokenizer.ggml.add_space_prefix"),
            Some(prefix),
            "{case}"
        );
        assert_eq!(
            metadata.get_bool("tokenizer.ggml.remove_extra_whitespaces"),
            Some(removes),
            "{case}"
        );
        assert!(vocabulary.warnings.is_empty(), "{:?}", vocabulary.warnings);
        let ours = Tokenizer::from_metadata(&metadata).unwrap();
        let library = tokenizers::Tokenizer::from_bytes(json.as_bytes()).unwrap();
        for text in TEXTS {
            // A blank where no blank is put before a text, or blanks that are kept: the forms do the same.
            if !removes && (text.starts_with(' ') || text.contains("  ") || text.ends_with(' ')) {
                continue;
            }
            let expected = library.encode(*text, false).unwrap();
            assert_eq!(
                ours.encode(text, false, false),
                expected.get_ids(),
                "{case}: {text:?}"
            );
        }
    }
}
