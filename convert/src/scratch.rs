//! Temporary folders beside an output that a killed run does not leave for good.

use std::fs::{self, File, TryLockError};
use std::io::{ErrorKind, Read as _, Write as _};
use std::path::Path;

use gguf::Temporary;

use crate::{Error, Result};

/// Prefix of the folders' names.
const PREFIX: &str = ".quantsmith-";

/// The file in a folder that its process holds a lock on.
const LOCK: &str = "lock";

/// Content of that file, so that no other folder of such a name is taken for one of these.
const MARK: &[u8] = b"temporary folder of quantsmith\n";

/// Most folders that are made until one stays.
const ATTEMPTS: usize = 16;

/// A temporary folder, which goes when it is dropped. One that a process left behind goes when another is made
/// beside it.
#[derive(Debug)]
pub struct Scratch {
    folder: tempfile::TempDir,
    /// It goes when the process is interrupted, too.
    _temporary: Temporary,
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
        let io = |source| Error::io(parent, source);
        for _ in 0..ATTEMPTS {
            let folder = tempfile::Builder::new()
                .prefix(PREFIX)
                .tempdir_in(parent)
                .map_err(io)?;
            let path = folder.path().join(LOCK);
            let mut lock = match File::create_new(&path) {
                Ok(lock) => lock,
                // Another process took the folder for one that was left empty.
                Err(e) if e.kind() == ErrorKind::NotFound => continue,
                Err(e) => return Err(io(e)),
            };
            // Locked before it is marked: a file that says it is ours and is free belongs to nobody.
            match lock.try_lock() {
                Err(TryLockError::Error(e)) if e.kind() != ErrorKind::Unsupported => return Err(io(e)),
                Err(TryLockError::WouldBlock) => continue,
                // Where there are no locks, nobody takes the folder for stale either.
                _ => {}
            }
            lock.write_all(MARK).map_err(io)?;
            // Removed before it was locked, or from now on safe.
            if path.exists() {
                let _temporary = Temporary::note(folder.path());
                return Ok(Self {
                    folder,
                    _temporary,
                    _lock: lock,
                });
            }
        }
        Err(io(ErrorKind::WouldBlock.into()))
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        clear(self.path());
    }
}

/// Removes all that is in a folder but the lock file, which goes last: a process that is killed meanwhile leaves
/// a folder that is known for what it is.
fn clear(folder: &Path) {
    let Ok(items) = fs::read_dir(folder) else { return };
    for item in items.flatten().filter(|item| item.file_name() != LOCK) {
        let path = item.path();
        let _ = match item.file_type() {
            Ok(t) if t.is_dir() => fs::remove_dir_all(path),
            _ => fs::remove_file(path),
        };
    }
}

/// Removes the folders of processes that are gone. What cannot be read or removed stays.
fn remove_stale(parent: &Path) {
    let Ok(items) = fs::read_dir(parent) else { return };
    for item in items.flatten() {
        let named = item.file_name().to_str().is_some_and(|n| n.starts_with(PREFIX));
        let is_folder = item.file_type().is_ok_and(|t| t.is_dir());
        if named && is_folder && is_stale(&item.path()) {
            clear(&item.path());
            let _ = fs::remove_dir_all(item.path());
        } else if named && is_folder {
            remove_unborn(&item.path());
        }
    }
}

/// Removes a folder whose process was killed before it had marked it: one that is empty, or has nothing but a
/// lock file that is empty and free. Never more: what is not empty is not removed.
fn remove_unborn(folder: &Path) {
    let lock = folder.join(LOCK);
    // Held until the folder is gone: its process, if there is one, then makes another.
    let held = match fs::symlink_metadata(&lock) {
        Ok(m) if m.is_file() && m.len() == 0 => File::open(&lock).ok(),
        Ok(_) => return,
        Err(_) => None,
    };
    if let Some(file) = &held {
        let alone = fs::read_dir(folder).is_ok_and(|items| items.count() == 1);
        let empty = file.try_lock().is_ok() && file.metadata().is_ok_and(|m| m.len() == 0);
        if !(alone && empty && fs::remove_file(&lock).is_ok()) {
            return;
        }
    }
    let _ = fs::remove_dir(folder);
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The states that a process killed while it makes a folder leaves.
    #[test]
    fn folders_that_were_never_marked_go_unless_there_is_something_in_them() {
        let dir = tempfile::tempdir().unwrap();
        let make = |name: &str, files: &[&str]| {
            let folder = dir.path().join(format!("{PREFIX}{name}"));
            fs::create_dir(&folder).unwrap();
            for file in files {
                fs::write(folder.join(file), "").unwrap();
            }
            folder
        };
        let gone = [make("empty", &[]), make("unmarked", &[LOCK])];
        let kept = [
            make("used", &[LOCK, "x"]),
            make("other", &["x"]),
            make("held", &[LOCK]),
        ];
        let held = File::open(kept[2].join(LOCK)).unwrap();
        held.try_lock().unwrap();
        let _scratch = Scratch::new(dir.path()).unwrap();
        assert!(gone.iter().all(|f| !f.exists()));
        assert!(kept.iter().all(|f| f.exists()));
    }

    /// Folders that many make at once beside each other's cleaning are all there and all different.
    #[test]
    fn many_at_once_do_not_remove_each_others() {
        let dir = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let folder = Scratch::new(dir.path()).unwrap();
                        fs::write(folder.path().join("x"), "x").unwrap();
                        assert!(folder.path().join(LOCK).exists());
                    }
                });
            }
        });
        assert_eq!(dir.path().read_dir().unwrap().count(), 0);
    }
}
