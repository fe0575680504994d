//! States of a target model that its drafts go on from.

use std::ops::Range;

use crate::Result;
use crate::layers::Input;
use crate::model::{Logits, Model};
use crate::ops::Matrix;

/// What a pass of a target model over windows of tokens leaves for a [`crate::Draft`] of it.
pub struct States<'m> {
    pub(super) target: &'m Model,
    pub(super) windows: Vec<Vec<u32>>,
    /// For each layer asked for what it reads, a row for each token.
    pub(super) inputs: Vec<Matrix>,
    /// Final states, normalized.
    last: Matrix,
}

impl Model {
    /// Runs windows of tokens, each from its own beginning, and keeps the inputs of `layers`, the number of which may be
    /// one more than the last layer's: then what that one puts out. These are states of [`crate::Draft::layers`].
    ///
    /// # Errors
    /// A layer that the model does not have, an encoder, and as [`Self::forward`].
    pub fn states_for(&self, layers: &[usize], windows: &[&[u32]]) -> Result<States<'_>> {
        self.expect_predictions()?;
        let decoder = self.decoder();
        if decoder.sides.is_some() {
            return Err(self.error(
                "drafts: expected a target that reads one text, found one with an encoder and a decoder"
                    .to_owned(),
            ));
        }
        let count = decoder.layers.len();
        if let Some(layer) = layers.iter().find(|&&layer| layer > count) {
            return Err(self.error(format!(
                "drafts: expected a target with the layer {layer} that the draft reads, found one of {count} layers"
            )));
        }
        let sequences: Vec<_> = windows.iter().map(|window| (*window, 0..usize::MAX)).collect();
        let mut run = self.begin(&sequences, None)?;
        let mut inputs = vec![Matrix::default(); layers.len()];
        let mut keep = |index: usize, x: &Matrix| {
            let asked = layers.iter().zip(&mut inputs);
            asked
                .filter(|(layer, _)| **layer == index)
                .for_each(|(_, kept)| *kept = x.clone());
        };
        let mut x = decoder.embed(&mut run)?;
        for (index, layer) in decoder.layers.iter().enumerate() {
            keep(index, &x);
            layer.forward(&mut run, &mut x, false)?;
        }
        keep(count, &x);
        let last = decoder.finish(&mut run, x)?;
        Ok(States {
            target: self,
            windows: windows.iter().map(|window| window.to_vec()).collect(),
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
        let mut run = self.target.begin(&[], None)?;
        let range = 0..self.target.vocabulary();
        let decoder = self.target.decoder();
        let Matrix { rows, cols, data } = decoder.logits(&mut run, &mut Input::new(&self.last), range)?;
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

    /// The tokens of each window but its first.
    pub(super) fn following(&self) -> Vec<(&[u32], Range<usize>)> {
        let tokens = self
            .windows
            .iter()
            .map(|window| window.get(1..).unwrap_or_default());
        tokens.map(|tokens| (tokens, 0..usize::MAX)).collect()
    }

    /// The kept inputs of the layers beside each other, in a row for each token but every window's last.
    pub(super) fn beside(&self) -> Matrix {
        let columns: usize = self.inputs.iter().map(|m| m.cols).sum();
        let mut data = Vec::new();
        let mut first = 0;
        for window in &self.windows {
            for row in first..first + window.len().saturating_sub(1) {
                for input in &self.inputs {
                    data.extend_from_slice(&input.data[row * input.cols..][..input.cols]);
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
