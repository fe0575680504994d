//! Rate of work and the time left, which do not jump: recent work counts more than old, by e every so many seconds.

use std::time::{Duration, Instant};

/// Seconds over which the rate forgets.
const MEMORY: f64 = 20.0;

/// Shortest time between two measurements.
const LEAST: f64 = 0.25;

/// The pace of work.
#[derive(Debug)]
pub(super) struct Pace {
    started: Instant,
    /// Done when the work started: what an earlier run did.
    first: Option<u64>,
    done: u64,
    /// Last measurement.
    at: Instant,
    then: u64,
    rate: Option<f64>,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            started: now,
            first: None,
            done: 0,
            at: now,
            then: 0,
            rate: None,
        }
    }

    /// Notes what is done; the most that ever was, as threads report in any order.
    pub(super) fn note(&mut self, now: Instant, done: u64) -> u64 {
        let first = *self.first.get_or_insert_with(|| {
            self.then = done;
            done
        });
        self.done = self.done.max(done);
        let passed = now.duration_since(self.at).as_secs_f64();
        if passed >= LEAST {
            let recent = (self.done - self.then) as f64 / passed;
            let since = now.duration_since(self.started).as_secs_f64();
            let average = (self.done - first) as f64 / since.max(LEAST);
            self.rate = Some(match self.rate {
                // Until the memory is full, the whole run is what is known.
                Some(rate) if since > MEMORY => rate + (1.0 - (-passed / MEMORY).exp()) * (recent - rate),
                _ => average,
            });
            (self.at, self.then) = (now, self.done);
        }
        self.done
    }

    /// Work in a second, as soon as it is known.
    pub(super) fn rate(&self) -> Option<f64> {
        self.rate.filter(|&r| r > 0.0)
    }

    /// Time until everything is done.
    pub(super) fn left(&self, total: u64) -> Option<Duration> {
        let seconds = total.saturating_sub(self.done) as f64 / self.rate()?;
        (seconds < 1e7).then(|| Duration::from_secs_f64(seconds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// States of a run whose work in each second is given.
    fn run(work: impl IntoIterator<Item = u64>, total: u64) -> Vec<(Option<f64>, Option<Duration>)> {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        pace.note(start, 0);
        let mut done = 0;
        let states = work.into_iter().enumerate().map(|(second, n)| {
            done += n;
            pace.note(start + Duration::from_secs(second as u64 + 1), done);
            (pace.rate(), pace.left(total))
        });
        states.collect()
    }

    #[test]
    fn a_rate_from_the_first_second() {
        let states = run([100], 1000);
        assert_eq!(states[0].0, Some(100.0));
        assert_eq!(states[0].1, Some(Duration::from_secs(9)));
    }

    /// Work that comes in bursts: from one second to the next, the time left changes by little more than the second.
    #[test]
    fn the_time_left_does_not_jump() {
        let bursts = (0..300).map(|second| if second % 5 == 0 { 500 } else { 0 });
        let states = run(bursts, 60_000);
        let left: Vec<f64> = states
            .iter()
            .map(|(_, left)| left.unwrap().as_secs_f64())
            .collect();
        for pair in left[60..].windows(2) {
            assert!((pair[1] - pair[0]).abs() < pair[0] * 0.25 + 2.0, "{pair:?}");
        }
        // A change of pace is believed within a minute.
        let slower = (0..120).map(|second| if second < 60 { 100 } else { 50 });
        let last = run(slower, 100_000).last().unwrap().0.unwrap();
        assert!((last - 50.0).abs() < 5.0, "{last}");
    }

    #[test]
    fn what_an_earlier_run_did_is_no_pace() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        pace.note(start, 5000);
        pace.note(start + Duration::from_secs(1), 5100);
        assert_eq!(pace.rate(), Some(100.0));
        // Reports out of order do not go back.
        assert_eq!(pace.note(start + Duration::from_secs(2), 5050), 5100);
    }
}
