//! Rows of weights that try an encoder from every side, made from a seed.

/// SplitMix64: small, and the same everywhere.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A sequence that only depends on the seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in `0.0..1.0`.
    pub fn unit(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1 << 24) as f32
    }

    /// Uniform in `0..below`.
    pub fn below(&mut self, below: usize) -> usize {
        (self.bits() % below.max(1) as u64) as usize
    }

    /// Standard normal.
    pub fn gaussian(&mut self) -> f32 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f32::consts::TAU * self.unit()).cos()
    }
}

/// A kind of row.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// Name of the kind in reports.
    pub name: &'static str,
    /// Fills one row.
    pub fill: fn(&mut Random, &mut [f32]),
}

fn each(row: &mut [f32], mut value: impl FnMut() -> f32) {
    row.iter_mut().for_each(|x| *x = value());
}

/// The kinds of rows of weights.
pub const WEIGHTS: &[Kind] = &[
    Kind {
        name: "gaussian",
        fill: |random, row| {
            let scale = 0.02 * (1.0 + random.unit());
            each(row, || scale * random.gaussian());
        },
    },
    Kind {
        name: "heavy-tailed",
        fill: |random, row| {
            each(row, || {
                let denominator = random.gaussian();
                random.gaussian() / if denominator == 0.0 { 1.0 } else { denominator }
            });
        },
    },
    Kind {
        name: "uniform",
        fill: |random, row| each(row, || 2.0 * random.unit() - 1.0),
    },
    Kind {
        name: "half-precision",
        fill: |random, row| {
            each(row, || {
                let value = 0.05 * random.gaussian();
                quants::f16::to_f32(quants::f16::from_f32(value))
            });
        },
    },
    Kind {
        name: "grid",
        fill: |random, row| {
            let step = 0.01 * random.unit();
            each(row, || step * (random.below(17) as f32 - 8.0));
        },
    },
    Kind {
        name: "ternary",
        fill: |random, row| {
            let scale = random.unit();
            each(row, || scale * (random.below(3) as f32 - 1.0));
        },
    },
    Kind {
        name: "constant",
        fill: |random, row| {
            let value = random.gaussian();
            row.fill(value);
        },
    },
    Kind {
        name: "zero",
        fill: |random, row| {
            // Zeros of either sign; sometimes one block is not zero.
            each(row, || if random.below(4) == 0 { -0.0 } else { 0.0 });
            if random.below(4) == 0 {
                let at = random.below(row.len());
                row[at] = random.gaussian();
            }
        },
    },
    Kind {
        name: "tiny",
        fill: |random, row| {
            let scale = 10.0_f32.powi(-(random.below(22) as i32) - 12);
            each(row, || scale * random.gaussian());
        },
    },
    Kind {
        name: "subnormal",
        fill: |random, row| {
            each(row, || {
                let sign = (random.bits() as u32) & 0x8000_0000;
                let bits = 1 + random.below(23);
                f32::from_bits(sign | random.below(1 << bits) as u32)
            });
        },
    },
    Kind {
        name: "large",
        fill: |random, row| {
            let scale = 10.0_f32.powi(random.below(10) as i32 + 2);
            each(row, || scale * random.gaussian());
        },
    },
    Kind {
        name: "single outlier",
        fill: |random, row| {
            each(row, || 0.01 * random.gaussian());
            let at = random.below(row.len());
            row[at] = random.gaussian() * 10.0_f32.powi(random.below(6) as i32);
        },
    },
    Kind {
        name: "one sign",
        fill: |random, row| {
            let sign = if random.below(2) == 0 { 1.0 } else { -1.0 };
            let offset = random.unit();
            each(row, || sign * (offset + random.gaussian().abs()));
        },
    },
    Kind {
        name: "sparse",
        fill: |random, row| {
            each(row, || {
                if random.below(8) == 0 {
                    random.gaussian()
                } else {
                    0.0
                }
            });
        },
    },
    Kind {
        name: "uneven",
        fill: |random, row| {
            for part in row.chunks_mut(16) {
                let scale = 10.0_f32.powi(random.below(9) as i32 - 6);
                each(part, || scale * random.gaussian());
            }
        },
    },
];

/// Weights so large that products of sums of squares overflow, or the squares themselves. Apart from the
/// others, because some of ggml's encoders abort on them.
pub const HUGE: Kind = Kind {
    name: "huge",
    fill: |random, row| {
        let scale = 10.0_f32.powi(random.below(26) as i32 + 12);
        each(row, || scale * random.gaussian().clamp(-3.4, 3.4));
    },
};

/// The kinds of importance vectors.
pub const IMPORTANCE: &[Kind] = &[
    Kind {
        name: "importance",
        fill: |random, row| each(row, || random.gaussian().powi(2)),
    },
    Kind {
        name: "uneven importance",
        fill: |random, row| each(row, || (4.0 * random.gaussian()).exp()),
    },
    Kind {
        name: "importance with zeros",
        fill: |random, row| {
            each(row, || if random.below(3) == 0 { 0.0 } else { random.unit() });
            // Whole sub-blocks without importance, too.
            let at = random.below(row.len());
            let end = row.len().min(at + 40);
            row[at..end].fill(0.0);
        },
    },
    Kind {
        name: "zero importance",
        fill: |_, row| row.fill(0.0),
    },
];
