//! Element types of checkpoints and their values.

use gguf::TensorType;
use half::{bf16, f16};
use safetensors::Dtype;

/// Element types of stored tensors.
#[allow(
    dead_code,
    reason = "some occur only beside weights that are quantized already"
)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Element {
    F32,
    F16,
    Bf16,
    F64,
    /// OCP FP8 E4M3: no infinities, NaN alone is 0x7F.
    F8E4M3,
    /// OCP FP8 E5M2: the upper byte of an f16.
    F8E5M2,
    /// A power of two, 2^(x - 127); 255 is NaN.
    F8E8M0,
    I8,
    U8,
    /// Rows of GGUF blocks.
    Blocks(TensorType),
}

impl Element {
    /// The element type of a dtype, or `None` when weights cannot be read from it.
    pub(crate) fn from_dtype(dtype: Dtype) -> Option<Self> {
        match dtype {
            Dtype::F32 => Some(Self::F32),
            Dtype::F16 => Some(Self::F16),
            Dtype::BF16 => Some(Self::Bf16),
            Dtype::F64 => Some(Self::F64),
            Dtype::F8_E4M3 => Some(Self::F8E4M3),
            Dtype::F8_E5M2 => Some(Self::F8E5M2),
            _ => None,
        }
    }

    /// Bytes of this many elements, which are whole blocks where there are such.
    pub(super) fn bytes_of(self, elements: u64) -> u64 {
        match self {
            Self::F8E4M3 | Self::F8E5M2 | Self::F8E8M0 | Self::I8 | Self::U8 => elements,
            Self::F16 | Self::Bf16 => elements * 2,
            Self::F32 => elements * 4,
            Self::F64 => elements * 8,
            Self::Blocks(ty) => elements / ty.block_len() as u64 * ty.block_bytes() as u64,
        }
    }

    /// Elements that lie together and their bytes: a block, or one element.
    pub(super) fn block(self) -> (u64, u64) {
        match self {
            Self::Blocks(ty) => (ty.block_len() as u64, ty.block_bytes() as u64),
            _ => (1, self.bytes_of(1)),
        }
    }

    /// The tensor type with the same bytes.
    pub(super) fn tensor_type(self) -> Option<TensorType> {
        match self {
            Self::F32 => Some(TensorType::F32),
            Self::F16 => Some(TensorType::F16),
            Self::Bf16 => Some(TensorType::BF16),
            Self::Blocks(ty) => Some(ty),
            _ => None,
        }
    }

    /// A number as a tensor of these elements holds it.
    pub(super) fn rounded(self, x: f32) -> f32 {
        match self {
            Self::F16 => f16::from_f32(x).to_f32(),
            Self::Bf16 => bf16::from_f32(x).to_f32(),
            _ => x,
        }
    }

    /// Decodes elements; `bytes` holds those of `out.len()` elements.
    pub(super) fn decode(self, bytes: &[u8], out: &mut [f32]) -> Result<(), quants::Error> {
        match self {
            Self::F32 => quants::decode(TensorType::F32, bytes, out)?,
            Self::F16 => quants::decode(TensorType::F16, bytes, out)?,
            Self::Bf16 => quants::decode(TensorType::BF16, bytes, out)?,
            Self::F64 => quants::decode(TensorType::F64, bytes, out)?,
            Self::F8E4M3 => map(bytes, out, e4m3_to_f32),
            Self::F8E5M2 => map(bytes, out, |b| f16::from_bits(u16::from(b) << 8).to_f32()),
            Self::F8E8M0 => map(bytes, out, e8m0_to_f32),
            Self::I8 => map(bytes, out, |b| f32::from(b as i8)),
            Self::U8 => map(bytes, out, f32::from),
            Self::Blocks(ty) => quants::decode(ty, bytes, out)?,
        }
        Ok(())
    }
}

fn map(bytes: &[u8], out: &mut [f32], f: impl Fn(u8) -> f32) {
    for (x, &b) in out.iter_mut().zip(bytes) {
        *x = f(b);
    }
}

/// The value of an OCP FP8 E4M3 ("fn") byte.
pub(super) fn e4m3_to_f32(byte: u8) -> f32 {
    if byte & 0x7F == 0x7F {
        return f32::NAN;
    }
    let sign = u32::from(byte >> 7) << 31;
    let (exponent, mantissa) = (u32::from(byte >> 3 & 0xF), u32::from(byte & 7));
    if exponent == 0 {
        // Multiples of 2^-9; the sign must survive for zero.
        let magnitude = mantissa as f32 / 512.0;
        return f32::from_bits(magnitude.to_bits() | sign);
    }
    f32::from_bits(sign | (exponent + 120) << 23 | mantissa << 20)
}

/// The value of an E8M0 byte.
pub(super) fn e8m0_to_f32(byte: u8) -> f32 {
    match byte {
        0 => f32::from_bits(1 << 22),
        255 => f32::NAN,
        _ => f32::from_bits(u32::from(byte) << 23),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fp8_values_at_the_edges() {
        for (byte, value) in [
            (0x00, 0.0),
            (0x01, 2f32.powi(-9)),
            (0x07, 7.0 * 2f32.powi(-9)),
            (0x08, 2f32.powi(-6)),
            (0x38, 1.0),
            (0x7E, 448.0),
            (0xFE, -448.0),
            (0xB9, -1.125),
        ] {
            assert_eq!(e4m3_to_f32(byte), value, "{byte:#x}");
        }
        assert!(e4m3_to_f32(0xFF).is_nan() && e4m3_to_f32(0x7F).is_nan());
        assert!(e4m3_to_f32(0x80).is_sign_negative());
        let mut out = [0.0; 3];
        Element::F8E5M2.decode(&[0x3C, 0x7B, 0x01], &mut out).unwrap();
        assert_eq!(out, [1.0, 57344.0, 2f32.powi(-16)]);
        assert_eq!(e8m0_to_f32(127), 1.0);
        assert_eq!(e8m0_to_f32(0), 2f32.powi(-127));
    }
}
