//! The table of a draft model's tokens: the target's id of each, as the stock converter writes it.

use std::collections::HashSet;

use safetensors::Dtype;

use super::integers::Integers;
use super::parts::Parts;
use crate::Result;

/// A stored table of distances: how far the target's id of each token of the draft is from its own.
#[derive(Clone, Debug)]
pub(super) struct Ids {
    distances: Integers,
    count: u64,
    /// Tokens of the target.
    limit: u32,
}

impl Ids {
    /// `None` for numbers that are no integers.
    pub(super) fn new(place: (usize, u64), dtype: Dtype, count: u64, limit: u32, name: &str) -> Option<Self> {
        Integers::new(place, dtype, name).map(|distances| Self {
            distances,
            count,
            limit,
        })
    }

    /// The ids.
    ///
    /// # Errors
    /// Ids that the target does not have, or two that are the same.
    pub(super) fn read(&self, parts: &Parts) -> Result<Vec<i64>> {
        let fail = |message: String| self.distances.fail(parts, &message);
        if self.count > u64::from(self.limit) {
            return Err(fail(format!(
                "expected at most {} ids, the target's tokens, found {}",
                self.limit, self.count
            )));
        }
        let mut seen = HashSet::new();
        let distances = self.distances.read(parts, &(0..self.count))?;
        let ids = distances.into_iter().zip(0i64..);
        ids.map(|(distance, own)| {
            let id = distance.saturating_add(own);
            if !(0..i64::from(self.limit)).contains(&id) {
                return Err(fail(format!(
                    "expected an id of the target below {}, found {id} for token {own}",
                    self.limit
                )));
            }
            match seen.insert(id) {
                true => Ok(id),
                false => Err(fail(format!(
                    "expected one token for each id of the target, found two for {id}"
                ))),
            }
        })
        .collect()
    }
}
