//! Refinement of a block under the whole metric: whatever lowers E = Σ e_i H_ij e_j is taken.

use crate::block::{Block, Format, inverse, solve, stored};

/// Steps that a scale or a minimum of a sub-block moves at most.
const STEPS: f32 = 2.0;

/// Refines the block at column `first` of a span. `errors` are the span's w − ŵ, `gradients` H times the errors of the
/// whole row, and both are kept up to date; `near` is H inside the span.
#[inline(always)]
pub(crate) fn block(
    format: &Format,
    block: &mut Block,
    errors: &mut [f32],
    gradients: &mut [f32],
    near: &[f32],
    first: usize,
) {
    let mut state = State {
        errors,
        gradients,
        near,
        first,
    };
    for s in 0..format.layout.sub_blocks() {
        if format.has_sub_scales() {
            move_scale(format, block, &mut state, s);
        }
        if format.has_sub_mins() {
            move_min(format, block, &mut state, s);
        }
    }
    move_levels(format, block, &mut state);
    fit_block(format, block, &mut state);
}

struct State<'a> {
    errors: &'a mut [f32],
    gradients: &'a mut [f32],
    near: &'a [f32],
    first: usize,
}

impl State<'_> {
    /// Takes over a change of the value in a column of the block.
    #[inline(always)]
    fn change(&mut self, i: usize, change: f32) {
        let width = self.gradients.len();
        let column = self.first + i;
        self.errors[column] -= change;
        let row = &self.near[column * width..][..width];
        for (g, h) in self.gradients.iter_mut().zip(row) {
            *g -= change * h;
        }
    }

    /// Σ v_i g_i and Σ v_i H_ij v_j over some columns of the block.
    #[inline(always)]
    fn moments(&self, from: usize, v: &[f32]) -> (f32, f32) {
        let width = self.gradients.len();
        let at = self.first + from;
        let mut linear = 0.0;
        let mut quadratic = 0.0;
        for (i, x) in v.iter().enumerate() {
            linear += x * self.gradients[at + i];
            let row = &self.near[(at + i) * width + at..][..v.len()];
            quadratic += x * dot(v, row);
        }
        (linear, quadratic)
    }
}

/// A sum of products with eight partial sums. Both are as long, a multiple of eight.
#[inline(always)]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0f32; 8];
    for (a, b) in a.as_chunks::<8>().0.iter().zip(b.as_chunks::<8>().0) {
        for i in 0..8 {
            sums[i] += a[i] * b[i];
        }
    }
    let half: [f32; 4] = std::array::from_fn(|i| sums[i] + sums[4 + i]);
    (half[0] + half[2]) + (half[1] + half[3])
}

/// Whole steps that lower the error most: that of a change by x steps is x² `quadratic` − 2 x `linear`.
#[inline(always)]
fn steps((linear, quadratic): (f32, f32), now: f32, (low, high): (f32, f32)) -> f32 {
    if quadratic > 0.0 {
        let best = (linear / quadratic).clamp(-STEPS, STEPS).round_ties_even();
        best.clamp(low - now, high - now)
    } else {
        0.0
    }
}

#[inline(always)]
fn move_scale(format: &Format, block: &mut Block, state: &mut State<'_>, s: usize) {
    let size = format.layout.sub_block;
    let from = s * size;
    let mut v = [0.0; 32];
    let v = &mut v[..size];
    for (v, level) in v.iter_mut().zip(&block.levels[from..]) {
        *v = block.d * level;
    }
    let moments = state.moments(from, v);
    let by = steps(moments, block.scales[s], format.scales);
    if by == 0.0 || 2.0 * by * moments.0 <= by * by * moments.1 {
        return;
    }
    let before = block.clone();
    block.scales[s] += by;
    for i in from..from + size {
        let level = block.levels[i];
        state.change(i, block.value(s, level) - before.value(s, level));
    }
}

#[inline(always)]
fn move_min(format: &Format, block: &mut Block, state: &mut State<'_>, s: usize) {
    let size = format.layout.sub_block;
    let from = s * size;
    let v = [-block.dmin; 32];
    let moments = state.moments(from, &v[..size]);
    let by = steps(moments, block.mins[s], format.mins);
    if by == 0.0 || 2.0 * by * moments.0 <= by * by * moments.1 {
        return;
    }
    let before = block.clone();
    block.mins[s] += by;
    for i in from..from + size {
        let level = block.levels[i];
        state.change(i, block.value(s, level) - before.value(s, level));
    }
}

/// Coordinate descent over the levels.
#[inline(always)]
fn move_levels(format: &Format, block: &mut Block, state: &mut State<'_>) {
    let width = state.gradients.len();
    for i in 0..format.layout.block {
        let s = i / format.layout.sub_block;
        let (scale, min) = block.scale_and_min(s);
        let column = state.first + i;
        let own = state.near[column * width + column];
        let gradient = state.gradients[column];
        let now = block.value(s, block.levels[i]);
        let level = format.grid.nearest((now + gradient / own + min) * inverse(scale));
        if level == block.levels[i] {
            continue;
        }
        let change = block.value(s, level) - now;
        if 2.0 * change * gradient > change * change * own {
            block.levels[i] = level;
            state.change(i, change);
        }
    }
}

/// Fits `d` and `dmin` with everything else fixed.
#[inline(always)]
fn fit_block(format: &Format, block: &mut Block, state: &mut State<'_>) {
    let size = format.layout.block;
    let sub_block = format.layout.sub_block;
    let (mut a, mut b) = ([0.0f32; 256], [0.0f32; 256]);
    for i in 0..size {
        a[i] = block.scales[i / sub_block] * block.levels[i];
        b[i] = block.mins[i / sub_block];
    }
    let (a, b) = (&a[..size], &b[..size]);
    let width = state.gradients.len();
    let (mut aa, mut ab, mut bb, mut ga, mut gb) = (0.0f64, 0.0f64, 0.0f64, 0.0f64, 0.0f64);
    for i in 0..size {
        let row = &state.near[(state.first + i) * width + state.first..][..size];
        let gradient = f64::from(state.gradients[state.first + i]);
        let ha = f64::from(dot(a, row));
        aa += f64::from(a[i]) * ha;
        ga += f64::from(a[i]) * gradient;
        if format.layout.has_mins() {
            ab += f64::from(b[i]) * ha;
            bb += f64::from(b[i]) * f64::from(dot(b, row));
            gb += f64::from(b[i]) * gradient;
        }
    }
    // Errors with the changes x of d and y of dmin: e − x a + y b.
    let (x, y) = solve(aa, ab, bb, ga, gb, (0.0, 0.0));
    let d = stored(f64::from(block.d) + x, block.d);
    let dmin = stored(f64::from(block.dmin) + y, block.dmin);
    let (x, y) = (f64::from(d - block.d), f64::from(dmin - block.dmin));
    let gain = 2.0 * (x * ga - y * gb) - (x * x * aa - 2.0 * x * y * ab + y * y * bb);
    if gain <= 0.0 || gain.is_nan() {
        return;
    }
    let before = block.clone();
    block.d = d;
    block.dmin = dmin;
    for i in 0..size {
        let (s, level) = (i / sub_block, block.levels[i]);
        state.change(i, block.value(s, level) - before.value(s, level));
    }
}
