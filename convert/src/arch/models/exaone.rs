//! EXAONE 3, 4 and 4.5, and K-EXAONE.

use super::olmo::POST_NORMS;
use super::qwen3next;
use crate::Result;
use crate::arch::rules::experts::{EXPERTS, PREDICTING, SCORE_BIAS, SHARED_EXPERTS};
use crate::arch::rules::hooks::predicting_layers;
use crate::arch::rules::names::{DECODER, HEAD_NORMS, Rule, copy};
use crate::arch::rules::{common, rope};
use crate::arch::{Architecture, Hooks, Hparams, Keys, ModelType, PLAIN, class};

pub(super) static EXAONE: Architecture = Architecture {
    gguf: "exaone",
    classes: &[class("ExaoneForCausalLM")],
    rules: &[RULES],
    hyperparameters: exaone_keys,
    generated: rope::llama3_factors,
    ..PLAIN
};

pub(super) static EXAONE4: Architecture = Architecture {
    gguf: "exaone4",
    classes: &[class("Exaone4ForCausalLM")],
    rules: &[POST_NORMS, HEAD_NORMS, DECODER],
    hyperparameters: exaone4_keys,
    generated: |hp| rope::llama3_factors_by(hp, 16.0),
    model_types: &[&EXAONE4_TYPE],
    ..PLAIN
};

/// EXAONE 4.5, the text model, with the head that predicts a further token as a block after the others.
pub(super) static EXAONE4_5: Architecture = Architecture {
    classes: &[class("Exaone4_5_ForConditionalGeneration")],
    rules: &[POST_NORMS, HEAD_NORMS, DECODER, PREDICTING],
    hyperparameters: |hp, keys| {
        exaone4_keys(hp, keys)?;
        match hp.opt_u32(&["num_nextn_predict_layers"])? {
            None | Some(0) => Ok(()),
            Some(1) => {
                keys.set("nextn_predict_layers", 1u32);
                Ok(())
            }
            Some(more) => Err(hp.error(format!(
                "num_nextn_predict_layers: found {more}, expected at most 1, as several would share one fc"
            ))),
        }
    },
    hooks: Hooks {
        canonical: |hp, name| {
            let predicts = hp
                .opt_u32(&["num_nextn_predict_layers"])
                .ok()
                .flatten()
                .is_some_and(|n| n > 0);
            match name.starts_with("mtp.") && !predicts {
                true => None,
                false => qwen3next::canonical(hp, name),
            }
        },
        more_blocks: predicting_layers,
        ..Hooks::NONE
    },
    model_types: &[],
    ..EXAONE4
};

/// K-EXAONE: a mixture of experts, with the head that predicts a further token as a block after the others.
pub(super) static EXAONE_MOE: Architecture = Architecture {
    gguf: "exaone-moe",
    classes: &[class("ExaoneMoEForCausalLM"), class("ExaoneMoeForCausalLM")],
    rules: &[
        HEAD_NORMS,
        DECODER,
        EXPERTS,
        SHARED_EXPERTS,
        SCORE_BIAS,
        PREDICTING,
    ],
    hyperparameters: |hp, keys| {
        exaone4_keys(hp, keys)?;
        let predicting = hp.opt_u32(&["num_nextn_predict_layers"])?.unwrap_or(0);
        if predicting > 1 {
            return Err(hp.error(format!(
                "num_nextn_predict_layers: found {predicting}, expected at most 1, as several would share one fc"
            )));
        }
        let shared = hp.u32(&["num_shared_experts"])?;
        keys.set("expert_feed_forward_length", hp.u32(&["moe_intermediate_size"])?);
        keys.set("expert_shared_count", shared);
        keys.set(
            "expert_shared_feed_forward_length",
            hp.times(shared, &["moe_intermediate_size"])?,
        );
        keys.set("expert_weights_scale", hp.f32(&["routed_scaling_factor"])?);
        keys.set_some("expert_weights_norm", hp.opt_bool("norm_topk_prob"));
        let dense = hp.opt_u32(&["first_k_dense_replace", "first_last_k_dense_replace"])?;
        keys.set("leading_dense_block_count", dense.unwrap_or(0));
        keys.set("nextn_predict_layers", predicting);
        keys.set("rope.scaling.type", "none");
        Ok(())
    },
    hooks: Hooks {
        canonical: qwen3next::canonical,
        more_blocks: predicting_layers,
        ..Hooks::NONE
    },
    model_types: &[],
    ..EXAONE4
};

const RULES: &[Rule] = &[
    copy("transformer.wte", "token_embd"),
    copy("transformer.h.{}.ln_1", "blk.{}.attn_norm"),
    copy("transformer.h.{}.attn.attention.q_proj", "blk.{}.attn_q"),
    copy("transformer.h.{}.attn.attention.k_proj", "blk.{}.attn_k"),
    copy("transformer.h.{}.attn.attention.v_proj", "blk.{}.attn_v"),
    copy("transformer.h.{}.attn.attention.out_proj", "blk.{}.attn_output"),
    copy("transformer.h.{}.ln_2", "blk.{}.ffn_norm"),
    copy("transformer.h.{}.mlp.c_fc_0", "blk.{}.ffn_gate"),
    copy("transformer.h.{}.mlp.c_fc_1", "blk.{}.ffn_up"),
    copy("transformer.h.{}.mlp.c_proj", "blk.{}.ffn_down"),
    copy("transformer.ln_f", "output_norm"),
    copy("lm_head", "output"),
];

fn exaone_keys(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    if hp.opt_str(&["activation_function"]) != Some("silu") {
        return Err(hp.error("activation_function: expected silu, found another".to_owned()));
    }
    common::text_model(hp, keys)?;
    let factor = hp.partial_rotary_factor()?.unwrap_or(1.0);
    keys.set(
        "rope.dimension_count",
        (factor * f64::from(hp.even_head_dim()?)) as u32,
    );
    Ok(())
}

fn exaone4_keys(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    common::text_model(hp, keys)?;
    keys.set("vocab_size", hp.u32(&["vocab_size"])?);
    let Some(window) = hp.opt_u32(&["sliding_window"])? else {
        return Ok(());
    };
    keys.set("attention.sliding_window", window);
    let blocks = hp.u32(&["num_hidden_layers"])? as usize;
    let pattern = match (hp.sliding_layers(), hp.find(&["sliding_window_pattern"])) {
        (Some(layers), _) => Some(layers),
        // Such as LLLG: three local layers, a global one.
        (None, Some(serde_json::Value::String(letters))) if !letters.is_empty() => {
            Some(letters.bytes().cycle().map(|c| c == b'L').take(blocks).collect())
        }
        (None, Some(period)) => match period.as_u64() {
            Some(n) if n > 0 => Some((1..=blocks as u64).map(|i| i % n != 0).collect()),
            _ => None,
        },
        (None, None) => None,
    };
    keys.set_some("attention.sliding_window_pattern", pattern);
    Ok(())
}

pub(super) static EXAONE4_TYPE: ModelType = ModelType::of("exaone4");
