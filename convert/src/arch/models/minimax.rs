//! MiniMax-Text-01 and MiniMax-M1: linear attention in seven layers of eight; MiniMax-M3: attention to chosen blocks.

use gguf::{Array, TensorType, Value as GgufValue};
use serde_json::Value;

use crate::Result;
use crate::arch::rules::common;
use crate::arch::rules::experts::{BLOCK_SPARSE_EXPERTS, SCORE_BIAS};
use crate::arch::rules::names::{DECODER, HEAD_NORMS_ABOUT_ONE, LAYER, NORMS_ABOUT_ONE, Rule, Transform};
use crate::arch::{Activation, Architecture, Fixed, Graph, Hooks, Hparams, Keys, ModelType, PLAIN, class};
use crate::tokenizer::{VocabKind, VocabRequest, VocabStep};

pub(super) static MINIMAX01: Architecture = Architecture {
    gguf: "minimax-01",
    classes: &[class("MiniMaxText01ForCausalLM"), class("MiniMaxM1ForCausalLM")],
    rules: &[OWN, BLOCK_SPARSE_EXPERTS, DECODER],
    hyperparameters,
    vocabulary: |_| VocabRequest::new(&[VocabKind::Bpe]).and([VocabStep::ChatTemplateOfFile]),
    model_types: &[&MINIMAX_TYPE],
    graph: Graph::SILU.fixing(&[("postnorm", Fixed::Is(true))]),
    ..PLAIN
};

const OWN: &[Rule] = &[
    LAYER.copy("self_attn.qkv_proj", "attn_qkv"),
    LAYER.copy("self_attn.norm", "attn_norm_2"),
    LAYER.copy("self_attn.output_gate", "attn_gate"),
    LAYER.copy("self_attn.out_proj", "attn_output"),
];

/// Every so many layers the last has softmax attention: llama.cpp takes it for granted.
const INTERVAL: usize = 8;

fn hyperparameters(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    common::text_model(hp, keys)?;
    let suppressed = without_embeddings(hp, keys)?;
    if !suppressed.is_empty() {
        keys.set_tokenizer("suppress_tokens", GgufValue::Array(Array::I32(suppressed)));
    }
    let key = "attn_type_list";
    if let Some(list) = hp.find(&[key]) {
        for (layer, found) in common::list(hp, key, list)?.iter().enumerate() {
            let expected = u32::from((layer + 1).is_multiple_of(INTERVAL));
            if hp.to_u32(key, found)? != expected {
                return Err(hp.error(format!(
                    "{key}: found {found} for layer {layer}, but the graph of minimax-01 has softmax attention in every \
                     {INTERVAL}th layer alone"
                )));
            }
        }
    }
    keys.set("residual_scale", residual_scale(hp)?);
    keys.set("rope.dimension_count", hp.u32(&["rotary_dim"])?);
    Ok(())
}

/// The factor on what a half sees, which is one for all halves, as that on what it makes is 1.
fn residual_scale(hp: &Hparams) -> Result<f32> {
    const HALVES: [[&str; 2]; 3] = [
        ["layernorm_full_attention_alpha", "layernorm_full_attention_beta"],
        [
            "layernorm_linear_attention_alpha",
            "layernorm_linear_attention_beta",
        ],
        ["layernorm_mlp_alpha", "layernorm_mlp_beta"],
    ];
    let scale = hp.f32(&[HALVES[0][0]])?;
    for [alpha, beta] in HALVES {
        for (key, expected) in [(alpha, scale), (beta, 1.0)] {
            let found = hp.f32(&[key])?;
            if found != expected {
                return Err(hp.error(format!(
                    "{key} is {found}, but the graph of minimax-01 computes {expected} for all halves of a layer"
                )));
            }
        }
    }
    Ok(scale)
}

/// Tokens behind those of the tokenizer whose embeddings are zero: they would get in the way of sampling.
fn without_embeddings(hp: &Hparams, keys: &Keys<'_>) -> Result<Vec<i32>> {
    let path = hp.dir().join("tokenizer.json");
    let tokenizer = crate::json::read(&path)?;
    let Some(own) = tokenizer["model"]["vocab"].as_object() else {
        return Err(hp.error(format!(
            "{}: expected a vocabulary (model.vocab), found {}",
            path.display(),
            kind(&tokenizer["model"]["vocab"])
        )));
    };
    let rows = (keys.zero_rows)("model.embed_tokens.weight", own.len() as u64)?;
    Ok(rows
        .into_iter()
        .filter_map(|row| i32::try_from(row).ok())
        .collect())
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "none",
        Value::Array(_) => "a list",
        _ => "something else",
    }
}

pub(super) static MINIMAX_M3: Architecture = Architecture {
    gguf: "minimax-m3",
    classes: &[
        class("MiniMaxM3SparseForCausalLM"),
        class("MiniMaxM3SparseForConditionalGeneration"),
    ],
    rules: &[
        NORMS_ABOUT_ONE,
        HEAD_NORMS_ABOUT_ONE,
        THIRD,
        BLOCK_SPARSE_EXPERTS,
        SCORE_BIAS,
        DECODER,
    ],
    hyperparameters: third_keys,
    hooks: Hooks {
        force: |_, tensor, _| tensor.gguf.contains(".indexer.").then_some(TensorType::F32),
        ..Hooks::NONE
    },
    graph: Graph::with(Activation::Any),
    ..PLAIN
};

/// Norms of indexers, too, are stored as their distance from one.
const THIRD: &[Rule] = &[
    LAYER.rule("self_attn.index_q_norm", "indexer.q_norm", Transform::AddOne),
    LAYER.rule("self_attn.index_k_norm", "indexer.k_norm", Transform::AddOne),
    LAYER.copy("self_attn.index_q_proj", "indexer.q_proj"),
    LAYER.copy("self_attn.index_k_proj", "indexer.k_proj"),
    LAYER.copy("block_sparse_moe.shared_experts.gate_proj", "ffn_gate_shexp"),
    LAYER.copy("block_sparse_moe.shared_experts.up_proj", "ffn_up_shexp"),
    LAYER.copy("block_sparse_moe.shared_experts.down_proj", "ffn_down_shexp"),
];

fn third_keys(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    common::text_model(hp, keys)?;
    keys.set("expert_feed_forward_length", hp.u32(&["intermediate_size"])?);
    keys.set("rope.dimension_count", hp.u32(&["rotary_dim"])?);
    keys.set("expert_shared_count", hp.u32(&["n_shared_experts"])?);
    keys.set("expert_weights_scale", hp.f32(&["routed_scaling_factor"])?);
    keys.set("expert_weights_norm", true);
    for (suffix, key) in [
        ("head_count", "sparse_num_index_heads"),
        ("key_length", "sparse_index_dim"),
        ("top_k", "sparse_topk_blocks"),
        ("block_size", "sparse_block_size"),
        ("local_blocks", "sparse_local_block"),
    ] {
        let number = hp.to_u32(key, hp.inside("sparse_attention_config", key)?)?;
        keys.set(&format!("attention.indexer.{suffix}"), number);
    }
    let kinds = hp.find(&["moe_layer_freq"]).and_then(Value::as_array);
    let kinds = kinds.ok_or_else(|| hp.missing(&["moe_layer_freq"]))?;
    let dense = kinds.iter().take_while(|kind| kind.as_u64() == Some(0)).count();
    keys.set(
        "leading_dense_block_count",
        u32::try_from(dense).unwrap_or(u32::MAX),
    );
    Ok(())
}

/// The name that `transformers` has for MiniMax-Text-01 and M1; their publisher has others.
static MINIMAX_TYPE: ModelType = ModelType::of("minimax");
