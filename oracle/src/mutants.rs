//! Models that something was done to: files that are well-formed and no longer whole.

use std::collections::HashSet;
use std::path::Path;

use anyhow::Result;
use gguf::{Array, FilePlan, GgufModel, Metadata, TensorInfo, TensorType, Value, Writer};

/// A small model in memory.
#[derive(Clone)]
pub struct Small {
    /// Its keys.
    pub metadata: Metadata,
    /// Its tensors with their bytes.
    pub tensors: Vec<(TensorInfo, Vec<u8>)>,
}

/// A model and what was done to it.
pub struct Mutant {
    /// The kind of change.
    pub kind: &'static str,
    /// The key or tensor that was changed.
    pub subject: String,
    /// The model.
    pub model: Small,
}

impl Small {
    /// Reads a file; one without a vocabulary then says so.
    ///
    /// # Errors
    /// When it is no GGUF file.
    pub fn read(path: &Path) -> Result<Self> {
        let model = GgufModel::open(path)?;
        let mut metadata = model.metadata().clone();
        // Some fixtures' special tokens are those of larger vocabularies.
        if let Some(Value::Array(Array::String(tokens))) = metadata.get("tokenizer.ggml.tokens") {
            let count = tokens.len() as u64;
            for (key, value) in metadata.iter_mut() {
                if key.ends_with("_token_id") && value.as_u64().is_some_and(|id| id >= count) {
                    *value = Value::U32(0);
                }
            }
        }
        let tensors = model.tensors().map(|t| {
            let bytes = model.bytes(t.index, 0..t.info.size_bytes())?;
            Ok((t.info.clone(), bytes.into_owned()))
        });
        if metadata.get("tokenizer.ggml.model").is_none() {
            let rows = model
                .find("token_embd.weight")
                .map_or(0, |i| model.info(i).rows());
            let key = format!("{}.vocab_size", metadata.architecture());
            metadata.set("tokenizer.ggml.model", "none");
            metadata.set(key, u32::try_from(rows)?);
        }
        Ok(Self {
            metadata,
            tensors: tensors.collect::<Result<_>>()?,
        })
    }

    /// Writes a file.
    ///
    /// # Errors
    /// When it cannot be written as a GGUF file.
    pub fn write(&self, path: &Path) -> Result<()> {
        let infos = self
            .tensors
            .iter()
            .map(|(t, _)| (t.name.clone(), t.shape.clone(), t.ty));
        let plan = FilePlan::new(self.metadata.clone(), infos)?;
        let writer = Writer::create(path, &plan)?;
        for (index, (info, bytes)) in self.tensors.iter().enumerate() {
            if bytes.len() as u64 == info.size_bytes() {
                writer.write_at(index, 0, bytes)?;
            } else {
                writer.write_at(index, 0, &vec![0; usize::try_from(info.size_bytes())?])?;
            }
        }
        Ok(writer.finish()?)
    }

    fn without(&self, name: &str) -> Self {
        let mut model = self.clone();
        model.tensors.retain(|(t, _)| t.name != name);
        model
    }

    fn with_tensor(&self, name: &str, change: impl FnOnce(&mut TensorInfo)) -> Self {
        let mut model = self.clone();
        if let Some((info, _)) = model.tensors.iter_mut().find(|(t, _)| t.name == name) {
            change(info);
        }
        model
    }

    fn with_key(&self, key: &str, value: impl Into<Value>) -> Self {
        let mut model = self.clone();
        model.metadata.set_in_place(key, value);
        model
    }
}

/// Another type for a value of the same meaning.
fn retyped(value: &Value) -> Vec<Value> {
    match value {
        Value::U32(n) => vec![
            Value::U64((*n).into()),
            Value::I32(n.cast_signed()),
            Value::F32(*n as f32),
        ],
        Value::F32(x) => vec![Value::F64((*x).into()), Value::U32(*x as u32)],
        Value::Bool(flag) => vec![Value::U32(u32::from(*flag))],
        Value::String(_) => vec![Value::U32(3)],
        Value::Array(Array::U32(v)) => vec![
            Value::Array(Array::F32(v.iter().map(|n| *n as f32).collect())),
            Value::U32(v.first().copied().unwrap_or(1)),
        ],
        Value::Array(Array::I32(v)) => vec![Value::Array(Array::F32(v.iter().map(|n| *n as f32).collect()))],
        Value::Array(Array::F32(v)) => {
            vec![Value::Array(Array::F64(v.iter().map(|n| (*n).into()).collect()))]
        }
        Value::Array(Array::Bool(v)) => vec![Value::Array(Array::U32(v.iter().map(|&b| b.into()).collect()))],
        Value::Array(Array::String(_)) => vec![Value::Array(Array::U32(vec![1, 2]))],
        _ => vec![],
    }
}

/// Other values of the same type.
fn revalued(value: &Value) -> Vec<Value> {
    match value {
        Value::U32(n) => vec![
            Value::U32(0),
            Value::U32(n.saturating_add(1)),
            Value::U32(n.saturating_mul(2)),
            Value::U32(u32::MAX),
        ],
        Value::F32(x) => vec![Value::F32(x * 2.0), Value::F32(0.0)],
        Value::Bool(flag) => vec![Value::Bool(!flag)],
        Value::Array(Array::U32(v)) => vec![Value::Array(Array::U32(v.iter().skip(1).copied().collect()))],
        Value::Array(Array::I32(v)) => vec![Value::Array(Array::I32(v.iter().skip(1).copied().collect()))],
        Value::Array(Array::F32(v)) => vec![Value::Array(Array::F32(v.iter().skip(1).copied().collect()))],
        Value::Array(Array::Bool(v)) => vec![Value::Array(Array::Bool(v.iter().skip(1).copied().collect()))],
        Value::Array(Array::String(v)) => {
            vec![Value::Array(Array::String(
                v[..v.len().saturating_sub(1)].to_vec(),
            ))]
        }
        _ => vec![],
    }
}

/// All that can be done to a model with one change; the first tensor of a name stands for those of all layers.
pub fn mutants(model: &Small) -> Vec<Mutant> {
    let mut all = Mutants(Vec::new());
    for (key, value) in model.metadata.iter() {
        if key.starts_with("general.") && key != "general.architecture" && key != "general.name" {
            continue;
        }
        all.of_key(model, key, value);
    }
    let mut seen = HashSet::new();
    for (info, _) in &model.tensors {
        let name = info.name.as_str();
        if seen.insert(
            name.split('.')
                .filter(|part| part.parse::<u32>().is_err())
                .collect::<Vec<_>>(),
        ) {
            all.of_tensor(model, info);
            all.beside(model, info);
        }
    }
    let mut more = model.clone();
    if let Some((info, bytes)) = model.tensors.first() {
        let name = "blk.0.surplus.weight".to_owned();
        more.tensors
            .push((TensorInfo { name, ..info.clone() }, bytes.clone()));
        all.add("tensor added", "blk.0.surplus.weight", more);
    }
    all.0
}

struct Mutants(Vec<Mutant>);

impl Mutants {
    fn add(&mut self, kind: &'static str, subject: &str, model: Small) {
        self.0.push(Mutant {
            kind,
            subject: subject.to_owned(),
            model,
        });
    }

    fn of_key(&mut self, model: &Small, key: &str, value: &Value) {
        let mut without = model.clone();
        without.metadata.remove(key);
        self.add("key removed", key, without);
        for other in retyped(value) {
            self.add("key of another type", key, model.with_key(key, other));
        }
        for other in revalued(value) {
            self.add("key of another value", key, model.with_key(key, other));
        }
        if key.ends_with("_token_id") {
            self.add("special id", key, model.with_key(key, 1_000_000u32));
        }
    }

    fn of_tensor(&mut self, model: &Small, info: &TensorInfo) {
        let name = info.name.as_str();
        self.add("tensor removed", name, model.without(name));
        let mut changed = |kind: &'static str, change: &dyn Fn(&mut TensorInfo)| {
            self.add(kind, name, model.with_tensor(name, change));
        };
        changed("tensor renamed", &|t| {
            t.name = t.name.replacen("weight", "wieght", 1) + "_";
        });
        changed("tensor reshaped", &|t| {
            let d = t.shape.last_mut().expect("a dimension");
            *d = if *d > 1 { *d / 2 } else { 2 };
        });
        if info.shape.len() > 1 && info.shape[0] != info.shape[1] {
            changed("tensor reshaped", &|t| t.shape.swap(0, 1));
        }
        if info.ty == TensorType::F32 {
            changed("tensor of another type", &|t| t.ty = TensorType::F16);
            changed("tensor of another type", &|t| t.ty = TensorType::I32);
            if info.shape[0].is_multiple_of(32) {
                changed("tensor of another type", &|t| t.ty = TensorType::Q4_0);
            }
        }
    }

    /// Tensors that a linear layer may have besides.
    fn beside(&mut self, model: &Small, info: &TensorInfo) {
        let Some(base) = info.name.strip_suffix(".weight") else {
            return;
        };
        for suffix in ["bias", "scale"] {
            let beside = format!("{base}.{suffix}");
            if model.tensors.iter().any(|(t, _)| t.name == beside) {
                continue;
            }
            let mut more = model.clone();
            let rows = match suffix {
                "scale" => 1,
                _ => info.shape.get(1).copied().unwrap_or(info.shape[0]),
            };
            let extra = TensorInfo {
                name: beside.clone(),
                shape: vec![rows],
                ty: TensorType::F32,
                offset: 0,
            };
            let bytes = 1f32.to_le_bytes().repeat(usize::try_from(rows).unwrap_or(1));
            more.tensors.push((extra, bytes));
            self.add("tensor added", &beside, more);
        }
    }
}
