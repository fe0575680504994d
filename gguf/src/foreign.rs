//! Files that are something else than what they are taken for, by their first bytes.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

/// Bytes that [`describe`] looks at.
const START_BYTES: u64 = 512;

/// Number of pointers in [`MAGICS`].
const POINTERS: usize = 2;

/// First bytes, and what begins with them.
const MAGICS: &[(&[u8], &str)] = &[
    (
        b"version https://git-lfs.github.com/spec/",
        "a Git LFS pointer instead of the file (run git lfs pull)",
    ),
    (
        b"# xet version",
        "a xet pointer instead of the file (download it with a client of the hub)",
    ),
    (b"GGUF", "a GGUF file"),
    (b"FUGG", "a GGUF file with its bytes in another order"),
    (b"lmgg", "a model in llama.cpp's format before GGUF"),
    (b"fmgg", "a model in llama.cpp's format before GGUF"),
    (b"tjgg", "a model in llama.cpp's format before GGUF"),
    (b"algg", "an adapter in llama.cpp's format before GGUF"),
    (b"_logits_", "a logits file of perplexity"),
    (b"PK\x03\x04", "a ZIP archive, as PyTorch checkpoints are"),
    (b"PK\x05\x06", "an empty ZIP archive"),
    (b"\x80\x02", "a Python pickle, as older PyTorch checkpoints are"),
    (b"\x80\x03", "a Python pickle"),
    (b"\x80\x04", "a Python pickle"),
    (b"\x80\x05", "a Python pickle"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file, as Keras writes"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ\0", "an xz archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive"),
    (b"Rar!", "a RAR archive"),
];

/// Names of libraries that write ONNX, near the start of such a file.
const ONNX_PRODUCERS: [&[u8]; 4] = [b"pytorch", b"onnx", b"tf2onnx", b"optimum"];

/// Kind of a file with these first bytes, if known.
pub fn describe(start: &[u8]) -> Option<&'static str> {
    if start.is_empty() {
        return Some("an empty file");
    }
    // First: the length that such a file begins with can look like anything.
    if start.get(8) == Some(&b'{') && start.get(4..8) == Some(&[0; 4]) {
        return Some("a safetensors file");
    }
    if let Some((_, what)) = MAGICS.iter().find(|(magic, _)| start.starts_with(magic)) {
        return Some(what);
    }
    if start.get(257..262) == Some(b"ustar") {
        return Some("a tar archive");
    }
    if start.get(4..8) == Some(b"TFL3") {
        return Some("a TensorFlow Lite model");
    }
    let text = start.trim_ascii_start();
    let begins = |with: &str| {
        text.get(..with.len())
            .is_some_and(|t| t.eq_ignore_ascii_case(with.as_bytes()))
    };
    if begins("<!doctype html") || begins("<html") || begins("<head") {
        return Some("an HTML page, such as a server's error message");
    }
    if begins("<?xml") {
        return Some("an XML text, such as a server's error message");
    }
    if start.starts_with(b"{") {
        return Some("a JSON text, such as a server's error message");
    }
    // A field of the version, and the next.
    let onnx = matches!(start, [0x08, 1..=20, 0x12 | 0x1a | 0x22 | 0x3a, ..]);
    let head = &start[..start.len().min(64)];
    let named = |name: &&[u8]| head.windows(name.len()).any(|w| w == *name);
    if onnx && ONNX_PRODUCERS.iter().any(named) {
        return Some("an ONNX model");
    }
    None
}

/// Whether a file is but a pointer to one, as repositories hold in place of large files; what it is.
pub fn pointer(start: &[u8]) -> Option<&'static str> {
    let mut pointers = MAGICS.iter().take(POINTERS);
    pointers
        .find(|(magic, _)| start.starts_with(magic))
        .map(|(_, what)| *what)
}

/// [`describe`] for a file; nothing where it cannot be read.
pub fn describe_file(path: &Path) -> Option<&'static str> {
    let mut start = Vec::new();
    File::open(path)
        .and_then(|file| file.take(START_BYTES).read_to_end(&mut start))
        .ok()?;
    describe(&start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_told_by_their_first_bytes() {
        for (start, words) in [
            (&b""[..], "empty"),
            (
                b"version https://git-lfs.github.com/spec/v1\noid sha256:00",
                "git lfs pull",
            ),
            (b"# xet version 0\nfilesize = 3", "xet"),
            (b"PK\x03\x04....", "PyTorch"),
            (b"\n<!DOCTYPE HTML><html>", "HTML"),
            (b"{\"error\": \"Not found\"}", "JSON"),
            (b"\x08\x08\x12\x07pytorch\x1a", "ONNX"),
            (b"\x89HDF\r\n\x1a\n", "HDF5"),
            (b"\x1f\x8b\x08", "gzip"),
            (b"\x80\x02\x8a\x0a", "pickle"),
            (b"\x40\0\0\0\0\0\0\0{\"a\"", "safetensors"),
        ] {
            assert!(describe(start).unwrap().contains(words), "{start:?}");
        }
        assert_eq!(describe(b"anything else"), None);
    }
}
