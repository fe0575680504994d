//! The search for the best split of a sorted block in three runs (IQ1_S, IQ1_M).

mod lanes;
mod scalar;

pub(crate) use scalar::{DELTA, DOWN, Split, Sums, UP};

use crate::isa::{Vector, Work};

/// [`scalar::best`].
pub(crate) struct Best<'a> {
    pub(crate) sums_x: &'a Sums<32>,
    pub(crate) sums_w: &'a Sums<32>,
}

impl Work for Best<'_> {
    type Output = Option<Split<1>>;
    type Arg = ();

    #[inline(always)]
    fn scalar(self, (): ()) -> Option<Split<1>> {
        scalar::best(self.sums_x, self.sums_w)
    }

    #[inline(always)]
    fn vector<V: Vector>(self, isa: V, (): ()) -> Option<Split<1>> {
        lanes::best::<V::Lanes>(isa, self.sums_x, self.sums_w)
    }
}

/// [`scalar::best_of_halves`].
pub(crate) struct BestOfHalves<'a> {
    pub(crate) sums_x: &'a [Sums<16>; 2],
    pub(crate) sums_w: &'a [Sums<16>; 2],
}

impl Work for BestOfHalves<'_> {
    type Output = Option<Split<2>>;
    type Arg = ();

    #[inline(always)]
    fn scalar(self, (): ()) -> Option<Split<2>> {
        scalar::best_of_halves(self.sums_x, self.sums_w)
    }

    #[inline(always)]
    fn vector<V: Vector>(self, isa: V, (): ()) -> Option<Split<2>> {
        lanes::best_of_halves::<V::Lanes>(isa, self.sums_x, self.sums_w)
    }
}
