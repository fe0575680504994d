//! Tensor names: patterns of a checkpoint's names, and the GGUF name and transform of each.

use std::fmt::{self, Display, Formatter};
use std::hash::{Hash, Hasher};
use std::ops::Range;

use super::rows::{ChooseRows, Rows};
use super::selection::Selection;
use super::view::View;
use crate::Result;
use crate::arch::Hparams;

/// Rows of a stored tensor and what their elements are multiplied by.
pub(crate) type RowFactors = Vec<(Range<u64>, f32)>;

/// View of the stored tensor that an output tensor takes; `None` when the stored shape does not allow it.
pub(crate) type Rearrange = fn(&Hparams, View) -> Result<Option<View>>;

/// Transform of a tensor between the checkpoint and the GGUF file.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Transform {
    /// The same elements in the same order.
    Copy,
    /// Left out.
    Skip,
    /// The rows of each query head, reordered from RoPE's half-split layout to ggml's interleaved one.
    PermuteQuery,
    /// The same for the key heads.
    PermuteKey,
    /// Some of the rows, or all in another order. The function gets the number of stored rows.
    Rows(fn(&Hparams, u64) -> Result<Rows>),
    /// The same by a function of another crate.
    Ranges(ChooseRows),
    /// Some of the rows, or all in another order, as the selection of this name has them.
    Selected(Selection),
    /// The same of a convolution of channels by themselves, without the dimension of 1 between channels and width.
    Channels(fn(&Hparams, u64) -> Result<Rows>),
    /// Columns become rows (weights that are stored as inputs x outputs).
    Transpose,
    /// One is added to every element (norms that are stored as their distance from one).
    AddOne,
    /// This number is added to every element.
    Add(f32),
    /// Every element is multiplied by this number.
    Multiply(f32),
    /// Every element is multiplied by a number from the configuration.
    Scale(fn(&Hparams) -> Result<f32>),
    /// Every element is multiplied by a number from the configuration and that of the block.
    ScaleByBlock(fn(&Hparams, u32) -> Result<f32>),
    /// Every element by itself.
    Map(fn(f32) -> f32),
    /// The same in steps, of which each is rounded to the type that the tensor is stored in, as in a model that the stock
    /// converter loads whole.
    MapInSteps(InSteps),
    /// Dimensions split, exchanged and cut, then every element by itself where there is a function for it.
    View(Rearrange, Option<fn(f32) -> f32>),
    /// The same, where the stock converter computes in single precision, whatever the tensor is stored in.
    SingleView(Rearrange, fn(f32) -> f32),
    /// A vector beside the stored tensor, as long as the first number says, of the second number.
    Fill(fn(&Hparams) -> Result<(u64, f32)>),
    /// The sum of two parts of the stored tensor, which the function cuts out.
    Sum(fn(&Hparams, View, u64) -> Result<Option<View>>),
    /// Weight (0), bias (1), mean (2) or variance (3) of a batch norm, of which all four make a weight and a bias.
    BatchNorm(usize),
    /// Rows multiplied by numbers from the configuration, one after the other. The function gets the number of
    /// stored rows.
    ScaleRows(fn(&Hparams, u64) -> Result<RowFactors>),
    /// -1, 0 or 1 times the mean of all magnitudes: the nearest (BitNet).
    Ternary,
    /// The mean of all is taken from every element.
    LessMean,
    /// As many parts of the stored tensor as the number says, which the function cuts out, one after the other.
    Parts(u64, fn(&Hparams, View, u64) -> Result<Option<View>>),
    /// A stack of matrices with one of zeros before them.
    BehindZeros(Rearrange),
    /// Rows of zeros behind those that are stored, up to as many as the function says.
    PadRows(fn(&Hparams) -> Result<u64>),
    /// One expert's matrix, to be stacked with those of the other experts.
    Expert,
    /// One of as many tensors as the function says, numbered like experts, to be stacked.
    Numbered(fn(&Hparams) -> Result<u32>),
    /// The same, where the stacks of all such rules of a layer are put in order when the last of their tensors is there.
    NumberedTogether(fn(&Hparams) -> Result<u32>),
    /// One of as many pieces of a matrix as the function says, numbered like experts: their rows follow one another.
    Shard(fn(&Hparams) -> Result<u32>),
    /// One of two vectors, of which the output is the product, element by element in single precision. Both rules have the
    /// same GGUF name.
    Factor(usize),
    /// Of each matrix of a stack, the first half of the rows.
    FirstHalf,
    /// Of each matrix of a stack, the second half of the rows.
    SecondHalf,
    /// A table of a draft model's tokens, to be written behind all other tensors as ids of its target, of which the
    /// function says how many tokens it has.
    TargetIds(fn(&Hparams) -> Result<u32>),
    /// A table of integers, as i32.
    Integers,
    /// One of the tensors that a matrix is put together of.
    Piece(&'static Composed),
    /// A stack that is stored in one piece, under a name that may lack `.weight`.
    Stack,
    /// Vectors of the places of a square grid, for a grid of as many places on a side as the function says.
    Grid(fn(&Hparams) -> Result<u64>),
    /// One of the numbered codebooks of a quantizer, which are stacked in the first one's place.
    Codebook(Codebooks),
}

/// A function of each element by itself.
pub(crate) type Elementwise = fn(f32) -> f32;

/// The same with the rounding that its steps need.
pub(crate) type InSteps = fn(f32, &dyn Fn(f32) -> f32) -> f32;

/// The form in which a quantizer's codebooks are stored.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Codebooks {
    /// Vectors, some more, some fewer: zeros follow the fewer.
    Vectors,
    /// Sums of the vectors that have met each code, to be divided by how many have, which the rule of the GGUF name
    /// [`Codebooks::Counts`] has.
    Sums {
        /// The name of the counts, as that of the rule.
        counts: &'static str,
    },
    /// The counts of sums.
    Counts,
}

/// A matrix that is put together of several stored tensors, by their names as the tables know them.
#[derive(Debug)]
pub(crate) struct Composed {
    /// Its parts, whose rows follow one another.
    pub(crate) parts: &'static [Section],
    /// The tensor in whose place it stands; without one, that of the last to come.
    pub(crate) place: Option<&'static str>,
}

/// Rows of a matrix that is put together.
#[derive(Debug)]
pub(crate) enum Section {
    /// A stored matrix, or a vector as one row.
    Rows(&'static str),
    /// The same, of models that have it.
    RowsIfAny(&'static str),
    /// The rows of a stored matrix, through linear layers.
    Through(&'static str, &'static [FoldedLayer]),
}

/// A linear layer that rows of a matrix go through.
#[derive(Debug)]
pub(crate) struct FoldedLayer {
    pub(crate) weight: &'static str,
    pub(crate) bias: Option<&'static str>,
    /// The function behind it.
    pub(crate) activation: fn(&Hparams) -> Result<Option<Elementwise>>,
}

/// A name of a table: that of the scope which it stands in, if any, and the rest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Name {
    scope: &'static str,
    rest: &'static str,
}

impl Name {
    const fn of(rest: &'static str) -> Self {
        Self { scope: "", rest }
    }

    /// The parts between its dots.
    fn parts(self) -> impl Iterator<Item = &'static str> {
        let scope = Some(self.scope).filter(|scope| !scope.is_empty());
        scope
            .into_iter()
            .chain([self.rest])
            .flat_map(|name| name.split('.'))
    }

    /// The name of one block.
    pub(crate) fn of_block(self, block: u32) -> String {
        self.to_string().replacen("{}", &block.to_string(), 1)
    }
}

impl Display for Name {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.scope {
            "" => f.write_str(self.rest),
            scope => write!(f, "{scope}.{}", self.rest),
        }
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.parts().eq(other.parts())
    }
}

impl Eq for Name {}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.parts().for_each(|part| part.hash(state));
    }
}

/// One row of a name table. `{}` stands for the block, `{e}` for the expert; the names have neither `.weight`
/// nor `.bias`, unless the rule is [`exact`]. A number may follow other letters of its part of a name (`conv{}`).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rule {
    pub(crate) hf: Name,
    pub(crate) gguf: Name,
    pub(crate) transform: Transform,
    pub(crate) ending: Ending,
    /// Whether what the rules of a tensor do not take of it is left out on purpose.
    pub(crate) in_part: bool,
}

impl Rule {
    /// The same rule of a tensor that only a part of is wanted.
    pub(crate) const fn in_part(mut self) -> Self {
        self.in_part = true;
        self
    }

    /// Whether all of the stored tensor has to be taken, by this rule and the others for it.
    pub(crate) fn needs_all(&self) -> bool {
        !self.in_part && !matches!(self.transform, Transform::Selected(Selection::KnownTokens))
    }

    /// A row with any of the endings.
    pub(crate) const fn of(
        hf: &'static str,
        gguf: &'static str,
        transform: Transform,
        ending: Ending,
    ) -> Self {
        Self {
            hf: Name::of(hf),
            gguf: Name::of(gguf),
            transform,
            ending,
            in_part: false,
        }
    }
}

/// The endings that may follow the names of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// `.weight` or `.bias`.
    Parameter,
    /// Nothing: the names are whole.
    Nothing,
    /// One of [`ENDINGS`] or nothing, which the output's name keeps.
    Kept,
}

/// The endings of the names of an encoder's tensors.
const ENDINGS: [&str; 6] = [
    ".weight",
    ".bias",
    ".input_max",
    ".input_min",
    ".output_max",
    ".output_min",
];

/// A row of a name table whose tensors are copied.
pub(crate) const fn copy(hf: &'static str, gguf: &'static str) -> Rule {
    rule(hf, gguf, Transform::Copy)
}

/// A row of a name table.
pub(crate) const fn rule(hf: &'static str, gguf: &'static str, transform: Transform) -> Rule {
    let ending = Ending::Parameter;
    Rule::of(hf, gguf, transform, ending)
}

/// A row whose tensors are copied, whether they are weights, biases or something without a word for it.
pub(crate) const fn kept(hf: &'static str, gguf: &'static str) -> Rule {
    kept_with(hf, gguf, Transform::Copy)
}

/// The same with a transform.
pub(crate) const fn kept_with(hf: &'static str, gguf: &'static str, transform: Transform) -> Rule {
    let ending = Ending::Kept;
    Rule::of(hf, gguf, transform, ending)
}

/// A row whose two names are whole, whatever they end with, and whose tensors are copied.
pub(crate) const fn exact(hf: &'static str, gguf: &'static str) -> Rule {
    exact_with(hf, gguf, Transform::Copy)
}

/// The same with a transform.
pub(crate) const fn exact_with(hf: &'static str, gguf: &'static str, transform: Transform) -> Rule {
    let ending = Ending::Nothing;
    Rule::of(hf, gguf, transform, ending)
}

/// A tensor that no GGUF file needs.
pub(crate) const fn skip(hf: &'static str) -> Rule {
    exact_with(hf, "", Transform::Skip)
}

/// Modules whose names begin alike: in the checkpoint, and in the GGUF file. Its rows have the names without that.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scope {
    hf: &'static str,
    gguf: &'static str,
}

/// The layers of most classes of `transformers`.
pub(crate) const LAYER: Scope = Scope::new("model.layers.{}", "blk.{}");

impl Scope {
    pub(crate) const fn new(hf: &'static str, gguf: &'static str) -> Self {
        Self { hf, gguf }
    }

    const fn around(self, mut rule: Rule) -> Rule {
        rule.hf.scope = self.hf;
        rule.gguf.scope = self.gguf;
        rule
    }

    /// As [`copy`].
    pub(crate) const fn copy(self, hf: &'static str, gguf: &'static str) -> Rule {
        self.around(copy(hf, gguf))
    }

    /// As [`rule`].
    pub(crate) const fn rule(self, hf: &'static str, gguf: &'static str, transform: Transform) -> Rule {
        self.around(rule(hf, gguf, transform))
    }

    /// As [`kept`].
    pub(crate) const fn kept(self, hf: &'static str, gguf: &'static str) -> Rule {
        self.around(kept(hf, gguf))
    }

    /// As [`exact`].
    pub(crate) const fn exact(self, hf: &'static str, gguf: &'static str) -> Rule {
        self.around(exact(hf, gguf))
    }

    /// As [`exact_with`].
    pub(crate) const fn exact_with(self, hf: &'static str, gguf: &'static str, transform: Transform) -> Rule {
        self.around(exact_with(hf, gguf, transform))
    }
}

/// Embedding, norms and projections under the names that most classes of `transformers` use.
pub(crate) const DECODER: &[Rule] = &[
    copy("model.embed_tokens", "token_embd"),
    copy("model.norm", "output_norm"),
    copy("lm_head", "output"),
    LAYER.copy("input_layernorm", "attn_norm"),
    LAYER.copy("self_attn.q_proj", "attn_q"),
    LAYER.copy("self_attn.k_proj", "attn_k"),
    LAYER.copy("self_attn.v_proj", "attn_v"),
    LAYER.copy("self_attn.o_proj", "attn_output"),
    LAYER.copy("post_attention_layernorm", "ffn_norm"),
    LAYER.copy("mlp.gate_proj", "ffn_gate"),
    LAYER.copy("mlp.up_proj", "ffn_up"),
    LAYER.copy("mlp.down_proj", "ffn_down"),
];

/// Norms of query and key heads.
pub(crate) const HEAD_NORMS: &[Rule] = &[
    LAYER.copy("self_attn.q_norm", "attn_q_norm"),
    LAYER.copy("self_attn.k_norm", "attn_k_norm"),
];

/// Norms that are stored as their distance from one. To stand before [`DECODER`].
pub(crate) const NORMS_ABOUT_ONE: &[Rule] = &[
    rule("model.norm", "output_norm", Transform::AddOne),
    LAYER.rule("input_layernorm", "attn_norm", Transform::AddOne),
    LAYER.rule("post_attention_layernorm", "ffn_norm", Transform::AddOne),
];

/// The same of query and key heads.
pub(crate) const HEAD_NORMS_ABOUT_ONE: &[Rule] = &[
    LAYER.rule("self_attn.q_norm", "attn_q_norm", Transform::AddOne),
    LAYER.rule("self_attn.k_norm", "attn_k_norm", Transform::AddOne),
];

/// Query and key rows in ggml's interleaved order. To stand before [`DECODER`].
pub(crate) const PERMUTED: &[Rule] = &[
    LAYER.rule("self_attn.q_proj", "attn_q", Transform::PermuteQuery),
    LAYER.rule("self_attn.k_proj", "attn_k", Transform::PermuteKey),
];

/// For graphs that have no output matrix beside the embeddings: llama.cpp refuses a file with one.
pub(in crate::arch) const NO_OUTPUT: &[Rule] = &[exact_with(
    "lm_head.weight",
    "output.weight",
    Transform::View(
        |hp, _| {
            Err(hp.error(
                "tensor 'lm_head.weight': expected none, as llama.cpp's graph takes the embeddings for the output matrix, \
                 found one; take it away where it is the same matrix"
                    .to_owned(),
            ))
        },
        None,
    ),
)];

/// Destination of a tensor by a rule.
#[derive(Clone, Debug)]
pub(crate) struct Match {
    pub(crate) rule: &'static Rule,
    pub(crate) transform: Transform,
    /// The GGUF name, suffix included.
    pub(crate) name: String,
    pub(crate) block: Option<u32>,
    pub(crate) expert: Option<u32>,
}

/// Names that checkpoints carry and no GGUF file needs.
const IGNORED_SUFFIXES: [&str; 4] = [
    ".attention.masked_bias",
    ".attention.bias",
    ".rotary_emb.inv_freq",
    ".rotary_pos_emb.inv_freq",
];

/// Whether a tensor is left out whatever the architecture.
pub(crate) fn ignored(name: &str) -> bool {
    IGNORED_SUFFIXES.iter().any(|s| name.ends_with(s))
}

/// Endings of the names of buffers that every loader makes by itself, and of numbers that become keys.
const HARMLESS: [&str; 15] = [
    "attention.masked_bias",
    "attention.bias",
    "attn.masked_bias",
    "attn.bias",
    "rotary_emb.inv_freq",
    "rotary_pos_emb.inv_freq",
    "position_ids",
    "num_batches_tracked",
    "mlp.act_fn.alpha_n",
    "mlp.act_fn.alpha_p",
    "mlp.act_fn.beta",
    "mlp.act_fn.eps",
    "ple_embedding.layer_multipliers",
    "ple_embedding.ngram_heads_offsets",
    "ple_embedding.ngram_heads_vocab_sizes",
];

/// Whether nothing is lost with a tensor that is left out.
pub(crate) fn harmless(name: &str) -> bool {
    HARMLESS.iter().any(|s| name.ends_with(s))
}

/// All rules that a tensor name matches, of the first of the tables that has any: none when the name is
/// unknown, several when the tensor is split.
pub(crate) fn resolve(tables: &[&'static [Rule]], name: &str) -> Vec<Match> {
    tables
        .iter()
        .map(|rules| matches_of(rules, name))
        .find(|found| !found.is_empty())
        .unwrap_or_default()
}

fn matches_of(rules: &'static [Rule], name: &str) -> Vec<Match> {
    let (stem, suffix) = match name {
        n if n.ends_with(".weight") => (&n[..n.len() - ".weight".len()], ".weight"),
        n if n.ends_with(".bias") => (&n[..n.len() - ".bias".len()], ".bias"),
        n => (n, ""),
    };
    let mut found = Vec::new();
    for rule in rules {
        let whole = matches!(
            rule.transform,
            Transform::Stack | Transform::FirstHalf | Transform::SecondHalf
        );
        let (stem, suffix) = match rule.ending {
            Ending::Parameter if suffix.is_empty() && !whole => continue,
            Ending::Parameter if suffix.is_empty() => (stem, ".weight"),
            Ending::Parameter => (stem, suffix),
            Ending::Nothing => (name, ""),
            Ending::Kept => kept_ending(name),
        };
        let Some((block, expert)) = capture(rule.hf, stem) else {
            continue;
        };
        let mut name = match block {
            Some(block) => rule.gguf.of_block(block),
            None => rule.gguf.to_string(),
        };
        if let Some(expert) = expert {
            name = name.replacen("{e}", &expert.to_string(), 1);
        }
        name.push_str(suffix);
        found.push(Match {
            rule,
            transform: rule.transform,
            name,
            block,
            expert,
        });
    }
    found
}

/// A name's [`Ending::Kept`], after what comes before it.
fn kept_ending(name: &str) -> (&str, &str) {
    let at = ENDINGS.iter().find_map(|ending| name.strip_suffix(ending));
    name.split_at(at.map_or(name.len(), str::len))
}

/// The block and expert numbers of `text`, when it matches `pattern`.
fn capture(pattern: Name, text: &str) -> Option<(Option<u32>, Option<u32>)> {
    // Most patterns differ in the last part, most names of a layer are alike in the first.
    let last = pattern.rest.rsplit('.').next().filter(|last| !last.contains('{'));
    if last.is_some_and(|last| !text.ends_with(last)) {
        return None;
    }
    let (mut block, mut expert) = (None, None);
    let (mut pattern_parts, mut text_parts) = (pattern.parts(), text.split('.'));
    loop {
        match (pattern_parts.next(), text_parts.next()) {
            (None, None) => return Some((block, expert)),
            (Some("{}"), Some(t)) => block = Some(number(t)?),
            (Some("{e}"), Some(t)) => expert = Some(number(t)?),
            (Some(p), Some(t)) if p == t => {}
            (Some(p), Some(t)) => {
                let (found, (before, after)) = match p.split_once("{}") {
                    Some(around) => (&mut block, around),
                    None => (&mut expert, p.split_once("{e}")?),
                };
                *found = Some(number(t.strip_prefix(before)?.strip_suffix(after)?)?);
            }
            _ => return None,
        }
    }
}

/// The block number of a GGUF name that a rule's name fits, `Some(None)` where the rule has none.
pub(crate) fn block_of(pattern: Name, name: &str) -> Option<Option<u32>> {
    capture(pattern, name).map(|(block, _)| block)
}

/// A decimal number in its only spelling, so that two names never mean one tensor.
fn number(text: &str) -> Option<u32> {
    let is_spelled = text == "0" || !text.starts_with(['0', '+']);
    text.parse().ok().filter(|_| is_spelled)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: &[Rule] = &[
        copy("model.norm", "output_norm"),
        rule("model.layers.{}.q", "blk.{}.attn_q", Transform::PermuteQuery),
        rule(
            "model.layers.{}.x.{e}.up",
            "blk.{}.ffn_up_exps",
            Transform::Expert,
        ),
        rule("model.layers.{}.x.both", "blk.{}.a", Transform::FirstHalf),
        rule("model.layers.{}.x.both", "blk.{}.b", Transform::SecondHalf),
    ];

    #[test]
    fn captures_numbers_and_suffixes() {
        let m = resolve(&[RULES], "model.layers.12.q.bias");
        assert_eq!((m[0].name.as_str(), m[0].block), ("blk.12.attn_q.bias", Some(12)));
        let m = resolve(&[RULES], "model.layers.1.x.7.up.weight");
        assert_eq!(
            (m[0].name.as_str(), m[0].expert),
            ("blk.1.ffn_up_exps.weight", Some(7))
        );
        let m = resolve(&[RULES], "model.layers.1.x.both");
        assert_eq!(
            m.iter().map(|m| m.name.as_str()).collect::<Vec<_>>(),
            ["blk.1.a.weight", "blk.1.b.weight"]
        );
    }

    #[test]
    fn numbers_may_follow_letters_and_endings_are_kept() {
        const KEPT: &[Rule] = &[
            kept("tower.conv{}", "a.conv1d.{}"),
            kept("tower.{}.{e}.x", "v.blk.{}.{e}.x"),
        ];
        let name = |name| resolve(&[KEPT], name).first().map(|m| m.name.clone());
        assert_eq!(name("tower.conv2.bias").as_deref(), Some("a.conv1d.2.bias"));
        assert_eq!(name("tower.conv2").as_deref(), Some("a.conv1d.2"));
        assert_eq!(
            name("tower.1.3.x.input_max").as_deref(),
            Some("v.blk.1.3.x.input_max")
        );
        assert_eq!((name("tower.conv"), name("tower.conv2d1.bias")), (None, None));
    }

    #[test]
    fn the_first_table_that_knows_a_name_decides() {
        const FIRST: &[Rule] = &[exact("model.layers.{}.q.bias", "blk.{}.own")];
        let m = resolve(&[FIRST, RULES], "model.layers.3.q.bias");
        assert_eq!((m.len(), m[0].name.as_str()), (1, "blk.3.own"));
        let m = resolve(&[FIRST, RULES], "model.layers.3.q.weight");
        assert_eq!(m[0].name, "blk.3.attn_q.weight");
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        for name in [
            "model.norm",
            "model.norm.scale",
            "model.layers.q.weight",
            "model.layers.01.q.weight",
            "model.layers.+1.q.weight",
            "model.layers.1.q.extra.weight",
            "",
            ".weight",
        ] {
            assert!(resolve(&[RULES], name).is_empty(), "{name}");
        }
    }
}
