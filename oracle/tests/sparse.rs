//! Sparse attention with fewer keys than the context has, beside stock llama.cpp in f32: where scores at the limit are
//! equal, which they often are, the keys seen are those that stock sees. Where none are equal, there is one right choice,
//! and the logits are those of transformers (`tests/transformers5.rs`, five-deepseek32 and five-glm-dsa).

use oracle::{architectures, python};
use reference::{Model, PerplexityOptions, perplexity};

const CONTEXT: usize = 64;
const WINDOWS: usize = 4;

#[test]
fn the_keys_are_those_that_stock_sees() {
    if python().is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let fixture = architectures::fixture("deepseek32");
    let keys = fixture["config"]["index_topk"].as_u64().unwrap();
    assert!(keys < CONTEXT as u64 / 2, "{keys} keys");
    let (folder, file) = (dir.path().join("model"), dir.path().join("model.gguf"));
    std::fs::create_dir(&folder).unwrap();
    architectures::make(&fixture, &folder);
    architectures::convert(&folder, &file, false).unwrap();

    let tokens: Vec<u32> = (0..(CONTEXT * WINDOWS) as u32)
        .map(|i| (i * 29 + i * i * 7 + 3) % 300)
        .collect();
    let windows: Vec<&[u32]> = tokens.chunks(CONTEXT).collect();
    let stock = oracle::forward::stock_likelihood(dir.path(), &file, &windows).unwrap();

    let options = PerplexityOptions::default().context(CONTEXT).bos(None);
    let model = Model::load(&file)
        .unwrap()
        .with_rounding(reference::Rounding::None);
    let ours = perplexity(&model, &tokens, &options, &mut |_| {}).unwrap();
    let ours = ours.ppl.ln();
    println!("{ours} {stock}");
    assert!((ours - stock).abs() < 1e-5 * stock, "{ours} {stock}");
}
