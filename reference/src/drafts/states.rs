//! States of a target model that its drafts go on from.

use std::ops::Range;

use super::{Draft, cut};
use crate::Result;
use crate::layers::{Input, mean};
use crate::model::{Logits, Model};
use crate::ops::Matrix;
use crate::run::Run;

/// The states that a pass of a target model over windows of tokens leaves for a [`crate::Draft`] of it.
pub struct States<'m> {
    pub(super) target: &'m Model,
    pub(super) windows: Vec<Vec<u32>>,
    /// The layers that the draft names.
    pub(super) layers: Vec<usize>,
    /// Of these, what they read: a row for each token.
    pub(super) inputs: Vec<Matrix>,
    /// Final states, normalized.
    pub(super) last: Matrix,
}

impl Model {
    /// Runs windows of tokens, each from its own beginning, and keeps what a draft goes on from.
    ///
    /// # Errors
    /// A model that is not the draft's target (the message says what the draft expects of it), an encoder, and as
    /// [`Self::forward`].
    pub fn states_for(&self, draft: &Draft, windows: &[&[u32]]) -> Result<States<'_>> {
        self.expect_predictions()?;
        let layers = draft.layers(self)?;
        let decoder = self.decoder();
        let sequences: Vec<_> = windows.iter().map(|window| (*window, 0..usize::MAX)).collect();
        let mut run = self.begin(&sequences, None)?;
        let mut inputs = vec![Matrix::default(); layers.len()];
        // Of copies of the state stock llama.cpp gives the drafts of this architecture the mean.
        let copies = match self.gguf().metadata().architecture() {
            "deepseek4" => decoder.ends.copies(),
            _ => 0,
        };
        let mut keep = |run: &mut Run<'_>, index: usize, x: &Matrix| {
            let asked = layers.iter().zip(&mut inputs);
            for (_, kept) in asked.filter(|(layer, _)| **layer == index) {
                *kept = match copies {
                    0 => x.clone(),
                    _ => mean(run, x, copies),
                };
            }
        };
        let mut x = decoder.embed(&mut run)?;
        for (index, layer) in decoder.layers.iter().enumerate() {
            keep(&mut run, index, &x);
            layer.forward(&mut run, &mut x, false)?;
        }
        keep(&mut run, decoder.layers.len(), &x);
        let last = decoder.finish(&mut run, x)?;
        if let Some(input) = inputs.iter().find(|input| input.cols != last.cols) {
            return Err(self.error(format!(
                "drafts: expected a target with one state of {} numbers for a token, found {} between its layers",
                last.cols, input.cols
            )));
        }
        Ok(States {
            target: self,
            windows: windows.iter().map(|window| window.to_vec()).collect(),
            layers,
            inputs,
            last,
        })
    }
}

impl States<'_> {
    /// The target's own logits of every token of every window.
    ///
    /// # Errors
    /// When weights cannot be read.
    pub fn logits(&self) -> Result<Logits> {
        self.logits_of(&(0..usize::MAX))
    }

    /// [`Self::logits`] of these positions of each window alone.
    pub(super) fn logits_of(&self, positions: &Range<usize>) -> Result<Logits> {
        let mut run = self.target.begin(&[], None)?;
        let range = 0..self.target.vocabulary();
        let decoder = self.target.decoder();
        let mut last = self.last.clone();
        last.keep_rows(&rows(&self.all(), positions));
        let Matrix { rows, cols, data } = decoder.logits(&mut run, &mut Input::new(&last), range)?;
        Ok(Logits {
            rows,
            vocabulary: cols,
            data,
        })
    }

    /// Tokens of each window.
    pub fn windows(&self) -> &[Vec<u32>] {
        &self.windows
    }

    /// The tokens of each window.
    pub(super) fn all(&self) -> Vec<(&[u32], Range<usize>)> {
        let windows = self.windows.iter();
        windows.map(|window| (window.as_slice(), 0..usize::MAX)).collect()
    }

    /// The tokens of each window but its first.
    pub(super) fn following(&self) -> Vec<(&[u32], Range<usize>)> {
        let tokens = self
            .windows
            .iter()
            .map(|window| window.get(1..).unwrap_or_default());
        tokens.map(|tokens| (tokens, 0..usize::MAX)).collect()
    }

    /// Of [`Self::following`], these rows of each window.
    pub(super) fn of_following(&self, wanted: &Range<usize>) -> Vec<usize> {
        rows(&self.following(), wanted)
    }

    /// Rows of matrices with one for each token, beside each other, without that of the last token of each window.
    pub(super) fn beside(&self, matrices: &[&Matrix]) -> Matrix {
        let columns: usize = matrices.iter().map(|m| m.cols).sum();
        let mut data = Vec::new();
        let mut first = 0;
        for window in &self.windows {
            for row in first..first + window.len().saturating_sub(1) {
                for matrix in matrices {
                    data.extend_from_slice(&matrix.data[row * matrix.cols..][..matrix.cols]);
                }
            }
            first += window.len();
        }
        Matrix {
            rows: data.len() / columns.max(1),
            cols: columns,
            data,
        }
    }
}

/// The rows of these places in each of some windows.
fn rows(windows: &[(&[u32], Range<usize>)], wanted: &Range<usize>) -> Vec<usize> {
    let mut first = 0;
    let each = windows.iter().flat_map(|(tokens, _)| {
        let window = first..first + tokens.len();
        first = window.end;
        cut(&window, wanted)
    });
    each.collect()
}
