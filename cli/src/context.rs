//! Windows longer than those that a model was trained on.

use gguf::Metadata;

/// Warns of a window that is longer than what the file says the model was trained for: the figures are then
/// worse than the model.
pub(crate) fn warn_of_length(metadata: &Metadata, context: usize) {
    let key = format!("{}.context_length", metadata.architecture());
    let trained = metadata.get(&key).and_then(gguf::Value::as_u64);
    if let Some(trained) = trained.filter(|&n| n > 0 && context as u64 > n) {
        eprintln!("warning: windows of {context} tokens, but the model was trained for {trained} ({key})");
    }
}
