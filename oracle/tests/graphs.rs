//! Graphs that no other program than stock llama.cpp has, beside its own in f32: every logit of windows that are longer
//! than what their indexers choose, than their sliding windows and than the blocks that one key stands for. GLM-5-Next, which
//! stock's library does not know, is beside a transcription of its graph to numpy.

use std::path::Path;

use oracle::{Python, architectures, python};
use reference::Model;

/// Where the logits come from.
#[derive(Clone, Copy)]
enum Source {
    Stock,
    Numpy,
}

/// Fixtures, the length of the windows, and the source of what is expected.
const GRAPHS: [(&str, usize, Source); 7] = [
    ("hy_v4", 48, Source::Stock),
    ("dots3note", 48, Source::Stock),
    ("kimi-k3", 48, Source::Stock),
    // One of its layers has keys of 128 tokens.
    ("deepseek4-plain", 300, Source::Stock),
    ("qwen4exp", 48, Source::Stock),
    ("qwen4exp-image", 49, Source::Stock),
    ("glm5-next", 48, Source::Numpy),
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
fn expected(python: &Python, dir: &Path, file: &Path, windows: &[Vec<u32>], source: Source) -> Vec<f32> {
    let (list, logits) = (dir.join("windows.json"), dir.join("logits"));
    std::fs::write(&list, serde_json::to_string(windows).unwrap()).unwrap();
    let arguments = vec![file.as_os_str(), list.as_os_str(), logits.as_os_str()];
    let script = match source {
        Source::Numpy => "glm5_next_logits.py",
        Source::Stock => "stock_f32.py",
    };
    python.run(script, arguments).unwrap();
    let bytes = std::fs::read(&logits).unwrap();
    let numbers = bytes.as_chunks().0.iter();
    numbers.map(|b| f32::from_le_bytes(*b)).collect()
}

#[test]
fn every_logit_is_the_expected_one() {
    let Some(python) = python() else { return };
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
        let expected = expected(&python, dir.path(), &file, &windows, source);
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
