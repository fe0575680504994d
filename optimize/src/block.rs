//! The joint search of a block: scales, minima and levels together, with the precision in which they are stored.

use gguf::TensorType;
use quants::f16;
use quants::parts::{LAST_CODE, Layout, Levels, Parts, PointParts, layout};

use crate::points::{Points, inverse, points};

/// Most weights in a block, and most sub-blocks.
pub(crate) const WEIGHTS: usize = 256;
const SUB_BLOCKS: usize = 16;

/// Rounds of the search at most.
const ROUNDS: usize = 4;

/// Adding it rounds what is below 2^22 to a whole number, ties to even.
pub(crate) const ROUND: f32 = 12_582_912.0;

/// A block's numbers as floats; all of them are exact.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    pub(crate) d: f32,
    pub(crate) dmin: f32,
    pub(crate) scales: [f32; SUB_BLOCKS],
    pub(crate) mins: [f32; SUB_BLOCKS],
    /// The levels' values.
    pub(crate) levels: [f32; WEIGHTS],
}

/// How levels are found; for a table the middles between its values.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Grid {
    Whole {
        first: f32,
        last: f32,
    },
    Table {
        lowest: f32,
        middles: [f32; 15],
        steps: [f32; 15],
    },
    /// Groups of levels are points of a codebook.
    Points(&'static Points),
}

/// A format, ready for searching.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Format {
    pub(crate) ty: TensorType,
    /// Weights in a block.
    pub(crate) block: usize,
    /// Weights that share a scale.
    pub(crate) sub_block: usize,
    pub(crate) grid: Grid,
    /// The lowest and the highest scale of a sub-block, and the step between scales.
    pub(crate) scales: (f32, f32),
    pub(crate) step: f32,
    pub(crate) mins: (f32, f32),
    /// `None` for points.
    layout: Option<&'static Layout>,
}

impl Format {
    /// `None` for types whose blocks cannot be taken apart.
    pub(crate) fn new(ty: TensorType) -> Option<Self> {
        if let Some(layout) = layout(ty) {
            return Some(Self::of_levels(layout));
        }
        let points = points(ty)?;
        let codebook = points.codebook;
        Some(Self {
            ty,
            block: quants::parts::BLOCK,
            sub_block: codebook.sub_block,
            grid: Grid::Points(points),
            scales: (
                codebook.first,
                codebook.first + f32::from(LAST_CODE) * codebook.step,
            ),
            step: codebook.step,
            mins: (0.0, 0.0),
            layout: None,
        })
    }

    fn of_levels(layout: &'static Layout) -> Self {
        let grid = match layout.levels {
            Levels::Whole { first, last } => Grid::Whole {
                first: f32::from(first),
                last: f32::from(last),
            },
            Levels::Table(values) => Grid::Table {
                lowest: values[0],
                middles: std::array::from_fn(|i| (values[i] + values[i + 1]) / 2.0),
                steps: std::array::from_fn(|i| values[i + 1] - values[i]),
            },
        };
        let floats = |(low, high): (i16, i16)| (f32::from(low), f32::from(high));
        Self {
            ty: layout.ty,
            block: layout.block,
            sub_block: layout.sub_block,
            grid,
            scales: floats(layout.scales),
            step: 1.0,
            mins: floats(layout.mins),
            layout: Some(layout),
        }
    }

    /// Sub-blocks in a block.
    pub(crate) fn sub_blocks(&self) -> usize {
        self.block / self.sub_block
    }

    /// Whether sub-blocks have scales of their own.
    pub(crate) fn has_sub_scales(&self) -> bool {
        self.scales.0 < self.scales.1
    }

    /// Whether sub-blocks have minima of their own.
    pub(crate) fn has_sub_mins(&self) -> bool {
        self.mins.0 < self.mins.1
    }

    /// Whether a block has minima.
    pub(crate) fn has_mins(&self) -> bool {
        self.mins.1 > 0.0
    }

    pub(crate) fn unpack(&self, bytes: &[u8]) -> Block {
        match (&self.grid, self.layout) {
            (Grid::Points(points), _) => Self::unpack_points(points, bytes),
            (_, Some(layout)) => Self::unpack_levels(layout, bytes),
            // There is no such format.
            (_, None) => Block::default(),
        }
    }

    fn unpack_levels(layout: &Layout, bytes: &[u8]) -> Block {
        let parts = layout.unpack(bytes);
        let mut block = Block {
            d: f16::to_f32(parts.d),
            dmin: f16::to_f32(parts.dmin),
            scales: parts.scales.map(f32::from),
            mins: parts.mins.map(f32::from),
            levels: [0.0; WEIGHTS],
        };
        for (value, index) in block.levels[..layout.block].iter_mut().zip(parts.levels) {
            *value = layout.levels.value(index);
        }
        block
    }

    fn unpack_points(points: &Points, bytes: &[u8]) -> Block {
        let codebook = points.codebook;
        let parts = codebook.unpack(bytes);
        let mut block = Block {
            d: f16::to_f32(parts.d),
            scales: parts
                .scales
                .map(|code| codebook.first + f32::from(code) * codebook.step),
            ..Block::default()
        };
        for (i, level) in block.levels.iter_mut().enumerate() {
            let point = codebook.point(usize::from(parts.points[i / codebook.dimensions]));
            let magnitude = f32::from(point[i % codebook.dimensions]);
            let negative = parts.signs[i / 8] >> (i % 8) & 1 == 1;
            *level = if negative { -magnitude } else { magnitude };
        }
        block
    }

    pub(crate) fn pack(&self, block: &Block, bytes: &mut [u8]) {
        match (&self.grid, self.layout) {
            (Grid::Points(points), _) => Self::pack_points(points, block, bytes),
            (_, Some(layout)) => self.pack_levels(layout, block, bytes),
            (_, None) => {}
        }
    }

    fn pack_levels(&self, layout: &Layout, block: &Block, bytes: &mut [u8]) {
        let mut parts = Parts {
            d: f16::from_f32(block.d),
            dmin: f16::from_f32(block.dmin),
            scales: block.scales.map(|scale| scale as i16),
            mins: block.mins.map(|min| min as i16),
            ..Parts::default()
        };
        for (index, value) in parts.levels.iter_mut().zip(&block.levels[..layout.block]) {
            *index = match &self.grid {
                Grid::Table { middles, .. } => middles.iter().filter(|m| value >= m).count() as u8,
                Grid::Whole { first, .. } => (value - first) as u8,
                Grid::Points(_) => 0,
            };
        }
        layout.pack(&parts, bytes);
    }

    fn pack_points(points: &Points, block: &Block, bytes: &mut [u8]) {
        let codebook = points.codebook;
        let mut parts = PointParts {
            d: f16::from_f32(block.d),
            scales: block
                .scales
                .map(|scale| ((scale - codebook.first) / codebook.step) as u8),
            ..PointParts::default()
        };
        let groups = block.levels.chunks_exact(codebook.dimensions);
        for (point, levels) in parts.points.iter_mut().zip(groups) {
            *point = points.find(levels.iter().map(|level| level.abs()));
        }
        for (signs, levels) in parts.signs.iter_mut().zip(block.levels.chunks_exact(8)) {
            *signs = levels
                .iter()
                .enumerate()
                .fold(0, |signs, (i, level)| signs | u8::from(*level < 0.0) << i);
        }
        codebook.pack(&parts, bytes);
    }
}

/// Whether blocks of this type are learned.
pub(crate) fn can_learn(ty: TensorType) -> bool {
    layout(ty).is_some() || quants::parts::codebook(ty).is_some()
}

impl Default for Block {
    fn default() -> Self {
        Self {
            d: 0.0,
            dmin: 0.0,
            scales: [0.0; SUB_BLOCKS],
            mins: [0.0; SUB_BLOCKS],
            levels: [0.0; WEIGHTS],
        }
    }
}

impl Grid {
    /// The level nearest to `x`.
    #[inline(always)]
    pub(crate) fn nearest(&self, x: f32) -> f32 {
        match self {
            // In this order NaN becomes the first.
            Self::Whole { first, last } => (x.max(*first).min(*last) + ROUND) - ROUND,
            Self::Table {
                lowest,
                middles,
                steps,
            } => {
                let mut level = *lowest;
                for (middle, step) in middles.iter().zip(steps) {
                    level += if x >= *middle { *step } else { 0.0 };
                }
                level
            }
            // Points are not chosen column by column.
            Self::Points(_) => x,
        }
    }
}

impl Block {
    /// The value of weight `i` of sub-block `s`, as decoders compute it.
    #[inline(always)]
    pub(crate) fn value(&self, s: usize, level: f32) -> f32 {
        (self.d * self.scales[s]) * level - self.dmin * self.mins[s]
    }

    /// Scale and minimum of a sub-block.
    #[inline(always)]
    pub(crate) fn scale_and_min(&self, s: usize) -> (f32, f32) {
        (self.d * self.scales[s], self.dmin * self.mins[s])
    }
}

/// Sums with eight partial sums, whatever the vectors: the order is part of the result.
#[inline(always)]
pub(crate) fn sum<const S: usize>(terms: &[f32; S]) -> f32 {
    let mut sums = [0.0f32; 8];
    for chunk in terms.as_chunks::<8>().0 {
        for (sum, term) in sums.iter_mut().zip(chunk) {
            *sum += term;
        }
    }
    let half: [f32; 4] = std::array::from_fn(|i| sums[i] + sums[4 + i]);
    (half[0] + half[2]) + (half[1] + half[3])
}

/// The best levels for a scale and a minimum, and their weighted error.
#[inline(always)]
fn fit<const S: usize>(
    grid: &Grid,
    x: &[f32; S],
    weights: &[f32; S],
    (scale, min): (f32, f32),
    levels: &mut [f32; S],
) -> f32 {
    let inverse = inverse(scale);
    match grid {
        Grid::Whole { first, last } => {
            for i in 0..S {
                levels[i] = (((x[i] + min) * inverse).max(*first).min(*last) + ROUND) - ROUND;
            }
        }
        Grid::Table {
            lowest,
            middles,
            steps,
        } => {
            let mut scaled = [0.0; S];
            for i in 0..S {
                scaled[i] = (x[i] + min) * inverse;
                levels[i] = *lowest;
            }
            for (middle, step) in middles.iter().zip(steps) {
                for i in 0..S {
                    levels[i] += if scaled[i] >= *middle { *step } else { 0.0 };
                }
            }
        }
        Grid::Points(_) => {}
    }
    error(x, weights, (scale, min), levels)
}

/// The weighted error of a sub-block of this scale and minimum.
#[inline(always)]
pub(crate) fn error<const S: usize>(
    x: &[f32; S],
    weights: &[f32; S],
    (scale, min): (f32, f32),
    levels: &[f32; S],
) -> f32 {
    let mut terms = [0.0; S];
    for i in 0..S {
        let off = x[i] - (scale * levels[i] - min);
        terms[i] = weights[i] * off * off;
    }
    sum(&terms)
}

/// The weighted error of a block.
#[inline(always)]
pub(crate) fn total<const S: usize>(x: &[[f32; S]], weights: &[[f32; S]], block: &Block) -> f32 {
    let mut total = 0.0;
    for (s, (x, weights)) in x.iter().zip(weights).enumerate() {
        let levels = &block.levels.as_chunks::<S>().0[s];
        total += error(x, weights, block.scale_and_min(s), levels);
    }
    total
}

/// Improves a block for the weights `x`, whose squared errors count as `weights` say: scales and minima of sub-blocks
/// move by a step at a time, each with the levels that fit it; then `d` and `dmin` are fitted by least squares and
/// rounded to what is stored. Nothing is accepted that does not lower the error. Points of a codebook stay as they are.
#[inline(always)]
pub(crate) fn search(format: &Format, x: &[f32], weights: &[f32], block: &mut Block) -> f32 {
    if matches!(format.grid, Grid::Points(_)) {
        return 0.0;
    }
    match format.sub_block {
        16 => search_by::<16>(format, x, weights, block),
        _ => search_by::<32>(format, x, weights, block),
    }
}

#[inline(always)]
fn search_by<const S: usize>(format: &Format, x: &[f32], weights: &[f32], block: &mut Block) -> f32 {
    let x = x.as_chunks::<S>().0;
    let weights = weights.as_chunks::<S>().0;
    let mut best = total(x, weights, block);
    for _ in 0..ROUNDS {
        let before = best;
        best = 0.0;
        for (s, (x, weights)) in x.iter().zip(weights).enumerate() {
            best += move_sub_block(format, x, weights, block, s);
        }
        let (d, dmin) = least_squares(format, x, weights, block);
        let mut other = block.clone();
        other.d = d;
        other.dmin = dmin;
        let mut total = 0.0;
        for (s, (x, weights)) in x.iter().zip(weights).enumerate() {
            let scale_and_min = other.scale_and_min(s);
            total += fit(
                &format.grid,
                x,
                weights,
                scale_and_min,
                &mut other.levels.as_chunks_mut::<S>().0[s],
            );
        }
        if total < best {
            *block = other;
            best = total;
        }
        if best >= before * 0.999_9 {
            break;
        }
    }
    best
}

/// The best of a sub-block's neighbouring scales and minima; its error.
#[inline(always)]
fn move_sub_block<const S: usize>(
    format: &Format,
    x: &[f32; S],
    weights: &[f32; S],
    block: &mut Block,
    s: usize,
) -> f32 {
    let (scale, min) = (block.scales[s], block.mins[s]);
    let levels = &mut block.levels.as_chunks_mut::<S>().0[s];
    let mut best = error(x, weights, (block.d * scale, block.dmin * min), levels);
    let mut trial = [0.0; S];
    for scale in [scale, scale - 1.0, scale + 1.0] {
        if scale < format.scales.0 || scale > format.scales.1 {
            continue;
        }
        for min in [min, min - 1.0, min + 1.0] {
            if min < format.mins.0 || min > format.mins.1 {
                continue;
            }
            let found = fit(
                &format.grid,
                x,
                weights,
                (block.d * scale, block.dmin * min),
                &mut trial,
            );
            if found < best {
                best = found;
                *levels = trial;
                block.scales[s] = scale;
                block.mins[s] = min;
            }
        }
    }
    best
}

/// The `d` and `dmin` that fit scales, minima and levels best, as stored.
#[inline(always)]
pub(crate) fn least_squares<const S: usize>(
    format: &Format,
    x: &[[f32; S]],
    weights: &[[f32; S]],
    block: &Block,
) -> (f32, f32) {
    let (mut aa, mut ab, mut bb, mut xa, mut xb) = (0.0f64, 0.0f64, 0.0f64, 0.0f64, 0.0f64);
    for (s, (x, weights)) in x.iter().zip(weights).enumerate() {
        let levels = &block.levels.as_chunks::<S>().0[s];
        let (mut ll, mut l, mut xl, mut xs) = ([0.0; S], [0.0; S], [0.0; S], [0.0; S]);
        for i in 0..S {
            l[i] = weights[i] * levels[i];
            ll[i] = l[i] * levels[i];
            xl[i] = l[i] * x[i];
            xs[i] = weights[i] * x[i];
        }
        let (a, b) = (f64::from(block.scales[s]), f64::from(block.mins[s]));
        aa += a * a * f64::from(sum(&ll));
        xa += a * f64::from(sum(&xl));
        if format.has_mins() {
            ab += a * b * f64::from(sum(&l));
            bb += b * b * f64::from(sum(weights));
            xb += b * f64::from(sum(&xs));
        }
    }
    let (d, dmin) = solve(aa, ab, bb, xa, xb, (block.d, block.dmin));
    (stored(d, block.d), stored(dmin, block.dmin))
}

/// Minimizes the sum of (x - d a + dmin b)²: `aa` is the sum of a², and so on. What is not determined keeps its value.
#[inline(always)]
pub(crate) fn solve(aa: f64, ab: f64, bb: f64, xa: f64, xb: f64, now: (f32, f32)) -> (f64, f64) {
    let (d, dmin) = (f64::from(now.0), f64::from(now.1));
    let determinant = aa * bb - ab * ab;
    if bb > 0.0 && determinant > 1e-9 * aa * bb {
        (
            (xa * bb - xb * ab) / determinant,
            (xa * ab - xb * aa) / determinant,
        )
    } else if aa > 0.0 {
        ((xa + dmin * ab) / aa, dmin)
    } else if bb > 0.0 {
        (d, (d * ab - xb) / bb)
    } else {
        (d, dmin)
    }
}

/// The nearest half-precision number; `otherwise` where there is none.
#[inline(always)]
pub(crate) fn stored(value: f64, otherwise: f32) -> f32 {
    let stored = f16::to_f32(f16::from_f32(value as f32));
    if stored.is_finite() { stored } else { otherwise }
}
