//! Temporary folders beside an output that a killed run does not leave for good.

use std::fs::{self, File, TryLockError};
use std::io::{Read as _, Write as _};
use std::path::Path;

use crate::{Error, Result};

/// How the folders' names begin.
const PREFIX: &str = ".quantsmith-";

/// The file in a folder that its process holds a lock on.
const LOCK: &str = "lock";

/// What that file says, so that no other folder of such a name is taken for one of these.
const MARK: &[u8] = b"temporary folder of quantsmith\n";

/// A temporary folder, which goes when it is dropped. One that a process left behind goes when another is made
/// beside it.
#[derive(Debug)]
pub struct Scratch {
    folder: tempfile::TempDir,
    /// Locked as long as the process lives.
    _lock: File,
}

impl Scratch {
    /// Makes a folder in `parent`, and removes those in it whose processes are gone.
    ///
    /// # Errors
    /// A folder or file that cannot be made.
    pub fn new(parent: &Path) -> Result<Self> {
        remove_stale(parent);
        let io = |source| Error::Io {
            path: parent.to_path_buf(),
            source,
        };
        let folder = tempfile::Builder::new()
            .prefix(PREFIX)
            .tempdir_in(parent)
            .map_err(io)?;
        let mut lock = File::create_new(folder.path().join(LOCK)).map_err(io)?;
        // Locked before it is marked: a file that says it is ours and is free belongs to nobody.
        match lock.try_lock() {
            Err(TryLockError::Error(e)) if e.kind() != std::io::ErrorKind::Unsupported => return Err(io(e)),
            Err(TryLockError::WouldBlock) => return Err(io(std::io::ErrorKind::WouldBlock.into())),
            // Where there are no locks, nobody takes the folder for stale either.
            _ => {}
        }
        lock.write_all(MARK).map_err(io)?;
        Ok(Self { folder, _lock: lock })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// Removes the folders of processes that are gone. What cannot be read or removed stays.
fn remove_stale(parent: &Path) {
    let Ok(items) = fs::read_dir(parent) else { return };
    for item in items.flatten() {
        let named = item.file_name().to_str().is_some_and(|n| n.starts_with(PREFIX));
        let is_folder = item.file_type().is_ok_and(|t| t.is_dir());
        if named && is_folder && is_stale(&item.path()) {
            let _ = fs::remove_dir_all(item.path());
        }
    }
}

/// Whether a folder is one of these and no process holds its lock.
fn is_stale(folder: &Path) -> bool {
    let path = folder.join(LOCK);
    let is_file = fs::symlink_metadata(&path).is_ok_and(|m| m.is_file());
    let Some(file) = is_file.then(|| File::open(&path).ok()).flatten() else {
        return false;
    };
    let mut text = Vec::new();
    let limit = MARK.len() as u64 + 1;
    let read = (&file).take(limit).read_to_end(&mut text);
    read.is_ok() && text == MARK && file.try_lock().is_ok()
}
