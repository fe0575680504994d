//! No command writes over what it was given to read, by whatever name it is called.

#![cfg(unix)]

use crate::support;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};

use support::{DEMO, names, quantsmith, succeeds, text};

/// The width of the demo model.
const WIDTH: u64 = 256;

const SAME: &str = "input and output are the same file";

/// Every file below a folder with its bytes and its number.
fn contents(folder: &Path) -> BTreeMap<PathBuf, (u64, Vec<u8>)> {
    let mut found = BTreeMap::new();
    for name in names(folder) {
        let path = folder.join(name);
        if path.is_dir() {
            found.extend(contents(&path));
        } else {
            let number = fs::metadata(&path).unwrap().ino();
            found.insert(path.clone(), (number, fs::read(&path).unwrap()));
        }
    }
    found
}

/// A folder with one of everything that commands read.
struct Bench(tempfile::TempDir);

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let bench = Self(dir);
        fs::create_dir(bench.at("model")).unwrap();
        for file in fs::read_dir(DEMO).unwrap().map(|f| f.unwrap().path()) {
            if file.is_file() {
                fs::copy(&file, bench.at("model").join(file.file_name().unwrap())).unwrap();
            }
        }
        let (model, f16) = (bench.at("model"), bench.at("f16.gguf"));
        succeeds(&["convert", text(&model), text(&f16), "--outtype", "f16"]);
        succeeds(&[
            "split",
            text(&f16),
            text(&bench.at("cut")),
            "--split-max-tensors",
            "40",
        ]);
        succeeds(&[
            "imatrix",
            text(&f16),
            text(&Path::new(DEMO).join("eval.txt")),
            "--chunks",
            "2",
            "-c",
            "64",
            "-o",
            text(&bench.at("matrix.gguf")),
        ]);
        fs::copy(Path::new(DEMO).join("eval.txt"), bench.at("text.txt")).unwrap();
        fs::write(bench.at("rules.txt"), "attn_v=q8_0\n").unwrap();
        fs::write(bench.at("names.json"), "{\"general.name\": \"Bench\"}").unwrap();
        fs::write(bench.at("template.txt"), "{{ messages }}").unwrap();
        fs::create_dir(bench.at("adapter")).unwrap();
        let config = r#"{"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]}"#;
        fs::write(bench.at("adapter").join("adapter_config.json"), config).unwrap();
        let mut pair = support::directory::Tensors::default();
        let name = "base_model.model.model.layers.0.self_attn.q_proj.lora";
        let zeros = vec![0; 4 * 4 * WIDTH as usize];
        pair.add(&format!("{name}_A.weight"), "F32", &[4, WIDTH], &zeros);
        pair.add(&format!("{name}_B.weight"), "F32", &[WIDTH, 4], &zeros);
        pair.write(&bench.at("adapter").join("adapter_model.safetensors"));
        bench
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

/// Runs a command line, in which `OUT` stands for the output, with the output spelled in every way that leads to
/// `input`. It has to fail with one of `messages` and to change nothing.
#[track_caller]
fn refused(bench: &Bench, args: &[&str], input: &str, messages: &[&str]) {
    let input = bench.at(input);
    let folder = input.parent().unwrap();
    let name = input.file_name().unwrap();
    let inside = folder.file_name().unwrap();
    let dots = folder.join(".").join("..").join(inside).join(name);
    let (soft, hard) = (bench.at("soft-name"), bench.at("hard-name"));
    symlink(&input, &soft).unwrap();
    fs::hard_link(&input, &hard).unwrap();
    for output in [&input, &dots, &soft, &hard] {
        spelled(bench, args, output, messages);
    }
    fs::remove_file(soft).unwrap();
    fs::remove_file(hard).unwrap();
}

#[track_caller]
fn spelled(bench: &Bench, args: &[&str], output: &Path, messages: &[&str]) {
    let before = contents(bench.0.path());
    let args: Vec<String> = args
        .iter()
        .map(|arg| match arg.strip_prefix('@') {
            Some(name) => text(&bench.at(name)).to_owned(),
            None => arg.replace("OUT", text(output)),
        })
        .collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = quantsmith(&args).output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert_eq!(done.status.code(), Some(1), "{args:?}: {said}");
    assert!(messages.iter().any(|m| said.contains(m)), "{args:?}: {said}");
    assert!(!said.contains("windows  "), "{args:?} worked first: {said}");
    let after = contents(bench.0.path());
    let changed: Vec<_> = before
        .keys()
        .chain(after.keys())
        .filter(|k| before.get(*k) != after.get(*k))
        .collect();
    assert!(changed.is_empty(), "{args:?} changed {changed:?}");
}

#[test]
fn by_commands_that_convert() {
    let bench = Bench::new();
    for input in [
        "model/model.safetensors",
        "model/config.json",
        "model/tokenizer.json",
    ] {
        refused(
            &bench,
            &["convert", "@model", "OUT", "--outtype", "f16"],
            input,
            &[SAME],
        );
        refused(
            &bench,
            &["convert", "@model", "OUT", "--outtype", "Q8_0", "--resume"],
            input,
            &[SAME],
        );
    }
    let metadata = ["convert", "@model", "OUT", "--metadata", "@names.json"];
    refused(&bench, &metadata, "names.json", &[SAME]);
    let matrix = [
        "convert",
        "@model",
        "OUT",
        "--outtype",
        "Q4_K_M",
        "--imatrix",
        "@matrix.gguf",
    ];
    refused(&bench, &matrix, "matrix.gguf", &[SAME]);
    let rules = [
        "convert",
        "@model",
        "OUT",
        "--outtype",
        "Q4_K_M",
        "--tensor-type-file",
        "@rules.txt",
    ];
    refused(&bench, &rules, "rules.txt", &[SAME]);
    let lora = ["convert-lora", "@adapter", "--base", "@model", "--outfile", "OUT"];
    for input in [
        "adapter/adapter_model.safetensors",
        "adapter/adapter_config.json",
        "model/config.json",
    ] {
        refused(&bench, &lora, input, &[SAME]);
    }
    refused(
        &bench,
        &["export", "@f16.gguf", "OUT"],
        "f16.gguf",
        &["exists already"],
    );
}

#[test]
fn by_commands_that_quantize() {
    let bench = Bench::new();
    for command in [
        &["quantize", "@f16.gguf", "OUT", "Q4_0"][..],
        &["convert", "@model", "OUT", "--outtype", "Q4_0"],
    ] {
        let learned = ["--optimize", "layer", "--optimize-text", "@text.txt"];
        refused(&bench, &[command, &learned].concat(), "text.txt", &[SAME]);
    }
    refused(
        &bench,
        &["quantize", "@f16.gguf", "OUT", "Q8_0"],
        "f16.gguf",
        &[SAME],
    );
    let first = names(bench.0.path())
        .into_iter()
        .find(|n| n.starts_with("cut-00001"))
        .unwrap();
    let second = names(bench.0.path())
        .into_iter()
        .find(|n| n.starts_with("cut-00002"))
        .unwrap();
    let of_shards = ["quantize", &format!("@{first}"), "OUT", "Q8_0"];
    refused(&bench, &of_shards, &second, &[SAME]);
    let matrix = [
        "quantize",
        "--imatrix",
        "@matrix.gguf",
        "@f16.gguf",
        "OUT",
        "Q4_K_M",
    ];
    refused(&bench, &matrix, "matrix.gguf", &[SAME]);
    let rules = [
        "quantize",
        "--tensor-type-file",
        "@rules.txt",
        "@f16.gguf",
        "OUT",
        "Q4_K_M",
    ];
    refused(&bench, &rules, "rules.txt", &[SAME]);
    // The temporary file of an output is written too.
    fs::rename(bench.at("f16.gguf"), bench.at(".o.gguf.partial")).unwrap();
    let partial = ["quantize", "@.o.gguf.partial", "OUT", "Q8_0"];
    spelled(&bench, &partial, &bench.at("o.gguf"), &["temporary file"]);
}

#[test]
fn by_table_and_hash() {
    let bench = Bench::new();
    let out = bench.at("out");
    fs::create_dir(&out).unwrap();
    let run = [
        "table",
        "@f16.gguf",
        "--types",
        "Q8_0,Q4_K,Q4_K_M",
        "--no-eval",
        "--out",
        "OUT",
    ];
    for (name, args) in [("f16-Q8_0.gguf", &run[..]), ("f16-Q4_K_M.gguf", &run)] {
        fs::hard_link(bench.at("f16.gguf"), out.join(name)).unwrap();
        spelled(&bench, args, &out, &[SAME]);
        fs::remove_file(out.join(name)).unwrap();
        symlink(bench.at("f16.gguf"), out.join(name)).unwrap();
        spelled(&bench, args, &out, &[SAME]);
        fs::remove_file(out.join(name)).unwrap();
    }
    let evaluated = [
        "table",
        "@f16.gguf",
        "--types",
        "Q8_0",
        "--text",
        "@text.txt",
        "-c",
        "64",
        "--out",
        "OUT",
    ];
    let calibrated = [&evaluated[..], &["--calibration", "@text.txt"]].concat();
    for (args, input) in [(&evaluated[..], "f16.gguf"), (&calibrated, "text.txt")] {
        fs::hard_link(bench.at(input), out.join("f16-imatrix.gguf")).unwrap();
        spelled(&bench, args, &out, &[SAME]);
        fs::remove_file(out.join("f16-imatrix.gguf")).unwrap();
    }
    // A list of digests in another form is the user's, and found before the work.
    fs::write(out.join("SHA256SUMS"), "notes of mine\n").unwrap();
    spelled(&bench, &evaluated, &out, &["SHA256SUMS"]);
    fs::remove_file(out.join("SHA256SUMS")).unwrap();
    fs::copy(bench.at("f16.gguf"), out.join("a.gguf")).unwrap();
    fs::hard_link(out.join("a.gguf"), out.join("SHA256SUMS")).unwrap();
    spelled(&bench, &["hash", "--write", "OUT"], &out, &["SHA256SUMS"]);
}

#[test]
fn by_imatrix_and_perplexity() {
    let bench = Bench::new();
    let run = ["imatrix", "@f16.gguf", "@text.txt", "-c", "64", "-o", "OUT"];
    for input in ["f16.gguf", "text.txt"] {
        refused(&bench, &run, input, &[SAME]);
    }
    let of_directory = ["imatrix", "@model", "@text.txt", "-c", "64", "-o", "OUT"];
    refused(&bench, &of_directory, "model/model.safetensors", &[SAME]);
    let merged = ["imatrix", "--in-file", "@matrix.gguf", "-o", "OUT"];
    refused(&bench, &merged, "matrix.gguf", &[SAME]);
    fs::hard_link(bench.at("text.txt"), bench.at("new.gguf.checkpoint")).unwrap();
    spelled(&bench, &run, &bench.at("new.gguf"), &[SAME]);
    let logits = [
        "perplexity",
        "@f16.gguf",
        "@text.txt",
        "-c",
        "64",
        "--save-all-logits",
        "OUT",
    ];
    for input in ["f16.gguf", "text.txt"] {
        refused(&bench, &logits, input, &[SAME]);
    }
}

#[test]
fn by_commands_that_copy() {
    let bench = Bench::new();
    let shard = names(bench.0.path())
        .into_iter()
        .find(|n| n.starts_with("cut-00001"))
        .unwrap();
    let whole = bench.at("f16.gguf");
    // One name of the shards is the input's.
    for link in [fs::hard_link::<&Path, PathBuf>, |a: &Path, b: PathBuf| {
        symlink(a, b)
    }] {
        link(&whole, bench.at("new-00001-of-00001.gguf")).unwrap();
        let split = ["split", "@f16.gguf", "OUT", "--split-max-tensors", "4000"];
        spelled(&bench, &split, &bench.at("new"), &[SAME]);
        fs::remove_file(bench.at("new-00001-of-00001.gguf")).unwrap();
    }
    let merge = ["merge", &format!("@{shard}"), "OUT"];
    refused(&bench, &merge, &shard, &[SAME, "exists already"]);
    let set = [
        "meta",
        "set",
        "@f16.gguf",
        "general.name=a longer name",
        "-o",
        "OUT",
    ];
    fs::hard_link(&whole, bench.at("again.gguf")).unwrap();
    spelled(&bench, &set, &bench.at("again.gguf"), &[SAME]);
    fs::remove_file(bench.at("again.gguf")).unwrap();
    let template = [
        "meta",
        "set",
        "@f16.gguf",
        "--chat-template",
        "@template.txt",
        "-o",
        "OUT",
    ];
    refused(&bench, &template, "template.txt", &[SAME]);
    let copy = [
        "meta",
        "copy",
        &format!("@{shard}"),
        "@f16.gguf",
        "general.*",
        "-o",
        "OUT",
    ];
    refused(&bench, &copy, &shard, &[SAME]);
}

/// Files that are no input may be replaced, in the model's directory too; editing in place is what `meta` is for.
#[test]
fn outputs_are_replaced() {
    let bench = Bench::new();
    for _ in 0..2 {
        succeeds(&["convert", text(&bench.at("model")), "--outtype", "f16"]);
        succeeds(&[
            "quantize",
            text(&bench.at("f16.gguf")),
            text(&bench.at("q.gguf")),
            "Q8_0",
        ]);
        let (f16, model) = (bench.at("f16.gguf"), bench.at("model"));
        succeeds(&[
            "table",
            text(&f16),
            "--types",
            "Q8_0",
            "--no-eval",
            "--out",
            text(&model),
        ]);
    }
    let name = format!("general.name={}", "x".repeat(500));
    succeeds(&["meta", "set", text(&bench.at("q.gguf")), &name]);
    succeeds(&[
        "meta",
        "set",
        text(&bench.at("q.gguf")),
        "general.name=short",
        "-o",
        text(&bench.at("q.gguf")),
    ]);
}

/// A program that runs several commands: what one of them has read, the next may replace.
#[test]
fn until_the_command_ends() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let (first, second, third) = (at("first.gguf"), at("second.gguf"), at("third.gguf"));
    succeeds(&["convert", DEMO, text(&first)]);
    fs::copy(&first, &second).unwrap();
    let run = |from: &Path, to: &Path| {
        let args = ["quantsmith", "quantize", text(from), text(to), "Q8_0"];
        quantsmith_cli::cli::run(args.iter().map(Into::into))
    };
    assert_eq!(run(&first, &third), 0);
    assert_eq!(run(&second, &first), 0);
    assert_eq!(fs::read(&first).unwrap(), fs::read(&third).unwrap());
}
