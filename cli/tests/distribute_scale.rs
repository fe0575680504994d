//! Cost of a plan of a million million weights.
#![cfg(target_os = "linux")]

use crate::support;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use support::{quantsmith, text};

/// A mixture of a million million weights, shaped like Kimi K2: headers, and a hole where its data would be.
fn trillion(path: &Path) -> u64 {
    use gguf::TensorType as T;
    let mut m = gguf::Metadata::new();
    m.set("general.architecture", "deepseek2");
    m.set("deepseek2.block_count", 61u32);
    m.set("deepseek2.attention.head_count", 64u32);
    m.set("deepseek2.attention.head_count_kv", 1u32);
    m.set("deepseek2.expert_count", 384u32);
    m.set("tokenizer.ggml.model", "gpt2");
    let tokens: Vec<String> = (0..160_000).map(|i| format!("token {i}")).collect();
    m.set("tokenizer.ggml.tokens", tokens);
    let mut tensors = vec![
        ("token_embd.weight".to_owned(), vec![7168, 163_840], T::BF16),
        ("output.weight".to_owned(), vec![7168, 163_840], T::BF16),
        ("output_norm.weight".to_owned(), vec![7168], T::F32),
    ];
    for layer in 0..61 {
        let mut add = |name: &str, shape: &[u64], ty| {
            tensors.push((format!("blk.{layer}.{name}.weight"), shape.to_vec(), ty));
        };
        for (name, width) in [
            ("attn_norm", 7168),
            ("attn_q_a_norm", 1536),
            ("attn_kv_a_norm", 512),
            ("ffn_norm", 7168),
        ] {
            add(name, &[width], T::F32);
        }
        add("attn_q_a", &[7168, 1536], T::BF16);
        add("attn_q_b", &[1536, 12_288], T::BF16);
        add("attn_kv_a_mqa", &[7168, 576], T::BF16);
        add("attn_k_b", &[128, 512, 64], T::BF16);
        add("attn_v_b", &[512, 128, 64], T::BF16);
        add("attn_output", &[8192, 7168], T::BF16);
        if layer == 0 {
            add("ffn_gate", &[7168, 18_432], T::BF16);
            add("ffn_up", &[7168, 18_432], T::BF16);
            add("ffn_down", &[18_432, 7168], T::BF16);
            continue;
        }
        add("ffn_gate_inp", &[7168, 384], T::F32);
        for (name, experts) in [("exps", 384), ("shexp", 1)] {
            add(&format!("ffn_gate_{name}"), &[7168, 2048, experts], T::BF16);
            add(&format!("ffn_up_{name}"), &[7168, 2048, experts], T::BF16);
            add(&format!("ffn_down_{name}"), &[2048, 7168, experts], T::BF16);
        }
    }
    let plan = support::hollow(path, m, tensors);
    plan.tensors.iter().map(gguf::TensorInfo::elements).sum()
}

/// Runs the command to its end: its output, seconds, and the most memory it had resident, in MiB.
fn measured(args: &[&str]) -> (std::process::Output, f64, f64) {
    let started = Instant::now();
    let mut child = Command::new(quantsmith(&[]).get_program())
        .args(args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut most = 0;
    while child.try_wait().unwrap().is_none() {
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
        let kib = line.and_then(|l| l.split_ascii_whitespace().next()?.parse().ok());
        most = most.max(kib.unwrap_or(0));
        std::thread::sleep(Duration::from_millis(5));
    }
    let seconds = started.elapsed().as_secs_f64();
    (
        child.wait_with_output().unwrap(),
        seconds,
        f64::from(most) / 1024.0,
    )
}

/// `cargo test --release -p quantsmith-cli --test all -- distribute_scale::a_trillion --nocapture` prints the figures of
/// docs/distribute.md.
#[test]
fn a_trillion_weights_are_planned_in_seconds() {
    let dir = tempfile::tempdir().unwrap();
    let (model, plan) = (dir.path().join("trillion.gguf"), dir.path().join("plan.json"));
    let weights = trillion(&model);
    assert!(weights > 1_000_000_000_000, "{weights}");
    let out = dir.path().join("out");
    for (cut, parts) in [("rows", "256"), ("files", "32")] {
        let mut args = vec![
            "plan",
            text(&model),
            "--allow-incomplete",
            "--headers-only",
            "--json",
            "--parts",
            parts,
            "--cores",
            "16",
        ];
        args.extend(["--cut", cut, "--out", text(&out), "-o", text(&plan)]);
        if cut == "files" {
            args.extend(["--split-max-size", "50G"]);
        }
        let (done, seconds, mib) = measured(&args);
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success(), "{said}");
        let report: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
        let ratio = report["largest_over_mean"].as_f64().unwrap();
        // By measured rates, with 16 cores for each part.
        let wall = report["wall_seconds_at_once"].as_f64().unwrap();
        let largest = report["core_seconds_of_largest_part"].as_f64().unwrap();
        assert!(
            wall > 0.0 && (wall * 16.0 / largest - 1.0).abs() < 1e-12,
            "{wall}"
        );
        let size = report["plan_bytes"].as_u64().unwrap();
        println!(
            "{weights} weights, --cut {cut}: {} files, {} pieces; planned in {seconds:.1} s and {mib:.0} MiB, {size} bytes; \
             {parts} parts of {:.0} s on one core, the largest {ratio:.4} of the mean; at once on 16 cores each {wall:.1} s",
            report["files"],
            report["work"]["pieces"],
            report["core_seconds_of_mean_part"].as_f64().unwrap(),
        );
        assert!(size < 4 << 20, "{size} bytes are no plan to read");
        assert!(mib < 1024.0, "{mib} MiB");
        assert!(
            if cut == "rows" { ratio < 1.001 } else { ratio < 1.5 },
            "{cut}: {ratio}"
        );
        assert!(seconds < 120.0, "{seconds} s");
        // What each part does before it works, but for samples of the inputs.
        let (done, seconds, mib) = measured(&["join", text(&plan)]);
        support::told(&done, &["expected parts of this plan, found none"]);
        println!("worked out again and compared in {seconds:.1} s and {mib:.0} MiB");
    }
}
