//! HRM-Text: two stacks of layers under the names of one. The lower comes first.

use serde_json::{Map, Value};

use crate::Result;
use crate::arch::rules::common;
use crate::arch::rules::names::{DECODER, LAYER, Rule, Transform, exact};
use crate::arch::{Architecture, Hooks, Hparams, PLAIN, Rows, class};

pub(super) static HRM_TEXT: Architecture = Architecture {
    gguf: "hrm_text",
    classes: &[class("HrmTextForCausalLM")],
    rules: &[OWN, DECODER],
    hyperparameters: |hp, keys| {
        common::text_model(hp, keys)?;
        keys.set("rope.dimension_count", hp.head_dim()?);
        keys.set("embedding_scale", hp.f32(&["embedding_scale"])?);
        keys.set("hrm.layers_per_stack", hp.u32(&[STACK])?);
        keys.set("hrm.h_cycles", hp.u32(&["H_cycles"])?);
        keys.set("hrm.l_cycles", hp.u32(&["L_cycles"])?);
        keys.set("hrm.prefix_lm", hp.opt_bool("prefix_lm").unwrap_or(false));
        Ok(())
    },
    hooks: Hooks {
        prepare: all_runs,
        canonical: in_one_stack,
        ..Hooks::NONE
    },
    ..PLAIN
};

/// The number of layers in each stack.
const STACK: &str = "num_layers_per_stack";

/// The file counts a layer as often as it runs.
fn all_runs(config: &mut Map<String, Value>) {
    let number = |key: &str| config.get(key).and_then(Value::as_u64).filter(|&n| n > 0);
    let (Some(height), Some(upper), Some(lower)) = (
        number(STACK).or_else(|| number("num_hidden_layers")),
        number("H_cycles"),
        number("L_cycles"),
    ) else {
        return;
    };
    let all = lower
        .saturating_add(1)
        .saturating_mul(upper)
        .saturating_mul(height);
    config.insert(STACK.to_owned(), height.into());
    config.insert("num_hidden_layers".to_owned(), all.into());
}

/// Layers of the upper stack have the numbers behind those of the lower.
fn in_one_stack(hp: &Hparams, name: String) -> Option<String> {
    let height = hp.u32(&[STACK]).unwrap_or(0);
    for (stack, first) in [("model.L_module.layers.", 0), ("model.H_module.layers.", height)] {
        let Some((number, rest)) = name.strip_prefix(stack).and_then(|rest| rest.split_once('.')) else {
            continue;
        };
        let Some(number) = number.parse::<u32>().ok().filter(|&n| n < height) else {
            return Some(name);
        };
        let rest = match rest.strip_prefix("attn.") {
            Some(rest) => format!("self_attn.{rest}"),
            None => rest.to_owned(),
        };
        return Some(format!("model.layers.{}.{rest}", first + number));
    }
    Some(name)
}

const OWN: &[Rule] = &[
    exact("model.z_L_init", "hrm.z_l_init"),
    LAYER.rule(
        "self_attn.gqkv_proj",
        "attn_gate",
        Transform::Rows(|hp, rows| part(hp, rows, 0, 4)),
    ),
    LAYER.rule(
        "self_attn.gqkv_proj",
        "attn_q",
        Transform::Rows(|hp, rows| part(hp, rows, 1, 4)),
    ),
    LAYER.rule(
        "self_attn.gqkv_proj",
        "attn_k",
        Transform::Rows(|hp, rows| part(hp, rows, 2, 4)),
    ),
    LAYER.rule(
        "self_attn.gqkv_proj",
        "attn_v",
        Transform::Rows(|hp, rows| part(hp, rows, 3, 4)),
    ),
    LAYER.copy("self_attn.gate_proj", "attn_gate"),
    LAYER.rule(
        "mlp.gate_up_proj",
        "ffn_gate",
        Transform::Rows(|hp, rows| part(hp, rows, 0, 2)),
    ),
    LAYER.rule(
        "mlp.gate_up_proj",
        "ffn_up",
        Transform::Rows(|hp, rows| part(hp, rows, 1, 2)),
    ),
];

/// One of `of` parts that are stored in one matrix.
fn part(hp: &Hparams, rows: u64, which: u64, of: u64) -> Result<Rows> {
    match rows.is_multiple_of(of) {
        true => Ok(Rows::range(which * (rows / of), rows / of)),
        false => Err(hp.error(format!(
            "expected rows that can be divided into {of} parts, found {rows}"
        ))),
    }
}
