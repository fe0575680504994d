//! The GGUF format: tensors `NAME.in_sum2` and `NAME.counts`, and three keys that describe them.

use std::path::Path;

use gguf::{Array, GgufModel, TensorType, Value};
use indexmap::IndexMap;

use crate::{Entry, Error, Form, ImportanceMatrix, Result};

const DATASETS: &str = "imatrix.datasets";
const CHUNK_COUNT: &str = "imatrix.chunk_count";
const CHUNK_SIZE: &str = "imatrix.chunk_size";
/// Key of the fingerprint of a checkpoint's run.
pub(crate) const RUN: &str = "imatrix.checkpoint.run";
pub(crate) const SUMS_SUFFIX: &str = ".in_sum2";
pub(crate) const COUNTS_SUFFIX: &str = ".counts";

/// The numbers of some bytes.
pub(crate) fn numbers(bytes: &[u8]) -> impl Iterator<Item = f32> {
    let values = bytes.chunks_exact(4);
    values.map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
}

pub(crate) fn load(path: &Path) -> Result<(ImportanceMatrix, Vec<String>)> {
    let unfit = |subject: &str, found: String, expected: &str| Error::NotAnImatrix {
        path: path.to_path_buf(),
        subject: subject.to_owned(),
        found,
        expected: expected.to_owned(),
    };
    let file = GgufModel::open(path)?;
    if let Some(kind) = file
        .metadata()
        .get_str("general.type")
        .filter(|&kind| kind != "imatrix")
    {
        return Err(unfit(
            "metadata key general.type",
            format!("{kind:?}"),
            "\"imatrix\"",
        ));
    }
    let number = |key: &str| {
        let value = file.metadata().get(key);
        value
            .and_then(Value::as_u64)
            .and_then(|n| u32::try_from(n).ok())
            .ok_or_else(|| {
                let found = value.map_or("nothing".into(), |v| format!("{v:?}"));
                unfit(&format!("metadata key {key}"), found, "a 32-bit number")
            })
    };
    let datasets = match file.metadata().get(DATASETS) {
        Some(Value::Array(Array::String(names))) => names
            .iter()
            .map(|name| name.to_string_lossy().into_owned())
            .collect(),
        Some(_) => Vec::new(),
        None => {
            return Err(unfit(
                &format!("metadata key {DATASETS}"),
                "nothing".into(),
                "a list of texts",
            ));
        }
    };
    let run = match file.metadata().get(RUN) {
        Some(Value::Array(Array::String(lines))) => lines
            .iter()
            .map(|line| line.to_string_lossy().into_owned())
            .collect(),
        _ => Vec::new(),
    };
    let (chunk_count, chunk_size) = (number(CHUNK_COUNT)?, number(CHUNK_SIZE)?);

    let mut entries: IndexMap<String, Entry> = IndexMap::new();
    for tensor in file.tensors() {
        let name = tensor.info.name.as_str();
        let (base, is_sums) = if let Some(base) = name.strip_suffix(SUMS_SUFFIX) {
            (base, true)
        } else if let Some(base) = name.strip_suffix(COUNTS_SUFFIX) {
            (base, false)
        } else {
            continue;
        };
        if tensor.info.ty != TensorType::F32 {
            return Err(unfit(
                &format!("tensor {name}"),
                tensor.info.ty.to_string(),
                "f32",
            ));
        }
        let bytes = file.bytes(tensor.index, 0..tensor.info.size_bytes())?;
        let values = numbers(&bytes).collect();
        let entry = entries.entry(base.to_owned()).or_default();
        if is_sums {
            entry.sums = values;
        } else {
            entry.counts = values;
        }
    }
    if entries.is_empty() {
        return Err(unfit("tensors", "no sums".into(), "NAME.in_sum2 and NAME.counts"));
    }
    for (name, entry) in &entries {
        let (sums, counts) = (entry.sums.len(), entry.counts.len());
        if sums == 0 || counts == 0 || !sums.is_multiple_of(counts) {
            return Err(unfit(
                &format!("entry {name}"),
                format!("{sums} sums and {counts} counts"),
                "both, with as many sums for each count",
            ));
        }
    }
    let matrix = ImportanceMatrix {
        entries,
        datasets,
        chunk_count,
        chunk_size,
        form: Form::Gguf,
    };
    Ok((matrix, run))
}
