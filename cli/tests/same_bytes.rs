//! The files of a table do not depend on the number of threads, the memory bound or the instruction set.

use crate::support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use assert_cmd::Command;
use gguf::{FilePlan, Metadata, TensorType, Writer};
use imatrix::{Entry, ImportanceMatrix};
use support::MATRICES;

/// Rows of an odd number of super-blocks, so that some lanes stay empty.
const WIDTH: u64 = 768;

/// Writes a llama of one layer whose embedding is cut into several pieces, and an importance matrix for it.
fn model(dir: &Path) {
    let mut metadata = Metadata::new();
    metadata.set("general.architecture", "llama");
    metadata.set("llama.block_count", 1u32);
    metadata.set("llama.attention.head_count", 4u32);
    let mut tensors = vec![("token_embd.weight".to_owned(), vec![WIDTH, 700], TensorType::F32)];
    for name in MATRICES {
        tensors.push((format!("blk.0.{name}.weight"), vec![WIDTH, 9], TensorType::F32));
    }
    let plan = FilePlan::new(metadata, tensors).unwrap();
    let writer = Writer::create(&dir.join("model.gguf"), &plan).unwrap();
    let mut importance = ImportanceMatrix {
        chunk_count: 1,
        chunk_size: 512,
        ..Default::default()
    };
    let mut state = 1_u32;
    let mut random = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32
    };
    for (index, tensor) in plan.tensors.iter().enumerate() {
        // About normal: most encoders expect many small weights and few large ones.
        let weights = (0..tensor.elements()).map(|_| random() + random() + random() + random() - 2.0);
        let bytes: Vec<u8> = weights.flat_map(|w| (0.02 * w).to_le_bytes()).collect();
        writer.write_at(index, 0, &bytes).unwrap();
        let entry = Entry {
            sums: (0..WIDTH).map(|_| random().powi(4)).collect(),
            counts: vec![1.0],
        };
        importance.entries.insert(tensor.name.clone(), entry);
    }
    writer.finish().unwrap();
    importance.save(&dir.join("imatrix.gguf")).unwrap();
}

/// Makes a table of every preset and returns its files.
fn table(dir: &Path, out: &str, isa: Option<&str>, args: &[&str]) -> BTreeMap<String, Vec<u8>> {
    let mut command = Command::cargo_bin("quantsmith").unwrap();
    command.current_dir(dir);
    command.args([
        "table",
        "--allow-incomplete",
        "model.gguf",
        "--preset",
        "all",
        "--no-eval",
        "--imatrix",
        "imatrix.gguf",
    ]);
    command.args(["--out", out]).args(args);
    if let Some(isa) = isa {
        command.env("QUANTSMITH_ISA", isa);
    }
    command.assert().success();
    let files = fs::read_dir(dir.join(out)).unwrap().map(|entry| entry.unwrap());
    files
        .map(|file| {
            let name = file.file_name().into_string().unwrap();
            (name, fs::read(file.path()).unwrap())
        })
        .filter(|(name, _)| name.ends_with(".gguf"))
        .collect()
}

#[test]
fn threads_memory_and_instruction_sets_leave_no_trace() {
    let dir = tempfile::tempdir().unwrap();
    model(dir.path());
    let expected = table(dir.path(), "one", None, &["--threads", "1"]);
    assert!(expected.len() > 30, "{} files", expected.len());
    let runs: [(&str, Option<&str>, &[&str]); 4] = [
        ("two", None, &["--threads", "2"]),
        ("seven", None, &["--threads", "7", "--max-memory", "64M"]),
        ("scalar", Some("scalar"), &["--threads", "2"]),
        ("avx2", Some("avx2"), &["--threads", "2"]),
    ];
    for (out, isa, args) in runs {
        let files = table(dir.path(), out, isa, args);
        assert!(files.keys().eq(expected.keys()), "{out}");
        for (name, bytes) in files {
            assert!(bytes == expected[&name], "{out}: {name} differs");
        }
    }
}
