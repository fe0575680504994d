//! DeepSeek-V2 and V3: latent attention, a mixture of experts behind the first layers.

use std::sync::Arc;

use super::decoder::{Decoder, Layer, Mlp};
use super::hyperparameters::{Hyperparameters, rope_settings};
use super::mixtures::mixture;
use crate::Result;
use crate::layers::{LatentAttention, LatentQuery, Mixer, Scoring};
use crate::ops::{Activation, Rope, RopeStyle};
use crate::weights::Loader;

pub(super) fn build(loader: &Loader<'_>) -> Result<Decoder> {
    let hyper = Hyperparameters::read(loader)?;
    let keys = &loader.keys;
    let eps = keys.float("attention.layer_norm_rms_epsilon")?;
    let normalize = keys.optional_flag("expert_weights_norm")?.unwrap_or(false);
    let mut settings = rope_settings(loader, &hyper, RopeStyle::Norm)?;
    let mut scale = 1.0 / (keys.count("attention.key_length_mla")? as f32).sqrt();
    if let Some(log) = keys
        .optional_float("rope.scaling.yarn_log_multiplier")?
        .filter(|&l| l != 0.0)
    {
        // The rotation keeps its length; the scores carry the growth. The converter writes a tenth of the
        // multiplier.
        settings.magnitude = f64::from(keys.optional_float("rope.scaling.attn_factor")?.unwrap_or(1.0));
        let grown = 1.0 + log * (1.0 / settings.frequency_scale).max(1.0).ln() as f32;
        scale *= grown * grown;
    }
    let rope = Arc::new(Rope::new(&settings));
    let mut layers = Vec::new();
    for i in 0..hyper.layers {
        let norm = |name: &str| loader.rms_norm(&format!("blk.{i}.{name}"), hyper.hidden, eps);
        let mlp = match loader.has(&format!("blk.{i}.ffn_gate_inp.weight")) {
            true => {
                let experts = mixture(loader, &hyper, i, Scoring::Softmax, normalize)?;
                Mlp::Mixture(Box::new(experts))
            }
            false => Mlp::Dense(Box::new(hyper.feed_forward(loader, i, Activation::Silu)?)),
        };
        let attention = latent(loader, &hyper, i, rope.clone(), scale, eps)?;
        layers.push(Layer::new(
            norm("attn_norm")?,
            Mixer::Latent(Box::new(attention)),
            norm("ffn_norm")?,
            mlp,
        ));
    }
    let embedding = loader.embedding(hyper.hidden)?;
    let output_norm = loader.rms_norm("output_norm", hyper.hidden, eps)?;
    let head = loader.head(hyper.hidden, embedding.matrix.outputs)?;
    Ok(Decoder::new(embedding, layers, output_norm, head))
}

fn latent(
    loader: &Loader<'_>,
    hyper: &Hyperparameters,
    layer: usize,
    rope: Arc<Rope>,
    scale: f32,
    eps: f32,
) -> Result<LatentAttention> {
    let keys = &loader.keys;
    let base = |name: &str| format!("blk.{layer}.{name}");
    let (heads, _) = hyper.heads(loader, layer)?;
    let key_len = keys.count("attention.key_length_mla")?;
    let value_len = keys.count("attention.value_length_mla")?;
    let rank = keys.count("attention.kv_lora_rank")?;
    let rotated = hyper.rotated;
    let product = |a: usize, b: usize| {
        a.checked_mul(b)
            .ok_or_else(|| loader.error(format!("{a} attention heads of {b} elements are too many")))
    };
    let plain = key_len.checked_sub(rotated).filter(|&n| n > 0).ok_or_else(|| {
        loader.error(format!(
            "attention.key_length_mla: found {key_len}, expected more than the {rotated} elements that are \
             rotated (rope.dimension_count)"
        ))
    })?;
    let queries = product(heads, key_len)?;
    product(heads, rank)?;
    let query = match loader.has(&base("attn_q_a.weight")) {
        true => {
            let short = keys.count("attention.q_lora_rank")?;
            LatentQuery::Compressed {
                down: loader.linear(&base("attn_q_a"), hyper.hidden, short)?,
                norm: loader.rms_norm(&base("attn_q_a_norm"), short, eps)?,
                up: loader.linear(&base("attn_q_b"), short, queries)?,
            }
        }
        false => LatentQuery::Direct(loader.linear(&base("attn_q"), hyper.hidden, queries)?),
    };
    Ok(LatentAttention {
        query,
        compress: loader.linear(&base("attn_kv_a_mqa"), hyper.hidden, rank.saturating_add(rotated))?,
        norm: loader.rms_norm(&base("attn_kv_a_norm"), rank, eps)?,
        key_up: loader.experts(&base("attn_k_b"), plain, rank, heads)?,
        value_up: loader.experts(&base("attn_v_b"), rank, value_len, heads)?,
        output: loader.linear(&base("attn_output"), product(heads, value_len)?, hyper.hidden)?,
        rope,
        heads,
        plain,
        rotated,
        rank,
        value_len,
        scale,
    })
}
