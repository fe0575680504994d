//! Conversion against llama.cpp's converter: whole files, byte by byte.
//!
//! The stock converter needs torch, so what it makes of a few tiny models is kept as digests. With a
//! Python that has the packages of `py/requirements-converter.txt`, the rest is one command:
//!
//! ```text
//! python oracle/py/transformers_models.py MODELS TOKENIZERS
//! QUANTSMITH_CONVERTER_PYTHON=python QUANTSMITH_MODELS=MODELS \
//!     cargo test -p quantsmith-oracle --test all -- --ignored convert::
//! ```

use std::path::{Path, PathBuf};
use std::process::Command;

use convert::digest::file_sha256;
use convert::pipeline::{PipelineOptions, execute};
use convert::plan::OutputPlan;
use convert::source::hf::{HfOptions, HfSource, OutType};

fn convert_to(model: &Path, outtype: &str, out: &Path) -> HfSource {
    let options = HfOptions::default().outtype(OutType::from_name(outtype).unwrap());
    let source = HfSource::open(model, &options).unwrap();
    let plan = OutputPlan::unquantized(out, &source, Vec::new()).unwrap();
    execute(&source, &[plan], &PipelineOptions::default(), &|_| {}).unwrap();
    source
}

#[test]
fn tiny_models_equal_the_stock_converters_files() {
    let Some(python) = oracle::python() else { return };
    let dir = tempfile::tempdir().unwrap();
    let models = dir.path().join("models");
    python.run("tiny_models.py", [models.as_os_str()]).unwrap();
    let mut compared = 0;
    for line in include_str!("../digests/convert.txt").lines() {
        let [model, outtype, expected] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("malformed line {line:?}")
        };
        let out = dir.path().join("out.gguf");
        convert_to(&models.join(model), outtype, &out);
        let digest = file_sha256(&out).unwrap();
        assert_eq!(digest, expected, "{model} as {outtype}");
        compared += 1;
    }
    assert_eq!(compared, 20);
}

#[test]
#[ignore = "needs a Python with torch and a folder of models: see the head of this file"]
fn models_equal_the_stock_converters_files() {
    let setting =
        |name: &str| PathBuf::from(std::env::var_os(name).unwrap_or_else(|| panic!("{name} is not set")));
    let (python, models) = (
        setting("QUANTSMITH_CONVERTER_PYTHON"),
        setting("QUANTSMITH_MODELS"),
    );
    let converter = oracle::reference_sources().unwrap().join("convert_hf_to_gguf.py");
    let dir = tempfile::tempdir().unwrap();
    let (ours, stock) = (dir.path().join("ours.gguf"), dir.path().join("stock.gguf"));
    let mut compared = 0;
    for item in std::fs::read_dir(models).unwrap() {
        let model = item.unwrap().path();
        for &outtype in OutType::NAMES {
            let done = Command::new(&python)
                .arg(&converter)
                .arg(&model)
                .args(["--outtype", outtype, "--outfile"])
                .arg(&stock)
                .env("HF_HUB_OFFLINE", "1")
                .output()
                .unwrap();
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
            let source = convert_to(&model, outtype, &ours);
            oracle::files::compare_with(&source, &stock).unwrap();
            let equal = std::fs::read(&ours).unwrap() == std::fs::read(&stock).unwrap();
            assert!(equal, "{} as {outtype}", model.display());
            eprintln!("equal: {} as {outtype}", model.display());
            compared += 1;
        }
    }
    assert!(compared > 0, "no models to compare");
}
