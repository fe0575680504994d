//! `quantsmith split`.

use std::num::NonZeroU64;
use std::path::PathBuf;

use gguf::split::{self, Limit, SplitOptions, shard_path};
use gguf::{FilePlan, GgufModel, OpenOptions};
use serde_json::json;

use crate::args::size::parse_size;
use crate::inputs::hold;
use crate::output::{print, print_json};
use crate::progress::{Meter, Unit};

/// Arguments of `quantsmith split`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The GGUF file to split; of a model of several files, the first
    input: PathBuf,
    /// Shards are named PREFIX-00001-of-0000N.gguf
    #[arg(value_name = "OUT_PREFIX")]
    prefix: PathBuf,
    /// Most tensors in a shard [default: 128]
    #[arg(long, value_name = "N", conflicts_with = "split_max_size")]
    split_max_tensors: Option<NonZeroU64>,
    /// Most bytes of tensors in a shard: NM or NG, of 10^6 and 10^9 bytes
    #[arg(long, value_name = "N(M|G)", value_parser = parse_size)]
    split_max_size: Option<NonZeroU64>,
    /// Leave the first shard without tensors
    #[arg(long)]
    no_tensor_first_split: bool,
    /// Print the plan and write nothing; the input's tensor data may be absent
    #[arg(long)]
    dry_run: bool,
    /// Print the plan as one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    hold([&args.input]);
    let mut options = SplitOptions::default().no_tensor_first_split(args.no_tensor_first_split);
    if let Some(bytes) = args.split_max_size {
        options.limit = Limit::Bytes(bytes.get());
    } else if let Some(tensors) = args.split_max_tensors {
        options.limit = Limit::Tensors(tensors.get());
    }
    let open = OpenOptions::default().allow_missing_data(args.dry_run);
    let model = GgufModel::open_with(&args.input, open)?;
    let plans = split::plan_model(&model, &options)?;
    warn_of_oversize(&plans, options.limit);
    let paths: Vec<PathBuf> = (0..plans.len() as u64)
        .map(|i| shard_path(&args.prefix, i, plans.len() as u64))
        .collect();

    if !args.dry_run {
        for path in &paths {
            gguf::check_not_input(path)?;
        }
        let meter = Meter::of(
            "write",
            Unit::Bytes,
            model.tensors().map(|t| t.info.size_bytes()).sum(),
        );
        split::write(&model, &plans, &args.prefix, &mut |n| meter.add(n))?;
        for path in &paths {
            eprintln!("wrote {}", path.display());
        }
    }
    if args.json {
        let shards: Vec<_> = plans
            .iter()
            .zip(&paths)
            .map(|(plan, path)| {
                json!({
                    "path": convert::path_json(path),
                    "tensors": plan.tensors.len(),
                    "size_bytes": plan.file_size(),
                })
            })
            .collect();
        return print_json(&json!({ "dry_run": args.dry_run, "shards": shards }));
    }
    print(|out| {
        writeln!(out, "n_split: {}", plans.len())?;
        for (i, plan) in plans.iter().enumerate() {
            let megabytes = plan.file_size() / 1_000_000;
            writeln!(
                out,
                "split {:05}: n_tensors = {}, total_size = {megabytes}M",
                i + 1,
                plan.tensors.len()
            )?;
        }
        Ok(())
    })
}

/// A tensor larger than the limit cannot be cut; it gets a shard of its own, and the user is told.
fn warn_of_oversize(plans: &[FilePlan], limit: Limit) {
    let Limit::Bytes(limit) = limit else { return };
    for plan in plans
        .iter()
        .filter(|p| p.tensors.len() == 1 && p.data_len() > limit)
    {
        let t = &plan.tensors[0];
        let size = t.size_bytes();
        eprintln!(
            "warning: tensor '{}' alone has {size} bytes, over the limit of {limit}",
            t.name
        );
    }
}
