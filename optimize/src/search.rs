//! The level that needs no text: every block searched anew, for itself.

use std::ops::Range;
use std::sync::{Arc, LazyLock};

use convert::plan::{Encoder, OutputPlan};
use convert::source::Source;
use gguf::TensorType;
use reference::portable::wide;

use crate::block::{self, Block, Format, error, least_squares, stored, total};
use crate::sub_block::{Wanted, choose};

/// A type whose blocks are searched.
struct Searched {
    ty: TensorType,
    /// Whether also in tensors without importance.
    unweighted: bool,
    /// Whether errors of large weights count for more beside importance, too.
    large: bool,
    /// Picoseconds that a weight takes on one core, stock's search that it begins with among them.
    picoseconds: u64,
}

/// Types whose blocks come out better than stock's, by what was measured on two models. For the others no search of
/// blocks by themselves was found that wins (docs/quality.md has the figures).
const TYPES: [Searched; 10] = [
    searched(TensorType::Q5_0, true, 42_000),
    searched(TensorType::Q2_K, true, 89_000),
    Searched {
        large: true,
        ..searched(TensorType::Q3_K, true, 57_000)
    },
    searched(TensorType::Q6_K, true, 64_000),
    searched(TensorType::IQ2_XS, false, 455_000),
    searched(TensorType::IQ2_S, false, 667_000),
    searched(TensorType::IQ3_XXS, false, 417_000),
    searched(TensorType::IQ3_S, true, 455_000),
    searched(TensorType::IQ4_XS, false, 370_000),
    searched(TensorType::IQ4_NL, false, 192_000),
];

const fn searched(ty: TensorType, unweighted: bool, picoseconds: u64) -> Searched {
    Searched {
        ty,
        unweighted,
        large: false,
        picoseconds,
    }
}

/// The entry of a type; `None` for those that are not searched.
fn known(ty: TensorType) -> Option<&'static Searched> {
    TYPES.iter().find(|known| known.ty == ty)
}

/// The entry of a type whose tensors, with importance or without, are searched.
fn searched_type(ty: TensorType, importance: bool) -> Option<&'static Searched> {
    known(ty).filter(|known| importance || known.unweighted)
}

/// Passes over the sub-blocks at most.
const PASSES: usize = 3;

/// The encoder of this level. It is one and the same for all plans, so that files that share a tensor's type share
/// the work.
pub fn block_encoder() -> Arc<dyn Encoder> {
    static SHARED: LazyLock<Arc<dyn Encoder>> = LazyLock::new(|| Arc::new(Search));
    Arc::clone(&SHARED)
}

/// Has all tensors of a file whose types are known here encoded by the search of blocks by themselves, while they are
/// written; how many they are. `source` is what the plan was made of. The others keep stock's encoders, and what has its
/// type already is copied.
pub fn blocks(source: &dyn Source, outputs: &mut [OutputPlan<'_>]) -> usize {
    let mut count = 0;
    for output in outputs {
        for at in 0..output.contents().len() {
            let tensor = &output.contents()[at];
            let searched = searched_type(tensor.ty, tensor.importance.is_some());
            if searched.is_some() && tensor.ty != source.tensors()[tensor.source].ty {
                output.set_encoder(at, block_encoder());
                count += 1;
            }
        }
    }
    count
}

/// Encodes with the search of blocks by themselves.
#[derive(Debug)]
struct Search;

impl Encoder for Search {
    fn encode(
        &self,
        ty: TensorType,
        _rows: Range<u64>,
        weights: &[f32],
        row_len: usize,
        importance: Option<&[f32]>,
        out: &mut [u8],
    ) -> Result<(), quants::Error> {
        quants::encode(ty, weights, row_len, importance, out)?;
        let searched = searched_type(ty, importance.is_some());
        if let Some((searched, format)) = searched.zip(Format::new(ty)) {
            search_rows(&format, searched.large, weights, row_len, importance, out);
        }
        Ok(())
    }

    fn picoseconds(&self, ty: TensorType) -> Option<u64> {
        known(ty).map(|known| known.picoseconds)
    }
}

/// Improves stock's blocks of some rows. `importance` says how much the errors of each column count; with `large`, and
/// without importance, those of large weights count for more.
fn search_rows(
    format: &Format,
    large: bool,
    rows: &[f32],
    columns: usize,
    importance: Option<&[f32]>,
    out: &mut [u8],
) {
    let mut by_weights = [0.0; block::WEIGHTS];
    let blocks = out.chunks_exact_mut(format.ty.block_bytes());
    for (index, (x, bytes)) in rows.chunks_exact(format.block).zip(blocks).enumerate() {
        let first = index * format.block % columns;
        let importance = importance.map(|all| &all[first..first + format.block]);
        let weights = match importance {
            Some(importance) if !large => importance,
            _ => {
                weigh(x, importance, &mut by_weights);
                &by_weights[..format.block]
            }
        };
        let mut block = format.unpack(bytes);
        wide(
            #[inline(always)]
            || {
                block::search(format, x, weights, &mut block);
                match format.sub_block {
                    16 => search::<16>(format, x, weights, &mut block),
                    _ => search::<32>(format, x, weights, &mut block),
                }
            },
        );
        format.pack(&block, bytes);
    }
}

/// How much errors count where those of large weights count for more, σ² being the mean square of a block: by
/// E[x²] √(σ² + w²), as with stock's encoders, or σ² + w² where the inputs are unknown: where the model has large weights,
/// inputs are large, too.
fn weigh(x: &[f32], importance: Option<&[f32]>, out: &mut [f32]) {
    let mean = x.iter().map(|x| x * x).sum::<f32>() / x.len() as f32;
    for (i, (out, x)) in out.iter_mut().zip(x).enumerate() {
        let square = mean + x * x;
        *out = match importance {
            Some(importance) => importance[i] * square.sqrt(),
            None => square,
        };
    }
}

/// Chooses all sub-blocks by turns and fits `d` and `dmin`, until nothing lowers the weighted error; then stretches the
/// block to the energy of the weights.
#[inline(always)]
fn search<const S: usize>(format: &Format, x: &[f32], weights: &[f32], block: &mut Block) {
    let (x, weights) = (x.as_chunks::<S>().0, weights.as_chunks::<S>().0);
    let mut least = total(x, weights, block);
    for _ in 0..PASSES {
        let before = least;
        for (s, (x, weights)) in x.iter().zip(weights).enumerate() {
            choose_again(format, x, weights, block, s);
        }
        let chosen = total(x, weights, block);
        let mut other = block.clone();
        (other.d, other.dmin) = least_squares(format, x, weights, block);
        least = total(x, weights, &other);
        if least < chosen {
            *block = other;
        } else {
            least = chosen;
        }
        if least >= before * 0.999_9 {
            break;
        }
    }
    stretch(x, weights, block);
}

/// Chooses a sub-block again. What it has stays where nothing better is found: the choice looks at few points of a
/// codebook only.
#[inline(always)]
fn choose_again<const S: usize>(
    format: &Format,
    x: &[f32; S],
    weights: &[f32; S],
    block: &mut Block,
    s: usize,
) {
    let levels = block.levels.as_chunks::<S>().0[s];
    let kept = (block.d, block.dmin, block.scales[s], block.mins[s]);
    let before = error(x, weights, block.scale_and_min(s), &levels);
    let wanted = Wanted {
        row: x,
        target: x,
        weights,
        feedback: &[],
        stride: S,
    };
    choose(format, block, s, &wanted);
    let chosen = &mut block.levels.as_chunks_mut::<S>().0[s];
    let scale_and_min = (block.d * block.scales[s], block.dmin * block.mins[s]);
    if error(x, weights, scale_and_min, chosen) < before {
        return;
    }
    *chosen = levels;
    (block.d, block.dmin, block.scales[s], block.mins[s]) = kept;
}

/// Multiplies a block by what gives it the weighted energy of the weights.
///
/// The error of the best block is orthogonal to it, so the block lacks the energy of its error, in all rows of a
/// matrix alike: what the matrix puts out is too small by that, and so it adds up over layers. It is stretched by no more
/// than it lacks where all columns count the same: a column that counts for more than all others together and whose weight
/// is too small for the block's steps would have all others pay for it.
#[inline(always)]
fn stretch<const S: usize>(x: &[[f32; S]], weights: &[[f32; S]], block: &mut Block) {
    let mut weighted = Energy::default();
    let mut even = Energy::default();
    for (s, (x, weights)) in x.iter().zip(weights).enumerate() {
        let values: [f32; S] = std::array::from_fn(|i| block.value(s, block.levels[s * S + i]));
        weighted.add(x, &values, weights);
        even.add(x, &values, &[1.0; S]);
    }
    let factor = weighted.lack().min(even.lack());
    if factor > 1.0 && factor.is_finite() {
        block.d = stored(f64::from(block.d) * factor, block.d);
        block.dmin = stored(f64::from(block.dmin) * factor, block.dmin);
    }
}

/// Energy of weights, and what of it their block has.
#[derive(Default)]
struct Energy {
    own: f64,
    shared: f64,
}

impl Energy {
    #[inline(always)]
    fn add<const S: usize>(&mut self, x: &[f32; S], values: &[f32; S], weights: &[f32; S]) {
        let (mut own, mut shared) = ([0.0; S], [0.0; S]);
        for i in 0..S {
            let weighted = weights[i] * x[i];
            own[i] = weighted * x[i];
            shared[i] = weighted * values[i];
        }
        self.own += f64::from(block::sum(&own));
        self.shared += f64::from(block::sum(&shared));
    }

    /// The factor that gives the block all of it.
    fn lack(&self) -> f64 {
        (self.own / self.shared).sqrt()
    }
}

#[cfg(test)]
mod tests;
