//! The models of `fixtures/architectures` in other types than F32: Q8_0 and the source's own by the stock converter, and
//! K-quants by stock llama.cpp's quantizer.

use std::path::Path;

use convert::pipeline::PipelineOptions;
use convert::quantize::{self, QuantizeOptions};
use convert::recipe::Preset;
use convert::source::GgufSource;
use convert::source::hf::OutType;
use oracle::architectures::{Made, compare_digests, convert_as, convert_unchecked, directory, options};
use oracle::loading;
use serde_json::json;

/// Output of py/typed_digests.py: fixture, type, digest or "fails".
const DIGESTS: &str = include_str!("../digests/typed.txt");

/// Preset of K-quants that has further types by the place of a tensor, and its number in llama.cpp.
const MIXTURE: (Preset, u32) = (Preset::Q4_K_M, 15);

fn converted(dir: &Path, out: &Path, outtype: &str) -> Result<(), String> {
    let outtype = OutType::from_name(outtype).unwrap();
    convert_as(dir, out, &options(dir).outtype(outtype)).map(|_| ())
}

#[test]
fn types_of_the_converter_are_the_stock_converters() {
    compare_digests(DIGESTS, 100, |[_, outtype, _], dir, out| {
        converted(dir, out, outtype).map(|()| Made::File)
    });
}

/// Quantizes the files of fixtures on both sides, and returns what differs.
fn differences(names: &[&str]) -> Option<Vec<String>> {
    let python = oracle::python()?;
    let temporary = tempfile::tempdir().unwrap();
    let file = |name: &str, end: &str| temporary.path().join(format!("{name}{end}.gguf"));
    let mut jobs = Vec::new();
    for name in names {
        let dir = directory(name, temporary.path());
        convert_unchecked(&dir, &file(name, ""), &options(&dir)).unwrap();
        jobs.push(json!({"input": file(name, ""), "output": file(name, "-stock"), "file_type": MIXTURE.1}));
    }
    let list = temporary.path().join("jobs.json");
    std::fs::write(&list, serde_json::to_vec(&jobs).unwrap()).unwrap();
    let printed = python.run("quantize_many.py", [&list]).unwrap();
    let codes: Vec<i64> = serde_json::from_str(printed.trim()).unwrap();
    let mut wrong = Vec::new();
    for (name, code) in names.iter().zip(codes) {
        let quantized = || -> convert::Result<()> {
            let source = GgufSource::open(&file(name, ""))?;
            let options = QuantizeOptions::new(MIXTURE.0).allow_incomplete(true);
            let plan = quantize::plan(&source, &file(name, "-ours"), &options, None)?;
            quantize::run(&source, &plan, &PipelineOptions::default(), None, &|_| {})
        };
        match (code, quantized()) {
            (0, Ok(())) => {
                let read = |end| std::fs::read(file(name, end)).unwrap();
                if read("-ours") != read("-stock") {
                    wrong.push(format!("{name}: bytes differ"));
                }
            }
            (0, Err(e)) => wrong.push(format!("{name}: only ours fails: {e}")),
            (code, Ok(())) => wrong.push(format!("{name}: only stock fails ({code})")),
            (_, Err(_)) => {}
        }
    }
    Some(wrong)
}

/// The classes that came last; of older ones `quantize.rs` has the types of every preset.
#[test]
fn k_quants_of_converted_models_are_stock_quantizers() {
    let mut names: Vec<&str> = DIGESTS
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    names.dedup();
    names.retain(|name| *name != loading::UNKNOWN);
    let Some(wrong) = differences(&names) else { return };
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(names.len() >= 50);
}
