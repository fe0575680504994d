//! Thread pools of a size that the user sets.

/// Runs `work` in a pool of this many threads; 0 for the default pool.
pub(crate) fn in_pool<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> anyhow::Result<T> {
    if threads == 0 {
        return Ok(work());
    }
    let most = convert::pipeline::most_threads();
    if threads > most {
        eprintln!("note: {most} threads instead of {threads}: more would wait for each other");
    }
    Ok(rayon::ThreadPoolBuilder::new()
        .num_threads(threads.min(most))
        .build()?
        .install(work))
}
