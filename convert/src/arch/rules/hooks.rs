//! Hooks: steps of few architectures besides name tables and keys.

use gguf::TensorType;
use serde_json::{Map, Value};

use crate::Result;
use crate::arch::{Architecture, Hparams, Keys};

/// Steps between the configuration and the name tables. [`Hooks::NONE`] does nothing at any of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hooks {
    /// Changes the completed configuration before anything is read from it.
    pub(crate) prepare: fn(&mut Map<String, Value>),
    /// The architecture to convert to instead, by what the configuration says.
    pub(crate) variant: fn(&Hparams) -> Option<&'static Architecture>,
    /// The name that the tables know a tensor by; `None` for one that is left out.
    pub(crate) canonical: fn(&Hparams, String) -> Option<String>,
    /// Blocks after those that the configuration counts: heads that predict further tokens. The iterator has
    /// the checkpoint's tensor names.
    pub(crate) more_blocks: fn(&Hparams, &mut dyn Iterator<Item = &str>) -> Result<u32>,
    /// Names of a tensor that a checkpoint may hold several times; the first that comes counts, under the first
    /// of these names.
    pub(crate) one_of: &'static [&'static str],
    /// The type of a matrix that does not follow from the others' type.
    pub(crate) force: fn(&Hparams, Named<'_>, TensorType) -> Option<TensorType>,
    /// Whether queries, keys and values, which the checkpoint has apart, are one tensor each of weights and of biases.
    pub(crate) joins_queries: bool,
    /// Whether experts that are stored as blocks, and integers before them, come in the order of layers, and give the file
    /// its type whatever the type of the other matrices.
    pub(crate) packed_by_layer: bool,
    /// Whether matrices in FP8 have scales for blocks of 128 rows and columns, whatever the configuration says of them.
    pub(crate) scales_unsaid: bool,
    /// Whether there is no vocabulary: what it reads are codes.
    pub(crate) no_vocabulary: bool,
    /// Tokens behind those of the tokenizer, which only control the model.
    pub(crate) further_tokens: fn(&Hparams) -> Result<Vec<String>>,
    /// Whether also small matrices, such as a router's, get the type of the others.
    pub(crate) all_matrices: bool,
    /// The weights, by the last part of their GGUF name, that llama.cpp's graph multiplies by without looking for an
    /// adapter.
    pub(crate) unadapted: &'static [&'static str],
    /// Dense modules of sentence-transformers that the graph has a place for: (folder, GGUF name).
    pub(crate) dense_modules: &'static [(&'static str, &'static str)],
    /// Whether they are converted without being asked for.
    pub(crate) always_dense: bool,
    /// Matrices to compute, which precede the others.
    pub(crate) tables: fn(&Hparams) -> Result<Vec<Table>>,
    /// Of a draft model: how the vocabulary of its target is read.
    pub(crate) target_vocabulary: Option<TargetVocabulary>,
    /// Keys behind those of the vocabulary.
    pub(crate) late: fn(&Hparams, &mut Keys<'_>) -> Result<()>,
    /// Remarks on this model's file for the user.
    pub(crate) notes: fn(&Hparams) -> Result<Vec<String>>,
    /// Where an encoder's configuration stands in that of the whole model.
    pub(crate) vision: Section,
    /// Where that of an encoder of sound stands, beside the other or alone.
    pub(crate) audio: Section,
    /// A folder with a model of its own, whose tensors are converted too.
    pub(crate) beside: Option<Beside>,
    /// Experts of a block, where they are not as many in all; `None` where the usual keys count them.
    pub(crate) experts: fn(&Hparams, u32) -> Result<Option<u32>>,
}

/// A folder of a model directory with a configuration and weights (`model.safetensors`) of its own. The tables know its
/// tensors by their names behind that of the folder and a slash; they come before all others.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Beside {
    pub(crate) folder: &'static str,
    /// Whether its configuration is that of the encoder of sound.
    pub(crate) is_sound: bool,
    /// The names of the tensors to convert, in the output's order, given all in the order of the file.
    pub(crate) order: fn(&Hparams, Vec<String>) -> Result<Vec<String>>,
}

/// The way in which a draft model's vocabulary, which is its target's, is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TargetVocabulary {
    /// As the draft's own architecture reads vocabularies.
    AsOwn,
    /// As the target's architecture does.
    AsTargets,
}

/// A matrix that no file holds.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    pub(crate) name: &'static str,
    /// Innermost dimension first.
    pub(crate) shape: Vec<u64>,
    pub(crate) values: Vec<f32>,
}

/// A part of a configuration, by itself.
pub(crate) type Section = fn(&Map<String, Value>) -> Option<Map<String, Value>>;

/// A tensor's two names.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Named<'a> {
    /// As the name tables know it.
    pub(crate) stored: &'a str,
    pub(crate) gguf: &'a str,
    pub(crate) of: StoredAs,
}

/// The form in which a checkpoint has a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StoredAs {
    /// FP8 with scales.
    Fp8,
    Bf16,
    F32,
    Other,
}

/// A dense module of sentence-transformers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DenseModule {
    pub(crate) folder: &'static str,
    pub(crate) gguf: &'static str,
    pub(crate) inputs: u32,
    pub(crate) outputs: u32,
}

impl Hooks {
    pub(crate) const NONE: Self = Self {
        prepare: |_| (),
        variant: |_| None,
        canonical: |_, name| Some(name),
        more_blocks: |_, _| Ok(0),
        one_of: &[],
        force: |_, _, _| None,
        joins_queries: false,
        packed_by_layer: false,
        scales_unsaid: false,
        no_vocabulary: false,
        further_tokens: |_| Ok(Vec::new()),
        all_matrices: false,
        unadapted: &[],
        dense_modules: &[],
        always_dense: false,
        tables: |_| Ok(Vec::new()),
        target_vocabulary: None,
        late: |_, _| Ok(()),
        notes: |_| Ok(Vec::new()),
        vision: |whole| whole.get("vision_config")?.as_object().cloned(),
        audio: |_| None,
        beside: None,
        experts: |_, _| Ok(None),
    };

    /// Whether adapters have no effect on this tensor.
    pub(crate) fn is_unadapted(&self, tensor: &str) -> bool {
        let stem = tensor.strip_suffix(".weight").unwrap_or(tensor);
        let part = stem.rsplit_once('.').map_or(stem, |(_, part)| part);
        self.unadapted.contains(&part)
    }
}

/// `num_nextn_predict_layers` of the configuration as [`Hooks::more_blocks`].
pub(in crate::arch) fn predicting_layers(hp: &Hparams, _: &mut dyn Iterator<Item = &str>) -> Result<u32> {
    Ok(hp.opt_u32(&["num_nextn_predict_layers"])?.unwrap_or(0))
}

/// Leaves out blocks from the configuration's number of blocks on, as [`Hooks::canonical`].
pub(in crate::arch) fn without_further_blocks(hp: &Hparams, name: String) -> Option<String> {
    let block = name
        .strip_prefix("model.layers.")
        .and_then(|rest| rest.split('.').next())
        .and_then(|n| n.parse::<u32>().ok());
    block.is_none_or(|n| n < hp.block_count()).then_some(name)
}

/// Leaves out an output matrix that the configuration says is the embeddings, as [`Hooks::canonical`].
pub(in crate::arch) fn without_tied_output(hp: &Hparams, name: String) -> Option<String> {
    let tied = hp.opt_bool("tie_word_embeddings") == Some(true);
    (!tied || name != "lm_head.weight").then_some(name)
}
