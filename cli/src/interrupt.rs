//! Ctrl-C and SIGTERM: temporary files are removed, and a run that can be continued says how.

use std::sync::{Mutex, PoisonError};

/// The way to continue the run, if there is one.
static CONTINUATION: Mutex<Option<String>> = Mutex::new(None);

/// Notes how this run can be continued, for the message of one that is interrupted.
pub(crate) fn can_be_continued(how: String) {
    *CONTINUATION.lock().unwrap_or_else(PoisonError::into_inner) = Some(how);
}

/// Notes that there is nothing to continue any more.
pub(crate) fn nothing_to_continue() {
    *CONTINUATION.lock().unwrap_or_else(PoisonError::into_inner) = None;
}

/// Another way to continue as long as this value lives; then the one before is that again.
pub(crate) struct Meanwhile(Option<String>);

/// Message of an interruption meanwhile.
pub(crate) fn meanwhile(how: &str) -> Meanwhile {
    let mut now = CONTINUATION.lock().unwrap_or_else(PoisonError::into_inner);
    Meanwhile(now.replace(how.to_owned()))
}

impl Drop for Meanwhile {
    fn drop(&mut self) {
        *CONTINUATION.lock().unwrap_or_else(PoisonError::into_inner) = self.0.take();
    }
}

/// Starts the thread that waits for signals. A signal that the process was started to ignore stays ignored.
#[cfg(unix)]
pub(crate) fn install() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use signal_hook::consts::{SIGINT, SIGTERM};
    use signal_hook::iterator::Signals;

    let wanted: Vec<i32> = [SIGINT, SIGTERM]
        .into_iter()
        .filter(|&s| !is_ignored(s))
        .collect();
    let ending = Arc::new(AtomicBool::new(false));
    for &signal in &wanted {
        // A second one ends the process at once, should the first get stuck.
        let status = 128 + signal;
        let _ = signal_hook::flag::register_conditional_shutdown(signal, status, Arc::clone(&ending));
    }
    // Without a handler the system's default stays, which ends the process too.
    let Ok(mut signals) = Signals::new(&wanted) else {
        return;
    };
    std::thread::spawn(move || {
        let Some(signal) = signals.forever().next() else {
            return;
        };
        ending.store(true, Ordering::SeqCst);
        gguf::remove_all();
        // The message stands in the place of the line of progress.
        let terminal = console::Term::stderr();
        if terminal.is_term() && !crate::output::is_quiet() {
            let _ = terminal.clear_line();
        }
        match CONTINUATION
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .as_deref()
        {
            Some(how) => eprintln!("interrupted: {how}"),
            None => eprintln!("interrupted: temporary files are removed; the same command begins again"),
        }
        std::process::exit(128 + signal);
    });
}

/// Nothing: the system's default ends the process, and the next run of the same output takes up what stays.
#[cfg(not(unix))]
pub(crate) fn install() {}

/// Whether the process was started with a signal ignored, as `nohup` and background jobs of scripts are; known
/// where the system tells it in a file.
#[cfg(unix)]
fn is_ignored(signal: i32) -> bool {
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else {
        return false;
    };
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}
