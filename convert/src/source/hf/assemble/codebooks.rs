//! The numbered codebooks of a quantizer, which become one stack.

use super::Assembler;
use crate::Result;
use crate::arch::{self, Match, Rows};
use crate::source::hf::codebooks::{Book, Codebooks};
use crate::source::hf::content::Content;
use crate::source::hf::layout::Layout;
use crate::source::hf::parts::Place;

impl Assembler<'_> {
    /// One of several codebooks, whose name in the checkpoint is `name`. The first brings the others.
    pub(super) fn codebook(
        &mut self,
        found: Match,
        at: Place,
        name: &str,
        stored: arch::Codebooks,
    ) -> Result<()> {
        self.no_pair(at)?;
        self.coverage.whole();
        let Some(number) = found.expert else {
            return Err(self.fail(at, "expected a number of a codebook, found none".to_owned()));
        };
        let pattern = found.rule.hf.to_string();
        if let Some(before) = number.checked_sub(1) {
            // Those before it are of the stack already, or were not there.
            if self.numbered_like(name, &pattern, before).is_none() {
                return Err(self.fail(at, format!("expected a codebook {before} before it, found none")));
            }
            return Ok(());
        }
        let counts = match stored {
            arch::Codebooks::Counts => return Ok(()),
            arch::Codebooks::Sums { counts } => Some(counts),
            arch::Codebooks::Vectors => None,
        };
        let (mut books, mut width) = (Vec::new(), None);
        for number in 0.. {
            let Some(place) = self.numbered_like(name, &pattern, number) else {
                break;
            };
            let entry = self.parts.entry(place);
            let &[codes, of_vector] = &entry.shape[..] else {
                return Err(self.fail(
                    place,
                    format!(
                        "expected a vector for each code, found the shape {:?}",
                        entry.shape
                    ),
                ));
            };
            let expected = *width.get_or_insert(of_vector);
            if of_vector != expected || codes == 0 || of_vector == 0 {
                return Err(self.fail(
                    place,
                    format!(
                        "expected codes with vectors of {expected} elements, found the shape {:?}",
                        entry.shape
                    ),
                ));
            }
            let counts = match counts {
                Some(counts) => Some(self.counts(place, self.numbered_like(name, counts, number), codes)?),
                None => None,
            };
            books.push(Book {
                vectors: self.units(place, of_vector, codes)?,
                codes,
                counts,
            });
        }
        let (width, count) = (width.unwrap_or(0), books.len() as u64);
        let all = Codebooks::new(books, width);
        let mut shape = vec![width, all.codes()];
        // A quantizer of one codebook has no stack, but for those whose codes are of different numbers.
        if count > 1 || counts.is_none() {
            shape.push(count);
        }
        self.push(found.name, shape, at.file, Content::Codebooks(all));
        Ok(())
    }

    /// The tensor of another number, by its name as the tables know it (`pattern`), where `name` is that of the tensor that
    /// is being mapped. Both names of a tensor end the same way.
    fn numbered_like(&self, name: &str, pattern: &str, number: u32) -> Option<Place> {
        let (ours, theirs) = (self.stored.as_str(), name);
        let same = ours.bytes().rev().zip(theirs.bytes().rev());
        let same = same.take_while(|(a, b)| a == b).count();
        let other = pattern.replacen("{e}", &number.to_string(), 1);
        let end = other.strip_prefix(ours.get(..ours.len() - same)?)?;
        let before = theirs.get(..theirs.len() - same)?;
        self.parts.tensors.get(&format!("{before}{end}")).copied()
    }

    /// How many vectors have met each code of the sums at a place.
    fn counts(&self, sums: Place, at: Option<Place>, codes: u64) -> Result<Layout> {
        let Some(at) = at else {
            return Err(self.fail(sums, "expected counts beside these sums, found none".to_owned()));
        };
        let entry = self.parts.entry(at);
        if entry.shape != [codes] {
            return Err(self.fail(
                at,
                format!(
                    "expected a count for each of {codes} codes, found the shape {:?}",
                    entry.shape
                ),
            ));
        }
        self.units(at, 1, codes)
    }

    /// A stored tensor as so many units.
    fn units(&self, at: Place, length: u64, count: u64) -> Result<Layout> {
        let mut layout = Layout::new(self.element(at)?, length);
        layout.push((at.file, self.parts.entry(at).offset), &Rows::range(0, count));
        Ok(layout)
    }
}
