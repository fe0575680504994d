//! Learned blocks on disk, layer after layer: memory holds one layer's, and a run that was killed goes on where the last
//! whole layer ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufReader, Read, Seek as _, SeekFrom, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use convert::plan::Encoder;
use convert::scratch::Scratch;
use gguf::TensorType;
use sha2::{Digest as _, Sha256};

use crate::report::{Kept, Learned};
use crate::{Error, Result};

/// Name and version of the format.
const MAGIC: &str = "quantsmith-layers 2";
/// Longest name of a tensor that is read back.
const MAX_NAME: u64 = 1 << 12;
/// Bytes of a digest.
const DIGEST: usize = 32;

/// A tensor's blocks in the file, and what is said of them.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) learned: Learned,
    pub(crate) ty: TensorType,
    at: u64,
    length: u64,
}

/// A tensor on its way into the file: what is said of it, its type and its blocks.
pub(crate) type Filled = (Learned, TensorType, Arc<[u8]>);

/// The file.
#[derive(Debug)]
pub(crate) struct Ledger {
    path: PathBuf,
    file: Mutex<File>,
    /// The folder it is in, where nobody is to find it later.
    _folder: Option<Scratch>,
}

impl Ledger {
    /// A file that goes with this process, in a folder of its own.
    pub(super) fn temporary(folder: Scratch) -> Result<Self> {
        let path = folder.path().join("layers");
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)
            .map_err(|source| io(&path, source))?;
        Ok(Self {
            path,
            file: Mutex::new(file),
            _folder: Some(folder),
        })
    }

    /// The file of a run that can be continued, and the whole layers that it holds.
    ///
    /// # Errors
    /// A file of another run, or one that another process has open.
    pub(super) fn open(path: &Path, fingerprint: &str) -> Result<(Self, Vec<Vec<Entry>>)> {
        let refused = |what: &str| Error::Request(format!("{}: {what}", path.display()));
        match std::fs::symlink_metadata(path) {
            Ok(m) if !m.is_file() => return Err(refused("not a regular file")),
            _ => {}
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(|source| io(path, source))?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => return Err(refused("another process is at work on this run")),
            Err(TryLockError::Error(e)) if e.kind() != std::io::ErrorKind::Unsupported => {
                return Err(io(path, e));
            }
            _ => {}
        }
        let head = format!("{MAGIC} {fingerprint}\n");
        let length = file.metadata().map_err(|e| io(path, e))?.len();
        let mut reader = BufReader::new(&file);
        let mut found = Vec::new();
        (&mut reader)
            .take(head.len() as u64)
            .read_to_end(&mut found)
            .map_err(|e| io(path, e))?;
        let mut layers = Vec::new();
        let mut end = 0;
        if found == head.as_bytes() {
            end = found.len() as u64;
            while let Some((layer, next)) = read_layer(&mut reader, end, length) {
                layers.push(layer);
                end = next;
            }
        } else if found.contains(&b'\n') || found.len() == head.len() {
            return Err(refused(
                "these are the layers of another run: its inputs, its recipe or its text were others. Delete the file to \
                 start anew",
            ));
        }
        drop(reader);
        // Whatever follows the last whole layer was cut.
        file.set_len(end).map_err(|e| io(path, e))?;
        let ledger = Self {
            path: path.to_path_buf(),
            file: Mutex::new(file),
            _folder: None,
        };
        if end == 0 {
            ledger.append(head.as_bytes())?;
        }
        Ok((ledger, layers))
    }

    fn append(&self, bytes: &[u8]) -> Result<u64> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let at = file.seek(SeekFrom::End(0)).map_err(|e| io(&self.path, e))?;
        file.write_all(bytes).map_err(|e| io(&self.path, e))?;
        Ok(at)
    }

    /// Adds a layer's tensors, which count once all of them are there.
    pub(crate) fn add(&self, tensors: Vec<Filled>) -> Result<Vec<Entry>> {
        let mut digest = Sha256::new();
        let mut put = |bytes: &[u8]| {
            digest.update(bytes);
            self.append(bytes)
        };
        put(&(tensors.len() as u64).to_le_bytes())?;
        let mut entries = Vec::new();
        for (learned, ty, blocks) in tensors {
            put(&head(&learned, ty, blocks.len() as u64))?;
            let at = put(&blocks)?;
            entries.push(Entry {
                learned,
                ty,
                at,
                length: blocks.len() as u64,
            });
        }
        let digest = digest.finalize();
        self.append(&digest)?;
        Ok(entries)
    }

    /// A tensor's blocks.
    pub(crate) fn blocks(&self, entry: &Entry) -> Result<Arc<[u8]>> {
        let mut blocks = vec![0; entry.length as usize];
        self.read(entry.at, &mut blocks).map_err(|e| io(&self.path, e))?;
        Ok(Arc::from(blocks))
    }

    fn read(&self, at: u64, out: &mut [u8]) -> std::io::Result<()> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(at))?;
        file.read_exact(out)
    }
}

fn io(path: &Path, source: std::io::Error) -> Error {
    Error::Io {
        path: path.to_path_buf(),
        source,
    }
}

/// Head before a tensor's blocks.
fn head(learned: &Learned, ty: TensorType, length: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut put = |n: u64| bytes.extend(n.to_le_bytes());
    put(u64::from(ty.id()));
    put(match learned.kept {
        None => 0,
        Some(Kept::Type) => 1,
        Some(Kept::Inputs) => 2,
        Some(Kept::HeldOut) => 3,
    });
    put(learned.matrices.0 as u64);
    put(learned.matrices.1 as u64);
    put(u64::from(learned.ratios.is_some()));
    let (a, b) = learned.ratios.unwrap_or_default();
    put(a.to_bits());
    put(b.to_bits());
    put(length);
    put(learned.tensor.len() as u64);
    bytes.extend(learned.tensor.as_bytes());
    bytes
}

/// A whole layer at `at`, and where it ends; `None` where it is cut or damaged.
fn read_layer(from: &mut impl Read, mut at: u64, end: u64) -> Option<(Vec<Entry>, u64)> {
    let mut digest = Sha256::new();
    let mut take = |bytes: &mut [u8]| -> Option<()> {
        from.read_exact(bytes).ok()?;
        digest.update(&*bytes);
        at += bytes.len() as u64;
        Some(())
    };
    let mut number = [0; 8];
    take(&mut number)?;
    let count = u64::from_le_bytes(number);
    let mut entries = Vec::new();
    let mut passed = 8;
    for _ in 0..count {
        let mut numbers = [0; 9];
        for n in &mut numbers {
            take(&mut number)?;
            *n = u64::from_le_bytes(number);
        }
        let [ty, kept, all, stocks, known, a, b, length, name_length] = numbers;
        passed += 72 + name_length;
        if name_length > MAX_NAME || length > end {
            return None;
        }
        let mut name = vec![0; name_length as usize];
        take(&mut name)?;
        let start = passed;
        let mut buffer = vec![0; length.min(1 << 16) as usize];
        let mut left = length;
        while left > 0 {
            let part = left.min(buffer.len() as u64) as usize;
            take(&mut buffer[..part])?;
            left -= part as u64;
        }
        passed += length;
        entries.push(Entry {
            learned: Learned {
                tensor: String::from_utf8(name).ok()?,
                ratios: (known == 1).then(|| (f64::from_bits(a), f64::from_bits(b))),
                kept: match kept {
                    0 => None,
                    1 => Some(Kept::Type),
                    2 => Some(Kept::Inputs),
                    3 => Some(Kept::HeldOut),
                    _ => return None,
                },
                matrices: (all as usize, stocks as usize),
            },
            ty: TensorType::from_id(u32::try_from(ty).ok()?)?,
            at: start,
            length,
        });
    }
    let mut sum = [0; DIGEST];
    from.read_exact(&mut sum).ok()?;
    let base = at - passed;
    entries.iter_mut().for_each(|entry| entry.at += base);
    (digest.finalize()[..] == sum).then_some((entries, at + DIGEST as u64))
}

/// Learned blocks on their way to the pipeline.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) ledger: Arc<Ledger>,
    pub(super) entry: Entry,
}

impl Encoder for Stored {
    fn encode(
        &self,
        ty: TensorType,
        rows: Range<u64>,
        _weights: &[f32],
        _row_len: usize,
        _importance: Option<&[f32]>,
        out: &mut [u8],
    ) -> Result<(), quants::Error> {
        let per_row = out.len() as u64 / (rows.end - rows.start).max(1);
        let first = rows.start * per_row;
        let found = first + out.len() as u64;
        let read = (found <= self.entry.length).then(|| self.ledger.read(self.entry.at + first, out));
        match read {
            Some(Ok(())) => Ok(()),
            // The file was cut while we run, or the shapes are not those that were learned.
            _ => Err(quants::Error::EncodedLength {
                ty,
                expected: self.entry.length as usize,
                found: found as usize,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(seed: u8) -> Vec<(Learned, TensorType, Arc<[u8]>)> {
        let learned = |kept, ratios| Learned {
            tensor: format!("blk.{seed}.x"),
            ratios,
            kept,
            matrices: (3, usize::from(seed)),
        };
        vec![
            (
                learned(None, Some((0.5, 0.25))),
                TensorType::Q4_K,
                Arc::from(vec![seed; 144]),
            ),
            (
                learned(Some(Kept::HeldOut), None),
                TensorType::Q8_0,
                Arc::from(vec![seed + 1; 70_000]),
            ),
        ]
    }

    #[test]
    fn a_cut_file_keeps_its_whole_layers() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("layers");
        let (ledger, found) = Ledger::open(&path, "run").unwrap();
        assert!(found.is_empty());
        let mut ends = vec![std::fs::metadata(&path).unwrap().len()];
        for seed in 0..3 {
            ledger.add(layer(seed)).unwrap();
            ends.push(std::fs::metadata(&path).unwrap().len());
        }
        assert!(Ledger::open(&path, "run").is_err(), "it is locked");
        drop(ledger);
        let whole = std::fs::read(&path).unwrap();
        let cuts = ends
            .iter()
            .flat_map(|&end| [end.saturating_sub(1), end, end + 100]);
        for cut in cuts.chain([0, 5]).filter(|&cut| cut <= whole.len() as u64) {
            std::fs::write(&path, &whole[..cut as usize]).unwrap();
            let (ledger, found) = Ledger::open(&path, "run").unwrap();
            let count = ends[1..].iter().filter(|&&end| end <= cut).count();
            assert_eq!(found.len(), count, "cut to {cut}");
            for (seed, entries) in found.iter().enumerate() {
                for (entry, (learned, ty, blocks)) in entries.iter().zip(layer(seed as u8)) {
                    assert_eq!(ledger.blocks(entry).unwrap(), blocks);
                    assert_eq!((entry.ty, &entry.learned.tensor), (ty, &learned.tensor));
                    assert_eq!(entry.learned.ratios, learned.ratios);
                    assert_eq!(entry.learned.kept, learned.kept);
                    assert_eq!(entry.learned.matrices, learned.matrices);
                }
            }
            // What follows stands behind the whole ones.
            ledger.add(layer(7)).unwrap();
            drop(ledger);
            assert_eq!(Ledger::open(&path, "run").unwrap().1.len(), count + 1);
        }
    }

    #[test]
    fn damage_and_other_runs_are_seen() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("layers");
        let (ledger, _) = Ledger::open(&path, "run").unwrap();
        ledger.add(layer(0)).unwrap();
        drop(ledger);
        let message = Ledger::open(&path, "other").unwrap_err().to_string();
        assert!(message.contains("layers of another run"), "{message}");
        let mut bytes = std::fs::read(&path).unwrap();
        let at = bytes.len() - 50_000;
        bytes[at] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        assert!(Ledger::open(&path, "run").unwrap().1.is_empty());
    }
}
