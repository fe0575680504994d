//! Instruction sets: which one is used, and which functions of the codec table it replaces.

#[cfg(target_arch = "aarch64")]
mod aarch64;
pub(crate) mod dispatch;
pub(crate) mod lanes;
pub(crate) mod pair;
#[cfg(any(test, target_arch = "aarch64"))]
pub(crate) mod portable;
#[cfg(target_arch = "x86_64")]
mod x86_64;

use std::sync::OnceLock;

use crate::codec::Codec;
use crate::product::Kernel;

/// Environment variable that forces an instruction set: `scalar`, `avx2`, `avx512` or `neon`.
const FORCE: &str = "QUANTSMITH_ISA";

/// An instruction set with kernels of its own. All of them give the same bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isa {
    /// Portable code, which is the specification of the others.
    Scalar,
    /// x86-64 with AVX2 and F16C.
    Avx2,
    /// x86-64 with AVX-512 (F, BW, DQ and VL).
    Avx512,
    /// AArch64 with NEON.
    Neon,
}

impl Isa {
    /// All instruction sets.
    pub const ALL: [Self; 4] = [Self::Scalar, Self::Avx2, Self::Avx512, Self::Neon];

    /// The name, as in the environment variable `QUANTSMITH_ISA`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Neon => "neon",
        }
    }

    /// The instruction set of this name; case does not matter.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|isa| isa.name().eq_ignore_ascii_case(name))
    }

    /// Whether this machine has it.
    pub fn is_available(self) -> bool {
        match self {
            Self::Scalar => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => {
                std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("f16c")
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => {
                std::arch::is_x86_feature_detected!("avx512f")
                    && std::arch::is_x86_feature_detected!("avx512bw")
                    && std::arch::is_x86_feature_detected!("avx512dq")
                    && std::arch::is_x86_feature_detected!("avx512vl")
                    && Self::Avx2.is_available()
            }
            #[cfg(target_arch = "aarch64")]
            Self::Neon => std::arch::is_aarch64_feature_detected!("neon"),
            #[allow(unreachable_patterns, reason = "what is left depends on the target")]
            _ => false,
        }
    }

    /// The instruction set that [`crate::encode`] and [`crate::decode`] use: the best that this
    /// machine has, or the one that the environment variable `QUANTSMITH_ISA` names. A name that is
    /// unknown or not available here means scalar.
    pub fn active() -> Self {
        static ACTIVE: OnceLock<Isa> = OnceLock::new();
        *ACTIVE.get_or_init(|| match std::env::var(FORCE) {
            Ok(name) => Self::from_name(&name)
                .filter(|isa| isa.is_available())
                .unwrap_or(Self::Scalar),
            Err(_) => [Self::Avx512, Self::Avx2, Self::Neon]
                .into_iter()
                .find(|isa| isa.is_available())
                .unwrap_or(Self::Scalar),
        })
    }
}

/// A row of the codec table with the functions that an instruction set has of its own; the row itself where
/// this machine lacks it.
pub(crate) fn specialize(isa: Isa, scalar: Codec) -> Codec {
    if !isa.is_available() {
        return scalar;
    }
    let functions = match isa {
        // No kernel has a use for AVX-512 beyond AVX2 yet.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 | Isa::Avx512 => x86_64::avx2::specialize(scalar.ty),
        #[cfg(target_arch = "aarch64")]
        Isa::Neon => aarch64::neon::specialize(scalar.ty),
        _ => None,
    };
    match functions {
        Some((encode_row, decode_row)) => Codec {
            encode_row: Some(encode_row),
            decode_row,
            ..scalar
        },
        None => scalar,
    }
}

/// The kernel of the integer products that an instruction set has of its own; `None` where it has none, or this
/// machine lacks it.
pub(crate) fn product(isa: Isa) -> Option<&'static Kernel> {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 if isa.is_available() && std::arch::is_x86_feature_detected!("avx512vnni") => {
            product(Isa::Avx2).map(|_| &x86_64::avx512::PRODUCT)
        }
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 | Isa::Avx512 => {
            let available = isa.is_available() && std::arch::is_x86_feature_detected!("fma");
            available.then_some(&x86_64::avx2::product::PRODUCT)
        }
        // NEON runs the portable loop, whose lanes the compiler finds.
        _ => None,
    }
}
