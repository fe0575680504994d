//! Qwen3.5, dense and mixture of experts: Qwen3-Next with its matrices apart, and value heads that ggml pairs with
//! key heads in turn.

use super::mamba::negative_exp;
use super::qwen2moe::SHARED_EXPERT;
use super::qwen3next::{self, NORMS};
use crate::Result;
use crate::arch::rules::experts::{self, EXPERTS, PREDICTING, STACKED_EXPERTS};
use crate::arch::rules::names::{DECODER, LAYER, Rule, Transform};
use crate::arch::{Architecture, Graph, Hooks, Hparams, Keys, PLAIN, Rows, Strided, View, class};

pub(super) static QWEN3_5: Architecture = Architecture {
    gguf: "qwen35",
    classes: &[
        class("Qwen3_5ForConditionalGeneration"),
        class("Qwen3_5ForCausalLM"),
    ],
    rules: &[NORMS, DELTA_NET, DECODER, PREDICTING],
    hyperparameters,
    hooks: Hooks {
        canonical: qwen3next::canonical,
        more_blocks: qwen3next::more_blocks,
        ..Hooks::NONE
    },
    ..PLAIN
};

/// MiniCPM-V 4.6, the text model. Its head that predicts a further token is left out, as the stock converter does, which
/// counts it all the same.
pub(super) static MINICPM_V: Architecture = Architecture {
    classes: &[class("MiniCPMV4_6ForConditionalGeneration")],
    hooks: Hooks {
        canonical: |_, name| {
            let is_predicting = name.starts_with("mtp") || name.starts_with("model.mtp");
            (!is_predicting).then_some(name)
        },
        ..Hooks::NONE
    },
    ..QWEN3_5
};

pub(super) static QWEN3_5_MOE: Architecture = Architecture {
    gguf: "qwen35moe",
    classes: &[
        class("Qwen3_5MoeForConditionalGeneration"),
        class("Qwen3_5MoeForCausalLM"),
    ],
    rules: &[
        NORMS,
        DELTA_NET,
        SHARED_EXPERT,
        DECODER,
        EXPERTS,
        STACKED_EXPERTS,
        PREDICTING,
    ],
    graph: Graph::SILU.fixing(experts::WEIGHTS_ADD_UP),
    ..QWEN3_5
};

pub(super) const DELTA_NET: &[Rule] = &[
    LAYER.rule("linear_attn.in_proj_qkv", "attn_qkv", Transform::Rows(mixed)),
    LAYER.rule(
        "linear_attn.in_proj_z",
        "attn_gate",
        Transform::Rows(|hp, _| {
            let heads = Heads::of(hp)?;
            Ok(Rows(vec![heads.in_turn(0, heads.value)]))
        }),
    ),
    LAYER.rule("linear_attn.in_proj_b", "ssm_beta", Transform::Rows(one_each)),
    LAYER.rule("linear_attn.in_proj_a", "ssm_alpha", Transform::Rows(one_each)),
    LAYER.rule("linear_attn.conv1d", "ssm_conv1d", Transform::Channels(mixed)),
    LAYER.exact_with(
        "linear_attn.A_log",
        "ssm_a",
        Transform::View(numbers, Some(negative_exp)),
    ),
    LAYER.exact_with(
        "linear_attn.dt_bias",
        "ssm_dt.bias",
        Transform::View(numbers, None),
    ),
    LAYER.copy("linear_attn.norm", "ssm_norm"),
    LAYER.rule("linear_attn.out_proj", "ssm_out", Transform::View(columns, None)),
];

/// Heads of a delta net. Stored, the values of a key head follow one another.
struct Heads {
    keys: u64,
    /// Value heads of a key head.
    share: u64,
    /// Elements of a value head.
    value: u64,
    /// Rows before the values: all queries and keys.
    before: u64,
}

impl Heads {
    fn of(hp: &Hparams) -> Result<Self> {
        let keys = u64::from(hp.u32(&["linear_num_key_heads"])?);
        let values = u64::from(hp.u32(&["linear_num_value_heads"])?);
        if keys == 0 || !values.is_multiple_of(keys) {
            return Err(hp.error(format!(
                "linear_num_value_heads: expected a multiple of the {keys} key heads, found {values}"
            )));
        }
        let before = u64::from(hp.u32(&["linear_key_head_dim"])?).checked_mul(2 * keys);
        Ok(Self {
            keys,
            share: values / keys,
            value: hp.u32(&["linear_value_head_dim"])?.into(),
            before: before.ok_or_else(|| {
                hp.error(format!(
                    "expected key heads whose elements can be counted, found {keys}"
                ))
            })?,
        })
    }

    /// The value heads of `rows` rows from `start` on: the first of every key head, then the second of every one.
    fn in_turn(&self, start: u64, rows: u64) -> Strided {
        let counters = [
            (self.share, rows),
            (self.keys, self.share.saturating_mul(rows)),
            (rows, 1),
        ];
        Strided::new(start, &counters)
    }
}

/// All queries, all keys, all values.
fn mixed(hp: &Hparams, _: u64) -> Result<Rows> {
    let heads = Heads::of(hp)?;
    let rows = [
        Strided::range(0, heads.before),
        heads.in_turn(heads.before, heads.value),
    ];
    Ok(Rows(rows.into()))
}

fn one_each(hp: &Hparams, _: u64) -> Result<Rows> {
    Ok(Rows(vec![Heads::of(hp)?.in_turn(0, 1)]))
}

/// One number for each value head.
fn numbers(hp: &Hparams, view: View) -> Result<Option<View>> {
    let (heads, count) = (Heads::of(hp)?, view.len());
    let view = view.split(0, heads.keys).and_then(|v| v.swap(0, 1));
    Ok(view.and_then(|v| v.shaped(&[count])))
}

/// The columns of the matrix behind the value heads.
fn columns(hp: &Hparams, view: View) -> Result<Option<View>> {
    let (heads, shape) = (Heads::of(hp)?, view.shape());
    let view = view
        .split(1, heads.keys)
        .and_then(|v| v.split(2, heads.share)?.swap(1, 2));
    Ok(view.and_then(|v| v.shaped(&shape)))
}

/// Sections of the rotation where the configuration names none.
const SECTIONS: [i32; 4] = [11, 11, 10, 0];

pub(super) fn hyperparameters(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    qwen3next::hyperparameters(hp, keys)?;
    if !hp.rope().contains_key("mrope_section") {
        keys.set("rope.dimension_sections", SECTIONS.to_vec());
    }
    Ok(())
}
