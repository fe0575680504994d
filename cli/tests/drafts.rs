//! `perplexity --draft`: how often a model accepts what a draft model proposes.

use crate::support;

use std::path::{Path, PathBuf};

use reference::{Draft, Model, Tokenizer};
use serde_json::Value;
use support::directory::{model, ramp};
use support::{DEMO, fails, json, quantsmith, succeeds, text};

/// The demo model, a draft of fewer bits, and a text.
fn demo(dir: &Path) -> [PathBuf; 3] {
    let [whole, draft, words] = ["whole.gguf", "draft.gguf", "text.txt"].map(|name| dir.join(name));
    succeeds(&["convert", DEMO, text(&whole)]);
    succeeds(&["quantize", "--pure", text(&whole), text(&draft), "Q4_0"]);
    let all = std::fs::read_to_string(Path::new(DEMO).join("eval.txt")).unwrap();
    std::fs::write(&words, &all[..all.floor_char_boundary(1500)]).unwrap();
    [whole, draft, words]
}

/// The figures of a report's drafts: of each length and way the share accepted whole and the tokens of a pass.
fn figures(report: &Value) -> Vec<[[f64; 2]; 3]> {
    let drafts = report["drafts"].as_array().unwrap();
    let of = |draft: &Value| {
        ["most_likely", "drawn", "rejection"].map(|way| {
            ["whole", "tokens_per_pass"].map(|figure| draft[way][figure]["value"].as_f64().unwrap())
        })
    };
    drafts.iter().map(of).collect()
}

fn close(a: f64, b: f64) {
    assert!((a - b).abs() < 1e-6, "{a} {b}");
}

#[test]
fn a_model_accepts_all_of_its_own_draft() {
    let dir = tempfile::tempdir().unwrap();
    let [whole, _, words] = demo(dir.path());
    let args = ["perplexity", text(&whole), text(&words), "-c", "32", "--json"];
    let alone = json(&args);
    let report = json(&[&args[..], &["--draft", text(&whole)]].concat());
    for (key, of_perplexity) in [
        ("ppl", "ppl"),
        ("draft_ppl", "ppl"),
        ("scored_tokens", "scored_tokens"),
    ] {
        close(
            report[key].as_f64().unwrap(),
            alone[of_perplexity].as_f64().unwrap(),
        );
    }
    assert_eq!(report["rounding"], "llama.cpp");
    assert_eq!(report["unpredicted_tokens"], 0);
    let figures = figures(&report);
    assert_eq!(figures.len(), 8);
    for (tokens, [most_likely, drawn, rejection]) in (2..).zip(&figures) {
        for all in [most_likely, rejection] {
            close(all[0], 1.0);
            close(all[1], f64::from(tokens));
        }
        assert!(drawn[0] < 0.9 && drawn[1] > 1.0, "{drawn:?}");
    }
    close(
        report["drafts"][7]["most_likely"]["whole"]["error"]
            .as_f64()
            .unwrap(),
        0.0,
    );
}

/// Probabilities of a row of logits, and the most likely token.
fn probabilities(logits: &[f32]) -> (Vec<f64>, usize) {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weights = logits.iter().map(|&x| f64::from(x - max).exp());
    let sum: f64 = weights.clone().sum();
    let top = logits.iter().position(|&x| x == max).unwrap();
    (weights.map(|w| w / sum).collect(), top)
}

/// The figures are those of what both predict of the text.
#[test]
fn figures_are_of_what_both_predict() {
    const CONTEXT: usize = 32;
    const LONGEST: usize = 3;
    let dir = tempfile::tempdir().unwrap();
    let [whole, draft, words] = demo(dir.path());
    let [more, args] = [
        vec!["--draft", text(&draft), "--draft-max", "3", "--rounding", "none"],
        vec![
            "perplexity",
            text(&whole),
            text(&words),
            "-c",
            "32",
            "--chunks",
            "4",
        ],
    ];
    let report = json(&[&args[..], &more, &["--json"]].concat());
    let [target, draft] = [&whole, &draft].map(|path| Model::load(path).unwrap());
    let tokenizer = Tokenizer::from_metadata(target.gguf().metadata()).unwrap();
    let tokens = tokenizer.encode(std::fs::read(&words).unwrap(), true, false);
    // Of each window, each length of a draft and each way: the share accepted whole.
    let mut windows = Vec::new();
    for window in tokens.chunks_exact(CONTEXT).take(4) {
        let mut window = window.to_vec();
        window[0] = tokenizer
            .bos()
            .filter(|_| tokenizer.add_bos())
            .unwrap_or(window[0]);
        let logits = [&target, &draft].map(|model| model.forward(&[&window], 0..CONTEXT, None).unwrap());
        // At each position and in each way, whether a token is accepted, and whether the text's is.
        let steps: Vec<[(f64, f64); 3]> = (CONTEXT / 2..CONTEXT - 1)
            .map(|at| {
                let [(p, best), (q, drafted)] =
                    [0, 1].map(|model: usize| probabilities(logits[model].row(at)));
                let next = window[at + 1] as usize;
                let same = f64::from(u8::from(best == drafted));
                let overlap = p.iter().zip(&q).map(|(a, b)| a.min(*b)).sum();
                [
                    (same, same),
                    (p[drafted], f64::from(u8::from(next == drafted))),
                    (overlap, (q[next] / p[next]).min(1.0)),
                ]
            })
            .collect();
        let whole = |len: usize, way: usize| {
            let starts = 0..=steps.len() - len;
            let count = starts.clone().count() as f64;
            let each = starts.map(|start| {
                let (last, before) = steps[start..start + len].split_last().unwrap();
                before.iter().map(|step| step[way].1).product::<f64>() * last[way].0
            });
            each.sum::<f64>() / count
        };
        windows.push([1, 2, 3].map(|len| [0, 1, 2].map(|way| whole(len, way))));
    }
    let mean = |len: usize, way: usize| windows.iter().map(|w| w[len][way]).sum::<f64>() / 4.0;
    let found = figures(&report);
    assert_eq!(found.len(), LONGEST);
    for (len, ways) in found.iter().enumerate() {
        for (way, [whole, tokens]) in ways.iter().enumerate() {
            close(*whole, mean(len, way));
            close(*tokens, 1.0 + (0..=len).map(|len| mean(len, way)).sum::<f64>());
        }
    }
    let first: Vec<f64> = windows.iter().map(|window| window[0][2]).collect();
    let squares: f64 = first.iter().map(|v| (v - mean(0, 2)).powi(2)).sum();
    let error = report["drafts"][0]["rejection"]["whole"]["error"]
        .as_f64()
        .unwrap();
    close(error, (squares / 3.0 / 4.0).sqrt());
    // A draft of fewer bits is not the model, but near it.
    assert!(found[0][0][0] > 0.5 && found[0][0][0] < 1.0, "{found:?}");

    let printed = succeeds(&[&args[..], &more].concat());
    let share = format!("{:.2} ± ", 100.0 * found[0][0][0]);
    assert!(printed.contains("60 tokens in 4 windows of 32"), "{printed}");
    assert!(printed.contains(&share), "{share:?} is not in {printed}");
}

/// The demo model with a vocabulary changed by `change`.
fn retold(from: &Path, to: &Path, change: impl FnOnce(&mut gguf::Metadata)) {
    let model = gguf::GgufModel::open(from).unwrap();
    let mut metadata = model.metadata().clone();
    change(&mut metadata);
    let infos = model
        .tensors()
        .map(|t| (t.info.name.clone(), t.info.shape.clone(), t.info.ty));
    let plan = gguf::FilePlan::new(metadata, infos.collect::<Vec<_>>()).unwrap();
    let writer = gguf::Writer::create(to, &plan).unwrap();
    for t in model.tensors() {
        let bytes = model.bytes(t.index, 0..t.info.size_bytes()).unwrap();
        writer.write_at(t.index, 0, &bytes).unwrap();
    }
    writer.finish().unwrap();
}

#[test]
fn drafts_of_other_targets_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let [whole, draft, words] = demo(dir.path());
    let path = |name: &str| dir.path().join(name);
    let run = |target: &Path, draft: &Path, parts: &[&str]| {
        let args = [
            "perplexity",
            text(target),
            text(&words),
            "-c",
            "32",
            "--draft",
            text(draft),
        ];
        fails(&args, parts)
    };
    let other = path("other.gguf");
    succeeds(&["convert", text(model(ramp).path()), text(&other)]);
    run(
        &whole,
        &other,
        &[
            text(&other),
            "key 'tokenizer.ggml.tokens'",
            "expected as many tokens as the target's 2048",
            "found 262",
        ],
    );
    let changed = path("changed.gguf");
    retold(&whole, &changed, |metadata| {
        if let Some(gguf::Value::Array(gguf::Array::String(tokens))) =
            metadata.get_mut("tokenizer.ggml.tokens")
        {
            tokens[700] = "another".into();
        }
    });
    run(
        &whole,
        &changed,
        &[text(&changed), "the target's token 700, ", "found \"another\""],
    );
    let eagle = path("eagle3.gguf");
    retold(&whole, &eagle, |metadata| {
        metadata.set("general.architecture", gguf::Value::String("eagle3".into()));
    });
    // A draft in the place of its target, and one that is none.
    run(&eagle, &draft, &[text(&eagle), "\"eagle3\", a draft"]);
    run(&whole, &eagle, &[text(&eagle), "eagle3."]);
    run(&whole, &words, &[text(&words)]);
}

#[test]
fn what_would_be_ignored_is_refused() {
    let args = ["perplexity", "model.gguf", "text.txt"];
    for more in [
        &["--draft", "d.gguf", "--ppl-stride", "8"][..],
        &["--draft", "d.gguf", "--kl-divergence", "--base", "b.gguf"],
        &["--draft", "d.gguf", "--save-all-logits", "l.kld"],
        &["--draft", "d.gguf", "--hellaswag"],
        &["--draft", "d.gguf", "--ppl-output-type", "1"],
        &["--draft", "d.gguf", "--draft-max", "0"],
        &["--draft-max", "3"],
    ] {
        let all = [&args[..], more].concat();
        quantsmith(&all).assert().code(2);
    }
    let dir = tempfile::tempdir().unwrap();
    let [whole, draft, words] = demo(dir.path());
    let args = [
        "perplexity",
        text(&whole),
        text(&words),
        "-c",
        "8",
        "--draft",
        text(&draft),
    ];
    let long = [&args[..], &["--draft-max", "4"]].concat();
    fails(
        &long,
        &[text(&draft), "at most the 3 scored tokens of a window, found 4"],
    );
    let report = json(&[&args[..], &["--chunks", "2", "--json"]].concat());
    assert_eq!(report["drafts"].as_array().unwrap().len(), 3);
}

/// An EAGLE-3 of the model's sizes for targets of this width, with weights of a ramp.
fn eagle3(of: &Path, width: u32, to: &Path) {
    let model = gguf::GgufModel::open(of).unwrap();
    let mut metadata = gguf::Metadata::new();
    for (key, value) in model.metadata().iter() {
        metadata.set(key.replace("llama.", "eagle3."), value.clone());
    }
    metadata.set("general.architecture", gguf::Value::String("eagle3".into()));
    metadata.set("eagle3.block_count", 1u32);
    metadata.set("eagle3.target_hidden_size", width);
    let layers = gguf::Array::I32(vec![1, 4, 7]);
    metadata.set("eagle3.target_layers", gguf::Value::Array(layers));
    let mut tensors: Vec<(String, Vec<u64>)> = Vec::new();
    for norm in [
        "blk.0.attn_norm",
        "blk.0.attn_norm_2",
        "blk.0.ffn_norm",
        "output_norm",
    ] {
        tensors.push((format!("{norm}.weight"), vec![256]));
    }
    for (name, inputs, outputs) in [
        ("fc", 3 * u64::from(width), 256),
        ("blk.0.attn_q", 512, 256),
        ("blk.0.attn_k", 512, 128),
        ("blk.0.attn_v", 512, 128),
        ("blk.0.attn_output", 256, 256),
        ("blk.0.ffn_gate", 256, 512),
        ("blk.0.ffn_up", 256, 512),
        ("blk.0.ffn_down", 512, 256),
    ] {
        tensors.push((format!("{name}.weight"), vec![inputs, outputs]));
    }
    let infos = tensors
        .iter()
        .map(|(name, shape)| (name.clone(), shape.clone(), gguf::TensorType::F32));
    let plan = gguf::FilePlan::new(metadata, infos.collect::<Vec<_>>()).unwrap();
    let writer = gguf::Writer::create(to, &plan).unwrap();
    for (index, (name, shape)) in tensors.iter().enumerate() {
        let count = shape.iter().product::<u64>() as usize;
        let bytes: Vec<u8> = (0..count)
            .flat_map(|i| (ramp(name, i) / 16.0).to_le_bytes())
            .collect();
        writer.write_at(index, 0, &bytes).unwrap();
    }
    writer.finish().unwrap();
}

/// A draft on states is measured by what it expects on those of its target.
#[test]
fn drafts_on_states_are_measured() {
    let dir = tempfile::tempdir().unwrap();
    let [whole, _, words] = demo(dir.path());
    let path = dir.path().join("eagle3.gguf");
    eagle3(&whole, 256, &path);
    let args = [
        "perplexity",
        text(&whole),
        text(&words),
        "-c",
        "16",
        "--chunks",
        "2",
        "--rounding",
        "none",
        "--draft",
        text(&path),
    ];
    let report = json(&[&args[..], &["--json"]].concat());
    let (target, draft) = (Model::load(&whole).unwrap(), Draft::load(&path).unwrap());
    let tokenizer = Tokenizer::from_metadata(target.gguf().metadata()).unwrap();
    let tokens = tokenizer.encode(std::fs::read(&words).unwrap(), true, false);
    let (mut overlap, mut drawn) = (0.0, 0.0);
    for window in tokens.as_chunks::<16>().0.iter().take(2) {
        let mut window = *window;
        window[0] = tokenizer
            .bos()
            .filter(|_| tokenizer.add_bos())
            .unwrap_or(window[0]);
        let states = target.states_for(&draft, &[&window]).unwrap();
        let (p, q) = (states.logits().unwrap(), draft.forward(&states).unwrap());
        for at in 8..15 {
            let ((p, _), (q, drafted)) = (probabilities(p.row(at)), probabilities(q.row(at - 1)));
            overlap += p.iter().zip(&q).map(|(a, b)| a.min(*b)).sum::<f64>() / 14.0;
            drawn += p[drafted] / 14.0;
        }
    }
    let [[_, of_drawn, of_rejection]] = figures(&report)[..] else {
        panic!("{report}")
    };
    close(of_rejection[0], overlap);
    close(of_drawn[0], drawn);
    close(of_drawn[1], 1.0 + drawn);
    let printed = succeeds(&args);
    assert!(printed.contains("goes on from states of its own"), "{printed}");

    let longer = [&args[..], &["--draft-max", "2"]].concat();
    fails(
        &longer,
        &[text(&path), "tokens of a draft: expected at most 1", "found 2"],
    );
    let narrow = dir.path().join("narrow.gguf");
    eagle3(&whole, 128, &narrow);
    let args = ["perplexity", text(&whole), text(&words), "--draft", text(&narrow)];
    fails(
        &args,
        &[
            text(&narrow),
            "the target: expected states of 128 numbers, found 256",
        ],
    );
}
