//! Which tensors of a layer see the same input, in the order in which their inputs are made.

use std::collections::HashMap;

use convert::plan::PlannedTensor;
use reference::{Staged, Tap};

use crate::Result;

/// Tensors that see one input. Nothing that makes the input comes after them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) tensors: Vec<String>,
    /// Whether they are stacks of matrices, of which each sees inputs of its own.
    pub(crate) experts: bool,
}

/// Matrices of a tensor in the order of their use, each with a digest of its input.
type Calls = Vec<(Option<usize>, u64)>;

/// The groups of the next layer, as its first batch shows them.
pub(crate) fn groups(staged: &Staged<'_>, planned: &HashMap<String, PlannedTensor>) -> Result<Vec<Group>> {
    let mut scout = Scout::default();
    staged.observe(0, &mut scout)?;
    let mut groups: Vec<(Calls, Group)> = Vec::new();
    for (tensor, calls) in scout.order {
        if !planned.contains_key(&tensor) {
            continue;
        }
        match groups.iter_mut().find(|(seen, _)| *seen == calls) {
            Some((_, group)) => group.tensors.push(tensor),
            None => {
                let experts = calls.iter().any(|(expert, _)| expert.is_some());
                let tensors = vec![tensor];
                groups.push((calls, Group { tensors, experts }));
            }
        }
    }
    Ok(groups.into_iter().map(|(_, group)| group).collect())
}

/// Notes digests of the inputs of every tensor, in the order of their first use.
#[derive(Default)]
struct Scout {
    order: Vec<(String, Calls)>,
}

impl Tap for Scout {
    fn linear(&mut self, tensor: &str, expert: Option<usize>, input: &[f32], columns: usize) {
        let digest = input.iter().fold(columns as u64, |digest, x| {
            (digest ^ u64::from(x.to_bits()))
                .wrapping_mul(0x9E37_79B9_7F4A_7C15)
                .rotate_left(29)
        });
        match self.order.iter_mut().find(|(name, _)| name == tensor) {
            Some((_, calls)) => calls.push((expert, digest)),
            None => self.order.push((tensor.to_owned(), vec![(expert, digest)])),
        }
    }
}
