//! Command-line parsing and dispatch.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::commands;
use crate::exit::{DONE, FAILED, WRONG_USAGE};
use crate::version::version;

#[derive(Parser)]
#[command(
    name = "quantsmith",
    version = version(),
    about = "Quantize models and convert them to GGUF",
    after_help = "QUANTSMITH_LOG filters the messages of the library, as in QUANTSMITH_LOG=debug or \
        quantsmith_convert=warn. QUANTSMITH_ISA=scalar turns SIMD off."
)]
struct Cli {
    /// More messages on standard error, such as every tensor that a conversion leaves out
    // Behind the options of each command in its help.
    #[arg(short, long, global = true, conflicts_with = "quiet", display_order = 900)]
    verbose: bool,

    /// No messages on standard error but errors
    #[arg(short, long, global = true, display_order = 901)]
    quiet: bool,

    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Produce the table of quants of a model, with size and perplexity
    Table(commands::table::Args),
    /// Make the folder that is published of a table: card, report, digests, provenance
    Publish(commands::publish::Args),
    /// Convert a Hugging Face model directory to one GGUF file
    Convert(commands::convert::Args),
    /// Convert a LoRA adapter of PEFT to a GGUF adapter
    ConvertLora(commands::convert_lora::Args),
    /// Turn a GGUF file back into a Hugging Face directory
    Export(commands::export::Args),
    /// Quantize a GGUF file
    Quantize(commands::quantize::Args),
    /// Plan files of a model for many machines, to be run in parts
    Plan(commands::plan::Args),
    /// Run one part of a plan
    Run(commands::run::Args),
    /// Check and join the parts of a plan
    Join(commands::join::Args),
    /// Collect an importance matrix, or convert, merge and inspect importance files
    Imatrix(commands::imatrix::Args),
    /// Say what fits a GPU: weights, cache and buffers of files, from their headers alone
    Fit(commands::fit::Args),
    /// Show the metadata and tensors of a GGUF file
    Inspect(commands::inspect::Args),
    /// Check a GGUF file, or prove that it is the image of its source
    Verify(commands::verify::Args),
    /// Show what differs between two GGUF files
    Diff(commands::diff::Args),
    /// Print digests of a GGUF file and its tensors
    Hash(commands::hash::Args),
    /// Read and change the metadata of a GGUF file
    Meta(commands::meta::Args),
    /// Split a GGUF file into shards
    Split(commands::split::Args),
    /// Merge the shards of a GGUF model into one file
    Merge(commands::merge::Args),
    /// Print the token ids of a text
    Tokenize(commands::tokenize::Args),
    /// Print embeddings of texts by an embedding model
    Embed(commands::embed::Args),
    /// Measure the perplexity of a GGUF model on a text
    Perplexity(commands::perplexity::Args),
    /// Upload a folder to the hub: prints the command of the hub's own tool that does it
    #[cfg_attr(not(feature = "hub"), command(hide = true))]
    Upload(commands::upload::Args),
    /// Print a script that completes arguments in a shell
    Completions(commands::completions::Args),
    /// Print the manual page, or write those of all commands
    Man(commands::man::Args),
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    run(std::env::args_os()).into()
}

/// Runs a command line, the program's name first. Exit codes: 0 done, 1 failed, 2 wrong usage.
///
/// Signals are handled from here on: one that ends the process removes what is half written first.
pub fn run(args: impl IntoIterator<Item = OsString>) -> u8 {
    let cli = match Cli::try_parse_from(with_long_names(args)) {
        Ok(cli) => cli,
        Err(e) => {
            let code = if e.use_stderr() { WRONG_USAGE } else { DONE };
            // A closed terminal is no reason to panic; there is nobody left to tell.
            let _ = e.print();
            return code;
        }
    };
    crate::output::set_amount(cli.quiet, cli.verbose);
    let level = match (cli.quiet, cli.verbose) {
        (true, _) => "error",
        (_, true) => "debug",
        _ => "info",
    };
    // Inside another program, a subscriber may be there already; messages go to that one then.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("QUANTSMITH_LOG")
                .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(level)),
        )
        .with_writer(|| crate::log::Stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_target(false)
        .without_time()
        .try_init();
    crate::interrupt::install();
    let done = match cli.command {
        Command::Table(a) => commands::table::run(a),
        Command::Publish(a) => commands::publish::run(a),
        Command::Convert(a) => commands::convert::run(a),
        Command::ConvertLora(a) => commands::convert_lora::run(a),
        Command::Export(a) => commands::export::run(a),
        Command::Quantize(a) => commands::quantize::run(a),
        Command::Plan(a) => commands::plan::run(a),
        Command::Run(a) => commands::run::run(a),
        Command::Join(a) => commands::join::run(a),
        Command::Imatrix(a) => commands::imatrix::run(a),
        Command::Fit(a) => return finish(commands::fit::run(a)),
        Command::Inspect(a) => commands::inspect::run(a),
        Command::Verify(a) => commands::verify::run(a),
        Command::Diff(a) => return finish(commands::diff::run(a)),
        Command::Hash(a) => commands::hash::run(a),
        Command::Meta(a) => commands::meta::run(a),
        Command::Split(a) => commands::split::run(a),
        Command::Merge(a) => commands::merge::run(a),
        Command::Tokenize(a) => commands::tokenize::run(a),
        Command::Embed(a) => commands::embed::run(a),
        Command::Perplexity(a) => commands::perplexity::run(a),
        Command::Upload(a) => commands::upload::run(a),
        Command::Completions(a) => commands::completions::run(a, Cli::command()),
        Command::Man(a) => commands::man::run(a, Cli::command()),
    };
    finish(done.map(|()| DONE))
}

/// Flags of llama.cpp's tools that have one dash and several letters, by command, with their long names.
const ONE_DASH: [(&str, &str, &str); 4] = [
    ("imatrix", "-ofreq", "--output-frequency"),
    ("fit", "-np", "--np"),
    ("fit", "-ub", "--ub"),
    ("fit", "-kvu", "--kvu"),
];

/// The arguments with such flags under their long names.
fn with_long_names(args: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut args: Vec<OsString> = args.into_iter().collect();
    let command = args
        .iter()
        .skip(1)
        .find(|a| !a.to_string_lossy().starts_with('-'))
        .cloned();
    for arg in &mut args {
        if *arg == "--" {
            break;
        }
        let known = ONE_DASH
            .iter()
            .find(|(of, short, _)| command.as_ref().is_some_and(|c| c == of) && arg == short);
        if let Some((_, _, long)) = known {
            *arg = (*long).into();
        }
    }
    args
}

/// The exit code of a command, its error told.
fn finish(done: anyhow::Result<u8>) -> u8 {
    crate::inputs::release();
    let code = done.unwrap_or_else(|e| {
        crate::output::error(format_args!("{}", told(&e)));
        FAILED
    });
    match crate::output::failure() {
        Some(e) => {
            crate::output::error(format_args!("standard output: {e}"));
            FAILED
        }
        None => code,
    }
}

/// An error, its causes and what to do about it, in one line; messages that hold their cause already do not repeat it.
fn told(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text += &format!(": {cause}");
        }
    }
    if let Some(remedy) = crate::remedy::of(error) {
        text += &format!("; {remedy}");
    }
    text
}
