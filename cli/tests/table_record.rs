//! `table.json`: what is recorded, and runs that are continued by it.

use crate::support;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use convert::digest::file_sha256;
use publish::record::{State, Table};
use serde_json::Value;
use support::parts::start;
use support::{DEMO, Random, has, names, quantsmith, succeeds, text, timeless};

/// Windows of 32 tokens, some of which fit into memory at a time.
const EVALUATION: [&str; 6] = ["-c", "32", "--chunks", "120", "--max-memory", "128M"];

fn args<'a>(out: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    let mut args = vec!["table", DEMO, "--types", "Q2_K,Q4_0,Q4_K,Q4_K_M,IQ2_XXS"];
    args.extend(["--imatrix", "none", "--out", text(out)]);
    args.extend(EVALUATION);
    args.extend(more);
    args
}

fn record(folder: &Path) -> Table {
    Table::load(&folder.join("table.json")).unwrap()
}

#[test]
fn everything_is_recorded() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("table");
    let report = succeeds(&args(&out, &["--json"]));
    let report: Value = serde_json::from_str(&report).unwrap();
    let table = record(&out);
    assert_eq!(table.state, State::Finished);
    assert_eq!(table.tool.llama_cpp, convert::LLAMA_CPP_RELEASE);
    // The source, file by file.
    let weights = table.source.files.iter().find(|f| f.name == "model.safetensors");
    let expected = file_sha256(&Path::new(DEMO).join("model.safetensors")).unwrap();
    assert_eq!(weights.unwrap().sha256, expected);
    assert!(table.source.files.iter().any(|f| f.name == "tokenizer.json"));
    // No path of this machine is in it.
    let whole = fs::read_to_string(out.join("table.json")).unwrap();
    assert!(!whole.contains(text(dir.path())), "a path is recorded");
    let evaluation = table.evaluation.as_ref().unwrap();
    assert_eq!((evaluation.chunks, evaluation.context), (120, 32));
    assert_eq!(
        evaluation.texts[0].text.sha256,
        file_sha256(&Path::new(DEMO).join("eval.txt")).unwrap()
    );
    assert_eq!(evaluation.base_nll.len(), 120);
    let mut before = None;
    for (row, reported) in table.rows.iter().zip(report["rows"].as_array().unwrap()) {
        if row.preset == "IQ2_XXS" {
            assert!(row.error.as_ref().unwrap().contains("importance matrix"));
            assert!(row.file.is_none() && row.files.is_empty() && row.measured.is_none());
            continue;
        }
        let file = out.join(row.file.as_ref().unwrap());
        for digest in &row.files {
            assert_eq!(file_sha256(&out.join(&digest.name)).unwrap(), digest.sha256);
            assert_eq!(fs::metadata(&file).unwrap().len(), digest.size);
        }
        assert_eq!(
            row.files.is_empty(),
            row.same_as.is_some(),
            "an alias has no file"
        );
        let measured = row.measured.as_ref().unwrap();
        assert_eq!(reported["kld"], measured.kld.value);
        assert_eq!(reported["kld_99_9"], measured.kld_quantile(0.999).unwrap());
        // Every window counts the same.
        let chunks = &measured.per_chunk;
        assert_eq!(chunks.kld.len(), 120);
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        assert!((mean(&chunks.kld) / measured.kld.value - 1.0).abs() < 1e-9);
        assert!((mean(&chunks.nll).exp() / measured.ppl.value - 1.0).abs() < 1e-9);
        assert!((mean(&chunks.same_top) - measured.same_top.value).abs() < 1e-9);
        let flips = measured.flips.unwrap();
        assert!((flips.lost.value + flips.gained.value - flips.all.value).abs() < 1e-12);
        // A choice that turns from right to wrong or back is another choice.
        assert!(flips.all.value <= 1.0 - measured.same_top.value && flips.lost.value > 0.0);
        assert_eq!(reported["flips"]["lost"]["value"], flips.lost.value);
        // The worst positions, and the quantiles' end, are one thing.
        assert_eq!(measured.worst.len(), 20);
        assert_eq!(measured.worst[0].kld, measured.kld_quantile(1.0).unwrap());
        if row.same_as.is_none() {
            assert_eq!(row.types.len(), table.model.tensors.len());
            assert_eq!(row.weight_errors.len(), table.model.tensors.len());
            for (ty, error) in row.types.iter().zip(&row.weight_errors) {
                let error = error.unwrap();
                assert_eq!(error == 0.0, ty == "f32" || ty == "f16", "{ty}: {error}");
                assert!(error < 0.5);
            }
            let ratio = measured.kld_ratio.as_ref();
            assert_eq!(ratio.map(|r| r.of.clone()), before, "{}", row.preset);
            before = Some(row.preset.clone());
        }
    }
    let log = fs::read_to_string(out.join("convert.log")).unwrap();
    has(&log, &["360 of 360 windows"]);
    has(&log, &["IQ2_XXS: not made"]);
}

/// When each file was made.
fn made(folder: &Path) -> Vec<(String, std::time::SystemTime)> {
    let files = names(folder).into_iter().filter(|name| name.ends_with(".gguf"));
    files
        .map(|name| {
            let time = fs::metadata(folder.join(&name)).unwrap().modified().unwrap();
            (name, time)
        })
        .collect()
}

/// Kills runs at moments of their evaluation and continues each: nothing is encoded again, and the record is that of a run
/// that was not killed. The number of runs that were killed there.
fn kill_while_evaluating(points: usize, seed: u64) -> usize {
    let dir = tempfile::tempdir().unwrap();
    let whole = dir.path().join("whole");
    let written = |out: &Path| out.join("table.json").exists();
    let start = |out: &Path| start(&args(out, &["--resume"]));
    let wait_until_written = |out: &Path, child: &mut std::process::Child| {
        let started = Instant::now();
        while !written(out) && child.try_wait().unwrap().is_none() {
            assert!(started.elapsed() < Duration::from_secs(300));
            std::thread::sleep(Duration::from_millis(2));
        }
    };
    let mut child = start(&whole);
    wait_until_written(&whole, &mut child);
    let evaluating = Instant::now();
    assert!(child.wait().unwrap().success());
    let duration = evaluating.elapsed();
    let expected = timeless(&whole);
    let mut random = Random(seed);
    let mut killed = 0;
    let out = dir.path().join("out");
    for point in 0..points {
        let _ = fs::remove_dir_all(&out);
        let mut times = None;
        // Some runs are killed more than once.
        for _ in 0..1 + (point % 4) / 2 {
            let mut child = start(&out);
            wait_until_written(&out, &mut child);
            std::thread::sleep(duration.mul_f64(random.share() * 0.9));
            child.kill().unwrap();
            killed += usize::from(child.wait().unwrap().code().is_none());
            let first = times.get_or_insert_with(|| made(&out));
            assert_eq!(*first, made(&out), "point {point}: encoded again");
        }
        let done = quantsmith(&args(&out, &["--resume"])).output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{said}");
        has(&said, &["nothing is encoded"]);
        assert_eq!(times.unwrap(), made(&out), "point {point}: encoded again");
        assert!(
            timeless(&out) == expected,
            "point {point} of seed {seed}: another record"
        );
        assert_eq!(names(&out), names(&whole));
    }
    killed
}

#[test]
fn killed_evaluations_end_with_the_same_record() {
    assert!(kill_while_evaluating(3, 1) > 0);
}

/// `cargo test --release -p quantsmith-cli --test all -- --ignored table_record:: --nocapture`
#[test]
#[ignore = "an explicit command: fifty runs"]
fn fifty_evaluations_are_killed() {
    let started = Instant::now();
    let killed = kill_while_evaluating(50, 2026);
    println!(
        "50 points, {killed} killed, in {:.0} s",
        started.elapsed().as_secs_f64()
    );
    assert!(killed >= 50);
}

#[test]
fn what_is_missing_alone_is_evaluated() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let mut child = Command::new(quantsmith(&[]).get_program())
        .args(args(&out, &["--resume"]))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // Until some runs of a file over windows are noted.
    let journal = out.join(".table.evaluation");
    let started = Instant::now();
    while fs::metadata(&journal).map_or(0, |m| m.len()) < 10_000 && child.try_wait().unwrap().is_none() {
        assert!(started.elapsed() < Duration::from_secs(300));
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    assert!(child.wait().unwrap().code().is_none(), "the run ended first");
    let said = |more: &[&str]| {
        let done = quantsmith(&args(&out, more)).output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success(), "{said}");
        said
    };
    let continued = said(&["--resume"]);
    has(&continued, &["the evaluation goes on"]);
    // Once more: nothing is left to do.
    let before = timeless(&out);
    let finished = said(&["--resume"]);
    has(&finished, &["nothing is encoded"]);
    assert!(!finished.contains("evaluate "), "{finished}");
    assert_eq!(timeless(&out), before);
    // Over other windows all is evaluated again, and nothing encoded.
    let first = made(&out);
    let other = said(&["--resume", "--rounding", "none"]);
    assert!(other.contains("nothing is encoded") && other.contains("360 of 360 windows"));
    assert_ne!(timeless(&out), before);
    assert_eq!(made(&out), first);
    // A file that was changed is made again, with all others.
    let file = out.join("demo-Q4_0.gguf");
    let mut bytes = fs::read(&file).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&file, &bytes).unwrap();
    let again = said(&["--resume"]);
    has(&again, &["not the file that was made"]);
    bytes[last] ^= 1;
    assert!(fs::read(&file).unwrap() == bytes, "it is as it was");
    assert_eq!(timeless(&out), before);
}

#[test]
fn texts_are_checked_before_the_first_weight() {
    let dir = tempfile::tempdir().unwrap();
    let short = dir.path().join("short.txt");
    fs::write(&short, "too short").unwrap();
    let out = dir.path().join("out");
    for flag in ["--text", "--calibration"] {
        let args = [
            "table",
            DEMO,
            "--out",
            text(&out),
            "--types",
            "Q4_0",
            flag,
            text(&short),
        ];
        support::fails(&args, &["short.txt", "expected at least"]);
        assert!(!out.exists(), "{:?}", names(&out));
    }
}
