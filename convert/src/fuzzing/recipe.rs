//! Recipes and plans of any list of tensors.

use std::borrow::Cow;
use std::ops::Range;
use std::path::Path;

use gguf::{Metadata, TYPES, TensorType};

use crate::importance::Importance;
use crate::quantize::{Quantization, QuantizeOptions, plan};
use crate::recipe::{PRESETS, TensorTypeRule};
use crate::source::{Source, SourceTensor};
use crate::{Error, Result};

/// A source of headers alone.
struct Headers {
    metadata: Metadata,
    tensors: Vec<SourceTensor>,
}

impl Source for Headers {
    fn path(&self) -> &Path {
        Path::new("fuzz")
    }

    fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    fn tensors(&self) -> &[SourceTensor] {
        &self.tensors
    }

    fn read_rows(&self, _: usize, _: Range<u64>, _: &mut [f32]) -> Result<()> {
        Err(Error::Request("headers only".into()))
    }

    fn raw_rows(&self, _: usize, _: Range<u64>) -> Result<Option<Cow<'_, [u8]>>> {
        Ok(None)
    }
}

const ARCHITECTURES: [&str; 8] = [
    "llama",
    "falcon",
    "gemma",
    "qwen2moe",
    "deepseek2",
    "mamba",
    "t5",
    "never",
];

const NAMES: [&str; 16] = [
    "token_embd.weight",
    "output.weight",
    "output_norm.weight",
    "attn_q.weight",
    "attn_k.weight",
    "attn_v.weight",
    "attn_qkv.weight",
    "attn_output.weight",
    "ffn_up.weight",
    "ffn_down.weight",
    "ffn_gate.weight",
    "ffn_down_exps.weight",
    "ffn_gate_inp.weight",
    "ssm_conv1d.weight",
    "odd",
    "",
];

/// Recipe and plan of every preset for any list of tensors: offsets follow each other, no tensor is lost.
pub fn recipe(data: &[u8]) {
    let [architecture, preset, flags, rest @ ..] = data else {
        return;
    };
    let architecture = ARCHITECTURES[usize::from(*architecture) % ARCHITECTURES.len()];
    let mut metadata = Metadata::new();
    metadata.set("general.architecture", architecture);
    metadata.set(format!("{architecture}.block_count"), u32::from(*flags));
    metadata.set(format!("{architecture}.expert_count"), u32::from(*preset) % 9);
    let (parts, _) = rest.as_chunks::<4>();
    let tensors = parts
        .iter()
        .enumerate()
        .filter_map(|(index, part)| tensor(index, *part));
    let source = Headers {
        metadata,
        tensors: tensors.collect(),
    };
    let options = options(*preset, *flags, rest);
    let none: Option<&Importance> = None;
    let Ok(plan) = plan(&source, Path::new("fuzz.gguf"), &options, none) else {
        return;
    };
    check(&plan);
    if options.prune_layers.is_empty() {
        let planned: usize = plan.outputs.iter().map(|o| o.tensors().len()).sum();
        assert_eq!(planned, source.tensors.len());
    }
}

/// A tensor of four bytes, unless its rows are no blocks of its type.
fn tensor(index: usize, [name, ty, row, rows]: [u8; 4]) -> Option<SourceTensor> {
    let base = NAMES[usize::from(name) % NAMES.len()];
    let name = match index % 3 {
        0 if index < 3 => base.to_owned(),
        1 => format!("blk.{}.{base}", u32::from(name) / 16),
        _ => format!("blk.{index}.{base}"),
    };
    let ty = TYPES[usize::from(ty) % TYPES.len()].ty;
    let row = match row % 4 {
        0 => 256 * (1 + u64::from(row)),
        1 => 32 * (1 + u64::from(row)),
        2 => u64::from(row) + 1,
        _ => 1 << (row % 50),
    };
    row.is_multiple_of(ty.block_len() as u64).then(|| SourceTensor {
        name,
        shape: vec![row, 1 + u64::from(rows), 1 + u64::from(rows % 3)],
        ty,
        shard: usize::from(rows % 2),
    })
}

fn options(preset: u8, flags: u8, rule: &[u8]) -> QuantizeOptions {
    let mut options = QuantizeOptions::new(PRESETS[usize::from(preset) % PRESETS.len()].preset);
    options.allow_requantize = true;
    options.allow_incomplete = true;
    options.keep_split = flags & 1 != 0;
    options.recipe.pure = flags & 2 != 0;
    options.recipe.no_fallback = flags & 4 != 0;
    if flags & 8 != 0 {
        options.recipe.output_tensor_type = Some(TensorType::Q6_K);
    }
    if flags & 16 != 0
        && let Ok(rule) = TensorTypeRule::parse(&String::from_utf8_lossy(rule))
    {
        options.recipe.tensor_types.push(rule);
    }
    if flags & 32 != 0 {
        options.prune_layers = vec![u32::from(preset) % 4];
    }
    options
}

fn check(plan: &Quantization<'_>) {
    let _ = plan.check();
    for output in &plan.outputs {
        let mut next = 0;
        for tensor in output.tensors() {
            assert!(tensor.offset >= next, "tensors overlap");
            next = tensor.offset + tensor.size_bytes();
        }
        assert!(output.file_size() >= output.header_len() + next);
    }
}
