//! Changing the metadata of a file and nothing else.
//!
//! A change whose header takes the same room is made in place: the bytes that differ are noted in a small
//! file beside it (`.NAME.undo`), written, and the note is removed. A crash in between leaves the note, by
//! which [`recover`] restores the old header. Any other change rewrites the file as a stream, tensor bytes
//! copied as they are, and replaces it when the new one is complete.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use crate::positional::{read_at, write_all_at};
use crate::split::copy_tensor;
use crate::staging::sync_directory;
use crate::{Backing, Error, FilePlan, GgufModel, Metadata, Result, WholeFile, Writer};

const UNDO_MAGIC: &[u8; 8] = b"GGUFundo";
/// Magic, length of the file, and where the old bytes belong.
const UNDO_HEADER: usize = 24;

/// Outcome of a change: in place, or by a rewritten file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edited {
    /// The metadata was that already.
    Unchanged,
    /// Only bytes of the header were written.
    InPlace,
    /// The file was written anew.
    Rewritten,
}

/// Gives the file at `path` this metadata; with `output`, a new file with the same tensors. Of a model
/// of many files only this one is changed. `progress` gets the number of tensor bytes copied since its
/// last call.
///
/// # Errors
/// A file that cannot be read or written, is being edited by another process, or metadata that a file
/// cannot hold. The file is then as it was.
pub fn set_metadata(
    path: &Path,
    metadata: Metadata,
    output: Option<&Path>,
    progress: &mut dyn FnMut(u64),
) -> Result<Edited> {
    recover(path)?;
    let options = crate::OpenOptions {
        backing: Backing::File,
        allow_missing_data: false,
    };
    let model = GgufModel::open_single(path, options)?;
    let file = &model.files()[0];
    if output.is_none() && *file.metadata() == metadata {
        return Ok(Edited::Unchanged);
    }
    let plan = FilePlan::with_metadata(file, metadata)?;
    let header = plan.header_bytes()?;
    if output.is_none() && plan.alignment == file.alignment() && header.len() as u64 == file.data_offset() {
        overwrite(path, &header)?;
        return Ok(Edited::InPlace);
    }
    let writer = match output {
        Some(output) => Writer::create(output, &plan)?,
        None => Writer::replace(path, &plan)?,
    };
    for tensor in 0..plan.tensors.len() {
        copy_tensor(&model, tensor, &writer, tensor, progress)?;
    }
    writer.finish()?;
    Ok(Edited::Rewritten)
}

/// Restores the header of a file whose editing was interrupted. Returns whether there was something to
/// restore.
///
/// # Errors
/// A note that does not belong to the file, or an error of the system.
pub fn recover(path: &Path) -> Result<bool> {
    let note = undo_path(path);
    match fs::symlink_metadata(&note) {
        Ok(found) if found.is_file() => {}
        Ok(_) => {
            return Err(Error::Target {
                path: note,
                reason: "not the note of an interrupted edit",
            });
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(Error::io(&note)(e)),
    }
    let file = open_locked(path)?;
    let length = file.metadata().map_err(Error::io(path))?.len();
    // A note that is longer than the file's bytes is none of its; it is not read whole to find that out.
    let longest = length.saturating_add(UNDO_HEADER as u64 + 1);
    let mut bytes = Vec::new();
    File::open(&note)
        .and_then(|f| f.take(longest).read_to_end(&mut bytes))
        .map_err(Error::io(&note))?;
    let word = |at: usize| {
        let word = bytes.get(at..at + 8)?;
        Some(u64::from_le_bytes(word.try_into().ok()?))
    };
    let (Some(UNDO_MAGIC), Some(noted), Some(offset), Some(old)) = (
        bytes.first_chunk::<8>(),
        word(8),
        word(16),
        bytes.get(UNDO_HEADER..),
    ) else {
        return Err(Error::Target {
            path: note,
            reason: "not the note of an interrupted edit",
        });
    };
    let inside = offset
        .checked_add(old.len() as u64)
        .is_some_and(|end| end <= length);
    if noted != length || !inside {
        return Err(Error::Target {
            path: note,
            reason: "the note of an interrupted edit does not belong to the file beside it",
        });
    }
    write_all_at(&file, old, offset).map_err(Error::io(path))?;
    file.sync_all().map_err(Error::io(path))?;
    fs::remove_file(&note).map_err(Error::io(&note))?;
    sync_directory(path);
    Ok(true)
}

/// Whether an edit of this file was interrupted.
pub fn is_interrupted(path: &Path) -> bool {
    undo_path(path).exists()
}

fn undo_path(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".undo");
    path.with_file_name(name)
}

fn open_locked(path: &Path) -> Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .map_err(Error::io(path))?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(Error::Target {
            path: path.into(),
            reason: "another process is writing this file",
        }),
        Err(TryLockError::Error(e)) if e.kind() != io::ErrorKind::Unsupported => Err(Error::io(path)(e)),
        _ => Ok(file),
    }
}

/// Replaces the start of a file, so that a crash at any moment can be undone.
fn overwrite(path: &Path, header: &[u8]) -> Result<()> {
    let file = open_locked(path)?;
    let length = file.metadata().map_err(Error::io(path))?.len();
    let mut old = vec![0; header.len()];
    let read = read_at(&file, &mut old, 0).map_err(Error::io(path))?;
    if read < old.len() {
        return Err(Error::Changed {
            path: path.to_path_buf(),
            found: read as u64,
            expected: length,
        });
    }
    let differs = |(a, b): (&u8, &u8)| a != b;
    let pairs = || old.iter().zip(header);
    let (Some(start), Some(last)) = (pairs().position(differs), pairs().rposition(differs)) else {
        return Ok(());
    };
    let (old, new) = (&old[start..=last], &header[start..=last]);

    let note = undo_path(path);
    let place = (start as u64).to_le_bytes();
    let bytes = [UNDO_MAGIC.as_slice(), &length.to_le_bytes(), &place, old].concat();
    // The note appears whole or not at all.
    WholeFile::open(&note)?.publish(&bytes)?;

    let written = write_all_at(&file, new, start as u64).and_then(|()| file.sync_all());
    if let Err(e) = written {
        // As it was before, as far as the system still lets us; the note stays for a later attempt.
        let restored = write_all_at(&file, old, start as u64).and_then(|()| file.sync_all());
        if restored.is_ok() {
            let _ = fs::remove_file(&note);
        }
        return Err(Error::io(path)(e));
    }
    fs::remove_file(&note).map_err(Error::io(&note))
}
