//! Printing of results.

use std::fmt;
use std::io::{self, BufWriter, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// The first error of a line on standard output.
static FAILURE: Mutex<Option<io::Error>> = Mutex::new(None);

/// Prints a line to standard output: what `println!` does in this crate. A reader that has gone away is no
/// error; any other failure is told when the command is done, by [`failure`].
pub(crate) fn line(text: fmt::Arguments<'_>) {
    let mut out = io::stdout().lock();
    if let Err(e) = out.write_fmt(text).and_then(|()| out.write_all(b"\n"))
        && e.kind() != io::ErrorKind::BrokenPipe
        && let Ok(mut first) = FAILURE.lock()
    {
        first.get_or_insert(e);
    }
}

/// Whether errors alone are told, and whether more than usual is.
static QUIET: AtomicBool = AtomicBool::new(false);
static VERBOSE: AtomicBool = AtomicBool::new(false);

/// Says how much is told from here on.
pub(crate) fn set_amount(quiet: bool, verbose: bool) {
    QUIET.store(quiet, Ordering::Relaxed);
    VERBOSE.store(verbose, Ordering::Relaxed);
}

/// Whether more than usual is told.
pub(crate) fn is_verbose() -> bool {
    VERBOSE.load(Ordering::Relaxed)
}

/// Whether errors alone are told.
pub(crate) fn is_quiet() -> bool {
    QUIET.load(Ordering::Relaxed)
}

/// Prints a line to standard error, unless errors alone are told: what `eprintln!` does in this crate.
pub(crate) fn message(text: fmt::Arguments<'_>) {
    crate::log::line(text);
    if !is_quiet() {
        tell(text);
    }
}

/// Prints an error to standard error.
pub(crate) fn error(text: fmt::Arguments<'_>) {
    crate::log::line(format_args!("error: {text}"));
    tell(format_args!("error: {text}"));
}

/// With nobody to tell, nothing is told.
fn tell(text: fmt::Arguments<'_>) {
    let mut out = io::stderr().lock();
    let _ = out.write_fmt(text).and_then(|()| out.write_all(b"\n"));
}

/// Error of [`line`], once; standard output is flushed first.
pub(crate) fn failure() -> Option<io::Error> {
    let flushed = io::stdout().flush().err();
    let first = FAILURE.lock().ok().and_then(|mut first| first.take());
    first.or(flushed.filter(|e| e.kind() != io::ErrorKind::BrokenPipe))
}

/// Prints a result to standard output. A reader that has gone away (`| head`) is no error.
pub(crate) fn print(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> anyhow::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    match write(&mut out).and_then(|()| out.flush()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(e.into()),
        _ => Ok(()),
    }
}

/// Prints one JSON value and a line break.
pub(crate) fn print_json(value: &serde_json::Value) -> anyhow::Result<()> {
    print(|out| {
        serde_json::to_writer_pretty(&mut *out, value)?;
        writeln!(out)
    })
}

/// A size for people: `1.23 GiB`.
pub(crate) fn human_size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} bytes");
    }
    let mut size = bytes as f64 / 1024.0;
    let mut unit = 0;
    while size >= 1024.0 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    format!("{size:.2} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::human_size;

    #[test]
    fn sizes_for_people() {
        assert_eq!(human_size(0), "0 bytes");
        assert_eq!(human_size(1023), "1023 bytes");
        assert_eq!(human_size(1536), "1.50 KiB");
        assert_eq!(human_size(7 << 30), "7.00 GiB");
        assert_eq!(human_size(u64::MAX), "16.00 EiB");
    }
}
