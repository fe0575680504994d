//! `quantsmith imatrix` as a user meets it, and importance in `quantize`.

use crate::support;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use imatrix::{Entry, ImportanceMatrix};
use support::{has, quantsmith};

/// Standard output and error of a run that has to succeed.
fn done(args: &[&str]) -> (String, String) {
    let output = quantsmith(args).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
    (text(&output.stdout), text(&output.stderr))
}

/// A tiny model as GGUF, and a text of so many bytes.
fn prepare(dir: &Path, bytes: usize) -> (String, String) {
    let model = support::directory::model(|name, i| {
        let shift = name.len() as u64 * 31;
        ((i as u64 * 7919 + shift) % 1000) as f32 / 1000.0 - 0.5
    });
    let file = dir.join("model.gguf");
    let (from, to) = (model.path().to_str().unwrap(), file.to_str().unwrap());
    done(&["convert", from, to, "--outtype", "f32"]);
    let text = dir.join("text.txt");
    let line = |i: usize| {
        format!(
            "line {i} of a text that repeats, though not to the letter: {}\n",
            i * i
        )
    };
    let lines: String = (0..).map(line).take(bytes / 60).collect();
    std::fs::write(&text, lines).unwrap();
    (to.to_owned(), text.to_str().unwrap().to_owned())
}

/// Killed without warning after its first checkpoint, a run that is resumed ends with the same bytes.
#[test]
fn a_killed_run_is_resumed_to_the_byte() {
    let dir = tempfile::tempdir().unwrap();
    let (model, text) = prepare(dir.path(), 250_000);
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (whole, cut) = (path("whole.gguf"), path("cut.gguf"));
    let args = |out| ["imatrix", &model, &text, "-c", "64", "--ofreq", "32", "-o", out];
    done(&args(&whole));

    let mut child = std::process::Command::new(assert_cmd::cargo::cargo_bin("quantsmith"))
        .args(args(&cut))
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let checkpoint = PathBuf::from(format!("{cut}.checkpoint"));
    let started = Instant::now();
    while !checkpoint.exists() {
        assert!(
            started.elapsed() < Duration::from_secs(120),
            "no checkpoint appeared"
        );
        assert!(
            child.try_wait().unwrap().is_none(),
            "the run ended before it was killed"
        );
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!Path::new(&cut).exists());
    let saved = ImportanceMatrix::load(&checkpoint).unwrap().chunk_count;
    let all = ImportanceMatrix::load(Path::new(&whole)).unwrap().chunk_count;
    assert!((32..all).contains(&saved), "{saved} of {all} windows");

    // Another window size is another run.
    let other = ["imatrix", &model, &text, "-c", "32", "-o", &cut, "--resume"];
    let refused = quantsmith(&other).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("checkpoint"));

    done(&[&args(&cut)[..], &["--resume"]].concat());
    assert!(std::fs::read(&whole).unwrap() == std::fs::read(&cut).unwrap());
    assert!(!checkpoint.exists());
}

fn matrix(entries: &[(&str, Vec<f32>, Vec<f32>)]) -> ImportanceMatrix {
    let mut m = ImportanceMatrix {
        datasets: vec!["text".into()],
        chunk_count: 4,
        chunk_size: 64,
        ..Default::default()
    };
    for (name, sums, counts) in entries {
        let (sums, counts) = (sums.clone(), counts.clone());
        m.entries.insert((*name).to_owned(), Entry { sums, counts });
    }
    m
}

#[test]
fn coverage_is_shown() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("i.gguf");
    matrix(&[
        ("blk.0.attn_q.weight", vec![400.0; 4], vec![400.0]),
        ("blk.0.ffn_up_exps.weight", vec![3.0; 6], vec![390.0, 10.0, 0.0]),
    ])
    .save(&file)
    .unwrap();
    let file = file.to_str().unwrap();
    let (out, _) = done(&["imatrix", "--in-file", file, "--show-statistics"]);
    let line =
        "blk.0.ffn_up_exps.weight: 1 of 3 experts without data (2), 1 of 3 experts with fewer than 128";
    has(&out, &[line]);
    let (out, _) = done(&["imatrix", "--in-file", file, "--show-statistics", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(report["gaps"].as_array().unwrap().len(), 1);
    assert_eq!(report["gaps"][0]["without_data"], serde_json::json!([2]));
}

/// A mixture of experts in f32: one layer of matrices with rows of 256.
fn mixture(dir: &Path) -> String {
    let mut metadata = gguf::Metadata::new();
    metadata.set("general.architecture", "llama");
    metadata.set("llama.block_count", 1u32);
    metadata.set("llama.attention.head_count", 4u32);
    metadata.set("llama.expert_count", 3u32);
    let tensors = [
        ("token_embd.weight", vec![256, 20]),
        ("output.weight", vec![256, 20]),
        ("output_norm.weight", vec![256]),
        ("blk.0.attn_v.weight", vec![256, 4]),
        ("blk.0.ffn_up_exps.weight", vec![256, 4, 3]),
        ("blk.0.ffn_down_exps.weight", vec![256, 4, 3]),
    ];
    let tensors = tensors.map(|(name, shape)| (name.to_owned(), shape));
    let path = support::written(&dir.join("moe.gguf"), metadata, tensors.to_vec(), support::plain);
    path.to_str().unwrap().to_owned()
}

/// The bytes of a tensor of a file's bytes, which are put into a file.
fn tensor_of(bytes: &[u8], name: &str, file: &Path) -> Vec<u8> {
    std::fs::write(file, bytes).unwrap();
    let model = gguf::GgufModel::open(file).unwrap();
    let at = model.find(name).unwrap();
    model.bytes(at, 0..model.info(at).size_bytes()).unwrap().to_vec()
}

/// Tensors without importance are refused by name before anything is written, or encoded with equal weights when asked;
/// experts with few tokens are drawn to the mean only when asked; both file forms give the same file.
#[test]
fn gaps_in_importance_are_decided_when_planning() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let model = mixture(dir.path());
    let ramp = |n: usize| (0..n).map(|i| 200.0 + i as f32).collect::<Vec<_>>();
    // Powers of two, so that the legacy form's means lose nothing.
    let counts = vec![256.0, 64.0, 0.0];
    let entries = [
        ("blk.0.attn_v.weight", ramp(256), vec![256.0]),
        ("blk.0.ffn_up_exps.weight", ramp(768), counts.clone()),
        ("blk.0.ffn_down_exps.weight", ramp(768), counts),
    ];
    let save = |name: &str, entries: &[_]| {
        matrix(entries).save(&dir.path().join(name)).unwrap();
        path(name)
    };
    let whole = save("whole.gguf", &entries);
    let without_down = save("part.gguf", &entries[..2]);

    let out = path("out.gguf");
    let refused = quantsmith(&[
        "quantize",
        "--allow-incomplete",
        "--imatrix",
        &without_down,
        &model,
        &out,
        "IQ2_XXS",
    ])
    .output()
    .unwrap();
    let text = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{text}");
    has(&text, &["blk.0.ffn_down_exps.weight"]);
    has(&text, &["1 of 3 experts without data (2)"]);
    assert!(!Path::new(&out).exists());

    let made = |name: &str, more: &[&str]| {
        let out = path(name);
        let (_, text) = done(
            &[
                &["quantize", "--allow-incomplete"],
                more,
                &[&model, &out, "IQ2_XXS"],
            ]
            .concat(),
        );
        (std::fs::read(&out).unwrap(), text)
    };
    let tensor = |bytes: &[u8], name: &str| tensor_of(bytes, name, &dir.path().join("look.gguf"));
    let (uniform, text) = made(
        "u.gguf",
        &["--imatrix", &without_down, "--imatrix-missing", "uniform"],
    );
    has(&text, &["every column counts the same"]);
    let mut ones = entries.clone();
    ones[2] = ("blk.0.ffn_down_exps.weight", vec![1.0; 768], vec![1.0; 3]);
    let (expected, _) = made("o.gguf", &["--imatrix", &save("ones.gguf", &ones)]);
    for name in ["blk.0.ffn_down_exps.weight", "blk.0.ffn_up_exps.weight"] {
        assert_eq!(tensor(&uniform, name), tensor(&expected, name), "{name}");
    }

    // A prior of no weight changes only the expert without data.
    let (plain, _) = made("p.gguf", &["--imatrix", &whole]);
    let (drawn, _) = made("d.gguf", &["--imatrix", &whole, "--imatrix-expert-prior", "0"]);
    let (a, b) = (
        tensor(&plain, "blk.0.ffn_up_exps.weight"),
        tensor(&drawn, "blk.0.ffn_up_exps.weight"),
    );
    assert_eq!(a[..a.len() / 3 * 2], b[..a.len() / 3 * 2]);
    assert_eq!(
        tensor(&plain, "blk.0.attn_v.weight"),
        tensor(&drawn, "blk.0.attn_v.weight")
    );

    // The legacy form of the same importance: the same blocks.
    let legacy = path("legacy.dat");
    let dat = ["imatrix", "--in-file", &whole, "--output-format", "dat"];
    done(&[&dat[..], &["-o", &legacy]].concat());
    let (of_legacy, _) = made("l.gguf", &["--imatrix", &legacy]);
    for name in ["blk.0.ffn_down_exps.weight", "blk.0.attn_v.weight"] {
        assert_eq!(tensor(&of_legacy, name), tensor(&plain, name), "{name}");
    }
}
