//! The tensors of an adapter's file: which of them are pairs, and of which weights.

use indexmap::IndexMap;

use super::peft::{Peft, REMEDY};
use crate::source::hf::parts::Place;
use crate::source::hf::tensor_file::TensorFile;
use crate::{Error, Result};

/// The input side of a pair, and what scales the product.
#[derive(Debug)]
pub(super) struct InputSide {
    /// The entry of the file.
    pub(super) entry: usize,
    /// The product is multiplied by this and divided by the rank.
    pub(super) alpha: f64,
    /// The weight's name, for messages.
    pub(super) weight: String,
    /// Whether the weight is looked up by token, not multiplied.
    pub(super) is_embedding: bool,
}

/// The tensors of an adapter.
#[derive(Debug)]
pub(super) struct Pairs {
    /// The tensors that stand for weights (norms, then the output side of each pair in the order of the pairs'
    /// first halves) under the weights' names.
    pub(super) changed: IndexMap<String, Place>,
    /// The input side of each output side, by the offset of the latter.
    pub(super) sides: IndexMap<u64, InputSide>,
    /// Norms that are there whole.
    pub(super) norms: Vec<String>,
}

/// The two halves of a pair, as entries of the file.
#[derive(Default)]
struct Pair {
    a: Option<usize>,
    b: Option<usize>,
    is_embedding: bool,
}

/// Role of an adapter's tensor, and the name of the weight that it changes.
enum Role {
    A(String, bool),
    B(String, bool),
    Norm(String),
    Skipped,
}

fn role(name: &str) -> Option<Role> {
    let base = name.replace("base_model.model.", "");
    let halves = [
        (".lora_A.weight", ".lora_B.weight", false),
        (".lora_embedding_A", ".lora_embedding_B", true),
    ];
    for (a, b, is_embedding) in halves {
        if base.contains(a) {
            return Some(Role::A(base.replace(a, ".weight"), is_embedding));
        }
        if base.contains(b) {
            return Some(Role::B(base.replace(b, ".weight"), is_embedding));
        }
    }
    if name.contains(".base_layer.weight") {
        return Some(Role::Skipped);
    }
    // Tools that extract adapters add the norms.
    let is_norm = (name.contains("_layernorm") || name.contains(".norm")) && name.ends_with(".weight");
    is_norm.then_some(Role::Norm(base))
}

/// Kind of a tensor that is neither of a pair nor a norm.
fn kind_of(name: &str) -> &'static str {
    const KINDS: [(&str, &str); 9] = [
        ("lora_magnitude_vector", "a magnitude of DoRA"),
        ("trainable_tokens", "rows of trained tokens"),
        ("prompt_embeddings", "a trained prompt"),
        ("lora_B.bias", "the bias of a pair (lora_bias)"),
        ("modules_to_save", "a whole module (modules_to_save)"),
        ("ia3_", "a vector of IA3"),
        ("lora_E", "singular values of AdaLoRA"),
        (".bias", "a bias"),
        (
            ".weight",
            "a whole weight (modules_to_save, or embeddings with new tokens)",
        ),
    ];
    let found = KINDS.iter().find(|(part, _)| name.contains(part));
    found.map_or("a tensor of another kind of adapter", |(_, kind)| kind)
}

impl Pairs {
    /// # Errors
    /// A tensor that is neither of a pair nor a norm, half a pair, sides that do not go together, a rank other
    /// than the configuration's.
    pub(super) fn of(file: &dyn TensorFile, peft: &Peft) -> Result<Self> {
        let input = |message: String| Error::input(file.path(), message);
        let mut found: IndexMap<String, Pair> = IndexMap::new();
        let (mut changed, mut norms) = (IndexMap::new(), Vec::new());
        for (index, entry) in file.entries().iter().enumerate() {
            match role(&entry.name) {
                Some(Role::A(base, is_embedding)) => {
                    let pair = found.entry(base).or_default();
                    (pair.a, pair.is_embedding) = (Some(index), is_embedding);
                }
                Some(Role::B(base, is_embedding)) => {
                    let pair = found.entry(base).or_default();
                    (pair.b, pair.is_embedding) = (Some(index), is_embedding);
                }
                Some(Role::Norm(base)) => {
                    norms.push(base.clone());
                    changed.insert(
                        base,
                        Place {
                            file: 0,
                            entry: index,
                        },
                    );
                }
                Some(Role::Skipped) => {}
                None => {
                    return Err(input(format!(
                        "tensor '{}': expected a half of a LoRA pair, found {}, which has no form in a GGUF adapter; {REMEDY}",
                        entry.name,
                        kind_of(&entry.name)
                    )));
                }
            }
        }
        let mut sides = IndexMap::new();
        for (weight, pair) in found {
            let (Some(a), Some(b)) = (pair.a, pair.b) else {
                return Err(input(format!(
                    "tensor '{weight}': expected both halves of its LoRA pair, found one"
                )));
            };
            let (first, second) = (&file.entries()[a], &file.entries()[b]);
            let (&[rank, _], &[_, other]) = (&first.shape[..], &second.shape[..]) else {
                return Err(input(format!(
                    "tensor '{weight}': expected two matrices, found the shapes {:?} and {:?}; {REMEDY}",
                    first.shape, second.shape
                )));
            };
            if rank != other || rank == 0 {
                return Err(input(format!(
                    "tensor '{weight}': expected one rank, found {rank} and {other}"
                )));
            }
            let module = weight.strip_suffix(".weight").unwrap_or(&weight);
            let alpha = peft.scaled_alpha(module, rank);
            let alpha = alpha.map_err(|message| input(format!("tensor '{weight}': {message}")))?;
            let side = InputSide {
                entry: a,
                alpha,
                weight: weight.clone(),
                is_embedding: pair.is_embedding,
            };
            if sides.insert(second.offset, side).is_some() {
                return Err(input(format!(
                    "tensor '{weight}': expected a side of one pair, found one of two"
                )));
            }
            changed.insert(weight, Place { file: 0, entry: b });
        }
        Ok(Self {
            changed,
            sides,
            norms,
        })
    }

    /// The number that the file names as alpha: that of all pairs, or the configuration's where they differ.
    ///
    /// # Errors
    /// No number that llama.cpp would scale by: it takes 0 for "no scale".
    pub(super) fn alpha(&self, configured: f64) -> Result<f64, String> {
        let mut alphas = self.sides.values().map(|s| s.alpha);
        let alpha = match alphas.next() {
            Some(first) if alphas.all(|a| a == first) => first,
            _ => configured,
        };
        match alpha as f32 {
            a if a == 0.0 || !a.is_finite() => Err(format!(
                "lora_alpha: expected a number other than 0, found {alpha}"
            )),
            _ => Ok(alpha),
        }
    }
}
