//! MiniCPM (1 and 2).

use crate::Result;
use crate::arch::rules::names::{DECODER, LAYER, Rule, Transform};
use crate::arch::rules::{common, rope};
use crate::arch::{Architecture, Hparams, Keys, PLAIN, class};
use crate::tokenizer::{VocabKind, VocabRequest};

pub(super) static MINICPM: Architecture = Architecture {
    gguf: "minicpm",
    classes: &[class("MiniCPMForCausalLM")],
    rules: &[OWN, DECODER],
    hyperparameters,
    generated: rope::long_factors,
    vocabulary: |_| VocabRequest::new(&[VocabKind::SentencePiece]),
    ..PLAIN
};

/// Only weights are reordered.
const OWN: &[Rule] = &[
    LAYER.exact_with(
        "self_attn.q_proj.weight",
        "attn_q.weight",
        Transform::PermuteQuery,
    ),
    LAYER.exact_with("self_attn.k_proj.weight", "attn_k.weight", Transform::PermuteKey),
];

fn hyperparameters(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    common::text_model(hp, keys)?;
    keys.set("embedding_scale", hp.f32(&["scale_emb"])?);
    let layers = f64::from(hp.block_count());
    keys.set(
        "residual_scale",
        (hp.f64(&["scale_depth"])? / layers.sqrt()) as f32,
    );
    let scale = hp.f64(&["hidden_size"])? / hp.f64(&["dim_model_base"])?;
    keys.set("logit_scale", scale as f32);
    Ok(())
}
