//! `--fuse-qkv` and `--fuse-gate-up-exps` against the stock converter's files, and what runs afterwards.

use std::path::Path;

use convert::pipeline::{PipelineOptions, execute};
use convert::plan::OutputPlan;
use convert::source::hf::{HfOptions, HfSource, OutType};
use oracle::architectures::{Made, compare_digests, directory, target_of};
use reference::Model;

/// Output of py/fused_digests.py: fixture, flag, digest or "fails".
const DIGESTS: &str = include_str!("../digests/fused.txt");

/// Fixtures whose stock file we do not make on purpose, and why.
const OTHER: [&str; 3] = [
    // It differs without the flag too: see tests/architectures.rs.
    "hunyuan-moe qkv",
    "bert-classifier-plain qkv",
    // The stock converter waits for gates that these experts do not have, and leaves them out.
    "nemotron_h-moe experts",
];

/// Beginnings of the names of fixtures whose queries, keys and values we leave apart: their graphs gate them, or have them
/// beside other kinds of layers, and are not run joined here.
const APART: [&str; 2] = ["qwen35", "kimi-linear"];

/// Converts a fixture's directory.
fn converted(dir: &Path, out: &Path, flag: &str) -> Result<HfSource, String> {
    let options = HfOptions::default()
        .outtype(OutType::F32)
        .pre_tokenizer(Some("gpt-2".to_owned()))
        .fuse_qkv(flag == "qkv")
        .fuse_gate_up_exps(flag == "experts")
        .target_model_dir(Some(target_of(dir)).filter(|target| target.is_dir()));
    let source = HfSource::open(dir, &options).map_err(|e| e.to_string())?;
    let plan = OutputPlan::unquantized(out, &source, Vec::new()).map_err(|e| e.to_string())?;
    execute(&source, &[plan], &PipelineOptions::default(), &|_| {}).map_err(|e| e.to_string())?;
    Ok(source)
}

#[test]
fn joined_tensors_are_the_stock_converters() {
    compare_digests(DIGESTS, 120, |[name, flag, expected], dir, out| {
        if OTHER.contains(&format!("{name} {flag}").as_str()) {
            return Ok(Made::Other);
        }
        let done = converted(dir, out, flag);
        if expected == "fails" {
            // Only where the graph has no place for the whole.
            return match done {
                Err(message) if message.contains("fuse_gate_up_exps") && flag == "experts" => {
                    Ok(Made::Nothing)
                }
                other => Err(format!("{:?}", other.err())),
            };
        }
        let source = done?;
        // What we do not join is said.
        if APART.iter().any(|a| name.starts_with(a)) && flag == "qkv" {
            return match source.warnings().iter().any(|w| w.contains("fuse_qkv")) {
                true => Ok(Made::Other),
                false => Err("not said to be apart".to_owned()),
            };
        }
        Ok(Made::File)
    });
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
    ] {
        let temporary = tempfile::tempdir().unwrap();
        let dir = directory(name, temporary.path());
        let run = |flag: &str| {
            let out = temporary.path().join("out.gguf");
            let source = converted(&dir, &out, flag).unwrap();
            let joined = convert::source::Source::tensors(&source)
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
