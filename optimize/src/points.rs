//! The search among the points of a codebook, for groups of columns whose errors meet.

use std::sync::LazyLock;

use gguf::TensorType;
use quants::parts::{Codebook, codebook};

/// The inverse of a scale; zero for one that has none.
#[inline(always)]
pub(crate) fn inverse(scale: f32) -> f32 {
    let inverse = 1.0 / scale;
    if inverse.is_finite() { inverse } else { 0.0 }
}

/// Points that are looked at together.
const LANES: usize = 8;

/// A number for each of several points.
type Lanes = [f32; LANES];

/// A codebook, ready for searching.
#[derive(Debug)]
pub(crate) struct Points {
    pub(crate) codebook: &'static Codebook,
    /// Magnitudes: chunks of points, in each the coordinates one after the other.
    values: Vec<Lanes>,
    /// The rank of each magnitude among those that occur, and the points by the ranks of their coordinates.
    ranks: [u8; 128],
    numbers: Vec<u16>,
}

/// The points of a type, where its weights are such.
pub(crate) fn points(ty: TensorType) -> Option<&'static Points> {
    static ALL: LazyLock<Vec<Points>> = LazyLock::new(|| {
        quants::parts::codebook_types()
            .filter_map(codebook)
            .map(Points::new)
            .collect()
    });
    ALL.iter().find(|points| points.codebook.ty == ty)
}

/// Target of a group of columns: targets t, and errors that cost Σ r_j² w_j, where r_j is what is left of target
/// j once the errors of the columns before it have shifted it by `feedback`.
pub(crate) struct Group<'a, const D: usize> {
    pub(crate) row: &'a [f32; D],
    pub(crate) target: &'a [f32; D],
    pub(crate) weights: &'a [f32; D],
    /// From the error of column i to the target of column j > i: at `i * stride + j`. Empty where there is none.
    pub(crate) feedback: &'a [f32],
    pub(crate) stride: usize,
}

impl Points {
    fn new(codebook: &'static Codebook) -> Self {
        let dimensions = codebook.dimensions;
        let mut values = vec![[0.0; LANES]; codebook.count.div_ceil(LANES) * dimensions];
        for index in 0..codebook.count {
            for (axis, value) in codebook.point(index).iter().enumerate() {
                values[index / LANES * dimensions + axis][index % LANES] = f32::from(*value);
            }
        }
        let mut occur = [false; 128];
        for index in 0..codebook.count {
            codebook
                .point(index)
                .iter()
                .for_each(|&value| occur[value as usize & 127] = true);
        }
        let mut ranks = [0; 128];
        let occurring = ranks.iter_mut().zip(occur).filter(|(_, occurs)| *occurs);
        for (next, (rank, _)) in (0..).zip(occurring) {
            *rank = next;
        }
        let mut points = Self {
            codebook,
            values,
            ranks,
            numbers: vec![0; 1 << 16],
        };
        for index in 0..codebook.count {
            let place = points.place(codebook.point(index).iter().map(|&value| value as usize));
            points.numbers[place] = index as u16;
        }
        points
    }

    /// Where the number of the point of some magnitudes is: at most three bits for each of four coordinates, or two for
    /// each of eight.
    fn place(&self, magnitudes: impl Iterator<Item = usize>) -> usize {
        let bits = if self.codebook.dimensions == 8 { 2 } else { 3 };
        magnitudes.fold(0, |place, value| {
            (place << bits | usize::from(self.ranks[value & 127])) & 0xffff
        })
    }

    /// The point of some magnitudes.
    pub(crate) fn find(&self, magnitudes: impl Iterator<Item = f32>) -> u16 {
        self.numbers[self.place(magnitudes.map(|value| value as usize))]
    }

    /// The values with their signs, before scaling, that serve the group best among the nearest points, and their cost.
    /// `negative` is the parity that its signs have to have.
    #[inline(always)]
    pub(crate) fn choose<const D: usize>(
        &self,
        group: &Group<'_, D>,
        scale: f32,
        negative: Option<bool>,
    ) -> ([f32; D], f32) {
        let inverse = inverse(scale);
        let mut x: [f32; D] = std::array::from_fn(|i| group.target[i] * inverse);
        let mut signs: [f32; D] = x.map(|x| if x < 0.0 { -1.0 } else { 1.0 });
        if let Some(negative) = negative {
            let odd = signs.iter().filter(|&&sign| sign < 0.0).count() % 2 == 1;
            if odd != negative {
                let cost = |i: usize| group.weights[i] * x[i] * x[i];
                let mut least = 0;
                for i in 1..D {
                    if cost(i) < cost(least) {
                        least = i;
                    }
                }
                signs[least] = -signs[least];
            }
        }
        for i in 0..D {
            x[i] *= signs[i];
        }
        // The nearest of each lane, without regard to feedback inside the group.
        let twice: [f32; D] = std::array::from_fn(|i| 2.0 * group.weights[i] * x[i]);
        let mut best = [f32::INFINITY; LANES];
        let mut chunks = [0.0f32; LANES];
        for (chunk, values) in self.values.chunks_exact(D).enumerate() {
            let mut cost = [0.0; LANES];
            for i in 0..D {
                for lane in 0..LANES {
                    cost[lane] += (group.weights[i] * values[i][lane] - twice[i]) * values[i][lane];
                }
            }
            let number = chunk as f32;
            for lane in 0..LANES {
                let better = cost[lane] < best[lane];
                best[lane] = if better { cost[lane] } else { best[lane] };
                chunks[lane] = if better { number } else { chunks[lane] };
            }
        }
        // Among these, with it.
        let mut levels = [[0.0; LANES]; D];
        for lane in 0..LANES {
            for i in 0..D {
                levels[i][lane] = signs[i] * self.values[chunks[lane] as usize * D + i][lane];
            }
        }
        let mut targets: [Lanes; D] = group.target.map(|t| [t; LANES]);
        let mut costs = [0.0; LANES];
        for i in 0..D {
            let mut errors = [0.0; LANES];
            for lane in 0..LANES {
                let value = scale * levels[i][lane];
                let left = targets[i][lane] - value;
                costs[lane] += group.weights[i] * left * left;
                errors[lane] = group.row[i] - value;
            }
            if group.feedback.is_empty() {
                continue;
            }
            let factors = &group.feedback[i * group.stride..][..D];
            for (target, factor) in targets.iter_mut().zip(factors).skip(i + 1) {
                for (left, error) in target.iter_mut().zip(errors) {
                    *left += error * factor;
                }
            }
        }
        let mut least = 0;
        for lane in 1..LANES {
            if costs[lane] < costs[least] {
                least = lane;
            }
        }
        (std::array::from_fn(|i| levels[i][least]), costs[least])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_of_the_codebook_is_found_again() {
        for ty in quants::parts::codebook_types() {
            let points = points(ty).unwrap();
            for index in 0..points.codebook.count {
                let magnitudes: Vec<f32> = points
                    .codebook
                    .point(index)
                    .iter()
                    .map(|&v| f32::from(v))
                    .collect();
                assert_eq!(
                    usize::from(points.find(magnitudes.iter().copied())),
                    index,
                    "{ty}"
                );
                let scale = 0.01;
                let target: Vec<f32> = magnitudes
                    .iter()
                    .enumerate()
                    .map(|(i, v)| scale * v * if i < 2 { -1.0 } else { 1.0 })
                    .collect();
                let weights = [1.0; 8];
                let feedback = [0.3; 64];
                let (levels, cost) = match points.codebook.dimensions {
                    4 => chosen::<4>(points, &target, &weights, &feedback, scale),
                    _ => chosen::<8>(points, &target, &weights, &feedback, scale),
                };
                let values: Vec<f32> = levels.iter().map(|level| scale * level).collect();
                assert_eq!(values, target, "{ty} {index}");
                assert!(cost < 1e-12);
            }
        }
    }

    fn chosen<const D: usize>(
        points: &Points,
        target: &[f32],
        weights: &[f32],
        feedback: &[f32],
        scale: f32,
    ) -> (Vec<f32>, f32) {
        let group = Group::<D> {
            row: target.first_chunk().unwrap(),
            target: target.first_chunk().unwrap(),
            weights: weights.first_chunk().unwrap(),
            feedback,
            stride: D,
        };
        let (levels, cost) = points.choose(&group, scale, Some(false));
        (levels.to_vec(), cost)
    }
}
