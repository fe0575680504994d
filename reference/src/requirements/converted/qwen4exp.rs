//! Qwen3.8-Flash-Next.

use gguf::{Array, Value};

use super::super::drafts::Draft;
use super::{Layer, experts};
use crate::Result;
use crate::weights::{ANY, PerLayer};

/// Layers of which the last attends where the file does not say.
const PERIOD: usize = 4;

/// Delta nets and attention with an indexer in turn, hyper-connections of short rank instead of norms, embeddings of
/// n-grams in one layer.
pub(super) fn look(model: &Draft<'_>) -> Result<()> {
    let (loader, keys) = (model.loader, &model.loader.keys);
    let (blocks, hidden) = (keys.blocks()?, keys.count("embedding_length")?);
    keys.float("attention.layer_norm_rms_epsilon")?;
    keys.array("rope.dimension_sections")?;
    let streams = keys.count("hyper_connection.count")?;
    if streams < 2 {
        model.wrong_key("hyper_connection.count", "at least 2")?;
    }
    let (rank, wide) = (
        keys.count("hyper_connection.low_rank")?,
        streams.saturating_mul(hidden),
    );
    let tokens = model.tokens();
    loader.needed("token_embd.weight", &[hidden, tokens])?;
    loader.allowed("output.weight", &[hidden, tokens])?;
    loader.needed("output_hc_norm.weight", &[wide])?;
    loader.needed("output_hc_down.weight", &[wide, rank])?;
    loader.needed("output_hc_up.weight", &[rank, wide])?;
    let attention = Attention::read(model, blocks, hidden)?;
    let net = Net::read(model)?;
    let grams = grams(model)?;
    let recurrent = keys.optional_flags("attention.recurrent_layers", blocks)?;
    let period = keys
        .optional_count("full_attention_interval")?
        .unwrap_or(PERIOD)
        .max(1);
    for number in 0..blocks {
        let layer = Layer { model, number };
        for part in ["hc_attn", "hc_ffn"] {
            layer.needed(&format!("{part}_norm.weight"), &[wide])?;
            layer.needed(&format!("{part}_down.weight"), &[wide, rank])?;
            layer.needed(&format!("{part}_up.weight"), &[rank, wide])?;
            layer.needed(&format!("{part}_inject.weight"), &[wide, streams])?;
        }
        let keeps_state = match &recurrent {
            Some(flags) => flags.get(number) == Some(&true),
            None => !(number + 1).is_multiple_of(period),
        };
        if keeps_state {
            net.look(&layer, hidden)?;
        } else {
            attention.look(&layer, hidden)?;
        }
        if let Some(grams) = grams.as_ref().filter(|grams| grams.layer == number) {
            if !keeps_state {
                model.wrong_key("ple.layers", "a layer that keeps a state")?;
            }
            layer.needed("ple_key.weight", &[hidden, wide])?;
            layer.needed("ple_value.weight", &[hidden, hidden])?;
            for part in ["key", "query", "conv"] {
                layer.needed(&format!("ple_norm_{part}.weight"), &[wide])?;
            }
            layer.needed("ple_conv1d.weight", &[grams.kernel, wide])?;
        }
        let count = experts(model, number)?;
        layer.needed("ffn_gate_inp.weight", &[hidden, count])?;
        let inner = model.size("expert_feed_forward_length", number)?;
        if layer.has("ffn_gate_up_exps.weight") {
            layer.needed(
                "ffn_gate_up_exps.weight",
                &[hidden, inner.saturating_mul(2), count],
            )?;
            layer.needed("ffn_down_exps.weight", &[inner, hidden, count])?;
        } else {
            layer.feed_forward("_exps", hidden, inner, Some(count))?;
        }
        let shared = keys.count("expert_shared_feed_forward_length")?;
        layer.needed("ffn_gate_inp_shexp.weight", &[hidden])?;
        layer.feed_forward("_shexp", hidden, shared, None)?;
    }
    Ok(())
}

/// Numbers of a delta net.
struct Net {
    state: usize,
    inner: usize,
    kernel: usize,
    value_heads: usize,
    keyed: usize,
}

impl Net {
    fn read(model: &Draft<'_>) -> Result<Self> {
        let keys = &model.loader.keys;
        let (state, inner) = (keys.count("ssm.state_size")?, keys.count("ssm.inner_size")?);
        let (kernel, value_heads) = (keys.count("ssm.conv_kernel")?, keys.count("ssm.time_step_rank")?);
        let keyed = state.saturating_mul(keys.count("ssm.group_count")?);
        if state.saturating_mul(value_heads) != inner {
            model.wrong_key(
                "ssm.inner_size",
                &format!("{value_heads} heads (ssm.time_step_rank) of {state} (ssm.state_size)"),
            )?;
        }
        Ok(Self {
            state,
            inner,
            kernel,
            value_heads,
            keyed,
        })
    }

    fn look(&self, layer: &Layer<'_, '_>, hidden: usize) -> Result<()> {
        let (state, inner, value_heads) = (self.state, self.inner, self.value_heads);
        let mixed = self.keyed.saturating_mul(2).saturating_add(inner);
        layer.needed("attn_qkv.weight", &[hidden, mixed])?;
        layer.needed("attn_gate.weight", &[hidden, inner])?;
        layer.needed("ssm_conv1d.weight", &[self.kernel, mixed])?;
        layer.needed("ssm_dt.bias", &[value_heads])?;
        layer.needed("ssm_a", &[value_heads])?;
        layer.needed("ssm_beta.weight", &[hidden, value_heads])?;
        layer.needed("ssm_alpha.weight", &[hidden, value_heads])?;
        layer.needed("ssm_norm.weight", &[state])?;
        layer.needed("ssm_out.weight", &[inner, hidden])
    }
}

/// Numbers of attention with an indexer.
struct Attention {
    heads: usize,
    key: usize,
    groups: Option<PerLayer>,
    chosen: usize,
    indexed: usize,
}

impl Attention {
    fn read(model: &Draft<'_>, blocks: usize, hidden: usize) -> Result<Self> {
        let keys = &model.loader.keys;
        let heads = keys.count("attention.head_count")?;
        let key = match keys.optional_count("attention.key_length")? {
            Some(key) => key,
            None => hidden / heads.max(1),
        };
        let value = keys.optional_count("attention.value_length")?;
        let value = value.unwrap_or(hidden / heads.max(1));
        if value != key {
            model.wrong_key(
                "attention.value_length",
                &format!("the {key} of attention.key_length"),
            )?;
        }
        let groups = keys.optional_per_layer("attention.head_count_kv", blocks)?;
        let (chosen, indexed) = (
            keys.count("attention.indexer.head_count")?,
            keys.count("attention.indexer.key_length")?,
        );
        keys.count("attention.indexer.top_k")?;
        ratios(model, blocks)?;
        Ok(Self {
            heads,
            key,
            groups,
            chosen,
            indexed,
        })
    }

    fn look(&self, layer: &Layer<'_, '_>, hidden: usize) -> Result<()> {
        let (heads, key, indexed) = (self.heads, self.key, self.indexed);
        let kv = self
            .groups
            .as_ref()
            .map_or(heads, |groups| groups.get(layer.number))
            .saturating_mul(key);
        if kv == 0 {
            layer.model.wrong_key("attention.head_count_kv", "at least 1")?;
        }
        let queries = heads.saturating_mul(key);
        layer.needed("attn_q.weight", &[hidden, queries.saturating_mul(2)])?;
        layer.needed("attn_k.weight", &[hidden, kv])?;
        layer.needed("attn_v.weight", &[hidden, kv])?;
        layer.needed("attn_output.weight", &[queries, hidden])?;
        layer.needed("attn_q_norm.weight", &[key])?;
        layer.needed("attn_k_norm.weight", &[key])?;
        layer.needed(
            "indexer.q_proj.weight",
            &[hidden, self.chosen.saturating_mul(indexed)],
        )?;
        layer.needed("indexer.k_proj.weight", &[hidden, indexed])?;
        layer.needed("indexer.q_norm.weight", &[indexed])?;
        layer.needed("indexer.k_norm.weight", &[indexed])
    }
}

/// Embeddings of n-grams.
struct Grams {
    layer: usize,
    kernel: usize,
}

/// The parameters of n-grams in the file, and whether their table has the rows that the hash leads to.
fn grams(model: &Draft<'_>) -> Result<Option<Grams>> {
    let (loader, keys) = (model.loader, &model.loader.keys);
    if keys.array_len("ple.layers").unwrap_or(0) == 0 {
        return Ok(None);
    }
    let layer = match keys.array("ple.layers")? {
        Array::I32(list) if list.len() == 1 => list[0].try_into().unwrap_or(ANY),
        Array::U32(list) if list.len() == 1 => list[0] as usize,
        _ => {
            model.wrong_key("ple.layers", "one layer (i32)")?;
            ANY
        }
    };
    let size = keys.count("ple.ngram_size")?;
    let heads = size
        .saturating_sub(1)
        .saturating_mul(keys.count("ple.heads_per_ngram")?);
    if keys.optional_count("ple.eos_token_id")?.is_none() {
        model.wrong_key("ple.eos_token_id", "the id of a token")?;
    }
    keys.optional_count("ple.image_token_id")?;
    let row = keys.count("embedding_length_per_layer_input")?;
    let mut ends = vec![0u64; heads.min(MAX_HEADS)];
    if heads == 0 || heads > MAX_HEADS {
        model.wrong_key("ple.heads_per_ngram", &format!("1 to {MAX_HEADS} heads in all"))?;
    }
    for (suffix, count) in [
        ("ple.layer_multipliers", size),
        ("ple.head_offsets", heads),
        ("ple.head_vocab_sizes", heads),
    ] {
        match model.declared.metadata.arch(suffix) {
            Some(Value::Array(Array::U64(list))) if list.len() >= count => {
                if suffix != "ple.layer_multipliers" {
                    ends.iter_mut()
                        .zip(list)
                        .for_each(|(end, n)| *end = end.saturating_add(*n));
                }
            }
            _ => model.wrong_key(suffix, &format!("a list of at least {count} numbers (u64)"))?,
        }
    }
    let rows = ends.into_iter().max().unwrap_or(0);
    let table = "per_layer_token_embd.weight";
    loader.needed(table, &[row, ANY])?;
    let found = model.declared.ending(table).next();
    if let Some(found) = found.filter(|table| table.rows() < rows) {
        model.wrong_key(
            "ple.head_vocab_sizes",
            &format!("ranges within the {} rows of {table}", found.rows()),
        )?;
    }
    Ok(Some(Grams {
        layer,
        kernel: keys.count("ple.conv_kernel")?,
    }))
}

/// Most heads of the hash, as llama.cpp has it (LLAMA_MAX_PLE_HEADS).
const MAX_HEADS: usize = 64;

/// Tokens that one key of the indexer stands for: one number, or one for each layer.
fn ratios(model: &Draft<'_>, blocks: usize) -> Result<()> {
    const KEY: &str = "attention.compress_ratios";
    let as_expected = match model.declared.metadata.arch(KEY) {
        None | Some(Value::U32(_) | Value::I32(_)) => true,
        Some(Value::Array(Array::I32(list))) => list.len() == blocks,
        Some(Value::Array(Array::U32(list))) => list.len() == blocks,
        Some(_) => false,
    };
    match as_expected {
        true => Ok(()),
        false => model.wrong_key(KEY, &format!("a number for each of {blocks} layers (i32)")),
    }
}
