//! Broken directories of the further forms: read by a description, in Mistral's layout, quantized by MLX. Each is refused
//! with what is wrong, and nothing is written.

use std::path::Path;

use convert::pipeline::{PipelineOptions, execute};
use convert::plan::OutputPlan;
use convert::source::hf::{HfOptions, HfSource, OutType};
use oracle::architectures::{directory, safetensors_parts};
use serde_json::{Map, Value, json};

/// A model's configuration and its weights.
struct Parts {
    config: Map<String, Value>,
    header: Map<String, Value>,
    data: Vec<u8>,
}

impl Parts {
    fn read(config: &Path, weights: &Path) -> Self {
        let bytes = std::fs::read(weights).unwrap();
        let (header, data) = safetensors_parts(&bytes);
        Self {
            config: serde_json::from_slice(&std::fs::read(config).unwrap()).unwrap(),
            header,
            data: data.to_vec(),
        }
    }

    fn write(&self, config: &Path, weights: &Path) {
        // The data is one stretch without holes.
        let (mut header, mut data) = (self.header.clone(), Vec::new());
        for (name, entry) in &mut header {
            if name == "__metadata__" {
                continue;
            }
            let at = |i: usize| usize::try_from(entry["data_offsets"][i].as_u64().unwrap()).unwrap();
            let start = data.len();
            data.extend_from_slice(&self.data[at(0)..at(1)]);
            entry["data_offsets"] = json!([start, data.len()]);
        }
        let header = Value::Object(header).to_string();
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend_from_slice(header.as_bytes());
        file.extend_from_slice(&data);
        std::fs::write(weights, file).unwrap();
        std::fs::write(config, Value::Object(self.config.clone()).to_string()).unwrap();
    }

    fn set(&mut self, key: &str, value: Value) {
        self.config.insert(key.to_owned(), value);
    }

    fn remove(&mut self, name: &str) {
        assert!(self.header.remove(name).is_some(), "{name}");
    }

    fn rename(&mut self, from: &str, to: &str) {
        let entry = self.header.remove(from).unwrap_or_else(|| panic!("{from}"));
        self.header.insert(to.to_owned(), entry);
    }

    /// Sets a number of MLX's quantization.
    fn quantization(&mut self, key: &str, value: u32) {
        for section in ["quantization", "quantization_config"] {
            self.config[section][key] = json!(value);
        }
    }

    /// The same elements in rows of half the length.
    fn halve_rows(&mut self, name: &str) {
        let shape = &mut self.header[name]["shape"];
        let [rows, columns] = [0, 1].map(|i| shape[i].as_u64().unwrap());
        *shape = json!([rows * 2, columns / 2]);
    }
}

/// One thing that is done to a model, and what the error then names.
type Break = (&'static str, fn(&mut Parts), &'static str);

/// Breaks a directory in each way and converts it. Its two files are those of configuration and weights.
fn refused(dir: &Path, files: [&str; 2], options: &HfOptions, breaks: &[Break]) {
    let [config, weights] = files.map(|name| dir.join(name));
    let whole = Parts::read(&config, &weights);
    let mut wrong = Vec::new();
    let folder = tempfile::tempdir().unwrap();
    let convert = || -> Result<(), convert::Error> {
        let source = HfSource::open(dir, options)?;
        let plan = OutputPlan::unquantized(folder.path().join("out.gguf"), &source, Vec::new())?;
        execute(&source, &[plan], &PipelineOptions::default(), &|_| {})
    };
    whole.write(&config, &weights);
    convert().unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    std::fs::remove_file(folder.path().join("out.gguf")).unwrap();
    for (what, change, names) in breaks {
        let mut parts = Parts {
            config: whole.config.clone(),
            header: whole.header.clone(),
            data: whole.data.clone(),
        };
        change(&mut parts);
        parts.write(&config, &weights);
        match convert() {
            Err(e) if e.to_string().contains(names) => {}
            Err(e) => wrong.push(format!("{what}: expected {names:?} in: {e}")),
            Ok(()) => wrong.push(format!("{what}: converted")),
        }
        let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
        assert!(left.is_empty(), "{what}: {left:?}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Llama's printed description, read from a file.
#[test]
fn by_a_description() {
    let folder = tempfile::tempdir().unwrap();
    let description = folder.path().join("llama.toml");
    std::fs::write(&description, convert::arch::printed("llama").unwrap()).unwrap();
    let dir = directory("llama", folder.path());
    let options = HfOptions::default()
        .outtype(OutType::F32)
        .pre_tokenizer(Some("gpt-2".to_owned()))
        .arch_file(Some(description));
    refused(
        &dir,
        ["config.json", "model.safetensors"],
        &options,
        &[
            (
                "a missing matrix",
                |m| m.remove("model.layers.1.mlp.up_proj.weight"),
                "blk.1.ffn_up.weight",
            ),
            (
                "no final norm",
                |m| m.remove("model.norm.weight"),
                "output_norm.weight",
            ),
            (
                "another shape",
                |m| m.halve_rows("model.layers.0.self_attn.q_proj.weight"),
                "attn_q",
            ),
            (
                "another name",
                |m| {
                    m.rename(
                        "model.layers.0.mlp.up_proj.weight",
                        "model.layers.0.mlp.upper.weight",
                    );
                },
                "mlp.upper",
            ),
            ("three heads", |m| m.set("num_attention_heads", json!(3)), "heads"),
            (
                "as many keys as queries",
                |m| m.set("num_key_value_heads", json!(4)),
                "attn_k",
            ),
            ("three layers", |m| m.set("num_hidden_layers", json!(3)), "blk.2"),
            (
                "no epsilon",
                |m| m.set("rms_norm_eps", Value::Null),
                "rms_epsilon",
            ),
            (
                "no width",
                |m| m.set("hidden_size", Value::Null),
                "embedding_length",
            ),
            (
                "another activation",
                |m| m.set("hidden_act", json!("relu6")),
                "hidden_act",
            ),
            (
                "experts that are not there",
                |m| m.set("num_local_experts", json!(4)),
                "expert",
            ),
            (
                "another rotation",
                |m| m.set("rope_scaling", json!({"rope_type": "spiral", "factor": 2.0})),
                "spiral",
            ),
        ],
    );
}

#[test]
fn in_mistrals_layout() {
    let Some(python) = oracle::python() else { return };
    let folder = tempfile::tempdir().unwrap();
    python
        .run("mistral_models.py", [folder.path().as_os_str()])
        .unwrap();
    let options = HfOptions::default().outtype(OutType::F32).mistral_format(true);
    refused(
        &folder.path().join("Tiny-Small-2501"),
        ["params.json", "consolidated.safetensors"],
        &options,
        &[
            (
                "a missing matrix",
                |m| m.remove("layers.1.feed_forward.w3.weight"),
                "blk.1.ffn_up.weight",
            ),
            ("no final norm", |m| m.remove("norm.weight"), "output_norm.weight"),
            (
                "another shape",
                |m| m.halve_rows("layers.0.attention.wq.weight"),
                "attn_q",
            ),
            (
                "another name",
                |m| m.rename("layers.0.attention.wq.weight", "layers.0.attention.qq.weight"),
                "qq",
            ),
            ("three heads", |m| m.set("n_heads", json!(3)), "heads"),
            (
                "no number of keys",
                |m| m.set("n_kv_heads", Value::Null),
                "attn_k",
            ),
            ("three layers", |m| m.set("n_layers", json!(3)), "blk.2"),
            ("no epsilon", |m| m.set("norm_eps", Value::Null), "eps"),
            ("no width", |m| m.set("dim", Value::Null), "embedding_length"),
            ("another inner width", |m| m.set("hidden_dim", json!(100)), "ffn"),
            (
                "experts",
                |m| m.set("moe", json!({"num_experts": 4, "num_experts_per_tok": 2})),
                "expert",
            ),
            (
                "a tensor too many",
                |m| {
                    let entry = m.header["layers.0.attention.wq.weight"].clone();
                    m.header.insert("layers.0.attention.wz.weight".to_owned(), entry);
                },
                "wz",
            ),
        ],
    );
}

#[test]
fn quantized_by_mlx() {
    let Some(python) = oracle::python() else { return };
    let folder = tempfile::tempdir().unwrap();
    python.run("mlx_models.py", [folder.path().as_os_str()]).unwrap();
    let options = HfOptions::default()
        .outtype(OutType::F16)
        .pre_tokenizer(Some("qwen2".to_owned()));
    refused(
        &folder.path().join("mlx/Tiny-Llama-4bit"),
        ["config.json", "model.safetensors"],
        &options,
        &[
            (
                "no scales",
                |m| m.remove("model.layers.0.mlp.up_proj.scales"),
                "up_proj",
            ),
            (
                "no biases",
                |m| m.remove("model.layers.0.mlp.up_proj.biases"),
                "up_proj",
            ),
            (
                "no codes",
                |m| m.remove("model.layers.0.mlp.up_proj.weight"),
                "up_proj",
            ),
            (
                "codes of another shape",
                |m| m.halve_rows("model.layers.0.mlp.up_proj.weight"),
                "up_proj",
            ),
            (
                "scales of another shape",
                |m| m.halve_rows("model.layers.0.mlp.up_proj.scales"),
                "up_proj",
            ),
            ("another number of bits", |m| m.quantization("bits", 3), "group"),
            (
                "another size of a group",
                |m| m.quantization("group_size", 32),
                "scales",
            ),
            ("a group of none", |m| m.quantization("group_size", 0), "group"),
            (
                "no word of it",
                |m| {
                    m.set("quantization", Value::Null);
                    m.set("quantization_config", Value::Null);
                },
                "biases",
            ),
            ("three heads", |m| m.set("num_attention_heads", json!(3)), "heads"),
            (
                "no epsilon",
                |m| m.set("rms_norm_eps", Value::Null),
                "rms_epsilon",
            ),
            ("another width", |m| m.set("hidden_size", json!(192)), "192"),
        ],
    );
}
