//! DBRX.

use crate::Result;
use crate::arch::rules::names::{Rule, Scope, Transform, copy};
use crate::arch::{Architecture, Hooks, Hparams, Keys, ModelType, PLAIN, View, class};

pub(super) static DBRX: Architecture = Architecture {
    gguf: "dbrx",
    classes: &[class("DbrxForCausalLM")],
    rules: &[RULES],
    hyperparameters,
    hooks: Hooks {
        all_matrices: true,
        ..Hooks::NONE
    },
    model_types: &[&DBRX_TYPE],
    ..PLAIN
};

pub(super) static DBRX_TYPE: ModelType = ModelType::of("dbrx");

const BLOCK: Scope = Scope::new("transformer.blocks.{}", "blk.{}");

/// The experts' matrices lie one below the other; all three have an expert's width as rows.
const RULES: &[Rule] = &[
    copy("transformer.wte", "token_embd"),
    copy("transformer.norm_f", "output_norm"),
    copy("lm_head", "output"),
    BLOCK.copy("norm_attn_norm.norm_1", "attn_norm"),
    BLOCK.copy("norm_attn_norm.norm_2", "attn_output_norm"),
    BLOCK.copy("norm_attn_norm.attn.Wqkv", "attn_qkv"),
    BLOCK.copy("norm_attn_norm.attn.out_proj", "attn_output"),
    BLOCK.copy("ffn.router.layer", "ffn_gate_inp"),
    BLOCK.exact_with(
        "ffn.experts.mlp.w1",
        "ffn_gate_exps.weight",
        Transform::View(experts, None),
    ),
    BLOCK.exact_with(
        "ffn.experts.mlp.v1",
        "ffn_up_exps.weight",
        Transform::View(experts, None),
    ),
    BLOCK.exact_with(
        "ffn.experts.mlp.w2",
        "ffn_down_exps.weight",
        Transform::View(|hp, view| Ok(experts(hp, view)?.and_then(|v| v.swap(1, 2))), None),
    ),
];

fn experts(hp: &Hparams, view: View) -> Result<Option<View>> {
    let count = hp.to_u32("moe_num_experts", hp.inside("ffn_config", "moe_num_experts")?)?;
    let inner = hp.to_u32("ffn_hidden_size", hp.inside("ffn_config", "ffn_hidden_size")?)?;
    let view = view.split(0, count.into());
    Ok(view.filter(|v| v.shape()[1] == u64::from(inner)))
}

fn hyperparameters(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    let int = |map: &str, key: &str| hp.to_u32(key, hp.inside(map, key)?);
    let float = |map: &str, key: &str| hp.to_f32(key, hp.inside(map, key)?);
    keys.set("block_count", hp.block_count());
    keys.set("context_length", hp.u32(&["max_seq_len"])?);
    keys.set("embedding_length", hp.u32(&["d_model"])?);
    keys.set("feed_forward_length", int("ffn_config", "ffn_hidden_size")?);
    keys.set("attention.head_count", hp.u32(&["n_heads"])?);
    keys.set("attention.head_count_kv", int("attn_config", "kv_n_heads")?);
    keys.set("rope.freq_base", float("attn_config", "rope_theta")?);
    keys.set("attention.clamp_kqv", float("attn_config", "clip_qkv")?);
    keys.set("expert_count", int("ffn_config", "moe_num_experts")?);
    keys.set("expert_used_count", int("ffn_config", "moe_top_k")?);
    keys.set("attention.layer_norm_epsilon", 1e-5f32);
    keys.set_file_type();
    Ok(())
}
