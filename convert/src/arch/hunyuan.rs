//! Hunyuan, dense.

use super::names::{DECODER, Rule, copy};
use super::{Architecture, Default, Hparams, Keys, ModelType, PLAIN, class, common};
use crate::Result;
use crate::tokenizer::{VocabKind, VocabRequest};

pub(super) static HUNYUAN_DENSE: Architecture = Architecture {
    gguf: "hunyuan-dense",
    classes: &[class("HunYuanDenseV1ForCausalLM")],
    rules: &[OWN, DECODER],
    hyperparameters,
    vocabulary: |config| VocabRequest {
        end: config["eod_token_id"]
            .as_u64()
            .and_then(|id| u32::try_from(id).ok()),
        end_of_turn_from_generation_config: true,
        ..VocabRequest::new(&[VocabKind::Bpe])
    },
    model_types: &[&HUNYUAN_V1_DENSE_TYPE],
    ..PLAIN
};

const OWN: &[Rule] = &[
    copy("model.layers.{}.self_attn.query_layernorm", "blk.{}.attn_q_norm"),
    copy("model.layers.{}.self_attn.key_layernorm", "blk.{}.attn_k_norm"),
];

/// The context length of models whose rotation is scaled for it.
const LONG_CONTEXT: u32 = 256 * 1024;

fn hyperparameters(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    common::text_model(hp, keys)?;
    if hp.opt_u32(&["num_experts"])?.is_some() {
        keys.unset("expert_count");
    }
    let rope = hp.rope();
    if rope.get("rope_type").and_then(serde_json::Value::as_str) != Some("dynamic") {
        return Ok(());
    }
    let number = |key: &str, default: f64| match rope.get(key).filter(|v| !v.is_null()) {
        None => Ok(default),
        Some(v) => v
            .as_f64()
            .ok_or_else(|| hp.error(format!("{key} is {v}, a number expected"))),
    };
    // NTK-aware scaling: the frequency base grows with a power of alpha.
    let (alpha, base) = (number("alpha", 50.0)?, number("rope_theta", 10000.0)?);
    let dim = f64::from(hp.u32(&["head_dim"])?);
    keys.set("rope.freq_base", (base * alpha.powf(dim / (dim - 2.0))) as f32);
    keys.set("rope.scaling.type", "none");
    keys.set("rope.scaling.factor", 1f32);
    keys.set("rope.scaling.original_context_length", LONG_CONTEXT);
    keys.set("context_length", LONG_CONTEXT);
    Ok(())
}

pub(super) static HUNYUAN_V1_DENSE_TYPE: ModelType = ModelType {
    name: "hunyuan_v1_dense",
    defaults: &[
        ("vocab_size", Default::Int(290943)),
        ("hidden_size", Default::Int(4096)),
        ("intermediate_size", Default::Int(11008)),
        ("num_hidden_layers", Default::Int(32)),
        ("num_attention_heads", Default::Int(32)),
        ("num_key_value_heads", Default::Null),
        ("head_dim", Default::Null),
        ("max_position_embeddings", Default::Int(2048)),
        ("rms_norm_eps", Default::Float(1e-5)),
    ],
    ..ModelType::BLANK
};
