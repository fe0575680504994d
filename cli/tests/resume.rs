//! Runs that are killed and continued.

use crate::support;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use support::parts::{contents, start};
use support::{Random, fails, imatrix, names, plain, succeeds, text, tiny};

const TYPES: &str = "Q4_K_M,Q4_K,Q8_0,Q2_K,IQ4_NL,F16";

fn table<'a>(model: &'a Path, out: &'a Path, level: &'a str) -> Vec<&'a str> {
    let mut args = vec![
        "table",
        text(model),
        "--no-eval",
        "--types",
        TYPES,
        "--threads",
        "2",
        "--optimize",
        level,
    ];
    args.extend(["--max-memory", "1M", "--resume", "--out", text(out)]);
    args
}

/// Remains of runs that were killed at some points, and their ends.
#[derive(Default, Debug)]
struct Seen {
    killed: usize,
    too_late: usize,
    with_partial: usize,
    with_published: usize,
}

/// Kills runs with this level of `--optimize` at random points, continues each, and compares the bytes.
fn kill_and_resume(level: &str, points: usize, seed: u64) -> Seen {
    let dir = tempfile::tempdir().unwrap();
    let model = tiny(&dir.path().join("tiny.gguf"), 12, plain);
    let whole = dir.path().join("whole");
    let started = Instant::now();
    succeeds(&table(&model, &whole, level));
    let duration = started.elapsed().max(Duration::from_millis(20));
    let expected = contents(&whole);
    let final_names: Vec<&str> = expected.iter().map(|(n, _)| n.as_str()).collect();
    // The same bytes as a run that cannot be continued.
    let plain_out = dir.path().join("plain");
    let args: Vec<&str> = table(&model, &plain_out, level)
        .into_iter()
        .filter(|a| *a != "--resume")
        .collect();
    succeeds(&args);
    assert!(contents(&plain_out) == expected);

    let mut random = Random(seed);
    let mut seen = Seen::default();
    let out: PathBuf = dir.path().join("out");
    for point in 0..points {
        let _ = fs::remove_dir_all(&out);
        // Some runs are killed more than once.
        for _ in 0..1 + (point % 4) / 2 {
            let mut child = start(&table(&model, &out, level));
            std::thread::sleep(duration.mul_f64(random.share() * 1.05));
            child.kill().unwrap();
            match child.wait().unwrap().code() {
                None => seen.killed += 1,
                Some(_) => seen.too_late += 1,
            }
        }
        let left = if out.exists() { names(&out) } else { Vec::new() };
        seen.with_partial += usize::from(left.iter().any(|n| n.ends_with(".partial")));
        seen.with_published += usize::from(left.iter().any(|n| n.ends_with(".gguf")));
        for name in &left {
            // Under a final name there is only what is final; the rest is hidden.
            match expected.iter().find(|(n, _)| n == name) {
                Some((_, bytes)) => {
                    assert!(fs::read(out.join(name)).unwrap() == *bytes, "{name} is not whole");
                }
                None => assert!(
                    name.starts_with('.') || support::OF_THE_RUN.contains(&name.as_str()),
                    "{name} was left"
                ),
            }
        }
        succeeds(&table(&model, &out, level));
        let mut made = contents_of(&out, &final_names);
        assert!(made == expected, "point {point} of seed {seed}: other bytes");
        made.clear();
        // Nothing is left: no journal, no temporary file, no folder of a killed process.
        assert_eq!(support::products(&out), final_names);
        assert_eq!(names(&out), names(&whole));
    }
    seen
}

fn contents_of(folder: &Path, names: &[&str]) -> Vec<(String, Vec<u8>)> {
    names
        .iter()
        .map(|n| ((*n).to_owned(), fs::read(folder.join(n)).unwrap()))
        .collect()
}

#[test]
fn killed_runs_end_with_the_same_bytes() {
    let seen = kill_and_resume("none", 12, 1);
    assert!(seen.killed > 0, "{seen:?}");
    let seen = kill_and_resume("block", 4, 2);
    assert!(seen.killed > 0, "{seen:?}");
}

/// `QUANTSMITH_KILL_POINTS=1000 cargo test --release -p quantsmith-cli --test all -- --ignored resume:: --nocapture`
#[test]
#[ignore = "an explicit command: a thousand runs"]
fn a_thousand_kill_points() {
    let points = std::env::var("QUANTSMITH_KILL_POINTS")
        .ok()
        .and_then(|n| n.parse().ok());
    let points = points.unwrap_or(1000);
    let started = Instant::now();
    let seen = kill_and_resume("none", points, 2026);
    println!(
        "{points} points in {:.0} s: {seen:?}",
        started.elapsed().as_secs_f64()
    );
}

/// Leaves a run of `quantize --resume` half done: a file limit stops it.
#[cfg(target_os = "linux")]
fn interrupted(model: &Path, out: &Path, more: &[&str]) {
    let first = ["quantize", "--resume", "--max-memory", "1M"];
    let last = [text(model), text(out), "Q4_K_S", "1"];
    let mut child = start(&[&first[..], more, &last].concat());
    // Until the journal has its first ranges.
    let journal = out.with_file_name(format!(".{}.journal", out.file_name().unwrap().to_str().unwrap()));
    for _ in 0..10_000 {
        if fs::metadata(&journal).is_ok_and(|m| m.len() > 300) || child.try_wait().unwrap().is_some() {
            break;
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    let _ = child.kill();
    child.wait().unwrap();
}

#[cfg(target_os = "linux")]
#[test]
fn quantize_and_convert_continue_too() {
    let dir = tempfile::tempdir().unwrap();
    let model = tiny(&dir.path().join("tiny.gguf"), 40, plain);
    let (whole, out) = (dir.path().join("whole.gguf"), dir.path().join("out.gguf"));
    succeeds(&["quantize", text(&model), text(&whole), "Q4_K_S"]);
    interrupted(&model, &out, &[]);
    succeeds(&["quantize", "--resume", text(&model), text(&out), "Q4_K_S", "2"]);
    assert!(fs::read(&out).unwrap() == fs::read(&whole).unwrap());
    for outtype in ["f16", "Q4_0"] {
        let whole = dir.path().join("whole2.gguf");
        succeeds(&["convert", support::DEMO, text(&whole), "--outtype", outtype]);
        succeeds(&[
            "convert",
            "--resume",
            support::DEMO,
            text(&out),
            "--outtype",
            outtype,
        ]);
        assert!(fs::read(&out).unwrap() == fs::read(&whole).unwrap());
    }
    let left: Vec<String> = names(dir.path())
        .into_iter()
        .filter(|n| n.starts_with('.'))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[cfg(target_os = "linux")]
#[test]
fn another_run_does_not_continue_this_one() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let model = tiny(&at("tiny.gguf"), 40, plain);
    let out = at("out.gguf");
    let resume = |more: &[&str], preset: &'static str| {
        let mut args = vec!["quantize".to_owned(), "--resume".into()];
        args.extend(more.iter().map(|a| (*a).to_owned()));
        args.extend([text(&model).to_owned(), text(&out).to_owned(), preset.to_owned()]);
        args
    };
    let refused = |args: Vec<String>| {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        fails(&args, &[".out.gguf.journal", "journal of another run"]);
        assert!(!out.exists());
    };
    interrupted(&model, &out, &[]);
    if !at(".out.gguf.journal").exists() {
        println!("skipped: the run was done before it could be killed");
        return;
    }
    // Another recipe, an importance matrix, and an input that was changed meanwhile.
    refused(resume(&[], "Q4_0"));
    refused(resume(&["--tensor-type", "ffn_up=q8_0"], "Q4_K_S"));
    let matrix = imatrix(&at("i.dat"), &["blk.0.attn_q.weight"], 256);
    refused(resume(&["--imatrix", text(&matrix)], "Q4_K_S"));
    let bytes = fs::read(&model).unwrap();
    let mut other = bytes.clone();
    let end = other.len();
    other[end - 100] ^= 1;
    fs::write(&model, &other).unwrap();
    refused(resume(&[], "Q4_K_S"));
    // Without --resume the run starts anew, whatever is there.
    succeeds(&["quantize", text(&model), text(&out), "Q4_K_S"]);
    let whole = at("whole.gguf");
    succeeds(&["quantize", text(&model), text(&whole), "Q4_K_S"]);
    assert!(fs::read(&out).unwrap() == fs::read(&whole).unwrap());
}

#[cfg(target_os = "linux")]
#[test]
fn damage_to_what_was_written_is_mended() {
    let dir = tempfile::tempdir().unwrap();
    let model = tiny(&dir.path().join("tiny.gguf"), 40, plain);
    let (whole, out) = (dir.path().join("whole.gguf"), dir.path().join("out.gguf"));
    succeeds(&["quantize", text(&model), text(&whole), "Q4_K_S"]);
    interrupted(&model, &out, &[]);
    let partial = dir.path().join(".out.gguf.partial");
    let Ok(mut bytes) = fs::read(&partial) else {
        println!("skipped: the run was done before it could be killed");
        return;
    };
    // A power cut that kept the journal and lost the data.
    let header = gguf::GgufFile::open(&whole).unwrap().data_offset() as usize;
    bytes[header..].fill(0);
    fs::write(&partial, bytes).unwrap();
    succeeds(&["quantize", "--resume", text(&model), text(&out), "Q4_K_S"]);
    assert!(fs::read(&out).unwrap() == fs::read(&whole).unwrap());
}

#[test]
fn two_processes_do_not_share_a_journal() {
    let dir = tempfile::tempdir().unwrap();
    let model = tiny(&dir.path().join("tiny.gguf"), 1, plain);
    let journal = fs::File::create(dir.path().join(".out.gguf.journal")).unwrap();
    journal.lock().unwrap();
    let out = dir.path().join("out.gguf");
    fails(
        &["quantize", "--resume", text(&model), text(&out), "Q8_0"],
        &[".out.gguf.journal", "another process is at work"],
    );
    assert!(!out.exists());
}
