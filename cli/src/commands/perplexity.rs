//! `quantsmith perplexity`.

/// Arguments of `quantsmith perplexity`.
#[derive(clap::Args)]
pub(crate) struct Args {}

/// Runs the command.
pub(crate) fn run(_args: Args) -> anyhow::Result<()> {
    anyhow::bail!("not available in this build")
}
