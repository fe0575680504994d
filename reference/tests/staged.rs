//! Staged passes that keep what a layer's parts put out see and hand on the same bits as those that compute everything
//! again, whatever is replaced on the way and however little may be kept.

use std::collections::HashSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gguf::TensorType;
use quantsmith_reference::{LogitsSink, Model, Staged, Tap};

use crate::backward::weights;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/forward")
        .join(format!("{name}.gguf"))
}

fn windows() -> Vec<Vec<u32>> {
    [24, 9, 17]
        .iter()
        .map(|&count| (0..count).map(|i| (i * 29 + i * i * 7 + count) % 48).collect())
        .collect()
}

const BATCHES: [Range<usize>; 2] = [0..2, 2..3];

/// Input of one tensor, and the tensors shown on the way.
struct Input<'a> {
    tensor: &'a str,
    stops: bool,
    rows: Vec<(Option<usize>, Vec<u32>)>,
    shown: Vec<String>,
}

impl Tap for Input<'_> {
    fn linear(&mut self, tensor: &str, expert: Option<usize>, input: &[f32], _columns: usize) {
        self.shown.push(tensor.to_owned());
        if tensor == self.tensor {
            self.rows
                .push((expert, input.iter().map(|x| x.to_bits()).collect()));
        }
    }

    fn is_done(&self) -> bool {
        self.stops && !self.rows.is_empty()
    }
}

fn observe<'a>(staged: &Staged<'_>, batch: usize, tensor: &'a str, stops: bool) -> Input<'a> {
    let mut input = Input {
        tensor,
        stops,
        rows: Vec::new(),
        shown: Vec::new(),
    };
    staged.observe(batch, &mut input).unwrap();
    input
}

/// Other weights for a tensor.
fn other(model: &Model, tensor: &str) -> (TensorType, Arc<[u8]>) {
    let mut weights = weights(model, tensor);
    for (i, w) in weights.iter_mut().enumerate() {
        *w *= 1.0 + (i % 7) as f32 / 16.0;
    }
    (
        TensorType::F32,
        weights.iter().flat_map(|w| w.to_le_bytes()).collect(),
    )
}

#[derive(Default)]
struct Bits(Vec<u32>);

impl LogitsSink for Bits {
    fn tile(&mut self, _vocabulary: Range<usize>, logits: &[f32]) {
        self.0.extend(logits.iter().map(|x| x.to_bits()));
    }
}

/// Goes through a model tensor by tensor, each replaced before the next is looked at, with and without keeping.
fn same_bits(name: &str, bytes: u64, replaced: bool) {
    let model = Model::load(&fixture(name)).unwrap();
    let windows = windows();
    let begin = || model.staged(&windows, &BATCHES, Vec::new(), None).unwrap();
    let (mut again, mut keeping) = (begin(), begin());
    for _ in 0..model.layers() {
        let mut order: Vec<String> = Vec::new();
        for tensor in observe(&again, 0, "", false).shown {
            if !order.contains(&tensor) {
                order.push(tensor);
            }
        }
        let open = match replaced {
            true => order.iter().cloned().collect(),
            false => HashSet::new(),
        };
        keeping.keep(bytes, open);
        for tensor in &order {
            // The first matrix of a stack is not all that is wanted of it. A pass that goes on to the end of a layer
            // knows all of a layer that stays.
            let stack = is_stack(&again, tensor);
            for batch in (0..BATCHES.len()).filter(|_| replaced || !stack) {
                let [want, got] = [&again, &keeping].map(|staged| observe(staged, batch, tensor, !stack));
                assert!(want.rows == got.rows, "{name}: {tensor}");
            }
            if replaced {
                let (ty, blocks) = other(&model, tensor);
                for staged in [&mut again, &mut keeping] {
                    staged.replace(tensor, ty, Arc::clone(&blocks)).unwrap();
                }
            }
        }
        again.advance().unwrap();
        keeping.advance().unwrap();
    }
    for batch in 0..BATCHES.len() {
        let [want, got] = [&again, &keeping].map(|staged| {
            let mut bits = Bits::default();
            staged.finish(batch, 0..usize::MAX, &[], &mut bits).unwrap();
            bits.0
        });
        assert_eq!(want, got, "{name}: logits of batch {batch}");
    }
}

/// Whether a tensor holds a matrix for each expert.
fn is_stack(staged: &Staged<'_>, tensor: &str) -> bool {
    let seen = observe(staged, 0, tensor, false);
    seen.rows.iter().any(|(expert, _)| expert.is_some())
}

const MODELS: [&str; 14] = [
    "llama",
    "qwen2",
    "qwen3",
    "gemma2",
    "gemma3",
    "mixtral",
    "qwen2moe",
    "deepseek2",
    "deepseek3",
    "gpt-oss",
    "llama4",
    "mamba2",
    "lfm2",
    "granitehybrid",
];

#[test]
fn keeping_changes_no_bit_while_tensors_are_replaced() {
    for name in MODELS {
        for bytes in [u64::MAX, 4000, 300, 0] {
            same_bits(name, bytes, true);
        }
    }
}

#[test]
fn keeping_changes_no_bit_of_a_model_that_stays() {
    for name in MODELS {
        for bytes in [u64::MAX, 4000] {
            same_bits(name, bytes, false);
        }
    }
}

/// Known results are not computed again.
#[test]
fn what_is_known_is_passed_over() {
    let model = Model::load(&fixture("llama")).unwrap();
    let windows = windows();
    let shown = |bytes: Option<u64>, open: &[&str]| {
        let mut staged = model.staged(&windows, &BATCHES, Vec::new(), None).unwrap();
        if let Some(bytes) = bytes {
            staged.keep(bytes, open.iter().map(|name| (*name).to_owned()).collect());
        }
        observe(&staged, 0, "blk.0.ffn_gate.weight", true);
        observe(&staged, 0, "blk.0.ffn_down.weight", true).shown.concat()
    };
    let all = shown(None, &[]);
    assert!(all.contains("attn_q") && all.contains("ffn_gate"));
    assert!(!shown(Some(u64::MAX), &[]).contains("attn_q"));
    assert_eq!(shown(Some(0), &[]), all);
    assert_eq!(shown(Some(u64::MAX), &["blk.0.attn_v.weight"]), all);
}

/// A tensor that nobody said would be replaced takes with it all that is known.
#[test]
fn an_unexpected_replacement_is_seen() {
    let model = Model::load(&fixture("llama")).unwrap();
    let windows = windows();
    let inputs = |keep: bool| {
        let mut staged = model.staged(&windows, &BATCHES, Vec::new(), None).unwrap();
        if keep {
            staged.keep(u64::MAX, HashSet::new());
        }
        let before = observe(&staged, 0, "blk.0.ffn_down.weight", true).rows;
        let (ty, blocks) = other(&model, "blk.0.attn_q.weight");
        staged.replace("blk.0.attn_q.weight", ty, blocks).unwrap();
        let after = observe(&staged, 0, "blk.0.ffn_down.weight", true).rows;
        assert_ne!(before, after);
        (before, after)
    };
    assert_eq!(inputs(true), inputs(false));
}
