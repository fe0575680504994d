//! Errors of a file's weights: what encoding alone has done to each tensor.

use convert::source::{GgufSource, Source};
use rayon::prelude::*;

/// Weights that are compared at a time.
const STEP: u64 = 1 << 20;

/// Root mean square of the errors of each of the source's tensors named in `names`, over that of its weights; `None` for
/// one without weights other than zero, or that the file lacks.
pub(super) fn errors(
    source: &dyn Source,
    names: &[&str],
    file: &std::path::Path,
) -> anyhow::Result<Vec<Option<f64>>> {
    let file = GgufSource::open(file)?;
    names
        .par_iter()
        .map(|name| {
            let of = |s: &dyn Source| s.tensors().iter().position(|t| t.name == *name);
            match (of(source), of(&file)) {
                (Some(from), Some(to)) => relative_error(source, from, &file, to),
                _ => Ok(None),
            }
        })
        .collect()
}

fn relative_error(
    source: &dyn Source,
    from: usize,
    file: &dyn Source,
    to: usize,
) -> anyhow::Result<Option<f64>> {
    let (shape, other) = (&source.tensors()[from].shape, &file.tensors()[to].shape);
    let row = shape.first().copied().unwrap_or(1).max(1);
    let count: u64 = shape.iter().product();
    if count != other.iter().product::<u64>() || other.first().copied().unwrap_or(1).max(1) != row {
        return Ok(None);
    }
    let rows = count / row;
    let at_once = (STEP / row).max(1);
    let (mut errors, mut weights) = (0.0, 0.0);
    let mut first = 0;
    while first < rows {
        let range = first..rows.min(first + at_once);
        let length = ((range.end - range.start) * row) as usize;
        let (mut a, mut b) = (vec![0.0; length], vec![0.0; length]);
        source.read_rows(from, range.clone(), &mut a)?;
        file.read_rows(to, range.clone(), &mut b)?;
        for (a, b) in a.iter().zip(&b) {
            let (a, b) = (f64::from(*a), f64::from(*b));
            errors += (a - b) * (a - b);
            weights += a * a;
        }
        first = range.end;
    }
    Ok((weights > 0.0).then(|| (errors / weights).sqrt()))
}
