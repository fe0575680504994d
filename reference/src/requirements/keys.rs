//! Keys that llama.cpp reads of every model, whatever its architecture, with the types it reads them as. A key of
//! another type makes it refuse the file ("wrong type"), whether it is needed or not.

use gguf::{Array, Metadata, Value, ValueType};

use super::Shortfall;

/// Most experts that a layer can have, as llama.cpp has it (LLAMA_MAX_EXPERTS).
const MAX_EXPERTS: u32 = 1024;

/// Type that a key is read as.
#[derive(Clone, Copy, PartialEq, Eq)]
enum As {
    Scalar(ValueType),
    /// One number for all layers, or one for each.
    PerLayer,
    /// One f32 for all layers, or one for each.
    FloatPerLayer,
    /// A list of this many whole numbers.
    List(usize),
    /// One whole number, or flag, for each layer.
    EachLayer,
}

const U32: As = As::Scalar(ValueType::U32);
const F32: As = As::Scalar(ValueType::F32);
const BOOL: As = As::Scalar(ValueType::Bool);
const STR: As = As::Scalar(ValueType::String);

/// Keys under the architecture's prefix; whether they have to be there.
const PREFIXED: &[(&str, As, bool)] = &[
    ("context_length", U32, true),
    ("embedding_length", U32, true),
    ("block_count", U32, true),
    ("embedding_length_out", U32, false),
    ("attention.causal", BOOL, false),
    ("pooling_type", U32, false),
    ("nextn_predict_layers", U32, false),
    ("expert_count", U32, false),
    ("expert_used_count", As::PerLayer, false),
    ("expert_group_count", U32, false),
    ("expert_group_used_count", U32, false),
    ("feed_forward_length", As::PerLayer, false),
    ("attention.head_count", As::PerLayer, false),
    ("attention.head_count_kv", As::PerLayer, false),
    ("rope.scaling.finetuned", BOOL, false),
    ("rope.scaling.original_context_length", U32, false),
    ("rope.freq_base", F32, false),
    ("rope.freq_base_swa", F32, false),
    ("rope.scaling.yarn_ext_factor", F32, false),
    ("rope.scaling.yarn_attn_factor", F32, false),
    ("rope.scaling.yarn_beta_fast", F32, false),
    ("rope.scaling.yarn_beta_slow", F32, false),
    ("router_logit_softcapping", F32, false),
    ("attention.temperature_length", U32, false),
    ("rope.scaling.type", STR, false),
    ("rope.scaling.factor", F32, false),
    ("rope.scale_linear", F32, false),
    ("rope.scaling.attn_factor", F32, false),
    ("rope.scaling.alpha", F32, false),
    ("attention.key_length", U32, false),
    ("attention.value_length", U32, false),
    ("attention.key_length_swa", U32, false),
    ("attention.value_length_swa", U32, false),
    ("rope.dimension_count", U32, false),
    ("rope.dimension_count_swa", U32, false),
    // Of these, most architectures read those that they have.
    ("expert_shared_count", U32, false),
    ("expert_shared_feed_forward_length", U32, false),
    ("leading_dense_block_count", U32, false),
    ("expert_weights_scale", F32, false),
    ("expert_weights_norm", BOOL, false),
    ("expert_gating_func", U32, false),
    ("vocab_size", U32, false),
    ("attention.layer_norm_epsilon", F32, false),
    ("attention.layer_norm_rms_epsilon", F32, false),
    ("attention.decay_lora_rank", U32, false),
    ("attention.gate_lora_rank", U32, false),
    ("attention.iclr_lora_rank", U32, false),
    ("time_decay_extra_dim", U32, false),
    ("time_mix_extra_dim", U32, false),
    ("interleave_moe_layer_step", U32, false),
    ("moe_latent_size", U32, false),
    ("n_deepstack_layers", U32, false),
    ("decoder_start_token_id", U32, false),
    ("expert_feed_forward_length", As::PerLayer, false),
    ("rope.dimension_sections", As::List(4), false),
    ("attention.recurrent_layers", As::EachLayer, false),
    ("adapters.count", U32, false),
    ("adapters.lora_rank", U32, false),
    ("adapters.router_gain", F32, false),
    ("attention.clamp_kqv", F32, false),
    ("attention.indexer.block_size", U32, false),
    ("attention.indexer.head_count", U32, false),
    ("attention.indexer.key_length", U32, false),
    ("attention.indexer.local_blocks", U32, false),
    ("attention.indexer.top_k", U32, false),
    ("attention.key_length_mla", U32, false),
    ("attention.key_length_mla_swa", U32, false),
    ("attention.kv_lora_rank", U32, false),
    ("attention.kv_lora_rank_swa", U32, false),
    ("attention.max_alibi_bias", F32, false),
    ("attention.output_group_count", U32, false),
    ("attention.output_lora_rank", U32, false),
    ("attention.output_scale", F32, false),
    ("attention.q_lora_rank", U32, false),
    ("attention.relative_buckets_count", U32, false),
    ("attention.scale", F32, false),
    ("attention.shared_kv_layers", U32, false),
    ("attention.sliding_window", U32, false),
    ("attention.temperature_scale", F32, false),
    ("attention.value_length_mla", U32, false),
    ("attention.value_length_mla_swa", U32, false),
    ("attention.value_residual_mix_lora_rank", U32, false),
    ("attention.value_scale", F32, false),
    ("attn_logit_softcapping", F32, false),
    ("block_size", U32, false),
    ("conv_group_size", U32, false),
    ("conv_kernel_size", U32, false),
    ("decoder_block_count", U32, false),
    ("dense_2_feat_in", U32, false),
    ("dense_2_feat_out", U32, false),
    ("dense_3_feat_in", U32, false),
    ("dense_3_feat_out", U32, false),
    ("embedding_length_per_layer_input", U32, false),
    ("embedding_scale", F32, false),
    ("expert_chunk_feed_forward_length", U32, false),
    ("expert_group_scale", F32, false),
    ("experts_per_group", U32, false),
    ("final_logit_softcapping", F32, false),
    ("full_attention_interval", U32, false),
    ("hidden_activation", STR, false),
    ("hrm.h_cycles", U32, false),
    ("hrm.l_cycles", U32, false),
    ("hrm.layers_per_stack", U32, false),
    ("hrm.prefix_lm", BOOL, false),
    ("hyper_connection.count", U32, false),
    ("hyper_connection.epsilon", F32, false),
    ("hyper_connection.magnitude", F32, false),
    ("hyper_connection.sinkhorn_iterations", U32, false),
    ("kda.gate_lower_bound", F32, false),
    ("kda.head_dim", U32, false),
    ("kda.safe_gate", BOOL, false),
    ("logit_scale", F32, false),
    ("norm_before_fc", BOOL, false),
    ("norm_before_residual", BOOL, false),
    ("num_loops", U32, false),
    ("rescale_every_n_layers", U32, false),
    ("residual_scale", F32, false),
    ("rope.scaling.yarn_log_multiplier", F32, false),
    ("selector_rank", U32, false),
    ("selector_top_k", U32, false),
    ("shortconv.l_cache", U32, false),
    ("skip_loop_final_norm", BOOL, false),
    ("ssm.conv_kernel", U32, false),
    ("ssm.dt_b_c_rms", BOOL, false),
    ("ssm.group_count", U32, false),
    ("ssm.inner_size", U32, false),
    ("ssm.state_size", U32, false),
    ("ssm.time_step_rank", U32, false),
    ("swiglu_clamp_exp", As::FloatPerLayer, false),
    ("swiglu_clamp_shexp", As::FloatPerLayer, false),
    ("swin_norm", BOOL, false),
    ("target_hidden_size", U32, false),
    ("token_shift_count", U32, false),
    ("use_parallel_residual", BOOL, false),
    ("wkv.head_size", U32, false),
];

/// Keys without a prefix.
const GLOBAL: [(&str, As, bool); 27] = [
    ("general.architecture", STR, true),
    ("general.name", STR, false),
    ("general.file_type", U32, false),
    ("split.count", As::Scalar(ValueType::U16), false),
    ("tokenizer.ggml.model", STR, true),
    ("tokenizer.ggml.pre", STR, false),
    ("tokenizer.ggml.token_type_count", U32, false),
    ("tokenizer.ggml.add_space_prefix", BOOL, false),
    ("tokenizer.ggml.remove_extra_whitespaces", BOOL, false),
    ("tokenizer.ggml.add_bos_token", BOOL, false),
    ("tokenizer.ggml.add_eos_token", BOOL, false),
    ("tokenizer.ggml.add_sep_token", BOOL, false),
    ("tokenizer.ggml.normalizer.lowercase", BOOL, false),
    ("tokenizer.ggml.bos_token_id", U32, false),
    ("tokenizer.ggml.eos_token_id", U32, false),
    ("tokenizer.ggml.unknown_token_id", U32, false),
    ("tokenizer.ggml.seperator_token_id", U32, false),
    ("tokenizer.ggml.padding_token_id", U32, false),
    ("tokenizer.ggml.mask_token_id", U32, false),
    ("tokenizer.ggml.eot_token_id", U32, false),
    ("tokenizer.ggml.eom_token_id", U32, false),
    ("tokenizer.ggml.fim_pre_token_id", U32, false),
    ("tokenizer.ggml.fim_suf_token_id", U32, false),
    ("tokenizer.ggml.fim_mid_token_id", U32, false),
    ("tokenizer.ggml.fim_pad_token_id", U32, false),
    ("tokenizer.ggml.fim_rep_token_id", U32, false),
    ("tokenizer.ggml.fim_sep_token_id", U32, false),
];

/// Architectures whose rotation takes whole heads.
const WHOLE_HEADS_ROTATE: [&str; 4] = ["llama", "llama-embed", "falcon", "deci"];

/// Shortfalls of the keys that every model has, given the rows of its embeddings.
pub(super) fn check(metadata: &Metadata, embedded: Option<u64>) -> Vec<Shortfall> {
    let mut found = Vec::new();
    let prefix = metadata.architecture();
    let prefixed = PREFIXED
        .iter()
        .map(|&(key, ty, needed)| (format!("{prefix}.{key}"), ty, needed));
    let global = GLOBAL.map(|(key, ty, needed)| (key.to_owned(), ty, needed));
    let layers = match metadata.arch("block_count") {
        Some(Value::U32(n)) => *n as usize,
        _ => 0,
    };
    for (key, ty, needed) in global.into_iter().chain(prefixed) {
        let expected = match ty {
            As::Scalar(ty) => format!("a value of type {ty}"),
            As::PerLayer => format!("one number of type u32, or one for each of the {layers} layers"),
            As::FloatPerLayer => format!("one number of type f32, or one for each of the {layers} layers"),
            As::List(count) => format!("{count} whole numbers"),
            As::EachLayer => format!("one value for each of the {layers} layers"),
        };
        let Some(value) = metadata.get(&key) else {
            if needed {
                found.push(Shortfall::key(&key, None, &expected));
            }
            continue;
        };
        let fits = match ty {
            As::Scalar(ty) => value.value_type() == ty,
            As::PerLayer => match value {
                Value::U32(_) => true,
                Value::Array(a @ (Array::U32(_) | Array::I32(_) | Array::Bool(_))) => a.len() == layers,
                _ => false,
            },
            As::FloatPerLayer => match value {
                Value::F32(_) => true,
                Value::Array(Array::F32(all)) => all.len() == layers,
                _ => false,
            },
            As::List(count) => {
                matches!(value, Value::Array(a @ (Array::U32(_) | Array::I32(_))) if a.len() == count)
            }
            As::EachLayer => {
                let all = match value {
                    Value::Array(a @ (Array::U32(_) | Array::I32(_) | Array::Bool(_))) => Some(a.len()),
                    _ => None,
                };
                all == Some(layers)
            }
        };
        if !fits {
            found.push(Shortfall::key(&key, Some(value), &expected));
        }
    }
    found.extend(experts(metadata));
    found.extend(vocabulary_size(metadata, embedded));
    found.extend(rotated(metadata));
    found.extend(suppressed(metadata));
    found.extend(twice(metadata));
    found.extend(named_phi3(metadata));
    found
}

/// Of a model without a vocabulary, the size is a key.
fn vocabulary_size(metadata: &Metadata, embedded: Option<u64>) -> Option<Shortfall> {
    let rows = embedded?;
    if !matches!(
        metadata.get_str("tokenizer.ggml.model"),
        Some("none" | "no_vocab")
    ) {
        return None;
    }
    let key = format!("{}.vocab_size", metadata.architecture());
    let value = metadata.get(&key);
    let fits = matches!(value, Some(Value::U32(n)) if u64::from(*n) == rows);
    let expected = format!("the {rows} rows of token_embd.weight");
    (!fits).then(|| Shortfall::key(&key, value, &expected))
}

/// Elements of a head that are rotated.
fn rotated(metadata: &Metadata) -> Option<Shortfall> {
    let number = |suffix: &str| metadata.arch(suffix).and_then(Value::as_u64);
    let name = metadata.architecture();
    // Where layers have heads of their own, the first layer's count.
    let heads = match metadata.arch("attention.head_count")? {
        Value::Array(Array::U32(all)) => u64::from(*all.first()?),
        Value::Array(Array::I32(all)) => u64::try_from(*all.first()?).ok()?,
        one => one.as_u64()?,
    };
    let heads = Some(heads).filter(|&n| n > 0)?;
    let len = number("attention.key_length").or_else(|| Some(number("embedding_length")? / heads))?;
    let found = number("rope.dimension_count").filter(|&n| n != len)?;
    let key = format!("{name}.rope.dimension_count");
    let expected = format!("the {len} elements of a head");
    WHOLE_HEADS_ROTATE.contains(&name).then(|| {
        Shortfall::key(
            &key,
            Some(&Value::U32(u32::try_from(found).unwrap_or(u32::MAX))),
            &expected,
        )
    })
}

/// Numbers of experts that contradict one another.
fn experts(metadata: &Metadata) -> Option<Shortfall> {
    let number = |suffix: &str| match metadata.arch(suffix) {
        Some(Value::U32(n)) => *n,
        Some(Value::Array(Array::U32(all))) => all.iter().copied().max().unwrap_or(0),
        Some(Value::Array(Array::I32(all))) => all
            .iter()
            .filter_map(|&n| u32::try_from(n).ok())
            .max()
            .unwrap_or(0),
        _ => 0,
    };
    let wrong = |suffix: &str, expected: String| {
        let key = format!("{}.{suffix}", metadata.architecture());
        Some(Shortfall::key(&key, metadata.arch(suffix), &expected))
    };
    let mut count = number("expert_count");
    let mut used = number("expert_used_count");
    // Files of Hunyuan's dense models count one expert.
    if metadata.architecture() == "hunyuan-dense" && count <= 1 {
        (count, used) = (0, 0);
    }
    let (groups, groups_used) = (number("expert_group_count"), number("expert_group_used_count"));
    if count > MAX_EXPERTS {
        return wrong("expert_count", format!("at most {MAX_EXPERTS}"));
    }
    if used > count || (count > 0 && used == 0) {
        return wrong(
            "expert_used_count",
            match count {
                0 => "0, as there are no experts".to_owned(),
                count => format!("1 to {count} of expert_count"),
            },
        );
    }
    if groups > 0 && groups >= count {
        return wrong(
            "expert_group_count",
            format!("fewer than the {count} of expert_count"),
        );
    }
    if groups > 1 && !count.is_multiple_of(groups) {
        return wrong(
            "expert_group_count",
            format!("a divisor of the {count} of expert_count"),
        );
    }
    if groups > 1 && !(1..groups).contains(&groups_used) {
        return wrong("expert_group_used_count", format!("1 to {}", groups - 1));
    }
    None
}

/// Tokens that are never predicted.
fn suppressed(metadata: &Metadata) -> Option<Shortfall> {
    let key = "tokenizer.ggml.suppress_tokens";
    let value = metadata.get(key)?;
    let fits = matches!(value, Value::Array(Array::I32(_)));
    (!fits).then(|| Shortfall::key(key, Some(value), "ids of tokens (i32)"))
}

/// Two tokens of the same text: llama.cpp aborts.
fn twice(metadata: &Metadata) -> Option<Shortfall> {
    let key = "tokenizer.ggml.tokens";
    let value = metadata.get(key)?;
    let Value::Array(Array::String(tokens)) = value else {
        return None;
    };
    let mut seen = std::collections::HashSet::with_capacity(tokens.len());
    let again = tokens.iter().find(|token| !seen.insert(&token.0))?;
    let expected = format!(
        "each token once, and {:?} is there twice",
        again.to_string_lossy()
    );
    Some(Shortfall::key(key, Some(value), &expected))
}

/// Tokens that llama.cpp looks for in the vocabulary of a model by its name, and throws where they are not there.
const TOKENS_OF_PHI3: [&str; 4] = ["</s>", "<unk>", "<s>", "<|endoftext|>"];

/// A model that is called Phi-3 has the tokens of Phi-3.
fn named_phi3(metadata: &Metadata) -> Option<Shortfall> {
    let name = metadata.get_str("general.name")?.to_ascii_lowercase();
    if !["phi-3", "phi3"].iter().any(|part| name.contains(part)) {
        return None;
    }
    let key = "tokenizer.ggml.tokens";
    let value = metadata.get(key)?;
    let Value::Array(Array::String(tokens)) = value else {
        return None;
    };
    let missing = TOKENS_OF_PHI3
        .iter()
        .find(|token| tokens.iter().all(|t| t.0 != token.as_bytes()))?;
    let expected = format!("the token {missing:?}, as general.name is that of a Phi-3");
    Some(Shortfall::key(key, Some(value), &expected))
}
