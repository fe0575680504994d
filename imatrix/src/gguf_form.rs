//! The GGUF format: tensors `NAME.in_sum2` and `NAME.counts`, and three keys that describe them.

use std::path::Path;

use gguf::{Array, GgufModel, GgufString, TensorType, Value};

use crate::{Entries, Entry, Error, Form, ImportanceMatrix, Result};

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

/// The matrix of a file, and the lines that describe its run.
pub(crate) fn load(path: &Path) -> Result<(ImportanceMatrix, Vec<String>)> {
    let file = Opened {
        path,
        model: GgufModel::open(path)?,
    };
    let metadata = file.model.metadata();
    let kind = metadata.get_str("general.type");
    if let Some(kind) = kind.filter(|&kind| kind != "imatrix") {
        return Err(file.unfit("key 'general.type'", format!("{kind:?}"), "\"imatrix\""));
    }
    let run = match metadata.get(RUN) {
        Some(Value::Array(Array::String(lines))) => texts(lines),
        _ => Vec::new(),
    };
    let matrix = ImportanceMatrix {
        datasets: match metadata.get(DATASETS) {
            Some(Value::Array(Array::String(names))) => texts(names),
            Some(_) => Vec::new(),
            None => {
                return Err(file.unfit(&format!("key '{DATASETS}'"), "nothing".into(), "a list of texts"));
            }
        },
        chunk_count: file.number(CHUNK_COUNT)?,
        chunk_size: file.number(CHUNK_SIZE)?,
        entries: file.entries()?,
        form: Form::Gguf,
    };
    Ok((matrix, run))
}

fn texts(list: &[GgufString]) -> Vec<String> {
    list.iter()
        .map(|text| text.to_string_lossy().into_owned())
        .collect()
}

/// A file that may be an importance matrix.
struct Opened<'a> {
    path: &'a Path,
    model: GgufModel,
}

impl Opened<'_> {
    fn unfit(&self, subject: &str, found: String, expected: &str) -> Error {
        Error::NotAnImatrix {
            path: self.path.to_path_buf(),
            subject: subject.to_owned(),
            found,
            expected: expected.to_owned(),
        }
    }

    fn number(&self, key: &str) -> Result<u32> {
        let value = self.model.metadata().get(key);
        value
            .and_then(Value::as_u64)
            .and_then(|n| u32::try_from(n).ok())
            .ok_or_else(|| {
                let found = value.map_or("nothing".into(), |v| format!("{v:?}"));
                self.unfit(&format!("key '{key}'"), found, "a 32-bit number")
            })
    }

    /// Sums and counts by the name of their tensor.
    fn entries(&self) -> Result<Entries> {
        let mut entries = Entries::new();
        for tensor in self.model.tensors() {
            let name = tensor.info.name.as_str();
            let (base, is_sums) = if let Some(base) = name.strip_suffix(SUMS_SUFFIX) {
                (base, true)
            } else if let Some(base) = name.strip_suffix(COUNTS_SUFFIX) {
                (base, false)
            } else {
                continue;
            };
            if tensor.info.ty != TensorType::F32 {
                let found = tensor.info.ty.to_string();
                return Err(self.unfit(&format!("tensor '{name}'"), found, "f32"));
            }
            let bytes = self.model.bytes(tensor.index, 0..tensor.info.size_bytes())?;
            let values = numbers(&bytes).collect();
            let entry = entries.get_or_insert_with(base, Entry::default);
            if is_sums {
                entry.sums = values;
            } else {
                entry.counts = values;
            }
        }
        if entries.is_empty() {
            return Err(self.unfit("tensors", "no sums".into(), "NAME.in_sum2 and NAME.counts"));
        }
        for (name, entry) in entries.iter() {
            let (sums, counts) = (entry.sums.len(), entry.counts.len());
            if sums == 0 || counts == 0 || !sums.is_multiple_of(counts) {
                return Err(self.unfit(
                    &format!("entry '{name}'"),
                    format!("{sums} sums and {counts} counts"),
                    "both, with as many sums for each count",
                ));
            }
        }
        Ok(entries)
    }
}
