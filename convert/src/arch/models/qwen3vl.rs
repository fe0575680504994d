//! Qwen3-VL, dense and mixture of experts, Qwen3-ASR and Qwen3-Omni, the text models.

use super::{qwen2, qwen2moe};
use crate::Result;
use crate::arch::rules::names::{DECODER, HEAD_NORMS, LAYER, Rule, Transform};
use crate::arch::rules::{experts, newer};
use crate::arch::{Architecture, Graph, Hparams, Keys, ModelType, PLAIN, View, class, class_without};
use crate::tokenizer::{VocabKind, VocabRequest, VocabStep};

pub(super) static QWEN3VL: Architecture = Architecture {
    gguf: "qwen3vl",
    classes: &[class("Qwen3VLForConditionalGeneration")],
    rules: &[DECODER, HEAD_NORMS],
    hyperparameters: |hp, keys| {
        qwen2::hyperparameters(hp, keys)?;
        deep_layers(hp, keys)
    },
    vocabulary: |_| VocabRequest::qwen2(),
    model_types: &[&QWEN3VL_TYPE],
    ..PLAIN
};

/// Qwen3-ASR, the text model.
pub(super) static QWEN3_ASR: Architecture = Architecture {
    classes: &[class_without("Qwen3ASRForConditionalGeneration", "thinker.")],
    hyperparameters: |hp, keys| {
        qwen2::hyperparameters(hp, keys)?;
        keys.set("n_deepstack_layers", 0u32);
        Ok(())
    },
    vocabulary: |_| {
        VocabRequest::qwen2().and([
            VocabStep::ChatTemplate(CHATML),
            VocabStep::BoundsAmongAdded(END_OF_MESSAGE),
        ])
    },
    model_types: &[],
    ..QWEN3VL
};

/// Qwen3-Omni, the text model.
pub(super) static QWEN3_OMNI: Architecture = Architecture {
    classes: &[class_without("Qwen3OmniMoeForConditionalGeneration", "thinker.")],
    rules: &[EXPERTS, DECODER, HEAD_NORMS, experts::EXPERTS],
    hyperparameters: |hp, keys| {
        qwen2moe::hyperparameters(hp, keys)?;
        keys.set("n_deepstack_layers", 0u32);
        Ok(())
    },
    vocabulary: |_| VocabRequest::new(&[VocabKind::Bpe]).and([VocabStep::BoundsAmongAdded(END_OF_MESSAGE)]),
    model_types: &[&QWEN3_OMNI_TYPE],
    ..QWEN3VL_MOE
};

const END_OF_MESSAGE: &str = "<|im_end|>";

const CHATML: &str = "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + \
                      '<|im_end|>' + '\\n'}}{% endfor %}{% if add_generation_prompt %}{{ \
                      '<|im_start|>assistant\\n' }}{% endif %}";

pub(super) static QWEN3VL_MOE: Architecture = Architecture {
    gguf: "qwen3vlmoe",
    classes: &[class("Qwen3VLMoeForConditionalGeneration")],
    rules: &[EXPERTS, DECODER, HEAD_NORMS],
    hyperparameters: |hp, keys| {
        qwen2moe::hyperparameters(hp, keys)?;
        deep_layers(hp, keys)
    },
    vocabulary: |_| VocabRequest::new(&[VocabKind::Bpe]),
    model_types: &[&QWEN3VL_MOE_TYPE],
    graph: Graph::SILU.fixing(experts::WEIGHTS_ADD_UP),
    ..PLAIN
};

/// Experts of a layer in one tensor each: stored as inputs by outputs by transformers 4, as outputs by inputs by 5.
const EXPERTS: &[Rule] = &[
    LAYER.copy("mlp.gate", "ffn_gate_inp"),
    LAYER.exact_with(
        "mlp.experts.down_proj",
        "ffn_down_exps.weight",
        Transform::View(down, None),
    ),
    LAYER.exact_with(
        "mlp.experts.gate_up_proj",
        "ffn_gate_exps.weight",
        Transform::View(|hp, v| half_of_gates(hp, v, 0), None),
    ),
    LAYER.exact_with(
        "mlp.experts.gate_up_proj",
        "ffn_up_exps.weight",
        Transform::View(|hp, v| half_of_gates(hp, v, 1), None),
    ),
];

/// Whether a stack of experts' matrices is stored as outputs by inputs. The shape tells; of square matrices, the
/// version of `transformers` that wrote the configuration.
fn outputs_first(hp: &Hparams, stack: &View, outputs: u64, inputs: u64) -> Result<bool> {
    match stack.shape().as_slice() {
        [_, rows, columns] if rows != columns => Ok([*rows, *columns] == [outputs, inputs]),
        _ => Ok(newer::is_newer(hp.values())),
    }
}

fn widths(hp: &Hparams) -> Result<(u64, u64)> {
    Ok((
        hp.u32(&["hidden_size"])?.into(),
        hp.u32(&["moe_intermediate_size"])?.into(),
    ))
}

fn down(hp: &Hparams, stack: View) -> Result<Option<View>> {
    let (hidden, inner) = widths(hp)?;
    Ok(match outputs_first(hp, &stack, hidden, inner)? {
        true => Some(stack),
        false => stack.swap(1, 2),
    })
}

/// Of the gates and what they gate, side by side, one half.
fn half_of_gates(hp: &Hparams, stack: View, which: u64) -> Result<Option<View>> {
    let (hidden, inner) = widths(hp)?;
    Ok(match outputs_first(hp, &stack, 2 * inner, hidden)? {
        true => stack.cut(1, which * inner, inner),
        false => stack.half_of_stack(which),
    })
}

/// Number of leading layers that take features of an image encoder's inner layers (DeepStack).
fn deep_layers(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    let indexes = hp
        .find(&["vision_config"])
        .and_then(|v| v.get("deepstack_visual_indexes"));
    let count = match indexes {
        None => 0,
        Some(list) => list
            .as_array()
            .and_then(|list| u32::try_from(list.len()).ok())
            .ok_or_else(|| {
                hp.error("vision_config: deepstack_visual_indexes: expected a list, found none".to_owned())
            })?,
    };
    keys.set("n_deepstack_layers", count);
    Ok(())
}

static QWEN3VL_TYPE: ModelType = ModelType::of("qwen3_vl_text");

static QWEN3VL_MOE_TYPE: ModelType = ModelType {
    name: "qwen3_vl_moe_text",
    derives_head_dim: true,
    ..ModelType::BLANK
};

static QWEN3_OMNI_TYPE: ModelType = ModelType::of("qwen3_omni_moe_text");
