//! The frame of integer products: what is checked, and which kernel the operands ask for.

/// `multiply` of a witness of features, and the choice of the kernel: `tile::<T, GROUP, LARGE, OFFSETS>(operands, part,
/// out)`, which multiplies one of `parts` of a panel's rows with `T` rows of activations.
macro_rules! product {
    ($witness:ty, $features:literal, parts: $parts:expr) => {
        impl $witness {
            /// The product of a panel with rows of activations, as [`crate::isa::product::multiply`] specifies it.
            #[inline(always)]
            pub(crate) fn multiply(self, operands: &Operands<'_>, out: &mut [[f32; ROWS]; TOKENS]) {
                operands.check();
                // SAFETY: `self` proves the features, and the operands have been checked.
                unsafe { multiply(operands, out) }
            }
        }

        #[target_feature(enable = $features)]
        unsafe fn multiply(operands: &Operands<'_>, out: &mut [[f32; ROWS]; TOKENS]) {
            // SAFETY: as for this function.
            unsafe {
                match (operands.group, operands.large, operands.with_offsets) {
                    (16, true, false) => rows::<16, true, false>(operands, out),
                    (16, true, true) => rows::<16, true, true>(operands, out),
                    (16, false, false) => rows::<16, false, false>(operands, out),
                    (16, false, true) => rows::<16, false, true>(operands, out),
                    (_, true, false) => rows::<32, true, false>(operands, out),
                    (_, true, true) => rows::<32, true, true>(operands, out),
                    (_, false, false) => rows::<32, false, false>(operands, out),
                    (_, false, true) => rows::<32, false, true>(operands, out),
                }
            }
        }

        #[target_feature(enable = $features)]
        unsafe fn rows<const GROUP: usize, const LARGE: bool, const OFFSETS: bool>(
            operands: &Operands<'_>,
            out: &mut [[f32; ROWS]; TOKENS],
        ) {
            for part in 0..$parts {
                // SAFETY: as for this function; `part` is below the number of parts.
                unsafe {
                    match operands.rows {
                        1 => tile::<1, GROUP, LARGE, OFFSETS>(operands, part, out),
                        2 => tile::<2, GROUP, LARGE, OFFSETS>(operands, part, out),
                        3 => tile::<3, GROUP, LARGE, OFFSETS>(operands, part, out),
                        4 => tile::<4, GROUP, LARGE, OFFSETS>(operands, part, out),
                        _ => {}
                    }
                }
            }
        }
    };
}

pub(super) use product;
