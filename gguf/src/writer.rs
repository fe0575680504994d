//! Writing of a planned file from many threads, published only when it is complete.

use std::borrow::Cow;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Mutex;

use crate::endian::{can_swap, swap_blocks};
use crate::positional::{read_at, write_all_at};
use crate::staging::Staging;
use crate::{Endian, Error, FilePlan, Result, TensorInfo};

/// Writes one planned file.
///
/// The bytes go to a temporary file beside the target (`.NAME.partial`), at offsets the plan fixes, in any
/// order and from any number of threads. [`Writer::finish`] checks that every byte came, syncs, and
/// renames. A writer that is dropped before removes its temporary file and leaves the target as it was.
#[derive(Debug)]
pub struct Writer {
    file: Staging,
    tensors: Vec<TensorInfo>,
    written: Vec<Mutex<Ranges>>,
    endian: Endian,
    data_offset: u64,
    size: u64,
}

impl Writer {
    /// Creates the temporary file at its full size and writes the header.
    ///
    /// # Errors
    /// When the plan cannot be encoded, the target is not a regular file or read-only, another process
    /// is writing it, or the directory cannot be written to.
    pub fn create(path: &Path, plan: &FilePlan) -> Result<Self> {
        Ok(Self::open(Staging::open(path, false)?, plan, false)?.0)
    }

    /// As [`Writer::create`], for a file that is changed in place: the target may be open for reading.
    ///
    /// # Errors
    /// As [`Writer::create`].
    pub(crate) fn replace(path: &Path, plan: &FilePlan) -> Result<Self> {
        Ok(Self::open(Staging::open_in_place(path)?, plan, false)?.0)
    }

    /// As [`Writer::create`], for a run that can be continued: a writer that is dropped leaves its
    /// temporary file, and what an earlier writer of the same plan left in it is kept. Nothing of it
    /// counts as written before [`Writer::accept`] says so. The second value is whether there was such
    /// a file.
    ///
    /// # Errors
    /// As [`Writer::create`].
    pub fn create_resumable(path: &Path, plan: &FilePlan) -> Result<(Self, bool)> {
        Self::open(Staging::open(path, true)?, plan, true)
    }

    /// Opens the temporary file together with other processes that write other bytes of the same plan. It is of the plan's
    /// size and has its header then, whichever of them comes first; a writer that is dropped leaves it. Nothing in it
    /// counts as written before [`Writer::accept`] says so.
    ///
    /// # Errors
    /// As [`Writer::create`]; a process that writes the file for itself has it to itself.
    pub fn open_shared(path: &Path, plan: &FilePlan) -> Result<Self> {
        let (writer, header) = Self::new(Staging::open_shared(path)?, plan)?;
        if !writer.holds(&header)? {
            // Nothing is cut off: whoever else does this meanwhile writes the same.
            let file = &writer.file.file;
            file.set_len(writer.size)
                .and_then(|()| write_all_at(file, &header, 0))
                .map_err(|e| writer.io(e))?;
        }
        Ok(writer)
    }

    /// Opens the temporary file that other processes have left ([`Writer::open_shared`]), for this one alone; `None`
    /// where there is none. What no tensor holds is as planned then: the size, the header, and zeros between tensors.
    ///
    /// # Errors
    /// As [`Writer::create`]; also while one of these processes is at work.
    pub fn open_left(path: &Path, plan: &FilePlan) -> Result<Option<Self>> {
        if !Self::has_partial(path) {
            return Ok(None);
        }
        let (writer, header) = Self::new(Staging::open(path, true)?, plan)?;
        let file = &writer.file.file;
        let framed = || {
            file.set_len(writer.size)?;
            write_all_at(file, &header, 0)?;
            let starts = writer.tensors.iter().skip(1).map(|t| t.offset);
            let ends = starts.chain([plan.data_len()]);
            for (tensor, end) in writer.tensors.iter().zip(ends) {
                let start = tensor.offset + tensor.size_bytes();
                // Less than the alignment.
                let padding = vec![0; end.saturating_sub(start) as usize];
                write_all_at(file, &padding, writer.data_offset + start)?;
            }
            Ok(())
        };
        framed().map_err(|e| writer.io(e))?;
        Ok(Some(writer))
    }

    /// Whether an interrupted writer of this path has left its temporary file.
    pub fn has_partial(path: &Path) -> bool {
        crate::staging::has_partial(path)
    }

    fn open(staging: Staging, plan: &FilePlan, resumable: bool) -> Result<(Self, bool)> {
        let (writer, header) = Self::new(staging, plan)?;
        let file = &writer.file.file;
        if resumable && writer.holds(&header)? {
            return Ok((writer, true));
        }
        // A file of its full size at once: gaps, which are the padding, read as zeros.
        file.set_len(0)
            .and_then(|()| file.set_len(writer.size))
            .map_err(|e| writer.io(e))?;
        write_all_at(file, &header, 0).map_err(|e| writer.io(e))?;
        Ok((writer, false))
    }

    /// A writer of a temporary file that is as it was, and the plan's header.
    fn new(staging: Staging, plan: &FilePlan) -> Result<(Self, Vec<u8>)> {
        let header = plan.header_bytes()?;
        let data_offset = header.len() as u64;
        let size = data_offset.saturating_add(plan.data_len());
        if plan.endian == Endian::Big
            && let Some(t) = plan.tensors.iter().find(|t| !can_swap(t.ty))
        {
            return Err(Error::NoBigEndianForm {
                path: staging.target().into(),
                tensor: t.name.clone(),
                ty: t.ty,
            });
        }
        let writer = Self {
            file: staging,
            tensors: plan.tensors.clone(),
            written: plan.tensors.iter().map(|_| Mutex::default()).collect(),
            endian: plan.endian,
            data_offset,
            size,
        };
        Ok((writer, header))
    }

    /// Whether the temporary file has the size and the header of this plan.
    fn holds(&self, header: &[u8]) -> Result<bool> {
        let file = &self.file.file;
        if file.metadata().map_err(|e| self.io(e))?.len() != self.size {
            return Ok(false);
        }
        let mut stored = vec![0; header.len()];
        let read = read_at(file, &mut stored, 0).map_err(|e| self.io(e))?;
        Ok(read == header.len() && stored == header)
    }

    /// Reads back bytes of a tensor as they are in the temporary file, in the file's byte order.
    ///
    /// # Errors
    /// When the range is outside of the tensor or cannot be read.
    ///
    /// # Panics
    /// When the plan has no tensor `tensor`.
    pub fn read_back(&self, tensor: usize, offset_in_tensor: u64, bytes: &mut [u8]) -> Result<()> {
        let at = self.place(tensor, offset_in_tensor, bytes.len())?;
        let read = read_at(&self.file.file, bytes, at).map_err(|e| self.io(e))?;
        if read < bytes.len() {
            return Err(self.io(io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(())
    }

    /// Counts bytes of a tensor as written, which the caller has found in the temporary file and checked.
    ///
    /// # Panics
    /// When the plan has no tensor `tensor`.
    pub fn accept(&self, tensor: usize, range: Range<u64>) {
        let end = range.end.min(self.tensors[tensor].size_bytes());
        if range.start < end {
            self.ranges(tensor).insert(range.start, end);
        }
    }

    /// Whether all these bytes of a tensor are written.
    ///
    /// # Panics
    /// When the plan has no tensor `tensor`.
    pub fn has(&self, tensor: usize, range: Range<u64>) -> bool {
        self.ranges(tensor).covers(range.start, range.end)
    }

    /// The path under which the file will be published.
    pub fn path(&self) -> &Path {
        self.file.target()
    }

    /// Position of a range of a tensor in the file.
    fn place(&self, tensor: usize, offset_in_tensor: u64, length: usize) -> Result<u64> {
        let info = &self.tensors[tensor];
        let size = info.size_bytes();
        let end = offset_in_tensor.saturating_add(length as u64);
        if end > size {
            return Err(Error::OutOfRange {
                path: self.path().to_path_buf(),
                tensor: info.name.clone(),
                start: offset_in_tensor,
                end,
                size,
            });
        }
        Ok(self.data_offset + info.offset + offset_in_tensor)
    }

    /// Writes bytes of tensor `tensor` (its index in the plan) from byte `offset_in_tensor` on, numbers
    /// in little-endian order. May be called from many threads, for any ranges, in any order; for a
    /// big-endian file each range must be of whole blocks.
    ///
    /// # Errors
    /// When the range is outside of the tensor or the write fails, a full disk among the causes.
    ///
    /// # Panics
    /// When the plan has no tensor `tensor`.
    pub fn write_at(&self, tensor: usize, offset_in_tensor: u64, bytes: &[u8]) -> Result<()> {
        let at = self.place(tensor, offset_in_tensor, bytes.len())?;
        let info = &self.tensors[tensor];
        let end = offset_in_tensor + bytes.len() as u64;
        let bytes = if self.endian == Endian::Big {
            let mut bytes = bytes.to_vec();
            let aligned = offset_in_tensor.is_multiple_of(info.ty.block_bytes() as u64);
            if !aligned || !swap_blocks(info.ty, &mut bytes) {
                return Err(Error::OutOfRange {
                    path: self.path().to_path_buf(),
                    tensor: info.name.clone(),
                    start: offset_in_tensor,
                    end,
                    size: info.size_bytes(),
                });
            }
            Cow::Owned(bytes)
        } else {
            Cow::Borrowed(bytes)
        };
        write_all_at(&self.file.file, &bytes, at).map_err(|e| self.io(e))?;
        self.ranges(tensor).insert(offset_in_tensor, end);
        Ok(())
    }

    /// Flushes what was written so far to disk.
    ///
    /// # Errors
    /// When the system cannot.
    pub fn flush(&self) -> Result<()> {
        self.file.file.sync_data().map_err(|e| self.io(e))
    }

    /// Syncs the file and publishes it under its name.
    ///
    /// # Errors
    /// [`Error::Incomplete`] when a byte of a tensor was not written, or an error of the system; the
    /// target is then as it was.
    pub fn finish(self) -> Result<()> {
        self.complete()?.publish()
    }

    /// Checks and syncs the file without publishing it, so that the files of a set can be published
    /// together once all of them are complete.
    ///
    /// # Errors
    /// As [`Writer::finish`].
    pub fn complete(self) -> Result<CompleteFile> {
        for (index, info) in self.tensors.iter().enumerate() {
            let written = self.ranges(index).total();
            if written != info.size_bytes() {
                return Err(Error::Incomplete {
                    path: self.path().to_path_buf(),
                    tensor: info.name.clone(),
                    written,
                    size: info.size_bytes(),
                });
            }
        }
        self.file.file.sync_all().map_err(|e| self.io(e))?;
        Ok(CompleteFile(self.file))
    }

    fn ranges(&self, tensor: usize) -> std::sync::MutexGuard<'_, Ranges> {
        // A panic elsewhere cannot leave a range half entered.
        self.written[tensor]
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn io(&self, cause: io::Error) -> Error {
        match cause.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Error::DiskFull {
                    path: self.path().to_path_buf(),
                    needed: self.size,
                    cause,
                }
            }
            _ => Error::Io {
                path: self.path().to_path_buf(),
                cause,
            },
        }
    }
}

/// A complete, synced file that has not got its name yet. Dropped, it is removed, unless it belongs to a
/// run that can be continued.
#[derive(Debug)]
pub struct CompleteFile(Staging);

impl CompleteFile {
    /// The path under which the file will be published.
    pub fn path(&self) -> &Path {
        self.0.target()
    }

    /// Gives the file its name, replacing a file that has it.
    ///
    /// # Errors
    /// When the system refuses to rename.
    pub fn publish(self) -> Result<()> {
        self.0.publish()
    }

    /// Gives the file its name, unless a file has it.
    ///
    /// # Errors
    /// [`Error::Target`] when the name is taken, or an error of the system.
    pub fn publish_new(self) -> Result<()> {
        self.0.publish_new()
    }
}

/// Disjoint ranges in order, merged where they touch.
#[derive(Clone, Debug, Default)]
pub struct Ranges(Vec<(u64, u64)>);

impl Ranges {
    /// Adds a range.
    pub fn insert(&mut self, start: u64, end: u64) {
        if start == end {
            return;
        }
        let first = self.0.partition_point(|r| r.1 < start);
        let last = self.0.partition_point(|r| r.0 <= end);
        let merged = self.0[first..last]
            .iter()
            .fold((start, end), |(s, e), r| (s.min(r.0), e.max(r.1)));
        self.0.splice(first..last, [merged]);
    }

    /// Whether all of a range is in them.
    pub fn covers(&self, start: u64, end: u64) -> bool {
        let at = self.0.partition_point(|r| r.1 < end);
        start >= end || self.0.get(at).is_some_and(|r| r.0 <= start && end <= r.1)
    }

    /// Length of all together.
    pub fn total(&self) -> u64 {
        self.0.iter().map(|r| r.1 - r.0).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_merge() {
        let mut r = Ranges::default();
        for (s, e) in [(10, 20), (30, 40), (0, 5), (20, 30), (3, 7), (50, 50), (12, 13)] {
            r.insert(s, e);
        }
        assert_eq!(r.0, [(0, 7), (10, 40)]);
        assert_eq!(r.total(), 37);
        assert!(r.covers(0, 7) && r.covers(12, 40) && r.covers(9, 9));
        assert!(!r.covers(0, 8) && !r.covers(6, 12) && !r.covers(39, 41) && !r.covers(7, 10));
        r.insert(0, 100);
        assert_eq!(r.0, [(0, 100)]);
    }
}
