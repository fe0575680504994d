//! Fixed parts of an architecture's graph, so that a configuration that asks for something else is refused instead of
//! converted to another model.

use serde_json::Value;

use crate::Result;
use crate::arch::{Architecture, Hparams};

/// Fixed parts of an architecture's graph.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Graph {
    /// The function between the matrices of the feed-forward layers.
    pub(crate) activation: Activation,
    /// Keys of the configuration that may be absent, and may have no other value.
    pub(crate) fixed: &'static [(&'static str, Fixed)],
    /// Whether `attention_bias` and `mlp_bias` say which biases there are.
    pub(crate) bias_keys: bool,
}

impl Graph {
    /// A gated feed-forward layer with SiLU.
    pub(crate) const SILU: Self = Self {
        activation: Activation::Silu,
        fixed: &[],
        bias_keys: false,
    };

    pub(crate) const fn with(activation: Activation) -> Self {
        Self {
            activation,
            ..Self::SILU
        }
    }

    pub(crate) const fn fixing(self, fixed: &'static [(&'static str, Fixed)]) -> Self {
        Self { fixed, ..self }
    }

    pub(crate) const fn with_bias_keys(self) -> Self {
        Self {
            bias_keys: true,
            ..self
        }
    }
}

/// A function, under all its names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Activation {
    Silu,
    /// ggml has one GELU for the exact one and its approximations.
    Gelu,
    /// The square of ReLU.
    Relu2,
    Xielu,
    /// The configuration decides, or there is none.
    Any,
}

impl Activation {
    /// The names that `transformers` has for it.
    fn names(self) -> &'static [&'static str] {
        match self {
            Self::Silu => &["silu", "swish"],
            Self::Gelu => &[
                "gelu",
                "gelu_new",
                "gelu_fast",
                "gelu_pytorch_tanh",
                "gelu_python",
                "gelu_python_tanh",
                "gelu_accurate",
                "gelu_10",
            ],
            Self::Relu2 => &["relu2"],
            Self::Xielu => &["xielu"],
            Self::Any => &[],
        }
    }
}

/// The value of a key.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fixed {
    Is(bool),
    OneOf(&'static [&'static str]),
}

/// Keys that name the activation; the first that is set counts.
const ACTIVATIONS: [&str; 4] = [
    "mlp_hidden_act",
    "hidden_activation",
    "hidden_act",
    "activation_function",
];

/// Compares a configuration with what the graph computes. `has` says whether the checkpoint has a tensor whose name
/// holds the first and ends with the second text.
///
/// # Errors
/// A key that contradicts the graph or the tensors.
pub(crate) fn check(
    hp: &Hparams,
    architecture: &Architecture,
    has: &dyn Fn(&str, &str) -> bool,
) -> Result<()> {
    let (graph, arch) = (architecture.graph, architecture.gguf);
    let names = graph.activation.names();
    let named = ACTIVATIONS
        .iter()
        .find_map(|key| Some((key, hp.find(&[key])?.as_str()?)));
    if let Some((key, found)) = named
        && !names.is_empty()
        && !names.contains(&found.to_ascii_lowercase().as_str())
    {
        return Err(hp.error(format!(
            "{key}: expected {}, which the graph of {arch} computes, found {found:?}",
            names[0]
        )));
    }
    for (key, fixed) in graph.fixed {
        let Some(found) = hp.find(&[key]) else { continue };
        let (right, expected) = match fixed {
            Fixed::Is(expected) => (
                found.as_bool().is_none_or(|f| f == *expected),
                expected.to_string(),
            ),
            Fixed::OneOf(names) => (
                found.as_str().is_none_or(|f| names.contains(&f)),
                names.join(" or "),
            ),
        };
        if !right {
            return Err(hp.error(format!(
                "{key}: expected {expected}, which the graph of {arch} has fixed, found {found}"
            )));
        }
    }
    if graph.bias_keys {
        for (key, module) in [("attention_bias", ".self_attn."), ("mlp_bias", ".mlp.")] {
            let Some(Value::Bool(said)) = hp.find(&[key]) else {
                continue;
            };
            if *said != has(module, "_proj.bias") {
                let found = if *said { "none" } else { "some" };
                return Err(hp.error(format!(
                    "{key}: expected {} of the tensors {module}*_proj.bias by {said}, found {found}",
                    if *said { "some" } else { "none" }
                )));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use serde_json::json;

    use super::*;
    use crate::arch::{ARCHITECTURES, complete};

    fn checked(arch: &str, more: Value, biases: &[&str]) -> std::result::Result<(), String> {
        let mut config = json!({"num_hidden_layers": 1, "hidden_size": 8, "num_attention_heads": 2});
        for (key, value) in more.as_object().unwrap() {
            config[key] = value.clone();
        }
        let hp = Hparams::new(
            PathBuf::from("config.json"),
            complete(config.as_object().cloned().unwrap()),
        )
        .unwrap();
        let architecture = ARCHITECTURES.iter().find(|a| a.gguf == arch).unwrap();
        let has = |part: &str, _: &str| biases.contains(&part);
        check(&hp, architecture, &has).map_err(|e| e.to_string())
    }

    #[test]
    fn aliases_are_one_function() {
        for (arch, names) in [
            ("llama", &["silu", "swish", "SiLU"][..]),
            ("gemma2", &["gelu", "gelu_pytorch_tanh", "gelu_new"]),
            ("gpt2", &["gelu_new", "gelu_fast", "gelu"]),
            ("nemotron", &["relu2"]),
            ("arcee", &["relu2"]),
            ("apertus", &["xielu"]),
        ] {
            for name in names {
                for key in ["hidden_act", "activation_function"] {
                    assert_eq!(checked(arch, json!({key: name}), &[]), Ok(()), "{arch} {name}");
                }
            }
        }
        // Gemma's older key says another than the newer, which counts.
        assert_eq!(
            checked(
                "gemma",
                json!({"hidden_act": "silu", "hidden_activation": "gelu_pytorch_tanh"}),
                &[]
            ),
            Ok(())
        );
        assert_eq!(
            checked(
                "gemma",
                json!({"hidden_act": "gelu", "hidden_activation": null}),
                &[]
            ),
            Ok(())
        );
    }

    #[test]
    fn what_the_graph_does_not_compute_is_refused() {
        for (arch, config, words) in [
            (
                "llama",
                json!({"hidden_act": "gelu"}),
                ["hidden_act: expected silu", "found \"gelu\""],
            ),
            (
                "gemma",
                json!({"hidden_activation": "silu"}),
                ["hidden_activation: expected gelu", "found \"silu\""],
            ),
            (
                "gpt2",
                json!({"activation_function": "relu"}),
                ["activation_function", "gelu"],
            ),
            (
                "gpt2",
                json!({"scale_attn_by_inverse_layer_idx": true}),
                ["scale_attn_by_inverse_layer_idx", "false"],
            ),
            (
                "falcon",
                json!({"parallel_attn": false}),
                ["parallel_attn: expected true", "found false"],
            ),
            ("falcon", json!({"alibi": true}), ["alibi", "false"]),
            (
                "bloom",
                json!({"apply_residual_connection_post_layernorm": true}),
                ["post_layernorm", "false"],
            ),
            (
                "deepseek2",
                json!({"rope_interleave": false}),
                ["rope_interleave", "true"],
            ),
            (
                "bert",
                json!({"position_embedding_type": "relative_key"}),
                ["relative_key", "absolute"],
            ),
            (
                "qwen3moe",
                json!({"norm_topk_prob": false}),
                ["norm_topk_prob: expected true", "found false"],
            ),
            (
                "olmoe",
                json!({"norm_topk_prob": true}),
                ["norm_topk_prob: expected false", "found true"],
            ),
            ("afmoe", json!({"mup_enabled": false}), ["mup_enabled", "true"]),
            (
                "starcoder2",
                json!({"norm_type": "rms_norm"}),
                ["norm_type", "layer_norm"],
            ),
            (
                "command-r",
                json!({"use_parallel_block": false}),
                ["use_parallel_block", "true"],
            ),
        ] {
            let error = checked(arch, config, &[]).unwrap_err();
            for word in words {
                assert!(error.contains(word), "{word:?} is not in {error:?}");
            }
        }
    }

    #[test]
    fn biases_are_where_the_configuration_says() {
        let (attention, mlp) = (".self_attn.", ".mlp.");
        assert_eq!(
            checked("llama", json!({"attention_bias": true}), &[attention]),
            Ok(())
        );
        assert_eq!(
            checked("llama", json!({"attention_bias": false, "mlp_bias": false}), &[]),
            Ok(())
        );
        assert_eq!(checked("llama", json!({}), &[attention, mlp]), Ok(()));
        for (config, has) in [
            (json!({"attention_bias": true}), &[][..]),
            (json!({"attention_bias": false}), &[attention]),
            (json!({"mlp_bias": true}), &[attention]),
        ] {
            assert!(
                checked("llama", config.clone(), has)
                    .unwrap_err()
                    .contains("_bias: expected"),
                "{config}"
            );
        }
        // Qwen 2 has its biases whatever the key says.
        assert_eq!(
            checked("qwen2", json!({"attention_bias": false}), &[attention]),
            Ok(())
        );
    }
}
