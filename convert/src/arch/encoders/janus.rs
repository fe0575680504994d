//! The image encoder of Janus-Pro.

use serde_json::Value;

use super::keys::{epsilon, known_activation, vision_keys};
use super::{ENCODER, HOOKS, names};
use crate::arch::rules::names::{Rule, copy};
use crate::arch::{Architecture, Hooks, Hparams, ModelType, class};

pub(super) static JANUS: Architecture = Architecture {
    classes: &[class("JanusForConditionalGeneration")],
    rules: &[JANUS_RULES, names::VISION],
    hyperparameters: |hp, keys| {
        vision_keys(hp, keys)?;
        keys.set("projector_type", "janus_pro");
        epsilon(hp, keys, "layer_norm_eps", 1e-6)?;
        known_activation(hp, keys);
        Ok(())
    },
    model_types: &[&JANUS_TYPE],
    hooks: Hooks {
        prepare: |config| {
            let number = |key: &str| config.get(key).and_then(Value::as_f64);
            let inner = number("mlp_ratio").zip(number("hidden_size"));
            if let Some((ratio, width)) = inner {
                let inner = (width * ratio).round_ties_even() as u64;
                config.entry("intermediate_size").or_insert(inner.into());
            }
        },
        canonical,
        ..HOOKS
    },
    ..ENCODER
};

/// The name without the outer module; the second layers of the projector are numbered from one.
fn canonical(_: &Hparams, name: String) -> Option<String> {
    let inner = name.strip_prefix("model.").unwrap_or(&name);
    if let Some(rest) = inner.strip_prefix("aligner.hidden_layers.") {
        let (layer, rest) = rest.split_once('.')?;
        let layer: u32 = layer.parse().ok()?;
        return Some(format!("aligner.{}.{rest}", layer.checked_add(1)?));
    }
    let is_own = ["aligner.", "vision_model."].iter().any(|p| inner.starts_with(p));
    is_own.then(|| match inner.starts_with("vision_model.") {
        true => format!("model.{inner}"),
        false => inner.to_owned(),
    })
}

const JANUS_RULES: &[Rule] = &[copy("aligner.fc1", "mm.0"), copy("aligner.{}", "mm.{}")];

static JANUS_TYPE: ModelType = ModelType::unrotated("janus_vision_model");
