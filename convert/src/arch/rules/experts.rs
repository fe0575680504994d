//! Name tables and keys that mixtures of experts share.

use super::names::{Rule, Transform, copy, exact, rule};
use crate::arch::Fixed;

/// Of graphs that bring the chosen experts' weights to a sum of one.
pub(in crate::arch) const WEIGHTS_ADD_UP: &[(&str, Fixed)] = &[("norm_topk_prob", Fixed::Is(true))];
/// Of graphs that leave them as the router has them.
pub(in crate::arch) const WEIGHTS_AS_THEY_ARE: &[(&str, Fixed)] = &[("norm_topk_prob", Fixed::Is(false))];

/// A router and numbered experts in `mlp`, as most classes have them.
pub(in crate::arch) const EXPERTS: &[Rule] = &[
    copy("model.layers.{}.mlp.gate", "blk.{}.ffn_gate_inp"),
    rule(
        "model.layers.{}.mlp.experts.{e}.down_proj",
        "blk.{}.ffn_down_exps",
        Transform::Expert,
    ),
    rule(
        "model.layers.{}.mlp.experts.{e}.gate_proj",
        "blk.{}.ffn_gate_exps",
        Transform::Expert,
    ),
    rule(
        "model.layers.{}.mlp.experts.{e}.up_proj",
        "blk.{}.ffn_up_exps",
        Transform::Expert,
    ),
];

/// The same where the stock converter stacks gates first, so that they come first in the file.
pub(in crate::arch) const EXPERTS_GATES_FIRST: &[Rule] = &[
    copy("model.layers.{}.mlp.gate", "blk.{}.ffn_gate_inp"),
    rule(
        "model.layers.{}.mlp.experts.{e}.gate_proj",
        "blk.{}.ffn_gate_exps",
        Transform::Expert,
    ),
    rule(
        "model.layers.{}.mlp.experts.{e}.up_proj",
        "blk.{}.ffn_up_exps",
        Transform::Expert,
    ),
    rule(
        "model.layers.{}.mlp.experts.{e}.down_proj",
        "blk.{}.ffn_down_exps",
        Transform::Expert,
    ),
];

/// A router and numbered experts as Mixtral has them.
pub(in crate::arch) const BLOCK_SPARSE_EXPERTS: &[Rule] = &[
    copy("model.layers.{}.block_sparse_moe.gate", "blk.{}.ffn_gate_inp"),
    rule(
        "model.layers.{}.block_sparse_moe.experts.{e}.w1",
        "blk.{}.ffn_gate_exps",
        Transform::Expert,
    ),
    rule(
        "model.layers.{}.block_sparse_moe.experts.{e}.w2",
        "blk.{}.ffn_down_exps",
        Transform::Expert,
    ),
    rule(
        "model.layers.{}.block_sparse_moe.experts.{e}.w3",
        "blk.{}.ffn_up_exps",
        Transform::Expert,
    ),
];

/// All experts of a layer in one tensor, gates before the rest.
pub(in crate::arch) const STACKED_EXPERTS: &[Rule] = &[
    rule(
        "model.layers.{}.mlp.experts.down_proj",
        "blk.{}.ffn_down_exps",
        Transform::Stack,
    ),
    rule(
        "model.layers.{}.mlp.experts.gate_up_proj",
        "blk.{}.ffn_gate_exps",
        Transform::FirstHalf,
    ),
    rule(
        "model.layers.{}.mlp.experts.gate_up_proj",
        "blk.{}.ffn_up_exps",
        Transform::SecondHalf,
    ),
];

/// Shared experts, which every token goes through beside its own.
pub(in crate::arch) const SHARED_EXPERTS: &[Rule] = &[
    copy(
        "model.layers.{}.mlp.shared_experts.gate_proj",
        "blk.{}.ffn_gate_shexp",
    ),
    copy(
        "model.layers.{}.mlp.shared_experts.up_proj",
        "blk.{}.ffn_up_shexp",
    ),
    copy(
        "model.layers.{}.mlp.shared_experts.down_proj",
        "blk.{}.ffn_down_shexp",
    ),
];

/// Bias of the experts' scores when they are chosen (DeepSeek-V3 and its relatives).
pub(in crate::arch) const SCORE_BIAS: &[Rule] = &[
    exact(
        "model.layers.{}.mlp.gate.e_score_correction_bias",
        "blk.{}.exp_probs_b.bias",
        Transform::Copy,
    ),
    exact(
        "model.layers.{}.mlp.e_score_correction_bias",
        "blk.{}.exp_probs_b.bias",
        Transform::Copy,
    ),
    exact(
        "model.layers.{}.mlp.gate.expert_bias",
        "blk.{}.exp_probs_b.bias",
        Transform::Copy,
    ),
    exact(
        "model.layers.{}.block_sparse_moe.e_score_correction_bias",
        "blk.{}.exp_probs_b.bias",
        Transform::Copy,
    ),
];

/// Heads that predict further tokens, in the blocks after the others.
pub(in crate::arch) const PREDICTING: &[Rule] = &[
    copy("model.layers.{}.eh_proj", "blk.{}.nextn.eh_proj"),
    copy("model.layers.{}.embed_tokens", "blk.{}.nextn.embed_tokens"),
    copy("model.layers.{}.enorm", "blk.{}.nextn.enorm"),
    copy("model.layers.{}.hnorm", "blk.{}.nextn.hnorm"),
    copy(
        "model.layers.{}.shared_head.head",
        "blk.{}.nextn.shared_head_head",
    ),
    copy(
        "model.layers.{}.shared_head.norm",
        "blk.{}.nextn.shared_head_norm",
    ),
];
