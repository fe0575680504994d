//! Granite Switch: dense Granite with adapters inside, which tokens turn on.

use serde_json::{Map, Value};

use super::granite::granite_moe_keys;
use crate::Result;
use crate::arch::rules::names::{DECODER, LAYER, Rule, Transform, exact_with};
use crate::arch::rules::{common, rope, rows};
use crate::arch::{Architecture, Hooks, Hparams, Keys, PLAIN, View, class};
use crate::tokenizer::VocabRequest;

pub(super) static GRANITE_SWITCH: Architecture = Architecture {
    gguf: "graniteswitch",
    classes: &[class("GraniteSwitchForCausalLM")],
    rules: &[BASE, ADAPTERS, DECODER],
    hyperparameters,
    generated: rope::without_llama3_factors,
    vocabulary: VocabRequest::llama,
    hooks: Hooks {
        prepare,
        canonical,
        ..Hooks::NONE
    },
    ..PLAIN
};

const BASE: &[Rule] = &[
    LAYER.exact_with(
        "self_attn.qkv_proj.base_layer.weight",
        "attn_qkv.weight",
        Transform::Parts(3, queries_keys_values),
    ),
    LAYER.exact("self_attn.o_proj.base_layer.weight", "attn_output.weight"),
    LAYER.exact_with(
        "shared_mlp.input_linear.base_layer.weight",
        "ffn_gate.weight",
        Transform::Rows(rows::first_half),
    ),
    LAYER.exact_with(
        "shared_mlp.input_linear.base_layer.weight",
        "ffn_up.weight",
        Transform::Rows(rows::second_half),
    ),
    LAYER.exact("shared_mlp.output_linear.base_layer.weight", "ffn_down.weight"),
    // The embedding is the output matrix.
    exact_with("lm_head.weight", "", Transform::Skip),
];

/// A stack of adapters, which is stored with a dimension of 1.
const STACK: Transform = Transform::BehindZeros(|_, view| Ok(view.without(1)));

const ADAPTERS: &[Rule] = &[
    LAYER.exact_with("self_attn.qkv_proj.lora_A_slices.0", "attn_q.lora_a", STACK),
    LAYER.exact_with("self_attn.qkv_proj.lora_A_slices.1", "attn_k.lora_a", STACK),
    LAYER.exact_with("self_attn.qkv_proj.lora_A_slices.2", "attn_v.lora_a", STACK),
    LAYER.exact_with(
        "self_attn.qkv_proj.lora_B_slices.0",
        "attn_q.lora_b",
        Transform::BehindZeros(of_queries),
    ),
    LAYER.exact_with(
        "self_attn.qkv_proj.lora_B_slices.1",
        "attn_k.lora_b",
        Transform::BehindZeros(of_keys),
    ),
    LAYER.exact_with("self_attn.qkv_proj.lora_B_slices.2", "attn_v.lora_b", STACK),
    LAYER.exact_with("self_attn.o_proj.lora_A", "attn_output.lora_a", STACK),
    LAYER.exact_with("self_attn.o_proj.lora_B", "attn_output.lora_b", STACK),
    LAYER.exact_with(
        "shared_mlp.input_linear.lora_A_slices.0",
        "ffn_gate.lora_a",
        STACK,
    ),
    LAYER.exact_with("shared_mlp.input_linear.lora_A_slices.1", "ffn_up.lora_a", STACK),
    LAYER.exact_with(
        "shared_mlp.input_linear.lora_B_slices.0",
        "ffn_gate.lora_b",
        STACK,
    ),
    LAYER.exact_with("shared_mlp.input_linear.lora_B_slices.1", "ffn_up.lora_b", STACK),
    LAYER.exact_with("shared_mlp.output_linear.lora_A", "ffn_down.lora_a", STACK),
    LAYER.exact_with("shared_mlp.output_linear.lora_B", "ffn_down.lora_b", STACK),
];

/// Heads of queries and of keys, and the length of each.
fn heads(hp: &Hparams) -> Result<(u64, u64, u64)> {
    let (heads, groups) = hp.heads()?;
    let length = match hp
        .opt_u32(&["projection_head_dim", "head_dim"])?
        .filter(|&n| n > 0)
    {
        Some(length) => length,
        None => hp.even_head_dim()?,
    };
    Ok((heads.into(), groups.into(), length.into()))
}

/// Rows of one matrix after the other: those of queries and keys in ggml's order.
fn queries_keys_values(hp: &Hparams, view: View, which: u64) -> Result<Option<View>> {
    let (heads, groups, length) = heads(hp)?;
    let inputs = view.shape().get(1).copied().unwrap_or(0);
    let (queries, keys) = (heads * length, groups * length);
    let (start, rows, heads) = match which {
        0 => (0, queries, heads),
        1 => (queries, keys, groups),
        _ => return Ok(view.cut(0, queries + keys, keys)),
    };
    let turned = view
        .cut(0, start, rows)
        .and_then(|v| v.split(0, heads)?.split(1, 2)?.swap(1, 2));
    Ok(turned.and_then(|v| v.shaped(&[rows, inputs])))
}

fn of_queries(hp: &Hparams, view: View) -> Result<Option<View>> {
    turned(view, heads(hp)?.0)
}

fn of_keys(hp: &Hparams, view: View) -> Result<Option<View>> {
    turned(view, heads(hp)?.1)
}

/// The rows of each matrix of a stack, of which every head has its halves in turn.
fn turned(view: View, heads: u64) -> Result<Option<View>> {
    let Some(view) = view.without(1) else {
        return Ok(None);
    };
    let shape = view.shape();
    let view = view.split(1, heads).and_then(|v| v.split(2, 2)?.swap(2, 3));
    Ok(view.and_then(|v| v.shaped(&shape)))
}

/// The last layer that is counted is the switch, which has no weights.
fn prepare(config: &mut Map<String, Value>) {
    if let Some(layers) = config.get("num_hidden_layers").and_then(Value::as_u64) {
        config.insert("num_hidden_layers".to_owned(), layers.saturating_sub(1).into());
    }
}

/// Tables that follow from the configuration are left out.
fn canonical(_: &Hparams, name: String) -> Option<String> {
    let last = name.rsplit('.').next().unwrap_or_default();
    let is_table = matches!(last, "adapter_token_ids" | "control_to_substitute_lut");
    let is_switch = name.starts_with("model.switch.") || name.starts_with("switch.");
    (!is_table && !is_switch).then_some(name)
}

fn hyperparameters(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    granite_moe_keys(hp, keys)?;
    if hp.opt_u32(&["num_local_experts"])?.unwrap_or(0) == 0 {
        keys.set("expert_used_count", 0u32);
    }
    keys.set("adapters.count", hp.u32(&["num_adapters"])?);
    keys.set("adapters.lora_rank", hp.u32(&["max_lora_rank"])?);
    let ids = |key: &str| -> Result<gguf::Value> {
        let list = hp.find(&[key]).and_then(Value::as_array);
        let list = list.ok_or_else(|| hp.error(format!("expected a list {key}, found none")))?;
        let ids = list.iter().map(|id| hp.to_u32(key, id));
        Ok(common::numbers(ids.collect::<Result<_>>()?))
    };
    keys.set("adapters.token_ids_activate", ids("adapter_token_ids")?);
    keys.set(
        "adapters.token_ids_substitute",
        ids("adapter_substitute_token_ids")?,
    );
    keys.set(
        "adapters.router_gain",
        hp.opt_f32(&["control_token_gain"])?.unwrap_or(15.0),
    );
    Ok(())
}
