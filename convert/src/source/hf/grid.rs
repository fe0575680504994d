//! Vectors of the places of a square grid, resized to another one by straight lines between neighbours: positions of
//! patches that were trained for larger images.

use std::ops::Range;

use super::layout::Layout;
use super::parts::Parts;
use crate::Result;

/// A grid, and how many places on a side it is read as. The corners stay where they are.
#[derive(Clone, Debug)]
pub(super) struct Grid {
    /// The vectors, row by row of the grid.
    stored: Layout,
    width: u64,
    from: u64,
    to: u64,
}

/// One of the two places on a side that a place of the other grid lies between, and its weight.
type Neighbour = (u64, f32);

impl Grid {
    pub(super) fn new(stored: Layout, width: u64, from: u64, to: u64) -> Self {
        Self {
            stored,
            width,
            from,
            to,
        }
    }

    /// The vectors of a range of places of the new grid, by the float operations of PyTorch's `interpolate` (`bilinear`,
    /// `align_corners`) on machines with AVX2 or AVX-512, where its compiler fuses products and sums: in single precision,
    /// whatever is stored.
    pub(super) fn read_values(&self, parts: &Parts, places: &Range<u64>, out: &mut [f32]) -> Result<()> {
        let mut corners = vec![vec![0f32; self.width as usize]; 4];
        for (place, vector) in places.clone().zip(out.chunks_exact_mut(self.width as usize)) {
            let rows = between(place / self.to, self.from, self.to);
            let columns = between(place % self.to, self.from, self.to);
            let mut weights = [0.0; 4];
            for (at, corner) in corners.iter_mut().enumerate() {
                let ((row, of_row), (column, of_column)) = (rows[at / 2], columns[at % 2]);
                weights[at] = of_row * of_column;
                let first = (row * self.from + column) * self.width;
                self.stored
                    .read_values(parts, first..first + self.width, corner)?;
            }
            for (at, x) in vector.iter_mut().enumerate() {
                let of = |corner: usize| (weights[corner], corners[corner][at]);
                let add = |sum: f32, (weight, x): (f32, f32)| weight.mul_add(x, sum);
                let (weight, third) = of(2);
                *x = add(add(add(weight * third, of(3)), of(1)), of(0));
            }
        }
        Ok(())
    }
}

/// The places on a side of `from` that place `at` on one of `to` lies between.
fn between(at: u64, from: u64, to: u64) -> [Neighbour; 2] {
    let scale = if to > 1 {
        (from - 1) as f32 / (to - 1) as f32
    } else {
        0.0
    };
    let real = scale * at as f32;
    let first = (real.floor() as u64).min(from - 1);
    let second = (first + 1).min(from - 1);
    let weight = (real - first as f32).clamp(0.0, 1.0);
    [(first, 1.0 - weight), (second, weight)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corners_stay_and_others_lie_between() {
        assert_eq!(between(0, 5, 3), [(0, 1.0), (1, 0.0)]);
        assert_eq!(between(1, 5, 3), [(2, 1.0), (3, 0.0)]);
        assert_eq!(between(2, 5, 3), [(4, 1.0), (4, 0.0)]);
        assert_eq!(between(1, 3, 5), [(0, 0.5), (1, 0.5)]);
        assert_eq!(between(0, 7, 1), [(0, 1.0), (1, 0.0)]);
        assert_eq!(between(3, 1, 4), [(0, 1.0), (0, 0.0)]);
    }
}
