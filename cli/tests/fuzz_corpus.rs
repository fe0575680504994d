//! Replays the corpora of the fuzz targets: every seed, every input that once was a finding, and some
//! mutations of each.

use std::path::{Path, PathBuf};

use quantsmith_cli::fuzzing::{Mutator, TARGETS, Target};

/// Mutations of each input.
const MUTATIONS: usize = 20;

fn inputs(kind: &str, target: &Target) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz")
        .join(kind)
        .join(target.name);
    let mut paths: Vec<PathBuf> = match folder.read_dir() {
        Ok(entries) => entries.map(|e| e.unwrap().path()).collect(),
        Err(_) => Vec::new(),
    };
    paths.sort();
    paths
}

#[test]
fn every_target_has_seeds() {
    for target in TARGETS {
        assert!(
            !inputs("corpus", target).is_empty(),
            "{} has no corpus",
            target.name
        );
        let file = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../fuzz/fuzz_targets")
            .join(format!("{}.rs", target.name));
        assert!(file.exists(), "{} has no cargo-fuzz target", target.name);
    }
}

#[test]
fn corpora_and_their_mutations_are_survived() {
    for target in TARGETS {
        let mut mutator = Mutator::new(1);
        for path in [inputs("corpus", target), inputs("crashes", target)].concat() {
            let input = std::fs::read(&path).unwrap();
            (target.run)(&input);
            for _ in 0..MUTATIONS {
                (target.run)(&mutator.mutate(&input, &input));
            }
        }
        (target.run)(b"");
    }
}
