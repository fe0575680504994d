//! A Hugging Face model directory as a source: `config.json`, weights, tokenizer and model card.

mod adapter;
mod assemble;
mod combined;
mod coverage;
mod element;
mod form;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod gather;
mod ids;
mod joined;
mod layout;
mod mean;
mod number;
mod outtype;
mod parts;
mod prediction;
mod pytorch;
mod quantized;
mod safetensors;
mod sentence;
mod stacks;
mod tensor_file;
mod tied;
mod unused;
mod whole;

use std::borrow::Cow;
use std::ops::Range;
use std::path::{Path, PathBuf};

use gguf::{Inputs, Metadata, TensorType};
use serde_json::{Map, Value};

pub use self::adapter::{AdapterOptions, AdapterSource};
use self::assemble::{Assembler, Content};
use self::element::Element;
use self::form::Form;
pub use self::outtype::OutType;
use self::parts::Parts;
pub use self::prediction::Prediction;
use self::sentence::Modules;
use super::{Source, SourceTensor};
use crate::arch::custom::Custom;
use crate::arch::{self, Architecture, Hparams, Keys, TargetVocabulary, multimodal};
use crate::metadata::{General, ParameterCount};
use crate::tokenizer::{self, VocabRequest};
use crate::{Error, Result};

/// `general.quantization_version` of what this crate writes.
const QUANTIZATION_VERSION: u32 = 2;

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
    /// Nothing replaces its files while it is open.
    _held: Inputs,
}

impl HfSource {
    /// Opens a directory: reads its configuration, the headers of its safetensors files, its tokenizer
    /// and its model card.
    ///
    /// # Errors
    /// [`Error::Input`] naming the file, and the tensor or key, for whatever is missing, malformed or
    /// not supported.
    pub fn open(dir: &Path, options: &HfOptions) -> Result<Self> {
        let held = Inputs::hold(
            std::iter::once(dir)
                .chain(options.metadata.as_deref())
                .chain(options.arch_file.as_deref())
                .chain(options.target_model_dir.as_deref()),
        );
        let Form {
            naming,
            path: config_path,
            given,
            architecture,
            class,
            mut hparams,
            has_tie,
            whole,
            is_part,
            quantization,
            warnings: mut about_form,
        } = Form::read(dir, options)?;
        // The whole model's word counts: transformers 5 writes its text class's default, true, beside it.
        let says_untied =
            whole.as_ref().and_then(|w| w.get("tie_word_embeddings")) == Some(&Value::Bool(false));
        let untied = says_untied && !has_tie;

        let contradiction = arch::rope_contradiction(&given, &hparams);

        let mut parts = match Parts::open(dir, naming, options.headers_suffice) {
            // A vocabulary needs no weights, though their type is noted when they are there.
            Err(_) if options.vocab_only => Parts::none(),
            parts => parts?,
        };
        let is_mlx = stacks::is_mlx(&given, &parts);
        if is_mlx && options.mmproj {
            return Err(Error::Input {
                path: dir.to_path_buf(),
                message: "MLX stores the convolutions of an image encoder with their axes in another order: convert the \
                          encoder of the original model"
                    .to_owned(),
            });
        }
        if is_mlx {
            stacks::take_apart(dir, &mut parts)?;
        }
        let mut about_prediction = Vec::new();
        let filter = prediction::settle(
            dir,
            architecture,
            class,
            &mut hparams,
            &parts,
            (is_part, options.prediction),
            &mut about_prediction,
        )?;
        let stored_type = options.outtype.decide(matrix_types(&parts).into_iter());
        let mut warnings = std::mem::take(&mut about_form);
        warnings.append(&mut parts.warnings);
        warnings.append(&mut about_prediction);
        if let Some(config) = &quantization
            && !options.vocab_only
        {
            let keep_blocks = options.outtype != OutType::Lossless;
            warnings.extend(quantized::rewrite(&mut parts, dir, config, keep_blocks)?.notes);
        }
        // What loses nothing depends on the weights as they are read, the stock converter's choice on how
        // they are stored.
        let ty = match options.outtype {
            OutType::Lossless => options.outtype.decide(matrix_types(&parts).into_iter()),
            _ => stored_type,
        };
        let asked = options.sentence_modules || architecture.hooks.always_dense;
        let wanted = asked && !options.vocab_only && !options.mmproj;
        let modules = Modules::read(dir, architecture, wanted)?;
        modules.add_to(&mut parts, dir, options.headers_suffice)?;
        let blocks = parts.tensors.values().find_map(|&at| parts.entry(at).blocks);
        let (tensors, contents, left_out) = if options.vocab_only {
            (Vec::new(), Vec::new(), Vec::new())
        } else {
            if !options.mmproj {
                let has = |part: &str, end: &str| {
                    let mut names = parts
                        .tensors
                        .keys()
                        .filter(|n| n.contains(part) && n.ends_with(end));
                    names.any(|n| !is_part || multimodal::text_name(n).is_some())
                };
                arch::check_graph(&hparams, architecture, &has)?;
            }
            let mut assembler = Assembler::new(&parts, architecture, class, &hparams, ty);
            assembler.is_part = is_part;
            assembler.layout = is_mlx.then_some("the directory is in MLX's layout; ");
            assembler.filter = filter;
            assembler.fp8_as_q8 = options.fp8_as_q8 && options.outtype != OutType::Lossless;
            let mut made = assembler.run()?;
            if architecture.hooks.joins_queries {
                joined::always(&mut made);
            }
            if options.fuse_gate_up_exps && !options.mmproj {
                joined::experts(&mut made, architecture, &hparams)?;
            }
            if options.fuse_qkv && !options.mmproj {
                warnings.extend(joined::queries_keys_values(
                    &mut made,
                    architecture,
                    filter.blocks(),
                ));
            }
            if !options.headers_suffice && !options.mmproj && !says_untied {
                tied::check(&hparams, &parts, &made.tensors, &made.contents)?;
            }
            (made.tensors, made.contents, made.left_out)
        };

        let count = ParameterCount::of(&tensors);
        let mut general = General::load(
            dir,
            options.model_name.as_deref(),
            options.metadata.as_deref(),
            count,
        )?;
        if let Some(origin) = &options.origin {
            general.set_origin(origin);
        }
        let mut metadata = Metadata::new();
        metadata.set("general.architecture", architecture.gguf);
        let shape = |tensor: &str| Some(parts.entry(*parts.tensors.get(tensor)?).shape.clone());
        let mut keys = Keys {
            number: &|tensor: &str| number::only(&parts, tensor),
            shape: &shape,
            first: &|tensor: &str| number::first(&parts, tensor),
            zero_rows: &|tensor: &str, from: u64| number::zero_rows(&parts, tensor, from),
            arch: architecture.gguf,
            metadata: &mut metadata,
            file_type: outtype::file_type(ty, blocks),
            dir,
            dense: &modules.dense,
        };
        (architecture.early)(&hparams, &mut keys)?;
        let kind = if options.mmproj { "mmproj" } else { "model" };
        keys.metadata.set("general.type", kind);
        general.write(keys.metadata);
        (architecture.hyperparameters)(&hparams, &mut keys)?;
        arch::complete_windows(&hparams, architecture, keys.metadata)?;
        keys.metadata
            .set_in_place("general.quantization_version", QUANTIZATION_VERSION);
        if !options.mmproj {
            let vocabulary = Vocabulary::of(architecture, &hparams, whole)?;
            let (dir, config, mut request) = (vocabulary.dir, vocabulary.config, vocabulary.request);
            if let Some(name) = &options.pre_tokenizer {
                request = request.pre_tokenizer(Some(name.clone()));
            }
            let embeddings = tensors.iter().find(|t| t.name == "token_embd.weight");
            request.architecture = Some(architecture.gguf);
            request.no_named_template = options.no_named_template;
            request.embeddings = embeddings.and_then(|t| t.shape.get(1).copied());
            let vocabulary = tokenizer::vocab_metadata(dir, &config, &request)?;
            warnings.extend(vocabulary.warnings);
            for (key, value) in vocabulary.metadata.0 {
                keys.metadata.set_in_place(key, value);
            }
            let size = format!("{}.vocab_size", architecture.gguf);
            if vocabulary.resized && keys.metadata.get(&size).is_some() {
                keys.metadata.set_in_place(size, vocabulary.n_vocab as u32);
            }
            (architecture.hooks.late)(&hparams, &mut keys)?;
        }
        if !options.vocab_only && !options.mmproj {
            let has = |name: &str| tensors.iter().any(|t| t.name == name);
            warnings.extend(contradiction);
            let pooling = format!("{}.pooling_type", architecture.gguf);
            warnings.extend(modules.warnings(metadata.get(&pooling).is_some()));
            warnings.extend(arch::rope_dropped(&hparams, architecture, &metadata, &has));
            warnings.extend(arch::window_dropped(&hparams, architecture, &metadata));
            warnings.extend((architecture.hooks.notes)(&hparams)?);
        }
        warnings.extend(unused::tensors(&left_out, is_part, options.mmproj));
        if !options.vocab_only {
            warnings.extend(unused::files(dir, &parts));
        }
        if !options.mmproj {
            whole::check_output(&config_path, class, &hparams, untied, &tensors)?;
        }
        Ok(Self {
            dir: dir.to_path_buf(),
            parts,
            metadata,
            tensors,
            contents,
            general,
            ty,
            blocks,
            vocab_only: options.vocab_only,
            warnings,
            left_out,
            mmproj: options.mmproj,
            prediction: options.prediction,
            arch_file: options.arch_file.clone(),
            _held: held,
        })
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

/// Where a model's vocabulary is, and how it is read.
struct Vocabulary<'a> {
    dir: &'a Path,
    config: Value,
    request: VocabRequest,
}

impl<'a> Vocabulary<'a> {
    /// A draft model's vocabulary is that of its target.
    fn of(
        architecture: &'static Architecture,
        hparams: &'a Hparams,
        whole: Option<Map<String, Value>>,
    ) -> Result<Self> {
        let Some(way) = architecture.hooks.target_vocabulary else {
            let config = Value::Object(whole.unwrap_or_else(|| hparams.values().clone()));
            return Ok(Self {
                dir: hparams.dir(),
                request: architecture.request(hparams, &config),
                config,
            });
        };
        let target = hparams.target()?;
        let config = target.with_vocabulary(hparams.find(&["vocab_size"]));
        let request = match way {
            TargetVocabulary::AsOwn => architecture.request(hparams, &config),
            TargetVocabulary::AsTargets => {
                let text = multimodal::text_part(target.config().clone()).config;
                let (of_target, _) = arch::of_config(&target.path(), &text)?;
                (of_target.vocabulary)(&config)
            }
        };
        Ok(Self {
            dir: target.dir(),
            config,
            request,
        })
    }
}

/// The types that hold the matrices of a checkpoint as they are.
fn matrix_types(parts: &Parts) -> Vec<Option<TensorType>> {
    parts
        .tensors
        .values()
        .map(|&at| parts.entry(at))
        .filter(|e| e.shape.len() >= 2 && e.blocks.is_none())
        .map(|e| e.element().and_then(Element::tensor_type))
        .collect()
}

impl Source for HfSource {
    fn path(&self) -> &Path {
        &self.dir
    }

    fn files(&self) -> Result<Vec<PathBuf>> {
        let mut files = super::weight_files(&self.dir)?;
        files.extend(self.arch_file.clone());
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

fn elements(tensor: &SourceTensor, rows: &Range<u64>) -> Range<u64> {
    let row_len = tensor.shape[0];
    rows.start * row_len..rows.end * row_len
}

/// The values of whole rows.
fn read_values(
    parts: &Parts,
    tensor: &SourceTensor,
    content: &Content,
    rows: &Range<u64>,
    out: &mut [f32],
) -> Result<()> {
    let elements = elements(tensor, rows);
    match content {
        Content::Stored(layout) => layout.read_values(parts, elements, out),
        Content::Gathered(gather) => gather.read_values(parts, elements, out),
        Content::Combined(combined) => combined.read_values(parts, elements, out),
        Content::Joined(joined) => joined.read_values(parts, rows, out),
        Content::Mean(mean) => mean.read_values(parts, elements, out),
        Content::Ids(ids) => {
            let ids = ids.read(parts)?;
            out.iter_mut().zip(ids).for_each(|(x, id)| *x = id as f32);
            Ok(())
        }
        Content::Computed(values) => {
            out.copy_from_slice(&values[elements.start as usize..elements.end as usize]);
            Ok(())
        }
    }
}

/// The bytes of whole rows, where they are stored as the output has them.
fn read_bytes<'a>(
    parts: &Parts,
    tensor: &SourceTensor,
    content: &Content,
    rows: &Range<u64>,
) -> Result<Option<Cow<'a, [u8]>>> {
    match content {
        Content::Stored(layout) if layout.is_stored_as(tensor.ty) => {
            let bytes = layout.read_bytes(parts, elements(tensor, rows))?;
            Ok(Some(Cow::Owned(bytes)))
        }
        Content::Gathered(gather) if gather.is_stored_as(tensor.ty) => {
            let bytes = gather.read_bytes(parts, elements(tensor, rows))?;
            Ok(Some(Cow::Owned(bytes)))
        }
        Content::Joined(joined) => joined.read_bytes(parts, rows),
        Content::Ids(ids) => {
            let bytes: Vec<u8> = ids.read(parts)?.into_iter().flat_map(i64::to_le_bytes).collect();
            Ok(Some(Cow::Owned(bytes)))
        }
        _ => Ok(None),
    }
}
