//! Measurements that `benches/RESULTS.md` reports and that the criterion benches repeat.

#![forbid(unsafe_code)]

pub mod codecs;
pub mod models;
pub mod paired;

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// Seconds of processor time that all threads of this process have taken.
pub fn processor_seconds() -> f64 {
    seconds(ClockId::ProcessCPUTime)
}

fn seconds(clock: ClockId) -> f64 {
    let time = clock_gettime(clock);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

/// Seconds of processor time that one call takes on this thread: the shortest of as many as fit in `limit`, at
/// least three, after one that is not counted. The shortest is what the work costs; whatever else runs on the
/// machine only adds to it.
pub fn shortest(limit: Duration, mut call: impl FnMut()) -> f64 {
    let now = || seconds(ClockId::ThreadCPUTime);
    call();
    let begun = Instant::now();
    let mut shortest = f64::INFINITY;
    let mut calls = 0;
    while calls < 3 || begun.elapsed() < limit {
        let start = now();
        call();
        shortest = shortest.min(now() - start);
        calls += 1;
    }
    shortest
}

/// Number of `f32` that one core copies in a second between buffers that no cache holds, in millions: the measure for
/// work that is limited by memory.
pub fn copy_speed(limit: Duration) -> f64 {
    let from = vec![1.0_f32; codecs::LARGE];
    let mut to = vec![0.0_f32; codecs::LARGE];
    let seconds = shortest(limit, || {
        to.copy_from_slice(std::hint::black_box(&from));
        std::hint::black_box(&mut to);
    });
    codecs::LARGE as f64 / seconds / 1e6
}
