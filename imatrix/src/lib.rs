#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod accumulate;
mod combine;
mod coverage;
mod entries;
mod error;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod gguf_form;
mod legacy;
pub mod part;
mod save;
mod statistics;

use std::fs::File;
use std::io::{BufReader, Read as _, Seek as _};
use std::path::Path;

pub use accumulate::{Accumulator, ShapeChanged};
pub use combine::Mismatch;
pub use coverage::{FEW_TOKENS, Gap};
pub use entries::Entries;
pub use error::{Error, Result};
pub use statistics::{LayerStatistics, TensorStatistics, layers};

/// File format that a matrix came from; the sums of the two differ in meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Form {
    /// `NAME.in_sum2` and `NAME.counts` tensors in a GGUF file: plain sums, and tokens counted for
    /// each matrix.
    #[default]
    Gguf,
    /// The older `.dat` format: means already, times the number of calls.
    Legacy,
}

/// Sums and counts of one tensor.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Entry {
    /// Sums of squared inputs: one per column, matrix after matrix for stacked experts.
    pub sums: Vec<f32>,
    /// Tokens (legacy form: calls) that went into the sums of each matrix.
    pub counts: Vec<f32>,
}

/// An importance matrix as a file holds it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ImportanceMatrix {
    /// Entries by tensor name, in file order.
    pub entries: Entries,
    /// The texts it was made from, as recorded.
    pub datasets: Vec<String>,
    /// Windows of text it was made from; 0 when not recorded.
    pub chunk_count: u32,
    /// Tokens in a window; 0 when not recorded (the legacy form never does).
    pub chunk_size: u32,
    /// The file format, on which the meaning of the sums depends.
    pub form: Form,
}

impl ImportanceMatrix {
    /// Reads a file of either format, told apart by their first bytes.
    ///
    /// # Errors
    /// When the file cannot be read, is truncated, has no entries, or its sums and counts do not fit
    /// each other.
    pub fn load(path: &Path) -> Result<Self> {
        let io = |source| Error::Io {
            path: path.to_path_buf(),
            source,
        };
        let mut file = File::open(path).map_err(io)?;
        let length = file.metadata().map_err(io)?.len();
        let mut magic = Vec::new();
        (&mut file).take(4).read_to_end(&mut magic).map_err(io)?;
        if magic == b"GGUF" {
            return Ok(gguf_form::load(path)?.0);
        }
        file.rewind().map_err(io)?;
        legacy::parse(BufReader::new(file), length, path).map_err(|e| {
            match gguf::foreign::describe_file(path) {
                Some(what) => Error::NotAnImatrix {
                    path: path.to_path_buf(),
                    subject: "file".to_owned(),
                    found: what.to_owned(),
                    expected: "an importance matrix".to_owned(),
                },
                None => e,
            }
        })
    }

    /// Reads what [`ImportanceMatrix::save_checkpoint`] wrote, and what it says of the run; nothing, where the
    /// file is no checkpoint.
    ///
    /// # Errors
    /// As [`ImportanceMatrix::load`].
    pub fn load_checkpoint(path: &Path) -> Result<(Self, Vec<String>)> {
        gguf_form::load(path)
    }

    /// The importance of each column of a tensor, matrix after matrix, as llama-quantize computes
    /// it: the mean of the squared inputs, and 1 for an expert that saw no token.
    pub fn values(&self, name: &str) -> Option<Vec<f32>> {
        let entry = self.entries.get(name)?;
        Some(match self.form {
            Form::Gguf => {
                let columns = entry.sums.len() / entry.counts.len().max(1);
                let mut values = Vec::with_capacity(entry.sums.len());
                for (sums, &count) in entry.sums.chunks(columns.max(1)).zip(&entry.counts) {
                    // Counts are whole numbers that happen to be stored as floats.
                    let count = count.round();
                    if count > 0.0 {
                        values.extend(sums.iter().map(|s| s / count));
                    } else {
                        values.extend(sums.iter().map(|_| 1.0));
                    }
                }
                values
            }
            Form::Legacy => {
                let calls = entry.counts.first().copied().unwrap_or(0.0);
                let divisor = if calls > 0.0 { calls } else { 1.0 };
                entry.sums.iter().map(|s| s / divisor).collect()
            }
        })
    }
}
