//! Architectures of other crates: a program that knows a family of models that is not built in says in code where its
//! tensors go and which keys it has, and hands that to a conversion ([`HfOptions::architectures`]).
//!
//! ```
//! use gguf::Value;
//! use quantsmith_convert::arch::custom::{Change, Config, Custom, CustomArchitecture, TensorRule};
//! use quantsmith_convert::source::hf::HfOptions;
//!
//! #[derive(Debug)]
//! struct Mine;
//!
//! impl CustomArchitecture for Mine {
//!     fn name(&self) -> &str {
//!         "llama"
//!     }
//!     fn classes(&self) -> Vec<String> {
//!         vec!["MineForCausalLM".to_owned()]
//!     }
//!     fn tensors(&self) -> Vec<TensorRule> {
//!         vec![
//!             TensorRule::copy("model.embed", "token_embd"),
//!             TensorRule::new("model.layers.{}.attn.q", "blk.{}.attn_q", Change::PermuteQuery),
//!             // and so on: a tensor without a rule is an error
//!         ]
//!     }
//!     fn keys(&self, config: &Config) -> Result<Vec<(String, Value)>, String> {
//!         let layers = config.get("n_layers").and_then(|v| v.as_u64()).ok_or("n_layers: expected a number")?;
//!         Ok(vec![("block_count".to_owned(), Value::from(layers as u32))]) // and so on
//!     }
//! }
//!
//! let options = HfOptions::default().architectures(vec![Custom::new(Mine)?]);
//! # Ok::<(), quantsmith_convert::Error>(())
//! ```
//!
//! The names of tensors and keys are those of the graph in llama.cpp; a conversion of the nearest built-in class shows them:
//! [`printed`](super::printed) those of tensors, the metadata of a converted file ([`gguf::GgufModel::metadata`]) those of
//! keys. `Custom::new` is called once, before the first directory is opened.
//!
//! Some numbers of `config.json` are read beside [`keys`](CustomArchitecture::keys): the number of blocks
//! (`num_hidden_layers`, or `n_layers`, `n_layer`, `num_layers`), and by [`Change::PermuteQuery`] and [`Change::PermuteKey`]
//! the heads (`num_attention_heads`, or `n_heads`, `n_head`; `num_key_value_heads`, or `n_kv_heads`, and without either as many
//! as of queries). A family with other names says which in [`renames`](CustomArchitecture::renames).
//!
//! [`HfOptions::architectures`]: crate::source::hf::HfOptions::architectures

use std::fmt;

use serde_json::Value;

use super::described::Vocabulary;
use super::rules::declared::{self, Declared};
use super::rules::model_type;
use super::rules::names::Ending;
pub use super::rules::rows::{ChooseRows, Config};
use super::{Activation, Architecture, Class, Graph, Hparams, Keys, PLAIN, Rule, Transform};
use crate::tokenizer::{VocabKind, VocabRequest};
use crate::{Error, Result};

/// Longest name of a tensor in a file, as ggml has it, without its ending.
const MAX_NAME: usize = 64 - ".weight".len() - 1;

/// An architecture in code.
///
/// It is asked for its declarations once, when it is [registered](Custom::new), and for the keys of each model.
pub trait CustomArchitecture: fmt::Debug + Send + Sync + 'static {
    /// `general.architecture`: the graph that is to run the files.
    fn name(&self) -> &str;

    /// Values of `architectures` in `config.json` that it converts. One that is built in too is converted by this
    /// architecture then.
    fn classes(&self) -> Vec<String>;

    /// Tensors, the first rule for a name first. Several rules of one name split a tensor, and have to take all of it.
    fn tensors(&self) -> Vec<TensorRule>;

    /// Keys of the configuration that this family names otherwise: the name found, and the name that is read (the list of
    /// those is in the [module](self)). [`Self::keys`] and [`ChooseRows`] see the latter.
    fn renames(&self) -> Vec<(String, String)> {
        Vec::new()
    }

    /// The keys of a model under the architecture's prefix (`attention.head_count`, which is a `u32` as its counts and sizes
    /// are; rotations and epsilons are `f32`), in their order. `general.*` and `tokenizer.*` are written without it.
    ///
    /// # Errors
    /// A phrase for the key that the configuration lacks or contradicts; the file is named in front of it.
    fn keys(&self, config: &Config) -> Result<Vec<(String, gguf::Value)>, String>;

    /// The ways in which its vocabularies are published, the likeliest first: the first whose files are there is taken. If
    /// not said, `tokenizer.model`, then `tokenizer.json` with byte fallback, then `tokenizer.json` with byte-level merges.
    fn vocabularies(&self) -> &'static [VocabKind] {
        &[VocabKind::SentencePiece, VocabKind::LlamaHf, VocabKind::Bpe]
    }
}

/// A rule for the tensors of a name.
#[derive(Clone, Debug)]
pub struct TensorRule {
    from: String,
    to: String,
    change: Change,
}

impl TensorRule {
    /// A tensor of the checkpoint and its name in the file, both without `.weight` and `.bias`; `{}` stands for the
    /// number of a layer, `{e}` for that of an expert.
    pub fn new(from: impl Into<String>, to: impl Into<String>, change: Change) -> Self {
        let (from, to) = (from.into(), to.into());
        Self { from, to, change }
    }

    /// A tensor that is written as it is.
    pub fn copy(from: impl Into<String>, to: impl Into<String>) -> Self {
        Self::new(from, to, Change::Copy)
    }

    /// A tensor that no file needs, by its whole name.
    pub fn skip(from: impl Into<String>) -> Self {
        Self::new(from, "", Change::Skip)
    }
}

/// A change to a tensor on its way.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Change {
    /// Nothing.
    Copy,
    /// It is left out.
    Skip,
    /// Rows of each query head go from RoPE's halves to ggml's neighbouring pairs. Where queries, keys and values are one
    /// matrix, [`Rows`](Self::Rows) does it.
    PermuteQuery,
    /// The same of key heads. Numbers of heads in the configuration other than those among the keys are an error.
    PermuteKey,
    /// Columns become rows.
    Transpose,
    /// This number is added to every element.
    Add(f32),
    /// Every element is multiplied by this number.
    Multiply(f32),
    /// Every element by itself.
    Map(fn(f32) -> f32),
    /// Some of the rows, or all in another order: ranges of the stored rows in the order of the file, a single row being
    /// `r..r + 1`. Of a fused matrix each output has a rule of its own with the same `from`; together they take every row.
    Rows(ChooseRows),
    /// One expert's matrix, stacked with those of the others: `{e}` stands in the name that is read, not in the file's.
    Expert,
}

impl Change {
    fn transform(self) -> Transform {
        match self {
            Self::Copy => Transform::Copy,
            Self::Skip => Transform::Skip,
            Self::PermuteQuery => Transform::PermuteQuery,
            Self::PermuteKey => Transform::PermuteKey,
            Self::Transpose => Transform::Transpose,
            Self::Add(number) => Transform::Add(number),
            Self::Multiply(factor) => Transform::Multiply(factor),
            Self::Map(f) => Transform::Map(f),
            Self::Rows(choose) => Transform::Ranges(choose),
            Self::Expert => Transform::Expert,
        }
    }
}

/// A registered architecture. Its declarations are kept as long as the process runs, as those of the built-in ones are:
/// a program registers each once.
#[derive(Clone, Copy, Debug)]
pub struct Custom(&'static Registered);

/// Declarations of an architecture.
#[derive(Debug)]
struct Registered {
    architecture: &'static Architecture,
    vocabulary: Vocabulary,
    renames: Vec<(String, String)>,
    code: Box<dyn CustomArchitecture>,
}

impl Declared for Registered {
    fn architecture(&self) -> &'static Architecture {
        self.architecture
    }

    fn rename(&self, config: &mut Config) {
        for (found, meant) in &self.renames {
            model_type::rename(config, found, meant);
        }
    }

    fn write_keys(&self, hp: &Hparams, keys: &mut Keys<'_>) -> Result<()> {
        for (key, value) in self.code.keys(hp.values()).map_err(|message| hp.error(message))? {
            keys.set(&key, value);
        }
        keys.set_file_type();
        Ok(())
    }

    fn vocabulary(&self, config: &Value) -> VocabRequest {
        self.vocabulary.request(config)
    }
}

impl Custom {
    /// Registers an architecture.
    ///
    /// # Errors
    /// [`Error::Request`] naming a declaration that makes no sense: no class, a name with two layers in it.
    pub fn new(architecture: impl CustomArchitecture) -> Result<Self> {
        let wrong =
            |message: String| Error::Request(format!("architecture {:?}: {message}", architecture.name()));
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if architecture.name().is_empty() || !architecture.name().chars().all(plain) {
            return Err(wrong(
                "expected as its name some of letters, digits and . _ -".to_owned(),
            ));
        }
        let (classes, tensors) = (architecture.classes(), architecture.tensors());
        if classes.is_empty() || tensors.is_empty() {
            return Err(wrong(format!(
                "found {} classes and {} rules for tensors, expected at least one of each",
                classes.len(),
                tensors.len()
            )));
        }
        for rule in &tensors {
            check(rule).map_err(|message| wrong(format!("tensor '{}': {message}", rule.from)))?;
        }
        let classes: Vec<Class> = classes
            .into_iter()
            .map(|name| super::class(String::leak(name)))
            .collect();
        let rules: Vec<Rule> = tensors.into_iter().map(kept).collect();
        let tables: Vec<&'static [Rule]> = vec![Vec::leak(rules)];
        let gguf = String::leak(architecture.name().to_owned());
        Ok(Self(Box::leak(Box::new(Registered {
            architecture: Box::leak(Box::new(Architecture {
                gguf,
                classes: Vec::leak(classes),
                rules: Vec::leak(tables),
                hyperparameters: declared::keys,
                // A request needs the declarations: see `Architecture::request`.
                vocabulary: |_| VocabRequest::default(),
                graph: Graph::with(Activation::Any),
                ..PLAIN
            })),
            vocabulary: Vocabulary::of(architecture.vocabularies()),
            renames: architecture.renames(),
            code: Box::new(architecture),
        }))))
    }

    /// The declarations, and the class of a configuration, if it is one of them.
    pub(crate) fn find(self, class: &str) -> Option<(&'static dyn Declared, &'static Class)> {
        let found = self.0.architecture.classes.iter().find(|c| c.name == class);
        found.map(|class| (self.0 as &dyn Declared, class))
    }
}

fn kept(rule: TensorRule) -> Rule {
    let transform = rule.change.transform();
    let ending = match transform {
        Transform::Skip => Ending::Nothing,
        _ => Ending::Parameter,
    };
    Rule::of(String::leak(rule.from), String::leak(rule.to), transform, ending)
}

fn check(rule: &TensorRule) -> Result<(), String> {
    let marks = |text: &str, mark: &str| text.split('.').filter(|part| part.contains(mark)).count();
    let is_expert = matches!(rule.change, Change::Expert);
    let layers = marks(&rule.from, "{}");
    if rule.from.is_empty() || layers > 1 || marks(&rule.from, "{e}") != usize::from(is_expert) {
        return Err(
            "expected a name with at most one {} for the layer, and {e} for the expert's number where they are stacked"
                .to_owned(),
        );
    }
    if is_expert && layers == 0 {
        return Err("expected {} for the layer beside {e} for the expert's number".to_owned());
    }
    if matches!(rule.change, Change::Skip) {
        return Ok(());
    }
    if rule.to.is_empty()
        || rule.to.len() > MAX_NAME
        || marks(&rule.to, "{}") != layers
        || rule.to.contains("{e}")
    {
        return Err(format!(
            "found {:?} as its name in the file, expected one of 1 to {MAX_NAME} bytes with {{}} where the other has it",
            rule.to
        ));
    }
    Ok(())
}
