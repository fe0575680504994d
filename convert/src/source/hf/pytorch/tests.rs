use std::path::PathBuf;

use super::*;
use crate::fuzzing::{tensor_pickle as pickle, zip};

fn open(bytes: &[u8]) -> (tempfile::TempDir, Result<PytorchFile>) {
    let dir = tempfile::tempdir().unwrap();
    let path: PathBuf = dir.path().join("pytorch_model.bin");
    std::fs::write(&path, bytes).unwrap();
    (dir, PytorchFile::open(&path))
}

fn refused(bytes: &[u8], words: &[&str]) {
    let error = open(bytes).1.expect_err("accepted").to_string();
    for word in words {
        assert!(error.contains(word), "{word:?} is not in {error:?}");
    }
}

fn storage(n: u8) -> Vec<u8> {
    (0..n).flat_map(|i| f32::from(i).to_le_bytes()).collect()
}

fn checkpoint(pickle: &[u8]) -> Vec<u8> {
    zip(&[("m/data.pkl", pickle), ("m/data/0", &storage(12))])
}

fn values(file: &PytorchFile, first: u64, count: usize) -> Vec<f32> {
    let mut bytes = vec![0; count * 4];
    file.read_at(file.entries()[0].offset + first * 4, &mut bytes)
        .unwrap();
    let chunks = bytes.as_chunks::<4>().0.iter();
    chunks.map(|b| f32::from_le_bytes(*b)).collect()
}

#[test]
fn tensors_are_read_where_they_lie() {
    let (_dir, file) = open(&checkpoint(&pickle(12, 2, &[2, 4], &[4, 1])));
    let file = file.unwrap();
    assert_eq!(file.entries()[0].name, "w");
    assert_eq!(file.entries()[0].shape, [2, 4]);
    assert_eq!(values(&file, 3, 2), [5.0, 6.0]);
    // The same, transposed.
    let (_dir, file) = open(&checkpoint(&pickle(12, 0, &[4, 3], &[1, 4])));
    let file = file.unwrap();
    assert_eq!(values(&file, 0, 4), [0.0, 4.0, 8.0, 1.0]);
    assert_eq!(values(&file, 10, 2), [7.0, 11.0]);
}

#[test]
fn an_end_record_that_is_cut_is_refused() {
    let whole = checkpoint(&pickle(12, 2, &[2, 4], &[4, 1]));
    let record = &whole[whole.len() - 22..];
    refused(b"", &["an empty file"]);
    for length in 1..record.len() {
        refused(&record[..length], &["zip: expected an end record"]);
    }
    refused(&whole[..whole.len() - 1], &["zip: expected an end record"]);
}

#[test]
fn absurd_views_are_refused() {
    for (offset, shape, stride) in [
        (5, &[2, 4][..], &[4, 1][..]),
        (0, &[3, 4], &[5, 1]),
        (0, &[200, 12], &[0, 1]),
        (13, &[1], &[1]),
    ] {
        refused(
            &checkpoint(&pickle(12, offset, shape, stride)),
            &["tensor 'w'", "its storage"],
        );
    }
    refused(
        &checkpoint(&pickle(12, 0, &[2, 2], &[1])),
        &["expected 2 strides, one for each size, found 1"],
    );
    refused(
        &checkpoint(&pickle(12, 0, &[1; 9], &[1; 9])),
        &["dimensions, found 9"],
    );
    // More elements than the storage's member has bytes for.
    refused(
        &checkpoint(&pickle(13, 0, &[13], &[1])),
        &["expected 13 elements", "found 48 bytes"],
    );
    let negative = b"\x80\x02J\xFF\xFF\xFF\xFF\x85ctorch\nSize\n.";
    refused(&checkpoint(negative), &["expected a dict"]);
}

#[test]
fn nothing_is_executed() {
    let call = b"\x80\x02cposix\nsystem\nX\x04\0\0\0true\x85R.";
    refused(&checkpoint(call), &["posix.system", "nothing was executed"]);
    let getattr = b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93.";
    refused(&checkpoint(getattr), &["builtins.eval"]);
    refused(&checkpoint(b"\x80\x02ctorch\nload\n."), &["torch.load"]);
    refused(&checkpoint(b"\x80\x02(i__main__\nX\n."), &["found 0x69"]);
}

#[test]
fn malformed_pickles_are_refused() {
    for bad in [
        &b""[..],
        b".",
        b"(",
        b"t.",
        b"h\x05.",
        b"Nr\xFF\xFF\xFF\xFF.",
        b"Na.",
        b"}s.",
        b"X\xFF\xFF\xFF\xFFa.",
        b"\x8d\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF.",
        b"(N0.",
        b"NQ.",
        b"NNR.",
        b"ccollections\nOrderedDict\nNR.",
    ] {
        refused(&checkpoint(bad), &["pickle, byte"]);
    }
    // Nested deeper than any stack: built and dropped without recursion.
    let mut deep = vec![b']'; 400_000];
    deep.extend(vec![b'a'; 399_999]);
    deep.push(b'.');
    refused(&checkpoint(&deep), &["expected a dict"]);
    let mut deep = vec![b')'];
    deep.extend(vec![0x85; 400_000]);
    deep.push(b'.');
    refused(&checkpoint(&deep), &["expected a dict"]);
    // Each list holds the one before twice; references are not followed.
    let mut bomb = b"]q\0".to_vec();
    for _ in 0..10_000 {
        bomb.extend(b"](h\0h\0eq\0");
    }
    bomb.push(b'.');
    refused(&checkpoint(&bomb), &["expected a dict"]);
}

#[test]
fn lying_zip_files_are_refused() {
    let good = checkpoint(&pickle(12, 0, &[12], &[1]));
    assert!(open(&good).1.is_ok());
    for length in 0..good.len() {
        assert!(open(&good[..length]).1.is_err(), "cut to {length} bytes");
    }
    refused(&[0; 100], &["expected an end record"]);
    refused(
        &zip(&[("m/data.pkl", &pickle(12, 0, &[12], &[1]))]),
        &["expected a storage m/data/0"],
    );
    refused(&zip(&[("a", b"b")]), &["expected a data.pkl"]);
    refused(
        &zip(&[("a/data.pkl", b"N."), ("a/data.pkl", b"N.")]),
        &["found two"],
    );
    let big = zip(&[("m/data.pkl", b"N."), ("m/byteorder", b"big")]);
    refused(&big, &["big-endian"]);
    // Sizes and positions in the directory, byte by byte: an error or the same values, never a panic.
    let start = good.windows(4).position(|w| w == b"PK\x01\x02").unwrap();
    for at in start..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x81;
        if let (_dir, Ok(file)) = open(&bad)
            && let Some(entry) = file.entries().first()
        {
            let mut bytes = vec![0; entry.bytes as usize];
            let _ = file.read_at(entry.offset, &mut bytes);
        }
    }
    // Every byte of the pickle.
    let pickle = pickle(12, 0, &[4, 3], &[1, 4]);
    for at in 0..pickle.len() {
        for change in [1, 0xC0] {
            let mut bad = pickle.clone();
            bad[at] ^= change;
            let (_dir, opened) = open(&checkpoint(&bad));
            if let Ok(file) = opened {
                for entry in file.entries() {
                    let mut bytes = vec![0; entry.bytes as usize];
                    let _ = file.read_at(entry.offset, &mut bytes);
                }
            }
        }
    }
}

/// Files that PyTorch 2 wrote: a state dict with a view, tied tensors, a parameter and other types, in both
/// formats.
#[test]
fn files_of_pytorch_are_read() {
    for bytes in [
        &include_bytes!("fixtures/zip.bin")[..],
        &include_bytes!("fixtures/legacy.bin")[..],
    ] {
        let (_dir, file) = open(bytes);
        let file = file.unwrap();
        let found: Vec<(&str, Dtype, &[u64])> = file
            .entries()
            .iter()
            .map(|e| (e.name.as_str(), e.dtype, &e.shape[..]))
            .collect();
        assert_eq!(
            found,
            [
                ("plain", Dtype::F32, &[3, 4][..]),
                ("transposed", Dtype::F32, &[4, 3]),
                ("tied", Dtype::F32, &[3, 4]),
                ("half", Dtype::F16, &[2]),
                ("bf16", Dtype::BF16, &[2, 1]),
                ("steps", Dtype::I64, &[]),
            ]
        );
        let bytes = |at: usize| {
            let entry = &file.entries()[at];
            let mut out = vec![0; entry.bytes as usize];
            file.read_at(entry.offset, &mut out).unwrap();
            out
        };
        assert_eq!(bytes(0), storage(12));
        assert_eq!(bytes(2), storage(12));
        let transposed: Vec<u8> = (0..12)
            .flat_map(|i| ((i % 3 * 4 + i / 3) as f32).to_le_bytes())
            .collect();
        assert_eq!(bytes(1), transposed);
        assert_eq!(bytes(3), [0x00, 0x3E, 0x00, 0xC0]);
        assert_eq!(bytes(4), [0x00, 0x3F, 0x40, 0x40]);
        assert_eq!(bytes(5), 7i64.to_le_bytes());
    }
}

/// A checkpoint that another process writes to while it is open.
#[test]
fn a_file_that_is_overwritten_is_an_error() {
    let bytes = checkpoint(&pickle(12, 2, &[2, 4], &[4, 1]));
    let (_dir, file) = open(&bytes);
    let file = file.unwrap();
    assert_eq!(values(&file, 0, 1), [2.0]);
    let written = std::fs::File::options().write(true).open(file.path()).unwrap();
    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(5);
    written.set_modified(later).unwrap();
    let said = file.read_at(file.entries()[0].offset, &mut [0; 4]).unwrap_err();
    assert!(said.to_string().contains("has written to the file"), "{said}");
    written.set_len(bytes.len() as u64 + 1).unwrap();
    let said = file.read_at(file.entries()[0].offset, &mut [0; 4]).unwrap_err();
    assert!(
        said.to_string().contains(&format!("found {}", bytes.len() + 1)),
        "{said}"
    );
}
