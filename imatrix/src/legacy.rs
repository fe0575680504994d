//! The `.dat` format: a count, then for each entry name, calls and values, then optionally the
//! number of windows and the text's name. Integers are 32-bit little-endian.

use std::io::Read;
use std::path::Path;

use crate::{Entries, Entry, Error, Form, ImportanceMatrix, Result};

/// Tensor names are at most 63 bytes in ggml; more than this is no name.
const MAX_NAME_BYTES: i32 = 4096;
/// Longest name of a text.
const MAX_DATASET_BYTES: i32 = 1 << 20;

/// Reads a file of `length` bytes as far as it makes sense: the first field that does not ends it.
pub(crate) fn parse(reader: impl Read, length: u64, path: &Path) -> Result<ImportanceMatrix> {
    let mut input = Input {
        reader,
        length,
        at: 0,
        path,
    };
    let count = input.int("number of entries", 1, i32::MAX)?;
    let mut entries = Entries::new();
    for index in 0..count {
        let subject = format!("name of entry {}", index + 1);
        let length = input.int(&format!("length of the {subject}"), 0, MAX_NAME_BYTES)?;
        let name = input.text(&subject, length)?;
        let calls = input.int(&format!("calls of entry {name}"), i32::MIN, i32::MAX)?;
        let values = input.int(&format!("number of values of entry {name}"), 1, i32::MAX)?;
        let sums = input.floats(&format!("values of entry {name}"), values)?;
        // As with llama.cpp's map, the last of several entries of one name counts.
        entries.insert(
            name,
            Entry {
                sums,
                counts: vec![calls as f32],
            },
        );
    }
    // What follows was added later and may be missing or cut.
    let mut datasets = Vec::new();
    let mut chunk_count = 0;
    if let Ok(chunks) = input.int("number of windows", i32::MIN, i32::MAX) {
        chunk_count = u32::try_from(chunks).unwrap_or(0);
        if let Ok(length) = input.int("length of the text's name", 1, MAX_DATASET_BYTES)
            && let Ok(name) = input.text("name of the text", length)
        {
            datasets.push(name);
        }
    }
    Ok(ImportanceMatrix {
        entries,
        datasets,
        chunk_count,
        chunk_size: 0,
        form: Form::Legacy,
    })
}

struct Input<'a, R> {
    reader: R,
    length: u64,
    at: u64,
    path: &'a Path,
}

impl<R: Read> Input<'_, R> {
    fn malformed(&self, offset: u64, subject: &str, found: String, expected: String) -> Error {
        Error::Malformed {
            path: self.path.to_path_buf(),
            offset,
            subject: subject.to_owned(),
            found,
            expected,
        }
    }

    /// The next bytes, for which room is made only when the file has as many.
    fn take(&mut self, subject: &str, length: usize) -> Result<Vec<u8>> {
        let left = self.length.saturating_sub(self.at);
        let early = |input: &Self, found: u64| {
            let found = format!("the end of the file after {found} bytes");
            Err(input.malformed(input.at, subject, found, format!("{length} bytes")))
        };
        if length as u64 > left {
            return early(self, left);
        }
        let mut bytes = Vec::with_capacity(length);
        let read = (&mut self.reader).take(length as u64).read_to_end(&mut bytes);
        let read = read.map_err(|source| Error::Io {
            path: self.path.to_path_buf(),
            source,
        })?;
        if read < length {
            return early(self, read as u64);
        }
        self.at += length as u64;
        Ok(bytes)
    }

    fn int(&mut self, subject: &str, min: i32, max: i32) -> Result<i32> {
        let start = self.at;
        let bytes = self.take(subject, 4)?;
        let value = i32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        if (min..=max).contains(&value) {
            Ok(value)
        } else {
            Err(self.malformed(start, subject, value.to_string(), format!("{min} to {max}")))
        }
    }

    fn text(&mut self, subject: &str, length: i32) -> Result<String> {
        let start = self.at;
        let bytes = self.take(subject, usize::try_from(length).unwrap_or(0))?;
        let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
        match std::str::from_utf8(&bytes[..end]) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => {
                let found = format!("{:?}", &bytes[..end.min(32)]);
                Err(self.malformed(start, subject, found, "UTF-8".into()))
            }
        }
    }

    fn floats(&mut self, subject: &str, count: i32) -> Result<Vec<f32>> {
        let length = usize::try_from(count).unwrap_or(0).saturating_mul(4);
        let bytes = self.take(subject, length)?;
        Ok(bytes
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(bytes: &[u8], path: &Path) -> Result<ImportanceMatrix> {
        super::parse(bytes, bytes.len() as u64, path)
    }

    fn int(out: &mut Vec<u8>, value: i32) {
        out.extend(value.to_le_bytes());
    }

    fn sample() -> Vec<u8> {
        let mut out = Vec::new();
        int(&mut out, 2);
        for (name, calls, values) in [("a.weight", 4, [2.0f32, 8.0]), ("b.weight", 0, [3.0, 5.0])] {
            int(&mut out, name.len() as i32);
            out.extend(name.as_bytes());
            int(&mut out, calls);
            int(&mut out, 2);
            out.extend(values.iter().flat_map(|v| v.to_le_bytes()));
        }
        int(&mut out, 7);
        int(&mut out, 4);
        out.extend(b"text");
        out
    }

    #[test]
    fn reads_means_calls_and_trailer() {
        let matrix = parse(&sample(), Path::new("x.dat")).unwrap();
        assert_eq!(matrix.values("a.weight").unwrap(), [0.5, 2.0]);
        assert_eq!(matrix.values("b.weight").unwrap(), [3.0, 5.0]);
        assert_eq!(matrix.values("c.weight"), None);
        assert_eq!(matrix.chunk_count, 7);
        assert_eq!(matrix.datasets, ["text"]);
    }

    #[test]
    fn every_truncation_is_an_error_or_a_missing_trailer() {
        let whole = sample();
        let body = whole.len() - 12;
        for length in 0..whole.len() {
            let parsed = parse(&whole[..length], Path::new("x.dat"));
            if length < body {
                let message = parsed.unwrap_err().to_string();
                assert!(message.starts_with("x.dat: "), "{message}");
            } else {
                assert_eq!(parsed.unwrap().entries.len(), 2);
            }
        }
    }

    #[test]
    fn senseless_numbers_allocate_nothing() {
        for (at, value) in [(0, -1), (0, 0), (4, -5), (4, i32::MAX), (20, 0), (20, i32::MAX)] {
            let mut bytes = sample();
            bytes[at..at + 4].copy_from_slice(&i32::to_le_bytes(value));
            assert!(parse(&bytes, Path::new("x.dat")).is_err(), "{value} at {at}");
        }
    }
}
