//! Demands of llama.cpp's loader beyond what an architecture's graph cannot run without: tensors that the forward pass
//! would do without or put up with, and keys that it can find out otherwise. Each row follows from what the loader says
//! of files with one thing removed or added (`oracle/tests/load.rs`).

/// The demands of one architecture: names and suffixes (behind `blk.N.` and the architecture's prefix), divided by
/// blanks.
pub(super) struct Particular {
    pub(super) architecture: &'static str,
    /// Tensors that have to be there; of a bias, where its weight is.
    pub(super) needs: &'static str,
    /// Biases that must not be there.
    pub(super) refuses: &'static str,
    /// Keys that have to be there.
    pub(super) keys: &'static str,
}

/// Second-level scales that no architecture has.
pub(super) const NO_SCALES: &str = "attn_kv_a_mqa.scale attn_q_a.scale attn_q_b.scale channel_mix_key.scale channel_mix_receptance.scale \
 channel_mix_value.scale ffn_gate_inp.scale ffn_gate_inp_shexp.scale ffn_latent_down.scale \
 ffn_latent_up.scale indexer.attn_k.scale indexer.attn_q_b.scale indexer.proj.scale output.scale \
 shortconv.in_proj.scale shortconv.out_proj.scale ssm_dt.scale ssm_f_a.scale ssm_f_b.scale \
 ssm_g_a.scale ssm_g_b.scale ssm_x.scale time_mix_a1.scale time_mix_a2.scale time_mix_decay_w1.scale \
 time_mix_decay_w2.scale time_mix_g1.scale time_mix_g2.scale time_mix_gate.scale time_mix_key.scale \
 time_mix_output.scale time_mix_receptance.scale time_mix_value.scale time_mix_w1.scale \
 time_mix_w2.scale";

/// Tensors that are needed beside another one, and not in every layer.
pub(super) const BESIDE: [(&str, &str); 7] = [
    ("exp_probs_b.bias", "ffn_gate_inp.weight"),
    ("ffn_gate_exps.weight", "ffn_up_exps.weight"),
    ("ffn_gate_shexp.weight", "ffn_up_shexp.weight"),
    ("ffn_gate_inp_shexp.weight", "ffn_up_shexp.weight"),
    ("layer_output_norm.weight", "nextn.eh_proj.weight"),
    ("ssm_norm.weight", "ssm_in.weight"),
    ("attn_sinks.weight", "attn_output.weight"),
];

/// Architectures whose models have experts or not.
pub(super) const WITH_EXPERTS_OR_NOT: [&str; 4] =
    ["granitehybrid", "granitemoe", "nemotron_h_moe", "qwen35moe"];

/// Keys, by their beginnings, that of these only a model with such a tensor needs.
pub(super) const KEYS_OF: [(&str, &str); 3] = [
    ("expert_shared_", "ffn_up_shexp.weight"),
    ("expert_", "ffn_up_exps.weight"),
    ("moe_latent_size", "ffn_latent_down.weight"),
];

/// The demands by architecture.
pub(super) const PARTICULARS: &[Particular] = &[
    Particular {
        architecture: "apertus",
        needs: "output.weight",
        refuses: "attn_norm.bias ffn_down.bias ffn_norm.bias ffn_up.bias output.bias output_norm.bias",
        keys: "",
    },
    Particular {
        architecture: "arcee",
        needs: "",
        refuses: "attn_norm.bias attn_output.bias ffn_down.bias ffn_norm.bias ffn_up.bias output.bias output_norm.bias",
        keys: "",
    },
    Particular {
        architecture: "baichuan",
        needs: "output.weight",
        refuses: "attn_norm.bias attn_output.bias ffn_down.bias ffn_gate.bias ffn_norm.bias ffn_up.bias output.bias \
         output_norm.bias",
        keys: "",
    },
    Particular {
        architecture: "bert",
        needs: "attn_output_norm.bias layer_output_norm.bias token_embd_norm.bias",
        refuses: "",
        keys: "tokenizer.ggml.token_type_count",
    },
    Particular {
        architecture: "bloom",
        needs: "attn_norm.bias attn_output.bias attn_qkv.bias ffn_down.bias ffn_norm.bias ffn_up.bias \
         output_norm.bias token_embd_norm.bias",
        refuses: "",
        keys: "",
    },
    Particular {
        architecture: "chatglm",
        needs: "",
        refuses: "attn_norm.bias attn_output.bias ffn_down.bias ffn_norm.bias ffn_up.bias output.bias output_norm.bias",
        keys: "",
    },
    Particular {
        architecture: "codeshell",
        needs: "attn_norm.bias attn_output.bias ffn_down.bias ffn_norm.bias ffn_up.bias output.weight \
         output_norm.bias",
        refuses: "output.bias",
        keys: "",
    },
    Particular {
        architecture: "cohere2",
        needs: "",
        refuses: "attn_norm.bias attn_output.bias ffn_down.bias ffn_gate.bias ffn_up.bias output_norm.bias",
        keys: "attention.sliding_window logit_scale",
    },
    Particular {
        architecture: "command-r",
        needs: "",
        refuses: "attn_norm.bias attn_output.bias ffn_down.bias ffn_gate.bias ffn_up.bias output_norm.bias",
        keys: "",
    },
    Particular {
        architecture: "deepseek",
        needs: "ffn_gate_exps.weight ffn_gate_shexp.weight",
        refuses: "attn_norm.bias attn_output.bias ffn_down.bias ffn_down_shexp.bias ffn_gate.bias ffn_gate_inp.bias \
         ffn_gate_shexp.bias ffn_norm.bias ffn_up.bias ffn_up_shexp.bias output.bias output_norm.bias",
        keys: "expert_feed_forward_length expert_shared_count leading_dense_block_count",
    },
    Particular {
        architecture: "deepseek2",
        needs: "ffn_gate_exps.weight ffn_gate_shexp.weight",
        refuses: "attn_kv_a_mqa.bias attn_kv_a_norm.bias attn_norm.bias attn_output.bias attn_q_a.bias \
         attn_q_a_norm.bias attn_q_b.bias ffn_down.bias ffn_down_shexp.bias ffn_gate.bias ffn_gate_inp.bias \
         ffn_gate_shexp.bias ffn_norm.bias ffn_up.bias ffn_up_shexp.bias output.bias output_norm.bias",
        keys: "expert_feed_forward_length expert_shared_count leading_dense_block_count",
    },
    Particular {
        architecture: "deepseek32",
        needs: "ffn_gate_exps.weight ffn_gate_shexp.weight indexer.k_norm.bias",
        refuses: "attn_kv_a_mqa.bias attn_kv_a_norm.bias attn_norm.bias attn_output.bias attn_q_a.bias \
         attn_q_a_norm.bias attn_q_b.bias ffn_down.bias ffn_down_shexp.bias ffn_gate.bias ffn_gate_inp.bias \
         ffn_gate_shexp.bias ffn_norm.bias ffn_up.bias ffn_up_shexp.bias indexer.attn_k.bias \
         indexer.attn_q_b.bias indexer.proj.bias output.bias output_norm.bias",
        keys: "expert_feed_forward_length expert_gating_func expert_shared_count leading_dense_block_count",
    },
    Particular {
        architecture: "exaone",
        needs: "",
        refuses: "attn_norm.bias attn_output.bias ffn_down.bias ffn_gate.bias ffn_norm.bias ffn_up.bias output.bias \
         output_norm.bias",
        keys: "",
    },
    Particular {
        architecture: "exaone4",
        needs: "",
        refuses: "attn_output.bias ffn_down.bias ffn_gate.bias ffn_up.bias output.bias output_norm.bias \
         post_attention_norm.bias post_ffw_norm.bias",
        keys: "",
    },
    Particular {
        architecture: "falcon",
        needs: "attn_norm.bias output_norm.bias",
        refuses: "attn_output.bias attn_qkv.bias ffn_down.bias ffn_up.bias",
        keys: "",
    },
    Particular {
        architecture: "gemma",
        needs: "",
        refuses: "attn_norm.bias attn_output.bias ffn_down.bias ffn_gate.bias ffn_norm.bias ffn_up.bias \
         output_norm.bias",
        keys: "",
    },
    Particular {
        architecture: "gemma-embedding",
        needs: "",
        refuses: "attn_k_norm.bias attn_norm.bias attn_output.bias attn_q_norm.bias ffn_down.bias ffn_gate.bias \
         ffn_norm.bias ffn_up.bias output_norm.bias post_attention_norm.bias post_ffw_norm.bias",
        keys: "attention.sliding_window",
    },
    Particular {
        architecture: "gemma2",
        needs: "",
        refuses: "attn_norm.bias attn_output.bias ffn_down.bias ffn_gate.bias ffn_norm.bias ffn_up.bias \
         output_norm.bias post_attention_norm.bias post_ffw_norm.bias",
        keys: "",
    },
    Particular {
        architecture: "gemma3",
        needs: "",
        refuses: "attn_k_norm.bias attn_norm.bias attn_output.bias attn_q_norm.bias ffn_down.bias ffn_gate.bias \
         ffn_norm.bias ffn_up.bias output_norm.bias post_attention_norm.bias post_ffw_norm.bias",
        keys: "",
    },
    Particular {
        architecture: "glm4",
        needs: "",
        refuses: "attn_norm.bias attn_output.bias ffn_down.bias ffn_norm.bias ffn_up.bias output.bias output_norm.bias \
         post_attention_norm.bias post_ffw_norm.bias",
        keys: "",
    },
    Particular {
        architecture: "glm4moe",
        needs: "exp_probs_b.bias ffn_gate_exps.weight ffn_gate_shexp.weight",
        refuses: "attn_k_norm.bias attn_norm.bias attn_output.bias attn_q_norm.bias ffn_down.bias ffn_down_shexp.bias \
         ffn_gate.bias ffn_gate_inp.bias ffn_gate_shexp.bias ffn_up.bias ffn_up_shexp.bias output.bias \
         output_norm.bias post_attention_norm.bias",
        keys: "expert_feed_forward_length expert_shared_count leading_dense_block_count",
    },
    Particular {
        architecture: "gpt-oss",
        needs: "attn_output.bias attn_sinks.weight ffn_down_exps.bias ffn_gate_exps.bias ffn_gate_inp.bias \
         ffn_up_exps.bias output.weight",
        refuses: "attn_norm.bias output.bias output_norm.bias post_attention_norm.bias",
        keys: "attention.sliding_window expert_feed_forward_length",
    },
    Particular {
        architecture: "gpt2",
        needs: "attn_norm.bias attn_output.bias attn_qkv.bias ffn_down.bias ffn_norm.bias ffn_up.bias \
         output_norm.bias position_embd.weight",
        refuses: "",
        keys: "",
    },
    Particular {
        architecture: "gptneox",
        needs: "attn_norm.bias attn_output.bias attn_qkv.bias ffn_down.bias ffn_norm.bias ffn_up.bias output.weight \
         output_norm.bias",
        refuses: "output.bias",
        keys: "use_parallel_residual",
    },
    Particular {
        architecture: "granite",
        needs: "",
        refuses: "attn_norm.bias ffn_norm.bias output.bias output_norm.bias",
        keys: "logit_scale",
    },
    Particular {
        architecture: "granitehybrid",
        needs: "ffn_gate_shexp.weight ssm_norm.weight",
        refuses: "attn_norm.bias ffn_down_shexp.bias ffn_gate_inp.bias ffn_gate_shexp.bias ffn_norm.bias \
         ffn_up_shexp.bias output.bias output_norm.bias ssm_in.bias ssm_out.bias",
        keys: "expert_shared_feed_forward_length feed_forward_length",
    },
    Particular {
        architecture: "granitemoe",
        needs: "ffn_gate_shexp.weight",
        refuses: "attn_norm.bias ffn_down_shexp.bias ffn_gate_inp.bias ffn_gate_shexp.bias ffn_norm.bias \
         ffn_up_shexp.bias output.bias output_norm.bias",
        keys: "expert_shared_feed_forward_length feed_forward_length logit_scale",
    },
    Particular {
        architecture: "hunyuan-dense",
        needs: "",
        refuses: "attn_norm.bias attn_output.bias ffn_down.bias ffn_gate.bias ffn_norm.bias ffn_up.bias \
         output_norm.bias",
        keys: "",
    },
    Particular {
        architecture: "hunyuan-moe",
        needs: "ffn_gate_exps.weight ffn_gate_shexp.weight",
        refuses: "attn_k_norm.bias attn_norm.bias attn_output.bias attn_q_norm.bias ffn_down_shexp.bias \
         ffn_gate_inp.bias ffn_gate_shexp.bias ffn_norm.bias ffn_up_shexp.bias output.bias output_norm.bias",
        keys: "expert_feed_forward_length feed_forward_length",
    },
    Particular {
        architecture: "internlm2",
        needs: "output.weight",
        refuses: "attn_norm.bias attn_output.bias ffn_down.bias ffn_gate.bias ffn_norm.bias ffn_up.bias output.bias \
         output_norm.bias",
        keys: "",
    },
    Particular {
        architecture: "jais2",
        needs: "attn_norm.bias attn_output.bias ffn_down.bias ffn_norm.bias ffn_up.bias output_norm.bias",
        refuses: "output.bias",
        keys: "",
    },
    Particular {
        architecture: "kimi-linear",
        needs: "exp_probs_b.bias ffn_gate_exps.weight output.weight",
        refuses: "attn_kv_a_mqa.bias attn_kv_a_norm.bias attn_norm.bias attn_output.bias ffn_down.bias \
         ffn_down_shexp.bias ffn_gate.bias ffn_gate_inp.bias ffn_gate_shexp.bias ffn_norm.bias ffn_up.bias \
         ffn_up_shexp.bias output.bias output_norm.bias ssm_beta.bias ssm_f_a.bias ssm_f_b.bias ssm_g_a.bias \
         ssm_g_b.bias ssm_norm.bias",
        keys: "attention.head_count_kv expert_feed_forward_length expert_gating_func expert_shared_count \
         feed_forward_length leading_dense_block_count",
    },
    Particular {
        architecture: "lfm2",
        needs: "",
        refuses: "attn_k_norm.bias attn_norm.bias attn_output.bias attn_q_norm.bias ffn_down.bias ffn_gate.bias \
         ffn_norm.bias ffn_up.bias shortconv.conv.bias shortconv.in_proj.bias shortconv.out_proj.bias \
         token_embd_norm.bias",
        keys: "feed_forward_length",
    },
    Particular {
        architecture: "lfm2moe",
        needs: "exp_probs_b.bias ffn_gate_exps.weight",
        refuses: "attn_k_norm.bias attn_norm.bias attn_output.bias attn_q_norm.bias ffn_down.bias ffn_gate.bias \
         ffn_gate_inp.bias ffn_norm.bias ffn_up.bias shortconv.conv.bias shortconv.in_proj.bias \
         shortconv.out_proj.bias token_embd_norm.bias",
        keys: "expert_feed_forward_length expert_gating_func feed_forward_length leading_dense_block_count",
    },
    Particular {
        architecture: "llama",
        needs: "",
        refuses: "attn_norm.bias ffn_gate_inp.bias ffn_norm.bias output.bias output_norm.bias",
        keys: "",
    },
    Particular {
        architecture: "llama4",
        needs: "ffn_gate_exps.weight ffn_gate_shexp.weight",
        refuses: "attn_norm.bias attn_output.bias ffn_down.bias ffn_down_shexp.bias ffn_gate.bias ffn_gate_inp.bias \
         ffn_gate_shexp.bias ffn_norm.bias ffn_up.bias ffn_up_shexp.bias output.bias output_norm.bias",
        keys: "expert_feed_forward_length interleave_moe_layer_step",
    },
    Particular {
        architecture: "maincoder",
        needs: "",
        refuses: "attn_norm.bias attn_output.bias ffn_down.bias ffn_gate.bias ffn_norm.bias ffn_up.bias output.bias \
         output_norm.bias",
        keys: "",
    },
    Particular {
        architecture: "mamba",
        needs: "ssm_conv1d.bias ssm_dt.bias",
        refuses: "attn_norm.bias output_norm.bias ssm_in.bias ssm_out.bias ssm_x.bias",
        keys: "",
    },
    Particular {
        architecture: "mamba2",
        needs: "ssm_conv1d.bias ssm_norm.weight",
        refuses: "attn_norm.bias output.bias output_norm.bias ssm_in.bias ssm_out.bias",
        keys: "",
    },
    Particular {
        architecture: "minicpm",
        needs: "",
        refuses: "attn_norm.bias ffn_norm.bias output.bias output_norm.bias",
        keys: "",
    },
    Particular {
        architecture: "minimax-m2",
        needs: "exp_probs_b.bias ffn_gate_exps.weight output.weight",
        refuses: "attn_k_norm.bias attn_norm.bias attn_output.bias attn_q_norm.bias ffn_gate_inp.bias ffn_norm.bias \
         output.bias output_norm.bias",
        keys: "expert_feed_forward_length feed_forward_length",
    },
    Particular {
        architecture: "mistral3",
        needs: "",
        refuses: "attn_norm.bias ffn_norm.bias output.bias output_norm.bias",
        keys: "",
    },
    Particular {
        architecture: "modern-bert",
        needs: "",
        refuses: "attn_norm.bias attn_output.bias attn_qkv.bias cls.bias ffn_down.bias ffn_norm.bias ffn_up.bias \
         output_norm.bias token_embd_norm.bias",
        keys: "",
    },
    Particular {
        architecture: "nemotron_h",
        needs: "ssm_norm.weight",
        refuses: "attn_norm.bias output.bias output_norm.bias ssm_in.bias ssm_out.bias",
        keys: "attention.layer_norm_epsilon feed_forward_length",
    },
    Particular {
        architecture: "nemotron_h_moe",
        needs: "exp_probs_b.bias ssm_norm.weight",
        refuses: "attn_norm.bias ffn_down_shexp.bias ffn_gate_inp.bias ffn_latent_down.bias ffn_latent_up.bias \
         ffn_up_shexp.bias nextn.shared_head_norm.bias output.bias output_norm.bias post_attention_norm.bias \
         ssm_in.bias ssm_out.bias",
        keys: "attention.layer_norm_epsilon expert_feed_forward_length expert_shared_feed_forward_length \
         feed_forward_length moe_latent_size",
    },
    Particular {
        architecture: "nomic-bert",
        needs: "attn_output_norm.bias layer_output_norm.bias token_embd_norm.bias",
        refuses: "ffn_gate.bias",
        keys: "tokenizer.ggml.token_type_count",
    },
    Particular {
        architecture: "olmo",
        needs: "",
        refuses: "attn_output.bias ffn_down.bias ffn_gate.bias ffn_up.bias output.bias",
        keys: "",
    },
    Particular {
        architecture: "olmo2",
        needs: "output.weight",
        refuses: "attn_k_norm.bias attn_output.bias attn_q_norm.bias ffn_down.bias ffn_gate.bias ffn_up.bias \
         output.bias output_norm.bias post_attention_norm.bias post_ffw_norm.bias",
        keys: "",
    },
    Particular {
        architecture: "olmoe",
        needs: "ffn_gate_exps.weight output.weight",
        refuses: "attn_k_norm.bias attn_norm.bias attn_output.bias attn_q_norm.bias ffn_gate_inp.bias ffn_norm.bias \
         output.bias output_norm.bias",
        keys: "feed_forward_length",
    },
    Particular {
        architecture: "orion",
        needs: "attn_norm.bias ffn_norm.bias output.weight output_norm.bias",
        refuses: "attn_output.bias ffn_down.bias ffn_gate.bias ffn_up.bias output.bias",
        keys: "",
    },
    Particular {
        architecture: "pangu-embedded",
        needs: "attn_output.bias",
        refuses: "attn_norm.bias ffn_down.bias ffn_gate.bias ffn_norm.bias ffn_up.bias output.bias output_norm.bias",
        keys: "",
    },
    Particular {
        architecture: "phi2",
        needs: "attn_norm.bias attn_output.bias ffn_down.bias ffn_up.bias output.bias output.weight output_norm.bias",
        refuses: "",
        keys: "",
    },
    Particular {
        architecture: "phimoe",
        needs: "attn_norm.bias attn_output.bias ffn_gate_exps.weight ffn_norm.bias output.bias output.weight \
         output_norm.bias",
        refuses: "ffn_gate_inp.bias",
        keys: "feed_forward_length",
    },
    Particular {
        architecture: "plamo3",
        needs: "",
        refuses: "attn_k_norm.bias attn_norm.bias attn_output.bias attn_q_norm.bias attn_qkv.bias ffn_down.bias \
         ffn_norm.bias ffn_up.bias output.bias output_norm.bias post_attention_norm.bias post_ffw_norm.bias",
        keys: "feed_forward_length",
    },
    Particular {
        architecture: "qwen",
        needs: "attn_qkv.bias output.weight",
        refuses: "attn_norm.bias attn_output.bias ffn_down.bias ffn_gate.bias ffn_norm.bias ffn_up.bias output.bias \
         output_norm.bias",
        keys: "",
    },
    Particular {
        architecture: "qwen2",
        needs: "",
        refuses: "attn_norm.bias attn_output.bias ffn_down.bias ffn_gate.bias ffn_norm.bias ffn_up.bias \
         output_norm.bias",
        keys: "",
    },
    Particular {
        architecture: "qwen2moe",
        needs: "ffn_gate_exps.weight output.weight",
        refuses: "attn_norm.bias attn_output.bias ffn_down_shexp.bias ffn_gate_inp.bias ffn_gate_inp_shexp.bias \
         ffn_gate_shexp.bias ffn_norm.bias ffn_up_shexp.bias output.bias output_norm.bias",
        keys: "",
    },
    Particular {
        architecture: "qwen2vl",
        needs: "",
        refuses: "attn_norm.bias attn_output.bias ffn_down.bias ffn_gate.bias ffn_norm.bias ffn_up.bias \
         output_norm.bias",
        keys: "rope.dimension_sections",
    },
    Particular {
        architecture: "qwen3",
        needs: "",
        refuses: "attn_norm.bias attn_output.bias ffn_down.bias ffn_gate.bias ffn_norm.bias ffn_up.bias output.bias \
         output_norm.bias",
        keys: "",
    },
    Particular {
        architecture: "qwen35",
        needs: "",
        refuses: "attn_gate.bias attn_k_norm.bias attn_norm.bias attn_output.bias attn_q_norm.bias attn_qkv.bias \
         ffn_down.bias ffn_gate.bias ffn_up.bias output.bias output_norm.bias post_attention_norm.bias \
         ssm_alpha.bias ssm_beta.bias ssm_conv1d.bias ssm_norm.bias ssm_out.bias",
        keys: "feed_forward_length rope.dimension_sections",
    },
    Particular {
        architecture: "qwen35moe",
        needs: "ffn_gate_exps.weight ffn_gate_inp_shexp.weight ffn_gate_shexp.weight",
        refuses: "attn_gate.bias attn_k_norm.bias attn_norm.bias attn_output.bias attn_q_norm.bias attn_qkv.bias \
         ffn_down_shexp.bias ffn_gate_inp.bias ffn_gate_inp_shexp.bias ffn_gate_shexp.bias ffn_up_shexp.bias \
         output.bias output_norm.bias post_attention_norm.bias ssm_alpha.bias ssm_beta.bias ssm_conv1d.bias \
         ssm_norm.bias ssm_out.bias",
        keys: "expert_feed_forward_length expert_shared_feed_forward_length rope.dimension_sections",
    },
    Particular {
        architecture: "qwen3moe",
        needs: "ffn_gate_exps.weight",
        refuses: "attn_k_norm.bias attn_norm.bias attn_output.bias attn_q_norm.bias ffn_gate_inp.bias ffn_norm.bias \
         output.bias output_norm.bias",
        keys: "",
    },
    Particular {
        architecture: "qwen3vl",
        needs: "",
        refuses: "attn_norm.bias attn_output.bias ffn_down.bias ffn_gate.bias ffn_norm.bias ffn_up.bias output.bias \
         output_norm.bias",
        keys: "rope.dimension_sections",
    },
    Particular {
        architecture: "qwen3vlmoe",
        needs: "ffn_gate_exps.weight",
        refuses: "attn_k_norm.bias attn_norm.bias attn_output.bias attn_q_norm.bias ffn_gate_inp.bias ffn_norm.bias \
         output.bias output_norm.bias",
        keys: "rope.dimension_sections",
    },
    Particular {
        architecture: "refact",
        needs: "",
        refuses: "attn_norm.bias ffn_norm.bias output.bias output_norm.bias",
        keys: "",
    },
    Particular {
        architecture: "rwkv6",
        needs: "attn_norm.bias attn_norm_2.bias output.weight output_norm.bias time_mix_ln.bias token_embd_norm.bias",
        refuses: "channel_mix_key.bias channel_mix_receptance.bias channel_mix_value.bias output.bias \
         time_mix_decay_w1.bias time_mix_decay_w2.bias time_mix_gate.bias time_mix_key.bias \
         time_mix_output.bias time_mix_receptance.bias time_mix_value.bias time_mix_w1.bias",
        keys: "time_decay_extra_dim time_mix_extra_dim",
    },
    Particular {
        architecture: "rwkv7",
        needs: "attn_norm.bias attn_norm_2.bias output.weight output_norm.bias time_mix_ln.bias token_embd_norm.bias",
        refuses: "channel_mix_key.bias channel_mix_value.bias output.bias time_mix_a1.bias time_mix_a2.bias \
         time_mix_g1.bias time_mix_g2.bias time_mix_key.bias time_mix_output.bias time_mix_receptance.bias \
         time_mix_value.bias time_mix_w1.bias time_mix_w2.bias",
        keys: "attention.decay_lora_rank attention.gate_lora_rank attention.iclr_lora_rank \
         attention.value_residual_mix_lora_rank",
    },
    Particular {
        architecture: "seed_oss",
        needs: "",
        refuses: "attn_norm.bias attn_output.bias ffn_down.bias ffn_gate.bias ffn_up.bias output.bias output_norm.bias \
         post_attention_norm.bias",
        keys: "",
    },
    Particular {
        architecture: "smollm3",
        needs: "",
        refuses: "attn_norm.bias attn_output.bias ffn_down.bias ffn_gate.bias ffn_norm.bias ffn_up.bias \
         output_norm.bias",
        keys: "",
    },
    Particular {
        architecture: "stablelm",
        needs: "attn_norm.bias output.weight output_norm.bias",
        refuses: "attn_output.bias ffn_down.bias ffn_gate.bias ffn_up.bias output.bias",
        keys: "",
    },
    Particular {
        architecture: "starcoder",
        needs: "attn_norm.bias attn_output.bias attn_qkv.bias ffn_down.bias ffn_norm.bias ffn_up.bias \
         output_norm.bias position_embd.weight",
        refuses: "",
        keys: "",
    },
    Particular {
        architecture: "starcoder2",
        needs: "attn_norm.bias attn_output.bias ffn_down.bias ffn_norm.bias ffn_up.bias output_norm.bias",
        refuses: "",
        keys: "",
    },
    Particular {
        architecture: "bailingmoe",
        needs: "ffn_gate_exps.weight ffn_gate_shexp.weight output.weight",
        refuses: "attn_norm.bias attn_output.bias ffn_down_shexp.bias ffn_gate_inp.bias ffn_gate_shexp.bias \
         ffn_norm.bias ffn_up_shexp.bias output.bias output_norm.bias",
        keys: "expert_feed_forward_length expert_shared_count",
    },
    Particular {
        architecture: "bailingmoe2",
        needs: "layer_output_norm.weight ffn_gate_exps.weight ffn_gate_shexp.weight output.weight",
        refuses: "attn_k_norm.bias attn_norm.bias attn_output.bias attn_q_norm.bias attn_qkv.bias ffn_down.bias \
         ffn_down_shexp.bias ffn_gate.bias ffn_gate_inp.bias ffn_gate_shexp.bias ffn_norm.bias ffn_up.bias \
         ffn_up_shexp.bias output.bias output_norm.bias",
        keys: "expert_feed_forward_length expert_gating_func expert_shared_count",
    },
    Particular {
        architecture: "deepseek2-ocr",
        needs: "ffn_gate_exps.weight ffn_gate_shexp.weight",
        refuses: "attn_norm.bias attn_output.bias ffn_down.bias ffn_down_shexp.bias ffn_gate.bias ffn_gate_inp.bias \
         ffn_gate_shexp.bias ffn_norm.bias ffn_up.bias ffn_up_shexp.bias output.bias output_norm.bias",
        keys: "expert_feed_forward_length expert_shared_count",
    },
    Particular {
        architecture: "dream",
        needs: "",
        refuses: "attn_norm.bias attn_output.bias ffn_down.bias ffn_gate.bias ffn_norm.bias ffn_up.bias \
         output_norm.bias",
        keys: "",
    },
    Particular {
        architecture: "eurobert",
        needs: "",
        refuses: "attn_norm.bias attn_output.bias ffn_down.bias ffn_gate.bias ffn_norm.bias ffn_up.bias \
         output_norm.bias",
        keys: "",
    },
    Particular {
        architecture: "exaone-moe",
        needs: "ffn_gate_exps.weight ffn_gate_shexp.weight output.weight",
        refuses: "attn_k_norm.bias attn_norm.bias attn_output.bias attn_q_norm.bias ffn_down.bias ffn_down_shexp.bias \
         ffn_gate.bias ffn_gate_inp.bias ffn_gate_shexp.bias ffn_norm.bias ffn_up.bias ffn_up_shexp.bias \
         output.bias output_norm.bias",
        keys: "attention.sliding_window expert_feed_forward_length expert_gating_func leading_dense_block_count",
    },
    Particular {
        architecture: "llada",
        needs: "",
        refuses: "attn_norm.bias ffn_norm.bias output.bias output_norm.bias",
        keys: "",
    },
    Particular {
        architecture: "llada-moe",
        needs: "ffn_gate_exps.weight output.weight",
        refuses: "attn_k_norm.bias attn_norm.bias attn_output.bias attn_q_norm.bias ffn_gate_inp.bias ffn_norm.bias \
         output.bias output_norm.bias",
        keys: "",
    },
    Particular {
        architecture: "llama-embed",
        needs: "",
        refuses: "attn_norm.bias ffn_norm.bias output_norm.bias",
        keys: "",
    },
    Particular {
        architecture: "neo-bert",
        needs: "",
        refuses: "attn_norm.bias attn_output.bias attn_qkv.bias enc.output_norm.bias ffn_down.bias ffn_norm.bias \
         ffn_up.bias",
        keys: "",
    },
    Particular {
        architecture: "paddleocr",
        needs: "",
        refuses: "attn_norm.bias ffn_down.bias ffn_gate.bias ffn_norm.bias ffn_up.bias output.bias output_norm.bias",
        keys: "",
    },
    Particular {
        architecture: "rnd1",
        needs: "ffn_gate_exps.weight",
        refuses: "attn_k_norm.bias attn_norm.bias attn_output.bias attn_q_norm.bias ffn_gate_inp.bias ffn_norm.bias \
         output.bias output_norm.bias",
        keys: "",
    },
    Particular {
        architecture: "afmoe",
        needs: "exp_probs_b.bias ffn_gate_exps.weight ffn_gate_shexp.weight",
        refuses: "attn_norm.bias attn_output.bias ffn_down.bias ffn_gate.bias ffn_norm.bias ffn_up.bias \
         output.bias output_norm.bias ffn_down_shexp.bias ffn_gate_inp.bias ffn_gate_shexp.bias \
         ffn_up_shexp.bias attn_gate.bias post_attention_norm.bias post_ffw_norm.bias attn_k_norm.bias \
         attn_q_norm.bias",
        keys: "expert_feed_forward_length expert_shared_count",
    },
    Particular {
        architecture: "arctic",
        needs: "ffn_gate_exps.weight",
        refuses: "attn_norm.bias attn_output.bias ffn_down.bias ffn_gate.bias ffn_norm.bias ffn_up.bias output.bias \
         output_norm.bias ffn_gate_inp.bias ffn_norm_exps.bias",
        keys: "",
    },
    Particular {
        architecture: "cohere2moe",
        needs: "ffn_gate_exps.weight ffn_gate_shexp.weight",
        refuses: "attn_norm.bias ffn_down.bias ffn_gate.bias ffn_norm.bias ffn_up.bias output.bias \
         output_norm.bias ffn_down_shexp.bias ffn_gate_inp.bias ffn_gate_shexp.bias ffn_up_shexp.bias \
         attn_output.bias",
        keys: "attention.sliding_window expert_feed_forward_length leading_dense_block_count logit_scale",
    },
    Particular {
        architecture: "grok",
        needs: "",
        refuses: "attn_norm.bias attn_output_norm.bias ffn_gate_inp.bias ffn_norm.bias output.bias \
         output_norm.bias attn_output.bias layer_output_norm.bias ffn_down.bias ffn_gate.bias ffn_up.bias \
         post_ffw_norm.bias",
        keys: "",
    },
    Particular {
        architecture: "grovemoe",
        needs: "ffn_gate_exps.weight",
        refuses: "attn_norm.bias ffn_gate_inp.bias ffn_norm.bias output.bias output_norm.bias \
         attn_k_norm.bias attn_q_norm.bias attn_output.bias",
        keys: "expert_feed_forward_length expert_group_scale experts_per_group",
    },
    Particular {
        architecture: "granite_swa",
        needs: "attn_sinks.weight",
        refuses: "attn_norm.bias ffn_gate_inp.bias ffn_norm.bias output.bias output_norm.bias \
         ffn_up_shexp.bias ffn_down_shexp.bias",
        keys: "attention.sliding_window attention.sliding_window_pattern logit_scale feed_forward_length",
    },
    Particular {
        architecture: "hy_v3",
        needs: "",
        refuses: "attn_norm.bias ffn_down.bias ffn_gate.bias ffn_norm.bias ffn_up.bias output.bias \
         output_norm.bias ffn_down_shexp.bias ffn_gate_inp.bias ffn_gate_shexp.bias ffn_up_shexp.bias \
         attn_k_norm.bias attn_q_norm.bias attn_output.bias",
        keys: "expert_feed_forward_length",
    },
    Particular {
        architecture: "hunyuan_vl",
        needs: "",
        refuses: "attn_norm.bias attn_output.bias ffn_down.bias ffn_gate.bias ffn_norm.bias ffn_up.bias output.bias \
         output_norm.bias",
        keys: "",
    },
    Particular {
        architecture: "jais",
        needs: "attn_norm.bias attn_output.bias attn_qkv.bias ffn_down.bias ffn_gate.bias ffn_norm.bias ffn_up.bias \
         output.weight output_norm.bias",
        refuses: "output.bias",
        keys: "",
    },
    Particular {
        architecture: "laguna",
        needs: "exp_probs_b.bias ffn_gate_exps.weight ffn_gate_shexp.weight",
        refuses: "attn_norm.bias attn_output.bias ffn_down.bias ffn_gate.bias ffn_norm.bias ffn_up.bias \
         output.bias output_norm.bias ffn_down_shexp.bias ffn_gate_inp.bias ffn_gate_shexp.bias \
         ffn_up_shexp.bias attn_gate.bias attn_k_norm.bias attn_q_norm.bias",
        keys: "expert_feed_forward_length leading_dense_block_count",
    },
    Particular {
        architecture: "maple",
        needs: "output.weight ffn_gate_exps.weight",
        refuses: "attn_norm.bias attn_output.bias ffn_gate_inp.bias ffn_norm.bias output.bias \
         output_norm.bias attn_k_norm.bias attn_q_norm.bias",
        keys: "attention.sliding_window attention.sliding_window_pattern expert_feed_forward_length \
         swiglu_clamp_exp",
    },
    Particular {
        architecture: "mellum",
        needs: "output.weight ffn_gate_exps.weight",
        refuses: "attn_norm.bias ffn_gate_inp.bias ffn_norm.bias output.bias output_norm.bias \
         attn_k_norm.bias attn_q_norm.bias attn_output.bias",
        keys: "expert_feed_forward_length",
    },
    Particular {
        architecture: "mimo2",
        needs: "output.weight",
        refuses: "attn_norm.bias attn_output.bias ffn_down.bias ffn_gate.bias ffn_norm.bias ffn_up.bias output.bias \
         output_norm.bias ffn_gate_inp.bias",
        keys: "attention.sliding_window attention.sliding_window_pattern expert_feed_forward_length",
    },
    Particular {
        architecture: "minicpm3",
        needs: "",
        refuses: "attn_norm.bias attn_output.bias ffn_down.bias ffn_gate.bias ffn_norm.bias ffn_up.bias \
         output.bias output_norm.bias attn_kv_a_mqa.bias attn_kv_b.bias attn_q_a.bias attn_q_b.bias \
         attn_kv_a_norm.bias attn_q_a_norm.bias attn_kv_b.scale",
        keys: "attention.kv_lora_rank attention.q_lora_rank",
    },
    Particular {
        architecture: "nanbeige",
        needs: "",
        refuses: "attn_norm.bias ffn_down.bias ffn_gate.bias ffn_norm.bias ffn_up.bias output.bias \
         output_norm.bias attn_output.bias",
        keys: "",
    },
    Particular {
        architecture: "openelm",
        needs: "",
        refuses: "attn_norm.bias attn_output.bias ffn_down.bias ffn_gate.bias ffn_norm.bias ffn_up.bias output.bias \
         output_norm.bias attn_qkv.bias",
        keys: "",
    },
    Particular {
        architecture: "plm",
        needs: "",
        refuses: "attn_norm.bias attn_output.bias ffn_down.bias ffn_gate.bias ffn_norm.bias ffn_up.bias \
         output.bias output_norm.bias attn_kv_a_mqa.bias attn_kv_b.bias attn_q.bias attn_kv_a_norm.bias \
         attn_kv_b.scale",
        keys: "attention.kv_lora_rank",
    },
    Particular {
        architecture: "dots1",
        needs: "output.weight ffn_gate_exps.weight ffn_gate_shexp.weight",
        refuses: "attn_k_norm.bias attn_norm.bias attn_output.bias attn_q_norm.bias ffn_down.bias ffn_down_shexp.bias \
         ffn_gate.bias ffn_gate_inp.bias ffn_gate_shexp.bias ffn_norm.bias ffn_up.bias ffn_up_shexp.bias output.bias \
         output_norm.bias",
        keys: "expert_feed_forward_length expert_shared_count",
    },
    Particular {
        architecture: "ernie4_5-moe",
        needs: "ffn_gate_shexp.weight",
        refuses: "attn_norm.bias ffn_down.bias ffn_down_shexp.bias ffn_gate.bias ffn_gate_inp.bias ffn_gate_shexp.bias \
         ffn_norm.bias ffn_up.bias ffn_up_shexp.bias output.bias output_norm.bias",
        keys: "expert_feed_forward_length interleave_moe_layer_step",
    },
    Particular {
        architecture: "phi3",
        needs: "",
        refuses: "attn_norm.bias attn_output.bias ffn_down.bias ffn_norm.bias ffn_up.bias output.bias output_norm.bias",
        keys: "",
    },
    Particular {
        architecture: "smallthinker",
        needs: "ffn_gate_exps.weight",
        refuses: "attn_norm.bias attn_output.bias ffn_gate_inp.bias ffn_norm.bias output.bias output_norm.bias",
        keys: "",
    },
    Particular {
        architecture: "spark2_5",
        needs: "",
        refuses: "attn_norm.bias attn_output.bias ffn_down.bias ffn_gate.bias ffn_norm.bias ffn_up.bias output.bias \
         output_norm.bias attn_gate.bias",
        keys: "attention.sliding_window attention.sliding_window_pattern",
    },
    Particular {
        architecture: "step35",
        needs: "output.weight",
        refuses: "attn_k_norm.bias attn_norm.bias attn_q_norm.bias attn_output.bias ffn_down.bias ffn_gate.bias ffn_norm.bias ffn_up.bias output.bias \
         output_norm.bias ffn_down_shexp.bias ffn_gate_inp.bias ffn_gate_shexp.bias ffn_up_shexp.bias \
         attn_gate.bias",
        keys: "attention.sliding_window attention.sliding_window_pattern expert_feed_forward_length",
    },
    Particular {
        architecture: "arwkv7",
        needs: "",
        refuses: "attn_norm.bias ffn_down.bias ffn_gate.bias ffn_norm.bias ffn_up.bias output.bias output_norm.bias \
         time_mix_a1.bias time_mix_a2.bias time_mix_g1.bias time_mix_g2.bias time_mix_key.bias time_mix_output.bias \
         time_mix_receptance.bias time_mix_v1.bias time_mix_v2.bias time_mix_value.bias time_mix_w1.bias time_mix_w2.bias",
        keys: "attention.decay_lora_rank attention.iclr_lora_rank attention.value_residual_mix_lora_rank",
    },
    Particular {
        architecture: "bitnet",
        needs: "",
        refuses: "attn_norm.bias attn_output.bias attn_sub_norm.bias ffn_down.bias ffn_gate.bias ffn_norm.bias \
         ffn_sub_norm.bias ffn_up.bias output.bias output.weight output_norm.bias",
        keys: "",
    },
    Particular {
        architecture: "gemma3n",
        needs: "",
        refuses: "altup_correct_coef.bias altup_predict_coef.bias altup_proj.bias altup_router.bias \
         altup_router_norm.bias altup_unembd_proj.bias attn_k_norm.bias attn_norm.bias attn_output.bias attn_q_norm.bias \
         ffn_down.bias ffn_gate.bias ffn_norm.bias ffn_up.bias inp_gate.bias laurel_l.bias laurel_post_norm.bias \
         laurel_r.bias output.bias output_norm.bias per_layer_model_proj.bias per_layer_proj_norm.bias \
         post_attention_norm.bias post_ffw_norm.bias post_norm.bias",
        keys: "",
    },
    Particular {
        architecture: "graniteswitch",
        needs: "",
        refuses: "attn_norm.bias attn_output.bias attn_qkv.bias ffn_down.bias ffn_gate.bias ffn_norm.bias ffn_up.bias \
         output.bias output_norm.bias",
        keys: "",
    },
    Particular {
        architecture: "jina-bert-v2",
        needs: "attn_output.bias attn_output_norm.bias layer_output_norm.bias token_embd_norm.bias token_types.weight",
        refuses: "ffn_gate.bias",
        keys: "tokenizer.ggml.token_type_count",
    },
    Particular {
        architecture: "bailingmoe3",
        needs: "",
        refuses: "",
        keys: "expert_gating_func expert_shared_count leading_dense_block_count",
    },
    Particular {
        architecture: "rwkv6qwen2",
        needs: "",
        refuses: "attn_norm.bias ffn_down.bias ffn_gate.bias ffn_norm.bias ffn_up.bias output.bias time_mix_decay_w1.bias \
         time_mix_decay_w2.bias time_mix_gate.bias time_mix_output.bias time_mix_w1.bias",
        keys: "",
    },
];
