//! DeepSeek V4: attention over a window and over compressed keys, hyper-connections around each half, and experts that are
//! chosen by the token's id in the first layers; and DSpark, the draft model that is stored with it.

use gguf::TensorType;
use serde_json::{Map, Value};

use super::draft;
use crate::Result;
use crate::arch::rules::common;
use crate::arch::rules::hooks::TargetVocabulary;
use crate::arch::rules::names::{LAYER, Rule, Transform, copy, exact};
use crate::arch::{Architecture, Hooks, Hparams, Keys, Named, PLAIN, StoredAs, class};

pub(super) static DEEPSEEK4: Architecture = Architecture {
    gguf: "deepseek4",
    classes: &[class("DeepseekV4ForCausalLM")],
    rules: &[MODEL, HYPER_CONNECTIONS, LAYERS],
    hyperparameters: |hp, keys| {
        model_keys(hp, keys)?;
        let width = hp.times(hp.u32(&["hc_mult"])?, &["hidden_size"])?;
        keys.set("embedding_length_out", width);
        Ok(())
    },
    hooks: Hooks {
        canonical: model_name,
        force: |_, tensor, _| as_stored(tensor),
        packed_by_layer: true,
        scales_unsaid: true,
        late: |_, keys| {
            template_first(keys);
            Ok(())
        },
        notes: |hp| Ok(template_note(hp, "deepseek-ai-DeepSeek-V4.jinja")),
        ..Hooks::NONE
    },
    ..PLAIN
};

/// The draft model that predicts a block of tokens by layers of DeepSeek V4.
pub(super) static DEEPSEEK4_DSPARK: Architecture = Architecture {
    gguf: "dflash",
    classes: &[class("DeepseekV4DSparkModel")],
    rules: &[DSPARK, MODEL, HYPER_CONNECTIONS, LAYERS],
    hyperparameters: |hp, keys| {
        model_keys(hp, keys)?;
        keys.set("block_size", hp.u32(&["dspark_block_size"])?);
        const KEY: &str = "dspark_target_layer_ids";
        let layers = hp.find(&[KEY]).and_then(Value::as_array);
        let layers = draft::ids(hp, KEY, layers.ok_or_else(|| hp.missing(&[KEY]))?, 1)?;
        keys.set("target_layers", gguf::Value::Array(gguf::Array::I32(layers)));
        Ok(())
    },
    hooks: Hooks {
        prepare: stages_alone,
        canonical: draft_name,
        more_blocks: stages,
        notes: |_| Ok(Vec::new()),
        target_vocabulary: Some(TargetVocabulary::AsOwn),
        late: |hp, keys| {
            template_first(keys);
            keys.set_tokenizer("mask_token_id", hp.u32(&["dspark_noise_token_id"])?);
            Ok(())
        },
        ..DEEPSEEK4.hooks
    },
    ..DEEPSEEK4
};

/// The stock converter sets a template of its own, which ours does not have, before all other keys; the directory's then
/// takes its place.
fn template_first(keys: &mut Keys<'_>) {
    let behind_architecture = 1;
    keys.metadata
        .move_to("tokenizer.chat_template", behind_architecture);
}

/// A note on a directory without a chat template, for which the stock converter brings one of its own.
pub(super) fn template_note(hp: &Hparams, of_stock: &str) -> Vec<String> {
    let dir = hp.dir();
    let files = ["chat_template.jinja", "chat_template.json"];
    let in_config = crate::json::read_object(&dir.join("tokenizer_config.json"))
        .is_ok_and(|config| config.contains_key("chat_template"));
    match in_config || files.iter().any(|name| dir.join(name).is_file()) {
        true => Vec::new(),
        false => vec![format!(
            "the directory has no chat template, and none is written: llama.cpp has one for this model \
             (models/templates/{of_stock})"
        )],
    }
}

/// Tensors stored in FP8 become Q8_0; those stored in F32 or BF16 stay in their type.
fn as_stored(tensor: Named<'_>) -> Option<TensorType> {
    match tensor.of {
        StoredAs::Fp8 => Some(TensorType::Q8_0),
        StoredAs::F32 => Some(TensorType::F32),
        StoredAs::Bf16 => Some(TensorType::BF16),
        StoredAs::Other => None,
    }
}

/// Names inside `model`, without the parts for images and those that predict further tokens.
fn model_name(hp: &Hparams, name: String) -> Option<String> {
    let other = ["vision.", "aligner.", "image_", "mtp."];
    if other.iter().any(|part| name.starts_with(part)) {
        return None;
    }
    without_unused_bias(hp, published_name(&name))
}

/// The published name inside `model`, of that which transformers 5 saves a tensor under, too.
fn published_name(name: &str) -> String {
    let Some(saved) = name.strip_prefix("model.") else {
        return format!("model.{name}");
    };
    let name = match saved.strip_prefix("hc_head.hc_") {
        Some(rest) => format!("hc_head_{rest}"),
        None => saved
            .replace("embed_tokens.", "embed.")
            .replace(".attn.norm.", ".attn.kv_norm."),
    };
    format!("model.{name}")
}

/// The layers that choose experts by the token's id have no use for the other choice's bias.
fn without_unused_bias(hp: &Hparams, name: String) -> Option<String> {
    let layer = name
        .strip_prefix("model.layers.")
        .and_then(|rest| rest.strip_suffix(".ffn.gate.bias"))
        .and_then(|layer| layer.parse::<u32>().ok());
    let hashed = hp.opt_u32(&["num_hash_layers"]).ok().flatten().unwrap_or(0);
    layer.is_none_or(|layer| layer >= hashed).then_some(name)
}

/// Parts of the draft that stand outside of its stages.
const OUTSIDE: [&str; 9] = [
    "main_proj.weight",
    "main_norm.weight",
    "markov_head.markov_w1.weight",
    "markov_head.markov_w2.weight",
    "confidence_head.proj.weight",
    "norm.weight",
    "hc_head_fn",
    "hc_head_base",
    "hc_head_scale",
];

/// Of all tensors those of the draft, its stages as layers.
fn draft_name(hp: &Hparams, name: String) -> Option<String> {
    let (stage, rest) = name.strip_prefix("mtp.")?.split_once('.')?;
    if rest.ends_with(".ffn.gate.bias_vl") || rest == "ffn.gate.bias_vl" || rest == "ffn.gate.tid2eid" {
        return None;
    }
    if OUTSIDE.contains(&rest) {
        return Some(format!("model.{rest}"));
    }
    without_unused_bias(hp, format!("model.layers.{stage}.{rest}"))
}

/// Blocks are the draft's alone, and none of them chooses by the token's id or compresses.
fn stages_alone(config: &mut Map<String, Value>) {
    for key in ["n_layers", "n_layer", "num_layers"] {
        config.shift_remove(key);
    }
    config.insert("num_hidden_layers".to_owned(), 0.into());
    config.insert("num_hash_layers".to_owned(), 0.into());
    config.shift_remove("compress_ratios");
}

fn stages(_: &Hparams, names: &mut dyn Iterator<Item = &str>) -> Result<u32> {
    let stage = |name: &str| name.strip_prefix("mtp.")?.split('.').next()?.parse::<u32>().ok();
    Ok(names.filter_map(stage).max().map_or(0, |n| n.saturating_add(1)))
}

fn model_keys(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    common::text_model(hp, keys)?;
    keys.set("rope.dimension_count", hp.u32(&["qk_rope_head_dim"])?);
    keys.set("attention.q_lora_rank", hp.u32(&["q_lora_rank"])?);
    keys.set("attention.sliding_window", hp.u32(&["sliding_window"])?);
    keys.set("expert_feed_forward_length", hp.u32(&["moe_intermediate_size"])?);
    keys.set("expert_shared_count", hp.u32(&["n_shared_experts"])?);
    keys.set("expert_weights_scale", hp.f32(&["routed_scaling_factor"])?);
    let norm = hp.opt_bool("norm_topk_prob");
    keys.set(
        "expert_weights_norm",
        norm.ok_or_else(|| hp.missing(&["norm_topk_prob"]))?,
    );
    let limits = vec![hp.f32(&["swiglu_limit"])?; hp.block_count() as usize];
    keys.set("swiglu_clamp_exp", limits.clone());
    keys.set("swiglu_clamp_shexp", limits);
    keys.set("attention.indexer.head_count", hp.u32(&["index_n_heads"])?);
    keys.set("attention.indexer.key_length", hp.u32(&["index_head_dim"])?);
    keys.set("attention.indexer.top_k", hp.u32(&["index_topk"])?);
    keys.set("attention.output_group_count", hp.u32(&["o_groups"])?);
    keys.set("attention.output_lora_rank", hp.u32(&["o_lora_rank"])?);
    keys.set("attention.compress_ratios", common::numbers(ratios(hp)?));
    keys.set(
        "attention.compress_rope_freq_base",
        hp.f32(&["compress_rope_theta"])?,
    );
    keys.set("hyper_connection.count", hp.u32(&["hc_mult"])?);
    keys.set(
        "hyper_connection.sinkhorn_iterations",
        hp.u32(&["hc_sinkhorn_iters"])?,
    );
    keys.set("hyper_connection.epsilon", hp.f32(&["hc_eps"])?);
    keys.set("hash_layer_count", hp.u32(&["num_hash_layers"])?);
    Ok(())
}

/// Tokens that one compressed key stands for, layer by layer; 0 in layers without. Layers that predict further tokens may
/// follow.
fn ratios(hp: &Hparams) -> Result<Vec<u32>> {
    const KEY: &str = "compress_ratios";
    let blocks = hp.block_count() as usize;
    let Some(list) = hp.find(&[KEY]) else {
        return Ok(vec![0; blocks]);
    };
    let list = list.as_array().filter(|list| list.len() >= blocks);
    let list =
        list.ok_or_else(|| hp.error(format!("{KEY}: expected a number for each of {blocks} layers")))?;
    list.iter().map(|n| hp.to_u32(KEY, n)).collect()
}

const DSPARK: &[Rule] = &[
    copy("model.main_proj", "fc"),
    copy("model.main_norm", "enc.output_norm"),
    copy("model.markov_head.markov_w1", "markov_w1"),
    copy("model.markov_head.markov_w2", "markov_w2"),
    copy("model.confidence_head.proj", "conf_proj"),
];

const MODEL: &[Rule] = &[
    copy("model.embed", "token_embd"),
    copy("model.norm", "output_norm"),
    copy("model.head", "output"),
    exact("model.hc_head_fn", "output_hc_fn.weight"),
    exact("model.hc_head_base", "output_hc_base.weight"),
    exact("model.hc_head_scale", "output_hc_scale.weight"),
];

/// Of hyper-connections around each half of a layer.
pub(super) const HYPER_CONNECTIONS: &[Rule] = &[
    LAYER.exact("hc_attn_fn", "hc_attn_fn.weight"),
    LAYER.exact("hc_attn_base", "hc_attn_base.weight"),
    LAYER.exact("hc_attn_scale", "hc_attn_scale.weight"),
    LAYER.exact("hc_ffn_fn", "hc_ffn_fn.weight"),
    LAYER.exact("hc_ffn_base", "hc_ffn_base.weight"),
    LAYER.exact("hc_ffn_scale", "hc_ffn_scale.weight"),
];

const LAYERS: &[Rule] = &[
    LAYER.exact_with("ffn.gate.tid2eid", "ffn_gate_tid2eid.weight", Transform::Integers),
    LAYER.exact("attn.attn_sink", "attn_sinks.weight"),
    LAYER.copy("attn.wq_a", "attn_q_a"),
    LAYER.copy("attn.wq_b", "attn_q_b"),
    LAYER.copy("attn.q_norm", "attn_q_a_norm"),
    LAYER.copy("attn.wkv", "attn_kv"),
    LAYER.copy("attn.kv_norm", "attn_kv_a_norm"),
    LAYER.copy("attn.wo_a", "attn_output_a"),
    LAYER.copy("attn.wo_b", "attn_output_b"),
    LAYER.exact("attn.compressor.ape", "attn_compressor_ape.weight"),
    LAYER.copy("attn.compressor.wkv", "attn_compressor_kv"),
    LAYER.copy("attn.compressor.wgate", "attn_compressor_gate"),
    LAYER.copy("attn.compressor.norm", "attn_compressor_norm"),
    LAYER.copy("attn.indexer.wq_b", "indexer.attn_q_b"),
    LAYER.copy("attn.indexer.weights_proj", "indexer.proj"),
    LAYER.exact("attn.indexer.compressor.ape", "indexer_compressor_ape.weight"),
    LAYER.copy("attn.indexer.compressor.wkv", "indexer_compressor_kv"),
    LAYER.copy("attn.indexer.compressor.wgate", "indexer_compressor_gate"),
    LAYER.copy("attn.indexer.compressor.norm", "indexer_compressor_norm"),
    LAYER.copy("attn_norm", "attn_norm"),
    LAYER.copy("ffn_norm", "ffn_norm"),
    LAYER.exact("ffn.gate.bias", "exp_probs_b.bias"),
    LAYER.exact("ffn.gate.bias_vl", "exp_probs_b_vl.bias"),
    LAYER.exact("ffn.gate.weight", "ffn_gate_inp.weight"),
    LAYER.rule("ffn.experts.{e}.w1", "ffn_gate_exps", Transform::Expert),
    LAYER.rule("ffn.experts.{e}.w2", "ffn_down_exps", Transform::Expert),
    LAYER.rule("ffn.experts.{e}.w3", "ffn_up_exps", Transform::Expert),
    LAYER.copy("ffn.shared_experts.w1", "ffn_gate_shexp"),
    LAYER.copy("ffn.shared_experts.w2", "ffn_down_shexp"),
    LAYER.copy("ffn.shared_experts.w3", "ffn_up_shexp"),
];
