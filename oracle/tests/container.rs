//! Containers: our reader, writer, split and merge against the Python reader and writer and ggml's own.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use gguf::split::{self, Limit, SplitOptions, shard_path};
use gguf::{Array, FilePlan, GgufFile, GgufModel, Metadata, TYPES, Value, Writer};
use oracle::Python;

fn container(python: &Python, args: &[&str]) -> String {
    python.run("container.py", args).unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The output of `container.py read`, from our reader.
fn described(path: &Path) -> Vec<u8> {
    let file = GgufFile::open(path).unwrap();
    let mut out = Vec::new();
    for (key, value) in file.metadata().iter() {
        out.extend_from_slice(key.as_bytes());
        let mut types = format!("\n{}", value.value_type().id());
        if let Value::Array(a) = value
            && !a.is_empty()
        {
            write!(types, " {}", a.element_type().id()).unwrap();
        }
        out.extend_from_slice(types.as_bytes());
        out.push(b'\n');
        put(&mut out, value);
        out.push(b'\n');
    }
    for (i, t) in file.tensors().iter().enumerate() {
        let shape: Vec<_> = t.shape.iter().map(u64::to_string).collect();
        let (shape, size) = (shape.join(" "), t.size_bytes());
        out.extend(format!("{} {} {shape} {} {size}\n", t.name, t.ty.id(), t.offset).into_bytes());
        out.extend_from_slice(&file.bytes(i, 0..size).unwrap());
    }
    out
}

fn put(out: &mut Vec<u8>, value: &Value) {
    let mut string = |s: &gguf::GgufString| {
        out.extend((s.0.len() as u64).to_le_bytes());
        out.extend_from_slice(&s.0);
    };
    match value {
        Value::U8(v) => out.extend(v.to_le_bytes()),
        Value::I8(v) => out.extend(v.to_le_bytes()),
        Value::U16(v) => out.extend(v.to_le_bytes()),
        Value::I16(v) => out.extend(v.to_le_bytes()),
        Value::U32(v) => out.extend(v.to_le_bytes()),
        Value::I32(v) => out.extend(v.to_le_bytes()),
        Value::F32(v) => out.extend(v.to_le_bytes()),
        Value::U64(v) => out.extend(v.to_le_bytes()),
        Value::I64(v) => out.extend(v.to_le_bytes()),
        Value::F64(v) => out.extend(v.to_le_bytes()),
        Value::Bool(v) => out.push((*v).into()),
        Value::String(v) => string(v),
        Value::Array(Array::U8(v)) => out.extend(v),
        Value::Array(Array::I8(v)) => out.extend(v.iter().flat_map(|x| x.to_le_bytes())),
        Value::Array(Array::U16(v)) => out.extend(v.iter().flat_map(|x| x.to_le_bytes())),
        Value::Array(Array::I16(v)) => out.extend(v.iter().flat_map(|x| x.to_le_bytes())),
        Value::Array(Array::U32(v)) => out.extend(v.iter().flat_map(|x| x.to_le_bytes())),
        Value::Array(Array::I32(v)) => out.extend(v.iter().flat_map(|x| x.to_le_bytes())),
        Value::Array(Array::F32(v)) => out.extend(v.iter().flat_map(|x| x.to_le_bytes())),
        Value::Array(Array::U64(v)) => out.extend(v.iter().flat_map(|x| x.to_le_bytes())),
        Value::Array(Array::I64(v)) => out.extend(v.iter().flat_map(|x| x.to_le_bytes())),
        Value::Array(Array::F64(v)) => out.extend(v.iter().flat_map(|x| x.to_le_bytes())),
        Value::Array(Array::Bool(v)) => out.extend(v.iter().map(|&x| u8::from(x))),
        Value::Array(Array::String(v)) => v.iter().for_each(string),
        Value::Array(Array::Array(_)) => panic!("the Python reader has no arrays of arrays"),
    }
}

fn assert_read_alike(python: &Python, path: &Path, folder: &Path) {
    let theirs = folder.join("theirs");
    container(python, &["read", text(path), text(&theirs)]);
    assert!(
        described(path) == std::fs::read(theirs).unwrap(),
        "{} is read differently",
        path.display()
    );
}

/// A file of every tensor type, with data that differs from byte to byte.
fn every_type(path: &Path) {
    let mut m = Metadata::new();
    m.set("general.architecture", "llama");
    m.set("tokens", (0..300).map(|i| format!("t{i}")).collect::<Vec<_>>());
    m.set("scores", (0..300).map(|i| i as f32 * 0.5).collect::<Vec<_>>());
    m.set("wide", u64::MAX);
    let tensors = TYPES.iter().enumerate().map(|(i, t)| {
        // Some with an outermost dimension of 1, which ggml drops.
        let outer = if i % 3 == 0 {
            vec![3, 1]
        } else {
            vec![i as u64 % 5 + 1]
        };
        (
            format!("blk.{i}.weight"),
            [vec![2 * t.block_len as u64], outer].concat(),
            t.ty,
        )
    });
    let plan = FilePlan::new(m, tensors).unwrap();
    let writer = Writer::create(path, &plan).unwrap();
    for (i, t) in plan.tensors.iter().enumerate() {
        let data: Vec<u8> = (0..t.size_bytes())
            .map(|b| (b as u8).wrapping_mul(7).wrapping_add(i as u8))
            .collect();
        writer.write_at(i, 0, &data).unwrap();
    }
    writer.finish().unwrap();
}

/// The reference's vocabulary files, of versions 2 and 3.
fn vocabularies() -> Option<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(oracle::reference_sources()?.join("models"))
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "gguf"))
        .collect();
    files.sort();
    assert!(files.len() >= 19, "{} vocabularies", files.len());
    Some(files)
}

#[test]
fn vocabularies_are_rewritten_to_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    for path in vocabularies().unwrap_or_default() {
        let copy = folder.path().join("copy.gguf");
        let plan = FilePlan::like(&GgufFile::open(&path).unwrap()).unwrap();
        Writer::create(&copy, &plan).unwrap().finish().unwrap();
        assert!(
            std::fs::read(&path).unwrap() == std::fs::read(&copy).unwrap(),
            "{}",
            path.display()
        );
    }
}

#[test]
fn vocabularies_are_read_as_python_reads_them() {
    let Some(python) = oracle::python() else { return };
    let folder = tempfile::tempdir().unwrap();
    for path in vocabularies().unwrap_or_default() {
        // The Python reader goes element by element: minutes for the largest.
        if path.metadata().unwrap().len() < 2_000_000 {
            assert_read_alike(&python, &path, folder.path());
        }
    }
}

#[test]
fn files_of_the_python_writer_are_read_alike_and_rewritten_to_the_same_bytes() {
    let Some(python) = oracle::python() else { return };
    let folder = tempfile::tempdir().unwrap();
    for order in ["little", "big"] {
        let path = folder.path().join(format!("{order}.gguf"));
        container(&python, &["write", text(&path), order]);
        let file = GgufFile::open(&path).unwrap();
        assert_eq!(
            (file.endian().to_string().as_str(), file.alignment()),
            (order, 64)
        );
        assert_eq!(file.metadata().get("u64"), Some(&Value::U64((1 << 63) + 1)));
        assert_eq!(file.tensors()[0].shape, [3, 5]);
        assert_read_alike(&python, &path, folder.path());

        let copy = folder.path().join("copy.gguf");
        let writer = Writer::create(&copy, &FilePlan::like(&file).unwrap()).unwrap();
        for (i, t) in file.tensors().iter().enumerate() {
            writer
                .write_at(i, 0, &file.bytes(i, 0..t.size_bytes()).unwrap())
                .unwrap();
        }
        writer.finish().unwrap();
        assert!(
            std::fs::read(&path).unwrap() == std::fs::read(&copy).unwrap(),
            "{order}"
        );
    }
}

#[test]
fn ggml_writes_the_same_header() {
    let Some(python) = oracle::python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (path, theirs) = (folder.path().join("m.gguf"), folder.path().join("header"));
    every_type(&path);
    container(&python, &["rewrite", text(&path), text(&theirs)]);
    let file = GgufFile::open(&path).unwrap();
    let tensors = file
        .tensors()
        .iter()
        .map(|t| (t.name.clone(), gguf::ggml_shape(&t.shape), t.ty));
    let plan = FilePlan::new(file.metadata().clone(), tensors).unwrap();
    assert!(plan.header_bytes().unwrap() == std::fs::read(theirs).unwrap());
}

#[test]
fn shards_and_merged_files_equal_those_of_ggml() {
    let Some(python) = oracle::python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    every_type(&path);
    let model = GgufModel::open(&path).unwrap();
    for (mode, limit, first) in [
        ("tensors", 128, true),
        ("tensors", 5, true),
        ("tensors", 5, false),
        ("bytes", 6000, true),
        ("bytes", 6000, false),
        ("bytes", 3500, true),
    ] {
        let (ours, theirs) = (folder.path().join("ours"), folder.path().join("theirs"));
        let first_word = if first { "first" } else { "nofirst" };
        let args = [
            "split",
            text(&path),
            text(&theirs),
            mode,
            &limit.to_string(),
            first_word,
        ];
        let count: u64 = container(&python, &args).trim().parse().unwrap();
        let limit = if mode == "tensors" {
            Limit::Tensors(limit)
        } else {
            Limit::Bytes(limit)
        };
        let plans = split::plan_model(
            &model,
            &SplitOptions::default().limit(limit).no_tensor_first_split(!first),
        )
        .unwrap();
        split::write(&model, &plans, &ours, &mut |_| ()).unwrap();
        assert_eq!(plans.len() as u64, count, "{args:?}");
        for n in 0..count {
            let (a, b) = (shard_path(&ours, n, count), shard_path(&theirs, n, count));
            assert!(
                std::fs::read(a).unwrap() == std::fs::read(b).unwrap(),
                "{args:?} shard {n}"
            );
        }

        let (our_merged, their_merged) = (folder.path().join("our.gguf"), folder.path().join("their.gguf"));
        container(
            &python,
            &["merge", text(&theirs), &count.to_string(), text(&their_merged)],
        );
        let shards = GgufModel::open(&shard_path(&ours, 0, count)).unwrap();
        split::merge(&shards, &our_merged, &mut |_| ()).unwrap();
        assert!(
            std::fs::read(&our_merged).unwrap() == std::fs::read(&their_merged).unwrap(),
            "{args:?}"
        );
        std::fs::remove_file(our_merged).unwrap();
    }
}
