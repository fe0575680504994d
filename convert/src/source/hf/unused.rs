//! Parts of a model directory that are in no output: files with weights that are not read, and tensors by pattern.

use std::collections::BTreeSet;
use std::path::Path;

use indexmap::IndexMap;

use super::parts::Parts;
use crate::arch::{self, multimodal};
use crate::listed::listed;

/// Endings of the names of files with weights.
const WEIGHTS: [&str; 10] = [
    ".safetensors",
    ".bin",
    ".pt",
    ".pth",
    ".ckpt",
    ".h5",
    ".msgpack",
    ".npz",
    ".nemo",
    ".pdparams",
];

/// Files with such names that hold the state of a training, not weights.
const STATES: [&str; 6] = [
    "training_args",
    "optimizer",
    "scheduler",
    "rng_state",
    "scaler",
    "trainer_state",
];

/// The files of an adapter of PEFT.
const ADAPTER: [&str; 2] = ["adapter_model.safetensors", "adapter_model.bin"];

/// Files of weights that the conversion does not read.
pub(super) fn files(dir: &Path, parts: &Parts) -> Vec<String> {
    let read: BTreeSet<&std::ffi::OsStr> = parts.files.iter().filter_map(|f| f.path().file_name()).collect();
    let Ok(items) = std::fs::read_dir(dir) else {
        return Vec::new();
    };
    let mut names: BTreeSet<String> = BTreeSet::new();
    for item in items.flatten() {
        let name = item.file_name();
        let Some(text) = name.to_str().filter(|_| !read.contains(name.as_os_str())) else {
            continue;
        };
        let is_state = STATES.iter().any(|s| text.starts_with(s));
        if WEIGHTS.iter().any(|w| text.ends_with(w)) && !is_state {
            names.insert(text.to_owned());
        }
    }
    // Of Mistral's own layout, which is not used, all files are named together.
    if dir.join("params.json").is_file() {
        names.retain(|name| !(name.starts_with("consolidated") && name.ends_with(".safetensors")));
    }
    names.extend(in_folders(dir, parts));
    let mut warnings = Vec::new();
    for adapter in ADAPTER {
        if names.remove(adapter) {
            warnings.push(format!("{adapter}: an adapter beside the model is not applied"));
        }
    }
    if !names.is_empty() {
        let others: Vec<&String> = names.iter().collect();
        let read: Vec<String> = read.iter().map(|n| n.to_string_lossy().into_owned()).collect();
        warnings.push(format!(
            "files with weights that are not read: {}; the weights are those of {}",
            listed(others.iter()),
            listed(read.iter())
        ));
    }
    warnings
}

/// Most folders of a directory that are looked into, and most files of each.
const MAX_FOLDERS: usize = 64;
const MAX_FILES: usize = 1024;

/// Files of weights in the folders of a directory (`original/`, `onnx/`), that are not read. Hidden folders are no part of
/// a model, and those of sentence-transformers' modules (`2_Dense`) are told of by what reads them.
fn in_folders(dir: &Path, parts: &Parts) -> Vec<String> {
    let Ok(items) = std::fs::read_dir(dir) else {
        return Vec::new();
    };
    let is_module = |name: &str| {
        let number = name.split_once('_').map(|(number, _)| number);
        number.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
    };
    let mut folders: Vec<String> = items
        .flatten()
        .filter(|item| item.path().is_dir())
        .filter_map(|item| item.file_name().into_string().ok())
        .filter(|name| !name.starts_with('.') && !is_module(name))
        .collect();
    folders.sort_unstable();
    let read = |path: &Path| parts.files.iter().any(|f| f.path() == path);
    let mut found = Vec::new();
    for folder in folders.into_iter().take(MAX_FOLDERS) {
        let Ok(items) = std::fs::read_dir(dir.join(&folder)) else {
            continue;
        };
        for item in items.flatten().take(MAX_FILES) {
            let Ok(name) = item.file_name().into_string() else {
                continue;
            };
            let is_state = STATES.iter().any(|s| name.starts_with(s));
            let is_weights = WEIGHTS
                .iter()
                .chain(&[".onnx", ".gguf"])
                .any(|w| name.ends_with(w));
            if is_weights && !is_state && !read(&item.path()) {
                found.push(format!("{folder}/{name}"));
            }
        }
    }
    found
}

/// A tensor's name with its numbers left open.
fn pattern(name: &str) -> String {
    let is_number = |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let part = |part| if is_number(&part) { "{}" } else { part };
    name.split('.').map(part).collect::<Vec<_>>().join(".")
}

/// Warnings of tensors that are in no output: those of other parts by module, the others by pattern.
pub(super) fn tensors(left_out: &[String], is_part: bool, is_encoder: bool) -> Vec<String> {
    let other = |name: &str| is_encoder || (is_part && multimodal::text_name(name).is_none());
    let (parts, single): (Vec<&String>, Vec<&String>) = left_out
        .iter()
        .filter(|name| !arch::harmless(name))
        .partition(|name| other(name));
    let counted = |names: &[&String], key: &dyn Fn(&str) -> String| -> Vec<String> {
        let mut groups: IndexMap<String, usize> = IndexMap::new();
        for name in names {
            *groups.entry(key(name)).or_default() += 1;
        }
        let text = |(group, n): (String, usize)| match n {
            1 => group,
            n => format!("{group} ({n} tensors)"),
        };
        groups.into_iter().map(text).collect()
    };
    let mut messages = Vec::new();
    if !parts.is_empty() {
        let what = match is_encoder {
            true => "only the encoders and their projectors are converted",
            false => "only the text model is converted, without its encoders (mmproj)",
        };
        let modules = counted(&parts, &|name| multimodal::module_of(name).to_owned());
        messages.push(format!("{what}; left out: {}", modules.join(", ")));
    }
    if !single.is_empty() {
        let patterns = counted(&single, &pattern);
        messages.push(format!(
            "tensors that no GGUF file holds are left out: {}",
            listed(patterns.iter())
        ));
    }
    messages
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|n| (*n).to_owned()).collect()
    }

    #[test]
    fn tensors_are_counted_by_pattern() {
        let mut left_out = names(&["lm_head.weight"]);
        left_out.extend((0..12).map(|i| format!("model.layers.{i}.extra.weight")));
        left_out.extend((0..12).map(|i| format!("model.layers.{i}.self_attn.rotary_emb.inv_freq")));
        assert_eq!(
            tensors(&left_out, false, false),
            [
                "tensors that no GGUF file holds are left out: lm_head.weight, model.layers.{}.extra.weight (12 tensors)"
            ]
        );
        let harmless = names(&[
            "bert.embeddings.position_ids",
            "model.layers.0.self_attn.rotary_emb.inv_freq",
        ]);
        assert!(tensors(&harmless, false, false).is_empty());
        let vision = names(&["model.vision_tower.a.weight", "model.vision_tower.b.weight"]);
        assert_eq!(
            tensors(&vision, true, false),
            [
                "only the text model is converted, without its encoders (mmproj); left out: vision_tower (2 tensors)"
            ]
        );
    }

    #[test]
    fn files_that_are_not_read_are_named() {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["original", "onnx", ".cache", "2_Dense"] {
            std::fs::create_dir(dir.path().join(folder)).unwrap();
        }
        for name in [
            "original/consolidated.00.pth",
            "original/params.json",
            "onnx/model_q4.onnx",
            ".cache/x.safetensors",
            "2_Dense/model.safetensors",
            "consolidated.00.pth",
            "pytorch_model.bin",
            "adapter_model.safetensors",
            "training_args.bin",
            "optimizer.pt",
            "tokenizer.json",
            "README.md",
        ] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        let found = files(dir.path(), &Parts::none());
        assert_eq!(found.len(), 2);
        assert!(
            found[0].starts_with("adapter_model.safetensors: an adapter beside the model is not applied")
        );
        assert!(
            found[1].starts_with(
                "files with weights that are not read: consolidated.00.pth, onnx/model_q4.onnx, \
                     original/consolidated.00.pth, pytorch_model.bin;"
            ),
            "{found:?}"
        );
    }
}
