//! The form to which each block format is brought for products.

use gguf::TensorType;

use crate::formats::{self, Expand, Rounding, Row};
use crate::isa::product::{LARGE_BLOCK, SMALL_BLOCK};

/// A format's parameters in products.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    pub(crate) ty: TensorType,
    /// Weights that share a scale: 16 or 32.
    pub(crate) group: usize,
    /// The code of a weight of zero.
    pub(crate) zero: u8,
    /// The largest code.
    pub(crate) largest: u8,
    /// Whether weights have offsets.
    pub(crate) offsets: bool,
    pub(crate) rounding: Rounding,
}

macro_rules! forms {
    ($($format:ident)*) => {
        /// The form of a type; `None` for types that are not multiplied in integers.
        pub fn form(ty: TensorType) -> Option<Form> {
            match ty {
                $(TensorType::$format => Some(Form::of::<formats::$format>()),)*
                _ => None,
            }
        }

        /// Expands whole blocks of a type that has a form.
        #[inline(always)]
        pub(crate) fn expand(ty: TensorType, src: &[u8], row: Row<'_>) {
            match ty {
                $(TensorType::$format => <formats::$format as Expand>::expand_row(src, row),)*
                _ => unreachable!("{ty} has no form"),
            }
        }
    };
}

forms! {
    Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K Q4_K Q5_K Q6_K IQ4_NL IQ4_XS IQ3_XXS IQ3_S IQ2_XXS IQ2_XS
    IQ2_S IQ1_S IQ1_M TQ1_0 TQ2_0 MXFP4 NVFP4 Q1_0 Q2_0
}

impl Form {
    fn of<F: Expand>() -> Self {
        // Kernels rely on it.
        const { assert!(!F::OFFSETS || F::ZERO == 0, "codes with offsets begin at zero") };
        Self {
            ty: F::TYPE,
            group: F::GROUP,
            zero: F::ZERO,
            largest: F::LARGEST,
            offsets: F::OFFSETS,
            rounding: F::ROUNDING,
        }
    }

    /// Whether activations share scales in blocks of [`LARGE_BLOCK`].
    pub(crate) fn large(self) -> bool {
        self.rounding == Rounding::Q8K
    }

    /// Activations that share a scale.
    pub(crate) fn block(self) -> usize {
        if self.large() { LARGE_BLOCK } else { SMALL_BLOCK }
    }
}
