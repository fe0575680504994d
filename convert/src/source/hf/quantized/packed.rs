//! compressed-tensors' `pack-quantized`: integers packed along the columns of each row.

use std::ops::Range;

use safetensors::Dtype;

use super::derived::Dequantize;
use super::stored::{Stored, field, mask};
use crate::Result;

/// Most columns a matrix may have; the groups of an activation order are held in memory.
const MAX_COLUMNS: u64 = 1 << 24;

/// Packing of fields in words. Widths that divide 32 lie alike in both ways.
#[derive(Clone, Copy, Debug)]
enum Packing {
    /// Without gaps, so that fields cross words, as newer versions of the library write them.
    Dense,
    /// `32 / bits` fields a word, the rest of it unused.
    Padded,
}

impl Packing {
    /// Words that hold `count` fields.
    fn words(self, bits: u32, count: u64) -> Option<u64> {
        match self {
            Self::Dense => count.checked_mul(bits.into()).map(|n| n.div_ceil(32)),
            Self::Padded => Some(count.div_ceil((32 / bits).into())),
        }
    }

    fn field(self, bits: u32, index: usize, word: impl Fn(usize) -> u32) -> u32 {
        match self {
            Self::Dense => field(bits, index, word),
            Self::Padded => {
                let fields = 32 / bits as usize;
                word(index / fields) >> (index % fields * bits as usize) & mask(bits)
            }
        }
    }
}

/// A matrix whose rows are runs of words.
#[derive(Debug)]
pub(super) struct Packed {
    /// Words `[rows, words of a row's columns]`.
    words: Stored,
    /// `[rows, groups]`, or one for all.
    scale: Stored,
    /// Words `[words of all rows, groups]`.
    zero_point: Option<Stored>,
    packing: Packing,
    /// The group of each column, when they are not in order.
    order: Option<Vec<u32>>,
    bits: u32,
    shape: [u64; 2],
    group_size: u64,
}

/// The stored tensors of a matrix.
pub(super) struct Parts {
    pub(super) packed: Stored,
    pub(super) scale: Stored,
    pub(super) shape: Stored,
    pub(super) zero_point: Option<Stored>,
    pub(super) g_idx: Option<Stored>,
}

impl Packed {
    /// `widths` are the numbers of bits that the configuration names.
    ///
    /// # Errors
    /// Shapes and dtypes that do not fit.
    pub(super) fn new(parts: Parts, widths: &[u32]) -> Result<Self> {
        let Parts {
            packed,
            scale,
            shape,
            zero_point,
            g_idx,
        } = parts;
        packed.expect_dtype(&[Dtype::I32])?;
        let [found_rows, columns] = stated_shape(&shape)?;
        let [rows, width] = packed.matrix()?;
        let packing = |bits: u32| {
            [Packing::Dense, Packing::Padded]
                .into_iter()
                .find(|p| (1..=8).contains(&bits) && p.words(bits, columns) == Some(width))
                .map(|p| (bits, p))
        };
        let found = widths.iter().copied().find_map(packing);
        let found = found.filter(|_| found_rows == rows && (1..=MAX_COLUMNS).contains(&columns));
        let Some((bits, packing)) = found else {
            return Err(packed.fail(format!(
                "expected words of [{found_rows}, {columns}] fields of {widths:?} bits, found {rows} rows of {width}"
            )));
        };
        let one_scale = scale.entry.elements() == 1;
        let groups = match scale.shape() {
            _ if one_scale => 1,
            &[n] if n == rows => 1,
            &[n, groups] if n == rows && groups > 0 => groups,
            other => {
                return Err(scale.fail(format!("expected the shape [{rows}, groups], found {other:?}")));
            }
        };
        if columns % groups != 0 {
            return Err(scale.fail(format!(
                "expected groups that divide {columns} columns, found {groups}"
            )));
        }
        scale.element()?;
        if let Some(zero) = &zero_point {
            let lines = packing.words(bits, rows).unwrap_or(u64::MAX);
            zero.expect(&[Dtype::I32], &[lines, groups])?;
        }
        let order = match g_idx {
            Some(index) => order(&index, columns, groups)?,
            None => None,
        };
        Ok(Self {
            words: packed,
            scale,
            zero_point,
            packing,
            order,
            bits,
            shape: [rows, columns],
            group_size: columns / groups,
        })
    }

    /// The shape of the weights.
    pub(super) fn shape(&self) -> Vec<u64> {
        self.shape.to_vec()
    }
}

/// The rows and columns that stand beside the words.
fn stated_shape(shape: &Stored) -> Result<[u64; 2]> {
    shape.expect(&[Dtype::I64, Dtype::I32], &[2])?;
    let bytes = shape.small(16)?;
    let numbers: Vec<u64> = bytes
        .chunks_exact(bytes.len() / 2)
        .map(|bytes| {
            let mut wide = [0; 8];
            wide[..bytes.len()].copy_from_slice(bytes);
            u64::from_le_bytes(wide)
        })
        .collect();
    numbers
        .try_into()
        .map_err(|found: Vec<u64>| shape.fail(format!("expected two numbers, found {}", found.len())))
}

/// The group of each column; `None` where the indices were never filled.
fn order(index: &Stored, columns: u64, groups: u64) -> Result<Option<Vec<u32>>> {
    index.expect(&[Dtype::I32], &[columns])?;
    let bytes = index.bytes(0, index.entry.bytes)?;
    let numbers: Vec<i32> = bytes
        .as_chunks::<4>()
        .0
        .iter()
        .map(|b| i32::from_le_bytes(*b))
        .collect();
    // -1 stands for an index that was never filled.
    if numbers.contains(&-1) {
        return Ok(None);
    }
    let group = |&n: &i32| {
        let group = u32::try_from(n).ok().filter(|&n| u64::from(n) < groups);
        group.ok_or_else(|| index.fail(format!("expected groups below {groups}, found {n}")))
    };
    numbers.iter().map(group).collect::<Result<Vec<u32>>>().map(Some)
}

impl Dequantize for Packed {
    fn rows(&self, rows: Range<u64>, out: &mut [f32]) -> Result<()> {
        let [_, columns] = self.shape;
        let groups = columns / self.group_size;
        let width = self.words.shape()[1];
        let words = self.words.words(rows.clone(), 0..width)?;
        let one_scale = self.scale.entry.elements() == 1;
        for ((row, out), words) in rows
            .zip(out.chunks_exact_mut(columns as usize))
            .zip(words.chunks_exact(width as usize))
        {
            let scales = self
                .scale
                .floats(if one_scale { 0 } else { row * groups }, groups)?;
            let zeros: Option<Vec<i32>> = match &self.zero_point {
                Some(zero) => {
                    // The row's fields begin in one of these lines and may end in the next.
                    let first = match self.packing {
                        Packing::Dense => row * u64::from(self.bits) / 32,
                        Packing::Padded => row / u64::from(32 / self.bits),
                    };
                    let lines = zero.words(first..(first + 2).min(zero.shape()[0]), 0..groups)?;
                    let at = |group: usize| {
                        let word = |line| lines[(line - first as usize) * groups as usize + group];
                        self.packing.field(self.bits, row as usize, word) as i32
                    };
                    Some((0..groups as usize).map(at).collect())
                }
                None => None,
            };
            for (column, x) in out.iter_mut().enumerate() {
                let group = match &self.order {
                    Some(order) => order[column] as usize,
                    None => column / self.group_size as usize,
                };
                let zero = zeros.as_ref().map_or(1 << (self.bits - 1), |z| z[group]);
                let value = self.packing.field(self.bits, column, |word| words[word]) as i32;
                *x = (value - zero) as f32 * scales[group];
            }
        }
        Ok(())
    }
}
