//! Directories that MLX wrote: experts stacked under a name of their own are taken apart, and what MLX stores in another
//! order than transformers is refused.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::parts::{Parts, Place};
use super::tensor_file::{Entry, TensorFile};
use crate::arch::multimodal;
use crate::{Error, Result};
use indexmap::IndexMap;

/// The name of a stack of experts.
const STACK: &str = ".switch_mlp.";
/// Most experts in a stack.
const MAX_EXPERTS: u64 = 4096;

/// Modules with stacks: how a single expert's module and its matrices are called.
const MODULES: [(&str, Matrices); 2] = [
    (".block_sparse_moe", Matrices::Numbered),
    (".mlp", Matrices::Same),
];

/// The names of an expert's matrices.
#[derive(Clone, Copy)]
enum Matrices {
    Same,
    /// As Mixtral numbers them.
    Numbered,
}

/// Whether a checkpoint has MLX's stacks of experts.
pub(super) fn are_in(parts: &Parts) -> bool {
    parts.tensors.keys().any(|name| name.contains(STACK))
}

/// Where one expert's matrix stands, by the name of the stack; the rest of the name stays.
pub(super) fn stack_of(name: &str) -> String {
    let Some((head, tail)) = name.split_once(".experts.") else {
        return name.to_owned();
    };
    let rest = tail.split_once('.').map_or("", |(_, rest)| rest);
    let (matrix, suffix) = rest.split_once('.').unwrap_or((rest, ""));
    let matrix = match matrix {
        "w1" => "gate_proj",
        "w2" => "down_proj",
        "w3" => "up_proj",
        other => other,
    };
    let dot = if suffix.is_empty() { "" } else { "." };
    format!("{head}{STACK}{matrix}{dot}{suffix}")
}

/// The name of one expert's part of a stack.
fn expert_name(name: &str, expert: u64) -> Option<String> {
    let (head, rest) = name.split_once(STACK)?;
    let (_, matrices) = MODULES.iter().find(|(module, _)| head.ends_with(module))?;
    let (matrix, suffix) = rest.split_once('.').unwrap_or((rest, ""));
    let matrix = match (matrices, matrix) {
        (Matrices::Numbered, "gate_proj") => "w1",
        (Matrices::Numbered, "down_proj") => "w2",
        (Matrices::Numbered, "up_proj") => "w3",
        (_, other) => other,
    };
    let dot = if suffix.is_empty() { "" } else { "." };
    Some(format!("{head}.experts.{expert}.{matrix}{dot}{suffix}"))
}

/// Takes the stacks of a checkpoint of MLX's apart.
///
/// # Errors
/// A stack that is none, and a convolution, whose axes MLX exchanges.
pub(super) fn take_apart(dir: &Path, parts: &mut Parts) -> Result<()> {
    let mut files: Vec<Slices> = parts.files.iter().map(|file| Slices::of(file.clone())).collect();
    let first = files.len();
    let mut tensors = IndexMap::new();
    for (name, at) in std::mem::take(&mut parts.tensors) {
        let (file, found) = (at.file, parts.entry(at));
        let fail =
            |message: String| Error::input(parts.files[file].path(), format!("tensor '{name}': {message}"));
        let is_text = multimodal::text_name(&name).is_some();
        if is_text && name.contains("conv") && found.shape.len() > 2 {
            return Err(fail(format!(
                "MLX stores convolutions (shape {:?}) with their axes in another order, and changes other weights of such \
                 models: convert the original model",
                found.shape
            )));
        }
        if !name.contains(STACK) {
            tensors.insert(name, at);
            continue;
        }
        let experts = match found.shape[..] {
            [experts, _] | [experts, _, _] if (1..=MAX_EXPERTS).contains(&experts) => experts,
            _ => {
                return Err(fail(format!(
                    "expected a stack of experts, found the shape {:?}",
                    found.shape
                )));
            }
        };
        let bytes = found.bytes / experts;
        for expert in 0..experts {
            let slice = expert_name(&name, expert).ok_or_else(|| {
                fail("expected a known module of MLX's stacks of experts, found another".to_owned())
            })?;
            let place = Place {
                file: first + file,
                entry: files[file].entries.len(),
            };
            files[file].entries.push(Entry {
                name: slice.clone(),
                shape: found.shape[1..].to_vec(),
                offset: found.offset + expert * bytes,
                bytes,
                ..found.clone()
            });
            if tensors.insert(slice.clone(), place).is_some() {
                return Err(fail(format!("expected no '{slice}' beside it, found one")));
            }
        }
    }
    parts.tensors = tensors;
    parts.files.extend(
        files
            .into_iter()
            .map(|file| Arc::new(file) as Arc<dyn TensorFile>),
    );
    if parts.tensors.is_empty() {
        return Err(Error::input(PathBuf::from(dir), "expected tensors, found none"));
    }
    Ok(())
}

/// Parts of the tensors of a file, as tensors.
#[derive(Debug)]
struct Slices {
    file: Arc<dyn TensorFile>,
    entries: Vec<Entry>,
}

impl Slices {
    fn of(file: Arc<dyn TensorFile>) -> Self {
        let entries = Vec::new();
        Self { file, entries }
    }
}

impl TensorFile for Slices {
    fn path(&self) -> &Path {
        self.file.path()
    }

    fn entries(&self) -> &[Entry] {
        &self.entries
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        self.file.read_at(offset, out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn experts_have_the_names_of_their_class() {
        for (stack, expert, first) in [
            (
                "model.layers.3.mlp.switch_mlp.up_proj.weight",
                7,
                "model.layers.3.mlp.experts.7.up_proj.weight",
            ),
            (
                "model.layers.3.block_sparse_moe.switch_mlp.down_proj.scales",
                0,
                "model.layers.3.block_sparse_moe.experts.0.w2.scales",
            ),
        ] {
            assert_eq!(expert_name(stack, expert).as_deref(), Some(first));
            assert_eq!(stack_of(first), stack);
        }
        assert_eq!(expert_name("model.layers.0.other.switch_mlp.x.weight", 0), None);
        assert_eq!(
            stack_of("model.layers.0.mlp.up_proj"),
            "model.layers.0.mlp.up_proj"
        );
        assert_eq!(
            stack_of("model.layers.0.mlp.experts.4.gate_proj"),
            "model.layers.0.mlp.switch_mlp.gate_proj"
        );
    }
}
