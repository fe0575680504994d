//! Recipes: from a preset and explicit rules to a type for every tensor, the way llama-quantize
//! chooses it, with every override and substitution reported.

mod effect;
mod elsewhere;
mod exclusions;
mod hparams;
mod mixture;
mod order;
mod preset;

use fancy_regex::Regex;
use gguf::{TensorType, Value};

pub use hparams::Hyperparameters;
use mixture::{Mixture, Role};
pub(crate) use order::by_layer;
pub use preset::{PRESETS, Preset, PresetInfo, unknown_preset};

use crate::{Error, Result};

/// `--override-kv`: a metadata key and the value it is to have. llama.cpp knows integers
/// ([`Value::I64`]), floats ([`Value::F64`]), booleans and strings here.
#[derive(Clone, Debug, PartialEq)]
pub struct KvOverride {
    /// The key.
    pub key: String,
    /// The value.
    pub value: Value,
}

impl KvOverride {
    /// Reads `KEY=TYPE:VALUE` within llama.cpp's limits; TYPE is int, float, bool or str.
    ///
    /// # Errors
    /// A phrase for the part that is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        const MAX_KEY_BYTES: usize = 127;
        const MAX_TEXT_BYTES: usize = 127;
        let (key, typed) = text.split_once('=').ok_or("expected KEY=TYPE:VALUE")?;
        let (ty, value) = typed.split_once(':').ok_or("expected KEY=TYPE:VALUE")?;
        if key.is_empty() || key.len() > MAX_KEY_BYTES {
            return Err(format!(
                "expected a key of 1 to {MAX_KEY_BYTES} bytes, found another"
            ));
        }
        let value = match ty {
            "int" => Value::I64(value.parse().map_err(|e| format!("{value:?}: {e}"))?),
            "float" => Value::F64(value.parse().map_err(|e| format!("{value:?}: {e}"))?),
            "bool" => Value::Bool(
                value
                    .parse()
                    .map_err(|_| format!("expected true or false, found {value:?}"))?,
            ),
            "str" if value.len() > MAX_TEXT_BYTES => {
                return Err(format!(
                    "expected a string of at most {MAX_TEXT_BYTES} bytes, found a longer one"
                ));
            }
            "str" => Value::from(value),
            _ => return Err(format!("expected int, float, bool or str, found {ty:?}")),
        };
        Ok(Self {
            key: key.to_owned(),
            value,
        })
    }
}

/// `--tensor-type`: tensors whose names match a pattern get this type.
#[derive(Clone, Debug)]
pub struct TensorTypeRule {
    pattern: Regex,
    /// The rule as it was given.
    given: String,
    /// The type.
    pub ty: TensorType,
}

impl PartialEq for TensorTypeRule {
    fn eq(&self, other: &Self) -> bool {
        (self.pattern(), self.ty) == (other.pattern(), other.ty)
    }
}

impl Eq for TensorTypeRule {}

impl std::fmt::Display for TensorTypeRule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}={}", self.pattern(), self.ty)
    }
}

impl TensorTypeRule {
    /// A rule for every tensor in whose name `pattern` is found.
    ///
    /// # Errors
    /// A pattern that is no regular expression.
    pub fn new(pattern: &str, ty: TensorType) -> Result<Self> {
        let pattern = Regex::new(pattern)
            .map_err(|e| Error::Request(format!("tensor-type pattern {pattern:?} is malformed: {e}")))?;
        let given = format!("{}={ty}", pattern.as_str());
        Ok(Self { pattern, given, ty })
    }

    /// Reads `PATTERN=TYPE` as llama-quantize does: the pattern ends at the first `=` and is put
    /// into lower case.
    ///
    /// # Errors
    /// A missing part, an unknown type, a malformed pattern.
    pub fn parse(text: &str) -> Result<Self> {
        let malformed = |what: &str| Error::Request(format!("tensor-type rule {text:?}: {what}"));
        let (pattern, name) = text
            .split_once('=')
            .ok_or_else(|| malformed("expected PATTERN=TYPE"))?;
        if pattern.is_empty() {
            return Err(malformed("expected a pattern, found none"));
        }
        let ty = TensorType::from_name(name);
        let ty = ty.ok_or_else(|| malformed(&format!("expected a tensor type, found {name:?}")))?;
        let mut rule = Self::new(&pattern.to_lowercase(), ty)?;
        text.clone_into(&mut rule.given);
        Ok(rule)
    }

    /// The pattern as written.
    pub fn pattern(&self) -> &str {
        self.pattern.as_str()
    }

    /// The rule as it was given, for messages.
    pub fn given(&self) -> &str {
        &self.given
    }

    /// Whether it applies to a tensor of this name.
    pub fn matches(&self, name: &str) -> bool {
        // A pattern that exceeds the matcher's backtracking limit does not match.
        self.pattern.is_match(name).unwrap_or(false)
    }
}

/// Options that decide the types, besides the model itself.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RecipeOptions {
    /// The preset.
    pub preset: Preset,
    /// Give every quantizable tensor the preset's base type.
    pub pure: bool,
    /// Leave `output.weight` as it is.
    pub leave_output_tensor: bool,
    /// The type of `output.weight`, or of the token embedding where that stands for it.
    pub output_tensor_type: Option<TensorType>,
    /// The type of the token embeddings.
    pub token_embedding_type: Option<TensorType>,
    /// Explicit rules; the first that matches decides.
    pub tensor_types: Vec<TensorTypeRule>,
    /// Whether an importance matrix is at hand, which changes some mixtures.
    pub has_importance: bool,
    /// Refuse to replace a type that a tensor's row length does not allow.
    pub no_fallback: bool,
    /// Refuse rules that match no tensor, also those of a list that is made for other architectures too.
    pub strict: bool,
}

gguf::setters! {
    RecipeOptions {
        preset: Preset,
        pure: bool,
        leave_output_tensor: bool,
        output_tensor_type: Option<TensorType>,
        token_embedding_type: Option<TensorType>,
        tensor_types: Vec<TensorTypeRule>,
        has_importance: bool,
        no_fallback: bool,
        strict: bool,
    }
}

impl RecipeOptions {
    /// The plain preset.
    pub fn new(preset: Preset) -> Self {
        Self {
            preset,
            pure: false,
            leave_output_tensor: false,
            output_tensor_type: None,
            token_embedding_type: None,
            tensor_types: Vec::new(),
            has_importance: false,
            no_fallback: false,
            strict: false,
        }
    }
}

/// A tensor as the recipe sees it.
#[derive(Clone, Copy, Debug)]
pub struct TensorSpec<'a> {
    /// The name in the output.
    pub name: &'a str,
    /// Dimensions, innermost first.
    pub shape: &'a [u64],
    /// The type in the source.
    pub ty: TensorType,
}

impl TensorSpec<'_> {
    fn weights(&self) -> u64 {
        self.shape.iter().product()
    }
}

/// A departure from what the preset alone would have given.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Change {
    /// The tensor.
    pub tensor: String,
    /// The type that was wanted.
    #[serde(serialize_with = "type_name")]
    pub wanted: TensorType,
    /// The type that it gets.
    #[serde(serialize_with = "type_name")]
    pub got: TensorType,
    /// Why.
    pub reason: String,
    /// Weights in the tensor.
    pub weights: u64,
}

fn type_name<S: serde::Serializer>(ty: &TensorType, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_str(ty.name())
}

/// A tensor whose type needs an importance vector that is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Assignment {
    /// The type in the output.
    pub ty: TensorType,
    /// Whether llama.cpp refuses to encode this tensor in this type without importance.
    pub needs_importance: bool,
}

/// The types of a model's tensors and what was decided on the way.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Recipe {
    /// For each tensor, in the order given.
    pub assignments: Vec<Assignment>,
    /// Types that explicit rules changed.
    pub overrides: Vec<Change>,
    /// Types replaced because a row length is no multiple of their block.
    pub substituted: Vec<Change>,
    /// Requests that have no effect with this preset or model.
    pub warnings: Vec<String>,
}

/// Chooses the type of every tensor. `tensors` are in llama.cpp's order (non-layer tensors, then
/// layer by layer; see [`sort_by_layer`]): some mixtures count.
///
/// # Errors
/// A rule that matches no tensor, a type that this tensor cannot have, a shape for which llama.cpp
/// knows no substitute, and with `no_fallback` any substitution.
pub fn choose_types(
    model: &Hyperparameters,
    tensors: &[TensorSpec<'_>],
    options: &RecipeOptions,
) -> Result<Recipe> {
    let mut recipe = Recipe::default();
    if options.preset == Preset::Copy {
        recipe.assignments = tensors.iter().map(|t| unchanged(t.ty)).collect();
        recipe.warnings = effect::without_effect(&model.architecture, tensors, options);
        return Ok(recipe);
    }
    check_rules_match(tensors, options)?;

    let roles: Vec<Role> = tensors.iter().map(|t| Role::of(t.name)).collect();
    let mut choosing = Choosing {
        options,
        walk: Mixture::new(
            options.preset,
            model,
            options.has_importance,
            options.output_tensor_type,
            options.token_embedding_type,
            &roles,
        ),
        base: options.preset.base(),
        recipe,
        refused: Vec::new(),
    };
    choosing.recipe.warnings = effect::without_effect(&model.architecture, tensors, options);
    for (tensor, &role) in tensors.iter().zip(&roles) {
        let assignment = match exclusions::quantizable(&model.architecture, tensor.name, tensor.shape)
            && !(options.leave_output_tensor && tensor.name == "output.weight")
        {
            true => {
                let ty = choosing.type_of(tensor, role)?;
                Assignment {
                    ty,
                    needs_importance: needs_importance(options.preset, tensor.name, role, ty),
                }
            }
            false => unchanged(tensor.ty),
        };
        choosing.recipe.assignments.push(assignment);
    }
    if !choosing.refused.is_empty() {
        return Err(Error::Request(format!(
            "preset {} would be substituted in {} of {} tensors, and no_fallback is set: {}",
            options.preset,
            choosing.refused.len(),
            tensors.len(),
            summarize(&choosing.refused)
        )));
    }
    Ok(choosing.recipe)
}

/// The choice of types, tensor by tensor.
struct Choosing<'a> {
    options: &'a RecipeOptions,
    walk: Mixture<'a>,
    base: TensorType,
    recipe: Recipe,
    /// Tensors whose type was substituted although that is refused.
    refused: Vec<&'a str>,
}

impl<'a> Choosing<'a> {
    /// The type of a tensor, whose departures from the preset are noted.
    fn type_of(&mut self, tensor: &TensorSpec<'a>, role: Role) -> Result<TensorType> {
        let rule = self.options.tensor_types.iter().find(|r| r.matches(tensor.name));
        if let Some((ty, flag)) = pinned(tensor.name, role, rule, self.options) {
            self.note_override(tensor, role, ty, || flag.to_owned())?;
            check_row(tensor, ty)?;
            return Ok(ty);
        }
        if !self.base.is_quantized() {
            return Ok(self.base);
        }
        let wanted = if let Some(rule) = rule {
            self.note_override(tensor, role, rule.ty, || format!("tensor type rule {rule}"))?;
            mixture::Choice::from(rule.ty)
        } else if self.options.pure {
            self.base.into()
        } else {
            if let Some(ty) = self
                .options
                .output_tensor_type
                .filter(|_| self.walk.is_head(role))
            {
                self.note_override(tensor, role, ty, || {
                    "output_tensor_type (the embedding is the output matrix)".to_owned()
                })?;
            }
            self.walk.choose(tensor.name, role, tensor.shape)?
        };
        let ty = fit(tensor, wanted.ty)?;
        if ty != wanted.but_for_shape {
            let reason = format!(
                "rows of {} are no multiple of {}",
                tensor.shape.first().copied().unwrap_or(0),
                wanted.but_for_shape.block_len().max(self.base.block_len())
            );
            let change = change(tensor, wanted.but_for_shape, ty, reason);
            self.recipe.substituted.push(change);
            if self.options.no_fallback {
                self.refused.push(tensor.name);
            }
        }
        Ok(ty)
    }

    /// Notes a type that is not the preset's.
    fn note_override(
        &mut self,
        tensor: &TensorSpec<'_>,
        role: Role,
        ty: TensorType,
        reason: impl FnOnce() -> String,
    ) -> Result<()> {
        let preset = preset_choice(&self.walk, self.base, tensor, role, self.options)?;
        if preset != ty {
            let change = change(tensor, preset, ty, reason());
            self.recipe.overrides.push(change);
        }
        Ok(())
    }
}

fn change(tensor: &TensorSpec<'_>, wanted: TensorType, got: TensorType, reason: String) -> Change {
    Change {
        tensor: tensor.name.to_owned(),
        wanted,
        got,
        reason,
        weights: tensor.weights(),
    }
}

/// Whether these options leave a tensor's type to the preset: presets change it, and nothing else fixes it.
pub fn is_open(architecture: &str, tensor: &TensorSpec<'_>, options: &RecipeOptions) -> bool {
    let rule = options.tensor_types.iter().find(|r| r.matches(tensor.name));
    rule.is_none()
        && exclusions::quantizable(architecture, tensor.name, tensor.shape)
        && !(options.leave_output_tensor && tensor.name == "output.weight")
        && pinned(tensor.name, Role::of(tensor.name), None, options).is_none()
}

/// Whether presets change a tensor's type.
pub fn is_quantizable(architecture: &str, name: &str, shape: &[u64]) -> bool {
    exclusions::quantizable(architecture, name, shape)
}

/// Whether llama.cpp refuses to encode this tensor in this type without importance.
pub fn demands_importance(preset: Preset, name: &str, ty: TensorType) -> bool {
    needs_importance(preset, name, Role::of(name), ty)
}

/// Sorts indices of tensors into llama.cpp's order.
pub fn sort_by_layer(names: &[&str]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..names.len()).collect();
    order.sort_by(|&a, &b| by_layer(names[a], names[b]));
    order
}

/// The first names of a list, and how many more there are.
pub(crate) fn summarize(names: &[impl AsRef<str>]) -> String {
    const SHOWN: usize = 8;
    let mut text = names
        .iter()
        .take(SHOWN)
        .map(AsRef::as_ref)
        .collect::<Vec<_>>()
        .join(", ");
    if names.len() > SHOWN {
        text += &format!(" and {} more", names.len() - SHOWN);
    }
    text
}

fn unchanged(ty: TensorType) -> Assignment {
    Assignment {
        ty,
        needs_importance: false,
    }
}

/// Type by the preset alone, for the report. The walk itself does not advance: llama.cpp does not count tensors whose
/// type is decided by rule.
fn preset_choice(
    walk: &Mixture<'_>,
    base: TensorType,
    tensor: &TensorSpec<'_>,
    role: Role,
    options: &RecipeOptions,
) -> Result<TensorType> {
    if !base.is_quantized() || options.pure {
        return Ok(base);
    }
    Ok(walk
        .clone()
        .without_explicit_types()
        .choose(tensor.name, role, tensor.shape)?
        .ty)
}

/// The type that `token_embedding_type` or `output_tensor_type` fixes, before all rules.
fn pinned(
    name: &str,
    role: Role,
    rule: Option<&TensorTypeRule>,
    options: &RecipeOptions,
) -> Option<(TensorType, &'static str)> {
    // The table of per-layer embeddings is large and separate, so a rule may name it.
    let named = name == "per_layer_token_embd.weight" && rule.is_some();
    match role {
        Role::TokenEmbedding if !named => options
            .token_embedding_type
            .map(|ty| (ty, "token_embedding_type")),
        Role::Output => options.output_tensor_type.map(|ty| (ty, "output_tensor_type")),
        _ => None,
    }
}

fn check_rules_match(tensors: &[TensorSpec<'_>], options: &RecipeOptions) -> Result<()> {
    let matches = |rule: &&TensorTypeRule| tensors.iter().any(|t| rule.matches(t.name));
    let others = options.tensor_types.iter().any(|rule| matches(&rule));
    if options.tensor_types.iter().any(|rule| !matches(&rule)) {
        // Lists for many architectures name tensors that this one has not: those are told ([`effect`]).
        let foreign = |rule: &TensorTypeRule| elsewhere::matches(rule);
        let tolerated = !options.strict && others;
        let bad = options
            .tensor_types
            .iter()
            .find(|rule| !(matches(rule) || tolerated && foreign(rule)));
        if let Some(bad) = bad {
            let why = match (foreign(bad), options.strict) {
                (true, true) => "; strict, so rules for other architectures are refused too",
                (true, false) => ", and no other rule does",
                (false, _) => ", nor any of another architecture",
            };
            return Err(Error::Request(format!(
                "tensor type rule {}={} matches no tensor{why}",
                bad.pattern(),
                bad.ty
            )));
        }
    }
    let has = |role| tensors.iter().any(|t| Role::of(t.name) == role);
    let (embedding, output) = (has(Role::TokenEmbedding), has(Role::Output));
    if options.token_embedding_type.is_some() && !embedding {
        return Err(Error::Request(
            "token_embedding_type: expected a token embedding, found none in the model".into(),
        ));
    }
    // Where the embedding stands for the output, the preset's mixture has to be in force.
    let by_mixture = embedding && !options.pure && options.preset.base().is_quantized();
    if options.output_tensor_type.is_some() && !output && !by_mixture {
        return Err(Error::Request(
            "output_tensor_type: expected an output.weight, found none in the model".into(),
        ));
    }
    Ok(())
}

fn check_row(tensor: &TensorSpec<'_>, ty: TensorType) -> Result<()> {
    let row = tensor.shape.first().copied().unwrap_or(0);
    if ty.row_bytes(row).is_none() {
        return Err(Error::Request(format!(
            "tensor '{}': expected rows of a multiple of {} weights, the blocks of {ty}, found {row}",
            tensor.name,
            ty.block_len()
        )));
    }
    Ok(())
}

/// The type itself, or the one that llama.cpp takes where the row length does not allow it.
fn fit(tensor: &TensorSpec<'_>, ty: TensorType) -> Result<TensorType> {
    use TensorType as T;
    let row = tensor.shape.first().copied().unwrap_or(0);
    if ty.row_bytes(row).is_some() {
        return Ok(ty);
    }
    let smaller = match ty {
        T::IQ1_S | T::IQ1_M | T::IQ2_XXS | T::IQ2_XS | T::IQ2_S | T::IQ3_XXS | T::IQ3_S | T::IQ4_XS => {
            T::IQ4_NL
        }
        T::Q2_0 | T::Q2_K | T::Q3_K | T::TQ1_0 | T::TQ2_0 => T::Q4_0,
        T::Q4_K => T::Q5_0,
        T::Q5_K => T::Q5_1,
        T::Q6_K => T::Q8_0,
        _ if ty.block_len() <= 32 => ty,
        _ => {
            return Err(Error::Request(format!(
                "tensor '{}': expected rows that fit {ty}, for which there is no substitute, found {row} weights",
                tensor.name
            )));
        }
    };
    Ok(if smaller.row_bytes(row).is_some() {
        smaller
    } else {
        T::F16
    })
}

/// llama.cpp's rule, and the encoders' own demand.
fn needs_importance(preset: Preset, name: &str, role: Role, ty: TensorType) -> bool {
    use TensorType as T;
    let spared = role == Role::TokenEmbedding || name == "output.weight";
    let by_rule = match ty {
        T::IQ3_XXS | T::IQ2_XXS | T::IQ2_XS | T::IQ2_S | T::IQ1_M | T::IQ1_S => true,
        T::Q2_K => preset == Preset::Q2_K_S,
        _ => false,
    };
    (by_rule && !spared) || quants::requires_importance(ty)
}

#[cfg(test)]
mod tests;
