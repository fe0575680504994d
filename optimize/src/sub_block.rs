//! The choice of a sub-block's scale and minimum by what its levels can then make of it.
//!
//! Rounding column by column with feedback is greedy: what a scale is worth shows only once all columns are rounded with
//! it. So several pairs of scale and minimum are tried side by side, one in each lane, and the best is taken.

use crate::block::{Block, Format, Grid, ROUND, stored};
use crate::factor::factor;
use crate::metric::{Metric, spans};
use crate::points::inverse;
use crate::points::{Group, Points};

/// Pairs that are tried at a time.
pub(crate) const LANES: usize = 16;

/// A number in each lane.
type Lanes = [f32; LANES];

/// The metric inside every sub-block by itself, for choosing one again while all others stay.
#[derive(Debug)]
pub(crate) struct Corners {
    size: usize,
    weights: Vec<f32>,
    feedback: Vec<f32>,
    inverses: Vec<f32>,
}

/// The corners of the sub-blocks from some column on.
pub(crate) struct Near<'a> {
    weights: &'a [f32],
    feedback: &'a [f32],
    inverses: &'a [f32],
}

impl Corners {
    /// `None` when one of them is singular.
    pub(crate) fn new(metric: &Metric, size: usize) -> Option<Self> {
        let mut corners = Self {
            size,
            weights: Vec::with_capacity(metric.columns),
            feedback: Vec::with_capacity(metric.columns * size),
            inverses: Vec::with_capacity(metric.columns * size),
        };
        for (span, near) in spans(metric.columns).zip(&metric.near_hessian) {
            let width = span.len();
            for at in (0..width).step_by(size) {
                let corner: Vec<f32> = (at..at + size)
                    .flat_map(|i| &near[i * width + at..][..size])
                    .copied()
                    .collect();
                corners.add(&corner)?;
            }
        }
        Some(corners)
    }

    fn add(&mut self, corner: &[f32]) -> Option<()> {
        let n = self.size;
        let m = factor(corner, n)?;
        self.weights
            .extend((0..n).map(|i| (m[i * n + i] * m[i * n + i]) as f32));
        for i in 0..n {
            self.feedback
                .extend((0..n).map(|j| (m[i * n + j] / m[j * n + j]) as f32));
        }
        // The columns of the inverse of M, which is upper triangular, and their products.
        let mut columns = vec![0.0f64; n * n];
        for c in 0..n {
            let column = &mut columns[c * n..][..n];
            for i in (0..=c).rev() {
                let known: f64 = (i + 1..=c).map(|k| m[i * n + k] * column[k]).sum();
                column[i] = (f64::from(u8::from(i == c)) - known) / m[i * n + i];
            }
        }
        // H⁻¹ = M⁻ᵀ M⁻¹.
        for i in 0..n {
            for j in 0..n {
                let sum: f64 = (0..n).map(|k| columns[i * n + k] * columns[j * n + k]).sum();
                self.inverses.push(sum as f32);
            }
        }
        Some(())
    }

    /// Those from a column on, where a sub-block begins.
    pub(crate) fn from(&self, column: usize) -> Near<'_> {
        Near {
            weights: &self.weights[column..],
            feedback: &self.feedback[column * self.size..],
            inverses: &self.inverses[column * self.size..],
        }
    }
}

impl Near<'_> {
    /// Weights, feedback and inverse of sub-block `s`.
    #[inline(always)]
    pub(crate) fn of<const S: usize>(&self, s: usize) -> (&[f32; S], &[f32], &[f32]) {
        let square = s * S * S..(s + 1) * S * S;
        (
            &self.weights.as_chunks::<S>().0[s],
            &self.feedback[square.clone()],
            &self.inverses[square],
        )
    }
}

/// Target of a sub-block of `S` columns: errors e = row − value cost Σ (r_j)² weight_j, where r is what is left
/// of the targets, which the errors of the columns before have shifted.
pub(crate) struct Wanted<'a, const S: usize> {
    pub(crate) row: &'a [f32; S],
    pub(crate) target: &'a [f32; S],
    pub(crate) weights: &'a [f32; S],
    /// Addend of the error of column i to the target of column j > i: at `i * stride + j`. Empty where there is none.
    pub(crate) feedback: &'a [f32],
    pub(crate) stride: usize,
}

/// Pairs of scale and minimum to try: the numbers that stand in the block, and what they are worth.
struct Candidates {
    codes: [(f32, f32); LANES],
    d: Lanes,
    dmin: Lanes,
    scales: Lanes,
    mins: Lanes,
}

/// Steps of `d` between candidates where the block has no other scale.
const STEP: f32 = 0.008;

impl Candidates {
    /// Neighbours of what the sub-block has; that itself is the first.
    #[inline(always)]
    fn new(format: &Format, block: &Block, s: usize) -> Self {
        let (scale, min) = (block.scales[s], block.mins[s]);
        let mut codes = [(scale, min); LANES];
        let mut d = [block.d; LANES];
        if format.has_sub_scales() && format.has_sub_mins() {
            for (lane, code) in codes[1..].iter_mut().enumerate() {
                *code = (scale + (lane % 3) as f32 - 1.0, min + (lane / 3) as f32 - 2.0);
            }
        } else if format.has_sub_scales() {
            for (lane, code) in codes[1..].iter_mut().enumerate() {
                code.0 = scale + (lane as f32 - 7.0) * format.step;
            }
        } else {
            for (lane, d) in d[1..].iter_mut().enumerate() {
                *d = stored(f64::from(block.d * (1.0 + (lane as f32 - 7.0) * STEP)), block.d);
            }
        }
        for code in &mut codes {
            code.0 = code.0.clamp(format.scales.0, format.scales.1);
            code.1 = code.1.clamp(format.mins.0, format.mins.1);
        }
        let dmin = [block.dmin; LANES];
        Self {
            codes,
            d,
            dmin,
            scales: std::array::from_fn(|lane| d[lane] * codes[lane].0),
            mins: std::array::from_fn(|lane| dmin[lane] * codes[lane].1),
        }
    }
}

/// Chooses scale, minimum and levels of sub-block `s`.
#[inline(always)]
pub(crate) fn choose<const S: usize>(format: &Format, block: &mut Block, s: usize, wanted: &Wanted<'_, S>) {
    match format.grid {
        Grid::Points(points) if points.codebook.dimensions == 4 => {
            choose_points::<S, 4>(points, format, block, s, wanted);
        }
        Grid::Points(points) => choose_points::<S, 8>(points, format, block, s, wanted),
        _ => choose_levels(format, block, s, wanted),
    }
}

/// The same for points of a codebook, with the neighbours of the scale.
#[inline(always)]
fn choose_points<const S: usize, const D: usize>(
    points: &Points,
    format: &Format,
    block: &mut Block,
    s: usize,
    wanted: &Wanted<'_, S>,
) {
    let now = block.scales[s];
    let mut least = f32::INFINITY;
    for code in [now, now - format.step, now + format.step] {
        if code < format.scales.0 || code > format.scales.1 {
            continue;
        }
        let scale = block.d * code;
        let mut target = *wanted.target;
        let mut levels = [0.0; S];
        let mut cost = 0.0;
        let mut odd = false;
        for g in (0..S).step_by(D) {
            // The last group of eight weights makes up for the parity of the others.
            let last = (g + D).is_multiple_of(8);
            let row: &[f32; D] = wanted.row[g..].first_chunk().expect("a group");
            let group = Group {
                row,
                target: target[g..].first_chunk().expect("a group"),
                weights: wanted.weights[g..].first_chunk().expect("a group"),
                feedback: wanted.feedback.get(g * wanted.stride + g..).unwrap_or_default(),
                stride: wanted.stride,
            };
            let parity = (points.codebook.even && last).then_some(odd);
            let (chosen, its) = points.choose::<D>(&group, scale, parity);
            cost += its;
            let negative = chosen.iter().filter(|level| **level < 0.0).count() % 2 == 1;
            odd = !last && (odd != negative);
            for i in 0..D {
                levels[g + i] = chosen[i];
                if wanted.feedback.is_empty() {
                    continue;
                }
                let error = row[i] - scale * chosen[i];
                let factors = &wanted.feedback[(g + i) * wanted.stride..][..S];
                for j in g + D..S {
                    target[j] += error * factors[j];
                }
            }
        }
        if cost < least {
            least = cost;
            block.scales[s] = code;
            block.levels.as_chunks_mut::<S>().0[s] = levels;
        }
    }
}

/// The same for levels that are chosen one by one.
#[inline(always)]
fn choose_levels<const S: usize>(format: &Format, block: &mut Block, s: usize, wanted: &Wanted<'_, S>) {
    let candidates = Candidates::new(format, block, s);
    let inverses: Lanes = candidates.scales.map(inverse);
    let mut targets: [Lanes; S] = wanted.target.map(|t| [t; LANES]);
    let mut levels = [[0.0; LANES]; S];
    let mut costs = [0.0; LANES];
    for i in 0..S {
        let mut scaled = [0.0; LANES];
        for lane in 0..LANES {
            scaled[lane] = (targets[i][lane] + candidates.mins[lane]) * inverses[lane];
        }
        nearest(&format.grid, &scaled, &mut levels[i]);
        let mut errors = [0.0; LANES];
        for lane in 0..LANES {
            let value = candidates.scales[lane] * levels[i][lane] - candidates.mins[lane];
            let left = targets[i][lane] - value;
            costs[lane] += wanted.weights[i] * left * left;
            errors[lane] = wanted.row[i] - value;
        }
        if wanted.feedback.is_empty() {
            continue;
        }
        for (j, factor) in wanted.feedback[i * wanted.stride..][..S]
            .iter()
            .enumerate()
            .skip(i + 1)
        {
            for lane in 0..LANES {
                targets[j][lane] += errors[lane] * factor;
            }
        }
    }
    let mut best = 0;
    for lane in 1..LANES {
        if costs[lane] < costs[best] {
            best = lane;
        }
    }
    (block.scales[s], block.mins[s]) = candidates.codes[best];
    if !format.has_sub_scales() {
        (block.d, block.dmin) = (candidates.d[best], candidates.dmin[best]);
    }
    for (level, lanes) in block.levels.as_chunks_mut::<S>().0[s].iter_mut().zip(&levels) {
        *level = lanes[best];
    }
}

#[inline(always)]
fn nearest(grid: &Grid, scaled: &Lanes, levels: &mut Lanes) {
    match grid {
        Grid::Whole { first, last } => {
            for lane in 0..LANES {
                levels[lane] = (scaled[lane].max(*first).min(*last) + ROUND) - ROUND;
            }
        }
        Grid::Table {
            lowest,
            middles,
            steps,
        } => {
            *levels = [*lowest; LANES];
            for (middle, step) in middles.iter().zip(steps) {
                for lane in 0..LANES {
                    levels[lane] += if scaled[lane] >= *middle { *step } else { 0.0 };
                }
            }
        }
        Grid::Points(_) => {}
    }
}
