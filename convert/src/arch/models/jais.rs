//! Jais 2.

use crate::arch::rules::common;
use crate::arch::rules::names::DECODER;
use crate::arch::{Activation, Architecture, Graph, PLAIN, class};

pub(super) static JAIS2: Architecture = Architecture {
    gguf: "jais2",
    classes: &[class("Jais2ForCausalLM")],
    rules: &[DECODER],
    hyperparameters: |hp, keys| {
        common::text_model(hp, keys)?;
        keys.set("rope.dimension_count", hp.head_dim()?);
        Ok(())
    },
    graph: Graph::with(Activation::Relu2),
    ..PLAIN
};
