//! An architecture of one's own: a family of models that is not built in, converted by declarations in this program.
//!
//! `cargo run --example custom_architecture -- MODEL_DIR OUT.gguf`

use std::path::Path;

use quantsmith::convert::Result;
use quantsmith::convert::arch::custom::{Change, Config, Custom, CustomArchitecture, TensorRule};
use quantsmith::convert::pipeline::{PipelineOptions, execute};
use quantsmith::convert::plan::OutputPlan;
use quantsmith::convert::source::hf::{HfOptions, HfSource};
use quantsmith::gguf::Value;

/// Models of the class `WillowForCausalLM`: Llama's graph, with queries, keys and values in one matrix, and norms that are
/// stored as their distance from one.
#[derive(Debug)]
struct Willow;

/// A positive number of the configuration.
fn number(config: &Config, key: &str) -> Result<u32, String> {
    let value = config.get(key).and_then(|v| v.as_u64());
    let number = value.and_then(|n| u32::try_from(n).ok()).filter(|&n| n > 0);
    number.ok_or_else(|| format!("{key}: expected a positive number, found {:?}", config.get(key)))
}

/// Rows of a layer's matrix: queries, keys and values have one third each.
fn third(which: u64, rows: u64) -> Result<Vec<std::ops::Range<u64>>, String> {
    match rows % 3 {
        0 => Ok(std::iter::once(which * rows / 3..(which + 1) * rows / 3).collect()),
        _ => Err(format!("qkv: expected three equal parts, found {rows} rows")),
    }
}

impl CustomArchitecture for Willow {
    fn name(&self) -> &str {
        "llama"
    }

    fn classes(&self) -> Vec<String> {
        vec!["WillowForCausalLM".to_owned()]
    }

    fn tensors(&self) -> Vec<TensorRule> {
        let rows = [
            Change::Rows(|_, rows| third(0, rows)),
            Change::Rows(|_, rows| third(1, rows)),
            Change::Rows(|_, rows| third(2, rows)),
        ];
        let mut rules = vec![
            TensorRule::copy("roots.tokens", "token_embd"),
            TensorRule::new("crown.norm", "output_norm", Change::Add(1.0)),
            TensorRule::copy("crown.head", "output"),
            TensorRule::new("branches.{}.norm1", "blk.{}.attn_norm", Change::Add(1.0)),
            TensorRule::new("branches.{}.norm2", "blk.{}.ffn_norm", Change::Add(1.0)),
            TensorRule::copy("branches.{}.out", "blk.{}.attn_output"),
            TensorRule::copy("branches.{}.gate", "blk.{}.ffn_gate"),
            TensorRule::copy("branches.{}.up", "blk.{}.ffn_up"),
            TensorRule::copy("branches.{}.down", "blk.{}.ffn_down"),
            TensorRule::skip("branches.{}.rotation"),
        ];
        for (part, rows) in ["q", "k", "v"].into_iter().zip(rows) {
            rules.push(TensorRule::new(
                "branches.{}.qkv",
                format!("blk.{{}}.attn_{part}"),
                rows,
            ));
        }
        rules
    }

    fn keys(&self, config: &Config) -> Result<Vec<(String, Value)>, String> {
        let heads = number(config, "heads")?;
        let width = number(config, "width")?;
        let numbers = [
            ("block_count", number(config, "num_hidden_layers")?),
            ("context_length", number(config, "seen")?),
            ("embedding_length", width),
            ("feed_forward_length", number(config, "inner")?),
            ("attention.head_count", heads),
            ("attention.head_count_kv", heads),
            ("vocab_size", number(config, "vocab_size")?),
            ("rope.dimension_count", width / heads),
        ];
        let mut keys: Vec<(String, Value)> = numbers.map(|(key, n)| (key.to_owned(), Value::U32(n))).into();
        keys.push(("attention.layer_norm_rms_epsilon".to_owned(), Value::F32(1e-5)));
        Ok(keys)
    }
}

/// Converts a directory of such a model.
pub fn convert(dir: &Path, out: &Path) -> Result<()> {
    let mut options = HfOptions::default();
    // Searched before the built-in ones.
    options.architectures.push(Custom::new(Willow)?);
    let source = HfSource::open(dir, &options)?;
    // What Llama's graph needs and the file would lack is an error here, before any weight is read.
    let plan = OutputPlan::unquantized(out, &source, Vec::new())?;
    execute(&source, &[plan], &PipelineOptions::default(), &|_| {})
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args_os().skip(1);
    let (Some(dir), Some(out)) = (args.next(), args.next()) else {
        return Err("usage: custom_architecture MODEL_DIR OUT.gguf".into());
    };
    Ok(convert(Path::new(&dir), Path::new(&out))?)
}
