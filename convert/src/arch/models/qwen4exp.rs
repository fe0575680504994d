//! Qwen3.8-Flash-Next: Qwen3.5's delta nets and experts, hyper-connections instead of norms, an indexer of blocks in the
//! layers with full attention, and embeddings of n-grams in one layer.

use gguf::{Array, Value as GgufValue};
use serde_json::Value;

use super::qwen2moe::SHARED_EXPERT;
use super::qwen3_5;
use crate::Result;
use crate::arch::rules::common;
use crate::arch::rules::experts::{EXPERTS, STACKED_EXPERTS};
use crate::arch::rules::names::{
    DECODER, HEAD_NORMS_ABOUT_ONE, LAYER, Rule, Transform, copy, exact_with, rule, skip,
};
use crate::arch::{Architecture, Fixed, Graph, Hooks, Hparams, Keys, PLAIN, Rows, View, class};

pub(super) static QWEN4EXP: Architecture = Architecture {
    gguf: "qwen4exp",
    classes: &[
        class("Qwen4ExpForConditionalGeneration"),
        class("Qwen4ExpForCausalLM"),
    ],
    rules: &[
        OWN,
        HEAD_NORMS_ABOUT_ONE,
        qwen3_5::DELTA_NET,
        SHARED_EXPERT,
        DECODER,
        EXPERTS,
        STACKED_EXPERTS,
    ],
    hyperparameters,
    hooks: Hooks {
        canonical,
        ..Hooks::NONE
    },
    graph: Graph::SILU.fixing(&[
        ("norm_topk_prob", Fixed::Is(true)),
        ("output_gate_type", Fixed::OneOf(&["sigmoid"])),
    ]),
    ..PLAIN
};

/// Endings of the names of three lists of integers, which become keys.
const MULTIPLIERS: &str = "ple_embedding.layer_multipliers";
const OFFSETS: &str = "ple_embedding.ngram_heads_offsets";
const VOCABULARIES: &str = "ple_embedding.ngram_heads_vocab_sizes";
/// The part of a name before the number of a piece of the table of n-grams.
const SHARD: &str = ".ngram_embedding.shard_";

const OWN: &[Rule] = &[
    LAYER.rule("attn_hyper_connection.hc_norm", "hc_attn_norm", Transform::AddOne),
    LAYER.copy("attn_hyper_connection.input_mix_weight_down", "hc_attn_down"),
    LAYER.copy("attn_hyper_connection.input_mix_weight_up", "hc_attn_up"),
    LAYER.copy("attn_hyper_connection.block_inject_weight", "hc_attn_inject"),
    LAYER.rule("mlp_hyper_connection.hc_norm", "hc_ffn_norm", Transform::AddOne),
    LAYER.copy("mlp_hyper_connection.input_mix_weight_down", "hc_ffn_down"),
    LAYER.copy("mlp_hyper_connection.input_mix_weight_up", "hc_ffn_up"),
    LAYER.copy("mlp_hyper_connection.block_inject_weight", "hc_ffn_inject"),
    rule(
        "model.hyper_connection_mixer.hc_norm",
        "output_hc_norm",
        Transform::AddOne,
    ),
    copy(
        "model.hyper_connection_mixer.input_mix_weight_down",
        "output_hc_down",
    ),
    copy("model.hyper_connection_mixer.input_mix_weight_up", "output_hc_up"),
    LAYER.exact_with(
        "self_attn.indexer.index_qk_proj.weight",
        "indexer.q_proj.weight",
        Transform::Rows(|hp, _| Ok(Rows::range(0, indexer_queries(hp)?))),
    ),
    LAYER.exact_with(
        "self_attn.indexer.index_qk_proj.weight",
        "indexer.k_proj.weight",
        Transform::Rows(|hp, stored| {
            let queries = indexer_queries(hp)?;
            Ok(Rows::range(queries, stored.saturating_sub(queries)))
        }),
    ),
    LAYER.rule(
        "self_attn.indexer.q_layernorm",
        "indexer.q_norm",
        Transform::AddOne,
    ),
    LAYER.rule(
        "self_attn.indexer.k_layernorm",
        "indexer.k_norm",
        Transform::AddOne,
    ),
    LAYER.copy("ple.key_proj", "ple_key"),
    LAYER.copy("ple.value_proj", "ple_value"),
    LAYER.rule("ple.norm_key", "ple_norm_key", Transform::AddOne),
    LAYER.rule("ple.norm_query", "ple_norm_query", Transform::AddOne),
    LAYER.rule("ple.norm_conv", "ple_norm_conv", Transform::AddOne),
    LAYER.rule("ple.conv1d", "ple_conv1d", Transform::View(squeezed, None)),
    exact_with(
        "ngram_embedding.shard_{e}.weight",
        "per_layer_token_embd",
        Transform::Shard(|hp| hp.u32(&["split_ngram_parts"])),
    ),
    skip(MULTIPLIERS),
    skip(OFFSETS),
    skip(VOCABULARIES),
];

/// Rows that are the indexer's queries; those behind are its key.
fn indexer_queries(hp: &Hparams) -> Result<u64> {
    let heads = u64::from(hp.u32(&["indexer_n_heads"])?);
    Ok(heads.saturating_mul(hp.u32(&["indexer_head_dim"])?.into()))
}

/// Without the dimension of 1 between channels and width.
fn squeezed(_: &Hparams, view: View) -> Result<Option<View>> {
    let mut shape = view.shape();
    shape.retain(|&n| n != 1);
    Ok(view.shaped(&shape))
}

/// Without the head that predicts further tokens, which the stock converter leaves out too; what belongs to n-grams under
/// names without the module that it is in.
fn canonical(_: &Hparams, name: String) -> Option<String> {
    if name.starts_with("mtp.") || name.starts_with("model.mtp.") {
        return None;
    }
    if let Some(constant) = [MULTIPLIERS, OFFSETS, VOCABULARIES]
        .into_iter()
        .find(|ending| name.ends_with(ending))
    {
        return Some(constant.to_owned());
    }
    match name.split_once(SHARD) {
        Some((_, rest)) => Some(format!("{}{rest}", &SHARD[1..])),
        None => Some(name),
    }
}

fn hyperparameters(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    qwen3_5::hyperparameters(hp, keys)?;
    keys.set("hyper_connection.count", hp.u32(&["hc_count"])?);
    keys.set("hyper_connection.low_rank", hp.u32(&["hc_lowrank"])?);
    keys.set("attention.indexer.head_count", hp.u32(&["indexer_n_heads"])?);
    keys.set("attention.indexer.key_length", hp.u32(&["indexer_head_dim"])?);
    keys.set("attention.indexer.top_k", hp.u32(&["indexer_budget"])?);
    let ratio = hp.u32(&["indexer_compress_ratio"])?;
    let types = hp.find(&["layer_types"]).unwrap_or(&Value::Null);
    let ratio_of = |kind: &Value| if kind == "full_attention" { ratio } else { 0 };
    let ratios = common::list(hp, "layer_types", types)?.iter().map(ratio_of);
    keys.set("attention.compress_ratios", common::numbers(ratios.collect()));
    grams(hp, keys)
}

/// Keys of the embeddings of n-grams, of models that have them.
fn grams(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    const KEY: &str = "ple_layer_ids";
    // Layers are numbered from one.
    let layer = |id: &Value| {
        let id = hp.to_u32(KEY, id)?;
        id.checked_sub(1)
            .ok_or_else(|| hp.error(format!("{KEY}: expected numbers from 1 on, found 0")))
    };
    let ids = hp.find(&[KEY]).and_then(Value::as_array);
    let ids = ids.ok_or_else(|| hp.missing(&[KEY]))?;
    let layers = ids.iter().map(layer).collect::<Result<Vec<u32>>>()?;
    if layers.is_empty() {
        return Ok(());
    }
    keys.set("ple.layers", common::numbers(layers));
    keys.set("ple.ngram_size", hp.u32(&["ngram_size"])?);
    keys.set("ple.heads_per_ngram", hp.u32(&["heads_per_ngram"])?);
    keys.set("ple.conv_kernel", hp.u32(&["ple_conv_kernel_size"])?);
    // The hash begins anew at the last of several.
    let end = match hp.find(&["eos_token_id"]) {
        Some(Value::Array(ids)) => ids.last(),
        other => other,
    };
    let end = end.ok_or_else(|| hp.missing(&["eos_token_id"]))?;
    keys.set("ple.eos_token_id", hp.to_u32("eos_token_id", end)?);
    keys.set_some("ple.image_token_id", hp.opt_u32(&["image_token_id"])?);
    let row = keys.shape_ending(".ngram_embedding.shard_0.weight");
    let row = row
        .and_then(|shape| shape.last().copied())
        .and_then(|n| u32::try_from(n).ok());
    keys.set_some("embedding_length_per_layer_input", row);
    for (suffix, ending) in [
        ("ple.layer_multipliers", MULTIPLIERS),
        ("ple.head_offsets", OFFSETS),
        ("ple.head_vocab_sizes", VOCABULARIES),
    ] {
        let numbers = keys.integers(ending)?;
        let numbers = numbers.ok_or_else(|| {
            hp.error(format!(
                "tensor '*{ending}': expected it, as the n-grams' hash is made of it, found none"
            ))
        })?;
        let unsigned = numbers.iter().map(|&n| {
            u64::try_from(n)
                .map_err(|_| hp.error(format!("tensor *{ending}: found {n}, at least 0 expected")))
        });
        let unsigned = unsigned.collect::<Result<Vec<u64>>>()?;
        keys.set(suffix, GgufValue::Array(Array::U64(unsigned)));
    }
    Ok(())
}
