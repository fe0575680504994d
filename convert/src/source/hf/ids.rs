//! The table of a draft model's tokens: the target's id of each, as the stock converter writes it.

use safetensors::Dtype;

use super::parts::Parts;
use crate::{Error, Result};

/// A stored table of distances: how far the target's id of each token of the draft is from its own.
#[derive(Clone, Debug)]
pub(super) struct Ids {
    /// The file and the position in it.
    place: (usize, u64),
    wide: bool,
    count: u64,
    /// Tokens of the target.
    limit: u32,
    name: String,
}

impl Ids {
    /// `None` for numbers that are no integers.
    pub(super) fn new(place: (usize, u64), dtype: Dtype, count: u64, limit: u32, name: &str) -> Option<Self> {
        let wide = match dtype {
            Dtype::I64 => true,
            Dtype::I32 => false,
            _ => return None,
        };
        let name = name.to_owned();
        Some(Self {
            place,
            wide,
            count,
            limit,
            name,
        })
    }

    /// The ids.
    ///
    /// # Errors
    /// Ids that the target does not have, or two that are the same.
    pub(super) fn read(&self, parts: &Parts) -> Result<Vec<i64>> {
        let file = &parts.files[self.place.0];
        let fail = |message: String| Error::Input {
            path: file.path().to_path_buf(),
            message: format!("tensor '{}': {message}", self.name),
        };
        if self.count > u64::from(self.limit) {
            return Err(fail(format!(
                "expected at most {} ids, the target's tokens, found {}",
                self.limit, self.count
            )));
        }
        let width = if self.wide { 8 } else { 4 };
        let mut bytes = vec![0u8; self.count as usize * width];
        file.read_at(self.place.1, &mut bytes)?;
        let distance = |b: &[u8]| match b.try_into() {
            Ok(b) => i64::from_le_bytes(b),
            Err(_) => b.try_into().map_or(0, |b| i64::from(i32::from_le_bytes(b))),
        };
        let mut seen = std::collections::HashSet::new();
        let ids = bytes.chunks_exact(width).zip(0i64..);
        ids.map(|(b, own)| {
            let id = distance(b).saturating_add(own);
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
