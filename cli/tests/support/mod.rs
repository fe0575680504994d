//! Helpers of the command's tests.
#![allow(dead_code, reason = "not every test uses all of it")]

pub(crate) mod directory;
pub(crate) mod parts;

use std::fs;
use std::io::Write as _;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::Output;

use assert_cmd::Command;
use gguf::{FilePlan, Metadata, TensorType, Writer};
use serde_json::Value as Json;

/// The demo model: a Hugging Face directory.
pub(crate) const DEMO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../assets/demo");

pub(crate) fn quantsmith(args: &[&str]) -> Command {
    let mut command = Command::cargo_bin("quantsmith").unwrap();
    command.args(args);
    command
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Runs a command that has to succeed; its standard output.
#[track_caller]
pub(crate) fn succeeds(args: &[&str]) -> String {
    let done = quantsmith(args).output().unwrap();
    assert!(
        done.status.success(),
        "{args:?}: {}{}",
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr)
    );
    String::from_utf8(done.stdout).unwrap()
}

/// Runs a command that has to succeed; its report.
#[track_caller]
pub(crate) fn json(args: &[&str]) -> Json {
    serde_json::from_str(&succeeds(args)).unwrap()
}

/// Runs a command that has to exit with 1 and to have this in its messages, which are returned.
#[track_caller]
pub(crate) fn fails(args: &[&str], parts: &[&str]) -> String {
    told(&quantsmith(args).output().unwrap(), parts)
}

/// The messages of a run that has to have exited with 1, with one line that says `error: `.
#[track_caller]
pub(crate) fn told(done: &Output, parts: &[&str]) -> String {
    let message = String::from_utf8_lossy(&done.stderr).into_owned();
    assert_eq!(done.status.code(), Some(1), "{message}");
    let errors = message.lines().filter(|l| l.starts_with("error: ")).count();
    assert_eq!(errors, 1, "one clear message is expected: {message}");
    assert!(!message.contains("panicked"), "{message}");
    has(&message, parts);
    message
}

/// A text that has to have all of these in it.
#[track_caller]
pub(crate) fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
}

/// Names in a directory, sorted.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = folder
        .read_dir()
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Record of a run in a table's directory; there are times in it.
pub(crate) const OF_THE_RUN: [&str; 2] = ["convert.log", "table.json"];

/// Names in a table's directory but those, sorted.
pub(crate) fn products(folder: &Path) -> Vec<String> {
    let mut names = names(folder);
    names.retain(|name| !OF_THE_RUN.contains(&name.as_str()));
    names
}

/// The matrices of a layer of a Llama.
pub(crate) const MATRICES: [&str; 7] = [
    "attn_q",
    "attn_k",
    "attn_v",
    "attn_output",
    "ffn_gate",
    "ffn_up",
    "ffn_down",
];

/// A file of these tensors in f32. `change` may change any weight.
pub(crate) fn written(
    path: &Path,
    metadata: Metadata,
    tensors: Vec<(String, Vec<u64>)>,
    change: impl Fn(&str, usize, f32) -> f32,
) -> PathBuf {
    let tensors = tensors
        .into_iter()
        .map(|(name, shape)| (name, shape, TensorType::F32));
    let plan = FilePlan::new(metadata, tensors.collect::<Vec<_>>()).unwrap();
    let writer = Writer::create(path, &plan).unwrap();
    for (index, tensor) in plan.tensors.iter().enumerate() {
        let bytes: Vec<u8> = (0..tensor.elements() as usize)
            .map(|i| ((i * 7919 + 13 * index) % 1000) as f32 / 1000.0 - 0.5)
            .enumerate()
            .flat_map(|(i, w)| change(&tensor.name, i, w).to_le_bytes())
            .collect();
        writer.write_at(index, 0, &bytes).unwrap();
    }
    writer.finish().unwrap();
    path.to_path_buf()
}

/// A file of these tensors whose data is a hole, so that it takes no room. Its plan.
pub(crate) fn hollow(
    path: &Path,
    metadata: Metadata,
    tensors: Vec<(String, Vec<u64>, TensorType)>,
) -> FilePlan {
    let plan = FilePlan::new(metadata, tensors).unwrap();
    let mut file = fs::File::create(path).unwrap();
    file.write_all(&plan.header_bytes().unwrap()).unwrap();
    file.set_len(plan.file_size()).unwrap();
    plan
}

/// A tiny Llama in f32 with rows of 256 and a byte-pair vocabulary of 20 tokens. `change` may change any
/// weight.
pub(crate) fn tiny(path: &Path, layers: u32, change: impl Fn(&str, usize, f32) -> f32) -> PathBuf {
    let mut m = Metadata::new();
    m.set("general.architecture", "llama");
    m.set("general.name", "Tiny");
    m.set("llama.block_count", layers);
    m.set("llama.context_length", 64u32);
    m.set("llama.embedding_length", 256u32);
    m.set("llama.feed_forward_length", 256u32);
    m.set("llama.attention.head_count", 4u32);
    m.set("llama.attention.layer_norm_rms_epsilon", 1e-5f32);
    m.set("tokenizer.ggml.model", "gpt2");
    m.set("tokenizer.ggml.pre", "gpt-2");
    let tokens: Vec<String> = (0..20u8).map(|i| char::from(b'a' + i).to_string()).collect();
    m.set("tokenizer.ggml.tokens", tokens);
    m.set("tokenizer.ggml.token_type", vec![1i32; 20]);
    m.set("tokenizer.ggml.merges", Vec::<String>::new());
    m.set("tokenizer.ggml.eos_token_id", 19u32);
    let mut tensors = vec![
        ("token_embd.weight".to_owned(), vec![256, 20]),
        ("output_norm.weight".to_owned(), vec![256]),
    ];
    for layer in 0..layers {
        let named = |name: &str| format!("blk.{layer}.{name}.weight");
        tensors.extend(MATRICES.map(|name| (named(name), vec![256, 256])));
        tensors.extend(["attn_norm", "ffn_norm"].map(|name| (named(name), vec![256])));
    }
    written(path, m, tensors, change)
}

/// The weights as they are.
pub(crate) fn plain(_: &str, _: usize, weight: f32) -> f32 {
    weight
}

/// A text of so many bytes that repeats little.
pub(crate) fn calibration(dir: &Path, bytes: usize) -> PathBuf {
    random_text(&dir.join("calibration.txt"), bytes, 1, b' '..=b'~')
}

/// A text of so many of these characters.
pub(crate) fn random_text(path: &Path, bytes: usize, seed: u32, of: RangeInclusive<u8>) -> PathBuf {
    let mut state = seed;
    let letters: String = (0..bytes)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            char::from(of.start() + (state >> 24) as u8 % (of.end() - of.start() + 1))
        })
        .collect();
    fs::write(path, letters).unwrap();
    path.to_path_buf()
}

/// A Llama of one block with rows of 32.
pub(crate) fn narrow(dir: &Path) -> PathBuf {
    let model = directory::model(|name, i| {
        let shift = name.len() as u64 * 31;
        ((i as u64 * 7919 + shift * shift) % 1000) as f32 / 1000.0 - 0.5
    });
    let file = dir.join("narrow.gguf");
    succeeds(&["convert", text(model.path()), text(&file), "--outtype", "f32"]);
    file
}

/// A legacy importance matrix with `columns` values for these tensors.
pub(crate) fn imatrix(path: &Path, names: &[&str], columns: usize) -> PathBuf {
    let mut bytes = (names.len() as i32).to_le_bytes().to_vec();
    for name in names {
        bytes.extend((name.len() as i32).to_le_bytes());
        bytes.extend(name.as_bytes());
        bytes.extend(1i32.to_le_bytes());
        bytes.extend((columns as i32).to_le_bytes());
        bytes.extend((0..columns).flat_map(|i| (1.0 + i as f32).to_le_bytes()));
    }
    fs::write(path, bytes).unwrap();
    path.to_path_buf()
}

/// The finished record of a table without times.
#[track_caller]
pub(crate) fn timeless(folder: &Path) -> Json {
    let mut value: Json = serde_json::from_slice(&fs::read(folder.join("table.json")).unwrap()).unwrap();
    assert_eq!(value["state"], "finished");
    assert!(value["times"]["finished"].is_string());
    value["times"].take();
    value
}

/// A generator of reproducible numbers.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn step(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        self.0
    }

    /// A number of 31 bits.
    pub(crate) fn next(&mut self) -> u64 {
        self.step() >> 33
    }

    /// A number from 0 up to 1.
    pub(crate) fn share(&mut self) -> f64 {
        (self.step() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// A copy of the demo model's directory that can be damaged.
pub(crate) fn demo_copy(to: &Path) -> PathBuf {
    let model = to.join("Demo");
    fs::create_dir(&model).unwrap();
    for name in [
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "model.safetensors",
    ] {
        fs::copy(Path::new(DEMO).join(name), model.join(name)).unwrap();
    }
    model
}
