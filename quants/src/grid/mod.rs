//! The codebooks of the i-quants.
//!
//! IQ1, IQ2 and IQ3 blocks do not store a level for each weight but the index of a point: a group of eight
//! (IQ1, IQ2) or four (IQ3) levels that is one of the few kept in a codebook. To encode, a group is rounded to
//! levels; where those are no point of the codebook, the points nearest to them are tried in turn. Which ones
//! and in which order is part of the format's canon: all points at the smallest, second smallest … distinct
//! distance, by distance and then by index, as ggml's `iq2xs_init_impl` and `iq3xs_init_impl` list them.

mod points;
mod search;
mod signs;

use std::sync::OnceLock;

pub(crate) use search::{Fit, Refit, Search, fit, largest, quantize_scales};
pub(crate) use signs::{SIGNS, fold_signs, fold_signs_even, sign};

/// Values a decoder reads for each point of a codebook.
pub(crate) type Codebook<const D: usize, const N: usize> = [[i8; D]; N];

const fn bits(dimensions: usize) -> usize {
    if dimensions == 8 { 2 } else { 3 }
}

/// How many levels a coordinate can have: three in the codebooks of eight dimensions, eight in those of four.
pub(crate) const fn levels(dimensions: usize) -> usize {
    if dimensions == 8 { 3 } else { 8 }
}

/// Replaces the packed levels of each point by the values they stand for.
const fn expand<const D: usize, const N: usize>(packed: &[u16; N], values: &[i8]) -> Codebook<D, N> {
    let mask = (1 << bits(D)) - 1;
    let mut book = [[0; D]; N];
    let mut point = 0;
    while point < N {
        let mut axis = 0;
        while axis < D {
            book[point][axis] = values[((packed[point] >> (bits(D) * axis)) & mask) as usize];
            axis += 1;
        }
        point += 1;
    }
    book
}

const IQ2_VALUES: [i8; 3] = [8, 25, 43];
pub(crate) static IQ2_XXS: Codebook<8, 256> = expand(&points::IQ2_XXS, &IQ2_VALUES);
pub(crate) static IQ2_XS: Codebook<8, 512> = expand(&points::IQ2_XS, &IQ2_VALUES);
pub(crate) static IQ2_S: Codebook<8, 1024> = expand(&points::IQ2_S, &IQ2_VALUES);
pub(crate) static IQ1: Codebook<8, 2048> = expand(&points::IQ1, &[-1, 0, 1]);
pub(crate) static IQ3_XXS: Codebook<4, 256> = expand(&points::IQ3_XXS, &[4, 12, 20, 28, 36, 44, 52, 62]);
pub(crate) static IQ3_S: Codebook<4, 512> = expand(&points::IQ3_S, &[1, 3, 5, 7, 9, 11, 13, 15]);

/// A codebook prepared for encoding: for every group of levels, its index or its neighbours.
pub(crate) struct Grid<const D: usize> {
    /// The levels of each point.
    points: Vec<[u8; D]>,
    /// For each cell (a group of levels, see [`cell`]): the index of its point, or `!start` of its neighbours.
    cells: Vec<i32>,
    /// Neighbour lists one after another, each preceded by its length.
    neighbours: Vec<u16>,
}

/// Where a group of levels lies in a codebook.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place<'a> {
    /// On the point of this index.
    On(u16),
    /// On none; these points are the candidates, nearest first.
    Off(&'a [u16]),
}

/// Numbers a group of levels: lowest coordinate first, in base [`levels`].
#[inline]
fn cell<const D: usize>(group: &[u8; D]) -> usize {
    group
        .iter()
        .rev()
        .fold(0, |cell, &level| cell * levels(D) + usize::from(level))
}

impl<const D: usize> Grid<D> {
    /// Prepares the codebook of these packed points; a cell's neighbours are the points at its `shells` smallest
    /// distinct distances.
    fn build(packed: &[u16], shells: usize) -> Self {
        let mask = (1 << bits(D)) - 1;
        let points: Vec<[u8; D]> = packed
            .iter()
            .map(|code| std::array::from_fn(|axis| ((code >> (bits(D) * axis)) & mask) as u8))
            .collect();
        let mut cells = vec![-1; levels(D).pow(D as u32)];
        for (index, point) in points.iter().enumerate() {
            cells[cell(point)] = index as i32;
        }
        let mut neighbours = Vec::new();
        let mut ranked: Vec<(u32, u16)> = Vec::with_capacity(points.len());
        for (number, place) in cells.iter_mut().enumerate() {
            if *place >= 0 {
                continue;
            }
            let mut rest = number;
            let here: [i32; D] = std::array::from_fn(|_| {
                let level = rest % levels(D);
                rest /= levels(D);
                level as i32
            });
            nearest_shells(&points, &here, shells, &mut ranked);
            *place = !(neighbours.len() as i32);
            neighbours.push(ranked.len() as u16);
            neighbours.extend(ranked.iter().map(|&(_, index)| index));
        }
        Self {
            points,
            cells,
            neighbours,
        }
    }

    /// The levels of a point.
    #[inline]
    pub(crate) fn point(&self, index: u16) -> &[u8; D] {
        &self.points[usize::from(index)]
    }

    /// Looks a group of levels up. Each must be below [`levels`].
    #[inline]
    pub(crate) fn locate(&self, group: &[u8; D]) -> Place<'_> {
        let place = self.cells[cell(group)];
        if place >= 0 {
            return Place::On(place as u16);
        }
        let start = !place as usize;
        let len = usize::from(self.neighbours[start]);
        Place::Off(&self.neighbours[start + 1..start + 1 + len])
    }

    /// The candidate with the smallest Σ weight·(scale·value − x)², the first of equals. `values` gives the
    /// value of each level.
    ///
    /// Where no sum is below the largest finite number (infinite or NaN input, on which ggml aborts), it is
    /// the first candidate.
    #[inline]
    pub(crate) fn nearest(
        &self,
        candidates: &[u16],
        values: &[f32],
        x: &[f32; D],
        weights: &[f32; D],
        scale: f32,
    ) -> u16 {
        let mut best = f32::MAX;
        let mut nearest = candidates[0];
        for &candidate in candidates {
            let point = self.point(candidate);
            let mut distance = 0.0;
            for axis in 0..D {
                let difference = scale * values[usize::from(point[axis])] - x[axis];
                distance += weights[axis] * difference * difference;
            }
            if distance < best {
                best = distance;
                nearest = candidate;
            }
        }
        nearest
    }
}

/// Puts into `ranked` the points at the `shells` smallest distinct distances from `here`, by distance and index.
fn nearest_shells<const D: usize>(
    points: &[[u8; D]],
    here: &[i32; D],
    shells: usize,
    ranked: &mut Vec<(u32, u16)>,
) {
    ranked.clear();
    ranked.extend(points.iter().zip(0..).map(|(point, index)| {
        let distance: i32 = (0..D)
            .map(|axis| (i32::from(point[axis]) - here[axis]).pow(2))
            .sum();
        (distance as u32, index)
    }));
    let mut limit = 0;
    for shell in 0..shells {
        let outside = ranked.iter().map(|&(distance, _)| distance);
        let next = outside.filter(|&distance| shell == 0 || distance > limit).min();
        limit = next.unwrap_or(limit);
    }
    ranked.retain(|&(distance, _)| distance <= limit);
    ranked.sort_unstable();
}

macro_rules! grids {
    ($($(#[$doc:meta])* $name:ident: $dimensions:literal from $points:ident, $shells:literal shells;)*) => {$(
        $(#[$doc])*
        pub(crate) fn $name() -> &'static Grid<$dimensions> {
            static GRID: OnceLock<Grid<$dimensions>> = OnceLock::new();
            GRID.get_or_init(|| Grid::build(&points::$points, $shells))
        }
    )*};
}

grids! {
    /// The codebook of IQ2_XXS.
    iq2_xxs: 8 from IQ2_XXS, 2 shells;
    /// The codebook of IQ2_XS.
    iq2_xs: 8 from IQ2_XS, 2 shells;
    /// The codebook of IQ2_S.
    iq2_s: 8 from IQ2_S, 1 shells;
    /// The codebook of IQ1_S and IQ1_M.
    iq1: 8 from IQ1, 3 shells;
    /// The codebook of IQ3_XXS.
    iq3_xxs: 4 from IQ3_XXS, 2 shells;
    /// The codebook of IQ3_S.
    iq3_s: 4 from IQ3_S, 3 shells;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<const D: usize>(grid: &Grid<D>) {
        assert!(
            grid.points.is_sorted_by_key(cell),
            "the lists are in order of code"
        );
        for number in 0..levels(D).pow(D as u32) {
            let group: [u8; D] =
                std::array::from_fn(|axis| (number / levels(D).pow(axis as u32) % levels(D)) as u8);
            assert_eq!(cell(&group), number);
            match grid.locate(&group) {
                Place::On(index) => assert_eq!(grid.point(index), &group),
                Place::Off(candidates) => {
                    assert!(!candidates.is_empty());
                    assert!(!grid.points.contains(&group));
                }
            }
        }
        assert!(
            matches!(grid.locate(&[0; D]), Place::On(0)),
            "the point of index 0 is all lowest levels"
        );
    }

    #[test]
    fn every_group_of_levels_has_a_place() {
        check(iq2_xxs());
        check(iq2_xs());
        check(iq2_s());
        check(iq1());
        check(iq3_xxs());
        check(iq3_s());
    }

    #[test]
    fn neighbours_are_whole_shells_in_order() {
        let grid = iq2_xs();
        let group = [1, 1, 1, 1, 1, 1, 1, 1];
        let Place::Off(candidates) = grid.locate(&group) else {
            panic!("is a point")
        };
        let distance = |index: u16| -> u32 {
            grid.point(index)
                .iter()
                .zip(group)
                .map(|(&a, b): (&u8, u8)| u32::from(a.abs_diff(b)).pow(2))
                .sum()
        };
        let ranks: Vec<_> = candidates.iter().map(|&index| (distance(index), index)).collect();
        assert!(ranks.is_sorted());
        let farthest = ranks.last().unwrap().0;
        let near = (0..512).filter(|&index| distance(index) <= farthest).count();
        assert_eq!(near, candidates.len());
        let mut distances: Vec<_> = ranks.iter().map(|rank| rank.0).collect();
        distances.dedup();
        assert_eq!(distances.len(), 2);
    }
}
