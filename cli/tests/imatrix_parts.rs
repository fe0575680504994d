//! Importance matrices made in parts.

use crate::support;

use std::fs;
use std::path::Path;

use support::{fails, succeeds};

/// Parts of any cut, made on any number of threads and joined in any order, are one run to the byte.
#[test]
fn importance_in_parts_is_that_of_one_run() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (model, calibration) = (at("model.gguf"), at("text.txt"));
    succeeds(&["convert", support::DEMO, &model, "--outtype", "f16"]);
    let words = fs::read_to_string(Path::new(support::DEMO).join("eval.txt")).unwrap();
    fs::write(&calibration, &words).unwrap();
    // Steps of eight windows; 21 windows are no whole number of them.
    let options = ["-c", "256", "--chunks", "21", "--process-output"];
    let whole = at("whole.gguf");
    succeeds(&[&["imatrix", &model, &calibration, "-o", &whole][..], &options].concat());
    let expected = fs::read(&whole).unwrap();
    let run = |part: &str, threads: &str| {
        let out = at("parts.gguf");
        let args = [
            "imatrix",
            &model,
            &calibration,
            "-o",
            &out,
            "--part",
            part,
            "--threads",
            threads,
        ];
        succeeds(&[&args[..], &options].concat());
    };
    for count in [1, 2, 3, 5] {
        let mut files = Vec::new();
        for number in (1..=count).rev() {
            run(&format!("{number}/{count}"), &(1 + number % 3).to_string());
            files.push(at(&format!("parts.gguf.part-{number}-of-{count}")));
        }
        let joined = at("joined.gguf");
        let mut args = vec!["imatrix", "--join", "-o", &joined];
        args.extend(files.iter().map(String::as_str));
        succeeds(&args);
        assert!(fs::read(&joined).unwrap() == expected, "{count} parts");
    }
    let (first, second, third) = (
        at("parts.gguf.part-1-of-3"),
        at("parts.gguf.part-2-of-3"),
        at("parts.gguf.part-3-of-3"),
    );
    let out = at("out.gguf");
    let join = ["imatrix", "--join", "-o", &out];
    fails(
        &[&join[..], &[&first, &third]].concat(),
        &["part-3-of-3", "a part is missing"],
    );
    fails(
        &[&join[..], &[&first, &second]].concat(),
        &["the last part is missing"],
    );
    fails(
        &[&join[..], &[&first, &first, &second, &third]].concat(),
        &["windows in two parts"],
    );
    fails(
        &[&join[..], &[&whole]].concat(),
        &["whole.gguf", "a part of a collection"],
    );
    // A part of other options, and what is no part for those who read importance.
    succeeds(&[
        "imatrix",
        &model,
        &calibration,
        "-o",
        &at("parts.gguf"),
        "--part",
        "2/3",
        "-c",
        "256",
        "--chunks",
        "20",
    ]);
    fails(
        &[&join[..], &[&first, &second, &third]].concat(),
        &["a part of another run", "--chunks"],
    );
    fails(&["imatrix", "--in-file", &first, "-o", &out], &["general.type"]);
    assert!(!Path::new(&out).exists());
}
