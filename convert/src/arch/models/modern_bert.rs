//! ModernBERT.

use super::bert;
use crate::Result;
use crate::arch::rules::common;
use crate::arch::rules::names::{Rule, copy};
use crate::arch::{Activation, Architecture, Graph, Hooks, Hparams, Keys, ModelType, PLAIN, class_without};
use crate::tokenizer::{VocabKind, VocabRequest, VocabStep};

pub(super) static MODERN_BERT: Architecture = Architecture {
    gguf: "modern-bert",
    classes: &[
        class_without("ModernBertModel", "model."),
        class_without("ModernBertForMaskedLM", "model."),
        class_without("ModernBertForSequenceClassification", "model."),
    ],
    rules: &[RULES, HEADS],
    hyperparameters: encoder_keys,
    vocabulary: |_| {
        VocabRequest::of([
            VocabStep::Flag("add_bos_token", true),
            VocabStep::Flag("add_eos_token", true),
            VocabStep::Flag("add_sep_token", true),
            VocabStep::read(&[VocabKind::Bpe]),
        ])
    },
    model_types: &[&MODERN_BERT_TYPE],
    graph: Graph::with(Activation::Any),
    hooks: Hooks {
        // The output matrix of the masked language model and its bias.
        canonical: |hp, name| (!name.starts_with("decoder.")).then(|| bert::classifier_names(hp, name)),
        ..Hooks::NONE
    },
    ..PLAIN
};

const HEADS: &[Rule] = &[
    copy("head.dense", "cls"),
    copy("head.norm", "cls.norm"),
    copy("classifier", "cls"),
    copy("classifier.out_proj", "cls.output"),
];

const RULES: &[Rule] = &[
    copy("embeddings.tok_embeddings", "token_embd"),
    copy("embeddings.norm", "token_embd_norm"),
    copy("layers.{}.attn_norm", "blk.{}.attn_norm"),
    copy("layers.{}.attn.Wqkv", "blk.{}.attn_qkv"),
    copy("layers.{}.attn.Wo", "blk.{}.attn_output"),
    copy("layers.{}.mlp_norm", "blk.{}.ffn_norm"),
    copy("layers.{}.mlp.Wi", "blk.{}.ffn_up"),
    copy("layers.{}.mlp.Wo", "blk.{}.ffn_down"),
    copy("final_norm", "output_norm"),
];

fn encoder_keys(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    common::text_model(hp, keys)?;
    // Published models have the one number under two names, those that transformers writes itself under one.
    if hp.find(&["layer_norm_eps", "layer_norm_epsilon"]).is_none() {
        keys.set_some("attention.layer_norm_epsilon", hp.opt_f32(&["norm_eps"])?);
    }
    keys.set("attention.causal", false);
    common::pooling(hp, keys)?;
    let pooling = match hp.opt_str(&["classifier_pooling"]) {
        None => None,
        Some("mean") => Some(1u32),
        Some("cls") => Some(2),
        Some(other) => {
            return Err(hp.error(format!(
                "classifier_pooling: expected cls or mean, found {other:?}"
            )));
        }
    };
    keys.set_some("classifier.pooling_type", pooling);
    bert::output_labels(hp, keys);
    keys.set("attention.sliding_window", hp.u32(&["local_attention"])?);
    keys.set_some(
        "attention.sliding_window_pattern",
        hp.opt_u32(&["global_attn_every_n_layers"])?,
    );
    keys.set("rope.scaling.type", "none");
    keys.set("vocab_size", hp.u32(&["vocab_size"])?);
    keys.set_some("hidden_activation", hp.opt_str(&["hidden_activation"]));
    Ok(())
}

static MODERN_BERT_TYPE: ModelType = ModelType::unrotated("modernbert");
