//! Both sides of each pair, as tensors of the output.

use std::path::Path;

use gguf::TensorType;
use indexmap::IndexMap;

use super::base::BaseModel;
use super::pairs::InputSide;
use super::peft::REMEDY;
use crate::arch::{Architecture, Rows, View};
use crate::source::SourceTensor;
use crate::source::hf::assemble::Assembled;
use crate::source::hf::content::Content;
use crate::source::hf::element::Element;
use crate::source::hf::gather::Gather;
use crate::source::hf::layout::Layout;
use crate::source::hf::outtype;
use crate::source::hf::parts::Parts;
use crate::source::hf::tensor_file::Entry;
use crate::{Error, Result};

/// The parts that the sides of pairs are made of.
pub(super) struct Sides<'a> {
    pub(super) parts: &'a Parts,
    /// The input sides, by the position of the output side.
    pub(super) pairs: &'a IndexMap<u64, InputSide>,
    pub(super) base: BaseModel,
    pub(super) architecture: &'static Architecture,
    pub(super) alpha: f64,
    /// The type of the matrices.
    pub(super) ty: TensorType,
}

/// The tensors of the output.
#[derive(Default)]
pub(super) struct Written {
    pub(super) tensors: Vec<SourceTensor>,
    pub(super) contents: Vec<Content>,
    /// Weights whose pairs llama.cpp's graph does not apply.
    pub(super) without_effect: Vec<String>,
}

impl Written {
    /// # Errors
    /// A pair that does not fit its weight, or that no tensors can stand for.
    pub(super) fn of(dir: &Path, made: Assembled, sides: &Sides<'_>) -> Result<Self> {
        let mut written = Self::default();
        for (tensor, content) in made.tensors.into_iter().zip(made.contents) {
            let view = made.views.get(&tensor.name);
            written
                .add(tensor, content, view, sides)
                .map_err(|(name, message)| Error::input(dir, format!("tensor '{name}': {message}")))?;
        }
        Ok(written)
    }

    /// Adds both sides of the pair of one weight, or the weight itself where it has none. The error is a name and what is
    /// wrong with its tensor.
    fn add(
        &mut self,
        tensor: SourceTensor,
        mut content: Content,
        view: Option<&View>,
        sides: &Sides<'_>,
    ) -> Result<(), (String, String)> {
        let pairs: Option<Vec<&InputSide>> = content.offsets().iter().map(|o| sides.pairs.get(o)).collect();
        let Some(pairs) = pairs else {
            // A norm. Other whole weights were refused.
            self.tensors.push(tensor);
            self.contents.push(content);
            return Ok(());
        };
        let name = pairs.first().map_or(&tensor.name, |s| &s.weight).clone();
        let fail = |message: String| (name.clone(), message);
        for side in &pairs {
            let b = sides.parts.entry(sides.parts.tensors[&side.weight]);
            let a = &sides.parts.files[0].entries()[side.entry];
            sides
                .base
                .check(side, &tensor.name, (b.shape[0], a.shape[1]))
                .map_err(|message| (side.weight.clone(), message))?;
        }
        if sides.architecture.hooks.is_unadapted(&tensor.name) {
            self.without_effect.push(name.clone());
        }
        let factor = factor_of(&pairs, sides.alpha).map_err(fail)?;
        content.set_scale(factor);
        let entries: Vec<usize> = pairs.iter().map(|s| s.entry).collect();
        let (a, a_shape) = match (view, &entries[..]) {
            (Some(view), &[entry]) => rearranged_side(sides.parts, entry, view)
                .map(|(gather, shape)| (Content::Gathered(gather), shape)),
            _ => input_side(sides.parts, &entries, tensor.name == "token_embd.weight")
                .map(|(layout, shape)| (Content::Stored(layout), shape)),
        }
        .map_err(fail)?;
        for (suffix, shape, side) in [("lora_a", a_shape, a), ("lora_b", tensor.shape.clone(), content)] {
            self.tensors.push(SourceTensor {
                name: format!("{}.{suffix}", tensor.name),
                ty: outtype::by_shape(sides.ty, &shape),
                shape,
                shard: 0,
            });
            self.contents.push(side);
        }
        Ok(())
    }

    /// Weights of the matrices that the pairs stand for, and of the norms.
    pub(super) fn weights(&self) -> u64 {
        let mut inputs = 1;
        let mut total = 0u64;
        for tensor in &self.tensors {
            let elements = tensor.shape.iter().fold(1u64, |n, &d| n.saturating_mul(d));
            if tensor.name.ends_with(".lora_a") {
                inputs = tensor.shape.first().copied().unwrap_or(1);
            } else if tensor.name.ends_with(".lora_b") {
                let rank = tensor.shape.first().copied().unwrap_or(1).max(1);
                total = total.saturating_add((elements / rank).saturating_mul(inputs));
            } else {
                total = total.saturating_add(elements);
            }
        }
        total
    }
}

/// The input side of a weight: `[rank, inputs]`, stacked where there are several; for embeddings, which are
/// looked up and not multiplied, columns become rows.
fn input_side(parts: &Parts, entries: &[usize], transposed: bool) -> Result<(Layout, Vec<u64>), String> {
    let file = &parts.files[0];
    let Some(first) = entries.first().map(|&e| &file.entries()[e]) else {
        return Err("expected a pair of matrices, found none".to_owned());
    };
    let &[rank, inputs] = &first.shape[..] else {
        return Err(format!("expected a matrix, found the shape {:?}", first.shape));
    };
    let element = element_of(first)?;
    if transposed {
        let mut layout = Layout::new(element, rank);
        layout.transposed = true;
        layout.push((0, first.offset), &Rows::range(0, inputs));
        return Ok((layout, vec![rank, inputs]));
    }
    let mut layout = Layout::new(element, inputs);
    for &entry in entries {
        let entry = &file.entries()[entry];
        if entry.shape != first.shape || entry.dtype != first.dtype {
            return Err(format!(
                "expected {} {:?} like '{}', found {} {:?} of '{}'",
                first.dtype, first.shape, first.name, entry.dtype, entry.shape, entry.name
            ));
        }
        layout.push((0, entry.offset), &Rows::range(0, rank));
    }
    let mut shape = vec![inputs, rank];
    if entries.len() > 1 {
        shape.push(entries.len() as u64);
    }
    Ok((layout, shape))
}

/// The input side of a weight whose columns change places.
fn rearranged_side(parts: &Parts, entry: usize, view: &View) -> Result<(Gather, Vec<u64>), String> {
    let entry = &parts.files[0].entries()[entry];
    let gather = Gather::new(element_of(entry)?, (0, entry.offset), view);
    let gather = gather.ok_or_else(|| {
        format!(
            "tensor '{}': expected columns that can be rearranged, found blocks",
            entry.name
        )
    })?;
    let mut shape = view.shape();
    shape.reverse();
    Ok((gather, shape))
}

fn element_of(entry: &Entry) -> Result<Element, String> {
    entry
        .element()
        .ok_or_else(|| format!("expected a dtype of floats, found {}", entry.dtype))
}

/// Factor of the output side, so that llama.cpp's scale is each pair's own.
fn factor_of(pairs: &[&InputSide], alpha: f64) -> Result<f32, String> {
    let Some(first) = pairs.first() else {
        return Err("expected a pair of matrices, found none".to_owned());
    };
    if let Some(other) = pairs.iter().find(|p| p.alpha != first.alpha) {
        return Err(format!(
            "expected one scale for a stack, found {} of '{}' and {} of '{}'; {REMEDY}",
            first.alpha, first.weight, other.alpha, other.weight
        ));
    }
    let factor = (first.alpha / alpha) as f32;
    match factor.is_finite() {
        true => Ok(factor),
        false => Err(format!(
            "expected an alpha that can be divided by {alpha}, found {}",
            first.alpha
        )),
    }
}
