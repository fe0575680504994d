//! Jais 1 and 2.

use crate::Result;
use crate::arch::rules::common;
use crate::arch::rules::names::{DECODER, Rule, Scope, Transform, copy, rule, skip};
use crate::arch::{Activation, Architecture, Fixed, Graph, Hparams, Keys, PLAIN, class};

pub(super) static JAIS2: Architecture = Architecture {
    gguf: "jais2",
    classes: &[class("Jais2ForCausalLM")],
    rules: &[DECODER],
    hyperparameters: |hp, keys| {
        common::text_model(hp, keys)?;
        keys.set("rope.dimension_count", hp.head_dim()?);
        Ok(())
    },
    graph: Graph::with(Activation::Relu2),
    ..PLAIN
};

pub(super) static JAIS: Architecture = Architecture {
    gguf: "jais",
    classes: &[class("JAISLMHeadModel")],
    rules: &[RULES],
    hyperparameters: |hp, keys| {
        keys.set("block_count", hp.block_count());
        keys.set("context_length", hp.u32(&["n_positions"])?);
        keys.set("embedding_length", hp.u32(&["n_embd"])?);
        keys.set("feed_forward_length", hp.u32(&["n_inner"])?);
        keys.set("attention.head_count", hp.u32(&["n_head"])?);
        keys.set("attention.layer_norm_epsilon", hp.f32(&["layer_norm_epsilon"])?);
        keys.set_file_type();
        Ok(())
    },
    early: slopes,
    graph: Graph::with(Activation::Any).fixing(&[
        ("activation_function", Fixed::OneOf(&["swiglu"])),
        ("position_embedding_type", Fixed::OneOf(&["alibi"])),
    ]),
    ..PLAIN
};

/// The range of the slopes where no tensor has them.
const MAX_BIAS: f32 = 8.0;

/// The range of ALiBi's exponents, from the first slope, which the published code keeps in a tensor.
fn slopes(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    let first = keys.first("transformer.relative_pe.slopes")?;
    let bias = match first {
        None => MAX_BIAS,
        Some(first) => {
            let heads = hp.u32(&["n_head"])?.max(1);
            let power = f64::from(1u32 << heads.ilog2());
            -(f64::from(first).log2() * power).round_ties_even() as f32
        }
    };
    keys.set("attention.max_alibi_bias", bias);
    Ok(())
}

fn embedding_scale(hp: &Hparams) -> Result<f32> {
    hp.f32(&["mup_embeddings_scale", "embeddings_scale"])
}

fn output_scale(hp: &Hparams) -> Result<f32> {
    match hp.opt_f64(&["mup_output_alpha"])? {
        Some(alpha) => Ok((alpha * hp.f64(&["mup_width_scale"])?) as f32),
        None => hp.f32(&["width_scale"]),
    }
}

const BLOCK: Scope = Scope::new("transformer.h.{}", "blk.{}");

const RULES: &[Rule] = &[
    rule("transformer.wte", "token_embd", Transform::Scale(embedding_scale)),
    rule("lm_head", "output", Transform::Scale(output_scale)),
    copy("transformer.ln_f", "output_norm"),
    BLOCK.copy("ln_1", "attn_norm"),
    BLOCK.rule("attn.c_attn", "attn_qkv", Transform::Transpose),
    BLOCK.rule("attn.c_proj", "attn_output", Transform::Transpose),
    BLOCK.copy("ln_2", "ffn_norm"),
    BLOCK.rule("mlp.c_fc", "ffn_up", Transform::Transpose),
    BLOCK.rule("mlp.c_fc2", "ffn_gate", Transform::Transpose),
    BLOCK.rule("mlp.c_proj", "ffn_down", Transform::Transpose),
    skip("transformer.relative_pe.slopes"),
    // Causal masks.
    skip("transformer.h.{}.attn.bias"),
];
