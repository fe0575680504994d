//! The frame of integer products: what is checked, and which kernel the operands ask for.

use std::arch::x86_64::{_MM_HINT_ET0, _mm_prefetch};

use crate::isa::product::Destination;

/// `multiply` of a witness of features, and the choice of the kernel: `tile::<T, GROUP, LARGE, OFFSETS>(operands, first,
/// piece, out)`, which multiplies one of `pieces` of a panel's rows with `T` rows of activations from `first` on.
macro_rules! product {
    ($witness:ty, $features:literal, pieces: $pieces:literal) => {
        impl $witness {
            /// The products of a panel with rows of activations, as [`crate::isa::product::multiply`] specifies them.
            #[inline(always)]
            pub(crate) fn multiply(self, operands: &Operands<'_>, to: &mut Destination<'_>) {
                operands.check();
                // SAFETY: `self` proves the features, and the operands have been checked.
                unsafe { multiply(operands, to) }
            }
        }

        #[target_feature(enable = $features)]
        unsafe fn multiply(operands: &Operands<'_>, to: &mut Destination<'_>) {
            // SAFETY: as for this function.
            unsafe {
                match (operands.group, operands.large, operands.with_offsets) {
                    (16, true, false) => rows::<16, true, false>(operands, to),
                    (16, true, true) => rows::<16, true, true>(operands, to),
                    (16, false, false) => rows::<16, false, false>(operands, to),
                    (16, false, true) => rows::<16, false, true>(operands, to),
                    (_, true, false) => rows::<32, true, false>(operands, to),
                    (_, true, true) => rows::<32, true, true>(operands, to),
                    (_, false, false) => rows::<32, false, false>(operands, to),
                    (_, false, true) => rows::<32, false, true>(operands, to),
                }
            }
        }

        #[target_feature(enable = $features)]
        unsafe fn rows<const GROUP: usize, const LARGE: bool, const OFFSETS: bool>(
            operands: &Operands<'_>,
            to: &mut Destination<'_>,
        ) {
            // What is multiplied together stays in the cache of the first level for all rows of activations.
            let mut out = [[0.0; ROWS / $pieces]; TOKENS];
            for piece in 0..$pieces {
                let from = piece * (ROWS / $pieces);
                if from >= to.width {
                    break;
                }
                for first in (0..operands.rows).step_by(TOKENS) {
                    let count = TOKENS.min(operands.rows - first);
                    crate::isa::x86_64::product::will_write(to, first, count, from, ROWS / $pieces);
                    // SAFETY: as for this function; `piece` is below the number of pieces, and there are `count` rows of
                    // activations from `first` on.
                    unsafe {
                        match count {
                            1 => tile::<1, GROUP, LARGE, OFFSETS>(operands, first, piece, &mut out),
                            2 => tile::<2, GROUP, LARGE, OFFSETS>(operands, first, piece, &mut out),
                            3 => tile::<3, GROUP, LARGE, OFFSETS>(operands, first, piece, &mut out),
                            4 => tile::<4, GROUP, LARGE, OFFSETS>(operands, first, piece, &mut out),
                            _ => {}
                        }
                    }
                    to.put(first, from, &out[..count]);
                }
            }
        }
    };
}

/// Has the lines fetched that the products of some rows of activations will be written to, while they are computed:
/// they are rarely in a cache, and stores to them hold up all stores after them.
#[inline(always)]
pub(super) fn will_write(to: &Destination<'_>, first: usize, count: usize, from: usize, width: usize) {
    for row in first..first + count {
        for line in to.out[row * to.stride..][from..to.width.min(from + width)].chunks(LINE) {
            // SAFETY: a hint, which reads and writes nothing; SSE is part of x86-64.
            unsafe { _mm_prefetch::<_MM_HINT_ET0>(line.as_ptr().cast()) }
        }
    }
}

/// Numbers in a line of the cache.
const LINE: usize = 16;

pub(super) use product;
