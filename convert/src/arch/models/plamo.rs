//! PLaMo 3.

use serde_json::{Map, Value, json};

use crate::Result;
use crate::arch::rules::common;
use crate::arch::rules::names::{Rule, Transform, copy, exact, rule};
use crate::arch::{Architecture, Hooks, Hparams, Keys, PLAIN, class};
use crate::tokenizer::{VocabKind, VocabRequest};

pub(super) static PLAMO3: Architecture = Architecture {
    gguf: "plamo3",
    classes: &[class("Plamo3ForCausalLM"), class("PLaMo3ForCausalLM")],
    rules: &[RULES],
    hyperparameters,
    vocabulary: |_| VocabRequest {
        chat_template_alone: true,
        ..VocabRequest::new(&[VocabKind::Plamo])
    },
    hooks: Hooks {
        prepare: stretched,
        ..Hooks::NONE
    },
    ..PLAIN
};

/// Norms are stored as their distance from what they begin training with.
const RULES: &[Rule] = &[
    copy("model.embed_tokens", "token_embd"),
    rule("model.norm", "output_norm", Transform::AddOne),
    copy("lm_head", "output"),
    rule(
        "model.layers.layers.{}.pre_mixer_norm",
        "blk.{}.attn_norm",
        Transform::AddOne,
    ),
    copy("model.layers.layers.{}.mixer.qkv_proj", "blk.{}.attn_qkv"),
    copy("model.layers.layers.{}.mixer.o_proj", "blk.{}.attn_output"),
    rule(
        "model.layers.layers.{}.mixer.q_norm",
        "blk.{}.attn_q_norm",
        Transform::AddOne,
    ),
    rule(
        "model.layers.layers.{}.mixer.k_norm",
        "blk.{}.attn_k_norm",
        Transform::AddOne,
    ),
    exact(
        "model.layers.layers.{}.post_mixer_norm.weight",
        "blk.{}.post_attention_norm",
        Transform::Add(0.2),
    ),
    rule(
        "model.layers.layers.{}.pre_mlp_norm",
        "blk.{}.ffn_norm",
        Transform::AddOne,
    ),
    copy("model.layers.layers.{}.mlp.gate_up_proj", "blk.{}.ffn_up"),
    copy("model.layers.layers.{}.mlp.down_proj", "blk.{}.ffn_down"),
    exact(
        "model.layers.layers.{}.post_mlp_norm.weight",
        "blk.{}.post_ffw_norm",
        // 5 to the power of -1.5.
        Transform::Add(0.089_442_72),
    ),
];

/// The model makes YaRN's parameters of keys of its own.
fn stretched(config: &mut Map<String, Value>) {
    let factor = config
        .get("rope_scaling_factor")
        .and_then(Value::as_f64)
        .unwrap_or(1.0);
    let mut rope = match config
        .get("rope_parameters")
        .or_else(|| config.get("rope_scaling"))
    {
        Some(Value::Object(map)) => map.clone(),
        _ => Map::new(),
    };
    if factor == 1.0 || rope.contains_key("rope_type") {
        return;
    }
    let context = config
        .get("initial_context_length")
        .cloned()
        .unwrap_or(Value::Null);
    for (key, value) in [
        ("rope_type", json!("yarn")),
        ("factor", json!(factor)),
        ("original_max_position_embeddings", context),
        ("beta_fast", json!(32.0)),
        ("beta_slow", json!(1.0)),
        ("truncate", json!(false)),
    ] {
        rope.insert(key.to_owned(), value);
    }
    config.insert("rope_parameters".to_owned(), Value::Object(rope));
}

fn hyperparameters(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    common::text_model(hp, keys)?;
    keys.set("vocab_size", hp.u32(&["vocab_size"])?);
    let Some(window) = hp.opt_u32(&["window_size", "sliding_window"])? else {
        return Ok(());
    };
    keys.set("attention.sliding_window", window);
    let key = "sliding_window_pattern";
    match hp.find(&[key]) {
        Some(Value::Array(list)) => {
            common::list(hp, key, &Value::Array(list.clone()))?;
            let flag = |v: &Value| {
                v.as_bool()
                    .ok_or_else(|| hp.error(format!("{key}: found {v}, expected true or false")))
            };
            let flags = list.iter().map(flag).collect::<Result<Vec<bool>>>()?;
            keys.set(
                "attention.sliding_window_pattern",
                gguf::Value::Array(gguf::Array::Bool(flags)),
            );
        }
        _ => keys.set("attention.sliding_window_pattern", hp.u32(&[key])?),
    }
    Ok(())
}
