//! GLM-4 (0414), GLM-4.1V and GLM-OCR (the text models) and ChatGLM / GLM-4 (2024).

use crate::Result;
use crate::arch::rules::common;
use crate::arch::rules::experts::PREDICTING;
use crate::arch::rules::hooks::predicting_layers;
use crate::arch::rules::names::{DECODER, LAYER, Rule, Transform, copy, skip};
use crate::arch::{
    Architecture, Hooks, Hparams, Keys, ModelType, PLAIN, Rows, Strided, class, class_without,
};
use crate::tokenizer::{Tiktoken, VocabKind, VocabRequest, VocabStep};

pub(super) static GLM4: Architecture = Architecture {
    gguf: "glm4",
    classes: &[class("Glm4ForCausalLM"), class("Glm4vForConditionalGeneration")],
    rules: &[GLM4_OWN, DECODER],
    hyperparameters: glm4_keys,
    vocabulary: |_| {
        VocabRequest::of([
            VocabStep::Needed(&[
                ("eos", "<|endoftext|>"),
                ("eot", "<|user|>"),
                ("unk", "<|endoftext|>"),
                ("bos", "<|endoftext|>"),
            ]),
            VocabStep::read(&[VocabKind::Bpe]),
        ])
    },
    model_types: &[&GLM4_TYPE, &GLM4V_TYPE],
    ..PLAIN
};

/// GLM-OCR, the text model, with the heads that predict further tokens.
pub(super) static GLM_OCR: Architecture = Architecture {
    classes: &[class("GlmOcrForConditionalGeneration")],
    rules: &[GLM4_OWN, DECODER, PREDICTING],
    hyperparameters: |hp, keys| {
        glm4_keys(hp, keys)?;
        keys.set_some("nextn_predict_layers", hp.opt_u32(&["num_nextn_predict_layers"])?);
        Ok(())
    },
    hooks: Hooks {
        more_blocks: predicting_layers,
        ..Hooks::NONE
    },
    model_types: &[],
    ..GLM4
};

pub(super) static CHATGLM: Architecture = Architecture {
    gguf: "chatglm",
    classes: &[
        class("GlmForCausalLM"),
        class_without("ChatGLMModel", "transformer."),
        class_without("ChatGLMForConditionalGeneration", "transformer."),
    ],
    rules: &[CHATGLM_OWN, DECODER],
    hyperparameters: chatglm_keys,
    vocabulary: |_| {
        VocabRequest::of([
            VocabStep::Needed(&[
                ("eos", "<|endoftext|>"),
                ("eot", "<|user|>"),
                ("unk", "<|endoftext|>"),
            ]),
            VocabStep::read(&[VocabKind::Bpe, VocabKind::Tiktoken(Tiktoken::Glm)]),
        ])
    },
    model_types: &[&GLM_TYPE],
    ..PLAIN
};

const GLM4_OWN: &[Rule] = &[
    LAYER.rule(
        "self_attn.q_proj",
        "attn_q",
        Transform::Rows(|hp, rows| halves(hp, rows, hp.heads()?.0)),
    ),
    LAYER.rule(
        "self_attn.k_proj",
        "attn_k",
        Transform::Rows(|hp, rows| halves(hp, rows, hp.heads()?.1)),
    ),
    LAYER.copy("post_self_attn_layernorm", "post_attention_norm"),
    LAYER.copy("post_mlp_layernorm", "post_ffw_norm"),
    LAYER.copy("mlp.gate_up_proj", "ffn_up"),
];

const CHATGLM_OWN: &[Rule] = &[
    LAYER.copy("mlp.gate_up_proj", "ffn_up"),
    copy("embedding.word_embeddings", "token_embd"),
    copy("encoder.final_layernorm", "output_norm"),
    copy("output_layer", "output"),
    copy("encoder.layers.{}.input_layernorm", "blk.{}.attn_norm"),
    copy(
        "encoder.layers.{}.self_attention.query_key_value",
        "blk.{}.attn_qkv",
    ),
    copy("encoder.layers.{}.self_attention.dense", "blk.{}.attn_output"),
    copy("encoder.layers.{}.post_attention_layernorm", "blk.{}.ffn_norm"),
    copy("encoder.layers.{}.mlp.dense_h_to_4h", "blk.{}.ffn_up"),
    copy("encoder.layers.{}.mlp.dense_4h_to_h", "blk.{}.ffn_down"),
    skip("rotary_pos_emb.inv_freq"),
];

/// The rows of each head in the order that ggml turns the sections of a head in: of the rotated ones first the even,
/// then the odd ones. As they are where the head has no sections.
fn halves(hp: &Hparams, rows: u64, heads: u32) -> Result<Rows> {
    if !hp.rope().contains_key("mrope_section") {
        return Ok(Rows::range(0, rows));
    }
    let (heads, dim) = (u64::from(heads), rows / u64::from(heads));
    let rotated = (dim as f64 * hp.partial_rotary_factor()?.unwrap_or(DEFAULT_FACTOR)) as u64;
    if dim == 0 || dim * heads != rows || rotated > dim || !rotated.is_multiple_of(2) {
        return Err(hp.error(format!(
            "expected an even number of rotated rows in each of {heads} heads, found {rotated} and {rows} rows in all"
        )));
    }
    let head = |first: u64| {
        let pairs = |start: u64| Strided::new(start, &[(rotated / 2, 2)]);
        let rest = (rotated < dim).then(|| Strided::range(first + rotated, dim - rotated));
        [Some(pairs(first)), Some(pairs(first + 1)), rest]
    };
    let runs = (0..heads).flat_map(|h| head(h * dim));
    Ok(Rows(runs.flatten().filter(|s| s.len() > 0).collect()))
}

/// Half of each head is rotated where the configuration does not say.
const DEFAULT_FACTOR: f64 = 0.5;

fn glm4_keys(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    common::text_model(hp, keys)?;
    let factor = hp.partial_rotary_factor()?.unwrap_or(DEFAULT_FACTOR);
    keys.set(
        "rope.dimension_count",
        (factor * f64::from(hp.head_dim()?)) as u32,
    );
    Ok(())
}

fn chatglm_keys(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    let hidden = hp.u32(&["hidden_size", "n_embed"])?;
    let heads = hp.u32(&["n_head", "num_attention_heads"])?;
    let kv = hp.opt_u32(&["multi_query_group_num", "num_key_value_heads"])?;
    keys.set("context_length", hp.opt_u32(&["seq_length"])?.unwrap_or(hidden));
    keys.set("embedding_length", hidden);
    let inner = hp.opt_u32(&["ffn_hidden_size", "intermediate_size"])?;
    keys.set(
        "feed_forward_length",
        match inner {
            Some(inner) => inner,
            None => hp.times(4, &["hidden_size", "n_embed"])?,
        },
    );
    keys.set("block_count", hp.block_count());
    keys.set("attention.head_count", heads);
    keys.set("attention.head_count_kv", kv.unwrap_or(heads));
    keys.set(
        "attention.layer_norm_rms_epsilon",
        hp.opt_f32(&["layernorm_epsilon"])?.unwrap_or(1e-5),
    );
    keys.set_file_type();
    let dim = match hp.opt_u32(&["attention_dim"])? {
        Some(dim) => dim,
        None => hp.even_head_dim()?,
    };
    let factor = hp.partial_rotary_factor()?.unwrap_or(DEFAULT_FACTOR);
    keys.set("rope.dimension_count", (factor * f64::from(dim)) as u32);
    keys.set_tokenizer("add_bos_token", false);
    let ratio = hp.opt_f64(&["rope_ratio"])?.unwrap_or(1.0);
    keys.set("rope.freq_base", (ratio * 10000.0) as f32);
    Ok(())
}

pub(super) static GLM_TYPE: ModelType = ModelType::of("glm");

pub(super) static GLM4_TYPE: ModelType = ModelType::of("glm4");

static GLM4V_TYPE: ModelType = ModelType::of("glm4v_text");
