//! Gemma, Gemma 2, Gemma 3 (text) and EmbeddingGemma.

use crate::Result;
use crate::arch::described::{self, Computed, Described, Group, Key, Kind, Vocabulary, u32_of};
use crate::arch::rules::common;
use crate::arch::rules::names::{HEAD_NORMS_ABOUT_ONE, LAYER, Rule, Transform, copy, rule};
use crate::arch::rules::selection::Selection;
use crate::arch::{
    Activation, Architecture, Graph, Hooks, Hparams, Keys, ModelType, PLAIN, bare_class, class,
};
use crate::tokenizer::VocabKind;

pub(super) static GEMMA: Architecture = Architecture {
    gguf: "gemma",
    classes: &[class("GemmaForCausalLM")],
    rules: &[GEMMA_RULES],
    hyperparameters: |hp, keys| described::write(GEMMA_KEYS, hp, keys),
    vocabulary: |config| GEMMA_VOCABULARY.request(config),
    model_types: &[&GEMMA_TYPE],
    graph: Graph::with(Activation::Gelu),
    ..PLAIN
};

pub(super) static GEMMA2: Architecture = Architecture {
    gguf: "gemma2",
    classes: &[class("Gemma2ForCausalLM")],
    rules: &[GEMMA2_RULES],
    hyperparameters: |hp, keys| {
        check_query_scale(hp, BLOCKS_27B[0])?;
        described::write(GEMMA2_KEYS, hp, keys)
    },
    vocabulary: |config| GEMMA2_VOCABULARY.request(config),
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
    rules: &[PADDED, OWN_HEAD, HEAD_NORMS_ABOUT_ONE, GEMMA2_RULES],
    hyperparameters: |hp, keys| {
        check_query_scale(hp, BLOCKS_27B[1])?;
        gemma3_keys(hp, keys)
    },
    vocabulary: |config| GEMMA3_VOCABULARY.request(config),
    model_types: &[&GEMMA3_TEXT_TYPE],
    graph: Graph::with(Activation::Gelu),
    ..PLAIN
};

/// EmbeddingGemma; the layers that sentence-transformers puts behind it only where they are asked for.
pub(super) static GEMMA_EMBEDDING: Architecture = Architecture {
    gguf: "gemma-embedding",
    classes: &[bare_class("Gemma3TextModel")],
    hyperparameters: |hp, keys| {
        check_query_scale(hp, BLOCKS_27B[1])?;
        gemma3_keys(hp, keys)?;
        keys.set("attention.sliding_window", hp.u32(&["sliding_window"])?);
        for module in keys.dense {
            keys.set(&format!("{}_feat_in", module.gguf), module.inputs);
            keys.set(&format!("{}_feat_out", module.gguf), module.outputs);
        }
        common::pooling(hp, keys)
    },
    rules: &[DENSE, PADDED, OWN_HEAD, HEAD_NORMS_ABOUT_ONE, GEMMA2_RULES],
    hooks: Hooks {
        dense_modules: &[("2_Dense", "dense_2"), ("3_Dense", "dense_3")],
        ..Hooks::NONE
    },
    ..GEMMA3
};

const DENSE: &[Rule] = &[copy("model.dense_2", "dense_2"), copy("model.dense_3", "dense_3")];

/// Embeddings with rows of no token.
const PADDED: &[Rule] = &[rule(
    "model.embed_tokens",
    "token_embd",
    Transform::Selected(Selection::KnownTokens),
)];

/// From Gemma 3 on the graph has a place for an output matrix of the model's own, which trained exports have.
const OWN_HEAD: &[Rule] = &[copy("lm_head", "output")];

const GEMMA_RULES: &[Rule] = &[
    copy("model.embed_tokens", "token_embd"),
    rule("model.norm", "output_norm", Transform::AddOne),
    // The embedding is the output matrix; some exports repeat it.
    rule("lm_head", "output", Transform::Skip),
    LAYER.rule("input_layernorm", "attn_norm", Transform::AddOne),
    LAYER.copy("self_attn.q_proj", "attn_q"),
    LAYER.copy("self_attn.k_proj", "attn_k"),
    LAYER.copy("self_attn.v_proj", "attn_v"),
    LAYER.copy("self_attn.o_proj", "attn_output"),
    LAYER.rule("post_attention_layernorm", "ffn_norm", Transform::AddOne),
    LAYER.copy("mlp.gate_proj", "ffn_gate"),
    LAYER.copy("mlp.up_proj", "ffn_up"),
    LAYER.copy("mlp.down_proj", "ffn_down"),
];

const GEMMA2_RULES: &[Rule] = &[
    copy("model.embed_tokens", "token_embd"),
    rule("model.norm", "output_norm", Transform::AddOne),
    rule("lm_head", "output", Transform::Skip),
    LAYER.rule("input_layernorm", "attn_norm", Transform::AddOne),
    LAYER.copy("self_attn.q_proj", "attn_q"),
    LAYER.copy("self_attn.k_proj", "attn_k"),
    LAYER.copy("self_attn.v_proj", "attn_v"),
    LAYER.copy("self_attn.o_proj", "attn_output"),
    LAYER.rule(
        "post_attention_layernorm",
        "post_attention_norm",
        Transform::AddOne,
    ),
    LAYER.rule("pre_feedforward_layernorm", "ffn_norm", Transform::AddOne),
    LAYER.copy("mlp.gate_proj", "ffn_gate"),
    LAYER.copy("mlp.up_proj", "ffn_up"),
    LAYER.copy("mlp.down_proj", "ffn_down"),
    LAYER.rule("post_feedforward_layernorm", "post_ffw_norm", Transform::AddOne),
];

/// Gemma as data.
pub(super) static DESCRIBED: Described = Described {
    architecture: &GEMMA,
    keys: GEMMA_KEYS,
    vocabulary: &GEMMA_VOCABULARY,
    factors: None,
};

/// Gemma 2 as data.
pub(super) static DESCRIBED2: Described = Described {
    architecture: &GEMMA2,
    keys: GEMMA2_KEYS,
    vocabulary: &GEMMA2_VOCABULARY,
    factors: None,
};

/// Gemma 3 as data.
pub(super) static DESCRIBED3: Described = Described {
    architecture: &GEMMA3,
    keys: GEMMA3_KEYS,
    vocabulary: &GEMMA3_VOCABULARY,
    factors: None,
};

const HEAD_DIM: &[&str] = &["head_dim"];

const GEMMA_KEYS: &[Key] = &[
    u32_of("context_length", &["max_position_embeddings"]),
    u32_of("embedding_length", &["hidden_size"]),
    Key::Computed {
        key: "block_count",
        what: Computed::Blocks,
    },
    u32_of("feed_forward_length", &["intermediate_size"]),
    Key::Computed {
        key: "attention.head_count",
        what: Computed::Heads,
    },
    Key::Computed {
        key: "attention.head_count_kv",
        what: Computed::KvHeads,
    },
    u32_of("attention.layer_norm_rms_epsilon", &["rms_norm_eps"]).of_kind(Kind::F32),
    u32_of("attention.key_length", HEAD_DIM),
    u32_of("attention.value_length", HEAD_DIM),
    Key::Group(Group::FileType),
];

const GEMMA2_KEYS: &[Key] = &{
    let mut keys = [Key::Group(Group::FileType); GEMMA_KEYS.len() + 3];
    let mut at = 0;
    while at < GEMMA_KEYS.len() {
        keys[at] = GEMMA_KEYS[at];
        at += 1;
    }
    keys[at] = u32_of("attn_logit_softcapping", &["attn_logit_softcapping"]).of_kind(Kind::F32);
    keys[at + 1] = u32_of("final_logit_softcapping", &["final_logit_softcapping"]).of_kind(Kind::F32);
    keys[at + 2] = u32_of("attention.sliding_window", &["sliding_window"]);
    keys
};

const GEMMA3_KEYS: &[Key] = &[
    Key::Group(Group::TextModel),
    Key::Refused {
        config: "attn_logit_softcapping",
        because: "Gemma 3 has no such limit",
    },
    Key::Config {
        key: "final_logit_softcapping",
        kind: Kind::F32,
        from: &["final_logit_softcapping"],
        optional: true,
        nonzero: true,
        unless: None,
    },
    Key::Config {
        key: "attention.sliding_window",
        kind: Kind::U32,
        from: &["sliding_window"],
        optional: false,
        nonzero: false,
        unless: Some(("sliding_window_pattern", 1)),
    },
];

/// Blocks of the 27B models of Gemma 2 and 3, whose queries llama.cpp scales by the hidden size shared out among the
/// heads; those of all others by a head's length.
const BLOCKS_27B: [u32; 2] = [46, 62];

/// Compares `query_pre_attn_scalar` with what the graphs have fixed.
fn check_query_scale(hp: &Hparams, blocks_27b: u32) -> Result<()> {
    const KEY: &str = "query_pre_attn_scalar";
    let Some(found) = hp.opt_f64(&[KEY])? else {
        return Ok(());
    };
    let expected = match hp.block_count() == blocks_27b {
        true => hp.f64(&["hidden_size"])? / hp.f64(&["num_attention_heads"])?,
        false => f64::from(hp.head_dim()?),
    };
    if found != expected {
        return Err(hp.error(format!(
            "{KEY} is {found}, but the graph of this architecture has {expected} fixed"
        )));
    }
    Ok(())
}

/// Values that transformers does not complete have the defaults of the first models, as in Gemma 4.
pub(super) fn gemma3_keys(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    let (usual, own) = GEMMA3_KEYS.split_at(1);
    described::write(usual, hp, keys)?;
    let is_absent = |key: &str| !hp.values().contains_key(key);
    if is_absent("max_position_embeddings") {
        keys.set("context_length", 131_072u32);
    }
    if is_absent("num_attention_heads") {
        keys.set("attention.head_count", 8u32);
    }
    if is_absent("rms_norm_eps") {
        keys.set("attention.layer_norm_rms_epsilon", 1e-6f32);
    }
    if is_absent("head_dim") {
        keys.set("attention.key_length", 256u32);
        keys.set("attention.value_length", 256u32);
    }
    let base = format!("{}.rope.freq_base", keys.arch);
    if keys.metadata.get(&base).is_none() {
        keys.set("rope.freq_base", 1e6f32);
    }
    described::write(own, hp, keys)?;
    if is_absent("num_key_value_heads") {
        keys.set("attention.head_count_kv", 4u32);
    }
    Ok(())
}

/// Code Gemma's special tokens are written for the whole family.
static GEMMA_VOCABULARY: Vocabulary = Vocabulary {
    special: &[
        ("prefix", 67),
        ("suffix", 69),
        ("middle", 68),
        ("fsep", 70),
        ("eot", 107),
    ],
    ..GEMMA2_VOCABULARY
};

const GEMMA2_VOCABULARY: Vocabulary = Vocabulary {
    space_prefix: Some(false),
    ..Vocabulary::of(&[VocabKind::SentencePiece])
};

pub(super) static GEMMA3_VOCABULARY: Vocabulary = Vocabulary {
    space_prefix: Some(false),
    ..Vocabulary::of(&[VocabKind::SentencePiece, VocabKind::Bpe])
};

pub(super) static GEMMA_TYPE: ModelType = ModelType::of("gemma");

pub(super) static GEMMA2_TYPE: ModelType = ModelType::of("gemma2");

pub(super) static GEMMA3_TEXT_TYPE: ModelType = ModelType::of("gemma3_text");

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use serde_json::json;

    use super::*;

    #[test]
    fn queries_are_scaled_as_the_graph_does() {
        let checked = |blocks: u32, scale: f64| {
            let config = json!({"num_hidden_layers": blocks, "hidden_size": 4608, "num_attention_heads": 32,
                "head_dim": 128, "query_pre_attn_scalar": scale});
            let hp =
                Hparams::new(PathBuf::from("config.json"), config.as_object().cloned().unwrap()).unwrap();
            check_query_scale(&hp, BLOCKS_27B[0]).map_err(|e| e.to_string())
        };
        assert_eq!(checked(42, 128.0), Ok(()));
        // Gemma 2 27B.
        assert_eq!(checked(46, 144.0), Ok(()));
        for (blocks, scale, expected) in [(42, 256.0, "128"), (46, 128.0, "144")] {
            let error = checked(blocks, scale).unwrap_err();
            let words = [
                format!("query_pre_attn_scalar is {scale}"),
                format!("has {expected} fixed"),
            ];
            assert!(words.iter().all(|word| error.contains(word)), "{error}");
        }
    }
}
