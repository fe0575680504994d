//! The speed of encoders and decoders, ours and ggml's, on the same rows.

use std::hint::black_box;
use std::time::Duration;

use anyhow::Result;
use gguf::TensorType;
use oracle::blocks::{Reference, Work};
use oracle::rows::Random;
use quants::Isa;

use crate::shortest;

/// Weights of a sample for work that computing limits: it stays in a core's cache.
pub const SMALL: usize = 1 << 16;
/// Weights of a sample for work that memory may limit: no cache holds it.
pub const LARGE: usize = 1 << 23;
/// Weights in a row.
pub const ROW: usize = 4096;

/// Rows as trained weights are distributed, and the importance of their columns.
#[derive(Debug)]
pub struct Sample {
    /// The rows.
    pub rows: Vec<f32>,
    /// [`ROW`] importances.
    pub importance: Vec<f32>,
}

impl Sample {
    /// A sample of this many weights. It repeats after [`SMALL`] weights.
    pub fn new(weights: usize) -> Self {
        let mut random = Random::new(1);
        let small: Vec<f32> = (0..SMALL).map(|_| 0.02 * random.gaussian()).collect();
        Self {
            rows: small.iter().cycle().take(weights).copied().collect(),
            importance: (0..ROW).map(|_| random.gaussian().powi(2)).collect(),
        }
    }
}

/// Millions of weights a second on one core; `None` where there is no such work.
#[derive(Clone, Copy, Debug, Default)]
pub struct Speeds {
    /// Encoding with an importance vector.
    pub with_importance: Option<f64>,
    /// Encoding without.
    pub without: Option<f64>,
    /// Decoding.
    pub decode: Option<f64>,
}

impl Speeds {
    /// Notes the speed at one kind of work.
    pub fn set(&mut self, work: Work, speed: f64) {
        *match work {
            Work::EncodeWithImportance => &mut self.with_importance,
            Work::Encode => &mut self.without,
            Work::Decode => &mut self.decode,
        } = Some(speed);
    }
}

/// Samples of one type: encoding is measured on the small sample where computing limits it, decoding always on the
/// large one.
#[derive(Debug)]
pub struct Samples {
    /// [`SMALL`] weights.
    pub small: Sample,
    /// [`LARGE`] weights.
    pub large: Sample,
}

impl Default for Samples {
    fn default() -> Self {
        Self {
            small: Sample::new(SMALL),
            large: Sample::new(LARGE),
        }
    }
}

/// The kinds of work that a type has.
pub fn works(ty: TensorType) -> impl Iterator<Item = Work> {
    let plain = !quants::requires_importance(ty);
    [
        quants::can_encode(ty).then_some(Work::EncodeWithImportance),
        (quants::can_encode(ty) && plain).then_some(Work::Encode),
        quants::can_decode(ty).then_some(Work::Decode),
    ]
    .into_iter()
    .flatten()
}

/// Whether this work is done by arithmetic alone, without a search: memory is its measure.
pub fn is_streaming(ty: TensorType, work: Work) -> bool {
    use TensorType as T;
    match work {
        Work::Decode => true,
        Work::Encode => matches!(ty, T::Q4_0 | T::Q4_1 | T::Q5_0 | T::Q5_1) || takes_no_importance(ty),
        Work::EncodeWithImportance => takes_no_importance(ty),
    }
}

/// Whether the encoder has no use for importance.
pub fn takes_no_importance(ty: TensorType) -> bool {
    use TensorType as T;
    matches!(
        ty,
        T::F32 | T::F16 | T::BF16 | T::Q8_0 | T::TQ1_0 | T::TQ2_0 | T::MXFP4 | T::NVFP4 | T::Q1_0 | T::Q2_0
    )
}

fn blocks_of(ty: TensorType, sample: &Sample) -> Result<Vec<u8>> {
    let mut blocks = vec![0; sample.rows.len() / ty.block_len() * ty.block_bytes()];
    let one = &sample.rows[..SMALL];
    let (first, _) = blocks.split_at_mut(SMALL / ty.block_len() * ty.block_bytes());
    quants::encode(ty, one, ROW, Some(&sample.importance), first)?;
    let period = first.len();
    for start in (period..blocks.len()).step_by(period) {
        blocks.copy_within(..period, start);
    }
    Ok(blocks)
}

/// The speed of the search of blocks by themselves, with importance; `None` for types that it leaves to stock's search.
///
/// # Errors
/// None.
pub fn searched(ty: TensorType, samples: &Samples, limit: Duration) -> Result<Option<f64>> {
    let encoder = optimize::block_encoder();
    if encoder.picoseconds(ty).is_none() {
        return Ok(None);
    }
    let sample = &samples.small;
    let mut blocks = blocks_of(ty, sample)?;
    let mut result = Ok(());
    let seconds = shortest(limit, || {
        let rows = 0..(SMALL / ROW) as u64;
        let (weights, importance) = (black_box(&sample.rows), Some(&sample.importance[..]));
        result = encoder.encode(ty, rows, weights, ROW, importance, &mut blocks);
    });
    result?;
    Ok(Some(SMALL as f64 / seconds / 1e6))
}

/// Our speed with the kernels of one instruction set.
///
/// # Errors
/// None, if the type has this work.
pub fn ours(isa: Isa, ty: TensorType, work: Work, samples: &Samples, limit: Duration) -> Result<f64> {
    let sample = if is_streaming(ty, work) {
        &samples.large
    } else {
        &samples.small
    };
    let mut blocks = blocks_of(ty, sample)?;
    let importance = (work == Work::EncodeWithImportance).then_some(&sample.importance[..]);
    let mut failed = None;
    let mut keep = |result: Result<(), quants::Error>| failed = failed.take().or(result.err());
    let seconds = if work == Work::Decode {
        let mut rows = vec![0.0; sample.rows.len()];
        shortest(limit, || {
            keep(quants::decode_with(isa, ty, black_box(&blocks), &mut rows));
            black_box(&mut rows);
        })
    } else {
        shortest(limit, || {
            let rows = black_box(&sample.rows);
            keep(quants::encode_with(isa, ty, rows, ROW, importance, &mut blocks));
            black_box(&mut blocks);
        })
    };
    match failed {
        Some(error) => Err(error.into()),
        None => Ok(sample.rows.len() as f64 / seconds / 1e6),
    }
}

/// Our speeds at all of a type's work.
///
/// # Errors
/// As [`ours`].
pub fn ours_all(isa: Isa, ty: TensorType, samples: &Samples, limit: Duration) -> Result<Speeds> {
    let mut speeds = Speeds::default();
    for work in works(ty) {
        speeds.set(work, ours(isa, ty, work, samples, limit)?);
    }
    Ok(speeds)
}

/// The speeds of two builds of ggml, stock llama.cpp's and libgguf's (which has not all types), at the same
/// work on the same samples.
///
/// # Errors
/// When the process of the references fails.
pub fn theirs(
    reference: &mut Reference,
    ty: TensorType,
    work: Work,
    samples: &Samples,
    limit: Duration,
) -> Result<(f64, Option<f64>)> {
    let sample = if is_streaming(ty, work) {
        &samples.large
    } else {
        &samples.small
    };
    let blocks = blocks_of(ty, sample)?;
    let timed = reference.time(ty, work, &sample.rows, ROW, &sample.importance, &blocks, limit)?;
    let speed = |seconds: f64| sample.rows.len() as f64 / seconds / 1e6;
    Ok((speed(timed.stock), timed.libgguf.map(speed)))
}
