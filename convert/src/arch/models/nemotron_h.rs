//! Nemotron-H and Nemotron 3: each layer is Mamba-2, attention or a feed-forward part.

use gguf::{Array, TensorType, Value as GgufValue};
use serde_json::{Map, Value};

use super::granite::granite_keys;
use super::granite_hybrid::kv_heads_of_layers;
use super::mamba::{MAMBA2_RULES, MODEL};
use crate::Result;
use crate::arch::rules::common;
use crate::arch::rules::hooks::predicting_layers;
use crate::arch::rules::names::{Rule, Scope, Transform};
use crate::arch::{Activation, Architecture, Graph, Hooks, Hparams, Keys, Named, PLAIN, class};
use crate::tokenizer::{VocabKind, VocabRequest, VocabStep};

pub(super) static NEMOTRON_H: Architecture = Architecture {
    gguf: "nemotron_h",
    classes: &[class("NemotronHForCausalLM")],
    rules: &[MODEL, MAMBA2_RULES, LAYERS],
    hyperparameters,
    vocabulary: |_| VocabRequest::of([VocabStep::Multiple(8), VocabStep::read(&[VocabKind::Bpe])]),
    hooks: Hooks {
        prepare,
        variant: |hp| is_mixture(hp).then_some(&MIXTURE),
        ..Hooks::NONE
    },
    graph: Graph::with(Activation::Relu2),
    ..PLAIN
};

/// Nemotron 3.
static MIXTURE: Architecture = Architecture {
    gguf: "nemotron_h_moe",
    classes: &[],
    rules: &[MODEL, MAMBA2_RULES, LAYERS, EXPERTS],
    hooks: Hooks {
        canonical,
        force: predicting_router,
        more_blocks: predicting_layers,
        unadapted: &["ffn_latent_down", "ffn_latent_up"],
        ..Hooks::NONE
    },
    ..NEMOTRON_H
};

/// Nemotron 3 after NVIDIA's Puzzle: each layer with experts has a width and a number of experts of its own.
pub(super) static PUZZLE: Architecture = Architecture {
    gguf: "nemotron_h_moe",
    classes: &[class("NemotronHPuzzleForCausalLM")],
    hyperparameters: puzzle_keys,
    hooks: Hooks {
        prepare: |config| {
            let kind = |block: &Value| block.get("block_type").cloned().unwrap_or_default();
            if let Some(blocks) = config.get(BLOCKS).and_then(Value::as_array) {
                let kinds: Value = blocks.iter().map(kind).collect();
                config.insert(KINDS.to_owned(), kinds);
            }
            prepare(config);
        },
        // Published under the names of two generations; the head that predicts further tokens has no graph.
        canonical: |_, name| match name.strip_prefix("model.") {
            _ if name.starts_with("mtp.") => None,
            Some(rest) => Some(format!("backbone.{rest}")),
            None => Some(name),
        },
        unadapted: MIXTURE.hooks.unadapted,
        ..Hooks::NONE
    },
    ..MIXTURE
};

/// The key of Puzzle's choices for each layer.
const BLOCKS: &str = "block_configs";

fn puzzle_keys(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    let blocks = hp.find(&[BLOCKS]).unwrap_or(&Value::Null);
    let blocks = common::list(hp, BLOCKS, blocks)?;
    let each = |key: &str| -> Result<GgufValue> {
        let number = |block: &Value| match block.get(key).filter(|v| !v.is_null()) {
            Some(value) => hp.to_u32(key, value),
            None => Ok(0),
        };
        Ok(common::numbers(blocks.iter().map(number).collect::<Result<_>>()?))
    };
    state_keys(hp, keys)?;
    let kinds = kinds_of(hp, true)?;
    attention_keys(
        hp,
        keys,
        &kinds.iter().map(|&k| k == Kind::Attention).collect::<Vec<_>>(),
    )?;
    keys.set("feed_forward_length", each("moe_intermediate_size")?);
    keys.set("expert_feed_forward_length", each("moe_intermediate_size")?);
    keys.set("expert_used_count", each("num_experts_per_tok")?);
    routing_keys(hp, keys)?;
    keys.set("moe_latent_size", hp.u32(&["moe_latent_size"])?);
    Ok(())
}

const BLOCK: Scope = Scope::new("backbone.layers.{}", "blk.{}");

const LAYERS: &[Rule] = &[
    BLOCK.rule("mixer.q_proj", "attn_q", Transform::PermuteQuery),
    BLOCK.rule("mixer.k_proj", "attn_k", Transform::PermuteKey),
    BLOCK.copy("mixer.v_proj", "attn_v"),
    BLOCK.copy("mixer.o_proj", "attn_output"),
    BLOCK.copy("mixer.up_proj", "ffn_up"),
    BLOCK.copy("mixer.down_proj", "ffn_down"),
];

const EXPERTS: &[Rule] = &[
    BLOCK.copy("mixer.gate", "ffn_gate_inp"),
    BLOCK.exact("mixer.gate.e_score_correction_bias", "exp_probs_b.bias"),
    BLOCK.rule("mixer.experts.{e}.down_proj", "ffn_down_exps", Transform::Expert),
    BLOCK.rule("mixer.experts.{e}.up_proj", "ffn_up_exps", Transform::Expert),
    BLOCK.copy("mixer.shared_experts.up_proj", "ffn_up_shexp"),
    BLOCK.copy("mixer.shared_experts.down_proj", "ffn_down_shexp"),
    BLOCK.copy("mixer.fc1_latent_proj", "ffn_latent_down"),
    BLOCK.copy("mixer.fc2_latent_proj", "ffn_latent_up"),
    BLOCK.copy("enorm", "nextn.enorm"),
    BLOCK.copy("hnorm", "nextn.hnorm"),
    BLOCK.copy("eh_proj", "nextn.eh_proj"),
    BLOCK.copy("second_norm", "post_attention_norm"),
    BLOCK.copy("final_layernorm", "nextn.shared_head_norm"),
];

/// The head that predicts a further token is two layers of the checkpoint and one of the file.
fn canonical(hp: &Hparams, name: String) -> Option<String> {
    let Some(rest) = name.strip_prefix("mtp.layers.") else {
        return Some(name);
    };
    let block = hp.u32(&["num_hidden_layers"]).ok()?;
    let inner = match rest.split_once('.')? {
        ("0", inner) => inner,
        ("1", "norm.weight") => "second_norm.weight",
        ("1", inner) => inner,
        _ => return Some(name),
    };
    Some(format!("backbone.layers.{block}.{inner}"))
}

/// The stock converter takes this router, which has another number in the checkpoint, for a matrix like others.
fn predicting_router(hp: &Hparams, name: Named<'_>, ty: TensorType) -> Option<TensorType> {
    let block = hp.u32(&["num_hidden_layers"]).ok()?;
    (name.gguf == format!("blk.{block}.ffn_gate_inp.weight")).then_some(ty)
}

/// Some configurations name the layers' kinds instead of counting them. What is called the dimension of a head is not
/// Granite's.
fn prepare(config: &mut Map<String, Value>) {
    if let Some(kinds) = config.get(KINDS).and_then(Value::as_array) {
        let count = kinds.len();
        config.insert("num_hidden_layers".to_owned(), count.into());
    }
    if let Some(length) = config.shift_remove("head_dim") {
        config.insert("attention_head_dim".to_owned(), length);
    }
    // Transformers 5 writes the one name, of a norm without a mean.
    if let Some(epsilon) = config.get("layer_norm_epsilon").cloned()
        && !["norm_eps", "rms_norm_eps"]
            .iter()
            .any(|key| config.contains_key(*key))
    {
        config.insert("norm_eps".to_owned(), epsilon);
    }
}

/// Names of the layers' kinds, one for each layer.
const KINDS: &str = "layers_block_type";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Mamba,
    Attention,
    FeedForward,
    Other,
}

/// The kind of every block; blocks that predict further tokens have both attention and experts.
fn kinds_of(hp: &Hparams, is_mixture: bool) -> Result<Vec<Kind>> {
    let feed_forward = if is_mixture { 'E' } else { '-' };
    let of_letter = |letter: char| match letter {
        'M' => Kind::Mamba,
        '*' => Kind::Attention,
        c if c == feed_forward => Kind::FeedForward,
        _ => Kind::Other,
    };
    let of_word = |word: &str| match word {
        "mamba" | "linear_attention" => Kind::Mamba,
        "attention" | "full_attention" => Kind::Attention,
        "moe" => Kind::FeedForward,
        "mlp" if !is_mixture => Kind::FeedForward,
        _ => Kind::Other,
    };
    let kinds: Vec<Kind> = match (hp.opt_str(&["hybrid_override_pattern"]), hp.strings(KINDS)) {
        (Some(pattern), _) => pattern.chars().map(of_letter).collect(),
        (None, Some(words)) => words.into_iter().map(of_word).collect(),
        (None, None) => {
            return Err(hp.error(format!(
                "expected hybrid_override_pattern or {KINDS}, which say what each layer is, found neither"
            )));
        }
    };
    let layers = hp.u32(&["num_hidden_layers"])?;
    if kinds.len() != layers as usize {
        return Err(hp.error(format!(
            "hybrid_override_pattern (or {KINDS}): expected {layers} layers (num_hidden_layers), found {}",
            kinds.len()
        )));
    }
    Ok(kinds)
}

/// Transformers 5 writes the keys of experts in any case, and what each layer is beside them.
fn is_mixture(hp: &Hparams) -> bool {
    match (hp.opt_str(&["hybrid_override_pattern"]), hp.strings(KINDS)) {
        (None, Some(kinds)) => kinds.contains(&"moe"),
        _ => hp.values().contains_key("num_experts_per_tok"),
    }
}

fn hyperparameters(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    state_keys(hp, keys)?;
    let kinds = kinds_of(hp, is_mixture(hp))?;
    let more = hp.block_count().saturating_sub(kinds.len() as u32);
    let of_blocks = |kind: Kind| -> Vec<bool> {
        let of_layers = kinds.iter().map(|&k| k == kind);
        of_layers.chain((0..more).map(|_| true)).collect()
    };
    attention_keys(hp, keys, &of_blocks(Kind::Attention))?;
    let width = match is_mixture(hp) {
        true => hp.u32(&["moe_intermediate_size"])?,
        false => hp.u32(&["intermediate_size"])?,
    };
    let width = i32::try_from(width)
        .map_err(|_| hp.error(format!("expected a layer of a width of 31 bits, found {width}")))?;
    let widths = of_blocks(Kind::FeedForward);
    let widths = widths
        .into_iter()
        .map(|has| if has { width } else { 0 })
        .collect();
    keys.set("feed_forward_length", GgufValue::Array(Array::I32(widths)));
    if is_mixture(hp) {
        expert_keys(hp, keys)?;
    }
    Ok(())
}

fn state_keys(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    granite_keys(hp, keys)?;
    let heads = hp.u32(&["mamba_num_heads"])?;
    let head = hp.u32(&["mamba_head_dim", "hidden_size"])?;
    let inner = heads.checked_mul(head).ok_or_else(|| {
        hp.error(format!(
            "expected heads whose elements fit 32 bits, found {heads} of {head}"
        ))
    })?;
    keys.set("ssm.conv_kernel", hp.u32(&["conv_kernel"])?);
    keys.set("ssm.state_size", hp.u32(&["ssm_state_size"])?);
    keys.set("ssm.group_count", hp.u32(&["n_groups"])?);
    keys.set("ssm.inner_size", inner);
    keys.set("ssm.time_step_rank", heads);
    Ok(())
}

fn attention_keys(hp: &Hparams, keys: &mut Keys<'_>, attends: &[bool]) -> Result<()> {
    let (_, kv_heads) = hp.heads()?;
    keys.set("attention.head_count_kv", kv_heads_of_layers(attends, kv_heads));
    keys.set("rope.scaling.finetuned", false);
    keys.set("context_length", 1u32 << 20);
    let length = hp.u32(&["attention_head_dim"])?;
    keys.set("attention.key_length", length);
    keys.set("attention.value_length", length);
    Ok(())
}

/// Counts of experts, and how tokens are sent to them.
fn routing_keys(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    keys.set(
        "expert_shared_feed_forward_length",
        hp.u32(&["moe_shared_expert_intermediate_size"])?,
    );
    keys.set("expert_count", hp.u32(&["n_routed_experts"])?);
    keys.set("expert_shared_count", hp.u32(&["n_shared_experts"])?);
    let normalizes = hp.opt_bool("norm_topk_prob");
    let normalizes =
        normalizes.ok_or_else(|| hp.error("expected a key norm_topk_prob, found none".to_owned()))?;
    keys.set("expert_weights_norm", normalizes);
    keys.set("expert_weights_scale", hp.f32(&["routed_scaling_factor"])?);
    keys.set("expert_group_count", hp.u32(&["n_group"])?);
    Ok(())
}

fn expert_keys(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    keys.set("expert_used_count", hp.u32(&["num_experts_per_tok"])?);
    keys.set("expert_feed_forward_length", hp.u32(&["moe_intermediate_size"])?);
    routing_keys(hp, keys)?;
    keys.set_some("moe_latent_size", hp.opt_u32(&["moe_latent_size"])?);
    let predicting = hp.opt_u32(&["num_nextn_predict_layers"])?.filter(|&n| n > 0);
    if predicting.is_some_and(|n| n > 1) {
        return Err(hp.error(
            "num_nextn_predict_layers: expected at most 1, found more, which has no form in GGUF".to_owned(),
        ));
    }
    keys.set_some("nextn_predict_layers", predicting);
    Ok(())
}
