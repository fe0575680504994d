//! The model directories that `fixtures/architectures` describes, made without Python.

use std::path::{Path, PathBuf};

use convert::digest::file_sha256;
use convert::pipeline::{PipelineOptions, execute};
use convert::plan::{OutputPlan, PlannedTensor};
use convert::source::Source;
use convert::source::hf::{HfOptions, HfSource, OutType};
use serde_json::{Value, json};

/// The folder of the fixtures: NAME.json for each.
pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/architectures")
}

/// The fixture of a name.
///
/// # Panics
/// When there is none.
pub fn fixture(name: &str) -> Value {
    let path = fixtures().join(format!("{name}.json"));
    let text = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_slice(&text).unwrap()
}

/// The model directory of a fixture, made below `folder`.
///
/// # Panics
/// As [`make()`].
pub fn directory(name: &str, folder: &Path) -> PathBuf {
    let dir = folder.join(name).join("model");
    std::fs::create_dir_all(&dir).unwrap();
    make(&fixture(name), &dir);
    dir
}

/// Outcome of a line of a list of digests.
pub enum Made {
    /// A file, which is to be the stock converter's.
    File,
    /// None, as it should be.
    Nothing,
    /// Something that is not compared.
    Other,
}

/// Compares what `make` makes of the lines of a list with their digests: fixture, option, SHA-256 of the stock converter's
/// file or "fails". `make` sees the option, the digest, the fixture's directory and the path of the file.
///
/// # Panics
/// When a file is another or cannot be made, or less than `least` are compared.
pub fn compare_digests(
    list: &str,
    least: usize,
    make: impl Fn([&str; 3], &Path, &Path) -> Result<Made, String>,
) {
    let (mut compared, mut wrong) = (0, Vec::new());
    for line in list.lines() {
        let columns: [&str; 3] = line
            .split(' ')
            .collect::<Vec<_>>()
            .try_into()
            .unwrap_or_else(|_| panic!("malformed line {line:?}"));
        let temporary = tempfile::tempdir().unwrap();
        let dir = directory(columns[0], temporary.path());
        let out = temporary.path().join("out.gguf");
        match make(columns, &dir, &out) {
            Ok(Made::File) if file_sha256(&out).unwrap() != columns[2] => {
                wrong.push(format!("{line}: another file"));
            }
            Ok(Made::File | Made::Nothing) => {}
            Ok(Made::Other) => continue,
            Err(message) => {
                wrong.push(format!("{line}: {message}"));
                continue;
            }
        }
        compared += 1;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(compared >= least, "{compared} compared");
}

/// The weights of the fixtures: multiples of 1/256 below 1/2 in magnitude, by place and tensor number.
pub fn weight(seed: u64, at: u64) -> f32 {
    let x = (at + seed * 1_000_003).wrapping_mul(6_364_136_223_846_793_005);
    let x = (x ^ (x >> 29)).wrapping_mul(1_442_695_040_888_963_407);
    ((x >> 57) as i64 * 2 - 127) as f32 / 256.0
}

/// The type and the bytes of a tensor that is not F32, as `py/raw_tensors.py` makes them.
fn other_type(fixture: &Value, name: &str, seed: u64, elements: u64) -> Option<(String, Vec<u8>)> {
    if let Some(numbers) = fixture["numbers"][name].as_array() {
        let bytes = numbers.iter().flat_map(|n| n.as_i64().unwrap().to_le_bytes());
        return Some(("I64".to_owned(), bytes.collect()));
    }
    let dtype = fixture["stored"][name].as_str()?;
    let mut bytes = Vec::new();
    for at in 0..elements {
        let x = weight(seed, at);
        // The seven bits that the weight was made of.
        let n = ((x * 256.0 + 127.0) / 2.0) as u8;
        match dtype {
            "F8_E4M3" => bytes.push(n & 0x3F | (n & 0x40) << 1),
            "F8_E8M0" | "U8 scales" => bytes.push(116 + n % 8),
            "BF16" => bytes.extend_from_slice(&((x.to_bits() >> 16) as u16).to_le_bytes()),
            _ => bytes.push(n << 1 | n >> 6),
        }
    }
    let dtype = dtype.split(' ').next().unwrap_or(dtype);
    Some((dtype.to_owned(), bytes))
}

/// Where the directory of the model that a draft is of would be.
pub fn target_of(dir: &Path) -> PathBuf {
    dir.with_file_name("target")
}

/// Writes the model directory that a fixture describes, and beside it that of the target of a draft model.
///
/// # Panics
/// When the fixture is malformed or the directory cannot be written.
pub fn make(fixture: &Value, dir: &Path) {
    let mut weights = Safetensors::default();
    floats(fixture, &mut weights);
    integers(fixture, &mut weights);
    weights.write(&dir.join("model.safetensors"));
    write_json(&dir.join("config.json"), &fixture["config"]);
    // A draft model's vocabulary is its target's.
    let dir = match target_of(dir) {
        target if fixture["target"].is_object() => {
            std::fs::create_dir_all(&target).unwrap();
            write_json(&target.join("config.json"), &fixture["target"]);
            target
        }
        _ => dir.to_path_buf(),
    };
    tokenizer(fixture, &dir);
    modules(fixture, &dir);
}

fn write_json(path: &Path, value: &Value) {
    std::fs::write(path, value.to_string()).unwrap();
}

/// Changes a file of JSON.
///
/// # Panics
/// When it cannot be read or written.
pub fn edit_json(path: &Path, change: impl FnOnce(&mut Value)) {
    let mut document = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    change(&mut document);
    write_json(path, &document);
}

/// The header of a safetensors file and its data.
///
/// # Panics
/// When it is none.
pub fn safetensors_parts(file: &[u8]) -> (serde_json::Map<String, Value>, &[u8]) {
    let (length, rest) = file.split_first_chunk().unwrap();
    let (header, data) = rest.split_at(usize::try_from(u64::from_le_bytes(*length)).unwrap());
    (serde_json::from_slice(header).unwrap(), data)
}

/// A safetensors file that is being made, or changed.
#[derive(Default)]
pub struct Safetensors {
    header: serde_json::Map<String, Value>,
    data: Vec<u8>,
}

impl Safetensors {
    /// The tensors of a file.
    ///
    /// # Panics
    /// When it cannot be read.
    pub fn read(path: &Path) -> Self {
        let file = std::fs::read(path).unwrap();
        let (header, data) = safetensors_parts(&file);
        Self {
            header,
            data: data.to_vec(),
        }
    }

    /// Names in the order of the header.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.header.keys().map(String::as_str)
    }

    /// Type, shape and bytes of a tensor.
    pub fn tensor(&self, name: &str) -> Option<(&str, Vec<u64>, &[u8])> {
        let entry = self.header.get(name)?;
        let numbers = |key: &str| -> Vec<u64> {
            let list = entry[key].as_array().unwrap();
            list.iter().map(|n| n.as_u64().unwrap()).collect()
        };
        let offsets = numbers("data_offsets");
        let bytes = &self.data[offsets[0] as usize..offsets[1] as usize];
        Some((entry["dtype"].as_str().unwrap(), numbers("shape"), bytes))
    }

    /// Adds a tensor.
    pub fn add(&mut self, name: &str, dtype: &str, shape: &[u64], bytes: impl IntoIterator<Item = u8>) {
        let start = self.data.len();
        self.data.extend(bytes);
        let entry = json!({"dtype": dtype, "shape": shape, "data_offsets": [start, self.data.len()]});
        self.header.insert(name.to_owned(), entry);
    }

    /// Puts two files in place of a directory's weights, with every other of `names`, and their index.
    ///
    /// # Panics
    /// When there is no such tensor, or a file cannot be written.
    pub fn write_shards<'n>(&self, dir: &Path, names: impl Iterator<Item = &'n str>) {
        let mut shards = [Self::default(), Self::default()];
        let file = |shard: usize| format!("model-0000{}-of-00002.safetensors", shard + 1);
        let mut places = serde_json::Map::new();
        for (at, name) in names.enumerate() {
            let (dtype, shape, bytes) = self.tensor(name).unwrap();
            shards[at % 2].add(name, dtype, &shape, bytes.iter().copied());
            places.insert(name.to_owned(), json!(file(at % 2)));
        }
        std::fs::remove_file(dir.join("model.safetensors")).unwrap();
        for (at, shard) in shards.into_iter().enumerate() {
            shard.write(&dir.join(file(at)));
        }
        let index = json!({"metadata": {}, "weight_map": places});
        write_json(&dir.join("model.safetensors.index.json"), &index);
    }

    /// Writes the file.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write(self, path: &Path) {
        let header = Value::Object(self.header).to_string();
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend_from_slice(header.as_bytes());
        file.extend_from_slice(&self.data);
        std::fs::write(path, file).unwrap();
    }
}

/// Tensors that map a draft model's tokens to its target's.
const INTEGERS: [(&str, &str); 2] = [("d2t", "I64"), ("t2d", "BOOL")];

fn integers(fixture: &Value, weights: &mut Safetensors) {
    for (name, dtype) in INTEGERS {
        let Some(count) = fixture["tensors"][name][0].as_u64() else {
            continue;
        };
        let bytes: Vec<u8> = match dtype {
            "I64" => (0..count).flat_map(u64::to_le_bytes).collect(),
            _ => vec![0; count as usize],
        };
        weights.add(name, dtype, &[count], bytes);
    }
}

fn floats(fixture: &Value, weights: &mut Safetensors) {
    let chameleon = fixture["config"]["swin_norm"] == json!(false);
    for (seed, (name, shape)) in fixture["tensors"].as_object().unwrap().iter().enumerate() {
        if INTEGERS.iter().any(|(integers, _)| integers == name) {
            continue;
        }
        let dims: Vec<u64> = shape
            .as_array()
            .unwrap()
            .iter()
            .map(|d| d.as_u64().unwrap())
            .collect();
        if let Some((dtype, bytes)) = other_type(fixture, name, seed as u64, dims.iter().product()) {
            weights.add(name, &dtype, &dims, bytes);
            continue;
        }
        let norm = dims.len() == 1 && name.contains("norm") && !name.contains("bias");
        let elements: u64 = dims.iter().product();
        // The last rows of the embeddings may be zero.
        let zero = match name == "model.embed_tokens.weight" {
            true => fixture["zero_rows"].as_u64().unwrap_or(0) * dims[1],
            false => 0,
        };
        // Of the smaller Chameleon, the first head's norm is that of all.
        let repeats = chameleon && dims.len() == 2 && name.contains("_norm.");
        let values = (0..elements).map(|at| {
            if at >= elements - zero {
                return 0.0;
            }
            let x = weight(seed as u64, if repeats { at % dims[1] } else { at });
            if norm { x / 2.0 + 1.0 } else { x }
        });
        weights.add(name, "F32", &dims, values.flat_map(f32::to_le_bytes));
    }
}

/// The files of the tokenizer, and those that have an image's settings.
fn tokenizer(fixture: &Value, dir: &Path) {
    let class = fixture["tokenizer_class"].as_str().unwrap_or("LlamaTokenizer");
    let mut config = json!({"tokenizer_class": class});
    if let Some(template) = fixture["chat_template"].as_str() {
        config["chat_template"] = json!(template);
    }
    if !fixture["mmproj"].is_null() {
        config["added_tokens_decoder"] = json!({"385": {"content": "[IMG_BREAK]", "special": true}});
        let preprocessor = json!({
            "image_mean": [0.48145466, 0.4578275, 0.40821073],
            "image_std": [0.26862954, 0.26130258, 0.27577711],
            "image_seq_length": 16,
            "size": {"longest_edge": 96},
        });
        write_json(&dir.join("preprocessor_config.json"), &preprocessor);
    }
    write_json(&dir.join("tokenizer_config.json"), &config);
    let vocabulary = fixtures()
        .join("../vocab")
        .join(fixture["tokenizer"].as_str().unwrap());
    for name in [
        "tokenizer.json",
        "tokenizer.model",
        "sentencepiece.bpe.model",
        "qwen.tiktoken",
        "hy.tiktoken",
        "rwkv_vocab_v20230424.txt",
        "tokenizer.jsonl",
    ] {
        if vocabulary.join(name).is_file() {
            std::fs::copy(vocabulary.join(name), dir.join(name)).unwrap();
        }
    }
}

/// The modules that sentence-transformers puts behind a model: the pooling, and matrices.
fn modules(fixture: &Value, dir: &Path) {
    let (pooling, dense) = (&fixture["pooling"], &fixture["dense"]);
    let poolings = pooling.as_str().map(|_| ("1_Pooling", "Pooling"));
    let matrices = dense.as_object().into_iter().flatten();
    let behind = poolings
        .into_iter()
        .chain(matrices.clone().map(|(path, _)| (&**path, "Dense")));
    let behind: Vec<(&str, &str)> = behind.collect();
    if behind.is_empty() {
        return;
    }
    let module = |(path, kind)| json!({"type": format!("sentence_transformers.models.{kind}"), "path": path});
    let all = [("", "Transformer")].into_iter().chain(behind);
    write_json(&dir.join("modules.json"), &all.map(module).collect());
    if let Some(pooling) = pooling.as_str() {
        std::fs::create_dir(dir.join("1_Pooling")).unwrap();
        let config = json!({ "pooling_mode": pooling });
        write_json(&dir.join("1_Pooling/config.json"), &config);
    }
    let mut inputs = fixture["config"]["hidden_size"].as_u64().unwrap_or_default();
    for (path, outputs) in matrices {
        let outputs = outputs.as_u64().unwrap();
        dense_module(&dir.join(path), inputs, outputs);
        inputs = outputs;
    }
}

/// A matrix behind a sentence transformer.
fn dense_module(folder: &Path, inputs: u64, outputs: u64) {
    std::fs::create_dir(folder).unwrap();
    let config = json!({"in_features": inputs, "out_features": outputs, "bias": false,
        "activation_function": "torch.nn.modules.linear.Identity"});
    write_json(&folder.join("config.json"), &config);
    let values = (0..inputs * outputs).map(|at| (at % 61) as f32 / 64.0 - 0.5);
    let mut weights = Safetensors::default();
    weights.add(
        "linear.weight",
        "F32",
        &[outputs, inputs],
        values.flat_map(f32::to_le_bytes),
    );
    weights.write(&folder.join("model.safetensors"));
}

/// How such a directory is converted: to F32, draft models with the vocabulary of their target, EmbeddingGemma with its dense
/// modules.
pub fn options(dir: &Path) -> HfOptions {
    HfOptions::default()
        .outtype(OutType::F32)
        .pre_tokenizer(Some("gpt-2".to_owned()))
        .target_model_dir(Some(target_of(dir)).filter(|target| target.is_dir()))
        .sentence_modules(has_dense_modules(dir))
}

/// Whether a model directory has dense modules of sentence-transformers, which are converted on request alone.
pub fn has_dense_modules(dir: &Path) -> bool {
    dir.join("2_Dense").is_dir()
}

/// Converts such a directory to a file of F32.
///
/// # Errors
/// Those of the conversion, as text.
pub fn convert(dir: &Path, out: &Path, mmproj: bool) -> Result<HfSource, String> {
    convert_as(dir, out, &options(dir).mmproj(mmproj))
}

/// Converts such a directory.
///
/// # Errors
/// Those of the conversion, as text.
pub fn convert_as(dir: &Path, out: &Path, options: &HfOptions) -> Result<HfSource, String> {
    let source = HfSource::open(dir, options).map_err(|e| e.to_string())?;
    let plan = OutputPlan::unquantized(out, &source, Vec::new()).map_err(|e| e.to_string())?;
    execute(&source, &[plan], &PipelineOptions::default(), &|_| {}).map_err(|e| e.to_string())?;
    Ok(source)
}

/// [`convert_as()`] of a directory that makes no whole model.
///
/// # Errors
/// Those of the conversion, as text.
pub fn convert_unchecked(dir: &Path, out: &Path, options: &HfOptions) -> Result<HfSource, String> {
    let source = HfSource::open(dir, options).map_err(|e| e.to_string())?;
    let contents = source
        .tensors()
        .iter()
        .enumerate()
        .map(|(index, tensor)| PlannedTensor::new(index, tensor, tensor.ty));
    let plan = OutputPlan::new(out, source.metadata(), Vec::new(), contents.collect());
    let plan = plan.map_err(|e| e.to_string())?;
    execute(&source, &[plan], &PipelineOptions::default(), &|_| {}).map_err(|e| e.to_string())?;
    Ok(source)
}

/// Converts a model directory to a file of its own types, its tokenizer found by what it does.
///
/// # Errors
/// Those of the conversion, as text.
pub fn convert_as_it_is(dir: &Path, out: &Path) -> Result<(), String> {
    let source = HfSource::open(dir, &HfOptions::default()).map_err(|e| e.to_string())?;
    let plan = OutputPlan::unquantized(out, &source, Vec::new()).map_err(|e| e.to_string())?;
    execute(&source, &[plan], &PipelineOptions::default(), &|_| {}).map_err(|e| e.to_string())
}
