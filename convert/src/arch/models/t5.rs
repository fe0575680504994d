//! T5: an encoder and a decoder over one table of token embeddings, or the encoder alone.

use crate::Result;
use crate::arch::rules::names::{Rule, Scope, copy};
use crate::arch::{Activation, Architecture, Fixed, Graph, Hooks, Hparams, Keys, ModelType, PLAIN, class};
use crate::tokenizer::{VocabKind, VocabRequest};

pub(super) static T5: Architecture = Architecture {
    gguf: "t5",
    classes: &[
        class("T5WithLMHeadModel"),
        class("T5ForConditionalGeneration"),
        class("MT5ForConditionalGeneration"),
        class("UMT5ForConditionalGeneration"),
        class("UMT5Model"),
    ],
    rules: &[ENCODER, DECODER],
    hyperparameters: |hp, keys| {
        let decoder = hp.opt_u32(&["num_decoder_layers"])?.unwrap_or(hp.block_count());
        write_keys(hp, keys, Some(decoder))
    },
    vocabulary: |_| VocabRequest::new(&[VocabKind::T5, VocabKind::Unigram]),
    model_types: &[&T5_TYPE, &MT5_TYPE, &UMT5_TYPE],
    hooks: Hooks {
        one_of: &[
            "shared.weight",
            "encoder.embed_tokens.weight",
            "decoder.embed_tokens.weight",
        ],
        ..Hooks::NONE
    },
    graph: Graph::with(Activation::Any)
        .fixing(&[("feed_forward_proj", Fixed::OneOf(&["relu", "gated-gelu"]))]),
    ..PLAIN
};

pub(super) static T5_ENCODER: Architecture = Architecture {
    gguf: "t5encoder",
    classes: &[class("T5EncoderModel")],
    rules: &[ENCODER],
    hyperparameters: |hp, keys| write_keys(hp, keys, None),
    vocabulary: T5.vocabulary,
    model_types: &[],
    hooks: T5.hooks,
    graph: Graph::with(Activation::Any)
        .fixing(&[("feed_forward_proj", Fixed::OneOf(&["relu", "gated-gelu"]))]),
    ..PLAIN
};

const DECODER_BLOCK: Scope = Scope::new("decoder.block.{}.layer", "dec.blk.{}");
const ENCODER_BLOCK: Scope = Scope::new("encoder.block.{}.layer", "enc.blk.{}");

const ENCODER: &[Rule] = &[
    copy("shared", "token_embd"),
    ENCODER_BLOCK.copy("0.layer_norm", "attn_norm"),
    ENCODER_BLOCK.copy("0.SelfAttention.q", "attn_q"),
    ENCODER_BLOCK.copy("0.SelfAttention.k", "attn_k"),
    ENCODER_BLOCK.copy("0.SelfAttention.v", "attn_v"),
    ENCODER_BLOCK.copy("0.SelfAttention.o", "attn_o"),
    ENCODER_BLOCK.copy("0.SelfAttention.relative_attention_bias", "attn_rel_b"),
    ENCODER_BLOCK.copy("1.layer_norm", "ffn_norm"),
    ENCODER_BLOCK.copy("1.DenseReluDense.wi_0", "ffn_gate"),
    ENCODER_BLOCK.copy("1.DenseReluDense.wi_1", "ffn_up"),
    ENCODER_BLOCK.copy("1.DenseReluDense.wi", "ffn_up"),
    ENCODER_BLOCK.copy("1.DenseReluDense.wo", "ffn_down"),
    copy("encoder.final_layer_norm", "enc.output_norm"),
];

const DECODER: &[Rule] = &[
    DECODER_BLOCK.copy("0.layer_norm", "attn_norm"),
    DECODER_BLOCK.copy("0.SelfAttention.q", "attn_q"),
    DECODER_BLOCK.copy("0.SelfAttention.k", "attn_k"),
    DECODER_BLOCK.copy("0.SelfAttention.v", "attn_v"),
    DECODER_BLOCK.copy("0.SelfAttention.o", "attn_o"),
    DECODER_BLOCK.copy("0.SelfAttention.relative_attention_bias", "attn_rel_b"),
    DECODER_BLOCK.copy("1.layer_norm", "cross_attn_norm"),
    DECODER_BLOCK.copy("1.EncDecAttention.q", "cross_attn_q"),
    DECODER_BLOCK.copy("1.EncDecAttention.k", "cross_attn_k"),
    DECODER_BLOCK.copy("1.EncDecAttention.v", "cross_attn_v"),
    DECODER_BLOCK.copy("1.EncDecAttention.o", "cross_attn_o"),
    DECODER_BLOCK.copy("1.EncDecAttention.relative_attention_bias", "cross_attn_rel_b"),
    DECODER_BLOCK.copy("2.layer_norm", "ffn_norm"),
    DECODER_BLOCK.copy("2.DenseReluDense.wi_0", "ffn_gate"),
    DECODER_BLOCK.copy("2.DenseReluDense.wi_1", "ffn_up"),
    DECODER_BLOCK.copy("2.DenseReluDense.wi", "ffn_up"),
    DECODER_BLOCK.copy("2.DenseReluDense.wo", "ffn_down"),
    copy("decoder.final_layer_norm", "dec.output_norm"),
    copy("lm_head", "output"),
];

/// The context of configurations that name none.
const CONTEXT: u32 = 512;

fn write_keys(hp: &Hparams, keys: &mut Keys<'_>, decoder_blocks: Option<u32>) -> Result<()> {
    keys.set("context_length", hp.opt_u32(&["n_positions"])?.unwrap_or(CONTEXT));
    keys.set("embedding_length", hp.u32(&["d_model"])?);
    keys.set("feed_forward_length", hp.u32(&["d_ff"])?);
    keys.set("block_count", hp.block_count());
    keys.set_some("decoder_block_count", decoder_blocks);
    keys.set("attention.head_count", hp.u32(&["num_heads"])?);
    let head = hp.u32(&["d_kv"])?;
    keys.set("attention.key_length", head);
    keys.set("attention.value_length", head);
    let epsilon = hp.f32(&["layer_norm_epsilon"])?;
    keys.set("attention.layer_norm_epsilon", epsilon);
    keys.set(
        "attention.relative_buckets_count",
        hp.u32(&["relative_attention_num_buckets"])?,
    );
    keys.set("attention.layer_norm_rms_epsilon", epsilon);
    if decoder_blocks.is_some() {
        keys.set("decoder_start_token_id", hp.u32(&["decoder_start_token_id"])?);
    }
    keys.set_file_type();
    Ok(())
}

static T5_TYPE: ModelType = ModelType::of("t5");

static MT5_TYPE: ModelType = ModelType::of("mt5");

static UMT5_TYPE: ModelType = ModelType::of("umt5");
