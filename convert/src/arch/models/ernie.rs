//! ERNIE 4.5, dense and as a mixture of experts.

use crate::Result;
use crate::arch::rules::names::{DECODER, LAYER, Rule, Transform};
use crate::arch::rules::rows::{self, fused_part};
use crate::arch::rules::{common, experts};
use crate::arch::{Architecture, Hooks, Hparams, Keys, ModelType, PLAIN, class};
use crate::tokenizer::{VocabKind, VocabRequest, VocabStep};

pub(super) static ERNIE4_5: Architecture = Architecture {
    gguf: "ernie4_5",
    classes: &[class("Ernie4_5ForCausalLM"), class("Ernie4_5_ForCausalLM")],
    rules: &[FUSED, DECODER],
    vocabulary,
    hooks: Hooks {
        canonical: |_, name| Some(name.replace("ernie.", "model.")),
        ..Hooks::NONE
    },
    model_types: &[&ERNIE4_5_TYPE],
    ..PLAIN
};

/// PaddleOCR-VL, the text model: its heads have sections, of which halves are rotated.
pub(super) static PADDLEOCR: Architecture = Architecture {
    gguf: "paddleocr",
    classes: &[class("PaddleOCRVLForConditionalGeneration")],
    model_types: &[],
    ..ERNIE4_5
};

pub(super) static ERNIE4_5_MOE: Architecture = Architecture {
    gguf: "ernie4_5-moe",
    classes: &[class("Ernie4_5_MoeForCausalLM")],
    rules: &[MIXTURE, experts::SHARED_EXPERTS, DECODER],
    hyperparameters: mixture_keys,
    vocabulary,
    hooks: Hooks {
        canonical: of_the_model_proper,
        ..Hooks::NONE
    },
    model_types: &[&ERNIE4_5_MOE_TYPE],
    ..PLAIN
};

fn vocabulary(_: &serde_json::Value) -> VocabRequest {
    VocabRequest::new(&[VocabKind::SentencePiece]).and([VocabStep::ConfiguredSpacePrefix])
}

const FUSED: &[Rule] = &[
    LAYER.rule(
        "self_attn.qkv_proj",
        "attn_q",
        Transform::Rows(|hp, _| fused_part(hp, 0)),
    ),
    LAYER.rule(
        "self_attn.qkv_proj",
        "attn_k",
        Transform::Rows(|hp, _| fused_part(hp, 1)),
    ),
    LAYER.rule(
        "self_attn.qkv_proj",
        "attn_v",
        Transform::Rows(|hp, _| fused_part(hp, 2)),
    ),
    LAYER.rule("mlp.up_gate_proj", "ffn_gate", Transform::Rows(rows::first_half)),
    LAYER.rule("mlp.up_gate_proj", "ffn_up", Transform::Rows(rows::second_half)),
];

const MIXTURE: &[Rule] = &[
    LAYER.copy("mlp.gate", "ffn_gate_inp"),
    LAYER.exact("mlp.moe_statics.e_score_correction_bias", "exp_probs_b.bias"),
    LAYER.rule("mlp.experts.{e}.gate_proj", "ffn_gate_exps", Transform::Expert),
    LAYER.rule("mlp.experts.{e}.up_proj", "ffn_up_exps", Transform::Expert),
    LAYER.rule("mlp.experts.{e}.down_proj", "ffn_down_exps", Transform::Expert),
];

/// Without the parts that predict further tokens.
fn of_the_model_proper(_: &Hparams, name: String) -> Option<String> {
    let predicts = [
        "model.mtp_block.",
        "model.mtp_emb_norm.",
        "model.mtp_hidden_norm.",
        "model.mtp_linear_proj.",
    ];
    (!predicts.iter().any(|p| name.starts_with(p))).then(|| name.replace("ernie.", "model."))
}

fn mixture_keys(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    common::text_model(hp, keys)?;
    keys.set("expert_count", hp.u32(&["moe_num_experts"])?);
    keys.set("expert_used_count", hp.u32(&["moe_k"])?);
    keys.set("interleave_moe_layer_step", hp.u32(&["moe_layer_interval"])?);
    keys.set("leading_dense_block_count", hp.u32(&["moe_layer_start_index"])?);
    keys.set_some(
        "expert_feed_forward_length",
        hp.opt_u32(&["moe_intermediate_size"])?,
    );
    let Some(shared) = hp.opt_u32(&["moe_num_shared_experts"])? else {
        return Ok(());
    };
    keys.set("expert_shared_count", shared);
    let inner = hp.opt_u32(&["intermediate_size"])?;
    let heads = hp.opt_u32(&["num_key_value_heads"])?.filter(|&n| n > 0);
    if shared > 0
        && let (Some(inner), Some(heads)) = (inner, heads)
    {
        // The stock converter divides by the key-value heads, whatever that means; nothing reads it but the
        // loader, which takes the tensor's own width.
        keys.set("expert_shared_feed_forward_length", inner / heads);
    }
    Ok(())
}

pub(super) static ERNIE4_5_TYPE: ModelType = ModelType::of("ernie4_5");

pub(super) static ERNIE4_5_MOE_TYPE: ModelType = ModelType::of("ernie4_5_moe");
