//! Embeddings of texts: their final states, reduced to one vector.

use super::{Model, alike};
use crate::Result;

impl Model {
    /// One vector of length one for each window: its final hidden states, pooled as the file says
    /// (`pooling_type`: their mean, the first, or the last; the mean where it does not say).
    ///
    /// # Errors
    /// As [`Self::forward`]; also when a window has no token, the pooling is another, or the model has an encoder and a
    /// decoder.
    pub fn embed(&self, windows: &[&[u32]]) -> Result<Vec<Vec<f32>>> {
        if self.decoder.sides.is_some() {
            return Err(self.error(
                "embeddings: expected a model that reads one text, found one with an encoder and a decoder; the encoder alone \
                 has some (T5EncoderModel)"
                    .to_owned(),
            ));
        }
        let key = self.gguf.metadata().arch("pooling_type");
        let pooling = key.map_or(Some(1), |v| v.as_u64());
        let pooling = match pooling {
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
        if windows.iter().any(|w| w.is_empty()) {
            return Err(self.error("expected texts of at least one token, found one without".to_owned()));
        }
        let (_, states) = self.hidden(&alike(windows, &(0..usize::MAX)), None)?;
        let mut rows = states.data.chunks_exact(states.cols.max(1));
        let mut out = Vec::with_capacity(windows.len());
        for window in windows {
            let mine: Vec<&[f32]> = rows.by_ref().take(window.len()).collect();
            out.push(pooling.pool(&mine));
        }
        Ok(out)
    }
}

/// Reduction of the states of a text to one vector.
#[derive(Clone, Copy)]
enum Pooling {
    Mean,
    First,
    Last,
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
        let length = sums.iter().map(|x| x * x).sum::<f64>().sqrt();
        let scale = if length > 0.0 { 1.0 / length } else { 0.0 };
        sums.iter().map(|x| (x * scale) as f32).collect()
    }
}
