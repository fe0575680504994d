//! Whether an output matrix that is stored beside tied embeddings is the same matrix.

use super::assemble::Content;
use super::parts::Parts;
use super::read_bytes;
use crate::Result;
use crate::arch::Hparams;
use crate::source::SourceTensor;

/// Bytes compared at a time.
const STEP_BYTES: u64 = 1 << 20;

/// Compares the embeddings with the output matrix where the configuration says that they are one.
///
/// # Errors
/// Two different matrices: `transformers` would use the embeddings for both, a GGUF file's reader the output matrix.
pub(super) fn check(
    hp: &Hparams,
    parts: &Parts,
    tensors: &[SourceTensor],
    contents: &[Content],
) -> Result<()> {
    if hp.opt_bool("tie_word_embeddings") != Some(true) {
        return Ok(());
    }
    let find = |name: &str| tensors.iter().position(|t| t.name == name);
    let (Some(embedding), Some(output)) = (find("token_embd.weight"), find("output.weight")) else {
        return Ok(());
    };
    let (rows, others) = (tensors[embedding].shape.get(1), tensors[output].shape.get(1));
    let fail = |message: String| {
        hp.error(format!(
            "tie_word_embeddings is true, but the checkpoint has an output matrix of its own: {message}; set the key to \
             false, or take lm_head.weight away"
        ))
    };
    let (Some(&rows), true) = (rows, tensors[embedding].shape == tensors[output].shape) else {
        return Err(fail(format!("{others:?} rows beside {rows:?}")));
    };
    let step = (STEP_BYTES / (tensors[embedding].shape[0] * 4).max(1)).max(1);
    let mut at = 0;
    while at < rows {
        let range = at..(at + step).min(rows);
        let stored = |tensor: usize| {
            let as_stored = SourceTensor {
                ty: stored_type(&contents[tensor]).unwrap_or(tensors[tensor].ty),
                ..tensors[tensor].clone()
            };
            read_bytes(parts, &as_stored, &contents[tensor], &range)
        };
        // Matrices of two types, or computed ones, are not compared.
        let (Some(a), Some(b)) = (stored(embedding)?, stored(output)?) else {
            return Ok(());
        };
        if a.len() == b.len() && a != b {
            return Err(fail(format!(
                "it differs in rows {} to {}",
                range.start,
                range.end - 1
            )));
        }
        at = range.end;
    }
    Ok(())
}

/// The type that the values are stored in.
fn stored_type(content: &Content) -> Option<gguf::TensorType> {
    match content {
        Content::Stored(layout) => layout.element.tensor_type(),
        _ => None,
    }
}
