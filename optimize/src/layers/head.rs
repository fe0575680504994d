//! Learning the output matrix.

use std::ops::Range;
use std::sync::Arc;

use convert::scratch::Scratch;
use reference::Staged;

use super::groups::Group;
use super::ledger::Filled;
use super::tap::Collector;
use super::tensor::{self, Job};
use super::{LOOKED_UP, Work};
use crate::Result;
use crate::moments::Purpose;

impl Work<'_> {
    /// Encodes the embeddings where they are the output matrix, too. All layers come after them, so what they learn from
    /// is the unquantized model's final states, and there is nothing to make up for.
    pub(super) fn learn_tied(&self) -> Result<Vec<Filled>> {
        let Some(job) = self.head(true)? else {
            return Ok(Vec::new());
        };
        let spill = self.spill()?;
        let folder = spill.as_ref().map(Scratch::path);
        let (windows, batches) = (&self.options.windows, &self.split.batches);
        let mut exact = self.model.staged(windows, batches, Vec::new(), folder)?;
        for _ in 0..self.model.layers() {
            exact.advance()?;
        }
        self.learn_head(job, &exact, None)
    }

    /// Encodes an output matrix of its own, when all layers are done.
    pub(super) fn learn_output<'m>(&self, staged: &Staged<'m>, exact: &Staged<'m>) -> Result<Vec<Filled>> {
        match self.head(false)? {
            Some(job) => self.learn_head(job, staged, Some(exact)),
            None => Ok(Vec::new()),
        }
    }

    /// The output matrix, where the plan has it in a type that can be learned, and it is the embeddings (`tied`) or
    /// is not.
    fn head(&self, tied: bool) -> Result<Option<Job<'_>>> {
        let name = self.model.output_matrix();
        let name = name.filter(|name| LOOKED_UP.contains(name) == tied);
        let Some(planned) = name.and_then(|name| self.planned.get(name)) else {
            return Ok(None);
        };
        let job = Job::head(self.source, planned)?;
        Ok(job.can_learn().then_some(job))
    }

    fn learn_head<'m>(
        &self,
        job: Job<'_>,
        staged: &Staged<'m>,
        exact: Option<&Staged<'m>>,
    ) -> Result<Vec<Filled>> {
        let group = Group {
            tensors: vec![job.name().to_owned()],
            experts: false,
        };
        let collect = |batches: Range<usize>, purpose: Purpose| -> Result<_> {
            let tap = Collector::new(&group, job.columns, 0..1, false, purpose);
            let tap = tap.fill(batches, (staged, exact), Staged::observe_head)?;
            Ok(tap.into_moments().0)
        };
        let (split, damping) = (self.split, self.options.damping);
        let teaching = collect(0..split.teaching, Purpose::Teaching)?;
        let held_out = collect(split.teaching..split.batches.len(), Purpose::Judging)?;
        let mut jobs = [job];
        for (teaching, held_out) in teaching.iter().zip(&held_out) {
            tensor::learn(&mut jobs, 0, teaching, held_out, damping)?;
        }
        let filled = jobs.into_iter().map(|job| {
            let ty = job.ty();
            let (learned, blocks) = job.finish();
            (learned, ty, Arc::from(blocks))
        });
        Ok(filled.collect())
    }
}
