//! A Hugging Face model directory as a source: `config.json`, weights, tokenizer and model card.

mod adapter;
mod assemble;
mod beside;
mod codebooks;
mod combined;
mod content;
mod coverage;
mod element;
mod form;
mod fuse;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod gather;
mod grid;
mod ids;
mod integers;
mod layout;
mod mean;
mod number;
mod open;
mod outtype;
mod parts;
mod prediction;
mod pytorch;
mod quantized;
mod safetensors;
mod sentence;
mod stacks;
mod tensor_file;
mod through;
mod tied;
mod unused;
mod whole;

use std::borrow::Cow;
use std::ops::Range;
use std::path::{Path, PathBuf};

use gguf::{Inputs, Metadata, TensorType};

pub use self::adapter::{AdapterOptions, AdapterSource};
use self::content::{Content, read_bytes, read_values};
pub use self::outtype::OutType;
use self::parts::Parts;
pub use self::prediction::Prediction;
use super::{Source, SourceTensor};
use crate::Result;
use crate::arch::custom::Custom;
use crate::metadata::General;

/// Options for a conversion.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct HfOptions {
    /// The type of the matrices.
    pub outtype: OutType,
    /// `general.name`, instead of what model card, configuration and directory suggest.
    pub model_name: Option<String>,
    /// A JSON file with `general.*` keys that override the rest.
    pub metadata: Option<PathBuf>,
    /// `tokenizer.ggml.pre`, instead of finding it.
    pub pre_tokenizer: Option<String>,
    /// Leave out the tensors.
    pub vocab_only: bool,
    /// Accept files whose data section ends early, for plans that read no weights.
    pub headers_suffice: bool,
    /// Convert the image encoder and its projector instead of the text model.
    pub mmproj: bool,
    /// Treatment of layers that predict further tokens.
    pub prediction: Prediction,
    /// Convert the dense modules of sentence-transformers too.
    pub sentence_modules: bool,
    /// Read Mistral's own layout also where transformers' lies in the same directory.
    pub mistral_format: bool,
    /// Of a draft model: the directory of the model that it drafts for, whose vocabulary it shares.
    pub target_model_dir: Option<PathBuf>,
    /// Store what is decoded from FP8 as Q8_0.
    pub fp8_as_q8: bool,
    /// Put queries, keys and values of a layer into one tensor, where the architecture has a place for it.
    pub fuse_qkv: bool,
    /// Put gates and what they gate of a layer's experts into one tensor.
    pub fuse_gate_up_exps: bool,
    /// Description of an architecture that is not built in, in TOML: see docs/arch-file.md.
    pub arch_file: Option<PathBuf>,
    /// Architectures that are not built in, as code. They are searched before the built-in ones.
    pub architectures: Vec<Custom>,
    /// Of Mistral's own layout, write no chat template but one that the directory has.
    pub no_named_template: bool,
    /// Where the directory is from, for `general.source.url` (with its commit) and `general.source.repo_url` where the
    /// model card has none.
    pub origin: Option<crate::hub::Origin>,
}

gguf::setters! {
    HfOptions {
        outtype: OutType,
        model_name: Option<String>,
        metadata: Option<PathBuf>,
        pre_tokenizer: Option<String>,
        vocab_only: bool,
        headers_suffice: bool,
        mmproj: bool,
        prediction: Prediction,
        sentence_modules: bool,
        mistral_format: bool,
        target_model_dir: Option<PathBuf>,
        fp8_as_q8: bool,
        fuse_qkv: bool,
        fuse_gate_up_exps: bool,
        arch_file: Option<PathBuf>,
        architectures: Vec<Custom>,
        no_named_template: bool,
        origin: Option<crate::hub::Origin>,
    }
}

/// A model directory, with headers read and nothing else.
#[derive(Debug)]
pub struct HfSource {
    dir: PathBuf,
    parts: Parts,
    metadata: Metadata,
    tensors: Vec<SourceTensor>,
    contents: Vec<Content>,
    general: General,
    ty: TensorType,
    /// The type of the weights that are kept as the blocks they are stored in.
    blocks: Option<TensorType>,
    vocab_only: bool,
    warnings: Vec<String>,
    left_out: Vec<String>,
    mmproj: bool,
    prediction: Prediction,
    arch_file: Option<PathBuf>,
    /// The file of a folder with weights of its own.
    beside: Option<PathBuf>,
    /// Nothing replaces its files while it is open.
    _held: Inputs,
}

impl HfSource {
    /// Opens a directory: reads its configuration, the headers of its safetensors files, its tokenizer
    /// and its model card.
    ///
    /// # Errors
    /// [`Error::Input`](crate::Error::Input) naming the file, and the tensor or key, for whatever is missing, malformed or
    /// not supported.
    pub fn open(dir: &Path, options: &HfOptions) -> Result<Self> {
        open::open(dir, options)
    }

    /// Warnings about the directory.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The tensors of the directory that are in no output, each by its name.
    pub fn left_out(&self) -> &[String] {
        &self.left_out
    }

    /// The type of the matrices, as decided from [`HfOptions::outtype`].
    pub fn matrix_type(&self) -> TensorType {
        self.ty
    }

    /// The file name (with `.gguf`) that the stock converter would give the output. `encoding` is the
    /// preset, when it is not the type of the matrices.
    pub fn default_file_name(&self, encoding: Option<&str>) -> String {
        let encoding = encoding.map_or_else(
            || outtype::file_name_part(self.ty, self.blocks),
            str::to_ascii_uppercase,
        );
        if self.mmproj {
            return self.general.encoder_file_name(&encoding);
        }
        if self.prediction == Prediction::Alone {
            return self.general.prediction_file_name(&encoding);
        }
        self.general
            .file_name((!self.vocab_only).then_some(encoding.as_str()))
    }
}

impl Source for HfSource {
    fn path(&self) -> &Path {
        &self.dir
    }

    fn files(&self) -> Result<Vec<PathBuf>> {
        let mut files = super::weight_files(&self.dir)?;
        files.extend(self.arch_file.clone());
        files.extend(self.beside.clone());
        Ok(files)
    }

    fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    fn tensors(&self) -> &[SourceTensor] {
        &self.tensors
    }

    fn read_rows(&self, tensor: usize, rows: Range<u64>, out: &mut [f32]) -> Result<()> {
        read_values(
            &self.parts,
            &self.tensors[tensor],
            &self.contents[tensor],
            &rows,
            out,
        )
    }

    fn raw_rows(&self, tensor: usize, rows: Range<u64>) -> Result<Option<Cow<'_, [u8]>>> {
        read_bytes(&self.parts, &self.tensors[tensor], &self.contents[tensor], &rows)
    }
}
