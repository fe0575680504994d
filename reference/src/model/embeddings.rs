//! Embeddings of texts: their final states, reduced to one vector, or one for each token.

use super::{Makes, Model, alike};
use crate::Result;
use crate::layers::Input;
use crate::ops::Matrix;
use crate::run::Run;

/// Reduction of the states of a text to one vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// Their mean.
    Mean,
    /// The first token's.
    First,
    /// The last token's.
    Last,
}

/// One row of numbers for each token.
#[derive(Clone, Debug, PartialEq)]
pub struct Rows {
    /// Tokens of all windows, window after window.
    pub rows: usize,
    /// Numbers of a row.
    pub columns: usize,
    /// `rows * columns` numbers, row after row.
    pub data: Vec<f32>,
}

impl Rows {
    /// The numbers of one token.
    pub fn row(&self, row: usize) -> &[f32] {
        &self.data[row * self.columns..][..self.columns]
    }
}

impl Model {
    /// One vector of length one for each window: its final hidden states, pooled as the file says
    /// (`pooling_type`: their mean, the first, or the last; the mean where it does not say), then through the layers that a file
    /// may have behind the pooling (`dense_2`, `dense_3`).
    ///
    /// # Errors
    /// As [`Self::forward`]; also when a window has no token, the pooling is another, or the model has an encoder and a
    /// decoder, or is a decoder of sound.
    pub fn embed(&self, windows: &[&[u32]]) -> Result<Vec<Vec<f32>>> {
        let key = self.gguf.metadata().arch("pooling_type");
        let pooling = match key.map_or(Some(1), |v| v.as_u64()) {
            Some(0 | 1) => Pooling::Mean,
            Some(2) => Pooling::First,
            Some(3) => Pooling::Last,
            _ => {
                let name = format!("{}.pooling_type", self.gguf.metadata().architecture());
                return Err(self.error(format!(
                    "key '{name}': expected 1 (mean), 2 (first) or 3 (last), found {key:?}"
                )));
            }
        };
        self.embed_by(windows, pooling)
    }

    /// [`Self::embed`], pooled in this way, whatever the file says.
    ///
    /// # Errors
    /// As [`Self::embed`].
    pub fn embed_by(&self, windows: &[&[u32]], pooling: Pooling) -> Result<Vec<Vec<f32>>> {
        let (mut run, pooled) = self.pooled(windows, pooling)?;
        let made = self.through_modules(&mut run, pooled)?;
        Ok(made
            .data
            .chunks_exact(made.cols.max(1))
            .map(unit_length)
            .collect())
    }

    /// One row for each token of every window, not pooled and of whatever length: the final hidden state, through the layers
    /// that a file may have behind the pooling, and of a decoder of sound (WavTokenizer) the row of a spectrum that it makes
    /// of a code. These are what llama.cpp gives as embeddings without pooling.
    ///
    /// # Errors
    /// As [`Self::forward`]; also when the model has an encoder and a decoder.
    pub fn embed_tokens(&self, windows: &[&[u32]]) -> Result<Rows> {
        let (mut run, states) = self.states(windows)?;
        let made = match self.decoder.makes {
            Makes::Sound => self.decoder.head.forward(&mut run, &states)?,
            Makes::Predictions | Makes::Embeddings => self.through_modules(&mut run, states)?,
        };
        Ok(Rows {
            rows: made.rows,
            columns: made.cols,
            data: made.data,
        })
    }

    /// The pooled states of each window, and the run that they are of.
    pub(super) fn pooled(&self, windows: &[&[u32]], pooling: Pooling) -> Result<(Run<'_>, Matrix)> {
        if self.decoder.makes == Makes::Sound {
            return Err(self.error(format!(
                "embeddings of texts: expected a model of texts, found a decoder of sound ({}), which makes a row of a spectrum \
                 of each code (an embedding for each token)",
                self.gguf.metadata().architecture()
            )));
        }
        if windows.iter().any(|w| w.is_empty()) {
            return Err(self.error("expected texts of at least one token, found one without".to_owned()));
        }
        let (run, states) = self.states(windows)?;
        let mut rows = states.data.chunks_exact(states.cols.max(1));
        let mut pooled = Matrix {
            rows: windows.len(),
            cols: states.cols,
            data: Vec::with_capacity(windows.len() * states.cols),
        };
        for window in windows {
            let mine: Vec<&[f32]> = rows.by_ref().take(window.len()).collect();
            pooled.data.extend(pooling.pool(&mine));
        }
        Ok((run, pooled))
    }

    /// The final states of all tokens.
    fn states(&self, windows: &[&[u32]]) -> Result<(Run<'_>, Matrix)> {
        if self.decoder.sides.is_some() {
            return Err(self.error(
                "embeddings: expected a model that reads one text, found one with an encoder and a decoder; the encoder alone \
                 has some (T5EncoderModel)"
                    .to_owned(),
            ));
        }
        self.hidden(&alike(windows, &(0..usize::MAX)), None)
    }

    /// The output of the layers behind the pooling for these rows.
    fn through_modules(&self, run: &mut Run<'_>, mut x: Matrix) -> Result<Matrix> {
        for module in &self.decoder.modules {
            x = module.forward_input(run, &mut Input::new(&x))?;
        }
        Ok(x)
    }
}

impl Pooling {
    fn pool(self, states: &[&[f32]]) -> Vec<f32> {
        let mut sums = vec![0f64; states.first().map_or(0, |s| s.len())];
        let chosen = match self {
            Self::Mean => states,
            Self::First => &states[..states.len().min(1)],
            Self::Last => &states[states.len().saturating_sub(1)..],
        };
        for state in chosen {
            for (sum, x) in sums.iter_mut().zip(*state) {
                *sum += f64::from(*x);
            }
        }
        let count = chosen.len().max(1) as f64;
        sums.iter().map(|x| (x / count) as f32).collect()
    }
}

/// A vector at length one; zeros stay what they are.
fn unit_length(vector: &[f32]) -> Vec<f32> {
    let length = vector.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
    let scale = if length > 0.0 { 1.0 / length } else { 0.0 };
    vector.iter().map(|&x| (f64::from(x) * scale) as f32).collect()
}
