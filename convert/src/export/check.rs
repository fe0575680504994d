//! Differences that converting the new directory again would make.

use std::collections::BTreeSet;
use std::path::Path;

use super::ExportType;
use super::weights::Plan;
use crate::Result;
use crate::source::hf::{HfOptions, HfSource, OutType};
use crate::source::{GgufSource, Source};

/// Keys that quantizing adds and sets; what is exported is not quantized.
const OF_QUANTIZING: [&str; 3] = ["general.file_type", "general.quantization_version", "quantize."];

/// Most keys that are listed one by one.
const MAX_LISTED: usize = 10;

/// Differences between the file and what the directory gives, one to a line.
///
/// # Errors
/// A directory that cannot be converted.
pub(super) fn differences(source: &GgufSource, dir: &Path, plan: &Plan) -> Result<Vec<String>> {
    let options = HfOptions {
        outtype: match plan.dtype {
            ExportType::F32 => OutType::F32,
            ExportType::F16 => OutType::F16,
            ExportType::BF16 => OutType::BF16,
        },
        ..HfOptions::default()
    };
    let back = HfSource::open(dir, &options)?;
    let mut found = Vec::new();
    let counted = |key: &str| {
        let of_quantizing = plan.changes && OF_QUANTIZING.iter().any(|k| key.starts_with(k));
        !key.starts_with("split.") && !of_quantizing
    };
    let (ours, theirs) = (source.metadata(), back.metadata());
    let keys: BTreeSet<&str> = ours.iter().chain(theirs.iter()).map(|(k, _)| k).collect();
    for key in keys.into_iter().filter(|k| counted(k)) {
        found.extend(match (ours.get(key), theirs.get(key)) {
            (Some(a), Some(b)) if a == b => None,
            (Some(_), Some(_)) => Some(format!("key {key} would be another")),
            (Some(_), None) => Some(format!("key {key} would be missing")),
            _ => Some(format!("key {key} would be new")),
        });
    }
    let rest = found.len().saturating_sub(MAX_LISTED);
    if rest > 0 {
        found.truncate(MAX_LISTED);
        found.push(format!("{rest} more keys would differ"));
    }
    let order = |metadata: &gguf::Metadata| -> Vec<String> {
        let keys = metadata.iter().map(|(k, _)| k.to_owned());
        keys.filter(|k| counted(k)).collect()
    };
    if found.is_empty() && order(ours) != order(theirs) {
        found.push("the keys would be in another order".to_owned());
    }
    let shapes = |source: &dyn Source| -> Vec<(String, Vec<u64>)> {
        let tensors = source.tensors().iter();
        tensors
            .map(|t| (t.name.clone(), gguf::ggml_shape(&t.shape)))
            .collect()
    };
    let (mut ours, mut theirs) = (shapes(source), shapes(&back));
    if ours != theirs {
        ours.sort();
        theirs.sort();
        found.push(if ours == theirs {
            "the tensors would be in another order".to_owned()
        } else {
            "the tensors would be others".to_owned()
        });
    }
    for line in &mut found {
        line.insert_str(0, "converted again, ");
    }
    Ok(found)
}
