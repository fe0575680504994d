//! Tensors that models of some architecture have: rules of a list that is made for many of them name those too.

use super::TensorTypeRule;

/// Names outside of layers.
const WHOLE: [&str; 5] = [
    "token_embd.weight",
    "output.weight",
    "per_layer_token_embd.weight",
    "per_layer_model_proj.weight",
    "position_embd.weight",
];

/// Matrices of layers, as llama.cpp names them.
const OF_LAYERS: [&str; 63] = [
    "attn_q",
    "attn_k",
    "attn_v",
    "attn_qkv",
    "attn_output",
    "attn_gate",
    "attn_q_a",
    "attn_q_b",
    "attn_kv_a_mqa",
    "attn_kv_b",
    "attn_k_b",
    "attn_v_b",
    "attn_kv",
    "attn_rel_b",
    "attn_compressor_kv",
    "attn_compressor_gate",
    "ffn_gate",
    "ffn_up",
    "ffn_down",
    "ffn_gate_exps",
    "ffn_up_exps",
    "ffn_down_exps",
    "ffn_gate_up_exps",
    "ffn_gate_shexp",
    "ffn_up_shexp",
    "ffn_down_shexp",
    "ffn_gate_chexps",
    "ffn_up_chexps",
    "ffn_down_chexps",
    "ffn_gate_inp",
    "ffn_gate_inp_shexp",
    "ffn_latent_down",
    "ffn_latent_up",
    "ssm_in",
    "ssm_x",
    "ssm_dt",
    "ssm_out",
    "ssm_ba",
    "ssm_alpha",
    "ssm_beta",
    "ssm_conv1d",
    "ssm_f_a",
    "ssm_f_b",
    "ssm_g_a",
    "ssm_g_b",
    "shortconv.in_proj",
    "shortconv.out_proj",
    "time_mix_key",
    "time_mix_value",
    "time_mix_receptance",
    "time_mix_gate",
    "time_mix_output",
    "time_mix_w1",
    "time_mix_w2",
    "channel_mix_key",
    "channel_mix_value",
    "channel_mix_receptance",
    "inp_gate",
    "proj",
    "nextn.eh_proj",
    "nextn.embed_tokens",
    "nextn.shared_head_head",
    "indexer.attn_q_b",
];

/// Layers that are tried: rules name their numbers.
const LAYERS: usize = 128;

/// Whether a rule matches a tensor of some architecture.
pub(super) fn matches(rule: &TensorTypeRule) -> bool {
    let of_layers = || {
        (0..LAYERS).any(|layer| {
            let mut names = OF_LAYERS.iter();
            names.any(|name| rule.matches(&format!("blk.{layer}.{name}.weight")))
        })
    };
    WHOLE.iter().any(|name| rule.matches(name)) || of_layers()
}
