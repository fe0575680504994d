//! Self-attention backwards.

use std::ops::Range;

use rayon::prelude::*;

use super::{Pass, unknown};
use crate::Result;
use crate::layers::{Attention, Projections};
use crate::ops::{AttentionShape, Matrix, Parallel, Products, View, ViewMut, attend};

impl Attention {
    /// A part that the backward pass does not know.
    pub(super) fn without_backward(&self) -> Option<String> {
        let part = match &self.projections {
            Projections::Separate { .. } | Projections::Fused(_) => {
                if self.slot.is_some() {
                    "keys and values shared by layers"
                } else if self.mixed_norm.is_some() {
                    "norms before the output matrix"
                } else if self.gate.is_some() {
                    "gates of attention"
                } else if self.blocks.is_some() {
                    "a choice of keys"
                } else {
                    return None;
                }
            }
            _ => "this kind of attention",
        };
        Some(part.to_owned())
    }
}

/// Queries, keys and values at the steps of their making.
struct Made {
    /// As the projections make them, cut where that is done.
    projected: [Matrix; 3],
    /// Queries and keys before a norm that follows the rotation.
    rotated: [Matrix; 2],
    /// As attention sees them.
    seen: [Matrix; 3],
}

impl Pass<'_, '_> {
    /// The gradient with respect to the layer's input `x`.
    pub(super) fn attention(&mut self, layer: &Attention, x: &Matrix, gradient: &Matrix) -> Result<Matrix> {
        let raw = self.projected(layer, x)?;
        let made = self.made(layer, &raw);
        let mixed_before = match self.tap.sees_weights() {
            true => self.attended(layer, &made),
            false => Matrix::default(),
        };
        let at_mixed = self.linear(&layer.output, &mixed_before, gradient)?;
        let [mut q, mut k, mut v] = mixed(
            &made.seen,
            &at_mixed,
            &self.run.windows,
            &layer.shape,
            self.run.products,
        );
        if let Some(growth) = layer.query_scale {
            growth.apply(&mut q, &self.run.positions);
        }
        let norms = [&layer.query_norm, &layer.key_norm];
        if layer.norms_follow_rope {
            self.some_norm(norms[0], &made.rotated[0], &mut q);
            self.some_norm(norms[1], &made.rotated[1], &mut k);
        }
        if let Some(rope) = &layer.rope {
            for g in [&mut q, &mut k] {
                rope.apply_transposed(g, layer.shape.key_len, &self.run.positions, &self.run.windows);
            }
        }
        if !layer.norms_follow_rope {
            self.some_norm(norms[0], &made.projected[0], &mut q);
            self.some_norm(norms[1], &made.projected[1], &mut k);
        }
        self.some_norm(&layer.value_norm, &made.projected[2], &mut v);
        if let Some(limit) = layer.clamp {
            for (g, raw) in [&mut q, &mut k, &mut v].into_iter().zip(&raw) {
                for (g, x) in g.data.iter_mut().zip(&raw.data) {
                    if x.abs() > limit {
                        *g = 0.0;
                    }
                }
            }
        }
        match &layer.projections {
            Projections::Separate { query, key, value } => {
                let mut out = self.linear(query, x, &q)?;
                out.add(&self.linear(key, x, &k)?);
                out.add(&self.linear(value, x, &v)?);
                Ok(out)
            }
            Projections::Fused(all) => {
                let mut together = self.run.scratch.take(x.rows, q.cols + k.cols + v.cols);
                let cols = together.cols;
                let mut first = 0;
                for part in [&q, &k, &v] {
                    let rows = together.data.chunks_exact_mut(cols);
                    for (to, from) in rows.zip(part.data.chunks_exact(part.cols)) {
                        to[first..first + part.cols].copy_from_slice(from);
                    }
                    first += part.cols;
                }
                self.linear(all, x, &together)
            }
            _ => Err(unknown("this kind of attention")),
        }
    }

    /// The values mixed by attention, the input of the output matrix.
    fn attended(&mut self, layer: &Attention, made: &Made) -> Matrix {
        let [q, k, v] = &made.seen;
        let mut mixed = self
            .run
            .scratch
            .take(q.rows, layer.shape.heads * layer.shape.value_len);
        attend(
            q,
            k,
            v,
            &mut mixed,
            &self.run.windows,
            &layer.shape,
            self.run.products,
        );
        mixed
    }

    /// Output of the projections.
    fn projected(&mut self, layer: &Attention, x: &Matrix) -> Result<[Matrix; 3]> {
        let AttentionShape {
            heads,
            kv_heads,
            key_len,
            value_len,
            ..
        } = layer.shape;
        match &layer.projections {
            Projections::Separate { query, key, value } => {
                let mut make = |linear: &crate::layers::Linear| {
                    linear.forward_range(&mut self.run, x, 0..linear.matrix.outputs)
                };
                Ok([make(query)?, make(key)?, make(value)?])
            }
            Projections::Fused(linear) => {
                let all = linear.forward_range(&mut self.run, x, 0..linear.matrix.outputs)?;
                let mut first = 0;
                Ok(
                    [heads * key_len, kv_heads * key_len, kv_heads * value_len].map(|cols| {
                        let rows = all.data.chunks_exact(all.cols);
                        let part = rows.flat_map(|row| &row[first..first + cols]).copied().collect();
                        first += cols;
                        Matrix {
                            rows: all.rows,
                            cols,
                            data: part,
                        }
                    }),
                )
            }
            _ => Err(unknown("this kind of attention")),
        }
    }

    /// The way from the projections to what attention sees, as [`Attention::forward`] goes it.
    fn made(&self, layer: &Attention, raw: &[Matrix; 3]) -> Made {
        let run = &self.run;
        let mut projected = raw.clone();
        if let Some(limit) = layer.clamp {
            for m in &mut projected {
                m.data.iter_mut().for_each(|x| *x = x.clamp(-limit, limit));
            }
        }
        let [mut q, mut k, mut v] = projected.clone();
        let normalize = |q: &mut Matrix, k: &mut Matrix| {
            for (norm, m) in [(&layer.query_norm, q), (&layer.key_norm, k)] {
                if let Some(norm) = norm {
                    norm.apply(m);
                }
            }
        };
        if !layer.norms_follow_rope {
            normalize(&mut q, &mut k);
        }
        if let Some(norm) = &layer.value_norm {
            norm.apply(&mut v);
        }
        if let Some(rope) = &layer.rope {
            rope.apply(&mut q, layer.shape.key_len, &run.positions, &run.windows);
            rope.apply(&mut k, layer.shape.key_len, &run.positions, &run.windows);
        }
        let rotated = match layer.norms_follow_rope {
            true => [q.clone(), k.clone()],
            false => Default::default(),
        };
        if layer.norms_follow_rope {
            normalize(&mut q, &mut k);
        }
        if let Some(growth) = layer.query_scale {
            growth.apply(&mut q, &run.positions);
        }
        Made {
            projected,
            rotated,
            seen: [q, k, v],
        }
    }
}

/// The gradients with respect to queries, keys and values, from that with respect to what attention mixes of them.
fn mixed(
    seen: &[Matrix; 3],
    gradient: &Matrix,
    windows: &[Range<usize>],
    shape: &AttentionShape,
    products: Products,
) -> [Matrix; 3] {
    let mut out = seen.each_ref().map(|m| Matrix {
        rows: m.rows,
        cols: m.cols,
        data: vec![0.0; m.data.len()],
    });
    let jobs: Vec<(&Range<usize>, usize)> = windows
        .iter()
        .flat_map(|window| (0..shape.kv_heads).map(move |head| (window, head)))
        .collect();
    let parts: Vec<[Matrix; 3]> = jobs
        .par_iter()
        .map(|(window, head)| heads_of(seen, gradient, window, *head, shape, products))
        .collect();
    let group = shape.heads / shape.kv_heads;
    let widths = [group * shape.key_len, shape.key_len, shape.value_len];
    for ((window, head), parts) in jobs.into_iter().zip(parts) {
        for ((out, part), width) in out.iter_mut().zip(parts).zip(widths) {
            let rows = out.data[window.start * out.cols..].chunks_exact_mut(out.cols);
            for (to, from) in rows.zip(part.data.chunks_exact(width)) {
                to[head * width..(head + 1) * width].copy_from_slice(from);
            }
        }
    }
    out
}

/// The gradients of all query heads that share a key head, inside a window.
fn heads_of(
    [q, k, v]: &[Matrix; 3],
    gradient: &Matrix,
    window: &Range<usize>,
    kv: usize,
    shape: &AttentionShape,
    products: Products,
) -> [Matrix; 3] {
    let &AttentionShape {
        heads,
        kv_heads,
        key_len,
        value_len,
        scale,
        softcap,
        ..
    } = shape;
    let (n, group) = (window.len(), heads / kv_heads);
    let empty = |cols: usize| Matrix {
        rows: n,
        cols,
        data: vec![0.0; n * cols],
    };
    let part = |m: &'_ Matrix, head: usize, len: usize| -> Matrix {
        let rows = m.data[window.start * m.cols..window.end * m.cols].chunks_exact(m.cols);
        Matrix {
            rows: n,
            cols: len,
            data: rows
                .flat_map(|row| &row[head * len..(head + 1) * len])
                .copied()
                .collect(),
        }
    };
    let (k, v) = (part(k, kv, key_len), part(v, kv, value_len));
    let (mut at_q, mut at_k, mut at_v) = (empty(group * key_len), empty(key_len), empty(value_len));
    let (mut scores, mut slopes) = (empty(n), empty(n));
    let multiply = |out: &mut Matrix, lhs: View<'_>, rhs: View<'_>, factor: f32| {
        let (rows, cols) = (out.rows, out.cols);
        products.multiply(
            ViewMut::rows(&mut out.data, rows, cols),
            lhs,
            rhs,
            factor,
            Parallel::No,
        );
    };
    for member in 0..group {
        let head = kv * group + member;
        let (q, g) = (part(q, head, key_len), part(gradient, head, value_len));
        multiply(&mut scores, q.view(), k.view().transposed(), scale);
        let raw = softcap.map(|_| scores.data.clone());
        for (row, scores) in scores.data.chunks_exact_mut(n).enumerate() {
            shape.weigh(scores, window, window.start + row, window.start, head);
        }
        let mut of_head = empty(value_len);
        multiply(&mut of_head, scores.view().transposed(), g.view(), 1.0);
        at_v.add(&of_head);
        multiply(&mut slopes, g.view(), v.view().transposed(), 1.0);
        for (p, s) in scores.data.chunks_exact(n).zip(slopes.data.chunks_exact_mut(n)) {
            let mean: f64 = p
                .iter()
                .zip(&*s)
                .map(|(p, s)| f64::from(*p) * f64::from(*s))
                .sum();
            for (s, p) in s.iter_mut().zip(p) {
                *s = p * (*s - mean as f32);
            }
        }
        if let (Some(cap), Some(raw)) = (softcap, raw) {
            for (s, raw) in slopes.data.iter_mut().zip(raw) {
                let tanh = (raw / cap).tanh();
                *s *= 1.0 - tanh * tanh;
            }
        }
        let mut of_head = empty(key_len);
        multiply(&mut of_head, slopes.view(), k.view(), scale);
        for (to, from) in at_q
            .data
            .chunks_exact_mut(group * key_len)
            .zip(of_head.data.chunks_exact(key_len))
        {
            to[member * key_len..(member + 1) * key_len].copy_from_slice(from);
        }
        multiply(&mut of_head, slopes.view().transposed(), q.view(), scale);
        at_k.add(&of_head);
    }
    [at_q, at_k, at_v]
}
