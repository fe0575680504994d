//! Norms backwards.

use super::Pass;
use super::linear::sums;
use crate::ops::{Matrix, Norm, NormKind};

impl Pass<'_, '_> {
    /// The gradient with respect to a norm's input `x`.
    pub(super) fn norm(&mut self, norm: &Norm, x: &Matrix, gradient: &Matrix) -> Matrix {
        if self.tap.sees_weights()
            && let Some(tensor) = &norm.tensor
        {
            if !norm.weight.is_empty() {
                let mut products = x.clone();
                norm.bare().apply(&mut products);
                for (x, g) in products.data.iter_mut().zip(&gradient.data) {
                    *x *= g;
                }
                self.tap.vector(tensor, &sums(&products, norm.weight.len()));
            }
            if !norm.bias.is_empty() {
                let base = tensor.strip_suffix(".weight").unwrap_or(tensor);
                self.tap
                    .vector(&format!("{base}.bias"), &sums(gradient, norm.bias.len()));
            }
        }
        backward(norm, x, gradient)
    }

    /// The same in place, where there is a norm.
    pub(super) fn some_norm(&mut self, norm: &Option<Norm>, x: &Matrix, gradient: &mut Matrix) {
        if let Some(norm) = norm {
            *gradient = self.norm(norm, x, gradient);
        }
    }
}

/// The gradient with respect to a norm's input `x`.
fn backward(norm: &Norm, x: &Matrix, gradient: &Matrix) -> Matrix {
    let mut out = gradient.clone();
    // Weights of several groups take turns.
    for (row, x) in out.data.chunks_exact_mut(x.cols).zip(x.data.chunks_exact(x.cols)) {
        if !norm.weight.is_empty() {
            for (g, w) in row.iter_mut().zip(norm.weight.iter().cycle()) {
                *g *= w;
            }
        }
        for (g, x) in row.chunks_exact_mut(norm.group).zip(x.chunks_exact(norm.group)) {
            group(norm, x, g);
        }
    }
    out
}

/// Of one group; `g` is the gradient before the weights, and becomes that with respect to `x`.
fn group(norm: &Norm, x: &[f32], g: &mut [f32]) {
    let n = x.len() as f64;
    let sum = |values: &mut dyn Iterator<Item = f64>| values.sum::<f64>();
    let mean = match norm.kind {
        NormKind::Rms => 0.0,
        NormKind::Layer => sum(&mut x.iter().map(|&x| f64::from(x))) / n,
    };
    let squares = sum(&mut x.iter().map(|&x| (f64::from(x) - mean).powi(2))) / n;
    let scale = 1.0 / (squares + f64::from(norm.eps)).sqrt();
    let along = sum(&mut x
        .iter()
        .zip(&*g)
        .map(|(&x, &g)| (f64::from(x) - mean) * f64::from(g)));
    let shift = match norm.kind {
        NormKind::Rms => 0.0,
        NormKind::Layer => sum(&mut g.iter().map(|&g| f64::from(g))) / n,
    };
    let factor = along * scale * scale / n;
    for (g, &x) in g.iter_mut().zip(x) {
        *g = (scale * (f64::from(*g) - shift - (f64::from(x) - mean) * factor)) as f32;
    }
}
