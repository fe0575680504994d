//! Spark X2.5: a gate for each head of attention, layers that see a window or everything.

use serde_json::Value;

use crate::Result;
use crate::arch::rules::common;
use crate::arch::rules::names::{DECODER, LAYER, Rule};
use crate::arch::{Activation, Architecture, Fixed, Graph, Hparams, PLAIN, class};

pub(super) static SPARK2_5: Architecture = Architecture {
    gguf: "spark2_5",
    classes: &[class("Spark2_5ForCausalLM")],
    rules: &[OWN, DECODER],
    hyperparameters: |hp, keys| {
        if hp.opt_bool("headwise_attn_output_gate") != Some(true)
            || hp.opt_str(&["gate_attn_act_mode"]) != Some("sigmoid")
        {
            return Err(hp.error(
                "headwise_attn_output_gate and gate_attn_act_mode are not true and \"sigmoid\", but the graph of \
                 spark2_5 has such a gate for each head"
                    .to_owned(),
            ));
        }
        common::text_model(hp, keys)?;
        keys.set("vocab_size", hp.u32(&["vocab_size"])?);
        keys.set("attention.sliding_window", hp.u32(&["sliding_window"])?);
        keys.set("attention.sliding_window_pattern", common::windows(hp)?);
        keys.set("rope.dimension_count", rotated(hp, "full_attention")?);
        keys.set("rope.dimension_count_swa", rotated(hp, "sliding_attention")?);
        Ok(())
    },
    graph: Graph::with(Activation::Gelu).fixing(&[("hidden_act", Fixed::OneOf(&["gelu"]))]),
    ..PLAIN
};

/// Rotated elements of a head in layers of a kind.
fn rotated(hp: &Hparams, kind: &str) -> Result<u32> {
    let factor = hp
        .rope()
        .get(kind)
        .and_then(|rope| rope.get("partial_rotary_factor"));
    let factor = factor.and_then(Value::as_f64).ok_or_else(|| {
        hp.error(format!(
            "rope_parameters: expected a number as partial_rotary_factor of {kind}, found none"
        ))
    })?;
    Ok((f64::from(hp.u32(&["head_dim"])?) * factor) as u32)
}

const OWN: &[Rule] = &[
    LAYER.copy("self_attn.q_k_v_proj", "attn_qkv"),
    LAYER.copy("self_attn.g_proj", "attn_gate"),
];
