//! In whose form a model directory is: transformers' (`config.json`) or Mistral's own (`params.json`).

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::HfOptions;
use super::parts::{Naming, Parts};
use super::quantized::QuantConfig;
use crate::arch::{self, Architecture, Class, Declared, Hparams, Target, encoders, files, multimodal};
use crate::listed::listed;
use crate::{Error, Result};

/// The configuration of transformers' form.
const CONFIG: &str = "config.json";
/// The configuration of Mistral's.
const PARAMS: &str = "params.json";

/// The key that says whether embeddings and output are one matrix.
const TIE: &str = "tie_word_embeddings";

/// The settings of the conversion in a directory's configuration.
pub(super) struct Form {
    pub(super) naming: Naming,
    /// The file that it stands in.
    pub(super) path: PathBuf,
    /// The configuration as it is there.
    pub(super) given: Map<String, Value>,
    pub(super) architecture: &'static Architecture,
    pub(super) class: &'static Class,
    /// The completed configuration of the part that is converted.
    pub(super) hparams: Hparams,
    /// Whether that part's configuration itself says if the embeddings are tied.
    pub(super) has_tie: bool,
    /// Where there is more than that part: the configuration of the whole.
    pub(super) whole: Option<Map<String, Value>>,
    /// Whether there is more than the text model, which is converted.
    pub(super) is_part: bool,
    pub(super) quantization: Option<QuantConfig>,
    /// Remarks for the user.
    pub(super) warnings: Vec<String>,
}

impl Form {
    /// # Errors
    /// A directory in neither form, or not in the one that is asked for; what the configuration does not allow.
    pub(super) fn read(dir: &Path, options: &HfOptions) -> Result<Self> {
        if dir.is_file() {
            return Err(crate::kind::instead_of_directory(dir));
        }
        let has = |name: &str| dir.join(name).is_file();
        if let Some(file) = &options.arch_file
            && (options.mmproj || options.mistral_format || !has(CONFIG))
        {
            return Err(Error::input(
                file,
                format!(
                    "expected a text model in transformers' form ({CONFIG}), which a description is of, found {}",
                    match (options.mmproj, options.mistral_format) {
                        (true, _) => "an encoder to be converted (mmproj)",
                        (_, true) => "Mistral's own layout to be read (mistral_format)",
                        _ => "a directory without one",
                    }
                ),
            ));
        }
        match (options.mistral_format, has(CONFIG), has(PARAMS)) {
            (false, true, _) => Self::transformers(dir, options),
            (_, _, true) => Self::mistral(dir, options),
            (true, _, false) => Err(Error::input(
                dir,
                format!("mistral_format: expected a {PARAMS} in this directory, found none"),
            )),
            (false, false, false) if tensors_alone(dir).is_some() => Self::transformers(dir, options),
            (false, false, false) => Err(Error::input(
                dir,
                format!("expected a {CONFIG} of a Hugging Face model directory, found none"),
            )),
        }
    }

    fn transformers(dir: &Path, options: &HfOptions) -> Result<Self> {
        let path = dir.join(CONFIG);
        let given = match path.is_file() {
            true => crate::json::read_object(&path)?,
            false => tensors_alone(dir).unwrap_or_default(),
        };
        let mut quantization = QuantConfig::find(dir, &given)?;
        let (architecture, class, has_tie, whole);
        let mut hparams;
        if options.mmproj {
            (architecture, class) = encoders::find(&path, &given)?;
            hparams = encoders::configuration(architecture, &path, given.clone())?;
            (has_tie, whole) = (false, None);
        } else {
            let text = multimodal::text_part(given.clone());
            has_tie = text.config.contains_key(TIE);
            if let Some(file) = &options.arch_file {
                let described = files::read(file)?;
                class = described.class_of(file, &path, &text.config)?;
                (architecture, hparams) = arch::of_declared(described, &path, text.config)?;
            } else if let Some((declared, of_code)) = code(options, &text.config) {
                class = of_code;
                (architecture, hparams) = arch::of_declared(declared, &path, text.config)?;
            } else {
                let found;
                (found, class) = arch::of_config(&path, &text.config)?;
                (architecture, hparams) = found.hyperparameters_of(&path, text.config)?;
            }
            whole = text.whole;
        }
        if architecture.hooks.scales_unsaid && quantization.as_ref().is_none_or(QuantConfig::is_fp8) {
            quantization = Some(QuantConfig::fp8(&path));
        }
        if architecture.hooks.target_vocabulary.is_some() {
            let Some(dir) = &options.target_model_dir else {
                return Err(hparams
                    .target()
                    .err()
                    .unwrap_or_else(|| hparams.error(String::new())));
            };
            hparams.draft_for(Target::open(dir)?);
        }
        Ok(Self {
            naming: Naming::Transformers,
            path,
            given,
            architecture,
            class,
            hparams,
            has_tie,
            is_part: whole.is_some(),
            whole,
            quantization,
            warnings: other_form(dir).into_iter().collect(),
        })
    }

    fn mistral(dir: &Path, options: &HfOptions) -> Result<Self> {
        let path = dir.join(PARAMS);
        let given = crate::json::read_object(&path)?;
        let quantization = arch::mistral::quantization(&path, &given)?
            .map(|values| QuantConfig::of(&path, values))
            .transpose()?;
        let native = arch::mistral::of_params(&path, &given, options.mmproj)?;
        let has_tie = native.config.contains_key(TIE);
        let (architecture, hparams) = native.architecture.hyperparameters_of(&path, native.config)?;
        let mut warnings = Vec::new();
        if !options.mistral_format {
            warnings.push(format!(
                "the directory is in Mistral's own layout ({PARAMS} instead of {CONFIG}) and is read as such"
            ));
        }
        warnings.extend(native.warning);
        Ok(Self {
            naming: Naming::Mistral,
            path,
            given,
            architecture,
            class: native.class,
            hparams,
            has_tie,
            whole: None,
            is_part: native.is_part && !options.mmproj,
            quantization,
            warnings,
        })
    }
}

/// The configuration of a directory without one, by its tensors.
fn tensors_alone(dir: &Path) -> Option<Map<String, Value>> {
    let parts = Parts::open(dir, Naming::Transformers, true).ok()?;
    let shape = |name: &str| Some(parts.entry(*parts.tensors.get(name)?).shape.clone());
    arch::pockettts::configuration(parts.tensors.keys().map(String::as_str), &shape)
}

/// The architecture in code that converts a configuration's class.
fn code(options: &HfOptions, config: &Map<String, Value>) -> Option<(&'static dyn Declared, &'static Class)> {
    let class = multimodal::class_of(config)?;
    options.architectures.iter().find_map(|custom| custom.find(class))
}

/// A note on Mistral's own files beside those of transformers, which are used.
fn other_form(dir: &Path) -> Option<String> {
    if !dir.join(PARAMS).is_file() {
        return None;
    }
    let mut names: Vec<String> = std::fs::read_dir(dir)
        .ok()?
        .flatten()
        .filter_map(|item| item.file_name().into_string().ok())
        .filter(|name| {
            let consolidated = name.starts_with("consolidated") && name.ends_with(".safetensors");
            consolidated || name == PARAMS || name == "tekken.json" || name.starts_with("tokenizer.model.v")
        })
        .collect();
    names.sort_unstable();
    Some(format!(
        "the directory holds the model in Mistral's own layout too, which is not used ({}); mistral_format converts it instead",
        listed(names.iter())
    ))
}
