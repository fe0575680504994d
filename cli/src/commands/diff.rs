//! `quantsmith diff`.

use std::path::PathBuf;

use convert::diff::{Diff, KeyDifference, TensorDifference, diff};
use gguf::{Backing, GgufModel, OpenOptions};
use serde_json::{Value as Json, json};

use super::inspect::{shown_key, shown_value, value_json};
use crate::exit::{DONE, FAILED};
use crate::output::{print, print_json};
use crate::progress::{Meter, Unit};

/// Arguments of `quantsmith diff`.
#[derive(clap::Args)]
#[command(after_help = "Exit codes: 0 no difference, 1 differences or failure.")]
pub(crate) struct Args {
    /// First GGUF file
    a: PathBuf,
    /// Second GGUF file
    b: PathBuf,
    /// Compare headers alone; tensor data may be absent
    #[arg(long)]
    headers_only: bool,
    /// Print the differences as one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) fn run(args: Args) -> anyhow::Result<u8> {
    let options = OpenOptions::default()
        .backing(Backing::File)
        .allow_missing_data(args.headers_only);
    let a = GgufModel::open_with(&args.a, options)?;
    let b = GgufModel::open_with(&args.b, options)?;
    let bytes = a.tensors().map(|t| t.info.size_bytes()).sum();
    let meter = Meter::of("compare", Unit::Bytes, if args.headers_only { 0 } else { bytes });
    let found = diff(&a, &b, args.headers_only, &|n| meter.add(n))?;
    if args.json {
        print_json(&as_json(&found))?;
    } else {
        print(|out| show(out, &found))?;
    }
    Ok(if found.is_empty() { DONE } else { FAILED })
}

fn show(out: &mut dyn std::io::Write, found: &Diff<'_>) -> std::io::Result<()> {
    for (key, difference) in &found.keys {
        let key = shown_key(key);
        match difference {
            KeyDifference::OnlyInFirst(v) => writeln!(out, "- {key} = {}", shown_value(v))?,
            KeyDifference::OnlyInSecond(v) => writeln!(out, "+ {key} = {}", shown_value(v))?,
            KeyDifference::Changed(a, b) => {
                writeln!(out, "- {key} = {}", shown_value(a))?;
                writeln!(out, "+ {key} = {}", shown_value(b))?;
            }
        }
    }
    if found.key_order {
        writeln!(out, "keys stand in another order")?;
    }
    for (name, difference) in &found.tensors {
        let name = shown_key(name);
        match difference {
            TensorDifference::OnlyInFirst => writeln!(out, "- tensor {name}")?,
            TensorDifference::OnlyInSecond => writeln!(out, "+ tensor {name}")?,
            TensorDifference::Shape(a, b) => writeln!(out, "! tensor {name}: shape {a:?} and {b:?}")?,
            TensorDifference::Data { types, data } => {
                write!(out, "! tensor {name}: ")?;
                match data.different_blocks {
                    Some(n) => write!(out, "{}, {n} of {} blocks differ", types.0, data.blocks)?,
                    None => write!(out, "{} and {}", types.0, types.1)?,
                }
                if data.rms.is_finite() {
                    write!(
                        out,
                        "; RMS difference {:.3e} ({:.2} %), largest {:.3e}",
                        data.rms,
                        data.relative_rms * 100.0,
                        data.max
                    )?;
                }
                writeln!(out)?;
            }
        }
    }
    if found.tensor_order {
        writeln!(out, "tensors stand in another order")?;
    }
    writeln!(
        out,
        "{} keys and {} tensors differ; {} tensors are equal",
        found.keys.len(),
        found.tensors.len(),
        found.equal_tensors
    )
}

fn as_json(found: &Diff<'_>) -> Json {
    let keys: Vec<Json> = found
        .keys
        .iter()
        .map(|(key, difference)| {
            let (a, b) = match difference {
                KeyDifference::OnlyInFirst(a) => (Some(*a), None),
                KeyDifference::OnlyInSecond(b) => (None, Some(*b)),
                KeyDifference::Changed(a, b) => (Some(*a), Some(*b)),
            };
            json!({"key": key, "a": a.map(value_json), "b": b.map(value_json)})
        })
        .collect();
    let tensors: Vec<Json> = found
        .tensors
        .iter()
        .map(|(name, difference)| match difference {
            TensorDifference::OnlyInFirst => json!({"tensor": name, "only_in": "a"}),
            TensorDifference::OnlyInSecond => json!({"tensor": name, "only_in": "b"}),
            TensorDifference::Shape(a, b) => json!({"tensor": name, "shapes": [a, b]}),
            TensorDifference::Data { types, data } => {
                json!({"tensor": name, "types": [types.0.name(), types.1.name()], "data": data})
            }
        })
        .collect();
    json!({
        "equal": found.is_empty(),
        "keys": keys,
        "key_order": found.key_order,
        "tensors": tensors,
        "tensor_order": found.tensor_order,
        "equal_tensors": found.equal_tensors,
    })
}
