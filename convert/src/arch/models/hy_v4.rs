//! Hunyuan V4: DeepSeek's attention and experts, with gates and a sink, indexers, and hyper-connections around each half.

use gguf::{Array, TensorType, Value as GgufValue};
use serde_json::{Map, Value};

use super::deepseek::{INDEXER, LATENT, latent_keys, of_the_model_proper};
use crate::Result;
use crate::arch::rules::experts::{SCORE_BIAS, SHARED_EXPERTS, STACKED_EXPERTS};
use crate::arch::rules::names::{DECODER, LAYER, Rule, exact};
use crate::arch::{Architecture, Hooks, Hparams, Keys, PLAIN, class};

pub(super) static HY_V4: Architecture = Architecture {
    gguf: "hy_v4",
    classes: &[class("HYV4ForCausalLM")],
    rules: &[
        LATENT,
        OWN,
        STACKED_EXPERTS,
        INDEXER,
        DECODER,
        SHARED_EXPERTS,
        SCORE_BIAS,
    ],
    hyperparameters,
    hooks: Hooks {
        prepare,
        canonical: |hp, name| match name.starts_with("model.mtp_layers.") {
            true => None,
            false => of_the_model_proper(hp, name),
        },
        force: |hp, tensor, _| {
            let connection = ["hc_attn_fn.weight", "hc_ffn_fn.weight", "output_hc_fn.weight"];
            let head = tensor.gguf == "output.weight" && hp.opt_bool("enable_lm_head_fp32") == Some(true);
            (head || connection.iter().any(|end| tensor.gguf.ends_with(end))).then_some(TensorType::F32)
        },
        ..Hooks::NONE
    },
    ..PLAIN
};

const OWN: &[Rule] = &[
    LAYER.copy("self_attn.linear_gate", "attn_gate"),
    LAYER.exact("self_attn.learnable_sink_param", "attn_sinks.weight"),
    LAYER.exact("hc_attn_layer.hc_pre.hc_fn", "hc_attn_fn.weight"),
    LAYER.exact("hc_attn_layer.hc_pre.hc_base", "hc_attn_base.weight"),
    LAYER.exact("hc_attn_layer.hc_pre.hc_scale", "hc_attn_scale.weight"),
    LAYER.exact("hc_mlp_layer.hc_pre.hc_fn", "hc_ffn_fn.weight"),
    LAYER.exact("hc_mlp_layer.hc_pre.hc_base", "hc_ffn_base.weight"),
    LAYER.exact("hc_mlp_layer.hc_pre.hc_scale", "hc_ffn_scale.weight"),
    exact("model.hc_head.hc_head_fn", "output_hc_fn.weight"),
    exact("model.hc_head.hc_head_base", "output_hc_base.weight"),
    exact("model.hc_head.hc_head_scale", "output_hc_scale.weight"),
    LAYER.copy("mlp.gate", "ffn_gate_inp"),
];

/// One group of experts is none. The keys' number of heads, which the attention does not have, is not that of the
/// matrix that makes keys and values.
fn prepare(config: &mut Map<String, Value>) {
    if ["n_group", "topk_group"]
        .iter()
        .all(|key| config.get(*key) == Some(&1.into()))
    {
        config.shift_remove("n_group");
        config.shift_remove("topk_group");
    }
    if let Some(heads) = config.get("num_attention_heads").cloned() {
        config.insert("num_key_value_heads".to_owned(), heads);
    }
}

fn hyperparameters(hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
    dense_first(hp)?;
    latent_keys(hp, keys)?;
    // The logistic function.
    keys.set("expert_gating_func", 2u32);
    let limit = hp.opt_f32(&["swiglu_limit"])?.filter(|&limit| limit > 0.0);
    keys.set_some(
        "swiglu_clamp_exp",
        limit.map(|limit| vec![limit; hp.block_count() as usize]),
    );
    keys.set("hyper_connection.count", hp.u32(&["hc_mult"])?);
    keys.set("hyper_connection.epsilon", hp.f32(&["hc_eps"])?);
    keys.set("hyper_connection.magnitude", hp.f32(&["hc_magnitude"])?);
    if let Some(own) = indexers(hp, keys)? {
        keys.set("attention.indexer.head_count", hp.u32(&["index_n_heads"])?);
        keys.set("attention.indexer.key_length", hp.u32(&["index_head_dim"])?);
        keys.set("attention.indexer.top_k", hp.u32(&["index_topk"])?);
        keys.set("attention.indexer.types", GgufValue::Array(Array::Bool(own)));
    }
    Ok(())
}

/// Checks that the layers without experts come first, and that both keys that say so agree.
fn dense_first(hp: &Hparams) -> Result<()> {
    let counted = hp.opt_u32(&["first_k_dense_replace"])?;
    let Some(kinds) = hp.strings("mlp_layer_types") else {
        return match counted {
            Some(_) => Ok(()),
            None => Err(hp.missing(&["first_k_dense_replace", "mlp_layer_types"])),
        };
    };
    let dense = kinds.iter().take_while(|kind| **kind == "dense").count();
    if kinds[dense..].contains(&"dense") {
        return Err(hp.error(
            "mlp_layer_types: found a dense layer behind others, expected them before all others".to_owned(),
        ));
    }
    match counted.is_none_or(|n| n as usize == dense) {
        true => Ok(()),
        false => Err(hp.error(format!(
            "first_k_dense_replace: found {}, expected the {dense} of mlp_layer_types",
            counted.unwrap_or(0)
        ))),
    }
}

/// Which layers have an indexer of their own; `None` where no layer has one. The tensors have to agree.
fn indexers(hp: &Hparams, keys: &Keys<'_>) -> Result<Option<Vec<bool>>> {
    let layers = hp.block_count() as usize;
    let (key, kinds) = match (hp.strings("indexer_types"), hp.strings("layer_types")) {
        (Some(kinds), _) => ("indexer_types", kinds),
        (None, Some(kinds)) if kinds.iter().any(|kind| SPARSE.contains(kind)) => ("layer_types", kinds),
        _ => return Ok(None),
    };
    if kinds.len() < layers {
        return Err(hp.error(format!("{key}: found {} layers, expected {layers}", kinds.len())));
    }
    let mut own = Vec::new();
    for (layer, kind) in kinds[..layers].iter().enumerate() {
        let full = match (key, *kind) {
            ("layer_types", kind) => SPARSE.contains(&kind),
            (_, "full") => true,
            (_, "shared") if layer > 0 => false,
            _ => {
                return Err(hp.error(format!(
                    "{key}: expected \"full\" for layer {layer} or, behind one, \"shared\", found {kind:?}"
                )));
            }
        };
        let tensor = format!("model.layers.{layer}.self_attn.indexer.wk.weight");
        if (keys.shape)(&tensor).is_some() != full {
            return Err(hp.error(format!(
                "tensor '{tensor}': expected {}, as {key} has {kind:?} for layer {layer}, found {}",
                if full { "it" } else { "none" },
                if full { "none" } else { "one" }
            )));
        }
        own.push(full);
    }
    Ok(Some(own))
}

/// Names of layers with an indexer.
const SPARSE: [&str; 2] = ["sparse_attention", "deepseek_sparse_attention"];
