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
    let options = HfOptions::default().vocab_only(true);
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

/// The files that other tests bend are accepted as they are.
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

/// `a`, `b` and `ab`, in tiktoken's form.
const TIKTOKEN: &str = "YQ== 0\nYg== 1\nYWI= 2\n";

/// The number of tokens, or the message, of a vocabulary in tiktoken's form.
fn tiktoken(text: &[u8]) -> Result<usize, String> {
    let added: Value = [(3, "<|endoftext|>"), (4, "<|user|>")]
        .iter()
        .map(|(id, text)| (id.to_string(), json!({"content": text, "special": true})))
        .collect::<serde_json::Map<_, _>>()
        .into();
    let config = json!({ "added_tokens_decoder": added }).to_string();
    let files = [
        ("tokenizer.model", text),
        ("tokenizer_config.json", config.as_bytes()),
    ];
    tokens_of("ChatGLMModel", &files)
}

#[test]
fn a_tiktoken_file_that_lies() {
    assert_eq!(tiktoken(TIKTOKEN.as_bytes()), Ok(5));
    for (text, expected) in [
        (
            "YQ== 0\nYg== 1\nYWI= 5\n",
            "token id 5 is outside the model's vocabulary of 5",
        ),
        ("YQ== 0\nYg== 0\n", "line 2: expected a rank of its own, found 0"),
        (
            "YQ== 0\nYQ== 1\n",
            "line 2: expected a token of its own for rank 1",
        ),
        ("YQ== 4294967296\n", "line 1: the rank is"),
        ("YQ==\n", "line 1: found no token in base64 and its rank"),
        ("=YQ= 0\n", "line 1: expected a token in base64"),
        ("", "found no token, expected at least one"),
    ] {
        let message = tiktoken(text.as_bytes()).expect_err(text);
        assert!(
            message.contains(expected) && message.contains("tokenizer.model"),
            "{message}"
        );
    }
    // Thousands of tokens as long as are allowed, of which every part is a token too.
    let mut long: Vec<Vec<u8>> = (1..=1024).map(|n| vec![b'a'; n]).collect();
    long.extend((0..3000).map(|i: u32| [&vec![b'a'; 1020][..], &i.to_le_bytes()].concat()));
    let mut text = String::new();
    for (rank, token) in long.iter().enumerate() {
        text += &format!(
            "{} {rank}\n",
            base64::Engine::encode(&base64::engine::general_purpose::STANDARD, token)
        );
    }
    assert!(tiktoken(text.as_bytes()).is_err());
    // The SentencePiece form of the same file belongs to models that are not read.
    assert!(
        tiktoken(&sentencepiece_model())
            .unwrap_err()
            .contains("line 2: found no token")
    );
    for end in 0..TIKTOKEN.len() {
        if let Err(message) = tiktoken(&TIKTOKEN.as_bytes()[..end]) {
            assert!(message.contains("tokenizer.model"), "{end}: {message}");
        }
    }
}

#[test]
fn a_world_vocabulary_that_lies() {
    let world = |text: &str| {
        let class =
            r#"Rwkv6ForCausalLM"], "head_size": 4, "layer_norm_epsilon": 1e-5, "rescale_every": 0, "x": [""#;
        tokens_of(class, &[("rwkv_vocab_v20230424.txt", text.as_bytes())])
    };
    let whole = "1 '\\x00' 1\n2 'a' 1\n3 b'\\xff\\n' 2\n";
    assert_eq!(world(whole), Ok(5));
    for (text, expected) in [
        ("1 'a' 2\n", "line 1: expected 2 bytes, found 1"),
        ("1 'a' 1\n3 'b' 1\n", "line 2: expected the id of the line"),
        ("1 'a\n", "line 1: expected an id"),
        ("1 'a' 1\n\n", "line 2: expected an id"),
        ("1 eval(x) 1\n", "line 1: expected an id"),
        ("1 'a' 99999999999999999999\n", "line 1: expected "),
        (
            "1 'a' 1\n2 'b' 1\n3 'c' 1\n4 'd' 1\n5 'e' 1\n",
            "expected at most 5 tokens, found 5 and one for the end",
        ),
    ] {
        let message = world(text).expect_err(text);
        assert!(message.contains(expected), "{text:?}: {message}");
    }
    for end in 0..whole.len() {
        if let Err(message) = world(&whole[..end]) {
            assert!(message.contains("rwkv_vocab_v20230424.txt"), "{end}: {message}");
        }
    }
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

/// Rules that lengthen a text, each time by a factor: refused before any text is given to them.
#[test]
fn definitions_that_ask_for_all_memory() {
    let sequence = |kind: &str, key: &str, rule: Value| json!({"type": kind, key: vec![rule; 60]});
    let double = json!({"type": "Replace", "pattern": {"String": "a"}, "content": "aa"});
    let prepend = json!({"type": "Prepend", "prepend": "▁"});
    let level =
        json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true});
    let twice =
        json!({"type": "TemplateProcessing", "single": "$A $A", "pair": "$A $B", "special_tokens": {}});
    let long = json!({"type": "Replace", "pattern": {"Regex": ""}, "content": "a".repeat(60_000)});
    for (part, rule) in [
        ("normalizer", sequence("Sequence", "normalizers", double.clone())),
        ("normalizer", sequence("Sequence", "normalizers", prepend)),
        (
            "normalizer",
            sequence("Sequence", "normalizers", json!({"type": "ByteLevel"})),
        ),
        ("normalizer", long),
        ("pre_tokenizer", sequence("Sequence", "pretokenizers", level)),
        ("decoder", sequence("Sequence", "decoders", double)),
        ("post_processor", sequence("Sequence", "processors", twice)),
    ] {
        let started = Instant::now();
        let file = changed(|json| json[part] = rule);
        refused(&[("tokenizer.json", &file)], &["tokenizer.json", part]);
        assert!(
            started.elapsed() < Duration::from_millis(500),
            "{:?}",
            started.elapsed()
        );
    }
}

/// Texts of added tokens, of which an automaton is built: bounded one by one and together, in each file that names
/// them. What is just allowed takes no time to speak of.
#[test]
fn long_added_tokens() {
    let token = |id: usize, content: String| {
        json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true})
    };
    let long = changed(|json| json["added_tokens"][0]["content"] = "a".repeat(100_000).into());
    refused(&[("tokenizer.json", &long)], &["tokenizer.json", "found 100000"]);
    let config = json!({"eos_token": "b".repeat(100_000)}).to_string();
    let files = [
        ("tokenizer.json", BYTE_LEVEL.as_bytes()),
        ("tokenizer_config.json", config.as_bytes()),
    ];
    refused(&files, &["tokenizer_config.json", "found 100000"]);
    let many = changed(|json| {
        let tokens = (0..9000).map(|i| token(i + 3, format!("{i:01000}")));
        json["added_tokens"] = tokens.collect();
    });
    refused(
        &[("tokenizer.json", &many)],
        &["tokenizer.json", "added tokens: expected"],
    );
    let most = changed(|json| {
        let tokens = (0..1000).map(|i| token(i + 3, format!("{i:01000}")));
        json["added_tokens"] = tokens.collect();
    });
    assert!(tokens(&[("tokenizer.json", &most)]).is_ok());
}
