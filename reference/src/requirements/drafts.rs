//! Requirements of draft models, which run on the states of the models that they draft for. EAGLE-3's are those of its graph;
//! the others have none here.

use gguf::{Array, Metadata, Value};

use super::Shortfall;
use crate::Result;
use crate::drafts::{EAGLE3_LAYERS, Eagle3};
use crate::weights::{ANY, Declared, Keys, Loader};

/// Looks for all that a draft model needs.
pub(super) type Look = fn(&Draft<'_>) -> Result<()>;

/// The architectures of draft models.
const DRAFTS: [(&str, Look); 3] = [
    ("eagle3", |draft| draft.eagle3()),
    ("dflash", |draft| draft.dflash()),
    ("gemma4-assistant", |draft| draft.gemma4_assistant()),
];

/// Requirements of an architecture of draft models.
pub(super) fn find(architecture: &str) -> Option<Look> {
    DRAFTS
        .iter()
        .find(|(name, _)| *name == architecture)
        .map(|(_, look)| *look)
}

/// Number of `expert_gating_func` for the square root of softplus.
const SQRT_SOFTPLUS: usize = 4;

/// Activations that DFlash's graph knows, by the names of transformers.
const DFLASH_ACTIVATIONS: [&str; 3] = ["silu", "gelu", "gelu_pytorch_tanh"];

/// A draft model.
pub(super) struct Draft<'a> {
    pub(super) loader: &'a Loader<'a>,
    pub(super) declared: &'a Declared<'a>,
}

/// Sizes of one layer.
struct Layer {
    hidden: usize,
    heads: usize,
    groups: usize,
    key: usize,
    value: usize,
    inner: usize,
}

impl Layer {
    /// Rows of all queries.
    fn queries(&self) -> usize {
        self.heads.saturating_mul(self.key)
    }
}

impl Draft<'_> {
    fn keys(&self) -> &Keys<'_> {
        &self.loader.keys
    }

    fn needed(&self, name: &str, shape: &[usize]) -> Result<()> {
        self.loader.needed(name, shape)
    }

    fn allowed(&self, name: &str, shape: &[usize]) -> Result<()> {
        self.loader.allowed(name, shape)
    }

    /// A matrix with the scales that one of 4-bit weights has beside it.
    fn matrix(&self, base: &str, shape: &[usize]) -> Result<()> {
        self.needed(&format!("{base}.weight"), shape)?;
        self.scales(base)
    }

    fn scales(&self, base: &str) -> Result<()> {
        self.allowed(&format!("{base}.scale"), &[1])?;
        self.allowed(&format!("{base}.input_scale"), &[1])
    }

    /// Hyper-connections of `streams` around both halves of a layer.
    pub(super) fn connections(&self, layer: usize, hidden: usize, streams: usize) -> Result<()> {
        let wide = streams.saturating_mul(hidden);
        // For what goes in, for what comes out, and for the mixture of streams.
        let (mixed, scales) = (streams.saturating_add(2).saturating_mul(streams), 3);
        for part in ["attn", "ffn"] {
            let name = |name: &str| format!("blk.{layer}.hc_{part}_{name}.weight");
            self.needed(&name("fn"), &[wide, mixed])?;
            self.needed(&name("base"), &[mixed])?;
            self.needed(&name("scale"), &[scales])?;
        }
        Ok(())
    }

    /// The hyper-connection that makes one stream of all.
    pub(super) fn connections_at_the_end(&self, hidden: usize, streams: usize) -> Result<()> {
        self.needed("output_hc_fn.weight", &[streams.saturating_mul(hidden), streams])?;
        self.needed("output_hc_base.weight", &[streams])?;
        self.needed("output_hc_scale.weight", &[1])
    }

    /// Notes a tensor that has not as many elements as one of this shape.
    fn same_size(&self, name: &str, shape: &[usize]) -> Result<()> {
        let elements = shape.iter().fold(1usize, |n, &d| n.saturating_mul(d));
        match self.declared.tensors().find(|t| t.name == name) {
            Some(tensor) if tensor.elements() != elements as u64 => {
                self.declared.note(Shortfall::shape(name, &tensor.shape, shape))
            }
            _ => Ok(()),
        }
    }

    /// Notes that a key is not as expected.
    pub(super) fn wrong_key(&self, suffix: &str, expected: &str) -> Result<()> {
        let metadata = self.declared.metadata;
        let key = format!("{}.{suffix}", metadata.architecture());
        self.declared
            .note(Shortfall::key(&key, metadata.get(&key), expected))
    }

    /// A size that a key gives for a layer. Of 0 it would go with any.
    pub(super) fn size(&self, suffix: &str, layer: usize) -> Result<usize> {
        let sizes = self.keys().optional_per_layer(suffix, self.keys().blocks()?)?;
        let size = sizes.map_or(0, |sizes| sizes.get(layer));
        if size == 0 {
            self.wrong_key(suffix, "at least 1")?;
        }
        Ok(size)
    }

    /// Tokens of the vocabulary: that of the target.
    pub(super) fn tokens(&self) -> usize {
        tokens(self.declared.metadata)
    }

    /// Tokens that the draft's head has: those that its table of ids lists, or all.
    fn own_tokens(&self) -> Result<usize> {
        let table = self.declared.ending("d2t").next();
        let Some(table) = table else {
            return Ok(self.tokens());
        };
        let count = usize::try_from(table.row_len()).unwrap_or(usize::MAX);
        self.allowed("d2t", &[count])?;
        Ok(count)
    }

    /// Layers of the target whose states are read.
    fn target_layers(&self, expected: Option<usize>) -> Result<usize> {
        let value = self.declared.metadata.arch("target_layers");
        let count = match value {
            Some(Value::Array(a @ (Array::I32(_) | Array::U32(_)))) => a.len(),
            _ => {
                self.wrong_key("target_layers", "a list of the target's layers (i32)")?;
                return Ok(ANY);
            }
        };
        match expected.filter(|&n| n != count) {
            Some(n) => {
                self.wrong_key("target_layers", &format!("{n} of the target's layers"))?;
                Ok(ANY)
            }
            None => Ok(count),
        }
    }

    /// Sizes of a layer, which may see a window, and may have experts alone.
    fn layer(&self, number: usize, slides: bool, is_dense: bool) -> Result<Layer> {
        let keys = self.keys();
        let blocks = keys.blocks()?;
        let hidden = keys.count("embedding_length")?;
        let of = |suffix: &str| {
            let count = keys.optional_per_layer(suffix, blocks)?;
            Ok::<_, crate::Error>(count.map(|count| count.get(number)))
        };
        let heads = of("attention.head_count")?.unwrap_or(0);
        let head = hidden / heads.max(1);
        let len = |key: &str| {
            let whole = keys
                .optional_count(&format!("attention.{key}_length"))?
                .unwrap_or(head);
            match slides {
                true => Ok(keys
                    .optional_count(&format!("attention.{key}_length_swa"))?
                    .unwrap_or(whole)),
                false => Ok::<_, crate::Error>(whole),
            }
        };
        let layer = Layer {
            hidden,
            heads,
            groups: of("attention.head_count_kv")?.unwrap_or(heads),
            key: len("key")?,
            value: len("value")?,
            inner: of("feed_forward_length")?.unwrap_or(0),
        };
        // A size of 0 would go with any.
        for (size, key) in [
            (layer.heads, "attention.head_count"),
            (layer.groups, "attention.head_count_kv"),
            (layer.key, "attention.key_length"),
            (layer.value, "attention.value_length"),
            (layer.inner, "feed_forward_length"),
        ] {
            if size == 0 && (is_dense || key != "feed_forward_length") {
                self.wrong_key(key, "at least 1")?;
            }
        }
        Ok(layer)
    }

    /// Gates, what they gate, and back.
    fn feed_forward(&self, at: &str, layer: &Layer) -> Result<()> {
        self.needed(&format!("{at}ffn_norm.weight"), &[layer.hidden])?;
        self.matrix(&format!("{at}ffn_gate"), &[layer.hidden, layer.inner])?;
        self.matrix(&format!("{at}ffn_up"), &[layer.hidden, layer.inner])?;
        self.matrix(&format!("{at}ffn_down"), &[layer.inner, layer.hidden])
    }

    fn eagle3(&self) -> Result<()> {
        self.target_layers(Some(EAGLE3_LAYERS))?;
        Eagle3::build(self.loader).map(drop)
    }

    /// A block of tokens at a time, with DSpark's head or DFlash 2's selector where they are there.
    fn dflash(&self) -> Result<()> {
        let keys = self.keys();
        keys.float("attention.layer_norm_rms_epsilon")?;
        for key in [
            "embedding_scale",
            "attention.scale",
            "attention.value_scale",
            "logit_scale",
            "final_logit_softcapping",
        ] {
            keys.optional_float(key)?;
        }
        if let Some(name) = keys.optional_str("hidden_activation")?
            && !DFLASH_ACTIVATIONS.contains(&name)
        {
            self.wrong_key("hidden_activation", "silu, gelu or gelu_pytorch_tanh")?;
        }
        let blocks = keys.blocks()?;
        let streams = keys.optional_count("hyper_connection.count")?.unwrap_or(0);
        let window = keys.optional_count("attention.sliding_window")?.unwrap_or(0);
        let mut slides = streams > 0;
        if streams == 0 && window > 0 {
            match keys.optional_flags("attention.sliding_window_pattern", blocks)? {
                Some(pattern) => slides = pattern.first() == Some(&true),
                None => self.wrong_key(
                    "attention.sliding_window_pattern",
                    "a flag for each layer beside attention.sliding_window",
                )?,
            }
        }
        let layers = self.target_layers(None)?;
        let layer = self.layer(0, slides, streams == 0)?;
        let (hidden, tokens, own) = (layer.hidden, self.tokens(), self.own_tokens()?);
        self.allowed("token_embd.weight", &[hidden, tokens])?;
        self.markov(hidden, tokens, own)?;
        let kernel = self.selector(hidden, tokens)?;
        // The target is as wide as its draft.
        self.needed("fc.weight", &[layers.saturating_mul(hidden), hidden])?;
        self.allowed("fc.scale", &[1])?;
        self.needed("enc.output_norm.weight", &[hidden])?;
        self.needed("output_norm.weight", &[hidden])?;
        self.allowed("output.weight", &[hidden, own])?;
        if !self.loader.has("output.weight") {
            // The embeddings are the head.
            self.allowed("token_embd.weight", &[hidden, own])?;
        }
        if streams > 0 {
            return self.hyper_connected(&layer, blocks, streams);
        }
        self.allowed("rope_freqs.weight", &[layer.key / 2])?;
        for number in 0..blocks {
            let at = format!("blk.{number}.");
            let name = |name: &str| format!("{at}{name}.weight");
            self.needed(&name("attn_norm"), &[hidden])?;
            self.matrix(&format!("{at}attn_q"), &[hidden, layer.queries()])?;
            self.matrix(
                &format!("{at}attn_k"),
                &[hidden, layer.groups.saturating_mul(layer.key)],
            )?;
            self.allowed(
                &name("attn_v"),
                &[hidden, layer.groups.saturating_mul(layer.value)],
            )?;
            self.scales(&format!("{at}attn_v"))?;
            self.matrix(&format!("{at}attn_output"), &[layer.queries(), hidden])?;
            self.needed(&name("attn_q_norm"), &[layer.key])?;
            self.needed(&name("attn_k_norm"), &[layer.key])?;
            self.allowed(&name("post_attention_norm"), &[hidden])?;
            self.allowed(&name("post_ffw_norm"), &[hidden])?;
            self.allowed(&name("layer_output_scale"), &[1])?;
            self.allowed(&name("attn_sinks"), &[layer.heads])?;
            self.feed_forward(&at, &layer)?;
            if let Some((kernel, groups)) = kernel {
                let projected = kernel.saturating_mul(groups).saturating_mul(2);
                for part in ["attn", "ffn"] {
                    self.needed(&format!("{at}{part}_conv_base"), &[hidden, kernel, 2])?;
                    self.needed(&name(&format!("{part}_conv_proj")), &[hidden, projected])?;
                }
            }
        }
        Ok(())
    }

    /// DSpark's head, which sees the token before.
    fn markov(&self, hidden: usize, tokens: usize, own: usize) -> Result<()> {
        let Some(first) = self.declared.ending("markov_w1.weight").next() else {
            return Ok(());
        };
        let rank = usize::try_from(first.row_len()).unwrap_or(usize::MAX);
        self.needed("markov_w1.weight", &[rank, tokens])?;
        self.needed("markov_w2.weight", &[rank, own])?;
        self.allowed("markov_w2.scale", &[1])?;
        self.allowed("conf_proj.weight", &[hidden.saturating_add(rank), 1])?;
        self.allowed("conf_proj.bias", &[1])
    }

    /// DFlash 2's selector of candidates. Where there is one, the width and the groups of the layers' convolutions.
    fn selector(&self, hidden: usize, tokens: usize) -> Result<Option<(usize, usize)>> {
        let numbers = [
            "block_size",
            "conv_kernel_size",
            "conv_group_size",
            "selector_rank",
            "selector_top_k",
        ];
        let keys = self.keys();
        for key in numbers {
            keys.optional_count(key)?;
        }
        if !self.loader.has("selector_hidden.weight") {
            return Ok(None);
        }
        for key in numbers {
            keys.count(key)?;
        }
        let (group, top) = (keys.count("conv_group_size")?, keys.count("selector_top_k")?);
        if !hidden.is_multiple_of(group) {
            self.wrong_key(
                "conv_group_size",
                &format!("a divisor of the {hidden} of embedding_length"),
            )?;
        }
        if hidden < top.saturating_mul(top.saturating_add(1)) {
            self.wrong_key(
                "selector_top_k",
                &format!("n with n (n + 1) at most the {hidden} of embedding_length"),
            )?;
        }
        let rank = keys.count("selector_rank")?;
        self.needed("selector_predecessor.weight", &[rank, tokens])?;
        self.needed("selector_successor.weight", &[rank, tokens])?;
        self.needed("selector_hidden.weight", &[hidden, rank])?;
        Ok(Some((keys.count("conv_kernel_size")?, hidden / group)))
    }

    /// Layers of DeepSeek-V4, with several streams.
    fn hyper_connected(&self, layer: &Layer, blocks: usize, streams: usize) -> Result<()> {
        let keys = self.keys();
        let rank = keys.count("attention.q_lora_rank")?;
        keys.count("attention.sliding_window")?;
        let inner = self.size("expert_feed_forward_length", 0)?;
        let shared = keys.count("expert_shared_count")?.saturating_mul(inner);
        keys.float("expert_weights_scale")?;
        if keys.optional_flag("expert_weights_norm")?.is_none() {
            return Err(keys.missing("expert_weights_norm"));
        }
        if keys.count("expert_gating_func")? != SQRT_SOFTPLUS {
            self.wrong_key("expert_gating_func", "4, the square root of softplus")?;
        }
        keys.floats("swiglu_clamp_exp", blocks)?;
        keys.optional_floats("swiglu_clamp_shexp", blocks)?;
        let groups = keys.count("attention.output_group_count")?;
        let output_rank = keys.count("attention.output_lora_rank")?;
        keys.count("hyper_connection.sinkhorn_iterations")?;
        keys.float("hyper_connection.epsilon")?;
        let uncompressed = match self.declared.metadata.arch("attention.compress_ratios") {
            None => true,
            Some(Value::Array(Array::I32(all))) => all.iter().all(|&n| n == 0),
            Some(Value::Array(Array::U32(all))) => all.iter().all(|&n| n == 0),
            Some(_) => false,
        };
        if !uncompressed {
            self.wrong_key("attention.compress_ratios", "0 for every layer (i32)")?;
        }
        let (hidden, experts) = (layer.hidden, keys.count("expert_count")?);
        self.connections_at_the_end(hidden, streams)?;
        for number in 0..blocks {
            let name = |name: &str| format!("blk.{number}.{name}.weight");
            self.needed(&name("attn_norm"), &[hidden])?;
            self.needed(&name("attn_sinks"), &[layer.heads])?;
            self.needed(&name("attn_q_a"), &[hidden, rank])?;
            self.needed(&name("attn_q_a_norm"), &[rank])?;
            self.needed(&name("attn_q_b"), &[rank, layer.queries()])?;
            self.needed(&name("attn_kv"), &[hidden, layer.key])?;
            self.needed(&name("attn_kv_a_norm"), &[layer.key])?;
            // In as many dimensions as the writer likes.
            self.needed(&name("attn_output_a"), &[ANY, ANY, ANY])?;
            self.same_size(
                &name("attn_output_a"),
                &[layer.queries() / groups, output_rank, groups],
            )?;
            self.needed(
                &name("attn_output_b"),
                &[groups.saturating_mul(output_rank), hidden],
            )?;
            self.connections(number, hidden, streams)?;
            self.needed(&name("ffn_gate_inp"), &[hidden, experts])?;
            self.needed(&format!("blk.{number}.exp_probs_b.bias"), &[experts])?;
            self.needed(&name("ffn_norm"), &[hidden])?;
            self.scaled_experts(number, "exps", hidden, inner, Some(experts))?;
            self.scaled_experts(number, "shexp", hidden, shared, None)?;
        }
        Ok(())
    }

    /// Matrices of `count` experts, or of those that every token passes, with their scales.
    fn scaled_experts(
        &self,
        layer: usize,
        kind: &str,
        hidden: usize,
        width: usize,
        count: Option<usize>,
    ) -> Result<()> {
        for (part, inputs, outputs) in [
            ("gate", hidden, width),
            ("up", hidden, width),
            ("down", width, hidden),
        ] {
            let base = format!("blk.{layer}.ffn_{part}_{kind}");
            let mut shape = vec![inputs, outputs];
            shape.extend(count);
            self.needed(&format!("{base}.weight"), &shape)?;
            for scale in ["scale", "input_scale"] {
                self.allowed(&format!("{base}.{scale}"), &[count.unwrap_or(1)])?;
            }
        }
        Ok(())
    }

    /// Layers without keys and values, which are the target's, between two projections.
    fn gemma4_assistant(&self) -> Result<()> {
        let keys = self.keys();
        keys.float("attention.layer_norm_rms_epsilon")?;
        let blocks = keys.blocks()?;
        let predicting = keys.optional_count("nextn_predict_layers")?.unwrap_or(0);
        for key in ["attention.key_length_swa", "attention.value_length_swa"] {
            if keys.optional_count(key)?.is_none() {
                self.wrong_key(key, "a value")?;
            }
        }
        if keys.optional_count("attention.sliding_window")?.is_none() {
            self.wrong_key("attention.sliding_window", "a value")?;
        }
        keys.optional_count("attention.shared_kv_layers")?;
        let pattern = keys.optional_flags("attention.sliding_window_pattern", blocks)?;
        if pattern.is_none() {
            self.wrong_key("attention.sliding_window_pattern", "a flag for each layer")?;
        }
        let slides = |number: usize| pattern.as_ref().is_some_and(|p| p.get(number) == Some(&true));
        for (swa, end) in [(false, ""), (true, "_swa")] {
            let layer = self.layer(0, swa, true)?;
            if layer.key != layer.value {
                let key = format!("attention.value_length{end}");
                self.wrong_key(&key, &format!("the {} of attention.key_length{end}", layer.key))?;
            }
        }
        let hidden = keys.count("embedding_length")?;
        let target = keys.optional_count("embedding_length_out")?.filter(|&n| n > 0);
        let target = target.unwrap_or(hidden);
        if target == hidden {
            self.wrong_key(
                "embedding_length_out",
                "the width of the target, which is another than embedding_length",
            )?;
        }
        self.needed("token_embd.weight", &[hidden, self.tokens()])?;
        self.needed("output_norm.weight", &[hidden])?;
        self.allowed("masked_embd_centroids.weight", &[1])?;
        self.allowed("masked_embd_ordering", &[1])?;
        self.needed("nextn.post_projection.weight", &[hidden, target])?;
        if predicting > 0 {
            self.needed("nextn.pre_projection.weight", &[target.saturating_mul(2), hidden])?;
        }
        let mut has_rotation = false;
        for number in 0..predicting {
            let layer = self.layer(number, slides(number), true)?;
            let at = format!("blk.{number}.");
            let name = |name: &str| format!("{at}{name}.weight");
            for norm in ["attn_norm", "post_attention_norm", "post_ffw_norm"] {
                self.needed(&name(norm), &[hidden])?;
            }
            self.matrix(&format!("{at}attn_q"), &[hidden, layer.queries()])?;
            self.matrix(&format!("{at}attn_output"), &[layer.queries(), hidden])?;
            self.needed(&name("attn_q_norm"), &[layer.key])?;
            self.needed(&name("layer_output_scale"), &[1])?;
            if !slides(number) && !std::mem::replace(&mut has_rotation, true) {
                self.needed("rope_freqs.weight", &[layer.key / 2])?;
            }
            self.feed_forward(&at, &layer)?;
        }
        Ok(())
    }
}

/// Tokens of a vocabulary; of one that is left out, as many as a key says.
fn tokens(metadata: &Metadata) -> usize {
    let size = match metadata.get_str("tokenizer.ggml.model") {
        Some("none" | "no_vocab") => metadata.arch("vocab_size").and_then(Value::as_u64),
        _ => match metadata.get("tokenizer.ggml.tokens") {
            Some(Value::Array(Array::String(tokens))) => Some(tokens.len() as u64),
            _ => None,
        },
    };
    size.and_then(|n| usize::try_from(n).ok()).unwrap_or(ANY)
}
