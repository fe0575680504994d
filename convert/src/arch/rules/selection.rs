//! Selections of rows that go by a name.

use super::rows::{Rows, Strided};
use crate::Result;
use crate::arch::Hparams;

/// Some of the rows of a stored matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Selection {
    /// Rows of tokens that the vocabulary has: the matrix may be padded.
    KnownTokens,
    /// The first half.
    FirstHalf,
    /// The second half.
    SecondHalf,
    /// Of all queries, then all keys, then all values, the queries.
    FusedQuery,
    /// The same in ggml's order of rotated pairs.
    FusedQueryPermuted,
    FusedKey,
    FusedKeyPermuted,
    FusedValue,
    /// Of groups of query heads, each with its key head and its value head behind it, the queries.
    GroupedQuery,
    GroupedQueryPermuted,
    GroupedKey,
    GroupedKeyPermuted,
    GroupedValue,
}

impl Selection {
    pub(crate) fn rows(self, hp: &Hparams, stored: u64) -> Result<Rows> {
        use Selection::{
            FirstHalf, FusedKey, FusedKeyPermuted, FusedQuery, FusedQueryPermuted, FusedValue, GroupedKey,
            GroupedKeyPermuted, GroupedQuery, GroupedQueryPermuted, GroupedValue, KnownTokens, SecondHalf,
        };
        match self {
            KnownTokens => return known_tokens(hp, stored),
            FirstHalf | SecondHalf => {
                if !stored.is_multiple_of(2) {
                    return Err(hp.error(format!("expected an even number of rows, found {stored}")));
                }
                let start = if self == FirstHalf { 0 } else { stored / 2 };
                return Ok(Rows::range(start, stored / 2));
            }
            _ => {}
        }
        let (heads, kv) = hp.heads()?;
        let (heads, kv) = (u64::from(heads), u64::from(kv));
        let all = heads + 2 * kv;
        if !stored.is_multiple_of(all) || !heads.is_multiple_of(kv) {
            return Err(hp.error(format!(
                "expected rows that can be divided among {heads} query, {kv} key and {kv} value heads, found {stored}"
            )));
        }
        let head = stored / all;
        // Query heads of a group, and rows of a group.
        let (queries, group) = (heads / kv, (heads / kv + 2) * head);
        let pairs = |start, heads| Rows::interleaved(start, heads, head);
        let in_groups = |start, counters: &[(u64, u64)]| {
            let counters: Vec<(u64, u64)> = std::iter::once((kv, group)).chain(counters.to_vec()).collect();
            Rows(vec![Strided::new(start, &counters)])
        };
        if !head.is_multiple_of(2)
            && matches!(
                self,
                FusedQueryPermuted | FusedKeyPermuted | GroupedQueryPermuted | GroupedKeyPermuted
            )
        {
            return Err(hp.error(format!("expected heads of an even number of rows, found {head}")));
        }
        Ok(match self {
            FusedQuery => Rows::range(0, heads * head),
            FusedQueryPermuted => pairs(0, heads),
            FusedKey => Rows::range(heads * head, kv * head),
            FusedKeyPermuted => pairs(heads * head, kv),
            FusedValue => Rows::range((heads + kv) * head, kv * head),
            GroupedQuery => in_groups(0, &[(queries * head, 1)]),
            GroupedQueryPermuted => in_groups(0, &[(queries, head), (head / 2, 1), (2, head / 2)]),
            GroupedKey => in_groups(queries * head, &[(head, 1)]),
            GroupedKeyPermuted => in_groups(queries * head, &[(head / 2, 1), (2, head / 2)]),
            GroupedValue => in_groups((queries + 1) * head, &[(head, 1)]),
            KnownTokens | FirstHalf | SecondHalf => Rows::range(0, stored),
        })
    }
}

/// See [`Selection::KnownTokens`].
fn known_tokens(hp: &Hparams, stored: u64) -> Result<Rows> {
    let configured = hp.opt_u32(&["vocab_size"])?.map(u64::from);
    let dir = hp.dir();
    let known = match (dir.join("tokenizer.model").is_file(), configured) {
        (true, Some(configured)) => configured,
        (true, None) => crate::tokenizer::pieces(dir)?,
        (false, _) => {
            let listed = crate::tokenizer::entries(dir)?;
            configured.filter(|_| listed.are_pieces).unwrap_or(listed.count)
        }
    };
    Ok(Rows::range(0, stored.min(known)))
}
