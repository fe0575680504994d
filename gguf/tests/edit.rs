//! Editing of metadata: in place, by rewriting, and through a crash.

use crate::common;

use std::path::{Path, PathBuf};

use common::{folder, sample};
use quantsmith_gguf::edit::{Edited, is_interrupted, recover, set_metadata};
use quantsmith_gguf::{GgufFile, Metadata};

fn file(folder: &Path) -> PathBuf {
    let mut metadata = Metadata::new();
    metadata.set("general.architecture", "llama");
    metadata.set("general.name", "first");
    metadata.set("tokenizer.chat_template", "short");
    sample(folder, "m.gguf", metadata, &[("a", vec![64, 3]), ("b", vec![7])])
}

fn data(path: &Path) -> Vec<u8> {
    let file = GgufFile::open(path).unwrap();
    std::fs::read(path).unwrap()[file.data_offset() as usize..].to_vec()
}

fn names(folder: &Path) -> usize {
    folder.read_dir().unwrap().count()
}

#[test]
fn what_fits_is_written_in_place_and_what_does_not_rewrites() {
    let folder = folder();
    let path = file(folder.path());
    let before = data(&path);
    let mut metadata = GgufFile::open(&path).unwrap().metadata().clone();
    let unchanged = set_metadata(&path, metadata.clone(), None, &mut |_| {}).unwrap();
    assert_eq!(unchanged, Edited::Unchanged);

    metadata.set_in_place("general.name", "other");
    assert_eq!(
        set_metadata(&path, metadata.clone(), None, &mut |_| {}).unwrap(),
        Edited::InPlace
    );
    assert_eq!(GgufFile::open(&path).unwrap().metadata(), &metadata);

    metadata.set_in_place("tokenizer.chat_template", "long ".repeat(1000));
    let mut copied = 0;
    assert_eq!(
        set_metadata(&path, metadata.clone(), None, &mut |n| copied += n).unwrap(),
        Edited::Rewritten
    );
    assert_eq!(copied, (64 * 3 + 7) * 4);
    assert_eq!(GgufFile::open(&path).unwrap().metadata(), &metadata);
    assert_eq!(data(&path), before, "tensor bytes changed");

    metadata.remove("tokenizer.chat_template");
    let output = folder.path().join("new.gguf");
    set_metadata(&path, metadata.clone(), Some(&output), &mut |_| {}).unwrap();
    assert_eq!(GgufFile::open(&output).unwrap().metadata(), &metadata);
    assert!(
        GgufFile::open(&path)
            .unwrap()
            .metadata()
            .get("tokenizer.chat_template")
            .is_some()
    );
    assert_eq!(data(&output), before);
    assert_eq!(names(folder.path()), 2, "something was left behind");
}

#[test]
fn another_alignment_moves_the_tensors() {
    let folder = folder();
    let path = file(folder.path());
    let read = |path: &Path| {
        let file = GgufFile::open(path).unwrap();
        (0..2)
            .map(|i| {
                file.bytes(i, 0..file.tensors()[i].size_bytes())
                    .unwrap()
                    .into_owned()
            })
            .collect::<Vec<_>>()
    };
    let before = read(&path);
    let mut metadata = GgufFile::open(&path).unwrap().metadata().clone();
    metadata.set("general.alignment", 4096u32);
    set_metadata(&path, metadata, None, &mut |_| {}).unwrap();
    assert_eq!(GgufFile::open(&path).unwrap().alignment(), 4096);
    assert_eq!(read(&path), before);
}

#[test]
fn a_crash_in_the_middle_of_an_edit_is_undone() {
    let folder = folder();
    let path = file(folder.path());
    let whole = std::fs::read(&path).unwrap();
    // What a killed edit leaves: the note of the old bytes, and a header written in part.
    let at = 40;
    let mut note = b"GGUFundo".to_vec();
    note.extend((whole.len() as u64).to_le_bytes());
    note.extend((at as u64).to_le_bytes());
    note.extend(&whole[at..at + 20]);
    std::fs::write(folder.path().join(".m.gguf.undo"), &note).unwrap();
    let mut torn = whole.clone();
    torn[at..at + 13].fill(0xff);
    std::fs::write(&path, torn).unwrap();
    assert!(is_interrupted(&path));
    assert!(recover(&path).unwrap());
    assert_eq!(std::fs::read(&path).unwrap(), whole);
    assert!(!is_interrupted(&path) && !recover(&path).unwrap());

    // A note that belongs to another file is refused, and the file left alone.
    for bad in [&b"GGUFund0"[..], b"", &note[..23]] {
        std::fs::write(folder.path().join(".m.gguf.undo"), bad).unwrap();
        assert!(recover(&path).is_err());
    }
    note[8] ^= 1;
    std::fs::write(folder.path().join(".m.gguf.undo"), &note).unwrap();
    let message = recover(&path).unwrap_err().to_string();
    assert!(message.contains("does not belong"), "{message}");
    assert_eq!(std::fs::read(&path).unwrap(), whole);
}

#[test]
fn metadata_that_cannot_be_written_changes_nothing() {
    let folder = folder();
    let path = file(folder.path());
    let whole = std::fs::read(&path).unwrap();
    let mut metadata = GgufFile::open(&path).unwrap().metadata().clone();
    metadata.set("general.alignment", 33u32);
    assert!(set_metadata(&path, metadata, None, &mut |_| {}).is_err());
    assert_eq!(std::fs::read(&path).unwrap(), whole);
    assert_eq!(names(folder.path()), 1);
}
