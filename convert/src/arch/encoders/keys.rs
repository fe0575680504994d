//! The keys that all encoders have, and what they are taken from.

use std::path::Path;

use serde_json::{Map, Value};

use crate::arch::rules::multimodal::inner_text;
use crate::arch::{Hparams, Keys};
use crate::{Error, Result};

/// `clip.vision.*`, with the means and deviations that the preprocessor's configuration has.
pub(super) fn vision_keys(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    let processor = preprocessor(keys.dir)?;
    vision_keys_by(hp, keys, &processor)
}

/// The same with a given configuration of the preprocessor.
pub(super) fn vision_keys_by(
    hp: &Hparams,
    keys: &mut Keys<'_>,
    processor: &Map<String, Value>,
) -> Result<()> {
    vision_keys_of(hp, keys, processor, hp.u32(&["image_size"])?)
}

/// The same with a given side of an image.
pub(super) fn vision_keys_of(
    hp: &Hparams,
    keys: &mut Keys<'_>,
    processor: &Map<String, Value>,
    side: u32,
) -> Result<()> {
    keys.set_file_type();
    keys.set("has_vision_encoder", true);
    keys.set("vision.projection_dim", text_width(hp)?);
    keys.set("vision.image_size", side);
    keys.set("vision.patch_size", hp.u32(&["patch_size"])?);
    let width = hp.u32(&["hidden_size", "width", "vt_hidden_size"])?;
    keys.set("vision.embedding_length", width);
    let inner = hp.u32(&["intermediate_size", "vt_intermediate_size"])?;
    keys.set("vision.feed_forward_length", inner);
    keys.set("vision.block_count", hp.encoder_blocks()?);
    let heads = [
        "num_attention_heads",
        "num_heads",
        "heads",
        "vt_num_attention_heads",
    ];
    keys.set("vision.attention.head_count", hp.u32(&heads)?);
    for key in ["image_mean", "image_std"] {
        let found = processor.get(key).unwrap_or(&Value::Null);
        let numbers = numbers_of(found).filter(|numbers| numbers.len() == COLOURS);
        let numbers = numbers.ok_or_else(|| Error::input(keys.dir.join(PREPROCESSOR), format!(
                "{key}: expected a list of {COLOURS} numbers, one of each colour, which every encoder needs, found {found}"
            )))?;
        keys.set(&format!("vision.{key}"), numbers);
    }
    Ok(())
}

/// `clip.audio.*`.
pub(super) fn audio_keys(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    let audio = hp.audio();
    let blocks = audio.encoder_blocks()?;
    let width = audio.u32(&["hidden_size", "d_model"])?;
    let inner = audio.u32(&["intermediate_size", "encoder_ffn_dim"])?;
    let heads = audio.u32(&["num_attention_heads", "encoder_attention_heads"])?;
    audio_keys_of(hp, keys, [width, inner, blocks, heads])
}

/// The same with the numbers given: width, inner width, blocks, heads.
pub(super) fn audio_keys_of(hp: &Hparams, keys: &mut Keys<'_>, numbers: [u32; 4]) -> Result<()> {
    keys.set_file_type();
    keys.set("has_audio_encoder", true);
    keys.set("audio.projection_dim", text_width(hp)?);
    for (key, number) in [
        "audio.embedding_length",
        "audio.feed_forward_length",
        "audio.block_count",
        "audio.attention.head_count",
    ]
    .into_iter()
    .zip(numbers)
    {
        keys.set(key, number);
    }
    Ok(())
}

/// Mel bins and the norm's epsilon of an encoder as Whisper's.
pub(super) fn whisper_keys(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    let audio = hp.audio();
    keys.set("audio.num_mel_bins", audio.u32(&["num_mel_bins"])?);
    let epsilon = audio.opt_f32(&["layer_norm_eps"])?.unwrap_or(1e-5);
    keys.set("audio.attention.layer_norm_epsilon", epsilon);
    Ok(())
}

/// The norm's epsilon, or what the model's code has where the configuration does not say.
pub(super) fn epsilon(hp: &Hparams, keys: &mut Keys<'_>, key: &str, default: f32) -> Result<()> {
    let epsilon = hp.opt_f32(&[key])?.unwrap_or(default);
    keys.set("vision.attention.layer_norm_epsilon", epsilon);
    Ok(())
}

/// The activation, of which llama.cpp has two.
pub(super) fn activation(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    match hp.opt_str(&["hidden_act"]) {
        Some("silu") => keys.set("use_silu", true),
        Some("gelu") => keys.set("use_gelu", true),
        other => {
            return Err(hp.error(format!(
                "vision_config: hidden_act: expected silu or gelu, found {other:?}"
            )));
        }
    }
    Ok(())
}

/// The activation, where it is one that llama.cpp has.
pub(super) fn known_activation(hp: &Hparams, keys: &mut Keys<'_>) {
    match hp.opt_str(&["hidden_act"]).map(str::to_lowercase).as_deref() {
        Some("silu") => keys.set("use_silu", true),
        Some("gelu") => keys.set("use_gelu", true),
        _ => {}
    }
}

/// A factor as a whole number.
pub(super) fn whole_part(hp: &Hparams, factor: f64) -> Result<u32> {
    match factor.is_finite() && (1.0..1e6).contains(&factor) {
        true => Ok(factor as u32),
        false => Err(hp.error(format!(
            "expected a factor of at least 1 between patches and tokens, found {factor}"
        ))),
    }
}

/// A number of the preprocessor's configuration.
pub(super) fn processor_u32(hp: &Hparams, processor: &Map<String, Value>, key: &str) -> Result<Option<u32>> {
    let value = processor.get(key).filter(|v| !v.is_null());
    value.map(|v| hp.to_u32(key, v)).transpose()
}

/// Fewest and most pixels of an image, which the preprocessor's configuration must have.
pub(super) fn pixel_limits(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    let processor = preprocessor(keys.dir)?;
    for (suffix, key) in [
        ("vision.image_min_pixels", "min_pixels"),
        ("vision.image_max_pixels", "max_pixels"),
    ] {
        keys.set(suffix, required(hp, &processor, key)?);
    }
    Ok(())
}

/// A number that the preprocessor's configuration must have.
pub(super) fn required(hp: &Hparams, processor: &Map<String, Value>, key: &str) -> Result<u32> {
    processor_u32(hp, processor, key)?.ok_or_else(|| {
        Error::input(
            hp.dir().join(PREPROCESSOR),
            format!("expected a key {key}, which this encoder needs, found none"),
        )
    })
}

/// Width of the text model's states, which the projector leads to.
pub(super) fn text_width(hp: &Hparams) -> Result<u32> {
    let text = text_keys(hp);
    let width = text.get("hidden_size").or_else(|| text.get("n_embd"));
    hp.to_u32("hidden_size of the text model", width.unwrap_or(&Value::Null))
}

/// The configuration from which a file of an encoder takes numbers of the text model: that of the whole, and over it the text
/// model's. Of a model that `transformers` does not know, neither has defaults, whatever type the text model is of.
pub(super) fn text_keys(hp: &Hparams) -> Map<String, Value> {
    let whole = hp.whole().values();
    let inner = TEXT_KEYS.iter().find_map(|key| whole.get(*key)?.as_object());
    let mut keys = whole.clone();
    keys.extend(inner.or_else(|| inner_text(whole)).cloned().into_iter().flatten());
    keys
}

/// Where the text model's configuration stands in those of models that speak.
const TEXT_KEYS: [&str; 2] = ["lfm", "talker_config"];

const PREPROCESSOR: &str = "preprocessor_config.json";

/// Means and deviations of an image.
const COLOURS: usize = 3;

fn numbers_of(value: &Value) -> Option<Vec<f32>> {
    let numbers = value.as_array()?.iter();
    numbers.map(|x| Some(x.as_f64()? as f32)).collect()
}

/// Preparation of images: `preprocessor_config.json`, over which goes `processor_config.json`, each with the
/// inner object that newer directories have brought to its top.
pub(super) fn preprocessor(dir: &Path) -> Result<Map<String, Value>> {
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
