//! Work in two versions, scalar and vector, and the instruction sets that run it.

use crate::isa::lanes::Single;
use crate::isa::ops::BlockOps;

/// A search, or a pass of a codec over rows.
///
/// Both versions are `#[inline(always)]`, and so is what they call in their loops: only what is inlined in
/// [`InstructionSet::run_with`] is compiled with an instruction set's features.
pub(crate) trait Work: Sized {
    type Output;
    /// Argument beside `self`: as a function's argument, a mutable slice is known to overlap nothing else, without
    /// which loops over rows are not vectorized. `()` for searches.
    type Arg;

    /// Whether it is nothing but arithmetic in more registers than there are: such work is slower in registers that the
    /// processor reads, writes and works off in halves than in narrow ones.
    const FILLS_REGISTERS: bool = false;

    /// The scalar version, which is the specification.
    fn scalar(self, arg: Self::Arg) -> Self::Output;

    /// The same outcome, to the bit, with a vector instruction set.
    fn vector<V: Vector>(self, isa: V, arg: Self::Arg) -> Self::Output;
}

/// An instruction set, and the proof that this CPU has it.
pub(crate) trait InstructionSet: BlockOps {
    /// Runs the version of `work` for this instruction set, compiled with its features. Not inlined.
    fn run_with<W: Work>(self, work: W, arg: W::Arg) -> W::Output;

    /// [`Self::run_with`] of work without an argument.
    #[inline(always)]
    fn run<W: Work<Arg = ()>>(self, work: W) -> W::Output {
        self.run_with(work, ())
    }
}

/// An instruction set with vector registers.
pub(crate) trait Vector: InstructionSet {
    /// A register of `f32`.
    type Lanes: Single<Isa = Self>;
}

/// Portable code, the specification of all instruction sets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scalar;

impl BlockOps for Scalar {}

impl InstructionSet for Scalar {
    // Vector versions come back to this very code where an outcome is NaN: its sign depends on the order of an
    // addition's operands, which the compiler may choose anew wherever it inlines.
    #[inline(never)]
    fn run_with<W: Work>(self, work: W, arg: W::Arg) -> W::Output {
        work.scalar(arg)
    }
}

/// Defines an instruction set from the list of its CPU features: a value as proof of them, and its detection. With
/// `runs work`, also its [`InstructionSet::run_with`]; with `or narrow where halves`, the instruction set that `narrow` gives
/// runs the work that [fills registers](Work::FILLS_REGISTERS) where `halves` is true.
macro_rules! define_instruction_set {
    ($(#[$meta:meta])* $name:ident: $detected:ident, $($feature:tt)+) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug)]
        pub(crate) struct $name(());

        impl $name {
            /// The instruction set, if this CPU has it.
            #[inline]
            pub(crate) fn detect() -> Option<Self> {
                let detected = $(std::arch::$detected!($feature))&&+;
                detected.then_some(Self(()))
            }
        }
    };
    (
        $(#[$meta:meta])*
        $name:ident runs work $(or $narrow:ident where $halves:ident)?: $detected:ident, $($feature:tt)+
    ) => {
        crate::isa::work::define_instruction_set!($(#[$meta])* $name: $detected, $($feature)+);

        impl crate::isa::work::InstructionSet for $name {
            #[inline(always)]
            fn run_with<W: crate::isa::work::Work>(self, work: W, arg: W::Arg) -> W::Output {
                $(#[target_feature(enable = $feature)])+
                #[inline(never)]
                fn with_features<W: crate::isa::work::Work>(isa: $name, work: W, arg: W::Arg) -> W::Output {
                    work.vector(isa, arg)
                }
                $(
                    if W::FILLS_REGISTERS && $halves() {
                        return self.$narrow().run_with(work, arg);
                    }
                )?
                // SAFETY: `self` comes from the detection of these features.
                unsafe { with_features(self, work, arg) }
            }
        }
    };
}
pub(crate) use define_instruction_set;
