//! The points of the codebooks, and the places of groups of levels among them.

use std::sync::OnceLock;

use super::points;
use crate::isa::BlockOps;
use crate::levels::{code_bits, code_level};

/// Values a decoder reads for each point of a codebook.
pub(crate) type Codebook<const D: usize, const N: usize> = [[i8; D]; N];

/// The number of levels of a coordinate: three in the codebooks of eight dimensions, eight in those of four.
pub(crate) const fn levels(dimensions: usize) -> usize {
    if dimensions == 8 { 3 } else { 8 }
}

/// Replaces the packed levels of each point by the values they stand for.
const fn expand<const D: usize, const N: usize>(packed: &[u16; N], values: &[i8]) -> Codebook<D, N> {
    let mask = (1 << code_bits(D)) - 1;
    let mut book = [[0; D]; N];
    let mut point = 0;
    while point < N {
        let mut axis = 0;
        while axis < D {
            book[point][axis] = values[((packed[point] >> (code_bits(D) * axis)) & mask) as usize];
            axis += 1;
        }
        point += 1;
    }
    book
}

const IQ2_VALUES: [i8; 3] = [8, 25, 43];
/// The code of 0 among the codes of the IQ2 formats in integer products: their largest value.
pub(crate) const IQ2_ZERO: u8 = 43;
pub(crate) static IQ2_XXS: Codebook<8, 256> = expand(&points::IQ2_XXS, &IQ2_VALUES);
pub(crate) static IQ2_XS: Codebook<8, 512> = expand(&points::IQ2_XS, &IQ2_VALUES);
pub(crate) static IQ2_S: Codebook<8, 1024> = expand(&points::IQ2_S, &IQ2_VALUES);
pub(crate) static IQ1: Codebook<8, 2048> = expand(&points::IQ1, &[-1, 0, 1]);
pub(crate) static IQ3_XXS: Codebook<4, 256> = expand(&points::IQ3_XXS, &[4, 12, 20, 28, 36, 44, 52, 62]);
pub(crate) static IQ3_S: Codebook<4, 512> = expand(&points::IQ3_S, &[1, 3, 5, 7, 9, 11, 13, 15]);

/// A codebook prepared for encoding: for every code of a group of levels, its index or its neighbours.
///
/// Codes are packed as in [`points`].
pub(crate) struct Grid<const D: usize> {
    /// The place of each code, by [`cell_of`].
    cells: Vec<Cell>,
    /// The codes of neighbours, list after list, each filled up to whole chunks with its last.
    neighbours: Vec<[u16; 8]>,
}

/// The place of a code: [`Cell::ON`] and the index of its point, or the extent of its list of neighbours.
#[derive(Clone, Copy)]
struct Cell {
    start: u16,
    chunks: u8,
}

impl Cell {
    /// The number of chunks that no list has.
    const ON: u8 = 0;
}

/// Chunks of candidates in a cache line.
const CHUNKS_A_LINE: usize = 4;

/// The numbers that have these four base-three digits, two bits each, the lowest first.
static BASE_THREE: [u8; 256] = {
    let mut numbers = [0; 256];
    let mut digits = 0;
    while digits < 256 {
        numbers[digits] = ((digits & 3) + 3 * (digits >> 2 & 3) + 9 * (digits >> 4 & 3)) as u8;
        numbers[digits] += (27 * (digits >> 6 & 3)) as u8;
        digits += 1;
    }
    numbers
};

/// The place of a code among those whose levels are all below [`levels`]: a table by the code itself would be ten
/// times as large for eight dimensions, and seldom in the cache.
#[inline(always)]
fn cell_of<const D: usize>(code: u16) -> usize {
    match D {
        8 => {
            let [low, high] = code.to_le_bytes();
            usize::from(BASE_THREE[usize::from(low)]) + 81 * usize::from(BASE_THREE[usize::from(high)])
        }
        _ => usize::from(code),
    }
}

/// The place of a group of levels in a codebook.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place<'a> {
    /// On a point.
    On,
    /// On none; these points are the candidates, nearest first, the last one repeated.
    Off(&'a [[u16; 8]]),
}

impl<const D: usize> Grid<D> {
    /// Prepares the codebook of these codes; a code's neighbours are the points at its `shells` smallest distinct
    /// distances.
    fn build(points: &[u16], shells: usize) -> Self {
        let mut cells = vec![
            Cell {
                start: 0,
                chunks: Cell::ON
            };
            levels(D).pow(D as u32)
        ];
        let mut neighbours = Vec::new();
        let mut ranked: Vec<(u32, u16)> = Vec::with_capacity(points.len());
        let levels_of = |code: u16| std::array::from_fn(|axis| code_level::<D>(code, axis) as i32);
        let point_levels: Vec<[i32; D]> = points.iter().map(|code| levels_of(*code)).collect();
        for code in 0..=((1u32 << (code_bits(D) * D)) - 1) as u16 {
            let here = levels_of(code);
            if here.iter().any(|level| *level >= levels(D) as i32) {
                continue; // no level is that high
            }
            let cell = &mut cells[cell_of::<D>(code)];
            if let Ok(index) = points.binary_search(&code) {
                cell.start = index as u16;
                continue;
            }
            nearest_shells(&point_levels, &here, shells, &mut ranked);
            cell.start = neighbours.len() as u16;
            for chunk in ranked.chunks(8) {
                let code_at =
                    |i: usize| points[usize::from(chunk.get(i).unwrap_or(&chunk[chunk.len() - 1]).1)];
                neighbours.push(std::array::from_fn(code_at));
            }
            cell.chunks = (neighbours.len() - usize::from(cell.start)) as u8;
        }
        Self { cells, neighbours }
    }

    /// Looks the code of a group of levels up. Each level must be below [`levels`].
    #[inline(always)]
    pub(crate) fn locate(&self, code: u16) -> Place<'_> {
        let Cell { start, chunks } = self.cells[cell_of::<D>(code)];
        match chunks {
            Cell::ON => Place::On,
            _ => Place::Off(&self.neighbours[usize::from(start)..][..usize::from(chunks)]),
        }
    }

    /// Prefetches what [`Self::locate`] and a search of its candidates will read for this code.
    #[inline(always)]
    pub(crate) fn prefetch(&self, isa: impl BlockOps, code: u16) {
        // Of a code on a point this fetches something else: a branch costs more.
        let start = usize::from(self.cells[cell_of::<D>(code)].start);
        if let Some([first, .., last]) = self.neighbours.get(start..start + CHUNKS_A_LINE + 1) {
            isa.prefetch(first);
            isa.prefetch(last);
        }
    }

    /// The index of the point with this code.
    #[inline(always)]
    pub(crate) fn index(&self, code: u16) -> u16 {
        self.cells[cell_of::<D>(code)].start
    }
}

/// The terms that each level of each coordinate adds to Σ weight·(scale·value − x)², in eight columns that repeat where
/// there are less levels. `values` gives the value of each column.
#[inline(always)]
pub(crate) fn error_terms<const D: usize>(
    values: &[f32; 8],
    x: &[f32; D],
    weights: &[f32; D],
    scale: f32,
) -> [[f32; 8]; D] {
    let products = values.map(|value| scale * value);
    std::array::from_fn(|axis| {
        products.map(|product| {
            let difference = product - x[axis];
            weights[axis] * difference * difference
        })
    })
}

/// Puts into `ranked` the points at the `shells` smallest distinct distances from `here`, by distance and index.
fn nearest_shells<const D: usize>(
    points: &[[i32; D]],
    here: &[i32; D],
    shells: usize,
    ranked: &mut Vec<(u32, u16)>,
) {
    ranked.clear();
    ranked.extend(points.iter().zip(0..).map(|(point, index)| {
        let distance: i32 = (0..D).map(|axis| (point[axis] - here[axis]).pow(2)).sum();
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

    fn check<const D: usize>(grid: &Grid<D>, points: &[u16]) {
        assert!(points.is_sorted(), "the lists are in order of code");
        assert!(grid.neighbours.len() <= usize::from(u16::MAX));
        for number in 0..levels(D).pow(D as u32) {
            let level_at = |axis: usize| number / levels(D).pow(axis as u32) % levels(D);
            let code = (0..D)
                .map(|axis| (level_at(axis) << (code_bits(D) * axis)) as u16)
                .sum();
            assert!((0..D).all(|axis| code_level::<D>(code, axis) == level_at(axis)));
            match grid.locate(code) {
                Place::On => assert_eq!(points[usize::from(grid.index(code))], code),
                Place::Off(candidates) => {
                    assert!(!candidates.is_empty() && candidates.len() < 256);
                    assert!(!points.contains(&code));
                }
            }
        }
        assert!(
            matches!(grid.locate(0), Place::On) && grid.index(0) == 0,
            "the point of index 0 is all lowest levels"
        );
    }

    #[test]
    fn every_group_of_levels_has_a_place() {
        check(iq2_xxs(), &points::IQ2_XXS);
        check(iq2_xs(), &points::IQ2_XS);
        check(iq2_s(), &points::IQ2_S);
        check(iq1(), &points::IQ1);
        check(iq3_xxs(), &points::IQ3_XXS);
        check(iq3_s(), &points::IQ3_S);
    }

    #[test]
    fn neighbours_are_whole_shells_in_order() {
        let grid = iq2_xs();
        let Place::Off(candidates) = grid.locate(0x5555) else {
            panic!("is a point")
        };
        let distance = |code: u16| -> usize {
            (0..8)
                .map(|axis| code_level::<8>(code, axis).abs_diff(1).pow(2))
                .sum()
        };
        let mut ranks: Vec<_> = candidates
            .as_flattened()
            .iter()
            .map(|&code| (distance(code), grid.index(code)))
            .collect();
        ranks.dedup();
        assert!(ranks.is_sorted());
        let farthest = ranks.last().unwrap().0;
        let near = points::IQ2_XS
            .iter()
            .filter(|&&code| distance(code) <= farthest)
            .count();
        assert_eq!(near, ranks.len());
        let mut distances: Vec<_> = ranks.iter().map(|rank| rank.0).collect();
        distances.dedup();
        assert_eq!(distances.len(), 2);
    }
}
