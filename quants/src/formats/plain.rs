//! The types without blocks: each element stands for itself.

/// `f32`, stored as it is.
pub(crate) mod f32 {
    pub(crate) fn encode_row(x: &[f32], _importance: Option<&[f32]>, dst: &mut [u8]) {
        for (bytes, value) in dst.as_chunks_mut().0.iter_mut().zip(x) {
            *bytes = value.to_le_bytes();
        }
    }

    #[inline(always)]
    pub(crate) fn decode_row(src: &[u8], dst: &mut [f32]) {
        for (value, bytes) in dst.iter_mut().zip(src.as_chunks().0) {
            *value = f32::from_le_bytes(*bytes);
        }
    }
}

/// Half precision.
pub(crate) mod f16 {
    use crate::f16;

    #[inline(always)]
    pub(crate) fn encode_row(x: &[f32], _importance: Option<&[f32]>, dst: &mut [u8]) {
        for (bytes, value) in dst.as_chunks_mut().0.iter_mut().zip(x) {
            *bytes = f16::from_f32(*value).to_le_bytes();
        }
    }

    #[inline(always)]
    pub(crate) fn decode_row(src: &[u8], dst: &mut [f32]) {
        for (value, bytes) in dst.iter_mut().zip(src.as_chunks().0) {
            *value = f16::to_f32(u16::from_le_bytes(*bytes));
        }
    }
}

/// Brain float.
pub(crate) mod bf16 {
    use crate::f16;

    #[inline(always)]
    pub(crate) fn encode_row(x: &[f32], _importance: Option<&[f32]>, dst: &mut [u8]) {
        for (bytes, value) in dst.as_chunks_mut().0.iter_mut().zip(x) {
            *bytes = f16::bf16_from_f32(*value).to_le_bytes();
        }
    }

    #[inline(always)]
    pub(crate) fn decode_row(src: &[u8], dst: &mut [f32]) {
        for (value, bytes) in dst.iter_mut().zip(src.as_chunks().0) {
            *value = f16::bf16_to_f32(u16::from_le_bytes(*bytes));
        }
    }
}

/// Types that are read as the nearest `f32`.
macro_rules! converted {
    ($($name:ident)*) => {$(
        pub(crate) mod $name {
            #[inline(always)]
pub(crate) fn decode_row(src: &[u8], dst: &mut [f32]) {
                for (value, bytes) in dst.iter_mut().zip(src.as_chunks().0) {
                    *value = $name::from_le_bytes(*bytes) as f32;
                }
            }
        }
    )*};
}

converted!(i8 i16 i32 i64 f64);
