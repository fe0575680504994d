//! The instruction sets of x86-64.

use std::arch::x86_64::__cpuid;
use std::sync::OnceLock;

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
    Avx512 runs work or avx2 where halves_registers: is_x86_feature_detected, "avx512f" "avx512bw" "avx512dq" "avx512vl" "avx2" "f16c"
}

define_instruction_set! {
    /// AVX-512 with VNNI, for products.
    Vnni: is_x86_feature_detected, "avx512f" "avx512bw" "avx512dq" "avx512vl" "avx512vnni" "avx2" "f16c" "fma"
}

/// AMD's family of Zen 3 and Zen 4: what has AVX-512 there has registers of 512 bits and units of 256.
const ZEN_4: u32 = 0x19;

/// Whether operations on registers of 512 bits are done in halves. Tests run all code wherever it runs.
#[inline]
fn halves_registers() -> bool {
    static HALVES: OnceLock<bool> = OnceLock::new();
    !cfg!(test)
        && *HALVES.get_or_init(|| {
            let maker = __cpuid(0);
            let signature = __cpuid(1).eax;
            let family = (signature >> 8 & 0xf) + (signature >> 20 & 0xff);
            // "AuthenticAMD" in three pieces.
            [maker.ebx, maker.edx, maker.ecx] == [*b"Auth", *b"enti", *b"cAMD"].map(u32::from_le_bytes)
                && family == ZEN_4
        })
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
