//! Mellum 2 and Maple: mixtures of experts whose layers see a window or everything.

use crate::arch::rules::common;
use crate::arch::rules::experts::{self, EXPERTS};
use crate::arch::rules::names::{DECODER, HEAD_NORMS};
use crate::arch::{Architecture, Graph, PLAIN, class};

pub(super) static MELLUM: Architecture = Architecture {
    gguf: "mellum",
    classes: &[class("MellumForCausalLM")],
    rules: &[DECODER, HEAD_NORMS, EXPERTS],
    hyperparameters: |hp, keys| {
        common::text_model(hp, keys)?;
        keys.set_some(
            "expert_feed_forward_length",
            hp.opt_u32(&["moe_intermediate_size"])?,
        );
        if hp.opt_bool("use_sliding_window") != Some(false)
            && let Some(window) = hp.opt_u32(&["sliding_window"])?
        {
            keys.set("attention.sliding_window", window);
            keys.set("attention.sliding_window_pattern", common::windows(hp)?);
        }
        Ok(())
    },
    ..PLAIN
};

/// The limit at which the gates of experts are cut.
const LIMIT: f32 = 7.0;

pub(super) static MAPLE: Architecture = Architecture {
    gguf: "maple",
    classes: &[class("MapleForCausalLM")],
    rules: &[DECODER, HEAD_NORMS, EXPERTS],
    hyperparameters: |hp, keys| {
        if hp.opt_bool("nope_on_global_attention") != Some(true) {
            return Err(hp.error(
                "nope_on_global_attention: expected true, found another value: the graph of maple rotates layers with a window alone"
                    .to_owned(),
            ));
        }
        match hp.opt_u32(&["num_shared_experts"])? {
            None | Some(0) => {}
            Some(shared) => {
                return Err(hp.error(format!("num_shared_experts: found {shared}, expected 0")));
            }
        }
        common::text_model(hp, keys)?;
        keys.set("vocab_size", hp.u32(&["vocab_size"])?);
        let factor = hp
            .rope()
            .get("partial_rotary_factor")
            .and_then(serde_json::Value::as_f64);
        let rotated = f64::from(hp.head_dim()?) * factor.unwrap_or(1.0);
        keys.set("rope.dimension_count", rotated as u32);
        keys.set("attention.sliding_window", hp.u32(&["sliding_window"])?);
        keys.set("attention.sliding_window_pattern", common::windows(hp)?);
        keys.set("expert_feed_forward_length", hp.u32(&["moe_intermediate_size"])?);
        keys.set("swiglu_clamp_exp", vec![LIMIT; hp.block_count() as usize]);
        Ok(())
    },
    graph: Graph::SILU.fixing(experts::WEIGHTS_ADD_UP),
    ..PLAIN
};
