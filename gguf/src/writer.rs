//! Writing of a planned file from many threads, published only when it is complete.

use std::borrow::Cow;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use tempfile::{NamedTempFile, TempPath};

use crate::endian::{can_swap, swap_blocks};
use crate::positional::write_all_at;
use crate::{Endian, Error, FilePlan, Result, TensorInfo};

/// Writes one planned file.
///
/// The bytes go to a temporary file beside the target, at offsets the plan fixes, in any order and from
/// any number of threads. [`Writer::finish`] checks that every byte came, syncs, and renames. A writer
/// that is dropped before removes its temporary file and leaves the target as it was.
#[derive(Debug)]
pub struct Writer {
    target: PathBuf,
    file: NamedTempFile,
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
    /// When the plan cannot be encoded, the target is not a regular file, or the directory cannot be
    /// written to.
    pub fn create(path: &Path, plan: &FilePlan) -> Result<Self> {
        let header = plan.header_bytes()?;
        let data_offset = header.len() as u64;
        let size = data_offset.saturating_add(plan.data_len());
        if plan.endian == Endian::Big
            && let Some(t) = plan.tensors.iter().find(|t| !can_swap(t.ty))
        {
            return Err(Error::NoBigEndianForm {
                path: path.into(),
                tensor: t.name.clone(),
                ty: t.ty,
            });
        }
        let target = resolve(path)?;
        let file = temporary(&target).map_err(Error::io(&target))?;
        let writer = Self {
            target,
            file,
            tensors: plan.tensors.clone(),
            written: plan.tensors.iter().map(|_| Mutex::default()).collect(),
            endian: plan.endian,
            data_offset,
            size,
        };
        // A file of its full size at once: gaps, which are the padding, read as zeros.
        writer.file.as_file().set_len(size).map_err(|e| writer.io(e))?;
        write_all_at(writer.file.as_file(), &header, 0).map_err(|e| writer.io(e))?;
        Ok(writer)
    }

    /// The path under which the file will be published.
    pub fn path(&self) -> &Path {
        &self.target
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
        let info = &self.tensors[tensor];
        let size = info.size_bytes();
        let out_of_range = |end| Error::OutOfRange {
            path: self.target.clone(),
            tensor: info.name.clone(),
            start: offset_in_tensor,
            end,
            size,
        };
        let end = offset_in_tensor
            .checked_add(bytes.len() as u64)
            .filter(|&end| end <= size)
            .ok_or_else(|| out_of_range(offset_in_tensor.saturating_add(bytes.len() as u64)))?;
        let bytes = if self.endian == Endian::Big {
            let mut bytes = bytes.to_vec();
            let aligned = offset_in_tensor.is_multiple_of(info.ty.block_bytes() as u64);
            if !aligned || !swap_blocks(info.ty, &mut bytes) {
                return Err(out_of_range(end));
            }
            Cow::Owned(bytes)
        } else {
            Cow::Borrowed(bytes)
        };
        let at = self.data_offset + info.offset + offset_in_tensor;
        write_all_at(self.file.as_file(), &bytes, at).map_err(|e| self.io(e))?;
        self.ranges(tensor).insert(offset_in_tensor, end);
        Ok(())
    }

    /// Syncs the file and publishes it under its name.
    ///
    /// # Errors
    /// [`Error::Incomplete`] when a byte of a tensor was not written, or an error of the system; the
    /// target is then as it was.
    pub fn finish(self) -> Result<()> {
        self.seal()?.publish()
    }

    /// Checks and syncs the file without publishing it, so that the files of a set can be published
    /// together once all of them are complete.
    ///
    /// # Errors
    /// As [`Writer::finish`].
    pub fn seal(self) -> Result<Sealed> {
        for (index, info) in self.tensors.iter().enumerate() {
            let written = self.ranges(index).total();
            if written != info.size_bytes() {
                return Err(Error::Incomplete {
                    path: self.target.clone(),
                    tensor: info.name.clone(),
                    written,
                    size: info.size_bytes(),
                });
            }
        }
        self.file.as_file().sync_all().map_err(|e| self.io(e))?;
        Ok(Sealed {
            target: self.target,
            file: self.file.into_temp_path(),
        })
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
                    path: self.target.clone(),
                    needed: self.size,
                    cause,
                }
            }
            _ => Error::Io {
                path: self.target.clone(),
                cause,
            },
        }
    }
}

/// A complete, synced file that has not got its name yet. Dropped, it is removed.
#[derive(Debug)]
pub struct Sealed {
    target: PathBuf,
    file: TempPath,
}

impl Sealed {
    /// The path under which the file will be published.
    pub fn path(&self) -> &Path {
        &self.target
    }

    /// Gives the file its name, replacing a file that has it.
    ///
    /// # Errors
    /// When the system refuses to rename.
    pub fn publish(self) -> Result<()> {
        self.file.persist(&self.target).map_err(|e| Error::Io {
            path: self.target.clone(),
            cause: e.error,
        })?;
        sync_directory(&self.target);
        Ok(())
    }

    /// Gives the file its name, unless a file has it.
    ///
    /// # Errors
    /// [`Error::Target`] when the name is taken, or an error of the system.
    pub fn publish_new(self) -> Result<()> {
        self.file
            .persist_noclobber(&self.target)
            .map_err(|e| match e.error.kind() {
                io::ErrorKind::AlreadyExists => already_exists(&self.target),
                _ => Error::Io {
                    path: self.target.clone(),
                    cause: e.error,
                },
            })?;
        sync_directory(&self.target);
        Ok(())
    }
}

pub(crate) fn already_exists(target: &Path) -> Error {
    Error::Target {
        path: target.into(),
        reason: "the output file exists already",
    }
}

/// The file that a path leads to, symbolic links followed, so that renaming replaces what the link
/// points at and not the link. Refuses devices and directories.
fn resolve(path: &Path) -> Result<PathBuf> {
    let target = match fs::symlink_metadata(path) {
        Ok(m) if m.is_symlink() => fs::canonicalize(path).map_err(Error::io(path))?,
        _ => path.to_path_buf(),
    };
    match fs::metadata(&target) {
        Ok(m) if !m.is_file() => Err(Error::Target {
            path: target,
            reason: "the output is not a regular file",
        }),
        Ok(_) => Ok(target),
        Err(e) if e.kind() == io::ErrorKind::NotFound && target.file_name().is_some() => Ok(target),
        Err(e) => Err(Error::io(path)(e)),
    }
}

fn directory(target: &Path) -> &Path {
    target
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

fn temporary(target: &Path) -> io::Result<NamedTempFile> {
    let mut prefix = OsString::from(".");
    prefix.push(target.file_name().unwrap_or_default());
    prefix.push(".");
    let mut builder = tempfile::Builder::new();
    builder.prefix(&prefix).suffix(".tmp");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // As any new file: the process's mask is taken off by the system.
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    builder.tempfile_in(directory(target))
}

/// Makes a rename last through a power cut, where the system lets directories be synced.
fn sync_directory(target: &Path) {
    #[cfg(unix)]
    if let Ok(dir) = File::open(directory(target)) {
        // The file is in place and synced; some file systems cannot sync a directory.
        let _ = dir.sync_all();
    }
    #[cfg(not(unix))]
    let _ = target;
}

/// Disjoint ranges in order, merged where they touch.
#[derive(Debug, Default)]
struct Ranges(Vec<(u64, u64)>);

impl Ranges {
    fn insert(&mut self, start: u64, end: u64) {
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

    fn total(&self) -> u64 {
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
        r.insert(0, 100);
        assert_eq!(r.0, [(0, 100)]);
    }
}
