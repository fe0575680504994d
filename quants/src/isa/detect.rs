//! The choice of an instruction set.

use std::sync::OnceLock;

#[cfg(target_arch = "aarch64")]
use crate::isa::aarch64::Neon;
use crate::isa::work::{InstructionSet, Scalar, Work};
#[cfg(target_arch = "x86_64")]
use crate::isa::x86_64::{Avx2, Avx512};

/// Environment variable that forces an instruction set: `scalar`, `avx2`, `avx512` or `neon`.
const FORCE: &str = "QUANTSMITH_ISA";

/// An instruction set with code of its own. All of them give the same bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
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

    /// The instruction set of this name, in any case.
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
            Self::Avx2 => Avx2::detect().is_some(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => Avx512::detect().is_some(),
            #[cfg(target_arch = "aarch64")]
            Self::Neon => Neon::detect().is_some(),
            #[allow(unreachable_patterns, reason = "depends on the target")]
            _ => false,
        }
    }

    /// The instruction set that [`crate::encode`] and [`crate::decode`] use: the best that this machine has, or
    /// the one that the environment variable `QUANTSMITH_ISA` names. An unknown or unavailable name means scalar.
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

/// The instruction set that codecs run with.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Detected {
    Scalar,
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
    #[cfg(target_arch = "aarch64")]
    Neon(Neon),
    /// Portable lanes, for tests.
    #[cfg(all(test, target_arch = "x86_64"))]
    Sse2(crate::isa::portable::tests::Sse2),
}

impl Detected {
    /// The codecs' part of an instruction set; scalar where this machine lacks it.
    pub(crate) fn new(isa: Isa) -> Self {
        let detected = match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => Avx2::detect().map(Self::Avx2),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => Avx512::detect().map(Self::Avx512),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => Neon::detect().map(Self::Neon),
            _ => None,
        };
        detected.unwrap_or(Self::Scalar)
    }

    /// The same for decoders: on AVX-512 machines those of AVX2, since the wider ones that the compiler makes of look-ups are
    /// slower.
    pub(crate) fn for_decoders(isa: Isa) -> Self {
        match Self::new(isa) {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(isa) => Self::Avx2(isa.avx2()),
            other => other,
        }
    }

    /// [`InstructionSet::run_with`].
    #[inline(always)]
    pub(crate) fn run_with<W: Work>(self, work: W, arg: W::Arg) -> W::Output {
        match self {
            Self::Scalar => Scalar.run_with(work, arg),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(isa) => isa.run_with(work, arg),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(isa) => isa.run_with(work, arg),
            #[cfg(target_arch = "aarch64")]
            Self::Neon(isa) => isa.run_with(work, arg),
            #[cfg(all(test, target_arch = "x86_64"))]
            Self::Sse2(isa) => isa.run_with(work, arg),
        }
    }
}
