//! Models that make embeddings and predict no tokens: what works on them, and what says that it does not.

use crate::support;

use support::{fails, succeeds, text};

/// BERT without a vocabulary.
const BERT: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../reference/tests/fixtures/forward/bert.gguf"
);

#[test]
fn what_is_measured_of_predictions_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let words = dir.path().join("text.txt");
    std::fs::write(&words, "abc abc").unwrap();
    let says = ["an encoder alone (bert)", "embeddings can be made"];
    fails(&["perplexity", BERT, text(&words)], &says);
    fails(
        &[
            "perplexity",
            "--kl-divergence",
            "--base",
            BERT,
            BERT,
            text(&words),
        ],
        &says,
    );
    fails(&["perplexity", "--hellaswag", BERT, text(&words)], &says);
    let out = dir.path().join("out");
    fails(
        &["table", BERT, "--allow-incomplete", "--out", text(&out)],
        &["\"bert\" predict no tokens", "--no-eval"],
    );
}

#[test]
fn ids_are_embedded_without_a_vocabulary() {
    fails(&["embed", BERT, "-p", "abc"], &["a vocabulary", "--ids"]);
    fails(&["embed", BERT, "--ids", "-p", "1 x"], &["token ids", "\"x\""]);
    let one = succeeds(&["embed", BERT, "--ids", "-p", "1 2,3", "--pooling", "last"]);
    let each = succeeds(&["embed", BERT, "--ids", "-p", "1 2,3", "--pooling", "none"]);
    let numbers = |line: &str| -> Vec<f32> { line.split(' ').map(|x| x.parse().unwrap()).collect() };
    let (one, each): (Vec<Vec<f32>>, Vec<Vec<f32>>) = (
        one.lines().map(numbers).collect(),
        each.lines().map(numbers).collect(),
    );
    assert_eq!((one.len(), each.len()), (1, 3));
    let length = each[2].iter().map(|x| x * x).sum::<f32>().sqrt();
    for (pooled, state) in one[0].iter().zip(&each[2]) {
        assert!((pooled - state / length).abs() < 1e-5);
    }
    let json = succeeds(&["embed", BERT, "--ids", "-p", "1 2", "--pooling", "none", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let rows = &json["embeddings"][0]["embedding"];
    assert_eq!(rows.as_array().unwrap().len(), 2);
    assert_eq!(rows[1].as_array().unwrap().len(), one[0].len());
}
