//! The tokenizer on small vocabularies made here, and on metadata that nobody should have written.

use gguf::{Array, GgufString, Metadata, Value};
use proptest::prelude::*;
use quantsmith_reference::tokenizer::{MAX_TOKEN_BYTES, Tokenizer};

fn strings(texts: impl IntoIterator<Item = Vec<u8>>) -> Value {
    Value::Array(Array::String(texts.into_iter().map(GgufString).collect()))
}

/// GPT-2's stand-in for a byte.
fn stand_in(byte: u8) -> char {
    let printable = |byte: u8| matches!(byte, 0x21..=0x7E | 0xA1..=0xAC | 0xAE..);
    if printable(byte) {
        return byte.into();
    }
    let rank = (0..byte).filter(|&b| !printable(b)).count();
    char::from_u32(0x100 + rank as u32).unwrap()
}

/// All bytes, a few merges, and two special tokens.
fn byte_pair(pre: &str) -> Metadata {
    let mut texts: Vec<Vec<u8>> = (0..=255)
        .map(|byte| stand_in(byte).to_string().into_bytes())
        .collect();
    for merged in ["he", "ll", "llo", "hello", "Ġhello", "<|eot|>", "<|endoftext|>"] {
        texts.push(merged.as_bytes().to_vec());
    }
    let n = texts.len();
    let mut kinds = vec![1i32; n];
    kinds[n - 2] = 4;
    kinds[n - 1] = 3;
    let mut metadata = Metadata::new();
    metadata.set("tokenizer.ggml.model", "gpt2");
    metadata.set("tokenizer.ggml.pre", pre);
    metadata.set("tokenizer.ggml.tokens", strings(texts));
    metadata.set("tokenizer.ggml.token_type", kinds);
    let merges = ["h e", "l l", "ll o", "he llo", "Ġ hello"];
    metadata.set(
        "tokenizer.ggml.merges",
        strings(merges.map(|merge| merge.as_bytes().to_vec())),
    );
    metadata
}

/// Bytes and a few pieces with scores, for the other kinds.
fn pieces(model: &str) -> Metadata {
    let mut texts = vec![b"<unk>".to_vec(), b"<s>".to_vec(), b"</s>".to_vec()];
    let mut kinds = vec![2i32, 3, 3];
    let mut scores = vec![0f32; 3];
    for byte in 0..=255u8 {
        texts.push(format!("<0x{byte:02X}>").into_bytes());
        kinds.push(6);
        scores.push(0.0);
    }
    for (i, piece) in ["▁", "a", "b", "ab", "▁ab", "é", "<x>"].iter().enumerate() {
        texts.push(piece.as_bytes().to_vec());
        kinds.push(if *piece == "<x>" { 4 } else { 1 });
        scores.push(-(i as f32));
    }
    let mut metadata = Metadata::new();
    metadata.set("tokenizer.ggml.model", model);
    metadata.set("tokenizer.ggml.tokens", strings(texts));
    metadata.set("tokenizer.ggml.token_type", kinds);
    metadata.set("tokenizer.ggml.scores", scores);
    metadata
}

const OTHER_KINDS: [&str; 5] = ["llama", "bert", "t5", "rwkv", "plamo2"];

#[test]
fn merges_words_and_keeps_special_tokens_apart() {
    let tokenizer = Tokenizer::from_metadata(&byte_pair("gpt-2")).unwrap();
    assert_eq!(tokenizer.encode("hello hello", false, false), [259, 260]);
    assert_eq!(
        tokenizer.encode("hello<|eot|> hell", false, false),
        [259, 261, 32, 256, 257]
    );
    assert_eq!(tokenizer.encode("<|endoftext|>", false, true), [262]);
    assert_eq!(tokenizer.encode("<|endoftext|>", false, false).len(), 13);
    assert_eq!(tokenizer.piece(260), b" hello");
    assert_eq!(tokenizer.eot(), Some(262));
    assert!(tokenizer.is_end_of_generation(262));
    assert_eq!(tokenizer.piece(u32::MAX), b"");
}

#[test]
fn sentencepiece_falls_back_to_bytes_and_adds_bos() {
    let tokenizer = Tokenizer::from_metadata(&pieces("llama")).unwrap();
    let id = |byte: u8| 3 + u32::from(byte);
    assert_eq!(
        tokenizer.encode("abéÿ", true, false),
        [1, 263, 264, id(0xC3), id(0xBF)]
    );
    assert_eq!(tokenizer.encode("", true, false), [1]);
    assert_eq!(tokenizer.encode(b"\xFF", false, false), [259, id(0xFF)]);
    assert_eq!(tokenizer.decode(&[1, 263, 264], true, false), " abé".as_bytes());
    assert_eq!(tokenizer.decode(&[263, 264], false, false), "abé".as_bytes());
}

#[test]
fn malformed_metadata_is_an_error_that_names_the_key() {
    let cases: [(&str, Value); 12] = [
        ("tokenizer.ggml.model", Value::U32(1)),
        ("tokenizer.ggml.model", "none".into()),
        ("tokenizer.ggml.model", "of tomorrow".into()),
        ("tokenizer.ggml.pre", "of tomorrow".into()),
        ("tokenizer.ggml.tokens", vec![1u32, 2].into()),
        ("tokenizer.ggml.tokens", strings([b"a".to_vec(), b"a".to_vec()])),
        (
            "tokenizer.ggml.tokens",
            strings([vec![b'x'; MAX_TOKEN_BYTES + 1]]),
        ),
        ("tokenizer.ggml.token_type", vec![1i32].into()),
        ("tokenizer.ggml.scores", vec![0f64; 300].into()),
        ("tokenizer.ggml.scores", vec![0f32; 3].into()),
        ("tokenizer.ggml.merges", Value::Bool(true)),
        ("tokenizer.ggml.bos_token_id", "one".into()),
    ];
    for (key, value) in cases {
        let mut metadata = byte_pair("gpt-2");
        metadata.set(key, value);
        let error = Tokenizer::from_metadata(&metadata).unwrap_err().to_string();
        assert!(error.contains(key), "{key}: {error}");
    }
    for key in [
        "tokenizer.ggml.model",
        "tokenizer.ggml.tokens",
        "tokenizer.ggml.merges",
    ] {
        let mut metadata = byte_pair("gpt-2");
        metadata.remove(key);
        let error = Tokenizer::from_metadata(&metadata).unwrap_err().to_string();
        assert!(error.contains(key), "{error}");
    }
}

#[test]
fn oddities_that_models_have_are_survived() {
    let mut metadata = byte_pair("llama-bpe");
    metadata.set("tokenizer.ggml.bos_token_id", u32::MAX);
    let odd = ["", " ", "a", "h e l", "  ", "nowhere known"].map(|merge| merge.as_bytes().to_vec());
    metadata.set("tokenizer.ggml.merges", strings(odd));
    let tokenizer = Tokenizer::from_metadata(&metadata).unwrap();
    assert_eq!(tokenizer.bos(), Some(11));
    assert_eq!(
        tokenizer.encode("hl", false, false),
        [u32::from(b'h'), u32::from(b'l')]
    );

    let mut metadata = pieces("llama");
    let texts = [
        b"<0x-1>".to_vec(),
        b"<0x".to_vec(),
        Vec::new(),
        b"\xFF\xFE".to_vec(),
        b"<0xZZ>".to_vec(),
    ];
    metadata.set("tokenizer.ggml.tokens", strings(texts));
    metadata.set("tokenizer.ggml.token_type", vec![6i32, 6, 1, 99, 6]);
    metadata.set(
        "tokenizer.ggml.scores",
        vec![f32::NAN, f32::INFINITY, -0.0, 0.0, f32::NEG_INFINITY],
    );
    let tokenizer = Tokenizer::from_metadata(&metadata).unwrap();
    assert_eq!(tokenizer.encode("x", false, true), [0, 0, 0, 0]);
    assert_eq!(tokenizer.piece(0), b"");
    assert_eq!(tokenizer.piece(2), b"[EMPTY_2]");
}

#[test]
fn a_charsmap_that_ends_early_is_an_error() {
    for bytes in [vec![], vec![1, 2, 3], vec![255; 8], vec![4, 0, 0, 0, 1, 2, 3, 4]] {
        let mut metadata = pieces("t5");
        metadata.set(
            "tokenizer.ggml.precompiled_charsmap",
            Value::Array(Array::U8(bytes)),
        );
        let error = Tokenizer::from_metadata(&metadata).unwrap_err().to_string();
        assert!(error.contains("precompiled_charsmap"), "{error}");
    }
}

#[test]
fn half_a_megabyte_of_one_word_is_tokenized_in_time() {
    let start = std::time::Instant::now();
    for (pre, unit) in [
        ("gpt-2", "a"),
        ("gemma4", "a "),
        ("gpt-4o", "A"),
        ("llama-bpe", " "),
    ] {
        let tokenizer = Tokenizer::from_metadata(&byte_pair(pre)).unwrap();
        assert!(!tokenizer.encode(unit.repeat(1 << 19), false, false).is_empty());
    }
    for model in OTHER_KINDS {
        let tokenizer = Tokenizer::from_metadata(&pieces(model)).unwrap();
        assert!(!tokenizer.encode("ab".repeat(1 << 18), false, false).is_empty());
    }
    // Quadratic time would take hours.
    assert!(start.elapsed().as_secs() < 120, "{:?}", start.elapsed());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn byte_pairs_give_text_back(
        text in "\\PC*",
        pre in "gpt-2|llama-bpe|qwen2|deepseek-v3|gpt-4o|afmoe|falcon|youtu|superbpe|kimi-k2|jais-2",
    ) {
        let tokenizer = Tokenizer::from_metadata(&byte_pair(&pre)).unwrap();
        let ids = tokenizer.encode(&text, false, false);
        let pieces: Vec<u8> = ids.iter().flat_map(|&id| tokenizer.piece(id)).collect();
        prop_assert_eq!(String::from_utf8_lossy(&pieces), text);
    }

    #[test]
    fn any_bytes_have_tokens(text in prop::collection::vec(any::<u8>(), 0..200)) {
        for model in OTHER_KINDS {
            let tokenizer = Tokenizer::from_metadata(&pieces(model)).unwrap();
            let ids = tokenizer.encode(&text, true, true);
            prop_assert!(ids.iter().all(|&id| (id as usize) < tokenizer.n_vocab()));
            tokenizer.decode(&ids, true, true);
        }
    }

    #[test]
    fn any_charsmap_is_survived(
        bytes in prop::collection::vec(any::<u8>(), 9..400),
        text in "\\PC{0,40}",
    ) {
        let mut bytes = bytes;
        let size = (bytes.len() as u32 - 5) / 4 * 4;
        bytes[..4].copy_from_slice(&size.to_le_bytes());
        let mut metadata = pieces("t5");
        metadata.set("tokenizer.ggml.precompiled_charsmap", Value::Array(Array::U8(bytes)));
        let ids = Tokenizer::from_metadata(&metadata).unwrap().encode(&text, true, true);
        prop_assert!(ids.iter().all(|&id| id < 300));
    }
}
