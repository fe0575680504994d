//! The mixtures: which tensors of a preset get more or fewer bits than its base type.
//!
//! The rules are facts of llama.cpp (`src/llama-quant.cpp`); a file's bytes depend on every one.

use gguf::TensorType;

use super::hparams::Hyperparameters;
use super::order::layer_of;
use super::preset::Preset;
use crate::{Error, Result};

/// Role of a tensor in the model, as far as the rules distinguish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    TokenEmbedding,
    Query,
    Key,
    /// Value projections and the fused projections that contain them: the most sensitive ones.
    Value,
    AttentionOutput,
    FfnUp,
    FfnGate,
    FfnDown,
    Output,
    Other,
}

impl Role {
    pub(super) fn of(name: &str) -> Self {
        const PARTS: &[(&str, Role)] = &[
            ("attn_qkv.weight", Role::Value),
            ("attn_kv_b.weight", Role::Value),
            ("attn_v.weight", Role::Value),
            ("attn_k.weight", Role::Key),
            ("attn_q.weight", Role::Query),
            ("attn_output.weight", Role::AttentionOutput),
            ("ffn_up", Role::FfnUp),
            ("ffn_gate", Role::FfnGate),
            ("ffn_down", Role::FfnDown),
        ];
        match name {
            "output.weight" => Self::Output,
            "token_embd.weight" | "per_layer_token_embd.weight" => Self::TokenEmbedding,
            _ => PARTS
                .iter()
                .find(|(part, _)| name.contains(part))
                .map_or(Self::Other, |&(_, role)| role),
        }
    }
}

/// A choice, and what it would have been had the row length not stood in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) ty: TensorType,
    pub(super) but_for_shape: TensorType,
}

impl From<TensorType> for Choice {
    fn from(ty: TensorType) -> Self {
        Self {
            ty,
            but_for_shape: ty,
        }
    }
}

/// The state of one walk over a model's tensors.
#[derive(Clone)]
pub(super) struct Mixture<'a> {
    preset: Preset,
    model: &'a Hyperparameters,
    has_importance: bool,
    /// No `output.weight`: the token embedding is also the output matrix.
    tied: bool,
    output_type: Option<TensorType>,
    embedding_type: Option<TensorType>,
    values: usize,
    values_seen: usize,
    downs_seen: usize,
    gates_seen: usize,
    ups_seen: usize,
}

impl<'a> Mixture<'a> {
    pub(super) fn new(
        preset: Preset,
        model: &'a Hyperparameters,
        has_importance: bool,
        output_type: Option<TensorType>,
        embedding_type: Option<TensorType>,
        roles: &[Role],
    ) -> Self {
        Self {
            preset,
            model,
            has_importance,
            tied: !roles.contains(&Role::Output),
            output_type,
            embedding_type,
            values: roles.iter().filter(|&&r| r == Role::Value).count(),
            values_seen: 0,
            downs_seen: 0,
            gates_seen: 0,
            ups_seen: 0,
        }
    }

    /// The same walk under the preset alone.
    pub(super) fn without_explicit_types(self) -> Self {
        Self {
            output_type: None,
            embedding_type: None,
            ..self
        }
    }

    /// Whether this tensor produces the logits.
    pub(super) fn is_head(&self, role: Role) -> bool {
        role == Role::Output || (self.tied && role == Role::TokenEmbedding)
    }

    /// The preset's type for the next tensor of the walk.
    pub(super) fn choose(&mut self, name: &str, role: Role, shape: &[u64]) -> Result<Choice> {
        let base = self.preset.base();
        if self.model.architecture == "glm5-next"
            && ["attn_q_a", "attn_q_b", "nextn.eh_proj"]
                .iter()
                .any(|part| name.contains(part))
        {
            return Ok(TensorType::Q8_0.into());
        }
        if self.is_head(role) {
            return Ok(self.head(base, shape));
        }
        if self.preset == Preset::MXFP4_MOE {
            return Ok(self.mxfp4_moe(role, shape).into());
        }
        if role == Role::TokenEmbedding {
            return Ok(self.embedding(base).into());
        }
        let ty = if self.is_very_low() {
            self.very_low(base, role)
        } else {
            match role {
                Role::Value => self.value(base),
                Role::Key => self.key(base),
                Role::Query => self.query(base),
                Role::FfnDown => {
                    let at = self.position(name, self.downs_seen)?;
                    self.downs_seen += 1;
                    self.ffn_down(base, at)
                }
                Role::FfnGate => {
                    let at = self.position(name, self.gates_seen)?;
                    self.gates_seen += 1;
                    self.ffn_gate_or_up(base, at)
                }
                Role::FfnUp => {
                    let at = self.position(name, self.ups_seen)?;
                    self.ups_seen += 1;
                    self.ffn_gate_or_up(base, at)
                }
                Role::AttentionOutput => self.attention_output(base),
                Role::TokenEmbedding | Role::Output | Role::Other => base,
            }
        };
        Ok(ty.into())
    }

    fn is_falcon(&self) -> bool {
        self.model.architecture == "falcon"
    }

    fn eight_experts(&self) -> bool {
        self.model.experts == 8
    }

    fn grouped_query(&self) -> bool {
        self.model.query_heads_per_kv_head >= 4
    }

    fn is_very_low(&self) -> bool {
        use Preset::*;
        matches!(self.preset, IQ1_S | IQ1_M | IQ2_XXS | IQ2_XS | IQ2_S | IQ2_M)
    }

    /// The output matrix, or the embedding that stands for it.
    fn head(&self, base: TensorType, shape: &[u64]) -> Choice {
        use Preset::*;
        if let Some(ty) = self.output_type {
            return ty.into();
        }
        let preferred = if self.preset == MXFP4_MOE || self.is_falcon() {
            TensorType::Q8_0
        } else if self.is_very_low() || self.preset == IQ3_XXS {
            TensorType::Q5_K
        } else if base == TensorType::Q8_0 {
            base
        } else {
            TensorType::Q6_K
        };
        let row = shape.first().copied().unwrap_or(0);
        let fits = row.is_multiple_of(base.block_len() as u64);
        Choice {
            ty: if fits { preferred } else { TensorType::Q8_0 },
            but_for_shape: preferred,
        }
    }

    fn mxfp4_moe(&self, role: Role, shape: &[u64]) -> TensorType {
        // Multi-head latent attention has stacked projections too; in this architecture only the
        // feed-forward ones are experts.
        let may_be_expert = self.model.architecture != "bailingmoe3"
            || matches!(role, Role::FfnUp | Role::FfnGate | Role::FfnDown);
        if may_be_expert && shape.get(2).is_some_and(|&n| n > 1) {
            TensorType::MXFP4
        } else {
            TensorType::Q8_0
        }
    }

    fn embedding(&self, base: TensorType) -> TensorType {
        use Preset::*;
        self.embedding_type.unwrap_or(match self.preset {
            IQ2_XXS | IQ2_XS | IQ1_S | IQ1_M => TensorType::Q2_K,
            IQ2_S | IQ2_M | IQ3_XXS => TensorType::IQ3_S,
            TQ1_0 | TQ2_0 | Q2_0 => TensorType::Q4_K,
            _ => base,
        })
    }

    fn very_low(&mut self, base: TensorType, role: Role) -> TensorType {
        use Preset::*;
        let upper = matches!(self.preset, IQ2_S | IQ2_M);
        let lifted = if upper {
            TensorType::IQ3_S
        } else {
            TensorType::Q2_K
        };
        match role {
            Role::Value => {
                self.values_seen += 1;
                if self.grouped_query() || self.model.experts >= 4 {
                    TensorType::Q4_K
                } else {
                    lifted
                }
            }
            Role::Key if self.eight_experts() => TensorType::Q4_K,
            Role::FfnDown => {
                // Counted in the order of the walk even where experts are separate tensors.
                let early = self.downs_seen < self.model.layers as usize / 8;
                self.downs_seen += 1;
                if early { lifted } else { base }
            }
            Role::AttentionOutput if self.eight_experts() => TensorType::Q5_K,
            Role::AttentionOutput if upper => TensorType::IQ3_S,
            Role::AttentionOutput if matches!(self.preset, IQ1_S | IQ1_M) => TensorType::IQ2_XXS,
            _ => base,
        }
    }

    fn value(&mut self, base: TensorType) -> TensorType {
        use Preset::*;
        use TensorType as T;
        let (index, grouped) = (self.values_seen, self.grouped_query());
        self.values_seen += 1;
        if self.eight_experts() {
            return T::Q8_0;
        }
        let ty = match self.preset {
            Q2_K if grouped => T::Q4_K,
            Q2_K => T::Q3_K,
            Q2_K_S | IQ3_XS | IQ3_S | IQ3_XXS if grouped => T::Q4_K,
            IQ3_XXS if !self.has_importance => T::IQ3_S,
            IQ3_M => T::Q4_K,
            Q3_K_M if index < 2 => T::Q5_K,
            Q3_K_M => T::Q4_K,
            Q3_K_L => T::Q5_K,
            IQ4_NL | IQ4_XS if grouped => T::Q5_K,
            Q4_K_M | Q5_K_M if gets_more_bits(index, self.values) => T::Q6_K,
            Q4_K_S if index < 4 => T::Q5_K,
            _ => base,
        };
        // Eight query heads share one value head there, so the matrix is small and bits are cheap.
        if self.model.is_70b && matches!(ty, T::Q3_K | T::Q4_K) {
            T::Q5_K
        } else {
            ty
        }
    }

    fn key(&self, base: TensorType) -> TensorType {
        if self.eight_experts() {
            TensorType::Q8_0
        } else {
            self.query(base)
        }
    }

    fn query(&self, base: TensorType) -> TensorType {
        match self.preset {
            Preset::IQ3_XS => TensorType::IQ3_XXS,
            Preset::IQ3_XXS => TensorType::IQ2_S,
            _ => base,
        }
    }

    fn attention_output(&self, base: TensorType) -> TensorType {
        use Preset::*;
        use TensorType as T;
        if self.is_falcon() {
            return if self.preset == Q3_K_L { T::Q4_K } else { base };
        }
        if self.eight_experts() {
            return match self.preset {
                Q2_K | IQ3_XS | IQ3_XXS | Q3_K_S | Q3_K_M | IQ4_NL | Q4_K_S | Q4_K_M | IQ3_S | IQ3_M
                | IQ4_XS => T::Q5_K,
                _ => base,
            };
        }
        match self.preset {
            Q2_K => T::Q3_K,
            IQ3_XXS => T::IQ3_S,
            Q3_K_M | IQ3_M => T::Q4_K,
            Q3_K_L => T::Q5_K,
            _ => base,
        }
    }

    fn ffn_down(&self, base: TensorType, at: Position) -> TensorType {
        use Preset::*;
        use TensorType as T;
        let (falcon, importance) = (self.is_falcon(), self.has_importance);
        let more_bits = gets_more_bits(at.layer, at.layers);
        match self.preset {
            Q2_K => T::Q3_K,
            Q2_K_S if at.in_first(8) => T::Q4_K,
            IQ3_XXS if !importance && at.in_first(8) => T::Q4_K,
            IQ3_XXS if !importance => T::Q3_K,
            Q3_K_M if at.in_first(16) => T::Q5_K,
            Q3_K_M if !falcon || more_bits => T::Q4_K,
            IQ3_M if at.in_first(8) || (self.eight_experts() && more_bits) => T::Q4_K,
            Q3_K_L if falcon => T::Q4_K,
            Q3_K_L => T::Q5_K,
            Q4_K_M if falcon && at.in_first(16) => T::Q6_K,
            Q4_K_M if falcon && more_bits => T::Q5_K,
            Q4_K_M if !falcon && more_bits => T::Q6_K,
            IQ4_NL | IQ4_XS if !importance && at.in_first(8) => T::Q5_K,
            Q5_K_M if more_bits => T::Q6_K,
            Q4_K_S if !falcon && at.in_first(8) => T::Q5_K,
            // With importance the first of these can go wrong without a minimum.
            Q4_0 if importance && at.in_first(8) => T::Q4_1,
            Q5_0 if importance && at.in_first(8) => T::Q5_1,
            _ => base,
        }
    }

    fn ffn_gate_or_up(&self, base: TensorType, at: Position) -> TensorType {
        let in_the_middle = !at.in_first(8) && at.layer < 7 * at.layers / 8;
        if self.preset == Preset::IQ3_XS && in_the_middle {
            TensorType::IQ3_XXS
        } else {
            base
        }
    }

    /// The layer of a feed-forward tensor: counted, or read from its name where a layer may have
    /// several such tensors.
    fn position(&self, name: &str, seen: usize) -> Result<Position> {
        let layers = self.model.layers as usize;
        let layer = if self.model.experts > 1 {
            layer_of(name)
                .and_then(|layer| usize::try_from(layer).ok())
                .filter(|&layer| layer < layers)
                .ok_or_else(|| {
                    Error::Request(format!(
                        "tensor '{name}': expected a layer number from 0 to {} in the name, found none",
                        layers.saturating_sub(1)
                    ))
                })?
        } else {
            seen
        };
        Ok(Position { layer, layers })
    }
}

/// The place of a tensor in the stack.
#[derive(Clone, Copy)]
struct Position {
    layer: usize,
    layers: usize,
}

impl Position {
    /// Whether it lies in the first `1/parts` of the layers.
    fn in_first(self, parts: usize) -> bool {
        self.layer < self.layers / parts
    }
}

/// The first and last eighth, and every third between them.
fn gets_more_bits(index: usize, count: usize) -> bool {
    let eighth = count / 8;
    index < eighth || index >= 7 * count / 8 || (index - eighth) % 3 == 2
}
