//! Shards: what a model is cut into, and what is said of sets that do not fit together.

use crate::common;

use std::path::Path;

use common::{folder, pattern, sample};
use quantsmith_gguf::split::{self, Limit, SplitOptions, shard_path};
use quantsmith_gguf::{FilePlan, GgufFile, GgufModel, Metadata, OpenOptions, TensorType, Value};

fn tensors(limit: u64) -> SplitOptions {
    SplitOptions::default()
        .limit(Limit::Tensors(limit))
        .no_tensor_first_split(false)
}

fn bytes(limit: u64) -> SplitOptions {
    SplitOptions::default()
        .limit(Limit::Bytes(limit))
        .no_tensor_first_split(false)
}

fn metadata() -> Metadata {
    let mut m = Metadata::new();
    m.set("general.architecture", "llama");
    m.set("llama.block_count", 2u32);
    m
}

/// 5 tensors of 40, 12, 64, 400 and 4 bytes.
fn model(folder: &Path, metadata: Metadata) -> GgufModel {
    let shapes = [
        ("a", vec![5, 2]),
        ("b", vec![3]),
        ("c", vec![16, 1, 1]),
        ("d", vec![100]),
        ("e", vec![1, 1]),
    ];
    GgufModel::open(&sample(folder, "whole.gguf", metadata, &shapes)).unwrap()
}

fn counts(model: &GgufModel, options: SplitOptions) -> Vec<usize> {
    split::plan_model(model, &options)
        .unwrap()
        .iter()
        .map(|p| p.tensors.len())
        .collect()
}

#[test]
fn limits_count_as_gguf_split_counts() {
    let folder = folder();
    let m = model(folder.path(), metadata());
    assert_eq!(counts(&m, SplitOptions::default()), [5]);
    assert_eq!(counts(&m, tensors(2)), [2, 2, 1]);
    assert_eq!(counts(&m, tensors(2).no_tensor_first_split(true)), [0, 2, 2, 1]);
    // Padded sizes: 64, 32, 64, 416, 32.
    assert_eq!(counts(&m, bytes(1000)), [5]);
    assert_eq!(counts(&m, bytes(160)), [3, 1, 1]);
    assert_eq!(counts(&m, bytes(159)), [2, 1, 1, 1]);
    assert_eq!(counts(&m, bytes(160).no_tensor_first_split(true)), [0, 3, 1, 1]);
    // A first tensor over the limit, which gguf-split gives up on, stands alone.
    assert_eq!(counts(&m, bytes(1)), [1; 5]);
    assert!(split::plan_model(&m, &tensors(0)).is_err());
    assert!(split::plan_model(&m, &bytes(0)).is_err());
}

#[test]
fn shards_carry_the_keys_that_gguf_split_writes() {
    let folder = folder();
    let m = model(folder.path(), metadata());
    let plans = split::plan_model(&m, &tensors(2)).unwrap();
    for (i, plan) in plans.iter().enumerate() {
        let keys: Vec<_> = plan.metadata.iter().map(|(k, _)| k).collect();
        let model_keys = ["general.architecture", "llama.block_count"];
        let shard_keys = ["split.no", "split.tensors.count", "split.count"];
        assert_eq!(
            keys,
            if i == 0 {
                [&model_keys[..], &shard_keys].concat()
            } else {
                shard_keys.to_vec()
            }
        );
        assert_eq!(plan.metadata.get("split.no"), Some(&Value::U16(i as u16)));
        assert_eq!(plan.metadata.get("split.count"), Some(&Value::U16(3)));
        assert_eq!(plan.metadata.get("split.tensors.count"), Some(&Value::I32(5)));
    }
    // ggml drops outer dimensions of 1.
    assert_eq!(plans[1].tensors[0].shape, [16]);
    assert_eq!(plans[2].tensors[0].shape, [1]);
}

#[test]
fn a_split_model_opens_as_one_and_merges_to_the_same_tensors() {
    for (alignment, no_tensor_first_split) in [(32u32, false), (32, true), (128, false), (8, true)] {
        let folder = folder();
        let mut with_alignment = metadata();
        if alignment != 32 {
            with_alignment.set("general.alignment", alignment);
        }
        let m = model(folder.path(), with_alignment);
        let plans = split::plan_model(&m, &bytes(160).no_tensor_first_split(no_tensor_first_split)).unwrap();
        let mut copied = 0;
        let paths = split::write(&m, &plans, &folder.path().join("cut"), &mut |n| copied += n).unwrap();
        assert_eq!(copied, 520);
        for (i, (path, plan)) in paths.iter().zip(&plans).enumerate() {
            assert_eq!(
                *path,
                shard_path(&folder.path().join("cut"), i as u64, plans.len() as u64)
            );
            assert_eq!(path.metadata().unwrap().len(), plan.file_size());
            assert_eq!(GgufFile::open(path).unwrap().alignment(), u64::from(alignment));
        }

        let cut = GgufModel::open(&paths[0]).unwrap();
        assert_eq!((cut.len(), cut.files().len()), (5, plans.len()));
        for t in cut.tensors() {
            let data = cut.bytes(t.index, 0..t.info.size_bytes()).unwrap();
            assert_eq!(*data, pattern(t.index, t.info.size_bytes()));
        }

        let merged = folder.path().join("merged.gguf");
        split::merge(&cut, &merged, &mut |_| ()).unwrap();
        let again = GgufModel::open(&merged).unwrap();
        for (a, b) in m.tensors().zip(again.tensors()) {
            assert_eq!(
                (&a.info.name, a.info.ty, a.info.offset),
                (&b.info.name, b.info.ty, b.info.offset)
            );
            let whole = 0..a.info.size_bytes();
            assert_eq!(
                m.bytes(a.index, whole.clone()).unwrap(),
                again.bytes(b.index, whole).unwrap()
            );
        }
        let mut expected = m.metadata().clone();
        expected.set("split.no", 0u16);
        expected.set("split.tensors.count", 5i32);
        expected.set("split.count", 0u16);
        assert_eq!(*again.metadata(), expected);

        let message = split::merge(&cut, &merged, &mut |_| ()).unwrap_err().to_string();
        assert!(
            message.contains("merged.gguf") && message.contains("exists already"),
            "{message}"
        );
        let message = split::merge(&again, Path::new("x.gguf"), &mut |_| ())
            .unwrap_err()
            .to_string();
        assert!(message.contains("split.count"), "{message}");

        // What was merged splits to the same shards again.
        let plans_again =
            split::plan_model(&again, &bytes(160).no_tensor_first_split(no_tensor_first_split)).unwrap();
        assert_eq!(plans_again, plans);
    }
}

fn cut(folder: &Path) -> Vec<std::path::PathBuf> {
    let m = model(folder, metadata());
    let plans = split::plan_model(&m, &tensors(2)).unwrap();
    split::write(&m, &plans, &folder.join("cut"), &mut |_| ()).unwrap()
}

fn opening_fails(path: &Path, parts: &[&str]) {
    let message = GgufModel::open(path).unwrap_err().to_string();
    for part in parts {
        assert!(message.contains(part), "{part:?} is not in {message:?}");
    }
}

#[test]
fn missing_shards_are_named() {
    let folder = folder();
    let paths = cut(folder.path());
    std::fs::remove_file(&paths[1]).unwrap();
    std::fs::remove_file(&paths[2]).unwrap();
    opening_fails(
        &paths[0],
        &[
            "missing",
            "cut-00002-of-00003.gguf",
            "cut-00003-of-00003.gguf",
            "3 files",
        ],
    );
}

#[test]
fn a_later_shard_names_the_first() {
    let folder = folder();
    let paths = cut(folder.path());
    opening_fails(&paths[1], &["shard 2 of 3", "cut-00001-of-00003.gguf"]);
    let single = GgufModel::open_single(&paths[1], OpenOptions::default()).unwrap();
    assert_eq!(single.len(), 2);
}

#[test]
fn a_renamed_shard_is_told_its_name() {
    let folder = folder();
    let paths = cut(folder.path());
    let renamed = folder.path().join("renamed.gguf");
    std::fs::rename(&paths[0], &renamed).unwrap();
    opening_fails(&renamed, &["renamed.gguf", "PREFIX-00001-of-00003.gguf"]);
}

#[test]
fn shards_in_the_wrong_place_or_of_another_set() {
    let folder = folder();
    let paths = cut(folder.path());
    let third = std::fs::read(&paths[2]).unwrap();
    std::fs::copy(&paths[1], &paths[2]).unwrap();
    opening_fails(
        &paths[0],
        &["cut-00003-of-00003.gguf", "split.no", "found 1", "expected 2"],
    );
    std::fs::write(&paths[2], &third[..third.len() - 64]).unwrap();
    opening_fails(&paths[0], &["cut-00003-of-00003.gguf", "ends too early"]);

    let shard = |count: u16, total: i32, name: &str| {
        let mut m = Metadata::new();
        m.set("split.no", 2u16);
        m.set("split.tensors.count", total);
        m.set("split.count", count);
        let plan = FilePlan::new(m, [(name.to_string(), vec![4], TensorType::F32)]).unwrap();
        common::write_pattern(&paths[2], &plan);
    };
    shard(4, 5, "e");
    opening_fails(&paths[0], &["split.count", "found 4", "expected 3"]);
    shard(3, 5, "a");
    opening_fails(&paths[0], &["tensor 'a'", "two shards"]);
    shard(3, 5, "e");
    assert!(GgufModel::open(&paths[0]).is_ok());
}

#[test]
fn a_shard_too_few_tensors() {
    let folder = folder();
    let paths = cut(folder.path());
    let mut m = GgufFile::open(&paths[2]).unwrap().metadata().clone();
    m.set("split.tensors.count", 5i32);
    common::write_pattern(&paths[2], &FilePlan::new(m, []).unwrap());
    opening_fails(&paths[0], &["split.tensors.count", "found 4", "expected 5"]);
}

#[test]
fn absurd_shard_counts() {
    let folder = folder();
    for count in [65_536u64, u64::MAX] {
        let mut m = Metadata::new();
        m.set("split.no", 0u16);
        m.set("split.count", count);
        let path = sample(folder.path(), &format!("m-00001-of-{count:05}.gguf"), m, &[]);
        opening_fails(&path, &["name of a shard"]);
    }
    let mut m = Metadata::new();
    m.set("split.no", u64::MAX);
    m.set("split.count", 3u16);
    opening_fails(
        &sample(folder.path(), "m-00001-of-00003.gguf", m, &[]),
        &["m-00001-of-00003"],
    );
}
