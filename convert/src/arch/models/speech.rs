//! Decoders of speech: models that make sound of the codes that another model writes.

use gguf::TensorType;
use serde_json::Value;

use super::hybrid::{LFM2, LFM2_RULES, SHORT_CONVOLUTION, lfm2_keys};
use crate::Result;
use crate::arch::rules::common;
use crate::arch::rules::names::{DECODER, Rule, copy};
use crate::arch::{Architecture, Hooks, Hparams, Keys, PLAIN, class};

/// LFM2.5-Audio's decoder: LFM2 with windows, whose states are spectra.
pub(super) static LFM2_AUDIO_TOKENIZER: Architecture = Architecture {
    classes: &[class("Lfm25AudioTokenizer")],
    rules: &[SPECTRUM, LFM2_RULES, SHORT_CONVOLUTION, DECODER],
    hyperparameters: |hp, keys| {
        lfm2_keys(hp, keys)?;
        keys.set("attention.sliding_window", hp.u32(&["sliding_window"])?);
        keys.set("embedding_length_out", hp.u32(&["output_size"])?);
        Ok(())
    },
    hooks: Hooks {
        canonical: |_, name| {
            let unused = name == "istft.window" || name.starts_with("emb.emb");
            (!unused).then(|| name.replace("lfm.", "model."))
        },
        no_vocabulary: true,
        ..Hooks::NONE
    },
    ..LFM2
};

const SPECTRUM: &[Rule] = &[copy("lin", "dense_2")];

/// WavTokenizer's decoder: residual and attention blocks over codes, then blocks of ConvNeXt.
pub(super) static WAVTOKENIZER_DEC: Architecture = Architecture {
    gguf: "wavtokenizer-dec",
    classes: &[class("WavTokenizerDec")],
    rules: &[WAVTOKENIZER],
    hyperparameters: wavtokenizer_keys,
    hooks: Hooks {
        canonical: |_, name| {
            let trained = ["codebook.cluster_size", "codebook.embed_avg", "codebook.inited"];
            (!trained.iter().any(|end| name.ends_with(end))).then_some(name)
        },
        force: |_, tensor, _| {
            let is_norm = ["norm1.weight", "norm2.weight"]
                .iter()
                .any(|end| tensor.gguf.ends_with(end));
            (is_norm && tensor.gguf.starts_with("posnet.")).then_some(TensorType::F32)
        },
        no_vocabulary: true,
        ..Hooks::NONE
    },
    ..PLAIN
};

const WAVTOKENIZER: &[Rule] = &[
    copy("token_embd", "token_embd"),
    copy("backbone.embed", "conv1d"),
    copy("backbone.norm", "token_embd_norm"),
    copy("backbone.final_layer_norm", "output_norm"),
    copy("head.out", "output"),
    copy("backbone.posnet.{}.conv1", "posnet.{}.conv1"),
    copy("backbone.posnet.{}.conv2", "posnet.{}.conv2"),
    copy("backbone.posnet.{}.norm", "posnet.{}.attn_norm"),
    copy("backbone.posnet.{}.norm1", "posnet.{}.norm1"),
    copy("backbone.posnet.{}.norm2", "posnet.{}.norm2"),
    copy("backbone.posnet.{}.q", "posnet.{}.attn_q"),
    copy("backbone.posnet.{}.k", "posnet.{}.attn_k"),
    copy("backbone.posnet.{}.v", "posnet.{}.attn_v"),
    copy("backbone.posnet.{}.proj_out", "posnet.{}.attn_output"),
    copy("backbone.convnext.{}.dwconv", "convnext.{}.dw"),
    copy("backbone.convnext.{}.norm", "convnext.{}.norm"),
    copy("backbone.convnext.{}.pwconv1", "convnext.{}.pw1"),
    copy("backbone.convnext.{}.pwconv2", "convnext.{}.pw2"),
    copy("backbone.convnext.{}.gamma", "convnext.{}.gamma"),
];

fn wavtokenizer_keys(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    common::text_model(hp, keys)?;
    keys.set("vocab_size", hp.u32(&["vocab_size"])?);
    keys.set("features_length", hp.u32(&["n_embd_features"])?);
    keys.set("feed_forward_length", hp.u32(&["n_ff"])?);
    keys.set("attention.group_norm_epsilon", hp.f32(&["group_norm_epsilon"])?);
    keys.set("attention.group_norm_groups", hp.u32(&["group_norm_groups"])?);
    for part in ["posnet", "convnext"] {
        for (key, suffix) in [("n_embd", "embedding_length"), ("n_layer", "block_count")] {
            let number: &Value = hp.inside(part, key)?;
            keys.set(&format!("{part}.{suffix}"), hp.to_u32(key, number)?);
        }
    }
    keys.set("attention.causal", false);
    Ok(())
}
