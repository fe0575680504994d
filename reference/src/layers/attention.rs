//! Self-attention with its projections.

use std::ops::Range;
use std::sync::Arc;

use crate::Result;
use crate::ops::{AttentionShape, Matrix, Norm, Rope, attend, attend_chosen, sigmoid};
use crate::run::{Part, Run};

use super::latent::{LatentQuery, copy_head};
use super::{BlockChoice, Input, Linear};

/// The matrices that make queries, keys and values.
#[derive(Clone, Debug)]
pub(crate) enum Projections {
    Separate {
        query: Linear,
        key: Linear,
        value: Linear,
    },
    /// One matrix: all queries, then all keys, then all values.
    Fused(Linear),
    /// Keys are values too.
    KeysAsValues { query: Linear, key: Linear },
    /// Keys and values are those of an earlier layer. Outputs beyond the queries are of no use.
    Borrowed { query: Linear },
    /// Keys and values out of a shorter vector, beside which a part of the keys stands that is rotated and that all
    /// heads share (PLM, MiniCPM 3).
    Compressed(Box<Compressed>),
    /// Each query head is followed by gates of its result: queries are twice as long.
    Gated(Box<Self>),
}

impl Projections {
    /// Queries of this length, keys and values.
    pub(super) fn apply(
        &self,
        run: &mut Run<'_>,
        x: &Matrix,
        shape: &AttentionShape,
        queries: usize,
    ) -> Result<[Matrix; 3]> {
        match self {
            Self::Separate { query, key, value } => {
                let mut x = Input::new(x);
                let q = query.forward_input(run, &mut x)?;
                let k = key.forward_input(run, &mut x)?;
                Ok([q, k, value.forward_input(run, &mut x)?])
            }
            Self::Fused(linear) => {
                let all = linear.forward(run, x)?;
                let (keys, values) = (shape.kv_heads * shape.key_len, shape.kv_heads * shape.value_len);
                let q = columns(run, &all, 0..queries);
                let k = columns(run, &all, queries..queries + keys);
                let v = columns(run, &all, queries + keys..queries + keys + values);
                run.scratch.give(all);
                Ok([q, k, v])
            }
            Self::KeysAsValues { query, key } => {
                let k = key.forward(run, x)?;
                let mut v = run.scratch.take(k.rows, k.cols);
                v.copy_from(&k);
                Ok([query.forward(run, x)?, k, v])
            }
            Self::Borrowed { query } => {
                let mut q = query.forward(run, x)?;
                if q.cols > queries {
                    let all = std::mem::take(&mut q);
                    q = columns(run, &all, 0..queries);
                    run.scratch.give(all);
                }
                Ok([q, Matrix::default(), Matrix::default()])
            }
            Self::Compressed(compressed) => compressed.project(run, x, shape),
            Self::Gated(plain) => plain.apply(run, x, shape, 2 * queries),
        }
    }
}

/// Some columns of a matrix.
fn columns(run: &mut Run<'_>, all: &Matrix, of: Range<usize>) -> Matrix {
    let mut out = run.scratch.take(all.rows, of.len());
    copy_head(all, of.start, &mut out, 0, of.len());
    out
}

/// See [`Projections::Compressed`]. The rotated part of a head comes last in the matrices, and first in what is made.
#[derive(Clone, Debug)]
pub(crate) struct Compressed {
    pub(crate) query: LatentQuery,
    /// To the shorter vector and, after it, the rotated part of the keys.
    pub(crate) down: Linear,
    pub(crate) norm: Norm,
    /// For each head its key without the rotated part, and its value.
    pub(crate) up: Linear,
    /// Elements of a head that are rotated.
    pub(crate) rotated: usize,
}

impl Compressed {
    fn project(&self, run: &mut Run<'_>, x: &Matrix, shape: &AttentionShape) -> Result<[Matrix; 3]> {
        let AttentionShape {
            heads,
            key_len,
            value_len,
            ..
        } = *shape;
        let (rotated, plain) = (self.rotated, key_len - self.rotated);
        let rank = self.norm.group;
        let (both, short) = self.query.forward(run, x)?;
        if let Some(short) = short {
            run.scratch.give(short);
        }
        let mut q = run.scratch.take(x.rows, heads * key_len);
        for head in 0..heads {
            let at = head * key_len;
            copy_head(&both, at + plain, &mut q, at, rotated);
            copy_head(&both, at, &mut q, at + rotated, plain);
        }
        run.scratch.give(both);
        let down = self.down.forward(run, x)?;
        let mut short = run.scratch.take(x.rows, rank);
        copy_head(&down, 0, &mut short, 0, rank);
        self.norm.apply(&mut short);
        let up = self.up.forward(run, &short)?;
        let mut k = run.scratch.take(x.rows, heads * key_len);
        let mut v = run.scratch.take(x.rows, heads * value_len);
        for head in 0..heads {
            let (from, to) = (head * (plain + value_len), head * key_len);
            copy_head(&down, rank, &mut k, to, rotated);
            copy_head(&up, from, &mut k, to + rotated, plain);
            copy_head(&up, from + plain, &mut v, head * value_len, value_len);
        }
        for m in [down, short, up] {
            run.scratch.give(m);
        }
        Ok([q, k, v])
    }
}

/// The function of gates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GateFunction {
    Sigmoid,
    /// `ln(1 + e^x)`
    Softplus,
}

/// Gates of what attention mixes, made of what it sees: one for each head, or one for each element.
#[derive(Clone, Debug)]
pub(crate) struct OutputGate {
    pub(crate) linear: Linear,
    pub(crate) function: GateFunction,
}

impl OutputGate {
    /// Multiplies `mixed` by the gates of `x`.
    pub(super) fn apply(&self, run: &mut Run<'_>, x: &Matrix, mixed: &mut Matrix) -> Result<()> {
        let mut gates = self.linear.forward(run, x)?;
        for g in &mut gates.data {
            *g = match self.function {
                GateFunction::Sigmoid => sigmoid(*g),
                GateFunction::Softplus if *g > SOFTPLUS_LINEAR => *g,
                GateFunction::Softplus => g.exp().ln_1p(),
            };
        }
        let shared = (mixed.cols / gates.cols.max(1)).max(1);
        for (xs, g) in mixed.data.chunks_exact_mut(shared).zip(&gates.data) {
            xs.iter_mut().for_each(|x| *x *= g);
        }
        run.scratch.give(gates);
        Ok(())
    }
}

/// Above this, softplus is its argument.
const SOFTPLUS_LINEAR: f32 = 20.0;

/// Causal self-attention.
#[derive(Clone, Debug)]
pub(crate) struct Attention {
    pub(crate) projections: Projections,
    pub(crate) output: Linear,
    /// Largest magnitude of queries, keys and values; what is beyond is cut.
    pub(crate) clamp: Option<f32>,
    /// Norms of the queries and keys (each head, or all of a row).
    pub(crate) query_norm: Option<Norm>,
    pub(crate) key_norm: Option<Norm>,
    pub(crate) value_norm: Option<Norm>,
    /// Norm of what heads mix, before the output matrix.
    pub(crate) mixed_norm: Option<Norm>,
    /// Slot in which keys and values are kept for later layers, or from which they are borrowed.
    pub(crate) slot: Option<usize>,
    /// Whether the norms of queries and keys come after the rotation instead of before it.
    pub(crate) norms_follow_rope: bool,
    /// Factor on the queries that grows with their position (Llama 4).
    pub(crate) query_scale: Option<QueryGrowth>,
    /// Rotation of queries and keys; `None` for layers without.
    pub(crate) rope: Option<Arc<Rope>>,
    pub(crate) shape: AttentionShape,
    pub(crate) gate: Option<OutputGate>,
    /// Choice of the keys that a query sees, where it does not see all.
    pub(crate) blocks: Option<Box<BlockChoice>>,
}

/// Growth of queries with the logarithm of the steps of `step` positions that lie before them, counted from position
/// `-first`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QueryGrowth {
    pub(crate) step: usize,
    pub(crate) first: usize,
    pub(crate) factor: f32,
}

impl QueryGrowth {
    /// Multiplies the queries of each position by its factor.
    pub(crate) fn apply(self, q: &mut Matrix, positions: &[usize]) {
        let Self { step, first, factor } = self;
        for (row, &position) in q.data.chunks_exact_mut(q.cols).zip(positions) {
            let steps = ((position + first) / step) as f32;
            let scale = (steps + 1.0).ln() * factor + 1.0;
            row.iter_mut().for_each(|x| *x *= scale);
        }
    }
}

impl Attention {
    /// Attention without norms, gates and anything else that only some architectures have.
    pub(crate) fn new(
        projections: Projections,
        output: Linear,
        rope: Option<Arc<Rope>>,
        shape: AttentionShape,
    ) -> Self {
        Self {
            projections,
            output,
            clamp: None,
            query_norm: None,
            key_norm: None,
            value_norm: None,
            mixed_norm: None,
            slot: None,
            norms_follow_rope: false,
            query_scale: None,
            rope,
            shape,
            gate: None,
            blocks: None,
        }
    }

    pub(crate) fn forward(&self, run: &mut Run<'_>, x: &Matrix) -> Result<Matrix> {
        // Keys that other layers borrow and choices of keys are made beside what is mixed.
        let mut mixed = match self.slot.is_none() && self.blocks.is_none() {
            true => run.once(Part::Input, &self.output.matrix.name, None, |run| {
                self.mixed(run, x)
            })?,
            false => self.mixed(run, x)?,
        };
        if let Some(gate) = &self.gate {
            gate.apply(run, x, &mut mixed)?;
        }
        if let Some(norm) = &self.mixed_norm {
            norm.apply(&mut mixed);
        }
        let out = self.output.forward(run, &mixed)?;
        run.scratch.give(mixed);
        Ok(out)
    }

    /// Queries, keys and values of the rows, normalized and rotated, and gates of the result where there are some.
    fn prepared(&self, run: &mut Run<'_>, x: &Matrix) -> Result<(Matrix, Matrix, Matrix, Option<Matrix>)> {
        let (mut q, mut k, mut v, gates) = self.project(run, x)?;
        if let Some(limit) = self.clamp {
            for m in [&mut q, &mut k, &mut v] {
                m.data.iter_mut().for_each(|x| *x = x.clamp(-limit, limit));
            }
        }
        if !self.norms_follow_rope {
            self.normalize(&mut q, &mut k);
        }
        if let Some(norm) = &self.value_norm {
            norm.apply(&mut v);
        }
        if let Some(rope) = &self.rope {
            rope.apply(&mut q, self.shape.key_len, &run.positions, &run.windows);
            if !self.borrows() {
                rope.apply(&mut k, self.shape.key_len, &run.positions, &run.windows);
            }
        }
        if self.norms_follow_rope {
            self.normalize(&mut q, &mut k);
        }
        if let Some(growth) = self.query_scale {
            growth.apply(&mut q, &run.positions);
        }
        Ok((q, k, v, gates))
    }

    /// Whether keys and values are another layer's.
    pub(crate) fn borrows(&self) -> bool {
        matches!(self.projections, Projections::Borrowed { .. })
    }

    /// The keys and values of the rows, as other layers borrow them. A layer that borrows has none.
    pub(crate) fn lent(&self, run: &mut Run<'_>, x: &Matrix) -> Result<(Matrix, Matrix)> {
        let (q, mut k, mut v, _) = self.prepared(run, x)?;
        run.scratch.give(q);
        run.rounding.cached(&mut k);
        run.rounding.cached(&mut v);
        Ok((k, v))
    }

    /// Output of the heads for the rows.
    fn mixed(&self, run: &mut Run<'_>, x: &Matrix) -> Result<Matrix> {
        let (mut q, mut k, mut v, gates) = self.prepared(run, x)?;
        let borrows = self.borrows();
        match self
            .slot
            .and_then(|slot| run.kept.get_mut(slot))
            .filter(|_| borrows)
        {
            Some(kept) => (k, v) = std::mem::take(kept),
            // An encoder has no cache, and biases keep llama.cpp from flash attention, which would round them too.
            None if self.shape.relative.is_some() && !self.shape.causal => {}
            None => {
                if self.shape.relative.is_some() {
                    // The plain product with keys in half precision has queries in it too.
                    run.rounding.cached(&mut q);
                }
                run.rounding.cached(&mut k);
                run.rounding.cached(&mut v);
            }
        }
        let mut mixed = run.scratch.take(x.rows, self.shape.heads * self.shape.value_len);
        let chosen = match &self.blocks {
            Some(blocks) => blocks.choose(run, x)?,
            None => None,
        };
        match chosen {
            None => attend(&q, &k, &v, &mut mixed, &run.windows, &self.shape, run.products),
            Some(chosen) => attend_chosen(&q, &k, &v, &mut mixed, &chosen, &self.shape),
        }
        run.scratch.give(q);
        match self.slot.and_then(|slot| run.kept.get_mut(slot)) {
            Some(kept) => *kept = (k, v),
            None => {
                run.scratch.give(k);
                run.scratch.give(v);
            }
        }
        if let Some(gates) = gates {
            for (x, g) in mixed.data.iter_mut().zip(&gates.data) {
                *x *= sigmoid(*g);
            }
            run.scratch.give(gates);
        }
        Ok(mixed)
    }

    fn normalize(&self, q: &mut Matrix, k: &mut Matrix) {
        if let Some(norm) = &self.query_norm {
            norm.apply(q);
        }
        if let Some(norm) = &self.key_norm {
            norm.apply(k);
        }
    }

    /// Queries, keys, values and, where there are some, gates of the result.
    fn project(&self, run: &mut Run<'_>, x: &Matrix) -> Result<(Matrix, Matrix, Matrix, Option<Matrix>)> {
        let AttentionShape { heads, key_len, .. } = self.shape;
        let [all, k, v] = self.projections.apply(run, x, &self.shape, heads * key_len)?;
        if !matches!(self.projections, Projections::Gated(_)) {
            return Ok((all, k, v, None));
        }
        let mut q = run.scratch.take(x.rows, heads * key_len);
        let mut gates = run.scratch.take(x.rows, heads * key_len);
        for head in 0..heads {
            let (from, to) = (2 * head * key_len, head * key_len);
            copy_head(&all, from, &mut q, to, key_len);
            copy_head(&all, from + key_len, &mut gates, to, key_len);
        }
        run.scratch.give(all);
        Ok((q, k, v, Some(gates)))
    }

    /// Intermediate results, in numbers for each token.
    pub(crate) fn width(&self) -> usize {
        self.shape.width()
    }
}
