//! Three sizes that should agree: rows of the embeddings, `vocab_size`, the tokenizer's tokens. Where they do not,
//! a vocabulary is padded or cut to the embeddings with a warning that gives all three, or refused with them; what
//! is written, stock llama.cpp loads.

use std::fs;
use std::path::{Path, PathBuf};

use convert::pipeline::{PipelineOptions, execute};
use convert::plan::OutputPlan;
use convert::source::Source as _;
use convert::source::hf::{HfOptions, HfSource, OutType};
use convert::tokenizer::{Tiktoken, VocabKind, VocabRequest, Vocabulary, vocab_metadata};
use oracle::vocab::{digest_lines, request_for};
use serde_json::{Map, Value, json};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures/vocab")
        .join(name)
}

fn config(name: &str) -> Value {
    serde_json::from_slice(&fs::read(fixture(name).join("config.json")).unwrap()).unwrap()
}

fn request(name: &str, config: &Value) -> VocabRequest {
    let kind = match name {
        "tiktoken_qwen" => VocabKind::Tiktoken(Tiktoken::Qwen),
        "tiktoken_glm" => VocabKind::Tiktoken(Tiktoken::Glm),
        "tiktoken_kimi" => VocabKind::Tiktoken(Tiktoken::Kimi),
        "tiktoken_hunyuan" => VocabKind::Tiktoken(Tiktoken::Hunyuan),
        "rwkv" => VocabKind::Rwkv,
        "word_pieces" => VocabKind::WordPiece,
        _ => return request_for(config),
    };
    VocabRequest::new(&[kind])
}

fn read(name: &str, configured: u64, embeddings: Option<u64>) -> Result<Vocabulary, String> {
    let mut config = config(name);
    config["vocab_size"] = json!(configured);
    let mut request = request(name, &config);
    request.embeddings = embeddings;
    vocab_metadata(&fixture(name), &config, &request).map_err(|e| e.to_string())
}

/// Whether a message gives the sizes.
fn tells(message: &str, rows: u64, configured: u64) -> bool {
    message.contains(&format!("embeddings of {rows} rows"))
        && message.contains(&format!("`vocab_size` {configured} in config.json"))
        && message.contains("a tokenizer of ")
}

/// Every kind of vocabulary, with embeddings and `vocab_size` a little and much shorter and longer than it is.
#[test]
fn every_combination_fits_the_embeddings_or_is_refused() {
    let (mut written, mut refused) = (0, 0);
    for name in [
        "spm_bpe",
        "spm_unigram",
        "llama_hf",
        "llama3",
        "qwen2",
        "xlm_roberta",
        "word_pieces",
        "rwkv",
        "tiktoken_qwen",
        "tiktoken_glm",
        "tiktoken_kimi",
        "tiktoken_hunyuan",
    ] {
        let size = config(name)["vocab_size"].as_u64().unwrap();
        let sizes = [
            size,
            size + 1,
            size + 16,
            size - 1,
            size - 10,
            size - 64,
            100,
            2 * size,
        ];
        for configured in sizes {
            // What the configuration alone makes, as the stock converter would.
            let stock = read(name, configured, None);
            for rows in sizes {
                let case = format!("{name}: {rows} rows, vocab_size {configured}");
                match read(name, configured, Some(rows)) {
                    Err(message) => {
                        assert!(tells(&message, rows, configured), "{case}: {message}");
                        refused += 1;
                    }
                    Ok(vocabulary) => {
                        let tokens = vocabulary.metadata.get("tokenizer.ggml.tokens").unwrap();
                        assert_eq!(tokens.as_array().unwrap().len() as u64, rows, "{case}");
                        let outside = vocabulary
                            .metadata
                            .iter()
                            .any(|(key, id)| key.ends_with("_token_id") && id.as_u64() >= Some(rows));
                        assert!(!outside, "{case}");
                        let told = vocabulary.warnings.iter().any(|w| tells(w, rows, configured));
                        match &stock {
                            // Bytes that the stock converter writes and stock loads stay as they are.
                            Ok(stock) if stock.n_vocab as u64 == rows => {
                                let ours = digest_lines(&vocabulary.metadata);
                                assert_eq!(ours, digest_lines(&stock.metadata), "{case}");
                                assert!(told || vocabulary.own as u64 <= rows, "{case}: silent cut");
                            }
                            _ => assert!(told, "{case}: {:?}", vocabulary.warnings),
                        }
                        written += 1;
                    }
                }
            }
        }
    }
    // Both outcomes occur for good: a rule that refused everything would pass the rest.
    assert!(
        written > 250 && refused > 150,
        "{written} written, {refused} refused"
    );
}

#[test]
fn padding_that_a_number_alone_demands_is_bounded() {
    for name in [
        "spm_bpe",
        "llama3",
        "rwkv",
        "tiktoken_glm",
        "word_pieces",
        "xlm_roberta",
    ] {
        let message = read(name, 1 << 22, None).unwrap_err();
        assert!(
            message.contains("4194304") && message.contains("padding"),
            "{name}: {message}"
        );
        // With embeddings, these say what is needed, and the number costs nothing.
        let size = config(name)["vocab_size"].as_u64().unwrap();
        match read(name, 1 << 22, Some(size)) {
            Ok(vocabulary) => assert_eq!(vocabulary.n_vocab as u64, size, "{name}"),
            Err(message) => assert!(tells(&message, size, 1 << 22), "{name}: {message}"),
        }
    }
}

/// A directory with a fixture's tokenizer and a whole model of one block with `rows` rows of embeddings.
fn model(name: &str, configured: u64, rows: u64) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(fixture(name)).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            fs::copy(&path, dir.path().join(path.file_name().unwrap())).unwrap();
        }
    }
    let mut config = config(name);
    config["vocab_size"] = json!(configured);
    fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
    let mut shapes = vec![
        ("model.embed_tokens.weight".to_owned(), vec![rows, 64]),
        ("lm_head.weight".into(), vec![rows, 64]),
        ("model.norm.weight".into(), vec![64]),
    ];
    let block = |part: &str| format!("model.layers.0.{part}");
    for (part, shape) in [
        ("input_layernorm.weight", vec![64]),
        ("post_attention_layernorm.weight", vec![64]),
        ("self_attn.q_proj.weight", vec![64, 64]),
        ("self_attn.k_proj.weight", vec![32, 64]),
        ("self_attn.v_proj.weight", vec![32, 64]),
        ("self_attn.o_proj.weight", vec![64, 64]),
        ("mlp.gate_proj.weight", vec![128, 64]),
        ("mlp.up_proj.weight", vec![128, 64]),
        ("mlp.down_proj.weight", vec![64, 128]),
    ] {
        shapes.push((block(part), shape));
    }
    if name == "qwen2" {
        for (part, n) in [("q", 64), ("k", 32), ("v", 32)] {
            shapes.push((block(&format!("self_attn.{part}_proj.bias")), vec![n]));
        }
    }
    let (mut header, mut data) = (Map::new(), Vec::new());
    for (name, shape) in shapes {
        let begin = data.len();
        for i in 0..shape.iter().product::<u64>() {
            data.extend(((i % 101) as f32 / 640.0 - 0.075).to_le_bytes());
        }
        header.insert(
            name,
            json!({"dtype": "F32", "shape": shape, "data_offsets": [begin, data.len()]}),
        );
    }
    let header = Value::Object(header).to_string();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.extend(data);
    fs::write(dir.path().join("model.safetensors"), file).unwrap();
    dir
}

#[test]
fn stock_loads_what_is_written() {
    let Some(python) = oracle::python() else { return };
    let mut loaded = 0;
    for name in ["spm_bpe", "spm_unigram", "llama_hf", "llama3", "qwen2"] {
        let size = config(name)["vocab_size"].as_u64().unwrap();
        for (configured, rows) in [
            (size, size),
            (size, size + 16),
            (size + 16, size),
            (size, size - 1),
            (size - 1, size - 1),
        ] {
            let dir = model(name, configured, rows);
            let options = HfOptions::default().outtype(OutType::F32);
            let Ok(source) = HfSource::open(dir.path(), &options) else {
                continue;
            };
            let path = dir.path().join("model.gguf");
            let plan = OutputPlan::unquantized(path.clone(), &source, Vec::new()).unwrap();
            execute(&source, &[plan], &PipelineOptions::default(), &|_| {}).unwrap();
            let size = source.metadata().arch("vocab_size").and_then(gguf::Value::as_u64);
            // The tokenizer alone is right here, and stock writes the configured number all the same.
            let as_stock = name == "llama_hf" && rows == 422;
            assert!(
                as_stock || size.is_none_or(|n| n == rows),
                "{name}: vocab_size {size:?} of {rows} rows"
            );
            let done = python.run("stock.py", ["load".as_ref(), path.as_os_str()]);
            assert!(
                done.is_ok(),
                "{name}, vocab_size {configured}, {rows} rows: {done:?}"
            );
            loaded += 1;
        }
    }
    assert!(loaded >= 17, "{loaded}");
}
