//! Kimi K3.

use super::super::drafts::Draft;
use super::{Delta, Latent, Layer, experts, is_recurrent};
use crate::Result;

/// Delta attention and latent attention with full gates, attention over earlier layers, experts in a shorter space.
pub(super) fn look(model: &Draft<'_>) -> Result<()> {
    let (loader, keys) = (model.loader, &model.loader.keys);
    let (blocks, hidden) = (keys.blocks()?, keys.count("embedding_length")?);
    keys.float("attention.layer_norm_rms_epsilon")?;
    keys.float("activation.situ_beta")?;
    keys.float("activation.situ_linear_beta")?;
    let heads = keys.count("attention.head_count")?;
    let latent = Latent::read(model)?;
    let delta = Delta {
        hidden,
        heads,
        head: keys.count("kda.head_dim")?,
        kernel: keys.count("ssm.conv_kernel")?,
    };
    let earlier = keys.optional_count("attn_res.block_size")?;
    if earlier.is_none() {
        model.wrong_key("attn_res.block_size", "a number")?;
    }
    let earlier = earlier.unwrap_or(0) > 0;
    let short = keys.optional_count("expert_latent_length")?.filter(|&n| n > 0);
    let tokens = model.tokens();
    loader.needed("token_embd.weight", &[hidden, tokens])?;
    loader.needed("output_norm.weight", &[hidden])?;
    loader.needed("output.weight", &[hidden, tokens])?;
    if earlier {
        loader.needed("output_res_score.weight", &[hidden])?;
    }
    for key in ["expert_gating_func", "expert_shared_count"] {
        if keys.optional_count(key)?.is_none() {
            model.wrong_key(key, "a number")?;
        }
    }
    let dense = keys.optional_count("leading_dense_block_count")?.unwrap_or(0);
    for number in 0..blocks {
        let layer = Layer { model, number };
        layer.needed("attn_norm.weight", &[hidden])?;
        layer.needed("ffn_norm.weight", &[hidden])?;
        if earlier {
            layer.needed("attn_res_score.weight", &[hidden])?;
            layer.needed("ffn_res_score.weight", &[hidden])?;
        }
        if is_recurrent(model, number)? {
            layer.delta(&delta)?;
            layer.needed("ssm_g.weight", &[hidden, delta.head.saturating_mul(heads)])?;
        } else {
            let queries = heads.saturating_mul(latent.key());
            if layer.has("attn_q_a_norm.weight") {
                let rank = keys.count("attention.q_lora_rank")?;
                layer.needed("attn_q_a_norm.weight", &[rank])?;
                layer.needed("attn_q_a.weight", &[hidden, rank])?;
                layer.needed("attn_q_b.weight", &[rank, queries])?;
            } else {
                layer.needed("attn_q.weight", &[hidden, queries])?;
            }
            layer.latent(hidden, heads, &latent)?;
            layer.allowed("attn_gate.weight", &[hidden, heads.saturating_mul(latent.value)])?;
        }
        if number < dense {
            layer.feed_forward("", hidden, model.size("feed_forward_length", number)?, None)?;
            continue;
        }
        let count = experts(model, number)?;
        let inner = model.size("expert_feed_forward_length", number)?;
        let shared = keys.optional_count("expert_shared_count")?.unwrap_or(0).max(1);
        layer.needed("ffn_gate_inp.weight", &[hidden, count])?;
        layer.needed("exp_probs_b.bias", &[count])?;
        layer.feed_forward("_exps", short.unwrap_or(hidden), inner, Some(count))?;
        if let Some(short) = short {
            layer.needed("ffn_routed_down.weight", &[hidden, short])?;
            layer.needed("ffn_routed_up.weight", &[short, hidden])?;
            layer.allowed("ffn_routed_norm.weight", &[short])?;
        }
        if layer.has("ffn_gate_shexp.weight") || layer.has("ffn_up_shexp.weight") {
            layer.feed_forward("_shexp", hidden, inner.saturating_mul(shared), None)?;
        }
    }
    Ok(())
}
