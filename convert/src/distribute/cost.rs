//! Costs of work, by which parts are cut: processor time on one core of the machine that benches/RESULTS.md names.
//!
//! Only ratios matter for the balance of parts. As an estimate of time, the sum holds for kernels of avx2 and files that
//! are in memory; a disk or a network that is slower than the processors adds to it.

use gguf::TensorType;
use gguf::TensorType as T;

use crate::pipeline::Job;

/// Picoseconds to encode a weight, without and with importance: 10^6 over the rates of benches/RESULTS.md of 2026-11-24, in
/// millions of weights a second. A type that is measured in one way only counts the same in both.
const ENCODE: [(TensorType, u64, u64); 28] = [
    (T::F32, 343, 343),
    (T::F16, 345, 345),
    (T::BF16, 300, 300),
    (T::Q4_0, 434, 3981),
    (T::Q4_1, 587, 12315),
    (T::Q5_0, 445, 3998),
    (T::Q5_1, 583, 12315),
    (T::Q8_0, 442, 442),
    (T::Q2_K, 7262, 16393),
    (T::Q3_K, 3368, 5203),
    (T::Q4_K, 8130, 13351),
    (T::Q5_K, 6725, 13477),
    (T::Q6_K, 4195, 4179),
    (T::IQ1_S, 28653, 28653),
    (T::IQ1_M, 40161, 42194),
    (T::IQ2_XXS, 60606, 60606),
    (T::IQ2_XS, 83333, 83333),
    (T::IQ2_S, 50251, 50761),
    (T::IQ3_XXS, 119048, 120482),
    (T::IQ3_S, 76336, 77519),
    (T::IQ4_NL, 8439, 8681),
    (T::IQ4_XS, 9017, 9225),
    (T::TQ1_0, 474, 474),
    (T::TQ2_0, 400, 400),
    (T::MXFP4, 731, 731),
    (T::NVFP4, 816, 816),
    (T::Q1_0, 497, 497),
    (T::Q2_0, 401, 401),
];

/// Picoseconds to read and decode a weight: f32 in the same table, which memory limits as it does all others.
const READ: u64 = 360;

/// Picoseconds to write a byte: a copy of it, by the rate of copies in the same table (2823 million numbers of four bytes),
/// once for the digest and once into the file.
const WRITE: u64 = 177;

/// Picoseconds to learn the block of a weight, for each token that is learned from: 17.6 s for the demo model's 5.2 million
/// weights and 32 windows of 512 tokens, all passes and the search together, whichever the type.
const LEARN: u64 = 205;

/// Picoseconds to encode a weight to a type; `None` for a type that has no encoder.
pub fn encode(ty: TensorType, importance: bool) -> Option<u64> {
    let (_, plain, weighted) = ENCODE.iter().find(|(of, ..)| *of == ty)?;
    Some(if importance { *weighted } else { *plain })
}

/// Picoseconds to learn the blocks of a weight from so many tokens.
pub fn learn(tokens: u64) -> u64 {
    tokens.saturating_mul(LEARN)
}

/// Picoseconds for one row of a job, in all its encodings and files.
pub fn of_row(job: &Job) -> u64 {
    let weights = job.row_len as u64;
    let mut per_weight = READ;
    let mut bytes = 0u64;
    for target in &job.targets {
        if !target.copied {
            let stock = encode(target.ty, target.importance.is_some());
            let other = target.encoder.as_ref().and_then(|e| e.picoseconds(target.ty));
            per_weight += other.or(stock).unwrap_or(READ);
        }
        let row = target.ty.row_bytes(weights).unwrap_or(0);
        bytes = bytes.saturating_add(row.saturating_mul(target.wanted_by.len() as u64));
    }
    weights
        .saturating_mul(per_weight)
        .saturating_add(bytes.saturating_mul(WRITE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_that_can_be_encoded_has_a_rate() {
        for info in gguf::TYPES {
            assert_eq!(
                encode(info.ty, true).is_some(),
                quants::can_encode(info.ty),
                "{}",
                info.name
            );
        }
    }

    #[test]
    fn importance_is_no_cheaper_beyond_the_error_of_measuring() {
        for (ty, plain, weighted) in ENCODE {
            assert!(weighted * 100 >= plain * 99, "{ty}");
        }
    }
}
