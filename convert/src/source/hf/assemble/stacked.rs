//! Tensors with numbers (experts, norms of heads), collected until a layer has all of them, then stacked.

use indexmap::IndexMap;

use super::Assembler;
use super::stored::MAX_GGUF_DIMS;
use crate::Result;
use crate::arch::{Match, Name, Rows, Rule, Transform};
use crate::source::hf::content::Content;
use crate::source::hf::layout::Layout;
use crate::source::hf::parts::Place;

/// Most experts a layer may have.
const MAX_EXPERTS: u32 = 4096;

/// Numbered tensors of one layer, as far as they have been seen: (name of the rule, number) -> tensor.
pub(super) type Numbered = IndexMap<(Name, u32), Place>;

/// Key by which numbered tensors are collected: the layer and, unless they are experts, the rule or the first of those that
/// belong together.
pub(super) type Group = (u32, Option<Name>);

impl Assembler<'_> {
    /// One expert's tensor, or that of another kind whose rules belong together. Once a layer has all of its kind, their
    /// stacks are added, in the order of the rules.
    pub(super) fn together(&mut self, found: &Match, at: Place) -> Result<()> {
        let count = self.count_of(found.rule, found.block.unwrap_or(0))?;
        let rules = self.rules_together(found.rule);
        let is_expert = matches!(found.transform, Transform::Expert);
        let group = rules.first().map(|first| first.hf).filter(|_| !is_expert);
        let (block, seen) = self.collect(found, at, count, group)?;
        if seen.len() < rules.len() * count as usize {
            return Ok(());
        }
        let seen = std::mem::take(seen);
        for rule in rules {
            let places: Vec<Place> = (0..count)
                .filter_map(|e| seen.get(&(rule.hf, e)).copied())
                .collect();
            self.stack(rule, block, &places)?;
        }
        Ok(())
    }

    /// One of several tensors with numbers, which are stacked when all are there.
    pub(super) fn member(&mut self, found: &Match, at: Place) -> Result<()> {
        let count = self.count_of(found.rule, found.block.unwrap_or(0))?;
        let (block, seen) = self.collect(found, at, count, Some(found.rule.hf))?;
        if seen.len() < count as usize {
            return Ok(());
        }
        let seen = std::mem::take(seen);
        let places: Vec<Place> = (0..count)
            .filter_map(|n| seen.get(&(found.rule.hf, n)).copied())
            .collect();
        match found.transform {
            Transform::Shard(_) => self.shards(found.rule, block, &places),
            _ => self.stack(found.rule, block, &places),
        }
    }

    /// Pieces of a matrix, one after the other.
    fn shards(&mut self, rule: &Rule, block: u32, places: &[Place]) -> Result<()> {
        let Some(&first) = places.first() else {
            return Ok(());
        };
        let model = self.parts.entry(first);
        let &[_, row_len] = &model.shape[..] else {
            return Err(self.fail(
                first,
                format!("expected a matrix, found the shape {:?}", model.shape),
            ));
        };
        let mut layout = Layout::new(self.element(first)?, row_len);
        let mut rows = 0u64;
        for &at in places {
            let entry = self.parts.entry(at);
            let fits = entry.dtype == model.dtype && entry.shape.len() == 2 && entry.shape[1] == row_len;
            let count = rows
                .checked_add(entry.shape[0])
                .filter(|_| fits && entry.shape[0] > 0);
            let Some(count) = count else {
                return Err(self.fail(
                    at,
                    format!(
                        "expected {} {:?} like '{}' of the same matrix, found {} {:?}",
                        model.dtype, model.shape, model.name, entry.dtype, entry.shape
                    ),
                ));
            };
            layout.push((at.file, entry.offset), &Rows::range(0, entry.shape[0]));
            rows = count;
        }
        let name = rule.gguf.of_block(block) + ".weight";
        self.push(name, vec![row_len, rows], first.file, Content::Stored(layout));
        Ok(())
    }

    /// Notes a numbered tensor; returns its layer and what has been seen of its group.
    pub(super) fn collect(
        &mut self,
        found: &Match,
        at: Place,
        count: u32,
        rule: Option<Name>,
    ) -> Result<(u32, &mut Numbered)> {
        self.coverage.whole();
        let Some(number) = found.expert else {
            return Err(self.fail(
                at,
                "expected a number of one of several matrices, found none".to_owned(),
            ));
        };
        // Some stand outside of the blocks.
        let block = found.block.unwrap_or(0);
        if number >= count {
            let kind = kind_of(rule.is_some());
            return Err(self.fail(
                at,
                format!("expected a number below {count}, the {kind}s of config.json, found {kind} {number}"),
            ));
        }
        let seen = self.numbered.entry((block, rule)).or_default();
        seen.insert((found.rule.hf, number), at);
        Ok((block, seen))
    }

    pub(super) fn stack(&mut self, rule: &Rule, block: u32, places: &[Place]) -> Result<()> {
        let Some(&first) = places.first() else {
            return Ok(());
        };
        let element = self.element(first)?;
        let mut shape = self.gguf_shape(first)?;
        let model = self.parts.entry(first);
        let rows = Rows::range(0, *model.shape.first().unwrap_or(&1));
        let mut layout = Layout::new(element, model.shape.iter().skip(1).product());
        for &at in places {
            let entry = self.parts.entry(at);
            if entry.shape != model.shape || entry.dtype != model.dtype {
                return Err(self.fail(
                    at,
                    format!(
                        "expected {} {:?} like '{}' of the same layer, found {} {:?}",
                        model.dtype, model.shape, model.name, entry.dtype, entry.shape
                    ),
                ));
            }
            layout.push((at.file, entry.offset), &rows);
        }
        shape.push(places.len() as u64);
        if shape.len() > MAX_GGUF_DIMS {
            return Err(self.fail(
                first,
                format!(
                    "expected at most {} dimensions to be stacked, found {}",
                    MAX_GGUF_DIMS - 1,
                    shape.len() - 1
                ),
            ));
        }
        let name = rule.gguf.of_block(block) + ".weight";
        self.push(name, shape, first.file, Content::Stored(layout));
        Ok(())
    }

    /// Experts of a block.
    pub(super) fn expert_count(&self, block: u32) -> Result<u32> {
        if let Some(count) = (self.architecture.hooks.experts)(self.hparams, block)? {
            return self.checked_count(count);
        }
        let count = self.hparams.u32(&[
            "num_local_experts",
            "num_experts",
            "n_routed_experts",
            "moe_num_experts",
            "moe_num_primary_experts",
        ])?;
        self.checked_count(count)
    }

    pub(super) fn count_of(&self, rule: &Rule, block: u32) -> Result<u32> {
        match rule.transform {
            Transform::Numbered(count) | Transform::NumberedTogether(count) | Transform::Shard(count) => {
                self.checked_count(count(self.hparams)?)
            }
            _ => self.expert_count(block),
        }
    }

    pub(super) fn checked_count(&self, count: u32) -> Result<u32> {
        if count == 0 || count > MAX_EXPERTS {
            return Err(self
                .hparams
                .error(format!("expected 1 to {MAX_EXPERTS} experts, found {count}")));
        }
        Ok(count)
    }

    /// The rules whose numbered tensors are collected with those of `rule`.
    pub(super) fn rules_together(&self, rule: &'static Rule) -> Vec<&'static Rule> {
        match rule.transform {
            Transform::Expert => self.expert_rules(),
            Transform::NumberedTogether(_) => self
                .rules()
                .filter(|r| matches!(r.transform, Transform::NumberedTogether(_)))
                .collect(),
            _ => vec![rule],
        }
    }

    pub(super) fn expert_rules(&self) -> Vec<&'static Rule> {
        self.rules()
            .filter(|r| matches!(r.transform, Transform::Expert))
            .collect()
    }
}

/// The word for numbered tensors in messages: those of a rule of its own, or experts.
pub(super) fn kind_of(numbered: bool) -> &'static str {
    if numbered { "numbered" } else { "expert" }
}
