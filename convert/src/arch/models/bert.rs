//! BERT and its relatives: encoders for embeddings.

use serde_json::{Map, Value};

use crate::Result;
use crate::arch::rules::common;
use crate::arch::rules::names::{Rule, Scope, Transform, copy, exact_with, skip};
use crate::arch::{
    Activation, Architecture, Fixed, Graph, Hooks, Hparams, Keys, ModelType, PLAIN, View, class_without,
};
use crate::tokenizer::{VocabKind, VocabRequest, VocabStep};

pub(super) static BERT: Architecture = Architecture {
    gguf: "bert",
    classes: &[
        class_without("BertModel", "bert."),
        class_without("BertForMaskedLM", "bert."),
        class_without("BertForSequenceClassification", "bert."),
    ],
    rules: &[ENCODER, HEADS],
    hyperparameters: encoder_keys,
    vocabulary: |config| vocabulary(config, &[VocabKind::WordPiece]),
    model_types: &[&BERT_TYPE],
    hooks: Hooks {
        canonical: |hp, name| Some(classifier_names(hp, old_norm_names(name))),
        ..Hooks::NONE
    },
    graph: Graph::with(Activation::Gelu).fixing(&[("position_embedding_type", Fixed::OneOf(&["absolute"]))]),
    ..PLAIN
};

pub(super) static DISTILBERT: Architecture = Architecture {
    gguf: "bert",
    classes: &[
        class_without("DistilBertModel", "distilbert."),
        class_without("DistilBertForMaskedLM", "distilbert."),
        class_without("DistilBertForSequenceClassification", "distilbert."),
    ],
    rules: &[DISTILLED, ENCODER],
    hyperparameters: |hp, keys| {
        keys.set("attention.layer_norm_epsilon", 1e-12f32);
        encoder_keys(hp, keys)
    },
    vocabulary: BERT.vocabulary,
    model_types: &[&DISTILBERT_TYPE],
    hooks: Hooks {
        // The masked language model's head.
        canonical: |_, name| (!name.starts_with("vocab_")).then(|| old_norm_names(name)),
        ..Hooks::NONE
    },
    graph: Graph::with(Activation::Gelu).fixing(&[("position_embedding_type", Fixed::OneOf(&["absolute"]))]),
    ..PLAIN
};

pub(super) static ROBERTA: Architecture = Architecture {
    gguf: "bert",
    classes: &[
        class_without("RobertaModel", "roberta."),
        class_without("RobertaForSequenceClassification", "roberta."),
    ],
    rules: &[SHIFTED, ENCODER, HEADS],
    hyperparameters: encoder_keys,
    vocabulary: |config| vocabulary(config, &[VocabKind::Bpe]),
    model_types: &[&ROBERTA_TYPE],
    hooks: Hooks {
        prepare: without_shift,
        canonical: |_, name| Some(old_norm_names(name)),
        ..Hooks::NONE
    },
    graph: Graph::with(Activation::Gelu).fixing(&[("position_embedding_type", Fixed::OneOf(&["absolute"]))]),
    ..PLAIN
};

pub(super) static XLM_ROBERTA: Architecture = Architecture {
    gguf: "bert",
    classes: &[
        class_without("XLMRobertaModel", "roberta."),
        class_without("XLMRobertaForSequenceClassification", "roberta."),
    ],
    rules: &[SHIFTED, ENCODER, HEADS],
    hyperparameters: |hp, keys| {
        if hp.find(&["lora_adaptations"]).is_some() {
            return Err(hp.error("lora_adaptations: expected none, found adapters inside a model".to_owned()));
        }
        encoder_keys(hp, keys)
    },
    vocabulary: |config| vocabulary(config, &[VocabKind::XlmRoberta, VocabKind::Unigram]),
    model_types: &[&XLM_ROBERTA_TYPE],
    hooks: ROBERTA.hooks,
    graph: Graph::with(Activation::Gelu).fixing(&[("position_embedding_type", Fixed::OneOf(&["absolute"]))]),
    ..PLAIN
};

/// NomicBERT, without experts.
pub(super) static NOMIC_BERT: Architecture = Architecture {
    gguf: "nomic-bert",
    classes: &[class_without("NomicBertModel", "bert.")],
    rules: &[NOMIC, ENCODER],
    hyperparameters: nomic_keys,
    vocabulary: BERT.vocabulary,
    hooks: Hooks {
        canonical: |_, name| Some(old_norm_names(name)),
        ..Hooks::NONE
    },
    graph: Graph::with(Activation::Any),
    ..PLAIN
};

/// CamemBERT as the stock converter has it: BERT's positions and its vocabulary of word pieces. At the unigram vocabularies
/// of the published models both stop.
pub(super) static CAMEMBERT: Architecture = Architecture {
    classes: &[class_without("CamembertModel", "bert.")],
    model_types: &[&CAMEMBERT_TYPE],
    hooks: Hooks {
        notes: |_| Ok(vec![CAMEMBERT_NOTE.to_owned()]),
        ..BERT.hooks
    },
    ..BERT
};

const CAMEMBERT_NOTE: &str = "llama.cpp counts positions from 0, and the model from the one after the padding token's: its \
     embeddings are not the model's";

/// Jina's embedding models of the second generation: no positions, scores that fall with the distance, gates.
pub(super) static JINA_BERT: Architecture = Architecture {
    gguf: "jina-bert-v2",
    classes: &[
        class_without("JinaBertModel", "bert."),
        class_without("JinaBertForMaskedLM", "bert."),
    ],
    rules: &[JINA, ENCODER, HEADS],
    vocabulary: |config| vocabulary(config, &[VocabKind::WordPiece, VocabKind::Bpe]),
    model_types: &[],
    graph: Graph::with(Activation::Gelu).fixing(&[("position_embedding_type", Fixed::OneOf(&["alibi"]))]),
    ..BERT
};

const BLOCK: Scope = Scope::new("encoder.layer.{}", "blk.{}");

const JINA: &[Rule] = &[
    BLOCK.copy("attention.self.layer_norm_q", "attn_q_norm"),
    BLOCK.copy("attention.self.layer_norm_k", "attn_k_norm"),
    BLOCK.copy("layer_norm_1", "attn_norm_2"),
    BLOCK.copy("layer_norm_2", "layer_output_norm"),
    BLOCK.copy("mlp.gated_layers", "ffn_up"),
    BLOCK.copy("mlp.gated_layers_v", "ffn_up"),
    BLOCK.copy("mlp.gated_layers_w", "ffn_gate"),
    BLOCK.copy("mlp.up_gated_layer", "ffn_up"),
    BLOCK.copy("mlp.wo", "ffn_down"),
    BLOCK.copy("mlp.down_layer", "ffn_down"),
    BLOCK.copy("mlp.layernorm", "layer_output_norm"),
];

const NOMIC: &[Rule] = &[
    copy("emb_ln", "token_embd_norm"),
    copy("encoder.layers.{}.attn.Wqkv", "blk.{}.attn_qkv"),
    copy("encoder.layers.{}.attn.out_proj", "blk.{}.attn_output"),
    copy("encoder.layers.{}.norm1", "blk.{}.attn_output_norm"),
    copy("encoder.layers.{}.mlp.fc11", "blk.{}.ffn_up"),
    copy("encoder.layers.{}.mlp.fc12", "blk.{}.ffn_gate"),
    copy("encoder.layers.{}.mlp.fc2", "blk.{}.ffn_down"),
    copy("encoder.layers.{}.norm2", "blk.{}.layer_output_norm"),
];

fn nomic_keys(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    encoder_keys(hp, keys)?;
    let is = |key: &str, value: Value| hp.find(&[key]) == Some(&value);
    let known = hp.opt_u32(&["moe_every_n_layers"])?.unwrap_or(0) == 0
        && is("activation_function", Value::from("swiglu"))
        && [
            "causal",
            "qkv_proj_bias",
            "mlp_fc1_bias",
            "mlp_fc2_bias",
            "prenorm",
            "rotary_emb_interleaved",
        ]
        .iter()
        .all(|key| is(key, Value::Bool(false)))
        && hp.opt_f32(&["rotary_emb_fraction"])? == Some(1.0);
    if !known {
        return Err(hp.error(
            "of NomicBERT, only models with gates (swiglu), full rotation and norms after the halves are supported, \
             without biases and experts"
                .to_owned(),
        ));
    }
    let (positions, trained) = (
        hp.u32(&["n_positions"])?,
        hp.opt_u32(&["max_trained_positions"])?.unwrap_or(2048),
    );
    // The lengths that the published models were trained with.
    keys.set(
        "context_length",
        match (positions, trained) {
            (8192, 2048) => 2048u32,
            (2048, 2048) => 512,
            _ => {
                return Err(hp.error(format!(
                    "n_positions: expected max_trained_positions, {trained}, found {positions}"
                )));
            }
        },
    );
    Ok(())
}

const ENCODER: &[Rule] = &[
    copy("embeddings.word_embeddings", "token_embd"),
    copy("embeddings.position_embeddings", "position_embd"),
    copy("embeddings.token_type_embeddings", "token_types"),
    copy("embeddings.LayerNorm", "token_embd_norm"),
    BLOCK.copy("attention.self.query", "attn_q"),
    BLOCK.copy("attention.self.key", "attn_k"),
    BLOCK.copy("attention.self.value", "attn_v"),
    BLOCK.copy("attention.output.dense", "attn_output"),
    BLOCK.copy("attention.output.LayerNorm", "attn_output_norm"),
    BLOCK.copy("intermediate.dense", "ffn_up"),
    BLOCK.copy("output.dense", "ffn_down"),
    BLOCK.copy("output.LayerNorm", "layer_output_norm"),
    // Embeddings are pooled from the last layer, without these.
    skip("embeddings.position_ids"),
    skip("pooler.dense.weight"),
    skip("pooler.dense.bias"),
    skip("cls.predictions.bias"),
    skip("cls.predictions.decoder.weight"),
    skip("cls.predictions.decoder.bias"),
    skip("cls.predictions.transform.dense.weight"),
    skip("cls.predictions.transform.dense.bias"),
    skip("cls.predictions.transform.LayerNorm.weight"),
    skip("cls.predictions.transform.LayerNorm.bias"),
    skip("cls.seq_relationship.weight"),
    skip("cls.seq_relationship.bias"),
];

/// Heads of classifiers.
const HEADS: &[Rule] = &[
    copy("classifier.dense", "cls"),
    copy("classifier.out_proj", "cls.output"),
    copy("classifier", "cls"),
];

const DISTILLED: &[Rule] = &[
    copy("transformer.layer.{}.attention.q_lin", "blk.{}.attn_q"),
    copy("transformer.layer.{}.attention.k_lin", "blk.{}.attn_k"),
    copy("transformer.layer.{}.attention.v_lin", "blk.{}.attn_v"),
    copy("transformer.layer.{}.attention.out_lin", "blk.{}.attn_output"),
    copy("transformer.layer.{}.sa_layer_norm", "blk.{}.attn_output_norm"),
    copy("transformer.layer.{}.ffn.lin1", "blk.{}.ffn_up"),
    copy("transformer.layer.{}.ffn.lin2", "blk.{}.ffn_down"),
    copy(
        "transformer.layer.{}.output_layer_norm",
        "blk.{}.layer_output_norm",
    ),
    copy("pre_classifier", "cls"),
    copy("classifier", "cls.output"),
];

/// Positions are counted from the one after the padding token's.
const SHIFTED: &[Rule] = &[exact_with(
    "embeddings.position_embeddings.weight",
    "position_embd.weight",
    Transform::View(from_first_position, None),
)
.in_part()];

fn from_first_position(hp: &Hparams, view: View) -> Result<Option<View>> {
    let Some(padding) = hp.opt_u32(&["pad_token_id"])? else {
        return Ok(Some(view));
    };
    let first = u64::from(padding) + 1;
    let rows = view.shape()[0];
    Ok(rows.checked_sub(first).and_then(|n| view.cut(0, first, n)))
}

/// The context without the positions that are never used.
fn without_shift(config: &mut Map<String, Value>) {
    let padding = config.get("pad_token_id").and_then(Value::as_u64);
    let positions = config.get("max_position_embeddings").and_then(Value::as_u64);
    if let (Some(padding), Some(positions)) = (padding, positions) {
        let left = positions.saturating_sub(padding.saturating_add(1));
        config.insert("max_position_embeddings".to_owned(), Value::from(left));
    }
}

/// Norms of checkpoints from before PyTorch's names.
fn old_norm_names(name: String) -> String {
    match (name.strip_suffix(".gamma"), name.strip_suffix(".beta")) {
        (Some(stem), _) => format!("{stem}.weight"),
        (_, Some(stem)) => format!("{stem}.bias"),
        _ => name,
    }
}

/// Of a classifier whose labels are written, the only layer is the one that gives the labels.
pub(super) fn classifier_names(hp: &Hparams, name: String) -> String {
    match name.strip_prefix("classifier.") {
        Some(suffix @ ("weight" | "bias")) if labels(hp).is_some() => format!("classifier.out_proj.{suffix}"),
        _ => name,
    }
}

/// Labels of a classifier, in the order of its outputs; `None` for the two labels without a name that every
/// configuration has.
fn labels(hp: &Hparams) -> Option<Vec<String>> {
    let Some(map) = hp.find(&["id2label"]).and_then(Value::as_object) else {
        let count = hp.find(&["num_labels"]).and_then(Value::as_u64)?;
        let count = u32::try_from(count).ok().filter(|&n| n != 2 && n <= MAX_LABELS)?;
        return Some((0..count).map(|i| format!("LABEL_{i}")).collect());
    };
    let mut labels: Vec<(u64, &str)> = map
        .iter()
        .filter_map(|(id, label)| Some((id.parse().ok()?, label.as_str()?)))
        .collect();
    labels.sort_unstable();
    let nameless = labels.len() == 2 && labels[0].1 == "LABEL_0";
    let labels: Vec<String> = labels.into_iter().map(|(_, label)| label.to_owned()).collect();
    (!labels.is_empty() && !nameless).then_some(labels)
}

/// Most labels that a count alone may ask for.
const MAX_LABELS: u32 = 1 << 16;

/// A vocabulary of one of these kinds, with the number of token types that the model tells apart.
fn vocabulary(config: &Value, kinds: &[VocabKind]) -> VocabRequest {
    let count = config["type_vocab_size"].as_u64().unwrap_or(1);
    VocabRequest::of([
        VocabStep::TokenTypes(u32::try_from(count).unwrap_or(u32::MAX)),
        VocabStep::read(kinds),
    ])
}

pub(super) fn encoder_keys(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    common::text_model(hp, keys)?;
    keys.set("attention.causal", false);
    common::pooling(hp, keys)?;
    output_labels(hp, keys);
    Ok(())
}

/// Labels of a classifier, where the configuration has them.
pub(super) fn output_labels(hp: &Hparams, keys: &mut Keys<'_>) {
    keys.set_some("classifier.output_labels", labels(hp));
}

pub(super) static BERT_TYPE: ModelType = ModelType::unrotated("bert");

pub(super) static DISTILBERT_TYPE: ModelType = ModelType::unrotated("distilbert");

pub(super) static ROBERTA_TYPE: ModelType = ModelType::unrotated("roberta");

pub(super) static XLM_ROBERTA_TYPE: ModelType = ModelType::unrotated("xlm-roberta");

pub(super) static CAMEMBERT_TYPE: ModelType = ModelType::unrotated("camembert");
