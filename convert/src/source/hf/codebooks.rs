//! The codebooks of a quantizer, stacked: as many rows for each, of which each row is a code's vector.

use std::ops::Range;

use super::layout::Layout;
use super::parts::Parts;
use crate::Result;

/// The least count that sums are divided by.
const LEAST: f32 = 1e-5;

/// A stored codebook.
#[derive(Clone, Debug)]
pub(super) struct Book {
    /// The vectors, or the sums of those that have met each code.
    pub(super) vectors: Layout,
    pub(super) codes: u64,
    /// Of sums: how many have met each code.
    pub(super) counts: Option<Layout>,
}

/// Codebooks one after the other.
#[derive(Clone, Debug)]
pub(super) struct Codebooks {
    books: Vec<Book>,
    width: u64,
    /// Rows of each: the codes of the largest.
    codes: u64,
}

impl Codebooks {
    /// `width` is that of every vector.
    pub(super) fn new(books: Vec<Book>, width: u64) -> Self {
        let codes = books.iter().map(|book| book.codes).max().unwrap_or(0);
        Self { books, width, codes }
    }

    /// The rows of each codebook.
    pub(super) fn codes(&self) -> u64 {
        self.codes
    }

    /// The values of whole rows. Zeros follow the codes of a smaller codebook.
    pub(super) fn read_values(&self, parts: &Parts, rows: &Range<u64>, out: &mut [f32]) -> Result<()> {
        let mut rest = out;
        let mut at = rows.start;
        while at < rows.end {
            let (number, within) = (at / self.codes, at % self.codes);
            let count = (self.codes - within).min(rows.end - at);
            let (head, tail) = rest.split_at_mut((count * self.width) as usize);
            if let Some(book) = self.books.get(number as usize) {
                book.read_values(parts, self.width, within..within + count, head)?;
            }
            rest = tail;
            at += count;
        }
        Ok(())
    }
}

impl Book {
    fn read_values(&self, parts: &Parts, width: u64, codes: Range<u64>, out: &mut [f32]) -> Result<()> {
        let end = codes.end.min(self.codes);
        let stored = codes.start.min(end)..end;
        let length = ((stored.end - stored.start) * width) as usize;
        let (vectors, zeros) = out.split_at_mut(length);
        zeros.fill(0.0);
        self.vectors
            .read_values(parts, stored.start * width..stored.end * width, vectors)?;
        let Some(layout) = &self.counts else {
            return Ok(());
        };
        let mut counts = vec![0f32; (stored.end - stored.start) as usize];
        layout.read_values(parts, stored, &mut counts)?;
        // Computed in the type that both are stored in.
        let (sums, counted) = (self.vectors.element, layout.element);
        let rounded = |x: f32| if sums == counted { sums.rounded(x) } else { x };
        for (vector, count) in vectors.chunks_exact_mut(width as usize).zip(counts) {
            let count = count.max(counted.rounded(LEAST));
            vector.iter_mut().for_each(|x| *x = rounded(*x / count));
        }
        Ok(())
    }
}
