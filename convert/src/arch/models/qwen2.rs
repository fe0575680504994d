//! Qwen2 and Qwen2.5.

use crate::Result;
use crate::arch::described::{self, Described, Group, Key, QWEN2_VOCABULARY};
use crate::arch::rules::names::{DECODER, LAYER, Rule};
use crate::arch::{Architecture, Hparams, Keys, ModelType, PLAIN, bare_class, class};
use crate::tokenizer::VocabRequest;

pub(super) static QWEN2: Architecture = Architecture {
    gguf: "qwen2",
    classes: &[
        class("Qwen2ForCausalLM"),
        class("KORMoForCausalLM"),
        class("Qwen2AudioForConditionalGeneration"),
        class("AudioFlamingo3ForConditionalGeneration"),
        class("DotsOCRForCausalLM"),
        bare_class("Qwen2Model"),
    ],
    rules: &[DECODER, KORMO],
    hyperparameters,
    vocabulary: |_| VocabRequest::qwen2(),
    model_types: &[&QWEN2_TYPE],
    ..PLAIN
};

/// Qwen2 as data.
pub(super) static DESCRIBED: Described = Described {
    architecture: &QWEN2,
    keys: KEYS,
    vocabulary: &QWEN2_VOCABULARY,
    factors: None,
};

const KEYS: &[Key] = &[Key::Group(Group::TextModel), Key::Group(Group::Pooling)];

/// KORMo's own names.
const KORMO: &[Rule] = &[
    LAYER.copy("pre_attention_layernorm", "attn_norm"),
    LAYER.copy("pre_mlp_layernorm", "ffn_norm"),
];

/// Also Qwen3's: the two differ only in their tensors.
pub(super) fn hyperparameters(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    described::write(KEYS, hp, keys)
}

pub(super) static QWEN2_TYPE: ModelType = ModelType::of("qwen2");
