//! Which functions of the codec table an instruction set replaces: one table for all of them.

use crate::codec::{DecodeRow, EncodeRow};

/// Whether all of a row is finite. Kernels are made for weights; the scalar encoders take anything.
#[inline(always)]
pub(super) fn is_finite(x: &[f32]) -> bool {
    const EXPONENT: u32 = 0x7f80_0000;
    // Without an early end, to be vectorized.
    !x.iter()
        .fold(false, |found, x| found | (x.to_bits() & EXPONENT == EXPONENT))
}

/// What an instruction set's version of a codec consists of.
pub(super) type Functions = (EncodeRow, DecodeRow);

/// Defines `Compiled` for an instruction set: its kernel, each search compiled once with its target features
/// instead of being inlined wherever it is used.
macro_rules! compile_kernel {
    ($features:literal, $kernel:ty) => {
        /// The kernel, compiled. To be used only in functions that run only where the CPU has the features.
        struct Compiled;

        impl crate::search::kernel::Nearest for Compiled {
            #[inline(always)]
            fn nearest<const D: usize>(candidates: &[[u16; 8]], terms: &[[f32; 8]; D]) -> u16 {
                <$kernel>::nearest(candidates, terms)
            }
            #[inline(always)]
            fn clearly_nearest<const D: usize>(
                candidates: &[[u16; 8]],
                terms: &[[f32; 8]; D],
                margin: f32,
            ) -> (u16, bool) {
                <$kernel>::clearly_nearest(candidates, terms, margin)
            }
            #[inline(always)]
            fn prefetch(candidates: &[u16; 8]) {
                <$kernel>::prefetch(candidates)
            }
        }

        impl crate::search::kernel::Pass for Compiled {
            crate::search::kernel::pass_on!($kernel);
        }

        impl crate::search::kernel::Kernel for Compiled {
            crate::isa::dispatch::compile_kernel!(
                @searches $features, $kernel,
                fit_affine<N>(
                    x: &[[f32; N]], weights: &[[f32; N]], max_level: i32,
                    candidates: crate::search::Candidates, levels: &mut [[u8; N]],
                    fits: &mut [crate::search::AffineFit],
                ) -> ();
                fit_symmetric<N>(
                    x: &[[f32; N]], max_level: i32, weights: &[[f32; N]], levels: &mut [[u8; N]],
                    scales: &mut [f32],
                ) -> ();
                descend_symmetric<N>(
                    x: &[[f32; N]], max_level: i32, levels: &mut [[u8; N]], scales: &mut [f32],
                ) -> ();
                fit_positive<N>(
                    x: &[[f32; N]], max_level: i32, weights: &[[f32; N]], levels: &mut [[u8; N]],
                    scales: &mut [f32],
                ) -> ();
                fit_nonlinear<>(x: &[[f32; 32]], weights: &[[f32; 32]], scales: &mut [f32],) -> ();
                best_split<>(
                    sums_x: &crate::formats::iq1::Sums<32>, sums_w: &crate::formats::iq1::Sums<32>,
                ) -> Option<crate::formats::iq1::Split<1>>;
                best_split_of_halves<>(
                    sums_x: &[crate::formats::iq1::Sums<16>; 2], sums_w: &[crate::formats::iq1::Sums<16>; 2],
                ) -> Option<crate::formats::iq1::Split<2>>;
            );
        }
    };
    (@searches $features:literal, $kernel:ty, $(
        $name:ident<$($n:ident)?>($($argument:ident: $type:ty,)*) -> $output:ty;
    )*) => {$(
        #[inline(always)]
        fn $name$(<const $n: usize>)?($($argument: $type),*) -> $output {
            #[inline(never)]
            #[target_feature(enable = $features)]
            fn with_features$(<const $n: usize>)?($($argument: $type),*) -> $output {
                <$kernel>::$name$(::<$n>)?($($argument),*)
            }
            // SAFETY: see `Compiled`.
            unsafe { with_features$(::<$n>)?($($argument),*) }
        }
    )*};
}
pub(super) use compile_kernel;

/// Defines `specialize` for an instruction set: its target features, and its [`crate::search::kernel::Kernel`].
///
/// Encoders and decoders are written so that the compiler puts tries, sub-blocks or weights in lanes; they are
/// compiled once more with the features. Where it cannot see the lanes, the kernel stands in for the inner loop.
macro_rules! specialize {
    ($features:literal, $kernel:ty) => {
        crate::isa::dispatch::compile_kernel!($features, $kernel);

        /// The functions of this instruction set for a type; `None` where it has none. The CPU must have the
        /// features.
        pub(in crate::isa) fn specialize(ty: gguf::TensorType) -> Option<crate::isa::dispatch::Functions> {
            use gguf::TensorType as T;

            use crate::codec::{DecodeRow, EncodeRow};

            /// An encoder that runs `$body` compiled with the features.
            macro_rules! encoder {
                ($body:expr) => {{
                    #[target_feature(enable = $features)]
                    fn with_features(x: &[f32], importance: Option<&[f32]>, dst: &mut [u8]) {
                        $body(x, importance, dst);
                    }
                    fn encode_row(x: &[f32], importance: Option<&[f32]>, dst: &mut [u8]) {
                        // SAFETY: `specialize` is called only where the CPU has these features.
                        unsafe { with_features(x, importance, dst) }
                    }
                    encode_row as EncodeRow
                }};
            }
            /// An encoder whose inner loops are the kernel's. `$careful` says for what importance it asks the kernel
            /// only about blocks that it found finite; else rows that are not finite are left to the scalar encoder.
            macro_rules! search {
                ($format:ident, $careful:expr) => {{
                    #[inline(always)]
                    fn body(x: &[f32], importance: Option<&[f32]>, dst: &mut [u8]) {
                        use crate::isa::dispatch::is_finite;
                        let careful: fn(Option<&[f32]>) -> bool = $careful;
                        if careful(importance) || is_finite(x) && importance.is_none_or(is_finite) {
                            crate::formats::$format::encode_row_with::<Compiled>(x, importance, dst);
                        } else {
                            crate::formats::$format::encode_row(x, importance, dst);
                        }
                    }
                    encoder!(body)
                }};
            }
            macro_rules! decoder {
                ($body:expr) => {{
                    #[target_feature(enable = $features)]
                    fn with_features(src: &[u8], dst: &mut [f32]) {
                        $body(src, dst);
                    }
                    fn decode_row(src: &[u8], dst: &mut [f32]) {
                        // SAFETY: `specialize` is called only where the CPU has these features.
                        unsafe { with_features(src, dst) }
                    }
                    decode_row as DecodeRow
                }};
            }
            macro_rules! searched {
                ($format:ident) => {
                    (
                        search!($format, |_| false),
                        decoder!(crate::formats::$format::decode_row),
                    )
                };
            }
            /// For formats whose decoder gets slower, not faster, with the compiler's wider vectors.
            macro_rules! searched_only {
                ($format:ident) => {
                    (
                        search!($format, |_| false),
                        crate::formats::$format::decode_row as DecodeRow,
                    )
                };
            }
            /// For encoders that search where there is importance, and else pass over each block once.
            macro_rules! careful_without {
                ($format:ident) => {
                    (
                        search!($format, |importance| importance.is_none()),
                        decoder!(crate::formats::$format::decode_row),
                    )
                };
            }
            /// For encoders that always pass over each block once.
            macro_rules! careful {
                ($format:ident) => {
                    (
                        search!($format, |_| true),
                        decoder!(crate::formats::$format::decode_row),
                    )
                };
            }
            macro_rules! compiled {
                ($format:ident) => {
                    (
                        encoder!(crate::formats::$format::encode_row),
                        decoder!(crate::formats::$format::decode_row),
                    )
                };
            }
            Some(match ty {
                T::Q4_0 => careful_without!(q4_0),
                T::Q4_1 => careful_without!(q4_1),
                T::Q5_0 => careful_without!(q5_0),
                T::Q5_1 => careful_without!(q5_1),
                T::Q2_K => searched_only!(q2_k),
                T::Q3_K => searched!(q3_k),
                T::Q4_K => searched!(q4_k),
                T::Q5_K => searched!(q5_k),
                T::Q6_K => searched_only!(q6_k),
                T::IQ2_XXS => searched!(iq2_xxs),
                T::IQ2_XS => searched!(iq2_xs),
                T::IQ2_S => searched!(iq2_s),
                T::IQ3_XXS => searched!(iq3_xxs),
                T::IQ3_S => searched!(iq3_s),
                T::IQ1_S => searched!(iq1_s),
                T::IQ1_M => searched!(iq1_m),
                T::IQ4_NL => searched!(iq4_nl),
                T::IQ4_XS => searched!(iq4_xs),
                T::Q8_0 => careful!(q8_0),
                T::TQ1_0 => compiled!(tq1_0),
                T::TQ2_0 => compiled!(tq2_0),
                T::MXFP4 => careful!(mxfp4),
                T::NVFP4 => careful!(nvfp4),
                T::Q1_0 => searched!(q1_0),
                T::Q2_0 => careful!(q2_0),
                T::F16 => (
                    encoder!(crate::formats::plain::f16::encode_row),
                    decoder!(crate::formats::plain::f16::decode_row),
                ),
                T::BF16 => (
                    encoder!(crate::formats::plain::bf16::encode_row),
                    decoder!(crate::formats::plain::bf16::decode_row),
                ),
                _ => return None,
            })
        }
    };
}
pub(super) use specialize;
