//! Rows of a stored matrix that have gone through linear layers, which are folded into it.

use std::ops::Range;

use half::f16;

use super::element::Element;
use super::layout::Layout;
use super::parts::Parts;
use crate::Result;

/// Rows, and the layers that they go through.
#[derive(Clone, Debug)]
pub(super) struct Through {
    input: Layout,
    width: u64,
    layers: Vec<Linear>,
}

/// A linear layer with the function behind it.
#[derive(Clone, Debug)]
pub(super) struct Linear {
    pub(super) weight: Layout,
    pub(super) bias: Option<Layout>,
    pub(super) inputs: u64,
    pub(super) outputs: u64,
    pub(super) activation: Option<fn(f32) -> f32>,
}

impl Through {
    /// `width` is that of a row of the input.
    pub(super) fn new(input: Layout, width: u64, layers: Vec<Linear>) -> Self {
        Self { input, width, layers }
    }

    /// The values of whole rows. PyTorch adds up in an order that depends on the machine; here sums are rounded once, from
    /// double precision.
    pub(super) fn read_values(&self, parts: &Parts, rows: &Range<u64>, out: &mut [f32]) -> Result<()> {
        let count = (rows.end - rows.start) as usize;
        let half = self.input.element == Element::F16;
        let mut x = vec![0f32; count * self.width as usize];
        self.input
            .read_values(parts, rows.start * self.width..rows.end * self.width, &mut x)?;
        for layer in &self.layers {
            x = layer.forward(parts, &x, count, half)?;
        }
        out.copy_from_slice(&x);
        Ok(())
    }
}

impl Linear {
    fn forward(&self, parts: &Parts, x: &[f32], count: usize, half: bool) -> Result<Vec<f32>> {
        let (inputs, outputs) = (self.inputs as usize, self.outputs as usize);
        let mut stored = vec![0f32; inputs * outputs];
        self.weight
            .read_values(parts, 0..self.inputs * self.outputs, &mut stored)?;
        // By inputs, so that the inner loop goes over neighbouring outputs.
        let mut weight = vec![0f32; inputs * outputs];
        for (output, row) in stored.chunks_exact(inputs).enumerate() {
            for (input, w) in row.iter().enumerate() {
                weight[input * outputs + output] = *w;
            }
        }
        let mut bias = vec![0f32; outputs];
        if let Some(layout) = &self.bias {
            layout.read_values(parts, 0..self.outputs, &mut bias)?;
        }
        let mut made = vec![0f32; count * outputs];
        let mut sums = vec![0f64; outputs];
        for (x, y) in x.chunks_exact(inputs).zip(made.chunks_exact_mut(outputs)) {
            sums.fill(0.0);
            for (x, row) in x.iter().zip(weight.chunks_exact(outputs)) {
                for (sum, w) in sums.iter_mut().zip(row) {
                    *sum += f64::from(*x) * f64::from(*w);
                }
            }
            for ((y, sum), b) in y.iter_mut().zip(&sums).zip(&bias) {
                let rounded = |x: f32| if half { f16::from_f32(x).to_f32() } else { x };
                let sum = rounded((sum + f64::from(*b)) as f32);
                *y = self.activation.map_or(sum, |activation| rounded(activation(sum)));
            }
        }
        Ok(made)
    }
}
