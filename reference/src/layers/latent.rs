//! Multi-head latent attention ("DeepSeek-V2", 2024).

use std::sync::Arc;

use crate::Result;
use crate::ops::{AttentionShape, Matrix, Norm, Rope, attend, attend_chosen};
use crate::run::Run;

use super::{Chooser, ExpertLinear, Linear, OutputGate, QueryGrowth};

/// Projection of queries.
#[derive(Clone, Debug)]
pub(crate) enum LatentQuery {
    Direct(Linear),
    /// By way of a short vector.
    Compressed {
        down: Linear,
        norm: Box<Norm>,
        up: Linear,
    },
}

impl LatentQuery {
    /// The queries, and the short vectors where there are some.
    pub(super) fn forward(&self, run: &mut Run<'_>, x: &Matrix) -> Result<(Matrix, Option<Matrix>)> {
        match self {
            Self::Direct(linear) => Ok((linear.forward(run, x)?, None)),
            Self::Compressed { down, norm, up } => {
                let mut short = down.forward(run, x)?;
                norm.apply(&mut short);
                Ok((up.forward(run, &short)?, Some(short)))
            }
        }
    }
}

/// Attention on short vectors instead of keys and values: the matrices that would make keys and values of them
/// are applied to the queries and to the results, head by head.
#[derive(Clone, Debug)]
pub(crate) struct LatentAttention {
    pub(crate) query: LatentQuery,
    /// Makes the short vector and the rotated part of the key, which all heads share.
    pub(crate) compress: Linear,
    pub(crate) norm: Norm,
    /// Norm of the rotated part of the key, before the rotation.
    pub(crate) rotated_norm: Option<Norm>,
    /// For each head, from the query's part without rotation to the short vector.
    pub(crate) key_up: ExpertLinear,
    /// For each head, from the short vector to its value.
    pub(crate) value_up: ExpertLinear,
    pub(crate) output: Linear,
    /// Choice of the keys that a query sees, where it does not see all.
    pub(crate) chooser: Chooser,
    /// `None`: nothing is rotated.
    pub(crate) rope: Option<Arc<Rope>>,
    pub(crate) heads: usize,
    /// Elements of a head's key without rotation, and those that are rotated.
    pub(crate) plain: usize,
    pub(crate) rotated: usize,
    pub(crate) rank: usize,
    pub(crate) value_len: usize,
    pub(crate) scale: f32,
    /// Growth of the queries with their position (Mistral Large 3).
    pub(crate) growth: Option<QueryGrowth>,
    pub(crate) gate: Option<OutputGate>,
    /// Number of latest keys that a query sees.
    pub(crate) window: Option<usize>,
    /// One score for each head that takes part in the softmax and has no value.
    pub(crate) sinks: Option<Arc<[f32]>>,
}

impl LatentAttention {
    pub(crate) fn forward(&self, run: &mut Run<'_>, x: &Matrix) -> Result<Matrix> {
        let &Self {
            heads,
            plain,
            rotated,
            rank,
            value_len,
            ..
        } = self;
        let (all, short) = self.queries(run, x)?;
        match &self.chooser {
            Chooser::None => run.chosen = None,
            Chooser::Own(indexer) => indexer.choose(run, short.as_ref().unwrap_or(x), x)?,
            Chooser::OfBlocks(chooser) => {
                run.chosen = chooser.keys_of_blocks(run, short.as_ref().unwrap_or(x), x)?;
            }
            Chooser::OfTheLayerBefore => {}
        }
        if let Some(short) = short {
            run.scratch.give(short);
        }
        let key_len = rank + rotated;
        let mut q = run.scratch.take(x.rows, heads * key_len);
        let mut turned = run.scratch.take(x.rows, heads * rotated);
        copy_parts(&all, plain + rotated, plain, &mut turned, rotated, 0, rotated);
        self.turn(run, &mut turned);
        copy_parts(&turned, rotated, 0, &mut q, key_len, rank, rotated);
        for head in 0..heads {
            let mut mine = run.scratch.take(x.rows, plain);
            copy_head(&all, head * (plain + rotated), &mut mine, 0, plain);
            let absorbed = self.key_up.forward(run, head, &mine)?;
            copy_head(&absorbed, 0, &mut q, head * key_len, rank);
            run.scratch.give(mine);
            run.scratch.give(absorbed);
        }
        run.scratch.give(all);
        run.scratch.give(turned);
        if let Some(growth) = self.growth {
            growth.apply(&mut q, &run.positions);
        }

        let (mut k, mut values) = self.keys(run, x)?;
        run.rounding.cached(&mut k);
        run.rounding.cached(&mut values);
        let shape = AttentionShape {
            window: self.window,
            sinks: self.sinks.clone(),
            ..AttentionShape::plain(heads, 1, key_len, rank, self.scale)
        };
        let mut mixed = run.scratch.take(x.rows, heads * rank);
        match &run.chosen {
            None => attend(&q, &k, &values, &mut mixed, &run.windows, &shape, run.products),
            Some(chosen) => attend_chosen(&q, &k, &values, &mut mixed, chosen, &shape),
        }
        for m in [q, k, values] {
            run.scratch.give(m);
        }
        let mut out = run.scratch.take(x.rows, heads * value_len);
        for head in 0..heads {
            let mut mine = run.scratch.take(x.rows, rank);
            copy_head(&mixed, head * rank, &mut mine, 0, rank);
            let value = self.value_up.forward(run, head, &mine)?;
            copy_head(&value, 0, &mut out, head * value_len, value_len);
            run.scratch.give(mine);
            run.scratch.give(value);
        }
        run.scratch.give(mixed);
        if let Some(gate) = &self.gate {
            gate.apply(run, x, &mut out)?;
        }
        let result = self.output.forward(run, &out)?;
        run.scratch.give(out);
        Ok(result)
    }

    /// The keys, which are the short vectors and the rotated part, and the short vectors alone.
    fn keys(&self, run: &mut Run<'_>, x: &Matrix) -> Result<(Matrix, Matrix)> {
        let &Self { rank, rotated, .. } = self;
        let key_len = rank + rotated;
        let compressed = self.compress.forward(run, x)?;
        let mut values = run.scratch.take(x.rows, rank);
        copy_head(&compressed, 0, &mut values, 0, rank);
        self.norm.apply(&mut values);
        let mut turned = run.scratch.take(x.rows, rotated);
        copy_head(&compressed, rank, &mut turned, 0, rotated);
        if let Some(norm) = &self.rotated_norm {
            norm.apply(&mut turned);
        }
        self.turn(run, &mut turned);
        let mut k = run.scratch.take(x.rows, key_len);
        copy_head(&values, 0, &mut k, 0, rank);
        copy_head(&turned, 0, &mut k, rank, rotated);
        run.scratch.give(compressed);
        run.scratch.give(turned);
        Ok((k, values))
    }

    fn turn(&self, run: &Run<'_>, x: &mut Matrix) {
        if let Some(rope) = &self.rope {
            rope.apply(x, self.rotated, &run.positions, &run.windows);
        }
    }

    /// The queries, and the short vectors that they are made from where they are.
    fn queries(&self, run: &mut Run<'_>, x: &Matrix) -> Result<(Matrix, Option<Matrix>)> {
        self.query.forward(run, x)
    }

    pub(crate) fn width(&self) -> usize {
        let head = self.plain + 3 * self.rotated + 2 * self.rank + self.value_len;
        self.heads * head + 3 * (self.rank + self.rotated)
    }
}

/// Copies `len` columns, from column `from_col` to column `to_col`.
pub(super) fn copy_head(from: &Matrix, from_col: usize, to: &mut Matrix, to_col: usize, len: usize) {
    if len == 0 {
        return;
    }
    let rows = from.data.chunks_exact(from.cols);
    for (to, from) in to.data.chunks_exact_mut(to.cols).zip(rows) {
        to[to_col..to_col + len].copy_from_slice(&from[from_col..from_col + len]);
    }
}

/// The same in every head of `from_len` and `to_len` columns.
pub(super) fn copy_parts(
    from: &Matrix,
    from_len: usize,
    from_col: usize,
    to: &mut Matrix,
    to_len: usize,
    to_col: usize,
    len: usize,
) {
    if len == 0 {
        return;
    }
    for head in 0..from.cols / from_len {
        copy_head(from, head * from_len + from_col, to, head * to_len + to_col, len);
    }
}
