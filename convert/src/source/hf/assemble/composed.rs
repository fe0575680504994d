//! Matrices that are put together of several stored tensors.

use std::collections::HashMap;

use super::Assembler;
use crate::Result;
use crate::arch::{Composed, FoldedLayer, Match, Name, Rows, Section};
use crate::source::hf::content::Content;
use crate::source::hf::layout::Layout;
use crate::source::hf::parts::Place;
use crate::source::hf::through::{Linear, Through};

/// Parts of a matrix, as far as they have been seen, and where it stands among the output's tensors.
pub(super) struct Seen {
    whole: &'static Composed,
    parts: HashMap<String, Place>,
    place: Option<usize>,
}

impl Assembler<'_> {
    /// One of the tensors that a matrix is put together of. Its place is kept until all have come.
    pub(super) fn piece(&mut self, found: &Match, at: Place, whole: &'static Composed) -> Result<()> {
        self.no_pair(at)?;
        self.coverage.whole();
        let stored = self.stored.clone();
        let next = self.tensors.len();
        let seen = self.composed.entry(found.rule.gguf).or_insert_with(|| Seen {
            whole,
            parts: HashMap::new(),
            place: None,
        });
        if whole.place.is_none_or(|place| place == stored) {
            seen.place = Some(next);
        }
        seen.parts.insert(stored, at);
        Ok(())
    }

    /// Puts the matrices together, each in its place.
    pub(super) fn compose_rest(&mut self) -> Result<()> {
        let all = std::mem::take(&mut self.composed);
        // From the last place on, so that the others stay what they are.
        let mut all: Vec<(Name, Seen)> = all.into_iter().collect();
        all.sort_by_key(|(_, seen)| std::cmp::Reverse(seen.place));
        for (name, seen) in all {
            let pieces = self.sections(name, &seen)?;
            let at = seen.parts.values().copied().min().unwrap_or_default();
            let width = pieces.first().map_or(0, |(_, shape)| shape[0]);
            if let Some((_, other)) = pieces.iter().find(|(_, shape)| shape[0] != width) {
                return Err(self.fail(
                    at,
                    format!(
                        "expected rows of {width} elements like others of {name}, found {}",
                        other[0]
                    ),
                ));
            }
            let place = seen.place.unwrap_or(self.tensors.len());
            self.end_to_end(name.to_string(), at, pieces);
            if let (Some(tensor), Some(content)) = (self.tensors.pop(), self.contents.pop()) {
                self.tensors.insert(place, tensor);
                self.contents.insert(place, content);
            }
        }
        Ok(())
    }

    /// The parts of a matrix from top to bottom, each with its shape.
    fn sections(&self, name: Name, seen: &Seen) -> Result<Vec<(Content, Vec<u64>)>> {
        let stored = |part: &str| {
            let rows = self.rows_of(name, seen, part);
            rows.map(|(layout, shape)| (Content::Stored(layout), shape))
        };
        let mut pieces = Vec::new();
        for section in seen.whole.parts {
            match section {
                Section::Rows(part) => pieces.push(stored(part)?),
                Section::RowsIfAny(part) if !seen.parts.contains_key(*part) => {}
                Section::RowsIfAny(part) => pieces.push(stored(part)?),
                Section::Through(part, layers) => pieces.push(self.through(name, seen, part, layers)?),
            }
        }
        Ok(pieces)
    }

    /// The rows of a stored matrix with linear layers folded into them.
    fn through(
        &self,
        name: Name,
        seen: &Seen,
        part: &str,
        layers: &[FoldedLayer],
    ) -> Result<(Content, Vec<u64>)> {
        let (input, shape) = self.rows_of(name, seen, part)?;
        let mut width = shape[0];
        let mut made = Vec::new();
        for layer in layers {
            let (weight, dims) = self.rows_of(name, seen, layer.weight)?;
            let bias = layer.bias.map(|bias| self.rows_of(name, seen, bias));
            let bias = bias.transpose()?;
            if dims[0] != width || bias.as_ref().is_some_and(|(_, b)| b[0] != dims[1]) {
                let at = seen.parts.get(layer.weight).copied().unwrap_or_default();
                return Err(self.fail(
                    at,
                    format!("expected a layer of {width} inputs with a bias for each output, found {dims:?}"),
                ));
            }
            made.push(Linear {
                weight,
                bias: bias.map(|(layout, _)| layout),
                inputs: width,
                outputs: dims[1],
                activation: (layer.activation)(self.hparams)?,
            });
            width = dims[1];
        }
        let through = Through::new(input, shape[0], made);
        Ok((Content::Through(through), vec![width, shape[1]]))
    }

    /// A stored matrix, or a vector as one row, with its shape, innermost dimension first.
    fn rows_of(&self, name: Name, seen: &Seen, part: &str) -> Result<(Layout, Vec<u64>)> {
        let Some(&at) = seen.parts.get(part) else {
            return Err(self.hparams.error(format!(
                "expected a tensor '{part}', which {name} is made of, found none"
            )));
        };
        let entry = self.parts.entry(at);
        let mut dims: Vec<u64> = entry.shape.iter().copied().filter(|&n| n != 1).collect();
        if dims.len() == 1 {
            dims.insert(0, 1);
        }
        let &[rows, columns] = &dims[..] else {
            return Err(self.fail(
                at,
                format!("expected a matrix or a vector, found the shape {:?}", entry.shape),
            ));
        };
        let mut layout = Layout::new(self.element(at)?, columns);
        layout.push((at.file, entry.offset), &Rows::range(0, rows));
        Ok((layout, vec![columns, rows]))
    }
}
