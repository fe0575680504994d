//! Qwen2-VL, Qwen2.5-VL and Qwen2.5-Omni, the text model.

use crate::arch::{Architecture, ModelType, PLAIN, class, class_without};
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

static QWEN2_VL_TYPE: ModelType = ModelType::of("qwen2_vl_text");

static QWEN2_5_VL_TYPE: ModelType = ModelType::of("qwen2_5_vl_text");

static QWEN2_5_OMNI_TYPE: ModelType = ModelType::of("qwen2_5_omni_text");
