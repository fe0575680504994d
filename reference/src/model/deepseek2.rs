//! DeepSeek-V2 to V3.2 and GLM-4.7-Flash and 5: latent attention, a mixture of experts behind the first layers; in the
//! latest an indexer that chooses the keys a query sees.

use std::sync::Arc;

use super::decoder::{Decoder, Layer, Mlp};
use super::hyperparameters::{Hyperparameters, rope_settings};
use super::mixtures::mixture;
use crate::Result;
use crate::layers::{Chooser, Indexer, LatentAttention, LatentQuery, Mixer, QueryGrowth, Scoring};
use crate::ops::{Activation, NormKind, Rope, RopeStyle};
use crate::weights::Loader;

/// The number of blocks and tokens of GLM-4.7-Flash, whose files do not say how experts are judged.
const GLM_4_7_FLASH: (usize, usize) = (47, 154_880);
/// Positions of GLM-5.2, from which on only every fourth layer has an indexer of its own.
const GLM_5_2_CONTEXT: usize = 1 << 20;
/// Of the norm of an indexer's keys.
const INDEXER_EPSILON: f32 = 1e-6;

pub(super) fn build(loader: &Loader<'_>) -> Result<Decoder> {
    layers_of(loader, None)
}

/// DeepSeek-V3.2: every layer has an indexer.
pub(super) fn deepseek32(loader: &Loader<'_>) -> Result<Decoder> {
    layers_of(loader, Some((RopeStyle::Neox, vec![])))
}

/// GLM-5: layers without an indexer of their own take what the layer before chose.
pub(super) fn glm_dsa(loader: &Loader<'_>) -> Result<Decoder> {
    let keys = &loader.keys;
    let layers = Hyperparameters::read(loader)?.layers;
    let own = match layers {
        // The predicting layers alone.
        0 => None,
        layers => keys.optional_flags("attention.indexer.types", layers)?,
    };
    let own = own.or_else(|| {
        let late = keys.optional_count("context_length").ok()?? >= GLM_5_2_CONTEXT;
        late.then(|| (0..layers).map(|i| i < 2 || i % 4 == 2).collect())
    });
    layers_of(loader, Some((RopeStyle::Norm, own.unwrap_or_default())))
}

/// With `indexed`, how indexers rotate and which layers have one of their own (none named: all).
fn layers_of(loader: &Loader<'_>, indexed: Option<(RopeStyle, Vec<bool>)>) -> Result<Decoder> {
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
    let rope = Some(Arc::new(Rope::new(&settings)));
    let indexer_rope = indexed.as_ref().map(|(style, _)| {
        settings.style = *style;
        Arc::new(Rope::new(&settings))
    });
    let vocabulary = loader.embedding(hyper.hidden)?.matrix.outputs;
    let (flash, size) = GLM_4_7_FLASH;
    let scoring = match (flash..flash + 2).contains(&hyper.layers) && vocabulary == size || indexed.is_some()
    {
        true => Scoring::Sigmoid,
        false => Scoring::Softmax,
    };
    let layer = |i: usize| {
        let norm = |name: &str| loader.rms_norm(&format!("blk.{i}.{name}"), hyper.hidden, eps);
        let mlp = match loader.has(&format!("blk.{i}.ffn_gate_inp.weight")) {
            true => {
                let experts = mixture(loader, &hyper, i, scoring, normalize)?;
                Mlp::Mixture(Box::new(experts))
            }
            false => Mlp::Dense(Box::new(hyper.feed_forward(loader, i, Activation::Silu)?)),
        };
        let mut attention = latent(loader, &hyper, i, rope.clone(), scale, eps)?;
        attention.chooser = match (&indexed, &indexer_rope) {
            (Some((_, own)), Some(rope)) => match own.get(i) {
                Some(false) if i > 0 => Chooser::OfTheLayerBefore,
                _ => Chooser::Own(Box::new(indexer(loader, &hyper, i, rope.clone())?)),
            },
            _ => Chooser::None,
        };
        let mixer = Mixer::Latent(Box::new(attention));
        Ok(Layer::new(norm("attn_norm")?, mixer, norm("ffn_norm")?, mlp))
    };
    let layers = (0..hyper.layers).map(layer).collect::<Result<Vec<_>>>()?;
    for i in hyper.predicting_if_any(loader) {
        layer(i)?;
        loader.prediction(i, hyper.hidden)?;
    }
    Decoder::of_layers(loader, hyper.hidden, eps, layers)
}

/// The indexer of a layer.
pub(super) fn indexer(
    loader: &Loader<'_>,
    hyper: &Hyperparameters,
    layer: usize,
    rope: Arc<Rope>,
) -> Result<Indexer> {
    let keys = &loader.keys;
    let base = |name: &str| format!("blk.{layer}.indexer.{name}");
    let heads = keys.count("attention.indexer.head_count")?;
    let len = keys.count("attention.indexer.key_length")?;
    let all = heads.checked_mul(len).filter(|_| hyper.rotated <= len);
    let all = all.ok_or_else(|| {
        loader.error(format!(
            "indexer: expected heads of at least the {} elements that are rotated, found {heads} of {len}",
            hyper.rotated
        ))
    })?;
    Ok(Indexer {
        query: loader.linear(&base("attn_q_b"), keys.count("attention.q_lora_rank")?, all)?,
        key: loader.linear(&base("attn_k"), hyper.hidden, len)?,
        key_norm: loader.norm(NormKind::Layer, &base("k_norm"), len, INDEXER_EPSILON)?,
        weights: loader.linear(&base("proj"), hyper.hidden, heads)?,
        rope,
        len,
        keys: keys.count("attention.indexer.top_k")?,
    })
}

/// The queries of a layer, out of a shorter vector where the file has its matrices.
pub(super) fn latent_query(
    loader: &Loader<'_>,
    hyper: &Hyperparameters,
    layer: usize,
    queries: usize,
    eps: f32,
) -> Result<LatentQuery> {
    let base = |name: &str| format!("blk.{layer}.{name}");
    if !loader.has(&base("attn_q_a.weight")) {
        let matrix = loader.linear(&base("attn_q"), hyper.hidden, queries)?;
        return Ok(LatentQuery::Direct(matrix));
    }
    let short = loader.keys.count("attention.q_lora_rank")?;
    Ok(LatentQuery::Compressed {
        down: loader.linear(&base("attn_q_a"), hyper.hidden, short)?,
        norm: Box::new(loader.rms_norm(&base("attn_q_a_norm"), short, eps)?),
        up: loader.linear(&base("attn_q_b"), short, queries)?,
    })
}

/// The latent attention of a layer of the usual sizes.
pub(super) fn latent(
    loader: &Loader<'_>,
    hyper: &Hyperparameters,
    layer: usize,
    rope: Option<Arc<Rope>>,
    scale: f32,
    eps: f32,
) -> Result<LatentAttention> {
    let attention = Latent::read(loader, "")?.attention(loader, hyper, layer, rope, eps)?;
    Ok(LatentAttention { scale, ..attention })
}

/// Lengths of latent attention's heads, and of the vectors that keys and values are made of.
pub(super) struct Latent {
    key_len: usize,
    value_len: usize,
    rank: usize,
    /// End of the names of their keys.
    suffix: &'static str,
}

impl Latent {
    /// Those of the keys whose names end with `suffix`.
    pub(super) fn read(loader: &Loader<'_>, suffix: &'static str) -> Result<Self> {
        let count = |name: &str| loader.keys.count(&format!("attention.{name}{suffix}"));
        Ok(Self {
            key_len: count("key_length_mla")?,
            value_len: count("value_length_mla")?,
            rank: count("kv_lora_rank")?,
            suffix,
        })
    }

    /// The attention of a layer, whose scores are divided by the root of a key's length.
    pub(super) fn attention(
        &self,
        loader: &Loader<'_>,
        hyper: &Hyperparameters,
        layer: usize,
        rope: Option<Arc<Rope>>,
        eps: f32,
    ) -> Result<LatentAttention> {
        let &Self {
            key_len,
            value_len,
            rank,
            suffix,
        } = self;
        let base = |name: &str| format!("blk.{layer}.{name}");
        let (heads, _) = hyper.heads(loader, layer)?;
        let rotated = hyper.rotated;
        let product = |heads: usize, len: usize| loader.all_heads(heads, len);
        let plain = key_len.checked_sub(rotated).filter(|&n| n > 0).ok_or_else(|| {
            let expected =
                format!("more than the {rotated} elements that are rotated (rope.dimension_count)");
            loader
                .keys
                .refused(&format!("attention.key_length_mla{suffix}"), expected, key_len)
        })?;
        let queries = product(heads, key_len)?;
        product(heads, rank)?;
        let query = latent_query(loader, hyper, layer, queries, eps)?;
        Ok(LatentAttention {
            query,
            compress: loader.linear(&base("attn_kv_a_mqa"), hyper.hidden, rank.saturating_add(rotated))?,
            norm: loader.rms_norm(&base("attn_kv_a_norm"), rank, eps)?,
            rotated_norm: None,
            key_up: loader.experts(&base("attn_k_b"), plain, rank, heads)?,
            value_up: loader.experts(&base("attn_v_b"), rank, value_len, heads)?,
            output: loader.linear(&base("attn_output"), product(heads, value_len)?, hyper.hidden)?,
            chooser: Chooser::None,
            rope,
            heads,
            plain,
            rotated,
            rank,
            value_len,
            scale: 1.0 / (key_len as f32).sqrt(),
            growth: query_growth(loader)?,
            gate: None,
            window: None,
            sinks: None,
        })
    }
}

/// Growth of Mistral Large 3's queries beyond the context of the original training.
fn query_growth(loader: &Loader<'_>) -> Result<Option<QueryGrowth>> {
    let keys = &loader.keys;
    let factor = keys.optional_float("attention.temperature_scale")?;
    let Some(factor) = factor.filter(|&n| n != 0.0 && keys.architecture() == "deepseek2") else {
        return Ok(None);
    };
    match keys.count("attention.temperature_length")? {
        0 => Err(keys.refused("attention.temperature_length", "at least 1", 0)),
        step => Ok(Some(QueryGrowth {
            step,
            first: 0,
            factor,
        })),
    }
}
