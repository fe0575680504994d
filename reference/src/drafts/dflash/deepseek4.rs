//! The layers of a draft that has DeepSeek V4's: attention over the latest keys, which are values, too, in copies of the state that
//! hyper-connections mix, and experts.

use super::Pairs;
use crate::Error;
use crate::layers::{CompressedAttention, Mixer};
use crate::model::{Ends, Hyperparameters, Layer, latest_layers};
use crate::ops::Matrix;
use crate::run::Run;
use crate::weights::Loader;

#[derive(Debug)]
pub(super) struct Deepseek4 {
    layers: Vec<Layer>,
    /// To the copies, and back to one state.
    ends: Ends,
    causal: bool,
}

impl Deepseek4 {
    pub(super) fn read(loader: &Loader<'_>, hyper: &Hyperparameters) -> Result<Self, Error> {
        let (layers, ends) = latest_layers(loader, hyper)?;
        Ok(Self {
            layers,
            ends,
            causal: loader.keys.optional_flag("attention.causal")?.unwrap_or(false),
        })
    }

    /// Of each layer the keys of rows of states. Values are the same.
    pub(super) fn keys(&self, run: &mut Run<'_>, x: &Matrix) -> Result<Vec<(Matrix, Matrix)>, Error> {
        let attention = self.layers.iter().filter_map(attention_of);
        attention
            .map(|attention| Ok((attention.keys(run, x)?, Matrix::default())))
            .collect()
    }

    /// The final states, before their norm, of the rows `wanted` of blocks, of these embeddings.
    pub(super) fn forward(
        &self,
        run: &mut Run<'_>,
        x: Matrix,
        pairs: &Pairs<'_>,
        lent: &[(Matrix, Matrix)],
        wanted: &[usize],
    ) -> Result<Matrix, Error> {
        let mut x = self.ends.begin(run, x);
        for (layer, (keys, _)) in self.layers.iter().zip(lent) {
            let window = attention_of(layer).and_then(|attention| attention.shape.window);
            run.kept[0] = (pairs.lent(keys), Matrix::default());
            run.chosen = Some(pairs.chosen(window, self.causal));
            layer.forward(run, &mut x, false)?;
        }
        x.keep_rows(wanted);
        self.ends.end(run, x)
    }
}

fn attention_of(layer: &Layer) -> Option<&CompressedAttention> {
    match &layer.attention {
        Mixer::Compressed(attention) => Some(attention),
        _ => None,
    }
}
