//! The encoders of Granite Speech and Granite 4 Vision.

use gguf::{Array, TensorType, Value as GgufValue};
use serde_json::Value;

use super::keys::{audio_keys_of, epsilon, text_keys, vision_keys};
use super::parts::{FOLDED_NORM, HALVES, SQUEEZED};
use super::{ENCODER, HOOKS, convolution, names};
use crate::Result;
use crate::arch::rules::names::{Rule, Scope};
use crate::arch::{Architecture, Hooks, Hparams, Keys, ModelType, class};

pub(super) static SPEECH: Architecture = Architecture {
    classes: &[class("GraniteSpeechForConditionalGeneration")],
    rules: &[SPEECH_RULES, names::AUDIO],
    hyperparameters: speech_keys,
    model_types: &[&SPEECH_TYPE, &PROJECTOR_TYPE],
    hooks: Hooks {
        vision: |_| None,
        audio: |whole| whole.get("encoder_config")?.as_object().cloned(),
        prepare: |_| (),
        canonical: |_, name| {
            let is_other = ["attention_dists", "num_batches_tracked", "language_model."];
            (!is_other.iter().any(|p| name.contains(p))).then_some(name)
        },
        force: |_, name, ty| {
            let is_own = name.stored.contains("encoder") || name.stored.contains("projector");
            match is_own && name.stored.contains(".conv") && name.stored.contains(".weight") {
                true => Some(TensorType::F32),
                false => convolution(name, ty),
            }
        },
        ..HOOKS
    },
    ..ENCODER
};

pub(super) static SPEECH_PLUS: Architecture = Architecture {
    classes: &[class("GraniteSpeechPlusForConditionalGeneration")],
    hyperparameters: |hp, keys| {
        speech_keys(hp, keys)?;
        let layers = hp.find(&["cat_hidden_layers"]).and_then(Value::as_array);
        let Some(layers) = layers.filter(|layers| !layers.is_empty()) else {
            return Ok(());
        };
        let count = layers.len() as u32 + 1;
        keys.set("audio.feature_layer", integers(hp, "cat_hidden_layers", layers)?);
        let expected = hp.times(count, &["hidden_dim"])?;
        let width = hp.whole().inside("projector_config", "encoder_hidden_size")?;
        let width = hp.to_u32("encoder_hidden_size", width)?;
        match width == expected {
            true => Ok(()),
            false => Err(hp.error(format!(
                "projector_config: encoder_hidden_size is {width}, {expected} expected of {count} layers' states"
            ))),
        }
    },
    // transformers does not know it.
    model_types: &[],
    ..SPEECH
};

static SPEECH_TYPE: ModelType = ModelType::unrotated("granite_speech_encoder");

static PROJECTOR_TYPE: ModelType = ModelType::unrotated("blip_2_qformer");

const CONFORMER: Scope = Scope::new("encoder.layers.{}", "a.blk.{}");

/// A folded norm has the name of its variance, as llama.cpp looks for it.
const SPEECH_RULES: &[Rule] = &[
    CONFORMER.exact_with("conv.batch_norm.weight", "conv_norm_var", FOLDED_NORM[0]),
    CONFORMER.exact_with("conv.batch_norm.bias", "conv_norm_var", FOLDED_NORM[1]),
    CONFORMER.exact_with("conv.batch_norm.running_mean", "conv_norm_var", FOLDED_NORM[2]),
    CONFORMER.exact_with("conv.batch_norm.running_var", "conv_norm_var", FOLDED_NORM[3]),
    CONFORMER.exact("attn.rel_pos_emb.weight", "attn_rel_pos_emb"),
    CONFORMER.rule("attn.to_kv", "attn_k", HALVES[0]),
    CONFORMER.rule("attn.to_kv", "attn_v", HALVES[1]),
    CONFORMER.exact_with("conv.up_conv.weight", "conv_pw1.weight", SQUEEZED),
    CONFORMER.exact_with("conv.down_conv.weight", "conv_pw2.weight", SQUEEZED),
    CONFORMER.exact_with("conv.depth_conv.conv.weight", "conv_dw.weight", SQUEEZED),
];

fn speech_keys(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    let width = hp.u32(&["hidden_dim"])?;
    let inner = hp.product(&[width, hp.u32(&["feedforward_mult"])?])?;
    let numbers = [width, inner, hp.u32(&["num_layers"])?, hp.u32(&["num_heads"])?];
    audio_keys_of(hp, keys, numbers)?;
    keys.set("projector_type", "granite_speech");
    keys.set("audio.num_mel_bins", hp.u32(&["input_dim"])?);
    keys.set("audio.attention.layer_norm_epsilon", 1e-5f32);
    for (suffix, key) in [
        ("audio.chunk_size", "context_size"),
        ("audio.conv_kernel_size", "conv_kernel_size"),
        ("audio.max_pos_emb", "max_pos_emb"),
    ] {
        keys.set(suffix, hp.u32(&[key])?);
    }
    for (suffix, key) in [
        ("audio.projector.window_size", "window_size"),
        ("audio.projector.downsample_rate", "downsample_rate"),
    ] {
        keys.set(suffix, hp.whole().u32(&[key])?);
    }
    let heads = hp.whole().inside("projector_config", "num_attention_heads")?;
    keys.set(
        "audio.projector.head_count",
        hp.to_u32("num_attention_heads of the projector", heads)?,
    );
    Ok(())
}

/// Numbers as an array of a file.
fn integers(hp: &Hparams, key: &str, list: &[Value]) -> Result<GgufValue> {
    let number = |n: &Value| i32::try_from(n.as_i64()?).ok();
    let numbers = list.iter().map(number).collect::<Option<Vec<i32>>>();
    match numbers {
        Some(numbers) => Ok(GgufValue::Array(Array::I32(numbers))),
        None => Err(hp.error(format!("{key}: expected a list of 32-bit integers, found none"))),
    }
}

pub(super) static VISION: Architecture = Architecture {
    classes: &[class("Granite4VisionForConditionalGeneration")],
    hyperparameters: vision4_keys,
    hooks: Hooks {
        canonical: vision4_name,
        ..HOOKS
    },
    ..ENCODER
};

/// A projector: the encoder's block that it reads, the text model's layer that it leads to, and its place among those
/// of its kind.
#[derive(Clone, Copy, Debug)]
struct Projector {
    block: i32,
    layer: i32,
    is_spatial: bool,
    at: i32,
}

/// All projectors, by the layers that they lead to.
fn projectors(hp: &Hparams) -> Result<Vec<Projector>> {
    let whole = hp.whole();
    let pairs = whole.find(&["deepstack_layer_map"]).and_then(Value::as_array);
    let layers = whole.find(&["spatial_target_layers"]).and_then(Value::as_array);
    let text = text_keys(hp);
    // Asked for only where a layer is counted from the end.
    let layers_of_text = || {
        let count = text.get("num_hidden_layers").unwrap_or(&Value::Null);
        hp.to_u32("num_hidden_layers", count)
    };
    let number = |value: Option<&Value>, count: &dyn Fn() -> Result<u32>| -> Result<i32> {
        let number = value.and_then(Value::as_i64).and_then(|n| i32::try_from(n).ok());
        let number = number.ok_or_else(|| {
            hp.error("map of projectors: expected a list of integers, found others".to_owned())
        })?;
        Ok(if number < 0 {
            number.saturating_add_unsigned(count()?)
        } else {
            number
        })
    };
    let raw = |pair: &Value| {
        (
            pair.get(0).and_then(Value::as_i64),
            pair.get(1).and_then(Value::as_i64),
        )
    };
    let mut pairs: Vec<&Value> = pairs.into_iter().flatten().collect();
    pairs.sort_by_key(|pair| raw(pair));
    let mut found = Vec::new();
    for (at, pair) in (0..).zip(pairs) {
        found.push(Projector {
            block: number(pair.get(0), &|| Ok(hp.block_count()))?,
            layer: number(pair.get(1), &layers_of_text)?,
            is_spatial: false,
            at,
        });
    }
    let last = Value::from(-1);
    let block = whole.find(&["spatial_vision_layer"]).unwrap_or(&last);
    for (at, layer) in (0..).zip(layers.into_iter().flatten()) {
        // The stock converter takes these layers as they are.
        found.push(Projector {
            block: number(Some(block), &|| Ok(hp.block_count()))?,
            layer: number(Some(layer), &|| Ok(0))?,
            is_spatial: true,
            at,
        });
    }
    found.sort_by_key(|p| p.layer);
    Ok(found)
}

/// Projectors are numbered by the layers that they lead to.
fn vision4_name(hp: &Hparams, name: String) -> Option<String> {
    if name.contains("vision_model.head") || name.starts_with("lm_head") || name.contains("language_model.") {
        return None;
    }
    let kinds = [
        ("model.layerwise_projectors.", false),
        ("model.spatial_projectors.", true),
    ];
    let renamed = kinds.iter().find_map(|(kind, is_spatial)| {
        let (at, rest) = name.strip_prefix(kind)?.split_once('.')?;
        let at: i32 = at.parse().ok()?;
        let all = projectors(hp).ok()?;
        let place = all
            .iter()
            .position(|p| p.is_spatial == *is_spatial && p.at == at)?;
        // A projector has one layer, whose number gives way to the projector's.
        Some(match rest.split_once(".layer.0.") {
            Some((before, after)) => format!("{kind}{before}.layer.{place}.{after}"),
            None => format!("{kind}{place}.{rest}"),
        })
    });
    Some(renamed.unwrap_or(name))
}

fn vision4_keys(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    vision_keys(hp, keys)?;
    keys.set("projector_type", "granite4_vision");
    epsilon(hp, keys, "layer_norm_eps", 1e-6)?;
    keys.set("use_gelu", true);
    keys.set("vision.preproc_image_size", hp.u32(&["image_size"])?);
    let rate = hp.whole().opt_str(&["downsample_rate"]).unwrap_or("");
    let sides = rate.split_once('/');
    let sides = sides.and_then(|(a, b)| Some((a.trim().parse::<u32>().ok()?, b.trim().parse::<u32>().ok()?)));
    let Some((query, window)) = sides else {
        return Err(hp.error(format!(
            "downsample_rate: expected two numbers with a / between, found {rate:?}"
        )));
    };
    keys.set("vision.projector.query_side", query);
    keys.set("vision.projector.window_side", window);
    let all = projectors(hp)?;
    let blocks = all.iter().map(|p| p.block).collect();
    keys.set("vision.feature_layer", GgufValue::Array(Array::I32(blocks)));
    let offsets = all.iter().map(|p| if p.is_spatial { p.at } else { -1 }).collect();
    keys.set(
        "vision.projector.spatial_offsets",
        GgufValue::Array(Array::I32(offsets)),
    );
    let sizes = hp
        .whole()
        .find(&["image_grid_pinpoints"])
        .and_then(Value::as_array);
    if let Some(sizes) = sizes.filter(|sizes| !sizes.is_empty()) {
        let turned = |size: &Value| Some([size.get(1)?.clone(), size.get(0)?.clone()]);
        let turned: Option<Vec<_>> = sizes.iter().map(turned).collect();
        let turned = turned.unwrap_or_default().concat();
        keys.set(
            "vision.image_grid_pinpoints",
            integers(hp, "image_grid_pinpoints", &turned)?,
        );
    }
    Ok(())
}
