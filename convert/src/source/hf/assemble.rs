//! From a checkpoint's tensors to the output's: names, shapes and layouts, in output order.

use gguf::TensorType;
use indexmap::IndexMap;

use super::element::Element;
use super::layout::{Layout, Order};
use super::outtype;
use super::parts::Parts;
use super::tensor_file::Entry;
use crate::arch::{self, Architecture, Class, Generated, Hparams, Match, Transform};
use crate::source::SourceTensor;
use crate::{Error, Result};

/// Most experts a layer may have.
const MAX_EXPERTS: u32 = 4096;

/// Dimensions of a GGUF tensor.
const MAX_GGUF_DIMS: usize = 4;

/// What an output tensor consists of.
#[derive(Clone, Debug)]
pub(super) enum Content {
    Stored(Layout),
    Computed(Vec<f32>),
}

/// The experts of one layer, as far as they have been seen: (rule, expert) -> tensor.
type LayerExperts = IndexMap<(usize, u32), (usize, usize)>;

/// Maps every tensor of a checkpoint.
pub(super) struct Assembler<'a> {
    pub(super) parts: &'a Parts,
    pub(super) architecture: &'static Architecture,
    pub(super) class: &'static Class,
    pub(super) hparams: &'a Hparams,
    /// The type of the output's matrices.
    pub(super) ty: TensorType,
    tensors: Vec<SourceTensor>,
    contents: Vec<Content>,
    experts: IndexMap<u32, LayerExperts>,
}

impl<'a> Assembler<'a> {
    pub(super) fn new(
        parts: &'a Parts,
        architecture: &'static Architecture,
        class: &'static Class,
        hparams: &'a Hparams,
        ty: TensorType,
    ) -> Self {
        let (tensors, contents, experts) = (Vec::new(), Vec::new(), IndexMap::new());
        Self {
            parts,
            architecture,
            class,
            hparams,
            ty,
            tensors,
            contents,
            experts,
        }
    }

    /// All tensors: the computed ones, then those of the checkpoint in its order.
    ///
    /// # Errors
    /// A tensor that the architecture does not know, that has an unsupported dtype or shape, or that
    /// occurs twice; experts that are missing.
    pub(super) fn run(mut self) -> Result<(Vec<SourceTensor>, Vec<Content>)> {
        for Generated { name, values } in (self.architecture.generated)(self.hparams)? {
            let shape = vec![values.len() as u64];
            self.push(name.to_owned(), shape, 0, Content::Computed(values));
        }
        for (name, &at) in &self.parts.tensors {
            if !arch::ignored(name) {
                self.map(name, at)?;
            }
        }
        if let Some((block, seen)) = self.experts.iter().find(|(_, seen)| !seen.is_empty()) {
            return Err(self.hparams.error(format!(
                "layer {block} has {} expert tensors, {} expected",
                seen.len(),
                self.expert_count()? as usize * self.expert_rules().len()
            )));
        }
        let mut names: Vec<&str> = self.tensors.iter().map(|t| t.name.as_str()).collect();
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|w| w[0] == w[1]) {
            return Err(self
                .hparams
                .error(format!("two tensors of the checkpoint map to {}", twice[0])));
        }
        Ok((self.tensors, self.contents))
    }

    fn map(&mut self, name: &str, at: (usize, usize)) -> Result<()> {
        let matches = arch::resolve(self.architecture.rules, &format!("{}{name}", self.class.prefix));
        if matches.is_empty() {
            return Err(self.fail(
                at,
                format!(
                    "no place in the {} architecture for this tensor of a {}; it is unknown to this \
                     converter, or the checkpoint is of another model",
                    self.architecture.gguf, self.class.name
                ),
            ));
        }
        for found in matches {
            if let Some(block) = found.block.filter(|&b| b >= self.hparams.block_count()) {
                return Err(self.fail(
                    at,
                    format!(
                        "block {block}, but config.json says {} blocks",
                        self.hparams.block_count()
                    ),
                ));
            }
            match found.transform {
                Transform::Skip => {}
                Transform::Expert => self.expert(found, at)?,
                _ => self.whole(found, at)?,
            }
        }
        Ok(())
    }

    /// A tensor that is one piece.
    fn whole(&mut self, found: Match, at: (usize, usize)) -> Result<()> {
        let entry = self.parts.entry(at);
        let element = self.element(at)?;
        let mut shape = self.gguf_shape(at)?;
        let units = *entry.shape.first().unwrap_or(&1);
        let mut layout = Layout {
            element,
            unit_len: entry.shape.iter().skip(1).product(),
            piece_units: units,
            pieces: vec![(at.0, entry.offset)],
            order: Order::AsStored,
            add_one: found.transform == Transform::AddOne,
        };
        match found.transform {
            Transform::PermuteQuery | Transform::PermuteKey => {
                let (query, key) = self.hparams.heads()?;
                let heads = u64::from(if found.transform == Transform::PermuteQuery {
                    query
                } else {
                    key
                });
                if !units.is_multiple_of(2 * heads) {
                    return Err(self.fail(
                        at,
                        format!("{units} rows cannot be divided among {heads} heads in pairs"),
                    ));
                }
                layout.order = Order::Interleaved {
                    head_units: units / heads,
                };
            }
            Transform::FirstHalf | Transform::SecondHalf => {
                let [_, rows, stack] = shape[..] else {
                    return Err(self.fail(at, format!("{} dimensions, 3 expected", shape.len())));
                };
                if !rows.is_multiple_of(2) {
                    return Err(self.fail(at, format!("{rows} rows in each matrix, an even number expected")));
                }
                let half = rows / 2;
                shape[1] = half;
                layout.unit_len = shape[0];
                layout.piece_units = half * stack;
                let start = if found.transform == Transform::FirstHalf {
                    0
                } else {
                    half
                };
                layout.order = Order::Half { units: half, start };
            }
            _ => {}
        }
        self.push(found.name, shape, at.0, Content::Stored(layout));
        Ok(())
    }

    /// One expert's tensor. Once a layer has all of its experts, their stacks are added, in the order of
    /// the rules.
    fn expert(&mut self, found: Match, at: (usize, usize)) -> Result<()> {
        let count = self.expert_count()?;
        let (Some(block), Some(expert)) = (found.block, found.expert) else {
            return Err(self.fail(at, "an expert without block or number".to_owned()));
        };
        if expert >= count {
            return Err(self.fail(
                at,
                format!("expert {expert}, but config.json says {count} experts"),
            ));
        }
        let rules = self.expert_rules();
        let seen = self.experts.entry(block).or_default();
        seen.insert((found.rule, expert), at);
        if seen.len() < rules.len() * count as usize {
            return Ok(());
        }
        let seen = std::mem::take(seen);
        for rule in rules {
            let places: Vec<(usize, usize)> =
                (0..count).filter_map(|e| seen.get(&(rule, e)).copied()).collect();
            self.stack(rule, block, &places)?;
        }
        Ok(())
    }

    fn stack(&mut self, rule: usize, block: u32, places: &[(usize, usize)]) -> Result<()> {
        let Some(&first) = places.first() else {
            return Ok(());
        };
        let element = self.element(first)?;
        let mut shape = self.gguf_shape(first)?;
        let model = self.parts.entry(first);
        let mut pieces = Vec::with_capacity(places.len());
        for &at in places {
            let entry = self.parts.entry(at);
            if entry.shape != model.shape || entry.dtype != model.dtype {
                return Err(self.fail(
                    at,
                    format!(
                        "{} {:?}, but {} of the same layer is {} {:?}",
                        entry.dtype, entry.shape, model.name, model.dtype, model.shape
                    ),
                ));
            }
            pieces.push((at.0, entry.offset));
        }
        shape.push(places.len() as u64);
        if shape.len() > MAX_GGUF_DIMS {
            return Err(self.fail(first, "too many dimensions to be stacked".to_owned()));
        }
        let layout = Layout {
            element,
            unit_len: model.shape.iter().skip(1).product(),
            piece_units: *model.shape.first().unwrap_or(&1),
            pieces,
            order: Order::AsStored,
            add_one: false,
        };
        let name = self.architecture.rules[rule]
            .gguf
            .replacen("{}", &block.to_string(), 1)
            + ".weight";
        self.push(name, shape, first.0, Content::Stored(layout));
        Ok(())
    }

    fn expert_count(&self) -> Result<u32> {
        let count = self.hparams.u32(&["num_local_experts", "num_experts"])?;
        if count == 0 || count > MAX_EXPERTS {
            return Err(self
                .hparams
                .error(format!("{count} experts, 1 to {MAX_EXPERTS} expected")));
        }
        Ok(count)
    }

    fn expert_rules(&self) -> Vec<usize> {
        let rules = self.architecture.rules;
        (0..rules.len())
            .filter(|&r| rules[r].transform == Transform::Expert)
            .collect()
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
        let entry = self.parts.entry(at);
        if entry.shape.is_empty() || entry.shape.len() > MAX_GGUF_DIMS || entry.shape.contains(&0) {
            return Err(self.fail(
                at,
                format!(
                    "shape {:?}; 1 to {MAX_GGUF_DIMS} dimensions, none of them 0, expected",
                    entry.shape
                ),
            ));
        }
        Ok(entry.shape.iter().rev().copied().collect())
    }

    fn push(&mut self, name: String, shape: Vec<u64>, shard: usize, content: Content) {
        let ty = outtype::tensor_type(self.ty, &name, &shape);
        self.tensors.push(SourceTensor {
            name,
            shape,
            ty,
            shard,
        });
        self.contents.push(content);
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
