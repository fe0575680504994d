//! Refusals of `table` before it runs anything, and how they are overridden.

use crate::support;

use std::path::Path;

use gguf::{FilePlan, GgufModel, Metadata, TensorType};
use support::{fails, hollow, names, plain, succeeds, text, tiny};

/// The same model without one of its tensors.
fn without(path: &Path, model: &Path, name: &str) {
    let source = GgufModel::open(model).unwrap();
    let kept: Vec<_> = source.tensors().filter(|t| t.info.name != name).collect();
    let shapes = kept
        .iter()
        .map(|t| (t.info.name.clone(), t.info.shape.clone(), t.info.ty));
    let plan = FilePlan::new(source.metadata().clone(), shapes.collect::<Vec<_>>()).unwrap();
    let writer = gguf::Writer::create(path, &plan).unwrap();
    for (index, t) in kept.iter().enumerate() {
        writer
            .write_at(index, 0, &source.bytes(t.index, 0..t.info.size_bytes()).unwrap())
            .unwrap();
    }
    writer.finish().unwrap();
}

#[test]
fn an_incomplete_model_is_refused_unless_it_is_allowed() {
    let dir = tempfile::tempdir().unwrap();
    let (whole, cut) = (dir.path().join("whole.gguf"), dir.path().join("cut.gguf"));
    tiny(&whole, 2, plain);
    without(&cut, &whole, "blk.1.ffn_up.weight");
    let out = dir.path().join("table");
    let mut args = vec![
        "table",
        text(&cut),
        "--no-eval",
        "--types",
        "Q8_0,Q4_0",
        "--out",
        text(&out),
    ];
    fails(
        &args,
        &[
            &format!(
                "left out: Q8_0: {}: not a whole model: tensor 'blk.1.ffn_up.weight': expected it",
                cut.display()
            ),
            &format!("left out: Q4_0: {}: not a whole model", cut.display()),
            "--allow-incomplete",
            "none of the presets can be made of this model",
        ],
    );
    assert!(!out.exists() || names(&out).iter().all(|n| !n.ends_with(".gguf")));
    args.push("--allow-incomplete");
    succeeds(&args);
    let written: Vec<String> = names(&out).into_iter().filter(|n| n.ends_with(".gguf")).collect();
    assert_eq!(written, ["cut-Q4_0.gguf", "cut-Q8_0.gguf"]);
    // What is written is what is there: one tensor less.
    let model = GgufModel::open(&out.join("cut-Q8_0.gguf")).unwrap();
    assert_eq!(model.len(), GgufModel::open(&whole).unwrap().len() - 1);
}

/// A model of `rows` rows of embeddings whose data is a hole in the file, so that it takes no room.
fn sparse(path: &Path, rows: u64) {
    let mut m = Metadata::new();
    m.set("general.architecture", "llama");
    m.set("llama.block_count", 1u32);
    m.set("llama.attention.head_count", 32u32);
    m.set("llama.attention.head_count_kv", 8u32);
    let tensors = vec![("token_embd.weight".to_owned(), vec![4096, rows], TensorType::F16)];
    hollow(path, m, tensors);
}

#[cfg(target_os = "linux")]
#[test]
fn room_for_all_files_together_is_needed_before_anything_runs() {
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("sparse.gguf");
    // Two terabytes of F16.
    sparse(&model, 1 << 28);
    let out = dir.path().join("table");
    let message = fails(
        &[
            "table",
            text(&model),
            "--allow-incomplete",
            "--no-eval",
            "--imatrix",
            "none",
            "--types",
            "Q8_0,Q4_0",
            "--out",
            text(&out),
        ],
        &["bytes are left on the device"],
    );
    // Q8_0 has 34 bytes for 32 weights; with Q4_0, embeddings that are the output matrix too become Q6_K, 210 bytes for
    // 256. Both, and their headers.
    let weights: u64 = 4096 << 28;
    let both = weights / 32 * 34 + weights / 256 * 210;
    let needed = message
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|n| n.parse::<u64>().ok())
        .find(|n| *n >= both);
    assert!(needed.is_some_and(|n| n < both + 65536), "{message}");
    assert!(
        names(&out).iter().all(|n| !n.ends_with(".gguf")),
        "{:?}",
        names(&out)
    );
}
