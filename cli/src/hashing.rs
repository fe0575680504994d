//! Digests of files, with their progress on standard error.

use std::path::Path;

use convert::digest::file_sha256_telling;

use crate::progress::{Meter, Unit};

/// The digesting of some files.
pub(crate) struct Hashing {
    meter: Meter,
}

impl Hashing {
    /// Of these files; those that are not there count nothing.
    pub(crate) fn of<P: AsRef<Path>>(files: impl IntoIterator<Item = P>) -> Self {
        let size = |file: P| std::fs::metadata(file).map_or(0, |m| m.len());
        let total = files.into_iter().map(size).fold(0, u64::saturating_add);
        Self {
            meter: Meter::of("hash", Unit::Bytes, total),
        }
    }

    /// SHA-256 of one of them.
    pub(crate) fn sha256(&self, file: &Path) -> convert::Result<String> {
        file_sha256_telling(file, &|bytes| self.meter.add(bytes))
    }
}
