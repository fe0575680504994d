//! Reductions over the elements of a block: sums in order, and extremes.

/// A sub-block whose largest magnitude is below this is encoded as zeros.
pub(crate) const NEGLIGIBLE: f32 = 1e-15;

/// The sum, in order.
pub(crate) fn sum(x: &[f32]) -> f32 {
    x.iter().fold(0.0, |sum, x| sum + x)
}

/// The sum of squares, in order.
pub(crate) fn sum_of_squares(x: &[f32]) -> f32 {
    x.iter().fold(0.0, |sum, x| sum + x * x)
}

/// The sum of squares of each of at most `R` rows of `x`, in order each: side by side, because an addition waits
/// for the one before it.
#[inline(always)]
pub(crate) fn sums_of_squares<const R: usize>(x: &[f32], row_len: usize) -> [f32; R] {
    // Where there are fewer rows, the first stands in.
    let rows: [&[f32]; R] = std::array::from_fn(|r| {
        let start = if (r + 1) * row_len <= x.len() {
            r * row_len
        } else {
            0
        };
        &x[start..][..row_len]
    });
    let mut sums = [0.0; R];
    for i in 0..row_len {
        for (sum, row) in sums.iter_mut().zip(&rows) {
            *sum += row[i] * row[i];
        }
    }
    sums
}

/// The largest element, but at least zero.
pub(crate) fn largest(x: &[f32]) -> f32 {
    x.iter()
        .fold(0.0, |largest, &x| if x > largest { x } else { largest })
}

/// The smallest and the largest element.
#[inline(always)]
pub(crate) fn range(x: &[f32]) -> (f32, f32) {
    x.iter().fold((f32::MAX, -f32::MAX), |(min, max), &x| {
        (if x < min { x } else { min }, if x > max { x } else { max })
    })
}

/// The largest magnitude of finite elements; `None` if one is not finite. In no particular order: the bit patterns
/// are compared as integers.
#[inline(always)]
pub(crate) fn finite_magnitude<const N: usize>(x: &[f32; N]) -> Option<f32> {
    let bits = x
        .iter()
        .fold(0, |largest, x| (x.to_bits() & 0x7fff_ffff).max(largest));
    (bits < 0x7f80_0000).then(|| f32::from_bits(bits))
}

/// Whether all elements are finite.
#[inline(always)]
pub(crate) fn is_finite(x: &[f32]) -> bool {
    const EXPONENT: u32 = 0x7f80_0000;
    // Without an early end, to be vectorized.
    !x.iter()
        .fold(false, |found, x| found | (x.to_bits() & EXPONENT == EXPONENT))
}

/// The element of largest magnitude, with its sign; zero for an empty or all-zero sub-block.
#[inline(always)]
pub(crate) fn signed_extreme(x: &[f32]) -> f32 {
    let mut largest = 0.0;
    let mut extreme = 0.0;
    for &x in x {
        if x.abs() > largest {
            largest = x.abs();
            extreme = x;
        }
    }
    extreme
}

/// [`signed_extreme`] in operations that vectorize.
#[inline(always)]
pub(crate) fn signed_extreme_of<const N: usize>(x: &[f32; N]) -> f32 {
    match finite_magnitude(x) {
        None => signed_extreme(x),
        Some(0.0) => 0.0,
        Some(largest) => {
            let mut first = N as u32;
            for (i, x) in x.iter().enumerate() {
                let candidate = if x.abs() == largest { i as u32 } else { N as u32 };
                first = first.min(candidate);
            }
            x[first as usize]
        }
    }
}
