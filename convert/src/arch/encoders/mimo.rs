//! MiMo V2: windows and sinks over images, and a tokenizer of sound in a folder of its own, whose codes a small transformer
//! of the model's reads.

use gguf::{Array, TensorType, Value as GgufValue};
use serde_json::{Map, Value};

use super::keys::{audio_keys_of, pixel_limits, vision_keys};
use super::parts::{COLUMN, FRAMES_OF_PATCHES};
use super::{ENCODER, convolution, names};
use crate::Result;
use crate::arch::rules::names::{Codebooks, Rule, Transform, exact, exact_with, rule};
use crate::arch::{Architecture, Beside, Hooks, Hparams, Keys, Named, class};

pub(super) static MIMO_V2: Architecture = Architecture {
    classes: &[class("MiMoV2ForCausalLM")],
    rules: &[RULES, FRAMES_OF_PATCHES, names::VISION, names::AUDIO],
    hyperparameters,
    hooks: Hooks {
        prepare,
        canonical: |_, name| own_name(name),
        beside: Some(Beside {
            folder: FOLDER,
            is_sound: true,
            order: |_, names| Ok(in_order(names)),
        }),
        force: |_, name, ty| kept_exact(name).or_else(|| convolution(name, ty)),
        ..Hooks::NONE
    },
    ..ENCODER
};

const FOLDER: &str = "audio_tokenizer";
/// The beginning of a codebook's name in that folder, and its end.
const CODEBOOK: [&str; 2] = ["encoder.quantizer.vq.layers.", "._codebook.embed"];

/// Numbers of a configuration that does not have them.
const SIDE: u32 = 560;
const BLOCKS: u32 = 28;
const KEY_HEADS: u32 = 8;
const EPSILON: f32 = 1e-6;
const EPSILON_OF_SOUND: f32 = 1e-5;

/// Brings the names of numbers to those of other encoders.
fn prepare(config: &mut Map<String, Value>) {
    for (key, own, default) in [
        ("num_attention_heads", "num_heads", None),
        ("num_hidden_layers", "depth", Some(BLOCKS)),
        ("image_size", "image_size", Some(SIDE)),
    ] {
        let number = config.get(own).cloned();
        match number.or(default.map(Value::from)) {
            Some(number) => config.insert(key.to_owned(), number),
            None => config.shift_remove(key),
        };
    }
}

/// The tensors of the folder, less the buffers of its training, with the codebooks behind the others.
fn in_order(names: Vec<String>) -> Vec<String> {
    let is_wanted = |name: &String| {
        let of_training = [
            "_codebook.cluster_size",
            "_codebook.embed_avg",
            "_codebook.inited",
        ];
        !name.starts_with("decoder.") && !of_training.iter().any(|end| name.ends_with(end))
    };
    let [before, after] = CODEBOOK;
    let is_codebook = |name: &String| name.starts_with(before) && name.ends_with(after);
    let (codebooks, mut others): (Vec<_>, Vec<_>) =
        names.into_iter().filter(is_wanted).partition(is_codebook);
    others.extend(codebooks);
    others
}

/// The tokenizer's tensors, and those of the model that are not the text's.
fn own_name(name: String) -> Option<String> {
    if let Some(of_folder) = name.strip_prefix(FOLDER).and_then(|rest| rest.strip_prefix('/')) {
        return Some(of_folder.to_owned());
    }
    let own = ["visual.", "speech_embeddings.", "audio_encoder."];
    let is_own = own.iter().any(|p| name.starts_with(p)) && !name.contains("language_model.");
    is_own.then_some(name)
}

const RULES: &[Rule] = &[
    exact_with(
        "encoder.quantizer.vq.layers.{e}._codebook.embed",
        "a.rvq.codebook.weight",
        Transform::Codebook(Codebooks::Vectors),
    ),
    exact_with("encoder.conv1.bias", "a.conv1d.1.bias", COLUMN),
    exact_with("encoder.conv2.bias", "a.conv1d.2.bias", COLUMN),
    rule(
        "speech_embeddings.{e}",
        "mm.a.code_embd",
        Transform::Numbered(|hp| of_reader(hp, "audio_channels")),
    ),
    exact("audio_encoder.projection.mlp.0.weight", "mm.a.mlp.1.weight"),
    exact("audio_encoder.projection.mlp.2.weight", "mm.a.mlp.2.weight"),
];

/// A number of the transformer that reads the codes.
fn of_reader(hp: &Hparams, key: &str) -> Result<u32> {
    let whole = hp.whole();
    whole.to_u32(
        &format!("audio_config: {key}"),
        whole.inside("audio_config", key)?,
    )
}

/// Codebooks and convolutions over sound.
fn kept_exact(name: Named<'_>) -> Option<TensorType> {
    let is_table = ["a.rvq.codebook.weight", "mm.a.code_embd.weight"].contains(&name.gguf);
    let convolutions = ["encoder.conv", "encoder.down_sample_layer"];
    let is_convolution =
        convolutions.iter().any(|part| name.stored.contains(part)) && name.stored.ends_with(".weight");
    (is_table || is_convolution).then_some(TensorType::F32)
}

fn hyperparameters(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    vision_keys(hp, keys)?;
    let sound = hp.audio();
    let numbers = [
        sound.u32(&["d_model"])?,
        sound.u32(&["encoder_ffn_dim"])?,
        sound.encoder_blocks()?,
        sound.u32(&["encoder_attention_heads"])?,
    ];
    audio_keys_of(hp, keys, numbers)?;
    keys.set("vision.projector_type", "mimovl");
    keys.set("use_silu", true);
    let groups = hp.opt_u32(&["num_key_value_heads"])?.unwrap_or(KEY_HEADS);
    keys.set("vision.attention.head_count_kv", groups);
    keys.set("vision.spatial_merge_size", hp.u32(&["spatial_merge_size"])?);
    keys.set("vision.window_size", hp.u32(&["visual_token_window_size"])?);
    keys.set_some("vision.wa_pattern_mode", kinds_of_windows(hp)?);
    let epsilon = hp.opt_f32(&["rms_norm_eps"])?.unwrap_or(EPSILON);
    keys.set("vision.attention.layer_norm_epsilon", epsilon);
    pixel_limits(hp, keys)?;
    keys.set("audio.projector_type", "mimo_audio");
    keys.set("audio.num_mel_bins", sound.u32(&["n_mels"])?);
    let epsilon = sound.opt_f32(&["layer_norm_eps"])?.unwrap_or(EPSILON_OF_SOUND);
    keys.set("audio.attention.layer_norm_epsilon", epsilon);
    let codes = codes(hp, keys)?;
    keys.set("audio.rvq.num_quantizers", codes.len() as u32);
    keys.set("audio.rvq.codebook_size", GgufValue::Array(Array::I32(codes)));
    let windows = windows_of_sound(sound)?;
    keys.set_some(
        "audio.wa_pattern_mode",
        (!windows.is_empty()).then_some(GgufValue::Array(Array::I32(windows))),
    );
    let window = sound
        .find(&["encoder_attn_window_size"])
        .and_then(|sizes| sizes.get(0))
        .ok_or_else(|| {
            sound.error("encoder_attn_window_size: expected a list of numbers, found none".to_owned())
        })?;
    keys.set(
        "audio.window_size",
        sound.to_u32("encoder_attn_window_size", window)?,
    );
    keys.set("audio.local_block_count", of_reader(hp, "input_local_layers")?);
    keys.set("audio.local_group_size", of_reader(hp, "group_size")?);
    Ok(())
}

/// Of each block that sees images, its kind of window, where the configuration has them.
fn kinds_of_windows(hp: &Hparams) -> Result<Option<GgufValue>> {
    const KEY: &str = "vit_window_attn_types";
    let kinds = hp.find(&[KEY]).and_then(Value::as_array);
    let number = |kind: &Value| {
        let number = kind.as_i64().and_then(|n| i32::try_from(n).ok());
        number.ok_or_else(|| {
            hp.error(format!(
                "{KEY}: expected a 32-bit integer for each block, found {kind}"
            ))
        })
    };
    let kinds = kinds
        .into_iter()
        .flatten()
        .map(number)
        .collect::<Result<Vec<i32>>>()?;
    Ok((!kinds.is_empty()).then_some(GgufValue::Array(Array::I32(kinds))))
}

/// Of each block that hears, 0 where it sees a window, -1 where it sees all.
fn windows_of_sound(sound: &Hparams) -> Result<Vec<i32>> {
    let blocks = sound.u32(&["encoder_layers"])?;
    if blocks > MAX_BLOCKS {
        return Err(sound.error(format!(
            "encoder_layers: expected at most {MAX_BLOCKS}, found {blocks}"
        )));
    }
    let period = sound.opt_u32(&["swa_per_block"])?.unwrap_or(1);
    let alternate = sound.opt_bool("hybrid_attention") == Some(true) && period > 1;
    let kind = |block: u32| {
        if alternate && block % period < period - 1 {
            0
        } else {
            -1
        }
    };
    Ok((0..blocks).map(kind).collect())
}

/// Most blocks of an encoder, which two in one file have numbers for.
const MAX_BLOCKS: u32 = 128;

/// Codes of each codebook.
fn codes(hp: &Hparams, keys: &Keys<'_>) -> Result<Vec<i32>> {
    let [before, after] = CODEBOOK;
    let of = |number: u32| (keys.shape)(&format!("{FOLDER}/{before}{number}{after}"));
    let mut codes = Vec::new();
    for number in 0.. {
        let Some(shape) = of(number) else { break };
        let count = shape.first().and_then(|&n| i32::try_from(n).ok());
        codes.push(count.ok_or_else(|| {
            hp.error(format!(
                "tensor '{before}{number}{after}': expected codes below 2^31, found the shape {shape:?}"
            ))
        })?);
    }
    if codes.is_empty() {
        return Err(hp.audio().error(format!(
            "expected codebooks ('{before}0{after}' …) in {FOLDER}, found none"
        )));
    }
    Ok(codes)
}
