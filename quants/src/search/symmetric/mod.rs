//! The searches for a scale of levels around zero: `x ≈ scale * (level - max_level)`.

pub(crate) mod lanes;
mod scalar;

pub(crate) use scalar::refine;

use crate::isa::{InstructionSet, Scalar, Vector, Work};

/// [`scalar::fit`] of each sub-block.
pub(crate) struct Fit<'a, const N: usize> {
    pub(crate) x: &'a [[f32; N]],
    pub(crate) max_level: i32,
    pub(crate) weights: &'a [[f32; N]],
    pub(crate) levels: &'a mut [[u8; N]],
    pub(crate) scales: &'a mut [f32],
}

impl<const N: usize> Work for Fit<'_, N> {
    type Output = ();
    type Arg = ();

    const FILLS_REGISTERS: bool = true;

    #[inline(always)]
    fn scalar(self, (): ()) {
        for (j, scale) in self.scales.iter_mut().enumerate() {
            *scale = scalar::fit(&self.x[j], self.max_level, &self.weights[j], &mut self.levels[j]);
        }
    }

    #[inline(always)]
    fn vector<V: Vector>(self, isa: V, (): ()) {
        lanes::fit::<V::Lanes, N>(
            isa,
            self.x,
            self.max_level,
            self.weights,
            self.levels,
            self.scales,
        );
        // The sign of a NaN is stored (see `Scalar::run_with`), and of what is not finite lanes make other levels than
        // `nearest_int`. It leaves a scale that is not finite, or, where nothing has weight, zero.
        let finite = |x: &[f32; N]| x.iter().all(|x| x.is_finite());
        let as_specified = |(scale, x): (&f32, &[f32; N])| scale.is_finite() && (*scale != 0.0 || finite(x));
        if !self.scales.iter().zip(self.x).all(as_specified) {
            Scalar.run(self);
        }
    }
}

/// [`scalar::descend`] of each sub-block.
pub(crate) struct Descend<'a, const N: usize> {
    pub(crate) x: &'a [[f32; N]],
    pub(crate) max_level: i32,
    pub(crate) levels: &'a mut [[u8; N]],
    pub(crate) scales: &'a mut [f32],
}

impl<const N: usize> Work for Descend<'_, N> {
    type Output = ();
    type Arg = ();

    #[inline(always)]
    fn scalar(self, (): ()) {
        for (j, scale) in self.scales.iter_mut().enumerate() {
            *scale = scalar::descend(&self.x[j], self.max_level, &mut self.levels[j]);
        }
    }

    #[inline(always)]
    fn vector<V: Vector>(self, isa: V, (): ()) {
        lanes::descend::<V::Lanes, N>(isa, self.x, self.max_level, self.levels, self.scales);
        if self.scales.iter().any(|scale| scale.is_nan()) {
            Scalar.run(self);
        }
    }
}
