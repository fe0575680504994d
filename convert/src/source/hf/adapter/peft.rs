//! The configuration of an adapter: what PEFT would do with its pairs, and what no GGUF adapter can say.

use fancy_regex::Regex;
use serde_json::{Map, Value};

use crate::listed::listed;

/// Remedy where an adapter has no form in GGUF.
pub(super) const REMEDY: &str =
    "merge the adapter into the model first (PEFT: merge_and_unload) and convert the merged model";

/// Most patterns of a configuration that are not plain names.
const MAX_EXPRESSIONS: usize = 4096;

/// Keys that say how the adapter was trained or is stored, and nothing about what its pairs mean.
const HARMLESS: [&str; 25] = [
    "alora_invocation_tokens",
    "auto_mapping",
    "base_model_name_or_path",
    "corda_config",
    "ensure_weight_tying",
    "eva_config",
    "exclude_modules",
    "fan_in_fan_out",
    "inference_mode",
    "invocation_string",
    "layers_pattern",
    "layers_to_transform",
    "loftq_config",
    "lora_dropout",
    "lora_ga_config",
    "megatron_core",
    "modules_to_save",
    "path_initial_model_for_weight_conversion",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
    "target_modules",
    "task_type",
    "trust_remote_code",
];

/// Keys that are read here.
const READ: [&str; 8] = [
    "alpha_pattern",
    "bias",
    "init_lora_weights",
    "lora_alpha",
    "peft_type",
    "r",
    "rank_pattern",
    "use_rslora",
];

/// Keys that, when set, change the model in ways that two matrices for each weight do not express.
const REFUSED: [(&str, &str); 12] = [
    ("use_dora", "DoRA's scale of weight and pair together"),
    ("use_qalora", "QALoRA's pairs of pooled inputs"),
    ("use_bdlora", "pairs of blocks"),
    ("lora_bias", "pairs with a bias"),
    ("layer_replication", "repetition of layers"),
    ("target_parameters", "pairs for parameters of stacked experts"),
    ("megatron_config", "modules of Megatron"),
    (
        "trainable_token_indices",
        "replacement of single rows of the embeddings",
    ),
    ("arrow_config", "a router among adapters"),
    ("velora_config", "pairs of projected inputs"),
    ("monteclora_config", "sampled pairs"),
    ("adalora_config", "pruned ranks"),
];

/// Starting points that change the base model's weights too, so that the pairs are differences from others.
const CHANGED_BASE: [&str; 5] = ["pissa", "olora", "corda", "loftq", "lora_ga"];

/// A key of `rank_pattern` or `alpha_pattern`.
#[derive(Debug)]
enum Pattern {
    /// A name or the end of one. A dot stands for any character, as in an expression.
    Name(String),
    Expression(Box<Regex>),
}

impl Pattern {
    fn new(key: &str) -> Result<Self, String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        if key.chars().all(plain) {
            return Ok(Self::Name(key.to_owned()));
        }
        let regex = Regex::new(&format!(r"^(.*\.)?({key})$"));
        let regex = regex.map_err(|e| format!("pattern {key:?}: {e}"))?;
        Ok(Self::Expression(Box::new(regex)))
    }

    fn matches(&self, module: &str) -> Result<bool, String> {
        match self {
            Self::Name(name) => {
                let (name, module) = (name.as_bytes(), module.as_bytes());
                let Some(start) = module.len().checked_sub(name.len()) else {
                    return Ok(false);
                };
                let same = module[start..]
                    .iter()
                    .zip(name)
                    .all(|(m, n)| m == n || *n == b'.');
                Ok(same && (start == 0 || module[start - 1] == b'.'))
            }
            Self::Expression(regex) => regex
                .is_match(module)
                .map_err(|e| format!("pattern {:?}: {e}", regex.as_str())),
        }
    }
}

/// Configuration of the pairs.
#[derive(Debug)]
pub(super) struct Peft {
    alpha: f64,
    rank: Option<u64>,
    /// Divided by the root of the rank instead of the rank.
    stabilized: bool,
    alphas: Vec<(Pattern, f64)>,
    ranks: Vec<(Pattern, u64)>,
    /// Keys that are set, and that nothing is known about.
    pub(super) unknown: Vec<String>,
}

impl Peft {
    /// # Errors
    /// A message that names the key, for whatever is malformed or changes more than pairs can.
    pub(super) fn of(config: &Map<String, Value>) -> Result<Self, String> {
        if let Some(kind) = config.get("peft_type").filter(|v| !v.is_null())
            && kind.as_str().is_none_or(|k| !k.eq_ignore_ascii_case("lora"))
        {
            return Err(format!(
                "peft_type: expected LORA, the kind that has a form in GGUF, found {kind}; {REMEDY}"
            ));
        }
        for (key, why) in REFUSED {
            if let Some(value) = config.get(key).filter(|v| is_set(v)) {
                return Err(format!(
                    "{key}: expected none, found {}: {why}, which has no form in GGUF; {REMEDY}",
                    short(value)
                ));
            }
        }
        if let Some(bias) = config.get("bias").filter(|v| is_set(v) && *v != "none") {
            return Err(format!(
                "bias: expected none, found {bias}: trained biases have no form in GGUF; {REMEDY}"
            ));
        }
        if let Some(start) = config.get("init_lora_weights").and_then(Value::as_str)
            && CHANGED_BASE
                .iter()
                .any(|c| start.to_ascii_lowercase().starts_with(c))
        {
            return Err(format!(
                "init_lora_weights: expected a start that leaves the base weights as they are, found {start:?}; {REMEDY}, or save the adapter as one of the unchanged weights \
                 (path_initial_model_for_weight_conversion)"
            ));
        }
        let alpha = config
            .get("lora_alpha")
            .and_then(Value::as_f64)
            .ok_or("lora_alpha: expected a number, found none")?;
        let rank = match config.get("r").filter(|v| !v.is_null()) {
            Some(r) => Some(positive("r", r)?),
            None => None,
        };
        let known = |key: &str| {
            HARMLESS.contains(&key) || READ.contains(&key) || REFUSED.iter().any(|(k, _)| *k == key)
        };
        let unknown = config.iter().filter(|(key, value)| !known(key) && is_set(value));
        Ok(Self {
            alpha,
            rank,
            stabilized: config.get("use_rslora") == Some(&Value::Bool(true)),
            alphas: patterns(config, "alpha_pattern", |key, v| {
                v.as_f64()
                    .ok_or_else(|| format!("{key}: expected a number, found {v}"))
            })?,
            ranks: patterns(config, "rank_pattern", positive)?,
            unknown: unknown.map(|(key, _)| key.clone()).collect(),
        })
    }

    /// `lora_alpha`.
    pub(super) fn alpha(&self) -> f64 {
        self.alpha
    }

    /// The number that, divided by the rank, is PEFT's scale of a module's pair.
    ///
    /// # Errors
    /// A rank other than the configuration's, a pattern that cannot be matched.
    pub(super) fn scaled_alpha(&self, module: &str, rank: u64) -> Result<f64, String> {
        let expected = first(&self.ranks, module)?.or(self.rank);
        if let Some(expected) = expected.filter(|&n| n != rank) {
            return Err(format!(
                "expected the rank {expected} of adapter_config.json (r, rank_pattern), found {rank}"
            ));
        }
        let alpha = first(&self.alphas, module)?.unwrap_or(self.alpha);
        let alpha = if self.stabilized {
            alpha * (rank as f64).sqrt()
        } else {
            alpha
        };
        match (alpha as f32).is_finite() {
            true => Ok(alpha),
            false => Err(format!("expected an alpha in single precision, found {alpha}")),
        }
    }
}

/// The value of the first pattern that matches, in the configuration's order.
fn first<T: Copy>(patterns: &[(Pattern, T)], module: &str) -> Result<Option<T>, String> {
    for (pattern, value) in patterns {
        if pattern.matches(module)? {
            return Ok(Some(*value));
        }
    }
    Ok(None)
}

fn patterns<T>(
    config: &Map<String, Value>,
    key: &str,
    value: impl Fn(&str, &Value) -> Result<T, String>,
) -> Result<Vec<(Pattern, T)>, String> {
    let map = match config.get(key) {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Object(map)) => map,
        Some(other) => return Err(format!("{key}: expected an object, found {}", short(other))),
    };
    let mut found = Vec::new();
    let mut expressions = 0;
    for (name, v) in map {
        let pattern = Pattern::new(name).map_err(|e| format!("{key}: {e}"))?;
        expressions += usize::from(matches!(pattern, Pattern::Expression(_)));
        if expressions > MAX_EXPRESSIONS {
            return Err(format!(
                "{key}: expected at most {MAX_EXPRESSIONS} regular expressions, found more"
            ));
        }
        found.push((pattern, value(&format!("{key}: {name}"), v)?));
    }
    Ok(found)
}

fn positive(key: &str, value: &Value) -> Result<u64, String> {
    value
        .as_u64()
        .filter(|&n| n > 0)
        .ok_or_else(|| format!("{key}: expected a positive integer, found {value}"))
}

/// Whether a key says more than that it is not used.
fn is_set(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
        Value::String(text) => !text.is_empty(),
        _ => true,
    }
}

/// A value for a message: of lists and objects the first names.
fn short(value: &Value) -> String {
    match value {
        Value::Array(list) => listed(list.iter().map(Value::to_string)),
        Value::Object(map) => listed(map.keys().map(|k| format!("{k:?}"))),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn peft(more: Value) -> Result<Peft, String> {
        let mut config = json!({"lora_alpha": 8, "r": 4})
            .as_object()
            .cloned()
            .unwrap_or_default();
        config.extend(more.as_object().cloned().unwrap_or_default());
        Peft::of(&config)
    }

    /// PEFT's scale: alpha / rank, or alpha / sqrt(rank).
    fn scale(more: Value, module: &str, rank: u64) -> f64 {
        peft(more).unwrap().scaled_alpha(module, rank).unwrap() / rank as f64
    }

    #[test]
    fn scales_are_pefts() {
        let module = "model.layers.11.self_attn.q_proj";
        assert_eq!(scale(json!({}), module, 4), 2.0);
        assert_eq!(scale(json!({"use_rslora": true}), module, 4), 4.0);
        assert_eq!(scale(json!({"alpha_pattern": {"q_proj": 16}}), module, 4), 4.0);
        // The first that matches counts; a name has to begin where a part does.
        let both = json!({"alpha_pattern": {"proj": 1, "layers.1.self_attn.q_proj": 2, r".*\.11\..*": 4, "q_proj": 16}});
        assert_eq!(scale(both, module, 4), 1.0);
        let anchored = json!({"alpha_pattern": {"^model.layers.11.self_attn.q_proj": 64}});
        assert_eq!(scale(anchored.clone(), module, 4), 16.0);
        assert_eq!(scale(anchored, &format!("wrapped.{module}"), 4), 2.0);
        let ranks =
            json!({"rank_pattern": {"q_proj": 16}, "alpha_pattern": {"q_proj": 4}, "use_rslora": true});
        assert_eq!(scale(ranks, module, 16), 1.0);
    }

    #[test]
    fn ranks_are_those_of_the_configuration() {
        let error = peft(json!({})).unwrap().scaled_alpha("q_proj", 8).unwrap_err();
        assert_eq!(
            error,
            "expected the rank 4 of adapter_config.json (r, rank_pattern), found 8"
        );
    }

    #[test]
    fn what_pairs_cannot_say_is_refused_with_the_remedy() {
        let cases = [
            (json!({"peft_type": "PROMPT_TUNING"}), "PROMPT_TUNING"),
            (json!({"peft_type": "ADALORA"}), "ADALORA"),
            (json!({"use_dora": true}), "use_dora: expected none, found true"),
            (json!({"lora_bias": true}), "lora_bias"),
            (
                json!({"bias": "lora_only"}),
                "bias: expected none, found \"lora_only\"",
            ),
            (
                json!({"target_parameters": ["mlp.experts.down_proj"]}),
                "mlp.experts.down_proj",
            ),
            (
                json!({"layer_replication": [[0, 4], [2, 5]]}),
                "layer_replication",
            ),
            (
                json!({"trainable_token_indices": [5]}),
                "trainable_token_indices: expected none, found 5",
            ),
            (json!({"megatron_config": {"a": 1}}), "megatron_config"),
            (json!({"init_lora_weights": "pissa_niter_16"}), "pissa_niter_16"),
        ];
        for (more, part) in cases {
            let error = peft(more).unwrap_err();
            assert!(error.contains(part) && error.contains("merge"), "{error}");
        }
    }

    #[test]
    fn unknown_keys_are_listed_when_they_are_set() {
        let peft =
            peft(json!({"lora_dropout": 0.1, "new_thing": {"a": 1}, "off": false, "none": null})).unwrap();
        assert_eq!(peft.unknown, ["new_thing"]);
    }

    #[test]
    fn malformed_patterns_are_refused() {
        for (more, part) in [
            (json!({"alpha_pattern": {"(": 1}}), "alpha_pattern: pattern \"(\""),
            (
                json!({"alpha_pattern": {"q": "x"}}),
                "alpha_pattern: q: expected a number, found \"x\"",
            ),
            (
                json!({"rank_pattern": {"q": 0}}),
                "rank_pattern: q: expected a positive integer, found 0",
            ),
            (
                json!({"rank_pattern": [1]}),
                "rank_pattern: expected an object, found 1",
            ),
            (json!({"r": -1}), "r: expected a positive integer, found -1"),
        ] {
            let error = peft(more).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}
