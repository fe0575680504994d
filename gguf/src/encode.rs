//! Encoding of headers.

use crate::limits::{MAX_ARRAY_DEPTH, MAX_KEY_BYTES};
use crate::{Array, Endian, Error, Metadata, Result, TensorInfo, Value};

/// Sink of an encoder's bytes: a buffer, or a counter.
pub(crate) trait Sink {
    fn put(&mut self, bytes: &[u8]);
}

impl Sink for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// Counts bytes.
#[derive(Default)]
pub(crate) struct Count(pub(crate) u64);

impl Sink for Count {
    fn put(&mut self, bytes: &[u8]) {
        self.0 += bytes.len() as u64;
    }
}

/// Encodes the parts of a header for one version and byte order.
pub(crate) struct Encoder<'a, S> {
    pub(crate) sink: &'a mut S,
    pub(crate) version: u32,
    pub(crate) endian: Endian,
}

macro_rules! numbers {
    ($self:ident, $values:expr) => {
        $values.iter().for_each(|v| $self.number(v.to_le_bytes()))
    };
}

impl<S: Sink> Encoder<'_, S> {
    /// The header, not padded.
    pub(crate) fn header(&mut self, metadata: &Metadata, tensors: &[TensorInfo]) -> Result<()> {
        self.sink.put(b"GGUF");
        self.number(self.version.to_le_bytes());
        self.length(tensors.len() as u64, "tensor count")?;
        self.length(metadata.len() as u64, "key count")?;
        for (key, value) in metadata.iter() {
            if key.is_empty() || key.len() as u64 > MAX_KEY_BYTES {
                let found = format!("{} bytes", key.len());
                let expected = format!("1 to {MAX_KEY_BYTES} bytes");
                return Err(Error::unwritable(format!("key '{key:.40}'"), found, expected));
            }
            self.string(key.as_bytes(), key)?;
            self.number(value.value_type().id().to_le_bytes());
            self.value(key, value)?;
        }
        for tensor in tensors {
            self.string(tensor.name.as_bytes(), &tensor.name)?;
            self.number((tensor.shape.len() as u32).to_le_bytes());
            for &dim in &tensor.shape {
                self.length(dim, &tensor.name)?;
            }
            self.number(tensor.ty.id().to_le_bytes());
            self.number(tensor.offset.to_le_bytes());
        }
        Ok(())
    }

    /// Puts a number, given least significant byte first.
    fn number<const N: usize>(&mut self, mut bytes: [u8; N]) {
        if self.endian == Endian::Big {
            bytes.reverse();
        }
        self.sink.put(&bytes);
    }

    fn length(&mut self, n: u64, subject: &str) -> Result<()> {
        if self.version == 1 {
            let short = u32::try_from(n)
                .map_err(|_| Error::unwritable(subject, n, "a number of 32 bits, as version 1 has them"))?;
            self.number(short.to_le_bytes());
        } else {
            self.number(n.to_le_bytes());
        }
        Ok(())
    }

    fn string(&mut self, bytes: &[u8], subject: &str) -> Result<()> {
        self.length(bytes.len() as u64, subject)?;
        self.sink.put(bytes);
        Ok(())
    }

    fn value(&mut self, key: &str, value: &Value) -> Result<()> {
        match value {
            Value::U8(v) => self.number(v.to_le_bytes()),
            Value::I8(v) => self.number(v.to_le_bytes()),
            Value::U16(v) => self.number(v.to_le_bytes()),
            Value::I16(v) => self.number(v.to_le_bytes()),
            Value::U32(v) => self.number(v.to_le_bytes()),
            Value::I32(v) => self.number(v.to_le_bytes()),
            Value::F32(v) => self.number(v.to_le_bytes()),
            Value::U64(v) => self.number(v.to_le_bytes()),
            Value::I64(v) => self.number(v.to_le_bytes()),
            Value::F64(v) => self.number(v.to_le_bytes()),
            Value::Bool(v) => self.sink.put(&[u8::from(*v)]),
            Value::String(v) => self.string(&v.0, key)?,
            Value::Array(v) => self.array(key, v, 1)?,
        }
        Ok(())
    }

    fn array(&mut self, key: &str, array: &Array, depth: usize) -> Result<()> {
        if depth > MAX_ARRAY_DEPTH {
            let found = format!("arrays nested more than {MAX_ARRAY_DEPTH} deep");
            return Err(Error::unwritable(
                format!("key '{key}'"),
                found,
                format!("at most {MAX_ARRAY_DEPTH}"),
            ));
        }
        self.number(array.element_type().id().to_le_bytes());
        self.length(array.len() as u64, key)?;
        match array {
            Array::U8(v) => self.sink.put(v),
            Array::I8(v) => numbers!(self, v),
            Array::U16(v) => numbers!(self, v),
            Array::I16(v) => numbers!(self, v),
            Array::U32(v) => numbers!(self, v),
            Array::I32(v) => numbers!(self, v),
            Array::F32(v) => numbers!(self, v),
            Array::U64(v) => numbers!(self, v),
            Array::I64(v) => numbers!(self, v),
            Array::F64(v) => numbers!(self, v),
            Array::Bool(v) => v.iter().for_each(|&b| self.sink.put(&[u8::from(b)])),
            Array::String(v) => {
                for s in v {
                    self.string(&s.0, key)?;
                }
            }
            Array::Array(v) => {
                for a in v {
                    self.array(key, a, depth + 1)?;
                }
            }
        }
        Ok(())
    }
}
