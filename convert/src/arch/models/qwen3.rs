//! Qwen3: Qwen2 with norms on queries and keys.

use super::qwen2;
use crate::Result;
use crate::arch::rules::names::{DECODER, HEAD_NORMS};
use crate::arch::{Architecture, Default, Hparams, Keys, ModelType, PLAIN, bare_class, class};
use crate::tokenizer::VocabRequest;

pub(super) static QWEN3: Architecture = Architecture {
    gguf: "qwen3",
    classes: &[
        class("Qwen3ForCausalLM"),
        bare_class("Qwen3Model"),
        class("StepVLForConditionalGeneration"),
    ],
    rules: &[DECODER, HEAD_NORMS],
    hyperparameters,
    vocabulary: |_| VocabRequest::qwen2(),
    model_types: &[&QWEN3_TYPE],
    ..PLAIN
};

fn hyperparameters(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    // The stock converter rewrites these into a classifier over two tokens.
    let directory = keys
        .dir
        .file_name()
        .map(|n| n.to_string_lossy().to_lowercase())
        .unwrap_or_default();
    let named = hp.opt_str(&["_name_or_path"]).unwrap_or("").to_lowercase();
    if [directory, named].iter().any(|n| n.contains("qwen3-reranker")) {
        return Err(hp.error("Qwen3 rerankers are not supported".to_owned()));
    }
    qwen2::hyperparameters(hp, keys)
}

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
