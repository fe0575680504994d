//! `quantsmith merge`.

use std::path::PathBuf;

use anyhow::Context as _;
use gguf::{GgufModel, OpenOptions, split};
use serde_json::json;

use crate::inputs::hold;
use crate::output::{print, print_json};
use crate::progress::{Meter, Unit};

/// Arguments of `quantsmith merge`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The first shard: PREFIX-00001-of-0000N.gguf
    first_shard: PathBuf,
    /// The file to write; it must not exist
    #[arg(value_name = "OUT")]
    output: PathBuf,
    /// Print what would be written and write nothing; the shards' tensor data may be absent
    #[arg(long)]
    dry_run: bool,
    /// Delete the shards once the merged file is complete, synced and in place
    #[arg(long)]
    delete_splits: bool,
    /// Print the report as one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    hold([&args.first_shard]);
    let open = OpenOptions::default().allow_missing_data(args.dry_run);
    let model = GgufModel::open_with(&args.first_shard, open)?;
    let plan = split::merge_plan(&model)?;
    if !args.dry_run {
        let meter = Meter::of(
            "write",
            Unit::Bytes,
            model.tensors().map(|t| t.info.size_bytes()).sum(),
        );
        split::merge(&model, &args.output, &mut |n| meter.add(n))?;
    }
    let (shards, tensors) = (model.files().len(), model.len());
    if args.delete_splits && !args.dry_run {
        for file in model.files() {
            std::fs::remove_file(file.path())
                .with_context(|| format!("{} was merged but not deleted", file.path().display()))?;
        }
    }
    if args.json {
        return print_json(&json!({
            "path": convert::path_json(&args.output),
            "dry_run": args.dry_run,
            "shards": shards,
            "tensors": tensors,
            "size_bytes": plan.file_size(),
        }));
    }
    print(|out| {
        writeln!(
            out,
            "{}: {} {shards} shards with {tensors} tensors, {} bytes",
            args.output.display(),
            if args.dry_run {
                "would be merged from"
            } else {
                "merged from"
            },
            plan.file_size()
        )
    })
}
