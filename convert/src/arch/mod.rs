//! Model architectures that can be converted: one file each, with its hyperparameters, its tensor names
//! and the transforms between the two layouts.
//!
//! To add one, write a file with an [`Architecture`] (and a [`ModelType`] for the defaults that
//! `transformers` assumes for missing keys of `config.json`) and name it in [`ARCHITECTURES`].

mod apertus;
mod baichuan;
mod bailing;
mod bert;
mod bidirectional;
mod bloom;
mod code;
mod cohere;
mod common;
mod dbrx;
mod deci;
mod deepseek;
mod diffusion;
pub(crate) mod encoders;
mod ernie;
mod exaone;
mod experts;
mod falcon;
mod gemma;
mod gemma4;
mod glm;
mod gpt2;
mod gpt_oss;
mod gptneox;
mod granite;
mod granite_hybrid;
mod graph;
mod hooks;
mod hparams;
mod hunyuan;
mod hybrid;
mod internlm2;
mod jais;
mod kimi_linear;
mod llama;
mod llama4;
mod mamba;
mod minicpm;
mod modern_bert;
mod moe;
mod mpt;
pub(crate) mod multimodal;
mod names;
mod nearest;
mod nemotron;
mod nemotron_h;
mod newer;
mod olmo;
mod pangu;
mod phi;
mod qwen;
mod qwen2;
mod qwen2moe;
mod qwen2vl;
mod qwen3;
mod qwen3_5;
mod qwen3next;
mod qwen3vl;
mod rope;
mod rope_notes;
mod rows;
mod rwkv;
mod seed_oss;
mod stablelm;
mod starcoder2;
mod t5;
mod view;

use std::path::Path;

use serde_json::{Map, Value};

pub(crate) use graph::{Activation, Fixed, Graph, check as check_graph};
pub(crate) use hooks::{DenseModule, Hooks};
pub(crate) use hparams::{Hparams, Keys};
pub(crate) use names::{Match, Rearrange, RowFactors, Rule, Transform, block_of, harmless, ignored, resolve};
pub(crate) use rope::llama3_frequency_factors;
pub(crate) use rope_notes::{contradiction as rope_contradiction, dropped as rope_dropped};
pub(crate) use rows::{Rows, Strided};
pub(crate) use view::{View, Walk};

use crate::tokenizer::{VocabKind, VocabRequest};
use crate::{Error, Result};

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
    /// A tensor's name as the rules have it.
    pub(crate) fn canonical(&self, name: &str) -> String {
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
    /// How its vocabularies are published, given the configuration.
    pub(crate) vocabulary: fn(&Value) -> VocabRequest,
    /// The configurations of its classes.
    pub(crate) model_types: &'static [&'static ModelType],
    /// What its graph computes whatever the configuration says.
    pub(crate) graph: Graph,
    /// What few architectures need besides.
    pub(crate) hooks: Hooks,
}

/// What an architecture is unless it says otherwise: tensors under their usual names, the usual keys, and a
/// byte-level vocabulary.
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

/// Every architecture, in the order in which `convert --list` prints them.
pub(crate) static ARCHITECTURES: &[&Architecture] = &[
    &llama::LLAMA,
    &llama::SARASHINA2_VISION,
    &qwen::QWEN,
    &qwen2::QWEN2,
    &qwen3::QWEN3,
    &qwen2moe::QWEN2MOE,
    &qwen2moe::QWEN3MOE,
    &gemma::GEMMA,
    &gemma::GEMMA2,
    &gemma::GEMMA3,
    &gemma::GEMMA_EMBEDDING,
    &gemma4::GEMMA4,
    &gemma4::GEMMA4_UNIFIED,
    &phi::PHI2,
    &phi::PHI3,
    &phi::PHIMOE,
    &gpt2::GPT2,
    &gpt2::STARCODER,
    &gptneox::GPTNEOX,
    &starcoder2::STARCODER2,
    &falcon::FALCON,
    &stablelm::STABLELM,
    &cohere::COMMAND_R,
    &cohere::COHERE2,
    &olmo::OLMO,
    &olmo::OLMO2,
    &olmo::OLMOE,
    &seed_oss::SEED_OSS,
    &internlm2::INTERNLM2,
    &internlm2::INTERNLM3,
    &llama::SMOLLM3,
    &llama::ARCEE,
    &llama::MISTRAL3,
    &qwen2vl::QWEN2VL,
    &qwen3vl::QWEN3VL,
    &qwen3vl::QWEN3_ASR,
    &qwen3vl::QWEN3VL_MOE,
    &qwen3vl::QWEN3_OMNI,
    &granite::GRANITE,
    &granite::GRANITE_MOE,
    &glm::GLM4,
    &glm::GLM_OCR,
    &glm::CHATGLM,
    &nemotron::NEMOTRON,
    &nemotron_h::NEMOTRON_H,
    &jais::JAIS2,
    &bloom::BLOOM,
    &mpt::MPT,
    &exaone::EXAONE,
    &exaone::EXAONE4,
    &exaone::EXAONE4_5,
    &exaone::EXAONE_MOE,
    &hunyuan::HUNYUAN_DENSE,
    &hunyuan::HUNYUAN_MOE,
    &apertus::APERTUS,
    &baichuan::BAICHUAN,
    &baichuan::XVERSE,
    &baichuan::ORION,
    &code::CODESHELL,
    &code::REFACT,
    &minicpm::MINICPM,
    &pangu::PANGU_EMBEDDED,
    &pangu::MAINCODER,
    &bert::BERT,
    &bert::DISTILBERT,
    &bert::ROBERTA,
    &bert::XLM_ROBERTA,
    &bert::NOMIC_BERT,
    &modern_bert::MODERN_BERT,
    &t5::T5,
    &t5::T5_ENCODER,
    &deepseek::DEEPSEEK,
    &deepseek::DEEPSEEK2,
    &deepseek::DEEPSEEK2_OCR,
    &deepseek::GLM4_MOE_LITE,
    &deepseek::DEEPSEEK32,
    &deepseek::GLM_DSA,
    &gpt_oss::GPT_OSS,
    &llama4::LLAMA4,
    &mamba::MAMBA,
    &mamba::MAMBA2,
    &rwkv::RWKV6,
    &rwkv::RWKV7,
    &moe::DOTS1,
    &moe::GLM4_MOE,
    &moe::SOLAR_OPEN,
    &moe::MINIMAX_M2,
    &dbrx::DBRX,
    &granite_hybrid::GRANITE_HYBRID,
    &qwen3next::QWEN3NEXT,
    &qwen3_5::QWEN3_5,
    &qwen3_5::QWEN3_5_MOE,
    &ernie::ERNIE4_5,
    &ernie::PADDLEOCR,
    &ernie::ERNIE4_5_MOE,
    &hybrid::JAMBA,
    &hybrid::FALCON_H1,
    &hybrid::LFM2,
    &hybrid::LFM2_MOE,
    &kimi_linear::KIMI_LINEAR,
    &bailing::BAILINGMOE,
    &bailing::BAILINGMOE2,
    &deci::DECI,
    &diffusion::DREAM,
    &diffusion::LLADA,
    &diffusion::LLADA_MOE,
    &diffusion::RND1,
    &bidirectional::EUROBERT,
    &bidirectional::LLAMA_EMBED,
    &bidirectional::NEO_BERT,
];

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

/// Most letters of a class name that a message repeats.
const MAX_SHOWN: usize = 100;

/// The architecture of a class and the class itself.
fn find(config_path: &Path, name: &str) -> Result<(&'static Architecture, &'static Class)> {
    for architecture in ARCHITECTURES {
        if let Some(class) = architecture.classes.iter().find(|c| c.name == name) {
            return Ok((architecture, class));
        }
    }
    // A class name is a short word; what is longer is no class of anyone's.
    let shown: String = name.chars().take(MAX_SHOWN).collect();
    let known = supported_classes();
    let near = nearest::of(&shown, known.iter().map(|(class, _)| *class));
    Err(Error::Input {
        path: config_path.to_path_buf(),
        message: format!(
            "architectures: found {shown}, expected one of the {} classes that `convert --list` prints; {}a further \
             one is a file in the source code's convert/src/arch/, whose mod.rs says how",
            known.len(),
            nearest::phrase(&near),
        ),
    })
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
    Error::Input {
        path: config_path.to_path_buf(),
        message: "no class name in \"architectures\"".to_owned(),
    }
}

impl Architecture {
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

/// The name table of a GGUF architecture, the rules that decide first at the front.
pub(crate) fn rules_of(gguf: &str) -> Vec<&'static Rule> {
    let found = ARCHITECTURES.iter().find(|a| a.gguf == gguf);
    let tables = found.map(|a| a.rules).unwrap_or_default();
    tables.iter().flat_map(|table| table.iter()).collect()
}

/// A default value of a configuration key.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Default {
    Int(u64),
    Float(f64),
    Bool(bool),
    Null,
}

impl Default {
    fn value(self) -> Value {
        match self {
            Self::Int(n) => Value::from(n),
            Self::Float(x) => Value::from(x),
            Self::Bool(b) => Value::from(b),
            Self::Null => Value::Null,
        }
    }
}

/// What `transformers` (4.57.6, which the stock converter pins) assumes for keys that a `config.json` of
/// this `model_type` leaves out. The stock converter reads configurations through that library, so these
/// reach the GGUF file.
#[derive(Debug)]
pub(crate) struct ModelType {
    pub(crate) name: &'static str,
    /// The type whose defaults this one has too.
    pub(crate) extends: Option<&'static ModelType>,
    pub(crate) defaults: &'static [(&'static str, Default)],
    /// Other spellings: (found, meant).
    pub(crate) renames: &'static [(&'static str, &'static str)],
    /// Whether a missing `head_dim` becomes `hidden_size / num_attention_heads`.
    pub(crate) derives_head_dim: bool,
    /// The base of the rotation; 0 for models whose positions are not rotated.
    pub(crate) rope_theta: f64,
}

impl ModelType {
    /// Its own defaults, and those of the types that it extends.
    fn all_defaults(&'static self) -> impl Iterator<Item = &'static (&'static str, Default)> {
        std::iter::successors(Some(self), |t| t.extends).flat_map(|t| t.defaults)
    }

    /// Only the rotation's base, and nothing that is renamed or derived.
    const BLANK: Self = Self {
        name: "",
        extends: None,
        defaults: &[],
        renames: &[],
        derives_head_dim: false,
        rope_theta: 10000.0,
    };

    /// The same without a rotation.
    const UNROTATED: Self = Self {
        rope_theta: 0.0,
        ..Self::BLANK
    };
}

/// Completes a configuration with the defaults of its model type, whichever version of `transformers` wrote it.
fn complete(mut config: Map<String, Value>) -> Map<String, Value> {
    newer::to_older(&mut config);
    let model_type = config.get("model_type").and_then(Value::as_str);
    let known = ARCHITECTURES
        .iter()
        .chain(encoders::ENCODERS)
        .flat_map(|a| a.model_types);
    let Some(model_type) = known.into_iter().find(|t| Some(t.name) == model_type) else {
        return config;
    };
    for (found, meant) in model_type.renames {
        if let Some(value) = config.shift_remove(*found) {
            config.insert((*meant).to_owned(), value);
        }
    }
    for (key, default) in model_type.all_defaults() {
        if !config.contains_key(*key) {
            config.insert((*key).to_owned(), default.value());
        }
    }
    let number = |config: &Map<String, Value>, key: &str| config.get(key).and_then(Value::as_u64);
    let hidden = number(&config, "hidden_size");
    let heads = number(&config, "num_attention_heads").filter(|&n| n > 0);
    if let (Some(hidden), Some(heads)) = (hidden, heads)
        && model_type.derives_head_dim
        && config.get("head_dim").is_none_or(Value::is_null)
    {
        config.insert("head_dim".to_owned(), Value::from(hidden / heads));
    }
    if let (Some(heads), Some(Value::Null)) = (heads, config.get("num_key_value_heads")) {
        config.insert("num_key_value_heads".to_owned(), Value::from(heads));
    }
    if model_type.rope_theta > 0.0 {
        rope::standardize(&mut config, model_type.rope_theta);
    }
    config
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
            error.contains("found FooForCausalLM") && error.contains("convert --list"),
            "{error}"
        );
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

    fn completed(text: &str) -> Value {
        let Value::Object(map) = serde_json::from_str(text).unwrap() else {
            panic!("not an object")
        };
        Value::Object(complete(map))
    }

    #[test]
    fn defaults_fill_only_what_is_missing() {
        let c = completed(
            r#"{"model_type": "llama", "hidden_size": 64, "num_attention_heads": 8, "num_key_value_heads": null}"#,
        );
        assert_eq!(c["head_dim"], 8);
        assert_eq!(c["num_key_value_heads"], 8);
        assert_eq!(c["rms_norm_eps"], 1e-6);
        assert_eq!(
            c["rope_parameters"],
            serde_json::json!({"rope_theta": 10000.0, "rope_type": "default"})
        );
    }
}
