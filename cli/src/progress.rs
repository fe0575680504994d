//! Progress of long work: one line with a phase, a rate and the time left on a terminal, plain lines in a log.

mod line;
mod pace;

use std::io::IsTerminal;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use convert::pipeline::{OnProgress, Progress};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

pub(crate) use line::Unit;
use line::{State, short, whole};
use pace::Pace;

/// Time before the first plain line and between two, and between two states of the line on a terminal.
const FIRST_LINE: Duration = Duration::from_secs(1);
const LINE_EVERY: Duration = Duration::from_secs(10);
const DRAW_EVERY: Duration = Duration::from_millis(100);

/// Does work of the pipeline, with its progress on standard error.
pub(crate) fn metered<T>(work: impl FnOnce(OnProgress<'_>) -> T) -> T {
    let meter = Meter::new("encode", Unit::Weights);
    let done = work(&|p: Progress| meter.show(p.done, p.total));
    meter.finish();
    done
}

/// Display of the progress of one phase.
pub(crate) struct Meter {
    phase: &'static str,
    unit: Unit,
    /// On a terminal.
    bar: Option<ProgressBar>,
    /// For work that is told in steps.
    done: AtomicU64,
    total: AtomicU64,
    inner: Mutex<Inner>,
}

struct Inner {
    pace: Pace,
    shown: Instant,
    any: bool,
    /// When the log beside the files had a line, where a terminal has the others.
    logged: Instant,
}

impl Meter {
    /// Starts with nothing done.
    pub(crate) fn new(phase: &'static str, unit: Unit) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let bar = (terminal && !crate::output::is_quiet()).then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
            // The message is cut to the terminal's width already; this cuts what a resize left too long.
            if let Ok(style) = ProgressStyle::with_template("{wide_msg}") {
                bar.set_style(style);
            }
            bar
        });
        let now = Instant::now();
        Self {
            phase,
            unit,
            bar,
            done: AtomicU64::new(0),
            total: AtomicU64::new(0),
            inner: Mutex::new(Inner {
                pace: Pace::new(now),
                shown: now,
                any: false,
                logged: now,
            }),
        }
    }

    /// For work of this amount, which is told in steps.
    pub(crate) fn of(phase: &'static str, unit: Unit, total: u64) -> Self {
        let meter = Self::new(phase, unit);
        meter.grow(total);
        meter.show(0, total);
        meter
    }

    /// Notes a step.
    pub(crate) fn add(&self, step: u64) {
        let done = self.done.fetch_add(step, Ordering::Relaxed).saturating_add(step);
        self.show(done, self.total.load(Ordering::Relaxed));
    }

    /// Notes that there is more to do.
    pub(crate) fn grow(&self, more: u64) {
        self.total.fetch_add(more, Ordering::Relaxed);
    }

    /// Shows a new state; called from any thread, in any order.
    pub(crate) fn show(&self, done: u64, total: u64) {
        // Whoever holds the lock shows it.
        let Ok(mut inner) = self.inner.try_lock() else {
            return;
        };
        let now = Instant::now();
        let done = inner.pace.note(now, done);
        let every = match (&self.bar, inner.any) {
            (Some(_), _) => DRAW_EVERY,
            (None, false) => FIRST_LINE,
            (None, true) => LINE_EVERY,
        };
        // Of texts, a log has the last state in any case.
        let last = self.unit == Unit::Windows && self.bar.is_none() && done >= total;
        let early = (inner.any || self.bar.is_none()) && now.duration_since(inner.shown) < every;
        if early && !last || total == 0 {
            return;
        }
        (inner.shown, inner.any) = (now, true);
        let state = State {
            phase: self.phase,
            unit: self.unit,
            done,
            total,
            rate: inner.pace.rate(),
            left: inner.pace.left(total),
        };
        match &self.bar {
            Some(bar) => {
                bar.set_message(short(&state, width_of_terminal()));
                if now.duration_since(inner.logged) >= LINE_EVERY {
                    inner.logged = now;
                    crate::log::line(format_args!("{}", whole(&state)));
                }
            }
            None => eprintln!("{}", whole(&state)),
        }
    }

    /// Prints a line above that of a terminal.
    pub(crate) fn print(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => eprintln!("{text}"),
        }
    }

    /// Removes the line.
    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.finish();
    }
}

/// Columns of the terminal, as it is now.
fn width_of_terminal() -> usize {
    console::Term::stderr().size().1.into()
}
