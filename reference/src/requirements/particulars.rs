//! Demands of llama.cpp's loader beyond what an architecture's graph cannot run without: tensors that the forward pass
//! would do without or put up with, and keys that it can find out otherwise. Each row follows from what the loader says
//! of files with one thing removed or added (`oracle/tests/load.rs`).

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

/// Tensors that have to be there, of a model of this architecture; of a bias, where its weight is. Names behind `blk.N.`,
/// divided by blanks.
#[expect(clippy::too_many_lines, reason = "a table")]
pub(super) fn tensors(architecture: &str) -> &'static str {
    match architecture {
        "apertus" | "baichuan" | "internlm2" | "olmo2" | "mimo2" | "step35" | "arwkv7" | "muse-glimmer"
        | "plamo" | "rwkv6qwen2" | "talkie" | "xverse" => "output.weight",
        "bert" | "nomic-bert" => "attn_output_norm.bias layer_output_norm.bias token_embd_norm.bias",
        "bloom" => {
            "attn_norm.bias attn_output.bias attn_qkv.bias ffn_down.bias ffn_norm.bias ffn_up.bias \
             output_norm.bias token_embd_norm.bias"
        }
        "codeshell" => {
            "attn_norm.bias attn_output.bias ffn_down.bias ffn_norm.bias ffn_up.bias output.weight \
             output_norm.bias"
        }
        "deepseek" | "deepseek2" | "hunyuan-moe" | "llama4" | "deepseek2-ocr" | "cohere2moe" | "glm-dsa" => {
            "ffn_gate_exps.weight ffn_gate_shexp.weight"
        }
        "deepseek32" => "ffn_gate_exps.weight ffn_gate_shexp.weight indexer.k_norm.bias",
        "dots3note" => "exp_probs_b.bias ffn_gate_exps.weight ffn_gate_shexp.weight indexer.k_norm.bias",
        "falcon" => "attn_norm.bias output_norm.bias",
        "glm4moe" | "afmoe" | "laguna" | "bailingmoe3" => {
            "exp_probs_b.bias ffn_gate_exps.weight ffn_gate_shexp.weight"
        }
        "gpt-oss" => {
            "attn_output.bias attn_sinks.weight ffn_down_exps.bias ffn_gate_exps.bias \
             ffn_gate_inp.bias ffn_up_exps.bias output.weight"
        }
        "gpt2" | "starcoder" => {
            "attn_norm.bias attn_output.bias attn_qkv.bias ffn_down.bias ffn_norm.bias ffn_up.bias \
             output_norm.bias position_embd.weight"
        }
        "gptneox" => {
            "attn_norm.bias attn_output.bias attn_qkv.bias ffn_down.bias ffn_norm.bias ffn_up.bias \
             output.weight output_norm.bias"
        }
        "granite" | "granitemoe" | "ernie4_5-moe" | "ernie4_5" | "llama" | "llama-embed" | "minicpm"
        | "mistral3" | "paddleocr" | "refact" => "ffn_gate_shexp.weight",
        "granitehybrid" => "ffn_gate_shexp.weight ssm_norm.weight",
        "jais2" | "starcoder2" => {
            "attn_norm.bias attn_output.bias ffn_down.bias ffn_norm.bias ffn_up.bias output_norm.bias"
        }
        "kimi-linear" | "minimax-m2" => "exp_probs_b.bias ffn_gate_exps.weight output.weight",
        "lfm2" | "qwen3moe" | "qwen3vlmoe" | "rnd1" | "arctic" | "grovemoe" | "smallthinker" | "gemma4"
        | "jamba" => "ffn_gate_exps.weight",
        "lfm2moe" => "exp_probs_b.bias ffn_gate_exps.weight",
        "mamba" => "ssm_conv1d.bias ssm_dt.bias",
        "mamba2" => "ssm_conv1d.bias ssm_norm.weight",
        "nemotron_h" => "ssm_norm.weight",
        "nemotron_h_moe" => "exp_probs_b.bias ssm_norm.weight",
        "olmoe" | "llada-moe" => "ffn_gate_exps.weight output.weight",
        "orion" | "nemotron" => "attn_norm.bias ffn_norm.bias output.weight output_norm.bias",
        "pangu-embedded" => "attn_output.bias",
        "phi2" => {
            "attn_norm.bias attn_output.bias ffn_down.bias ffn_up.bias output.bias output.weight \
             output_norm.bias"
        }
        "phimoe" => {
            "attn_norm.bias attn_output.bias ffn_gate_exps.weight ffn_norm.bias output.bias \
             output.weight output_norm.bias"
        }
        "qwen" => "attn_qkv.bias output.weight",
        "qwen2moe" => "ffn_gate_exps.weight output.weight ffn_gate_shexp.weight ffn_gate_inp_shexp.weight",
        "qwen35moe" | "qwen3next" => "ffn_gate_exps.weight ffn_gate_inp_shexp.weight ffn_gate_shexp.weight",
        "rwkv6" | "rwkv7" => {
            "attn_norm.bias attn_norm_2.bias output.weight output_norm.bias time_mix_ln.bias \
             token_embd_norm.bias"
        }
        "stablelm" => "attn_norm.bias output.weight output_norm.bias",
        "bailingmoe" | "exaone-moe" => "ffn_gate_exps.weight ffn_gate_shexp.weight output.weight",
        "bailingmoe2" => "layer_output_norm.weight ffn_gate_exps.weight ffn_gate_shexp.weight output.weight",
        "granite_swa" => "attn_sinks.weight",
        "jais" => {
            "attn_norm.bias attn_output.bias attn_qkv.bias ffn_down.bias ffn_gate.bias ffn_norm.bias \
             ffn_up.bias output.weight output_norm.bias"
        }
        "maple" | "mellum" | "dbrx" => "output.weight ffn_gate_exps.weight",
        "dots1" => "output.weight ffn_gate_exps.weight ffn_gate_shexp.weight",
        "jina-bert-v2" => {
            "attn_output.bias attn_output_norm.bias ffn_down.bias layer_output_norm.bias \
             token_embd_norm.bias token_types.weight"
        }
        "minimax-m3" => "output.weight ffn_gate_exps.weight ffn_gate_shexp.weight exp_probs_b.bias",
        "pockettts" => "attn_norm.bias ffn_norm.bias output_norm.bias",
        "plamo2" => "ssm_dt.bias",
        _ => "",
    }
}

/// Keys that have to be there. Suffixes behind the architecture's prefix, divided by blanks.
#[expect(clippy::too_many_lines, reason = "a table")]
pub(super) fn keys(architecture: &str) -> &'static str {
    match architecture {
        "bert" | "nomic-bert" | "jina-bert-v2" => "tokenizer.ggml.token_type_count",
        "cohere2" | "muse-glimmer" => "attention.sliding_window logit_scale",
        "deepseek" | "deepseek2" | "glm4moe" => {
            "expert_feed_forward_length expert_shared_count leading_dense_block_count"
        }
        "deepseek32" => {
            "expert_feed_forward_length expert_gating_func expert_shared_count \
             leading_dense_block_count"
        }
        "dots3note" => {
            "attention.indexer.types attention.sliding_window_pattern expert_feed_forward_length \
             expert_gating_func expert_shared_count leading_dense_block_count"
        }
        "gemma-embedding" | "gemma3n" => "attention.sliding_window",
        "gpt-oss" => "attention.sliding_window expert_feed_forward_length",
        "gptneox" => "use_parallel_residual",
        "granite" | "talkie" => "logit_scale",
        "granitehybrid" => {
            "expert_shared_feed_forward_length feed_forward_length ssm.conv_kernel ssm.inner_size \
             ssm.state_size ssm.time_step_rank ssm.group_count"
        }
        "granitemoe" => "expert_shared_feed_forward_length feed_forward_length logit_scale",
        "hunyuan-moe" | "minimax-m2" => "expert_feed_forward_length feed_forward_length",
        "kimi-linear" => {
            "attention.head_count_kv expert_feed_forward_length expert_gating_func expert_shared_count \
             feed_forward_length leading_dense_block_count attention.key_length_mla \
             attention.value_length_mla attention.kv_lora_rank ssm.conv_kernel kda.head_dim"
        }
        "lfm2" => "feed_forward_length shortconv.l_cache",
        "lfm2moe" => {
            "expert_feed_forward_length expert_gating_func feed_forward_length \
             leading_dense_block_count shortconv.l_cache"
        }
        "llama4" | "ernie4_5-moe" => "expert_feed_forward_length interleave_moe_layer_step",
        "mamba" | "jamba" => "ssm.conv_kernel ssm.inner_size ssm.state_size ssm.time_step_rank",
        "mamba2" | "falcon-h1" | "qwen3next" => {
            "ssm.conv_kernel ssm.inner_size ssm.state_size ssm.time_step_rank ssm.group_count"
        }
        "nemotron_h" => {
            "attention.layer_norm_epsilon feed_forward_length ssm.conv_kernel ssm.inner_size \
             ssm.state_size ssm.time_step_rank ssm.group_count"
        }
        "nemotron_h_moe" => {
            "attention.layer_norm_epsilon expert_feed_forward_length expert_shared_feed_forward_length \
             feed_forward_length moe_latent_size ssm.conv_kernel ssm.inner_size ssm.state_size \
             ssm.time_step_rank ssm.group_count"
        }
        "olmoe" | "phimoe" | "plamo3" => "feed_forward_length",
        "qwen2vl" | "qwen3vl" | "qwen3vlmoe" => "rope.dimension_sections",
        "qwen35" => {
            "feed_forward_length rope.dimension_sections ssm.conv_kernel ssm.inner_size ssm.state_size \
             ssm.time_step_rank ssm.group_count"
        }
        "qwen35moe" => {
            "expert_feed_forward_length expert_shared_feed_forward_length rope.dimension_sections \
             ssm.conv_kernel ssm.inner_size ssm.state_size ssm.time_step_rank ssm.group_count"
        }
        "rwkv6" => "time_decay_extra_dim time_mix_extra_dim wkv.head_size",
        "rwkv7" => {
            "attention.decay_lora_rank attention.gate_lora_rank attention.iclr_lora_rank \
             attention.value_residual_mix_lora_rank wkv.head_size"
        }
        "bailingmoe" | "deepseek2-ocr" | "afmoe" | "dots1" => {
            "expert_feed_forward_length expert_shared_count"
        }
        "bailingmoe2" => "expert_feed_forward_length expert_gating_func expert_shared_count",
        "exaone-moe" => {
            "attention.sliding_window expert_feed_forward_length expert_gating_func \
             leading_dense_block_count"
        }
        "cohere2moe" => {
            "attention.sliding_window expert_feed_forward_length leading_dense_block_count logit_scale"
        }
        "grovemoe" => "expert_feed_forward_length expert_group_scale experts_per_group",
        "granite_swa" => {
            "attention.sliding_window attention.sliding_window_pattern logit_scale feed_forward_length"
        }
        "hy_v3" | "mellum" => "expert_feed_forward_length",
        "laguna" => "expert_feed_forward_length leading_dense_block_count",
        "maple" => {
            "attention.sliding_window attention.sliding_window_pattern expert_feed_forward_length \
             swiglu_clamp_exp"
        }
        "mimo2" | "step35" => {
            "attention.sliding_window attention.sliding_window_pattern expert_feed_forward_length"
        }
        "minicpm3" => "attention.kv_lora_rank attention.q_lora_rank",
        "plm" => "attention.kv_lora_rank",
        "spark2_5" => "attention.sliding_window attention.sliding_window_pattern",
        "arwkv7" => {
            "attention.decay_lora_rank attention.iclr_lora_rank attention.value_residual_mix_lora_rank \
             wkv.head_size"
        }
        "bailingmoe3" => {
            "attention.head_count_kv expert_feed_forward_length expert_gating_func expert_shared_count \
             leading_dense_block_count attention.key_length_mla attention.value_length_mla \
             attention.kv_lora_rank ssm.conv_kernel kda.head_dim"
        }
        "dbrx" => "attention.clamp_kqv",
        "minimax-m3" => {
            "expert_feed_forward_length expert_shared_count expert_gating_func \
             attention.indexer.head_count attention.indexer.key_length attention.indexer.top_k \
             attention.indexer.block_size attention.indexer.local_blocks"
        }
        "rwkv6qwen2" => "wkv.head_size time_mix_extra_dim time_decay_extra_dim",
        "gemma4" => {
            "attention.sliding_window_pattern attention.sliding_window \
             embedding_length_per_layer_input attention.key_length_swa attention.value_length_swa"
        }
        "graniteswitch" => {
            "logit_scale adapters.count adapters.lora_rank adapters.token_ids_activate \
             adapters.token_ids_substitute"
        }
        "minimax-01" => "residual_scale",
        "glm-dsa" => {
            "expert_feed_forward_length expert_shared_count attention.indexer.head_count \
             attention.indexer.key_length attention.indexer.top_k"
        }
        "plamo2" => "ssm.group_count",
        "hrm_text" => "hrm.layers_per_stack hrm.h_cycles hrm.l_cycles",
        _ => "",
    }
}
