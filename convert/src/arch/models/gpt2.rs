//! GPT-2 and the models of its shape: StarCoder (GPT-BigCode).

use crate::Result;
use crate::arch::rules::names::{DECODER, Rule, Transform, copy, rule, skip};
use crate::arch::{
    Activation, Architecture, Fixed, Graph, Hooks, Hparams, Keys, ModelType, PLAIN, class, class_without,
};

pub(super) static GPT2: Architecture = Architecture {
    gguf: "gpt2",
    classes: &[class_without("GPT2LMHeadModel", "transformer.")],
    rules: &[CONVOLUTIONS, RULES],
    hyperparameters: gpt2_keys,
    model_types: &[&GPT2_TYPE],
    graph: Graph::with(Activation::Gelu).fixing(&[
        ("scale_attn_weights", Fixed::Is(true)),
        ("scale_attn_by_inverse_layer_idx", Fixed::Is(false)),
        ("add_cross_attention", Fixed::Is(false)),
    ]),
    ..PLAIN
};

pub(super) static STARCODER: Architecture = Architecture {
    gguf: "starcoder",
    classes: &[class_without("GPTBigCodeForCausalLM", "transformer.")],
    rules: &[RULES],
    hyperparameters: starcoder_keys,
    model_types: &[&GPT_BIGCODE_TYPE],
    graph: Graph::with(Activation::Gelu).fixing(&[("scale_attn_weights", Fixed::Is(true))]),
    ..PLAIN
};

/// ruGPT-3 XL: GPT-2 under the names of Llama's classes.
pub(super) static RUGPT3XL: Architecture = Architecture {
    gguf: "gpt2",
    classes: &[class("RuGPT3XLForCausalLM")],
    rules: &[RUGPT3XL_RULES, DECODER],
    graph: Graph::with(Activation::Gelu),
    hooks: Hooks {
        joins_queries: true,
        ..Hooks::NONE
    },
    ..PLAIN
};

const RUGPT3XL_RULES: &[Rule] = &[copy("model.embed_positions", "position_embd")];

/// GPT-2 stores its matrices as inputs x outputs.
const CONVOLUTIONS: &[Rule] = &[
    rule("h.{}.attn.c_attn", "blk.{}.attn_qkv", Transform::Transpose),
    rule("h.{}.attn.c_proj", "blk.{}.attn_output", Transform::Transpose),
    rule("h.{}.mlp.c_fc", "blk.{}.ffn_up", Transform::Transpose),
    rule("h.{}.mlp.c_proj", "blk.{}.ffn_down", Transform::Transpose),
];

const RULES: &[Rule] = &[
    copy("wte", "token_embd"),
    copy("wpe", "position_embd"),
    copy("h.{}.ln_1", "blk.{}.attn_norm"),
    copy("h.{}.attn.c_attn", "blk.{}.attn_qkv"),
    copy("h.{}.attn.c_proj", "blk.{}.attn_output"),
    copy("h.{}.ln_2", "blk.{}.ffn_norm"),
    copy("h.{}.mlp.c_fc", "blk.{}.ffn_up"),
    copy("h.{}.mlp.c_proj", "blk.{}.ffn_down"),
    copy("ln_f", "output_norm"),
    copy("lm_head", "output"),
    // Causal masks, which old checkpoints carry.
    skip("h.{}.attn.bias"),
    skip("h.{}.attn.masked_bias"),
];

fn gpt2_keys(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    keys.set("block_count", hp.block_count());
    keys.set("context_length", hp.u32(&["n_ctx", "n_positions"])?);
    keys.set("embedding_length", hp.u32(&["n_embd"])?);
    keys.set("feed_forward_length", hp.times(4, &["n_embd"])?);
    keys.set("attention.head_count", hp.u32(&["n_head"])?);
    keys.set("attention.layer_norm_epsilon", hp.f32(&["layer_norm_epsilon"])?);
    keys.set_file_type();
    Ok(())
}

fn starcoder_keys(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    if hp.opt_bool("multi_query") == Some(false) {
        return Err(
            hp.error("multi_query: expected true, which means one key-value head, found false".to_owned())
        );
    }
    keys.set("context_length", hp.u32(&["n_positions"])?);
    keys.set("embedding_length", hp.u32(&["n_embd"])?);
    keys.set("feed_forward_length", hp.times(4, &["n_embd"])?);
    keys.set("block_count", hp.block_count());
    keys.set("attention.head_count", hp.u32(&["n_head"])?);
    keys.set("attention.head_count_kv", 1u32);
    keys.set("attention.layer_norm_epsilon", hp.f32(&["layer_norm_epsilon"])?);
    keys.set_file_type();
    Ok(())
}

pub(super) static GPT2_TYPE: ModelType = ModelType {
    name: "gpt2",
    renames: &[
        ("hidden_size", "n_embd"),
        ("max_position_embeddings", "n_positions"),
        ("num_attention_heads", "n_head"),
        ("num_hidden_layers", "n_layer"),
    ],
    ..ModelType::BLANK
};

pub(super) static GPT_BIGCODE_TYPE: ModelType = ModelType {
    name: "gpt_bigcode",
    renames: &[
        ("hidden_size", "n_embd"),
        ("max_position_embeddings", "n_positions"),
        ("num_attention_heads", "n_head"),
        ("num_hidden_layers", "n_layer"),
    ],
    ..ModelType::BLANK
};
