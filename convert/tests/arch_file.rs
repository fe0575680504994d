//! Bad descriptions of architectures: one clear message each, with the file, the line and what was expected.

use std::path::{Path, PathBuf};

use quantsmith_convert::arch::{printable, printed};
use quantsmith_convert::source::hf::{HfOptions, HfSource};
use serde_json::json;

/// A directory with a configuration of this class and no weights.
fn model(class: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let config = json!({
        "architectures": [class], "model_type": "llama", "hidden_size": 8, "intermediate_size": 8,
        "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 4,
    });
    std::fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
    dir
}

fn open(dir: &Path, file: PathBuf) -> String {
    let options = HfOptions::default().arch_file(Some(file));
    let error = HfSource::open(dir, &options)
        .expect_err("bad input was accepted")
        .to_string();
    assert!(!error.contains('\n') && error.len() < 2000, "{error:?}");
    error
}

/// The message of a description, which must name the file and hold all of `words`.
#[track_caller]
fn refused(text: &str, words: &[&str]) {
    let dir = model("LlamaForCausalLM");
    let path = dir.path().join("arch.toml");
    std::fs::write(&path, text).unwrap();
    let error = open(dir.path(), path);
    for word in ["arch.toml"].iter().chain(words) {
        assert!(error.contains(word), "{word:?} is not in {error:?}");
    }
}

/// Llama's description with a change.
#[track_caller]
fn changed(from: &str, to: &str, words: &[&str]) {
    let text = printed("llama").unwrap();
    assert!(text.contains(from), "{from:?} is not in {text}");
    refused(&text.replacen(from, to, 1), words);
}

#[test]
fn malformed_files_name_their_line() {
    refused("", &["line 1", "architecture"]);
    refused("architecture = ", &["line 1"]);
    refused("architecture = \"llama\"\nfoo = 1\n", &["line 2", "foo"]);
    refused(&"[".repeat(100_000), &["line"]);
    refused(&"a.".repeat(100_000), &["line"]);
    refused(&"x = 1\n".repeat(400_000), &["expected at most 1048576 bytes"]);
    let dir = model("LlamaForCausalLM");
    let path = dir.path().join("arch.toml");
    std::fs::write(&path, [0xff, 0xfe, 0]).unwrap();
    assert!(open(dir.path(), path).contains("UTF-8"));
    let missing = open(dir.path(), dir.path().join("none.toml"));
    assert!(missing.contains("none.toml"), "{missing}");
    // A description of another form, and a directory for a file.
    let config = dir.path().join("config.json");
    assert!(open(dir.path(), config).contains("config.json"));
    open(dir.path(), dir.path().to_path_buf());
}

#[test]
fn unknown_words_name_the_known_ones() {
    changed(
        "architecture = \"llama\"",
        "architecture = \"lama\"",
        &["line 2", "found \"lama\"", "general.architecture of llama.cpp"],
    );
    changed(
        "activation = \"silu\"",
        "activation = \"tanh\"",
        &["line 3", "found \"tanh\"", "silu, gelu"],
    );
    changed(
        "\"permute_query\"",
        "\"permutequery\"",
        &["found \"permutequery\"", "permute_query"],
    );
    changed("\"text_model\"", "\"text\"", &["found \"text\"", "text_model"]);
    changed(
        "computed = \"head_dim\"",
        "computed = \"head\"",
        &["found \"head\"", "even_head_dim"],
    );
    changed("\"byte_level\"", "\"bpe\"", &["found \"bpe\"", "byte_level"]);
    changed(
        "factors = \"llama3\"",
        "factors = \"llama4\"",
        &["found \"llama4\"", "longrope"],
    );
    changed(
        "[tokenizer]",
        "[tokenizer]\npre_tokenizer = \"none-such\"",
        &["none-such", "expected one of"],
    );
}

#[test]
fn rows_that_cannot_be_are_refused() {
    let row = "{ from = \"model.norm\", to = \"output_norm\" }";
    for (to, words) in [
        ("{ from = \"model.norm\" }", &["model.norm", "\"to\""][..]),
        (
            "{ from = \"model.norm.weight\", to = \"output_norm\" }",
            &[".weight", "whole_names"],
        ),
        (
            "{ from = \"model.{}.norm\", to = \"output_norm\" }",
            &["in both names or in neither"],
        ),
        (
            "{ from = \"model.{}.{}.norm\", to = \"output_norm\" }",
            &["at most one {}"],
        ),
        ("{ from = \"model.{e}.norm\", to = \"output_norm\" }", &["{e}"]),
        (
            "{ from = \"model.norm\", to = \"output_norm\", as = \"expert\" }",
            &["{e} for the expert"],
        ),
        (
            "{ from = \"model.norm\", to = \"output_norm\", as = \"skip\" }",
            &["left out"],
        ),
        (
            "{ from = \"model.norm\", to = \"output_norm\", as = \"add_one\", multiply = 2.0 }",
            &["one of them"],
        ),
        (
            "{ from = \"model.norm\", to = \"output_norm\", multiply = nan }",
            &["finite"],
        ),
        (
            "{ from = \"model.norm\", to = \"output_norm\", too = 1 }",
            &["too"],
        ),
        ("{ from = \"\", to = \"output_norm\" }", &["tensor ''"]),
    ] {
        let mut all = vec!["line"];
        all.extend(words);
        changed(row, to, &all);
    }
    let long = format!("{{ from = \"model.norm\", to = \"{}\" }}", "x".repeat(100));
    changed(row, &long, &["1 to"]);
}

#[test]
fn keys_that_cannot_be_are_refused() {
    let row = "{ key = \"vocab_size\", type = \"u32\", from = [\"vocab_size\"] }";
    for (to, words) in [
        ("{ key = \"vocab_size\" }", &["expected one of"][..]),
        (
            "{ key = \"vocab_size\", from = [\"vocab_size\"] }",
            &["expected \"type\""],
        ),
        (
            "{ key = \"vocab_size\", type = \"u32\", from = [] }",
            &["at least one"],
        ),
        (
            "{ type = \"u32\", from = [\"vocab_size\"] }",
            &["expected \"key\""],
        ),
        (
            "{ key = \"a b\", type = \"u32\", from = [\"vocab_size\"] }",
            &["letters"],
        ),
        ("{ key = \"x\", type = \"u32\", value = -1 }", &["value"]),
        ("{ key = \"x\", type = \"f32\", value = 1 }", &["decimal point"]),
        (
            "{ key = \"x\", type = \"u32\", value = 1, optional = true }",
            &["expected \"from\" beside"],
        ),
        ("{ refuse = \"x\" }", &["because"]),
        ("{ group = \"pooling\", key = \"x\" }", &["\"key\""]),
    ] {
        let mut all = vec!["line", "keys"];
        all.extend(words);
        changed(row, to, &all);
    }
    changed("rope_theta = 10000.0", "rope_theta = -1.0", &["rope_theta"]);
    changed(
        "vocab_size = 32000",
        "vocab_size = \"many\"",
        &["vocab_size", "expected a number"],
    );
    changed("[tokenizer]\n", "[fixed]\nx = 1\n\n[tokenizer]\n", &["fixed.x"]);
}

#[test]
fn a_description_is_of_its_classes_and_of_text_models() {
    let dir = model("FooForCausalLM");
    let path = dir.path().join("arch.toml");
    std::fs::write(&path, printed("gemma").unwrap()).unwrap();
    let error = open(dir.path(), path.clone());
    assert!(
        error.contains("found FooForCausalLM") && error.contains("GemmaForCausalLM"),
        "{error}"
    );
    let options = HfOptions::default().arch_file(Some(path)).mmproj(true);
    let error = HfSource::open(dir.path(), &options).unwrap_err().to_string();
    assert!(
        error.contains("arch.toml") && error.contains("(mmproj)"),
        "{error}"
    );
}

/// Descriptions with parts cut out or doubled are read or refused, and nothing else.
#[test]
fn mutilated_descriptions_never_panic() {
    let dir = model("LlamaForCausalLM");
    let path = dir.path().join("arch.toml");
    for name in printable() {
        let text = printed(name).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        for at in 0..lines.len() {
            for copies in [0, 2] {
                let mut all: Vec<&str> = lines[..at].to_vec();
                all.extend(std::iter::repeat_n(lines[at], copies));
                all.extend(&lines[at + 1..]);
                std::fs::write(&path, all.join("\n")).unwrap();
                let options = HfOptions::default().arch_file(Some(path.clone()));
                // The directory has no weights: it is refused for one reason or another.
                HfSource::open(dir.path(), &options).unwrap_err();
            }
        }
    }
}
