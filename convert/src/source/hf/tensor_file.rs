//! Files that hold named tensors, read by position: what a checkpoint consists of.

use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use gguf::{Inputs, Stamp, TensorType};
use safetensors::Dtype;

use super::element::Element;
use crate::{Error, Result};

/// Most dimensions a tensor may have: those of GGUF, and one for a stack of experts.
pub(crate) const MAX_DIMS: usize = 5;

/// A tensor of a file.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) dtype: Dtype,
    /// The rows are GGUF blocks of this type, whatever the dtype says.
    pub(crate) blocks: Option<TensorType>,
    /// Outermost dimension first, as PyTorch orders them.
    pub(crate) shape: Vec<u64>,
    /// Position for [`TensorFile::read_at`].
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
}

impl Entry {
    /// Element type of its weights, or `None` when they cannot be read.
    pub(crate) fn element(&self) -> Option<Element> {
        match self.blocks {
            Some(ty) => Some(Element::Blocks(ty)),
            None => Element::from_dtype(self.dtype),
        }
    }

    /// Elements of the innermost dimension; 1 for a scalar.
    pub(crate) fn row_len(&self) -> u64 {
        self.shape.last().copied().unwrap_or(1)
    }

    /// Rows, over all outer dimensions.
    pub(crate) fn rows(&self) -> u64 {
        let outer = self.shape.len().saturating_sub(1);
        self.shape[..outer].iter().product()
    }

    /// Elements in all; the product has been checked when the entry was made.
    pub(crate) fn elements(&self) -> u64 {
        self.shape.iter().product()
    }
}

/// An open file of tensors.
pub(crate) trait TensorFile: fmt::Debug + Send + Sync {
    /// The file, for messages.
    fn path(&self) -> &Path;

    /// The tensors, in the order in which a checkpoint's are visited.
    fn entries(&self) -> &[Entry];

    /// Fills `out` from a position, which lies in an entry as the range does.
    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<()>;
}

/// An open file, and what it was like when it was opened.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) file: File,
    path: PathBuf,
    stamp: Stamp,
    /// Nothing replaces it while it is open.
    _held: Inputs,
}

impl Opened {
    /// Opens a regular file.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(super) fn open(path: &Path) -> Result<Self> {
        let io = |source| Error::io(path, source);
        let file = File::open(path).map_err(io)?;
        let stamp = Stamp::of(&file).map_err(io)?;
        Ok(Self {
            file,
            path: path.to_path_buf(),
            stamp,
            _held: Inputs::hold([path]),
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Length when it was opened.
    pub(super) fn length(&self) -> u64 {
        self.stamp.length()
    }

    /// Fills `out` from a position. An early end is an error that names the position; so is a file that another
    /// process has changed since it was opened.
    pub(super) fn read_exact_at(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        let read = read_positional(&self.file, offset, out);
        // After the read: what changed meanwhile is seen too.
        self.stamp.check(&self.file, &self.path)?;
        read.map_err(|source| {
            if source.kind() == io::ErrorKind::UnexpectedEof {
                Error::input(
                    &self.path,
                    format!(
                        "offset {offset}: {} bytes expected, but the file ends first",
                        out.len()
                    ),
                )
            } else {
                Error::io(&self.path, source)
            }
        })
    }
}

#[cfg(unix)]
fn read_positional(file: &File, offset: u64, out: &mut [u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, out, offset)
}

#[cfg(windows)]
fn read_positional(file: &File, mut offset: u64, mut out: &mut [u8]) -> io::Result<()> {
    while !out.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, out, offset) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => {
                out = &mut out[n..];
                offset += n as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}
