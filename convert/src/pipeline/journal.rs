//! The journal of a run that can be continued: what has been written, so that a later process can check it
//! and do the rest.
//!
//! A text file. Its first line names the run by a digest of everything that decides its bytes; each further
//! line is a range that was written, with a digest of its bytes and a check of the line itself, so that a
//! line cut by a crash is seen. Nothing in it is believed before the bytes have been read back.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use sha2::{Digest as _, Sha256};
use xxhash_rust::xxh64::xxh64;

use crate::digest::hex;
use crate::plan::OutputPlan;
use crate::source::Source;
use crate::{Error, Result};

/// Name and version of the format.
const MAGIC: &str = "quantsmith-journal 1";
/// Longest journal that is read, in bytes: that of some ten million pieces.
const MAX_BYTES: u64 = 1 << 30;
/// Places in an input file that are looked at to tell it from another of the same length and time.
const SAMPLES: u64 = 64;
/// Bytes looked at in each place.
const SAMPLE_BYTES: u64 = 4096;

/// The message for a journal that another process has open.
const AT_WORK: &str = "another process is at work on this run";

/// Bytes of a tensor of an output that were written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Record {
    pub(crate) output: usize,
    pub(crate) tensor: usize,
    pub(crate) offset: u64,
    pub(crate) length: u64,
    pub(crate) digest: u64,
}

impl Record {
    fn line(&self) -> String {
        let body = format!(
            "{} {} {} {} {:016x}",
            self.output, self.tensor, self.offset, self.length, self.digest
        );
        format!("{body} {:08x}\n", check(&body))
    }

    fn parse(line: &str) -> Option<Self> {
        let (body, sum) = line.rsplit_once(' ')?;
        if u32::from_str_radix(sum, 16).ok()? != check(body) {
            return None;
        }
        let mut parts = body.split(' ');
        let record = Self {
            output: parts.next()?.parse().ok()?,
            tensor: parts.next()?.parse().ok()?,
            offset: parts.next()?.parse().ok()?,
            length: parts.next()?.parse().ok()?,
            digest: u64::from_str_radix(parts.next()?, 16).ok()?,
        };
        parts.next().is_none().then_some(record)
    }
}

fn check(body: &str) -> u32 {
    xxh64(body.as_bytes(), 0) as u32
}

/// The journal of a run by its fingerprint: its first line, and what is said of another's.
pub(super) fn of_run(path: &Path, fingerprint: &str) -> Result<(Journal, Vec<Record>)> {
    let other = |_: &str| {
        "this is the journal of another run: its inputs, its recipe or its importance matrix were others. Delete it to \
         start anew"
            .to_owned()
    };
    Journal::open(path, &format!("{MAGIC} {fingerprint}"), &other)
}

/// An open, locked journal.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    file: Mutex<File>,
}

impl Journal {
    /// Opens the journal with this first line, or starts one. Returns what an earlier process has written down. `other`
    /// says what is wrong with a journal by its first line, which is another.
    ///
    /// # Errors
    /// Another journal, one that another process has open, or an error of the system.
    pub(crate) fn open(
        path: &Path,
        first: &str,
        other: &dyn Fn(&str) -> String,
    ) -> Result<(Self, Vec<Record>)> {
        let io = |source| Error::io(path, source);
        let refused = |message: &str| Error::input(path, message.to_owned());
        match std::fs::symlink_metadata(path) {
            Ok(m) if !m.is_file() => return Err(refused("the journal is not a regular file")),
            _ => {}
        }
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(io)?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => return Err(refused(AT_WORK)),
            Err(TryLockError::Error(e)) if e.kind() != std::io::ErrorKind::Unsupported => return Err(io(e)),
            _ => {}
        }
        let bytes = contents(path, &file)?;
        let first = format!("{first}\n");
        let mut records = Vec::new();
        let mut end = 0;
        if bytes.starts_with(first.as_bytes()) {
            let whole;
            (records, whole) = parse(&bytes[first.len()..]);
            end = first.len() + whole;
        } else if let Some(line) = bytes.split_inclusive(|&b| b == b'\n').next()
            && line.ends_with(b"\n")
        {
            return Err(refused(&other(String::from_utf8_lossy(line).trim_end())));
        }
        // A first line that was cut belongs to a run that had not begun.
        file.set_len(end as u64).map_err(io)?;
        file.seek(SeekFrom::Start(end as u64)).map_err(io)?;
        if end == 0 {
            file.write_all(first.as_bytes()).map_err(io)?;
        }
        let journal = Self {
            path: path.to_path_buf(),
            file: Mutex::new(file),
        };
        Ok((journal, records))
    }

    /// Notes that bytes were written. One write for each line: a killed process leaves whole lines, and the
    /// system keeps the order in which other processes see them.
    pub(crate) fn add(&self, output: usize, tensor: usize, offset: u64, bytes: &[u8]) -> Result<()> {
        let record = Record {
            output,
            tensor,
            offset,
            length: bytes.len() as u64,
            digest: xxh64(bytes, 0),
        };
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(record.line().as_bytes())
            .map_err(|source| Error::io(&self.path, source))
    }

    /// Reads a journal that no process has open: its first line and its records. `None` for one that was cut before its
    /// first line ended.
    ///
    /// # Errors
    /// A journal that another process has open, or an error of the system.
    pub(crate) fn read(path: &Path) -> Result<Option<(String, Vec<Record>)>> {
        let io = |source| Error::io(path, source);
        let file = File::open(path).map_err(io)?;
        match file.try_lock_shared() {
            Err(TryLockError::WouldBlock) => {
                return Err(Error::input(path, AT_WORK.to_owned()));
            }
            Err(TryLockError::Error(e)) if e.kind() != std::io::ErrorKind::Unsupported => return Err(io(e)),
            _ => {}
        }
        let bytes = contents(path, &file)?;
        let Some(end) = bytes.iter().position(|&b| b == b'\n') else {
            return Ok(None);
        };
        let first = String::from_utf8_lossy(&bytes[..end]).into_owned();
        Ok(Some((first, parse(&bytes[end + 1..]).0)))
    }

    /// Removes the journal: the run is done.
    pub(super) fn remove(self) -> Result<()> {
        std::fs::remove_file(&self.path).map_err(|source| Error::io(&self.path, source))
    }
}

/// All bytes of an open journal.
fn contents(path: &Path, file: &File) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|source| Error::io(path, source))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(Error::input(path, "longer than any journal"));
    }
    Ok(bytes)
}

/// The whole lines that follow the first, and how many bytes they are. Whatever follows a line that was cut is of no use.
fn parse(bytes: &[u8]) -> (Vec<Record>, usize) {
    let mut records = Vec::new();
    let mut end = 0;
    for line in bytes.split_inclusive(|&b| b == b'\n') {
        let record = line
            .strip_suffix(b"\n")
            .and_then(|l| std::str::from_utf8(l).ok())
            .and_then(Record::parse);
        let Some(record) = record else { break };
        records.push(record);
        end += line.len();
    }
    (records, end)
}

/// A digest of everything that decides the bytes of a run: this program's version, the source's files, and for
/// every output its whole header and every tensor's source and importance.
///
/// A file of the source counts by its length, its time of change and samples of its bytes: reading all of it
/// would cost as much as the run.
///
/// # Errors
/// When a file of the source cannot be read or an output cannot be planned.
pub fn fingerprint(source: &dyn Source, outputs: &[OutputPlan<'_>]) -> Result<String> {
    let mut state = Sha256::new();
    let mut put = |part: &[u8]| {
        state.update((part.len() as u64).to_le_bytes());
        state.update(part);
    };
    put(MAGIC.as_bytes());
    put(env!("CARGO_PKG_VERSION").as_bytes());
    for path in source.files()? {
        let sample = sample(&path).map_err(|e| Error::Io { path, source: e })?;
        put(&sample);
    }
    // Importance is shared between outputs; each vector is digested once.
    let mut digests: Vec<(*const f32, [u8; 8])> = Vec::new();
    for output in outputs {
        put(output.path.as_os_str().as_encoded_bytes());
        put(&Sha256::digest(output.file_plan()?.header_bytes()?));
        for tensor in output.contents() {
            put(&(tensor.source as u64).to_le_bytes());
            let Some(importance) = &tensor.importance else {
                continue;
            };
            let known = digests.iter().find(|(p, _)| *p == importance.as_ptr());
            let digest = known.map_or_else(
                || {
                    let bytes: Vec<u8> = importance.iter().flat_map(|v| v.to_le_bytes()).collect();
                    xxh64(&bytes, 0).to_le_bytes()
                },
                |(_, digest)| *digest,
            );
            if known.is_none() {
                digests.push((importance.as_ptr(), digest));
            }
            put(&digest);
        }
    }
    Ok(hex(&state.finalize()))
}

fn sample(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let status = file.metadata()?;
    let changed = status.modified()?.duration_since(std::time::UNIX_EPOCH);
    let mut bytes = path.as_os_str().as_encoded_bytes().to_vec();
    bytes.extend(status.len().to_le_bytes());
    bytes.extend(changed.unwrap_or_default().as_nanos().to_le_bytes());
    for i in 0..SAMPLES {
        // From the first byte to the last.
        let last = status.len().saturating_sub(SAMPLE_BYTES);
        let at = (u128::from(last) * u128::from(i) / u128::from(SAMPLES - 1)) as u64;
        file.seek(SeekFrom::Start(at))?;
        let mut part = Vec::new();
        (&file).take(SAMPLE_BYTES).read_to_end(&mut part)?;
        bytes.extend(xxh64(&part, 0).to_le_bytes());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_journal_keeps_its_whole_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let (journal, found) = of_run(&path, "run").unwrap();
        assert!(found.is_empty());
        for i in 0..3u8 {
            journal.add(1, 2, u64::from(i) * 10, &[i; 10]).unwrap();
        }
        assert!(of_run(&path, "run").is_err(), "it is locked");
        drop(journal);
        let whole = std::fs::read(&path).unwrap();
        let line = whole.iter().position(|&b| b == b'\n').unwrap() + 1;
        for cut in 0..=whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let (_, found) = of_run(&path, "run").unwrap();
            let lines = whole[line.min(cut)..cut].iter().filter(|&&b| b == b'\n').count();
            assert_eq!(found.len(), lines, "cut to {cut}");
            assert!(found.iter().all(|r| r.output == 1 && r.length == 10));
        }
        // After a cut, new lines follow the whole ones.
        std::fs::write(&path, &whole[..whole.len() - 3]).unwrap();
        let (journal, found) = of_run(&path, "run").unwrap();
        assert_eq!(found.len(), 2);
        journal.add(0, 0, 0, b"x").unwrap();
        drop(journal);
        assert_eq!(of_run(&path, "run").unwrap().1.len(), 3);
    }

    #[test]
    fn damage_and_other_runs_are_seen() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let (journal, _) = of_run(&path, "run").unwrap();
        journal.add(0, 0, 0, b"bytes").unwrap();
        drop(journal);
        let message = of_run(&path, "other").unwrap_err().to_string();
        assert!(message.contains("journal of another run"), "{message}");
        let mut bytes = std::fs::read(&path).unwrap();
        let at = bytes.len() - 20;
        bytes[at] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        assert!(of_run(&path, "run").unwrap().1.is_empty());
    }
}
