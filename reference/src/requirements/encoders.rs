//! Requirements of T5's models, which have no graph here.

use crate::Result;
use crate::weights::{ANY, Loader};

/// A dimension.
#[derive(Clone, Copy)]
enum Dim {
    Hidden,
    /// Key heads times their length.
    Keys,
    /// The same of values.
    Values,
    /// Heads.
    Count,
    Inner,
    /// Buckets of relative positions.
    Buckets,
    /// Tokens.
    Tokens,
    /// Of any size.
    Any,
}
use Dim::{Any, Buckets, Count, Hidden, Inner, Keys, Tokens, Values};

/// A tensor: its name (behind that of the layer), its dimensions, and whether it has to be there.
type Tensor = (&'static str, &'static [Dim], bool);

/// Tensors outside of layers and in each layer of the two stacks.
pub(super) struct Declaration {
    architecture: &'static str,
    whole: &'static [Tensor],
    /// The beginning of a layer's name, and the key of the number of layers.
    stacks: &'static [(&'static str, &'static str, &'static [Tensor])],
}

const ATTENTION: [Tensor; 10] = [
    ("attn_norm.weight", &[Hidden], true),
    ("attn_rel_b.weight", &[Count, Buckets], false),
    ("attn_q.weight", &[Hidden, Keys], true),
    ("attn_k.weight", &[Hidden, Keys], true),
    ("attn_v.weight", &[Hidden, Values], true),
    ("attn_o.weight", &[Values, Hidden], true),
    ("ffn_norm.weight", &[Hidden], true),
    ("ffn_gate.weight", &[Hidden, Inner], false),
    ("ffn_down.weight", &[Inner, Hidden], true),
    ("ffn_up.weight", &[Hidden, Inner], true),
];

const ACROSS: [Tensor; 6] = [
    ("cross_attn_norm.weight", &[Hidden], true),
    ("cross_attn_rel_b.weight", &[Count, Buckets], false),
    ("cross_attn_q.weight", &[Hidden, Keys], true),
    ("cross_attn_k.weight", &[Hidden, Keys], true),
    ("cross_attn_v.weight", &[Hidden, Values], true),
    ("cross_attn_o.weight", &[Values, Hidden], true),
];

const DECLARATIONS: [Declaration; 2] = [
    Declaration {
        architecture: "t5",
        whole: &[
            ("token_embd.weight", &[Hidden, Any], true),
            ("enc.output_norm.weight", &[Hidden], true),
            ("dec.output_norm.weight", &[Hidden], true),
            ("output.weight", &[Hidden, Tokens], false),
        ],
        stacks: &[
            ("enc.blk.", "block_count", &ATTENTION),
            ("dec.blk.", "decoder_block_count", &ATTENTION),
            ("dec.blk.", "decoder_block_count", &ACROSS),
        ],
    },
    Declaration {
        architecture: "t5encoder",
        whole: &[
            ("token_embd.weight", &[Hidden, Any], true),
            ("enc.output_norm.weight", &[Hidden], true),
            ("output.weight", &[Hidden, Tokens], false),
        ],
        stacks: &[("enc.blk.", "block_count", &ATTENTION)],
    },
];

/// The declaration of an architecture.
pub(super) fn find(architecture: &str) -> Option<&'static Declaration> {
    DECLARATIONS.iter().find(|d| d.architecture == architecture)
}

impl Declaration {
    /// Looks for all tensors.
    pub(super) fn look(&self, loader: &Loader<'_>) -> Result<()> {
        let keys = &loader.keys;
        let blocks = keys.blocks()?;
        let hidden = keys.count("embedding_length")?;
        let count = keys.count("attention.head_count")?;
        // Where a key is there, it is not zero.
        let given = |key: &str, otherwise: usize| match keys.optional_count(key)? {
            Some(_) => keys.count(key),
            None => Ok(otherwise),
        };
        let groups = given("attention.head_count_kv", count)?;
        let key_len = given("attention.key_length", hidden / count)?;
        let value_len = given("attention.value_length", hidden / count)?;
        let inner = keys.count("feed_forward_length")?;
        let buckets = keys.count("attention.relative_buckets_count")?;
        keys.float("attention.layer_norm_rms_epsilon")?;
        let tokens = loader
            .embedded()
            .and_then(|rows| usize::try_from(rows).ok())
            .unwrap_or(ANY);
        let size = |dim: &Dim| match dim {
            Hidden => hidden,
            Keys => groups.saturating_mul(key_len),
            Values => groups.saturating_mul(value_len),
            Count => count,
            Inner => inner,
            Buckets => buckets,
            Tokens => tokens,
            Any => ANY,
        };
        let look = |prefix: &str, tensors: &[Tensor]| {
            tensors.iter().try_for_each(|(name, dims, needed)| {
                let name = format!("{prefix}{name}");
                let shape: Vec<usize> = dims.iter().map(size).collect();
                match needed {
                    true => loader.needed(&name, &shape),
                    false => loader.allowed(&name, &shape),
                }
            })
        };
        look("", self.whole)?;
        for (prefix, key, tensors) in self.stacks {
            let layers = keys.optional_count(key)?.unwrap_or(blocks);
            for layer in 0..layers.min(blocks.max(1) * 8) {
                look(&format!("{prefix}{layer}."), tensors)?;
            }
        }
        Ok(())
    }
}
