//! What a model needs: the check of a declaration against the graphs of the forward pass.

use std::path::{Path, PathBuf};

use gguf::{GgufModel, Metadata, TensorInfo};
use quantsmith_reference::requirements::{Completeness, Shortfall, check};

fn fixtures() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/forward");
    let mut all: Vec<PathBuf> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "gguf"))
        .collect();
    all.sort();
    all
}

fn declared(path: &Path) -> (Metadata, Vec<TensorInfo>) {
    let model = GgufModel::open(path).unwrap();
    let tensors = model.tensors().map(|t| t.info.clone()).collect();
    // The fixtures have no vocabulary.
    let mut metadata = model.metadata().clone();
    let key = format!("{}.vocab_size", metadata.architecture());
    metadata.set("tokenizer.ggml.model", "none");
    metadata.set(key, 48u32);
    metadata.set("tokenizer.ggml.token_type_count", 2u32);
    (metadata, tensors)
}

fn shortfalls(metadata: &Metadata, tensors: &[TensorInfo]) -> Vec<Shortfall> {
    match check(metadata, tensors) {
        Completeness::Checked(found) => found,
        other => panic!("{other:?}"),
    }
}

#[test]
fn fixtures_are_whole() {
    for path in fixtures() {
        let (metadata, tensors) = declared(&path);
        assert_eq!(shortfalls(&metadata, &tensors), [], "{}", path.display());
    }
}
