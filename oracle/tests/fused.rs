//! `--fuse-qkv` and `--fuse-gate-up-exps` against the stock converter's files, and what runs afterwards.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;

use convert::source::Source;
use convert::source::hf::{HfOptions, HfSource};
use oracle::architectures::{
    Made, compare_digests, convert_as, convert_unchecked, directory, fixture, fixtures, options,
};
use reference::Model;

/// Output of py/fused_digests.py: fixture, flag, digest or "fails".
const DIGESTS: &str = include_str!("../digests/fused.txt");

/// Output of py/joined_tensors.py.
const PLACES: &str = include_str!("../../convert/src/source/hf/joined_tensors.txt");

/// Files of the stock converter that ours refuses or makes otherwise, by fixture, flag and a part of the message.
const REFUSED: [(&str, &str); 6] = [
    // llama.cpp reads the stock converter's files, and ends where it computes with them.
    ("qwen4exp qkv", "its graph takes queries by themselves"),
    ("qwen4exp-image qkv", "its graph takes queries by themselves"),
    ("jina-bert-v2-code qkv", "norms of queries and keys by themselves"),
    // The stock converter waits for gates that these experts do not have, and leaves them out.
    ("nemotron_h-moe experts", "expected both halves"),
    ("nemotron_h_moe-puzzle experts", "expected both halves"),
    // The stock converter has no way to plain experts of this class; the fixture's file is made with others of its parts.
    ("deepseek4-plain experts", "expected an architecture with a place"),
];

/// Fixtures whose files do not load, joined or not, and what we say of them: see tests/architectures.rs.
const NOT_LOADED: [(&str, &str); 2] = [
    ("bert-classifier-plain", "tensor 'cls.weight'"),
    ("bert-xlm-roberta", "\"<pad>\" is there twice"),
];

/// A fixture that differs from the stock converter's with and without the flags, and the digests of ours: see
/// tests/architectures.rs.
const OUTSIDE: [(&str, &str); 2] = [
    (
        "hunyuan-moe",
        "69df9c0cde4b97b0c04c2e9c122ce8502e0410e85348e16018b2c7b8c370ac4f",
    ),
    (
        "hunyuan-moe qkv",
        "bce94c95667f6a1c18ea9fe2e0821f574002113332cdbaa23da4c584e3eab0bc",
    ),
];

fn with_flag(dir: &Path, flag: &str) -> HfOptions {
    options(dir)
        .fuse_qkv(flag == "qkv")
        .fuse_gate_up_exps(flag == "experts")
}

/// The list with the lines that it leaves out: fixtures that a flag changes nothing of.
fn all_digests() -> String {
    let listed = DIGESTS.lines().filter_map(|line| line.rsplit_once(' '));
    let listed: HashMap<&str, &str> = listed.collect();
    let ours: HashMap<&str, &str> = OUTSIDE.into_iter().collect();
    let mut all = String::new();
    for entry in std::fs::read_dir(fixtures()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|end| end != "json") {
            continue;
        }
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let plain = fixture(&name)["sha256"].as_str().unwrap().to_owned();
        let plain = ours.get(&*name).map_or(plain, |&digest| digest.to_owned());
        for flag in ["qkv", "experts"] {
            let case = format!("{name} {flag}");
            let digest = ours.get(&*case).or_else(|| listed.get(&*case));
            writeln!(all, "{case} {}", digest.copied().unwrap_or(&plain)).unwrap();
        }
    }
    all
}

/// Whether what the flag is for is there, and stays apart without a word.
fn is_apart_in_silence(source: &HfSource) -> bool {
    let names: Vec<&str> = source.tensors().iter().map(|t| t.name.as_str()).collect();
    let at = |block: usize, part: &str| names.contains(&&*format!("blk.{block}.attn_{part}.weight"));
    let is_whole = |block: usize| at(block, "qkv") && at(block, "output");
    let is_apart = |block: usize| ["q", "k", "v"].iter().all(|part| at(block, part));
    let said = source.warnings().iter().any(|w| w.contains("stay apart"));
    let blocks = || 0..8;
    !said && blocks().any(is_apart) && !blocks().any(is_whole)
}

/// Beginnings of the names of fixtures whose checkpoints have queries, keys and values in one tensor, which comes apart
/// whatever the flags say.
const TAKEN_APART: [&str; 6] = [
    "baichuan",
    "bailingmoe",
    "hrm_text",
    "internlm2",
    "pockettts",
    "refact",
];

#[test]
fn joined_tensors_are_the_stock_converters() {
    compare_digests(&all_digests(), 500, |[name, flag, expected], dir, out| {
        let options = with_flag(dir, flag);
        let refused = REFUSED.iter().find(|(case, _)| *case == format!("{name} {flag}"));
        let not_loaded = NOT_LOADED.iter().find(|(case, _)| *case == name);
        let says = match (refused.or(not_loaded), expected) {
            (Some((_, says)), _) => says,
            // Only where the graph has no place for the whole.
            (None, "fails") if flag == "experts" => "fuse_gate_up_exps",
            (None, _) => "",
        };
        let done = convert_as(dir, out, &options);
        let source = match (done, says) {
            (Ok(source), "") => source,
            (Err(message), says) if !says.is_empty() && message.contains(says) => {
                if not_loaded.is_none() {
                    return Ok(Made::Nothing);
                }
                convert_unchecked(dir, out, &options)?
            }
            (other, says) => return Err(format!("expected {says:?}, found {:?}", other.err())),
        };
        if flag == "qkv" && is_apart_in_silence(&source) && !TAKEN_APART.iter().any(|a| name.starts_with(a)) {
            return Err("not said to be apart".to_owned());
        }
        Ok(Made::File)
    });
}

/// The places for joined tensors are those of the stock converter's own list.
#[test]
fn places_are_those_of_the_stock_converter() {
    let (Some(python), Some(sources)) = (oracle::python(), oracle::reference_sources()) else {
        return;
    };
    assert_eq!(python.run("joined_tensors.py", [&sources]).unwrap(), PLACES);
}

/// Joined and apart, a model computes the same.
#[test]
fn joined_tensors_compute_the_same() {
    let tokens: Vec<u32> = (0..12).map(|i| (i * 29 + i * i * 7) % 300).collect();
    for (name, flag) in [
        ("llama", "qkv"),
        ("qwen2", "qkv"),
        ("gemma3", "qkv"),
        ("olmo2", "qkv"),
        ("qwen35moe", "experts"),
        ("cohere2moe", "experts"),
        ("deepseek2-ocr", "experts"),
        ("qwen35", "qkv"),
        ("kimi-linear", "qkv"),
        ("gemma3n", "qkv"),
        ("gemma4", "qkv"),
        ("gemma4-small", "qkv"),
        ("qwen4exp", "experts"),
        ("deci", "qkv"),
        ("xverse", "qkv"),
        ("glm4moe", "qkv"),
        ("qwen3next", "qkv"),
        ("qwen3next", "experts"),
        ("granitehybrid", "qkv"),
        ("llama4", "qkv"),
    ] {
        let temporary = tempfile::tempdir().unwrap();
        let dir = directory(name, temporary.path());
        let run = |flag: &str| {
            let out = temporary.path().join("out.gguf");
            let source = convert_as(&dir, &out, &with_flag(&dir, flag)).unwrap();
            let joined = source
                .tensors()
                .iter()
                .filter(|t| t.name.contains("attn_qkv.weight") || t.name.contains("ffn_gate_up_exps"));
            let joined = joined.count();
            let model = Model::load(&out).unwrap();
            (
                joined,
                model.forward(&[&tokens], 0..tokens.len(), None).unwrap().data,
            )
        };
        let (apart, expected) = run("");
        let (joined, got) = run(flag);
        assert!(joined > apart, "{name}");
        let far = got
            .iter()
            .zip(&expected)
            .map(|(a, b)| (a - b).abs())
            .fold(0f32, f32::max);
        assert!(far < 1e-4, "{name}: {far}");
    }
}
