//! DFlash 2's convolutions over the places of a block, before a half of a layer and behind it. Their weights are the same for all
//! blocks, and to them come others that a matrix makes of each place.

use crate::Error;
use crate::layers::Linear;
use crate::ops::Matrix;
use crate::run::Run;
use crate::weights::Loader;

/// Those around one half.
#[derive(Debug)]
pub(super) struct Convolution {
    /// Before the half and behind it, for each place back a weight for each column.
    base: Vec<f32>,
    /// To the weights of each place: as `base`, but for groups of columns.
    made: Linear,
    /// Places that one sees: its own and those before it.
    width: usize,
    groups: usize,
}

impl Convolution {
    pub(super) fn read(loader: &Loader<'_>, base: &str, hidden: usize) -> Result<Self, Error> {
        let keys = &loader.keys;
        let (width, group) = (keys.count("conv_kernel_size")?, keys.count("conv_group_size")?);
        if !hidden.is_multiple_of(group) {
            let expected = format!("a divisor of the {hidden} of embedding_length");
            return Err(keys.refused("conv_group_size", expected, group));
        }
        let groups = hidden / group;
        let made = loader.all_heads(groups, width.saturating_mul(2))?;
        Ok(Self {
            base: loader.numbers(&format!("{base}_base"), &[hidden, width, 2])?,
            made: loader.linear(&format!("{base}_proj"), hidden, made)?,
            width,
            groups,
        })
    }

    /// The one before the half, on its input, rows of blocks of `block` places; and the one behind it, whose weights are made of that
    /// input, too.
    pub(super) fn before(
        &self,
        run: &mut Run<'_>,
        x: &mut Matrix,
        block: usize,
    ) -> Result<Behind<'_>, Error> {
        let behind = Behind {
            convolution: self,
            made: self.made.forward(run, x)?,
            block,
        };
        behind.apply(x, 0);
        Ok(behind)
    }
}

/// The convolution behind a half.
pub(super) struct Behind<'a> {
    convolution: &'a Convolution,
    made: Matrix,
    block: usize,
}

impl Behind<'_> {
    pub(super) fn behind(&self, x: &mut Matrix) {
        self.apply(x, 1);
    }

    /// The convolution of one side. What would be before the block counts as zero.
    fn apply(&self, x: &mut Matrix, side: usize) {
        let Convolution {
            base, width, groups, ..
        } = self.convolution;
        let (cols, group) = (x.cols, x.cols / groups);
        let before = x.data.clone();
        for (row, out) in x.data.chunks_exact_mut(cols).enumerate() {
            out.fill(0.0);
            let made = &self.made.data[row * self.made.cols..][..self.made.cols];
            for back in 0..(row % self.block + 1).min(*width) {
                let kind = side * width + back;
                let seen = &before[(row - back) * cols..][..cols];
                let base = &base[kind * cols..][..cols];
                let made = &made[kind * groups..][..*groups];
                let weights = made
                    .iter()
                    .flat_map(|made| std::iter::repeat_n(made, group))
                    .zip(base);
                for ((y, x), (made, base)) in out.iter_mut().zip(seen).zip(weights) {
                    *y += (made + base) * x;
                }
            }
        }
    }
}
