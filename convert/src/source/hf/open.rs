//! The opening of a model directory: what is read of it, in this order.

use std::path::{Path, PathBuf};

use gguf::{Inputs, Metadata, TensorType};
use serde_json::{Map, Value};

use super::assemble::{Assembled, Assembler};
use super::element::Element;
use super::form::Form;
use super::parts::Parts;
use super::prediction::{self, Filter};
use super::sentence::Modules;
use super::{
    HfOptions, HfSource, OutType, beside, fuse, number, outtype, quantized, stacks, tied, unused, whole,
};
use crate::arch::{self, Keys, TargetVocabulary, multimodal};
use crate::metadata::{General, ParameterCount};
use crate::source::SourceTensor;
use crate::tokenizer::{self, VocabRequest};
use crate::{Error, Result};

/// `general.quantization_version` of what this crate writes.
pub(super) const QUANTIZATION_VERSION: u32 = 2;

/// Opens a directory; see [`HfSource::open`].
pub(super) fn open(dir: &Path, options: &HfOptions) -> Result<HfSource> {
    let held = Inputs::hold(
        std::iter::once(dir)
            .chain(options.metadata.as_deref())
            .chain(options.arch_file.as_deref())
            .chain(options.target_model_dir.as_deref()),
    );
    let mut opening = Opening::new(dir, options)?;
    let made = opening.tensors()?;
    let (metadata, general) = opening.metadata(&made.tensors)?;
    opening.note(&metadata, &made)?;
    if !options.mmproj {
        let form = &opening.form;
        whole::check_output(
            &form.path,
            form.class,
            &form.hparams,
            opening.untied,
            &made.tensors,
        )?;
    }
    Ok(HfSource {
        dir: dir.to_path_buf(),
        parts: opening.parts,
        metadata,
        tensors: made.tensors,
        contents: made.contents,
        general,
        ty: opening.ty,
        blocks: opening.blocks,
        vocab_only: options.vocab_only,
        warnings: opening.warnings,
        left_out: made.left_out,
        mmproj: options.mmproj,
        prediction: options.prediction,
        arch_file: options.arch_file.clone(),
        beside: opening.beside,
        _held: held,
    })
}

/// A directory whose configuration and checkpoint are read.
struct Opening<'a> {
    dir: &'a Path,
    options: &'a HfOptions,
    form: Form,
    parts: Parts,
    modules: Modules,
    filter: Filter,
    /// The type of the output's matrices.
    ty: TensorType,
    /// The type of the weights that are kept as the blocks they are stored in.
    blocks: Option<TensorType>,
    is_mlx: bool,
    /// The file of a folder with weights of its own, which are converted too, and the tensors in it that are not.
    beside: Option<PathBuf>,
    left_beside: Vec<String>,
    /// The configuration says that the output matrix is not the embeddings.
    says_untied: bool,
    /// The same, and nothing in the text model's own says otherwise.
    untied: bool,
    warnings: Vec<String>,
}

impl<'a> Opening<'a> {
    fn new(dir: &'a Path, options: &'a HfOptions) -> Result<Self> {
        let mut form = Form::read(dir, options)?;
        // The whole model's word counts: transformers 5 writes its text class's default, true, beside it.
        let tie = form.whole.as_ref().and_then(|w| w.get("tie_word_embeddings"));
        let says_untied = tie == Some(&Value::Bool(false));
        let untied = says_untied && !form.has_tie;
        let mut parts = match Parts::open(dir, form.naming, options.headers_suffice) {
            // A vocabulary needs no weights, though their type is noted when they are there.
            Err(_) if options.vocab_only => Parts::none(),
            parts => parts?,
        };
        // Its words for a quantization, or its stacks of experts.
        let is_mlx = quantized::is_mlx(&form.given) || stacks::are_in(&parts);
        if is_mlx && options.mmproj {
            return Err(Error::input(
                dir,
                "MLX stores the convolutions of an image encoder with their axes in another order: convert the \
                          encoder of the original model",
            ));
        }
        if is_mlx {
            stacks::take_apart(dir, &mut parts)?;
        }
        let mut about_prediction = Vec::new();
        let filter = prediction::settle(
            dir,
            form.architecture,
            form.class,
            &mut form.hparams,
            &parts,
            (form.is_part, options.prediction),
            &mut about_prediction,
        )?;
        let stored_type = options.outtype.decide(matrix_types(&parts).into_iter());
        let mut warnings = std::mem::take(&mut form.warnings);
        warnings.append(&mut parts.warnings);
        warnings.append(&mut about_prediction);
        if let Some(config) = &form.quantization
            && !options.vocab_only
        {
            let keep_blocks = options.outtype != OutType::Lossless;
            warnings.extend(quantized::rewrite(&mut parts, dir, config, keep_blocks)?.notes);
        }
        let mut left_beside = Vec::new();
        if !options.vocab_only {
            let of = (form.architecture, &form.hparams);
            left_beside = beside::add_to(&mut parts, dir, of, options.headers_suffice)?;
        }
        // What loses nothing depends on the weights as they are read, the stock converter's choice on how
        // they are stored.
        let ty = match options.outtype {
            OutType::Lossless => options.outtype.decide(matrix_types(&parts).into_iter()),
            _ => stored_type,
        };
        let asked = options.sentence_modules || form.architecture.hooks.always_dense;
        let wanted = asked && !options.vocab_only && !options.mmproj;
        let modules = Modules::read(dir, form.architecture, wanted)?;
        modules.add_to(&mut parts, dir, options.headers_suffice)?;
        let blocks = parts.tensors.values().find_map(|&at| parts.entry(at).blocks);
        let beside = beside::file(dir, form.architecture);
        Ok(Self {
            dir,
            options,
            form,
            parts,
            modules,
            filter,
            ty,
            blocks,
            is_mlx,
            beside,
            left_beside,
            says_untied,
            untied,
            warnings,
        })
    }

    /// The tensors of the output, unless only the vocabulary is wanted.
    fn tensors(&mut self) -> Result<Assembled> {
        let (form, parts, options) = (&self.form, &self.parts, self.options);
        let (architecture, hparams) = (form.architecture, &form.hparams);
        if options.vocab_only {
            return Ok(Assembled::default());
        }
        if !options.mmproj {
            let has = |part: &str, end: &str| {
                let mut names = parts
                    .tensors
                    .keys()
                    .filter(|n| n.contains(part) && n.ends_with(end));
                names.any(|n| !form.is_part || multimodal::text_name(n).is_some())
            };
            arch::check_graph(hparams, architecture, &has)?;
        }
        let mut assembler = Assembler::new(parts, architecture, form.class, hparams, self.ty);
        assembler.is_part = form.is_part;
        assembler.layout = self.is_mlx.then_some("the directory is in MLX's layout; ");
        assembler.filter = self.filter;
        assembler.fp8_as_q8 = options.fp8_as_q8 && options.outtype != OutType::Lossless;
        let mut made = assembler.run()?;
        made.left_out.extend(self.left_beside.iter().cloned());
        if architecture.hooks.joins_queries {
            fuse::always(&mut made);
        }
        if options.fuse_gate_up_exps && !options.mmproj {
            fuse::experts(&mut made, architecture, hparams)?;
        }
        if options.fuse_qkv && !options.mmproj {
            self.warnings.extend(fuse::queries_keys_values(
                &mut made,
                architecture,
                hparams,
                self.filter.blocks(),
            )?);
        }
        if !options.headers_suffice && !options.mmproj && !self.says_untied {
            tied::check(hparams, parts, &made.tensors, &made.contents)?;
        }
        Ok(made)
    }

    /// All keys of the output.
    fn metadata(&mut self, tensors: &[SourceTensor]) -> Result<(Metadata, General)> {
        let options = self.options;
        let (architecture, hparams) = (self.form.architecture, &self.form.hparams);
        let count = ParameterCount::of(tensors.iter().map(|t| (&*t.name, &*t.shape)));
        let mut general = General::load(
            self.dir,
            options.model_name.as_deref(),
            options.metadata.as_deref(),
            count,
        )?;
        if let Some(origin) = &options.origin {
            general.set_origin(origin);
        }
        let mut metadata = Metadata::new();
        metadata.set("general.architecture", architecture.gguf);
        let parts = &self.parts;
        let shape = |tensor: &str| Some(parts.entry(*parts.tensors.get(tensor)?).shape.clone());
        let mut keys = Keys {
            place: &|tensor: &str| parts.tensors.get_index_of(tensor),
            number: &|tensor: &str| number::only(parts, tensor),
            shape: &shape,
            shape_ending: &|ending: &str| {
                let mut all = parts.tensors.iter();
                let (_, at) = all.find(|(name, _)| name.ends_with(ending))?;
                Some(parts.entry(*at).shape.clone())
            },
            first: &|tensor: &str| number::first(parts, tensor),
            integers: &|ending: &str| number::integers(parts, ending),
            zero_rows: &|tensor: &str, from: u64| number::zero_rows(parts, tensor, from),
            arch: architecture.gguf,
            metadata: &mut metadata,
            file_type: outtype::file_type(self.ty, self.blocks, architecture.hooks.packed_by_layer),
            dir: self.dir,
            dense: &self.modules.dense,
        };
        (architecture.early)(hparams, &mut keys)?;
        let kind = if options.mmproj { "mmproj" } else { "model" };
        keys.metadata.set("general.type", kind);
        general.write(keys.metadata);
        (architecture.hyperparameters)(hparams, &mut keys)?;
        arch::complete_windows(hparams, architecture, keys.metadata)?;
        keys.metadata
            .set_in_place("general.quantization_version", QUANTIZATION_VERSION);
        if !options.mmproj {
            let embeddings = tensors.iter().find(|t| t.name == "token_embd.weight");
            let rows = embeddings.and_then(|t| t.shape.get(1).copied());
            if architecture.hooks.no_vocabulary {
                keys.set_tokenizer("model", "none");
            } else {
                let warnings = vocabulary(&self.form, options, rows, keys.metadata)?;
                self.warnings.extend(warnings);
            }
            (architecture.hooks.late)(hparams, &mut keys)?;
        }
        Ok((metadata, general))
    }

    /// Collects what the user should know of the whole.
    fn note(&mut self, metadata: &Metadata, made: &Assembled) -> Result<()> {
        let (form, options) = (&self.form, self.options);
        let (architecture, hparams) = (form.architecture, &form.hparams);
        let warnings = &mut self.warnings;
        if !options.vocab_only && !options.mmproj {
            let has = |name: &str| made.tensors.iter().any(|t| t.name == name);
            warnings.extend(arch::rope_contradiction(&form.given, hparams));
            let pooling = format!("{}.pooling_type", architecture.gguf);
            warnings.extend(self.modules.warnings(metadata.get(&pooling).is_some()));
            warnings.extend(arch::rope_dropped(hparams, architecture, metadata, &has));
            warnings.extend(arch::window_dropped(hparams, architecture, metadata));
            warnings.extend((architecture.hooks.notes)(hparams)?);
        }
        warnings.extend(unused::tensors(&made.left_out, form.is_part, options.mmproj));
        if !options.vocab_only {
            warnings.extend(unused::files(self.dir, &self.parts));
        }
        Ok(())
    }
}

/// Adds the keys of the vocabulary to those of the model, whose embeddings have `rows`. Returns warnings.
fn vocabulary(
    form: &Form,
    options: &HfOptions,
    rows: Option<u64>,
    metadata: &mut Metadata,
) -> Result<Vec<String>> {
    let architecture = form.architecture;
    let Vocabulary {
        dir,
        config,
        mut request,
    } = Vocabulary::of(form)?;
    if let Some(name) = &options.pre_tokenizer {
        request = request.pre_tokenizer(Some(name.clone()));
    }
    request.architecture = Some(architecture.gguf);
    request.no_named_template = options.no_named_template;
    let further = (architecture.hooks.further_tokens)(&form.hparams)?;
    request.embeddings = rows.map(|rows| rows.saturating_sub(further.len() as u64));
    let vocabulary = tokenizer::vocab_metadata(dir, &config, &request)?;
    for (key, value) in vocabulary.metadata {
        metadata.set_in_place(key, value);
    }
    tokenizer::add_control_tokens(metadata, further);
    let size = format!("{}.vocab_size", architecture.gguf);
    if vocabulary.resized && metadata.get(&size).is_some() {
        metadata.set_in_place(size, vocabulary.n_vocab as u32);
    }
    Ok(vocabulary.warnings)
}

/// Where a model's vocabulary is, and how it is read.
struct Vocabulary<'a> {
    dir: &'a Path,
    config: Value,
    request: VocabRequest,
}

impl<'a> Vocabulary<'a> {
    /// A draft model's vocabulary is that of its target.
    fn of(form: &'a Form) -> Result<Self> {
        let (architecture, hparams) = (form.architecture, &form.hparams);
        let stored = |config: &Map<String, Value>| Some(Value::Object(config.clone()));
        let Some(way) = architecture.hooks.target_vocabulary else {
            let config = Value::Object(form.whole.as_ref().unwrap_or(hparams.values()).clone());
            let request = architecture.request(hparams, &config);
            return Ok(Self {
                dir: hparams.dir(),
                request: request.stored(stored(&form.given)),
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
            request: request.stored(stored(target.config())),
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
