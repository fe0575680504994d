//! The specification: all splits of a sorted block in order.

/// The shift of the values.
pub(crate) const DELTA: f32 = 0.125;
/// The values of the levels with the shift up, and down.
pub(crate) const UP: [f32; 3] = [DELTA - 1.0, DELTA, DELTA + 1.0];
/// See [`UP`].
pub(crate) const DOWN: [f32; 3] = [-DELTA - 1.0, -DELTA, 1.0 - DELTA];

/// Running sums over a sorted block of `N` from its first element on, with more of the last one after it than lanes
/// can read.
pub(crate) struct Sums<const N: usize>([f32; 48]);

impl<const N: usize> Sums<N> {
    /// All zero.
    #[inline(always)]
    pub(crate) fn new() -> Self {
        const { assert!(N + 1 + 8 <= 48) };
        Self([0.0; 48])
    }

    /// Appends the next sum.
    #[inline(always)]
    pub(crate) fn push(&mut self, position: usize, sum: f32) {
        self.0[position + 1] = sum;
    }

    /// Repeats the last sum behind the end.
    #[inline(always)]
    pub(crate) fn finish(&mut self) {
        let total = self.0[N];
        self.0[N + 1..].fill(total);
    }

    /// The sum of all elements before a position.
    #[inline(always)]
    pub(crate) fn at(&self, position: usize) -> f32 {
        self.0[position]
    }

    /// The sums from a position on, eight of them, the last repeated.
    #[inline(always)]
    pub(crate) fn from(&self, position: usize) -> &[f32] {
        &self.0[position..position + 8]
    }

    /// Whether no sum is below the one before it; false if there is a NaN.
    #[inline(always)]
    pub(crate) fn ascend(&self) -> bool {
        let steps = self.0[..N].iter().zip(&self.0[1..=N]);
        steps.fold(true, |all, (before, after)| all & (before <= after))
    }

    /// The sum of all.
    #[inline(always)]
    pub(crate) fn total(&self) -> f32 {
        self.0[N]
    }
}

/// The best split of a sorted block in three runs, with a shift for each of `H` parts.
pub(crate) struct Split<const H: usize> {
    pub(crate) scale: f32,
    /// The positions before which the second and the third run begin.
    pub(crate) at: (usize, usize),
    /// Whether the values are shifted up.
    pub(crate) up: [bool; H],
}

/// All splits of `len` sorted elements into three runs, by first and second boundary.
fn splits(len: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..=len).flat_map(move |first| (first..=len).map(move |second| (first, second)))
}

/// The best of all splits into three runs, with either shift; `None` if all weights of error are zero.
#[inline(always)]
pub(crate) fn best(sums_x: &Sums<32>, sums_w: &Sums<32>) -> Option<Split<1>> {
    let mut best = f32::MIN;
    let mut split = None;
    for (first, second) in splits(32) {
        let runs = |sums: &Sums<32>| {
            let (low, middle) = (sums.at(first), sums.at(second));
            [low, middle - low, sums.total() - middle]
        };
        let (runs_x, runs_w) = (runs(sums_x), runs(sums_w));
        for (values, up) in [(&UP, true), (&DOWN, false)] {
            let sum_qx = runs_x[0] * values[0] + runs_x[1] * values[1] + runs_x[2] * values[2];
            let sum_q2 = runs_w[0] * values[0] * values[0]
                + runs_w[1] * values[1] * values[1]
                + runs_w[2] * values[2] * values[2];
            if sum_q2 > 0.0 && sum_qx * sum_qx > best * sum_q2 {
                let scale = sum_qx / sum_q2;
                best = scale * sum_qx;
                split = Some(Split {
                    scale,
                    at: (first, second),
                    up: [up],
                });
            }
        }
    }
    split
}

/// The directions of the shifts of a block's two halves, in the order in which they are tried.
pub(crate) const SHIFTS: [[bool; 2]; 4] = [[true, true], [true, false], [false, true], [false, false]];

/// The additions to Σ weight·value² of a weight below the first boundary, and below the second.
const fn steps(values: [f32; 3]) -> [f32; 2] {
    let squares = [
        values[0] * values[0],
        values[1] * values[1],
        values[2] * values[2],
    ];
    [squares[0] - squares[1], squares[1] - squares[2]]
}
pub(crate) const STEPS_UP: [f32; 2] = steps(UP);
pub(crate) const STEPS_DOWN: [f32; 2] = steps(DOWN);

/// The best of all splits into three runs, with all four combinations of the halves' shifts; `None` if all
/// weights of error are zero.
///
/// With values one apart, the sums for a split come from sums over all weights and over those below
/// each boundary, which are kept for each half.
#[inline(always)]
pub(crate) fn best_of_halves(sums_x: &[Sums<16>; 2], sums_w: &[Sums<16>; 2]) -> Option<Split<2>> {
    let mut best = f32::MIN;
    let mut split = None;
    for (first, second) in splits(16) {
        let sums = |values: &[f32; 3], steps: [f32; 2], half: usize| {
            let (x, w) = (&sums_x[half], &sums_w[half]);
            let top = values[2];
            let below = x.at(first) + x.at(second);
            let sum_q2 = w.total() * top * top + w.at(first) * steps[0] + w.at(second) * steps[1];
            (x.total() * top - below, sum_q2)
        };
        let up = [0, 1].map(|half| sums(&UP, STEPS_UP, half));
        let down = [0, 1].map(|half| sums(&DOWN, STEPS_DOWN, half));
        for shifts in SHIFTS {
            let halves: [(f32, f32); 2] =
                std::array::from_fn(|half| if shifts[half] { up[half] } else { down[half] });
            let (sum_qx, sum_q2) = (halves[0].0 + halves[1].0, halves[0].1 + halves[1].1);
            if sum_q2 > 0.0 && sum_qx * sum_qx > best * sum_q2 {
                let scale = sum_qx / sum_q2;
                best = scale * sum_qx;
                split = Some(Split {
                    scale,
                    at: (first, second),
                    up: shifts,
                });
            }
        }
    }
    split
}
