//! The plan of a file: its header, every offset and its size, before any byte is written.

use std::collections::HashSet;

use crate::encode::{Count, Encoder, Sink};
use crate::header::checked_alignment;
use crate::limits::{MAX_BYTES, MAX_STOCK_NAME_BYTES};
use crate::tensor::{checked_size, pad};
use crate::{Endian, Error, GgufFile, Metadata, Result, TensorInfo, TensorType};

/// The plan of one GGUF file.
#[derive(Clone, Debug, PartialEq)]
pub struct FilePlan {
    /// Keys and values, in the order they are written. May still be changed, save for
    /// `general.alignment`, on which the offsets depend.
    pub metadata: Metadata,
    /// Tensors in file order, offsets assigned.
    pub tensors: Vec<TensorInfo>,
    /// Alignment of the data section and of each tensor, in bytes.
    pub alignment: u64,
    /// Format version; 3 unless the plan copies an older file.
    pub version: u32,
    /// Byte order; little unless the plan copies a big-endian file.
    pub endian: Endian,
    /// A file without tensors that ends right after its metadata, as the Python writer leaves
    /// vocabularies; ggml pads also there.
    bare: bool,
}

impl FilePlan {
    /// Plans a file of version 3 in little-endian order: tensors follow each other in the order given,
    /// each padded to `general.alignment` of `metadata` (u32), or 32 without it.
    ///
    /// Shapes are innermost dimension first and are written as given; see
    /// [`crate::ggml_shape`] for the shape that ggml would write.
    ///
    /// # Errors
    /// [`Error::Unwritable`] for a name, shape or alignment that readers would refuse.
    pub fn new(
        metadata: Metadata,
        tensors: impl IntoIterator<Item = (String, Vec<u64>, TensorType)>,
    ) -> Result<Self> {
        let alignment = checked_alignment(&metadata)
            .map_err(|(found, expected)| Error::unwritable("key 'general.alignment'", found, expected))?;
        let mut names = HashSet::new();
        let mut next = 0u64;
        let mut planned = Vec::new();
        for (name, shape, ty) in tensors {
            let subject = || format!("tensor '{name}'");
            if name.len() > MAX_STOCK_NAME_BYTES {
                let found = format!("a name of {} bytes", name.len());
                return Err(Error::unwritable(
                    subject(),
                    found,
                    format!("at most {MAX_STOCK_NAME_BYTES}, as stock llama.cpp reads"),
                ));
            }
            if !names.insert(name.clone()) {
                return Err(Error::unwritable(subject(), "a second time", "each name once"));
            }
            let size = checked_size(&shape, ty)
                .map_err(|bad| Error::unwritable(subject(), bad.found, bad.expected))?;
            let end = next
                .checked_add(size)
                .and_then(|n| pad(n, alignment))
                .ok_or_else(|| {
                    Error::unwritable(
                        subject(),
                        format!("{size} bytes at {next}"),
                        format!("at most {MAX_BYTES} bytes of data"),
                    )
                })?;
            planned.push(TensorInfo {
                name,
                shape,
                ty,
                offset: next,
            });
            next = end;
        }
        Ok(Self {
            metadata,
            tensors: planned,
            alignment,
            version: crate::limits::MAX_VERSION,
            endian: Endian::Little,
            bare: false,
        })
    }

    /// Ends a file without tensors right after its metadata, as the Python writer leaves vocabularies.
    #[must_use]
    pub fn bare(mut self) -> Self {
        self.bare = self.tensors.is_empty();
        self
    }

    /// Plans a file like `file` to the byte: same version and byte order, shapes as stored.
    ///
    /// # Errors
    /// As [`FilePlan::new`].
    pub fn like(file: &GgufFile) -> Result<Self> {
        Self::with_metadata(file, file.metadata().clone())
    }

    /// Plans a file like `file` with other metadata; offsets change only with `general.alignment`.
    ///
    /// # Errors
    /// As [`FilePlan::new`].
    pub fn with_metadata(file: &GgufFile, metadata: Metadata) -> Result<Self> {
        let tensors = file
            .tensors()
            .iter()
            .map(|t| (t.name.clone(), t.shape.clone(), t.ty));
        let mut plan = Self::new(metadata, tensors)?;
        plan.version = file.version();
        plan.endian = file.endian();
        plan.bare = file.tensors().is_empty() && file.length() == file.data_offset();
        Ok(plan)
    }

    /// The header as it is written, padded to the alignment.
    ///
    /// # Errors
    /// [`Error::Unwritable`] for a key or value that the format does not hold.
    pub fn header_bytes(&self) -> Result<Vec<u8>> {
        let planned = checked_alignment(&self.metadata).ok();
        if planned != Some(self.alignment) {
            return Err(Error::unwritable(
                "key 'general.alignment'",
                planned.map_or("no valid alignment".into(), |n| n.to_string()),
                format!("{}, which the offsets were planned with", self.alignment),
            ));
        }
        let mut bytes = Vec::new();
        self.encode(&mut bytes)?;
        let padded = self.padded_header(bytes.len() as u64);
        bytes.resize(padded as usize, 0);
        Ok(bytes)
    }

    /// Length of [`FilePlan::header_bytes`]: where the data section starts.
    pub fn header_len(&self) -> u64 {
        let mut count = Count::default();
        // What cannot be encoded is reported by `header_bytes`, without which no file is written.
        let _ = self.encode(&mut count);
        self.padded_header(count.0)
    }

    /// Length of the data section, padding after the last tensor included.
    pub fn data_len(&self) -> u64 {
        // `new` has checked that this end exists.
        self.tensors.last().map_or(0, |t| {
            (t.offset + t.size_bytes()).next_multiple_of(self.alignment)
        })
    }

    /// Size of the finished file, in bytes, exactly.
    pub fn file_size(&self) -> u64 {
        self.header_len().saturating_add(self.data_len())
    }

    fn encode(&self, sink: &mut impl Sink) -> Result<()> {
        Encoder {
            sink,
            version: self.version,
            endian: self.endian,
        }
        .header(&self.metadata, &self.tensors)
    }

    fn padded_header(&self, length: u64) -> u64 {
        if self.bare {
            length
        } else {
            length.next_multiple_of(self.alignment)
        }
    }
}
