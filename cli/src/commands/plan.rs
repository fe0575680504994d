//! `quantsmith plan`.

use std::path::{Path, PathBuf};

use anyhow::bail;
use convert::distribute::{Balance, Cut, Layout, PlanDocument, Request, SplitRequest, Taken, TypesRequest};
use convert::recipe::{KvOverride, Preset};
use convert::source::Source;
use convert::table;
use demo::CALIBRATION_TEXT;
use gguf::WholeFile;

use super::table::parts::{self, Here};
use super::table::planned::others;
use super::table::{Opened, text_files, texts_of};
use crate::args::architecture::ArchitectureArgs;
use crate::args::evaluation::EvaluationArgs;
use crate::args::importance::ImportanceArgs;
use crate::args::shards::ShardArgs;
use crate::args::types::TypeArgs;
use crate::args::unplanned::UnplannedArgs;
use crate::args::utf8;
use crate::hub::{self, Need};
use crate::inputs::hold;
use crate::optimization::OptimizeArgs;
use crate::output::print;

/// Arguments of `quantsmith plan`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Model directory, GGUF file or model of the hub (ORG/MODEL[@REVISION])
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

    /// Unit that parts are cut in [default: rows; files with --optimize]
    #[arg(long, value_enum)]
    cut: Option<CutName>,

    #[command(flatten)]
    types_of_tensors: TypeArgs,

    #[command(flatten)]
    importance: ImportanceArgs,

    #[command(flatten)]
    optimize: OptimizeArgs,

    /// Leave out these layers
    #[arg(long, value_name = "L0,L1,...", value_delimiter = ',')]
    prune_layers: Vec<u32>,

    /// Set a metadata key; TYPE is int, float, bool or str (repeatable)
    #[arg(long, value_name = "KEY=TYPE:VALUE", value_parser = parse_override)]
    override_kv: Vec<String>,

    /// Let --override-kv change the type of a key, and store numbers out of range as llama-quantize does
    #[arg(long)]
    force: bool,

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

    #[command(flatten)]
    unplanned: UnplannedArgs,

    /// Take down no digests of the inputs' whole content but those that the hub lists; headers of the model's files suffice
    /// then
    #[arg(long)]
    headers_only: bool,

    /// Show how evenly this many parts share the work, and how long all of them take at once by measured rates
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    parts: u64,

    /// Cores of each machine that runs a part, for that estimate
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    cores: u32,

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
    args.refuse()?;
    let located = hub::locate(&args.model, Need::of_run(args.headers_only))?;
    let path = located.path();
    hold([path]);
    hold(args.types_of_tensors.files());
    hold(args.importance.path());
    let opened = Opened::open(
        path,
        args.headers_only,
        args.pre_tokenizer.as_deref(),
        args.architecture.file(),
        located.origin(),
    )?;
    let importance = args.importance.load()?;
    let request = args.request(&located, opened.name(path))?;
    let better = args
        .optimize
        .prepare(opened.source().metadata(), path, Some(CALIBRATION_TEXT), false)?;
    let directory = PathBuf::from(&request.directory);
    let mut layout = Layout::new(
        opened.source(),
        &request,
        &directory,
        importance.as_ref(),
        &better.record,
    )?;
    better.set_encoders(opened.source(), &mut layout)?;
    let balance = layout.balance(args.parts)?;
    let plan = args.document(opened.source(), request, &layout, &located)?;
    for left_out in &plan.left_out {
        eprintln!("left out: {}: {}", left_out.preset, left_out.reason);
    }
    let text = plan.text();
    WholeFile::open(&args.output)?.publish(text.as_bytes())?;
    match args.json {
        true => args.print_json(&plan, &balance, text.len()),
        false => args.print(&plan, &balance),
    }
}

impl Args {
    /// Refuses options that no parts can carry out together.
    fn refuse(&self) -> anyhow::Result<()> {
        self.unplanned.refuse()?;
        if self.optimize.learns() && self.cut == Some(CutName::Rows) {
            bail!(
                "--cut rows: a file whose blocks are learned is not cut, as the inputs of a layer depend on the layers before it \
                 as they were quantized; with --cut files a part is whole files"
            );
        }
        if !(self.prune_layers.is_empty() && self.override_kv.is_empty()) && self.evaluation.given() {
            bail!(
                "--evaluate: `table` makes no files with --prune-layers or --override-kv, so that there is no record of their \
                 figures: prune or set keys first (`quantsmith quantize MODEL.gguf OUT.gguf COPY`), and plan what comes out"
            );
        }
        Ok(())
    }

    /// The request, by names that hold on every machine.
    fn request(&self, located: &hub::Located, name: String) -> anyhow::Result<Request> {
        let entries = match &self.presets {
            Some(list) => table::parse_entries(list)?,
            None => table::published(),
        };
        let directory = match &self.out {
            Some(directory) => utf8(directory)?,
            None => format!("{name}-GGUF"),
        };
        Ok(Request {
            model: located
                .pinned()
                .map_or_else(|| utf8(&self.model), |name| Ok(name.to_owned()))?,
            origin: located.origin().cloned(),
            directory,
            name,
            presets: entries.iter().map(|entry| entry.name.to_string()).collect(),
            cut: match self.cut {
                Some(CutName::Rows) => Cut::Rows,
                Some(CutName::Files) => Cut::Files,
                None if self.optimize.learns() => Cut::Files,
                None => Cut::Rows,
            },
            imatrix: self.importance.request()?,
            types: TypesRequest::of(&self.types_of_tensors.recipe(Preset::Q8_0)?),
            prune_layers: self.prune_layers.clone(),
            override_kv: self.override_kv.clone(),
            force: self.force,
            allow_requantize: self.allow_requantize,
            allow_incomplete: self.allow_incomplete,
            pre_tokenizer: self.pre_tokenizer.clone(),
            arch_file: self.architecture.file().as_deref().map(utf8).transpose()?,
            split: self.shards.gguf_split().as_ref().and_then(SplitRequest::of),
            optimize: self.optimize.request()?,
            evaluation: self.evaluation.request()?,
        })
    }

    /// The plan of that, with the digests of everything that it is made from.
    fn document(
        &self,
        source: &dyn Source,
        request: Request,
        layout: &Layout<'_>,
        located: &hub::Located,
    ) -> anyhow::Result<PlanDocument> {
        let texts = request.evaluation.as_ref().and_then(texts_of);
        let texts = texts.map(PathBuf::from);
        hold(&texts);
        let here = Here {
            imatrix: self.importance.path(),
            texts: texts.as_deref(),
            ..Here::default()
        };
        let evaluation = match request.evaluation {
            Some(_) => Some(parts::plan(source, &request, &here)?),
            None => None,
        };
        hold(self.optimize.text());
        let owned = |path: Option<&Path>| path.map(Path::to_path_buf);
        let mut inputs = others(
            owned(self.importance.path()),
            self.architecture.file(),
            owned(self.optimize.text()),
        );
        inputs.extend(text_files(&request, texts.as_deref())?);
        let taken = Taken {
            content: !self.headers_only,
            hollow: located.hollow(),
        };
        let mut plan = PlanDocument::new(source, request, layout, &inputs, taken, crate::version::version())?;
        plan.evaluation = evaluation;
        Ok(plan)
    }

    /// Seconds that all parts take at once.
    fn wall(&self, balance: &Balance) -> f64 {
        balance.largest / f64::from(self.cores)
    }

    fn print_json(&self, plan: &PlanDocument, balance: &Balance, plan_bytes: usize) -> anyhow::Result<()> {
        crate::output::print_json(&serde_json::json!({
            "plan": convert::path_json(&self.output),
            "digest": plan.digest(),
            "plan_bytes": plan_bytes,
            "files": plan.files.len(),
            "tensors": plan.tensors.len(),
            "work": plan.work,
            "evaluation": plan.evaluation,
            "parts": self.parts,
            "core_seconds_of_largest_part": balance.largest,
            "core_seconds_of_mean_part": balance.mean,
            "largest_over_mean": balance.ratio(),
            "cores_of_a_part": self.cores,
            "wall_seconds_at_once": self.wall(balance),
        }))
    }

    fn print(&self, plan: &PlanDocument, balance: &Balance) -> anyhow::Result<()> {
        let seconds = plan.work.cost_ms as f64 / 1e3;
        print(|out| {
            writeln!(
                out,
                "{}: {} files, {} tensors, {} pieces, about {seconds:.1} s on one core",
                self.output.display(),
                plan.files.len(),
                plan.tensors.len(),
                plan.work.pieces
            )?;
            if self.parts > 1 || self.cores > 1 {
                writeln!(
                    out,
                    "{} parts: {:.1} s each on one core, the largest {:.4} of the mean; all at once, with {} {} for each, \
                     about {:.1} s",
                    self.parts,
                    balance.mean,
                    balance.ratio(),
                    self.cores,
                    if self.cores == 1 { "core" } else { "cores" },
                    self.wall(balance),
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
}

/// An override as it is written, which can be read.
fn parse_override(text: &str) -> Result<String, String> {
    KvOverride::parse(text).map(|_| text.to_owned())
}
