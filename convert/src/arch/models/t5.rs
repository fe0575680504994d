//! T5: an encoder and a decoder over one table of token embeddings, or the encoder alone.

use crate::Result;
use crate::arch::rules::names::{Rule, copy};
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

const ENCODER: &[Rule] = &[
    copy("shared", "token_embd"),
    copy("encoder.block.{}.layer.0.layer_norm", "enc.blk.{}.attn_norm"),
    copy("encoder.block.{}.layer.0.SelfAttention.q", "enc.blk.{}.attn_q"),
    copy("encoder.block.{}.layer.0.SelfAttention.k", "enc.blk.{}.attn_k"),
    copy("encoder.block.{}.layer.0.SelfAttention.v", "enc.blk.{}.attn_v"),
    copy("encoder.block.{}.layer.0.SelfAttention.o", "enc.blk.{}.attn_o"),
    copy(
        "encoder.block.{}.layer.0.SelfAttention.relative_attention_bias",
        "enc.blk.{}.attn_rel_b",
    ),
    copy("encoder.block.{}.layer.1.layer_norm", "enc.blk.{}.ffn_norm"),
    copy(
        "encoder.block.{}.layer.1.DenseReluDense.wi_0",
        "enc.blk.{}.ffn_gate",
    ),
    copy(
        "encoder.block.{}.layer.1.DenseReluDense.wi_1",
        "enc.blk.{}.ffn_up",
    ),
    copy("encoder.block.{}.layer.1.DenseReluDense.wi", "enc.blk.{}.ffn_up"),
    copy(
        "encoder.block.{}.layer.1.DenseReluDense.wo",
        "enc.blk.{}.ffn_down",
    ),
    copy("encoder.final_layer_norm", "enc.output_norm"),
];

const DECODER: &[Rule] = &[
    copy("decoder.block.{}.layer.0.layer_norm", "dec.blk.{}.attn_norm"),
    copy("decoder.block.{}.layer.0.SelfAttention.q", "dec.blk.{}.attn_q"),
    copy("decoder.block.{}.layer.0.SelfAttention.k", "dec.blk.{}.attn_k"),
    copy("decoder.block.{}.layer.0.SelfAttention.v", "dec.blk.{}.attn_v"),
    copy("decoder.block.{}.layer.0.SelfAttention.o", "dec.blk.{}.attn_o"),
    copy(
        "decoder.block.{}.layer.0.SelfAttention.relative_attention_bias",
        "dec.blk.{}.attn_rel_b",
    ),
    copy(
        "decoder.block.{}.layer.1.layer_norm",
        "dec.blk.{}.cross_attn_norm",
    ),
    copy(
        "decoder.block.{}.layer.1.EncDecAttention.q",
        "dec.blk.{}.cross_attn_q",
    ),
    copy(
        "decoder.block.{}.layer.1.EncDecAttention.k",
        "dec.blk.{}.cross_attn_k",
    ),
    copy(
        "decoder.block.{}.layer.1.EncDecAttention.v",
        "dec.blk.{}.cross_attn_v",
    ),
    copy(
        "decoder.block.{}.layer.1.EncDecAttention.o",
        "dec.blk.{}.cross_attn_o",
    ),
    copy(
        "decoder.block.{}.layer.1.EncDecAttention.relative_attention_bias",
        "dec.blk.{}.cross_attn_rel_b",
    ),
    copy("decoder.block.{}.layer.2.layer_norm", "dec.blk.{}.ffn_norm"),
    copy(
        "decoder.block.{}.layer.2.DenseReluDense.wi_0",
        "dec.blk.{}.ffn_gate",
    ),
    copy(
        "decoder.block.{}.layer.2.DenseReluDense.wi_1",
        "dec.blk.{}.ffn_up",
    ),
    copy("decoder.block.{}.layer.2.DenseReluDense.wi", "dec.blk.{}.ffn_up"),
    copy(
        "decoder.block.{}.layer.2.DenseReluDense.wo",
        "dec.blk.{}.ffn_down",
    ),
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
