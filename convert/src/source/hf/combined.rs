//! Tensors that are computed from several stored ones, element by element.

use std::ops::Range;

use half::f16;

use super::element::Element;
use super::gather::Gather;
use super::parts::Parts;
use crate::Result;
use crate::arch::{Hparams, View};

/// Cuts one of two parts out of a stored tensor.
pub(super) type Part = fn(&Hparams, View, u64) -> Result<Option<View>>;

/// Stored tensors of the same number of elements, and what is computed from one element of each.
#[derive(Clone, Debug)]
pub(super) struct Combined {
    parts: Vec<Gather>,
    /// The elements, and whether they are of half precision, in which the stock converter then computes.
    value: fn(&[f32], bool) -> f32,
}

/// The number that a batch norm adds to the variance.
const EPSILON: f32 = 1e-5;

impl Combined {
    /// The sum of two.
    pub(super) fn sum(parts: Vec<Gather>) -> Self {
        let value = |x: &[f32], half| rounded(x[0] + x[1], half);
        Self { parts, value }
    }

    /// The product of two, in single precision whatever they are stored in.
    pub(super) fn product(parts: Vec<Gather>) -> Self {
        let value = |x: &[f32], _| x[0] * x[1];
        Self { parts, value }
    }

    /// Weight and bias of a batch norm, of its weight, bias, mean and variance.
    pub(super) fn norm(parts: Vec<Gather>) -> [Self; 2] {
        let scale = |x: &[f32], half| {
            let deviation = rounded(rounded(x[3] + EPSILON, half).sqrt(), half);
            rounded(x[0] / deviation, half)
        };
        let weight = Self {
            parts: parts.clone(),
            value: scale,
        };
        let value = |x: &[f32], half| {
            let deviation = rounded(rounded(x[3] + EPSILON, half).sqrt(), half);
            let scale = rounded(x[0] / deviation, half);
            rounded(x[1] - rounded(x[2] * scale, half), half)
        };
        [weight, Self { parts, value }]
    }

    /// The values of a range of output elements (whole rows).
    pub(super) fn read_values(&self, parts: &Parts, elements: Range<u64>, out: &mut [f32]) -> Result<()> {
        let half = self.parts.iter().all(|part| part.element() == Element::F16);
        let mut read = Vec::with_capacity(self.parts.len());
        for part in &self.parts {
            let mut values = vec![0f32; out.len()];
            part.read_values(parts, elements.clone(), &mut values)?;
            read.push(values);
        }
        let mut of_one = vec![0f32; read.len()];
        for (at, value) in out.iter_mut().enumerate() {
            for (one, values) in of_one.iter_mut().zip(&read) {
                *one = values[at];
            }
            *value = (self.value)(&of_one, half);
        }
        Ok(())
    }
}

fn rounded(x: f32, half: bool) -> f32 {
    if half { f16::from_f32(x).to_f32() } else { x }
}
