//! Runs of two texts, one for an encoder and one for the decoder that sees what it makes.

use std::ops::Range;

use super::Run;
use crate::ops::Matrix;

/// Rows of a run: those of several windows, one after the other.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rows {
    /// All windows' tokens.
    pub(crate) tokens: Vec<u32>,
    /// Rows of each window.
    pub(crate) windows: Vec<Range<usize>>,
    /// Position of each row in its window.
    pub(crate) positions: Vec<usize>,
    /// Rows whose logits are wanted.
    pub(crate) wanted: Vec<usize>,
}

impl Rows {
    /// The rows of windows with the positions that are wanted of each.
    pub(crate) fn new(windows: &[(&[u32], Range<usize>)]) -> Self {
        let mut rows = Self {
            tokens: windows.iter().flat_map(|(tokens, _)| *tokens).copied().collect(),
            ..Self::default()
        };
        let mut first = 0;
        for (window, wanted) in windows.iter().filter(|(tokens, _)| !tokens.is_empty()) {
            let len = window.len();
            rows.windows.push(first..first + len);
            rows.positions.extend(0..len);
            rows.wanted
                .extend(wanted.start.min(len) + first..wanted.end.min(len) + first);
            first += len;
        }
        rows
    }
}

/// The text that layers do not go through at the time: the decoder's while those of the encoder do, then the encoder's.
/// Empty in models of one text.
#[derive(Default)]
pub(crate) struct Other {
    pub(crate) rows: Rows,
    /// The decoder's embeddings, or what the encoder made.
    pub(crate) states: Matrix,
    /// Whether it is the encoder's.
    pub(crate) is_encoded: bool,
}

impl Run<'_> {
    /// Exchanges the rows of both texts.
    pub(crate) fn exchange_rows(&mut self) {
        std::mem::swap(&mut self.tokens, &mut self.other.rows.tokens);
        std::mem::swap(&mut self.windows, &mut self.other.rows.windows);
        std::mem::swap(&mut self.positions, &mut self.other.rows.positions);
        std::mem::swap(&mut self.wanted, &mut self.other.rows.wanted);
    }

    /// Goes on with the decoder's text: keeps what the encoder made, and gives the decoder's embeddings.
    pub(crate) fn turn(&mut self, encoded: Matrix) -> Matrix {
        self.exchange_rows();
        self.other.is_encoded = true;
        std::mem::replace(&mut self.other.states, encoded)
    }
}
