//! RWKV 6 and 7.

use crate::Result;
use crate::arch::rules::names::{LAYER, Rule, Scope, Transform, copy, rule, skip};
use crate::arch::{Activation, Architecture, Graph, Hooks, Hparams, Keys, PLAIN, View, class};
use crate::tokenizer::{VocabKind, VocabRequest};

pub(super) static RWKV6: Architecture = Architecture {
    gguf: "rwkv6",
    classes: &[class("Rwkv6ForCausalLM")],
    rules: &[RULES6],
    hyperparameters: keys6,
    vocabulary: |_| VocabRequest::new(&[VocabKind::Rwkv]),
    hooks: Hooks {
        canonical: |_, name| Some(numbered(name, ".attention.time_maa_", "wkvrg")),
        unadapted: LOW_RANK,
        ..Hooks::NONE
    },
    graph: Graph::with(Activation::Any),
    ..PLAIN
};

pub(super) static RWKV7: Architecture = Architecture {
    gguf: "rwkv7",
    classes: &[class("Rwkv7ForCausalLM"), class("RWKV7ForCausalLM")],
    rules: &[FIRST7, RULES7],
    hyperparameters: keys7,
    vocabulary: |_| VocabRequest::new(&[VocabKind::Rwkv]),
    hooks: Hooks {
        canonical: canonical7,
        unadapted: LOW_RANK,
        ..Hooks::NONE
    },
    graph: Graph::with(Activation::Any),
    ..PLAIN
};

/// RWKV 6 in Qwen 2's shape (QRWKV): its mixer in place of attention, with fewer heads of keys and values.
pub(super) static RWKV6_QWEN2: Architecture = Architecture {
    gguf: "rwkv6qwen2",
    classes: &[class("RWKV6Qwen2ForCausalLM")],
    rules: &[QWEN6, SHELL],
    hyperparameters: keys_qwen6,
    vocabulary: |_| VocabRequest::new(&[VocabKind::SentencePiece, VocabKind::Bpe]),
    hooks: Hooks {
        canonical: |_, name| Some(numbered(name, ".self_attn.time_maa_", "wkvrg")),
        unadapted: LOW_RANK,
        ..Hooks::NONE
    },
    ..PLAIN
};

/// RWKV 7 in Qwen 2's shape (ARWKV), with gates or without.
pub(super) static ARWKV7: Architecture = Architecture {
    gguf: "arwkv7",
    classes: &[class("RwkvHybridForCausalLM")],
    rules: &[FIRST7, HYBRID7, SHELL, RULES7],
    hyperparameters: keys_hybrid7,
    vocabulary: |_| VocabRequest::new(&[VocabKind::SentencePiece, VocabKind::Bpe]),
    hooks: Hooks {
        canonical: canonical7,
        unadapted: LOW_RANK,
        ..Hooks::NONE
    },
    ..PLAIN
};

const BLOCK: Scope = Scope::new("rwkv.blocks.{}", "blk.{}");

/// The tensors around the mixer.
const SHELL: &[Rule] = &[
    copy("model.embed_tokens", "token_embd"),
    copy("model.norm", "output_norm"),
    copy("lm_head", "output"),
    LAYER.copy("input_layernorm", "attn_norm"),
    LAYER.copy("post_attention_layernorm", "ffn_norm"),
    LAYER.copy("mlp.gate_proj", "ffn_gate"),
    LAYER.copy("mlp.up_proj", "ffn_up"),
    LAYER.copy("mlp.down_proj", "ffn_down"),
];

const QWEN6: &[Rule] = &[
    LAYER.rule(
        "self_attn.time_maa.{e}",
        "time_mix_lerp_fused",
        Transform::Numbered(|_| Ok(5)),
    ),
    LAYER.exact_with("self_attn.time_maa_x", "time_mix_lerp_x.weight", SQUEEZED),
    LAYER.exact_with(
        "self_attn.time_maa_w1",
        "time_mix_w1.weight",
        Transform::Parts(5, |_, view, which| {
            let part = view
                .split(1, 5)
                .and_then(|v| v.cut(1, OF_QWEN[which as usize], 1));
            Ok(part.and_then(|v| v.without(1)?.swap(0, 1)))
        }),
    ),
    LAYER.exact_with(
        "self_attn.time_maa_w2",
        "time_mix_w2.weight",
        Transform::Parts(5, |_, view, which| {
            Ok(view.cut(0, OF_QWEN[which as usize], 1).and_then(|v| v.swap(1, 2)))
        }),
    ),
    LAYER.exact_with("self_attn.time_decay", "time_mix_decay.weight", SQUEEZED),
    LAYER.exact_with("self_attn.time_decay_w1", "time_mix_decay_w1.weight", TRANSPOSED),
    LAYER.exact_with("self_attn.time_decay_w2", "time_mix_decay_w2.weight", TRANSPOSED),
    LAYER.copy("self_attn.k_proj", "time_mix_key"),
    LAYER.copy("self_attn.v_proj", "time_mix_value"),
    LAYER.copy("self_attn.q_proj", "time_mix_receptance"),
    LAYER.copy("self_attn.gate", "time_mix_gate"),
    LAYER.copy("self_attn.o_proj", "time_mix_output"),
];

/// Of the parts r, k, v, w and g as they are stored, those in RWKV 6's order: w, k, v, r and g.
const OF_QWEN: [u64; 5] = [3, 1, 2, 0, 4];

fn keys_qwen6(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    let hidden = hp.u32(&["hidden_size"])?;
    let (heads, kv_heads) = (
        hp.u32(&["num_attention_heads"])?,
        hp.u32(&["num_key_value_heads"])?,
    );
    let head = hidden
        .checked_div(heads)
        .ok_or_else(|| hp.error("num_attention_heads: expected at least 1, found 0".to_owned()))?;
    let large = hidden >= 4096;
    let rank = |name: &str, large_one: u32, small_one: u32| -> Result<u32> {
        let usual = if large { large_one } else { small_one };
        Ok(hp.opt_u32(&[name])?.unwrap_or(usual))
    };
    keys.set("context_length", CONTEXT);
    keys.set("embedding_length", hidden);
    keys.set("block_count", hp.block_count());
    keys.set("wkv.head_size", head);
    keys.set("time_mix_extra_dim", rank("lora_rank_tokenshift", 64, 32)?);
    keys.set("time_decay_extra_dim", rank("lora_rank_decay", 128, 64)?);
    keys.set("feed_forward_length", hp.u32(&["intermediate_size"])?);
    keys.set_file_type();
    keys.set("attention.layer_norm_rms_epsilon", hp.f32(&["rms_norm_eps"])?);
    keys.set("token_shift_count", 1u32);
    keys.set("attention.head_count_kv", kv_heads);
    keys.set("attention.head_count", 0u32);
    Ok(())
}

const HYBRID7: &[Rule] = &[
    LAYER.rule(
        "attention.x.{e}",
        "time_mix_lerp_fused",
        Transform::Numbered(|hp| Ok(mixed_by(hp))),
    ),
    LAYER.exact_with(
        "attention.x_x",
        "time_mix_lerp_fused.weight",
        Transform::View(
            |hp, view| Ok(view.shaped(&[mixed_by(hp).into(), 1, 1, hp.u32(&["hidden_size"])?.into()])),
            None,
        ),
    ),
];

fn has_gate(hp: &Hparams) -> bool {
    hp.opt_bool("wkv_has_gate").unwrap_or(true)
}

/// Mixtures of a token and the one before it: the last makes the gate.
fn mixed_by(hp: &Hparams) -> u32 {
    MIXED - u32::from(!has_gate(hp))
}

fn keys_hybrid7(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    let version = hp.u32(&["wkv_version"])?;
    if version != 7 {
        return Err(hp.error(format!("wkv_version: expected 7, found {version}")));
    }
    keys.set("context_length", CONTEXT);
    keys.set("embedding_length", hp.u32(&["hidden_size"])?);
    keys.set("block_count", hp.block_count());
    keys.set("attention.layer_norm_rms_epsilon", hp.f32(&["rms_norm_eps"])?);
    keys.set("wkv.head_size", hp.u32(&["head_size"])?);
    keys.set("attention.decay_lora_rank", 64u32);
    keys.set("attention.iclr_lora_rank", 64u32);
    keys.set("attention.value_residual_mix_lora_rank", 32u32);
    keys.set("attention.gate_lora_rank", if has_gate(hp) { 128u32 } else { 0 });
    keys.set("feed_forward_length", hp.u32(&["intermediate_size"])?);
    keys.set_file_type();
    keys.set("token_shift_count", 1u32);
    keys.set("attention.head_count", 0u32);
    Ok(())
}

/// See [`Hooks::unadapted`]: matrices of low rank that both models compute with.
const LOW_RANK: &[&str] = &[
    "time_mix_w1",
    "time_mix_w2",
    "time_mix_decay_w1",
    "time_mix_decay_w2",
    "time_mix_a1",
    "time_mix_a2",
    "time_mix_v1",
    "time_mix_v2",
    "time_mix_g1",
    "time_mix_g2",
];

/// Models are not limited to a context.
const CONTEXT: u32 = 1 << 20;

const RULES6: &[Rule] = &[
    copy("rwkv.embeddings", "token_embd"),
    copy("rwkv.blocks.0.pre_ln", "token_embd_norm"),
    copy("rwkv.ln_out", "output_norm"),
    copy("head", "output"),
    BLOCK.copy("ln1", "attn_norm"),
    BLOCK.copy("ln2", "attn_norm_2"),
    BLOCK.rule(
        "attention.time_maa.{e}",
        "time_mix_lerp_fused",
        Transform::Numbered(|_| Ok(5)),
    ),
    BLOCK.exact_with("attention.time_maa_x", "time_mix_lerp_x.weight", SQUEEZED),
    BLOCK.exact_with("attention.time_maa_w1", "time_mix_w1.weight", TRANSPOSED),
    BLOCK.exact_with(
        "attention.time_maa_w2",
        "time_mix_w2.weight",
        Transform::View(|_, view| Ok(view.swap(1, 2)), None),
    ),
    BLOCK.exact_with("attention.time_decay", "time_mix_decay.weight", SQUEEZED),
    BLOCK.exact_with("attention.time_decay_w1", "time_mix_decay_w1.weight", TRANSPOSED),
    BLOCK.exact_with("attention.time_decay_w2", "time_mix_decay_w2.weight", TRANSPOSED),
    BLOCK.exact("attention.time_faaaa", "time_mix_first.weight"),
    BLOCK.copy("attention.key", "time_mix_key"),
    BLOCK.copy("attention.value", "time_mix_value"),
    BLOCK.copy("attention.receptance", "time_mix_receptance"),
    BLOCK.copy("attention.gate", "time_mix_gate"),
    BLOCK.copy("attention.ln_x", "time_mix_ln"),
    BLOCK.rule(
        "attention.output",
        "time_mix_output",
        Transform::ScaleByBlock(rescale),
    ),
    BLOCK.exact_with("feed_forward.time_maa_k", "channel_mix_lerp_k.weight", SQUEEZED),
    BLOCK.exact_with("feed_forward.time_maa_r", "channel_mix_lerp_r.weight", SQUEEZED),
    BLOCK.copy("feed_forward.key", "channel_mix_key"),
    BLOCK.copy("feed_forward.receptance", "channel_mix_receptance"),
    BLOCK.rule(
        "feed_forward.value",
        "channel_mix_value",
        Transform::ScaleByBlock(rescale),
    ),
];

const TRANSPOSED: Transform = Transform::View(|_, view| Ok(squeezed(view).swap(0, 1)), None);

const SQUEEZED: Transform = Transform::View(|_, view| Ok(Some(squeezed(view))), None);

/// Leaves out all dimensions of length 1.
fn squeezed(mut view: View) -> View {
    while let Some(dim) = view.shape().iter().position(|&length| length == 1)
        && view.shape().len() > 1
        && let Some(less) = view.clone().without(dim)
    {
        view = less;
    }
    view
}

/// `{prefix}{letter}` of one of these letters as `{prefix without its last character}.{number}.weight`.
fn numbered(name: String, prefix: &str, letters: &str) -> String {
    let Some((before, letter)) = name.split_once(prefix) else {
        return name;
    };
    let mut chars = letter.chars();
    match (chars.next().and_then(|c| letters.find(c)), chars.next()) {
        (Some(number), None) => {
            let stem = prefix.trim_end_matches('_');
            format!("{before}{stem}.{number}.weight")
        }
        _ => name,
    }
}

/// Factor of a block's outputs, as the sums are halved every few blocks.
fn rescale(hp: &Hparams, block: u32) -> Result<f32> {
    let every = hp.opt_u32(&["rescale_every"])?.unwrap_or(0);
    let times = block.checked_div(every).unwrap_or(0);
    Ok(0.5f32.powi(i32::try_from(times).unwrap_or(i32::MAX)))
}

fn keys6(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    let hidden = hp.u32(&["hidden_size"])?;
    let large = hidden == 4096;
    keys.set("context_length", CONTEXT);
    keys.set("embedding_length", hidden);
    keys.set("block_count", hp.block_count());
    keys.set("attention.layer_norm_epsilon", hp.f32(&["layer_norm_epsilon"])?);
    keys.set("rescale_every_n_layers", hp.u32(&["rescale_every"])?);
    keys.set("wkv.head_size", hp.u32(&["head_size"])?);
    keys.set("time_mix_extra_dim", if large { 64u32 } else { 32 });
    keys.set("time_decay_extra_dim", if large { 128u32 } else { 64 });
    let inner = match hp.opt_u32(&["intermediate_size"])? {
        Some(inner) => inner,
        None => (f64::from(hidden) * 3.5) as u32 / 32 * 32,
    };
    keys.set("feed_forward_length", inner);
    keys.set_file_type();
    keys.set("attention.head_count", 0u32);
    Ok(())
}

/// Values are not mixed with those of the first block in the first block itself; what its keys need is written in
/// their place.
const FIRST7: &[Rule] = &[
    skip("model.layers.0.attention.v0.weight"),
    skip("model.layers.0.attention.v1.weight"),
    skip("model.layers.0.attention.v1t.weight"),
    skip("model.layers.0.attention.v2.weight"),
    skip("model.layers.0.attention.v2t.weight"),
    rule("model.layers.0.attention.a0", "blk.0.time_mix_v0", SQUEEZED),
    rule("model.layers.0.attention.a0", "blk.0.time_mix_a0", SQUEEZED),
    copy("model.layers.0.attention.a1", "blk.0.time_mix_v1"),
    copy("model.layers.0.attention.a1", "blk.0.time_mix_a1"),
    copy("model.layers.0.attention.a2", "blk.0.time_mix_v2"),
    copy("model.layers.0.attention.a2", "blk.0.time_mix_a2"),
    rule("model.layers.0.attention.a1t", "blk.0.time_mix_v1", TRANSPOSED),
    rule("model.layers.0.attention.a1t", "blk.0.time_mix_a1", TRANSPOSED),
    rule("model.layers.0.attention.a2t", "blk.0.time_mix_v2", TRANSPOSED),
    rule("model.layers.0.attention.a2t", "blk.0.time_mix_a2", TRANSPOSED),
];

const RULES7: &[Rule] = &[
    copy("model.embeddings", "token_embd"),
    copy("model.pre_ln", "token_embd_norm"),
    copy("model.layers.0.pre_ln", "token_embd_norm"),
    copy("model.layers.0.pre_norm", "token_embd_norm"),
    copy("model.norm", "output_norm"),
    copy("model.ln_out", "output_norm"),
    copy("lm_head", "output"),
    copy("head", "output"),
    LAYER.copy("ln1", "attn_norm"),
    LAYER.copy("attention_norm", "attn_norm"),
    LAYER.copy("ln2", "attn_norm_2"),
    LAYER.rule(
        "attention.x.{e}",
        "time_mix_lerp_fused",
        Transform::Numbered(|_| Ok(MIXED)),
    ),
    LAYER.exact_with(
        "attention.x_x",
        "time_mix_lerp_fused.weight",
        Transform::View(
            |hp, view| Ok(view.shaped(&[MIXED.into(), 1, 1, hp.u32(&["hidden_size"])?.into()])),
            None,
        ),
    ),
    LAYER.rule("attention.w0", "time_mix_w0", SQUEEZED),
    LAYER.copy("attention.w1", "time_mix_w1"),
    LAYER.copy("attention.w2", "time_mix_w2"),
    LAYER.rule("attention.w1t", "time_mix_w1", TRANSPOSED),
    LAYER.rule("attention.w2t", "time_mix_w2", TRANSPOSED),
    LAYER.rule("attention.a0", "time_mix_a0", SQUEEZED),
    LAYER.copy("attention.a1", "time_mix_a1"),
    LAYER.copy("attention.a2", "time_mix_a2"),
    LAYER.rule("attention.a1t", "time_mix_a1", TRANSPOSED),
    LAYER.rule("attention.a2t", "time_mix_a2", TRANSPOSED),
    LAYER.rule("attention.v0", "time_mix_v0", SQUEEZED),
    LAYER.copy("attention.v1", "time_mix_v1"),
    LAYER.copy("attention.v2", "time_mix_v2"),
    LAYER.rule("attention.v1t", "time_mix_v1", TRANSPOSED),
    LAYER.rule("attention.v2t", "time_mix_v2", TRANSPOSED),
    LAYER.copy("attention.g1", "time_mix_g1"),
    LAYER.copy("attention.g2", "time_mix_g2"),
    LAYER.rule("attention.g1t", "time_mix_g1", TRANSPOSED),
    LAYER.rule("attention.g2t", "time_mix_g2", TRANSPOSED),
    LAYER.rule("attention.k_k", "time_mix_k_k", SQUEEZED),
    LAYER.rule("attention.k_a", "time_mix_k_a", SQUEEZED),
    LAYER.rule(
        "attention.r_k",
        "time_mix_r_k",
        Transform::View(
            |_, view| {
                let elements = view.len();
                Ok(view.shaped(&[elements]))
            },
            None,
        ),
    ),
    LAYER.copy("attention.key", "time_mix_key"),
    LAYER.copy("attention.k_proj", "time_mix_key"),
    LAYER.copy("attention.value", "time_mix_value"),
    LAYER.copy("attention.v_proj", "time_mix_value"),
    LAYER.copy("attention.receptance", "time_mix_receptance"),
    LAYER.copy("attention.r_proj", "time_mix_receptance"),
    LAYER.copy("attention.output", "time_mix_output"),
    LAYER.copy("attention.o_proj", "time_mix_output"),
    LAYER.copy("attention.ln_x", "time_mix_ln"),
    LAYER.rule("feed_forward.x_k", "channel_mix_lerp_k", SQUEEZED),
    LAYER.copy("feed_forward.key", "channel_mix_key"),
    LAYER.copy("feed_forward.value", "channel_mix_value"),
];

/// Number of mixtures of a token and the one before it: r, w, k, v, a, g.
const MIXED: u32 = 6;

/// One spelling for what is published in two: with a suffix for every tensor, and a `t` after the numbers of those
/// that are stored as inputs x outputs.
fn canonical7(_: &Hparams, name: String) -> Option<String> {
    let mut name = name
        .replace("blocks", "layers")
        .replace("ffn", "feed_forward")
        .replace("self_attn", "attention")
        .replace("attn", "attention")
        .replace("time_mixer.", "")
        .replace("feed_forward_norm", "ln2")
        .replace("g_norm", "ln_x")
        .replace("_lora.lora.0.weight", "1.weight")
        .replace("_lora.lora.2.weight", "2.weight")
        .replace("_lora.lora.2.bias", "0.weight");
    let last = name.rsplit('.').next().unwrap_or_default();
    match last {
        "w1" | "w2" | "a1" | "a2" | "v1" | "v2" | "g1" | "g2" => name.push_str("t.weight"),
        "w0" | "a0" | "v0" | "k_k" | "k_a" | "r_k" => name.push_str(".weight"),
        "x_k" if name.contains("feed_forward") => name.push_str(".weight"),
        _ => {}
    }
    Some(numbered(name, ".attention.x_", "rwkvag"))
}

fn keys7(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    let hidden = hp.u32(&["hidden_size"])?;
    keys.set("context_length", CONTEXT);
    keys.set("embedding_length", hidden);
    keys.set("block_count", hp.block_count());
    keys.set(
        "attention.layer_norm_epsilon",
        hp.f32(&["layer_norm_epsilon", "norm_eps"])?,
    );
    keys.set("wkv.head_size", hp.u32(&["head_size", "head_dim"])?);
    // Ranks grow with the width where the configuration does not give them.
    let rank = |names: &[&str], exponent: f64, factor: f64| -> Result<u32> {
        Ok(match hp.opt_u32(names)? {
            Some(rank) => rank,
            None => {
                let blocks = f64::from(hidden).powf(exponent) * factor / 32.0;
                (blocks.round_ties_even() as u32).max(1).saturating_mul(32)
            }
        })
    };
    keys.set(
        "attention.decay_lora_rank",
        rank(&["lora_rank_decay", "decay_low_rank_dim"], 0.5, 1.8)?,
    );
    keys.set(
        "attention.iclr_lora_rank",
        rank(&["lora_rank_iclr", "a_low_rank_dim"], 0.5, 1.8)?,
    );
    keys.set(
        "attention.value_residual_mix_lora_rank",
        rank(&["lora_rank_value_residual_mix", "v_low_rank_dim"], 0.5, 1.3)?,
    );
    keys.set(
        "attention.gate_lora_rank",
        rank(&["lora_rank_gate", "gate_low_rank_dim"], 0.8, 0.6)?,
    );
    let inner = match hp.opt_u32(&["intermediate_size"])? {
        Some(inner) => inner,
        None => hp.times(4, &["hidden_size"])?,
    };
    keys.set("feed_forward_length", inner);
    keys.set_file_type();
    keys.set("attention.head_count", 0u32);
    Ok(())
}
