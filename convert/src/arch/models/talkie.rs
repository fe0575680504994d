//! Talkie: no norm has weights; gains are numbers by themselves.

use crate::Result;
use crate::arch::rules::common;
use crate::arch::rules::names::{Rule, Scope, Transform, copy, exact, skip};
use crate::arch::{Architecture, Hparams, PLAIN, RowFactors, View, class};

pub(super) static TALKIE: Architecture = Architecture {
    gguf: "talkie",
    classes: &[class("TalkieForCausalLM")],
    rules: &[RULES],
    early: |hp, keys| match keys.number(LOGITS)? {
        Some(gain) => {
            keys.set("logit_scale", gain);
            Ok(())
        }
        None => Err(hp.error(format!(
            "expected a tensor '{LOGITS}', the factor on the logits, found none"
        ))),
    },
    hyperparameters: |hp, keys| {
        common::text_model(hp, keys)?;
        // PyTorch's where none is given.
        keys.set("attention.layer_norm_rms_epsilon", f32::EPSILON);
        Ok(())
    },
    ..PLAIN
};

const LOGITS: &str = "lm_head_gain.w_g";

const BLOCK: Scope = Scope::new("model.blocks.{}", "blk.{}");

const RULES: &[Rule] = &[
    copy("model.embed", "token_embd"),
    copy("lm_head", "output"),
    exact("lm_head", "output.weight"),
    skip(LOGITS),
    BLOCK.rule("attn.attn_query", "attn_q", Transform::ScaleRows(turned_back)),
    BLOCK.rule("attn.attn_key", "attn_k", Transform::ScaleRows(turned_back)),
    BLOCK.copy("attn.attn_value", "attn_v"),
    BLOCK.copy("attn.attn_resid", "attn_output"),
    BLOCK.exact_with(
        "attn.head_gain.head_g",
        "attn_q_norm.weight",
        Transform::View(as_column, None),
    ),
    BLOCK.exact("attn_gain.a_g", "attn_output.scale"),
    BLOCK.copy("mlp.mlp_gate", "ffn_gate"),
    BLOCK.copy("mlp.mlp_linear", "ffn_up"),
    BLOCK.copy("mlp.mlp_resid", "ffn_down"),
    BLOCK.exact("mlp_gain.a_g", "ffn_down.scale"),
    BLOCK.exact("embed_skip.a_g", "layer_output_scale.weight"),
];

/// The model turns pairs the other way round: the second half of each head's rows is negated.
fn turned_back(hp: &Hparams, rows: u64) -> Result<RowFactors> {
    let head = u64::from(hp.u32(&["head_dim"])?);
    if head == 0 || !head.is_multiple_of(2) || !rows.is_multiple_of(head) {
        return Err(hp.error(format!(
            "expected rows that can be divided into heads of {head} rows in pairs, found {rows}"
        )));
    }
    Ok((0..rows / head)
        .map(|n| (n * head + head / 2..(n + 1) * head, -1.0))
        .collect())
}

/// One number for each head, to be multiplied with all of it.
fn as_column(_: &Hparams, view: View) -> Result<Option<View>> {
    let shape = [view.len(), 1];
    Ok(view.shaped(&shape))
}
