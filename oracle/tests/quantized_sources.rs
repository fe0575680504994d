//! Checkpoints that are quantized already: their decoded weights equal those that the formats'
//! descriptions give, worked out independently, and whole files equal the stock converter's where it knows
//! the kind.
//!
//! `oracle/py/stock_digests.py LLAMA_CPP_SOURCES OUT_DIR/quantized auto` made the digests, of the directories
//! that `oracle/py/quantized_models.py OUT_DIR` makes.

use std::path::Path;

use convert::pipeline::{PipelineOptions, execute};
use convert::plan::OutputPlan;
use convert::source::Source;
use convert::source::hf::{HfOptions, HfSource, OutType};
use sha2::{Digest, Sha256};

fn open(dir: &Path, outtype: OutType) -> HfSource {
    let options = HfOptions {
        outtype,
        ..HfOptions::default()
    };
    HfSource::open(dir, &options).unwrap()
}

/// All values of a tensor, read in runs of `step` rows.
fn values(source: &HfSource, tensor: usize, step: u64) -> Vec<f32> {
    let shape = &source.tensors()[tensor].shape;
    let rows: u64 = shape.iter().skip(1).product();
    let mut out = vec![0.0; shape.iter().product::<u64>() as usize];
    let mut rest = out.as_mut_slice();
    let mut at = 0;
    while at < rows {
        let end = rows.min(at + step);
        let (head, tail) = rest.split_at_mut(((end - at) * shape[0]) as usize);
        source.read_rows(tensor, at..end, head).unwrap();
        (rest, at) = (tail, end);
    }
    out
}

#[test]
fn decoded_weights_and_whole_files_are_those_expected() {
    let Some(python) = oracle::python() else { return };
    let dir = tempfile::tempdir().unwrap();
    python
        .run("quantized_models.py", [dir.path().as_os_str()])
        .unwrap();
    let mut kinds = 0;
    for item in std::fs::read_dir(dir.path().join("quantized")).unwrap() {
        let path = item.unwrap().path();
        let plain = open(
            &dir.path().join("plain").join(path.file_name().unwrap()),
            OutType::F32,
        );
        // Without blocks to keep, so that every factor is in the values.
        let quantized = open(&path, OutType::Lossless);
        assert_eq!(quantized.tensors().len(), plain.tensors().len());
        for (index, tensor) in quantized.tensors().iter().enumerate() {
            let other = plain
                .tensors()
                .iter()
                .position(|t| t.name == tensor.name)
                .unwrap_or_else(|| panic!("{}: {} is new", path.display(), tensor.name));
            assert_eq!(tensor.shape, plain.tensors()[other].shape);
            let expected = values(&plain, other, u64::MAX);
            for step in [7, u64::MAX] {
                let equal = values(&quantized, index, step) == expected;
                assert!(equal, "{}: {}", path.display(), tensor.name);
            }
        }
        kinds += 1;
    }
    assert_eq!(kinds, 25);

    for line in include_str!("../digests/quantized.txt").lines() {
        let [kind, outtype, expected] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("malformed line {line:?}")
        };
        let source = open(
            &dir.path().join("quantized").join(kind),
            OutType::from_name(outtype).unwrap(),
        );
        let out = dir.path().join("out.gguf");
        let plan = OutputPlan::unquantized(&out, &source, Vec::new()).unwrap();
        execute(&source, &[plan], &PipelineOptions::default(), &|_| {}).unwrap();
        let digest = Sha256::digest(std::fs::read(&out).unwrap());
        let digest: String = digest.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(digest, expected, "{kind} as {outtype}");
    }
}
