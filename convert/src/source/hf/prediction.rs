//! Layers that predict further tokens (MTP, nextn): blocks behind those of the model proper.

use std::path::Path;

use super::Parts;
use crate::arch::{self, Architecture, Class, Hparams};
use crate::{Error, Result};

/// Treatment of a model's prediction layers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Prediction {
    /// They are blocks of the output, as the stock converter has it.
    #[default]
    Included,
    /// They are left out (`--no-mtp`).
    LeftOut,
    /// Only they are written, with the tensors that they share with the model (`--mtp`).
    Alone,
}

/// Keys of the configuration that count prediction layers.
const KEYS: [&str; 2] = ["num_nextn_predict_layers", "mtp_num_hidden_layers"];

/// Architectures whose prediction layers the stock converter writes to a file of their own or leaves out.
const SEPARABLE: [&str; 10] = [
    "bailingmoe3",
    "glm5-next",
    "deepseek32",
    "glm-dsa",
    "dots3note",
    "glm4moe",
    "nemotron_h_moe",
    "qwen35",
    "qwen35moe",
    "qwen3next",
];

/// Tensors that prediction layers share with the model.
const SHARED: [&str; 5] = [
    "model.embed_tokens.weight",
    "model.norm.weight",
    "lm_head.weight",
    "backbone.embeddings.weight",
    "backbone.norm_f.weight",
];

/// Filter of the tensors to convert.
#[derive(Clone, Copy, Debug)]
pub(super) struct Filter {
    prediction: Prediction,
    /// Blocks of the model proper.
    blocks: u32,
}

impl Filter {
    pub(super) const ALL: Self = Self {
        prediction: Prediction::Included,
        blocks: u32::MAX,
    };

    /// Blocks that do not predict further tokens.
    pub(super) fn blocks(self) -> u32 {
        self.blocks
    }

    /// Whether a tensor of this canonical name is wanted.
    pub(super) fn wants(self, canonical: &str) -> bool {
        match self.prediction {
            Prediction::Included => true,
            Prediction::LeftOut => !self.predicts(canonical),
            Prediction::Alone => self.predicts(canonical) || SHARED.contains(&canonical),
        }
    }

    fn predicts(self, canonical: &str) -> bool {
        block_of(canonical).is_some_and(|block| block >= self.blocks)
    }
}

fn block_of(canonical: &str) -> Option<u32> {
    let (_, rest) = canonical.split_once(".layers.")?;
    rest.split('.').next()?.parse().ok()
}

/// Adds the prediction layers to the blocks, or leaves them out: where they are not wanted, and where the
/// configuration counts them and the checkpoint does not have them, which is a warning.
///
/// # Errors
/// A number that is no number; a request that the architecture does not know.
pub(super) fn settle(
    dir: &Path,
    architecture: &'static Architecture,
    class: &'static Class,
    hparams: &mut Hparams,
    parts: &Parts,
    (is_part, wanted): (bool, Prediction),
    warnings: &mut Vec<String>,
) -> Result<Filter> {
    let blocks = hparams.block_count();
    let names = || parts.tensors.keys().map(String::as_str);
    let counted = (architecture.hooks.more_blocks)(hparams, &mut names())?;
    if wanted != Prediction::Included && !SEPARABLE.contains(&architecture.gguf) {
        return Err(Error::Request(format!(
            "prediction layers apart: expected an architecture whose prediction layers can be written apart ({}), found {}",
            SEPARABLE.join(", "),
            architecture.gguf
        )));
    }
    let filter = Filter {
        prediction: wanted,
        blocks,
    };
    let has_them = names().any(|name| {
        let part = match is_part {
            true => arch::multimodal::text_name(name),
            false => Some(name.to_owned()),
        };
        let canonical = part.and_then(|name| (architecture.hooks.canonical)(hparams, class.canonical(&name)));
        canonical.is_some_and(|name| filter.predicts(&name))
    });
    if wanted == Prediction::Alone && (counted == 0 || !has_them) {
        return Err(Error::input(dir, "expected prediction layers, found none"));
    }
    if wanted == Prediction::LeftOut || (counted > 0 && !has_them && !parts.tensors.is_empty()) {
        if wanted == Prediction::Included {
            warnings.push(format!(
                "the model has {counted} prediction layers by its configuration ({}) or its architecture, and the checkpoint \
                 has none: they are left out, and the output says that there are none",
                KEYS.join(" or ")
            ));
        }
        hparams.forget(&KEYS);
        return Ok(filter);
    }
    hparams.add_blocks(counted)?;
    Ok(filter)
}
