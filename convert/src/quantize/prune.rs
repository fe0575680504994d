//! Leaving out layers: the rest are numbered anew, and what the metadata has for each layer goes with them.
//!
//! llama-quantize leaves arrays with an entry for each layer as they are, and llama.cpp then refuses the file.

use std::collections::HashMap;

use gguf::{Array, Metadata, Value};

use crate::{Error, Result};

/// The model after pruning.
pub(super) struct Pruned {
    /// New names by source index; `None` for tensors that are left out.
    pub(super) names: Vec<Option<String>>,
    /// The layers that are left, when any were pruned: their old numbers, in order.
    pub(super) kept: Option<Vec<u32>>,
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
            kept: None,
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
                "layers to be pruned: expected layers of the model, found {layer}"
            )));
        }
    }
    if next == 0 {
        return Err(Error::Request(
            "layers to be pruned: expected at least one layer to be left, found all pruned".to_owned(),
        ));
    }
    // A layer without tensors before the first pruned one keeps its number too.
    let mut kept: Vec<u32> = (0..next).collect();
    for (old, new) in numbers {
        if let Some(place) = new.and_then(|new| kept.get_mut(new as usize)) {
            *place = old;
        }
    }
    Ok(Pruned {
        names: renamed,
        kept: Some(kept),
    })
}

/// The keys of a model that change when only these layers of it are kept.
pub(super) fn metadata(metadata: &Metadata, kept: &[u32]) -> Vec<(String, Value)> {
    let architecture = metadata.architecture();
    let key = |suffix: &str| format!("{architecture}.{suffix}");
    let mut changed = vec![(key("block_count"), Value::U32(kept.len() as u32))];
    let Some(count) = metadata.get_u64(&key("block_count")) else {
        return changed;
    };
    for (name, value) in metadata.iter() {
        if let Value::Array(array) = value
            && array.len() as u64 == count
            && gguf::keys::is_of_layers(name, architecture)
        {
            changed.push((name.to_owned(), Value::Array(chosen(array, kept))));
        }
    }
    // Counts of layers at the beginning, and at the end.
    let in_range = |range: std::ops::Range<u64>| {
        let kept = kept.iter().filter(|&&layer| range.contains(&layer.into()));
        Value::U32(kept.count() as u32)
    };
    for (suffix, at_end) in [
        ("leading_dense_block_count", false),
        ("nextn_predict_layers", true),
    ] {
        let old = metadata.get_u64(&key(suffix)).filter(|&n| n > 0 && n <= count);
        if let Some(old) = old {
            let range = if at_end { count - old..count } else { 0..old };
            let new = in_range(range);
            if new.as_u64() != Some(old) {
                changed.push((key(suffix), new));
            }
        }
    }
    changed
}

/// The elements with these numbers.
fn chosen(array: &Array, kept: &[u32]) -> Array {
    fn take<T: Clone>(values: &[T], kept: &[u32]) -> Vec<T> {
        kept.iter()
            .filter_map(|&i| values.get(i as usize).cloned())
            .collect()
    }
    match array {
        Array::U8(v) => Array::U8(take(v, kept)),
        Array::I8(v) => Array::I8(take(v, kept)),
        Array::U16(v) => Array::U16(take(v, kept)),
        Array::I16(v) => Array::I16(take(v, kept)),
        Array::U32(v) => Array::U32(take(v, kept)),
        Array::I32(v) => Array::I32(take(v, kept)),
        Array::U64(v) => Array::U64(take(v, kept)),
        Array::I64(v) => Array::I64(take(v, kept)),
        Array::F32(v) => Array::F32(take(v, kept)),
        Array::F64(v) => Array::F64(take(v, kept)),
        Array::Bool(v) => Array::Bool(take(v, kept)),
        Array::String(v) => Array::String(take(v, kept)),
        Array::Array(v) => Array::Array(take(v, kept)),
    }
}

/// Highest number of a layer; what has another is none.
const MAX_LAYER: u32 = 0xFFFF;

/// Position of the number in the first `blk.N.` of a name, and the number.
fn layer_number(name: &str) -> Option<(usize, usize, u32)> {
    for (at, part) in name.match_indices("blk.") {
        let start = at + part.len();
        let digits = name[start..].bytes().take_while(u8::is_ascii_digit).count();
        let end = start + digits;
        if digits > 0 && name[end..].starts_with('.') {
            let number = name[start..end].parse().ok().filter(|&n| n <= MAX_LAYER)?;
            return Some((start, end, number));
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
        assert_eq!(pruned.kept, Some(vec![0, 2, 4]));
        assert!(rename(&names, &order, &[9]).is_err());
        assert_eq!(rename(&names, &order, &[]).unwrap().kept, None);
        let all = rename(&names, &order, &[0, 1, 2, 3, 4]).err().unwrap();
        assert!(all.to_string().contains("found all pruned"), "{all}");
    }

    #[test]
    fn what_belongs_to_a_layer_goes_with_it() {
        let mut m = Metadata::new();
        m.set("general.architecture", "x");
        m.set("general.tags", vec!["a", "b", "c", "d"]);
        m.set("x.block_count", 4u32);
        m.set("x.attention.head_count_kv", vec![0i32, 1, 2, 3]);
        m.set("x.feed_forward_length", vec![10u32, 11, 12, 13]);
        m.set(
            "x.attention.sliding_window_pattern",
            vec![true, false, true, true],
        );
        m.set("x.rope.dimension_sections", vec![1i32, 2, 3, 4]);
        m.set("x.swiglu_clamp_exp", vec![0.0f32, 1.0, 2.0, 3.0]);
        m.set("x.some.list", vec![1u32, 2, 3]);
        m.set("xielu.beta", vec![0.5f32, 1.5, 2.5, 3.5]);
        m.set("tokenizer.ggml.tokens", vec!["a", "b", "c", "d"]);
        m.set("x.leading_dense_block_count", 2u32);
        m.set("x.nextn_predict_layers", 1u32);
        let changed = metadata(&m, &[1, 2]);
        let expected: Vec<(&str, Value)> = vec![
            ("x.block_count", 2u32.into()),
            ("x.attention.head_count_kv", vec![1i32, 2].into()),
            ("x.feed_forward_length", vec![11u32, 12].into()),
            ("x.attention.sliding_window_pattern", vec![false, true].into()),
            ("x.swiglu_clamp_exp", vec![1.0f32, 2.0].into()),
            ("xielu.beta", vec![1.5f32, 2.5].into()),
            ("x.leading_dense_block_count", 1u32.into()),
            ("x.nextn_predict_layers", 0u32.into()),
        ];
        let changed: Vec<(&str, Value)> = changed.iter().map(|(k, v)| (k.as_str(), v.clone())).collect();
        assert_eq!(changed, expected);
    }
}
