//! Importance files written by stock llama-imatrix: read, rewritten to the byte, and converted.

use std::path::{Path, PathBuf};

use imatrix::ImportanceMatrix;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

#[test]
fn rewriting_stock_files_changes_no_byte() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["imatrix-smollm2-768-60x512.gguf", "imatrix-smollm2-768-4x512.dat"] {
        let copy = dir.path().join(name);
        ImportanceMatrix::load(&fixture(name))
            .unwrap()
            .save(&copy)
            .unwrap();
        assert!(
            std::fs::read(fixture(name)).unwrap() == std::fs::read(&copy).unwrap(),
            "{name}"
        );
    }
}

#[test]
fn the_legacy_form_of_a_stock_file_keeps_its_importance() {
    let gguf = ImportanceMatrix::load(&fixture("imatrix-smollm2-768-60x512.gguf")).unwrap();
    let legacy = gguf.clone().to_legacy_form();
    for name in gguf.entries.names() {
        let (a, b) = (gguf.values(name).unwrap(), legacy.values(name).unwrap());
        for (x, y) in a.iter().zip(&b) {
            assert!((x - y).abs() <= x.abs() * 3e-7, "{name}: {x} {y}");
        }
    }
    assert_eq!((gguf.chunk_count, gguf.chunk_size), (60, 512));
}
