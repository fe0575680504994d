//! Qwen3: Qwen2 with norms on queries and keys.

use crate::arch::described::{self, Described, Group, Key, QWEN2_VOCABULARY};
use crate::arch::rules::names::{DECODER, HEAD_NORMS};
use crate::arch::{Architecture, ModelType, PLAIN, bare_class, class};
use crate::tokenizer::VocabRequest;

pub(super) static QWEN3: Architecture = Architecture {
    gguf: "qwen3",
    classes: &[
        class("Qwen3ForCausalLM"),
        bare_class("Qwen3Model"),
        class("StepVLForConditionalGeneration"),
    ],
    rules: &[DECODER, HEAD_NORMS],
    hyperparameters: |hp, keys| described::write(KEYS, hp, keys),
    vocabulary: |_| VocabRequest::qwen2(),
    model_types: &[&QWEN3_TYPE],
    ..PLAIN
};

/// Qwen3 as data.
pub(super) static DESCRIBED: Described = Described {
    architecture: &QWEN3,
    keys: KEYS,
    vocabulary: &QWEN2_VOCABULARY,
    factors: None,
};

const KEYS: &[Key] = &[
    // The stock converter rewrites these into a classifier over two tokens.
    Key::RefusedName {
        part: "qwen3-reranker",
        because: "Qwen3 rerankers are not supported",
    },
    Key::Group(Group::TextModel),
    Key::Group(Group::Pooling),
];

pub(super) static QWEN3_TYPE: ModelType = ModelType::of("qwen3");
