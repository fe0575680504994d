//! Checks of the blocks of one piece of a tensor.

use std::ops::Range;

use gguf::{TensorInfo, TensorType};

use super::Severity;
use super::zeros::Zeros;

/// Weights in a piece.
const PIECE_WEIGHTS: u64 = 1 << 17;

/// The first fault of a piece.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) severity: Severity,
    pub(super) row: u64,
    pub(super) column: u64,
    pub(super) what: String,
}

/// Byte ranges of whole blocks that make up a tensor.
pub(super) fn pieces(info: &TensorInfo) -> Vec<Range<u64>> {
    let block = info.ty.block_bytes() as u64;
    let step = (PIECE_WEIGHTS / info.ty.block_len() as u64).max(1) * block;
    let size = info.size_bytes();
    (0..size.div_ceil(step))
        .map(|i| i * step..size.min((i + 1) * step))
        .collect()
}

/// Faults of blocks that start at byte `start` of a tensor (at most one error and one warning), and what is zero in
/// them.
pub(super) fn faults(info: &TensorInfo, start: u64, bytes: &[u8]) -> (Vec<Fault>, Zeros) {
    let ty = info.ty;
    let first = start / ty.block_bytes() as u64 * ty.block_len() as u64;
    let fault = |severity, weight: usize, what: String| {
        let at = first + weight as u64;
        let row_len = info.row_len().max(1);
        Fault {
            severity,
            row: at / row_len,
            column: at % row_len,
            what,
        }
    };
    let mut faults = Vec::new();
    let mut decoded = None;
    if let Err(invalid) = quants::validate(ty, bytes) {
        let weight = invalid.block.saturating_mul(ty.block_len());
        faults.push(fault(
            Severity::Error,
            weight,
            format!("invalid {ty} block: {}", invalid.fault),
        ));
    } else if ty.is_quantized() {
        // Valid scales can still decode to infinity: a shared exponent of 2^127 does.
        let mut weights = vec![0.0; bytes.len() / ty.block_bytes() * ty.block_len()];
        if quants::decode(ty, bytes, &mut weights).is_ok() {
            if let Some(at) = weights.iter().position(|w| !w.is_finite()) {
                faults.push(fault(
                    Severity::Error,
                    at,
                    format!("decodes to {}, expected a finite weight", weights[at]),
                ));
            }
            decoded = Some(weights);
        }
    }
    if let Some(block) = foreign_pattern(ty, bytes) {
        faults.push(fault(
            Severity::Warning,
            block * ty.block_len(),
            format!("{ty} block with a pattern that no encoder writes"),
        ));
    }
    (faults, Zeros::of(ty, bytes, decoded.as_deref()))
}

/// The first block with a bit pattern that means nothing in its type. The grids of the i-quants have an entry
/// for every index, so only the ternary types have such patterns.
fn foreign_pattern(ty: TensorType, bytes: &[u8]) -> Option<usize> {
    let blocks = || bytes.chunks_exact(ty.block_bytes()).enumerate();
    match ty {
        // 64 bytes of four 2-bit values 0 to 2, then the scale.
        TensorType::TQ2_0 => blocks()
            .find(|(_, block)| block[..64].iter().any(|b| b & (b >> 1) & 0x55 != 0))
            .map(|(index, _)| index),
        // 52 bytes of base-3 digits, as multiples of 256/243 rounded up, then the scale.
        TensorType::TQ1_0 => blocks()
            .find(|(_, block)| {
                block[..52].iter().any(|&b| {
                    let digits = u16::from(b) * 243 / 256;
                    (digits * 256).div_ceil(243) != u16::from(b)
                })
            })
            .map(|(index, _)| index),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ternary_encoders_write_no_foreign_pattern() {
        let weights: Vec<f32> = (0..256 * 40)
            .map(|i| ((i * 37 % 101) as f32 - 50.0) / 50.0)
            .collect();
        for (ty, foreign) in [(TensorType::TQ1_0, 1), (TensorType::TQ2_0, 0xff)] {
            let mut blocks = vec![0; 40 * ty.block_bytes()];
            quants::encode(ty, &weights, 256, None, &mut blocks).unwrap();
            assert_eq!(foreign_pattern(ty, &blocks), None, "{ty}");
            blocks[3 * ty.block_bytes() + 7] = foreign;
            let found = foreign_pattern(ty, &blocks);
            assert_eq!(found, Some(3), "{ty}");
        }
    }

    #[test]
    fn pieces_cover_a_tensor() {
        let info = TensorInfo {
            name: "t".into(),
            shape: vec![256, 1001],
            ty: TensorType::Q6_K,
            offset: 0,
        };
        let pieces = pieces(&info);
        assert_eq!(pieces[0].start, 0);
        assert!(pieces.windows(2).all(|w| w[0].end == w[1].start));
        assert_eq!(pieces.last().unwrap().end, info.size_bytes());
    }
}
