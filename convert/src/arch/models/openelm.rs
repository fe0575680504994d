//! OpenELM: blocks with numbers of heads and widths of their own.

use serde_json::{Map, Value};

use crate::Result;
use crate::arch::rules::common;
use crate::arch::rules::names::{Rule, Scope, Transform, copy};
use crate::arch::rules::rows::{first_half, second_half};
use crate::arch::{Activation, Architecture, Graph, Hooks, Hparams, Keys, PLAIN, class};
use crate::tokenizer::{VocabKind, VocabRequest};

pub(super) static OPENELM: Architecture = Architecture {
    gguf: "openelm",
    classes: &[class("OpenELMForCausalLM")],
    rules: &[RULES],
    hyperparameters,
    vocabulary: |_| VocabRequest::new(&[VocabKind::SentencePiece]),
    hooks: Hooks {
        prepare,
        ..Hooks::NONE
    },
    graph: Graph::with(Activation::Silu),
    ..PLAIN
};

/// The name that others have for the number of blocks.
fn prepare(config: &mut Map<String, Value>) {
    if let Some(blocks) = config.get("num_transformer_layers").cloned() {
        config.insert("n_layers".to_owned(), blocks);
    }
}

/// The epsilon of the published code.
const EPSILON: f32 = 1e-6;

fn hyperparameters(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    let width = hp.u32(&["model_dim"])?;
    let heads = |key: &str| -> Result<gguf::Value> {
        let list = hp.find(&[key]).unwrap_or(&Value::Null);
        let list = common::list(hp, key, list)?.iter().map(|n| hp.to_u32(key, n));
        Ok(common::numbers(list.collect::<Result<_>>()?))
    };
    keys.set("block_count", hp.block_count());
    keys.set("context_length", hp.u32(&["max_context_length"])?);
    keys.set("embedding_length", width);
    keys.set("feed_forward_length", inner(hp, width)?);
    keys.set("attention.head_count", heads("num_query_heads")?);
    keys.set("attention.head_count_kv", heads("num_kv_heads")?);
    keys.set("rope.freq_base", hp.f32(&["rope_freq_constant"])?);
    keys.set("attention.layer_norm_rms_epsilon", EPSILON);
    let dim = hp.u32(&["head_dim"])?;
    keys.set("rope.dimension_count", dim);
    keys.set("attention.key_length", dim);
    keys.set("attention.value_length", dim);
    keys.set_file_type();
    Ok(())
}

/// The inner width of each block: its multiple of the hidden size, brought to a multiple of the divisor that is no
/// more than a tenth smaller.
fn inner(hp: &Hparams, width: u32) -> Result<gguf::Value> {
    let divisor = f64::from(hp.u32(&["ffn_dim_divisor"])?.max(1));
    let key = "ffn_multipliers";
    let list = hp.find(&[key]).unwrap_or(&Value::Null);
    let width = |multiplier: &Value| -> Result<u32> {
        let wrong = || hp.error(format!("{key}: expected a positive number, found {multiplier}"));
        let exact = multiplier.as_f64().ok_or_else(wrong)? * f64::from(width);
        let near = ((exact + divisor / 2.0).trunc() / divisor).floor() * divisor;
        let near = near.max(divisor);
        let near = if near < 0.9 * exact { near + divisor } else { near };
        match near.is_finite() && near <= f64::from(i32::MAX) {
            true => Ok(near as u32),
            false => Err(wrong()),
        }
    };
    let widths = common::list(hp, key, list)?.iter().map(width);
    Ok(common::numbers(widths.collect::<Result<_>>()?))
}

const BLOCK: Scope = Scope::new("transformer.layers.{}", "blk.{}");

const RULES: &[Rule] = &[
    copy("transformer.token_embeddings", "token_embd"),
    copy("transformer.norm", "output_norm"),
    BLOCK.copy("attn_norm", "attn_norm"),
    BLOCK.copy("attn.qkv_proj", "attn_qkv"),
    BLOCK.copy("attn.q_norm", "attn_q_norm"),
    BLOCK.copy("attn.k_norm", "attn_k_norm"),
    BLOCK.copy("attn.out_proj", "attn_output"),
    BLOCK.copy("ffn_norm", "ffn_norm"),
    BLOCK.rule("ffn.proj_1", "ffn_gate", Transform::Rows(first_half)),
    BLOCK.rule("ffn.proj_1", "ffn_up", Transform::Rows(second_half)),
    BLOCK.copy("ffn.proj_2", "ffn_down"),
];
