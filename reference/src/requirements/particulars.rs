//! Demands of llama.cpp's loader beyond what an architecture's graph cannot run without: tensors that the forward pass
//! would do without or put up with, and keys that it can find out otherwise. Each row follows from what the loader says
//! of files with one thing removed or added (`oracle/tests/load.rs`).

/// The demands of one architecture: names and suffixes (behind `blk.N.` and the architecture's prefix), divided by
/// blanks.
pub(super) struct Particular {
    pub(super) architecture: &'static str,
    /// Tensors that have to be there; of a bias, where its weight is.
    pub(super) needs: &'static str,
    /// Keys that have to be there.
    pub(super) keys: &'static str,
}

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
        keys: "",
    },
    Particular {
        architecture: "baichuan",
        needs: "output.weight",
        keys: "",
    },
    Particular {
        architecture: "bert",
        needs: "attn_output_norm.bias layer_output_norm.bias token_embd_norm.bias",
        keys: "tokenizer.ggml.token_type_count",
    },
    Particular {
        architecture: "bloom",
        needs: "attn_norm.bias attn_output.bias attn_qkv.bias ffn_down.bias ffn_norm.bias ffn_up.bias \
         output_norm.bias token_embd_norm.bias",
        keys: "",
    },
    Particular {
        architecture: "codeshell",
        needs: "attn_norm.bias attn_output.bias ffn_down.bias ffn_norm.bias ffn_up.bias output.weight \
         output_norm.bias",
        keys: "",
    },
    Particular {
        architecture: "cohere2",
        needs: "",
        keys: "attention.sliding_window logit_scale",
    },
    Particular {
        architecture: "deepseek",
        needs: "ffn_gate_exps.weight ffn_gate_shexp.weight",
        keys: "expert_feed_forward_length expert_shared_count leading_dense_block_count",
    },
    Particular {
        architecture: "deepseek2",
        needs: "ffn_gate_exps.weight ffn_gate_shexp.weight",
        keys: "expert_feed_forward_length expert_shared_count leading_dense_block_count",
    },
    Particular {
        architecture: "deepseek32",
        needs: "ffn_gate_exps.weight ffn_gate_shexp.weight indexer.k_norm.bias",
        keys: "expert_feed_forward_length expert_gating_func expert_shared_count leading_dense_block_count",
    },
    Particular {
        architecture: "dots3note",
        needs: "exp_probs_b.bias ffn_gate_exps.weight ffn_gate_shexp.weight indexer.k_norm.bias",
        keys: "attention.indexer.types attention.sliding_window_pattern expert_feed_forward_length expert_gating_func \
         expert_shared_count leading_dense_block_count",
    },
    Particular {
        architecture: "falcon",
        needs: "attn_norm.bias output_norm.bias",
        keys: "",
    },
    Particular {
        architecture: "gemma-embedding",
        needs: "",
        keys: "attention.sliding_window",
    },
    Particular {
        architecture: "glm4moe",
        needs: "exp_probs_b.bias ffn_gate_exps.weight ffn_gate_shexp.weight",
        keys: "expert_feed_forward_length expert_shared_count leading_dense_block_count",
    },
    Particular {
        architecture: "gpt-oss",
        needs: "attn_output.bias attn_sinks.weight ffn_down_exps.bias ffn_gate_exps.bias ffn_gate_inp.bias \
         ffn_up_exps.bias output.weight",
        keys: "attention.sliding_window expert_feed_forward_length",
    },
    Particular {
        architecture: "gpt2",
        needs: "attn_norm.bias attn_output.bias attn_qkv.bias ffn_down.bias ffn_norm.bias ffn_up.bias \
         output_norm.bias position_embd.weight",
        keys: "",
    },
    Particular {
        architecture: "gptneox",
        needs: "attn_norm.bias attn_output.bias attn_qkv.bias ffn_down.bias ffn_norm.bias ffn_up.bias output.weight \
         output_norm.bias",
        keys: "use_parallel_residual",
    },
    Particular {
        architecture: "granite",
        needs: "ffn_gate_shexp.weight",
        keys: "logit_scale",
    },
    Particular {
        architecture: "granitehybrid",
        needs: "ffn_gate_shexp.weight ssm_norm.weight",
        keys: "expert_shared_feed_forward_length feed_forward_length ssm.conv_kernel ssm.inner_size \
         ssm.state_size ssm.time_step_rank ssm.group_count",
    },
    Particular {
        architecture: "granitemoe",
        needs: "ffn_gate_shexp.weight",
        keys: "expert_shared_feed_forward_length feed_forward_length logit_scale",
    },
    Particular {
        architecture: "hunyuan-moe",
        needs: "ffn_gate_exps.weight ffn_gate_shexp.weight",
        keys: "expert_feed_forward_length feed_forward_length",
    },
    Particular {
        architecture: "internlm2",
        needs: "output.weight",
        keys: "",
    },
    Particular {
        architecture: "jais2",
        needs: "attn_norm.bias attn_output.bias ffn_down.bias ffn_norm.bias ffn_up.bias output_norm.bias",
        keys: "",
    },
    Particular {
        architecture: "kimi-linear",
        needs: "exp_probs_b.bias ffn_gate_exps.weight output.weight",
        keys: "attention.head_count_kv expert_feed_forward_length expert_gating_func expert_shared_count \
         feed_forward_length leading_dense_block_count attention.key_length_mla \
         attention.value_length_mla attention.kv_lora_rank ssm.conv_kernel kda.head_dim",
    },
    Particular {
        architecture: "lfm2",
        needs: "ffn_gate_exps.weight",
        keys: "feed_forward_length shortconv.l_cache",
    },
    Particular {
        architecture: "lfm2moe",
        needs: "exp_probs_b.bias ffn_gate_exps.weight",
        keys: "expert_feed_forward_length expert_gating_func feed_forward_length leading_dense_block_count \
         shortconv.l_cache",
    },
    Particular {
        architecture: "llama4",
        needs: "ffn_gate_exps.weight ffn_gate_shexp.weight",
        keys: "expert_feed_forward_length interleave_moe_layer_step",
    },
    Particular {
        architecture: "mamba",
        needs: "ssm_conv1d.bias ssm_dt.bias",
        keys: "ssm.conv_kernel ssm.inner_size ssm.state_size ssm.time_step_rank",
    },
    Particular {
        architecture: "mamba2",
        needs: "ssm_conv1d.bias ssm_norm.weight",
        keys: "ssm.conv_kernel ssm.inner_size ssm.state_size ssm.time_step_rank ssm.group_count",
    },
    Particular {
        architecture: "minimax-m2",
        needs: "exp_probs_b.bias ffn_gate_exps.weight output.weight",
        keys: "expert_feed_forward_length feed_forward_length",
    },
    Particular {
        architecture: "nemotron_h",
        needs: "ssm_norm.weight",
        keys: "attention.layer_norm_epsilon feed_forward_length ssm.conv_kernel ssm.inner_size ssm.state_size \
         ssm.time_step_rank ssm.group_count",
    },
    Particular {
        architecture: "nemotron_h_moe",
        needs: "exp_probs_b.bias ssm_norm.weight",
        keys: "attention.layer_norm_epsilon expert_feed_forward_length expert_shared_feed_forward_length \
         feed_forward_length moe_latent_size ssm.conv_kernel ssm.inner_size ssm.state_size \
         ssm.time_step_rank ssm.group_count",
    },
    Particular {
        architecture: "nomic-bert",
        needs: "attn_output_norm.bias layer_output_norm.bias token_embd_norm.bias",
        keys: "tokenizer.ggml.token_type_count",
    },
    Particular {
        architecture: "olmo2",
        needs: "output.weight",
        keys: "",
    },
    Particular {
        architecture: "olmoe",
        needs: "ffn_gate_exps.weight output.weight",
        keys: "feed_forward_length",
    },
    Particular {
        architecture: "orion",
        needs: "attn_norm.bias ffn_norm.bias output.weight output_norm.bias",
        keys: "",
    },
    Particular {
        architecture: "pangu-embedded",
        needs: "attn_output.bias",
        keys: "",
    },
    Particular {
        architecture: "phi2",
        needs: "attn_norm.bias attn_output.bias ffn_down.bias ffn_up.bias output.bias output.weight output_norm.bias",
        keys: "",
    },
    Particular {
        architecture: "phimoe",
        needs: "attn_norm.bias attn_output.bias ffn_gate_exps.weight ffn_norm.bias output.bias output.weight \
         output_norm.bias",
        keys: "feed_forward_length",
    },
    Particular {
        architecture: "plamo3",
        needs: "",
        keys: "feed_forward_length",
    },
    Particular {
        architecture: "qwen",
        needs: "attn_qkv.bias output.weight",
        keys: "",
    },
    Particular {
        architecture: "qwen2moe",
        needs: "ffn_gate_exps.weight output.weight ffn_gate_shexp.weight ffn_gate_inp_shexp.weight",
        keys: "",
    },
    Particular {
        architecture: "qwen2vl",
        needs: "",
        keys: "rope.dimension_sections",
    },
    Particular {
        architecture: "qwen35",
        needs: "",
        keys: "feed_forward_length rope.dimension_sections ssm.conv_kernel ssm.inner_size ssm.state_size \
         ssm.time_step_rank ssm.group_count",
    },
    Particular {
        architecture: "qwen35moe",
        needs: "ffn_gate_exps.weight ffn_gate_inp_shexp.weight ffn_gate_shexp.weight",
        keys: "expert_feed_forward_length expert_shared_feed_forward_length rope.dimension_sections \
         ssm.conv_kernel ssm.inner_size ssm.state_size ssm.time_step_rank ssm.group_count",
    },
    Particular {
        architecture: "qwen3moe",
        needs: "ffn_gate_exps.weight",
        keys: "",
    },
    Particular {
        architecture: "qwen3vl",
        needs: "",
        keys: "rope.dimension_sections",
    },
    Particular {
        architecture: "qwen3vlmoe",
        needs: "ffn_gate_exps.weight",
        keys: "rope.dimension_sections",
    },
    Particular {
        architecture: "rwkv6",
        needs: "attn_norm.bias attn_norm_2.bias output.weight output_norm.bias time_mix_ln.bias \
         token_embd_norm.bias",
        keys: "time_decay_extra_dim time_mix_extra_dim wkv.head_size",
    },
    Particular {
        architecture: "rwkv7",
        needs: "attn_norm.bias attn_norm_2.bias output.weight output_norm.bias time_mix_ln.bias \
         token_embd_norm.bias",
        keys: "attention.decay_lora_rank attention.gate_lora_rank attention.iclr_lora_rank \
         attention.value_residual_mix_lora_rank wkv.head_size",
    },
    Particular {
        architecture: "stablelm",
        needs: "attn_norm.bias output.weight output_norm.bias",
        keys: "",
    },
    Particular {
        architecture: "starcoder",
        needs: "attn_norm.bias attn_output.bias attn_qkv.bias ffn_down.bias ffn_norm.bias ffn_up.bias \
         output_norm.bias position_embd.weight",
        keys: "",
    },
    Particular {
        architecture: "starcoder2",
        needs: "attn_norm.bias attn_output.bias ffn_down.bias ffn_norm.bias ffn_up.bias output_norm.bias",
        keys: "",
    },
    Particular {
        architecture: "bailingmoe",
        needs: "ffn_gate_exps.weight ffn_gate_shexp.weight output.weight",
        keys: "expert_feed_forward_length expert_shared_count",
    },
    Particular {
        architecture: "bailingmoe2",
        needs: "layer_output_norm.weight ffn_gate_exps.weight ffn_gate_shexp.weight output.weight",
        keys: "expert_feed_forward_length expert_gating_func expert_shared_count",
    },
    Particular {
        architecture: "deepseek2-ocr",
        needs: "ffn_gate_exps.weight ffn_gate_shexp.weight",
        keys: "expert_feed_forward_length expert_shared_count",
    },
    Particular {
        architecture: "exaone-moe",
        needs: "ffn_gate_exps.weight ffn_gate_shexp.weight output.weight",
        keys: "attention.sliding_window expert_feed_forward_length expert_gating_func leading_dense_block_count",
    },
    Particular {
        architecture: "llada-moe",
        needs: "ffn_gate_exps.weight output.weight",
        keys: "",
    },
    Particular {
        architecture: "rnd1",
        needs: "ffn_gate_exps.weight",
        keys: "",
    },
    Particular {
        architecture: "afmoe",
        needs: "exp_probs_b.bias ffn_gate_exps.weight ffn_gate_shexp.weight",
        keys: "expert_feed_forward_length expert_shared_count",
    },
    Particular {
        architecture: "arctic",
        needs: "ffn_gate_exps.weight",
        keys: "",
    },
    Particular {
        architecture: "cohere2moe",
        needs: "ffn_gate_exps.weight ffn_gate_shexp.weight",
        keys: "attention.sliding_window expert_feed_forward_length leading_dense_block_count logit_scale",
    },
    Particular {
        architecture: "grovemoe",
        needs: "ffn_gate_exps.weight",
        keys: "expert_feed_forward_length expert_group_scale experts_per_group",
    },
    Particular {
        architecture: "granite_swa",
        needs: "attn_sinks.weight",
        keys: "attention.sliding_window attention.sliding_window_pattern logit_scale feed_forward_length",
    },
    Particular {
        architecture: "hy_v3",
        needs: "",
        keys: "expert_feed_forward_length",
    },
    Particular {
        architecture: "jais",
        needs: "attn_norm.bias attn_output.bias attn_qkv.bias ffn_down.bias ffn_gate.bias ffn_norm.bias ffn_up.bias \
         output.weight output_norm.bias",
        keys: "",
    },
    Particular {
        architecture: "laguna",
        needs: "exp_probs_b.bias ffn_gate_exps.weight ffn_gate_shexp.weight",
        keys: "expert_feed_forward_length leading_dense_block_count",
    },
    Particular {
        architecture: "maple",
        needs: "output.weight ffn_gate_exps.weight",
        keys: "attention.sliding_window attention.sliding_window_pattern expert_feed_forward_length \
         swiglu_clamp_exp",
    },
    Particular {
        architecture: "mellum",
        needs: "output.weight ffn_gate_exps.weight",
        keys: "expert_feed_forward_length",
    },
    Particular {
        architecture: "mimo2",
        needs: "output.weight",
        keys: "attention.sliding_window attention.sliding_window_pattern expert_feed_forward_length",
    },
    Particular {
        architecture: "minicpm3",
        needs: "",
        keys: "attention.kv_lora_rank attention.q_lora_rank",
    },
    Particular {
        architecture: "plm",
        needs: "",
        keys: "attention.kv_lora_rank",
    },
    Particular {
        architecture: "dots1",
        needs: "output.weight ffn_gate_exps.weight ffn_gate_shexp.weight",
        keys: "expert_feed_forward_length expert_shared_count",
    },
    Particular {
        architecture: "ernie4_5-moe",
        needs: "ffn_gate_shexp.weight",
        keys: "expert_feed_forward_length interleave_moe_layer_step",
    },
    Particular {
        architecture: "smallthinker",
        needs: "ffn_gate_exps.weight",
        keys: "",
    },
    Particular {
        architecture: "spark2_5",
        needs: "",
        keys: "attention.sliding_window attention.sliding_window_pattern",
    },
    Particular {
        architecture: "step35",
        needs: "output.weight",
        keys: "attention.sliding_window attention.sliding_window_pattern expert_feed_forward_length",
    },
    Particular {
        architecture: "arwkv7",
        needs: "output.weight",
        keys: "attention.decay_lora_rank attention.iclr_lora_rank attention.value_residual_mix_lora_rank \
         wkv.head_size",
    },
    Particular {
        architecture: "jina-bert-v2",
        needs: "attn_output.bias attn_output_norm.bias ffn_down.bias layer_output_norm.bias token_embd_norm.bias \
         token_types.weight",
        keys: "tokenizer.ggml.token_type_count",
    },
    Particular {
        architecture: "bailingmoe3",
        needs: "exp_probs_b.bias ffn_gate_exps.weight ffn_gate_shexp.weight",
        keys: "attention.head_count_kv expert_feed_forward_length expert_gating_func expert_shared_count \
         leading_dense_block_count attention.key_length_mla attention.value_length_mla \
         attention.kv_lora_rank ssm.conv_kernel kda.head_dim",
    },
    Particular {
        architecture: "dbrx",
        needs: "output.weight ffn_gate_exps.weight",
        keys: "attention.clamp_kqv",
    },
    Particular {
        architecture: "minimax-m3",
        needs: "output.weight ffn_gate_exps.weight ffn_gate_shexp.weight exp_probs_b.bias",
        keys: "expert_feed_forward_length expert_shared_count expert_gating_func attention.indexer.head_count \
         attention.indexer.key_length attention.indexer.top_k attention.indexer.block_size \
         attention.indexer.local_blocks",
    },
    Particular {
        architecture: "muse-glimmer",
        needs: "output.weight",
        keys: "attention.sliding_window logit_scale",
    },
    Particular {
        architecture: "nemotron",
        needs: "attn_norm.bias ffn_norm.bias output.weight output_norm.bias",
        keys: "",
    },
    Particular {
        architecture: "plamo",
        needs: "output.weight",
        keys: "",
    },
    Particular {
        architecture: "pockettts",
        needs: "attn_norm.bias ffn_norm.bias output_norm.bias",
        keys: "",
    },
    Particular {
        architecture: "rwkv6qwen2",
        needs: "output.weight",
        keys: "wkv.head_size time_mix_extra_dim time_decay_extra_dim",
    },
    Particular {
        architecture: "talkie",
        needs: "output.weight",
        keys: "logit_scale",
    },
    Particular {
        architecture: "xverse",
        needs: "output.weight",
        keys: "",
    },
    Particular {
        architecture: "gemma4",
        needs: "ffn_gate_exps.weight",
        keys: "attention.sliding_window_pattern attention.sliding_window embedding_length_per_layer_input \
         attention.key_length_swa attention.value_length_swa",
    },
    Particular {
        architecture: "jamba",
        needs: "ffn_gate_exps.weight",
        keys: "ssm.conv_kernel ssm.inner_size ssm.state_size ssm.time_step_rank",
    },
    Particular {
        architecture: "ernie4_5",
        needs: "ffn_gate_shexp.weight",
        keys: "",
    },
    Particular {
        architecture: "llama",
        needs: "ffn_gate_shexp.weight",
        keys: "",
    },
    Particular {
        architecture: "llama-embed",
        needs: "ffn_gate_shexp.weight",
        keys: "",
    },
    Particular {
        architecture: "minicpm",
        needs: "ffn_gate_shexp.weight",
        keys: "",
    },
    Particular {
        architecture: "mistral3",
        needs: "ffn_gate_shexp.weight",
        keys: "",
    },
    Particular {
        architecture: "paddleocr",
        needs: "ffn_gate_shexp.weight",
        keys: "",
    },
    Particular {
        architecture: "refact",
        needs: "ffn_gate_shexp.weight",
        keys: "",
    },
    Particular {
        architecture: "graniteswitch",
        needs: "",
        keys: "logit_scale adapters.count adapters.lora_rank adapters.token_ids_activate \
         adapters.token_ids_substitute",
    },
    Particular {
        architecture: "minimax-01",
        needs: "",
        keys: "residual_scale",
    },
    Particular {
        architecture: "gemma3n",
        needs: "",
        keys: "attention.sliding_window",
    },
    Particular {
        architecture: "glm-dsa",
        needs: "",
        keys: "expert_feed_forward_length expert_shared_count attention.indexer.head_count \
         attention.indexer.key_length attention.indexer.top_k",
    },
    Particular {
        architecture: "plamo2",
        needs: "ssm_dt.bias",
        keys: "ssm.group_count",
    },
    Particular {
        architecture: "falcon-h1",
        needs: "",
        keys: "ssm.conv_kernel ssm.inner_size ssm.state_size ssm.time_step_rank ssm.group_count",
    },
    Particular {
        architecture: "qwen3next",
        needs: "",
        keys: "ssm.conv_kernel ssm.inner_size ssm.state_size ssm.time_step_rank ssm.group_count",
    },
    Particular {
        architecture: "hrm_text",
        needs: "",
        keys: "hrm.layers_per_stack hrm.h_cycles hrm.l_cycles",
    },
];
