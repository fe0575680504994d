//! The model that an adapter is for, as far as its directory tells: the shapes of its weights.

use std::collections::HashMap;
use std::path::Path;

use super::pairs::InputSide;
use super::peft::REMEDY;
use crate::arch::{self, Architecture, Class, Hparams, Transform};
use crate::source::hf::parts::{Naming, Parts};

/// Weights that every layer multiplies the hidden state by, and weights that make a hidden state: by the last part
/// of the GGUF name.
const FROM_HIDDEN: [&str; 8] = [
    "attn_q",
    "attn_k",
    "attn_v",
    "attn_qkv",
    "ffn_gate",
    "ffn_up",
    "ffn_gate_exps",
    "ffn_up_exps",
];
const TO_HIDDEN: [&str; 3] = ["attn_output", "ffn_down", "ffn_down_exps"];

/// The base model of an adapter, as far as it is known.
pub(super) struct BaseModel {
    architecture: &'static Architecture,
    class: &'static Class,
    is_part: bool,
    /// Shapes of the stored matrices by canonical name; `None` where the directory has only a configuration.
    shapes: Option<HashMap<String, Vec<u64>>>,
    hidden: Option<u64>,
    is_tied: bool,
}

impl BaseModel {
    pub(super) fn of(
        dir: &Path,
        architecture: &'static Architecture,
        class: &'static Class,
        hparams: &Hparams,
        is_part: bool,
    ) -> Self {
        let hidden = hparams
            .opt_u32(&["hidden_size", "n_embd", "d_model"])
            .ok()
            .flatten();
        let quantized = hparams.find(&["quantization_config"]).is_some();
        // Weights are not needed, and those of quantized models have other shapes.
        let parts = if quantized {
            None
        } else {
            Parts::open(dir, Naming::Transformers, true).ok()
        };
        let mut base = Self {
            architecture,
            class,
            is_part,
            shapes: None,
            hidden: hidden.map(u64::from),
            is_tied: false,
        };
        base.shapes = parts.map(|parts| {
            let matrices = parts
                .tensors
                .iter()
                .filter(|(_, at)| parts.entry(**at).shape.len() == 2);
            matrices
                .map(|(name, at)| (base.canonical(name), parts.entry(*at).shape.clone()))
                .collect()
        });
        base.is_tied = match &base.shapes {
            Some(shapes) => !shapes.contains_key(&base.canonical("lm_head.weight")),
            None => {
                let rules = arch::resolve(architecture.rules, "lm_head.weight");
                let has_place = rules.iter().any(|m| !matches!(m.transform, Transform::Skip));
                hparams.opt_bool("tie_word_embeddings").unwrap_or(!has_place)
            }
        };
        base
    }

    fn canonical(&self, name: &str) -> String {
        let part = self.is_part.then(|| arch::multimodal::text_name(name)).flatten();
        self.class.canonical(&part.unwrap_or_else(|| name.to_owned()))
    }

    /// Whether a weight is stored as inputs x outputs.
    fn is_transposed(&self, weight: &str) -> bool {
        let rules = arch::resolve(self.architecture.rules, &self.canonical(weight));
        rules.iter().any(|m| matches!(m.transform, Transform::Transpose))
    }

    /// Checks a pair against the weight that it changes. `tensor` is the GGUF name, `found` the rows and columns of
    /// the product.
    ///
    /// # Errors
    /// A message with both shapes; an embedding or output matrix that are one weight.
    pub(super) fn check(&self, pair: &InputSide, tensor: &str, found: (u64, u64)) -> Result<(), String> {
        if self.is_tied && matches!(tensor, "token_embd.weight" | "output.weight") {
            return Err(format!(
                "expected a matrix with one use, as llama.cpp applies no adapter to one with two, found embeddings that \
                 are the output matrix too (tie_word_embeddings); {REMEDY}"
            ));
        }
        let (rows, columns) = found;
        if let Some(shape) = self
            .shapes
            .as_ref()
            .and_then(|s| s.get(&self.canonical(&pair.weight)))
        {
            let expected = (shape[0], shape[1]);
            // Some layers store inputs x outputs, and embeddings are tokens x hidden size.
            let found = match pair.is_embedding || self.is_transposed(&pair.weight) {
                true => (columns, rows),
                false => found,
            };
            if found != expected {
                return Err(format!(
                    "expected a pair for the base model's weight of {2} x {3}, found one for {0} x {1}",
                    found.0, found.1, shape[0], shape[1]
                ));
            }
            return Ok(());
        }
        let Some(hidden) = self.hidden else { return Ok(()) };
        let stem = tensor.strip_suffix(".weight").unwrap_or(tensor);
        let part = match stem.strip_prefix("blk.").and_then(|s| s.split_once('.')) {
            Some((_, part)) => part,
            None if stem == "token_embd" || stem == "output" => stem,
            None => return Ok(()),
        };
        let width = if FROM_HIDDEN.contains(&part)
            || part == "output"
            || (part == "token_embd" && !pair.is_embedding)
        {
            columns
        } else if TO_HIDDEN.contains(&part) || part == "token_embd" {
            rows
        } else {
            return Ok(());
        };
        if width == hidden {
            return Ok(());
        }
        Err(format!(
            "expected a pair for a weight of the base model's hidden size {hidden}, found one for {rows} x {columns}"
        ))
    }
}
