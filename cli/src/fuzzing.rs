//! All fuzz targets by name, and a mutator of inputs for machines without a fuzzer.
//!
//! The targets of `fuzz/` call these; so do the replay of the corpora in the tests, and the driver
//! `mutate` of the conformance crate.

use std::path::Path;

use convert::export::ExportOptions;
use gguf::{Backing, FilePlan, GgufModel, Metadata, OpenOptions, TYPES};

/// A fuzz target.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name, which is that of its folders under `fuzz/corpus` and `fuzz/crashes`.
    pub name: &'static str,
    /// Its body. Any bytes may be given; a panic is a finding.
    pub run: fn(&[u8]),
}

/// Every target.
pub const TARGETS: &[Target] = &[
    target("gguf_header", gguf::fuzzing::header),
    target("gguf_round_trip", gguf::fuzzing::round_trip),
    target("gguf_shards", gguf::fuzzing::shards),
    target("gguf_commands", commands),
    target("encode", quants::fuzzing::encode),
    target("decode", quants::fuzzing::decode),
    target("imatrix", imatrix::fuzzing::load),
    target("safetensors", convert::fuzzing::safetensors),
    target("safetensors_index", convert::fuzzing::index),
    target("config_json", convert::fuzzing::config),
    target("whole", convert::fuzzing::whole),
    target("tokenizer_json", convert::fuzzing::tokenizer_json),
    target("sentencepiece", convert::fuzzing::sentencepiece),
    target("manifest", convert::fuzzing::manifest),
    target("recipe", convert::fuzzing::recipe),
    target("logits_file", reference::fuzzing::logits_file),
    target("tokenizer", reference::fuzzing::tokenizer),
    target("vocabulary", reference::fuzzing::vocabulary),
    target("forward", reference::fuzzing::forward),
    target("tasks", reference::fuzzing::tasks),
    target("undo_note", gguf::fuzzing::undo_note),
    target("journal", convert::fuzzing::journal),
    target("pytorch", convert::fuzzing::pytorch),
    target("pickle", convert::fuzzing::pickle),
    target("quantized", convert::fuzzing::quantized),
    target("adapter", convert::fuzzing::adapter),
    target("side_file", convert::fuzzing::side_file),
    target("export", export),
    target("digests", crate::commands::hash::read_manifest),
];

const fn target(name: &'static str, run: fn(&[u8])) -> Target {
    Target { name, run }
}

/// Runs the target of this name.
///
/// # Panics
/// When there is none, and when the target has found something.
pub fn run(name: &str, data: &[u8]) {
    let target = find(name).expect("a target of this name");
    (target.run)(data);
}

/// The target of this name.
pub fn find(name: &str) -> Option<Target> {
    TARGETS.iter().find(|t| t.name == name).copied()
}

/// A file through what `inspect` and `verify` do with it.
pub fn inspect_and_verify(path: &Path) {
    let headers = OpenOptions::default()
        .backing(Backing::File)
        .allow_missing_data(true);
    if let Ok(model) = GgufModel::open_single(path, headers) {
        crate::commands::inspect::report_everything(&model);
        let embedded = model.find("token_embd.weight").map(|i| model.info(i).rows());
        let _ = reference::tokenizer::check(model.metadata(), embedded);
        if model.has_data() {
            let _ = convert::verify::check(&model, &|_| {});
        }
    }
}

fn commands(data: &[u8]) {
    let Ok(file) = tempfile::NamedTempFile::new() else {
        return;
    };
    if std::fs::write(file.path(), data).is_ok() {
        inspect_and_verify(file.path());
    }
}

/// A GGUF file through what `export` does with it.
fn export(data: &[u8]) {
    let Ok(dir) = tempfile::tempdir() else { return };
    let path = dir.path().join("model.gguf");
    if std::fs::write(&path, data).is_ok()
        && let Ok(source) = convert::source::GgufSource::open(&path)
    {
        let _ = convert::export::export(&source, &dir.path().join("out"), ExportOptions::default());
    }
}

/// A small file that has every tensor type, a vocabulary, and every kind of value: the seed of mutations.
///
/// # Errors
/// When the plan or its writing fails.
pub fn seed_model(path: &Path) -> gguf::Result<()> {
    let mut m = Metadata::new();
    m.set("general.architecture", "llama");
    m.set("general.name", "seed");
    m.set("general.alignment", 32u32);
    m.set("llama.block_count", 1u32);
    m.set("tokenizer.ggml.model", "gpt2");
    m.set("tokenizer.ggml.pre", "gpt-2");
    m.set("tokenizer.ggml.tokens", vec!["a", "b", "ab", "<|end|>"]);
    m.set("tokenizer.ggml.scores", vec![0f32, -1.0, 1.5, 2.0]);
    m.set("tokenizer.ggml.token_type", vec![1i32, 1, 1, 3]);
    m.set("tokenizer.ggml.merges", vec!["a b"]);
    m.set("tokenizer.ggml.eos_token_id", 3u32);
    m.set("tokenizer.ggml.add_bos_token", false);
    m.set("x.u8", 1u8);
    m.set("x.i64", -1i64);
    m.set("x.f64", 0.5f64);
    m.set("x.bools", vec![true, false]);
    let nested = gguf::Array::Array(vec![
        gguf::Array::U16(vec![1, 2]),
        gguf::Array::String(vec!["s".into()]),
    ]);
    m.set_in_place("x.nested", gguf::Value::Array(nested));
    let mut tensors = vec![("token_embd.weight".to_owned(), vec![4, 4], gguf::TensorType::F32)];
    tensors.extend(TYPES.iter().map(|t| {
        let row = (t.block_len as u64).max(4);
        (format!("blk.0.{}.weight", t.name), vec![row], t.ty)
    }));
    let plan = FilePlan::new(m, tensors)?;
    let writer = gguf::Writer::create(path, &plan)?;
    for (index, tensor) in plan.tensors.iter().enumerate() {
        let weights: Vec<f32> = (0..tensor.elements()).map(|i| (i as f32 - 7.0) / 64.0).collect();
        let mut bytes = vec![0; tensor.size_bytes() as usize];
        let importance = vec![1.0; weights.len()];
        let row = tensor.row_len() as usize;
        let importance = &importance[..row];
        // Types without an encoder stay zeros.
        let _ = quants::encode(tensor.ty, &weights, row, Some(importance), &mut bytes);
        writer.write_at(index, 0, &bytes)?;
    }
    writer.finish()
}

/// Reproducible mutations of an input.
#[derive(Clone, Debug)]
pub struct Mutator(u64);

/// Numbers that parsers have stumbled over.
const NUMBERS: [u64; 18] = [
    0,
    1,
    2,
    7,
    31,
    32,
    255,
    256,
    1 << 16,
    (1 << 31) - 1,
    1 << 31,
    u32::MAX as u64,
    1 << 32,
    1 << 60,
    i64::MAX as u64,
    1 << 63,
    u64::MAX - 31,
    u64::MAX,
];

impl Mutator {
    /// Starts from a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(2).wrapping_add(1))
    }

    fn next(&mut self) -> u64 {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    /// A changed copy of `input`; parts of `other` may be spliced in.
    pub fn mutate(&mut self, input: &[u8], other: &[u8]) -> Vec<u8> {
        let mut out = input.to_vec();
        for _ in 0..1 + self.below(4) {
            // Half of the changes go to the front, where headers are.
            let room = if self.below(2) == 0 {
                out.len().min(512)
            } else {
                out.len()
            };
            let at = self.below(room.max(1)).min(out.len());
            match self.below(10) {
                0 | 1 if at < out.len() => out[at] ^= 1 << self.below(8),
                2 if at < out.len() => out[at] = self.next() as u8,
                3..=5 => {
                    let number = NUMBERS[self.below(NUMBERS.len())].wrapping_add(self.below(3) as u64);
                    let width = [1, 2, 4, 8][self.below(4)];
                    let end = (at + width).min(out.len());
                    let bytes = number.to_le_bytes();
                    out[at..end].copy_from_slice(&bytes[..end - at]);
                }
                6 => out.truncate(at),
                7 => {
                    let end = (at + 1 + self.below(64)).min(out.len());
                    out.drain(at..end);
                }
                8 => {
                    let end = (at + 1 + self.below(64)).min(out.len());
                    let part = out[at..end].to_vec();
                    let to = self.below(out.len() + 1);
                    out.splice(to..to, part);
                }
                _ => {
                    let from = self.below(other.len() + 1);
                    let end = (from + 1 + self.below(64)).min(other.len());
                    out.splice(at..at, other[from..end].iter().copied());
                }
            }
        }
        out
    }
}
