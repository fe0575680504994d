//! Name tables and keys that mixtures of experts share.

use super::names::{LAYER, Rule, Transform};
use crate::arch::Fixed;

/// Of graphs that bring the chosen experts' weights to a sum of one.
pub(in crate::arch) const WEIGHTS_ADD_UP: &[(&str, Fixed)] = &[("norm_topk_prob", Fixed::Is(true))];
/// Of graphs that leave them as the router has them.
pub(in crate::arch) const WEIGHTS_AS_THEY_ARE: &[(&str, Fixed)] = &[("norm_topk_prob", Fixed::Is(false))];

/// A router and numbered experts in `mlp`, as most classes have them.
pub(in crate::arch) const EXPERTS: &[Rule] = &[
    LAYER.copy("mlp.gate", "ffn_gate_inp"),
    LAYER.rule("mlp.experts.{e}.down_proj", "ffn_down_exps", Transform::Expert),
    LAYER.rule("mlp.experts.{e}.gate_proj", "ffn_gate_exps", Transform::Expert),
    LAYER.rule("mlp.experts.{e}.up_proj", "ffn_up_exps", Transform::Expert),
];

/// The same where the stock converter stacks gates first, so that they come first in the file.
pub(in crate::arch) const EXPERTS_GATES_FIRST: &[Rule] = &[
    LAYER.copy("mlp.gate", "ffn_gate_inp"),
    LAYER.rule("mlp.experts.{e}.gate_proj", "ffn_gate_exps", Transform::Expert),
    LAYER.rule("mlp.experts.{e}.up_proj", "ffn_up_exps", Transform::Expert),
    LAYER.rule("mlp.experts.{e}.down_proj", "ffn_down_exps", Transform::Expert),
];

/// A router and numbered experts as Mixtral has them.
pub(in crate::arch) const BLOCK_SPARSE_EXPERTS: &[Rule] = &[
    LAYER.copy("block_sparse_moe.gate", "ffn_gate_inp"),
    LAYER.rule(
        "block_sparse_moe.experts.{e}.w1",
        "ffn_gate_exps",
        Transform::Expert,
    ),
    LAYER.rule(
        "block_sparse_moe.experts.{e}.w2",
        "ffn_down_exps",
        Transform::Expert,
    ),
    LAYER.rule(
        "block_sparse_moe.experts.{e}.w3",
        "ffn_up_exps",
        Transform::Expert,
    ),
];

/// All experts of a layer in one tensor, gates before the rest.
pub(in crate::arch) const STACKED_EXPERTS: &[Rule] = &[
    LAYER.rule("mlp.experts.down_proj", "ffn_down_exps", Transform::Stack),
    LAYER.rule("mlp.experts.gate_up_proj", "ffn_gate_exps", Transform::FirstHalf),
    LAYER.rule("mlp.experts.gate_up_proj", "ffn_up_exps", Transform::SecondHalf),
];

/// Shared experts, which every token goes through beside its own.
pub(in crate::arch) const SHARED_EXPERTS: &[Rule] = &[
    LAYER.copy("mlp.shared_experts.gate_proj", "ffn_gate_shexp"),
    LAYER.copy("mlp.shared_experts.up_proj", "ffn_up_shexp"),
    LAYER.copy("mlp.shared_experts.down_proj", "ffn_down_shexp"),
];

/// Bias of the experts' scores when they are chosen (DeepSeek-V3 and its relatives).
pub(in crate::arch) const SCORE_BIAS: &[Rule] = &[
    LAYER.exact("mlp.gate.e_score_correction_bias", "exp_probs_b.bias"),
    LAYER.exact("mlp.e_score_correction_bias", "exp_probs_b.bias"),
    LAYER.exact("mlp.gate.expert_bias", "exp_probs_b.bias"),
    LAYER.exact("block_sparse_moe.e_score_correction_bias", "exp_probs_b.bias"),
];

/// Heads that predict further tokens, in the blocks after the others.
pub(in crate::arch) const PREDICTING: &[Rule] = &[
    LAYER.copy("eh_proj", "nextn.eh_proj"),
    LAYER.copy("embed_tokens", "nextn.embed_tokens"),
    LAYER.copy("enorm", "nextn.enorm"),
    LAYER.copy("hnorm", "nextn.hnorm"),
    LAYER.copy("shared_head.head", "nextn.shared_head_head"),
    LAYER.copy("shared_head.norm", "nextn.shared_head_norm"),
];
