//! The speed of encoders and decoders beside ggml's.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context as _, Result};
use benches::codecs::{Samples, is_streaming, ours, theirs, works};
use gguf::TensorType as T;
use oracle::blocks::{Reference, Work};
use quants::Isa;

/// Rounds of all codec measurements; the best of each counts, since others use the machine too.
const ROUNDS: usize = 3;

/// Required speed of a kind of work.
enum Target {
    /// So many times as fast as stock.
    Ratio(f64),
    /// This share of the speed of a memory copy, or so many times as fast as stock.
    Copy(f64, f64),
}

fn target(ty: T, work: Work) -> Target {
    match work {
        Work::Decode => Target::Copy(0.6, 3.0),
        _ if is_streaming(ty, work) => Target::Copy(0.5, f64::INFINITY),
        Work::Encode if matches!(ty, T::Q2_K | T::Q3_K | T::Q4_K | T::Q5_K | T::Q6_K) => Target::Ratio(8.0),
        _ => Target::Ratio(match ty {
            T::Q2_K | T::Q4_K | T::Q5_K | T::Q4_1 | T::Q5_1 => 10.0,
            T::Q3_K | T::Q6_K | T::Q4_0 | T::Q5_0 | T::IQ4_NL | T::IQ4_XS => 6.0,
            _ => 5.0,
        }),
    }
}

/// Speeds at some work, in millions of weights a second.
#[derive(Default)]
struct Row {
    ours: f64,
    scalar: f64,
    stock: f64,
    /// Zero where it does not have the work.
    libgguf: f64,
}

/// Measures all types.
pub(crate) fn codecs() -> Result<String> {
    let limit = Duration::from_millis(70);
    let samples = Samples::default();
    let mut reference = Reference::start(&oracle::python().context("no references")?)?;
    let mut copy: f64 = 0.0;
    let mut rows: Vec<(T, Work, Row)> = oracle::blocks::encodable()
        .flat_map(|ty| works(ty).map(move |work| (ty, work, Row::default())))
        .filter(|(ty, work, _)| {
            *work != Work::EncodeWithImportance || !benches::codecs::takes_no_importance(*ty)
        })
        .collect();
    for _ in 0..ROUNDS {
        copy = copy.max(benches::copy_speed(5 * limit));
        for (ty, work, row) in &mut rows {
            let (stock, libgguf) = theirs(&mut reference, *ty, *work, &samples, limit)?;
            row.stock = row.stock.max(stock);
            row.libgguf = row.libgguf.max(libgguf.unwrap_or(0.0));
            row.ours = row.ours.max(ours(Isa::active(), *ty, *work, &samples, limit)?);
            row.scalar = row.scalar.max(ours(Isa::Scalar, *ty, *work, &samples, limit)?);
        }
    }
    let mut text = format!(
        "## Encoders and decoders\n\nMillions of weights a second on one core, by processor time; the shortest of \
         several calls in {ROUNDS} rounds. A memory copy moves {copy:.0} million f32 a second. Work that memory \
         limits is measured on buffers that no cache holds. The target is a multiple of stock's speed, or a share of \
         the copy's (for decoders either).\n\n| type | work | ours | scalar | stock | libgguf | ours / stock \
         | ours / copy | target | |\n|---|---|---|---|---|---|---|---|---|---|\n"
    );
    for (ty, work, row) in rows {
        let name = match work {
            Work::EncodeWithImportance => "encode, importance",
            Work::Encode => "encode",
            Work::Decode => "decode",
        };
        let (ratio, share) = (row.ours / row.stock, row.ours / copy);
        let (target, met) = match target(ty, work) {
            Target::Ratio(target) => (format!("{target}×"), ratio >= target),
            Target::Copy(target, other) => {
                let or = if other.is_finite() {
                    format!(" or {other}×")
                } else {
                    String::new()
                };
                (
                    format!("{:.0} %{or}", 100.0 * target),
                    share >= target || ratio >= other,
                )
            }
        };
        let libgguf = match row.libgguf {
            0.0 => String::new(),
            speed => format!("{speed:.1}"),
        };
        writeln!(
            text,
            "| {ty} | {name} | {:.1} | {:.1} | {:.1} | {libgguf} | {ratio:.1}× | {:.0} % | {target} | {} |",
            row.ours,
            row.scalar,
            row.stock,
            100.0 * share,
            if met { "✓" } else { "short" },
        )?;
    }
    Ok(text)
}
