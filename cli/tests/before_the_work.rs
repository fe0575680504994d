//! Checks of long commands before they begin, and the reading of arguments.

use crate::support;

use std::fs;
use std::path::Path;

use imatrix::ImportanceMatrix;
use support::{DEMO, fails, quantsmith, succeeds, text};

/// The demo model as a file.
fn demo(dir: &Path) -> String {
    let model = dir.join("model.gguf");
    succeeds(&["convert", DEMO, text(&model), "--outtype", "f16"]);
    text(&model).to_owned()
}

fn eval() -> String {
    text(&Path::new(DEMO).join("eval.txt")).to_owned()
}

/// Runs a command that has to fail before it says that anything was done.
#[track_caller]
fn fails_at_once(args: &[&str], parts: &[&str]) {
    let said = fails(args, parts);
    for sign in [
        "tokens/s",
        " windows\n",
        "windows  ",
        "[1/",
        "substituted",
        "calibrate  ",
    ] {
        assert!(!said.contains(sign), "{args:?} began: {said}");
    }
}

#[test]
fn outputs_and_texts_come_first() {
    let dir = tempfile::tempdir().unwrap();
    let model = demo(dir.path());
    let at = |name: &str| text(&dir.path().join(name)).to_owned();
    let (eval, nowhere, folder) = (eval(), at("no/where"), at("folder"));
    fs::create_dir(&folder).unwrap();
    for out in [&nowhere, &folder] {
        fails_at_once(&["imatrix", &model, &eval, "-o", out], &[out]);
        fails_at_once(&["perplexity", &model, &eval, "--save-all-logits", out], &[out]);
    }
    fs::create_dir(at("i.gguf.checkpoint")).unwrap();
    fails_at_once(
        &["imatrix", &model, &eval, "-o", &at("i.gguf")],
        &["i.gguf.checkpoint"],
    );
    let (bad, short) = (at("bad.txt"), at("short.txt"));
    fs::write(&bad, b"\xff\xfe").unwrap();
    fs::write(&short, "short").unwrap();
    fails_at_once(&["imatrix", &model, &bad, "-o", &at("m.gguf")], &["bad.txt"]);
    let table = |more: &[&str]| {
        let out = at("table");
        let _ = fs::remove_dir_all(&out);
        let args = [&["table", &model, "--types", "Q8_0", "--out", &out], more].concat();
        fails_at_once(&args, &[more[1]]);
        let made = fs::read_dir(&out).map_or(0, Iterator::count);
        assert_eq!(made, 0, "{more:?}");
    };
    for text in [&bad, &short, &nowhere] {
        table(&["--text", text]);
        table(&["--calibration", text]);
    }
    table(&["--imatrix", &nowhere]);
    table(&["--imatrix", &eval]);
}

#[test]
fn numbers_of_windows() {
    let dir = tempfile::tempdir().unwrap();
    let model = demo(dir.path());
    let out = text(&dir.path().join("m.gguf")).to_owned();
    let eval = fs::read_to_string(eval()).unwrap();
    let part = dir.path().join("part.txt");
    fs::write(&part, eval.lines().take(30).collect::<Vec<_>>().join("\n")).unwrap();
    let eval = text(&part);
    for args in [
        &["imatrix", &model, eval, "-o", &out, "--chunks", "0"][..],
        &["perplexity", &model, eval, "--chunks", "0"],
        &["table", &model, "--chunks", "0"],
        &["perplexity", &model, eval, "--resume"],
    ] {
        let done = quantsmith(args).output().unwrap();
        assert_eq!(done.status.code(), Some(2), "{args:?}");
    }
    let windows = |chunks: &str| {
        succeeds(&[
            "imatrix", &model, eval, "-c", "64", "-o", &out, "--chunks", chunks,
        ]);
        ImportanceMatrix::load(Path::new(&out)).unwrap().chunk_count
    };
    assert_eq!(windows("3"), 3);
    assert!(windows("-1") > 3);
}

#[test]
fn windows_longer_than_those_of_the_training() {
    let dir = tempfile::tempdir().unwrap();
    let model = demo(dir.path());
    let eval = eval();
    let said = |context: &str| {
        let args = ["perplexity", &model, &eval, "-c", context, "--chunks", "1"];
        let done = quantsmith(&args).output().unwrap();
        assert!(done.status.success());
        String::from_utf8(done.stderr).unwrap()
    };
    let trained = gguf::GgufFile::open(Path::new(&model)).unwrap();
    let trained = trained
        .metadata()
        .get("llama.context_length")
        .and_then(gguf::Value::as_u64)
        .unwrap();
    let warning = format!("but the model was trained for {trained}");
    assert!(!said("64").contains(&warning));
    assert!(said(&(2 * trained).to_string()).contains(&warning));
}

/// A checkpoint is of one model, of the contents of the texts, and of all options.
#[test]
fn a_checkpoint_of_another_run_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| text(&dir.path().join(name)).to_owned();
    let model = demo(dir.path());
    let (calibration, out) = (at("text.txt"), at("m.gguf"));
    let whole = fs::read_to_string(eval()).unwrap();
    let long = whole.repeat(4);
    fs::write(&calibration, &long).unwrap();
    let run = [
        "imatrix",
        &model,
        &calibration,
        "-c",
        "64",
        "--chunks",
        "96",
        "--ofreq",
        "32",
        "-o",
        &out,
    ];
    let checkpoint = at("m.gguf.checkpoint");
    let mut child = std::process::Command::new(quantsmith(&[]).get_program())
        .args(run)
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    while !Path::new(&checkpoint).exists() {
        assert!(child.try_wait().unwrap().is_none(), "the run ended first");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();

    fn resumed<'a>(run: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
        let run = match more {
            ["--chunks", ..] => run
                .iter()
                .filter(|a| !["--chunks", "96"].contains(a))
                .copied()
                .collect(),
            _ => run.to_vec(),
        };
        [&run[..], &["--resume"], more].concat()
    }
    for more in [
        &["--process-output"][..],
        &["--parse-special"],
        &["--from-chunk", "1"],
        &["--chunks", "97"],
        &["--rounding", "llama.cpp"],
    ] {
        fails(
            &resumed(&run, more),
            &["m.gguf.checkpoint", "another run", more[0]],
        );
    }
    // One letter, and the same length.
    let other = long.replacen('e', "a", 1);
    fs::write(&calibration, other).unwrap();
    fails(&resumed(&run, &[]), &["another run", "text.txt"]);
    fs::write(&calibration, &long).unwrap();
    // One bit of one weight, and the same length.
    let kept = fs::read(&model).unwrap();
    let mut changed = kept.clone();
    let last = changed.len() - 64;
    changed[last] ^= 1;
    fs::write(&model, changed).unwrap();
    fails(&resumed(&run, &[]), &["another run", "model="]);
    fs::write(&model, kept).unwrap();
    // An importance matrix is no checkpoint.
    let saved = fs::read(&checkpoint).unwrap();
    let mut matrix = ImportanceMatrix::load(Path::new(&checkpoint)).unwrap();
    matrix.datasets.clear();
    matrix.save(Path::new(&checkpoint)).unwrap();
    fails(&resumed(&run, &[]), &["not a checkpoint"]);
    fs::write(&checkpoint, saved).unwrap();
    succeeds(&resumed(&run, &[]));
    assert!(!Path::new(&checkpoint).exists());
}

/// A number of threads that no machine has costs no time.
#[test]
fn threads_are_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let model = demo(dir.path());
    let at = |name: &str| text(&dir.path().join(name)).to_owned();
    let (eval, many) = (eval(), "100000");
    let started = std::time::Instant::now();
    succeeds(&["convert", DEMO, &at("c.gguf"), "--outtype", "Q4_K_M", "-t", many]);
    succeeds(&["quantize", &model, &at("q.gguf"), "Q4_K_M", many]);
    succeeds(&[
        "perplexity",
        &model,
        &eval,
        "-c",
        "64",
        "--chunks",
        "2",
        "-t",
        many,
    ]);
    succeeds(&[
        "imatrix",
        &model,
        &eval,
        "-c",
        "64",
        "--chunks",
        "2",
        "-t",
        many,
        "-o",
        &at("i.gguf"),
    ]);
    let elapsed = started.elapsed();
    assert!(elapsed < std::time::Duration::from_secs(60), "{elapsed:?}");
}
