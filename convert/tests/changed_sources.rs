//! Weight files that another process writes to while they are open.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime};

use quantsmith_convert::source::hf::{HfOptions, HfSource};
use quantsmith_convert::source::{GgufSource, Source};

const DEMO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../assets/demo");

/// Reads the last tensor's first row, and the same again after `change`; what the second read says.
fn read_after(source: &dyn Source, change: impl FnOnce()) -> String {
    let tensor = source.tensors().len() - 1;
    let mut row = vec![0.0; source.tensors()[tensor].shape[0] as usize];
    source.read_rows(tensor, 0..1, &mut row).unwrap();
    change();
    match source.read_rows(tensor, 0..1, &mut row) {
        Ok(()) => "read".to_owned(),
        Err(e) => e.to_string(),
    }
}

/// Overwritten with the same length, lengthened, cut: an error that names the file. A file that replaces it under
/// its name is no change of the open one.
fn check(dir: &Path, name: &str, open: impl Fn() -> Box<dyn Source>) {
    let file = dir.join(name);
    let whole = fs::read(&file).unwrap();
    let put_back = || fs::write(&file, &whole).unwrap();
    // A clock that ticks slowly would not tell two writes apart.
    let later = || {
        let file = File::options().write(true).open(&file).unwrap();
        file.set_modified(SystemTime::now() + Duration::from_secs(5))
            .unwrap();
    };
    let length = |n: u64| {
        let file = File::options().write(true).open(&file).unwrap();
        file.set_len(n).unwrap();
    };
    let said = read_after(open().as_ref(), || {
        put_back();
        later();
    });
    assert!(
        said.contains(name) && said.contains("has written to the file"),
        "{said}"
    );
    put_back();
    let longer = whole.len() as u64 + 4096;
    for n in [longer, whole.len() as u64 - 1, 0] {
        let said = read_after(open().as_ref(), || length(n));
        assert!(
            said.contains(name) && said.contains(&format!("found {n}")),
            "{said}"
        );
        put_back();
    }
    let source = open();
    let said = read_after(source.as_ref(), || {
        fs::write(dir.join("new"), "other").unwrap();
        fs::rename(dir.join("new"), &file).unwrap();
    });
    assert_eq!(said, "read");
    drop(source);
    put_back();
}

#[test]
fn safetensors_and_gguf() {
    let dir = tempfile::tempdir().unwrap();
    for file in fs::read_dir(DEMO).unwrap().map(|f| f.unwrap().path()) {
        if file.is_file() {
            fs::copy(&file, dir.path().join(file.file_name().unwrap())).unwrap();
        }
    }
    let of_directory =
        || -> Box<dyn Source> { Box::new(HfSource::open(dir.path(), &HfOptions::default()).unwrap()) };
    check(dir.path(), "model.safetensors", of_directory);

    let file = dir.path().join("model.gguf");
    let source = of_directory();
    let plan = quantsmith_convert::plan::OutputPlan::unquantized(file.clone(), source.as_ref(), Vec::new());
    let options = quantsmith_convert::pipeline::PipelineOptions::default();
    quantsmith_convert::pipeline::execute(source.as_ref(), &[plan.unwrap()], &options, &|_| {}).unwrap();
    let of_file = || -> Box<dyn Source> { Box::new(GgufSource::open(&file).unwrap()) };
    check(dir.path(), "model.gguf", of_file);
}
