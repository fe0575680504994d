//! Qwen3: Qwen2 with norms on queries and keys.

use crate::arch::described::{self, Described, Group, Key, QWEN2_VOCABULARY};
use crate::arch::rules::names::{DECODER, HEAD_NORMS};
use crate::arch::{Architecture, Default, ModelType, PLAIN, bare_class, class};
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
    code: None,
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

pub(super) static QWEN3_TYPE: ModelType = ModelType {
    name: "qwen3",
    defaults: &[
        ("vocab_size", Default::Int(151936)),
        ("hidden_size", Default::Int(4096)),
        ("intermediate_size", Default::Int(22016)),
        ("num_hidden_layers", Default::Int(32)),
        ("num_attention_heads", Default::Int(32)),
        ("num_key_value_heads", Default::Int(32)),
        ("head_dim", Default::Int(128)),
        ("max_position_embeddings", Default::Int(32768)),
        ("rms_norm_eps", Default::Float(1e-6)),
    ],
    ..ModelType::BLANK
};
