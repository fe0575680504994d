//! Types and whole files against stock llama.cpp: every preset of llama-quantize on small models of
//! many architectures, with and without an importance matrix, and every option.
//!
//! Stock's encoders of the i-quants are slow, so that the plain run compares the types for everything
//! and bytes for what is quick; the `#[ignore]`d tests compare the bytes of all.

use std::fs;
use std::path::{Path, PathBuf};

use convert::importance::{Importance, Selection};
use convert::pipeline::PipelineOptions;
use convert::quantize::{self, QuantizeOptions};
use convert::recipe::{KvOverride, PRESETS, Preset, TensorTypeRule};
use convert::source::GgufSource;
use gguf::{TensorType, Value};
use imatrix::ImportanceMatrix;
use serde_json::{Value as Json, json};

/// One quantization, as both sides are asked for it.
struct Case {
    input: PathBuf,
    imatrix: Option<PathBuf>,
    options: QuantizeOptions,
    pipeline: PipelineOptions,
    /// Further options for stock llama.cpp.
    stock: Json,
}

impl Case {
    fn new(input: &Path, preset: Preset) -> Self {
        Self {
            input: input.to_path_buf(),
            imatrix: None,
            // The synthetic models have what recipes look at.
            options: QuantizeOptions::new(preset).allow_incomplete(true),
            pipeline: PipelineOptions::default(),
            stock: json!({}),
        }
    }

    fn with_imatrix(mut self, imatrix: &Path) -> Self {
        self.imatrix = Some(imatrix.to_path_buf());
        self
    }

    fn describe(&self) -> String {
        format!(
            "{} {} imatrix={} {}",
            self.input.file_stem().unwrap_or_default().to_string_lossy(),
            self.options.recipe.preset,
            self.imatrix.is_some(),
            self.stock
        )
    }

    /// The job for stock llama.cpp. What llama-quantize's command records of the importance matrix
    /// it hands to the library as metadata overrides, and so does this.
    fn job(&self, output: &Path) -> Json {
        let mut job = self.stock.clone();
        let info = self.options.recipe.preset.info();
        job["input"] = json!(self.input);
        job["output"] = json!(output);
        job["file_type"] = json!(info.file_type.unwrap_or(0));
        if info.preset == Preset::Copy {
            job["only_copy"] = json!(true);
        }
        let mut overrides = job["kv_overrides"].as_array().cloned().unwrap_or_default();
        if let Some(path) = &self.imatrix {
            job["imatrix"] = json!(path);
            let matrix = ImportanceMatrix::load(path).unwrap();
            let name = path.to_str().unwrap();
            let mut record = |key: &str, ty, value| {
                overrides.push(json!([format!("quantize.imatrix.{key}"), ty, value]));
            };
            record("file", "str", json!(&name[..name.len().min(127)]));
            record("dataset", "str", json!(matrix.datasets[0]));
            record("entries_count", "int", json!(matrix.entries.len()));
            record("chunks_count", "int", json!(matrix.chunk_count));
        }
        if !overrides.is_empty() {
            job["kv_overrides"] = json!(overrides);
        }
        job
    }

    fn importance(&self) -> convert::Result<Option<Importance>> {
        match &self.imatrix {
            // Stock records the path as it was given.
            Some(path) => Importance::load(path, &Selection::All)
                .map(|loaded| loaded.map(|i| i.recorded_as(&path.to_string_lossy()))),
            None => Ok(None),
        }
    }

    fn run(&self, output: &Path) -> convert::Result<()> {
        let importance = self.importance()?;
        let source = GgufSource::open(&self.input)?;
        let plan = quantize::plan(&source, output, &self.options, importance.as_ref())?;
        quantize::run(&source, &plan, &self.pipeline, None, &|_| {})
    }
}

/// Runs jobs with stock llama.cpp: return codes, or for dry runs the types.
fn run_stock(python: &oracle::Python, dir: &Path, jobs: &[Json]) -> Vec<Json> {
    let list = dir.join("jobs.json");
    fs::write(&list, serde_json::to_vec(jobs).unwrap()).unwrap();
    let printed = python.run("quantize_many.py", [&list]).unwrap();
    let results: Vec<Json> = serde_json::from_str(printed.trim()).unwrap();
    assert_eq!(results.len(), jobs.len());
    results
}

/// Runs the cases on both sides and returns what differs. What stock refuses we must refuse as well.
fn differences(python: &oracle::Python, cases: &[Case]) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let stock: Vec<PathBuf> = (0..cases.len())
        .map(|i| dir.path().join(format!("{i}.gguf")))
        .collect();
    let jobs: Vec<Json> = cases.iter().zip(&stock).map(|(c, path)| c.job(path)).collect();
    let codes = run_stock(python, dir.path(), &jobs);

    let ours = dir.path().join("ours.gguf");
    let mut different = Vec::new();
    for ((case, stock), code) in cases.iter().zip(&stock).zip(codes) {
        match (code.as_i64().unwrap(), case.run(&ours)) {
            (0, Ok(())) => {
                if fs::read(&ours).unwrap() != fs::read(stock).unwrap() {
                    different.push(format!("{}: bytes differ", case.describe()));
                }
            }
            (0, Err(e)) => different.push(format!("{}: only ours fails: {e}", case.describe())),
            (_, Ok(())) => different.push(format!("{}: only stock fails", case.describe())),
            (_, Err(_)) => {}
        }
        // Whatever was left of a failed run must not be compared with the next one.
        let _ = (fs::remove_file(&ours), fs::remove_file(stock));
    }
    different
}

fn assert_same(python: &oracle::Python, cases: &[Case]) {
    let different = differences(python, cases);
    assert!(
        different.is_empty(),
        "{} of {} differ:\n{}",
        different.len(),
        cases.len(),
        different.join("\n")
    );
    eprintln!("{} files compared", cases.len());
}

/// The synthetic models, made in `dir`: pairs of model and importance matrix.
fn synthetic(python: &oracle::Python, dir: &Path, names: &[&str]) -> Vec<(PathBuf, PathBuf)> {
    let mut args = vec![dir.to_str().unwrap()];
    args.extend(names);
    let printed = python.run("synthetic.py", args).unwrap();
    printed
        .split_whitespace()
        .map(|name| {
            (
                dir.join(format!("{name}.gguf")),
                dir.join(format!("{name}.imatrix.gguf")),
            )
        })
        .collect()
}

/// Every preset with and without importance, on every synthetic model.
fn all_cases(models: &[(PathBuf, PathBuf)]) -> Vec<Case> {
    assert!(models.len() > 20);
    let presets = || PRESETS.iter().map(|info| info.preset);
    models
        .iter()
        .flat_map(|(model, imatrix)| {
            presets().flat_map(move |preset| {
                [
                    Case::new(model, preset),
                    Case::new(model, preset).with_imatrix(imatrix),
                ]
            })
        })
        .collect()
}

#[test]
fn types_of_every_preset_on_every_architecture() {
    let Some(python) = oracle::python() else { return };
    let dir = tempfile::tempdir().unwrap();
    let models = synthetic(&python, dir.path(), &[]);
    let mut cases = all_cases(&models);
    for case in &mut cases {
        case.stock = json!({"dry_run": true});
    }
    let jobs: Vec<Json> = cases.iter().map(|c| c.job(Path::new("unused"))).collect();
    let mut compared = 0;
    for (case, stock) in cases.iter().zip(run_stock(&python, dir.path(), &jobs)) {
        let importance = case.importance().unwrap();
        let source = GgufSource::open(&case.input).unwrap();
        let ours = quantize::plan(&source, Path::new("unused"), &case.options, importance.as_ref());
        match (stock.as_object(), ours) {
            (Some(stock), Ok(ours)) => {
                let ours = ours.outputs[0].tensors();
                let ours: Vec<_> = ours.iter().map(|t| (t.name.as_str(), t.ty.name())).collect();
                let stock: Vec<_> = stock
                    .iter()
                    .map(|(name, ty)| (name.as_str(), ty.as_str().unwrap()))
                    .collect();
                assert_eq!(ours, stock, "{}", case.describe());
                compared += ours.len();
            }
            (None, Err(_)) => {}
            (stock, ours) => panic!("{}: stock {stock:?}, ours {ours:?}", case.describe()),
        }
    }
    assert!(compared > 100_000, "{compared}");
}

#[test]
fn bytes_on_every_architecture() {
    let Some(python) = oracle::python() else { return };
    let dir = tempfile::tempdir().unwrap();
    let models = synthetic(&python, dir.path(), &[]);
    let quick = [
        Preset::Q4_K_M,
        Preset::Q5_0,
        Preset::MXFP4_MOE,
        Preset::BF16,
        Preset::Copy,
    ];
    let mut cases = all_cases(&models);
    cases.retain(|case| quick.contains(&case.options.recipe.preset));
    assert_same(&python, &cases);
}

#[test]
#[ignore = "takes long: stock's slow encoders on every model"]
fn bytes_of_every_preset_on_every_architecture() {
    let Some(python) = oracle::python() else { return };
    let dir = tempfile::tempdir().unwrap();
    let models = synthetic(&python, dir.path(), &[]);
    assert_same(&python, &all_cases(&models));
}

#[test]
fn every_option() {
    let Some(python) = oracle::python() else { return };
    let dir = tempfile::tempdir().unwrap();
    let names = ["llama", "llama-mha-tied", "llama-narrow", "mixtral", "gemma3n"];
    let mut cases = Vec::new();
    for (model, imatrix) in synthetic(&python, dir.path(), &names) {
        for preset in [Preset::Q4_K_M, Preset::Q2_K, Preset::Q4_0, Preset::F16] {
            let mut add = |stock: Json, change: &dyn Fn(&mut QuantizeOptions)| {
                for with_imatrix in [false, true] {
                    let mut case = Case::new(&model, preset);
                    case.stock = stock.clone();
                    change(&mut case.options);
                    cases.push(if with_imatrix {
                        case.with_imatrix(&imatrix)
                    } else {
                        case
                    });
                }
            };
            add(json!({"pure": true}), &|o| o.recipe.pure = true);
            add(json!({"leave_output_tensor": true}), &|o| {
                o.recipe.leave_output_tensor = true;
            });
            if preset.base().is_quantized() {
                add(json!({"output_tensor_type": "q5_1"}), &|o| {
                    o.recipe.output_tensor_type = Some(TensorType::Q5_1);
                });
            }
            add(json!({"token_embedding_type": "bf16"}), &|o| {
                o.recipe.token_embedding_type = Some(TensorType::BF16);
            });
            add(
                json!({"tensor_types": [["blk\\.[0-3]\\.attn_v", "q8_0"], ["ffn_(up|gate)", "f16"], ["token", "q4_1"]]}),
                &|o| {
                    o.recipe.tensor_types = ["blk\\.[0-3]\\.attn_v=q8_0", "ffn_(up|gate)=F16", "token=q4_1"]
                        .iter()
                        .map(|rule| TensorTypeRule::parse(rule).unwrap())
                        .collect();
                },
            );
            add(json!({"prune_layers": [1, 2, 6]}), &|o| {
                o.prune_layers = vec![1, 2, 6];
            });
            add(
                json!({"kv_overrides": [
                    ["a.int", "int", -5], ["a.float", "float", 0.1], ["a.bool", "bool", true],
                    ["general.name", "str", "other"], ["llama.attention.head_count_kv", "int", 8],
                    ["general.file_type", "int", 3],
                ]}),
                &|o| {
                    let set = |key: &str, value: Value| KvOverride {
                        key: key.to_owned(),
                        value,
                    };
                    // Without it, the negative number is refused.
                    o.force_overrides = true;
                    o.kv_overrides = vec![
                        set("a.int", Value::I64(-5)),
                        set("a.float", Value::F64(0.1)),
                        set("a.bool", Value::Bool(true)),
                        set("general.name", Value::from("other")),
                        set("llama.attention.head_count_kv", Value::I64(8)),
                        set("general.file_type", Value::I64(3)),
                    ];
                },
            );
        }
    }
    assert_same(&python, &cases);
}

/// Both file forms of an importance matrix, on dense models and mixtures of experts.
#[test]
fn both_forms_of_importance() {
    let Some(python) = oracle::python() else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut cases = Vec::new();
    for (model, imatrix) in synthetic(&python, dir.path(), &["llama", "mixtral", "qwen3moe"]) {
        let legacy = model.with_extension("dat");
        let matrix = ImportanceMatrix::load(&imatrix).unwrap();
        matrix.to_legacy_form().save(&legacy).unwrap();
        for preset in [Preset::IQ2_XXS, Preset::IQ1_S, Preset::Q2_K, Preset::Q4_K_M] {
            for imatrix in [&imatrix, &legacy] {
                cases.push(Case::new(&model, preset).with_imatrix(imatrix));
            }
        }
    }
    assert_same(&python, &cases);
}

#[test]
fn quantized_sources() {
    let Some(python) = oracle::python() else { return };
    let dir = tempfile::tempdir().unwrap();
    let (model, imatrix) = synthetic(&python, dir.path(), &["mixtral"]).remove(0);
    let mut cases = Vec::new();
    for from in [
        Preset::Q8_0,
        Preset::Q4_K_M,
        Preset::IQ4_XS,
        Preset::F32,
        Preset::BF16,
    ] {
        let source = dir.path().join(format!("{from}.gguf"));
        Case::new(&model, from).run(&source).unwrap();
        for to in [
            Preset::Q8_0,
            Preset::Q5_K_M,
            Preset::IQ2_XS,
            Preset::F16,
            Preset::Copy,
        ] {
            for allow in [false, true] {
                let mut case = Case::new(&source, to).with_imatrix(&imatrix);
                case.options.allow_requantize = allow;
                case.stock = json!({"allow_requantize": allow});
                cases.push(case);
            }
        }
    }
    assert_same(&python, &cases);
}

#[test]
fn shards_are_kept() {
    let Some(python) = oracle::python() else { return };
    let dir = tempfile::tempdir().unwrap();
    let (model, _) = synthetic(&python, dir.path(), &["llama"]).remove(0);
    // Stock makes the shards too: by copying a model that is marked as split, one file at a time.
    let prefix = dir.path().join("split");
    let parts = split_in_two(&model, &prefix);
    for keep_split in [true, false] {
        let mut case = Case::new(&parts, Preset::Q4_K_M);
        case.options.keep_split = keep_split;
        case.stock = json!({"keep_split": keep_split});
        let (stock, ours) = (dir.path().join("stock"), dir.path().join("ours"));
        assert_eq!(run_stock(&python, dir.path(), &[case.job(&stock)]), [json!(0)]);
        case.run(&ours).unwrap();
        let suffixes: &[&str] = if keep_split {
            &["-00001-of-00002.gguf", "-00002-of-00002.gguf"]
        } else {
            &[""]
        };
        for suffix in suffixes {
            let read = |base: &Path| {
                fs::read(
                    base.with_file_name(format!("{}{suffix}", base.file_name().unwrap().to_string_lossy())),
                )
                .unwrap()
            };
            assert!(read(&stock) == read(&ours), "keep_split={keep_split} {suffix}");
        }
    }
}

/// Writes a model as two shards and returns the first.
fn split_in_two(model: &Path, prefix: &Path) -> PathBuf {
    let source = gguf::GgufModel::open(model).unwrap();
    let half = source.len() / 2;
    let mut first = None;
    for (number, range) in [0..half, half..source.len()].into_iter().enumerate() {
        let mut metadata = if number == 0 {
            source.metadata().clone()
        } else {
            gguf::Metadata::new()
        };
        metadata.set("split.no", number as u16);
        metadata.set("split.count", 2u16);
        metadata.set("split.tensors.count", source.len() as i32);
        let tensors = range.clone().map(|t| {
            let info = source.info(t);
            (info.name.clone(), info.shape.clone(), info.ty)
        });
        let plan = gguf::FilePlan::new(metadata, tensors).unwrap();
        let path = gguf::split::shard_path(prefix, number as u64, 2);
        let writer = gguf::Writer::create(&path, &plan).unwrap();
        for (at, tensor) in range.enumerate() {
            let size = source.info(tensor).size_bytes();
            writer
                .write_at(at, 0, &source.bytes(tensor, 0..size).unwrap())
                .unwrap();
        }
        writer.finish().unwrap();
        first.get_or_insert(path);
    }
    first.unwrap()
}

/// The bytes depend neither on threads nor on the memory bound, which decides the pieces.
#[test]
fn threads_and_memory_do_not_matter() {
    let Some(python) = oracle::python() else { return };
    let dir = tempfile::tempdir().unwrap();
    let (model, imatrix) = synthetic(&python, dir.path(), &["qwen3moe"]).remove(0);
    let mut cases = Vec::new();
    for (threads, max_memory) in [(1, 1 << 30), (3, 1 << 16), (16, 20_000), (1, 6_000)] {
        for preset in [Preset::Q4_K_M, Preset::Q3_K_M] {
            let mut case = Case::new(&model, preset).with_imatrix(&imatrix);
            case.pipeline = PipelineOptions::default().threads(threads).max_memory(max_memory);
            cases.push(case);
        }
    }
    assert_same(&python, &cases);
}

/// The explicit sweep: every preset on the models named in `QUANTSMITH_SWEEP`, separated by commas,
/// each optionally followed by `=` and its importance matrix.
#[test]
#[ignore = "takes long; names its models in QUANTSMITH_SWEEP"]
fn sweep() {
    let Some(python) = oracle::python() else { return };
    let models = std::env::var("QUANTSMITH_SWEEP").expect("QUANTSMITH_SWEEP names the models");
    for model in models.split(',') {
        let (model, imatrix) = match model.split_once('=') {
            Some((model, imatrix)) => (model, Some(Path::new(imatrix))),
            None => (model, None),
        };
        for info in PRESETS {
            let plain = Case::new(Path::new(model), info.preset);
            let case = match imatrix {
                Some(imatrix) => plain.with_imatrix(imatrix),
                None => plain,
            };
            // One at a time: the files are large.
            assert_same(&python, std::slice::from_ref(&case));
            println!("{}: same", case.describe());
        }
    }
}
