//! Long calls: the interpreter's lock released, progress told, Ctrl-C obeyed.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use pyo3::prelude::*;
use quantsmith::convert::source::{Cancellable, Source};

use crate::errors::IntoPy;

/// How often signals are looked at and progress is told.
const TICK: Duration = Duration::from_millis(100);

/// State shared by the working thread and the waiting one.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    cancelled: AtomicBool,
    done: AtomicU64,
    total: AtomicU64,
}

/// The payload by which a cancelled measurement unwinds out of its progress callback.
struct Cancelled;

impl Watch {
    /// Notes progress; unwinds when the call was cancelled. For callbacks on the calling thread.
    pub(crate) fn tick(&self, done: u64, total: u64) {
        self.note(done, total);
        if self.cancelled.load(Ordering::Relaxed) {
            resume_unwind(Box::new(Cancelled));
        }
    }

    /// `source`, until this call is cancelled.
    pub(crate) fn source<'a>(&'a self, source: &'a dyn Source) -> Cancellable<'a> {
        Cancellable::new(source, &self.cancelled)
    }

    /// Notes progress, from any thread.
    pub(crate) fn note(&self, done: u64, total: u64) {
        self.total.store(total, Ordering::Relaxed);
        self.done.fetch_max(done, Ordering::Relaxed);
    }
}

/// Runs `work` on a thread of its own while this one handles signals and calls `progress(done, total)`.
///
/// # Errors
/// The error of `work`, an exception raised by `progress`, or `KeyboardInterrupt`; the work has ended by then
/// and left nothing under a final name.
pub(crate) fn run<T: Send, E: IntoPy + Send>(
    py: Python<'_>,
    progress: Option<&Bound<'_, PyAny>>,
    work: impl FnOnce(&Watch) -> std::result::Result<T, E> + Send,
) -> PyResult<T> {
    let watch = Watch::default();
    let progress = progress.map(|p| p.clone().unbind());
    let (outcome, interrupted) = py.detach(|| {
        std::thread::scope(|scope| {
            let worker = scope.spawn(|| catch_unwind(AssertUnwindSafe(|| work(&watch))));
            let mut told = 0;
            let mut interrupted = None;
            while !worker.is_finished() {
                std::thread::park_timeout(TICK.min(Duration::from_millis(5)));
                if interrupted.is_some() {
                    continue;
                }
                let done = watch.done.load(Ordering::Relaxed);
                let attached = Python::attach(|py| {
                    py.check_signals()?;
                    match &progress {
                        Some(call) if done > told => {
                            told = done;
                            call.call1(py, (done, watch.total.load(Ordering::Relaxed)))
                                .map(|_| ())
                        }
                        _ => Ok(()),
                    }
                });
                if let Err(e) = attached {
                    watch.cancelled.store(true, Ordering::Relaxed);
                    interrupted = Some(e);
                }
            }
            let outcome = worker.join().unwrap_or_else(Err);
            (outcome, interrupted)
        })
    });
    if let Some(e) = interrupted {
        return Err(e);
    }
    match outcome {
        Ok(done) => done.map_err(IntoPy::into_py),
        Err(panic) => resume_unwind(panic as Box<dyn Any + Send>),
    }
}
