//! Tensors put together from several of the output: queries, keys and values as one matrix, and both halves of the experts'
//! gated layers, as the stock converter makes them on request.

use super::assemble::Assembled;
use super::content::{Content, Joined};
use crate::arch::{Architecture, Hparams};
use crate::source::SourceTensor;
use crate::{Error, Result};

/// Architectures whose queries, keys and values the stock converter joins, and which run here joined.
const JOINS_QKV: &[&str] = &[
    "afmoe",
    "apertus",
    "arcee",
    "arctic",
    "bert",
    "chatglm",
    "cohere2",
    "command-r",
    "deepseek",
    "deepseek2-ocr",
    "dots1",
    "dream",
    "ernie4_5",
    "ernie4_5-moe",
    "eurobert",
    "exaone",
    "exaone-moe",
    "exaone4",
    "gemma",
    "gemma-embedding",
    "gemma2",
    "gemma3",
    "glm4",
    "gpt-oss",
    "granite",
    "granitemoe",
    "grok",
    "grovemoe",
    "hunyuan-dense",
    "hunyuan-moe",
    "hunyuan_vl",
    "jais2",
    "lfm2",
    "lfm2moe",
    "llada",
    "llada-moe",
    "llama",
    "llama-embed",
    "llama4",
    "maincoder",
    "mimo2",
    "minicpm",
    "minimax-m2",
    "mistral3",
    "nemotron",
    "nemotron_h",
    "nemotron_h_moe",
    "olmo",
    "olmo2",
    "olmoe",
    "orion",
    "paddleocr",
    "pangu-embedded",
    "phi2",
    "phimoe",
    "qwen2",
    "qwen2moe",
    "qwen2vl",
    "qwen3",
    "qwen3moe",
    "qwen3vl",
    "qwen3vlmoe",
    "rnd1",
    "seed_oss",
    "smallthinker",
    "smollm3",
    "stablelm",
    "starcoder2",
    "step35",
];

/// Architectures whose predicting blocks stay apart: the stock converter looks for the names of the others.
const PREDICTING_APART: &[&str] = &["exaone-moe", "exaone4", "mimo2", "nemotron_h", "nemotron_h_moe"];

/// Architectures whose graph has a place for the two halves of experts in one tensor.
const JOINS_EXPERTS: &[&str] = &["cohere2moe", "deepseek2-ocr", "qwen35moe"];

const QUERIES: [&str; 3] = ["attn_q", "attn_k", "attn_v"];

/// Joins queries, keys and values of each layer that has all three, with all of their biases or none. The whole takes the
/// place of the last. `proper` is the number of blocks that do not predict further tokens. Returns what the user should
/// know.
pub(super) fn queries_keys_values(
    made: &mut Assembled,
    architecture: &Architecture,
    proper: u32,
) -> Option<String> {
    if !JOINS_QKV.contains(&architecture.gguf) {
        return Some(format!(
            "fuse_qkv: queries, keys and values of {} stay apart",
            architecture.gguf
        ));
    }
    let apart = |block: u32| block >= proper && PREDICTING_APART.contains(&architecture.gguf);
    for block in blocks(made).into_iter().filter(|&block| !apart(block)) {
        let at = |suffix: &str| places(made, block, QUERIES, suffix);
        let biases = at("bias");
        let (weights, some) = (at("weight"), biases.iter().any(Option::is_some));
        let all = |places: [Option<usize>; 3]| places.into_iter().collect::<Option<Vec<usize>>>();
        let (Some(weights), biases) = (all(weights), all(biases)) else {
            continue;
        };
        if some && biases.is_none() {
            continue;
        }
        let names = [weights, biases.unwrap_or_default()].map(|places| {
            let name = |&at: &usize| made.tensors[at].name.clone();
            places.iter().map(name).collect::<Vec<String>>()
        });
        for (names, suffix) in names.into_iter().zip(["weight", "bias"]) {
            join(made, &names, format!("blk.{block}.attn_qkv.{suffix}"));
        }
    }
    None
}

/// Joins queries, keys and values of each layer, weights and biases by themselves.
pub(super) fn always(made: &mut Assembled) {
    for block in blocks(made) {
        for suffix in ["weight", "bias"] {
            let found = places(made, block, QUERIES, suffix);
            let name = |at: usize| made.tensors[at].name.clone();
            let names: Option<Vec<String>> = found.into_iter().map(|at| at.map(name)).collect();
            if let Some(names) = names {
                join(made, &names, format!("blk.{block}.attn_qkv.{suffix}"));
            }
        }
    }
}

/// Joins the halves of the experts' gated layers.
///
/// # Errors
/// Such halves in an architecture whose graph has no place for the whole.
pub(super) fn experts(made: &mut Assembled, architecture: &Architecture, hparams: &Hparams) -> Result<()> {
    for block in blocks(made) {
        let found = places(made, block, ["ffn_gate_exps", "ffn_up_exps"], "weight");
        let [Some(gate), Some(up)] = found else { continue };
        if !JOINS_EXPERTS.contains(&architecture.gguf) {
            return Err(no_place(architecture, hparams));
        }
        let names = [gate, up].map(|at| made.tensors[at].name.clone());
        join(made, &names, format!("blk.{block}.ffn_gate_up_exps.weight"));
    }
    Ok(())
}

fn no_place(architecture: &Architecture, hparams: &Hparams) -> Error {
    hparams.error(format!(
        "fuse_gate_up_exps: expected an architecture with a place for both halves in one tensor ({}), found {}",
        JOINS_EXPERTS.join(", "),
        architecture.gguf
    ))
}

/// The numbers of the blocks that have tensors, ascending.
fn blocks(made: &Assembled) -> Vec<u32> {
    let block = |name: &str| name.strip_prefix("blk.")?.split('.').next()?.parse().ok();
    let mut all: Vec<u32> = made.tensors.iter().filter_map(|t| block(&t.name)).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// Where the tensors of these names are.
fn places<const N: usize>(
    made: &Assembled,
    block: u32,
    names: [&str; N],
    suffix: &str,
) -> [Option<usize>; N] {
    names.map(|name| {
        let name = format!("blk.{block}.{name}.{suffix}");
        made.tensors.iter().position(|t| t.name == name)
    })
}

/// Puts tensors together, unless their rows, types or numbers of matrices differ or they are blocks as they are stored.
fn join(made: &mut Assembled, names: &[String], name: String) {
    let found: Vec<usize> = names
        .iter()
        .filter_map(|name| made.tensors.iter().position(|t| t.name == *name))
        .collect();
    let (Some(&first), Some(&last)) = (found.first(), found.iter().max()) else {
        return;
    };
    let model = &made.tensors[first];
    let is_vector = model.shape.len() == 1;
    let alike = |&at: &usize| {
        let tensor = &made.tensors[at];
        let shape = &tensor.shape;
        let same = shape.len() == model.shape.len()
            && (is_vector || (shape[0] == model.shape[0] && shape.get(2..) == model.shape.get(2..)));
        let is_kept = match &made.contents[at] {
            Content::Stored(layout) => layout.blocks().is_some(),
            Content::Gathered(gather) => gather.blocks().is_some(),
            _ => false,
        };
        same && tensor.ty == model.ty && !is_kept
    };
    if !found.iter().all(alike) {
        return;
    }
    let mut shape = model.shape.clone();
    let (dim, ty, shard) = (usize::from(!is_vector), model.ty, made.tensors[last].shard);
    shape[dim] = found.iter().map(|&at| made.tensors[at].shape[dim]).sum();
    let part = |&at: &usize| (made.tensors[at].clone(), made.contents[at].clone());
    let joined = Joined::by_matrix(found.iter().map(part));
    made.tensors[last] = SourceTensor {
        name,
        shape,
        ty,
        shard,
    };
    made.contents[last] = Content::Joined(joined);
    let mut gone: Vec<usize> = found.into_iter().filter(|&at| at != last).collect();
    gone.sort_unstable();
    for at in gone.into_iter().rev() {
        made.tensors.remove(at);
        made.contents.remove(at);
    }
}
