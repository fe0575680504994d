//! Memory that `reference::memory` expects, beside what stock llama.cpp reports on loading the same file.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use convert::plan::OutputPlan;
use convert::quantize::{QuantizeOptions, plan as plan_quantization};
use convert::recipe::Preset;
use convert::source::Source;
use convert::source::hf::{HfOptions, HfSource, OutType};
use gguf::{FilePlan, GgufModel, OpenOptions, TensorType};
use oracle::{architectures, loading, python};
use reference::memory::{Memory, Settings, estimate};
use serde_json::{Value, json};

const MIB: f64 = 1048576.0;

/// A file in a context.
struct Case {
    path: PathBuf,
    settings: Settings,
    /// Whether stock loads the weights; otherwise they are holes.
    alloc: bool,
}

/// Stock's reports, in order.
fn stock(python: &oracle::Python, cases: &[Case]) -> Vec<Value> {
    let request = |case: &Case| {
        let s = case.settings;
        let request = json!({
            "path": case.path, "context": s.context, "sequences": s.sequences, "batch": s.batch, "unified": s.unified,
            "key_type": s.key_type.name(), "value_type": s.value_type.name(), "flash": s.flash, "alloc": case.alloc,
        });
        format!("{request}\n")
    };
    let answers = loading::requests(python, "stock_memory.py", cases.iter().map(request).collect());
    let parsed = answers.iter().map(|line| serde_json::from_str(line).unwrap());
    parsed.collect()
}

/// Our expectation of a file, from its header.
fn ours(case: &Case) -> Memory {
    let options = OpenOptions::default().allow_missing_data(true);
    let model = GgufModel::open_with(&case.path, options).unwrap();
    estimate(model.metadata(), model.tensors().map(|t| t.info), &case.settings).unwrap()
}

/// Every architecture's fixture: weights, cache and states are stock's, for caches of two types, one sequence and
/// three with caches of their own, and two that share one.
#[test]
fn weights_caches_and_states_are_stocks() {
    let Some(python) = python() else { return };
    let temporary = tempfile::tempdir().unwrap();
    let mut cases = Vec::new();
    let mut paths: Vec<PathBuf> = std::fs::read_dir(architectures::fixtures())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "json"))
        .collect();
    paths.sort();
    for path in paths {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let fixture: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        // A draft model runs in the context of its target, which stock does not make from a file alone.
        if fixture["target"].is_object() {
            continue;
        }
        let dir = temporary.path().join(&name);
        std::fs::create_dir(&dir).unwrap();
        architectures::make(&fixture, &dir);
        let out = temporary.path().join(format!("{name}.gguf"));
        if architectures::convert(&dir, &out, false).is_err() {
            // Files that llama.cpp does not load; tests/architectures.rs has them.
            continue;
        }
        for settings in [
            Settings::default().context(8192),
            Settings::default()
                .context(3 * 8192)
                .sequences(3)
                .key_type(TensorType::F32),
            Settings::default()
                .context(8192)
                .sequences(2)
                .unified(true)
                .batch(64),
        ] {
            cases.push(Case {
                path: out.clone(),
                settings,
                alloc: true,
            });
        }
    }
    let (mut wrong, mut compared) = (Vec::new(), 0);
    for (case, stock) in cases.iter().zip(stock(&python, &cases)) {
        let name = case.path.file_stem().unwrap().to_str().unwrap();
        if let Some(error) = stock["error"].as_str() {
            // Vocabularies of fixtures that its loader refuses, graphs that it cannot run on three sequences.
            println!("{name}: {error}");
            continue;
        }
        compared += 1;
        let memory = ours(case);
        for (what, ours) in [
            ("model", memory.weights() as f64),
            ("cache", memory.cache() as f64),
            ("states", memory.states() as f64),
            ("output", memory.logits as f64),
        ] {
            let (ours, theirs) = (ours / MIB, stock[what].as_f64().unwrap());
            // The log has two decimals of each of several numbers.
            if (ours - theirs).abs() > 0.025 + theirs * 1e-4 {
                wrong.push(format!(
                    "{name}: {what}: {ours:.3}, stock {theirs:.3} of {:?}",
                    case.settings
                ));
            }
        }
    }
    println!("{compared} of {} cases compared", cases.len());
    assert!(
        compared * 10 > cases.len() * 9,
        "{compared} of {} cases compared",
        cases.len()
    );
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        compared * 4,
        wrong.join("\n")
    );
}

/// A file with this header and a hole in place of its data.
fn hollow(plan: &OutputPlan<'_>, path: &Path) {
    let plan: FilePlan = plan.file_plan().unwrap();
    let file = std::fs::File::create(path).unwrap();
    (&file).write_all(&plan.header_bytes().unwrap()).unwrap();
    file.set_len(plan.file_size()).unwrap();
}

/// Files of the shapes of published models.
fn published(python: &oracle::Python, dir: &Path) -> Vec<PathBuf> {
    let names = python.run("published_shapes.py", [dir]).unwrap();
    let mut files = Vec::new();
    for name in names.lines() {
        let options = HfOptions::default()
            .outtype(OutType::Lossless)
            .headers_suffice(true)
            .pre_tokenizer(Some("llama-bpe".to_owned()));
        let source = HfSource::open(&dir.join(name), &options).unwrap();
        let preset = Preset::parse("Q4_K_M").unwrap();
        let out = dir.join(format!("{name}.gguf"));
        let plan = plan_quantization(&source, &out, &QuantizeOptions::new(preset), None).unwrap();
        hollow(&plan.outputs[0], &out);
        assert!(!source.tensors().is_empty());
        files.push(out);
    }
    files
}

/// A share in percent; what rounds to nothing has no sign.
fn signed(share: f64, digits: usize) -> String {
    let text = format!("{:+.digits$}", share * 100.0);
    match text.trim_start_matches(['+', '-', '0', '.']).is_empty() {
        true => format!("{:.digits$}", 0.0),
        false => text,
    }
}

/// Bounds of the relative error of the computation's buffer, which is estimated, and of everything together.
const COMPUTE: std::ops::RangeInclusive<f64> = -0.12..=0.09;
const TOTAL: f64 = 0.012;

/// Models of published shapes at Q4_K_M, in contexts of several kinds: caches and states are stock's, buffers are within
/// the bounds that docs/fit.md gives, and its table is what is measured here.
#[test]
fn published_models_take_what_stock_reports() {
    let Some(python) = python() else { return };
    let temporary = tempfile::tempdir().unwrap();
    let mut cases = Vec::new();
    let usual = Settings::default().context(32768);
    for path in published(&python, temporary.path()) {
        for settings in [
            usual,
            usual.context(4096),
            usual.key_type(TensorType::Q8_0).value_type(TensorType::Q8_0),
            usual.context(16384).batch(2048),
            usual.context(16384).flash(false),
            usual.sequences(4),
        ] {
            cases.push(Case {
                path: path.clone(),
                settings,
                alloc: false,
            });
        }
    }
    let (mut wrong, mut table) = (Vec::new(), String::new());
    for (case, stock) in cases.iter().zip(stock(&python, &cases)) {
        let name = case.path.file_stem().unwrap().to_str().unwrap();
        assert!(stock["error"].is_null(), "{name}: {stock}");
        let memory = ours(case);
        let theirs = |what: &str| stock[what].as_f64().unwrap();
        let mib = |bytes: u64| bytes as f64 / MIB;
        for (what, ours) in [
            ("cache", memory.cache()),
            ("states", memory.states()),
            ("output", memory.logits),
        ] {
            if (mib(ours) - theirs(what)).abs() > 0.025 + theirs(what) * 1e-4 {
                wrong.push(format!(
                    "{name}: {what}: {:.2}, stock {:.2}",
                    mib(ours),
                    theirs(what)
                ));
            }
        }
        let compute = mib(memory.compute) / theirs("compute") - 1.0;
        // Stock loads no weights here; those of every architecture are compared above.
        let fixed = mib(memory.weights() + memory.cache() + memory.states() + memory.logits);
        let total = (fixed + mib(memory.compute)) / (fixed + theirs("compute")) - 1.0;
        let line = format!(
            "{name}: compute {:.2}, stock {:.2} ({:+.1} %), total {:+.2} % of {:?}",
            mib(memory.compute),
            theirs("compute"),
            compute * 100.0,
            total * 100.0,
            case.settings
        );
        println!("{line}");
        if !COMPUTE.contains(&compute) || total.abs() > TOTAL {
            wrong.push(line);
        }
        if case.settings == usual {
            table += &format!(
                "| {name} | {:.0} | {:.0} | {:.0} | {:.0} | {:.0} | {} % | {} % |\n",
                mib(memory.weights()),
                mib(memory.cache()),
                mib(memory.states()),
                mib(memory.compute),
                theirs("compute"),
                signed(compute, 1),
                signed(total, 2)
            );
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        cases.len(),
        wrong.join("\n")
    );
    let docs = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/fit.md")).unwrap();
    assert!(
        docs.contains(&table),
        "docs/fit.md has another table than:\n{table}"
    );
}
