//! The output of models for each token where there is no pooling, beside stock llama.cpp's embeddings: spectra of sound, states
//! that go through the layers behind the pooling, and the states of encoders, of which nothing predicts tokens.

use std::path::Path;

use oracle::forward::{of_windows, stock_likelihood};
use oracle::{architectures, python};
use reference::{Model, PerplexityOptions, Rounding, perplexity};

/// Fixtures, and how far from stock's rows ours may be, relative to their root mean square. Stock rounds what WavTokenizer's
/// convolutions multiply to half precision, and looks GELU up in a table of it, in the approximation by tanh.
const MODELS: [(&str, f64); 11] = [
    ("wavtokenizer-dec", 1e-3),
    ("lfm2-audio-tokenizer", 1e-3),
    ("lfm2-dense", 1e-3),
    ("lfm2-bidirectional", 1e-3),
    ("bert", 1e-3),
    ("bert-masked", 1e-3),
    ("bert-distil-masked", 1e-3),
    ("modern-bert-masked", 1e-3),
    ("neo-bert-head", 1e-3),
    ("gemma-embedding", 1e-3),
    ("t5encoder", 1e-3),
];

/// Windows of different lengths, the shortest of them shorter than a convolution is wide.
fn windows(vocabulary: usize) -> Vec<Vec<u32>> {
    let mut first = 0;
    let lengths = [40, 5, 23];
    lengths
        .map(|len| {
            let ids = first..first + len;
            first += len;
            ids.map(|i| ((i * 29 + i * i * 7 + 3) % vocabulary.min(300)) as u32)
                .collect()
        })
        .to_vec()
}

/// Stock's embeddings of all tokens.
fn stock(dir: &Path, file: &Path, windows: &[Vec<u32>], more: &[&str]) -> Vec<f32> {
    of_windows("stock_rows.py", (dir, file), windows, more).unwrap().0
}

fn converted(name: &str, dir: &Path) -> std::path::PathBuf {
    let folder = architectures::directory(name, dir);
    let file = dir.join(format!("{name}.gguf"));
    architectures::convert(&folder, &file, false).unwrap();
    file
}

/// Stock computes no logits of encoders, and takes every token for as likely as any other.
#[test]
fn encoders_predict_nothing() {
    if python().is_none() {
        return;
    }
    for name in ["bert", "neo-bert-head", "gemma-embedding"] {
        let dir = tempfile::tempdir().unwrap();
        let file = converted(name, dir.path());
        let model = Model::load(&file).unwrap();
        let windows = windows(model.vocabulary());
        let stock = stock_likelihood(dir.path(), &file, &windows).unwrap();
        assert!(
            (stock - (model.vocabulary() as f64).ln()).abs() < 1e-6,
            "{name}: {stock}"
        );
        let options = PerplexityOptions::default().context(16);
        let refused = perplexity(&model, &windows.concat(), &options, &mut |_| {}).unwrap_err();
        let message = refused.to_string();
        assert!(message.contains("an encoder alone"), "{message}");
    }
}

/// Classifiers that stock loads, with heads of one matrix and of two, a norm between them or not.
const CLASSIFIERS: [&str; 5] = [
    "bert-classifier",
    "bert-distil-classifier",
    "bert-roberta-classifier",
    "modern-bert-classifier",
    "neo-bert-classifier",
];

#[test]
fn scores_of_labels_are_stocks() {
    if python().is_none() {
        return;
    }
    let mut wrong = Vec::new();
    for name in CLASSIFIERS {
        let dir = tempfile::tempdir().unwrap();
        let folder = architectures::directory(name, dir.path());
        // The library of v0.5.0 takes the mean of ModernBERT's states, whatever the file says.
        architectures::edit_json(&folder.join("config.json"), |config| {
            config["classifier_pooling"] = "mean".into();
        });
        let file = dir.path().join("model.gguf");
        architectures::convert(&folder, &file, false).unwrap();
        let model = Model::load(&file).unwrap();
        let windows = windows(model.vocabulary());
        let expected = stock(dir.path(), &file, &windows, &["scores"]);
        let views: Vec<&[u32]> = windows.iter().map(Vec::as_slice).collect();
        let got = model.classify(&views).unwrap().concat();
        assert_eq!(got.len(), expected.len(), "{name}");
        let far = oracle::forward::apart(&got, &expected);
        println!("{name}: scores {far:.1e} from stock's");
        if far.is_nan() || far > 1e-3 {
            wrong.push(name);
        }
    }
    assert!(wrong.is_empty(), "{wrong:?} are not stock's");
    let dir = tempfile::tempdir().unwrap();
    let model = Model::load(&converted("bert", dir.path())).unwrap();
    let message = model.classify(&[&[1, 2]]).unwrap_err().to_string();
    assert!(message.contains("the head of a classifier"), "{message}");
}

/// Codes of sound are not pooled, and no text is measured of what predicts them alone.
#[test]
fn sound_is_no_text() {
    let dir = tempfile::tempdir().unwrap();
    let decoder = Model::load(&converted("wavtokenizer-dec", dir.path())).unwrap();
    let window: Vec<u32> = (0..40).collect();
    let message = decoder.embed(&[&window]).unwrap_err().to_string();
    assert!(message.contains("a row of a spectrum of each code"), "{message}");
    let message = decoder.expect_predictions().unwrap_err().to_string();
    assert!(
        message.contains("a decoder of sound (wavtokenizer-dec)"),
        "{message}"
    );
    let talker = Model::load(&converted("qwen3tts", dir.path())).unwrap();
    let options = PerplexityOptions::default().context(16);
    let measure = |tokens: &[u32]| perplexity(&talker, tokens, &options, &mut |_| {});
    let message = measure(&window).unwrap_err().to_string();
    assert!(message.contains("tokens that the model predicts"), "{message}");
    let codes: Vec<u32> = (0..40).map(|n| 1000 + n).collect();
    assert!(measure(&codes).unwrap().ppl > 1.0);
}

#[test]
fn rows_are_stocks() {
    if python().is_none() {
        return;
    }
    let mut wrong = Vec::new();
    for (name, bound) in MODELS {
        let dir = tempfile::tempdir().unwrap();
        let file = converted(name, dir.path());
        let model = Model::load(&file).unwrap();
        let windows = windows(model.vocabulary());
        let expected = stock(dir.path(), &file, &windows, &[]);
        let views: Vec<&[u32]> = windows.iter().map(Vec::as_slice).collect();
        let got = model.embed_tokens(&views).unwrap();
        assert_eq!(got.rows, windows.iter().map(Vec::len).sum::<usize>());
        assert_eq!(got.data.len(), expected.len(), "{name}");
        let far = oracle::forward::apart(&got.data, &expected);
        let rounding = Model::load(&file).unwrap().with_rounding(Rounding::LlamaCpp);
        let rounded = rounding.embed_tokens(&views).unwrap();
        let close = oracle::forward::apart(&rounded.data, &expected);
        println!("{name}: {far:.1e}, rounded as stock rounds {close:.1e}");
        if far.is_nan() || far > bound {
            wrong.push(name);
        }
        // Windows do not see each other.
        let alone = model.embed_tokens(&views[1..2]).unwrap();
        let first = windows[0].len();
        let mine = &got.data[first * got.columns..][..alone.data.len()];
        assert!(oracle::forward::apart(&alone.data, mine) < 1e-5, "{name}");
    }
    assert!(wrong.is_empty(), "{wrong:?} are not stock's");
}
