//! Pairs of matrices of an adapter, in place of the weights that they change.

use std::collections::HashMap;

use super::Assembler;
use crate::Result;
use crate::arch::{Match, Rearrange, View};
use crate::source::hf::parts::Place;

/// The input sides of an adapter's pairs: what a rearrangement of a weight's columns acts on.
#[derive(Debug, Default)]
pub(in crate::source::hf) struct PairSides {
    /// Columns of each weight, by the position of its pair's output side.
    pub(in crate::source::hf) inputs: HashMap<u64, u64>,
    /// Views of the input side, by the output's name, where its columns change places.
    pub(in crate::source::hf) views: HashMap<String, View>,
}

impl Assembler<'_> {
    /// Refuses an adapter's pair for a weight that is computed from several.
    pub(super) fn no_pair(&self, at: Place) -> Result<()> {
        match &self.pairs {
            None => Ok(()),
            Some(_) => Err(self.fail(
                at,
                "computed from several stored tensors, so no pair can be added to it; merge the adapter into the \
                 model first"
                    .to_owned(),
            )),
        }
    }

    /// The sides of a pair for a weight whose dimensions are rearranged.
    pub(super) fn pair_view(
        &mut self,
        found: Match,
        at: Place,
        rearrange: Rearrange,
        is_mapped: bool,
    ) -> Result<()> {
        let entry = self.parts.entry(at);
        let inputs = self
            .pairs
            .as_ref()
            .and_then(|p| p.inputs.get(&entry.offset).copied());
        let (Some(inputs), &[outputs, rank]) = (inputs, &entry.shape[..]) else {
            return Err(self.fail(
                at,
                format!("expected a matrix, found the shape {:?}", entry.shape),
            ));
        };
        let view = match View::of(&[outputs, inputs]).filter(|_| !is_mapped) {
            Some(view) => rearrange(self.hparams, view)?,
            None => None,
        };
        let Some((output_side, input_side)) = view.and_then(|v| v.sides(inputs, rank)) else {
            return Err(self.fail(
                at,
                format!(
                    "the converted model computes {} from this weight of {outputs} x {inputs}, which no pair of \
                     matrices can follow; merge the adapter into the model first",
                    found.name
                ),
            ));
        };
        if let Some(sides) = &mut self.pairs {
            sides.views.insert(found.name.clone(), input_side);
        }
        self.gathered(found, at, Some(output_side), |g| g)
    }
}
