//! Malformed files that have broken parsers of this format, each refused with an error that says where
//! and what. Identifiers are those of the published reports, where there is one.

use crate::common;

use std::io::Write as _;
use std::path::Path;

use common::{folder, sample};
use quantsmith_gguf::{Backing, Error, GgufFile, Header, Metadata, OpenOptions};

/// Builds a file by hand, so that it can hold what no writer would write.
#[derive(Default)]
struct Raw(Vec<u8>);

const U8: u32 = 0;
const U32: u32 = 4;
const I32: u32 = 5;
const STRING: u32 = 8;
const ARRAY: u32 = 9;
const F32_TENSOR: u32 = 0;

impl Raw {
    fn new(tensors: u64, keys: u64) -> Self {
        Self(b"GGUF".to_vec()).u32(3).u64(tensors).u64(keys)
    }

    fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    fn u32(self, v: u32) -> Self {
        self.bytes(&v.to_le_bytes())
    }

    fn u64(self, v: u64) -> Self {
        self.bytes(&v.to_le_bytes())
    }

    fn string(self, s: &str) -> Self {
        self.u64(s.len() as u64).bytes(s.as_bytes())
    }

    fn key(self, key: &str, ty: u32) -> Self {
        self.string(key).u32(ty)
    }

    fn tensor(self, name: &str, shape: &[u64], ty: u32, offset: u64) -> Self {
        let mut raw = self.string(name).u32(shape.len() as u32);
        for &d in shape {
            raw = raw.u64(d);
        }
        raw.u32(ty).u64(offset)
    }

    /// Room after the header, so that counts are not refused only because the file is small.
    fn room(self, n: usize) -> Self {
        let zeros = vec![0; n];
        self.bytes(&zeros)
    }

    fn parse(&self) -> Result<Header, Error> {
        Header::parse_bytes(&self.0)
    }

    /// The error's message, which has to contain each of `parts`.
    #[track_caller]
    fn refused(&self, parts: &[&str]) {
        let message = self
            .parse()
            .expect_err("a malformed file was accepted")
            .to_string();
        for part in parts {
            assert!(message.contains(part), "{part:?} is not in {message:?}");
        }
    }
}

fn with_alignment(ty: u32, value: u32) -> Raw {
    Raw::new(0, 1).key("general.alignment", ty).u32(value)
}

#[test]
fn empty_file_and_foreign_magic() {
    Raw::default().refused(&["magic", "at byte 0", "expected 4"]);
    Raw(b"GGML\x03\0\0\0".to_vec()).refused(&["magic", "'GGML'", "'GGUF'"]);
    Raw(b"\x89PNG\r\n\x1a\n".to_vec()).refused(&["'\\x89PNG'"]);
}

#[test]
fn version_zero_unknown_or_of_wrong_endianness() {
    Raw(b"GGUF".to_vec())
        .u32(0)
        .refused(&["version", "found 0", "1 to 3"]);
    Raw(b"GGUF".to_vec()).u32(4).refused(&["found 4"]);
    Raw(b"GGUF".to_vec())
        .bytes(&4u32.to_be_bytes())
        .refused(&["found 4"]);
    // Big-endian version with little-endian counts: the counts are absurd.
    Raw(b"GGUF".to_vec())
        .bytes(&3u32.to_be_bytes())
        .u64(1)
        .u64(1)
        .room(100)
        .refused(&["tensor count"]);
}

#[test]
fn tensor_and_key_counts_that_overflow_cve_2024_21825() {
    for n in [
        1u64 << 31,
        1 << 32,
        1 << 60,
        i64::MAX as u64,
        u64::MAX,
        u64::MAX / 24 + 1,
    ] {
        Raw::new(n, 0)
            .room(4096)
            .refused(&["tensor count", "at byte 8", &n.to_string()]);
        Raw::new(0, n)
            .room(4096)
            .refused(&["key count", "at byte 16", &n.to_string()]);
    }
}

#[test]
fn string_lengths_that_overflow_cve_2024_23496() {
    for n in [1u64 << 31, 1 << 40, u64::MAX - 1, u64::MAX] {
        Raw::new(0, 1).u64(n).room(64).refused(&["key 0", &n.to_string()]);
        Raw::new(0, 1)
            .key("k", STRING)
            .u64(n)
            .room(64)
            .refused(&["value of key 'k'", &n.to_string()]);
        Raw::new(1, 0)
            .u64(n)
            .room(64)
            .refused(&["name of tensor 0", &n.to_string()]);
    }
}

#[test]
fn array_lengths_that_overflow_cve_2024_21836_and_2_to_63_in_a_tiny_file() {
    for n in [1u64 << 32, 1 << 61, 1 << 62, 1 << 63, u64::MAX] {
        for ty in 0..13u32 {
            Raw::new(0, 1)
                .key("k", ARRAY)
                .u32(ty)
                .u64(n)
                .room(64)
                .refused(&["array of key 'k'"]);
        }
    }
}

#[test]
fn unknown_value_types() {
    Raw::new(0, 1)
        .key("k", 13)
        .room(64)
        .refused(&["type of key 'k'", "found 13"]);
    Raw::new(0, 1)
        .key("k", u32::MAX)
        .room(64)
        .refused(&["type of key 'k'"]);
    Raw::new(0, 1)
        .key("k", ARRAY)
        .u32(99)
        .u64(0)
        .refused(&["type of key 'k'", "found 99"]);
}

#[test]
fn arrays_nested_thousands_deep() {
    let nested = |depth: u32| {
        let mut raw = Raw::new(0, 1).key("k", ARRAY);
        for _ in 1..depth {
            raw = raw.u32(ARRAY).u64(1);
        }
        raw.u32(U8).u64(1).bytes(&[7])
    };
    assert!(nested(8).parse().is_ok());
    nested(9).refused(&["'k'", "nested more than 8 deep"]);
    nested(100_000).refused(&["'k'", "nested more than 8 deep"]);
}

#[test]
fn empty_duplicate_and_non_utf8_keys() {
    Raw::new(0, 1)
        .key("", U32)
        .u32(1)
        .room(8)
        .refused(&["key 0", "an empty key"]);
    Raw::new(0, 2)
        .key("a", U32)
        .u32(1)
        .key("a", U32)
        .u32(2)
        .refused(&["key 'a'", "a second time"]);
    Raw::new(0, 1)
        .u64(2)
        .bytes(&[0xff, 0xfe])
        .u32(U32)
        .u32(1)
        .refused(&["key 0", "UTF-8", "\\xff\\xfe"]);
}

#[test]
fn alignment_zero_not_a_power_of_two_huge_or_of_the_wrong_type() {
    for bad in [0, 3, 33, 0x8000_0000, u32::MAX, 1 << 25] {
        with_alignment(U32, bad).refused(&["general.alignment", &bad.to_string(), "power of two"]);
    }
    with_alignment(I32, 32).refused(&["general.alignment", "type i32", "type u32"]);
    Raw::new(0, 1)
        .key("general.alignment", STRING)
        .string("32")
        .refused(&["type str"]);
    Raw::new(0, 1)
        .key("general.alignment", ARRAY)
        .u32(U32)
        .u64(1)
        .u32(32)
        .refused(&["type arr"]);
    for good in [1, 2, 8, 32, 64, 4096, 1 << 24] {
        assert_eq!(
            with_alignment(U32, good).parse().unwrap().alignment,
            u64::from(good)
        );
    }
}

#[test]
fn five_dimensions_and_2_to_32_dimensions() {
    Raw::new(1, 0)
        .tensor("t", &[1; 5], F32_TENSOR, 0)
        .refused(&["tensor 't'", "5 dimensions", "at most 4"]);
    Raw::new(1, 0)
        .string("t")
        .u32(u32::MAX)
        .room(64)
        .refused(&["tensor 't'", "4294967295 dimensions"]);
}

#[test]
fn a_scalar_without_dimensions_is_one_element() {
    let header = Raw::new(1, 0)
        .tensor("t", &[], F32_TENSOR, 0)
        .room(64)
        .parse()
        .unwrap();
    assert_eq!(
        (header.tensors[0].row_len(), header.tensors[0].size_bytes()),
        (1, 4)
    );
}

#[test]
fn zero_dimensions() {
    // ggml reads such tensors as having no data. No model has one, and each is a division by zero that
    // waits for somebody downstream, so they are refused here.
    for shape in [[0, 1], [1, 0], [0, 0]] {
        Raw::new(1, 0)
            .tensor("t", &shape, F32_TENSOR, 0)
            .room(64)
            .refused(&["tensor 't'", "at least 1"]);
    }
}

#[test]
fn products_of_dimensions_that_wrap_cve_2026_33298() {
    for shape in [
        vec![u64::MAX],
        vec![1 << 63],
        vec![1 << 32, 1 << 32],
        vec![1 << 31, 1 << 31, 4],
        vec![1 << 16, 1 << 16, 1 << 16, 1 << 16],
        vec![u64::MAX, 1, 1, 1],
        vec![2, 1 << 63],
        vec![4, (1 << 62) + 1],
    ] {
        Raw::new(1, 0)
            .tensor("t", &shape, F32_TENSOR, 0)
            .room(64)
            .refused(&["tensor 't'", "at most"]);
    }
}

#[test]
fn sizes_that_wrap_when_padded() {
    // 2^63 - 4 bytes: representable, but not with its padding.
    Raw::new(1, 0)
        .tensor("t", &[(1 << 61) - 1], F32_TENSOR, 0)
        .room(64)
        .refused(&["tensor 't'"]);
    // Two tensors whose sum wraps.
    let half = 1u64 << 60;
    Raw::new(3, 0)
        .tensor("a", &[half], F32_TENSOR, 0)
        .tensor("b", &[half], F32_TENSOR, half * 4)
        .room(200)
        .refused(&["tensor 'b'", "at most"]);
}

#[test]
fn partial_blocks_and_unknown_tensor_types() {
    Raw::new(1, 0).tensor("t", &[255], 12, 0).room(64).refused(&[
        "tensor 't'",
        "q4_K",
        "whole blocks of 256",
    ]);
    // 4, 5, 31 to 33 and 36 to 38 are retired ids.
    for id in [4, 5, 31, 32, 33, 36, 37, 38, 43, 1000, u32::MAX] {
        Raw::new(1, 0)
            .tensor("t", &[32], id, 0)
            .room(64)
            .refused(&["type of tensor 't'", &id.to_string()]);
    }
}

#[test]
fn offsets_unaligned_overlapping_with_gaps_or_backwards() {
    let second = |offset| {
        Raw::new(2, 0)
            .tensor("a", &[16], F32_TENSOR, 0)
            .tensor("b", &[16], F32_TENSOR, offset)
            .room(256)
    };
    assert!(second(64).parse().is_ok());
    for bad in [0, 32, 63, 65, 96, 128, u64::MAX, u64::MAX - 63] {
        second(bad).refused(&["offset of tensor 'b'", &format!("found {bad}"), "expected 64"]);
    }
    Raw::new(1, 0)
        .tensor("a", &[16], F32_TENSOR, 32)
        .room(256)
        .refused(&["offset of tensor 'a'"]);
}

#[test]
fn duplicate_overlong_and_non_utf8_tensor_names() {
    Raw::new(2, 0)
        .tensor("a", &[8], F32_TENSOR, 0)
        .tensor("a", &[8], F32_TENSOR, 32)
        .room(64)
        .refused(&["tensor 'a'", "a second time"]);
    Raw::new(1, 0)
        .tensor(&"n".repeat(1025), &[8], F32_TENSOR, 0)
        .room(64)
        .refused(&["1025", "1024"]);
    Raw::new(1, 0)
        .u64(1)
        .bytes(&[0x80])
        .u32(1)
        .u64(8)
        .u32(0)
        .u64(0)
        .refused(&["name of tensor 0", "UTF-8"]);
}

#[test]
fn data_past_the_end_cve_2026_7482() {
    let folder = folder();
    let path = folder.path().join("short.gguf");
    let header = Raw::new(2, 0)
        .tensor("a", &[8], F32_TENSOR, 0)
        .tensor("b", &[1 << 40], F32_TENSOR, 32);
    std::fs::write(&path, header.room(200).0).unwrap();
    let message = GgufFile::open(&path).unwrap_err().to_string();
    assert!(
        message.contains("data of tensor 'b'") && message.contains("ends too early"),
        "{message}"
    );

    for backing in [Backing::Mapped, Backing::File] {
        let options = OpenOptions::default().backing(backing).allow_missing_data(true);
        let file = GgufFile::open_with(&path, options).unwrap();
        assert!(!file.has_data());
        assert_eq!(file.bytes(0, 0..32).unwrap().len(), 32);
        assert!(matches!(file.bytes(1, 0..1 << 42), Err(Error::Truncated { .. })));
        assert!(matches!(file.bytes(0, 0..33), Err(Error::OutOfRange { .. })));
        assert!(matches!(
            file.bytes(0, u64::MAX..u64::MAX),
            Err(Error::OutOfRange { .. })
        ));
        #[allow(clippy::reversed_empty_ranges, reason = "the point of the test")]
        let reversed = file.bytes(0, 8..4);
        assert!(matches!(reversed, Err(Error::OutOfRange { .. })));
    }
}

#[test]
fn truncated_at_every_byte() {
    let folder = folder();
    let mut metadata = Metadata::new();
    metadata.set("general.architecture", "llama");
    metadata.set("tokens", vec!["a", "bc", ""]);
    metadata.set("scores", vec![1.0f32, 2.0]);
    let path = sample(
        folder.path(),
        "whole.gguf",
        metadata,
        &[("a", vec![4, 2]), ("b", vec![3])],
    );
    let whole = std::fs::read(&path).unwrap();
    let file = GgufFile::open(&path).unwrap();
    let (data, end) = (
        file.data_offset() as usize,
        (file.data_offset() + 32 + 12) as usize,
    );
    assert_eq!(whole.len(), data + 64);
    let header_end = whole[..data].iter().rposition(|&b| b != 0).unwrap();

    let cut = folder.path().join("cut.gguf");
    for n in 0..=whole.len() {
        std::fs::write(&cut, &whole[..n]).unwrap();
        let opened = GgufFile::open(&cut);
        assert_eq!(opened.is_ok(), n >= end, "cut to {n} bytes");
        if let Err(e) = opened {
            assert!(
                matches!(e, Error::Truncated { .. } | Error::Malformed { .. }),
                "cut to {n}: {e}"
            );
            assert!(e.to_string().contains("cut.gguf"));
        }
        let headers = OpenOptions::default()
            .backing(Backing::File)
            .allow_missing_data(true);
        let opened = GgufFile::open_with(&cut, headers);
        // The last field is an offset of 32, whose high bytes are zeros.
        assert_eq!(opened.is_ok(), n >= header_end + 8, "header cut to {n} bytes");
    }
}

#[test]
fn every_byte_of_a_small_file_changed_gives_a_file_or_an_error() {
    let folder = folder();
    let mut metadata = Metadata::new();
    metadata.set("general.alignment", 64u32);
    metadata.set("tokens", vec!["a", "bc", ""]);
    let path = sample(
        folder.path(),
        "whole.gguf",
        metadata,
        &[("a", vec![4, 2]), ("b", vec![3])],
    );
    let whole = std::fs::read(&path).unwrap();
    let end = GgufFile::open(&path).unwrap().data_offset() as usize;
    for i in 0..end {
        for value in [0, 1, 0x7f, 0x80, 0xff, whole[i] ^ 1, whole[i].wrapping_add(1)] {
            let mut changed = whole.clone();
            changed[i] = value;
            if let Ok(header) = Header::parse_bytes(&changed) {
                assert!(
                    header
                        .tensors
                        .iter()
                        .all(|t| t.elements() > 0 && t.size_bytes() > 0)
                );
            }
        }
    }
}

#[test]
fn a_sparse_file_of_a_terabyte_costs_no_memory() {
    let folder = folder();
    let path = folder.path().join("sparse.gguf");
    let mut file = std::fs::File::create(&path).unwrap();
    file.write_all(&Raw::new(0, 1).key("k", ARRAY).u32(U8).u64(1 << 39).0)
        .unwrap();
    if file.set_len(1 << 40).is_err() {
        return; // The file system has no such files.
    }
    let message = GgufFile::open(&path).unwrap_err().to_string();
    assert!(message.contains("a header of at most"), "{message}");
}

#[test]
fn a_file_that_shrinks_while_read_is_an_error() {
    for backing in [Backing::Mapped, Backing::File] {
        let folder = folder();
        let path = sample(folder.path(), "m.gguf", Metadata::new(), &[("a", vec![1 << 16])]);
        let file = GgufFile::open_with(
            &path,
            OpenOptions::default().backing(backing).allow_missing_data(false),
        )
        .unwrap();
        assert_eq!(file.bytes(0, 0..16).unwrap().len(), 16);
        std::fs::OpenOptions::new()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(4096)
            .unwrap();
        assert!(matches!(file.bytes(0, 8192..16384), Err(Error::Changed { .. })));
    }
}

#[test]
fn directories_and_special_files() {
    let folder = folder();
    let message = GgufFile::open(folder.path()).unwrap_err().to_string();
    assert!(message.contains("a directory"), "{message}");
    assert!(matches!(
        GgufFile::open(Path::new("no/such.gguf")),
        Err(Error::Io { .. })
    ));
    #[cfg(unix)]
    assert!(
        GgufFile::open(Path::new("/dev/zero"))
            .unwrap_err()
            .to_string()
            .contains("special file")
    );
}

#[test]
fn a_file_that_grows_while_read_is_an_error() {
    for backing in [Backing::Mapped, Backing::File] {
        let folder = folder();
        let path = sample(folder.path(), "m.gguf", Metadata::new(), &[("a", vec![1 << 10])]);
        let options = OpenOptions::default().backing(backing).allow_missing_data(false);
        let file = GgufFile::open_with(&path, options).unwrap();
        let mut longer = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
        longer.write_all(&[0; 64]).unwrap();
        assert!(matches!(file.bytes(0, 0..16), Err(Error::Changed { .. })));
    }
}
