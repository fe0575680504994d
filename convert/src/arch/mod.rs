//! Model architectures that can be converted: `models` has one file a family, with its hyperparameters, tensor names and
//! the transforms between the two layouts; `rules` what families share; `encoders` the encoders of images and sound.
//! Further ones are given in files (`files`, as the values of `described`) or in code (`custom`).
//!
//! A new one is a file in `models` with an `Architecture` (and a `ModelType` for the defaults that `transformers`
//! assumes for missing keys of `config.json`), named in `ARCHITECTURES`.

pub mod custom;
mod defaults;
pub(crate) mod described;
pub(crate) mod encoders;
pub(crate) mod files;
mod models;
mod rules;

use std::path::Path;

use serde_json::{Map, Value};

use defaults::{built_in, complete, complete_with, is_refused};
use models::ARCHITECTURES;
pub(crate) use models::{mistral, pockettts};
pub(crate) use rules::declared::Declared;
pub(crate) use rules::graph::{Activation, Fixed, Graph, check as check_graph};
pub(crate) use rules::hooks::{Beside, DenseModule, Hooks, Named, StoredAs, TargetVocabulary};
pub(crate) use rules::hparams::{Hparams, Keys};
use rules::model_type::{Default, ModelType};
pub(crate) use rules::multimodal;
pub(crate) use rules::names::{
    Codebooks, Composed, FoldedLayer, InSteps, Match, Name, Rearrange, RowFactors, Rule, Section, Transform,
    block_of, harmless, ignored, resolve,
};
pub(crate) use rules::rope::llama3_frequency_factors;
pub(crate) use rules::rope_notes::{contradiction as rope_contradiction, dropped as rope_dropped};
pub(crate) use rules::rows::{Rows, Strided, chosen as chosen_rows};
pub(crate) use rules::target::Target;
pub(crate) use rules::view::{View, Walk};
pub(crate) use rules::windows::{complete as complete_windows, dropped as window_dropped};
use rules::{common, names, nearest};

use crate::tokenizer::{VocabKind, VocabRequest};
use crate::{Error, Remedy, Result};

/// A class of `config.json`'s `architectures` and how its tensor names begin.
#[derive(Debug)]
pub(crate) struct Class {
    pub(crate) name: &'static str,
    /// Taken from the beginning of every tensor name that has it.
    pub(crate) strip: &'static str,
    /// Put before every tensor name then, for classes that are saved without their outer module.
    pub(crate) prefix: &'static str,
}

impl Class {
    /// A tensor's name as the rules have it. The head is beside the outer module, not in it.
    pub(crate) fn canonical(&self, name: &str) -> String {
        if name.starts_with("lm_head.") {
            return name.to_owned();
        }
        format!("{}{}", self.prefix, name.strip_prefix(self.strip).unwrap_or(name))
    }
}

const fn class(name: &'static str) -> Class {
    let (strip, prefix) = ("", "");
    Class { name, strip, prefix }
}

/// A class that is saved both with and without its outer module `strip`.
const fn class_without(name: &'static str, strip: &'static str) -> Class {
    let prefix = "";
    Class { name, strip, prefix }
}

/// A class that is saved with and without its outer module `model`.
const fn either_class(name: &'static str) -> Class {
    Class {
        strip: "model.",
        ..bare_class(name)
    }
}

/// The same model saved without its outer `model.` module.
const fn bare_class(name: &'static str) -> Class {
    Class {
        name,
        strip: "",
        prefix: "model.",
    }
}

/// A tensor that no file holds: computed from the hyperparameters.
#[derive(Clone, Debug)]
pub(crate) struct Generated {
    pub(crate) name: &'static str,
    pub(crate) values: Vec<f32>,
}

/// One architecture of the GGUF side and what is converted to it.
#[derive(Debug)]
pub(crate) struct Architecture {
    /// `general.architecture`.
    pub(crate) gguf: &'static str,
    pub(crate) classes: &'static [Class],
    /// Tensor names, with what happens to each on the way. The first table that knows a name decides.
    pub(crate) rules: &'static [&'static [Rule]],
    /// Writes the `{arch}.*` keys and `general.file_type`, in the stock converter's order.
    pub(crate) hyperparameters: fn(&Hparams, &mut Keys<'_>) -> Result<()>,
    /// Tensors to compute, which precede the others.
    pub(crate) generated: fn(&Hparams) -> Result<Vec<Generated>>,
    /// Keys that the stock converter notes while it goes through the tensors, so that they come first.
    pub(crate) early: fn(&Hparams, &mut Keys<'_>) -> Result<()>,
    /// The form in which its vocabularies are published, given the configuration.
    pub(crate) vocabulary: fn(&Value) -> VocabRequest,
    /// The configurations of its classes.
    pub(crate) model_types: &'static [&'static ModelType],
    /// Fixed parts of its graph, whatever the configuration says.
    pub(crate) graph: Graph,
    /// Steps that few architectures need.
    pub(crate) hooks: Hooks,
}

/// Defaults of an architecture: tensors under their usual names, the usual keys, and a byte-level vocabulary.
const PLAIN: Architecture = Architecture {
    gguf: "",
    classes: &[],
    rules: &[names::DECODER],
    hyperparameters: common::text_model,
    generated: none_generated,
    early: |_, _| Ok(()),
    vocabulary: |_| VocabRequest::new(&[VocabKind::Bpe]),
    model_types: &[],
    graph: Graph::SILU,
    hooks: Hooks::NONE,
};

/// Supported values of `architectures` in `config.json`, each with its `general.architecture`.
pub fn supported_classes() -> Vec<(&'static str, &'static str)> {
    ARCHITECTURES
        .iter()
        .flat_map(|a| a.classes.iter().map(|c| (c.name, a.gguf)))
        .collect()
}

/// Classes whose image encoder can be converted; its `general.architecture` is `clip`.
pub fn supported_encoders() -> Vec<&'static str> {
    let classes = encoders::ENCODERS.iter().flat_map(|e| e.classes);
    classes.map(|c| c.name).collect()
}

/// Classes around a text model that has a directory of its own, which the stock converter refuses as text models too, and
/// what to do.
const WITHOUT_TEXT: [(&str, &str); 3] = [
    (
        "UltravoxModel",
        ": convert the directory of the model that text_model_id of config.json names",
    ),
    ("GraniteSpeechForConditionalGeneration", GRANITE_SPEECH),
    ("GraniteSpeechPlusForConditionalGeneration", GRANITE_SPEECH),
];

const GRANITE_SPEECH: &str = ": convert the directory of the Granite model that this one was made of";

/// The architecture of a class and the class itself.
fn find(config_path: &Path, name: &str) -> Result<(&'static Architecture, &'static Class)> {
    for architecture in ARCHITECTURES {
        if let Some(class) = architecture.classes.iter().find(|c| c.name == name) {
            return Ok((architecture, class));
        }
    }
    if supported_encoders().contains(&name) {
        let remedy = WITHOUT_TEXT.iter().find(|(class, _)| *class == name);
        let remedy = remedy.map_or("", |(_, remedy)| remedy);
        return Err(Error::input(
            config_path,
            format!(
                "architectures: {name} is converted as an encoder alone (mmproj); expected a class \
                 whose text model is converted{remedy}"
            ),
        ));
    }
    // A class name is a short word; what is longer is no class of anyone's.
    let shown = nearest::shown(name);
    let known = supported_classes();
    let near = nearest::of(&shown, known.iter().map(|(class, _)| *class));
    Err(Error::input(
        config_path,
        format!(
            "architectures: found {shown}, expected one of the {} built-in classes{}",
            known.len(),
            nearest::phrase(&near),
        ),
    )
    .avoided_by(Remedy::ArchFile))
}

/// The architecture of a configuration, by the first class that it names.
///
/// # Errors
/// [`Error::Input`] where it names none, or one that is not supported.
pub(crate) fn of_config(
    config_path: &Path,
    config: &Map<String, Value>,
) -> Result<(&'static Architecture, &'static Class)> {
    let class = multimodal::class_of(config).ok_or_else(|| no_class(config_path))?;
    find(config_path, class)
}

fn no_class(config_path: &Path) -> Error {
    Error::input(
        config_path,
        "architectures: expected the name of a class, found none",
    )
}

/// The names that [`printed`] knows, in its order.
pub fn printable() -> impl Iterator<Item = &'static str> {
    files::names()
}

/// A built-in architecture (`general.architecture`) as a file for `HfOptions::arch_file`; `None` of one that is not all
/// data.
pub fn printed(name: &str) -> Option<String> {
    files::print(name)
}

impl Architecture {
    /// The request for the vocabulary of a model with this configuration.
    pub(crate) fn request(&self, hp: &Hparams, config: &Value) -> VocabRequest {
        match hp.declared() {
            Some(declared) => declared.vocabulary(config),
            None => (self.vocabulary)(config),
        }
    }

    /// Whether it is an encoder of images or sound.
    pub(crate) fn is_encoder(&self) -> bool {
        self.gguf == encoders::CLIP
    }

    /// The completed hyperparameters of a configuration, and the variant of this architecture that they ask for.
    ///
    /// # Errors
    /// [`Error::Input`] naming what is missing or malformed.
    pub(crate) fn hyperparameters_of(
        &'static self,
        config_path: &Path,
        config: Map<String, Value>,
    ) -> Result<(&'static Self, Hparams)> {
        let mut config = complete(config);
        (self.hooks.prepare)(&mut config);
        let hparams = Hparams::new(config_path.to_path_buf(), config)?;
        let variant = (self.hooks.variant)(&hparams).unwrap_or(self);
        Ok((variant, hparams))
    }
}

/// The architecture of a file or of another crate, and the hyperparameters of a configuration, completed with the defaults
/// that it has, then with those of the built-in model types.
///
/// # Errors
/// [`Error::Input`] naming what is missing or malformed.
pub(crate) fn of_declared(
    declared: &'static dyn Declared,
    config_path: &Path,
    mut config: Map<String, Value>,
) -> Result<(&'static Architecture, Hparams)> {
    let architecture = declared.architecture();
    declared.rename(&mut config);
    let config = complete_with(architecture.model_types, config);
    let mut hparams = Hparams::new(config_path.to_path_buf(), config)?;
    hparams.declare(declared);
    Ok((architecture, hparams))
}

/// The name table of a GGUF architecture, the rules that decide first at the front.
pub(crate) fn rules_of(gguf: &str) -> Vec<&'static Rule> {
    let found = ARCHITECTURES.iter().find(|a| a.gguf == gguf);
    let tables = found.map(|a| a.rules).unwrap_or_default();
    tables.iter().flat_map(|table| table.iter()).collect()
}

/// For architectures without computed tensors.
fn none_generated(_: &Hparams) -> Result<Vec<Generated>> {
    Ok(Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_class_is_claimed_twice() {
        let mut classes: Vec<_> = supported_classes().into_iter().map(|(class, _)| class).collect();
        let count = classes.len();
        classes.sort_unstable();
        classes.dedup();
        assert_eq!(classes.len(), count);
    }

    #[test]
    fn unknown_class_says_where_the_known_are() {
        let error = find(Path::new("config.json"), "FooForCausalLM")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("found FooForCausalLM") && error.contains("built-in classes"),
            "{error}"
        );
    }

    #[test]
    fn a_class_without_a_text_model_says_what_to_convert() {
        let error = |name| find(Path::new("config.json"), name).unwrap_err().to_string();
        let ultravox = error("UltravoxModel");
        assert!(
            ultravox.contains("(mmproj)") && ultravox.contains("text_model_id"),
            "{ultravox}"
        );
        for class in [
            "GraniteSpeechForConditionalGeneration",
            "GraniteSpeechPlusForConditionalGeneration",
        ] {
            let error = error(class);
            assert!(
                error.contains("(mmproj)") && error.contains("Granite model"),
                "{error}"
            );
        }
        for (class, _) in WITHOUT_TEXT {
            assert!(supported_encoders().contains(&class), "{class}");
        }
    }

    #[test]
    fn unknown_class_names_the_nearest_and_few() {
        let error = |name| find(Path::new("config.json"), name).unwrap_err().to_string();
        let near = error("LlamaForCausualLM");
        assert!(near.contains("LlamaForCausalLM") && near.len() < 500, "{near}");
        let family = error("Qwen3NextMoeForCausalLM");
        assert!(family.contains("Qwen3NextForCausalLM"), "{family}");
        let long = error(&"x".repeat(100_000));
        assert!(long.len() < 1000, "{} bytes", long.len());
    }
}
