//! Comparing a file with the source it was made from: which tensors are, to the byte, what the encoders make
//! of the source, and how far the others are from it.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use gguf::{GgufModel, TensorInfo, TensorType};
use rayon::prelude::*;
use serde::Serialize;

use super::{OnBytes, codec_error};
use crate::importance::Importance;
use crate::plan::{self, matrices};
use crate::quantize::{self, QuantizeOptions};
use crate::recipe::PRESETS;
use crate::source::{Source, SourceTensor};
use crate::{Error, Result};

/// Weights in a piece.
const PIECE_WEIGHTS: u64 = 1 << 17;
/// Pieces of a tensor by which the encoder is found.
const SAMPLED_PIECES: usize = 4;
/// Rows named of a tensor that differs.
const WORST_ROWS: usize = 3;

/// A way in which the blocks of a tensor may have been made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Encoder {
    /// With the importance matrix that was given.
    pub importance: bool,
    /// Through a 16-bit file: the weights were rounded to this type first.
    pub through: Option<Through>,
    /// By the other encoder that was given, not by stock's.
    pub other: bool,
}

/// A 16-bit type of an intermediate file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Through {
    /// IEEE half precision.
    F16,
    /// bfloat16.
    Bf16,
}

impl std::fmt::Display for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.other {
            f.write_str("blocks searched, ")?;
        }
        f.write_str(if self.importance {
            "with the importance matrix"
        } else {
            "without importance"
        })?;
        match self.through {
            Some(Through::F16) => f.write_str(", through f16"),
            Some(Through::Bf16) => f.write_str(", through bf16"),
            None => Ok(()),
        }
    }
}

/// Distance of a tensor from its source.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Difference {
    /// Share of blocks that equal those of the nearest encoder, 0 to 1.
    pub equal_blocks: f64,
    /// The encoder that makes the most equal blocks.
    pub nearest: Encoder,
    /// Root mean square of the error against the source.
    pub rms_error: f64,
    /// RMS error of the nearest encoder's own blocks.
    pub nearest_rms_error: f64,
    /// Root mean square of the source's weights.
    pub rms_weight: f64,
    /// Largest error.
    pub max_error: f64,
    /// The rows with the largest errors, and their root mean square error, worst first.
    pub worst_rows: Vec<(u64, f64)>,
}

impl Difference {
    /// The encoder that most likely made the blocks.
    pub fn likely(&self) -> String {
        let ratio = self.rms_error / self.nearest_rms_error.max(f64::MIN_POSITIVE);
        if self.equal_blocks > 0.5 {
            format!("the encoder {}, and then some blocks were changed", self.nearest)
        } else if self.rms_error > 0.5 * self.rms_weight && ratio > 2.0 {
            "other weights, or damage: the tensor does not resemble its source".into()
        } else if ratio < 1.25 {
            "another encoder of the same type, or an importance matrix that was not given".into()
        } else {
            "a coarser step in between (requantized from a smaller type), or another encoder".into()
        }
    }
}

/// Outcome of the comparison of a tensor.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "result")]
#[non_exhaustive]
pub enum Outcome {
    /// Every byte is what this encoder makes of the source.
    Exact(Encoder),
    /// Some bytes are not.
    Differs(Difference),
    /// The source has no such tensor.
    NotInSource,
    /// The source has a tensor of this name and another shape.
    OtherShape {
        /// The source's shape, innermost dimension first.
        source: Vec<u64>,
    },
    /// The type has no encoder, or none without importance, so there is nothing to compare with.
    NotEncodable {
        /// Why.
        reason: String,
    },
}

/// A tensor of the file.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct TensorImage {
    /// The tensor.
    pub name: String,
    /// Its type in the file.
    #[serde(serialize_with = "by_name")]
    pub ty: TensorType,
    /// The type that the recipe gives it, when that is another.
    #[serde(serialize_with = "option_by_name")]
    pub recipe: Option<TensorType>,
    /// The outcome.
    #[serde(flatten)]
    pub outcome: Outcome,
}

fn by_name<S: serde::Serializer>(ty: &TensorType, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_str(ty.name())
}

fn option_by_name<S: serde::Serializer>(ty: &Option<TensorType>, s: S) -> Result<S::Ok, S::Error> {
    match ty {
        Some(ty) => by_name(ty, s),
        None => s.serialize_none(),
    }
}

/// The whole comparison.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Image {
    /// The preset whose recipe was compared with, from `general.file_type`.
    pub preset: Option<&'static str>,
    /// Every tensor of the file.
    pub tensors: Vec<TensorImage>,
    /// Tensors of the source that the file lacks.
    pub missing: Vec<String>,
}

impl Image {
    /// Whether every tensor of the source is there and every byte proven.
    pub fn is_exact(&self) -> bool {
        let exact = |t: &TensorImage| matches!(t.outcome, Outcome::Exact(_));
        self.missing.is_empty() && self.tensors.iter().all(exact)
    }
}

/// Encodes the source again and compares every byte of every tensor. `other` is an encoder by which blocks may have
/// been made besides stock's.
///
/// # Errors
/// When either side cannot be read or a weight of the source is not finite.
pub fn compare(
    model: &GgufModel,
    source: &dyn Source,
    importance: Option<&Importance>,
    other: Option<&dyn plan::Encoder>,
    on_bytes: OnBytes<'_>,
) -> Result<Image> {
    let by_name: HashMap<&str, usize> = source
        .tensors()
        .iter()
        .enumerate()
        .map(|(index, t)| (t.name.as_str(), index))
        .collect();
    let (preset, recipe) = recipe_types(model, source, importance);
    let mut tensors = Vec::new();
    for tensor in model.tensors() {
        let info = tensor.info;
        let found = by_name.get(info.name.as_str()).copied();
        let outcome = match found.map(|at| (at, &source.tensors()[at])) {
            None => Outcome::NotInSource,
            Some((_, from)) if gguf::ggml_shape(&from.shape) != gguf::ggml_shape(&info.shape) => {
                Outcome::OtherShape {
                    source: from.shape.clone(),
                }
            }
            Some((at, from)) => {
                let pair = Pair {
                    model,
                    index: tensor.index,
                    info,
                    source,
                    at,
                    from,
                    importance: importance
                        .and_then(|i| i.of(&from.name))
                        .filter(|v| v.len() as u64 == info.row_len().saturating_mul(matrices(&from.shape))),
                    other,
                    on_bytes,
                };
                pair.outcome()?
            }
        };
        tensors.push(TensorImage {
            name: info.name.clone(),
            ty: info.ty,
            recipe: recipe.get(&info.name).copied().filter(|&ty| ty != info.ty),
            outcome,
        });
    }
    let missing = source
        .tensors()
        .iter()
        .filter(|t| model.find(&t.name).is_none())
        .map(|t| t.name.clone())
        .collect();
    Ok(Image {
        preset,
        tensors,
        missing,
    })
}

/// The types that the recipe of the file's preset gives; none where there is no such recipe.
fn recipe_types(
    model: &GgufModel,
    source: &dyn Source,
    importance: Option<&Importance>,
) -> (Option<&'static str>, HashMap<String, TensorType>) {
    let file_type = model.metadata().get_u64("general.file_type");
    let preset = PRESETS
        .iter()
        .find(|p| p.file_type.is_some() && p.file_type.map(u64::from) == file_type);
    let Some(preset) = preset else {
        return (None, HashMap::new());
    };
    let options = QuantizeOptions::new(preset.preset);
    let Ok(plan) = quantize::plan(source, Path::new("recipe"), &options, importance) else {
        return (None, HashMap::new());
    };
    let types = plan
        .outputs
        .iter()
        .flat_map(super::super::plan::OutputPlan::tensors)
        .map(|t| (t.name.clone(), t.ty))
        .collect();
    (Some(preset.name), types)
}

/// A tensor and its source.
struct Pair<'a> {
    model: &'a GgufModel,
    index: usize,
    info: &'a TensorInfo,
    source: &'a dyn Source,
    at: usize,
    from: &'a SourceTensor,
    importance: Option<&'a Arc<[f32]>>,
    other: Option<&'a dyn plan::Encoder>,
    on_bytes: OnBytes<'a>,
}

impl Pair<'_> {
    fn outcome(&self) -> Result<Outcome> {
        let candidates = self.candidates();
        let Some(&first) = candidates.first() else {
            return Ok(Outcome::NotEncodable {
                reason: format!("{} has no encoder that could be compared with", self.info.ty),
            });
        };
        let pieces = self.pieces();
        let sample: Vec<&Range<u64>> = pieces
            .iter()
            .step_by(pieces.len().div_ceil(SAMPLED_PIECES).max(1))
            .collect();
        let mut nearest = (first, 0, 1);
        for &encoder in &candidates {
            let counts = sample
                .par_iter()
                .map(|rows| self.equal_blocks(encoder, (*rows).clone()))
                .collect::<Result<Vec<_>>>()?;
            let (equal, of) = counts.into_iter().fold((0, 0), |(a, b), (c, d)| (a + c, b + d));
            if equal > nearest.1 {
                nearest = (encoder, equal, of);
            }
            if equal == of {
                break;
            }
        }
        let encoder = nearest.0;
        let counts = pieces
            .par_iter()
            .map(|rows| {
                (self.on_bytes)((rows.end - rows.start) * self.info.row_bytes());
                self.equal_blocks(encoder, rows.clone())
            })
            .collect::<Result<Vec<_>>>()?;
        let (equal, of) = counts
            .into_iter()
            .fold((0u64, 0u64), |(a, b), (c, d)| (a + c, b + d));
        if equal == of {
            return Ok(Outcome::Exact(encoder));
        }
        self.difference(encoder, &pieces, equal as f64 / of.max(1) as f64)
            .map(Outcome::Differs)
    }

    /// The encoders to try, the most likely first.
    fn candidates(&self) -> Vec<Encoder> {
        let ty = self.info.ty;
        if ty == self.from.ty {
            return vec![Encoder {
                importance: false,
                through: None,
                other: false,
            }];
        }
        if !quants::can_encode(ty) || !self.info.row_len().is_multiple_of(ty.block_len() as u64) {
            return Vec::new();
        }
        let with: &[bool] = match (self.importance.is_some(), quants::requires_importance(ty)) {
            (true, true) => &[true],
            (true, false) => &[true, false],
            (false, true) => &[],
            (false, false) => &[false],
        };
        let mut candidates = Vec::new();
        for through in [None, Some(Through::F16), Some(Through::Bf16)] {
            for &importance in with {
                for other in [false, true] {
                    if !other || self.other.is_some() {
                        candidates.push(Encoder {
                            importance,
                            through,
                            other,
                        });
                    }
                }
            }
        }
        candidates
    }

    fn pieces(&self) -> Vec<Range<u64>> {
        let rows = self.info.rows();
        let step = (PIECE_WEIGHTS / self.info.row_len().max(1)).max(1);
        (0..rows.div_ceil(step))
            .map(|i| i * step..rows.min((i + 1) * step))
            .collect()
    }

    fn stored(&self, rows: &Range<u64>) -> Result<std::borrow::Cow<'_, [u8]>> {
        let row = self.info.row_bytes();
        Ok(self.model.bytes(self.index, rows.start * row..rows.end * row)?)
    }

    fn weights(&self, rows: &Range<u64>) -> Result<Vec<f32>> {
        let row_len = self.info.row_len();
        let mut weights = vec![0.0; ((rows.end - rows.start) * row_len) as usize];
        self.source.read_rows(self.at, rows.clone(), &mut weights)?;
        match weights.iter().position(|w| !w.is_finite()) {
            None => Ok(weights),
            Some(at) => Err(Error::NotFinite {
                path: self.source.path().to_path_buf(),
                tensor: self.from.name.clone(),
                row: rows.start + at as u64 / row_len,
                column: at as u64 % row_len,
                found: weights[at],
            }),
        }
    }

    /// The blocks that an encoder makes of some rows.
    fn encoded(&self, encoder: Encoder, rows: &Range<u64>) -> Result<Vec<u8>> {
        let ty = self.info.ty;
        if ty == self.from.ty
            && let Some(bytes) = self.source.raw_rows(self.at, rows.clone())?
        {
            return Ok(bytes.into_owned());
        }
        let mut weights = self.weights(rows)?;
        if let Some(through) = encoder.through {
            let ty = match through {
                Through::F16 => TensorType::F16,
                Through::Bf16 => TensorType::BF16,
            };
            let mut bytes = vec![0; weights.len() * 2];
            let codec = |e| codec_error(self.model, self.info, e);
            quants::encode(ty, &weights, weights.len(), None, &mut bytes).map_err(codec)?;
            quants::decode(ty, &bytes, &mut weights).map_err(codec)?;
        }
        let row_len = self.info.row_len() as usize;
        let row_bytes = self.info.row_bytes() as usize;
        let per_matrix = (self.info.rows() / matrices(&self.from.shape).max(1)).max(1);
        let mut blocks = vec![0; (rows.end - rows.start) as usize * row_bytes];
        for (i, (row, out)) in weights
            .chunks_exact(row_len)
            .zip(blocks.chunks_exact_mut(row_bytes))
            .enumerate()
        {
            let at = rows.start + i as u64;
            let matrix = (at / per_matrix) as usize;
            let importance = self
                .importance
                .filter(|_| encoder.importance)
                .map(|values| &values[matrix * row_len..(matrix + 1) * row_len]);
            match self.other.filter(|_| encoder.other) {
                Some(other) => other.encode(ty, at..at + 1, row, row_len, importance, out),
                None => quants::encode(ty, row, row_len, importance, out),
            }
            .map_err(|e| codec_error(self.model, self.info, e))?;
        }
        Ok(blocks)
    }

    /// Number of blocks of some rows that are an encoder's, and of all.
    fn equal_blocks(&self, encoder: Encoder, rows: Range<u64>) -> Result<(u64, u64)> {
        let made = self.encoded(encoder, &rows)?;
        let stored = self.stored(&rows)?;
        let block = self.info.ty.block_bytes();
        let equal = made
            .chunks_exact(block)
            .zip(stored.chunks_exact(block))
            .filter(|(a, b)| a == b);
        Ok((equal.count() as u64, (stored.len() / block) as u64))
    }

    fn difference(&self, nearest: Encoder, pieces: &[Range<u64>], equal_blocks: f64) -> Result<Difference> {
        let row_len = self.info.row_len() as usize;
        let decode = |bytes: &[u8], n: usize| {
            let mut weights = vec![0.0; n];
            quants::decode(self.info.ty, bytes, &mut weights)
                .map_err(|e| codec_error(self.model, self.info, e))?;
            Ok::<_, Error>(weights)
        };
        let sums = pieces
            .par_iter()
            .map(|rows| {
                let truth = self.weights(rows)?;
                let found = decode(&self.stored(rows)?, truth.len())?;
                let made = decode(&self.encoded(nearest, rows)?, truth.len())?;
                let mut sums = Sums::default();
                for (row, ((t, f), m)) in truth
                    .chunks_exact(row_len)
                    .zip(found.chunks_exact(row_len))
                    .zip(made.chunks_exact(row_len))
                    .enumerate()
                {
                    let mut of_row = 0.0;
                    for ((&t, &f), &m) in t.iter().zip(f).zip(m) {
                        let error = f64::from(f) - f64::from(t);
                        of_row += error * error;
                        sums.max = sums.max.max(error.abs());
                        sums.weights += f64::from(t).powi(2);
                        sums.nearest += (f64::from(m) - f64::from(t)).powi(2);
                    }
                    sums.error += of_row;
                    sums.worst
                        .push((rows.start + row as u64, (of_row / row_len as f64).sqrt()));
                }
                sums.trim();
                Ok::<Sums, Error>(sums)
            })
            .try_reduce(Sums::default, |a, b| Ok(a.and(b)))?;
        let n = self.info.elements() as f64;
        Ok(Difference {
            equal_blocks,
            nearest,
            rms_error: (sums.error / n).sqrt(),
            nearest_rms_error: (sums.nearest / n).sqrt(),
            rms_weight: (sums.weights / n).sqrt(),
            max_error: sums.max,
            worst_rows: sums.worst,
        })
    }
}

#[derive(Default)]
struct Sums {
    error: f64,
    nearest: f64,
    weights: f64,
    max: f64,
    worst: Vec<(u64, f64)>,
}

impl Sums {
    fn trim(&mut self) {
        self.worst.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        self.worst.truncate(WORST_ROWS);
    }

    fn and(mut self, other: Self) -> Self {
        self.error += other.error;
        self.nearest += other.nearest;
        self.weights += other.weights;
        self.max = self.max.max(other.max);
        self.worst.extend(other.worst);
        self.trim();
        self
    }
}
