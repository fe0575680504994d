//! Tensors that are never quantized.

/// Tensors whose names contain one of these stay as they are: they are small, or their values are
/// used in ways that block formats harm.
const KEPT: &[&str] = &[
    // norms and expert routing
    "_norm.weight",
    "ffn_gate_inp.weight",
    "ffn_gate_tid2eid.weight",
    // Gemma 3n
    "altup",
    "laurel",
    "per_layer_model_proj",
    // convolutions of state-space and short-convolution layers
    "ssm_conv1d",
    "shortconv.conv.weight",
    // MiniMax's indexer
    "indexer.k_proj.weight",
    "indexer.q_proj.weight",
    // RWKV's low-rank mixers
    "time_mix_first.weight",
    "time_mix_w0.weight",
    "time_mix_w1.weight",
    "time_mix_w2.weight",
    "time_mix_v0.weight",
    "time_mix_v1.weight",
    "time_mix_v2.weight",
    "time_mix_a0.weight",
    "time_mix_a1.weight",
    "time_mix_a2.weight",
    "time_mix_g1.weight",
    "time_mix_g2.weight",
    "time_mix_decay_w1.weight",
    "time_mix_decay_w2.weight",
    "time_mix_lerp_fused.weight",
    // relative position bias of T5
    "attn_rel_b.weight",
    // vision and audio towers
    ".position_embd",
    "sam.pos_embd",
    "sam.neck.",
    "sam.net_",
    ".rel_pos",
    ".patch_embd",
    ".patch_merger",
    "a.rvq.codebook",
    "mm.a.code_embd",
];

/// Tensors kept by their whole name: position embeddings and token types of BERT-like models.
const KEPT_NAMES: &[&str] = &["position_embd.weight", "token_types.weight"];

/// Further tensors that GLM-5-Next keeps.
const KEPT_GLM5_NEXT: &[&str] = &[
    "hc_",
    "indexer.attn_q_b",
    "indexer.attn_k",
    "indexer.proj",
    "indexer_compressor_gate",
    "indexer_compressor_ape",
    "ssm_f_a.weight",
    "ssm_f_b.weight",
    "ssm_g_a.weight",
    "ssm_g_b.weight",
    "ssm_beta.weight",
    "attn_kv_a_mqa.weight",
    "attn_k_b.weight",
    "attn_v_b.weight",
];

/// Whether a preset may change the type of this tensor.
pub(super) fn quantizable(architecture: &str, name: &str, shape: &[u64]) -> bool {
    // llama.cpp's test for the suffix also lets every five-letter name pass.
    let is_weight = name.ends_with("weight") || name.len() == 5;
    let has = |part: &&str| name.contains(*part);
    gguf::ggml_shape(shape).len() >= 2
        && is_weight
        && !KEPT.iter().any(has)
        && !KEPT_NAMES.contains(&name)
        && !(architecture == "glm5-next" && KEPT_GLM5_NEXT.iter().any(has))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_quantized() {
        let matrix = &[256, 256];
        for (name, expected) in [
            ("blk.0.attn_q.weight", true),
            ("blk.0.attn_q.bias", false),
            ("blk.0.attn_norm.weight", false),
            ("blk.0.ffn_gate_inp.weight", false),
            ("blk.0.ffn_gate_exps.weight", true),
            ("position_embd.weight", false),
            ("v.position_embd.weight", false),
            ("token_types.weight", false),
            ("blk.3.ssm_conv1d.weight", false),
            ("blk.3.ssm_in.weight", true),
            ("hc_head.weight", true),
        ] {
            assert_eq!(quantizable("llama", name, matrix), expected, "{name}");
        }
        assert!(!quantizable("glm5-next", "hc_head.weight", matrix));
        assert!(!quantizable("llama", "rope_freqs.weight", &[64]));
        assert!(!quantizable("llama", "blk.0.x.weight", &[64, 1, 1]));
        assert!(quantizable("llama", "blk.0.x.weight", &[64, 1, 2]));
    }
}
