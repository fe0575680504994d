//! The contents of a description, as TOML has them.

use serde::{Deserialize, de};
use toml::Spanned;

use crate::arch::described::{Computed, Factors, Group, KINDS, Kind};
use crate::arch::rules::selection::Selection;
use crate::arch::{Activation, Transform};
use crate::tokenizer::VocabKind;

/// The contents of a file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    pub(super) architecture: Spanned<String>,
    #[serde(default = "silu")]
    pub(super) activation: Activated,
    #[serde(default)]
    pub(super) biases_by_key: bool,
    pub(super) factors: Option<Named<Factors>>,
    pub(super) classes: Spanned<Vec<Spanned<ClassRow>>>,
    pub(super) tensors: Spanned<Vec<Spanned<TensorRow>>>,
    pub(super) keys: Vec<Spanned<KeyRow>>,
    pub(super) tokenizer: TokenizerTable,
    #[serde(default)]
    pub(super) fixed: toml::Table,
    #[serde(default)]
    pub(super) model_type: Vec<Spanned<TypeTable>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ClassRow {
    pub(super) name: String,
    #[serde(default)]
    pub(super) strip: String,
    #[serde(default)]
    pub(super) prefix: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TensorRow {
    pub(super) from: String,
    pub(super) to: Option<String>,
    #[serde(rename = "as")]
    pub(super) change: Option<Named<Transform>>,
    pub(super) multiply: Option<f32>,
    #[serde(default)]
    pub(super) whole_names: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyRow {
    pub(super) group: Option<Named<Group>>,
    pub(super) key: Option<String>,
    #[serde(rename = "type")]
    pub(super) kind: Option<Named<Kind>>,
    pub(super) from: Option<Vec<String>>,
    #[serde(default)]
    pub(super) optional: bool,
    #[serde(default)]
    pub(super) nonzero: bool,
    pub(super) unless: Option<Unless>,
    pub(super) computed: Option<Named<Computed>>,
    pub(super) value: Option<toml::Value>,
    pub(super) refuse: Option<String>,
    pub(super) refuse_name: Option<String>,
    pub(super) because: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Unless {
    pub(super) key: String,
    pub(super) is: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TokenizerTable {
    pub(super) kinds: Vec<Named<VocabKind>>,
    pub(super) pre_tokenizer: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) space_prefix_from_config: bool,
    pub(super) space_prefix: Option<bool>,
    pub(super) add_bos: Option<bool>,
    #[serde(default)]
    pub(super) mistral: bool,
    #[serde(default)]
    pub(super) special: indexmap::IndexMap<String, u32>,
    #[serde(default)]
    pub(super) vocab_size: Vec<SizeTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SizeTable {
    pub(super) is: u64,
    pub(super) add_bos: Option<bool>,
    #[serde(default)]
    pub(super) special: indexmap::IndexMap<String, u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TypeTable {
    #[serde(default)]
    pub(super) name: String,
    #[serde(default)]
    pub(super) rope_theta: f64,
    #[serde(default)]
    pub(super) derive_head_dim: bool,
    #[serde(default)]
    pub(super) null: Vec<String>,
    #[serde(default)]
    pub(super) renames: indexmap::IndexMap<String, String>,
    #[serde(default)]
    pub(super) defaults: indexmap::IndexMap<String, toml::Value>,
}

/// A value that goes by a name.
pub(super) struct Named<T>(pub(super) T);

/// Values that go by names.
trait Choice: Copy + 'static {
    fn choices() -> Vec<(&'static str, Self)>;
}

impl<'de, T: Choice> Deserialize<'de> for Named<T> {
    fn deserialize<D: de::Deserializer<'de>>(from: D) -> std::result::Result<Self, D::Error> {
        let found = String::deserialize(from)?;
        let choices = T::choices();
        match choices.iter().find(|(name, _)| *name == found) {
            Some((_, value)) => Ok(Self(*value)),
            None => {
                let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
                let shown: String = found.chars().take(60).collect();
                let message = format!("found {shown:?}, expected one of {}", names.join(", "));
                Err(de::Error::custom(message))
            }
        }
    }
}

impl Choice for Factors {
    fn choices() -> Vec<(&'static str, Self)> {
        Self::NAMES.to_vec()
    }
}

impl Choice for Group {
    fn choices() -> Vec<(&'static str, Self)> {
        Self::NAMES.to_vec()
    }
}

impl Choice for Kind {
    fn choices() -> Vec<(&'static str, Self)> {
        Self::NAMES.to_vec()
    }
}

impl Choice for Computed {
    fn choices() -> Vec<(&'static str, Self)> {
        Self::NAMES.to_vec()
    }
}

impl Choice for VocabKind {
    fn choices() -> Vec<(&'static str, Self)> {
        KINDS.to_vec()
    }
}

impl Choice for Transform {
    fn choices() -> Vec<(&'static str, Self)> {
        CHANGES.to_vec()
    }
}

impl Choice for Activation {
    fn choices() -> Vec<(&'static str, Self)> {
        ACTIVATIONS.to_vec()
    }
}

/// Names of what can be done to a tensor.
pub(super) const CHANGES: [(&str, Transform); 23] = [
    ("copy", Transform::Copy),
    ("skip", Transform::Skip),
    ("permute_query", Transform::PermuteQuery),
    ("permute_key", Transform::PermuteKey),
    ("transpose", Transform::Transpose),
    ("add_one", Transform::AddOne),
    ("expert", Transform::Expert),
    ("stack", Transform::Stack),
    ("stack_first_half", Transform::FirstHalf),
    ("stack_second_half", Transform::SecondHalf),
    ("known_tokens", Transform::Selected(Selection::KnownTokens)),
    ("first_half", Transform::Selected(Selection::FirstHalf)),
    ("second_half", Transform::Selected(Selection::SecondHalf)),
    ("fused_query", Transform::Selected(Selection::FusedQuery)),
    (
        "fused_query_permuted",
        Transform::Selected(Selection::FusedQueryPermuted),
    ),
    ("fused_key", Transform::Selected(Selection::FusedKey)),
    (
        "fused_key_permuted",
        Transform::Selected(Selection::FusedKeyPermuted),
    ),
    ("fused_value", Transform::Selected(Selection::FusedValue)),
    ("grouped_query", Transform::Selected(Selection::GroupedQuery)),
    (
        "grouped_query_permuted",
        Transform::Selected(Selection::GroupedQueryPermuted),
    ),
    ("grouped_key", Transform::Selected(Selection::GroupedKey)),
    (
        "grouped_key_permuted",
        Transform::Selected(Selection::GroupedKeyPermuted),
    ),
    ("grouped_value", Transform::Selected(Selection::GroupedValue)),
];

/// Names of activations.
pub(super) const ACTIVATIONS: [(&str, Activation); 5] = [
    ("silu", Activation::Silu),
    ("gelu", Activation::Gelu),
    ("relu2", Activation::Relu2),
    ("xielu", Activation::Xielu),
    ("any", Activation::Any),
];

type Activated = Named<Activation>;

fn silu() -> Activated {
    Named(Activation::Silu)
}
