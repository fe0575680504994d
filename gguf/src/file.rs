//! One GGUF file, open for reading.

use std::borrow::Cow;
use std::fs::File;
use std::io::BufReader;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::endian::{can_swap, swap_blocks};
use crate::map::MappedFile;
use crate::positional::{read_at, will_read};
use crate::{Endian, Error, Header, Inputs, Metadata, Result, Stamp, TensorInfo};

/// Access to tensor data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Backing {
    /// Bytes are copied by reads at their offset. A file that changes gives an error, never a crash.
    #[default]
    File,
    /// The file is mapped, and bytes are borrowed from the map. A file that another process shortens at the
    /// very instant of a read can end this process with a bus error, so nothing of quantsmith maps files;
    /// this is for programs that know who else writes theirs.
    Mapped,
}

/// Options for opening a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct OpenOptions {
    /// Access to tensor data.
    pub backing: Backing,
    /// Accept a file whose tensor data is absent or incomplete, so that headers can be looked at and
    /// planned with. Reading bytes that are not there is still an error.
    pub allow_missing_data: bool,
}

crate::setters! {
    OpenOptions {
        backing: Backing,
        allow_missing_data: bool,
    }
}

/// One GGUF file: its header parsed and validated, its data mapped or read on demand.
#[derive(Debug)]
pub struct GgufFile {
    path: PathBuf,
    file: File,
    /// Size and times of the file when it was opened.
    stamp: Stamp,
    /// Nothing replaces it while it is open.
    _held: Inputs,
    header: Header,
    map: Option<MappedFile>,
}

impl GgufFile {
    /// Opens a file; all its tensor data must be there.
    ///
    /// # Errors
    /// When the file cannot be read, is not well-formed, or is cut short.
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_with(path, OpenOptions::default())
    }

    /// Opens a file as `options` say.
    ///
    /// # Errors
    /// As [`GgufFile::open`].
    pub fn open_with(path: &Path, options: OpenOptions) -> Result<Self> {
        Self::open_any(path, options, false)
    }

    /// The same, also of a file with tensors of types that are not read, if `foreign`: they can be listed.
    pub(crate) fn open_any(path: &Path, options: OpenOptions, foreign: bool) -> Result<Self> {
        let file = File::open(path).map_err(Error::io(path))?;
        let status = file.metadata().map_err(Error::io(path))?;
        if !status.is_file() {
            let kind = if status.is_dir() {
                "a directory"
            } else {
                "a special file"
            };
            return Err(Error::Malformed {
                path: path.to_path_buf(),
                offset: 0,
                subject: "file".into(),
                found: kind.into(),
                expected: "a regular file".into(),
            });
        }
        let stamp = Stamp::of(&file).map_err(Error::io(path))?;
        let length = stamp.length();
        let mut start = [0; 64];
        let read = read_at(&file, &mut start, 0).map_err(Error::io(path))?;
        if let Some(what) = crate::foreign::describe(&start[..read]).filter(|_| !is_gguf(&start[..read])) {
            return Err(Error::Malformed {
                path: path.to_path_buf(),
                offset: 0,
                subject: "file".into(),
                found: what.into(),
                expected: "a GGUF file".into(),
            });
        }
        let header = Header::parse_with(BufReader::with_capacity(1 << 16, &file), length, path, foreign)?;
        if !options.allow_missing_data {
            check_data(&header, length, path)?;
        }
        let map = match options.backing {
            Backing::Mapped => Some(MappedFile::new(&file).map_err(Error::io(path))?),
            Backing::File => None,
        };
        Ok(Self {
            path: path.to_path_buf(),
            file,
            stamp,
            _held: Inputs::hold([path]),
            header,
            map,
        })
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Length of the file in bytes, when it was opened.
    pub fn length(&self) -> u64 {
        self.stamp.length()
    }

    /// The whole header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Format version, 1 to 3.
    pub fn version(&self) -> u32 {
        self.header.version
    }

    /// Byte order of the file.
    pub fn endian(&self) -> Endian {
        self.header.endian
    }

    /// Alignment of tensor data, in bytes.
    pub fn alignment(&self) -> u64 {
        self.header.alignment
    }

    /// Keys and values in file order.
    pub fn metadata(&self) -> &Metadata {
        &self.header.metadata
    }

    /// Tensors in file order.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.header.tensors
    }

    /// Byte at which the data section starts.
    pub fn data_offset(&self) -> u64 {
        self.header.data_offset
    }

    /// Whether all tensor data is there. Can only be false with [`OpenOptions::allow_missing_data`].
    pub fn has_data(&self) -> bool {
        check_data(&self.header, self.stamp.length(), &self.path).is_ok()
    }

    /// Bytes of padding that are not zero: after the header, between tensors and after the last, as far as
    /// the file goes.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn dirty_padding(&self) -> Result<u64> {
        let header = &self.header;
        let mut gaps = vec![(header.end, header.data_offset)];
        let ends = header.tensors.iter().map(|t| t.offset + t.size_bytes());
        let starts = header.tensors.iter().skip(1).map(|t| t.offset);
        // The last tensor's padding, and no more of what may follow it.
        let last = header.data_len.checked_next_multiple_of(header.alignment);
        let starts = starts.chain(last);
        gaps.extend(
            ends.zip(starts)
                .map(|(a, b)| (header.data_offset + a, header.data_offset + b)),
        );
        let mut dirty = 0;
        let mut buffer = [0; 4096];
        for (mut at, end) in gaps {
            let end = end.min(self.stamp.length());
            while at < end {
                let step = (end - at).min(buffer.len() as u64) as usize;
                let read = read_at(&self.file, &mut buffer[..step], at).map_err(Error::io(&self.path))?;
                if read == 0 {
                    break;
                }
                dirty += buffer[..read].iter().filter(|&&b| b != 0).count() as u64;
                at += read as u64;
            }
        }
        Ok(dirty)
    }

    /// Bytes `range` of a tensor, numbers in little-endian order whatever the file's order is.
    /// Borrowed when the file is mapped and little-endian.
    ///
    /// # Errors
    /// When the range is outside of the tensor, the data is not there, the file has shrunk, or a
    /// big-endian file holds blocks that have no little-endian form.
    ///
    /// # Panics
    /// When there is no tensor `index`.
    pub fn bytes(&self, index: usize, range: Range<u64>) -> Result<Cow<'_, [u8]>> {
        let info = &self.header.tensors[index];
        self.check_range(info, &range)?;
        if self.header.endian == Endian::Little || info.ty.block_bytes() == 1 {
            return self.stored(info, range);
        }
        if !can_swap(info.ty) {
            return Err(Error::NoBigEndianForm {
                path: self.path.clone(),
                tensor: info.name.clone(),
                ty: info.ty,
            });
        }
        // Only whole blocks can be turned; the wanted part is cut out of them.
        let block = info.ty.block_bytes() as u64;
        let start = range.start / block * block;
        let end = range.end.next_multiple_of(block);
        let mut data = self.stored(info, start..end)?.into_owned();
        let swapped = swap_blocks(info.ty, &mut data);
        debug_assert!(swapped);
        data.truncate((range.end - start) as usize);
        data.drain(..(range.start - start) as usize);
        Ok(Cow::Owned(data))
    }

    /// Fills `out` with the bytes of a tensor from `start` on, as [`GgufFile::bytes`] gives them. A
    /// little-endian file is read without another copy.
    ///
    /// # Errors
    /// As [`GgufFile::bytes`].
    ///
    /// # Panics
    /// When there is no tensor `index`.
    pub fn read(&self, index: usize, start: u64, out: &mut [u8]) -> Result<()> {
        let info = &self.header.tensors[index];
        let range = start..start.saturating_add(out.len() as u64);
        let as_stored = self.header.endian == Endian::Little || info.ty.block_bytes() == 1;
        if self.map.is_some() || !as_stored {
            out.copy_from_slice(&self.bytes(index, range)?);
            return Ok(());
        }
        self.check_range(info, &range)?;
        let (start, _) = self.place(info, range)?;
        self.read_whole(start, out)
    }

    /// Hints that a tensor's bytes will be read soon, as [`crate::GgufModel::will_read`].
    ///
    /// # Panics
    /// When there is no tensor `index`.
    pub fn will_read(&self, index: usize) {
        let info = &self.header.tensors[index];
        if let Ok((start, end)) = self.place(info, 0..info.size_bytes()) {
            will_read(&self.file, start, end - start);
        }
    }

    fn check_range(&self, info: &TensorInfo, range: &Range<u64>) -> Result<()> {
        let size = info.size_bytes();
        if range.start > range.end || range.end > size {
            return Err(Error::OutOfRange {
                path: self.path.clone(),
                tensor: info.name.clone(),
                start: range.start,
                end: range.end,
                size,
            });
        }
        Ok(())
    }

    /// Bytes `range` of a tensor as the file has them. The range is inside the tensor.
    fn stored(&self, info: &TensorInfo, range: Range<u64>) -> Result<Cow<'_, [u8]>> {
        let (start, end) = self.place(info, range)?;
        if let Some(map) = &self.map {
            self.stamp.check(&self.file, &self.path)?;
            let changed = || self.changed(self.stamp.length());
            return map.get(start, end).map(Cow::Borrowed).ok_or_else(changed);
        }
        let mut data = vec![0; (end - start) as usize];
        self.read_whole(start, &mut data)?;
        Ok(Cow::Owned(data))
    }

    fn read_whole(&self, start: u64, out: &mut [u8]) -> Result<()> {
        let read = read_at(&self.file, out, start).map_err(Error::io(&self.path))?;
        // After the read: what changed meanwhile is seen too.
        self.stamp.check(&self.file, &self.path)?;
        if read < out.len() {
            return Err(self.changed(start + read as u64));
        }
        Ok(())
    }

    fn changed(&self, found: u64) -> Error {
        Error::Changed {
            path: self.path.clone(),
            found,
            expected: self.stamp.length(),
        }
    }

    /// Position in the file of a range that is inside the tensor.
    fn place(&self, info: &TensorInfo, range: Range<u64>) -> Result<(u64, u64)> {
        // The header is validated: a tensor's end is at most 2^63.
        let base = self.header.data_offset + info.offset;
        let (start, end) = (base + range.start, base + range.end);
        if end > self.stamp.length() {
            return Err(Error::Truncated {
                path: self.path.clone(),
                offset: start,
                subject: format!("data of tensor '{}'", info.name),
                available: self.stamp.length().saturating_sub(start),
                needed: end - start,
            });
        }
        Ok((start, end))
    }
}

/// Whether a file is one, in either order of bytes, or has no byte that says what it is.
fn is_gguf(start: &[u8]) -> bool {
    start.is_empty() || start.starts_with(b"GGUF") || start.starts_with(b"FUGG")
}

/// Names the first tensor whose data is not all there.
fn check_data(header: &Header, length: u64, path: &Path) -> Result<()> {
    let available = length.saturating_sub(header.data_offset);
    if header.data_len <= available {
        return Ok(());
    }
    let Some(short) = header
        .tensors
        .iter()
        .find(|t| t.offset + t.size_bytes() > available)
    else {
        return Ok(());
    };
    let offset = header.data_offset + short.offset;
    Err(Error::Truncated {
        path: path.to_path_buf(),
        offset,
        subject: format!("data of tensor '{}'", short.name),
        available: length.saturating_sub(offset),
        needed: short.size_bytes(),
    })
}
