//! The search for a scale of the sixteen values of IQ4_NL and IQ4_XS: `x ≈ scale * value`.

mod lanes;
mod scalar;

pub(crate) use scalar::{VALUES, nearest_value};

use crate::isa::{InstructionSet, Scalar, Vector, Work};

/// [`scalar::fit`] of each block.
pub(crate) struct Fit<'a> {
    pub(crate) x: &'a [[f32; 32]],
    pub(crate) weights: &'a [[f32; 32]],
    pub(crate) scales: &'a mut [f32],
}

impl Work for Fit<'_> {
    type Output = ();
    type Arg = ();

    #[inline(always)]
    fn scalar(self, (): ()) {
        for (j, scale) in self.scales.iter_mut().enumerate() {
            *scale = scalar::fit(&self.x[j], &self.weights[j]);
        }
    }

    #[inline(always)]
    fn vector<V: Vector>(self, isa: V, (): ()) {
        lanes::fit::<V::Lanes>(isa, self.x, self.weights, self.scales);
        // The sign of a NaN is stored: see `Scalar::run_with`.
        if self.scales.iter().any(|scale| scale.is_nan()) {
            Scalar.run(self);
        }
    }
}
