//! Checkpoints whose weights are quantized already: FP8, GPTQ, AWQ, compressed-tensors, bitsandbytes, BitNet,
//! MXFP4, NVFP4, MLX. Their tensors take the place of those they are computed from; nothing else of the source
//! knows of it.

mod awq;
mod bitnet;
mod bitsandbytes;
mod config;
mod derived;
mod fp4;
mod fp6;
mod gptq;
mod methods;
mod mlx;
mod packed;
mod scaled;
mod stored;

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use indexmap::IndexMap;

pub(super) use self::config::{QuantConfig, is_mlx};
use self::derived::{Dequantize, Derivation, DerivedFile};
use self::stored::Stored;
use super::parts::{BlockFactors, Parts, Place};
use super::tensor_file::TensorFile as _;
use crate::Result;

/// Most names of left-out tensors in a message.
const MAX_LISTED: usize = 3;

/// Replacements of the tensors of a quantized checkpoint.
struct Rewrite<'a> {
    parts: &'a Parts,
    config: &'a QuantConfig,
    file: DerivedFile,
    /// Tensors that are part of others now.
    consumed: HashSet<String>,
    /// New tensors that stand where one of the same name stood: name -> entry of `file`.
    replaced: HashMap<String, usize>,
    /// New tensors after all others, in order.
    appended: Vec<(String, usize)>,
    /// New tensors before all others, in order, with the factors that their blocks lack.
    leading: Vec<(String, usize, BlockFactors)>,
    /// Whether the output can hold ggml's blocks with factors beside them.
    keep_blocks: bool,
    /// Tensors that inference would use and a GGUF file has no place for.
    unused: Vec<String>,
    /// Tensors that are FP8 with scales.
    fp8: HashSet<String>,
}

/// Outcome of rewriting a checkpoint.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Warnings.
    pub(super) notes: Vec<String>,
}

/// Replaces the quantized tensors of a checkpoint by what they stand for. With `keep_blocks`, NVFP4 weights
/// stay blocks and their tensors' factors are found in [`Parts::factors`].
///
/// # Errors
/// A method that is not known, and tensors that are missing or do not fit together.
pub(super) fn rewrite(
    parts: &mut Parts,
    dir: &Path,
    config: &QuantConfig,
    keep_blocks: bool,
) -> Result<Outcome> {
    let mut rewrite = Rewrite {
        parts,
        config,
        file: DerivedFile::new(dir),
        consumed: HashSet::new(),
        replaced: HashMap::new(),
        appended: Vec::new(),
        leading: Vec::new(),
        keep_blocks,
        unused: Vec::new(),
        fp8: HashSet::new(),
    };
    match config.method.as_str() {
        "fp8" | "fbgemm_fp8" | "modelopt" | "quark" => rewrite.scaled()?,
        "compressed-tensors" | "sparseml" => rewrite.compressed()?,
        "bitnet" => rewrite.bitnet()?,
        "gptq" => rewrite.gptq()?,
        "awq" => rewrite.awq()?,
        "auto-round" | "auto_round" | "intel/auto-round" => rewrite.auto_round()?,
        "bitsandbytes" => rewrite.bitsandbytes()?,
        "mxfp4" => rewrite.mxfp4()?,
        "mlx" => rewrite.mlx()?,
        _ => {
            return Err(config.error(
                "not a method that can be read; fp8, fbgemm_fp8, gptq, awq, auto-round, compressed-tensors, \
                 bitsandbytes, bitnet, mxfp4, modelopt, quark and MLX are. Convert the original model",
            ));
        }
    }
    Ok(rewrite.finish().apply(parts))
}

/// The result of a rewrite, free of the borrow of what it was made from.
struct Finished {
    file: DerivedFile,
    consumed: HashSet<String>,
    replaced: HashMap<String, usize>,
    appended: Vec<(String, usize)>,
    leading: Vec<(String, usize, BlockFactors)>,
    outcome: Outcome,
    fp8: HashSet<String>,
}

impl Finished {
    fn apply(self, parts: &mut Parts) -> Outcome {
        let file = parts.files.len();
        parts.fp8 = self.fp8;
        let mut tensors = IndexMap::new();
        for (name, entry, factors) in self.leading {
            parts.factors.insert(self.file.entries()[entry].offset, factors);
            tensors.insert(name, Place { file, entry });
        }
        for (name, at) in std::mem::take(&mut parts.tensors) {
            match self.replaced.get(&name) {
                Some(&entry) => {
                    tensors.insert(name, Place { file, entry });
                }
                // A tensor that leads has the name of one it is made of.
                None if self.consumed.contains(&name) || tensors.contains_key(&name) => {}
                None => {
                    tensors.insert(name, at);
                }
            }
        }
        for (name, entry) in self.appended {
            tensors.insert(name, Place { file, entry });
        }
        parts.tensors = tensors;
        parts.files.push(Arc::new(self.file));
        self.outcome
    }
}

impl Rewrite<'_> {
    fn finish(self) -> Finished {
        let mut notes = Vec::new();
        let count = self.replaced.len() + self.appended.len() + self.leading.len();
        if count > 0 {
            notes.push(format!(
                "{count} tensors are stored quantized ({}) and are decoded as they are read",
                self.config.method
            ));
        }
        if let Some((first, rest)) = self.unused.split_first() {
            let more: Vec<&str> = rest.iter().take(MAX_LISTED - 1).map(String::as_str).collect();
            let mut names = [&[first.as_str()], &more[..]].concat().join(", ");
            if self.unused.len() > MAX_LISTED {
                names += &format!(" and {} more", self.unused.len() - MAX_LISTED);
            }
            notes.push(format!(
                "left out, for a GGUF file has no place for them: {names}"
            ));
        }
        Finished {
            file: self.file,
            consumed: self.consumed,
            replaced: self.replaced,
            appended: self.appended,
            leading: self.leading,
            outcome: Outcome { notes },
            fp8: self.fp8,
        }
    }

    fn names(&self) -> Vec<String> {
        self.parts.tensors.keys().cloned().collect()
    }

    /// A tensor of the checkpoint, without consuming it.
    fn peek(&self, name: &str) -> Option<Stored> {
        let at = *self.parts.tensors.get(name)?;
        let file = self.parts.files[at.file].clone();
        let entry = self.parts.entry(at).clone();
        Some(Stored { file, entry })
    }

    /// A tensor of the checkpoint, which is part of another from now on.
    fn take(&mut self, name: &str) -> Option<Stored> {
        let stored = self.peek(name)?;
        self.consumed.insert(name.to_owned());
        Some(stored)
    }

    /// A tensor that `beside` cannot do without.
    fn need(&mut self, beside: &str, name: &str) -> Result<Stored> {
        self.take(name).ok_or_else(|| {
            self.config.error(format!(
                "tensor '{beside}': expected '{name}' beside it, found none"
            ))
        })
    }

    fn drop_unused(&mut self, name: String) {
        self.consumed.insert(name.clone());
        self.unused.push(name);
    }

    fn replace(&mut self, name: &str, shape: Vec<u64>, source: impl Dequantize + 'static) -> Result<()> {
        let entry = self
            .file
            .add(name.to_owned(), shape, Derivation::Values(Box::new(source)))?;
        self.replaced.insert(name.to_owned(), entry);
        Ok(())
    }

    fn append(&mut self, name: String, shape: Vec<u64>, derivation: Derivation) -> Result<()> {
        let entry = self.file.add(name.clone(), shape, derivation)?;
        self.appended.push((name, entry));
        Ok(())
    }
}
