//! Task scores of `quantsmith perplexity` against a computation of their own from all logits of every sequence.

use crate::support;

use std::path::Path;

use assert_cmd::Command;
use reference::{Model, Tokenizer};
use serde_json::Value;

struct Tiny {
    dir: tempfile::TempDir,
    file: String,
    model: Model,
    tokenizer: Tokenizer,
}

impl Tiny {
    fn new() -> Self {
        let source = support::directory::model(|name, i| {
            let shift = name.len() as u64 * 131;
            ((i as u64 * 7919 + shift) % 997) as f32 / 400.0 - 1.2
        });
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("model.gguf");
        Command::cargo_bin("quantsmith")
            .unwrap()
            .arg("convert")
            .args([source.path(), &file])
            .args(["--outtype", "f32"])
            .assert()
            .success();
        let model = Model::load(&file).unwrap();
        let tokenizer = Tokenizer::from_metadata(model.gguf().metadata()).unwrap();
        Self {
            file: file.to_str().unwrap().to_owned(),
            dir,
            model,
            tokenizer,
        }
    }

    fn tokens(&self, text: &str) -> Vec<u32> {
        self.tokenizer.encode(text, true, false)
    }

    /// Log probability of `target` after the token at `position`.
    fn log_probability(&self, tokens: &[u32], position: usize, target: u32) -> f64 {
        let logits = self.model.forward(&[tokens], 0..tokens.len(), None).unwrap();
        let row = logits.row(position);
        let sum: f64 = row.iter().map(|&x| f64::from(x).exp()).sum();
        f64::from(row[target as usize]) - sum.ln()
    }

    /// Mean log probability of the tokens from `first` to `end`.
    fn mean(&self, tokens: &[u32], first: usize, end: usize) -> f64 {
        let sum: f64 = (first..end)
            .map(|i| self.log_probability(tokens, i - 1, tokens[i]))
            .sum();
        sum / (end - first) as f64
    }

    fn report(&self, tasks: &[u8], args: &[&str]) -> Value {
        let path = self.dir.path().join("tasks");
        std::fs::write(&path, tasks).unwrap();
        let output = Command::cargo_bin("quantsmith")
            .unwrap()
            .args(["perplexity", &self.file, path.to_str().unwrap(), "--json"])
            // The expected scores are of a plain run.
            .args(["--rounding", "none"])
            .args(args)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

fn check(report: &Value, task: usize, expected: &[f64], right: usize) {
    let score = &report["scores"][task];
    let found: Vec<f64> = score["log_probabilities"]
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v.as_f64().unwrap())
        .collect();
    assert_eq!(found.len(), expected.len());
    for (a, b) in found.iter().zip(expected) {
        assert!((a - b).abs() < 1e-5 * b.abs(), "{found:?} {expected:?}");
    }
    let best = (0..expected.len()).fold(0, |best, i| if expected[i] > expected[best] { i } else { best });
    assert_eq!(score["chosen"], best);
    assert_eq!(score["correct"], best == right);
}

#[test]
fn hellaswag() {
    let tiny = Tiny::new();
    let tasks = [
        ("A man walks", 2, ["home.", "away now.", "x", "home again"]),
        ("Water: it", 0, ["boils.", "is dry.", "barks.", "bo"]),
        ("Snow", 3, ["a", "b", "c", "d"]),
    ];
    let file: String = tasks
        .iter()
        .map(|(context, right, endings)| format!("{context}\n{right}\n{}\n", endings.join("\n")))
        .collect();
    let report = tiny.report(file.as_bytes(), &["--hellaswag"]);
    assert_eq!(
        (&report["kind"], &report["tasks"]),
        (&"hellaswag".into(), &3.into())
    );
    // The order that mt19937 with seed 1 gives three tasks: 1791095845, 4282876139 and 3093770124 scaled to 3, 2
    // and 1.
    for (place, original) in [1, 2, 0].into_iter().enumerate() {
        let (context, right, endings) = tasks[original];
        let all: Vec<Vec<u32>> = endings
            .iter()
            .map(|e| tiny.tokens(&format!("{context} {e}")))
            .collect();
        let prefix = (0..)
            .take_while(|&i| all.iter().all(|t| t.get(i) == Some(&all[0][i])))
            .count();
        let expected: Vec<f64> = all.iter().map(|t| tiny.mean(t, prefix, t.len())).collect();
        check(&report, place, &expected, right);
    }
    let one = tiny.report(file.as_bytes(), &["--hellaswag", "--hellaswag-tasks", "1"]);
    assert_eq!(one["tasks"], 1);
    assert_eq!(one["scores"][0], report["scores"][0]);
}

#[test]
fn winogrande() {
    let tiny = Tiny::new();
    // The third's sentences end too soon after the gap.
    let file = "0,Ann met Bea so _ left early.,Ann,Bea,2\n1,\"The cup, not the jar, _ was full.\",one,x,1\n\
        2,It is _.,ox,at,1\n3,never _ counted here.,a,b,1\n";
    let report = tiny.report(file.as_bytes(), &["--winogrande"]);
    assert_eq!(report["tasks"], 3);
    let long = [
        ("Ann met Bea so ", ["Ann", "Bea"], " left early.", 1),
        ("The cup, not the jar, ", ["one", "x"], " was full.", 0),
    ];
    for (i, (before, choices, after, right)) in long.into_iter().enumerate() {
        let expected = choices.map(|choice| {
            let tokens = tiny.tokens(&format!("{before}{choice}{after}"));
            let first = tiny.tokens(&format!("{before}{choice}")).len();
            tiny.mean(&tokens, first, tokens.len() - 1)
        });
        check(&report, i, &expected, right);
    }
    let (a, b) = (tiny.tokens("It is ox."), tiny.tokens("It is at."));
    let prefix = (0..).take_while(|&i| a[i] == b[i]).count();
    let first = tiny.mean(&a, prefix, a.len() - 1);
    // llama-perplexity's slip: the second choice's first token is predicted after the end of the first sentence.
    let mut second = tiny.log_probability(&a, a.len() - 1, b[prefix]);
    for i in prefix + 1..b.len() - 1 {
        second += tiny.log_probability(&b, i - 1, b[i]);
    }
    check(&report, 2, &[first, second / (b.len() - 1 - prefix) as f64], 0);
}

#[test]
fn multiple_choice() {
    let tiny = Tiny::new();
    let tasks = [
        ("What is it?", vec!["a cat", "a dog", "air"], 1),
        ("Two and two:", vec!["four", "5"], 0),
    ];
    let text = |out: &mut Vec<u8>, text: &str| {
        out.extend((text.len() as u32).to_le_bytes());
        out.extend(text.as_bytes());
    };
    let bodies = tasks.clone().map(|(question, answers, right)| {
        let mut body = Vec::new();
        text(&mut body, question);
        body.extend((answers.len() as u32).to_le_bytes());
        answers.iter().for_each(|a| text(&mut body, a));
        (0..answers.len()).for_each(|i| body.extend(i32::from(i == right).to_le_bytes()));
        body.extend(0u32.to_le_bytes());
        body
    });
    let mut file = 2u32.to_le_bytes().to_vec();
    file.extend(12u32.to_le_bytes());
    file.extend((12 + bodies[0].len() as u32).to_le_bytes());
    file.extend(bodies.concat());
    let report = tiny.report(&file, &["--multiple-choice"]);
    for (i, (question, answers, right)) in tasks.into_iter().enumerate() {
        let all: Vec<Vec<u32>> = answers
            .iter()
            .map(|a| tiny.tokens(&format!("{question} {a}")))
            .collect();
        let prefix = (0..)
            .take_while(|&i| all.iter().all(|t| t.get(i) == Some(&all[0][i])))
            .count();
        let expected: Vec<f64> = all.iter().map(|t| tiny.mean(t, prefix, t.len())).collect();
        check(&report, i, &expected, right);
    }
    assert_eq!(report["chance"], 2.0 / 5.0);
    let truncated = Path::new(&tiny.file).with_file_name("bad");
    std::fs::write(&truncated, &file[..file.len() - 3]).unwrap();
    let output = Command::cargo_bin("quantsmith")
        .unwrap()
        .args([
            "perplexity",
            &tiny.file,
            truncated.to_str().unwrap(),
            "--multiple-choice",
        ])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("at byte"));
}
