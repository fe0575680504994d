//! Command-line parsing and dispatch.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::commands;

#[derive(Parser)]
#[command(
    name = "quantsmith",
    version,
    about = "Quantize models and convert them to GGUF"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Produce the table of quants of a model, with size and perplexity
    Table(commands::table::Args),
    /// Convert a Hugging Face model directory to one GGUF file
    Convert(commands::convert::Args),
    /// Convert a LoRA adapter of PEFT to a GGUF adapter
    ConvertLora(commands::convert_lora::Args),
    /// Turn a GGUF file back into a Hugging Face directory
    Export(commands::export::Args),
    /// Quantize a GGUF file
    Quantize(commands::quantize::Args),
    /// Collect an importance matrix, or convert, merge and inspect importance files
    Imatrix(commands::imatrix::Args),
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
}

/// Runs the command line of this process. Exit codes: 0 done, 1 failed, 2 wrong usage.
pub fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("QUANTSMITH_LOG")
                .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info")),
        )
        .with_writer(std::io::stderr)
        .with_target(false)
        .without_time()
        .init();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => {
            let code = if e.use_stderr() { 2 } else { 0 };
            // A closed terminal is no reason to panic; there is nobody left to tell.
            let _ = e.print();
            return ExitCode::from(code);
        }
    };
    crate::interrupt::install();
    let done = match cli.command {
        Command::Table(a) => commands::table::run(a),
        Command::Convert(a) => commands::convert::run(a),
        Command::ConvertLora(a) => commands::convert_lora::run(a),
        Command::Export(a) => commands::export::run(a),
        Command::Quantize(a) => commands::quantize::run(a),
        Command::Imatrix(a) => commands::imatrix::run(a),
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
    };
    finish(done.map(|()| ExitCode::SUCCESS))
}

/// The exit code of a command, its error told.
fn finish(done: anyhow::Result<ExitCode>) -> ExitCode {
    let code = done.unwrap_or_else(|e| {
        eprintln!("error: {}", told(&e));
        ExitCode::FAILURE
    });
    match crate::output::failure() {
        Some(e) => {
            eprintln!("error: standard output: {e}");
            ExitCode::FAILURE
        }
        None => code,
    }
}

/// An error and its causes in one line; messages that hold their cause already do not repeat it.
fn told(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text += &format!(": {cause}");
        }
    }
    text
}
