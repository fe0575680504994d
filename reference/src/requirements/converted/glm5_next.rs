//! GLM-5.3-Flash.

use super::super::drafts::Draft;
use super::{Delta, Latent, Layer, experts, is_recurrent};
use crate::Result;

/// Streams that llama.cpp's graph is written for.
const STREAMS: usize = 4;

/// Delta attention and latent attention with an indexer of pooled keys, hyper-connections, experts behind the first layers.
pub(super) fn look(model: &Draft<'_>) -> Result<()> {
    let (loader, keys) = (model.loader, &model.loader.keys);
    let (blocks, hidden) = (keys.blocks()?, keys.count("embedding_length")?);
    keys.float("attention.layer_norm_rms_epsilon")?;
    keys.float("hyper_connection.epsilon")?;
    keys.count("hyper_connection.sinkhorn_iterations")?;
    let streams = keys.count("hyper_connection.count")?;
    if streams != STREAMS {
        model.wrong_key("hyper_connection.count", &STREAMS.to_string())?;
    }
    let heads = keys.count("attention.head_count")?;
    let queries = keys.count("attention.q_lora_rank")?;
    let latent = Latent::read(model)?;
    let delta = Delta {
        hidden,
        heads,
        head: keys.count("kda.head_dim")?,
        kernel: keys.count("ssm.conv_kernel")?,
    };
    let (chosen, indexed) = (
        keys.count("attention.indexer.head_count")?,
        keys.count("attention.indexer.key_length")?,
    );
    let (pool, most) = (
        keys.count("attention.indexer.kpool")?,
        keys.count("attention.indexer.top_k")?,
    );
    if pool < 2 || !most.is_multiple_of(pool) {
        model.wrong_key(
            "attention.indexer.kpool",
            "more than 1, of which top_k is a multiple",
        )?;
    }
    let tokens = model.tokens();
    loader.needed("token_embd.weight", &[hidden, tokens])?;
    loader.needed("output_norm.weight", &[hidden])?;
    loader.needed("output.weight", &[hidden, tokens])?;
    let proper = blocks.saturating_sub(keys.optional_count("nextn_predict_layers")?.unwrap_or(0));
    let own = keys.optional_flags("attention.indexer.types", proper)?;
    let dense = keys.optional_count("leading_dense_block_count")?.unwrap_or(0);
    for number in 0..blocks {
        let layer = Layer { model, number };
        layer.needed("attn_norm.weight", &[hidden])?;
        layer.needed("ffn_norm.weight", &[hidden])?;
        if number < proper {
            model.connections(number, hidden, streams)?;
        }
        if is_recurrent(model, number)? {
            layer.delta(&delta)?;
            layer.needed("ssm_g_a.weight", &[hidden, delta.head])?;
            layer.needed("ssm_g_b.weight", &[delta.head, delta.head.saturating_mul(heads)])?;
        } else {
            layer.needed("attn_q_a.weight", &[hidden, queries])?;
            layer.needed("attn_q_a_norm.weight", &[queries])?;
            layer.needed("attn_q_b.weight", &[queries, heads.saturating_mul(latent.key())])?;
            layer.latent(hidden, heads, &latent)?;
            let full = number >= proper || own.as_ref().is_none_or(|own| own.get(number) == Some(&true));
            if full || layer.has("indexer.attn_k.weight") {
                layer.needed(
                    "indexer.attn_q_b.weight",
                    &[queries, chosen.saturating_mul(indexed)],
                )?;
                layer.needed("indexer.attn_k.weight", &[hidden, indexed])?;
                layer.needed("indexer.k_norm.weight", &[indexed])?;
                layer.needed("indexer.k_norm.bias", &[indexed])?;
                layer.needed("indexer.proj.weight", &[hidden, chosen])?;
                layer.needed("indexer_compressor_gate.weight", &[hidden, indexed])?;
                layer.needed("indexer_compressor_ape.weight", &[indexed, pool])?;
            }
        }
        feed_forward(&layer, hidden, number < dense)?;
        if number >= proper {
            loader.prediction(number, hidden)?;
        }
    }
    Ok(())
}

/// The second half of a layer: dense in the first layers, experts after them.
fn feed_forward(layer: &Layer<'_, '_>, hidden: usize, is_dense: bool) -> Result<()> {
    let (model, number) = (layer.model, layer.number);
    if is_dense {
        return layer.feed_forward("", hidden, model.size("feed_forward_length", number)?, None);
    }
    let count = experts(model, number)?;
    let inner = model.size("expert_feed_forward_length", number)?;
    let shared = inner.saturating_mul(model.loader.keys.count("expert_shared_count")?);
    layer.needed("ffn_gate_inp.weight", &[hidden, count])?;
    layer.needed("exp_probs_b.bias", &[count])?;
    layer.feed_forward("_exps", hidden, inner, Some(count))?;
    layer.feed_forward("_shexp", hidden, shared, None)
}
