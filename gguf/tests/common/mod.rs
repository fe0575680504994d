//! Small files for tests.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::path::{Path, PathBuf};

use quantsmith_gguf::{FilePlan, GgufFile, Metadata, TensorType, Writer};
use tempfile::TempDir;

/// A folder for a test's files.
pub(crate) fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// Bytes that differ from tensor to tensor.
pub(crate) fn pattern(seed: usize, len: u64) -> Vec<u8> {
    (0..len)
        .map(|i| (i as u8).wrapping_mul(31).wrapping_add(seed as u8))
        .collect()
}

/// Writes a plan with [`pattern`] data.
pub(crate) fn write_pattern(path: &Path, plan: &FilePlan) {
    let writer = Writer::create(path, plan).unwrap();
    for (i, t) in plan.tensors.iter().enumerate() {
        writer.write_at(i, 0, &pattern(i, t.size_bytes())).unwrap();
    }
    writer.finish().unwrap();
}

/// Writes a file of f32 tensors with the given shapes.
pub(crate) fn sample(folder: &Path, name: &str, metadata: Metadata, shapes: &[(&str, Vec<u64>)]) -> PathBuf {
    let tensors = shapes
        .iter()
        .map(|(n, s)| ((*n).to_string(), s.clone(), TensorType::F32));
    let path = folder.join(name);
    write_pattern(&path, &FilePlan::new(metadata, tensors).unwrap());
    path
}

/// Copies a file through the reader and the writer.
pub(crate) fn copy(from: &Path, to: &Path) {
    let file = GgufFile::open(from).unwrap();
    let writer = Writer::create(to, &FilePlan::like(&file).unwrap()).unwrap();
    for (i, t) in file.tensors().iter().enumerate() {
        writer
            .write_at(i, 0, &file.bytes(i, 0..t.size_bytes()).unwrap())
            .unwrap();
    }
    writer.finish().unwrap();
}
