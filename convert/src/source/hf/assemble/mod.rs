//! From a checkpoint's tensors to the output's: names, shapes and layouts, in output order.

mod codebooks;
mod composed;
mod grid;
mod pairs;
mod products;
mod stacked;
mod stored;
mod transforms;

use std::collections::HashMap;

use gguf::TensorType;
use indexmap::IndexMap;
use safetensors::Dtype;

pub(super) use self::pairs::PairSides;
use self::stacked::{Group, Numbered, kind_of};
use super::content::Content;
use super::coverage::Coverage;
use super::layout::Layout;
use super::outtype;
use super::parts::{BlockFactors, Parts, Place};
use super::prediction::Filter;
use super::tensor_file::Entry;
use crate::arch::{self, Architecture, Class, Generated, Hparams, Name, Named, Rule, StoredAs, View};
use crate::source::SourceTensor;
use crate::{Error, Result};

/// Factors this close to one are not written.
const FACTOR_TOLERANCE: f32 = 1e-6;

/// Weight, bias, mean and variance of a batch norm, as far as they have been seen.
type NormParts = [Option<Place>; 4];

/// The tensors of an output, and the names in the checkpoint that are in none of them.
#[derive(Default)]
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
    /// The form in which the tensor that is being mapped is stored.
    stored_as: StoredAs,
    /// A note on the directory where a tensor has no place.
    pub(super) layout: Option<&'static str>,
    tensors: Vec<SourceTensor>,
    contents: Vec<Content>,
    numbered: IndexMap<Group, Numbered>,
    /// Batch norms of which some of the four tensors have been seen, by block and GGUF name.
    norms: IndexMap<(u32, Name), NormParts>,
    /// Products of which one factor has been seen, by block and GGUF name.
    products: IndexMap<(u32, Name), products::Factors>,
    /// Parts of matrices that are put together, as far as they have been seen, by GGUF name.
    composed: IndexMap<Name, composed::Seen>,
    left_out: Vec<String>,
    /// The tensors behind all others.
    last: Vec<(SourceTensor, Content)>,
    /// The name, as the tables know it, of the tensor that is being mapped.
    stored: String,
    /// The share of it that has gone into outputs.
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
            products: IndexMap::new(),
            composed: IndexMap::new(),
            holds_one: false,
            pairs: None,
            is_part: false,
            filter: Filter::ALL,
            layout: None,
            fp8_as_q8: false,
            is_fp8: false,
            stored_as: StoredAs::Other,
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
        let by_layer = self.architecture.hooks.packed_by_layer;
        let is_table = |entry: &Entry| by_layer && matches!(entry.dtype, Dtype::I64 | Dtype::I32);
        let (mut blocks, others): (Vec<_>, Vec<_>) = self.parts.tensors.iter().partition(|(_, at)| {
            let entry = self.parts.entry(**at);
            entry.blocks.is_some() || is_table(entry)
        });
        if by_layer {
            let layer = |name: &str| name.split('.').find_map(|part| part.parse::<u32>().ok());
            blocks.sort_by_key(|(name, at)| (!is_table(self.parts.entry(**at)), layer(name)));
        }
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
                format!("expected weight, bias, mean and variance of block {block}'s {name}, found only some of them"),
            ));
        }
        self.check_products()?;
        self.compose_rest()?;
        if let Some(((block, rule), seen)) = self.numbered.iter().find(|(_, seen)| !seen.is_empty()) {
            let expected = match rule.and_then(|hf| self.rules().find(|r| r.hf == hf)) {
                Some(rule) => self.count_of(rule, *block)? as usize * self.rules_together(rule).len(),
                None => self.expert_count(*block)? as usize * self.expert_rules().len(),
            };
            let kind = kind_of(rule.is_some());
            return Err(self.hparams.error(format!(
                "expected {expected} {kind} tensors in layer {block}, found {} such as '{}'",
                seen.len(),
                seen.values()
                    .next()
                    .map_or("", |&at| self.parts.entry(at).name.as_str())
            )));
        }
        let mut names: Vec<&str> = self.tensors.iter().map(|t| t.name.as_str()).collect();
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|w| w[0] == w[1]) {
            return Err(self.hparams.error(format!(
                "tensor '{}': expected one of the checkpoint, found two",
                twice[0]
            )));
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

    fn map(&mut self, name: &str, at: Place) -> Result<()> {
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
        self.stored_as = match self.parts.entry(at).dtype {
            _ if self.is_fp8 => StoredAs::Fp8,
            Dtype::BF16 => StoredAs::Bf16,
            Dtype::F32 => StoredAs::F32,
            _ => StoredAs::Other,
        };
        if matches.is_empty() {
            return Err(self.no_place(at));
        }
        self.coverage = Coverage::default();
        drop(self.hparams.asked());
        let needs_all = matches.iter().all(|found| found.rule.needs_all());
        for found in matches {
            if let Some(block) = found.block.filter(|&b| b >= self.hparams.block_limit()) {
                return Err(self.fail(
                    at,
                    format!(
                        "expected a block below {} (num_hidden_layers in config.json), found block {block}",
                        self.hparams.block_limit()
                    ),
                ));
            }
            self.transform(found, at, name)?;
        }
        if needs_all { self.all_is_taken(at) } else { Ok(()) }
    }

    /// The error about a tensor that no rule of the architecture is for.
    fn no_place(&self, at: Place) -> Error {
        let table = match self.hparams.declared() {
            Some(_) => "the tensors of its description",
            None => "the name table of that architecture (in the source code: convert/src/arch/models/)",
        };
        self.fail(
            at,
            format!(
                "{}no place in the {} architecture for this tensor of a {}: the checkpoint is of another model, or a \
                 row for it is missing in {table}",
                self.layout.unwrap_or_default(),
                self.architecture.gguf,
                self.class.name,
            ),
        )
    }

    /// Checks that nothing of the tensor that was mapped is left out: a configuration that counts fewer heads than are
    /// stored would lose the others in silence.
    fn all_is_taken(&self, at: Place) -> Result<()> {
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
                "expected {} {unit} by the configuration{from}, found {}",
                taken / row_len,
                stored / row_len
            ),
        ))
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
            of: self.stored_as,
        };
        let forced = (self.architecture.hooks.force)(self.hparams, named, self.ty);
        let forced = forced.map(|ty| outtype::where_it_fits(ty, shape));
        let fp8 = || (self.fp8_as_q8 && self.is_fp8).then(|| outtype::where_it_fits(TensorType::Q8_0, shape));
        forced.or_else(fp8).unwrap_or(usual)
    }

    fn push(&mut self, name: String, shape: Vec<u64>, shard: usize, content: Content) {
        let blocks = content.blocks();
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

    fn fail(&self, at: Place, message: String) -> Error {
        let entry: &Entry = self.parts.entry(at);
        let path = self.parts.files[at.file].path().to_path_buf();
        Error::input(path, format!("tensor '{}': {message}", entry.name))
    }
}
