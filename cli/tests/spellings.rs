//! Flags as llama-imatrix and llama-perplexity spell them.

use crate::support;

use std::path::Path;

use support::{DEMO, fails, has, names, quantsmith, succeeds, text};
use tempfile::TempDir;

/// A model, and a text of some windows.
fn inputs() -> (TempDir, String, String) {
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("model.gguf");
    succeeds(&["convert", DEMO, text(&model), "--outtype", "q8_0"]);
    let words = dir.path().join("text.txt");
    let story: String = (0..400)
        .map(|i| format!("On day {i} the ship sailed {} miles to the west. ", i * 7 % 31))
        .collect();
    std::fs::write(&words, story).unwrap();
    let (model, words) = (text(&model).to_owned(), text(&words).to_owned());
    (dir, model, words)
}

#[test]
fn models_and_texts_by_flags() {
    let (dir, model, words) = inputs();
    let by = |args: &[&str]| succeeds(&[&["perplexity", "-c", "64", "--chunks", "2"], args].concat());
    let expected = by(&[&model, &words]);
    has(&expected, &["Final estimate"]);
    assert_eq!(by(&["-m", &model, "-f", &words]), expected);
    assert_eq!(by(&["-m", &model, &words]), expected);
    assert_eq!(by(&[&model, "--file", &words]), expected);
    fails(
        &["perplexity", "-f", &words],
        &["the model is missing", "-m MODEL -f TEXT"],
    );
    fails(
        &["perplexity", "-m", &model],
        &["the text to evaluate on is missing", "-f TEXT"],
    );
    fails(
        &["perplexity", "-m", &model, &words, "x"],
        &["one operand too many"],
    );

    let of = |name: &str, args: &[&str]| {
        let out = dir.path().join(name);
        succeeds(
            &[
                &[
                    "imatrix",
                    "-o",
                    text(&out),
                    "-c",
                    "64",
                    "--chunks",
                    "4",
                    "--no-ppl",
                ],
                args,
            ]
            .concat(),
        );
        std::fs::read(out).unwrap()
    };
    let expected = of("a.gguf", &[&model, &words]);
    assert!(of("b.gguf", &["-m", &model, "-f", &words]) == expected);
    assert!(of("c.gguf", &["-m", &model, &words, "-ofreq", "2"]) == expected);
    fails(&["imatrix", "-f", &words], &["the model is missing"]);
    fails(
        &["imatrix", "-m", &model],
        &["a text to calibrate on is missing", "-f TEXT"],
    );
}

/// A command over a model and a text by their flags.
fn by_flags<'a>(command: &'a str, model: &'a str, words: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&[command, "-m", model, "-f", words], more].concat()
}

/// A copy after so many windows is the matrix of those windows.
#[test]
fn copies_of_a_matrix() {
    let (dir, model, words) = inputs();
    let matrix = |name: &str, more: &[&str]| {
        let out = dir.path().join(name);
        let args = by_flags("imatrix", &model, &words, &["-o", text(&out), "-c", "2048"]);
        succeeds(&[&args[..], more].concat());
        std::fs::read(out).unwrap()
    };
    matrix("m.gguf", &["--chunks", "4", "--save-frequency", "2"]);
    let copies: Vec<String> = names(dir.path())
        .into_iter()
        .filter(|n| n.contains(".at_"))
        .collect();
    assert!(!copies.is_empty(), "{:?}", names(dir.path()));
    for copy in copies {
        let windows = copy.rsplit_once('_').unwrap().1;
        let alone = matrix("alone.gguf", &["--chunks", windows]);
        assert!(std::fs::read(dir.path().join(&copy)).unwrap() == alone, "{copy}");
    }
}

/// One flag for the logits: written without --kl-divergence, compared with where it is there.
#[test]
fn one_flag_for_logits() {
    let (dir, model, words) = inputs();
    let logits = dir.path().join("base.kld");
    let logits = text(&logits);
    let windows = ["-c", "64", "--chunks", "2"];
    let args = by_flags("perplexity", &model, &words, &windows);
    succeeds(&[&args[..], &["--kl-divergence-base", logits]].concat());
    let by = |args: &[&str]| {
        let base = ["perplexity", "-m", &model, "--json"];
        succeeds(&[&base[..], &windows, args].concat())
    };
    let ours = by(&["--kl-divergence", "--base", logits]);
    assert_eq!(by(&["--kl-divergence", "--kl-divergence-base", logits]), ours);
    assert_eq!(by(&["--kl-divergence", "--save-all-logits", logits]), ours);
    fails(
        &by_flags("perplexity", &model, &words, &["--kl-divergence"]),
        &["expected what to compare with", "--base"],
    );
}

#[test]
fn figures_while_it_runs() {
    let (_dir, model, words) = inputs();
    let windows = ["-c", "64", "--chunks", "3"];
    let figures = |more: &[&str]| {
        let args = by_flags("perplexity", &model, &words, &windows);
        let out = succeeds(&[&args[..], &["--ppl-output-type", "1"], more].concat());
        let lines = out
            .lines()
            .map(|l| l.split_whitespace().map(str::to_owned).collect());
        lines.collect::<Vec<Vec<String>>>()
    };
    let positions =
        |lines: &[Vec<String>]| -> Vec<String> { lines[..3].iter().map(|l| l[0].clone()).collect() };
    let lines = figures(&[]);
    assert_eq!(lines.len(), 4, "{lines:?}");
    assert_eq!(positions(&lines), ["0", "64", "128"]);
    // PPL is e to the mean.
    let (ppl, mean): (f64, f64) = (lines[2][1].parse().unwrap(), lines[2][2].parse().unwrap());
    assert!((mean.exp() - ppl).abs() < 1e-3 * ppl, "{lines:?}");
    let strided = figures(&["--ppl-stride", "16"]);
    assert_eq!(positions(&strided), ["0", "16", "32"]);
    assert_eq!(strided[0].len(), 2, "{strided:?}");
    let args = by_flags(
        "perplexity",
        &model,
        &words,
        &["-c", "64", "--ppl-stride", "1000"],
    );
    fails(&args, &["the stride: expected at least 1 token", "found 1000"]);
}

/// Lists of rules for many architectures.
#[test]
fn rules_that_match_nothing() {
    let (dir, model, _) = inputs();
    let out = dir.path().join("out.gguf");
    let run = |rules: &[&str]| {
        let mut args = vec!["quantize", "--allow-requantize"];
        for rule in rules {
            args.extend(["--tensor-type", rule]);
        }
        let done = quantsmith(&[&args[..], &[&model, text(&out), "Q4_K_M"]].concat())
            .output()
            .unwrap();
        let _ = std::fs::remove_file(&out);
        (
            done.status.success(),
            String::from_utf8_lossy(&done.stderr).into_owned(),
        )
    };
    let (done, said) = run(&["ffn_down=q8_0", "ffn_down_exps=q5_k"]);
    assert!(
        done && said
            .contains("warning: tensor type rule ffn_down_exps=q5_k has no effect: this model has no such"),
        "{said}"
    );
    // A slip is one in any list.
    let (done, said) = run(&["ffn_down=q8_0", "ffn_donw=q5_k"]);
    assert!(
        !done && said.contains("matches no tensor, nor any of another architecture"),
        "{said}"
    );
    let (done, said) = run(&["ffn_down_exps=q5_k"]);
    assert!(!done && said.contains("and no other rule does"), "{said}");
    let strict = quantsmith(&[
        "quantize",
        "--allow-requantize",
        "--strict",
        "--tensor-type",
        "ffn_down=q8_0",
        "--tensor-type",
        "ffn_down_exps=q5_k",
        &model,
        text(&out),
        "Q4_K_M",
    ]);
    let strict = { strict }.output().unwrap();
    assert!(
        String::from_utf8_lossy(&strict.stderr)
            .contains("strict, so rules for other architectures are refused"),
        "{strict:?}"
    );
    assert!(!Path::new(&out).exists());
}
