//! Requests besides presets, and refusals.

use crate::support;

use std::fs;
use std::path::{Path, PathBuf};

use support::parts::PRESETS;
use support::{DEMO, fails, plain, quantsmith, succeeds, text, tiny};

/// Plans, runs in two parts and joins.
#[track_caller]
fn distribute(model: &Path, presets: &str, out: &Path, more: &[&str]) {
    let plan = out.with_extension("json");
    let args = [
        "plan",
        text(model),
        "--presets",
        presets,
        "--out",
        text(out),
        "-o",
        text(&plan),
    ];
    succeeds(&[&args[..], more].concat());
    for part in ["1/2", "2/2"] {
        succeeds(&["run", text(&plan), "--part", part]);
    }
    succeeds(&["join", text(&plan)]);
}

#[test]
fn pruned_layers_and_keys_that_are_set() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let model = tiny(&at("tiny.gguf"), 5, plain);
    let options = [
        "--prune-layers",
        "1,3",
        "--override-kv",
        "general.name=str:Other name",
        "--override-kv",
        "llama.context_length=int:128",
    ];
    distribute(&model, PRESETS, &at("out"), &options);
    for preset in ["Q4_K_M", "Q2_K", "F16"] {
        let one = at("one.gguf");
        succeeds(&[&["quantize"], &options[..], &[text(&model), text(&one), preset]].concat());
        let found = fs::read(at("out").join(format!("tiny-{preset}.gguf"))).unwrap();
        assert!(
            found == fs::read(&one).unwrap(),
            "{preset}: other bytes than quantize's"
        );
    }
    // A key whose type changes is refused, and forced.
    let (out, refused) = (at("forced"), at("p.json"));
    let wrong = ["--override-kv", "llama.context_length=str:x"];
    let plan = [
        "plan",
        text(&model),
        "--presets",
        "Q8_0",
        "--out",
        text(&out),
        "-o",
        text(&refused),
    ];
    fails(&[&plan[..], &wrong].concat(), &["llama.context_length"]);
    fails(&[&plan[..], &["--prune-layers", "9"]].concat(), &["9"]);
    let usage = quantsmith(&[&plan[..], &["--override-kv", "a=int:x"]].concat())
        .output()
        .unwrap();
    assert_eq!(usage.status.code(), Some(2));
    fails(
        &[&plan[..], &options, &["--evaluate"]].concat(),
        &["--evaluate", "--prune-layers", "plan what comes out"],
    );
    assert!(!refused.exists());
}

#[test]
fn what_cannot_be_planned_is_refused_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let model = tiny(&dir.path().join("tiny.gguf"), 1, plain);
    let plan = dir.path().join("plan.json");
    for (flags, told) in [
        (
            &["--keep-split"][..],
            ["--keep-split", "--split-max-size", "quantize --keep-split"],
        ),
        (
            &["--target-size", "15.5G"],
            ["--target-size 15.5G", "--save-recipe", "--tensor-type-file"],
        ),
        (
            &["--target-bpw", "4.5"],
            ["--target-bpw 4.5", "--save-recipe", "--tensor-type-file"],
        ),
        (
            &["--same-size-as", "Q4_K_M"],
            ["--same-size-as Q4_K_M", "--save-recipe", "--tensor-type-file"],
        ),
        (
            &["--precision", "0.02"],
            ["--precision", "one machine", "--chunks"],
        ),
    ] {
        fails(
            &[&["plan", text(&model), "-o", text(&plan)], flags].concat(),
            &told,
        );
        assert!(!plan.exists());
    }
}

/// The way that the refusal of --target-size names.
#[test]
fn types_that_are_chosen_are_planned_by_their_recipe() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let (whole, model): (PathBuf, PathBuf) = (at("whole.gguf"), at("demo.gguf"));
    succeeds(&["convert", DEMO, text(&whole)]);
    let prune = ["quantize", "--prune-layers", "2,3,4,5,6,7"];
    succeeds(&[&prune[..], &[text(&whole), text(&model), "COPY"]].concat());
    let words = concat!(env!("CARGO_MANIFEST_DIR"), "/../assets/demo/calibration.txt");
    let (chosen, recipe) = (at("chosen.gguf"), at("types.txt"));
    succeeds(&[
        "quantize",
        "--same-size-as",
        "Q4_K_M",
        "--pool",
        "k",
        "--sensitivity-text",
        words,
        "--sensitivity-chunks",
        "2",
        "--check-chunks",
        "0",
        "--save-recipe",
        text(&recipe),
        text(&model),
        text(&chosen),
    ]);
    distribute(
        &model,
        "Q4_K_M",
        &at("out"),
        &["--tensor-type-file", text(&recipe)],
    );
    let found = fs::read(at("out").join("demo-Q4_K_M.gguf")).unwrap();
    assert!(found == fs::read(&chosen).unwrap(), "other bytes than quantize's");
}
