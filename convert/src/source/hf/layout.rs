//! Where the rows of an output tensor lie in the checkpoint, and how they are read.
//!
//! Every transform is a rearrangement of the outermost dimension, so a row of the output is a row of the
//! checkpoint at another place and nothing larger than the rows asked for is ever held.

use std::ops::Range;

use gguf::TensorType;
use half::f16;

use super::element::Element;
use super::parts::Parts;
use crate::{Error, Result};

/// Bytes read from a file at a time.
const READ_BYTES: u64 = 1 << 20;

/// How the outer dimension of a piece is rearranged. A unit is a row of a matrix, or an element of a
/// vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    AsStored,
    /// Heads of this many units, each stored as its even units, then its odd ones.
    Interleaved {
        head_units: u64,
    },
    /// Of every `2 * units` stored units, `units` from `start` on.
    Half {
        units: u64,
        start: u64,
    },
}

/// A run of units that lie together in one file.
struct Run {
    piece: usize,
    /// First unit in the piece.
    start: u64,
    units: u64,
}

/// The place of a tensor's elements.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    pub(super) element: Element,
    /// Elements in a unit.
    pub(super) unit_len: u64,
    /// Units that each piece contributes to the output.
    pub(super) piece_units: u64,
    /// (file, offset of the first unit), in output order.
    pub(super) pieces: Vec<(usize, u64)>,
    pub(super) order: Order,
    /// Whether one is added to every element.
    pub(super) add_one: bool,
}

impl Layout {
    /// Whether the stored bytes are those of an output of type `ty`.
    pub(super) fn is_stored_as(&self, ty: TensorType) -> bool {
        !self.add_one && self.element.tensor_type() == Some(ty)
    }

    /// The stored bytes of a range of elements that begins and ends with units.
    pub(super) fn read_bytes(&self, parts: &Parts, elements: Range<u64>) -> Result<Vec<u8>> {
        let unit_bytes = self.element.bytes_of(self.unit_len);
        let units = elements.start / self.unit_len..elements.end / self.unit_len;
        let mut out = vec![0u8; ((units.end - units.start) * unit_bytes) as usize];
        let mut rest = out.as_mut_slice();
        for run in self.runs(units) {
            let (head, tail) = std::mem::take(&mut rest).split_at_mut((run.units * unit_bytes) as usize);
            let (file, offset) = self.pieces[run.piece];
            parts.files[file].read_at(offset + run.start * unit_bytes, head)?;
            rest = tail;
        }
        Ok(out)
    }

    /// The values of a range of elements that begins and ends with units.
    pub(super) fn read_values(&self, parts: &Parts, elements: Range<u64>, out: &mut [f32]) -> Result<()> {
        let (block, block_bytes) = self.element.block();
        let step = READ_BYTES / block_bytes * block_bytes;
        let unit_bytes = self.element.bytes_of(self.unit_len);
        let units = elements.start / self.unit_len..elements.end / self.unit_len;
        let mut buffer = Vec::new();
        let mut rest = out;
        for run in self.runs(units) {
            let (file, offset) = self.pieces[run.piece];
            let mut at = offset + run.start * unit_bytes;
            let end = at + run.units * unit_bytes;
            while at < end {
                let length = (end - at).min(step);
                buffer.resize(length as usize, 0u8);
                parts.files[file].read_at(at, &mut buffer)?;
                let elements = (length / block_bytes * block) as usize;
                let (head, tail) = std::mem::take(&mut rest).split_at_mut(elements);
                self.decode(&buffer, head).map_err(|source| Error::Codec {
                    path: parts.files[file].path().to_path_buf(),
                    tensor: format!("at offset {at}"),
                    source,
                })?;
                rest = tail;
                at += length;
            }
        }
        Ok(())
    }

    fn decode(&self, bytes: &[u8], out: &mut [f32]) -> Result<(), quants::Error> {
        self.element.decode(bytes, out)?;
        if self.add_one {
            for x in out.iter_mut() {
                *x += 1.0;
                // The stock converter adds in the type it loaded, which for f16 is f16.
                if self.element == Element::F16 {
                    *x = f16::from_f32(*x).to_f32();
                }
            }
        }
        Ok(())
    }

    /// The runs that make up a range of output units, in order.
    fn runs(&self, units: Range<u64>) -> impl Iterator<Item = Run> {
        let (piece_units, order) = (self.piece_units, self.order);
        let mut at = units.start;
        std::iter::from_fn(move || {
            if at >= units.end {
                return None;
            }
            let (piece, within) = ((at / piece_units) as usize, at % piece_units);
            let left = (units.end - at).min(piece_units - within);
            let (start, length) = match order {
                Order::AsStored => (within, left),
                Order::Interleaved { head_units } => {
                    let (head, row) = (within / head_units, within % head_units);
                    (head * head_units + row % 2 * (head_units / 2) + row / 2, 1)
                }
                Order::Half { units, start } => {
                    let (matrix, row) = (within / units, within % units);
                    (matrix * 2 * units + start + row, left.min(units - row))
                }
            };
            at += length;
            Some(Run {
                piece,
                start,
                units: length,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order_of(order: Order, piece_units: u64, pieces: usize, units: Range<u64>) -> Vec<(usize, u64)> {
        let layout = Layout {
            element: Element::F32,
            unit_len: 1,
            piece_units,
            pieces: vec![(0, 0); pieces],
            order,
            add_one: false,
        };
        layout
            .runs(units)
            .flat_map(|r| (r.start..r.start + r.units).map(move |u| (r.piece, u)))
            .collect()
    }

    #[test]
    fn heads_are_interleaved() {
        let order = Order::Interleaved { head_units: 4 };
        let units: Vec<u64> = order_of(order, 8, 1, 0..8).into_iter().map(|(_, u)| u).collect();
        assert_eq!(units, [0, 2, 1, 3, 4, 6, 5, 7]);
        assert_eq!(order_of(order, 8, 1, 5..7), [(0, 6), (0, 5)]);
    }

    #[test]
    fn halves_are_taken_matrix_by_matrix() {
        let first = order_of(Order::Half { units: 2, start: 0 }, 6, 1, 0..6);
        assert_eq!(first.iter().map(|r| r.1).collect::<Vec<_>>(), [0, 1, 4, 5, 8, 9]);
        let second = order_of(Order::Half { units: 2, start: 2 }, 6, 1, 1..4);
        assert_eq!(second.iter().map(|r| r.1).collect::<Vec<_>>(), [3, 6, 7]);
    }

    #[test]
    fn pieces_follow_one_another() {
        assert_eq!(
            order_of(Order::AsStored, 2, 3, 1..5),
            [(0, 1), (1, 0), (1, 1), (2, 0)]
        );
    }
}
