//! The text of a state: whole for a log, and for a terminal as much as its width has room for.

use std::time::Duration;

/// The unit counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Weights of a model.
    Weights,
    /// Bytes.
    Bytes,
    /// Windows of a text.
    Windows,
    /// Files.
    Files,
    /// Other things, by their name.
    Count(&'static str),
}

/// A state.
#[derive(Clone, Copy, Debug)]
pub(super) struct State {
    pub(super) phase: &'static str,
    pub(super) unit: Unit,
    pub(super) done: u64,
    pub(super) total: u64,
    pub(super) rate: Option<f64>,
    pub(super) left: Option<Duration>,
}

/// Columns of a bar, at most.
const BAR: usize = 24;

/// Everything, for a log.
pub(super) fn whole(state: &State) -> String {
    parts(state).join("  ")
}

/// As much as `width` columns hold, the least important last.
pub(super) fn short(state: &State, width: usize) -> String {
    // The last column is left: some terminals wrap when it is written.
    let room = width.saturating_sub(1);
    let parts = parts(state);
    let mut kept = parts.len();
    let text = loop {
        let text = parts[..kept].join("  ");
        if text.chars().count() <= room || kept == 0 {
            break text;
        }
        kept -= 1;
    };
    let used = text.chars().count();
    let bar = room.saturating_sub(used + 4).min(BAR);
    if bar < 8 || kept < parts.len() {
        return text.chars().take(room).collect();
    }
    let full = bar * usize::try_from(permille(state)).unwrap_or(0) / 1000;
    let head = format!("{} ", state.phase);
    let rest = text.strip_prefix(&head).unwrap_or(&text);
    format!(
        "{head}[{}{}] {}",
        "#".repeat(full),
        "-".repeat(bar - full),
        rest.trim_start()
    )
}

/// Phase and share, time left, amount, rate.
fn parts(state: &State) -> Vec<String> {
    let mut parts = vec![format!("{} {:3} %", state.phase, permille(state) / 10)];
    if let Some(left) = state.left {
        parts.push(format!("{} left", clock(left)));
    }
    parts.push(amounts(state));
    if let Some(rate) = state.rate {
        parts.push(per_second(state.unit, rate));
    }
    parts
}

fn permille(state: &State) -> u64 {
    let share = u128::from(state.done) * 1000 / u128::from(state.total.max(1));
    u64::try_from(share).unwrap_or(1000).min(1000)
}

/// Hours, minutes and seconds.
fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match hours {
        0 => format!("{minutes}:{seconds:02}"),
        _ => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}

/// Work done of all work, both in one unit.
fn amounts(state: &State) -> String {
    let (done, total) = (state.done as f64, state.total as f64);
    match state.unit {
        Unit::Weights => {
            let (size, name) = decimal(total);
            format!("{:.1} of {:.1}{name} weights", done / size, total / size)
        }
        Unit::Bytes => {
            let (size, name) = binary(total);
            format!("{:.1} of {:.1} {name}", done / size, total / size)
        }
        Unit::Windows => format!("{} of {} windows", state.done, state.total),
        Unit::Files => format!("{} of {} files", state.done, state.total),
        Unit::Count(name) => format!("{} of {} {name}", state.done, state.total),
    }
}

fn per_second(unit: Unit, rate: f64) -> String {
    match unit {
        Unit::Weights => {
            let (size, name) = decimal(rate);
            format!("{:.1}{name}/s", rate / size)
        }
        Unit::Bytes => {
            let (size, name) = binary(rate);
            format!("{:.1} {name}/s", rate / size)
        }
        // Seldom as many as one in a second.
        Unit::Windows | Unit::Files | Unit::Count(_) if rate < 1.0 => format!("{:.1} s each", 1.0 / rate),
        Unit::Windows | Unit::Files | Unit::Count(_) => format!("{rate:.1}/s"),
    }
}

fn decimal(n: f64) -> (f64, &'static str) {
    match n {
        n if n >= 1e9 => (1e9, " billion"),
        n if n >= 1e6 => (1e6, " million"),
        _ => (1.0, ""),
    }
}

fn binary(n: f64) -> (f64, &'static str) {
    match n {
        n if n >= 1_073_741_824.0 => (1_073_741_824.0, "GiB"),
        n if n >= 1_048_576.0 => (1_048_576.0, "MiB"),
        n if n >= 1024.0 => (1024.0, "KiB"),
        _ => (1.0, "bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(unit: Unit) -> State {
        State {
            phase: "download",
            unit,
            done: 1_500 << 20,
            total: 5_000 << 20,
            rate: Some(85.0 * 1_048_576.0),
            left: Some(Duration::from_secs(3725)),
        }
    }

    #[test]
    fn a_line_for_a_log() {
        assert_eq!(
            whole(&state(Unit::Bytes)),
            "download  30 %  1:02:05 left  1.5 of 4.9 GiB  85.0 MiB/s"
        );
        let weights = State {
            unit: Unit::Weights,
            rate: Some(2.5e6),
            left: None,
            ..state(Unit::Weights)
        };
        assert_eq!(
            whole(&weights),
            "download  30 %  1.6 of 5.2 billion weights  2.5 million/s"
        );
        let windows = State {
            unit: Unit::Windows,
            done: 3,
            total: 9,
            rate: Some(0.25),
            ..state(Unit::Windows)
        };
        assert_eq!(
            whole(&windows),
            "download  33 %  1:02:05 left  3 of 9 windows  4.0 s each"
        );
    }

    /// No terminal is so narrow that a line wraps, and the share is what is left last.
    #[test]
    fn a_line_never_wraps() {
        for unit in [
            Unit::Weights,
            Unit::Bytes,
            Unit::Windows,
            Unit::Files,
            Unit::Count("layers"),
        ] {
            for width in 0..200 {
                let line = short(&state(unit), width);
                assert!(
                    line.chars().count() <= width.saturating_sub(1),
                    "{width}: {line:?}"
                );
                assert!(!line.contains('\n'));
            }
        }
        assert_eq!(short(&state(Unit::Bytes), 16), "download  30 %");
        assert_eq!(short(&state(Unit::Bytes), 30), "download  30 %  1:02:05 left");
        let wide = short(&state(Unit::Bytes), 120);
        assert_eq!(
            wide,
            "download [#######-----------------] 30 %  1:02:05 left  1.5 of 4.9 GiB  85.0 MiB/s"
        );
    }
}
