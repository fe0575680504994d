//! Encoding one tensor, matrix by matrix, and judging the result on tokens that it was not learned from.

use std::ops::Range;

use convert::plan::PlannedTensor;
use convert::source::Source;
use gguf::TensorType;
use rayon::prelude::*;

use crate::block::can_learn;
use crate::correction::Correction;
use crate::feedback::{ROWS, RowEncoder};
use crate::judge::{Judge, product};
use crate::metric::{Damping, Metric};
use crate::moments::Moments;
use crate::report::{Kept, Learned};
use crate::{Error, Result};

/// Weights of a matrix that are in memory at a time; an output matrix may have 10⁹.
const WEIGHTS_AT_ONCE: usize = 1 << 24;
/// Rows of stock's encoding that a thread takes at a time.
const STOCK_ROWS: usize = 64;

/// One tensor on its way.
pub(crate) struct Job<'a> {
    source: &'a dyn Source,
    planned: &'a PlannedTensor,
    pub(super) columns: usize,
    /// Rows of one matrix.
    rows: usize,
    pub(super) matrices: usize,
    row_bytes: usize,
    /// Whether its inputs' squares stand in for an importance that the plan lacks, in stock's bytes, too.
    by_squares: bool,
    blocks: Vec<u8>,
    errors: Errors,
    kept: Option<Kept>,
    kept_matrices: usize,
}

/// Sums of squared errors of what rows put out, on the tokens learned from and on those held out.
#[derive(Clone, Copy, Debug, Default)]
struct Errors {
    learned: [f64; 2],
    stock: [f64; 2],
}

impl Errors {
    fn add(&mut self, other: &Self) {
        for i in 0..2 {
            self.learned[i] += other.learned[i];
            self.stock[i] += other.stock[i];
        }
    }
}

/// Rows encoded as stock does and by learning, and the errors of each group of them.
struct Part {
    stock: Vec<u8>,
    learned: Vec<u8>,
    errors: Vec<Errors>,
}

/// All that is known of the inputs of a matrix.
struct Metrics {
    metric: Metric,
    correction: Correction,
    judge: Judge,
}

impl<'a> Job<'a> {
    pub(crate) fn new(source: &'a dyn Source, planned: &'a PlannedTensor) -> Result<Self> {
        let shape = &source.tensors()[planned.source].shape;
        let count = |dimensions: &[u64]| {
            dimensions.iter().try_fold(1usize, |product, &n| {
                product.checked_mul(usize::try_from(n).ok()?)
            })
        };
        let columns = shape.first().copied().unwrap_or(1);
        let rows = shape.get(1).copied().unwrap_or(1);
        let row_bytes = planned
            .ty
            .row_bytes(columns)
            .and_then(|n| usize::try_from(n).ok());
        let too_large = || Error::Request(format!("tensor '{}': too large for this machine", planned.name));
        Ok(Self {
            source,
            planned,
            columns: count(&[columns]).ok_or_else(too_large)?,
            rows: count(&[rows]).ok_or_else(too_large)?,
            matrices: count(shape.get(2..).unwrap_or_default()).ok_or_else(too_large)?,
            row_bytes: row_bytes.ok_or_else(too_large)?,
            by_squares: true,
            blocks: Vec::new(),
            errors: Errors::default(),
            kept: None,
            kept_matrices: 0,
        })
    }

    /// The output matrix, of which importance files have nothing: stock's bytes are those without.
    pub(super) fn head(source: &'a dyn Source, planned: &'a PlannedTensor) -> Result<Self> {
        Ok(Self {
            by_squares: quants::requires_importance(planned.ty),
            ..Self::new(source, planned)?
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.planned.name
    }

    pub(super) fn ty(&self) -> TensorType {
        self.planned.ty
    }

    /// Whether blocks of its type are learned.
    pub(super) fn can_learn(&self) -> bool {
        can_learn(self.planned.ty) && self.columns.is_multiple_of(self.planned.ty.block_len())
    }

    /// Rows of the tensor; those of all matrices are counted through.
    fn read(&self, rows: Range<usize>) -> Result<Vec<f32>> {
        let mut weights = vec![0.0; rows.len() * self.columns];
        let rows = rows.start as u64..rows.end as u64;
        self.source.read_rows(self.planned.source, rows, &mut weights)?;
        Ok(weights)
    }

    /// Parts of one matrix that are in memory at a time: whole groups of rows.
    fn parts(&self, matrix: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        let step = (WEIGHTS_AT_ONCE / self.columns.max(1) / ROWS).max(1) * ROWS;
        let (first, end) = (matrix * self.rows, (matrix + 1) * self.rows);
        (first..end).step_by(step).map(move |at| at..end.min(at + step))
    }

    fn importance(&self, matrix: usize) -> Option<&[f32]> {
        let values = self.planned.importance.as_deref()?;
        values.get(matrix * self.columns..(matrix + 1) * self.columns)
    }

    fn codec_error(&self, source: quants::Error) -> Error {
        Error::Codec {
            tensor: self.planned.name.clone(),
            source,
        }
    }

    /// Stock's bytes of the whole tensor.
    pub(crate) fn stock(&self) -> Result<Vec<u8>> {
        let mut blocks = Vec::new();
        for matrix in 0..self.matrices {
            let importance = self.importance(matrix);
            for rows in self.parts(matrix) {
                let mut part = vec![0; rows.len() * self.row_bytes];
                let weights = self.read(rows)?;
                part.par_chunks_mut(STOCK_ROWS * self.row_bytes)
                    .zip(weights.par_chunks(STOCK_ROWS * self.columns))
                    .try_for_each(|(blocks, rows)| {
                        quants::encode(self.planned.ty, rows, self.columns, importance, blocks)
                    })
                    .map_err(|e| self.codec_error(e))?;
                blocks.extend(part);
            }
        }
        Ok(blocks)
    }

    /// Encodes one matrix; without metrics as stock does.
    fn learn_matrix(&mut self, matrix: usize, metrics: Option<&Metrics>, mean_squares: &[f32]) -> Result<()> {
        let metrics = metrics.and_then(|metrics| {
            let encoder = RowEncoder::new(self.planned.ty, &metrics.metric)?;
            Some((encoder, metrics))
        });
        let squares = self.by_squares.then_some(mean_squares);
        let importance = self.importance(matrix).or(squares);
        let (mut stock, mut learned) = (Vec::new(), Vec::new());
        let mut errors = Errors::default();
        for rows in self.parts(matrix) {
            let first = rows.start - matrix * self.rows;
            let weights = self.read(rows)?;
            let part = self.learn_rows(&weights, first, metrics.as_ref(), importance);
            let part = part.map_err(|e| self.codec_error(e))?;
            stock.extend(part.stock);
            learned.extend(part.learned);
            part.errors.iter().for_each(|e| errors.add(e));
        }
        let kept = match metrics {
            None => Some(Kept::Inputs),
            Some(_) if errors.learned[1] < errors.stock[1] => None,
            Some(_) => Some(Kept::HeldOut),
        };
        self.errors.add(&errors);
        if let Some(kept) = kept {
            self.kept.get_or_insert(kept);
            self.kept_matrices += 1;
            self.blocks.extend(stock);
        } else {
            self.blocks.extend(learned);
        }
        Ok(())
    }

    /// Encodes rows of one matrix, from `first` on, both ways.
    fn learn_rows(
        &self,
        weights: &[f32],
        first: usize,
        metrics: Option<&(RowEncoder<'_>, &Metrics)>,
        importance: Option<&[f32]>,
    ) -> Result<Part, quants::Error> {
        let ty = self.planned.ty;
        let (columns, row_bytes) = (self.columns, self.row_bytes);
        let bytes = weights.len() / columns * row_bytes;
        let (mut stock, mut learned) = (vec![0; bytes], vec![0; bytes]);
        let errors = stock
            .par_chunks_mut(ROWS * row_bytes)
            .zip(learned.par_chunks_mut(ROWS * row_bytes))
            .zip(weights.par_chunks(ROWS * columns))
            .enumerate()
            .map(|(chunk, ((stock, learned), rows))| {
                let first = first + chunk * ROWS;
                quants::encode(ty, rows, columns, importance, stock)?;
                let Some((encoder, metrics)) = metrics else {
                    return Ok(Errors::default());
                };
                let targets = metrics.correction.targets(rows, first);
                encoder.encode(&targets, learned)?;
                let judged = metrics.judge.rows(rows, first);
                let error = |blocks: &[u8]| -> Result<[f64; 2], quants::Error> {
                    let mut off = vec![0.0; rows.len()];
                    quants::decode(ty, blocks, &mut off)?;
                    let target = |target: &[f32]| -> Vec<f32> {
                        target.iter().zip(&off).map(|(w, off)| w - off).collect()
                    };
                    let from_targets = target(&targets);
                    Ok([
                        product(&from_targets, &metrics.metric.hessian, &from_targets, columns),
                        judged.squared(&target(rows)),
                    ])
                };
                Ok(Errors {
                    learned: error(learned)?,
                    stock: error(stock)?,
                })
            })
            .collect::<Result<Vec<_>, quants::Error>>()?;
        Ok(Part {
            stock,
            learned,
            errors,
        })
    }

    /// Outcome, and blocks.
    pub(super) fn finish(self) -> (Learned, Vec<u8>) {
        let Errors { learned, stock } = self.errors;
        let ratios =
            (stock[0] > 0.0 && stock[1] > 0.0).then(|| (learned[0] / stock[0], learned[1] / stock[1]));
        let entry = Learned {
            tensor: self.planned.name.clone(),
            ratios,
            kept: self.kept,
            matrices: (self.matrices, self.kept_matrices),
        };
        (entry, self.blocks)
    }
}

/// Encodes one matrix of each tensor from the moments of the input that they share.
pub(super) fn learn(
    jobs: &mut [Job<'_>],
    matrix: usize,
    teaching: &Moments,
    held_out: &Moments,
    damping: Damping,
) -> Result<()> {
    let mean_squares = teaching.mean_squares();
    let metrics =
        Metric::new(teaching, damping)
            .zip(Judge::new(held_out))
            .map(|((metric, correction), judge)| Metrics {
                metric,
                correction: correction.proved_by(&judge),
                judge,
            });
    // Encoders refuse what is not finite, and stock's make nothing of zeros alone.
    let usable = mean_squares.iter().all(|x| x.is_finite());
    let even = vec![1.0; teaching.columns];
    let mean_squares = if usable { &mean_squares } else { &even };
    for job in jobs {
        job.learn_matrix(matrix, metrics.as_ref(), mean_squares)?;
    }
    Ok(())
}
