//! KL divergence that one tensor in another type causes by itself.

use std::ops::Range;
use std::sync::Arc;

use convert::plan::PlannedTensor;
use convert::source::Source;
use gguf::TensorType;
use reference::divergence::{Comparison, Predictions};
use reference::{Model, Staged};

use super::open::Open;
use crate::Result;
use crate::layers::tensor::Job;

/// Bits of the type at which tensors are tried: errors there are well above rounding, and not yet so large that they
/// stop adding up.
const BITS: f64 = 3.4;

/// The unquantized model's predictions over the first batch of a staged pass.
pub(super) struct Prober {
    base: Predictions,
    wanted: Range<usize>,
}

impl Prober {
    /// `staged` is at its beginning; `windows` are those of its first batch, all of one length.
    pub(super) fn new(model: &Model, staged: &Staged<'_>, windows: &[Vec<u32>]) -> Result<Self> {
        let length = windows.iter().map(Vec::len).min().unwrap_or(0);
        let first = length / 2;
        let wanted = first..length.saturating_sub(1);
        let targets: Vec<u32> = windows
            .iter()
            .flat_map(|w| w[first + 1..length].iter().copied())
            .collect();
        let mut base = Predictions::new(&targets, model.vocabulary());
        staged.finish(0, wanted.clone(), &[], &mut base)?;
        base.finish();
        Ok(Self { base, wanted })
    }

    /// The type at which a tensor is tried: its index among those to choose from.
    pub(super) fn tried(open: &Open, columns: usize) -> usize {
        let off = |ty: TensorType| {
            let bits = ty.row_bytes(columns as u64).unwrap_or(0) as f64 * 8.0 / columns as f64;
            (bits - BITS).abs()
        };
        let types = open.types.iter().enumerate();
        types
            .min_by(|a, b| off(*a.1).total_cmp(&off(*b.1)))
            .map_or(0, |(index, _)| index)
    }

    /// Mean divergence with this tensor in this type, and all others as they are.
    pub(super) fn divergence(
        &self,
        staged: &Staged<'_>,
        source: &dyn Source,
        planned: &PlannedTensor,
        ty: TensorType,
    ) -> Result<f64> {
        let mut seen = Comparison::new(&self.base);
        staged.finish(
            0,
            self.wanted.clone(),
            &[stand_in(source, planned, ty)?],
            &mut seen,
        )?;
        Ok(mean(&seen))
    }

    /// The same of an embedding, which acts before the first layer.
    pub(super) fn divergence_of_embedding(
        &self,
        model: &Model,
        windows: &[Vec<u32>],
        source: &dyn Source,
        planned: &PlannedTensor,
        ty: TensorType,
    ) -> Result<f64> {
        let stand_in = vec![stand_in(source, planned, ty)?];
        let staged = model.staged(windows, std::slice::from_ref(&(0..windows.len())), stand_in, None)?;
        let mut seen = Comparison::new(&self.base);
        staged.finish(0, self.wanted.clone(), &[], &mut seen)?;
        Ok(mean(&seen))
    }
}

/// A tensor in another type than the plan's.
fn stand_in(
    source: &dyn Source,
    planned: &PlannedTensor,
    ty: TensorType,
) -> Result<(String, TensorType, Arc<[u8]>)> {
    let mut planned = planned.clone();
    planned.ty = ty;
    let blocks = Job::new(source, &planned)?.stock()?;
    Ok((planned.name, ty, Arc::from(blocks)))
}

fn mean(seen: &Comparison<'_>) -> f64 {
    let seen = seen.observations();
    let sum: f64 = seen.iter().map(|o| o.kld).sum();
    (sum / seen.len().max(1) as f64).max(0.0)
}
