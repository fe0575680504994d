//! Vectors that are the product of two stored ones.

use super::Assembler;
use crate::Result;
use crate::arch::{Match, View};
use crate::source::hf::combined::Combined;
use crate::source::hf::content::Content;
use crate::source::hf::parts::Place;

/// The two factors, as far as they have been seen.
pub(super) type Factors = [Option<Place>; 2];

impl Assembler<'_> {
    /// One of the two factors; the other's arrival brings the product.
    pub(super) fn factor(&mut self, found: &Match, at: Place, which: usize) -> Result<()> {
        self.no_pair(at)?;
        self.coverage.whole();
        let key = (found.block.unwrap_or(0), found.rule.gguf);
        let seen = self.products.entry(key).or_default();
        seen[which] = Some(at);
        let [Some(first), Some(second)] = *seen else {
            return Ok(());
        };
        self.products.shift_remove(&key);
        let length = self.parts.entry(first).elements();
        let mut gathers = Vec::new();
        for at in [first, second] {
            let entry = self.parts.entry(at);
            if entry.elements() != length {
                let other = self.parts.entry(first);
                return Err(self.fail(
                    at,
                    format!(
                        "expected as many elements as '{}' has, which it is multiplied by ({:?}), found the shape {:?}",
                        other.name, other.shape, entry.shape
                    ),
                ));
            }
            let flat = View::of(&entry.shape).and_then(|view| view.shaped(&[length]));
            gathers.push(self.gather(at, flat)?.0);
        }
        let content = Content::Combined(Combined::product(gathers));
        self.push(found.name.clone(), vec![length], at.file, content);
        Ok(())
    }

    /// Checks that no factor is without the other.
    pub(super) fn check_products(&self) -> Result<()> {
        match self.products.first() {
            Some(((_, name), seen)) => {
                let at = seen.iter().flatten().next().copied().unwrap_or_default();
                Err(self.fail(at, format!("expected two factors of {name}, found only this one")))
            }
            None => Ok(()),
        }
    }
}
