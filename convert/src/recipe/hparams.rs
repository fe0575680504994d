//! The few hyperparameters that the mixture rules look at, read from GGUF metadata.

use gguf::{Array, Metadata, Value};

use super::KvOverride;
use crate::{Error, Result};

/// llama.cpp refuses models with more layers than this.
const MAX_LAYERS: u64 = 512;

/// Hyperparameters that the mixture rules read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hyperparameters {
    /// `general.architecture`.
    pub architecture: String,
    /// Layers, counting those for multi-token prediction.
    pub layers: u32,
    /// Experts of a mixture layer; 0 for a dense model.
    pub experts: u32,
    /// Query heads per key/value head in the first layer; 0 without attention there.
    pub query_heads_per_kv_head: u32,
    /// Whether llama.cpp counts the model as of 70B kind, whose value projections get more bits.
    pub is_70b: bool,
}

impl Hyperparameters {
    /// Reads them from a model's metadata as overridden by `overrides`.
    ///
    /// # Errors
    /// A missing or senseless `block_count`, named with its key.
    pub fn new(metadata: &Metadata, overrides: &[KvOverride]) -> Result<Self> {
        let lookup = Lookup { metadata, overrides };
        let architecture = lookup.text("general.architecture").unwrap_or_default().to_owned();
        if architecture == "clip" {
            // A projector file has no hyperparameters that matter here.
            return Ok(Self {
                architecture,
                layers: 0,
                experts: 0,
                query_heads_per_kv_head: 0,
                is_70b: false,
            });
        }
        let key = |suffix: &str| format!("{architecture}.{suffix}");

        let block_count = key("block_count");
        let declared = lookup
            .first(&block_count)
            .filter(|n| (1..=MAX_LAYERS).contains(n))
            .ok_or_else(|| {
                Error::Request(format!(
                    "metadata key {block_count}: found {}, expected an integer from 1 to {MAX_LAYERS}",
                    metadata
                        .get(&block_count)
                        .map_or("nothing".to_owned(), |v| format!("{v:?}"))
                ))
            })?;
        let prediction_layers = lookup
            .first(&key("nextn_predict_layers"))
            .unwrap_or(0)
            .min(declared);
        let trunk = declared - prediction_layers;
        let experts = lookup.first(&key("expert_count")).unwrap_or(0);
        let heads = lookup.first(&key("attention.head_count")).unwrap_or(0);
        let kv_heads = lookup.first(&key("attention.head_count_kv")).unwrap_or(heads);

        let is_70b = match architecture.as_str() {
            "llama" | "llama-embed" => trunk == 80 && experts != 8 && heads != kv_heads,
            "qwen2" | "deci" | "olmo" => trunk == 80,
            "jais2" => trunk == 68,
            _ => false,
        };
        let layers = match architecture.as_str() {
            // The router is one more layer behind the declared ones.
            "graniteswitch" => trunk + 1,
            "nanbeige" => match lookup.first(&key("num_loops")).unwrap_or(1) {
                loops @ 2.. => trunk.saturating_mul(loops),
                _ => declared,
            },
            _ => declared,
        };
        let small = |v: u64| u32::try_from(v).unwrap_or(u32::MAX);
        Ok(Self {
            layers: small(layers),
            experts: small(experts),
            query_heads_per_kv_head: small(heads.checked_div(kv_heads).unwrap_or(0)),
            is_70b,
            architecture,
        })
    }
}

/// Metadata with `--override-kv` laid over it, as llama.cpp's loader sees it.
struct Lookup<'a> {
    metadata: &'a Metadata,
    overrides: &'a [KvOverride],
}

impl Lookup<'_> {
    /// The first override of a key: the loader keeps the first of several.
    fn override_of(&self, key: &str) -> Option<&Value> {
        self.overrides.iter().find(|o| o.key == key).map(|o| &o.value)
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.override_of(key)
            .and_then(Value::as_str)
            .or_else(|| self.metadata.get_str(key))
    }

    /// A scalar, or the value for the first layer when the key holds one per layer.
    fn first(&self, key: &str) -> Option<u64> {
        let stored = self.metadata.get(key);
        if let Some(Value::Array(array)) = stored {
            return match array {
                Array::U32(v) => v.first().map(|&v| v.into()),
                Array::I32(v) => v.first().and_then(|&v| v.try_into().ok()),
                Array::U64(v) => v.first().copied(),
                Array::I64(v) => v.first().and_then(|&v| v.try_into().ok()),
                _ => None,
            };
        }
        self.override_of(key)
            .and_then(Value::as_u64)
            .or_else(|| stored.and_then(Value::as_u64))
    }
}
