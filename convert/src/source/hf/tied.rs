//! Whether an output matrix that is stored beside tied embeddings is the same matrix.

use super::content::{Content, read_bytes};
use super::layout::Layout;
use super::parts::Parts;
use crate::Result;
use crate::arch::{Hparams, Rows};
use crate::source::SourceTensor;

/// Bytes compared at a time.
const STEP_BYTES: u64 = 1 << 20;

/// Compares the embeddings with the output matrix where the configuration says that they are one.
///
/// # Errors
/// Two different matrices: `transformers` 4 would use the embeddings for both, `transformers` 5 and a GGUF file's
/// reader the output matrix.
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
    let Some(embedding) = find("token_embd.weight") else {
        return Ok(());
    };
    let left_out;
    let (output, content) = match find("output.weight") {
        Some(output) => (&tensors[output], &contents[output]),
        None => match left_out_output(parts) {
            Some(found) => {
                left_out = found;
                (&left_out.0, &left_out.1)
            }
            None => return Ok(()),
        },
    };
    let (rows, others) = (tensors[embedding].shape.get(1), output.shape.get(1));
    let fail = |message: String| {
        hp.error(format!(
            "tie_word_embeddings is true, but the checkpoint has an output matrix of its own: {message}; set the key to \
             false, or take lm_head.weight away"
        ))
    };
    let (Some(&rows), true) = (rows, tensors[embedding].shape == output.shape) else {
        return Err(fail(format!("{others:?} rows beside {rows:?}")));
    };
    let step = (STEP_BYTES / (tensors[embedding].shape[0] * 4).max(1)).max(1);
    let mut at = 0;
    while at < rows {
        let range = at..(at + step).min(rows);
        let stored = |tensor: &SourceTensor, content: &Content| {
            let as_stored = SourceTensor {
                ty: stored_type(content).unwrap_or(tensor.ty),
                ..tensor.clone()
            };
            read_bytes(parts, &as_stored, content, &range)
        };
        // Matrices of two types, or computed ones, are not compared.
        let embedded = stored(&tensors[embedding], &contents[embedding])?;
        let (Some(a), Some(b)) = (embedded, stored(output, content)?) else {
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

/// The output matrix of a tied model whose architecture leaves it out.
fn left_out_output(parts: &Parts) -> Option<(SourceTensor, Content)> {
    let names = ["lm_head.weight", "language_model.lm_head.weight"];
    let (name, &at) = names.iter().find_map(|name| parts.tensors.get_key_value(*name))?;
    let entry = parts.entry(at);
    let element = entry.element()?;
    let mut layout = Layout::new(element, entry.row_len());
    layout.push((at.file, entry.offset), &Rows::range(0, entry.rows()));
    let tensor = SourceTensor {
        name: name.clone(),
        shape: entry.shape.iter().rev().copied().collect(),
        ty: element.tensor_type()?,
        shard: 0,
    };
    Some((tensor, Content::Stored(layout)))
}

/// The type that the values are stored in.
fn stored_type(content: &Content) -> Option<gguf::TensorType> {
    match content {
        Content::Stored(layout) => layout.element.tensor_type(),
        _ => None,
    }
}
