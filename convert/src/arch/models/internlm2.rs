//! InternLM 2, 2.5 and 3.

use crate::Result;
use crate::arch::rules::common;
use crate::arch::rules::names::{DECODER, LAYER, PERMUTED, Rule, Transform, copy};
use crate::arch::rules::rows::Strided;
use crate::arch::{Architecture, Hparams, PLAIN, Rows, class};
use crate::tokenizer::{VocabKind, VocabRequest, VocabStep};

pub(super) static INTERNLM2: Architecture = Architecture {
    gguf: "internlm2",
    classes: &[class("InternLM2ForCausalLM")],
    rules: &[RULES],
    vocabulary: |_| VocabRequest::new(&[VocabKind::InternLm2]),
    ..PLAIN
};

/// Llama with a vocabulary of its own.
pub(super) static INTERNLM3: Architecture = Architecture {
    gguf: "llama",
    classes: &[class("InternLM3ForCausalLM")],
    rules: &[PERMUTED, DECODER],
    hyperparameters: |hp, keys| {
        common::text_model(hp, keys)?;
        keys.set("vocab_size", hp.u32(&["vocab_size"])?);
        keys.set("rope.dimension_count", hp.head_dim()?);
        Ok(())
    },
    vocabulary: |_| {
        VocabRequest::new(&[VocabKind::SentencePiece]).and([
            VocabStep::EndAmongAdded("<|im_end|>"),
            VocabStep::ConfiguredSpacePrefixBehindTypes,
        ])
    },
    ..PLAIN
};

const RULES: &[Rule] = &[
    copy("model.tok_embeddings", "token_embd"),
    copy("model.norm", "output_norm"),
    copy("output", "output"),
    LAYER.copy("attention_norm", "attn_norm"),
    LAYER.rule("attention.wqkv", "attn_q", Transform::Rows(queries)),
    LAYER.rule(
        "attention.wqkv",
        "attn_k",
        Transform::Rows(|hp, stored| Grouped::of(hp, stored).map(|g| g.interleaved(g.queries, 1))),
    ),
    LAYER.rule("attention.wqkv", "attn_v", Transform::Rows(values)),
    LAYER.copy("attention.wo", "attn_output"),
    LAYER.copy("ffn_norm", "ffn_norm"),
    LAYER.copy("feed_forward.w1", "ffn_gate"),
    LAYER.copy("feed_forward.w3", "ffn_up"),
    LAYER.copy("feed_forward.w2", "ffn_down"),
];

/// Groups of `queries` query heads, a key head and a value head.
struct Grouped {
    groups: u64,
    queries: u64,
    head: u64,
}

impl Grouped {
    fn of(hp: &Hparams, stored: u64) -> Result<Self> {
        let (heads, groups) = hp.heads()?;
        let (heads, groups) = (u64::from(heads), u64::from(groups));
        Ok(Self {
            groups,
            queries: heads / groups,
            head: stored / (heads + 2 * groups),
        })
    }

    fn stride(&self) -> u64 {
        (self.queries + 2) * self.head
    }

    /// `count` heads of each group from its head `first` on, in ggml's interleaved order.
    fn interleaved(&self, first: u64, count: u64) -> Rows {
        let counters = [
            (self.groups, self.stride()),
            (count, self.head),
            (self.head / 2, 1),
            (2, self.head / 2),
        ];
        Rows(vec![Strided::new(first * self.head, &counters)])
    }
}

fn queries(hp: &Hparams, stored: u64) -> Result<Rows> {
    let grouped = Grouped::of(hp, stored)?;
    Ok(grouped.interleaved(0, grouped.queries))
}

fn values(hp: &Hparams, stored: u64) -> Result<Rows> {
    let g = Grouped::of(hp, stored)?;
    let counters = [(g.groups, g.stride()), (g.head, 1)];
    Ok(Rows(vec![Strided::new((g.queries + 1) * g.head, &counters)]))
}
