//! A file of observations, by which an evaluation that was interrupted is continued.
//!
//! Layout, little endian: the text line `quantsmith-evaluation 2 FINGERPRINT`, then records: u32 model, u32 first window,
//! u32 windows, u32 observations, the observations (f64 nll, nll of the base, KLD and Δp, u8 of bits: same top, right, base right), and an XXH64 of all
//! that. A record that a crash cut, and all after it, are run again.

use std::collections::HashMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufRead as _, Read as _, Seek as _, SeekFrom, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh64::xxh64;

use super::Observation;
use super::compare::Notes;
use crate::{Error, Result};

/// Name and version of the format.
const MAGIC: &str = "quantsmith-evaluation 2";
/// Longest journal that is read, in bytes: that of some billion observations.
const MAX_BYTES: u64 = 1 << 35;
/// Longest first line that is read.
const MAX_LINE: u64 = 4096;
/// Bytes before a record's observations.
const HEAD_BYTES: usize = 16;
/// Bytes of an observation.
const OBSERVATION_BYTES: usize = 4 * 8 + 1;
/// Bytes of a record's check.
const CHECK_BYTES: usize = 8;
/// Most observations of a record that are believed.
const MAX_OBSERVATIONS: usize = 1 << 24;

/// Observations by model, first window and number of windows.
pub type Noted = HashMap<(usize, usize, usize), Vec<Observation>>;

/// Contents of a journal that no process has open.
#[derive(Debug)]
pub struct Kept {
    /// Name of everything that decides the observations.
    pub fingerprint: String,
    /// Observations noted.
    pub noted: Noted,
    /// Whether nothing follows that was cut or damaged.
    pub is_whole: bool,
}

/// An open, locked journal of an evaluation.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    known: Noted,
}

impl Journal {
    /// Opens the journal of an evaluation, or starts one. `fingerprint` names everything that decides the observations; a
    /// journal with another one is begun anew, and so is every one where the run is not `continued`.
    ///
    /// # Errors
    /// A journal that another process has open, a name that is no regular file, or an error of the system.
    pub fn open(path: &Path, fingerprint: &str, continued: bool) -> Result<Self> {
        let io = |source| Error::io(path, source);
        let refused = |message: &str| {
            Err(io(std::io::Error::new(
                std::io::ErrorKind::AlreadyExists,
                message.to_owned(),
            )))
        };
        if std::fs::symlink_metadata(path).is_ok_and(|m| !m.is_file()) {
            return refused("the evaluation's journal is not a regular file");
        }
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(io)?;
        locked(file.try_lock()).map_err(io)?;
        let first = format!("{MAGIC} {fingerprint}\n");
        let mut known = Noted::new();
        let mut end = 0;
        if continued && file.metadata().map_err(io)?.len() <= MAX_BYTES {
            let mut start = vec![0; first.len()];
            if file.read_exact(&mut start).is_ok() && start == first.as_bytes() {
                end = first.len() as u64;
                let mut reader = std::io::BufReader::new(&file);
                while let Some((key, rows, length)) = read_record(&mut reader) {
                    known.insert(key, rows);
                    end += length as u64;
                }
            }
        }
        file.set_len(end).map_err(io)?;
        file.seek(SeekFrom::Start(end)).map_err(io)?;
        if end == 0 {
            file.write_all(first.as_bytes()).map_err(io)?;
        }
        Ok(Self {
            path: path.to_path_buf(),
            file,
            known,
        })
    }

    /// The fingerprint in the first line of a journal.
    pub fn fingerprint_of(line: &str) -> Option<&str> {
        line.strip_prefix(MAGIC)?.strip_prefix(' ')
    }

    /// Reads a journal; `None` for one that was cut before its first line ended, or that is no journal of an evaluation.
    ///
    /// # Errors
    /// A journal that another process has open, one that is too long, or an error of the system.
    pub fn read(path: &Path) -> Result<Option<Kept>> {
        let io = |source| Error::io(path, source);
        let file = File::open(path).map_err(io)?;
        locked(file.try_lock_shared()).map_err(io)?;
        let length = file.metadata().map_err(io)?.len();
        if length > MAX_BYTES {
            return Err(io(std::io::Error::new(
                std::io::ErrorKind::InvalidData,
                format!("{length} bytes, longer than any journal"),
            )));
        }
        let mut reader = std::io::BufReader::new(&file);
        let mut line = Vec::new();
        reader
            .by_ref()
            .take(MAX_LINE)
            .read_until(b'\n', &mut line)
            .map_err(io)?;
        let mut end = line.len() as u64;
        let first = line
            .strip_suffix(b"\n")
            .and_then(|line| std::str::from_utf8(line).ok());
        let Some(fingerprint) = first.and_then(Self::fingerprint_of) else {
            return Ok(None);
        };
        let mut noted = Noted::new();
        while let Some((key, rows, length)) = read_record(&mut reader) {
            noted.insert(key, rows);
            end += length as u64;
        }
        Ok(Some(Kept {
            fingerprint: fingerprint.to_owned(),
            noted,
            is_whole: end == length,
        }))
    }

    /// Number of runs of a model over windows that are noted.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether nothing is noted.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Removes the file.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn remove(self) -> Result<()> {
        std::fs::remove_file(&self.path).map_err(|source| Error::io(self.path, source))
    }
}

impl Notes for Journal {
    fn known(&mut self, model: usize, windows: Range<usize>) -> Option<Vec<Observation>> {
        self.known.remove(&(model, windows.start, windows.len()))
    }

    fn note(&mut self, model: usize, windows: Range<usize>, seen: &[Observation]) -> Result<()> {
        let record = record(model, &windows, seen);
        self.file
            .write_all(&record)
            .map_err(|source| Error::io(&self.path, source))
    }
}

/// Whether a lock was had; systems without locks have none to wait for.
fn locked(tried: std::result::Result<(), TryLockError>) -> std::io::Result<()> {
    match tried {
        Err(TryLockError::WouldBlock) => Err(std::io::Error::new(
            std::io::ErrorKind::AlreadyExists,
            "another process is at work on this evaluation",
        )),
        Err(TryLockError::Error(e)) if e.kind() != std::io::ErrorKind::Unsupported => Err(e),
        _ => Ok(()),
    }
}

/// A number that a journal has room for; more is of no model that runs.
fn small(n: usize) -> [u8; 4] {
    u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes()
}

fn record(model: usize, windows: &Range<usize>, seen: &[Observation]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEAD_BYTES + seen.len() * OBSERVATION_BYTES + CHECK_BYTES);
    for n in [model, windows.start, windows.len(), seen.len()] {
        bytes.extend(small(n));
    }
    for o in seen {
        for value in [o.nll, o.nll_base, o.kld, o.delta_p] {
            bytes.extend(value.to_le_bytes());
        }
        bytes.push(u8::from(o.same_top) | u8::from(o.right) << 1 | u8::from(o.right_base) << 2);
    }
    bytes.extend(xxh64(&bytes, 0).to_le_bytes());
    bytes
}

type Key = (usize, usize, usize);

/// The next record and its length in bytes; `None` at the end, and where one is cut or damaged.
fn read_record(reader: &mut impl std::io::Read) -> Option<(Key, Vec<Observation>, usize)> {
    let mut bytes = vec![0; HEAD_BYTES];
    reader.read_exact(&mut bytes).ok()?;
    let number = |bytes: &[u8], at: usize| {
        let four = bytes.get(4 * at..4 * at + 4)?;
        Some(u32::from_le_bytes(four.try_into().ok()?) as usize)
    };
    let key = (number(&bytes, 0)?, number(&bytes, 1)?, number(&bytes, 2)?);
    let count = number(&bytes, 3).filter(|&n| n <= MAX_OBSERVATIONS)?;
    let rest = count * OBSERVATION_BYTES + CHECK_BYTES;
    // Grown by what is there, not by what is claimed.
    let read = reader.take(rest as u64).read_to_end(&mut bytes).ok()?;
    if read < rest {
        return None;
    }
    let (body, check) = bytes.split_at(bytes.len() - CHECK_BYTES);
    if xxh64(body, 0).to_le_bytes() != check {
        return None;
    }
    let rows = body[HEAD_BYTES..]
        .chunks_exact(OBSERVATION_BYTES)
        .map(|o| {
            let value = |at: usize| {
                let mut eight = [0; 8];
                eight.copy_from_slice(&o[8 * at..8 * at + 8]);
                f64::from_le_bytes(eight)
            };
            Observation {
                nll: value(0),
                nll_base: value(1),
                kld: value(2),
                delta_p: value(3),
                same_top: o[32] & 1 != 0,
                right: o[32] & 2 != 0,
                right_base: o[32] & 4 != 0,
            }
        })
        .collect();
    let length = bytes.len();
    Some((key, rows, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(n: usize) -> Vec<Observation> {
        (0..n)
            .map(|i| Observation {
                nll: i as f64 * 0.1,
                nll_base: 0.5,
                kld: -0.0,
                delta_p: 1.0 / (i + 1) as f64,
                same_top: i % 2 == 0,
                right: i % 3 == 0,
                right_base: i % 5 == 0,
            })
            .collect()
    }

    /// Whatever part of the file is there, and whichever byte is another, what comes back is what was noted.
    #[test]
    fn cut_or_changed_anywhere() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("j");
        let mut journal = Journal::open(&path, "abc", true).unwrap();
        assert!(journal.is_empty());
        journal.note(0, 0..2, &seen(3)).unwrap();
        journal.note(1, 0..2, &seen(2)).unwrap();
        assert!(Journal::open(&path, "abc", true).is_err(), "it is locked");
        drop(journal);
        let whole = std::fs::read(&path).unwrap();
        let line = "quantsmith-evaluation 2 abc\n".len();
        let first = line + HEAD_BYTES + 3 * OBSERVATION_BYTES + CHECK_BYTES;
        let ends = [line, first, whole.len()];
        for cut in 0..=whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let kept = Journal::read(&path).unwrap();
            assert_eq!(kept.is_some(), cut >= line, "{cut}");
            let journal = Journal::open(&path, "abc", true).unwrap();
            let expected = ends[1..].iter().filter(|&&end| end <= cut).count();
            assert_eq!(journal.len(), expected, "{cut}");
            if let Some(kept) = kept {
                assert_eq!((&*kept.fingerprint, kept.noted.len()), ("abc", expected), "{cut}");
                assert_eq!(kept.is_whole, ends.contains(&cut), "{cut}");
            }
        }
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 0x20;
            std::fs::write(&path, &changed).unwrap();
            let mut journal = Journal::open(&path, "abc", true).unwrap();
            let expected = ends.iter().position(|&end| at < end).unwrap().saturating_sub(1);
            assert_eq!(journal.len(), expected, "{at}");
            if expected > 0 {
                assert_eq!(journal.known(0, 0..2), Some(seen(3)));
            }
            // What comes after is noted where the damage began.
            journal.note(5, 0..1, &seen(1)).unwrap();
            drop(journal);
            let mut again = Journal::open(&path, "abc", true).unwrap();
            assert_eq!(again.known(5, 0..1), Some(seen(1)), "{at}");
        }
        std::fs::write(&path, &whole).unwrap();
        assert!(Journal::open(&path, "abd", true).unwrap().is_empty());
        std::fs::write(&path, &whole).unwrap();
        assert!(Journal::open(&path, "abc", false).unwrap().is_empty());
    }
}
