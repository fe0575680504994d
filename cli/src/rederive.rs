//! Learning a file's blocks again from its source and its text: the proof that they are what `--optimize` makes.

use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use convert::importance::{Importance, MissingImportance};
use convert::plan::PlannedTensor;
use convert::quantize::{OPTIMIZE_KEYS, QuantizeOptions, plan};
use convert::recipe::{Preset, RecipeOptions, TensorTypeRule};
use convert::source::Source;
use gguf::GgufModel;
use serde::Serialize;

use crate::optimization::{Level, OptimizeArgs, base_model, shown};

/// Rows that are compared at a time.
const ROWS: u64 = 64;

/// Outcome of learning again.
#[derive(Serialize)]
pub(crate) struct Rederived {
    /// Tensors with the same bytes.
    pub(crate) equal: usize,
    /// Names of the others.
    pub(crate) different: Vec<String>,
}

/// Learns the blocks of `file` again, with the types that it has, and compares them.
///
/// # Errors
/// A file that does not say that its blocks are learned, a text other than the one it names, and whatever keeps the
/// blocks from being learned.
pub(crate) fn rederive(
    file: &GgufModel,
    path: &Path,
    source: &dyn Source,
    importance: (Option<&Importance>, MissingImportance),
    text: &Path,
    max_memory: u64,
) -> anyhow::Result<Rederived> {
    let key = |name: &str| format!("{OPTIMIZE_KEYS}{name}");
    let metadata = file.metadata();
    let windows = metadata.get_u64(&key("windows")).with_context(|| {
        format!(
            "{}: key '{}': expected what was learned from a text, found none",
            path.display(),
            key("windows")
        )
    })?;
    let level = metadata.get_str(&key("method")).unwrap_or(Level::Layer.name());
    let steps = metadata.get_u64(&key("steps")).map(u32::try_from).transpose()?;
    let better = OptimizeArgs::again(level, text, usize::try_from(windows)?, steps)?.prepare(
        source.metadata(),
        source.path(),
        None,
        false,
    )?;
    for (name, made) in &better.record {
        let found = metadata.get(name);
        ensure!(
            found == Some(made),
            "{}: key '{name}': expected {}, which {} makes, found {}",
            path.display(),
            shown(made),
            text.display(),
            found.map_or_else(|| "none".to_owned(), shown)
        );
    }
    let rules = file
        .tensors()
        .filter(|t| t.info.ty.is_quantized())
        .map(|t| TensorTypeRule::new(&format!("^{}$", t.info.name.replace('.', "\\.")), t.info.ty))
        .collect::<Result<Vec<_>, _>>()?;
    let options = QuantizeOptions::new(Preset::Q8_0)
        .recipe(RecipeOptions::new(Preset::Q8_0).tensor_types(rules))
        .missing_importance(importance.1)
        .allow_requantize(true)
        .allow_incomplete(true);
    // Nothing is written under this name.
    let mut again = plan(source, &path.with_extension("again"), &options, importance.0)?;
    for tensor in again.outputs.iter().flat_map(|output| output.contents()) {
        let found = file.find(&tensor.name).map(|index| file.info(index).ty);
        if let Some(ty) = found.filter(|ty| ty.is_quantized() && *ty != tensor.ty) {
            bail!(
                "tensor '{}': expected {}, which the source's makes, found {ty}",
                tensor.name,
                tensor.ty
            );
        }
    }
    better.apply(source, &mut again, || base_model(source, path, 0), 0, max_memory)?;
    let mut result = Rederived {
        equal: 0,
        different: Vec::new(),
    };
    for tensor in again.outputs.iter().flat_map(|output| output.contents()) {
        match is_equal(file, tensor)? {
            Some(true) => result.equal += 1,
            Some(false) => result.different.push(tensor.name.clone()),
            None => {}
        }
    }
    Ok(result)
}

/// Whether the file has the tensor's learned blocks; `None` where none were learned.
fn is_equal(file: &GgufModel, tensor: &PlannedTensor) -> anyhow::Result<Option<bool>> {
    let Some(encoder) = &tensor.encoder else {
        return Ok(None);
    };
    let Some(index) = file.find(&tensor.name) else {
        return Ok(Some(false));
    };
    let info = file.info(index);
    let (rows, size) = (info.rows(), info.size_bytes());
    let per_row = size / rows.max(1);
    for first in (0..rows).step_by(ROWS as usize) {
        let range = first..rows.min(first + ROWS);
        let mut blocks = vec![0; ((range.end - first) * per_row) as usize];
        encoder.encode(info.ty, range.clone(), &[], 0, None, &mut blocks)?;
        let found = file.bytes(index, first * per_row..range.end * per_row)?;
        if found[..] != blocks[..] {
            return Ok(Some(false));
        }
    }
    Ok(Some(true))
}
