//! Qwen2-VL, Qwen2.5-VL and Qwen2.5-Omni, the text model.

use crate::arch::{Architecture, Default, ModelType, PLAIN, class, class_without};
use crate::tokenizer::VocabRequest;

pub(super) static QWEN2VL: Architecture = Architecture {
    gguf: "qwen2vl",
    classes: &[
        class("Qwen2VLForConditionalGeneration"),
        class("Qwen2VLModel"),
        class("Qwen2_5_VLForConditionalGeneration"),
        class_without("Qwen2_5OmniModel", "thinker."),
    ],
    vocabulary: |_| VocabRequest::qwen2(),
    model_types: &[&QWEN2_VL_TYPE, &QWEN2_5_VL_TYPE, &QWEN2_5_OMNI_TYPE],
    ..PLAIN
};

const DEFAULTS: &[(&str, Default)] = &[
    ("vocab_size", Default::Int(152064)),
    ("hidden_size", Default::Int(8192)),
    ("intermediate_size", Default::Int(29568)),
    ("num_hidden_layers", Default::Int(80)),
    ("num_attention_heads", Default::Int(64)),
    ("num_key_value_heads", Default::Int(8)),
    ("max_position_embeddings", Default::Int(32768)),
    ("rms_norm_eps", Default::Float(1e-5)),
];

static QWEN2_VL_TYPE: ModelType = ModelType {
    name: "qwen2_vl_text",
    defaults: DEFAULTS,
    rope_theta: 1000000.0,
    ..ModelType::BLANK
};

static QWEN2_5_VL_TYPE: ModelType = ModelType {
    name: "qwen2_5_vl_text",
    defaults: DEFAULTS,
    rope_theta: 1000000.0,
    ..ModelType::BLANK
};

static QWEN2_5_OMNI_TYPE: ModelType = ModelType {
    name: "qwen2_5_omni_text",
    defaults: &[
        ("vocab_size", Default::Int(152064)),
        ("hidden_size", Default::Int(3584)),
        ("intermediate_size", Default::Int(18944)),
        ("num_hidden_layers", Default::Int(28)),
        ("num_attention_heads", Default::Int(28)),
        ("num_key_value_heads", Default::Int(4)),
        ("max_position_embeddings", Default::Int(32768)),
        ("rms_norm_eps", Default::Float(1e-6)),
    ],
    rope_theta: 1000000.0,
    ..ModelType::BLANK
};
