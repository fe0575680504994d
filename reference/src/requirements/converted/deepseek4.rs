//! DeepSeek V4.

use super::super::drafts::Draft;
use super::{Layer, experts};
use crate::Result;

/// Number of `expert_gating_func` for the square root of softplus.
const SQRT_SOFTPLUS: usize = 4;
/// Tokens that one compressed key stands for where an indexer chooses among such keys, and where all are seen.
const CHOSEN: usize = 4;
const ALL: usize = 128;

/// Attention over a window and compressed keys, hyper-connections, experts that the first layers choose by the token's id.
pub(super) fn look(model: &Draft<'_>) -> Result<()> {
    let (loader, keys) = (model.loader, &model.loader.keys);
    let (blocks, hidden) = (keys.blocks()?, keys.count("embedding_length")?);
    numbers(model, blocks)?;
    let heads = keys.count("attention.head_count")?;
    let head = match keys.optional_count("attention.key_length")? {
        Some(head) => head,
        None => hidden / heads.max(1),
    };
    if head == 0 {
        model.wrong_key("attention.key_length", "at least 1")?;
    }
    let queries = keys.count("attention.q_lora_rank")?;
    let (groups, rank) = (
        keys.count("attention.output_group_count")?,
        keys.count("attention.output_lora_rank")?,
    );
    let (chosen, indexed) = (
        keys.count("attention.indexer.head_count")?,
        keys.count("attention.indexer.key_length")?,
    );
    keys.count("attention.indexer.top_k")?;
    let streams = keys.count("hyper_connection.count")?;
    let hashed = keys.optional_count("hash_layer_count")?;
    if hashed.is_none() {
        model.wrong_key("hash_layer_count", "a number")?;
    }
    let ratios = ratios(model, blocks)?;
    let tokens = model.tokens();
    loader.needed("token_embd.weight", &[hidden, tokens])?;
    loader.needed("output_norm.weight", &[hidden])?;
    loader.needed("output.weight", &[hidden, tokens])?;
    model.connections_at_the_end(hidden, streams)?;
    for number in 0..blocks {
        let layer = Layer { model, number };
        let all = heads.saturating_mul(head);
        layer.needed("attn_norm.weight", &[hidden])?;
        layer.needed("attn_sinks.weight", &[heads])?;
        layer.needed("attn_q_a.weight", &[hidden, queries])?;
        layer.needed("attn_q_a_norm.weight", &[queries])?;
        layer.needed("attn_q_b.weight", &[queries, all])?;
        layer.needed("attn_kv.weight", &[hidden, head])?;
        layer.needed("attn_kv_a_norm.weight", &[head])?;
        let put_out = groups.saturating_mul(rank);
        layer.needed("attn_output_a.weight", &[all / groups.max(1), put_out])?;
        layer.needed("attn_output_b.weight", &[put_out, hidden])?;
        model.connections(number, hidden, streams)?;
        let ratio = ratios.get(number).copied().unwrap_or(0);
        if ratio != 0 {
            let each = if ratio == CHOSEN { 2 } else { 1 };
            compressor(&layer, "attn_compressor", hidden, head, each, ratio)?;
        }
        if ratio == CHOSEN {
            layer.needed("indexer.proj.weight", &[hidden, chosen])?;
            layer.needed(
                "indexer.attn_q_b.weight",
                &[queries, chosen.saturating_mul(indexed)],
            )?;
            compressor(&layer, "indexer_compressor", hidden, indexed, 2, ratio)?;
        }
        mixture(&layer, (blocks, hidden), number < hashed.unwrap_or(0))?;
    }
    Ok(())
}

/// Keys that say nothing of a shape.
fn numbers(model: &Draft<'_>, blocks: usize) -> Result<()> {
    let keys = &model.loader.keys;
    for key in [
        "attention.layer_norm_rms_epsilon",
        "expert_weights_scale",
        "attention.compress_rope_freq_base",
        "hyper_connection.epsilon",
    ] {
        keys.float(key)?;
    }
    for key in ["attention.sliding_window", "hyper_connection.sinkhorn_iterations"] {
        if keys.optional_count(key)?.is_none() {
            model.wrong_key(key, "a number")?;
        }
    }
    if keys.optional_flag("expert_weights_norm")?.is_none() {
        model.wrong_key("expert_weights_norm", "a flag")?;
    }
    keys.floats("swiglu_clamp_exp", blocks)?;
    if keys.optional_count("expert_gating_func")? != Some(SQRT_SOFTPLUS) {
        model.wrong_key("expert_gating_func", &SQRT_SOFTPLUS.to_string())?;
    }
    Ok(())
}

/// The experts of a layer, which are chosen by the token's id where it is `hashed`.
fn mixture(layer: &Layer<'_, '_>, (blocks, hidden): (usize, usize), hashed: bool) -> Result<()> {
    let (model, number) = (layer.model, layer.number);
    let keys = &model.loader.keys;
    layer.needed("ffn_norm.weight", &[hidden])?;
    let count = experts(model, number)?;
    layer.needed("ffn_gate_inp.weight", &[hidden, count])?;
    if hashed {
        let used = keys.optional_per_layer("expert_used_count", blocks)?;
        let used = used.map_or(0, |used| used.get(number));
        layer.needed("ffn_gate_tid2eid.weight", &[used, model.tokens()])?;
    } else {
        layer.needed("exp_probs_b.bias", &[count])?;
    }
    layer.allowed("exp_probs_b_vl.bias", &[count])?;
    let inner = model.size("expert_feed_forward_length", number)?;
    layer.feed_forward("_exps", hidden, inner, Some(count))?;
    let shared = inner.saturating_mul(keys.count("expert_shared_count")?);
    layer.feed_forward("_shexp", hidden, shared, None)
}

/// The compressor that makes one key of several tokens.
fn compressor(
    layer: &Layer<'_, '_>,
    name: &str,
    hidden: usize,
    length: usize,
    each: usize,
    ratio: usize,
) -> Result<()> {
    let made = length.saturating_mul(each);
    layer.needed(&format!("{name}_kv.weight"), &[hidden, made])?;
    layer.needed(&format!("{name}_gate.weight"), &[hidden, made])?;
    layer.needed(&format!("{name}_ape.weight"), &[made, ratio])?;
    layer.needed(&format!("{name}_norm.weight"), &[length])
}

/// Tokens that one compressed key stands for, layer by layer.
fn ratios(model: &Draft<'_>, blocks: usize) -> Result<Vec<usize>> {
    const KEY: &str = "attention.compress_ratios";
    let list: Vec<usize> = match model.loader.keys.array(KEY)? {
        gguf::Array::I32(list) => list.iter().map(|&n| n.try_into().unwrap_or(usize::MAX)).collect(),
        gguf::Array::U32(list) => list.iter().map(|&n| n as usize).collect(),
        _ => Vec::new(),
    };
    if list.len() < blocks || list.iter().take(blocks).any(|n| ![0, CHOSEN, ALL].contains(n)) {
        model.wrong_key(
            KEY,
            &format!("0, {CHOSEN} or {ALL} for each of {blocks} layers (i32)"),
        )?;
    }
    Ok(list)
}
