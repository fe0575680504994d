//! Seed-OSS.

use crate::arch::rules::names::{DECODER, LAYER, Rule};
use crate::arch::{Architecture, ModelType, PLAIN, class};

pub(super) static SEED_OSS: Architecture = Architecture {
    gguf: "seed_oss",
    classes: &[class("SeedOssForCausalLM")],
    rules: &[OWN, DECODER],
    model_types: &[&SEED_OSS_TYPE],
    ..PLAIN
};

const OWN: &[Rule] = &[LAYER.copy("post_attention_layernorm", "post_attention_norm")];

pub(super) static SEED_OSS_TYPE: ModelType = ModelType::of("seed_oss");
