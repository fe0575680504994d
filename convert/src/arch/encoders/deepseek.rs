//! The image encoders of DeepSeek-OCR, DeepSeek-OCR 2, Unlimited-OCR and DeepSeek V4.

use gguf::TensorType;
use serde_json::{Map, Value, json};

use super::gemma::scale_by_tokens;
use super::keys::{epsilon, preprocessor, vision_keys, vision_keys_by};
use super::parts::{HALVES, by_colours};
use super::{ENCODER, HOOKS, convolution, names};
use crate::Result;
use crate::arch::rules::names::{Rule, Transform, exact_with, rule};
use crate::arch::{Architecture, Hooks, Hparams, Keys, View, class};

pub(super) static OCR: Architecture = Architecture {
    classes: &[class("DeepseekOCRForCausalLM")],
    rules: &[OCR_RULES, names::VISION],
    hyperparameters: |hp, keys| ocr_keys(hp, keys, "deepseekocr", 9),
    hooks: Hooks {
        vision: ocr_section,
        canonical: ocr_name,
        force: |_, name, ty| {
            let exact = [
                ".embeddings.",
                "pos_embed",
                ".rel_pos_h",
                ".rel_pos_w",
                ".neck.",
                ".net_",
            ];
            match exact.iter().any(|part| name.stored.contains(part)) {
                true => Some(TensorType::F32),
                false => convolution(name, ty),
            }
        },
        ..HOOKS
    },
    ..ENCODER
};

pub(super) static UNLIMITED_OCR: Architecture = Architecture {
    classes: &[class("UnlimitedOCRForCausalLM")],
    hyperparameters: |hp, keys| ocr_keys(hp, keys, "deepseekocr", 32),
    ..OCR
};

pub(super) static OCR2: Architecture = Architecture {
    classes: &[class("DeepseekOCR2ForCausalLM")],
    hyperparameters: |hp, keys| {
        ocr_keys(hp, keys, "deepseekocr2", 6)?;
        keys.set("vision.attention.head_count_kv", 2u32);
        Ok(())
    },
    hooks: Hooks {
        // The second encoder's numbers, which are in the code of the model.
        prepare: |config| {
            let width = config.get("width").and_then(|w| w.get("qwen2-0-5b")?.get("dim"));
            if let Some(width) = width.cloned() {
                config.insert("hidden_size".to_owned(), width);
            }
            config.entry("num_hidden_layers").or_insert(24.into());
            for (key, number) in [
                ("patch_size", 16),
                ("intermediate_size", 4864),
                ("num_attention_heads", 14),
            ] {
                if config.get(key).is_none_or(Value::is_null) {
                    config.insert(key.to_owned(), number.into());
                }
            }
        },
        ..OCR.hooks
    },
    ..OCR
};

/// The encoders stand under their names, the second one's numbers beside them.
fn ocr_section(whole: &Map<String, Value>) -> Option<Map<String, Value>> {
    let mut vision = whole.get("vision_config")?.as_object()?.clone();
    let widths = vision.get("width")?.clone();
    vision.insert(
        "sam".to_owned(),
        widths.get("sam_vit_b").cloned().unwrap_or_default(),
    );
    if let Some(clip) = widths.get("clip-l-14-224").and_then(Value::as_object) {
        vision.extend(clip.clone());
    }
    if let Some(width) = vision.get("width").filter(|w| w.is_u64()).cloned() {
        vision.insert("hidden_size".to_owned(), width);
    }
    if let Some(heads) = vision.get("heads").and_then(Value::as_u64) {
        vision.insert("num_heads".to_owned(), heads.into());
        vision.insert("intermediate_size".to_owned(), json!(heads.saturating_mul(4)));
    }
    Some(vision)
}

fn ocr_name(_: &Hparams, mut name: String) -> Option<String> {
    let text = ["lm_head.", "model.embed_tokens.", "model.layers.", "model.norm."];
    if text.iter().any(|p| name.starts_with(p)) || name.contains("language_model.") {
        return None;
    }
    let bare = ["pos_embed", "rel_pos_h", "rel_pos_w"];
    if bare.iter().any(|end| name.ends_with(end)) {
        name.push_str(".weight");
    }
    Some(name)
}

const OCR_RULES: &[Rule] = &[exact_with(
    "model.view_seperator",
    "v.view_seperator",
    Transform::View(as_row, None),
)];

/// A vector as a matrix of one row.
fn as_row(_: &Hparams, view: View) -> Result<Option<View>> {
    let length = view.len();
    Ok(view.shaped(&[1, length]))
}

/// Tiles that an image is cut into, when it is cut.
const FEWEST_TILES: u32 = 2;

fn ocr_keys(hp: &Hparams, keys: &mut Keys<'_>, projector: &str, most_tiles: u32) -> Result<()> {
    vision_keys(hp, keys)?;
    keys.set("projector_type", projector);
    epsilon(hp, keys, "layer_norm_eps", 1e-6)?;
    keys.set("use_gelu", true);
    scale_by_tokens(hp, keys)?;
    let window = hp.opt_u32(&["window_size"])?;
    keys.set("vision.window_size", window.unwrap_or(14));
    keys.set("vision.preproc_min_tiles", FEWEST_TILES);
    keys.set("vision.preproc_max_tiles", most_tiles);
    for (suffix, key) in [
        ("vision.sam.block_count", "layers"),
        ("vision.sam.embedding_length", "width"),
        ("vision.sam.head_count", "heads"),
    ] {
        keys.set(suffix, hp.to_u32(key, hp.inside("sam", key)?)?);
    }
    Ok(())
}

pub(super) static DEEPSEEK_V4: Architecture = Architecture {
    classes: &[class("DeepseekV4ForCausalLM")],
    rules: &[V4_RULES, names::VISION],
    hyperparameters: v4_keys,
    hooks: Hooks {
        vision: v4_section,
        canonical: |_, name| {
            let is_own = ["vision.", "aligner.", "image_"];
            is_own.iter().any(|p| name.starts_with(p)).then_some(name)
        },
        ..HOOKS
    },
    ..ENCODER
};

/// Keys of the whole configuration, and their usual names.
const V4_KEYS: [(&str, &str); 7] = [
    ("vision_n_layers", "num_hidden_layers"),
    ("vision_dim", "hidden_size"),
    ("vision_n_heads", "num_attention_heads"),
    ("vision_inter_dim", "intermediate_size"),
    ("vision_patch_size", "patch_size"),
    ("vision_downsample_ratio", "downsample_ratio"),
    ("vision_min_pixels", "min_pixels"),
];

/// Tokens along the side of an image that llama.cpp warms up with.
const V4_SIDE: u64 = 16;

fn v4_section(whole: &Map<String, Value>) -> Option<Map<String, Value>> {
    whole
        .get("vision_n_layers")
        .and_then(Value::as_u64)
        .filter(|&n| n > 0)?;
    let mut vision = Map::new();
    for (from, to) in V4_KEYS {
        vision.insert(to.to_owned(), whole.get(from)?.clone());
    }
    let number = |key: &str| vision.get(key).and_then(Value::as_u64);
    let side = number("patch_size")?.checked_mul(number("downsample_ratio")?)?;
    vision.insert("image_size".to_owned(), side.checked_mul(V4_SIDE)?.into());
    Some(vision)
}

const V4_RULES: &[Rule] = &[
    exact_with(
        "vision.patch_embed.proj.weight",
        "v.patch_embd.weight",
        Transform::View(v4_patches, None),
    ),
    rule("vision.blocks.{}.mlp.w1", "v.blk.{}.ffn_gate", HALVES[0]),
    rule("vision.blocks.{}.mlp.w1", "v.blk.{}.ffn_up", HALVES[1]),
];

fn v4_patches(hp: &Hparams, view: View) -> Result<Option<View>> {
    Ok(by_colours(view, u64::from(hp.u32(&["patch_size"])?)))
}

fn v4_keys(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    let mut processor = preprocessor(keys.dir)?;
    for key in ["image_mean", "image_std"] {
        processor.entry(key).or_insert(json!([0.5, 0.5, 0.5]));
    }
    vision_keys_by(hp, keys, &processor)?;
    keys.set("projector_type", "deepseek4v");
    // Not the text model's, which is far smaller.
    keys.set("vision.attention.layer_norm_epsilon", 1e-6f32);
    keys.set("use_silu", true);
    keys.set("vision.projector.scale_factor", hp.u32(&["downsample_ratio"])?);
    keys.set("vision.image_min_pixels", hp.u32(&["min_pixels"])?);
    // What llama.cpp's code has.
    for (key, expected) in [("vision_max_n_token", 384), ("vision_max_wh_ratio", 8)] {
        let found = hp.whole().u32(&[key])?;
        if found != expected {
            return Err(hp.error(format!("{key}: expected {expected}, found {found}")));
        }
    }
    Ok(())
}
