//! The files that this process reads, which no writer of this crate replaces.
//!
//! Files are known by device and inode, so that every spelling of a name is seen through: symbolic and hard
//! links, `.` and `..`, upper and lower case where the file system does not tell them apart.

use std::collections::HashMap;
use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Depth of the search for files in a model directory: sentence-transformers keeps its modules in folders.
const MAX_DEPTH: usize = 3;

/// Most files of a directory that are looked at.
const MAX_FILES: usize = 100_000;

/// Number of holders of each file.
static HELD: Mutex<Option<HashMap<Identity, usize>>> = Mutex::new(None);

/// Identity of a file: device and inode, or else a name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Identity(#[cfg(unix)] (u64, u64), #[cfg(not(unix))] PathBuf);

/// Files that are protected as long as this value lives: [`crate::Writer`] and [`crate::WholeFile`] refuse a
/// target that is one of them. Open GGUF files and model directories hold their own files; a command adds the
/// texts, importance matrices and lists that it was given.
#[derive(Debug, Default)]
pub struct Inputs(Vec<Identity>);

impl Inputs {
    /// Holds these files, and of directories all files that a conversion may read: none that is hidden, none
    /// that is a GGUF file. A path that leads nowhere is passed over.
    pub fn hold<P: AsRef<Path>>(paths: impl IntoIterator<Item = P>) -> Self {
        let mut found = Vec::new();
        for path in paths {
            let path = path.as_ref();
            match fs::metadata(path) {
                Ok(m) if m.is_dir() => {
                    let of_file = |file: &PathBuf| identity(file, &fs::metadata(file).ok()?);
                    found.extend(files_of_directory(path).iter().filter_map(of_file));
                }
                Ok(m) => found.extend(identity(path, &m)),
                Err(_) => {}
            }
        }
        let mut held = held();
        let counts = held.get_or_insert_default();
        for file in &found {
            *counts.entry(file.clone()).or_default() += 1;
        }
        Self(found)
    }
}

impl Drop for Inputs {
    fn drop(&mut self) {
        let mut held = held();
        let counts = held.get_or_insert_default();
        for file in &self.0 {
            if let Some(count) = counts.get_mut(file) {
                *count -= 1;
                if *count == 0 {
                    counts.remove(file);
                }
            }
        }
    }
}

/// Whether a path leads to a file that is held.
pub(crate) fn is_held(path: &Path) -> bool {
    let found = fs::metadata(path).ok().and_then(|m| identity(path, &m));
    found.is_some_and(|file| held().as_ref().is_some_and(|held| held.contains_key(&file)))
}

fn held() -> MutexGuard<'static, Option<HashMap<Identity, usize>>> {
    // Counts are whole between two statements.
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The files of a model directory that a conversion may read: none that is hidden, none that is a GGUF file. In no
/// particular order.
pub fn files_of_directory(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    add_files(directory, 0, &mut found);
    found
}

fn add_files(directory: &Path, depth: usize, found: &mut Vec<PathBuf>) {
    let Ok(items) = fs::read_dir(directory) else {
        return;
    };
    for item in items.flatten() {
        let path = item.path();
        let name = item.file_name();
        let hidden = name.as_encoded_bytes().starts_with(b".");
        if hidden || found.len() >= MAX_FILES {
            continue;
        }
        match fs::metadata(&path) {
            Ok(m) if m.is_dir() && depth + 1 < MAX_DEPTH => add_files(&path, depth + 1, found),
            Ok(m) if m.is_file() && !is_output(&path) => found.push(path),
            _ => {}
        }
    }
}

/// Whether a file is one that commands write into model directories: a GGUF file, or digests.
fn is_output(path: &Path) -> bool {
    path.extension().is_some_and(|e| e.eq_ignore_ascii_case("gguf"))
        || path.file_name().is_some_and(|name| name == "SHA256SUMS")
}

#[cfg(unix)]
fn identity(_: &Path, metadata: &Metadata) -> Option<Identity> {
    use std::os::unix::fs::MetadataExt;
    metadata
        .is_file()
        .then(|| Identity((metadata.dev(), metadata.ino())))
}

#[cfg(not(unix))]
fn identity(path: &Path, metadata: &Metadata) -> Option<Identity> {
    // Without numbers of files: the canonical name, which tells neither hard links nor cases apart.
    let canonical = metadata
        .is_file()
        .then(|| fs::canonicalize(path).ok())
        .flatten()?;
    Some(Identity(canonical.to_string_lossy().to_lowercase().into()))
}
