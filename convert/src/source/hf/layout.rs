//! Layout: positions of an output tensor's rows in the checkpoint, and the way they are read.
//!
//! Almost every transform is a rearrangement of the outermost dimension: a row of the output is a row of the
//! checkpoint at another place. The exception is the exchange of rows and columns, where a row of the output
//! is gathered from all rows of the checkpoint. Nothing larger than the rows asked for is ever held.

use std::ops::Range;

use gguf::TensorType;
use half::f16;

use super::element::Element;
use super::parts::Parts;
use crate::arch::{InSteps, Rows, Strided};
use crate::{Error, Result};

/// Bytes read from a file at a time.
const READ_BYTES: u64 = 1 << 20;

/// Map of each element's value.
#[derive(Clone, Copy, Debug)]
pub(super) enum Values {
    AsStored,
    Add(f32),
    Multiply(f32),
    Map(fn(f32) -> f32),
    InSteps(InSteps),
}

/// Units of one stored tensor. A unit is a row of a matrix, or an element of a vector.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    /// The file and the offset of the tensor's first unit in it.
    pub(super) file: usize,
    pub(super) offset: u64,
    pub(super) units: Strided,
    /// Output units before this piece.
    first: u64,
}

/// A run of units that lie together in one file.
struct Run {
    piece: usize,
    /// First unit in the stored tensor.
    start: u64,
    units: u64,
}

/// The place of a tensor's elements.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    pub(super) element: Element,
    /// Elements in a unit.
    pub(super) unit_len: u64,
    /// In output order.
    pieces: Vec<Piece>,
    /// Units of all pieces. Whatever is read beyond them is zero.
    units: u64,
    /// Set for a matrix that is stored with rows and columns exchanged: its stored columns are the units.
    pub(super) transposed: bool,
    pub(super) values: Values,
    /// Last factor of every value, in single precision.
    pub(super) scale: f32,
}

impl Layout {
    pub(super) fn new(element: Element, unit_len: u64) -> Self {
        Self {
            element,
            unit_len,
            pieces: Vec::new(),
            units: 0,
            transposed: false,
            values: Values::AsStored,
            scale: 1.0,
        }
    }

    /// Appends units of the stored tensor at `offset` of a file.
    pub(super) fn push(&mut self, (file, offset): (usize, u64), rows: &Rows) {
        for &units in &rows.0 {
            let first = self.units;
            self.units += units.len();
            self.pieces.push(Piece {
                file,
                offset,
                units,
                first,
            });
        }
    }

    /// The type of the blocks that the rows are, if they are blocks.
    pub(super) fn blocks(&self) -> Option<TensorType> {
        match self.element {
            Element::Blocks(ty) => Some(ty),
            _ => None,
        }
    }

    /// The offsets of the stored tensors, in output order.
    pub(super) fn offsets(&self) -> Vec<u64> {
        self.sources().into_iter().map(|(_, offset)| offset).collect()
    }

    /// File and position in it of the stored tensors.
    pub(super) fn sources(&self) -> Vec<(usize, u64)> {
        let mut sources: Vec<_> = self.pieces.iter().map(|p| (p.file, p.offset)).collect();
        sources.dedup();
        sources
    }

    /// Whether the stored bytes are those of an output of type `ty`.
    pub(super) fn is_stored_as(&self, ty: TensorType) -> bool {
        let as_stored = matches!(self.values, Values::AsStored) && self.scale == 1.0;
        as_stored && !self.transposed && self.element.tensor_type() == Some(ty)
    }

    /// The stored bytes of a range of elements that begins and ends with units.
    pub(super) fn read_bytes(&self, parts: &Parts, elements: Range<u64>) -> Result<Vec<u8>> {
        let unit_bytes = self.element.bytes_of(self.unit_len);
        let units = elements.start / self.unit_len..elements.end / self.unit_len;
        let mut out = vec![0u8; ((units.end - units.start) * unit_bytes) as usize];
        let mut rest = out.as_mut_slice();
        for run in self.runs(units) {
            let (head, tail) = std::mem::take(&mut rest).split_at_mut((run.units * unit_bytes) as usize);
            let piece = &self.pieces[run.piece];
            parts.files[piece.file].read_at(piece.offset + run.start * unit_bytes, head)?;
            rest = tail;
        }
        Ok(out)
    }

    /// The values of a range of elements that begins and ends with units.
    pub(super) fn read_values(&self, parts: &Parts, elements: Range<u64>, out: &mut [f32]) -> Result<()> {
        let units = elements.start / self.unit_len..elements.end / self.unit_len;
        if self.transposed {
            return self.read_columns(parts, units, out);
        }
        let (block, block_bytes) = self.element.block();
        let step = READ_BYTES / block_bytes * block_bytes;
        let unit_bytes = self.element.bytes_of(self.unit_len);
        let mut buffer = Vec::new();
        let mut rest = out;
        for run in self.runs(units) {
            let piece = &self.pieces[run.piece];
            let mut at = piece.offset + run.start * unit_bytes;
            let end = at + run.units * unit_bytes;
            while at < end {
                let length = (end - at).min(step);
                buffer.resize(length as usize, 0u8);
                parts.files[piece.file].read_at(at, &mut buffer)?;
                let elements = (length / block_bytes * block) as usize;
                let (head, tail) = std::mem::take(&mut rest).split_at_mut(elements);
                self.decode(&buffer, head)
                    .map_err(|source| codec_error(parts, piece, at, source))?;
                rest = tail;
                at += length;
            }
        }
        rest.fill(0.0);
        Ok(())
    }

    /// The stored columns of a range, as rows: of every stored row, the range's part.
    fn read_columns(&self, parts: &Parts, columns: Range<u64>, out: &mut [f32]) -> Result<()> {
        let rows = self.unit_len;
        let Some(piece) = self.pieces.first() else {
            return Ok(());
        };
        let count = (columns.end - columns.start) as usize;
        let mut buffer = vec![0u8; self.element.bytes_of(count as u64) as usize];
        let mut values = vec![0f32; count];
        for row in 0..rows {
            let at = piece.offset + self.element.bytes_of(row * self.units + columns.start);
            parts.files[piece.file].read_at(at, &mut buffer)?;
            self.decode(&buffer, &mut values)
                .map_err(|source| codec_error(parts, piece, at, source))?;
            for (column, value) in values.iter().enumerate() {
                out[column * rows as usize + row as usize] = *value;
            }
        }
        Ok(())
    }

    fn decode(&self, bytes: &[u8], out: &mut [f32]) -> Result<(), quants::Error> {
        self.element.decode(bytes, out)?;
        let map = |out: &mut [f32], f: &dyn Fn(f32) -> f32| {
            for x in out {
                *x = f(*x);
                // The stock converter computes in the type it loaded, which for f16 is f16.
                if self.element == Element::F16 {
                    *x = f16::from_f32(*x).to_f32();
                }
            }
        };
        match self.values {
            Values::AsStored => {}
            Values::Add(n) => map(out, &|x| x + n),
            Values::Multiply(n) => map(out, &|x| x * n),
            Values::Map(f) => map(out, &f),
            Values::InSteps(f) => out
                .iter_mut()
                .for_each(|x| *x = f(*x, &|x| self.element.rounded(x))),
        }
        if self.scale != 1.0 {
            out.iter_mut().for_each(|x| *x *= self.scale);
        }
        Ok(())
    }

    /// The runs that make up a range of output units, in order.
    fn runs(&self, units: Range<u64>) -> impl Iterator<Item = Run> {
        let end = units.end.min(self.units);
        let mut at = units.start;
        let mut piece = self.pieces.partition_point(|p| p.first <= at).saturating_sub(1);
        std::iter::from_fn(move || {
            if at >= end {
                return None;
            }
            while self.pieces.get(piece + 1).is_some_and(|next| next.first <= at) {
                piece += 1;
            }
            let found = self.pieces.get(piece)?;
            let (start, length) = found.units.locate(at - found.first);
            let length = length.min(end - at);
            at += length;
            Some(Run {
                piece,
                start,
                units: length,
            })
        })
    }
}

fn codec_error(parts: &Parts, piece: &Piece, at: u64, source: quants::Error) -> Error {
    Error::Codec {
        path: parts.files[piece.file].path().to_path_buf(),
        tensor: format!("at offset {at}"),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order_of(pieces: &[Rows], units: Range<u64>) -> Vec<(usize, u64)> {
        let mut layout = Layout::new(Element::F32, 1);
        for rows in pieces {
            layout.push((0, 0), rows);
        }
        layout
            .runs(units)
            .flat_map(|r| (r.start..r.start + r.units).map(move |u| (r.piece, u)))
            .collect()
    }

    #[test]
    fn heads_are_interleaved() {
        let rows = [Rows::interleaved(0, 2, 4)];
        let units: Vec<u64> = order_of(&rows, 0..8).into_iter().map(|(_, u)| u).collect();
        assert_eq!(units, [0, 2, 1, 3, 4, 6, 5, 7]);
        assert_eq!(order_of(&rows, 5..7), [(0, 6), (0, 5)]);
    }

    #[test]
    fn halves_are_taken_matrix_by_matrix() {
        let half = |start| [Rows(vec![Strided::new(start, &[(3, 4), (2, 1)])])];
        let first = order_of(&half(0), 0..6);
        assert_eq!(first.iter().map(|r| r.1).collect::<Vec<_>>(), [0, 1, 4, 5, 8, 9]);
        let second = order_of(&half(2), 1..4);
        assert_eq!(second.iter().map(|r| r.1).collect::<Vec<_>>(), [3, 6, 7]);
    }

    #[test]
    fn nothing_is_read_beyond_the_pieces() {
        let pieces = [Rows::range(0, 2), Rows::range(0, 1)];
        assert_eq!(order_of(&pieces, 1..9), [(0, 1), (1, 0)]);
        assert_eq!(order_of(&pieces, 4..9), []);
    }

    #[test]
    fn pieces_follow_one_another() {
        let pieces = [Rows::range(0, 2), Rows::range(0, 2), Rows::range(0, 2)];
        assert_eq!(order_of(&pieces, 1..5), [(0, 1), (1, 0), (1, 1), (2, 0)]);
    }
}
