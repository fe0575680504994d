//! Diffusion models of text: Dream, LLaDA, LLaDA-MoE and RND1. Every token sees all others, so that a forward pass
//! over a text without masks says nothing of how well it would be generated.

use super::qwen2moe;
use crate::Result;
use crate::arch::rules::common;
use crate::arch::rules::experts::EXPERTS;
use crate::arch::rules::names::{DECODER, HEAD_NORMS, Rule, Scope, Transform, copy};
use crate::arch::{Architecture, Hparams, Keys, PLAIN, class};
use crate::tokenizer::{VocabKind, VocabRequest, VocabStep};

pub(super) static DREAM: Architecture = Architecture {
    gguf: "dream",
    classes: &[class("DreamModel")],
    hyperparameters: |hp, keys| {
        common::text_model(hp, keys)?;
        common::pooling(hp, keys)?;
        keys.set("attention.causal", false);
        mask_token(hp, keys)
    },
    vocabulary: |_| VocabRequest::of([VocabStep::AddedAsMarked]).and(VocabRequest::qwen2().steps),
    ..PLAIN
};

pub(super) static LLADA: Architecture = Architecture {
    gguf: "llada",
    classes: &[class("LLaDAModelLM")],
    rules: &[BLOCKS],
    hyperparameters: llada_keys,
    vocabulary: |_| {
        VocabRequest::of([
            VocabStep::AddedAsMarked,
            VocabStep::read(&[VocabKind::Bpe]),
            VocabStep::Flag("add_bos_token", true),
        ])
    },
    ..PLAIN
};

pub(super) static LLADA_MOE: Architecture = Architecture {
    gguf: "llada-moe",
    classes: &[class("LLaDAMoEModel"), class("LLaDAMoEModelLM")],
    rules: &[DECODER, HEAD_NORMS, EXPERTS],
    hyperparameters: |hp, keys| {
        common::text_model(hp, keys)?;
        keys.set_some(
            "expert_feed_forward_length",
            hp.opt_u32(&["expert_intermediate_size"])?,
        );
        keys.set_tokenizer("mask_token_id", LLADA_MOE_MASK);
        keys.set("attention.causal", false);
        keys.set_global("diffusion.shift_logits", false);
        Ok(())
    },
    ..PLAIN
};

pub(super) static RND1: Architecture = Architecture {
    gguf: "rnd1",
    classes: &[class("RND1")],
    rules: &[DECODER, HEAD_NORMS, EXPERTS],
    hyperparameters: |hp, keys| {
        qwen2moe::hyperparameters(hp, keys)?;
        keys.set("attention.causal", false);
        mask_token(hp, keys)
    },
    ..PLAIN
};

/// The token of LLaDA-MoE that stands for one that is not generated yet; its configurations do not name it.
const LLADA_MOE_MASK: u32 = 156895;

fn mask_token(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    if let Some(id) = hp.opt_u32(&["mask_token_id"])? {
        keys.set_tokenizer("mask_token_id", id);
    }
    Ok(())
}

const BLOCK: Scope = Scope::new("model.transformer.blocks.{}", "blk.{}");

const BLOCKS: &[Rule] = &[
    copy("model.transformer.wte", "token_embd"),
    copy("model.transformer.ln_f", "output_norm"),
    copy("model.transformer.ff_out", "output"),
    BLOCK.copy("attn_norm", "attn_norm"),
    BLOCK.rule("q_proj", "attn_q", Transform::PermuteQuery),
    BLOCK.rule("k_proj", "attn_k", Transform::PermuteKey),
    BLOCK.copy("v_proj", "attn_v"),
    BLOCK.copy("attn_out", "attn_output"),
    BLOCK.copy("ff_norm", "ffn_norm"),
    BLOCK.copy("ff_proj", "ffn_gate"),
    BLOCK.copy("up_proj", "ffn_up"),
    BLOCK.copy("ff_out", "ffn_down"),
];

fn llada_keys(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    common::text_model(hp, keys)?;
    common::pooling(hp, keys)?;
    keys.set("vocab_size", hp.u32(&["vocab_size"])?);
    keys.set("rope.dimension_count", hp.head_dim()?);
    // The lengths of LLaDA-8B where the configuration has none.
    keys.set(
        "context_length",
        hp.opt_u32(&["max_sequence_length"])?.unwrap_or(4096),
    );
    keys.set("embedding_length", hp.opt_u32(&["d_model"])?.unwrap_or(4096));
    keys.set(
        "feed_forward_length",
        hp.opt_u32(&["mlp_hidden_size"])?.unwrap_or(12288),
    );
    keys.set("attention.causal", false);
    keys.set_global("diffusion.shift_logits", false);
    Ok(())
}
