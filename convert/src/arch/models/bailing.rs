//! Ling and Ring, mixtures of experts of one and of two generations.

use crate::Result;
use crate::arch::rules::common;
use crate::arch::rules::experts::{EXPERTS, PREDICTING, SCORE_BIAS, SHARED_EXPERTS};
use crate::arch::rules::hooks::predicting_layers;
use crate::arch::rules::names::{DECODER, LAYER, Rule, Transform, copy};
use crate::arch::rules::rows::fused_part;
use crate::arch::{Architecture, Hooks, Hparams, PLAIN, Rows, class};

pub(super) static BAILINGMOE: Architecture = Architecture {
    gguf: "bailingmoe",
    classes: &[class("BailingMoeForCausalLM")],
    rules: &[PERMUTED, COMMON, DECODER, EXPERTS, SHARED_EXPERTS],
    hyperparameters: |hp, keys| {
        if hp.opt_bool("norm_head") == Some(true) {
            return Err(hp.error(
                "norm_head: expected false, since no graph normalizes the output matrix, found true"
                    .to_owned(),
            ));
        }
        common::text_model(hp, keys)?;
        keys.set("rope.dimension_count", hp.head_dim()?);
        keys.set("leading_dense_block_count", hp.u32(&["first_k_dense_replace"])?);
        keys.set("vocab_size", hp.u32(&["vocab_size"])?);
        keys.set("expert_feed_forward_length", hp.u32(&["moe_intermediate_size"])?);
        keys.set("expert_weights_scale", 1.0f32);
        keys.set("expert_shared_count", hp.u32(&["num_shared_experts"])?);
        keys.set_some("expert_weights_norm", hp.opt_bool("norm_topk_prob"));
        Ok(())
    },
    ..PLAIN
};

pub(super) static BAILINGMOE2: Architecture = Architecture {
    gguf: "bailingmoe2",
    classes: &[class("BailingMoeV2ForCausalLM")],
    rules: &[
        SECOND,
        COMMON,
        DECODER,
        EXPERTS,
        SHARED_EXPERTS,
        SCORE_BIAS,
        PREDICTING,
    ],
    hyperparameters: |hp, keys| {
        common::text_model(hp, keys)?;
        let rotated = hp
            .rope()
            .get("partial_rotary_factor")
            .and_then(serde_json::Value::as_f64);
        let rotated = f64::from(hp.head_dim()?) * rotated.unwrap_or(0.5);
        keys.set("rope.dimension_count", rotated as u32);
        keys.set("leading_dense_block_count", hp.u32(&["first_k_dense_replace"])?);
        keys.set("vocab_size", hp.u32(&["vocab_size"])?);
        let shared = hp.u32(&["num_shared_experts"])?;
        keys.set("expert_feed_forward_length", hp.u32(&["moe_intermediate_size"])?);
        keys.set(
            "expert_shared_feed_forward_length",
            match hp.opt_u32(&["moe_shared_expert_intermediate_size"])? {
                Some(width) => width,
                None => hp.times(shared, &["moe_intermediate_size"])?,
            },
        );
        keys.set("expert_weights_scale", hp.f32(&["routed_scaling_factor"])?);
        keys.set("expert_shared_count", shared);
        keys.set_some("expert_weights_norm", hp.opt_bool("norm_topk_prob"));
        keys.set_some("nextn_predict_layers", hp.opt_u32(&["num_nextn_predict_layers"])?);
        Ok(())
    },
    hooks: Hooks {
        more_blocks: predicting_layers,
        ..Hooks::NONE
    },
    ..PLAIN
};

/// Sarvam's models: Ling's second generation, whose heads are rotated as a whole, with biases of the experts that are
/// less their mean.
pub(super) static SARVAM: Architecture = Architecture {
    classes: &[
        class("SarvamMoEForCausalLM"),
        class("modeling_sarvam_moe.SarvamMoEForCausalLM"),
    ],
    rules: &[
        CENTERED,
        SECOND,
        COMMON,
        DECODER,
        EXPERTS,
        SHARED_EXPERTS,
        SCORE_BIAS,
        PREDICTING,
    ],
    hyperparameters: |hp, keys| {
        (BAILINGMOE2.hyperparameters)(hp, keys)?;
        keys.set("rope.dimension_count", hp.head_dim()?);
        Ok(())
    },
    ..BAILINGMOE2
};

const CENTERED: &[Rule] =
    &[LAYER.exact_with("mlp.gate.expert_bias", "exp_probs_b.bias", Transform::LessMean)];

const COMMON: &[Rule] = &[
    copy("model.word_embeddings", "token_embd"),
    LAYER.copy("attention.dense", "attn_output"),
];

/// Queries and keys in ggml's interleaved order.
const PERMUTED: &[Rule] = &[
    LAYER.rule(
        "attention.query_key_value",
        "attn_q",
        Transform::Rows(|hp, _| interleaved(hp, 0)),
    ),
    LAYER.rule(
        "attention.query_key_value",
        "attn_k",
        Transform::Rows(|hp, _| interleaved(hp, 1)),
    ),
    LAYER.rule(
        "attention.query_key_value",
        "attn_v",
        Transform::Rows(|hp, _| fused_part(hp, 2)),
    ),
];

fn interleaved(hp: &Hparams, which: u64) -> Result<Rows> {
    let (heads, kv) = hp.heads()?;
    let (heads, kv, dim) = (u64::from(heads), u64::from(kv), u64::from(hp.head_dim()?));
    Ok(match which {
        0 => Rows::interleaved(0, heads, dim),
        _ => Rows::interleaved(heads * dim, kv, dim),
    })
}

const SECOND: &[Rule] = &[
    LAYER.copy("attention.query_key_value", "attn_qkv"),
    LAYER.copy("attention.query_layernorm", "attn_q_norm"),
    LAYER.copy("attention.key_layernorm", "attn_k_norm"),
    LAYER.copy("final_layernorm", "layer_output_norm"),
];
