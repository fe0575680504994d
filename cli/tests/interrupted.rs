//! Signals, and what a killed run leaves.

#![cfg(unix)]

use crate::support;

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use support::{DEMO, has, names, plain, quantsmith, succeeds, text, tiny};

fn start(args: &[&str]) -> Child {
    Command::new(quantsmith(&[]).get_program())
        .args(args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap()
}

/// Waits until the folder has a file with bytes in it whose name ends like this. An empty one may be the check that the
/// output can be written, which is gone again before the work begins.
#[track_caller]
fn wait_for_bytes(child: &mut Child, folder: &Path, end: &str) {
    let holds_bytes = |name: &String| {
        let size = fs::metadata(folder.join(name)).map_or(0, |m| m.len());
        name.ends_with(end) && size > 0
    };
    let started = Instant::now();
    while !(folder.exists() && names(folder).iter().any(holds_bytes)) {
        assert!(started.elapsed() < Duration::from_secs(120), "no {end} has bytes");
        assert!(child.try_wait().unwrap().is_none(), "the run ended first");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn signal(child: Child, name: &str) -> Output {
    let id = child.id().to_string();
    let sent = Command::new("kill").args(["-s", name, &id]).status().unwrap();
    assert!(sent.success());
    child.wait_with_output().unwrap()
}

/// Whether this process was started in the background of a script.
fn interrupts_are_ignored() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.is_some_and(|mask| u64::from_str_radix(mask.trim(), 16).unwrap() & 2 != 0)
}

/// A model, and a text that takes it a while.
fn bench(dir: &Path) -> (String, String) {
    let (model, long) = (dir.join("model.gguf"), dir.join("text.txt"));
    succeeds(&["convert", DEMO, text(&model), "--outtype", "f16"]);
    let short = fs::read_to_string(Path::new(DEMO).join("eval.txt")).unwrap();
    fs::write(&long, short.repeat(2)).unwrap();
    (text(&model).to_owned(), text(&long).to_owned())
}

#[test]
fn a_signal_removes_temporary_files() {
    let dir = tempfile::tempdir().unwrap();
    let (model, long) = bench(dir.path());
    let out = dir.path().join("out");
    fs::create_dir(&out).unwrap();
    for (name, status) in [("INT", 130), ("TERM", 143)] {
        if name == "INT" && interrupts_are_ignored() {
            eprintln!("skipped: this process was started with SIGINT ignored, and so are its children");
            continue;
        }
        let logits = out.join("logits.bin");
        let mut child = start(&["perplexity", &model, &long, "--save-all-logits", text(&logits)]);
        wait_for_bytes(&mut child, &out, ".partial");
        let done = signal(child, name);
        assert_eq!(done.status.code(), Some(status));
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        has(&said, &["interrupted: temporary files are removed"]);
        assert_eq!(names(&out), [""; 0]);

        // The folder with a directory's model goes too.
        let mut child = start(&["imatrix", DEMO, &long, "-o", text(&out.join("matrix.gguf"))]);
        std::thread::sleep(Duration::from_millis(300));
        assert!(child.try_wait().unwrap().is_none(), "the run ended first");
        assert_eq!(signal(child, name).status.code(), Some(status));
        assert_eq!(names(&out), [""; 0]);
    }
}

#[test]
fn what_can_be_continued_stays() {
    let dir = tempfile::tempdir().unwrap();
    let model = tiny(&dir.path().join("tiny.gguf"), 12, plain);
    let (out, whole) = (dir.path().join("out"), dir.path().join("whole"));
    let run = |out: &Path, resume: bool| {
        let mut args = vec![
            "table",
            text(&model),
            "--no-eval",
            "--preset",
            "all",
            "--threads",
            "1",
        ];
        args.extend(resume.then_some("--resume"));
        args.extend(["--imatrix", "none", "--out", out.to_str().unwrap()]);
        args.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let strs = |args: &[String]| args.iter().map(String::as_str).collect::<Vec<_>>().join("\n");
    let list = |args: Vec<String>| strs(&args);
    let of = |line: &str| line.split('\n').map(str::to_owned).collect::<Vec<_>>();
    let resumed = of(&list(run(&out, true)));
    let resumed: Vec<&str> = resumed.iter().map(String::as_str).collect();
    let mut child = start(&resumed);
    wait_for_bytes(&mut child, &out, ".partial");
    wait_for_bytes(&mut child, &out, ".journal");
    let done = signal(child, "TERM");
    assert_eq!(done.status.code(), Some(143));
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    has(
        &said,
        &["interrupted: what is written stays; the same command, with --resume, continues"],
    );
    let left = names(&out);
    assert!(left.iter().any(|n| n.ends_with(".partial")), "{left:?}");
    assert!(left.iter().any(|n| n.ends_with(".journal")), "{left:?}");
    succeeds(&resumed);
    let plain = run(&whole, false);
    succeeds(&plain.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(names(&out), names(&whole));
    for name in support::products(&out) {
        assert!(
            fs::read(out.join(&name)).unwrap() == fs::read(whole.join(&name)).unwrap(),
            "{name}"
        );
    }
}

/// While files are measured, they stay, and the message says how the run goes on.
#[test]
fn an_evaluation_says_how_it_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let files = ["--presets", "Q4_0,Q8_0", "--imatrix", "none"];
    let args = [&["table", DEMO, "--out", text(&out)], &files[..]].concat();
    let mut child = start(&args);
    wait_for_bytes(&mut child, &out, ".table.evaluation");
    let done = signal(child, "TERM");
    assert_eq!(done.status.code(), Some(143));
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    let message = "interrupted: the files are whole; the same command with --resume goes on evaluating them";
    has(&said, &[message]);
    assert!(names(&out).contains(&"demo-Q4_0.gguf".to_owned()));
}

/// Temporary files of a killed run are gone after the next one of the same output, whether that succeeds or fails.
#[test]
fn the_next_run_removes_what_a_killed_one_left() {
    let dir = tempfile::tempdir().unwrap();
    let (model, long) = bench(dir.path());
    let out = dir.path().join("out");
    fs::create_dir(&out).unwrap();
    let logits = out.join("logits.bin");
    let kill = || {
        let mut child = start(&["perplexity", &model, &long, "--save-all-logits", text(&logits)]);
        wait_for_bytes(&mut child, &out, ".partial");
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(names(&out), [".logits.bin.partial"]);
    };
    kill();
    let short = text(&Path::new(DEMO).join("eval.txt")).to_owned();
    succeeds(&[
        "perplexity",
        &model,
        &short,
        "--chunks",
        "1",
        "--save-all-logits",
        text(&logits),
    ]);
    assert_eq!(names(&out), ["logits.bin"]);
    fs::remove_file(&logits).unwrap();
    kill();
    let failed = quantsmith(&[
        "perplexity",
        &model,
        text(&out.join("none")),
        "--save-all-logits",
        text(&logits),
    ])
    .output()
    .unwrap();
    assert_eq!(failed.status.code(), Some(1));
    assert_eq!(names(&out), [""; 0]);
}
