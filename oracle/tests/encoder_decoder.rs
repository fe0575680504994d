//! T5 against stock llama.cpp, which encodes the first half of a window and decodes the second: logits, the inputs of all
//! matrices, and what is rounded with its default settings.

use std::path::Path;

use gguf::Value;
use imatrix::Accumulator;
use oracle::{Python, architectures, python};
use reference::calibration::{Calibration, collect};
use reference::{Model, PerplexityOptions, Rounding, Tokenizer, perplexity, tasks};
use serde_json::{Value as Json, json};

/// Fixtures, and how far from stock's results ours may be. Scores are not scaled, so that weights as large as the fixtures'
/// make softmaxes out of which small differences come larger. Stock looks GELU up in a table of half precision, which shows
/// in models with gates; transformers, which does not, is as close to ours as to stock without gates.
const MODELS: [(&str, f64); 5] = [
    ("t5", 1e-4),
    ("t5-shallow", 1e-4),
    ("t5-flan", GATED),
    ("t5-multilingual", GATED),
    ("t5-umt5", GATED),
];
const GATED: f64 = 3e-2;

/// Longer than what distances are told apart to on either side, and short ones.
const LENGTHS: [usize; 2] = [320, 48];

fn windows(length: usize) -> Vec<Vec<u32>> {
    let tokens = |first: usize| {
        let ids = first..first + length;
        ids.map(|i| ((i * 29 + i * i * 7 + 3) % 300) as u32).collect()
    };
    (0..2).map(|n| tokens(n * length)).collect()
}

/// Stock's numbers for windows: logits from the middle on, and the sums and counts of each matrix's inputs. Of an output matrix
/// that is the embeddings', stock's logits are larger than the model's by the root of the width, which is taken back here.
fn stock(python: &Python, dir: &Path, file: &Path, windows: &[Vec<u32>], f32: bool) -> (Vec<f32>, Json) {
    let model = gguf::GgufModel::open(file).unwrap();
    let id = |key: &str| model.metadata().get(key).and_then(Value::as_u64).unwrap() as u32;
    let (start, end) = (id("t5.decoder_start_token_id"), id("tokenizer.ggml.eos_token_id"));
    let both = windows.iter().map(|window| {
        let (encoded, decoded) = window.split_at(window.len() / 2 + 1);
        [[encoded, &[end]].concat(), [&[start], decoded].concat()]
    });
    let job = json!({"model": file, "windows": both.collect::<Vec<_>>(), "f32": f32});
    let (path, logits) = (dir.join("job.json"), dir.join("logits"));
    std::fs::write(&path, job.to_string()).unwrap();
    let said = python.run("stock_imatrix.py", [&path, &logits]).unwrap();
    let bytes = std::fs::read(&logits).unwrap();
    let numbers = bytes.as_chunks().0.iter();
    let scale = match model.find("output.weight") {
        Some(_) => 1.0,
        None => (id("t5.embedding_length") as f32).sqrt().recip(),
    };
    (
        numbers.map(|b| scale * f32::from_le_bytes(*b)).collect(),
        serde_json::from_str(&said).unwrap(),
    )
}

fn logits(model: &Model, windows: &[Vec<u32>]) -> Vec<f32> {
    let views: Vec<&[u32]> = windows.iter().map(Vec::as_slice).collect();
    model.forward(&views, 0..usize::MAX, None).unwrap().data
}

fn converted(name: &str, dir: &Path) -> std::path::PathBuf {
    let folder = architectures::directory(name, dir);
    let file = dir.join("model.gguf");
    architectures::convert(&folder, &file, false).unwrap();
    file
}

#[test]
fn logits_and_importance_are_stocks() {
    let Some(python) = python() else { return };
    for (name, bound) in MODELS {
        let dir = tempfile::tempdir().unwrap();
        let file = converted(name, dir.path());
        let model = Model::load(&file).unwrap();
        for length in LENGTHS {
            let windows = windows(length);
            let (expected, importance) = stock(&python, dir.path(), &file, &windows, true);
            let got = logits(&model, &windows);
            assert_eq!(got.len(), expected.len(), "{name}");
            let far = oracle::forward::apart(&got, &expected);
            let mut sums = Accumulator::new(length as u32);
            let calibration = Calibration::new(length);
            let tokens = windows.concat();
            collect::<reference::Error>(&model, &tokens, &calibration, &mut sums, 0, &mut |_| Ok(()))
                .unwrap();
            let entries = &sums.totals().entries;
            let importance = importance.as_object().unwrap();
            assert_eq!(entries.len(), importance.len(), "{name}");
            let mut worst = 0f64;
            for (tensor, entry) in entries.iter() {
                let of = |key: &str| importance[tensor][key].as_array().unwrap();
                assert_eq!(
                    Some(f64::from(entry.counts[0])),
                    of("counts")[0].as_f64(),
                    "{tensor}"
                );
                let theirs = of("sums")[0].as_array().unwrap();
                let theirs: Vec<f32> = theirs.iter().map(|x| x.as_f64().unwrap() as f32).collect();
                assert_eq!(entry.sums.len(), theirs.len());
                worst = worst.max(oracle::forward::apart(&entry.sums, &theirs));
            }
            println!("{name}, {length} tokens: logits {far:.1e}, importance at most {worst:.1e}");
            assert!(far < bound && worst < bound, "{name}: {far:e} {worst:e}");
        }
    }
}

/// With stock's default settings, what it rounds is what is rounded here.
#[test]
fn rounding_is_stocks() {
    let Some(python) = python() else { return };
    for name in ["t5", "t5-shallow"] {
        let dir = tempfile::tempdir().unwrap();
        let file = converted(name, dir.path());
        let windows = windows(64);
        let (expected, _) = stock(&python, dir.path(), &file, &windows, false);
        let far = |rounding: Rounding| {
            let model = Model::load(&file).unwrap().with_rounding(rounding);
            oracle::forward::apart(&logits(&model, &windows), &expected)
        };
        let (plain, rounded) = (far(Rounding::None), far(Rounding::LlamaCpp));
        println!("{name}: {plain:.1e} without rounding, {rounded:.1e} with");
        assert!(rounded < plain / 1.5, "{name}: {plain:e} {rounded:e}");
    }
}

/// A task with one answer.
struct One;

impl tasks::Tasks for One {
    fn len(&self) -> usize {
        1
    }

    fn sequences(&self, _: usize, _: &Tokenizer) -> reference::Result<Vec<tasks::Sequence>> {
        Ok(vec![tasks::Sequence {
            tokens: vec![5, 6, 7],
            positions: 1..2,
            targets: vec![7],
        }])
    }

    fn score(&self, _: usize, _: &[Vec<f64>]) -> tasks::TaskScore {
        unreachable!("no model answers")
    }
}

/// Tasks continue one text, and an encoder alone predicts nothing: both are refused, and what works is said.
#[test]
fn what_such_models_cannot_do_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let model = Model::load(&converted("t5-umt5", dir.path())).unwrap();
    let tokenizer = Tokenizer::from_metadata(model.gguf().metadata()).unwrap();
    let error = tasks::run(&One, &model, &tokenizer, u64::MAX, &mut |_, _| ()).unwrap_err();
    assert!(error.to_string().contains("perplexity, KL divergence"), "{error}");

    let dir = tempfile::tempdir().unwrap();
    let model = Model::load(&converted("t5encoder", dir.path())).unwrap();
    let tokens = windows(48).concat();
    let options = PerplexityOptions::default().context(48);
    let error = perplexity(&model, &tokens, &options, &mut |_| ()).unwrap_err();
    assert!(
        error.to_string().contains("an encoder alone (t5encoder)"),
        "{error}"
    );
    let mut sums = Accumulator::new(48);
    let calibration = Calibration::new(48);
    collect::<reference::Error>(&model, &tokens, &calibration, &mut sums, 0, &mut |_| Ok(())).unwrap();
    // Two layers of four matrices of attention and three of the second half.
    assert_eq!(sums.totals().entries.len(), 2 * 7);
}
