//! Stored tensors as pieces of the output: their element, shape and views.

use super::Assembler;
use crate::Result;
use crate::arch::{Match, View};
use crate::source::hf::content::Content;
use crate::source::hf::element::Element;
use crate::source::hf::gather::Gather;
use crate::source::hf::parts::Place;

/// Dimensions of a GGUF tensor.
pub(super) const MAX_GGUF_DIMS: usize = 4;
/// Dimensions of a stored tensor that is rearranged: those of a convolution over frames.
const MAX_STORED_DIMS: usize = 5;

impl Assembler<'_> {
    /// A view of a stored tensor, and the shape of what it becomes, innermost dimension first.
    pub(super) fn gather(&self, at: Place, view: Option<View>) -> Result<(Gather, Vec<u64>)> {
        let entry = self.parts.entry(at);
        let shape = &entry.shape;
        if shape.len() > MAX_STORED_DIMS || shape.contains(&0) {
            return Err(self.fail(
                at,
                format!(
                    "expected at most {MAX_STORED_DIMS} dimensions, none of them 0, found the shape {shape:?}"
                ),
            ));
        }
        let place = (at.file, entry.offset);
        let element = self.element(at)?;
        let gather = view.and_then(|view| Some((Gather::new(element, place, &view)?, view.shape())));
        let fits = |(_, s): &(Gather, Vec<u64>)| (1..=MAX_GGUF_DIMS).contains(&s.len());
        let Some((gather, mut shape)) = gather.filter(fits) else {
            return Err(self.fail(
                at,
                format!(
                    "expected a shape that goes with the numbers in config.json, found {:?}",
                    entry.shape
                ),
            ));
        };
        shape.reverse();
        Ok((gather, shape))
    }

    pub(super) fn gathered(
        &mut self,
        found: Match,
        at: Place,
        view: Option<View>,
        finish: impl FnOnce(Gather) -> Gather,
    ) -> Result<()> {
        view.iter().for_each(|view| self.coverage.view(view));
        let (gather, shape) = self.gather(at, view)?;
        self.push(found.name, shape, at.file, Content::Gathered(finish(gather)));
        Ok(())
    }

    pub(super) fn element(&self, at: Place) -> Result<Element> {
        let entry = self.parts.entry(at);
        entry.element().ok_or_else(|| {
            self.fail(
                at,
                format!(
                    "expected one of the dtypes F32, F16, BF16, F64, F8_E4M3 and F8_E5M2, found {}",
                    entry.dtype
                ),
            )
        })
    }

    pub(super) fn gguf_shape(&self, at: Place) -> Result<Vec<u64>> {
        // A number by itself, which encoders have as the bounds of activations, becomes a vector of one.
        if self.parts.entry(at).shape.is_empty() && self.architecture.is_encoder() {
            return Ok(vec![1]);
        }
        self.dimensions(at, MAX_GGUF_DIMS)?;
        Ok(self.parts.entry(at).shape.iter().rev().copied().collect())
    }

    /// Checks that a stored tensor has 1 to `most` dimensions, none of them 0.
    pub(super) fn dimensions(&self, at: Place, most: usize) -> Result<()> {
        let shape = &self.parts.entry(at).shape;
        if shape.is_empty() || shape.len() > most || shape.contains(&0) {
            return Err(self.fail(
                at,
                format!("expected 1 to {most} dimensions, none of them 0, found the shape {shape:?}"),
            ));
        }
        Ok(())
    }
}
