//! Models for code in the shape of GPT-2: CodeShell and Refact.

use crate::Result;
use crate::arch::rules::names::{Rule, Scope, Transform, copy, skip};
use crate::arch::rules::rows;
use crate::arch::{Activation, Architecture, Graph, Hparams, Keys, PLAIN, Rows, class};
use crate::tokenizer::{VocabKind, VocabRequest, VocabStep};

pub(super) static CODESHELL: Architecture = Architecture {
    gguf: "codeshell",
    classes: &[class("CodeShellForCausalLM")],
    rules: &[RULES],
    hyperparameters: codeshell_keys,
    graph: Graph::with(Activation::Gelu),
    ..PLAIN
};

pub(super) static REFACT: Architecture = Architecture {
    gguf: "refact",
    classes: &[class("GPTRefactForCausalLM")],
    rules: &[SPLIT, RULES],
    hyperparameters: refact_keys,
    vocabulary: |_| {
        let special = [
            ("prefix", Some(1)),
            ("suffix", Some(3)),
            ("middle", Some(2)),
            ("eot", None),
        ];
        VocabRequest::new(&[VocabKind::Bpe]).and([VocabStep::Special(special.to_vec())])
    },
    graph: Graph::with(Activation::Any),
    ..PLAIN
};

const BLOCK: Scope = Scope::new("transformer.h.{}", "blk.{}");

const RULES: &[Rule] = &[
    copy("transformer.wte", "token_embd"),
    BLOCK.copy("ln_1", "attn_norm"),
    BLOCK.copy("attn.c_attn", "attn_qkv"),
    BLOCK.copy("attn.c_proj", "attn_output"),
    BLOCK.copy("ln_2", "ffn_norm"),
    BLOCK.copy("mlp.c_fc", "ffn_up"),
    BLOCK.copy("mlp.c_proj", "ffn_down"),
    copy("transformer.ln_f", "output_norm"),
    copy("lm_head", "output"),
    skip("transformer.h.{}.attn.rotary_emb.inv_freq"),
];

/// Refact keeps keys and values, and gates and the rest, in one matrix each.
const SPLIT: &[Rule] = &[
    BLOCK.copy("attn.q", "attn_q"),
    BLOCK.rule("attn.kv", "attn_k", Transform::Rows(rows::first_half)),
    BLOCK.rule("attn.kv", "attn_v", Transform::Rows(rows::second_half)),
    BLOCK.rule(
        "mlp.gate_up_proj",
        "ffn_gate",
        Transform::Rows(|hp, _| Ok(Rows::range(0, u64::from(refact_inner(hp)?)))),
    ),
    BLOCK.rule(
        "mlp.gate_up_proj",
        "ffn_up",
        Transform::Rows(|hp, stored| {
            let inner = u64::from(refact_inner(hp)?);
            Ok(Rows::range(inner, stored.saturating_sub(inner)))
        }),
    ),
];

fn codeshell_keys(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    keys.set("context_length", hp.u32(&["n_positions"])?);
    keys.set("embedding_length", hp.u32(&["n_embd"])?);
    keys.set("feed_forward_length", hp.times(4, &["n_embd"])?);
    keys.set("block_count", hp.block_count());
    keys.set("attention.head_count", hp.u32(&["n_head"])?);
    keys.set("attention.head_count_kv", hp.u32(&["num_query_groups"])?);
    keys.set("attention.layer_norm_epsilon", hp.f32(&["layer_norm_epsilon"])?);
    keys.set_file_type();
    keys.set("rope.freq_base", 10000f32);
    keys.set("rope.scaling.type", "linear");
    keys.set("rope.scaling.factor", 1f32);
    Ok(())
}

/// Two thirds of four times the hidden size, in steps of 256.
fn refact_inner(hp: &Hparams) -> Result<u32> {
    let wide = u64::from(hp.times(4, &["n_embd"])?) * 2 / 3;
    let inner = u32::try_from(wide.next_multiple_of(256));
    inner
        .map_err(|_| hp.error("n_embd: expected a number whose multiple fits 32 bits, found more".to_owned()))
}

fn refact_keys(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    keys.set("context_length", hp.u32(&["n_positions"])?);
    keys.set("embedding_length", hp.u32(&["n_embd"])?);
    keys.set("feed_forward_length", refact_inner(hp)?);
    keys.set("block_count", hp.block_count());
    keys.set("attention.head_count", hp.u32(&["n_head"])?);
    keys.set("attention.head_count_kv", 1u32);
    keys.set(
        "attention.layer_norm_rms_epsilon",
        hp.f32(&["layer_norm_epsilon"])?,
    );
    keys.set_file_type();
    Ok(())
}
