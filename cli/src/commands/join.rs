//! `quantsmith join`.

use anyhow::bail;
use convert::digest::MANIFEST;
use convert::distribute::{Incomplete, Joined, join};

use super::table::parts::{self, Evaluation};
use super::table::planned::{PlanArgs, Planned};
use crate::output::print;
use crate::progress::{Meter, Unit};

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
    let directory = planned.directory.display();
    if args.plan.evaluate {
        let joined = Evaluation::new(&planned, &layout, 0, None)?.join()?;
        let table = joined.as_ref().ok();
        if args.json {
            let table = table.map(parts::Joined::json).transpose()?;
            print_json(&planned, joined.as_ref().err(), table)?;
        }
        return match joined {
            Err(incomplete) => refuse(&planned, &incomplete),
            Ok(_) if args.json => Ok(()),
            Ok(table) => table.print(),
        };
    }
    let meter = Meter::of("join", Unit::Bytes, layout.bytes_of_join());
    let joined = join(&planned.document, &layout, &|bytes| meter.add(bytes))?;
    meter.finish();
    let incomplete = match &joined {
        Joined::Incomplete(incomplete) => Some(incomplete),
        Joined::Done(_) | Joined::Before => None,
    };
    if args.json {
        print_json(&planned, incomplete, None)?;
    }
    match &joined {
        Joined::Incomplete(incomplete) => refuse(&planned, incomplete),
        _ if args.json => Ok(()),
        Joined::Before => print(|out| writeln!(out, "{directory}: joined already")),
        Joined::Done(files) => print(|out| writeln!(out, "{directory}: {} files, {MANIFEST}", files.len())),
    }
}

/// Prints what is there and what is missing; of an evaluation, the table.
fn print_json(
    planned: &Planned,
    incomplete: Option<&Incomplete>,
    table: Option<serde_json::Value>,
) -> anyhow::Result<()> {
    let again: Vec<_> = incomplete
        .iter()
        .flat_map(|incomplete| &incomplete.again)
        .map(|again| serde_json::json!({"part": again.part.number(), "findings": again.findings}))
        .collect();
    let mut report = serde_json::json!({
        "joined": incomplete.is_none(),
        "directory": convert::path_json(&planned.directory),
        "parts": incomplete.map(|incomplete| incomplete.count),
        "run_again": again,
    });
    if let Some(table) = table {
        report["table"] = table;
    }
    crate::output::print_json(&report)
}

/// Says which parts are to be run again, and why.
fn refuse(planned: &Planned, incomplete: &Incomplete) -> anyhow::Result<()> {
    for again in &incomplete.again {
        for finding in &again.findings {
            eprintln!("part {}: {finding}", again.part);
        }
    }
    bail!(
        "{}: {} of {} parts are to be run again: {}",
        planned.directory.display(),
        incomplete.again.len(),
        incomplete.count,
        numbers(incomplete)
    )
}

/// The parts to run again, as a scheduler's array takes them.
fn numbers(incomplete: &Incomplete) -> String {
    let numbers = incomplete
        .again
        .iter()
        .map(|again| again.part.number().to_string());
    numbers.collect::<Vec<_>>().join(",")
}
