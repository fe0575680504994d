//! LoRA adapters against PEFT: what llama.cpp adds by a converted adapter is the difference between the conversions
//! of PEFT's merged model and of its base.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use convert::source::Source;
use convert::source::hf::{AdapterOptions, AdapterSource, HfOptions, HfSource, OutType};

/// A tensor's shape and values.
type Tensor = (Vec<u64>, Vec<f32>);

fn tensors(source: &dyn Source) -> BTreeMap<String, Tensor> {
    let mut all = BTreeMap::new();
    for (index, tensor) in source.tensors().iter().enumerate() {
        let mut out = vec![0.0; tensor.shape.iter().product::<u64>() as usize];
        let rows = tensor.shape[1..].iter().product();
        source.read_rows(index, 0..rows, &mut out).unwrap();
        all.insert(tensor.name.clone(), (tensor.shape.clone(), out));
    }
    all
}

fn model(dir: &Path) -> BTreeMap<String, Tensor> {
    let options = HfOptions::default()
        .outtype(OutType::F32)
        .pre_tokenizer(Some("default".to_owned()));
    tensors(&HfSource::open(dir, &options).unwrap())
}

/// llama.cpp's change of a weight, in the weight's order; also for stacks of experts.
fn product(a: &Tensor, b: &Tensor, alpha: f32, is_embedding: bool) -> Vec<f64> {
    let rank = b.0[0] as usize;
    let (inputs, outputs) = (a.1.len() / rank, b.0[1] as usize);
    let stack = b.0.get(2).map_or(1, |&n| n as usize);
    let inputs = inputs / stack;
    let scale = f64::from(alpha / rank as f32);
    let mut out = Vec::new();
    for expert in 0..stack {
        let (a, b) = (
            &a.1[expert * rank * inputs..][..rank * inputs],
            &b.1[expert * rank * outputs..][..rank * outputs],
        );
        let dot = |row: usize, column: usize| -> f64 {
            (0..rank)
                .map(|k| {
                    let a = if is_embedding {
                        a[column * rank + k]
                    } else {
                        a[k * inputs + column]
                    };
                    f64::from(b[row * rank + k]) * f64::from(a)
                })
                .sum()
        };
        if is_embedding {
            out.extend(
                (0..inputs)
                    .flat_map(|token| (0..outputs).map(move |e| (e, token)))
                    .map(|(e, t)| dot(e, t)),
            );
        } else {
            out.extend(
                (0..outputs)
                    .flat_map(|o| (0..inputs).map(move |i| (o, i)))
                    .map(|(o, i)| dot(o, i)),
            );
        }
    }
    out.iter().map(|x| x * scale).collect()
}

/// Compares one case; returns the number of adapted weights and the largest deviation relative to the largest
/// difference of the weight.
fn compare(folder: &Path) -> (usize, f64) {
    let options = AdapterOptions::default().base(Some(folder.join("base")));
    let adapter = AdapterSource::open(&folder.join("adapter"), &options).unwrap();
    let alpha = match adapter.metadata().get("adapter.lora.alpha") {
        Some(gguf::Value::F32(alpha)) => *alpha,
        other => panic!("{other:?}"),
    };
    let (base, merged, sides) = (
        model(&folder.join("base")),
        model(&folder.join("merged")),
        tensors(&adapter),
    );
    assert_eq!(base.keys().collect::<Vec<_>>(), merged.keys().collect::<Vec<_>>());
    let (mut adapted, mut worst) = (0, 0f64);
    for (name, (_, before)) in &base {
        let difference = before
            .iter()
            .zip(&merged[name].1)
            .map(|(b, m)| f64::from(*m) - f64::from(*b));
        let difference: Vec<f64> = difference.collect();
        let sides = sides
            .get(&format!("{name}.lora_a"))
            .zip(sides.get(&format!("{name}.lora_b")));
        let Some((a, b)) = sides else {
            assert!(
                difference.iter().all(|d| *d == 0.0),
                "{name} differs and has no pair"
            );
            continue;
        };
        let added = product(a, b, alpha, name == "token_embd.weight");
        assert_eq!(added.len(), difference.len(), "{name}");
        let largest = difference.iter().fold(0f64, |m, d| m.max(d.abs()));
        assert!(largest > 1e-3, "{name}: {largest}");
        let deviation = added
            .iter()
            .zip(&difference)
            .fold(0f64, |m, (a, d)| m.max((a - d).abs()));
        worst = worst.max(deviation / largest);
        adapted += 1;
    }
    assert_eq!(
        2 * adapted,
        sides.len(),
        "pairs for weights that the model does not have"
    );
    (adapted, worst)
}

#[test]
#[ignore = "needs models that py/peft_adapters.py makes, in QUANTSMITH_PEFT"]
fn pairs_add_what_peft_merges() {
    let models = PathBuf::from(std::env::var_os("QUANTSMITH_PEFT").expect("QUANTSMITH_PEFT is not set"));
    let mut cases = 0;
    for item in std::fs::read_dir(models).unwrap() {
        let folder = item.unwrap().path();
        let (adapted, worst) = compare(&folder);
        println!("{}: {adapted} weights, deviation {worst:.1e}", folder.display());
        // Merged in single precision: half a unit in the last place of the sum, beside a difference of about 0.1.
        assert!(adapted > 0 && worst < 1e-5, "{}", folder.display());
        cases += 1;
    }
    assert!(cases >= 9, "{cases} cases");
}
