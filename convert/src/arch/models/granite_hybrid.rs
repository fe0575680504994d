//! Granite's hybrids of Mamba-2 with attention, and Bamba.

use gguf::{Array, Value as GgufValue};
use serde_json::{Map, Value};

use super::granite::{EXPERTS, granite_moe_keys};
use super::mamba::{as_column, grouped, negative_exp, squeezed};
use super::moe::rotated;
use crate::Result;
use crate::arch::rules::names::{DECODER, LAYER, PERMUTED, Rule, Transform, copy};
use crate::arch::rules::rows::{self, Rows, Strided};
use crate::arch::{Architecture, Hooks, Hparams, Keys, ModelType, PLAIN, class};
use crate::tokenizer::{VocabKind, VocabRequest, VocabStep};

pub(super) static GRANITE_HYBRID: Architecture = Architecture {
    gguf: "granitehybrid",
    classes: &[class("GraniteMoeHybridForCausalLM"), class("BambaForCausalLM")],
    rules: &[MAMBA2, PERMUTED, DECODER, FEED_FORWARD, EXPERTS],
    hyperparameters: hybrid_keys,
    vocabulary: hybrid_vocabulary,
    hooks: Hooks {
        variant,
        ..WITHOUT_HEAD_DIM
    },
    model_types: &[&GRANITEMOEHYBRID_TYPE, &BAMBA_TYPE],
    ..PLAIN
};

/// Without experts, what all tokens go through is an ordinary feed-forward layer.
static DENSE_HYBRID: Architecture = Architecture {
    gguf: "granitehybrid",
    classes: &[],
    rules: &[MAMBA2, PERMUTED, DECODER, FEED_FORWARD, DENSE],
    hyperparameters: hybrid_keys,
    vocabulary: hybrid_vocabulary,
    hooks: WITHOUT_HEAD_DIM,
    ..PLAIN
};

/// Bamba, whose heads rotate in part.
static BAMBA: Architecture = Architecture {
    gguf: "granitehybrid",
    classes: &[],
    rules: &[MAMBA2, PARTLY_PERMUTED, DECODER, FEED_FORWARD, DENSE],
    hyperparameters: hybrid_keys,
    vocabulary: hybrid_vocabulary,
    hooks: WITHOUT_HEAD_DIM,
    ..PLAIN
};

/// A hybrid's class whose layers all have attention.
static ATTENTION_MOE: Architecture = Architecture {
    gguf: "granitemoe",
    classes: &[],
    rules: &[PERMUTED, DECODER, EXPERTS],
    hyperparameters: hybrid_keys,
    vocabulary: hybrid_vocabulary,
    hooks: WITHOUT_HEAD_DIM,
    ..PLAIN
};

/// See [`ATTENTION_MOE`].
static ATTENTION_DENSE: Architecture = Architecture {
    gguf: "granite",
    classes: &[],
    rules: &[PERMUTED, DECODER, DENSE],
    hyperparameters: hybrid_keys,
    vocabulary: hybrid_vocabulary,
    hooks: WITHOUT_HEAD_DIM,
    ..PLAIN
};

const WITHOUT_HEAD_DIM: Hooks = Hooks {
    prepare: without_head_dim,
    ..Hooks::NONE
};

/// Heads always share the hidden size evenly.
fn without_head_dim(config: &mut Map<String, Value>) {
    config.shift_remove("head_dim");
}

/// As [`PERMUTED`], of the rotated rows of a head alone: the graph rotates neighbours among the first
/// `rope.dimension_count`. The stock converter permutes whole heads, of which llama.cpp then rotates other pairs than
/// the model.
const PARTLY_PERMUTED: &[Rule] = &[
    LAYER.rule("self_attn.q_proj", "attn_q", Transform::Rows(partly_interleaved)),
    LAYER.rule("self_attn.k_proj", "attn_k", Transform::Rows(partly_interleaved)),
];

/// The rotated rows of each head interleaved, the others behind them as they are.
fn partly_interleaved(hp: &Hparams, rows: u64) -> Result<Rows> {
    let (head, rotated) = (u64::from(hp.even_head_dim()?), u64::from(bamba_rotated(hp)?));
    if head == 0 || !rows.is_multiple_of(head) || rotated > head || !rotated.is_multiple_of(2) {
        return Err(hp.error(format!(
            "expected an even number of rotated rows in each head of {head}, found {rotated} and {rows} rows in all"
        )));
    }
    let of_head = |first: u64| {
        let pairs = Strided::new(first, &[(rotated / 2, 1), (2, rotated / 2)]);
        [pairs, Strided::range(first + rotated, head - rotated)]
    };
    let runs = (0..rows / head).flat_map(|h| of_head(h * head));
    Ok(Rows(runs.filter(|run| run.len() > 0).collect()))
}

/// Rotated elements of a head of Bamba: half of them where the configuration does not say, whatever `attn_rotary_emb`
/// of older configurations.
fn bamba_rotated(hp: &Hparams) -> Result<u32> {
    rotated(hp, 0.5)
}

fn is_bamba(hp: &Hparams) -> bool {
    hp.strings("architectures")
        .is_some_and(|a| a.contains(&"BambaForCausalLM"))
}

const DENSE: &[Rule] = &[
    LAYER.rule(
        "shared_mlp.input_linear",
        "ffn_gate",
        Transform::Rows(rows::first_half),
    ),
    LAYER.rule(
        "shared_mlp.input_linear",
        "ffn_up",
        Transform::Rows(rows::second_half),
    ),
    LAYER.copy("shared_mlp.output_linear", "ffn_down"),
];

/// A feed-forward layer as Bamba and its relatives name it.
pub(super) const FEED_FORWARD: &[Rule] = &[
    copy("model.final_layernorm", "output_norm"),
    LAYER.copy("pre_ff_layernorm", "ffn_norm"),
    LAYER.copy("feed_forward.gate_proj", "ffn_gate"),
    LAYER.copy("feed_forward.up_proj", "ffn_up"),
    LAYER.copy("feed_forward.down_proj", "ffn_down"),
];

/// Mamba-2 in the layers of a hybrid.
pub(super) const MAMBA2: &[Rule] = &[
    LAYER.copy("mamba.in_proj", "ssm_in"),
    LAYER.copy("mamba.out_proj", "ssm_out"),
    LAYER.exact_with(
        "mamba.conv1d.weight",
        "ssm_conv1d.weight",
        Transform::View(squeezed, None),
    ),
    LAYER.exact("mamba.conv1d.bias", "ssm_conv1d.bias"),
    LAYER.exact_with(
        "mamba.A_log",
        "ssm_a",
        Transform::View(as_column, Some(negative_exp)),
    ),
    LAYER.exact_with("mamba.D", "ssm_d", Transform::View(as_column, None)),
    LAYER.exact("mamba.dt_bias", "ssm_dt.bias"),
    LAYER.exact_with(
        "mamba.norm.weight",
        "ssm_norm.weight",
        Transform::View(|hp, v| Ok(grouped(v, hp.u32(&["mamba_n_groups"])?)), None),
    ),
];

fn hybrid_keys(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    granite_moe_keys(hp, keys)?;
    keys.set("ssm.conv_kernel", hp.u32(&["conv_kernel", "mamba_d_conv"])?);
    keys.set("ssm.state_size", hp.u32(&["state_size", "mamba_d_state"])?);
    keys.set("ssm.group_count", hp.u32(&["mamba_n_groups"])?);
    let (expand, hidden) = (hp.u32(&["mamba_expand"])?, hp.u32(&["hidden_size"])?);
    let inner = expand.checked_mul(hidden).ok_or_else(|| {
        hp.error(format!(
            "mamba_expand: expected a factor whose product fits 32 bits, found {expand}"
        ))
    })?;
    keys.set("ssm.inner_size", inner);
    keys.set("ssm.time_step_rank", hp.u32(&["mamba_n_heads"])?);
    let rotated = match is_bamba(hp) {
        true => Some(bamba_rotated(hp)?),
        false => hp.opt_u32(&["attn_rotary_emb"])?.filter(|&n| n != 0),
    };
    keys.set_some("rope.dimension_count", rotated);
    let attention = attention_layers(hp)?;
    let (_, kv_heads) = hp.heads()?;
    keys.set(
        "attention.head_count_kv",
        kv_heads_of_layers(&attention, kv_heads),
    );
    let rotates = is_bamba(hp) || attention.iter().all(|&a| a);
    keys.set("rope.scaling.finetuned", rotates);
    if !rotates {
        keys.set("context_length", 1u32 << 20);
    }
    Ok(())
}

/// Key-value heads of every layer, none for layers without attention.
pub(super) fn kv_heads_of_layers(attention: &[bool], heads: u32) -> GgufValue {
    let heads = i32::try_from(heads).unwrap_or(i32::MAX);
    let of_layer = |&has: &bool| if has { heads } else { 0 };
    GgufValue::Array(Array::I32(attention.iter().map(of_layer).collect()))
}

/// Layers with attention: by their types, by a list of numbers, or by a period.
fn attention_layers(hp: &Hparams) -> Result<Vec<bool>> {
    let layers = hp.block_count();
    if let Some(types) = hp.strings("layer_types").filter(|t| !t.is_empty()) {
        return Ok((0..layers as usize)
            .map(|i| types.get(i) == Some(&"attention"))
            .collect());
    }
    if let Some(list) = hp.find(&["attn_layer_indices"]).and_then(Value::as_array)
        && !list.is_empty()
    {
        return Ok((0..layers).map(|i| list.contains(&Value::from(i))).collect());
    }
    let period = hp.u32(&["attn_layer_period"])?;
    let offset = hp.u32(&["attn_layer_offset"])?;
    if period == 0 {
        return Err(hp.error("attn_layer_period: expected at least 1, found 0".to_owned()));
    }
    Ok((0..layers).map(|i| i % period == offset).collect())
}

fn variant(hp: &Hparams) -> Option<&'static Architecture> {
    let experts = |key: &str| hp.opt_u32(&[key]).ok().flatten().is_some_and(|n| n > 0);
    let attention_only = attention_layers(hp).is_ok_and(|a| a.iter().all(|&a| a));
    match (attention_only, experts("num_local_experts")) {
        (false, true) => None,
        (false, false) if is_bamba(hp) => Some(&BAMBA),
        (false, false) => Some(&DENSE_HYBRID),
        (true, true) => Some(&ATTENTION_MOE),
        (true, false) => Some(&ATTENTION_DENSE),
    }
}

fn hybrid_vocabulary(config: &Value) -> VocabRequest {
    let types = config["layer_types"].as_array();
    let attention_only = types.is_some_and(|t| t.iter().all(|t| t == "attention"));
    VocabRequest::of([
        VocabStep::Multiple(if attention_only { 1 } else { 8 }),
        VocabStep::read(&[VocabKind::SentencePiece, VocabKind::Bpe]),
    ])
}

/// The stock converter reads the configurations of these classes without transformers, so that no base of a rotation is
/// written where none is stored; llama.cpp has the same one for it.
const BASE_AS_STORED: ModelType = ModelType::UNROTATED;

pub(super) static GRANITEMOEHYBRID_TYPE: ModelType = ModelType {
    name: "granitemoehybrid",
    ..BASE_AS_STORED
};

pub(super) static BAMBA_TYPE: ModelType = ModelType {
    name: "bamba",
    ..BASE_AS_STORED
};

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use serde_json::json;

    use super::*;

    /// Heads of eight rows, of which all or the first four are rotated.
    #[test]
    fn the_rotated_rows_of_a_head_are_interleaved() {
        let order = |config: Value| {
            let values = config.as_object().unwrap().clone();
            let hp = Hparams::new(PathBuf::from("config.json"), values).unwrap();
            let rows = partly_interleaved(&hp, 16).map_err(|e| e.to_string())?;
            let run = |s: &Strided| (0..s.len()).map(|at| s.locate(at).0).collect::<Vec<_>>();
            Ok::<_, String>(rows.0.iter().flat_map(run).collect::<Vec<_>>())
        };
        let config = |factor: f64| {
            json!({"model_type": "bamba", "num_hidden_layers": 1, "hidden_size": 16,
                "num_attention_heads": 2, "partial_rotary_factor": factor})
        };
        let head = [0, 4, 1, 5, 2, 6, 3, 7];
        let both: Vec<u64> = head.into_iter().chain(head.map(|row| row + 8)).collect();
        assert_eq!(order(config(1.0)).unwrap(), both);
        let expected = [0, 2, 1, 3, 4, 5, 6, 7, 8, 10, 9, 11, 12, 13, 14, 15];
        assert_eq!(order(config(0.5)).unwrap(), expected);
        let error = order(config(0.375)).unwrap_err();
        assert!(
            error.contains("expected an even number of rotated rows"),
            "{error}"
        );
    }
}
