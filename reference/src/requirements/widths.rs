//! Sizes that llama.cpp's loader takes from a key and the graphs from the tensor itself: the two have to agree.

use gguf::{Array, TensorType, Value};

use super::Shortfall;
use crate::Result;
use crate::weights::{ANY, Declared};

/// The number under a key; `None` where there is none, or one for each layer.
type Number<'a> = &'a dyn Fn(&str) -> Option<u64>;

/// Rule for a dimension of the tensors of a name. The function gives `None` where nothing is known.
struct Width {
    /// Architectures, divided by blanks.
    of: &'static str,
    tensor: &'static str,
    dimension: usize,
    size: fn(Number<'_>) -> Option<u64>,
}

/// A width that is a key's number.
const fn width(
    of: &'static str,
    tensor: &'static str,
    dimension: usize,
    size: fn(Number<'_>) -> Option<u64>,
) -> Width {
    Width {
        of,
        tensor,
        dimension,
        size,
    }
}

/// A key's number, where it has one that is not zero.
fn positive(n: Number<'_>, key: &str) -> Option<u64> {
    n(key).filter(|&number| number > 0)
}

/// `expert_feed_forward_length`, or `feed_forward_length` shared out among the experts that are used.
fn expert(n: Number<'_>) -> Option<u64> {
    match positive(n, "expert_feed_forward_length") {
        Some(width) => Some(width),
        None => n("feed_forward_length")
            .unwrap_or(0)
            .checked_div(n("expert_used_count")?),
    }
}

/// `expert_shared_feed_forward_length`, or as wide as one expert.
fn shared(n: Number<'_>) -> Option<u64> {
    let own = positive(n, "expert_shared_feed_forward_length");
    own.or_else(|| n("expert_feed_forward_length"))
}

/// `expert_feed_forward_length`, or as wide as a dense layer.
fn expert_or_dense(n: Number<'_>) -> Option<u64> {
    let own = positive(n, "expert_feed_forward_length");
    own.or_else(|| Some(n("feed_forward_length").unwrap_or(0)))
}

/// Rows of all queries.
fn queries(n: Number<'_>) -> Option<u64> {
    let heads = positive(n, "attention.head_count")?;
    let head = n("attention.key_length").or_else(|| Some(n("embedding_length")? / heads))?;
    heads.checked_mul(head)
}

const WIDTHS: &[Width] = &[
    width("minimax-m3", "ffn_up_shexp.weight", 1, |n| {
        n("expert_feed_forward_length")?.checked_mul(n("expert_shared_count").unwrap_or(0))
    }),
    width("bailingmoe3", "ffn_up_shexp.weight", 1, |n| {
        let own = positive(n, "expert_shared_feed_forward_length");
        let count = n("expert_shared_count").unwrap_or(0).max(1);
        own.or_else(|| n("expert_feed_forward_length")?.checked_mul(count))
    }),
    width("arctic dbrx minimax-01", "ffn_up_exps.weight", 1, |n| {
        Some(n("feed_forward_length").unwrap_or(0))
    }),
    // Of layers without experts, whose width the configuration has apart.
    width("granitehybrid", "ffn_up.weight", 1, |n| n("feed_forward_length")),
    // Heads of values are as long as those of keys.
    width("qwen35 qwen35moe qwen3next", "ssm_norm.weight", 0, |n| {
        n("ssm.state_size")
    }),
    width("granite_swa", "ffn_down_exps.weight", 0, |n| {
        n("feed_forward_length")
    }),
    width("afmoe", "ffn_up_exps.weight", 1, |n| {
        n("expert_feed_forward_length")
    }),
    width("afmoe", "ffn_up_shexp.weight", 1, |n| {
        n("expert_feed_forward_length")?.checked_mul(n("expert_shared_count").unwrap_or(0))
    }),
    width("cohere2moe grok", "ffn_up_exps.weight", 1, expert_or_dense),
    width("cohere2moe", "ffn_up_shexp.weight", 1, |n| {
        match n("expert_shared_count").unwrap_or(0) {
            0 => Some(0),
            count => {
                let own = positive(n, "expert_shared_feed_forward_length");
                own.or_else(|| expert_or_dense(n)?.checked_mul(count))
            }
        }
    }),
    // Gates and the rest are one matrix.
    width("granite_swa", "ffn_up_shexp.weight", 1, |n| {
        n("expert_shared_feed_forward_length").unwrap_or(0).checked_mul(2)
    }),
    width("grovemoe hy_v3 mellum", "ffn_up_exps.weight", 1, expert),
    width("hy_v3", "ffn_up_shexp.weight", 1, shared),
    width("maple", "ffn_up_exps.weight", 1, |n| {
        n("expert_feed_forward_length")
    }),
    // Its file says how wide all shared experts are together.
    width("ernie4_5-moe", "ffn_up_shexp.weight", 1, |n| {
        Some(n("expert_shared_feed_forward_length").unwrap_or(0))
    }),
    // As many keys and values as queries, however many heads of them are counted.
    width("dots1", "attn_k.weight", 1, queries),
    width("dots1", "attn_v.weight", 1, queries),
    width("smallthinker", "ffn_up_exps.weight", 1, |n| {
        Some(n("expert_feed_forward_length").unwrap_or(0))
    }),
    width("step35", "ffn_up_shexp.weight", 1, |n| {
        Some(n("expert_shared_feed_forward_length").unwrap_or(0))
    }),
    width("laguna", "ffn_up_shexp.weight", 1, |n| {
        let own = positive(n, "expert_shared_feed_forward_length");
        let count = n("expert_shared_count").unwrap_or(1);
        own.or_else(|| n("expert_feed_forward_length")?.checked_mul(count))
    }),
    width(
        "granitehybrid granitemoe hunyuan-moe minimax-m2 olmoe phimoe",
        "ffn_up_exps.weight",
        1,
        |n| n("feed_forward_length"),
    ),
    width(
        "llada-moe nemotron_h_moe qwen35moe qwen3next rnd1",
        "ffn_up_exps.weight",
        1,
        expert,
    ),
    width(
        "bailingmoe bailingmoe2 bailingmoe3 deepseek deepseek2 deepseek2-ocr deepseek32 dots1 dots3note ernie4_5-moe exaone-moe \
         glm-dsa glm4moe gpt-oss kimi-linear laguna lfm2moe llama4 mimo2 step35",
        "ffn_up_exps.weight",
        1,
        |n| n("expert_feed_forward_length"),
    ),
    width(
        "bailingmoe deepseek deepseek2 deepseek2-ocr deepseek32 dots1 dots3note glm-dsa glm4moe kimi-linear",
        "ffn_up_shexp.weight",
        1,
        |n| n("expert_feed_forward_length")?.checked_mul(n("expert_shared_count")?),
    ),
    width("bailingmoe2", "ffn_up_shexp.weight", 1, |n| {
        shared(n)?.checked_mul(n("expert_shared_count")?)
    }),
    width("exaone-moe", "ffn_up_shexp.weight", 1, shared),
    width(
        "granitehybrid granitemoe nemotron_h_moe",
        "ffn_up_shexp.weight",
        1,
        |n| n("expert_shared_feed_forward_length"),
    ),
    width("hunyuan-moe qwen35moe", "ffn_up_shexp.weight", 1, |n| {
        match n("expert_shared_feed_forward_length")? {
            0 => n("feed_forward_length"),
            width => Some(width),
        }
    }),
    width("qwen3next", "ffn_up_shexp.weight", 1, |n| {
        let own = positive(n, "expert_shared_feed_forward_length");
        own.or_else(|| n("feed_forward_length"))
    }),
    width("nemotron_h_moe", "ffn_latent_down.weight", 1, |n| {
        n("moe_latent_size")
    }),
    width("rwkv6", "time_mix_w1.weight", 1, |n| {
        n("time_mix_extra_dim")?.checked_mul(5)
    }),
    width("rwkv6", "time_mix_decay_w1.weight", 1, |n| {
        n("time_decay_extra_dim")
    }),
    width("arwkv7 rwkv7", "time_mix_w1.weight", 1, |n| {
        n("attention.decay_lora_rank")
    }),
    width("arwkv7 rwkv7", "time_mix_a1.weight", 1, |n| {
        n("attention.iclr_lora_rank")
    }),
    // Where there is no such key, no gates are looked for.
    width("arwkv7 rwkv7", "time_mix_g1.weight", 1, |n| {
        Some(n("attention.gate_lora_rank").unwrap_or(0))
    }),
];

/// Architectures whose layers from `leading_dense_block_count` on have experts, and no others.
const DENSE_FIRST: &str = "afmoe bailingmoe2 bailingmoe3 cohere2moe deepseek deepseek2 deepseek2-ocr deepseek32 dots1 dots3note ernie4_5-moe \
                           exaone-moe glm-dsa glm4moe kimi-linear laguna lfm2moe";

/// Of these, those whose loader in llama.cpp compares the count as a number without a sign; the others take one above 2^31
/// for a negative one.
const DENSE_FIRST_UNSIGNED: &str = "afmoe bailingmoe2 cohere2moe ernie4_5-moe glm4moe laguna";

/// Notes where keys and tensors disagree.
pub(super) fn check(declared: &Declared<'_>) -> Result<()> {
    let model = Model(declared);
    model.widths()?;
    model.ranks_of_mixed_values()?;
    let predicting = model.number("nextn_predict_layers").unwrap_or(0);
    let blocks = model.number("block_count").unwrap_or(0);
    let blocks = blocks.saturating_sub(predicting);
    if model.is_of(DENSE_FIRST) {
        let counts = |&n: &u64| model.is_of(DENSE_FIRST_UNSIGNED) || n <= i32::MAX as u64;
        let first = model.number("leading_dense_block_count").filter(counts);
        dense_first(declared, first.unwrap_or(0), blocks)?;
    }
    match model.name() {
        "llama4" => model.every_so_many_layers()?,
        "command-r" => norms_of_command_r(declared, blocks)?,
        "deepseek2" => queries_of_deepseek2(declared, blocks)?,
        _ => {}
    }
    model.values()?;
    model.rotation()?;
    per_token(declared)?;
    labels(declared)
}

/// A model as it is declared.
struct Model<'a, 'd>(&'a Declared<'d>);

impl Model<'_, '_> {
    fn name(&self) -> &str {
        self.0.metadata.architecture()
    }

    /// Whether it is of one of these architectures, divided by blanks.
    fn is_of(&self, list: &str) -> bool {
        list.split_whitespace().any(|of| of == self.name())
    }

    fn number(&self, suffix: &str) -> Option<u64> {
        match self.0.metadata.arch(suffix) {
            Some(Value::U32(n)) => Some(u64::from(*n)),
            _ => None,
        }
    }

    /// Notes that a key holds something else.
    fn wrong(&self, suffix: &str, expected: &str) -> Result<()> {
        let key = format!("{}.{suffix}", self.name());
        let found = self.0.metadata.get(&key);
        self.0.note(Shortfall::key(&key, found, expected))
    }

    /// The rows of `WIDTHS`.
    fn widths(&self) -> Result<()> {
        let number = |suffix: &str| self.number(suffix);
        for width in WIDTHS.iter().filter(|w| self.is_of(w.of)) {
            let Some(size) = (width.size)(&number) else {
                continue;
            };
            for tensor in self.0.ending(width.tensor) {
                if tensor.shape.get(width.dimension).copied().unwrap_or(1) != size {
                    let mut expected: Vec<usize> = tensor.shape.iter().map(|&d| d as usize).collect();
                    if let Some(dimension) = expected.get_mut(width.dimension) {
                        *dimension = usize::try_from(size).unwrap_or(usize::MAX);
                    }
                    self.0
                        .note(Shortfall::shape(&tensor.name, &tensor.shape, &expected))?;
                }
            }
        }
        Ok(())
    }

    /// RWKV 7's mix of values. The first layer's tensors are of another rank, and not used.
    fn ranks_of_mixed_values(&self) -> Result<()> {
        if !self.is_of("arwkv7 rwkv7") {
            return Ok(());
        }
        let rank = self.number("attention.value_residual_mix_lora_rank").unwrap_or(0);
        let all = self.0.ending("time_mix_v1.weight");
        for tensor in all.filter(|t| !t.name.starts_with("blk.0.")) {
            if tensor.shape.get(1) != Some(&rank) {
                let expected = [tensor.row_len() as usize, rank as usize];
                self.0
                    .note(Shortfall::shape(&tensor.name, &tensor.shape, &expected))?;
            }
        }
        Ok(())
    }

    /// Experts in every so many layers, and in no others.
    fn every_so_many_layers(&self) -> Result<()> {
        let Some(step) = self.number("interleave_moe_layer_step") else {
            return Ok(());
        };
        let is_mixed = |layer: u64| step > 0 && (layer + 1).is_multiple_of(step);
        let wrong = self
            .0
            .ending("ffn_gate_inp.weight")
            .find(|t| layer_of(&t.name).is_some_and(|layer| !is_mixed(layer)))
            .or_else(|| {
                let mut dense = self.0.ending("ffn_up.weight");
                dense.find(|t| layer_of(&t.name).is_some_and(is_mixed))
            });
        match wrong {
            Some(tensor) => self.wrong(
                "interleave_moe_layer_step",
                &format!("a step that agrees with '{}'", tensor.name),
            ),
            None => Ok(()),
        }
    }

    /// Values without which llama.cpp's graphs are not those of the model.
    fn values(&self) -> Result<()> {
        let arch = |suffix: &str| self.0.metadata.arch(suffix);
        if self.name() == "bailingmoe3" {
            if !matches!(arch("kda.gate_lower_bound"), Some(Value::F32(x)) if *x < 0.0) {
                self.wrong("kda.gate_lower_bound", "less than 0")?;
            }
            if !matches!(arch("kda.safe_gate"), Some(Value::Bool(true))) {
                self.wrong("kda.safe_gate", "true")?;
            }
        }
        if self.name() == "nanbeige" && self.number("num_loops") == Some(0) {
            self.wrong("num_loops", "at least 1")?;
        }
        Ok(())
    }

    /// Factors of a rotation, and what they are for.
    fn rotation(&self) -> Result<()> {
        let factors = [
            "rope_freqs.weight",
            "rope_factors_long.weight",
            "rope_factors_short.weight",
        ];
        let turns = factors[..2]
            .iter()
            .any(|factors| self.0.ending(factors).next().is_some())
            || self.is_of("bailingmoe");
        if turns && self.number("rope.dimension_count") == Some(0) {
            self.wrong("rope.dimension_count", "at least 2")?;
        }
        for factors in factors {
            for tensor in self.0.ending(factors).filter(|t| t.ty != TensorType::F32) {
                self.0.note(Shortfall::factors(&tensor.name, tensor.ty))?;
            }
        }
        Ok(())
    }
}

/// A row for each token of the vocabulary, and of each type of tokens.
fn per_token(declared: &Declared<'_>) -> Result<()> {
    let metadata = declared.metadata;
    let tokens = match metadata.get("tokenizer.ggml.tokens") {
        Some(Value::Array(tokens)) => Some(tokens.len() as u64),
        _ => None,
    };
    let types = metadata.get_u64("tokenizer.ggml.token_type_count");
    let rows = match metadata.architecture() {
        "gemma3n" => ("per_layer_token_embd.weight", tokens),
        "jina-bert-v2" => ("token_types.weight", types),
        _ => return Ok(()),
    };
    let (name, Some(rows)) = rows else { return Ok(()) };
    for tensor in declared.ending(name).filter(|t| t.rows() != rows) {
        let expected = [tensor.row_len() as usize, rows as usize];
        declared.note(Shortfall::shape(&tensor.name, &tensor.shape, &expected))?;
    }
    Ok(())
}

/// The layer in a tensor's name.
fn layer_of(name: &str) -> Option<u64> {
    name.strip_prefix("blk.")?.split('.').next()?.parse().ok()
}

/// Layers of the one size of Command R whose heads have norms, as llama.cpp has it.
const COMMAND_R_WITH_NORMS: u64 = 64;

/// Layers of the sizes of DeepSeek 2 whose queries are not compressed, as llama.cpp has it; of the last, with this many
/// tokens.
const PLAIN_QUERIES: [u64; 2] = [26, 27];
const PLAIN_QUERIES_OF_TOKENS: (u64, usize) = (48, 128_256);

/// Queries are compressed but in certain sizes.
fn queries_of_deepseek2(declared: &Declared<'_>, blocks: u64) -> Result<()> {
    let metadata = declared.metadata;
    let tokens = match metadata.get("tokenizer.ggml.tokens") {
        Some(Value::Array(tokens)) => tokens.len(),
        _ => 0,
    };
    let tokens = match metadata.arch("vocab_size") {
        Some(Value::U32(n)) => *n as usize,
        _ => tokens,
    };
    if PLAIN_QUERIES.contains(&blocks)
        || (blocks, tokens) == PLAIN_QUERIES_OF_TOKENS
        || metadata.arch("attention.q_lora_rank").is_some()
    {
        return Ok(());
    }
    let expected = format!("a value, as llama.cpp has it in a model of {blocks} layers");
    declared.note(Shortfall::size("deepseek2.attention.q_lora_rank", &expected))
}

/// Norms of heads are those of the large size.
fn norms_of_command_r(declared: &Declared<'_>, blocks: u64) -> Result<()> {
    for name in ["attn_q_norm.weight", "attn_k_norm.weight"] {
        let mut norms = declared.ending(name);
        match norms.next() {
            Some(norm) if blocks < COMMAND_R_WITH_NORMS => declared.note(Shortfall::not_asked_for(norm))?,
            None if blocks >= COMMAND_R_WITH_NORMS => {
                declared.note(Shortfall::missing_tensor(&format!("blk.0.{name}"), &[ANY, ANY]))?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// Of the first `blocks` layers, those with a router are those from `first` on.
fn dense_first(declared: &Declared<'_>, first: u64, blocks: u64) -> Result<()> {
    let key = format!("{}.leading_dense_block_count", declared.metadata.architecture());
    let wrong = declared
        .ending("ffn_gate_inp.weight")
        .find(|t| layer_of(&t.name).is_some_and(|layer| layer < first))
        .map(|t| {
            format!(
                "no more than the layers before '{}', the first with experts",
                t.name
            )
        })
        .or_else(|| {
            let mut dense = declared.ending("ffn_up.weight");
            let dense = dense.find(|t| layer_of(&t.name).is_some_and(|n| (first..blocks).contains(&n)))?;
            Some(format!(
                "all layers to that of '{}', which has no experts",
                dense.name
            ))
        });
    match wrong {
        Some(expected) => declared.note(Shortfall::key(&key, declared.metadata.get(&key), &expected)),
        None => Ok(()),
    }
}

/// An encoder's labels, and its types of tokens.
fn labels(declared: &Declared<'_>) -> Result<()> {
    let metadata = declared.metadata;
    let labels = match metadata.arch("classifier.output_labels") {
        Some(Value::Array(Array::String(labels))) => labels.len().max(1),
        Some(other) => {
            let key = format!("{}.classifier.output_labels", metadata.architecture());
            return declared.note(Shortfall::key(&key, Some(other), "a list of texts"));
        }
        None => 1,
    };
    for tensor in declared.ending("cls.output.weight") {
        if tensor.rows() != labels as u64 {
            let key = format!("{}.classifier.output_labels", metadata.architecture());
            let expected = format!(
                "a label for each of the {} rows of cls.output.weight",
                tensor.rows()
            );
            declared.note(Shortfall::key(&key, metadata.get(&key), &expected))?;
        }
    }
    for tensor in declared.ending("cls.output.bias") {
        if tensor.elements() != labels as u64 {
            declared.note(Shortfall::shape(&tensor.name, &tensor.shape, &[labels]))?;
        }
    }
    let key = "tokenizer.ggml.token_type_count";
    if ["bert", "nomic-bert"].contains(&metadata.architecture()) && metadata.get_u64(key) == Some(0) {
        declared.note(Shortfall::key(key, metadata.get(key), "at least 1"))?;
    }
    Ok(())
}
