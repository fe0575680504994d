//! DeciLM and Nemotron of NVIDIA's architecture search (Llama-Nemotron 51B, Super 49B, Ultra 253B): Llama whose blocks
//! have numbers of heads and widths of their own, or lack a half.

use serde_json::Value;

use crate::Result;
use crate::arch::rules::names::{DECODER, LAYER, Rule, Transform};
use crate::arch::rules::{common, rope};
use crate::arch::{Architecture, Hparams, Keys, PLAIN, Rows, class};
use crate::tokenizer::{VocabKind, VocabRequest};

pub(super) static DECI: Architecture = Architecture {
    gguf: "deci",
    classes: &[class("DeciLMForCausalLM")],
    rules: &[PERMUTED, DECODER],
    hyperparameters,
    generated: rope::llama3_factors,
    vocabulary: |config| match config["vocab_size"].as_u64() {
        None | Some(128256) => VocabRequest::new(&[VocabKind::Bpe]),
        // DeciLM 7B.
        Some(_) => VocabRequest::new(&[VocabKind::LlamaHf]),
    },
    ..PLAIN
};

/// Heads have one length in all blocks; how many there are follows from the rows.
const PERMUTED: &[Rule] = &[
    LAYER.rule("self_attn.q_proj", "attn_q", Transform::Rows(interleaved)),
    LAYER.rule("self_attn.k_proj", "attn_k", Transform::Rows(interleaved)),
    // In place of attention.
    LAYER.copy("self_attn.linear_attn", "attn_output"),
];

fn interleaved(hp: &Hparams, rows: u64) -> Result<Rows> {
    let dim = u64::from(hp.even_head_dim()?);
    match rows.checked_div(dim) {
        Some(heads) if heads * dim == rows && dim.is_multiple_of(2) => Ok(Rows::interleaved(0, heads, dim)),
        _ => Err(hp.error(format!(
            "expected a multiple of the heads' even length {dim}, found {rows} rows of queries or keys"
        ))),
    }
}

/// A block's heads for queries, its heads for keys and values, and its inner width; 0 for what it lacks.
struct Block {
    heads: u32,
    kv_heads: u32,
    inner: u32,
}

fn hyperparameters(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    match hp.find(&["block_configs"]) {
        Some(blocks) => searched(hp, keys, blocks)?,
        None => {
            common::text_model(hp, keys)?;
            if let Some(heads) = hp.find(&["num_key_value_heads_per_layer"]) {
                let heads = common::list(hp, "num_key_value_heads_per_layer", heads)?;
                let heads = heads
                    .iter()
                    .map(|n| hp.to_u32("num_key_value_heads_per_layer", n));
                keys.set(
                    "attention.head_count_kv",
                    common::numbers(heads.collect::<Result<_>>()?),
                );
            }
        }
    }
    keys.set("vocab_size", hp.u32(&["vocab_size"])?);
    keys.set("rope.dimension_count", hp.head_dim()?);
    Ok(())
}

fn searched(hp: &Hparams, keys: &mut Keys<'_>, blocks: &Value) -> Result<()> {
    let blocks: Vec<Block> = common::list(hp, "block_configs", blocks)?
        .iter()
        .map(|block| read(hp, block))
        .collect::<Result<_>>()?;
    let base = hp
        .rope()
        .get("rope_theta")
        .map(|theta| hp.to_f32("rope_theta", theta))
        .transpose()?;
    keys.set_some("rope.freq_base", base);
    let each = |of: fn(&Block) -> u32| common::numbers(blocks.iter().map(of).collect());
    keys.set("attention.head_count_kv", each(|b| b.kv_heads));
    keys.set("attention.head_count", each(|b| b.heads));
    keys.set("feed_forward_length", each(|b| b.inner));
    keys.set("block_count", hp.block_count());
    keys.set("context_length", hp.u32(&["max_position_embeddings"])?);
    keys.set("embedding_length", hp.u32(&["hidden_size"])?);
    keys.set("attention.layer_norm_rms_epsilon", hp.f32(&["rms_norm_eps"])?);
    keys.set("attention.key_length", hp.even_head_dim()?);
    keys.set("attention.value_length", hp.even_head_dim()?);
    keys.set_file_type();
    Ok(())
}

/// Widths are multiples of this.
const WIDTH: u64 = 256;

fn read(hp: &Hparams, block: &Value) -> Result<Block> {
    let all = hp.u32(&["num_attention_heads"])?;
    let attention = &block["attention"];
    let (heads, kv_heads) = match &attention["n_heads_in_group"] {
        // A matrix in place of attention keeps the heads for queries.
        Value::Null if attention["replace_with_linear"] == true => (all, 0),
        Value::Null => (0, 0),
        group => match hp.to_u32("n_heads_in_group", group)? {
            0 => return Err(hp.error("n_heads_in_group: expected at least 1, found 0".to_owned())),
            group => (all, all / group),
        },
    };
    let multiplier = match &block["ffn"]["ffn_mult"] {
        Value::Null => 0.0,
        number => number
            .as_f64()
            .filter(|m| m.is_finite() && *m >= 0.0)
            .ok_or_else(|| {
                hp.error(format!(
                    "ffn_mult: expected a number of at least 0, found {number}"
                ))
            })?,
    };
    let width = (2.0 * multiplier * f64::from(hp.u32(&["hidden_size"])?) / 3.0) as u64;
    let inner = u32::try_from(width.div_ceil(WIDTH).saturating_mul(WIDTH)).map_err(|_| {
        hp.error(format!(
            "ffn_mult: expected one that makes a width of 32 bits, found {multiplier}, which makes {width}"
        ))
    })?;
    Ok(Block {
        heads,
        kv_heads,
        inner,
    })
}
