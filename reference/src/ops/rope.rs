//! Rotary position embedding.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;

use super::Matrix;

/// Pairs of elements of a head that are rotated together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RopeStyle {
    /// Neighbours: (0, 1), (2, 3) … (Llama's GGUF order).
    Norm,
    /// Halves: (0, n/2), (1, n/2 + 1) … (GPT-NeoX, Qwen, Gemma).
    Neox,
}

/// YaRN's parameters ("YaRN: Efficient Context Window Extension of Large Language Models", 2023).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Yarn {
    /// The context length of the original training.
    pub(crate) original_context: f64,
    pub(crate) beta_fast: f64,
    pub(crate) beta_slow: f64,
}

/// Everything that fixes the rotation angles.
#[derive(Clone, Debug)]
pub(crate) struct RopeSettings {
    pub(crate) style: RopeStyle,
    /// Elements of a head that are rotated; even, the rest passes through.
    pub(crate) dims: usize,
    pub(crate) base: f64,
    /// One over the linear scaling factor; 1 when there is none.
    pub(crate) frequency_scale: f64,
    pub(crate) yarn: Option<Yarn>,
    /// Divisors of each pair's frequency (`rope_freqs.weight`: Llama 3, or LongRoPE's factors).
    pub(crate) divisors: Option<Vec<f32>>,
    /// Factor on the rotated elements.
    pub(crate) magnitude: f64,
}

/// Rotation of a head's elements by angles proportional to the position.
#[derive(Debug)]
pub(crate) struct Rope {
    style: RopeStyle,
    /// Elements of a head before those that are rotated.
    first: usize,
    /// Angle per position of each pair.
    frequencies: Vec<f64>,
    magnitude: f64,
    table: Mutex<Arc<Table>>,
    /// Rotation of windows longer than this many tokens (LongRoPE).
    long: Option<(usize, Box<Self>)>,
}

/// Cosines and sines, `pairs` of each for every position.
#[derive(Debug, Default)]
struct Table {
    positions: usize,
    cos: Vec<f32>,
    sin: Vec<f32>,
}

impl Rope {
    pub(crate) fn new(settings: &RopeSettings) -> Self {
        let pairs = settings.dims / 2;
        let dims = settings.dims as f64;
        let ramp = settings.yarn.map(|yarn| {
            // The pair index at which `turns` rotations fit into the original context.
            let correction = |turns: f64| {
                dims * (yarn.original_context / (turns * 2.0 * std::f64::consts::PI)).ln()
                    / (2.0 * settings.base.ln())
            };
            let low = correction(yarn.beta_fast).floor().max(0.0);
            let high = correction(yarn.beta_slow).ceil().min(dims - 1.0);
            (low, high)
        });
        let frequencies = (0..pairs)
            .map(|i| {
                let divisor = settings.divisors.as_ref().map_or(1.0, |d| f64::from(d[i]));
                let extrapolated = settings.base.powf(-2.0 * i as f64 / dims) / divisor;
                let interpolated = settings.frequency_scale * extrapolated;
                match ramp {
                    Some((low, high)) => {
                        let at = ((i as f64 - low) / (high - low).max(0.001)).clamp(0.0, 1.0);
                        let mix = 1.0 - at;
                        interpolated * (1.0 - mix) + extrapolated * mix
                    }
                    None => interpolated,
                }
            })
            .collect();
        Self {
            style: settings.style,
            first: 0,
            frequencies,
            magnitude: settings.magnitude,
            table: Mutex::default(),
            long: None,
        }
    }

    /// Heads whose first `elements` pass through in place of their last.
    pub(crate) fn behind(mut self, elements: usize) -> Self {
        self.first = elements;
        self
    }

    /// Windows of more than `tokens` tokens are rotated by `long`, which rotates as many elements.
    pub(crate) fn with_long(mut self, tokens: usize, long: Self) -> Self {
        self.long = Some((tokens, Box::new(long)));
        self
    }

    fn table(&self, positions: usize) -> Arc<Table> {
        let mut held = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if held.positions < positions {
            let mut table = Table {
                positions,
                cos: Vec::new(),
                sin: Vec::new(),
            };
            for position in 0..positions {
                for frequency in &self.frequencies {
                    let (sin, cos) = (position as f64 * frequency).sin_cos();
                    table.cos.push((cos * self.magnitude) as f32);
                    table.sin.push((sin * self.magnitude) as f32);
                }
            }
            *held = Arc::new(table);
        }
        held.clone()
    }

    /// Rotates every head of every row; `positions` has one entry for each row, `windows` the consecutive
    /// ranges of rows that belong together.
    pub(crate) fn apply(
        &self,
        x: &mut Matrix,
        head_len: usize,
        positions: &[usize],
        windows: &[Range<usize>],
    ) {
        self.turn(x, head_len, positions, windows, 1.0);
    }

    /// The transposed operation, which takes gradients backwards: the same rotation the other way round.
    pub(crate) fn apply_transposed(
        &self,
        x: &mut Matrix,
        head_len: usize,
        positions: &[usize],
        windows: &[Range<usize>],
    ) {
        self.turn(x, head_len, positions, windows, -1.0);
    }

    fn turn(
        &self,
        x: &mut Matrix,
        head_len: usize,
        positions: &[usize],
        windows: &[Range<usize>],
        direction: f32,
    ) {
        let cols = x.cols;
        match &self.long {
            Some((limit, long)) if windows.iter().any(|w| w.len() > *limit) => {
                for window in windows {
                    let rope = if window.len() > *limit { long } else { self };
                    let rows = &mut x.data[window.start * cols..window.end * cols];
                    rope.rotate(rows, cols, head_len, &positions[window.clone()], direction);
                }
            }
            _ => self.rotate(&mut x.data, cols, head_len, positions, direction),
        }
    }

    fn rotate(&self, data: &mut [f32], cols: usize, head_len: usize, positions: &[usize], direction: f32) {
        let Some(&last) = positions.iter().max() else {
            return;
        };
        let pairs = self.frequencies.len();
        if pairs == 0 {
            return;
        }
        let table = self.table(last + 1);
        data.par_chunks_exact_mut(cols)
            .zip(positions)
            .with_min_len(8)
            .for_each(|(row, &position)| {
                let cos = &table.cos[position * pairs..][..pairs];
                let sin = &table.sin[position * pairs..][..pairs];
                for head in row.chunks_exact_mut(head_len) {
                    let head = &mut head[self.first..];
                    match self.style {
                        RopeStyle::Norm => {
                            let (head, _) = head[..2 * pairs].as_chunks_mut::<2>();
                            for (([a, b], c), s) in head.iter_mut().zip(cos).zip(sin) {
                                let s = direction * s;
                                (*a, *b) = (*a * c - *b * s, *a * s + *b * c);
                            }
                        }
                        RopeStyle::Neox => {
                            let (first, second) = head[..2 * pairs].split_at_mut(pairs);
                            for (((a, b), c), s) in first.iter_mut().zip(second).zip(cos).zip(sin) {
                                let s = direction * s;
                                (*a, *b) = (*a * c - *b * s, *a * s + *b * c);
                            }
                        }
                    }
                }
            });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(style: RopeStyle, dims: usize) -> RopeSettings {
        RopeSettings {
            style,
            dims,
            base: 10000.0,
            frequency_scale: 1.0,
            yarn: None,
            divisors: None,
            magnitude: 1.0,
        }
    }

    fn rotated(rope: &Rope, row: &[f32], position: usize) -> Vec<f32> {
        let mut m = Matrix {
            rows: 1,
            cols: row.len(),
            data: row.to_vec(),
        };
        rope.apply(&mut m, row.len(), &[position], std::slice::from_ref(&(0..1)));
        m.data
    }

    fn close(got: &[f32], want: &[f64]) {
        assert_eq!(got.len(), want.len());
        for (g, w) in got.iter().zip(want) {
            assert!((f64::from(*g) - w).abs() < 1e-6, "{got:?} {want:?}");
        }
    }

    #[test]
    fn both_styles_rotate_the_pairs_they_name() {
        let (s0, c0) = 3f64.sin_cos();
        let (s1, c1) = 0.03f64.sin_cos();
        let norm = Rope::new(&settings(RopeStyle::Norm, 4));
        close(&rotated(&norm, &[1.0, 0.0, 0.0, 1.0], 3), &[c0, s0, -s1, c1]);
        let neox = Rope::new(&settings(RopeStyle::Neox, 4));
        close(&rotated(&neox, &[1.0, 0.0, 0.0, 1.0], 3), &[c0, -s1, s0, c1]);
    }

    #[test]
    fn elements_beyond_the_rotated_ones_pass_through() {
        let rope = Rope::new(&settings(RopeStyle::Neox, 2));
        let (s, c) = 5f64.sin_cos();
        close(&rotated(&rope, &[1.0, 0.0, 7.0, 8.0], 5), &[c, s, 7.0, 8.0]);
    }

    #[test]
    fn elements_before_the_rotated_ones_pass_through() {
        let rope = Rope::new(&settings(RopeStyle::Norm, 2)).behind(2);
        let (s, c) = 5f64.sin_cos();
        close(&rotated(&rope, &[7.0, 8.0, 1.0, 0.0], 5), &[7.0, 8.0, c, s]);
    }

    #[test]
    fn linear_scaling_and_divisors_slow_the_rotation() {
        let mut halved = settings(RopeStyle::Norm, 2);
        halved.frequency_scale = 0.5;
        let (s, c) = 2f64.sin_cos();
        close(&rotated(&Rope::new(&halved), &[1.0, 0.0], 4), &[c, s]);
        let mut divided = settings(RopeStyle::Norm, 2);
        divided.divisors = Some(vec![4.0]);
        let (s, c) = 1f64.sin_cos();
        close(&rotated(&Rope::new(&divided), &[1.0, 0.0], 4), &[c, s]);
    }

    #[test]
    fn long_windows_have_their_own_rotation() {
        let mut slow = settings(RopeStyle::Norm, 2);
        slow.frequency_scale = 0.5;
        let rope = Rope::new(&settings(RopeStyle::Norm, 2)).with_long(2, Rope::new(&slow));
        let mut m = Matrix {
            rows: 5,
            cols: 2,
            data: [1.0, 0.0].repeat(5),
        };
        rope.apply(&mut m, 2, &[0, 1, 0, 1, 2], &[0..2, 2..5]);
        let (s, c) = 1f64.sin_cos();
        close(&m.data[2..4], &[c, s]);
        close(&m.data[8..], &[c, s]);
    }

    /// Fast pairs keep their frequency, slow ones are divided by the factor.
    #[test]
    fn yarn_leaves_fast_pairs_and_interpolates_slow_ones() {
        let mut yarn = settings(RopeStyle::Neox, 128);
        yarn.frequency_scale = 0.25;
        yarn.yarn = Some(Yarn {
            original_context: 4096.0,
            beta_fast: 32.0,
            beta_slow: 1.0,
        });
        let rope = Rope::new(&yarn);
        let plain = Rope::new(&settings(RopeStyle::Neox, 128));
        assert_eq!(rope.frequencies[0], plain.frequencies[0]);
        assert_eq!(rope.frequencies[63], plain.frequencies[63] * 0.25);
        assert!(rope.frequencies.windows(2).all(|w| w[0] > w[1]));
    }
}
