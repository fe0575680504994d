//! Types that the field fixes for metadata keys: readers such as llama.cpp refuse a file in which one of these has
//! another ("wrong type"), so an edit that changes one is asked about.
//!
//! The lists are those of gguf-py's writer (llama-cpp-python 0.3.36) and of what llama.cpp's loader reads.

use crate::{Value, ValueType};

/// The types that a key may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyType {
    /// The type of a single value.
    pub scalar: Option<ValueType>,
    /// The types that the elements of an array may have.
    pub elements: &'static [ValueType],
}

impl KeyType {
    const fn scalar(ty: ValueType) -> Self {
        Self {
            scalar: Some(ty),
            elements: &[],
        }
    }

    const fn array(elements: &'static [ValueType]) -> Self {
        Self {
            scalar: None,
            elements,
        }
    }

    /// Whether a value is of one of the types.
    pub fn takes(self, value: &Value) -> bool {
        match value {
            Value::Array(array) => self.elements.contains(&array.element_type()),
            scalar => self.scalar == Some(scalar.value_type()),
        }
    }
}

impl std::fmt::Display for KeyType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scalar = self.scalar.map(|ty| ty.name().to_owned());
        let arrays = self.elements.iter().map(|ty| format!("{ty}[]"));
        let all: Vec<String> = scalar.into_iter().chain(arrays).collect();
        f.write_str(&all.join(" or "))
    }
}

/// The types that the field fixes for a key; `None` for a key that it does not know.
pub fn key_type(key: &str) -> Option<KeyType> {
    if let Some((_, ty)) = WHOLE.iter().find(|(known, _)| *known == key) {
        return Some(*ty);
    }
    if key.starts_with("tokenizer.chat_template.") {
        return Some(TEXT);
    }
    let (prefix, suffix) = key.split_once('.')?;
    match prefix {
        "general" => general(suffix),
        "tokenizer" | "split" | "clip" | "quantize" | "imatrix" | "adapter" | "xielu" | "diffusion" => None,
        _ => OF_ARCHITECTURE
            .iter()
            .find(|(suffixes, _)| suffixes.contains(&suffix))
            .map(|(_, ty)| *ty),
    }
}

/// Why giving a key this value would change what readers take it for: `None` when the type stays that of the old
/// value, and is one that the field allows.
pub fn type_change(key: &str, old: Option<&Value>, new: &Value) -> Option<String> {
    let found = type_name(new);
    if let Some(expected) = key_type(key).filter(|ty| !ty.takes(new)) {
        return Some(format!("key '{key}': expected {expected}, found {found}"));
    }
    let old = type_name(old?);
    (old != found).then(|| format!("key '{key}': expected {old}, which it has, found {found}"))
}

/// The type of a value, an array's with that of its elements.
fn type_name(value: &Value) -> String {
    match value {
        Value::Array(array) => format!("{}[]", array.element_type()),
        scalar => scalar.value_type().to_string(),
    }
}

/// Whether every model of an architecture needs the key, whatever it is: llama.cpp loads none without.
pub fn is_needed(key: &str, architecture: &str) -> bool {
    const ALWAYS: &[&str] = &[
        "general.architecture",
        "tokenizer.ggml.model",
        "tokenizer.ggml.tokens",
        "split.no",
        "split.count",
        "split.tensors.count",
    ];
    const OF_MODEL: &[&str] = &["block_count", "context_length", "embedding_length"];
    let suffix = key
        .strip_prefix(architecture)
        .and_then(|rest| rest.strip_prefix('.'));
    ALWAYS.contains(&key) || suffix.is_some_and(|suffix| OF_MODEL.contains(&suffix))
}

/// Whether an array under this key, with as many elements as the model has layers, has one for each of them.
pub fn is_of_layers(key: &str, architecture: &str) -> bool {
    const OTHERS: &[&str] = &[
        "rope.dimension_sections",
        "classifier.output_labels",
        "adapters.token_ids_activate",
        "adapters.token_ids_substitute",
        "target_layers",
        "ple.layers",
    ];
    if key.starts_with("xielu.") {
        return true;
    }
    let suffix = key
        .strip_prefix(architecture)
        .and_then(|rest| rest.strip_prefix('.'));
    suffix.is_some_and(|suffix| !OTHERS.contains(&suffix))
}

/// Keys under `general.` that are numbered: ancestors and data sets, whose fields are texts.
fn general(suffix: &str) -> Option<KeyType> {
    let rest = suffix
        .strip_prefix("base_model.")
        .or_else(|| suffix.strip_prefix("dataset."))?;
    let (number, _) = rest.split_once('.')?;
    number.bytes().all(|b| b.is_ascii_digit()).then_some(TEXT)
}

const TEXT: KeyType = KeyType::scalar(ValueType::String);
const U32: KeyType = KeyType::scalar(ValueType::U32);
const I32: KeyType = KeyType::scalar(ValueType::I32);
const F32: KeyType = KeyType::scalar(ValueType::F32);
const FLAG: KeyType = KeyType::scalar(ValueType::Bool);
const TEXTS: KeyType = KeyType::array(&[ValueType::String]);
const FLOATS: KeyType = KeyType::array(&[ValueType::F32]);
const COUNTS: KeyType = KeyType::array(&[ValueType::U32, ValueType::I32]);
const BYTES: KeyType = KeyType::array(&[ValueType::U8, ValueType::I8]);
/// Of a model, or of each layer.
const COUNT_OR_COUNTS: KeyType = KeyType {
    scalar: Some(ValueType::U32),
    elements: &[ValueType::U32, ValueType::I32],
};
/// Every how many layers, or which of them.
const PATTERN: KeyType = KeyType {
    scalar: Some(ValueType::U32),
    elements: &[ValueType::Bool, ValueType::U32, ValueType::I32],
};
const FLOAT_OR_FLOATS: KeyType = KeyType {
    scalar: Some(ValueType::F32),
    elements: &[ValueType::F32],
};

const WHOLE: &[(&str, KeyType)] = &[
    ("general.alignment", U32),
    ("general.architecture", TEXT),
    ("general.author", TEXT),
    ("general.base_model.count", U32),
    ("general.basename", TEXT),
    ("general.dataset.count", U32),
    ("general.description", TEXT),
    ("general.doi", TEXT),
    ("general.file_type", U32),
    ("general.finetune", TEXT),
    ("general.languages", TEXTS),
    ("general.license", TEXT),
    ("general.license.link", TEXT),
    ("general.license.name", TEXT),
    ("general.name", TEXT),
    ("general.organization", TEXT),
    ("general.quantization_version", U32),
    ("general.quantized_by", TEXT),
    ("general.repo_url", TEXT),
    ("general.sampling.min_p", F32),
    ("general.sampling.mirostat", I32),
    ("general.sampling.mirostat_eta", F32),
    ("general.sampling.mirostat_tau", F32),
    ("general.sampling.penalty_last_n", I32),
    ("general.sampling.penalty_repeat", F32),
    ("general.sampling.sequence", TEXT),
    ("general.sampling.temp", F32),
    ("general.sampling.top_k", I32),
    ("general.sampling.top_p", F32),
    ("general.sampling.xtc_probability", F32),
    ("general.sampling.xtc_threshold", F32),
    ("general.size_label", TEXT),
    ("general.source.doi", TEXT),
    ("general.source.huggingface.repository", TEXT),
    ("general.source.repo_url", TEXT),
    ("general.source.url", TEXT),
    ("general.source.uuid", TEXT),
    ("general.tags", TEXTS),
    ("general.type", TEXT),
    ("general.url", TEXT),
    ("general.uuid", TEXT),
    ("general.version", TEXT),
    ("split.count", KeyType::scalar(ValueType::U16)),
    ("split.no", KeyType::scalar(ValueType::U16)),
    ("split.tensors.count", I32),
    ("tokenizer.chat_template", TEXT),
    ("tokenizer.chat_templates", TEXTS),
    ("tokenizer.ggml.add_bos_token", FLAG),
    ("tokenizer.ggml.add_eos_token", FLAG),
    ("tokenizer.ggml.add_sep_token", FLAG),
    ("tokenizer.ggml.add_space_prefix", FLAG),
    ("tokenizer.ggml.bos_token_id", U32),
    ("tokenizer.ggml.eom_token_id", U32),
    ("tokenizer.ggml.eos_token_id", U32),
    ("tokenizer.ggml.eot_token_id", U32),
    ("tokenizer.ggml.fim_mid_token_id", U32),
    ("tokenizer.ggml.fim_pad_token_id", U32),
    ("tokenizer.ggml.fim_pre_token_id", U32),
    ("tokenizer.ggml.fim_rep_token_id", U32),
    ("tokenizer.ggml.fim_sep_token_id", U32),
    ("tokenizer.ggml.fim_suf_token_id", U32),
    ("tokenizer.ggml.mask_token_id", U32),
    ("tokenizer.ggml.merges", TEXTS),
    ("tokenizer.ggml.model", TEXT),
    ("tokenizer.ggml.normalizer.lowercase", FLAG),
    ("tokenizer.ggml.normalizer.strip_accents", FLAG),
    ("tokenizer.ggml.padding_token_id", U32),
    ("tokenizer.ggml.pre", TEXT),
    ("tokenizer.ggml.precompiled_charsmap", BYTES),
    ("tokenizer.ggml.remove_extra_whitespaces", FLAG),
    ("tokenizer.ggml.scores", FLOATS),
    ("tokenizer.ggml.seperator_token_id", U32),
    ("tokenizer.ggml.token_type", COUNTS),
    ("tokenizer.ggml.token_type_count", U32),
    ("tokenizer.ggml.tokens", TEXTS),
    ("tokenizer.ggml.unknown_token_id", U32),
];

/// Keys under the name of an architecture.
const OF_ARCHITECTURE: &[(&[&str], KeyType)] = &[
    (
        &[
            "attention.decay_lora_rank",
            "attention.gate_lora_rank",
            "attention.group_norm_groups",
            "attention.iclr_lora_rank",
            "attention.indexer.block_size",
            "attention.indexer.head_count",
            "attention.indexer.key_length",
            "attention.indexer.kpool",
            "attention.indexer.local_blocks",
            "attention.indexer.top_k",
            "attention.key_length",
            "attention.key_length_mla",
            "attention.key_length_mla_swa",
            "attention.key_length_swa",
            "attention.kv_lora_rank",
            "attention.kv_lora_rank_swa",
            "attention.output_group_count",
            "attention.output_lora_rank",
            "attention.q_lora_rank",
            "attention.relative_buckets_count",
            "attention.shared_kv_layers",
            "attention.sliding_window",
            "attention.temperature_length",
            "attention.value_length",
            "attention.value_length_mla",
            "attention.value_length_mla_swa",
            "attention.value_length_swa",
            "attention.value_residual_mix_lora_rank",
            "block_count",
            "classifier.pooling_type",
            "context_length",
            "convnext.block_count",
            "convnext.embedding_length",
            "decoder_block_count",
            "decoder_start_token_id",
            "embedding_length",
            "embedding_length_out",
            "embedding_length_per_layer_input",
            "expert_chunk_feed_forward_length",
            "expert_count",
            "expert_gating_func",
            "expert_group_count",
            "expert_group_used_count",
            "expert_latent_length",
            "expert_shared_count",
            "expert_shared_feed_forward_length",
            "experts_per_group",
            "features_length",
            "full_attention_interval",
            "interleave_moe_layer_step",
            "kda.head_dim",
            "leading_dense_block_count",
            "moe_every_n_layers",
            "moe_latent_size",
            "n_deepstack_layers",
            "nextn_predict_layers",
            "num_loops",
            "pooling_type",
            "posnet.block_count",
            "posnet.embedding_length",
            "rescale_every_n_layers",
            "rope.dimension_count",
            "rope.dimension_count_swa",
            "rope.scaling.original_context_length",
            "shortconv.l_cache",
            "ssm.conv_kernel",
            "ssm.group_count",
            "ssm.inner_size",
            "ssm.state_size",
            "ssm.time_step_rank",
            "time_decay_extra_dim",
            "time_mix_extra_dim",
            "token_shift_count",
            "vocab_size",
            "wkv.head_size",
        ],
        U32,
    ),
    (
        &[
            "attention.clamp_kqv",
            "attention.group_norm_epsilon",
            "attention.layer_norm_epsilon",
            "attention.layer_norm_rms_epsilon",
            "attention.max_alibi_bias",
            "attention.output_scale",
            "attention.scale",
            "attention.temperature_scale",
            "attention.value_scale",
            "attn_logit_softcapping",
            "embedding_scale",
            "expert_group_scale",
            "expert_weights_scale",
            "final_logit_softcapping",
            "logit_scale",
            "residual_scale",
            "rope.freq_base",
            "rope.freq_base_swa",
            "rope.scale_linear",
            "rope.scaling.alpha",
            "rope.scaling.attn_factor",
            "rope.scaling.factor",
            "rope.scaling.yarn_attn_factor",
            "rope.scaling.yarn_beta_fast",
            "rope.scaling.yarn_beta_slow",
            "rope.scaling.yarn_ext_factor",
            "rope.scaling.yarn_log_multiplier",
            "router_logit_softcapping",
        ],
        F32,
    ),
    (
        &[
            "attention.causal",
            "expert_weights_norm",
            "kda.safe_gate",
            "rope.scaling.finetuned",
            "ssm.dt_b_c_rms",
            "swin_norm",
            "use_parallel_residual",
        ],
        FLAG,
    ),
    (
        &["hidden_activation", "rope.scaling.type", "tensor_data_layout"],
        TEXT,
    ),
    (&["classifier.output_labels"], TEXTS),
    (&["rope.dimension_sections"], COUNTS),
    (
        &[
            "attention.head_count",
            "attention.head_count_kv",
            "expert_feed_forward_length",
            "expert_used_count",
            "feed_forward_length",
        ],
        COUNT_OR_COUNTS,
    ),
    (
        &["attention.sliding_window_pattern", "attention.recurrent_layers"],
        PATTERN,
    ),
    (&["swiglu_clamp_exp", "swiglu_clamp_shexp"], FLOAT_OR_FLOATS),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_keys_have_one_type() {
        let mut all: Vec<&str> = WHOLE.iter().map(|(key, _)| *key).collect();
        let whole = all.len();
        all.dedup();
        assert_eq!(all.len(), whole);
        let mut suffixes: Vec<&str> = OF_ARCHITECTURE
            .iter()
            .flat_map(|(s, _)| s.iter().copied())
            .collect();
        let count = suffixes.len();
        suffixes.sort_unstable();
        suffixes.dedup();
        assert_eq!(suffixes.len(), count);
        assert_eq!(key_type("llama.block_count"), Some(U32));
        assert_eq!(key_type("qwen3vl.rope.freq_base"), Some(F32));
        assert_eq!(key_type("general.base_model.0.name"), Some(TEXT));
        assert_eq!(key_type("general.base_model.x.name"), None);
        assert_eq!(key_type("tokenizer.chat_template.rag"), Some(TEXT));
        for unknown in ["general.mine", "mine", "llama.mine", "clip.block_count", ""] {
            assert_eq!(key_type(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn changes_of_type_are_told() {
        let change = |key: &str, old: Option<Value>, new: Value| type_change(key, old.as_ref(), &new);
        assert_eq!(
            change("general.name", None, Value::U32(3)).as_deref(),
            Some("key 'general.name': expected str, found u32")
        );
        assert_eq!(
            change("my.key", Some(vec![1i32].into()), vec![1.0f32].into()).as_deref(),
            Some("key 'my.key': expected i32[], which it has, found f32[]")
        );
        assert_eq!(change("my.key", None, Value::U32(3)), None);
        assert_eq!(
            change("llama.block_count", Some(Value::U32(1)), Value::U32(2)),
            None
        );
        assert_eq!(
            change("llama.attention.head_count", None, vec![1u32].into()),
            None
        );
        assert!(
            change(
                "llama.attention.head_count",
                Some(Value::U32(1)),
                vec![1u32].into()
            )
            .is_some()
        );
        assert!(change("tokenizer.ggml.tokens", None, vec![1u32].into()).is_some());
    }
}
