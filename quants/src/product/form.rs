//! How each format is brought to the form of the products.

use gguf::TensorType;

/// The rounding of activations that a format's products want.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rounding {
    /// ggml's Q8_0: blocks of 32 with a half-precision scale.
    Q8_0,
    /// ggml's Q8_1: Q8_0, with the sum of each block in half precision.
    Q8_1,
    /// ggml's Q8_K: blocks of 256 with a single-precision scale.
    Q8K,
}

/// What the products need to know of a format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    pub(crate) ty: TensorType,
    /// Weights that share a scale: 16 or 32.
    pub(crate) group: usize,
    /// The code of a weight without magnitude.
    pub(crate) zero: u8,
    /// Whether weights have offsets.
    pub(crate) offsets: bool,
    pub(crate) rounding: Rounding,
}

/// Where a row is expanded to.
pub(crate) struct Row<'a> {
    /// One for each weight.
    pub(crate) codes: &'a mut [u8],
    /// One for each group.
    pub(crate) scales: &'a mut [f32],
    /// One for each group, or none.
    pub(crate) offsets: &'a mut [f32],
}

macro_rules! forms {
    ($($ty:ident: $format:ident, $group:literal, $zero:expr, $offsets:literal, $rounding:ident;)*) => {
        /// The form of a type; `None` for types that are not multiplied in integers.
        pub fn form(ty: TensorType) -> Option<Form> {
            let (group, zero, offsets, rounding) = match ty {
                $(TensorType::$ty => ($group, $zero, $offsets, Rounding::$rounding),)*
                _ => return None,
            };
            Some(Form { ty, group, zero, offsets, rounding })
        }

        /// Expands whole blocks of a type that has a form.
        #[inline(always)]
        pub(crate) fn expand(ty: TensorType, src: &[u8], row: Row<'_>) {
            match ty {
                $(TensorType::$ty => crate::formats::$format::expand_row(src, row),)*
                _ => unreachable!("{ty} has no form"),
            }
        }
    };
}

forms! {
    Q4_0: q4_0, 32, 8, false, Q8_0;
    Q4_1: q4_1, 32, 0, true, Q8_1;
    Q5_0: q5_0, 32, 16, false, Q8_0;
    Q5_1: q5_1, 32, 0, true, Q8_1;
    Q8_0: q8_0, 32, 128, false, Q8_0;
    Q2_K: q2_k, 16, 0, true, Q8K;
    Q3_K: q3_k, 16, 4, false, Q8K;
    Q4_K: q4_k, 32, 0, true, Q8K;
    Q5_K: q5_k, 32, 0, true, Q8K;
    Q6_K: q6_k, 16, 32, false, Q8K;
    IQ4_NL: iq4_nl, 32, crate::formats::iq4_nl::ZERO, false, Q8_0;
    IQ4_XS: iq4_xs, 32, crate::formats::iq4_nl::ZERO, false, Q8K;
    IQ3_XXS: iq3_xxs, 32, crate::formats::iq3_xxs::ZERO, false, Q8K;
    IQ3_S: iq3_s, 32, crate::formats::iq3_s::ZERO, false, Q8K;
    IQ2_XXS: iq2_xxs, 32, crate::search::codebook::IQ2_ZERO, false, Q8K;
    IQ2_XS: iq2_xs, 16, crate::search::codebook::IQ2_ZERO, false, Q8K;
    IQ2_S: iq2_s, 16, crate::search::codebook::IQ2_ZERO, false, Q8K;
    IQ1_S: iq1_s, 32, crate::formats::iq1::ZERO, false, Q8K;
    IQ1_M: iq1_m, 16, crate::formats::iq1::ZERO, false, Q8K;
    TQ1_0: tq1_0, 32, 1, false, Q8K;
    TQ2_0: tq2_0, 32, 1, false, Q8K;
    MXFP4: mxfp4, 32, crate::formats::mxfp4::ZERO, false, Q8_0;
    NVFP4: nvfp4, 16, crate::formats::mxfp4::ZERO, false, Q8_0;
    Q1_0: q1_0, 32, 1, false, Q8_0;
    Q2_0: q2_0, 32, 1, false, Q8_0;
}

impl Form {
    /// Groups whose activations share a scale, where that is more than the products treat one by one.
    pub(crate) fn large(self) -> bool {
        self.rounding == Rounding::Q8K
    }

    /// Activations that share a scale.
    pub(crate) fn block(self) -> usize {
        if self.large() { LARGE_BLOCK } else { SMALL_BLOCK }
    }
}

/// Numbers that share a scale in ggml's Q8_0 and Q8_1.
pub(crate) const SMALL_BLOCK: usize = 32;
/// Numbers that share a scale in ggml's Q8_K.
pub(crate) const LARGE_BLOCK: usize = 256;
