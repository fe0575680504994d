//! PLaMo: the first, its successor with state spaces, and PLaMo 3.

use serde_json::{Map, Value, json};

use super::mamba::{negative_exp, squeezed};
use crate::Result;
use crate::arch::rules::common;
use crate::arch::rules::names::{Rule, Scope, Transform, copy, rule};
use crate::arch::{Architecture, Fixed, Graph, Hooks, Hparams, Keys, PLAIN, View, class};
use crate::tokenizer::{VocabKind, VocabRequest, VocabStep};

/// The first PLaMo: query heads share keys and values in turn, and not in groups as llama.cpp has it, so that they are
/// put in another order.
pub(super) static PLAMO: Architecture = Architecture {
    gguf: "plamo",
    classes: &[class("PlamoForCausalLM")],
    rules: &[FIRST],
    hyperparameters: |hp, keys| {
        // The configuration does not say it.
        keys.set("context_length", 4096u32);
        keys.set("embedding_length", hp.u32(&["hidden_size"])?);
        keys.set("feed_forward_length", hp.u32(&["intermediate_size"])?);
        keys.set("block_count", hp.block_count());
        keys.set("attention.head_count", hp.u32(&["num_attention_heads"])?);
        keys.set("attention.head_count_kv", shared(hp)?.1);
        keys.set("attention.layer_norm_rms_epsilon", hp.f32(&["rms_norm_eps"])?);
        keys.set_file_type();
        Ok(())
    },
    vocabulary: |_| VocabRequest::new(&[VocabKind::SentencePiece]),
    ..PLAIN
};

const BLOCK: Scope = Scope::new("model.layers.layers.{}", "blk.{}");

const FIRST: &[Rule] = &[
    copy("model.embed_tokens", "token_embd"),
    copy("model.norm", "output_norm"),
    copy("lm_head", "output"),
    BLOCK.copy("norm", "attn_norm"),
    BLOCK.rule(
        "self_attn.q_proj",
        "attn_q",
        Transform::View(in_groups::<0>, None),
    ),
    BLOCK.copy("self_attn.k_proj", "attn_k"),
    BLOCK.copy("self_attn.v_proj", "attn_v"),
    BLOCK.rule(
        "self_attn.o_proj",
        "attn_output",
        Transform::View(in_groups::<1>, None),
    ),
    BLOCK.copy("mlp.gate_proj", "ffn_gate"),
    BLOCK.copy("mlp.up_proj", "ffn_up"),
    BLOCK.copy("mlp.down_proj", "ffn_down"),
];

/// Query heads that share a key head where the configuration does not say how many, and the number of key heads. Its
/// own number of these is not what the model has.
fn shared(hp: &Hparams) -> Result<(u32, u32)> {
    let heads = hp.u32(&["num_attention_heads"])?;
    let shared = hp.opt_u32(&["n_shared_head"])?.unwrap_or(8);
    if shared == 0 || heads == 0 || !heads.is_multiple_of(shared) {
        return Err(hp.error(format!(
            "n_shared_head: found {shared}, expected a divisor of the {heads} of num_attention_heads"
        )));
    }
    Ok((shared, heads / shared))
}

/// Heads that share keys, in turn along a dimension, one after the other.
fn in_groups<const DIM: usize>(hp: &Hparams, view: View) -> Result<Option<View>> {
    let (shared, groups) = shared(hp)?;
    let shape = view.shape();
    let ordered = view
        .split(DIM, shared.into())
        .and_then(|view| view.split(DIM + 1, groups.into())?.swap(DIM, DIM + 1));
    Ok(ordered.and_then(|view| view.shaped(&shape)))
}

/// PLaMo 2: state spaces in some layers, attention in the others.
pub(super) static PLAMO2: Architecture = Architecture {
    gguf: "plamo2",
    classes: &[class("Plamo2ForCausalLM"), class("PLaMo2ForCausalLM")],
    rules: &[SECOND, RULES],
    hyperparameters: plamo2_keys,
    vocabulary: |_| VocabRequest::new(&[VocabKind::Plamo]),
    graph: Graph::SILU.fixing(&[("mamba_enabled", Fixed::Is(true))]),
    ..PLAIN
};

const SECOND: &[Rule] = &[
    BLOCK.exact("mixer.q_weight", "attn_q_norm.weight"),
    BLOCK.exact("mixer.k_weight", "attn_k_norm.weight"),
    BLOCK.copy("mixer.in_proj", "ssm_in"),
    BLOCK.exact_with(
        "mixer.conv1d.weight",
        "ssm_conv1d.weight",
        Transform::View(squeezed, None),
    ),
    BLOCK.copy("mixer.bcdt_proj", "ssm_x"),
    BLOCK.copy("mixer.dt_proj", "ssm_dt"),
    BLOCK.exact("mixer.dt_bias", "ssm_dt.bias"),
    // Written without a suffix.
    BLOCK.exact("mixer.dt_norm_weight", "ssm_dt_norm"),
    BLOCK.exact("mixer.B_norm_weight", "ssm_b_norm"),
    BLOCK.exact("mixer.C_norm_weight", "ssm_c_norm"),
    BLOCK.exact_with("mixer.A_log", "ssm_a", Transform::Map(negative_exp)),
    BLOCK.exact("mixer.D", "ssm_d"),
    BLOCK.copy("mixer.out_proj", "ssm_out"),
];

/// Heads of the layers that have some: of every so many layers the middle one, of fewer the last.
fn plamo2_keys(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    let or = |key: &str, default: u32| Ok::<_, crate::Error>(hp.opt_u32(&[key])?.unwrap_or(default));
    keys.set("vocab_size", hp.u32(&["vocab_size"])?);
    let (layers, step) = (hp.block_count(), or("mamba_step", 2)?);
    if step == 0 {
        return Err(hp.error("mamba_step: found 0, expected at least 1".to_owned()));
    }
    let attends = |layer: u32| match layers <= step / 2 {
        true => layer + 1 == layers,
        false => layer % step == step / 2,
    };
    let of_layers = |heads: u32| {
        common::numbers(
            (0..layers)
                .map(|layer| if attends(layer) { heads } else { 0 })
                .collect(),
        )
    };
    keys.set(
        "attention.head_count_kv",
        of_layers(or("num_key_value_heads", 4)?),
    );
    keys.set("attention.head_count", of_layers(or("num_attention_heads", 32)?));
    keys.set("context_length", or("max_position_embeddings", 2048)?);
    keys.set("embedding_length", or("hidden_size", 4096)?);
    let head = or("hidden_size_per_head", 128)?;
    keys.set("attention.key_length", head);
    keys.set("attention.value_length", head);
    keys.set("block_count", layers);
    keys.set(
        "attention.layer_norm_rms_epsilon",
        hp.opt_f32(&["rms_norm_eps"])?.unwrap_or(1e-6),
    );
    let base = hp.rope().get("rope_theta").filter(|v| !v.is_null());
    let base = base.map(|v| hp.to_f32("rope_theta", v)).transpose()?;
    keys.set("rope.freq_base", base.unwrap_or(10000.0));
    keys.set("ssm.state_size", or("mamba_d_state", 64)?);
    keys.set("ssm.conv_kernel", or("mamba_d_conv", 4)?);
    let heads = or("mamba_num_heads", 64)?;
    keys.set("ssm.time_step_rank", heads);
    keys.set("ssm.inner_size", hp.product(&[heads, head])?);
    keys.set("ssm.group_count", 0u32);
    keys.set("feed_forward_length", or("intermediate_size", 13312)?);
    keys.set_file_type();
    Ok(())
}

pub(super) static PLAMO3: Architecture = Architecture {
    gguf: "plamo3",
    classes: &[class("Plamo3ForCausalLM"), class("PLaMo3ForCausalLM")],
    rules: &[RULES],
    hyperparameters,
    vocabulary: |_| VocabRequest::new(&[VocabKind::Plamo]).and([VocabStep::ChatTemplateAlone]),
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
    BLOCK.rule("pre_mixer_norm", "attn_norm", Transform::AddOne),
    BLOCK.copy("mixer.qkv_proj", "attn_qkv"),
    BLOCK.copy("mixer.o_proj", "attn_output"),
    BLOCK.rule("mixer.q_norm", "attn_q_norm", Transform::AddOne),
    BLOCK.rule("mixer.k_norm", "attn_k_norm", Transform::AddOne),
    BLOCK.exact_with(
        "post_mixer_norm.weight",
        "post_attention_norm",
        Transform::Add(0.2),
    ),
    BLOCK.rule("pre_mlp_norm", "ffn_norm", Transform::AddOne),
    BLOCK.copy("mlp.gate_up_proj", "ffn_up"),
    BLOCK.copy("mlp.down_proj", "ffn_down"),
    BLOCK.exact_with(
        "post_mlp_norm.weight",
        "post_ffw_norm",
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
    let has_kind = rope.contains_key("rope_type") || rope.get("type").is_some_and(|kind| !kind.is_null());
    if factor == 1.0 || has_kind {
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
