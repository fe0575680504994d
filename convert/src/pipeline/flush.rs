//! Written bytes are brought to disk while the run goes on, so that they neither pile up in memory, where other
//! programs' pages make room for them, nor all have to be waited for in the end.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};

use super::Sink;
use crate::{Error, Result};

/// Bytes over all outputs after which they are brought to disk.
const BATCH: u64 = 128 << 20;

/// Bytes not on disk yet from which on those who write wait for the disk.
const LIMIT: u64 = 8 * BATCH;

/// A sink that counts what goes into another, for a thread that flushes it.
pub(super) struct Flushing<'a, S: ?Sized> {
    sink: &'a S,
    /// Bytes of each output that were not flushed.
    unflushed: Vec<AtomicU64>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    unflushed: u64,
    finished: bool,
    failure: Option<Error>,
}

impl<'a, S: Sink + ?Sized> Flushing<'a, S> {
    pub(super) fn new(sink: &'a S, outputs: usize) -> Self {
        Self {
            sink,
            unflushed: (0..outputs).map(|_| AtomicU64::new(0)).collect(),
            state: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Flushes batch after batch until [`Flushing::finish`]. What is left then is for the sink's owner to sync.
    pub(super) fn flush_batches(&self) {
        loop {
            let state = self
                .changed
                .wait_while(self.lock(), |state| !state.finished && state.unflushed < BATCH)
                .unwrap_or_else(PoisonError::into_inner);
            if state.finished {
                return;
            }
            drop(state);
            let mut flushed = 0;
            let mut failure = None;
            for (output, bytes) in self.unflushed.iter().enumerate() {
                let bytes = bytes.swap(0, Ordering::Relaxed);
                if bytes > 0 {
                    failure = failure.or(self.sink.flush(output).err());
                    flushed += bytes;
                }
            }
            let mut state = self.lock();
            state.unflushed = state.unflushed.saturating_sub(flushed);
            state.failure = state.failure.take().or(failure);
            self.changed.notify_all();
        }
    }

    /// Ends [`Flushing::flush_batches`] when the value is dropped.
    pub(super) fn finish_when_dropped(&self) -> impl Drop {
        Finish(self)
    }

    /// The first failure to flush.
    pub(super) fn into_failure(self) -> Option<Error> {
        self.state
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
            .failure
    }
}

struct Finish<'a, 'b, S: ?Sized>(&'b Flushing<'a, S>);

impl<S: ?Sized> Drop for Finish<'_, '_, S> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.finished = true;
        drop(state);
        self.0.changed.notify_all();
    }
}

impl<S: Sink + ?Sized> Sink for Flushing<'_, S> {
    fn write(&self, output: usize, tensor: usize, offset: u64, bytes: &[u8]) -> Result<()> {
        self.sink.write(output, tensor, offset, bytes)?;
        let written = bytes.len() as u64;
        self.unflushed[output].fetch_add(written, Ordering::Relaxed);
        let mut state = self.lock();
        state.unflushed += written;
        if state.unflushed >= BATCH {
            self.changed.notify_all();
        }
        // A failed disk makes nobody wait.
        let waits = |state: &mut State| state.unflushed > LIMIT && state.failure.is_none();
        drop(
            self.changed
                .wait_while(state, waits)
                .unwrap_or_else(PoisonError::into_inner),
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes bytes and notes what is flushed.
    struct Notes(Mutex<Vec<usize>>);

    impl Sink for Notes {
        fn write(&self, _: usize, _: usize, _: u64, _: &[u8]) -> Result<()> {
            Ok(())
        }
        fn flush(&self, output: usize) -> Result<()> {
            self.0.lock().unwrap().push(output);
            match output {
                1 => Err(Error::Request("no disk".into())),
                _ => Ok(()),
            }
        }
    }

    #[test]
    fn batches_are_flushed_and_failures_kept() {
        let notes = Notes(Mutex::default());
        let flushing = Flushing::new(&notes, 3);
        let bytes = vec![0; 1 << 20];
        std::thread::scope(|scope| {
            scope.spawn(|| flushing.flush_batches());
            for _ in 0..(2 * LIMIT) >> 20 {
                flushing.write(2, 0, 0, &bytes).unwrap();
            }
            flushing.write(1, 0, 0, &bytes).unwrap();
            for _ in 0..BATCH >> 20 {
                flushing.write(2, 0, 0, &bytes).unwrap();
            }
            while flushing.lock().failure.is_none() {
                std::thread::yield_now();
            }
            drop(flushing.finish_when_dropped());
        });
        let failure = flushing.into_failure().unwrap();
        assert!(failure.to_string().contains("no disk"), "{failure}");
        let flushed = notes.0.into_inner().unwrap();
        assert!(flushed.contains(&2) && !flushed.contains(&0));
    }
}
