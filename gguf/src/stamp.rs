//! Whether a file is still the one that was opened.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::SystemTime;

use crate::{Error, Result};

/// Length and time of the last change of an open file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    length: u64,
    modified: Option<SystemTime>,
}

impl Stamp {
    /// Size and times of the file now; taken before anything of it is read.
    ///
    /// # Errors
    /// When the system cannot say.
    pub fn of(file: &File) -> io::Result<Self> {
        let status = file.metadata()?;
        Ok(Self {
            length: status.len(),
            modified: status.modified().ok(),
        })
    }

    /// Length in bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Checks after a read that nobody has written to the file since.
    ///
    /// # Errors
    /// [`Error::Changed`] with both lengths, or [`Error::Overwritten`].
    pub fn check(&self, file: &File, path: &Path) -> Result<()> {
        let now = Self::of(file).map_err(Error::io(path))?;
        if now.length != self.length {
            return Err(Error::Changed {
                path: path.to_path_buf(),
                found: now.length,
                expected: self.length,
            });
        }
        if now.modified != self.modified {
            return Err(Error::Overwritten { path: path.into() });
        }
        Ok(())
    }
}
