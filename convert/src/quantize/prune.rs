//! Leaving out layers: the rest are numbered anew.

use std::collections::HashMap;

use crate::{Error, Result};

/// The model after pruning.
pub(super) struct Pruned {
    /// New names by source index; `None` for tensors that are left out.
    pub(super) names: Vec<Option<String>>,
    /// The layers that are left, when any were pruned.
    pub(super) layers: Option<u32>,
}

/// Renames the tensors `names`, walking them in `order` as llama.cpp does: layers before the first
/// pruned one keep their numbers, later ones are counted on.
///
/// # Errors
/// A layer to prune that the model does not have.
pub(super) fn rename(names: &[&str], order: &[usize], prune: &[u32]) -> Result<Pruned> {
    let mut renamed: Vec<Option<String>> = names.iter().map(|n| Some((*n).to_owned())).collect();
    let Some(&first) = prune.iter().min() else {
        return Ok(Pruned {
            names: renamed,
            layers: None,
        });
    };
    let mut numbers: HashMap<u32, Option<u32>> = HashMap::new();
    let mut next = 0;
    for &index in order {
        let Some((start, end, layer)) = layer_number(names[index]) else {
            continue;
        };
        let number = *numbers.entry(layer).or_insert_with(|| {
            if prune.contains(&layer) {
                return None;
            }
            let number = if layer < first { layer } else { next };
            next = number + 1;
            Some(number)
        });
        renamed[index] = number.map(|n| {
            let name = names[index];
            format!("{}{n}{}", &name[..start], &name[end..])
        });
    }
    for layer in prune {
        if !numbers.contains_key(layer) {
            return Err(Error::Request(format!(
                "--prune-layers: the model has no layer {layer}"
            )));
        }
    }
    Ok(Pruned {
        names: renamed,
        layers: Some(next),
    })
}

/// Where the number in the first `blk.N.` of a name stands, and the number.
fn layer_number(name: &str) -> Option<(usize, usize, u32)> {
    for (at, part) in name.match_indices("blk.") {
        let start = at + part.len();
        let digits = name[start..].bytes().take_while(u8::is_ascii_digit).count();
        let end = start + digits;
        if digits > 0 && name[end..].starts_with('.') {
            return Some((start, end, name[start..end].parse().ok()?));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_layers_move_up() {
        let names = [
            "output.weight",
            "blk.0.a",
            "blk.1.a",
            "blk.2.a",
            "blk.3.a",
            "blk.4.a",
        ];
        let order: Vec<usize> = (0..names.len()).collect();
        let pruned = rename(&names, &order, &[1, 3]).unwrap();
        let got: Vec<_> = pruned.names.iter().map(Option::as_deref).collect();
        assert_eq!(
            got,
            [
                Some("output.weight"),
                Some("blk.0.a"),
                None,
                Some("blk.1.a"),
                None,
                Some("blk.2.a")
            ]
        );
        assert_eq!(pruned.layers, Some(3));
        assert!(rename(&names, &order, &[9]).is_err());
        assert_eq!(rename(&names, &order, &[]).unwrap().layers, None);
    }
}
