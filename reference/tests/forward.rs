//! The forward pass against transformers' logits on tiny random models, and models that cannot be run.
//!
//! `oracle/py/forward_fixtures.py` makes the fixtures.

use std::path::{Path, PathBuf};

use gguf::{FilePlan, GgufModel, Metadata, Value, Writer};
use quantsmith_reference::{Logits, LogitsSink, Model, PerplexityOptions, Tap, perplexity};

use crate::backward::weights;

const VOCABULARY: usize = 48;

fn tokens() -> Vec<u32> {
    (0..24)
        .map(|i| (i * 29 + i * i * 7) % VOCABULARY as u32)
        .collect()
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/forward")
        .join(name)
}

fn expected(name: &str) -> Vec<f32> {
    let bytes = std::fs::read(fixture(&format!("{name}.logits"))).unwrap();
    bytes
        .as_chunks()
        .0
        .iter()
        .map(|b| f32::from_le_bytes(*b))
        .collect()
}

/// Root of the mean squared difference over root of the mean square.
fn distance(got: &[f32], want: &[f32]) -> f64 {
    assert_eq!(got.len(), want.len());
    let square = |x: f64| x * x;
    let difference: f64 = got
        .iter()
        .zip(want)
        .map(|(g, w)| square(f64::from(*g) - f64::from(*w)))
        .sum();
    (difference / want.iter().map(|w| square(f64::from(*w))).sum::<f64>()).sqrt()
}

fn logits_equal_transformers(name: &str) {
    let model = Model::load(&fixture(&format!("{name}.gguf"))).unwrap();
    assert_eq!(model.vocabulary(), VOCABULARY);
    let (tokens, want) = (tokens(), expected(name));
    let all = model.forward(&[&tokens], 0..tokens.len(), None).unwrap();
    assert_eq!((all.rows, all.vocabulary), (tokens.len(), VOCABULARY));
    assert!(
        distance(&all.data, &want) < 1e-5,
        "{name}: {}",
        distance(&all.data, &want)
    );

    // Two windows side by side do not see each other, and only what is asked for comes back.
    let some = model.forward(&[&tokens[..9], &[], &tokens], 7..20, None).unwrap();
    assert_eq!(some.rows, 2 + 13);
    assert!(
        distance(
            &some.data[..2 * VOCABULARY],
            &want[7 * VOCABULARY..9 * VOCABULARY]
        ) < 1e-5
    );
    assert!(
        distance(
            &some.data[2 * VOCABULARY..],
            &want[7 * VOCABULARY..20 * VOCABULARY]
        ) < 1e-5
    );
}

macro_rules! equal_transformers {
    ($($test:ident: $name:literal,)*) => {$(
        #[test]
        fn $test() {
            logits_equal_transformers($name);
        }
    )*};
}

equal_transformers! {
    llama_with_biases: "llama",
    llama_with_frequency_divisors_and_tied_output: "llama-rope-llama3",
    llama_with_yarn: "llama-rope-yarn",
    llama_with_linear_scaling: "llama-rope-linear",
    mistral_with_wide_heads: "mistral",
    mixtral: "mixtral",
    qwen2: "qwen2",
    qwen2_mixture: "qwen2moe",
    qwen3: "qwen3",
    qwen3_mixture: "qwen3moe",
    gemma: "gemma",
    gemma2_with_sliding_windows: "gemma2",
    gemma3_with_sliding_windows: "gemma3",
    deepseek_v2_with_groups_of_experts: "deepseek2",
    deepseek_v3_with_biased_groups: "deepseek3",
    gpt_oss_with_sinks: "gpt-oss",
    llama4: "llama4",
    mamba: "mamba",
    mamba2: "mamba2",
    lfm2: "lfm2",
    granite_hybrid: "granitehybrid",
    glm4_mixture: "glm4moe",
}

#[test]
fn embeddings_are_means_of_final_states() {
    let model = Model::load(&fixture("bert.gguf")).unwrap();
    let (tokens, states) = (tokens(), expected("bert"));
    let columns = states.len() / tokens.len();
    let mean: Vec<f32> = (0..columns)
        .map(|c| states.iter().skip(c).step_by(columns).sum::<f32>())
        .collect();
    let length = mean.iter().map(|x| x * x).sum::<f32>().sqrt();
    let want: Vec<f32> = mean.iter().map(|x| x / length).collect();
    let got = model.embed(&[&tokens[..3], &tokens]).unwrap();
    assert!(distance(&got[1], &want) < 1e-5, "{}", distance(&got[1], &want));
    assert!(distance(&got[0], &want) > 1e-2);
    assert!(
        model
            .embed(&[&[]])
            .unwrap_err()
            .to_string()
            .contains("found one without")
    );
}

#[derive(Default)]
struct Seen(Vec<(String, Option<usize>, usize, usize)>);

impl Tap for Seen {
    fn linear(&mut self, tensor: &str, expert: Option<usize>, input: &[f32], columns: usize) {
        self.0
            .push((tensor.into(), expert, input.len() / columns, columns));
    }
}

#[test]
fn the_tap_sees_every_linear_layer() {
    let model = Model::load(&fixture("llama.gguf")).unwrap();
    let mut seen = Seen::default();
    model.forward(&[&tokens()], 0..24, Some(&mut seen)).unwrap();
    let mut alone = Seen::default();
    model.observe(&[&tokens()], &mut alone).unwrap();
    assert_eq!(alone.0, seen.0);
    let mut names: Vec<_> = seen.0.iter().map(|(name, ..)| name.as_str()).collect();
    names.sort_unstable();
    let mut matrices: Vec<_> = model.gguf().tensors().map(|t| t.info.name.as_str()).collect();
    matrices.retain(|n| n.ends_with(".weight") && !n.contains("norm") && *n != "token_embd.weight");
    matrices.sort_unstable();
    assert_eq!(names, matrices);
    assert!(seen.0.contains(&("blk.1.ffn_down.weight".into(), None, 24, 24)));
    assert!(seen.0.contains(&("output.weight".into(), None, 24, 16)));
}

#[test]
fn the_tap_sees_each_expert_with_its_tokens() {
    let model = Model::load(&fixture("mixtral.gguf")).unwrap();
    let mut seen = Seen::default();
    model.forward(&[&tokens()], 0..24, Some(&mut seen)).unwrap();
    for tensor in [
        "blk.0.ffn_gate_exps.weight",
        "blk.0.ffn_up_exps.weight",
        "blk.0.ffn_down_exps.weight",
    ] {
        let mine = seen.0.iter().filter(|(name, ..)| name == tensor);
        let rows: usize = mine
            .inspect(|(_, expert, ..)| assert!(expert.is_some()))
            .map(|s| s.2)
            .sum();
        assert_eq!(rows, 24 * 2, "two of the experts for each token");
    }
}

/// States that outputs are added to, and what is added.
#[derive(Default)]
struct Added {
    named: Option<(String, Vec<f32>, f32)>,
    /// For each linear layer named: the state, and the layer's input.
    seen: Vec<(String, Vec<f32>, f32, Vec<f32>)>,
}

impl Tap for Added {
    fn linear(&mut self, tensor: &str, _expert: Option<usize>, input: &[f32], _columns: usize) {
        if let Some((name, state, scale)) = self.named.take_if(|(name, ..)| name == tensor) {
            self.seen.push((name, state, scale, input.to_vec()));
        }
    }

    fn added_to(&mut self, tensor: &str, state: &[f32], scale: f32) {
        assert!(self.named.is_none(), "{:?} is not used", self.named);
        self.named = Some((tensor.to_owned(), state.to_vec(), scale));
    }
}

/// `x` rows of a model's tensor, times `scale`, added to `state`.
fn with_product(model: &Model, tensor: &str, mut state: Vec<f32>, scale: f32, x: &[f32]) -> Vec<f32> {
    let weights = weights(model, tensor);
    let rows = tokens().len();
    let (columns, outputs) = (x.len() / rows, state.len() / rows);
    for (state, x) in state.chunks_exact_mut(outputs).zip(x.chunks_exact(columns)) {
        for (s, w) in state.iter_mut().zip(weights.chunks_exact(columns)) {
            *s += scale * w.iter().zip(x).map(|(w, x)| w * x).sum::<f32>();
        }
    }
    state
}

#[test]
fn outputs_are_added_to_the_states_that_the_tap_sees() {
    // Models whose layers have no other part, so that each state is the one before it and what was added.
    let halves = ["attn_output", "ffn_down", "attn_output", "ffn_down"];
    let models: [(&str, &[&str]); 8] = [
        ("qwen2", &halves),
        ("qwen3", &halves),
        ("mistral", &halves),
        ("gemma", &halves),
        ("mamba", &["ssm_out", "ssm_out"]),
        ("mamba2", &["ssm_out", "ssm_out"]),
        (
            "lfm2",
            &["shortconv.out_proj", "ffn_down", "attn_output", "ffn_down"],
        ),
        ("deepseek2", &halves[..3]),
    ];
    for (name, named) in models {
        let model = Model::load(&fixture(&format!("{name}.gguf"))).unwrap();
        let mut tap = Added::default();
        model.forward(&[&tokens()], 0..24, Some(&mut tap)).unwrap();
        assert_eq!(tap.seen.len(), named.len(), "{name}");
        for ((tensor, ..), part) in tap.seen.iter().zip(named) {
            assert!(tensor.ends_with(&format!(".{part}.weight")), "{name}: {tensor}");
        }
        let mut states = tap.seen.into_iter();
        let mut last = states.next().unwrap();
        for next in states {
            let (tensor, state, scale, input) = last;
            let sum = with_product(&model, &tensor, state, scale, &input);
            assert!(distance(&sum, &next.1) < 1e-6, "{name}: {tensor}");
            last = next;
        }
    }
    // Outputs of experts are weighted, and others go through a norm on their way.
    for (name, count) in [("mixtral", 2), ("gemma2", 0), ("gemma3", 0)] {
        let model = Model::load(&fixture(&format!("{name}.gguf"))).unwrap();
        let mut tap = Added::default();
        model.forward(&[&tokens()], 0..24, Some(&mut tap)).unwrap();
        assert_eq!(tap.seen.len(), count, "{name}");
    }
}

struct Collect(Logits);

impl LogitsSink for Collect {
    fn tile(&mut self, vocabulary: std::ops::Range<usize>, logits: &[f32]) {
        for (row, tile) in logits.chunks_exact(vocabulary.len()).enumerate() {
            self.0.data[row * self.0.vocabulary..][vocabulary.clone()].copy_from_slice(tile);
        }
    }
}

#[test]
fn tiles_are_the_logits() {
    for name in ["gemma2.gguf", "qwen2.gguf"] {
        let model = Model::load(&fixture(name)).unwrap();
        let whole = model.forward(&[&tokens()], 3..9, None).unwrap();
        let mut sink = Collect(Logits {
            data: vec![f32::NAN; whole.data.len()],
            ..whole.clone()
        });
        model.forward_tiles(&[&tokens()], 3..9, None, &mut sink).unwrap();
        assert_eq!(sink.0, whole);
    }
}

/// Perplexity by its definition, from all logits at once.
#[test]
fn perplexity_is_that_of_the_second_halves() {
    let model = Model::load(&fixture("llama.gguf")).unwrap();
    let text: Vec<u32> = (0..67).map(|i| (i * i * 5 + i * 3) % VOCABULARY as u32).collect();
    for bos in [None, Some(1)] {
        let options = PerplexityOptions::default().context(16).bos(bos);
        let mut chunks = 0;
        let report = perplexity(&model, &text, &options, &mut |_| chunks += 1).unwrap();
        let mut nll = Vec::new();
        for window in text.chunks_exact(16) {
            let mut window = window.to_vec();
            window[0] = bos.unwrap_or(window[0]);
            let logits = model.forward(&[&window], 0..16, None).unwrap();
            for i in 8..15 {
                let row = logits.row(i);
                let sum: f64 = row.iter().map(|&x| f64::from(x).exp()).sum();
                nll.push(sum.ln() - f64::from(row[window[i + 1] as usize]));
            }
        }
        let n = nll.len() as f64;
        let mean = nll.iter().sum::<f64>() / n;
        let variance = nll.iter().map(|v| v * v).sum::<f64>() / n - mean * mean;
        assert_eq!((chunks, report.running.len(), report.scored), (4, 4, nll.len()));
        assert!((report.nll - mean).abs() < 1e-6);
        let error = report.ppl_error.unwrap();
        assert!((error - mean.exp() * (variance / (n - 1.0)).sqrt()).abs() < 1e-5 * error);
    }
}

#[test]
fn texts_and_bounds_that_do_not_do() {
    let model = Model::load(&fixture("llama.gguf")).unwrap();
    let measure = |tokens: &[u32], options: PerplexityOptions| {
        perplexity(&model, tokens, &options, &mut |_| ())
            .unwrap_err()
            .to_string()
    };
    let options = |context| PerplexityOptions::default().context(context);
    assert!(
        measure(&[1; 31], options(16)).contains("expected at least 32 tokens, two windows of 16, found 31")
    );
    assert!(measure(&[1; 31], options(2)).contains("at least 3"));
    assert!(measure(&[], options(usize::MAX)).contains("found 0"));
    assert!(
        measure(&[48; 40], options(16))
            .contains("expected tokens below 48, the size of the vocabulary, found 48")
    );
    let small = options(16).max_memory(1000);
    assert!(measure(&[1; 40], small).contains("found a bound of 1000"));
}

/// The Llama fixture with other keys and without some tensors, and what loading it says.
fn refused(change: impl FnOnce(&mut Metadata), keep: impl Fn(&str) -> bool) -> String {
    let source = GgufModel::open(&fixture("llama.gguf")).unwrap();
    let mut metadata = source.metadata().clone();
    change(&mut metadata);
    let kept: Vec<usize> = (0..source.len())
        .filter(|&i| keep(&source.info(i).name))
        .collect();
    let plan = FilePlan::new(
        metadata,
        kept.iter().map(|&i| {
            let info = source.info(i);
            (info.name.clone(), info.shape.clone(), info.ty)
        }),
    )
    .unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.gguf");
    let writer = Writer::create(&path, &plan).unwrap();
    for (to, &from) in kept.iter().enumerate() {
        let bytes = source.bytes(from, 0..source.info(from).size_bytes()).unwrap();
        writer.write_at(to, 0, &bytes).unwrap();
    }
    writer.finish().unwrap();
    let message = Model::load(&path).unwrap_err().to_string();
    assert!(message.contains("model.gguf"), "{message}");
    message
}

fn key(name: &'static str, value: impl Into<Value>) -> impl FnOnce(&mut Metadata) {
    let value = value.into();
    move |m: &mut Metadata| m.set(format!("llama.{name}"), value)
}

#[test]
fn unknown_architectures_name_the_known_ones() {
    let message = refused(|m| m.set("general.architecture", "nonesuch"), |_| true);
    assert!(
        message.contains("\"nonesuch\"") && message.contains("llama, "),
        "{message}"
    );
}

#[test]
fn missing_tensors_and_keys_are_named() {
    let message = refused(|_| (), |name| name != "blk.1.ffn_up.weight");
    let expected = "tensor 'blk.1.ffn_up.weight': expected it with shape [16, 24], found none";
    assert!(message.contains(expected), "{message}");
    for name in [
        "llama.block_count",
        "llama.embedding_length",
        "llama.attention.head_count",
    ] {
        let message = refused(|m| drop(m.remove(name)), |_| true);
        assert!(
            message.contains(&format!("key '{name}': expected a value, found none")),
            "{message}"
        );
    }
}

#[test]
fn hostile_hyperparameters_are_refused() {
    let max = u32::MAX;
    for (name, value, says) in [
        ("block_count", Value::U32(max), "at most 512"),
        ("block_count", Value::U32(0), "found 0"),
        ("block_count", Value::U64(u64::MAX), "block_count"),
        ("block_count", Value::String("2".into()), "block_count"),
        ("embedding_length", Value::U32(max), "token_embd.weight"),
        ("embedding_length", Value::U32(17), "token_embd.weight"),
        ("attention.head_count", Value::U32(0), "attention heads"),
        ("attention.head_count", Value::U32(max - 1), "blk.0.attn_q.weight"),
        (
            "attention.head_count",
            Value::U32(3),
            "attention heads of layer 0",
        ),
        ("attention.head_count", Value::from(vec![4u32; 9]), "2 numbers"),
        (
            "attention.head_count_kv",
            Value::U32(0),
            "attention heads of layer 0",
        ),
        (
            "attention.head_count_kv",
            Value::from(vec![4i32, -1]),
            "2 numbers",
        ),
        ("attention.key_length", Value::U32(0), "found 0 of keys"),
        ("attention.key_length", Value::U32(7), "rope.dimension_count"),
        ("attention.key_length", Value::U32(max), "1 to 65536 elements"),
        ("attention.key_length", Value::U32(4096), "blk.0.attn_q.weight"),
        ("attention.value_length", Value::U32(max), "1 to 65536 elements"),
        ("rope.dimension_count", Value::U32(9), "rope.dimension_count"),
        ("rope.freq_base", Value::F32(0.0), "rope.freq_base"),
        ("rope.freq_base", Value::F32(f32::NAN), "rope.freq_base"),
        ("rope.scaling.factor", Value::F32(-1.0), "rope.scaling.factor"),
        ("rope.scaling.type", Value::String("spiral".into()), "spiral"),
        ("feed_forward_length", Value::U32(0), "feed_forward_length"),
        ("feed_forward_length", Value::U32(max), "blk.0.ffn_gate.weight"),
        ("expert_count", Value::U32(max), "expert_used_count"),
        ("nextn_predict_layers", Value::U32(2), "nextn_predict_layers"),
    ] {
        let shown = format!("{name} = {value:?}");
        let message = refused(key(name, value), |_| true);
        assert!(message.contains(says), "{shown}: {message}");
    }
}

/// The Llama fixture, with these keys besides and divisors of LongRoPE that are all the same.
fn llama_with(keys: &[(&str, Value)], divisors: &[(&str, f32)]) -> Model {
    let source = GgufModel::open(&fixture("llama.gguf")).unwrap();
    let mut metadata = source.metadata().clone();
    for (key, value) in keys {
        metadata.set(*key, value.clone());
    }
    let pairs = metadata
        .get("llama.rope.dimension_count")
        .and_then(Value::as_u64)
        .unwrap()
        / 2;
    let own = (0..source.len()).map(|i| {
        let info = source.info(i);
        (info.name.clone(), info.shape.clone(), info.ty)
    });
    let more = divisors.iter().map(|(name, _)| {
        let name = format!("rope_factors_{name}.weight");
        (name, vec![pairs], gguf::TensorType::F32)
    });
    let plan = FilePlan::new(metadata, own.chain(more)).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.gguf");
    let writer = Writer::create(&path, &plan).unwrap();
    for i in 0..source.len() {
        let bytes = source.bytes(i, 0..source.info(i).size_bytes()).unwrap();
        writer.write_at(i, 0, &bytes).unwrap();
    }
    for (i, (_, divisor)) in divisors.iter().enumerate() {
        let bytes = divisor.to_le_bytes().repeat(pairs as usize);
        writer.write_at(source.len() + i, 0, &bytes).unwrap();
    }
    writer.finish().unwrap();
    Model::load(&path).unwrap()
}

fn logits_of(model: &Model) -> Vec<f32> {
    let tokens = tokens();
    model.forward(&[&tokens], 0..tokens.len(), None).unwrap().data
}

#[test]
fn longrope_without_an_original_context_turns_at_the_trained_one() {
    let plain = logits_of(&llama_with(&[], &[]));
    let halved = logits_of(&llama_with(
        &[("llama.rope.scaling.factor", Value::F32(2.0))],
        &[],
    ));
    assert!(distance(&plain, &halved) > 1e-3);
    let divisors = [("long", 2.0), ("short", 1.0)];
    // 24 tokens: within 64, beyond 16. A divisor of two is a linear scaling of two.
    for (context, expected) in [(64, &plain), (24, &plain), (16, &halved)] {
        let model = llama_with(&[("llama.context_length", Value::U32(context))], &divisors);
        assert!(distance(&logits_of(&model), expected) < 1e-6, "{context}");
    }
    let keys = [
        ("llama.context_length", Value::U32(64)),
        ("llama.rope.scaling.original_context_length", Value::U32(16)),
    ];
    assert!(distance(&logits_of(&llama_with(&keys, &divisors)), &halved) < 1e-6);
}

#[test]
fn the_ramp_of_yarn_is_read_where_stock_reads_it() {
    let yarn = |more: &[(&str, Value)]| {
        let keys = [
            ("llama.rope.scaling.type", Value::from("yarn")),
            ("llama.rope.scaling.factor", Value::F32(4.0)),
            ("llama.rope.scaling.original_context_length", Value::U32(16)),
        ];
        logits_of(&llama_with(&[&keys, more].concat(), &[]))
    };
    // Stock reads these of mistral3 and of no model that is a llama.
    let ramp = [
        ("llama.rope.scaling.yarn_beta_fast", Value::F32(2.0)),
        ("llama.rope.scaling.yarn_beta_slow", Value::F32(0.5)),
        ("llama.rope.scaling.yarn_ext_factor", Value::F32(0.5)),
    ];
    assert_eq!(yarn(&ramp), yarn(&[]));
}
