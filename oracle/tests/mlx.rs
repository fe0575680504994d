//! Directories that MLX wrote: every value against the same model with its weights computed by numpy, and what MLX stores
//! otherwise refused by name.

use std::path::{Path, PathBuf};

use convert::pipeline::{PipelineOptions, execute};
use convert::plan::OutputPlan;
use convert::source::Source;
use convert::source::hf::{HfOptions, HfSource, OutType};

fn models() -> Option<(tempfile::TempDir, PathBuf, PathBuf)> {
    let python = oracle::python()?;
    let dir = tempfile::tempdir().unwrap();
    python.run("mlx_models.py", [dir.path().as_os_str()]).unwrap();
    let (mlx, plain) = (dir.path().join("mlx"), dir.path().join("plain"));
    Some((dir, mlx, plain))
}

fn open(dir: &Path, outtype: OutType) -> Result<HfSource, convert::Error> {
    // Only for those whose vocabulary is byte-level: it is no published one.
    let options = HfOptions::default()
        .outtype(outtype)
        .pre_tokenizer(Some("qwen2".to_owned()));
    HfSource::open(dir, &options)
}

fn values(source: &HfSource, tensor: usize) -> Vec<u32> {
    let shape = &source.tensors()[tensor].shape;
    let rows = shape.iter().skip(1).product();
    let mut out = vec![0.0; shape.iter().product::<u64>() as usize];
    source.read_rows(tensor, 0..rows, &mut out).unwrap();
    // Zeros of either sign are the same weight.
    out.iter().map(|x| (x + 0.0).to_bits()).collect()
}

#[test]
fn every_value_is_what_mlx_computes() {
    let Some((_dir, mlx, plain)) = models() else {
        return;
    };
    let mut compared = 0;
    for item in std::fs::read_dir(&mlx).unwrap() {
        let name = item.unwrap().file_name();
        let ours = open(&mlx.join(&name), OutType::Lossless).unwrap_or_else(|e| panic!("{name:?}: {e}"));
        let expected = open(&plain.join(&name), OutType::F32).unwrap();
        assert!(
            ours.warnings()
                .iter()
                .any(|w| w.contains("stored quantized (mlx)")),
            "{name:?}: {:?}",
            ours.warnings()
        );
        assert_eq!(ours.tensors().len(), expected.tensors().len(), "{name:?}");
        for (at, tensor) in expected.tensors().iter().enumerate() {
            let found = ours.tensors().iter().position(|t| t.name == tensor.name);
            let found = found.unwrap_or_else(|| panic!("{name:?}: no {}", tensor.name));
            assert_eq!(
                ours.tensors()[found].shape,
                tensor.shape,
                "{name:?}: {}",
                tensor.name
            );
            assert!(
                values(&ours, found) == values(&expected, at),
                "{name:?}: {}: other values",
                tensor.name
            );
            compared += 1;
        }
    }
    assert_eq!(compared, 155);
}

#[test]
fn stock_loads_what_is_made_of_them() {
    let Some((dir, mlx, _)) = models() else { return };
    let python = oracle::python().unwrap();
    for name in ["Tiny-Llama-Mixed", "Tiny-Mixtral-4bit", "Tiny-Qwen3-MoE-8bit"] {
        let source = open(&mlx.join(name), OutType::F16).unwrap();
        let out = dir.path().join(format!("{name}.gguf"));
        let plan = OutputPlan::unquantized(&out, &source, Vec::new()).unwrap();
        execute(&source, &[plan], &PipelineOptions::default(), &|_| {}).unwrap();
        python
            .run("stock.py", ["load".as_ref(), out.as_os_str()])
            .unwrap_or_else(|e| panic!("{name}: {e:#}"));
    }
}

/// The error of a directory whose configuration is changed, and one tensor renamed in its weights.
fn error_of(dir: &Path, config: &[(&str, &str)], tensor: Option<(&str, &str)>) -> String {
    let path = dir.join("config.json");
    let mut text = std::fs::read_to_string(&path).unwrap();
    for (from, to) in config {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, to);
    }
    std::fs::write(&path, text).unwrap();
    if let Some((from, to)) = tensor {
        assert_eq!(from.len(), to.len());
        let path = dir.join("model.safetensors");
        let mut bytes = std::fs::read(&path).unwrap();
        let at = bytes
            .windows(from.len())
            .position(|w| w == from.as_bytes())
            .unwrap();
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
        std::fs::write(&path, bytes).unwrap();
    }
    open(dir, OutType::F16).unwrap_err().to_string()
}

#[test]
fn what_cannot_be_read_is_named() {
    let Some((_dir, mlx, _)) = models() else { return };
    let mode = error_of(
        &mlx.join("Tiny-Llama-Mixed"),
        &[("\"affine\"", "\"ternary\"")],
        None,
    );
    assert!(mode.contains("nvfp4, found \"ternary\""), "{mode}");
    let bits = error_of(
        &mlx.join("Tiny-Llama-4bit"),
        &[("\"bits\": 4", "\"bits\": 7")],
        None,
    );
    assert!(
        bits.contains("do not hold whole groups of 64 fields of 7 bits"),
        "{bits}"
    );
    let scales = error_of(&mlx.join("Tiny-Llama-NVFP4"), &[("\"nvfp4\"", "\"mxfp4\"")], None);
    assert!(scales.contains("does not fit codes"), "{scales}");
    let name = error_of(
        &mlx.join("Tiny-Qwen3-MoE-8bit"),
        &[],
        Some((
            "layers.0.mlp.switch_mlp.down_proj",
            "layers.0.mlp.switch_mlp.dawn_proj",
        )),
    );
    assert!(name.contains("MLX"), "{name}");
    let module = error_of(
        &mlx.join("Tiny-Mixtral-4bit"),
        &[],
        Some((
            "block_sparse_moe.switch_mlp.down_proj.weight",
            "block_sparse_map.switch_mlp.down_proj.weight",
        )),
    );
    assert!(
        module.contains("expected a known module of MLX's stacks of experts"),
        "{module}"
    );
}
