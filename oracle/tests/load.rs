//! Our `verify` against stock llama.cpp's loader: what it refuses, we refuse.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use convert::verify::Severity;
use gguf::GgufModel;
use oracle::mutants::{Mutant, Small, mutants};
use oracle::mutations::{Random, mutate};
use oracle::{architectures, loading, python};

/// Verdicts of both sides on a file.
struct Verdict {
    stock: String,
    /// Our findings that make the file useless.
    ours: Vec<String>,
}

/// Errors of our check.
fn ours(path: &Path) -> Vec<String> {
    let model = match GgufModel::open(path) {
        Ok(model) => model,
        Err(e) => return vec![e.to_string()],
    };
    match convert::verify::check(&model, &|_| ()) {
        Err(e) => vec![e.to_string()],
        Ok(findings) => findings
            .into_iter()
            .filter(|f| f.severity == Severity::Error)
            .map(|f| f.message)
            .collect(),
    }
}

/// Both verdicts of each mutant of a model.
fn verdicts(python: &oracle::Python, mutants: &[Mutant]) -> Vec<Verdict> {
    let dir = tempfile::tempdir().unwrap();
    let mut paths = Vec::new();
    for (index, mutant) in mutants.iter().enumerate() {
        let path = dir.path().join(format!("{index}.gguf"));
        mutant.model.write(&path).unwrap();
        paths.push(path);
    }
    let stock = loading::of_models(python, &paths);
    let pairs = stock.into_iter().zip(&paths);
    pairs
        .map(|(stock, path)| Verdict {
            stock,
            ours: ours(path),
        })
        .collect()
}

/// Models of all architectures or only some: those of the converter's fixtures and of the forward pass's.
fn models(dir: &Path, only: &[&str]) -> BTreeMap<String, PathBuf> {
    let mut all = BTreeMap::new();
    let forward = Path::new(env!("CARGO_MANIFEST_DIR")).join("../reference/tests/fixtures/forward");
    for entry in std::fs::read_dir(architectures::fixtures())
        .unwrap()
        .chain(std::fs::read_dir(forward).unwrap())
    {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if !only.is_empty() && !only.contains(&name.as_str()) {
            continue;
        }
        match path.extension().and_then(|e| e.to_str()) {
            Some("gguf") => drop(all.insert(name, path)),
            Some("json") => {
                let fixture = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
                let folder = dir.join(&name);
                let model = folder.join("model");
                std::fs::create_dir_all(&model).unwrap();
                architectures::make(&fixture, &model);
                let out = dir.join(format!("{name}.gguf"));
                architectures::convert_unchecked(&model, &out, &architectures::options(&model)).unwrap();
                std::fs::remove_dir_all(&folder).unwrap();
                all.insert(name, out);
            }
            _ => {}
        }
    }
    all
}

/// Counts of both sides' answers.
#[derive(Default)]
struct Counts {
    /// Models with nothing done to them that both accept.
    sound: usize,
    both_accept: usize,
    stock_alone_refuses: usize,
    we_alone_refuse: usize,
    both_refuse: usize,
}

impl Counts {
    /// Counts a file; prints what only one side refuses. Whether both accept it.
    fn add(&mut self, name: &str, mutant: &Mutant, verdict: &Verdict) -> bool {
        let ours = verdict.ours.first().map_or("", |o| o);
        let line = [name, mutant.kind, &mutant.subject, &verdict.stock, ours].join("\t");
        match (verdict.stock.is_empty(), verdict.ours.is_empty()) {
            (true, true) => self.both_accept += 1,
            (false, false) => self.both_refuse += 1,
            (false, true) => {
                self.stock_alone_refuses += 1;
                println!("stock alone\t{line}");
            }
            (true, false) => {
                self.we_alone_refuse += 1;
                println!("we alone\t{line}");
            }
        }
        verdict.stock.is_empty() && verdict.ours.is_empty()
    }
}

/// Those mutants of models that `keep` takes, at most `most` of each.
fn compare(only: &[&str], most: usize, keep: impl Fn(&Mutant) -> bool) -> Option<Counts> {
    let python = python()?;
    let dir = tempfile::tempdir().unwrap();
    let mut counts = Counts::default();
    let models: Vec<(String, Small)> = models(dir.path(), only)
        .into_iter()
        .map(|(name, path)| (name, Small::read(&path).unwrap()))
        .collect();
    let wholes: Vec<Mutant> = models
        .iter()
        .map(|(_, model)| Mutant {
            kind: "none",
            subject: String::new(),
            model: model.clone(),
        })
        .collect();
    let verdicts_of_wholes = verdicts(&python, &wholes);
    let mut sound = Vec::new();
    for ((name, model), (whole, verdict)) in models.iter().zip(wholes.iter().zip(&verdicts_of_wholes)) {
        if counts.add(name, whole, verdict) {
            sound.push((name, model));
        }
    }
    counts.sound = sound.len();
    let mut random = Random(2026);
    for (name, model) in sound {
        let mut all = mutants(model);
        all.retain(&keep);
        while all.len() > most {
            all.swap_remove(random.below(all.len()));
        }
        for (mutant, verdict) in all.iter().zip(verdicts(&python, &all)) {
            counts.add(name, mutant, &verdict);
        }
    }
    println!(
        "both accept {}, stock alone refuses {}, we alone refuse {}, both refuse {}",
        counts.both_accept, counts.stock_alone_refuses, counts.we_alone_refuse, counts.both_refuse
    );
    Some(counts)
}

#[test]
fn what_stock_refuses_we_refuse() {
    let models = [
        "llama",
        "qwen2",
        "gemma2",
        "qwen35",
        "lfm2moe",
        "t5encoder",
        "dflash-2",
        "dspark-draft",
        "eagle3-llama",
        "arwkv7",
        "bailingmoe3",
        "gemma3n",
        "gemma4-assistant",
        "hy_v4",
        "minimax-m3",
        "muse-glimmer",
        "cogvlm",
        "deepseek4",
        "kimi-k3",
        "pockettts",
        "qwen3tts",
        "qwen4exp",
        "wavtokenizer-dec",
    ];
    let Some(counts) = compare(&models, 60, |_| true) else {
        return;
    };
    assert_eq!(counts.sound, models.len());
    assert!(counts.both_accept > 30 && counts.both_refuse > 150);
    assert_eq!(counts.stock_alone_refuses, 0);
}

/// The cases that the last run over all architectures found.
#[test]
fn what_stock_refuses_we_refuse_where_we_once_did_not() {
    let subjects = [
        "laguna.leading_dense_block_count",
        "lfm2.embedding_length_out",
        "blk.0.attn_norm.bias",
        "blk.0.ffn_norm.bias",
        "output_norm.bias",
        "dflash.attention.compress_ratios",
        "dflash.expert_feed_forward_length",
        "blk.0.attn_kv.scale",
        "blk.0.attn_output_a.weight",
        "kimi-k3.expert_shared_count",
        "qwen3tts.attention.head_count_kv",
        "qwen4exp.attention.compress_ratios",
        "qwen4exp.attention.head_count_kv",
        "dbrx.feed_forward_length",
        "deci.rope.dimension_count",
        "granitehybrid.feed_forward_length",
        "blk.1.ffn_gate_exps.weight",
        "blk.1.ffn_gate_shexp.weight",
        "qwen3next.expert_shared_feed_forward_length",
        "blk.0.ffn_gate_inp_shexp.weight",
    ];
    let models = [
        "dbrx",
        "deci",
        "dflash-deepseek4",
        "glm-dsa",
        "granitehybrid-bamba",
        "kimi-k3",
        "laguna-elements",
        "lfm2-dense",
        "nemotron",
        "pockettts",
        "qwen3next",
        "qwen3tts",
        "qwen4exp",
    ];
    let Some(counts) = compare(&models, usize::MAX, |m| subjects.contains(&m.subject.as_str())) else {
        return;
    };
    assert_eq!(counts.sound, models.len());
    assert!(counts.both_accept >= models.len() && counts.both_refuse >= subjects.len());
    assert_eq!(counts.stock_alone_refuses, 0);
}

#[test]
#[ignore = "all mutants of all architectures: half an hour"]
fn what_stock_refuses_we_refuse_of_all_architectures() {
    let only = std::env::var("QUANTSMITH_ONLY").unwrap_or_default();
    let only: Vec<&str> = only.split(',').filter(|o| !o.is_empty()).collect();
    let kinds = std::env::var("QUANTSMITH_KINDS").unwrap_or_default();
    compare(&only, usize::MAX, |m| {
        kinds.is_empty() || kinds.split(',').any(|k| k == m.kind)
    });
}

/// Converts directories of mutated configurations. What is written, `verify` accepts and stock llama.cpp loads.
fn converted_files_load(runs: usize) {
    let Some(python) = python() else { return };
    let dir = tempfile::tempdir().unwrap();
    let read =
        |path: &Path| -> serde_json::Value { serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap() };
    let mut bases = Vec::new();
    for entry in std::fs::read_dir(architectures::fixtures()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if path.extension().is_some_and(|e| e == "json") {
            bases.push((name, path));
        }
    }
    bases.sort();
    let mut random = Random(41);
    let (mut converted, mut batch, mut wrong) = (0, Vec::new(), Vec::new());
    let configurations: Vec<serde_json::Value> = bases
        .iter()
        .map(|(_, path)| read(path)["config"].clone())
        .collect();
    for run in 0..runs {
        let (name, path) = &bases[run % bases.len()];
        let model = dir.path().join(name).join("model");
        if !model.exists() {
            std::fs::create_dir_all(&model).unwrap();
            architectures::make(&read(path), &model);
        }
        let mut config = configurations[run % bases.len()].clone();
        let other = &configurations[random.below(bases.len())];
        for _ in 0..=random.below(3) {
            mutate(config.as_object_mut().unwrap(), other, &mut random);
        }
        std::fs::write(model.join("config.json"), config.to_string()).unwrap();
        let out = dir.path().join(format!("{run}.gguf"));
        if architectures::convert(&model, &out, false).is_ok() {
            converted += 1;
            let found = ours(&out);
            // Ids outside of a vocabulary and bytes without tokens do not keep llama.cpp from loading it.
            let harmless = |m: &&String| m.contains("of a vocabulary of") || m.contains("256 byte tokens");
            if let Some(first) = found.iter().find(|m| !harmless(m)) {
                wrong.push(format!("{name}: verify: {first}: {config}"));
            }
            if name == loading::UNKNOWN {
                std::fs::remove_file(out).unwrap();
            } else {
                batch.push((name.clone(), config, out));
            }
        }
        if batch.len() == 200 || run + 1 == runs {
            let paths: Vec<PathBuf> = batch.iter().map(|(_, _, out)| out.clone()).collect();
            for ((name, config, out), answer) in batch.drain(..).zip(loading::of_models(&python, &paths)) {
                std::fs::remove_file(out).unwrap();
                if !answer.is_empty() {
                    wrong.push(format!("{name}: stock {answer}: {config}"));
                }
            }
        }
    }
    println!(
        "{runs} configurations, {converted} converted, {} of them refused afterwards",
        wrong.len()
    );
    for line in &wrong {
        println!("{line}");
    }
    assert!(wrong.is_empty(), "{} converted files are refused", wrong.len());
}

#[test]
fn converted_files_of_mutated_configurations_load() {
    converted_files_load(250);
}

#[test]
#[ignore = "ten thousand conversions"]
fn converted_files_of_many_mutated_configurations_load() {
    let runs = std::env::var("QUANTSMITH_RUNS").ok().and_then(|n| n.parse().ok());
    converted_files_load(runs.unwrap_or(10_000));
}
