//! One safetensors file: the header, checked against the file; tensor bytes by positional reads.
//!
//! Layout: a little-endian `u64` header length, a JSON header, then the data section. Offsets in the
//! header count from the start of the data section.

use std::fmt;
use std::io::Read;
use std::path::Path;

use safetensors::Dtype;
use serde::Deserialize;
use serde::de::{MapAccess, Visitor};

use super::tensor_file::{Entry, MAX_DIMS, Opened, TensorFile};
use crate::{Error, Result};

/// Longest header accepted, as in the format's reference implementation.
const MAX_HEADER_BYTES: u64 = 100_000_000;

/// An open safetensors file whose header is consistent with its length.
#[derive(Debug)]
pub(crate) struct SafetensorsFile {
    opened: Opened,
    entries: Vec<Entry>,
}

#[derive(Deserialize)]
struct RawEntry {
    dtype: serde_json::Value,
    shape: Vec<u64>,
    data_offsets: [u64; 2],
}

/// The header's pairs in order, so that a name that occurs twice is seen and not overwritten.
struct RawHeader(Vec<(String, serde_json::Value)>);

impl<'de> Deserialize<'de> for RawHeader {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = RawHeader;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object that maps tensor names to their descriptions")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawHeader, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(RawHeader(pairs))
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

impl SafetensorsFile {
    /// Opens a file and checks its header: length, JSON, dtypes, sizes, bounds, and that the tensors cover the
    /// data section without overlap, hole or rest. With `headers_suffice` the data section may end early.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be read, [`Error::Input`] naming the tensor, what was found and
    /// what was expected otherwise.
    pub(crate) fn open(path: &Path, headers_suffice: bool) -> Result<Self> {
        let io_error = |source| Error::io(path, source);
        let input = |message: String| Error::input(path, message);

        let opened = Opened::open(path)?;
        if let Some(what) = gguf::foreign::describe_file(path).filter(|w| !w.contains("safetensors")) {
            return Err(input(format!("{what}; expected a safetensors file")));
        }
        let mut file = &opened.file;
        let file_len = opened.length();
        if file_len < 8 {
            return Err(input(format!(
                "expected a safetensors file, found {file_len} bytes (truncated?)"
            )));
        }
        let mut prefix = [0u8; 8];
        file.read_exact(&mut prefix).map_err(io_error)?;
        let header_len = u64::from_le_bytes(prefix);
        if header_len > MAX_HEADER_BYTES {
            return Err(input(format!(
                "offset 0: expected a header of at most {MAX_HEADER_BYTES} bytes, found {header_len} (not a safetensors file?)"
            )));
        }
        if header_len > file_len - 8 {
            return Err(input(format!(
                "offset 0: expected a header of {header_len} bytes, found {} (truncated?)",
                file_len - 8
            )));
        }
        let mut header = vec![0u8; header_len as usize];
        file.read_exact(&mut header).map_err(io_error)?;
        let RawHeader(pairs) = serde_json::from_slice(&header).map_err(|e| {
            input(format!(
                "offset 8: the header is not valid JSON of a safetensors file: {e}"
            ))
        })?;

        let data_start = 8 + header_len;
        let data_len = if headers_suffice {
            u64::MAX - data_start
        } else {
            file_len - data_start
        };
        let mut entries = Vec::new();
        for (name, value) in pairs {
            if name == "__metadata__" {
                continue;
            }
            let entry = check_entry(name, value, data_start, data_len).map_err(input)?;
            entries.push(entry);
        }
        check_coverage(&entries, data_start, file_len, headers_suffice).map_err(input)?;
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        if let Some(pair) = entries.windows(2).find(|w| w[0].name == w[1].name) {
            return Err(input(format!(
                "tensor '{}': expected one description in the header, found two",
                pair[0].name
            )));
        }
        Ok(Self { opened, entries })
    }
}

impl TensorFile for SafetensorsFile {
    fn path(&self) -> &Path {
        self.opened.path()
    }

    /// Sorted by name (by bytes).
    fn entries(&self) -> &[Entry] {
        &self.entries
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        self.opened.read_exact_at(offset, out)
    }
}

fn check_entry(
    name: String,
    value: serde_json::Value,
    data_start: u64,
    data_len: u64,
) -> Result<Entry, String> {
    let raw: RawEntry = serde_json::from_value(value)
        .map_err(|e| format!("tensor '{name}': expected a description in the header, found another: {e}"))?;
    let dtype: Dtype = serde_json::from_value(raw.dtype.clone())
        .map_err(|_| format!("tensor '{name}': expected a known dtype, found {}", raw.dtype))?;
    if raw.shape.len() > MAX_DIMS {
        return Err(format!(
            "tensor '{name}': expected at most {MAX_DIMS} dimensions, found {}",
            raw.shape.len()
        ));
    }
    let [begin, end] = raw.data_offsets;
    if begin > end || end > data_len {
        return Err(format!(
            "tensor '{name}': expected data in a section of {data_len} bytes that starts at offset {data_start}, found \
             [{begin}, {end}) (truncated file?)"
        ));
    }
    let expected = raw
        .shape
        .iter()
        .try_fold(1u64, |n, &d| n.checked_mul(d))
        .and_then(|n| n.checked_mul(dtype.bitsize() as u64))
        .filter(|bits| bits.is_multiple_of(8))
        .map(|bits| bits / 8);
    if expected != Some(end - begin) {
        let expected = expected.map_or("an impossible number of".to_owned(), |n| n.to_string());
        return Err(format!(
            "tensor '{name}': expected {expected} bytes of data of the shape {:?} of {dtype}, found {}",
            raw.shape,
            end - begin
        ));
    }
    Ok(Entry {
        name,
        dtype,
        blocks: None,
        shape: raw.shape,
        offset: data_start + begin,
        bytes: end - begin,
    })
}

/// Tensors lie one after the other from the start of the data section to its end, as the format demands: a hole
/// is a tensor that was dropped from the header, a rest is another file's.
fn check_coverage(
    entries: &[Entry],
    data_start: u64,
    file_len: u64,
    headers_suffice: bool,
) -> Result<(), String> {
    let mut order: Vec<&Entry> = entries.iter().filter(|e| e.bytes > 0).collect();
    order.sort_by_key(|e| (e.offset, e.bytes));
    let mut end = data_start;
    let mut before = None;
    for entry in order {
        let offset = entry.offset - data_start;
        let expected = end - data_start;
        if entry.offset < end {
            return Err(format!(
                "tensor '{}': expected to start at {expected} of the data section, where tensor '{}' ends, found {offset}: \
                 they overlap",
                entry.name,
                before.unwrap_or_default(),
            ));
        }
        if entry.offset > end {
            return Err(format!(
                "tensor '{}': expected to start at {expected} of the data section, where {}, found {offset}: no tensor \
                 holds the {} bytes before it (was one dropped from the header?)",
                entry.name,
                before.map_or("the section starts".to_owned(), |name| format!(
                    "tensor '{name}' ends"
                )),
                offset - expected,
            ));
        }
        end = entry.offset + entry.bytes;
        before = Some(entry.name.as_str());
    }
    if file_len < end && headers_suffice {
        return Ok(());
    }
    if file_len != end {
        return Err(format!(
            "{} bytes after the last tensor ({}): the data section has {} bytes, its tensors end at {}",
            file_len.saturating_sub(end),
            before.unwrap_or("there is none"),
            file_len.saturating_sub(data_start),
            end - data_start
        ));
    }
    Ok(())
}
