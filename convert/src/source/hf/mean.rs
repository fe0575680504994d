//! Tensors of which every element depends on the mean of all: BitNet's ternary weights, biases less their mean.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use half::f16;

use super::element::Element;
use super::layout::Layout;
use super::parts::Parts;
use crate::Result;

/// Elements that are read at a time for the mean.
const STEP: u64 = 1 << 18;
/// The least mean that weights are divided by.
const LEAST: f32 = 1e-5;

/// The function of an element and the mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Of {
    /// -1, 0 or 1 times the mean of all magnitudes: the nearest.
    Magnitudes,
    /// The element less the mean, both in the type that the tensor is stored in.
    Elements,
}

/// A stored tensor, and what is computed with its mean, which is found when the first row is read.
///
/// PyTorch adds up in an order that depends on the machine's instruction set and its number of threads. Here the mean is
/// rounded once, correctly.
#[derive(Clone, Debug)]
pub(super) struct Mean {
    layout: Layout,
    elements: u64,
    of: Of,
    found: Arc<Mutex<Option<f32>>>,
}

impl Mean {
    pub(super) fn new(layout: Layout, elements: u64, of: Of) -> Self {
        Self {
            layout,
            elements,
            of,
            found: Arc::default(),
        }
    }

    /// The values of a range of elements that begins and ends with units.
    pub(super) fn read_values(&self, parts: &Parts, elements: Range<u64>, out: &mut [f32]) -> Result<()> {
        let mean = self.mean(parts)?;
        self.layout.read_values(parts, elements, out)?;
        let element = self.layout.element;
        match self.of {
            Of::Magnitudes => {
                // In PyTorch's steps: the scale is inverted twice.
                let inverse = 1.0 / mean.max(LEAST);
                for x in out {
                    *x = (*x * inverse).round_ties_even().clamp(-1.0, 1.0) / inverse;
                    // Other short types are widened before.
                    if element == Element::F16 {
                        *x = f16::from_f32(*x).to_f32();
                    }
                }
            }
            Of::Elements => {
                let mean = element.rounded(mean);
                out.iter_mut().for_each(|x| *x = element.rounded(*x - mean));
            }
        }
        Ok(())
    }

    fn mean(&self, parts: &Parts) -> Result<f32> {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mean) = *found {
            return Ok(mean);
        }
        let unit = self.layout.unit_len.max(1);
        let step = (STEP / unit).max(1) * unit;
        let mut sum = Sum::default();
        let mut values = Vec::new();
        for start in (0..self.elements).step_by(usize::try_from(step).unwrap_or(usize::MAX)) {
            let end = (start + step).min(self.elements);
            values.resize((end - start) as usize, 0f32);
            self.layout.read_values(parts, start..end, &mut values)?;
            for &x in &values {
                sum.add(f64::from(if self.of == Of::Magnitudes { x.abs() } else { x }));
            }
        }
        let mean = (sum.total() / self.elements as f64) as f32;
        *found = Some(mean);
        Ok(mean)
    }
}

/// A sum with what its rounding loses kept beside it (Neumaier).
#[derive(Default)]
struct Sum {
    sum: f64,
    lost: f64,
}

impl Sum {
    fn add(&mut self, x: f64) {
        let total = self.sum + x;
        self.lost += if self.sum.abs() >= x.abs() {
            (self.sum - total) + x
        } else {
            (x - total) + self.sum
        };
        self.sum = total;
    }

    fn total(&self) -> f64 {
        self.sum + self.lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost_of_a_sum() {
        let mut sum = Sum::default();
        for x in [1.0, 1e100, 1.0, -1e100] {
            sum.add(x);
        }
        assert_eq!(sum.total(), 2.0);
    }
}
