//! A model to measure with, made up: speed does not depend on what the weights mean.

use std::path::Path;

use anyhow::Result;
use gguf::{FilePlan, GgufModel, Metadata, TensorType, Writer};
use imatrix::{Entry, ImportanceMatrix};
use oracle::rows::Random;

/// Entries of the vocabulary.
pub const VOCABULARY: u64 = 8192;
const WIDTH: u64 = 768;
const FEED_FORWARD: u64 = 2048;
const LAYERS: u32 = 4;
const HEADS: u32 = 12;

/// Writes a llama of 35 million weights in half precision; returns how many it has.
///
/// # Errors
/// When the file cannot be written.
pub fn write_llama(path: &Path) -> Result<u64> {
    let mut metadata = Metadata::new();
    metadata.set("general.architecture", "llama");
    for (key, value) in [
        ("block_count", LAYERS),
        ("context_length", 2048),
        ("embedding_length", WIDTH as u32),
        ("feed_forward_length", FEED_FORWARD as u32),
        ("attention.head_count", HEADS),
        ("attention.head_count_kv", HEADS),
        ("rope.dimension_count", WIDTH as u32 / HEADS),
        ("vocab_size", VOCABULARY as u32),
    ] {
        metadata.set(format!("llama.{key}"), value);
    }
    metadata.set("llama.attention.layer_norm_rms_epsilon", 1e-5_f32);
    metadata.set("llama.rope.freq_base", 10_000.0_f32);
    let mut tensors = vec![
        (
            "token_embd.weight".to_owned(),
            vec![WIDTH, VOCABULARY],
            TensorType::F16,
        ),
        ("output_norm.weight".to_owned(), vec![WIDTH], TensorType::F32),
    ];
    for layer in 0..LAYERS {
        for (name, columns, rows) in [
            ("attn_q", WIDTH, WIDTH),
            ("attn_k", WIDTH, WIDTH),
            ("attn_v", WIDTH, WIDTH),
            ("attn_output", WIDTH, WIDTH),
            ("ffn_gate", WIDTH, FEED_FORWARD),
            ("ffn_up", WIDTH, FEED_FORWARD),
            ("ffn_down", FEED_FORWARD, WIDTH),
        ] {
            let name = format!("blk.{layer}.{name}.weight");
            tensors.push((name, vec![columns, rows], TensorType::F16));
        }
        for name in ["attn_norm", "ffn_norm"] {
            tensors.push((format!("blk.{layer}.{name}.weight"), vec![WIDTH], TensorType::F32));
        }
    }
    let plan = FilePlan::new(metadata, tensors)?;
    let writer = Writer::create(path, &plan)?;
    let mut random = Random::new(1);
    let weights: Vec<f32> = (0..1 << 20).map(|_| 0.02 * random.gaussian()).collect();
    let mut total = 0;
    for (index, tensor) in plan.tensors.iter().enumerate() {
        let count = tensor.elements();
        let values: Vec<f32> = match tensor.ty {
            TensorType::F32 => vec![1.0; count as usize],
            _ => weights.iter().cycle().take(count as usize).copied().collect(),
        };
        let mut bytes = vec![0; tensor.size_bytes() as usize];
        quants::encode(tensor.ty, &values, values.len(), None, &mut bytes)?;
        writer.write_at(index, 0, &bytes)?;
        total += count;
    }
    writer.finish()?;
    Ok(total)
}

/// An importance matrix for every matrix of a model.
///
/// # Errors
/// When the model cannot be read.
pub fn importance_of(model: &Path) -> Result<ImportanceMatrix> {
    let mut random = Random::new(2);
    let mut matrix = ImportanceMatrix {
        chunk_count: 1,
        chunk_size: 512,
        ..Default::default()
    };
    for tensor in GgufModel::open(model)?.tensors() {
        let matrices = tensor.info.shape.get(2).copied().unwrap_or(1);
        if tensor.info.shape.len() < 2 {
            continue;
        }
        let sums = (0..tensor.info.shape[0] * matrices).map(|_| random.gaussian().powi(2));
        let entry = Entry {
            sums: sums.collect(),
            counts: vec![1.0; matrices as usize],
        };
        matrix.entries.insert(tensor.info.name.clone(), entry);
    }
    Ok(matrix)
}
