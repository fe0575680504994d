//! Qwen3-TTS, the talker: Qwen3 whose vocabulary is text, through two layers, and the codes of speech behind it.

use gguf::{Array, Value as GgufValue};
use serde_json::Value;

use crate::Result;
use crate::arch::rules::common;
use crate::arch::rules::names::{
    Composed, DECODER, Elementwise, FoldedLayer, HEAD_NORMS, Rule, Section, Transform, copy, exact_with,
};
use crate::arch::{Architecture, Hooks, Hparams, Keys, PLAIN, class};
use crate::tokenizer::{VocabKind, VocabRequest};

pub(super) static QWEN3TTS: Architecture = Architecture {
    gguf: "qwen3tts",
    classes: &[class("Qwen3TTSForConditionalGeneration")],
    rules: &[RULES, HEAD_NORMS, DECODER],
    hyperparameters,
    vocabulary: |_| VocabRequest::new(&[VocabKind::SentencePiece, VocabKind::Bpe]),
    hooks: Hooks {
        canonical: |_, name| {
            let own = name.strip_prefix("talker.")?;
            (!own.starts_with("code_predictor.")).then(|| own.to_owned())
        },
        further_tokens: codes,
        late: |_, keys| {
            // What it is given is no chat.
            keys.metadata.remove("tokenizer.chat_template");
            Ok(())
        },
        ..Hooks::NONE
    },
    ..PLAIN
};

/// The text's embeddings with the two layers behind them folded in, then those of the codes.
static TABLE: Composed = Composed {
    parts: &[
        Section::Through(
            "model.text_embedding.weight",
            &[
                FoldedLayer {
                    weight: "text_projection.linear_fc1.weight",
                    bias: Some("text_projection.linear_fc1.bias"),
                    activation,
                },
                FoldedLayer {
                    weight: "text_projection.linear_fc2.weight",
                    bias: Some("text_projection.linear_fc2.bias"),
                    activation: |_| Ok(None),
                },
            ],
        ),
        Section::Rows("model.codec_embedding.weight"),
    ],
    place: None,
};

const RULES: &[Rule] = &[
    exact_with(
        "model.text_embedding.weight",
        "token_embd.weight",
        Transform::Piece(&TABLE),
    ),
    exact_with(
        "model.codec_embedding.weight",
        "token_embd.weight",
        Transform::Piece(&TABLE),
    ),
    exact_with(
        "text_projection.linear_fc1.weight",
        "token_embd.weight",
        Transform::Piece(&TABLE),
    ),
    exact_with(
        "text_projection.linear_fc1.bias",
        "token_embd.weight",
        Transform::Piece(&TABLE),
    ),
    exact_with(
        "text_projection.linear_fc2.weight",
        "token_embd.weight",
        Transform::Piece(&TABLE),
    ),
    exact_with(
        "text_projection.linear_fc2.bias",
        "token_embd.weight",
        Transform::Piece(&TABLE),
    ),
    copy("codec_head", "output"),
];

/// The function between the two layers.
fn activation(hp: &Hparams) -> Result<Option<Elementwise>> {
    match hp.opt_str(&["hidden_act"]) {
        Some("silu") => Ok(Some(|x| (f64::from(x) / (1.0 + (-f64::from(x)).exp())) as f32)),
        Some("relu") => Ok(Some(|x| x.max(0.0))),
        other => Err(hp.error(format!(
            "hidden_act: found {}, expected silu or relu, which the text's embeddings go through",
            other.unwrap_or("none")
        ))),
    }
}

/// Codes at the end of the vocabulary that are none of a sound.
const SIGNS: u32 = 1024;

fn hyperparameters(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    common::text_model(hp, keys)?;
    let text = hp.u32(&["vocab_size"])?;
    let sum = |more: u32| {
        text.checked_add(more)
            .filter(|&n| n <= i32::MAX as u32)
            .ok_or_else(|| {
                hp.error(format!(
                    "vocab_size: expected at most {} tokens and codes, found {text} and {more}",
                    i32::MAX
                ))
            })
    };
    let all = sum(hp.u32(&["codec_vocab_size"])?)?;
    let end = sum(hp.u32(&["codec_eos_token_id"])?)?;
    let signs = all.saturating_sub(SIGNS)..all;
    let muted: Vec<i32> = signs.filter(|&id| id != end).map(|id| id as i32).collect();
    keys.set_tokenizer("suppress_tokens", GgufValue::Array(Array::I32(muted)));
    keys.set_tokenizer("eos_token_id", end);
    keys.set_tokenizer("add_eos_token", false);
    Ok(())
}

/// Names of the codes: by number, and those that keys of the configuration give a meaning by that.
fn codes(hp: &Hparams) -> Result<Vec<String>> {
    let count = hp.u32(&["codec_vocab_size"])?;
    let talker = hp.find(&["talker_config"]).and_then(Value::as_object);
    let talker = talker.ok_or_else(|| hp.missing(&["talker_config"]))?;
    if u64::from(count) > MAX_CODES {
        return Err(hp.error(format!(
            "talker_config: vocab_size: found {count}, at most {MAX_CODES} expected"
        )));
    }
    let mut names: Vec<String> = (0..count).map(|i| format!("<|codec_{i}|>")).collect();
    let mut name = |id: &Value, text: String| {
        let place = id
            .as_u64()
            .and_then(|id| names.get_mut(usize::try_from(id).ok()?));
        match place {
            Some(place) => *place = text,
            None => {
                return Err(hp.error(format!(
                    "talker_config: found the id {id} of {text}, expected one below the {count} of vocab_size"
                )));
            }
        }
        Ok(())
    };
    for (key, value) in talker {
        let Some(kind) = key.strip_suffix("_id") else {
            continue;
        };
        match value {
            Value::Number(_) => name(value, format!("<|{kind}|>"))?,
            Value::Object(ids) => {
                for (of, id) in ids {
                    name(id, format!("<|{kind}_{of}|>"))?;
                }
            }
            _ => {}
        }
    }
    Ok(names)
}

/// Most codes of speech.
const MAX_CODES: u64 = 1 << 20;
