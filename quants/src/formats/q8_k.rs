//! Q8_1 and Q8_K, the formats of activations between ggml's products. Files do not store them, and
//! ggml offers no encoder for weights; they are only read here.

use gguf::TensorType;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::formats::block::{Half, blocks};
use crate::formats::format::Decode;
use crate::levels::each;
use crate::validate::Check;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct BlockQ81 {
    d: Half,
    /// `d` times the sum of the levels.
    s: Half,
    qs: [i8; 32],
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct BlockQ8K {
    d: [u8; 4],
    qs: [i8; 256],
    /// Sums of sixteen levels each.
    bsums: [[u8; 2]; 16],
}

/// [`TensorType::Q8_1`].
pub(crate) struct Q8_1;

impl Decode for Q8_1 {
    const TYPE: TensorType = TensorType::Q8_1;
    const CHECK: Check = Check::NotStored;

    #[inline(always)]
    fn decode_row(src: &[u8], dst: &mut [f32]) {
        for (block, y) in blocks::<BlockQ81>(src).iter().zip(dst.as_chunks_mut::<32>().0) {
            let d = block.d.get();
            *y = each(&block.qs, |q| f32::from(q) * d);
        }
    }
}

/// [`TensorType::Q8_K`].
pub(crate) struct Q8_K;

impl Decode for Q8_K {
    const TYPE: TensorType = TensorType::Q8_K;
    const CHECK: Check = Check::F32Elements;

    #[inline(always)]
    fn decode_row(src: &[u8], dst: &mut [f32]) {
        for (block, y) in blocks::<BlockQ8K>(src).iter().zip(dst.as_chunks_mut::<256>().0) {
            let d = f32::from_le_bytes(block.d);
            *y = each(&block.qs, |q| d * f32::from(q));
        }
    }
}
