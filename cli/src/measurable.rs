//! Whether perplexity and KL divergence can be measured of a model.

/// Why they cannot be measured of the models of an architecture, to follow the model's path; `None` where they can.
pub(crate) fn obstacle(architecture: &str) -> Option<String> {
    if reference::predicts(architecture) {
        return None;
    }
    Some(
        match reference::architectures().any(|known| known == architecture) {
            false => format!("the forward pass does not know architecture {architecture:?}"),
            true => format!("models of architecture {architecture:?} predict no tokens"),
        },
    )
}
