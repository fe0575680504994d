//! Perplexity of overlapping windows against stock llama.cpp's logits.

use std::path::Path;

use oracle::{architectures, python};
use reference::{Model, PerplexityOptions, Rounding, Tokenizer, perplexity_strided};

#[test]
fn strided_perplexity_is_stocks() {
    let Some(python) = python() else { return };
    let dir = tempfile::tempdir().unwrap();
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/demo");
    let file = dir.path().join("demo.gguf");
    architectures::convert_as_it_is(&demo, &file).unwrap();
    let text = dir.path().join("text.txt");
    let story: String = (0..200)
        .map(|i| format!("On day {i} the ship sailed {} miles west. ", i * 7 % 31))
        .collect();
    std::fs::write(&text, &story).unwrap();
    let model = Model::load(&file).unwrap().with_rounding(Rounding::LlamaCpp);
    let tokenizer = Tokenizer::from_metadata(model.gguf().metadata()).unwrap();
    let tokens = tokenizer.encode(&story, true, false);
    for (context, stride, windows) in [(64, 16, 6), (64, 32, 4), (48, 47, 3)] {
        let options = PerplexityOptions::default()
            .context(context)
            .chunks(Some(windows));
        let report = perplexity_strided(&model, &tokens, &options, stride, &mut |_| ()).unwrap();
        let said = python
            .run(
                "stock_stride.py",
                [
                    file.to_str().unwrap(),
                    text.to_str().unwrap(),
                    &context.to_string(),
                    &stride.to_string(),
                    &windows.to_string(),
                ],
            )
            .unwrap();
        let mut words = said.split_whitespace();
        let stock: f64 = words.next().unwrap().parse().unwrap();
        let count: usize = words.next().unwrap().parse().unwrap();
        assert_eq!(report.scored, count);
        println!("{context} {stride}: {:.4}, stock {stock:.4}", report.ppl);
        assert!(
            (report.ppl / stock - 1.0).abs() < 1e-3,
            "{context} {stride}: {}, stock {stock}",
            report.ppl
        );
    }
}
