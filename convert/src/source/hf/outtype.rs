//! The types that the stock converter writes for each `--outtype`.

use gguf::TensorType;

/// Types in which weights are stored, as far as the stock converter offers them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(
    non_camel_case_types,
    missing_docs,
    reason = "the variants are the field's own names"
)]
#[non_exhaustive]
pub enum OutType {
    F32,
    F16,
    BF16,
    Q8_0,
    TQ1_0,
    TQ2_0,
    /// The 16-bit type of the first matrix that has one, else F16.
    #[default]
    Auto,
    /// The 16-bit type that all matrices share, else F32: what loses nothing. For quantizing in the same
    /// pass.
    Lossless,
}

impl OutType {
    /// The names that `--outtype` takes.
    pub const NAMES: &[&str] = &["f32", "f16", "bf16", "q8_0", "tq1_0", "tq2_0", "auto"];

    /// The type of this name; case does not matter.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "f32" => Self::F32,
            "f16" => Self::F16,
            "bf16" => Self::BF16,
            "q8_0" => Self::Q8_0,
            "tq1_0" => Self::TQ1_0,
            "tq2_0" => Self::TQ2_0,
            "auto" => Self::Auto,
            _ => return None,
        })
    }

    /// The type itself, given those of the matrices in the order of the checkpoint.
    pub(super) fn decide(self, matrices: impl Iterator<Item = Option<TensorType>> + Clone) -> TensorType {
        let short = |ty: &TensorType| matches!(ty, TensorType::F16 | TensorType::BF16);
        match self {
            Self::F32 => TensorType::F32,
            Self::F16 => TensorType::F16,
            Self::BF16 => TensorType::BF16,
            Self::Q8_0 => TensorType::Q8_0,
            Self::TQ1_0 => TensorType::TQ1_0,
            Self::TQ2_0 => TensorType::TQ2_0,
            Self::Auto => matrices.flatten().find(short).unwrap_or(TensorType::F16),
            Self::Lossless => {
                let first = matrices.clone().next().flatten().filter(short);
                match first {
                    Some(ty) if matrices.clone().all(|t| t == Some(ty)) => ty,
                    _ => TensorType::F32,
                }
            }
        }
    }
}

/// `general.file_type` of a file whose matrices are of this type, but for those that are kept as `blocks`, which give it
/// its type `always` or only beside matrices that are not quantized.
pub(super) fn file_type(ty: TensorType, blocks: Option<TensorType>, always: bool) -> u32 {
    match blocks.filter(|_| always).or(named_by_blocks(ty, blocks)) {
        Some(TensorType::NVFP4) => return 39,
        Some(TensorType::MXFP4) => return 38,
        _ => {}
    }
    match ty {
        TensorType::F32 => 0,
        TensorType::Q8_0 => 7,
        TensorType::BF16 => 32,
        TensorType::TQ1_0 => 36,
        TensorType::TQ2_0 => 37,
        _ => 1,
    }
}

/// The part of a default file name that tells the type.
pub(super) fn file_name_part(ty: TensorType, blocks: Option<TensorType>) -> String {
    match named_by_blocks(ty, blocks) {
        Some(TensorType::MXFP4) => "MXFP4_MOE".to_owned(),
        Some(other) => other.name().to_ascii_uppercase(),
        None => ty.name().to_ascii_uppercase(),
    }
}

/// The blocks that give a file its type: beside matrices that are not quantized.
fn named_by_blocks(ty: TensorType, blocks: Option<TensorType>) -> Option<TensorType> {
    blocks.filter(|_| matches!(ty, TensorType::F32 | TensorType::F16 | TensorType::BF16))
}

/// GGUF names, between block number and suffix, of matrices that are stored as F32.
const SMALL: [&str; 16] = [
    "altup_correct_coef",
    "altup_predict_coef",
    "ffn_gate_inp",
    "ffn_gate_inp_shexp",
    "position_embd",
    "token_types",
    "ssm_conv1d",
    "ssm_conv1d_q",
    "ssm_conv1d_k",
    "ssm_conv1d_v",
    "time_mix_first",
    "time_mix_w1",
    "time_mix_w2",
    "time_mix_decay_w1",
    "time_mix_decay_w2",
    "time_mix_lerp_fused",
];

/// The same inside a module of their own.
const SMALL_INSIDE: [&str; 2] = [".shortconv.conv", ".indexer.proj"];

/// The type of one tensor in a file whose matrices are of type `ty`. With `all_matrices` no matrix is too small
/// for it.
pub(super) fn tensor_type(ty: TensorType, name: &str, shape: &[u64], all_matrices: bool) -> TensorType {
    let endings = [".weight", ".lora_a", ".lora_b"];
    let Some(stem) = endings.iter().find_map(|ending| name.strip_suffix(ending)) else {
        return TensorType::F32;
    };
    if shape.len() <= 1 || stem.ends_with("_norm") {
        return TensorType::F32;
    }
    let kind = stem.rsplit('.').next().unwrap_or(stem);
    if !all_matrices && (SMALL.contains(&kind) || SMALL_INSIDE.iter().any(|s| stem.ends_with(s))) {
        return TensorType::F32;
    }
    let ternary = matches!(ty, TensorType::TQ1_0 | TensorType::TQ2_0);
    let kept = [
        "token_embd",
        "output",
        "per_layer_token_embd",
        "altup_router",
        "laurel_l",
        "laurel_r",
    ];
    if ternary && (kept.contains(&stem) || stem.starts_with("blk.") && kept[3..].contains(&kind)) {
        return TensorType::F16;
    }
    // A row that is no multiple of the block falls back.
    if ty.row_bytes(shape[0]).is_none() {
        TensorType::F16
    } else {
        ty
    }
}

/// A type, or F16 for rows that are no multiple of its blocks.
pub(super) fn where_it_fits(ty: TensorType, shape: &[u64]) -> TensorType {
    match shape.first().and_then(|&row| ty.row_bytes(row)) {
        Some(_) => ty,
        None => TensorType::F16,
    }
}

/// The type of a matrix of an adapter, which no name is special to.
pub(super) fn by_shape(ty: TensorType, shape: &[u64]) -> TensorType {
    match shape {
        [row, _, ..] if ty.row_bytes(*row).is_some() => ty,
        [_, _, ..] => TensorType::F16,
        _ => TensorType::F32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_follow_name_shape_and_row() {
        let ty = |ty, name, shape: &[u64]| tensor_type(ty, name, shape, false);
        assert_eq!(
            ty(TensorType::Q8_0, "blk.0.attn_q.weight", &[64, 64]),
            TensorType::Q8_0
        );
        assert_eq!(
            ty(TensorType::Q8_0, "blk.0.attn_q.weight", &[48, 64]),
            TensorType::F16
        );
        assert_eq!(ty(TensorType::Q8_0, "blk.0.attn_q.bias", &[64]), TensorType::F32);
        assert_eq!(
            ty(TensorType::F16, "blk.0.ffn_gate_inp.weight", &[64, 8]),
            TensorType::F32
        );
        assert_eq!(
            ty(TensorType::TQ2_0, "token_embd.weight", &[256, 8]),
            TensorType::F16
        );
        assert_eq!(ty(TensorType::BF16, "output_norm.weight", &[64]), TensorType::F32);
    }

    #[test]
    fn auto_takes_the_first_short_type_and_lossless_the_common_one() {
        use TensorType::{BF16, F16, F32};
        let of = |out: OutType, types: &[TensorType]| out.decide(types.iter().map(|t| Some(*t)));
        assert_eq!(of(OutType::Auto, &[F32, BF16, F16]), BF16);
        assert_eq!(of(OutType::Auto, &[F32]), F16);
        assert_eq!(of(OutType::Lossless, &[F16, F16]), F16);
        assert_eq!(of(OutType::Lossless, &[BF16, F16]), F32);
        assert_eq!(of(OutType::Lossless, &[]), F32);
    }
}
