//! A source of one's own: weights that are made in memory, quantized by the same pipeline as any model.
//!
//! `cargo run --example custom_source -- OUT.gguf`

use std::borrow::Cow;
use std::ops::Range;
use std::path::Path;

use quantsmith::convert::Result;
use quantsmith::convert::pipeline::{PipelineOptions, execute};
use quantsmith::convert::plan::{OutputPlan, PlannedTensor};
use quantsmith::convert::source::{Source, SourceTensor};
use quantsmith::gguf::{Metadata, TensorType};

/// Tensors whose weights are a function of their place.
struct Waves {
    metadata: Metadata,
    tensors: Vec<SourceTensor>,
}

impl Waves {
    fn new(count: usize) -> Self {
        let mut metadata = Metadata::new();
        metadata.set("general.architecture", "waves");
        let tensors = (0..count).map(|i| SourceTensor {
            name: format!("wave.{i}.weight"),
            shape: vec![512, 64],
            ty: TensorType::F32,
            shard: 0,
        });
        Self {
            metadata,
            tensors: tensors.collect(),
        }
    }
}

impl Source for Waves {
    fn path(&self) -> &Path {
        Path::new("waves in memory")
    }

    fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    fn tensors(&self) -> &[SourceTensor] {
        &self.tensors
    }

    // Called from many threads, for any rows in any order.
    fn read_rows(&self, tensor: usize, rows: Range<u64>, out: &mut [f32]) -> Result<()> {
        let row_len = self.tensors[tensor].shape[0];
        for (place, weight) in (rows.start * row_len..).zip(out) {
            *weight = (place as f32 * 0.01 * (tensor + 1) as f32).sin();
        }
        Ok(())
    }

    // There are no stored bytes to copy: everything is encoded.
    fn raw_rows(&self, _tensor: usize, _rows: Range<u64>) -> Result<Option<Cow<'_, [u8]>>> {
        Ok(None)
    }
}

/// Writes the waves to `path`, as blocks of `ty`.
pub fn write(path: &Path, ty: TensorType) -> Result<()> {
    let source = Waves::new(3);
    let contents = source
        .tensors()
        .iter()
        .enumerate()
        .map(|(index, tensor)| PlannedTensor::new(index, tensor, ty));
    let plan = OutputPlan::new(path, source.metadata(), Vec::new(), contents.collect())?;
    execute(&source, &[plan], &PipelineOptions::default(), &|_| {})
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args_os()
        .nth(1)
        .ok_or("usage: custom_source OUT.gguf")?;
    Ok(write(Path::new(&path), TensorType::Q5_K)?)
}
