//! GLM-5.3-Flash: delta attention in most layers, latent attention on chosen blocks of keys in the others, in copies of
//! the state that hyper-connections mix, and experts behind the first layers.

use super::connections::{Connections, STEPS};
use super::decoder::{Decoder, Layer, Mlp};
use super::deepseek2::latent;
use super::hybrids::Builder;
use super::kimi_k3::delta;
use super::mixtures::swiglu_limit;
use super::residual::Ends;
use crate::Result;
use crate::layers::{Back, Chooser, CompressedChooser, Compressor, KimiDelta, Mixer, Scoring};
use crate::ops::{Activation, NormKind};
use crate::weights::Loader;

/// Added under the root when queries and keys of delta attention are brought to length one.
const UNIT_EPSILON: f32 = 1e-6;

pub(super) fn build(loader: &Loader<'_>) -> Result<Decoder> {
    let b = Builder::new(loader)?;
    let (keys, eps) = (&loader.keys, b.eps);
    let scale = 1.0 / (keys.count("attention.key_length_mla")? as f32).sqrt();
    let steps = keys.count(STEPS)?;
    let connections = Connections::read(loader, b.hyper.hidden, eps, Back::Mixed(steps))?;
    let normalize = keys.optional_flag("expert_weights_norm")?.unwrap_or(false);
    let own = keys.optional_flags("attention.indexer.types", b.hyper.layers)?;
    let mut has_chosen = false;
    let mut layers = Vec::new();
    for i in 0..b.hyper.layers {
        let mixer = match b.has(i, "ssm_conv1d_q") {
            true => Mixer::KimiDelta(Box::new(KimiDelta {
                unit_eps: UNIT_EPSILON,
                ..delta(&b, i)?
            })),
            false => {
                let mut attention = latent(loader, &b.hyper, i, None, scale, eps)?;
                attention.chooser = match own.as_ref().is_none_or(|own| own[i]) {
                    true => Chooser::OfBlocks(Box::new(chooser(&b, i)?)),
                    false if has_chosen => Chooser::OfTheLayerBefore,
                    false => {
                        let expected = format!("an indexer in layer {i} or before it");
                        return Err(keys.refused("attention.indexer.types", expected, "none"));
                    }
                };
                has_chosen = true;
                Mixer::Latent(Box::new(attention))
            }
        };
        let limit = |suffix: &str| swiglu_limit(loader, &b.hyper, i, suffix);
        let cut = |limit: Option<f32>| limit.map_or(Activation::Silu, Activation::SiluCut);
        let experts = cut(limit("swiglu_clamp_exp")?);
        let beside = match keys.has("swiglu_clamp_shexp") {
            true => cut(limit("swiglu_clamp_shexp")?),
            false => experts,
        };
        let mut mlp = b.mlp(i, Scoring::Sigmoid, normalize)?;
        match &mut mlp {
            Mlp::Mixture(mixture) => {
                mixture.activation = experts;
                if let Some(shared) = &mut mixture.shared {
                    shared.layer.activation = beside;
                }
            }
            Mlp::Dense(dense) => dense.activation = beside,
            _ => {}
        }
        layers.push(Layer {
            residual: connections.of_layer(loader, i)?,
            ..Layer::new(b.norm(i, "attn_norm")?, mixer, b.norm(i, "ffn_norm")?, mlp)
        });
    }
    Ok(Decoder {
        ends: Ends::Mean(connections.copies),
        ..b.decoder(layers, "output_norm")?
    })
}

/// The indexer of a layer, whose keys are means of several tokens'.
fn chooser(b: &Builder<'_, '_>, layer: usize) -> Result<CompressedChooser> {
    let (loader, keys) = (b.loader, &b.loader.keys);
    let base = |name: &str| format!("blk.{layer}.{name}");
    let heads = keys.count("attention.indexer.head_count")?;
    let len = keys.count("attention.indexer.key_length")?;
    let block = keys.count("attention.indexer.kpool")?;
    let short = keys.count("attention.q_lora_rank")?;
    let norm_eps = keys
        .optional_float("attention.layer_norm_epsilon")?
        .unwrap_or(0.0);
    let rest = keys.optional_flag("attention.indexer.kpool_select_tail")?;
    Ok(CompressedChooser {
        query: loader.linear(&base("indexer.attn_q_b"), short, loader.all_heads(heads, len)?)?,
        weights: loader.linear(&base("indexer.proj"), b.hyper.hidden, heads)?,
        rope: None,
        compressor: Compressor {
            values: loader.linear(&base("indexer.attn_k"), b.hyper.hidden, len)?,
            value_norm: Some(loader.norm(NormKind::Layer, &base("indexer.k_norm"), len, norm_eps)?),
            scores: loader.linear(&base("indexer_compressor_gate"), b.hyper.hidden, len)?,
            places: loader.table(&base("indexer_compressor_ape.weight"), len, block)?,
            norm: None,
            rope: None,
            ratio: block,
            len,
            overlaps: false,
        },
        keys: keys.count("attention.indexer.top_k")? / block,
        sees_rest: rest.unwrap_or(true),
    })
}
