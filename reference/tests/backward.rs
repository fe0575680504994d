//! The backward pass against differences of the loss, tensor by tensor, on tiny random models.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gguf::TensorType;
use quantsmith_reference::portable::Strided;
use quantsmith_reference::{GradientTap, Labels, LogitsSink, Model, Tap, Teacher};

const VOCABULARY: usize = 48;

fn fixture(name: &str) -> Model {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/forward")
        .join(format!("{name}.gguf"));
    Model::load(&path).unwrap()
}

/// Without token 0, whose embedding is zero in models that pad with it: a norm has a slope of a thousand there.
fn tokens() -> Vec<u32> {
    (0..24)
        .map(|i| (i * 29 + i * i * 7) % (VOCABULARY as u32 - 1) + 1)
        .collect()
}

fn labels() -> Vec<u32> {
    (0..24)
        .map(|i| (i * 11 + i * i * 5 + 3) % VOCABULARY as u32)
        .collect()
}

type Key = (String, Option<usize>);

/// The inputs of all linear layers.
#[derive(Default)]
struct Inputs(BTreeMap<Key, (usize, Vec<f32>)>);

impl Tap for Inputs {
    fn linear(&mut self, tensor: &str, expert: Option<usize>, input: &[f32], columns: usize) {
        let entry = self
            .0
            .entry((tensor.to_owned(), expert))
            .or_insert((columns, Vec::new()));
        entry.1.extend(input);
    }
}

/// The gradients of all linear layers.
#[derive(Default)]
struct Gradients {
    layers: BTreeMap<Key, (usize, Vec<f32>)>,
    head: (String, Vec<f32>),
    embedding: (String, usize, Vec<f32>),
}

impl GradientTap for Gradients {
    fn linear(&mut self, tensor: &str, expert: Option<usize>, gradient: &[f32], outputs: usize) {
        let entry = self
            .layers
            .entry((tensor.to_owned(), expert))
            .or_insert((outputs, Vec::new()));
        entry.1.extend(gradient);
    }

    fn output(&mut self, tensor: &str, probabilities: &[f32], vocabulary: usize, labels: &[u32]) {
        let mut gradient = probabilities.to_vec();
        for (row, &label) in gradient.chunks_exact_mut(vocabulary).zip(labels) {
            row[label as usize] -= 1.0;
        }
        self.head.0 = tensor.to_owned();
        self.head.1.extend(gradient);
    }

    fn embedding(&mut self, tensor: &str, gradient: &[f32], columns: usize) {
        self.embedding = (tensor.to_owned(), columns, gradient.to_vec());
    }
}

/// Logits as rows.
struct Rows(Vec<f64>);

impl LogitsSink for Rows {
    fn tile(&mut self, vocabulary: Range<usize>, logits: &[f32]) {
        for (row, part) in logits.chunks_exact(vocabulary.len()).enumerate() {
            for (at, x) in vocabulary.clone().zip(part) {
                self.0[row * VOCABULARY + at] = f64::from(*x);
            }
        }
    }
}

/// The loss with other weights in a tensor.
fn loss(model: &Model, tensor: &str, weights: &[f32]) -> f64 {
    let bytes: Vec<u8> = weights.iter().flat_map(|x| x.to_le_bytes()).collect();
    let stand_in = (tensor.to_owned(), TensorType::F32, Arc::from(bytes));
    let window = [tokens()];
    let whole = std::slice::from_ref(&(0..1));
    let staged = model.staged(&window, whole, vec![stand_in], None).unwrap();
    let mut rows = Rows(vec![0.0; window[0].len() * VOCABULARY]);
    staged.finish(0, 0..usize::MAX, &[], &mut rows).unwrap();
    let row = |(logits, label): (&[f64], u32)| {
        let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = logits.iter().map(|x| (x - max).exp()).sum();
        max + sum.ln() - logits[label as usize]
    };
    rows.0.chunks_exact(VOCABULARY).zip(labels()).map(row).sum()
}

/// A tensor's weights.
pub(crate) fn weights(model: &Model, tensor: &str) -> Vec<f32> {
    let index = model.gguf().find(tensor).unwrap();
    let info = model.gguf().info(index);
    let bytes = model.gguf().bytes(index, 0..info.size_bytes()).unwrap();
    let mut out = vec![0.0; info.elements() as usize];
    quants::decode(info.ty, &bytes, &mut out).unwrap();
    out
}

/// Gradients of whole tensors: sums over tokens of the products of what comes back and what went in.
fn of_weights(model: &Model) -> BTreeMap<String, Vec<f64>> {
    let (window, labels) = (tokens(), labels());
    let (mut inputs, mut gradients) = (Inputs::default(), Gradients::default());
    model.observe(&[&window], &mut inputs).unwrap();
    model
        .backward(&window, Labels::Given(&labels), &mut gradients)
        .unwrap();
    let mut out: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    let mut add =
        |tensor: &str, expert: usize, (outputs, g): (usize, &[f32]), (columns, x): (usize, &[f32])| {
            let whole = out
                .entry(tensor.to_owned())
                .or_insert_with(|| vec![0.0; weights(model, tensor).len()]);
            assert_eq!(g.len() / outputs, x.len() / columns, "{tensor}: tokens");
            for (g, x) in g.chunks_exact(outputs).zip(x.chunks_exact(columns)) {
                for (row, g) in g.iter().enumerate() {
                    let at = (expert * outputs + row) * columns;
                    for (sum, x) in whole[at..at + columns].iter_mut().zip(x) {
                        *sum += f64::from(*g) * f64::from(*x);
                    }
                }
            }
        };
    for ((tensor, expert), (outputs, g)) in &gradients.layers {
        let (columns, x) = &inputs.0[&(tensor.clone(), *expert)];
        add(tensor, expert.unwrap_or(0), (*outputs, g), (*columns, x));
    }
    let (tensor, g) = &gradients.head;
    let (columns, x) = &inputs.0[&(tensor.clone(), None)];
    add(tensor, 0, (VOCABULARY, g), (*columns, x));
    let (tensor, columns, g) = &gradients.embedding;
    let one_hot: Vec<f32> = window
        .iter()
        .flat_map(|&token| (0..VOCABULARY).map(move |v| if v == token as usize { 1.0 } else { 0.0 }))
        .collect();
    add(tensor, 0, (VOCABULARY, &one_hot), (*columns, g));
    let seen = inputs
        .0
        .keys()
        .filter(|(tensor, _)| !out.contains_key(tensor))
        .count();
    assert_eq!(seen, 0, "every linear layer has a gradient");
    out
}

fn equals_differences(name: &str) {
    let model = fixture(name);
    assert_eq!(model.without_backward(), None);
    let mut state = 1u32;
    let mut checked = 0;
    for (tensor, gradient) in of_weights(&model) {
        let original = weights(&model, &tensor);
        // A step of a router must not send a token to other experts.
        let most = if tensor.contains("ffn_gate_inp.") {
            0.001
        } else {
            0.02
        };
        let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
        let length = norm(&mut gradient.iter().copied());
        assert!(length > 0.0, "{name} {tensor}: no gradient");
        // Along the gradient, and along two directions that agree with it in part.
        for step in 0..3 {
            let direction: Vec<f64> = gradient
                .iter()
                .map(|g| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    let random = f64::from(state >> 8) / f64::from(1 << 24);
                    if step == 0 { *g } else { 2.0 * g * random }
                })
                .collect();
            let expected: f64 = gradient.iter().zip(&direction).map(|(g, d)| g * d).sum();
            // A change of the loss by a twentieth: well above rounding, and small for curvature.
            let scale = (0.05 / expected).min(
                most * norm(&mut original.iter().map(|&x| f64::from(x)))
                    / norm(&mut direction.iter().copied()),
            );
            let at = |step: f64| {
                let moved: Vec<f32> = original
                    .iter()
                    .zip(&direction)
                    .map(|(w, d)| (f64::from(*w) + step * d) as f32)
                    .collect();
                loss(&model, &tensor, &moved)
            };
            let agrees = |scale: f64| {
                let measured = (at(scale) - at(-scale)) / (2.0 * scale);
                // What rounding of the logits makes of a loss of a hundred.
                let noise = 2e-5 / (scale * expected);
                let error = (measured / expected - 1.0).abs();
                if error < 2e-3 + noise {
                    Ok(())
                } else {
                    Err(measured)
                }
            };
            // Near a tie of two experts a step changes the choice, and the loss jumps: there a tenth of it has to do.
            if let Err(measured) = agrees(scale).or_else(|_| agrees(scale / 10.0)) {
                panic!("{name} {tensor}, direction {step}: backward {expected}, difference {measured}");
            }
        }
        checked += 1;
    }
    assert!(checked > 5, "{name}: {checked}");
}

macro_rules! equal_differences {
    ($($test:ident: $name:literal,)*) => {$(
        #[test]
        fn $test() {
            equals_differences($name);
        }
    )*};
}

equal_differences! {
    llama_with_biases: "llama",
    llama_with_frequency_divisors_and_tied_output: "llama-rope-llama3",
    llama_with_yarn: "llama-rope-yarn",
    mistral_with_a_window: "mistral",
    qwen2_with_biases: "qwen2",
    qwen3_with_norms_of_heads: "qwen3",
    gemma_with_scaled_embeddings: "gemma",
    gemma2_with_caps_and_norms_of_what_is_added: "gemma2",
    gemma3: "gemma3",
    mixtral: "mixtral",
    qwen2_mixture_with_a_shared_expert: "qwen2moe",
    qwen3_mixture: "qwen3moe",
    glm4_mixture_with_sigmoid_scores: "glm4moe",
}

/// Squares of sampled gradients are those of the predictions' own spread: at the logits p (1 - p).
#[test]
fn sampled_labels_have_the_predictions_spread() {
    let model = fixture("gemma");
    let window = tokens();
    let logits = model.forward(&[&window], 0..window.len(), None).unwrap();
    let mut expected = vec![0.0; VOCABULARY];
    for row in logits.data.chunks_exact(VOCABULARY) {
        let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let p: Vec<f64> = row.iter().map(|x| f64::from(x - max).exp()).collect();
        let sum: f64 = p.iter().sum();
        for (expected, p) in expected.iter_mut().zip(p) {
            *expected += p / sum * (1.0 - p / sum);
        }
    }
    let mut sums = vec![0.0; VOCABULARY];
    let draws = 1000;
    for seed in 0..draws {
        let mut gradients = Gradients::default();
        model
            .backward(&window, Labels::Sampled(seed * 1000), &mut gradients)
            .unwrap();
        for row in gradients.head.1.chunks_exact(VOCABULARY) {
            sums.iter_mut()
                .zip(row)
                .for_each(|(sum, g)| *sum += f64::from(*g).powi(2));
        }
    }
    for (token, (sum, expected)) in sums.iter().zip(&expected).enumerate() {
        let mean = sum / f64::from(draws as u32);
        // Draws that are so many differ by their root from what is expected of them.
        let spread = 5.0 * (expected / f64::from(draws as u32)).sqrt();
        assert!(
            (mean - expected).abs() < spread,
            "token {token}: {mean}, expected {expected}"
        );
    }
    assert!(expected.iter().sum::<f64>() > 0.01);
}

#[test]
fn the_same_seed_gives_the_same_bits_on_any_number_of_threads() {
    let model = fixture("qwen3moe");
    let run = |threads: usize, seed: u64| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| {
            let mut gradients = Gradients::default();
            model
                .backward(&tokens(), Labels::Sampled(seed), &mut gradients)
                .unwrap();
            gradients.layers
        })
    };
    let one = run(1, 7);
    assert_eq!(one, run(3, 7));
    assert_ne!(one, run(1, 8));
}

#[test]
fn parts_without_a_backward_pass_are_named() {
    struct Nothing;
    impl GradientTap for Nothing {
        fn linear(&mut self, _: &str, _: Option<usize>, _: &[f32], _: usize) {}
        fn output(&mut self, _: &str, _: &[f32], _: usize, _: &[u32]) {}
        fn embedding(&mut self, _: &str, _: &[f32], _: usize) {}
    }
    for (name, part) in [
        ("mamba", "token mixer"),
        ("deepseek2", "token mixer"),
        ("gpt-oss", "SwigluOai"),
    ] {
        let model = fixture(name);
        let error = model
            .backward(&tokens(), Labels::Sampled(1), &mut Nothing)
            .unwrap_err()
            .to_string();
        assert!(error.contains(part) && error.contains("layer 0"), "{error}");
    }
    let model = fixture("llama");
    let refused = |window: &[u32], labels| {
        model
            .backward(window, labels, &mut Nothing)
            .unwrap_err()
            .to_string()
    };
    assert!(refused(&[], Labels::Sampled(1)).contains("without tokens"));
    assert!(refused(&[1, 2], Labels::Given(&[1])).contains("expected 2 labels, found 1"));
    assert!(refused(&[1], Labels::Given(&[48])).contains("found 48"));
    assert!(refused(&[48], Labels::Given(&[1])).contains("found 48"));
}

/// Gradients of whole tensors, matrices and vectors.
#[derive(Default)]
struct Whole {
    tensors: BTreeMap<String, Vec<f64>>,
    /// Numbers of each tensor that are there.
    sizes: BTreeMap<String, usize>,
}

impl Whole {
    fn of(model: &Model) -> Self {
        let sizes = model.gguf().tensors();
        Self {
            tensors: BTreeMap::new(),
            sizes: sizes
                .map(|t| (t.info.name.clone(), t.info.elements() as usize))
                .collect(),
        }
    }

    fn sums(&mut self, tensor: &str) -> &mut Vec<f64> {
        let size = self.sizes[tensor];
        self.tensors
            .entry(tensor.to_owned())
            .or_insert_with(|| vec![0.0; size])
    }
}

impl GradientTap for Whole {
    fn linear(&mut self, _: &str, _: Option<usize>, _: &[f32], _: usize) {}

    fn output(&mut self, tensor: &str, _: &[f32], _: usize, _: &[u32]) {
        panic!("{tensor}: labels where there are none");
    }

    fn embedding(&mut self, tensor: &str, gradient: &[f32], columns: usize) {
        let sums = self.sums(tensor);
        for (token, g) in tokens().into_iter().zip(gradient.chunks_exact(columns)) {
            let row = &mut sums[token as usize * columns..][..columns];
            row.iter_mut().zip(g).for_each(|(sum, g)| *sum += f64::from(*g));
        }
    }

    fn sees_weights(&self) -> bool {
        true
    }

    fn weights(&mut self, tensor: &str, expert: Option<usize>, input: Strided<'_>, gradient: Strided<'_>) {
        assert_eq!(input.rows, gradient.rows, "{tensor}: tokens");
        let first = expert.unwrap_or(0) * gradient.columns;
        let sums = self.sums(tensor);
        for token in 0..input.rows {
            for row in 0..gradient.columns {
                let g = gradient.data[token * gradient.row_stride + row * gradient.column_stride];
                for column in 0..input.columns {
                    let x = input.data[token * input.row_stride + column * input.column_stride];
                    sums[(first + row) * input.columns + column] += f64::from(g) * f64::from(x);
                }
            }
        }
    }

    fn vector(&mut self, tensor: &str, gradient: &[f64]) {
        let sums = self.sums(tensor);
        assert_eq!(sums.len(), gradient.len(), "{tensor}");
        sums.iter_mut().zip(gradient).for_each(|(sum, g)| *sum += g);
    }
}

/// A model whose norms are not what they were, against the one as it was.
struct Changed {
    model: Model,
    states: Vec<f32>,
    norms: HashMap<String, Vec<f32>>,
}

impl Changed {
    fn new(name: &str) -> Self {
        let model = fixture(name);
        let mut norms = HashMap::new();
        for tensor in model.gguf().tensors().map(|t| t.info.name.clone()) {
            if tensor.ends_with("norm.weight") {
                let changed = weights(&model, &tensor).into_iter().enumerate();
                let change = |(i, w): (usize, f32)| w * (1.0 + 0.3 * ((i * 7 % 11) as f32 / 5.0 - 1.0));
                norms.insert(tensor, changed.map(change).collect());
            }
        }
        Self {
            states: model.final_states(&tokens()).unwrap(),
            model,
            norms,
        }
    }

    fn teacher(&self) -> Teacher<'_> {
        Teacher {
            model: &self.model,
            states: &self.states,
        }
    }

    fn is_vector(&self, tensor: &str) -> bool {
        self.norms.contains_key(tensor) || tensor.ends_with(".bias")
    }

    /// The changed model, with these numbers in a tensor besides.
    fn student(&self, other: Option<(&str, &[f32])>) -> Model {
        let mut norms = self.norms.clone();
        let mut blocks = Vec::new();
        match other {
            Some((tensor, numbers)) if self.is_vector(tensor) => {
                norms.insert(tensor.to_owned(), numbers.to_vec());
            }
            Some((tensor, numbers)) => {
                let bytes: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
                blocks.push((tensor.to_owned(), TensorType::F32, Arc::from(bytes)));
            }
            None => {}
        }
        self.model.standing_in(&blocks, &norms).unwrap()
    }

    /// The divergence after a step along the gradient of a tensor.
    fn after(&self, tensor: &str, gradient: &[f64], step: f64) -> f64 {
        let moved: Vec<f32> = self
            .numbers(tensor)
            .iter()
            .zip(gradient)
            .map(|(w, g)| (f64::from(*w) + step * g) as f32)
            .collect();
        let student = self.student(Some((tensor, &moved)));
        let found = student.divergences_from(&tokens(), self.teacher()).unwrap();
        found.iter().sum()
    }

    fn numbers(&self, tensor: &str) -> Vec<f32> {
        let norm = self.norms.get(tensor).cloned();
        norm.unwrap_or_else(|| weights(&self.model, tensor))
    }
}

/// Gradients of the divergence with respect to all matrices, norms and biases.
fn divergence_equals_differences(name: &str) {
    let case = Changed::new(name);
    let window = tokens();
    let same = case.model.divergences_from(&window, case.teacher()).unwrap();
    assert!(same.iter().all(|d| *d == 0.0));
    let mut gradients = Whole::of(&case.model);
    let now = case.student(None);
    let found = now
        .backward_from(&window, case.teacher(), &mut gradients)
        .unwrap();
    assert_eq!(found, now.divergences_from(&window, case.teacher()).unwrap());
    let total: f64 = found.iter().sum();
    assert!(total > 0.05, "{name}: {found:?}");
    for (tensor, gradient) in &gradients.tensors {
        let square: f64 = gradient.iter().map(|g| g * g).sum();
        assert!(square > 0.0, "{name} {tensor}: no gradient");
        let numbers = case.numbers(tensor);
        let length = numbers.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
        // A step of a router must not send a token to other experts.
        let most = if tensor.contains("ffn_gate_inp.") {
            0.001
        } else {
            0.01
        };
        let scale = (0.02 * total / square).min((most * length + 1e-4) / square.sqrt());
        let agrees = |scale: f64| {
            let apart = case.after(tensor, gradient, scale) - case.after(tensor, gradient, -scale);
            let measured = apart / (2.0 * scale);
            if (measured / square - 1.0).abs() < 1e-2 + 2e-6 / (scale * square) {
                Ok(())
            } else {
                Err(measured)
            }
        };
        if let Err(measured) = agrees(scale).or_else(|_| agrees(scale / 10.0)) {
            panic!("{name} {tensor}: backward {square}, difference {measured}");
        }
    }
    let seen = gradients.tensors.keys().filter(|tensor| case.is_vector(tensor));
    let all = case.model.gguf().tensors();
    let vectors = all.filter(|t| case.is_vector(&t.info.name));
    assert_eq!(seen.count(), vectors.count(), "{name}: norms and biases");
}

#[test]
fn divergences_have_gradients_of_matrices_norms_and_biases() {
    for name in ["llama", "qwen2", "qwen3", "gemma2", "mixtral", "qwen2moe"] {
        divergence_equals_differences(name);
    }
}

#[test]
fn other_teachers_are_refused() {
    let (model, other) = (fixture("llama"), fixture("qwen3"));
    let states = model.final_states(&tokens()).unwrap();
    let short = Teacher {
        model: &model,
        states: &states[1..],
    };
    let error = model.divergences_from(&tokens(), short).unwrap_err().to_string();
    assert!(error.contains("states: expected"), "{error}");
    assert!(
        other
            .divergences_from(
                &tokens(),
                Teacher {
                    model: &model,
                    states: &states
                }
            )
            .is_ok()
    );
}
