//! Products of weights and activations in integers: the operands, and the scalar version.

/// Rows of weights in a panel.
pub(crate) const ROWS: usize = 32;

/// Rows of a panel whose codes are side by side: a part.
pub(crate) const PART: usize = 16;

/// Rows of activations that are multiplied together: as many as registers hold the sums of.
pub const TOKENS: usize = 4;

/// Activations that share a scale in ggml's Q8_0 and Q8_1.
pub(crate) const SMALL_BLOCK: usize = 32;

/// Activations that share a scale in ggml's Q8_K.
pub(crate) const LARGE_BLOCK: usize = 256;

/// The operands of products: one panel of weights and rows of activations.
pub(crate) struct Operands<'a> {
    /// Weights that share a scale: 16 or 32.
    pub(crate) group: usize,
    /// Whether activations share scales in blocks of [`LARGE_BLOCK`], not in groups.
    pub(crate) large: bool,
    /// Whether groups of weights have offsets.
    pub(crate) with_offsets: bool,
    /// The code of a weight of zero.
    pub(crate) zero: u8,
    /// The largest code of a weight.
    pub(crate) largest: u8,
    /// Weights of a row.
    pub(crate) cols: usize,
    /// Rows of activations.
    pub(crate) rows: usize,
    pub(crate) codes: &'a [i8],
    pub(crate) x_scales: &'a [f32],
    pub(crate) starts: &'a [i32],
    pub(crate) sums: &'a [f32],
    /// For each part and four columns: of each row of the part four codes.
    pub(crate) panel: &'a [u8],
    pub(crate) scales: &'a [f32],
    pub(crate) offsets: &'a [f32],
}

impl Operands<'_> {
    /// Groups of a row.
    pub(crate) fn groups(&self) -> usize {
        self.cols / self.group
    }

    /// Activations that share a scale.
    fn block(&self) -> usize {
        if self.large { LARGE_BLOCK } else { SMALL_BLOCK }
    }

    /// Scales of a row of activations.
    pub(crate) fn row_scales(&self) -> usize {
        if self.large {
            self.cols / LARGE_BLOCK
        } else {
            self.groups()
        }
    }

    /// Checks that every slice is as long as rows, columns and groups say.
    ///
    /// # Panics
    /// When one is not.
    pub(crate) fn check(&self) {
        let groups = self.groups();
        assert!(self.cols.is_multiple_of(self.block()));
        assert!(matches!(self.group, 16 | 32));
        assert_eq!(self.codes.len(), self.rows * self.cols);
        assert_eq!(self.x_scales.len(), self.rows * self.row_scales());
        assert_eq!(self.starts.len(), self.rows * groups);
        assert_eq!(self.sums.len(), self.rows * groups);
        assert_eq!(self.panel.len(), ROWS * self.cols);
        assert_eq!(self.scales.len(), ROWS * groups);
        assert_eq!(
            self.offsets.len(),
            if self.with_offsets { ROWS * groups } else { 0 }
        );
    }
}

/// Where products go: those of row `r` of activations to `out[r * stride..]`.
pub(crate) struct Destination<'a> {
    pub(crate) out: &'a mut [f32],
    pub(crate) stride: usize,
    /// Rows of the panel that count.
    pub(crate) width: usize,
}

impl Destination<'_> {
    /// Takes the products of some rows of activations, from `first` on, with `N` rows of the panel, from `from` on.
    ///
    /// # Panics
    /// When `from` is beyond the rows that count.
    #[inline(always)]
    pub(crate) fn put<const N: usize>(&mut self, first: usize, from: usize, products: &[[f32; N]]) {
        for (row, products) in products.iter().enumerate() {
            let out = &mut self.out[(first + row) * self.stride..][from..self.width];
            match out.first_chunk_mut::<N>() {
                // Of known length, which is no call.
                Some(out) => *out = *products,
                None => out.copy_from_slice(&products[..self.width - from]),
            }
        }
    }
}

/// The products, as the specification of all instruction sets.
///
/// Sums within a group are integers. They are scaled, summed over the groups in order, and scaled with the
/// activations' scale: after each group where blocks are small, after each block where they are large.
#[inline(always)]
pub(crate) fn multiply(operands: &Operands<'_>, to: &mut Destination<'_>) {
    for token in 0..operands.rows {
        to.put(token, 0, &[multiply_row(operands, token)]);
    }
}

/// The products of one row of activations.
#[inline(always)]
fn multiply_row(operands: &Operands<'_>, token: usize) -> [f32; ROWS] {
    let (group_len, groups) = (operands.group, operands.groups());
    let per_block = LARGE_BLOCK / group_len;
    let x_scales = &operands.x_scales[token * operands.row_scales()..];
    let mut total = [0f32; ROWS];
    let mut block = [0f32; ROWS];
    for group in 0..groups {
        let start = operands.starts[token * groups + group];
        let codes = &operands.codes[token * operands.cols + group * group_len..][..group_len];
        let mut sums = [start; ROWS];
        for (sums, part) in sums
            .as_chunks_mut::<PART>()
            .0
            .iter_mut()
            .zip(operands.panel.chunks_exact(PART * operands.cols))
        {
            let part = &part[group * group_len * PART..][..group_len * PART];
            add_products(sums, codes, part);
        }
        let sum = operands.sums[token * groups + group];
        for row in 0..ROWS {
            let scale = operands.scales[group * ROWS + row];
            let into = if operands.large {
                &mut block[row]
            } else {
                &mut total[row]
            };
            *into = if operands.large {
                (sums[row] as f32).mul_add(scale, *into)
            } else {
                (sums[row] as f32 * scale).mul_add(x_scales[group], *into)
            };
            if operands.with_offsets {
                *into = operands.offsets[group * ROWS + row].mul_add(sum, *into);
            }
        }
        if operands.large && (group + 1).is_multiple_of(per_block) {
            for row in 0..ROWS {
                total[row] = block[row].mul_add(x_scales[group / per_block], total[row]);
                block[row] = 0.0;
            }
        }
    }
    total
}

/// Adds levels times codes, for each row of a part.
#[inline(always)]
fn add_products(sums: &mut [i32; PART], levels: &[i8], part: &[u8]) {
    let quads = part.as_chunks::<{ 4 * PART }>().0;
    for (levels, quad) in levels.as_chunks::<4>().0.iter().zip(quads) {
        for (sum, codes) in sums.iter_mut().zip(quad.as_chunks::<4>().0) {
            for (level, code) in levels.iter().zip(codes) {
                *sum += i32::from(*level) * i32::from(*code);
            }
        }
    }
}
