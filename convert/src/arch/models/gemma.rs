//! Gemma, Gemma 2, Gemma 3 (text) and EmbeddingGemma.

use crate::Result;
use crate::arch::rules::common;
use crate::arch::rules::names::{Rule, Transform, copy, rule};
use crate::arch::{
    Activation, Architecture, Default, Graph, Hooks, Hparams, Keys, ModelType, PLAIN, Rows, bare_class, class,
};
use crate::tokenizer::{VocabKind, VocabRequest};
use serde_json::Value;

pub(super) static GEMMA: Architecture = Architecture {
    gguf: "gemma",
    classes: &[class("GemmaForCausalLM")],
    rules: &[GEMMA_RULES],
    hyperparameters: gemma_keys,
    vocabulary: gemma_vocabulary,
    model_types: &[&GEMMA_TYPE],
    graph: Graph::with(Activation::Gelu),
    ..PLAIN
};

pub(super) static GEMMA2: Architecture = Architecture {
    gguf: "gemma2",
    classes: &[class("Gemma2ForCausalLM")],
    rules: &[GEMMA2_RULES],
    hyperparameters: gemma2_keys,
    vocabulary: gemma2_vocabulary,
    model_types: &[&GEMMA2_TYPE],
    graph: Graph::with(Activation::Gelu),
    ..PLAIN
};

pub(super) static GEMMA3: Architecture = Architecture {
    gguf: "gemma3",
    classes: &[
        class("Gemma3ForCausalLM"),
        class("Gemma3ForConditionalGeneration"),
    ],
    rules: &[GEMMA3_OWN, GEMMA2_RULES],
    hyperparameters: gemma3_keys,
    vocabulary: |_| VocabRequest {
        space_prefix: Some(false),
        ..VocabRequest::new(&[VocabKind::SentencePiece, VocabKind::Bpe])
    },
    model_types: &[&GEMMA3_TEXT_TYPE],
    graph: Graph::with(Activation::Gelu),
    ..PLAIN
};

/// EmbeddingGemma; the layers that sentence-transformers puts behind it only where they are asked for.
pub(super) static GEMMA_EMBEDDING: Architecture = Architecture {
    gguf: "gemma-embedding",
    classes: &[bare_class("Gemma3TextModel")],
    hyperparameters: |hp, keys| {
        gemma3_keys(hp, keys)?;
        keys.set("attention.sliding_window", hp.u32(&["sliding_window"])?);
        for module in keys.dense {
            keys.set(&format!("{}_feat_in", module.gguf), module.inputs);
            keys.set(&format!("{}_feat_out", module.gguf), module.outputs);
        }
        common::pooling(hp, keys)
    },
    rules: &[DENSE, GEMMA3_OWN, GEMMA2_RULES],
    hooks: Hooks {
        dense_modules: &[("2_Dense", "dense_2"), ("3_Dense", "dense_3")],
        ..Hooks::NONE
    },
    ..GEMMA3
};

const DENSE: &[Rule] = &[copy("model.dense_2", "dense_2"), copy("model.dense_3", "dense_3")];

const GEMMA3_OWN: &[Rule] = &[
    rule("model.embed_tokens", "token_embd", Transform::Rows(known_tokens)),
    rule(
        "model.layers.{}.self_attn.q_norm",
        "blk.{}.attn_q_norm",
        Transform::AddOne,
    ),
    rule(
        "model.layers.{}.self_attn.k_norm",
        "blk.{}.attn_k_norm",
        Transform::AddOne,
    ),
];

const GEMMA_RULES: &[Rule] = &[
    copy("model.embed_tokens", "token_embd"),
    rule("model.norm", "output_norm", Transform::AddOne),
    // The embedding is the output matrix; some exports repeat it.
    rule("lm_head", "output", Transform::Skip),
    rule(
        "model.layers.{}.input_layernorm",
        "blk.{}.attn_norm",
        Transform::AddOne,
    ),
    copy("model.layers.{}.self_attn.q_proj", "blk.{}.attn_q"),
    copy("model.layers.{}.self_attn.k_proj", "blk.{}.attn_k"),
    copy("model.layers.{}.self_attn.v_proj", "blk.{}.attn_v"),
    copy("model.layers.{}.self_attn.o_proj", "blk.{}.attn_output"),
    rule(
        "model.layers.{}.post_attention_layernorm",
        "blk.{}.ffn_norm",
        Transform::AddOne,
    ),
    copy("model.layers.{}.mlp.gate_proj", "blk.{}.ffn_gate"),
    copy("model.layers.{}.mlp.up_proj", "blk.{}.ffn_up"),
    copy("model.layers.{}.mlp.down_proj", "blk.{}.ffn_down"),
];

const GEMMA2_RULES: &[Rule] = &[
    copy("model.embed_tokens", "token_embd"),
    rule("model.norm", "output_norm", Transform::AddOne),
    rule("lm_head", "output", Transform::Skip),
    rule(
        "model.layers.{}.input_layernorm",
        "blk.{}.attn_norm",
        Transform::AddOne,
    ),
    copy("model.layers.{}.self_attn.q_proj", "blk.{}.attn_q"),
    copy("model.layers.{}.self_attn.k_proj", "blk.{}.attn_k"),
    copy("model.layers.{}.self_attn.v_proj", "blk.{}.attn_v"),
    copy("model.layers.{}.self_attn.o_proj", "blk.{}.attn_output"),
    rule(
        "model.layers.{}.post_attention_layernorm",
        "blk.{}.post_attention_norm",
        Transform::AddOne,
    ),
    rule(
        "model.layers.{}.pre_feedforward_layernorm",
        "blk.{}.ffn_norm",
        Transform::AddOne,
    ),
    copy("model.layers.{}.mlp.gate_proj", "blk.{}.ffn_gate"),
    copy("model.layers.{}.mlp.up_proj", "blk.{}.ffn_up"),
    copy("model.layers.{}.mlp.down_proj", "blk.{}.ffn_down"),
    rule(
        "model.layers.{}.post_feedforward_layernorm",
        "blk.{}.post_ffw_norm",
        Transform::AddOne,
    ),
];

fn gemma_keys(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    keys.set("context_length", hp.u32(&["max_position_embeddings"])?);
    keys.set("embedding_length", hp.u32(&["hidden_size"])?);
    keys.set("block_count", hp.block_count());
    keys.set("feed_forward_length", hp.u32(&["intermediate_size"])?);
    let (heads, kv_heads) = hp.heads()?;
    keys.set("attention.head_count", heads);
    keys.set("attention.head_count_kv", kv_heads);
    keys.set("attention.layer_norm_rms_epsilon", hp.f32(&["rms_norm_eps"])?);
    let head_dim = hp.u32(&["head_dim"])?;
    keys.set("attention.key_length", head_dim);
    keys.set("attention.value_length", head_dim);
    keys.set_file_type();
    Ok(())
}

fn gemma2_keys(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    gemma_keys(hp, keys)?;
    keys.set("attn_logit_softcapping", hp.f32(&["attn_logit_softcapping"])?);
    keys.set("final_logit_softcapping", hp.f32(&["final_logit_softcapping"])?);
    keys.set("attention.sliding_window", hp.u32(&["sliding_window"])?);
    Ok(())
}

pub(super) fn gemma3_keys(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    common::text_model(hp, keys)?;
    if hp.find(&["attn_logit_softcapping"]).is_some() {
        return Err(hp.error("attn_logit_softcapping is set, which Gemma 3 does not have".to_owned()));
    }
    keys.set_some(
        "final_logit_softcapping",
        hp.opt_f32(&["final_logit_softcapping"])?.filter(|&x| x != 0.0),
    );
    if hp.opt_u32(&["sliding_window_pattern"])? != Some(1) {
        keys.set("attention.sliding_window", hp.u32(&["sliding_window"])?);
    }
    Ok(())
}

/// The rows of tokens that the vocabulary has: the matrix may be padded.
pub(super) fn known_tokens(hp: &Hparams, stored: u64) -> Result<Rows> {
    let listed = match hp.dir().join("tokenizer.model").is_file() {
        true => None,
        false => crate::tokenizer::entries(hp.dir())?,
    };
    let known = match listed {
        Some(listed) => listed,
        None => u64::from(hp.u32(&["vocab_size"])?),
    };
    Ok(Rows::range(0, stored.min(known)))
}

/// Code Gemma's special tokens are written for the whole family.
fn gemma_vocabulary(_: &Value) -> VocabRequest {
    let special = [
        ("prefix", 67),
        ("suffix", 69),
        ("middle", 68),
        ("fsep", 70),
        ("eot", 107),
    ];
    let extra_special = special.map(|(name, id)| (name.to_owned(), id)).to_vec();
    VocabRequest {
        extra_special,
        ..gemma2_vocabulary(&Value::Null)
    }
}

fn gemma2_vocabulary(_: &Value) -> VocabRequest {
    VocabRequest {
        space_prefix: Some(false),
        ..VocabRequest::new(&[VocabKind::SentencePiece])
    }
}

pub(super) static GEMMA_TYPE: ModelType = ModelType {
    name: "gemma",
    defaults: &[
        ("vocab_size", Default::Int(256000)),
        ("hidden_size", Default::Int(3072)),
        ("intermediate_size", Default::Int(24576)),
        ("num_hidden_layers", Default::Int(28)),
        ("num_attention_heads", Default::Int(16)),
        ("num_key_value_heads", Default::Int(16)),
        ("head_dim", Default::Int(256)),
        ("max_position_embeddings", Default::Int(8192)),
        ("rms_norm_eps", Default::Float(1e-6)),
    ],
    ..ModelType::BLANK
};

pub(super) static GEMMA2_TYPE: ModelType = ModelType {
    name: "gemma2",
    defaults: &[
        ("vocab_size", Default::Int(256000)),
        ("hidden_size", Default::Int(2304)),
        ("intermediate_size", Default::Int(9216)),
        ("num_hidden_layers", Default::Int(26)),
        ("num_attention_heads", Default::Int(8)),
        ("num_key_value_heads", Default::Int(4)),
        ("head_dim", Default::Int(256)),
        ("max_position_embeddings", Default::Int(8192)),
        ("rms_norm_eps", Default::Float(1e-6)),
        ("sliding_window", Default::Int(4096)),
        ("final_logit_softcapping", Default::Float(30.0)),
        ("attn_logit_softcapping", Default::Float(50.0)),
    ],
    ..ModelType::BLANK
};

pub(super) static GEMMA3_TEXT_TYPE: ModelType = ModelType {
    name: "gemma3_text",
    defaults: &[
        ("vocab_size", Default::Int(262208)),
        ("hidden_size", Default::Int(2304)),
        ("intermediate_size", Default::Int(9216)),
        ("num_hidden_layers", Default::Int(26)),
        ("num_attention_heads", Default::Int(8)),
        ("num_key_value_heads", Default::Int(4)),
        ("head_dim", Default::Int(256)),
        ("max_position_embeddings", Default::Int(131072)),
        ("rms_norm_eps", Default::Float(1e-6)),
        ("sliding_window", Default::Int(4096)),
        ("query_pre_attn_scalar", Default::Int(256)),
        ("rope_local_base_freq", Default::Float(10000.0)),
        ("final_logit_softcapping", Default::Null),
        ("attn_logit_softcapping", Default::Null),
    ],
    rope_theta: 1000000.0,
    ..ModelType::BLANK
};
