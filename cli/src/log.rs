//! The log of a run beside its files: what standard error is told, each line with its time.
//!
//! Until the files are there, lines are held in memory, so that a run which fails leaves no log.

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use anyhow::Context as _;

/// Most bytes that are held; later lines are left out.
const MAX_HELD: usize = 16 << 20;

enum State {
    Off,
    Held(Vec<u8>),
    File(File),
}

static LOG: Mutex<State> = Mutex::new(State::Off);

fn state() -> MutexGuard<'static, State> {
    LOG.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A log that is kept as long as this value lives.
pub(crate) struct Log(());

impl Log {
    /// Begins to hold lines.
    pub(crate) fn start() -> Self {
        *state() = State::Held(Vec::new());
        Self(())
    }

    /// Writes what is held to a file, and from here on every line at once. `continued` keeps what an earlier run has
    /// written there.
    pub(crate) fn write_to(&self, path: &Path, continued: bool) -> anyhow::Result<()> {
        let context = || path.display().to_string();
        gguf::check_not_input(path)?;
        let mut file = File::options()
            .create(true)
            .write(true)
            .append(continued)
            .truncate(!continued)
            .open(path)
            .with_context(context)?;
        let mut state = state();
        if let State::Held(lines) = &*state {
            file.write_all(lines).with_context(context)?;
        }
        *state = State::File(file);
        Ok(())
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        *state() = State::Off;
    }
}

/// A line for the log alone.
pub(crate) fn line(text: fmt::Arguments<'_>) {
    let mut state = state();
    if matches!(*state, State::Off) {
        return;
    }
    let now = humantime::format_rfc3339_seconds(SystemTime::now());
    let whole = format!("{now} {text}\n");
    match &mut *state {
        State::Off => {}
        State::Held(lines) if lines.len() + whole.len() <= MAX_HELD => lines.extend(whole.into_bytes()),
        State::Held(_) => {}
        // A log that cannot be written is no reason to end the run.
        State::File(file) => _ = file.write_all(whole.as_bytes()),
    }
}

/// Standard error, for the library's messages; what they say is in the log too.
pub(crate) struct Stderr;

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for text in String::from_utf8_lossy(bytes).lines() {
            line(format_args!("{}", text.trim()));
        }
        io::stderr().lock().write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
