//! Encoders of images and sound (`--mmproj`) of tiny models against the stock converter's files, by their SHA-256.
//!
//! `py/encoder_fixtures.py` makes the fixtures.

use convert::digest::file_sha256;
use std::collections::BTreeSet;

use oracle::encoders::{KINDS, class, convert, fixtures, make};
use serde_json::Value;

/// Differences from the stock converter's files.
fn check(fixture: &Value) -> Vec<String> {
    let temporary = tempfile::tempdir().unwrap();
    let dir = temporary.path().join("model");
    make(fixture, &dir);
    let mut different = Vec::new();
    for (kind, outtype) in KINDS {
        let out = temporary.path().join(kind);
        let digest = match convert(&dir, &out, outtype) {
            Err(message) => message,
            Ok(()) => file_sha256(&out).unwrap(),
        };
        if fixture["sha256"][kind] != digest.as_str() {
            different.push(format!("{kind}: {digest}"));
        }
    }
    different
}

#[test]
fn encoders_are_converted_to_the_stock_converters_bytes() {
    let (mut classes, mut different) = (BTreeSet::new(), Vec::new());
    for (name, fixture) in fixtures() {
        classes.insert(class(&fixture).to_owned());
        different.extend(check(&fixture).into_iter().map(|what| format!("{name}: {what}")));
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
    // The others have fixtures with their text models (tests/architectures.rs).
    println!("{} classes of encoders", classes.len());
    assert!(!classes.is_empty());
}

/// Qwen3-Omni as it is published: the stock converter does not know the names, under others it gives the same file.
#[test]
fn encoders_inside_the_model_that_listens_are_found() {
    let (_, mut fixture) = fixtures()
        .into_iter()
        .find(|(name, _)| name == "qwen3-omni-plain")
        .unwrap();
    let tensors = fixture["tensors"]["model.safetensors"].as_object_mut().unwrap();
    let outside = |name: &String| name.starts_with("visual.");
    assert!(tensors.keys().any(outside));
    // In the same order, which the weights follow.
    *tensors = std::mem::take(tensors)
        .into_iter()
        .map(|(name, shape)| match outside(&name) {
            true => (format!("thinker.{name}"), shape),
            false => (name, shape),
        })
        .collect();
    assert_eq!(check(&fixture), Vec::<String>::new());
}
