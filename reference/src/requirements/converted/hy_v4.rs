//! Hunyuan V4.

use super::super::drafts::Draft;
use super::unrotated;
use crate::Result;

/// Hunyuan V4: latent attention with gates and sinks, layers with indexers of their own, hyper-connections, and experts
/// behind the first dense layers.
pub(super) fn look(model: &Draft<'_>) -> Result<()> {
    let (loader, keys) = (model.loader, &model.loader.keys);
    let (blocks, hidden) = (keys.blocks()?, keys.count("embedding_length")?);
    let heads = keys.count("attention.head_count")?;
    let (queries, latent) = (
        keys.count("attention.q_lora_rank")?,
        keys.count("attention.kv_lora_rank")?,
    );
    let (key, value) = (
        keys.count("attention.key_length_mla")?,
        keys.count("attention.value_length_mla")?,
    );
    let own = keys.optional_count("attention.key_length")?;
    let rotated = keys.optional_count("rope.dimension_count")?;
    let rotated = rotated.or(own).unwrap_or(hidden / heads.max(1));
    let plain = unrotated(model, key, rotated)?;
    keys.float("attention.layer_norm_rms_epsilon")?;
    keys.float("hyper_connection.epsilon")?;
    keys.float("hyper_connection.magnitude")?;
    let connections = keys.count("hyper_connection.count")?;
    let wide = connections.saturating_mul(hidden);
    let tokens = model.tokens();
    loader.needed("token_embd.weight", &[hidden, tokens])?;
    loader.needed("output_norm.weight", &[hidden])?;
    loader.needed("output.weight", &[hidden, tokens])?;
    loader.needed("output_hc_fn.weight", &[wide, connections])?;
    loader.needed("output_hc_base.weight", &[connections])?;
    loader.needed("output_hc_scale.weight", &[1])?;
    let chosen = keys.optional_count("attention.indexer.top_k")?.unwrap_or(0);
    let indexers = match chosen {
        0 => None,
        _ => keys.optional_flags("attention.indexer.types", blocks)?,
    };
    if indexers.as_ref().is_some_and(|own| own.first() == Some(&false)) {
        model.wrong_key("attention.indexer.types", "an indexer in the first layer")?;
    }
    for layer in 0..blocks {
        let needed = |name: &str, shape: &[usize]| loader.needed(&format!("blk.{layer}.{name}"), shape);
        let put_out = heads.saturating_mul(value);
        needed("attn_norm.weight", &[hidden])?;
        needed("attn_sinks.weight", &[heads])?;
        needed("attn_q_a.weight", &[hidden, queries])?;
        needed("attn_q_a_norm.weight", &[queries])?;
        needed("attn_q_b.weight", &[queries, heads.saturating_mul(key)])?;
        needed("attn_kv_a_mqa.weight", &[hidden, latent.saturating_add(rotated)])?;
        needed("attn_kv_a_norm.weight", &[latent])?;
        needed("attn_k_b.weight", &[plain, latent, heads])?;
        needed("attn_v_b.weight", &[latent, value, heads])?;
        needed("attn_output.weight", &[put_out, hidden])?;
        needed("attn_gate.weight", &[hidden, put_out])?;
        if indexers.as_ref().is_some_and(|own| own.get(layer) == Some(&true)) {
            let count = keys.count("attention.indexer.head_count")?;
            let width = keys.count("attention.indexer.key_length")?;
            needed("indexer.attn_q_b.weight", &[queries, count.saturating_mul(width)])?;
            needed("indexer.attn_k.weight", &[hidden, width])?;
            needed("indexer.k_norm.weight", &[width])?;
            needed("indexer.k_norm.bias", &[width])?;
            needed("indexer.proj.weight", &[hidden, count])?;
        }
        for part in ["hc_attn", "hc_ffn"] {
            let twice = connections.saturating_mul(2);
            needed(&format!("{part}_fn.weight"), &[wide, twice])?;
            needed(&format!("{part}_base.weight"), &[twice])?;
            needed(&format!("{part}_scale.weight"), &[2])?;
        }
        feed_forward(model, layer, blocks, hidden)?;
    }
    Ok(())
}

/// The second half of a layer of Hunyuan V4: dense in the first layers, experts after them.
fn feed_forward(model: &Draft<'_>, layer: usize, blocks: usize, hidden: usize) -> Result<()> {
    let (loader, keys) = (model.loader, &model.loader.keys);
    let needed = |name: &str, shape: &[usize]| loader.needed(&format!("blk.{layer}.{name}"), shape);
    needed("ffn_norm.weight", &[hidden])?;
    if layer < keys.optional_count("leading_dense_block_count")?.unwrap_or(0) {
        let inner = model.size("feed_forward_length", layer)?;
        needed("ffn_gate.weight", &[hidden, inner])?;
        needed("ffn_up.weight", &[hidden, inner])?;
        return needed("ffn_down.weight", &[inner, hidden]);
    }
    let experts = keys.count("expert_count")?;
    let used = keys.optional_per_layer("expert_used_count", blocks)?;
    if used.is_none_or(|used| used.get(layer) == 0) {
        model.wrong_key("expert_used_count", "at least 1")?;
    }
    let inner = model.size("expert_feed_forward_length", layer)?;
    let shared = inner.saturating_mul(keys.count("expert_shared_count")?);
    needed("ffn_gate_inp.weight", &[hidden, experts])?;
    loader.allowed(&format!("blk.{layer}.exp_probs_b.bias"), &[experts])?;
    for (parts, shape) in [("exps", vec![inner, experts]), ("shexp", vec![shared])] {
        let into: Vec<usize> = [&[hidden], &shape[..]].concat();
        let mut out = vec![shape[0], hidden];
        out.extend(&shape[1..]);
        needed(&format!("ffn_gate_{parts}.weight"), &into)?;
        needed(&format!("ffn_up_{parts}.weight"), &into)?;
        needed(&format!("ffn_down_{parts}.weight"), &out)?;
    }
    Ok(())
}
