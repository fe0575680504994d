//! Command-R, Aya and Command-R7B.

use crate::Result;
use crate::arch::rules::common;
use crate::arch::rules::names::{DECODER, HEAD_NORMS};
use crate::arch::{Architecture, Default, Fixed, Graph, Hparams, Keys, ModelType, PLAIN, class};

pub(super) static COMMAND_R: Architecture = Architecture {
    gguf: "command-r",
    classes: &[class("CohereForCausalLM")],
    rules: &[DECODER, HEAD_NORMS],
    hyperparameters: command_r_keys,
    model_types: &[&COHERE_TYPE],
    graph: Graph::SILU.fixing(&[
        ("use_parallel_block", Fixed::Is(true)),
        ("use_gated_activation", Fixed::Is(true)),
    ]),
    ..PLAIN
};

pub(super) static COHERE2: Architecture = Architecture {
    gguf: "cohere2",
    classes: &[class("Cohere2ForCausalLM")],
    hyperparameters: cohere2_keys,
    model_types: &[&COHERE2_TYPE],
    graph: Graph::SILU.fixing(&[
        ("use_parallel_block", Fixed::Is(true)),
        ("use_gated_activation", Fixed::Is(true)),
    ]),
    ..PLAIN
};

fn command_r_keys(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    common::text_model(hp, keys)?;
    // What the first models were trained for stands beside what their configuration limits them to.
    keys.set_some(
        "context_length",
        hp.opt_u32(&["model_max_length", "max_position_embeddings"])?,
    );
    keys.set("logit_scale", hp.f32(&["logit_scale"])?);
    keys.set("rope.scaling.type", "none");
    Ok(())
}

fn cohere2_keys(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    common::text_model(hp, keys)?;
    keys.set("logit_scale", hp.f32(&["logit_scale"])?);
    keys.set("attention.sliding_window", hp.u32(&["sliding_window"])?);
    keys.set("vocab_size", hp.u32(&["vocab_size"])?);
    let factor = hp.opt_f64(&["rotary_pct"])?.unwrap_or(1.0);
    keys.set(
        "rope.dimension_count",
        (factor * f64::from(hp.even_head_dim()?)) as u32,
    );
    keys.set("rope.scaling.type", "none");
    Ok(())
}

pub(super) static COHERE_TYPE: ModelType = ModelType {
    name: "cohere",
    defaults: &[
        ("vocab_size", Default::Int(256000)),
        ("hidden_size", Default::Int(8192)),
        ("intermediate_size", Default::Int(22528)),
        ("num_hidden_layers", Default::Int(40)),
        ("num_attention_heads", Default::Int(64)),
        ("num_key_value_heads", Default::Null),
        ("max_position_embeddings", Default::Int(8192)),
        ("layer_norm_eps", Default::Float(1e-5)),
        ("logit_scale", Default::Float(0.0625)),
        ("use_qk_norm", Default::Bool(false)),
    ],
    ..ModelType::BLANK
};

pub(super) static COHERE2_TYPE: ModelType = ModelType {
    name: "cohere2",
    defaults: &[
        ("vocab_size", Default::Int(256000)),
        ("hidden_size", Default::Int(8192)),
        ("intermediate_size", Default::Int(22528)),
        ("num_hidden_layers", Default::Int(40)),
        ("num_attention_heads", Default::Int(64)),
        ("num_key_value_heads", Default::Null),
        ("max_position_embeddings", Default::Int(8192)),
        ("layer_norm_eps", Default::Float(1e-5)),
        ("sliding_window", Default::Int(4096)),
        ("logit_scale", Default::Float(0.0625)),
    ],
    derives_head_dim: true,
    ..ModelType::BLANK
};
