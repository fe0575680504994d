//! One thread's work on one piece.

use super::Sink;
use super::jobs::{Job, Piece, Target};
use crate::source::Source;
use crate::{Error, Result};

/// Buffers of one thread, reused from piece to piece.
pub(super) struct Worker<'a, S: ?Sized> {
    source: &'a dyn Source,
    sink: &'a S,
    weights: Vec<f32>,
    blocks: Vec<u8>,
}

impl<'a, S: Sink + ?Sized> Worker<'a, S> {
    pub(super) fn new(source: &'a dyn Source, sink: &'a S) -> Self {
        Self {
            source,
            sink,
            weights: Vec::new(),
            blocks: Vec::new(),
        }
    }

    pub(super) fn execute(&mut self, job: &Job, piece: &Piece) -> Result<()> {
        let mut decoded = false;
        for target in &job.targets {
            if target.copied
                && let Some(bytes) = self.source.raw_rows(job.source, piece.rows.clone())?
            {
                self.check(job, piece, target, &bytes)?;
                put(self.sink, job, piece, target, &bytes)?;
                continue;
            }
            if !decoded {
                self.read(job, piece)?;
                decoded = true;
            }
            self.encode(job, piece, target)?;
            self.check(job, piece, target, &self.blocks)?;
            put(self.sink, job, piece, target, &self.blocks)?;
        }
        Ok(())
    }

    /// Reads and decodes the piece, and makes sure that all of it is finite.
    fn read(&mut self, job: &Job, piece: &Piece) -> Result<()> {
        let rows = (piece.rows.end - piece.rows.start) as usize;
        self.weights.resize(rows * job.row_len, 0.0);
        self.source
            .read_rows(job.source, piece.rows.clone(), &mut self.weights)?;
        // Summing up the test lets the compiler use vectors; the place is looked for only if needed.
        let bad = self.weights.iter().fold(false, |bad, w| bad | !w.is_finite());
        if bad && let Some(at) = self.weights.iter().position(|w| !w.is_finite()) {
            return Err(Error::NotFinite {
                path: self.source.path().to_path_buf(),
                tensor: self.name(job),
                row: piece.rows.start + (at / job.row_len) as u64,
                column: (at % job.row_len) as u64,
                found: self.weights[at],
            });
        }
        Ok(())
    }

    fn encode(&mut self, job: &Job, piece: &Piece, target: &Target) -> Result<()> {
        let row_bytes = target.ty.row_bytes(job.row_len as u64).unwrap_or(0) as usize;
        let rows = (piece.rows.end - piece.rows.start) as usize;
        self.blocks.resize(rows * row_bytes, 0);
        let mut row = piece.rows.start;
        // Stacked matrices have an importance vector each, so a run of rows ends with its matrix.
        while row < piece.rows.end {
            let matrix = row / job.rows_per_matrix;
            let end = ((matrix + 1) * job.rows_per_matrix).min(piece.rows.end);
            let (from, to) = (
                (row - piece.rows.start) as usize,
                (end - piece.rows.start) as usize,
            );
            let importance = target.importance.as_ref().map(|values| {
                let start = matrix as usize * job.row_len;
                &values[start..start + job.row_len]
            });
            let weights = &self.weights[from * job.row_len..to * job.row_len];
            let blocks = &mut self.blocks[from * row_bytes..to * row_bytes];
            match &target.encoder {
                None => quants::encode(target.ty, weights, job.row_len, importance, blocks),
                Some(encoder) => {
                    encoder.encode(target.ty, row..end, weights, job.row_len, importance, blocks)
                }
            }
            .map_err(|source| Error::Codec {
                path: self.source.path().to_path_buf(),
                tensor: self.name(job),
                source,
            })?;
            row = end;
        }
        Ok(())
    }

    /// Checks stored or encoded blocks as ggml does: no scale or element that is not finite.
    fn check(&self, job: &Job, piece: &Piece, target: &Target, bytes: &[u8]) -> Result<()> {
        quants::validate(target.ty, bytes).map_err(|invalid| {
            let weight = invalid.block * target.ty.block_len();
            Error::InvalidBlock {
                path: self.source.path().to_path_buf(),
                tensor: self.name(job),
                row: piece.rows.start + (weight / job.row_len) as u64,
                column: (weight % job.row_len) as u64,
                when: if target.copied { "stored" } else { "encoded" },
                source: invalid,
            }
        })
    }

    fn name(&self, job: &Job) -> String {
        self.source.tensors()[job.source].name.clone()
    }
}

fn put(sink: &(impl Sink + ?Sized), job: &Job, piece: &Piece, target: &Target, bytes: &[u8]) -> Result<()> {
    let row_bytes = target.ty.row_bytes(job.row_len as u64).unwrap_or(0);
    for &(output, tensor) in &target.wanted_by {
        sink.write(output, tensor, piece.rows.start * row_bytes, bytes)?;
    }
    Ok(())
}
