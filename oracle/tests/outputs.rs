//! Shards, big-endian files and LoRA adapters: the files that the stock converters write.
//!
//! The command at the head of `oracle/py/adapter_models.py` made the digests.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::path::Path;

use convert::digest::file_sha256;
use convert::pipeline::{PipelineOptions, execute};
use convert::plan::OutputPlan;
use convert::shards::{Shards, cut};
use convert::source::Source;
use convert::source::hf::{AdapterOptions, AdapterSource, HfOptions, HfSource, OutType};
use gguf::Endian;
use gguf::split::Limit;

/// Writes a source as the stock converter would with these settings.
fn write(source: &dyn Source, path: &Path, endian: Endian, limit: Option<Limit>, empty_first: bool) {
    let plan = OutputPlan::unquantized(path, source, Vec::new())
        .unwrap()
        .with_endian(endian);
    let shards = Shards::Converter {
        limit,
        no_tensor_first_split: empty_first,
    };
    let plans = cut(plan, &shards).unwrap();
    execute(source, &plans, &PipelineOptions::default(), &|_| {}).unwrap();
}

#[test]
fn files_equal_the_stock_converters() {
    let Some(python) = oracle::python() else { return };
    let dir = tempfile::tempdir().unwrap();
    let models = dir.path().join("models");
    python.run("adapter_models.py", [models.as_os_str()]).unwrap();
    let made = dir.path().join("made");
    std::fs::create_dir(&made).unwrap();

    let open = |outtype| {
        let options = HfOptions::default().outtype(outtype);
        HfSource::open(&models.join("llama"), &options).unwrap()
    };
    let file = |name: &str| made.join(format!("{name}.gguf"));
    let bytes = |n| Some(Limit::Bytes(NonZeroU64::new(n).unwrap().get()));
    let little = Endian::Little;
    write(&open(OutType::F16), &file("big-f16"), Endian::Big, None, false);
    write(&open(OutType::F32), &file("big-f32"), Endian::Big, None, false);
    let auto = open(OutType::Auto);
    write(&auto, &file("size"), little, bytes(30_000), false);
    write(&auto, &file("tensors"), little, Some(Limit::Tensors(7)), true);
    write(&auto, &file("first"), little, None, true);
    write(&auto, &file("whole"), little, bytes(1_000_000_000), false);
    let adapters = [
        ("tiny-llama-0.2M-lora-v2", "llama"),
        ("adapter", "llama"),
        // Of a model that reads images too: its text model's pairs.
        ("parts", "llava"),
    ];
    for (name, base) in adapters {
        for outtype in ["f32", "f16", "q8_0"] {
            let options = AdapterOptions::default()
                .outtype(OutType::from_name(outtype).unwrap())
                .base(Some(models.join(base)))
                .model_name(None);
            let source = AdapterSource::open(&models.join(name), &options).unwrap();
            // The pair of an encoder; a norm, which llama.cpp does not apply.
            let warned = usize::from(name != "tiny-llama-0.2M-lora-v2");
            assert_eq!(source.warnings().len(), warned, "{name}: {:?}", source.warnings());
            write(&source, &file(&format!("{name}.{outtype}")), little, None, false);
        }
    }

    let expected: BTreeMap<String, String> = include_str!("../digests/outputs.txt")
        .lines()
        .map(|line| {
            let (name, digest) = line.split_once(' ').unwrap();
            (name.to_owned(), digest.to_owned())
        })
        .collect();
    let found: BTreeMap<String, String> = std::fs::read_dir(&made)
        .unwrap()
        .map(|item| {
            let item = item.unwrap();
            let digest = file_sha256(&item.path()).unwrap();
            (item.file_name().into_string().unwrap(), digest)
        })
        .collect();
    assert!(expected.len() > 15);
    assert_eq!(found, expected);
}
