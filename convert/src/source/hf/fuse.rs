//! Tensors put together from several of the output: queries, keys and values as one matrix, and both halves of the experts'
//! gated layers, as the stock converter makes them on request.

use std::collections::HashSet;

use super::assemble::Assembled;
use super::content::{Content, Joined};
use crate::arch::{Architecture, Hparams};
use crate::source::SourceTensor;
use crate::{Error, Result};

/// The tensors that the package gguf lists for its architectures: architecture and tensor, a line each. The stock converter joins
/// where it finds the whole there. `oracle/py/joined_tensors.py` makes it.
const JOINED: &str = include_str!("joined_tensors.txt");

const QKV: &str = "attn_qkv";
const EXPERTS: &str = "ffn_gate_up_exps";

/// Architectures whose class in the stock converter names tensors by itself, past the step that joins.
const UNJOINED: &[&str] = &["falcon-h1", "jamba"];

/// Whether an architecture has a place for a whole.
fn has_place(architecture: &Architecture, whole: &str) -> bool {
    places_for(whole).any(|name| name == architecture.gguf)
}

/// The architectures that have a place for a whole.
fn places_for(whole: &str) -> impl Iterator<Item = &'static str> {
    let pairs = JOINED.lines().filter_map(|line| line.split_once(' '));
    pairs
        .filter(move |(_, tensor)| *tensor == whole)
        .map(|(name, _)| name)
}

/// Architectures whose predicting blocks stay apart: the stock converter looks for the names of the others.
const PREDICTING_APART: &[&str] = &["exaone-moe", "exaone4", "mimo2", "nemotron_h", "nemotron_h_moe"];

/// Architectures of which llama.cpp reads such files and ends where it computes with them, by a tensor that they have, with
/// what is wrong.
const NOT_RUN: &[(&str, &str, &str)] = &[
    (
        "qwen4exp",
        "attn_q.weight",
        "its graph takes queries by themselves",
    ),
    (
        "jina-bert-v2",
        "attn_q_norm.weight",
        "its graph has norms of queries and keys by themselves",
    ),
];

const QUERIES: [&str; 3] = ["attn_q", "attn_k", "attn_v"];

/// Joins queries, keys and values of each layer that has all three, each a whole tensor of the checkpoint, with all of their
/// biases or none. The whole takes the place of the last. `proper` is the number of blocks that do not predict further
/// tokens. Returns what the user should know.
///
/// # Errors
/// Tensors that would be joined, in an architecture that llama.cpp does not compute joined.
pub(super) fn queries_keys_values(
    made: &mut Assembled,
    architecture: &Architecture,
    hparams: &Hparams,
    proper: u32,
) -> Result<Option<String>> {
    let (mut joined, mut apart) = (false, false);
    for block in blocks(made) {
        let Some(names) = joinable(made, block) else {
            continue;
        };
        let predicts = block >= proper && PREDICTING_APART.contains(&architecture.gguf);
        if predicts || UNJOINED.contains(&architecture.gguf) || !has_place(architecture, QKV) {
            apart = true;
            continue;
        }
        check_runs(made, architecture, hparams, block)?;
        joined = true;
        for (names, suffix) in names.into_iter().zip(["weight", "bias"]) {
            join(made, &names, format!("blk.{block}.{QKV}.{suffix}"));
        }
    }
    let stay = || {
        format!(
            "fuse_qkv: queries, keys and values of {} stay apart",
            architecture.gguf
        )
    };
    Ok((apart && !joined).then(stay))
}

/// The names of a layer's three matrices and of their biases.
fn joinable(made: &Assembled, block: u32) -> Option<[Vec<String>; 2]> {
    let at = |suffix: &str| places(made, block, QUERIES, suffix);
    let all = |places: [Option<usize>; 3]| places.into_iter().collect::<Option<Vec<usize>>>();
    let (weights, biases) = (all(at("weight"))?, at("bias"));
    let biases = match biases.iter().any(Option::is_some) {
        true => all(biases)?,
        false => Vec::new(),
    };
    // What the checkpoint has in one tensor came apart on purpose.
    let sources: Vec<_> = weights
        .iter()
        .flat_map(|&at| made.contents[at].sources())
        .collect();
    let own: HashSet<_> = sources.iter().collect();
    let name = |&at: &usize| made.tensors[at].name.clone();
    let names = [weights, biases].map(|places| places.iter().map(name).collect());
    (own.len() == sources.len()).then_some(names)
}

fn check_runs(made: &Assembled, architecture: &Architecture, hparams: &Hparams, block: u32) -> Result<()> {
    for (name, tensor, why) in NOT_RUN.iter().filter(|(name, ..)| *name == architecture.gguf) {
        let tensor = format!("blk.{block}.{tensor}");
        if made.tensors.iter().any(|t| t.name == tensor) {
            return Err(hparams.error(format!(
                "fuse_qkv: expected an architecture that llama.cpp computes with queries, keys and values in one tensor, \
                 found {name} with '{tensor}': {why}"
            )));
        }
    }
    Ok(())
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

/// Joins the halves of the experts' gated layers. Those that are stored as blocks stay apart.
///
/// # Errors
/// Such halves in an architecture that has no place for the whole; one of them without the other.
pub(super) fn experts(made: &mut Assembled, architecture: &Architecture, hparams: &Hparams) -> Result<()> {
    if UNJOINED.contains(&architecture.gguf) {
        return Ok(());
    }
    for block in blocks(made) {
        let halves = ["ffn_gate_exps", "ffn_up_exps"];
        let found = places(made, block, halves, "weight")
            .map(|at| at.filter(|&at| made.contents[at].blocks().is_none()));
        let names = match found {
            [Some(gate), Some(up)] => [gate, up].map(|at| made.tensors[at].name.clone()),
            [None, None] => continue,
            [Some(one), None] | [None, Some(one)] => {
                return Err(hparams.error(format!(
                    "fuse_gate_up_exps: expected both halves of the experts' gated layers, found only '{}'",
                    made.tensors[one].name
                )));
            }
        };
        if !has_place(architecture, EXPERTS) {
            return Err(no_place(architecture, hparams));
        }
        join(made, &names, format!("blk.{block}.{EXPERTS}.weight"));
    }
    Ok(())
}

fn no_place(architecture: &Architecture, hparams: &Hparams) -> Error {
    let places: Vec<&str> = places_for(EXPERTS).collect();
    hparams.error(format!(
        "fuse_gate_up_exps: expected an architecture with a place for both halves in one tensor ({}), found {}",
        places.join(", "),
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
        same && tensor.ty == model.ty && made.contents[at].blocks().is_none()
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
