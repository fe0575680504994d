//! WavTokenizer's decoder.

use super::super::drafts::Draft;
use crate::Result;

/// Blocks of the first part: two residual ones, attention, two residual ones, a norm.
const RESIDUAL: [usize; 4] = [0, 1, 3, 4];
const ATTENTION: usize = 2;
const NORM: usize = 5;
/// Widths of convolutions.
const WIDE: usize = 7;
const NARROW: usize = 3;

/// A convolution over codes, residual blocks with attention between them, blocks of ConvNeXt.
pub(super) fn look(model: &Draft<'_>) -> Result<()> {
    let (loader, keys) = (model.loader, &model.loader.keys);
    keys.blocks()?;
    let (features, put_out) = (keys.count("features_length")?, keys.count("embedding_length")?);
    keys.float("attention.layer_norm_epsilon")?;
    keys.float("attention.group_norm_epsilon")?;
    keys.count("attention.group_norm_groups")?;
    let inner = keys.count("feed_forward_length")?;
    let (first, then) = (
        keys.count("posnet.embedding_length")?,
        keys.count("convnext.embedding_length")?,
    );
    if first != then {
        model.wrong_key(
            "convnext.embedding_length",
            &format!("the {first} of posnet.embedding_length"),
        )?;
    }
    loader.needed("token_embd.weight", &[features, model.tokens()])?;
    loader.needed("conv1d.weight", &[WIDE, features, first])?;
    loader.needed("conv1d.bias", &[1, first])?;
    for number in 0..keys.count("posnet.block_count")? {
        let both = |name: &str, weight: &[usize]| {
            loader.needed(&format!("posnet.{number}.{name}.weight"), weight)?;
            loader.needed(&format!("posnet.{number}.{name}.bias"), &[1, first])
        };
        match number {
            n if RESIDUAL.contains(&n) => {
                both("norm1", &[1, first])?;
                both("conv1", &[NARROW, first, first])?;
                both("norm2", &[1, first])?;
                both("conv2", &[NARROW, first, first])?;
            }
            ATTENTION => {
                both("attn_norm", &[1, first])?;
                for part in ["attn_q", "attn_k", "attn_v", "attn_output"] {
                    both(part, &[1, first, first])?;
                }
            }
            NORM => both("attn_norm", &[1, first])?,
            _ => {
                model.wrong_key("posnet.block_count", &format!("at most {}", NORM + 1))?;
                break;
            }
        }
    }
    for part in ["weight", "bias"] {
        loader.needed(&format!("token_embd_norm.{part}"), &[first])?;
        loader.needed(&format!("output_norm.{part}"), &[then])?;
    }
    for number in 0..keys.count("convnext.block_count")? {
        let needed = |name: &str, shape: &[usize]| loader.needed(&format!("convnext.{number}.{name}"), shape);
        needed("dw.weight", &[WIDE, 1, then])?;
        needed("dw.bias", &[1, then])?;
        needed("norm.weight", &[then])?;
        needed("norm.bias", &[then])?;
        needed("pw1.weight", &[then, inner])?;
        needed("pw1.bias", &[inner])?;
        needed("pw2.weight", &[inner, then])?;
        needed("pw2.bias", &[then])?;
        needed("gamma.weight", &[then])?;
    }
    loader.needed("output.weight", &[then, put_out])?;
    loader.needed("output.bias", &[put_out])
}
