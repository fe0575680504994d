//! The end of a staged pass with other tensors from here on.

use std::ops::Range;
use std::sync::Arc;

use gguf::TensorType;

use super::Staged;
use crate::model::LogitsSink;
use crate::run::{Tap, keep_wanted};
use crate::weights::Other;
use crate::{Error, Result};

/// A tensor's blocks in another type: its name, the type and the blocks.
pub type StandIn = (String, TensorType, Arc<[u8]>);

impl Staged<'_> {
    /// Runs one batch through all layers that are left and hands out the logits of the positions `wanted` of every
    /// window, with `stand_ins` in place of the file's tensors. The batch stays where it is.
    ///
    /// # Errors
    /// When a tensor is not the model's, the model makes no logits, or weights cannot be read.
    pub fn finish(
        &self,
        batch: usize,
        wanted: Range<usize>,
        stand_ins: &[StandIn],
        sink: &mut dyn LogitsSink,
    ) -> Result<()> {
        self.model.expect_predictions()?;
        let mut replaced = self.replaced.clone();
        for (tensor, ty, blocks) in stand_ins {
            let index = self.model.stands_in(tensor, *ty, blocks)?;
            replaced.insert(index, Other::Blocks(*ty, Arc::clone(blocks)));
        }
        let decoder = &self.model.decoder;
        let mut run = self.run_for(&self.batches[batch], wanted, None)?;
        run.replaced = Some(&replaced);
        let mut hidden = self.states.get(batch)?.give(&mut run);
        for (index, layer) in decoder.layers.iter().enumerate().skip(self.layer) {
            layer.forward(&mut run, &mut hidden, index + 1 == decoder.layers.len())?;
        }
        if self.layer == decoder.layers.len() {
            keep_wanted(&mut run, [&mut hidden]);
        }
        let hidden = decoder.finish(&mut run, hidden)?;
        self.model.hand_out(&mut run, &hidden, sink)
    }

    /// Shows the input of the output matrix to `tap`, once all layers are done. The batch stays where it is.
    ///
    /// # Errors
    /// When layers are left, or the state cannot be read.
    pub fn observe_head(&self, batch: usize, tap: &mut dyn Tap) -> Result<()> {
        let decoder = &self.model.decoder;
        if self.layer < decoder.layers.len() {
            return Err(self.model.error(format!(
                "the output matrix after {} of {} layers",
                self.layer,
                decoder.layers.len()
            )));
        }
        let mut run = self.run(&self.batches[batch], Some(tap))?;
        let hidden = self.states.get(batch)?.give(&mut run);
        let hidden = decoder.finish(&mut run, hidden)?;
        match self.model.observe_output(&mut run, &hidden) {
            Err(Error::Stopped) => Ok(()),
            other => other,
        }
    }
}
