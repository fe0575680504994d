//! Models that predict no tokens: what is measured of predictions is refused, and says what there is of them.

use std::path::{Path, PathBuf};

use quantsmith_reference::{
    Labels, Model, PerplexityOptions, Pooling, architectures, divergence, perplexity, predicts,
};

fn bert() -> Model {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/forward/bert.gguf");
    Model::load(&path).unwrap()
}

fn tokens() -> Vec<u32> {
    (0..24).map(|i| (i * 29 + i * i * 7) % 48).collect()
}

#[test]
fn figures_of_predictions_are_refused() {
    let (model, tokens) = (bert(), tokens());
    let options = PerplexityOptions::default().context(8);
    let none = &mut |_: &_| {};
    let refusals = [
        perplexity(&model, &tokens, &options, none).map(drop),
        divergence::compare(&model, &[bert()], &tokens, &options, &mut |_| {}).map(drop),
        model.forward(&[&tokens], 0..24, None).map(drop),
        model.expect_predictions(),
    ];
    for refused in refusals {
        let message = refused.unwrap_err().to_string();
        assert!(
            message.contains("an encoder alone (bert), of which embeddings can be made"),
            "{message}"
        );
    }
    let part = model.without_backward().unwrap();
    assert!(part.contains("without predictions"), "{part}");
    struct Nothing;
    impl quantsmith_reference::GradientTap for Nothing {
        fn linear(&mut self, _: &str, _: Option<usize>, _: &[f32], _: usize) {}
        fn output(&mut self, _: &str, _: &[f32], _: usize, _: &[u32]) {}
        fn embedding(&mut self, _: &str, _: &[f32], _: usize) {}
    }
    assert!(model.backward(&tokens, Labels::Sampled(1), &mut Nothing).is_err());
}

#[test]
fn an_architecture_says_whether_it_predicts() {
    assert!(predicts("llama") && predicts("t5") && predicts("qwen3tts"));
    let without: Vec<&str> = architectures().filter(|name| !predicts(name)).collect();
    assert!(without.contains(&"bert") && without.contains(&"wavtokenizer-dec"));
    assert_eq!(without.len(), 10, "{without:?}");
    assert!(!predicts("no architecture"));
}

#[test]
fn rows_of_tokens_are_what_is_pooled() {
    let (model, tokens) = (bert(), tokens());
    let windows: [&[u32]; 2] = [&tokens[..5], &tokens];
    let rows = model.embed_tokens(&windows).unwrap();
    assert_eq!((rows.rows, rows.data.len()), (29, 29 * rows.columns));
    let near = |got: &[f32], row: &[f32]| {
        let length = row.iter().map(|x| x * x).sum::<f32>().sqrt();
        got.iter().zip(row).all(|(a, b)| (a - b / length).abs() < 1e-6)
    };
    let first = model.embed_by(&windows, Pooling::First).unwrap();
    let last = model.embed_by(&windows, Pooling::Last).unwrap();
    assert!(near(&first[1], rows.row(5)) && near(&last[1], rows.row(28)));
    assert!(near(&first[0], rows.row(0)) && near(&last[0], rows.row(4)));
    let mean = model.embed_by(&windows, Pooling::Mean).unwrap();
    assert_eq!(mean, model.embed(&windows).unwrap());
}
