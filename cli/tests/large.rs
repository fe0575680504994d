//! A model far larger than the memory that a run may take.

use crate::support;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use gguf::{GgufModel, Metadata, TensorType};
use support::{hollow, quantsmith, text};

/// A Llama of `layers` layers shaped like Mistral 7B's, whose data is a hole in the file.
fn sparse(path: &Path, layers: u32) -> u64 {
    let mut m = Metadata::new();
    m.set("general.architecture", "llama");
    m.set("llama.block_count", layers);
    m.set("llama.attention.head_count", 32u32);
    m.set("llama.attention.head_count_kv", 8u32);
    let mut tensors = vec![
        ("token_embd.weight".to_owned(), vec![4096, 32000], TensorType::F16),
        ("output.weight".to_owned(), vec![4096, 32000], TensorType::F16),
        ("output_norm.weight".to_owned(), vec![4096], TensorType::F32),
    ];
    for layer in 0..layers {
        for (name, shape) in [
            ("attn_q", vec![4096, 4096]),
            ("attn_k", vec![4096, 1024]),
            ("attn_v", vec![4096, 1024]),
            ("attn_output", vec![4096, 4096]),
            ("ffn_gate", vec![4096, 14336]),
            ("ffn_up", vec![4096, 14336]),
            ("ffn_down", vec![14336, 4096]),
        ] {
            tensors.push((format!("blk.{layer}.{name}.weight"), shape, TensorType::F16));
        }
    }
    hollow(path, m, tensors).file_size()
}

/// The most memory that a process has had resident, in KiB.
fn peak(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|l| l.starts_with("VmHWM:"))?;
    line.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// `cargo test --release -p quantsmith-cli --test all -- --ignored large:: --nocapture`; writes some 4 GB to the
/// temporary folder.
#[cfg(target_os = "linux")]
#[test]
#[ignore = "an explicit command: quantizes ten billion weights"]
fn a_table_of_20_gb_takes_less_than_512_mib() {
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("sparse.gguf");
    let size = sparse(&model, 46);
    assert!(size > 20_000_000_000, "{size}");
    let out = dir.path().join("table");
    let started = Instant::now();
    let mut child = Command::new(quantsmith(&[]).get_program())
        .args([
            "table",
            "--allow-incomplete",
            text(&model),
            "--no-eval",
            "--types",
            "Q2_K",
            "--max-memory",
            "512M",
        ])
        .args(["--out", text(&out)])
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let mut most = 0;
    while child.try_wait().unwrap().is_none() {
        most = most.max(peak(child.id()).unwrap_or(0));
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(child.wait().unwrap().success());
    println!(
        "{size} bytes in {:.0} s, at most {:.1} MiB resident",
        started.elapsed().as_secs_f64(),
        most as f64 / 1024.0
    );
    assert!(most > 0 && most < 512 << 10, "{most} KiB");
    let made = GgufModel::open(&out.join("sparse-Q2_K.gguf")).unwrap();
    assert_eq!(made.len(), 3 + 46 * 7);
}
