//! `quantsmith plan`.

use std::path::{Path, PathBuf};

use convert::distribute::{Cut, Layout, PlanDocument, Request, SplitRequest, TypesRequest};
use convert::recipe::Preset;
use convert::table;
use gguf::WholeFile;

use super::table::Opened;
use super::table::parts::{self, Here};
use crate::args::architecture::ArchitectureArgs;
use crate::args::evaluation::EvaluationArgs;
use crate::args::importance::ImportanceArgs;
use crate::args::plan::others;
use crate::args::shards::ShardArgs;
use crate::args::types::TypeArgs;
use crate::args::utf8;
use crate::inputs::hold;
use crate::output::print;

/// Arguments of `quantsmith plan`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Model directory or GGUF file
    model: PathBuf,

    /// Presets to make, separated by commas [default: the 22 of a published table]
    #[arg(long, visible_alias = "types", value_name = "LIST")]
    presets: Option<String>,

    /// The plan to write
    #[arg(short, long, value_name = "FILE", default_value = "plan.json")]
    output: PathBuf,

    /// Directory for the files [default: MODEL-GGUF in the current directory]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// What parts consist of
    #[arg(long, value_enum, default_value_t = CutName::Rows)]
    cut: CutName,

    #[command(flatten)]
    types_of_tensors: TypeArgs,

    #[command(flatten)]
    importance: ImportanceArgs,

    /// Allow a source that is quantized already, at a loss of quality
    #[arg(long)]
    allow_requantize: bool,

    /// Make files of a model although it lacks tensors or keys that its architecture needs
    #[arg(long)]
    allow_incomplete: bool,

    /// Name of the pre-tokenizer, instead of finding it by what the tokenizer does
    #[arg(long, value_name = "NAME", value_parser = super::convert::parse_pre_tokenizer)]
    pre_tokenizer: Option<String>,

    #[command(flatten)]
    architecture: ArchitectureArgs,

    #[command(flatten)]
    shards: ShardArgs,

    #[command(flatten)]
    evaluation: EvaluationArgs,

    /// Take down no digests of the inputs' whole content; headers of the model's files suffice then
    #[arg(long)]
    headers_only: bool,

    /// Show how evenly this many parts share the work
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    parts: u64,

    /// Print what was planned as JSON
    #[arg(long)]
    json: bool,
}

/// The values of --cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum CutName {
    /// Rows of tensors, written into the same files, which are on a disk that all machines share
    Rows,
    /// Whole files (shards, with --split-max-size), each valid by itself; no disk has to be shared
    Files,
}

/// Runs the command.
pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    hold([&args.model]);
    hold(args.types_of_tensors.files());
    hold(args.importance.path());
    let arch_file = args.architecture.file();
    let opened = Opened::open(
        &args.model,
        args.headers_only,
        args.pre_tokenizer.as_deref(),
        arch_file.clone(),
        None,
    )?;
    let source = opened.source();
    let importance = args.importance.load()?;
    let name = opened.name(&args.model);
    let entries = match &args.presets {
        Some(list) => table::parse_entries(list)?,
        None => table::published(),
    };
    let directory = args
        .out
        .clone()
        .unwrap_or_else(|| PathBuf::from(format!("{name}-GGUF")));
    let request = Request {
        model: utf8(&args.model)?,
        directory: utf8(&directory)?,
        name,
        presets: entries.iter().map(|entry| entry.name.to_string()).collect(),
        cut: match args.cut {
            CutName::Rows => Cut::Rows,
            CutName::Files => Cut::Files,
        },
        imatrix: args.importance.request()?,
        types: TypesRequest::of(&args.types_of_tensors.recipe(Preset::Q8_0)?),
        allow_requantize: args.allow_requantize,
        allow_incomplete: args.allow_incomplete,
        pre_tokenizer: args.pre_tokenizer.clone(),
        arch_file: arch_file.as_deref().map(utf8).transpose()?,
        split: args.shards.gguf_split().as_ref().and_then(SplitRequest::of),
        evaluation: args.evaluation.request()?,
    };
    let texts = request.evaluation.as_ref().and_then(parts::texts_of);
    let texts = texts.map(PathBuf::from);
    hold(&texts);
    let here = Here {
        imatrix: args.importance.path(),
        texts: texts.as_deref(),
        ..Here::default()
    };
    let evaluation = request.evaluation.as_ref();
    let evaluation = evaluation
        .map(|_| parts::plan(source, &request, &here))
        .transpose()?;
    let layout = Layout::new(source, &request, &directory, importance.as_ref())?;
    let balance = layout.balance(args.parts)?;
    let mut inputs = others(args.importance.path().map(Path::to_path_buf), arch_file);
    inputs.extend(parts::text_files(&request, texts.as_deref())?);
    let mut plan = PlanDocument::new(
        source,
        request,
        &layout,
        &inputs,
        !args.headers_only,
        crate::cli::version(),
    )?;
    plan.evaluation = evaluation;
    for left_out in &plan.left_out {
        eprintln!("left out: {}: {}", left_out.preset, left_out.reason);
    }
    let text = plan.text();
    WholeFile::open(&args.output)?.publish(text.as_bytes())?;
    let seconds = plan.work.cost_ms as f64 / 1e3;
    if args.json {
        return crate::output::print_json(&serde_json::json!({
            "plan": convert::path_json(&args.output),
            "digest": plan.digest(),
            "plan_bytes": text.len(),
            "files": plan.files.len(),
            "tensors": plan.tensors.len(),
            "work": plan.work,
            "evaluation": plan.evaluation,
            "parts": args.parts,
            "core_seconds_of_largest_part": balance.largest,
            "core_seconds_of_mean_part": balance.mean,
            "largest_over_mean": balance.ratio(),
        }));
    }
    print(|out| {
        writeln!(
            out,
            "{}: {} files, {} tensors, {} pieces, about {seconds:.1} s on one core",
            args.output.display(),
            plan.files.len(),
            plan.tensors.len(),
            plan.work.pieces
        )?;
        if args.parts > 1 {
            writeln!(
                out,
                "{} parts: {:.1} s each, the largest {:.4} of the mean",
                args.parts,
                balance.mean,
                balance.ratio()
            )?;
        }
        if let Some(evaluation) = &plan.evaluation {
            writeln!(
                out,
                "evaluation over {} windows, {} positions of each scored",
                evaluation.windows, evaluation.scored
            )?;
        }
        Ok(())
    })
}
