//! Mixtures of experts that need little more than tables: Dots 1, GLM-4.5 and MiniMax M2.

use serde_json::Value;

use crate::Result;
use crate::arch::rules::common;
use crate::arch::rules::experts::{BLOCK_SPARSE_EXPERTS, EXPERTS, PREDICTING, SCORE_BIAS, SHARED_EXPERTS};
use crate::arch::rules::hooks::predicting_layers;
use crate::arch::rules::names::{DECODER, HEAD_NORMS, LAYER, Rule};
use crate::arch::{Architecture, Default, Hooks, Hparams, Keys, ModelType, PLAIN, class};
use crate::tokenizer::{VocabKind, VocabRequest, VocabStep};

pub(super) static DOTS1: Architecture = Architecture {
    gguf: "dots1",
    classes: &[class("Dots1ForCausalLM")],
    rules: &[DECODER, HEAD_NORMS, EXPERTS, SHARED_EXPERTS, SCORE_BIAS],
    hyperparameters: |hp, keys| {
        common::text_model(hp, keys)?;
        keys.set("expert_count", hp.u32(&["n_routed_experts"])?);
        keys.set_some(
            "expert_feed_forward_length",
            hp.opt_u32(&["moe_intermediate_size"])?,
        );
        keys.set("leading_dense_block_count", hp.u32(&["first_k_dense_replace"])?);
        keys.set("expert_shared_count", hp.u32(&["n_shared_experts"])?);
        keys.set_some("expert_weights_scale", hp.opt_f32(&["routed_scaling_factor"])?);
        keys.set_some("expert_weights_norm", hp.opt_bool("norm_topk_prob"));
        Ok(())
    },
    model_types: &[&DOTS1_TYPE],
    ..PLAIN
};

const AFTER_ATTENTION: &[Rule] = &[LAYER.copy("post_attention_layernorm", "post_attention_norm")];

pub(super) static GLM4_MOE: Architecture = Architecture {
    gguf: "glm4moe",
    classes: &[
        class("Glm4MoeForCausalLM"),
        class("Glm4vMoeForConditionalGeneration"),
    ],
    rules: &[
        AFTER_ATTENTION,
        DECODER,
        HEAD_NORMS,
        EXPERTS,
        SHARED_EXPERTS,
        SCORE_BIAS,
        PREDICTING,
    ],
    hyperparameters: glm4_moe_keys,
    vocabulary: glm_vocabulary,
    hooks: Hooks {
        more_blocks: predicting_layers,
        ..Hooks::NONE
    },
    model_types: &[&GLM4_MOE_TYPE, &GLM4V_MOE_TYPE, &GLM4V_MOE_SAVED_TYPE],
    ..PLAIN
};

/// GLM's special tokens from 4.5 on.
pub(super) fn glm_vocabulary(_: &Value) -> VocabRequest {
    VocabRequest::of([
        VocabStep::Needed(&[
            ("bos", "[gMASK]"),
            ("eot", "<|user|>"),
            ("unk", "<|endoftext|>"),
            ("eom", "<|observation|>"),
        ]),
        VocabStep::read(&[VocabKind::Bpe]),
    ])
}

/// Solar Open.
pub(super) static SOLAR_OPEN: Architecture = Architecture {
    classes: &[class("SolarOpenForCausalLM")],
    vocabulary: |_| {
        VocabRequest::of([
            VocabStep::Needed(&[
                ("eos", "<|endoftext|>"),
                ("eot", "<|endoftext|>"),
                ("unk", "<unk>"),
                ("bos", "<|startoftext|>"),
            ]),
            VocabStep::read(&[VocabKind::Bpe]),
        ])
    },
    model_types: &[],
    ..GLM4_MOE
};

fn glm4_moe_keys(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    common::text_model(hp, keys)?;
    keys.set("rope.dimension_count", rotated(hp, 0.5)?);
    keys.set_some("expert_count", hp.opt_u32(&["n_routed_experts"])?);
    keys.set_some(
        "expert_feed_forward_length",
        hp.opt_u32(&["moe_intermediate_size"])?,
    );
    keys.set_some("expert_shared_count", hp.opt_u32(&["n_shared_experts"])?);
    keys.set_some(
        "leading_dense_block_count",
        hp.opt_u32(&["first_k_dense_replace"])?,
    );
    // The logistic function.
    keys.set("expert_gating_func", 2u32);
    keys.set_some("expert_weights_scale", hp.opt_f32(&["routed_scaling_factor"])?);
    keys.set_some("expert_weights_norm", hp.stated_bool("norm_topk_prob"));
    keys.set_some("nextn_predict_layers", hp.opt_u32(&["num_nextn_predict_layers"])?);
    Ok(())
}

pub(super) static MINIMAX_M2: Architecture = Architecture {
    gguf: "minimax-m2",
    classes: &[class("MiniMaxM2ForCausalLM")],
    rules: &[BLOCK_SPARSE_EXPERTS, SCORE_BIAS, HEAD_NORMS, DECODER],
    hyperparameters: |hp, keys| {
        common::text_model(hp, keys)?;
        keys.set("expert_feed_forward_length", hp.u32(&["intermediate_size"])?);
        keys.set("rope.dimension_count", hp.u32(&["rotary_dim"])?);
        Ok(())
    },
    ..PLAIN
};

/// Rotated elements of a head: `partial_rotary_factor` (or `default`) of them.
pub(super) fn rotated(hp: &Hparams, default: f64) -> Result<u32> {
    let factor = hp.partial_rotary_factor()?.unwrap_or(default);
    Ok((f64::from(hp.head_dim()?) * factor) as u32)
}

pub(super) static DOTS1_TYPE: ModelType = ModelType::of("dots1");

pub(super) static GLM4_MOE_TYPE: ModelType = ModelType::of("glm4_moe");

static GLM4V_MOE_TYPE: ModelType = ModelType {
    name: "glm4v_moe_text",
    // Its class has no such norms, and no word for them.
    defaults: &[("use_qk_norm", Default::Bool(false))],
    ..ModelType::BLANK
};

/// The name that `transformers` writes.
static GLM4V_MOE_SAVED_TYPE: ModelType = ModelType {
    name: "Glm4vMoe_text",
    extends: Some(&GLM4V_MOE_TYPE),
    ..ModelType::BLANK
};
