//! Chameleon, the text model. Its tokens of images are not predicted.

use crate::arch::rules::common;
use crate::arch::rules::names::{DECODER, LAYER, PERMUTED, Rule, Transform};
use crate::arch::{Architecture, ModelType, PLAIN, View, class};

pub(super) static CHAMELEON: Architecture = Architecture {
    gguf: "chameleon",
    classes: &[
        class("ChameleonForConditionalGeneration"),
        class("ChameleonForCausalLM"),
    ],
    rules: &[NORMS, PERMUTED, DECODER],
    hyperparameters: |hp, keys| {
        common::text_model(hp, keys)?;
        keys.set("swin_norm", hp.opt_bool("swin_norm").unwrap_or(false));
        Ok(())
    },
    model_types: &[&CHAMELEON_TYPE],
    ..PLAIN
};

const NORMS: &[Rule] = &[
    LAYER.rule(
        "self_attn.q_norm",
        "attn_q_norm",
        Transform::View(|hp, view| Ok(of_each_head(view, hp.heads()?.0)), None),
    ),
    LAYER.rule(
        "self_attn.k_norm",
        "attn_k_norm",
        Transform::View(|hp, view| Ok(of_each_head(view, hp.heads()?.1)), None),
    ),
];

/// Each head's numbers in ggml's order of pairs. The stock converter takes the first head's for all: in the larger of
/// the published models only those heads have the same that were trained on one device.
fn of_each_head(view: View, heads: u32) -> Option<View> {
    let &[stored, len] = &view.shape()[..] else {
        return None;
    };
    let paired = view.split(1, 2)?.swap(1, 2)?;
    match stored {
        1 => paired
            .without(0)?
            .repeated(heads.into())?
            .shaped(&[heads.into(), len]),
        _ => paired.shaped(&[stored, len]),
    }
}

static CHAMELEON_TYPE: ModelType = ModelType::of("chameleon");
