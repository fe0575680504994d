//! Chameleon, the text model. Its tokens of images are not predicted.

use crate::arch::rules::common;
use crate::arch::rules::names::{DECODER, PERMUTED, Rule, Transform, rule};
use crate::arch::{Architecture, PLAIN, View, class};

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
    ..PLAIN
};

const NORMS: &[Rule] = &[
    rule(
        "model.layers.{}.self_attn.q_norm",
        "blk.{}.attn_q_norm",
        Transform::View(|hp, view| Ok(of_each_head(view, hp.heads()?.0)), None),
    )
    .in_part(),
    rule(
        "model.layers.{}.self_attn.k_norm",
        "blk.{}.attn_k_norm",
        Transform::View(|hp, view| Ok(of_each_head(view, hp.heads()?.1)), None),
    )
    .in_part(),
];

/// The first head's numbers, in ggml's order of pairs, for each of the heads: the published models have the same for
/// all, as the stock converter takes for granted.
fn of_each_head(view: View, heads: u32) -> Option<View> {
    let first = view.cut(0, 0, 1)?.without(0)?;
    let len = first.len();
    let paired = first.split(0, 2)?.swap(0, 1)?;
    paired.repeated(heads.into())?.shaped(&[heads.into(), len])
}
