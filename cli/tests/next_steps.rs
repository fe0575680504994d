//! Messages that say what to do next.

use crate::support;

use support::{DEMO, fails, has, quantsmith, succeeds, text};

/// Output of a command that is called wrongly.
fn usage(args: &[&str]) -> String {
    let done = quantsmith(args).output().unwrap();
    assert_eq!(done.status.code(), Some(2), "{args:?}");
    String::from_utf8_lossy(&done.stderr).into_owned()
}

#[test]
fn a_directory_given_to_quantize() {
    let message = fails(
        &["quantize", DEMO, "x.gguf", "Q5_K_M"],
        &["a directory, expected a GGUF file"],
    );
    has(
        &message,
        &[&format!("`quantsmith convert {DEMO} --outtype Q5_K_M`")],
    );
}

#[test]
fn an_unknown_preset() {
    let nearest = "\"Q4KM\" is no preset; nearest: Q4_K_M";
    let said = usage(&["quantize", "in.gguf", "out.gguf", "Q4KM"]);
    has(&said, &[nearest, "the presets are: ", "IQ4_XS"]);
    let said = usage(&["convert", DEMO, "--outtype", "Q4KM"]);
    has(&said, &[nearest, "bf16"]);
    fails(
        &["table", DEMO, "--types", "Q8_0,Q4KM", "--dry-run"],
        &[nearest, "the presets are: "],
    );
}

#[test]
fn a_text_that_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let model = support::tiny(&dir.path().join("m.gguf"), 1, |_, _, x| x);
    fails(
        &["perplexity", text(&model)],
        &[
            "the text to evaluate on is missing",
            "quantsmith perplexity MODEL TEXT",
            "wiki.test.raw",
        ],
    );
    fails(
        &["imatrix", text(&model)],
        &[
            "a text to calibrate on is missing",
            "quantsmith imatrix MODEL TEXT...",
        ],
    );
    let none = dir.path().join("none.txt");
    fails(
        &["table", DEMO, "--text", text(&none), "--types", "Q8_0"],
        &[
            text(&none),
            "No such file",
            "without one named, bundled text is used",
        ],
    );
    fails(
        &["table", DEMO, "--suite", text(&none), "--types", "Q8_0"],
        &[text(&none), "No such file", "`--suite builtin`"],
    );
}

#[test]
fn a_matrix_that_lacks_tensors() {
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("m.gguf");
    succeeds(&["convert", DEMO, text(&model), "--outtype", "bf16"]);
    let out = dir.path().join("o.gguf");
    let message = fails(
        &["quantize", text(&model), text(&out), "IQ2_XXS"],
        &["needs an importance matrix"],
    );
    for next in ["quantsmith imatrix MODEL TEXT", "--imatrix-missing uniform"] {
        has(&message, &[next]);
    }
    assert!(!out.exists());
}
