//! From a checkpoint's tensors to the output's: names, shapes and layouts, in output order.

mod pairs;
mod stacked;

use std::collections::HashMap;

use gguf::TensorType;
use indexmap::IndexMap;

pub(super) use self::pairs::PairSides;
use self::stacked::{Group, Numbered, kind_of};
use super::combined::{self, Combined};
use super::coverage::Coverage;
use super::element::Element;
use super::gather::Gather;
use super::ids::Ids;
use super::joined::Joined;
use super::layout::{Layout, Values};
use super::mean::{Mean, Of};
use super::outtype;
use super::parts::Parts;
use super::prediction::Filter;
use super::quantized::BlockFactors;
use super::tensor_file::Entry;
use crate::arch::{
    self, Architecture, Class, Generated, Hparams, Match, Named, Rearrange, Rows, Rule, Strided, Transform,
    View,
};
use crate::source::SourceTensor;
use crate::{Error, Result};

/// Factors this close to one are not written.
const FACTOR_TOLERANCE: f32 = 1e-6;

/// Dimensions of a GGUF tensor.
const MAX_GGUF_DIMS: usize = 4;
/// Dimensions of a stored tensor that is rearranged: those of a convolution over frames.
const MAX_STORED_DIMS: usize = 5;

/// Content of an output tensor.
#[derive(Clone, Debug)]
pub(super) enum Content {
    Stored(Layout),
    Gathered(Gather),
    Combined(Combined),
    Computed(Vec<f32>),
    Joined(Joined),
    Ids(Ids),
    Mean(Mean),
}

/// Weight, bias, mean and variance of a batch norm, as far as they have been seen.
type NormParts = [Option<(usize, usize)>; 4];

/// The tensors of an output, and the names in the checkpoint that are in none of them.
pub(super) struct Assembled {
    pub(super) tensors: Vec<SourceTensor>,
    pub(super) contents: Vec<Content>,
    pub(super) left_out: Vec<String>,
    /// See [`PairSides::views`].
    pub(super) views: HashMap<String, View>,
}

/// Maps every tensor of a checkpoint.
pub(super) struct Assembler<'a> {
    pub(super) parts: &'a Parts,
    pub(super) architecture: &'static Architecture,
    pub(super) class: &'static Class,
    pub(super) hparams: &'a Hparams,
    /// The type of the output's matrices.
    pub(super) ty: TensorType,
    /// Whether the checkpoint holds more than the text model, which alone is wanted.
    pub(super) is_part: bool,
    /// Filter of the tensors to convert.
    pub(super) filter: Filter,
    /// Whether what is decoded from FP8 becomes Q8_0.
    pub(super) fp8_as_q8: bool,
    /// Whether the tensor that is being mapped is decoded from FP8.
    is_fp8: bool,
    /// What to say of the directory where a tensor has no place.
    pub(super) layout: Option<&'static str>,
    tensors: Vec<SourceTensor>,
    contents: Vec<Content>,
    numbered: IndexMap<Group, Numbered>,
    /// Batch norms of which some of the four tensors have been seen, by block and GGUF name.
    norms: IndexMap<(u32, &'static str), NormParts>,
    left_out: Vec<String>,
    /// What comes behind all others.
    last: Vec<(SourceTensor, Content)>,
    /// The name, as the tables know it, of the tensor that is being mapped.
    stored: String,
    /// What of it has gone into outputs.
    coverage: Coverage,
    /// Whether the tensor of [`Hooks::one_of`](arch::Hooks::one_of) has come.
    holds_one: bool,
    /// Set for an adapter, whose tensors are the output sides of pairs.
    pub(super) pairs: Option<PairSides>,
}

impl<'a> Assembler<'a> {
    pub(super) fn new(
        parts: &'a Parts,
        architecture: &'static Architecture,
        class: &'static Class,
        hparams: &'a Hparams,
        ty: TensorType,
    ) -> Self {
        let (tensors, contents, numbered) = (Vec::new(), Vec::new(), IndexMap::new());
        Self {
            left_out: Vec::new(),
            last: Vec::new(),
            stored: String::new(),
            coverage: Coverage::default(),
            norms: IndexMap::new(),
            holds_one: false,
            pairs: None,
            is_part: false,
            filter: Filter::ALL,
            layout: None,
            fp8_as_q8: false,
            is_fp8: false,
            parts,
            architecture,
            class,
            hparams,
            ty,
            tensors,
            contents,
            numbered,
        }
    }

    /// All tensors: the computed ones, then those of the checkpoint in its order.
    ///
    /// # Errors
    /// A tensor that the architecture does not know, that has an unsupported dtype or shape, or that
    /// occurs twice; experts that are missing.
    pub(super) fn run(mut self) -> Result<Assembled> {
        let (blocks, others): (Vec<_>, Vec<_>) = self
            .parts
            .tensors
            .iter()
            .partition(|(_, at)| self.parts.entry(**at).blocks.is_some());
        for (name, &at) in blocks {
            self.map(name, at)?;
        }
        for Generated { name, values } in (self.architecture.generated)(self.hparams)? {
            let shape = vec![values.len() as u64];
            self.push(name.to_owned(), shape, 0, Content::Computed(values));
        }
        for table in (self.architecture.hooks.tables)(self.hparams)? {
            self.push(
                table.name.to_owned(),
                table.shape,
                0,
                Content::Computed(table.values),
            );
        }
        for (name, &at) in others {
            if arch::ignored(name) {
                self.left_out.push(name.clone());
            } else {
                self.map(name, at)?;
            }
        }
        self.finish()
    }

    /// The tensors of the checkpoint in its order, none computed.
    ///
    /// # Errors
    /// As [`Assembler::run`].
    pub(super) fn run_stored(mut self) -> Result<Assembled> {
        for (name, &at) in &self.parts.tensors {
            self.map(name, at)?;
        }
        self.finish()
    }

    fn finish(mut self) -> Result<Assembled> {
        for (tensor, content) in std::mem::take(&mut self.last) {
            self.tensors.push(tensor);
            self.contents.push(content);
        }
        if let Some(((block, name), seen)) = self.norms.first() {
            let at = seen.iter().flatten().next().copied().unwrap_or_default();
            return Err(self.fail(
                at,
                format!("of block {block}'s {name} only some of weight, bias, mean and variance are there"),
            ));
        }
        if let Some(((block, rule), seen)) = self.numbered.iter().find(|(_, seen)| !seen.is_empty()) {
            let expected = match rule.and_then(|hf| self.rules().find(|r| r.hf == hf)) {
                Some(rule) => self.count_of(rule)? as usize,
                None => self.expert_count()? as usize * self.expert_rules().len(),
            };
            let kind = kind_of(rule.is_some());
            return Err(self.hparams.error(format!(
                "layer {block} has {} {kind} tensors such as {}, {expected} expected",
                seen.len(),
                seen.values()
                    .next()
                    .map_or("", |&at| self.parts.entry(at).name.as_str())
            )));
        }
        let mut names: Vec<&str> = self.tensors.iter().map(|t| t.name.as_str()).collect();
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|w| w[0] == w[1]) {
            return Err(self
                .hparams
                .error(format!("two tensors of the checkpoint map to {}", twice[0])));
        }
        Ok(Assembled {
            tensors: self.tensors,
            contents: self.contents,
            left_out: self.left_out,
            views: self.pairs.map(|p| p.views).unwrap_or_default(),
        })
    }

    fn rules(&self) -> impl Iterator<Item = &'static Rule> + use<> {
        self.architecture.rules.iter().flat_map(|table| table.iter())
    }

    /// Whether a tensor is there already under another of its names.
    fn is_held(&self, name: &str) -> bool {
        self.holds_one && self.architecture.hooks.one_of.contains(&name)
    }

    fn map(&mut self, name: &str, at: (usize, usize)) -> Result<()> {
        let part = match self.is_part {
            true => arch::multimodal::text_name(name),
            false => Some(name.to_owned()),
        };
        let canonical = part
            .and_then(|name| (self.architecture.hooks.canonical)(self.hparams, self.class.canonical(&name)));
        let Some(mut canonical) = canonical.filter(|name| !self.is_held(name)) else {
            self.left_out.push(name.to_owned());
            return Ok(());
        };
        if !self.filter.wants(&canonical) {
            return Ok(());
        }
        let one_of = self.architecture.hooks.one_of;
        if one_of.contains(&canonical.as_str()) {
            self.holds_one = true;
            one_of[0].clone_into(&mut canonical);
        }
        let matches = arch::resolve(self.architecture.rules, &canonical);
        self.stored = canonical;
        self.is_fp8 = self.parts.fp8.contains(name);
        if matches.is_empty() {
            return Err(self.fail(
                at,
                format!(
                    "{}no place in the {} architecture for this tensor of a {}: the checkpoint is of another \
                     model, or a row for it is missing in {}",
                    self.layout.unwrap_or_default(),
                    self.architecture.gguf,
                    self.class.name,
                    match self.hparams.described() {
                        Some(_) => "the tensors of its description",
                        None =>
                            "the name table of that architecture (in the source code: convert/src/arch/models/)",
                    }
                ),
            ));
        }
        self.coverage = Coverage::default();
        drop(self.hparams.asked());
        let needs_all = matches.iter().all(|found| found.rule.needs_all());
        for found in matches {
            if let Some(block) = found.block.filter(|&b| b >= self.hparams.block_limit()) {
                return Err(self.fail(
                    at,
                    format!(
                        "block {block}, but config.json says {} blocks (num_hidden_layers)",
                        self.hparams.block_limit()
                    ),
                ));
            }
            match found.transform {
                Transform::Skip => {
                    self.left_out.push(name.to_owned());
                    self.coverage.whole();
                }
                Transform::Expert => self.expert(&found, at)?,
                Transform::Numbered(_) => self.member(&found, at)?,
                Transform::View(rearrange, map) => self.view(found, at, rearrange, map)?,
                Transform::Fill(numbers) => {
                    let (length, value) = numbers(self.hparams)?;
                    self.fill(found, at, length, value)?;
                }
                Transform::Sum(part) => self.sum(found, at, part)?,
                Transform::TargetIds(limit) => self.target_ids(found, at, limit(self.hparams)?)?,
                Transform::Ternary => self.mean(found, at, Of::Magnitudes)?,
                Transform::LessMean => self.mean(found, at, Of::Elements)?,
                Transform::Parts(count, part) => self.pieces(found, at, count, part)?,
                Transform::BehindZeros(rearrange) => self.behind_zeros(found, at, rearrange)?,
                Transform::BatchNorm(which) => self.batch_norm(&found, at, which)?,
                Transform::ScaleRows(factors) => {
                    let shape = &self.parts.entry(at).shape;
                    let factors = factors(self.hparams, shape.first().copied().unwrap_or(1))?;
                    self.gathered(found, at, View::of(shape), |g| g.with_factors(factors))?;
                }
                _ => self.whole(found, at)?,
            }
        }
        if needs_all { self.all_is_taken(at) } else { Ok(()) }
    }

    /// Checks that nothing of the tensor that was mapped is left out: a configuration that counts fewer heads than are
    /// stored would lose the others in silence.
    fn all_is_taken(&self, at: (usize, usize)) -> Result<()> {
        let shape = &self.parts.entry(at).shape;
        let stored = shape.iter().product::<u64>();
        let taken = self.coverage.taken(stored);
        if taken == stored {
            return Ok(());
        }
        let row_len = shape.iter().skip(1).product::<u64>().max(1);
        let (unit, row_len) = match taken.is_multiple_of(row_len) {
            true => ("rows", row_len),
            false => ("elements", 1),
        };
        let from: Vec<String> = self
            .hparams
            .asked()
            .into_iter()
            .map(|(key, value)| format!("{key} {value}"))
            .collect();
        let from = if from.is_empty() {
            String::new()
        } else {
            format!(" ({})", from.join(", "))
        };
        Err(self.fail(
            at,
            format!(
                "{} {unit}, but by the configuration{from} only {} of them are used",
                stored / row_len,
                taken / row_len
            ),
        ))
    }

    /// A tensor that is one piece.
    fn whole(&mut self, found: Match, at: (usize, usize)) -> Result<()> {
        let entry = self.parts.entry(at);
        let mut shape = self.gguf_shape(at)?;
        let stored = *entry.shape.first().unwrap_or(&1);
        let mut layout = Layout::new(self.element(at)?, entry.shape.iter().skip(1).product());
        let mut rows = Rows::range(0, stored);
        let rearranged = |rows: Rows, shape: &mut Vec<u64>| {
            if !rows.fit(stored) {
                let message =
                    format!("{stored} rows, more expected from the numbers of heads in config.json");
                return Err(self.fail(at, message));
            }
            if let Some(outermost) = shape.last_mut() {
                *outermost = rows.len();
            }
            Ok(rows)
        };
        match found.transform {
            Transform::PermuteQuery | Transform::PermuteKey => {
                let (query, key) = self.hparams.heads()?;
                let is_query = matches!(found.transform, Transform::PermuteQuery);
                let heads = u64::from(if is_query { query } else { key });
                if !stored.is_multiple_of(2 * heads) {
                    return Err(self.fail(
                        at,
                        format!("{stored} rows cannot be divided among {heads} heads in pairs"),
                    ));
                }
                rows = Rows::interleaved(0, heads, stored / heads);
            }
            Transform::Selected(selection) => {
                rows = rearranged(selection.rows(self.hparams, stored)?, &mut shape)?;
            }
            Transform::Ranges(choose) => {
                let chosen = arch::custom::rows(choose, self.hparams, stored)?;
                rows = rearranged(chosen, &mut shape)?;
            }
            Transform::Rows(choose) => {
                rows = rearranged(choose(self.hparams, stored)?, &mut shape)?;
            }
            Transform::Channels(choose) => {
                if shape.len() != 3 || shape[1] != 1 {
                    return Err(self.fail(
                        at,
                        format!("shape {:?}, channels x 1 x width expected", entry.shape),
                    ));
                }
                shape.remove(1);
                rows = rearranged(choose(self.hparams, stored)?, &mut shape)?;
            }
            Transform::FirstHalf | Transform::SecondHalf => {
                let [_, matrix, stack] = shape[..] else {
                    return Err(self.fail(at, format!("{} dimensions, 3 expected", shape.len())));
                };
                if !matrix.is_multiple_of(2) {
                    return Err(self.fail(
                        at,
                        format!("{matrix} rows in each matrix, an even number expected"),
                    ));
                }
                let half = matrix / 2;
                shape[1] = half;
                layout.unit_len = shape[0];
                let is_first = matches!(found.transform, Transform::FirstHalf);
                let start = if is_first { 0 } else { half };
                rows = Rows(vec![Strided::new(start, &[(stack, matrix), (half, 1)])]);
            }
            // A pair's sides are what the layer multiplies by, however its weight is stored.
            Transform::Transpose if self.pairs.is_some() => {}
            Transform::AddOne | Transform::Add(_) | Transform::Map(_)
                if self.pairs.is_some() && shape.len() > 1 =>
            {
                return Err(self.fail(
                    at,
                    "the converted weight is not a multiple of the stored one, so no pair can be added to it; \
                     merge the adapter into the model first"
                        .to_owned(),
                ));
            }
            Transform::Transpose if shape.len() == 2 && layout.element.block().0 == 1 => {
                shape.reverse();
                layout.unit_len = shape[0];
                layout.transposed = true;
                rows = Rows::range(0, shape[1]);
            }
            Transform::PadRows(_) if self.pairs.is_some() => {}
            Transform::PadRows(count) => {
                if let Some(outermost) = shape.last_mut() {
                    *outermost = count(self.hparams)?.max(stored);
                }
            }
            Transform::AddOne => layout.values = Values::Add(1.0),
            Transform::Add(number) => layout.values = Values::Add(number),
            Transform::Multiply(factor) => layout.values = Values::Multiply(factor),
            Transform::Scale(factor) => layout.values = Values::Multiply(factor(self.hparams)?),
            Transform::ScaleByBlock(factor) => {
                let factor = factor(self.hparams, found.block.unwrap_or(0))?;
                layout.values = Values::Multiply(factor);
            }
            Transform::Map(f) => layout.values = Values::Map(f),
            _ => {}
        }
        self.coverage.rows(&rows, layout.unit_len);
        layout.push((at.0, entry.offset), &rows);
        self.push(found.name, shape, at.0, Content::Stored(layout));
        Ok(())
    }

    /// A tensor whose dimensions are rearranged.
    fn view(
        &mut self,
        found: Match,
        at: (usize, usize),
        rearrange: Rearrange,
        map: Option<fn(f32) -> f32>,
    ) -> Result<()> {
        if self.pairs.is_some() {
            return self.pair_view(found, at, rearrange, map.is_some());
        }
        let view = match View::of(&self.parts.entry(at).shape) {
            Some(view) => rearrange(self.hparams, view)?,
            None => None,
        };
        self.gathered(found, at, view, |g| g.with_map(map))
    }

    /// A vector of one number that stands beside a stored tensor, whose adapters it does not follow.
    fn fill(&mut self, found: Match, at: (usize, usize), length: u64, value: f32) -> Result<()> {
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
    fn sum(&mut self, found: Match, at: (usize, usize), part: combined::Part) -> Result<()> {
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
        self.push(found.name, shape, at.0, Content::Combined(Combined::sum(gathers)));
        Ok(())
    }

    /// A tensor whose elements depend on the mean of all.
    fn mean(&mut self, found: Match, at: (usize, usize), of: Of) -> Result<()> {
        self.no_pair(at)?;
        self.coverage.whole();
        let entry = self.parts.entry(at);
        let shape = self.gguf_shape(at)?;
        let rows = Rows::range(0, *entry.shape.first().unwrap_or(&1));
        let mut layout = Layout::new(self.element(at)?, entry.shape.iter().skip(1).product());
        layout.push((at.0, entry.offset), &rows);
        let mean = Mean::new(layout, entry.elements(), of);
        self.push(found.name, shape, at.0, Content::Mean(mean));
        Ok(())
    }

    /// A tensor that is parts of the stored one in another order.
    fn pieces(&mut self, found: Match, at: (usize, usize), count: u64, part: combined::Part) -> Result<()> {
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
    fn behind_zeros(&mut self, found: Match, at: (usize, usize), rearrange: Rearrange) -> Result<()> {
        self.no_pair(at)?;
        let view = match View::of(&self.parts.entry(at).shape) {
            Some(view) => rearrange(self.hparams, view)?,
            None => None,
        };
        view.iter().for_each(|view| self.coverage.view(view));
        let (gather, shape) = self.gather(at, view)?;
        let [columns, rows, _] = shape[..] else {
            return Err(self.fail(at, format!("shape {shape:?}, a stack of matrices expected")));
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
    fn end_to_end(&mut self, name: String, at: (usize, usize), pieces: Vec<(Content, Vec<u64>)>) {
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
                shard: at.0,
            };
            (tensor, content)
        };
        let joined = Joined::end_to_end(pieces.into_iter().map(piece));
        self.push(name.clone(), shape, at.0, Content::Joined(joined));
    }

    /// A draft model's table of ids.
    fn target_ids(&mut self, found: Match, at: (usize, usize), limit: u32) -> Result<()> {
        self.no_pair(at)?;
        self.coverage.whole();
        let entry = self.parts.entry(at);
        let (place, count) = ((at.0, entry.offset), entry.elements());
        let ids = Ids::new(place, entry.dtype, count, limit, &entry.name);
        let Some(ids) = ids.filter(|_| count > 0) else {
            return Err(self.fail(
                at,
                format!("{} {:?}, integers expected", entry.dtype, entry.shape),
            ));
        };
        let tensor = SourceTensor {
            name: found.name,
            shape: vec![count],
            ty: TensorType::I64,
            shard: at.0,
        };
        self.last.push((tensor, Content::Ids(ids)));
        Ok(())
    }

    /// One of the four tensors of a batch norm; the last of them brings the two that are left.
    fn batch_norm(&mut self, found: &Match, at: (usize, usize), which: usize) -> Result<()> {
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
                        "shape {:?}, a vector like the norm's weight expected",
                        entry.shape
                    ),
                ));
            }
            gathers.push(self.gather(at, View::of(&length))?.0);
        }
        for (suffix, content) in ["weight", "bias"].into_iter().zip(Combined::norm(gathers)) {
            let name = format!("{}.{suffix}", found.name);
            self.push(name, length.clone(), at.0, Content::Combined(content));
        }
        Ok(())
    }

    /// A view of a stored tensor, and the shape of what it becomes, innermost dimension first.
    fn gather(&self, at: (usize, usize), view: Option<View>) -> Result<(Gather, Vec<u64>)> {
        let entry = self.parts.entry(at);
        let shape = &entry.shape;
        if shape.len() > MAX_STORED_DIMS || shape.contains(&0) {
            return Err(self.fail(
                at,
                format!("shape {shape:?}; at most {MAX_STORED_DIMS} dimensions, none of them 0, expected"),
            ));
        }
        let place = (at.0, entry.offset);
        let element = self.element(at)?;
        let gather = view.and_then(|view| Some((Gather::new(element, place, &view)?, view.shape())));
        let fits = |(_, s): &(Gather, Vec<u64>)| (1..=MAX_GGUF_DIMS).contains(&s.len());
        let Some((gather, mut shape)) = gather.filter(fits) else {
            return Err(self.fail(
                at,
                format!(
                    "shape {:?} does not go with the numbers in config.json",
                    entry.shape
                ),
            ));
        };
        shape.reverse();
        Ok((gather, shape))
    }

    fn gathered(
        &mut self,
        found: Match,
        at: (usize, usize),
        view: Option<View>,
        finish: impl FnOnce(Gather) -> Gather,
    ) -> Result<()> {
        view.iter().for_each(|view| self.coverage.view(view));
        let (gather, shape) = self.gather(at, view)?;
        self.push(found.name, shape, at.0, Content::Gathered(finish(gather)));
        Ok(())
    }

    fn element(&self, at: (usize, usize)) -> Result<Element> {
        let entry = self.parts.entry(at);
        entry.element().ok_or_else(|| {
            self.fail(
                at,
                format!(
                    "dtype {} is not supported; F32, F16, BF16, F64, F8_E4M3 and F8_E5M2 are",
                    entry.dtype
                ),
            )
        })
    }

    fn gguf_shape(&self, at: (usize, usize)) -> Result<Vec<u64>> {
        // A number by itself, which encoders have as the bounds of activations, becomes a vector of one.
        if self.parts.entry(at).shape.is_empty() && self.architecture.is_encoder() {
            return Ok(vec![1]);
        }
        self.dimensions(at, MAX_GGUF_DIMS)?;
        Ok(self.parts.entry(at).shape.iter().rev().copied().collect())
    }

    /// Checks that a stored tensor has 1 to `most` dimensions, none of them 0.
    fn dimensions(&self, at: (usize, usize), most: usize) -> Result<()> {
        let shape = &self.parts.entry(at).shape;
        if shape.is_empty() || shape.len() > most || shape.contains(&0) {
            return Err(self.fail(
                at,
                format!("shape {shape:?}; 1 to {most} dimensions, none of them 0, expected"),
            ));
        }
        Ok(())
    }

    /// The type of a tensor that is not blocks already.
    fn type_of(&self, name: &str, shape: &[u64]) -> TensorType {
        let usual = outtype::tensor_type(self.ty, name, shape, self.architecture.hooks.all_matrices);
        if shape.len() <= 1 || name.ends_with("_norm.weight") {
            return usual;
        }
        let named = Named {
            stored: &self.stored,
            gguf: name,
        };
        let forced = (self.architecture.hooks.force)(self.hparams, named, self.ty);
        let fp8 = || (self.fp8_as_q8 && self.is_fp8).then(|| outtype::q8_0_where_it_fits(shape));
        forced.or_else(fp8).unwrap_or(usual)
    }

    fn push(&mut self, name: String, shape: Vec<u64>, shard: usize, content: Content) {
        let blocks = match &content {
            Content::Stored(layout) => layout.blocks(),
            Content::Gathered(gather) => gather.blocks(),
            Content::Computed(_)
            | Content::Combined(_)
            | Content::Joined(_)
            | Content::Ids(_)
            | Content::Mean(_) => None,
        };
        let ty = blocks.unwrap_or_else(|| self.type_of(&name, &shape));
        let factors = match (&content, blocks) {
            (Content::Stored(layout), Some(TensorType::NVFP4)) => self.factors(layout),
            _ => Vec::new(),
        };
        let stem = name.strip_suffix(".weight").unwrap_or(&name).to_owned();
        self.tensors.push(SourceTensor {
            name,
            shape,
            ty,
            shard,
        });
        self.contents.push(content);
        if factors.is_empty() {
            return;
        }
        let one = |xs: &[f32]| xs.iter().all(|x| (x - 1.0).abs() <= FACTOR_TOLERANCE);
        let weights: Vec<f32> = factors.iter().map(|f| f.weight).collect();
        let inputs: Vec<f32> = factors.iter().map(|f| f.input).collect();
        for (suffix, values) in [("scale", weights), ("input_scale", inputs)] {
            if !one(&values) {
                let shape = vec![values.len() as u64];
                self.push(
                    format!("{stem}.{suffix}"),
                    shape,
                    shard,
                    Content::Computed(values),
                );
            }
        }
    }

    /// The factors of a tensor of NVFP4 blocks, one for each of its pieces.
    fn factors(&self, layout: &Layout) -> Vec<BlockFactors> {
        let places = layout.offsets().into_iter();
        places
            .filter_map(|offset| self.parts.factors.get(&offset).copied())
            .collect()
    }

    fn fail(&self, at: (usize, usize), message: String) -> Error {
        let entry: &Entry = self.parts.entry(at);
        let path = self.parts.files[at.0].path().to_path_buf();
        Error::Input {
            path,
            message: format!("tensor {}: {message}", entry.name),
        }
    }
}
