//! RWKV's layers, versions 6 ("Eagle and Finch", 2024) and 7 ("Goose", 2025): mixtures of a token and the one before
//! it, and states that are matrices.

use crate::Result;
use crate::ops::{Activation, Matrix, Norm, WkvDelta, activate, exp, sigmoid, wkv_bonus, wkv_delta};
use crate::run::Run;

use super::latent::copy_head;
use super::{ExpertLinear, Linear};

/// For each row what must be added to arrive at the row before it in its window; zeros stand before a window.
fn to_previous(run: &mut Run<'_>, x: &Matrix) -> Matrix {
    let mut out = run.scratch.take(x.rows, x.cols);
    for window in &run.windows {
        for row in window.clone() {
            let (now, before) = (row * x.cols, row.wrapping_sub(1).wrapping_mul(x.cols));
            for col in 0..x.cols {
                let previous = if row == window.start {
                    0.0
                } else {
                    x.data[before + col]
                };
                out.data[now + col] = previous - x.data[now + col];
            }
        }
    }
    out
}

/// `x + step * share`, where the share has one number for each column.
fn mixed(run: &mut Run<'_>, x: &Matrix, step: &Matrix, share: &[f32]) -> Matrix {
    let mut out = run.scratch.take(x.rows, x.cols);
    let rows = x.data.chunks_exact(x.cols).zip(step.data.chunks_exact(x.cols));
    for (out, (x, step)) in out.data.chunks_exact_mut(x.cols).zip(rows) {
        for (((out, x), step), share) in out.iter_mut().zip(x).zip(step).zip(share) {
            *out = x + step * share;
        }
    }
    out
}

fn tanh(x: &mut Matrix) {
    x.data.iter_mut().for_each(|x| *x = x.tanh());
}

/// Two matrices of low rank, one after the other.
#[derive(Clone, Debug)]
pub(crate) struct LowRank {
    pub(crate) down: Linear,
    pub(crate) up: Linear,
}

impl LowRank {
    fn forward(&self, run: &mut Run<'_>, x: &Matrix, between: fn(&mut Matrix)) -> Result<Matrix> {
        let mut inner = self.down.forward(run, x)?;
        between(&mut inner);
        let out = self.up.forward(run, &inner)?;
        run.scratch.give(inner);
        Ok(out)
    }
}

/// The first half of a layer of RWKV 6.
#[derive(Clone, Debug)]
pub(crate) struct TimeMix6 {
    /// The share of the token before in what the other shares are made from.
    pub(crate) share: Vec<f32>,
    /// The shares of the token before in what w, k, v, r and g are made from, one after the other.
    pub(crate) shares: Vec<f32>,
    pub(crate) share_down: Linear,
    /// A matrix for each of the five.
    pub(crate) share_up: ExpertLinear,
    pub(crate) decay: Vec<f32>,
    pub(crate) decay_rank: LowRank,
    /// Bonus of the current token over those before it; `None` in Qwen 2's shape, where keys are less what decays of
    /// them, and gates have another function.
    pub(crate) first: Option<Vec<f32>>,
    pub(crate) key: Linear,
    pub(crate) value: Linear,
    pub(crate) receptance: Linear,
    pub(crate) gate: Linear,
    /// Of each head.
    pub(crate) norm: Option<Norm>,
    pub(crate) output: Linear,
    pub(crate) head_len: usize,
}

/// Each head of `head_len` as often as others share it.
fn repeated(run: &mut Run<'_>, x: Matrix, head_len: usize, cols: usize) -> Matrix {
    if x.cols == cols {
        return x;
    }
    let times = cols / x.cols.max(1);
    let mut out = run.scratch.take(x.rows, cols);
    let heads = out.data.chunks_exact_mut(head_len * times);
    for (to, from) in heads.zip(x.data.chunks_exact(head_len)) {
        to.chunks_exact_mut(head_len)
            .for_each(|head| head.copy_from_slice(from));
    }
    run.scratch.give(x);
    out
}

impl TimeMix6 {
    pub(crate) fn forward(&self, run: &mut Run<'_>, x: &Matrix) -> Result<Matrix> {
        let step = to_previous(run, x);
        let input = mixed(run, x, &step, &self.share);
        let mut made = self.share_down.forward(run, &input)?;
        run.scratch.give(input);
        tanh(&mut made);
        let rank = made.cols / 5;
        let mut inputs = Vec::with_capacity(5);
        for (number, fixed) in self.shares.chunks_exact(x.cols).enumerate() {
            let mut part = run.scratch.take(x.rows, rank);
            copy_head(&made, number * rank, &mut part, 0, rank);
            let mut share = self.share_up.forward(run, number, &part)?;
            share.add_to_rows(fixed);
            for ((share, step), x) in share.data.iter_mut().zip(&step.data).zip(&x.data) {
                *share = *share * step + x;
            }
            run.scratch.give(part);
            inputs.push(share);
        }
        let [xw, xk, xv, xr, xg] = &inputs[..] else {
            unreachable!("five shares were loaded")
        };
        let mut r = self.receptance.forward(run, xr)?;
        let k = self.key.forward(run, xk)?;
        let v = self.value.forward(run, xv)?;
        let mut k = repeated(run, k, self.head_len, x.cols);
        let v = repeated(run, v, self.head_len, x.cols);
        let mut g = self.gate.forward(run, xg)?;
        let mut w = self.decay_rank.forward(run, xw, tanh)?;
        w.add_to_rows(&self.decay);
        w.data.iter_mut().for_each(|w| *w = exp(-exp(*w)));
        if self.first.is_none() {
            k.data.iter_mut().zip(&w.data).for_each(|(k, w)| *k -= *k * w);
            r.scale(1.0 / (self.head_len as f32).sqrt());
        }
        let mut y = run.scratch.take(x.rows, x.cols);
        let first = self.first.as_deref();
        wkv_bonus(&r, &k, &v, &w, first, self.head_len, &mut y, &run.windows);
        if let Some(norm) = &self.norm {
            norm.apply(&mut y);
        }
        match self.first {
            Some(_) => activate(Activation::Silu, &mut g.data),
            None => g.data.iter_mut().for_each(|g| *g = sigmoid(*g)),
        }
        y.data.iter_mut().zip(&g.data).for_each(|(y, g)| *y *= g);
        let out = self.output.forward(run, &y)?;
        for m in inputs.into_iter().chain([step, made, r, k, v, g, w, y]) {
            run.scratch.give(m);
        }
        Ok(out)
    }

    pub(crate) fn width(&self) -> usize {
        14 * self.output.matrix.outputs + self.share_down.matrix.outputs
    }
}

/// The first half of a layer of RWKV 7.
#[derive(Clone, Debug)]
pub(crate) struct TimeMix7 {
    /// The shares of the token before in what r, w, k, v, a and g are made from, one after the other.
    pub(crate) shares: Vec<f32>,
    pub(crate) receptance: Linear,
    pub(crate) key: Linear,
    pub(crate) value: Linear,
    pub(crate) decay: Vec<f32>,
    pub(crate) decay_rank: LowRank,
    /// Share of the first layer's values; `None` in the first layer.
    pub(crate) value_mix: Option<(Vec<f32>, LowRank)>,
    /// Learning rate of the state.
    pub(crate) rate: Vec<f32>,
    pub(crate) rate_rank: LowRank,
    /// There may be none in Qwen 2's shape.
    pub(crate) gate_rank: Option<LowRank>,
    pub(crate) key_scale: Vec<f32>,
    pub(crate) key_rate: Vec<f32>,
    pub(crate) bonus: Vec<f32>,
    /// Of each head.
    pub(crate) norm: Option<Norm>,
    pub(crate) output: Linear,
    pub(crate) head_len: usize,
}

/// The logarithm of the strongest decay: minus the square root of 1/e, as llama.cpp has it.
const STRONGEST_DECAY: f32 = -0.606_531;

impl TimeMix7 {
    pub(crate) fn forward(&self, run: &mut Run<'_>, x: &Matrix) -> Result<Matrix> {
        let step = to_previous(run, x);
        let mut inputs = Vec::with_capacity(6);
        for share in self.shares.chunks_exact(x.cols) {
            inputs.push(mixed(run, x, &step, share));
        }
        let [xr, xw, xk, xv, xa, rest @ ..] = &inputs[..] else {
            unreachable!("five or six shares were loaded")
        };
        let r = self.receptance.forward(run, xr)?;
        let mut w = self.decay_rank.forward(run, xw, tanh)?;
        w.add_to_rows(&self.decay);
        w.data
            .iter_mut()
            .for_each(|w| *w = exp(sigmoid(*w) * STRONGEST_DECAY));
        let mut k = self.key.forward(run, xk)?;
        let mut v = self.value.forward(run, xv)?;
        self.mix_values(run, xv, &mut v)?;
        let g = match (&self.gate_rank, rest.first()) {
            (Some(rank), Some(xg)) => Some(rank.forward(run, xg, |m| {
                m.data.iter_mut().for_each(|x| *x = sigmoid(*x));
            })?),
            _ => None,
        };
        let mut a = self.rate_rank.forward(run, xa, |_| ())?;
        a.add_to_rows(&self.rate);
        a.data.iter_mut().for_each(|a| *a = sigmoid(*a));

        let mut away = run.scratch.take(x.rows, x.cols);
        let mut back = run.scratch.take(x.rows, x.cols);
        self.replaced(&mut k, &a, &mut away, &mut back);
        let mut y = run.scratch.take(x.rows, x.cols);
        let operands = WkvDelta {
            r: &r,
            w: &w,
            k: &k,
            v: &v,
            away: &away,
            back: &back,
        };
        wkv_delta(&operands, self.head_len, &mut y, &run.windows);
        if let Some(norm) = &self.norm {
            norm.apply(&mut y);
        }
        self.add_bonus(&r, &k, &v, &mut y);
        if let Some(g) = g {
            y.data.iter_mut().zip(&g.data).for_each(|(y, g)| *y *= g);
            run.scratch.give(g);
        }
        let out = self.output.forward(run, &y)?;
        for m in inputs.into_iter().chain([step, r, w, k, v, a, away, back, y]) {
            run.scratch.give(m);
        }
        Ok(out)
    }

    /// The direction that is taken out of the state, and what is put in its place; keys at the rate `a`.
    fn replaced(&self, k: &mut Matrix, a: &Matrix, away: &mut Matrix, back: &mut Matrix) {
        for row in 0..a.rows {
            let range = row * a.cols..(row + 1) * a.cols;
            let (k, a) = (&mut k.data[range.clone()], &a.data[range.clone()]);
            let (away, back) = (&mut away.data[range.clone()], &mut back.data[range]);
            for ((away, k), scale) in away.iter_mut().zip(&*k).zip(&self.key_scale) {
                *away = k * scale;
            }
            for head in away.chunks_exact_mut(self.head_len) {
                let length = head.iter().map(|x| x * x).sum::<f32>().sqrt();
                let factor = 1.0 / length.max(1e-12);
                head.iter_mut().for_each(|x| *x *= factor);
            }
            for (((away, back), k), (a, rate)) in
                away.iter_mut().zip(back).zip(k).zip(a.iter().zip(&self.key_rate))
            {
                *back = *away * a;
                *away = -*away;
                let rated = *k * rate;
                *k += a * rated - rated;
            }
        }
    }

    /// Adds each token's values, by how well its keys fit its own receptance.
    fn add_bonus(&self, r: &Matrix, k: &Matrix, v: &Matrix, y: &mut Matrix) {
        let heads = y.cols / self.head_len;
        for (at, y) in y.data.chunks_exact_mut(self.head_len).enumerate() {
            let range = at * self.head_len..(at + 1) * self.head_len;
            let bonus = &self.bonus[at % heads * self.head_len..][..self.head_len];
            let products = k.data[range.clone()]
                .iter()
                .zip(&r.data[range.clone()])
                .zip(bonus);
            let sum: f32 = products.map(|((k, r), b)| k * r * b).sum();
            y.iter_mut().zip(&v.data[range]).for_each(|(y, v)| *y += v * sum);
        }
    }

    /// Takes a share of the first layer's values, or keeps them where this is the first layer.
    fn mix_values(&self, run: &mut Run<'_>, xv: &Matrix, v: &mut Matrix) -> Result<()> {
        let Some((share, rank)) = &self.value_mix else {
            run.first_values.clone_from(&v.data);
            return Ok(());
        };
        let mut made = rank.forward(run, xv, |_| ())?;
        made.add_to_rows(share);
        for ((v, first), share) in v.data.iter_mut().zip(&run.first_values).zip(&made.data) {
            *v += (first - *v) * sigmoid(*share);
        }
        run.scratch.give(made);
        Ok(())
    }

    pub(crate) fn width(&self) -> usize {
        18 * self.output.matrix.outputs
    }
}

/// The second half of a layer, which sees the token before too.
#[derive(Clone, Debug)]
pub(crate) struct ChannelMix {
    pub(crate) key_share: Vec<f32>,
    pub(crate) key: Linear,
    pub(crate) value: Linear,
    /// The share and the matrix of a gate (RWKV 6).
    pub(crate) receptance: Option<(Vec<f32>, Linear)>,
}

impl ChannelMix {
    pub(crate) fn forward(&self, run: &mut Run<'_>, x: &Matrix) -> Result<Matrix> {
        let step = to_previous(run, x);
        let xk = mixed(run, x, &step, &self.key_share);
        let mut k = self.key.forward(run, &xk)?;
        activate(Activation::SquaredRelu, &mut k.data);
        let mut out = self.value.forward(run, &k)?;
        if let Some((share, matrix)) = &self.receptance {
            let xr = mixed(run, x, &step, share);
            let r = matrix.forward(run, &xr)?;
            out.data
                .iter_mut()
                .zip(&r.data)
                .for_each(|(x, r)| *x *= sigmoid(*r));
            run.scratch.give(xr);
            run.scratch.give(r);
        }
        for m in [step, xk, k] {
            run.scratch.give(m);
        }
        Ok(out)
    }

    pub(crate) fn width(&self) -> usize {
        self.key.matrix.outputs + 5 * self.value.matrix.outputs
    }
}
