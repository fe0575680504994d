//! Reports of `table` and `perplexity`: the way they measured.

mod support;

use std::path::Path;

use serde_json::Value;
use support::{DEMO, quantsmith, text};

fn json(args: &[&str]) -> Value {
    let run = quantsmith(args).assert().success();
    serde_json::from_slice(&run.get_output().stdout).unwrap()
}

/// The report of a table of two files; windows of 32 tokens run 128 at a time.
fn table(out: &Path, more: &[&str]) -> Value {
    let mut args = vec![
        "table",
        DEMO,
        "--out",
        text(out),
        "--types",
        "Q4_0,Q8_0",
        "--json",
    ];
    args.extend(["--imatrix", "none", "-c", "32", "--chunks", "256"]);
    args.extend(more);
    json(&args)
}

#[test]
fn measurements_name_what_they_rounded() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let usual = table(&at("usual"), &[]);
    let plain = table(&at("plain"), &["--rounding", "none"]);
    assert_eq!(usual["evaluation"]["rounding"], "llama.cpp");
    assert_eq!(plain["evaluation"]["rounding"], "none");
    assert!(usual["evaluation"]["precision"].is_null());
    for row in [0, 1] {
        let kld = |report: &Value| report["rows"][row]["kld"].as_f64().unwrap();
        // Rounded activations can only be further from the base model's predictions; not by much.
        let ratio = kld(&usual) / kld(&plain);
        assert!((1.0..3.0).contains(&ratio), "{row}: {ratio}");
        assert_eq!(usual["rows"][row]["chunks"], 256);
    }
    let file = usual["rows"][0]["file"].as_str().unwrap();
    let words = at("text.txt");
    std::fs::write(&words, "Once upon a time there was a little house. ".repeat(40)).unwrap();
    let args = ["perplexity", file, text(&words), "-c", "32", "--json"];
    let usual = json(&args);
    let plain = json(&[&args[..], &["--rounding", "none"]].concat());
    assert_eq!(usual["rounding"], "llama.cpp");
    assert_eq!(plain["rounding"], "none");
    assert_ne!(usual["ppl"], plain["ppl"]);
}

#[test]
fn precision_stops_files_early() {
    let dir = tempfile::tempdir().unwrap();
    let report = table(&dir.path().join("table"), &["--precision", "0.5"]);
    assert_eq!(report["evaluation"]["precision"], 0.5);
    assert_eq!(report["evaluation"]["chunks"], 128);
    for row in [0, 1] {
        assert_eq!(report["rows"][row]["chunks"], 128);
    }
    for wrong in ["0", "1", "-1", "x"] {
        quantsmith(&["table", DEMO, &format!("--precision={wrong}")])
            .assert()
            .code(2);
    }
}
