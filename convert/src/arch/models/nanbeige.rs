//! Nanbeige 4.2: Llama whose blocks all run several times.

use super::llama;
use crate::arch::rules::names::{DECODER, PERMUTED};
use crate::arch::{Architecture, class};

pub(super) static NANBEIGE: Architecture = Architecture {
    gguf: "nanbeige",
    classes: &[class("NanbeigeForCausalLM")],
    rules: &[PERMUTED, DECODER],
    hyperparameters: |hp, keys| {
        llama::hyperparameters(hp, keys)?;
        keys.set("num_loops", hp.opt_u32(&["num_loops"])?.unwrap_or(1).max(1));
        let skips = hp.opt_bool("skip_loop_final_norm").unwrap_or(false);
        keys.set("skip_loop_final_norm", skips);
        Ok(())
    },
    model_types: &[],
    ..llama::LLAMA
};
