//! Baichuan, Xverse and Orion, which published Llama-like models early.

use crate::Result;
use crate::arch::rules::common;
use crate::arch::rules::names::{DECODER, LAYER, PERMUTED, Rule, Transform};
use crate::arch::{Architecture, Hparams, Keys, PLAIN, Rows, class};
use crate::tokenizer::{VocabKind, VocabRequest};

pub(super) static BAICHUAN: Architecture = Architecture {
    gguf: "baichuan",
    classes: &[class("BaichuanForCausalLM"), class("BaiChuanForCausalLM")],
    rules: &[PACKED, DECODER],
    hyperparameters: baichuan_keys,
    vocabulary: |_| VocabRequest::new(&[VocabKind::SentencePiece]),
    ..PLAIN
};

pub(super) static XVERSE: Architecture = Architecture {
    gguf: "xverse",
    classes: &[class("XverseForCausalLM")],
    rules: &[PERMUTED, DECODER],
    hyperparameters: baichuan_keys,
    vocabulary: |_| VocabRequest::new(&[VocabKind::Xverse]),
    ..PLAIN
};

pub(super) static ORION: Architecture = Architecture {
    gguf: "orion",
    classes: &[class("OrionForCausalLM")],
    hyperparameters: orion_keys,
    vocabulary: |_| VocabRequest::new(&[VocabKind::SentencePiece]),
    ..PLAIN
};

/// Queries, keys and values in thirds of one matrix.
const PACKED: &[Rule] = &[
    LAYER.rule(
        "self_attn.W_pack",
        "attn_q",
        Transform::Rows(|hp, stored| {
            let third = stored / 3;
            let heads = u64::from(hp.heads()?.0);
            Ok(Rows::interleaved(0, heads, third / heads))
        }),
    ),
    LAYER.rule(
        "self_attn.W_pack",
        "attn_k",
        Transform::Rows(|hp, stored| {
            let third = stored / 3;
            let heads = u64::from(hp.heads()?.1);
            Ok(Rows::interleaved(third, heads, third / heads))
        }),
    ),
    LAYER.rule(
        "self_attn.W_pack",
        "attn_v",
        Transform::Rows(|_, stored| Ok(Rows::range(stored / 3 * 2, stored / 3))),
    ),
];

/// Name that these models give their layout.
const LAYOUT: &str = "Meta AI original pth";

fn baichuan_keys(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    common::text_model(hp, keys)?;
    keys.set("tensor_data_layout", LAYOUT);
    keys.set("rope.dimension_count", hp.even_head_dim()?);
    Ok(())
}

fn orion_keys(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    let (heads, kv) = hp.heads()?;
    keys.set_file_type();
    keys.set("tensor_data_layout", LAYOUT);
    keys.set(
        "context_length",
        hp.u32(&[
            "max_sequence_length",
            "max_position_embeddings",
            "model_max_length",
        ])?,
    );
    keys.set("embedding_length", hp.u32(&["hidden_size"])?);
    keys.set("block_count", hp.block_count());
    keys.set("feed_forward_length", hp.u32(&["intermediate_size"])?);
    keys.set("attention.head_count", heads);
    keys.set("attention.head_count_kv", kv);
    // The configuration speaks of an RMS norm, the model has layer norms.
    keys.set("attention.layer_norm_epsilon", hp.f32(&["rms_norm_eps"])?);
    Ok(())
}
