//! The ratio of two means over the same windows, with its error.

use anyhow::{Result, ensure};
use oracle::rows::Random;

/// A ratio, and its standard error.
#[derive(Clone, Copy, Debug)]
pub struct Ratio {
    /// The ratio of the means.
    pub value: f64,
    /// Its spread over draws of windows.
    pub error: f64,
}

/// Draws of the bootstrap.
const DRAWS: usize = 2000;

/// The ratio of the means of `a` and `b`, which hold `window` numbers for each window. The error is that of a paired
/// bootstrap: windows are drawn with replacement, the same ones for both. Tokens of one window are not independent, so
/// windows are what is drawn.
///
/// # Errors
/// When the numbers are not those of the same windows.
pub fn ratio(a: &[f64], b: &[f64], window: usize) -> Result<Ratio> {
    ensure!(
        a.len() == b.len() && !a.is_empty() && a.len().is_multiple_of(window),
        "expected the numbers of the same windows of {window}, found {} and {}",
        a.len(),
        b.len()
    );
    let sums = |x: &[f64]| -> Vec<f64> { x.chunks_exact(window).map(|w| w.iter().sum()).collect() };
    let (a, b) = (sums(a), sums(b));
    let of = |windows: &mut dyn Iterator<Item = usize>| {
        let (x, y) = windows.fold((0.0, 0.0), |(x, y), i| (x + a[i], y + b[i]));
        x / y
    };
    let value = of(&mut (0..a.len()));
    let mut random = Random::new(1);
    let squares: f64 = (0..DRAWS)
        .map(|_| {
            let drawn = of(&mut (0..a.len()).map(|_| random.below(a.len())));
            (drawn - value).powi(2)
        })
        .sum();
    Ok(Ratio {
        value,
        error: (squares / DRAWS as f64).sqrt(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_windows_share_does_not_count_as_error() {
        let mut random = Random::new(7);
        let b: Vec<f64> = (0..400).map(|_| f64::from(random.gaussian()).exp()).collect();
        let half: Vec<f64> = b.iter().map(|x| x / 2.0).collect();
        let same = ratio(&half, &b, 4).unwrap();
        assert!((same.value - 0.5).abs() < 1e-12 && same.error < 1e-12, "{same:?}");
        // Independent: the error of the ratio of two means of 400.
        let other: Vec<f64> = (0..400).map(|_| f64::from(random.gaussian()).exp()).collect();
        let spread = ratio(&other, &b, 4).unwrap();
        assert!((0.05..0.2).contains(&spread.error), "{spread:?}");
        assert!(ratio(&b[..399], &b[..399], 4).is_err());
        assert!(ratio(&b, &half[..200], 4).is_err());
    }
}
