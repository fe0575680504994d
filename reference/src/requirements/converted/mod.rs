//! Requirements of models that are converted and have no graph here, or whose graph does not ask for all that llama.cpp's
//! loader does: one file an architecture.

mod deepseek4;
mod glm5_next;
mod hy_v4;
mod kimi_k3;
mod qwen3tts;
mod qwen4exp;

use super::drafts::{Draft, Look};
use crate::Result;

/// The architectures.
const ARCHITECTURES: [(&str, Look); 6] = [
    ("deepseek4", deepseek4::look),
    ("glm5-next", glm5_next::look),
    ("hy_v4", hy_v4::look),
    ("kimi-k3", kimi_k3::look),
    ("qwen3tts", qwen3tts::look),
    ("qwen4exp", qwen4exp::look),
];

/// The requirements of an architecture whose graph does not say them.
pub(super) fn find(architecture: &str) -> Option<Look> {
    ARCHITECTURES
        .iter()
        .find(|(name, _)| *name == architecture)
        .map(|(_, look)| *look)
}

/// One layer of a model.
#[derive(Clone, Copy)]
struct Layer<'a, 'm> {
    model: &'a Draft<'m>,
    number: usize,
}

impl Layer<'_, '_> {
    /// A tensor of the layer that has to be there.
    fn needed(&self, name: &str, shape: &[usize]) -> Result<()> {
        self.model
            .loader
            .needed(&format!("blk.{}.{name}", self.number), shape)
    }

    /// A tensor of the layer that may be there.
    fn allowed(&self, name: &str, shape: &[usize]) -> Result<()> {
        self.model
            .loader
            .allowed(&format!("blk.{}.{name}", self.number), shape)
    }

    fn has(&self, name: &str) -> bool {
        self.model.loader.has(&format!("blk.{}.{name}", self.number))
    }

    /// Gates, what they gate, and back: stacked where `shape` has a number of experts.
    fn feed_forward(&self, kind: &str, hidden: usize, inner: usize, experts: Option<usize>) -> Result<()> {
        for (name, dims) in [
            ("gate", [hidden, inner]),
            ("up", [hidden, inner]),
            ("down", [inner, hidden]),
        ] {
            let mut shape = dims.to_vec();
            shape.extend(experts);
            self.needed(&format!("ffn_{name}{kind}.weight"), &shape)?;
        }
        Ok(())
    }

    /// Queries, keys and values of delta attention with a convolution each, decays, strengths and the norm of heads.
    fn delta(&self, sizes: &Delta) -> Result<()> {
        let Delta {
            hidden,
            heads,
            head,
            kernel,
        } = *sizes;
        let wide = head.saturating_mul(heads);
        for part in ["q", "k", "v"] {
            self.needed(&format!("attn_{part}.weight"), &[hidden, wide])?;
            self.needed(&format!("ssm_conv1d_{part}.weight"), &[kernel, 1, wide])?;
        }
        self.needed("ssm_f_a.weight", &[hidden, head])?;
        self.needed("ssm_f_b.weight", &[head, wide])?;
        self.needed("ssm_beta.weight", &[hidden, heads])?;
        self.needed("ssm_a", &[heads])?;
        self.needed("ssm_dt.bias", &[wide])?;
        self.needed("ssm_norm.weight", &[head])?;
        self.needed("attn_output.weight", &[wide, hidden])
    }

    /// Latent attention's matrices but for those of the queries.
    fn latent(&self, hidden: usize, heads: usize, sizes: &Latent) -> Result<()> {
        let Latent {
            rank,
            plain,
            rotated,
            value,
        } = *sizes;
        self.needed("attn_kv_a_mqa.weight", &[hidden, rank.saturating_add(rotated)])?;
        self.needed("attn_kv_a_norm.weight", &[rank])?;
        self.needed("attn_k_b.weight", &[plain, rank, heads])?;
        self.needed("attn_v_b.weight", &[rank, value, heads])?;
        self.needed("attn_output.weight", &[heads.saturating_mul(value), hidden])
    }
}

/// Sizes of delta attention.
struct Delta {
    hidden: usize,
    heads: usize,
    head: usize,
    kernel: usize,
}

/// Lengths of latent attention: of the vector that keys and values are made of, and of heads.
struct Latent {
    rank: usize,
    plain: usize,
    rotated: usize,
    value: usize,
}

/// Elements of a key that do not rotate.
fn unrotated(model: &Draft<'_>, key: usize, rotated: usize) -> Result<usize> {
    let plain = key.saturating_sub(rotated);
    if plain == 0 {
        model.wrong_key(
            "attention.key_length_mla",
            &format!("more than the {rotated} that rotate"),
        )?;
    }
    Ok(plain)
}

impl Latent {
    fn read(model: &Draft<'_>) -> Result<Self> {
        let keys = &model.loader.keys;
        let key = keys.count("attention.key_length_mla")?;
        let rotated = keys.optional_count("rope.dimension_count")?.unwrap_or(0);
        let plain = unrotated(model, key, rotated)?;
        Ok(Self {
            rank: keys.count("attention.kv_lora_rank")?,
            plain,
            rotated,
            value: keys.count("attention.value_length_mla")?,
        })
    }

    /// Length of a head's key.
    fn key(&self) -> usize {
        self.plain.saturating_add(self.rotated)
    }
}

/// Whether a layer has no key-value heads, which is how a file says that it keeps a state instead.
fn is_recurrent(model: &Draft<'_>, layer: usize) -> Result<bool> {
    let keys = &model.loader.keys;
    let heads = keys.optional_per_layer("attention.head_count_kv", keys.blocks()?)?;
    Ok(heads.is_some_and(|heads| heads.get(layer) == 0))
}

/// Checks that some experts are used, and returns their number.
fn experts(model: &Draft<'_>, layer: usize) -> Result<usize> {
    let keys = &model.loader.keys;
    let used = keys.optional_per_layer("expert_used_count", keys.blocks()?)?;
    if used.is_none_or(|used| used.get(layer) == 0) {
        model.wrong_key("expert_used_count", "at least 1")?;
    }
    keys.count("expert_count")
}
