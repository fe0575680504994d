//! EAGLE-3, a draft model for speculative decoding. It reads hidden states of the model that it drafts for, whose vocabulary
//! and some of whose numbers its file carries: `--target-model-dir`.

use gguf::{Array, Value as GgufValue};
use serde_json::Value;

use super::draft::{ids, nested_layer};
use crate::Result;
use crate::arch::rules::hooks::TargetVocabulary;
use crate::arch::rules::names::{DECODER, LAYER, PERMUTED, Rule, Transform, copy, exact, exact_with, skip};
use crate::arch::rules::{common, rope};
use crate::arch::{Architecture, Graph, Hooks, Hparams, Keys, PLAIN, class};
use crate::tokenizer::VocabRequest;

/// EAGLE-3: one layer that reads three layers of its target.
pub(super) static EAGLE3: Architecture = Architecture {
    gguf: "eagle3",
    classes: &[
        class("LlamaForCausalLMEagle3"),
        class("Eagle3LlamaForCausalLM"),
        class("Eagle3Speculator"),
        class("Eagle3DraftModel"),
    ],
    rules: &[EAGLE3_RULES, PERMUTED, DECODER],
    hyperparameters: |hp, keys| {
        common::text_model(hp, keys)?;
        keys.set("vocab_size", hp.u32(&["vocab_size"])?);
        keys.set("rope.dimension_count", hp.head_dim()?);
        Ok(())
    },
    generated: rope::llama3_factors,
    early: eagle3_early,
    vocabulary: VocabRequest::llama,
    graph: Graph::SILU.with_bias_keys(),
    hooks: Hooks {
        prepare: nested_layer,
        canonical: |_, name| Some(eagle3_name(name)),
        target_vocabulary: Some(TargetVocabulary::AsOwn),
        ..Hooks::NONE
    },
    ..PLAIN
};

const EAGLE3_RULES: &[Rule] = &[
    exact("fc.weight", "fc.weight"),
    copy("input_norm", "enc.output_norm"),
    LAYER.copy("hidden_norm", "attn_norm_2"),
    copy("embed_tokens", "token_embd"),
    copy("norm", "output_norm"),
    exact_with("d2t", "d2t", Transform::TargetIds(|hp| target(hp, "vocab_size"))),
    skip("t2d"),
];

/// Brings the layer's names to those of Llama.
fn eagle3_name(name: String) -> String {
    if let Some(rest) = name.strip_prefix("midlayer.") {
        return format!("model.layers.0.{rest}");
    }
    match name.strip_prefix("layers.0.") {
        Some(rest) => format!("model.layers.0.{rest}"),
        None => name,
    }
}

/// A number of the target's configuration.
fn target(hp: &Hparams, key: &str) -> Result<u32> {
    let target = hp.target()?;
    let value = target.number(key).ok_or_else(|| {
        target.error(format!(
            "expected a key {key}, which the draft model needs, found none"
        ))
    })?;
    target.to_u32(key, value)
}

fn eagle3_early(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    let layers = hp.u32(&["num_hidden_layers"])?;
    if layers != 1 || !hp.values().contains_key("draft_vocab_size") {
        return Err(hp.error(format!(
            "a draft model of EAGLE-3: expected draft_vocab_size and num_hidden_layers 1, found {layers} layers"
        )));
    }
    let of_target = target(hp, "num_hidden_layers")?;
    let listed = hp
        .find(&["eagle_aux_hidden_state_layer_ids"])
        .and_then(Value::as_array)
        .filter(|list| !list.is_empty());
    let layers = match listed {
        Some(list) => ids(hp, "eagle_aux_hidden_state_layer_ids", list, 0)?,
        None => {
            let of_target = i32::try_from(of_target).unwrap_or(i32::MAX);
            vec![2, of_target / 2, of_target - 3]
        }
    };
    keys.set("target_layers", GgufValue::Array(Array::I32(layers)));
    let width = match hp.opt_u32(&["target_hidden_size"])? {
        Some(width) => width,
        None => target(hp, "hidden_size")?,
    };
    keys.set("target_hidden_size", width);
    for key in ["norm_before_residual", "norm_before_fc"] {
        keys.set(key, hp.opt_bool(key).unwrap_or(false));
    }
    Ok(())
}
