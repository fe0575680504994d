//! Files with tensor types of other programs: listed where that is asked for, and named in every other error.

use quantsmith_gguf::{self as gguf, Backing, GgufModel, OpenOptions};

/// A file with tensors of these (name, shape, type id, bytes).
fn file(tensors: &[(&str, &[u64], u32, u64)]) -> Vec<u8> {
    fn text(out: &mut Vec<u8>, text: &str) {
        out.extend((text.len() as u64).to_le_bytes());
        out.extend(text.as_bytes());
    }
    let mut out = b"GGUF\x03\0\0\0".to_vec();
    out.extend((tensors.len() as u64).to_le_bytes());
    out.extend(1u64.to_le_bytes());
    text(&mut out, "general.architecture");
    out.extend(8u32.to_le_bytes());
    text(&mut out, "llama");
    let mut offset = 0u64;
    for (name, shape, ty, bytes) in tensors {
        text(&mut out, name);
        out.extend((shape.len() as u32).to_le_bytes());
        for d in *shape {
            out.extend(d.to_le_bytes());
        }
        out.extend(ty.to_le_bytes());
        out.extend(offset.to_le_bytes());
        offset += bytes.next_multiple_of(32);
    }
    out.resize(out.len().next_multiple_of(32) + offset as usize, 0);
    out
}

fn model(bytes: &[u8], list: bool) -> gguf::Result<GgufModel> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.gguf");
    std::fs::write(&path, bytes).unwrap();
    let options = OpenOptions::default()
        .backing(Backing::File)
        .allow_missing_data(false);
    if list {
        GgufModel::open_to_list(&path, options)
    } else {
        GgufModel::open_with(&path, options)
    }
}

/// Types of every family: ids, sizes of blocks and what a row has besides, by ik_llama.cpp's structures.
const TENSORS: &[(&str, &[u64], u32, u64)] = &[
    ("plain", &[4], 0, 16),
    ("iq2_k", &[512, 3], 137, 2 * 76 * 3),
    ("iq4_ks", &[256, 5], 144, (136 + 4) * 5),
    ("iq2_kl", &[256, 2, 2], 157, (86 + 2) * 4),
    ("iq1_s_r4", &[64, 4], 219, (2 * 6 + 2) * 4),
    ("q8_KV", &[64, 2], 151, (64 + 8) * 2),
    ("i2_s", &[128, 4], 36, 128 + 32),
    ("last", &[32], 8, 34),
];

#[test]
fn tensors_of_other_programs_are_listed_with_their_sizes() {
    let model = model(&file(TENSORS), true).unwrap();
    assert_eq!(model.len(), 2);
    assert!(model.has_data());
    let found: Vec<(&str, u32, u64)> = model
        .foreign_tensors()
        .map(|(_, t)| (t.name.as_str(), t.ty.id, t.size_bytes))
        .collect();
    let expected: Vec<(&str, u32, u64)> = TENSORS[1..7]
        .iter()
        .map(|(n, _, ty, size)| (*n, *ty, *size))
        .collect();
    assert_eq!(found, expected);
    assert!(model.foreign_tensors().all(|(_, t)| t.name == t.ty.name));
    // What follows them is read from where it is.
    let last = model.find("last").unwrap();
    assert_eq!(model.bytes(last, 0..34).unwrap().len(), 34);
}

#[test]
fn they_are_named_where_they_cannot_be_used() {
    let error = model(&file(TENSORS), false).unwrap_err().to_string();
    assert!(
        error.contains("type of tensor 'iq2_k' at byte 139: expected a type of llama.cpp, found 137 (type IQ2_K of ik_llama.cpp)"),
        "{error}"
    );
    let unknown = file(&[("x", &[4], 999, 16)]);
    for list in [true, false] {
        let error = model(&unknown, list).unwrap_err().to_string();
        assert!(
            error.contains("type of tensor 'x' at byte ")
                && error.contains("expected a known tensor type, found 999"),
            "{error}"
        );
    }
}

#[test]
fn their_shapes_are_checked() {
    for (tensor, expected) in [
        (("x", &[100u64][..], 137, 0), "rows of whole blocks of 256"),
        (("x", &[256, 0], 137, 0), "dimensions of at least 1"),
        (("x", &[1 << 40, 1 << 40], 137, 0), "elements"),
    ] {
        let error = model(&file(&[tensor]), true).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let mut short = file(TENSORS);
    short.truncate(short.len() - 64);
    assert!(model(&short, true).is_err());
}
