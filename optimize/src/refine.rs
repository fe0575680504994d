//! Refinement of a block under the whole metric: whatever lowers E = Σ e_i H_ij e_j is taken.

use crate::block::{Block, Format, Grid, solve, stored};
use crate::points::inverse;
use crate::sub_block::{Near, Wanted, choose};

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
    corners: &Near<'_>,
) {
    let mut state = State {
        errors,
        gradients,
        near,
        first,
    };
    for s in 0..format.sub_blocks() {
        match format.sub_block {
            16 => choose_again::<16>(format, block, &mut state, corners, s),
            _ => choose_again::<32>(format, block, &mut state, corners, s),
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
}

/// A sum of products with eight partial sums. Both are as long, a multiple of eight.
#[inline(always)]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    dots(a, [b])[0]
}

/// The same with several at a time, each by itself.
#[inline(always)]
fn dots<const R: usize>(a: &[f32], rows: [&[f32]; R]) -> [f32; R] {
    let rows = rows.map(|row| row.as_chunks::<8>().0);
    let mut sums = [[0.0f32; 8]; R];
    for (k, a) in a.as_chunks::<8>().0.iter().enumerate() {
        for (sums, row) in sums.iter_mut().zip(&rows) {
            for i in 0..8 {
                sums[i] += a[i] * row[k][i];
            }
        }
    }
    // What is done with the sums must not decide how they are made: without this, compilers take them in pairs.
    std::hint::black_box(sums).map(|sums| {
        let half: [f32; 4] = std::array::from_fn(|i| sums[i] + sums[4 + i]);
        (half[0] + half[2]) + (half[1] + half[3])
    })
}

/// Rows that are multiplied at a time.
const TOGETHER: usize = 4;

/// Chooses a sub-block again, with everything else as it is.
#[inline(always)]
fn choose_again<const S: usize>(
    format: &Format,
    block: &mut Block,
    state: &mut State<'_>,
    corners: &Near<'_>,
    s: usize,
) {
    let at = state.first + s * S;
    let (weights, feedback, inverse) = corners.of::<S>(s);
    let gradients: &[f32; S] = state.gradients[at..].first_chunk().expect("a sub-block");
    let before: [f32; S] = std::array::from_fn(|i| block.value(s, block.levels[s * S + i]));
    // Where the error would be least if values were not rounded.
    let mut wanted = before;
    for (g, row) in gradients.iter().zip(inverse.as_chunks::<S>().0) {
        for i in 0..S {
            wanted[i] += g * row[i];
        }
    }
    let kept = block.clone();
    choose(
        format,
        block,
        s,
        &Wanted {
            row: &wanted,
            target: &wanted,
            weights,
            feedback,
            stride: S,
        },
    );
    let change: [f32; S] = std::array::from_fn(|i| block.value(s, block.levels[s * S + i]) - before[i]);
    let width = state.gradients.len();
    let (mut linear, mut quadratic) = (0.0, 0.0);
    for i in 0..S {
        linear += change[i] * gradients[i];
        let row = &state.near[(at + i) * width + at..][..S];
        quadratic += change[i] * dot(&change, row);
    }
    if 2.0 * linear > quadratic {
        for (i, change) in change.into_iter().enumerate() {
            if change != 0.0 {
                state.change(s * S + i, change);
            }
        }
    } else {
        *block = kept;
    }
}

/// Coordinate descent over the levels, where they are chosen one by one.
#[inline(always)]
fn move_levels(format: &Format, block: &mut Block, state: &mut State<'_>) {
    if matches!(format.grid, Grid::Points(_)) {
        return;
    }
    let width = state.gradients.len();
    for i in 0..format.block {
        let s = i / format.sub_block;
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
    let size = format.block;
    let sub_block = format.sub_block;
    let (mut a, mut b) = ([0.0f32; 256], [0.0f32; 256]);
    for i in 0..size {
        a[i] = block.scales[i / sub_block] * block.levels[i];
        b[i] = block.mins[i / sub_block];
    }
    let (a, b) = (&a[..size], &b[..size]);
    let width = state.gradients.len();
    let (mut aa, mut ab, mut bb, mut ga, mut gb) = (0.0f64, 0.0f64, 0.0f64, 0.0f64, 0.0f64);
    for together in (0..size).step_by(TOGETHER) {
        let rows: [&[f32]; TOGETHER] = std::array::from_fn(|i| {
            let row = state.first + together + i;
            &state.near[row * width + state.first..][..size]
        });
        let has = dots(a, rows);
        let hbs = if format.has_mins() {
            dots(b, rows)
        } else {
            [0.0; TOGETHER]
        };
        for (i, (ha, hb)) in (together..).zip(has.into_iter().zip(hbs)) {
            let gradient = f64::from(state.gradients[state.first + i]);
            aa += f64::from(a[i]) * f64::from(ha);
            ga += f64::from(a[i]) * gradient;
            if format.has_mins() {
                ab += f64::from(b[i]) * f64::from(ha);
                bb += f64::from(b[i]) * f64::from(hb);
                gb += f64::from(b[i]) * gradient;
            }
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
