//! Vectors of a grid's places, for another grid.

use super::Assembler;
use crate::Result;
use crate::arch::{Hparams, Match, Rows, View};
use crate::source::hf::content::Content;
use crate::source::hf::grid::Grid;
use crate::source::hf::layout::Layout;
use crate::source::hf::parts::Place;

/// Most places on a side of a grid.
const MAX_SIDE: u64 = 1 << 12;

impl Assembler<'_> {
    /// Positions of as many places on a side as the function says, of those that are stored.
    pub(super) fn grid(&mut self, found: Match, at: Place, side: fn(&Hparams) -> Result<u64>) -> Result<()> {
        self.no_pair(at)?;
        let to = side(self.hparams)?;
        if !(1..=MAX_SIDE).contains(&to) {
            return Err(self.hparams.error(format!(
                "expected images of 1 to {MAX_SIDE} patches on a side, found {to}"
            )));
        }
        let entry = self.parts.entry(at);
        let from =
            |places: u64| Some(places.isqrt()).filter(|n| n * n == places && (1..=MAX_SIDE).contains(n));
        let (from, width) = match entry.shape[..] {
            [1, places, width] if width > 0 => (from(places), width),
            _ => (None, 0),
        };
        let Some(from) = from else {
            return Err(self.fail(
                at,
                format!(
                    "expected the shape [1, places of a square, width], found {:?}",
                    entry.shape
                ),
            ));
        };
        if from == to {
            let whole = View::of(&entry.shape);
            return self.gathered(found, at, whole, |g| g);
        }
        self.coverage.whole();
        let mut layout = Layout::new(self.element(at)?, width);
        layout.push((at.file, entry.offset), &Rows::range(0, from * from));
        let grid = Grid::new(layout, width, from, to);
        self.push(found.name, vec![width, to * to, 1], at.file, Content::Grid(grid));
        Ok(())
    }
}
