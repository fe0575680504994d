//! Activation functions of feed-forward layers.

use rayon::prelude::*;

use super::exp;

/// Elements a thread takes at a time.
const BLOCK: usize = 16 * 1024;

/// The nonlinearity of a feed-forward layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Activation {
    /// x / (1 + e^-x)
    Silu,
    /// x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) / 2
    Gelu,
}

#[inline(always)]
fn silu(x: f32) -> f32 {
    x / (1.0 + exp(-x))
}

/// (1 + tanh y) / 2 is the logistic function of 2y.
#[inline(always)]
fn gelu(x: f32) -> f32 {
    let y = 1.595_769 * (x + 0.044_715 * x * x * x);
    x / (1.0 + exp(-y))
}

/// `up[i] *= activation(gate[i])`, the gated feed-forward layer's product.
pub(crate) fn gate(activation: Activation, gate: &[f32], up: &mut [f32]) {
    match activation {
        Activation::Silu => pairs(gate, up, silu),
        Activation::Gelu => pairs(gate, up, gelu),
    }
}

fn pairs(gate: &[f32], up: &mut [f32], f: impl Fn(f32) -> f32 + Sync) {
    up.par_chunks_mut(BLOCK)
        .zip(gate.par_chunks(BLOCK))
        .for_each(|(up, gate)| {
            for (u, g) in up.iter_mut().zip(gate) {
                *u *= f(*g);
            }
        });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silu_and_gelu_equal_their_definitions() {
        for i in -4000..4000 {
            let x = i as f32 * 0.01;
            let exact = f64::from(x);
            let s = exact / (1.0 + (-exact).exp());
            assert!(
                (f64::from(silu(x)) - s).abs() <= 1e-6 * s.abs().max(1e-6),
                "silu {x}"
            );
            let g = 0.5
                * exact
                * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (exact + 0.044715 * exact.powi(3))).tanh());
            assert!(
                (f64::from(gelu(x)) - g).abs() <= 2e-6 * g.abs().max(1.0),
                "gelu {x}"
            );
        }
        assert_eq!(silu(-1e4), -0.0);
    }

    #[test]
    fn the_gate_multiplies() {
        let mut up = vec![2.0, 3.0];
        gate(Activation::Silu, &[0.0, 100.0], &mut up);
        assert_eq!(up, [0.0, 300.0]);
    }
}
