//! A vocabulary that is shorter or longer than the embeddings: logits and probabilities are those of its tokens.

use std::path::{Path, PathBuf};

use gguf::{FilePlan, GgufModel, Writer};
use quantsmith_reference::{Model, PerplexityOptions, perplexity};

const ROWS: usize = 48;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/forward")
        .join(name)
}

/// A fixture, to which a tokenizer of `tokens` tokens is added.
fn with_tokens(name: &str, tokens: usize, path: &Path) -> Model {
    let source = GgufModel::open(&fixture(name)).unwrap();
    let mut metadata = source.metadata().clone();
    let tokens: Vec<String> = (0..tokens).map(|i| format!("t{i}")).collect();
    metadata.set("tokenizer.ggml.tokens", tokens);
    let infos = (0..source.len()).map(|i| {
        let info = source.info(i);
        (info.name.clone(), info.shape.clone(), info.ty)
    });
    let plan = FilePlan::new(metadata, infos).unwrap();
    let writer = Writer::create(path, &plan).unwrap();
    for i in 0..source.len() {
        let bytes = source.bytes(i, 0..source.info(i).size_bytes()).unwrap();
        writer.write_at(i, 0, &bytes).unwrap();
    }
    writer.finish().unwrap();
    Model::load(path).unwrap()
}

#[test]
fn rows_beyond_the_vocabulary_are_no_tokens() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.gguf");
    // With an output matrix of its own, and with one that is tied to the embeddings.
    for name in ["llama.gguf", "llama-rope-llama3.gguf"] {
        let whole = Model::load(&fixture(name)).unwrap();
        for tokens in [40, 47] {
            let model = with_tokens(name, tokens, &path);
            assert_eq!(model.vocabulary(), tokens);
            let text: Vec<u32> = (0..67u32).map(|i| (i * i * 5 + i * 3) % 40).collect();
            let options = PerplexityOptions::default().context(16);
            let report = perplexity(&model, &text, &options, &mut |_| ()).unwrap();
            let mut nll = Vec::new();
            for window in text.chunks_exact(16) {
                let all = whole.forward(&[window], 0..16, None).unwrap();
                let some = model.forward(&[window], 0..16, None).unwrap();
                assert_eq!((all.vocabulary, some.vocabulary), (ROWS, tokens));
                for i in 8..15 {
                    let row = &all.row(i)[..tokens];
                    assert_eq!(some.row(i), row);
                    let sum: f64 = row.iter().map(|&x| f64::from(x).exp()).sum();
                    nll.push(sum.ln() - f64::from(row[window[i + 1] as usize]));
                }
            }
            let mean = nll.iter().sum::<f64>() / nll.len() as f64;
            assert!((report.nll - mean).abs() < 1e-6, "{} {mean}", report.nll);
            let padded = perplexity(&whole, &text, &options, &mut |_| ()).unwrap();
            assert!(padded.nll > report.nll + 1e-3, "the rows beyond have their share");
            let outside = perplexity(&model, &[tokens as u32; 40], &options, &mut |_| ()).unwrap_err();
            assert!(
                outside.to_string().contains(&format!(
                    "expected tokens below {tokens}, the size of the vocabulary"
                )),
                "{outside}"
            );
        }
    }
}

#[test]
fn tokens_beyond_the_embeddings_are_refused_where_they_occur() {
    let dir = tempfile::tempdir().unwrap();
    let model = with_tokens("llama.gguf", 60, &dir.path().join("model.gguf"));
    assert_eq!(model.vocabulary(), ROWS);
    assert!(model.forward(&[&[1, 2, 47]], 0..3, None).is_ok());
    let error = model.forward(&[&[1, 2, 48]], 0..3, None).unwrap_err().to_string();
    assert!(
        error.contains("expected tokens below 48, the size of the vocabulary, found 48"),
        "{error}"
    );
}
