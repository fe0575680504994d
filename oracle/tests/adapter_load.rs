//! Mutated LoRA adapters of many architectures: what is converted, stock llama.cpp loads beside its base model.

use std::path::{Path, PathBuf};

use convert::pipeline::{PipelineOptions, execute};
use convert::plan::OutputPlan;
use convert::source::hf::{AdapterOptions, AdapterSource, OutType};
use oracle::mutations::{Random, mutate};
use oracle::{architectures, loading, python};
use serde_json::{Map, Value, json};

/// A base model.
struct Base {
    name: String,
    dir: PathBuf,
    /// Its converted file.
    file: PathBuf,
    /// Its matrices: names and shapes.
    matrices: Vec<(String, [u64; 2])>,
}

/// Architectures whose adapters are converted in ways of their own, and plain ones.
const BASES: [&str; 16] = [
    "cohere2",
    "deepseek2-kimi",
    "falcon",
    "gemma2",
    "gemma3",
    "glm4",
    "gpt2",
    "granitemoe",
    "lfm2moe",
    "llama",
    "olmoe",
    "phi2",
    "qwen2",
    "qwen3",
    "qwen35",
    "stablelm",
];

fn bases(dir: &Path) -> Vec<Base> {
    let mut all = Vec::new();
    for name in BASES {
        let fixture = architectures::fixtures().join(format!("{name}.json"));
        let Ok(bytes) = std::fs::read(&fixture) else {
            continue;
        };
        let fixture: Value = serde_json::from_slice(&bytes).unwrap();
        let model = dir.join(name);
        std::fs::create_dir(&model).unwrap();
        architectures::make(&fixture, &model);
        let file = dir.join(format!("{name}.gguf"));
        architectures::convert(&model, &file, false).unwrap();
        let sizes = |shape: &Value| -> Vec<u64> {
            shape
                .as_array()
                .unwrap()
                .iter()
                .filter_map(Value::as_u64)
                .collect()
        };
        let matrices = fixture["tensors"].as_object().unwrap().iter();
        let matrices = matrices.filter_map(|(name, shape)| match sizes(shape)[..] {
            [rows, columns] => Some((name.strip_suffix(".weight")?.to_owned(), [rows, columns])),
            _ => None,
        });
        all.push(Base {
            name: name.to_owned(),
            matrices: matrices.collect(),
            dir: model,
            file,
        });
    }
    all
}

/// Settings that an adapter's configuration may have besides the usual.
fn more() -> Value {
    json!({
        "use_rslora": true, "use_dora": true, "bias": "all", "fan_in_fan_out": true, "rank_pattern": {"q_proj": 2},
        "alpha_pattern": {"q_proj": 3, "layers.0": 64}, "modules_to_save": ["lm_head"], "target_parameters": ["x"],
        "layers_to_transform": [0], "lora_bias": true, "trainable_token_indices": [1], "peft_type": "LOHA",
        "r": 8, "lora_alpha": 32, "layer_replication": [[0, 1]], "megatron_config": {}, "task_type": "SEQ_CLS",
    })
}

/// One adapter in a directory: pairs of some matrices, with something wrong in most.
fn make(base: &Base, dir: &Path, random: &mut Random) -> String {
    let rank = [1u64, 2, 4, 8][random.below(4)];
    let mut tensors: Vec<(String, Vec<u64>)> = Vec::new();
    for _ in 0..=random.below(3) {
        let (name, [rows, columns]) = &base.matrices[random.below(base.matrices.len())];
        let (a, b) = match name.contains("embed") {
            true => ("lora_embedding_A", "lora_embedding_B"),
            false => ("lora_A.weight", "lora_B.weight"),
        };
        let (inputs, outputs) = if name.contains("embed") {
            (rows, columns)
        } else {
            (columns, rows)
        };
        tensors.push((format!("base_model.model.{name}.{a}"), vec![rank, *inputs]));
        tensors.push((format!("base_model.model.{name}.{b}"), vec![*outputs, rank]));
    }
    if random.below(3) == 0 {
        let at = random.below(tensors.len());
        match random.below(8) {
            0 => drop(tensors.remove(at)),
            1 => tensors[at].1.reverse(),
            2 => tensors[at].1[0] += 1,
            3 => tensors[at].1[1] *= 2,
            4 => tensors[at].0 = tensors[at].0.replace("layers.0", "layers.9"),
            5 => tensors[at].0 = tensors[at].0.replace("lora_A", "lora_magnitude_vector"),
            6 => tensors[at].1.push(1),
            // The pair of the transposed weight.
            _ => {
                let pair = at / 2 * 2;
                let (inputs, outputs) = (tensors[pair].1[1], tensors[pair + 1].1[0]);
                tensors[pair].1[1] = outputs;
                tensors[pair + 1].1[0] = inputs;
            }
        }
    }
    let mut config = json!({"peft_type": "LORA", "r": rank, "lora_alpha": 16, "target_modules": ["q_proj"],
        "bias": "none", "use_dora": false, "use_rslora": false, "base_model_name_or_path": "none"});
    for _ in 0..random.below(3) {
        mutate(config.as_object_mut().unwrap(), &more(), random);
    }
    std::fs::write(dir.join("adapter_config.json"), config.to_string()).unwrap();
    let (mut header, mut data) = (Map::new(), Vec::new());
    for (seed, (name, shape)) in tensors.iter().enumerate() {
        let begin = data.len();
        for at in 0..shape.iter().product() {
            data.extend(architectures::weight(seed as u64, at).to_le_bytes());
        }
        let entry = json!({"dtype": "F32", "shape": shape, "data_offsets": [begin, data.len()]});
        header.insert(name.clone(), entry);
    }
    let header = Value::Object(header).to_string();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.extend(data);
    std::fs::write(dir.join("adapter_model.safetensors"), file).unwrap();
    format!("{}: {config} {tensors:?}", base.name)
}

fn convert(base: &Base, dir: &Path, out: &Path) -> Result<(), String> {
    let options = AdapterOptions::default()
        .base(Some(base.dir.clone()))
        .outtype(OutType::F32);
    let source = AdapterSource::open(dir, &options).map_err(|e| e.to_string())?;
    let plan = OutputPlan::unquantized(out, &source, Vec::new()).map_err(|e| e.to_string())?;
    execute(&source, &[plan], &PipelineOptions::default(), &|_| {}).map_err(|e| e.to_string())
}

/// Converts mutated adapters; every file that comes of one has to load.
fn converted_adapters_load(runs: usize) {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let bases = bases(folder.path());
    assert_eq!(bases.len(), BASES.len());
    let dir = folder.path().join("adapter");
    std::fs::create_dir(&dir).unwrap();
    let mut random = Random(43);
    let (mut converted, mut batch, mut wrong) = (0, Vec::new(), Vec::new());
    for run in 0..runs {
        let base = &bases[run % bases.len()];
        let described = make(base, &dir, &mut random);
        let out = folder.path().join(format!("{run}.gguf"));
        if convert(base, &dir, &out).is_ok() {
            converted += 1;
            batch.push((described, base.file.clone(), out));
        }
        if batch.len() == 200 || run + 1 == runs {
            let pairs: Vec<_> = batch
                .iter()
                .map(|(_, base, out)| (base.clone(), out.clone()))
                .collect();
            for ((described, _, out), answer) in batch.drain(..).zip(loading::of_adapters(&python, &pairs)) {
                std::fs::remove_file(out).unwrap();
                if !answer.is_empty() {
                    wrong.push(format!("{described}: {answer}"));
                }
            }
        }
    }
    println!(
        "{runs} adapters, {converted} converted, {} of them refused by stock",
        wrong.len()
    );
    for line in &wrong {
        println!("{line}");
    }
    assert!(converted * 4 > runs, "{converted} of {runs} converted");
    assert!(wrong.is_empty(), "{} converted adapters are refused", wrong.len());
}

#[test]
fn converted_files_of_mutated_adapters_load() {
    converted_adapters_load(320);
}

#[test]
#[ignore = "ten thousand conversions"]
fn converted_files_of_many_mutated_adapters_load() {
    let runs = std::env::var("QUANTSMITH_RUNS").ok().and_then(|n| n.parse().ok());
    converted_adapters_load(runs.unwrap_or(10_000));
}
