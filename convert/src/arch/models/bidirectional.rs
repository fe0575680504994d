//! Encoders built like decoders, every token of which sees all others: EuroBERT and Jina's fifth embeddings,
//! Llama-Embed-Nemotron, NeoBERT.

use super::{bert, llama};
use crate::arch::rules::common;
use crate::arch::rules::names::{DECODER, NO_OUTPUT, Rule, copy};
use crate::arch::{Activation, Architecture, Graph, Hooks, PLAIN, class_without, either_class};
use crate::tokenizer::{VocabKind, VocabRequest, VocabStep};

pub(super) static EUROBERT: Architecture = Architecture {
    gguf: "eurobert",
    classes: &[
        either_class("EuroBertModel"),
        either_class("JinaEmbeddingsV5Model"),
    ],
    rules: &[NO_OUTPUT, DECODER],
    hyperparameters: |hp, keys| {
        common::text_model(hp, keys)?;
        keys.set("attention.causal", false);
        keys.set("rope.scaling.type", "none");
        common::pooling(hp, keys)
    },
    vocabulary: |_| {
        VocabRequest::of([
            VocabStep::Flag("add_bos_token", false),
            VocabStep::read(&[VocabKind::Bpe]),
        ])
    },
    ..PLAIN
};

/// Whether its tokens see later ones the configuration says (`is_causal`).
pub(super) static LLAMA_EMBED: Architecture = Architecture {
    gguf: "llama-embed",
    classes: &[either_class("LlamaBidirectionalModel")],
    model_types: &[],
    ..llama::LLAMA
};

pub(super) static NEO_BERT: Architecture = Architecture {
    gguf: "neo-bert",
    classes: &[
        class_without("NeoBERT", "model."),
        class_without("NeoBERTLMHead", "model."),
        class_without("NeoBERTForSequenceClassification", "model."),
    ],
    rules: &[NEO_BERT_RULES],
    hyperparameters: |hp, keys| {
        bert::encoder_keys(hp, keys)?;
        // Of the width in the configuration, two thirds: gates and the rest are in one matrix.
        let inner = hp.u32(&["intermediate_size"])?;
        keys.set("feed_forward_length", (2.0 * f64::from(inner) / 3.0) as u32);
        keys.set("rope.freq_base", 10000.0f32);
        keys.set("rope.scaling.type", "none");
        keys.set(
            "attention.layer_norm_rms_epsilon",
            hp.opt_f32(&["norm_eps"])?.unwrap_or(1e-6),
        );
        keys.set("pooling_type", 2u32);
        Ok(())
    },
    vocabulary: bert::BERT.vocabulary,
    hooks: Hooks {
        // The head of the masked language model.
        canonical: |hp, name| (!name.starts_with("decoder.")).then(|| bert::classifier_names(hp, name)),
        ..Hooks::NONE
    },
    graph: Graph::with(Activation::Any),
    ..PLAIN
};

const NEO_BERT_RULES: &[Rule] = &[
    copy("encoder", "token_embd"),
    copy("layer_norm", "enc.output_norm"),
    copy("transformer_encoder.{}.attention_norm", "blk.{}.attn_norm"),
    copy("transformer_encoder.{}.qkv", "blk.{}.attn_qkv"),
    copy("transformer_encoder.{}.wo", "blk.{}.attn_output"),
    copy("transformer_encoder.{}.ffn_norm", "blk.{}.ffn_norm"),
    copy("transformer_encoder.{}.ffn.w12", "blk.{}.ffn_up"),
    copy("transformer_encoder.{}.ffn.w3", "blk.{}.ffn_down"),
    copy("dense", "cls"),
    copy("classifier", "cls"),
    copy("classifier.out_proj", "cls.output"),
];
