//! Every command that runs a model's forward pass, on the architectures that got theirs last.

use std::path::{Path, PathBuf};

use gguf::GgufModel;
use oracle::architectures;

/// Fixtures, and the windows of text that their widest row is learned from.
const MODELS: [(&str, &str); 8] = [
    ("hy_v4", "8"),
    ("dots3note-text", "8"),
    ("kimi-k3", "4"),
    ("deepseek4", "12"),
    ("qwen4exp", "8"),
    ("glm5-next", "8"),
    ("minimax-m3", "4"),
    ("t5-flan", "8"),
];

const TEXT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../assets/demo/calibration.txt");
/// Short windows, few of them.
const SHORT: [&str; 4] = ["-c", "64", "--chunks", "2"];

fn quantsmith(args: &[&str]) -> u8 {
    let words = ["quantsmith", "--quiet"].iter().chain(args);
    quantsmith_cli::cli::run(words.map(std::ffi::OsString::from))
}

/// The bytes of all tensors.
fn weights(path: &Path) -> Vec<Vec<u8>> {
    let model = GgufModel::open(path).unwrap();
    let tensors = model.tensors();
    tensors
        .map(|t| model.bytes(t.index, 0..t.info.size_bytes()).unwrap().into_owned())
        .collect()
}

/// Runs the commands on one model and says which failed.
fn failures(name: &str, windows: &str, dir: &Path) -> Vec<String> {
    let folder = architectures::directory(name, dir);
    let paths = [
        "base", "matrix", "plain", "weighted", "learned", "logits", "tuned",
    ];
    let paths: [PathBuf; 7] = paths.map(|file| dir.join(file));
    let [base, matrix, plain, weighted, learned, logits, tuned] =
        paths.each_ref().map(|path| path.to_str().unwrap());
    let mut failed = Vec::new();
    let mut run = |expected: u8, args: &[&str]| {
        let code = quantsmith(args);
        if code != expected {
            failed.push(format!("{name}: {args:?}: expected {expected}, found {code}"));
        }
    };
    run(
        0,
        &["convert", "--outtype", "f16", folder.to_str().unwrap(), base],
    );
    run(0, &[&["perplexity", base, TEXT][..], &SHORT].concat());
    run(0, &[&["imatrix", base, TEXT, "-o", matrix][..], &SHORT].concat());
    // Some of them are published with experts of four bits.
    let quantize = ["quantize", "--allow-requantize"];
    run(0, &[&quantize[..], &[base, plain, "Q8_0"]].concat());
    run(
        0,
        &[&quantize[..], &["--imatrix", matrix, base, weighted, "Q4_0"]].concat(),
    );
    let learn = |level| {
        let text = ["--optimize-text", TEXT, "--optimize-chunks", windows];
        [&quantize[..], &["--optimize", level], &text].concat()
    };
    run(0, &[&learn("layer")[..], &[base, learned, "Q4_0"]].concat());
    // Divergence from the model and from its saved logits.
    for file in [plain, weighted, learned] {
        run(
            0,
            &[
                &["perplexity", "--kl-divergence", "--base", base, file, TEXT][..],
                &SHORT,
            ]
            .concat(),
        );
    }
    run(
        0,
        &[
            &["perplexity", "--save-all-logits", logits, base, TEXT][..],
            &SHORT,
        ]
        .concat(),
    );
    run(0, &["perplexity", "--kl-divergence", "--base", logits, plain]);
    // Of none of them a backward pass is known: an error, and no file.
    let model = GgufModel::open(&paths[0]).unwrap();
    let tensors = model.tensors().map(|t| t.info);
    let part = reference::without_backward(model.metadata(), tensors);
    assert!(part.is_some(), "{name}: tune it here");
    run(1, &[&learn("loss")[..], &[base, tuned, "Q4_0"]].concat());
    assert!(!paths[6].exists(), "{name}");
    assert_ne!(weights(&paths[3]), weights(&paths[4]), "{name}");
    failed
}

#[test]
fn every_command_works_on_the_latest_architectures() {
    let mut failed = Vec::new();
    for (name, windows) in MODELS {
        let dir = tempfile::tempdir().unwrap();
        failed.extend(failures(name, windows, dir.path()));
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
