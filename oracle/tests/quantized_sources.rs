//! Checkpoints that are quantized already: their decoded weights equal those that the formats'
//! descriptions give, worked out independently, and whole files equal the stock converter's where it knows
//! the kind.
//!
//! `oracle/py/stock_digests.py LLAMA_CPP_SOURCES OUT_DIR/quantized auto` made the digests, of the directories
//! that `oracle/py/quantized_models.py OUT_DIR` makes; the rows `+q8` are of --fp8-as-q8 (`auto+q8 f32+q8`, the directories
//! fp8-*).
//!
//! Models that the publishing libraries quantized, against what they decode, are compared by
//!
//! ```sh
//! python oracle/py/published_quantizations.py OUT_DIR
//! QUANTSMITH_QUANTIZED=OUT_DIR cargo test --release -p quantsmith-oracle --test all -- --ignored quantized_sources:: --nocapture
//! ```

use std::path::Path;

use convert::digest::file_sha256;
use convert::pipeline::{PipelineOptions, execute};
use convert::plan::OutputPlan;
use convert::source::Source;
use convert::source::hf::{HfOptions, HfSource, OutType};
use gguf::TensorType;

fn try_open(dir: &Path, outtype: OutType) -> Result<HfSource, String> {
    // For classes that have byte-level vocabularies; the tokenizer is made up.
    let options = HfOptions::default()
        .outtype(outtype)
        .pre_tokenizer(Some("gpt-2".to_owned()));
    HfSource::open(dir, &options).map_err(|e| e.to_string())
}

fn open(dir: &Path, outtype: OutType) -> HfSource {
    try_open(dir, outtype).unwrap()
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
        let options = HfOptions::default()
            .outtype(OutType::from_name(outtype.trim_end_matches("+q8")).unwrap())
            .fp8_as_q8(outtype.ends_with("+q8"))
            .pre_tokenizer(Some("gpt-2".to_owned()));
        let source = HfSource::open(&dir.path().join("quantized").join(kind), &options).unwrap();
        let out = dir.path().join("out.gguf");
        let plan = OutputPlan::unquantized(&out, &source, Vec::new()).unwrap();
        execute(&source, &[plan], &PipelineOptions::default(), &|_| {}).unwrap();
        let digest = file_sha256(&out).unwrap();
        assert_eq!(digest, expected, "{kind} as {outtype}");
    }
}

/// A number as the type of a whole model holds it.
fn rounded(ty: TensorType, x: f32) -> f32 {
    match ty {
        TensorType::F16 => half::f16::from_f32(x).to_f32(),
        TensorType::BF16 => half::bf16::from_f32(x).to_f32(),
        _ => x,
    }
}

/// The precision is that of the type in which the library gives its weights: ours, rounded to it, are the same.
fn compare_with_library(quantized: &Path, plain: &Path) -> Result<usize, String> {
    let ours = try_open(quantized, OutType::Lossless)?;
    let library = try_open(plain, OutType::Lossless)?;
    let mut compared = 0;
    for (index, tensor) in library.tensors().iter().enumerate() {
        let own = ours
            .tensors()
            .iter()
            .position(|t| t.name == tensor.name && t.shape == tensor.shape)
            .ok_or_else(|| format!("{} {:?} is not there", tensor.name, tensor.shape))?;
        let expected = values(&library, index, u64::MAX);
        let got = values(&ours, own, u64::MAX);
        let wrong = got
            .iter()
            .zip(&expected)
            .filter(|(a, b)| rounded(tensor.ty, **a) != **b);
        if let Some((a, b)) = wrong.clone().next() {
            let count = wrong.count();
            return Err(format!(
                "{}: {count} of {} differ, as {a:e} from {b:e} ({:?})",
                tensor.name,
                got.len(),
                tensor.ty
            ));
        }
        compared += got.len();
    }
    if ours.tensors().len() != library.tensors().len() {
        return Err("the libraries' model has other tensors".to_owned());
    }
    Ok(compared)
}

#[test]
#[ignore = "needs models that py/published_quantizations.py makes, in QUANTSMITH_QUANTIZED"]
fn published_quantizations_are_what_their_libraries_decode() {
    let dir = std::env::var_os("QUANTSMITH_QUANTIZED").expect("QUANTSMITH_QUANTIZED names no directory");
    let dir = Path::new(&dir);
    let mut kinds: Vec<_> = std::fs::read_dir(dir.join("quantized"))
        .unwrap()
        .map(|item| item.unwrap().file_name())
        .collect();
    kinds.sort();
    let mut wrong = 0;
    for kind in &kinds {
        let [quantized, plain] = ["quantized", "plain"].map(|side| dir.join(side).join(kind));
        match compare_with_library(&quantized, &plain) {
            Ok(compared) => println!("{}: {compared} weights equal", kind.display()),
            Err(difference) => {
                println!("{}: {difference}", kind.display());
                wrong += 1;
            }
        }
    }
    assert!(kinds.len() >= 40, "{} kinds", kinds.len());
    assert_eq!(wrong, 0);
}
