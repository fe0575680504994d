//! Names of temporary files that go when the process is interrupted.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The names, by the numbers of their values.
static NAMES: Mutex<(u64, BTreeMap<u64, PathBuf>)> = Mutex::new((0, BTreeMap::new()));

/// A temporary file or folder, which [`remove_all`] removes as long as this value lives.
#[derive(Debug)]
pub struct Temporary(u64);

impl Temporary {
    /// Notes a name. While the process is being ended, this does not return.
    pub fn note(path: &Path) -> Self {
        Self::enter(&mut names(), path)
    }

    /// Does what may make the file, and notes its name if it did; [`remove_all`] comes before it or after it.
    ///
    /// # Errors
    /// That of `work`.
    pub(crate) fn make<T, E>(
        path: &Path,
        work: impl FnOnce() -> Result<Option<T>, E>,
    ) -> Result<Option<(T, Self)>, E> {
        let mut names = names();
        Ok(work()?.map(|made| (made, Self::enter(&mut names, path))))
    }

    fn enter(names: &mut (u64, BTreeMap<u64, PathBuf>), path: &Path) -> Self {
        names.0 += 1;
        names.1.insert(names.0, path.to_path_buf());
        Self(names.0)
    }

    /// Does something that ends the name's being temporary, such as renaming; [`remove_all`] comes before it
    /// or after it.
    ///
    /// # Errors
    /// That of `work`; the name is no longer noted then either.
    pub(crate) fn release<T, E>(self, work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        let mut names = names();
        let done = work();
        names.1.remove(&self.0);
        drop(names);
        std::mem::forget(self);
        done
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        names().1.remove(&self.0);
    }
}

/// Removes all temporary files and folders of the process, for a handler of signals that ends it next: from
/// now on no file is begun and none gets its name.
pub fn remove_all() {
    let names = names();
    for path in names.1.values() {
        // What cannot be removed stays; the next run of the same output takes it up.
        let _ = match fs::symlink_metadata(path) {
            Ok(m) if m.is_dir() => fs::remove_dir_all(path),
            _ => fs::remove_file(path),
        };
    }
    std::mem::forget(names);
}

fn names() -> MutexGuard<'static, (u64, BTreeMap<u64, PathBuf>)> {
    NAMES.lock().unwrap_or_else(PoisonError::into_inner)
}
