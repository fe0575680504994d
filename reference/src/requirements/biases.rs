//! Biases and second-level scales that llama.cpp's loader asks for. A file with another one has more tensors than the
//! loader counts, and is refused ("wrong number of tensors"), whereas a graph could take a bias anywhere.

use gguf::TensorType;

use super::Shortfall;
use crate::Result;
use crate::weights::Declared;

/// Biases of queries, keys and values, together or apart.
const PROJECTIONS: [&str; 4] = ["attn_q", "attn_k", "attn_v", "attn_qkv"];

/// Architectures, and what of theirs has a bias or can have one, divided by blanks; `qkv` are [`PROJECTIONS`].
const BIASES: &[(&str, &str)] = &[
    (
        "bitnet cogvlm dbrx eagle3 gemma4 gemma4-assistant graniteswitch minicpm3 openelm plamo3 plm",
        "",
    ),
    (
        "arcee arctic baichuan bailingmoe chatglm cohere2 cohere2moe command-r deepseek eurobert \
         exaone exaone4 gemma gemma-embedding gemma2 gemma3 gemma3n glm4 grok grovemoe hrm_text \
         hunyuan-dense hunyuan-moe hunyuan_vl hy_v3 internlm2 llada-moe llama4 maincoder maple \
         mellum muse-glimmer nanbeige olmo olmo2 olmoe phi3 plamo qwen2moe qwen3 qwen3tts \
         qwen3moe qwen3vl qwen3vlmoe rnd1 seed_oss smallthinker smollm3 spark2_5 talkie xverse",
        "qkv",
    ),
    ("dflash", "conf_proj exp_probs_b"),
    ("plamo2", "ssm_dt"),
    ("qwen", "attn_qkv"),
    ("modern-bert", "cls.output"),
    ("dream qwen2 qwen2vl", "qkv output"),
    ("minimax-01", "attn_q attn_k attn_v"),
    ("bailingmoe2 deepseek2", "exp_probs_b"),
    ("arwkv7", "time_mix_ln"),
    ("neo-bert", "cls cls.output"),
    ("pangu-embedded", "qkv attn_output"),
    (
        "afmoe deepseek2-ocr dots1 exaone-moe glm4moe laguna mimo2 minimax-m2 minimax-m3 step35",
        "qkv exp_probs_b",
    ),
    ("mamba mamba2", "ssm_conv1d ssm_dt"),
    ("jamba", "qkv ssm_conv1d ssm_dt"),
    ("bailingmoe3 kimi-linear", "qkv exp_probs_b ssm_dt"),
    ("lfm2 lfm2moe", "qkv dense_2 exp_probs_b"),
    ("deepseek32 dots3note glm-dsa hy_v4", "exp_probs_b indexer.k_norm"),
    ("deepseek4", "exp_probs_b exp_probs_b_vl"),
    ("glm5-next", "exp_probs_b indexer.k_norm ssm_dt"),
    ("kimi-k3", "exp_probs_b ssm_dt"),
    ("qwen4exp", "ssm_dt"),
    ("qwen35 qwen35moe qwen3next", "attn_k attn_q attn_v ssm_dt"),
    ("chameleon", "qkv attn_k_norm attn_q_norm"),
    ("ernie4_5 ernie4_5-moe paddleocr", "qkv attn_output exp_probs_b"),
    ("falcon", "attn_norm attn_norm_2 output_norm"),
    ("orion stablelm", "qkv attn_norm ffn_norm output_norm"),
    ("apertus", "qkv attn_k_norm attn_output attn_q_norm"),
    (
        "deci granite granite_swa granitemoe llada llama llama-embed minicpm mistral3 refact",
        "qkv attn_output ffn_down ffn_gate ffn_up",
    ),
    ("phimoe", "qkv attn_norm attn_output ffn_norm output output_norm"),
    (
        "falcon-h1 granitehybrid",
        "qkv attn_output ffn_down ffn_gate ffn_up ssm_conv1d ssm_dt",
    ),
    (
        "rwkv6qwen2",
        "output_norm time_mix_key time_mix_receptance time_mix_value",
    ),
    ("pockettts", "qkv attn_norm ffn_norm output_norm"),
    (
        "phi2",
        "qkv attn_norm attn_output ffn_down ffn_up output output_norm",
    ),
    (
        "rwkv6 rwkv7",
        "attn_norm attn_norm_2 output_norm time_mix_ln token_embd_norm",
    ),
    (
        "nemotron_h nemotron_h_moe",
        "qkv attn_output exp_probs_b ffn_down ffn_up ssm_conv1d ssm_dt",
    ),
    (
        "codeshell jais2 nemotron starcoder2",
        "qkv attn_norm attn_output ffn_down ffn_norm ffn_up output_norm",
    ),
    (
        "gpt2 gptneox starcoder",
        "attn_qkv attn_norm attn_output ffn_down ffn_norm ffn_up output_norm",
    ),
    (
        "gpt-oss",
        "qkv attn_output ffn_down_exps ffn_gate_exps ffn_gate_inp ffn_up_exps",
    ),
    (
        "jais",
        "attn_qkv attn_norm attn_output ffn_down ffn_gate ffn_norm ffn_up output_norm",
    ),
    (
        "nomic-bert",
        "qkv attn_output attn_output_norm ffn_down ffn_up layer_output_norm token_embd_norm",
    ),
    (
        "bloom",
        "attn_qkv attn_norm attn_output ffn_down ffn_norm ffn_up output_norm token_embd_norm",
    ),
    (
        "mpt",
        "attn_qkv attn_k_norm attn_norm attn_output attn_q_norm ffn_down ffn_norm ffn_up \
         output_norm",
    ),
    (
        "bert",
        "qkv attn_output attn_output_norm cls cls.output ffn_down ffn_up layer_output_norm \
         token_embd_norm",
    ),
    ("t5 t5encoder", ""),
    (
        "wavtokenizer-dec",
        "attn_k attn_norm attn_output attn_q attn_v conv1 conv1d conv2 dw norm norm1 norm2 output \
         output_norm pw1 pw2 token_embd_norm",
    ),
    (
        "jina-bert-v2",
        "qkv attn_k_norm attn_norm_2 attn_output attn_output_norm attn_q_norm cls ffn_down ffn_up \
         layer_output_norm token_embd_norm",
    ),
];

/// Matrices whose 4-bit weights can have a scale beside them, whatever the architecture.
const SCALED: &str = "attn_q attn_k attn_v attn_qkv attn_output attn_gate ffn_gate ffn_up ffn_down ffn_gate_shexp ffn_up_shexp \
                      ffn_down_shexp ffn_gate_exps ffn_up_exps ffn_down_exps ffn_gate_up_exps ssm_in ssm_out ssm_alpha \
                      ssm_beta nextn.eh_proj nextn.shared_head_head";

/// Notes biases and scales that an architecture does not have.
pub(super) fn check(declared: &Declared<'_>) -> Result<()> {
    let name = declared.metadata.architecture();
    let row = BIASES
        .iter()
        .find(|(of, _)| of.split_whitespace().any(|of| of == name));
    let Some((_, has)) = row else { return Ok(()) };
    let has = |base: &str| {
        has.split_whitespace()
            .any(|b| b == base || b == "qkv" && PROJECTIONS.contains(&base))
    };
    let is_four_bit = |name: &str| declared.ending(name).any(|t| t.ty == TensorType::NVFP4);
    let scaled = |base: &str| match base {
        "output" => is_four_bit("output.weight"),
        // Its routers have scales of their own.
        "ffn_gate_inp" => name == "gemma4",
        "fc" | "markov_w2" => name == "dflash",
        // Its gate is another tensor to the loader than that of the others.
        "attn_gate" => name != "minimax-01",
        _ => SCALED.split_whitespace().any(|b| b == base),
    };
    for tensor in declared.tensors() {
        let layers = ["blk.", "posnet.", "convnext."];
        let base = layers.iter().find_map(|layers| tensor.name.strip_prefix(layers));
        let base = base.and_then(|n| n.split_once('.'));
        let base = base.map_or(tensor.name.as_str(), |(_, base)| base);
        let other = match base.rsplit_once('.') {
            Some((base, "bias")) => !has(base),
            Some((base, "scale" | "input_scale")) => !scaled(base),
            _ => false,
        };
        if other {
            declared.note(Shortfall::not_asked_for(tensor))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every graph has a row, and one alone.
    #[test]
    fn every_graph_is_known() {
        for name in crate::model::architectures().chain(crate::draft_architectures()) {
            let of = |row: &&(&str, &str)| row.0.split_whitespace().any(|of| of == name);
            assert_eq!(BIASES.iter().filter(of).count(), 1, "{name}");
        }
    }
}
