//! Quantization of a GGUF model as llama-quantize does it, as library calls: plan, look, execute.
//!
//! Files equal llama-quantize's to the byte, its quirks included (tensors are put into layer order, set
//! keys move to the end, strings end at a NUL byte, outer dimensions of 1 are dropped). Where we differ
//! on purpose:
//!
//! * `general.alignment` is obeyed; llama-quantize keeps the key but lays the file out by 32, so that the
//!   file contradicts itself.
//! * Requests that fit nothing are errors: a type rule or a selection of weights that matches no
//!   tensor, a layer to prune that does not exist.
//! * Importance that a type needs and the matrix lacks is found while planning, for all tensors at
//!   once, and not when the first of them is reached.
//! * Layers that are pruned take their entries of per-layer arrays with them, and are not counted any more among those
//!   at the beginning or the end (dense, predicting); llama-quantize leaves these as they are, and llama.cpp then
//!   refuses the file. Pruning all layers is refused.
//! * An override that changes a key's type, or a number that its type does not hold, is refused unless forced.
//! * A value that is not finite is reported with its tensor, row and column.

mod metadata;
mod prune;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use gguf::TensorType;
use reference::requirements::Shortfall;

use crate::completeness;
use crate::importance::{Importance, MissingImportance};
use crate::pipeline::{self, OnProgress, PipelineOptions};
use crate::plan::{OutputPlan, PlannedTensor, matrices};
use crate::recipe::{
    Assignment, Change, Hyperparameters, KvOverride, Preset, RecipeOptions, TensorSpec, choose_types,
    sort_by_layer, summarize,
};
use crate::shards::{Shards, cut};
use crate::source::{Source, SourceTensor};
use crate::{Error, Remedy, Result};

/// The beginning of the keys that say how blocks were chosen, where they are other than stock's.
pub const OPTIMIZE_KEYS: &str = "quantsmith.optimize.";

/// Options for quantizing a model.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct QuantizeOptions {
    /// Types of the tensors. [`RecipeOptions::has_importance`] is set by [`plan`].
    pub recipe: RecipeOptions,
    /// Allow changing the type of tensors that are quantized already.
    pub allow_requantize: bool,
    /// Accept a source that lacks what its architecture needs.
    pub allow_incomplete: bool,
    /// Layers to leave out.
    pub prune_layers: Vec<u32>,
    /// Write one file for each shard of the source.
    pub keep_split: bool,
    /// Metadata keys to set, in this order.
    pub kv_overrides: Vec<KvOverride>,
    /// Let `kv_overrides` change the type of a key, and take numbers out of range as llama-quantize does.
    pub force_overrides: bool,
    /// Treatment of tensors whose type needs importance that a given matrix does not have.
    pub missing_importance: MissingImportance,
    /// Cut the output into shards; not together with `keep_split`.
    pub shards: Option<Shards>,
    /// Keys to record after all others, such as how blocks were optimized.
    pub record: Vec<(String, gguf::Value)>,
}

gguf::setters! {
    QuantizeOptions {
        recipe: RecipeOptions,
        allow_requantize: bool,
        allow_incomplete: bool,
        prune_layers: Vec<u32>,
        keep_split: bool,
        kv_overrides: Vec<KvOverride>,
        force_overrides: bool,
        missing_importance: MissingImportance,
        shards: Option<Shards>,
        record: Vec<(String, gguf::Value)>,
    }
}

impl QuantizeOptions {
    /// The plain preset.
    pub fn new(preset: Preset) -> Self {
        Self {
            recipe: RecipeOptions::new(preset),
            allow_requantize: false,
            allow_incomplete: false,
            prune_layers: Vec::new(),
            keep_split: false,
            kv_overrides: Vec::new(),
            force_overrides: false,
            missing_importance: MissingImportance::Error,
            shards: None,
            record: Vec::new(),
        }
    }
}

/// A tensor in a list of a plan, with the type that put it there.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListedTensor {
    /// The tensor.
    pub tensor: String,
    /// The type: that of the output, or for [`Quantization::requantized`] that of the source.
    pub ty: TensorType,
}

/// A quantization that is ready to run: every file, and everything worth knowing before.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Quantization<'a> {
    /// The source's path.
    pub source: PathBuf,
    /// The preset.
    pub preset: Preset,
    /// The files; more than one only with `keep_split` or `shards`.
    pub outputs: Vec<OutputPlan<'a>>,
    /// Types changed by explicit rules.
    pub overrides: Vec<Change>,
    /// Types replaced because rows do not fit them.
    pub substituted: Vec<Change>,
    /// Tensors whose type needs importance that is not there: executing is refused.
    pub missing_importance: Vec<ListedTensor>,
    /// Tensors whose type needs importance that the matrix does not have, encoded with every column counting the
    /// same ([`MissingImportance::Uniform`]).
    pub uniform_importance: Vec<ListedTensor>,
    /// Tensors encoded without importance although a matrix was given.
    pub without_importance: Vec<String>,
    /// Tensors that would be quantized from an already quantized form without leave.
    pub requantized: Vec<ListedTensor>,
    /// Shortfalls of the model, with which executing is refused.
    pub shortfalls: Vec<Shortfall>,
    /// Requests that have no effect, and what could not be checked.
    pub warnings: Vec<String>,
    /// Bytes of the source's tensors, pruned ones left out.
    pub source_bytes: u64,
}

impl Quantization<'_> {
    /// Bytes of all files.
    pub fn file_size(&self) -> u64 {
        self.outputs.iter().map(OutputPlan::file_size).sum()
    }

    /// Bytes of all tensors.
    pub fn tensor_bytes(&self) -> u64 {
        self.outputs.iter().map(OutputPlan::tensor_bytes).sum()
    }

    /// Number of weights.
    pub fn weights(&self) -> u64 {
        self.outputs.iter().map(OutputPlan::weights).sum()
    }

    /// Bits per weight over all tensors, as llama-quantize reports them.
    pub fn bits_per_weight(&self) -> f64 {
        self.tensor_bytes() as f64 * 8.0 / (self.weights().max(1)) as f64
    }

    /// Whether it can be executed.
    ///
    /// # Errors
    /// A model that is not whole, missing importance or forbidden requantizing, with the tensors' names.
    pub fn check(&self) -> Result<()> {
        if !self.shortfalls.is_empty() {
            let incomplete = Error::input(&self.source, completeness::describe(&self.shortfalls));
            return Err(incomplete.avoided_by(Remedy::AllowIncomplete));
        }
        if !self.missing_importance.is_empty() {
            return Err(Error::Request(format!(
                "preset {} needs an importance matrix, which has no values for {} tensors: {}",
                self.preset,
                self.missing_importance.len(),
                describe(&self.missing_importance)
            ))
            .avoided_by(Remedy::Importance));
        }
        if !self.requantized.is_empty() {
            return Err(Error::Request(format!(
                "{} tensors are quantized already, and lose quality again: {}",
                self.requantized.len(),
                describe(&self.requantized)
            ))
            .avoided_by(Remedy::AllowRequantize));
        }
        Ok(())
    }
}

fn describe(tensors: &[ListedTensor]) -> String {
    let names: Vec<String> = tensors
        .iter()
        .map(|t| format!("{} ({})", t.tensor, t.ty))
        .collect();
    summarize(&names)
}

/// Plans a quantization of `source` into `path`; with `keep_split`, `path` is the prefix of the
/// shards' names. The result equals, to the byte, what llama-quantize writes.
///
/// # Errors
/// Requests that the model cannot meet. What only forbids executing (missing importance,
/// requantizing) is left to [`Quantization::check`].
pub fn plan<'a>(
    source: &'a dyn Source,
    path: &Path,
    options: &QuantizeOptions,
    importance: Option<&Importance>,
) -> Result<Quantization<'a>> {
    let tensors = source.tensors();
    let names: Vec<&str> = tensors.iter().map(|t| t.name.as_str()).collect();
    let mut order = sort_by_layer(&names);
    let pruned = prune::rename(&names, &order, &options.prune_layers)?;
    order.retain(|&index| pruned.names[index].is_some());
    if options.keep_split {
        order.sort_by_key(|&index| (tensors[index].shard, index));
    }
    let name_of = |index: usize| pruned.names[index].as_deref().unwrap_or_default();

    let model = Hyperparameters::new(source.metadata(), &options.kv_overrides)?;
    let recipe_options = RecipeOptions {
        has_importance: importance.is_some(),
        ..options.recipe.clone()
    };
    let specs: Vec<TensorSpec<'_>> = order
        .iter()
        .map(|&index| TensorSpec {
            name: name_of(index),
            shape: &tensors[index].shape,
            ty: tensors[index].ty,
        })
        .collect();
    let recipe = choose_types(&model, &specs, &recipe_options)?;

    let mut result = Quantization {
        source: source.path().to_owned(),
        preset: options.recipe.preset,
        outputs: Vec::new(),
        overrides: recipe.overrides,
        substituted: recipe.substituted,
        missing_importance: Vec::new(),
        uniform_importance: Vec::new(),
        without_importance: Vec::new(),
        requantized: Vec::new(),
        shortfalls: Vec::new(),
        warnings: recipe.warnings,
        source_bytes: 0,
    };
    let mut files: Vec<Vec<PlannedTensor>> = Vec::new();
    for ((&index, assignment), spec) in order.iter().zip(&recipe.assignments).zip(&specs) {
        let from = &tensors[index];
        let row = from.shape.first().copied().unwrap_or(1);
        result.source_bytes +=
            from.ty.row_bytes(row).unwrap_or(0) * from.shape.iter().skip(1).product::<u64>();
        let values = match assignment.ty == from.ty {
            true => None,
            false => {
                check_convertible(source, from, assignment.ty)?;
                result.values_for(from, spec.name, assignment, options, importance)?
            }
        };
        let file = if options.keep_split { from.shard } else { 0 };
        if files.len() <= file {
            files.resize_with(file + 1, Vec::new);
        }
        files[file].push(PlannedTensor {
            source: index,
            name: spec.name.to_owned(),
            shape: gguf::ggml_shape(&from.shape),
            ty: assignment.ty,
            importance: values,
            encoder: None,
        });
    }

    let shared = metadata::Shared {
        source,
        options,
        importance,
        kept: pruned.kept.as_deref(),
        encodes: files.iter().flatten().any(|t| t.ty != tensors[t.source].ty),
    };
    result.outputs = outputs(path, files, &shared)?;
    if !options.allow_incomplete {
        result.find_shortfalls(source, options);
    }
    Ok(result)
}

/// The files of a quantization: one, or one for each shard.
fn outputs<'a>(
    path: &Path,
    files: Vec<Vec<PlannedTensor>>,
    shared: &metadata::Shared<'a, '_>,
) -> Result<Vec<OutputPlan<'a>>> {
    let (source, options) = (shared.source, shared.options);
    let (count, tensors) = (files.len(), files.iter().map(Vec::len).sum());
    let mut outputs = Vec::new();
    for (number, contents) in files.into_iter().enumerate() {
        let shard = metadata::Shard {
            number,
            count,
            tensors,
        };
        let path = match options.keep_split {
            true => gguf::split::shard_path(path, number as u64, count as u64),
            false => path.to_path_buf(),
        };
        let output = OutputPlan::new(path, source.metadata(), shared.edits(shard)?, contents)?;
        match &options.shards {
            Some(shards) if !options.keep_split => outputs.extend(cut(output, shards)?),
            _ => outputs.push(output),
        }
    }
    Ok(outputs)
}

impl Quantization<'_> {
    /// The importance of a tensor whose type changes. Lists the tensor where it has none, and where it is quantized
    /// already.
    fn values_for(
        &mut self,
        from: &SourceTensor,
        name: &str,
        assignment: &Assignment,
        options: &QuantizeOptions,
        importance: Option<&Importance>,
    ) -> Result<Option<Arc<[f32]>>> {
        if from.ty.is_quantized() && !options.allow_requantize {
            self.requantized.push(ListedTensor {
                tensor: from.name.clone(),
                ty: from.ty,
            });
        }
        let row = from.shape.first().copied().unwrap_or(1);
        // Pruned layers shift the numbers; the matrix knows the original ones.
        let mut values = importance_of(importance, &from.name, row, &from.shape)?;
        if values.is_none() && assignment.needs_importance {
            let listed = ListedTensor {
                tensor: name.to_owned(),
                ty: assignment.ty,
            };
            if options.missing_importance == MissingImportance::Uniform {
                let columns = row.saturating_mul(matrices(&from.shape));
                values = importance.and_then(|i| i.uniform(columns));
            }
            match values {
                Some(_) => self.uniform_importance.push(listed),
                None => self.missing_importance.push(listed),
            }
        } else if values.is_none() && importance.is_some() {
            self.without_importance.push(name.to_owned());
        }
        Ok(values)
    }

    /// Finds what the planned model lacks.
    fn find_shortfalls(&mut self, source: &dyn Source, options: &QuantizeOptions) {
        let tensors = self.outputs.iter().flat_map(OutputPlan::tensors);
        // Only what changes keys is worth a copy of the vocabulary.
        let changed = !options.prune_layers.is_empty() || !options.kv_overrides.is_empty();
        let found = match self.outputs.first().filter(|_| changed) {
            Some(first) => completeness::shortfalls(&first.metadata(), tensors),
            None => completeness::shortfalls(source.metadata(), tensors),
        };
        match found {
            Ok(found) => self.shortfalls = found,
            Err(unknown) => self.warnings.push(unknown.to_string()),
        }
    }
}

/// Executes a plan; with a `journal`, so that it can be continued.
///
/// # Errors
/// As [`Quantization::check`] and [`pipeline::write`].
pub fn run(
    source: &dyn Source,
    plan: &Quantization<'_>,
    options: &PipelineOptions,
    journal: Option<&Path>,
    on_progress: OnProgress<'_>,
) -> Result<()> {
    plan.check()?;
    pipeline::write(source, &plan.outputs, options, journal, on_progress)
}

/// The output path that llama-quantize takes when none is given: `ggml-model-PRESET.gguf` beside the
/// input, and with `keep_split` that without its extension, the prefix of the shards' names. Of an input in the hub's
/// cache it is in the current directory.
pub fn default_output(input: &Path, preset: Preset, keep_split: bool) -> PathBuf {
    let suffix = if keep_split { "" } else { ".gguf" };
    let name = format!("ggml-model-{preset}{suffix}");
    match input.parent().and_then(crate::hub::repository) {
        Some(_) => PathBuf::from(name),
        None => crate::plan::sibling(input, &name),
    }
}

fn check_convertible(source: &dyn Source, from: &SourceTensor, ty: TensorType) -> Result<()> {
    use TensorType as T;
    let readable = matches!(from.ty, T::F32 | T::F16 | T::BF16) || from.ty.is_quantized();
    if readable && quants::can_decode(from.ty) && quants::can_encode(ty) {
        return Ok(());
    }
    Err(Error::input(
        source.path(),
        format!(
            "tensor '{}': expected a type that can be converted to {ty}, found {}",
            from.name, from.ty
        ),
    ))
}

/// The importance of a tensor, when there is some and it fits.
fn importance_of(
    importance: Option<&Importance>,
    name: &str,
    row: u64,
    shape: &[u64],
) -> Result<Option<Arc<[f32]>>> {
    let Some(values) = importance.and_then(|i| i.of(name)) else {
        return Ok(None);
    };
    let expected = row.saturating_mul(matrices(shape));
    if values.len() as u64 == expected {
        return Ok(Some(values.clone()));
    }
    // Embeddings are looked up, not multiplied; what a matrix has under their name belongs to the
    // output and may have another shape.
    if matches!(name, "token_embd.weight" | "per_layer_token_embd.weight") {
        return Ok(None);
    }
    Err(Error::Request(format!(
        "importance of tensor '{name}': expected {expected} values, found {}",
        values.len()
    )))
}
