//! Progress of long work: a bar with rate and remaining time on a terminal, plain lines in a log.

use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use convert::pipeline::{OnProgress, Progress};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Time between two plain lines.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Does work of the pipeline, with its progress on standard error.
pub(crate) fn metered<T>(work: impl FnOnce(OnProgress<'_>) -> T) -> T {
    let meter = Meter::new();
    let done = work(&|p| meter.show(p));
    meter.finish();
    done
}

/// Display of the pipeline's progress.
struct Meter {
    bar: Option<ProgressBar>,
    started: Instant,
    last_line: Mutex<Instant>,
}

impl Meter {
    /// Starts with nothing done.
    fn new() -> Self {
        let bar = (std::io::stderr().is_terminal() && !crate::output::is_quiet()).then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
            let style = ProgressStyle::with_template(
                "{bar:40} {percent:>3} %  {human_pos} of {human_len} weights  {per_sec}  {eta} left",
            );
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        Self {
            bar,
            started: Instant::now(),
            last_line: Mutex::new(Instant::now()),
        }
    }

    /// Shows a new state; called from the working threads.
    fn show(&self, progress: Progress) {
        if let Some(bar) = &self.bar {
            if bar.length() != Some(progress.total) {
                bar.set_length(progress.total);
            }
            // Threads report in any order; the bar never goes back.
            bar.set_position(progress.done.max(bar.position()));
            return;
        }
        // Whoever holds the lock prints the line.
        let Ok(mut last) = self.last_line.try_lock() else {
            return;
        };
        if last.elapsed() < LINE_EVERY || progress.total == 0 {
            return;
        }
        *last = Instant::now();
        let seconds = self.started.elapsed().as_secs_f64();
        let rate = progress.done as f64 / seconds;
        eprintln!(
            "{:5.1} %  {:.1} million weights/s  {:.0} s left",
            progress.done as f64 * 100.0 / progress.total as f64,
            rate / 1e6,
            (progress.total - progress.done) as f64 / rate.max(1.0),
        );
    }

    /// Removes the bar.
    fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
