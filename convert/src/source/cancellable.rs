//! A source that can be told to stop.

use std::borrow::Cow;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use gguf::Metadata;

use super::{Source, SourceTensor};
use crate::{Error, Result};

/// Another source, whose next read fails with [`Error::Cancelled`] once a flag is set, from whichever thread. A run
/// over it then ends as it does with any error: nothing is published, temporary files go. The plan and the run both take it
/// in place of the source. A flag that is set after the last read has no effect.
///
/// ```no_run
/// use std::sync::atomic::AtomicBool;
/// use quantsmith_convert::pipeline::{PipelineOptions, execute};
/// use quantsmith_convert::plan::OutputPlan;
/// use quantsmith_convert::source::Cancellable;
/// use quantsmith_convert::source::hf::{HfOptions, HfSource};
///
/// static STOP: AtomicBool = AtomicBool::new(false);       // set from another thread, or a handler of Ctrl-C
/// let source = HfSource::open("MODEL_DIR".as_ref(), &HfOptions::default())?;
/// let source = Cancellable::new(&source, &STOP);
/// let plan = OutputPlan::unquantized("OUT.gguf", &source, Vec::new())?;
/// execute(&source, &[plan], &PipelineOptions::default(), &|_| {})?;
/// # Ok::<(), quantsmith_convert::Error>(())
/// ```
pub struct Cancellable<'a> {
    source: &'a dyn Source,
    cancelled: &'a AtomicBool,
}

impl<'a> Cancellable<'a> {
    /// `source`, until `cancelled` is true.
    pub fn new(source: &'a dyn Source, cancelled: &'a AtomicBool) -> Self {
        Self { source, cancelled }
    }

    fn check(&self) -> Result<()> {
        match self.cancelled.load(Ordering::Relaxed) {
            true => Err(Error::Cancelled),
            false => Ok(()),
        }
    }
}

impl Source for Cancellable<'_> {
    fn path(&self) -> &Path {
        self.source.path()
    }

    fn files(&self) -> Result<Vec<PathBuf>> {
        self.source.files()
    }

    fn metadata(&self) -> &Metadata {
        self.source.metadata()
    }

    fn tensors(&self) -> &[SourceTensor] {
        self.source.tensors()
    }

    fn read_rows(&self, tensor: usize, rows: Range<u64>, out: &mut [f32]) -> Result<()> {
        self.check()?;
        self.source.read_rows(tensor, rows, out)
    }

    fn raw_rows(&self, tensor: usize, rows: Range<u64>) -> Result<Option<Cow<'_, [u8]>>> {
        self.check()?;
        self.source.raw_rows(tensor, rows)
    }
}
