//! 4-bit floats (E2M1) with scales: MXFP4 and NVFP4, repacked into ggml's blocks without loss, or
//! multiplied out.
//!
//! Both are stored as bytes of two codes, the even element in the lower half, and one scale for each group:
//! a power of two for 32 elements (MXFP4), an FP8 number for 16 and one more for the tensor (NVFP4). ggml's
//! blocks hold the first half of a group in the lower halves of the bytes and the second in the upper.

use std::ops::Range;

use gguf::TensorType;
use safetensors::Dtype;

use super::derived::{Dequantize, Repack};
use super::stored::Stored;
use crate::Result;

/// Elements that share an MXFP4 scale.
const MX_GROUP: u64 = 32;

/// Elements that share an NVFP4 scale.
const NV_GROUP: u64 = 16;

/// Groups in one of ggml's NVFP4 blocks.
const NV_GROUPS: u64 = 4;

/// The values of the sixteen codes.
const E2M1: [f32; 16] = [
    0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0,
];

/// Codes and scales of a tensor.
#[derive(Debug)]
struct Codes {
    codes: Stored,
    scales: Stored,
    group: u64,
    /// Shape of the weights.
    shape: Vec<u64>,
}

impl Codes {
    /// Codes are bytes `[.., columns / 2]`, or `[.., groups, bytes of a group]` as GPT-OSS has them; scales
    /// are `[.., groups]`.
    fn new(codes: Stored, scales: Stored, group: u64, dtypes: &[Dtype]) -> Result<Self> {
        // Bytes of two codes, whichever sign they are said to have.
        codes.expect_dtype(&[Dtype::U8, Dtype::I8])?;
        scales.expect_dtype(dtypes)?;
        let unfit = || {
            scales.fail(format!(
                "shape {:?} does not fit codes of {:?} in groups of {group}",
                scales.shape(),
                codes.shape()
            ))
        };
        let mut shape = scales.shape().to_vec();
        let Some(groups) = shape.last_mut() else {
            return Err(unfit());
        };
        let count = *groups;
        *groups = count.checked_mul(group).ok_or_else(unfit)?;
        let outer = &scales.shape()[..scales.shape().len() - 1];
        let mut flat = outer.to_vec();
        flat.push(*shape.last().unwrap_or(&0) / 2);
        let mut grouped = outer.to_vec();
        grouped.extend([count, group / 2]);
        if codes.shape() != flat && codes.shape() != grouped || shape.contains(&0) {
            return Err(unfit());
        }
        Ok(Self {
            codes,
            scales,
            group,
            shape,
        })
    }

    fn groups(&self) -> u64 {
        self.scales.entry.row_len()
    }

    /// Bytes of codes and of scales of some rows.
    fn read(&self, rows: &Range<u64>) -> Result<(Vec<u8>, Vec<u8>)> {
        let (count, groups) = (rows.end - rows.start, self.groups());
        let half = groups * self.group / 2;
        Ok((
            self.codes.bytes(rows.start * half, count * half)?,
            self.scales.bytes(rows.start * groups, count * groups)?,
        ))
    }
}

/// Moves the codes of a group from pairs to halves.
fn halves(pairs: &[u8], out: &mut [u8]) {
    let code = |i: usize| pairs[i / 2] >> (4 * (i % 2)) & 15;
    let half = pairs.len();
    for (j, byte) in out.iter_mut().enumerate().take(half) {
        *byte = code(j) | code(j + half) << 4;
    }
}

/// MXFP4 as ggml's blocks.
#[derive(Debug)]
pub(super) struct Mxfp4(Codes);

impl Mxfp4 {
    /// # Errors
    /// Other dtypes, or shapes that do not fit.
    pub(super) fn new(codes: Stored, scales: Stored) -> Result<Self> {
        Codes::new(codes, scales, MX_GROUP, &[Dtype::U8, Dtype::F8_E8M0]).map(Self)
    }

    /// Whether the last dimensions are those of bytes of two codes and of one scale for 32 of them, and the others
    /// are the same.
    pub(super) fn fits(codes: &[u64], scales: &[u64]) -> bool {
        let (Some((&bytes, rows)), Some((&groups, same))) = (codes.split_last(), scales.split_last()) else {
            return false;
        };
        rows == same && groups > 0 && groups.checked_mul(MX_GROUP / 2) == Some(bytes)
    }

    /// The shape of the weights.
    pub(super) fn shape(&self) -> Vec<u64> {
        self.0.shape.clone()
    }
}

impl Repack for Mxfp4 {
    fn rows(&self, rows: Range<u64>, out: &mut [u8]) -> Result<()> {
        let (codes, scales) = self.0.read(&rows)?;
        let block = TensorType::MXFP4.block_bytes();
        for ((out, codes), &scale) in out
            .chunks_exact_mut(block)
            .zip(codes.chunks_exact(MX_GROUP as usize / 2))
            .zip(&scales)
        {
            out[0] = scale;
            halves(codes, &mut out[1..]);
        }
        Ok(())
    }
}

/// NVFP4 as ggml's blocks; the tensor's own scale is not in them.
#[derive(Debug)]
pub(super) struct Nvfp4(Codes);

impl Nvfp4 {
    /// # Errors
    /// Other dtypes, or shapes that do not fit.
    pub(super) fn new(codes: Stored, scales: Stored) -> Result<Self> {
        Codes::new(codes, scales, NV_GROUP, &[Dtype::F8_E4M3]).map(Self)
    }

    /// Whether rows are whole blocks of ggml's.
    pub(super) fn has_whole_blocks(&self) -> bool {
        self.0.groups().is_multiple_of(NV_GROUPS)
    }

    /// The shape of the weights.
    pub(super) fn shape(&self) -> Vec<u64> {
        self.0.shape.clone()
    }

    /// The weights themselves: every code times its group's scale times `scale`.
    pub(super) fn multiplied(self, scale: f32) -> Nvfp4Values {
        Nvfp4Values { codes: self.0, scale }
    }
}

impl Repack for Nvfp4 {
    fn rows(&self, rows: Range<u64>, out: &mut [u8]) -> Result<()> {
        let (codes, scales) = self.0.read(&rows)?;
        let groups = NV_GROUPS as usize;
        for ((out, codes), scales) in out
            .chunks_exact_mut(TensorType::NVFP4.block_bytes())
            .zip(codes.chunks_exact(groups * NV_GROUP as usize / 2))
            .zip(scales.chunks_exact(groups))
        {
            let (head, tail) = out.split_at_mut(groups);
            for (to, from) in head.iter_mut().zip(scales) {
                *to = from & 0x7F;
            }
            for (out, codes) in tail
                .chunks_exact_mut(NV_GROUP as usize / 2)
                .zip(codes.chunks_exact(NV_GROUP as usize / 2))
            {
                halves(codes, out);
            }
        }
        Ok(())
    }
}

/// NVFP4 multiplied out.
#[derive(Debug)]
pub(super) struct Nvfp4Values {
    codes: Codes,
    scale: f32,
}

impl Dequantize for Nvfp4Values {
    fn rows(&self, rows: Range<u64>, out: &mut [f32]) -> Result<()> {
        let (codes, scales) = self.codes.read(&rows)?;
        for ((out, codes), &scale) in out
            .chunks_exact_mut(NV_GROUP as usize)
            .zip(codes.chunks_exact(NV_GROUP as usize / 2))
            .zip(&scales)
        {
            let scale = super::super::element::e4m3_to_f32(scale) * self.scale;
            for (pair, &byte) in out.as_chunks_mut::<2>().0.iter_mut().zip(codes) {
                *pair = [
                    E2M1[usize::from(byte & 15)] * scale,
                    E2M1[usize::from(byte >> 4)] * scale,
                ];
            }
        }
        Ok(())
    }
}
