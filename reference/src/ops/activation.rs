//! Activation functions of feed-forward layers.

use rayon::prelude::*;

use super::exp;
use crate::wide::wide;

/// Elements a thread takes at a time.
const BLOCK: usize = 16 * 1024;

/// The nonlinearity of a feed-forward layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Activation {
    /// x / (1 + e^-x)
    Silu,
    /// x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) / 2
    Gelu,
    /// x (1 + erf(x / sqrt(2))) / 2
    GeluErf,
    /// max(x, 0)
    Relu,
    /// max(x, 0)^2
    SquaredRelu,
    /// SiLU of x cut at this; what it gates is cut at this and its negative.
    SiluCut(f32),
    /// SiLU cut at this; what it gates is cut at this and its negative.
    SiluThenCut(f32),
    /// GPT-OSS: x / (1 + e^(-1.702 x)) with x cut at 7; what it gates is cut at 7 and -7, plus one.
    SwigluOai,
    /// Apertus.
    Xielu(Xielu),
    /// Kimi K3.
    Situ(Situ),
}

/// The numbers of SiTU: `beta tanh(x / beta)` times the logistic function of x; what it gates is
/// `linear tanh(x / linear)`, and as it is where `linear` is not above zero.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Situ {
    pub(crate) beta: f32,
    pub(crate) linear: f32,
}

/// `limit tanh(x / limit)`, which goes no further than the limit.
#[inline(always)]
fn bent(x: f32, limit: f32) -> f32 {
    limit * (x / limit).tanh()
}

impl Situ {
    #[inline(always)]
    fn of(self, x: f32) -> f32 {
        bent(x, self.beta) / (1.0 + exp(-x))
    }
}

/// The numbers of xIELU: above zero `above x^2 + beta x`, below `below (e^min(x, eps) - 1 - x) + beta x`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Xielu {
    pub(crate) below: f32,
    pub(crate) above: f32,
    pub(crate) beta: f32,
    pub(crate) eps: f32,
}

impl Xielu {
    fn of(self, x: f32) -> f32 {
        let curve = match x > 0.0 {
            true => self.above * x * x,
            false => self.below * (x.min(self.eps).exp_m1() - x),
        };
        curve + self.beta * x
    }
}

/// The error function by formula 7.1.26 of Abramowitz and Stegun's handbook; off by at most 2e-7.
#[inline(always)]
fn erf(x: f32) -> f32 {
    let a = x.abs();
    let t = 1.0 / (1.0 + 0.327_591_1 * a);
    let series =
        ((((1.061_405_4 * t - 1.453_152_1) * t + 1.421_413_8) * t - 0.284_496_74) * t + 0.254_829_6) * t;
    (1.0 - series * exp(-a * a)).copysign(x)
}

#[inline(always)]
fn gelu_erf(x: f32) -> f32 {
    0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2))
}

#[inline(always)]
fn swiglu_oai(x: f32) -> f32 {
    let x = x.min(7.0);
    x / (1.0 + exp(-1.702 * x))
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

impl Activation {
    /// The function's value and its slope; `None` of those that the backward pass does not know.
    pub(crate) fn with_slope(self, x: f32) -> Option<(f32, f32)> {
        let logistic = |y: f32| 1.0 / (1.0 + exp(-y));
        Some(match self {
            Self::Silu => {
                let s = logistic(x);
                (x * s, s * (1.0 + x * (1.0 - s)))
            }
            Self::Gelu => {
                let s = logistic(1.595_769 * (x + 0.044_715 * x * x * x));
                let inner = 1.595_769 * (1.0 + 3.0 * 0.044_715 * x * x);
                (x * s, s + x * s * (1.0 - s) * inner)
            }
            Self::GeluErf => {
                let below = 0.5 * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2));
                // The density of the normal distribution: 1/sqrt(2 pi) e^(-x^2/2).
                (x * below, below + x * 0.398_942_3 * exp(-0.5 * x * x))
            }
            Self::Relu => (x.max(0.0), if x > 0.0 { 1.0 } else { 0.0 }),
            Self::SquaredRelu => (x.max(0.0) * x.max(0.0), 2.0 * x.max(0.0)),
            Self::SiluCut(_) | Self::SiluThenCut(_) | Self::SwigluOai | Self::Xielu(_) | Self::Situ(_) => {
                return None;
            }
        })
    }
}

/// `up[i] *= activation(gate[i])`, the gated feed-forward layer's product.
pub(crate) fn gate(activation: Activation, gate: &[f32], up: &mut [f32]) {
    match activation {
        Activation::Silu => pairs(gate, up, silu),
        Activation::Gelu => pairs(gate, up, gelu),
        Activation::GeluErf => pairs(gate, up, gelu_erf),
        Activation::Relu => pairs(gate, up, |x| x.max(0.0)),
        Activation::SquaredRelu => pairs(gate, up, |x| x.max(0.0) * x.max(0.0)),
        Activation::SiluCut(limit) => {
            up.iter_mut().for_each(|x| *x = x.clamp(-limit, limit));
            pairs(gate, up, |x| silu(x.min(limit)));
        }
        Activation::SiluThenCut(limit) => {
            up.iter_mut().for_each(|x| *x = x.clamp(-limit, limit));
            pairs(gate, up, |x| silu(x).min(limit));
        }
        Activation::SwigluOai => {
            up.iter_mut().for_each(|x| *x = x.clamp(-7.0, 7.0) + 1.0);
            pairs(gate, up, swiglu_oai);
        }
        Activation::Xielu(xielu) => pairs(gate, up, |x| xielu.of(x)),
        Activation::Situ(situ) => {
            if situ.linear > 0.0 {
                up.iter_mut().for_each(|x| *x = bent(*x, situ.linear));
            }
            pairs(gate, up, |x| situ.of(x));
        }
    }
}

/// `x[i] = activation(x[i])`, for feed-forward layers without a gate.
pub(crate) fn activate(activation: Activation, x: &mut [f32]) {
    match activation {
        Activation::Silu => all(x, silu),
        Activation::Gelu => all(x, gelu),
        Activation::GeluErf => all(x, gelu_erf),
        Activation::Relu => all(x, |x| x.max(0.0)),
        Activation::SquaredRelu => all(x, |x| x.max(0.0) * x.max(0.0)),
        Activation::SiluCut(limit) => all(x, |x| silu(x.min(limit))),
        Activation::SiluThenCut(limit) => all(x, |x| silu(x).min(limit)),
        Activation::SwigluOai => all(x, swiglu_oai),
        Activation::Xielu(xielu) => x
            .par_chunks_mut(BLOCK)
            .for_each(|x| x.iter_mut().for_each(|x| *x = xielu.of(*x))),
        Activation::Situ(situ) => all(x, |x| situ.of(x)),
    }
}

fn all(x: &mut [f32], f: impl Fn(f32) -> f32 + Sync) {
    x.par_chunks_mut(BLOCK).for_each(|x| {
        wide(
            #[inline(always)]
            || x.iter_mut().for_each(|x| *x = f(*x)),
        );
    });
}

fn pairs(gate: &[f32], up: &mut [f32], f: impl Fn(f32) -> f32 + Sync) {
    up.par_chunks_mut(BLOCK)
        .zip(gate.par_chunks(BLOCK))
        .for_each(|(up, gate)| {
            wide(
                #[inline(always)]
                || up.iter_mut().zip(gate).for_each(|(u, g)| *u *= f(*g)),
            );
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

    /// 1.5 tanh(2 / 1.5) / (1 + e^-2) * 2 tanh(3 / 2), and 3 as it is without a limit.
    #[test]
    fn situ_bends_gates_and_what_they_gate() {
        let value = |linear: f32| {
            let mut up = [3.0];
            gate(Activation::Situ(Situ { beta: 1.5, linear }), &[2.0], &mut up);
            up[0]
        };
        let bend = 1.5 * (2.0f64 / 1.5).tanh() / (1.0 + (-2.0f64).exp());
        for (linear, expected) in [(2.0, bend * 2.0 * 1.5f64.tanh()), (0.0, bend * 3.0)] {
            assert!((f64::from(value(linear)) - expected).abs() < 1e-5, "{linear}");
        }
    }

    #[test]
    fn activations_without_a_gate() {
        let mut x = vec![-2.0, 0.0, 3.0];
        activate(Activation::SquaredRelu, &mut x);
        assert_eq!(x, [0.0, 0.0, 9.0]);
        // Values of the error function from the same handbook's table 7.1.
        for (at, value) in [(0.5, 0.520_499_9), (1.0, 0.842_700_8), (2.0, 0.995_322_3)] {
            assert!((erf(at) - value).abs() < 3e-7 && (erf(-at) + value).abs() < 3e-7);
        }
    }

    #[test]
    fn slopes_are_those_of_the_functions() {
        for activation in [
            Activation::Silu,
            Activation::Gelu,
            Activation::GeluErf,
            Activation::Relu,
            Activation::SquaredRelu,
        ] {
            for i in -60..60 {
                let x = i as f32 * 0.1 + 0.03;
                let at = |x: f32| {
                    let mut y = [x];
                    activate(activation, &mut y);
                    f64::from(y[0])
                };
                let (value, slope) = activation.with_slope(x).unwrap();
                assert!((f64::from(value) - at(x)).abs() < 1e-5);
                let measured = (at(x + 1e-2) - at(x - 1e-2)) / f64::from((x + 1e-2) - (x - 1e-2));
                assert!(
                    (f64::from(slope) - measured).abs() < 2e-3,
                    "{activation:?} {x}: {slope} {measured}"
                );
            }
        }
    }

    #[test]
    fn the_gate_multiplies() {
        let mut up = vec![2.0, 3.0];
        gate(Activation::Silu, &[0.0, 100.0], &mut up);
        assert_eq!(up, [0.0, 300.0]);
    }
}
