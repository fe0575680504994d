//! Differences between two GGUF models: keys, tensors, bytes and weights.

use std::borrow::Cow;
use std::ops::Range;

use gguf::{GgufModel, TensorType, Value};
use rayon::prelude::*;
use serde::Serialize;

use crate::verify::OnBytes;
use crate::{Error, Result};

/// Weights in a piece: a multiple of every block length.
const PIECE_WEIGHTS: u64 = 1 << 17;

/// Difference of a key.
#[derive(Clone, Debug, PartialEq)]
pub enum KeyDifference<'a> {
    /// Only in the first model.
    OnlyInFirst(&'a Value),
    /// Only in the second model.
    OnlyInSecond(&'a Value),
    /// In both, with different values or value types.
    Changed(&'a Value, &'a Value),
}

/// Difference of the data of a tensor that both models have.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct DataDifference {
    /// Blocks whose bytes differ; `None` when the types do.
    pub different_blocks: Option<u64>,
    /// Blocks in all, by the first model's type.
    pub blocks: u64,
    /// Root mean square difference of the decoded weights.
    pub rms: f64,
    /// That, divided by the root mean square of the first model's weights in the pieces that differ.
    pub relative_rms: f64,
    /// Largest difference of a decoded weight.
    pub max: f64,
}

/// Difference of a tensor.
#[derive(Clone, Debug, PartialEq)]
pub enum TensorDifference {
    /// Only in the first model.
    OnlyInFirst,
    /// Only in the second model.
    OnlyInSecond,
    /// In both, with different shapes.
    Shape(Vec<u64>, Vec<u64>),
    /// In both, with different types or bytes.
    Data {
        /// The types in both.
        types: (TensorType, TensorType),
        /// Difference of the weights.
        data: DataDifference,
    },
}

/// Everything that differs.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Diff<'a> {
    /// Keys, in the first model's order, then those only the second has.
    pub keys: Vec<(&'a str, KeyDifference<'a>)>,
    /// Whether keys that both have stand in another order.
    pub key_order: bool,
    /// Tensors, in the first model's order, then those only the second has.
    pub tensors: Vec<(&'a str, TensorDifference)>,
    /// Whether tensors that both have stand in another order.
    pub tensor_order: bool,
    /// Tensors that are equal to the byte.
    pub equal_tensors: usize,
}

impl Diff<'_> {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.tensors.is_empty() && !self.key_order && !self.tensor_order
    }
}

/// Compares two models. With `headers_only`, tensor data is neither read nor compared.
///
/// # Errors
/// When tensor data cannot be read or decoded.
pub fn diff<'a>(
    first: &'a GgufModel,
    second: &'a GgufModel,
    headers_only: bool,
    on_bytes: OnBytes<'_>,
) -> Result<Diff<'a>> {
    let (a, b) = (first.metadata(), second.metadata());
    let mut result = Diff::default();
    for (key, value) in a.iter() {
        match b.get(key) {
            None => result.keys.push((key, KeyDifference::OnlyInFirst(value))),
            Some(other) if !same(value, other) => {
                result.keys.push((key, KeyDifference::Changed(value, other)));
            }
            Some(_) => {}
        }
    }
    for (key, value) in b.iter().filter(|(key, _)| a.get(key).is_none()) {
        result.keys.push((key, KeyDifference::OnlyInSecond(value)));
    }
    result.key_order = !a
        .iter()
        .filter(|(k, _)| b.get(k).is_some())
        .map(|(k, _)| k)
        .eq(b.iter().filter(|(k, _)| a.get(k).is_some()).map(|(k, _)| k));

    for tensor in first.tensors() {
        let info = tensor.info;
        let name = info.name.as_str();
        let Some(index) = second.find(name) else {
            result.tensors.push((name, TensorDifference::OnlyInFirst));
            continue;
        };
        let other = second.info(index);
        if gguf::ggml_shape(&info.shape) != gguf::ggml_shape(&other.shape) {
            let shapes = TensorDifference::Shape(info.shape.clone(), other.shape.clone());
            result.tensors.push((name, shapes));
            continue;
        }
        let types = (info.ty, other.ty);
        let data = if headers_only {
            (types.0 != types.1).then(|| DataDifference {
                different_blocks: None,
                blocks: info.size_bytes() / info.ty.block_bytes() as u64,
                rms: f64::NAN,
                relative_rms: f64::NAN,
                max: f64::NAN,
            })
        } else {
            compare(
                &Side::new(first, tensor.index),
                &Side::new(second, index),
                on_bytes,
            )?
        };
        match data {
            Some(data) => result
                .tensors
                .push((name, TensorDifference::Data { types, data })),
            None => result.equal_tensors += 1,
        }
    }
    for tensor in second.tensors() {
        if first.find(&tensor.info.name).is_none() {
            result
                .tensors
                .push((tensor.info.name.as_str(), TensorDifference::OnlyInSecond));
        }
    }
    let common = |of: &'a GgufModel, other: &'a GgufModel| {
        of.tensors()
            .map(|t| t.info.name.as_str())
            .filter(|n| other.find(n).is_some())
            .collect::<Vec<_>>()
    };
    result.tensor_order = common(first, second) != common(second, first);
    Ok(result)
}

/// Equality of values that takes a NaN for equal to itself.
fn same(a: &Value, b: &Value) -> bool {
    a == b || (a.value_type() == b.value_type() && format!("{a:?}") == format!("{b:?}"))
}

struct Side<'a> {
    model: &'a GgufModel,
    index: usize,
    ty: TensorType,
}

impl<'a> Side<'a> {
    fn new(model: &'a GgufModel, index: usize) -> Self {
        let ty = model.info(index).ty;
        Self { model, index, ty }
    }

    fn bytes(&self, weights: &Range<u64>) -> Result<Cow<'a, [u8]>> {
        let at = |n: u64| n / self.ty.block_len() as u64 * self.ty.block_bytes() as u64;
        let range = at(weights.start)..at(weights.end);
        Ok(self.model.bytes(self.index, range)?)
    }

    fn decode(&self, bytes: &[u8], n: usize) -> Result<Vec<f32>> {
        let mut weights = vec![0.0; n];
        quants::decode(self.ty, bytes, &mut weights).map_err(|source| Error::Codec {
            path: self.model.path().to_path_buf(),
            tensor: self.model.info(self.index).name.clone(),
            source,
        })?;
        Ok(weights)
    }
}

#[derive(Default)]
struct Sums {
    different: u64,
    squares: f64,
    weights: f64,
    max: f64,
}

/// `None` when both sides are equal to the byte.
fn compare(a: &Side<'_>, b: &Side<'_>, on_bytes: OnBytes<'_>) -> Result<Option<DataDifference>> {
    let info = a.model.info(a.index);
    let n = info.elements();
    let pieces: Vec<Range<u64>> = (0..n.div_ceil(PIECE_WEIGHTS))
        .map(|i| i * PIECE_WEIGHTS..n.min((i + 1) * PIECE_WEIGHTS))
        .collect();
    let sums = pieces
        .into_par_iter()
        .map(|weights| {
            let (x, y) = (a.bytes(&weights)?, b.bytes(&weights)?);
            on_bytes(x.len() as u64);
            let mut sums = Sums::default();
            if a.ty == b.ty {
                if x == y {
                    return Ok(sums);
                }
                let block = a.ty.block_bytes();
                let pairs = x.chunks_exact(block).zip(y.chunks_exact(block));
                sums.different = pairs.filter(|(x, y)| x != y).count() as u64;
            } else {
                sums.different = 1;
            }
            let count = (weights.end - weights.start) as usize;
            let (x, y) = (a.decode(&x, count)?, b.decode(&y, count)?);
            for (&x, &y) in x.iter().zip(&y) {
                let difference = f64::from(x) - f64::from(y);
                sums.squares += difference * difference;
                sums.max = sums.max.max(difference.abs());
                sums.weights += f64::from(x).powi(2);
            }
            Ok(sums)
        })
        .collect::<Result<Vec<Sums>>>()?
        .into_iter()
        .fold(Sums::default(), |a, b| Sums {
            different: a.different + b.different,
            squares: a.squares + b.squares,
            weights: a.weights + b.weights,
            max: a.max.max(b.max),
        });
    if sums.different == 0 {
        return Ok(None);
    }
    let blocks = info.size_bytes() / a.ty.block_bytes() as u64;
    Ok(Some(DataDifference {
        different_blocks: (a.ty == b.ty).then_some(sums.different),
        blocks,
        rms: (sums.squares / n as f64).sqrt(),
        relative_rms: (sums.squares / sums.weights.max(f64::MIN_POSITIVE)).sqrt(),
        max: sums.max,
    }))
}
