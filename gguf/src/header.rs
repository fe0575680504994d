//! Parsing of headers: everything of a file before its tensor data.

use std::collections::HashSet;
use std::io::Read;
use std::path::Path;

use indexmap::IndexMap;

use crate::cursor::Cursor;
use crate::limits::{
    DEFAULT_ALIGNMENT, MAX_ALIGNMENT, MAX_ARRAY_DEPTH, MAX_BYTES, MAX_DIMS, MAX_HEADER_BYTES, MAX_KEY_BYTES,
    MAX_TENSOR_NAME_BYTES, MAX_VERSION,
};
use crate::tensor::{checked_shape, checked_size, pad};
use crate::{
    Array, Endian, ForeignTensor, ForeignType, GgufString, Metadata, Result, TensorInfo, TensorType, Value,
    ValueType,
};

/// The metadata key of the data section's alignment.
pub(crate) const ALIGNMENT_KEY: &str = "general.alignment";

/// A parsed header.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    /// Format version, 1 to 3.
    pub version: u32,
    /// Byte order.
    pub endian: Endian,
    /// Keys and values in file order.
    pub metadata: Metadata,
    /// Tensors in file order, validated: offsets are those that ggml demands, each tensor right after
    /// the padding of the one before.
    pub tensors: Vec<TensorInfo>,
    /// Tensors of types that are not read, where such a file was opened to be looked at.
    pub foreign: Vec<ForeignTensor>,
    /// Alignment of the data section and of every tensor in it.
    pub alignment: u64,
    /// Byte after the last entry; padding follows up to the data section.
    pub end: u64,
    /// Byte at which the data section starts.
    pub data_offset: u64,
    /// Bytes from the data section's start to the end of the last tensor, without its padding.
    pub data_len: u64,
}

impl Header {
    /// Parses a header from `source`, a stream of `length` bytes; `path` is for messages.
    ///
    /// The tensor data is not read and may be absent.
    ///
    /// # Errors
    /// [`crate::Error::Truncated`], [`crate::Error::Malformed`] or [`crate::Error::Io`].
    pub fn parse(source: impl Read, length: u64, path: &Path) -> Result<Self> {
        Self::parse_with(source, length, path, false)
    }

    /// The same, also of a file with tensors of types that are not read, if `foreign`.
    pub(crate) fn parse_with(source: impl Read, length: u64, path: &Path, foreign: bool) -> Result<Self> {
        let mut cursor = Cursor::new(source, length, path);
        let version = read_version(&mut cursor)?;
        let tensor_count = read_tensor_count(&mut cursor)?;
        let metadata = read_metadata(&mut cursor)?;
        let alignment = alignment_of(&cursor, &metadata)?;
        let Tensors {
            tensors,
            foreign,
            end_of_last,
        } = read_tensors(&mut cursor, tensor_count, alignment, foreign)?;

        let end = cursor.position();
        // Without tensors nothing has to be aligned, and vocabulary files end right here.
        let data_offset = if tensor_count == 0 {
            Some(end)
        } else {
            pad(end, alignment)
        };
        let data_offset = data_offset.ok_or_else(|| {
            cursor.malformed(end, "data section", "a start past 2^63", "a start inside a file")
        })?;
        let data_len = end_of_last;
        if data_offset.checked_add(data_len).is_none_or(|n| n > MAX_BYTES) {
            return Err(cursor.malformed(
                end,
                "data section",
                format!("{data_len} bytes of tensors"),
                format!("a file of at most {MAX_BYTES} bytes"),
            ));
        }
        Ok(Self {
            version,
            endian: cursor.endian,
            metadata,
            tensors,
            foreign,
            alignment,
            end,
            data_offset,
            data_len,
        })
    }

    /// Parses the header of a file that is held in memory.
    ///
    /// # Errors
    /// As [`Header::parse`].
    pub fn parse_bytes(bytes: &[u8]) -> Result<Self> {
        Self::parse(bytes, bytes.len() as u64, Path::new("<memory>"))
    }
}

/// Magic and version; sets the cursor to the file's byte order and length width.
fn read_version(cursor: &mut Cursor<impl Read>) -> Result<u32> {
    let magic: [u8; 4] = cursor.array(|| "magic".into())?;
    if &magic != b"GGUF" {
        let found = format!("'{}'", magic.escape_ascii());
        return Err(cursor.malformed(0, "magic", found, "'GGUF'"));
    }
    let stored = cursor.u32(|| "version".into())?;
    // A small number whose low half is zero was written in the other byte order.
    let version = if stored != 0 && stored & 0xFFFF == 0 {
        cursor.endian = Endian::Big;
        stored.swap_bytes()
    } else {
        stored
    };
    if version == 0 || version > MAX_VERSION {
        return Err(cursor.malformed(4, "version", version, format!("1 to {MAX_VERSION}")));
    }
    cursor.short_lengths = version == 1;
    Ok(version)
}

fn read_tensor_count(cursor: &mut Cursor<impl Read>) -> Result<u64> {
    let offset = cursor.position();
    let count = cursor.length(|| "tensor count".into())?;
    // Name length, dimension count, type and offset are there for every tensor.
    let least = if cursor.short_lengths { 20 } else { 24 };
    check_count(cursor, offset, "tensor count", count, least)?;
    Ok(count)
}

/// Refuses a count of things that cannot fit in what is left of the file.
fn check_count(cursor: &Cursor<impl Read>, offset: u64, what: &str, count: u64, least: u64) -> Result<()> {
    let room = cursor.remaining().min(MAX_HEADER_BYTES) / least;
    if count > room {
        return Err(cursor.malformed(
            offset,
            what,
            count,
            format!("at most {room}, the room left in the file"),
        ));
    }
    Ok(())
}

fn read_metadata(cursor: &mut Cursor<impl Read>) -> Result<Metadata> {
    let offset = cursor.position();
    let count = cursor.length(|| "key count".into())?;
    // Key length, a key of one byte, type and a value of one byte.
    let least = if cursor.short_lengths { 10 } else { 14 };
    check_count(cursor, offset, "key count", count, least)?;
    let mut pairs = IndexMap::new();
    for index in 0..count {
        let offset = cursor.position();
        let subject = || format!("key {index}");
        let key = cursor.string(MAX_KEY_BYTES, subject)?;
        let key = String::from_utf8(key).map_err(|e| {
            let found = format!("'{}'", e.as_bytes().escape_ascii());
            cursor.malformed(offset, subject(), found, "UTF-8")
        })?;
        if key.is_empty() {
            return Err(cursor.malformed(offset, subject(), "an empty key", "a key of at least 1 byte"));
        }
        if pairs.contains_key(&key) {
            return Err(cursor.malformed(offset, format!("key '{key}'"), "a second time", "each key once"));
        }
        let value = read_value(cursor, &key)?;
        pairs.insert(key, value);
    }
    Ok(Metadata(pairs))
}

fn read_value_type(cursor: &mut Cursor<impl Read>, key: &str) -> Result<ValueType> {
    let offset = cursor.position();
    let id = cursor.u32(|| format!("type of key '{key}'"))?;
    ValueType::from_id(id).ok_or_else(|| {
        cursor.malformed(
            offset,
            format!("type of key '{key}'"),
            id,
            "a value type from 0 to 12",
        )
    })
}

fn read_value(cursor: &mut Cursor<impl Read>, key: &str) -> Result<Value> {
    let ty = read_value_type(cursor, key)?;
    let what = || format!("value of key '{key}'");
    Ok(match ty {
        ValueType::U8 => Value::U8(u8::from_le_bytes(cursor.number(what)?)),
        ValueType::I8 => Value::I8(i8::from_le_bytes(cursor.number(what)?)),
        ValueType::U16 => Value::U16(u16::from_le_bytes(cursor.number(what)?)),
        ValueType::I16 => Value::I16(i16::from_le_bytes(cursor.number(what)?)),
        ValueType::U32 => Value::U32(u32::from_le_bytes(cursor.number(what)?)),
        ValueType::I32 => Value::I32(i32::from_le_bytes(cursor.number(what)?)),
        ValueType::F32 => Value::F32(f32::from_le_bytes(cursor.number(what)?)),
        ValueType::U64 => Value::U64(u64::from_le_bytes(cursor.number(what)?)),
        ValueType::I64 => Value::I64(i64::from_le_bytes(cursor.number(what)?)),
        ValueType::F64 => Value::F64(f64::from_le_bytes(cursor.number(what)?)),
        // As ggml: any byte but 0 is true.
        ValueType::Bool => Value::Bool(cursor.number(what)? != [0]),
        ValueType::String => Value::String(GgufString(cursor.string(MAX_HEADER_BYTES, what)?)),
        ValueType::Array => Value::Array(read_array(cursor, key, 1)?),
    })
}

fn read_array(cursor: &mut Cursor<impl Read>, key: &str, depth: usize) -> Result<Array> {
    if depth > MAX_ARRAY_DEPTH {
        return Err(cursor.malformed(
            cursor.position(),
            format!("value of key '{key}'"),
            format!("arrays nested more than {MAX_ARRAY_DEPTH} deep"),
            format!("at most {MAX_ARRAY_DEPTH}"),
        ));
    }
    let ty = read_value_type(cursor, key)?;
    let offset = cursor.position();
    let what = || format!("array of key '{key}'");
    let n = cursor.length(what)?;
    Ok(match ty {
        ValueType::U8 => Array::U8(cursor.bytes(n, what)?),
        ValueType::I8 => Array::I8(cursor.numbers(n, i8::from_le_bytes, what)?),
        ValueType::U16 => Array::U16(cursor.numbers(n, u16::from_le_bytes, what)?),
        ValueType::I16 => Array::I16(cursor.numbers(n, i16::from_le_bytes, what)?),
        ValueType::U32 => Array::U32(cursor.numbers(n, u32::from_le_bytes, what)?),
        ValueType::I32 => Array::I32(cursor.numbers(n, i32::from_le_bytes, what)?),
        ValueType::F32 => Array::F32(cursor.numbers(n, f32::from_le_bytes, what)?),
        ValueType::U64 => Array::U64(cursor.numbers(n, u64::from_le_bytes, what)?),
        ValueType::I64 => Array::I64(cursor.numbers(n, i64::from_le_bytes, what)?),
        ValueType::F64 => Array::F64(cursor.numbers(n, f64::from_le_bytes, what)?),
        ValueType::Bool => Array::Bool(cursor.numbers(n, |[b]| b != 0, what)?),
        ValueType::String => {
            let least = if cursor.short_lengths { 4 } else { 8 };
            check_count(cursor, offset, &what(), n, least)?;
            let mut strings = Vec::new();
            for index in 0..n {
                let item = || format!("string {index} of key '{key}'");
                strings.push(GgufString(cursor.string(MAX_HEADER_BYTES, item)?));
            }
            Array::String(strings)
        }
        ValueType::Array => {
            let least = if cursor.short_lengths { 8 } else { 12 };
            check_count(cursor, offset, &what(), n, least)?;
            let mut arrays = Vec::new();
            for _ in 0..n {
                arrays.push(read_array(cursor, key, depth + 1)?);
            }
            Array::Array(arrays)
        }
    })
}

fn alignment_of(cursor: &Cursor<impl Read>, metadata: &Metadata) -> Result<u64> {
    checked_alignment(metadata).map_err(|(found, expected)| {
        cursor.malformed(
            cursor.position(),
            format!("key '{ALIGNMENT_KEY}'"),
            found,
            expected,
        )
    })
}

/// The alignment that metadata asks for, or what was found and what was expected.
pub(crate) fn checked_alignment(metadata: &Metadata) -> Result<u64, (String, String)> {
    match metadata.get(ALIGNMENT_KEY) {
        None => Ok(DEFAULT_ALIGNMENT),
        Some(&Value::U32(n)) if n.is_power_of_two() && u64::from(n) <= MAX_ALIGNMENT => Ok(n.into()),
        Some(&Value::U32(n)) => Err((n.to_string(), format!("a power of two up to {MAX_ALIGNMENT}"))),
        Some(other) => Err((format!("type {}", other.value_type()), "type u32".into())),
    }
}

/// The tensors of a file, and where the data of the last one ends.
#[derive(Default)]
struct Tensors {
    tensors: Vec<TensorInfo>,
    foreign: Vec<ForeignTensor>,
    end_of_last: u64,
}

/// A tensor of either kind.
enum Either {
    Own(TensorInfo),
    Foreign(ForeignTensor),
}

fn read_tensors(
    cursor: &mut Cursor<impl Read>,
    count: u64,
    alignment: u64,
    foreign: bool,
) -> Result<Tensors> {
    let mut found = Tensors::default();
    let mut names = HashSet::new();
    let mut next = 0;
    for index in 0..count {
        let offset = cursor.position();
        let (tensor, end) = read_tensor(cursor, index, next, alignment, foreign)?;
        let (name, last) = match &tensor {
            Either::Own(t) => (&t.name, t.offset + t.size_bytes()),
            Either::Foreign(t) => (&t.name, t.offset + t.size_bytes),
        };
        if !names.insert(name.clone()) {
            let subject = format!("tensor '{name}'");
            return Err(cursor.malformed(offset, subject, "a second time", "each name once"));
        }
        match tensor {
            Either::Own(tensor) => found.tensors.push(tensor),
            Either::Foreign(tensor) => found.foreign.push(tensor),
        }
        found.end_of_last = last;
        next = end;
    }
    Ok(found)
}

/// One tensor's entry, and where the next one's data has to start. `start` is where this one's has to.
fn read_tensor(
    cursor: &mut Cursor<impl Read>,
    index: u64,
    start: u64,
    alignment: u64,
    foreign: bool,
) -> Result<(Either, u64)> {
    let offset = cursor.position();
    let subject = || format!("name of tensor {index}");
    let name = cursor.string(MAX_TENSOR_NAME_BYTES, subject)?;
    let name = String::from_utf8(name).map_err(|e| {
        let found = format!("'{}'", e.as_bytes().escape_ascii());
        cursor.malformed(offset, subject(), found, "UTF-8")
    })?;

    let offset = cursor.position();
    let dims = cursor.u32(|| format!("dimension count of tensor '{name}'"))?;
    if dims > MAX_DIMS {
        let subject = format!("tensor '{name}'");
        return Err(cursor.malformed(
            offset,
            subject,
            format!("{dims} dimensions"),
            format!("at most {MAX_DIMS}"),
        ));
    }
    let mut shape = Vec::with_capacity(dims as usize);
    for axis in 0..dims {
        shape.push(cursor.length(|| format!("dimension {axis} of tensor '{name}'"))?);
    }

    let type_offset = cursor.position();
    let id = cursor.u32(|| format!("type of tensor '{name}'"))?;
    let subject = || format!("type of tensor '{name}'");
    let ty = match (TensorType::from_id(id), ForeignType::from_id(id)) {
        (Some(ty), _) => Ok(ty),
        (None, Some(ty)) if foreign => Err(ty),
        (None, Some(ty)) => {
            let found = format!("{id} ({})", ty.described());
            return Err(cursor.malformed(type_offset, subject(), found, "a type of llama.cpp"));
        }
        (None, None) => return Err(cursor.malformed(type_offset, subject(), id, "a known tensor type")),
    };
    let size = match ty {
        Ok(ty) => checked_size(&shape, ty),
        Err(ty) => checked_shape(&shape, ty.name, ty.block_len(), ty.tensor_bytes(&shape)),
    };
    let size =
        size.map_err(|bad| cursor.malformed(offset, format!("tensor '{name}'"), bad.found, bad.expected))?;

    let offset = cursor.position();
    let stored = cursor.u64(|| format!("offset of tensor '{name}'"))?;
    if stored != start {
        return Err(cursor.malformed(offset, format!("offset of tensor '{name}'"), stored, start));
    }
    let end = stored
        .checked_add(size)
        .and_then(|n| pad(n, alignment))
        .ok_or_else(|| {
            cursor.malformed(
                offset,
                format!("tensor '{name}'"),
                format!("{size} bytes at offset {stored}"),
                format!("a data section of at most {MAX_BYTES} bytes"),
            )
        })?;
    let tensor = match ty {
        Ok(ty) => Either::Own(TensorInfo {
            name,
            shape,
            ty,
            offset: stored,
        }),
        Err(ty) => Either::Foreign(ForeignTensor {
            name,
            shape,
            ty,
            offset: stored,
            size_bytes: size,
        }),
    };
    Ok((tensor, end))
}
