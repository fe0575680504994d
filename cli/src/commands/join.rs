//! `quantsmith join`.

use anyhow::bail;
use convert::digest::MANIFEST;
use convert::distribute::{Incomplete, Joined, join};

use crate::args::plan::PlanArgs;
use crate::output::print;

/// Arguments of `quantsmith join`.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    plan: PlanArgs,

    /// Print the result as JSON, also where parts are missing
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    let planned = args.plan.open(true)?;
    let layout = planned.layout()?;
    let joined = join(&planned.document, &layout)?;
    let directory = planned.directory.display();
    if args.json {
        let incomplete = match &joined {
            Joined::Incomplete(incomplete) => Some(incomplete),
            Joined::Done(_) | Joined::Before => None,
        };
        let again: Vec<_> = incomplete
            .iter()
            .flat_map(|incomplete| &incomplete.again)
            .map(|again| serde_json::json!({"part": again.part.number(), "findings": again.findings}))
            .collect();
        crate::output::print_json(&serde_json::json!({
            "joined": incomplete.is_none(),
            "directory": convert::path_json(&planned.directory),
            "parts": incomplete.map(|incomplete| incomplete.count),
            "run_again": again,
        }))?;
    }
    match &joined {
        Joined::Incomplete(incomplete) => {
            for again in &incomplete.again {
                for finding in &again.findings {
                    eprintln!("part {}: {finding}", again.part);
                }
            }
            bail!(
                "{directory}: {} of {} parts are to be run again: {}",
                incomplete.again.len(),
                incomplete.count,
                numbers(incomplete)
            )
        }
        _ if args.json => Ok(()),
        Joined::Before => print(|out| writeln!(out, "{directory}: joined already")),
        Joined::Done(files) => print(|out| writeln!(out, "{directory}: {} files, {MANIFEST}", files.len())),
    }
}

/// The parts to run again, as a scheduler's array takes them.
fn numbers(incomplete: &Incomplete) -> String {
    let numbers = incomplete
        .again
        .iter()
        .map(|again| again.part.number().to_string());
    numbers.collect::<Vec<_>>().join(",")
}
