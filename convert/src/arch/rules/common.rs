//! The keys that most architectures share, in the stock converter's order.

use std::path::Path;

use serde_json::Value;

use super::rope;
use crate::Result;
use crate::arch::{Hparams, Keys};

/// Block count to `general.file_type`: what every text model has.
pub(in crate::arch) fn text_model(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    let context = hp.opt_u32(&[
        "max_position_embeddings",
        "n_ctx",
        "n_positions",
        "max_length",
        "max_sequence_length",
        "model_max_length",
    ])?;
    text_model_of(hp, context, keys)
}

/// The same with this length of contexts.
pub(in crate::arch) fn text_model_of(hp: &Hparams, context: Option<u32>, keys: &mut Keys<'_>) -> Result<()> {
    keys.set("block_count", hp.block_count());
    keys.set_some("context_length", context);
    keys.set_some("embedding_length", hp.opt_u32(&["hidden_size", "n_embd", "dim"])?);
    keys.set_some("feed_forward_length", width(hp)?);
    keys.set_some(
        "attention.head_count",
        hp.opt_u32(&["num_attention_heads", "n_head", "n_heads"])?,
    );
    keys.set_some(
        "attention.head_count_kv",
        hp.opt_u32(&["num_key_value_heads", "n_kv_heads"])?,
    );
    if hp.find(&["is_causal"]) == Some(&Value::Bool(false)) {
        keys.set("attention.causal", false);
    }
    rope::write_keys(hp, keys)?;
    keys.set_some(
        "attention.layer_norm_rms_epsilon",
        hp.opt_f32(&["rms_norm_eps", "norm_eps"])?,
    );
    keys.set_some(
        "attention.layer_norm_epsilon",
        hp.opt_f32(&["layer_norm_eps", "layer_norm_epsilon", "norm_epsilon"])?,
    );
    keys.set_some(
        "expert_count",
        hp.opt_u32(&["num_local_experts", "num_experts", "n_routed_experts"])?,
    );
    keys.set_some(
        "expert_used_count",
        hp.opt_u32(&["num_experts_per_tok", "num_experts_per_token", "top_k_experts"])?,
    );
    keys.set_some("expert_group_count", hp.opt_u32(&["n_group"])?);
    keys.set_some("expert_group_used_count", hp.opt_u32(&["topk_group"])?);
    if let Some(function) = hp.opt_str(&[
        "score_function",
        "scoring_func",
        "score_func",
        "moe_router_activation",
        "moe_router_activation_func",
        "expert_selection_fn",
    ]) {
        let id: u32 = match function {
            "softmax" => 1,
            "sigmoid" => 2,
            "sqrtsoftplus" => 4,
            other => {
                return Err(hp.error(format!(
                    "expected a known score function of experts, found {other:?}"
                )));
            }
        };
        keys.set("expert_gating_func", id);
    }
    if let Some(dim) = hp.opt_u32(&["head_dim"])? {
        keys.set("attention.key_length", dim);
        keys.set("attention.value_length", dim);
    }
    keys.set_file_type();
    Ok(())
}

/// Width of the feed-forward layers: one number, or one for each block.
fn width(hp: &Hparams) -> Result<Option<gguf::Value>> {
    let names = [
        "prefix_dense_intermediate_size",
        "dense_intermediate_size",
        "intermediate_size",
        "n_inner",
        "hidden_dim",
    ];
    let Some(value @ Value::Array(_)) = hp.find(&names) else {
        return Ok(hp.opt_u32(&names)?.map(gguf::Value::U32));
    };
    let each = list(hp, "intermediate_size", value)?.iter();
    let each = each.map(|n| hp.to_u32("intermediate_size", n));
    Ok(Some(numbers(each.collect::<Result<_>>()?)))
}

/// A list of one entry for each block.
pub(in crate::arch) fn list<'v>(hp: &Hparams, key: &str, value: &'v Value) -> Result<&'v Vec<Value>> {
    let blocks = hp.block_count() as usize;
    value
        .as_array()
        .filter(|list| list.len() == blocks)
        .ok_or_else(|| {
            hp.error(format!(
                "{key}: expected a list of one entry for each of the {blocks} blocks (num_hidden_layers), found another"
            ))
        })
}

/// Which blocks see a window, as `layer_types` says of each.
pub(in crate::arch) fn windows(hp: &Hparams) -> Result<Vec<bool>> {
    let types = hp.find(&["layer_types"]).unwrap_or(&Value::Null);
    list(hp, "layer_types", types)?
        .iter()
        .map(|kind| match kind.as_str() {
            Some("sliding_attention") => Ok(true),
            Some("full_attention") => Ok(false),
            _ => Err(hp.error(format!(
                "layer_types: found {kind}, expected \"sliding_attention\" or \"full_attention\""
            ))),
        })
        .collect()
}

/// A key of one number for each block.
pub(in crate::arch) fn numbers(list: Vec<u32>) -> gguf::Value {
    gguf::Value::Array(gguf::Array::I32(
        list.into_iter()
            .map(|n| i32::try_from(n).unwrap_or(i32::MAX))
            .collect(),
    ))
}

/// Modes of sentence-transformers' pooling, and llama.cpp's numbers of those that it has.
const POOLING: [(&str, Option<u32>); 6] = [
    ("pooling_mode_mean_tokens", Some(1)),
    ("pooling_mode_cls_token", Some(2)),
    ("pooling_mode_lasttoken", Some(3)),
    ("pooling_mode_max_tokens", None),
    ("pooling_mode_mean_sqrt_len_tokens", None),
    ("pooling_mode_weightedmean_tokens", None),
];

/// `{arch}.pooling_type` of an embedding model, from the sentence-transformers files beside it.
pub(in crate::arch) fn pooling(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    let modules = keys.dir.join("modules.json");
    if !modules.is_file() {
        return Ok(());
    }
    let modules = crate::json::read(&modules)?;
    let is_pooling = |m: &&Value| m["type"].as_str().is_some_and(|t| t.ends_with("Pooling"));
    let Some(folder) = modules
        .as_array()
        .and_then(|m| m.iter().find(is_pooling))
        .and_then(|m| m["path"].as_str())
    else {
        return Ok(());
    };
    let inside = Path::new(folder)
        .components()
        .all(|c| matches!(c, std::path::Component::Normal(_)));
    if !inside {
        return Err(hp.error(format!(
            "modules.json: expected a folder of this directory, found {folder:?}"
        )));
    }
    let pooling = crate::json::read(&keys.dir.join(folder).join("config.json"))?;
    let on = |key: &str| pooling[key].as_bool() == Some(true);
    let modes: Vec<&str> = POOLING
        .iter()
        .map(|(mode, _)| *mode)
        .filter(|mode| on(mode))
        .collect();
    let mode = match modes[..] {
        [] => pooling["pooling_mode"].as_str().unwrap_or(""),
        [mode] => mode,
        // Several are concatenated.
        _ => "",
    };
    let known = POOLING.iter().find(|(key, _)| {
        *key == mode
            || key.strip_prefix("pooling_mode_").is_some_and(|k| {
                k.strip_suffix("_tokens")
                    .or(k.strip_suffix("_token"))
                    .unwrap_or(k)
                    == mode
            })
    });
    let Some(id) = known.and_then(|(_, id)| *id) else {
        let found = if modes.is_empty() {
            mode.to_owned()
        } else {
            modes.join(", ")
        };
        return Err(hp.error(format!(
            "modules.json: expected mean, cls or last-token pooling, found {found:?}"
        )));
    };
    keys.set("pooling_type", id);
    Ok(())
}
