//! Qwen3-TTS, the talker.

use super::super::drafts::Draft;
use super::Layer;
use crate::Result;
use crate::model::CODES;

/// Qwen3 whose head predicts codes, which are the end of its vocabulary.
pub(super) fn look(model: &Draft<'_>) -> Result<()> {
    let (loader, keys) = (model.loader, &model.loader.keys);
    let (blocks, hidden) = (keys.blocks()?, keys.count("embedding_length")?);
    keys.float("attention.layer_norm_rms_epsilon")?;
    keys.array("rope.dimension_sections")?;
    loader.needed("token_embd.weight", &[hidden, model.tokens()])?;
    loader.needed("output_norm.weight", &[hidden])?;
    loader.allowed("output.weight", &[hidden, CODES])?;
    let heads = keys.count("attention.head_count")?;
    let groups = keys.optional_count("attention.head_count_kv")?.unwrap_or(heads);
    if groups == 0 {
        model.wrong_key("attention.head_count_kv", "at least 1")?;
    }
    let key = keys.optional_count("attention.key_length")?;
    let key = key.unwrap_or(hidden / heads.max(1));
    let value = keys.optional_count("attention.value_length")?;
    if value.unwrap_or(hidden / heads.max(1)) != key {
        model.wrong_key(
            "attention.value_length",
            &format!("the {key} of attention.key_length"),
        )?;
    }
    for number in 0..blocks {
        let layer = Layer { model, number };
        let (queries, kv) = (heads.saturating_mul(key), groups.saturating_mul(key));
        layer.needed("attn_norm.weight", &[hidden])?;
        layer.needed("attn_q.weight", &[hidden, queries])?;
        layer.needed("attn_k.weight", &[hidden, kv])?;
        layer.needed("attn_v.weight", &[hidden, kv])?;
        layer.needed("attn_output.weight", &[queries, hidden])?;
        layer.needed("attn_q_norm.weight", &[key])?;
        layer.needed("attn_k_norm.weight", &[key])?;
        layer.needed("ffn_norm.weight", &[hidden])?;
        layer.feed_forward("", hidden, model.size("feed_forward_length", number)?, None)?;
    }
    Ok(())
}
