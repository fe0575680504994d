//! The types without blocks: each element stands for itself.

use gguf::TensorType;

use crate::f16;
use crate::formats::format::{Decode, Encode};
use crate::isa::InstructionSet;
use crate::validate::Check;

/// Types that are stored as one element a weight, and read as the nearest `f32`.
macro_rules! elements {
    ($($name:ident, $check:expr => $read:expr $(, $write:expr)?;)*) => {$(
        /// The type of this name.
        pub(crate) struct $name;

        impl Decode for $name {
            const TYPE: TensorType = TensorType::$name;
            const CHECK: Check = $check;

            #[inline(always)]
            fn decode_row(src: &[u8], dst: &mut [f32]) {
                for (value, bytes) in dst.iter_mut().zip(src.as_chunks().0) {
                    *value = $read(*bytes);
                }
            }
        }

        $(impl Encode for $name {
            fn handles_non_finite(_with_importance: bool) -> bool {
                true
            }

            #[inline(always)]
            fn encode_row<I: InstructionSet>(_isa: I, x: &[f32], _importance: Option<&[f32]>, dst: &mut [u8]) {
                for (bytes, value) in dst.as_chunks_mut().0.iter_mut().zip(x) {
                    *bytes = $write(*value);
                }
            }
        })?
    )*};
}

elements! {
    F32, Check::F32Elements => f32::from_le_bytes, f32::to_le_bytes;
    F16, Check::F16At(&[0]) => |bytes| f16::to_f32(u16::from_le_bytes(bytes)), |value| f16::from_f32(value).to_le_bytes();
    BF16, Check::Bf16Elements => |bytes| f16::bf16_to_f32(u16::from_le_bytes(bytes)), |value| f16::bf16_from_f32(value).to_le_bytes();
    I8, Check::Anything => |bytes| f32::from(i8::from_le_bytes(bytes));
    I16, Check::Anything => |bytes| f32::from(i16::from_le_bytes(bytes));
    I32, Check::Anything => |bytes| i32::from_le_bytes(bytes) as f32;
    I64, Check::Anything => |bytes| i64::from_le_bytes(bytes) as f32;
    F64, Check::F64Elements => |bytes| f64::from_le_bytes(bytes) as f32;
}
