//! Reads a stored tensor through a [`View`]: for transforms that do not keep whole rows.

use std::ops::Range;

use gguf::TensorType;
use half::f16;

use super::element::Element;
use super::parts::Parts;
use crate::arch::{RowFactors, View, Walk};
use crate::{Error, Result};

/// Largest distance between the elements of a run at which what lies between them is read as well.
const NEAR: u64 = 16;

/// The place of a tensor's elements.
#[derive(Clone, Debug)]
pub(super) struct Gather {
    element: Element,
    /// The file and the offset of the stored tensor in it.
    file: usize,
    offset: u64,
    walk: Walk,
    /// Elements of an output row, for `factors`.
    row_len: u64,
    factors: RowFactors,
    map: Option<fn(f32) -> f32>,
    /// Whether `map` has its result in single precision, whatever the elements are.
    single: bool,
    /// The value of all elements, in place of the stored ones.
    constant: Option<f32>,
    /// Last factor of every value, in single precision.
    pub(super) scale: f32,
}

impl Gather {
    /// `None` when the view divides the blocks that the elements are stored in.
    pub(super) fn new(element: Element, (file, offset): (usize, u64), view: &View) -> Option<Self> {
        let walk = view.walk();
        let row_len = *view.shape().last()?;
        let (block, _) = element.block();
        let whole = |n: u64| n.is_multiple_of(block);
        let fits = walk.step() == 1 && whole(walk.run()) && whole(row_len) && walk.starts_are(whole);
        (block == 1 || fits).then(|| Self {
            element,
            file,
            offset,
            walk,
            row_len,
            factors: Vec::new(),
            map: None,
            single: false,
            constant: None,
            scale: 1.0,
        })
    }

    /// The type of the stored elements.
    pub(super) fn element(&self) -> Element {
        self.element
    }

    /// The file of the stored tensor, and its offset there.
    pub(super) fn source(&self) -> (usize, u64) {
        (self.file, self.offset)
    }

    /// The offset of the stored tensor.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    pub(super) fn with_map(mut self, map: Option<fn(f32) -> f32>) -> Self {
        self.map = map;
        self
    }

    pub(super) fn with_single_map(mut self, map: fn(f32) -> f32) -> Self {
        self.single = true;
        self.with_map(Some(map))
    }

    pub(super) fn with_constant(mut self, value: f32) -> Self {
        self.constant = Some(value);
        self
    }

    pub(super) fn with_factors(mut self, factors: RowFactors) -> Self {
        self.factors = factors;
        self
    }

    /// The type of the blocks that the rows are, if they are blocks.
    pub(super) fn blocks(&self) -> Option<TensorType> {
        match self.element {
            Element::Blocks(ty) => Some(ty),
            _ => None,
        }
    }

    /// Whether the stored bytes, in runs, are those of an output of type `ty`.
    pub(super) fn is_stored_as(&self, ty: TensorType) -> bool {
        let as_stored =
            self.factors.is_empty() && self.map.is_none() && self.constant.is_none() && self.scale == 1.0;
        as_stored && self.walk.step() == 1 && self.element.tensor_type() == Some(ty)
    }

    /// The stored bytes of a range of output elements (whole blocks).
    pub(super) fn read_bytes(&self, parts: &Parts, elements: Range<u64>) -> Result<Vec<u8>> {
        let count = elements.end - elements.start;
        let mut out = vec![0u8; self.element.bytes_of(count) as usize];
        let mut rest = out.as_mut_slice();
        let mut at = elements.start;
        while at < elements.end {
            let length = (self.walk.run() - at % self.walk.run()).min(elements.end - at);
            let bytes = self.element.bytes_of(length) as usize;
            let (head, tail) = std::mem::take(&mut rest).split_at_mut(bytes);
            self.read(parts, self.walk.locate(at), head)?;
            rest = tail;
            at += length;
        }
        Ok(out)
    }

    /// The values of a range of output elements (whole rows).
    pub(super) fn read_values(&self, parts: &Parts, elements: Range<u64>, out: &mut [f32]) -> Result<()> {
        let (run, step) = (self.walk.run(), self.walk.step());
        let (beside, distance) = self.walk.beside();
        let whole_runs = elements.start.is_multiple_of(run) && elements.end.is_multiple_of(run);
        if step == 1 {
            let bytes = self.read_bytes(parts, elements.clone())?;
            self.decode(parts, elements.start, &bytes, out)?;
        } else if whole_runs && distance == 1 && step > NEAR {
            let mut at = elements.start;
            let mut rest = &mut *out;
            while at < elements.end {
                let count = (beside - at / run % beside).min((elements.end - at) / run);
                let (head, tail) = std::mem::take(&mut rest).split_at_mut((count * run) as usize);
                self.read_columns(parts, at, count as usize, head)?;
                rest = tail;
                at += count * run;
            }
        } else {
            let mut at = elements.start;
            let mut rest = &mut *out;
            while at < elements.end {
                let reach = if step <= NEAR { run - at % run } else { 1 };
                let length = reach.min(elements.end - at);
                let (head, tail) = std::mem::take(&mut rest).split_at_mut(length as usize);
                let mut span = vec![0f32; ((length - 1) * step + 1) as usize];
                let mut bytes = vec![0u8; self.element.bytes_of(span.len() as u64) as usize];
                self.read(parts, self.walk.locate(at), &mut bytes)?;
                self.decode(parts, at, &bytes, &mut span)?;
                for (to, from) in head.iter_mut().zip(span.iter().step_by(step as usize)) {
                    *to = *from;
                }
                rest = tail;
                at += length;
            }
        }
        self.finish(elements.start, out);
        Ok(())
    }

    /// `count` neighbouring runs from output element `at` on, whose first elements lie side by side.
    fn read_columns(&self, parts: &Parts, at: u64, count: usize, out: &mut [f32]) -> Result<()> {
        let (run, base) = (self.walk.run() as usize, self.walk.locate(at));
        let mut bytes = vec![0u8; self.element.bytes_of(count as u64) as usize];
        let mut values = vec![0f32; count];
        for place in 0..run {
            self.read(parts, base + place as u64 * self.walk.step(), &mut bytes)?;
            self.decode(parts, at, &bytes, &mut values)?;
            for (to, value) in out[place..].iter_mut().step_by(run).zip(&values) {
                *to = *value;
            }
        }
        Ok(())
    }

    fn read(&self, parts: &Parts, stored: u64, bytes: &mut [u8]) -> Result<()> {
        parts.files[self.file].read_at(self.offset + self.element.bytes_of(stored), bytes)
    }

    fn decode(&self, parts: &Parts, at: u64, bytes: &[u8], out: &mut [f32]) -> Result<()> {
        self.element.decode(bytes, out).map_err(|source| Error::Codec {
            path: parts.files[self.file].path().to_path_buf(),
            tensor: format!("at offset {}, element {at}", self.offset),
            source,
        })
    }

    /// The stock converter computes in the type it loaded, which for f16 is f16.
    fn finish(&self, first: u64, out: &mut [f32]) {
        let half = self.element == Element::F16;
        let rounded = |x: f32| if half { f16::from_f32(x).to_f32() } else { x };
        let row_len = self.row_len;
        for (rows, factor) in &self.factors {
            for (row, values) in (first / row_len..).zip(out.chunks_mut(row_len as usize)) {
                if rows.contains(&row) {
                    values.iter_mut().for_each(|x| *x = rounded(*x * factor));
                }
            }
        }
        if let Some(map) = self.map {
            let single = self.single;
            out.iter_mut()
                .for_each(|x| *x = if single { map(*x) } else { rounded(map(*x)) });
        }
        if let Some(constant) = self.constant {
            out.fill(constant);
        }
        if self.scale != 1.0 {
            out.iter_mut().for_each(|x| *x *= self.scale);
        }
    }
}
