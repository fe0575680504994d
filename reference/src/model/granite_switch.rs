//! Granite Switch: dense Granite with adapters inside, which tokens turn on.

use std::collections::HashMap;

use gguf::Array;

use super::decoder::{Decoder, Layer, Mlp};
use super::hyperparameters::{Hyperparameters, rope};
use crate::Result;
use crate::layers::{Adapters, Gate, Projections, Switch};
use crate::ops::{Activation, RopeStyle};
use crate::weights::Loader;

/// Most adapters, and the highest rank, that llama.cpp takes.
const MOST: usize = 4096;
/// The gain where the file does not say.
const GAIN: f32 = 15.0;

pub(super) fn build(loader: &Loader<'_>) -> Result<Decoder> {
    let hyper = Hyperparameters::read(loader)?;
    let keys = &loader.keys;
    let eps = keys.float("attention.layer_norm_rms_epsilon")?;
    let count = limited(loader, "adapters.count")?;
    let rank = limited(loader, "adapters.lora_rank")?;
    let nonzero = |key: &str| Ok::<_, crate::Error>(keys.optional_float(key)?.filter(|&x| x != 0.0));
    let rotates = keys.optional_flag("rope.scaling.finetuned")?.unwrap_or(true);
    let rope = match rotates {
        true => Some(rope(loader, &hyper, RopeStyle::Norm)?),
        false => None,
    };
    let scale = nonzero("attention.scale")?.unwrap_or(hyper.usual_scale());
    let hidden = hyper.hidden;
    let mut layers = Vec::new();
    for i in 0..hyper.layers {
        let norm = |name: &str| loader.rms_norm(&format!("blk.{i}.{name}"), hidden, eps);
        let adapters = |name: &str, inputs: usize, outputs: usize, first: usize| -> Result<Adapters> {
            let of = |part: &str| format!("blk.{i}.{name}.lora_{part}");
            Ok(Adapters {
                down: loader.stack(&of("a"), inputs, rank, count + 1)?,
                up: loader.stack(&of("b"), rank, outputs, count + 1)?,
                first,
            })
        };
        let mut attention = hyper.attention(loader, i, rope.clone(), scale)?;
        let (heads, groups) = hyper.heads(loader, i)?;
        let (queries, keys, values) = (
            heads * hyper.key_len,
            groups * hyper.key_len,
            groups * hyper.value_len,
        );
        let Projections::Fused(fused) = &mut attention.projections else {
            return Err(loader.error(format!(
                "tensor 'blk.{i}.attn_qkv.weight': expected queries, keys and values in one matrix, found none"
            )));
        };
        fused.adapters = vec![
            adapters("attn_q", hidden, queries, 0)?,
            adapters("attn_k", hidden, keys, queries)?,
            adapters("attn_v", hidden, values, queries + keys)?,
        ];
        attention.output.adapters = vec![adapters("attn_output", heads * hyper.value_len, hidden, 0)?];
        let mut dense = hyper.feed_forward(loader, i, Activation::Silu)?;
        let inner = hyper.inner(loader, i)?;
        if let Gate::Separate(gate) = &mut dense.gate {
            gate.adapters = vec![adapters("ffn_gate", hidden, inner, 0)?];
        }
        dense.up.adapters = vec![adapters("ffn_up", hidden, inner, 0)?];
        dense.down.adapters = vec![adapters("ffn_down", inner, hidden, 0)?];
        layers.push(Layer {
            residual_scale: nonzero("residual_scale")?.unwrap_or(1.0),
            ..Layer::new(
                norm("attn_norm")?,
                attention,
                norm("ffn_norm")?,
                Mlp::Dense(Box::new(dense)),
            )
        });
    }
    let embedding = loader.embedding(hidden)?;
    let head = loader.head(hidden, embedding.matrix.outputs)?;
    let output_norm = loader.rms_norm("output_norm", hidden, eps)?;
    let rows = embedding.matrix.outputs;
    Ok(Decoder {
        embedding_scale: nonzero("embedding_scale")?.unwrap_or(1.0),
        logit_scale: 1.0 / keys.float("logit_scale")?,
        switch: Some(Switch {
            tokens: tokens(loader, count, rows)?,
            count,
            gain: keys.optional_float("adapters.router_gain")?.unwrap_or(GAIN),
        }),
        ..Decoder::new(embedding, layers, output_norm, head)
    })
}

fn limited(loader: &Loader<'_>, key: &str) -> Result<usize> {
    match loader.keys.count(key)? {
        n if n <= MOST => Ok(n),
        n => Err(loader.keys.refused(key, format!("at most {MOST}"), n)),
    }
}

/// The tokens that turn the adapters on, in the order of these, and those that stand in for them.
fn tokens(loader: &Loader<'_>, count: usize, rows: usize) -> Result<HashMap<u32, (usize, u32)>> {
    let list = |key: &str| -> Result<Vec<u32>> {
        let id = |n: i64| u32::try_from(n).ok();
        let found: Option<Vec<u32>> = match loader.keys.array(key)? {
            Array::I32(ids) => ids.iter().map(|&n| id(n.into())).collect(),
            Array::U32(ids) => Some(ids.clone()),
            Array::I64(ids) => ids.iter().map(|&n| id(n)).collect(),
            _ => None,
        };
        found.filter(|ids| ids.len() == count).ok_or_else(|| {
            let expected = format!("{count} token ids (adapters.count)");
            loader.keys.refused(key, expected, "others")
        })
    };
    let activate = list("adapters.token_ids_activate")?;
    let substitute = list("adapters.token_ids_substitute")?;
    if let Some(other) = substitute.iter().find(|&&id| id as usize >= rows) {
        let expected = format!("ids below {rows}");
        return Err(loader
            .keys
            .refused("adapters.token_ids_substitute", expected, other));
    }
    let each = activate.into_iter().zip(substitute).zip(1..);
    Ok(each
        .map(|((token, other), adapter)| (token, (adapter, other)))
        .collect())
}
