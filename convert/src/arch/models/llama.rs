//! Llama, Mistral and Mixtral, and the models published under their classes or made in their image: SmolLM3,
//! Arcee.

use serde_json::Value;

use super::deepseek::MISTRAL4;
use super::eagle3::EAGLE3;
use crate::Result;
use crate::arch::described::{self, Computed, Described, Factors, Group, Key, LLAMA_VOCABULARY, u32_of};
use crate::arch::rules::experts::BLOCK_SPARSE_EXPERTS;
use crate::arch::rules::names::{DECODER, PERMUTED};
use crate::arch::rules::{common, rope};
use crate::arch::{
    Activation, Architecture, Graph, Hooks, Hparams, Keys, ModelType, PLAIN, bare_class, class, class_without,
};
use crate::tokenizer::VocabRequest;

pub(super) static LLAMA: Architecture = Architecture {
    gguf: "llama",
    classes: &[
        class("LlamaForCausalLM"),
        class("LLaMAForCausalLM"),
        class("MistralForCausalLM"),
        class("MixtralForCausalLM"),
        class("IQuestCoderForCausalLM"),
        class("VLlama3ForCausalLM"),
        class("LlavaForConditionalGeneration"),
        class("VoxtralForConditionalGeneration"),
        class("JanusForConditionalGeneration"),
        bare_class("LlamaModel"),
    ],
    rules: &[PERMUTED, BLOCK_SPARSE_EXPERTS, DECODER],
    hyperparameters,
    generated: rope::llama3_factors,
    vocabulary: VocabRequest::llama,
    model_types: &[&LLAMA_TYPE, &MISTRAL_TYPE, &MIXTRAL_TYPE],
    graph: Graph::SILU.with_bias_keys(),
    hooks: Hooks {
        variant: |hp| is_draft(hp).then_some(&EAGLE3),
        ..Hooks::NONE
    },
    ..PLAIN
};

/// Whether it is a draft model, which may have no class of its own.
fn is_draft(hp: &Hparams) -> bool {
    hp.values().contains_key("draft_vocab_size") && hp.block_count() == 1
}

/// Sarashina 2.2 Vision, the text model. A norm outside it belongs to the image encoder.
pub(super) static SARASHINA2_VISION: Architecture = Architecture {
    classes: &[class_without("Sarashina2VisionForCausalLM", "llm.")],
    hooks: Hooks {
        canonical: |_, name| (!name.starts_with("norm.")).then_some(name),
        ..Hooks::NONE
    },
    model_types: &[],
    ..LLAMA
};

/// Llama as data.
pub(super) static DESCRIBED: Described = Described {
    architecture: &LLAMA,
    keys: KEYS,
    vocabulary: &LLAMA_VOCABULARY,
    factors: Some(Factors::Llama3),
};

const KEYS: &[Key] = &[
    Key::Refused {
        config: "draft_vocab_size",
        because: "draft models (EAGLE-3) have one layer",
    },
    Key::Group(Group::TextModel),
    u32_of("vocab_size", &["vocab_size"]),
    Key::Computed {
        key: "rope.dimension_count",
        what: Computed::HeadDim,
    },
];

pub(super) static SMOLLM3: Architecture = Architecture {
    gguf: "smollm3",
    classes: &[class("SmolLM3ForCausalLM")],
    rules: &[PERMUTED, DECODER],
    model_types: &[&SMOLLM3_TYPE],
    ..LLAMA
};

pub(super) static ARCEE: Architecture = Architecture {
    gguf: "arcee",
    classes: &[class("ArceeForCausalLM")],
    rules: &[PERMUTED, DECODER],
    hyperparameters: |hp, keys| {
        hyperparameters(hp, keys)?;
        common::pooling(hp, keys)
    },
    model_types: &[&ARCEE_TYPE],
    graph: Graph::with(Activation::Relu2).with_bias_keys(),
    ..LLAMA
};

/// Ministral 3, and Mistral Small from 3.1 on, the text model.
pub(super) static MISTRAL3: Architecture = Architecture {
    gguf: "mistral3",
    classes: &[
        class("Mistral3ForConditionalGeneration"),
        class("Ministral3ForCausalLM"),
    ],
    rules: &[PERMUTED, DECODER],
    hyperparameters: |hp, keys| match hp.opt_str(&["model_type"]) {
        Some("ministral3") => {
            hyperparameters(hp, keys)?;
            ministral3(hp, keys)
        }
        _ => hyperparameters(hp, keys),
    },
    hooks: Hooks {
        variant: |hp| (hp.opt_str(&["model_type"]) == Some("mistral4")).then_some(&MISTRAL4),
        ..Hooks::NONE
    },
    model_types: &[],
    ..LLAMA
};

/// Scaling of rotation and queries with the context.
fn ministral3(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    let kind = hp.rope().get("rope_type").and_then(Value::as_str);
    if kind != Some("yarn") {
        let found = kind.unwrap_or("none");
        return Err(hp.error(format!(
            "rope_parameters: rope_type is {found}, yarn expected of ministral3"
        )));
    }
    let number = |key: &str| -> Result<f32> {
        let value = hp.rope().get(key);
        let value =
            value.ok_or_else(|| hp.error(format!("rope_parameters: expected a key {key}, found none")))?;
        hp.to_f32(key, value)
    };
    keys.set("rope.scaling.yarn_log_multiplier", number("mscale_all_dim")?);
    keys.set("attention.temperature_scale", number("llama_4_scaling_beta")?);
    Ok(())
}

pub(super) fn hyperparameters(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    described::write(KEYS, hp, keys)
}

pub(super) static LLAMA_TYPE: ModelType = ModelType {
    name: "llama",
    derives_head_dim: true,
    ..ModelType::BLANK
};

pub(super) static MISTRAL_TYPE: ModelType = ModelType::of("mistral");

pub(super) static MIXTRAL_TYPE: ModelType = ModelType {
    name: "mixtral",
    renames: &[("num_experts", "num_local_experts")],
    ..ModelType::BLANK
};

pub(super) static SMOLLM3_TYPE: ModelType = ModelType::of("smollm3");

pub(super) static ARCEE_TYPE: ModelType = ModelType {
    name: "arcee",
    derives_head_dim: true,
    ..ModelType::BLANK
};
