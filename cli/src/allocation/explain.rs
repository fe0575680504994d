//! Reports of chosen types, for people and machines.

use std::collections::BTreeMap;

use optimize::allocate::{Chosen, Step, kind_of};

use super::Allocated;

/// Prints a table of the types by kind and layer, and what other sizes would cost.
pub(crate) fn print(allocated: &Allocated<'_>) {
    let choice = &allocated.choice;
    println!(
        "{:<24} {:>7} {:>6} {:>7}  {:<34} {:<34} types (layers)",
        "tensors", "MiB", "bits", "loss %", "best step up", "best step down"
    );
    let mut kinds: Vec<(&str, Vec<&Chosen>)> = Vec::new();
    for tensor in &choice.tensors {
        let kind = kind_of(&tensor.tensor);
        match kinds.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, tensors)) => tensors.push(tensor),
            None => kinds.push((kind, vec![tensor])),
        }
    }
    for (kind, tensors) in &kinds {
        let bytes: u64 = tensors.iter().map(|t| t.cost.bytes).sum();
        let weights: u64 = tensors.iter().map(|t| t.weights).sum();
        let loss: f64 = tensors.iter().map(|t| t.cost.loss).sum();
        let worth = |step: &Step| step.loss / step.bytes.unsigned_abs().max(1) as f64;
        let best = |step: fn(&Chosen) -> Option<Step>| {
            let steps = tensors.iter().filter_map(|t| Some((*t, step(t)?)));
            steps
                .min_by(|a, b| worth(&a.1).total_cmp(&worth(&b.1)))
                .map_or(String::from("-"), |(tensor, step)| told(tensor, &step))
        };
        println!(
            "{kind:<24} {:>7.2} {:>6.3} {:>7.2}  {:<34} {:<34} {}",
            bytes as f64 / f64::from(1 << 20),
            bytes as f64 * 8.0 / weights.max(1) as f64,
            100.0 * loss / choice.loss.max(f64::MIN_POSITIVE),
            best(|t| t.up),
            best(|t| t.down),
            types(tensors)
        );
    }
    println!(
        "expected mean KL divergence {:.6} ({}); {} of {} bytes",
        choice.loss,
        allocated.sensitivity.method.name(),
        allocated.plan.file_size(),
        allocated.target
    );
    if let Some(checked) = &allocated.checked {
        println!(
            "measured over {} other windows: {:.6}, where {:.6} was expected{}",
            checked.windows,
            checked.measured,
            checked.expected,
            match &checked.preset {
                None => String::new(),
                Some((preset, of_preset)) => format!(
                    "; {preset} has {of_preset:.6}: a ratio of {:.3}{}",
                    checked.measured / of_preset,
                    if checked.kept_preset {
                        ", so that the file is that preset's"
                    } else {
                        ""
                    }
                ),
            }
        );
    }
}

/// A step of one tensor: where it is, to which type, how many bytes and how much divergence.
fn told(tensor: &Chosen, step: &Step) -> String {
    let layer = layer(&tensor.tensor).map_or(String::new(), |layer| format!("{layer}: "));
    format!("{layer}{} {:+} {:+.1e}", step.ty, step.bytes, step.loss)
}

fn layer(tensor: &str) -> Option<&str> {
    tensor.strip_prefix("blk.")?.split('.').next()
}

/// Types with the layers that have them.
fn types(tensors: &[&Chosen]) -> String {
    let mut types: BTreeMap<u64, (&str, Vec<u32>)> = BTreeMap::new();
    for tensor in tensors {
        // By bytes for so many weights, so that the smallest type comes first.
        let bits = tensor.cost.bytes * 4096 / tensor.weights.max(1) * 64 + tensor.ty as u64 % 64;
        let entry = types.entry(bits).or_insert((tensor.ty.name(), Vec::new()));
        entry
            .1
            .extend(layer(&tensor.tensor).and_then(|layer| layer.parse::<u32>().ok()));
    }
    let list = types.into_values().map(|(name, layers)| match layers.is_empty() {
        true => name.to_owned(),
        false => format!("{name} ({})", ranges(&layers)),
    });
    list.collect::<Vec<_>>().join(", ")
}

/// Layers as ranges: `0-3,7`.
fn ranges(layers: &[u32]) -> String {
    let mut sorted = layers.to_vec();
    sorted.sort_unstable();
    let mut parts: Vec<(u32, u32)> = Vec::new();
    for layer in sorted {
        match parts.last_mut() {
            Some((_, last)) if *last + 1 == layer => *last = layer,
            _ => parts.push((layer, layer)),
        }
    }
    let part = |(first, last): (u32, u32)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    };
    parts.into_iter().map(part).collect::<Vec<_>>().join(",")
}

/// The same for machines.
pub(crate) fn as_json(allocated: &Allocated<'_>) -> serde_json::Value {
    let step = |step: Option<Step>| {
        step.map(|s| serde_json::json!({"type": s.ty.name(), "bytes": s.bytes, "kld": s.loss}))
    };
    let choice = &allocated.choice;
    let tensors: Vec<_> = choice
        .tensors
        .iter()
        .map(|t| {
            serde_json::json!({
                "name": t.tensor,
                "type": t.ty.name(),
                "size_bytes": t.cost.bytes,
                "expected_kld": t.cost.loss,
                "up": step(t.up),
                "down": step(t.down),
            })
        })
        .collect();
    serde_json::json!({
        "target_bytes": allocated.target,
        "sensitivity": allocated.sensitivity.method.name(),
        "expected_kld": choice.loss,
        "least_expected_kld": choice.bound,
        "check": allocated.checked.as_ref().map(|checked| serde_json::json!({
            "windows": checked.windows,
            "kld": checked.measured,
            "expected_kld": checked.expected,
            "preset": checked.preset.as_ref().map(|(preset, _)| preset),
            "preset_kld": checked.preset.as_ref().map(|(_, kld)| kld),
            "kept_preset": checked.kept_preset,
        })),
        "tensors": tensors,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_as_ranges() {
        assert_eq!(ranges(&[3, 0, 1, 7, 2, 9, 8]), "0-3,7-9");
        assert_eq!(ranges(&[5]), "5");
    }
}
