//! Hunyuan, dense and with experts.

use serde_json::Value;

use crate::Result;
use crate::arch::rules::common;
use crate::arch::rules::experts::EXPERTS;
use crate::arch::rules::hooks::without_tied_output;
use crate::arch::rules::names::{DECODER, LAYER, Rule};
use crate::arch::{Architecture, Hooks, Hparams, Keys, ModelType, PLAIN, class};
use crate::tokenizer::{Tiktoken, VocabKind, VocabRequest, VocabStep};

pub(super) static HUNYUAN_DENSE: Architecture = Architecture {
    gguf: "hunyuan-dense",
    classes: &[class("HunYuanDenseV1ForCausalLM")],
    rules: &[OWN, DECODER],
    hyperparameters,
    vocabulary: |config| {
        VocabRequest::new(&[VocabKind::Bpe])
            .and(end_of_document(config).map(|id| VocabStep::Id("eos", id)))
            .and([VocabStep::GeneratedEndOfTurn])
    },
    hooks: Hooks {
        canonical: without_tied_output,
        ..Hooks::NONE
    },
    model_types: &[&HUNYUAN_V1_DENSE_TYPE],
    ..PLAIN
};

/// `eod_token_id`, which ends a text where the published code of a model says so. `transformers`' own class gives it
/// no meaning: 4.57 drops the key, and 5 writes its default, 3, into every configuration, whatever token that is.
fn end_of_document(config: &Value) -> Option<u32> {
    let of_transformers = config["model_type"] == "hunyuan_v1_dense";
    let id = config["eod_token_id"].as_u64().filter(|_| !of_transformers);
    id.and_then(|id| u32::try_from(id).ok())
}

/// Hunyuan VL, the text model, whose rotation has a position of its own for each section of a head.
pub(super) static HUNYUAN_VL: Architecture = Architecture {
    gguf: "hunyuan_vl",
    classes: &[class("HunYuanVLForConditionalGeneration")],
    hyperparameters: |hp, keys| {
        hyperparameters(hp, keys)?;
        let rope = hp.rope();
        let kind = rope.get("rope_type").and_then(Value::as_str);
        let sections = match kind {
            Some("xdrope") => "xdrope_section",
            // As transformers 5 writes it.
            Some("dynamic") if rope.contains_key("mrope_section") => "mrope_section",
            _ => return Ok(()),
        };
        let number = |key: &str| {
            let value = rope.get(key).unwrap_or(&Value::Null);
            hp.to_f32(key, value)
        };
        keys.set("rope.freq_base", number("rope_theta")?);
        keys.set("rope.scaling.alpha", number("alpha")?);
        keys.set("rope.scaling.type", "none");
        let factor = rope.get("factor").map(|value| hp.to_f32("factor", value));
        keys.set("rope.scaling.factor", factor.transpose()?.unwrap_or(1.0));
        let context = hp.u32(&["max_position_embeddings"])?;
        keys.set("rope.scaling.original_context_length", context);
        keys.set("context_length", context);
        let list = rope.get(sections).and_then(Value::as_array);
        let list =
            list.ok_or_else(|| hp.error(format!("rope_parameters: expected a list {sections}, found none")))?;
        let list = list
            .iter()
            .map(|n| hp.to_u32(sections, n))
            .collect::<Result<_>>()?;
        keys.set("rope.dimension_sections", common::numbers(list));
        Ok(())
    },
    hooks: Hooks {
        canonical: |hp, name| without_tied_output(hp, name).filter(|name| !name.starts_with("vit.")),
        ..Hooks::NONE
    },
    model_types: &[],
    ..HUNYUAN_DENSE
};

/// The id of `<|bos|>`, which configurations have wrong.
const BOS: u32 = 127959;

pub(super) static HUNYUAN_MOE: Architecture = Architecture {
    gguf: "hunyuan-moe",
    classes: &[class("HunYuanMoEV1ForCausalLM")],
    rules: &[MOE, OWN, DECODER, EXPERTS],
    hyperparameters: moe_hyperparameters,
    vocabulary: |_| {
        VocabRequest::new(&[VocabKind::Tiktoken(Tiktoken::Hunyuan), VocabKind::Bpe])
            .and([VocabStep::Id("bos", BOS)])
    },
    hooks: Hooks {
        canonical: without_tied_output,
        ..Hooks::NONE
    },
    model_types: &[&HUNYUAN_V1_MOE_TYPE],
    ..PLAIN
};

const MOE: &[Rule] = &[
    LAYER.copy("mlp.gate.wg", "ffn_gate_inp"),
    LAYER.copy("mlp.shared_mlp.gate_proj", "ffn_gate_shexp"),
    LAYER.copy("mlp.shared_mlp.up_proj", "ffn_up_shexp"),
    LAYER.copy("mlp.shared_mlp.down_proj", "ffn_down_shexp"),
];

const OWN: &[Rule] = &[
    LAYER.copy("self_attn.query_layernorm", "attn_q_norm"),
    LAYER.copy("self_attn.key_layernorm", "attn_k_norm"),
];

/// The context length of models whose rotation is scaled for it.
const LONG_CONTEXT: u32 = 256 * 1024;

fn hyperparameters(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    common::text_model(hp, keys)?;
    if hp.opt_u32(&["num_experts"])?.is_some() {
        keys.unset("expert_count");
    }
    scaled_rotation(hp, keys, 50.0, |hp| hp.u32(&["head_dim"]))
}

fn moe_hyperparameters(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    common::text_model(hp, keys)?;
    keys.set(
        "expert_shared_feed_forward_length",
        hp.u32(&["intermediate_size"])?,
    );
    keys.set(
        "expert_feed_forward_length",
        of_all_layers(hp, "moe_intermediate_size")?,
    );
    keys.set("expert_used_count", of_all_layers(hp, "moe_topk")?);
    keys.set("expert_shared_count", of_all_layers(hp, "num_shared_expert")?);
    scaled_rotation(hp, keys, 1000.0, Hparams::even_head_dim)
}

/// A number that the configuration has for each layer, and that must be the same for all.
fn of_all_layers(hp: &Hparams, key: &str) -> Result<u32> {
    let found = hp.find(&[key]);
    let same = match found {
        Some(Value::Array(numbers)) => numbers
            .first()
            .filter(|first| numbers.iter().all(|n| n == *first)),
        other => other,
    };
    let same = same.ok_or_else(|| {
        let found = found.map_or("missing".to_owned(), Value::to_string);
        hp.error(format!(
            "{key}: expected the same number for all layers, found {found}"
        ))
    })?;
    hp.to_u32(key, same)
}

/// The keys of a rotation whose frequencies are scaled for long contexts.
fn scaled_rotation(
    hp: &Hparams,
    keys: &mut Keys<'_>,
    default_alpha: f64,
    dim: fn(&Hparams) -> Result<u32>,
) -> Result<()> {
    let rope = hp.rope();
    let kind = rope.get("rope_type").and_then(Value::as_str);
    let (Some("dynamic" | "xdrope"), false) = (kind, rope.contains_key("mrope_section")) else {
        return Ok(());
    };
    let number = |key: &str, default: f64| match rope.get(key).filter(|v| !v.is_null()) {
        None => Ok(default),
        Some(v) => v
            .as_f64()
            .ok_or_else(|| hp.error(format!("{key}: expected a number, found {v}"))),
    };
    // NTK-aware scaling: the frequency base grows with a power of alpha.
    let (alpha, base) = (number("alpha", default_alpha)?, number("rope_theta", 10000.0)?);
    let dim = f64::from(dim(hp)?);
    keys.set("rope.freq_base", (base * alpha.powf(dim / (dim - 2.0))) as f32);
    keys.set("rope.scaling.type", "none");
    keys.set("rope.scaling.factor", 1f32);
    if kind == Some("xdrope") {
        return Ok(());
    }
    keys.set("rope.scaling.original_context_length", LONG_CONTEXT);
    keys.set("context_length", LONG_CONTEXT);
    Ok(())
}

pub(super) static HUNYUAN_V1_DENSE_TYPE: ModelType = ModelType::of("hunyuan_v1_dense");

pub(super) static HUNYUAN_V1_MOE_TYPE: ModelType = ModelType::of("hunyuan_v1_moe");
