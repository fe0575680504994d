//! Whether a directory has what its configuration says, beyond what [`OutputPlan`](crate::plan::OutputPlan) checks.

use std::path::Path;

use serde_json::Value;

use crate::arch::{Class, Hparams};
use crate::source::SourceTensor;
use crate::{Error, Result};

/// Whether a model that is not tied has its output matrix: llama.cpp would take the embeddings for it in silence.
///
/// # Errors
/// When it has not.
pub(super) fn check_output(
    config: &Path,
    class: &Class,
    hparams: &Hparams,
    untied: bool,
    tensors: &[SourceTensor],
) -> Result<()> {
    let untied = untied || hparams.values().get("tie_word_embeddings") == Some(&Value::Bool(false));
    let generates = class.name.contains("ForCausalLM") || class.name.contains("LMHead");
    let has = |name: &str| tensors.iter().any(|t| t.name == name);
    if untied && generates && has("token_embd.weight") && !has("output.weight") {
        return Err(Error::input(
            config,
            "tensor 'output.weight': expected it (lm_head.weight, or output.weight in Mistral's own layout), as tie_word_embeddings is false, found none",
        ));
    }
    Ok(())
}
