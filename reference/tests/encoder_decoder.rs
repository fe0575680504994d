//! Models with an encoder and a decoder against transformers: logits, perplexity and importance by teacher forcing.
//!
//! `oracle/py/forward_fixtures.py` makes the fixtures (`TWO_TEXTS`).

use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use imatrix::Accumulator;
use quantsmith_reference::calibration::{Calibration, collect};
use quantsmith_reference::divergence::compare;
use quantsmith_reference::{
    Error, GradientTap, Labels, LogitsSink, Model, PerplexityOptions, StandIn, perplexity, perplexity_strided,
};

/// T5 with a tied output matrix and fewer decoder layers, with gates, and UMT5 with biases in every layer.
const MODELS: [&str; 3] = ["t5", "t5-gated", "t5-umt5"];
const VOCABULARY: usize = 48;
const WINDOW: usize = 24;
/// The first position that has logits: those before are the encoder's.
const FIRST: usize = WINDOW / 2;

fn fixture(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/forward")
        .join(file)
}

fn load(name: &str) -> Model {
    Model::load(&fixture(&format!("{name}.gguf"))).unwrap()
}

/// The two windows of the fixtures.
fn windows() -> [Vec<u32>; 2] {
    let one: Vec<u32> = (0..WINDOW as u32)
        .map(|i| (i * 29 + i * i * 7) % VOCABULARY as u32)
        .collect();
    let other = one.iter().rev().copied().collect();
    [one, other]
}

/// transformers' logits of both windows from [`FIRST`] on.
fn expected(name: &str) -> Vec<f32> {
    let bytes = std::fs::read(fixture(&format!("{name}.logits"))).unwrap();
    let numbers = bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b));
    numbers.collect()
}

/// Root of the mean squared difference over root of the mean square.
fn distance(got: &[f32], want: &[f32]) -> f64 {
    assert_eq!(got.len(), want.len());
    let square = |x: f32| f64::from(x) * f64::from(x);
    let difference: f64 = got.iter().zip(want).map(|(g, w)| square(g - w)).sum();
    (difference / want.iter().map(|w| square(*w)).sum::<f64>()).sqrt()
}

#[test]
fn logits_equal_transformers() {
    for name in MODELS {
        let model = load(name);
        let windows = windows();
        let want = expected(name);
        let views: Vec<&[u32]> = windows.iter().map(Vec::as_slice).collect();
        let all = model.forward(&views, 0..WINDOW, None).unwrap();
        assert_eq!(all.rows, 2 * (WINDOW - FIRST));
        let far = distance(&all.data, &want);
        assert!(far < 1e-5, "{name}: {far:e}");

        // Windows do not see each other, and only what is asked for comes back.
        let some = model.forward(&[&[], &windows[1]], 15..18, None).unwrap();
        assert_eq!(some.rows, 3);
        let rows = WINDOW - FIRST + 15 - FIRST..WINDOW - FIRST + 18 - FIRST;
        let want = &want[rows.start * VOCABULARY..rows.end * VOCABULARY];
        assert!(distance(&some.data, want) < 1e-5, "{name}");
    }
}

/// The encoder's tokens change every prediction, a token of the decoder those after it.
#[test]
fn predictions_follow_from_what_comes_before() {
    for name in MODELS {
        let model = load(name);
        let [window, _] = windows();
        let of = |window: &[u32]| model.forward(&[window], FIRST..WINDOW, None).unwrap();
        let whole = of(&window);
        for changed in [0, FIRST, FIRST + 1, WINDOW - 1] {
            let mut other = window.clone();
            other[changed] = (other[changed] + 1) % VOCABULARY as u32;
            let other = of(&other);
            for position in FIRST..WINDOW {
                let row = position - FIRST;
                let same = whole.row(row) == other.row(row);
                assert_eq!(same, changed > position, "{name}, {changed}: {position}");
            }
        }
        // Windows of one and two tokens are the encoder's alone.
        for short in [1, 2] {
            assert_eq!(of(&window[..short]).rows, 0);
            let logits = model.forward(&[&window[..short]], 0..short, None).unwrap();
            assert_eq!(logits.rows, 1, "{name}");
        }
    }
}

#[test]
fn perplexity_is_that_of_the_definition() {
    for name in MODELS {
        let model = load(name);
        let windows = windows();
        let tokens = windows.concat();
        let options = PerplexityOptions::default().context(WINDOW);
        let report = perplexity(&model, &tokens, &options, &mut |_| {}).unwrap();
        let want = expected(name);
        let mut nll = Vec::new();
        for (window, logits) in windows
            .iter()
            .zip(want.chunks_exact((WINDOW - FIRST) * VOCABULARY))
        {
            // The tokens that are scored are those that the decoder is given.
            for (target, row) in window[FIRST + 1..].iter().zip(logits.chunks_exact(VOCABULARY)) {
                let sum: f64 = row.iter().map(|x| f64::from(*x).exp()).sum();
                nll.push(sum.ln() - f64::from(row[*target as usize]));
            }
        }
        assert_eq!(report.scored, nll.len());
        let mean = nll.iter().sum::<f64>() / nll.len() as f64;
        assert!((report.nll - mean).abs() < 1e-4, "{name}: {} {mean}", report.nll);

        // One window at a time gives the same.
        let small = model.bytes_per_run() + model.bytes_per_token() * WINDOW as u64;
        let alone = perplexity(&model, &tokens, &options.max_memory(small), &mut |_| {}).unwrap();
        assert!((report.nll - alone.nll).abs() < 1e-6, "{name}");
    }
}

#[test]
fn importance_is_that_of_hooks_in_transformers() {
    for name in MODELS {
        let model = load(name);
        let mut sums = Accumulator::new(WINDOW as u32);
        let calibration = Calibration::new(WINDOW);
        let tokens = windows().concat();
        collect(&model, &tokens, &calibration, &mut sums, 0, &mut |_| {
            Ok::<_, Error>(())
        })
        .unwrap();
        let text = std::fs::read_to_string(fixture(&format!("{name}.importance"))).unwrap();
        let got = &sums.totals().entries;
        assert_eq!(got.len(), text.lines().count(), "{name}");
        for line in text.lines() {
            let (tensor, numbers) = line.split_once(' ').unwrap();
            let numbers: Vec<f32> = numbers.split(' ').map(|x| x.parse().unwrap()).collect();
            let entry = got.get(tensor).unwrap_or_else(|| panic!("{name}: {tensor}"));
            assert_eq!(entry.counts, [numbers[0]], "{tensor}");
            let far = distance(&entry.sums, &numbers[1..]);
            assert!(far < 1e-5, "{name}: {tensor}: {far:e}");
        }
    }
}

/// The type and blocks of every matrix of layers as Q8_0.
fn eight_bits(model: &Model) -> Vec<StandIn> {
    let ty = gguf::TensorType::Q8_0;
    let mut made = Vec::new();
    for tensor in model.gguf().tensors() {
        let info = tensor.info;
        if info.shape.len() != 2 || !info.name.contains("blk.") || info.name.contains("rel_b") {
            continue;
        }
        let bytes = model.gguf().bytes(tensor.index, 0..info.size_bytes()).unwrap();
        let numbers = bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b));
        let numbers: Vec<f32> = numbers.collect();
        let columns = info.row_len() as usize;
        let mut blocks = vec![0; ty.row_bytes(columns as u64).unwrap() as usize * info.rows() as usize];
        quants::encode(ty, &numbers, columns, None, &mut blocks).unwrap();
        made.push((info.name.clone(), ty, blocks.into()));
    }
    made
}

/// A quantized model diverges a little, whole or layer by layer: a staged pass ends with the same logits.
#[test]
fn quantized_weights_diverge_a_little() {
    for name in MODELS {
        let model = load(name);
        let stand_ins = eight_bits(&model);
        let quant = model.standing_in(&stand_ins, &HashMap::new()).unwrap();
        let tokens = windows().concat();
        let options = PerplexityOptions::default().context(WINDOW);
        let seen = compare(
            &model,
            std::slice::from_ref(&quant),
            &tokens,
            &options,
            &mut |_| {},
        )
        .unwrap();
        assert_eq!(seen[0].len(), 2 * (WINDOW - FIRST - 1));
        let mean = seen[0].iter().map(|o| o.kld).sum::<f64>() / seen[0].len() as f64;
        assert!((1e-7..0.3).contains(&mean), "{name}: {mean:e}");
    }
}

/// Logits of one window whose vocabulary is one tile.
#[derive(Default)]
struct Logits(Vec<f32>);

impl LogitsSink for Logits {
    fn tile(&mut self, _: Range<usize>, logits: &[f32]) {
        self.0.extend_from_slice(logits);
    }
}

/// The state that goes from layer to layer, through files too, is all that the layers behind need: from wherever a pass stops it
/// ends with the logits of the whole model.
#[test]
fn staged_passes_end_with_the_same_logits() {
    for name in MODELS {
        let model = load(name);
        let stand_ins = eight_bits(&model);
        let quant = model.standing_in(&stand_ins, &HashMap::new()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let mut staged = model
            .staged(&windows(), &[0..1, 1..2], Vec::new(), Some(dir.path()))
            .unwrap();
        for layer in 0..=model.layers() {
            for (batch, window) in windows().iter().enumerate() {
                let whole = model.forward(&[window], 14..WINDOW, None).unwrap();
                let mut logits = Logits::default();
                staged.finish(batch, 14..WINDOW, &[], &mut logits).unwrap();
                let far = distance(&logits.0, &whole.data);
                assert!(far < 1e-5, "{name}, layer {layer}: {far:e}");
                let whole = quant.forward(&[window], 14..WINDOW, None).unwrap();
                let mut logits = Logits::default();
                staged.finish(batch, 14..WINDOW, &stand_ins, &mut logits).unwrap();
                let same = distance(&logits.0, &whole.data) < 1e-5;
                assert_eq!(same, layer == 0, "{name}, layer {layer}");
            }
            if layer < model.layers() {
                staged.advance().unwrap();
            }
        }
    }
}

/// Requests without a meaning for two texts are refused, with one that has one.
#[test]
fn what_needs_one_text_is_refused() {
    let model = load("t5");
    let tokens = windows().concat();
    let refused = |error: Error, says: &str| {
        let message = error.to_string();
        assert!(message.contains(says), "{message}");
    };
    refused(model.embed(&[&tokens]).unwrap_err(), "T5EncoderModel");
    let part = model.without_backward().unwrap();
    assert!(part.contains("attention to an encoder's states"), "{part}");
    let labels = Labels::Sampled(1);
    struct Nothing;
    impl GradientTap for Nothing {
        fn linear(&mut self, _: &str, _: Option<usize>, _: &[f32], _: usize) {}
        fn output(&mut self, _: &str, _: &[f32], _: usize, _: &[u32]) {}
        fn embedding(&mut self, _: &str, _: &[f32], _: usize) {}
    }
    refused(
        model.backward(&tokens, labels, &mut Nothing).unwrap_err(),
        "encoder's states",
    );
    // Of windows that overlap, the last tokens are scored: more than the decoder has.
    let options = PerplexityOptions::default().context(12);
    let strided = |stride| perplexity_strided(&model, &tokens, &options, stride, &mut |_| {});
    refused(strided(10).unwrap_err(), "expected them from position 8 on");
    assert!(strided(4).is_ok());
}
