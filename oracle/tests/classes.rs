//! The classes that we convert against those that the stock converter registers.

use std::collections::BTreeSet;

/// Classes that are missing here, each after its kind, with the reason.
const MISSING: &str = include_str!("../digests/missing_classes.txt");

/// `kind class` of every line, and whether a reason follows.
fn listed() -> Vec<(String, bool)> {
    MISSING
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .map(|line| {
            let (name, reason) = line.split_once(": ").unwrap_or((line, ""));
            (name.to_owned(), !reason.trim().is_empty())
        })
        .collect()
}

fn supported() -> BTreeSet<String> {
    let text = convert::arch::supported_classes().into_iter();
    let encoders = convert::arch::supported_encoders().into_iter();
    text.map(|(class, _)| format!("text {class}"))
        .chain(encoders.map(|class| format!("encoder {class}")))
        .collect()
}

#[test]
fn every_missing_class_has_a_reason() {
    let supported = supported();
    let listed = listed();
    for (name, reason) in &listed {
        assert!(reason, "{name} is missing without a reason");
        assert!(
            !supported.contains(name),
            "{name} is listed as missing and is supported"
        );
    }
    let names: BTreeSet<&String> = listed.iter().map(|(name, _)| name).collect();
    assert_eq!(names.len(), listed.len(), "a class is listed twice");
}

/// Prints how many of the stock converter's classes there are, and fails where one is neither converted nor listed.
#[test]
fn the_stock_converters_classes_are_converted_or_listed() {
    let (Some(python), Some(sources)) = (oracle::python(), oracle::reference_sources()) else {
        return;
    };
    let output = python.run("registered_classes.py", [&sources]).unwrap();
    let registered: BTreeSet<String> = output.lines().map(str::to_owned).collect();
    let supported = supported();
    for kind in ["text ", "encoder "] {
        let all = registered.iter().filter(|name| name.starts_with(kind));
        let (ours, missing): (Vec<_>, Vec<_>) = all.partition(|name| supported.contains(*name));
        println!(
            "{kind}classes: {} of {}; missing: {missing:?}",
            ours.len(),
            ours.len() + missing.len()
        );
        assert!(!ours.is_empty());
    }
    let missing: BTreeSet<String> = registered.difference(&supported).cloned().collect();
    let listed: BTreeSet<String> = listed().into_iter().map(|(name, _)| name).collect();
    assert_eq!(
        missing, listed,
        "digests/missing_classes.txt is not what is missing"
    );
}
