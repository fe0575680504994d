//! Tensors that are computed from others as they are read.
//!
//! To the rest of the source they are a file like any other, whose bytes are f32 in little-endian order or
//! GGUF blocks. What is computed is kept a tile at a time, since the readers of reordered heads come back
//! to the rows beside those they read.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use gguf::TensorType;
use safetensors::Dtype;

use super::super::tensor_file::{Entry, TensorFile};
use crate::{Error, Result};

/// Bytes computed at a time, unless one row has more.
const TILE_BYTES: u64 = 1 << 20;

/// Tiles kept.
const TILES: usize = 16;

/// Weights computed from stored tensors. Rows are counted over all outer dimensions.
pub(super) trait Dequantize: fmt::Debug + Send + Sync {
    /// Computes whole rows.
    fn rows(&self, rows: Range<u64>, out: &mut [f32]) -> Result<()>;
}

/// GGUF blocks made of stored tensors by moving bits.
pub(super) trait Repack: fmt::Debug + Send + Sync {
    /// Makes whole rows.
    fn rows(&self, rows: Range<u64>, out: &mut [u8]) -> Result<()>;
}

/// Derivation of a tensor.
#[derive(Debug)]
pub(super) enum Derivation {
    Values(Box<dyn Dequantize>),
    Blocks(TensorType, Box<dyn Repack>),
}

#[derive(Debug)]
struct Tile {
    tensor: usize,
    number: u64,
    bytes: Arc<Vec<u8>>,
}

/// All computed tensors of a checkpoint.
#[derive(Debug)]
pub(super) struct DerivedFile {
    path: PathBuf,
    entries: Vec<Entry>,
    derivations: Vec<Derivation>,
    tiles: Mutex<VecDeque<Tile>>,
    end: u64,
}

impl DerivedFile {
    /// Without tensors yet; `path` is for messages.
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.to_path_buf(),
            entries: Vec::new(),
            derivations: Vec::new(),
            tiles: Mutex::new(VecDeque::new()),
            end: 0,
        }
    }

    /// Adds a tensor and returns its place among the entries.
    ///
    /// # Errors
    /// A size that no file has, or rows that are no whole blocks.
    pub(super) fn add(&mut self, name: String, shape: Vec<u64>, derivation: Derivation) -> Result<usize> {
        let (dtype, blocks) = match &derivation {
            Derivation::Values(_) => (Dtype::F32, None),
            Derivation::Blocks(ty, _) => (Dtype::U8, Some(*ty)),
        };
        let row_len = shape.last().copied().unwrap_or(1);
        let row_bytes = blocks.unwrap_or(TensorType::F32).row_bytes(row_len);
        let outer = &shape[..shape.len().saturating_sub(1)];
        let rows = outer.iter().try_fold(1u64, |n, &d| n.checked_mul(d));
        let bytes = row_bytes
            .zip(rows)
            .and_then(|(bytes, rows)| bytes.checked_mul(rows));
        let end = bytes
            .and_then(|n| self.end.checked_add(n))
            .filter(|&n| n <= i64::MAX as u64);
        let (Some(bytes), Some(end)) = (bytes, end) else {
            return Err(Error::input(
                &self.path,
                format!("tensor '{name}': expected a shape that a tensor can have, found {shape:?}"),
            ));
        };
        self.entries.push(Entry {
            name,
            dtype,
            blocks,
            shape,
            offset: self.end,
            bytes,
        });
        self.derivations.push(derivation);
        self.end = end;
        Ok(self.entries.len() - 1)
    }

    /// The bytes of a tile of `tile_rows` rows.
    fn tile(&self, tensor: usize, number: u64, tile_rows: u64, row_bytes: u64) -> Result<Arc<Vec<u8>>> {
        let is_it = |t: &Tile| t.tensor == tensor && t.number == number;
        {
            let mut tiles = self.tiles.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(at) = tiles.iter().position(is_it)
                && let Some(tile) = tiles.remove(at)
            {
                let bytes = tile.bytes.clone();
                tiles.push_back(tile);
                return Ok(bytes);
            }
        }
        let entry = &self.entries[tensor];
        let start = number * tile_rows;
        let rows = start..(start + tile_rows).min(entry.rows());
        let length = (rows.end - rows.start) * row_bytes;
        let bytes = match &self.derivations[tensor] {
            Derivation::Values(source) => {
                let mut values = vec![0f32; (length / 4) as usize];
                source.rows(rows, &mut values)?;
                values.iter().flat_map(|x| x.to_le_bytes()).collect()
            }
            Derivation::Blocks(_, source) => {
                let mut bytes = vec![0; length as usize];
                source.rows(rows, &mut bytes)?;
                bytes
            }
        };
        let bytes = Arc::new(bytes);
        // A row that is larger than a tile is not kept: the tiles together have a bound.
        if length <= TILE_BYTES {
            let mut tiles = self.tiles.lock().unwrap_or_else(PoisonError::into_inner);
            if tiles.len() >= TILES {
                tiles.pop_front();
            }
            tiles.push_back(Tile {
                tensor,
                number,
                bytes: bytes.clone(),
            });
        }
        Ok(bytes)
    }
}

impl TensorFile for DerivedFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn entries(&self) -> &[Entry] {
        &self.entries
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        let outside = || {
            Error::input(
                &self.path,
                format!("expected an offset in a computed tensor, found {offset}"),
            )
        };
        let tensor = self
            .entries
            .partition_point(|e| e.offset <= offset)
            .checked_sub(1)
            .ok_or_else(outside)?;
        let entry = &self.entries[tensor];
        let mut at = offset - entry.offset;
        if at + out.len() as u64 > entry.bytes {
            return Err(outside());
        }
        let row_bytes = entry.bytes / entry.rows().max(1);
        let tile_rows = (TILE_BYTES / row_bytes.max(1)).max(1);
        let mut rest = out;
        while !rest.is_empty() {
            let number = at / (tile_rows * row_bytes);
            let tile = self.tile(tensor, number, tile_rows, row_bytes)?;
            let within = (at - number * tile_rows * row_bytes) as usize;
            let length = rest.len().min(tile.len() - within);
            let (head, tail) = std::mem::take(&mut rest).split_at_mut(length);
            head.copy_from_slice(&tile[within..within + length]);
            rest = tail;
            at += length as u64;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The value of each element is its number.
    #[derive(Debug)]
    struct Numbers(u64);

    impl Dequantize for Numbers {
        fn rows(&self, rows: Range<u64>, out: &mut [f32]) -> Result<()> {
            for (x, n) in out.iter_mut().zip(rows.start * self.0..) {
                *x = n as f32;
            }
            Ok(())
        }
    }

    #[test]
    fn any_range_is_what_the_whole_has_there() {
        let mut file = DerivedFile::new(Path::new("f"));
        for (name, shape) in [("a", vec![3, 5]), ("b", vec![2, 400, 700])] {
            let source = Derivation::Values(Box::new(Numbers(*shape.last().unwrap())));
            file.add(name.into(), shape, source).unwrap();
        }
        let b = &file.entries()[1];
        for (start, count) in [
            (0u64, 3usize),
            (699, 2),
            (262_143, 5),
            (400 * 700 - 1, 1),
            (5, 300_000),
        ] {
            let mut out = vec![0; count * 4];
            file.read_at(b.offset + start * 4, &mut out).unwrap();
            for (i, x) in out.as_chunks::<4>().0.iter().enumerate() {
                assert_eq!(f32::from_le_bytes(*x), (start + i as u64) as f32);
            }
        }
        let mut out = [0; 8];
        assert!(file.read_at(b.offset + b.bytes - 4, &mut out).is_err());
        let huge = Derivation::Values(Box::new(Numbers(1)));
        assert!(file.add("c".into(), vec![u64::MAX / 2, 9], huge).is_err());
    }
}
