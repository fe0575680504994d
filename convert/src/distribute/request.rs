//! The request that a plan is made from, in a form that can be written down and read again elsewhere.

use std::path::Path;

use gguf::split::{Limit, SplitOptions};
use gguf::{TensorType, Value};
use serde::{Deserialize, Serialize};

use crate::hub::Origin;
use crate::importance::{MissingImportance, Selection, last_component};
use crate::quantize::QuantizeOptions;
use crate::recipe::{KvOverride, Preset, RecipeOptions, TensorTypeRule};
use crate::shards::Shards;
use crate::table::{Entry, TableOptions};
use crate::{Error, Result};

/// The unit of which parts consist.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cut {
    /// Rows of tensors: all parts write into the same files, which are on a disk that they share.
    #[default]
    Rows,
    /// Whole files, each valid by itself: parts need no disk in common.
    Files,
}

/// Everything that decides the bytes of the files, but for the inputs' content.
///
/// This and the requests in it can be written as literals: their fields are those of the plan's document, whose version
/// changes with them, and a program that writes such a document has to decide each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// The model's directory or file.
    pub model: String,
    /// Where on the hub the model is from, which the files record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// Files are named `NAME-PRESET.gguf`.
    pub name: String,
    /// Their directory.
    pub directory: String,
    /// The presets, in the order of the table.
    pub presets: Vec<String>,
    /// The cut into parts.
    pub cut: Cut,
    /// The importance matrix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imatrix: Option<ImatrixRequest>,
    /// The choices of types besides the preset.
    #[serde(default, skip_serializing_if = "TypesRequest::is_plain")]
    pub types: TypesRequest,
    /// Layers that are left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prune_layers: Vec<u32>,
    /// Metadata keys to set, `KEY=TYPE:VALUE` each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub override_kv: Vec<String>,
    /// Let these change the type of a key.
    #[serde(default, skip_serializing_if = "is_false")]
    pub force: bool,
    /// Change the type of tensors that are quantized already.
    #[serde(default, skip_serializing_if = "is_false")]
    pub allow_requantize: bool,
    /// Accept a model that lacks what its architecture needs.
    #[serde(default, skip_serializing_if = "is_false")]
    pub allow_incomplete: bool,
    /// Name of the pre-tokenizer, instead of finding it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pre_tokenizer: Option<String>,
    /// Description of the architecture, of a model directory whose class is not built in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arch_file: Option<String>,
    /// Cut of each file into shards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<SplitRequest>,
    /// Blocks that are learned from the inputs of each layer, instead of stock's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub optimize: Option<OptimizeRequest>,
    /// Measurement of the files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evaluation: Option<EvaluationRequest>,
}

/// The source that blocks are learned from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptimizeRequest {
    /// The level, by its name; `layer` where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<String>,
    /// Steps of tuning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<u32>,
    /// The text; a bundled one where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Most windows of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chunks: Option<usize>,
}

/// How files are measured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvaluationRequest {
    /// The text; a bundled one where there is none, and no suite.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Folder of texts of several kinds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suite: Option<String>,
    /// Tokens of a window.
    pub context: usize,
    /// Most windows of each text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chunks: Option<usize>,
    /// Rounding of the forward pass besides the weights.
    pub rounding: String,
}

/// An importance matrix and its use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImatrixRequest {
    /// The file.
    pub file: String,
    /// The name that is recorded in the files; the last component of `file` where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recorded_as: Option<String>,
    /// Only entries with one of these in their names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub include: Vec<String>,
    /// No entries with one of these in their names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
    /// Let every column of a tensor that needs importance and has none count the same.
    #[serde(default, skip_serializing_if = "is_false")]
    pub missing_uniform: bool,
    /// Weight, in tokens, of the mean over all experts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expert_prior: Option<u32>,
}

/// The choices of types besides the preset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TypesRequest {
    /// The preset's base type for every tensor.
    #[serde(default, skip_serializing_if = "is_false")]
    pub pure: bool,
    /// `output.weight` as it is.
    #[serde(default, skip_serializing_if = "is_false")]
    pub leave_output_tensor: bool,
    /// Type of `output.weight`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tensor_type: Option<String>,
    /// Type of the token embeddings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_embedding_type: Option<String>,
    /// Rules, `REGEX=TYPE` each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tensor_types: Vec<String>,
    /// Refuse to replace a type that does not fit.
    #[serde(default, skip_serializing_if = "is_false")]
    pub no_fallback: bool,
}

/// A cut into shards as llama-gguf-split makes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SplitRequest {
    /// Most tensors in a shard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tensors: Option<u64>,
    /// Most bytes in a shard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<u64>,
    /// The first shard without tensors.
    #[serde(default, skip_serializing_if = "is_false")]
    pub no_tensor_first_split: bool,
}

fn is_false(value: &bool) -> bool {
    !value
}

impl TypesRequest {
    fn is_plain(&self) -> bool {
        *self == Self::default()
    }

    /// This part of a recipe.
    pub fn of(recipe: &RecipeOptions) -> Self {
        let name = |ty: TensorType| ty.name().to_owned();
        Self {
            pure: recipe.pure,
            leave_output_tensor: recipe.leave_output_tensor,
            output_tensor_type: recipe.output_tensor_type.map(name),
            token_embedding_type: recipe.token_embedding_type.map(name),
            tensor_types: recipe.tensor_types.iter().map(|r| r.given().to_owned()).collect(),
            no_fallback: recipe.no_fallback,
        }
    }

    fn recipe(&self) -> Result<RecipeOptions> {
        let ty = |name: &Option<String>| {
            let read = |name: &String| {
                let found = TensorType::from_name(name).filter(|&ty| quants::can_encode(ty));
                found.ok_or_else(|| Error::Request(format!("expected a tensor type, found {name:?}")))
            };
            name.as_ref().map(read).transpose()
        };
        Ok(RecipeOptions {
            pure: self.pure,
            leave_output_tensor: self.leave_output_tensor,
            output_tensor_type: ty(&self.output_tensor_type)?,
            token_embedding_type: ty(&self.token_embedding_type)?,
            tensor_types: self
                .tensor_types
                .iter()
                .map(|rule| TensorTypeRule::parse(rule))
                .collect::<Result<_>>()?,
            no_fallback: self.no_fallback,
            ..RecipeOptions::new(Preset::Q8_0)
        })
    }
}

impl ImatrixRequest {
    /// The name that is recorded in the files.
    pub fn recorded_name(&self) -> String {
        let default = || last_component(Path::new(&self.file));
        self.recorded_as.clone().unwrap_or_else(default)
    }

    /// The entries that are used.
    pub fn selection(&self) -> Selection {
        match (self.include.is_empty(), self.exclude.is_empty()) {
            (false, _) => Selection::Include(self.include.clone()),
            (true, false) => Selection::Exclude(self.exclude.clone()),
            (true, true) => Selection::All,
        }
    }
}

impl SplitRequest {
    /// This part of a cut; `None` for one that is not llama-gguf-split's.
    pub fn of(shards: &Shards) -> Option<Self> {
        let Shards::GgufSplit(options) = shards else {
            return None;
        };
        let (max_tensors, max_bytes) = match options.limit {
            Limit::Tensors(n) => (Some(n), None),
            Limit::Bytes(n) => (None, Some(n)),
        };
        Some(Self {
            max_tensors,
            max_bytes,
            no_tensor_first_split: options.no_tensor_first_split,
        })
    }

    fn shards(&self) -> Shards {
        let limit = self
            .max_bytes
            .map(Limit::Bytes)
            .or(self.max_tensors.map(Limit::Tensors));
        Shards::GgufSplit(
            SplitOptions::default()
                .limit(limit.unwrap_or(SplitOptions::default().limit))
                .no_tensor_first_split(self.no_tensor_first_split),
        )
    }
}

impl Request {
    /// The table's options, for files in `directory`, with `record` among their keys.
    ///
    /// # Errors
    /// A preset, type or rule that there is not, and a name that is none of files.
    pub fn options(&self, directory: &Path, record: &[(String, Value)]) -> Result<TableOptions> {
        if Path::new(&self.name)
            .file_name()
            .is_none_or(|n| n != self.name.as_str())
        {
            return Err(Error::Request(format!(
                "name {:?}: expected the name of a file",
                self.name
            )));
        }
        let entries = self.presets.iter().map(|name| {
            Entry::parse(name)
                .ok_or_else(|| Error::Request(format!("expected a preset of a table, found {name:?}")))
        });
        let overrides = self.override_kv.iter().map(|text| {
            KvOverride::parse(text).map_err(|e| Error::Request(format!("override_kv: {text:?}: {e}")))
        });
        let missing = self.imatrix.as_ref().is_some_and(|i| i.missing_uniform);
        Ok(TableOptions {
            entries: entries.collect::<Result<_>>()?,
            directory: directory.to_path_buf(),
            model: self.name.clone(),
            quantize: QuantizeOptions {
                recipe: self.types.recipe()?,
                allow_requantize: self.allow_requantize,
                allow_incomplete: self.allow_incomplete,
                prune_layers: self.prune_layers.clone(),
                kv_overrides: overrides.collect::<Result<_>>()?,
                force_overrides: self.force,
                missing_importance: match missing {
                    true => MissingImportance::Uniform,
                    false => MissingImportance::Error,
                },
                shards: self.split.as_ref().map(SplitRequest::shards),
                record: record.to_vec(),
                ..QuantizeOptions::new(Preset::Q8_0)
            },
        })
    }
}
