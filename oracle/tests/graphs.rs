//! Graphs that no other program than stock llama.cpp has, beside its own in f32: every logit of windows that are longer
//! than what their indexers choose, than their sliding windows and than the blocks that one key stands for. GLM-5-Next, which
//! stock's library does not know, MiniMax-M3, which it computes in flash attention alone, and Kimi K3 with experts in 4 bits,
//! whose inputs it rounds, are beside transcriptions of their graphs to numpy.

use std::collections::HashSet;
use std::ops::Range;
use std::path::Path;

use oracle::forward::of_windows;
use oracle::{architectures, python};
use reference::{LogitsSink, Model, Staged, Tap};

/// Where the logits come from.
#[derive(Clone, Copy)]
enum Source {
    Stock,
    Numpy,
    /// The same, what is multiplied with stored blocks rounded as stock does.
    Rounded,
}

/// Fixtures, the length of the windows, and the source of what is expected.
const GRAPHS: [(&str, usize, Source); 12] = [
    ("hy_v4", 48, Source::Stock),
    ("dots3note-text", 48, Source::Stock),
    ("kimi-k3", 48, Source::Stock),
    ("kimi-k3-packed", 48, Source::Numpy),
    // One of its layers has keys of 128 tokens.
    ("deepseek4-plain", 300, Source::Stock),
    ("qwen4exp", 48, Source::Stock),
    ("qwen4exp-image", 49, Source::Stock),
    ("glm5-next", 48, Source::Numpy),
    ("qwen3tts", 48, Source::Stock),
    ("minimax-m3", 48, Source::Numpy),
    ("minimax-m3-vl", 49, Source::Numpy),
    ("dots3note-vl", 49, Source::Stock),
];
const WINDOWS: usize = 3;

/// Windows of these lengths: the last one is shorter, so that no block ends with it.
fn windows(length: usize) -> Vec<Vec<u32>> {
    let tokens = |first: usize, len: usize| {
        let ids = first..first + len;
        ids.map(|i| ((i * 29 + i * i * 7 + 3) % 300) as u32).collect()
    };
    let lengths = (0..WINDOWS).map(|n| if n + 1 == WINDOWS { length - 3 } else { length });
    lengths
        .enumerate()
        .map(|(n, len)| tokens(n * length, len))
        .collect()
}

/// The expected logits of all tokens of all windows.
fn expected(dir: &Path, file: &Path, windows: &[Vec<u32>], source: Source) -> Vec<f32> {
    let (script, more): (_, &[&str]) = match source {
        Source::Numpy => ("numpy_graphs.py", &[]),
        Source::Rounded => ("numpy_graphs.py", &["rounded"]),
        Source::Stock => ("stock_f32.py", &[]),
    };
    of_windows(script, (dir, file), windows, more).unwrap().0
}

#[test]
fn every_logit_is_the_expected_one() {
    if python().is_none() {
        return;
    }
    let mut wrong = Vec::new();
    let only = std::env::var("QUANTSMITH_ONLY").unwrap_or_default();
    for (name, length, source) in GRAPHS {
        if !only.is_empty() && only != name {
            continue;
        }
        let dir = tempfile::tempdir().unwrap();
        let folder = architectures::directory(name, dir.path());
        let file = dir.path().join("model.gguf");
        architectures::convert(&folder, &file, false).unwrap();
        let windows = windows(length);
        let expected = expected(dir.path(), &file, &windows, source);
        let model = Model::load(&file).unwrap();
        let views: Vec<&[u32]> = windows.iter().map(Vec::as_slice).collect();
        let got = model.forward(&views, 0..usize::MAX, None).unwrap();
        assert_eq!(got.data.len(), expected.len(), "{name}");
        let far = oracle::forward::apart(&got.data, &expected);
        let pairs = got.data.iter().zip(&expected);
        let worst = pairs.map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
        println!("{name}: {far:.1e} relative to the root mean square, the furthest {worst:.1e}");
        if far.is_nan() || far > 5e-5 || worst > 1e-3 {
            wrong.push(name);
        }
        // The last positions alone, in which rows that nobody wants are dropped on the way.
        let last = windows.iter().map(Vec::len).min().unwrap() - 2;
        let some = model.forward(&views, last..usize::MAX, None).unwrap();
        let mut first = 0;
        let mut rows = (0..some.rows).map(|row| some.row(row));
        for window in &windows {
            for at in last..window.len() {
                let far = oracle::forward::apart(rows.next().unwrap(), got.row(first + at));
                assert!(far < 1e-5, "{name}, position {at}: {far:.1e}");
            }
            first += window.len();
        }
    }
    assert!(wrong.is_empty(), "{wrong:?} are not the expected ones");
}

/// Stock rounds to Q8_0 what it multiplies with matrices in blocks, whatever its context is set to. Its logits of packed experts
/// are those of the transcribed graph with that rounding, which alone is what sets them apart from ours.
#[test]
fn stock_rounds_what_packed_experts_see() {
    if python().is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let folder = architectures::directory("kimi-k3-packed", dir.path());
    let file = dir.path().join("model.gguf");
    architectures::convert(&folder, &file, false).unwrap();
    let windows = windows(48);
    let [stock, rounded, exact] = [Source::Stock, Source::Rounded, Source::Numpy]
        .map(|source| expected(dir.path(), &file, &windows, source));
    let model = Model::load(&file).unwrap();
    let views: Vec<&[u32]> = windows.iter().map(Vec::as_slice).collect();
    let ours = model.forward(&views, 0..usize::MAX, None).unwrap().data;
    let apart = oracle::forward::apart;
    let (same, by_rounding) = (apart(&stock, &rounded), apart(&rounded, &exact));
    println!("stock {same:.1e} from the rounded graph, that {by_rounding:.1e} from the exact one");
    println!("ours {:.1e} from the exact one", apart(&ours, &exact));
    println!("stock {:.1e} from ours", apart(&stock, &ours));
    assert!(same < 1e-3, "{same:.1e}");
    assert!(by_rounding > 1e-2, "{by_rounding:.1e}");
    assert!(apart(&ours, &exact) < 5e-5);
}

/// The inputs of all matrices that were shown, in their order.
#[derive(Default, PartialEq)]
struct Shown(Vec<(String, Option<usize>, Vec<u32>)>);

impl Tap for Shown {
    fn linear(&mut self, tensor: &str, expert: Option<usize>, input: &[f32], _columns: usize) {
        let bits = input.iter().map(|x| x.to_bits()).collect();
        self.0.push((tensor.to_owned(), expert, bits));
    }
}

/// Logits of one window whose vocabulary is one tile.
#[derive(Default)]
struct Logits(Vec<f32>);

impl LogitsSink for Logits {
    fn tile(&mut self, vocabulary: Range<usize>, logits: &[f32]) {
        assert_eq!(vocabulary.start, 0);
        self.0.extend_from_slice(logits);
    }
}

/// A pass that goes layer by layer shows what one that keeps results shows, hands on its states through files too, and ends
/// with the logits of the whole model from wherever it stops.
#[test]
fn staged_passes_hand_on_all_that_goes_from_layer_to_layer() {
    for (name, length, _) in GRAPHS {
        let dir = tempfile::tempdir().unwrap();
        let folder = architectures::directory(name, dir.path());
        let file = dir.path().join("model.gguf");
        architectures::convert(&folder, &file, false).unwrap();
        let model = Model::load(&file).unwrap();
        let windows = windows(length / 2);
        let batches: Vec<Range<usize>> = (0..windows.len()).map(|n| n..n + 1).collect();
        let states = dir.path().join("states");
        std::fs::create_dir(&states).unwrap();
        let begin = |folder| model.staged(&windows, &batches, Vec::new(), folder).unwrap();
        let (mut plain, mut keeping) = (begin(None), begin(Some(states.as_path())));
        let wanted = 7..usize::MAX;
        let expected: Vec<Vec<f32>> = windows
            .iter()
            .map(|window| model.forward(&[window], wanted.clone(), None).unwrap().data)
            .collect();
        let finish = |staged: &Staged<'_>, batch: usize| {
            let mut logits = Logits::default();
            staged.finish(batch, wanted.clone(), &[], &mut logits).unwrap();
            logits.0
        };
        let observe = |staged: &Staged<'_>, batch: usize| {
            let mut shown = Shown::default();
            staged.observe(batch, &mut shown).unwrap();
            shown
        };
        for layer in 0..=model.layers() {
            for (batch, expected) in expected.iter().enumerate() {
                let far = oracle::forward::apart(&finish(&plain, batch), expected);
                assert!(far < 5e-5, "{name}, layer {layer}, batch {batch}: {far:.1e}");
                assert_eq!(
                    finish(&plain, batch),
                    finish(&keeping, batch),
                    "{name}, layer {layer}"
                );
            }
            if layer == model.layers() {
                break;
            }
            for batch in 0..batches.len() {
                assert!(
                    observe(&plain, batch) == observe(&keeping, batch),
                    "{name}, layer {layer}"
                );
            }
            keeping.keep(u64::MAX, HashSet::new());
            for batch in 0..batches.len() {
                observe(&keeping, batch);
            }
            plain.advance().unwrap();
            keeping.advance().unwrap();
        }
    }
}
