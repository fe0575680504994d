//! Reports of `table` and `perplexity`: the way they measured.

use crate::support;

use std::path::Path;

use serde_json::Value;
use support::{DEMO, fails, json, quantsmith, succeeds, text};

/// The report of a table of two files; windows of 32 tokens run 128 at a time.
fn table(out: &Path, chunks: &str, more: &[&str]) -> Value {
    let mut args = vec![
        "table",
        DEMO,
        "--out",
        text(out),
        "--types",
        "Q4_0,Q8_0",
        "--json",
    ];
    args.extend(["--imatrix", "none", "-c", "32", "--chunks", chunks]);
    args.extend(more);
    json(&args)
}

#[test]
fn measurements_name_what_they_rounded() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let usual = table(&at("usual"), "96", &[]);
    let plain = table(&at("plain"), "96", &["--rounding", "none"]);
    assert_eq!(usual["evaluation"]["rounding"], "llama.cpp");
    assert_eq!(plain["evaluation"]["rounding"], "none");
    assert!(usual["evaluation"]["precision"].is_null());
    for row in [0, 1] {
        let kld = |report: &Value| report["rows"][row]["kld"].as_f64().unwrap();
        // Rounded activations can only be further from the base model's predictions; not by much.
        let ratio = kld(&usual) / kld(&plain);
        assert!((1.0..3.0).contains(&ratio), "{row}: {ratio}");
        assert_eq!(usual["rows"][row]["chunks"], 96);
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
    let report = table(&dir.path().join("table"), "256", &["--precision", "0.5"]);
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

/// A dry run plans what the run will make: the same files of the same sizes, those included that need the matrix that is
/// made first.
#[test]
fn dry_runs_plan_what_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let calibration = dir.path().join("calibration.txt");
    let whole = std::fs::read_to_string(Path::new(DEMO).join("eval.txt")).unwrap();
    std::fs::write(&calibration, &whole[..whole.floor_char_boundary(8000)]).unwrap();
    let out = dir.path().join("table");
    let run = |more: &[&str]| {
        let args = [
            "table",
            DEMO,
            "--out",
            text(&out),
            "--types",
            "IQ3_XS,IQ2_XXS,Q4_K_M",
            "--json",
        ];
        // The prior is recorded in the files, and so has a part in their sizes.
        let prior = ["--imatrix-expert-prior", "4"];
        let calibrate = ["--calibration", text(&calibration), "-c", "32", "--chunks", "2"];
        json(&[&args[..], &prior, &calibrate, more].concat())
    };
    let figures = |report: &Value| -> Vec<Value> {
        let rows = report["rows"].as_array().unwrap();
        let kept = |row: &Value| {
            assert!(row["error"].is_null(), "{row}");
            serde_json::json!([
                row["preset"],
                row["size_bytes"],
                row["needs_importance"],
                row["substituted"]
            ])
        };
        rows.iter().map(kept).collect()
    };
    let (planned, asked) = (run(&["--dry-run"]), run(&["--dry-run", "--imatrix", "auto"]));
    let without = run(&["--dry-run", "--imatrix", "none"]);
    assert!(!out.exists());
    let made = run(&[]);
    assert_eq!(figures(&planned), figures(&made));
    assert_eq!(figures(&asked), figures(&made));
    let refused = &without["rows"][0];
    assert!(
        refused["error"]
            .as_str()
            .unwrap()
            .contains("needs an importance matrix"),
        "{refused}"
    );
}

/// The model again with other keys, and without some tensors.
fn changed(from: &Path, to: &Path, change: impl FnOnce(&mut gguf::Metadata), keep: impl Fn(&str) -> bool) {
    let model = gguf::GgufModel::open(from).unwrap();
    let mut metadata = model.metadata().clone();
    change(&mut metadata);
    let kept: Vec<_> = model.tensors().filter(|t| keep(&t.info.name)).collect();
    let infos = kept
        .iter()
        .map(|t| (t.info.name.clone(), t.info.shape.clone(), t.info.ty));
    let plan = gguf::FilePlan::new(metadata, infos.collect::<Vec<_>>()).unwrap();
    let writer = gguf::Writer::create(to, &plan).unwrap();
    for (index, t) in kept.iter().enumerate() {
        let bytes = model.bytes(t.index, 0..t.info.size_bytes()).unwrap();
        writer.write_at(index, 0, &bytes).unwrap();
    }
    writer.finish().unwrap();
}

/// Tokens that no row of the embeddings belongs to, and a file with none of these rows.
#[test]
fn tokens_without_embeddings_are_not_measured() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let (whole, more, none) = (path("whole.gguf"), path("more.gguf"), path("none.gguf"));
    succeeds(&["convert", DEMO, text(&whole)]);
    let words = path("text.txt");
    std::fs::write(&words, "one two three four five six seven eight ".repeat(40)).unwrap();
    let one_more = |metadata: &mut gguf::Metadata| {
        let add = |metadata: &mut gguf::Metadata, key: &str| match metadata.get_mut(key) {
            Some(gguf::Value::Array(gguf::Array::String(list))) => list.push("one more".into()),
            Some(gguf::Value::Array(gguf::Array::I32(list))) => list.push(1),
            Some(gguf::Value::Array(gguf::Array::F32(list))) => list.push(0.0),
            _ => {}
        };
        for key in ["tokens", "token_type", "scores"] {
            add(metadata, &format!("tokenizer.ggml.{key}"));
        }
    };
    changed(&whole, &more, one_more, |_| true);
    changed(&whole, &none, |_| (), |name| name != "token_embd.weight");
    for (file, said) in [
        (&more, "expected a row for each of the"),
        (&none, "token_embd.weight"),
    ] {
        for args in [
            vec!["perplexity", text(file), text(&words), "--ctx-size", "32"],
            vec!["perplexity", text(file), "--hellaswag", text(&words)],
        ] {
            fails(&args, &[text(file), "token_embd.weight", said]);
        }
    }
}
