//! `quantsmith run`.

use anyhow::Context as _;
use convert::distribute::{Check, Layout, Part, run_part};
use convert::pipeline::PipelineOptions;
use convert::quantize::Quantization;
use reference::Model;

use super::table::parts::{Evaluation, PartDone};
use super::table::planned::{PlanArgs, Planned};
use crate::args::memory::BufferArgs;
use crate::interrupt::can_be_continued;
use crate::optimization::base_model;
use crate::output::print;
use crate::progress::metered;

/// Arguments of `quantsmith run`.
#[derive(clap::Args)]
#[command(
    after_help = "Without --part, the part is the one that a scheduler's variables name: SLURM_ARRAY_TASK_ID with \
    _COUNT, _MIN and _MAX; JOB_COMPLETION_INDEX with JOB_COMPLETIONS; RANK with WORLD_SIZE. A part that is run again \
    does what is left of it, and nothing where nothing is left."
)]
pub(crate) struct Args {
    #[command(flatten)]
    plan: PlanArgs,

    /// The part to run: number I, counted from 1, of N
    #[arg(long, value_name = "I/N", value_parser = parse_part)]
    part: Option<Part>,

    /// How much of the inputs is compared with the plan
    #[arg(long, value_enum, default_value_t = CheckName::Sampled)]
    check: CheckName,

    #[command(flatten)]
    buffers: BufferArgs,

    /// Threads; 0 for as many as the machine runs at once
    #[arg(short, long, value_name = "N", default_value_t = 0)]
    threads: usize,
}

/// The values of --check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum CheckName {
    /// Lengths, and 256 samples of 4096 bytes of each file: small files whole
    Sampled,
    /// Every byte
    Content,
}

/// Runs the command.
pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    let part = match args.part {
        Some(part) => part,
        None => Part::from_environment(&|name| std::env::var(name).ok())?
            .context("no part: say which with --part I/N, or run this under a scheduler's array")?,
    };
    let planned = args.plan.open(false)?;
    let check = match args.check {
        CheckName::Sampled => Check::Sampled,
        CheckName::Content => Check::Content,
    };
    planned
        .document
        .check_inputs(planned.source(), planned.others(), check, args.plan.evaluate)?;
    let mut layout = planned.layout()?;
    if args.plan.evaluate {
        return evaluate(&args, &planned, &layout, part);
    }
    std::fs::create_dir_all(&planned.directory).with_context(|| planned.directory.display().to_string())?;
    can_be_continued(format!("the same command does what is left of part {part}"));
    let options = PipelineOptions::default()
        .threads(args.threads)
        .max_memory(args.buffers.bytes());
    let started = std::time::Instant::now();
    let (source, better) = (planned.source(), planned.better());
    let mut base = None;
    let mut learn = |plan: &mut Quantization<'_>| {
        let model: &Model = match &mut base {
            Some(model) => model,
            none => none.insert(base_model(source, &planned.directory.join("base"), args.threads)?),
        };
        better.learn(source, plan, model, args.threads, options.max_memory)?;
        anyhow::Ok(())
    };
    let document = &planned.document;
    let done = metered(|show| run_part(source, document, &mut layout, part, &options, &mut learn, show))?;
    for plan in done
        .rows
        .iter()
        .filter_map(|&row| layout.table()[row].plan.as_ref().ok())
    {
        better.forget(plan)?;
    }
    print(|out| {
        if done.joined {
            return writeln!(out, "part {part}: the parts are joined already");
        }
        write!(out, "part {part}: {} bytes in {} files", done.bytes, done.files)?;
        if done.found > 0 {
            write!(out, ", {} of them there already", done.found)?;
        }
        writeln!(out, ", {:.1} s", started.elapsed().as_secs_f64())
    })
}

/// Measures a part of the evaluation.
fn evaluate(args: &Args, planned: &Planned, layout: &Layout<'_>, part: Part) -> anyhow::Result<()> {
    let started = std::time::Instant::now();
    let evaluation = Evaluation::new(planned, layout, args.threads, Some(args.buffers.bytes()))?;
    can_be_continued(format!("the same command does what is left of part {part}"));
    let done = evaluation.run(part)?;
    print(|out| match done {
        PartDone::Joined => writeln!(out, "part {part}: the evaluation is joined already"),
        PartDone::Measured { runs, found } => {
            write!(out, "part {part}: {runs} runs of a file over a window")?;
            if found > 0 {
                write!(out, ", {found} of them there already")?;
            }
            writeln!(out, ", {:.1} s", started.elapsed().as_secs_f64())
        }
    })
}

fn parse_part(text: &str) -> Result<Part, String> {
    text.parse().map_err(|e: convert::Error| e.to_string())
}
