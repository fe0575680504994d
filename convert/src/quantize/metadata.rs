//! The metadata of a quantized file, as changes to the source's.

use gguf::{TensorType, Value};

use super::{OPTIMIZE_KEYS, QuantizeOptions, prune};
use crate::importance::Importance;
use crate::plan::Edit;
use crate::recipe::{KvOverride, by_layer};
use crate::source::Source;
use crate::{Error, Result};

/// Version of the block formats, stored in every quantized file.
const QUANTIZATION_VERSION: u32 = 2;
/// llama.cpp adds this to a file type that it guessed.
const GUESSED: u32 = 1024;
const FILE_TYPE: &str = "general.file_type";

/// A file of a model, by number.
#[derive(Clone, Copy)]
pub(super) struct Shard {
    pub(super) number: usize,
    pub(super) count: usize,
    /// Tensors over all files.
    pub(super) tensors: usize,
}

/// The parts that a model's files share.
pub(super) struct Shared<'a, 'o> {
    pub(super) source: &'a dyn Source,
    pub(super) options: &'o QuantizeOptions,
    pub(super) importance: Option<&'o Importance>,
    /// The layers that stay, where some are pruned.
    pub(super) kept: Option<&'o [u32]>,
    /// Whether any tensor gets new blocks; how the old ones were chosen is not said of these.
    pub(super) encodes: bool,
}

impl Shared<'_, '_> {
    /// The changes, in the order in which llama-quantize makes them: each set key moves to the end.
    pub(super) fn edits(&self, shard: Shard) -> Result<Vec<Edit>> {
        edits(self, shard)
    }
}

fn edits(shared: &Shared<'_, '_>, shard: Shard) -> Result<Vec<Edit>> {
    let &Shared {
        source,
        options,
        importance,
        kept: layers_kept,
        encodes,
    } = shared;
    let set = |key: &str, value: Value| Edit::Set(key.to_owned(), value);
    let mut edits = Vec::new();
    if shard.number == 0 {
        edits.push(Edit::EndStringsAtNul);
        edits.push(set("general.quantization_version", QUANTIZATION_VERSION.into()));
        edits.push(set(FILE_TYPE, file_type(source, options).into()));
        for key in ["split.no", "split.count", "split.tensors.count"] {
            edits.push(Edit::Remove(key.to_owned()));
        }
        if encodes {
            let keys = source.metadata().iter().map(|(key, _)| key);
            let stale = keys.filter(|key| key.starts_with(OPTIMIZE_KEYS));
            edits.extend(stale.map(|key| Edit::Remove(key.to_owned())));
        }
        for KvOverride { key, value } in &options.kv_overrides {
            let new = stored(key, value, options.force_overrides)?;
            if !options.force_overrides
                && let Some(objection) = gguf::keys::type_change(key, source.metadata().get(key), &new)
            {
                return Err(Error::Request(format!("override: {objection}")));
            }
            edits.push(set(key, new));
        }
        edits.extend(importance.map(Importance::record).unwrap_or_default());
        if let Some(kept) = layers_kept {
            let mut changed = prune::metadata(source.metadata(), kept).into_iter();
            // The one that llama-quantize sets comes first; the others stay where they are.
            edits.extend(changed.next().map(|(key, value)| Edit::Set(key, value)));
            edits.extend(changed.map(|(key, value)| Edit::SetInPlace(key, value)));
        }
        edits.extend(options.record.iter().map(|(key, value)| set(key, value.clone())));
    } else {
        edits.push(Edit::Clear);
    }
    if shard.count > 1 {
        let small = |n: usize| {
            u16::try_from(n).map(Value::U16).map_err(|_| {
                Error::Request(format!(
                    "shards: expected at most {}, found {}",
                    u16::MAX,
                    shard.count
                ))
            })
        };
        let tensors = i32::try_from(shard.tensors).map_err(|_| {
            Error::Request(format!(
                "tensors of shards: expected at most {}, found {}",
                i32::MAX,
                shard.tensors
            ))
        })?;
        edits.push(set("split.no", small(shard.number)?));
        edits.push(set("split.count", small(shard.count)?));
        edits.push(set("split.tensors.count", tensors.into()));
    }
    Ok(edits)
}

/// An override in the type that llama.cpp gives it: integers become u32 (forced, by their absolute value modulo
/// 2^32), floats f32.
fn stored(key: &str, value: &Value, force: bool) -> Result<Value> {
    let out_of_range = |found: String, expected: &str| {
        Error::Request(format!(
            "override: key '{key}': expected {expected}, found {found}"
        ))
    };
    Ok(match value {
        Value::I64(v) => match u32::try_from(*v) {
            Ok(v) => Value::U32(v),
            Err(_) if force => Value::U32(v.unsigned_abs() as u32),
            Err(_) => return Err(out_of_range(v.to_string(), "an integer from 0 to 2^32 - 1")),
        },
        Value::F64(v) if !force && !(*v as f32).is_finite() => {
            return Err(out_of_range(v.to_string(), "a finite number in the range of f32"));
        }
        Value::F64(v) => Value::F32(*v as f32),
        Value::Bool(_) | Value::String(_) => value.clone(),
        _ => {
            return Err(Error::Request(format!(
                "override of {key}: expected an integer, a float, a boolean or a string"
            )));
        }
    })
}

/// The preset's file type; for a copy that of the source.
fn file_type(source: &dyn Source, options: &QuantizeOptions) -> u32 {
    options.recipe.preset.info().file_type.unwrap_or_else(|| {
        let overridden = options
            .kv_overrides
            .iter()
            .find(|o| o.key == FILE_TYPE)
            .and_then(|o| o.value.as_u64());
        overridden
            .or_else(|| source.metadata().get_u64(FILE_TYPE))
            .and_then(|n| u32::try_from(n).ok())
            .unwrap_or_else(|| guessed_file_type(source))
    })
}

/// The file type named after the most frequent tensor type, in llama.cpp's walk the first of equals.
fn guessed_file_type(source: &dyn Source) -> u32 {
    use TensorType as T;
    let mut tensors: Vec<_> = source.tensors().iter().collect();
    tensors.sort_by(|a, b| by_layer(&a.name, &b.name));
    let mut counts: Vec<(TensorType, usize)> = Vec::new();
    let mut most = (T::F32, 0);
    for tensor in tensors {
        let at = counts
            .iter()
            .position(|(ty, _)| *ty == tensor.ty)
            .unwrap_or_else(|| {
                counts.push((tensor.ty, 0));
                counts.len() - 1
            });
        counts[at].1 += 1;
        if counts[at].1 > most.1 {
            most = counts[at];
        }
    }
    let id = match most.0 {
        T::F16 => 1,
        T::Q4_0 => 2,
        T::Q4_1 => 3,
        T::Q8_0 => 7,
        T::Q5_0 => 8,
        T::Q5_1 => 9,
        T::Q2_K => 10,
        T::Q3_K => 12,
        T::Q4_K => 15,
        T::Q5_K => 17,
        T::Q6_K => 18,
        T::IQ2_XXS => 19,
        T::IQ2_XS => 20,
        T::IQ3_XXS => 23,
        T::IQ1_S => 24,
        T::IQ4_NL => 25,
        T::IQ3_S => 26,
        T::IQ2_S => 28,
        T::IQ4_XS => 30,
        T::IQ1_M => 31,
        T::BF16 => 32,
        T::TQ1_0 => 36,
        T::TQ2_0 => 37,
        T::NVFP4 => 39,
        T::Q1_0 => 40,
        T::Q2_0 => 41,
        _ => 0,
    };
    id | GUESSED
}
