//! Pocket TTS, the backbone: a decoder whose states a flow turns into sound. Its directory has no configuration; the numbers
//! are those of the tensors' shapes.

use gguf::{Array, Value as GgufValue};
use serde_json::{Map, Value, json};

use crate::Result;
use crate::arch::rules::common;
use crate::arch::rules::names::{Composed, FoldedLayer, Rule, Section, Transform, copy, exact_with};
use crate::arch::{Activation, Architecture, Graph, Hooks, Hparams, Keys, PLAIN, Rows, class};
use crate::tokenizer::{VocabKind, VocabRequest, VocabStep};

pub(super) static POCKETTTS: Architecture = Architecture {
    gguf: "pockettts",
    classes: &[class("PocketTTSModel")],
    rules: &[RULES],
    hyperparameters: common::text_model,
    vocabulary: |_| VocabRequest::new(&[VocabKind::T5]).and([VocabStep::WithoutSpecial]),
    hooks: Hooks {
        canonical: |_, name| {
            let own = [
                "transformer.layers.",
                "out_norm.",
                "conditioner.embed.",
                "bos_",
                "input_linear.",
            ];
            let rest = name.strip_prefix("flow_lm.")?;
            own.iter().any(|part| rest.starts_with(part)).then_some(name)
        },
        late,
        ..Hooks::NONE
    },
    graph: Graph::with(Activation::Gelu),
    ..PLAIN
};

/// The tensor that tells such a checkpoint, and that of the vector before a voice, which not all have.
const LATENT_START: &str = "flow_lm.bos_emb";
const VOICE_START: &str = "flow_lm.bos_before_voice";
const EMBEDDINGS: &str = "flow_lm.conditioner.embed.weight";
/// Elements of a head, which no tensor tells.
const HEAD: u64 = 64;
/// The transformer has no bound; this one is for caches.
const CONTEXT: u32 = 4096;

/// Vectors that are no tokens are put behind the embeddings as if they were; the last comes from where the latents are.
static TABLE: Composed = Composed {
    parts: &[
        Section::Rows(EMBEDDINGS),
        Section::RowsIfAny(VOICE_START),
        Section::Through(
            LATENT_START,
            &[FoldedLayer {
                weight: "flow_lm.input_linear.weight",
                bias: None,
                activation: |_| Ok(None),
            }],
        ),
    ],
    place: Some(EMBEDDINGS),
};

const RULES: &[Rule] = &[
    exact_with(EMBEDDINGS, "token_embd.weight", Transform::Piece(&TABLE)),
    exact_with(VOICE_START, "token_embd.weight", Transform::Piece(&TABLE)),
    exact_with(LATENT_START, "token_embd.weight", Transform::Piece(&TABLE)),
    exact_with(
        "flow_lm.input_linear.weight",
        "token_embd.weight",
        Transform::Piece(&TABLE),
    ),
    copy("flow_lm.out_norm", "output_norm"),
    copy("flow_lm.transformer.layers.{}.norm1", "blk.{}.attn_norm"),
    copy("flow_lm.transformer.layers.{}.norm2", "blk.{}.ffn_norm"),
    exact_with(
        "flow_lm.transformer.layers.{}.self_attn.in_proj.weight",
        "blk.{}.attn_q.weight",
        Transform::Rows(|_, stored| Ok(Rows::range(0, stored / 3))),
    ),
    exact_with(
        "flow_lm.transformer.layers.{}.self_attn.in_proj.weight",
        "blk.{}.attn_k.weight",
        Transform::Rows(|_, stored| Ok(Rows::range(stored / 3, stored / 3))),
    ),
    exact_with(
        "flow_lm.transformer.layers.{}.self_attn.in_proj.weight",
        "blk.{}.attn_v.weight",
        Transform::Rows(|_, stored| Ok(Rows::range(stored / 3 * 2, stored / 3))),
    ),
    copy(
        "flow_lm.transformer.layers.{}.self_attn.out_proj",
        "blk.{}.attn_output",
    ),
    copy("flow_lm.transformer.layers.{}.linear1", "blk.{}.ffn_up"),
    copy("flow_lm.transformer.layers.{}.linear2", "blk.{}.ffn_down"),
];

/// The configuration of a checkpoint of this model, by the shapes of its tensors; `None` of another one.
pub(crate) fn configuration<'a>(
    names: impl Iterator<Item = &'a str> + Clone,
    shape: &dyn Fn(&str) -> Option<Vec<u64>>,
) -> Option<Map<String, Value>> {
    shape(LATENT_START)?;
    let layers = |before: &str| {
        let numbered = |name: &str| {
            let rest = name.strip_prefix(before)?.strip_suffix(".norm1.weight")?;
            rest.parse::<u32>().ok()
        };
        names.clone().filter_map(numbered).count()
    };
    let (backbone, mimi) = (
        "flow_lm.transformer.layers.",
        "mimi.encoder_transformer.transformer.layers.",
    );
    let first = |name: String| shape(&name)?.first().copied();
    let &[tokens, width] = &shape(EMBEDDINGS)?[..] else {
        return None;
    };
    let inner = first(format!("{backbone}0.linear1.weight"))?;
    let more = if shape(VOICE_START).is_some() { 2 } else { 1 };
    let mut config = json!({
        "architectures": ["PocketTTSModel"],
        "model_type": "pockettts",
        "num_hidden_layers": layers(backbone),
        "hidden_size": width,
        "intermediate_size": inner,
        "max_position_embeddings": CONTEXT,
        "num_attention_heads": width / HEAD,
        "vocab_size": tokens.checked_add(more)?,
        "rope_theta": 10000.0,
        "layer_norm_eps": 1e-5,
    });
    if let (Some(width), Some(inner)) = (
        first(format!("{mimi}0.norm1.weight")),
        first(format!("{mimi}0.linear1.weight")),
    ) {
        config["audio_config"] = json!({
            "num_hidden_layers": layers(mimi),
            "hidden_size": width,
            "intermediate_size": inner,
            "num_attention_heads": width / HEAD,
        });
    }
    match config {
        Value::Object(config) => Some(config),
        _ => None,
    }
}

/// Names of the rows that are no pieces of the tokenizer, of which the first pads the embeddings.
fn late(_: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    let mut names = vec!["<|pad|>"];
    if (keys.shape)(VOICE_START).is_some() {
        names.push("<|bos_before_voice|>");
    }
    names.push("<|audio_bos|>");
    let name = |suffix: &str| format!("tokenizer.ggml.{suffix}");
    if let Some(GgufValue::Array(Array::String(tokens))) = keys.metadata.get_mut(&name("tokens")) {
        let start = tokens.len().saturating_sub(names.len());
        for (token, name) in tokens[start..].iter_mut().zip(&names) {
            *token = (*name).into();
        }
    }
    if let Some(GgufValue::Array(Array::I32(types))) = keys.metadata.get_mut(&name("token_type")) {
        // Control tokens.
        let start = types.len().saturating_sub(names.len());
        types[start..].fill(3);
    }
    if let Some(GgufValue::Array(Array::F32(scores))) = keys.metadata.get_mut(&name("scores")) {
        let start = scores.len().saturating_sub(names.len());
        scores[start..].fill(-1000.0);
    }
    keys.set_tokenizer("add_bos_token", false);
    keys.set_tokenizer("add_eos_token", false);
    Ok(())
}
