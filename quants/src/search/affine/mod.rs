//! The search for a scale and a minimum: `x ≈ scale * level - min`.

mod lanes;
mod scalar;

pub(crate) use scalar::{AffineFit, Candidates, ErrorMeasure, IMPORTANCE_CANDIDATES, refine};

use crate::isa::{InstructionSet, Scalar, Vector, Work};

/// [`scalar::fit`] of each sub-block.
pub(crate) struct Fit<'a, const N: usize> {
    pub(crate) x: &'a [[f32; N]],
    pub(crate) weights: &'a [[f32; N]],
    pub(crate) max_level: i32,
    pub(crate) candidates: Candidates,
    pub(crate) levels: &'a mut [[u8; N]],
    pub(crate) fits: &'a mut [AffineFit],
}

impl<const N: usize> Work for Fit<'_, N> {
    type Output = ();
    type Arg = ();

    const FILLS_REGISTERS: bool = true;

    #[inline(always)]
    fn scalar(self, (): ()) {
        for (j, fit) in self.fits.iter_mut().enumerate() {
            *fit = scalar::fit(
                &self.x[j],
                &self.weights[j],
                self.max_level,
                self.candidates,
                &mut self.levels[j],
            );
        }
    }

    #[inline(always)]
    fn vector<V: Vector>(self, isa: V, (): ()) {
        let done = lanes::fit::<V::Lanes, N>(
            isa,
            self.x,
            self.weights,
            self.max_level,
            self.candidates,
            self.levels,
            self.fits,
        );
        // The sign of a NaN is stored: see `Scalar::run_with`.
        if !done || self.fits.iter().any(|fit| fit.scale.is_nan() || fit.min.is_nan()) {
            Scalar.run(self);
        }
    }
}
