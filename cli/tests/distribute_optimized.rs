//! Files whose blocks are learned, and types that are chosen, in plans.

use crate::support;

use std::fs;
use std::process::{Command, Stdio};

use gguf::GgufModel;
use support::parts::Case;
use support::{calibration, fails, has, names, narrow, plain, quantsmith, succeeds, text, tiny};

#[test]
fn learned_files_are_made_in_parts() {
    let dir = tempfile::tempdir().unwrap();
    let (model, words) = (narrow(dir.path()), calibration(dir.path(), 20_000));
    let words = text(&words).to_owned();
    let learn = [
        "--optimize",
        "layer",
        "--optimize-text",
        &words,
        "--optimize-chunks",
        "8",
    ];
    let case = Case::of(
        dir,
        model,
        "Q4_0,Q4_1,Q5_1,Q8_0",
        &[&learn[..], &["--split-max-tensors", "7"]].concat(),
    );
    let plan: serde_json::Value = serde_json::from_slice(&fs::read(&case.plan).unwrap()).unwrap();
    assert_eq!(plan["request"]["cut"], "files");
    assert!(
        plan["inputs"]
            .as_array()
            .unwrap()
            .iter()
            .any(|i| i["of"] == "calibration")
    );
    // All shards of a file are one part's.
    let shards = case
        .whole
        .iter()
        .filter(|(name, _)| name.contains("Q4_0-"))
        .count();
    assert!(shards > 1, "{shards}");
    let mut seen = Vec::new();
    for part in ["3/3", "1/3", "2/3", "1/3"] {
        let said = case.run(part);
        assert_eq!(said.contains("there already"), seen.contains(&part), "{said}");
        seen.push(part);
        let left = names(&case.out());
        assert!(!left.iter().any(|name| name.ends_with(".layers")), "{left:?}");
    }
    case.join();
    case.is_whole();
    something_was_learned(&case);
    // A text that has changed, and a cut of files.
    fs::remove_dir_all(case.out()).unwrap();
    fs::write(&words, "other words ".repeat(4000)).unwrap();
    fails(&["run", text(&case.plan), "--part", "1/3"], &["calibration.txt"]);
    let cut = ["plan", text(&case.model), "--presets", "Q4_0", "--cut", "rows"];
    fails(
        &[&cut[..], &learn].concat(),
        &["a layer depend on the layers before it", "--cut files"],
    );
}

/// Blocks that are searched by themselves can be cut anywhere.
#[test]
fn searched_files_are_made_in_parts_of_rows() {
    let dir = tempfile::tempdir().unwrap();
    let model = tiny(&dir.path().join("tiny.gguf"), 2, plain);
    let case = Case::of(dir, model, "Q2_K,Q3_K_M,IQ4_NL,Q8_0", &["--optimize", "block"]);
    let plan: serde_json::Value = serde_json::from_slice(&fs::read(&case.plan).unwrap()).unwrap();
    assert_eq!(plan["request"]["cut"], "rows");
    assert_eq!(plan["request"]["optimize"]["level"], "block");
    for part in ["3/3", "1/3", "2/3"] {
        case.run(part);
    }
    case.join();
    case.is_whole();
    let name = |n: &&(String, Vec<u8>)| n.0.contains("Q2_K");
    let file = case.out().join(&case.whole.iter().find(name).unwrap().0);
    let check = ["verify", text(&file), "--source", text(&case.model)];
    has(&succeeds(&check), &["blocks searched"]);
}

/// They are other bytes than stock's.
fn something_was_learned(case: &Case) {
    let stock = case.at("stock");
    succeeds(&[
        "table",
        text(&case.model),
        "--no-eval",
        "--types",
        "Q4_0",
        "--out",
        text(&stock),
    ]);
    let learned = case.out().join(
        &case
            .whole
            .iter()
            .find(|(name, _)| name.contains("Q4_0-00001"))
            .unwrap()
            .0,
    );
    let (learned, stock) = (
        GgufModel::open(&learned).unwrap(),
        GgufModel::open(&stock.join("narrow-Q4_0.gguf")).unwrap(),
    );
    let bytes = |model: &GgufModel, name: &str| {
        let index = model.find(name).unwrap();
        model
            .bytes(index, 0..model.info(index).size_bytes())
            .unwrap()
            .to_vec()
    };
    let name = "blk.0.ffn_up.weight";
    assert!(
        bytes(&learned, name) != bytes(&stock, name),
        "{name}: nothing was learned"
    );
}

/// A part that is killed goes on after the layers that it has learned, and comes to the same bytes.
#[test]
fn a_part_that_is_killed_while_it_learns() {
    let dir = tempfile::tempdir().unwrap();
    let (whole, model) = (dir.path().join("whole.gguf"), dir.path().join("demo.gguf"));
    succeeds(&["convert", support::DEMO, text(&whole)]);
    let prune = ["quantize", "--prune-layers", "2,3,4,5,6,7"];
    succeeds(&[&prune[..], &[text(&whole), text(&model), "COPY"]].concat());
    let learn = ["--optimize", "layer", "--optimize-chunks", "18"];
    let case = Case::of(dir, model, "Q4_0", &learn);
    let layers = case.out().join(".demo-Q4_0.gguf.layers");
    let mut process = Command::new(quantsmith(&[]).get_program())
        .args(case.part("1/1"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    while fs::metadata(&layers).map_or(0, |m| m.len()) < 762_000 {
        assert!(process.try_wait().unwrap().is_none(), "it is not done yet");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    process.kill().unwrap();
    process.wait().unwrap();
    let part = case.part("1/1");
    let part: Vec<&str> = part.iter().map(String::as_str).collect();
    let done = quantsmith(&part).output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success() && said.contains("went on after"), "{said}");
    case.join();
    case.is_whole();
}
