//! The image encoders of Kimi-VL, Llama 4, LFM2-VL and InternVL.

use serde_json::Value;

use super::qwen2vl::third;
use super::{CLIP, SIGLIP_TOWER, convolution, vision_keys};
use crate::Result;
use crate::arch::rules::names::{Rule, Transform, copy, exact, rule};
use crate::arch::{Architecture, Default, Hooks, Hparams, Keys, ModelType, PLAIN, View, class};

pub(super) static KIMI_VL: Architecture = Architecture {
    gguf: CLIP,
    classes: &[class("KimiVLForConditionalGeneration")],
    rules: &[KIMI_VL_RULES],
    hyperparameters: |hp, keys| {
        vision_keys(hp, keys)?;
        keys.set("projector_type", "kimivl");
        keys.set("use_gelu", true);
        keys.set("vision.projector.scale_factor", 2u32);
        let epsilon = hp.opt_f32(&["layer_norm_eps"])?.unwrap_or(1e-5);
        keys.set("vision.attention.layer_norm_epsilon", epsilon);
        Ok(())
    },
    hooks: Hooks {
        prepare: |config| {
            config.insert("image_size".to_owned(), KIMI_VL_SIZE.into());
        },
        canonical: own_tensors,
        force: |_, name, ty| convolution(name, ty),
        ..Hooks::NONE
    },
    ..PLAIN
};

/// Side of an image, in place of one that the configuration does not have.
const KIMI_VL_SIZE: u64 = 64 * 14;

pub(super) static LLAMA4: Architecture = Architecture {
    gguf: CLIP,
    classes: &[class("Llama4ForConditionalGeneration")],
    rules: &[LLAMA4_RULES],
    hyperparameters: |hp, keys| {
        vision_keys(hp, keys)?;
        keys.set("projector_type", "llama4");
        keys.set("vision.attention.layer_norm_epsilon", hp.f32(&["norm_eps"])?);
        let ratio = hp.f64(&["pixel_shuffle_ratio"])?;
        keys.set("vision.projector.scale_factor", whole_part(hp, 1.0 / ratio)?);
        keys.set("use_gelu", true);
        Ok(())
    },
    model_types: &[&LLAMA4_TYPE],
    hooks: Hooks {
        canonical: |_, name| {
            let is_own = ["multi_modal_projector", "vision_model"];
            is_own.iter().any(|p| name.contains(p)).then_some(name)
        },
        force: |_, name, ty| convolution(name, ty),
        ..Hooks::NONE
    },
    ..PLAIN
};

pub(super) static LFM2_VL: Architecture = Architecture {
    gguf: CLIP,
    classes: &[class("Lfm2VlForConditionalGeneration")],
    rules: &[LFM2_VL_RULES, SIGLIP_TOWER],
    hyperparameters: lfm2_vl_keys,
    model_types: &[&SIGLIP2_TYPE],
    hooks: Hooks {
        prepare: |config| {
            config.insert("image_size".to_owned(), LFM2_VL_SIZE.into());
        },
        canonical: own_tensors,
        force: |_, name, ty| convolution(name, ty),
        ..Hooks::NONE
    },
    ..PLAIN
};

/// Side of an image, in place of one that the configuration does not have.
const LFM2_VL_SIZE: u64 = 256;

pub(super) static INTERN_VL: Architecture = Architecture {
    gguf: CLIP,
    classes: &[class("InternVLChatModel")],
    rules: &[INTERN_VL_RULES],
    hyperparameters: intern_vl_keys,
    hooks: Hooks {
        prepare: |config| {
            for key in ["image_size", "patch_size"] {
                if let Some(first) = config.get(key).and_then(|size| size.get(0)).cloned() {
                    config.insert(key.to_owned(), first);
                }
            }
        },
        canonical: |_, name| {
            let is_own = ["vision_model.", "mlp1."];
            is_own.iter().any(|p| name.starts_with(p)).then_some(name)
        },
        force: |_, name, ty| convolution(name, ty),
        ..Hooks::NONE
    },
    ..PLAIN
};

/// A tensor of the encoder or the projector, without the outer module that newer directories have.
fn own_tensors(_: &Hparams, name: String) -> Option<String> {
    super::encoder_name(name)
}

const KIMI_VL_RULES: &[Rule] = &[
    copy("vision_tower.patch_embed.proj", "v.patch_embd"),
    exact(
        "vision_tower.patch_embed.pos_emb.weight",
        "v.position_embd.weight",
        Transform::View(rows_of_a_grid, None),
    ),
    copy("vision_tower.encoder.blocks.{}.norm0", "v.blk.{}.ln1"),
    rule(
        "vision_tower.encoder.blocks.{}.wqkv",
        "v.blk.{}.attn_q",
        Transform::Rows(|_, n| Ok(third(n, 0))),
    ),
    rule(
        "vision_tower.encoder.blocks.{}.wqkv",
        "v.blk.{}.attn_k",
        Transform::Rows(|_, n| Ok(third(n, 1))),
    ),
    rule(
        "vision_tower.encoder.blocks.{}.wqkv",
        "v.blk.{}.attn_v",
        Transform::Rows(|_, n| Ok(third(n, 2))),
    ),
    copy("vision_tower.encoder.blocks.{}.wo", "v.blk.{}.attn_out"),
    copy("vision_tower.encoder.blocks.{}.norm1", "v.blk.{}.ln2"),
    copy("vision_tower.encoder.blocks.{}.mlp.fc0", "v.blk.{}.ffn_up"),
    copy("vision_tower.encoder.blocks.{}.mlp.fc1", "v.blk.{}.ffn_down"),
    copy("vision_tower.encoder.final_layernorm", "v.post_ln"),
    copy("multi_modal_projector.pre_norm", "mm.input_norm"),
    copy("multi_modal_projector.linear_1", "mm.1"),
    copy("multi_modal_projector.linear_2", "mm.2"),
];

const LLAMA4_RULES: &[Rule] = &[
    exact("vision_model.class_embedding", "v.class_embd", Transform::Copy),
    exact(
        "vision_model.positional_embedding_vlm",
        "v.position_embd.weight",
        Transform::Copy,
    ),
    copy("vision_model.patch_embedding.linear", "v.patch_embd"),
    copy("vision_model.layernorm_pre", "v.pre_ln"),
    copy("vision_model.layernorm_post", "v.post_ln"),
    copy("vision_model.model.layers.{}.self_attn.q_proj", "v.blk.{}.attn_q"),
    copy("vision_model.model.layers.{}.self_attn.k_proj", "v.blk.{}.attn_k"),
    copy("vision_model.model.layers.{}.self_attn.v_proj", "v.blk.{}.attn_v"),
    copy(
        "vision_model.model.layers.{}.self_attn.o_proj",
        "v.blk.{}.attn_out",
    ),
    copy("vision_model.model.layers.{}.input_layernorm", "v.blk.{}.ln1"),
    // The stock converter gives it this name, which another encoder has too.
    copy(
        "vision_model.model.layers.{}.post_attention_layernorm",
        "v.blk.{}.attn_post_norm",
    ),
    copy("vision_model.model.layers.{}.mlp.fc1", "v.blk.{}.ffn_up"),
    copy("vision_model.model.layers.{}.mlp.fc2", "v.blk.{}.ffn_down"),
    copy("vision_model.vision_adapter.mlp.fc1", "mm.model.mlp.1"),
    copy("vision_model.vision_adapter.mlp.fc2", "mm.model.mlp.2"),
    copy("multi_modal_projector.linear_1", "mm.model.fc"),
];

const LFM2_VL_RULES: &[Rule] = &[
    exact(
        "vision_tower.vision_model.embeddings.patch_embedding.weight",
        "v.patch_embd.weight",
        Transform::View(as_convolution, None),
    ),
    copy("multi_modal_projector.layer_norm", "mm.input_norm"),
    copy("multi_modal_projector.linear_1", "mm.1"),
    copy("multi_modal_projector.linear_2", "mm.2"),
];

const INTERN_VL_RULES: &[Rule] = &[
    exact(
        "vision_model.embeddings.class_embedding",
        "v.class_embd",
        Transform::Copy,
    ),
    exact(
        "vision_model.embeddings.position_embedding",
        "v.position_embd.weight",
        Transform::Copy,
    ),
    copy("vision_model.embeddings.patch_embedding", "v.patch_embd"),
    copy("vision_model.encoder.layers.{}.norm1", "v.blk.{}.ln1"),
    copy("vision_model.encoder.layers.{}.norm2", "v.blk.{}.ln2"),
    exact(
        "vision_model.encoder.layers.{}.ls1",
        "v.blk.{}.ls1.weight",
        Transform::Copy,
    ),
    exact(
        "vision_model.encoder.layers.{}.ls2",
        "v.blk.{}.ls2.weight",
        Transform::Copy,
    ),
    rule(
        "vision_model.encoder.layers.{}.attn.qkv",
        "v.blk.{}.attn_q",
        Transform::Rows(|_, n| Ok(third(n, 0))),
    ),
    rule(
        "vision_model.encoder.layers.{}.attn.qkv",
        "v.blk.{}.attn_k",
        Transform::Rows(|_, n| Ok(third(n, 1))),
    ),
    rule(
        "vision_model.encoder.layers.{}.attn.qkv",
        "v.blk.{}.attn_v",
        Transform::Rows(|_, n| Ok(third(n, 2))),
    ),
    copy("vision_model.encoder.layers.{}.attn.proj", "v.blk.{}.attn_out"),
    copy(
        "vision_model.encoder.layers.{}.attn.q_norm",
        "v.blk.{}.attn_q_norm",
    ),
    copy(
        "vision_model.encoder.layers.{}.attn.k_norm",
        "v.blk.{}.attn_k_norm",
    ),
    copy("vision_model.encoder.layers.{}.mlp.fc1", "v.blk.{}.ffn_up"),
    copy("vision_model.encoder.layers.{}.mlp.fc2", "v.blk.{}.ffn_down"),
    copy("mlp1.{}", "mm.model.mlp.{}"),
];

/// Positions in rows and columns as one list.
fn rows_of_a_grid(_: &Hparams, view: View) -> Result<Option<View>> {
    Ok(match view.shape()[..] {
        [height, width, size] => height
            .checked_mul(width)
            .and_then(|positions| view.shaped(&[positions, size])),
        _ => None,
    })
}

/// Side of a patch, and its colours, of SigLIP 2.
const PATCH: u64 = 16;

/// A matrix over all numbers of a patch, the colours of a point beside each other, as a convolution.
fn as_convolution(_: &Hparams, view: View) -> Result<Option<View>> {
    let parts = |view: View| {
        let view = view.split(1, PATCH)?.split(2, PATCH)?;
        view.swap(1, 3)?.swap(2, 3)
    };
    Ok(parts(view))
}

/// A factor as a whole number.
fn whole_part(hp: &Hparams, factor: f64) -> Result<u32> {
    match factor.is_finite() && (1.0..1e6).contains(&factor) {
        true => Ok(factor as u32),
        false => Err(hp.error(format!(
            "a factor of {factor} between patches and tokens, at least 1 expected"
        ))),
    }
}

fn lfm2_vl_keys(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    let whole = vision_keys(hp, keys)?;
    keys.set("projector_type", "lfm2");
    keys.set(
        "vision.attention.layer_norm_epsilon",
        hp.f32(&["layer_norm_eps"])?,
    );
    let factor = whole.get("downsample_factor");
    let factor = factor.map(|f| hp.to_u32("downsample_factor", f)).transpose()?;
    keys.set("vision.projector.scale_factor", factor.unwrap_or(2));
    keys.set("use_gelu", true);
    // Counted from the end: -1 is the last block.
    let layer = whole
        .get("vision_feature_layer")
        .and_then(Value::as_i64)
        .unwrap_or(-1);
    let blocks = i64::from(hp.block_count())
        .checked_add(layer)
        .and_then(|n| n.checked_add(1));
    let blocks = blocks.and_then(|n| u32::try_from(n).ok());
    let blocks = blocks.ok_or_else(|| hp.error(format!("vision_feature_layer is {layer}, no block")))?;
    keys.set("vision.block_count", blocks);
    Ok(())
}

fn intern_vl_keys(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    let whole = vision_keys(hp, keys)?;
    keys.set("projector_type", "internvl");
    keys.set(
        "vision.attention.layer_norm_epsilon",
        hp.f32(&["layer_norm_eps"])?,
    );
    match hp.opt_str(&["hidden_act"]) {
        Some("silu") => keys.set("use_silu", true),
        Some("gelu") => keys.set("use_gelu", true),
        other => {
            return Err(hp.error(format!(
                "vision_config: hidden_act is {other:?}, silu or gelu expected"
            )));
        }
    }
    let ratio = whole
        .get("downsample_ratio")
        .and_then(Value::as_f64)
        .unwrap_or(0.0);
    keys.set("vision.projector.scale_factor", whole_part(hp, 1.0 / ratio)?);
    for (suffix, key) in [
        ("vision.preproc_min_tiles", "min_dynamic_patch"),
        ("vision.preproc_max_tiles", "max_dynamic_patch"),
    ] {
        let tiles = whole.get(key).map(|n| hp.to_u32(key, n)).transpose()?;
        keys.set_some(suffix, tiles.filter(|&n| n > 0));
    }
    Ok(())
}

static LLAMA4_TYPE: ModelType = ModelType {
    name: "llama4_vision_model",
    defaults: &[
        ("hidden_size", Default::Int(768)),
        ("intermediate_size", Default::Int(5632)),
        ("num_hidden_layers", Default::Int(34)),
        ("num_attention_heads", Default::Int(16)),
        ("image_size", Default::Int(448)),
        ("patch_size", Default::Int(14)),
        ("norm_eps", Default::Float(1e-5)),
        ("pixel_shuffle_ratio", Default::Float(0.5)),
    ],
    ..ModelType::UNROTATED
};

static SIGLIP2_TYPE: ModelType = ModelType {
    name: "siglip2_vision_model",
    defaults: &[
        ("hidden_size", Default::Int(768)),
        ("intermediate_size", Default::Int(3072)),
        ("num_hidden_layers", Default::Int(12)),
        ("num_attention_heads", Default::Int(12)),
        ("patch_size", Default::Int(16)),
        ("layer_norm_eps", Default::Float(1e-6)),
    ],
    ..ModelType::UNROTATED
};
