//! The safetensors files: names and row orders of the checkpoint, written shard by shard.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;

use gguf::TensorType;
use serde_json::{Map, Value, json};

use super::{ExportType, Family, rope};
use crate::arch::{self, Rule, Transform};
use crate::source::{GgufSource, Source, SourceTensor};
use crate::{Error, Result};

/// Bytes of weights in a file.
const SHARD_BYTES: u64 = 5_000_000_000;

/// Weights read at a time.
const STEP: u64 = 1 << 20;

/// Most experts a tensor may hold.
const MAX_EXPERTS: u64 = 4096;

/// Tensors for each file of the checkpoint, at least, for the file's own order to be kept. The converter takes
/// those of a file by their names, so that another order needs more files.
const TENSORS_PER_FILE: usize = 4;

/// A tensor of the checkpoint.
struct Weight {
    name: String,
    source: usize,
    dtype: ExportType,
    /// Outermost dimension first.
    shape: Vec<u64>,
    /// The first of its rows in the source's tensor, which holds several where they are experts.
    first_row: u64,
    /// Rows of a head, where heads are to be put back into their half-split order.
    head_rows: Option<u64>,
}

impl Weight {
    fn bytes(&self) -> u64 {
        self.shape.iter().product::<u64>() * self.dtype.bytes()
    }
}

/// Files and tensors to write.
pub(super) struct Plan {
    /// File by file, each sorted by name.
    files: Vec<Vec<Weight>>,
    /// GGUF names.
    names: Vec<String>,
    /// The type of most matrices.
    pub(super) dtype: ExportType,
    /// Whether matrices are written in another type than theirs.
    pub(super) changes: bool,
    pub(super) warnings: Vec<String>,
}

impl Plan {
    /// # Errors
    /// A tensor that no rule of the architecture explains.
    pub(super) fn new(source: &GgufSource, family: &Family, dtype: Option<ExportType>) -> Result<Self> {
        let metadata = source.metadata();
        let input = |message: String| Error::input(source.path(), message);
        let heads = |key: &str| {
            metadata
                .arch(key)
                .and_then(gguf::Value::as_u64)
                .filter(|&n| n > 0)
                .ok_or_else(|| {
                    let key = format!("{}.{key}", metadata.architecture());
                    input(format!("key {key}: expected a positive number, found none"))
                })
        };
        let heads = (heads("attention.head_count")?, heads("attention.head_count_kv")?);
        let matrices = source.tensors().iter().filter(|t| t.shape.len() > 1);
        let quantized = matrices.clone().any(|t| ExportType::of(t.ty).is_none());
        let common = matrices
            .clone()
            .find(|t| t.name.starts_with("blk."))
            .and_then(|t| ExportType::of(t.ty));
        let common = dtype.or(common).unwrap_or(ExportType::F32);
        let mut plan = Self {
            files: Vec::new(),
            names: source.tensors().iter().map(|t| t.name.clone()).collect(),
            dtype: common,
            changes: quantized || dtype.is_some(),
            warnings: Vec::new(),
        };
        if quantized {
            plan.warnings.push(format!(
                "quantized tensors are written as {}, as they decode",
                dtype.unwrap_or(ExportType::F32).dtype()
            ));
        }
        let naming = Naming {
            source,
            family,
            rules: arch::rules_of(family.gguf),
            heads,
            common,
            dtype,
        };
        plan.files = files(naming.weights()?);
        Ok(plan)
    }

    /// Whether the model has a tensor of this GGUF name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.names.iter().any(|n| n == name)
    }

    /// Writes the files into `dir` and returns their names.
    pub(super) fn write(&self, source: &GgufSource, dir: &Path) -> Result<Vec<String>> {
        let mut shards: Vec<&[Weight]> = Vec::new();
        for file in &self.files {
            let mut rest = file.as_slice();
            while !rest.is_empty() {
                let mut held = 0u64;
                let fits = |w: &&Weight| {
                    held = held.saturating_add(w.bytes());
                    held <= SHARD_BYTES
                };
                let count = rest.iter().take_while(fits).count().max(1);
                let (head, tail) = rest.split_at(count);
                shards.push(head);
                rest = tail;
            }
        }
        let mut files = Vec::new();
        let mut map = Map::new();
        for (number, shard) in shards.iter().enumerate() {
            let name = match shards.len() {
                1 => "model.safetensors".to_owned(),
                n => format!("model-{:05}-of-{n:05}.safetensors", number + 1),
            };
            write_file(source, &dir.join(&name), shard)?;
            map.extend(shard.iter().map(|w| (w.name.clone(), Value::from(name.clone()))));
            files.push(name);
        }
        if files.len() > 1 {
            let name = "model.safetensors.index.json";
            let total: u64 = shards.iter().copied().flatten().map(Weight::bytes).sum();
            let index = json!({"metadata": {"total_size": total}, "weight_map": map});
            let path = dir.join(name);
            std::fs::write(&path, super::json(&index)).map_err(|source| Error::Io { path, source })?;
            files.push(name.to_owned());
        }
        Ok(files)
    }
}

/// The names, types and rows of a checkpoint's tensors.
struct Naming<'a> {
    source: &'a GgufSource,
    family: &'a Family,
    rules: Vec<&'static Rule>,
    /// Heads of queries, and of keys and values.
    heads: (u64, u64),
    /// The type of most matrices.
    common: ExportType,
    /// The type that all matrices are asked in.
    dtype: Option<ExportType>,
}

impl Naming<'_> {
    fn fail(&self, tensor: &SourceTensor, message: &str) -> Error {
        Error::input(self.source.path(), format!("tensor '{}': {message}", tensor.name))
    }

    /// The tensors of the checkpoint. Experts of one block are in the file one tensor after the other and in a checkpoint
    /// one expert after the other.
    fn weights(&self) -> Result<Vec<Weight>> {
        let mut weights: Vec<Weight> = Vec::new();
        let mut experts: Option<(Option<u32>, usize)> = None;
        for (index, tensor) in self.source.tensors().iter().enumerate() {
            if tensor.name == rope::FACTORS {
                continue;
            }
            let (weight, transform, block) = self.weight(index, tensor)?;
            if !matches!(transform, Transform::Expert) {
                experts = None;
                weights.push(weight);
                continue;
            }
            let begin = match experts {
                Some((of, begin)) if of == block => begin,
                _ => weights.len(),
            };
            experts = Some((block, begin));
            weights.extend(self.experts(tensor, &weight)?);
            weights[begin..].sort_by(|a, b| a.name.cmp(&b.name));
        }
        Ok(weights)
    }

    /// A tensor under its name in a checkpoint, how its rows were moved, and its block.
    fn weight(&self, index: usize, tensor: &SourceTensor) -> Result<(Weight, Transform, Option<u32>)> {
        let (name, transform, block) = original(&self.rules, &tensor.name).ok_or_else(|| {
            self.fail(
                tensor,
                &format!("expected a tensor of a {}, found another", self.family.class),
            )
        })?;
        let shape: Vec<u64> = tensor.shape.iter().rev().copied().collect();
        let rows = shape.first().copied().unwrap_or(1);
        let count = match transform {
            Transform::PermuteQuery => Some(self.heads.0),
            Transform::PermuteKey => Some(self.heads.1),
            _ => None,
        };
        if let Some(count) = count
            && !rows.is_multiple_of(count * 2)
        {
            return Err(self.fail(
                tensor,
                &format!("expected rows that can be divided among {count} heads in pairs, found {rows}"),
            ));
        }
        let own = ExportType::of(tensor.ty);
        let dtype = match (own, self.dtype) {
            (_, Some(dtype)) if shape.len() > 1 => dtype,
            (Some(ExportType::F32), _) if fits(self.source, index, self.common)? => self.common,
            (own, _) => own.unwrap_or(ExportType::F32),
        };
        let weight = Weight {
            name,
            source: index,
            dtype,
            first_row: 0,
            head_rows: count.map(|n| rows / n),
            shape,
        };
        Ok((weight, transform, block))
    }

    /// The matrices of a stack of experts.
    fn experts<'w>(
        &self,
        tensor: &SourceTensor,
        weight: &'w Weight,
    ) -> Result<impl Iterator<Item = Weight> + use<'w>> {
        let &[count, rows, columns] = weight.shape.as_slice() else {
            let found = weight.shape.len();
            return Err(self.fail(tensor, &format!("expected three dimensions, found {found}")));
        };
        if count > MAX_EXPERTS {
            return Err(self.fail(
                tensor,
                &format!("expected at most {MAX_EXPERTS} experts, found {count}"),
            ));
        }
        Ok((0..count).map(move |expert| Weight {
            name: weight.name.replacen("{e}", &expert.to_string(), 1),
            shape: vec![rows, columns],
            first_row: expert * rows,
            ..*weight
        }))
    }
}

/// Cuts the weights where their names do not ascend; if that were too often, they are put in order of their names.
fn files(mut weights: Vec<Weight>) -> Vec<Vec<Weight>> {
    let breaks = weights.windows(2).filter(|w| w[0].name > w[1].name).count();
    if (breaks + 1) * TENSORS_PER_FILE > weights.len() {
        weights.sort_by(|a, b| a.name.cmp(&b.name));
    }
    let mut files: Vec<Vec<Weight>> = Vec::new();
    for weight in weights {
        match files.last_mut() {
            Some(file) if file.last().is_some_and(|last| last.name < weight.name) => file.push(weight),
            _ => files.push(vec![weight]),
        }
    }
    files
}

/// The name in a checkpoint (with `{e}` for an expert), how its rows were moved, and its block.
fn original(rules: &[&'static Rule], name: &str) -> Option<(String, Transform, Option<u32>)> {
    let (stem, suffix) = name
        .strip_suffix(".weight")
        .map(|s| (s, ".weight"))
        .or_else(|| name.strip_suffix(".bias").map(|s| (s, ".bias")))?;
    rules.iter().find_map(|rule| {
        let plain = matches!(
            rule.transform,
            Transform::Copy | Transform::PermuteQuery | Transform::PermuteKey | Transform::Expert
        );
        let block = arch::block_of(rule.gguf, stem).filter(|_| plain)?;
        let hf = match block {
            Some(block) => rule.hf.of_block(block),
            None => rule.hf.to_string(),
        };
        Some((hf + suffix, rule.transform, block))
    })
}

/// Whether a small tensor loses nothing as this type.
fn fits(source: &GgufSource, tensor: usize, dtype: ExportType) -> Result<bool> {
    let shape = &source.tensors()[tensor].shape;
    let length = shape.iter().product::<u64>();
    if dtype == ExportType::F32 || length > STEP {
        return Ok(dtype == ExportType::F32);
    }
    let mut values = vec![0f32; length as usize];
    source.read_rows(tensor, 0..shape.iter().skip(1).product(), &mut values)?;
    Ok(values.iter().all(|x| {
        let rounded = match dtype {
            ExportType::F16 => half::f16::from_f32(*x).to_f32(),
            _ => half::bf16::from_f32(*x).to_f32(),
        };
        rounded.to_bits() == x.to_bits()
    }))
}

fn write_file(source: &GgufSource, path: &Path, weights: &[Weight]) -> Result<()> {
    let io = |source| Error::io(path, source);
    let mut header = Map::new();
    header.insert("__metadata__".to_owned(), json!({"format": "pt"}));
    let mut end = 0;
    for weight in weights {
        let begin = end;
        end += weight.bytes();
        let entry = json!({
            "dtype": weight.dtype.dtype(), "shape": weight.shape, "data_offsets": [begin, end],
        });
        header.insert(weight.name.clone(), entry);
    }
    let mut text = Value::Object(header).to_string().into_bytes();
    text.resize(text.len().next_multiple_of(8), b' ');
    let mut file = BufWriter::new(File::create(path).map_err(io)?);
    file.write_all(&(text.len() as u64).to_le_bytes()).map_err(io)?;
    file.write_all(&text).map_err(io)?;
    for weight in weights {
        each_run(source, weight, &mut |bytes| file.write_all(bytes).map_err(io))?;
    }
    file.flush().map_err(io)?;
    file.get_ref().sync_all().map_err(io)
}

/// Gives the bytes of a tensor in order, a few rows at a time.
fn each_run(source: &GgufSource, weight: &Weight, put: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let tensor = &source.tensors()[weight.source];
    // Heads of a bias lie in one row.
    let vector = tensor.shape.len() == 1;
    let row_len = if vector { 1 } else { tensor.shape[0] };
    let units: u64 = weight.shape.iter().product::<u64>() / row_len.max(1);
    let step = match weight.head_rows {
        Some(rows) => rows,
        None if vector => units,
        None => (STEP / row_len.max(1)).max(1),
    };
    let mut start = 0;
    while start < units {
        let end = units.min(start + step);
        let mut values = vec![0f32; ((end - start) * row_len) as usize];
        if vector {
            let mut all = vec![0f32; units as usize];
            source.read_rows(weight.source, 0..1, &mut all)?;
            values.copy_from_slice(&all[start as usize..end as usize]);
        } else {
            let rows = weight.first_row + start..weight.first_row + end;
            source.read_rows(weight.source, rows, &mut values)?;
        }
        let rows = (end - start) as usize;
        let row_len = row_len as usize;
        let mut bytes = Vec::with_capacity(values.len() * weight.dtype.bytes() as usize);
        for row in 0..rows {
            // A head is stored as its even rows between its odd ones; in a checkpoint the even ones come first.
            let from = match weight.head_rows {
                Some(_) => row % (rows / 2) * 2 + row / (rows / 2),
                None => row,
            };
            encode(
                weight.dtype,
                &values[from * row_len..(from + 1) * row_len],
                &mut bytes,
            );
        }
        put(&bytes)?;
        start = end;
    }
    Ok(())
}

fn encode(dtype: ExportType, values: &[f32], out: &mut Vec<u8>) {
    match dtype.tensor_type() {
        TensorType::F16 => out.extend(values.iter().flat_map(|x| half::f16::from_f32(*x).to_le_bytes())),
        TensorType::BF16 => out.extend(values.iter().flat_map(|x| half::bf16::from_f32(*x).to_le_bytes())),
        _ => out.extend(values.iter().flat_map(|x| x.to_le_bytes())),
    }
}
