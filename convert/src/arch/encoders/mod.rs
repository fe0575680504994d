//! Image encoders with the projectors that lead to a text model (`--mmproj`): Pixtral, SigLIP of Gemma 3,
//! Idefics 3 and SmolVLM, Qwen-VL from 2 to 3.5, Kimi-VL, Llama 4, LFM2-VL, InternVL.

mod others;
mod qwen2vl;
mod qwen3vl;

use std::path::Path;

use gguf::TensorType;
use serde_json::{Map, Value};

use super::rules::multimodal::{class_of, text_part};
use super::rules::names::{Rule, Transform, copy, exact, rule};
use super::{Architecture, Class, Default, Hooks, Hparams, Keys, ModelType, PLAIN, View, class};
use crate::{Error, Result};

/// Encoders by the class of the whole model, in the order in which `convert --list` prints them.
pub(crate) static ENCODERS: &[&Architecture] = &[
    &PIXTRAL,
    &GEMMA3,
    &IDEFICS3,
    &qwen2vl::QWEN2VL,
    &qwen2vl::QWEN2_5VL,
    &qwen3vl::QWEN3VL,
    &qwen3vl::QWEN3VL_MOE,
    &qwen3vl::QWEN3_5,
    &others::KIMI_VL,
    &others::LLAMA4,
    &others::LFM2_VL,
    &others::INTERN_VL,
];

/// `general.architecture` of every encoder.
pub(super) const CLIP: &str = "clip";

/// The encoder of a directory and the class that it is found by.
pub(crate) fn find(
    config_path: &Path,
    config: &Map<String, Value>,
) -> Result<(&'static Architecture, &'static Class)> {
    let inner = config.get(VISION).and_then(Value::as_object).and_then(class_of);
    let whole = class_of(config);
    let name = inner.or(whole).ok_or_else(|| super::no_class(config_path))?;
    for name in [inner, whole].into_iter().flatten() {
        for encoder in ENCODERS {
            if let Some(class) = encoder.classes.iter().find(|c| c.name == name) {
                return Ok((encoder, class));
            }
        }
    }
    let known: Vec<&str> = ENCODERS.iter().flat_map(|e| e.classes).map(|c| c.name).collect();
    Err(Error::Input {
        path: config_path.to_path_buf(),
        message: format!(
            "architectures: {name} has no encoder that is supported; supported are those of {}",
            known.join(", ")
        ),
    })
}

/// The key of `config.json` under which the encoder's configuration stands.
const VISION: &str = "vision_config";

/// The encoder's own configuration, completed.
pub(crate) fn configuration(config_path: &Path, config: &Map<String, Value>) -> Result<Map<String, Value>> {
    let Some(vision) = config.get(VISION).and_then(Value::as_object) else {
        return Err(Error::Input {
            path: config_path.to_path_buf(),
            message: format!("no {VISION}, which has the encoder's configuration"),
        });
    };
    let default = ENCODERS
        .iter()
        .find(|e| e.classes.iter().any(|c| Some(c.name) == class_of(config)))
        .and_then(|e| e.model_types.first());
    let mut vision = vision.clone();
    if let Some(default) = default {
        vision.entry("model_type").or_insert(default.name.into());
    }
    Ok(super::complete(vision))
}

static PIXTRAL: Architecture = Architecture {
    gguf: CLIP,
    classes: &[
        class("LlavaForConditionalGeneration"),
        class("Mistral3ForConditionalGeneration"),
    ],
    rules: &[PIXTRAL_RULES],
    hyperparameters: pixtral_keys,
    model_types: &[&PIXTRAL_TYPE],
    hooks: Hooks {
        canonical: |_, name| {
            let is_embedding = name.ends_with("embed_tokens.weight");
            if is_embedding {
                Some(EMBEDDING.to_owned())
            } else {
                encoder_name(name)
            }
        },
        force: |_, name, ty| convolution(name, ty),
        ..Hooks::NONE
    },
    ..PLAIN
};

static GEMMA3: Architecture = Architecture {
    gguf: CLIP,
    classes: &[class("Gemma3ForConditionalGeneration")],
    rules: &[GEMMA3_RULES, SIGLIP_TOWER],
    hyperparameters: gemma3_keys,
    model_types: &[&SIGLIP_TYPE],
    hooks: Hooks {
        canonical: |_, name| {
            let name = encoder_name(name)?;
            (!name.contains("vision_model.head.")).then(|| name.replace("_weight", ".weight"))
        },
        force: |_, name, _| match name {
            "mm.input_projection.weight" => Some(TensorType::F16),
            _ => embeddings(name),
        },
        ..Hooks::NONE
    },
    ..PLAIN
};

static IDEFICS3: Architecture = Architecture {
    gguf: CLIP,
    classes: &[
        class("Idefics3ForConditionalGeneration"),
        class("SmolVLMForConditionalGeneration"),
    ],
    rules: &[IDEFICS3_RULES, IDEFICS3_TOWER],
    hyperparameters: idefics3_keys,
    model_types: &[&IDEFICS3_TYPE, &SMOLVLM_TYPE],
    hooks: Hooks {
        canonical: |_, name| {
            let is_own = ["vision_tower", "vision_model", "model.connector"]
                .iter()
                .any(|p| name.contains(p));
            is_own.then_some(name)
        },
        force: |_, name, _| embeddings(name),
        ..Hooks::NONE
    },
    ..PLAIN
};

/// A tensor of the encoder or the projector, without the outer module that newer directories have.
fn encoder_name(name: String) -> Option<String> {
    let inner = name.strip_prefix("model.").unwrap_or(&name);
    let is_own = ["multi_modal_projector.", "vision_tower."]
        .iter()
        .any(|p| inner.starts_with(p));
    is_own.then(|| inner.to_owned())
}

/// Convolutions are never quantized.
pub(super) fn convolution(name: &str, ty: TensorType) -> Option<TensorType> {
    let is_one = matches!(name, "v.patch_embd.weight" | "mm.patch_merger.weight");
    is_one.then_some(match ty {
        TensorType::F16 => TensorType::F16,
        _ => TensorType::F32,
    })
}

/// Embeddings of patches and of positions, which some encoders keep in F32.
fn embeddings(name: &str) -> Option<TensorType> {
    matches!(name, "v.patch_embd.weight" | "v.position_embd.weight").then_some(TensorType::F32)
}

/// The name of the text model's embeddings, whatever it is in the directory.
const EMBEDDING: &str = "embed_tokens.weight";
/// The token between two rows of an image.
const BREAK: &str = "[IMG_BREAK]";

const PIXTRAL_RULES: &[Rule] = &[
    exact(
        EMBEDDING,
        "v.token_embd.img_break",
        Transform::View(break_row, None),
    ),
    copy("vision_tower.patch_conv", "v.patch_embd"),
    copy("vision_tower.ln_pre", "v.pre_ln"),
    copy(
        "vision_tower.transformer.layers.{}.attention_norm",
        "v.blk.{}.ln1",
    ),
    rule(
        "vision_tower.transformer.layers.{}.attention.q_proj",
        "v.blk.{}.attn_q",
        Transform::PermuteQuery,
    ),
    rule(
        "vision_tower.transformer.layers.{}.attention.k_proj",
        "v.blk.{}.attn_k",
        Transform::PermuteKey,
    ),
    copy(
        "vision_tower.transformer.layers.{}.attention.v_proj",
        "v.blk.{}.attn_v",
    ),
    copy(
        "vision_tower.transformer.layers.{}.attention.o_proj",
        "v.blk.{}.attn_out",
    ),
    copy("vision_tower.transformer.layers.{}.ffn_norm", "v.blk.{}.ln2"),
    copy(
        "vision_tower.transformer.layers.{}.feed_forward.gate_proj",
        "v.blk.{}.ffn_gate",
    ),
    copy(
        "vision_tower.transformer.layers.{}.feed_forward.up_proj",
        "v.blk.{}.ffn_up",
    ),
    copy(
        "vision_tower.transformer.layers.{}.feed_forward.down_proj",
        "v.blk.{}.ffn_down",
    ),
    copy("multi_modal_projector.norm", "mm.input_norm"),
    copy(
        "multi_modal_projector.patch_merger.merging_layer",
        "mm.patch_merger",
    ),
    copy("multi_modal_projector.linear_1", "mm.1"),
    copy("multi_modal_projector.linear_2", "mm.2"),
];

const GEMMA3_RULES: &[Rule] = &[
    copy("multi_modal_projector.mm_input_projection", "mm.input_projection"),
    rule(
        "multi_modal_projector.mm_soft_emb_norm",
        "mm.soft_emb_norm",
        Transform::AddOne,
    ),
];

/// A vision transformer as SigLIP has it, inside a `$tower`.
macro_rules! tower {
    ($tower:literal) => {
        &[
            copy(concat!($tower, ".embeddings.patch_embedding"), "v.patch_embd"),
            copy(
                concat!($tower, ".embeddings.position_embedding"),
                "v.position_embd",
            ),
            copy(concat!($tower, ".encoder.layers.{}.layer_norm1"), "v.blk.{}.ln1"),
            copy(
                concat!($tower, ".encoder.layers.{}.self_attn.q_proj"),
                "v.blk.{}.attn_q",
            ),
            copy(
                concat!($tower, ".encoder.layers.{}.self_attn.k_proj"),
                "v.blk.{}.attn_k",
            ),
            copy(
                concat!($tower, ".encoder.layers.{}.self_attn.v_proj"),
                "v.blk.{}.attn_v",
            ),
            copy(
                concat!($tower, ".encoder.layers.{}.self_attn.out_proj"),
                "v.blk.{}.attn_out",
            ),
            copy(concat!($tower, ".encoder.layers.{}.layer_norm2"), "v.blk.{}.ln2"),
            copy(concat!($tower, ".encoder.layers.{}.mlp.fc1"), "v.blk.{}.ffn_up"),
            copy(concat!($tower, ".encoder.layers.{}.mlp.fc2"), "v.blk.{}.ffn_down"),
            copy(concat!($tower, ".post_layernorm"), "v.post_ln"),
        ]
    };
}

const SIGLIP_TOWER: &[Rule] = tower!("vision_tower.vision_model");
const IDEFICS3_TOWER: &[Rule] = tower!("model.vision_model");
const IDEFICS3_RULES: &[Rule] = &[copy("model.connector.modality_projection.proj", "mm.model.fc")];

/// The row of [`BREAK`] in the text model's embeddings, as a vector.
fn break_row(hp: &Hparams, view: View) -> Result<Option<View>> {
    let id = crate::tokenizer::added_token_id(hp.dir(), BREAK)?
        .ok_or_else(|| hp.error(format!("no added token {BREAK}, which this encoder needs")))?;
    Ok(view.cut(0, id, 1).and_then(|v| v.without(0)))
}

fn pixtral_keys(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    let kind = hp.opt_str(&["model_type"]).unwrap_or("");
    if kind != "pixtral" {
        return Err(hp.error(format!(
            "vision_config: model_type is {kind:?}; of this class only pixtral encoders are supported"
        )));
    }
    let whole = vision_keys(hp, keys)?;
    keys.set("projector_type", "pixtral");
    // transformers has it in the code of the model.
    let epsilon = hp.opt_f32(&["layer_norm_eps"])?.unwrap_or(1e-5);
    keys.set("vision.attention.layer_norm_epsilon", epsilon);
    match hp.opt_str(&["hidden_act"]) {
        Some("silu") => keys.set("use_silu", true),
        Some("gelu") => keys.set("use_gelu", true),
        other => {
            return Err(hp.error(format!(
                "vision_config: hidden_act is {other:?}, silu or gelu expected"
            )));
        }
    }
    let merge = whole.get("spatial_merge_size").filter(|v| !v.is_null());
    let is_mistral = class_of(&whole) == Some("Mistral3ForConditionalGeneration");
    let merge = merge.map(|v| hp.to_u32("spatial_merge_size", v)).transpose()?;
    keys.set_some("vision.spatial_merge_size", merge.or(is_mistral.then_some(2)));
    Ok(())
}

/// Patches of an image that Gemma 3 makes one token of, along each side.
const GEMMA3_PATCHES: u32 = 4;
/// Tokens of an image where the preprocessor does not say.
const GEMMA3_TOKENS: f64 = 256.0;

fn gemma3_keys(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    vision_keys(hp, keys)?;
    keys.set("projector_type", "gemma3");
    let epsilon = hp.opt_f32(&["layer_norm_eps"])?.unwrap_or(1e-6);
    keys.set("vision.attention.layer_norm_epsilon", epsilon);
    keys.set("use_gelu", true);
    let processor = preprocessor(keys.dir)?;
    let tokens = processor
        .get("image_seq_length")
        .and_then(Value::as_f64)
        .unwrap_or(GEMMA3_TOKENS);
    let side = tokens.max(0.0).sqrt() as u32;
    let patches = hp.u32(&["image_size"])?.checked_div(hp.u32(&["patch_size"])?);
    let scale = patches.and_then(|n| n.checked_div(side)).unwrap_or(0);
    if scale > 0 && scale != GEMMA3_PATCHES {
        keys.set("vision.projector.scale_factor", scale);
    }
    Ok(())
}

fn idefics3_keys(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    let whole = vision_keys(hp, keys)?;
    keys.set("projector_type", "idefics3");
    let epsilon = hp.opt_f32(&["layer_norm_eps"])?.unwrap_or(1e-5);
    keys.set("vision.attention.layer_norm_epsilon", epsilon);
    let scale = whole
        .get("scale_factor")
        .map(|v| hp.to_u32("scale_factor", v))
        .transpose()?;
    keys.set("vision.projector.scale_factor", scale.unwrap_or(2));
    keys.set("use_gelu", true);
    let edge = match preprocessor(keys.dir)?
        .get("size")
        .and_then(|s| s.get("longest_edge"))
    {
        Some(edge) => hp.to_u32("longest_edge", edge)?,
        None => hp.u32(&["image_size"])?,
    };
    keys.set("vision.preproc_image_size", edge);
    Ok(())
}

/// The keys that all encoders have. Returns the configuration of the whole model.
fn vision_keys(hp: &Hparams, keys: &mut Keys<'_>) -> Result<Map<String, Value>> {
    let whole = crate::json::read_object(&keys.dir.join("config.json"))?;
    let text = text_part(whole.clone()).config;
    let width = text.get("hidden_size").or_else(|| text.get("n_embd"));
    let width = hp.to_u32("hidden_size of the text model", width.unwrap_or(&Value::Null))?;
    keys.set_file_type();
    keys.set("has_vision_encoder", true);
    keys.set("vision.projection_dim", width);
    keys.set("vision.image_size", hp.u32(&["image_size"])?);
    keys.set("vision.patch_size", hp.u32(&["patch_size"])?);
    keys.set("vision.embedding_length", hp.u32(&["hidden_size"])?);
    keys.set("vision.feed_forward_length", hp.u32(&["intermediate_size"])?);
    keys.set("vision.block_count", hp.block_count());
    keys.set("vision.attention.head_count", hp.u32(&["num_attention_heads"])?);
    let processor = preprocessor(keys.dir)?;
    for key in ["image_mean", "image_std"] {
        let numbers = processor.get(key).and_then(Value::as_array);
        let numbers = numbers.and_then(|n| {
            n.iter()
                .map(|x| Some(x.as_f64()? as f32))
                .collect::<Option<Vec<f32>>>()
        });
        let numbers = numbers.ok_or_else(|| Error::Input {
            path: keys.dir.join(PREPROCESSOR),
            message: format!("no list of numbers {key}, which every encoder needs"),
        })?;
        keys.set(&format!("vision.{key}"), numbers);
    }
    Ok(whole)
}

const PREPROCESSOR: &str = "preprocessor_config.json";

/// Preparation of images: `preprocessor_config.json`, over which goes `processor_config.json`, each with the inner
/// object that newer directories have brought to its top.
fn preprocessor(dir: &Path) -> Result<Map<String, Value>> {
    let mut merged = Map::new();
    for (file, inner) in [
        (PREPROCESSOR, "media_proc_cfg"),
        ("processor_config.json", "image_processor"),
    ] {
        let path = dir.join(file);
        if !path.is_file() {
            continue;
        }
        let config = crate::json::read_object(&path)?;
        let inner = config.get(inner).and_then(Value::as_object).cloned();
        merged.extend(config);
        merged.extend(inner.into_iter().flatten());
    }
    Ok(merged)
}

static PIXTRAL_TYPE: ModelType = ModelType {
    name: "pixtral",
    defaults: &[
        ("hidden_size", Default::Int(1024)),
        ("intermediate_size", Default::Int(4096)),
        ("num_hidden_layers", Default::Int(24)),
        ("num_attention_heads", Default::Int(16)),
        ("image_size", Default::Int(1024)),
        ("patch_size", Default::Int(16)),
    ],
    ..ModelType::UNROTATED
};

static SIGLIP_TYPE: ModelType = ModelType {
    name: "siglip_vision_model",
    defaults: &[
        ("hidden_size", Default::Int(768)),
        ("intermediate_size", Default::Int(3072)),
        ("num_hidden_layers", Default::Int(12)),
        ("num_attention_heads", Default::Int(12)),
        ("image_size", Default::Int(224)),
        ("patch_size", Default::Int(16)),
        ("layer_norm_eps", Default::Float(1e-6)),
    ],
    ..ModelType::UNROTATED
};

/// Of the encoders of Idefics 3 and SmolVLM.
const IDEFICS3_DEFAULTS: &[(&str, Default)] = &[
    ("hidden_size", Default::Int(1152)),
    ("intermediate_size", Default::Int(3072)),
    ("num_hidden_layers", Default::Int(12)),
    ("num_attention_heads", Default::Int(16)),
    ("image_size", Default::Int(224)),
    ("patch_size", Default::Int(32)),
    ("layer_norm_eps", Default::Float(1e-6)),
];

static IDEFICS3_TYPE: ModelType = ModelType {
    name: "idefics3_vision",
    defaults: IDEFICS3_DEFAULTS,
    ..ModelType::UNROTATED
};

static SMOLVLM_TYPE: ModelType = ModelType {
    name: "smolvlm_vision",
    defaults: IDEFICS3_DEFAULTS,
    ..ModelType::UNROTATED
};
