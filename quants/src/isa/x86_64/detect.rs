//! The instruction sets of x86-64.

use crate::isa::work::define_instruction_set;

define_instruction_set! {
    /// AVX2 and F16C. FMA stays off: codecs would give other bytes with it.
    Avx2 runs work: is_x86_feature_detected, "avx2" "f16c"
}

define_instruction_set! {
    /// AVX2 with FMA, for products.
    Fma: is_x86_feature_detected, "avx2" "f16c" "fma"
}

define_instruction_set! {
    /// AVX-512 (F, BW, DQ and VL). Nothing is fused in codecs, although FMA is part of it.
    Avx512 runs work: is_x86_feature_detected, "avx512f" "avx512bw" "avx512dq" "avx512vl" "avx2" "f16c"
}

define_instruction_set! {
    /// AVX-512 with VNNI, for products.
    Vnni: is_x86_feature_detected, "avx512f" "avx512bw" "avx512dq" "avx512vl" "avx512vnni" "avx2" "f16c" "fma"
}

impl Fma {
    /// The features that it includes.
    pub(crate) fn avx2(self) -> Avx2 {
        Avx2(())
    }
}

impl Avx512 {
    /// The features that it includes.
    pub(crate) fn avx2(self) -> Avx2 {
        Avx2(())
    }
}

impl Vnni {
    /// The features that it includes.
    pub(crate) fn avx2(self) -> Avx2 {
        Avx2(())
    }
}
