//! Kimi K3: delta attention in most layers, latent attention without a rotation in the others, each half on a mean of the
//! states of earlier layers, experts that see a narrower vector.

use super::decoder::{Decoder, Layer, Mlp};
use super::deepseek2::latent;
use super::hybrids::{Builder, kimi_delta};
use super::residual::{Ends, Residual};
use crate::Result;
use crate::layers::{EarlierStates, GateFunction, KimiDelta, Mixer, OutputGate, Scoring};
use crate::ops::{Activation, Situ};
use crate::weights::Loader;

pub(super) fn build(loader: &Loader<'_>) -> Result<Decoder> {
    let b = Builder::new(loader)?;
    let (keys, hidden, eps) = (&loader.keys, b.hyper.hidden, b.eps);
    let scale = 1.0 / (keys.count("attention.key_length_mla")? as f32).sqrt();
    let activation = Activation::Situ(Situ {
        beta: keys.float("activation.situ_beta")?,
        linear: keys.float("activation.situ_linear_beta")?,
    });
    let normalize = keys.optional_flag("expert_weights_norm")?.unwrap_or(false);
    let block = keys.optional_count("attn_res.block_size")?;
    let block = block.ok_or_else(|| keys.missing("attn_res.block_size"))?;
    let earlier = |base: &str| {
        Ok::<_, crate::Error>(EarlierStates {
            norm: loader.rms_norm(base, hidden, eps)?,
        })
    };
    let mut layers = Vec::new();
    for i in 0..b.hyper.layers {
        let base = |name: &str| format!("blk.{i}.{name}");
        let mixer = match b.has(i, "ssm_conv1d_q") {
            true => Mixer::KimiDelta(Box::new(delta(&b, i)?)),
            false => {
                let mut attention = latent(loader, &b.hyper, i, None, scale, eps)?;
                if b.has(i, "attn_gate") {
                    let gated = loader.all_heads(attention.heads, attention.value_len)?;
                    attention.gate = Some(OutputGate {
                        linear: loader.linear(&base("attn_gate"), hidden, gated)?,
                        function: GateFunction::Sigmoid,
                    });
                }
                Mixer::Latent(Box::new(attention))
            }
        };
        let mut mlp = b.mlp(i, Scoring::Sigmoid, normalize)?;
        match &mut mlp {
            Mlp::Mixture(mixture) => {
                mixture.activation = activation;
                if let Some(shared) = &mut mixture.shared {
                    shared.layer.activation = activation;
                }
            }
            Mlp::Dense(dense) => dense.activation = activation,
            _ => {}
        }
        let residual = match block {
            0 => Residual::Sum,
            block => Residual::Earlier {
                halves: Box::new([
                    earlier(&base("attn_res_score"))?,
                    earlier(&base("ffn_res_score"))?,
                ]),
                restarts: i.is_multiple_of(block),
            },
        };
        layers.push(Layer {
            residual,
            ..Layer::new(b.norm(i, "attn_norm")?, mixer, b.norm(i, "ffn_norm")?, mlp)
        });
    }
    let ends = match block {
        0 => Ends::None,
        _ => Ends::Earlier(earlier("output_res_score")?),
    };
    Ok(Decoder {
        ends,
        ..b.decoder(layers, "output_norm")?
    })
}

/// Delta attention. Where the decays have a bound, they go towards it the other way round than the file's numbers say.
pub(super) fn delta(b: &Builder<'_, '_>, layer: usize) -> Result<KimiDelta> {
    let mut delta = kimi_delta(b, layer)?;
    delta.bound = b.loader.keys.optional_float("kda.gate_lower_bound")?;
    if delta.bound.is_some() {
        delta.a.iter_mut().for_each(|a| *a = -*a);
    }
    Ok(delta)
}
