//! DeepSeek: mixtures of experts, with latent attention in V2, V3 and what is built like them (Kimi-VL, GLM-4.7-Flash,
//! GLM-5).

use serde_json::{Map, Value};

use super::moe;
use crate::Result;
use crate::arch::rules::common;
use crate::arch::rules::experts::{EXPERTS, PREDICTING, SCORE_BIAS, SHARED_EXPERTS};
use crate::arch::rules::hooks::{predicting_layers, without_further_blocks, without_tied_output};
use crate::arch::rules::names::{DECODER, LAYER, PERMUTED, Rule, Transform};
use crate::arch::{Architecture, Fixed, Graph, Hooks, Hparams, Keys, ModelType, PLAIN, View, class};
use crate::tokenizer::{Tiktoken, VocabKind, VocabRequest};

/// DeepSeek-MoE: Llama's attention.
pub(super) static DEEPSEEK: Architecture = Architecture {
    gguf: "deepseek",
    classes: &[class("DeepseekForCausalLM")],
    rules: &[PERMUTED, DECODER, EXPERTS, SHARED_EXPERTS],
    hyperparameters: |hp, keys| {
        common::text_model(hp, keys)?;
        keys.set("rope.dimension_count", hp.head_dim()?);
        keys.set("rope.scaling.type", "none");
        keys.set("leading_dense_block_count", hp.u32(&["first_k_dense_replace"])?);
        keys.set("vocab_size", hp.u32(&["vocab_size"])?);
        keys.set("expert_feed_forward_length", hp.u32(&["moe_intermediate_size"])?);
        keys.set("expert_weights_scale", 1.0f32);
        keys.set("expert_count", hp.u32(&["n_routed_experts"])?);
        keys.set("expert_shared_count", hp.u32(&["n_shared_experts"])?);
        Ok(())
    },
    vocabulary: |_| VocabRequest::qwen2(),
    ..PLAIN
};

pub(super) static DEEPSEEK2: Architecture = Architecture {
    gguf: "deepseek2",
    classes: &[
        class("DeepseekV2ForCausalLM"),
        class("DeepseekV3ForCausalLM"),
        class("KimiVLForConditionalGeneration"),
        class("KimiK25ForConditionalGeneration"),
        class("YoutuForCausalLM"),
        class("YoutuVLForConditionalGeneration"),
    ],
    rules: &[LATENT, DECODER, EXPERTS, SHARED_EXPERTS, SCORE_BIAS],
    hyperparameters: latent_keys,
    vocabulary: |_| VocabRequest::new(&[VocabKind::Bpe, VocabKind::Tiktoken(Tiktoken::Kimi)]),
    hooks: Hooks {
        prepare: |config| {
            norm_epsilon(config);
            head_dim(config);
        },
        canonical: of_the_model_proper,
        unadapted: UNADAPTED,
        ..Hooks::NONE
    },
    model_types: &[&DEEPSEEK_V2_TYPE, &DEEPSEEK_V3_TYPE],
    graph: Graph::SILU.fixing(&[("rope_interleave", Fixed::Is(true))]),
    ..PLAIN
};

/// Mistral Small 4: DeepSeek's attention and experts, these in one tensor a layer with gates before the rest.
pub(super) static MISTRAL4: Architecture = Architecture {
    gguf: "mistral4",
    classes: &[],
    rules: &[
        LATENT,
        FUSED_EXPERTS,
        DECODER,
        EXPERTS,
        SHARED_EXPERTS,
        SCORE_BIAS,
    ],
    hooks: Hooks {
        canonical: |hp, name| without_tied_output(hp, name),
        unadapted: UNADAPTED,
        ..Hooks::NONE
    },
    vocabulary: |_| VocabRequest::new(&[VocabKind::Bpe]),
    model_types: &[],
    ..DEEPSEEK2
};

const FUSED_EXPERTS: &[Rule] = &[
    LAYER.exact("mlp.experts.gate_up_proj", "ffn_gate_up_exps.weight"),
    LAYER.exact("mlp.experts.down_proj", "ffn_down_exps.weight"),
];

/// DeepSeek-OCR, the text model: a mixture of experts behind plain attention.
pub(super) static DEEPSEEK2_OCR: Architecture = Architecture {
    gguf: "deepseek2-ocr",
    classes: &[
        class("DeepseekOCRForCausalLM"),
        class("DeepseekOCR2ForCausalLM"),
        class("UnlimitedOCRForCausalLM"),
    ],
    rules: &[DECODER, EXPERTS, SHARED_EXPERTS, SCORE_BIAS],
    early: |_, keys| {
        keys.set_global(
            "tokenizer.chat_template",
            "{% for m in messages %}{{m['content']}}{% endfor %}",
        );
        Ok(())
    },
    hyperparameters: ocr_keys,
    model_types: &[],
    ..DEEPSEEK2
};

/// GLM-4.7-Flash.
pub(super) static GLM4_MOE_LITE: Architecture = Architecture {
    classes: &[class("Glm4MoeLiteForCausalLM")],
    rules: &[LATENT, DECODER, EXPERTS, SHARED_EXPERTS, SCORE_BIAS, PREDICTING],
    hyperparameters: |hp, keys| {
        latent_keys(hp, keys)?;
        let predicting = hp.opt_u32(&["num_nextn_predict_layers"])?;
        keys.set_some("nextn_predict_layers", predicting.filter(|&n| n > 0));
        Ok(())
    },
    vocabulary: moe::glm_vocabulary,
    hooks: Hooks {
        prepare: norm_epsilon,
        canonical: |hp, name| without_tied_output(hp, name),
        more_blocks: predicting_layers,
        unadapted: UNADAPTED,
        ..Hooks::NONE
    },
    model_types: &[],
    ..DEEPSEEK2
};

/// DeepSeek-V3.2: an indexer chooses the keys that attention sees.
pub(super) static DEEPSEEK32: Architecture = Architecture {
    gguf: "deepseek32",
    classes: &[class("DeepseekV32ForCausalLM")],
    rules: &[
        LATENT,
        DECODER,
        EXPERTS,
        SHARED_EXPERTS,
        SCORE_BIAS,
        PREDICTING,
        INDEXER,
    ],
    hyperparameters: |hp, keys| {
        latent_keys(hp, keys)?;
        keys.set_some("nextn_predict_layers", hp.opt_u32(&["num_nextn_predict_layers"])?);
        indexer_keys(hp, keys)
    },
    vocabulary: DEEPSEEK2.vocabulary,
    ..GLM4_MOE_LITE
};

/// GLM-5.
pub(super) static GLM_DSA: Architecture = Architecture {
    gguf: "glm-dsa",
    classes: &[class("GlmMoeDsaForCausalLM")],
    hyperparameters: |hp, keys| {
        latent_keys(hp, keys)?;
        let factor = hp.partial_rotary_factor()?.unwrap_or(1.0);
        let rotated = f64::from(hp.u32(&["qk_rope_head_dim"])?) * factor;
        keys.set("rope.dimension_count", rotated as u32);
        keys.set_some("nextn_predict_layers", hp.opt_u32(&["num_nextn_predict_layers"])?);
        indexer_keys(hp, keys)?;
        if let Some(types) = hp.strings("indexer_types") {
            let full: Vec<bool> = types.into_iter().map(|t| t == "full").collect();
            keys.set(
                "attention.indexer.types",
                gguf::Value::Array(gguf::Array::Bool(full)),
            );
        }
        Ok(())
    },
    vocabulary: moe::glm_vocabulary,
    ..DEEPSEEK32
};

/// See [`Hooks::unadapted`].
pub(super) const UNADAPTED: &[&str] = &[
    "attn_q",
    "attn_q_a",
    "attn_q_b",
    "attn_kv_a_mqa",
    "attn_k",
    "proj",
    "output",
];

/// Indexer: the choice of the keys that a query sees.
pub(super) const INDEXER: &[Rule] = &[
    LAYER.copy("self_attn.indexer.wq_b", "indexer.attn_q_b"),
    LAYER.copy("self_attn.indexer.wk", "indexer.attn_k"),
    LAYER.copy("self_attn.indexer.k_norm", "indexer.k_norm"),
    LAYER.copy("self_attn.indexer.weights_proj", "indexer.proj"),
];

pub(super) fn indexer_keys(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    keys.set("attention.indexer.head_count", hp.u32(&["index_n_heads"])?);
    keys.set("attention.indexer.key_length", hp.u32(&["index_head_dim"])?);
    keys.set("attention.indexer.top_k", hp.u32(&["index_topk"])?);
    Ok(())
}

/// Attention whose keys and values are made from a short vector.
pub(super) const LATENT: &[Rule] = &[
    LAYER.copy("self_attn.q_a_proj", "attn_q_a"),
    LAYER.copy("self_attn.q_a_layernorm", "attn_q_a_norm"),
    LAYER.copy("self_attn.q_b_proj", "attn_q_b"),
    LAYER.copy("self_attn.kv_a_proj_with_mqa", "attn_kv_a_mqa"),
    LAYER.copy("self_attn.kv_a_layernorm", "attn_kv_a_norm"),
    LAYER.exact_with(
        "self_attn.kv_b_proj.weight",
        "attn_k_b.weight",
        Transform::View(key_part, None),
    ),
    LAYER.exact_with(
        "self_attn.kv_b_proj.weight",
        "attn_v_b.weight",
        Transform::View(value_part, None),
    ),
];

/// Of each head's rows the first, which make its key, transposed: they multiply the query instead.
pub(super) fn key_part(hp: &Hparams, view: View) -> Result<Option<View>> {
    let (heads, key) = (hp.heads()?.1, hp.u32(&["qk_nope_head_dim"])?);
    let view = by_head(hp, view, heads)?.and_then(|v| v.cut(1, 0, key.into())?.swap(1, 2));
    Ok(view)
}

/// Of each head's rows the last, which make its value.
pub(super) fn value_part(hp: &Hparams, view: View) -> Result<Option<View>> {
    let (heads, key) = (hp.heads()?.1, hp.u32(&["qk_nope_head_dim"])?);
    let value = hp.u32(&["v_head_dim"])?;
    Ok(by_head(hp, view, heads)?.and_then(|v| v.cut(1, key.into(), value.into())))
}

fn by_head(hp: &Hparams, view: View, heads: u32) -> Result<Option<View>> {
    let head = u64::from(hp.u32(&["qk_nope_head_dim"])?) + u64::from(hp.u32(&["v_head_dim"])?);
    let view = view.split(0, heads.into());
    Ok(view.filter(|v| v.shape().len() == 3 && v.shape()[1] == head))
}

/// The model's own default, which transformers has for some of its classes alone.
fn norm_epsilon(config: &mut Map<String, Value>) {
    config.entry("rms_norm_eps").or_insert(1e-6.into());
}

/// `transformers` calls the rotated part of a head its dimension: of the second version whatever the configuration says.
fn head_dim(config: &mut Map<String, Value>) {
    let derived = match config.get("model_type").and_then(Value::as_str) {
        Some("deepseek_v2") => true,
        Some("deepseek_v3") => !config.contains_key("head_dim"),
        _ => false,
    };
    if derived && let Some(rotated) = config.get("qk_rope_head_dim").cloned() {
        config.insert("head_dim".to_owned(), rotated);
    }
}

/// Without the blocks that predict further tokens, and without an output matrix that is the embedding.
pub(super) fn of_the_model_proper(hp: &Hparams, name: String) -> Option<String> {
    without_further_blocks(hp, without_tied_output(hp, name)?)
}

fn ocr_keys(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    common::text_model(hp, keys)?;
    dense_first(hp, keys)?;
    keys.set("vocab_size", hp.u32(&["vocab_size"])?);
    keys.set_some("attention.q_lora_rank", hp.opt_u32(&["q_lora_rank"])?);
    experts_keys(hp, keys)?;
    keys.set("rope.dimension_count", hp.u32(&["qk_rope_head_dim"])?);
    let window = [
        hp.opt_u32(&["sliding_window_size"])?,
        hp.opt_u32(&["sliding_window"])?,
    ];
    let window = window.into_iter().flatten().find(|&n| n > 0);
    keys.set_some("attention.sliding_window", window);
    Ok(())
}

/// Number of leading layers without experts.
fn dense_first(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    let experts = hp.opt_u32(&["n_routed_experts"])?;
    let dense = match hp.opt_u32(&["first_k_dense_replace"])? {
        Some(n) => n,
        None if experts.is_some() => 0,
        None => hp.block_count(),
    };
    keys.set("leading_dense_block_count", dense);
    Ok(())
}

fn experts_keys(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    keys.set(
        "expert_feed_forward_length",
        hp.u32(&["moe_intermediate_size", "intermediate_size"])?,
    );
    keys.set_some("expert_count", hp.opt_u32(&["n_routed_experts"])?);
    keys.set(
        "expert_shared_count",
        hp.opt_u32(&["n_shared_experts"])?.unwrap_or(0),
    );
    keys.set_some("expert_weights_scale", hp.opt_f32(&["routed_scaling_factor"])?);
    if hp.opt_bool("norm_topk_prob") == Some(true) {
        keys.set("expert_weights_norm", true);
    }
    Ok(())
}

/// Lengths of latent attention's heads with the keys' matrix absorbed into the queries, and of those that are stored.
pub(super) fn absorbed_lengths(hp: &Hparams, keys: &mut Keys<'_>, rank: u32, rotated: u32) -> Result<()> {
    keys.set("attention.key_length", hp.head_of(rank, rotated)?);
    keys.set("attention.value_length", rank);
    keys.set(
        "attention.key_length_mla",
        hp.head_of(hp.u32(&["qk_nope_head_dim"])?, rotated)?,
    );
    keys.set("attention.value_length_mla", hp.u32(&["v_head_dim"])?);
    Ok(())
}

pub(super) fn latent_keys(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    common::text_model(hp, keys)?;
    // With the keys' matrix absorbed into the queries, all heads share one key and one value.
    keys.set("attention.head_count_kv", 1u32);
    dense_first(hp, keys)?;
    keys.set("vocab_size", hp.u32(&["vocab_size"])?);
    keys.set_some("attention.q_lora_rank", hp.opt_u32(&["q_lora_rank"])?);
    let rank = hp.opt_u32(&["kv_lora_rank"])?.unwrap_or(512);
    let rotated = hp.u32(&["qk_rope_head_dim"])?;
    keys.set("attention.kv_lora_rank", rank);
    absorbed_lengths(hp, keys, rank, rotated)?;
    experts_keys(hp, keys)?;
    keys.set("rope.dimension_count", rotated);
    if let Some(scale) = hp.rope().get("mscale_all_dim").filter(|v| !v.is_null()) {
        let scale = scale
            .as_f64()
            .ok_or_else(|| hp.error(format!("mscale_all_dim: expected a number, found {scale}")))?;
        keys.set("rope.scaling.yarn_log_multiplier", (0.1 * scale) as f32);
    }
    Ok(())
}

pub(super) static DEEPSEEK_V2_TYPE: ModelType = ModelType::of("deepseek_v2");

pub(super) static DEEPSEEK_V3_TYPE: ModelType = ModelType::of("deepseek_v3");
