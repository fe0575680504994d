//! Content of an output tensor: where its values come from, and how its rows are read.

use std::borrow::Cow;
use std::ops::Range;

use gguf::TensorType;

use super::codebooks::Codebooks;
use super::combined::Combined;
use super::gather::Gather;
use super::grid::Grid;
use super::ids::Ids;
use super::integers::Integers;
use super::layout::Layout;
use super::mean::Mean;
use super::parts::Parts;
use super::through::Through;
use crate::Result;
use crate::source::SourceTensor;

/// Content of an output tensor.
#[derive(Clone, Debug)]
pub(super) enum Content {
    Stored(Layout),
    Gathered(Gather),
    Combined(Combined),
    Computed(Vec<f32>),
    Joined(Joined),
    Ids(Ids),
    Integers(Integers),
    Mean(Mean),
    Through(Through),
    Grid(Grid),
    Codebooks(Codebooks),
}

impl Content {
    /// The type of the blocks that it is stored in and stays in.
    pub(super) fn blocks(&self) -> Option<TensorType> {
        match self {
            Self::Stored(layout) => layout.blocks(),
            Self::Gathered(gather) => gather.blocks(),
            _ => None,
        }
    }

    /// Positions of the stored tensors that it is made of, where they are only put in order.
    pub(super) fn offsets(&self) -> Vec<u64> {
        match self {
            Self::Stored(layout) => layout.offsets(),
            Self::Gathered(gather) => vec![gather.offset()],
            _ => Vec::new(),
        }
    }

    /// File and position in it of the same tensors.
    pub(super) fn sources(&self) -> Vec<(usize, u64)> {
        match self {
            Self::Stored(layout) => layout.sources(),
            Self::Gathered(gather) => vec![gather.source()],
            _ => Vec::new(),
        }
    }

    /// Multiplies the values of what has [`Self::offsets`].
    pub(super) fn set_scale(&mut self, scale: f32) {
        match self {
            Self::Stored(layout) => layout.scale = scale,
            Self::Gathered(gather) => gather.scale = scale,
            _ => {}
        }
    }
}

/// Tensors whose matrices follow one another: of each stack, the matrix of the first, then of the second, and so on.
#[derive(Clone, Debug)]
pub(super) struct Joined {
    parts: Vec<Part>,
}

#[derive(Clone, Debug)]
struct Part {
    tensor: SourceTensor,
    content: Content,
    /// Rows of one of its matrices.
    rows: u64,
}

impl Joined {
    /// Tensors one after the other.
    pub(super) fn end_to_end(tensors: impl Iterator<Item = (SourceTensor, Content)>) -> Self {
        let part = |(tensor, content): (SourceTensor, Content)| Part {
            rows: tensor.shape.iter().skip(1).product(),
            tensor,
            content,
        };
        Self {
            parts: tensors.map(part).collect(),
        }
    }

    /// Tensors whose matrices alternate, or vectors one after the other.
    pub(super) fn by_matrix(tensors: impl Iterator<Item = (SourceTensor, Content)>) -> Self {
        let part = |(tensor, content): (SourceTensor, Content)| Part {
            rows: tensor.shape.get(1).copied().unwrap_or(1),
            tensor,
            content,
        };
        Self {
            parts: tensors.map(part).collect(),
        }
    }

    /// Runs of rows of the parts that make up rows of the whole.
    fn runs(&self, rows: &Range<u64>) -> Vec<(&Part, Range<u64>)> {
        let all: u64 = self.parts.iter().map(|p| p.rows).sum();
        let mut runs = Vec::new();
        let mut at = rows.start;
        while at < rows.end && all > 0 {
            let (matrix, mut within) = (at / all, at % all);
            for part in &self.parts {
                if within >= part.rows {
                    within -= part.rows;
                    continue;
                }
                let count = (part.rows - within).min(rows.end - at);
                let start = matrix * part.rows + within;
                runs.push((part, start..start + count));
                at += count;
                break;
            }
        }
        runs
    }

    /// Vectors are one row, of which each part is a piece.
    fn are_vectors(&self) -> bool {
        self.parts.iter().all(|p| p.tensor.shape.len() == 1)
    }

    fn pieces(&self, rows: &Range<u64>) -> Vec<(&Part, Range<u64>)> {
        match self.are_vectors() {
            true => self.parts.iter().map(|p| (p, 0..1)).collect(),
            false => self.runs(rows),
        }
    }

    fn read_values(&self, parts: &Parts, rows: &Range<u64>, out: &mut [f32]) -> Result<()> {
        let mut rest = out;
        for (part, rows) in self.pieces(rows) {
            let length = (rows.end - rows.start) * part.tensor.shape[0];
            let (head, tail) = rest.split_at_mut(length as usize);
            read_values(parts, &part.tensor, &part.content, &rows, head)?;
            rest = tail;
        }
        Ok(())
    }

    /// The bytes, where all parts are stored as the output has them.
    fn read_bytes<'a>(&self, parts: &Parts, rows: &Range<u64>) -> Result<Option<Cow<'a, [u8]>>> {
        let mut all = Vec::new();
        for (part, rows) in self.pieces(rows) {
            match read_bytes(parts, &part.tensor, &part.content, &rows)? {
                Some(bytes) => all.extend_from_slice(&bytes),
                None => return Ok(None),
            }
        }
        Ok(Some(Cow::Owned(all)))
    }
}

fn elements(tensor: &SourceTensor, rows: &Range<u64>) -> Range<u64> {
    let row_len = tensor.shape[0];
    rows.start * row_len..rows.end * row_len
}

/// The values of whole rows.
pub(super) fn read_values(
    parts: &Parts,
    tensor: &SourceTensor,
    content: &Content,
    rows: &Range<u64>,
    out: &mut [f32],
) -> Result<()> {
    let elements = elements(tensor, rows);
    match content {
        Content::Stored(layout) => layout.read_values(parts, elements, out),
        Content::Gathered(gather) => gather.read_values(parts, elements, out),
        Content::Combined(combined) => combined.read_values(parts, elements, out),
        Content::Joined(joined) => joined.read_values(parts, rows, out),
        Content::Mean(mean) => mean.read_values(parts, elements, out),
        Content::Through(through) => through.read_values(parts, rows, out),
        Content::Grid(grid) => grid.read_values(parts, rows, out),
        Content::Codebooks(codebooks) => codebooks.read_values(parts, rows, out),
        Content::Ids(ids) => {
            let ids = ids.read(parts)?;
            out.iter_mut().zip(ids).for_each(|(x, id)| *x = id as f32);
            Ok(())
        }
        Content::Integers(integers) => {
            let numbers = integers.read_as_i32(parts, &elements)?;
            out.iter_mut().zip(numbers).for_each(|(x, n)| *x = n as f32);
            Ok(())
        }
        Content::Computed(values) => {
            out.copy_from_slice(&values[elements.start as usize..elements.end as usize]);
            Ok(())
        }
    }
}

/// The bytes of whole rows, where they are stored as the output has them.
pub(super) fn read_bytes<'a>(
    parts: &Parts,
    tensor: &SourceTensor,
    content: &Content,
    rows: &Range<u64>,
) -> Result<Option<Cow<'a, [u8]>>> {
    match content {
        Content::Stored(layout) if layout.is_stored_as(tensor.ty) => {
            let bytes = layout.read_bytes(parts, elements(tensor, rows))?;
            Ok(Some(Cow::Owned(bytes)))
        }
        Content::Gathered(gather) if gather.is_stored_as(tensor.ty) => {
            let bytes = gather.read_bytes(parts, elements(tensor, rows))?;
            Ok(Some(Cow::Owned(bytes)))
        }
        Content::Joined(joined) => joined.read_bytes(parts, rows),
        Content::Ids(ids) => {
            let bytes: Vec<u8> = ids.read(parts)?.into_iter().flat_map(i64::to_le_bytes).collect();
            Ok(Some(Cow::Owned(bytes)))
        }
        Content::Integers(integers) => {
            let numbers = integers.read_as_i32(parts, &elements(tensor, rows))?;
            let bytes = numbers.into_iter().flat_map(i32::to_le_bytes).collect();
            Ok(Some(Cow::Owned(bytes)))
        }
        _ => Ok(None),
    }
}
