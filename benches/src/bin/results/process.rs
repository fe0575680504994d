//! Time and memory of other programs.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// Time and memory of a run.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Run {
    /// Seconds from start to end.
    pub(crate) wall: f64,
    /// Seconds of processor time in user mode, over all threads: what the work costs on a machine that others use too.
    pub(crate) user: f64,
    /// The most anonymous memory that was seen, in bytes.
    pub(crate) anonymous: u64,
    /// The most memory that was seen, mapped files included, in bytes.
    pub(crate) resident: u64,
}

impl Run {
    /// Difference from a shorter run.
    pub(crate) fn beyond(self, shorter: Self) -> Times {
        Times {
            wall: self.wall - shorter.wall,
            user: self.user - shorter.user,
        }
    }
}

/// Seconds of some work.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) wall: f64,
    pub(crate) user: f64,
}

/// Runs a command to its end and watches its memory.
pub(crate) fn run(command: &mut Command) -> Result<Run> {
    let start = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("{command:?}"))?;
    let folder = format!("/proc/{}", child.id());
    let mut run = Run::default();
    loop {
        // A process that has ended keeps its times until it is waited for.
        let stat = std::fs::read_to_string(format!("{folder}/stat")).unwrap_or_default();
        let (state, user) = state_and_user(&stat).with_context(|| format!("{folder}/stat: {stat:?}"))?;
        if state == "Z" {
            run.user = user;
            break;
        }
        let status = std::fs::read_to_string(format!("{folder}/status")).unwrap_or_default();
        run.anonymous = run.anonymous.max(bytes(&status, "RssAnon:"));
        run.resident = run.resident.max(bytes(&status, "VmHWM:"));
        std::thread::sleep(Duration::from_millis(5));
    }
    run.wall = start.elapsed().as_secs_f64();
    let ended = child.wait()?;
    if !ended.success() {
        bail!("{command:?}: {ended}");
    }
    Ok(run)
}

/// The state of a process and its seconds in user mode, of `/proc/PID/stat`.
fn state_and_user(stat: &str) -> Option<(&str, f64)> {
    // The name, in parentheses, may hold anything.
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let state = fields.next()?;
    let ticks: f64 = fields.nth(10)?.parse().ok()?;
    // The kernel's unit of time for programs, whatever it counts in itself.
    Some((state, ticks / 100.0))
}

/// A line of `/proc/PID/status` in kB; 0 where it is missing.
fn bytes(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kilobytes = line.and_then(|value| value.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) << 10
}

/// The median; 0 of nothing.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read_whatever_its_name() {
        let stat = "42 (a) b) R 1 42 42 0 -1 4194304 99 0 0 0 250 30 0 0 20 0 1 0 5 6 7";
        assert_eq!(state_and_user(stat), Some(("R", 2.5)));
        assert_eq!(state_and_user("42 (x)"), None);
        assert_eq!(bytes("VmRSS:\t  12 kB\nRssAnon:\t  3 kB\n", "RssAnon:"), 3072);
    }

    #[test]
    fn a_run_has_times() {
        let run =
            run(Command::new("sh").args(["-c", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done"])).unwrap();
        assert!(run.wall > 0.0 && run.user <= run.wall + 0.02, "{run:?}");
        assert!(super::run(Command::new("false").arg("x")).is_err());
    }
}
