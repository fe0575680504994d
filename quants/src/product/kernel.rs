//! The products of each instruction set.

use std::sync::OnceLock;

use gguf::TensorType;

use super::form::{Form, expand};
use super::rounding::{Rounded, round_row};
use crate::formats::Row;
use crate::isa::product::{self, Destination, Operands};
use crate::isa::{Detected, Isa, Vector, Work};
#[cfg(target_arch = "x86_64")]
use crate::isa::{Fma, Vnni};

/// The instruction set that products run with.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kernel {
    /// The specification. NEON runs it too: the compiler finds its lanes.
    Scalar,
    #[cfg(target_arch = "x86_64")]
    Fma(Fma),
    #[cfg(target_arch = "x86_64")]
    Vnni(Vnni),
}

impl Kernel {
    /// The kernel of an instruction set; `None` where it has none of its own, or this machine lacks it.
    pub(crate) fn of(isa: Isa) -> Option<Self> {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 if isa.is_available() => Vnni::detect()
                .map(Self::Vnni)
                .or_else(|| Fma::detect().map(Self::Fma)),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => Fma::detect().map(Self::Fma),
            _ => None,
        }
    }

    /// The kernel of the instruction set in use.
    pub(crate) fn active() -> Self {
        static ACTIVE: OnceLock<Kernel> = OnceLock::new();
        *ACTIVE.get_or_init(|| Self::of(Isa::active()).unwrap_or(Self::Scalar))
    }

    /// Multiplies a panel with rows of activations.
    pub(crate) fn multiply(self, operands: &Operands<'_>, to: &mut Destination<'_>) {
        match self {
            Self::Scalar => product::multiply(operands, to),
            #[cfg(target_arch = "x86_64")]
            Self::Fma(isa) => isa.multiply(operands, to),
            #[cfg(target_arch = "x86_64")]
            Self::Vnni(isa) => isa.multiply(operands, to),
        }
    }

    /// Expands whole blocks of a type that has a form.
    pub(crate) fn expand(self, ty: TensorType, src: &[u8], row: Row<'_>) {
        self.codecs().run_with(ExpandRow { ty, row }, src);
    }

    /// Rounds a row of activations.
    pub(crate) fn round(self, form: Form, x: &[f32], row: Rounded<'_>) {
        self.codecs().run_with(RoundRow { form, row }, x);
    }

    /// The instruction set of expansion and rounding.
    fn codecs(self) -> Detected {
        match self {
            Self::Scalar => Detected::Scalar,
            #[cfg(target_arch = "x86_64")]
            Self::Fma(isa) => Detected::Avx2(isa.avx2()),
            #[cfg(target_arch = "x86_64")]
            Self::Vnni(isa) => Detected::Avx2(isa.avx2()),
        }
    }
}

struct ExpandRow<'a> {
    ty: TensorType,
    row: Row<'a>,
}

impl<'a> Work for ExpandRow<'a> {
    type Output = ();
    type Arg = &'a [u8];

    #[inline(always)]
    fn scalar(self, src: &[u8]) {
        expand(self.ty, src, self.row);
    }

    #[inline(always)]
    fn vector<V: Vector>(self, _isa: V, src: &[u8]) {
        expand(self.ty, src, self.row);
    }
}

struct RoundRow<'a> {
    form: Form,
    row: Rounded<'a>,
}

impl<'a> Work for RoundRow<'a> {
    type Output = ();
    type Arg = &'a [f32];

    #[inline(always)]
    fn scalar(self, x: &[f32]) {
        round_row(self.form, x, self.row);
    }

    #[inline(always)]
    fn vector<V: Vector>(self, _isa: V, x: &[f32]) {
        round_row(self.form, x, self.row);
    }
}
