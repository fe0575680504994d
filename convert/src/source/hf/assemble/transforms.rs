//! The outputs of one stored tensor by one rule.

use gguf::TensorType;

use super::Assembler;
use crate::Result;
use crate::arch::{self, Match, Rearrange, Rows, Strided, Transform, View};
use crate::source::SourceTensor;
use crate::source::hf::combined::{self, Combined};
use crate::source::hf::content::{Content, Joined};
use crate::source::hf::gather::Gather;
use crate::source::hf::ids::Ids;
use crate::source::hf::integers::Integers;
use crate::source::hf::layout::{Layout, Values};
use crate::source::hf::mean::{Mean, Of};
use crate::source::hf::parts::Place;

impl Assembler<'_> {
    /// One rule's tensor, of a stored one whose name is `name`.
    pub(super) fn transform(&mut self, found: Match, at: Place, name: &str) -> Result<()> {
        match found.transform {
            Transform::Skip => {
                self.left_out.push(name.to_owned());
                self.coverage.whole();
                Ok(())
            }
            Transform::Expert | Transform::NumberedTogether(_) => self.together(&found, at),
            Transform::Numbered(_) | Transform::Shard(_) => self.member(&found, at),
            Transform::Integers => self.integers(found, at),
            Transform::Piece(whole) => self.piece(&found, at, whole),
            Transform::Grid(side) => self.grid(found, at, side),
            Transform::Codebook(stored) => self.codebook(found, at, name, stored),
            Transform::Factor(which) => self.factor(&found, at, which),
            Transform::View(rearrange, map) => {
                self.view(found, at, rearrange, map.is_some(), |g| g.with_map(map))
            }
            Transform::SingleView(rearrange, map) => {
                self.view(found, at, rearrange, true, |g| g.with_single_map(map))
            }
            Transform::Fill(numbers) => {
                let (length, value) = numbers(self.hparams)?;
                self.fill(found, at, length, value)
            }
            Transform::Sum(part) => self.sum(found, at, part),
            Transform::TargetIds(limit) => self.target_ids(found, at, limit(self.hparams)?),
            Transform::Ternary => self.mean(found, at, Of::Magnitudes),
            Transform::LessMean => self.mean(found, at, Of::Elements),
            Transform::Parts(count, part) => self.pieces(found, at, count, part),
            Transform::BehindZeros(rearrange) => self.behind_zeros(found, at, rearrange),
            Transform::BatchNorm(which) => self.batch_norm(&found, at, which),
            Transform::ScaleRows(factors) => {
                let shape = &self.parts.entry(at).shape;
                let factors = factors(self.hparams, shape.first().copied().unwrap_or(1))?;
                self.gathered(found, at, View::of(shape), |g| g.with_factors(factors))
            }
            _ => self.whole(found, at),
        }
    }

    /// A tensor that is one piece.
    fn whole(&mut self, found: Match, at: Place) -> Result<()> {
        let entry = self.parts.entry(at);
        let stored = *entry.shape.first().unwrap_or(&1);
        let mut shape = self.gguf_shape(at)?;
        let mut layout = Layout::new(self.element(at)?, entry.shape.iter().skip(1).product());
        let mut rows = Rows::range(0, stored);
        if let Some(chosen) = self.chosen_rows(&found, at, &mut shape)? {
            rows = chosen;
        }
        match found.transform {
            Transform::FirstHalf | Transform::SecondHalf => {
                let is_second = matches!(found.transform, Transform::SecondHalf);
                rows = self.half(at, &mut shape, is_second)?;
                layout.unit_len = shape[0];
            }
            // A pair's sides are what the layer multiplies by, however its weight is stored.
            Transform::Transpose
                if self.pairs.is_none() && shape.len() == 2 && layout.element.block().0 == 1 =>
            {
                shape.reverse();
                layout.unit_len = shape[0];
                layout.transposed = true;
                rows = Rows::range(0, shape[1]);
            }
            Transform::PadRows(count) if self.pairs.is_none() => {
                if let Some(outermost) = shape.last_mut() {
                    *outermost = count(self.hparams)?.max(stored);
                }
            }
            _ => {}
        }
        if let Some(values) = self.changed_values(&found, at, shape.len())? {
            layout.values = values;
        }
        self.coverage.rows(&rows, layout.unit_len);
        layout.push((at.file, entry.offset), &rows);
        self.push(found.name, shape, at.file, Content::Stored(layout));
        Ok(())
    }

    /// The rows that a rule chooses or permutes, if it does, whose number becomes the shape's.
    fn chosen_rows(&self, found: &Match, at: Place, shape: &mut Vec<u64>) -> Result<Option<Rows>> {
        let entry = self.parts.entry(at);
        let stored = *entry.shape.first().unwrap_or(&1);
        let rows = match found.transform {
            Transform::PermuteQuery | Transform::PermuteKey => {
                let (query, key) = self.hparams.heads()?;
                let is_query = matches!(found.transform, Transform::PermuteQuery);
                let heads = u64::from(if is_query { query } else { key });
                if !stored.is_multiple_of(2 * heads) {
                    return Err(self.fail(
                        at,
                        format!(
                            "expected rows that can be divided among {heads} heads in pairs, found {stored}"
                        ),
                    ));
                }
                return Ok(Some(Rows::interleaved(0, heads, stored / heads)));
            }
            Transform::Selected(selection) => selection.rows(self.hparams, stored)?,
            Transform::Ranges(choose) => arch::chosen_rows(choose, self.hparams, stored)?,
            Transform::Rows(choose) => choose(self.hparams, stored)?,
            Transform::Channels(choose) => {
                if shape.len() != 3 || shape[1] != 1 {
                    return Err(self.fail(
                        at,
                        format!(
                            "expected a shape of channels x 1 x width, found {:?}",
                            entry.shape
                        ),
                    ));
                }
                shape.remove(1);
                choose(self.hparams, stored)?
            }
            _ => return Ok(None),
        };
        if !rows.fit(stored) {
            return Err(self.fail(
                at,
                format!("expected more rows by the numbers of heads in config.json, found {stored}"),
            ));
        }
        if let Some(outermost) = shape.last_mut() {
            *outermost = rows.len();
        }
        Ok(Some(rows))
    }

    /// The rows of the first or second half of each matrix of a stack.
    fn half(&self, at: Place, shape: &mut [u64], is_second: bool) -> Result<Rows> {
        let [_, matrix, stack] = *shape else {
            return Err(self.fail(at, format!("expected 3 dimensions, found {}", shape.len())));
        };
        if !matrix.is_multiple_of(2) {
            return Err(self.fail(
                at,
                format!("expected an even number of rows in each matrix, found {matrix}"),
            ));
        }
        let half = matrix / 2;
        shape[1] = half;
        let start = if is_second { half } else { 0 };
        Ok(Rows(vec![Strided::new(start, &[(stack, matrix), (half, 1)])]))
    }

    /// A rule's function of each value, if it has one.
    fn changed_values(&self, found: &Match, at: Place, dimensions: usize) -> Result<Option<Values>> {
        Ok(Some(match found.transform {
            Transform::AddOne | Transform::Add(_) | Transform::Map(_) | Transform::MapInSteps(_)
                if self.pairs.is_some() && dimensions > 1 =>
            {
                return Err(self.fail(
                    at,
                    "the converted weight is not a multiple of the stored one, so no pair can be added to it; \
                     merge the adapter into the model first"
                        .to_owned(),
                ));
            }
            Transform::AddOne => Values::Add(1.0),
            Transform::Add(number) => Values::Add(number),
            Transform::Multiply(factor) => Values::Multiply(factor),
            Transform::Scale(factor) => Values::Multiply(factor(self.hparams)?),
            Transform::ScaleByBlock(factor) => {
                Values::Multiply(factor(self.hparams, found.block.unwrap_or(0))?)
            }
            Transform::Map(f) => Values::Map(f),
            Transform::MapInSteps(f) => Values::InSteps(f),
            _ => return Ok(None),
        }))
    }

    /// A tensor whose dimensions are rearranged, and then its elements computed.
    fn view(
        &mut self,
        found: Match,
        at: Place,
        rearrange: Rearrange,
        is_mapped: bool,
        mapped: impl FnOnce(Gather) -> Gather,
    ) -> Result<()> {
        if self.pairs.is_some() {
            return self.pair_view(found, at, rearrange, is_mapped);
        }
        let view = match View::of(&self.parts.entry(at).shape) {
            Some(view) => rearrange(self.hparams, view)?,
            None => None,
        };
        self.gathered(found, at, view, mapped)
    }

    /// A vector of one number that stands beside a stored tensor, whose adapters it does not follow.
    fn fill(&mut self, found: Match, at: Place, length: u64, value: f32) -> Result<()> {
        if self.pairs.is_some() {
            return Ok(());
        }
        let whole = View::of(&self.parts.entry(at).shape);
        let elements = self.parts.entry(at).elements();
        let flat = whole.and_then(|view| view.shaped(&[elements]));
        let first = flat.and_then(|_| View::of(&[elements])?.cut(0, 0, length));
        self.gathered(found, at, first, |g| g.with_constant(value))
    }

    /// A tensor that is the sum of two parts of the stored one.
    fn sum(&mut self, found: Match, at: Place, part: combined::Part) -> Result<()> {
        self.no_pair(at)?;
        let mut gathers = Vec::new();
        let mut shape = Vec::new();
        for which in 0..2 {
            let view = match View::of(&self.parts.entry(at).shape) {
                Some(view) => part(self.hparams, view, which)?,
                None => None,
            };
            view.iter().for_each(|view| self.coverage.view(view));
            let (gather, of) = self.gather(at, view)?;
            gathers.push(gather);
            shape = of;
        }
        self.push(
            found.name,
            shape,
            at.file,
            Content::Combined(Combined::sum(gathers)),
        );
        Ok(())
    }

    /// A tensor whose elements depend on the mean of all.
    fn mean(&mut self, found: Match, at: Place, of: Of) -> Result<()> {
        self.no_pair(at)?;
        self.coverage.whole();
        let entry = self.parts.entry(at);
        let shape = self.gguf_shape(at)?;
        let rows = Rows::range(0, *entry.shape.first().unwrap_or(&1));
        let mut layout = Layout::new(self.element(at)?, entry.shape.iter().skip(1).product());
        layout.push((at.file, entry.offset), &rows);
        let mean = Mean::new(layout, entry.elements(), of);
        self.push(found.name, shape, at.file, Content::Mean(mean));
        Ok(())
    }

    /// A tensor that is parts of the stored one in another order.
    fn pieces(&mut self, found: Match, at: Place, count: u64, part: combined::Part) -> Result<()> {
        self.no_pair(at)?;
        let mut pieces = Vec::new();
        for which in 0..count {
            let view = match View::of(&self.parts.entry(at).shape) {
                Some(view) => part(self.hparams, view, which)?,
                None => None,
            };
            view.iter().for_each(|view| self.coverage.view(view));
            pieces.push(self.gather(at, view)?);
        }
        let pieces = pieces
            .into_iter()
            .map(|(gather, shape)| (Content::Gathered(gather), shape));
        self.end_to_end(found.name, at, pieces.collect());
        Ok(())
    }

    /// A stack of matrices behind one of zeros.
    fn behind_zeros(&mut self, found: Match, at: Place, rearrange: Rearrange) -> Result<()> {
        self.no_pair(at)?;
        let view = match View::of(&self.parts.entry(at).shape) {
            Some(view) => rearrange(self.hparams, view)?,
            None => None,
        };
        view.iter().for_each(|view| self.coverage.view(view));
        let (gather, shape) = self.gather(at, view)?;
        let [columns, rows, _] = shape[..] else {
            return Err(self.fail(
                at,
                format!("expected a stack of matrices, found the shape {shape:?}"),
            ));
        };
        // No longer than one of the stored matrices.
        let zeros = vec![0.0; (columns * rows) as usize];
        let pieces = vec![
            (Content::Computed(zeros), vec![columns, rows, 1]),
            (Content::Gathered(gather), shape),
        ];
        self.end_to_end(found.name, at, pieces);
        Ok(())
    }

    /// Adds a tensor of several that have the same shape but for the outermost dimension.
    pub(super) fn end_to_end(&mut self, name: String, at: Place, pieces: Vec<(Content, Vec<u64>)>) {
        let Some((_, first)) = pieces.first() else {
            return;
        };
        let mut shape = first.clone();
        if let Some(outermost) = shape.last_mut() {
            *outermost = pieces.iter().filter_map(|(_, shape)| shape.last()).sum();
        }
        let ty = self.type_of(&name, &shape);
        let piece = |(content, shape): (Content, Vec<u64>)| {
            let tensor = SourceTensor {
                name: name.clone(),
                shape,
                ty,
                shard: at.file,
            };
            (tensor, content)
        };
        let joined = Joined::end_to_end(pieces.into_iter().map(piece));
        self.push(name.clone(), shape, at.file, Content::Joined(joined));
    }

    /// A draft model's table of ids.
    fn target_ids(&mut self, found: Match, at: Place, limit: u32) -> Result<()> {
        self.no_pair(at)?;
        self.coverage.whole();
        let entry = self.parts.entry(at);
        let (place, count) = ((at.file, entry.offset), entry.elements());
        let ids = Ids::new(place, entry.dtype, count, limit, &entry.name);
        let Some(ids) = ids.filter(|_| count > 0) else {
            return Err(self.fail(
                at,
                format!("expected integers, found {} {:?}", entry.dtype, entry.shape),
            ));
        };
        let tensor = SourceTensor {
            name: found.name,
            shape: vec![count],
            ty: TensorType::I64,
            shard: at.file,
        };
        self.last.push((tensor, Content::Ids(ids)));
        Ok(())
    }

    /// A table of integers.
    fn integers(&mut self, found: Match, at: Place) -> Result<()> {
        self.no_pair(at)?;
        self.coverage.whole();
        let entry = self.parts.entry(at);
        let shape = self.gguf_shape(at)?;
        let Some(integers) = Integers::new((at.file, entry.offset), entry.dtype, &entry.name) else {
            return Err(self.fail(
                at,
                format!("expected integers, found {} {:?}", entry.dtype, entry.shape),
            ));
        };
        self.tensors.push(SourceTensor {
            name: found.name,
            shape,
            ty: TensorType::I32,
            shard: at.file,
        });
        self.contents.push(Content::Integers(integers));
        Ok(())
    }

    /// One of the four tensors of a batch norm; the last of them brings the two that are left.
    fn batch_norm(&mut self, found: &Match, at: Place, which: usize) -> Result<()> {
        self.no_pair(at)?;
        self.coverage.whole();
        let block = found.block.unwrap_or(0);
        let seen = self.norms.entry((block, found.rule.gguf)).or_default();
        seen[which] = Some(at);
        let [Some(weight), Some(bias), Some(mean), Some(variance)] = *seen else {
            return Ok(());
        };
        self.norms.shift_remove(&(block, found.rule.gguf));
        let length = self.parts.entry(weight).shape.clone();
        let mut gathers = Vec::new();
        for at in [weight, bias, mean, variance] {
            let entry = self.parts.entry(at);
            if entry.shape != length || length.len() != 1 {
                return Err(self.fail(
                    at,
                    format!(
                        "expected a vector of the shape {length:?} of the norm's weight, found {:?}",
                        entry.shape
                    ),
                ));
            }
            gathers.push(self.gather(at, View::of(&length))?.0);
        }
        for (suffix, content) in ["weight", "bias"].into_iter().zip(Combined::norm(gathers)) {
            let name = format!("{}.{suffix}", found.name);
            self.push(name, length.clone(), at.file, Content::Combined(content));
        }
        Ok(())
    }
}
