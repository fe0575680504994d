//! Builds the mixtures of experts of [`super::mixture_designs`]. Layers without a router have a dense second half.

use std::sync::Arc;

use super::decoder::{Decoder, Early, Layer, Mlp};
use super::dense::causal;
use super::hyperparameters::{Hyperparameters, gated, rope, rope_settings, sliding_layers};
use super::mixture_designs::{
    Beside, COHERE2_MOE, Cut, Design, HeadNorms, Local, Normalize, Rotates, Windows,
};
use crate::Result;
use crate::layers::{
    Adjugates, Attention, BlockChoice, BlockChooser, FeedForward, Gate, GateFunction, Groups, Mixture,
    OutputGate, Scoring, SharedExpert,
};
use crate::ops::{Activation, Norm, NormKind, Rope, RopeSettings};
use crate::weights::{ANY, Loader};

/// Cohere's mixture.
pub(super) fn cohere2moe(loader: &Loader<'_>) -> Result<Decoder> {
    let rms = loader
        .keys
        .optional_float("attention.layer_norm_rms_epsilon")?
        .is_some_and(|eps| eps != 0.0);
    let norm = match rms {
        true => NormKind::Rms,
        false => COHERE2_MOE.norm,
    };
    build(loader, &Design { norm, ..COHERE2_MOE })
}

/// Which layers see a window and rotate, and how.
struct Layers<'a> {
    design: &'a Design,
    rope: Arc<Rope>,
    /// Of layers with a window.
    local_rope: Arc<Rope>,
    window: Option<usize>,
    sliding: Vec<bool>,
    count: usize,
    /// Dense layers before all others.
    dense: usize,
    /// Which layers rotate, where the file says; nothing: all.
    pattern: Vec<bool>,
}

impl<'a> Layers<'a> {
    fn new(loader: &Loader<'_>, hyper: &Hyperparameters, design: &'a Design) -> Result<Self> {
        let keys = &loader.keys;
        let window = keys
            .optional_count("attention.sliding_window")?
            .filter(|&n| n > 0);
        let sliding = match (design.windows, window) {
            (Windows::None, _) | (_, None) => Vec::new(),
            (Windows::AllButLast(period), Some(_)) => sliding_layers(loader, hyper, period)?,
            (Windows::AllButFirst(period), Some(_)) => {
                let suffix = "attention.sliding_window_pattern";
                match loader.keys.is_array(suffix) {
                    true => sliding_layers(loader, hyper, period)?,
                    false => {
                        let period = keys.optional_count(suffix)?.unwrap_or(period);
                        let slides = |i: usize| period == 0 || !i.is_multiple_of(period);
                        (0..hyper.layers).map(slides).collect()
                    }
                }
            }
        };
        let full = match design.local {
            Local::WholeHeads => Arc::new(Rope::new(&half_rotated(loader, hyper, design)?)),
            _ => rope(loader, hyper, design.rope)?,
        };
        let local_rope = match sliding.is_empty() {
            true => full.clone(),
            false => local_rope(loader, hyper, design)?,
        };
        Ok(Self {
            design,
            rope: full,
            local_rope,
            window: window.map(|n| design.window.unwrap_or(n)),
            sliding,
            count: hyper.layers,
            pattern: match design.rotates {
                Rotates::ByKey => keys
                    .optional_flags("attention.rope_pattern", hyper.blocks)?
                    .unwrap_or_default(),
                _ => Vec::new(),
            },
            dense: keys.optional_count("leading_dense_block_count")?.unwrap_or(0),
        })
    }

    /// The window of a layer, and its rotation.
    fn kind(&self, i: usize) -> (Option<usize>, Option<Arc<Rope>>) {
        let slides = self.sliding.get(i) == Some(&true);
        let rotates = match self.design.rotates {
            Rotates::All => true,
            Rotates::ByKey => self.pattern.get(i).copied().unwrap_or(true),
            Rotates::Sliders => slides,
            Rotates::SlidersAndDense => slides || i < self.dense || i >= self.count,
            Rotates::AllButLast(period) => !(i + 1).is_multiple_of(period),
            Rotates::AllButFirst(period) => {
                self.window.is_none() || self.count == period || !i.is_multiple_of(period)
            }
        };
        let rope = match slides {
            true => &self.local_rope,
            false => &self.rope,
        };
        (self.window.filter(|_| slides), rotates.then(|| rope.clone()))
    }
}

/// The rotation of half of a head.
fn half_rotated(loader: &Loader<'_>, hyper: &Hyperparameters, design: &Design) -> Result<RopeSettings> {
    let mut settings = rope_settings(loader, hyper, design.rope)?;
    settings.dims = hyper.rotated / 4 * 2;
    if let Some(divisors) = &mut settings.divisors {
        divisors.truncate(settings.dims / 2);
    }
    Ok(settings)
}

/// The rotation of layers with a window.
fn local_rope(loader: &Loader<'_>, hyper: &Hyperparameters, design: &Design) -> Result<Arc<Rope>> {
    let mut settings = rope_settings(loader, hyper, design.rope)?;
    if matches!(design.local, Local::UsualBase | Local::WholeHeads) {
        settings.base = 10000.0;
    }
    if design.local != Local::Plain {
        if let Some(base) = loader.keys.optional_positive("rope.freq_base_swa")? {
            settings.base = f64::from(base);
        }
        if let Some(dims) = loader.keys.optional_count("rope.dimension_count_swa")? {
            if dims > hyper.key_len || !dims.is_multiple_of(2) {
                let expected = format!("an even number of at most the head's {}", hyper.key_len);
                return Err(loader.keys.refused("rope.dimension_count_swa", expected, dims));
            }
            settings.dims = dims;
        }
    }
    if design.local == Local::WholeHeads {
        settings.divisors = None;
    }
    if matches!(design.local, Local::Plain | Local::OwnBasePlain) {
        settings.frequency_scale = 1.0;
        settings.magnitude = 1.0;
        settings.yarn = None;
        settings.divisors = None;
    }
    Ok(Arc::new(Rope::new(&settings)))
}

pub(super) fn build(loader: &Loader<'_>, design: &Design) -> Result<Decoder> {
    let mut hyper = Hyperparameters::read(loader)?;
    if design.rotates_all {
        hyper.rotated = hyper.key_len;
    }
    let keys = &loader.keys;
    let eps = keys.float(match design.norm {
        NormKind::Rms => "attention.layer_norm_rms_epsilon",
        NormKind::Layer => "attention.layer_norm_epsilon",
    })?;
    let which = Layers::new(loader, &hyper, design)?;
    let residual_scale = keys.optional_positive("residual_scale")?.unwrap_or(1.0);
    let layer = |i: usize| {
        let norm = |name: &str| loader.norm(design.norm, &format!("blk.{i}.{name}"), hyper.hidden, eps);
        let attention = attention(loader, &hyper, i, design, which.kind(i), eps)?;
        let mlp = mlp(loader, &hyper, i, design)?;
        let (after_attention, after_mlp) = match design.post_norms {
            None => (None, None),
            Some((first, second)) => {
                let second = match loader.has(&format!("blk.{i}.{second}.weight")) {
                    true => second,
                    false => "post_ffw_norm",
                };
                let eps = design.post_epsilon.unwrap_or(eps);
                let of = |name: &str| Ok::<_, crate::Error>(Norm { eps, ..norm(name)? });
                (Some(of(first)?), Some(of(second)?))
            }
        };
        let early = match design.beside {
            Beside::ExpertsOfInput => {
                let normalize = normalizes(loader, design)?;
                let experts = mixture(loader, &hyper, i, design.scoring, normalize)?;
                Some(Early::Experts(norm("ffn_norm_exps")?, Box::new(experts)))
            }
            Beside::RouterOfInput => Some(Early::Choice),
            _ => None,
        };
        let attention_norm = norm("attn_norm")?;
        let mlp_norm = match design.parallel {
            true => None,
            false => Some(norm(design.mlp_norm)?),
        };
        Ok(Layer {
            residual_scale,
            attention_post_norm: after_attention,
            mlp_norm,
            mlp_post_norm: after_mlp,
            parallel: design.parallel,
            early,
            ..Layer::new(attention_norm, attention, None, mlp)
        })
    };
    let layers = (0..hyper.layers).map(layer).collect::<Result<Vec<_>>>()?;
    for i in hyper.predicting_if_any(loader) {
        layer(i)?;
        loader.prediction(i, hyper.hidden)?;
        loader.allowed(&format!("blk.{i}.layer_output_norm.weight"), &[hyper.hidden])?;
    }
    let embedding = loader.embedding(hyper.hidden)?;
    let output_norm = loader.norm(design.norm, "output_norm", hyper.hidden, eps)?;
    let head = loader.head(hyper.hidden, embedding.matrix.outputs)?;
    let factors = design.factors;
    let logits = keys.optional_positive("logit_scale")?.unwrap_or(factors.logits);
    let scale = keys.optional_positive("embedding_scale")?;
    Ok(Decoder {
        embedding_scale: match design.scaled_embeddings {
            true => (hyper.hidden as f32).sqrt(),
            false => scale.unwrap_or(factors.embedding),
        },
        embedding_norm: design.normed_embeddings.then(|| weightless(hyper.hidden, eps)),
        logit_softcap: keys.optional_positive("final_logit_softcapping")?,
        logit_scale: if design.divides_logits {
            1.0 / logits
        } else {
            logits
        },
        ..Decoder::new(embedding, layers, output_norm, head)
    })
}

fn attention(
    loader: &Loader<'_>,
    hyper: &Hyperparameters,
    layer: usize,
    design: &Design,
    (window, rope): (Option<usize>, Option<Arc<Rope>>),
    eps: f32,
) -> Result<Attention> {
    let keys = &loader.keys;
    let (scale, cap) = match design.factors.scores {
        None => (keys.optional_positive("attention.scale")?, None),
        Some((scale, cap)) => (
            Some(keys.optional_positive("attention.output_scale")?.unwrap_or(scale)),
            Some(keys.optional_positive("attn_logit_softcapping")?.unwrap_or(cap)),
        ),
    };
    let scale = scale.unwrap_or(hyper.usual_scale());
    let mut attention = hyper.attention(loader, layer, rope, scale)?;
    attention.shape.window = window;
    attention.shape.softcap = cap;
    let base = |name: &str| format!("blk.{layer}.{name}");
    let (heads, kv) = hyper.heads(loader, layer)?;
    attention.clamp = loader.keys.optional_positive("attention.clamp_kqv")?;
    let sinks = loader.optional_vector(&base("attn_sinks.weight"), heads)?;
    attention.shape.sinks = sinks.map(Arc::from);
    let has_norms = loader.has(&base("attn_q_norm.weight"));
    let lengths = match design.head_norms {
        HeadNorms::Whole => Some((heads * hyper.key_len, kv * hyper.key_len)),
        HeadNorms::Each | HeadNorms::Rotated if has_norms => Some((hyper.key_len, hyper.key_len)),
        _ => None,
    };
    attention.shape.causal = causal(loader)?;
    attention.norms_follow_rope = design.head_norms == HeadNorms::Rotated;
    if let Some(scale) = keys.optional_positive("attention.value_scale")? {
        attention.output.scale *= scale;
    }
    // Step 3.5 may lack them.
    let lacks = design.local == Local::WholeHeads && !loader.has(&base("attn_gate.weight"));
    if let Some(function) = design.gates.filter(|_| !lacks) {
        attention.gate = Some(output_gate(loader, layer, hyper, heads, function)?);
    }
    if let Some((query, key)) = lengths {
        attention.query_norm = Some(loader.rms_norm(&base("attn_q_norm"), query, eps)?);
        attention.key_norm = Some(loader.rms_norm(&base("attn_k_norm"), key, eps)?);
    }
    let dense = keys.optional_count("leading_dense_block_count")?.unwrap_or(0);
    if design.chosen_blocks && layer >= dense {
        let chooser = block_chooser(loader, hyper, layer, &attention, eps)?;
        attention.blocks = Some(Box::new(BlockChoice::OfBestKeys(chooser)));
    }
    Ok(attention)
}

/// The indexer of a layer, which rotates as its attention does.
fn block_chooser(
    loader: &Loader<'_>,
    hyper: &Hyperparameters,
    layer: usize,
    attention: &Attention,
    eps: f32,
) -> Result<BlockChooser> {
    let keys = &loader.keys;
    let base = |name: &str| format!("blk.{layer}.indexer.{name}");
    let heads = keys.count("attention.indexer.head_count")?;
    let len = keys.count("attention.indexer.key_length")?;
    let block = keys.count("attention.indexer.block_size")?;
    let kv = attention.shape.kv_heads;
    if heads != kv || block == 0 || hyper.rotated > len {
        return Err(loader.error(format!(
            "indexer: expected a head of at least the {} elements that are rotated for each of the {kv} key heads, and \
             blocks of at least 1 key, found {heads} heads of {len} elements and blocks of {block}",
            hyper.rotated
        )));
    }
    let all = loader.all_heads(heads, len)?;
    let rope = attention.rope.clone();
    Ok(BlockChooser {
        query: loader.linear(&base("q_proj"), hyper.hidden, all)?,
        key: loader.linear(&base("k_proj"), hyper.hidden, len)?,
        query_norm: loader.rms_norm(&base("q_norm"), len, eps)?,
        key_norm: loader.rms_norm(&base("k_norm"), len, eps)?,
        rope: rope.ok_or_else(|| loader.error("indexer: expected a rotation, found none"))?,
        len,
        heads,
        block,
        blocks: keys.count("attention.indexer.top_k")?,
        local: keys.count("attention.indexer.local_blocks")?,
    })
}

/// The gates of a layer's heads, or of each of their elements: as many as the file has.
fn output_gate(
    loader: &Loader<'_>,
    layer: usize,
    hyper: &Hyperparameters,
    heads: usize,
    function: GateFunction,
) -> Result<OutputGate> {
    let base = format!("blk.{layer}.attn_gate");
    let each = heads * hyper.value_len;
    let outputs = match loader.outputs_of(&base)? {
        outputs if outputs == heads || outputs == each => outputs,
        ANY => heads,
        outputs => {
            return Err(loader.error(format!(
                "tensor '{base}.weight': expected {heads} gates (one for each head) or {each}, found {outputs}"
            )));
        }
    };
    let linear = loader.linear(&base, hyper.hidden, outputs)?;
    Ok(OutputGate { linear, function })
}

/// Whether the weights of chosen experts are divided by their sum.
fn normalizes(loader: &Loader<'_>, design: &Design) -> Result<bool> {
    match design.normalize {
        Normalize::Always => Ok(true),
        Normalize::Never => Ok(false),
        Normalize::ByKey => Ok(loader.keys.optional_flag("expert_weights_norm")?.unwrap_or(false)),
    }
}

/// The second half: experts where there is a router, else a dense layer.
fn mlp(loader: &Loader<'_>, hyper: &Hyperparameters, layer: usize, design: &Design) -> Result<Mlp> {
    let (activation, beside) = activations(loader, hyper, layer, design)?;
    if design.beside == Beside::ExpertsOfInput {
        let prefix = format!("blk.{layer}.ffn_");
        let dense = gated(loader, &prefix, "", hyper.hidden, hyper.hidden, design.activation)?;
        return Ok(Mlp::Dense(Box::new(dense)));
    }
    if !loader.has(&format!("blk.{layer}.ffn_gate_inp.weight")) {
        let dense = hyper.feed_forward(loader, layer, beside)?;
        return Ok(Mlp::Dense(Box::new(dense)));
    }
    let mut mixture = mixture(loader, hyper, layer, design.scoring, normalizes(loader, design)?)?;
    mixture.activation = activation;
    if let Some(shared) = &mut mixture.shared {
        shared.layer.activation = beside;
    }
    match design.beside {
        Beside::SharedMean if mixture.shared.is_some() => mixture.output_scale = 0.5,
        Beside::Dense if loader.has(&format!("blk.{layer}.ffn_up.weight")) => {
            let layer = hyper.feed_forward(loader, layer, design.activation)?;
            mixture.shared = Some(SharedExpert { layer, gate: None });
            mixture.output_scale = std::f32::consts::FRAC_1_SQRT_2;
        }
        Beside::Adjugates => mixture.adjugates = Some(adjugates(loader, hyper, layer, &mixture)?),
        _ => {}
    }
    Ok(Mlp::Mixture(Box::new(mixture)))
}

/// The activation of a layer's experts, and of what stands beside or in place of them.
fn activations(
    loader: &Loader<'_>,
    hyper: &Hyperparameters,
    layer: usize,
    design: &Design,
) -> Result<(Activation, Activation)> {
    let limit = |suffix: &str| swiglu_limit(loader, hyper, layer, suffix);
    let usual = design.activation;
    match design.cut {
        Cut::None => Ok((usual, usual)),
        Cut::BeforeActivation => {
            let limit = limit("swiglu_clamp_exp")?;
            Ok((limit.map_or(usual, Activation::SiluCut), usual))
        }
        Cut::AfterActivation => swiglu_limits(loader, hyper, layer),
    }
}

/// The limit of a layer's gates under a key, where the file has one.
pub(super) fn swiglu_limit(
    loader: &Loader<'_>,
    hyper: &Hyperparameters,
    layer: usize,
    suffix: &str,
) -> Result<Option<f32>> {
    let limits = loader.keys.optional_floats(suffix, hyper.blocks)?;
    let limit = limits.and_then(|limits| limits.get(layer).copied());
    Ok(limit.filter(|&limit| limit > SMALLEST_LIMIT))
}

/// The SiLU of a layer's experts, and of what stands beside or in place of them, each cut where the file has limits.
pub(super) fn swiglu_limits(
    loader: &Loader<'_>,
    hyper: &Hyperparameters,
    layer: usize,
) -> Result<(Activation, Activation)> {
    let of = |suffix: &str| {
        let limit = swiglu_limit(loader, hyper, layer, suffix)?;
        Ok::<_, crate::Error>(limit.map_or(Activation::Silu, Activation::SiluThenCut))
    };
    Ok((of("swiglu_clamp_exp")?, of("swiglu_clamp_shexp")?))
}

/// Limits of gates below this count as none, as in llama.cpp.
const SMALLEST_LIMIT: f32 = 1e-6;

/// The experts of groups of experts.
fn adjugates(
    loader: &Loader<'_>,
    hyper: &Hyperparameters,
    layer: usize,
    experts: &Mixture,
) -> Result<Adjugates> {
    let keys = &loader.keys;
    let count = experts.router.matrix.outputs;
    let members = keys.count("experts_per_group")?;
    if members == 0 || members > count {
        let expected = format!("1 to {count} (expert_count)");
        return Err(keys.refused("experts_per_group", expected, members));
    }
    let groups = count / members;
    let inner = keys
        .optional_count("expert_chunk_feed_forward_length")?
        .filter(|&n| n > 0)
        .unwrap_or(hyper.key_len);
    let base = |name: &str| format!("blk.{layer}.{name}");
    let gate = loader.experts(&base("ffn_gate_chexps"), hyper.hidden, inner, groups)?;
    let experts = Mixture {
        gate: Some(gate),
        up: loader.experts(&base("ffn_up_chexps"), hyper.hidden, inner, groups)?,
        down: loader.experts(&base("ffn_down_chexps"), inner, hyper.hidden, groups)?,
        used: experts.used.min(groups),
        ..experts.clone()
    };
    Ok(Adjugates {
        experts: Box::new(experts),
        members,
        scale: keys.float("expert_group_scale")?,
    })
}

/// The experts of a layer with all that the file has of a mixture: biases for the choice, groups, shared
/// experts.
pub(super) fn mixture(
    loader: &Loader<'_>,
    hyper: &Hyperparameters,
    layer: usize,
    scoring: Scoring,
    normalize: bool,
) -> Result<Mixture> {
    let fused = format!("blk.{layer}.ffn_gate_up_exps");
    let inner = match loader.has(&format!("{fused}.weight")) {
        true => loader.outputs_of(&fused)? / 2,
        false => loader.outputs_of(&format!("blk.{layer}.ffn_up_exps"))?,
    };
    if loader.is_declared() {
        let width = loader
            .keys
            .optional_per_layer("expert_feed_forward_length", hyper.blocks)?
            .map(|width| width.get(layer));
        if let Some(width) = width.filter(|&n| n > 0 && !loader.has(&format!("{fused}.weight"))) {
            loader.needed(&format!("blk.{layer}.ffn_up_exps.weight"), &[ANY, width, ANY])?;
        }
    }
    let mut mixture = hyper.mixture(loader, layer, inner, normalize)?;
    mixture.scoring = match loader.keys.optional_count("expert_gating_func")? {
        None | Some(0) => scoring,
        Some(1) => Scoring::Softmax,
        Some(2) => Scoring::Sigmoid,
        Some(3) => Scoring::SoftmaxOfChosen,
        Some(4) => Scoring::RootOfSoftplus,
        Some(other) => {
            return Err(loader.keys.refused("expert_gating_func", "0 to 4", other));
        }
    };
    let count = loader.keys.optional_count("expert_group_count")?.unwrap_or(0);
    if count > 1 {
        let used = loader
            .keys
            .optional_count("expert_group_used_count")?
            .unwrap_or(count);
        let experts = mixture.router.matrix.outputs;
        if !experts.is_multiple_of(count)
            || used == 0
            || used > count
            || used * (experts / count) < mixture.used
        {
            return Err(loader.error(format!(
                "expert groups: expected even groups with room for {} experts, found {count} of {experts} experts, of \
                 which {used} are used",
                mixture.used
            )));
        }
        // A group's score is the sum of its best two where there is a bias (DeepSeek-V3), its best otherwise
        // (DeepSeek-V2).
        let judged_by = if mixture.selection_bias.is_some() { 2 } else { 1 };
        mixture.groups = Some(Groups {
            count,
            used,
            judged_by,
        });
    }
    mixture.shared = shared(loader, hyper, layer)?;
    Ok(mixture)
}

/// Shared experts, which every token goes through beside its own, where the file has them.
pub(super) fn shared(
    loader: &Loader<'_>,
    hyper: &Hyperparameters,
    layer: usize,
) -> Result<Option<SharedExpert>> {
    let base = |name: &str| format!("blk.{layer}.{name}");
    if !loader.has(&base("ffn_up_shexp.weight")) {
        return Ok(None);
    }
    let inner = loader.outputs_of(&base("ffn_up_shexp"))?;
    let prefix = base("ffn_");
    let expert = match loader.has(&base("ffn_gate_shexp.weight")) {
        true => gated(loader, &prefix, "_shexp", hyper.hidden, inner, Activation::Silu)?,
        // Gates and the rest in one matrix.
        false if design_is_fused(loader) => FeedForward {
            gate: Gate::Fused,
            up: loader.linear(&base("ffn_up_shexp"), hyper.hidden, inner)?,
            down: loader.linear(&base("ffn_down_shexp"), inner / 2, hyper.hidden)?,
            activation: Activation::Silu,
            inner_norm: None,
        },
        // Nemotron-H.
        false => FeedForward {
            gate: Gate::None,
            up: loader.linear(&base("ffn_up_shexp"), hyper.hidden, inner)?,
            down: loader.linear(&base("ffn_down_shexp"), inner, hyper.hidden)?,
            activation: Activation::SquaredRelu,
            inner_norm: None,
        },
    };
    let gate = match loader.has(&base("ffn_gate_inp_shexp.weight")) {
        true => Some(loader.linear(&base("ffn_gate_inp_shexp"), hyper.hidden, 1)?),
        false => None,
    };
    Ok(Some(SharedExpert { layer: expert, gate }))
}

/// Whether shared experts have their gates in one matrix with the rest.
fn design_is_fused(loader: &Loader<'_>) -> bool {
    loader.keys.architecture() == "granite_swa"
}

/// A norm of heads, or of all of a row, without weights.
pub(crate) fn weightless(len: usize, eps: f32) -> Norm {
    Norm {
        kind: NormKind::Rms,
        group: len,
        weight: Vec::new(),
        bias: Vec::new(),
        eps,
        tensor: None,
    }
}
